//! Compressed messages (RFC 7692): negotiation, inflating, compressing and protocol violations.

use super::chunks::cut;
use super::*;
use crate::websocket::{Deflate, DeflatePool, DeflateState, PerMessageDeflate};
use core::cell::Cell;
use flate2::{Compress, Compression, FlushCompress};
use proptest::{collection::vec as vec_of, prelude::*};

const CONFIG: PerMessageDeflate = PerMessageDeflate::new().threshold(0);

fn agree(offers: &[&str]) -> Option<(Deflate, String)> {
    let offers = offers.iter().map(|offer| offer.as_bytes());
    Deflate::agree(&CONFIG, offers).map(|(deflate, answer)| (deflate, answer.into_owned()))
}

fn agreed() -> Deflate {
    agree(&["permessage-deflate"]).expect("a plain offer is accepted").0
}

fn receive_deflated(role: Role, limit: usize, wire: &[u8]) -> Outcome {
    let receive = |chunks: &[&[u8]]| {
        let mut decoder = Decoder::new(role, limit);
        decoder.set_deflate(agreed());
        let mut driver = Driver::with(decoder);
        chunks.iter().for_each(|chunk| driver.receive(chunk));
        driver.outcome()
    };
    let outcome = receive(&[wire]);
    if wire.len() < 5000 {
        assert_eq!(receive(&cut(wire, &[1])), outcome);
    }
    outcome
}

#[track_caller]
fn inflated(wire: &[u8]) -> Vec<Owned> {
    let outcome = receive_deflated(Role::Server, LIMIT, wire);
    assert_eq!((outcome.error, outcome.left), (None, vec![]));
    outcome.messages
}

#[track_caller]
fn refused(wire: &[u8]) -> Error {
    receive_deflated(Role::Server, LIMIT, wire).error.expect("the input is invalid")
}

/// Compresses `data` as a sender does, with a flush or a final block at its end.
fn compressed(data: &[u8], flush: FlushCompress) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + 100);
    Compress::new(Compression::new(6), false)
        .compress_vec(data, &mut out, flush)
        .expect("compression succeeds");
    if flush == FlushCompress::Sync {
        assert!(out.ends_with(&[0, 0, 0xff, 0xff]));
        out.truncate(out.len() - 4);
    }
    out
}

#[test]
fn examples_of_the_rfc_decode() {
    // RFC 7692, 7.2.3: one block, in fragments, without compression, with a final block, two blocks, an empty message.
    let hello: &[u8] = &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    assert_eq!(inflated(&frames(&[(0xc1, hello)])), [text("Hello")]);
    assert_eq!(inflated(&frames(&[(0x41, &hello[..3]), (0x80, &hello[3..])])), [text("Hello")]);
    let stored = b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00";
    assert_eq!(inflated(&frames(&[(0xc1, stored)])), [text("Hello")]);
    let last = &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
    assert_eq!(inflated(&frames(&[(0xc1, last)])), [text("Hello")]);
    let two = &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00];
    assert_eq!(inflated(&frames(&[(0xc1, two)])), [text("Hello")]);
    assert_eq!(inflated(&frames(&[(0xc2, &[0])])), [binary(b"")]);
}

#[test]
fn uncompressed_messages_are_still_accepted() {
    let wire = frames(&[(0x81, b"a"), (0x02, b"b"), (0x89, b"p"), (0x80, b"c"), (0xc2, &[0])]);
    assert_eq!(inflated(&wire), [text("a"), Owned::Ping(b"p".into()), binary(b"bc"), binary(b"")]);
}

#[test]
fn a_message_cannot_refer_to_the_previous_one() {
    // The second `Hello` of the RFC's example of context takeover (7.2.3.2).
    let wire = frames(&[
        (0xc1, &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]),
        (0xc1, &[0xf2, 0x00, 0x11, 0x00, 0x00]),
    ]);
    let outcome = receive_deflated(Role::Server, LIMIT, &wire);
    assert_eq!(outcome.messages, [text("Hello")]);
    assert_eq!(outcome.error, Some(Error::InvalidDeflate));
}

