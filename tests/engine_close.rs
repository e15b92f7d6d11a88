//! Closing an Engine.IO server, step by step.
#![allow(missing_docs, clippy::unwrap_used)]

use bytes::Buf;
use sockeye::Time;
use sockeye::drive::{Protocol, StreamStatus};
use sockeye::engine::{Application, CloseReason, Connection, Message, Server, Session};
use sockeye::host::{Host, Peer};
use std::future::Ready;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::task::Waker;
use std::time::Duration;

/// A handler that, while a session's end is reported to it, sends the client's last answer, as another thread could.
#[derive(Default)]
struct Watch {
    server: OnceLock<Server<Watch>>,
    poll: Mutex<Option<Connection<Watch>>>,
    was_closed: Mutex<Option<bool>>,
}

impl Application for Watch {
    type State = ();

    fn on_message(&self, _: &Session<Self>, _: Message<'_>) {}

    fn on_close(&self, _: &Session<Self>, _: &CloseReason) {
        let mut poll = self.poll.lock().unwrap().take().unwrap();
        poll.handle_wake(Time::ZERO);
        assert!(answer(&mut poll).ends_with("\r\n\r\n1"));
        *self.was_closed.lock().unwrap() = Some(self.server.get().unwrap().is_closed());
    }
}

#[test]
fn a_server_is_closed_only_after_the_end_of_every_session_is_reported() {
    let server = Server::new(Watch::default());
    assert!(server.application().server.set(server.clone()).is_ok());
    let mut connection = server.accept(Time::ZERO, Peer::default());
    connection.set_waker(Waker::noop());
    let opened = request(&mut connection, "");
    let (_, sid) = opened.split_once(r#""sid":""#).unwrap();
    assert_eq!(request(&mut connection, &format!("&sid={}", &sid[..20])), "");
    *server.application().poll.lock().unwrap() = Some(connection);

    server.begin_close();
    assert_eq!(*server.application().was_closed.lock().unwrap(), Some(false));
    assert!(server.is_closed());
}

/// Panics in every call.
struct Panics;

impl Application for Panics {
    type State = ();

    fn on_open(&self, _: &Session<Self>) {
        panic!("on_open");
    }

    fn on_message(&self, _: &Session<Self>, _: Message<'_>) {
        panic!("on_message");
    }

    fn on_close(&self, _: &Session<Self>, _: &CloseReason) {
        panic!("on_close");
    }
}

#[test]
fn a_panic_of_the_application_ends_its_call_and_neither_the_connection_nor_the_server() {
    let server = Server::new(Panics);
    let mut connection = server.accept(Time::ZERO, Peer::default());
    connection.set_waker(Waker::noop());
    let mut sids = [(); 2].map(|()| {
        let opened = request(&mut connection, "");
        opened.split_once(r#""sid":""#).unwrap().1[..20].to_owned()
    });
    sids.sort();
    let post = |sid: &str| {
        format!(
            "POST /engine.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: x\r\n\
             Content-Length: 7\r\n\r\n4a\x1e4b\x1e1"
        )
    };
    connection.handle_data(Time::ZERO, &mut post(&sids[0]).into_bytes());
    assert!(answer(&mut connection).ends_with("\r\n\r\nok"));
    assert_eq!(server.sessions_count(), 1, "by the client's goodbye");
    // As by the task that keeps the time.
    for seconds in [25, 45] {
        server.handle_timeout(Time::ZERO + Duration::from_secs(seconds));
    }
    assert_eq!(server.sessions_count(), 0, "by silence");
    assert!(request(&mut connection, "").contains(r#""sid":""#), "others are served");
}

/// Counts the ends of sessions; panics at the deadline that each of them has.
#[derive(Default)]
struct PanicsWhenDue(AtomicUsize);

struct Due(Time);

impl Default for Due {
    fn default() -> Self {
        Due(Time::ZERO + Duration::from_secs(1))
    }
}

impl Application for PanicsWhenDue {
    type State = Due;

    fn on_message(&self, _: &Session<Self>, _: Message<'_>) {}

    fn on_close(&self, _: &Session<Self>, _: &CloseReason) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn next_deadline(state: &Due) -> Option<Time> {
        Some(state.0)
    }

    fn handle_timeout(_: &mut Due, _: Time) -> Option<CloseReason> {
        panic!("handle_timeout");
    }
}

#[test]
fn a_panic_in_handle_timeout_ends_the_session() {
    let server = Server::new(PanicsWhenDue::default());
    let mut connection = server.accept(Time::ZERO, Peer::default());
    connection.set_waker(Waker::noop());
    request(&mut connection, "");
    server.handle_timeout(Time::ZERO + Duration::from_secs(1));
    assert_eq!(server.application().0.load(Ordering::Relaxed), 1);
}

/// Panics if it is asked for its deadline.
struct PanicsForDeadline;

impl Application for PanicsForDeadline {
    type State = ();

    fn on_message(&self, _: &Session<Self>, _: Message<'_>) {}

    fn next_deadline(_: &()) -> Option<Time> {
        panic!("next_deadline");
    }
}

#[test]
fn a_panic_in_next_deadline_leaves_the_session_its_heartbeat() {
    let server = Server::new(PanicsForDeadline);
    let mut connection = server.accept(Time::ZERO, Peer::default());
    connection.set_waker(Waker::noop());
    assert!(request(&mut connection, "").contains(r#""sid":""#));
    for seconds in [25, 45] {
        server.handle_timeout(Time::ZERO + Duration::from_secs(seconds));
    }
    assert_eq!(server.sessions_count(), 0);
}

#[test]
fn a_panic_in_allow_request_refuses_the_request() {
    let early = Server::builder(Panics).allow_request(|_| -> Ready<Result<(), String>> { panic!("early") });
    let late = Server::builder(Panics).allow_request(async |_| panic!("late"));
    for server in [early.build(), late.build()] {
        let mut connection = server.accept(Time::ZERO, Peer::default());
        connection.set_waker(Waker::noop());
        for _ in 0..2 {
            assert!(request(&mut connection, "").starts_with("HTTP/1.1 503 "));
        }
        assert_eq!(server.sessions_count(), 0);
    }
}

#[test]
fn the_time_of_what_lingers_after_the_last_listener_is_kept_by_one_that_does_not_own_the_server() {
    let server = Server::new(Watch::default());
    let mut idle = server.accept(Time::ZERO, Peer::default());
    idle.set_waker(Waker::noop());
    request(&mut idle, "/none");
    server.begin_close();
    assert!(server.is_closed());
    let weak = server.claim_time().unwrap();
    assert!(server.claim_time().is_none(), "one is enough");
    while let Some(deadline) = weak().unwrap().next_deadline() {
        weak().unwrap().handle_timeout(deadline);
        idle.handle_wake(deadline);
        assert!(answer(&mut idle).is_empty());
        if idle.status() == StreamStatus::HalfClose {
            idle.handle_half_closed(deadline);
        }
    }
    assert_eq!(idle.status(), StreamStatus::Closed);
    drop(weak);
    let weak = server.claim_time().expect("there is none any more");
    drop((idle, server));
    assert!(weak().is_none());
}

fn request<A: Application>(connection: &mut Connection<A>, query: &str) -> String {
    let request = format!("GET /engine.io/?EIO=4&transport=polling{query} HTTP/1.1\r\nHost: x\r\n\r\n");
    connection.handle_data(Time::ZERO, &mut request.into_bytes());
    answer(connection)
}

fn answer<A: Application>(connection: &mut Connection<A>) -> String {
    let mut bytes = Vec::new();
    while let Some(queue) = connection.poll_transmit() {
        bytes.extend_from_slice(&queue.copy_to_bytes(queue.len()));
    }
    String::from_utf8(bytes).unwrap()
}
