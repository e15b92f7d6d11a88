//! What a session does with messages for a peer that reads too slowly, by policy.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use bytes::Buf;
use proptest::prelude::*;
use sockeye_core::Outbound;
use sockeye_core::engineio::server::{Config, Probing, SendError, SendFlags, Session, Ticket, WhenFull};
use sockeye_core::engineio::{CloseReason, Frames, Id, Packet, Part, Transport};
use sockeye_core::websocket::{Decoder, Role};
use support::{Got, at, config_with, control, from_frames, from_payload, text};

/// The size of the send buffer; half of it may be in the queue before messages wait behind it.
const BUFFER: usize = 1000;
/// The number of bytes that a waiting message takes besides its own.
const OVERHEAD: usize = 64;

fn limited(policy: WhenFull) -> impl FnOnce(&mut Config) {
    move |config| {
        config.send_buffer = BUFFER;
        config.when_full = policy;
    }
}

fn open(policy: WhenFull, transport: Transport) -> Session {
    let mut session =
        Session::open(at(0), config_with(limited(policy)), &Id::from_random([1; 15]), transport);
    drain(&mut session);
    session
}

/// Takes what the session gives to its connection at once.
fn take(session: &mut Session, out: &mut Outbound) -> Vec<Got> {
    match session.transport() {
        Transport::Polling => {
            session.begin_poll(at(0), false).unwrap();
            from_payload(session.take_payload().unwrap())
        }
        Transport::WebSocket => {
            out.advance(out.len());
            session.take_frames(out);
            from_frames(
                &mut Decoder::new(Role::Client, usize::MAX),
                &mut out.chunks().flatten().copied().collect::<Vec<_>>(),
            )
        }
    }
}

/// Takes everything, as a peer does that reads again.
fn drain(session: &mut Session) -> Vec<Got> {
    let (mut out, mut all) = (Outbound::new(), Vec::new());
    while session.queued() > 0 {
        all.extend(take(session, &mut out));
        out.advance(out.len());
        session.set_in_flight(0);
    }
    all
}

/// A text of 100 bytes that begins with a number.
fn numbered(n: usize) -> String {
    format!("{n:-<100}")
}

fn send(session: &mut Session, n: usize, may_drop: bool) -> Result<(), SendError> {
    let data = numbered(n);
    session.send_with([Part::Text(data.as_bytes())].into_iter(), SendFlags::default().may_drop(may_drop))
}

/// Returns the numbers of the messages.
fn numbers(got: &[Got]) -> Vec<usize> {
    got.iter()
        .filter_map(|got| match got {
            Got::Text(text) => text.trim_end_matches('-').parse().ok(),
            _ => None,
        })
        .collect()
}

const TRANSPORTS: [Transport; 2] = [Transport::Polling, Transport::WebSocket];

#[test]
fn the_oldest_messages_make_way_for_new_ones_except_those_in_the_queue() {
    for transport in TRANSPORTS {
        let mut session = open(WhenFull::DropOldest, transport);
        for n in 0..100 {
            send(&mut session, n, true).unwrap();
            assert!(session.queued() <= BUFFER);
        }
        // Five exceed half of the buffer; two of the others fit.
        assert_eq!(numbers(&drain(&mut session)), [0, 1, 2, 3, 4, 98, 99], "{transport:?}");
        assert_eq!(session.queued(), 0);
    }
}

#[test]
fn messages_stay_droppable_as_long_as_the_connection_has_a_long_queue() {
    let mut session = open(WhenFull::DropOldest, Transport::WebSocket);
    let mut out = Outbound::new();
    for n in 0..100 {
        send(&mut session, n, true).unwrap();
        // As for each ping of a peer that does not read.
        session.take_frames(&mut out);
    }
    assert!(out.len() <= BUFFER / 2 + 102, "{} bytes", out.len());
    assert_eq!(session.committed(), out.len());
    let mut bytes = out.chunks().flatten().copied().collect::<Vec<_>>();
    let mut got = from_frames(&mut Decoder::new(Role::Client, usize::MAX), &mut bytes);
    session.set_in_flight(0);
    got.extend(drain(&mut session));
    assert_eq!(numbers(&got), [0, 1, 2, 3, 4, 98, 99]);
}

