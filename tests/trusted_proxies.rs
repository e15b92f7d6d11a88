//! Clients behind proxies that the server trusts to tell their address and scheme.
#![allow(missing_docs, clippy::unwrap_used)]

mod simulation;

use simulation::Sim;
use sockeye::observe::{Observer, ServerEvent};
use sockeye::{Handshake, Server, ServerBuilder, TrustProxy};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PROXY: &str = "127.0.0.1:7";
const STRANGER: &str = "192.0.2.9:7";

/// The addresses and schemes that were seen, each with the place where.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn note(&self, what: &str, handshake: &Handshake) {
        let scheme = if handshake.secure() { "https" } else { "http" };
        let address = handshake.address().map_or("unknown".into(), |address| address.to_string());
        self.0.lock().unwrap().push(format!("{what} {scheme} {address}"));
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Observer for Notes {
    fn event(&self, event: &ServerEvent<'_>) {
        match event {
            ServerEvent::SessionOpened { handshake, .. } => self.note("opened", handshake),
            ServerEvent::RequestRefused { peer, .. } => {
                self.0.lock().unwrap().push(format!("refused {}", peer.unwrap()));
            }
            _ => {}
        }
    }
}

fn trusting() -> ServerBuilder {
    Server::builder().trust_proxy(TrustProxy::networks(["127.0.0.1"]).unwrap())
}

fn request(target: &str, headers: &str) -> String {
    format!("GET /socket.io/?EIO=4&transport={target} HTTP/1.1\r\nHost: a\r\n{headers}\r\n")
}

fn from_client(address: &str) -> String {
    format!("X-Forwarded-For: 6.6.6.6, {address}\r\nX-Forwarded-Proto: https\r\n")
}

/// Sends a request over a connection from `peer`, and returns the response.
fn ask(sim: &Sim, peer: &str, request: &str) -> String {
    let pipe = sim.dial_from(peer.parse().unwrap());
    pipe.send(request.as_bytes());
    sim.run();
    String::from_utf8(pipe.receive()).unwrap()
}

#[test]
fn the_client_is_known_behind_a_trusted_proxy_only() {
    let notes = Notes::default();
    let sim = Sim::new(trusting().observer(notes.clone()).build());
    let headers = from_client("1.2.3.4");
    ask(&sim, PROXY, &request("polling", &headers));
    assert_eq!(notes.take(), ["opened https 1.2.3.4:0"]);
    ask(&sim, STRANGER, &request("polling", &headers));
    assert_eq!(notes.take(), ["opened http 192.0.2.9:7"]);
    ask(&sim, PROXY, &request("polling", "X-Forwarded-For: unknown\r\n"));
    assert_eq!(notes.take(), ["opened http 127.0.0.1:7"]);

    let sim = Sim::new(Server::builder().observer(notes.clone()).build());
    ask(&sim, PROXY, &request("polling", &headers));
    assert_eq!(notes.take(), ["opened http 127.0.0.1:7"], "nobody is trusted by default");
}

#[test]
fn each_request_on_a_connection_of_a_proxy_has_its_own_client() {
    let notes = Notes::default();
    let sim = Sim::new(trusting().observer(notes.clone()).build());
    let pipe = sim.dial_from(PROXY.parse().unwrap());
    for address in ["1.2.3.4", "5.6.7.8"] {
        pipe.send(request("polling", &from_client(address)).as_bytes());
        sim.run();
        assert_eq!(notes.take(), [format!("opened https {address}:0")]);
    }
    pipe.send(request("polling&sid=none", &from_client("9.9.9.9")).as_bytes());
    sim.run();
    assert_eq!(notes.take(), ["refused 9.9.9.9:0"]);
}

#[test]
fn hooks_that_answer_later_and_the_limit_of_sessions_see_the_client() {
    let notes = Notes::default();
    let seen = notes.clone();
    let builder = trusting().max_sessions_per_address(1).observer(notes.clone());
    let builder = builder.allow_request(move |handshake: Handshake| {
        seen.note("asked", &handshake);
        let mut waited = false;
        std::future::poll_fn(move |cx| {
            cx.waker().wake_by_ref();
            match std::mem::replace(&mut waited, true) {
                true => std::task::Poll::Ready(Ok(())),
                false => std::task::Poll::Pending,
            }
        })
    });
    let sim = Sim::new(builder.build());
    let from = |address: &str| ask(&sim, PROXY, &request("polling", &from_client(address)));
    assert!(from("1.2.3.4").contains("200 OK"));
    assert_eq!(notes.take(), ["asked https 1.2.3.4:0", "opened https 1.2.3.4:0"]);
    assert!(from("1.2.3.4").contains("429 "));
    assert_eq!(notes.take(), ["asked https 1.2.3.4:0", "refused 1.2.3.4:0"]);
    assert!(from("5.6.7.8").contains("200 OK"));
    // The place is free again when the session has ended.
    sim.advance(Duration::from_secs(200));
    notes.take();
    assert!(from("1.2.3.4").contains("200 OK"));
}

#[test]
fn a_body_that_is_refused_is_told_with_the_client() {
    let notes = Notes::default();
    let sim = Sim::new(trusting().max_payload(10).observer(notes.clone()).build());
    let opened = ask(&sim, PROXY, &request("polling", &from_client("1.2.3.4")));
    let sid = opened.split('"').nth(3).unwrap();
    notes.take();
    // The headers are gone when the body turns out to be too large.
    let head =
        request(&format!("polling&sid={sid}"), "Transfer-Encoding: chunked\r\n").replace("GET", "POST");
    assert!(ask(&sim, PROXY, &(head + "b\r\n44444444444\r\n0\r\n\r\n")).contains("413 "));
    assert_eq!(notes.take(), ["refused 1.2.3.4:0"]);
}

#[cfg(feature = "http")]
#[test]
fn a_mounted_server_knows_the_client_behind_a_trusted_proxy() {
    use http::Request;
    use sockeye::host::Peer;
    use sockeye::mount::{Outcome, answer};
    use std::net::SocketAddr;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    let notes = Notes::default();
    let io = trusting().observer(notes.clone()).build();
    for (peer, expected) in [(PROXY, "opened https 1.2.3.4:0"), (STRANGER, "opened http 192.0.2.9:7")] {
        let request = Request::get("/socket.io/?EIO=4&transport=polling")
            .header("x-forwarded-for", "6.6.6.6")
            .header("x-forwarded-for", "1.2.3.4")
            .header("x-forwarded-proto", "https")
            .body(String::new())
            .unwrap();
        let peer = Peer::from(peer.parse::<SocketAddr>().unwrap());
        let answer = pin!(answer(io.clone(), request, peer));
        let answered = answer.poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(answered, Poll::Ready(Outcome::Response(_))));
        assert_eq!(notes.take(), [expected]);
    }
}
