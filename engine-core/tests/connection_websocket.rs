//! A connection after its WebSocket handshake.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use proptest::prelude::*;
use sockeye_core::connection::{Expired, Phase};
use sockeye_core::websocket::Opcode;
use support::wire::{HANDSHAKE, Wire, limits_with};
use support::*;

fn upgraded() -> Wire {
    Wire::upgraded(limits_with(|_| {}))
}

/// Returns the code of the close frame at the end of the output.
fn close_code(wire: &Wire) -> Option<u16> {
    assert!(wire.connection.wants_half_close());
    let at = (0..wire.output.len()).rev().find(|at| {
        let frame = &wire.output[*at..];
        frame[0] == 0x88 && frame.get(1).is_some_and(|len| usize::from(*len) + 2 == frame.len())
    });
    let frame = &wire.output[at.expect("a close frame")..];
    (frame.len() > 2).then(|| u16::from_be_bytes([frame[2], frame[3]]))
}

#[test]
fn a_handshake_is_answered_with_its_accept_key() {
    let mut wire = Wire::new();
    wire.feed(at(0), HANDSHAKE);
    assert_eq!(
        wire.text(),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    );
    assert_eq!(wire.connection.phase(), Phase::WebSocket);
    assert_eq!(wire.connection.next_deadline(), None);
}

#[test]
fn invalid_handshakes_are_refused() {
    let handshake = String::from_utf8(HANDSHAKE.to_vec()).unwrap();
    let cases = [
        handshake.replace("Version: 13", "Version: 8"),
        handshake.replace("dGhlIHNhbXBsZSBub25jZQ==", "dGhl"),
        handshake.replace("GET", "POST"),
        handshake.replace("Host: a", "Host: a\r\nContent-Length: 1"),
    ];
    for handshake in cases {
        let mut wire = Wire::new();
        wire.feed(at(0), handshake.as_bytes());
        assert!(wire.text().starts_with("HTTP/1.1 400 "), "{handshake} {}", wire.text());
    }
}

#[test]
fn frames_in_the_same_segment_as_the_handshake_are_read() {
    let mut wire = Wire::new();
    wire.feed(at(0), &[HANDSHAKE, &masked(Opcode::Text, b"hi")].concat());
    assert_eq!(wire.events, ["GET /ws", "text hi"]);
    assert!(wire.output.ends_with(b"\x81\x02hi"));
}

#[test]
fn invalid_frames_close_the_connection_with_a_code() {
    let cases: [(Vec<u8>, u16); 11] = [
        (b"GET / HTTP/1.1\r\n".to_vec(), 1002),
        (vec![0xc1, 0x80, 0, 0, 0, 0], 1002),
        (vec![0x81, 0x01, b'a'], 1002),
        (fragment(Opcode::Ping, false, b""), 1002),
        (masked(Opcode::Text, &[0xff]), 1007),
        (vec![0x83, 0x80, 0, 0, 0, 0], 1002),
        (vec![0x89, 0xfe, 0x00, 0x7e, 0, 0, 0, 0], 1002),
        (masked(Opcode::Close, &[0x03, 0xed]), 1002),
        (masked(Opcode::Close, &[0x03]), 1002),
        (masked(Opcode::Continuation, b"x"), 1002),
        ([fragment(Opcode::Text, false, b"x"), masked(Opcode::Text, b"y")].concat(), 1002),
    ];
    for (bytes, code) in cases {
        let mut wire = upgraded();
        wire.feed(at(0), &bytes);
        wire.feed(at(0), &masked(Opcode::Text, b"after"));
        assert_eq!(close_code(&wire), Some(code), "{bytes:x?}");
        assert!(wire.events.len() == 1 && wire.events[0].starts_with("error"), "{:?}", wire.events);
        assert!(wire.buffer.is_empty());
    }
}

#[test]
fn a_message_beyond_the_limit_closes_with_1009_when_its_length_is_declared() {
    let limits = limits_with(|c| c.max_payload = 10);
    let whole = masked(Opcode::Binary, &[0; 11])[..6].to_vec();
    let parts = [fragment(Opcode::Text, false, b"123456"), fragment(Opcode::Continuation, true, b"78901")];
    for bytes in [whole, parts.concat()] {
        let mut wire = Wire::upgraded(limits.clone());
        wire.feed(at(0), &bytes);
        // 1009 without a text, as in the reference.
        assert_eq!(wire.output, b"\x88\x02\x03\xf1");
        assert_eq!(wire.events, ["error message of more than 10 bytes"]);
    }
    let mut wire = Wire::upgraded(limits);
    wire.feed(at(0), &masked(Opcode::Text, b"1234567890"));
    assert_eq!(wire.events, ["text 1234567890"]);
}

#[test]
fn pings_are_answered_even_between_fragments() {
    let mut wire = upgraded();
    wire.feed(at(0), &masked(Opcode::Ping, b"p"));
    wire.feed(at(0), &fragment(Opcode::Text, false, b"he"));
    wire.feed(at(0), &masked(Opcode::Ping, b"q"));
    wire.feed(at(0), &masked(Opcode::Pong, b"unasked"));
    wire.feed(at(0), &fragment(Opcode::Continuation, true, b"llo"));
    assert_eq!(wire.output, b"\x8a\x01p\x8a\x01q\x81\x05hello");
    assert_eq!(wire.events, ["text hello"]);
}

