//! Sockets as they can be known from every server of a cluster, and changes of many sockets.
#![allow(missing_docs, clippy::unwrap_used)]

mod simulation;

use simulation::{Client, Sim};
use sockeye::{AckError, EmitError, FetchedSockets, JoinError, RemoteSocket, Server, Socket};
use std::collections::{BTreeSet, HashSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

fn connect<const N: usize>(sim: &Sim) -> ([Client; N], [Socket; N]) {
    let clients = std::array::from_fn(|_| sim.connect());
    let sockets = clients.each_ref().map(|client| sim.server().of("/").socket(&client.id).unwrap());
    (clients, sockets)
}

/// Returns the result of a future that waits for nothing.
fn fetch(sim: &Sim, fetched: impl Future<Output = FetchedSockets> + Send + 'static) -> Vec<RemoteSocket> {
    let fetched = sim.spawn(fetched);
    sim.run();
    let fetched = fetched.take().expect("nothing has to be waited for");
    assert!(fetched.is_complete() && fetched.silent_servers.is_empty());
    fetched.into_iter().collect()
}

fn ids(sockets: &[RemoteSocket]) -> HashSet<String> {
    let ids: HashSet<_> = sockets.iter().map(|socket| socket.id().to_string()).collect();
    assert_eq!(ids.len(), sockets.len(), "none is found twice");
    ids
}

fn sorted<T: Ord>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut items: Vec<_> = items.into_iter().collect();
    items.sort();
    items
}

