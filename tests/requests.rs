//! Requests to a whole server: what is answered, and what becomes of the session.
#![allow(missing_docs, clippy::unwrap_used)]

mod simulation;

use bytes::Bytes;
use simulation::{Pipe, Sim};
use sockeye::extract::Data;
use sockeye::{Args, Cors, DisconnectReason, Handshake, Server, ServerBuilder, Socket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A server that echoes, and notes events and ends.
fn noting() -> (Sim, Arc<Mutex<Vec<String>>>) {
    noting_with(Server::builder().max_payload(1000))
}

fn noting_with(builder: ServerBuilder) -> (Sim, Arc<Mutex<Vec<String>>>) {
    let notes = Arc::new(Mutex::new(Vec::new()));
    let server = builder.build();
    let kept = notes.clone();
    server.on_connect(move |socket: Socket| {
        let (events, ends) = (kept.clone(), kept.clone());
        socket.on_fallback(move |socket: Socket, args: Args| {
            events.lock().unwrap().push("event".to_owned());
            let _ = socket.emit("echo", args);
            async {}
        });
        socket.on_disconnect(move |reason: DisconnectReason| {
            ends.lock().unwrap().push(reason.to_string());
            async {}
        });
        async {}
    });
    // Who is let in later than at once.
    server.of("/later").middleware(async || {
        std::future::pending::<()>().await;
        Ok(())
    });
    (Sim::new(server), notes)
}

fn answer(sim: &Sim, pipe: &Pipe, request: impl AsRef<[u8]>) -> (u16, String) {
    pipe.send(request.as_ref());
    sim.run();
    let answer = String::from_utf8(pipe.receive()).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer}"));
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn get(query: &str) -> String {
    format!("GET /socket.io/?EIO=4&transport=polling{query} HTTP/1.1\r\nHost: a\r\n\r\n")
}

/// Another header may stand in front of the body.
fn post(sid: &str, header: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!(
        "POST /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: a\r\n{header}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Opens a session over WebSocket.
fn upgrade() -> String {
    let head = get("").replace("polling", "websocket");
    head.trim_end().to_owned()
        + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
           Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
}

/// A session in the main namespace; nothing is noted and nothing waits.
fn session(sim: &Sim) -> String {
    let mut client = sim.polling();
    client.join();
    client.session.clone()
}

fn taken(notes: &Arc<Mutex<Vec<String>>>) -> Vec<String> {
    std::mem::take(&mut notes.lock().unwrap())
}

#[test]
fn a_body_that_is_no_payload_is_refused_and_ends_the_session() {
    let bodies: [&[u8]; 7] =
        [b"9", b"4\x1e", b"\x1e4", b"b!!!!", b"42[\"a\"]\x1e", b"42\xff", b"42[\"a\"]\x1e9"];
    for body in bodies {
        let (sim, notes) = noting();
        let sid = session(&sim);
        let pipe = sim.dial();
        let (status, _) = answer(&sim, &pipe, post(&sid, "", body));
        let text = String::from_utf8_lossy(body);
        // An empty message is a packet of the protocol above: that it breaks is told by the poll.
        let is_packet = text.starts_with('4') && !text.starts_with("42");
        assert!(status == 400 || is_packet, "{text}: {status}");
        assert_eq!(taken(&notes).iter().filter(|note| *note != "event").count(), 1, "{text}");
        let after = answer(&sim, &sim.dial(), get(&format!("&sid={sid}")));
        assert!(after.0 == 400 || (is_packet && after == (200, "1".into())), "{after:?}");
        assert_eq!(sim.server().sockets().len(), 0);
    }
}

#[test]
fn a_body_of_a_kind_that_this_version_does_not_have_is_answered_and_ends_the_session() {
    let (sim, notes) = noting();
    let sid = session(&sim);
    let request = post(&sid, "Content-Type: application/octet-stream\r\n", "42[\"a\"]");
    assert_eq!(answer(&sim, &sim.dial(), request).0, 400);
    assert_eq!(taken(&notes), ["transport error"]);
}

#[test]
fn a_chunked_body_beyond_max_payload_ends_the_session_before_it_is_there() {
    let (sim, notes) = noting();
    let sid = session(&sim);
    let target = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
    let request = format!("POST {target} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n");
    let pipe = sim.dial();
    pipe.send(request.as_bytes());
    pipe.send(&[b'4'; 1000]);
    sim.run();
    assert!(taken(&notes).is_empty());
    assert_eq!(answer(&sim, &pipe, "\r\n1\r\n").0, 413);
    assert_eq!(taken(&notes), ["transport error"]);
    assert_eq!(sim.server().clients_count(), 0);
}

#[test]
fn a_chunked_body_that_goes_wrong_is_answered_so_that_pages_can_read_it() {
    let sim = Sim::new(Server::builder().max_payload(1000).cors(Cors::reflect()).build());
    for (chunks, status) in [("3e9\r\n", 413), ("3e8\r\n", 413), ("x\r\n", 400), ("1\r\n4xx", 400)] {
        let sid = session(&sim);
        let target = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
        let head = format!("POST {target} HTTP/1.1\r\nHost: a\r\nOrigin: https://b.example\r\n");
        let pipe = sim.dial();
        pipe.send(format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunks}").as_bytes());
        pipe.send(&[b'4'; 1000]);
        pipe.send(b"\r\n1\r\n");
        sim.run();
        let answer = String::from_utf8(pipe.receive()).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{chunks}: {answer}");
        assert!(answer.contains("Access-Control-Allow-Origin: https://b.example\r\n"), "{answer}");
        assert!(answer.contains("Connection: close\r\n"), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
        assert!(pipe.lock().server_done());
        assert_eq!(sim.server().clients_count(), 0);
    }
}

#[test]
fn a_body_that_is_too_slow_is_answered_so_that_pages_can_read_it() {
    let sim = Sim::new(Server::builder().cors(Cors::reflect()).build());
    for framing in ["Content-Length: 10", "Transfer-Encoding: chunked"] {
        let sid = session(&sim);
        let pipe = sim.dial();
        let head = get(&format!("&sid={sid}")).replace("GET", "POST");
        let head = head.trim_end().to_owned() + "\r\nOrigin: https://b.example\r\n";
        pipe.send(format!("{head}{framing}\r\n\r\n1").as_bytes());
        sim.advance(Duration::from_millis(29_999));
        assert!(pipe.receive().is_empty());
        sim.advance(Duration::from_millis(1));
        let answer = String::from_utf8(pipe.receive()).unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(answer.contains("Access-Control-Allow-Origin: https://b.example\r\n"), "{answer}");
        assert!(answer.contains("Connection: close\r\n"), "{answer}");
        assert_eq!(sim.server().clients_count(), 0);
    }
    sim.advance(Duration::from_secs(100));
    assert_eq!(sim.tasks(), 0, "every stream is closed");
}

#[test]
fn a_body_that_trickles_has_the_time_that_is_set_and_no_more() {
    let second = Duration::from_secs(1);
    for framing in ["Content-Length: 100", "Transfer-Encoding: chunked\r\nExpect: 100-continue"] {
        let (sim, notes) = noting_with(Server::builder().request_body_timeout(7 * second));
        let sid = session(&sim);
        let pipe = sim.dial();
        let head = get(&format!("&sid={sid}")).replace("GET", "POST");
        pipe.send(format!("{}\r\n{framing}\r\n\r\n", head.trim_end()).as_bytes());
        for _ in 0..7 {
            sim.run();
            assert!(!String::from_utf8(pipe.receive()).unwrap().contains(" 408 "));
            pipe.send(if framing.starts_with('C') { b"4" } else { b"1\r\n4\r\n" });
            sim.advance(second);
        }
        let answer = String::from_utf8(pipe.receive()).unwrap();
        assert!(answer.contains("HTTP/1.1 408 ") && answer.contains("Connection: close\r\n"), "{answer}");
        assert_eq!(taken(&notes), ["transport error"]);
        sim.advance(100 * second);
        assert_eq!((sim.server().clients_count(), sim.tasks()), (0, 0));
    }
}

#[test]
fn a_body_whose_length_is_too_large_is_refused_and_ends_the_session() {
    for header in ["", "Expect: 100-continue\r\n"] {
        let (sim, notes) = noting();
        let sid = session(&sim);
        let target = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
        let head = format!("POST {target} HTTP/1.1\r\nHost: a\r\n{header}Content-Length: 1001\r\n\r\n");
        let pipe = sim.dial();
        let (status, body) = answer(&sim, &pipe, head);
        assert_eq!((status, body.as_str()), (413, ""));
        assert_eq!(taken(&notes), ["transport error"]);
        assert_eq!(sim.server().clients_count(), 0);
        assert!(pipe.lock().server_done(), "the rest of the body is no request");
    }
}

#[test]
fn bytes_may_be_empty_and_base64_may_be_in_lines() {
    let server = Server::new();
    server.on_connect(async |socket: Socket| {
        socket.on("bytes", async |Data(data): Data<Bytes>| (data.len(), data));
    });
    let sim = Sim::new(server);
    let event = r#"451-1["bytes",{"_placeholder":true,"num":0}]"#;
    let answer = |length| format!(r#"461-1[{length},{{"_placeholder":true,"num":0}}]"#);
    let long: String = ["QUJD".repeat(19), "QUJD".into(), String::new()].join("\n");
    for (base64, length, back) in [
        ("b", 0, "b".to_owned()),
        ("bBA==\n", 1, "bBA==".to_owned()),
        ("b\r\nB A\t=\n=", 1, "bBA==".to_owned()),
        (&format!("b{long}"), 60, format!("b{}", "QUJD".repeat(20))),
    ] {
        let mut client = sim.polling();
        client.join();
        assert_eq!(client.post(&format!("{event}\x1e{base64}")), 200);
        assert_eq!(client.poll(), [answer(length), back], "{base64:?}");
        // What can be sent as text may be, on every transport.
        let client = sim.connect();
        client.send_all([event, base64]);
        assert_eq!((client.next(), client.next_binary().len()), (answer(length), length), "{base64:?}");
    }
    let client = sim.connect();
    client.send(event);
    client.send_binary(b"");
    assert_eq!((client.next(), client.next_binary()), (answer(0), vec![]));
}

#[test]
fn a_page_may_reach_a_private_network_if_it_is_let() {
    let preflight = get("").replace("GET", "OPTIONS").trim_end().to_owned()
        + "\r\nOrigin: https://b.example\r\nAccess-Control-Request-Method: GET\r\n\
           Access-Control-Request-Private-Network: true\r\n\r\n";
    for is_open in [false, true] {
        let cors = Cors::reflect().private_network(is_open);
        let sim = Sim::new(Server::builder().cors(cors).build());
        let pipe = sim.dial();
        pipe.send(preflight.as_bytes());
        sim.run();
        let answer = String::from_utf8(pipe.receive()).unwrap();
        assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
        assert_eq!(
            answer.contains("\r\nAccess-Control-Allow-Private-Network: true\r\n"),
            is_open,
            "{answer}"
        );
    }
}

#[test]
fn a_heartbeat_that_clients_cannot_keep_to_is_refused_when_the_server_is_built() {
    let ms = Duration::from_millis;
    let builds = |interval, timeout| {
        let builder = Server::builder().ping_interval(interval).ping_timeout(timeout);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| builder.build())).is_ok()
    };
    let longest = (1 << 31) - 1;
    assert!(builds(ms(longest - 20_000), ms(20_000)));
    assert!(builds(ms(1), ms(1)));
    for (interval, timeout) in [
        (ms(longest - 20_000), ms(20_001)),
        (ms(25_000), ms(1 << 31)),
        (Duration::MAX, Duration::MAX),
        (ms(0), ms(20_000)),
        (ms(25_000), ms(0)),
        // No whole millisecond can be told to clients.
        (Duration::from_micros(999), ms(20_000)),
    ] {
        assert!(!builds(interval, timeout), "{interval:?} {timeout:?}");
    }
}

#[test]
fn who_is_never_decided_about_is_refused_at_the_deadline() {
    let second = Duration::from_secs(1);
    let builder = Server::builder().allow_timeout(7 * second);
    let server = builder.allow_request(async |_: Handshake| std::future::pending().await).build();
    let sim = Sim::new(server);
    let polling = sim.dial();
    polling.send(get("").as_bytes());
    let websocket = sim.dial();
    websocket.send(upgrade().as_bytes());
    sim.advance(7 * second - Duration::from_millis(1));
    assert!(polling.receive().is_empty() && websocket.receive().is_empty());
    sim.advance(Duration::from_millis(1));
    for pipe in [polling, websocket] {
        let answer = String::from_utf8(pipe.receive()).unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    }
    assert_eq!(sim.server().clients_count(), 0);
    sim.advance(100 * second);
    assert_eq!(sim.tasks(), 0);
}

#[test]
fn a_body_that_is_longer_than_its_length_says_is_no_part_of_it() {
    let (sim, notes) = noting();
    let sid = session(&sim);
    let mut request = post(&sid, "", "42[\"a\"]");
    request.extend(b"2[\"b\"]\r\n\r\n");
    let pipe = sim.dial();
    let (status, rest) = answer(&sim, &pipe, request);
    // The first is answered; the rest is no request, and the end of the stream.
    assert_eq!(status, 200);
    assert!(rest.starts_with("okHTTP/1.1 400 "), "{rest}");
    assert_eq!(taken(&notes), ["event"]);
}

/// Opens a session, and sends a request with an event but for its last three bytes. Returns the whole of it.
fn begun_post(sim: &Sim) -> (Pipe, Vec<u8>) {
    let request = post(&session(sim), "", "42[\"a\"]");
    let pipe = sim.dial();
    pipe.send(&request[..request.len() - 3]);
    sim.run();
    (pipe, request)
}

#[test]
fn a_session_that_ends_while_a_body_comes_answers_it() {
    let (sim, notes) = noting();
    let (pipe, request) = begun_post(&sim);
    sim.server().sockets().remove(0).disconnect(true);
    let (status, _) = answer(&sim, &pipe, &request[request.len() - 3..]);
    assert_eq!(status, 200);
    assert_eq!(taken(&notes), ["server namespace disconnect"]);
}

#[test]
fn two_posts_at_once_end_the_session_and_both_are_answered_and_neither_is_handled() {
    let (sim, notes) = noting();
    let (first, request) = begun_post(&sim);
    let (status, body) = answer(&sim, &sim.dial(), &request);
    assert_eq!((status, body.as_str()), (400, ""));
    assert_eq!(answer(&sim, &first, &request[request.len() - 3..]).0, 200);
    assert_eq!(taken(&notes), ["transport error"]);
    assert_eq!(sim.server().clients_count(), 0);
}

#[test]
fn two_polls_at_once_end_the_session_and_both_are_answered() {
    let (sim, notes) = noting();
    let sid = session(&sim);
    let first = sim.dial();
    first.send(get(&format!("&sid={sid}")).as_bytes());
    sim.run();
    assert!(first.receive().is_empty());
    let (status, body) = answer(&sim, &sim.dial(), get(&format!("&sid={sid}")));
    assert_eq!((status, body.as_str()), (400, ""));
    assert_eq!(answer(&sim, &first, ""), (200, "1".into()));
    assert_eq!(taken(&notes), ["transport error"]);
    assert_eq!(sim.server().clients_count(), 0);
}

#[test]
fn a_poll_takes_the_place_of_one_that_waits_if_that_is_allowed() {
    let (sim, notes) = noting_with(Server::builder().allow_overlapping_polls(true));
    let sid = session(&sim);
    let polls: Vec<_> = (0..3).map(|_| sim.dial()).collect();
    for poll in &polls {
        poll.send(get(&format!("&sid={sid}")).as_bytes());
        sim.run();
    }
    assert_eq!(
        [&polls[0], &polls[1]].map(|poll| answer(&sim, poll, "")),
        [(); 2].map(|()| (200, "6".into()))
    );
    polls[0].finish();
    polls[1].break_off();
    sim.run();
    assert!(polls[2].receive().is_empty());
    assert!(sim.server().emit("a", 1).error.is_none());
    assert_eq!(answer(&sim, &polls[2], ""), (200, r#"42["a",1]"#.into()));
    // Its response is written, so that the next one replaces none.
    let last = sim.dial();
    last.send(get(&format!("&sid={sid}")).as_bytes());
    sim.run();
    assert!([&polls[2], &last].iter().all(|poll| poll.receive().is_empty()));
    assert_eq!(taken(&notes), [""; 0]);
    last.finish();
    sim.run();
    assert_eq!(taken(&notes), ["transport error"]);
}

#[test]
fn a_poll_that_another_replaces_is_answered_in_the_form_in_which_it_asked() {
    let builder = Server::builder().allow_overlapping_polls(true).jsonp(true).allow_eio3(true);
    let (sim, notes) = noting_with(builder);
    for (query, noop) in
        [("EIO=4&j=7", r#"___eio[7]("6");"#), ("EIO=3", "1:6"), ("EIO=3&j=7", r#"___eio[7]("1:6");"#)]
    {
        let request =
            |rest| format!("GET /socket.io/?{query}&transport=polling{rest} HTTP/1.1\r\nHost: a\r\n\r\n");
        let (status, open) = answer(&sim, &sim.dial(), request(String::new()));
        assert_eq!(status, 200);
        let (_, sid) = open.split_once("sid").unwrap();
        let sid = sid
            .split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_'))
            .find(|it| !it.is_empty());
        let request = request(format!("&sid={}", sid.unwrap()));
        let [first, second] = [(); 2].map(|()| sim.dial());
        first.send(request.as_bytes());
        sim.run();
        // What a session of version 3 begins with may have answered it.
        if !first.receive().is_empty() {
            first.send(request.as_bytes());
            sim.run();
        }
        second.send(request.as_bytes());
        assert_eq!(answer(&sim, &first, ""), (200, noop.to_owned()));
        assert!(second.receive().is_empty());
    }
    assert_eq!(taken(&notes), [""; 0]);
}

#[test]
fn what_is_sent_while_polls_replace_each_other_arrives_once_and_in_order() {
    let (sim, _) = noting_with(Server::builder().allow_overlapping_polls(true));
    let sid = session(&sim);
    let mut streams = Vec::new();
    for i in 0..100 {
        if i % 3 != 0 {
            assert!(sim.server().emit("a", i).error.is_none());
        }
        let stream = sim.dial();
        stream.send(get(&format!("&sid={sid}")).as_bytes());
        streams.push(stream);
        // The next one finds this in any state.
        (0..i % 5).for_each(|_| sim.step());
    }
    sim.run();
    let answers = streams.iter().map(|stream| String::from_utf8(stream.receive()).unwrap());
    let answers: Vec<_> = answers.filter(|answer| !answer.is_empty()).collect();
    let bodies = answers.iter().map(|answer| answer.split_once("\r\n\r\n").unwrap().1);
    let got: Vec<_> = bodies.flat_map(|body| body.split('\x1e')).filter(|packet| *packet != "6").collect();
    let sent: Vec<_> = (0..100).filter(|i| i % 3 != 0).map(|i| format!(r#"42["a",{i}]"#)).collect();
    assert_eq!((got.len(), got), (66, sent.iter().map(String::as_str).collect()));
    assert_eq!(answers.len(), 99, "the last one waits");
}

#[test]
fn what_follows_a_connect_at_once_is_delivered_if_the_application_lets_in_at_once() {
    let (sim, notes) = noting();
    let client = sim.client();
    client.send_all(["40", r#"42["a"]"#]);
    assert!(client.next().starts_with("40{"));
    assert_eq!(client.next(), r#"42["echo"]"#);
    let mut client = sim.polling();
    assert_eq!(client.post("40\u{1e}42[\"a\"]"), 200);
    assert_eq!(client.poll().len(), 2);
    assert_eq!(taken(&notes), ["event", "event"]);
    // And breaks the protocol if the application has not decided.
    assert_eq!(client.post("40/later,\u{1e}42/later,[\"a\"]"), 200);
    assert_eq!(taken(&notes), ["forced close"]);
}

#[test]
fn two_connects_in_one_payload_are_answered_once() {
    let (sim, notes) = noting();
    let mut client = sim.polling();
    client.post("40\u{1e}40");
    assert_eq!(client.poll().len(), 1);
    assert_eq!(sim.server().sockets().len(), 1);
    client.post("41");
    assert_eq!(taken(&notes), ["client namespace disconnect"]);
    assert_eq!(sim.server().sockets().len(), 0);
}

#[test]
fn jsonp_is_a_bad_request() {
    let (sim, _) = noting();
    let (status, body) = answer(&sim, &sim.dial(), get("&j=0"));
    assert_eq!((status, body.as_str()), (400, r#"{"code":3,"message":"Bad request"}"#));
    assert_eq!(sim.server().clients_count(), 0);
}

#[test]
fn http_1_0_is_not_upgraded() {
    let (sim, _) = noting();
    let (status, body) = answer(&sim, &sim.dial(), upgrade().replace("HTTP/1.1", "HTTP/1.0"));
    assert_eq!((status, body.as_str()), (400, r#"{"code":3,"message":"Bad request"}"#));
    assert_eq!(sim.server().clients_count(), 0);
}

#[test]
fn a_websocket_version_that_is_not_known_is_told_the_one_that_is() {
    let (sim, _) = noting();
    let pipe = sim.dial();
    pipe.send(upgrade().replace("Version: 13", "Version: 8").as_bytes());
    sim.run();
    let answer = String::from_utf8(pipe.receive()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 426 "), "{answer}");
    for header in ["Sec-WebSocket-Version: 13", "Upgrade: websocket", "Connection: Upgrade"] {
        assert!(answer.contains(&format!("\r\n{header}\r\n")), "{answer}");
    }
}

#[test]
fn the_path_is_taken_with_or_without_its_slash_and_as_no_other() {
    let (sim, _) = noting();
    for (path, status) in [
        ("/socket.io/", 200),
        ("/socket.io", 200),
        ("/socket.io//", 404),
        ("//socket.io/", 404),
        ("/socket.i%6f/", 404),
        ("/socket.io/more", 404),
        ("/Socket.io/", 404),
        ("/", 404),
    ] {
        let request = format!("GET {path}?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(answer(&sim, &sim.dial(), request).0, status, "{path}");
    }
}

#[test]
fn one_stream_may_serve_several_sessions() {
    let (sim, notes) = noting();
    let (one, two) = (session(&sim), session(&sim));
    let pipe = sim.dial();
    for sid in [&one, &two, &one, &two] {
        assert_eq!(answer(&sim, &pipe, post(sid, "", "42[\"a\"]")), (200, "ok".into()));
        assert_eq!(answer(&sim, &pipe, get(&format!("&sid={sid}"))), (200, "42[\"echo\"]".into()));
    }
    assert_eq!(taken(&notes), ["event"; 4]);
}

#[test]
fn a_method_that_sessions_do_not_know_leaves_them_alone() {
    let (sim, notes) = noting();
    let sid = session(&sim);
    for method in ["PUT", "DELETE", "PATCH", "HEAD"] {
        let request = get(&format!("&sid={sid}")).replace("GET", method);
        let pipe = sim.dial();
        pipe.send(request.as_bytes());
        sim.run();
        let answer = String::from_utf8(pipe.receive()).unwrap();
        assert!(answer.starts_with("HTTP/1.1 405 "), "{method}: {answer}");
        // What it does know (RFC 9110, section 15.5.6).
        assert!(answer.contains("\r\nAllow: GET, POST\r\n"), "{method}: {answer}");
    }
    assert!(taken(&notes).is_empty());
    assert_eq!(answer(&sim, &sim.dial(), post(&sid, "", "42[\"a\"]")).0, 200);
}

#[test]
fn an_answer_that_cannot_be_delivered_ends_the_session_instead_of_losing_it() {
    let (sim, notes) = noting();
    let sid = session(&sim);
    let socket = sim.server().sockets().remove(0);
    // More than the network holds.
    socket.emit("large", "x".repeat(200_000)).unwrap();
    let pipe = sim.dial();
    pipe.send(get(&format!("&sid={sid}")).as_bytes());
    sim.run();
    pipe.break_off();
    sim.advance(Duration::from_secs(1));
    assert_eq!(taken(&notes), ["transport error"]);
    assert!(!socket.is_connected());
}
