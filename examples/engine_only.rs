//! The protocol engine alone: no sockets, no runtime, and only a clock that this program moves.
//!
//! Run it with `cargo run --example engine_only`.
use sockeye_core::engineio::{self, Id, Message, Packet, Part, Transport};
use sockeye_core::websocket::{self, Decoder, Opcode, Role};
use sockeye_core::{Outbound, Time};
use std::sync::Arc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Time and randomness are arguments, so every run is the same.
    let mut now = Time::ZERO;
    let id = Id::from_random([7; 15]);
    let config = Arc::new(engineio::server::Config::default());
    let mut server = engineio::server::Session::open(now, config, &id, Transport::WebSocket);
    let mut wire = Outbound::new();

    // The handshake is queued; the client reads it off the wire.
    server.take_frames(&mut wire);
    println!("client reads {:?}", read(&mut wire)?);

    // The client sends bytes: a masked frame with a message. The server unmasks and answers it.
    let mut bytes = Vec::new();
    websocket::write_frame(&mut bytes, Opcode::Text, b"4hello", Some([1, 2, 3, 4]));
    let mut decoder = Decoder::new(Role::Server, 1_000_000);
    if let Some(websocket::Message::Text(text)) = decoder.decode(&mut &mut bytes[..])?
        && let Some(Message::Text(text)) = server.handle_packet(now, Packet::decode(&text)?)
    {
        println!("server reads {text:?}");
        server.send([Part::Text(text.as_bytes())].into_iter())?;
    }
    server.take_frames(&mut wire);
    println!("client reads {:?}", read(&mut wire)?);

    // Twenty-five seconds pass at once, and a ping is due. It is not answered, so twenty more end the session.
    while let Some(deadline) = server.next_deadline() {
        now = deadline;
        server.handle_timeout(now);
        server.take_frames(&mut wire);
        println!("after {:?} client reads {:?}", now.since_origin(), read(&mut wire)?);
    }
    println!("closed: {}", server.closed().ok_or("still open")?);
    Ok(())
}

/// Decodes the bytes as a client, and returns the texts of all frames.
fn read(wire: &mut Outbound) -> Result<Vec<String>, websocket::Error> {
    let mut bytes: Vec<u8> = wire.chunks().flatten().copied().collect();
    wire.clear();
    let (mut input, mut decoder) = (&mut bytes[..], Decoder::new(Role::Client, 1_000_000));
    let mut texts = Vec::new();
    while let Some(message) = decoder.decode(&mut input)? {
        if let websocket::Message::Text(text) = message {
            texts.push(text.into_owned());
        }
    }
    Ok(texts)
}
