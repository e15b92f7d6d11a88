//! Credentials that expire: their clients are disconnected, or asked for new ones.
#![allow(missing_docs, clippy::unwrap_used)]

mod simulation;

use serde_json::{Value, json};
use simulation::{Dice, Gate, Sim};
use smol::future::yield_now;
use sockeye::client::{ClientBuilder, ClientDisconnectReason};
use sockeye::extract::{Auth, Data, Event, State};
use sockeye::host::Host;
use sockeye::observe::{Observer, ServerEvent};
use sockeye::{AUTH_RENEW, Client, ConnectError, DisconnectReason, Server, Socket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// What happened, in order.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn add(&self, note: impl Into<String>) {
        self.0.lock().unwrap().push(note.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Observer for Notes {
    fn event(&self, event: &ServerEvent<'_>) {
        if let ServerEvent::EventRefused { event, message, .. } = event {
            self.add(format!("{event}: {message}"));
        }
    }
}

/// A server whose clients are authenticated for as many seconds as their `auth` says.
fn server() -> (Server, Notes) {
    let notes = Notes::default();
    let server = Server::builder().state(notes.clone()).observer(notes.clone()).build();
    server.middleware(async |socket: Socket, Auth(auth): Auth<Value>| {
        if let Some(seconds) = auth["seconds"].as_u64() {
            socket.authenticated_for(Duration::from_secs(seconds));
        }
        Ok(())
    });
    server.on_disconnect(async |State(notes): State<Notes>, reason: DisconnectReason| {
        notes.add(format!("{reason:?}"));
        notes.add(reason.to_string());
    });
    (server, notes)
}

/// Renews credentials for as many seconds as the client answers; a text refuses.
fn renews(server: &Server, grace: Duration) {
    server.renew_auth(grace, async |Data(seconds): Data<Value>, Event(name): Event| {
        assert_eq!(name, AUTH_RENEW);
        yield_now().await;
        seconds["seconds"].as_u64().map(Duration::from_secs).ok_or_else(|| ConnectError::new("not you"))
    });
}

fn connect(sim: &Sim, auth: &str) -> simulation::Client {
    let client = sim.client();
    client.send(&format!("40{auth}"));
    assert!(client.next().starts_with("40{"));
    client
}

const EXPIRED: [&str; 2] = ["AuthExpired", "server namespace disconnect"];

#[test]
fn a_socket_is_disconnected_when_its_credentials_expire_and_its_connection_stays() {
    let (server, notes) = server();
    let sim = Sim::new(server);
    let (client, forever) = (connect(&sim, r#"{"seconds":10}"#), connect(&sim, "{}"));
    sim.advance(10 * SECOND - MILLISECOND);
    client.expect_nothing();
    sim.advance(MILLISECOND);
    assert_eq!(client.texts(), ["41"]);
    assert_eq!(notes.take(), EXPIRED);
    assert!(!client.is_closed());
    client.send(r#"40{"seconds":5}"#);
    assert!(client.next().starts_with("40{"));
    sim.advance(5 * SECOND);
    assert_eq!(client.next(), "41");
    sim.advance(1000 * SECOND);
    forever.expect_nothing();
    assert_eq!(sim.server().sockets().len(), 1);
}

#[test]
fn the_last_call_counts_and_may_lift_the_limit() {
    let (server, notes) = server();
    server.on("for", async |socket: Socket, Data(seconds): Data<Option<u64>>| {
        socket.authenticated_for(seconds.map_or(Duration::MAX, Duration::from_secs));
    });
    let sim = Sim::new(server);
    let clients = [(); 3].map(|()| connect(&sim, r#"{"seconds":10}"#));
    for (client, seconds) in clients.iter().zip(["20", "5", "null"]) {
        client.send(&format!(r#"42["for",{seconds}]"#));
    }
    sim.advance(5 * SECOND);
    assert_eq!(clients[1].texts(), ["41"]);
    sim.advance(15 * SECOND - MILLISECOND);
    clients[0].expect_nothing();
    sim.advance(MILLISECOND);
    assert_eq!(clients[0].texts(), ["41"]);
    sim.advance(10_000 * SECOND);
    clients[2].expect_nothing();
    assert_eq!(notes.take().len(), 4);
}

#[test]
fn credentials_that_expire_before_the_client_is_let_in_expire_when_it_is() {
    let (server, notes) = server();
    let gate = Gate::default();
    let held = gate.clone();
    server.middleware(move || {
        let held = held.clone();
        async move {
            held.wait().await;
            Ok(())
        }
    });
    let sim = Sim::new(server);
    let client = sim.client();
    client.send(r#"40{"seconds":1}"#);
    sim.advance(2 * SECOND);
    client.expect_nothing();
    gate.open();
    sim.run();
    assert!(client.next().starts_with("40{"));
    assert_eq!(client.texts(), ["41"]);
    assert_eq!(notes.take(), EXPIRED);
}

#[test]
fn a_client_that_was_refused_or_has_left_leaves_no_deadline() {
    let (server, _) = server();
    server.middleware(async |Auth(auth): Auth<Value>| match auth["ok"] == true {
        true => Ok(()),
        false => Err("no".into()),
    });
    let sim = Sim::new(server.clone());
    for auth in [r#"{"seconds":1000000}"#, r#"{"seconds":1000000,"ok":true}"#] {
        let client = sim.client();
        client.send(&format!("40{auth}"));
        client.next();
        client.close();
    }
    // The sessions' own deadlines have passed by then.
    sim.advance(100 * SECOND);
    assert_eq!(sim.server().next_deadline(), None);
}

#[test]
fn a_client_is_asked_for_new_credentials_and_its_answer_counts_from_then() {
    let (server, notes) = server();
    renews(&server, 5 * SECOND);
    server.on("echo", async |Data(text): Data<String>| text);
    let sim = Sim::new(server);
    let client = connect(&sim, r#"{"seconds":10}"#);
    sim.advance(10 * SECOND);
    assert_eq!(client.texts(), [r#"420["auth:renew"]"#]);
    client.send(r#"421["echo","still here"]"#);
    assert_eq!(client.texts(), [r#"431["still here"]"#]);
    sim.advance(2 * SECOND);
    client.send(r#"430[{"seconds":20}]"#);
    sim.advance(20 * SECOND - MILLISECOND);
    client.expect_nothing();
    sim.advance(MILLISECOND);
    assert_eq!(client.texts(), [r#"421["auth:renew"]"#]);
    client.send(r#"431[{"seconds":30}]"#);
    sim.advance(29 * SECOND);
    client.expect_nothing();
    assert!(notes.take().is_empty());
}

#[test]
fn a_client_that_does_not_renew_its_credentials_in_time_or_is_refused_is_disconnected() {
    for (answer, after, message) in [
        (None, 5 * SECOND, "operation has timed out"),
        (Some(r#"430["nonsense"]"#), Duration::ZERO, "not you"),
        (Some("430[]"), Duration::ZERO, "Invalid auth"),
    ] {
        let (server, notes) = server();
        renews(&server, 5 * SECOND);
        let sim = Sim::new(server);
        let client = connect(&sim, r#"{"seconds":10}"#);
        sim.advance(10 * SECOND);
        assert_eq!(client.texts(), [r#"420["auth:renew"]"#]);
        if let Some(answer) = answer {
            client.send(answer);
        } else {
            sim.advance(after - MILLISECOND);
            client.expect_nothing();
            sim.advance(MILLISECOND);
        }
        assert_eq!(client.texts(), ["41"], "{answer:?}");
        assert_eq!(notes.take(), [&format!("auth:renew: {message}"), EXPIRED[0], EXPIRED[1]], "{answer:?}");
    }
}

#[test]
fn credentials_that_are_renewed_for_less_than_a_second_are_refused() {
    for (renewed, is_refused) in
        [(Duration::ZERO, true), (SECOND - Duration::from_nanos(1), true), (SECOND, false)]
    {
        let (server, notes) = server();
        server.renew_auth(5 * SECOND, move || async move { Ok(renewed) });
        let sim = Sim::new(server);
        let client = connect(&sim, r#"{"seconds":10}"#);
        sim.advance(10 * SECOND);
        assert_eq!(client.texts(), [r#"420["auth:renew"]"#]);
        client.send("430[{}]");
        if !is_refused {
            client.expect_nothing();
            continue;
        }
        assert_eq!(client.texts(), ["41"], "{renewed:?}");
        let refused = "auth:renew: renew_auth returned a time of less than a second";
        assert_eq!(notes.take(), [refused, EXPIRED[0], EXPIRED[1]]);
    }
}

#[test]
fn credentials_for_no_time_expire_at_once() {
    let (server, _) = server();
    renews(&server, 5 * SECOND);
    server.of("/other").on_connect(async |socket: Socket| socket.authenticated_for(Duration::ZERO));
    let sim = Sim::new(server);
    let mut client = connect(&sim, r#"{"seconds":0}"#);
    sim.run();
    assert_eq!(client.texts(), [r#"420["auth:renew"]"#]);
    client.join("/other");
    sim.run();
    assert_eq!(client.texts(), ["41/other,"]);
}

#[test]
fn a_decision_that_panics_or_never_ends_disconnects_at_its_deadline() {
    let (server, notes) = server();
    let [panics, never] = ["/panics", "/never"].map(|name| server.of(name));
    panics.renew_auth(SECOND, || async { panic!("a bug") });
    never.renew_auth(SECOND, async || std::future::pending().await);
    for namespace in [&panics, &never] {
        namespace.on_connect(async |socket: Socket| socket.authenticated_for(SECOND));
    }
    let sim = Sim::new(server);
    let mut client = sim.client();
    for (name, wait) in [("/panics", 0), ("/never", 1)] {
        client.join(name);
        sim.advance(SECOND);
        assert_eq!(client.next(), format!(r#"42{name},0["auth:renew"]"#));
        client.send(&format!("43{name},0[1]"));
        if wait > 0 {
            client.expect_nothing();
        }
        sim.advance(wait * SECOND);
        assert_eq!(client.next(), format!("41{name},"));
    }
    assert_eq!(notes.take(), ["auth:renew: Internal error", "auth:renew: timeout"]);
}

#[test]
fn a_client_that_authenticates_in_another_way_meanwhile_is_not_disconnected() {
    let (server, notes) = server();
    renews(&server, 5 * SECOND);
    server.on("login", async |socket: Socket| socket.authenticated_for(100 * SECOND));
    let sim = Sim::new(server);
    let client = connect(&sim, r#"{"seconds":10}"#);
    sim.advance(10 * SECOND);
    assert_eq!(client.texts(), [r#"420["auth:renew"]"#]);
    client.send(r#"42["login"]"#);
    sim.advance(99 * SECOND);
    client.expect_nothing();
    assert_eq!(notes.take(), ["auth:renew: operation has timed out"]);
    sim.advance(SECOND);
    assert_eq!(client.texts(), [r#"421["auth:renew"]"#]);
}

#[test]
fn a_question_that_is_not_answered_does_not_end_a_later_one() {
    let (server, _) = server();
    renews(&server, 5 * SECOND);
    server.on("login", async |socket: Socket| socket.authenticated_for(2 * SECOND));
    let sim = Sim::new(server);
    let client = connect(&sim, r#"{"seconds":10}"#);
    sim.advance(10 * SECOND);
    client.send(r#"42["login"]"#);
    sim.advance(2 * SECOND);
    assert_eq!(client.texts(), [r#"420["auth:renew"]"#, r#"421["auth:renew"]"#]);
    sim.advance(3 * SECOND);
    client.expect_nothing();
    client.send(r#"431[{"seconds":10}]"#);
    sim.advance(9 * SECOND);
    client.expect_nothing();
}

#[test]
fn the_last_registration_counts_and_that_of_a_namespace_before_that_of_its_parent() {
    let (server, _) = server();
    let parent = server.of_pattern("/{name}");
    parent.on_connect(async |socket: Socket| socket.authenticated_for(SECOND));
    let child = server.of("/child");
    child.renew_auth(SECOND, async || Err("the first".into()));
    child.renew_auth(SECOND, async || Ok(100 * SECOND));
    parent.renew_auth(SECOND, async || Err("the parent".into()));
    let sim = Sim::new(server);
    let mut client = sim.client();
    for (name, id) in [("/child", 0), ("/other", 0)] {
        client.join(name);
        sim.advance(SECOND);
        assert_eq!(client.next(), format!(r#"42{name},{id}["auth:renew"]"#));
        client.send(&format!("43{name},{id}[]"));
    }
    assert_eq!(client.texts(), ["41/other,"]);
}

/// A client of this crate, connected through the simulated network, and the reasons for which it was disconnected.
fn own_client(sim: &Sim, build: impl FnOnce(ClientBuilder) -> ClientBuilder) -> (Client, Notes) {
    let client = build(Client::builder("http://server")).build().unwrap();
    let reasons = Notes::default();
    let noting = reasons.clone();
    client.on_disconnect(move |reason: ClientDisconnectReason| {
        noting.add(reason.to_string());
        async {}
    });
    client.attach(sim.net(Dice::new(1)));
    client.connect();
    sim.advance(SECOND);
    assert!(client.is_connected());
    (client, reasons)
}

#[test]
fn the_own_client_answers_with_its_auth_and_asks_its_callback_anew() {
    let (server, notes) = server();
    renews(&server, 5 * SECOND);
    let sim = Sim::new(server);
    let count = Arc::new(Mutex::new(0));
    let counting = count.clone();
    let (client, reasons) = own_client(&sim, |builder| {
        builder.auth_with(move || {
            *counting.lock().unwrap() += 1;
            async { Ok::<_, String>(json!({ "seconds": 10 })) }
        })
    });
    let (fixed, _) = own_client(&sim, |builder| builder.auth(json!({ "seconds": 10 })));
    sim.advance(100 * SECOND);
    assert!(client.is_connected() && fixed.is_connected());
    let asked = *count.lock().unwrap();
    assert!((9..=12).contains(&asked), "{asked}");
    assert!(notes.take().is_empty() && reasons.take().is_empty());
}

#[test]
fn a_handler_of_the_own_client_answers_in_place_of_its_auth() {
    let (server, notes) = server();
    renews(&server, 5 * SECOND);
    let sim = Sim::new(server);
    let (client, reasons) = own_client(&sim, |builder| builder.auth(json!({ "seconds": 10 })));
    client.on_fallback(async || "not asked");
    sim.advance(20 * SECOND);
    assert!(client.is_connected());
    client.on(AUTH_RENEW, async || "refuse me");
    sim.advance(20 * SECOND);
    assert_eq!(reasons.take(), ["io server disconnect"]);
    assert_eq!(notes.take(), ["auth:renew: not you", EXPIRED[0], EXPIRED[1]]);
}

#[test]
fn the_own_client_whose_callback_fails_or_that_has_no_auth_does_not_answer() {
    let (server, notes) = server();
    server.on_connect(async |socket: Socket| socket.authenticated_for(10 * SECOND));
    renews(&server, 5 * SECOND);
    let sim = Sim::new(server);
    let fails = Arc::new(Mutex::new(false));
    let failing = fails.clone();
    let (failing, reasons) = own_client(&sim, |builder| {
        builder.auth_with(move || {
            let fails = *failing.lock().unwrap();
            async move { if fails { Err("no token") } else { Ok(json!({})) } }
        })
    });
    let (silent, _) = own_client(&sim, |builder| builder);
    *fails.lock().unwrap() = true;
    sim.advance(20 * SECOND);
    assert!(!failing.is_connected() && !silent.is_connected());
    assert_eq!(reasons.take(), ["io server disconnect"]);
    let expected = ["auth:renew: operation has timed out", EXPIRED[0], EXPIRED[1]];
    assert_eq!(notes.take(), expected.repeat(2));
}
