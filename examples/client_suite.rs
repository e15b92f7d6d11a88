//! The server that the tests of the JavaScript Engine.IO client expect: it echoes, and knows a few commands.
//!
//! Run it with `PORT=3000 cargo run --example client_suite`.
mod common;

use serde_json::json;
use sockeye::engine::{Application, CloseReason, Message, Server, Session};
use sockeye::{Handshake, Rejection};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// The cookies that each session's client sent last, by the session's id.
#[derive(Clone, Default)]
struct Suite(Arc<Mutex<HashMap<String, String>>>);

impl Application for Suite {
    type State = ();

    fn on_open(&self, session: &Session<Self>) {
        let _ = session.send(Message::Text("hi"));
    }

    fn on_message(&self, session: &Session<Self>, message: Message<'_>) {
        // An error means that the client reads too slowly; it is closed for that.
        let _ = match message {
            Message::Text("give binary") => session.send(Message::Binary(Cow::Borrowed(&[0, 1, 2, 3, 4]))),
            Message::Text("give utf8") => session.send(Message::Text("пойду спать всем спокойной ночи")),
            Message::Text("sendHeaders") => {
                let headers = match self.cookies().get(session.id().as_str()) {
                    Some(cookie) => json!({ "cookie": cookie }),
                    None => json!({}),
                };
                session.send(Message::Text(&headers.to_string()))
            }
            message => session.send(message),
        };
    }

    fn on_close(&self, session: &Session<Self>, _: &CloseReason) {
        self.cookies().remove(session.id().as_str());
    }
}

impl Suite {
    fn cookies(&self) -> MutexGuard<'_, HashMap<String, String>> {
        self.0.lock().expect("no holder panics")
    }

    /// Notes the cookies of a request for a session.
    fn note(&self, request: &Handshake) {
        if let (Some(session), Some(cookies)) = (request.query_param("sid"), request.header("cookie")) {
            self.cookies().insert(session, cookies.to_owned());
        }
    }
}

fn main() -> std::io::Result<()> {
    let suite = Suite::default();
    let noting = suite.clone();
    let server = Server::builder(suite)
        .ping_interval(Duration::from_millis(500))
        .max_payload(100)
        .allow_request(async |request: Handshake| match request.query_param("deny") {
            Some(_) => Err("denied".to_owned()),
            None => Ok(()),
        })
        .use_request(move |request: Handshake| {
            noting.note(&request);
            async { Ok::<_, Rejection>(()) }
        })
        .initial_headers(|_, headers| {
            for cookie in [
                "1=1; Max-Age=86400",
                "2=2; Path=/; HttpOnly; Secure; SameSite=Strict",
                "3=3; Max-Age=0",
                "4=4; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
            ] {
                headers.append("Set-Cookie", cookie).expect("a valid header");
            }
        })
        .build();
    common::serve(server)
}
