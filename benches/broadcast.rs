//! The cost of a broadcast per member: the time of one broadcast divided by the number of its recipients.
//!
//! `queue` is the call of `emit`: encoding once, then for each member a reference in its queue and a wake-up. `write`
//! adds a turn of each connection, up to the system call. The goal is less than 120 ns for `queue` at 10,000 members.
#![allow(missing_docs, clippy::expect_used)]

mod quick;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use quick::quick;
use rig::{Token, World, poll_head, server};
use std::time::{Duration, Instant};

const TEXT: &str = "the quick brown fox jumps again!";

criterion_group! {
    name = broadcast;
    config = quick();
    targets = websocket, room, stalled, polling
}
criterion_main!(broadcast);

fn websocket(c: &mut Criterion) {
    let mut group = group(c, "websocket");
    for members in [10, 1_000, 10_000, 100_000] {
        let (mut world, _) = world(members);
        measure(&mut group, "queue", members, |watch| {
            watch.time(|| assert_eq!(world.server().emit("broadcast", TEXT).sent, members));
            world.run_ready();
        });
        measure(&mut group, "write", members, |watch| {
            watch.time(|| {
                world.server().emit("broadcast", TEXT);
                assert!(world.run_ready() >= members * TEXT.len());
            });
        });
    }
}

/// A broadcast to a room with half of the sockets.
fn room(c: &mut Criterion) {
    let mut group = group(c, "room");
    let members = 10_000;
    let (mut world, _) = world(2 * members);
    let sockets = world.server().sockets();
    sockets.iter().step_by(2).for_each(|socket| socket.join("room"));
    measure(&mut group, "queue", members, |watch| {
        watch.time(|| assert_eq!(world.server().to("room").emit("broadcast", TEXT).sent, members));
        world.run_ready();
    });
}

/// A broadcast while one member does not read. Now and then it catches up, which is not measured.
fn stalled(c: &mut Criterion) {
    let mut group = group(c, "one_stalled");
    let members = 10_000;
    let (mut world, tokens) = world(members);
    for name in ["queue", "write"] {
        let mut behind = 0;
        world.stall(tokens[0], true);
        measure(&mut group, name, members, |watch| {
            let start = Instant::now();
            assert_eq!(world.server().emit("broadcast", TEXT).sent, members);
            let queued = start.elapsed();
            world.run_ready();
            watch.0 += if name == "queue" { queued } else { start.elapsed() };
            behind += 1;
            if behind == 1_000 {
                behind = 0;
                world.stall(tokens[0], false);
                assert!(world.send(tokens[0], &[]) >= 1_000 * TEXT.len());
                world.stall(tokens[0], true);
            }
        });
        world.stall(tokens[0], false);
        world.send(tokens[0], &[]);
    }
}

/// A broadcast to members that each have a poll waiting. Their next polls are not measured.
fn polling(c: &mut Criterion) {
    let mut group = group(c, "polling");
    for members in [10, 1_000, 10_000] {
        let mut world = World::new(server());
        let polls: Vec<_> = (0..members)
            .map(|_| {
                let (token, session) = world.polling();
                (token, poll_head(&session))
            })
            .collect();
        for name in ["queue", "write"] {
            measure(&mut group, name, members, |watch| {
                for (token, poll) in &polls {
                    assert_eq!(world.send(*token, poll), 0, "the poll was answered before the broadcast");
                }
                let start = Instant::now();
                assert_eq!(world.server().emit("broadcast", TEXT).sent, members);
                let queued = start.elapsed();
                world.run_ready();
                watch.0 += if name == "queue" { queued } else { start.elapsed() };
            });
        }
    }
}

fn world(members: usize) -> (World, Vec<Token>) {
    let mut world = World::new(server());
    let tokens = (0..members).map(|_| world.websocket()).collect();
    (world, tokens)
}

fn group<'a>(c: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = c.benchmark_group(format!("broadcast_per_member/{name}"));
    group.throughput(Throughput::Elements(1));
    group
}

/// Adds up the measured parts of the turns.
struct Watch(Duration);

impl Watch {
    fn time(&mut self, run: impl FnOnce()) {
        let start = Instant::now();
        run();
        self.0 += start.elapsed();
    }
}

fn measure(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    members: usize,
    mut turn: impl FnMut(&mut Watch),
) {
    group.sample_size(10);
    group.bench_function(BenchmarkId::new(name, members), |b| {
        b.iter_custom(|count| {
            let mut watch = Watch(Duration::ZERO);
            (0..count).for_each(|_| turn(&mut watch));
            watch.0 / members as u32
        });
    });
}
