//! Requests to other servers: acknowledgements, sockets, events between servers, and servers that are silent.

use super::support::{Notes, client, cluster, cluster_with, dialects, sharded, start, take};
use bytes::Bytes;
use serde_json::{Value, json};
use sockeye::cluster::{
    Adapter, Bus, Channel, ClusterEvent, ClusterLimits, MemoryBus, Node, RequestId, SubscriptionMode,
};
use sockeye::extract::Data;
use sockeye::testing::{TestClient, TestServer};
use sockeye::{AckError, Answers, EmitError, Namespace, RemoteSocket, Server, Socket};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Lets a client answer `ask` with a number.
fn answers(client: &TestClient, answer: i64) {
    client.socket().on("ask", move |Data(add): Data<i64>| async move { answer + add });
}

fn values(answers: &Answers<i64>) -> Vec<i64> {
    let mut values: Vec<_> = answers.values().copied().collect();
    values.sort_unstable();
    values
}

#[test]
fn clients_of_all_servers_acknowledge_a_broadcast() {
    for dialect in dialects() {
        let [a, b, c] = cluster(&dialect);
        let clients = [client(&a, &["x"]), client(&b, &["x"]), client(&b, &["x"]), client(&c, &["y"])];
        clients.iter().zip([10, 20, 30, 40]).for_each(|(client, answer)| answers(client, answer));
        let got = a.block_on(a.server().emit_with_ack::<i64>("ask", 1));
        assert_eq!(values(&got), [11, 21, 31, 41], "{dialect:?}");
        assert!(got.is_complete(), "{got:?}");
        assert_eq!(got.answers.iter().filter(|answer| answer.socket.is_some()).count(), 1);
        let got = c.block_on(c.server().to("x").emit_with_ack::<i64>("ask", 2));
        assert_eq!(values(&got), [12, 22, 32]);
        assert!(got.is_complete());
        let got = a.block_on(a.server().to("nobody").emit_with_ack::<i64>("ask", 2));
        assert!(got.is_complete() && got.answers.is_empty());
        let got = a.block_on(a.server().local().emit_with_ack::<i64>("ask", 0));
        assert_eq!(values(&got), [10]);
        assert_eq!(a.elapsed(), Duration::ZERO, "nothing has waited for a timeout");
    }
}

#[test]
fn answers_of_other_servers_are_taken_as_they_arrive_and_may_be_binary() {
    for dialect in dialects() {
        let [a, b] = cluster(&dialect);
        let (quick, silent) = (b.connect("/"), b.connect("/"));
        quick.socket().on("ask", async || Bytes::from_static(b"\x00\xff"));
        silent.socket().on("ask", async || std::future::pending::<()>().await);
        let mut stream = a.server().timeout(3 * SECOND).emit_with_ack::<Bytes>("ask", ());
        let first = a.block_on(stream.next()).unwrap();
        assert_eq!(first.value.unwrap(), &b"\x00\xff"[..], "{dialect:?}");
        assert_eq!(a.elapsed(), Duration::ZERO);
        let rest = a.block_on(stream);
        assert!(rest.answers.is_empty() && rest.missing.is_empty());
        // The server is alive, but one of its clients has not answered.
        assert_eq!(rest.silent_servers.len(), 1);
        assert_eq!(a.elapsed(), 3 * SECOND);
    }
}

#[test]
fn a_client_that_leaves_before_it_answers_is_waited_for_until_the_timeout() {
    for dialect in dialects() {
        let [a, b] = cluster(&dialect);
        let (here, there) = (a.connect("/"), b.connect("/"));
        answers(&here, 1);
        there.socket().on("ask", async || std::future::pending::<()>().await);
        let asked = a.server().timeout(2 * SECOND).emit_with_ack::<i64>("ask", 1);
        a.settle();
        there.disconnect();
        let got = a.block_on(asked);
        assert_eq!((values(&got).len(), got.silent_servers.len()), (1, 1), "{dialect:?}");
        assert_eq!(a.elapsed(), 2 * SECOND);
    }
}

