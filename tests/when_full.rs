//! The policies for a client whose send buffer is full.
#![allow(missing_docs, clippy::unwrap_used)]

mod simulation;

use simulation::{Client, Sim, disconnect_reasons};
use sockeye::extract::Data;
use sockeye::{AckError, EmitError, Server, ServerBuilder, Socket, WhenFull};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const BUFFER: usize = 300_000;
const DROPPING: [WhenFull; 2] = [WhenFull::DropNewest, WhenFull::DropOldest];

fn builder(policy: WhenFull) -> ServerBuilder {
    Server::builder().send_buffer(BUFFER).when_full(policy)
}

/// A client that does not read.
fn stalled(policy: WhenFull) -> (Sim, Client, Socket) {
    let sim = Sim::new(builder(policy).build());
    let client = sim.connect();
    let socket = sim.server().sockets().remove(0);
    client.stop_reading();
    (sim, client, socket)
}

/// Emits events of 1000 bytes with these numbers, while the connection takes what it can. Returns the numbers of those that
/// were queued.
fn emit(sim: &Sim, socket: &Socket, numbers: impl Iterator<Item = usize>) -> Vec<usize> {
    let text = "x".repeat(980);
    numbers
        .filter(|n| {
            let sent = socket.emit("x", (n, &text));
            sim.run();
            assert!(socket.queued_bytes() <= BUFFER);
            match sent {
                Ok(()) => true,
                Err(EmitError::Full { queued }) => {
                    assert!((BUFFER - 2000..=BUFFER).contains(&queued), "{queued}");
                    false
                }
                Err(error) => panic!("{error}"),
            }
        })
        .collect()
}

