//! Stateful reconnect as the server offers it, with raw clients.
#![allow(missing_docs, clippy::unwrap_used)]

mod simulation;

use simulation::{Calls, Client, Incoming, Polling, Sim};
use sockeye::extract::Data;
use sockeye::observe::{Observer, ServerEvent};
use sockeye::{AckError, Server, ServerBuilder, Socket, StatefulReconnect};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const ASKS: &str = "EIO=4&transport=websocket&resume=0";

/// Notes the life of sessions.
struct Lives(Calls);

impl Observer for Lives {
    fn event(&self, event: &ServerEvent<'_>) {
        match event {
            ServerEvent::SessionOpened { .. } => self.0.note("opened"),
            ServerEvent::SessionDetached { reason, .. } => self.0.note(format!("detached: {reason}")),
            ServerEvent::SessionResumed { transport, .. } => self.0.note(format!("resumed: {transport}")),
            ServerEvent::SessionClosed { reason, unacknowledged, .. } => {
                self.0.note(format!("closed: {reason}, {unacknowledged:?}"));
            }
            _ => {}
        }
    }
}

/// A server whose handlers note what they get.
fn server(set: impl FnOnce(ServerBuilder) -> ServerBuilder) -> (Server, Calls, Calls) {
    let (calls, lives) = (Calls::default(), Calls::default());
    let builder =
        Server::builder().stateful_reconnect(StatefulReconnect::new()).observer(Lives(lives.clone()));
    let io = set(builder).build();
    let notes = calls.clone();
    io.on_connect(move |socket: Socket| {
        let calls = notes.clone();
        socket.on("note", move |Data(text): Data<String>| {
            calls.note(text);
            async { "noted" }
        });
        let calls = notes.clone();
        socket.on_disconnect(move |_: Socket| {
            calls.note("disconnected");
            async {}
        });
        async {}
    });
    (io, calls, lives)
}

fn sim() -> (Sim, Calls, Calls) {
    let (io, calls, lives) = server(|builder| builder);
    (Sim::new(io), calls, lives)
}

/// Opens a session that can be resumed, in the main namespace. The client has handled one message by then.
fn connect(sim: &Sim) -> Client {
    let mut client = Client::open(sim, ASKS);
    client.id = client.join("/");
    client
}

