//! A WebSocket echo server for the Autobahn test suite: the core's codec alone, with a thread for each connection.
//!
//! Run it with `PORT=9001 cargo run --release --features deflate --example ws_echo`; without the feature it does not
//! compress.
use sockeye_core::Time;
use sockeye_core::connection::{self, Connection, Phase, agree_deflate, websocket_key};
use sockeye_core::http::{Status, header_slots};
use sockeye_core::websocket::{
    Deflate, DeflatePool, DeflateState, Message, Opcode, PerMessageDeflate, write_frame,
};
use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;

thread_local! {
    static STATE: Cell<DeflateState> = const { Cell::new(DeflateState::new()) };
}

/// All messages of a thread are compressed with the same state.
static POOL: DeflatePool = DeflatePool::new(|| STATE.take(), |state| STATE.set(state));

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

/// Serves one connection. It has no deadlines, because this is for tests only.
fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut config = connection::Config::default();
    config.max_payload = 32 << 20;
    let now = Time::ZERO;
    let mut connection = Connection::new(now, Arc::new(config));
    let mut deflate = None;
    let mut input = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    while connection.phase() != Phase::Closing {
        let n = stream.read(&mut chunk)?;
        if n == 0 {
            return Ok(());
        }
        input.extend_from_slice(&chunk[..n]);
        let used = take_in(&mut connection, &mut deflate, &mut input);
        input.drain(..used);
        for piece in connection.outbound().chunks() {
            stream.write_all(piece)?;
        }
        connection.outbound().clear();
    }
    stream.shutdown(Shutdown::Write)?;
    // Reads what the peer still sends: closing with unread data could reset the connection before the peer has read
    // everything.
    io::copy(&mut stream, &mut io::sink())?;
    Ok(())
}

/// Handles the input, and returns the number of bytes that were used.
fn take_in(connection: &mut Connection, deflate: &mut Option<Deflate>, input: &mut [u8]) -> usize {
    let now = Time::ZERO;
    let mut used = 0;
    if connection.phase() == Phase::Head {
        let mut slots = header_slots();
        let Ok(Some(head)) = connection.next_head(now, input, &mut slots) else { return 0 };
        used = head.len;
        match websocket_key(&head.request) {
            Ok(key) => {
                let agreed = agree_deflate(per_message_deflate().as_ref(), &head.request);
                let header = agreed.as_ref().map(|(_, answer)| ("Sec-WebSocket-Extensions", answer.as_ref()));
                connection.upgrade(now, key, header);
                *deflate = agreed.map(|(deflate, _)| deflate);
                if let Some(deflate) = *deflate {
                    connection.set_deflate(deflate);
                }
            }
            Err(_) => connection.refuse(now, Status::BAD_REQUEST),
        }
    }
    let mut rest = &mut input[used..];
    // On a protocol error the connection itself queues the close frame.
    while let Ok(Some(message)) = connection.next_message(now, &mut rest, &POOL) {
        let (opcode, data) = match &message {
            Message::Text(text) => (Opcode::Text, text.as_bytes()),
            Message::Binary(data) => (Opcode::Binary, &data[..]),
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => continue,
        };
        connection.outbound().write_with(|out| echo_frame(out, opcode, data, *deflate));
    }
    let left = rest.len();
    input.len() - left
}

#[cfg(feature = "deflate")]
fn per_message_deflate() -> Option<PerMessageDeflate> {
    // The suite expects compression even of its short messages.
    Some(PerMessageDeflate::new().threshold(0))
}

#[cfg(not(feature = "deflate"))]
fn per_message_deflate() -> Option<PerMessageDeflate> {
    None
}

fn echo_frame(out: &mut Vec<u8>, opcode: Opcode, data: &[u8], deflate: Option<Deflate>) {
    #[cfg(feature = "deflate")]
    if deflate.is_some_and(|deflate| deflate.write_frame(&POOL, out, opcode, &[data], None)) {
        return;
    }
    let _ = deflate;
    write_frame(out, opcode, data, None);
}
