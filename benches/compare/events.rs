//! The load over WebSocket.

use crate::Failure;
use crate::client::{Client, Opcode, write_frame};
use crate::machine::{Cpu, resident};
use crate::report::Sample;
use crate::scenario::{Events, Kind};
use crate::server::Running;
use mio::Poll;
use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

/// The number of clients that connect at the same time.
const CONNECTING: usize = 200;
/// The time under load before a measurement begins.
const WARM_UP: Duration = Duration::from_millis(500);
/// The time in which messages that are in flight at the end have to come back.
const PATIENCE: Duration = Duration::from_secs(10);

/// Measures opening connections, and the memory that idle ones keep.
pub(crate) fn open(server: &Running, clients: usize) -> Result<Sample, Failure> {
    let (cpu, memory) = (Cpu::of(server.process()), resident(server.process()));
    let mut crowd = Crowd::connect(server, clients)?;
    let (total, user) = Cpu::of(server.process()).since(cpu);
    // By then the server has freed what it needed only for connecting. Pings are answered meanwhile.
    crowd.serve_for(Duration::from_secs(1))?;
    let kept = (resident(server.process()) - memory) / clients as f64;
    let mut sample = Sample::of_cpu(total, user, clients as u64);
    sample.memory = kept;
    Ok(sample)
}

/// Measures messages, with a fixed number of them in flight.
pub(crate) fn run(server: &Running, load: Events, time: Duration) -> Result<Sample, Failure> {
    let mut crowd = Crowd::connect(server, load.clients)?;
    crowd.serve_for(Duration::from_millis(200))?;
    crowd.begin(load)?;
    crowd.serve_for(WARM_UP)?;

    let (before, cpu, start) = (crowd.received, Cpu::of(server.process()), Instant::now());
    crowd.latencies.clear();
    crowd.serve_for(time)?;
    let (total, user) = Cpu::of(server.process()).since(cpu);
    let (received, elapsed) = (crowd.received - before, start.elapsed());

    crowd.stopping = true;
    let end = Instant::now() + PATIENCE;
    while crowd.missing() > 0 && Instant::now() < end {
        crowd.serve_for(Duration::from_millis(20))?;
    }
    if crowd.missing() > 0 {
        return Err(format!("{} messages did not come back", crowd.missing()).into());
    }
    if received == 0 {
        return Err("nothing came back".into());
    }
    let mut sample = Sample::of_cpu(total, user, received);
    sample.take_time(elapsed, received, &mut crowd.latencies);
    Ok(sample)
}

/// All clients.
struct Crowd {
    poll: Poll,
    events: mio::Events,
    scratch: Vec<u8>,
    members: Vec<Member>,
    load: Option<Events>,
    stopping: bool,
    received: u64,
    /// In microseconds.
    latencies: Vec<u32>,
    round: Round,
}

/// A broadcast that is in flight.
#[derive(Default)]
struct Round {
    number: u64,
    expected: Vec<u8>,
    received: usize,
    sent: Option<Instant>,
}

struct Member {
    client: Client,
    state: State,
    /// The messages that it sends, by slot: each message in flight has a slot.
    requests: Vec<Vec<u8>>,
    /// The payload that has to come back.
    expected: Vec<u8>,
    under_way: VecDeque<(usize, Instant)>,
    /// Whether an attachment comes next.
    announced: bool,
    /// The number of broadcasts that it has received.
    broadcasts: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Upgrading,
    Opening,
    Connecting,
    Ready,
}

impl Crowd {
    fn connect(server: &Running, clients: usize) -> Result<Crowd, Failure> {
        let mut crowd = Crowd {
            poll: Poll::new()?,
            events: mio::Events::with_capacity(1024),
            scratch: vec![0; 256 << 10],
            members: Vec::with_capacity(clients),
            load: None,
            stopping: false,
            received: 0,
            latencies: Vec::new(),
            round: Round::default(),
        };
        let request = upgrade(server);
        let end = Instant::now() + Duration::from_secs(120);
        let mut ready = 0;
        while ready < clients {
            while crowd.members.len() < clients && crowd.members.len() - ready < CONNECTING {
                let token = crowd.members.len();
                let mut client = Client::connect(server.address, crowd.poll.registry(), token)?;
                client.output().extend_from_slice(request.as_bytes());
                client.flush()?;
                crowd.members.push(Member::new(client));
            }
            ready += crowd.turn(Duration::from_millis(100))?;
            if Instant::now() > end {
                return Err(format!("only {ready} of {clients} clients connected").into());
            }
        }
        Ok(crowd)
    }