/// Returns a number that is higher than those before, and than those that tests choose, for an attempt to resume any
/// session.
fn next_attempt() -> u32 {
    static LAST: AtomicU32 = AtomicU32::new(100);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

/// Asks for a session, and returns the connection and its open packet.
fn resume(sim: &Sim, sid: &str, count: u64) -> (Client, String) {
    let client = Client::dial(
        sim,
        &format!("EIO=4&transport=websocket&sid={sid}&resume={count}&attempt={}", next_attempt()),
    );
    assert!(client.status().contains("101"), "{}", client.status());
    let open = client.next();
    (client, open)
}

#[track_caller]
fn assert_resumed(open: &str, sid: &str, received: u64) {
    assert!(open.starts_with(&format!("0{{\"sid\":\"{sid}\"")), "{open}");
    let resume = format!(r#""resume":{{"received":{received},"window":60000,"maxBytes":1048576}}"#);
    assert!(open.contains(&resume), "{open}");
}

#[track_caller]
fn assert_rejected(open: &str, sid: &str) {
    assert!(!open.contains(sid), "{open}");
    assert!(open.contains(r#""resume":{"received":0,"#), "{open}");
}

#[test]
fn clients_that_do_not_ask_and_servers_without_it_are_as_ever() {
    let (sim, calls, _) = sim();
    let client = sim.connect();
    assert!(!client.head().contains("resume"));
    client.cut();
    assert_eq!(calls.take(), ["disconnected"]);
    let plain = Sim::new(Server::new());
    let client = Client::dial(&plain, ASKS);
    let open = client.next();
    assert!(!open.contains("resume"), "{open}");
    let sid = open.split('"').nth(3).unwrap();
    let second = Client::dial(&plain, &format!("EIO=4&transport=websocket&sid={sid}&resume=0"));
    assert_eq!(second.poll(), Some(Incoming::Close(None)), "an upgrade that is not possible");
}

#[test]
fn a_lost_connection_loses_nothing_in_either_direction() {
    let (sim, calls, lives) = sim();
    let client = connect(&sim);
    let sid = client.session.clone();
    client.send(r#"42["note","1"]"#);
    client.cut();
    let socket = sim.server().sockets().remove(0);
    assert!(socket.is_connected());
    socket.emit("a", "b").unwrap();
    assert!(sim.server().emit("all", 1).error.is_none());
    sim.advance(59 * SECOND);
    let (client, open) = resume(&sim, &sid, 1);
    assert_resumed(&open, &sid, 2);
    assert_eq!(client.texts(), [r#"42["a","b"]"#, r#"42["all",1]"#]);
    client.send(r#"421["note","2"]"#);
    assert_eq!(client.texts(), [r#"431["noted"]"#]);
    assert_eq!(calls.take(), ["1", "2"]);
    assert_eq!(lives.take(), ["opened", "detached: transport close", "resumed: websocket"]);
    client.close();
    assert_eq!(lives.take(), ["closed: transport close, Some(3)"], "a close frame is no loss");
    assert_eq!(calls.take(), ["disconnected"]);
}

#[test]
fn a_message_that_does_not_arrive_in_time_costs_only_the_connection() {
    let (sim, _, lives) = sim();
    let client = connect(&sim);
    client.put(&[0x81, 0xfe, 1, 0]);
    for _ in 0..60 {
        sim.advance(SECOND);
        client.put(b"x");
    }
    sim.advance(SECOND);
    assert_eq!(lives.take(), ["opened", "detached: transport error"]);
    assert!(client.is_closed());
    // No close frame, which would end the session.
    let heard: Vec<_> = std::iter::from_fn(|| client.poll()).collect();
    assert_eq!(heard, [Incoming::Text("61".into())]);
    let (_, open) = resume(&sim, &client.session, 1);
    assert_resumed(&open, &client.session, 1);
}

#[test]
fn acknowledgements_and_their_answers_survive() {
    let (sim, calls, _) = sim();
    let client = connect(&sim);
    let sid = client.session.clone();
    let socket = sim.server().sockets().remove(0);
    let asked = sim.spawn(async move { socket.emit_with_ack::<String>("ask", "?").await });
    assert_eq!(client.next(), r#"420["ask","?"]"#);
    // The answer of the server is lost, and the question of the server was not handled.
    client.stop_reading();
    client.send(r#"427["note","x"]"#);
    client.cut();
    assert!(asked.take().is_none());
    let (client, open) = resume(&sim, &sid, 1);
    assert_resumed(&open, &sid, 2);
    assert_eq!(client.texts(), [r#"420["ask","?"]"#, r#"437["noted"]"#]);
    client.send(r#"430["!"]"#);
    assert_eq!(asked.take().unwrap().unwrap(), "!");
    assert_eq!(calls.take(), ["x"]);
}

#[test]
fn after_the_window_the_session_ends_and_a_client_that_comes_back_is_told_so() {
    let (sim, calls, lives) = sim();
    let client = connect(&sim);
    let sid = client.session.clone();
    client.break_off();
    let socket = sim.server().sockets().remove(0);
    let asked =
        sim.spawn(async move { socket.timeout(100 * SECOND).emit_with_ack::<String>("ask", "?").await });
    sim.advance(61 * SECOND);
    assert!(matches!(asked.take().unwrap(), Err(AckError::Disconnected)));
    assert_eq!(calls.take(), ["disconnected"]);
    let (client, open) = resume(&sim, &sid, 1);
    assert_rejected(&open, &sid);
    client.send("40");
    assert!(client.next().starts_with("40{"), "it is a new session");
    assert_eq!(
        lives.take(),
        ["opened", "detached: transport error", "closed: transport error, Some(2)", "opened"]
    );
}

#[test]
fn a_client_that_misses_what_is_gone_is_rejected_and_its_old_session_ends() {
    let (sim, calls, _) = sim();
    for count in [0, 5] {
        let client = connect(&sim);
        client.send("61");
        client.cut();
        let (_, open) = resume(&sim, &client.session, count);
        assert_rejected(&open, &client.session);
        assert_eq!(calls.take(), ["disconnected"]);
    }
    let (_, open) = resume(&sim, "AAAAAAAAAAAAAAAAAAAA", 0);
    assert_rejected(&open, "AAAAAAAAAAAAAAAAAAAA");
    let (client, packets) = Polling::open_with(&sim, "&sid=AAAAAAAAAAAAAAAAAAAA&resume=0");
    assert_rejected(&packets[0], "AAAAAAAAAAAAAAAAAAAA");
    drop(client);
    let malformed =
        Client::dial(&sim, &format!("EIO=4&transport=websocket&sid={}&resume=x", sim.client().session));
    assert!(malformed.status().contains("400"), "{}", malformed.status());
}

#[test]
fn a_session_of_a_client_that_did_not_ask_cannot_be_taken_over() {
    let (sim, calls, _) = sim();
    let client = sim.connect();
    // The parameter is the application's own: the request is an upgrade, which is not possible.
    let query = format!("EIO=4&transport=websocket&sid={}&resume=0&attempt=1", client.session);
    assert_eq!(Client::dial(&sim, &query).poll(), Some(Incoming::Close(None)));
    client.send(r#"42["note","still here"]"#);
    assert_eq!(calls.take(), ["still here"]);
}

#[test]
fn a_parameter_of_the_application_with_the_same_name_changes_nothing() {
    let (sim, calls, _) = sim();
    for own in ["&resume=later", "&resume=", "&resume=7", "&resume=00"] {
        let (mut polling, open) = Polling::open_with(&sim, own);
        assert!(!open[0].contains("\"resume\""), "{own}: {open:?}");
        polling.set_query(own);
        assert_eq!(polling.post("40"), 200, "{own}");
        assert!(polling.poll()[0].starts_with("40{"), "{own}");
        let websocket = polling.begin_upgrade();
        websocket.send("2probe");
        assert_eq!(websocket.next(), "3probe", "{own}");
        polling.begin_poll();
        websocket.send("5");
        websocket.cut();
        assert_eq!(calls.take(), ["disconnected"], "{own}");
    }
}

#[test]
fn a_connection_that_the_server_still_believes_in_is_evicted() {
    let (sim, calls, lives) = sim();
    let old = connect(&sim);
    let socket = sim.server().sockets().remove(0);
    let (client, open) = resume(&sim, &old.session, 1);
    assert_resumed(&open, &old.session, 1);
    assert!(old.is_closed());
    old.send(r#"42["note","late"]"#);
    socket.emit("a", 1).unwrap();
    assert_eq!(client.texts(), [r#"42["a",1]"#]);
    client.send(r#"42["note","new"]"#);
    assert_eq!(calls.take(), ["new"]);
    // Its end does not concern the session any more.
    old.cut();
    drop(old);
    sim.run();
    client.send(r#"42["note","newer"]"#);
    assert_eq!(calls.take(), ["newer"]);
    assert_eq!(lives.take(), ["opened", "detached: transport error", "resumed: websocket"]);
}

#[test]
fn what_arrives_after_the_cut_is_handled_once() {
    let (sim, calls, _) = sim();
    let old = connect(&sim);
    // Three messages are on their way when the client gives the connection up.
    for i in 0..3 {
        let mut bytes = Vec::new();
        let packet = format!(r#"42["note","{i}"]"#);
        sockeye_core::websocket::write_frame(
            &mut bytes,
            sockeye_core::websocket::Opcode::Text,
            packet.as_bytes(),
            Some([1; 4]),
        );
        old.put(&bytes);
    }
    let (client, open) = resume(&sim, &old.session, 1);
    let received: usize =
        open.split(r#""received":"#).nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
    for i in received - 1..3 {
        client.send(&format!(r#"42["note","{i}"]"#));
    }
    assert_eq!(calls.take(), ["0", "1", "2"]);
}

#[test]
fn a_poll_whose_response_is_lost_is_answered_again() {
    let (sim, calls, _) = sim();
    let (mut old, _) = Polling::open_with(&sim, "&resume=0");
    old.join();
    old.begin_poll();
    assert!(sim.server().emit("a", 1).error.is_none());
    assert_eq!(old.packets(), [r#"42["a",1]"#]);
    old.begin_poll();
    old.cut_polls();
    assert_eq!(old.post(r#"42["note","no"]"#), 400, "the session has to be resumed");
    let (mut client, packets) = Polling::open_with(&sim, &format!("&sid={}&resume=1&attempt=1", old.session));
    assert_resumed(&packets[0], &old.session, 1);
    assert_eq!(packets[1..], [r#"42["a",1]"#]);
    assert_eq!(client.post(r#"42["note","yes"]"#), 200);
    assert_eq!(calls.take(), ["yes"]);
    assert!(sim.server().emit("b", 2).error.is_none());
    assert_eq!(client.poll(), [r#"42["b",2]"#]);
}

#[test]
fn a_poll_that_another_replaces_costs_no_connection() {
    let (io, _, lives) = server(|builder| builder.allow_overlapping_polls(true));
    let sim = Sim::new(io);
    let (mut client, _) = Polling::open_with(&sim, "&resume=0");
    client.join();
    client.begin_poll();
    let other = sim.dial();
    let target = format!("/socket.io/?EIO=4&transport=polling&sid={}", client.session);
    other.send(format!("GET {target} HTTP/1.1\r\nHost: here\r\n\r\n").as_bytes());
    assert_eq!(client.packets(), ["6"]);
    client.cut_polls();
    assert!(sim.server().emit("a", 1).error.is_none());
    sim.run();
    assert!(other.receive().ends_with(br#"42["a",1]"#));
    assert_eq!(lives.take(), ["opened"]);
}

#[test]
fn polls_and_posts_of_an_evicted_connection_are_refused() {
    let (sim, calls, _) = sim();
    let (mut old, _) = Polling::open_with(&sim, "&resume=0");
    old.join();
    old.begin_poll();
    let body = r#"42["note","late"]"#;
    old.begin_part_of_post(&body[..5], body.len());
    let (client, open) = resume(&sim, &old.session, 1);
    assert_resumed(&open, &old.session, 1);
    assert_eq!(old.answer().unwrap().0, 400);
    assert!(sim.server().emit("a", 1).error.is_none());
    assert_eq!(client.texts(), [r#"42["a",1]"#]);
    assert_eq!(old.post(""), 400, "this is the rest of the body");
    old.cut();
    client.send(r#"42["note","new"]"#);
    assert_eq!(calls.take(), ["new"], "the body was not handled, and its end changes nothing");
}

#[test]
fn a_post_that_is_lost_is_not_handled() {
    let (sim, calls, lives) = sim();
    let (mut old, _) = Polling::open_with(&sim, "&resume=0");
    old.join();
    old.begin_part_of_post("4", 100);
    old.cut();
    let (mut client, packets) = Polling::open_with(&sim, &format!("&sid={}&resume=1&attempt=1", old.session));
    assert_resumed(&packets[0], &old.session, 1);
    assert_eq!(client.post(r#"42["note","again"]"#), 200);
    assert_eq!(calls.take(), ["again"]);
    assert_eq!(lives.take(), ["opened", "detached: transport error", "resumed: polling"]);
}

#[test]
fn a_resumed_session_over_polling_is_upgraded() {
    let (sim, calls, _) = sim();
    let old = connect(&sim);
    old.cut();
    let (mut client, packets) = Polling::open_with(&sim, &format!("&sid={}&resume=1&attempt=1", old.session));
    assert!(packets[0].contains(r#""upgrades":["websocket"]"#), "{packets:?}");
    client.begin_poll();
    let websocket = client.begin_upgrade();
    websocket.send("2probe");
    assert_eq!(websocket.next(), "3probe");
    assert_eq!(client.packets(), ["6"]);
    websocket.send("5");
    assert!(sim.server().emit("a", 1).error.is_none());
    assert_eq!(websocket.next(), r#"42["a",1]"#);
    websocket.cut();
    let (client, open) = resume(&sim, &old.session, 1);
    assert_resumed(&open, &old.session, 1);
    assert_eq!(client.texts(), [r#"42["a",1]"#]);
    client.send(r#"42["note","x"]"#);
    assert_eq!(calls.take(), ["x"]);
}

#[test]
fn attachments_that_were_cut_off_follow() {
    let (sim, _, _) = sim();
    let old = connect(&sim);
    let socket = sim.server().sockets().remove(0);
    socket.emit("bytes", bytes::Bytes::from_static(&[1, 2, 3])).unwrap();
    assert!(old.next().starts_with("451-"));
    old.cut();
    let (client, _) = resume(&sim, &old.session, 2);
    assert_eq!(client.next_binary(), [1, 2, 3]);
    client.expect_nothing();
}

#[test]
fn attachments_of_a_client_that_is_away_are_not_late() {
    let (sim, calls, _) = sim();
    let notes = calls.clone();
    sim.server().on_connect(move |socket: Socket| {
        let calls = notes.clone();
        socket.on("file", move |Data(file): Data<bytes::Bytes>| {
            calls.note(format!("{file:?}"));
            async {}
        });
        async {}
    });
    let old = connect(&sim);
    // Of the 60 s for attachments, those do not count in which the client is away.
    old.send(r#"451-["file",{"_placeholder":true,"num":0}]"#);
    sim.advance(20 * SECOND);
    old.cut();
    sim.advance(55 * SECOND);
    let (client, open) = resume(&sim, &old.session, 1);
    assert_resumed(&open, &old.session, 2);
    sim.advance(20 * SECOND);
    client.send_binary(b"late");
    assert_eq!(calls.take(), [r#"b"late""#]);
    client.send(r#"451-["file",{"_placeholder":true,"num":0}]"#);
    sim.advance(61 * SECOND);
    assert!(client.is_closed(), "a connected client has 60 s");
    assert_eq!(calls.take(), ["disconnected"]);
}

#[test]
fn a_silent_client_is_detached_by_the_ping_timeout() {
    let (sim, calls, lives) = sim();
    let old = connect(&sim);
    old.ignore_pings();
    sim.advance(46 * SECOND);
    assert!(old.is_closed());
    assert_eq!(lives.take(), ["opened", "detached: ping timeout"]);
    let (client, open) = resume(&sim, &old.session, 1);
    assert_resumed(&open, &old.session, 1);
    sim.advance(60 * SECOND);
    assert!(!client.is_closed() && calls.take().is_empty(), "it is alive");
    assert_eq!(lives.take(), ["resumed: websocket"]);
}

#[test]
fn the_server_tells_of_what_it_has_handled_with_its_ping() {
    let (sim, _, _) = sim();
    let client = connect(&sim);
    client.send(r#"42["note","x"]"#);
    sim.advance(25 * SECOND);
    assert_eq!(client.texts(), ["62"]);
    for _ in 0..32 {
        client.send(r#"42["note","x"]"#);
    }
    assert_eq!(client.texts(), ["634"]);
}

#[test]
fn closing_the_server_ends_detached_sessions_at_once() {
    let (sim, calls, lives) = sim();
    let client = connect(&sim);
    client.cut();
    let io = sim.server().clone();
    let closed = sim.spawn(async move { io.close().await });
    assert!(closed.take().is_some());
    assert_eq!(calls.take(), ["disconnected"]);
    assert_eq!(lives.take()[2..], ["closed: server shutting down, Some(1)"]);
}

#[test]
fn a_client_that_is_away_and_is_sent_too_much_is_disconnected() {
    let (io, calls, lives) =
        server(|builder| builder.stateful_reconnect(StatefulReconnect::new().max_bytes(2000)));
    let sim = Sim::new(io);
    let client = connect(&sim);
    client.cut();
    let socket = sim.server().sockets().remove(0);
    let sent = (0..100).take_while(|_| socket.emit("a", "x".repeat(100)).is_ok()).count();
    assert!((8..20).contains(&sent), "{sent}");
    sim.run();
    assert_eq!(calls.take(), ["disconnected"]);
    assert!(lives.take()[2].starts_with("closed: transport error, Some("));
    let (_, open) = resume(&sim, &client.session, 1);
    assert!(!open.contains(&client.session));
}

#[test]
fn an_application_that_refuses_is_asked_only_for_new_sessions() {
    let (io, _, _) = server(|builder| {
        builder.allow_request(async |handshake| match handshake.query_param("resume").as_deref() {
            Some("0") => Ok(()),
            _ => Err("no".into()),
        })
    });
    let sim = Sim::new(io);
    let client = connect(&sim);
    client.cut();
    let (_, open) = resume(&sim, &client.session, 1);
    assert_resumed(&open, &client.session, 1);
    let refused = Client::dial(&sim, "EIO=4&transport=websocket&sid=AAAAAAAAAAAAAAAAAAAA&resume=1");
    assert!(refused.status().contains("400"), "a rejection is a new session");
}

#[test]
fn requests_of_an_earlier_connection_that_arrive_late_change_nothing() {
    let (sim, calls, lives) = sim();
    let (mut old, _) = Polling::open_with(&sim, "&resume=0");
    old.join();
    old.cut();
    let (mut client, packets) = Polling::open_with(&sim, &format!("&sid={}&resume=1&attempt=2", old.session));
    assert_resumed(&packets[0], &old.session, 1);
    client.begin_poll();
    // All of the first connection: a POST, a poll, and the first attempt, which is overtaken.
    old.redial();
    assert_eq!(old.post(r#"42["note","late"]"#), 400);
    old.begin_poll();
    assert_eq!(old.answer().unwrap().0, 400);
    let late = format!("EIO=4&transport=websocket&sid={}&resume=1", old.session);
    for attempt in ["", "&attempt=0", "&attempt=1", "&attempt=2"] {
        let late = Client::dial(&sim, &format!("{late}{attempt}"));
        assert!(late.status().contains("400"), "{attempt}: {}", late.status());
    }
    assert_eq!(client.post(r#"42["note","new"]"#), 200);
    assert!(sim.server().emit("a", 1).error.is_none());
    assert_eq!(client.packets(), [r#"42["a",1]"#]);
    assert_eq!(calls.take(), ["new"]);
    assert_eq!(lives.take(), ["opened", "detached: transport error", "resumed: polling"]);
}