#[test]
fn the_compression_bit_is_refused_except_on_a_messages_first_frame() {
    for wire in [
        // Pings, closes, continuations, and other reserved bits.
        frames(&[(0xc9, b"")]),
        frames(&[(0xca, b"")]),
        frames(&[(0xc8, b"")]),
        frames(&[(0x01, b"a"), (0xc0, b"b")]),
        frames(&[(0x41, &[0xf2]), (0x40, &[0x48])]),
        frames(&[(0xe1, b"")]),
        frames(&[(0xd1, b"")]),
        frames(&[(0xa1, b"")]),
        frames(&[(0xc3, b"")]),
    ] {
        assert_eq!(refused(&wire), Error::ReservedBits, "{wire:x?}");
    }
    assert_eq!(error(Role::Server, &frames(&[(0xc1, &[0])])), Error::ReservedBits, "not negotiated");
    assert_eq!(Error::ReservedBits.close_code(), 1002);
}

#[test]
fn an_incomplete_stream_is_refused() {
    let whole = compressed(&b"abcdefgh".repeat(50), FlushCompress::Sync);
    for len in 0..whole.len() {
        assert_eq!(refused(&frames(&[(0xc2, &whole[..len])])), Error::InvalidDeflate, "{len} bytes");
    }
    let last = compressed(b"abc", FlushCompress::Finish);
    assert_eq!(inflated(&frames(&[(0xc2, &last)])), [binary(b"abc")]);
    for behind in [&b"\x00\x00"[..], b"\x01", b"\xf2\x48\xcd\xc9\xc9\x07\x00"] {
        let wire = frames(&[(0xc2, &[&last, behind].concat())]);
        assert_eq!(refused(&wire), Error::InvalidDeflate, "{behind:x?} after the last block");
    }
    assert_eq!(refused(&frames(&[(0xc2, &[0x07])])), Error::InvalidDeflate);
    assert_eq!(Error::InvalidDeflate.close_code(), 1007);
}

#[test]
fn inflated_text_must_be_utf8() {
    let wire = frames(&[(0xc1, &compressed(b"ab\xff", FlushCompress::Sync))]);
    assert_eq!(refused(&wire), Error::InvalidUtf8);
    assert_eq!(
        inflated(&frames(&[(0xc1, &compressed("ß€😀".as_bytes(), FlushCompress::Sync))])),
        [text("ß€😀")]
    );
}

#[test]
fn the_limit_applies_to_the_inflated_size() {
    for (len, limit) in [(1000, 1000), (70_000, 70_000), (0, 1), (1, 1)] {
        let wire = frames(&[(0xc2, &compressed(&vec![7; len], FlushCompress::Sync))]);
        let limit = limit.max(wire.len());
        let outcome = receive_deflated(Role::Server, limit.max(len), &wire);
        assert_eq!(outcome.messages, [binary(&vec![7; len])]);
    }
    for len in [1001, 50_000, 10_000_000] {
        let bomb = compressed(&vec![7; len], FlushCompress::Sync);
        let limit = 1000.max(bomb.len());
        let middle = bomb.len() / 2;
        for wire in [frames(&[(0xc2, &bomb)]), frames(&[(0x42, &bomb[..middle]), (0x80, &bomb[middle..])])] {
            let outcome = receive_deflated(Role::Server, limit, &wire);
            assert_eq!((outcome.messages, outcome.error), (vec![], Some(Error::TooLarge { limit })));
        }
    }
    assert_eq!(Error::TooLarge { limit: 0 }.close_code(), 1009);
}

#[test]
fn the_limit_applies_to_the_compressed_size() {
    let mut start = frame(Role::Server, 0x42, &[0; 1001]);
    start.truncate(8);
    let outcome = receive_deflated(Role::Server, 1000, &start);
    assert_eq!(outcome.error, Some(Error::TooLarge { limit: 1000 }));
    let outcome = receive_deflated(Role::Server, 10, &frames(&[(0x42, &[0; 6]), (0x00, &[0; 6])]));
    assert_eq!(outcome.error, Some(Error::TooLarge { limit: 10 }));
}

