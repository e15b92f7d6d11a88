//! Acknowledgements from clients, and the results if a client sends none.
#![allow(missing_docs, clippy::unwrap_used)]

mod simulation;

use bytes::Bytes;
use simulation::{Client, Sim};
use sockeye::extract::Data;
use sockeye::host::Host;
use sockeye::{AckError, Args, EmitError, Server, Socket};
use std::sync::{Arc, Mutex};
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
    // Answers that come too late, or that were never asked for, are ignored.
    client.send_all(["430[1]", "430[1]", "4399[1]"]);
    assert!(!client.is_closed());

    // The server's setting applies if the message has none.
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
    let everybody = everybody.take().unwrap();
    assert!(everybody.answers.is_empty());
    assert!(matches!(everybody.all(), Err(AckError::Disconnected)));
    let late = client.sim.spawn(socket.emit_with_ack::<u32>("a", ()));
    assert!(matches!(late.take().unwrap(), Err(AckError::Emit(EmitError::Disconnected))));
}

/// The limit of pending answers of one socket: if one of them was kept, the next would be refused.
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
    // Timed out, with the future dropped or kept.
    let futures: Vec<_> = (0..MANY).map(|_| socket.timeout(SECOND).emit_with_ack::<u32>("a", ())).collect();
    client.sim.advance(SECOND);
    fits();
    drop(futures);
    // The same for many sockets at once.
    let futures: Vec<_> = (0..MANY).map(|_| server.timeout(SECOND).emit_with_ack::<u32>("a", ())).collect();
    client.sim.advance(SECOND);
    fits();
    drop(futures);
    // Not sent, because the client is not ready for a volatile message.
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
    let answers = answers.take().unwrap();
    assert!(answers.values().eq(&[1]) && answers.missing.len() == 1);
    assert!(matches!(answers.all(), Err(AckError::Emit(EmitError::TooManyAcks))));
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
    let answers = answers.take().unwrap();
    assert!(answers.is_complete());
    let mut each: Vec<_> =
        answers.answers.iter().map(|it| (it.value.as_ref().ok(), it.socket.unwrap().to_string())).collect();
    each.sort();
    assert_eq!(each, [(Some(&1), a.id.clone()), (Some(&2), b.id.clone())]);
    assert_eq!(answers.all().unwrap().len(), 2);
}

#[test]
fn the_answers_to_a_broadcast_can_be_taken_as_they_come() {
    let (a, _) = connect();
    let (b, c, d) = (a.sim.connect(), a.sim.connect(), a.sim.connect());
    let mut answers = a.sim.server().timeout(SECOND).emit_with_ack::<u32>("ask", ());
    // Two that come before the stream is polled, one of which is of another type.
    c.send("430[3]");
    b.send(r#"430["b"]"#);
    let (taken, missing) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Mutex<Vec<_>>>::default());
    let (take, rest) = (taken.clone(), missing.clone());
    a.sim.spawn(async move {
        while let Some(answer) = answers.next().await {
            take.lock().unwrap().push((answer.socket.unwrap().to_string(), answer.value.ok()));
        }
        let answers = answers.await;
        assert!(answers.answers.is_empty() && !answers.is_complete());
        rest.lock().unwrap().extend(answers.missing.into_iter().map(|it| it.socket.unwrap().to_string()));
    });
    assert_eq!(*taken.lock().unwrap(), [(c.id.clone(), Some(3)), (b.id.clone(), None)]);
    a.send("430[1]");
    a.send("430[2]");
    assert_eq!(taken.lock().unwrap()[2..], [(a.id.clone(), Some(1))]);
    a.sim.advance(SECOND);
    assert_eq!(taken.lock().unwrap().len(), 3);
    assert_eq!(missing.lock().unwrap().as_slice(), std::slice::from_ref(&d.id));
}

#[test]
fn the_rest_of_the_answers_to_a_broadcast_can_be_awaited_after_the_first() {
    let (a, _) = connect();
    let (b, c) = (a.sim.connect(), a.sim.connect());
    let mut answers = a.sim.server().emit_with_ack::<u32>("ask", ());
    let rest = a.sim.spawn(async move {
        let first = answers.next().await.unwrap().value.unwrap();
        (first, answers.await.all().unwrap())
    });
    c.send("430[3]");
    b.send("430[2]");
    assert!(rest.take().is_none());
    a.send("430[1]");
    let (first, mut rest) = rest.take().unwrap();
    rest.sort();
    assert_eq!((first, rest), (3, vec![1, 2]));
}

