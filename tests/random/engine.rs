//! An Engine.IO client that does as the reference's: it polls and posts, upgrades, and answers pings.

use crate::simulation::{Dice, Pipe, Sim};
use sockeye_core::websocket::{Decoder, Message as Frame, Opcode, Role, write_close, write_frame};
use std::collections::VecDeque;
use std::time::Duration;

/// A packet as it is written: text with its digit in front, or bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    Text(String),
    Binary(Vec<u8>),
}

pub struct Engine {
    sim: Sim,
    dice: Dice,
    session: Option<String>,
    line: Line,
    upgrade: Option<Upgrade>,
    /// When an upgrade was last lost: the server may not know for a while.
    lost: Duration,
    /// What waits to be sent.
    out: VecDeque<Packet>,
    /// Messages that came, without the digit.
    pub inbox: VecDeque<Packet>,
    /// Why it is over.
    pub end: Option<&'static str>,
    /// An upgrade was refused without need.
    pub was_refused: bool,
    /// Nothing is done any more, whatever comes.
    pub is_mute: bool,
}

enum Line {
    Polling { polls: Http, posts: Http, paused: bool },
    WebSocket(WebSocket),
}

struct Upgrade {
    websocket: WebSocket,
    is_answered: bool,
    /// The server has no reason to refuse it.
    is_due: bool,
}

/// The most bytes of one request.
const POST: usize = 15_000;

impl Engine {
    pub fn open(sim: &Sim, mut dice: Dice, over_websocket: bool) -> Engine {
        let line = if over_websocket {
            Line::WebSocket(WebSocket::dial(sim, &mut dice, ""))
        } else {
            let (mut polls, posts) = (Http::dial(sim, &mut dice), Http::dial(sim, &mut dice));
            polls.request(sim, &mut dice, "GET /socket.io/?EIO=4&transport=polling", None);
            Line::Polling { polls, posts, paused: false }
        };
        Engine {
            sim: sim.clone(),
            dice,
            session: None,
            line,
            upgrade: None,
            lost: Duration::ZERO,
            out: VecDeque::new(),
            inbox: VecDeque::new(),
            end: None,
            was_refused: false,
            is_mute: false,
        }
    }

    pub fn is_open(&self) -> bool {
        self.session.is_some() && self.end.is_none()
    }

    pub fn is_polling(&self) -> bool {
        matches!(self.line, Line::Polling { .. })
    }

    pub fn is_upgrading(&self) -> bool {
        self.upgrade.is_some()
    }

    pub fn send(&mut self, packet: Packet) {
        self.out.push_back(packet);
    }

    /// How much is not with the network yet.
    pub fn waiting(&self) -> usize {
        self.out.len()
    }

    pub fn begin_upgrade(&mut self) {
        if self.is_polling()
            && self.upgrade.is_none()
            && let Some(session) = &self.session
        {
            let query = format!("&sid={session}");
            let websocket = WebSocket::dial(&self.sim, &mut self.dice, &query);
            let is_due = self.sim.now().since_origin() > self.lost + Duration::from_secs(6);
            self.upgrade = Some(Upgrade { websocket, is_answered: false, is_due });
        }
    }

    /// The stream that is being tried is lost; polling goes on.
    pub fn lose_upgrade(&mut self, broken: bool) {
        let Some(upgrade) = self.upgrade.take() else { return };
        end(&upgrade.websocket.pipe, broken);
        self.lost = self.sim.now().since_origin();
        if let Line::Polling { paused, .. } = &mut self.line {
            *paused = false;
        }
    }

    /// The streams in use, for the weather.
    pub fn pipes(&self) -> Vec<Pipe> {
        let mut pipes = match &self.line {
            Line::Polling { polls, posts, .. } => vec![polls.pipe.clone(), posts.pipe.clone()],
            Line::WebSocket(websocket) => vec![websocket.pipe.clone()],
        };
        pipes.extend(self.upgrade.iter().map(|upgrade| upgrade.websocket.pipe.clone()));
        pipes
    }

    /// Cuts one stream of those in use.
    pub fn cut(&mut self, broken: bool) {
        let pipes = self.pipes();
        if let Some(pipe) = pipes.get(self.dice.below(pipes.len())) {
            end(pipe, broken);
        }
    }

