//! The limits of what a client may send per second.
#![allow(missing_docs, clippy::unwrap_used)]

mod simulation;

use simulation::Sim;
use sockeye::engine::TransportError;
use sockeye::observe::{Observer, ServerEvent};
use sockeye::{CloseReason, RateLimit, Server, ServerBuilder, Socket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const EVENT: &str = r#"42["e"]"#;

/// Notes the events that handlers get, and the reasons for which sessions end.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<(usize, Vec<CloseReason>)>>);

impl Notes {
    /// Returns the number of events since the last call.
    fn events(&self) -> usize {
        std::mem::take(&mut self.0.lock().unwrap().0)
    }

    fn reasons(&self) -> Vec<CloseReason> {
        self.0.lock().unwrap().1.clone()
    }
}

impl Observer for Notes {
    fn event(&self, event: &ServerEvent<'_>) {
        if let ServerEvent::SessionClosed { reason, .. } = event {
            self.0.lock().unwrap().1.push((*reason).clone());
        }
    }
}

/// Creates a server with namespaces whose handlers count the events.
fn sim(set: impl FnOnce(ServerBuilder) -> ServerBuilder) -> (Sim, Notes) {
    let notes = Notes::default();
    let server = set(Server::builder().observer(notes.clone())).build();
    for namespace in [server.of("/"), server.of("/other")] {
        let notes = notes.clone();
        namespace.on_fallback(move || {
            notes.0.lock().unwrap().0 += 1;
            async {}
        });
    }
    (Sim::new(server), notes)
}

/// Limits messages; the burst has one more, which the connection to the namespace is.
fn messages(per_second: u64, burst: u64) -> (Sim, Notes) {
    sim(|server| server.max_message_rate(RateLimit::per_second(per_second).burst(burst + 1)))
}

fn too_many_messages(per_second: u64) -> CloseReason {
    TransportError::TooManyMessages { per_second }.into()
}

#[test]
fn a_client_that_sends_too_many_messages_is_closed_and_the_others_are_not() {
    let (sim, notes) = messages(2, 10);
    let (client, other) = (sim.connect(), sim.connect());
    client.send_all([EVENT; 10]);
    assert_eq!(notes.events(), 10);
    sim.advance(SECOND);
    client.send_all([EVENT; 20]);
    assert_eq!(notes.events(), 2, "what is too much is not handled");
    client.expect_close();
    assert_eq!(notes.reasons(), [too_many_messages(2)]);
    other.send_all([EVENT; 10]);
    assert_eq!(notes.events(), 10);
    assert_eq!(sim.server().clients_count(), 1);
}

#[test]
fn a_client_that_keeps_to_the_rate_is_never_closed() {
    let (sim, notes) = messages(10, 1);
    let client = sim.connect();
    sim.advance(SECOND);
    for _ in 0..1000 {
        client.send(EVENT);
        sim.advance(Duration::from_millis(100));
    }
    assert_eq!((notes.events(), notes.reasons()), (1000, vec![]));
}

#[test]
fn heartbeats_do_not_count() {
    let (sim, notes) = messages(0, 1);
    let client = sim.connect();
    sim.advance(1000 * SECOND);
    client.send(EVENT);
    assert_eq!((notes.events(), notes.reasons()), (1, vec![]));
    client.send(EVENT);
    assert_eq!((notes.events(), notes.reasons()), (0, vec![too_many_messages(0)]));
}

#[test]
fn all_namespaces_of_a_client_count_together_and_so_do_attachments() {
    let (sim, notes) = messages(0, 6);
    let mut client = sim.connect();
    client.join("/other");
    client.send_all([EVENT, r#"42/other,["e"]"#, r#"451-["e",{"_placeholder":true,"num":0}]"#]);
    client.send_binary(b"abc");
    assert_eq!((notes.events(), notes.reasons()), (3, vec![]));
    client.send(r#"42/other,["e"]"#);
    assert_eq!(notes.events(), 1);
    client.send(EVENT);
    assert_eq!((notes.events(), notes.reasons()), (0, vec![too_many_messages(0)]));
}

#[test]
fn messages_that_make_no_sense_count_as_well() {
    let (sim, notes) = messages(0, 1);
    let client = sim.connect();
    client.send_all(["43999[]", "43999[]"]);
    assert_eq!(notes.reasons(), [too_many_messages(0)]);
}

#[test]
fn the_bytes_of_messages_are_limited() {
    let limit = RateLimit::per_second(100).burst(1000);
    let (sim, notes) = sim(|server| server.max_byte_rate(limit));
    let client = sim.connect();
    sim.advance(SECOND);
    let event = |len: usize| format!(r#"2["e","{}"]"#, "x".repeat(len - 9));
    for len in [400, 600] {
        // The packet's type is not part of the message.
        client.send(&format!("4{}", event(len)));
    }
    sim.advance(SECOND);
    client.send(&format!("4{}", event(100)));
    assert_eq!((notes.events(), notes.reasons()), (3, vec![]));
    sim.advance(SECOND);
    client.send(&format!("4{}", event(101)));
    assert_eq!(notes.events(), 0);
    client.expect_close();
    assert_eq!(notes.reasons(), [CloseReason::from(TransportError::TooManyBytes { per_second: 100 })]);
}

#[test]
fn a_client_that_polls_is_limited_in_the_middle_of_a_request_and_its_poll_is_told() {
    let (sim, notes) = messages(1, 3);
    let mut client = sim.polling();
    client.join();
    client.begin_poll();
    client.begin_post(&[EVENT; 9].join("\x1e"));
    assert_eq!(notes.events(), 3);
    assert_eq!(client.posted().map(|(status, _)| status), Some(200));
    assert_eq!(client.packets(), ["1"]);
    assert_eq!(notes.reasons(), [too_many_messages(1)]);
    assert_eq!(client.post(EVENT), 400, "the session is unknown");
    assert_eq!(sim.server().clients_count(), 0);
}

#[test]
fn the_limits_continue_after_an_upgrade() {
    let (sim, notes) = messages(0, 3);
    let mut client = sim.polling();
    client.join();
    assert_eq!(client.post(EVENT), 200);
    let websocket = client.begin_upgrade();
    websocket.send("2probe");
    websocket.send_all(["5", EVENT, EVENT]);
    assert_eq!((notes.events(), notes.reasons()), (3, vec![]));
    websocket.send(EVENT);
    assert_eq!((notes.events(), notes.reasons()), (0, vec![too_many_messages(0)]));
}

#[test]
fn handlers_learn_the_reason() {
    let limit = RateLimit::per_second(5).burst(1);
    let server = Server::builder().max_message_rate(limit).build();
    let reasons = Arc::new(Mutex::new(Vec::new()));
    let notes = reasons.clone();
    server.on_disconnect(move |_: Socket, reason: sockeye::DisconnectReason| {
        notes.lock().unwrap().push(reason);
        async {}
    });
    let sim = Sim::new(server);
    sim.connect().send(EVENT);
    let reasons = reasons.lock().unwrap();
    let [sockeye::DisconnectReason::Closed(reason)] = reasons.as_slice() else { panic!("{reasons:?}") };
    assert_eq!((reason.to_string().as_str(), reason), ("transport error", &too_many_messages(5)));
    let CloseReason::TransportError(error) = reason else { panic!("{reason:?}") };
    assert_eq!(error.to_string(), "more than 5 messages per second");
}
