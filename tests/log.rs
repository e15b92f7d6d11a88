//! The log, through `tracing`.
#![cfg(feature = "tracing")]
#![allow(missing_docs, clippy::unwrap_used)]

mod simulation;
#[path = "log/spans.rs"]
mod spans;
#[cfg(all(feature = "tls", any(feature = "tokio", feature = "smol")))]
#[path = "log/tls.rs"]
mod tls;

use simulation::{Client, Sim};
use smol::future::yield_now;
use sockeye::extract::{Data, State};
use sockeye::{ConnectError, HandlerError, Handshake, RateLimit, Server, Socket};
use std::collections::HashMap;
use std::fmt::{Debug, Write};
use std::future::Future;
#[cfg(feature = "http")]
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// A subscriber that keeps the events of this library and of these tests: level, message, and the other fields as text.
#[derive(Clone)]
struct Log {
    lines: Arc<Mutex<Vec<(Level, String, String)>>>,
    spans: Arc<Mutex<Spans>>,
    max_level: Level,
}

#[derive(Default)]
struct Spans {
    /// The name with the fields, and the parent, of every span. The id of the first is 1.
    all: Vec<(String, Option<Id>)>,
    /// The spans that are entered, and the number of handles of those that are open.
    entered: Vec<Id>,
    open: HashMap<u64, usize>,
    /// The message of each event, behind the spans around it.
    events: Vec<String>,
}

impl Default for Log {
    fn default() -> Self {
        Log { lines: Arc::default(), spans: Arc::default(), max_level: Level::TRACE }
    }
}

impl Log {
    /// Runs `f` with this log.
    fn of<T>(&self, f: impl FnOnce() -> T) -> T {
        tracing::subscriber::with_default(self.clone(), f)
    }

    /// Returns the events since the last call whose message contains `part`, each behind the spans around it.
    fn inside(&self, part: &str) -> Vec<String> {
        let events = std::mem::take(&mut self.spans.lock().unwrap().events);
        events.into_iter().filter(|event| event.contains(part)).collect()
    }

    /// Returns the lines since the last call, as level and message, but none of the usual life of a client.
    fn faults(&self) -> Vec<(Level, String)> {
        let lines = std::mem::take(&mut *self.lines.lock().unwrap()).into_iter();
        let usual = ["a session is opened", "a client is connected", "a client is disconnected"];
        lines.map(|(level, text, _)| (level, text)).filter(|(_, text)| !usual.contains(&&**text)).collect()
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    others: String,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => write!(self.message, "{value:?}").unwrap(),
            name => write!(self.others, "{name}={value:?} ").unwrap(),
        }
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let is_ours = metadata.target().starts_with("sockeye") || metadata.target().starts_with("log");
        is_ours && *metadata.level() <= self.max_level
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut spans = self.spans.lock().unwrap();
        let (mut line, mut next) = (fields.message.clone(), spans.entered.last().cloned());
        while let Some(id) = next {
            let (name, parent) = &spans.all[id.into_u64() as usize - 1];
            (line, next) = (format!("{name}: {line}"), parent.clone());
        }
        spans.events.push(line);
        self.lines.lock().unwrap().push((*event.metadata().level(), fields.message, fields.others));
    }

    fn new_span(&self, new: &Attributes<'_>) -> Id {
        let mut fields = Fields::default();
        new.record(&mut fields);
        let mut spans = self.spans.lock().unwrap();
        let parent = match new.is_contextual() {
            true => spans.entered.last().cloned(),
            false => new.parent().cloned(),
        };
        let name = format!("{}{{{}}}", new.metadata().name(), fields.others.trim_end());
        spans.all.push((name, parent));
        let id = spans.all.len() as u64;
        spans.open.insert(id, 1);
        Id::from_u64(id)
    }

    fn clone_span(&self, id: &Id) -> Id {
        *self.spans.lock().unwrap().open.get_mut(&id.into_u64()).unwrap() += 1;
        id.clone()
    }

    fn try_close(&self, id: Id) -> bool {
        let mut spans = self.spans.lock().unwrap();
        let count = spans.open.get_mut(&id.into_u64()).unwrap();
        *count -= 1;
        let is_last = *count == 0;
        if is_last {
            spans.open.remove(&id.into_u64());
        }
        is_last
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, id: &Id) {
        self.spans.lock().unwrap().entered.push(id.clone());
    }

    fn exit(&self, id: &Id) {
        assert_eq!(self.spans.lock().unwrap().entered.pop().as_ref(), Some(id), "left in another order");
    }
}

