//! Helpers of the tests: times in milliseconds, and a session with a client that collects what it receives.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod any_calls;
pub mod wire;

use bytes::Buf;
use sockeye_core::engineio::{
    Id, Message, Packet, Part, Transport,
    server::{Config, Probing, SendError, Session, Ticket},
    split_payload,
};
use sockeye_core::websocket::{self, Decoder, Opcode, Role};
use sockeye_core::{Outbound, Time};
use std::sync::Arc;
use std::time::Duration;

/// Returns the instant `ms` milliseconds after the origin.
pub fn at(ms: u64) -> Time {
    Time::ZERO + Duration::from_millis(ms)
}

pub fn config() -> Arc<Config> {
    config_with(|_| {})
}

pub fn config_with(set: impl FnOnce(&mut Config)) -> Arc<Config> {
    let mut config = Config::default();
    set(&mut config);
    Arc::new(config)
}

/// A packet that a client received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    Text(String),
    Binary(Vec<u8>),
    /// Any packet other than a message, as written.
    Control(String),
}

pub fn text(text: &str) -> Got {
    Got::Text(text.into())
}

pub fn binary(data: &[u8]) -> Got {
    Got::Binary(data.into())
}

pub fn control(packet: &str) -> Got {
    Got::Control(packet.into())
}

fn got(packet: &str) -> Got {
    match Packet::decode(packet).unwrap() {
        Packet::Message(Message::Text(text)) => Got::Text(text.into()),
        Packet::Message(Message::Binary(data)) => Got::Binary(data.into()),
        _ => Got::Control(packet.into()),
    }
}

pub fn flat(mut queue: Outbound) -> Vec<u8> {
    queue.copy_to_bytes(queue.len()).to_vec()
}

/// Returns the packets of a payload.
pub fn from_payload(payload: Outbound) -> Vec<Got> {
    let body = String::from_utf8(flat(payload)).unwrap();
    split_payload(&body).map(got).collect()
}

/// Returns the packets of complete frames; a close frame becomes `Control("close")`.
pub fn from_frames(decoder: &mut Decoder, bytes: &mut [u8]) -> Vec<Got> {
    let mut input = bytes;
    let mut all = Vec::new();
    while let Some(message) = decoder.decode(&mut input).unwrap() {
        all.push(match message {
            websocket::Message::Text(text) => got(&text),
            websocket::Message::Binary(data) => Got::Binary(data.into()),
            websocket::Message::Close(_) => Got::Control("close".into()),
            other => panic!("unexpected {other:?}"),
        });
    }
    assert!(input.is_empty(), "frames are queued whole");
    all
}

/// A session and its client, which polls and reads only on request.
#[derive(Debug)]
pub struct Rig {
    pub session: Session,
    pub now: Time,
    pub polling: bool,
    pub got: Vec<Got>,
    decoder: Decoder,
    out: Outbound,
}

impl Rig {
    /// Opens a session, and lets the client receive the handshake.
    pub fn open(transport: Transport, config: Arc<Config>) -> Rig {
        let mut rig = Rig {
            session: Session::open(Time::ZERO, config, &Id::from_random([7; 15]), transport),
            now: Time::ZERO,
            polling: false,
            got: Vec::new(),
            decoder: Decoder::new(Role::Client, usize::MAX),
            out: Outbound::new(),
        };
        match transport {
            Transport::Polling => rig.poll(),
            Transport::WebSocket => rig.read(),
        }
        let [Got::Control(open)] = &rig.take()[..] else { panic!("no handshake") };
        assert!(open.starts_with("0{\"sid\":\"BwcHBwcHBwcHBwcHBwcH\""), "{open}");
        rig
    }

    pub fn polling() -> Rig {
        Rig::open(Transport::Polling, config())
    }

    pub fn websocket() -> Rig {
        Rig::open(Transport::WebSocket, config())
    }

    /// Takes the packets received since the last call.
    pub fn take(&mut self) -> Vec<Got> {
        std::mem::take(&mut self.got)
    }

    /// Begins a poll unless one is waiting, and receives its answer if there is one.
    pub fn poll(&mut self) {
        if !self.polling {
            self.session.begin_poll(self.now, false).unwrap();
            self.polling = true;
        }
        self.look();
    }

    /// Receives the answer of the waiting poll if there is one.
    pub fn look(&mut self) {
        if self.polling
            && let Some(payload) = self.session.take_payload()
        {
            self.polling = false;
            self.got.extend(from_payload(payload));
        }
    }

    /// Reads everything from the WebSocket connection.
    pub fn read(&mut self) {
        self.session.take_frames(&mut self.out);
        let mut bytes = flat(std::mem::take(&mut self.out));
        self.session.set_in_flight(0);
        self.got.extend(from_frames(&mut self.decoder, &mut bytes));
    }

    /// Posts a payload, and returns the messages that reached the application.
    pub fn post(&mut self, body: &str) -> Vec<Got> {
        self.session.begin_post(self.now, false).unwrap();
        self.session.heard(self.now);
        let got = self.packets(body);
        self.session.end_post();
        got
    }

    /// Lets packets arrive on the session's transport, and returns the messages that reached the application.
    pub fn packets(&mut self, body: &str) -> Vec<Got> {
        let mut messages = Vec::new();
        for packet in split_payload(body) {
            let packet = Packet::decode(packet).unwrap();
            match self.session.handle_packet(self.now, packet) {
                Some(Message::Text(text)) => messages.push(Got::Text(text.into())),
                Some(Message::Binary(data)) => messages.push(Got::Binary(data.into())),
                None => {}
            }
        }
        messages
    }

    pub fn probe(&mut self, ticket: Ticket, packet: &str) -> Probing {
        self.session.handle_probe(self.now, ticket, &Packet::decode(packet).unwrap())
    }

    /// Begins an upgrade up to the answer to the probe.
    pub fn probed(&mut self) -> Ticket {
        let ticket = self.session.begin_upgrade(self.now, false).unwrap();
        assert_eq!(self.probe(ticket, "2probe"), Probing::Answer);
        ticket
    }

    pub fn upgrade(&mut self) {
        let ticket = self.probed();
        assert_eq!(self.probe(ticket, "5"), Probing::Complete);
    }

    pub fn send(&mut self, text: &str) -> Result<(), SendError> {
        self.session.send([Part::Text(text.as_bytes())].into_iter())
    }

    pub fn send_binary(&mut self, data: &[u8]) -> Result<(), SendError> {
        self.session.send([Part::Binary(data)].into_iter())
    }

    /// Advances the time to `now`, calls `handle_timeout` at each deadline on the way, and returns those deadlines.
    pub fn pass(&mut self, now: Time) -> Vec<Time> {
        let mut deadlines = Vec::new();
        while let Some(deadline) = self.session.next_deadline().filter(|deadline| *deadline <= now) {
            self.session.handle_timeout(deadline);
            deadlines.push(deadline);
            assert!(self.session.next_deadline().is_none_or(|next| next > deadline), "still due");
        }
        self.now = now;
        deadlines
    }
}

/// Returns a frame as a client sends it.
pub fn masked(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    websocket::write_frame(&mut out, opcode, payload, Some([0x37, 0xfa, 0x21, 0x3d]));
    out
}

/// Returns a fragment of a message as a client sends it.
pub fn fragment(opcode: Opcode, is_final: bool, payload: &[u8]) -> Vec<u8> {
    let mut frame = masked(opcode, payload);
    if !is_final {
        frame[0] &= 0x7f;
    }
    frame
}
