//! Stateful reconnect: what namespaces and the application see of it.

use super::*;
use crate::engineio::Part;

/// The client may keep at least a quarter of it.
const MAX_BYTES: usize = 8000;

fn open(sid: &str, received: u64) -> String {
    let terms = alloc::format!(r#""resume":{{"received":{received},"window":30000,"maxBytes":{MAX_BYTES}}}"#);
    alloc::format!(r#"0{{"sid":"{sid}","upgrades":[],"pingInterval":25000,"pingTimeout":20000,{terms}}}"#)
}

fn resumable(change: impl FnOnce(&mut Config)) -> Rig {
    let mut rig = Rig::new(|config| {
        let transports = [Transport::WebSocket].into();
        let engine = EngineConfig { transports, stateful_reconnect: true, ..EngineConfig::default() };
        config.engine = Arc::new(engine);
        change(config);
    });
    rig.client.connect(at(0), rig.main);
    begin(&mut rig);
    rig.hear(&open("abc", 0));
    match rig.client.config().parser {
        Parser::MessagePack => {
            rig.client.join(at(0), rig.main, 1, "");
            // The answer has the same form as the request.
            let mut encoder = Encoder::with_parser(Parser::MessagePack);
            let encoded = encoder.connect("/", Some(r#"{"sid":"s"}"#)).unwrap();
            let Part::Binary(data) = encoded.first() else { panic!("a text") };
            rig.hear_binary(data);
            rig.events();
        }
        _ => rig.join(),
    }
    rig.hear("61");
    assert!(rig.client.is_connected(rig.main));
    rig
}

/// Begins to open the connection. Returns the target of the request.
fn begin(rig: &mut Rig) -> String {
    let (now, generation) = (rig.now(), rig.client.generation());
    let request = rig.client.begin(now, generation, Lane::WebSocket, "").unwrap();
    rig.client.handle_response(now, generation, Lane::WebSocket, 101, b"");
    request.target
}

/// Lets time pass until the next attempt to open the connection, and begins it.
fn attempt(rig: &mut Rig) -> String {
    let generation = rig.client.generation();
    while rig.client.wants(rig.now(), generation, Lane::WebSocket) != Want::Request {
        let wait = rig.client.next_deadline().unwrap().since_origin().as_millis() as u64 - rig.now;
        rig.pass(wait.max(1));
    }
    begin(rig)
}

fn interrupted() -> Event {
    Event::Interrupted(TransportError::Lost.into())
}

fn emit(rig: &mut Rig, text: &str) -> Sent {
    rig.emit(text, How::default()).unwrap()
}

fn answer(rig: &mut Rig, id: u64) -> Result<(), crate::engineio::client::SendError> {
    let mut encoder = Encoder::new();
    let encoded = encoder.ack("/", id, &("done",)).unwrap();
    rig.client.acknowledge(rig.now(), rig.main, &encoded)
}

fn lost(events: &[Event]) -> Vec<(String, String)> {
    let lost = events.iter().filter_map(|event| match event {
        Event::Lost(_, lost) => Some((lost.event.clone(), lost.args.as_args().json().to_string())),
        _ => None,
    });
    lost.collect()
}

#[test]
fn namespaces_stay_joined_and_everything_arrives_once_and_in_order() {
    let mut rig = resumable(|_| {});
    emit(&mut rig, r#"2["a"]"#);
    rig.emit(r#"27["b"]"#, ask(7, 60_000)).unwrap();
    assert_eq!(rig.written(), [r#"42["a"]"#, r#"427["b"]"#]);
    rig.hear(r#"429["question"]"#);
    rig.events();
    rig.lose();
    assert!(rig.client.is_interrupted() && rig.client.is_connected(rig.main));
    assert_eq!(rig.events(), [interrupted()]);
    let Sent::Later(token) = emit(&mut rig, r#"2["c"]"#) else { panic!("there is no connection") };
    answer(&mut rig, 9).unwrap();
    emit(&mut rig, r#"2["d"]"#);
    assert_eq!(rig.emit(r#"2["v"]"#, How { volatile: true, ack: None }), Err(EmitError::NotReady));
    assert!(attempt(&mut rig).ends_with("&sid=abc&resume=2&attempt=1"));
    assert!(rig.now < 1000, "the first attempt is soon");
    assert_eq!(rig.events(), [Event::ReconnectAttempt(1)]);
    // The server has handled "a".
    rig.hear(&open("abc", 2));
    assert_eq!(
        rig.events(),
        [Event::Resumed, Event::Fate(token, Ok(())), Event::Fate(Token(token.0 + 2), Ok(()))]
    );
    assert_eq!(rig.written(), [r#"427["b"]"#, r#"42["c"]"#, r#"439["done"]"#, r#"42["d"]"#]);
    rig.hear(r#"437["yes"]"#);
    assert!(matches!(rig.events().as_slice(), [Event::Answer(_, 7, Ok(_))]));
    assert!(!rig.client.is_interrupted());
    // The attempts count anew, unless nothing gets through any more.
    for expected in [1, 1, 2, 3] {
        rig.lose();
        attempt(&mut rig);
        assert!(rig.events().contains(&Event::ReconnectAttempt(expected)));
        rig.hear(&open("abc", 5));
    }
    assert!(rig.now > 2000, "a connection that is lost again and again is opened less often");
}

#[test]
fn a_packet_whose_attachments_were_cut_off_is_completed() {
    let mut rig = resumable(|_| {});
    rig.hear(r#"452-["b",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#);
    rig.hear_binary(&[1]);
    rig.lose();
    // The time without a connection does not count.
    rig.pass(100);
    assert!(attempt(&mut rig).ends_with("&resume=3&attempt=1"));
    rig.hear(&open("abc", 1));
    rig.pass(20_000);
    rig.hear_binary(&[2]);
    let events = rig.events();
    assert!(matches!(events.last(), Some(Event::Incoming(_, it)) if it.event() == "b"), "{events:?}");
}

#[test]
fn packets_of_a_connection_that_was_given_up_are_not_handled() {
    let mut rig = resumable(|_| {});
    let generation = rig.client.generation();
    rig.lose();
    rig.events();
    rig.client.handle_message(rig.now(), generation, &Frame::Text(Cow::Borrowed(r#"42["late"]"#)));
    assert_eq!(rig.events(), []);
    assert_eq!(rig.client.wants(rig.now(), generation, Lane::WebSocket), Want::Abort);
    assert!(attempt(&mut rig).ends_with("&resume=1&attempt=1"));
    rig.client.handle_eof(rig.now(), generation, Lane::WebSocket);
    rig.hear(&open("abc", 1));
    assert_eq!(rig.client.wants(rig.now(), generation, Lane::WebSocket), Want::Abort);
    rig.client.close(rig.now());
    assert_eq!(rig.client.wants(rig.now(), generation, Lane::WebSocket), Want::Nothing);
}

#[test]
fn events_that_no_server_has_confirmed_are_reported_and_those_that_were_never_sent_go_on_waiting() {
    let mut rig = resumable(|_| {});
    emit(&mut rig, r#"2["known"]"#);
    emit(&mut rig, r#"2["a",1]"#);
    rig.emit(r#"27["asked"]"#, ask(7, 60_000)).unwrap();
    rig.hear(r#"429["question"]"#);
    rig.hear("62");
    rig.lose();
    emit(&mut rig, r#"2["later"]"#);
    answer(&mut rig, 9).unwrap();
    attempt(&mut rig);
    rig.events();
    rig.hear(&open("def", 0));
    let events = rig.events();
    assert_eq!(lost(&events), [("a".to_string(), r#"["a",1]"#.to_string())]);
    let reason = DisconnectReason::Closed(TransportError::Lost.into());
    assert_eq!(events[0], Event::Answer(rig.main, 7, Err(NoAnswer::Disconnected)));
    assert_eq!(events[1], Event::Disconnected(rig.main, reason));
    let Some(Event::Join(id, attempt)) = events.last().cloned() else { panic!("{events:?}") };
    assert!(events.contains(&Event::Reconnect(1)));
    rig.client.join(rig.now(), id, attempt, "");
    rig.hear(r#"40{"sid":"t"}"#);
    assert_eq!(rig.written(), ["40", r#"42["later"]"#]);
}

#[test]
fn an_event_is_shown_with_its_attachments_though_the_server_has_a_part_of_it() {
    for parser in [Parser::Text, Parser::MessagePack] {
        let mut rig = resumable(|config| config.parser = parser);
        let mut encoder = Encoder::with_parser(parser);
        let packet = Packet::decode(
            r#"52-["b",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#,
            &Limits::default(),
        );
        let attachments = [bytes::Bytes::from_static(&[1]), bytes::Bytes::from_static(&[2])];
        let args = packet.as_ref().unwrap().args(&attachments[..]).unwrap();
        let encoded = encoder.forward_event("/", None, "b", args).unwrap();
        rig.client.send(at(0), rig.main, &encoded, How::default()).unwrap();
        let messages = encoded.parts().count();
        if messages > 1 {
            rig.hear("63");
        }
        rig.lose();
        rig.client.close(rig.now());
        let events = rig.events();
        let Some(Event::Lost(_, event)) = events.last() else { panic!("{events:?}") };
        assert_eq!((&*event.event, event.args.as_args().attachments().bytes()), ("b", 2), "{parser:?}");
    }
}

#[test]
fn the_session_ends_with_its_window_or_the_attempts() {
    let mut rig = resumable(|_| {});
    emit(&mut rig, r#"2["a"]"#);
    rig.lose();
    rig.pass(29_000);
    assert!(rig.client.is_connected(rig.main));
    rig.pass(60_000);
    let events = rig.events();
    let reason = DisconnectReason::Closed(TransportError::Lost.into());
    assert_eq!(events.iter().filter(|it| **it == Event::Disconnected(rig.main, reason.clone())).count(), 1);
    assert_eq!(lost(&events), [("a".to_string(), r#"["a"]"#.to_string())]);
    assert!(!begin(&mut rig).contains("sid"));

    let mut rig = resumable(|config| config.reconnection_attempts = Some(2));
    rig.lose();
    for _ in 0..2 {
        attempt(&mut rig);
        rig.lose();
    }
    let events = rig.events();
    assert_eq!(events.iter().filter(|it| matches!(it, Event::ReconnectError(_))).count(), 2);
    assert!(events.contains(&Event::ReconnectFailed) && !rig.client.is_active(rig.main));
    assert!(rig.client.is_idle());

    let mut rig = resumable(|config| config.reconnection = false);
    rig.lose();
    assert!(rig.client.is_idle());
}

#[test]
fn joining_and_leaving_go_on_with_the_next_connection() {
    let mut rig = resumable(|_| {});
    let [left, asked, late] = ["/left", "/asked", "/late"].map(|name| rig.client.namespace(name));
    rig.client.connect(rig.now(), left);
    rig.events();
    rig.client.join(rig.now(), left, 1, "");
    rig.hear(r#"40/left,{"sid":"l"}"#);
    rig.client.connect(rig.now(), asked);
    rig.events();
    rig.written();
    rig.lose();
    // The application answers while there is no connection.
    rig.client.join(rig.now(), asked, 1, "");
    rig.client.disconnect(rig.now(), left);
    rig.client.connect(rig.now(), late);
    attempt(&mut rig);
    rig.events();
    rig.hear(&open("abc", 2));
    assert_eq!(rig.events(), [Event::Resumed, Event::Join(asked, 3), Event::Join(late, 1)]);
    rig.client.join(rig.now(), asked, 3, "");
    assert_eq!(rig.written(), ["41/left,", "40/asked,"]);
}

#[test]
fn at_the_limit_events_and_answers_wait_until_the_server_confirms_others() {
    let mut rig = resumable(|config| {
        let engine = EngineConfig { send_buffer: 2000, ..EngineConfig::clone(&config.engine) };
        config.engine = Arc::new(engine);
    });
    let long = alloc::format!(r#"2["{}"]"#, "x".repeat(900));
    assert_eq!(emit(&mut rig, &long), Sent::Now);
    assert_eq!(emit(&mut rig, &long), Sent::Now);
    rig.written();
    assert!(matches!(emit(&mut rig, &long), Sent::Later(_)));
    assert!(matches!(emit(&mut rig, r#"2["short"]"#), Sent::Later(_)), "behind it");
    rig.hear(r#"421["question"]"#);
    answer(&mut rig, 1).unwrap();
    assert_eq!(rig.written(), [""; 0]);
    rig.hear("63");
    let written = rig.written();
    assert_eq!(written[1..], [r#"42["short"]"#, r#"431["done"]"#]);
}
