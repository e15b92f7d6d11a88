//! The admission of clients: connects, refusals, and packets that come too early.
#![allow(missing_docs, clippy::unwrap_used)]

mod simulation;

use simulation::{Client, Drops, Gate, Sim};
use sockeye::extract::{Auth, Data};
use sockeye::{ConnectError, Limits, NamespaceError, Server, Socket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[test]
fn a_connect_is_answered_with_an_id_that_is_not_the_session_s() {
    let sim = Sim::new(Server::new());
    let client = sim.connect();
    assert_eq!(client.id.len(), 20);
    assert_ne!(client.id, client.session);
    assert!(sim.server().of("/").socket(&client.id).is_some());
}

#[test]
fn events_of_the_connect_handler_come_after_the_connect() {
    let server = Server::new();
    server.on_connect(async |socket: Socket| socket.emit("hello", 1));
    let sim = Sim::new(server);
    let client = sim.connect();
    assert_eq!(client.next(), r#"42["hello",1]"#);
}

#[test]
fn auth_is_given_to_the_handlers() {
    let server = Server::new();
    server.on_connect(async |socket: Socket, Auth(auth): Auth<serde_json::Value>| socket.emit("auth", auth));
    let sim = Sim::new(server);
    let client = sim.client();
    client.send(r#"40{"token":"x"}"#);
    assert!(client.next().starts_with("40{"));
    assert_eq!(client.next(), r#"42["auth",{"token":"x"}]"#);
    let client = sim.client();
    client.send("40");
    assert!(client.next().starts_with("40{"));
    assert_eq!(client.next(), r#"42["auth",{}]"#);
}

#[test]
fn an_unknown_namespace_is_refused_and_the_connection_stays() {
    let sim = Sim::new(Server::new());
    let mut client = sim.client();
    client.send("40/none,");
    assert_eq!(client.next(), r#"44/none,{"message":"Invalid namespace"}"#);
    client.join("/");
}

#[test]
fn a_middleware_refuses_later_with_message_and_data() {
    let server = Server::new();
    let (gate, connects) = (Gate::default(), Arc::new(AtomicUsize::new(0)));
    server.middleware({
        let gate = gate.clone();
        move || {
            let gate = gate.clone();
            async move {
                gate.wait().await;
                Err(ConnectError::new("not authorized").data(serde_json::json!({ "code": 7 })))
            }
        }
    });
    server.on_connect({
        let connects = connects.clone();
        move || {
            connects.fetch_add(1, Ordering::SeqCst);
            async {}
        }
    });
    let sim = Sim::new(server);
    let client = sim.client();
    client.send("40");
    client.expect_nothing();
    gate.open();
    assert_eq!(client.next(), r#"44{"message":"not authorized","data":{"code":7}}"#);
    assert_eq!(connects.load(Ordering::SeqCst), 0);
    assert!(!client.is_closed());
    // The client may try again.
    client.send("40");
    assert!(client.next().starts_with("44{"));
}

#[test]
fn middlewares_are_asked_in_order_until_one_refuses() {
    let server = Server::new();
    let log = Arc::new(Mutex::new(Vec::new()));
    for (name, allow) in [("a", true), ("b", false), ("c", true)] {
        let log = log.clone();
        server.middleware(move || {
            log.lock().unwrap().push(name);
            async move { if allow { Ok(()) } else { Err(ConnectError::new(name)) } }
        });
    }
    let sim = Sim::new(server);
    let client = sim.client();
    client.send("40");
    assert_eq!(client.next(), r#"44{"message":"b"}"#);
    assert_eq!(*log.lock().unwrap(), ["a", "b"]);
}

#[test]
fn a_middleware_that_panics_refuses() {
    let server = Server::new();
    server.of("/admin").middleware(|| async { panic!("a bug") });
    let sim = Sim::new(server);
    let client = sim.connect();
    client.send("40/admin,");
    assert_eq!(client.next(), r#"44/admin,{"message":"Internal error"}"#);
    client.send("40/admin,");
    assert!(client.next().starts_with("44/admin,"));
    assert!(!client.is_closed());
}

#[test]
fn a_middleware_whose_auth_does_not_fit_refuses() {
    let server = Server::new();
    server.middleware(async |Auth(_): Auth<u32>| Ok(()));
    let sim = Sim::new(server);
    let client = sim.client();
    client.send("40{}");
    // Without the details, which concern only the server.
    assert_eq!(client.next(), r#"44{"message":"Invalid auth"}"#);
}

#[test]
fn a_client_that_left_during_the_middleware_is_not_let_in() {
    let server = Server::new();
    let gate = Gate::default();
    let drops = Drops::default();
    server.middleware({
        let (gate, drops) = (gate.clone(), drops.clone());
        move |socket: Socket| {
            let (gate, guard) = (gate.clone(), drops.guard());
            socket.join("room");
            // A handler that holds its socket: a reference cycle until the socket ends.
            let held = socket.clone();
            socket.on("x", move || {
                guard.hold();
                let held = held.clone();
                async move { drop(held) }
            });
            async move {
                gate.wait().await;
                Ok(())
            }
        }
    });
    let connects = drops.clone();
    server.on_connect(move || {
        drop(connects.guard());
        async {}
    });
    let sim = Sim::new(server);
    let client = sim.client();
    client.send("40");
    client.cut();
    gate.open();
    sim.run();
    assert_eq!(sim.server().sockets().len(), 0);
    assert_eq!(sim.server().to("room").sockets().len(), 0);
    assert_eq!(drops.count(), 1, "the handlers are dropped");
}

/// A server with `/x`, whose middleware waits at the gate; counts the connects and the disconnects there.
fn waiting() -> (Sim, Gate, Drops, Drops) {
    let server = Server::new();
    let (gate, connects, disconnects) = (Gate::default(), Drops::default(), Drops::default());
    let wait = gate.clone();
    server.of("/x").middleware(move |socket: Socket| {
        socket.join("room");
        let wait = wait.clone();
        async move {
            wait.wait().await;
            Ok(())
        }
    });
    let (connected, disconnected) = (connects.clone(), disconnects.clone());
    server.of("/x").on_connect(move |socket: Socket| {
        drop(connected.guard());
        let disconnected = disconnected.clone();
        socket.on_disconnect(move || {
            drop(disconnected.guard());
            async {}
        });
        async {}
    });
    (Sim::new(server), gate, connects, disconnects)
}

#[test]
fn a_second_connect_closes_once_the_first_was_answered() {
    let sim = Sim::new(Server::new());
    let client = sim.connect();
    client.send("40");
    client.expect_close();

    let mut client = sim.polling();
    client.join();
    client.begin_post("40");
    assert_eq!(client.poll(), ["1"]);
    assert_eq!(sim.server().sockets().len(), 0);
}

#[test]
fn a_second_connect_while_the_first_is_pending_is_one_socket_and_one_answer() {
    let (sim, gate, connects, disconnects) = waiting();
    let client = sim.connect();
    client.send_all(["40/x,", "40/x,"]);
    client.send("40/x,");
    let mut polling = sim.polling();
    polling.join();
    assert_eq!(polling.post("40/x,\x1e40/x,"), 200);
    assert_eq!(polling.post("40/x,"), 200);
    gate.open();
    assert!(client.next().starts_with("40/x,{"));
    client.expect_nothing();
    assert_eq!(polling.poll().len(), 1);
    assert_eq!((sim.server().of("/x").sockets_count(), connects.count()), (2, 2));
    client.close();
    polling.post("1");
    assert_eq!((sim.server().of("/x").sockets_count(), disconnects.count()), (0, 2));
}

#[test]
fn a_connect_that_is_repeated_in_the_same_turn_is_answered_once() {
    let sim = Sim::new(Server::new());
    let client = sim.client();
    client.send_all(["40", "40"]);
    assert!(client.next().starts_with("40{"));
    client.expect_nothing();
    assert!(!client.is_closed());

    let mut polling = sim.polling();
    assert_eq!(polling.post("40\x1e40"), 200);
    assert_eq!(polling.poll().len(), 1);
    assert_eq!(sim.server().sockets().len(), 2);
}

#[test]
fn a_namespace_that_is_left_while_the_middleware_runs_is_the_only_one_that_ends() {
    let (sim, gate, connects, disconnects) = waiting();
    let mut client = sim.connect();
    client.send_all(["40/x,", "41/x,"]);
    gate.open();
    client.expect_nothing();
    assert!(!client.is_closed());
    assert_eq!(sim.server().of("/x").sockets_count(), 0);
    assert_eq!(sim.server().of("/x").to("room").sockets().len(), 0);
    assert_eq!((connects.count(), disconnects.count()), (0, 0));
    client.join("/x");
    assert_eq!(sim.server().sockets().len(), 1);
}

#[test]
fn a_request_that_was_taken_back_does_not_answer_the_next_one() {
    let server = Server::new();
    let gates = [Gate::default(), Gate::default()];
    let asked = Arc::new(AtomicUsize::new(0));
    server.middleware({
        let gates = gates.clone();
        move |socket: Socket| {
            let gate = gates[asked.fetch_add(1, Ordering::SeqCst)].clone();
            async move {
                gate.wait().await;
                if asked_first(&socket) { Ok(()) } else { Err("no".into()) }
            }
        }
    });
    let sim = Sim::new(server);
    let client = sim.client();
    client.send_all([r#"40{"n":1}"#, "41", r#"40{"n":2}"#]);
    gates[0].open();
    client.expect_nothing();
    gates[1].open();
    assert_eq!(client.next(), r#"44{"message":"no"}"#);
    assert_eq!(sim.server().sockets().len(), 0);
}

fn asked_first(socket: &Socket) -> bool {
    socket.auth::<serde_json::Value>().is_ok_and(|auth| auth["n"] == 1)
}

#[test]
fn an_event_before_the_connect_closes() {
    for packet in [r#"42["a"]"#, r#"431["a"]"#, "41", r#"42/none,["a"]"#, "4", r#"44{"message":"x"}"#] {
        let sim = Sim::new(Server::new());
        let client = sim.client();
        client.send(packet);
        client.expect_close();
        assert_eq!(sim.server().clients_count(), 0, "{packet}");
    }
}

#[test]
fn an_event_to_a_namespace_that_the_server_just_left_is_ignored() {
    let server = Server::new();
    let calls = Drops::default();
    server.of("/chat").on_connect({
        let calls = calls.clone();
        move |socket: Socket| {
            let calls = calls.clone();
            socket.on_fallback(move || {
                drop(calls.guard());
                async {}
            });
            async {}
        }
    });
    let sim = Sim::new(server);
    let mut client = sim.connect();
    client.join("/chat");
    sim.server().of("/chat").sockets()[0].disconnect(false);
    client.send_all([r#"42/chat,["x"]"#, r#"451-/chat,["x",{"_placeholder":true,"num":0}]"#]);
    client.send_binary(b"abc");
    assert_eq!(client.next(), "41/chat,");
    client.expect_nothing();
    assert_eq!(calls.count(), 0);
}

#[test]
fn a_client_may_come_back_to_a_namespace_that_the_server_left() {
    let sim = Sim::new(Server::new());
    let mut client = sim.connect();
    let old = sim.server().sockets().remove(0);
    old.disconnect(false);
    assert_eq!(client.next(), "41");
    let new = client.join("/");
    assert_ne!(new, *old.id());
    // The old handle does not stand for the new socket.
    old.disconnect(false);
    old.disconnect(true);
    client.expect_nothing();
    assert!(sim.server().of("/").socket(&new).is_some());
}

#[test]
fn a_client_that_connects_to_no_namespace_in_time_is_closed() {
    let server = Server::builder().connect_timeout(Duration::from_secs(10)).build();
    let sim = Sim::new(server);
    let client = sim.client();
    // A refusal does not count as a connect.
    client.send("40/none,");
    client.next();
    sim.advance(Duration::from_millis(9_999));
    assert!(!client.is_closed());
    sim.advance(Duration::from_millis(1));
    client.expect_close();
    assert_eq!(sim.server().clients_count(), 0);

    let client = sim.connect();
    sim.advance(Duration::from_secs(100));
    assert!(!client.is_closed());
}

#[test]
fn two_namespaces_share_a_connection() {
    let server = Server::new();
    server.on_connect(async |socket: Socket| socket.on("ask", async || "main"));
    server.of("admin").on_connect(async |socket: Socket| socket.on("ask", async || "admin"));
    let sim = Sim::new(server);
    let mut client = sim.connect();
    let admin = client.join("/admin");
    assert_ne!(admin, client.id);
    client.send_all([r#"421["ask"]"#, r#"42/admin,1["ask"]"#]);
    assert_eq!(client.next(), r#"431["main"]"#);
    assert_eq!(client.next(), r#"43/admin,1["admin"]"#);
    // Leaving one leaves the other alone.
    client.send("41/admin,");
    assert_eq!(sim.server().of("/admin").sockets_count(), 0);
    client.send(r#"422["ask"]"#);
    assert_eq!(client.next(), r#"432["main"]"#);
    // An event for a namespace that the client itself left breaks the protocol.
    client.send(r#"42/admin,3["ask"]"#);
    client.expect_close();
}

#[test]
fn polling_clients_connect_too() {
    let server = Server::new();
    server.on_connect(async |socket: Socket| socket.on("add", async |Data((a, b)): Data<(i64, i64)>| a + b));
    let sim = Sim::new(server);
    let mut client = sim.polling();
    let id = client.join();
    assert_ne!(id, client.session);
    client.begin_poll();
    assert_eq!(client.answer(), None);
    assert_eq!(client.post(r#"425["add",2,3]"#), 200);
    assert_eq!(client.packets(), ["435[5]"]);
}

#[test]
fn a_client_that_cannot_be_told_is_closed_instead_of_left_waiting() {
    let full = |packet: &str| {
        let server = Server::builder().send_buffer(100_000).build();
        server.of("/late");
        server.of("/closed").middleware(async || Err(ConnectError::new("no")));
        let sim = Sim::new(server);
        let client = sim.connect();
        let socket = sim.server().sockets().remove(0);
        socket.emit("x", "y".repeat(99_980)).unwrap();
        match packet {
            "" => socket.disconnect(false),
            packet => client.send(packet),
        }
        assert!(client.is_closed(), "{packet}");
        assert_eq!(sim.server().of("/late").sockets_count(), 0);
        assert_eq!(sim.server().clients_count(), 0);
    };
    full("40/late,");
    full("40/closed,");
    full("40/none,");
    full("");
}

#[test]
fn a_namespace_of_any_name_is_a_name_only() {
    let sim = Sim::new(Server::new());
    let names = ["/__proto__", "/constructor", "/\u{1F988}é", "/a b", "/a/b-1", "/\u{0}"];
    for name in names {
        let mut client = sim.client();
        client.send(&format!("40{name},"));
        // As JSON has it, and not as JavaScript's objects would.
        let refused = client.next();
        assert_eq!(refused, format!("44{name},{{\"message\":\"Invalid namespace\"}}"));
        sim.server().of(name);
        client.join(name);
        client.send(&format!("42{name},[\"a\"]"));
        client.expect_nothing();
        assert_eq!(sim.server().of(name).sockets_count(), 1);
    }
}

#[test]
fn a_name_that_no_client_could_connect_to_is_refused_with_the_reason() {
    let server =
        Server::builder().packet_limits(Limits { max_namespace_len: 8, ..Limits::default() }).build();
    let error = |name: &str| server.try_of(name).map(|_| ()).unwrap_err();
    assert_eq!(error("/Acme, Inc."), NamespaceError::TooLong { limit: 8 });
    assert_eq!(error("/a, b"), NamespaceError::Comma);
    assert_eq!(error("a?b"), NamespaceError::QuestionMark);
    assert_eq!(error("/a\u{1e}b"), NamespaceError::Separator);
    assert_eq!(error("12345678"), NamespaceError::TooLong { limit: 8 });
    let sim = Sim::new(server.clone());
    for name in ["/", "", "/1234567", "1234567", "/\u{e9} &=#"] {
        let namespace = server.try_of(name).unwrap();
        assert_eq!(server.of(name).name(), namespace.name());
        sim.client().join(namespace.name());
        assert_eq!(namespace.sockets_count(), 1, "{name}");
    }
    // The main namespace's name is not written into packets.
    let short = Server::builder().packet_limits(Limits { max_namespace_len: 0, ..Limits::default() }).build();
    assert_eq!(short.of("/").name(), "/");
}

#[test]
#[should_panic(expected = "a namespace's name cannot contain a comma: \"/Acme, Inc.\"")]
fn a_name_with_a_comma_panics_where_it_is_given() {
    Server::new().of("/Acme, Inc.");
}

/// Uses a socket of its client when it is dropped.
struct Parting(Socket, Drops);

impl Drop for Parting {
    fn drop(&mut self) {
        let _ = self.0.emit("parting", ());
        drop(self.1.guard());
    }
}

#[test]
fn handlers_of_a_socket_that_was_never_let_in_are_dropped_when_its_client_goes() {
    let ways: [fn(&Client, &Socket); 4] = [
        |client, _| client.send("41/x,"),
        |client, _| client.close(),
        |_, main| main.disconnect(true),
        |client, _| client.sim.server().begin_close(),
    ];
    for way in ways {
        let (main, drops) = (Arc::new(Mutex::new(None)), Drops::default());
        let (server, kept, counted) = (Server::new(), main.clone(), drops.clone());
        server.of("/x").middleware(move |socket: Socket| {
            let main: Option<Socket> = kept.lock().unwrap().clone();
            let parting = Parting(main.unwrap(), counted.clone());
            socket.on("x", move || {
                let _ = &parting;
                async {}
            });
            drop(socket);
            std::future::pending::<Result<(), ConnectError>>()
        });
        let sim = Sim::new(server);
        let client = sim.connect();
        let socket = sim.server().sockets().remove(0);
        *main.lock().unwrap() = Some(socket.clone());
        client.send("40/x,");
        assert_eq!(drops.count(), 0);
        way(&client, &socket);
        sim.run();
        assert_eq!(drops.count(), 1);
    }
}

#[test]
fn a_middleware_that_does_not_decide_in_time_refuses() {
    let (sim, gate, connects, _) = waiting();
    let client = sim.connect();
    let tasks = sim.tasks();
    client.send("40/x,");
    sim.advance(Duration::from_millis(44_999));
    client.expect_nothing();
    sim.advance(Duration::from_millis(1));
    assert_eq!(client.next(), r#"44/x,{"message":"timeout"}"#);
    assert_eq!(sim.tasks(), tasks, "the middleware is dropped");
    assert_eq!(sim.server().of("/x").to("room").sockets().len(), 0);
    // Its decision comes too late.
    gate.open();
    sim.run();
    client.expect_nothing();
    assert_eq!(connects.count(), 0);
    client.send("40/x,");
    assert!(client.next().starts_with(r#"40/x,{"sid""#));
}

/// A server that answers `who` with the number of sockets that a namespace has had, and leaves the client at `leave`; and
/// the number of calls of both.
fn counting() -> (Server, Arc<AtomicUsize>) {
    let server = Server::new();
    let calls = Arc::new(AtomicUsize::new(0));
    for name in ["/", "/chat"] {
        let (namespace, count) = (server.of(name), Arc::new(AtomicUsize::new(0)));
        let who = calls.clone();
        namespace.on_connect(move |socket: Socket| {
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            let calls = who.clone();
            socket.on("who", move || {
                calls.fetch_add(1, Ordering::SeqCst);
                async move { number }
            });
            async {}
        });
        let calls = calls.clone();
        namespace.on("leave", move |socket: Socket| {
            calls.fetch_add(1, Ordering::SeqCst);
            async move { socket.disconnect(false) }
        });
    }
    (server, calls)
}

#[test]
fn events_that_arrive_together_reach_the_namespaces_that_they_name() {
    let sim = Sim::new(counting().0);
    let mut client = sim.connect();
    client.join("/chat");
    sim.connect();
    client.send_all([
        r#"421["who"]"#,
        r#"42/chat,2["who"]"#,
        r#"423["who"]"#,
        r#"424["who"]"#,
        r#"42/chat,5["who"]"#,
    ]);
    assert_eq!(client.texts(), ["431[1]", "43/chat,2[1]", "433[1]", "434[1]", "43/chat,5[1]"]);
}

#[test]
fn an_event_right_behind_the_one_by_which_the_server_left_is_ignored() {
    let (server, calls) = counting();
    let client = Sim::new(server).connect();
    client.send_all([r#"421["who"]"#, r#"42["leave"]"#, r#"42["leave"]"#, r#"422["who"]"#]);
    assert_eq!(client.texts(), ["431[1]", "41"]);
    assert!(!client.is_closed() && calls.load(Ordering::SeqCst) == 2);
    client.send_all(["40", r#"423["who"]"#]);
    let [connected, answer] = client.texts().try_into().unwrap();
    assert!(
        connected.starts_with("40{") && answer == "433[2]",
        "the next socket answers: {connected} {answer}"
    );
}

#[test]
fn an_event_right_behind_the_client_s_goodbye_breaks_the_protocol() {
    let client = Sim::new(counting().0).connect();
    client.send_all([r#"421["who"]"#, "41", r#"422["who"]"#]);
    assert_eq!(client.texts(), ["431[1]"]);
    assert!(client.is_closed());
}

#[test]
fn an_event_right_behind_one_with_attachments_has_to_wait_for_them() {
    let client = Sim::new(counting().0).connect();
    client.send_all([r#"421["who"]"#, r#"451-["file",{"_placeholder":true,"num":0}]"#, r#"422["who"]"#]);
    assert_eq!(client.texts(), ["431[1]"]);
    assert!(client.is_closed());
}

#[test]
fn a_value_that_panics_when_it_is_dropped_leaves_the_connection_open() {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            assert!(std::thread::panicking(), "on purpose");
        }
    }
    let server = Server::new();
    server.on("leave", async |socket: Socket| {
        socket.set_data(Panics);
        socket.disconnect(false);
    });
    let sim = Sim::new(server);
    // The server keeps the socket from one event to the next, and no longer than those that arrive together.
    let client = sim.connect();
    client.send(r#"42["leave"]"#);
    assert_eq!(client.next(), "41");
    client.send("40");
    assert!(client.next().starts_with("40{"));
}
