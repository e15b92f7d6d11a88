//! The packets and events that an observer of a client sees.

use super::rig::{World, by_polling, by_websocket};
use sockeye::client::{ClientBuilder, ClientSocket};
use sockeye::engine::Message;
use sockeye::extract::Data;
use sockeye::host::Runtime;
use sockeye::observe::{ClientEvent, ClientObserver, ClientPacketInfo, Direction, Packet};
use sockeye_core::websocket::{Opcode, write_frame};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Writes down everything, one line each.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn add(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }

    /// Returns the lines since the last call.
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl ClientObserver for Notes {
    fn packet(&self, direction: Direction, info: &ClientPacketInfo<'_>) {
        let arrow = if direction == Direction::In { "<" } else { ">" };
        let packet = match info.packet {
            Packet::Open(_) => "open".to_owned(),
            Packet::Message(Message::Text(text)) => (*text).to_owned(),
            Packet::Message(Message::Binary(data)) => format!("{} bytes", data.len()),
            packet => format!("{packet:?}"),
        };
        self.add(format!("{arrow} {} {packet}", info.transport));
    }

    fn event(&self, event: &ClientEvent<'_>) {
        self.add(match event {
            ClientEvent::Opening { transport, .. } => format!("opening {transport}"),
            ClientEvent::NotUpgraded { cause, .. } => format!("not upgraded: {cause}"),
            ClientEvent::Closed { reason, .. } => format!("closed: {reason}"),
            event => format!("{event:?}"),
        });
    }
}

fn observed(notes: &Notes) -> impl FnOnce(ClientBuilder) -> ClientBuilder {
    let notes = notes.clone();
    move |builder| builder.observer(notes)
}

const OPEN_TO_UPGRADES: &str =
    r#"0{"sid":"a","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;