#[test]
fn sockets_of_all_servers_are_fetched_with_what_is_known_of_them() {
    for dialect in dialects() {
        let [a, b] = cluster(&dialect);
        let here = client(&a, &["x"]);
        let there =
            b.client().auth(json!({ "rooms": ["x", "y"], "n": 1 })).header("x-test", "yes").connect("/");
        let _other = client(&b, &["z"]);
        let socket = b.server().of("/").socket(&there.id()).unwrap();
        socket.set_shared_data(json!({ "name": "Ann" })).unwrap();
        let found = a.block_on(a.server().to("x").fetch_sockets());
        assert!(found.is_complete());
        let mut found: Vec<RemoteSocket> = found.into_iter().collect();
        found.sort_by_key(|socket| !socket.is_local());
        let [local, remote] = &found[..] else { panic!("{dialect:?}: {found:?}") };
        assert_eq!((local.id().to_string(), remote.id().to_string()), (here.id(), there.id()));
        assert!(local.is_local() && !remote.is_local());
        assert_eq!(remote.shared_data::<Value>().unwrap(), Some(json!({ "name": "Ann" })));
        assert_eq!(local.shared_data_json(), None);
        assert_eq!(remote.auth::<Value>().unwrap()["n"], 1);
        let mut rooms: Vec<_> = remote.rooms().collect();
        rooms.sort_unstable();
        assert_eq!(rooms, ["x", "y"]);
        let (known, original) = (remote.handshake(), socket.handshake());
        assert_eq!((known.url(), known.issued()), (original.url(), original.issued()));
        assert_eq!(known.header("x-test"), Some("yes"));
        assert_eq!(known.address().map(|it| it.ip()), original.address().map(|it| it.ip()));
        assert_eq!(a.block_on(a.server().fetch_sockets()).sockets.len(), 3);
        assert_eq!(a.block_on(a.server().local().fetch_sockets()).sockets.len(), 1);
    }
}

#[test]
fn sockets_that_take_too_many_bytes_are_not_fetched_and_their_servers_are_silent() {
    let (bus, notes) = (MemoryBus::new(), Notes::default());
    let server = |limits: ClusterLimits| {
        let told = notes.clone();
        let builder = Server::builder().adapter(Adapter::sharded(bus.clone()).limits(limits));
        let server = builder.on_cluster_event(move |event| {
            if let ClusterEvent::MessageIgnored { cause, .. } = event {
                told.lock().unwrap().push(format!("{cause:?}"));
            }
        });
        server.build()
    };
    let limited = |max_fetched| ClusterLimits { max_fetched, ..ClusterLimits::default() };
    let a = start(None, server(limited(8_000)));
    let b = start(Some(&a), server(limited(1_000_000)));
    let c = start(Some(&a), server(ClusterLimits { max_message: 8_000, ..ClusterLimits::default() }));
    a.settle();
    let large = "x".repeat(1000);
    let connect = |to: &TestServer| to.client().header("x-large", &large).connect("/");
    let (_small, _large) = (b.connect("/"), [&c; 4].map(connect));
    let counts = |of: &TestServer| {
        let found = of.block_on(of.server().fetch_sockets());
        (found.sockets.len(), found.silent_servers.len())
    };
    assert_eq!((counts(&a), counts(&b)), ((5, 0), (5, 0)));
    let _more = [&b; 4].map(connect);
    a.settle();
    assert_eq!(counts(&b), (9, 0));
    assert!(take(&notes).is_empty());
    // Of two servers, one is too much.
    let (found, silent) = counts(&a);
    assert!(found < 9 && silent == 1, "{found} {silent}");
    assert_eq!(a.elapsed(), Duration::ZERO, "nothing has waited for a timeout");
    let [cause] = &take(&notes)[..] else { panic!("nothing is told, or too much") };
    assert!(cause.contains("more than 8000 bytes"), "{cause}");

    let _too_many = [&c; 8].map(connect);
    assert_eq!(counts(&b), (5, 1), "a list that the others might not read is not sent");
}

/// A bus over which messages come from the test, which sees what is published.
#[derive(Clone, Default)]
struct Wire {
    node: Arc<Mutex<Option<Weak<dyn Node>>>>,
    published: Notes,
}

