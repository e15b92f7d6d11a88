//! Messages over WebSocket, with a fixed number of them in flight.

use crate::Failure;
use crate::client::{Client, Opcode, write_frame};
use crate::group::Group;
use crate::report::Sample;
use crate::scenario::{Events, Kind};
use crate::server::{Candidate, Running, Settings};
use crate::slices::{self, Steady};
use std::collections::VecDeque;
use std::io;
use std::mem;
use std::ops::Range;
use std::time::{Duration, Instant};

/// A server, and clients that send it messages.
struct Connected {
    server: Running,
    group: Group,
    messages: Messages,
}

/// Connects the clients of a load.
pub(crate) fn connect(server: Running, load: Events) -> Result<Box<dyn Steady>, Failure> {
    let mut group = Group::connect(&server, load.clients)?;
    group.rest(Duration::from_millis(100))?;
    Ok(Box::new(Connected { server, group, messages: Messages::new(load) }))
}

impl Steady for Connected {
    fn resume(&mut self) -> Result<(), Failure> {
        Ok(self.messages.begin(&mut self.group)?)
    }

    fn serve_for(&mut self, time: Duration) -> Result<(), Failure> {
        self.messages.serve_for(&mut self.group, time)
    }

    fn stop(&mut self) {
        self.messages.stopping = true;
    }

    fn missing(&self) -> usize {
        self.messages.missing()
    }

    fn take_received(&mut self) -> (u64, Vec<u32>) {
        (mem::take(&mut self.messages.received), mem::take(&mut self.messages.latencies))
    }

    fn process(&self) -> u32 {
        self.server.process()
    }
}

/// Measures the same messages with one worker thread of the server and with two. Returns nothing if the server has only
/// one thread.
pub(crate) fn with_two_workers(
    candidate: &Candidate,
    load: Events,
    time: Duration,
) -> Result<Sample, Failure> {
    let mut sample = Sample::default();
    if !candidate.has_workers {
        return Ok(sample);
    }
    let servers = [1, 2].map(|workers| {
        let server = Running::start(candidate, Settings { workers: Some(workers), ..Settings::default() })?;
        connect(server, load)
    });
    let mut cpu = [0.0; 2];
    for (measured, cpu) in slices::measure(servers.into(), time).into_iter().zip(&mut cpu) {
        *cpu = measured?.get("cpu_us").ok_or("no CPU time")?;
    }
    sample.set("one_worker_us", cpu[0]);
    sample.set("two_workers_us", cpu[1]);
    sample.set("two_workers_to_one", cpu[1] / cpu[0]);
    Ok(sample)
}

/// The messages of all clients.
struct Messages {
    load: Events,
    senders: Vec<Sender>,
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

struct Sender {
    /// The messages that it sends, by slot: each message in flight has a slot.
    requests: Vec<Vec<u8>>,
    /// The payload that has to come back.
    expected: Vec<u8>,
    under_way: VecDeque<(usize, Instant)>,
    /// True if an attachment comes next.
    announced: bool,
    /// The number of broadcasts that it has received.
    broadcasts: u64,
}

impl Messages {
    fn new(load: Events) -> Messages {
        Messages {
            load,
            senders: (0..load.clients).map(|number| Sender::new(load, number)).collect(),
            stopping: false,
            received: 0,
            latencies: Vec::new(),
            round: Round::default(),
        }
    }

    fn begin(&mut self, group: &mut Group) -> io::Result<()> {
        let now = Instant::now();
        self.stopping = false;
        if self.load.kind == Kind::Broadcast {
            return self.begin_round(group, now);
        }
        for (number, sender) in self.senders.iter_mut().enumerate() {
            for slot in 0..self.load.in_flight {
                sender.under_way.push_back((slot, now));
            }
            group.send(number, &sender.requests.concat())?;
        }
        Ok(())
    }

    /// Lets the next client broadcast.
    fn begin_round(&mut self, group: &mut Group, now: Instant) -> io::Result<()> {
        let number = self.round.number + 1;
        let text = format!("42[\"broadcast\",\"{number:0>width$}\"]", width = self.load.size);
        let mut frame = Vec::new();
        write_frame(&mut frame, Opcode::Text, text.as_bytes());
        self.round = Round { number, expected: text.into_bytes(), received: 0, sent: Some(now) };
        group.send(number as usize % self.senders.len(), &frame)
    }

