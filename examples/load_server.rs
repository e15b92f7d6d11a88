//! The server that is measured beside others: it echoes, acknowledges and broadcasts.
//!
//! Run it with `PORT=3000 WORKERS=1 cargo run --release --example load_server`.
mod common;

use bytes::Bytes;
use serde_json::Value;
use sockeye::extract::Data;
use sockeye::{Server, Socket};

fn main() -> std::io::Result<()> {
    let io = Server::new();
    // Registered once, and not for each client.
    io.on("echo", async |socket: Socket, Data(x): Data<Value>| socket.emit("echo", x));
    io.on("bin", async |socket: Socket, Data(x): Data<Bytes>| socket.emit("bin", x));
    io.on("ack", async |Data(x): Data<Value>| x);
    io.on("broadcast", async |io: Server, Data(x): Data<Value>| {
        io.emit("broadcast", x);
    });
    common::serve(io)
}
