//! WebSocket frames: unmasked and parsed as by a server, and written.

use crate::beside;
use criterion::Criterion;
use rig::frame;
use sockeye_core::websocket::{Decoder, Message as OurMessage, Opcode, Role as OurRole, write_frame};
use std::hint::black_box;
use std::io::{self, ErrorKind, Read, Write};
use tungstenite::protocol::Role;
use tungstenite::{Error, Message, Utf8Bytes, WebSocket};

/// The number and size of the messages that arrive at once.
const SHAPES: [(&str, usize, usize); 3] = [("16x32B", 16, 32), ("1x1KiB", 1, 1024), ("1x64KiB", 1, 65_000)];

pub(crate) fn decode(c: &mut Criterion) {
    for (name, count, size) in SHAPES {
        let input = frame(Opcode::Text, "x".repeat(size).as_bytes()).repeat(count);
        // Both start with a copy, like a read from a socket: ours unmasks it in place, tungstenite in its own buffer.
        let mut buffer = input.clone();
        let mut decoder = Decoder::new(OurRole::Server, 1 << 20);
        let ours = || {
            buffer.copy_from_slice(black_box(&input));
            let mut rest = buffer.as_mut_slice();
            let mut sum = (0, 0);
            while let Some(message) = decoder.decode(&mut rest).expect("it is right") {
                match message {
                    OurMessage::Text(text) => sum = (sum.0 + 1, sum.1 + text.len()),
                    other => panic!("not a text: {other:?}"),
                }
            }
            sum
        };
        let mut ours = ours;
        let mut socket = WebSocket::from_raw_socket(Replay { input: &[], written: 0 }, Role::Server, None);
        let mut theirs = || {
            socket.get_mut().input = black_box(&input);
            let mut sum = (0, 0);
            loop {
                match socket.read() {
                    Ok(Message::Text(text)) => sum = (sum.0 + 1, sum.1 + text.len()),
                    Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => return sum,
                    other => panic!("not a text: {other:?}"),
                }
            }
        };
        assert_eq!(ours(), (count, count * size));
        assert_eq!(theirs(), (count, count * size));
        beside(c, "decode_frames", name, input.len(), &mut ours, "tungstenite", &mut theirs);
    }
}

pub(crate) fn encode(c: &mut Criterion) {
    for (name, count, size) in SHAPES {
        let text = "x".repeat(size);
        let mut buffer = Vec::new();
        let mut ours = || {
            buffer.clear();
            for _ in 0..count {
                write_frame(&mut buffer, Opcode::Text, black_box(&text).as_bytes(), None);
            }
            buffer.len()
        };
        let shared = Utf8Bytes::from(&text);
        let mut socket = WebSocket::from_raw_socket(Replay { input: &[], written: 0 }, Role::Server, None);
        let mut theirs = || {
            for _ in 0..count {
                socket.write(Message::Text(black_box(&shared).clone())).expect("the stream takes it");
            }
            socket.flush().expect("the stream takes it");
            std::mem::take(&mut socket.get_mut().written)
        };
        let len = ours();
        assert_eq!(theirs(), len);
        beside(c, "encode_frames", name, len, &mut ours, "tungstenite", &mut theirs);
    }
}

/// A stream that yields fixed bytes and accepts any.
struct Replay<'a> {
    input: &'a [u8],
    written: usize,
}

impl Read for Replay<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.input.is_empty() {
            true => Err(ErrorKind::WouldBlock.into()),
            false => self.input.read(buf),
        }
    }
}

impl Write for Replay<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.written += buf.len();
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
