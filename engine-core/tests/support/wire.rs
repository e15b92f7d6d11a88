//! A small server above one connection: answers requests with what they were, and echoes messages.

use super::at;
use bytes::Buf;
use sockeye_core::connection::{self, Answer, Connection, Expired, Phase};
use sockeye_core::http::{self, Status};
use sockeye_core::websocket::{Message, Opcode, write_frame};
use sockeye_core::{Outbound, Time};
use std::sync::Arc;

/// `GET /hold` is not answered, a WebSocket handshake is accepted, of any other request the body is echoed.
#[derive(Debug)]
pub struct Wire {
    pub connection: Connection,
    /// What arrived and is not used.
    pub buffer: Vec<u8>,
    /// What happened.
    pub events: Vec<String>,
    /// All that was to be written.
    pub output: Vec<u8>,
    /// Echoed messages, before the connection takes them.
    pub echoes: Outbound,
    /// What is echoed goes to `output` at once.
    pub reads: bool,
    /// With so many bytes to be written no more messages are read.
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

    /// A connection that is WebSocket by now; nothing of the handshake is left.
    pub fn upgraded(config: Arc<connection::Config>) -> Wire {
        let mut wire = Wire::with(config);
        wire.feed(at(0), HANDSHAKE);
        assert!(wire.output.starts_with(b"HTTP/1.1 101 "), "{}", wire.text());
        wire.output.clear();
        wire.events.clear();
        wire
    }

    /// Bytes arrive.
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

    /// Time passes: what expired by then.
    pub fn pass(&mut self, now: Time) -> Vec<(Time, Expired)> {
        let mut all = Vec::new();
        while let Some(deadline) = self.connection.next_deadline().filter(|deadline| *deadline <= now) {
            all.push((deadline, self.connection.handle_timeout(deadline).unwrap()));
            if self.connection.phase() == Phase::Request {
                self.connection.respond(deadline, Status::REQUEST_TIMEOUT, [], Answer::Bytes(b""));
            }
            assert!(self.connection.next_deadline().is_none_or(|next| next > deadline), "a deadline stays");
            self.drain();
        }
        all
    }

    /// Takes what is to be written.
    pub fn drain(&mut self) {
        self.connection.outbound().append(&mut self.echoes);
        let out = self.connection.outbound();
        let bytes = out.copy_to_bytes(out.len());
        self.output.extend_from_slice(&bytes);
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).into_owned()
    }

    /// Handles what it can of `input`; says how much that was.
    pub fn data(&mut self, now: Time, input: &mut [u8]) -> usize {
        let mut used = 0;
        loop {
            let phase = self.connection.phase();
            let Some(mut rest) = input.get_mut(used..) else { break };
            match phase {
                Phase::Head => {
                    let mut slots = http::header_slots();
                    let Some(head) = self.connection.next_head(now, rest, &mut slots) else {
                        if self.connection.phase() == Phase::Head {
                            break;
                        }
                        continue;
                    };
                    used += head.len;
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
                    } else if head.request.path() == "/hold" {
                        self.connection.hold(None);
                    } else {
                        self.connection.receive_body(now);
                    }
                }
                Phase::Body => {
                    let mut rest = &*rest;
                    let before = rest.len();
                    let body = self.connection.next_body(now, &mut rest);
                    used += before - rest.len();
                    let body = match body {
                        Ok(body) => body,
                        Err(error) => {
                            self.connection.refuse(now, error.status());
                            continue;
                        }
                    };
                    let Some(body) = body else {
                        if self.connection.phase() == Phase::Body {
                            break;
                        }
                        continue;
                    };
                    self.events.push(format!("body {}", String::from_utf8_lossy(&body)));
                    self.connection.respond(now, Status::OK, [("X-Test", "yes")], Answer::Bytes(&body));
                }
                Phase::WebSocket if self.connection.queued() >= self.high_water => break,
                Phase::WebSocket => {
                    let before = rest.len();
                    let message = self.connection.next_message(now, &mut rest);
                    let consumed = before - rest.len();
                    match message {
                        Ok(Some(Message::Text(text))) => {
                            self.echoes
                                .write_with(|out| write_frame(out, Opcode::Text, text.as_bytes(), None));
                            self.events.push(format!("text {text}"));
                        }
                        Ok(Some(Message::Binary(data))) => {
                            self.echoes.write_with(|out| write_frame(out, Opcode::Binary, &data, None));
                            self.events.push(format!("binary {data:?}"));
                        }
                        Ok(Some(Message::Close(frame))) => {
                            self.events.push(format!("close {:?}", frame.map(|frame| frame.code)));
                        }
                        Ok(Some(other)) => panic!("{other:?} is the connection's own"),
                        Ok(None) => {
                            used += consumed;
                            break;
                        }
                        Err(error) => self.events.push(format!("error {error}")),
                    }
                    used += consumed;
                    // As a session would: echoes go out in order with the connection's own frames.
                    self.connection.outbound().append(&mut self.echoes);
                }
                Phase::Request => break,
                Phase::Closing | Phase::Closed => {
                    used = input.len();
                    break;
                }
            }
        }
        used
    }
}

/// A valid WebSocket handshake.
pub const HANDSHAKE: &[u8] = b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
