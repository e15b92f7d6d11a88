mod joining;
mod leaving;
mod recovery;
mod resume;
mod waiting;

use super::*;
use crate::engineio::client::{Lane, TransportError, Want};
use crate::engineio::{Transport, split_payload};
use crate::outbound::Outbound;
use crate::random::Random;
use crate::socketio::{Attached, Encoder, Packet};
use crate::time::Time;
use crate::websocket::{Decoder, Message as Frame, Role};
use alloc::borrow::Cow;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

const OPEN: &str =
    r#"0{"sid":"abc","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000}"#;

fn at(millis: u64) -> Time {
    Time::from_origin(Duration::from_millis(millis))
}

/// A client over WebSocket, and a server that is played by the test.
struct Rig {
    client: Client,
    main: NamespaceId,
    now: u64,
    /// The data of the last ping that was written.
    ping: Vec<u8>,
}

impl Rig {
    fn new(change: impl FnOnce(&mut Config)) -> Rig {
        let engine = EngineConfig { transports: [Transport::WebSocket].into(), ..EngineConfig::default() };
        let mut config = Config { engine: Arc::new(engine), ..Config::default() };
        change(&mut config);
        let mut client = Client::new(Arc::new(config), Random::from_seed([5; 20]));
        let main = client.namespace("/");
        Rig { client, main, now: 0, ping: Vec::new() }
    }

    /// A client that has joined `/`.
    fn joined(change: impl FnOnce(&mut Config)) -> Rig {
        let mut rig = Rig::new(change);
        rig.client.connect(at(0), rig.main);
        rig.open();
        rig.join();
        rig
    }

    fn now(&self) -> Time {
        at(self.now)
    }

    fn open(&mut self) {
        let (now, generation) = (self.now(), self.client.generation());
        assert!(self.client.begin(now, generation, Lane::WebSocket, "").is_some());
        self.client.handle_response(now, generation, Lane::WebSocket, 101, b"");
        self.hear(OPEN);
    }

    /// Handles a response, with all packets of its payload.
    fn respond(&mut self, now: Time, generation: u64, lane: Lane, status: u16, body: &str) {
        let payload = self.client.handle_response(now, generation, lane, status, body.as_bytes());
        let Some(payload) = payload else { return };
        for packet in split_payload(payload) {
            let text = Text::read(packet, Parser::default(), &Limits::default());
            self.client.handle_text(now, generation, lane, text);
        }
        self.client.end_poll(now, generation);
    }