/// Returns the numbers of the events that arrived.
fn numbers(texts: &[String]) -> Vec<usize> {
    let number = |text: &String| text.strip_prefix(r#"42["x","#)?.split_once(',')?.0.parse().ok();
    texts.iter().filter_map(number).collect()
}

#[test]
fn with_drop_newest_an_emit_fails_and_the_client_stays() {
    let (sim, client, socket) = stalled(WhenFull::DropNewest);
    let sent = emit(&sim, &socket, 0..1000);
    // The network took a part of it.
    assert!((270..450).contains(&sent.len()), "{}", sent.len());
    assert!(socket.is_connected());
    client.resume_reading();
    assert_eq!(numbers(&client.texts()), sent);
    // There is capacity again.
    assert_eq!(emit(&sim, &socket, 1000..1010).len(), 10);
    assert_eq!(numbers(&client.texts()), (1000..1010).collect::<Vec<_>>());
}

#[test]
fn with_drop_oldest_a_client_gets_the_newest_events_and_stays() {
    let (sim, client, socket) = stalled(WhenFull::DropOldest);
    assert_eq!(emit(&sim, &socket, 0..1000).len(), 1000);
    client.resume_reading();
    let got = numbers(&client.texts());
    assert!(socket.is_connected() && (270..450).contains(&got.len()), "{}", got.len());
    // What was being written, then the newest.
    let at = (0..).zip(&got).take_while(|(n, got)| n == *got).count();
    assert_eq!(got[at..], (1000 - (got.len() - at)..1000).collect::<Vec<_>>());
    assert!(at > 100 && got.len() - at > 100, "{at}");
}

#[test]
fn a_polling_client_stays_too() {
    for policy in DROPPING {
        let sim = Sim::new(builder(policy).build());
        let mut client = sim.polling();
        client.join();
        let socket = sim.server().sockets().remove(0);
        let sent = emit(&sim, &socket, 0..1000);
        let mut got = Vec::new();
        while socket.queued_bytes() > 0 {
            got.extend(numbers(&client.poll()));
        }
        match policy {
            WhenFull::DropNewest => assert_eq!(got, sent),
            _ => assert_eq!((sent.len(), got[0], got.last()), (1000, 0, Some(&999))),
        }
        assert!((270..300).contains(&got.len()) && got.is_sorted());
    }
}

#[test]
fn a_broadcast_follows_the_policy_for_each_recipient() {
    for policy in DROPPING {
        let (sim, slow, _) = stalled(policy);
        let fast = sim.connect();
        let text = "x".repeat(980);
        let mut dropped = 0;
        for n in 0..1000 {
            let delivery = sim.server().emit("x", (n, &text));
            assert_eq!((delivery.sent + delivery.dropped, delivery.error), (2, None));
            dropped += delivery.dropped;
            sim.run();
        }
        assert_eq!(numbers(&fast.texts()), (0..1000).collect::<Vec<_>>());
        assert_eq!(sim.server().sockets().len(), 2);
        slow.resume_reading();
        let got = numbers(&slow.texts());
        match policy {
            WhenFull::DropNewest => assert_eq!(got, (0..1000 - dropped).collect::<Vec<_>>()),
            _ => assert_eq!((dropped, got.last()), (0, Some(&999))),
        }
    }
}

#[test]
fn events_with_acknowledgement_are_never_dropped_later_and_fail_at_once_if_there_is_no_capacity() {
    for policy in DROPPING {
        let (sim, client, socket) = stalled(policy);
        emit(&sim, &socket, 0..250);
        let asked = sim.spawn(socket.emit_with_ack::<u32>("q", ()));
        emit(&sim, &socket, 250..1000);
        let large = socket.emit_with_ack::<u32>("q", "y".repeat(BUFFER - 100));
        let large = sim.spawn(large).take();
        assert!(matches!(large, Some(Err(AckError::Emit(EmitError::Full { .. })))), "{large:?}");
        assert!(asked.take().is_none());
        client.resume_reading();
        let question = client.texts().into_iter().find(|text| text.contains(r#"["q"]"#)).unwrap();
        let id = question.strip_prefix("42").unwrap().strip_suffix(r#"["q"]"#).unwrap();
        client.send(&format!("43{id}[7]"));
        assert_eq!(asked.take().unwrap().unwrap(), 7, "{policy:?}");
    }
}

#[test]
fn with_drop_oldest_acknowledgements_of_a_handler_take_the_place_of_events() {
    let server = builder(WhenFull::DropOldest).build();
    server.on_connect(async |socket: Socket| socket.on("double", async |Data(n): Data<u32>| 2 * n));
    let sim = Sim::new(server);
    let client = sim.connect();
    let socket = sim.server().sockets().remove(0);
    client.stop_reading();
    emit(&sim, &socket, 0..1000);
    // A little is taken, so that the client is read.
    (0..3).for_each(|_| client.take_some());
    for n in 0..10 {
        client.send(&format!(r#"42{n}["double",{n}]"#));
        emit(&sim, &socket, 1000 + 100 * n..1100 + 100 * n);
    }
    client.resume_reading();
    let texts = client.texts();
    for n in 0..10 {
        assert!(texts.contains(&format!("43{n}[{}]", 2 * n)), "{n}");
    }
    assert_eq!(numbers(&texts).last(), Some(&1999));
}

#[test]
fn a_client_that_reads_slowly_lives_for_as_long_as_it_reads() {
    for policy in DROPPING {
        // With the default size of the buffer, whose messages take the client minutes to read.
        let server = Server::builder().when_full(policy).build();
        let reasons = disconnect_reasons(&server);
        let sim = Sim::new(server);
        let client = sim.connect();
        let socket = sim.server().sockets().remove(0);
        client.stop_reading();
        let text = "x".repeat(100_000);
        for _ in 0..300 {
            for _ in 0..3 {
                let _ = socket.emit("x", &text);
            }
            client.take_some();
            // The simulated client answers the pings that it has read.
            sim.advance(SECOND);
        }
        assert!(reasons.lock().unwrap().is_empty(), "{policy:?}: {reasons:?}");
        // If it reads no more, it is found out.
        for _ in 0..46 {
            let _ = socket.emit("x", &text);
            sim.advance(SECOND);
        }
        assert_eq!(*reasons.lock().unwrap(), ["ping timeout"]);
        assert_eq!(sim.server().clients_count(), 0);
    }
}

#[test]
fn a_client_that_cannot_be_told_that_it_left_a_namespace_is_closed() {
    let server = builder(WhenFull::DropNewest).build();
    let reasons = disconnect_reasons(&server);
    let sim = Sim::new(server);
    let client = sim.connect();
    let socket = sim.server().sockets().remove(0);
    client.stop_reading();
    emit(&sim, &socket, 0..1000);
    // Up to the last byte.
    while socket.emit("x", ()).is_ok() {}
    socket.disconnect(false);
    sim.run();
    assert_eq!(*reasons.lock().unwrap(), ["server namespace disconnect"]);
    sim.advance(60 * SECOND);
    assert_eq!(sim.server().clients_count(), 0);
}