    /// Says goodbye, in one of the ways that there are.
    pub fn close(&mut self) {
        match &mut self.line {
            Line::WebSocket(websocket) if self.dice.once_in(2) => {
                websocket.send_close();
                self.finish("closed");
            }
            _ => {
                self.out.push_back(Packet::Text("1".into()));
                self.step();
                self.finish("closed");
            }
        }
    }

    fn finish(&mut self, why: &'static str) {
        self.pipes().iter().for_each(Pipe::finish);
        self.end.get_or_insert(why);
    }

    /// Does all that can be done now; whether that was anything.
    pub fn step(&mut self) -> bool {
        if self.is_mute {
            return false;
        }
        if self.end.is_some() {
            // Nothing is in the way of the end of the stream.
            self.pipes().iter().for_each(|pipe| drop(pipe.receive()));
            return false;
        }
        let upgraded = self.step_upgrade();
        let moved = match &self.line {
            Line::Polling { .. } => self.step_polling(),
            Line::WebSocket(_) => self.step_websocket(),
        };
        if self.end.is_some() {
            self.pipes().iter().for_each(Pipe::finish);
        }
        upgraded || moved
    }

    fn step_polling(&mut self) -> bool {
        let Line::Polling { polls, posts, paused } = &mut self.line else { return false };
        let mut busy = false;
        for (http, is_poll) in [(&mut *polls, true), (&mut *posts, false)] {
            match http.receive() {
                Answer::None => {}
                Answer::Lost => self.end = Some("lost"),
                Answer::Body(200, body) => {
                    busy = true;
                    if !is_poll {
                        assert_eq!(body, "ok");
                        continue;
                    }
                    for packet in body.split('\u{1e}') {
                        match packet.split_at_checked(1) {
                            Some(("b", data)) => self.inbox.push_back(Packet::Binary(from_base64(data))),
                            _ => {
                                took(packet, &mut self.session, &mut self.inbox, &mut self.out, &mut self.end)
                            }
                        }
                    }
                }
                Answer::Body(..) => self.end = Some("refused"),
            }
        }
        let (Some(session), None, false) = (&self.session, self.end, *paused) else { return busy };
        let target = format!("/socket.io/?EIO=4&transport=polling&sid={session}");
        if !polls.is_waiting {
            polls.request(&self.sim, &mut self.dice, &format!("GET {target}"), None);
            busy = true;
        }
        if !posts.is_waiting && !self.out.is_empty() {
            let mut body = String::new();
            while let Some(packet) = self.out.pop_front() {
                let text = match packet {
                    Packet::Text(text) => text,
                    Packet::Binary(data) => format!("b{}", to_base64(&data)),
                };
                if !body.is_empty() && body.len() + text.len() >= POST {
                    // As it was, but for the form, which goes over both transports.
                    self.out.push_front(Packet::Text(text));
                    break;
                }
                if !body.is_empty() {
                    body.push('\u{1e}');
                }
                body.push_str(&text);
            }
            posts.request(&self.sim, &mut self.dice, &format!("POST {target}"), Some(&body));
            busy = true;
        }
        busy
    }

    fn step_websocket(&mut self) -> bool {
        let Line::WebSocket(websocket) = &mut self.line else { return false };
        let mut busy = false;
        for packet in websocket.receive() {
            busy = true;
            match packet {
                Packet::Binary(data) => self.inbox.push_back(Packet::Binary(data)),
                Packet::Text(text) => {
                    took(&text, &mut self.session, &mut self.inbox, &mut self.out, &mut self.end)
                }
            }
        }
        if websocket.is_over {
            self.end.get_or_insert("ended");
        }
        if self.session.is_some() && self.end.is_none() {
            while let Some(packet) = self.out.pop_front() {
                websocket.send(&mut self.dice, &packet);
                busy = true;
            }
        }
        busy
    }

