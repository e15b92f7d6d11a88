//! The server that is measured: the events of `examples/load_server.rs`, with types instead of any JSON.

use bytes::Bytes;
use sockeye::extract::Data;
use sockeye::{Server, Socket};

/// Answers `ack`, sends `echo` and `bin` back, and `broadcast` to everybody.
pub fn server() -> Server {
    // A bench that stalls a peer wants to see it wait, not closed.
    let io = Server::builder().send_buffer(usize::MAX / 4).build();
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