fn bug() {
    panic!("a bug of the application");
}

/// Returns what is logged when a client sends these packets, and the packets that it receives.
fn log_of(packets: &[&str]) -> (Vec<(Level, String, String)>, Vec<String>) {
    let log = Log::default();
    tracing::subscriber::with_default(log.clone(), || {
        let io = Server::new();
        io.on_connect(async |socket: Socket| {
            socket.on("double", async |Data(n): Data<u32>| 2 * n);
            socket.on("fail", async || -> Result<u32, HandlerError> { Ok("x".parse::<u32>()?) });
            socket.on("leave", async |socket: Socket| {
                socket.disconnect(false);
                1
            });
            socket.on("leave and fail", async |socket: Socket| -> Result<u32, HandlerError> {
                socket.disconnect(false);
                Ok("x".parse::<u32>()?)
            });
        });
        let client = Sim::new(io).connect();
        log.lines.lock().unwrap().clear();
        client.send_all(packets.iter().copied());
        let texts = client.texts();
        // Before the end of the server, which is logged, too.
        let events = log.lines.lock().unwrap().clone();
        (events, texts)
    })
}

#[test]
fn data_that_does_not_fit_the_handlers_type_is_logged_with_the_event() {
    let (log, texts) = log_of(&[r#"421["double",21]"#, r#"422["double","21"]"#]);
    assert_eq!(texts, ["431[42]"]);
    let [(level, message, fields)] = log.as_slice() else { panic!("{log:?}") };
    assert_eq!((*level, message.as_str()), (Level::DEBUG, "a handler was not called"));
    for part in [r#"event="double""#, r#"invalid type: string "21", expected u32"#] {
        assert!(fields.contains(part), "{part} is not in {fields}");
    }
}

#[test]
fn the_error_of_a_handler_is_logged() {
    let (log, _) = log_of(&[r#"42["fail"]"#]);
    let [(level, _, fields)] = log.as_slice() else { panic!("{log:?}") };
    assert_eq!(*level, Level::WARN);
    assert!(fields.contains("invalid digit"), "{fields}");
}

#[test]
fn an_error_of_the_applications_own_is_logged_only_if_the_client_does_not_learn_of_it() {
    let log = Log::default();
    log.of(|| {
        let io = Server::new();
        io.on("refuse", async || Err::<u32, _>("no"));
        io.on("leave and refuse", async |socket: Socket| {
            socket.disconnect(false);
            Err::<u32, _>("no")
        });
        let client = Sim::new(io).connect();
        let unheard = || {
            let mut lines = std::mem::take(&mut *log.lines.lock().unwrap());
            lines.retain(|(_, message, _)| message.starts_with("a handler"));
            lines
        };
        client.send_all([r#"421["refuse"]"#]);
        assert_eq!(unheard(), []);
        for packet in [r#"42["refuse"]"#, r#"421["leave and refuse"]"#] {
            client.send_all([packet]);
            let lines = unheard();
            let [(level, message, fields)] = lines.as_slice() else { panic!("{lines:?}") };
            assert_eq!(*level, Level::DEBUG);
            assert_eq!(message, "a handler returned an error that the client did not ask for");
            assert!(fields.contains("cause=\"no\"") && fields.contains("namespace=\"/\""), "{fields}");
        }
    });
}

#[test]
fn nothing_is_logged_without_an_error() {
    let (log, texts) = log_of(&[r#"421["double",21]"#]);
    assert_eq!((log, texts), (Vec::new(), vec!["431[42]".to_owned()]));
}

#[test]
fn the_life_of_a_client_is_logged_without_its_sessions_id() {
    let log = Log::default();
    let session = tracing::subscriber::with_default(log.clone(), || {
        let sim = Sim::new(Server::builder().send_buffer(1000).build());
        let mut client = sim.polling();
        client.join();
        while sim.server().emit("news", "x".repeat(100)).sent > 0 {}
        sim.advance(Duration::from_millis(1));
        client.session.clone()
    });
    let log = log.lines.lock().unwrap();
    let lines: Vec<_> = log.iter().map(|(level, message, _)| (*level, message.as_str())).collect();
    assert_eq!(
        lines,
        [
            (Level::DEBUG, "a session is opened"),
            (Level::DEBUG, "a client is connected"),
            (Level::DEBUG, "a client is disconnected"),
            (Level::WARN, "a session is closed because it exceeded a limit"),
        ]
    );
    assert!(log.iter().all(|(_, _, fields)| !fields.contains(&session)), "{log:?}");
    assert!(log[3].2.contains("reads too slowly"), "{log:?}");
}

#[test]
fn the_error_of_a_handler_is_logged_after_its_client_has_gone() {
    let (log, _) = log_of(&[r#"421["leave and fail"]"#]);
    let warnings: Vec<_> = log.iter().filter(|(level, ..)| *level == Level::WARN).collect();
    let [(_, _, fields)] = warnings.as_slice() else { panic!("{log:?}") };
    assert!(fields.contains("invalid digit"), "{fields}");
}

#[test]
fn an_answer_to_a_client_that_has_gone_is_no_failure() {
    let (log, _) = log_of(&[r#"421["leave"]"#]);
    assert!(log.iter().all(|(level, ..)| *level != Level::WARN), "{log:?}");
}

#[test]
fn a_failure_of_a_handler_is_one_line_with_all_that_identifies_it_before_and_after_the_first_wait() {
    let log = Log::default();
    log.of(|| {
        let io = Server::new();
        io.on_connect(async |socket: Socket| {
            socket.on("bug", async || bug());
            socket.on("late bug", async || {
                yield_now().await;
                bug();
            });
            socket.on("late error", async || -> Result<u32, HandlerError> {
                yield_now().await;
                Ok("x".parse::<u32>()?)
            });
            socket.on("state", async |_: State<u8>| ());
        });
        let client = Sim::new(io).connect();
        for (event, level, message) in [
            ("bug", Level::ERROR, "a handler panicked"),
            ("late bug", Level::ERROR, "a handler panicked"),
            ("late error", Level::WARN, "a handler failed, or its answer could not be sent"),
            ("state", Level::ERROR, "a handler was not called"),
            ("none", Level::DEBUG, "an event without a handler"),
        ] {
            log.lines.lock().unwrap().clear();
            client.send_all([&*format!(r#"421["{event}"]"#)]);
            let lines = log.lines.lock().unwrap();
            let [(found, text, fields)] = lines.as_slice() else { panic!("{lines:?}") };
            assert_eq!((*found, text.as_str()), (level, message));
            let sid = &client.session[..6];
            for part in [format!("event={event:?}"), format!("socket={}", client.id), format!("sid={sid} ")] {
                assert!(fields.contains(&part), "{part} is not in {fields}");
            }
            assert!(fields.contains("namespace=\"/\"") && fields.contains("peer=unknown"), "{fields}");
            let cause = "cause=a bug of the application";
            assert_eq!(fields.contains(cause), message == "a handler panicked", "{fields}");
        }
    });
}

#[test]
fn an_acknowledgement_that_nobody_waits_for_is_one_line() {
    let log = Log::default();
    log.of(|| {
        let client = Sim::new(Server::new()).connect();
        log.lines.lock().unwrap().clear();
        client.send_all(["43999[1]"]);
        let lines = log.lines.lock().unwrap();
        let [(level, text, fields)] = lines.as_slice() else { panic!("{lines:?}") };
        assert_eq!((*level, text.as_str()), (Level::DEBUG, "an acknowledgement is ignored"));
        let socket = format!("socket={}", client.id);
        assert!(
            [&*socket, "id=999 ", "namespace=\"/\""].iter().all(|part| fields.contains(part)),
            "{fields}"
        );
    });
}

#[test]
fn a_handler_that_is_registered_too_late_is_one_line_with_all_that_identifies_it() {
    let log = Log::default();
    log.of(|| {
        let io = Server::new();
        io.on_connect(async |socket: Socket| {
            yield_now().await;
            socket.on("early", async || ());
            socket.on("late", async || ());
        });
        let sim = Sim::new(io);
        let mut client = sim.polling();
        // In one request, so that the event arrives before the handler has gone on.
        client.post("40\u{1e}42[\"late\"]");
        let lines = std::mem::take(&mut *log.lines.lock().unwrap());
        let found = |line: &&(Level, String, String)| line.1 == "a handler was registered too late";
        let Some((level, _, fields)) = lines.iter().find(found) else { panic!("{lines:?}") };
        assert_eq!(*level, Level::WARN);
        let sid = format!("sid={} ", &client.session[..6]);
        for part in
            ["event=\"late\"", "namespace=\"/\"", "socket=", &sid, "peer=unknown", "before the first wait"]
        {
            assert!(fields.contains(part), "{part} is not in {fields}");
        }
    });
}

#[test]
fn a_handler_of_connection_is_one_warning_that_names_on_connect() {
    let log = Log::default();
    log.of(|| {
        let io = Server::new();
        io.on("connections", async || ());
        io.of("/chat").on("connection", async || ());
    });
    let lines = std::mem::take(&mut *log.lines.lock().unwrap());
    let [(Level::WARN, _, fields)] = &lines[..] else { panic!("{lines:?}") };
    for part in ["event=connection", "namespace=\"/chat\"", "use `on_connect`"] {
        assert!(fields.contains(part), "{part} is not in {fields}");
    }
}

#[test]
fn the_end_of_credentials_is_the_cause_of_a_disconnection() {
    let log = Log::default();
    log.of(|| {
        let io = Server::new();
        io.on_connect(async |socket: Socket| socket.authenticated_for(Duration::from_secs(1)));
        let client = Sim::new(io).connect();
        client.sim.advance(Duration::from_secs(2));
        let lines = log.lines.lock().unwrap();
        let found = |line: &&(Level, String, String)| line.1 == "a client is disconnected";
        let Some((level, _, fields)) = lines.iter().find(found) else { panic!("{lines:?}") };
        assert_eq!(*level, Level::DEBUG);
        assert!(fields.contains("cause=\"the credentials have expired\""), "{fields}");
    });
}

#[test]
fn a_head_that_does_not_arrive_in_time_is_one_line() {
    let message = "the head of a request took too long to arrive";
    expect_one_line(Level::DEBUG, message, "peer=unknown", |sim| {
        sim.dial().send(b"GET /socket.io/");
        sim.run();
        sim.advance(Duration::from_secs(11));
    });
}

#[test]
fn a_head_that_cannot_be_read_is_one_line() {
    for (bytes, cause) in [
        (&b"hello\r\n\r\n"[..], "cause=malformed head"),
        (b"\x16\x03\x01\x02\x00\x01", "cause=a tls handshake instead of http"),
    ] {
        expect_one_line(Level::DEBUG, "the head of a request cannot be read", cause, |sim| {
            sim.dial().send(bytes);
            sim.run();
        });
    }
}

#[test]
fn a_refused_event_is_one_line() {
    let log = Log::default();
    log.of(|| {
        let io = Server::new();
        io.use_packet(async || Err("no".into()));
        let client = Sim::new(io).connect();
        log.faults();
        client.send_all([r#"421["x"]"#]);
        assert_eq!(log.faults(), [(Level::DEBUG, "an event is refused".to_owned())]);
    });
}

#[test]
fn a_failure_of_a_middleware_is_one_line_beside_the_refusal() {
    let log = Log::default();
    log.of(|| {
        let io = Server::new();
        io.of("/bug").middleware(async || -> Result<(), ConnectError> { panic!("a bug of the application") });
        io.of("/late").middleware(async || -> Result<(), ConnectError> {
            yield_now().await;
            panic!("a bug of the application")
        });
        io.of("/state").middleware(async |_: State<u8>| Ok::<_, ConnectError>(()));
        let client = Sim::new(io).client();
        for (namespace, message) in [
            ("/bug", "a handler panicked"),
            ("/late", "a handler panicked"),
            ("/state", "a handler was not called"),
        ] {
            log.faults();
            client.send_all([&*format!("40{namespace},")]);
            assert_eq!(
                log.faults(),
                [(Level::ERROR, message.to_owned()), (Level::DEBUG, "a client is refused".to_owned())]
            );
        }
    });
}

#[test]
fn a_panic_of_allow_request_is_one_line_beside_the_refusal() {
    type Decision = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;
    let at_once = |_| -> Decision { panic!("a bug of the application") };
    let later = |_| -> Decision {
        Box::pin(async {
            yield_now().await;
            panic!("a bug of the application")
        })
    };
    for allow in [at_once as fn(Handshake) -> Decision, later] {
        let log = Log::default();
        log.of(|| {
            let sim = Sim::new(Server::builder().allow_request(allow).build());
            let client = Client::dial(&sim, "EIO=4&transport=websocket");
            assert!(client.status().contains("503"), "{}", client.status());
            assert_eq!(
                log.faults(),
                [
                    (Level::ERROR, "allow_request panicked".to_owned()),
                    (Level::DEBUG, "a request is refused".to_owned())
                ]
            );
        });
    }
}

/// Checks that one line tells of what a client of a new server does.
#[track_caller]
fn expect_one_line(level: Level, message: &str, cause: &str, act: impl FnOnce(&Sim)) {
    let log = Log::default();
    log.of(|| {
        let rate = RateLimit::per_second(9).burst(200);
        let io = Server::builder().max_payload(1000).max_message_rate(rate).build();
        io.on("quiet", async || ());
        let sim = Sim::new(io);
        act(&sim);
        let lines = log.lines.lock().unwrap().clone();
        let causes: Vec<_> = lines.iter().filter(|(.., fields)| fields.contains(cause)).collect();
        assert!(causes.len() == 1 && causes[0].2.contains("peer="), "{lines:?}");
        assert_eq!(log.faults(), [(level, message.to_owned())]);
    });
}

#[test]
fn a_session_that_a_limit_ends_is_one_line_which_is_a_warning() {
    let expect = |cause, act: fn(&Sim)| {
        expect_one_line(Level::WARN, "a session is closed because it exceeded a limit", cause, act);
    };
    expect("message of more than 1000 bytes", |sim| sim.connect().send_all([&*"x".repeat(1001)]));
    expect("a body of more than 1000 bytes", |sim| assert_eq!(sim.polling().post(&"x".repeat(1001)), 413));
    expect("more than 9 messages per second", |sim| sim.connect().send_all([r#"42["quiet"]"#; 200]));
    expect("a message took too long to arrive", |sim| {
        let client = sim.polling();
        let target = format!("/socket.io/?EIO=4&transport=polling&sid={}", client.session);
        let head = format!("POST {target} HTTP/1.1\r\nHost: here\r\nContent-Length: 9\r\n\r\n");
        sim.dial().send(head.as_bytes());
        sim.run();
        sim.advance(Duration::from_secs(31));
    });
    expect("reads too slowly", |sim| {
        let mut client = sim.polling();
        client.join();
        while sim.server().emit("news", "x".repeat(900)).sent > 0 {}
        sim.run();
    });
}

#[test]
fn a_session_that_ends_because_the_client_broke_the_protocol_is_one_line() {
    let expect = |cause, act: fn(&Sim)| expect_one_line(Level::DEBUG, "a session is closed", cause, act);
    expect("unmasked frame", |sim| sim.connect().send_bytes(&[0x81, 1, b'4']));
    expect("unknown packet type", |sim| assert_eq!(sim.polling().post("x"), 400));
    expect("a second poll while one was waiting", |sim| {
        let mut client = sim.polling();
        client.begin_poll();
        let target = format!("/socket.io/?EIO=4&transport=polling&sid={}", client.session);
        sim.dial().send(format!("GET {target} HTTP/1.1\r\nHost: here\r\n\r\n").as_bytes());
        sim.run();
    });
}

#[test]
fn an_upgrade_that_fails_is_one_line_and_its_session_goes_on() {
    expect_one_line(Level::DEBUG, "an upgrade failed", "unmasked frame", |sim| {
        let mut client = sim.polling();
        client.join();
        client.begin_upgrade().send_bytes(&[0x81, 1, b'4']);
        assert_eq!(client.post("3"), 200);
    });
}

#[test]
fn a_refused_request_is_one_line_unless_it_ends_its_session() {
    expect_one_line(Level::DEBUG, "a request is refused", "Session ID unknown", |sim| {
        let client = Client::dial(sim, "EIO=4&transport=websocket&sid=none");
        assert!(client.status().contains("400"), "{}", client.status());
    });
}

#[test]
fn a_page_of_an_origin_that_is_not_allowed_is_one_line() {
    let message = "a page of another origin cannot read its session: `cors` does not allow it";
    expect_one_line(Level::DEBUG, message, r#"origin="https://other""#, |sim| {
        for headers in
            ["", "Origin: http://here\r\n", "Sec-Fetch-Site: cross-site\r\n", "Origin: https://other\r\n"]
        {
            let request =
                format!("GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: here\r\n{headers}\r\n");
            sim.dial().send(request.as_bytes());
            sim.run();
        }
        // Over WebSocket, browsers ask for nothing.
        let _client = Client::open_with(sim, "EIO=4&transport=websocket", "Origin: https://other\r\n");
    });
}