    fn step_upgrade(&mut self) -> bool {
        let Some(Upgrade { websocket, is_answered, is_due }) = &mut self.upgrade else { return false };
        let Line::Polling { polls, posts, paused } = &mut self.line else { return false };
        let packets = websocket.receive();
        let mut busy = !packets.is_empty();
        if packets == [Packet::Text("3probe".into())] && !*is_answered {
            (*is_answered, *paused) = (true, true);
        } else if !packets.is_empty() || websocket.is_over {
            self.was_refused |= *is_due;
            self.lose_upgrade(false);
            return true;
        }
        if websocket.decoder.is_some() && !websocket.has_probed {
            websocket.has_probed = true;
            websocket.send(&mut self.dice, &Packet::Text("2probe".into()));
            busy = true;
        }
        if *is_answered && !polls.is_waiting && !posts.is_waiting {
            websocket.send(&mut self.dice, &Packet::Text("5".into()));
            polls.pipe.finish();
            posts.pipe.finish();
            if let Some(Upgrade { websocket, .. }) = self.upgrade.take() {
                self.line = Line::WebSocket(websocket);
            }
            busy = true;
        }
        busy
    }
}

/// A packet of text came on the session's transport.
fn took(
    text: &str,
    session: &mut Option<String>,
    inbox: &mut VecDeque<Packet>,
    out: &mut VecDeque<Packet>,
    end: &mut Option<&'static str>,
) {
    match text.split_at_checked(1) {
        Some(("0", json)) => {
            assert!(session.is_none(), "a second handshake");
            *session = json.split('"').nth(3).map(str::to_owned);
        }
        Some(("1", "")) => *end = Some("told"),
        Some(("2", "")) => out.push_back(Packet::Text("3".into())),
        Some(("4", message)) => inbox.push_back(Packet::Text(message.into())),
        Some(("6", "")) => {}
        _ => panic!("not a packet for a client: {text:?}"),
    }
}

fn end(pipe: &Pipe, broken: bool) {
    if broken { pipe.break_off() } else { pipe.finish() }
}

/// An HTTP/1.1 client with one stream at a time.
struct Http {
    pipe: Pipe,
    input: Vec<u8>,
    is_waiting: bool,
    /// When it was last used: an idle stream may be closed at any moment.
    used: Duration,
    is_last: bool,
}

enum Answer {
    None,
    Lost,
    Body(u16, String),
}

impl Http {
    fn dial(sim: &Sim, dice: &mut Dice) -> Http {
        let pipe = sim.dial_in_weather(dice.fork());
        Http { pipe, input: Vec::new(), is_waiting: false, used: sim.now().since_origin(), is_last: false }
    }

    fn request(&mut self, sim: &Sim, dice: &mut Dice, line: &str, body: Option<&str>) {
        let now = sim.now().since_origin();
        if self.is_last || self.pipe.has_ended() || now > self.used + Duration::from_secs(5) {
            self.pipe.finish();
            *self = Http::dial(sim, dice);
        }
        self.used = now;
        self.is_waiting = true;
        let mut request = format!("{line} HTTP/1.1\r\nHost: here\r\n");
        match body {
            None => request.push_str("\r\n"),
            Some(body) if dice.once_in(3) => {
                request.push_str("Transfer-Encoding: chunked\r\n\r\n");
                let mut rest = body.as_bytes();
                let mut bytes = request.into_bytes();
                while !rest.is_empty() {
                    let (chunk, behind) = rest.split_at((1 + dice.below(200)).min(rest.len()));
                    bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                    bytes.extend_from_slice(chunk);
                    bytes.extend_from_slice(b"\r\n");
                    rest = behind;
                }
                bytes.extend_from_slice(b"0\r\n\r\n");
                return self.pipe.send(&bytes);
            }
            Some(body) => {
                request.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
            }
        }
        self.pipe.send(request.as_bytes());
    }

    fn receive(&mut self) -> Answer {
        let taken = self.pipe.receive();
        self.input.extend(taken);
        if !self.is_waiting {
            // A stream that says nothing for long is told so.
            let told = self.input.iter().zip(b"HTTP/1.1 408 ").all(|(byte, expected)| byte == expected);
            assert!(told, "an answer to nothing");
            self.is_last |= !self.input.is_empty();
            return Answer::None;
        }
        match self.parse() {
            Some((status, body)) => {
                self.is_waiting = false;
                Answer::Body(status, body)
            }
            None if self.pipe.has_ended() => Answer::Lost,
            None => Answer::None,
        }
    }

