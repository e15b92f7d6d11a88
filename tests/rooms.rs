//! Rooms, and the recipients of broadcasts.
#![allow(missing_docs, clippy::unwrap_used)]

mod simulation;

use bytes::Bytes;
use simulation::{Client, Gate, Sim, ends};
use sockeye::extract::Data;
use sockeye::{AckError, ConnectError, Delivery, EmitError, JoinError, Server, Socket};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};

/// A simulation with `N` clients, and their sockets.
fn connect<const N: usize>() -> (Sim, [Client; N], [Socket; N]) {
    let sim = Sim::new(Server::new());
    let clients = std::array::from_fn(|_| sim.connect());
    let sockets = clients.each_ref().map(|client| sim.server().of("/").socket(&client.id).unwrap());
    (sim, clients, sockets)
}

/// Returns the indices of the clients that got a message, and checks that none got two.
fn reached<const N: usize>(clients: &[Client; N]) -> Vec<usize> {
    let counts = clients.each_ref().map(|client| client.texts().len());
    assert!(counts.iter().all(|count| *count <= 1), "{counts:?}");
    (0..N).filter(|i| counts[*i] == 1).collect()
}

fn sorted(mut rooms: Vec<String>) -> Vec<String> {
    rooms.sort();
    rooms
}

#[test]
fn a_socket_joins_and_leaves_rooms() {
    let (sim, clients, [a, b, _]) = connect::<3>();
    a.join("x");
    a.join("x");
    a.join("y");
    b.join("x");
    assert_eq!(sorted(a.rooms()), ["x", "y"]);
    sim.server().to("x").emit("e", ());
    assert_eq!(reached(&clients), [0, 1]);
    a.leave("x");
    a.leave("never there");
    sim.server().to("x").emit("e", ());
    assert_eq!(reached(&clients), [1]);
    assert_eq!(a.rooms(), ["y"]);
    b.leave("x");
    assert_eq!(sim.server().to("x").emit("e", ()), Delivery::default());
    assert_eq!(reached(&clients), [0; 0]);
}

#[test]
fn who_is_in_several_of_the_rooms_is_reached_once() {
    let (sim, clients, [a, b, c, _]) = connect::<4>();
    a.join("x");
    b.join("x");
    b.join("y");
    c.join("y");
    let delivery = sim.server().to("x").to("y").within("x").emit("e", ());
    assert_eq!((delivery.sent, delivery.dropped, delivery.error), (3, 0, None));
    assert_eq!(reached(&clients), [0, 1, 2]);
}

#[test]
fn a_socket_s_broadcast_leaves_itself_out() {
    let (_sim, clients, [a, b, c]) = connect::<3>();
    a.join("x");
    b.join("x");
    a.broadcast().emit("e", ());
    assert_eq!(reached(&clients), [1, 2]);
    a.to("x").emit("e", ());
    assert_eq!(reached(&clients), [1]);
    a.within("x").emit("e", ());
    assert_eq!(reached(&clients), [0, 1]);
    a.except("x").emit("e", ());
    assert_eq!(reached(&clients), [2]);
    a.local().emit("e", ());
    assert_eq!(reached(&clients), [1, 2]);
    // To another socket, and to itself, which it excludes.
    c.to(a.id()).to(c.id()).emit("e", ());
    assert_eq!(reached(&clients), [0]);
}

#[test]
fn rooms_can_be_left_out() {
    let (sim, clients, [a, b, c]) = connect::<3>();
    a.join("x");
    b.join("x");
    b.join("y");
    c.join("y");
    sim.server().except("x").emit("e", ());
    assert_eq!(reached(&clients), [2]);
    sim.server().to("x").except("y").emit("e", ());
    assert_eq!(reached(&clients), [0]);
    sim.server().except(a.id()).except("nobody").emit("e", ());
    assert_eq!(reached(&clients), [1, 2]);
    sim.server().except("x").except("y").emit("e", ());
    assert_eq!(reached(&clients), [0; 0]);
}

