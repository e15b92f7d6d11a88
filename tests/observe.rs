//! The packets and events that an observer of the server sees.
#![allow(missing_docs, clippy::unwrap_used)]

mod simulation;

use simulation::Sim;
use smol::future::yield_now;
use sockeye::engine::Message;
use sockeye::extract::{Data, State};
use sockeye::observe::{Direction, Observer, Packet, PacketInfo, ServerEvent};
use sockeye::{ConnectError, HandlerError, Server, ServerBuilder, Socket};
use sockeye_core::Time;
use sockeye_core::drive::Protocol;
use sockeye_core::host::{Host, Peer};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};
use std::time::Duration;

/// Writes down everything, one line each. Ids are left out, because they are random.
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

impl Observer for Notes {
    fn packet(&self, direction: Direction, info: &PacketInfo<'_>) {
        let arrow = if direction == Direction::In { ">" } else { "<" };
        let packet = match info.packet {
            Packet::Open(_) => "open".to_owned(),
            Packet::Message(Message::Text(text)) if text.starts_with("0{\"sid\"") => "0{..}".to_owned(),
            Packet::Message(Message::Text(text)) => (*text).to_owned(),
            Packet::Message(Message::Binary(data)) => format!("{} bytes", data.len()),
            packet => format!("{packet:?}"),
        };
        self.add(format!("{arrow} {} {packet}", info.transport));
    }

    fn event(&self, event: &ServerEvent<'_>) {
        self.add(match event {
            ServerEvent::RequestRefused { status, cause, .. } => format!("refused {status}: {cause}"),
            ServerEvent::SessionOpened { transport, .. } => format!("opened {transport}"),
            ServerEvent::SessionUpgraded { .. } => "upgraded".to_owned(),
            ServerEvent::SessionClosed { reason, .. } => format!("closed: {reason}"),
            ServerEvent::SocketConnected { namespace, .. } => format!("connected to {namespace}"),
            ServerEvent::ConnectRefused { namespace, message, .. } => {
                format!("not to {namespace}: {message}")
            }
            ServerEvent::SocketDisconnected { namespace, reason, .. } => {
                format!("left {namespace}: {reason}")
            }
            ServerEvent::HandlerFailed { event, .. } => format!("failed: {event}"),
            ServerEvent::AckIgnored { namespace, id, .. } => format!("ignored ack {id} of {namespace}"),
            event => format!("{event:?}"),
        });
    }
}

fn watched_with(builder: ServerBuilder) -> (Sim, Notes) {
    let notes = Notes::default();
    let io = builder.observer(notes.clone()).build();
    io.on_connect(async |socket: Socket| {
        socket.on("double", async |Data(n): Data<u32>| 2 * n);
        socket.on("all", async |io: Server| drop(io.emit("news", 1)));
        socket.on("leave", async |socket: Socket| socket.disconnect(true));
    });
    io.of("/closed").middleware(async || Err::<(), _>(ConnectError::new("no")));
    (Sim::new(io), notes)
}

fn watched() -> (Sim, Notes) {
    watched_with(Server::builder())
}

