//! The module for tests of one's own server: what it delivers, what it times, and what it says if a test fails.
#![cfg(feature = "testing")]
#![allow(missing_docs, clippy::unwrap_used)]

use serde_json::{Value, json};
use sockeye::client::{ClientConnectError, ClientDisconnectReason};
use sockeye::extract::{Auth, Data};
use sockeye::testing::{TestClient, TestServer};
use sockeye::{Args, ConnectError, DisconnectReason, Server, Socket, Transport};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A server like that of an application: names, one room, questions.
fn chat() -> Server {
    let io = Server::new();
    io.middleware(async |socket: Socket, Auth(auth): Auth<Value>| match auth["name"].as_str() {
        Some("") | None => Err(ConnectError::new("a name is needed").data(json!({ "least": 1 }))),
        Some(name) => {
            socket.set_data(name.to_owned());
            Ok(())
        }
    });
    io.on_connect(async |socket: Socket| socket.join("room"));
    io.on("say", async |socket: Socket, Data(text): Data<String>| {
        let name = socket.data::<String>().unwrap();
        socket.to("room").emit("line", (&*name, text));
    });
    io.on("add", async |Data((a, b)): Data<(i64, i64)>| a + b);
    io.on("leave", async |socket: Socket| socket.disconnect(false));
    io.on("ask me", async |socket: Socket| {
        socket.emit_with_ack::<String>("question", "which fish?").await.map_err(|error| error.to_string())
    });
    io.of("/admin");
    io
}

fn named(test: &TestServer, name: &str) -> TestClient {
    test.client().auth(json!({ "name": name })).connect("/")
}

/// Runs a test that must fail, and returns the message.
fn failure(test: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(test)).expect_err("it does not fail");
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => (*panic.downcast_ref::<&str>().expect("a message")).to_owned(),
    }
}

#[test]
fn events_answers_and_silence_are_expected() {
    let test = TestServer::new(chat());
    let (ann, bob) = (named(&test, "Ann"), named(&test, "Bob"));
    ann.emit("say", "hello");
    assert_eq!(bob.expect_event::<(String, String)>("line"), ("Ann".into(), "hello".into()));
    ann.expect_nothing();
    bob.expect_nothing();
    assert_eq!(ann.ask::<i64>("add", (2, 3)), 5);
    assert_eq!(test.elapsed(), 2 * SECOND);
}

#[test]
fn a_client_begins_with_polling_and_is_upgraded() {
    let test = TestServer::new(chat());
    let ann = named(&test, "Ann");
    assert_eq!(ann.transport(), Transport::WebSocket);
    let bob = test.client().auth(json!({ "name": "Bob" })).transport(Transport::Polling).connect("/");
    assert_eq!(bob.transport(), Transport::Polling);
    bob.emit("say", "by polling");
    assert_eq!(ann.expect_event::<(String, String)>("line").1, "by polling");
    ann.emit("say", "by websocket");
    assert_eq!(bob.expect_event::<(String, String)>("line").1, "by websocket");
}

#[test]
fn a_server_with_one_transport_is_reached_by_it() {
    for transport in [Transport::Polling, Transport::WebSocket] {
        let io = Server::builder().transports([transport]).path("/deep/down").build();
        let test = TestServer::new(io);
        assert_eq!(test.connect("/").transport(), transport);
    }
}

#[test]
fn a_refusal_has_its_message_and_data() {
    let test = TestServer::new(chat());
    let error = test.client().connect_error("/");
    let ClientConnectError::Refused { message, data } = error else { panic!("{error:?}") };
    assert_eq!((&*message, data), ("a name is needed", Some(json!({ "least": 1 }))));
    let invalid = test.client().connect_error("/nowhere");
    assert_eq!(invalid.to_string(), "Invalid namespace");
    let text = failure(|| _ = test.connect("/"));
    assert!(
        text.starts_with("client 3 in \"/\" cannot connect: a name is needed ({\"least\":1})\n"),
        "{text}"
    );
}

