//! Events for other servers, while there are none.
#![allow(missing_docs, clippy::unwrap_used)]

mod simulation;

use simulation::Sim;
use sockeye::{EmitError, EncodeError, Server};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// An argument that cannot be encoded.
struct Broken;

impl serde::Serialize for Broken {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("broken"))
    }
}

/// Returns a server with a handler, and the number of its calls.
fn server() -> (Server, Arc<AtomicUsize>) {
    let (server, calls) = (Server::new(), Arc::<AtomicUsize>::default());
    let count = calls.clone();
    server.on_server_side_event("e", move || {
        count.fetch_add(1, Ordering::Relaxed);
        async {}
    });
    (server, calls)
}

#[test]
fn a_server_side_event_reaches_neither_its_own_server_nor_its_clients() {
    let (server, calls) = server();
    let sim = Sim::new(server);
    let client = sim.connect();
    assert_eq!(sim.server().server_side_emit("e", 1), Ok(()));
    assert_eq!(sim.server().of("/").server_side_emit("e", (1, "two")), Ok(()));
    let asked = sim.spawn(sim.server().server_side_emit_with_ack::<u32>("e", 1));
    assert!(asked.take().is_some_and(|answers| answers.is_complete()));
    client.expect_nothing();
    assert_eq!(calls.load(Ordering::Relaxed), 0);
}

#[test]
fn without_another_server_the_list_of_answers_is_complete_and_empty_at_once() {
    let sim = Sim::new(Server::new());
    let asked = sim.spawn(sim.server().of("/chat").server_side_emit_with_ack::<u32>("e", ()));
    let answers = asked.take().unwrap();
    assert!(answers.is_complete() && answers.answers.is_empty() && answers.silent_servers.is_empty());
    let main = sim.server().of("/");
    let next =
        sim.spawn(async move { main.server_side_emit_with_ack::<u32>("e", ()).next().await.is_none() });
    assert_eq!(next.take(), Some(true));
}

#[test]
fn what_cannot_be_sent_to_servers_is_an_error_even_if_there_are_none() {
    let sim = Sim::new(Server::new());
    for name in ["connect", "connection", "new_namespace"] {
        let refused = EmitError::Encode(EncodeError::ReservedEvent);
        assert_eq!(sim.server().server_side_emit(name, ()), Err(refused.clone()));
        let asked = sim.spawn(sim.server().server_side_emit_with_ack::<u32>(name, ()));
        assert_eq!(asked.take().unwrap().error, Some(refused));
    }
    // As in the reference, the names of a socket's own events are not reserved between servers.
    assert_eq!(sim.server().server_side_emit("disconnect", ()), Ok(()));
    assert!(matches!(sim.server().server_side_emit("e", Broken), Err(EmitError::Encode(_))));
}

#[test]
#[should_panic(expected = "\"new_namespace\" is a reserved event name")]
fn a_reserved_name_has_no_server_side_handler() {
    Server::new().on_server_side_event("new_namespace", async || ());
}

#[test]
fn a_client_cannot_send_a_server_side_event() {
    let (server, calls) = server();
    server.on("other", async || "other");
    let client = Sim::new(server).connect();
    client.send(r#"421["e",1]"#);
    client.send(r#"422["other"]"#);
    assert_eq!(client.next(), r#"432["other"]"#);
    assert_eq!(calls.load(Ordering::Relaxed), 0);
}
