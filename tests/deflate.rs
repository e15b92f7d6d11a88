//! Compressed messages of a whole server: which clients get them, and violations of the extension.
#![cfg(feature = "deflate")]
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../benches/rig/mod.rs"]
mod rig;
mod simulation;

use rig::{Clients, World};
use simulation::{Client, Incoming, Sim};
use sockeye::drive::Protocol;
use sockeye::extract::Data;
use sockeye::host::{Host, Peer};
use sockeye::{ClientSocket, PerMessageDeflate, Server, Socket, Time, Transport};
use sockeye_core::websocket::{Deflate, DeflatePool, Opcode, write_frame};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

const ASKS: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
const MASK: [u8; 4] = [1, 2, 3, 4];

fn server() -> Server {
    let server = Server::builder().max_payload(20_000).per_message_deflate(PerMessageDeflate::new()).build();
    server.on_connect(async |socket: Socket| {
        socket.on("echo", async |socket: Socket, Data(text): Data<String>| socket.emit("echo", text));
    });
    server
}

/// Returns the compression that a client's handshake negotiated, with a threshold of 0.
fn agreed(client: &Client) -> Option<Deflate> {
    let head = client.head();
    let answer = head.lines().filter_map(|line| line.strip_prefix("Sec-WebSocket-Extensions: "));
    let config = PerMessageDeflate::new().threshold(0);
    Deflate::agreed(&config, answer.map(str::as_bytes)).unwrap()
}

/// Connects a client to the main namespace. It compresses if the server agrees.
fn join(sim: &Sim, headers: &str) -> (Client, Option<Deflate>) {
    let mut client = Client::open_with(sim, "EIO=4&transport=websocket", headers);
    let deflate = agreed(&client);
    if let Some(deflate) = deflate {
        client.set_deflate(deflate);
    }
    client.id = client.join("/");
    (client, deflate)
}

fn compressed(deflate: Deflate, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    assert!(deflate.write_frame(&DeflatePool::default(), &mut frame, opcode, &[payload], Some(MASK)));
    frame
}

#[test]
fn long_messages_are_compressed_both_ways_for_clients_that_offer_it() {
    let sim = Sim::new(server());
    let (client, deflate) = join(&sim, ASKS);
    let (plain, none) = join(&sim, "");
    assert_eq!(none, None);
    for len in [10, 1000, 10_000] {
        let packet = format!("42[\"echo\",\"{}\"]", "x".repeat(len));
        let (before, before_plain) = (client.bytes(), plain.bytes());
        client.send_bytes(&compressed(deflate.unwrap(), Opcode::Text, packet.as_bytes()));
        plain.send(&packet);
        assert_eq!((client.next(), plain.next()), (packet.clone(), packet));
        let (got, got_plain) = (client.bytes() - before, plain.bytes() - before_plain);
        assert!(
            got_plain > len && if len < 10_000 { got == got_plain } else { got < 100 },
            "{got} of {got_plain}"
        );
    }
}

#[test]
fn the_threshold_of_the_server_holds_for_clients_with_any_window_and_after_an_upgrade() {
    let small = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9\r\n";
    for (threshold, is_compressed) in [(500, true), (5000, false)] {
        let settings = PerMessageDeflate::new().threshold(threshold);
        let sim = Sim::new(Server::builder().per_message_deflate(settings).build());
        let (direct, _) = join(&sim, ASKS);
        let (narrow, _) = join(&sim, small);
        let mut polling = sim.polling();
        polling.join();
        let query = format!("EIO=4&transport=websocket&sid={}", polling.session);
        let upgraded = Client::dial_with(&sim, &query, ASKS);
        upgraded.set_deflate(agreed(&upgraded).unwrap());
        upgraded.send("2probe");
        upgraded.send("5");
        let all = [&direct, &narrow, &upgraded];
        let before = all.map(Client::bytes);
        sim.server().emit("news", "x".repeat(1000));
        for (client, before) in all.into_iter().zip(before) {
            let got = client.bytes() - before;
            assert_eq!(got < 100, is_compressed, "{got} bytes at a threshold of {threshold}");
        }
    }
}

