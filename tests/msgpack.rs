//! Servers and clients whose packets are MessagePack: everything that works with the default parser works with it.
#![cfg(feature = "testing")]
#![allow(missing_docs, clippy::unwrap_used)]

use bytes::Bytes;
use serde_json::{Value, json};
use sockeye::client::Offline;
use sockeye::cluster::{Adapter, Classic, Dialect, MemoryBus, Sharded, Streams};
use sockeye::engine::Message;
use sockeye::extract::{Auth, Data};
use sockeye::observe::{ClientObserver, ClientPacketInfo, Direction, Packet};
use sockeye::testing::{TestClient, TestServer};
use sockeye::{ConnectError, Parser, Recovery, Server, ServerBuilder, Socket, Transport};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const BYTES: Bytes = Bytes::from_static(&[0, 1, 0xc1, 0xff]);

fn builder() -> ServerBuilder {
    Server::builder().parser(Parser::MessagePack)
}

fn echo() -> Server {
    let io = builder().build();
    for namespace in ["/", "/chat"] {
        let namespace = io.of(namespace);
        namespace.on("ask", async |Data(value): Data<Value>| value);
        namespace.on("double", async |Data(number): Data<u64>| number * 2);
        namespace.on("bytes", async |socket: Socket, Data((text, bytes)): Data<(String, Bytes)>| {
            socket.emit("bytes", (&text, &bytes)).unwrap();
            (bytes, text)
        });
        namespace.on("raw", async |socket: Socket, args: sockeye::Args| _ = socket.emit("raw", args));
    }
    io
}

fn clients(test: &TestServer, namespace: &str) -> [TestClient; 2] {
    [Transport::Polling, Transport::WebSocket].map(|it| test.client().transport(it).connect(namespace))
}

#[test]
fn events_and_answers_pass_in_both_directions() {
    let test = TestServer::new(echo());
    for namespace in ["/", "/chat"] {
        for client in clients(&test, namespace) {
            let value =
                json!({ "a": [1, -2, 0.5, null, true, "\"é\u{0}"], "b": {}, "c": "x".repeat(70_000) });
            assert_eq!(client.ask::<Value>("ask", &value), value);
            assert_eq!(client.ask::<u64>("double", (1_u64 << 62) + 1), (1 << 63) + 2);
            let answer: (Bytes, String) = client.ask("bytes", ("text", BYTES));
            assert_eq!(answer, (BYTES, "text".into()));
            assert_eq!(client.expect_event::<(String, Bytes)>("bytes"), ("text".into(), BYTES));
            client.emit("raw", ([BYTES, Bytes::new()], json!([{}, []]), u64::MAX));
            let raw: ([Bytes; 2], Value, u64) = client.expect_event("raw");
            assert_eq!(raw, ([BYTES, Bytes::new()], json!([{}, []]), u64::MAX));

            client.socket().on("question", async |Data(bytes): Data<Bytes>| (bytes, i64::MIN));
            let socket = test.server().of(namespace).socket(&client.id()).unwrap();
            let answer = socket.emit_with_ack::<(Bytes, i64)>("question", BYTES);
            assert_eq!(test.block_on(answer).unwrap(), (BYTES, i64::MIN));
        }
    }
}

#[test]
fn a_client_is_admitted_and_refused_by_its_auth() {
    let io = builder().build();
    io.middleware(async |Auth(auth): Auth<Value>| match auth["token"].as_str() {
        Some("secret") => Ok(()),
        _ => Err(ConnectError::new("no").data(json!({ "least": 1 }))),
    });
    let test = TestServer::new(io);
    let client = test.client().auth(json!({ "token": "secret" })).connect("/");
    assert!(client.is_connected());
    for transport in [Transport::Polling, Transport::WebSocket] {
        let error = test.client().transport(transport).connect_error("/").to_string();
        assert!(error.contains("no"), "{error}");
    }
    let unknown = test.client().auth(json!({ "token": "secret" })).connect_error("/unknown").to_string();
    assert!(unknown.contains("Invalid namespace"), "{unknown}");
    let socket = test.server().of("/").socket(&client.id()).unwrap();
    socket.disconnect(false);
    client.expect_disconnect("io server disconnect");
}

