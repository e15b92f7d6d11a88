//! Failures to handle an event, as the function of `on_handler_error` sees and acknowledges them.
#![allow(missing_docs, clippy::unwrap_used)]

mod simulation;

use serde_json::json;
use simulation::{Calls, Gate, Sim};
use smol::future::yield_now;
use sockeye::extract::{AckSender, Auth, Data, ExtractError, State};
use sockeye::observe::{FailedEvent, HandlerFailure, Observer, ServerEvent};
use sockeye::{EmitError, HandlerError, Server, ServerBuilder, Socket};
use std::process::Command;

/// Returns one line about a failure.
fn line(failed: &FailedEvent<'_>) -> String {
    let kind = match failed.failure() {
        HandlerFailure::NotCalled(ExtractError::Data(_)) => "data",
        HandlerFailure::NotCalled(_) => "not called",
        HandlerFailure::Failed(text) => text,
        HandlerFailure::Unheard(json) => json,
        HandlerFailure::NotSent(EmitError::TooLarge { .. }) => "too large",
        HandlerFailure::NotSent(_) => "not sent",
        HandlerFailure::Panicked(_) => "panicked",
        HandlerFailure::Unhandled => "unhandled",
        HandlerFailure::RegisteredLate => "registered late",
        _ => "another",
    };
    let wanted = if failed.wants_ack() { ", wanted" } else { "" };
    format!("{} in {}: {kind}{wanted}", failed.event(), failed.namespace())
}

/// Notes failures, and acknowledges each with the same object.
fn noting(builder: ServerBuilder) -> (ServerBuilder, Calls) {
    let calls = Calls::default();
    let notes = calls.clone();
    let builder = builder.on_handler_error(move |failed| {
        notes.note(line(failed));
        failed.ack(json!({ "error": "sorry" }));
        assert!(!failed.wants_ack());
    });
    (builder, calls)
}

fn server() -> (Server, Calls) {
    let (builder, calls) = noting(Server::builder());
    (builder.build(), calls)
}

/// An observer of failures.
struct Failures(Calls);

impl Observer for Failures {
    fn event(&self, event: &ServerEvent<'_>) {
        if let ServerEvent::HandlerFailed { event, failure, .. } = event {
            self.0.note(format!("{event}: {failure}"));
        }
    }
}

fn bug() {
    panic!("a bug of the application");
}