    fn parse(&mut self) -> Option<(u16, String)> {
        let end = self.input.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let head = std::str::from_utf8(self.input.get(..end)?).expect("heads are text");
        let header = |name| head.lines().find_map(|line| line.strip_prefix(name));
        let length: usize = header("Content-Length: ")?.parse().expect("a number");
        let status = head.split(' ').nth(1)?.parse().expect("a number");
        let is_last = header("Connection: ") == Some("close");
        if self.input.len() < end + length {
            return None;
        }
        self.is_last = is_last;
        let body = self.input.drain(..end + length).skip(end).collect();
        Some((status, String::from_utf8(body).expect("bodies are text")))
    }
}

struct WebSocket {
    pipe: Pipe,
    input: Vec<u8>,
    /// `None` until the response to the handshake was read.
    decoder: Option<Decoder>,
    has_probed: bool,
    is_over: bool,
}

impl WebSocket {
    fn dial(sim: &Sim, dice: &mut Dice, query: &str) -> WebSocket {
        let pipe = sim.dial_in_weather(dice.fork());
        let request = format!(
            "GET /socket.io/?EIO=4&transport=websocket{query} HTTP/1.1\r\nHost: here\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        pipe.send(request.as_bytes());
        WebSocket { pipe, input: Vec::new(), decoder: None, has_probed: false, is_over: false }
    }

    /// Sends a message, sometimes in fragments and with a ping between them.
    fn send(&mut self, dice: &mut Dice, packet: &Packet) {
        let (opcode, data) = match packet {
            Packet::Text(text) => (Opcode::Text, text.as_bytes()),
            Packet::Binary(data) => (Opcode::Binary, data.as_slice()),
        };
        let mask = Some((dice.next() as u32).to_le_bytes());
        let mut bytes = Vec::new();
        if dice.once_in(6) {
            let (first, rest) = data.split_at(dice.below(data.len() + 1));
            write_frame(&mut bytes, opcode, first, mask);
            if let Some(start) = bytes.first_mut() {
                *start &= 0x7f;
            }
            write_frame(&mut bytes, Opcode::Ping, b"still there?", mask);
            write_frame(&mut bytes, Opcode::Continuation, rest, mask);
        } else {
            write_frame(&mut bytes, opcode, data, mask);
        }
        self.pipe.send(&bytes);
    }

    fn send_close(&mut self) {
        let mut bytes = Vec::new();
        write_close(&mut bytes, Some(1001), "", Some([7; 4]));
        self.pipe.send(&bytes);
    }

    fn receive(&mut self) -> Vec<Packet> {
        let mut packets = Vec::new();
        let taken = self.pipe.receive();
        self.input.extend(taken);
        if self.decoder.is_none()
            && let Some(end) = self.input.windows(4).position(|window| window == b"\r\n\r\n")
        {
            let head: Vec<u8> = self.input.drain(..end + 4).collect();
            self.is_over = !head.starts_with(b"HTTP/1.1 101 ");
            self.decoder = Some(Decoder::new(Role::Client, usize::MAX));
        }
        let mut rest = self.input.as_mut_slice();
        while let Some(decoder) = self.decoder.as_mut().filter(|_| !self.is_over)
            && let Some(frame) = decoder.decode(&mut rest).expect("the server's frames are right")
        {
            match frame {
                Frame::Text(text) => packets.push(Packet::Text(text.into())),
                Frame::Binary(data) => packets.push(Packet::Binary(data.into())),
                Frame::Close(_) => self.is_over = true,
                Frame::Ping(_) | Frame::Pong(_) => {}
            }
        }
        let left = rest.len();
        self.input.drain(..self.input.len() - left);
        self.is_over |= self.pipe.has_ended();
        packets
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn to_base64(data: &[u8]) -> String {
    let mut out = String::new();
    for chunk in data.chunks(3) {
        let bits =
            chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * i)) as usize & 63];
            out.push(if i <= chunk.len() { digit.into() } else { '=' });
        }
    }
    out
}

fn from_base64(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in text.trim_end_matches('=').as_bytes().chunks(4) {
        let digit = |byte: &u8| ALPHABET.iter().position(|known| known == byte).expect("base64") as u32;
        let bits = chunk.iter().fold(0, |bits, byte| bits << 6 | digit(byte)) << (6 * (4 - chunk.len()));
        out.extend_from_slice(&bits.to_be_bytes()[1..chunk.len()]);
    }
    out
}