#[test]
fn a_client_over_websocket_is_observed_from_the_first_attempt_to_the_last_packet() {
    let (world, notes) = (World::new(), Notes::default());
    let client = world.client(|builder| by_websocket(observed(&notes)(builder)));
    client.on("double", async |Data(n): Data<u32>| 2 * n);
    client.connect();
    assert_eq!(notes.take(), ["opening websocket"]);
    let mut stream = world.stream();
    stream.join();
    assert_eq!(notes.take(), ["< websocket open", "Opened", "> websocket 0", r#"< websocket 0{"sid":"s"}"#]);
    client.emit("bytes", bytes::Bytes::from_static(&[1, 2, 3])).unwrap();
    stream.written();
    let placeholder = r#"> websocket 51-["bytes",{"_placeholder":true,"num":0}]"#;
    assert_eq!(notes.take(), [placeholder, "> websocket 3 bytes"]);
    stream.send_text(r#"42["double",2]"#);
    stream.send_text(r#"427["double",21]"#);
    stream.send_text("2");
    world.run();
    assert_eq!(
        notes.take(),
        [
            r#"< websocket 2["double",2]"#,
            r#"< websocket 27["double",21]"#,
            "> websocket 37[42]",
            "< websocket Ping(\"\")",
            "> websocket Pong(\"\")",
        ]
    );
    client.close();
    // The packet that leaves waits until the server has read everything before it.
    stream.written();
    assert_eq!(notes.take(), [""; 0]);
    world.advance(Duration::from_secs(5));
    assert_eq!(notes.take(), ["> websocket 1", "> websocket Close", "closed: io client disconnect"]);
}

#[test]
fn an_upgrade_is_observed_with_the_transport_of_each_packet() {
    let (world, notes) = (World::new(), Notes::default());
    let client = world.client(observed(&notes));
    client.connect();
    let mut poll = world.stream();
    poll.written();
    poll.respond(OPEN_TO_UPGRADES);
    assert_eq!(notes.take(), ["opening polling", "< polling open", "Opened", "> polling 0"]);
    poll.written();
    let (mut one, mut other) = (world.stream(), world.stream());
    let first = one.written();
    let (mut post, mut websocket, head) = match first.starts_with("POST") {
        true => {
            let head = other.written();
            (one, other, head)
        }
        false => (other, one, first),
    };
    post.written();
    post.respond("ok");
    websocket.switch(&head);
    websocket.written();
    websocket.send_text("3probe");
    assert_eq!(notes.take(), ["> websocket Ping(\"probe\")", "< websocket Pong(\"probe\")"]);
    poll.respond("6");
    assert_eq!(notes.take(), ["< polling Noop(\"\")", "> websocket Upgrade", "Upgraded"]);
}

#[test]
fn an_upgrade_that_fails_is_observed_with_its_cause() {
    let (world, notes) = (World::new(), Notes::default());
    let client = world.client(observed(&notes));
    client.connect();
    let mut poll = world.stream();
    poll.written();
    poll.respond(OPEN_TO_UPGRADES);
    poll.written();
    let (mut one, mut other) = (world.stream(), world.stream());
    notes.take();
    let websocket = if one.written().starts_with("POST") { &mut other } else { &mut one };
    websocket.written();
    websocket.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno");
    assert_eq!(notes.take(), ["not upgraded: the server answered with status 400: no"]);
    // Its deadline is of no importance any more.
    world.advance(Duration::from_secs(15));
    assert_eq!(notes.take(), [""; 0]);
}

#[test]
fn a_connection_that_is_lost_and_tried_again_is_observed() {
    let (world, notes) = (World::new(), Notes::default());
    let client = world.client(|builder| by_polling(observed(&notes)(builder)));
    client.connect();
    world.stream().protocol.handle_failed(world.now(), &io::Error::other("nobody there"));
    assert_eq!(notes.take(), ["opening polling", "closed: transport error"]);
    world.run();
    world.advance(Duration::from_secs(5));
    assert_eq!(notes.take(), ["opening polling"]);
}

#[test]
fn binary_messages_and_close_frames_of_the_server_are_observed() {
    let (world, notes) = (World::new(), Notes::default());
    let client = world.client(|builder| by_websocket(observed(&notes)(builder)).reconnection(false));
    client.connect();
    let mut stream = world.stream();
    stream.join();
    notes.take();
    let mut frames = Vec::new();
    write_frame(&mut frames, Opcode::Text, br#"451-["x",{"_placeholder":true,"num":0}]"#, None);
    write_frame(&mut frames, Opcode::Binary, b"abcd", None);
    write_frame(&mut frames, Opcode::Close, &1001_u16.to_be_bytes(), None);
    stream.send(&frames);
    let placeholder = r#"< websocket 51-["x",{"_placeholder":true,"num":0}]"#;
    assert_eq!(
        notes.take(),
        [placeholder, "< websocket 4 bytes", "< websocket Close", "closed: transport close"]
    );
}

#[test]
fn an_observer_may_use_the_client_and_its_panics_affect_nothing_else() {
    struct Nosy(Arc<Mutex<Option<ClientSocket>>>);

    impl ClientObserver for Nosy {
        fn packet(&self, direction: Direction, info: &ClientPacketInfo<'_>) {
            let client = self.0.lock().unwrap().clone();
            if let (Packet::Message(Message::Text(r#"2["news"]"#)), Some(client)) = (info.packet, client) {
                client.emit("thanks", ()).unwrap();
            }
            assert_ne!(direction, Direction::In, "a panic of the observer");
        }
    }

    let (world, socket) = (World::new(), Arc::default());
    let client = world.client(|builder| by_websocket(builder).observer(Nosy(Arc::clone(&socket))));
    *socket.lock().unwrap() = Some((*client).clone());
    let mut events = client.events();
    client.connect();
    let mut stream = world.stream();
    stream.join();
    assert!(client.is_connected());
    stream.send_text(r#"42["news"]"#);
    assert_eq!(super::at_once(events.recv()).unwrap().event(), "news");
    assert!(!stream.written().is_empty());
}
