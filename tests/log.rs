//! The log, through `tracing`.
#![cfg(feature = "tracing")]
#![allow(missing_docs, clippy::unwrap_used)]

mod simulation;

use simulation::Sim;
use sockeye::extract::Data;
use sockeye::{HandlerError, Server, Socket};
use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// A subscriber that keeps the events of this library: level, message, and the other fields as text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<(Level, String, String)>>>);

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
        metadata.target().starts_with("sockeye")
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.0.lock().unwrap().push((*event.metadata().level(), fields.message, fields.others));
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
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
        log.0.lock().unwrap().clear();
        client.send_all(packets.iter().copied());
        let texts = client.texts();
        // Before the end of the server, which is logged, too.
        let events = log.0.lock().unwrap().clone();
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
    let log = log.0.lock().unwrap();
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