impl Bus for Wire {
    fn attach(&self, node: Weak<dyn Node>) {
        *self.node.lock().unwrap() = Some(node);
    }

    fn watch(&self, _: &Channel, _: bool) {}

    fn publish(&self, _: &Channel, message: Bytes) {
        self.published.lock().unwrap().push(String::from_utf8_lossy(&message).into_owned());
    }

    fn append(&self, _: &Channel, _: Vec<(&'static str, Bytes)>) {}

    fn count(&self, _: &Channel, _: RequestId) {}

    fn flush(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::ready(()))
    }
}

#[test]
fn ids_that_an_old_server_asks_for_are_sent_though_the_whole_sockets_would_take_too_many_bytes() {
    let wire = Wire::default();
    let limits = ClusterLimits { max_message: 2_000, ..ClusterLimits::default() };
    let server = Server::builder().adapter(Adapter::classic(wire.clone()).limits(limits)).build();
    let test = start(None, server);
    let large = "x".repeat(1000);
    let _clients = [&test; 4].map(|to| to.client().header("x-large", &large).connect("/"));
    let ask = |kind: u8| {
        take(&wire.published);
        let node = wire.node.lock().unwrap().as_ref().and_then(Weak::upgrade).unwrap();
        let message = json!({ "uid": "other1", "requestId": "r", "type": kind, "rooms": [], "opts": {} });
        node.handle_message("socket.io-request#/#", message.to_string().into());
        take(&wire.published)
    };
    let [answer] = &ask(0)[..] else { panic!("one answer") };
    let answer: Value = serde_json::from_str(answer).unwrap();
    assert_eq!(answer["sockets"].as_array().unwrap().len(), 4);
    assert!(ask(5).is_empty(), "the whole sockets");
}

#[test]
fn a_fetched_socket_of_another_server_is_sent_to_asked_moved_and_disconnected() {
    for dialect in dialects() {
        let [a, b] = cluster(&dialect);
        let (there, other) = (b.connect("/"), b.connect("/"));
        answers(&there, 7);
        let remote = a.block_on(a.server().to(there.id()).fetch_sockets()).sockets.remove(0);
        remote.emit("hello", 1).unwrap();
        assert_eq!(there.expect_event::<i32>("hello"), 1, "{dialect:?}");
        assert_eq!(a.block_on(remote.emit_with_ack::<i64>("ask", 1)).unwrap(), 8);
        remote.join("room");
        a.settle();
        let socket = b.server().of("/").socket(&there.id()).unwrap();
        assert_eq!(socket.rooms(), ["room"]);
        remote.leave("room");
        a.settle();
        assert!(socket.rooms().is_empty());
        remote.timeout(SECOND).volatile().emit("last", ()).unwrap();
        there.expect("last");
        remote.disconnect(false);
        there.expect_disconnect("io server disconnect");
        let gone = a.block_on(remote.timeout(SECOND).emit_with_ack::<i64>("ask", 1));
        assert!(matches!(gone, Err(AckError::Disconnected)), "{gone:?}");
        other.expect_nothing();
    }
}

#[test]
fn events_between_servers_reach_all_others_and_are_answered() {
    for dialect in dialects() {
        let [a, b, c] = cluster(&dialect);
        let notes = Notes::default();
        for (name, server) in [("a", &a), ("b", &b), ("c", &c)] {
            let told = notes.clone();
            server.server().on_server_side_event("note", move |Data(text): Data<String>| {
                told.lock().unwrap().push(format!("{name} {text}"));
                async {}
            });
            server.server().on_server_side_event("add", async |Data((a, b)): Data<(i64, i64)>| a + b);
            server
                .server()
                .of("/chat")
                .on_server_side_event("add", async |of: Namespace| of.name().to_owned());
        }
        b.server().server_side_emit("note", "hello").unwrap();
        b.settle();
        let mut told = take(&notes);
        told.sort();
        assert_eq!(told, ["a hello", "c hello"], "{dialect:?}");
        let sums = a.block_on(a.server().server_side_emit_with_ack::<i64>("add", (2, 3)));
        assert_eq!(values(&sums), [5, 5]);
        assert!(sums.is_complete() && sums.answers.iter().all(|answer| answer.socket.is_none()));
        let names = a.block_on(a.server().of("/chat").server_side_emit_with_ack::<String>("add", (2, 3)));
        assert_eq!(names.all().unwrap(), ["/chat", "/chat"]);
        assert!(matches!(a.server().server_side_emit("connect", ()), Err(EmitError::Encode(_))));
        assert_eq!(a.elapsed(), Duration::ZERO);
    }
}

#[test]
fn a_server_that_does_not_answer_is_named_after_the_timeout() {
    for dialect in dialects() {
        let [a, b, c] = cluster(&dialect);
        b.server().on_server_side_event("ask", async || 1);
        c.server().on_server_side_event("ask", async || std::future::pending::<()>().await);
        let got = a.block_on(a.server().server_side_emit_with_ack::<i64>("ask", ()));
        assert_eq!(values(&got), [1], "{dialect:?}");
        assert_eq!(got.silent_servers.len(), 1);
        assert!(!got.is_complete());
        assert!(matches!(got.all(), Err(AckError::Timeout)));
        assert_eq!(a.elapsed(), 5 * SECOND);
    }
}

#[test]
fn servers_are_counted() {
    for dialect in dialects() {
        let [a, b, c] = cluster(&dialect);
        b.server().of("/b");
        assert_eq!(a.block_on(a.server().server_count()), 3, "{dialect:?}");
        assert_eq!(a.block_on(a.server().of("/b").server_count()), 2);
        c.close();
        assert_eq!(a.block_on(a.server().server_count()), 2);
        assert_eq!(a.block_on(Server::new().server_count()), 1);
    }
}

#[test]
fn a_server_that_dies_in_a_request_is_named_and_forgotten() {
    for mode in [SubscriptionMode::Static, SubscriptionMode::Dynamic] {
        let notes = Notes::default();
        let [a, b] = cluster_with(&sharded(mode), |at, builder| {
            let told = notes.clone();
            builder.on_cluster_event(move |event| match event {
                ClusterEvent::NodeJoined { .. } if at == 0 => told.lock().unwrap().push("joined".into()),
                ClusterEvent::NodeLost { .. } if at == 0 => told.lock().unwrap().push("lost".into()),
                ClusterEvent::NodeLeft { .. } if at == 0 => told.lock().unwrap().push("left".into()),
                _ => {}
            })
        });
        assert_eq!(take(&notes), ["joined"]);
        let there = b.connect("/");
        there.socket().on("ask", async || std::future::pending::<()>().await);
        let asked = a.server().timeout(60 * SECOND).emit_with_ack::<i64>("ask", ());
        a.settle();
        // Without a goodbye.
        drop((there, b));
        let a = a.limit(100 * SECOND);
        let got = a.block_on(asked);
        assert!(got.answers.is_empty() && got.silent_servers.len() == 1, "{got:?}");
        assert_eq!(a.elapsed(), 10 * SECOND, "its silence is noticed before the timeout");
        assert_eq!(take(&notes), ["lost"]);
        let got = a.block_on(a.server().emit_with_ack::<i64>("ask", ()));
        assert!(got.is_complete() && a.elapsed() == 10 * SECOND, "it is not asked again");
    }
}

#[test]
fn an_answer_that_is_not_awaited_any_more_leaves_nothing_behind() {
    for dialect in dialects() {
        let [a, b] = cluster(&dialect);
        let there = b.connect("/");
        answers(&there, 1);
        drop(a.server().emit_with_ack::<i64>("ask", 1));
        drop(a.server().server_side_emit_with_ack::<i64>("ask", 1));
        a.settle();
        assert_eq!(values(&a.block_on(a.server().emit_with_ack::<i64>("ask", 2))), [3], "{dialect:?}");
    }
}

#[test]
fn a_socket_is_asked_by_its_id_from_another_server() {
    for dialect in dialects() {
        let [a, b] = cluster(&dialect);
        let there = b.connect("/");
        answers(&there, 1);
        b.server().on("find", async |socket: Socket| socket.id());
        let got = a.block_on(a.server().to(there.id()).emit_with_ack::<i64>("ask", 2));
        assert_eq!(values(&got), [3], "{dialect:?}");
    }
}
