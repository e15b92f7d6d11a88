//! Handlers that are registered once, for all sockets of a namespace.
#![allow(missing_docs, clippy::unwrap_used)]

mod simulation;

use simulation::{Calls, Drops, Gate, Sim};
use sockeye::extract::{Data, Event, State};
use sockeye::{DisconnectReason, Server, Socket};

fn server() -> (Server, Calls) {
    let calls = Calls::default();
    (Server::builder().state(calls.clone()).build(), calls)
}

#[test]
fn a_handler_of_a_namespace_is_called_for_each_of_its_sockets_and_for_no_other() {
    let server = Server::new();
    server.on("add", async |Data((a, b)): Data<(i64, i64)>| a + b);
    server.of("/chat").on("add", async |Data((a, b)): Data<(String, String)>| a + &b);
    let sim = Sim::new(server);
    let clients = [sim.connect(), sim.connect()];
    for mut client in clients {
        client.join("/chat");
        client.send_all([r#"421["add",2,3]"#, r#"42/chat,2["add","a","b"]"#]);
        assert_eq!(client.next(), "431[5]");
        assert_eq!(client.next(), r#"43/chat,2["ab"]"#);
    }
}

#[test]
fn a_handler_of_a_namespace_is_there_before_the_first_event_and_for_sockets_that_were_there_before_it() {
    let server = Server::new();
    let gate = Gate::default();
    let held = gate.clone();
    server.on_connect(move |socket: Socket| {
        let held = held.clone();
        async move {
            held.wait().await;
            socket.on("late", async || "too late");
        }
    });
    server.on("early", async || "in time");
    let sim = Sim::new(server.clone());
    let client = sim.connect();
    client.send_all([r#"421["early"]"#, r#"422["late"]"#]);
    assert_eq!(client.next(), r#"431["in time"]"#);
    client.expect_nothing();
    server.on("added", async || "yes");
    client.send(r#"423["added"]"#);
    assert_eq!(client.next(), r#"433["yes"]"#);
}

#[test]
fn handlers_of_the_namespace_are_called_before_those_of_the_socket_and_the_first_acknowledges() {
    let (server, calls) = server();
    server.on("x", async |State(calls): State<Calls>, Data(_): Data<u8>| {
        calls.note("namespace");
        "the namespace answers"
    });
    server.on("x", async |State(calls): State<Calls>| {
        calls.note("namespace again");
        "too late"
    });
    server.on_any(async |State(calls): State<Calls>, Event(name): Event| {
        calls.note(format!("namespace any {name}"));
        "not asked"
    });
    server.on_connect(async |socket: Socket| {
        socket.on("x", async |State(calls): State<Calls>| {
            calls.note("socket");
            "the socket answers"
        });
        socket.on_any(async |State(calls): State<Calls>| calls.note("socket any"));
        socket.once("y", async |State(calls): State<Calls>| {
            calls.note("socket once");
            "once"
        });
    });
    let sim = Sim::new(server);
    let client = sim.connect();
    client.send(r#"421["x",1]"#);
    assert_eq!(client.next(), r#"431["the namespace answers"]"#);
    let any = ["namespace any x", "socket any"];
    assert_eq!(calls.take(), [&any[..], &["namespace", "namespace again", "socket"]].concat());
    // The first handler cannot be called, so the second acknowledges.
    client.send(r#"422["x","no number"]"#);
    assert_eq!(client.next(), r#"432["too late"]"#);
    assert_eq!(calls.take(), [&any[..], &["namespace again", "socket"]].concat());
    client.send_all([r#"423["y"]"#, r#"424["y"]"#]);
    assert_eq!(client.next(), r#"433["once"]"#);
    client.expect_nothing();
}

#[test]
fn a_socket_answers_what_its_namespace_has_no_handler_for() {
    let (server, _) = server();
    server.on("x", async |Data(_): Data<u8>| "the namespace answers");
    server.on_connect(async |socket: Socket| {
        socket.on("x", async || "the socket answers");
        socket.on("y", async || "y");
    });
    let sim = Sim::new(server);
    let client = sim.connect();
    client.send_all([r#"421["x","no number"]"#, r#"422["y"]"#]);
    assert_eq!(client.next(), r#"431["the socket answers"]"#);
    assert_eq!(client.next(), r#"432["y"]"#);
}

#[test]
fn fallback_handlers_are_called_only_if_neither_side_has_a_handler_of_the_name() {
    let (server, calls) = server();
    server.on("shared", async |State(calls): State<Calls>| calls.note("shared"));
    server.on_fallback(async |State(calls): State<Calls>, Event(name): Event| {
        calls.note(format!("namespace {name}"));
        "fallback"
    });
    server.on_connect(async |socket: Socket| {
        socket.on("own", async |State(calls): State<Calls>| calls.note("own"));
        socket.on_fallback(async |State(calls): State<Calls>, Event(name): Event| {
            calls.note(format!("socket {name}"));
            "not asked"
        });
    });
    let sim = Sim::new(server);
    let client = sim.connect();
    client.send_all([r#"42["shared"]"#, r#"42["own"]"#, r#"421["other"]"#]);
    assert_eq!(client.next(), r#"431["fallback"]"#);
    assert_eq!(calls.take(), ["shared", "own", "namespace other", "socket other"]);
}

#[test]
fn disconnect_handlers_of_a_namespace_run_once_for_each_socket_that_was_let_in() {
    let (server, calls) = server();
    server.middleware(async |socket: Socket| match socket.auth::<serde_json::Value>() {
        Ok(auth) if auth["ok"] == true => Ok(()),
        _ => Err("no".into()),
    });
    server.on_disconnect(async |State(calls): State<Calls>, socket: Socket, reason: DisconnectReason| {
        calls.note(format!("{reason} in {:?}", socket.rooms()));
    });
    server.on_connect(async |socket: Socket| {
        socket.join("room");
        socket.on_disconnect(async |State(calls): State<Calls>| calls.note("socket"));
    });
    let sim = Sim::new(server);
    let refused = sim.client();
    refused.send("40");
    assert_eq!(refused.next(), r#"44{"message":"no"}"#);
    refused.close();
    assert!(calls.take().is_empty());
    let client = sim.client();
    client.send(r#"40{"ok":true}"#);
    assert!(client.next().starts_with("40{"));
    client.send("41");
    assert_eq!(calls.take(), [r#"client namespace disconnect in ["room"]"#, "socket"]);
    client.close();
    assert!(calls.take().is_empty());
}

#[test]
fn a_socket_is_still_in_its_rooms_while_the_disconnecting_handlers_of_its_namespace_run() {
    let (server, calls) = server();
    server.on_connect(async |socket: Socket| socket.join("room"));
    server.on_disconnecting(async |State(calls): State<Calls>, socket: Socket, reason: DisconnectReason| {
        socket.to("room").emit("left", ());
        calls.note(format!("{reason} from {:?}", socket.rooms()));
        calls.note(format!("{} members", socket.namespace().sockets_count()));
        calls.note(format!("{:?}", socket.emit("too late", ())));
    });
    server.on_disconnect(async |State(calls): State<Calls>, socket: Socket| {
        calls.note(format!("then {} members", socket.namespace().sockets_count()));
    });
    let sim = Sim::new(server.clone());
    let (client, other) = (sim.connect(), sim.connect());
    let expected = |reason| {
        vec![
            format!("{reason} from [\"room\"]"),
            "2 members".into(),
            "Err(the socket is not connected)".into(),
            "then 1 members".into(),
        ]
    };
    client.send("41");
    assert_eq!(calls.take(), expected("client namespace disconnect"));
    assert_eq!(other.next(), r#"42["left"]"#);
    let third = sim.connect();
    server.of("/").socket(&third.id).unwrap().disconnect(true);
    assert_eq!(calls.take(), expected("server namespace disconnect"));
}

#[test]
#[should_panic(expected = "\"disconnect\" is a reserved event name: use `on_disconnect`")]
fn a_reserved_name_panics_where_it_is_given() {
    Server::new().on("disconnect", async || ());
}

#[test]
fn a_handler_of_a_namespace_that_panics_ends_that_call_only() {
    let server = Server::new();
    server.on("panic", async || -> () { panic!("a bug") });
    server.on("ok", async || 1);
    let sim = Sim::new(server);
    let client = sim.connect();
    client.send_all([r#"421["panic"]"#, r#"422["ok"]"#]);
    assert_eq!(client.next(), "432[1]");
}

#[test]
fn handlers_of_a_namespace_are_dropped_with_the_server() {
    let server = Server::new();
    let drops = Drops::default();
    let guard = drops.guard();
    server.on("x", move || {
        guard.hold();
        async {}
    });
    let sim = Sim::new(server);
    let client = sim.connect();
    client.send(r#"42["x"]"#);
    client.close();
    assert_eq!(drops.count(), 0);
    drop(client);
    drop(sim);
    assert_eq!(drops.count(), 1);
}
