//! Broadcasts, and changes of many sockets.

use super::support::{client, cluster, cluster_with, dialects, names, sharded, start, take};
use bytes::Bytes;
use sockeye::cluster::{Adapter, Bus, Channel, MemoryBus, Node, RequestId, SubscriptionMode};
use sockeye::extract::Data;
use sockeye::{RoomChange, Server, Socket};
use std::sync::Weak;
use std::time::Duration;

#[test]
fn a_broadcast_reaches_the_sockets_of_all_servers_once() {
    for dialect in dialects() {
        let [a, b, c] = cluster(&dialect);
        let clients = [&a, &b, &b, &c].map(|server| server.connect("/"));
        let delivery = a.server().emit("hello", ("world", Bytes::from_static(b"\x00\xff")));
        assert_eq!((delivery.sent, delivery.published), (1, true));
        for client in &clients {
            let (text, bytes): (String, Bytes) = client.expect_event("hello");
            assert_eq!((&*text, &*bytes), ("world", &b"\x00\xff"[..]), "{dialect:?}");
            client.expect_nothing();
        }
        assert!(!a.server().local().emit("here", ()).published);
        clients[0].expect("here");
        clients.iter().for_each(|client| client.expect_nothing());
    }
}

#[test]
fn rooms_and_exceptions_hold_on_all_servers() {
    for dialect in dialects() {
        let [a, b] = cluster(&dialect);
        let clients = [(&a, &["x"][..]), (&a, &["x", "y"]), (&b, &["x", "y"]), (&b, &["y"])];
        let clients = clients.map(|(server, rooms)| client(server, rooms));
        a.server().to("x").emit("x", ());
        b.server().to(["x", "y"]).emit("either", ());
        a.server().to("y").except("x").emit("y", ());
        let socket = b.server().of("/").socket(&clients[2].id()).unwrap();
        socket.to("x").emit("others", ());
        a.server().to(clients[3].id()).emit("private", ());
        a.settle();
        let expected = [
            &["x", "either", "others"][..],
            &["x", "either", "others"],
            &["x", "either"],
            &["either", "y", "private"],
        ];
        for (client, expected) in clients.iter().zip(expected) {
            let mut names = names(client);
            names.sort();
            let mut expected = expected.to_vec();
            expected.sort_unstable();
            assert_eq!(names, expected, "{dialect:?}");
        }
    }
}

#[test]
fn each_server_gets_the_broadcasts_of_another_in_their_order() {
    for dialect in dialects() {
        let [a, b] = cluster(&dialect);
        let clients = [&a, &b].map(|server| server.connect("/"));
        (0..200).for_each(|number| _ = a.server().emit("n", number));
        for client in &clients {
            let numbers: Vec<i32> = (0..200).map(|_| client.expect_event("n")).collect();
            assert!(numbers.iter().copied().eq(0..200), "{dialect:?}");
            client.expect_nothing();
        }
    }
}

#[test]
fn namespaces_of_one_name_are_one_in_the_cluster() {
    for dialect in dialects() {
        let [a, b] = cluster(&dialect);
        let (main, chat) = (b.connect("/"), b.connect("/chat"));
        a.server().of("/chat").emit("hello", ());
        chat.expect("hello");
        main.expect_nothing();
        a.server().of("/elsewhere").emit("hello", ());
        a.settle();
        main.expect_nothing();
    }
}

#[test]
fn a_volatile_broadcast_is_dropped_for_clients_of_another_server_that_are_not_ready() {
    for dialect in dialects() {
        let [a, b] = cluster(&dialect);
        let ready = b.connect("/");
        let stalled = b.connect("/");
        stalled.stall();
        a.server().emit("first", "x".repeat(1 << 20));
        ready.expect("first");
        a.server().volatile().emit("second", ());
        ready.expect("second");
        stalled.resume();
        stalled.expect("first");
        stalled.expect_nothing();
    }
}

