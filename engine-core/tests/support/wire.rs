//! A small server for one connection, which echoes the bodies of requests and the messages of WebSocket.

use super::at;
use bytes::Buf;
use sockeye_core::connection::{self, BorrowedContent, Connection, Expired, Phase};
use sockeye_core::http::{self, Status};
use sockeye_core::websocket::{Message, Opcode, write_frame};
use sockeye_core::{Outbound, Time};
use std::sync::Arc;

/// The server. It does not answer `GET /defer`, accepts WebSocket handshakes, and echoes the body of any other request.
#[derive(Debug)]
pub struct Wire {
    pub connection: Connection,
    /// The bytes that have arrived but are not consumed.
    pub buffer: Vec<u8>,
    /// The requests, bodies, messages and errors so far.
    pub events: Vec<String>,
    /// The bytes that the peer has read.
    pub output: Vec<u8>,
    /// The echoed messages that are not yet queued on the connection.
    pub echoes: Outbound,
    /// Set if the peer reads everything at once.
    pub reads: bool,
    /// The number of queued bytes from which on no more messages are read.
    pub high_water: usize,
}

pub fn limits_with(set: impl FnOnce(&mut connection::Config)) -> Arc<connection::Config> {
    let mut config = connection::Config::default();
    set(&mut config);
    Arc::new(config)
}

impl Wire {
    pub fn new() -> Wire {
        Wire::with(limits_with(|_| {}))
    }

    pub fn with(config: Arc<connection::Config>) -> Wire {
        Wire {
            connection: Connection::new(Time::ZERO, config),
            buffer: Vec::new(),
            events: Vec::new(),
            output: Vec::new(),
            echoes: Outbound::new(),
            reads: true,
            high_water: usize::MAX,
        }
    }

    /// Creates a connection after its WebSocket handshake, whose output and events are cleared.
    pub fn upgraded(config: Arc<connection::Config>) -> Wire {
        let mut wire = Wire::with(config);
        wire.feed(at(0), HANDSHAKE);
        assert!(wire.output.starts_with(b"HTTP/1.1 101 "), "{}", wire.text());
        wire.output.clear();
        wire.events.clear();
        wire
    }

    /// Lets bytes arrive.
    pub fn feed(&mut self, now: Time, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        let mut buffer = std::mem::take(&mut self.buffer);
        let used = self.data(now, &mut buffer);
        buffer.drain(..used);
        self.buffer = buffer;
        if self.reads {
            self.drain();
        }
    }

    pub fn eof(&mut self, now: Time) {
        self.events.push("eof".into());
        self.connection.handle_eof(now);
        self.drain();
    }

    /// Advances the time to `now`, and returns each deadline on the way with what expired.
    pub fn pass(&mut self, now: Time) -> Vec<(Time, Expired)> {
        let mut all = Vec::new();
        while let Some(deadline) = self.connection.next_deadline().filter(|deadline| *deadline <= now) {
            all.push((deadline, self.connection.handle_timeout(deadline).unwrap()));
            if self.connection.phase() == Phase::Request {
                self.connection.respond(deadline, Status::REQUEST_TIMEOUT, [], BorrowedContent::Bytes(b""));
            }
            assert!(self.connection.next_deadline().is_none_or(|next| next > deadline), "still due");
            self.drain();
        }
        all
    }

    /// Lets the peer read everything that is queued.
    pub fn drain(&mut self) {
        self.connection.outbound().append(&mut self.echoes);
        let out = self.connection.outbound();
        let bytes = out.copy_to_bytes(out.len());
        self.output.extend_from_slice(&bytes);
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).into_owned()
    }

    /// Handles `input` as far as possible, and returns the number of bytes consumed.
    pub fn data(&mut self, now: Time, input: &mut [u8]) -> usize {
        let mut used = 0;
        loop {
            let phase = self.connection.phase();
            let Some(rest) = input.get_mut(used..) else { break };
            let (consumed, goes_on) = match phase {
                Phase::Head => self.head(now, rest),
                Phase::Body => self.body(now, rest),
                Phase::WebSocket if self.connection.queued() >= self.high_water => break,
                Phase::WebSocket => self.message(now, rest),
                Phase::Request => break,
                Phase::Closing | Phase::Closed => (rest.len(), false),
            };
            used += consumed;
            if !goes_on {
                break;
            }
        }
        used
    }

    /// Handles the head of a request. Returns the number of bytes consumed, and whether the bytes after it can be
    /// handled; the next methods return the same.
    fn head(&mut self, now: Time, input: &[u8]) -> (usize, bool) {
        let mut slots = http::header_slots();
        let Ok(Some(head)) = self.connection.next_head(now, input, &mut slots) else {
            return (0, self.connection.phase() != Phase::Head);
        };
        let line = format!("{} {}", head.request.method(), head.request.target());
        self.events.push(line);
        if connection::is_upgrade(&head.request) {
            match connection::websocket_key(&head.request) {
                Ok(key) => self.connection.upgrade(now, key, []),
                Err(error) => {
                    self.events.push(error.to_string());
                    self.connection.refuse(now, Status::BAD_REQUEST);
                }
            }
        } else if head.request.path() == "/defer" {
            self.connection.defer(None);
        } else {
            self.connection.receive_body(now);
        }
        (head.len, true)
    }

    fn body(&mut self, now: Time, input: &mut [u8]) -> (usize, bool) {
        let mut rest = &*input;
        let body = self.connection.next_body(now, &mut rest);
        let consumed = input.len() - rest.len();
        match body {
            Ok(Some(body)) => {
                self.events.push(format!("body {}", String::from_utf8_lossy(&body)));
                self.connection.respond(now, Status::OK, [("X-Test", "yes")], BorrowedContent::Bytes(&body));
            }
            Ok(None) => return (consumed, self.connection.phase() != Phase::Body),
            Err(error) => self.connection.refuse(now, error.status()),
        }
        (consumed, true)
    }

    fn message(&mut self, now: Time, mut input: &mut [u8]) -> (usize, bool) {
        let before = input.len();
        let message = self.connection.next_message(now, &mut input, &Default::default());
        let consumed = before - input.len();
        match message {
            Ok(Some(Message::Text(text))) => {
                self.echoes.write_with(|out| write_frame(out, Opcode::Text, text.as_bytes(), None));
                self.events.push(format!("text {text}"));
            }
            Ok(Some(Message::Binary(data))) => {
                self.echoes.write_with(|out| write_frame(out, Opcode::Binary, &data, None));
                self.events.push(format!("binary {data:?}"));
            }
            Ok(Some(Message::Close(frame))) => {
                self.events.push(format!("close {:?}", frame.map(|frame| frame.code)));
            }
            Ok(Some(other)) => panic!("the connection itself handles {other:?}"),
            Ok(None) => return (consumed, false),
            Err(error) => self.events.push(format!("error {error}")),
        }
        // Queued at once, as by a session, so that echoes and the connection's own frames stay in order.
        self.connection.outbound().append(&mut self.echoes);
        (consumed, true)
    }
}

/// A valid WebSocket handshake.
pub const HANDSHAKE: &[u8] = b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
