//! HTTP requests on one byte stream, their limits and their deadlines.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use proptest::prelude::*;
use sockeye_core::connection::{BorrowedContent, Connection, Expired, Phase};
use support::wire::{Wire, limits_with};
use support::*;

const GET: &[u8] = b"GET /a?x=1 HTTP/1.1\r\nHost: a\r\n\r\n";
const DEFERRED: &[u8] = b"GET /defer HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &[u8] = b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
const CHUNKED: &[u8] =
    b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=1\r\nlo\r\n0\r\n\r\n";

fn statuses(wire: &Wire) -> Vec<String> {
    let text = wire.text();
    text.match_indices("HTTP/1.1 ").map(|(at, _)| text[at + 9..at + 12].to_owned()).collect()
}

#[test]
fn requests_are_answered_one_after_the_other() {
    let mut wire = Wire::new();
    wire.feed(at(0), &[GET, POST, CHUNKED, GET].concat());
    let events =
        ["GET /a?x=1", "body ", "POST /p", "body hello", "POST /c", "body hello", "GET /a?x=1", "body "];
    assert_eq!(wire.events, events);
    assert_eq!(statuses(&wire), ["200"; 4]);
    assert_eq!(wire.connection.phase(), Phase::Head);
    assert!(wire.buffer.is_empty());
}

#[test]
fn an_answer_to_head_has_a_content_length_and_no_body() {
    let mut wire = Wire::new();
    let head = POST.strip_prefix(b"POST").unwrap();
    wire.feed(at(0), &[b"HEAD", head, GET].concat());
    assert_eq!(statuses(&wire), ["200", "200"]);
    assert!(wire.text().contains("Content-Length: 5\r\n"), "{}", wire.text());
    assert!(!wire.text().contains("hello"), "{}", wire.text());
}

#[test]
fn bytes_after_a_deferred_request_stay_in_the_callers_buffer() {
    let mut wire = Wire::new();
    wire.feed(at(0), &[DEFERRED, GET].concat());
    assert_eq!(wire.events, ["GET /defer"]);
    assert_eq!(wire.buffer, GET);
    assert_eq!(wire.connection.next_deadline(), None, "the caller has set no deadline");
    let body = BorrowedContent::Bytes(b"now");
    wire.connection.respond(at(1), sockeye_core::http::Status::OK, [], body);
    wire.feed(at(1), b"");
    assert_eq!(wire.events, ["GET /defer", "GET /a?x=1", "body "]);
    assert_eq!(statuses(&wire), ["200", "200"]);
}

#[test]
fn a_refused_head_is_answered_and_ends_the_connection() {
    let cases: [(&[u8], &str); 6] = [
        (b"GET / HTTP/1.1\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", "501"),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", "400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "400"),
        (&[b'A'; 20_000], "400"),
    ];
    for (head, status) in cases {
        let mut wire = Wire::new();
        wire.feed(at(0), head);
        wire.feed(at(0), GET);
        assert_eq!(wire.events, [""; 0]);
        assert_eq!(statuses(&wire).len(), 1);
        if !head.starts_with(b"GET / HTTP/2") && !head.starts_with(b"AAA") {
            assert_eq!(statuses(&wire), [status]);
        }
        assert!(wire.text().contains("Connection: close"));
        assert!(wire.connection.wants_half_close());
        assert!(wire.buffer.is_empty(), "further input is dropped");
    }
}

#[test]
fn a_head_beyond_the_limit_is_refused_before_it_is_complete() {
    let mut wire = Wire::with(limits_with(|c| c.max_head = 100));
    wire.feed(at(0), b"GET / HTTP/1.1\r\nHost: a\r\nX: ");
    wire.feed(at(0), &[b'x'; 100]);
    assert_eq!(statuses(&wire), ["431"]);
}

