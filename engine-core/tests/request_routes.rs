//! The routes of requests, and the errors that refuse them.
#![allow(missing_docs, clippy::unwrap_used)]

use sockeye_core::engineio::server::{Config, Purpose, Query, RequestError, Route};
use sockeye_core::engineio::{Id, Transport};
use sockeye_core::http::{Header, Request};

const SID: &str = "lv_VI97HAXpY6yYWAAAB";

/// Routes a request to a server that knows one session. `is_upgrade` says that it is a WebSocket handshake.
fn route_with(method: &str, query: &str, is_upgrade: bool, config: &Config) -> Result<Route, RequestError> {
    let target = format!("/engine.io/?{query}");
    let request = Request::new(method, &target, &[]);
    let query = Query::parse(request.query())?;
    match Route::of(&request, is_upgrade, &query, config)? {
        Route::Session(known, _) if known != id() => Err(RequestError::UnknownSession),
        Route::Session(_, Err(error)) => Err(error),
        route => Ok(route),
    }
}

fn route(method: &str, query: &str, is_upgrade: bool) -> Result<Route, RequestError> {
    route_with(method, query, is_upgrade, &Config::default())
}

fn id() -> Id {
    Id::parse(SID).unwrap()
}

#[test]
fn method_transport_and_sid_determine_the_route() {
    let sid = format!("EIO=4&transport=polling&sid={SID}");
    let websocket = format!("EIO=4&transport=websocket&sid={SID}");
    assert_eq!(route("GET", "EIO=4&transport=polling", false), Ok(Route::Open(Transport::Polling)));
    assert_eq!(route("GET", "EIO=4&transport=websocket", true), Ok(Route::Open(Transport::WebSocket)));
    assert_eq!(route("GET", "EIO=4&transport=polling&sid=", false), Ok(Route::Open(Transport::Polling)));
    assert_eq!(route("GET", &sid, false), Ok(Route::Session(id(), Ok(Purpose::Poll))));
    assert_eq!(route("POST", &sid, false), Ok(Route::Session(id(), Ok(Purpose::Post))));
    assert_eq!(route("GET", &websocket, true), Ok(Route::Session(id(), Ok(Purpose::Upgrade))));
}

#[test]
fn requests_are_checked_in_the_order_of_the_reference_implementation() {
    use RequestError::*;
    let sid = |rest: &str| format!("EIO=4&sid={SID}&{rest}");
    let cases: [(&str, &str, bool, RequestError); 15] = [
        ("GET", "", false, UnknownTransport),
        ("GET", "EIO=4", false, UnknownTransport),
        ("GET", "EIO=4&transport=abc&sid=x", false, UnknownTransport),
        ("GET", "EIO=4&transport=__proto__", false, UnknownTransport),
        ("GET", "EIO=4&transport=polling&sid=abc", false, UnknownSession),
        ("PUT", "EIO=4&transport=polling&sid=lv_VI97HAXpY6yYWAAAC", false, UnknownSession),
        ("POST", "EIO=4&transport=polling", false, BadHandshakeMethod),
        ("OPTIONS", "EIO=3&transport=polling", false, BadHandshakeMethod),
        ("GET", "EIO=4&transport=websocket", false, TransportHandshake),
        ("GET", "EIO=4&transport=polling", true, TransportHandshake),
        ("GET", "EIO=3&transport=polling", false, UnsupportedVersion),
        ("GET", "transport=polling", false, UnsupportedVersion),
        ("GET", "EIO=5&transport=websocket", true, UnsupportedVersion),
        ("PUT", &sid("transport=polling"), false, MethodNotAllowed),
        ("DELETE", &sid("transport=polling"), false, MethodNotAllowed),
    ];
    for (method, query, is_upgrade, error) in cases {
        assert_eq!(route(method, query, is_upgrade), Err(error), "{method} {query}");
    }
    assert_eq!(route("GET", &sid("transport=websocket"), false), Err(TransportMismatch));
    assert_eq!(route("POST", &sid("transport=websocket"), true), Err(MethodNotAllowed));
    assert_eq!(route("GET", &format!("EIO=3&transport=polling&sid={SID}"), false), Err(ProtocolMismatch));
    assert_eq!(route("GET", &format!("EIO=3&transport=websocket&sid={SID}"), true), Err(ProtocolMismatch));
}

