//! What a server knows of the connections behind its sockets, and that they are told of an upgrade.
#![allow(missing_docs, clippy::unwrap_used)]

mod simulation;

use bytes::Buf;
use simulation::{Calls, Client, Sim};
use sockeye::engine::{self, Application, Message, Session};
use sockeye::extract::Data;
use sockeye::host::{Host, Peer};
use sockeye::{Conn, Server, Socket, Transport};
use sockeye_core::Time;
use sockeye_core::drive::Protocol;
use std::sync::Mutex;
use std::task::Waker;
use std::time::Duration;

/// Returns the facts about the only socket.
fn conn(sim: &Sim) -> Conn {
    sim.server().sockets()[0].conn()
}

/// Returns the length of the frame of a short text; that of a client has a mask.
fn frame(text: &str, is_masked: bool) -> u64 {
    assert!(text.len() < 126);
    text.len() as u64 + if is_masked { 6 } else { 2 }
}

#[test]
fn every_byte_of_a_websocket_session_is_counted_once() {
    let server = Server::new();
    server.on("echo", async |socket: Socket, Data(text): Data<String>| socket.emit("echo", text));
    let sim = Sim::new(server);
    let client = sim.connect();
    let before = conn(&sim);
    assert_eq!(before.transport, Transport::WebSocket);
    let event = r#"42["echo","hello"]"#;
    for _ in 0..10 {
        client.send_all([event, event]);
    }
    assert_eq!(client.texts().len(), 20);
    let after = conn(&sim);
    assert_eq!(after.received_bytes - before.received_bytes, 20 * frame(event, true));
    assert_eq!(after.sent_bytes - before.sent_bytes, 20 * frame(event, false));
    assert_eq!(after.queued_bytes, 0);
}

#[test]
fn bytes_of_a_message_in_pieces_are_counted_once() {
    let sim = Sim::new(Server::new());
    let client = sim.connect();
    let before = conn(&sim).received_bytes;
    let mut bytes = Vec::new();
    let mask = Some([1, 2, 3, 4]);
    sockeye_core::websocket::write_frame(
        &mut bytes,
        sockeye_core::websocket::Opcode::Text,
        b"42[\"x\"]",
        mask,
    );
    for byte in &bytes {
        client.send_bytes(&[*byte]);
    }
    assert_eq!(conn(&sim).received_bytes - before, bytes.len() as u64);
}

#[test]
fn bodies_of_polling_are_counted_and_the_counts_continue_after_an_upgrade() {
    let server = Server::new();
    server.on("echo", async |socket: Socket, Data(text): Data<String>| socket.emit("echo", text));
    let sim = Sim::new(server);
    let mut client = sim.polling();
    client.join();
    let before = conn(&sim);
    assert_eq!(before.transport, Transport::Polling);
    let event = r#"42["echo","hello"]"#;
    assert_eq!(client.post(event), 200);
    assert_eq!(client.poll(), [event]);
    let polled = conn(&sim);
    assert_eq!(polled.received_bytes - before.received_bytes, event.len() as u64);
    assert_eq!(polled.sent_bytes - before.sent_bytes, event.len() as u64);
    let websocket = client.begin_upgrade();
    websocket.send("2probe");
    websocket.send_all(["5", event]);
    assert_eq!(websocket.texts(), ["3probe", event]);
    let upgraded = conn(&sim);
    assert_eq!(upgraded.transport, Transport::WebSocket);
    let probe = frame("2probe", true) + frame("5", true);
    assert_eq!(upgraded.received_bytes - polled.received_bytes, probe + frame(event, true));
    assert_eq!(upgraded.sent_bytes - polled.sent_bytes, frame(event, false));
}

#[test]
fn the_round_trip_of_a_ping_is_known() {
    let sim = Sim::new(Server::new());
    let client = sim.connect();
    client.ignore_pings();
    assert_eq!(conn(&sim).round_trip, None);
    sim.advance(Duration::from_secs(25));
    assert_eq!(client.texts(), ["2"]);
    sim.advance(Duration::from_millis(30));
    client.send("3");
    assert_eq!(conn(&sim).round_trip, Some(Duration::from_millis(30)));
}

/// Moves a polling client to WebSocket.
fn upgrade(client: &simulation::Polling) -> Client {
    let websocket = client.begin_upgrade();
    websocket.send("2probe");
    websocket.send("5");
    assert_eq!(websocket.next(), "3probe");
    websocket
}

#[test]
fn an_upgrade_is_told_to_each_socket_of_the_client_and_to_no_other() {
    let (server, calls) = (Server::new(), Calls::default());
    let rooms = server.of_pattern("/room-{id}");
    let note = |name: &'static str| {
        let calls = calls.clone();
        move |socket: Socket| {
            calls.note(format!("{name} {} {}", socket.namespace().name(), socket.transport()));
            async {}
        }
    };
    server.on_upgrade(note("all"));
    rooms.on_upgrade(note("parent"));
    let own = note("own");
    server.on_connect(move |socket: Socket| {
        socket.on_upgrade(own.clone());
        async {}
    });
    let sim = Sim::new(server);
    let (mut client, mut other) = (sim.polling(), sim.polling());
    client.join();
    other.join();
    assert_eq!(client.post("40/room-7,"), 200);
    assert_eq!(calls.take(), [""; 0]);
    let _websocket = upgrade(&client);
    assert_eq!(calls.take(), ["all / websocket", "own / websocket", "parent /room-7 websocket"]);
    sim.advance(Duration::from_secs(20));
    assert_eq!(calls.take(), [""; 0]);
}

