//! Events that a client sends again until they are acknowledged are handled once.
#![allow(missing_docs, clippy::unwrap_used)]

mod simulation;

use serde_json::{Value, json};
use simulation::{Calls, Client, Gate, Sim};
use sockeye::extract::Data;
use sockeye::{HandlerError, IdempotencyKey, Recovery, Server};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A server that notes each order that it works on, and answers with the number of orders. The work waits for a gate.
fn server(builder: sockeye::ServerBuilder) -> (Server, Calls, Gate) {
    let io = builder.build();
    let (orders, gate) = (Calls::default(), Gate::default());
    let (noted, opened) = (orders.clone(), gate.clone());
    io.on("order", move |key: IdempotencyKey, Data(item): Data<String>| {
        let (noted, opened) = (noted.clone(), opened.clone());
        key.run(async move {
            noted.note(&*item);
            opened.wait().await;
            match &*item {
                "nothing" => Err(HandlerError::new("there is nothing to order")),
                "bomb" => panic!("it explodes"),
                _ => Ok(json!({ "item": item })),
            }
        })
    });
    (io, orders, gate)
}

fn order(client: &Client, ack: u64, item: &str, key: &str) {
    client.send(&format!(r#"42{ack}["order","{item}",{{"idempotencyKey":"{key}"}}]"#));
}

fn answer(ack: u64, item: &str) -> String {
    format!(r#"43{ack}[{{"item":"{item}"}}]"#)
}

#[test]
fn a_repetition_gets_the_first_answer_and_other_keys_are_handled() {
    let (io, orders, gate) = server(Server::builder());
    gate.open();
    let sim = Sim::new(io);
    let client = sim.connect();
    order(&client, 0, "tea", "k1");
    assert_eq!(client.next(), answer(0, "tea"));
    // The answer is that of the key, whatever else it asks for.
    order(&client, 1, "coffee", "k1");
    assert_eq!(client.next(), answer(1, "tea"));
    order(&client, 2, "coffee", "k2");
    assert_eq!(client.next(), answer(2, "coffee"));
    assert_eq!(orders.take(), ["tea", "coffee"]);
}

#[test]
fn without_a_key_each_event_is_handled_and_one_that_is_too_long_is_refused() {
    let (io, orders, gate) = server(Server::builder());
    gate.open();
    let sim = Sim::new(io);
    let client = sim.connect();
    for ack in 0..2 {
        client.send(&format!(r#"42{ack}["order","tea"]"#));
        assert_eq!(client.next(), answer(ack, "tea"));
    }
    for text in [r#"{"idempotencyKey":7}"#, "null", r#""k1""#, r#"{"other":"k1"}"#] {
        client.send(&format!(r#"423["order","tea",{text}]"#));
        assert_eq!(client.next(), answer(3, "tea"));
    }
    assert_eq!(orders.take().len(), 6);
    order(&client, 4, "tea", &"k".repeat(65));
    client.expect_nothing();
    assert!(orders.take().is_empty());
}

#[test]
fn a_repetition_waits_while_the_first_is_handled_also_on_another_connection() {
    let recovery = Server::builder().connection_state_recovery(Recovery::new());
    for builder in [Server::builder(), recovery] {
        let (io, orders, gate) = server(builder);
        let sim = Sim::new(io);
        let client = sim.client();
        client.send("40");
        let connected: Value = serde_json::from_str(client.next().strip_prefix("40").unwrap()).unwrap();
        order(&client, 0, "tea", "k1");
        order(&client, 1, "tea", "k1");
        client.expect_nothing();
        client.cut();
        // It comes back, recovered or not, and sends once more what was not acknowledged.
        let client = sim.client();
        match connected["pid"].as_str() {
            Some(pid) => client.send(&format!(r#"40{{"pid":"{pid}"}}"#)),
            None => client.send("40"),
        }
        assert_eq!(client.next().contains(connected["sid"].as_str().unwrap()), connected["pid"].is_string());
        order(&client, 2, "tea", "k1");
        client.expect_nothing();
        gate.open();
        sim.run();
        assert_eq!(client.texts(), [answer(2, "tea")]);
        assert_eq!(orders.take(), ["tea"]);
    }
}

#[test]
fn work_that_fails_or_panics_is_done_again() {
    let (io, orders, gate) = server(Server::builder());
    let sim = Sim::new(io);
    let client = sim.connect();
    for item in ["nothing", "bomb"] {
        order(&client, 0, item, item);
        order(&client, 1, item, item);
    }
    gate.open();
    sim.run();
    client.expect_nothing();
    let mut handled = orders.take();
    handled.sort();
    assert_eq!(handled, ["bomb", "bomb", "nothing", "nothing"]);
}

#[test]
fn an_answer_is_forgotten_after_the_window() {
    let (io, orders, gate) = server(Server::builder().idempotency_window(10 * SECOND));
    gate.open();
    let sim = Sim::new(io);
    let client = sim.connect();
    for (ack, wait, handled) in [(0, 0, 1), (1, 9, 0), (2, 2, 1)] {
        sim.advance(wait * SECOND);
        order(&client, ack, "tea", "k1");
        assert_eq!(client.next(), answer(ack, "tea"));
        assert_eq!(orders.take().len(), handled);
    }
}

#[test]
fn a_key_holds_for_its_namespace_and_event() {
    let (io, orders, gate) = server(Server::builder());
    gate.open();
    let seen = orders.clone();
    io.on("return", move |key: IdempotencyKey| {
        seen.note(key.as_str().unwrap());
        key.run(async { Ok("returned") })
    });
    let sim = Sim::new(io);
    let client = sim.connect();
    order(&client, 0, "tea", "k1");
    assert_eq!(client.next(), answer(0, "tea"));
    client.send(r#"421["return",{"idempotencyKey":"k1"}]"#);
    assert_eq!(client.next(), r#"431["returned"]"#);
    assert_eq!(orders.take(), ["tea", "k1"]);
}