#[test]
fn compression_is_declined_unless_the_server_enables_it() {
    let sim = Sim::new(Server::new());
    let (client, deflate) = join(&sim, ASKS);
    assert_eq!(deflate, None);
    assert!(!client.head().to_lowercase().contains("extensions"));
    let mut frame = Vec::new();
    write_frame(&mut frame, Opcode::Text, b"42[]", Some(MASK));
    frame[0] |= 0x40;
    client.send_bytes(&frame);
    assert_eq!(client.poll(), Some(Incoming::Close(Some(1002))));
}

#[test]
fn an_upgraded_session_uses_the_compression_of_its_websocket_connection() {
    let sim = Sim::new(server());
    let mut polling = sim.polling();
    polling.join();
    let query = format!("EIO=4&transport=websocket&sid={}", polling.session);
    let client = Client::dial_with(&sim, &query, ASKS);
    let deflate = agreed(&client).unwrap();
    client.set_deflate(deflate);
    client.send("2probe");
    assert_eq!(client.next(), "3probe");
    client.send("5");
    let socket = sim.server().sockets().remove(0);
    assert_eq!(socket.transport(), Transport::WebSocket);
    let text = "y".repeat(5000);
    let before = client.bytes();
    socket.emit("e", &text).unwrap();
    assert_eq!(client.next(), format!("42[\"e\",\"{text}\"]"));
    assert!(client.bytes() - before < 100);
    client.send_bytes(&compressed(deflate, Opcode::Text, format!("42[\"echo\",\"{text}\"]").as_bytes()));
    assert_eq!(client.next(), format!("42[\"echo\",\"{text}\"]"));
}

#[test]
fn the_compression_of_an_aborted_upgrade_does_not_apply_to_the_next() {
    let sim = Sim::new(server());
    let mut polling = sim.polling();
    polling.join();
    let query = format!("EIO=4&transport=websocket&sid={}", polling.session);
    Client::dial_with(&sim, &query, ASKS).cut();
    let client = Client::dial(&sim, &query);
    client.send("2probe");
    assert_eq!(client.next(), "3probe");
    client.send("5");
    let before = client.bytes();
    sim.server().emit("e", "y".repeat(5000));
    assert!(client.next().len() > 5000);
    assert!(client.bytes() - before > 5000);
}

#[test]
fn a_broadcast_is_compressed_as_negotiated_with_each_client() {
    let sim = Sim::new(server());
    let asks_less = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10\r\n";
    let clients = [join(&sim, ASKS).0, join(&sim, "").0, join(&sim, asks_less).0, join(&sim, ASKS).0];
    let before: Vec<_> = clients.iter().map(Client::bytes).collect();
    let text = "z".repeat(4000);
    assert_eq!(sim.server().emit("e", &text).sent, 4);
    for client in &clients {
        assert_eq!(client.next(), format!("42[\"e\",\"{text}\"]"));
    }
    let lengths: Vec<_> =
        clients.iter().zip(before).map(|(client, before)| client.bytes() - before).collect();
    assert!(
        lengths[0] < 100 && lengths[1] > 4000 && lengths[2] < 100 && lengths[0] == lengths[3],
        "{lengths:?}"
    );
}

#[test]
fn a_message_that_must_not_be_compressed_is_sent_as_it_is() {
    let sim = Sim::new(server());
    let (client, _) = join(&sim, ASKS);
    let socket = sim.server().sockets().remove(0);
    let text = "y".repeat(5000);
    let packet = format!("42[\"e\",\"{text}\"]");
    let sent = [(true, 0..100), (false, 5000..5100), (true, 0..100)].map(|(compress, expected)| {
        let before = client.bytes();
        socket.compress(compress).emit("e", &text).unwrap();
        assert_eq!(client.next(), packet);
        (client.bytes() - before, expected)
    });
    assert!(sent.iter().all(|(bytes, expected)| expected.contains(bytes)), "{sent:?}");
}

