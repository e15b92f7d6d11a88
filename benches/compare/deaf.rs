//! Broadcasts to clients of which a few never read.

use crate::Failure;
use crate::client::{Opcode, write_frame};
use crate::group::Group;
use crate::machine::{Cpu, resident};
use crate::report::Sample;
use crate::server::Running;
use std::time::{Duration, Instant};

const CLIENTS: usize = 1_000;
/// The clients that never read.
const DEAF: usize = 50;
/// The length of a message's data, in bytes.
const SIZE: usize = 16 << 10;
/// Broadcasts before the measurement: 3.3 MB, which is more than the kernel keeps for a connection.
const BEFORE: usize = 200;
/// Broadcasts that are measured: 3.3 MB more.
const MEASURED: usize = 200;
/// The time in which all broadcasts have to arrive.
const PATIENCE: Duration = Duration::from_secs(60);

/// Measures broadcasts, per delivery to a client that reads, and the memory that the server has taken in the end.
pub(crate) fn run(server: &Running) -> Result<Sample, Failure> {
    let mut group = Group::connect(server, CLIENTS)?;
    group.rest(Duration::from_millis(300))?;
    let memory = resident(server.process());
    group.listening = CLIENTS - DEAF;
    let mut frame = Vec::new();
    write_frame(&mut frame, Opcode::Text, format!("42[\"broadcast\",\"{:x<SIZE$}\"]", "").as_bytes());
    let end = Instant::now() + PATIENCE;
    for _ in 0..BEFORE {
        broadcast(&mut group, &frame, end)?;
    }
    let cpu = Cpu::of(server.process());
    for _ in 0..MEASURED {
        broadcast(&mut group, &frame, end)?;
    }
    let mut sample = Sample::default();
    sample.take_cpu(cpu.until_now(server.process()), (MEASURED * (CLIENTS - DEAF)) as u64);
    sample.set("grown_mb", (resident(server.process()) - memory) / 1024.0);
    Ok(sample)
}

/// Sends a broadcast and waits until all clients that read have received it.
fn broadcast(group: &mut Group, frame: &[u8], end: Instant) -> Result<(), Failure> {
    group.send(0, frame)?;
    let mut received = 0;
    while received < CLIENTS - DEAF {
        group.turn(Duration::from_millis(100), |_, client, _, range| {
            received += usize::from(client.bytes(range).starts_with(b"42[\"broadcast\",\"x"));
            Ok(())
        })?;
        if Instant::now() > end {
            return Err(format!("only {received} clients have received a broadcast").into());
        }
    }
    Ok(())
}
