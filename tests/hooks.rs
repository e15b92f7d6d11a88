//! The application's say about HTTP requests: middleware, headers, ids, refusals that it is told of, limits.
#![allow(missing_docs, clippy::unwrap_used)]

mod simulation;

use simulation::{Client, Pipe, Sim};
use sockeye::observe::{Observer, ServerEvent};
use sockeye::{Cookie, Cors, Handshake, Id, Rejection, ResponseHeaders, Server, ServerBuilder, Socket};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Semaphore;

/// A response.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn headers(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }
}

/// Returns the response, if it has come.
fn receive(sim: &Sim, pipe: &Pipe) -> Option<Answer> {
    sim.run();
    let bytes = pipe.receive();
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let body = String::from_utf8_lossy(&bytes[end + 4..]).into_owned();
    Some(Answer { status: head.split(' ').nth(1).unwrap().parse().unwrap(), head, body })
}

fn ask(sim: &Sim, request: impl AsRef<[u8]>) -> Answer {
    let pipe = sim.dial();
    pipe.send(request.as_ref());
    receive(sim, &pipe).expect("an answer")
}

fn request(method: &str, query: &str, headers: &str, body: &str) -> String {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    format!(
        "{method} /socket.io/?EIO=4&transport={query} HTTP/1.1\r\nHost: here\r\n{headers}{length}\r\n{body}"
    )
}

fn get(query: &str) -> String {
    request("GET", query, "", "")
}

fn post(sid: &str, body: &str) -> String {
    request("POST", &format!("polling&sid={sid}"), "", body)
}

const WEBSOCKET: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// A request for WebSocket; `query` may name a session.
fn upgrade(query: &str, headers: &str) -> String {
    request("GET", &format!("websocket{query}"), &format!("{WEBSOCKET}{headers}"), "")
}

/// Opens a session by polling.
fn open(sim: &Sim) -> String {
    let opened = ask(sim, get("polling"));
    assert_eq!(opened.status, 200, "{opened:?}");
    opened.body.split('"').nth(3).unwrap().to_owned()
}

fn header(name: &'static str, value: impl Into<String>) -> ResponseHeaders {
    let mut headers = ResponseHeaders::new();
    headers.append(name, value.into()).unwrap();
    headers
}

type Notes = Arc<Mutex<Vec<String>>>;

fn taken(notes: &Notes) -> Vec<String> {
    std::mem::take(&mut notes.lock().unwrap())
}

// Middleware.

#[test]
fn a_middleware_is_asked_about_every_request_and_adds_headers_to_the_response() {
    let notes = Notes::default();
    let kept = notes.clone();
    let builder = Server::builder().use_request(move |request: Handshake| {
        let note = format!("{} {}", request.method(), request.query_param("transport").unwrap_or_default());
        kept.lock().unwrap().push(note.clone());
        async move { Ok(header("X-Note", note)) }
    });
    let sim = Sim::new(builder.use_request(async |_| Ok(())).build());
    let opened = ask(&sim, get("polling"));
    assert_eq!(opened.headers("x-note"), ["GET polling"]);
    let sid = opened.body.split('"').nth(3).unwrap();
    let posted = ask(&sim, post(sid, "40"));
    assert_eq!((posted.status, posted.headers("x-note")), (200, vec!["POST polling"]));
    let polled = ask(&sim, get(&format!("polling&sid={sid}")));
    assert!(polled.body.starts_with("40{"), "{polled:?}");
    assert_eq!(polled.headers("x-note"), ["GET polling"]);
    let upgraded = ask(&sim, upgrade(&format!("&sid={sid}"), ""));
    assert_eq!((upgraded.status, upgraded.headers("x-note")), (101, vec!["GET websocket"]));
    let opened = ask(&sim, upgrade("", ""));
    assert_eq!((opened.status, opened.headers("x-note")), (101, vec!["GET websocket"]));
    let refused = ask(&sim, get("none"));
    assert_eq!((refused.status, refused.headers("x-note")), (400, vec!["GET none"]));
    assert_eq!(taken(&notes).len(), 6);
    assert_eq!(ask(&sim, "GET /else HTTP/1.1\r\nHost: here\r\n\r\n").status, 404);
    assert!(taken(&notes).is_empty(), "another path is not the server's");
}

