//! A server that recovers connections, after `connection-state-recovery.ts` of the reference.

use serde_json::{Value, json};
use sockeye::extract::Data;
use sockeye::{Recovery, Server, ServerBuilder, Socket};
use std::sync::atomic::{AtomicUsize, Ordering};

static ASKED: AtomicUsize = AtomicUsize::new(0);

/// The events that are sent when the connection is lost.
struct Missed(usize);

pub(crate) fn recovering(builder: ServerBuilder, asks: bool) -> ServerBuilder {
    builder.connection_state_recovery(Recovery::new().skip_middlewares(!asks))
}

/// A namespace whose clients say what they will miss.
pub(crate) fn recovered(io: &Server) {
    let io = io.of("/recovery");
    io.middleware(async |_: Socket| {
        ASKED.fetch_add(1, Ordering::Relaxed);
        Ok::<_, sockeye::ConnectError>(())
    });
    io.on("hi", async |socket: Socket| socket.emit("hi", ()));
    io.on("join", async |socket: Socket, Data(room): Data<String>| {
        socket.join(room);
        true
    });
    io.on("keep", async |socket: Socket, Data(data): Data<Value>| {
        socket.set_shared_data(data)?;
        Ok::<_, sockeye::SharedDataError>(true)
    });
    io.on("miss", async |socket: Socket, Data(count): Data<usize>| {
        socket.set_data(Missed(count));
        true
    });
    io.on("state", async |socket: Socket| {
        let data = socket.shared_data::<Value>().ok().flatten();
        let mut rooms = socket.rooms();
        rooms.sort();
        json!({
            "id": socket.id(),
            "recovered": socket.recovered(),
            "rooms": rooms,
            "data": data,
            "asked": ASKED.load(Ordering::Relaxed),
        })
    });
    io.on_disconnect(async |socket: Socket| {
        let count = socket.data::<Missed>().map_or(0, |missed| missed.0);
        let namespace = socket.namespace();
        for number in 0..count {
            let _ = match number % 3 {
                0 => socket.emit("missed", (number, "to it")).is_ok(),
                1 => namespace
                    .to("room")
                    .emit("missed", (number, bytes::Bytes::from_static(b"bytes")))
                    .error
                    .is_none(),
                _ => namespace.emit("missed", number).error.is_none(),
            };
            namespace.to("elsewhere").emit("missed", "not for it");
            namespace.except("room").emit("missed", "not for it either");
        }
    });
}
