//! The WebSocket codec compared with tungstenite's: each reads the other's output, and both agree on damaged streams.
#![allow(missing_docs, clippy::unwrap_used)]

use proptest::collection::vec;
use proptest::prelude::*;
use sockeye_core::websocket::{self, Decoder, Opcode, write_close, write_frame};
use std::io::{self, Read, Write};
use tungstenite::protocol::{CloseFrame, Role, WebSocket, WebSocketConfig};
use tungstenite::{Bytes, Error, Message};

const LIMIT: usize = 1000;

/// A message that either codec has read.
#[derive(Clone, Debug, PartialEq)]
enum Came {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

/// The state after the last byte of a stream.
#[derive(Debug, PartialEq)]
enum End {
    /// Inside or between messages.
    Open,
    Closed,
    Failed(String),
}

/// A stream with given input that collects the output.
#[derive(Default)]
struct Stream {
    input: io::Cursor<Vec<u8>>,
    output: Vec<u8>,
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.input.read(buf)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            n => Ok(n),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.output.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn read_by_ours(bytes: &[u8], role: websocket::Role) -> (Vec<Came>, End, Option<websocket::Error>) {
    let mut bytes = bytes.to_vec();
    let mut rest = bytes.as_mut_slice();
    let mut decoder = Decoder::new(role, LIMIT);
    let mut all = Vec::new();
    loop {
        all.push(match decoder.decode(&mut rest) {
            Ok(None) => return (all, End::Open, None),
            Err(error) => return (all, End::Failed(error.to_string()), Some(error)),
            Ok(Some(websocket::Message::Text(text))) => Came::Text(text.into()),
            Ok(Some(websocket::Message::Binary(data))) => Came::Binary(data.into()),
            Ok(Some(websocket::Message::Ping(data))) => Came::Ping(data.into()),
            Ok(Some(websocket::Message::Pong(data))) => Came::Pong(data.into()),
            Ok(Some(websocket::Message::Close(frame))) => {
                all.push(Came::Close(frame.map(|frame| (frame.code, frame.reason.into()))));
                return (all, End::Closed, None);
            }
        });
    }
}

fn socket(bytes: &[u8], role: Role) -> WebSocket<Stream> {
    let config = WebSocketConfig::default().max_message_size(Some(LIMIT)).max_frame_size(Some(LIMIT));
    let stream = Stream { input: io::Cursor::new(bytes.to_vec()), output: Vec::new() };
    WebSocket::from_raw_socket(stream, role, Some(config))
}

fn read_by_theirs(bytes: &[u8], role: Role) -> (Vec<Came>, End) {
    let mut socket = socket(bytes, role);
    let mut all = Vec::new();
    loop {
        all.push(match socket.read() {
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return (all, End::Open),
            Err(error) => return (all, End::Failed(error.to_string())),
            Ok(Message::Text(text)) => Came::Text(text.to_string()),
            Ok(Message::Binary(data)) => Came::Binary(data.into()),
            Ok(Message::Ping(data)) => Came::Ping(data.into()),
            Ok(Message::Pong(data)) => Came::Pong(data.into()),
            Ok(Message::Close(frame)) => {
                all.push(Came::Close(frame.map(|frame| (frame.code.into(), frame.reason.to_string()))));
                return (all, End::Closed);
            }
            Ok(Message::Frame(frame)) => panic!("a raw frame: {frame}"),
        });
    }
}

fn message() -> impl Strategy<Value = Came> {
    let size = prop_oneof![0usize..10, 120usize..130, Just(400)];
    let data = || size.clone().prop_flat_map(|size| vec(any::<u8>(), size..=size));
    let code = proptest::sample::select(vec![1000u16, 1001, 1003, 1011, 3000, 4999]);
    prop_oneof![
        3 => any::<String>().prop_map(Came::Text),
        3 => data().prop_map(Came::Binary),
        1 => vec(any::<u8>(), 0..=125).prop_map(Came::Ping),
        1 => vec(any::<u8>(), 0..=125).prop_map(Came::Pong),
        1 => proptest::option::of((code, "[a-zé]{0,40}")).prop_map(Came::Close),
    ]
}

/// Writes a message with our codec, in fragments of the sizes `cuts`.
fn write_by_ours(message: &Came, mask: Option<[u8; 4]>, cuts: &[usize], out: &mut Vec<u8>) {
    let (opcode, data) = match message {
        Came::Text(text) => (Opcode::Text, text.as_bytes()),
        Came::Binary(data) => (Opcode::Binary, data.as_slice()),
        Came::Ping(data) => return write_frame(out, Opcode::Ping, data, mask),
        Came::Pong(data) => return write_frame(out, Opcode::Pong, data, mask),
        Came::Close(None) => return write_close(out, None, "", mask),
        Came::Close(Some((code, reason))) => return write_close(out, Some(*code), reason, mask),
    };
    let mut opcode = opcode;
    let mut rest = data;
    for cut in cuts {
        let (front, behind) = rest.split_at((*cut).min(rest.len()));
        let start = out.len();
        write_frame(out, opcode, front, mask);
        out[start] &= 0x7f;
        (opcode, rest) = (Opcode::Continuation, behind);
    }
    write_frame(out, opcode, rest, mask);
}

fn write_by_theirs(messages: &[Came], role: Role) -> Vec<u8> {
    let mut socket = socket(b"", role);
    for message in messages.iter().cloned() {
        let message = match message {
            Came::Text(text) => Message::Text(text.into()),
            Came::Binary(data) => Message::Binary(data.into()),
            Came::Ping(data) => Message::Ping(Bytes::from(data)),
            Came::Pong(data) => Message::Pong(Bytes::from(data)),
            Came::Close(frame) => Message::Close(
                frame.map(|(code, reason)| CloseFrame { code: code.into(), reason: reason.into() }),
            ),
        };
        socket.send(message).unwrap();
    }
    std::mem::take(&mut socket.get_mut().output)
}

/// Returns the messages up to the first close frame, after which everything is ignored.
fn until_closed(messages: Vec<Came>) -> (Vec<Came>, End) {
    let end = messages.iter().position(|message| matches!(message, Came::Close(_)));
    let messages = messages.into_iter().take(end.map_or(usize::MAX, |at| at + 1)).collect();
    (messages, if end.is_some() { End::Closed } else { End::Open })
}

const ROLES: [(websocket::Role, Role, Option<[u8; 4]>); 2] = [
    (websocket::Role::Server, Role::Server, Some([0x37, 0xfa, 0x21, 0x3d])),
    (websocket::Role::Client, Role::Client, None),
];

/// Returns whether tungstenite accepts input that we refuse with this error, because RFC 6455 forbids it or because it
/// exceeds a limit of ours.
///
/// [`ControlTooLong`](websocket::Error::ControlTooLong) is among them because we judge the first two bytes:
/// tungstenite reads a short length that is written in the longer form.
fn is_stricter(error: websocket::Error) -> bool {
    use websocket::Error::*;
    matches!(error, InvalidLength | ControlTooLong | InvalidCloseCode(_) | TooManyEmptyFragments)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tungstenite_reads_what_we_write(messages in vec((message(), vec(0usize..200, 0..4)), 0..6)) {
        for (_, role, mask) in ROLES {
            let mut stream = Vec::new();
            messages.iter().for_each(|(message, cuts)| write_by_ours(message, mask, cuts, &mut stream));
            let expected = until_closed(messages.iter().map(|(message, _)| message.clone()).collect());
            prop_assert_eq!(read_by_theirs(&stream, role), expected);
        }
    }

    #[test]
    fn we_read_what_tungstenite_writes(messages in vec(message(), 0..6)) {
        let expected = until_closed(messages);
        for (role, writer) in [(websocket::Role::Server, Role::Client), (websocket::Role::Client, Role::Server)] {
            let stream = write_by_theirs(&expected.0, writer);
            let (messages, end, _) = read_by_ours(&stream, role);
            prop_assert_eq!((&messages, &end), (&expected.0, &expected.1));
        }
    }

    #[test]
    fn both_codecs_agree_on_a_damaged_stream(
        messages in vec((message(), vec(0usize..200, 0..4)), 1..5),
        damage in vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..4), 1..4),
    ) {
        for (role, their_role, mask) in ROLES {
            let mut stream = Vec::new();
            messages.iter().for_each(|(message, cuts)| write_by_ours(message, mask, cuts, &mut stream));
            for (at, byte, how) in &damage {
                let at = at.index(stream.len());
                match how {
                    0 => stream[at] = *byte,
                    1 => stream[at] ^= 1 << (byte % 8),
                    2 => drop(stream.remove(at)),
                    _ => stream.insert(at, *byte),
                }
                if stream.is_empty() {
                    return Ok(());
                }
            }
            let (ours, end, error) = read_by_ours(&stream, role);
            let Some(error) = error else {
                prop_assert!((ours, end) == read_by_theirs(&stream, their_role));
                continue;
            };
            // Tungstenite checks a complete frame, and we check its first bytes.
            stream.resize(stream.len() + LIMIT + 20, 0);
            let (theirs, their_end) = read_by_theirs(&stream, their_role);
            prop_assert!(theirs.starts_with(&ours));
            let failed = matches!(their_end, End::Failed(_)) && ours.len() == theirs.len();
            prop_assert!(failed || is_stricter(error), "{error}: {:?} {their_end:?}", theirs.get(ours.len()));
        }
    }
}
