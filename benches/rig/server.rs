//! The measured server: the events of `examples/load_server.rs`, with concrete types instead of any JSON.

use bytes::Bytes;
use serde_json::Value;
use sockeye::extract::Data;
use sockeye::{Parser, Recovery, Server, Socket, StatefulReconnect};

/// Returns a server that acknowledges `ack`, sends `echo` and `bin` back, and broadcasts `broadcast`.
pub fn server() -> Server {
    // A bench that stalls a peer needs it to stay connected.
    let io = Server::builder().send_buffer(usize::MAX / 4).build();
    io.on_connect(async |socket: Socket| handle(&socket));
    io
}

/// Returns the same server with the recovery of connections.
pub fn recovering_server() -> Server {
    let builder = Server::builder().send_buffer(usize::MAX / 4);
    let io = builder.connection_state_recovery(Recovery::new()).build();
    io.on_connect(async |socket: Socket| handle(&socket));
    io
}

/// Returns the same server with stateful reconnect.
pub fn resuming_server() -> Server {
    let builder = Server::builder().send_buffer(usize::MAX / 4);
    let io = builder.stateful_reconnect(StatefulReconnect::new()).build();
    io.on_connect(async |socket: Socket| handle(&socket));
    io
}

/// Returns a server that acknowledges `ack` by a handler of the namespace, for any JSON, as `examples/load_server.rs` does.
pub fn json_server() -> Server {
    let io = Server::new();
    io.on("echo", async |socket: Socket, Data(x): Data<Value>| socket.emit("echo", x));
    io.on("bin", async |socket: Socket, Data(x): Data<Bytes>| socket.emit("bin", x));
    io.on("ack", async |Data(x): Data<Value>| x);
    io.on("broadcast", async |io: Server, Data(x): Data<Value>| {
        io.emit("broadcast", x);
    });
    io
}

/// Returns the [`server`] with packets in MessagePack.
pub fn msgpack_server() -> Server {
    let io = Server::builder().parser(Parser::MessagePack).build();
    io.on_connect(async |socket: Socket| handle(&socket));
    io
}

/// Registers the handlers of the benches.
pub fn handle(socket: &Socket) {
    socket.on("ack", async |Data(x): Data<String>| x);
    socket.on("echo", async |socket: Socket, Data(x): Data<String>| socket.emit("echo", x));
    socket.on("bin", async |socket: Socket, Data(x): Data<Bytes>| socket.emit("bin", x));
    socket.on("broadcast", async |io: Server, Data(x): Data<String>| {
        io.emit("broadcast", x);
    });
}