#[test]
fn the_first_of_repeated_parameters_counts() {
    let query = format!("transport=polling&transport=websocket&EIO=4&EIO=3&sid={SID}&sid=x");
    assert_eq!(route("GET", &query, false), Ok(Route::Session(id(), Ok(Purpose::Poll))));
}

#[test]
fn a_malformed_query_is_a_bad_request() {
    for junk in ["%", "%zz", "%00", "a=%ff", "transport=polling&EIO=4&x=%c3"] {
        assert_eq!(route("GET", junk, false), Err(RequestError::BadRequest), "{junk}");
    }
}

#[test]
fn jsonp_is_refused_unless_it_is_on_and_ignored_over_websocket() {
    let mut config = Config::default();
    let polling = |j: &str| format!("EIO=4&transport=polling&j={j}");
    assert_eq!(route_with("GET", &polling("0"), false, &config), Err(RequestError::JsonpIsOff));
    assert!(route("GET", "EIO=4&transport=websocket&j=x", true).is_ok());
    config.jsonp = true;
    assert_eq!(route_with("GET", &polling("0"), false, &config), Ok(Route::Open(Transport::Polling)));
    for j in ["", "a", "0)", "4294967296"] {
        assert_eq!(route_with("GET", &polling(j), false, &config), Err(RequestError::BadRequest), "{j}");
    }
}

#[test]
fn a_disabled_transport_is_unknown() {
    let mut config = Config::default();
    config.polling = false;
    let polling = route_with("GET", "EIO=4&transport=polling", false, &config);
    assert_eq!(polling, Err(RequestError::UnknownTransport));
    assert!(route_with("GET", "EIO=4&transport=websocket", true, &config).is_ok());
}

#[test]
fn an_origin_with_control_characters_is_a_bad_request() {
    let headers = [Header { name: "Origin", value: b"http://a\x01" }];
    let request = Request::new("GET", "/?EIO=4&transport=polling&sid=x", &headers);
    let query = Query::parse(request.query()).unwrap();
    let result = Route::of(&request, false, &query, &Config::default());
    assert_eq!(result, Err(RequestError::InvalidOrigin));
}

#[test]
fn error_bodies_equal_those_of_the_reference_implementation() {
    use RequestError::*;
    let cases = [
        (UnknownTransport, 400, r#"{"code":0,"message":"Transport unknown"}"#),
        (UnknownSession, 400, r#"{"code":1,"message":"Session ID unknown"}"#),
        (BadHandshakeMethod, 400, r#"{"code":2,"message":"Bad handshake method"}"#),
        (BadRequest, 400, r#"{"code":3,"message":"Bad request"}"#),
        (JsonpIsOff, 400, r#"{"code":3,"message":"Bad request"}"#),
        (InvalidOrigin, 400, r#"{"code":3,"message":"Bad request"}"#),
        (TransportMismatch, 400, r#"{"code":3,"message":"Bad request"}"#),
        (TransportHandshake, 400, r#"{"code":3,"message":"Bad request"}"#),
        (ProtocolMismatch, 400, r#"{"code":3,"message":"Bad request"}"#),
        (IdGeneration("none".into()), 400, r#"{"code":3,"message":"Bad request"}"#),
        (Forbidden("a \"b\"".into()), 403, r#"{"code":4,"message":"a \"b\""}"#),
        (UnsupportedVersion, 400, r#"{"code":5,"message":"Unsupported protocol version"}"#),
        (MethodNotAllowed, 405, ""),
        (TooLarge, 413, ""),
        (TooManySessions, 429, "Too many sessions from this address"),
        (TooManyPending, 503, "Too many pending sessions"),
        (Failed, 500, ""),
        (Unavailable, 503, ""),
    ];
    for (error, status, body) in cases {
        assert_eq!((error.status(), error.body().as_ref()), (status, body));
    }
}
