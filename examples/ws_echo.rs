//! A WebSocket echo on the core's codec alone, a thread for each connection: what Autobahn's test suite is run against.
//!
//! Run it with `PORT=9001 cargo run --release --example ws_echo`.
use sockeye_core::Time;
use sockeye_core::connection::{Config, Connection, Phase, websocket_key};
use sockeye_core::http::{Status, header_slots};
use sockeye_core::websocket::{Message, Opcode, write_frame};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;

fn main() -> io::Result<()> {
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(9001);
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    println!("listening on ws://127.0.0.1:{port}");
    for stream in listener.incoming() {
        let stream = stream?;
        std::thread::spawn(move || echo(stream));
    }
    Ok(())
}

/// Deadlines are left out: this is for tests.
fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut config = Config::default();
    config.max_payload = 32 << 20;
    let now = Time::ZERO;
    let mut connection = Connection::new(now, Arc::new(config));
    let mut input = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    while connection.phase() != Phase::Closing {
        let n = stream.read(&mut chunk)?;
        if n == 0 {
            return Ok(());
        }
        input.extend_from_slice(&chunk[..n]);
        let used = take_in(&mut connection, &mut input);
        input.drain(..used);
        for piece in connection.outbound().chunks() {
            stream.write_all(piece)?;
        }
        connection.outbound().clear();
    }
    stream.shutdown(Shutdown::Write)?;
    // What the peer still says, so that it is not cut off before it has read our last words.
    io::copy(&mut stream, &mut io::sink())?;
    Ok(())
}

/// How many bytes of the front are used.
fn take_in(connection: &mut Connection, input: &mut [u8]) -> usize {
    let now = Time::ZERO;
    let mut used = 0;
    if connection.phase() == Phase::Head {
        let mut slots = header_slots();
        let Some(head) = connection.next_head(now, input, &mut slots) else { return 0 };
        used = head.len;
        match websocket_key(&head.request) {
            Ok(key) => connection.upgrade(now, key, []),
            Err(_) => connection.refuse(now, Status::BAD_REQUEST),
        }
    }
    let mut rest = &mut input[used..];
    // What breaks the protocol is answered by the connection itself.
    while let Ok(Some(message)) = connection.next_message(now, &mut rest) {
        let (opcode, data) = match &message {
            Message::Text(text) => (Opcode::Text, text.as_bytes()),
            Message::Binary(data) => (Opcode::Binary, &data[..]),
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => continue,
        };
        connection.outbound().write_with(|out| write_frame(out, opcode, data, None));
    }
    let left = rest.len();
    input.len() - left
}