    /// Starts the load.
    fn begin(&mut self, load: Events) -> io::Result<()> {
        self.load = Some(load);
        let now = Instant::now();
        if load.kind == Kind::Broadcast {
            return self.begin_round(now, load);
        }
        for (number, member) in self.members.iter_mut().enumerate() {
            member.prepare(load, number);
            (0..load.in_flight).for_each(|slot| member.send(slot, now));
            member.client.flush()?;
        }
        Ok(())
    }

    /// Lets the next client broadcast.
    fn begin_round(&mut self, now: Instant, load: Events) -> io::Result<()> {
        let number = self.round.number + 1;
        let text = format!("42[\"broadcast\",\"{number:0>width$}\"]", width = load.size);
        let sender = number as usize % self.members.len();
        let sender = &mut self.members[sender];
        write_frame(sender.client.output(), Opcode::Text, text.as_bytes());
        self.round = Round { number, expected: text.into_bytes(), received: 0, sent: Some(now) };
        sender.client.flush()
    }

    /// Returns the number of messages that have not come back yet.
    fn missing(&self) -> usize {
        let round = self.round.sent.map_or(0, |_| self.members.len() - self.round.received);
        round + self.members.iter().map(|member| member.under_way.len()).sum::<usize>()
    }

    fn serve_for(&mut self, time: Duration) -> Result<(), Failure> {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            self.turn(left)?;
        }
    }

    /// Waits for events and handles them. Returns the number of clients that became ready.
    fn turn(&mut self, wait: Duration) -> Result<usize, Failure> {
        let mut events = std::mem::replace(&mut self.events, mio::Events::with_capacity(0));
        match self.poll.poll(&mut events, Some(wait)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        let (now, mut ready) = (Instant::now(), 0);
        for event in &events {
            let token = event.token().0;
            if event.is_readable() {
                self.members[token].client.fill(&mut self.scratch)?;
                ready += usize::from(self.read(token, now)?);
            }
            self.members[token].client.flush()?;
        }
        self.events = events;
        Ok(ready)
    }

    /// Handles all frames that have arrived. Returns true if the client became ready.
    fn read(&mut self, token: usize, now: Instant) -> Result<bool, Failure> {
        let member = &mut self.members[token];
        if member.state == State::Upgrading {
            let input = member.client.input();
            let Some(end) = input.windows(4).position(|window| window == b"\r\n\r\n") else {
                return Ok(false);
            };
            if !input.starts_with(b"HTTP/1.1 101") {
                return Err(format!("refused: {}", String::from_utf8_lossy(input)).into());
            }
            member.client.take(end + 4);
            member.state = State::Opening;
        }
        let mut ready = false;
        while let Some((opcode, range)) = self.members[token].client.frame() {
            let member = &mut self.members[token];
            let payload = member.client.bytes(range);
            match (opcode, member.state, payload) {
                (Opcode::Text, _, b"2") => write_frame(member.client.output(), Opcode::Text, b"3"),
                (Opcode::Text, State::Opening, [b'0', ..]) => {
                    write_frame(member.client.output(), Opcode::Text, b"40");
                    member.state = State::Connecting;
                }
                (Opcode::Text, State::Connecting, [b'4', b'0', ..]) => {
                    member.state = State::Ready;
                    ready = true;
                }
                (Opcode::Text | Opcode::Binary, State::Ready, payload) => {
                    let Some(load) = self.load else {
                        return Err("unexpected message before the load began".into());
                    };
                    let is_whole = match load.kind {
                        Kind::Broadcast => {
                            let is_right =
                                payload == self.round.expected && member.broadcasts + 1 == self.round.number;
                            member.broadcasts += 1;
                            is_right.then_some(true)
                        }
                        Kind::Ack => answered(&mut member.under_way, &member.expected, payload),
                        Kind::Echo => (payload == member.expected).then_some(true),
                        Kind::Binary if opcode == Opcode::Text => {
                            let is_right = !member.announced && payload.starts_with(b"451-[\"bin\",");
                            member.announced = true;
                            is_right.then_some(false)
                        }
                        Kind::Binary => {
                            let announced = std::mem::take(&mut member.announced);
                            (announced && payload == member.expected).then_some(true)
                        }
                    };
                    match is_whole {
                        Some(true) => self.count(token, now, load)?,
                        Some(false) => {}
                        None => return Err("a message came back changed or out of order".into()),
                    }
                }
                (_, _, payload) => {
                    return Err(format!("unexpected: {}", String::from_utf8_lossy(payload)).into());
                }
            }
        }
        Ok(ready)
    }

    /// Counts a message that came back, and sends the next one.
    fn count(&mut self, token: usize, now: Instant, load: Events) -> io::Result<()> {
        self.received += 1;
        let member = &mut self.members[token];
        let sent = match load.kind {
            Kind::Broadcast => {
                self.round.received += 1;
                if self.round.received < self.members.len() {
                    return Ok(());
                }
                let sent = self.round.sent.take();
                if !self.stopping {
                    self.begin_round(now, load)?;
                }
                sent
            }
            _ => {
                let (slot, sent) = member.under_way.pop_front().unzip();
                if let (Some(slot), false) = (slot, self.stopping) {
                    member.send(slot, now);
                }
                sent
            }
        };
        if let Some(sent) = sent {
            self.latencies.push(now.duration_since(sent).as_micros() as u32);
        }
        Ok(())
    }
}

