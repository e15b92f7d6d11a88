//! Compressed responses of a whole server: which requests get them, and in which coding.
#![cfg(feature = "deflate")]
#![allow(missing_docs, clippy::unwrap_used)]

mod simulation;

use flate2::read::{GzDecoder, ZlibDecoder};
use simulation::{Pipe, Sim};
use sockeye::extract::Data;
use sockeye::{Cors, HttpCompression, Server, ServerBuilder, Socket};
use std::io::{Read, Write};

const OPEN: &str = "/socket.io/?EIO=4&transport=polling";

fn server(builder: ServerBuilder) -> Server {
    let server = builder.asset("/page", "text/html", "<p>".repeat(1000).into_bytes()).build();
    server.on_connect(async |socket: Socket| {
        socket.on("repeat", async |socket: Socket, Data(times): Data<usize>| {
            socket.emit("text", "x".repeat(times))
        });
    });
    server
}

fn compressing() -> ServerBuilder {
    Server::builder().http_compression(HttpCompression::new())
}

/// A response: its head, and its body as it was sent.
struct Response {
    head: String,
    body: Vec<u8>,
}

impl Response {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    fn coding(&self) -> Option<&str> {
        self.header("Content-Encoding")
    }

    /// Returns the body without its coding.
    fn text(&self) -> String {
        let mut text = String::new();
        match self.coding() {
            Some("gzip") => GzDecoder::new(&*self.body).read_to_string(&mut text).unwrap(),
            Some("deflate") => ZlibDecoder::new(&*self.body).read_to_string(&mut text).unwrap(),
            Some(other) => panic!("{other}"),
            None => (&*self.body).read_to_string(&mut text).unwrap(),
        };
        text
    }
}

fn send(
    sim: &Sim,
    pipe: &Pipe,
    method: &str,
    target: &str,
    headers: &str,
    body: impl AsRef<[u8]>,
) -> Response {
    let body = body.as_ref();
    let length = body.len();
    let head = format!("{method} {target} HTTP/1.1\r\nHost: a\r\n{headers}Content-Length: {length}\r\n\r\n");
    pipe.send(&[head.as_bytes(), body].concat());
    sim.run();
    let response = pipe.receive();
    let end = response.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("there is a response") + 4;
    let (head, body) = response.split_at(end);
    let response = Response { head: String::from_utf8(head.to_vec()).unwrap(), body: body.to_vec() };
    if method == "GET" && !response.head.contains(" 304 ") {
        assert_eq!(response.header("Content-Length"), Some(&*body.len().to_string()));
    }
    response
}

fn accepts(codings: &str) -> String {
    format!("Accept-Encoding: {codings}\r\n")
}

