//! Closing an Engine.IO server, step by step.
#![allow(missing_docs, clippy::unwrap_used)]

use bytes::Buf;
use sockeye::Time;
use sockeye::drive::Protocol;
use sockeye::engine::{CloseReason, Connection, Handler, Message, Server, Session};
use sockeye::host::{Host, Peer};
use std::sync::{Mutex, OnceLock};
use std::task::Waker;

/// A handler that, while a session's end is reported to it, sends the client's last answer, as another thread could.
#[derive(Default)]
struct Watch {
    server: OnceLock<Server<Watch>>,
    poll: Mutex<Option<Connection<Watch>>>,
    was_closed: Mutex<Option<bool>>,
}

impl Handler for Watch {
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
    assert!(server.handler().server.set(server.clone()).is_ok());
    let mut connection = server.accept(Time::ZERO, Peer::default());
    connection.set_waker(Waker::noop());
    let opened = request(&mut connection, "");
    let (_, sid) = opened.split_once(r#""sid":""#).unwrap();
    assert_eq!(request(&mut connection, &format!("&sid={}", &sid[..20])), "");
    *server.handler().poll.lock().unwrap() = Some(connection);

    server.begin_close();
    assert_eq!(*server.handler().was_closed.lock().unwrap(), Some(false));
    assert!(server.is_closed());
}

fn request(connection: &mut Connection<Watch>, query: &str) -> String {
    let request = format!("GET /engine.io/?EIO=4&transport=polling{query} HTTP/1.1\r\nHost: x\r\n\r\n");
    connection.handle_data(Time::ZERO, &mut request.into_bytes());
    answer(connection)
}

fn answer(connection: &mut Connection<Watch>) -> String {
    let mut bytes = Vec::new();
    while let Some(queue) = connection.poll_transmit() {
        bytes.extend_from_slice(&queue.copy_to_bytes(queue.len()));
    }
    String::from_utf8(bytes).unwrap()
}
