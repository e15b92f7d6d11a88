//! Any calls in any order: what holds of a session nevertheless.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use bytes::Buf;
use proptest::prelude::*;
use sockeye_core::engineio::{
    CloseReason, Frames, Id, Packet, Part, Probing, Refused, SendError, Session, Ticket, Transport,
};
use sockeye_core::websocket::{Decoder, Role};
use sockeye_core::{Outbound, Time};
use std::time::Duration;
use support::*;

#[derive(Clone, Debug)]
enum Op {
    Poll,
    AbortPoll,
    BeginPost,
    EndPost,
    AbortPost,
    Packet(&'static str),
    BeginUpgrade,
    Probe(&'static str),
    AbortUpgrade,
    Text(usize),
    Binary(usize),
    Shared(usize),
    /// So many bytes are written to the WebSocket connection.
    Write(usize),
    Close(CloseReason),
    Pass(u64),
    Back(u64),
    Timeout,
    Heard,
    Getters,
}

fn op() -> impl Strategy<Value = Op> {
    let size = || prop_oneof![0usize..40, 120usize..130, Just(700)];
    prop_oneof![
        8 => Just(Op::Poll),
        1 => Just(Op::AbortPoll),
        3 => Just(Op::BeginPost),
        3 => Just(Op::EndPost),
        1 => Just(Op::AbortPost),
        4 => proptest::sample::select(vec!["3", "3", "4in", "6", "5", "0", "b", "1", "2"]).prop_map(Op::Packet),
        4 => Just(Op::BeginUpgrade),
        6 => proptest::sample::select(vec!["2probe", "2probe", "5", "5", "4", "3"]).prop_map(Op::Probe),
        1 => Just(Op::AbortUpgrade),
        6 => size().prop_map(Op::Text),
        6 => size().prop_map(Op::Binary),
        6 => size().prop_map(Op::Shared),
        6 => (0usize..1500).prop_map(Op::Write),
        1 => proptest::sample::select(vec![
            CloseReason::ForcedClose(None), CloseReason::ServerShutdown, CloseReason::PingTimeout,
        ]).prop_map(Op::Close),
        4 => (0u64..12_000).prop_map(Op::Pass),
        1 => (0u64..100_000).prop_map(Op::Back),
        3 => Just(Op::Timeout),
        1 => Just(Op::Heard),
        1 => Just(Op::Getters),
    ]
}

/// A session, its connections, and the client's collection.
struct World {
    session: Session,
    now: Time,
    polling: bool,
    ticket: Option<Ticket>,
    out: Outbound,
    decoder: Decoder,
    /// Bytes of a frame that is not all there.
    partial: Vec<u8>,
    sent: Vec<Got>,
    got: Vec<Got>,
    /// Packets of the protocol itself that may have been queued beyond the budget.
    extra: usize,
    ends: usize,
}

const BUFFER: usize = 2000;

impl World {
    fn new(transport: Transport, max_payload: usize) -> World {
        let config = config_with(|c| {
            c.send_buffer = BUFFER;
            c.max_payload = max_payload;
        });
        World {
            session: Session::open(at(200_000), config, &Id::from_random([1; 15]), transport),
            now: at(200_000),
            polling: false,
            ticket: None,
            out: Outbound::new(),
            decoder: Decoder::new(Role::Client, usize::MAX),
            partial: Vec::new(),
            sent: Vec::new(),
            got: Vec::new(),
            extra: 300,
            ends: 0,
        }
    }

    fn take_payload(&mut self) {
        match self.session.take_payload() {
            Some(payload) => {
                assert!(self.polling, "an answer without a poll");
                self.polling = false;
                self.got.extend(from_payload(payload));
            }
            None => assert!(!self.polling || !self.session.wants_transmit()),
        }
    }

    fn write(&mut self, n: usize) {
        if self.out.is_empty() {
            self.session.take_frames(&mut self.out);
        }
        let n = n.min(self.out.len());
        let bytes = self.out.copy_to_bytes(n);
        self.session.set_in_flight(self.out.len());
        self.partial.extend_from_slice(&bytes);
        let mut rest = self.partial.as_mut_slice();
        while let Some(message) = self.decoder.decode(&mut rest).unwrap() {
            use sockeye_core::websocket::Message;
            self.got.push(match message {
                Message::Text(text) => match text.split_at(1) {
                    ("4", message) => Got::Text(message.into()),
                    _ => Got::Control(text.into()),
                },
                Message::Binary(data) => Got::Binary(data.into()),
                other => panic!("unexpected {other:?}"),
            });
        }
        let rest = rest.len();
        self.partial.drain(..self.partial.len() - rest);
    }

    fn sent(&mut self, result: Result<(), SendError>, messages: impl IntoIterator<Item = Got>) {
        match result {
            Ok(()) => self.sent.extend(messages),
            Err(SendError::Closed) => assert!(self.session.closed().is_some()),
            Err(SendError::Full { queued }) => {
                assert_eq!(queued, self.session.queued());
                assert!(self.session.closed().is_none());
            }
            Err(other) => panic!("{other}"),
        }
    }

    fn apply(&mut self, op: Op) {
        let name = format!("{}:", self.sent.len());
        let data =
            |len: usize| name.bytes().chain(std::iter::repeat(b'x')).take(len.max(name.len())).collect();
        match op {
            Op::Poll => match self.session.begin_poll(self.now) {
                Ok(()) => self.polling = true,
                Err(Refused::Overlap) => assert!(self.session.closed().is_some()),
                Err(Refused::TransportMismatch) => assert_eq!(self.session.transport(), Transport::WebSocket),
                Err(_) => assert!(self.session.is_finished()),
            },
            Op::AbortPoll => {
                self.session.abort_poll(self.now);
                self.polling = false;
            }
            Op::BeginPost => drop(self.session.begin_post(self.now)),
            Op::EndPost => self.session.end_post(),
            Op::AbortPost => self.session.abort_post(self.now),
            Op::Packet(packet) => {
                let was_closed = self.session.closed().is_some();
                let message = self.session.handle_packet(self.now, Packet::decode(packet).unwrap());
                assert!(!was_closed || message.is_none());
            }
            Op::BeginUpgrade => {
                if let Ok(ticket) = self.session.begin_upgrade(self.now) {
                    self.ticket = Some(ticket);
                }
            }
            Op::Probe(packet) => {
                let Some(ticket) = self.ticket else { return };
                let was = self.session.is_upgrading(ticket);
                match self.session.handle_probe(self.now, ticket, &Packet::decode(packet).unwrap()) {
                    Probing::Answer => assert!(was && self.session.is_upgrading(ticket)),
                    Probing::Complete => {
                        assert!(was && !self.session.is_upgrading(ticket));
                        assert_eq!(self.session.transport(), Transport::WebSocket);
                        // A frame's header is longer than a separator.
                        self.extra += 3 * self.sent.len();
                    }
                    Probing::Close => assert!(!self.session.is_upgrading(ticket)),
                }
            }
            Op::AbortUpgrade => {
                if let Some(ticket) = self.ticket {
                    self.session.abort_upgrade(ticket);
                }
            }
            Op::Text(len) => {
                let data: Vec<u8> = data(len);
                let result = self.session.send([Part::Text(&data)].into_iter());
                self.sent(result, [Got::Text(String::from_utf8(data).unwrap())]);
            }
            Op::Binary(len) => {
                let data: Vec<u8> = data(len);
                let result = self.session.send([Part::Text(b"t"), Part::Binary(&data)].into_iter());
                self.sent(result, [text("t"), Got::Binary(data)]);
            }
            Op::Shared(len) => {
                let data: Vec<u8> = data(len);
                let mut frames = Frames::new([Part::Text(&data), Part::Binary(b"b")].into_iter());
                let result = self.session.send_shared(&mut frames);
                self.sent(result, [Got::Text(String::from_utf8(data).unwrap()), binary(b"b")]);
            }
            Op::Write(n) => self.write(n),
            Op::Close(reason) => {
                self.session.close(self.now, reason);
                assert!(self.session.closed().is_some());
            }
            Op::Pass(ms) => self.now = self.now + Duration::from_millis(ms),
            Op::Back(ms) => {
                let before =
                    Time::from_origin(self.now.since_origin().saturating_sub(Duration::from_millis(ms)));
                self.session.handle_timeout(before);
                self.session.heard(before);
            }
            Op::Timeout => {
                self.session.handle_timeout(self.now);
                assert!(self.session.next_deadline().is_none_or(|next| next > self.now), "a deadline stays");
                self.extra += 3;
            }
            Op::Heard => self.session.heard(self.now),
            Op::Getters => {
                let _ = (self.session.is_writable(), self.session.transport(), self.session.config());
            }
        }
    }

    /// What holds after every step.
    fn check(&mut self) {
        self.take_payload();
        if let Some(reason) = self.session.take_closed() {
            assert_eq!(self.session.closed(), Some(&reason));
            self.ends += 1;
        }
        assert_eq!(self.ends, usize::from(self.session.closed().is_some()), "the end is told once");
        assert!(self.session.queued() <= BUFFER + self.extra, "{} bytes wait", self.session.queued());
        assert!(!self.session.is_finished() || self.session.closed().is_some());
    }

    /// The client reads on until nothing more comes.
    fn read_all(&mut self) {
        for _ in 0..2000 {
            match self.session.transport() {
                Transport::WebSocket => self.write(usize::MAX),
                Transport::Polling if self.polling || self.session.queued() == 0 => break,
                Transport::Polling => self.apply(Op::Poll),
            }
            self.check();
        }
    }

    fn messages(&self) -> Vec<Got> {
        self.got.iter().filter(|got| !matches!(got, Got::Control(_))).cloned().collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::default())]
    #[test]
    fn no_sequence_of_calls_panics_loses_doubles_or_reorders_or_lives_for_ever(
        over_websocket: bool,
        max_payload in prop_oneof![Just(1usize), Just(200), Just(1_000_000)],
        ops in proptest::collection::vec(op(), 0..80),
    ) {
        let transport = if over_websocket { Transport::WebSocket } else { Transport::Polling };
        let mut world = World::new(transport, max_payload);
        for op in ops {
            world.apply(op);
            world.check();
        }
        world.apply(Op::Timeout);
        world.check();
        let graceful = match world.session.closed() {
            None => true,
            // Unless the client was waited for in vain.
            Some(CloseReason::ForcedClose(_) | CloseReason::ServerShutdown) => !world.session.is_finished(),
            Some(_) => false,
        };
        world.read_all();
        let messages = world.messages();
        prop_assert!(world.sent.starts_with(&messages), "got {messages:?} of {:?}", world.sent);
        if graceful {
            prop_assert_eq!(&messages, &world.sent);
        }

        // Silence: what is left are the pings, the end, and the farewell.
        let mut deadlines = 0;
        while let Some(deadline) = world.session.next_deadline() {
            world.session.handle_timeout(deadline);
            prop_assert!(world.session.next_deadline().is_none_or(|next| next > deadline));
            deadlines += 1;
            prop_assert!(deadlines < 10, "silence does not end the session");
        }
        world.check();
        prop_assert_eq!(world.ends, 1);
        prop_assert!(world.session.is_finished() || world.polling);
        prop_assert!(world.session.take_closed().is_none());
    }
}
