//! The floor: the cost of the system calls alone. It is not a server: it answers with the same bytes by searching and
//! copying, has no sessions, rooms or timeouts, and checks nothing.
//!
//! It runs one thread on epoll and reads and writes like a server: one read and one write for everything that a client
//! sent at once.
#![allow(clippy::expect_used)]

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Socket, Type};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

const LISTENER: Token = Token(usize::MAX);
const OPEN: &[u8] = br#"0{"sid":"aaaaaaaaaaaaaaaaaaaa","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;
const CONNECTED: &[u8] = br#"40{"sid":"bbbbbbbbbbbbbbbbbbbb"}"#;
const BACKLOG: i32 = 4096;

struct Client {
    stream: TcpStream,
    /// The beginning of a message whose end has not arrived: `kept` bytes of it.
    partial: Vec<u8>,
    kept: usize,
    output: Vec<u8>,
    is_websocket: bool,
    /// True if it polls and has been sent the handshake.
    is_open: bool,
    /// The answer to the next poll.
    answer: Vec<u8>,
}

fn main() -> io::Result<()> {
    let mut listener = listen(number("PORT").unwrap_or(3000))?;
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    let mut clients: Vec<Option<Client>> = Vec::new();
    let mut scratch = vec![0; 64 << 10];
    let interval = number("PING_INTERVAL").map(|interval| Duration::from_millis(interval.into()));
    let mut next_ping = Instant::now();
    loop {
        if let Some(interval) = interval
            && next_ping <= Instant::now()
        {
            next_ping += interval;
            send_to_all(&mut clients, b"\x81\x012");
        }
        poll.poll(&mut events, interval.map(|_| next_ping.saturating_duration_since(Instant::now())))?;
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    stream.set_nodelay(true)?;
                    let interest = Interest::READABLE | Interest::WRITABLE;
                    poll.registry().register(&mut stream, Token(clients.len()), interest)?;
                    clients.push(Some(Client::new(stream)));
                }
                continue;
            }
            let Some(client) = &mut clients[event.token().0] else { continue };
            let mut broadcast = Vec::new();
            let is_closed = event.is_readable() && !client.read(&mut scratch, &mut broadcast);
            client.write();
            if is_closed {
                clients[event.token().0] = None;
            }
            if !broadcast.is_empty() {
                send_to_all(&mut clients, &broadcast);
            }
        }
    }
}

fn number(name: &str) -> Option<u16> {
    std::env::var(name).ok()?.parse().ok()
}

fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

fn send_to_all(clients: &mut [Option<Client>], frames: &[u8]) {
    // One that does not read is left out.
    let ready = |client: &&mut Client| client.is_websocket && client.output.len() < 64 << 10;
    for client in clients.iter_mut().flatten().filter(ready) {
        client.output.extend_from_slice(frames);
        client.write();
    }
}

impl Client {
    fn new(stream: TcpStream) -> Client {
        Client {
            stream,
            partial: Vec::new(),
            kept: 0,
            output: Vec::new(),
            is_websocket: false,
            is_open: false,
            answer: Vec::new(),
        }
    }

    /// Answers all messages that have arrived, and appends the frames that are for all clients to `broadcast`. Returns
    /// false if the client has closed the connection.
    fn read(&mut self, scratch: &mut [u8], broadcast: &mut Vec<u8>) -> bool {
        let mut partial = std::mem::take(&mut self.partial);
        let is_open = loop {
            // The rest of a message is read to its place, so that a large one is not copied again and again.
            let buffer = if self.kept > 0 { &mut partial[..] } else { &mut *scratch };
            let end = match self.stream.read(&mut buffer[self.kept..]) {
                Ok(0) => break false,
                Err(error) => break error.kind() == ErrorKind::WouldBlock,
                Ok(n) => self.kept + n,
            };
            let is_full = end == buffer.len();
            let mut input = &mut buffer[..end];
            while let Some(used) = match self.is_websocket {
                true => self.frame(input, broadcast),
                false => self.request(input),
            } {
                input = &mut input[used..];
            }
            let (was_kept, used) = (self.kept > 0, end - input.len());
            self.kept = end - used;
            if self.kept > 0 {
                let wanted = missing(input) + self.kept;
                if was_kept {
                    partial.copy_within(used..end, 0);
                    partial.resize(wanted, 0);
                } else {
                    partial.resize(wanted, 0);
                    partial[..self.kept].copy_from_slice(&scratch[used..end]);
                }
            }
            if !is_full {
                break true;
            }
        };
        self.partial = partial;
        is_open
    }