#[test]
fn a_middleware_answers_a_request_instead_of_the_server() {
    let builder = Server::builder().headers(|_, headers| headers.append("X-All", "1").unwrap());
    let builder = builder.use_request(async |request: Handshake| match request.header("authorization") {
        Some("yes") => Ok(header("X-Passed", "1")),
        _ => Err(Rejection::new(401, "log in").header("WWW-Authenticate", "Bearer")?),
    });
    let builder = builder.use_request(async |request: Handshake| match request.header("x-moved") {
        Some(to) => Err(Rejection::new(307, "").header("Location", to.to_owned())?),
        None => Ok(()),
    });
    let sim = Sim::new(builder.build());
    for asked in [get("polling"), post("unknown", "40"), upgrade("", ""), get("none")] {
        let refused = ask(&sim, asked);
        assert_eq!((refused.status, &*refused.body), (401, "log in"));
        assert_eq!(refused.headers("www-authenticate"), ["Bearer"]);
        assert_eq!(refused.headers("content-type"), ["text/plain; charset=UTF-8"]);
        assert_eq!((refused.headers("x-all"), refused.headers("x-passed")), (vec!["1"], vec![]));
    }
    let moved = ask(&sim, request("GET", "polling", "Authorization: yes\r\nX-Moved: /there\r\n", ""));
    assert_eq!((moved.status, &*moved.body), (307, ""));
    assert_eq!((moved.headers("location"), moved.headers("x-passed")), (vec!["/there"], vec!["1"]));
    // A header that would break the response is an error of the application.
    let broken = ask(&sim, request("GET", "polling", "Authorization: yes\r\nX-Moved: a\tb\x01c\r\n", ""));
    assert_eq!(broken.status, 400, "the request itself is not valid");
    assert_eq!(sim.server().clients_count(), 0);
    assert_eq!(ask(&sim, request("GET", "polling", "Authorization: yes\r\n", "")).status, 200);
}

#[test]
fn a_status_that_cannot_end_a_request_becomes_500() {
    for (status, answered) in
        [(0, 500), (101, 500), (204, 500), (304, 500), (600, 500), (200, 200), (599, 599)]
    {
        assert_eq!(Rejection::new(status, "").status().code(), answered);
    }
}

#[test]
fn a_middleware_that_panics_refuses_that_request_only() {
    let builder = Server::builder().use_request(|request: Handshake| {
        let when = request.query_param("panic");
        assert_ne!(when.as_deref(), Some("early"));
        async move {
            assert_ne!(when.as_deref(), Some("late"));
            Ok(())
        }
    });
    let sim = Sim::new(builder.build());
    for when in ["early", "late"] {
        assert_eq!(ask(&sim, get(&format!("polling&panic={when}"))).status, 500);
        assert_eq!(ask(&sim, upgrade(&format!("&panic={when}"), "")).status, 500);
    }
    open(&sim);
    assert_eq!(sim.server().clients_count(), 1);
}

/// A server whose middleware waits until the test lets one request pass.
fn gated(builder: ServerBuilder) -> (Sim, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let waiting = gate.clone();
    let builder = builder.use_request(move |_| {
        let waiting = waiting.clone();
        async move {
            waiting.acquire().await.unwrap().forget();
            Ok(header("X-Late", "1"))
        }
    });
    let server = builder.build();
    server.on_connect(async |socket: Socket| socket.on("echo", async |args: sockeye::Args| args));
    (Sim::new(server), gate)
}

#[test]
fn a_middleware_may_wait_in_front_of_every_kind_of_request() {
    let (sim, gate) = gated(Server::builder());
    let pass = |request: String| {
        let pipe = sim.dial();
        pipe.send(request.as_bytes());
        assert!(receive(&sim, &pipe).is_none());
        gate.add_permits(1);
        (receive(&sim, &pipe), pipe)
    };
    let (opened, _) = pass(get("polling"));
    let opened = opened.unwrap();
    let sid = opened.body.split('"').nth(3).unwrap();
    assert_eq!(opened.headers("x-late"), ["1"]);
    let (posted, _) = pass(post(sid, "40"));
    assert_eq!(posted.unwrap().body, "ok");
    let (posted, _) = pass(post(sid, ""));
    assert_eq!(posted.unwrap().body, "ok", "an empty body is complete at once");
    assert!(pass(get(&format!("polling&sid={sid}"))).0.unwrap().body.starts_with("40{"));
    // A poll that waits on for packets, longer than a middleware may.
    let (polled, pipe) = pass(get(&format!("polling&sid={sid}")));
    assert!(polled.is_none());
    assert_eq!(pass(post(sid, "421[\"echo\",7]")).0.unwrap().body, "ok");
    let polled = receive(&sim, &pipe).unwrap();
    assert_eq!((&*polled.body, polled.headers("x-late")), ("431[7]", vec!["1"]));
    assert_eq!(pass(upgrade(&format!("&sid={sid}"), "")).0.unwrap().status, 101);
    assert_eq!(pass(upgrade("", "")).0.unwrap().status, 101);
}