#[test]
fn the_handshake_has_headers_query_and_address() {
    let io = Server::new();
    io.on("who", async |socket: Socket| {
        let handshake = socket.handshake();
        let query = handshake.query_param("v");
        let address = handshake.address().map(|address| address.to_string());
        (handshake.header("cookie").map(str::to_owned), query, address, handshake.secure())
    });
    let test = TestServer::new(io);
    let client = test
        .client()
        .header("cookie", "a=b")
        .query("v", "1 2")
        .address(([10, 0, 0, 7], 4711))
        .secure(true)
        .connect("/");
    let who = client.ask::<Value>("who", ());
    assert_eq!(who, json!("a=b"));
    let all = client.ask::<(String, String, String, bool)>("who", ());
    assert_eq!(all, ("a=b".into(), "1 2".into(), "10.0.0.7:4711".into(), true));
}

#[test]
fn a_client_answers_by_expecting_the_question() {
    let test = TestServer::new(chat());
    let ann = named(&test, "Ann");
    let asked = ann.begin_ask::<String>("ask me", ());
    let question = ann.expect("question");
    assert_eq!(question.args().deserialize::<String>().unwrap(), "which fish?");
    question.ack("herring").unwrap();
    assert_eq!(asked.answer(), "herring");
    ann.socket().on("question", async || "trout");
    assert_eq!(ann.ask::<String>("ask me", ()), "trout");
}

#[test]
fn one_connection_has_several_namespaces() {
    let test = TestServer::new(chat());
    let ann = named(&test, "Ann");
    let admin = ann.connect("/admin");
    assert_eq!(test.server().clients_count(), 1);
    test.server().of("/admin").emit("news", 1);
    assert_eq!(admin.expect_event::<i64>("news"), 1);
    ann.expect_nothing();
    admin.disconnect();
    admin.expect_disconnect("io client disconnect");
    assert!(ann.is_connected());
}

#[test]
fn a_disconnect_has_its_reason() {
    let test = TestServer::new(chat());
    let ann = named(&test, "Ann");
    ann.emit("leave", ());
    assert_eq!(ann.expect_disconnect("io server disconnect"), ClientDisconnectReason::Server);
    let bob = named(&test, "Bob");
    bob.emit("leave", ());
    let text = failure(|| _ = bob.expect_disconnect("transport close"));
    assert!(
        text.contains("was disconnected by \"io server disconnect\", not by \"transport close\""),
        "{text}"
    );
    let eve = named(&test, "Eve");
    let text = failure(|| _ = eve.expect_disconnect("transport close"));
    assert!(text.contains("was not disconnected within 10s"), "{text}");
}

#[test]
fn a_cut_connection_is_opened_again() {
    let test = TestServer::new(chat());
    let ann = named(&test, "Ann");
    ann.cut();
    ann.expect_disconnect("transport error");
    assert_eq!(test.server().clients_count(), 0);
    ann.expect_connect();
    assert_eq!(test.server().clients_count(), 1);
    assert!((SECOND / 2..=SECOND * 3 / 2).contains(&test.elapsed()), "{:?}", test.elapsed());
    ann.offline();
    test.advance(60 * SECOND);
    let error = ann.expect_connect_error().to_string();
    assert!(error.contains("the client is offline"), "{error}");
    assert!(!ann.is_connected());
    ann.online();
    ann.expect_connect();
    assert_eq!(ann.ask::<i64>("add", (2, 3)), 5);
}

#[test]
fn a_stalled_connection_ends_by_its_heartbeat_only() {
    let test = TestServer::new(chat());
    let reasons = Arc::new(Mutex::new(Vec::new()));
    let notes = reasons.clone();
    test.server().of("/").on_disconnect(move |reason: DisconnectReason| {
        notes.lock().unwrap().push(reason.to_string());
        async {}
    });
    let (ann, bob) = (named(&test, "Ann"), named(&test, "Bob"));
    ann.stall();
    bob.stall();
    bob.emit("say", "late");
    test.advance(20 * SECOND);
    bob.resume();
    ann.resume();
    assert_eq!(ann.expect_event::<(String, String)>("line").1, "late");
    ann.stall();
    test.advance(46 * SECOND);
    assert_eq!(*reasons.lock().unwrap(), ["ping timeout"]);
    ann.expect_disconnect("ping timeout");
    bob.expect_nothing();
}

