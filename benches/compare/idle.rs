//! Clients that connect and are then silent.

use crate::Failure;
use crate::group::{Group, Pace, upgrade, upgrade_of_browser};
use crate::machine::{Cpu, resident};
use crate::report::Sample;
use crate::server::Running;
use std::time::Duration;

/// Measures opening connections, and the memory that idle ones keep.
pub(crate) fn open(server: &Running, clients: usize, as_browser: bool) -> Result<Sample, Failure> {
    let (cpu, memory) = (Cpu::of(server.process()), resident(server.process()));
    let request = if as_browser { upgrade_of_browser } else { upgrade };
    let mut group = Group::connect_with(server, clients, Pace::Steady, request)?;
    let mut sample = Sample::default();
    sample.take_cpu(cpu.until_now(server.process()), clients as u64);
    // By then the server has freed what it needed only for connecting.
    group.rest(Duration::from_secs(1))?;
    sample.set("kb_per_connection", (resident(server.process()) - memory) / clients as f64);
    Ok(sample)
}

/// Measures the pings and pongs of idle clients, of a server that sends a ping every second.
pub(crate) fn heartbeats(server: &Running, clients: usize, time: Duration) -> Result<Sample, Failure> {
    let mut group = Group::connect(server, clients)?;
    group.rest(Duration::from_secs(1))?;
    let (before, cpu) = (group.pings, Cpu::of(server.process()));
    // Whole periods, so that each client takes part equally often.
    group.rest(Duration::from_secs(time.as_secs().max(2)))?;
    let pings = group.pings - before;
    if pings == 0 {
        return Err("no ping has arrived".into());
    }
    let mut sample = Sample::default();
    sample.take_cpu(cpu.until_now(server.process()), pings);
    Ok(sample)
}