#[test]
fn a_pong_follows_what_waits_except_what_may_be_dropped() {
    for policy in [WhenFull::Close, WhenFull::DropNewest, WhenFull::DropOldest] {
        let mut session = open(policy, Transport::WebSocket);
        (0..7).for_each(|n| send(&mut session, n, true).unwrap());
        session.push_pong(b"p");
        let mut out = Outbound::new();
        session.take_frames(&mut out);
        let mut bytes = out.chunks().flatten().copied().collect::<Vec<_>>();
        assert!(bytes.ends_with(b"\x8a\x01p"), "a peer that reads slowly is not taken for dead");
        bytes.truncate(bytes.len() - 3);
        let before = numbers(&from_frames(&mut Decoder::new(Role::Client, usize::MAX), &mut bytes));
        session.set_in_flight(0);
        let after = numbers(&drain(&mut session));
        match policy {
            WhenFull::Close => assert_eq!((&before[..], &after[..]), (&[0, 1, 2, 3, 4, 5, 6][..], &[][..])),
            _ => assert_eq!((&before[..], &after[..]), (&[0, 1, 2, 3, 4][..], &[5, 6][..])),
        }
    }
}

#[test]
fn the_newest_message_is_refused_and_the_others_arrive() {
    for transport in TRANSPORTS {
        let mut session = open(WhenFull::DropNewest, transport);
        let sent: Vec<_> = (0..20).filter(|n| send(&mut session, *n, true).is_ok()).collect();
        assert_eq!(sent, [0, 1, 2, 3, 4, 5, 6]);
        let queued = session.queued();
        assert_eq!(send(&mut session, 20, true), Err(SendError::Full { queued }));
        assert!(session.closed().is_none());
        assert_eq!(numbers(&drain(&mut session)), sent);
        send(&mut session, 21, true).unwrap();
        assert_eq!(numbers(&drain(&mut session)), [21]);
    }
}

#[test]
fn the_default_refuses_what_exceeds_the_buffer_and_holds_nothing_back() {
    for transport in TRANSPORTS {
        let mut session = open(WhenFull::Close, transport);
        let sent: Vec<_> = (0..20).filter(|n| send(&mut session, *n, true).is_ok()).collect();
        assert_eq!(sent, (0..9).collect::<Vec<_>>());
        assert_eq!(session.queued(), session.committed());
        assert_eq!(numbers(&take(&mut session, &mut Outbound::new())), sent);
    }
}

#[test]
fn messages_that_must_not_be_dropped_keep_their_place_and_make_others_drop() {
    for transport in TRANSPORTS {
        let mut session = open(WhenFull::DropOldest, transport);
        // 5 waits behind the queue, so the others have to as well.
        for n in 0..6 {
            send(&mut session, n, true).unwrap();
        }
        send(&mut session, 6, false).unwrap();
        send(&mut session, 7, true).unwrap();
        send(&mut session, 8, false).unwrap();
        // 5 and 7 are dropped.
        send(&mut session, 9, false).unwrap();
        send(&mut session, 10, false).unwrap();
        let queued = session.queued();
        assert_eq!(send(&mut session, 11, true), Err(SendError::Full { queued }));
        assert_eq!(send(&mut session, 12, false), Err(SendError::Full { queued }));
        assert_eq!(numbers(&drain(&mut session)), [0, 1, 2, 3, 4, 6, 8, 9, 10], "{transport:?}");
    }
}

#[test]
fn nothing_is_dropped_for_a_message_that_does_not_fit_even_then() {
    for transport in TRANSPORTS {
        let mut session = open(WhenFull::DropOldest, transport);
        for n in 0..7 {
            send(&mut session, n, true).unwrap();
        }
        let queued = session.queued();
        let mut send_long = |len: usize| {
            let data = vec![b'x'; len];
            session.send_with([Part::Text(&data)].into_iter(), SendFlags::default().may_drop(true))
        };
        assert_eq!(send_long(500), Err(SendError::Full { queued }));
        assert_eq!(send_long(950), Err(SendError::Full { queued }));
        assert_eq!(send_long(1001), Err(SendError::TooLarge { limit: BUFFER }));
        assert_eq!(numbers(&drain(&mut session)), [0, 1, 2, 3, 4, 5, 6]);
    }
}

