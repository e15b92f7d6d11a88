use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::super::{MAX_HEAD, MAX_HEADERS, header_slots};
use super::*;
use crate::http::Status;

/// The parts of a head that tests check, independent of the input's lifetime.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    method: String,
    target: String,
    headers: Vec<(String, Vec<u8>)>,
    len: usize,
    version: Version,
    keep_alive: bool,
    body: Body,
    expect_continue: bool,
}

fn once(input: &[u8], max_head: usize) -> Result<Option<Seen>, Error> {
    let mut slots = header_slots();
    let head = parse_head(input, &mut slots, max_head)?;
    Ok(head.map(|head| Seen {
        method: head.request.method().into(),
        target: head.request.target().into(),
        headers: (head.request.headers().iter())
            .map(|header| (header.name.into(), header.value.into()))
            .collect(),
        len: head.len,
        version: head.version,
        keep_alive: head.keep_alive,
        body: head.body,
        expect_continue: head.expect_continue,
    }))
}

/// Parses the input as one chunk and byte by byte, and asserts that the result is the same.
fn parse_up_to(input: &[u8], max_head: usize) -> Result<Option<Seen>, Error> {
    let whole = once(input, max_head);
    let bytewise = (0..=input.len())
        .map(|end| once(&input[..end], max_head))
        .find(|result| *result != Ok(None))
        .unwrap_or(Ok(None));
    assert_eq!(whole, bytewise, "{:?}", String::from_utf8_lossy(input));
    whole
}

fn parse(input: impl AsRef<[u8]>) -> Result<Option<Seen>, Error> {
    parse_up_to(input.as_ref(), MAX_HEAD)
}

fn accepted(input: impl AsRef<[u8]>) -> Seen {
    parse(input).unwrap().expect("a complete head")
}

