//! The clients whose connections are cut, in one thread.

use crate::client::{Client, Opcode, write_frame};
use crate::{Failure, Options};
use mio::{Events, Poll, Token};
use serde_json::Value;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The time for which a client stays away, without its attempts to connect.
const AWAY: Duration = Duration::from_secs(2);
/// The time between a client's return and the next cut is up to this.
const CALM: Duration = Duration::from_secs(10);
/// The pause after an attempt to connect that failed.
const RETRY: Duration = Duration::from_millis(200);
/// The deadline for clients to connect, and for those that are away to be back after the last broadcast.
const PATIENCE: Duration = Duration::from_secs(60);

/// The time without an event after which nothing is on its way any more.
const QUIET: Duration = Duration::from_secs(3);

const REQUEST: &str = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\n\r\n";

/// What the clients received.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) expected: u64,
    pub(crate) delivered: u64,
    /// Those that came once more, or after a later one.
    pub(crate) unexpected: u64,
    pub(crate) cuts: u64,
    /// The connections after a cut at which the server did not know the client any more.
    pub(crate) anew: u64,
}

pub(crate) struct Flock {
    address: SocketAddr,
    poll: Poll,
    /// The first one sends what is broadcast, and is never cut.
    members: Vec<Member>,
    scratch: Vec<u8>,
    dice: u64,
    time: Duration,
    rate: u32,
    counts: Counts,
}

/// A client.
#[derive(Default)]
struct Member {
    client: Option<Client>,
    stage: Stage,
    /// The time of the next cut, or, without a connection, of the next attempt to connect.
    next: Option<Instant>,
    pid: Option<String>,
    offset: Option<String>,
    last: u64,
    received: u64,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Away,
    /// The request for the WebSocket was sent.
    Upgrading,
    Joining,
    Joined,
}

impl Flock {
    /// Connects all clients.
    pub(crate) fn open(address: SocketAddr, options: &Options) -> Result<Flock, Failure> {
        let mut flock = Flock {
            address,
            poll: Poll::new()?,
            members: (0..options.clients.max(2)).map(|_| Member::default()).collect(),
            scratch: vec![0; 64 << 10],
            // Of zero, no other number would follow.
            dice: options.seed | 1 << 63,
            time: options.time,
            rate: options.rate,
            counts: Counts::default(),
        };
        let deadline = Instant::now() + PATIENCE;
        for token in 0..flock.members.len() {
            flock.connect(token);
            // Not all at once, so that no queue of connections overflows.
            if token % 50 == 49 {
                flock.turn(Instant::now() + Duration::from_millis(10))?;
            }
        }
        while !flock.all_joined() {
            if Instant::now() > deadline {
                return Err("not all clients connect".into());
            }
            flock.retry();
            flock.turn(Instant::now() + Duration::from_millis(10))?;
        }
        Ok(flock)
    }

    /// Sends the broadcasts while connections are cut, and waits until everybody is back.
    pub(crate) fn run(mut self) -> Result<Counts, Failure> {
        let start = Instant::now();
        let pause = Duration::from_secs(1) / self.rate;
        for token in 1..self.members.len() {
            self.members[token].next = Some(start + self.random(CALM));
        }
        let mut number = 0;
        while start.elapsed() < self.time {
            number += 1;
            self.send(number)?;
            let due = start + pause * u32::try_from(number)?;
            while Instant::now() < due {
                self.retry();
                self.cut();
                self.turn(due.min(Instant::now() + Duration::from_millis(5)))?;
            }
        }
        let deadline = Instant::now() + PATIENCE;
        while !self.all_joined() && Instant::now() < deadline {
            self.retry();
            self.turn(Instant::now() + Duration::from_millis(10))?;
        }
        // What is on its way, until nothing comes for a while.
        let mut rest = Instant::now() + QUIET;
        while Instant::now() < rest {
            let before = self.received();
            self.turn(rest)?;
            if self.received() > before {
                rest = Instant::now() + QUIET;
            }
        }
        self.counts.expected = number * self.members.len() as u64;
        self.counts.delivered = self.received();
        Ok(self.counts)
    }

    fn received(&self) -> u64 {
        self.members.iter().map(|member| member.received).sum()
    }

    fn all_joined(&self) -> bool {
        self.members.iter().all(|member| member.stage == Stage::Joined)
    }

    /// Returns a random time, by xorshift.
    fn random(&mut self, below: Duration) -> Duration {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        below.mul_f64((self.dice >> 11) as f64 / (1_u64 << 53) as f64)
    }