#[test]
fn a_message_is_dropped_with_its_attachments() {
    for transport in TRANSPORTS {
        let mut session = open(WhenFull::DropOldest, transport);
        for n in 0..20 {
            let (data, name) = ([n; 60], format!("{n}"));
            let mut frames = Frames::new([Part::Text(name.as_bytes()), Part::Binary(&data)].into_iter());
            session.send_shared_with(&mut frames, SendFlags::default().may_drop(true)).unwrap();
            assert!(session.queued() <= BUFFER);
        }
        let got = drain(&mut session);
        assert!(got.len() < 40 && got.len().is_multiple_of(2));
        for pair in got.chunks(2) {
            let [Got::Text(name), Got::Binary(data)] = pair else { panic!("{pair:?}") };
            assert_eq!(*data, [name.parse::<u8>().unwrap(); 60]);
        }
        assert_eq!(got[got.len() - 2], text("19"));
    }
}

#[test]
fn a_ping_overtakes_messages_that_wait_behind_the_queue() {
    for transport in TRANSPORTS {
        let mut session = open(WhenFull::DropOldest, transport);
        for n in 0..100 {
            send(&mut session, n, true).unwrap();
        }
        session.handle_timeout(at(25_000));
        let got = drain(&mut session);
        assert_eq!(got[5], control("2"), "{transport:?}");
        assert_eq!(numbers(&got), [0, 1, 2, 3, 4, 98, 99]);
    }
}

#[test]
fn what_waits_is_sent_before_a_goodbye_and_dropped_at_any_other_end() {
    for transport in TRANSPORTS {
        let mut session = open(WhenFull::DropOldest, transport);
        (0..100).for_each(|n| send(&mut session, n, true).unwrap());
        session.close(at(0), CloseReason::ForcedClose(None));
        let got = take(&mut session, &mut Outbound::new());
        assert_eq!(numbers(&got), [0, 1, 2, 3, 4, 98, 99]);
        let mut session = open(WhenFull::DropOldest, transport);
        (0..100).for_each(|n| send(&mut session, n, true).unwrap());
        session.close(at(0), CloseReason::PingTimeout);
        assert_eq!(session.queued(), 0);
        assert_eq!(send(&mut session, 100, true), Err(SendError::Closed));
    }
}

#[test]
fn a_volatile_message_waits_for_no_backlog() {
    let mut session = open(WhenFull::DropOldest, Transport::WebSocket);
    let mut out = Outbound::new();
    (0..100).for_each(|n| send(&mut session, n, true).unwrap());
    session.take_frames(&mut out);
    session.set_in_flight(0);
    assert!(session.wants_transmit() && !session.is_writable());
    drain(&mut session);
    assert!(!session.wants_transmit() && session.is_writable());
}

#[derive(Clone, Debug)]
enum Op {
    /// Sends a message of so many bytes, with an attachment of so many; whether it may be dropped, whether it is shared.
    Send(usize, Option<usize>, bool, bool),
    Write(usize),
    Poll,
    Upgrade,
    Ping,
}

fn op() -> impl Strategy<Value = Op> {
    let sizes = (0usize..300, proptest::option::of(0usize..300), any::<bool>(), any::<bool>());
    prop_oneof![
        8 => sizes.prop_map(|(len, data, may_drop, shared)| Op::Send(len, data, may_drop, shared)),
        2 => (0usize..900).prop_map(Op::Write),
        1 => Just(Op::Poll),
        1 => Just(Op::Upgrade),
        1 => Just(Op::Ping),
    ]
}

struct World {
    session: Session,
    policy: WhenFull,
    ticket: Option<Ticket>,
    now: u64,
    out: Outbound,
    decoder: Decoder,
    partial: Vec<u8>,
    /// The messages that were queued, each with its attachment, and whether it may be dropped.
    sent: Vec<(Vec<Got>, bool)>,
    got: Vec<Got>,
    /// Number of bytes of the protocol's own packets, and of frame headers after an upgrade.
    extra: usize,
}

