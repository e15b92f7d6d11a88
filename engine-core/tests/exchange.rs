//! The decisions about HTTP requests, without a server.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use bytes::Buf;
use sockeye_core::engineio::server::exchange::{
    Content, Decision, Incoming, NewTransport, Refusal, Response, Subject, Upgrade, WebSocketHandshake,
};
use sockeye_core::engineio::server::{Exchange, Packets, Purpose, RequestError, Session, Site};
use sockeye_core::engineio::{CloseReason, Id, Packet, PacketError, Transport, TransportError};
use sockeye_core::http::{Body, Cookie, Cors, Header, Request, Status};
use std::sync::Arc;
use std::time::Duration;
use support::*;

const SID: &str = "lv_VI97HAXpY6yYWAAAB";
const ORIGIN: Header<'_> = Header { name: "Origin", value: b"https://a.example" };
const HANDSHAKE: [Header<'_>; 4] = [
    Header { name: "Connection", value: b"Upgrade" },
    Header { name: "Upgrade", value: b"websocket" },
    Header { name: "Sec-WebSocket-Version", value: b"13" },
    Header { name: "Sec-WebSocket-Key", value: b"dGhlIHNhbXBsZSBub25jZQ==" },
];

fn site() -> Site {
    let config = config_with(|config| {
        config.max_payload = 100;
        config.subprotocols = Some(vec!["b".into()]);
    });
    let cookie = Some(Cookie::new("io").unwrap());
    Site { path: "/engine.io".into(), cors: Cors::any(), cookie, config }
}

fn session(site: &Site) -> Session {
    Session::open(at(0), site.config.clone(), &Id::parse(SID).unwrap(), Transport::Polling)
}

/// Begins an exchange for a request with this body.
fn begin_with(request: &Request<'_>, upgrade: Upgrade, body: Body) -> (Exchange, Decision) {
    Exchange::begin(&site(), &Incoming { request, upgrade, body })
}

fn begin(method: &str, target: &str) -> (Exchange, Decision) {
    begin_with(&Request::new(method, target, &[ORIGIN]), Upgrade::None, Body::None)
}

fn header(answer: &Response, name: &str) -> Option<String> {
    let mut values = answer.headers.iter().filter(|(known, _)| *known == name);
    let value = values.next().map(|(_, value)| value.to_string());
    assert!(values.next().is_none(), "{name} twice");
    value
}

