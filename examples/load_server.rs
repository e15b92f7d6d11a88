//! The server that is measured beside others: it echoes, acknowledges, broadcasts, and has rooms.
//!
//! Run it with `PORT=3000 WORKERS=1 cargo run --release --example load_server`. The environment variable
//! `PING_INTERVAL` sets the time between two pings, in milliseconds.
mod common;

use bytes::Bytes;
use serde_json::Value;
use sockeye::extract::Data;
use sockeye::{Recovery, Server, Socket, StatefulReconnect};
use std::time::Duration;

fn main() -> std::io::Result<()> {
    let mut builder = Server::builder();
    if let Some(interval) = std::env::var("PING_INTERVAL").ok().and_then(|text| text.parse().ok()) {
        builder = builder.ping_interval(Duration::from_millis(interval));
    }
    // For benches/jitter.
    if std::env::args().any(|argument| argument == "--recovery") {
        builder = builder.connection_state_recovery(Recovery::new());
    }
    if std::env::args().any(|argument| argument == "--stateful-reconnect") {
        builder = builder.stateful_reconnect(StatefulReconnect::new());
    }
    let io = builder.build();
    // Registered once, and not for each client.
    io.on("echo", async |socket: Socket, Data(x): Data<Value>| socket.emit("echo", x));
    io.on("bin", async |socket: Socket, Data(x): Data<Bytes>| socket.emit("bin", x));
    io.on("ack", async |Data(x): Data<Value>| x);
    io.on("broadcast", async |io: Server, Data(x): Data<Value>| {
        io.emit("broadcast", x);
    });
    io.on("join", async |socket: Socket, Data(rooms): Data<Vec<String>>| socket.join(rooms));
    io.on("leave", async |socket: Socket, Data(rooms): Data<Vec<String>>| socket.leave(rooms));
    io.on("room", async |io: Server, Data((room, x)): Data<(String, Value)>| {
        io.to(room).emit("room", x);
    });
    common::serve(io)
}
