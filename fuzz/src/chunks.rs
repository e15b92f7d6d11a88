//! The meaning of a byte stream does not depend on how it is cut.

use super::Choices;
use super::support::at;
use super::support::wire::Wire;
use sockeye_core::connection::Phase;
use sockeye_core::websocket::{
    CloseFrame, Decoder, Deflate, Error, Message, Opcode, Role, write_close, write_frame,
};

/// Reads the sizes that the input is cut into; they are repeated until its end.
fn sizes(choices: &mut Choices<'_>) -> Vec<usize> {
    (0..4).map(|_| usize::from(choices.byte()) + 1).collect()
}

fn cut<'a>(mut rest: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut chunks = Vec::new();
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (chunk, behind) = rest.split_at((*size).min(rest.len()));
        chunks.push(chunk);
        rest = behind;
    }
    chunks
}

#[derive(Debug, PartialEq)]
enum Owned {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

impl Owned {
    fn of(message: Message<'_>) -> Owned {
        match message {
            Message::Text(text) => Owned::Text(text.into()),
            Message::Binary(data) => Owned::Binary(data.into()),
            Message::Ping(data) => Owned::Ping(data.into()),
            Message::Pong(data) => Owned::Pong(data.into()),
            Message::Close(frame) => {
                Owned::Close(frame.map(|CloseFrame { code, reason }| (code, reason.into())))
            }
        }
    }

    fn write(&self, out: &mut Vec<u8>, mask: Option<[u8; 4]>, deflate: Option<Deflate>) {
        #[cfg(feature = "deflate")]
        if let Some(deflate) = deflate
            && match self {
                Owned::Text(text) => {
                    deflate.write_frame(&Default::default(), out, Opcode::Text, &[text.as_bytes()], mask)
                }
                Owned::Binary(data) => {
                    deflate.write_frame(&Default::default(), out, Opcode::Binary, &[data], mask)
                }
                _ => false,
            }
        {
            return;
        }
        let _ = deflate;
        match self {
            Owned::Text(text) => write_frame(out, Opcode::Text, text.as_bytes(), mask),
            Owned::Binary(data) => write_frame(out, Opcode::Binary, data, mask),
            Owned::Ping(data) => write_frame(out, Opcode::Ping, data, mask),
            Owned::Pong(data) => write_frame(out, Opcode::Pong, data, mask),
            Owned::Close(None) => write_close(out, None, "", mask),
            Owned::Close(Some((code, reason))) => write_close(out, Some(*code), reason, mask),
        }
    }
}

const LIMIT: usize = 1000;

/// Decodes a stream, and returns its messages with the error that ends it or the number of bytes that are left.
fn decode((role, deflate): (Role, Option<Deflate>), chunks: &[&[u8]]) -> (Vec<Owned>, Result<usize, Error>) {
    let mut decoder = Decoder::new(role, LIMIT);
    if let Some(deflate) = deflate {
        decoder.set_deflate(deflate);
    }
    let mut messages = Vec::new();
    let mut buffer = Vec::new();
    for chunk in chunks {
        buffer.extend_from_slice(chunk);
        let mut rest = buffer.as_mut_slice();
        loop {
            match decoder.decode(&mut rest) {
                Ok(Some(message)) => messages.push(Owned::of(message)),
                Ok(None) => break,
                Err(error) => return (messages, Err(error)),
            }
        }
        let left = rest.len();
        buffer.drain(..buffer.len() - left);
    }
    (messages, Ok(buffer.len()))
}

/// A stream of frames means the same however it is cut, and its messages can be written and decoded again.
pub fn websocket_chunks(data: &[u8]) {
    let mut choices = Choices(data);
    let choice = choices.byte();
    let (role, mask) = match choice & 1 {
        0 => (Role::Server, Some([1, 2, 3, 4])),
        _ => (Role::Client, None),
    };
    let deflate = if choice & 4 != 0 { agreed(choice >> 3) } else { None };
    let of = (role, deflate);
    let sizes = sizes(&mut choices);
    let stream = choices.0;
    let whole = decode(of, &[stream]);
    assert_eq!(decode(of, &cut(stream, &sizes)), whole);
    assert_eq!(decode(of, &cut(stream, &[1])), whole);
    let (messages, _) = whole;
    let mut again = Vec::new();
    messages.iter().for_each(|message| message.write(&mut again, mask, deflate));
    assert!(messages.iter().all(|message| match message {
        Owned::Text(text) => text.len() <= LIMIT,
        Owned::Binary(data) => data.len() <= LIMIT,
        _ => true,
    }));
    assert_eq!(decode(of, &[&again]), (messages, Ok(0)));
}

/// Negotiates compression with one of the possible windows.
#[cfg(feature = "deflate")]
fn agreed(choice: u8) -> Option<Deflate> {
    use sockeye_core::websocket::PerMessageDeflate;
    let offer = format!("permessage-deflate; server_max_window_bits={}", 9 + choice % 7);
    let config = PerMessageDeflate::new().threshold(0).level(choice >> 3);
    Deflate::agree(&config, [offer.as_bytes()].into_iter()).map(|(deflate, _)| deflate)
}

#[cfg(not(feature = "deflate"))]
fn agreed(_: u8) -> Option<Deflate> {
    None
}

/// Feeds a stream of requests to a connection, and returns the events, the output, the phase and the bytes left.
fn outcome(chunks: &[&[u8]]) -> (Vec<String>, Vec<u8>, Phase, Vec<u8>) {
    let mut wire = Wire::with(super::support::wire::limits_with(|limits| {
        (limits.max_head, limits.max_payload) = (600, LIMIT);
    }));
    for chunk in chunks {
        wire.feed(at(1), chunk);
    }
    // A body is consumed as it arrives, so the bytes left within it depend on the cuts.
    let left = if wire.connection.phase() == Phase::Body { Vec::new() } else { wire.buffer };
    (wire.events, wire.output, wire.connection.phase(), left)
}

/// The bytes of a whole connection (requests, bodies, WebSocket) mean the same however they are cut.
pub fn http_chunks(data: &[u8]) {
    let mut choices = Choices(data);
    let sizes = sizes(&mut choices);
    let stream = choices.0;
    let whole = outcome(&[stream]);
    assert_eq!(outcome(&cut(stream, &sizes)), whole);
    assert_eq!(outcome(&cut(stream, &[1])), whole);
}