/// Returns the request that opens a session over WebSocket.
pub(crate) fn upgrade(server: &Running) -> String {
    format!(
        "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Version: 13\r\n\r\n",
        server.address
    )
}

/// Moves the message that `payload` acknowledges to the front, whatever its place. Returns `Some(true)` if there is one
/// and the data is right.
fn answered(under_way: &mut VecDeque<(usize, Instant)>, expected: &[u8], payload: &[u8]) -> Option<bool> {
    let rest = payload.strip_prefix(b"43")?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (id, data) = rest.split_at(digits);
    let id: usize = std::str::from_utf8(id).ok()?.parse().ok()?;
    let at = under_way.iter().position(|(slot, _)| *slot == id)?;
    under_way.swap(0, at);
    (data == expected).then_some(true)
}

impl Member {
    fn new(client: Client) -> Member {
        Member {
            client,
            state: State::Upgrading,
            requests: Vec::new(),
            expected: Vec::new(),
            under_way: VecDeque::new(),
            announced: false,
            broadcasts: 0,
        }
    }

    /// Prepares the messages, which differ for each client.
    fn prepare(&mut self, load: Events, number: usize) {
        let body = format!("{number:x<width$}", width = load.size);
        let message = |slot: usize| match load.kind {
            Kind::Ack => format!("42{slot}[\"ack\",\"{body}\"]"),
            Kind::Echo => format!("42[\"echo\",\"{body}\"]"),
            Kind::Binary => r#"451-["bin",{"_placeholder":true,"num":0}]"#.into(),
            Kind::Broadcast => String::new(),
        };
        self.requests = (0..load.in_flight)
            .map(|slot| {
                let mut request = Vec::new();
                write_frame(&mut request, Opcode::Text, message(slot).as_bytes());
                if load.kind == Kind::Binary {
                    write_frame(&mut request, Opcode::Binary, body.as_bytes());
                }
                request
            })
            .collect();
        self.expected = match load.kind {
            Kind::Ack => format!("[\"{body}\"]").into_bytes(),
            Kind::Echo => message(0).into_bytes(),
            _ => body.into_bytes(),
        };
    }

    fn send(&mut self, slot: usize, now: Instant) {
        self.client.output().extend_from_slice(&self.requests[slot]);
        self.under_way.push_back((slot, now));
    }
}
