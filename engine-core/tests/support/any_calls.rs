//! Arbitrary calls to a session, and the invariants that they must preserve.

use super::*;
use sockeye_core::engineio::{
    CloseReason, Frames, Opening, TransportError, Version,
    server::{PollNumber, Probing, Refused, StatefulReconnect},
    v3,
};

/// A call to the session, or an action of the peer or the clock.
#[derive(Clone, Debug)]
pub enum Op {
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
    /// Writes this many bytes to the WebSocket connection.
    Write(usize),
    Close(CloseReason),
    Pass(u64),
    Back(u64),
    Timeout,
    Heard,
    /// The application is behind, and the connection may not be read at all.
    Excuse(bool),
    Getters,
    /// The connection is lost.
    Lose,
    /// The client comes back on a connection of this transport, whether it has noticed a loss or not.
    Resume(Transport),
    /// The client says how many messages it has handled.
    Acknowledge,
}

/// A session, its connections, and what was sent and received.
struct World {
    session: Session,
    version: Version,
    now: Time,
    polling: bool,
    /// The polls whose place another has taken, and that are not answered yet.
    replaced: Vec<PollNumber>,
    ticket: Option<Ticket>,
    out: Outbound,
    decoder: Decoder,
    /// The bytes of an incomplete frame.
    partial: Vec<u8>,
    sent: Vec<Got>,
    got: Vec<Got>,
    /// Upper bound of the bytes of control packets and headers that may be queued beyond the send buffer.
    extra: usize,
    ends: usize,
    attempts: u32,
}

const BUFFER: usize = 2000;

fn id() -> Id {
    Id::from_random([1; 15])
}

impl World {
    fn new(opening: Opening, max_payload: usize) -> World {
        let config = config_with(|c| {
            c.send_buffer = BUFFER;
            c.max_payload = max_payload;
            c.allow_eio3 = true;
            c.allow_overlapping_polls = max_payload % 2 == 1;
            if opening.resumable {
                c.stateful_reconnect = Some(StatefulReconnect::new().max_bytes(BUFFER));
            }
        });
        World {
            session: Session::open(at(200_000), config, &id(), opening),
            version: opening.version,
            now: at(200_000),
            polling: false,
            replaced: Vec::new(),
            ticket: None,
            out: Outbound::new(),
            decoder: Decoder::new(Role::Client, usize::MAX),
            partial: Vec::new(),
            sent: Vec::new(),
            got: Vec::new(),
            extra: 300,
            ends: 0,
            attempts: 0,
        }
    }

