//! Functions that decide about each event before its handlers are called.
#![allow(missing_docs, clippy::unwrap_used)]

mod simulation;

use bytes::Bytes;
use serde_json::json;
use simulation::{Calls, Drops, Gate, Sim};
use smol::future::yield_now;
use sockeye::engine::Message;
use sockeye::extract::{AckSender, Data, Event, State};
use sockeye::observe::{Direction, Observer, Packet, PacketInfo, ServerEvent};
use sockeye::{Args, PacketError, Server, ServerBuilder, Socket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

impl Observer for Calls {
    fn event(&self, event: &ServerEvent<'_>) {
        match event {
            ServerEvent::EventRefused { event, message, .. } => self.note(format!("{event}: {message}")),
            ServerEvent::HandlerFailed { event, failure, .. } => {
                self.note(format!("{event} failed: {failure}"))
            }
            _ => {}
        }
    }
}

fn builder() -> (ServerBuilder, Calls) {
    let calls = Calls::default();
    (Server::builder().state(calls.clone()), calls)
}

fn server() -> (Server, Calls) {
    let (builder, calls) = builder();
    (builder.build(), calls)
}

/// Lets the events of one name wait for a gate.
fn hold(server: &Server, name: &'static str) -> Gate {
    let gate = Gate::default();
    let held = gate.clone();
    server.use_packet(move |Event(event): Event| {
        let held = held.clone();
        async move {
            if event == name {
                held.wait().await;
            }
            Ok(())
        }
    });
    gate
}

#[test]
fn middleware_is_asked_in_order_before_the_handlers_and_that_of_the_parent_and_the_namespace_first() {
    let (server, calls) = server();
    let parent = server.of_pattern("/{name}");
    parent.use_packet(async |State(calls): State<Calls>, Event(name): Event| {
        yield_now().await;
        calls.note(format!("parent {name}"));
        Ok(())
    });
    let child = server.of("/a");
    for name in ["first", "second"] {
        child.use_packet(move |State(calls): State<Calls>| async move {
            calls.note(name);
            Ok(())
        });
    }
    child.on_any(async |State(calls): State<Calls>| calls.note("any"));
    child.on_connect(async |socket: Socket| {
        socket.use_packet(async |State(calls): State<Calls>, Data(number): Data<u8>| {
            yield_now().await;
            calls.note(format!("socket {number}"));
            Ok(())
        });
        socket.use_packet(async |State(calls): State<Calls>, args: Args, ack: AckSender| {
            calls.note(format!("last {} {}", args.len(), ack.is_wanted()));
            Ok(())
        });
        socket.on("x", async |State(calls): State<Calls>| {
            calls.note("handler");
            "answer"
        });
    });
    let sim = Sim::new(server);
    let mut client = sim.client();
    client.join("/a");
    client.send(r#"42/a,1["x",7]"#);
    assert_eq!(client.next(), r#"43/a,1["answer"]"#);
    assert_eq!(calls.take(), ["parent x", "first", "second", "socket 7", "last 1 false", "any", "handler"]);
}

#[test]
fn a_refused_event_is_acknowledged_with_message_and_data_and_calls_only_the_error_handlers() {
    let (builder, calls) = builder();
    let seen = Calls::default();
    let server = builder.observer(seen.clone()).build();
    server.use_packet(async |Event(name): Event| match name.as_str() {
        "plain" => Err("not allowed".into()),
        "data" => Err(PacketError::new("not allowed").data(json!({ "code": 403 }))),
        "late" => {
            yield_now().await;
            Err(PacketError::new("too late"))
        }
        _ => Ok(()),
    });
    server.use_packet(async |State(calls): State<Calls>| {
        calls.note("asked");
        Ok(())
    });
    server.on_any(async |State(calls): State<Calls>| calls.note("handler"));
    server.on_error(async |State(calls): State<Calls>, Event(name): Event, error: PacketError| {
        calls.note(format!("namespace {name} {error}"));
        "no acknowledgement"
    });
    server.on_connect(async |socket: Socket| {
        socket.on_error(async |State(calls): State<Calls>, Data(number): Data<u8>, error: PacketError| {
            calls.note(format!("socket {number} {}", json!(error)));
        });
        socket.once("ok", async || "once");
    });
    let sim = Sim::new(server);
    let client = sim.connect();
    client.send(r#"421["plain",1]"#);
    assert_eq!(client.next(), r#"431[{"message":"not allowed"}]"#);
    assert_eq!(calls.take(), ["namespace plain not allowed", r#"socket 1 {"message":"not allowed"}"#]);
    client.send(r#"422["data",2]"#);
    assert_eq!(client.next(), r#"432[{"message":"not allowed","data":{"code":403}}]"#);
    client.send(r#"423["late",3]"#);
    assert_eq!(client.next(), r#"433[{"message":"too late"}]"#);
    client.send(r#"42["plain",4]"#);
    client.expect_nothing();
    assert_eq!(
        seen.take(),
        ["plain: not allowed", "data: not allowed", "late: too late", "plain: not allowed"]
    );
    calls.take();
    client.send(r#"424["ok"]"#);
    assert_eq!(client.next(), r#"434["once"]"#);
    assert_eq!(calls.take(), ["asked", "handler"]);
}

#[test]
fn middleware_that_cannot_be_called_or_panics_refuses() {
    let seen = Calls::default();
    let server = Server::builder().observer(seen.clone()).build();
    server.of("/data").use_packet(async |Data(_): Data<u8>| Ok(()));
    server.of("/state").use_packet(async |State(_): State<Calls>| Ok(()));
    server.of("/panic").use_packet(|| async { panic!("a bug") });
    server.of("/at once").use_packet(|| -> std::future::Ready<Result<(), PacketError>> { panic!("a bug") });
    server.of("/later").use_packet(async || {
        yield_now().await;
        panic!("a bug")
    });
    let sim = Sim::new(server.clone());
    let mut client = sim.client();
    for (name, message, failure) in [
        ("/data", "Invalid data", "the data is not of the expected type"),
        ("/state", "Internal error", "there is no state of type"),
        ("/panic", "Internal error", "a panic"),
        ("/at once", "Internal error", "a panic"),
        ("/later", "Internal error", "a panic"),
    ] {
        server.of(name).on("x", async || "handler");
        client.join(name);
        for id in [1, 2] {
            client.send(&format!(r#"42{name},{id}["x","text"]"#));
            assert_eq!(client.next(), format!(r#"43{name},{id}[{{"message":"{message}"}}]"#));
        }
        let seen = seen.take();
        assert!(seen[0].starts_with(&format!("x failed: {failure}")), "{seen:?}");
        assert_eq!(seen[1], format!("x: {message}"));
    }
    client.send(r#"42/data,3["x",1]"#);
    assert_eq!(client.next(), r#"43/data,3["handler"]"#);
}

#[test]
fn events_wait_behind_one_that_is_being_decided_about_and_those_of_other_sockets_do_not() {
    let (server, calls) = server();
    let gate = hold(&server, "slow");
    server.on_fallback(async |State(calls): State<Calls>, Event(name): Event, args: Args| {
        calls.note(name);
        args
    });
    server.of("/other").on("x", async || ());
    let sim = Sim::new(server);
    let mut client = sim.connect();
    client.join("/other");
    let other = sim.connect();
    client.send_all([
        r#"421["slow",1]"#,
        r#"422["fast",2]"#,
        r#"451-3["file",{"_placeholder":true,"num":0}]"#,
    ]);
    client.send_binary(&[1, 2, 3]);
    client.send_all([r#"424["slow",4]"#, r#"42/other,5["x"]"#]);
    other.send(r#"421["fast"]"#);
    assert_eq!(client.texts(), ["43/other,5[]"]);
    assert_eq!(other.next(), "431[]");
    assert_eq!(calls.take(), ["fast"]);
    gate.open();
    sim.run();
    assert_eq!(calls.take(), ["slow", "fast", "file", "slow"]);
    assert_eq!([client.next(), client.next()], ["431[1]", "432[2]"]);
    assert_eq!(client.next(), r#"461-3[{"_placeholder":true,"num":0}]"#);
    assert_eq!(client.next_binary(), [1, 2, 3]);
    assert_eq!(client.next(), "434[4]");
    client.send(r#"426["fast",6]"#);
    assert_eq!(client.next(), "436[6]");
}

#[test]
fn acknowledgements_of_the_client_do_not_wait_behind_events() {
    let (server, calls) = server();
    server.use_packet(async |socket: Socket| match socket.emit_with_ack::<bool>("may I?", ()).await {
        Ok(true) => Ok(()),
        _ => Err("no".into()),
    });
    server.on("x", async |State(calls): State<Calls>| calls.note("handler"));
    let sim = Sim::new(server);
    let client = sim.connect();
    client.send_all([r#"421["x"]"#, r#"422["x"]"#]);
    assert_eq!(client.texts(), [r#"420["may I?"]"#]);
    client.send("430[true]");
    assert_eq!(client.texts(), ["431[]", r#"421["may I?"]"#]);
    client.send("431[false]");
    assert_eq!(client.texts(), [r#"432[{"message":"no"}]"#]);
    assert_eq!(calls.take(), ["handler"]);
}

#[test]
fn middleware_that_never_answers_refuses_at_its_deadline_and_the_next_event_has_its_own() {
    let (builder, _) = builder();
    let server = builder.packet_timeout(Duration::from_secs(10)).build();
    let _gate = hold(&server, "never");
    server.on("x", async || 1);
    let sim = Sim::new(server.clone());
    let client = sim.connect();
    client.send_all([r#"421["never"]"#, r#"422["never"]"#, r#"423["x"]"#]);
    sim.advance(Duration::from_millis(9_999));
    client.expect_nothing();
    sim.advance(Duration::from_millis(1));
    assert_eq!(client.texts(), [r#"431[{"message":"timeout"}]"#]);
    sim.advance(Duration::from_millis(9_999));
    client.expect_nothing();
    sim.advance(Duration::from_millis(1));
    assert_eq!(client.texts(), [r#"432[{"message":"timeout"}]"#, "433[1]"]);
    let default = Server::new();
    let _gate = hold(&default, "never");
    let sim = Sim::new(default);
    let client = sim.connect();
    client.send(r#"421["never"]"#);
    sim.advance(Duration::from_millis(29_999));
    client.expect_nothing();
    sim.advance(Duration::from_millis(1));
    assert_eq!(client.next(), r#"431[{"message":"timeout"}]"#);
}

/// Counts the events that arrive.
#[derive(Clone, Debug, Default)]
struct Arrived(Arc<AtomicUsize>);

impl Observer for Arrived {
    fn packet(&self, direction: Direction, info: &PacketInfo<'_>) {
        if let (Direction::In, Packet::Message(Message::Text(text))) = (direction, info.packet)
            && text.starts_with("2[")
        {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[test]
fn a_client_whose_events_wait_is_not_read_until_they_are_fewer() {
    let arrived = Arrived::default();
    let server = Server::builder().observer(arrived.clone()).build();
    let gate = hold(&server, "slow");
    let count = Arc::new(AtomicUsize::new(0));
    server.on("fast", {
        let count = count.clone();
        move || {
            count.fetch_add(1, Ordering::SeqCst);
            async {}
        }
    });
    let sim = Sim::new(server);
    let client = sim.connect();
    client.send_all(std::iter::once(r#"42["slow"]"#).chain([r#"42["fast"]"#; 1000]));
    assert!(arrived.0.load(Ordering::SeqCst) <= 256, "{arrived:?}");
    assert_eq!(count.load(Ordering::SeqCst), 0);
    gate.open();
    sim.run();
    assert_eq!((arrived.0.load(Ordering::SeqCst), count.load(Ordering::SeqCst)), (1001, 1000));
}

#[test]
fn many_events_whose_middleware_waits_once_are_handled_in_order() {
    let (server, calls) = server();
    server.use_packet(async || {
        yield_now().await;
        Ok(())
    });
    server.on("n", async |State(calls): State<Calls>, Data(n): Data<u32>| calls.note(n.to_string()));
    let sim = Sim::new(server);
    let client = sim.connect();
    let packets: Vec<_> = (0..20_000).map(|n| format!(r#"42["n",{n}]"#)).collect();
    client.send_all(packets.iter().map(String::as_str));
    sim.run();
    assert!(calls.take().into_iter().eq((0..20_000).map(|n| n.to_string())));
}

#[test]
fn events_that_wait_are_dropped_when_their_socket_is_disconnected() {
    let (server, calls) = server();
    let gate = hold(&server, "slow");
    let drops = Drops::default();
    server.on_any(async |State(calls): State<Calls>| calls.note("handler"));
    server.on_error(async |State(calls): State<Calls>| calls.note("error"));
    server.on_connect({
        let drops = drops.clone();
        move |socket: Socket| {
            let (guard, kept) = (drops.guard(), socket.clone());
            socket.use_packet(move || {
                guard.hold();
                let _ = &kept;
                async { Ok(()) }
            });
            async {}
        }
    });
    let sim = Sim::new(server.clone());
    let client = sim.connect();
    let socket = server.of("/").socket(&client.id).unwrap();
    client.send_all([r#"421["slow"]"#, r#"422["fast"]"#, "41"]);
    assert!(!socket.is_connected());
    gate.open();
    sim.run();
    assert!(calls.take().is_empty());
    assert_eq!(drops.count(), 1, "the middleware of the socket is dropped with its end");
    socket.use_packet(async || Ok(()));
    client.expect_nothing();
}

#[test]
fn a_deadline_frees_what_a_client_that_left_was_waiting_for() {
    let (server, _) = server();
    let _gate = hold(&server, "slow");
    let sim = Sim::new(server);
    let client = sim.connect();
    client.send(r#"42["slow"]"#);
    client.close();
    sim.run();
    let before = sim.tasks();
    sim.advance(Duration::from_secs(30));
    assert!(sim.tasks() < before);
    assert_eq!(sim.server().clients_count(), 0);
}

#[test]
fn the_middleware_of_one_socket_is_not_that_of_another_and_sees_attachments() {
    let (server, calls) = server();
    server.on_connect(async |socket: Socket| {
        if socket.handshake().query_param("guarded").is_some() {
            socket.use_packet(async |State(calls): State<Calls>, Data(bytes): Data<Bytes>| {
                calls.note(format!("{} bytes", bytes.len()));
                Err("no files".into())
            });
        }
        socket.on("file", async || "stored");
    });
    let sim = Sim::new(server);
    let mut guarded = simulation::Client::open(&sim, "EIO=4&transport=websocket&guarded=1");
    guarded.join("/");
    let free = sim.connect();
    for client in [&guarded, &free] {
        client.send(r#"451-1["file",{"_placeholder":true,"num":0}]"#);
        client.send_binary(&[0; 5]);
    }
    assert_eq!(guarded.next(), r#"431[{"message":"no files"}]"#);
    assert_eq!(free.next(), r#"431["stored"]"#);
    assert_eq!(calls.take(), ["5 bytes"]);
}