#[test]
fn a_poll_that_a_middleware_delayed_waits_as_long_as_any_other() {
    let second = Duration::from_secs(1);
    let builder = Server::builder().allow_timeout(5 * second).ping_interval(20 * second);
    let (sim, gate) = gated(builder);
    gate.add_permits(1);
    let sid = open(&sim);
    let pipe = sim.dial();
    pipe.send(get(&format!("polling&sid={sid}")).as_bytes());
    sim.advance(second);
    gate.add_permits(1);
    sim.advance(18 * second);
    assert!(receive(&sim, &pipe).is_none());
    sim.advance(second);
    assert_eq!(receive(&sim, &pipe).unwrap().body, "2");
}

#[test]
fn a_body_of_several_parts_is_read_after_the_middleware() {
    let (sim, gate) = gated(Server::builder());
    gate.add_permits(1);
    let sid = open(&sim);
    let pipe = sim.dial();
    let request = post(&sid, "40");
    let (begin, end) = request.split_at(request.len() - 1);
    pipe.send(begin.as_bytes());
    assert!(receive(&sim, &pipe).is_none());
    gate.add_permits(1);
    assert!(receive(&sim, &pipe).is_none());
    pipe.send(end.as_bytes());
    assert_eq!(receive(&sim, &pipe).unwrap().body, "ok");
}

#[test]
fn a_middleware_that_never_answers_is_refused_at_the_deadline_and_leaves_nothing() {
    let second = Duration::from_secs(1);
    let (sim, gate) = gated(Server::builder().allow_timeout(7 * second));
    gate.add_permits(1);
    let sid = open(&sim);
    let requests = [get("polling"), post(&sid, "40"), get(&format!("polling&sid={sid}")), upgrade("", "")];
    let pipes = requests.map(|request| {
        let pipe = sim.dial();
        pipe.send(request.as_bytes());
        pipe
    });
    sim.advance(7 * second - Duration::from_millis(1));
    assert!(pipes.iter().all(|pipe| receive(&sim, pipe).is_none()));
    sim.advance(Duration::from_millis(1));
    pipes.iter().for_each(|pipe| assert_eq!(receive(&sim, pipe).unwrap().status, 503));
    sim.advance(200 * second);
    assert_eq!((sim.server().clients_count(), sim.tasks()), (0, 0));
}

#[test]
fn a_client_that_goes_while_a_middleware_waits_leaves_nothing() {
    let (sim, gate) = gated(Server::builder());
    let pipe = sim.dial();
    pipe.send(get("polling").as_bytes());
    sim.run();
    drop(pipe);
    gate.add_permits(1);
    sim.advance(Duration::from_secs(100));
    assert_eq!((sim.server().clients_count(), sim.tasks()), (0, 0));
}