fn body(answer: Response) -> String {
    match answer.body {
        Content::Static(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        Content::Queue(mut queue) => {
            String::from_utf8(queue.copy_to_bytes(queue.remaining()).to_vec()).unwrap()
        }
        Content::HeadOnly(_) => String::new(),
    }
}

#[test]
fn the_path_method_and_query_of_a_request_say_what_it_wants() {
    let polling = format!("/engine.io/?EIO=4&transport=polling&sid={SID}");
    assert!(matches!(begin("GET", "/other").1, Decision::Elsewhere));
    assert!(matches!(begin("GET", "/engine.iox").1, Decision::Elsewhere));
    for path in ["/engine.io", "/engine.io/"] {
        let target = format!("{path}?EIO=4&transport=polling");
        assert!(matches!(begin("GET", &target).1, Decision::Serve(Subject::Open(NewTransport::Polling))));
    }
    let sid = Id::parse(SID).unwrap();
    for (method, purpose) in [("GET", Purpose::Poll), ("POST", Purpose::Post)] {
        let Decision::Serve(Subject::Session(id, known)) = begin(method, &polling).1 else {
            panic!("{method}")
        };
        assert_eq!((id, known), (sid, purpose));
    }
    let Decision::Serve(Subject::Refused(id, refusal)) = begin("PUT", &polling).1 else { panic!() };
    assert_eq!((id, refusal), (Some(sid), RequestError::MethodNotAllowed.into()));
}

#[test]
fn a_preflight_request_is_answered_with_cors_headers_only() {
    let headers = [ORIGIN, Header { name: "Access-Control-Request-Method", value: b"POST" }];
    // It is no request for the session, and carries no cookie, so it says nothing about either.
    for query in ["", "?EIO=4&transport=polling", "?EIO=4&transport=polling&sid=unknown", "?%zz"] {
        let target = ["/engine.io/", query].concat();
        let request = Request::new("OPTIONS", &target, &headers);
        let Decision::Respond(answer) = begin_with(&request, Upgrade::None, Body::None).1 else { panic!() };
        assert_eq!(answer.status, Status::NO_CONTENT, "{query}");
        assert_eq!(header(&answer, "Access-Control-Allow-Origin").as_deref(), Some("*"));
        assert_eq!(body(answer), "");
    }
}

#[test]
fn a_session_over_polling_is_opened_with_a_cookie_and_its_first_payload() {
    let (site, id) = (site(), Id::parse(SID).unwrap());
    let (mut exchange, decision) = begin("GET", "/engine.io/?EIO=4&transport=polling");
    assert!(matches!(decision, Decision::Serve(Subject::Open(NewTransport::Polling))));
    exchange.begin_deciding(at(0), &site.config);
    assert_eq!(exchange.next_deadline(), Some(at(30_000)));
    assert!(!exchange.is_overdue(at(29_999)) && exchange.is_overdue(at(30_000)));
    let mut session = session(&site);
    session.begin_poll(at(0), false).unwrap();
    let answer = exchange.open(&site, &id, session.take_payload().unwrap());
    assert_eq!(exchange.next_deadline(), None);
    assert!(header(&answer, "Set-Cookie").unwrap().starts_with(&format!("io={SID}")));
    assert_eq!(header(&answer, "Content-Type").as_deref(), Some("text/plain; charset=UTF-8"));
    assert_eq!(header(&answer, "Access-Control-Allow-Origin").as_deref(), Some("*"));
    assert!(body(answer).starts_with("0{"));
}

#[test]
fn refusals_have_the_status_headers_and_body_of_the_reference() {
    let cases = [
        (Refusal::Request(RequestError::UnknownSession), 400, r#"{"code":1,"message":"Session ID unknown"}"#),
        (Refusal::Request(RequestError::Forbidden("no".into())), 403, r#"{"code":4,"message":"no"}"#),
        (Refusal::Request(RequestError::MethodNotAllowed), 405, ""),
        (Refusal::Request(RequestError::Unavailable), 503, ""),
        (Refusal::Overlap, 400, ""),
    ];
    for (refusal, status, text) in cases {
        let (mut exchange, _) = begin("GET", "/engine.io/?EIO=4&transport=polling");
        let answer = exchange.refuse(&refusal);
        assert_eq!((answer.status.code(), answer.close), (status, false), "{refusal}");
        assert_eq!(header(&answer, "Access-Control-Allow-Origin").as_deref(), Some("*"));
        let json = (!text.is_empty()).then_some("application/json");
        assert_eq!(header(&answer, "Content-Type").as_deref(), json, "{refusal}");
        assert_eq!(header(&answer, "Allow").is_some(), status == 405);
        assert_eq!(body(answer), text);
    }
}

#[test]
fn a_websocket_client_is_refused_with_a_bare_message_and_a_closed_connection() {
    let request = Request::new("GET", "/engine.io/?EIO=3&transport=websocket", &HANDSHAKE);
    for upgrade in [Upgrade::Http1, Upgrade::Connect] {
        let (mut exchange, decision) = begin_with(&request, upgrade, Body::None);
        let Decision::Serve(Subject::Refused(None, refusal)) = decision else { panic!() };
        assert_eq!(refusal, Refusal::Request(RequestError::UnsupportedVersion));
        let answer = exchange.refuse(&refusal);
        assert_eq!((answer.status.code(), answer.close), (400, true));
        assert_eq!(body(answer), "Unsupported protocol version");
    }
}

#[test]
fn another_version_of_websocket_is_told_the_one_that_is_spoken() {
    let mut headers = HANDSHAKE;
    headers[2].value = b"8";
    let request = Request::new("GET", "/engine.io/?EIO=4&transport=websocket", &headers);
    for (upgrade, is_http1) in [(Upgrade::Http1, true), (Upgrade::Connect, false)] {
        let (mut exchange, decision) = begin_with(&request, upgrade, Body::None);
        let Decision::Serve(Subject::Refused(None, refusal)) = decision else { panic!() };
        let answer = exchange.refuse(&refusal);
        assert_eq!(answer.status, Status::UPGRADE_REQUIRED);
        assert_eq!(header(&answer, "Sec-WebSocket-Version").as_deref(), Some("13"));
        assert_eq!(header(&answer, "Upgrade").is_some(), is_http1);
    }
}

#[test]
fn a_handshake_agrees_on_a_subprotocol_and_an_extended_connect_has_no_key() {
    let site = site();
    let mut headers = HANDSHAKE.to_vec();
    headers.push(Header { name: "Sec-WebSocket-Protocol", value: b"a, b" });
    let target = format!("/engine.io/?EIO=4&transport=websocket&sid={SID}");
    let request = Request::new("GET", &target, &headers);
    for (upgrade, has_key) in [(Upgrade::Http1, true), (Upgrade::Connect, false)] {
        let incoming = Incoming { request: &request, upgrade, body: Body::None };
        let (mut exchange, decision) = Exchange::begin(&site, &incoming);
        assert!(matches!(decision, Decision::Serve(Subject::Session(_, Purpose::Upgrade))));
        let handshake = WebSocketHandshake::of(&site.config, &incoming).unwrap();
        let mut session = session(&site);
        assert!(exchange.begin_upgrade(at(0), &mut session, &handshake, false).unwrap().is_some());
        assert!(
            exchange.begin_upgrade(at(0), &mut session, &handshake, false).unwrap().is_none(),
            "one at a time"
        );
        let accept = exchange.accept(handshake);
        assert_eq!(accept.key.is_some(), has_key);
        assert!(accept.headers.iter().eq([("Sec-WebSocket-Protocol", "b")]));
    }
}

#[test]
fn a_poll_waits_longer_than_any_ping_takes() {
    let site = site();
    let mut session = session(&site);
    let (mut exchange, _) = begin("GET", &format!("/engine.io/?EIO=4&transport=polling&sid={SID}"));
    exchange.begin_poll(at(0), &mut session, false).unwrap();
    assert!(exchange.is_polling());
    assert_eq!(exchange.next_deadline(), Some(at(0) + Duration::from_secs(75)));
    let (mut second, _) = begin("GET", "/engine.io/?EIO=4");
    assert_eq!(second.begin_poll(at(0), &mut session, false), Err(Refusal::Overlap));
    exchange.lose(at(0), &mut session);
    assert!(!exchange.is_polling());
}

#[test]
fn a_poll_that_is_replaced_is_answered_and_its_end_concerns_nobody() {
    let mut site = site();
    Arc::get_mut(&mut site.config).unwrap().allow_overlapping_polls = true;
    let target = format!("/engine.io/?EIO=4&transport=polling&sid={SID}");
    let mut session = session(&site);
    let mut polls = [0; 3].map(|_| begin("GET", &target).0);
    for poll in &mut polls {
        poll.begin_poll(at(0), &mut session, false).unwrap();
    }
    let [first, second, third] = &mut polls;
    assert_eq!([&*first, second, third].map(|poll| poll.is_replaced(&session)), [true, true, false]);
    let answer = first.end_poll(&site.config, session.take_noop());
    assert_eq!((answer.status.code(), body(answer)), (200, "6".to_owned()));
    assert!(!first.is_polling() && !first.is_replaced(&session), "it is over");
    second.lose(at(1), &mut session);
    assert_eq!(session.closed(), None);
    third.lose(at(1), &mut session);
    assert_eq!(session.closed(), Some(&TransportError::PollAborted.into()));
}

#[test]
fn a_body_that_is_announced_too_large_or_binary_ends_the_session_unread() {
    let site = site();
    let octets = [Header { name: "Content-Type", value: b"application/octet-stream" }];
    for (headers, length, reason, status) in [
        (&[][..], 101, TransportError::TooLarge { limit: 100 }, 413),
        (&octets[..], 1, TransportError::ContentType, 400),
    ] {
        let target = format!("/engine.io/?EIO=4&transport=polling&sid={SID}");
        let request = Request::new("POST", &target, headers);
        let incoming = Incoming { request: &request, upgrade: Upgrade::None, body: Body::Length(length) };
        let (mut exchange, _) = Exchange::begin(&site, &incoming);
        let mut session = session(&site);
        let refusal = exchange.begin_post(at(0), &mut session, &incoming, false).unwrap_err();
        assert_eq!(session.closed(), Some(&CloseReason::from(reason)));
        assert!(!exchange.is_reading());
        assert_eq!(exchange.refuse(&refusal).status.code(), status);
    }
}

#[test]
fn packets_that_have_to_wait_are_kept_in_order_over_turns() {
    let mut packets = Packets::of(b"4a\x1e4b\x1e4c").unwrap();
    let message = |text| Ok(Some(Packet::Message(sockeye_core::engineio::Message::Text(text))));
    assert_eq!(packets.next(true), message("a"));
    assert_eq!(packets.next(false), Ok(None));
    let mut unhandled = packets.to_unhandled().unwrap();
    let mut packets = unhandled.packets();
    assert_eq!(packets.next(true), message("b"));
    let left = packets.left().unwrap();
    unhandled.keep(left);
    let mut packets = unhandled.packets();
    assert_eq!(packets.next(true), message("c"));
    assert_eq!(packets.next(true), Ok(None));
    assert!(packets.to_unhandled().is_none());
}

#[test]
fn a_turn_takes_a_bounded_number_of_packets() {
    let payload = ["4"; 3000].join("\x1e");
    let mut packets = Packets::of(payload.as_bytes()).unwrap();
    let mut turns = Vec::new();
    loop {
        let mut taken = 0;
        while packets.next(true).unwrap().is_some() {
            taken += 1;
        }
        turns.push(taken);
        let Some(unhandled) = packets.to_unhandled() else { break };
        packets = Box::leak(unhandled).packets();
    }
    assert_eq!(turns, [1024, 1024, 952]);
}

#[test]
fn an_empty_packet_is_an_error_even_if_the_turn_is_over() {
    assert_eq!(Packets::of(b"").unwrap().next(true), Ok(None));
    let mut packets = Packets::of(b"4\x1e").unwrap();
    assert!(packets.next(true).unwrap().is_some());
    assert_eq!(packets.next(false), Err(PacketError::Empty));
    assert_eq!(Packets::of(b"\xff").unwrap_err(), PacketError::Utf8);
}
