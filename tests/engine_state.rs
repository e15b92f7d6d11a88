//! The state of each session, for an application on the Engine.IO layer.
#![allow(missing_docs, clippy::unwrap_used)]

use bytes::Buf;
use sockeye::Time;
use sockeye::drive::Protocol;
use sockeye::engine::{Application, CloseReason, Connection, Message, SendError, Server, Session};
use sockeye::host::{Host, Peer};
use std::future::Future;
use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

const IDLE: Duration = Duration::from_secs(5);

fn at(seconds: u64) -> Time {
    Time::ZERO + Duration::from_secs(seconds)
}

/// Counts the messages of each session, and ends one that has sent none for five seconds.
#[derive(Default)]
struct Counter {
    now: Mutex<Time>,
    last: Mutex<Option<Session<Counter>>>,
    ended: Mutex<Vec<(u32, CloseReason)>>,
}

#[derive(Default)]
struct Count {
    messages: u32,
    deadline: Option<Time>,
}

impl Application for Counter {
    type State = Count;

    fn on_open(&self, session: &Session<Self>) {
        *self.last.lock().unwrap() = Some(session.clone());
    }

    fn on_message(&self, session: &Session<Self>, _: Message<'_>) {
        let deadline = *self.now.lock().unwrap() + IDLE;
        let messages = session.with_state(|state| {
            state.deadline = Some(deadline);
            state.messages += 1;
            state.messages
        });
        // The lock is free again.
        session.send(Message::Text(&messages.to_string())).unwrap();
    }

    fn on_close(&self, session: &Session<Self>, reason: &CloseReason) {
        let messages = session.with_state(|state| state.messages);
        self.ended.lock().unwrap().push((messages, reason.clone()));
    }

    fn next_deadline(state: &Count) -> Option<Time> {
        state.deadline
    }

    fn handle_timeout(state: &mut Count, now: Time) -> Option<CloseReason> {
        state.deadline.filter(|deadline| *deadline <= now)?;
        Some(CloseReason::ForcedClose(Some("idle".into())))
    }
}

fn connect(server: &Server<Counter>) -> (Connection<Counter>, String) {
    let mut connection = server.accept(Time::ZERO, Peer::default());
    connection.set_waker(Waker::noop());
    let opened = request(&mut connection, "GET", "", "");
    let (_, sid) = opened.split_once(r#""sid":""#).unwrap();
    (connection, format!("&sid={}", &sid[..20]))
}

fn request(connection: &mut Connection<Counter>, method: &str, query: &str, body: &str) -> String {
    let request = format!(
        "{method} /engine.io/?EIO=4&transport=polling{query} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut input = request.into_bytes();
    assert_eq!(connection.handle_data(Time::ZERO, &mut input), input.len());
    let out = connection.poll_transmit().unwrap();
    let bytes = out.copy_to_bytes(out.remaining());
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn each_session_has_a_state_of_its_own() {
    let server = Server::new(Counter::default());
    let mut clients = [connect(&server), connect(&server)];
    for (client, body, answer) in [(0, "4a\x1e4b", "41\x1e42"), (1, "4c", "41"), (0, "4d", "43")] {
        let (connection, sid) = &mut clients[client];
        assert!(request(connection, "POST", sid, body).ends_with("\r\n\r\nok"));
        assert!(request(connection, "GET", sid, "").ends_with(&format!("\r\n\r\n{answer}")));
    }
}

#[test]
fn a_deadline_that_is_set_in_the_state_is_handled() {
    let server = Server::new(Counter::default());
    let (mut connection, sid) = connect(&server);
    let heartbeat = server.next_deadline().unwrap();
    assert!(heartbeat > at(7));
    assert!(request(&mut connection, "POST", &sid, "4a").ends_with("ok"));
    assert_eq!(server.next_deadline(), Some(at(5)), "it became the earliest");
    *server.application().now.lock().unwrap() = at(2);
    assert!(request(&mut connection, "POST", &sid, "4b").ends_with("ok"));
    server.handle_timeout(at(5));
    assert_eq!(server.sessions_count(), 1, "it has moved");
    assert_eq!(server.next_deadline(), Some(at(7)));
    server.handle_timeout(at(7));
    let reason = CloseReason::ForcedClose(Some("idle".into()));
    assert_eq!(*server.application().ended.lock().unwrap(), [(2, reason)]);
}

#[test]
fn a_deadline_that_is_set_outside_of_any_call_is_noticed_at_once() {
    let server = Server::new(Counter::default());
    let _client = connect(&server);
    let session = server.application().last.lock().unwrap().take().unwrap();
    session.with_state(|state| state.deadline = Some(at(3)));
    assert_eq!(server.next_deadline(), Some(at(3)));
}

#[test]
fn a_session_is_writable_while_little_is_queued_and_ends_the_wait_when_it_ends() {
    let server = Server::new(Counter::default());
    let (mut connection, sid) = connect(&server);
    let session = server.application().last.lock().unwrap().take().unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    let text = "x".repeat(300_000);
    session.send(Message::Text(text.as_str())).unwrap();
    let mut writable = pin!(session.writable());
    assert!(writable.as_mut().poll(&mut cx).is_pending());
    assert!(request(&mut connection, "GET", &sid, "").len() > 300_000);
    assert_eq!(writable.as_mut().poll(&mut cx), Poll::Ready(Ok(())));
    session.send(Message::Text(text.as_str())).unwrap();
    let mut writable = pin!(session.writable());
    assert!(writable.as_mut().poll(&mut cx).is_pending());
    session.close();
    assert_eq!(writable.as_mut().poll(&mut cx), Poll::Ready(Err(SendError::Closed)));
}
