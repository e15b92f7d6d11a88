//! The cost of a message through a whole server between two system calls: bytes, packet, handler, packet, bytes.
//!
//! It must not grow with the number of sessions, rooms or namespaces. `10_active` is the cost while all other sessions
//! are silent; `all_active` includes the cost of memory that is not in the processor's caches.
#![allow(missing_docs, clippy::expect_used)]

mod quick;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use quick::quick;
use rig::{Token, World, binary_event, handle, poll_head, post, server, text};
use sockeye::Socket;
use std::hint::black_box;

const ACK: &str = r#"0["ack","the quick brown fox jumps again!"]"#;

criterion_group! {
    name = session;
    config = quick();
    targets = messages, polling, in_rooms, in_namespaces, join_and_leave
}
criterion_main!(session);

fn messages(c: &mut Criterion) {
    let inputs = [
        ("ack_32B", text(&format!("42{ACK}"))),
        ("echo_1KiB", text(&format!(r#"42["echo","{}"]"#, "x".repeat(1024)))),
        ("binary_4KiB", binary_event("bin", 4096)),
    ];
    for sessions in [10, 1_000, 100_000] {
        let mut world = World::new(server());
        let tokens: Vec<Token> = (0..sessions).map(|_| world.websocket()).collect();
        for (name, input) in &inputs {
            let mut group = c.benchmark_group(*name);
            group.throughput(Throughput::Elements(1));
            let mut run = |name: &str, active: &[Token]| {
                let mut active = active.iter().cycle();
                group.bench_function(BenchmarkId::new(name, sessions), |b| {
                    b.iter(|| {
                        let token = *active.next().expect("there are some");
                        let written = world.send(token, black_box(input));
                        assert!(written >= 40, "{written} bytes are too few for an answer");
                    });
                });
            };
            run("10_active_of", &tokens[..10]);
            run("all_active_of", &tokens);
        }
    }
}

/// Acknowledgements over polling: a POST with the event, and the GET that fetches the answer, over one connection.
fn polling(c: &mut Criterion) {
    let mut world = World::new(server());
    let clients: Vec<_> = (0..1_000)
        .map(|_| {
            let (token, session) = world.polling();
            (token, post(&session, &format!("42{ACK}")), poll_head(&session))
        })
        .collect();
    let mut group = c.benchmark_group("ack_32B_over_polling");
    group.throughput(Throughput::Elements(1));
    let mut active = clients.iter().cycle();
    group.bench_function(BenchmarkId::new("10_active_of", 1_000), |b| {
        b.iter(|| {
            let (token, post, poll) = active.next().expect("there are some");
            assert!(world.send(*token, black_box(post)) > 0 && world.send(*token, black_box(poll)) > 0);
        });
    });
}

/// Acknowledgements of a sender that is in many rooms.
fn in_rooms(c: &mut Criterion) {
    let mut group = c.benchmark_group("ack_32B");
    let input = text(&format!("42{ACK}"));
    for rooms in [1, 100, 10_000] {
        let (mut world, token, socket) = alone();
        (0..rooms).for_each(|room| socket.join(format!("room {room}")));
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("in_rooms", rooms), |b| {
            b.iter(|| assert!(world.send(token, black_box(&input)) > 0));
        });
    }
}

/// Acknowledgements on a server with many namespaces. The sender is connected to as many as it may be, and uses the
/// last of them.
fn in_namespaces(c: &mut Criterion) {
    const MOST: usize = 99;
    let mut group = c.benchmark_group("ack_32B");
    for namespaces in [1, 100, 10_000] {
        let (mut world, token, _) = alone();
        let name = |i: usize| format!("/namespace {i}");
        for i in 0..namespaces {
            world.server().of(&name(i)).on_connect(async |socket: Socket| handle(&socket));
        }
        let last = namespaces - 1;
        (last.saturating_sub(MOST - 1)..=last).for_each(|i| world.connect(token, &name(i)));
        let input = text(&format!("42{},{ACK}", name(last)));
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("in_namespaces", namespaces), |b| {
            b.iter(|| assert!(world.send(token, black_box(&input)) > 0));
        });
    }
}

/// Joining a room and leaving it.
fn join_and_leave(c: &mut Criterion) {
    let mut group = c.benchmark_group("join_and_leave");
    group.throughput(Throughput::Elements(1));
    for members in [10, 1_000, 100_000] {
        let (mut world, _, socket) = alone();
        for _ in 0..members {
            world.websocket();
        }
        let all = world.server().sockets();
        all.iter().filter(|other| **other != socket).for_each(|other| other.join("room"));
        group.bench_function(BenchmarkId::new("room_of", members), |b| {
            b.iter(|| {
                socket.join(black_box("room"));
                socket.leave(black_box("room"));
            });
        });
    }
    for rooms in [10, 1_000] {
        let (_world, _, socket) = alone();
        (0..rooms).for_each(|room| socket.join(format!("room {room}")));
        group.bench_function(BenchmarkId::new("new_room_when_in", rooms), |b| {
            b.iter(|| {
                socket.join(black_box("another"));
                socket.leave(black_box("another"));
            });
        });
    }
}

/// Returns a server with one client.
fn alone() -> (World, Token, Socket) {
    let mut world = World::new(server());
    let token = world.websocket();
    let socket = world.server().sockets().pop().expect("it is connected");
    (world, token, socket)
}
