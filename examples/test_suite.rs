//! The server that the official Socket.IO test suite expects: it echoes events, and acknowledges with the arguments.
//!
//! Run it with `PORT=3000 cargo run --example test_suite`.
mod common;

use serde_json::Value;
use sockeye::extract::Auth;
use sockeye::{Args, Cors, Server, Socket};
use std::time::Duration;

fn main() -> std::io::Result<()> {
    let io = Server::builder()
        .ping_interval(Duration::from_millis(300))
        .ping_timeout(Duration::from_millis(200))
        .connect_timeout(Duration::from_secs(1))
        .max_payload(1_000_000)
        .cors(Cors::any())
        .build();
    for namespace in [io.of("/"), io.of("/custom")] {
        namespace.on_connect(async |socket: Socket, Auth(auth): Auth<Value>| socket.emit("auth", auth));
        namespace.on("message", async |socket: Socket, args: Args| socket.emit("message-back", args));
        namespace.on("message-with-ack", async |args: Args| args);
    }
    common::serve(io)
}