#[test]
fn every_failure_is_seen_with_its_cause_and_can_be_acknowledged() {
    let (builder, calls) = noting(Server::builder().send_buffer(10_000));
    let io = builder.build();
    let chat = io.of("/chat");
    chat.on("data", async |Data(n): Data<u32>| n);
    chat.on("state", async |_: State<u8>| ());
    chat.on("error", async || Err::<(), _>(HandlerError::new("it failed")));
    chat.on("own", async || Err::<(), _>("no"));
    chat.on("emit", async |socket: Socket| socket.volatile().emit("x", Err::<(), _>("no")));
    chat.on("large", async || "x".repeat(20_000));
    chat.on("key", async || std::collections::BTreeMap::from([((1, 2), 3)]));
    chat.on("panic", async || bug());
    chat.on("panic at once", || -> std::future::Ready<()> { panic!("a bug of the application") });
    let mut client = Sim::new(io).client();
    client.join("/chat");
    for (event, failure) in [
        ("data", "data"),
        ("state", "not called"),
        ("error", "it failed"),
        ("emit", "an `Err` can be acknowledged, but not emitted: \"no\""),
        ("large", "too large"),
        ("key", "not sent"),
        ("panic", "panicked"),
        ("panic at once", "panicked"),
        ("none", "unhandled"),
    ] {
        client.send(&format!(r#"42/chat,7["{event}","x"]"#));
        assert_eq!(client.next(), r#"43/chat,7[{"error":"sorry"}]"#, "{event}");
        assert_eq!(calls.take(), [format!("{event} in /chat: {failure}, wanted")]);
        // Of what cannot be sent, nothing is known if it is not wanted.
        let expected = match event {
            "large" | "key" => vec![],
            _ => vec![format!("{event} in /chat: {failure}")],
        };
        client.send(&format!(r#"42/chat,["{event}","x"]"#));
        assert_eq!(calls.take(), expected);
    }
    client.send(r#"42/chat,7["own"]"#);
    assert_eq!(client.next(), r#"43/chat,7["no"]"#);
    assert_eq!(calls.take(), [""; 0], "the client has learned of it");
    client.send(r#"42/chat,["own"]"#);
    assert_eq!(calls.take(), ["own in /chat: \"no\""]);
    client.expect_nothing();
}

#[test]
fn a_handler_error_answers_the_client_or_tells_of_the_program() {
    let (io, calls) = server();
    io.on("parse", async |Data(text): Data<String>| {
        if text.is_empty() {
            return Err(HandlerError::ack(json!({ "error": "empty" })));
        }
        if text == "late" {
            yield_now().await;
            return Err(HandlerError::ack(("a", 1)));
        }
        Ok(text.parse::<u8>()?)
    });
    io.on("key", async || Err::<(), _>(HandlerError::ack(std::collections::BTreeMap::from([((1, 2), 3)]))));
    io.on("inner", async || Err::<(), _>(HandlerError::ack(HandlerError::ack(Some(1)))));
    let client = Sim::new(io).connect();
    client.send_all([
        r#"421["parse",""]"#,
        r#"422["parse","late"]"#,
        r#"423["parse","7"]"#,
        r#"424["inner"]"#,
    ]);
    assert_eq!(client.texts(), [r#"431[{"error":"empty"}]"#, "433[7]", "434[1]", r#"432[["a",1]]"#]);
    assert_eq!(calls.take(), [""; 0], "the client has learned of it");
    client.send_all([r#"425["parse","x"]"#, r#"426["key"]"#]);
    assert_eq!(client.texts(), [r#"435[{"error":"sorry"}]"#, r#"436[{"error":"sorry"}]"#]);
    assert_eq!(
        calls.take(),
        ["parse in /: invalid digit found in string, wanted", "key in /: key must be a string, wanted"]
    );
    client.send(r#"42["parse",""]"#);
    assert_eq!(calls.take(), [r#"parse in /: {"error":"empty"}"#]);
    assert_eq!(HandlerError::ack("no").to_string(), r#""no""#);
}

#[test]
fn a_failure_after_the_first_wait_can_be_acknowledged() {
    let (io, calls) = server();
    io.on("error", async || {
        yield_now().await;
        Err::<(), _>(HandlerError::new("it failed"))
    });
    io.on("panic", async || {
        yield_now().await;
        bug();
    });
    let client = Sim::new(io).connect();
    for (event, failure) in [("error", "it failed"), ("panic", "panicked")] {
        client.send(&format!(r#"427["{event}"]"#));
        assert_eq!(client.next(), r#"437[{"error":"sorry"}]"#);
        assert_eq!(calls.take(), [format!("{event} in /: {failure}, wanted")]);
    }
}

#[test]
fn a_failure_is_not_acknowledged_if_another_handler_may_or_has() {
    let (io, calls) = server();
    io.on("x", async |Data(n): Data<u32>| n);
    io.on_connect(async |socket: Socket| {
        socket.on("x", async |Data(text): Data<String>| text);
        socket.on("x", async |Data(is_set): Data<bool>| is_set);
    });
    let client = Sim::new(io).connect();
    client.send(r#"421["x",7]"#);
    assert_eq!(client.texts(), ["431[7]"]);
    assert_eq!(calls.take(), ["x in /: data", "x in /: data"]);
    client.send(r#"422["x","a"]"#);
    assert_eq!(client.texts(), [r#"432["a"]"#]);
    assert_eq!(calls.take(), ["x in /: data", "x in /: data"]);
    client.send(r#"423["x",true]"#);
    assert_eq!(client.texts(), ["433[true]"]);
    assert_eq!(calls.take(), ["x in /: data", "x in /: data"]);
    client.send(r#"424["x",[]]"#);
    assert_eq!(client.texts(), [r#"434[{"error":"sorry"}]"#]);
    assert_eq!(calls.take(), ["x in /: data", "x in /: data", "x in /: data, wanted"]);
}

#[test]
fn a_failure_is_not_acknowledged_if_the_handler_has_taken_the_sender() {
    let (io, calls) = server();
    io.on("sender", async |ack: AckSender| {
        std::mem::forget(ack);
        bug();
    });
    // The sender is dropped again, because the handler is not called.
    io.on("sender and number", async |_: AckSender, Data(n): Data<u32>| n);
    let client = Sim::new(io).connect();
    client.send_all([r#"421["sender"]"#, r#"422["sender and number","x"]"#]);
    assert_eq!(client.texts(), [r#"432[{"error":"sorry"}]"#]);
    assert_eq!(calls.take(), ["sender in /: panicked", "sender and number in /: data, wanted"]);
}

#[test]
fn catch_all_handlers_leave_the_acknowledgement_to_the_others() {
    let (io, calls) = server();
    io.on_any(async || bug());
    io.on("fine", async || 1);
    io.on_fallback(async |Data(n): Data<u32>| n);
    let client = Sim::new(io).connect();
    client.send_all([r#"421["fine"]"#, r#"422["other","x"]"#]);
    assert_eq!(client.texts(), ["431[1]", r#"432[{"error":"sorry"}]"#]);
    assert_eq!(calls.take(), ["fine in /: panicked", "other in /: panicked", "other in /: data, wanted"]);
}

#[test]
fn failures_in_the_life_of_a_socket_and_of_middleware_are_seen() {
    let (io, calls) = server();
    io.middleware(async |_: State<u8>| Ok::<_, sockeye::ConnectError>(()));
    let chat = io.of("/chat");
    chat.on_connect(async || bug());
    chat.on_disconnect(async || Err::<(), _>("no"));
    chat.use_packet(async |Data(n): Data<u32>| if n > 0 { Ok(()) } else { Err("no".into()) });
    let mut client = Sim::new(io).client();
    client.send("40");
    assert_eq!(client.next(), r#"44{"message":"Internal error"}"#);
    assert_eq!(calls.take(), ["connect in /: not called"]);
    client.join("/chat");
    assert_eq!(calls.take(), ["connect in /chat: panicked"]);
    client.send_all([r#"42/chat,1["x","text"]"#, r#"42/chat,2["x",0]"#]);
    assert_eq!(
        client.texts(),
        [r#"43/chat,1[{"message":"Invalid data"}]"#, r#"43/chat,2[{"message":"no"}]"#]
    );
    assert_eq!(calls.take(), ["x in /chat: data"], "a refusal is no failure");
    client.send("41/chat,");
    assert_eq!(calls.take(), ["disconnect in /chat: \"no\""]);
}

#[test]
fn a_handler_that_is_registered_after_its_event_has_arrived_is_told_of_once() {
    let gate = Gate::default();
    let wait = gate.clone();
    let (io, calls) = server();
    io.on_connect(move |socket: Socket| {
        let wait = wait.clone();
        async move {
            socket.on("early", async || 1);
            wait.wait().await;
            socket.on("late", async || 2);
            socket.once("late", async || 3);
            socket.on("in time", async || 4);
        }
    });
    let client = Sim::new(io).connect();
    client.send_all([r#"421["early"]"#, r#"422["late"]"#, r#"42["late"]"#, r#"423["other"]"#]);
    assert_eq!(
        calls.take(),
        ["late in /: unhandled, wanted", "late in /: unhandled", "other in /: unhandled, wanted"]
    );
    gate.open();
    client.send(r#"424["in time"]"#);
    assert_eq!(calls.take(), ["late in /: registered late"]);
    assert_eq!(
        client.texts(),
        ["431[1]", r#"432[{"error":"sorry"}]"#, r#"433[{"error":"sorry"}]"#, "434[4]"]
    );
    // Nothing waits any more, so that the names of unknown events are not kept.
    client.send(r#"425["unknown"]"#);
    client.sim.server().sockets()[0].on("unknown", async || ());
    assert_eq!(calls.take(), ["unknown in /: unhandled, wanted"]);
}

#[test]
fn a_handler_of_a_namespace_that_is_registered_after_its_event_has_arrived_is_told_of_once() {
    let (io, calls) = server();
    let chats = io.of_pattern("/chat-{n}");
    let mut client = Sim::new(io.clone()).client();
    client.join("/chat-1");
    client.send(r#"42/chat-1,["a"]"#);
    client.send(r#"42/chat-1,["b"]"#);
    assert_eq!(calls.take(), ["a in /chat-1: unhandled", "b in /chat-1: unhandled"]);
    let chat = io.of("/chat-1");
    chat.on("in time", async || ());
    chat.on("a", async || ());
    chat.on("a", async || ());
    assert_eq!(calls.take(), ["a in /chat-1: registered late"]);
    chats.on("b", async || ());
    assert_eq!(calls.take(), ["b in /chat-{n}: registered late"]);
    io.of("/chat-2").on("b", async || ());
    assert_eq!(calls.take(), [""; 0]);
}

#[test]
fn a_function_that_panics_or_acknowledges_what_cannot_be_sent_harms_nobody() {
    let calls = Calls::default();
    let io = Server::builder()
        .on_handler_error(|failed| match failed.event() {
            "fails" => failed.ack(Err::<(), _>(HandlerError::new("no"))),
            "twice" => {
                failed.ack("first");
                failed.ack("second");
            }
            _ => bug(),
        })
        .observer(Failures(calls.clone()))
        .build();
    let client = Sim::new(io).connect();
    client.send_all([r#"421["panics"]"#, r#"422["fails"]"#, r#"423["twice"]"#]);
    assert_eq!(client.texts(), [r#"433["first"]"#]);
    let none = "there is no handler for it";
    assert_eq!(
        calls.take(),
        [
            format!("panics: {none}"),
            format!("fails: {none}"),
            "fails: failed: no".into(),
            format!("twice: {none}")
        ]
    );
}

#[test]
fn the_function_may_use_the_socket() {
    let io = Server::builder()
        .on_handler_error(|failed| {
            let socket = failed.socket().unwrap();
            socket.emit("failed", failed.event()).unwrap();
            socket.on("none", async || "now there is one");
            if failed.event() == "bye" {
                socket.disconnect(true);
                failed.ack("too late");
            }
        })
        .build();
    let client = Sim::new(io).connect();
    client.send_all([r#"421["none"]"#, r#"422["none"]"#, r#"423["bye"]"#]);
    assert_eq!(
        client.texts(),
        [r#"42["failed","none"]"#, r#"432["now there is one"]"#, r#"42["failed","bye"]"#, "41"]
    );
}

/// The text is on standard error, because no log is configured in this program.
#[test]
fn a_missing_state_is_printed_once_if_there_is_no_log() {
    let this = std::env::current_exe().unwrap();
    let child = ["--exact", "--ignored", "--nocapture", "child_without_state"];
    let output = Command::new(this).args(child).output().unwrap();
    let printed = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<_> = printed.lines().filter(|line| line.starts_with("sockeye: ")).collect();
    let [line] = lines.as_slice() else { panic!("{printed}") };
    assert!(
        line.contains("a handler of \"state\" in \"/\" is not called: there is no state of type u8"),
        "{line}"
    );
    assert!(output.status.success());
}

#[test]
#[ignore = "run by another test"]
fn child_without_state() {
    let io = Server::new();
    io.on("state", async |_: State<u8>| ());
    io.on("other", async |_: State<u8>| ());
    io.on("auth", async |Auth(_): Auth<u8>| ());
    let client = Sim::new(io).connect();
    client.send_all([r#"42["state"]"#, r#"42["state"]"#, r#"42["other"]"#, r#"42["auth"]"#, r#"42["none"]"#]);
}