#[test]
fn a_slow_connection_takes_its_time_both_ways() {
    let test = TestServer::new(chat());
    let ann = named(&test, "Ann");
    ann.set_latency(SECOND);
    let before = test.elapsed();
    assert_eq!(ann.ask::<i64>("add", (2, 3)), 5);
    assert_eq!(test.elapsed() - before, 2 * SECOND);
    let slow = test.client().auth(json!({ "name": "Bob" })).latency(SECOND / 10).connect("/");
    assert_eq!(slow.ask::<i64>("add", (2, 3)), 5);
}

#[test]
fn large_messages_pass_a_network_that_holds_little() {
    let io = Server::new();
    io.on("echo", async |Data(text): Data<String>| text);
    let test = TestServer::new(io);
    let text = "x".repeat(900_000);
    for transport in [Transport::Polling, Transport::WebSocket] {
        let client = test.client().transport(transport).latency(SECOND / 100).connect("/");
        assert_eq!(client.ask::<String>("echo", &text), text);
    }
}

#[test]
fn a_failure_tells_what_arrived_instead_and_what_the_server_reported() {
    let test = TestServer::new(chat());
    let ann = named(&test, "Ann");
    test.server().emit("news", (1, "two"));
    ann.emit("say", 5);
    let text = failure(|| _ = ann.expect_event::<String>("line"));
    assert!(text.starts_with("client 1 in \"/\" received no event \"line\" within 10s\n"), "{text}");
    assert!(text.contains("\n    \"news\" "), "{text}");
    assert!(text.contains("\n    the handler of \"say\" in \"/\" was not called: "), "{text}");
    assert!(text.ends_with("time since the test began: 10s"), "{text}");
    let text = failure(|| ann.expect_nothing());
    assert!(text.contains("expected nothing") && text.contains("\n    \"news\" "), "{text}");
    let text = failure(|| _ = ann.expect_event::<String>("news"));
    assert!(text.contains("which is not a `alloc::string::String`: invalid arguments: "), "{text}");
    ann.expect_nothing();
}

#[test]
fn a_question_without_an_answer_fails_in_time() {
    let test = TestServer::new(chat()).limit(3 * SECOND);
    let ann = named(&test, "Ann");
    let text = failure(|| _ = ann.ask::<i64>("nobody listens", ()));
    assert!(text.contains("received no acknowledgement of \"nobody listens\" within 3s"), "{text}");
    assert!(text.contains("\n    there is no handler of \"nobody listens\" in \"/\"\n"), "{text}");
    let text = failure(|| _ = ann.ask::<String>("add", (2, 3)));
    assert!(text.contains("an acknowledgement of \"add\" that is not a `alloc::string::String`"), "{text}");
    assert_eq!(ann.try_ask::<i64>("nobody listens", ()).unwrap_err().to_string(), "operation has timed out");
    assert_eq!(test.elapsed(), 6 * SECOND);
}

#[test]
fn events_stay_until_they_are_expected() {
    let test = TestServer::new(chat());
    let ann = named(&test, "Ann");
    for event in ["a", "b", "a"] {
        test.server().emit(event, ());
    }
    ann.expect_event::<()>("b");
    ann.expect_event::<Args>("a");
    let rest = ann.received();
    assert_eq!(rest.iter().map(|received| received.event()).collect::<Vec<_>>(), ["a"]);
    test.server().emit("c", ());
    ann.expect_no("b");
    assert!(failure(|| ann.expect_no("c")).contains("received \"c\""));
    test.server().emit("d", ());
    ann.clear();
    ann.expect_nothing();
}