    fn take_payload(&mut self) {
        match self.session.take_payload() {
            Some(payload) => {
                assert!(self.polling, "an answer without a poll");
                self.polling = false;
                self.got.extend(if self.is_v3() { from_payload_v3(payload) } else { from_payload(payload) });
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
        let is_v3 = self.is_v3();
        let mut rest = self.partial.as_mut_slice();
        while let Some(message) = self.decoder.decode(&mut rest).unwrap() {
            use sockeye_core::websocket::Message;
            self.got.push(match message {
                Message::Text(text) => match text.split_at(1) {
                    ("4", message) => Got::Text(message.into()),
                    ("b", _) if is_v3 => got_v3(v3::decode_text(&text).unwrap()),
                    _ => Got::Control(text.into()),
                },
                Message::Binary(data) if is_v3 => got_v3(v3::decode_binary(&data).unwrap()),
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
        match op {
            Op::Poll => self.poll(),
            Op::AbortPoll => {
                self.session.abort_poll(self.now);
                self.polling = false;
            }
            Op::BeginPost => drop(self.session.begin_post(self.now, false)),
            Op::EndPost => self.session.end_post(),
            Op::AbortPost => self.session.abort_post(self.now),
            Op::Packet(packet) => {
                let Ok(packet) = self.version.decode_text(packet) else { return };
                // A pong allows another ping, and in version 3 a ping has an answer.
                self.extra += 4;
                let was_closed = self.session.closed().is_some();
                let message = self.session.handle_packet(self.now, packet);
                assert!(!was_closed || message.is_none());
            }
            Op::BeginUpgrade => {
                if let Ok(ticket) = self.session.begin_upgrade(self.now, false) {
                    self.ticket = Some(ticket);
                }
            }
            Op::Probe(packet) => self.probe(packet),
            Op::AbortUpgrade => {
                if let Some(ticket) = self.ticket {
                    self.session.abort_upgrade(ticket);
                }
            }
            Op::Text(_) | Op::Binary(_) | Op::Shared(_) => self.send(op),
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
                assert!(self.session.next_deadline().is_none_or(|next| next > self.now), "still due");
                self.extra += 3;
            }
            Op::Heard => self.session.heard_with(&|| self.now),
            Op::Excuse(is_deaf) => {
                self.session.excuse_pong(self.now, is_deaf);
                self.apply(Op::Timeout);
            }
            Op::Getters => {
                let _ = (self.session.is_writable(), self.session.transport(), self.session.config());
            }
            Op::Lose => self.session.lose(self.now, TransportError::Lost.into()),
            Op::Resume(transport) => self.resume(transport),
            Op::Acknowledge => {
                let count = self.messages().len().to_string();
                self.session.handle_packet(self.now, Packet::Noop(&count));
            }
        }
    }

    fn poll(&mut self) {
        let last = self.session.poll_number();
        match self.session.begin_poll(self.now, false) {
            Ok(()) if self.polling => self.replaced.push(last),
            Ok(()) => self.polling = true,
            Err(Refused::Overlap) => {
                assert!(self.session.closed().is_some() && !self.session.config().allow_overlapping_polls);
            }
            Err(Refused::Detached) => assert!(self.session.is_detached()),
            Err(Refused::TransportMismatch) => assert_eq!(self.session.transport(), Transport::WebSocket),
            Err(_) => assert!(self.session.is_finished()),
        }
    }

    fn is_v3(&self) -> bool {
        self.version == Version::V3
    }

    fn resume(&mut self, transport: Transport) {
        let count = self.messages().len() as u64;
        self.attempts += 1;
        let Ok(attempt) = self.session.begin_resume(self.now, count, self.attempts) else {
            assert!(self.session.closed().is_some() || !self.session.is_resumable());
            return;
        };
        self.session.lose(self.now, TransportError::Lost.into());
        self.leave();
        let resumed = self.session.resume(self.now, attempt, count, &id(), transport, None);
        assert_eq!((resumed, self.session.transport()), (Ok(true), transport));
        self.polling = transport == Transport::Polling;
        // The handshake, and the headers of what follows it.
        self.extra += 300 + 3 * self.sent.len();
    }

    /// The client gives its connections up.
    fn leave(&mut self) {
        (self.polling, self.out) = (false, Outbound::new());
        self.replaced.clear();
        (self.partial, self.decoder) = (Vec::new(), Decoder::new(Role::Client, usize::MAX));
    }

    fn probe(&mut self, packet: &str) {
        let Some(ticket) = self.ticket else { return };
        let was = self.session.is_upgrading(ticket);
        match self.session.handle_probe(self.now, ticket, &Packet::decode(packet).unwrap()) {
            Probing::Answer => assert!(was && self.session.is_upgrading(ticket)),
            Probing::Complete => {
                assert!(was && !self.session.is_upgrading(ticket));
                assert_eq!(self.session.transport(), Transport::WebSocket);
                // The header of a frame is longer than a separator.
                self.extra += 3 * self.sent.len();
            }
            Probing::Wait => {
                assert!(was && self.session.is_upgrading(ticket) && !self.session.is_upgrade_due(ticket));
            }
            Probing::Close => assert!(!self.session.is_upgrading(ticket)),
        }
    }

    /// Sends messages whose data begins with a number of their own.
    fn send(&mut self, op: Op) {
        let name = format!("{}:", self.sent.len());
        let data = |len: usize| -> Vec<u8> {
            name.bytes().chain(std::iter::repeat(b'x')).take(len.max(name.len())).collect()
        };
        match op {
            Op::Text(len) => {
                let data = data(len);
                let result = self.session.send([Part::Text(&data)].into_iter());
                self.sent(result, [Got::Text(String::from_utf8(data).unwrap())]);
            }
            Op::Binary(len) => {
                let data = data(len);
                let result = self.session.send([Part::Text(b"t"), Part::Binary(&data)].into_iter());
                self.sent(result, [text("t"), Got::Binary(data)]);
            }
            Op::Shared(len) => {
                let data = data(len);
                let mut frames = Frames::new([Part::Text(&data), Part::Binary(b"b")].into_iter());
                let result = self.session.send_shared(&mut frames);
                self.sent(result, [Got::Text(String::from_utf8(data).unwrap()), binary(b"b")]);
            }
            other => panic!("{other:?} sends nothing"),
        }
    }

    /// Checks the invariants after a step.
    fn check(&mut self) {
        if self.session.is_detached() {
            self.leave();
        }
        self.take_payload();
        for poll in std::mem::take(&mut self.replaced) {
            assert!(self.session.is_replaced(poll));
            assert!(!flat(self.session.take_noop()).is_empty());
        }
        if let Some(reason) = self.session.take_closed() {
            assert_eq!(self.session.closed(), Some(&reason));
            self.ends += 1;
        }
        assert_eq!(self.ends, usize::from(self.session.closed().is_some()), "the end is reported once");
        assert!(self.session.queued() <= BUFFER + self.extra, "{} bytes wait", self.session.queued());
        assert!(!self.session.is_finished() || self.session.closed().is_some());
    }

    /// Lets the client read until nothing is left.
    fn read_all(&mut self) {
        for _ in 0..2000 {
            match self.session.transport() {
                Transport::WebSocket if self.session.queued() == 0 => break,
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

/// Applies `ops`, lets the client read, and then lets only time pass. Checks the invariants after every step.
///
/// The client of a resumable session comes back whenever it has lost its connection.
pub fn any_calls(opening: Opening, max_payload: usize, ops: impl IntoIterator<Item = Op>) {
    let mut world = World::new(opening, max_payload);
    for op in ops {
        world.apply(op);
        world.check();
    }
    world.apply(Op::Timeout);
    world.check();
    if world.session.is_detached() {
        world.apply(Op::Resume(opening.transport));
        world.check();
    }
    let graceful = match world.session.closed() {
        None => true,
        // A session that has already finished may have given up waiting for the client.
        Some(CloseReason::ForcedClose(_) | CloseReason::ServerShutdown) => !world.session.is_finished(),
        Some(_) => false,
    };
    world.read_all();
    let messages = world.messages();
    assert!(world.sent.starts_with(&messages), "got {messages:?} of {:?}", world.sent);
    if graceful {
        assert_eq!(messages, world.sent);
    }

    // Without further input only pings, the ping timeout and the close timeout are left.
    let mut deadlines = 0;
    while let Some(deadline) = world.session.next_deadline() {
        world.session.handle_timeout(deadline);
        assert!(world.session.next_deadline().is_none_or(|next| next > deadline));
        deadlines += 1;
        assert!(deadlines < 10, "silence does not end the session");
    }
    world.check();
    assert_eq!(world.ends, 1);
    assert!(world.session.is_finished() || world.polling);
    assert!(world.session.take_closed().is_none());
}

/// Returns the packets of a payload of version 3.
fn from_payload_v3(payload: Outbound) -> Vec<Got> {
    let body = flat(payload);
    let mut rest = match body.first() {
        Some(0 | 1) => v3::Payload::Binary(&body),
        _ => v3::Payload::Text(std::str::from_utf8(&body).unwrap()),
    };
    let mut all = Vec::new();
    while !rest.is_empty() {
        let (packet, left) = rest.split_first().unwrap();
        all.push(got_v3(packet.expect("no packet is empty")));
        rest = left;
    }
    all
}

fn got_v3(packet: Packet<'_>) -> Got {
    match packet {
        Packet::Message(Message::Text(text)) => Got::Text(text.into()),
        Packet::Message(Message::Binary(data)) => Got::Binary(data.into()),
        other => Got::Control(format!("{other:?}")),
    }
}
