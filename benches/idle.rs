//! The memory of a silent connection: allocations and bytes, counted.
//!
//! Each row is the mean of 1,000 connections. `heap` is the memory that the server has allocated; `inline` is the size
//! of the values that the driving program holds per connection, which are on the heap as well once they are in a task
//! or list.
#![allow(missing_docs, clippy::expect_used)]

use rig::{
    Clients, Counting, Token, Usage, World, binary_event, browser_headers, measure, poll_head, post, server,
    text,
};
use sockeye::drive::{Drive, Stream};
use sockeye::host::{Host, Runtime};
use sockeye::{Client, Server, Socket, Transport};
use std::cell::Cell;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const COUNT: i64 = 1_000;

fn main() {
    println!("\nmemory of one connection            pieces    heap B  inline B");
    let inline = size_of::<<Server as Host>::Connection>() + size_of::<Vec<u8>>();
    let row = |name: &str, open: &dyn Fn(&mut World)| {
        let mut world = World::new(server());
        // The first connections also allocate what all of them share.
        (0..10).for_each(|_| open(&mut world));
        world.reserve(COUNT as usize);
        let ((), usage) = measure(|| (0..COUNT).for_each(|_| open(&mut world)));
        print(name, &usage, inline);
    };
    row("a stream", &|world| _ = world.accept());
    row("WebSocket, connected, 4 handlers", &|world| _ = world.websocket());
    let browser = Cell::new(0);
    row("WebSocket, a browser's headers", &|world| {
        let number = browser.replace(browser.get() + 1);
        world.websocket_with(&browser_headers(number));
    });
    row("polling, a poll waits", &|world| drop(poll(world)));
    row("polling, between polls", &|world| _ = world.polling());
    row("WebSocket, after an ack", &|world| after(world, &text(r#"420["ack","short"]"#)));
    row("WebSocket, after 16 acks at once", &|world| {
        after(world, &text(r#"420["ack","the quick brown fox jumps again!"]"#).repeat(16));
    });
    row("WebSocket, after a 4 KiB binary echo", &|world| after(world, &binary_event("bin", 4096)));
    row("polling, after an ack", &|world| {
        let (token, session) = poll(world);
        world.send(token, &post(&session, r#"420["ack","short"]"#));
        world.send(token, &poll_head(&session));
        world.send(token, &poll_head(&session));
    });
    row("a client that read 1 MB late", &|world| {
        let token = world.websocket();
        world.stall(token, true);
        let text = "x".repeat(10_000);
        let socket = world.server().sockets().pop().expect("it is connected");
        (0..100).for_each(|_| socket.emit("text", &text).expect("there is room"));
        world.stall(token, false);
        assert!(world.run_ready() >= 1_000_000);
    });
    rooms();
    clients();
    print(
        "Drive, the future of a stream",
        &Usage::default(),
        size_of::<Drive<Nothing, <Server as Host>::Connection, Arc<dyn Runtime>>>(),
    );
}

/// Measures the membership of one more room.
fn rooms() {
    let mut world = World::new(server());
    (0..COUNT).for_each(|_| _ = world.websocket());
    let sockets: Vec<Socket> = world.server().sockets();
    sockets.iter().for_each(|socket| socket.join("first"));
    let ((), usage) = measure(|| sockets.iter().for_each(|socket| socket.join("second")));
    print("membership of a room", &usage, 0);
}

/// Measures a client, including its handlers and the protocols of its streams.
fn clients() {
    let client = || {
        let builder = Client::builder("http://localhost:3000").transports([Transport::WebSocket]);
        builder.build().expect("the URL is one")
    };
    let row = |name: &str, make: &dyn Fn() -> Client| {
        let (mut world, mut clients) = (World::new(server()), Clients::default());
        (0..COUNT).for_each(|_| clients.connect(&mut world, make()));
        let freed = clients.free();
        let kept = Usage { live: -freed.live, live_bytes: -freed.live_bytes, ..freed };
        print(name, &kept, 0);
    };
    let first = client();
    row("a client, by WebSocket", &client);
    row("another with the same settings", &|| first.another());
}

fn after(world: &mut World, input: &[u8]) {
    let token = world.websocket();
    assert!(world.send(token, input) > 0);
}

/// Opens a polling client whose poll waits.
fn poll(world: &mut World) -> (Token, String) {
    let (token, session) = world.polling();
    assert_eq!(world.send(token, &poll_head(&session)), 0);
    (token, session)
}

fn print(name: &str, usage: &Usage, inline: usize) {
    let (pieces, bytes) = (usage.live as f64 / COUNT as f64, usage.live_bytes as f64 / COUNT as f64);
    println!("{name:36} {pieces:5.1} {bytes:9.0} {inline:9}");
}

/// A stream without state, so that only the size of the loop remains.
struct Nothing;

impl Stream for Nothing {
    fn poll_read(&mut self, _: &mut Context<'_>, _: &mut [u8]) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn poll_write_vectored(&mut self, _: &mut Context<'_>, _: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}