    fn frame(&mut self, input: &mut [u8], broadcast: &mut Vec<u8>) -> Option<usize> {
        let (is_binary, (header, len)) = (*input.first()? == 0x82, header(input)?);
        let key: [u8; 4] = input.get(header..header + 4)?.try_into().ok()?;
        let payload = input.get_mut(header + 4..header + 4 + len)?;
        for chunk in payload.chunks_mut(4) {
            chunk.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        }
        match payload {
            payload if is_binary => {
                put(&mut self.output, 0x81, &[br#"451-["bin",{"_placeholder":true,"num":0}]"#]);
                put(&mut self.output, 0x82, &[payload]);
            }
            [b'4', b'2', b'[', b'"', b'e', ..] => put(&mut self.output, 0x81, &[payload]),
            [b'4', b'2', b'[', b'"', b'b', ..] => put(broadcast, 0x81, &[payload]),
            [b'4', b'2', b'[', b'"', b'r', rest @ ..] => {
                // The name of the room is left out.
                let comma = rest.iter().enumerate().filter(|(_, byte)| **byte == b',').nth(1)?.0;
                put(&mut self.output, 0x81, &[br#"42["room""#, &rest[comma..]]);
            }
            [b'4', b'2', rest @ ..] => {
                let (id, data) = acknowledge(rest);
                put(&mut self.output, 0x81, &[b"43", id, b"[", data]);
            }
            [b'4', b'0'] => put(&mut self.output, 0x81, &[CONNECTED]),
            [b'2', b'p', b'r', b'o', b'b', b'e'] => put(&mut self.output, 0x81, &[b"3probe"]),
            _ => {}
        }
        Some(header + 4 + len)
    }

    fn request(&mut self, input: &[u8]) -> Option<usize> {
        let end = input.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let head = &input[..end];
        let websocket = b"GET /socket.io/?EIO=4&transport=websocket";
        if head.starts_with(websocket) {
            self.output.extend_from_slice(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                  Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            );
            // A client that upgrades has been sent it over polling.
            if head[websocket.len()] == b' ' {
                put(&mut self.output, 0x81, &[OPEN]);
            }
            self.is_websocket = true;
            return Some(end);
        }
        if head.starts_with(b"GET ") {
            let answer = match std::mem::take(&mut self.answer) {
                answer if !answer.is_empty() => answer,
                // Ends the poll at once, as servers do when an upgrade begins.
                _ if self.is_open => b"6".to_vec(),
                _ => OPEN.to_vec(),
            };
            self.is_open = true;
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

/// Returns the length of a frame's header without the key, and the length of its payload.
fn header(input: &[u8]) -> Option<(usize, usize)> {
    Some(match *input.get(1)? & 127 {
        126 => (4, usize::from(u16::from_be_bytes(input.get(2..4)?.try_into().ok()?))),
        127 => (10, u64::from_be_bytes(input.get(2..10)?.try_into().ok()?) as usize),
        len => (2, usize::from(len)),
    })
}

/// Returns the length of the missing end of a frame, or of what is read next if that is not known.
fn missing(input: &[u8]) -> usize {
    let whole = header(input).map_or(0, |(header, len)| header + 4 + len);
    if whole > input.len() { whole - input.len() } else { 4096 }
}

/// Splits `1["ack","x"]` into the id `1` and the rest `"x"]`. The answers to other events are empty.
fn acknowledge(rest: &[u8]) -> (&[u8], &[u8]) {
    let (id, list) = rest.split_at(rest.iter().take_while(|byte| byte.is_ascii_digit()).count());
    (id, list.strip_prefix(br#"["ack","#).unwrap_or(b"]"))
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