#[test]
fn answers_to_a_broadcast_that_are_not_awaited_any_more_are_forgotten() {
    let (client, socket) = connect();
    for _ in 0..2 {
        let asked: Vec<_> = (0..MANY).map(|_| client.sim.server().emit_with_ack::<u32>("a", ())).collect();
        let full = client.sim.spawn(socket.emit_with_ack::<u32>("a", ()));
        assert!(matches!(full.take(), Some(Err(AckError::Emit(EmitError::TooManyAcks)))));
        drop(asked);
    }
    let _silent = client.sim.connect();
    let mut answers = client.sim.server().timeout(SECOND).emit_with_ack::<u32>("a", ());
    let first = client.sim.spawn(async move { answers.next().await.is_some() });
    let event = client.texts().pop().unwrap();
    let deadline = client.sim.server().next_deadline();
    client.send(&event.replace("42", "43").replace(r#""a""#, "1"));
    assert_eq!(first.take(), Some(true));
    assert!(client.sim.server().next_deadline() > deadline, "no time is kept for it");
}

#[test]
fn an_answer_that_comes_after_its_stream_was_dropped_is_ignored() {
    let (a, _) = connect();
    let b = a.sim.connect();
    let server = a.sim.server().clone();
    let deadline = server.next_deadline();
    let mut answers = server.timeout(SECOND).emit_with_ack::<u32>("ask", ());
    let first = a.sim.spawn(async move { answers.next().await.unwrap().value.unwrap() });
    a.send("430[1]");
    assert_eq!(first.take(), Some(1));
    assert_eq!(server.next_deadline(), deadline, "no time is kept for it");
    let again = a.sim.spawn(server.timeout(SECOND).emit_with_ack::<u32>("again", ()));
    for client in [&a, &b] {
        assert_eq!(client.texts(), [r#"420["ask"]"#, r#"421["again"]"#]);
    }
    // Late, or again.
    b.send("430[2]");
    a.send("430[3]");
    assert!(again.take().is_none());
    a.send("431[4]");
    b.send("431[5]");
    let mut values = again.take().unwrap().all().unwrap();
    values.sort();
    assert_eq!(values, [4, 5]);
    assert!(!a.is_closed() && !b.is_closed());
}

#[test]
fn a_broadcast_that_cannot_be_sent_is_not_complete() {
    let (client, _) = connect();
    let answers = client.sim.spawn(client.sim.server().emit_with_ack::<u32>("connect", ()));
    let answers = answers.take().unwrap();
    assert!(matches!(answers.error, Some(EmitError::Encode(_))) && !answers.is_complete());
    assert!(matches!(answers.all(), Err(AckError::Emit(EmitError::Encode(_)))));
    client.expect_nothing();
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
    let answers = answers.take().unwrap();
    assert_eq!(answers.answers[0].socket.unwrap().as_str(), a.id);
    assert!(answers.values().eq(&[1]) && !answers.is_complete() && answers.silent_servers.is_empty());
    for missing in &answers.missing {
        match missing.reason {
            AckError::Timeout => assert_eq!(missing.socket.unwrap().as_str(), b.id),
            AckError::Disconnected => assert_eq!(missing.socket.unwrap().as_str(), c.id),
            _ => panic!("{missing:?}"),
        }
    }
    assert!(matches!(answers.all(), Err(AckError::Timeout | AckError::Disconnected)));
    b.send("430[2]");
    assert!(!b.is_closed());
}

#[test]
fn a_broadcast_to_nobody_is_answered_at_once() {
    let (client, _) = connect();
    let answers = client.sim.spawn(client.sim.server().to("nobody").emit_with_ack::<u32>("ask", ()));
    let answers = answers.take().unwrap();
    assert!(answers.answers.is_empty() && answers.is_complete() && answers.all().unwrap().is_empty());
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