#[test]
fn the_id_of_a_socket_is_a_room() {
    let (sim, clients, [a, b]) = connect::<2>();
    sim.server().to(a.id()).emit("e", ());
    assert_eq!(reached(&clients), [0]);
    assert_eq!(a.rooms(), [""; 0]);
    // Another socket joins the room of that id; the owner of the id is still reached once.
    b.join(a.id());
    a.join(a.id());
    sim.server().to(a.id()).emit("e", ());
    assert_eq!(reached(&clients), [0, 1]);
    a.leave(a.id());
    sim.server().to(a.id()).emit("e", ());
    assert_eq!(reached(&clients), [0, 1]);
}

#[test]
fn namespaces_have_rooms_of_their_own() {
    let sim = Sim::new(Server::new());
    let other = sim.server().of("/other");
    let mut client = sim.connect();
    client.join("/other");
    sim.server().sockets()[0].join("x");
    other.sockets()[0].join("y");
    assert_eq!(other.to("x").emit("e", ()).sent, 0);
    assert_eq!(other.to("y").emit("e", 1).sent, 1);
    assert_eq!(client.next(), r#"42/other,["e",1]"#);
    assert_eq!(other.sockets()[0].rooms(), ["y"]);
}

#[test]
fn many_sockets_join_leave_and_are_disconnected_at_once() {
    let (sim, clients, [a, b, c]) = connect::<3>();
    a.join("x");
    b.join("x");
    sim.server().to("x").sockets_join("y");
    c.join("y");
    sim.server().to("y").except("x").sockets_leave("y");
    assert_eq!(sim.server().to("y").sockets().len(), 2);
    sim.server().to("y").disconnect_sockets(false);
    assert_eq!(reached(&clients), [0, 1]);
    sim.server().local().disconnect_sockets(true);
    assert!(clients[2].is_closed() && !clients[0].is_closed());
    assert_eq!(sim.server().sockets().len(), 0);
}

#[test]
fn rooms_are_visible_in_the_disconnect_handler_and_gone_afterwards() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let server = Server::new();
    server.on_connect({
        let seen = seen.clone();
        move |socket: Socket| {
            socket.join("x");
            let seen = seen.clone();
            socket.on_disconnect(move |socket: Socket, server: Server| {
                let members = server.to("x").sockets().len();
                seen.lock().unwrap().push((socket.rooms(), members, socket.is_connected()));
                async {}
            });
            async {}
        }
    });
    let sim = Sim::new(server);
    let client = sim.connect();
    let socket = sim.server().sockets().remove(0);
    client.close();
    assert_eq!(*seen.lock().unwrap(), [(vec!["x".to_owned()], 0, false)]);
    assert_eq!(socket.rooms(), [""; 0]);
    // Calls after the end are ignored.
    socket.join("x");
    assert_eq!(socket.rooms(), [""; 0]);
    assert_eq!(sim.server().to("x").sockets().len(), 0);
    socket.leave("x");
}

