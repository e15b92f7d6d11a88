//! Sends the date to every page, each second.
//!
//! Run it with `cargo run --example date_notifier`, and open the address that it prints.
#[path = "../common/mod.rs"]
mod common;
#[path = "../page/mod.rs"]
mod page;

use sockeye::Server;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn main() -> std::io::Result<()> {
    let io = app();

    // Any thread may emit; this one does nothing else.
    let clock = io.clone();
    thread::spawn(move || {
        loop {
            tick(&clock, SystemTime::now());
            thread::sleep(Duration::from_secs(1));
        }
    });

    // In a program of your own: `sockeye::runtime::tokio::listen(io, "127.0.0.1:3000").await`, or the same of smol.
    common::serve(io)
}

/// Returns the server, which `tests/in_memory.rs` tests.
pub(crate) fn app() -> Server {
    page::builder(include_bytes!("index.html")).build()
}

/// Sends a date, in milliseconds since 1970.
pub(crate) fn tick(io: &Server, now: SystemTime) {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    io.emit("date", now.as_millis() as u64);
}