    fn send(&mut self, number: u64) -> Result<(), Failure> {
        let client = self.members[0].client.as_mut().ok_or("the sender lost its connection")?;
        write_frame(client.output(), Opcode::Text, format!(r#"42["broadcast",{number}]"#).as_bytes());
        client.flush()?;
        Ok(())
    }

    fn connect(&mut self, token: usize) {
        let member = &mut self.members[token];
        member.next = None;
        match Client::connect(self.address, self.poll.registry(), token) {
            Ok(mut client) => {
                client.output().extend(REQUEST.as_bytes());
                member.client = Some(client);
                member.stage = Stage::Upgrading;
            }
            Err(_) => member.leave(RETRY),
        }
    }

    /// Lets those whose time has come connect again.
    fn retry(&mut self) {
        let now = Instant::now();
        for token in 0..self.members.len() {
            let member = &self.members[token];
            if member.stage == Stage::Away && member.next.is_some_and(|at| at <= now) {
                self.connect(token);
            }
        }
    }

    /// Cuts the connections whose time has come.
    fn cut(&mut self) {
        let now = Instant::now();
        for member in &mut self.members {
            if member.stage == Stage::Joined && member.next.is_some_and(|at| at <= now) {
                self.counts.cuts += 1;
                member.leave(AWAY);
            }
        }
    }

    /// Handles what arrives until a time.
    fn turn(&mut self, until: Instant) -> Result<(), Failure> {
        let mut events = Events::with_capacity(1024);
        let wait = until.saturating_duration_since(Instant::now());
        match self.poll.poll(&mut events, Some(wait)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        for Token(token) in events.iter().map(mio::event::Event::token) {
            let was_joined = self.members[token].stage == Stage::Joined;
            if self.members[token].handle(&mut self.scratch, &mut self.counts).is_err() {
                self.members[token].leave(RETRY);
            }
            if token > 0 && !was_joined && self.members[token].stage == Stage::Joined {
                self.members[token].next = Some(Instant::now() + self.random(CALM));
            }
        }
        Ok(())
    }
}

impl Member {
    fn leave(&mut self, pause: Duration) {
        self.client = None;
        self.stage = Stage::Away;
        self.next = Some(Instant::now() + pause);
    }

    fn handle(&mut self, scratch: &mut [u8], counts: &mut Counts) -> Result<(), Failure> {
        let Some(mut client) = self.client.take() else { return Ok(()) };
        client.flush()?;
        // The end of the connection comes after what was received before.
        let ended = client.fill(scratch);
        if self.stage == Stage::Upgrading {
            let end = client.input().windows(4).position(|bytes| bytes == b"\r\n\r\n");
            if let Some(end) = end {
                if !client.input().starts_with(b"HTTP/1.1 101") {
                    return Err("the upgrade was refused".into());
                }
                client.take(end + 4);
                self.stage = Stage::Joining;
            }
        }
        if matches!(self.stage, Stage::Joining | Stage::Joined) {
            while let Some((opcode, range)) = client.frame() {
                let text = client.bytes(range).to_vec();
                if opcode == Opcode::Text {
                    self.packet(&mut client, std::str::from_utf8(&text)?, counts)?;
                }
            }
        }
        client.flush()?;
        ended?;
        self.client = Some(client);
        Ok(())
    }

    fn packet(&mut self, client: &mut Client, packet: &str, counts: &mut Counts) -> Result<(), Failure> {
        if packet.starts_with('0') {
            let auth = match (&self.pid, &self.offset) {
                (Some(pid), Some(offset)) => serde_json::json!({ "pid": pid, "offset": offset }).to_string(),
                (Some(pid), None) => serde_json::json!({ "pid": pid }).to_string(),
                _ => String::new(),
            };
            write_frame(client.output(), Opcode::Text, format!("40{auth}").as_bytes());
        } else if packet.starts_with('2') {
            write_frame(client.output(), Opcode::Text, b"3");
        } else if let Some(answer) = packet.strip_prefix("40") {
            let answer: Value = serde_json::from_str(answer)?;
            let pid = answer["pid"].as_str().map(String::from);
            let is_known = pid.is_some() && pid == self.pid;
            counts.anew += u64::from(self.last > 0 && !is_known);
            (self.pid, self.stage) = (pid, Stage::Joined);
        } else if let Some(event) = packet.strip_prefix("42") {
            let event: Vec<Value> = serde_json::from_str(event)?;
            let number = event.get(1).and_then(Value::as_u64).ok_or("an event without a number")?;
            match number > self.last {
                true => (self.last, self.received) = (number, self.received + 1),
                false => counts.unexpected += 1,
            }
            if let (Some(_), Some(Value::String(offset))) = (&self.pid, event.last()) {
                self.offset = Some(offset.clone());
            }
        }
        Ok(())
    }
}