#[test]
fn sockets_of_all_servers_join_leave_and_are_disconnected() {
    for dialect in dialects() {
        let [a, b] = cluster(&dialect);
        let clients = [client(&a, &["x"]), client(&b, &["x"]), client(&b, &["y"])];
        a.server().to("x").sockets_join(["new", "other"]);
        a.settle();
        let rooms = |client: usize| {
            let server = [&a, &b, &b][client].server();
            let mut rooms = server.of("/").socket(&clients[client].id()).unwrap().rooms();
            rooms.sort();
            rooms
        };
        assert_eq!(
            [rooms(0), rooms(1), rooms(2)].map(|it| it.join(" ")),
            ["new other x", "new other x", "y"]
        );
        b.server().to("new").emit("moved", ());
        clients[0].expect("moved");
        clients[1].expect("moved");
        b.server().sockets_leave("new");
        a.server().local().sockets_leave("other");
        a.settle();
        assert_eq!(
            [rooms(0), rooms(1), rooms(2)].map(|it| it.join(" ")),
            ["x", "other x", "y"],
            "{dialect:?}"
        );
        a.server().to(["x", "y"]).except("other").disconnect_sockets(false);
        clients[0].expect_disconnect("io server disconnect");
        clients[2].expect_disconnect("io server disconnect");
        clients[1].expect_nothing();
        a.server().disconnect_sockets(true);
        clients[1].expect_disconnect("io server disconnect");
    }
}

#[test]
fn what_was_sent_before_a_disconnect_arrives_before_it() {
    for dialect in dialects() {
        let [a, b] = cluster(&dialect);
        let clients = [&a, &b].map(|server| client(server, &["x", "a long private room"]));
        for (number, room) in ["x", "a long private room"].into_iter().enumerate() {
            a.server().to(room).emit("last", number);
        }
        let [_, id] = clients.each_ref().map(|client| client.id());
        a.server().to(id).emit("last", 2);
        a.server().to("x").disconnect_sockets(true);
        for (client, count) in clients.iter().zip([2, 3]) {
            client.expect_disconnect("io server disconnect");
            assert_eq!(names(client), vec!["last"; count], "{dialect:?}");
        }
    }
}

#[test]
fn a_room_is_watched_from_its_first_socket_to_its_last() {
    let dialect = sharded(SubscriptionMode::Dynamic);
    let [a, b] = cluster(&dialect);
    b.server().on(
        "room",
        async |socket: Socket, Data((room, joins)): Data<(String, bool)>| {
            if joins { socket.join(room) } else { socket.leave(room) }
        },
    );
    let clients = [b.connect("/"), b.connect("/")];
    let round = |expected: [bool; 2]| {
        a.server().to("room").emit("n", ());
        a.settle();
        for (client, expected) in clients.iter().zip(expected) {
            assert_eq!(names(client).len(), usize::from(expected));
        }
    };
    round([false, false]);
    clients[0].ask::<()>("room", ("room", true));
    round([true, false]);
    clients[1].ask::<()>("room", ("room", true));
    clients[0].ask::<()>("room", ("room", false));
    round([false, true]);
    clients[1].ask::<()>("room", ("room", false));
    round([false, false]);
    clients[0].ask::<()>("room", ("room", true));
    round([true, false]);
}

#[test]
fn rooms_of_deleted_namespaces_are_watched_anew() {
    for dialect in dialects() {
        let [a, b] = cluster(&dialect);
        let old = client(&b, &[]).connect("/chat");
        b.server().of("/chat").sockets_join("room");
        a.server().of("/chat").to("room").emit("n", 1);
        assert_eq!(old.expect_event::<i32>("n"), 1);
        assert!(b.server().delete_namespace("/chat"));
        old.expect_disconnect("io server disconnect");
        a.server().of("/chat").to("room").emit("n", 2);
        a.settle();
        b.server().of("/chat").on_connect(async |socket: Socket| socket.join("room"));
        let new = b.connect("/chat");
        a.server().of("/chat").to("room").emit("n", 3);
        assert_eq!(new.expect_event::<i32>("n"), 3, "{dialect:?}");
        new.expect_nothing();
    }
}

#[test]
fn dynamic_namespaces_join_and_leave_the_cluster() {
    for dialect in dialects() {
        let [a, b] = cluster_with(&dialect, |_, builder| builder.cleanup_empty_child_namespaces(true));
        for server in [&a, &b] {
            server.server().of_pattern("/tenant-{id}").on_connect(async |socket: Socket| socket.join("all"));
        }
        let first = a.connect("/tenant-1");
        let second = b.connect("/tenant-1");
        let other = b.connect("/tenant-2");
        a.server().of("/tenant-1").to("all").emit("hello", ());
        first.expect("hello");
        second.expect("hello");
        other.expect_nothing();
        let count = |name: &str| a.block_on(a.server().of(name).server_count());
        assert_eq!(count("/tenant-1"), 2);
        second.disconnect();
        assert_eq!(count("/tenant-1"), 1, "{dialect:?}");
        let again = b.connect("/tenant-1");
        a.server().of("/tenant-1").emit("again", ());
        again.expect("again");
    }
}

