//! A namespace that is left and joined again while others keep the connection; and names that cannot stand in a packet.

use super::*;
use crate::engineio::client::Request;

/// A client that has joined `/` and `/chat` over WebSocket.
fn joined() -> (Rig, NamespaceId) {
    let mut rig = Rig::joined(|_| {});
    let chat = rig.client.namespace("/chat");
    rig.client.connect(at(0), chat);
    rig.client.join(at(0), chat, 1, "");
    rig.hear(r#"40/chat,{"sid":"c"}"#);
    rig.written();
    rig.events();
    (rig, chat)
}

/// The same by polling, for as long as the test wants.
fn polling() -> (Rig, NamespaceId) {
    let mut rig = Rig::new(|config| config.engine = Arc::default());
    let chat = rig.client.namespace("/chat");
    rig.client.connect(at(0), rig.main);
    rig.client.connect(at(0), chat);
    begin(&mut rig, Lane::Poll);
    respond(&mut rig, Lane::Poll, &OPEN.replace("[]", r#"["websocket"]"#));
    rig.client.join(at(0), rig.main, 1, "");
    rig.client.join(at(0), chat, 1, "");
    assert_eq!(post(&mut rig), "40\u{1e}40/chat,");
    respond(&mut rig, Lane::Post, "ok");
    begin(&mut rig, Lane::Poll);
    respond(&mut rig, Lane::Poll, "40{\"sid\":\"s\"}\u{1e}40/chat,{\"sid\":\"c\"}");
    assert!(rig.client.is_connected(rig.main) && rig.client.is_connected(chat));
    rig.events();
    (rig, chat)
}

fn begin(rig: &mut Rig, lane: Lane) -> Request {
    let (now, generation) = (rig.now(), rig.client.generation());
    rig.client.begin(now, generation, lane, "").unwrap()
}

fn post(rig: &mut Rig) -> String {
    let body: Vec<u8> = begin(rig, Lane::Post).body.unwrap().chunks().flatten().copied().collect();
    String::from_utf8(body).unwrap()
}

fn respond(rig: &mut Rig, lane: Lane, body: &str) {
    let (now, generation) = (rig.now(), rig.client.generation());
    let status = if lane == Lane::WebSocket { 101 } else { 200 };
    rig.respond(now, generation, lane, status, body);
}

fn rejoin(rig: &mut Rig, id: NamespaceId) {
    let now = rig.now();
    rig.client.disconnect(now, id);
    rig.client.connect(now, id);
}

#[test]
fn a_namespace_is_asked_for_again_once_the_server_has_read_that_it_was_left() {
    let (mut rig, chat) = joined();
    rejoin(&mut rig, chat);
    assert_eq!(rig.events(), [Event::Disconnected(chat, DisconnectReason::Client)]);
    assert_eq!(rig.written(), ["41/chat,"]);
    rig.hear(r#"42/chat,["on its way"]"#);
    rig.hear(r#"42["for another"]"#);
    rig.pong();
    let events = rig.events();
    assert!(
        matches!(&events[..], [Event::Incoming(id, _), Event::Join(joins, 2)] if *id == rig.main && *joins == chat),
        "{events:?}"
    );
    rig.client.join(at(0), chat, 2, "");
    assert_eq!(rig.written(), ["40/chat,"]);
    // From a middleware: what was sent before the namespace was left has come.
    rig.hear(r#"42/chat,["early"]"#);
    rig.hear(r#"40/chat,{"sid":"d"}"#);
    let events = rig.events();
    assert!(
        matches!(&events[..], [Event::Incoming(_, it), Event::Connected(_)] if it.event() == "early"),
        "{events:?}"
    );
    assert!(rig.client.is_connected(rig.main));
}

#[test]
fn a_server_that_answers_no_ping_is_asked_all_the_same() {
    let (mut rig, chat) = joined();
    rejoin(&mut rig, chat);
    rig.written();
    rig.pass(1999);
    assert!(!rig.events().iter().any(|it| matches!(it, Event::Join(..))));
    rig.pass(1);
    assert_eq!(rig.events(), [Event::Join(chat, 2)]);
    rig.pong();
    assert_eq!(rig.events(), []);
}

#[test]
fn several_namespaces_are_left_and_joined_again_at_a_time() {
    let (mut rig, chat) = joined();
    let news = rig.client.namespace("/news");
    rig.client.connect(at(0), news);
    rig.client.join(at(0), news, 1, "");
    rig.hear(r#"40/news,{"sid":"n"}"#);
    rig.written();
    rejoin(&mut rig, chat);
    rejoin(&mut rig, news);
    // One of them is not wanted any more, nor then again.
    rig.client.disconnect(at(0), chat);
    rig.client.connect(at(0), chat);
    rig.client.disconnect(at(0), chat);
    assert_eq!(rig.written(), ["41/chat,", "41/news,"]);
    rig.events();
    rig.pong();
    assert_eq!(rig.events(), [Event::Join(news, 2)]);
    rig.client.connect(at(0), chat);
    assert_eq!(rig.events(), [Event::Join(chat, 2)], "the server has read that long ago");
}

#[test]
fn a_connection_that_is_lost_meanwhile_is_as_any_other() {
    let (mut rig, chat) = joined();
    rejoin(&mut rig, chat);
    rig.lose();
    rig.pass(2000);
    rig.events();
    rig.open();
    let joins = rig.events().iter().filter(|it| matches!(it, Event::Join(..))).count();
    assert_eq!((joins, rig.written()), (2, vec![]));
}

#[test]
fn by_polling_a_namespace_is_asked_for_again_by_a_later_request() {
    let (mut rig, chat) = polling();
    begin(&mut rig, Lane::Poll);
    rejoin(&mut rig, chat);
    assert_eq!(post(&mut rig), "41/chat,");
    assert_eq!(rig.events(), [Event::Disconnected(chat, DisconnectReason::Client)]);
    respond(&mut rig, Lane::Post, "ok");
    assert_eq!(rig.events(), [Event::Join(chat, 2)]);
    rig.client.join(at(0), chat, 2, "");
    assert_eq!(post(&mut rig), "40/chat,");
    // It may have been under way before the namespace was left.
    respond(&mut rig, Lane::Poll, "42/chat,[\"early\"]\u{1e}40/chat,{\"sid\":\"d\"}");
    assert_eq!(rig.events(), [Event::Connected(chat)]);
}

#[test]
fn a_namespace_that_was_left_by_polling_is_joined_again_after_an_upgrade() {
    let (mut rig, chat) = polling();
    begin(&mut rig, Lane::Poll);
    begin(&mut rig, Lane::WebSocket);
    respond(&mut rig, Lane::WebSocket, "");
    assert_eq!(rig.written(), ["2probe"]);
    rig.hear("3probe");
    rejoin(&mut rig, chat);
    respond(&mut rig, Lane::Poll, "6");
    assert_eq!(rig.written(), ["5", "41/chat,"]);
    assert_eq!(rig.events(), [Event::Disconnected(chat, DisconnectReason::Client)]);
    rig.pong();
    assert_eq!(rig.events(), [Event::Join(chat, 2)]);
}

#[test]
fn the_server_is_told_after_it_has_read_the_events_before() {
    let (mut rig, chat) = joined();
    rig.emit(r#"2["last"]"#, How::default()).unwrap();
    rig.client.close(at(0));
    assert_eq!(rig.closed(), [DisconnectReason::Client, DisconnectReason::Client]);
    assert_eq!(rig.written(), [r#"42["last"]"#, "41/chat,"], "nothing was sent in the other");
    assert!(!rig.client.is_active(rig.main) && !rig.client.is_active(chat));
    let generation = rig.client.generation();
    assert_eq!(rig.client.wants(at(0), generation, Lane::WebSocket), Want::Keep);
    rig.pong();
    assert_eq!(rig.client.wants(at(0), generation, Lane::WebSocket), Want::Nothing);
    assert_eq!(rig.written(), ["41"]);
    assert!(rig.client.is_idle());
}

#[test]
fn a_server_that_ends_a_namespace_meanwhile_is_not_told() {
    for is_wanted in [false, true] {
        let (mut rig, chat) = joined();
        rig.emit_to(chat, r#"2/chat,["last"]"#, How::default()).unwrap();
        rig.client.disconnect(at(0), chat);
        if is_wanted {
            rig.client.connect(at(0), chat);
        }
        rig.written();
        rig.events();
        rig.hear("41/chat,");
        let asked = if is_wanted { vec![Event::Join(chat, 2)] } else { vec![] };
        assert_eq!(rig.events(), asked);
        rig.pong();
        assert!(rig.written().is_empty() && rig.events().is_empty() && rig.client.is_connected(rig.main));
    }
    let mut rig = Rig::joined(|_| {});
    rig.emit(r#"2["last"]"#, How::default()).unwrap();
    rig.client.close(at(0));
    rig.written();
    rig.hear("41");
    assert!(rig.client.is_idle() && rig.written().is_empty());
}

#[test]
fn the_server_is_told_at_last_even_if_it_reads_nothing() {
    let (mut rig, _) = joined();
    rig.emit(r#"2["last"]"#, How::default()).unwrap();
    rig.client.close(at(0));
    rig.written();
    rig.pass(1999);
    assert!(!rig.client.is_idle() && rig.written().is_empty());
    rig.pass(1);
    assert_eq!(rig.written(), ["41"]);
    assert!(rig.client.is_idle() && rig.client.next_deadline().is_none());

    let (mut rig, _) = polling();
    rig.emit(r#"2["last"]"#, How::default()).unwrap();
    rig.client.close(at(0));
    assert_eq!(post(&mut rig), r#"42["last"]"#);
    rig.pass(9999);
    assert!(!rig.client.is_idle());
    rig.pass(2);
    assert!(rig.client.is_idle() && rig.client.next_deadline().is_none());
}

#[test]
fn nothing_is_waited_for_if_the_last_event_was_long_ago() {
    let (mut rig, _) = joined();
    rig.emit(r#"2["old"]"#, How::default()).unwrap();
    rig.written();
    rig.pass(2000);
    rig.client.close(rig.now());
    assert_eq!(rig.written(), ["41", "41/chat,"]);
    assert!(rig.client.is_idle());
}

#[test]
fn by_polling_the_end_of_a_namespace_and_that_of_the_session_have_requests_of_their_own() {
    let (mut rig, _) = polling();
    rig.emit(r#"2["under way"]"#, How::default()).unwrap();
    let mut posts = vec![post(&mut rig)];
    rig.emit(r#"2["last"]"#, How::default()).unwrap();
    rig.client.close(at(0));
    while !rig.client.is_idle() {
        respond(&mut rig, Lane::Post, "ok");
        if !rig.client.is_idle() {
            posts.push(post(&mut rig));
        }
    }
    let expected = [r#"42["under way"]"#, r#"42["last"]"#, "41\u{1e}41/chat,", "1"];
    assert_eq!(posts, expected);
}

#[test]
fn a_namespace_with_events_is_left_then_asked_for_again() {
    let (mut rig, chat) = joined();
    let emit = |rig: &mut Rig, text: &str| rig.emit_to(chat, text, How::default()).unwrap();
    emit(&mut rig, r#"2/chat,["last"]"#);
    rejoin(&mut rig, chat);
    assert!(matches!(emit(&mut rig, r#"2/chat,["next"]"#), Sent::Later(_)));
    assert_eq!(rig.written(), [r#"42/chat,["last"]"#]);
    rig.pong();
    assert_eq!(rig.written(), ["41/chat,"]);
    rig.events();
    rig.pong();
    assert_eq!(rig.events(), [Event::Join(chat, 2)]);
    rig.client.join(at(0), chat, 2, "");
    rig.hear(r#"40/chat,{"sid":"d"}"#);
    assert_eq!(rig.written(), ["40/chat,", r#"42/chat,["next"]"#]);

    // It was the only one: the connection goes on with it.
    let mut rig = Rig::joined(|_| {});
    let (main, generation) = (rig.main, rig.client.generation());
    rig.emit(r#"2["last"]"#, How::default()).unwrap();
    rejoin(&mut rig, main);
    assert_eq!(rig.written(), [r#"42["last"]"#]);
    rig.pong();
    assert_eq!(rig.written(), ["41"]);
    rig.pong();
    rig.join();
    assert_eq!(rig.client.generation(), generation);
}

#[test]
fn a_name_that_would_split_a_packet_is_refused() {
    for name in ["/a\u{1e}41", "/a,b", "/a?b", "a"] {
        let mut rig = Rig::joined(|_| {});
        let id = rig.client.namespace(name);
        rig.client.connect(at(0), id);
        assert_eq!(rig.events(), [Event::ConnectError(id, ConnectError::Namespace)]);
        assert!(!rig.client.is_active(id) && rig.written().is_empty());
    }
}

#[test]
fn auth_that_would_split_a_payload_is_refused() {
    let mut rig = Rig::new(|_| {});
    rig.client.connect(at(0), rig.main);
    rig.open();
    rig.events();
    rig.client.join(at(0), rig.main, 1, "{\"a\":\"\u{1e}\"}");
    let error = ConnectError::Auth("auth is not a JSON object".into());
    assert_eq!((rig.events(), rig.written()), (vec![Event::ConnectError(rig.main, error)], vec![]));
}

#[test]
fn a_namespace_is_left_even_if_events_fill_the_send_buffer() {
    let mut rig = Rig::joined(|config| {
        let engine = EngineConfig { send_buffer: 500, ..(*config.engine).clone() };
        config.engine = Arc::new(engine);
    });
    let chat = rig.client.namespace("/chat");
    rig.client.connect(at(0), chat);
    rig.client.join(at(0), chat, 1, "");
    rig.hear(r#"40/chat,{"sid":"c"}"#);
    rig.written();
    while rig.emit(r#"2["m"]"#, How::default()).is_ok() {}
    rig.client.disconnect(at(0), chat);
    rig.pass(5000);
    assert_eq!(rig.written().last().map(|it| &**it), Some("41/chat,"));
    assert!(rig.client.is_connected(rig.main));
}
