//! Echoes at a fixed rate: alone, and beside broadcasts to many other clients.

use crate::Failure;
use crate::client::{Opcode, write_frame};
use crate::group::Group;
use crate::machine::Cpu;
use crate::report::Sample;
use crate::server::Running;
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
const WARM_UP: Duration = Duration::from_millis(500);

/// Measures the latency of echoes from the time at which they were due, and how long the last recipient of a broadcast
/// waits for it.
pub(crate) fn run(server: &Running, time: Duration) -> Result<Sample, Failure> {
    let mut load = Load {
        echoing: Group::connect(server, ECHOING)?,
        listening: Group::connect(server, LISTENING)?,
        under_way: vec![VecDeque::new(); ECHOING],
        latencies: Vec::new(),
        last_recipients: Vec::new(),
    };
    load.listening.limit_turn(LISTENERS_PER_TURN);
    let mut sample = Sample::default();
    load.serve_for(WARM_UP, false)?;

    load.latencies.clear();
    let (cpu, start) = (Cpu::of(server.process()), Instant::now());
    load.serve_for(time, false)?;
    sample.take_cpu(cpu.until_now(server.process()), load.latencies.len() as u64);
    sample.take_latencies("quiet_", start.elapsed(), &mut load.latencies);

    // At least three broadcasts, of which the first is measured as well.
    load.latencies.clear();
    let start = Instant::now();
    load.serve_for(time.max(BETWEEN_BROADCASTS * 3), true)?;
    sample.take_latencies("", start.elapsed(), &mut load.latencies);
    load.last_recipients.sort_unstable();
    let last = load.last_recipients.get(load.last_recipients.len() / 2).ok_or("no broadcast arrived")?;
    sample.set("last_recipient_ms", last.as_secs_f64() * 1e3);
    Ok(sample)
}

struct Load {
    echoing: Group,
    listening: Group,
    /// The times at which the echoes of each client were due that have not come back.
    under_way: Vec<VecDeque<Instant>>,
    /// In microseconds.
    latencies: Vec<u32>,
    /// For each broadcast the time until all have received it.
    last_recipients: Vec<Duration>,
}

impl Load {
    fn serve_for(&mut self, time: Duration, with_broadcasts: bool) -> Result<(), Failure> {
        let mut echo = Vec::new();
        write_frame(&mut echo, Opcode::Text, b"42[\"echo\",\"0123456789abcdef0123456789abcdef\"]");
        let mut broadcast = Vec::new();
        let text = b"42[\"broadcast\",\"0123456789abcdef0123456789abcdef\"]";
        write_frame(&mut broadcast, Opcode::Text, text);

        let start = Instant::now();
        let (mut sent, mut next_broadcast) = (0_u32, start);
        // The echoing clients receive broadcasts, too; only the listening ones are waited for.
        let mut waiting = 0;
        loop {
            let now = Instant::now();
            let is_over = now >= start + time;
            if is_over && waiting == 0 && self.under_way.iter().all(VecDeque::is_empty) {
                return Ok(());
            }
            if now >= start + time + Duration::from_secs(10) {
                return Err("an echo or a broadcast did not come back".into());
            }
            while let due = start + PERIOD * sent / ECHOING as u32
                && due <= now
                && !is_over
            {
                let number = sent as usize % ECHOING;
                self.echoing.send(number, &echo)?;
                self.under_way[number].push_back(due);
                sent += 1;
            }
            if with_broadcasts && next_broadcast <= now && waiting == 0 && !is_over {
                self.listening.send(0, &broadcast)?;
                next_broadcast = now + BETWEEN_BROADCASTS;
                waiting = LISTENING;
            }
            self.receive_echoes()?;
            let mut last = now;
            self.listening.turn(Duration::ZERO, |_, _, _, _| {
                waiting -= 1;
                last = Instant::now();
                Ok(())
            })?;
            if waiting == 0 && last > now {
                self.last_recipients.push(last.duration_since(next_broadcast - BETWEEN_BROADCASTS));
            }
        }
    }

    fn receive_echoes(&mut self) -> Result<(), Failure> {
        self.echoing.turn(Duration::ZERO, |number, client, _, range| {
            if client.bytes(range).starts_with(b"42[\"echo\",") {
                let due = self.under_way[number].pop_front().ok_or("an echo that was not sent")?;
                self.latencies.push(due.elapsed().as_micros() as u32);
            }
            Ok(())
        })
    }
}
