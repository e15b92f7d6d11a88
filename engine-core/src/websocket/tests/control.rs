//! Close, ping and pong.

use super::*;

#[test]
fn control_frames_are_not_fragmented() {
    for first in [0x08, 0x09, 0x0a] {
        let wire = frame(Role::Server, first, b"");
        assert_eq!(error(Role::Server, &wire), Error::FragmentedControl);
    }
}

#[test]
fn control_frames_carry_at_most_125_bytes() {
    for first in [0x89, 0x8a] {
        let wire = frame(Role::Server, first, &[7; 125]);
        assert_eq!(messages(Role::Server, &wire).len(), 1);
    }
    for first in [0x88, 0x89, 0x8a] {
        // Refused in either long encoding, before the length itself has arrived.
        for length in [0xfe, 0xff] {
            assert_eq!(error(Role::Server, &[first, length]), Error::ControlTooLong);
        }
        let wire = frame(Role::Server, first, &[7; 126]);
        assert_eq!(error(Role::Server, &wire), Error::ControlTooLong);
    }
}

#[test]
fn control_frames_do_not_count_against_the_limit() {
    let wire = frame(Role::Server, 0x89, &[7; 125]);
    assert_eq!(receive_with_limit(Role::Server, 0, &wire).error, None);
}

#[test]
fn control_frames_may_come_between_fragments() {
    let wire = frames(&[
        (0x01, b"a\xe2"),
        (0x89, b"ping"),
        (0x00, b"\x82"),
        (0x8a, b"\xff"),
        (0x80, b"\xac"),
        (0x89, b""),
    ]);
    let expected =
        [Owned::Ping(b"ping".to_vec()), Owned::Pong(b"\xff".to_vec()), text("a€"), Owned::Ping(vec![])];
    assert_eq!(messages(Role::Server, &wire), expected);
}

#[test]
fn a_close_frame_may_be_empty_or_carry_code_and_reason() {
    let close = |body: &[u8]| messages(Role::Server, &frame(Role::Server, 0x88, body));
    assert_eq!(close(b""), [Owned::Close(None)]);
    assert_eq!(close(b"\x03\xe8"), [Owned::Close(Some((1000, "".into())))]);
    let body = [&1011u16.to_be_bytes(), "déjà vu".as_bytes()].concat();
    assert_eq!(close(&body), [Owned::Close(Some((1011, "déjà vu".into())))]);
    let longest = [b"\x03\xe8", &[b'a'; 123][..]].concat();
    assert_eq!(close(&longest), [Owned::Close(Some((1000, "a".repeat(123))))]);
}

#[test]
fn half_a_close_code_is_refused() {
    let wire = frame(Role::Server, 0x88, b"\x03");
    assert_eq!(error(Role::Server, &wire), Error::TruncatedCloseCode);
}

#[test]
fn close_codes_are_checked() {
    for code in 0..=u16::MAX {
        let is_valid = match code {
            1000..=1003 | 1007..=1014 => true,
            0..=2999 => false,
            3000..=4999 => true,
            5000.. => false,
        };
        let wire = frame(Role::Client, 0x88, &code.to_be_bytes());
        let outcome = receive_chunks(Role::Client, LIMIT, [&wire[..]]);
        if is_valid {
            assert_eq!(outcome.messages, [Owned::Close(Some((code, "".into())))]);
        } else {
            assert_eq!(outcome.error, Some(Error::InvalidCloseCode(code)));
        }
    }
}

#[test]
fn a_close_reason_must_be_utf8() {
    for reason in [&b"\xff"[..], b"ok\xc3"] {
        let wire = frame(Role::Server, 0x88, &[b"\x03\xe8", reason].concat());
        assert_eq!(error(Role::Server, &wire), Error::InvalidUtf8);
    }
}

#[test]
fn input_after_a_close_frame_is_ignored() {
    for after in [
        frames(&[(0x81, b"late")]),
        frames(&[(0x88, b"")]),
        frames(&[(0x80, b"")]),
        b"\xff\xff\xff".to_vec(),
        b"\x81".to_vec(),
    ] {
        // The close frame also interrupts a fragmented message here.
        let wire = [frames(&[(0x01, b"a"), (0x88, b"")]), after].concat();
        assert_eq!(messages(Role::Server, &wire), [Owned::Close(None)]);
    }
}