#[test]
fn the_first_offer_that_can_be_satisfied_is_accepted() {
    const PLAIN: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    let nine = format!("{PLAIN}; server_max_window_bits=9");
    let fifteen = format!("{PLAIN}; server_max_window_bits=15");
    for (offers, answer) in [
        (&["permessage-deflate"][..], PLAIN),
        (&["permessage-deflate; client_max_window_bits"], PLAIN),
        (&["permessage-deflate;client_max_window_bits=8;server_no_context_takeover"], PLAIN),
        (&["permessage-deflate; server_max_window_bits=9"], &nine),
        (&["permessage-deflate; server_max_window_bits=\"15\" , x"], &fifteen),
        // There is no encoder for eight bits.
        (&["permessage-deflate; server_max_window_bits=8, permessage-deflate"], PLAIN),
        (&["permessage-deflate; unknown, x-other; a=b", "permessage-deflate"], PLAIN),
        (&["other; a=\", permessage-deflate; unknown, \\\" \", permessage-deflate"], PLAIN),
    ] {
        assert_eq!(agree(offers).map(|(_, answer)| answer).as_deref(), Some(answer), "{offers:?}");
    }
    for offer in [
        "",
        "permessage-deflat",
        "permessage-deflate;",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
        "permessage-deflate; client_max_window_bits; client_max_window_bits=9",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=09",
        "permessage-deflate; server_max_window_bits=+9",
        "permessage-deflate; server_max_window_bits=9; server_max_window_bits=9",
        "permessage-deflate; client_max_window_bits=",
        "x; a=\"permessage-deflate",
        "x; a=\", permessage-deflate\"",
        "permessage-deflate; a=\u{e9}",
    ] {
        assert_eq!(agree(&[offer]), None, "{offer}");
    }
}

#[test]
fn offers_as_long_as_a_head_may_be_are_declined() {
    // 16 KiB of pieces that look like an offer or never end one.
    for piece in [
        "permessage-deflate; ",
        "permessage-deflate; server_max_window_bits=",
        "a;",
        ",",
        "\"",
        "\\",
        "\"\\\"",
    ] {
        let long = piece.repeat((16 << 10) / piece.len());
        for value in [long.clone(), format!("{long}x"), format!("x; a={long}")] {
            assert_eq!(agree(&[&value]), None);
        }
        assert!(agree(&[&long, "permessage-deflate"]).is_some());
    }
}

