//! Tests of the codec. `Driver` plays a connection's read loop.

extern crate std;

use alloc::{string::String, vec, vec::Vec};

use super::{Decoder, Error, Header, Message, Opcode, Role, apply_mask};

mod chunks;
mod control;
mod data;
#[cfg(feature = "deflate")]
mod deflate;
mod outgoing;

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const LIMIT: usize = 100_000;

/// A message that borrows nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Owned {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

fn text(text: &str) -> Owned {
    Owned::Text(text.into())
}

fn binary(data: &[u8]) -> Owned {
    Owned::Binary(data.into())
}

impl From<Message<'_>> for Owned {
    fn from(message: Message<'_>) -> Self {
        match message {
            Message::Text(text) => Self::Text(text.into_owned()),
            Message::Binary(data) => Self::Binary(data.into_owned()),
            Message::Ping(data) => Self::Ping(data.into()),
            Message::Pong(data) => Self::Pong(data.into()),
            Message::Close(close) => Self::Close(close.map(|c| (c.code, c.reason.into()))),
        }
    }
}

/// The result of decoding some input.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Outcome {
    messages: Vec<Owned>,
    error: Option<Error>,
    /// The bytes left in the caller's buffer; empty after an error.
    left: Vec<u8>,
}

struct Driver {
    decoder: Decoder,
    buffer: Vec<u8>,
    messages: Vec<Owned>,
    error: Option<Error>,
}

impl Driver {
    fn new(role: Role, limit: usize) -> Self {
        Self::with(Decoder::new(role, limit))
    }

    fn with(decoder: Decoder) -> Self {
        Self { decoder, buffer: Vec::new(), messages: Vec::new(), error: None }
    }

    fn receive(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
        let before = self.buffer.clone();
        let mut input = self.buffer.as_mut_slice();
        loop {
            match self.decoder.decode(&mut input) {
                Ok(Some(message)) => self.messages.push(message.into()),
                Ok(None) => {
                    assert!(before.ends_with(input), "an incomplete frame was changed");
                    break;
                }
                Err(error) => {
                    assert!(self.error.is_none_or(|first| first == error));
                    self.error = Some(error);
                    input = &mut [];
                    break;
                }
            }
        }
        let used = before.len() - input.len();
        self.buffer.drain(..used);
    }

    fn outcome(self) -> Outcome {
        Outcome { messages: self.messages, error: self.error, left: self.buffer }
    }
}

fn receive_chunks<'a>(role: Role, limit: usize, chunks: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut driver = Driver::new(role, limit);
    for chunk in chunks {
        driver.receive(chunk);
    }
    driver.outcome()
}

/// Decodes `wire` in one chunk, byte by byte, and cut in two at each position, and asserts that the
/// outcome is the same.
fn receive_with_limit(role: Role, limit: usize, wire: &[u8]) -> Outcome {
    let outcome = receive_chunks(role, limit, [wire]);
    assert_eq!(receive_chunks(role, limit, wire.chunks(1)), outcome);
    // Long input is cut only near its start, where headers and small payloads are.
    for middle in 0..wire.len().min(300) {
        let (start, end) = wire.split_at(middle);
        assert_eq!(receive_chunks(role, limit, [start, end]), outcome);
    }
    outcome
}

fn receive(role: Role, wire: &[u8]) -> Outcome {
    receive_with_limit(role, LIMIT, wire)
}

/// Returns the messages of valid and complete input.
#[track_caller]
fn messages(role: Role, wire: &[u8]) -> Vec<Owned> {
    let outcome = receive(role, wire);
    assert_eq!((outcome.error, outcome.left), (None, vec![]));
    outcome.messages
}

/// Returns the error of invalid input.
#[track_caller]
fn error(role: Role, wire: &[u8]) -> Error {
    receive(role, wire).error.expect("the input is invalid")
}

/// Returns a frame to a server (masked) or to a client (unmasked) with this first byte and a
/// correctly encoded length.
fn frame(to: Role, first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = (to == Role::Server).then_some(KEY);
    let mut wire = Header::new(Opcode::Binary, payload.len(), mask).to_vec();
    wire[0] = first;
    let start = wire.len();
    wire.extend_from_slice(payload);
    if let Some(key) = mask {
        apply_mask(&mut wire[start..], key);
    }
    wire
}

/// Returns consecutive frames to a server, given their first bytes and payloads.
fn frames(frames: &[(u8, &[u8])]) -> Vec<u8> {
    frames.iter().flat_map(|(first, payload)| frame(Role::Server, *first, payload)).collect()
}