#[test]
fn room_events_are_told_for_what_another_server_changes() {
    let dialect = sharded(SubscriptionMode::Dynamic);
    let [a, b] = cluster(&dialect);
    let _client = b.connect("/");
    let notes = super::support::Notes::default();
    let told = notes.clone();
    b.server().on_room_event(move |event| {
        if matches!(event.change, RoomChange::Created | RoomChange::Deleted) {
            told.lock().unwrap().push(format!("{:?} {}", event.change, event.room));
        }
    });
    a.server().sockets_join("x");
    a.advance(Duration::from_millis(1));
    a.server().sockets_leave("x");
    a.settle();
    assert_eq!(take(&notes), ["Created x", "Deleted x"]);
}

#[test]
fn deleting_a_namespace_disconnects_the_sockets_of_that_server_only() {
    for dialect in dialects() {
        let [a, b] = cluster(&dialect);
        let (here, there) = (a.connect("/chat"), b.connect("/chat"));
        a.server().delete_namespace("/chat");
        here.expect_disconnect("io server disconnect");
        there.expect_nothing();
        assert_eq!(b.server().of("/chat").sockets_count(), 1, "{dialect:?}");
    }
}

#[test]
fn a_parent_reaches_its_children_on_all_servers() {
    for dialect in dialects() {
        let [a, b] = cluster(&dialect);
        let parents = [&a, &b].map(|server| server.server().of_pattern("/room-{n}"));
        let (here, there, other) = (a.connect("/room-1"), b.connect("/room-1"), b.connect("/room-2"));
        let delivery = parents[0].emit("hello", ());
        assert!(delivery.sent == 1 && delivery.published, "{dialect:?}");
        here.expect("hello");
        there.expect("hello");
        other.expect_nothing();
        assert!(!parents[0].local().emit("here", ()).published);
        here.expect("here");
        there.expect_nothing();
    }
}

#[test]
fn rooms_of_any_name_are_reached_on_all_servers() {
    let long = "r".repeat(300);
    let rooms =
        ["7", "-0", "", " ", "a#b", "#", "/chat#x", "*", "a[b]?", "\u{1e}", "räume 😀", "__proto__", &long];
    for dialect in dialects() {
        let [a, b] = cluster(&dialect);
        let clients: Vec<_> =
            rooms.iter().enumerate().map(|(at, room)| client([&a, &b][at % 2], &[*room])).collect();
        for room in rooms {
            a.server().to(room).emit("to", room);
            b.server().except(room).emit("except", room);
        }
        a.settle();
        for (client, room) in clients.iter().zip(rooms) {
            let got: Vec<(String, String)> = client
                .received()
                .iter()
                .map(|event| (event.event().to_owned(), event.args().deserialize().unwrap()))
                .collect();
            let to: Vec<_> = got.iter().filter(|(event, _)| event == "to").map(|(_, room)| &**room).collect();
            assert_eq!(to, [room], "{dialect:?}");
            let mut others: Vec<_> = rooms.into_iter().filter(|other| *other != room).collect();
            let mut except: Vec<_> =
                got.iter().filter(|(event, _)| event == "except").map(|(_, room)| &**room).collect();
            others.sort_unstable();
            except.sort_unstable();
            assert_eq!(except, others, "{room:?} {dialect:?}");
        }
    }
}

/// A bus that loses what is sent to other servers.
struct Lossy(MemoryBus);

impl Bus for Lossy {
    fn attach(&self, node: Weak<dyn Node>) {
        self.0.attach(node);
    }

    fn watch(&self, channel: &Channel, on: bool) {
        self.0.watch(channel, on);
    }

    fn publish(&self, _: &Channel, _: Bytes) {}

    fn append(&self, _: &Channel, _: Vec<(&'static str, Bytes)>) {}

    fn count(&self, channel: &Channel, request: RequestId) {
        self.0.count(channel, request);
    }
}

#[test]
fn the_own_clients_do_not_notice_that_the_bus_loses_everything() {
    for dialect in dialects() {
        let adapter = Adapter::new(dialect.clone(), Lossy(MemoryBus::new()));
        let test = start(None, Server::builder().adapter(adapter).build());
        let [one, two] = [client(&test, &["x"]), client(&test, &["x", "y"])];
        test.server().to("x").except("y").emit("one", ());
        test.server().emit("both", ());
        test.server().within("y").sockets_join("z");
        test.server().to("z").emit("two", ());
        test.server().within("x").disconnect_sockets(false);
        test.settle();
        assert_eq!(
            (names(&one), names(&two)),
            (vec!["one".into(), "both".into()], vec!["both".into(), "two".into()])
        );
        assert!(!one.is_connected() && !two.is_connected(), "{dialect:?}");
    }
}