#[test]
fn a_client_accepts_only_what_it_offered() {
    let answered = |answer: &[&str]| Deflate::agreed(&CONFIG, answer.iter().map(|value| value.as_bytes()));
    assert_eq!(answered(&[]), Ok(None));
    let (deflate, answer) = agree(&[Deflate::OFFER]).expect("our server accepts our client's offer");
    assert_eq!(answered(&[&answer]), Ok(Some(deflate)));
    assert!(answered(&["permessage-deflate; server_no_context_takeover"]).is_ok());
    assert!(answered(&["permessage-deflate; server_no_context_takeover; server_max_window_bits=8"]).is_ok());
    assert!(answered(&["permessage-deflate; server_no_context_takeover; client_max_window_bits=9"]).is_ok());
    for wrong in [
        &["permessage-deflate"][..],
        &["permessage-deflate; client_no_context_takeover"],
        &["permessage-deflate; server_no_context_takeover; client_max_window_bits"],
        &["permessage-deflate; server_no_context_takeover; client_max_window_bits=16"],
        &["permessage-deflate; server_no_context_takeover; unknown"],
        &["other"],
        &[""],
        &[&answer, &answer],
        &[&format!("{answer}, {answer}")],
    ] {
        assert!(answered(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn messages_are_compressed_only_if_they_become_shorter() {
    let deflate = agreed();
    let mut out = b"before".to_vec();
    assert!(!deflate.write_frame(&DeflatePool::default(), &mut out, Opcode::Binary, &[b"abc"], None));
    assert!(!deflate.write_frame(&DeflatePool::default(), &mut out, Opcode::Binary, &[], None));
    assert!(!deflate.write_frame(&DeflatePool::default(), &mut out, Opcode::Binary, &[b"", b""], None));
    assert_eq!(out, b"before");
    let long = b"abc".repeat(100);
    let (short, _) =
        Deflate::agree(&PerMessageDeflate::new(), [&b"permessage-deflate"[..]].into_iter()).expect("agreed");
    assert!(
        !short.write_frame(&DeflatePool::default(), &mut out, Opcode::Binary, &[&long], None),
        "below the threshold"
    );
    assert!(short.write_frame(&DeflatePool::default(), &mut out, Opcode::Binary, &[&long.repeat(4)], None));
    assert!(out.starts_with(b"before\xc2"));
}

#[test]
fn compression_stays_within_the_negotiated_window() {
    // Noise that repeats at a distance of more than 512 bytes, and not at a shorter one.
    let mut state = 1u32;
    let noise: Vec<u8> = core::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(700)
    .collect();
    let data = noise.repeat(2);
    let written = |offer: &str| {
        let (deflate, _) = agree(&[offer]).expect("agreed");
        let mut out = vec![];
        deflate
            .write_frame(&DeflatePool::default(), &mut out, Opcode::Binary, &[&data], None)
            .then_some(out.len())
    };
    assert!(written("permessage-deflate").is_some_and(|len| len < 900));
    assert!(written("permessage-deflate; server_max_window_bits=9").is_none_or(|len| len > 1300));
    let written = |bits: u8, data: &[u8]| {
        let answer = format!("permessage-deflate; server_no_context_takeover; client_max_window_bits={bits}");
        let deflate =
            Deflate::agreed(&CONFIG, [answer.as_bytes()].into_iter()).expect("agreed").expect("some");
        let mut out = vec![];
        deflate
            .write_frame(&DeflatePool::default(), &mut out, Opcode::Binary, &[data], Some(KEY))
            .then_some(out.len())
    };
    assert!(written(15, &data).is_some_and(|len| len < 900));
    assert!(written(9, &data).is_none_or(|len| len > 1300));
    // Nothing can be compressed for a window of eight bits, so messages are sent uncompressed.
    assert!(written(9, &[7; 1000]).is_some() && written(8, &[7; 1000]).is_none());
}

#[test]
#[should_panic(expected = "never compressed")]
fn compressing_a_control_frame_panics() {
    agreed().write_frame(&DeflatePool::default(), &mut vec![], Opcode::Ping, &[b""], None);
}

fn content() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[a-c]{0,2000}".prop_map(String::into_bytes),
        "[a-zß€😀]{0,80}".prop_map(String::into_bytes),
        vec_of(any::<u8>(), 0..300),
        (any::<u8>(), 0..20_000usize).prop_map(|(byte, len)| vec![byte; len]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn messages_survive_compression_in_any_window_fragments_and_chunks(
        bits in 9..=15u8,
        level in any::<u8>(),
        sent in vec_of((content(), 0..2000usize), 0..6),
        chunks in vec_of(1..40usize, 1..8),
        to in prop_oneof![Just(Role::Server), Just(Role::Client)],
    ) {
        let offer = format!("permessage-deflate; server_max_window_bits={bits}");
        let config = PerMessageDeflate::new().threshold(0).level(level);
        let (deflate, _) = Deflate::agree(&config, core::iter::once(offer.as_bytes())).expect("agreed");
        let mask = (to == Role::Server).then_some(KEY);
        let (mut wire, mut expected) = (vec![], vec![]);
        for (data, at) in &sent {
            let mut whole = vec![];
            let (front, back) = data.split_at(data.len().min(*at));
            if !deflate.write_frame(&DeflatePool::default(), &mut whole, Opcode::Binary, &[front, back], mask) {
                whole = frame(to, 0x82, data);
            }
            // The same message again in two fragments, with a ping in between.
            let (start, payload) = split_frame(&whole, mask);
            let (front, back) = payload.split_at(payload.len().min(*at));
            wire.extend(whole);
            wire.extend(frame(to, start & 0x7f, front));
            wire.extend(frame(to, 0x89, b""));
            wire.extend(frame(to, 0x80, back));
            expected.extend([binary(data), Owned::Ping(vec![]), binary(data)]);
        }
        let mut decoder = Decoder::new(to, LIMIT);
        decoder.set_deflate(agreed());
        let mut driver = Driver::with(decoder);
        cut(&wire, &chunks).iter().for_each(|chunk| driver.receive(chunk));
        let outcome = driver.outcome();
        prop_assert_eq!(outcome.messages, expected);
        prop_assert_eq!((outcome.error, outcome.left), (None, vec![]));
    }

    #[test]
    fn arbitrary_compressed_bytes_decode_the_same_in_any_chunks(
        limit in 0..3000usize,
        sent in vec_of((prop::sample::select(&[0x41, 0x42, 0xc1, 0xc2, 0x00, 0x80, 0x81, 0x89][..]), hostile()), 0..6),
    ) {
        let wire: Vec<u8> = sent.iter().flat_map(|(first, payload)| frame(Role::Server, *first, payload)).collect();
        let outcome = receive_deflated(Role::Server, limit, &wire);
        for message in outcome.messages {
            if let Owned::Text(_) | Owned::Binary(_) = &message {
                let len = match &message { Owned::Text(text) => text.len(), Owned::Binary(data) => data.len(), _ => 0 };
                prop_assert!(len <= limit);
            }
        }
    }
}

/// DEFLATE streams, damaged ones and random bytes.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let damaged =
        (content(), any::<usize>(), any::<u8>(), any::<bool>()).prop_map(|(data, at, byte, last)| {
            let flush = if last { FlushCompress::Finish } else { FlushCompress::Sync };
            let mut stream = compressed(&data, flush);
            let at = at % (stream.len() + 1);
            match stream.get_mut(at) {
                Some(place) if byte % 2 == 0 => *place = byte,
                _ => stream.truncate(at),
            }
            stream
        });
    prop_oneof![
        content().prop_map(|data| compressed(&data, FlushCompress::Sync)),
        damaged,
        vec_of(any::<u8>(), 0..40),
    ]
}

/// Returns the first byte of a frame and its unmasked payload.
fn split_frame(frame: &[u8], mask: Option<[u8; 4]>) -> (u8, Vec<u8>) {
    let header = match frame[1] & 0x7f {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    let mut payload = frame[header + mask.map_or(0, |key| key.len())..].to_vec();
    if let Some(key) = mask {
        apply_mask(&mut payload, key);
    }
    (frame[0], payload)
}

std::thread_local! {
    static STATE: Cell<DeflateState> = const { Cell::new(DeflateState::new()) };
    static LENT: Cell<usize> = const { Cell::new(0) };
}

static POOL: DeflatePool = DeflatePool::new(
    || {
        LENT.set(LENT.get() + 1);
        STATE.take()
    },
    |state| STATE.set(state),
);

#[test]
fn one_state_serves_connections_of_any_settings_in_both_directions() {
    let small = agree(&["permessage-deflate; server_max_window_bits=9"]).unwrap().0;
    let text = "again and ".repeat(100);
    for deflate in [agreed(), small, agreed(), small] {
        let mut frame = Vec::new();
        assert!(deflate.write_frame(&POOL, &mut frame, Opcode::Text, &[text.as_bytes()], Some(KEY)));
        assert!(frame.len() < 60);
        let mut decoder = Decoder::new(Role::Server, LIMIT);
        decoder.set_deflate(deflate);
        let message = decoder.decode_with(&mut frame.as_mut_slice(), &POOL);
        assert_eq!(message, Ok(Some(Message::Text(text.as_str().into()))));
    }
    assert_eq!(LENT.get(), 8, "once for each message and direction");
}

#[test]
fn no_state_is_lent_for_messages_that_are_not_compressed() {
    let threshold = PerMessageDeflate::new().threshold(100);
    let (deflate, _) = Deflate::agree(&threshold, [&b"permessage-deflate"[..]].into_iter()).unwrap();
    let mut frame = Vec::new();
    assert!(!deflate.write_frame(&POOL, &mut frame, Opcode::Text, &[&[b'a'; 99]], Some(KEY)));
    crate::websocket::write_frame(&mut frame, Opcode::Text, b"short", Some(KEY));
    let mut decoder = Decoder::new(Role::Server, LIMIT);
    decoder.set_deflate(deflate);
    let message = decoder.decode_with(&mut frame.as_mut_slice(), &POOL);
    assert_eq!(message, Ok(Some(Message::Text("short".into()))));
    assert_eq!(LENT.get(), 0);
}