    fn join(&mut self) {
        let events = self.events();
        let is_for_main = |event: &&Event| matches!(event, Event::Join(id, _) if *id == self.main);
        let Some(Event::Join(id, attempt)) = events.iter().find(is_for_main) else { panic!("{events:?}") };
        self.client.join(self.now(), *id, *attempt, "");
        self.written();
        self.hear(r#"40{"sid":"s"}"#);
        let events = self.events();
        assert!(events.contains(&Event::Connected(self.main)), "{events:?}");
    }

    fn hear(&mut self, text: &str) {
        let generation = self.client.generation();
        self.client.handle_message(self.now(), generation, &Frame::Text(Cow::Borrowed(text)));
    }

    fn hear_binary(&mut self, data: &[u8]) {
        let generation = self.client.generation();
        self.client.handle_message(self.now(), generation, &Frame::Binary(Cow::Borrowed(data)));
    }

    fn lose(&mut self) {
        let generation = self.client.generation();
        self.client.handle_failed(self.now(), generation, Lane::WebSocket, TransportError::Lost);
    }

    fn events(&mut self) -> Vec<Event> {
        core::iter::from_fn(|| self.client.poll_event()).collect()
    }

    fn written(&mut self) -> Vec<String> {
        let mut out = Outbound::new();
        let generation = self.client.generation();
        self.client.transmit(self.now(), generation, &mut out);
        let (written, ping) = read_all(&out);
        self.ping = ping.unwrap_or(core::mem::take(&mut self.ping));
        written
    }

    /// Answers the last ping that was written.
    fn pong(&mut self) {
        let (now, generation) = (self.now(), self.client.generation());
        let ping = core::mem::take(&mut self.ping);
        assert!(!ping.is_empty(), "there was none");
        self.client.handle_message(now, generation, &Frame::Pong(&ping));
    }

    fn emit(&mut self, text: &str, how: How) -> Result<Sent, EmitError> {
        self.emit_to(self.main, text, how)
    }

    /// Sends an event, given as the text of its packet.
    fn emit_to(&mut self, id: NamespaceId, text: &str, how: How) -> Result<Sent, EmitError> {
        let limits = Limits { max_event_len: usize::MAX, ..Limits::default() };
        let packet = Packet::decode(text, &limits).unwrap();
        let (event, args) = (packet.event().unwrap(), packet.args(Attached::default()).unwrap());
        let mut encoder = Encoder::new();
        let encoded = encoder.forward_event(packet.namespace, packet.id, &event, args).unwrap();
        self.client.send(at(self.now), id, &encoded, how)
    }

    /// Lets time pass, deadline by deadline.
    fn pass(&mut self, millis: u64) {
        let end = self.now + millis;
        while let Some(deadline) = self.client.next_deadline().filter(|it| *it <= at(end)) {
            self.now = self.now.max(deadline.since_origin().as_millis() as u64 + 1);
            let now = self.now();
            self.client.handle_timeout(now);
            assert!(self.client.next_deadline().is_none_or(|next| next > now), "a deadline stays");
        }
        self.now = end.max(self.now);
    }

    fn closed(&mut self) -> Vec<DisconnectReason> {
        let reasons = self.events().into_iter().filter_map(|event| match event {
            Event::Disconnected(_, reason) => Some(reason),
            _ => None,
        });
        reasons.collect()
    }
}

fn read(out: &Outbound) -> Vec<String> {
    read_all(out).0
}

/// The packets, and the data of the last ping behind them.
fn read_all(out: &Outbound) -> (Vec<String>, Option<Vec<u8>>) {
    let mut bytes: Vec<u8> = out.chunks().flatten().copied().collect();
    let mut input = bytes.as_mut_slice();
    let mut decoder = Decoder::new(Role::Server, 10_000);
    let (mut packets, mut ping) = (Vec::new(), None);
    while let Some(frame) = decoder.decode(&mut input).unwrap() {
        match frame {
            Frame::Text(text) => packets.push(text.into_owned()),
            Frame::Ping(data) => ping = Some(data.to_vec()),
            _ => break,
        }
    }
    (packets, ping)
}

fn ask(id: u64, millis: u64) -> How {
    How { volatile: false, ack: Some((id, Duration::from_millis(millis))) }
}

#[test]
fn a_namespace_is_joined_with_what_the_application_shows() {
    let mut rig = Rig::new(|_| {});
    let chat = rig.client.namespace("/chat");
    rig.client.connect(at(0), rig.main);
    rig.client.connect(at(0), chat);
    rig.open();
    assert_eq!(rig.events(), [Event::Join(rig.main, 1), Event::Join(chat, 1)]);
    rig.client.join(at(0), rig.main, 1, "");
    rig.client.join(at(0), chat, 1, r#"{"token":"x"}"#);
    rig.client.join(at(0), chat, 1, r#"{"token":"again"}"#);
    assert_eq!(rig.written(), ["40", r#"40/chat,{"token":"x"}"#]);
    rig.hear(r#"40/chat,{"sid":"c"}"#);
    assert_eq!(rig.events(), [Event::Connected(chat)]);
    assert_eq!((rig.client.sid(chat), rig.client.sid(rig.main)), (Some("c"), None));
}

#[test]
fn events_sent_before_the_answer_are_written_after_it_and_first() {
    let mut rig = Rig::new(|_| {});
    let Ok(Sent::Later(token)) = rig.emit(r#"2["a"]"#, How::default()) else { panic!() };
    rig.client.connect(at(0), rig.main);
    rig.open();
    rig.emit(r#"2["b"]"#, How::default()).unwrap();
    let events = rig.events();
    assert_eq!(events, [Event::Join(rig.main, 1)]);
    rig.client.join(at(0), rig.main, 1, "");
    assert_eq!(rig.written(), ["40"]);
    rig.hear(r#"40{"sid":"s"}"#);
    assert_eq!(rig.emit(r#"2["c"]"#, How::default()), Ok(Sent::Now));
    assert_eq!(rig.written(), [r#"42["a"]"#, r#"42["b"]"#, r#"42["c"]"#]);
    assert!(rig.events().contains(&Event::Fate(token, Ok(()))));
    assert_eq!(rig.client.buffered(rig.main), 0);
}

#[test]
fn events_that_are_sent_are_reported_each_time_and_only_if_that_is_wanted() {
    fn left(rig: &mut Rig) -> Vec<String> {
        let left = rig.events().into_iter().filter_map(|event| match event {
            Event::Outgoing(_, Emitted { event, args }) => {
                Some(alloc::format!("{event} {:?}", args.as_args().iter().collect::<Vec<_>>()))
            }
            _ => None,
        });
        left.collect()
    }
    let once = How { volatile: true, ack: None };
    let mut rig = Rig::joined(|config| config.retries = 1);
    rig.emit(r#"2["unseen"]"#, once).unwrap();
    assert_eq!((rig.written().len(), left(&mut rig).len()), (1, 0));
    rig.client.tell_outgoing(rig.main, true);
    rig.emit(r#"2["long \u0061",{}]"#, once).unwrap();
    rig.emit(r#"20["again",1]"#, ask(0, 500)).unwrap();
    assert_eq!(left(&mut rig), [r#"long a ["{}"]"#, r#"again ["1"]"#]);
    rig.written();
    rig.pass(501);
    assert_eq!((rig.written().len(), left(&mut rig)), (1, vec![r#"again ["1"]"#.into()]));
    rig.client.tell_outgoing(rig.main, false);
    rig.pass(501);
    rig.emit(r#"2["unseen"]"#, once).unwrap();
    assert_eq!(left(&mut rig), [""; 0]);
}

#[test]
fn an_event_that_waits_for_capacity_is_sent_first() {
    let mut rig = Rig::new(|config| {
        let transports = [Transport::WebSocket].into();
        config.engine = Arc::new(EngineConfig { transports, send_buffer: 50, ..EngineConfig::default() });
    });
    let long = |name: &str| alloc::format!(r#"2["{name}","{}"]"#, "x".repeat(30));
    rig.emit(&long("a"), How::default()).unwrap();
    rig.emit(&long("b"), How::default()).unwrap();
    rig.client.connect(at(0), rig.main);
    rig.open();
    rig.events();
    rig.client.join(at(0), rig.main, 1, "");
    rig.written();
    rig.hear(r#"40{"sid":"s"}"#);
    // There would be capacity for this one.
    assert!(matches!(rig.emit(r#"2["c"]"#, How::default()), Ok(Sent::Later(_))));
    let written: Vec<_> = (0..3).flat_map(|_| rig.written()).collect();
    assert_eq!(
        written,
        [alloc::format!("4{}", long("a")), alloc::format!("4{}", long("b")), r#"42["c"]"#.into()]
    );
}

#[test]
fn waiting_events_are_bounded_in_bytes_and_age() {
    let offline = Offline::Buffer { bytes: 200, age: Some(Duration::from_secs(1)) };
    let mut rig = Rig::new(|config| config.offline = offline);
    let Ok(Sent::Later(first)) = rig.emit(r#"20["a"]"#, ask(0, 60_000)) else { panic!() };
    rig.emit(r#"2["b"]"#, How::default()).unwrap();
    let long = alloc::format!(r#"2["{}"]"#, "x".repeat(20));
    assert_eq!(rig.emit(&long, How::default()), Err(EmitError::OfflineFull { limit: 200 }));
    rig.pass(1000);
    let events = rig.events();
    assert!(events.contains(&Event::Fate(first, Err(EmitError::Expired))), "{events:?}");
    assert!(events.contains(&Event::Answer(rig.main, 0, Err(NoAnswer::NotSent(EmitError::Expired)))));
    assert_eq!(rig.client.buffered(rig.main), 0);
    let mut rig = Rig::new(|config| config.offline = Offline::Fail);
    assert_eq!(rig.emit(r#"2["a"]"#, How::default()), Err(EmitError::Disconnected));
}

#[test]
fn waiting_events_can_be_cleared_and_volatile_ones_never_wait() {
    let mut rig = Rig::new(|_| {});
    let Ok(Sent::Later(token)) = rig.emit(r#"2["a"]"#, How::default()) else { panic!() };
    assert_eq!(rig.emit(r#"2["v"]"#, How { volatile: true, ack: None }), Err(EmitError::NotReady));
    rig.client.clear(rig.main);
    assert_eq!(rig.events(), [Event::Fate(token, Err(EmitError::Cleared))]);
}

#[test]
fn an_answer_that_comes_too_late_takes_the_event_out_of_what_waits() {
    let mut rig = Rig::new(|_| {});
    let Ok(Sent::Later(token)) = rig.emit(r#"20["a"]"#, ask(0, 500)) else { panic!() };
    rig.pass(500);
    let expected =
        [Event::Fate(token, Err(EmitError::Cleared)), Event::Answer(rig.main, 0, Err(NoAnswer::Timeout))];
    assert_eq!(rig.events(), expected);
    assert_eq!(rig.client.buffered(rig.main), 0);
}

#[test]
fn ids_of_acknowledgements_have_31_bits_and_skip_those_in_use() {
    let mut rig = Rig::joined(|_| {});
    let main = rig.main;
    for id in 0..2 {
        assert_eq!(rig.client.next_ack(main), id);
        rig.emit(&alloc::format!(r#"2{id}["a"]"#), ask(id, 60_000)).unwrap();
    }
    rig.client.set_next_ack(main, (1 << 31) - 2);
    let ids: [_; 4] = core::array::from_fn(|_| rig.client.next_ack(main));
    assert_eq!(ids, [(1 << 31) - 2, (1 << 31) - 1, 2, 3]);
    rig.hear("430[]");
    rig.client.set_next_ack(main, 0);
    assert_eq!((rig.client.next_ack(main), rig.client.next_ack(main)), (0, 2));

    let mut rig = Rig::joined(|config| config.retries = 1);
    let main = rig.main;
    rig.emit(r#"20["a"]"#, ask(0, 60_000)).unwrap();
    rig.emit(r#"21["b"]"#, ask(1, 60_000)).unwrap();
    rig.client.set_next_ack(main, (1 << 31) - 1);
    assert_eq!((rig.client.next_ack(main), rig.client.next_ack(main)), ((1 << 31) - 1, 2));
}

#[test]
fn answers_find_their_question_once() {
    let mut rig = Rig::joined(|_| {});
    rig.emit(r#"20["a"]"#, ask(0, 1000)).unwrap();
    rig.emit(r#"21["b"]"#, ask(1, 1000)).unwrap();
    for packet in [r#"431["x"]"#, r#"431["x"]"#, r#"437["unknown"]"#] {
        rig.hear(packet);
    }
    let events = rig.events();
    assert!(matches!(&events[..], [Event::Answer(_, 1, Ok(args))] if args.as_args().json() == r#"["x"]"#));
    rig.lose();
    assert!(rig.events().contains(&Event::Answer(rig.main, 0, Err(NoAnswer::Disconnected))));
}

#[test]
fn events_before_the_answer_to_a_connect_are_kept_within_bounds() {
    let mut rig = Rig::new(|config| config.receive_buffer = 1000);
    rig.client.connect(at(0), rig.main);
    rig.open();
    rig.events();
    rig.client.join(at(0), rig.main, 1, "");
    rig.hear(r#"42["early"]"#);
    assert_eq!(rig.events(), []);
    rig.hear(r#"40{"sid":"s"}"#);
    let events = rig.events();
    assert!(matches!(&events[..], [Event::Incoming(_, it), Event::Connected(_)] if it.event() == "early"));

    let mut rig = Rig::new(|config| config.receive_buffer = 1000);
    rig.client.connect(at(0), rig.main);
    rig.open();
    rig.client.join(at(0), rig.main, 1, "");
    for _ in 0..1000 {
        rig.hear(r#"42["early"]"#);
    }
    let events = rig.events();
    assert!(
        events.iter().any(|event| matches!(event, Event::ConnectError(_, ConnectError::Closed(_)))),
        "{events:?}"
    );
}

#[test]
fn waits_between_attempts_grow_differ_and_end() {
    let mut rig = Rig::new(|config| config.reconnection_attempts = Some(4));
    rig.client.connect(at(0), rig.main);
    let mut waits = Vec::new();
    for attempt in 1..=4 {
        rig.lose();
        let before = rig.now;
        let deadline = rig.client.next_deadline().unwrap();
        rig.pass(deadline.since_origin().as_millis() as u64 + 1 - before);
        waits.push(rig.now - before);
        let events = rig.events();
        assert_eq!(events.last(), Some(&Event::ReconnectAttempt(attempt)), "{events:?}");
    }
    for (wait, middle) in waits.iter().zip([1000, 2000, 4000, 5000]) {
        assert!((middle / 2..=middle * 3 / 2 + 2).contains(wait) && *wait <= 5002, "{waits:?}");
    }
    rig.lose();
    let events = rig.events();
    assert!(events.iter().any(|event| matches!(event, Event::ReconnectError(_))));
    assert_eq!(events.last(), Some(&Event::ReconnectFailed));
    assert!(rig.client.is_idle() && !rig.client.is_active(rig.main));
    rig.client.connect(rig.now(), rig.main);
    assert!(!rig.client.is_idle(), "it can be asked for again");
}

#[test]
fn waits_and_attempts_are_counted_until_a_namespace_is_joined() {
    let mut rig = Rig::new(|config| config.reconnection_attempts = Some(3));
    rig.client.connect(at(0), rig.main);
    rig.open();
    let mut waits = Vec::new();
    for attempt in 1..=3 {
        // The server lets it connect, but not join.
        rig.lose();
        let before = rig.now;
        let deadline = rig.client.next_deadline().unwrap().since_origin().as_millis() as u64;
        rig.pass(deadline + 1 - before);
        waits.push(rig.now - before);
        rig.open();
        let events = rig.events();
        assert!(events.contains(&Event::Reconnect(attempt)), "{events:?}");
    }
    assert!(waits.iter().zip([500, 1000, 2000]).all(|(wait, least)| *wait >= least), "{waits:?}");
    rig.lose();
    assert_eq!(rig.events().last(), Some(&Event::ReconnectFailed));
    rig.client.connect(rig.now(), rig.main);
    rig.open();
    rig.join();
    rig.lose();
    rig.pass(1600);
    assert!(rig.events().contains(&Event::ReconnectAttempt(1)), "it begins again");
}

#[test]
fn pings_that_wait_to_be_reported_are_reported_as_one() {
    let mut rig = Rig::joined(|_| {});
    (0..3).for_each(|_| rig.hear("2"));
    assert_eq!(rig.events(), [Event::Ping]);
    assert_eq!(rig.written(), ["3", "3", "3"]);
    rig.hear("2");
    assert_eq!(rig.events(), [Event::Ping]);
}

#[test]
fn the_longest_waits_differ_too() {
    let mut rig = Rig::new(|_| {});
    rig.client.connect(at(0), rig.main);
    let mut waits = Vec::new();
    for _ in 0..200 {
        rig.lose();
        let deadline = rig.client.next_deadline().unwrap();
        waits.push(deadline.saturating_since(rig.now()));
        rig.now = deadline.since_origin().as_millis() as u64 + 1;
        rig.client.handle_timeout(rig.now());
    }
    let steady = &waits[3..];
    let max = Duration::from_secs(5);
    assert!(steady.iter().all(|wait| (max / 2..=max).contains(wait)), "{steady:?}");
    for tenth in 0..10 {
        let from = max / 2 + max / 20 * tenth;
        let share = steady.iter().filter(|wait| (from..from + max / 20).contains(*wait)).count();
        assert!((5..=45).contains(&share), "{share} of {} from {from:?}", steady.len());
    }
}

#[test]
fn an_attempt_without_a_wait_still_comes_later() {
    for (delay, max) in [(0, 5000), (1000, 0)] {
        let mut rig = Rig::joined(|config| {
            config.reconnection_delay = Duration::from_millis(delay);
            config.reconnection_delay_max = Duration::from_millis(max);
        });
        rig.lose();
        assert!(rig.client.next_deadline().is_some_and(|deadline| deadline > rig.now()));
    }
}

#[test]
fn a_client_comes_back_and_tells_so() {
    let mut rig = Rig::joined(|_| {});
    rig.lose();
    assert_eq!(rig.closed().len(), 1);
    rig.pass(2000);
    assert!(rig.events().contains(&Event::ReconnectAttempt(1)));
    rig.open();
    let events = rig.events();
    assert!(matches!(&events[..], [Event::Reconnect(1), Event::Join(..)]), "{events:?}");
}

#[test]
fn a_refused_namespace_is_not_asked_again_and_strings_are_errors_too() {
    for (packet, message, data) in [
        (r#"44{"message":"no","data":{"a":1}}"#, "no", Some(serde_json::json!({"a": 1}))),
        (r#"44"Unable to connect""#, "Unable to connect", None),
        ("44", "", None),
        (r#"44{"message":7}"#, "7", None),
        (r#"44{"message":"\ud83d"}"#, "\u{fffd}", None),
    ] {
        let mut rig = Rig::new(|_| {});
        rig.client.connect(at(0), rig.main);
        rig.open();
        rig.events();
        rig.client.join(at(0), rig.main, 1, "");
        rig.hear(packet);
        let error = ConnectError::Refused { message: message.into(), data };
        assert_eq!(rig.events(), [Event::ConnectError(rig.main, error)]);
        rig.pass(100_000);
        assert_eq!((rig.events(), rig.client.is_active(rig.main)), (vec![], false));
    }
}

#[test]
fn a_server_of_version_2_is_recognized() {
    let mut rig = Rig::new(|_| {});
    rig.client.connect(at(0), rig.main);
    rig.open();
    rig.events();
    rig.client.join(at(0), rig.main, 1, "");
    rig.hear("40");
    assert_eq!(rig.events(), [Event::ConnectError(rig.main, ConnectError::OldServer)]);
}

#[test]
fn packets_out_of_place_end_the_connection_and_the_client_comes_back() {
    for packets in [
        &[r#"40{"sid":"again"}"#][..],
        &[r#"44{"message":"late"}"#],
        &["4"],
        &["49"],
        &[r#"42"no list""#],
        &[r#"451-["x",{"_placeholder":true,"num":0}]"#, r#"42["text"]"#],
        &[r#"451-["x",{"_placeholder":true,"num":7}]"#],
        &[r#"499-["x"]"#],
    ] {
        let mut rig = Rig::joined(|_| {});
        for packet in packets {
            rig.hear(packet);
        }
        let reasons = rig.closed();
        let [DisconnectReason::Closed(reason)] = &reasons[..] else { panic!("{packets:?} {reasons:?}") };
        assert_eq!(reason.to_string(), "parse error", "{packets:?}");
        rig.pass(2000);
        assert!(rig.events().contains(&Event::ReconnectAttempt(1)), "{packets:?}");
        rig.open();
        rig.join();
    }
    let mut rig = Rig::joined(|_| {});
    rig.hear_binary(&[1, 2]);
    assert_eq!(rig.closed().len(), 1);
}

#[test]
fn packets_for_a_namespace_that_nobody_has_are_for_nobody() {
    let mut rig = Rig::joined(|_| {});
    for packet in [
        r#"42/other,["x"]"#,
        r#"40/other,{"sid":"x"}"#,
        "41/other,",
        r#"451-/other,["x",{"_placeholder":true,"num":0}]"#,
    ] {
        rig.hear(packet);
    }
    rig.hear_binary(&[1]);
    assert_eq!(rig.events(), []);
    assert!(rig.client.is_connected(rig.main));
}

#[test]
fn attachments_come_with_their_event_or_not_at_all() {
    let mut rig = Rig::joined(|_| {});
    rig.hear(r#"451-["x",{"_placeholder":true,"num":0}]"#);
    rig.hear_binary(&[1, 2, 3]);
    let events = rig.events();
    assert!(
        matches!(&events[..], [Event::Incoming(_, it)] if it.args.as_args().attachments().iter().eq([&[1, 2, 3][..]]))
    );
    rig.hear(r#"451-["x",{"_placeholder":true,"num":0}]"#);
    rig.hear("2");
    rig.pass(30_000);
    rig.hear("2");
    rig.pass(31_000);
    assert_eq!(rig.closed().len(), 1);
}

#[test]
fn a_server_that_never_answers_a_connect_is_left_and_tried_again() {
    let mut rig = Rig::new(|_| {});
    rig.client.connect(at(0), rig.main);
    rig.open();
    rig.events();
    rig.client.join(at(0), rig.main, 1, "");
    rig.pass(20_001);
    let events = rig.events();
    assert!(matches!(&events[..], [Event::ConnectError(_, ConnectError::Closed(_)), ..]), "{events:?}");
    assert!(rig.client.is_active(rig.main));
}

#[test]
fn a_server_that_closes_is_told_with_its_code_and_by_the_reference_s_reason() {
    for (code, text) in [
        (Some(4001), "the server closed the connection with code 4001"),
        (None, "the server closed the connection"),
    ] {
        let reason = CloseReason::TransportClose(code);
        assert_eq!(ConnectError::Closed(reason.clone()).to_string(), text);
        assert_eq!(DisconnectReason::Closed(reason).to_string(), "transport close");
    }
}

#[test]
fn a_connection_that_does_not_open_is_given_up_in_time() {
    let mut rig = Rig::new(|config| config.reconnection = false);
    rig.client.connect(at(0), rig.main);
    rig.pass(20_000);
    let events = rig.events();
    assert!(matches!(&events[..], [Event::ConnectError(_, ConnectError::Closed(_))]), "{events:?}");
    assert!(rig.client.is_idle());
}

#[test]
fn events_are_sent_one_at_a_time_until_they_are_acknowledged() {
    let mut rig = Rig::joined(|config| config.retries = 1);
    let Ok(Sent::Later(first)) = rig.emit(r#"20["a"]"#, ask(0, 1000)) else { panic!() };
    let Ok(Sent::Later(second)) = rig.emit(r#"21["b"]"#, ask(1, 1000)) else { panic!() };
    assert_eq!(rig.written(), [r#"420["a"]"#]);
    rig.pass(1001);
    assert_eq!(rig.written(), [r#"420["a"]"#]);
    rig.hear("430[]");
    assert_eq!(rig.written(), [r#"421["b"]"#]);
    assert!(rig.events().contains(&Event::Fate(first, Ok(()))));
    rig.pass(3000);
    let gone = Event::Fate(second, Err(EmitError::NotAcknowledged { tries: 2 }));
    assert!(rig.events().contains(&gone));
}

#[test]
fn an_event_in_flight_is_sent_again_after_a_new_connection() {
    let mut rig = Rig::joined(|config| config.retries = 3);
    rig.emit(r#"20["a"]"#, ask(0, 60_000)).unwrap();
    assert_eq!(rig.written(), [r#"420["a"]"#]);
    rig.lose();
    rig.pass(2000);
    rig.open();
    let events = rig.events();
    let Some(Event::Join(id, attempt)) = events.last().cloned() else { panic!("{events:?}") };
    rig.client.join(rig.now(), id, attempt, "");
    rig.hear(r#"40{"sid":"s2"}"#);
    assert_eq!(rig.written(), ["40", r#"420["a"]"#]);
}

#[test]
fn missed_events_are_asked_for_with_the_last_offset() {
    let mut rig = Rig::new(|_| {});
    rig.client.connect(at(0), rig.main);
    rig.open();
    rig.events();
    rig.client.join(at(0), rig.main, 1, r#"{"a":1}"#);
    rig.hear(r#"40{"sid":"s","pid":"p\"q"}"#);
    rig.hear(r#"42["x",1,"offset-1"]"#);
    rig.written();
    rig.lose();
    rig.pass(2000);
    rig.open();
    let events = rig.events();
    let Some(Event::Join(id, attempt)) = events.last().cloned() else { panic!("{events:?}") };
    rig.client.join(rig.now(), id, attempt, r#"{"a":1}"#);
    assert_eq!(rig.written(), [r#"40{"pid":"p\"q","offset":"offset-1","a":1}"#]);
    rig.hear(r#"40{"sid":"s","pid":"p\"q"}"#);
    assert!(rig.client.recovered(rig.main));
}

#[test]
fn leaving_says_so_closes_the_connection_and_can_be_taken_back_at_once() {
    let mut rig = Rig::joined(|_| {});
    let before = rig.client.generation();
    rig.client.disconnect(at(0), rig.main);
    rig.client.connect(at(0), rig.main);
    assert_eq!(rig.closed(), [DisconnectReason::Client]);
    let mut last = Outbound::new();
    rig.client.transmit(at(0), before, &mut last);
    assert_eq!(read(&last), ["41"]);
    assert_eq!(rig.client.wants(at(0), before, Lane::WebSocket), Want::Nothing);
    rig.open();
    rig.join();
}

#[test]
fn a_namespace_that_was_left_before_the_answer_is_left_and_asked_again_after_it() {
    let mut rig = Rig::joined(|_| {});
    let chat = rig.client.namespace("/chat");
    let ask = |rig: &mut Rig, attempt: u32| {
        rig.client.connect(at(0), chat);
        assert_eq!(rig.events(), [Event::Join(chat, attempt)]);
        rig.client.join(at(0), chat, attempt, "");
        assert_eq!(rig.written(), ["40/chat,"]);
    };
    for (attempt, answer, left) in [(1, r#"40/chat,{"sid":"c"}"#, &["41/chat,"][..]), (3, "44/chat,{}", &[])]
    {
        ask(&mut rig, attempt);
        // A server takes neither of these for a namespace that is not joined, or is being joined.
        rig.client.disconnect(at(0), chat);
        rig.client.connect(at(0), chat);
        rig.hear(r#"42/chat,["for nobody"]"#);
        assert!(rig.written().is_empty() && rig.events().is_empty());
        rig.hear(answer);
        assert_eq!(rig.written(), left);
        if !left.is_empty() {
            assert_eq!(rig.events(), []);
            rig.pong();
        }
        assert_eq!(rig.events(), [Event::Join(chat, attempt + 1)]);
        rig.client.disconnect(at(0), chat);
    }
    ask(&mut rig, 5);
    rig.client.disconnect(at(0), chat);
    rig.pass(40_000);
    assert!(rig.client.is_connected(rig.main) && rig.events().is_empty(), "nobody waits for the answer");
    rig.client.connect(rig.now(), chat);
    rig.hear("2");
    rig.pass(20_000);
    assert_eq!(rig.events(), [Event::Ping, Event::ConnectError(chat, ConnectError::Timeout)]);
}

#[test]
fn events_in_flight_when_a_namespace_was_left_are_not_delivered_after_it_is_joined_again() {
    let mut rig = Rig::joined(|_| {});
    let chat = rig.client.namespace("/chat");
    for attempt in 1..3 {
        rig.client.connect(at(0), chat);
        if attempt > 1 {
            // The server says nothing to the ping.
            rig.hear(r#"42/chat,["on its way"]"#);
            rig.pass(2000);
        }
        rig.client.join(at(0), chat, attempt, "");
        rig.hear(r#"42/chat,["early"]"#);
        rig.hear(r#"40/chat,{"sid":"c"}"#);
        let came = rig.events().iter().filter(|event| matches!(event, Event::Incoming(..))).count();
        assert_eq!(came, if attempt == 1 { 1 } else { 0 });
        rig.client.disconnect(at(0), chat);
    }
}

#[test]
fn nothing_goes_on_after_the_last_namespace_was_left() {
    let mut rig = Rig::joined(|_| {});
    rig.client.disconnect(at(0), rig.main);
    assert!(!rig.client.is_idle(), "the last words are to be fetched");
    assert_eq!(rig.written(), ["41"]);
    assert!(rig.client.is_idle() && rig.client.next_deadline().is_none());

    let polling = EngineConfig { transports: [Transport::Polling].into(), ..EngineConfig::default() };
    let mut rig = Rig::new(|config| config.engine = Arc::new(polling));
    let generation = {
        rig.client.connect(at(0), rig.main);
        rig.client.generation()
    };
    rig.client.begin(at(0), generation, Lane::Poll, "").unwrap();
    rig.respond(at(0), generation, Lane::Poll, 200, OPEN);
    rig.client.close(at(0));
    rig.client.begin(at(0), generation, Lane::Post, "").unwrap();
    assert!(!rig.client.is_idle());
    rig.client.handle_response(at(0), generation, Lane::Post, 200, b"ok");
    assert!(rig.client.is_idle() && rig.client.next_deadline().is_none());
}

#[test]
fn last_words_that_nobody_fetches_are_forgotten() {
    let mut rig = Rig::joined(|_| {});
    rig.emit(r#"2["last"]"#, How::default()).unwrap();
    rig.client.close(at(0));
    assert!(!rig.client.is_idle());
    rig.lose();
    assert!(rig.client.is_idle());
}

#[test]
fn events_that_wait_for_their_acknowledgement_are_bounded_too() {
    let mut rig = Rig::joined(|config| (config.retries, config.offline) = (1, Offline::Fail));
    let long = alloc::format!(r#"20["{}"]"#, "x".repeat(900));
    let refused = (0..10_000).find_map(|id| rig.emit(&long, ask(id, 1000)).err());
    assert_eq!(refused, Some(EmitError::OfflineFull { limit: 4 << 20 }));
}
