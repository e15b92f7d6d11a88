//! The events of rooms, and the list of rooms.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../benches/rig/mod.rs"]
mod rig;
mod simulation;

use rig::World;
use simulation::{Calls, Sim};
use sockeye::{ConnectError, Namespace, RoomChange, RoomEvent, Server, Socket};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, mpsc};

impl Calls {
    /// Notes the events of a namespace.
    fn listen(&self, namespace: &Namespace) {
        let log = self.clone();
        namespace.on_room_event(move |event| log.note(in_words(event)));
    }
}

fn in_words(RoomEvent { room, change, .. }: RoomEvent<'_>) -> String {
    match change {
        RoomChange::Created => format!("create {room}"),
        RoomChange::Joined(id) => format!("join {room} {id}"),
        RoomChange::Left(id) => format!("leave {room} {id}"),
        RoomChange::Deleted => format!("delete {room}"),
        change => panic!("{change:?}"),
    }
}

fn counts(namespace: &Namespace) -> Vec<(String, usize)> {
    let mut rooms: Vec<_> = namespace.rooms().into_iter().collect();
    rooms.sort();
    rooms
}

fn rooms<const N: usize>(rooms: [(&str, usize); N]) -> Vec<(String, usize)> {
    rooms.map(|(room, sockets)| (room.to_owned(), sockets)).into()
}

#[test]
fn a_room_is_created_before_its_first_socket_joins_and_deleted_after_its_last_has_left() {
    let (sim, log) = (Sim::new(Server::new()), Calls::default());
    let main = sim.server().of("/");
    log.listen(&main);
    let (first, second) = (sim.connect(), sim.connect());
    let [a, b] = [&first.id, &second.id];
    let own = [a, b].map(|id| [format!("create {id}"), format!("join {id} {id}")]);
    assert_eq!(log.take(), own.concat());
    let sockets = [a, b].map(|id| main.socket(id).unwrap());
    sockets[0].join("x");
    sockets[0].join("x");
    sockets[1].join("x");
    sockets[0].leave("x");
    sockets[0].leave("x");
    sockets[0].leave("never joined");
    main.to("x").sockets_leave("x");
    let x = ["create x".into(), format!("join x {a}"), format!("join x {b}"), format!("leave x {a}")];
    assert_eq!(log.take(), [&x[..], &[format!("leave x {b}"), "delete x".into()]].concat());
}

#[test]
fn rooms_that_are_joined_or_left_together_have_an_event_each() {
    let (sim, log) = (Sim::new(Server::new()), Calls::default());
    let client = sim.connect();
    let (socket, id) = (sim.server().sockets().remove(0), &client.id);
    log.listen(&sim.server().of("/"));
    socket.join(["x", "y"]);
    let joined = ["x", "y"].map(|room| [format!("create {room}"), format!("join {room} {id}")]);
    assert_eq!(log.take(), joined.concat());
    socket.leave_all();
    let left = ["x", "y"].map(|room| [format!("leave {room} {id}"), format!("delete {room}")]);
    assert_eq!(log.take(), left.concat());
}

