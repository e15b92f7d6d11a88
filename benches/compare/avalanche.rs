//! All clients come back at the same time, after the server was killed and started again.

use crate::Failure;
use crate::group::{Group, Pace, upgrade};
use crate::machine::{Cpu, dropped_connections, max_connections};
use crate::report::Sample;
use crate::server::Running;
use crate::upgrading::Upgrading;
use std::time::{Duration, Instant};

/// The time over which clients spread that do not come all at once.
const SPREAD: Duration = Duration::from_secs(5);

/// The transport of the clients.
#[derive(Clone, Copy)]
pub(crate) enum Clients {
    WebSocket,
    /// They connect over polling, join the namespace and then upgrade to WebSocket.
    Upgrading,
}

/// Measures the return of `count` clients, or of as many as this process may connect: spread over five seconds, and then
/// all at once.
pub(crate) fn run(server: &mut Running, clients: Clients, count: usize) -> Result<Sample, Failure> {
    let count = count.min(match clients {
        Clients::WebSocket => max_connections(),
        // Each has two connections until it has upgraded.
        Clients::Upgrading => max_connections() / 2,
    });
    let mut sample = Sample::default();
    sample.set("clients", count as f64);
    let mut connected = connect(server, clients, count, Pace::Steady)?;
    for (prefix, pace) in [("spread_", Pace::Over(SPREAD)), ("", Pace::Over(Duration::ZERO))] {
        server.restart()?;
        drop(connected);
        let (cpu, dropped, start) = (Cpu::of(server.process()), dropped_connections(), Instant::now());
        connected = connect(server, clients, count, pace)?;
        let elapsed = start.elapsed();
        let total = cpu.until_now(server.process()).total();
        sample.set(&format!("{prefix}back_s"), elapsed.as_secs_f64());
        sample.set(&format!("{prefix}cpu_us"), total / count as f64);
        sample.set(&format!("{prefix}lost_syns"), (dropped_connections() - dropped) as f64);
        let (took, retried) = match &mut connected {
            Connected::WebSocket(group) => (&mut group.took, group.retried),
            Connected::Upgraded(clients) => (&mut clients.took, clients.retried),
        };
        sample.set(&format!("{prefix}retried"), retried as f64);
        sample.take_latencies(prefix, elapsed, took);
    }
    Ok(sample)
}

/// The clients, whose connections stay open until they are dropped.
enum Connected {
    WebSocket(Group),
    Upgraded(Upgrading),
}

fn connect(server: &Running, clients: Clients, count: usize, pace: Pace) -> Result<Connected, Failure> {
    Ok(match clients {
        Clients::WebSocket => Connected::WebSocket(Group::connect_with(server, count, pace, upgrade)?),
        Clients::Upgrading => Connected::Upgraded(Upgrading::connect(server, count, pace)?),
    })
}