impl World {
    fn apply(&mut self, op: Op) {
        match op {
            Op::Send(len, data, may_drop, shared) => self.send(len, data, may_drop, shared),
            Op::Write(n) => self.write(n),
            Op::Poll if self.session.transport() == Transport::Polling => {
                if self.session.queued() > 0 {
                    self.session.begin_poll(at(self.now), false).unwrap();
                    self.got.extend(from_payload(self.session.take_payload().unwrap()));
                }
            }
            Op::Upgrade => {
                if let Ok(ticket) = self.session.begin_upgrade(at(self.now), false) {
                    self.ticket = Some(ticket);
                    let step = self.session.handle_probe(at(self.now), ticket, &Packet::Upgrade);
                    assert_eq!(step, Probing::Complete);
                    self.extra += 10 * self.sent.len();
                }
            }
            Op::Ping => {
                self.now += 25_000;
                self.session.handle_timeout(at(self.now));
                self.session.handle_packet(at(self.now), Packet::Pong(""));
                self.extra += 3;
            }
            Op::Poll => {}
        }
    }

    fn send(&mut self, len: usize, data: Option<usize>, may_drop: bool, shared: bool) {
        let name = format!("{}:{}", self.sent.len(), "x".repeat(len));
        let data = data.map(|len| vec![7; len]);
        let parts = || {
            let data = data.as_deref().map(Part::Binary);
            [Part::Text(name.as_bytes())].into_iter().chain(data)
        };
        let flags = SendFlags::default().may_drop(may_drop);
        let result = match shared {
            true => self.session.send_shared_with(&mut Frames::new(parts()), flags),
            false => self.session.send_with(parts(), flags),
        };
        match result {
            Ok(()) => {
                let data = data.clone().map(Got::Binary);
                self.sent.push(([text(&name)].into_iter().chain(data).collect(), may_drop));
            }
            Err(error) => assert_eq!(error, SendError::Full { queued: self.session.queued() }),
        }
    }

    fn write(&mut self, n: usize) {
        if self.session.transport() == Transport::Polling {
            return;
        }
        if self.out.is_empty() {
            self.session.take_frames(&mut self.out);
        }
        let n = n.min(self.out.len());
        self.partial.extend_from_slice(&self.out.copy_to_bytes(n));
        self.session.set_in_flight(self.out.len());
        let mut rest = std::mem::take(&mut self.partial);
        let mut input = rest.as_mut_slice();
        while let Some(message) = self.decoder.decode(&mut input).unwrap() {
            use sockeye_core::websocket::Message;
            self.got.push(match message {
                Message::Text(packet) => match packet.split_at(1) {
                    ("4", message) => text(message),
                    _ => control(&packet),
                },
                Message::Binary(data) => Got::Binary(data.into()),
                other => panic!("unexpected {other:?}"),
            });
        }
        self.partial = input.to_vec();
    }

    fn check(&self) {
        assert!(self.session.queued() <= BUFFER + self.extra, "{} bytes wait", self.session.queued());
        // Something wakes the connection for what waits.
        let is_idle = self.out.is_empty() && self.session.transport() == Transport::WebSocket;
        assert!(!is_idle || self.session.queued() == 0 || self.session.wants_transmit());
    }

    /// Checks what arrived in the end.
    fn finish(mut self) {
        while self.session.queued() > 0 || !self.partial.is_empty() {
            self.apply(Op::Poll);
            self.write(usize::MAX);
        }
        let mut got = self.got.into_iter().filter(|got| !matches!(got, Got::Control(_))).peekable();
        for (unit, may_drop) in self.sent {
            if got.peek() == unit.first() {
                assert!(got.by_ref().take(unit.len()).eq(unit));
            } else {
                assert!(may_drop && self.policy == WhenFull::DropOldest, "{unit:?} is missing");
            }
        }
        assert_eq!(got.next(), None);
    }
}

proptest! {
    #[test]
    fn units_arrive_whole_in_order_and_within_the_buffer(
        ops in proptest::collection::vec(op(), 1..80),
        policy in prop_oneof![Just(WhenFull::Close), Just(WhenFull::DropNewest), Just(WhenFull::DropOldest)],
        transport in prop_oneof![Just(Transport::Polling), Just(Transport::WebSocket)],
    ) {
        let mut world = World {
            session: open(policy, transport),
            policy,
            ticket: None,
            now: 0,
            out: Outbound::new(),
            decoder: Decoder::new(Role::Client, usize::MAX),
            partial: Vec::new(),
            sent: Vec::new(),
            got: Vec::new(),
            extra: OVERHEAD,
        };
        for op in ops {
            world.apply(op);
            world.check();
        }
        world.finish();
    }
}
