//! What an idle client keeps, counted: its own memory, without the tasks and the socket that its runtime has for it.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../benches/rig/mod.rs"]
mod rig;

use rig::{Clients, Counting, World};
use sockeye::client::ClientBuilder;
use sockeye::extract::Data;
use sockeye::{Client, Server, Transport};
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const COUNT: i64 = 100;

fn builder() -> ClientBuilder {
    Client::builder("http://localhost:3000").transports([Transport::WebSocket])
}

/// How many bytes each of some connected clients keeps.
fn bytes_per_client(mut make: impl FnMut() -> Client) -> i64 {
    let io = Server::new();
    io.on_connect(async || ());
    let (mut world, mut clients) = (World::new(io), Clients::default());
    for _ in 0..COUNT {
        let client = make();
        client.on("message", async |Data(_): Data<String>| ());
        clients.connect(&mut world, client);
    }
    -clients.free().live_bytes / COUNT
}

// One test: what was built last is known to all threads.
#[test]
fn an_idle_client_keeps_two_kilobytes_and_less_where_settings_are_shared() {
    let mut seconds = 0;
    let unlike = bytes_per_client(|| {
        seconds += 1;
        builder().timeout(Duration::from_secs(seconds)).build().unwrap()
    });
    assert!(unlike < 2100, "{unlike} bytes");
    let equal = bytes_per_client(|| builder().build().unwrap());
    assert!(equal < 1750 && equal < unlike - 300, "{equal} bytes");
    let first = builder().build().unwrap();
    let another = bytes_per_client(|| first.another());
    assert!(another < 1600 && another < equal, "{another} bytes");
}