#[test]
fn time_passes_in_order_and_at_once() {
    let io = Server::new();
    io.on("ask slowly", async |socket: Socket| {
        let answer = socket.timeout(3600 * SECOND).emit_with_ack::<String>("question", ()).await;
        socket.emit("done", answer.map_err(|error| error.to_string()).unwrap_or_else(|error| error))
    });
    let test = TestServer::new(io);
    let ann = test.connect("/");
    ann.emit("ask slowly", ());
    ann.expect("question");
    test.advance(3599 * SECOND);
    ann.expect_no("done");
    assert_eq!(ann.expect_event::<String>("done"), "operation has timed out");
    assert_eq!(test.elapsed(), 3600 * SECOND);
}

#[test]
fn dropping_a_client_closes_its_connection() {
    let test = TestServer::new(chat());
    let ann = named(&test, "Ann");
    let admin = ann.connect("/admin");
    drop(ann);
    test.settle();
    assert_eq!(test.server().clients_count(), 1);
    drop(admin);
    test.settle();
    assert_eq!(test.server().clients_count(), 0);
}

#[test]
fn closing_the_server_disconnects_its_clients() {
    let test = TestServer::new(chat());
    let ann = named(&test, "Ann");
    let bob = test.client().auth(json!({ "name": "Bob" })).transport(Transport::Polling).connect("/");
    test.close();
    ann.expect_disconnect("transport close");
    bob.expect_disconnect("transport close");
}

#[test]
fn a_future_of_the_test_runs_beside_the_server() {
    let io = chat();
    let test = TestServer::new(io.clone());
    let _ann = named(&test, "Ann");
    assert_eq!(test.block_on(async { io.of("/").fetch_sockets().await.sockets.len() }), 1);
    let text = failure(|| test.block_on(std::future::pending()));
    assert!(text.starts_with("the future has not completed within 10s"), "{text}");
}

#[test]
fn the_same_test_has_the_same_course_and_the_same_ids() {
    fn run() -> Vec<String> {
        let log = Arc::new(Mutex::new(Vec::new()));
        let io = chat();
        let notes = log.clone();
        io.of("/").on_any(move |socket: Socket, event: sockeye::extract::Event, args: Args| {
            notes.lock().unwrap().push(format!("{} {} {args:?}", socket.id(), event.0));
            async {}
        });
        let test = TestServer::new(io);
        let clients: Vec<_> = ["Ann", "Bob", "Eve"].map(|name| named(&test, name)).into();
        clients.iter().for_each(|client| client.set_latency(SECOND / 7));
        for (at, client) in clients.iter().enumerate() {
            client.socket().emit("say", at.to_string()).unwrap();
            if at == 1 {
                client.cut();
            }
        }
        test.advance(30 * SECOND);
        let mut log = std::mem::take(&mut *log.lock().unwrap());
        for client in &clients {
            log.push(format!("{} {:?}", client.id(), test.elapsed()));
            log.extend(
                client
                    .received()
                    .iter()
                    .map(|received| format!("{} {:?}", received.event(), received.args())),
            );
        }
        log
    }
    let first = run();
    assert!(first.len() > 6, "{first:?}");
    assert_eq!(first, run());
}

#[test]
fn nothing_of_a_test_is_left_once_it_has_ended() {
    let left = Arc::new(());
    let held = left.clone();
    let io = chat();
    io.on("wait", move || {
        let held = held.clone();
        async move {
            let _held = held;
            std::future::pending::<()>().await
        }
    });
    let test = TestServer::new(io);
    let (ann, bob) = (named(&test, "Ann"), named(&test, "Bob"));
    ann.emit("wait", ());
    ann.stall();
    bob.offline();
    assert!(Arc::strong_count(&left) > 1);
    drop(test);
    drop((ann, bob));
    assert_eq!(Arc::strong_count(&left), 1);
}

#[test]
fn a_test_is_not_driven_by_its_own_handlers() {
    let test = TestServer::new(chat());
    let (ann, bob) = (named(&test, "Ann"), named(&test, "Bob"));
    let (told, tell) = std::sync::mpsc::channel();
    bob.socket().on("line", move || {
        let text = failure(|| ann.emit("say", "again"));
        told.send(text).unwrap();
        async {}
    });
    let eve = named(&test, "Eve");
    eve.emit("say", "hello");
    assert!(tell.recv().unwrap().contains("cannot be called in a handler"));
}

