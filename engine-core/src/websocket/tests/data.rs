//! Text and binary messages: headers, lengths, limits, fragments, UTF-8.

use super::*;
use alloc::borrow::Cow;

const BOTH: [Role; 2] = [Role::Server, Role::Client];

#[test]
fn examples_of_the_rfc_decode() {
    // RFC 6455, 5.7.
    assert_eq!(messages(Role::Client, b"\x81\x05Hello"), [text("Hello")]);
    let masked = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    assert_eq!(messages(Role::Server, masked), [text("Hello")]);
    assert_eq!(messages(Role::Client, b"\x01\x03Hel\x80\x02lo"), [text("Hello")]);
    assert_eq!(messages(Role::Client, b"\x89\x05Hello"), [Owned::Ping(b"Hello".to_vec())]);
    let masked = b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    assert_eq!(messages(Role::Server, masked), [Owned::Pong(b"Hello".to_vec())]);
    for (header, len) in
        [(&b"\x82\x7e\x01\x00"[..], 256), (&b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"[..], 65536)]
    {
        let data = vec![7; len];
        let wire = [header, &data].concat();
        let outcome = receive_chunks(Role::Client, LIMIT, wire.chunks(1000));
        assert_eq!(outcome.messages, [binary(&data)]);
    }
}

#[test]
fn a_decoder_is_small() {
    assert!(size_of::<Decoder>() <= 16);
    assert!(size_of::<Error>() <= 16);
}

#[test]
fn an_unfragmented_message_borrows_from_the_input() {
    for role in BOTH {
        let mut wire = frame(role, 0x82, b"data");
        wire.extend(frame(role, 0x81, b"text"));
        let range = wire.as_ptr_range();
        let mut decoder = Decoder::new(role, LIMIT);
        let mut input = wire.as_mut_slice();
        let first = decoder.decode(&mut input).expect("both are valid");
        // Both can be held at once.
        let second = decoder.decode(&mut input).expect("both are valid");
        let Some(Message::Binary(Cow::Borrowed(data))) = first else { panic!("{first:?}") };
        let Some(Message::Text(Cow::Borrowed(text))) = second else { panic!("{second:?}") };
        assert_eq!((data, text), (&b"data"[..], "text"));
        assert!(range.contains(&data.as_ptr()) && range.contains(&text.as_ptr()));
        assert!(input.is_empty());
    }
}

#[test]
fn an_incomplete_frame_stays_in_the_input_unchanged() {
    let wire = frames(&[(0x81, b"one"), (0x01, b"two"), (0x80, b"three")]);
    let outcome = receive(Role::Server, &wire[..wire.len() - 1]);
    assert_eq!(outcome.messages, [text("one")]);
    assert_eq!(outcome.error, None);
    // The fragment before it is consumed.
    assert_eq!(outcome.left, wire[9 + 9..wire.len() - 1]);
}

#[test]
fn empty_messages_are_messages() {
    let wire = frames(&[(0x81, b""), (0x82, b""), (0x01, b""), (0x80, b"")]);
    let expected = [text(""), binary(b""), text("")];
    assert_eq!(messages(Role::Server, &wire), expected);
}

#[test]
fn lengths_around_each_encoding_decode() {
    for role in BOTH {
        for len in [1, 125, 126, 127, 65535, 65536] {
            let data: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let wire = frame(role, 0x82, &data);
            let outcome = receive_chunks(role, LIMIT, wire.chunks(997));
            assert_eq!(outcome.messages, [binary(&data)]);
        }
    }
}

#[test]
fn a_short_text_message_is_decoded_as_a_binary_one_of_the_same_bytes() {
    let as_text = |outcome: &Outcome| {
        let messages = outcome.messages.iter().map(|message| match message {
            Owned::Binary(data) => Owned::Text(String::from_utf8(data.clone()).expect("it is ASCII")),
            other => other.clone(),
        });
        (messages.collect::<Vec<_>>(), outcome.error, outcome.left.len())
    };
    for (role, other) in [(Role::Server, Role::Client), (Role::Client, Role::Server)] {
        for len in [0, 1, 7, 8, 45, 124, 125, 126, 127] {
            let data = b"x".repeat(len);
            let with = |to, first| [frame(to, first, &data), frame(to, 0x89, b"ping")].concat();
            for limit in [0, len.saturating_sub(1), len, len + 1, LIMIT] {
                for (to, before) in [(role, None), (other, None), (role, Some(0x01)), (role, Some(0x88))] {
                    let outcome = |first| {
                        let before = before.map(|before| frame(to, before, b"")).unwrap_or_default();
                        receive_with_limit(role, limit, &[before, with(to, first)].concat())
                    };
                    assert_eq!(
                        as_text(&outcome(0x81)),
                        as_text(&outcome(0x82)),
                        "{role:?} {len} {limit} {before:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn reserved_bits_are_refused() {
    for role in BOTH {
        for bit in [0x40, 0x20, 0x10] {
            for first in [0x81, 0x82, 0x88, 0x89, 0x01] {
                let wire = frame(role, first | bit, b"");
                assert_eq!(error(role, &wire), Error::ReservedBits);
            }
        }
    }
}

#[test]
fn reserved_opcodes_are_refused() {
    for role in BOTH {
        for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
            let wire = frame(role, 0x80 | opcode, b"");
            assert_eq!(error(role, &wire), Error::ReservedOpcode(opcode));
        }
    }
}

#[test]
fn a_client_must_mask_and_a_server_must_not() {
    for first in [0x81, 0x82, 0x88, 0x89, 0x8a, 0x01] {
        let unmasked = frame(Role::Client, first, b"");
        assert_eq!(error(Role::Server, &unmasked), Error::NotMasked);
        let masked = frame(Role::Server, first, b"");
        assert_eq!(error(Role::Client, &masked), Error::Masked);
    }
}

#[test]
fn a_length_must_have_its_shortest_encoding() {
    for wire in [
        &b"\x82\x7e\x00\x00"[..],
        b"\x82\x7e\x00\x7d",
        b"\x82\x7f\x00\x00\x00\x00\x00\x00\x00\x05",
        b"\x82\x7f\x00\x00\x00\x00\x00\x00\xff\xff",
    ] {
        assert_eq!(error(Role::Client, wire), Error::InvalidLength);
    }
}

#[test]
fn a_length_with_its_top_bit_set_is_refused() {
    for limit in [0, LIMIT, usize::MAX] {
        for wire in
            [&b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff"[..], b"\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00"]
        {
            let outcome = receive_with_limit(Role::Server, limit, wire);
            assert_eq!(outcome.error, Some(Error::InvalidLength));
        }
    }
    // The greatest valid length is larger than any limit, and the greatest limit is accepted.
    let wire = b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00data";
    let outcome = receive_with_limit(Role::Server, usize::MAX, wire);
    assert_eq!(outcome.error, Some(Error::TooLarge { limit: u32::MAX as usize }));
    let wire = b"\x82\xff\x00\x00\x00\x00\xff\xff\xff\xff\x00\x00\x00\x00data";
    let outcome = receive_with_limit(Role::Server, usize::MAX, wire);
    assert_eq!((outcome.error, outcome.left), (None, wire.to_vec()));
}

#[test]
fn too_long_a_message_is_refused_when_its_length_is_declared() {
    let too_large = Some(Error::TooLarge { limit: 10 });
    for first in [0x81, 0x82, 0x01, 0x02] {
        let wire = frame(Role::Server, first, &[b'a'; 10]);
        assert_eq!(receive_with_limit(Role::Server, 10, &wire).error, None);
        // Only the two bytes with the length have arrived, neither key nor payload.
        let outcome = receive_with_limit(Role::Server, 10, &[first, 0x80 | 11]);
        assert_eq!(outcome.error, too_large);
    }
    let wire = b"\x82\xff\x00\x00\x00\x00\x00\x10\x00\x00";
    assert_eq!(receive_with_limit(Role::Server, 10, wire).error, too_large);
    let wire = frame(Role::Server, 0x82, b"");
    assert_eq!(receive_with_limit(Role::Server, 0, &wire).messages, [binary(b"")]);
}

#[test]
fn the_limit_applies_to_all_fragments_together() {
    for first in [0x01, 0x02] {
        let fits = frames(&[(first, b"aaaa"), (0x00, b"bbbb"), (0x80, b"cc")]);
        let outcome = receive_with_limit(Role::Server, 10, &fits);
        assert_eq!((outcome.messages.len(), outcome.error), (1, None));

        let mut wire = frames(&[(first, b"aaaa"), (0x00, b"bbbb")]);
        wire.extend([0x00, 0x80 | 3]);
        let outcome = receive_with_limit(Role::Server, 10, &wire);
        assert_eq!(outcome.error, Some(Error::TooLarge { limit: 10 }));
    }
    // The bytes of an incomplete character count.
    let mut wire = frames(&[(0x01, b"aaaaaaaa\xe2\x82")]);
    wire.extend([0x80, 0x81]);
    let outcome = receive_with_limit(Role::Server, 10, &wire);
    assert_eq!(outcome.error, Some(Error::TooLarge { limit: 10 }));
    // The next message starts at zero, and pings do not count.
    let wire = frames(&[(0x02, &[0; 9]), (0x89, &[0; 99]), (0x80, &[0]), (0x82, &[0; 10])]);
    assert_eq!(receive_with_limit(Role::Server, 10, &wire).messages.len(), 3);
}

#[test]
fn fragments_are_joined_to_one_message() {
    let wire = frames(&[(0x01, b"ab"), (0x00, b""), (0x00, b"c"), (0x80, b"d")]);
    assert_eq!(messages(Role::Server, &wire), [text("abcd")]);
    let wire = frames(&[(0x02, b"\xff"), (0x00, b"\xfe"), (0x80, b""), (0x81, b"x")]);
    let expected = [binary(b"\xff\xfe"), text("x")];
    assert_eq!(messages(Role::Server, &wire), expected);
}

#[test]
fn a_continuation_needs_a_start() {
    for wire in [
        frames(&[(0x80, b"a")]),
        frames(&[(0x00, b"a")]),
        frames(&[(0x81, b"a"), (0x80, b"b")]),
        frames(&[(0x01, b"a"), (0x80, b"b"), (0x80, b"c")]),
    ] {
        assert_eq!(error(Role::Server, &wire), Error::UnexpectedContinuation);
    }
}

#[test]
fn a_message_must_not_start_inside_another() {
    for first in [0x01, 0x02] {
        for second in [0x01, 0x02, 0x81, 0x82] {
            let wire = frames(&[(first, b"a"), (second, b"b")]);
            assert_eq!(error(Role::Server, &wire), Error::UnfinishedMessage);
        }
    }
}

#[test]
fn the_number_of_empty_fragments_is_limited() {
    for first in [0x01, 0x02] {
        let mut wire = frames(&[(first, b"a")]);
        for _ in 0..128 {
            wire.extend(frame(Role::Server, 0x00, b""));
        }
        let fits = [&wire[..], &frame(Role::Server, 0x80, b"b")].concat();
        assert_eq!(messages(Role::Server, &fits.repeat(2)).len(), 2);
        wire.extend(frame(Role::Server, 0x00, b""));
        assert_eq!(error(Role::Server, &wire), Error::TooManyEmptyFragments);
    }
}

/// One sequence for each way to violate UTF-8, and the number of bytes after which it is invalid.
const INVALID: [(&[u8], usize); 9] = [
    (b"\xff", 1),
    (b"\x80", 1),
    (b"\xc0\xaf", 1),
    (b"\xe0\x80\xaf", 2),
    (b"\xed\xa0\x80", 2),
    (b"\xf4\x90\x80\x80", 2),
    (b"\xf5\x80\x80\x80", 1),
    (b"\xe2\x82A", 3),
    (b"\xf0\x9f\x98A", 4),
];

#[test]
fn text_must_be_utf8() {
    let long = [b'a'; 200];
    for (bytes, _) in INVALID {
        for before in [&b""[..], b"a", &long] {
            let wire = frame(Role::Server, 0x81, &[before, bytes, b"b"].concat());
            assert_eq!(error(Role::Server, &wire), Error::InvalidUtf8);
        }
    }
    for cut in [&b"\xc3"[..], b"\xe2\x82", b"\xf0\x9f\x98"] {
        let wire = frame(Role::Server, 0x81, cut);
        assert_eq!(error(Role::Server, &wire), Error::InvalidUtf8);
        let wire = frames(&[(0x01, cut), (0x80, b"")]);
        assert_eq!(error(Role::Server, &wire), Error::InvalidUtf8);
        let wire = frames(&[(0x01, b"a"), (0x80, cut)]);
        assert_eq!(error(Role::Server, &wire), Error::InvalidUtf8);
        // Binary messages need not be UTF-8.
        let wire = frames(&[(0x02, cut), (0x80, b"")]);
        assert_eq!(messages(Role::Server, &wire), [binary(cut)]);
    }
}

#[test]
fn a_fragment_fails_as_soon_as_it_cannot_become_text() {
    for (bytes, broken) in INVALID {
        // Once in one fragment that is not the last, then each byte in its own fragment.
        assert_eq!(error(Role::Server, &frames(&[(0x01, bytes)])), Error::InvalidUtf8);
        let mut wire = frame(Role::Server, 0x01, b"ok");
        for (index, byte) in bytes.iter().enumerate() {
            wire.extend(frame(Role::Server, 0x00, &[*byte]));
            let outcome = receive(Role::Server, &wire);
            assert_eq!(outcome.error.is_some(), index + 1 >= broken, "{bytes:x?}");
        }
    }
}

#[test]
fn fragments_may_end_inside_characters() {
    let whole = "κόσμε €\u{10ffff}😀\u{feff}\u{800}ß";
    for size in 1..whole.len() {
        let mut wire = frame(Role::Server, 0x01, b"");
        for fragment in whole.as_bytes().chunks(size) {
            wire.extend(frame(Role::Server, 0x00, fragment));
        }
        wire.extend(frame(Role::Server, 0x80, b""));
        assert_eq!(messages(Role::Server, &wire), [text(whole)]);
    }
}

#[test]
fn an_error_is_returned_again_by_later_calls() {
    let mut decoder = Decoder::new(Role::Server, LIMIT);
    let mut wire = frames(&[(0x81, b"\xff"), (0x81, b"fine")]);
    let mut input = wire.as_mut_slice();
    assert_eq!(decoder.decode(&mut input), Err(Error::InvalidUtf8));
    assert_eq!(decoder.decode(&mut input), Err(Error::InvalidUtf8));
    let mut wire = frames(&[(0x81, b"fine")]);
    assert_eq!(decoder.decode(&mut wire.as_mut_slice()), Err(Error::InvalidUtf8));
}

#[test]
fn a_declared_length_allocates_nothing() {
    let mut decoder = Decoder::new(Role::Server, 1 << 30);
    // The first fragment declares a gigabyte, of which a few bytes arrive.
    let mut wire = *b"\x02\xff\x00\x00\x00\x00\x40\x00\x00\x00\x00\x00\x00\x00data";
    let mut input = wire.as_mut_slice();
    assert_eq!(decoder.decode(&mut input), Ok(None));
    assert_eq!(input.len(), wire.len());
    assert!(alloc::format!("{decoder:?}").contains("state: None"));
}

#[test]
fn empty_input_is_no_message() {
    for role in BOTH {
        assert_eq!(receive(role, b""), receive_chunks(role, 0, [&b""[..]; 3]));
    }
}

#[test]
fn errors_know_their_close_code() {
    for (error, code) in [
        (Error::ReservedBits, 1002),
        (Error::ReservedOpcode(3), 1002),
        (Error::FragmentedControl, 1002),
        (Error::ControlTooLong, 1002),
        (Error::NotMasked, 1002),
        (Error::Masked, 1002),
        (Error::InvalidLength, 1002),
        (Error::UnexpectedContinuation, 1002),
        (Error::UnfinishedMessage, 1002),
        (Error::TruncatedCloseCode, 1002),
        (Error::InvalidCloseCode(999), 1002),
        (Error::InvalidUtf8, 1007),
        (Error::TooManyEmptyFragments, 1008),
        (Error::TooLarge { limit: usize::MAX }, 1009),
    ] {
        assert_eq!(error.close_code(), code);
        let message = std::string::ToString::to_string(&error);
        assert!(message.len() <= 123 && message == message.to_lowercase());
    }
}