#[test]
fn a_broadcast_in_the_disconnect_handler_does_not_reach_the_socket_that_left() {
    let ways: [fn(&Client, &Socket); 4] = [
        |client, _| client.send("41"),
        |_, socket| socket.disconnect(false),
        |_, socket| socket.disconnect(true),
        |client, _| client.close(),
    ];
    for end in ways {
        let server = Server::new();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let answers = asked.clone();
        server.on_connect(move |socket: Socket| {
            socket.join("x");
            let answers = answers.clone();
            socket.on_disconnect(move |socket: Socket| {
                let all = socket.namespace().emit("left", ());
                let room = socket.within("x").emit("left", ());
                let own = socket.namespace().to(socket.id()).emit("left", ());
                assert_eq!([all, room, own].map(|it| (it.sent, it.dropped)), [(1, 0), (1, 0), (0, 0)]);
                let answers = answers.clone();
                async move {
                    let got = socket.namespace().emit_with_ack::<u32>("ask", ()).await;
                    answers.lock().unwrap().extend(got.all().unwrap());
                }
            });
            async {}
        });
        let sim = Sim::new(server);
        let (leaver, other) = (sim.connect(), sim.connect());
        let socket = sim.server().of("/").socket(&leaver.id).unwrap();
        end(&leaver, &socket);
        assert_eq!(other.texts(), [r#"42["left"]"#, r#"42["left"]"#, r#"420["ask"]"#]);
        other.send("430[7]");
        assert_eq!(*asked.lock().unwrap(), [7]);
        assert!(leaver.texts().iter().all(|text| text == "41"));
        if !leaver.is_closed() {
            // The next socket of the same connection is not reached either.
            leaver.send("40");
            assert!(leaver.next().starts_with("40"));
            leaver.expect_nothing();
            assert_eq!(socket.emit("late", ()), Err(EmitError::Disconnected));
            socket.namespace().to(socket.id()).emit("late", ());
            leaver.expect_nothing();
        }
    }
}

#[test]
fn a_broadcast_in_the_disconnect_handler_does_not_reach_a_polling_client_that_left() {
    let server = Server::new();
    server.on_connect(async |socket: Socket| {
        socket.on_disconnect(async |socket: Socket| {
            socket.namespace().emit("left", ());
        });
    });
    let sim = Sim::new(server);
    let mut client = sim.polling();
    client.join();
    assert_eq!(client.post("41"), 200);
    assert_eq!(client.post("40"), 200);
    let packets = client.poll();
    assert!(packets.len() == 1 && packets[0].starts_with("40"), "{packets:?}");
}

#[test]
fn a_socket_joins_no_more_rooms_than_it_may() {
    let server = Server::builder().max_rooms(3).build();
    server.middleware(async |socket: Socket| {
        let joined = ["a", "b", "a", "c", "d"].map(|room| socket.try_join(room));
        assert_eq!(joined, [Ok(()), Ok(()), Ok(()), Ok(()), Err(JoinError::TooManyRooms { limit: 3 })]);
        socket.leave("c");
        Ok(())
    });
    server.on_connect(async |socket: Socket| {
        socket.on("join", async |socket: Socket, Data(room): Data<String>| socket.try_join(room));
    });
    let sim = Sim::new(server);
    let client = sim.connect();
    let socket = sim.server().sockets().remove(0);
    client.send(r#"421["join","c"]"#);
    assert_eq!(client.next(), "431[]");
    client.send(r#"422["join","d"]"#);
    client.expect_nothing();
    socket.join("e");
    sim.server().to("a").sockets_join("f");
    assert_eq!(sorted(socket.rooms()), ["a", "b", "c"]);
    assert_eq!(socket.try_join("a"), Ok(()));
    socket.leave("a");
    assert_eq!(socket.try_join("d"), Ok(()));
    client.close();
    assert_eq!(socket.try_join("a"), Err(JoinError::Disconnected));
}

#[test]
fn a_hundred_thousand_rooms_of_one_socket_are_joined_seen_and_left() {
    const MANY: usize = 100_000;
    let (sim, [client, other], [a, b]) = connect::<2>();
    for n in 0..MANY {
        a.try_join(n.to_string()).unwrap();
    }
    // The default limit.
    assert_eq!(a.try_join("more"), Err(JoinError::TooManyRooms { limit: MANY }));
    b.join("7");
    assert_eq!((a.rooms().len(), sim.server().to("7").sockets().len()), (MANY, 2));
    (0..MANY / 2).for_each(|n| a.leave(n.to_string()));
    assert_eq!((a.rooms().len(), sim.server().to("7").sockets().len()), (MANY / 2, 1));
    client.close();
    assert!(a.rooms().is_empty());
    assert_eq!(sim.server().to((MANY - 1).to_string()).sockets().len(), 0);
    assert_eq!(sim.server().to("7").emit("e", ()).sent, 1);
    assert_eq!(other.texts(), [r#"42["e"]"#]);
}

#[test]
fn rooms_that_are_joined_in_a_middleware_count_once_the_client_is_in() {
    let server = Server::new();
    let gate = Gate::default();
    server.middleware({
        let gate = gate.clone();
        move |socket: Socket| {
            socket.join("x");
            socket.join("y");
            socket.join("y");
            socket.leave("x");
            let gate = gate.clone();
            async move {
                gate.wait().await;
                match socket.auth::<serde_json::Value>() {
                    Ok(auth) if auth["ok"] == true => Ok(()),
                    _ => Err(ConnectError::new("no")),
                }
            }
        }
    });
    let sim = Sim::new(server);
    let (good, bad) = (sim.client(), sim.client());
    good.send(r#"40{"ok":true}"#);
    bad.send("40");
    assert_eq!(sim.server().to("y").sockets().len(), 0);
    gate.open();
    assert!(good.next().starts_with("40") && bad.next().starts_with("44"));
    let sockets = sim.server().to("y").sockets();
    assert_eq!(sockets.len(), 1);
    assert_eq!(sockets[0].rooms(), ["y"]);
    assert_eq!(sim.server().to("x").sockets().len(), 0);
}

#[test]
fn a_broadcast_reaches_polling_clients_and_binary_data_stays_with_its_event() {
    let (sim, [client], _) = connect::<1>();
    let mut polling = sim.polling();
    polling.join();
    polling.begin_poll();
    sim.server().emit("e", ("x", Bytes::from_static(b"abc")));
    let event = r#"451-["e","x",{"_placeholder":true,"num":0}]"#;
    assert_eq!(client.next(), event);
    assert_eq!(client.next_binary(), b"abc");
    assert_eq!(polling.packets(), [event, "bYWJj"]);
}

#[test]
fn what_is_volatile_is_dropped_whole_for_who_is_not_ready() {
    let (sim, [a, b], [socket, _]) = connect::<2>();
    a.stop_reading();
    // More than the network takes: it waits on this side.
    socket.emit("big", "x".repeat(100_000)).unwrap();
    sim.run();
    for _ in 0..3 {
        let delivery = sim.server().volatile().emit("v", Bytes::from_static(b"abc"));
        assert_eq!((delivery.sent, delivery.dropped), (1, 1));
        assert!(matches!(socket.volatile().emit("v", ()), Err(EmitError::NotReady)));
        let answer = sim.spawn(socket.volatile().emit_with_ack::<()>("v", ()));
        assert!(matches!(answer.take(), Some(Err(AckError::Emit(EmitError::NotReady)))));
        assert!(b.next().starts_with("451-"));
        assert_eq!(b.next_binary(), b"abc");
    }
    a.resume_reading();
    assert!(a.next().starts_with(r#"42["big"#));
    a.expect_nothing();
    assert_eq!(sim.server().volatile().emit("v", 1).sent, 2);
    assert_eq!(a.next(), r#"42["v",1]"#);
    assert!(!a.is_closed());
}

#[test]
fn a_polling_client_is_ready_while_its_poll_waits() {
    let sim = Sim::new(Server::new());
    let mut client = sim.polling();
    client.join();
    assert_eq!(sim.server().volatile().emit("lost", ()).dropped, 1);
    client.begin_poll();
    assert_eq!(sim.server().volatile().emit("v", ()).sent, 1);
    assert_eq!(sim.server().volatile().emit("lost", ()).dropped, 1);
    assert_eq!(client.packets(), [r#"42["v"]"#]);
}

/// A waker that uses the server at once, as an event loop might that runs tasks where they are woken.
struct Eager(Socket);

impl Wake for Eager {
    fn wake(self: Arc<Self>) {
        self.0.join("woken");
        let _ = self.0.volatile().emit("woken", ());
        let _ = self.0.server().map(|server| sockeye_core::host::Host::next_deadline(&server));
    }
}

/// A waker that uses the server when it is dropped.
struct Last(Socket);

impl Wake for Last {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Last {
    fn drop(&mut self) {
        self.0.join("dropped");
        let _ = self.0.emit("dropped", ());
        let _ = self.0.server().map(|server| sockeye_core::host::Host::next_deadline(&server));
    }
}

#[test]
fn nothing_is_locked_while_wakers_are_called_or_dropped() {
    use sockeye_core::drive::Protocol;
    use sockeye_core::host::{Host, Peer};

    let (sim, _clients, [socket, _]) = connect::<2>();
    let server = sim.server().clone();
    let has_more = ends(move || {
        // A connection of its own, driven by hand.
        let now = sockeye_core::Time::ZERO;
        let mut connection = server.accept(now, Peer::default());
        let waker = Waker::from(Arc::new(Eager(socket.clone())));
        connection.set_waker(&waker);
        let mut request = *b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
            Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        assert_eq!(connection.handle_data(now, &mut request), request.len());
        let mut connect = *b"\x81\x82\0\0\0\x0040";
        assert_eq!(connection.handle_data(now, &mut connect), connect.len());
        while let Some(out) = connection.poll_transmit() {
            out.clear();
        }
        server.set_timer_waker(&waker);
        server.emit("e", ());
        assert_eq!(socket.rooms(), ["woken"]);
        let (first, second) = (Last(socket.clone()), Last(socket.clone()));
        connection.set_waker(&Waker::from(Arc::new(first)));
        connection.set_waker(&waker);
        assert_eq!(socket.rooms(), ["woken", "dropped"]);
        server.set_timer_waker(&Waker::from(Arc::new(second)));
        server.set_timer_waker(&waker);

        let mut answer = std::pin::pin!(socket.emit_with_ack::<u32>("a", ()));
        let last = Waker::from(Arc::new(Last(socket.clone())));
        assert!(answer.as_mut().poll(&mut std::task::Context::from_waker(&last)).is_pending());
        drop(last);
        assert!(answer.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
        drop(socket.timeout(std::time::Duration::ZERO).emit_with_ack::<u32>("a", ()));
        connection.poll_transmit().is_some()
    });
    assert!(has_more);
}

#[test]
fn a_socket_that_has_gone_joins_nothing() {
    let (sim, [client, _other], [a, b]) = connect::<2>();
    client.close();
    a.join("x");
    b.join("x");
    sim.server().to("x").sockets_join("y");
    assert!(a.rooms().is_empty());
    assert_eq!(sim.server().to("x").sockets().iter().map(Socket::id).collect::<Vec<_>>(), [b.id()]);
    assert_eq!(sim.server().to("y").emit("e", ()).sent, 1);
    assert_eq!(sorted(b.rooms()), ["x", "y"]);
}

#[test]
fn a_socket_joins_nothing_in_its_disconnect_handler() {
    for first in ["x", ""] {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (server, log) = (Server::new(), seen.clone());
        server.on_connect(move |socket: Socket| {
            if !first.is_empty() {
                socket.join(first);
            }
            let log = log.clone();
            socket.on_disconnect(move |socket: Socket| {
                log.lock().unwrap().push((socket.try_join("late"), socket.rooms().concat()));
                async {}
            });
            async {}
        });
        Sim::new(server).connect().close();
        assert_eq!(*seen.lock().unwrap(), [(Err(JoinError::Disconnected), first.to_owned())]);
    }
}

#[test]
fn a_socket_that_has_left_is_in_no_list() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (server, log) = (Server::new(), seen.clone());
    server.on_connect(move |socket: Socket| {
        socket.join("x");
        socket.disconnect(false);
        let (io, id) = (socket.server().unwrap(), socket.id());
        let lists = [io.sockets(), io.to("x").sockets(), io.to(id).sockets(), io.except("y").sockets()];
        let found = io.of("/").socket(&id).is_some();
        log.lock().unwrap().push((lists.map(|list| list.len()), found));
        async {}
    });
    Sim::new(server).client().send("40");
    assert_eq!(*seen.lock().unwrap(), [([0; 4], false)]);
}
