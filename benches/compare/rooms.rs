//! Rooms: 1,000 clients, each in ten of 10,000 rooms.

use crate::Failure;
use crate::client::{Opcode, write_frame};
use crate::group::Group;
use crate::machine::Cpu;
use crate::report::Sample;
use crate::server::Running;
use std::time::{Duration, Instant};

const CLIENTS: usize = 1_000;
/// The rooms that each client has to itself.
const ROOMS: usize = 10;
/// The messages that a client sends at once: enough of them that the system calls matter little.
const BATCH: usize = 8;
const WARM_UP: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(20);

/// Measures joining and leaving ten rooms by one message, and broadcasts to a room with one client.
pub(crate) fn run(server: &Running, time: Duration) -> Result<Sample, Failure> {
    let mut group = Group::connect(server, CLIENTS)?;
    let join = |number| change("join", number);
    // The clients stay in their own rooms, so these exist from now on.
    Exchange::new(1, b"430[", join).once(&mut group)?;
    let visit = |number| {
        let host = (number + CLIENTS / 2) % CLIENTS;
        [change("join", host), change("leave", host)].concat().repeat(BATCH / 2)
    };
    let (changes, cpu) = Exchange::new(BATCH, b"430[", visit).measure(&mut group, server, time)?;
    let mut sample = Sample::default();
    sample.set("join_us", cpu.until_now(server.process()).total() / (changes * ROOMS) as f64);

    let broadcast = |number| {
        let mut frames = Vec::new();
        for turn in 0..BATCH {
            let text = format!("42[\"room\",\"{}\",\"0123456789abcdef\"]", room(number, turn));
            write_frame(&mut frames, Opcode::Text, text.as_bytes());
        }
        frames
    };
    let mut exchange = Exchange::new(BATCH, b"42[\"room\",\"0123456789abcdef\"]", broadcast);
    let (broadcasts, cpu) = exchange.measure(&mut group, server, time)?;
    sample.take_cpu(cpu.until_now(server.process()), broadcasts as u64);
    Ok(sample)
}

/// Returns the name of one of the rooms of a client.
fn room(number: usize, which: usize) -> String {
    format!("room-{}", number * ROOMS + which)
}

/// Returns a message that joins or leaves the rooms of the client `host`.
fn change(event: &str, host: usize) -> Vec<u8> {
    let rooms = (0..ROOMS).map(|which| format!("\"{}\"", room(host, which))).collect::<Vec<_>>().join(",");
    let mut frame = Vec::new();
    write_frame(&mut frame, Opcode::Text, format!("420[\"{event}\",[{rooms}]]").as_bytes());
    frame
}

/// Batches of messages, each sent once all messages of the one before have been answered.
struct Exchange {
    /// The batch of each client.
    batches: Vec<Vec<u8>>,
    /// The number of messages in a batch.
    messages: usize,
    /// The beginning of each answer.
    answer: &'static [u8],
    /// The number of answers that each client waits for.
    missing: Vec<usize>,
    answered: usize,
}

impl Exchange {
    fn new(messages: usize, answer: &'static [u8], batch: impl Fn(usize) -> Vec<u8>) -> Exchange {
        let batches = (0..CLIENTS).map(batch).collect();
        Exchange { batches, messages, answer, missing: vec![0; CLIENTS], answered: 0 }
    }

    /// Sends each client's batch once, and waits for the answers.
    fn once(&mut self, group: &mut Group) -> Result<(), Failure> {
        self.begin(group)?;
        self.end(group)
    }

    /// Repeats the batches for `time`. Returns the number of answers in this time, and the CPU time before it.
    fn measure(
        &mut self,
        group: &mut Group,
        server: &Running,
        time: Duration,
    ) -> Result<(usize, Cpu), Failure> {
        self.begin(group)?;
        self.serve_until(group, Instant::now() + WARM_UP, true)?;
        let (before, cpu) = (self.answered, Cpu::of(server.process()));
        self.serve_until(group, Instant::now() + time, true)?;
        // Messages still in flight are counted, and so is the time that they take.
        self.end(group)?;
        Ok((self.answered - before, cpu))
    }

    fn begin(&mut self, group: &mut Group) -> Result<(), Failure> {
        for (number, batch) in self.batches.iter().enumerate() {
            self.missing[number] = self.messages;
            group.send(number, batch)?;
        }
        Ok(())
    }

    fn end(&mut self, group: &mut Group) -> Result<(), Failure> {
        self.serve_until(group, Instant::now() + PATIENCE, false)?;
        match self.missing.iter().sum() {
            0 => Ok(()),
            missing => Err(format!("{missing} answers did not come back").into()),
        }
    }

    /// Handles answers until `end`, or until nothing is missing.
    fn serve_until(&mut self, group: &mut Group, end: Instant, repeat: bool) -> Result<(), Failure> {
        while Instant::now() < end && (repeat || self.missing.iter().any(|missing| *missing > 0)) {
            group.turn(Duration::from_millis(10), |number, client, _, range| {
                if !client.bytes(range).starts_with(self.answer) || self.missing[number] == 0 {
                    return Err("an unexpected answer".into());
                }
                self.answered += 1;
                self.missing[number] -= 1;
                if self.missing[number] == 0 && repeat {
                    client.output().extend_from_slice(&self.batches[number]);
                    self.missing[number] = self.messages;
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}
