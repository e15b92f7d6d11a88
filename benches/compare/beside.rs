//! Echoes at a fixed rate, beside broadcasts to many other clients.

use crate::Failure;
use crate::client::{Client, Opcode, write_frame};
use crate::machine::Cpu;
use crate::report::Sample;
use crate::server::Running;
use mio::{Events, Poll};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The clients that are sent an echo.
const ECHOING: usize = 1_000;
/// The clients that are sent nothing but broadcasts.
const LISTENING: usize = 5_000;
/// The time between two echoes of a client.
const PERIOD: Duration = Duration::from_millis(50);
const BETWEEN_BROADCASTS: Duration = Duration::from_secs(1);
/// The listening clients that are served before the echoing ones are looked at again.
const LISTENERS_PER_TURN: usize = 16;
const CONNECTING: usize = 200;
const WARM_UP: Duration = Duration::from_secs(1);

/// Measures the latency of echoes from the time at which they were due.
pub(crate) fn run(server: &Running, time: Duration) -> Result<Sample, Failure> {
    let mut echoing = Group::connect(server, ECHOING, 1024)?;
    let mut listening = Group::connect(server, LISTENING, LISTENERS_PER_TURN)?;
    let mut echo = Vec::new();
    write_frame(&mut echo, Opcode::Text, b"42[\"echo\",\"0123456789abcdef0123456789abcdef\"]");
    let mut broadcast = Vec::new();
    write_frame(&mut broadcast, Opcode::Text, b"42[\"broadcast\",\"0123456789abcdef0123456789abcdef\"]");

    let start = Instant::now();
    let (mut sent, mut next_broadcast) = (0_u32, start);
    let mut measured = None;
    let mut latencies = Vec::new();
    loop {
        let now = Instant::now();
        if measured.is_none() && now >= start + WARM_UP {
            measured = Some((Cpu::of(server.process()), now));
            latencies.clear();
        }
        if now >= start + WARM_UP + time {
            break;
        }
        while let due = start + PERIOD * sent / ECHOING as u32
            && due <= now
        {
            let member = &mut echoing.members[sent as usize % ECHOING];
            member.send(&echo)?;
            member.under_way.push_back(due);
            sent += 1;
        }
        if next_broadcast <= now {
            listening.members[0].send(&broadcast)?;
            next_broadcast += BETWEEN_BROADCASTS;
        }
        echoing.turn(Duration::ZERO, |received, at| {
            latencies.extend(received.map(|due| at.duration_since(due).as_micros() as u32))
        })?;
        listening.turn(Duration::ZERO, |_, _| {})?;
    }
    let (cpu, began) = measured.ok_or("nothing was measured")?;
    let (total, user) = Cpu::of(server.process()).since(cpu);
    let received = latencies.len() as u64;
    let mut sample = Sample::of_cpu(total, user, received);
    sample.take_time(began.elapsed(), received, &mut latencies);
    Ok(sample)
}

/// Clients that are waited for together.
struct Group {
    poll: Poll,
    events: Events,
    scratch: Vec<u8>,
    members: Vec<Member>,
}

struct Member {
    client: Client,
    is_upgraded: bool,
    is_connected: bool,
    /// The times at which the echoes were due that have not come back.
    under_way: VecDeque<Instant>,
}

impl Member {
    fn send(&mut self, frame: &[u8]) -> std::io::Result<()> {
        self.client.output().extend_from_slice(frame);
        self.client.flush()
    }
}

impl Group {
    fn connect(server: &Running, clients: usize, events_per_turn: usize) -> Result<Group, Failure> {
        let mut group = Group {
            poll: Poll::new()?,
            events: Events::with_capacity(events_per_turn),
            scratch: vec![0; 64 << 10],
            members: Vec::with_capacity(clients),
        };
        let request = crate::events::upgrade(server);
        let end = Instant::now() + Duration::from_secs(120);
        loop {
            let connected = group.members.iter().filter(|member| member.is_connected).count();
            if connected == clients {
                return Ok(group);
            }
            while group.members.len() < clients && group.members.len() - connected < CONNECTING {
                let token = group.members.len();
                let client = Client::connect(server.address, group.poll.registry(), token)?;
                let mut member =
                    Member { client, is_upgraded: false, is_connected: false, under_way: VecDeque::new() };
                member.send(request.as_bytes())?;
                group.members.push(member);
            }
            group.turn(Duration::from_millis(100), |_, _| {})?;
            if Instant::now() > end {
                return Err(format!("only {connected} of {clients} clients connected").into());
            }
        }
    }

    /// Handles what has arrived. Passes the time at which each echo that came back was due, if it is one.
    fn turn(
        &mut self,
        wait: Duration,
        mut received: impl FnMut(Option<Instant>, Instant),
    ) -> Result<(), Failure> {
        self.poll.poll(&mut self.events, Some(wait))?;
        for event in &self.events {
            let member = &mut self.members[event.token().0];
            if event.is_readable() {
                member.client.fill(&mut self.scratch)?;
                let now = Instant::now();
                member.read(|due| received(due, now))?;
            }
            member.client.flush()?;
        }
        Ok(())
    }
}

impl Member {
    fn read(&mut self, mut received: impl FnMut(Option<Instant>)) -> Result<(), Failure> {
        if !self.is_upgraded {
            let Some(end) = self.client.input().windows(4).position(|window| window == b"\r\n\r\n") else {
                return Ok(());
            };
            if !self.client.input().starts_with(b"HTTP/1.1 101") {
                return Err("a client was refused".into());
            }
            self.client.take(end + 4);
            self.is_upgraded = true;
        }
        while let Some((_, range)) = self.client.frame() {
            match self.client.bytes(range) {
                b"2" => write_frame(self.client.output(), Opcode::Text, b"3"),
                [b'0', ..] => write_frame(self.client.output(), Opcode::Text, b"40"),
                [b'4', b'0', ..] => self.is_connected = true,
                payload if payload.starts_with(b"42[\"echo\",") => {
                    received(Some(self.under_way.pop_front().ok_or("an echo that was not sent")?));
                }
                payload if payload.starts_with(b"42[\"broadcast\",") => received(None),
                payload => return Err(format!("unexpected: {}", String::from_utf8_lossy(payload)).into()),
            }
        }
        Ok(())
    }
}
