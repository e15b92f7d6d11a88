//! Requests of another HTTP server, as messages: no sockets, and a clock that the test moves.
#![cfg(feature = "http")]
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "mount/world.rs"]
mod world;

use bytes::{Buf, Bytes};
use http::{Method, Request, StatusCode, Version};
use http_body::Frame;
use sockeye::drive::{Protocol, keep_time};
use sockeye::engine::{self, CloseReason, Message, TransportError};
use sockeye::host::{Host, Peer, Runtime};
use sockeye::mount::{Outcome, answer, takes};
use sockeye::{Cookie, Cors, Handshake, Rejection, ResponseHeaders, Server, Time};
use sockeye_core::websocket::{Opcode, write_frame};
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use world::{Clock, Echo, Feed, Outcomes, Woken, World, now, poll, response, text, uri};

#[test]
fn a_poll_waits_and_a_post_is_echoed_into_it() {
    let world = World::new();
    let sid = world.open();
    let mut waiting = world.get(&format!("polling&sid={sid}"));
    assert!(poll(&mut waiting).is_pending());
    let posted = response(now(&mut world.post(&sid, Feed::whole(&[b"4a", b"bc\x1e4", b"d"]))));
    assert_eq!(text(posted), "ok");
    assert_eq!(text(response(now(&mut waiting))), "4abc\x1e4d");
}

#[test]
fn scripts_and_forms_are_answered_if_that_is_on() {
    let world = World::with(engine::Server::builder(Echo::default()).jsonp(true).max_payload(30));
    let sid = world.open();
    let query = format!("{sid}&j=5");
    assert_eq!(text(response(now(&mut world.post(&query, Feed::whole(&[b"d=4a%", b"3C%1e4b"]))))), "ok");
    let polled = response(now(&mut world.get(&format!("polling&sid={query}"))));
    assert_eq!(polled.headers()["content-type"], "text/javascript; charset=UTF-8");
    assert_eq!(polled.headers()["x-content-type-options"], "nosniff");
    assert_eq!(text(polled), r#"___eio[5]("4a\u003c\u001e4b");"#);
    let most: &[u8] = b"d=4%61%61%61%61%61%61%61%61%61";
    assert_eq!(text(response(now(&mut world.post(&query, Feed::whole(&[most]))))), "ok");
    let refused = response(now(&mut world.post(&query, Feed::whole(&[most, b"a"]))));
    assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(world.ends(), [TransportError::TooLarge { limit: 30 }.into()]);
}

#[test]
fn a_payload_of_many_packets_is_taken_in_several_turns() {
    let world = World::new();
    let sid = world.open();
    let payload: &[u8] = [b"4a".as_slice(); 5000].join(&b'\x1e').leak();
    let mut posting = world.post(&sid, Feed::whole(&[payload]));
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    let taken = || world.server.application().0.lock().unwrap().messages;
    for _ in 0..3 {
        let before = (woken.count(), taken());
        assert!(posting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        assert!(woken.count() > before.0, "it goes on by itself");
        assert!((1..=2048).contains(&(taken() - before.1)), "{} packets", taken() - before.1);
    }
    assert_eq!(text(response(now(&mut posting))), "ok");
    assert_eq!(taken(), 5000);
    assert_eq!(text(response(now(&mut world.get(&format!("polling&sid={sid}"))))).as_bytes(), payload);
}

#[test]
fn a_body_that_trickles_is_refused_at_its_deadline_and_ends_its_session() {
    let world = World::new();
    trickles(&world, 30);
    let builder = engine::Server::builder(Echo::default());
    trickles(&World::with(builder.request_body_timeout(Duration::from_secs(7))), 7);
}

/// Has a piece of a body come every second; it is refused after `seconds`.
fn trickles(world: &World, seconds: u32) {
    let sid = world.open();
    let feed = Feed::endless(&[]);
    let mut posting = world.post(&sid, feed.clone());
    for _ in 0..seconds {
        assert!(poll(&mut posting).is_pending());
        feed.0.lock().unwrap().pieces.push(b"4");
        world.advance(Duration::from_secs(1));
    }
    assert_eq!(response(now(&mut posting)).status(), StatusCode::REQUEST_TIMEOUT);
    assert_eq!(world.ends(), [TransportError::TooSlow.into()]);
}

/// A body of empty pieces, of which there is always another.
struct Empty;

impl http_body::Body for Empty {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::new()))))
    }
}