#[test]
fn a_broadcast_reaches_all_and_is_answered_by_all() {
    let io = builder().build();
    io.on_connect(async |socket: Socket| socket.join("room"));
    let test = TestServer::new(io);
    let clients = [clients(&test, "/"), clients(&test, "/")].into_iter().flatten().collect::<Vec<_>>();
    let delivery = test.server().to("room").emit("news", ("text", BYTES, u64::MAX));
    assert_eq!(delivery.sent, clients.len());
    for client in &clients {
        let news: (String, Bytes, u64) = client.expect_event("news");
        assert_eq!(news, ("text".into(), BYTES, u64::MAX));
        client.socket().on("vote", async |Data(bytes): Data<Bytes>| bytes);
    }
    let votes = test.server().to("room").emit_with_ack::<Bytes>("vote", BYTES);
    let votes = test.block_on(votes);
    assert_eq!(
        (votes.values().filter(|bytes| **bytes == BYTES).count(), votes.missing.len()),
        (clients.len(), 0)
    );
}

#[test]
fn a_client_that_was_away_gets_what_it_missed() {
    let io = builder().connection_state_recovery(Recovery::new()).build();
    io.on_connect(async |socket: Socket| socket.join("room"));
    let test = TestServer::new(io);
    let client = test.connect("/");
    let id = client.id();
    test.server().to("room").emit("before", (1, BYTES));
    assert_eq!(client.expect_event::<(u8, Bytes)>("before"), (1, BYTES));
    client.offline();
    test.advance(Duration::from_secs(1));
    let list: Vec<u32> = (0..20).collect();
    test.server().to("room").emit("missed", (2, BYTES, &list));
    test.server().to("room").emit("missed", (3, BYTES, &list));
    client.online();
    for number in [2, 3] {
        let missed: (u8, Bytes, Vec<u32>) = client.expect_event("missed");
        assert_eq!(missed, (number, BYTES, list.clone()));
    }
    assert!(client.id() == id && client.socket().recovered());
    client.expect_no("missed");
}

#[test]
fn servers_of_a_cluster_may_use_different_parsers() {
    let dialects: [Dialect; 3] =
        [Classic::default().into(), Sharded::default().into(), Streams::default().into()];
    for dialect in dialects {
        let bus = MemoryBus::new();
        let parsers = [Parser::MessagePack, Parser::Text, Parser::MessagePack];
        let mut tests = Vec::<TestServer>::new();
        for parser in parsers {
            let adapter = Adapter::new(dialect.clone(), bus.clone());
            let io = Server::builder().parser(parser).adapter(adapter).build();
            let test = match tests.first() {
                Some(first) => first.beside(io),
                None => TestServer::new(io),
            };
            tests.push(test);
        }
        tests.iter().for_each(TestServer::settle);
        let clients: Vec<_> = tests.iter().map(|test| test.connect("/")).collect();
        clients.iter().for_each(|client| client.socket().on("ask", async |Data(it): Data<Bytes>| it));
        for test in &tests {
            test.server().emit("plain", ("text", u64::MAX, json!({ "a": [null] })));
            test.server().emit("bytes", ("text", BYTES));
            for client in &clients {
                let plain: (String, u64, Value) = client.expect_event("plain");
                assert_eq!(plain, ("text".into(), u64::MAX, json!({ "a": [null] })), "{dialect:?}");
                assert_eq!(client.expect_event::<(String, Bytes)>("bytes"), ("text".into(), BYTES));
            }
            let answers = test.server().emit_with_ack::<Bytes>("ask", BYTES);
            let answers = test.block_on(answers);
            assert_eq!(answers.values().filter(|bytes| **bytes == BYTES).count(), 3, "{dialect:?}");
        }
    }
}

