//! Answers of clients: how they are awaited, and what comes instead of one.
#![allow(missing_docs, clippy::unwrap_used)]

mod simulation;

use bytes::Bytes;
use simulation::{Client, Sim};
use sockeye::extract::Data;
use sockeye::{AckError, Args, EmitError, Server, Socket};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

fn connect() -> (Client, Socket) {
    let client = Sim::new(Server::new()).connect();
    let socket = client.sim.server().of("/").socket(&client.id).unwrap();
    (client, socket)
}

#[test]
fn an_answer_is_read_as_its_type_and_the_first_id_is_zero() {
    let (client, socket) = connect();
    let answer = client.sim.spawn(socket.emit_with_ack::<String>("a", 1));
    assert_eq!(client.next(), r#"420["a",1]"#);
    assert!(answer.take().is_none());
    client.send(r#"430["yes"]"#);
    assert_eq!(answer.take().unwrap().unwrap(), "yes");

    let answer = client.sim.spawn(socket.emit_with_ack::<(u32, String)>("a", ()));
    assert_eq!(client.next(), r#"421["a"]"#);
    client.send(r#"431[7,"x"]"#);
    assert_eq!(answer.take().unwrap().unwrap(), (7, "x".to_owned()));

    let answer = client.sim.spawn(socket.emit_with_ack::<()>("a", ()));
    client.send("432[]");
    answer.take().unwrap().unwrap();

    let answer = client.sim.spawn(socket.emit_with_ack::<u32>("a", ()));
    client.send(r#"433["text"]"#);
    assert!(matches!(answer.take().unwrap(), Err(AckError::Decode(_))));
}

#[test]
fn an_answer_may_have_attachments() {
    let (client, socket) = connect();
    let answer = client.sim.spawn(socket.emit_with_ack::<Bytes>("a", Bytes::from_static(b"out")));
    assert_eq!(client.next(), r#"451-0["a",{"_placeholder":true,"num":0}]"#);
    assert_eq!(client.next_binary(), b"out");
    client.send(r#"461-0[{"_placeholder":true,"num":0}]"#);
    client.send_binary(b"in");
    assert_eq!(answer.take().unwrap().unwrap(), &b"in"[..]);

    let answer = client.sim.spawn(socket.emit_with_ack::<Args>("a", ()));
    client.send("431[1,2,3]");
    assert_eq!(answer.take().unwrap().unwrap().len(), 3);
}

#[test]
fn an_answer_that_comes_before_anybody_waits_is_kept() {
    let (client, socket) = connect();
    let future = socket.emit_with_ack::<u32>("a", ());
    client.send("430[5]");
    client.sim.advance(60 * SECOND);
    assert_eq!(client.sim.spawn(future).take().unwrap().unwrap(), 5);
}

#[test]
fn a_timeout_is_exact() {
    let (client, socket) = connect();
    let answer = client.sim.spawn(socket.timeout(5 * SECOND).emit_with_ack::<u32>("a", ()));
    client.sim.advance(5 * SECOND - MILLISECOND);
    assert!(answer.take().is_none());
    client.sim.advance(MILLISECOND);
    assert!(matches!(answer.take().unwrap(), Err(AckError::Timeout)));
    // What comes too late, or was never asked for, is ignored.
    client.send_all(["430[1]", "430[1]", "4399[1]"]);
    assert!(!client.is_closed());

    // Without another wish it is the server's.
    let answer = client.sim.spawn(socket.emit_with_ack::<u32>("a", ()));
    client.sim.advance(30 * SECOND - MILLISECOND);
    assert!(answer.take().is_none());
    client.sim.advance(MILLISECOND);
    assert!(matches!(answer.take().unwrap(), Err(AckError::Timeout)));
}

#[test]
fn a_second_answer_is_ignored() {
    let (client, socket) = connect();
    let answer = client.sim.spawn(socket.emit_with_ack::<u32>("a", ()));
    client.send_all(["430[1]", "430[2]"]);
    assert_eq!(answer.take().unwrap().unwrap(), 1);
    assert!(!client.is_closed());
}

#[test]
fn a_disconnect_answers_all_that_wait_once() {
    let (client, socket) = connect();
    let answers: Vec<_> = (0..10).map(|_| client.sim.spawn(socket.emit_with_ack::<u32>("a", ()))).collect();
    let everybody = client.sim.spawn(client.sim.server().emit_with_ack::<u32>("b", ()));
    client.send("431[1]");
    client.close();
    for (i, answer) in answers.iter().enumerate() {
        match answer.take().unwrap() {
            Ok(1) if i == 1 => {}
            Err(AckError::Disconnected) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(everybody.take().unwrap().as_slice(), [(_, Err(AckError::Disconnected))]));
    let late = client.sim.spawn(socket.emit_with_ack::<u32>("a", ()));
    assert!(matches!(late.take().unwrap(), Err(AckError::Emit(EmitError::Disconnected))));
}

/// As many answers as may be awaited from one socket; the next one is refused if any is kept.
const MANY: usize = 10_000;

#[test]
fn nothing_is_kept_of_an_answer_that_nobody_waits_for() {
    let (client, socket) = connect();
    let server = client.sim.server();
    let fits = || {
        let future = socket.emit_with_ack::<u32>("last", ());
        let answer = client.sim.spawn(future);
        let last = client.texts().pop().unwrap();
        let id = last.strip_prefix("42").and_then(|rest| rest.split('[').next()).unwrap();
        client.send(&format!("43{id}[1]"));
        answer.take().unwrap().unwrap();
    };
    // Dropped before the answer.
    for _ in 0..MANY {
        drop(socket.emit_with_ack::<u32>("a", ()));
    }
    fits();
    // Timed out, kept by nobody or by somebody.
    let futures: Vec<_> = (0..MANY).map(|_| socket.timeout(SECOND).emit_with_ack::<u32>("a", ())).collect();
    client.sim.advance(SECOND);
    fits();
    drop(futures);
    // The same for many sockets at once.
    let futures: Vec<_> = (0..MANY).map(|_| server.timeout(SECOND).emit_with_ack::<u32>("a", ())).collect();
    client.sim.advance(SECOND);
    fits();
    drop(futures);
    // Not sent: the client is not ready for what is volatile.
    client.sim.run();
    socket.emit("waits", ()).unwrap();
    for _ in 0..MANY {
        drop(server.volatile().emit_with_ack::<u32>("a", ()));
    }
    fits();
}

#[test]
fn more_answers_than_may_be_awaited_are_an_error_and_nothing_is_sent() {
    let (client, socket) = connect();
    let futures: Vec<_> = (0..MANY).map(|_| socket.emit_with_ack::<u32>("a", ())).collect();
    assert_eq!(client.texts().len(), MANY);
    let answer = client.sim.spawn(socket.emit_with_ack::<u32>("too many", ()));
    assert!(matches!(answer.take().unwrap(), Err(AckError::Emit(EmitError::TooManyAcks))));
    let other = client.sim.connect();
    let answers = client.sim.spawn(client.sim.server().emit_with_ack::<u32>("too many", ()));
    client.expect_nothing();
    let event = other.next();
    other.send(&event.replace("42", "43").replace(r#""too many""#, "1"));
    let mut answers = answers.take().unwrap();
    answers.sort_by_key(|(_, answer)| answer.is_err());
    assert!(matches!(answers.as_slice(), [(_, Ok(1)), (_, Err(AckError::Emit(EmitError::TooManyAcks)))]));
    drop(futures);
}

#[test]
fn no_timer_is_kept_of_an_answer() {
    let (client, socket) = connect();
    let before = client.sim.server().clone();
    let deadline = sockeye_core::host::Host::next_deadline(&before);
    let future = socket.timeout(SECOND).emit_with_ack::<u32>("a", ());
    assert!(sockeye_core::host::Host::next_deadline(&before) < deadline);
    client.send("430[1]");
    assert_eq!(sockeye_core::host::Host::next_deadline(&before), deadline);
    drop(future);
    drop(socket.timeout(SECOND).emit_with_ack::<u32>("a", ()));
    assert_eq!(sockeye_core::host::Host::next_deadline(&before), deadline);
}

#[test]
fn a_broadcast_collects_all_answers() {
    let (a, _) = connect();
    let b = a.sim.connect();
    let answers = a.sim.spawn(a.sim.server().emit_with_ack::<u32>("ask", "all"));
    // One frame for all.
    assert_eq!(a.next(), r#"420["ask","all"]"#);
    assert_eq!(b.next(), r#"420["ask","all"]"#);
    a.send("430[1]");
    assert!(answers.take().is_none());
    b.send("430[2]");
    let mut answers: Vec<_> =
        answers.take().unwrap().into_iter().map(|(id, answer)| (answer.unwrap(), id.to_string())).collect();
    answers.sort();
    assert_eq!(answers, [(1, a.id.clone()), (2, b.id.clone())]);
}

#[test]
fn a_broadcast_gives_the_answers_that_came_in_time() {
    let (a, _) = connect();
    let b = a.sim.connect();
    let c = a.sim.connect();
    let answers = a.sim.spawn(a.sim.server().timeout(SECOND).emit_with_ack::<u32>("ask", ()));
    a.send("430[1]");
    c.close();
    a.sim.advance(SECOND - MILLISECOND);
    assert!(answers.take().is_none());
    a.sim.advance(MILLISECOND);
    for (id, answer) in answers.take().unwrap() {
        match answer {
            Ok(1) => assert_eq!(*id, *a.id),
            Err(AckError::Timeout) => assert_eq!(*id, *b.id),
            Err(AckError::Disconnected) => assert_eq!(*id, *c.id),
            other => panic!("{other:?}"),
        }
    }
    b.send("430[2]");
    assert!(!b.is_closed());
}

#[test]
fn a_broadcast_to_nobody_is_answered_at_once() {
    let (client, _) = connect();
    let answers = client.sim.spawn(client.sim.server().to("nobody").emit_with_ack::<u32>("ask", ()));
    assert_eq!(answers.take().unwrap().len(), 0);
}

#[test]
fn a_handler_may_ask_the_client_while_it_answers() {
    let server = Server::new();
    server.on_connect(async |socket: Socket| {
        socket.on("ask", async |socket: Socket, Data(depth): Data<u32>| {
            let first = socket.emit_with_ack::<u32>("inner", depth).await?;
            let second = socket.emit_with_ack::<u32>("inner", first).await?;
            Ok::<_, AckError>(first + second)
        });
    });
    let client = Sim::new(server).connect();
    client.send(r#"427["ask",1]"#);
    assert_eq!(client.next(), r#"420["inner",1]"#);
    client.send("430[10]");
    assert_eq!(client.next(), r#"421["inner",10]"#);
    client.send("431[20]");
    assert_eq!(client.next(), "437[30]");
}

#[test]
fn what_cannot_be_sent_is_not_awaited() {
    let (client, socket) = connect();
    let answer = client.sim.spawn(socket.emit_with_ack::<u32>("connect", ()));
    assert!(matches!(answer.take().unwrap(), Err(AckError::Emit(EmitError::Encode(_)))));
    client.expect_nothing();
}

#[test]
fn an_answer_without_an_id_or_arguments_breaks_the_protocol() {
    for packet in ["43[1]", "430", "430{}"] {
        let (client, _) = connect();
        client.send(packet);
        client.expect_close();
    }
}
