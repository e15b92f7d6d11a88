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

mod cluster;
mod recovery;

use rig::{
    Clients, Token, World, binary_event, get, json_server, msgpack_server, packed, poll_head, post,
    recovering_server, resuming_server, server, session_of, text, upgrade,
};

use sockeye::extract::Data;
use sockeye::{Client, Socket};
use sockeye_core::websocket::{Opcode, write_frame};
use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

const USAGE: &str = "usage: hot_path ack|ack16|json16|echo|json_echo|binary|broadcast[_recovery]|emit[_recovery]|\
                     ack_resumable|broadcast_resumable|\
                     recover|server_ack|polling|\
                     handshake|polling_handshake|join|client_emit|client_ack|client_event|msgpack_ack|\
                     msgpack_echo|msgpack_broadcast|bus_classic|\
                     bus_sharded[_binary]|bus_streams[_binary] [messages] [clients]";

fn main() {
    let mut args = std::env::args().skip(1);
    let path = args.next().expect(USAGE);
    let mut number = |default| args.next().map_or(default, |arg| arg.parse::<usize>().expect(USAGE));
    let messages = number(10_000);
    let clients = number(100).max(1);

    if path.starts_with("bus_") {
        return cluster::run(&path, messages);
    }
    if path == "recover" {
        return recovery::run(messages);
    }
    let is_packed = path.starts_with("msgpack_");
    let is_resumable = path.ends_with("_resumable");
    let mut world = World::new(match path.as_str() {
        "json16" | "json_echo" => json_server(),
        path if path.ends_with("_recovery") => recovering_server(),
        _ if is_resumable => resuming_server(),
        _ if is_packed => msgpack_server(),
        _ => server(),
    });
    // With it, the rest is the same.
    let name = ["_recovery", "_resumable"].iter().find_map(|with| path.strip_suffix(with)).unwrap_or(&path);
    if path == "polling" {
        return polling(&mut world, messages, clients);
    }
    if path == "handshake" {
        return handshake(&mut world, messages);
    }
    if path == "polling_handshake" {
        return polling_handshake(&mut world, messages);
    }
    if path == "join" {
        return join(&mut world, messages, clients);
    }
    if path.starts_with("client_") {
        return client(&mut world, &path, messages, clients);
    }
    if path == "server_ack" {
        return server_ack(&mut world, messages, clients);
    }
    let open = |_| match is_packed {
        true => world.packed(),
        false if is_resumable => world.resumable(),
        false => world.websocket(),
    };
    let tokens: Vec<Token> = (0..clients).map(open).collect();
    let (input, count) = input(name, clients);
    let mut turn = |i: usize| {
        if name == "emit" {
            world.server().emit("broadcast", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
            return world.run_ready();
        }
        let written = world.send(tokens[i % clients], &input);
        written + if name.ends_with("broadcast") { world.run_ready() } else { 0 }
    };
    // One turn of each client warms its buffers.
    let expected = (0..clients.min(messages)).map(&mut turn).max().expect("there is a message");
    let turns = (messages / count).max(1);
    let written = measured(turns, turn);
    // Clients are told how many of their messages were handled, too.
    let extra = if is_resumable { written - expected * turns } else { 0 };
    assert_eq!(written, expected * turns + extra, "a message was not answered");
    assert!(extra < turns, "much more than the answers");
    eprintln!("{path}: {} messages, {written} bytes written", turns * count);
}

/// Returns the input of one turn, and the number of messages in it.
fn input(name: &str, clients: usize) -> (Vec<u8>, usize) {
    let ack = text(r#"420["ack","xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"]"#);
    let echo = text(&format!(r#"42["echo","{}"]"#, "x".repeat(1024)));
    let small = "x".repeat(32).into();
    match name {
        "msgpack_ack" => (packed(Some(("ack", Some(0), &small))), 1),
        "msgpack_echo" => (packed(Some(("echo", None, &"x".repeat(1024).into()))), 1),
        "msgpack_broadcast" => (packed(Some(("broadcast", None, &small))), clients),
        "ack" => (ack, 1),
        "ack16" | "json16" => (ack.repeat(16), 16),
        "echo" | "json_echo" => (echo, 1),
        "binary" => (binary_event("bin", 4096), 1),
        // Each delivery counts as a message.
        "broadcast" => (text(r#"42["broadcast","xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"]"#), clients),
        "emit" => (Vec::new(), clients),
        _ => panic!("{USAGE}"),
    }
}

/// Events of the server that clients acknowledge.
fn server_ack(world: &mut World, messages: usize, clients: usize) {
    let mut pairs: Vec<(Token, Socket)> = Vec::new();
    for _ in 0..clients {
        let token = world.websocket();
        let mut sockets = world.server().sockets().into_iter();
        let socket = sockets.find(|socket| pairs.iter().all(|(_, known)| known != socket));
        pairs.push((token, socket.expect("the client is connected")));
    }
    let data = "x".repeat(32);
    let warm = clients.min(messages);
    // The n-th acknowledgement of a namespace has the id n.
    let answers: Vec<_> = (0..warm + messages).map(|id| text(&format!(r#"43{id}["{data}"]"#))).collect();
    let mut turn = |i: usize| {
        let (token, socket) = &pairs[i % clients];
        let mut answer = pin!(socket.emit_with_ack::<String>("event", &data));
        let written = world.run_ready();
        world.send(*token, &answers[i]);
        let mut context = Context::from_waker(Waker::noop());
        assert!(matches!(answer.as_mut().poll(&mut context), Poll::Ready(Ok(_))));
        written
    };
    (0..warm).for_each(|i| _ = turn(i));
    let written = measured(messages, |i| turn(warm + i));
    assert!(written >= messages, "a message was not sent");
    eprintln!("server_ack: {messages} messages, {written} bytes written");
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

/// Clients that connect over WebSocket: the upgrade, and the packet that connects to the main namespace.
fn handshake(world: &mut World, messages: usize) {
    let request = upgrade("");
    let connect = text("40");
    world.reserve(messages + 1);
    let mut turn = |_| {
        let token = world.accept();
        world.send(token, &request) + world.send(token, &connect)
    };
    let expected = turn(0);
    let written = measured(messages, turn);
    assert_eq!(written, expected * messages, "a client was refused");
    eprintln!("handshake: {messages} messages, {written} bytes written");
}

/// Clients that connect over polling: the first GET, the packet that connects to the main namespace, and a poll for its
/// answer, over one connection each.
fn polling_handshake(world: &mut World, messages: usize) {
    let request = get("/socket.io/?EIO=4&transport=polling", "");
    world.reserve(messages + 1);
    let mut turn = |_| {
        let token = world.accept();
        let answer = world.ask(token, &request);
        let session = session_of(&answer);
        let (connect, poll) = (post(session, "40"), poll_head(session));
        world.send(token, &connect) + world.send(token, &poll)
    };
    let expected = turn(0);
    let written = measured(messages, turn);
    assert_eq!(written, expected * messages, "a client was refused");
    eprintln!("polling_handshake: {messages} messages, {written} bytes written");
}

/// Sockets that join one of 10,000 rooms, in each of which is another socket, and leave it again.
fn join(world: &mut World, messages: usize, clients: usize) {
    let rooms: Vec<_> = (0..10_000).map(|number| format!("room-{number}")).collect();
    (0..=clients).for_each(|_| _ = world.websocket());
    let mut sockets = world.server().sockets();
    let resident = sockets.pop().expect("there is a client");
    resident.join(&rooms);
    let turn = |i: usize| {
        let (socket, room) = (&sockets[i % clients], &rooms[i * 7919 % rooms.len()]);
        socket.join(room);
        socket.leave(room);
        1
    };
    (0..clients.min(messages)).for_each(|i| _ = turn(i));
    let joined = measured(messages, turn);
    assert!(joined == messages && resident.rooms().len() == rooms.len());
    eprintln!("join: {messages} messages, joined and left");
}

/// The client's half: an event that leaves, one that is acknowledged, and one that arrives.
fn client(world: &mut World, path: &str, messages: usize, count: usize) {
    let mut clients = Clients::default();
    let settings = Client::builder("http://localhost").transports([sockeye::Transport::WebSocket]);
    let first = settings.build().expect("the address is right");
    for i in 0..count {
        let client = if i == 0 { first.clone() } else { first.another() };
        client.on("event", async |Data(text): Data<String>| drop(black_box(text)));
        clients.connect(world, client);
    }
    let text = "x".repeat(32);
    let event = from_server(&format!(r#"42["event","{text}"]"#));
    // The n-th acknowledgement of a client has the id n.
    let answers: Vec<_> =
        (0..=messages / count + 1).map(|id| from_server(&format!(r#"43{id}["{text}"]"#))).collect();
    let mut turn = |i: usize| {
        let at = i % count;
        match path {
            "client_emit" => {
                clients.client(at).emit("event", &text).expect("the client is connected");
                clients.send(at, &[])
            }
            "client_ack" => {
                let mut answer = pin!(clients.client(at).emit_with_ack::<String>("event", &text));
                let written = clients.send(at, &[]);
                clients.send(at, &answers[i / count]);
                let mut context = Context::from_waker(Waker::noop());
                assert!(matches!(answer.as_mut().poll(&mut context), Poll::Ready(Ok(_))));
                written
            }
            "client_event" => {
                clients.send(at, &event);
                1
            }
            _ => panic!("{USAGE}"),
        }
    };
    let warm = count.min(messages);
    (0..warm).for_each(|i| _ = turn(i));
    let written = measured(messages, |i| turn(warm + i));
    assert!(written >= messages, "a message was not sent");
    eprintln!("{path}: {messages} messages, {written} bytes written");
}

/// A text message as servers send it.
fn from_server(packet: &str) -> Vec<u8> {
    let mut frame = Vec::new();
    write_frame(&mut frame, Opcode::Text, packet.as_bytes(), None);
    frame
}

/// Runs the turns that are counted. Not inlined, so that the profiler finds it by name.
#[inline(never)]
fn measured(turns: usize, mut turn: impl FnMut(usize) -> usize) -> usize {
    black_box((0..turns).map(|i| turn(black_box(i))).sum())
}