#[test]
fn a_broadcast_that_must_not_be_compressed_is_sent_as_it_is() {
    let sim = Sim::new(server());
    let clients = [join(&sim, ASKS).0, join(&sim, "").0];
    let text = "y".repeat(5000);
    for (compress, expected) in [(true, 0..100), (false, 5000..5100), (true, 0..100)] {
        let before = clients[0].bytes();
        assert_eq!(sim.server().compress(compress).emit("e", &text).sent, 2);
        clients.iter().for_each(|client| assert_eq!(client.next(), format!("42[\"e\",\"{text}\"]")));
        let bytes = clients[0].bytes() - before;
        assert!(expected.contains(&bytes), "{compress}: {bytes}");
    }
}

#[test]
fn a_client_that_violates_the_extension_is_closed_with_a_code() {
    let bomb = |deflate| compressed(deflate, Opcode::Binary, &vec![0; 20_001]);
    let in_parts = |deflate| {
        let mut frame = compressed(deflate, Opcode::Text, &b"4".repeat(100));
        frame[0] &= 0x7f;
        let mut next = Vec::new();
        write_frame(&mut next, Opcode::Continuation, b"", Some(MASK));
        next[0] |= 0x40;
        [frame, next].concat()
    };
    let cut_short = |deflate| {
        // Only the length has to change with the last byte: masking works byte by byte.
        let mut frame = compressed(deflate, Opcode::Text, &b"4".repeat(100));
        frame[1] -= 1;
        frame.pop();
        frame
    };
    let ping = |_| vec![0xc9, 0x80, 1, 2, 3, 4];
    type Frame = fn(Deflate) -> Vec<u8>;
    let cases: [(Frame, u16); 4] = [(bomb, 1009), (in_parts, 1002), (cut_short, 1007), (ping, 1002)];
    for (frame, code) in cases {
        let sim = Sim::new(server());
        let (client, deflate) = join(&sim, ASKS);
        let (other, _) = join(&sim, ASKS);
        client.send_bytes(&frame(deflate.unwrap()));
        assert_eq!(client.poll(), Some(Incoming::Close(Some(code))));
        assert_eq!(sim.server().clients_count(), 1);
        other.send("42[\"echo\",\"unharmed\"]");
        assert_eq!(other.next(), "42[\"echo\",\"unharmed\"]");
    }
}

#[test]
fn long_messages_that_arrive_at_once_are_answered_in_order() {
    let sim = Sim::new(server());
    let (client, deflate) = join(&sim, ASKS);
    let packets: Vec<_> = (0..60).map(|n| format!("42[\"echo\",\"{n}{}\"]", "x".repeat(19_000))).collect();
    let frames = packets.iter().map(|packet| compressed(deflate.unwrap(), Opcode::Text, packet.as_bytes()));
    client.send_bytes(&frames.collect::<Vec<_>>().concat());
    assert_eq!(client.texts(), packets);
}

/// Counts its wakes.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn the_server_inflates_one_long_message_per_turn() {
    let server = Server::builder().per_message_deflate(PerMessageDeflate::new()).build();
    let events = Arc::new(Count::default());
    let counted = events.clone();
    server.on_connect(move |socket: Socket| {
        let counted = counted.clone();
        socket.on("long", move |Data(text): Data<String>| {
            assert_eq!(text.len(), 300_000);
            counted.clone().wake();
            async {}
        });
        async {}
    });
    let wakes = Arc::new(Count::default());
    let mut connection = server.accept(Time::ZERO, Peer::default());
    connection.set_waker(&wakes.clone().into());
    let mut handshake = format!(
        "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{ASKS}\r\n"
    )
    .into_bytes();
    assert_eq!(connection.handle_data(Time::ZERO, &mut handshake), handshake.len());
    let (deflate, _) =
        Deflate::agree(&PerMessageDeflate::new(), [&b"permessage-deflate"[..]].into_iter()).unwrap();
    let mut input = Vec::new();
    write_frame(&mut input, Opcode::Text, b"40", Some(MASK));
    let event =
        compressed(deflate, Opcode::Text, format!("42[\"long\",\"{}\"]", "x".repeat(300_000)).as_bytes());
    input.extend(event.repeat(20));
    assert!(input.len() < 64 << 10);
    for turn in 0..20 {
        connection.handle_wake(Time::ZERO);
        assert!(connection.wants_read());
        let woken = wakes.0.load(Ordering::Relaxed);
        let used = connection.handle_data(Time::ZERO, &mut input);
        input.drain(..used);
        assert_eq!(events.0.load(Ordering::Relaxed), turn + 1, "one is enough for a turn");
        assert!(!connection.wants_read() && wakes.0.load(Ordering::Relaxed) > woken);
    }
    assert!(input.is_empty());
}