#[test]
fn a_chunk_that_exceeds_the_limit_is_refused_by_its_size() {
    let mut wire = Wire::with(limits_with(|c| c.max_payload = 10));
    wire.feed(at(0), b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    wire.feed(at(0), b"6\r\nabcdef\r\n");
    wire.feed(at(0), b"5\r\n");
    assert_eq!(statuses(&wire), ["413"]);
    assert_eq!(wire.connection.phase(), Phase::Closing);
    wire.feed(at(0), &[b'x'; 100_000]);
    assert!(wire.buffer.is_empty());
}

#[test]
fn a_body_of_exactly_the_limit_is_accepted() {
    let mut wire = Wire::with(limits_with(|c| c.max_payload = 5));
    wire.feed(at(0), &[POST, CHUNKED].concat());
    assert_eq!(statuses(&wire), ["200", "200"]);
}

#[test]
fn a_malformed_chunk_is_refused() {
    let mut wire = Wire::new();
    wire.feed(at(0), b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n");
    assert_eq!(statuses(&wire), ["400"]);
    assert_eq!(wire.events, ["POST /"]);
}

#[test]
fn an_expectation_is_answered_by_100_before_the_body() {
    let mut wire = Wire::new();
    wire.feed(at(0), b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(wire.text(), "HTTP/1.1 100 Continue\r\n\r\n");
    wire.feed(at(1), b"ok");
    assert_eq!(statuses(&wire), ["100", "200"]);
}

#[test]
fn answering_before_the_body_is_read_closes_the_connection() {
    let mut wire = Wire::new();
    wire.feed(at(0), b"POST /defer HTTP/1.1\r\nHost: a\r\nContent-Length: 33\r\n\r\n");
    let body = BorrowedContent::Bytes(b"");
    wire.connection.respond(at(0), sockeye_core::http::Status::CONTENT_TOO_LARGE, [], body);
    wire.feed(at(0), GET);
    assert_eq!(wire.events, ["POST /defer"], "the body is not read as a request");
    assert_eq!(statuses(&wire), ["413"]);
    assert!(wire.text().contains("Connection: close"));
}

#[test]
fn a_body_with_a_length_beyond_the_limit_is_refused_before_it_arrives() {
    let mut wire = Wire::new();
    wire.feed(at(0), b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\nx");
    assert_eq!(wire.events, ["POST /"]);
    assert_eq!(statuses(&wire), ["413"]);
    assert!(wire.text().contains("Connection: close"));
}

#[test]
fn a_connection_is_kept_open_unless_the_peer_or_we_want_it_closed() {
    let ended = |request: &[u8], end: bool| {
        let mut wire = Wire::new();
        if end {
            wire.connection.end_keep_alive();
        }
        wire.feed(at(0), request);
        assert_eq!(statuses(&wire), ["200"]);
        assert_eq!(wire.text().contains("Connection: close"), wire.connection.wants_half_close());
        wire.connection.wants_half_close()
    };
    assert!(!ended(GET, false));
    assert!(ended(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", false));
    assert!(ended(b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", false));
    let mut wire = Wire::new();
    wire.feed(at(0), DEFERRED);
    wire.connection.end_keep_alive();
    let body = BorrowedContent::Bytes(b"");
    wire.connection.respond(at(0), sockeye_core::http::Status::OK, [], body);
    wire.drain();
    assert!(wire.connection.wants_half_close());
}

#[test]
fn an_invalid_header_of_ours_becomes_a_500() {
    let mut wire = Wire::new();
    wire.feed(at(0), DEFERRED);
    let body = BorrowedContent::Bytes(b"secret");
    wire.connection.respond(at(0), sockeye_core::http::Status::OK, [("X", "a\r\nSet-Cookie: b")], body);
    wire.drain();
    assert_eq!(statuses(&wire), ["500"]);
    assert!(!wire.text().contains("Set-Cookie") && !wire.text().contains("secret"));
}

#[test]
fn calls_that_do_not_fit_the_phase_do_nothing() {
    use sockeye_core::http::Status;
    let mut wire = Wire::new();
    let answer = || BorrowedContent::Bytes(b"x");
    wire.connection.respond(at(0), Status::OK, [], answer());
    wire.connection.receive_body(at(0));
    wire.connection.upgrade(at(0), b"dGhlIHNhbXBsZSBub25jZQ==", []);
    wire.connection.send_text(b"x");
    wire.connection.close(at(0), None, "");
    wire.connection.handle_half_closed(at(0));
    let mut rest = &b"x"[..];
    assert!(matches!(wire.connection.next_body(at(0), &mut rest), Ok(None)));
    assert_eq!(rest, b"x");
    assert!(matches!(
        wire.connection.next_message(at(0), &mut &mut b"x".to_vec()[..], &Default::default()),
        Ok(None)
    ));
    assert_eq!((wire.connection.phase(), wire.connection.queued()), (Phase::Head, 0));
    wire.connection.abort();
    wire.connection.respond(at(0), Status::OK, [], answer());
    wire.connection.refuse(at(0), Status::BAD_REQUEST);
    assert_eq!((wire.connection.phase(), wire.connection.queued()), (Phase::Closed, 0));
}

/// Load balancers open connections ahead of the requests, and keep them for up to 60 s.
#[test]
fn a_connection_without_a_request_stays_longer_than_that_of_a_load_balancer_and_is_closed_without_an_answer()
{
    let mut wire = Wire::new();
    assert_eq!(wire.pass(at(64_999)), []);
    assert_eq!(
        wire.pass(at(100_000)),
        [(at(65_000), Expired::Connection), (at(70_000), Expired::Connection)]
    );
    assert_eq!(statuses(&wire), [""; 0]);
    assert_eq!(wire.connection.phase(), Phase::Closed);
    assert_eq!(wire.connection.next_deadline(), None);
}

#[test]
fn the_first_head_has_to_arrive_within_its_timeout_once_it_has_begun() {
    let mut wire = Wire::new();
    wire.pass(at(60_000));
    wire.feed(at(60_000), &GET[..5]);
    assert_eq!(wire.pass(at(79_000)), [(at(70_000), Expired::Head), (at(75_000), Expired::Connection)]);
    assert_eq!(statuses(&wire), ["408"]);
}

#[test]
fn the_deadline_of_a_head_is_not_extended_by_further_bytes() {
    let mut wire = Wire::new();
    wire.feed(at(0), GET);
    for (i, byte) in GET[..20].iter().enumerate() {
        wire.feed(at(60_000 + 1000 * i as u64), &[*byte]);
    }
    assert_eq!(wire.pass(at(79_000)), [(at(70_000), Expired::Head), (at(75_000), Expired::Connection)]);
    assert_eq!(statuses(&wire), ["200", "408"]);
}

#[test]
fn an_idle_connection_is_closed_without_an_answer() {
    let mut wire = Wire::new();
    wire.feed(at(1000), GET);
    assert_eq!(wire.pass(at(66_000)), [(at(66_000), Expired::Connection)]);
    assert_eq!(statuses(&wire), ["200"]);
    assert!(wire.connection.wants_half_close());
}

#[test]
fn a_slow_body_is_refused_at_its_deadline() {
    for head in ["Content-Length: 600", "Transfer-Encoding: chunked"] {
        let mut wire = Wire::new();
        wire.feed(at(0), format!("POST / HTTP/1.1\r\nHost: a\r\n{head}\r\n\r\n").as_bytes());
        let chunk: &[u8] = if head.starts_with('C') { b"x" } else { b"1\r\nx\r\n" };
        for second in 1..30 {
            wire.feed(at(1000 * second), chunk);
        }
        assert_eq!(wire.pass(at(30_000)), [(at(30_000), Expired::Message)]);
        assert_eq!(statuses(&wire), ["408"]);
        assert!(wire.text().contains("\r\nConnection: close\r\n"), "{}", wire.text());
        assert!(wire.connection.wants_half_close());
    }
}

#[test]
fn a_slow_body_that_is_not_refused_closes_the_connection() {
    for head in ["Content-Length: 600", "Transfer-Encoding: chunked"] {
        let mut wire = Wire::new();
        wire.feed(at(0), format!("POST / HTTP/1.1\r\nHost: a\r\n{head}\r\n\r\n").as_bytes());
        assert_eq!(wire.connection.handle_timeout(at(30_000)), Some(Expired::Message));
        assert_eq!(wire.connection.phase(), Phase::Request);
        assert_eq!(wire.pass(at(35_000)), [(at(35_000), Expired::Connection)]);
        assert_eq!((wire.connection.phase(), wire.text()), (Phase::Closed, String::new()));
    }
}

#[test]
fn a_peer_that_does_not_read_the_last_answer_is_given_up_after_the_message_timeout() {
    let mut wire = Wire::new();
    wire.reads = false;
    wire.feed(at(0), b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert!(!wire.connection.wants_half_close(), "bytes are still queued");
    assert_eq!(wire.connection.next_deadline(), Some(at(60_000)));
    assert_eq!(wire.connection.handle_timeout(at(60_000)), Some(Expired::Connection));
    assert_eq!((wire.connection.phase(), wire.connection.queued()), (Phase::Closed, 0));
}

#[test]
fn a_half_closed_connection_drops_input_until_the_peer_closes() {
    let mut wire = Wire::new();
    wire.feed(at(0), b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    wire.connection.handle_half_closed(at(0));
    assert_eq!(wire.connection.phase(), Phase::Closing);
    assert!(!wire.connection.wants_half_close());
    wire.feed(at(1), GET);
    assert!(wire.buffer.is_empty());
    wire.eof(at(2));
    assert_eq!(wire.connection.phase(), Phase::Closed);
    assert_eq!(wire.connection.next_deadline(), None);
    assert_eq!(statuses(&wire), ["200"]);
}

#[test]
fn after_eof_queued_bytes_are_written_before_the_half_close() {
    let mut wire = Wire::new();
    wire.reads = false;
    wire.feed(at(0), GET);
    wire.connection.handle_eof(at(0));
    assert!(!wire.connection.wants_half_close());
    wire.drain();
    assert!(wire.connection.wants_half_close());
    wire.connection.handle_half_closed(at(0));
    wire.connection.handle_eof(at(0));
    assert_eq!(wire.connection.phase(), Phase::Closed);
}

#[test]
fn eof_inside_a_request_is_not_answered() {
    for cut in 1..POST.len() {
        let mut wire = Wire::new();
        wire.feed(at(0), &POST[..cut]);
        wire.eof(at(0));
        assert_eq!(wire.text(), "", "cut at {cut}");
        assert!(wire.connection.wants_half_close());
    }
}

#[test]
fn an_idle_connection_owns_no_buffer() {
    let mut connection = Connection::new(at(0), limits_with(|_| {}));
    assert!(connection.outbound().reclaim().is_none());
    assert!(size_of::<Connection>() <= 256, "{}", size_of::<Connection>());
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => Just(GET.to_vec()),
        4 => Just(CHUNKED.to_vec()),
        4 => "[a-z]{0,30}".prop_map(|body| {
            format!("POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
        }),
        1 => Just(b"POST /e HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nok".to_vec()),
        1 => Just(b"GET /close HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_vec()),
        1 => Just(b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        1 => Just(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz".to_vec()),
        1 => Just(DEFERRED.to_vec()),
        1 => Just(support::wire::HANDSHAKE.to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..40),
    ]
}

/// Returns the outcome of bytes that arrive in these chunks.
fn outcome<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<String>, String, Phase, Vec<u8>) {
    let mut wire = Wire::new();
    for chunk in chunks {
        wire.feed(at(0), chunk);
    }
    (wire.events.clone(), wire.text(), wire.connection.phase(), wire.buffer)
}

proptest! {
    #[test]
    fn requests_are_handled_the_same_in_any_chunks(
        requests in proptest::collection::vec(request(), 1..8),
        sizes in proptest::collection::vec(1usize..50, 1..20),
    ) {
        let bytes = requests.concat();
        let whole = outcome([bytes.as_slice()]);
        prop_assert_eq!(&outcome(bytes.chunks(1)), &whole);
        let mut rest = bytes.as_slice();
        let cuts = sizes.iter().cycle().map_while(|size| {
            let (chunk, tail) = rest.split_at_checked(*size).unwrap_or((rest, &[]));
            rest = tail;
            (!chunk.is_empty()).then_some(chunk)
        });
        prop_assert_eq!(&outcome(cuts), &whole);
    }
}