#[test]
fn a_websocket_client_is_observed_from_its_opening_to_its_end() {
    let (sim, notes) = watched();
    let client = sim.connect();
    assert_eq!(
        notes.take(),
        ["opened websocket", "< websocket open", "> websocket 0", "< websocket 0{..}", "connected to /",]
    );
    client.send_all([r#"421["double",21]"#, r#"42["double","x"]"#, "40/closed,", "40/none,"]);
    assert_eq!(
        notes.take(),
        [
            r#"> websocket 21["double",21]"#,
            "< websocket 31[42]",
            r#"> websocket 2["double","x"]"#,
            "failed: double",
            "> websocket 0/closed,",
            r#"< websocket 4/closed,{"message":"no"}"#,
            "not to /closed: no",
            "> websocket 0/none,",
            r#"< websocket 4/none,{"message":"Invalid namespace"}"#,
            "not to /none: Invalid namespace",
        ]
    );
    client.send_all([r#"42["leave"]"#]);
    assert_eq!(
        notes.take(),
        [
            r#"> websocket 2["leave"]"#,
            "< websocket 1",
            "left /: server namespace disconnect",
            "closed: forced close",
        ]
    );
}

#[test]
fn a_polling_client_and_its_upgrade_are_observed() {
    let (sim, notes) = watched();
    let mut client = sim.polling();
    client.join();
    assert_eq!(
        notes.take(),
        ["opened polling", "< polling open", "> polling 0", "< polling 0{..}", "connected to /"]
    );
    client.begin_poll();
    sim.advance(Duration::from_secs(25));
    assert_eq!(notes.take(), ["< polling Ping(\"\")"]);
    assert_eq!(client.packets(), ["2"]);
    client.post("3");
    client.begin_poll();
    let socket = client.begin_upgrade();
    socket.send_all(["2probe"]);
    assert_eq!(client.packets(), ["6"]);
    socket.send_all(["5"]);
    assert_eq!(
        notes.take(),
        [
            "> polling Pong(\"\")",
            "> websocket Ping(\"probe\")",
            "< websocket Pong(\"probe\")",
            "< polling Noop(\"\")",
            "> websocket Upgrade",
            "upgraded",
        ]
    );
}

#[test]
fn an_upgrade_that_waits_for_a_post_is_observed_once() {
    let (sim, notes) = watched();
    let mut client = sim.polling();
    client.join();
    client.begin_part_of_post(r#"42["all""#, 9);
    let socket = client.begin_upgrade();
    notes.take();
    socket.send_all(["2probe", "5"]);
    assert_eq!(
        notes.take(),
        ["> websocket Ping(\"probe\")", "< websocket Pong(\"probe\")", "> websocket Upgrade"]
    );
    client.send_rest_of_post("]");
    assert_eq!(notes.take(), [r#"> polling 2["all"]"#, "< polling 2[\"news\",1]", "upgraded"]);
}

#[test]
fn a_refused_request_is_observed_with_its_status() {
    let (sim, notes) = watched();
    let pipe = sim.dial();
    pipe.send(b"GET /socket.io/?EIO=4&transport=polling&sid=none HTTP/1.1\r\nHost: a\r\n\r\n");
    sim.run();
    let notes = notes.take();
    assert!(matches!(notes.as_slice(), [one] if one.starts_with("refused 400: ")), "{notes:?}");
}

#[test]
fn a_broadcast_is_observed_for_each_recipient() {
    let (sim, notes) = watched();
    let first = sim.connect();
    let mut second = sim.polling();
    second.join();
    notes.take();
    first.send_all([r#"42["all"]"#]);
    let mut notes = notes.take();
    assert_eq!(notes.remove(0), r#"> websocket 2["all"]"#);
    notes.sort();
    assert_eq!(notes, [r#"< polling 2["news",1]"#, r#"< websocket 2["news",1]"#]);
}

#[test]
fn acknowledgements_that_nobody_waits_for_are_observed_and_have_no_other_effect() {
    let (sim, notes) = watched();
    let client = sim.connect();
    let ask = |name: &str| {
        let socket = sim.server().sockets().remove(0);
        sim.spawn(socket.timeout(Duration::from_secs(1)).emit_with_ack::<u32>(name, ()))
    };
    let ignored = || {
        let notes = notes.take();
        notes.into_iter().filter(|note| note.starts_with("ignored")).collect::<Vec<_>>()
    };
    // Nobody has asked yet.
    client.send_all(["43999[1]", "430[1]"]);
    assert_eq!(ignored(), ["ignored ack 999 of /", "ignored ack 0 of /"]);
    let (first, second) = (ask("first"), ask("second"));
    let ids = client.texts().into_iter().map(|text| text[2..text.find('[').unwrap()].parse::<u64>().unwrap());
    let ids: Vec<_> = ids.collect();
    client.send_all([&*format!("43{}[1]", ids[0]), &*format!("43{}[2]", ids[0])]);
    assert_eq!(first.take().unwrap().unwrap(), 1);
    assert_eq!(ignored(), [format!("ignored ack {} of /", ids[0])]);
    sim.advance(Duration::from_secs(2));
    assert!(second.take().unwrap().is_err());
    client.send_all([&*format!("43{}[3]", ids[1])]);
    assert_eq!(ignored(), [format!("ignored ack {} of /", ids[1])]);
    assert!(!client.is_closed());
}

#[test]
fn a_slow_consumer_is_observed_as_the_reason_of_the_close() {
    let (sim, notes) = watched_with(Server::builder().send_buffer(1000));
    let mut client = sim.polling();
    client.join();
    notes.take();
    while sim.server().emit("news", "x".repeat(100)).sent > 0 {}
    sim.advance(Duration::from_millis(1));
    let notes = notes.take();
    assert_eq!(notes.iter().filter(|note| note.starts_with("< polling 2[")).count(), 8, "{notes:?}");
    assert_eq!(notes[8..], ["left /: transport error", "closed: transport error"]);
}

#[test]
fn a_panic_of_the_observer_affects_nothing_else() {
    struct Panics;

    impl Observer for Panics {
        fn packet(&self, _: Direction, _: &PacketInfo<'_>) {
            panic!("at a packet");
        }

        fn event(&self, _: &ServerEvent<'_>) {
            panic!("at an event");
        }
    }

    let io = Server::builder().observer(Panics).build();
    io.on_connect(async |socket: Socket| socket.on("double", async |Data(n): Data<u32>| 2 * n));
    let sim = Sim::new(io);
    let client = sim.connect();
    client.send_all([r#"421["double",21]"#]);
    assert_eq!(client.texts(), ["431[42]"]);
}

#[test]
fn a_handler_that_fails_is_observed_before_and_after_its_first_wait() {
    let notes = Failures::default();
    let io = Server::builder().observer(notes.clone()).build();
    io.on_connect(async |socket: Socket| {
        socket.on("error", async || Err::<(), HandlerError>(Failed.into()));
        socket.on("late error", async || {
            yield_now().await;
            Err::<(), HandlerError>(Failed.into())
        });
        socket.on("panic", async || bug());
        socket.on("late panic", async || {
            yield_now().await;
            bug();
        });
        socket.on("an event with a name of more than a few characters", async || {
            yield_now().await;
            Err::<(), HandlerError>(Failed.into())
        });
    });
    let client = Sim::new(io).connect();
    let long = "an event with a name of more than a few characters";
    for event in ["error", "late error", "panic", "late panic", long] {
        client.send_all([&*format!(r#"421["{event}"]"#), &*format!(r#"42["{event}"]"#)]);
        let cause = if event.contains("panic") { "a panic" } else { "it failed" };
        let failures = std::mem::take(&mut *notes.0.lock().unwrap());
        assert!(failures.len() == 2 && failures[0] == failures[1], "{failures:?}");
        assert!(failures[0].starts_with(&format!("{event} of {}: ", client.id)), "{failures:?}");
        assert!(failures[0].contains(cause), "{failures:?}");
    }
    assert_eq!(client.texts(), [""; 0], "nothing is acknowledged");
}

#[test]
fn a_middleware_that_panics_or_is_not_called_is_observed_as_a_failure() {
    let notes = Failures::default();
    let io = Server::builder().observer(notes.clone()).build();
    io.of("/panic").middleware(async || -> Result<(), ConnectError> { panic!("a bug of the application") });
    io.of("/late").middleware(async || -> Result<(), ConnectError> {
        yield_now().await;
        panic!("a bug of the application")
    });
    io.of("/state").middleware(async |_: State<u8>| Ok::<_, ConnectError>(()));
    let client = Sim::new(io).client();
    for (namespace, cause) in [("/panic", "a panic"), ("/late", "a panic"), ("/state", "no state")] {
        client.send_all([&*format!("40{namespace},")]);
        let failures = std::mem::take(&mut *notes.0.lock().unwrap());
        assert!(failures.len() == 1 && failures[0].starts_with("connect of "), "{failures:?}");
        assert!(failures[0].contains(cause), "{failures:?}");
        assert_eq!(client.next(), format!(r#"44{namespace},{{"message":"Internal error"}}"#));
    }
}

/// Notes the failures of handlers.
#[derive(Clone, Default)]
struct Failures(Arc<Mutex<Vec<String>>>);

impl Observer for Failures {
    fn event(&self, event: &ServerEvent<'_>) {
        if let ServerEvent::HandlerFailed { socket, event, failure, .. } = event {
            self.0.lock().unwrap().push(format!("{event} of {socket}: {failure}"));
        }
    }
}

/// An error of the application.
#[derive(Debug)]
struct Failed;

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("it failed")
    }
}

impl std::error::Error for Failed {}

fn bug() {
    panic!("a bug of the application");
}

impl Wake for Notes {
    fn wake(self: Arc<Self>) {
        self.add("woken".to_owned());
    }
}

#[test]
fn a_message_is_observed_before_another_thread_is_woken_that_writes_it() {
    let notes = Notes::default();
    let server = Server::builder().observer(notes.clone()).build();
    let mut connection = server.accept(Time::ZERO, Peer::default());
    let mut request = *b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    assert_eq!(connection.handle_data(Time::ZERO, &mut request), request.len());
    let mut connect = *b"\x81\x82\0\0\0\x0040";
    assert_eq!(connection.handle_data(Time::ZERO, &mut connect), connect.len());
    while let Some(out) = connection.poll_transmit() {
        out.clear();
    }
    connection.set_waker(&Waker::from(Arc::new(notes.clone())));
    notes.take();
    server.sockets().first().unwrap().emit("news", 1).unwrap();
    assert_eq!(notes.take(), [r#"< websocket 2["news",1]"#, "woken"]);
}