/// Returns a GET request of HTTP/1.1 with a host and these additional header lines.
fn get(lines: &str) -> String {
    format!("GET /socket.io/ HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
}

fn refused(input: impl AsRef<[u8]>, expected: Error) {
    let input = input.as_ref();
    let text = String::from_utf8_lossy(input);
    assert_eq!(parse(input), Err(expected), "{text:?}");
}

#[test]
fn a_polling_request_is_read() {
    let input = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\n\
                 Host: localhost:3000\r\nAccept: */*\r\nX:  \t padded \t\r\n\r\nnext";
    let seen = accepted(input);
    assert_eq!(seen.method, "GET");
    assert_eq!(seen.target, "/socket.io/?EIO=4&transport=polling");
    assert_eq!(seen.len, input.len() - 4);
    assert_eq!(seen.version, Version::Http11);
    assert_eq!(seen.headers[2], ("X".into(), b"padded".to_vec()));
    assert_eq!((seen.keep_alive, seen.body), (true, Body::None));
    assert!(!seen.expect_continue);
}

#[test]
fn path_and_query_are_told_apart() {
    let request = Request::new("GET", "/a%20b/?c=d?e", &[]);
    assert_eq!((request.path(), request.query()), ("/a%20b/", "c=d?e"));
    let request = Request::new("GET", "/a", &[]);
    assert_eq!((request.path(), request.query()), ("/a", ""));
}

#[test]
fn headers_are_found_in_any_case() {
    let header = |name, value: &'static str| Header { name, value: value.as_bytes() };
    let headers = [
        header("Connection", "keep-alive,  Upgrade"),
        header("connection", "x"),
        Header { name: "Raw", value: b"\xff" },
    ];
    let request = Request::new("GET", "/", &headers);
    assert_eq!(request.header("CONNECTION"), Some(&b"keep-alive,  Upgrade"[..]));
    assert_eq!(request.header_str("connection"), Some("keep-alive,  Upgrade"));
    assert_eq!(request.header("connect"), None);
    assert_eq!(request.header_str("raw"), None);
    for token in ["upgrade", "KEEP-ALIVE", "x"] {
        assert!(request.has_token("connection", token));
    }
    assert!(!request.has_token("connection", "keep"));
    assert!(!request.has_token("upgrade", "x"));
}

#[test]
fn an_incomplete_head_waits() {
    for input in ["", "\r", "\r\n", "G", "GET ", "GET / HTTP/1.1\r\nHost: a\r\n\r"] {
        assert_eq!(parse(input), Ok(None), "{input:?}");
    }
}

#[test]
fn a_tls_handshake_is_told_from_garbage() {
    refused(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", Error::Tls);
    // An alert, and the handshake of SSL 2, are nothing that a client begins with today.
    refused(b"\x15\x03\x01\x00\x02", Error::Syntax);
    refused(b"\x80\x2e\x01", Error::Syntax);
}

#[test]
fn garbage_is_refused_at_its_first_wrong_byte() {
    for (input, at) in [
        (&b"\x16\x03\x01\x02\x00\x01"[..], 0),
        (b"\0", 0),
        (b" GET / HTTP/1.1", 0),
        (b"GET  / HTTP/1.1", 4),
        (b"GET /\x01", 5),
        (b"GET / FTP", 6),
        (b"hello world how are you", 11),
        (b"hello /world how are you", 13),
        (b"GET / HTTP/1.1 ", 14),
        (b"GET / HTTP/1.1\r\n\x7f", 16),
        (b"GET / HTTP/1.1\r\nA : b", 17),
        (b"GET / HTTP/1.1\r\n: b", 16),
        (b"GET / HTTP/1.1\r\nA: b\0", 20),
    ] {
        let text = String::from_utf8_lossy(input);
        assert_eq!(once(&input[..at], MAX_HEAD), Ok(None), "{text:?}");
        let error = once(&input[..=at], MAX_HEAD).unwrap_err();
        assert_eq!(error.status(), Status::BAD_REQUEST, "{text:?}");
        refused(input, error);
    }
}

#[test]
fn one_empty_line_before_the_request_is_skipped() {
    let seen = accepted(format!("\r\n{}", get("")));
    assert_eq!(seen.len, get("").len() + 2);
    refused(format!("\r\n\r\n{}", get("")), Error::Syntax);
    refused(format!("\n{}", get("")), Error::Syntax);
    refused(format!("\r\n\n{}", get("")), Error::Syntax);
    refused(format!("\r{}", get("")), Error::Syntax);
}

#[test]
fn bare_line_feeds_are_refused_everywhere() {
    for input in [
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "GET / HTTP/1.1\r\nHost:\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\nX: b\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: b\n",
        "GET / HTTP/1.1\n",
    ] {
        refused(input, Error::Syntax);
    }
}

#[test]
fn line_feeds_after_the_head_are_not_its_business() {
    accepted(get("") + "\n\n");
}

#[test]
fn bare_carriage_returns_are_refused_everywhere() {
    for input in [
        "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\rHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
        "GET / HTTP/1.1\r\nHost:\ra\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\rX",
        "GET / HTTP/1.1\r\nHo\rst: a\r\n\r\n",
    ] {
        refused(input, Error::Syntax);
    }
}

#[test]
fn folded_headers_are_refused() {
    refused(get("X: a\r\n b\r\n"), Error::Syntax);
    refused(get("X: a\r\n\tb\r\n"), Error::Syntax);
    refused("GET / HTTP/1.1\r\n Host: a\r\n\r\n", Error::Syntax);
}

#[test]
fn a_space_before_the_colon_is_refused() {
    refused(get("Content-Length : 5\r\n"), Error::Syntax);
}

#[test]
fn other_versions_are_refused() {
    for version in ["HTTP/2.0", "HTTP/1.2", "HTTP/0.9", "HTTP/11", "HTTP/1.x"] {
        refused(format!("GET / {version}\r\nHost: a\r\n\r\n"), Error::Version);
    }
    refused("GET / http/1.1\r\nHost: a\r\n\r\n", Error::Syntax);
}

#[test]
fn a_host_is_needed_exactly_once() {
    refused("GET / HTTP/1.1\r\n\r\n", Error::Host);
    refused(get("HOST: a\r\n"), Error::Host);
    refused("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", Error::Host);
    accepted("GET / HTTP/1.0\r\n\r\n");
    for host in ["a b", "a,b", "a/b", "u@a", "a?b", "é", "a\\b"] {
        refused(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"), Error::Host);
    }
    for host in ["", "a.example:80", "[::1]:3000", "127.0.0.1", "a_b-c"] {
        accepted(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    }
}

#[test]
fn a_url_as_target_is_cut_to_its_path() {
    for (target, path) in [
        ("http://a/b?c", "/b?c"),
        ("HTTPS://a:80/?c", "/?c"),
        ("http://a", "/"),
        ("http://[::1]:3000//b", "//b"),
    ] {
        let seen = accepted(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(seen.target, path);
    }
}

#[test]
fn other_targets_are_refused() {
    for target in [
        "a",
        "*",
        "a.example:443",
        "ftp://a/",
        "http://",
        "http:///b",
        "http://a?b",
        "http://u@a/",
        "http://a,b/",
        "//",
        "/a#b",
        "?a",
        "http:/a",
    ] {
        let input = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        match target {
            // A path may begin with two slashes.
            "//" => assert_eq!(accepted(input).target, "//"),
            _ => refused(input, Error::Target),
        }
    }
    refused("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", Error::Target);
    let seen = accepted("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(seen.target, "*");
}

#[test]
fn a_wrong_target_is_refused_before_the_head_is_complete() {
    assert_eq!(once(b"GET a ", MAX_HEAD), Err(Error::Target));
}

#[test]
fn a_length_is_digits_only_and_only_one() {
    let length = |value: &str| get(&format!("Content-Length: {value}\r\n"));
    assert_eq!(accepted(length("5")).body, Body::Length(5));
    assert_eq!(accepted(length("005")).body, Body::Length(5));
    assert_eq!(accepted(length("0")).body, Body::None);
    let max = "18446744073709551615";
    assert_eq!(accepted(length(max)).body, Body::Length(u64::MAX));
    for value in [
        "",
        "+5",
        "-5",
        "5 5",
        "5,5",
        "5, 5",
        "0x5",
        "5a",
        "5.0",
        "18446744073709551616",
        "99999999999999999999999",
    ] {
        refused(length(value), Error::ContentLength);
    }
    let twice = "Content-Length: 5\r\ncontent-length: 5\r\n";
    refused(get(twice), Error::ContentLength);
}

#[test]
fn length_beside_transfer_encoding_is_refused() {
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 0\r\n",
        "Transfer-Encoding: identity\r\nContent-Length: 5\r\n",
    ] {
        refused(get(lines), Error::Framing);
    }
}

#[test]
fn only_exactly_chunked_is_a_transfer_coding() {
    for value in ["chunked", "CHUNKED", " \tchunked\t "] {
        let seen = accepted(get(&format!("Transfer-Encoding:{value}\r\n")));
        assert_eq!(seen.body, Body::Chunked);
    }
    for value in [
        "",
        "xchunked",
        "chunkedx",
        "chunked;q=1",
        "gzip",
        "identity",
        "gzip, chunked",
        "chunked, chunked",
        "chunked,",
        "\"chunked\"",
    ] {
        let lines = format!("Transfer-Encoding: {value}\r\n");
        refused(get(&lines), Error::TransferCoding);
    }
    let twice = "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n";
    refused(get(twice), Error::TransferCoding);
    let last = "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n";
    refused(get(last), Error::TransferCoding);
}

#[test]
fn transfer_encoding_in_http_1_0_is_refused() {
    for coding in ["chunked", "gzip"] {
        let input = format!("POST / HTTP/1.0\r\nTransfer-Encoding: {coding}\r\n\r\n");
        refused(input, Error::Framing);
    }
}

#[test]
fn a_head_may_have_sixteen_kibibytes() {
    let fill = |len: usize| get(&format!("X: {}\r\n", "x".repeat(len - get("X: \r\n").len())));
    let fits = fill(MAX_HEAD);
    assert_eq!(once(fits.as_bytes(), MAX_HEAD).unwrap().unwrap().len, MAX_HEAD);
    let with_body = fits + "body";
    assert!(once(with_body.as_bytes(), MAX_HEAD).unwrap().is_some());
    let longer = fill(MAX_HEAD + 1);
    assert_eq!(once(longer.as_bytes(), MAX_HEAD), Err(Error::HeadTooLarge));
    let cut = longer.get(..MAX_HEAD).unwrap();
    assert_eq!(once(cut.as_bytes(), MAX_HEAD), Err(Error::HeadTooLarge));
    let cut = longer.get(..MAX_HEAD - 1).unwrap();
    assert_eq!(once(cut.as_bytes(), MAX_HEAD), Ok(None));
}

#[test]
fn the_limit_of_a_head_is_exact_however_it_is_cut() {
    let input = get("X: y\r\n");
    let len = input.len();
    assert!(parse_up_to(input.as_bytes(), len).unwrap().is_some());
    for max in [1, 2, 20, len - 1] {
        let result = parse_up_to(input.as_bytes(), max);
        assert_eq!(result, Err(Error::HeadTooLarge), "{max}");
    }
    let led = format!("\r\n{input}");
    assert!(parse_up_to(led.as_bytes(), len + 2).unwrap().is_some());
    assert!(parse_up_to(led.as_bytes(), len + 1).is_err());
    assert!(parse_up_to(led.as_bytes(), 1).is_err());
}

#[test]
fn a_request_may_have_sixty_four_headers() {
    let seen = accepted(get(&"X: y\r\n".repeat(MAX_HEADERS - 1)));
    assert_eq!(seen.headers.len(), MAX_HEADERS);
    refused(get(&"X: y\r\n".repeat(MAX_HEADERS)), Error::TooManyHeaders);
    let lines = "X: y\r\n".repeat(MAX_HEADERS - 1);
    refused(get(&format!("{lines}X: y\n")), Error::Syntax);
    refused(get(&format!("{lines}X: y\r\nX: y\n")), Error::TooManyHeaders);
}

#[test]
fn a_websocket_handshake_has_no_body() {
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    assert_eq!(accepted(get(upgrade)).body, Body::None);
    let empty = format!("{upgrade}Content-Length: 0\r\n");
    assert_eq!(accepted(get(&empty)).body, Body::None);
    for body in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
        refused(get(&format!("{upgrade}{body}\r\n")), Error::UpgradeWithBody);
        let listed = format!("{body}\r\nupgrade: h2c, WebSocket\r\n");
        refused(get(&listed), Error::UpgradeWithBody);
    }
}

#[test]
fn an_offer_of_http_2_may_have_a_body() {
    let lines = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nContent-Length: 5\r\n";
    assert_eq!(accepted(get(lines)).body, Body::Length(5));
}

#[test]
fn only_100_continue_is_expected() {
    let expect = "Expect: 100-Continue\r\n";
    assert!(accepted(get(&format!("{expect}Content-Length: 5\r\n"))).expect_continue);
    assert!(accepted(get(&format!("{expect}Transfer-Encoding: chunked\r\n"))).expect_continue);
    assert!(!accepted(get(expect)).expect_continue);
    let old = format!("POST / HTTP/1.0\r\n{expect}Content-Length: 5\r\n\r\n");
    assert!(!accepted(old).expect_continue);
    for value in ["", "200-ok", "100-continue, x"] {
        refused(get(&format!("Expect: {value}\r\n")), Error::Expectation);
    }
}

#[test]
fn a_connection_is_kept_by_version_and_tokens() {
    for (version, connection, kept) in [
        ("1.1", "", true),
        ("1.1", "keep-alive", true),
        ("1.1", "Close", false),
        ("1.1", "Upgrade, close", false),
        ("1.1", "closed", true),
        ("1.0", "", false),
        ("1.0", "Keep-Alive", true),
        ("1.0", "keep-alive, close", false),
        ("1.0", "close", false),
    ] {
        let input = format!("GET / HTTP/{version}\r\nHost: a\r\nConnection: {connection}\r\n\r\n");
        assert_eq!(accepted(input).keep_alive, kept, "{version} {connection}");
    }
    let second = get("Connection: upgrade\r\nConnection: close\r\n");
    assert!(!accepted(second).keep_alive);
}

#[test]
fn pipelined_requests_are_read_one_at_a_time() {
    let input = get("A: b\r\n") + &get("");
    let first = once(input.as_bytes(), MAX_HEAD).unwrap().unwrap();
    let rest = input.as_bytes().get(first.len..).unwrap();
    assert_eq!(once(rest, MAX_HEAD).unwrap().unwrap().len, rest.len());
}

/// Pieces of heads, so that random input reaches more code.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(
        [
            "GET ",
            "/ ",
            "/?a ",
            "HTTP/1.1",
            "HTTP/1.0",
            "HTTP/2",
            "\r\n",
            "\r\n\r\n",
            "\n",
            "\r",
            "Host: a",
            "Host",
            ": ",
            "Content-Length: 5",
            "Transfer-Encoding: chunked",
            "GET / HTTP/1.1\r\nHost: a\r\n",
            "X: y\r\n",
            " ",
            "http://a/ ",
            "Expect: x",
        ]
        .as_slice(),
    );
    prop_oneof![
        9 => known.prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ]
}

proptest! {
    #[test]
    fn any_input_ends_alike_whole_and_byte_by_byte(
        pieces in prop::collection::vec(piece(), 0..12),
        max_head in 1..200usize,
    ) {
        let _ = parse_up_to(&pieces.concat(), max_head);
    }
}
