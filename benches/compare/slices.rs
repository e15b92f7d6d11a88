//! Loads that are put on all servers in turn, for a moment each, again and again.
//!
//! The speed of a shared machine changes within seconds. Servers that are measured one after the other each meet another
//! state of it, but not if each has its turn several times a second.

use crate::Failure;
use crate::machine::Cpu;
use crate::report::Sample;
use std::time::{Duration, Instant};

/// The time for which one server is measured before it is the next one's turn.
const SLICE: Duration = Duration::from_millis(50);
/// The time under load before each slice, in which the processor's caches fill again.
const SETTLE: Duration = Duration::from_millis(20);
/// The time under load before the first slice.
const WARM_UP: Duration = Duration::from_millis(400);
/// The time in which messages that are in flight have to come back.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server and clients that can put it under load at any time.
pub(crate) trait Steady {
    /// Lets all clients send.
    fn resume(&mut self) -> Result<(), Failure>;

    /// Lets clients send the next message for each one that comes back, for `time`.
    fn serve_for(&mut self, time: Duration) -> Result<(), Failure>;

    /// Lets clients send nothing more.
    fn stop(&mut self);

    /// Returns the number of messages that have not come back yet.
    fn missing(&self) -> usize;

    /// Returns the number of messages that have come back since the last call, and latencies in microseconds.
    fn take_received(&mut self) -> (u64, Vec<u32>);

    fn process(&self) -> u32;
}

/// Lets clients send nothing more, and waits for all messages that are in flight.
pub(crate) fn pause(load: &mut dyn Steady) -> Result<(), Failure> {
    load.stop();
    let end = Instant::now() + PATIENCE;
    while load.missing() > 0 && Instant::now() < end {
        load.serve_for(Duration::from_millis(1))?;
    }
    match load.missing() {
        0 => Ok(()),
        missing => Err(format!("{missing} messages did not come back").into()),
    }
}

/// A load and its figures so far.
struct Lane {
    load: Box<dyn Steady>,
    used: Cpu,
    messages: u64,
    elapsed: Duration,
    latencies: Vec<u32>,
}

/// Measures each load for `time` in all. Those that cannot be started or fail do not keep others from being measured.
pub(crate) fn measure(
    loads: Vec<Result<Box<dyn Steady>, Failure>>,
    time: Duration,
) -> Vec<Result<Sample, Failure>> {
    let mut lanes: Vec<Result<Lane, Failure>> =
        loads.into_iter().map(|load| load.and_then(Lane::new)).collect();
    for slice in 0..time.div_duration_f64(SLICE).ceil() as usize {
        for at in 0..lanes.len() {
            let lane = (at + slice) % lanes.len();
            if let Ok(running) = &mut lanes[lane]
                && let Err(error) = running.measure_slice()
            {
                lanes[lane] = Err(error);
            }
        }
    }
    lanes.into_iter().map(|lane| lane.and_then(Lane::sample)).collect()
}

impl Lane {
    fn new(mut load: Box<dyn Steady>) -> Result<Lane, Failure> {
        load.resume()?;
        load.serve_for(WARM_UP)?;
        pause(&mut *load)?;
        Ok(Lane { load, used: Cpu::default(), messages: 0, elapsed: Duration::ZERO, latencies: Vec::new() })
    }

    fn measure_slice(&mut self) -> Result<(), Failure> {
        self.load.resume()?;
        self.load.serve_for(SETTLE)?;
        self.load.take_received();

        let (before, start) = (Cpu::of(self.load.process()), Instant::now());
        self.load.serve_for(SLICE)?;
        self.used += before.until_now(self.load.process());
        self.elapsed += start.elapsed();
        let (messages, latencies) = self.load.take_received();
        self.messages += messages;
        self.latencies.extend(latencies);
        pause(&mut *self.load)
    }

    fn sample(mut self) -> Result<Sample, Failure> {
        if self.messages == 0 {
            return Err("nothing came back".into());
        }
        let mut sample = Sample::default();
        sample.take_cpu(self.used, self.messages);
        sample.take_latencies("", self.elapsed, &mut self.latencies);
        Ok(sample)
    }
}