#[test]
fn rooms_of_a_middleware_are_told_of_once_the_client_is_connected_and_never_if_it_is_refused() {
    let (server, log) = (Server::new(), Calls::default());
    log.listen(&server.of("/"));
    server.middleware(async |socket: Socket| {
        socket.join("x");
        socket.join("y");
        socket.leave("x");
        match socket.auth::<HashMap<String, bool>>() {
            Ok(auth) if auth.is_empty() => Ok(()),
            _ => Err(ConnectError::new("no")),
        }
    });
    let noting = log.clone();
    server.on_connect(move || {
        noting.note("connected");
        async {}
    });
    let sim = Sim::new(server);
    let refused = sim.client();
    refused.send(r#"40{"refuse":true}"#);
    assert!(refused.next().starts_with("44") && log.take().is_empty());
    let id = &sim.connect().id;
    let own = [format!("create {id}"), format!("join {id} {id}")];
    assert_eq!(
        log.take(),
        [&own[..], &["create y".into(), format!("join y {id}"), "connected".into()]].concat()
    );
}

#[test]
fn a_disconnected_socket_leaves_its_rooms_between_its_two_last_handlers() {
    let ways: [fn(&simulation::Client, &Socket); 4] = [
        |client, _| client.send("41"),
        |_, socket| socket.disconnect(false),
        |_, socket| socket.disconnect(true),
        |client, _| client.close(),
    ];
    for end in ways {
        let (server, log) = (Server::new(), Calls::default());
        log.listen(&server.of("/"));
        for name in ["disconnecting", "disconnect"] {
            let noting = log.clone();
            let handler = move || {
                noting.note(name);
                async {}
            };
            match name {
                "disconnect" => server.on_disconnect(handler),
                _ => server.on_disconnecting(handler),
            }
        }
        let sim = Sim::new(server);
        let client = sim.connect();
        let (socket, id) = (sim.server().sockets().remove(0), &client.id);
        socket.join("x");
        log.take();
        end(&client, &socket);
        let left =
            [format!("leave {id} {id}"), format!("delete {id}"), format!("leave x {id}"), "delete x".into()];
        assert_eq!(log.take(), [&["disconnecting".into()], &left[..], &["disconnect".into()]].concat());
    }
}

#[test]
fn the_room_of_an_id_exists_while_its_owner_or_another_socket_is_in_it() {
    let (sim, log) = (Sim::new(Server::new()), Calls::default());
    let main = sim.server().of("/");
    log.listen(&main);
    let (owner, other) = (sim.connect(), sim.connect());
    let [a, b] = [&owner.id, &other.id];
    let [socket, guest] = [a, b].map(|id| main.socket(id).unwrap());
    log.take();
    // It is in that room already, and stays.
    socket.join(a);
    socket.leave(a);
    assert_eq!((log.take().len(), counts(&main)), (0, rooms([])));
    guest.join(a);
    assert_eq!((log.take(), counts(&main)), (vec![format!("join {a} {b}")], rooms([(a, 2)])));
    owner.close();
    assert_eq!((log.take(), counts(&main)), (vec![format!("leave {a} {a}")], rooms([(a, 1)])));
    guest.leave(a);
    assert_eq!(log.take(), [format!("leave {a} {b}"), format!("delete {a}")]);
}

#[test]
fn a_handler_may_change_rooms_and_the_events_of_that_come_after_it() {
    let (sim, log) = (Sim::new(Server::new()), Calls::default());
    let client = sim.connect();
    let noting = log.clone();
    sim.server().on_room_event(move |event| {
        noting.note(format!("begin {}", in_words(event)));
        if let (RoomChange::Joined(id), "x") = (event.change, event.room) {
            let socket = event.namespace.socket(id.as_str()).unwrap();
            socket.join("y");
            assert_eq!(event.namespace.rooms().len(), 2);
        }
        noting.note("end");
    });
    let (socket, id) = (sim.server().sockets().remove(0), &client.id);
    socket.join("x");
    let begun = ["create x".into(), format!("join x {id}"), "create y".into(), format!("join y {id}")];
    let expected: Vec<_> = begun.iter().flat_map(|it| [format!("begin {it}"), "end".into()]).collect();
    assert_eq!(log.take(), expected);
}

#[test]
fn a_handler_that_panics_hides_no_event_from_the_others_or_itself() {
    let (sim, log) = (Sim::new(Server::new()), Calls::default());
    let _client = sim.connect();
    sim.server().on_room_event(|event| panic!("{event:?}"));
    log.listen(&sim.server().of("/"));
    let socket = sim.server().sockets().remove(0);
    socket.join("x");
    socket.leave("x");
    assert_eq!(log.take().len(), 4);
}

#[test]
fn a_handler_hears_of_changes_after_its_registration_and_in_its_namespace_only() {
    let (sim, log) = (Sim::new(Server::new()), Calls::default());
    let other = sim.server().of("/other");
    let mut client = sim.connect();
    let socket = sim.server().sockets().remove(0);
    socket.join("before");
    log.listen(&sim.server().of("/"));
    client.join("/other");
    other.sockets()[0].join("x");
    socket.leave("before");
    assert_eq!(log.take(), [format!("leave before {}", client.id), "delete before".into()]);
}

#[test]
fn a_parent_hears_of_the_rooms_of_all_its_children_before_they_do() {
    let (sim, log) = (Sim::new(Server::new()), Calls::default());
    let tenants = sim.server().of_pattern("/tenant-{id}");
    let mut client = sim.client();
    client.join("/tenant-1");
    let child = sim.server().of("/tenant-1");
    log.listen(&child);
    let noting = log.clone();
    tenants.on_room_event(move |event| noting.note(format!("{}: {}", event.namespace.name(), event.room)));
    child.sockets()[0].join("x");
    let id = child.sockets()[0].id();
    let expected = ["/tenant-1: x", "create x", "/tenant-1: x", &format!("join x {id}")];
    assert_eq!(log.take(), expected);
    let other = client.join("/tenant-2");
    assert_eq!(log.take(), [0; 2].map(|_| format!("/tenant-2: {other}")));
}

#[test]
fn while_a_handler_runs_other_threads_do_not_wait_and_their_events_come_after_it() {
    let (sim, log) = (Sim::new(Server::new()), Calls::default());
    let [first, second] = [sim.connect(), sim.connect()];
    let sockets = [&first.id, &second.id].map(|id| sim.server().of("/").socket(id).unwrap());
    let (begin, begun) = mpsc::channel();
    let (end, ended) = mpsc::channel();
    let (noting, ended) = (log.clone(), Mutex::new(ended));
    sim.server().on_room_event(move |event| {
        if let ("x", RoomChange::Created) = (event.room, event.change) {
            begin.send(()).unwrap();
            let _ = ended.lock().unwrap().recv();
        }
        noting.note(in_words(event));
    });
    let [socket, other] = sockets;
    std::thread::scope(|scope| {
        // Dropped if a check fails, which ends the handler.
        let end = end;
        scope.spawn(|| socket.join("x"));
        begun.recv().unwrap();
        // Returns although the handler is still being called.
        other.join("y");
        assert_eq!(log.take(), [""; 0]);
        end.send(()).unwrap();
    });
    let [a, b] = [&first.id, &second.id];
    assert_eq!(log.take(), ["create x", &format!("join x {a}"), "create y", &format!("join y {b}")]);
}

/// The rooms that the events tell of. Each event is checked against those before it.
#[derive(Default)]
struct Mirror(HashMap<String, HashSet<String>>);

impl Mirror {
    fn apply(&mut self, RoomEvent { room, change, .. }: RoomEvent<'_>) {
        let sockets = self.0.get_mut(room);
        let is_right = match (change, sockets) {
            (RoomChange::Created, None) => self.0.insert(room.into(), HashSet::new()).is_none(),
            (RoomChange::Joined(id), Some(sockets)) => sockets.insert(id.to_string()),
            (RoomChange::Left(id), Some(sockets)) => sockets.remove(id.as_str()),
            (RoomChange::Deleted, Some(sockets)) => {
                sockets.is_empty() && self.0.remove(room).is_some_and(|_| true)
            }
            _ => false,
        };
        assert!(is_right, "{change:?} of {room}");
    }
}

#[test]
fn the_events_of_many_threads_tell_exactly_which_socket_is_in_which_room() {
    const THREADS: usize = 4;
    const ROUNDS: usize = 200;
    let server = Server::new();
    // A panic of the handler would only be logged.
    let mirror = Arc::new(Mutex::new(Ok(Mirror::default())));
    let applying = mirror.clone();
    server.on_room_event(move |event| {
        let mut mirror = applying.lock().unwrap();
        let applied = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            if let Ok(mirror) = &mut *mirror {
                mirror.apply(event);
            }
        }));
        if applied.is_err() {
            *mirror = Err(in_words(event));
        }
    });
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let server = &server;
            scope.spawn(move || {
                let mut world = World::new(server.clone());
                let client = world.websocket();
                for round in 0..ROUNDS {
                    if round % 3 == 2 {
                        world.send(client, &rig::text("40"));
                    }
                    for socket in server.sockets() {
                        socket.join(format!("room {}", (round + thread) % 3));
                        socket.leave(format!("room {}", round % 2));
                    }
                    if round % 3 == 1 {
                        world.send(client, &rig::text("41"));
                    }
                }
            });
        }
    });
    let mirror = mirror.lock().unwrap();
    let mirror = mirror.as_ref().unwrap();
    let named: HashMap<_, _> = mirror.0.iter().filter(|(room, _)| room.starts_with("room ")).collect();
    let listed = server.rooms();
    assert_eq!(named.len(), listed.len());
    for (room, sockets) in named {
        assert_eq!(listed.get(room), Some(&sockets.len()));
    }
    let own = mirror.0.keys().filter(|room| !room.starts_with("room ")).count();
    assert_eq!(own, server.sockets().len());
}

#[test]
fn rooms_are_listed_with_the_number_of_their_sockets() {
    let sim = Sim::new(Server::new());
    let main = sim.server().of("/");
    let clients = [sim.connect(), sim.connect()];
    assert_eq!(counts(&main), rooms([]), "a socket's own room is not listed");
    let [a, b] = clients.each_ref().map(|client| main.socket(&client.id).unwrap());
    a.join("x");
    b.join("x");
    b.join("y");
    assert_eq!(counts(&main), rooms([("x", 2), ("y", 1)]));
    a.leave("x");
    assert_eq!(sim.server().rooms().get("x"), Some(&1));
    clients[1].close();
    assert_eq!(counts(&main), rooms([]));
}
