//! The server that the tests of the JavaScript Socket.IO client expect: it answers the events that they send.
//!
//! Run it with `PORT=3210 cargo run --example socket_client_suite`.
mod common;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use sockeye::extract::{Auth, Data};
use sockeye::{Args, ConnectError, Cors, Recovery, Server, Socket};
use std::time::Duration;

/// What stands for the time at present.
const DATE: &str = "2026-01-02T03:04:05.678Z";
const TEXTS: [&str; 5] = ["てすと", "Я Б Г Д Ж Й", "Ä ä Ü ü ß", "utf8 — string", "utf8 — string"];

fn main() -> std::io::Result<()> {
    let io = Server::builder()
        .ping_interval(Duration::from_secs(2))
        .connection_state_recovery(Recovery::new())
        .cors(Cors::any())
        .build();
    for name in ["/timeout_socket", "/valid", "/asd"] {
        io.of(name);
    }
    io.of("/foo").on("getId", async |socket: Socket| socket.id().to_string());
    io.of("/abc").on_connect(async |socket: Socket, Auth(auth): Auth<Value>| {
        socket.emit("handshake", json!({ "query": query(&socket), "auth": auth }))
    });
    io.of("/no").middleware(async || Err::<(), _>(ConnectError::new("Auth failed (custom namespace)")));
    io.middleware(async |socket: Socket| match socket.handshake().query_param("fail") {
        Some(_) => Err(ConnectError::new("Auth failed (main namespace)")),
        None => Ok(()),
    });
    texts(&io);
    binary(&io);
    common::serve(io)
}

/// Returns the parameters of the URL.
fn query(socket: &Socket) -> Map<String, Value> {
    socket.handshake().query().into_iter().map(|(name, value)| (name, value.into())).collect()
}

fn texts(io: &Server) {
    io.on("hi", async |socket: Socket| socket.emit("hi", ()));
    io.on("echo", async |args: Args| args);
    io.on("getId", async |socket: Socket| socket.id().to_string());
    io.on("getHandshake", async |socket: Socket| json!({ "query": query(&socket) }));
    io.on("getAckDate", async || DATE);
    io.on("getDate", async |socket: Socket| socket.emit("takeDate", DATE));
    io.on("getDateObj", async |socket: Socket| socket.emit("takeDateObj", json!({ "date": DATE })));
    io.on("getUtf8", async |socket: Socket| TEXTS.iter().try_for_each(|text| socket.emit("takeUtf8", text)));
    io.on("false", async |socket: Socket| socket.emit("false", false));
    io.on("ack", async |socket: Socket| {
        let answer = socket.emit_with_ack::<(i64, Value)>("ack", ()).await;
        if answer.is_ok_and(|(number, object)| number == 5 && object["test"] == true) {
            socket.emit("got it", ())?;
        }
        Ok::<_, sockeye::EmitError>(())
    });
}

fn binary(io: &Server) {
    io.on("doge", async |socket: Socket| socket.emit("doge", Bytes::from_static(b"asdfasdf")));
    io.on("getbin", async |socket: Socket| socket.emit("takebin", Bytes::from_static(b"asdfasdf")));
    for (event, answer) in [
        ("buffa", "buffack"),
        ("jsonbuff", "jsonbuff-ack"),
        ("abuff2", "abuff2-ack"),
        ("blob", "back"),
        ("jsonblob", "jsonblob-ack"),
        ("blob3", "blob3-ack"),
    ] {
        io.on(event, async move |socket: Socket| socket.emit(answer, ()));
    }
    for event in ["abuff1", "blob1", "blob2"] {
        io.on(event, async |Data(_): Data<Value>| {});
    }
}
