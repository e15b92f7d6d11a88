//! The floor: the cost of the system calls alone. It is not a server: it answers with the same bytes by searching and
//! copying, has no sessions, rooms or timers, and checks nothing.
//!
//! It runs one thread on epoll and reads and writes like a server: one read and one write for everything that a client
//! sent at once.
#![allow(clippy::expect_used)]

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};

const LISTENER: Token = Token(usize::MAX);
const OPEN: &[u8] = br#"0{"sid":"aaaaaaaaaaaaaaaaaaaa","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;
const CONNECTED: &[u8] = br#"40{"sid":"bbbbbbbbbbbbbbbbbbbb"}"#;

struct Client {
    stream: TcpStream,
    /// The beginning of a message whose end has not arrived.
    partial: Vec<u8>,
    output: Vec<u8>,
    is_websocket: bool,
    /// The answer to the next poll.
    answer: Vec<u8>,
}

fn main() -> io::Result<()> {
    let port = std::env::var("PORT").ok().and_then(|text| text.parse().ok()).unwrap_or(3000);
    let mut listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    let mut clients: Vec<Client> = Vec::new();
    let mut scratch = vec![0; 64 << 10];
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    stream.set_nodelay(true)?;
                    let interest = Interest::READABLE | Interest::WRITABLE;
                    poll.registry().register(&mut stream, Token(clients.len()), interest)?;
                    clients.push(Client {
                        stream,
                        partial: Vec::new(),
                        output: Vec::new(),
                        is_websocket: false,
                        answer: Vec::new(),
                    });
                }
                continue;
            }
            let client = &mut clients[event.token().0];
            let broadcast = if event.is_readable() { client.read(&mut scratch) } else { None };
            client.write();
            if let Some(frame) = broadcast {
                for client in clients.iter_mut().filter(|client| client.is_websocket) {
                    client.output.extend_from_slice(&frame);
                    client.write();
                }
            }
        }
    }
}

impl Client {
    /// Answers all messages that have arrived. Returns frames for all clients, if there were broadcasts.
    fn read(&mut self, scratch: &mut [u8]) -> Option<Vec<u8>> {
        let mut broadcast = None;
        loop {
            let kept = self.partial.len();
            if kept >= scratch.len() {
                return broadcast;
            }
            scratch[..kept].copy_from_slice(&self.partial);
            let n = match self.stream.read(&mut scratch[kept..]) {
                Ok(0) | Err(_) => return broadcast,
                Ok(n) => n,
            };
            let is_full = kept + n == scratch.len();
            let mut input = &mut scratch[..kept + n];
            while let Some(used) = match self.is_websocket {
                true => self.frame(input, &mut broadcast),
                false => self.request(input),
            } {
                input = &mut input[used..];
            }
            self.partial.clear();
            self.partial.extend_from_slice(input);
            if !is_full {
                return broadcast;
            }
        }
    }

    fn frame(&mut self, input: &mut [u8], broadcast: &mut Option<Vec<u8>>) -> Option<usize> {
        let (first, second) = (*input.first()?, *input.get(1)? & 127);
        let (header, len) = match second {
            126 => (4, usize::from(u16::from_be_bytes(input.get(2..4)?.try_into().ok()?))),
            127 => (10, u64::from_be_bytes(input.get(2..10)?.try_into().ok()?) as usize),
            len => (2, usize::from(len)),
        };
        let key: [u8; 4] = input.get(header..header + 4)?.try_into().ok()?;
        let payload = input.get_mut(header + 4..header + 4 + len)?;
        for chunk in payload.chunks_mut(4) {
            chunk.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        }
        match payload {
            payload if first == 0x82 => {
                put(&mut self.output, 0x81, &[br#"451-["bin",{"_placeholder":true,"num":0}]"#]);
                put(&mut self.output, 0x82, &[payload]);
            }
            [b'4', b'2', b'[', b'"', b'e', ..] => put(&mut self.output, 0x81, &[payload]),
            [b'4', b'2', b'[', b'"', b'b', ..] => {
                put(broadcast.get_or_insert_default(), 0x81, &[payload]);
            }
            [b'4', b'2', rest @ ..] => {
                let (id, data) = acknowledge(rest);
                put(&mut self.output, 0x81, &[b"43", id, b"[", data]);
            }
            [b'4', b'0'] => put(&mut self.output, 0x81, &[CONNECTED]),
            _ => {}
        }
        Some(header + 4 + len)
    }

    fn request(&mut self, input: &[u8]) -> Option<usize> {
        let end = input.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let head = &input[..end];
        if head.starts_with(b"GET /socket.io/?EIO=4&transport=websocket") {
            self.output.extend_from_slice(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                  Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            );
            put(&mut self.output, 0x81, &[OPEN]);
            self.is_websocket = true;
            return Some(end);
        }
        if head.starts_with(b"GET ") {
            let answer = match std::mem::take(&mut self.answer) {
                answer if answer.is_empty() => OPEN.to_vec(),
                answer => answer,
            };
            self.respond(&answer);
            return Some(end);
        }
        let name = b"Content-Length: ";
        let at = head.windows(name.len()).position(|window| window == name)? + name.len();
        let digits = head[at..].iter().take_while(|byte| byte.is_ascii_digit());
        let len = digits.fold(0, |len, digit| len * 10 + usize::from(digit - b'0'));
        let body = input.get(end..end + len)?;
        self.answer = match body.strip_prefix(b"42") {
            None => CONNECTED.to_vec(),
            Some(rest) => {
                let (id, data) = acknowledge(rest);
                [b"43", id, b"[", data].concat()
            }
        };
        self.respond(b"ok");
        Some(end + len)
    }

    fn respond(&mut self, body: &[u8]) {
        let len = body.len();
        // Writing to memory does not fail.
        let _ = write!(
            self.output,
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=UTF-8\r\nContent-Length: {len}\r\n\r\n"
        );
        self.output.extend_from_slice(body);
    }

    fn write(&mut self) {
        let mut written = 0;
        while written < self.output.len() {
            match self.stream.write(&self.output[written..]) {
                Ok(n) => written += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => written = self.output.len(),
            }
        }
        self.output.drain(..written);
    }
}

/// Splits `1["ack","x"]` into the id `1` and the rest `"x"]`.
fn acknowledge(rest: &[u8]) -> (&[u8], &[u8]) {
    let (id, list) = rest.split_at(rest.iter().take_while(|byte| byte.is_ascii_digit()).count());
    (id, list.get(br#"["ack","#.len()..).unwrap_or_default())
}

/// Appends a frame.
fn put(out: &mut Vec<u8>, first: u8, parts: &[&[u8]]) {
    out.push(first);
    match parts.iter().map(|part| part.len()).sum() {
        len @ 0..126 => out.push(len as u8),
        len @ 126..0x1_0000 => {
            out.push(126);
            out.extend((len as u16).to_be_bytes());
        }
        len => {
            out.push(127);
            out.extend((len as u64).to_be_bytes());
        }
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
}