#[test]
fn no_upgrade_is_told_by_a_client_that_begins_with_websocket_or_sends_an_event_of_that_name() {
    let (server, calls) = (Server::new(), Calls::default());
    let (upgraded, sent) = (calls.clone(), calls.clone());
    server.on_upgrade(move || {
        upgraded.note("upgraded");
        async {}
    });
    server.on("upgrade", move || {
        sent.note("an event");
        async {}
    });
    let sim = Sim::new(server);
    let client = sim.connect();
    client.send(r#"42["upgrade"]"#);
    assert_eq!(calls.take(), ["an event"]);
    // One that has left is told nothing, either.
    let mut client = sim.polling();
    client.join();
    assert_eq!(client.post("41"), 200);
    let _websocket = upgrade(&client);
    assert_eq!(calls.take(), [""; 0]);
}

#[test]
fn a_handler_of_the_upgrade_sends_by_the_new_transport_and_may_disconnect() {
    let server = Server::new();
    server.on_upgrade(async |socket: Socket| {
        socket.emit("welcome", socket.transport().name())?;
        socket.disconnect(true);
        Ok::<_, sockeye::EmitError>(())
    });
    let sim = Sim::new(server);
    let mut client = sim.polling();
    client.join();
    let websocket = client.begin_upgrade();
    websocket.send("2probe");
    assert_eq!(websocket.next(), "3probe");
    websocket.send("5");
    assert_eq!(websocket.next(), r#"42["welcome","websocket"]"#);
    assert_eq!(websocket.next(), "41");
    websocket.expect_close();
    assert_eq!(sim.server().clients_count(), 0);
}

/// Notes upgrades, and panics at the first.
#[derive(Default)]
struct Notes(Mutex<Vec<Conn>>);

impl Application for Notes {
    type State = ();

    fn on_message(&self, _: &Session<Self>, _: Message<'_>) {}

    fn on_upgrade(&self, session: &Session<Self>) {
        let count = {
            let mut notes = self.0.lock().unwrap();
            notes.push(session.conn());
            notes.len()
        };
        assert!(count > 1, "a panic ends the call only");
    }
}

#[test]
fn the_response_to_a_websocket_handshake_and_the_first_packet_leave_in_one_write() {
    let server = Server::new();
    let mut connection = server.accept(Time::ZERO, Peer::default());
    connection.set_waker(Waker::noop());
    let mut request = b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
        Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        .to_vec();
    connection.handle_data(Time::ZERO, &mut request);
    let out = connection.poll_transmit().unwrap();
    let bytes = out.chunks().collect::<Vec<_>>().concat();
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.starts_with("HTTP/1.1 101 ") && text.contains("\r\n\r\n"), "{text}");
    assert!(text.ends_with(r#""maxPayload":1000000}"#), "{text}");
    out.advance(bytes.len());
    assert!(connection.poll_transmit().is_none());
}

#[test]
fn a_client_of_version_3_can_read_the_response_to_a_handshake_before_the_first_packet() {
    let sim = Sim::new(Server::builder().allow_eio3(true).build());
    let opening = "EIO=3&transport=websocket";
    let client = Client::dial(&sim, opening);
    assert!(client.status().contains("101"), "{}", client.status());
    sim.advance(Duration::from_millis(9));
    client.expect_nothing();
    sim.advance(Duration::from_millis(1));
    assert!(client.next().starts_with("0{"));
    assert_eq!(client.next(), "40");

    // The end of a session is told at once, and a client that leaves meanwhile leaves nothing behind.
    let told = Client::dial(&sim, opening);
    drop(Client::dial(&sim, opening));
    sim.run();
    assert_eq!(sim.server().clients_count(), 2);
    sim.server().disconnect_sockets(true);
    assert!(told.next().starts_with("0{"));
    assert_eq!(told.next(), "40");
    assert!(told.is_closed());
    sim.advance(Duration::from_millis(10));
    assert!(told.is_closed());
}

#[test]
fn an_application_on_engine_io_is_told_of_an_upgrade_and_its_panic_is_caught() {
    let server = engine::Server::new(Notes::default());
    for count in 1..3 {
        let request = |query: &str, headers: &str| {
            let mut connection = server.accept(Time::ZERO, Peer::default());
            connection.set_waker(Waker::noop());
            let request = format!("GET /engine.io/?EIO=4{query} HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
            connection.handle_data(Time::ZERO, &mut request.into_bytes());
            let bytes = connection.poll_transmit().unwrap().chunks().collect::<Vec<_>>().concat();
            (connection, String::from_utf8(bytes).unwrap())
        };
        let (_polls, opened) = request("&transport=polling", "");
        let sid = opened.split("\"sid\":\"").nth(1).unwrap().split('"').next().unwrap();
        let (mut websocket, answer) = request(
            &format!("&transport=websocket&sid={sid}"),
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        );
        assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
        websocket.handle_data(Time::ZERO, &mut [0x81, 0x81, 0, 0, 0, 0, b'5']);
        let notes = server.application().0.lock().unwrap();
        let transports: Vec<_> = notes.iter().map(|conn| conn.transport).collect();
        assert_eq!(transports, vec![Transport::WebSocket; count]);
        assert_eq!(server.sessions_count(), 1, "it lives on");
    }
}