    /// Returns the number of messages that have not come back yet.
    fn missing(&self) -> usize {
        let round = self.round.sent.map_or(0, |_| self.senders.len() - self.round.received);
        round + self.senders.iter().map(|sender| sender.under_way.len()).sum::<usize>()
    }

    fn serve_for(&mut self, group: &mut Group, time: Duration) -> Result<(), Failure> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            // Taken once for all clients of a turn.
            let mut now = None;
            // Without waiting: a server that is slower than this thread would spend much of its time on waking it up.
            group.turn(Duration::ZERO, |number, client, opcode, range| {
                let now = *now.get_or_insert_with(Instant::now);
                self.handle(number, client, opcode, range, now)
            })?;
            if self.round.received == self.senders.len()
                && let Some(sent) = self.round.sent.take()
            {
                let now = now.unwrap_or_else(Instant::now);
                self.latencies.push(now.duration_since(sent).as_micros() as u32);
                if !self.stopping {
                    self.begin_round(group, now)?;
                }
            }
        }
        Ok(())
    }

    /// Checks a frame. If it completes a message, counts it and sends the next one.
    fn handle(
        &mut self,
        number: usize,
        client: &mut Client,
        opcode: Opcode,
        range: Range<usize>,
        now: Instant,
    ) -> Result<(), Failure> {
        let (sender, payload) = (&mut self.senders[number], client.bytes(range));
        let is_whole = match self.load.kind {
            Kind::Broadcast => {
                sender.broadcasts += 1;
                let is_right = payload == self.round.expected && sender.broadcasts == self.round.number;
                is_right.then_some(true)
            }
            Kind::Ack => answered(&mut sender.under_way, &sender.expected, payload),
            Kind::Echo => (payload == sender.expected).then_some(true),
            Kind::Binary if opcode == Opcode::Text => {
                let is_right = !sender.announced && payload.starts_with(b"451-[\"bin\",");
                sender.announced = true;
                is_right.then_some(false)
            }
            Kind::Binary => {
                let announced = mem::take(&mut sender.announced);
                (announced && payload == sender.expected).then_some(true)
            }
        };
        if !is_whole.ok_or("a message came back changed or out of order")? {
            return Ok(());
        }
        self.received += 1;
        if self.load.kind == Kind::Broadcast {
            self.round.received += 1;
            return Ok(());
        }
        let (slot, sent) = sender.under_way.pop_front().ok_or("a message that was not sent")?;
        self.latencies.push(now.duration_since(sent).as_micros() as u32);
        if !self.stopping {
            client.output().extend_from_slice(&sender.requests[slot]);
            sender.under_way.push_back((slot, now));
        }
        Ok(())
    }
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

impl Sender {
    /// Prepares the messages, which differ for each client.
    fn new(load: Events, number: usize) -> Sender {
        // Not by a width, which formatting limits to 64 KiB.
        let mut body = number.to_string();
        body.extend(std::iter::repeat_n('x', load.size - body.len()));
        let message = |slot: usize| match load.kind {
            Kind::Ack => format!("42{slot}[\"ack\",\"{body}\"]"),
            Kind::Echo => format!("42[\"echo\",\"{body}\"]"),
            Kind::Binary => r#"451-["bin",{"_placeholder":true,"num":0}]"#.into(),
            Kind::Broadcast => String::new(),
        };
        let requests = (0..load.in_flight).map(|slot| {
            let mut request = Vec::new();
            write_frame(&mut request, Opcode::Text, message(slot).as_bytes());
            if load.kind == Kind::Binary {
                write_frame(&mut request, Opcode::Binary, body.as_bytes());
            }
            request
        });
        Sender {
            requests: requests.collect(),
            expected: match load.kind {
                Kind::Ack => format!("[\"{body}\"]").into_bytes(),
                Kind::Echo => message(0).into_bytes(),
                _ => body.clone().into_bytes(),
            },
            under_way: VecDeque::new(),
            announced: false,
            broadcasts: 0,
        }
    }
}