#[test]
fn a_fetched_socket_shows_its_handshake_rooms_and_shared_data_of_that_time() {
    let sim = Sim::new(Server::new());
    let (clients, [a, b]) = connect::<2>(&sim);
    a.join(["x", "y"]);
    a.set_shared_data(("Ann", 7)).unwrap();
    let found = fetch(&sim, sim.server().fetch_sockets());
    assert_eq!(ids(&found), clients.each_ref().map(|client| client.id.clone()).into());
    let found_a = found.iter().find(|found| found.id() == a.id()).unwrap();
    let found_b = found.iter().find(|found| found.id() == b.id()).unwrap();
    a.leave_all();
    a.set_shared_data("changed").unwrap();
    assert_eq!(sorted(found_a.rooms()), ["x", "y"]);
    assert_eq!(found_a.shared_data::<(String, u8)>().unwrap(), Some(("Ann".into(), 7)));
    assert_eq!(found_a.shared_data_json(), Some(r#"["Ann",7]"#));
    assert!(found_a.shared_data::<u8>().is_err());
    assert!(found_a.handshake().url().starts_with("/socket.io/?EIO=4"));
    assert_eq!(found_b.rooms().count(), 0);
    assert_eq!(found_b.shared_data::<String>().unwrap(), None);
}

#[test]
fn the_selected_sockets_are_fetched_once_each() {
    let sim = Sim::new(Server::new());
    let (_clients, [a, b, c, _]) = connect::<4>(&sim);
    a.join(["x", "y"]);
    b.join("y");
    c.join(["x", "z"]);
    let found = fetch(&sim, sim.server().to(["x", "y"]).except("z").local().fetch_sockets());
    assert_eq!(ids(&found), [a.id().to_string(), b.id().to_string()].into());
    assert!(fetch(&sim, sim.server().to("nowhere").fetch_sockets()).is_empty());
}

#[test]
fn a_fetched_socket_is_sent_to_moved_asked_and_disconnected() {
    let sim = Sim::new(Server::new());
    let ([client, other], [socket, _]) = connect::<2>(&sim);
    let remote = fetch(&sim, sim.server().to(socket.id()).fetch_sockets()).remove(0);
    remote.emit("hello", 1).unwrap();
    assert_eq!(client.next(), r#"42["hello",1]"#);
    // Another socket in the room that is named by its id is not meant.
    sim.server().of("/").socket(&other.id).unwrap().join(socket.id());
    remote.join(["x", "y"]);
    remote.leave("x");
    assert_eq!(socket.rooms(), ["y"]);
    let answer = sim.spawn(remote.emit_with_ack::<u8>("ask", ()));
    let late = sim.spawn(remote.timeout(Duration::from_secs(1)).emit_with_ack::<u8>("ask", ()));
    assert_eq!((client.next(), client.next()), (r#"420["ask"]"#.into(), r#"421["ask"]"#.into()));
    client.send("430[7]");
    assert!(matches!(answer.take(), Some(Ok(7))));
    sim.advance(Duration::from_secs(1));
    assert!(matches!(late.take(), Some(Err(AckError::Timeout))));
    remote.disconnect(false);
    assert_eq!(client.next(), "41");
    assert!(matches!(remote.emit("hello", 2), Err(EmitError::Disconnected)));
    let answer = sim.spawn(remote.emit_with_ack::<u8>("ask", ()));
    sim.run();
    assert!(matches!(answer.take(), Some(Err(AckError::Emit(EmitError::Disconnected)))));
    other.expect_nothing();
}

#[test]
fn all_sockets_of_a_namespace_join_leave_and_are_disconnected() {
    let sim = Sim::new(Server::new());
    let (clients, [a, b]) = connect::<2>(&sim);
    sim.server().sockets_join(vec!["x".to_owned(), "y".to_owned()]);
    assert_eq!(
        (sorted(a.rooms()), sorted(b.rooms())),
        (vec!["x".into(), "y".into()], vec!["x".into(), "y".into()])
    );
    sim.server().of("/").sockets_leave(BTreeSet::from(["x", "unknown"]));
    assert_eq!((a.rooms(), b.rooms()), (vec!["y".into()], vec!["y".into()]));
    sim.server().disconnect_sockets(true);
    assert!(clients.iter().all(Client::is_closed));
}

#[test]
fn an_event_named_message_is_sent_to_all_or_some() {
    let sim = Sim::new(Server::new());
    let ([a, b], [socket, _]) = connect::<2>(&sim);
    assert_eq!(sim.server().send("all").sent, 2);
    assert_eq!(sim.server().of("/").send("all").sent, 2);
    assert_eq!(sim.server().to(socket.id()).send(("one", 1)).sent, 1);
    assert_eq!(a.texts(), [r#"42["message","all"]"#, r#"42["message","all"]"#, r#"42["message","one",1]"#]);
    assert_eq!(b.texts().len(), 2);
}

#[test]
fn a_socket_joins_all_of_several_rooms_or_none() {
    let sim = Sim::new(Server::builder().max_rooms(3).build());
    let (_client, [socket]) = connect::<1>(&sim);
    socket.try_join(["a", "b", "a", socket.id().as_str()]).unwrap();
    assert_eq!(socket.try_join(["b", "c", "d"]), Err(JoinError::TooManyRooms { limit: 3 }));
    socket.join([Arc::<str>::from("c"), Arc::from("d")]);
    assert_eq!(sorted(socket.rooms()), ["a", "b"]);
    socket.try_join(&["c", "a", "b"][..]).unwrap();
    assert_eq!(sorted(socket.rooms()), ["a", "b", "c"]);
    socket.leave(["a", "c", "never"]);
    assert_eq!(socket.rooms(), ["b"]);
    socket.join("c");
    socket.leave_all();
    assert!(socket.rooms().is_empty());
    assert_eq!(sim.server().to(["b", "c"]).sockets().len(), 0);
    assert_eq!(sim.server().to(socket.id()).sockets().len(), 1, "its own room stays");
}

#[test]
fn a_socket_that_is_not_admitted_yet_joins_and_leaves_several_rooms() {
    let server = Server::builder().max_rooms(3).build();
    server.middleware(async |socket: Socket| {
        socket.join(["a", "b"]);
        assert_eq!(socket.try_join(["c", "d"]), Err(JoinError::TooManyRooms { limit: 3 }));
        socket.leave_all();
        socket.join(["b", "c", "d"]);
        socket.leave(["c", "never"]);
        Ok::<_, sockeye::ConnectError>(())
    });
    let sim = Sim::new(server);
    let (_client, [socket]) = connect::<1>(&sim);
    assert_eq!(sorted(socket.rooms()), ["b", "d"]);
    assert_eq!(sim.server().to("b").sockets().len(), 1);
    assert_eq!(sim.server().to(["a", "c"]).sockets().len(), 0);
}
