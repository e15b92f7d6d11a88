//! Sends a fixed number of messages through a whole server, in one process and without sockets, to count instructions:
//! unlike times, they do not depend on what else the machine does.
//!
//! `benches/count` builds this, counts each path with callgrind, and prints instructions per message. By hand:
//!
//! ```text
//! cargo build --profile counting -p sockeye-benches --features count --bin hot_path
//! valgrind --tool=callgrind --toggle-collect='*measured*' --callgrind-out-file=ack.out \
//!     target/counting/hot_path ack 10000
//! callgrind_annotate --inclusive=yes ack.out
//! ```
//!
//! Only `measured` is counted: by then the sessions are open and every buffer is warm. The stream itself adds only a
//! copy of the input and a sum of lengths.
#![allow(clippy::expect_used)]

use rig::{Token, World, binary_event, poll_head, post, server, text};
use std::hint::black_box;

const USAGE: &str = "usage: hot_path ack|ack16|echo|binary|broadcast|emit|polling [messages] [clients]";

fn main() {
    let mut args = std::env::args().skip(1);
    let path = args.next().expect(USAGE);
    let mut number = |default| args.next().map_or(default, |arg| arg.parse::<usize>().expect(USAGE));
    let messages = number(10_000);
    let clients = number(100).max(1);

    let mut world = World::new(server());
    if path == "polling" {
        return polling(&mut world, messages, clients);
    }
    let tokens: Vec<Token> = (0..clients).map(|_| world.websocket()).collect();
    let ack = text(r#"420["ack","xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"]"#);
    let echo = text(&format!(r#"42["echo","{}"]"#, "x".repeat(1024)));
    // The input of one turn, and the number of messages in it.
    let (input, count) = match path.as_str() {
        "ack" => (ack, 1),
        "ack16" => (ack.repeat(16), 16),
        "echo" => (echo, 1),
        "binary" => (binary_event("bin", 4096), 1),
        // Each delivery counts as a message.
        "broadcast" => (text(r#"42["broadcast","xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"]"#), clients),
        "emit" => (Vec::new(), clients),
        _ => panic!("{USAGE}"),
    };
    let mut turn = |i: usize| {
        if path == "emit" {
            world.server().emit("broadcast", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
            return world.run_ready();
        }
        let written = world.send(tokens[i % clients], &input);
        written + if path == "broadcast" { world.run_ready() } else { 0 }
    };
    // One turn of each client warms its buffers.
    let expected = (0..clients.min(messages)).map(&mut turn).max().expect("there is a message");
    let turns = (messages / count).max(1);
    let written = measured(turns, turn);
    assert_eq!(written, expected * turns, "a message was not answered");
    eprintln!("{path}: {} messages, {written} bytes written", turns * count);
}

fn polling(world: &mut World, messages: usize, clients: usize) {
    let clients: Vec<_> = (0..clients)
        .map(|_| {
            let (token, session) = world.polling();
            let body = r#"420["ack","xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"]"#;
            (token, post(&session, body), poll_head(&session))
        })
        .collect();
    let mut turn = |i: usize| {
        let (token, post, poll) = &clients[i % clients.len()];
        world.send(*token, post) + world.send(*token, poll)
    };
    let expected = (0..clients.len().min(messages)).map(&mut turn).max().expect("there is a message");
    let written = measured(messages, turn);
    assert_eq!(written, expected * messages, "a message was not answered");
    eprintln!("polling: {messages} messages, {written} bytes written");
}

/// Runs the turns that are counted. Not inlined, so that the profiler finds it by name.
#[inline(never)]
fn measured(turns: usize, mut turn: impl FnMut(usize) -> usize) -> usize {
    black_box((0..turns).map(|i| turn(black_box(i))).sum())
}