#[test]
fn a_session_that_ends_while_a_middleware_waits_is_unknown_to_the_request() {
    let second = Duration::from_secs(1);
    let (sim, gate) = gated(Server::builder().ping_interval(second).ping_timeout(second));
    gate.add_permits(1);
    let sid = open(&sim);
    let pipe = sim.dial();
    pipe.send(post(&sid, "40").as_bytes());
    sim.advance(3 * second);
    assert_eq!(sim.server().clients_count(), 0);
    gate.add_permits(1);
    assert_eq!(receive(&sim, &pipe).unwrap().body, r#"{"code":1,"message":"Session ID unknown"}"#);
}

#[test]
fn a_preflight_is_answered_before_the_middleware() {
    let builder = Server::builder()
        .cors(Cors::reflect())
        .use_request(async |_| Err::<(), _>(Rejection::new(401, "no")));
    let sim = Sim::new(builder.build());
    let origin = "Origin: https://a.example\r\n";
    assert_eq!(ask(&sim, request("OPTIONS", "polling", origin, "")).status, 204);
    let refused = ask(&sim, request("GET", "polling", origin, ""));
    assert_eq!(refused.status, 401);
    assert_eq!(refused.headers("access-control-allow-origin"), ["https://a.example"]);
}

// Headers.

#[test]
fn initial_headers_are_in_the_first_response_and_headers_in_all() {
    let builder = Server::builder().cookie(Cookie::new("io").unwrap());
    let builder = builder.headers(|request, headers| {
        headers.append("X-Method", request.method().to_owned()).unwrap();
    });
    let builder = builder.initial_headers(|_, headers| {
        headers.append("Set-Cookie", "a=1; Path=/").unwrap();
        headers.append("Set-Cookie", "b=2").unwrap();
        assert!(headers.append("X-Bad", "a\r\nb").is_err());
        assert!(headers.append("Content-Length", "1").is_err());
    });
    let sim = Sim::new(builder.build());
    let opened = ask(&sim, get("polling"));
    let sid = opened.body.split('"').nth(3).unwrap();
    assert_eq!(opened.headers("set-cookie")[1..], ["a=1; Path=/", "b=2"]);
    assert!(opened.headers("set-cookie")[0].starts_with("io="));
    assert_eq!(opened.headers("x-method"), ["GET"]);
    let posted = ask(&sim, post(sid, "40"));
    assert_eq!((posted.headers("set-cookie"), posted.headers("x-method")), (vec![], vec!["POST"]));
    let polled = ask(&sim, get(&format!("polling&sid={sid}")));
    assert_eq!((polled.headers("set-cookie"), polled.headers("x-method")), (vec![], vec!["GET"]));
    let upgraded = ask(&sim, upgrade(&format!("&sid={sid}"), ""));
    assert_eq!((upgraded.headers("set-cookie"), upgraded.headers("x-method")), (vec![], vec!["GET"]));
    let opened = ask(&sim, upgrade("", ""));
    assert_eq!((opened.headers("set-cookie").len(), opened.headers("x-method")), (3, vec!["GET"]));
    let refused = ask(&sim, request("PUT", "polling", "", ""));
    assert_eq!((refused.headers("set-cookie"), refused.headers("x-method")), (vec![], vec!["PUT"]));
}

#[test]
fn a_hook_for_headers_that_panics_adds_none_of_its_own() {
    let builder = Server::builder().headers(|_, _| panic!("no headers"));
    let sim = Sim::new(builder.headers(|_, headers| headers.append("X-Other", "1").unwrap()).build());
    let opened = ask(&sim, get("polling"));
    assert_eq!((opened.status, opened.headers("x-other")), (200, vec!["1"]));
}

// Ids.

#[test]
fn ids_may_come_from_the_application() {
    let builder = Server::builder().generate_id(async |request: Handshake| {
        let id = request.query_param("id").ok_or("no id")?;
        Id::parse(&id).ok_or_else(|| "not an id".to_owned())
    });
    let sim = Sim::new(builder.build());
    let opened = ask(&sim, get("polling&id=aaaaaaaaaaaaaaaaaaaa"));
    assert!(opened.body.contains(r#""sid":"aaaaaaaaaaaaaaaaaaaa""#), "{opened:?}");
    assert_eq!(ask(&sim, post("aaaaaaaaaaaaaaaaaaaa", "40")).status, 200);
    assert_eq!(ask(&sim, upgrade("&id=bbbbbbbbbbbbbbbbbbbb", "")).status, 101);
    for bad in [
        "",
        "&id=short",
        "&id=aaaaaaaaaaaaaaaaaaa%0A",
        "&id=aaaaaaaaaaaaaaaaaaaa",
        "&id=bbbbbbbbbbbbbbbbbbbb",
    ] {
        let refused = ask(&sim, get(&format!("polling{bad}")));
        assert_eq!((refused.status, &*refused.body), (400, r#"{"code":3,"message":"Bad request"}"#), "{bad}");
    }
    assert_eq!(sim.server().clients_count(), 2);
    // Once its session has ended, an id can be used again.
    assert_eq!(ask(&sim, post("aaaaaaaaaaaaaaaaaaaa", "1")).status, 200);
    assert_eq!(ask(&sim, get("polling&id=aaaaaaaaaaaaaaaaaaaa")).status, 200);
}

#[test]
fn a_generator_of_ids_that_panics_or_never_answers_opens_no_session() {
    let builder = Server::builder().allow_timeout(Duration::from_secs(3));
    let builder = builder.generate_id(async |request: Handshake| {
        assert!(request.query_param("panic").is_none());
        std::future::pending().await
    });
    let sim = Sim::new(builder.build());
    assert_eq!(ask(&sim, get("polling&panic=1")).body, r#"{"code":3,"message":"Bad request"}"#);
    let pipe = sim.dial();
    pipe.send(get("polling").as_bytes());
    sim.advance(Duration::from_secs(3));
    assert_eq!(receive(&sim, &pipe).unwrap().status, 503);
    assert_eq!(sim.server().clients_count(), 0);
}

#[test]
fn middleware_allow_request_and_the_generator_are_asked_in_this_order_and_share_a_deadline() {
    let notes = Notes::default();
    let [first, second, third, fourth] = [(); 4].map(|()| notes.clone());
    let note = |notes: &Notes, name: &str| notes.lock().unwrap().push(name.to_owned());
    let builder = Server::builder()
        .generate_id(move |_| {
            note(&fourth, "id");
            async { Ok(Id::from_random([1; 15])) }
        })
        .allow_request(move |_| {
            note(&third, "allow");
            async { Ok(()) }
        })
        .use_request(move |_| {
            note(&first, "first");
            async { Ok(()) }
        })
        .use_request(move |_| {
            note(&second, "second");
            async { Ok(()) }
        });
    let sim = Sim::new(builder.build());
    let sid = open(&sim);
    assert_eq!(taken(&notes), ["first", "second", "allow", "id"]);
    assert_eq!(ask(&sim, post(&sid, "40")).status, 200);
    assert_eq!(taken(&notes), ["first", "second"]);
}

// Refusals.

/// Notes each refused request that the observer is told of.
struct Refusals(Notes);

impl Observer for Refusals {
    fn event(&self, event: &ServerEvent<'_>) {
        if let ServerEvent::RequestRefused { status, error, .. } = event {
            self.0.lock().unwrap().push(format!("{status} {:?}", error.map(|error| error.code())));
        }
    }
}

#[test]
fn a_connection_error_has_the_code_message_and_context_of_the_reference() {
    let (notes, observed) = (Notes::default(), Notes::default());
    let kept = notes.clone();
    let builder = Server::builder().observer(Refusals(observed.clone())).on_connection_error(move |error| {
        let context: Vec<_> = error.context().iter().map(|(name, value)| format!("{name}={value}")).collect();
        let (code, message) = (error.code(), error.message());
        let note = format!("{} {code} {message}: {}", error.request().method(), context.join(" "));
        kept.lock().unwrap().push(note);
    });
    let builder = builder.allow_request(async |request: Handshake| match request.query_param("deny") {
        Some(_) => Err("not today".to_owned()),
        None => Ok(()),
    });
    let builder = builder.use_request(async |request: Handshake| match request.query_param("stop") {
        Some(_) => Err(Rejection::new(402, "pay")),
        None => Ok(()),
    });
    let builder = builder.generate_id(async |request: Handshake| match request.query_param("idless") {
        Some(_) => Err("no ids left".to_owned()),
        None => Id::parse(&format!("{:0>20}", request.query_param("n").unwrap_or_default()))
            .ok_or_else(|| "no".into()),
    });
    let sim = Sim::new(builder.build());
    let sid = open(&sim);
    let _websocket = Client::open(&sim, "EIO=4&transport=websocket&n=1");
    let upgraded = "00000000000000000001";
    let requests = [
        (get("tcp"), "GET 0 Transport unknown: transport=tcp"),
        (get("polling&sid=none"), "GET 1 Session ID unknown: sid=none"),
        (request("PUT", "polling", "", ""), "PUT 2 Bad handshake method: method=PUT"),
        (get("websocket"), "GET 3 Bad request: name=TRANSPORT_HANDSHAKE_ERROR"),
        (
            get(&format!("websocket&sid={sid}")),
            "GET 3 Bad request: name=TRANSPORT_MISMATCH transport=websocket previousTransport=polling",
        ),
        (
            get(&format!("polling&sid={upgraded}")),
            "GET 3 Bad request: name=TRANSPORT_MISMATCH transport=polling previousTransport=websocket",
        ),
        (
            get(&format!("polling&sid={sid}")).replace("EIO=4", "EIO=3"),
            "GET 3 Bad request: name=PROTOCOL_MISMATCH protocol=3 previousProtocol=4",
        ),
        (get("polling&stop=1"), "GET 3 Bad request: name=MIDDLEWARE_FAILURE"),
        (get("polling&idless=1"), "GET 3 Bad request: name=ID_GENERATION_ERROR error=no ids left"),
        (get("polling"), "GET 3 Bad request: name=ID_GENERATION_ERROR error=the id is in use"),
        (get("polling&j=0"), "GET 3 Bad request: name=JSONP_IS_OFF"),
        (get("polling&deny=1"), "GET 4 Forbidden: message=not today"),
        (get("polling").replace("EIO=4", "EIO=2"), "GET 5 Unsupported protocol version: protocol=2"),
    ];
    assert!(taken(&notes).is_empty() && taken(&observed).is_empty());
    for (request, noted) in requests {
        let answer = ask(&sim, &request);
        assert_eq!(taken(&notes), [noted], "{request}");
        let code = noted.split(' ').nth(1).unwrap();
        assert_eq!(taken(&observed), [format!("{} Some({code})", answer.status)]);
    }
    assert_eq!(ask(&sim, request("PUT", &format!("polling&sid={sid}"), "", "")).status, 405);
    assert!(taken(&notes).is_empty(), "the reference has no code for it");
    assert_eq!(taken(&observed), ["405 None"]);
}

#[test]
fn a_handler_of_connection_errors_that_panics_changes_nothing() {
    let notes = Notes::default();
    let kept = notes.clone();
    let builder = Server::builder().on_connection_error(|_| panic!("no"));
    let builder = builder.on_connection_error(move |error| kept.lock().unwrap().push(error.to_string()));
    let sim = Sim::new(builder.build());
    assert_eq!(ask(&sim, get("tcp")).status, 400);
    assert_eq!(taken(&notes), ["Transport unknown (code 0)"]);
}

// Origins.

#[test]
fn a_websocket_from_a_page_of_another_origin_is_refused_if_asked_for() {
    let foreign = "Origin: https://b.example\r\n";
    let unchecked = Sim::new(Server::builder().build());
    assert_eq!(ask(&unchecked, upgrade("", foreign)).status, 101);
    let builder = || Server::builder().check_origin(true);
    let cors = Cors::origins(["https://a.example"]).unwrap();
    let cases = [
        (builder(), "", 101),
        (builder(), "Origin: http://here\r\n", 101),
        (builder(), "Origin: https://HERE\r\n", 101),
        (builder(), "Origin: http://here:81\r\n", 400),
        (builder(), "Origin: here\r\n", 400),
        (builder(), "Origin: null\r\n", 400),
        (builder(), "Origin: \u{e9}\r\n", 400),
        (builder(), foreign, 400),
        (builder().cors(Cors::any()), foreign, 101),
        (builder().cors(cors.clone()), foreign, 400),
        (builder().cors(cors.clone()), "Origin: https://a.example\r\n", 101),
        (builder().cors(cors), "Origin: http://here\r\n", 101),
    ];
    for (builder, origin, status) in cases {
        let notes = Notes::default();
        let kept = notes.clone();
        let builder = builder.on_connection_error(move |error| {
            kept.lock().unwrap().push(format!("{} {:?}", error.code(), error.context()));
        });
        let sim = Sim::new(builder.build());
        let answer = ask(&sim, upgrade("", origin));
        assert_eq!(answer.status, status, "{origin}");
        if status == 400 {
            assert_eq!(answer.body, "Origin not allowed");
            assert_eq!(taken(&notes), [r#"4 [("message", "Origin not allowed")]"#]);
        }
        // An upgrade is checked as well; polling is for CORS.
        let polled = ask(&sim, request("GET", "polling", origin, ""));
        assert_eq!(polled.status, 200);
        let sid = polled.body.split('"').nth(3).unwrap();
        assert_eq!(ask(&sim, upgrade(&format!("&sid={sid}"), origin)).status, status);
    }
}

// Limits.

#[test]
fn pending_sessions_are_limited_until_they_join_a_namespace_or_end() {
    let second = Duration::from_secs(1);
    let server = Server::builder().max_pending_sessions(2).connect_timeout(9 * second).build();
    let sim = Sim::new(server);
    let first = open(&sim);
    open(&sim);
    let refused = ask(&sim, get("polling"));
    assert_eq!((refused.status, &*refused.body), (503, "Too many pending sessions"));
    let refused = ask(&sim, upgrade("", ""));
    assert_eq!((refused.status, &*refused.body), (503, "Too many pending sessions"));
    assert_eq!(ask(&sim, post(&first, "40")).status, 200);
    open(&sim);
    assert_eq!(ask(&sim, get("polling")).status, 503);
    // A second namespace, or the end of a session that has joined, frees nothing.
    assert_eq!(ask(&sim, post(&first, "1")).status, 200);
    assert_eq!(ask(&sim, get("polling")).status, 503);
    sim.advance(100 * second);
    assert_eq!(sim.server().clients_count(), 0);
    open(&sim);
    open(&sim);
    assert_eq!(ask(&sim, get("polling")).status, 503);
}

#[test]
fn sessions_of_one_address_are_limited() {
    let sim = Sim::new(Server::builder().max_sessions_per_address(2).build());
    let ask_from = |address: &str, request: String| {
        let pipe = sim.dial_from(format!("{address}:7").parse().unwrap());
        pipe.send(request.as_bytes());
        receive(&sim, &pipe).unwrap()
    };
    let sid = ask_from("192.0.2.1", get("polling")).body.split('"').nth(3).unwrap().to_owned();
    assert_eq!(ask_from("192.0.2.1", get("polling")).status, 200);
    let refused = ask_from("192.0.2.1", get("polling"));
    assert_eq!((refused.status, &*refused.body), (429, "Too many sessions from this address"));
    let refused = ask_from("[::ffff:192.0.2.1]", upgrade("", ""));
    assert_eq!((refused.status, &*refused.body), (429, "Too many sessions from this address"));
    assert_eq!(ask_from("192.0.2.2", get("polling")).status, 200);
    // The end of a session frees its place.
    assert_eq!(ask_from("192.0.2.1", post(&sid, "1")).status, 200);
    assert_eq!(ask_from("192.0.2.1", get("polling")).status, 200);
    assert_eq!(ask_from("192.0.2.1", get("polling")).status, 429);
    // A client has a whole network of IPv6.
    for (address, status) in [("2001:db8::1", 200), ("2001:db8::2:3:4:5", 200), ("2001:db8::9", 429)] {
        assert_eq!(ask_from(&format!("[{address}]"), get("polling")).status, status);
    }
    assert_eq!(ask_from("[2001:db8:0:1::1]", get("polling")).status, 200);
}

#[test]
fn both_limits_of_sessions_hold_at_once() {
    let builder = Server::builder().max_pending_sessions(3).max_sessions_per_address(1);
    let sim = Sim::new(builder.build());
    let from = |last: u8| {
        let pipe = sim.dial_from(([192, 0, 2, last], 7).into());
        pipe.send(get("polling").as_bytes());
        receive(&sim, &pipe).unwrap().status
    };
    assert_eq!([from(1), from(1), from(1), from(1)], [200, 429, 429, 429]);
    assert_eq!([from(2), from(3), from(4)], [200, 200, 503], "a refused session does not count");
    sim.advance(Duration::from_secs(200));
    assert_eq!([from(1), from(2), from(3), from(4)], [200, 200, 200, 503]);
}

#[test]
fn a_session_keeps_the_chosen_headers_and_hooks_see_all() {
    let notes = Notes::default();
    let seen = notes.clone();
    let io = Server::builder()
        .keep_headers(["cookie", "x-tenant"])
        .allow_request(move |request: Handshake| {
            let names = request.headers().map(|(name, _)| name).collect::<Vec<_>>().join(" ");
            seen.lock().unwrap().push(names);
            async { Ok(()) }
        })
        .build();
    let seen = notes.clone();
    io.on_connect(move |socket: Socket| {
        let kept = socket.handshake().headers().map(|(name, value)| (name, String::from_utf8_lossy(value)));
        seen.lock().unwrap().push(format!("{:?}", kept.collect::<Vec<_>>()));
        async {}
    });
    let sim = Sim::new(io);
    let sid = ask(&sim, request("GET", "polling", "Cookie: a=1\r\nUser-Agent: b\r\nX-Tenant: c\r\n", ""));
    let sid = sid.body.split('"').nth(3).unwrap().to_owned();
    ask(&sim, post(&sid, "40"));
    let expected = ["Host Cookie User-Agent X-Tenant", r#"[("Cookie", "a=1"), ("X-Tenant", "c")]"#];
    assert_eq!(*notes.lock().unwrap(), expected);
}