#[test]
fn a_server_that_runs_already_is_not_tested() {
    let io = chat();
    let _test = TestServer::new(io.clone());
    let panic = catch_unwind(AssertUnwindSafe(|| TestServer::new(io))).unwrap_err();
    assert!(panic.downcast_ref::<&str>().unwrap().contains("runs on another runtime already"));
}

#[cfg(feature = "tokio")]
mod on_tokio {
    use super::*;
    use tokio::time::{Instant, sleep};

    /// A server whose handlers need tokio.
    fn kitchen() -> Server {
        let io = Server::new();
        io.on("brew", async || {
            sleep(180 * SECOND).await;
            "tea"
        });
        io.on("bake", async |socket: Socket| {
            tokio::spawn(async move {
                sleep(SECOND).await;
                let loaf = tokio::task::spawn_blocking(|| "bread").await.unwrap();
                let _ = socket.emit("baked", loaf);
            });
        });
        io
    }

    #[test]
    fn handlers_use_its_timers_and_tasks() {
        let test = TestServer::on_tokio(kitchen()).limit(200 * SECOND);
        let guest = test.connect("/");
        let began = Instant::now();
        guest.emit("bake", ());
        guest.expect_no("baked ");
        assert_eq!(guest.expect_event::<String>("baked"), "bread");
        assert_eq!(guest.ask::<String>("brew", ()), "tea");
        assert!(test.elapsed() >= 181 * SECOND && began.elapsed() < 60 * SECOND);
        assert_eq!(guest.ask::<String>("brew", ()), "tea");
        test.advance(3600 * SECOND);
        assert!(guest.is_connected());
        guest.cut();
        guest.expect_disconnect("transport error");
        guest.expect_connect();
        guest.stall();
        guest.expect_disconnect("ping timeout");
    }

    #[test]
    fn a_handler_that_needs_it_fails_with_a_hint() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _inside = runtime.enter();
        let test = TestServer::new(kitchen());
        let guest = test.connect("/");
        let text = failure(|| _ = guest.ask::<String>("brew", ()));
        assert!(text.contains("handlers of the server that still wait: 1 (a handler that uses"), "{text}");
        assert!(text.contains("needs `TestServer::on_tokio`"), "{text}");
    }

    #[test]
    fn it_cannot_be_started_inside_of_another() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _inside = runtime.enter();
        let panic = catch_unwind(|| TestServer::on_tokio(kitchen())).unwrap_err();
        assert!(
            panic.downcast_ref::<&str>().unwrap().contains("write `#[test]` instead of `#[tokio::test]`")
        );
    }

    #[test]
    fn an_asynchronous_test_awaits_the_same_methods() {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let task = runtime.spawn(async {
            let test = TestServer::in_tokio(kitchen()).limit(200 * SECOND);
            let guest = test.client().transport(Transport::Polling).connect("/").await;
            assert_eq!(guest.ask::<String>("brew", ()).await, "tea");
            guest.emit("bake", ()).await;
            assert_eq!(guest.expect_event::<String>("baked").await, "bread");
            test.advance(60 * SECOND).await;
            guest.expect_nothing().await;
            let (file, line) = (file!(), line!() + 1);
            let text = tokio::spawn(async move { guest.expect("supper").await }).await.unwrap_err();
            let text = *text.into_panic().downcast::<String>().unwrap();
            let at = format!("at {file}:{line}:");
            assert!(
                text.starts_with(&at) && text.contains("received no event \"supper\" within 200s"),
                "{text}"
            );
        });
        runtime.block_on(task).unwrap();
    }
}

#[cfg(feature = "smol")]
#[test]
fn any_other_runtime_can_be_used() {
    let executor = Arc::new(smol::Executor::new());
    smol::block_on(executor.run(async {
        let test = TestServer::within(chat(), Arc::new(sockeye::runtime::smol::Smol::on(&executor)));
        let ann = test.client().auth(json!({ "name": "Ann" })).connect("/").await;
        assert_eq!(ann.ask::<i64>("add", (2, 3)).await, 5);
    }));
}