/// Connects a client of this crate with default settings, or without compression.
fn own_client(world: &mut World, deflates: bool) -> (Clients, sockeye::Client) {
    let builder = sockeye::Client::builder("http://localhost:3000").transports([Transport::WebSocket]);
    let builder = if deflates { builder } else { builder.per_message_deflate(None) };
    let (mut clients, client) = (Clients::default(), builder.build().unwrap());
    clients.connect(world, client.clone());
    (clients, client)
}

#[test]
fn our_client_compresses_and_inflates_long_messages_if_both_sides_enable_it() {
    for (client_wants, server_wants) in [(true, true), (true, false), (false, true)] {
        let mut world = World::new(if server_wants { server() } else { Server::new() });
        let (mut clients, client) = own_client(&mut world, client_wants);
        let received = Arc::new(AtomicUsize::new(0));
        let count = received.clone();
        client.on("echo", move |Data(text): Data<String>| {
            count.fetch_add(text.len(), Ordering::Relaxed);
            async {}
        });
        let expected = if client_wants && server_wants { 0..100 } else { 5000..5100 };
        client.emit("echo", "x".repeat(5000)).unwrap();
        let asked = clients.ask(0, &[]);
        assert!(expected.contains(&asked.len()), "{} bytes", asked.len());
        if server_wants {
            let answer = world.ask(0, &asked);
            assert!(expected.contains(&answer.len()), "{} bytes", answer.len());
            clients.send(0, &answer);
            assert_eq!(received.load(Ordering::Relaxed), 5000);
        }
    }
}

#[test]
fn our_client_inflates_one_long_message_per_turn() {
    let mut world = World::new(server());
    let (mut clients, client) = own_client(&mut world, true);
    let events = Arc::new(AtomicUsize::new(0));
    let counted = events.clone();
    client.on("long", move |_: ClientSocket| {
        counted.fetch_add(1, Ordering::Relaxed);
        async {}
    });
    let offer = [Deflate::OFFER.as_bytes()].into_iter();
    let (deflate, _) = Deflate::agree(&PerMessageDeflate::new(), offer).unwrap();
    let mut event = Vec::new();
    let text = format!("42[\"long\",\"{}\"]", "x".repeat(300_000));
    assert!(deflate.write_frame(&DeflatePool::default(), &mut event, Opcode::Text, &[text.as_bytes()], None));
    let mut input = event.repeat(20);
    assert!(input.len() < 64 << 10);
    let wakes = Arc::new(Count::default());
    let stream = clients.stream(0);
    stream.set_waker(&wakes.clone().into());
    for turn in 0..20 {
        stream.handle_wake(Time::ZERO);
        assert!(stream.wants_read());
        let woken = wakes.0.load(Ordering::Relaxed);
        let used = stream.handle_data(Time::ZERO, &mut input);
        input.drain(..used);
        assert_eq!(events.load(Ordering::Relaxed), turn + 1, "one is enough for a turn");
        assert!(!stream.wants_read() && wakes.0.load(Ordering::Relaxed) > woken);
    }
    assert!(input.is_empty());
}