/// Returns the response to a poll that carries a message of about this length.
fn polled(builder: ServerBuilder, accept: &str, length: usize) -> Response {
    let sim = Sim::new(server(builder));
    let pipe = sim.dial();
    let open = send(&sim, &pipe, "GET", OPEN, accept, "").text();
    let target = format!("{OPEN}&sid={}", open.split('"').nth(3).unwrap());
    assert_eq!(send(&sim, &pipe, "POST", &target, accept, "40").text(), "ok");
    assert!(send(&sim, &pipe, "GET", &target, accept, "").text().starts_with("40"));
    send(&sim, &pipe, "POST", &target, accept, format!(r#"42["repeat",{length}]"#));
    let response = send(&sim, &pipe, "GET", &target, accept, "");
    assert_eq!(response.text(), format!(r#"42["text","{}"]"#, "x".repeat(length)));
    response
}

#[test]
fn a_payload_is_compressed_as_the_client_accepts_it() {
    for (codings, expected) in [
        ("gzip, deflate, br", Some("gzip")),
        ("deflate", Some("deflate")),
        ("gzip;q=0.5, deflate;q=0.7", Some("deflate")),
        ("br", None),
        ("identity, gzip;q=0.5", None),
    ] {
        let response = polled(compressing(), &accepts(codings), 10_000);
        assert_eq!(response.coding(), expected, "{codings}");
        assert_eq!(response.body.len() < 200, expected.is_some());
        assert_eq!(response.header("Content-Type"), Some("text/plain; charset=UTF-8"));
    }
    assert_eq!(polled(compressing(), "", 10_000).coding(), None);
}

#[test]
fn nothing_is_compressed_unless_the_server_enables_it() {
    assert_eq!(polled(Server::builder(), &accepts("gzip"), 10_000).coding(), None);
}

#[test]
fn a_payload_below_the_threshold_is_not_compressed() {
    let gzip = accepts("gzip");
    // The packet is 13 bytes longer than the text.
    assert_eq!(polled(compressing(), &gzip, 1010).coding(), None);
    assert_eq!(polled(compressing(), &gzip, 1011).coding(), Some("gzip"));
    let compression = HttpCompression::new().threshold(100).level(1);
    assert_eq!(polled(Server::builder().http_compression(compression), &gzip, 100).coding(), Some("gzip"));
}

#[test]
fn a_file_is_sent_as_gzip_with_a_weak_tag() {
    let sim = Sim::new(server(compressing().cors(Cors::reflect())));
    let pipe = sim.dial();
    let get = |method: &str, headers: &str| send(&sim, &pipe, method, "/page", headers, "");
    let plain = get("GET", "");
    let gzip = get("GET", &accepts("gzip"));
    assert_eq!((plain.coding(), gzip.coding()), (None, Some("gzip")));
    assert_eq!(plain.text(), gzip.text());
    assert!(gzip.body.len() < 100);
    for response in [&plain, &gzip] {
        assert_eq!(response.head.matches("Vary: Accept-Encoding\r\n").count(), 1);
        assert_eq!(response.head.matches("Vary: Origin\r\n").count(), 1);
    }
    let tag = plain.header("ETag").unwrap();
    assert_eq!(gzip.header("ETag"), Some(&*format!("W/{tag}")));
    // Only gzip is kept for files, which every browser accepts.
    assert_eq!(get("GET", &accepts("deflate")).coding(), None);

    let head = get("HEAD", &accepts("gzip"));
    assert!(head.body.is_empty());
    assert_eq!(head.header("Content-Length"), gzip.header("Content-Length"));
    assert_eq!(head.coding(), Some("gzip"));
    let known = get("GET", &format!("{}If-None-Match: W/{tag}\r\n", accepts("gzip")));
    assert!(known.head.starts_with("HTTP/1.1 304 "), "{}", known.head);
    assert_eq!((known.header("ETag"), known.coding()), (gzip.header("ETag"), None));
}

#[test]
fn a_file_of_a_server_without_compression_does_not_vary() {
    let sim = Sim::new(server(Server::builder()));
    let response = send(&sim, &sim.dial(), "GET", "/page", &accepts("gzip"), "");
    assert_eq!((response.coding(), response.header("Vary")), (None, None));
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn zlib(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// Opens a session, posts a body with this coding, and returns the status. The session ends if it is not 200.
fn post(sim: &Sim, coding: &str, body: impl AsRef<[u8]>) -> String {
    let pipe = sim.dial();
    let opened = send(sim, &pipe, "GET", OPEN, "", "").text();
    let target = format!("{OPEN}&sid={}", opened.split('"').nth(3).unwrap());
    let response = send(sim, &pipe, "POST", &target, &format!("Content-Encoding: {coding}\r\n"), body);
    let status = response.head.split(' ').nth(1).unwrap().to_owned();
    if status == "200" {
        assert!(send(sim, &pipe, "GET", &target, "", "").text().starts_with("40{\"sid\":"));
    } else {
        assert_eq!(sim.server().clients_count(), 0, "the session has ended");
    }
    sim.advance(std::time::Duration::from_secs(200));
    status
}

#[test]
fn a_body_that_the_client_has_compressed_is_read() {
    let sim = Sim::new(server(compressing()));
    for (coding, body) in
        [("gzip", gzip("40")), ("X-GZIP", gzip("40")), ("deflate", zlib("40")), ("identity", b"40".to_vec())]
    {
        assert_eq!(post(&sim, coding, body), "200", "{coding}");
    }
}

#[test]
fn a_compressed_body_respects_the_limit_after_inflation() {
    let sim = Sim::new(server(compressing().max_payload(1000)));
    let of = |length: usize| format!("40\x1e42[\"{}\"]", "x".repeat(length - 9));
    assert_eq!(post(&sim, "gzip", gzip(&of(1000))), "200");
    assert_eq!(post(&sim, "gzip", gzip(&of(1001))), "413");
    assert_eq!(post(&sim, "deflate", zlib(&of(1001))), "413");
    assert_eq!(post(&sim, "gzip", gzip(&"x".repeat(900_000))), "413", "1000 times as large");
}

#[test]
fn a_body_that_is_not_in_its_coding_is_refused() {
    let sim = Sim::new(server(compressing()));
    let whole = gzip("40");
    let cut = &whole[..whole.len() - 1];
    for (coding, body) in [
        ("br", b"40".to_vec()),
        ("gzip, gzip", gzip("40")),
        ("", b"40".to_vec()),
        ("gzip", b"40".to_vec()),
        ("gzip", zlib("40")),
        ("gzip", cut.to_vec()),
        ("gzip", [&whole[..], b"40"].concat()),
        ("deflate", gzip("40")),
        ("gzip", gzip("no packet")),
    ] {
        assert_eq!(post(&sim, coding, body), "400", "{coding}");
    }
    let sim = Sim::new(server(Server::builder()));
    assert_eq!(post(&sim, "gzip", gzip("40")), "400", "compression is off");
}

#[cfg(feature = "http")]
#[test]
fn a_mounted_server_compresses_as_well() {
    use http_body::Body as _;
    use sockeye::mount::{Outcome, answer};
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    let request = http::Request::get("/page").header("accept-encoding", "gzip").body(String::new()).unwrap();
    let mut context = Context::from_waker(Waker::noop());
    let answering = answer(server(compressing()), request, Default::default());
    let Poll::Ready(Outcome::Response(response)) = pin!(answering).poll(&mut context) else {
        panic!("no response")
    };
    assert_eq!(response.headers()["content-encoding"], "gzip");
    let mut body = response.into_body();
    let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(&mut context) else {
        panic!("no body")
    };
    let (head, body) = (String::from("Content-Encoding: gzip"), frame.into_data().unwrap().to_vec());
    assert_eq!(Response { head, body }.text(), "<p>".repeat(1000));
}
