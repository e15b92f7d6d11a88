//! Stateful reconnect: sessions that outlive their connections, as the client sees it.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use proptest::prelude::*;
use sockeye_core::Outbound;
use sockeye_core::engineio::server::{
    Attempt, Config, Probing, Refused, SendError, SendFlags, Session, StatefulReconnect, WhenFull,
};
use sockeye_core::engineio::{
    CloseReason, Frames, Id, Message, Opening, Packet, Part, Transport, TransportError, Version,
    split_payload,
};
use sockeye_core::websocket::{Decoder, Role};
use std::sync::Arc;
use support::*;

const WS: Transport = Transport::WebSocket;
const POLL: Transport = Transport::Polling;

/// A session with a client that has asked for stateful reconnect.
struct Resumable {
    session: Session,
    now: u64,
    id: Id,
    decoder: Decoder,
    attempts: u32,
}

fn resumable_config(set: impl FnOnce(&mut Config)) -> Arc<Config> {
    config_with(|config| {
        config.stateful_reconnect = Some(StatefulReconnect::new());
        set(config);
    })
}

impl Resumable {
    fn open(transport: Transport) -> Resumable {
        Resumable::open_with(transport, resumable_config(|_| {}))
    }

    fn open_with(transport: Transport, config: Arc<Config>) -> Resumable {
        let id = Id::from_random([7; 15]);
        let opening = Opening { resumable: true, ..transport.into() };
        let session = Session::open(at(0), config, &id, opening);
        let mut it =
            Resumable { session, now: 0, id, decoder: Decoder::new(Role::Client, usize::MAX), attempts: 0 };
        if transport == POLL {
            it.session.begin_poll(at(0), false).unwrap();
        }
        let [Got::Control(open)] = &it.read()[..] else { panic!("no handshake") };
        assert!(open.ends_with(r#","resume":{"received":0,"window":60000,"maxBytes":1048576}}"#), "{open}");
        it
    }

    /// Returns what the client receives: from the waiting poll, or the WebSocket connection.
    fn read(&mut self) -> Vec<Got> {
        if self.session.transport() == POLL {
            return self.session.take_payload().map(from_payload).unwrap_or_default();
        }
        let mut out = Outbound::new();
        self.session.take_frames(&mut out);
        self.session.set_in_flight(0);
        from_frames(&mut self.decoder, &mut flat(out))
    }

    fn poll(&mut self) -> Vec<Got> {
        self.session.begin_poll(at(self.now), false).unwrap();
        self.read()
    }

    fn send(&mut self, text: &str) -> Result<(), SendError> {
        self.session.send([Part::Text(text.as_bytes())].into_iter())
    }

    /// Lets packets arrive, and returns the messages that reached the application.
    fn receive(&mut self, payload: &str) -> Vec<Got> {
        let mut messages = Vec::new();
        for packet in split_payload(payload) {
            match Packet::decode(packet).unwrap() {
                Packet::Message(message) => {
                    let (len, got) = match message {
                        Message::Text(message) => (message.len(), text(message)),
                        Message::Binary(data) => (data.len(), binary(&data)),
                    };
                    if self.session.count_message(at(self.now), len) {
                        messages.push(got);
                    }
                }
                packet => assert_eq!(self.session.handle_packet(at(self.now), packet), None),
            }
        }
        messages
    }

    fn lose(&mut self) {
        self.session.lose(at(self.now), TransportError::Lost.into());
        assert!(self.session.is_detached() && !self.session.is_evicted());
    }

    fn begin_resume(&mut self, count: u64) -> Result<Attempt, Refused> {
        self.attempts += 1;
        self.session.begin_resume(at(self.now), count, self.attempts)
    }

    fn attach(&mut self, attempt: Attempt, count: u64, transport: Transport) -> Result<bool, Refused> {
        self.session.resume(at(self.now), attempt, count, &self.id, transport, None)
    }

    /// Resumes the session for a client that has handled `count` messages. Returns the number of those that the server
    /// has handled, and what follows the handshake.
    fn resume(&mut self, count: u64, transport: Transport) -> (u64, Vec<Got>) {
        let attempt = self.begin_resume(count).unwrap();
        assert_eq!(self.attach(attempt, count, transport), Ok(true));
        assert_eq!(self.session.transport(), transport);
        self.decoder = Decoder::new(Role::Client, usize::MAX);
        let mut got = self.read();
        let Got::Control(open) = got.remove(0) else { panic!("no handshake") };
        assert!(open.starts_with("0{\"sid\":\"BwcHBwcHBwcHBwcHBwcH\""), "{open}");
        let (_, received) = open.split_once(r#""resume":{"received":"#).unwrap();
        let (received, rest) = received.split_once(',').unwrap();
        assert_eq!(rest, r#""window":60000,"maxBytes":1048576}}"#);
        (received.parse().unwrap(), got)
    }
}

#[test]
fn a_session_is_resumable_only_if_both_sides_ask_for_it_in_version_4() {
    let id = Id::from_random([7; 15]);
    let wanted = Opening { resumable: true, ..WS.into() };
    let cases = [
        (resumable_config(|_| {}), wanted, true),
        (resumable_config(|_| {}), WS.into(), false),
        (config(), wanted, false),
        (resumable_config(|c| c.allow_eio3 = true), Opening { version: Version::V3, ..wanted }, false),
    ];
    for (config, opening, is_resumable) in cases {
        let mut session = Session::open(at(0), config, &id, opening);
        assert_eq!(session.is_resumable(), is_resumable);
        assert_eq!(session.unacknowledged().is_some(), is_resumable);
        let mut out = Outbound::new();
        session.take_frames(&mut out);
        assert_eq!(String::from_utf8_lossy(&flat(out)).contains("\"resume\""), is_resumable);
        session.lose(at(1), CloseReason::TransportClose);
        assert_eq!(session.closed().is_none(), is_resumable);
        assert_eq!(session.begin_resume(at(1), 0, 1).is_ok(), is_resumable);
    }
}

#[test]
fn an_ordinary_session_ignores_the_data_of_a_noop_and_sends_none() {
    for config in [config(), resumable_config(|_| {})] {
        let mut rig = Rig::open(WS, config);
        for _ in 0..100 {
            assert_eq!(rig.packets("6999\x1e6x\x1e4a"), [text("a")]);
        }
        rig.pass(at(25_000));
        rig.read();
        assert_eq!(rig.take(), [control("2")]);
        assert_eq!(rig.session.closed(), None);
    }
}

#[test]
fn a_session_that_cannot_be_resumed_refuses_and_stays() {
    let mut rig = Rig::open(WS, resumable_config(|_| {}));
    assert_eq!(rig.session.begin_resume(at(0), 0, 1), Err(Refused::NoResumption));
    assert_eq!(rig.session.closed(), None);
}

#[test]
fn nothing_is_lost_over_any_pair_of_transports() {
    for (first, second) in [(WS, WS), (WS, POLL), (POLL, WS), (POLL, POLL)] {
        let mut it = Resumable::open(first);
        it.send("1").unwrap();
        if first == POLL {
            it.poll();
        } else {
            it.read();
        }
        it.send("2").unwrap();
        assert_eq!(it.receive("4a\x1ebAQID"), [text("a"), binary(&[1, 2, 3])]);
        it.lose();
        let mut shared = Frames::new([Part::Text(b"3"), Part::Binary(&[3])].into_iter());
        it.session.send_shared(&mut shared).unwrap();
        assert!(!it.session.is_writable() && !it.session.wants_transmit());
        assert_eq!(it.session.transport(), first, "the last one");
        it.now = 29_999;
        let (handled, got) = it.resume(1, second);
        assert_eq!((handled, got), (2, vec![text("2"), text("3"), binary(&[3])]));
        it.send("4").unwrap();
        assert_eq!(if second == POLL { it.poll() } else { it.read() }, [text("4")]);
        assert_eq!(it.receive("4c"), [text("c")]);
        assert_eq!(it.session.unacknowledged(), Some(4));
        it.lose();
        assert_eq!(it.resume(5, first), (3, vec![]));
        assert_eq!(it.session.unacknowledged(), Some(0));
    }
}

#[test]
fn a_cut_between_a_text_and_its_attachments_is_mended() {
    for transport in [WS, POLL] {
        let parts = [Part::Text(b"52-[]"), Part::Binary(&[1]), Part::Binary(&[2])];
        for handled in 0..=3 {
            let mut it = Resumable::open(WS);
            it.session.send(parts.into_iter()).unwrap();
            it.read();
            it.lose();
            let (_, got) = it.resume(handled, transport);
            let all = [text("52-[]"), binary(&[1]), binary(&[2])];
            assert_eq!(got, all[handled as usize..]);
        }
    }
}

#[test]
fn the_client_is_told_after_32_messages_and_with_each_ping() {
    let mut it = Resumable::open(WS);
    (0..31).for_each(|_| drop(it.receive("4a")));
    assert!(!it.session.wants_transmit());
    it.receive("4a");
    assert!(it.session.wants_transmit());
    assert_eq!(it.read(), [control("632")]);
    it.receive("4a");
    it.now = 25_000;
    it.session.handle_timeout(at(25_000));
    assert_eq!(it.read(), [control("2"), control("633")]);
    it.receive("3");
    it.now = 50_000;
    it.session.handle_timeout(at(50_000));
    assert_eq!(it.read(), [control("2")], "nothing is new");
}

#[test]
fn a_polling_client_that_never_polls_does_not_fill_the_queue_with_counts() {
    let mut it = Resumable::open(POLL);
    for _ in 0..1000 {
        it.receive("4a");
    }
    assert_eq!(it.session.queued(), 0);
    it.session.begin_poll(at(0), false).unwrap();
    assert!(it.session.wants_transmit());
    assert_eq!(it.read(), [control("61000")]);
}

#[test]
fn a_poll_that_waits_is_answered_with_the_count_once_it_is_due() {
    let mut it = Resumable::open(POLL);
    assert_eq!(it.poll(), []);
    (0..31).for_each(|_| drop(it.receive("4a")));
    assert!(!it.session.wants_transmit());
    it.receive("4a");
    assert!(it.session.wants_transmit());
    assert_eq!(it.read(), [control("632")]);
}

#[test]
fn acknowledged_messages_are_forgotten() {
    let mut it = Resumable::open(WS);
    ["1", "2", "3"].iter().for_each(|text| it.send(text).unwrap());
    it.receive("62");
    assert_eq!(it.session.unacknowledged(), Some(1));
    it.lose();
    assert!(!it.session.can_resume(1));
    assert_eq!(it.resume(2, WS).1, [text("3")]);
}

#[test]
fn counts_that_cannot_be_right_end_the_session_for_good() {
    for bad in ["6x", "6-1", "6+1", "6 1", "61.5", "63", "60", "699999999999999999999"] {
        let mut it = Resumable::open(WS);
        it.send("1").unwrap();
        it.send("2").unwrap();
        it.receive("61");
        it.receive(bad);
        assert_eq!(it.session.closed(), Some(&TransportError::Acknowledgement.into()), "{bad}");
        assert!(it.session.is_finished());
        assert_eq!(it.begin_resume(1), Err(Refused::Closed));
    }
}

#[test]
fn only_the_loss_of_a_connection_detaches() {
    let losses: [CloseReason; 5] = [
        CloseReason::TransportClose,
        CloseReason::PingTimeout,
        TransportError::PollAborted.into(),
        TransportError::PostAborted.into(),
        TransportError::TooSlow.into(),
    ];
    for reason in losses {
        let mut it = Resumable::open(WS);
        it.session.lose(at(0), reason.clone());
        assert_eq!((it.session.loss(), it.session.closed()), (Some(&reason), None));
    }
    let ends: [CloseReason; 4] = [
        CloseReason::ForcedClose(None),
        CloseReason::ServerShutdown,
        TransportError::PollOverlap.into(),
        TransportError::SlowConsumer { queued: 1 }.into(),
    ];
    for reason in ends {
        let mut it = Resumable::open(WS);
        it.session.lose(at(0), reason.clone());
        assert_eq!((it.session.loss(), it.session.closed()), (None, Some(&reason)));
    }
    // The client says so, by a packet or by a close frame.
    let mut it = Resumable::open(WS);
    it.receive("1");
    assert_eq!(it.session.closed(), Some(&CloseReason::TransportClose));
    assert_eq!(it.begin_resume(0), Err(Refused::Closed));
}

#[test]
fn after_the_window_the_session_ends_with_the_reason_of_the_loss() {
    let mut it = Resumable::open(WS);
    it.send("1").unwrap();
    it.now = 1000;
    it.lose();
    it.send("2").unwrap();
    assert_eq!(it.session.next_deadline(), Some(at(61_000)), "no heartbeat meanwhile");
    it.session.handle_timeout(at(60_999));
    assert_eq!(it.session.closed(), None);
    // A second loss changes nothing.
    it.session.lose(at(60_000), CloseReason::PingTimeout);
    it.now = 61_000;
    assert_eq!(it.begin_resume(1), Err(Refused::Closed), "also if the timer is late");
    assert_eq!(it.session.take_closed(), Some(TransportError::Lost.into()));
    assert!(it.session.is_finished() && it.session.next_deadline().is_none());
    assert_eq!(it.session.unacknowledged(), Some(2));
    assert_eq!(it.session.queued(), 0, "nothing is kept any more");
}

#[test]
fn a_detached_session_that_is_closed_waits_for_nobody() {
    for reason in [CloseReason::ForcedClose(None), CloseReason::ServerShutdown] {
        for transport in [POLL, WS] {
            let mut it = Resumable::open(transport);
            it.send("1").unwrap();
            it.lose();
            it.session.close(at(1), reason.clone());
            assert!(it.session.is_finished());
            assert_eq!(it.session.closed(), Some(&reason));
        }
    }
}

#[test]
fn a_silent_client_is_detached_and_its_connection_evicted() {
    let mut it = Resumable::open(WS);
    it.send("1").unwrap();
    it.session.handle_timeout(at(25_000));
    it.session.handle_timeout(at(45_000));
    assert!(it.session.is_detached() && it.session.is_evicted());
    assert_eq!(it.session.loss(), Some(&CloseReason::PingTimeout));
    it.now = 45_001;
    assert_eq!(it.read(), [], "the old connection gets nothing");
    assert_eq!(it.receive("4late\x1e61\x1e1"), [], "and delivers nothing");
    assert!(it.session.is_detached());
    let attempt = it.begin_resume(0).unwrap();
    assert_eq!(it.attach(attempt, 0, WS), Ok(false), "it may be handling a message");
    it.session.lose(at(45_001), CloseReason::TransportClose);
    assert_eq!(it.session.loss(), Some(&CloseReason::PingTimeout), "the first reason stays");
    assert_eq!(it.attach(attempt, 0, WS), Ok(true));
    assert_eq!(it.session.next_deadline(), Some(at(70_000)), "the heartbeat begins anew");
    assert_eq!(it.read()[1..], [text("1")]);
}

#[test]
fn a_connection_that_is_still_believed_in_is_evicted() {
    let mut it = Resumable::open(WS);
    it.send("1").unwrap();
    let attempt = it.begin_resume(0).unwrap();
    assert!(it.session.is_evicted());
    assert_eq!(it.receive("4late"), []);
    assert_eq!(it.attach(attempt, 0, POLL), Ok(false));
    it.session.lose(at(0), TransportError::Lost.into());
    assert_eq!(it.attach(attempt, 0, POLL), Ok(true));
    assert_eq!(it.read()[1..], [text("1")]);
    // The same for polls and posts, which are told apart by the attempt.
    let before = it.session.attempt();
    it.session.begin_poll(at(0), false).unwrap();
    it.session.begin_post(at(0), false).unwrap();
    let attempt = it.begin_resume(1).unwrap();
    assert!(attempt != before && !it.session.begin_handling(before));
    assert_eq!(it.session.take_payload().map(from_payload), None);
    assert_eq!(it.session.begin_poll(at(0), false), Err(Refused::Detached));
    assert_eq!(it.session.begin_post(at(0), false), Err(Refused::Detached));
    assert_eq!(it.session.begin_upgrade(at(0), false), Err(Refused::Detached));
    assert_eq!(it.attach(attempt, 1, POLL), Ok(true));
}

#[test]
fn a_request_that_is_being_handled_is_waited_for() {
    let mut it = Resumable::open(POLL);
    it.session.begin_post(at(0), false).unwrap();
    let old = it.session.attempt();
    assert!(it.session.begin_handling(old));
    assert_eq!(it.receive("4a"), [text("a")]);
    let attempt = it.begin_resume(0).unwrap();
    assert_eq!(it.receive("4b"), [], "the client sends it again");
    assert_eq!(it.attach(attempt, 0, POLL), Ok(false));
    it.session.end_handling();
    assert_eq!(it.attach(attempt, 0, POLL), Ok(true));
    let Got::Control(open) = &it.read()[0] else { panic!("no handshake") };
    assert!(open.contains(r#""received":1,"#), "{open}");
    assert!(!it.session.begin_handling(old), "what follows is late");
    it.session.begin_post(at(0), false).unwrap();
}

#[test]
fn the_last_attempt_wins() {
    let mut it = Resumable::open(WS);
    let first = it.begin_resume(0).unwrap();
    let second = it.begin_resume(0).unwrap();
    it.session.lose(at(0), TransportError::Lost.into());
    assert_eq!(it.attach(first, 0, WS), Err(Refused::Detached));
    assert_eq!(it.attach(second, 0, WS), Ok(true));
    assert_eq!(it.attach(second, 0, WS), Err(Refused::Detached), "once");
    // A request that was on its way for long changes nothing.
    for attempt in [0, 1, 2] {
        assert!(it.session.is_late_attempt(attempt));
        assert_eq!(it.session.begin_resume(at(0), 0, attempt), Err(Refused::Detached));
    }
    assert!(!it.session.is_late_attempt(3) && !it.session.is_detached());
}

#[test]
fn a_client_that_is_too_far_back_or_ahead_is_rejected_and_the_session_ends() {
    for count in [0, 3] {
        let mut it = Resumable::open(WS);
        it.send("1").unwrap();
        it.send("2").unwrap();
        it.receive("61");
        it.lose();
        assert_eq!(it.begin_resume(count), Err(Refused::NoResumption));
        assert_eq!(it.session.closed(), Some(&TransportError::Lost.into()));
    }
}

#[test]
fn beyond_max_bytes_only_a_client_that_has_the_oldest_messages_can_resume() {
    let settings = StatefulReconnect::new().max_bytes(1000);
    let config = resumable_config(|config| config.stateful_reconnect = Some(settings));
    let id = Id::from_random([7; 15]);
    let mut session = Session::open(at(0), config, &id, Opening { resumable: true, ..WS.into() });
    for _ in 0..10 {
        session.send([Part::Text(&[b'x'; 135])].into_iter()).unwrap();
    }
    assert!(!session.can_resume(4) && session.can_resume(5));
    session.lose(at(0), CloseReason::TransportClose);
    // What is kept may not be dropped any more.
    assert_eq!(
        session.send([Part::Text(b"1")].into_iter()),
        Err(SendError::Full { queued: 1000 }),
        "and there is no room for more"
    );
    assert!(session.can_resume(5));
}

#[test]
fn messages_that_may_be_dropped_make_way_while_the_client_is_away() {
    let config = resumable_config(|config| {
        config.when_full = WhenFull::DropOldest;
        config.send_buffer = 2000;
    });
    let mut it = Resumable::open_with(WS, config);
    it.lose();
    for i in 0..100 {
        let data = format!("{i:0100}");
        let flags = SendFlags::default().may_drop(true);
        it.session.send_with([Part::Text(data.as_bytes())].into_iter(), flags).unwrap();
        assert!(it.session.queued() <= 2000);
        // As by a connection that is yet to notice that the session has given it up.
        it.session.take_frames(&mut Outbound::new());
    }
    let (_, mut got) = it.resume(0, WS);
    while let more = it.read()
        && !more.is_empty()
    {
        got.extend(more);
    }
    let numbers: Vec<u32> = got
        .iter()
        .map(|got| match got {
            Got::Text(text) => text.parse().unwrap(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(
        numbers.is_sorted() && numbers.starts_with(&[0, 1]) && numbers.ends_with(&[98, 99]),
        "{numbers:?}"
    );
    assert!(numbers.len() < 20);
    assert_eq!(
        it.session.unacknowledged(),
        Some(numbers.len() as u64),
        "those that were dropped have no number"
    );
    it.lose();
    assert_eq!(it.resume(0, POLL).1, got);
}

#[test]
fn a_resumed_polling_session_can_be_upgraded() {
    let mut it = Resumable::open(WS);
    it.send("1").unwrap();
    it.lose();
    assert_eq!(it.resume(0, POLL).1, [text("1")]);
    let ticket = it.session.begin_upgrade(at(0), false).unwrap();
    assert_eq!(it.session.handle_probe(at(0), ticket, &Packet::Ping("probe")), Probing::Answer);
    it.send("2").unwrap();
    assert_eq!(it.session.handle_probe(at(0), ticket, &Packet::Upgrade), Probing::Complete);
    assert_eq!(it.read(), [text("2")]);
    it.session.handle_timeout(at(25_000));
    it.session.handle_timeout(at(45_000));
    assert!(it.session.is_evicted(), "the connection of the upgrade holds it");
}

#[test]
fn an_upgrade_in_progress_ends_with_the_connection() {
    let mut it = Resumable::open(POLL);
    let ticket = it.session.begin_upgrade(at(0), false).unwrap();
    it.session.abort_post(at(0));
    assert!(it.session.is_detached() && !it.session.is_upgrading(ticket));
    assert_eq!(it.session.handle_probe(at(0), ticket, &Packet::Upgrade), Probing::Close);
    it.resume(0, POLL);
    let next = it.session.begin_upgrade(at(0), false).unwrap();
    assert!(next != ticket);
}

#[test]
fn a_text_with_a_separator_cannot_be_kept() {
    let mut it = Resumable::open(WS);
    assert_eq!(it.send("a\u{1e}b"), Err(SendError::Separator));
    assert_eq!(it.session.unacknowledged(), Some(0));
}

#[derive(Clone, Debug)]
enum Op {
    Send(usize),
    Attached(usize),
    Receive,
    Read(usize),
    Acknowledge,
    Cut(Transport),
    Evict(Transport),
    Poll,
}

fn op() -> impl Strategy<Value = Op> {
    let transport = prop_oneof![Just(WS), Just(POLL)];
    prop_oneof![
        (0usize..50).prop_map(Op::Send),
        (0usize..50).prop_map(Op::Attached),
        Just(Op::Receive),
        (1usize..5).prop_map(Op::Read),
        Just(Op::Acknowledge),
        transport.clone().prop_map(Op::Cut),
        transport.prop_map(Op::Evict),
        Just(Op::Poll),
    ]
}

proptest! {
    /// Whatever is cut and when, the client gets every message once and in order, and the server those of the client.
    #[test]
    fn cuts_anywhere_lose_nothing(
        first in prop_oneof![Just(WS), Just(POLL)],
        ops in proptest::collection::vec(op(), 0..60)
    ) {
        let mut it = Resumable::open(first);
        let (mut sent, mut got, mut posted, mut handled) = (Vec::new(), Vec::new(), 0u64, 0u64);
        // What has left the server and has not been handled by the client yet.
        let mut on_its_way: std::collections::VecDeque<Got> = Default::default();
        let known = |got: &[Got]| got.iter().filter(|got| !matches!(got, Got::Control(_))).count() as u64;
        let mut waits = false;
        for op in ops {
            match op {
                Op::Send(len) => {
                    let data = vec![b'x'; len];
                    it.session.send([Part::Text(&data)].into_iter()).unwrap();
                    sent.push(Got::Text(String::from_utf8(data).unwrap()));
                }
                Op::Attached(len) => {
                    let data = vec![1; len];
                    it.session.send([Part::Text(b"t"), Part::Binary(&data)].into_iter()).unwrap();
                    sent.extend([text("t"), Got::Binary(data)]);
                }
                Op::Receive => {
                    posted += 1;
                    handled += it.receive("4m").len() as u64;
                }
                Op::Read(most) => {
                    let read = it.read();
                    waits &= read.is_empty();
                    on_its_way.extend(read);
                    got.extend((0..most).map_while(|_| on_its_way.pop_front()));
                }
                Op::Acknowledge => drop(it.receive(&format!("6{}", known(&got)))),
                Op::Cut(transport) => {
                    on_its_way.clear();
                    it.lose();
                    let (count, more) = it.resume(known(&got), transport);
                    waits = false;
                    prop_assert_eq!(count, posted);
                    on_its_way.extend(more);
                }
                Op::Evict(transport) => {
                    on_its_way.clear();
                    let count = known(&got);
                    let attempt = it.begin_resume(count).unwrap();
                    if it.session.is_evicted() {
                        it.session.lose(at(0), TransportError::Lost.into());
                    }
                    prop_assert_eq!(it.attach(attempt, count, transport), Ok(true));
                    it.decoder = Decoder::new(Role::Client, usize::MAX);
                    on_its_way.extend(it.read());
                    waits = false;
                }
                Op::Poll if it.session.transport() == POLL && !waits => {
                    it.session.begin_poll(at(0), false).unwrap();
                    waits = true;
                }
                Op::Poll => {}
            }
            prop_assert_eq!(it.session.closed(), None);
            prop_assert_eq!(posted, handled);
            let messages: Vec<_> = got.iter().filter(|got| !matches!(got, Got::Control(_))).cloned().collect();
            prop_assert!(sent.starts_with(&messages), "got {:?} of {:?}", messages, sent);
        }
        let count = known(&got);
        it.lose();
        let (_, rest) = it.resume(count, WS);
        prop_assert_eq!(&rest[..], &sent[count as usize..]);
    }
}