#[test]
fn a_body_of_empty_pieces_lets_others_have_their_turn_and_is_refused_at_its_deadline() {
    let world = World::new();
    let request = Request::post(uri(&format!("polling&sid={}", world.open()))).body(Empty).unwrap();
    let mut posting = Box::pin(answer(world.server.clone(), request, Peer::default()));
    let woken = Arc::new(Woken::default());
    for turn in 1..=3 {
        let waker = Waker::from(woken.clone());
        assert!(posting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        assert_eq!(woken.count(), turn, "it goes on by itself");
    }
    world.advance(Duration::from_secs(30));
    assert_eq!(response(now(&mut posting)).status(), StatusCode::REQUEST_TIMEOUT);
    assert_eq!(world.ends(), [TransportError::TooSlow.into()]);
}

#[test]
fn a_body_whose_length_is_too_large_is_refused_unread() {
    let world = World::with(engine::Server::builder(Echo::default()).max_payload(8));
    let uri = uri(&format!("polling&sid={}", world.open()));
    let request = Request::post(uri).body("4aaaaaaaa".to_owned()).unwrap();
    let mut posting = Box::pin(answer(world.server.clone(), request, Peer::default()));
    assert_eq!(response(now(&mut posting)).status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(world.ends(), [TransportError::TooLarge { limit: 8 }.into()]);
    assert_eq!(world.server.sessions_count(), 0);
}

#[test]
fn base64_may_be_in_lines_or_empty() {
    let world = World::new();
    let sid = world.open();
    let posted = response(now(&mut world.post(&sid, Feed::whole(&[b"bBA=", b"=\n\x1eb\x1eb\n"]))));
    assert_eq!(text(posted), "ok");
    assert_eq!(text(response(now(&mut world.get(&format!("polling&sid={sid}"))))), "bBA==\x1eb\x1eb");
}

#[test]
fn a_client_may_upgrade_without_a_probe_and_its_polls_are_slowed_down_with_one() {
    for probes in [false, true] {
        let world = World::new();
        let sid = world.open();
        let request = handshake().uri(uri(&format!("websocket&sid={sid}"))).body(Feed::default()).unwrap();
        let Outcome::Upgrade(_, mut connection) = now(&mut world.request(request)) else {
            panic!("not an upgrade")
        };
        connection.set_waker(Waker::noop());
        let poll_of = || world.get(&format!("polling&sid={sid}"));
        let mut waiting = poll_of();
        assert!(poll(&mut waiting).is_pending());
        if probes {
            connection.handle_data(world.clock.now(), &mut masked(b"2probe"));
            assert_eq!(text(response(now(&mut waiting))), "6");
            waiting = poll_of();
            let woken = Arc::new(Woken::default());
            let waker = Waker::from(woken.clone());
            assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            world.advance(Duration::from_millis(99));
            assert_eq!(woken.count(), 0);
            world.advance(Duration::from_millis(1));
            assert_eq!(woken.count(), 1);
            assert_eq!(text(response(now(&mut waiting))), "6");
            waiting = poll_of();
            assert!(poll(&mut waiting).is_pending());
        }
        connection.handle_data(world.clock.now(), &mut masked(b"5"));
        assert_eq!(text(response(now(&mut waiting))), "6");
        connection.handle_data(world.clock.now(), &mut masked(b"4hi"));
        assert!(written(&mut connection).ends_with(b"\x81\x034hi"));
    }
}

#[test]
fn a_body_is_refused_as_soon_as_it_is_too_large() {
    for (pieces, status) in [
        (&[b"4aaa".as_slice(), b"bbbb"], StatusCode::OK),
        (&[b"4aaa", b"bbbbb"], StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        let world = World::with(engine::Server::builder(Echo::default()).max_payload(8));
        let sid = world.open();
        let feed = Feed::whole(pieces);
        assert_eq!(response(now(&mut world.post(&sid, feed))).status(), status);
        let too_large = CloseReason::from(TransportError::TooLarge { limit: 8 });
        assert_eq!(world.ends().contains(&too_large), status != StatusCode::OK);
    }
    // An end is not in sight, and need not be.
    let world = World::with(engine::Server::builder(Echo::default()).max_payload(8));
    let sid = world.open();
    let mut posting = world.post(&sid, Feed::endless(&[b"4aaaaaaaa"]));
    assert_eq!(response(now(&mut posting)).status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[test]
fn a_request_that_is_given_up_ends_its_session() {
    let world = World::new();
    let sid = world.open();
    let mut waiting = world.get(&format!("polling&sid={sid}"));
    assert!(poll(&mut waiting).is_pending());
    drop(waiting);
    assert_eq!(world.ends(), [TransportError::PollAborted.into()]);

    let sid = world.open();
    let mut posting = world.post(&sid, Feed::endless(&[b"4"]));
    assert!(poll(&mut posting).is_pending());
    drop(posting);
    assert_eq!(world.ends()[1..], [TransportError::PostAborted.into()]);
}

#[test]
fn a_poll_that_another_replaces_is_answered_and_may_be_given_up() {
    let world = World::with(engine::Server::builder(Echo::default()).allow_overlapping_polls(true));
    let sid = world.open();
    let query = format!("polling&sid={sid}");
    let mut first = world.get(&query);
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    assert!(first.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let [mut unread, mut given_up, mut next] = [(); 3].map(|()| world.get(&query));
    assert!(poll(&mut unread).is_pending());
    assert_eq!((woken.count() > 0, text(response(now(&mut first)))), (true, "6".to_owned()));
    assert!(poll(&mut given_up).is_pending());
    // Nothing is lost with this response.
    drop(response(now(&mut unread)));
    assert!(poll(&mut next).is_pending());
    drop(given_up);
    assert_eq!(world.ends(), []);
    now(&mut world.post(&sid, Feed::whole(&[b"4abc"])));
    assert_eq!(text(response(now(&mut next))), "4abc");
}

#[test]
fn a_poll_that_its_session_does_not_answer_in_time_is_refused() {
    let world = World::new();
    let sid = world.open();
    let mut waiting = world.get(&format!("polling&sid={sid}"));
    assert!(poll(&mut waiting).is_pending());
    // Nobody told the session, which would have answered by now, that time has passed.
    world.clock.advance(Duration::from_secs(75));
    assert_eq!(response(now(&mut waiting)).status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(world.ends(), [TransportError::PollAborted.into()]);
}

#[test]
fn messages_that_are_not_delivered_end_their_session() {
    let world = World::new();
    for is_read in [true, false] {
        let sid = world.open();
        now(&mut world.post(&sid, Feed::whole(&[b"4abc"])));
        let answered = response(now(&mut world.get(&format!("polling&sid={sid}"))));
        match is_read {
            true => assert_eq!(text(answered), "4abc"),
            false => drop(answered),
        }
        let expected = if is_read { vec![] } else { vec![TransportError::PollAborted.into()] };
        assert_eq!(world.ends(), expected);
    }
}

#[test]
fn the_server_is_not_closed_before_its_last_words_are_taken() {
    let world = World::new();
    let sid = world.open();
    let mut waiting = world.get(&format!("polling&sid={sid}"));
    assert!(poll(&mut waiting).is_pending());
    world.server.begin_close();
    assert!(!world.server.is_closed());
    let goodbye = response(now(&mut waiting));
    assert!(!world.server.is_closed());
    assert_eq!(text(goodbye), "1");
    assert!(world.server.is_closed());
    assert_eq!(response(now(&mut world.get("polling"))).status(), StatusCode::SERVICE_UNAVAILABLE);
}

fn handshake() -> http::request::Builder {
    Request::get(uri("websocket"))
        .header("upgrade", "websocket")
        .header("connection", "keep-alive, Upgrade")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
}

#[track_caller]
fn speaks_websocket(connection: &mut engine::Connection<Echo>) {
    connection.set_waker(Waker::noop());
    let mut frame = masked(b"4hi");
    assert_eq!(connection.handle_data(Time::ZERO, &mut frame), frame.len());
    let out = written(connection);
    assert!(out.starts_with(b"\x81") && out.ends_with(b"}\x81\x034hi"), "{out:?}");
}

/// A text frame as a client sends it.
fn masked(text: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    write_frame(&mut frame, Opcode::Text, text, Some([1, 2, 3, 4]));
    frame
}

/// What a connection writes.
/// Returns the connection of a client of version 3 that has just been answered, and its server.
fn opened_in_version_3() -> (World, engine::Connection<Echo>) {
    let world = World::with(engine::Server::builder(Echo::default()).allow_eio3(true));
    let request = handshake().uri(uri("websocket").replace("EIO=4", "EIO=3"));
    let outcome = now(&mut world.request(request.body(Feed::default()).unwrap()));
    let Outcome::Upgrade(_, connection) = outcome else { panic!("not an upgrade") };
    (world, connection)
}

fn written(connection: &mut engine::Connection<Echo>) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(queue) = connection.poll_transmit() {
        out.extend_from_slice(&queue.copy_to_bytes(queue.len()));
    }
    out
}

#[test]
fn a_subprotocol_is_agreed_on_by_either_handshake() {
    let connect = || {
        let request = Request::builder().method(Method::CONNECT).uri(uri("websocket"));
        request.version(Version::HTTP_2).header("sec-websocket-version", "13")
    };
    let offer = |request: http::request::Builder| {
        let request = request.header("sec-websocket-protocol", "a, b").header("sec-websocket-protocol", "c");
        request.body(Feed::default()).unwrap()
    };
    let answer_to = |builder: engine::Builder<Echo>, request| {
        let outcome = now(&mut World::with(builder).request(request));
        let Outcome::Upgrade(response, _) = outcome else { panic!("not an upgrade") };
        response.headers().get("sec-websocket-protocol").map(|it| it.to_str().unwrap().to_owned())
    };
    let server = || engine::Server::builder(Echo::default());
    assert_eq!(answer_to(server(), handshake().body(Feed::default()).unwrap()), None);
    for request in [handshake as fn() -> _, connect as fn() -> _] {
        assert_eq!(answer_to(server(), offer(request())).as_deref(), Some("a"));
        assert_eq!(answer_to(server().subprotocols(["c", "b"]), offer(request())).as_deref(), Some("b"));
        assert_eq!(answer_to(server().subprotocols(["d"]), offer(request())), None);
    }
}

#[test]
fn a_handshake_may_be_written_in_other_ways() {
    let world = World::new();
    let request = Request::get(uri("websocket"))
        .header("connection", "keep-alive")
        .header("connection", "Upgrade")
        .header("upgrade", "WebSocket")
        .header("x-name", http::HeaderValue::from_bytes(b"Jos\xe9").unwrap())
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let outcome = now(&mut world.request(request.body(Feed::default()).unwrap()));
    let Outcome::Upgrade(response, mut connection) = outcome else { panic!("not an upgrade") };
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    speaks_websocket(&mut connection);
}

#[test]
fn an_upgrade_is_accepted_and_speaks_websocket_from_its_first_byte() {
    let world = World::new();
    let outcome = now(&mut world.request(handshake().body(Feed::default()).unwrap()));
    let Outcome::Upgrade(response, mut connection) = outcome else { panic!("not an upgrade") };
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(response.headers()["connection"], "Upgrade");
    assert_eq!(response.headers()["upgrade"], "websocket");
    speaks_websocket(&mut connection);
    // Nobody hands the stream over.
    drop(connection);
    assert_eq!(world.ends(), [TransportError::Lost.into()]);
}

#[test]
fn a_client_of_version_3_can_read_the_response_before_the_first_packet() {
    let (world, mut connection) = opened_in_version_3();
    let woken = Arc::new(Woken::default());
    connection.set_waker(&woken.clone().into());
    // What it says at once is not answered before the packet that opens the session.
    connection.handle_data(Time::ZERO, &mut masked(b"4hi"));
    assert!(written(&mut connection).is_empty());
    let before = woken.count();
    world.advance(Duration::from_millis(9));
    assert_eq!((written(&mut connection), woken.count()), (vec![], before));
    world.advance(Duration::from_millis(1));
    assert_eq!(woken.count(), before + 1);
    let out = written(&mut connection);
    assert!(out.starts_with(b"\x81") && out.ends_with(b"}\x81\x034hi"), "{out:?}");
}

#[test]
fn a_connection_whose_session_ended_during_the_pause_of_version_3_is_woken_by_its_first_waker() {
    let (world, mut connection) = opened_in_version_3();
    world.server.begin_close();
    let woken = Arc::new(Woken::default());
    connection.set_waker(&woken.clone().into());
    assert_eq!(woken.count(), 1);
    connection.handle_wake(Time::ZERO);
    let out = written(&mut connection);
    assert!(out.starts_with(b"\x81") && out.ends_with(b"server shutting down"), "{out:?}");
}

#[test]
fn an_extended_connect_is_accepted_and_speaks_websocket_from_its_first_byte() {
    let world = World::new();
    let request = || Request::builder().method(Method::CONNECT).uri(uri("websocket"));
    let request = |version| request().version(version).header("sec-websocket-version", "13");
    let accepted = request(Version::HTTP_2).body(Feed::default()).unwrap();
    let Outcome::Upgrade(accepted, mut connection) = now(&mut world.request(accepted)) else {
        panic!("not an upgrade")
    };
    assert_eq!(accepted.status(), StatusCode::OK);
    assert!(accepted.headers().is_empty());
    speaks_websocket(&mut connection);
    // In HTTP/1.1 CONNECT is for proxies.
    let refused = request(Version::HTTP_11).body(Feed::default()).unwrap();
    assert_eq!(response(now(&mut world.request(refused))).status(), StatusCode::BAD_REQUEST);
}

#[test]
fn websocket_handshakes_that_are_wrong_are_refused() {
    let world = World::new();
    let mut old = handshake().body(Feed::default()).unwrap();
    old.headers_mut().insert("sec-websocket-version", "8".parse().unwrap());
    let refused = response(now(&mut world.request(old)));
    assert_eq!(refused.status(), StatusCode::UPGRADE_REQUIRED);
    assert_eq!(refused.headers()["sec-websocket-version"], "13");
    assert_eq!(refused.headers()["upgrade"], "websocket");
    assert_eq!(refused.headers()["connection"], "Upgrade");

    // Such headers are no part of HTTP/2.
    let connect = Request::builder().method(Method::CONNECT).uri(uri("websocket")).version(Version::HTTP_2);
    let old = connect.header("sec-websocket-version", "8").body(Feed::default()).unwrap();
    let refused = response(now(&mut world.request(old)));
    assert_eq!(refused.status(), StatusCode::UPGRADE_REQUIRED);
    assert!(!refused.headers().contains_key("upgrade") && !refused.headers().contains_key("connection"));

    let mut ancient = handshake().body(Feed::default()).unwrap();
    *ancient.version_mut() = Version::HTTP_10;
    let refused = response(now(&mut world.request(ancient)));
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    assert_eq!(text(refused), r#"{"code":3,"message":"Bad request"}"#);

    let put = Request::put(uri(&format!("polling&sid={}", world.open()))).body(Feed::default()).unwrap();
    let refused = response(now(&mut world.request(put)));
    assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(refused.headers()["allow"], "GET, POST");
    let world = World::new();

    let mut keyless = handshake().body(Feed::default()).unwrap();
    keyless.headers_mut().remove("sec-websocket-key");
    let refused = response(now(&mut world.request(keyless)));
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    assert_eq!(refused.headers()["connection"], "close");
    assert_eq!(text(refused), "Bad request");
    assert_eq!(world.server.sessions_count(), 0);
}

#[test]
fn what_is_known_of_a_request_is_kept_with_its_session() {
    let world = World::new();
    let address = SocketAddr::from(([192, 0, 2, 1], 7));
    let request = Request::get(uri("polling")).extension(7u8).body(Feed::default()).unwrap();
    now(&mut Box::pin(answer(world.server.clone(), request, Peer::from(address))));
    let log = world.server.application().0.lock().unwrap();
    assert_eq!((log.address, log.extension), (Some(address), Some(7)));
}

#[test]
fn cors_headers_and_the_cookie_are_those_of_the_server_alone() {
    let builder = engine::Server::builder(Echo::default());
    let world = World::with(builder.cors(Cors::reflect()).cookie(Cookie::new("io").unwrap()));
    let request = Request::get(uri("polling")).header("origin", "https://example.com");
    let opened = response(now(&mut world.request(request.body(Feed::default()).unwrap())));
    assert_eq!(opened.headers()["access-control-allow-origin"], "https://example.com");
    assert_eq!(opened.headers()["vary"], "Origin");
    assert!(opened.headers()["set-cookie"].to_str().unwrap().starts_with("io="));
    assert_eq!(opened.headers()["content-type"], "text/plain; charset=UTF-8");
    let preflight = Request::options(uri("polling")).header("origin", "https://example.com");
    let preflight = response(now(&mut world.request(preflight.body(Feed::default()).unwrap())));
    assert_eq!(preflight.status(), StatusCode::NO_CONTENT);
}

#[test]
fn who_is_never_decided_about_is_refused_at_the_deadline() {
    let builder = engine::Server::builder(Echo::default());
    let builder = builder.allow_timeout(Duration::from_secs(7));
    let world = World::with(builder.allow_request(async |_| std::future::pending().await));
    let mut opening = world.get("polling");
    assert!(poll(&mut opening).is_pending());
    world.advance(Duration::from_millis(6999));
    assert!(poll(&mut opening).is_pending());
    assert_eq!(world.server.next_deadline(), Some(world.clock.now() + Duration::from_millis(1)));
    world.advance(Duration::from_millis(1));
    assert_eq!(response(now(&mut opening)).status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(world.server.next_deadline(), None);
}

#[test]
fn an_application_that_works_past_its_deadline_is_stopped_by_it() {
    let clock = Clock::default();
    let (at_work, mut polls) = (clock.clone(), 0);
    let builder = engine::Server::builder(Echo::default()).allow_timeout(Duration::from_secs(7));
    let at_work = Mutex::new(move || {
        polls += 1;
        // The first time is before there is anybody to wake.
        at_work.advance(Duration::from_secs(if polls == 2 { 8 } else { 0 }));
    });
    let at_work = Arc::new(at_work);
    let world = World::at(
        clock,
        builder.allow_request(move |_| {
            let at_work = at_work.clone();
            std::future::poll_fn(move |_| {
                (at_work.lock().unwrap())();
                Poll::Pending
            })
        }),
    );
    let mut opening = world.get("polling");
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    assert!(opening.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    assert_eq!(world.clock.now(), Time::from_origin(Duration::from_secs(8)));
    world.advance(Duration::ZERO);
    assert_eq!(woken.count(), 1);
    assert_eq!(response(now(&mut opening)).status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(world.server.next_deadline(), None);
}

#[test]
fn whether_a_connection_is_encrypted_is_not_for_the_request_to_say() {
    for (target, secure) in [("https://example.com", false), ("", true), ("http://example.com", true)] {
        let world = World::new();
        let request = Request::get(format!("{target}{}", uri("polling"))).body(Feed::default()).unwrap();
        let peer = Peer { secure, ..Peer::default() };
        now(&mut Box::pin(answer(world.server.clone(), request, peer)));
        assert_eq!(world.server.sessions_count(), 1);
        assert_eq!(world.server.application().0.lock().unwrap().secure, secure, "{target}");
    }
}

#[test]
fn assets_are_given_out_and_their_length_is_told_without_them() {
    let server = Server::builder().asset("/page", "text/html", b"<p>".as_slice()).build();
    for (method, body) in [(Method::GET, "<p>"), (Method::HEAD, "")] {
        let request = Request::builder().method(method).uri("/page").body(String::new()).unwrap();
        let mut answering = pin!(answer(server.clone(), request, Peer::default()));
        let Outcome::Response(answered) = now(&mut answering) else { panic!("not a response") };
        assert_eq!(answered.status(), StatusCode::OK);
        assert_eq!(answered.headers().contains_key("content-length"), body.is_empty());
        assert_eq!(text(answered), body);
    }
}

#[test]
fn a_file_is_read_for_each_request_and_may_come_later() {
    let file = std::env::temp_dir().join(format!("sockeye-mount-{}.html", std::process::id()));
    let server = Server::builder().asset_file("/page", "text/html", &file).build();
    assert!(takes(&server, "/page"));
    let get = || {
        let request = Request::builder().uri("/page").body(String::new()).unwrap();
        let mut answering = pin!(answer(server.clone(), request, Peer::default()));
        let Outcome::Response(answered) = now(&mut answering) else { panic!("not a response") };
        (answered.status(), text(answered))
    };
    assert_eq!(get().0, StatusCode::NOT_FOUND);
    for body in ["<p>", "<b>"] {
        std::fs::write(&file, body).unwrap();
        assert_eq!(get(), (StatusCode::OK, body.to_owned()));
    }
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn other_paths_are_left_to_others() {
    let server = Server::builder().asset("/page", "text/html", b"<p>".as_slice()).build();
    for path in ["/socket.io/", "/socket.io", "/page"] {
        assert!(takes(&server, path), "{path}");
    }
    for path in ["/", "/socket.io/x", "/socket.iox", "/socket.io//", "/page/", "/engine.io/"] {
        assert!(!takes(&server, path), "{path}");
    }
}

#[test]
fn files_are_served_below_the_path_even_if_it_is_set_later() {
    let builder = engine::Server::builder(Echo::default());
    let server = builder.file("client.js", "text/javascript", b"x".as_slice()).path("/other").build();
    for (path, expected) in [("/other/client.js", "x"), ("/other/client", ""), ("/engine.io/client.js", "")] {
        assert_eq!(takes(&server, path), !expected.is_empty(), "{path}");
        let request = Request::get(path).body(String::new()).unwrap();
        let mut answering = pin!(answer(server.clone(), request, Peer::default()));
        let Outcome::Response(answered) = now(&mut answering) else { panic!("not a response") };
        assert_eq!(text(answered), expected, "{path}");
    }
}

#[test]
fn of_a_folder_only_the_clients_files_are_served() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("client_files");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("secret.txt"), "secret").unwrap();
    let _ = std::fs::remove_file(folder.join("socket.io.js"));
    let error = Server::builder().serve_client(&folder).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    std::fs::write(folder.join("socket.io.js"), "script").unwrap();
    let server = Server::builder().serve_client(&folder).unwrap().build();
    assert!(takes(&server, "/socket.io/socket.io.js"));
    assert!(!takes(&server, "/socket.io/socket.io.min.js"));
    assert!(!takes(&server, "/socket.io/secret.txt"));
}

#[test]
fn the_time_is_kept_until_the_server_is_gone() {
    let server = Server::new();
    let clock = Clock::default();
    let runtime = server.attach(Arc::new(clock.clone()));
    let host = Mutex::new(Some(server));
    let owned = || host.lock().unwrap().clone();
    let mut keeping = Box::pin(keep_time(owned, &*runtime, |_| std::future::pending::<()>()));
    assert!(poll(&mut keeping).is_pending());
    // Closed is not gone: connections may still have something to say.
    host.lock().unwrap().as_ref().unwrap().begin_close();
    assert!(poll(&mut keeping).is_pending());
    *host.lock().unwrap() = None;
    assert!(poll(&mut keeping).is_ready());
}

#[test]
fn who_keeps_the_time_is_woken_when_the_server_is_gone() {
    let server = Server::new();
    let woken = Arc::new(Woken::default());
    server.set_timer_waker(&woken.clone().into());
    drop(server);
    assert_eq!(woken.count(), 1);
}

#[test]
fn a_middleware_decides_about_mounted_requests_too() {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let waiting = gate.clone();
    let builder = engine::Server::builder(Echo::default()).use_request(move |request: Handshake| {
        let waiting = waiting.clone();
        async move {
            waiting.acquire().await.unwrap().forget();
            let mut headers = ResponseHeaders::new();
            headers.append("X-Method", request.method().to_owned())?;
            match request.query_param("no") {
                Some(_) => Err(Rejection::new(418, "tea").header("X-Pot", "1")?),
                None => Ok(headers),
            }
        }
    });
    let builder = builder.initial_headers(|_, headers| headers.append("X-Initial", "1").unwrap());
    let world = World::with(builder.allow_timeout(Duration::from_secs(7)));
    let pass = |mut future: Pin<Box<dyn Future<Output = Outcomes> + Send>>| {
        assert!(poll(&mut future).is_pending());
        gate.add_permits(1);
        now(&mut future)
    };
    let opened = response(pass(world.get("polling")));
    assert!(opened.headers()["x-method"] == "GET" && opened.headers()["x-initial"] == "1");
    let open = text(opened);
    let sid = open.split('"').nth(3).unwrap();
    let posted = response(pass(world.post(sid, Feed::whole(&[b"4a"]))));
    assert_eq!(posted.headers()["x-method"], "POST");
    assert!(!posted.headers().contains_key("x-initial"));
    assert_eq!(text(response(pass(world.get(&format!("polling&sid={sid}"))))), "4a");
    let Outcome::Upgrade(accepted, _) = pass(world.request(handshake().body(Feed::default()).unwrap()))
    else {
        panic!("not an upgrade");
    };
    assert!(accepted.headers()["x-method"] == "GET" && accepted.headers()["x-initial"] == "1");
    let refused = response(pass(world.get("polling&no=1")));
    assert!(refused.status() == StatusCode::IM_A_TEAPOT && refused.headers()["x-pot"] == "1");
    assert_eq!(text(refused), "tea");
    // One that never decides is refused in time, and one whose client goes leaves nothing.
    let mut posting = world.post(sid, Feed::endless(&[]));
    let mut opening = world.get("polling");
    assert!(poll(&mut posting).is_pending() && poll(&mut opening).is_pending());
    drop(opening);
    world.advance(Duration::from_secs(7));
    assert_eq!(response(now(&mut posting)).status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(world.server.sessions_count(), 1);
}

#[test]
fn a_session_begins_with_the_initial_packet() {
    let with = |packet: Message<'_>| {
        let world = World::with(engine::Server::builder(Echo::default()).initial_packet(packet));
        text(response(now(&mut world.get("polling"))))
    };
    assert!(with(Message::Text("hello")).ends_with("}\x1e4hello"));
    assert!(with(Message::Binary(b"hello".into())).ends_with("}\x1ebaGVsbG8="));
    let separator = std::panic::catch_unwind(|| {
        engine::Server::builder(Echo::default()).initial_packet(Message::Text("a\x1eb"));
    });
    assert!(separator.is_err(), "over polling it would be two packets");
}

#[test]
fn a_pending_session_is_settled_by_the_application() {
    let world = World::with(engine::Server::builder(Echo::default()).max_pending_sessions(1));
    let sid = world.open();
    assert_eq!(response(now(&mut world.get("polling"))).status(), StatusCode::SERVICE_UNAVAILABLE);
    // `Echo` settles a session with its first message.
    response(now(&mut world.post(&sid, Feed::whole(&[b"4a\x1e4b"]))));
    world.open();
    assert_eq!(response(now(&mut world.get("polling"))).status(), StatusCode::SERVICE_UNAVAILABLE);
}