#[test]
fn events_wait_for_a_connection_and_are_sent_again() {
    let io = builder().build();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let notes = heard.clone();
    io.on("n", move |Data((number, bytes)): Data<(u8, Bytes)>| {
        assert_eq!(bytes, BYTES);
        notes.lock().unwrap().push(number);
        std::future::ready(())
    });
    let test = TestServer::new(io);
    for retries in [0, 3] {
        let settings = |builder: sockeye::client::ClientBuilder| {
            builder.retries(retries).offline(Offline::Buffer { bytes: 4000, age: None })
        };
        let client = test.client().settings(settings).connect("/");
        let outgoing = Arc::new(Mutex::new(Vec::new()));
        let notes = outgoing.clone();
        client.socket().on_any_outgoing(move |args: Data<(u8, Bytes)>| {
            notes.lock().unwrap().push(args.0);
            std::future::ready(())
        });
        client.offline();
        test.advance(Duration::from_secs(1));
        for number in [1, 2, 3] {
            client.emit("n", (number, BYTES));
        }
        assert!(heard.lock().unwrap().is_empty());
        client.online();
        test.advance(Duration::from_secs(10));
        assert_eq!(std::mem::take(&mut *heard.lock().unwrap()), [1, 2, 3], "{retries} retries");
        let expected = [1, 2, 3].map(|number| (number, BYTES));
        assert_eq!(*outgoing.lock().unwrap(), expected);
    }
}

/// Collects the binary messages of a client, and counts the texts.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Messages>>);

#[derive(Default)]
struct Messages {
    binary: Vec<(Direction, Vec<u8>)>,
    texts: usize,
}

impl ClientObserver for Seen {
    fn packet(&self, direction: Direction, info: &ClientPacketInfo<'_>) {
        let mut seen = self.0.lock().unwrap();
        match info.packet {
            Packet::Message(Message::Binary(data)) => seen.binary.push((direction, data.to_vec())),
            Packet::Message(Message::Text(_)) => seen.texts += 1,
            _ => {}
        }
    }
}

#[test]
fn each_packet_is_one_binary_message() {
    for transport in [Transport::Polling, Transport::WebSocket] {
        let test = TestServer::new(echo());
        let seen = Seen::default();
        let observer = seen.clone();
        let client =
            test.client().transport(transport).settings(|builder| builder.observer(observer)).connect("/");
        let _: (Bytes, String) = client.ask("bytes", ("text", BYTES));
        client.disconnect();
        let messages = std::mem::take(&mut *seen.0.lock().unwrap());
        assert_eq!(messages.texts, 0);
        let kinds = messages.binary.iter().map(|(direction, data)| {
            let at = data.windows(5).position(|window| window == b"\xa4type").unwrap();
            (*direction, data[at + 5])
        });
        let expected = [
            (Direction::Out, 0),
            (Direction::In, 0),
            (Direction::Out, 2),
            (Direction::In, 2),
            (Direction::In, 3),
            (Direction::Out, 1),
        ];
        assert_eq!(kinds.collect::<Vec<_>>(), expected, "{transport:?}");
    }
}

#[test]
fn a_client_with_another_parser_is_told_nothing_and_closed() {
    for (server, client) in [(Parser::MessagePack, Parser::Text), (Parser::Text, Parser::MessagePack)] {
        let test = TestServer::new(Server::builder().parser(server).build());
        let settings = |builder: sockeye::client::ClientBuilder| builder.parser(client).reconnection(false);
        for transport in [Transport::Polling, Transport::WebSocket] {
            let error = test.client().transport(transport).settings(settings).connect_error("/");
            assert!(error.to_string().contains("the server closed the connection"), "{error}");
            assert_eq!(test.server().sockets().len(), 0);
        }
    }
}