#[test]
fn a_close_frame_is_answered_and_later_input_ignored() {
    for (body, code) in [(&b""[..], None), (&[0x03, 0xe8][..], Some(1000)), (b"\x0f\xa0bye", Some(4000))] {
        let mut wire = upgraded();
        wire.feed(at(0), &[masked(Opcode::Close, body), masked(Opcode::Text, b"x")].concat());
        assert_eq!(wire.events, [format!("close {code:?}")]);
        assert_eq!(close_code(&wire), code);
        assert!(wire.buffer.is_empty());
        assert_eq!(wire.connection.next_deadline(), Some(at(5000)));
    }
}

#[test]
fn our_close_frame_follows_queued_messages_and_is_sent_once() {
    let mut wire = upgraded();
    wire.connection.send_text(b"3probe");
    wire.connection.close(at(0), Some(1001), "going");
    wire.connection.close(at(1), Some(1000), "");
    wire.connection.send_text(b"late");
    wire.drain();
    assert_eq!(wire.output, b"\x81\x063probe\x88\x07\x03\xe9going");
    assert!(wire.connection.wants_half_close());
    wire.feed(at(2), &masked(Opcode::Close, &[0x03, 0xe9]));
    assert_eq!(wire.output.len(), 17);
}

#[test]
fn an_invalid_close_code_of_ours_is_omitted() {
    let mut wire = upgraded();
    wire.connection.close(at(0), Some(1005), "no");
    wire.drain();
    assert_eq!(wire.output, b"\x88\x00");
}

#[test]
fn a_slow_message_closes_the_connection_at_its_deadline() {
    let mut wire = upgraded();
    let frame = masked(Opcode::Binary, &[1; 1000]);
    for (second, byte) in frame.iter().take(59).enumerate() {
        wire.feed(at(1000 * second as u64), &[*byte]);
    }
    assert_eq!(wire.pass(at(60_000)), [(at(60_000), Expired::Message)]);
    assert_eq!(close_code(&wire), Some(1008));
}

#[test]
fn fragments_and_pings_do_not_extend_the_deadline_of_a_message() {
    let mut wire = upgraded();
    wire.feed(at(0), &fragment(Opcode::Text, false, b"a"));
    for second in 1..60 {
        wire.feed(at(1000 * second), &fragment(Opcode::Continuation, false, b"a"));
        wire.feed(at(1000 * second), &masked(Opcode::Ping, b""));
    }
    assert_eq!(wire.connection.next_deadline(), Some(at(60_000)));
}

#[test]
fn each_message_has_its_own_deadline() {
    for opcode in [Opcode::Text, Opcode::Ping, Opcode::Pong] {
        let mut wire = upgraded();
        let frame = masked(opcode, b"hello");
        let (first, second) = frame.split_at(3);
        wire.feed(at(0), first);
        assert_eq!(wire.connection.next_deadline(), Some(at(60_000)));
        wire.feed(at(50_000), &[second, first].concat());
        assert_eq!(wire.connection.next_deadline(), Some(at(110_000)), "{opcode:?}");
        wire.feed(at(51_000), second);
        assert_eq!(wire.connection.next_deadline(), None, "{opcode:?}");
    }
}

#[test]
fn the_number_of_empty_fragments_is_limited() {
    let mut wire = upgraded();
    wire.feed(at(0), &fragment(Opcode::Text, false, b""));
    let empty = fragment(Opcode::Continuation, false, b"").repeat(2000);
    wire.feed(at(0), &empty);
    assert_eq!(close_code(&wire), Some(1008));
}

#[test]
fn eof_without_a_close_frame_is_not_answered_by_one() {
    let mut wire = upgraded();
    wire.feed(at(0), &masked(Opcode::Text, b"hello")[..7]);
    wire.eof(at(0));
    assert!(wire.output.is_empty());
    assert!(wire.connection.wants_half_close());
}

fn frame() -> impl Strategy<Value = Vec<u8>> {
    let text = || "[a-zé]{0,200}".prop_map(String::into_bytes);
    prop_oneof![
        6 => text().prop_map(|text| masked(Opcode::Text, &text)),
        6 => proptest::collection::vec(any::<u8>(), 0..200).prop_map(|data| masked(Opcode::Binary, &data)),
        3 => (text(), text(), text()).prop_map(|(a, b, c)| [
            fragment(Opcode::Text, false, &a),
            masked(Opcode::Ping, b"between"),
            fragment(Opcode::Continuation, false, &b),
            fragment(Opcode::Continuation, true, &c),
        ].concat()),
        3 => Just(masked(Opcode::Ping, b"ping")),
        1 => Just(masked(Opcode::Pong, b"")),
        1 => Just(masked(Opcode::Close, &[0x03, 0xe8])),
        1 => Just(masked(Opcode::Text, &[0xff])),
        1 => proptest::collection::vec(any::<u8>(), 0..20),
    ]
}

/// Returns the outcome of bytes that arrive in these chunks.
fn outcome<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<String>, Vec<u8>, Phase, Vec<u8>) {
    let mut wire = Wire::with(limits_with(|c| c.max_payload = 2000));
    for chunk in chunks {
        wire.feed(at(0), chunk);
    }
    (wire.events, wire.output, wire.connection.phase(), wire.buffer)
}

proptest! {
    #[test]
    fn frames_are_handled_the_same_in_any_chunks(
        frames in proptest::collection::vec(frame(), 0..8),
        sizes in proptest::collection::vec(1usize..300, 1..20),
    ) {
        let bytes = [HANDSHAKE, &frames.concat()].concat();
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
