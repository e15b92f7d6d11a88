//! Headers, frames, masks and the handshake's keys.

use super::super::{
    MAX_CONTROL_PAYLOAD, accept_key, encode_key, is_valid_accept, is_valid_key, write_close, write_frame,
};
use super::*;

fn written(opcode: Opcode, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut out = b"before".to_vec();
    write_frame(&mut out, opcode, payload, mask);
    out.split_off(b"before".len())
}

#[test]
fn examples_of_the_rfc_encode() {
    // RFC 6455, 5.7.
    assert_eq!(written(Opcode::Text, b"Hello", None), b"\x81\x05Hello");
    let masked = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    assert_eq!(written(Opcode::Text, b"Hello", Some(KEY)), masked);
    assert_eq!(*Header::new(Opcode::Text, 3, None).non_final(), *b"\x01\x03");
    assert_eq!(*Header::new(Opcode::Continuation, 2, None), *b"\x80\x02");
    assert_eq!(written(Opcode::Ping, b"Hello", None), b"\x89\x05Hello");
    let masked = b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    assert_eq!(written(Opcode::Pong, b"Hello", Some(KEY)), masked);
    assert_eq!(*Header::new(Opcode::Binary, 256, None), *b"\x82\x7e\x01\x00");
    let header = Header::new(Opcode::Binary, 65536, None);
    assert_eq!(*header, *b"\x82\x7f\0\0\0\0\0\x01\0\0");
}

#[test]
fn a_length_is_written_in_the_fewest_bytes() {
    for (len, bytes) in [(0, 2), (125, 2), (126, 4), (65535, 4), (65536, 10)] {
        assert_eq!(Header::new(Opcode::Text, len, None).len(), bytes);
        assert_eq!(Header::new(Opcode::Text, len, Some(KEY)).len(), bytes + 4);
    }
}

#[test]
fn opcodes_round_trip() {
    for opcode in
        [Opcode::Continuation, Opcode::Text, Opcode::Binary, Opcode::Close, Opcode::Ping, Opcode::Pong]
    {
        assert_eq!(Header::new(opcode, 0, None)[0], 0x80 | opcode as u8);
        assert_eq!(Opcode::from_bits(opcode as u8), Some(opcode));
    }
}

#[test]
#[should_panic(expected = "at most 125 bytes")]
fn writing_too_long_a_control_frame_panics() {
    Header::new(Opcode::Ping, MAX_CONTROL_PAYLOAD + 1, None);
}

#[test]
#[should_panic(expected = "never fragmented")]
fn fragmenting_a_control_frame_panics() {
    let _ = Header::new(Opcode::Ping, 0, None).non_final();
}

fn closed(code: Option<u16>, reason: &str) -> Owned {
    let mut out = vec![];
    write_close(&mut out, code, reason, None);
    let mut masked = vec![];
    write_close(&mut masked, code, reason, Some(KEY));
    let close = messages(Role::Client, &out);
    assert_eq!(messages(Role::Server, &masked), close);
    close.into_iter().next().expect("one frame, one message")
}

#[test]
fn a_close_frame_carries_code_and_reason() {
    assert_eq!(closed(None, ""), Owned::Close(None));
    assert_eq!(closed(None, "no code, no reason"), Owned::Close(None));
    assert_eq!(closed(Some(1000), ""), Owned::Close(Some((1000, "".into()))));
    let bye = Owned::Close(Some((4999, "bye".into())));
    assert_eq!(closed(Some(4999), "bye"), bye);
}

#[test]
fn a_close_reason_is_cut_between_characters() {
    for (character, kept) in [("a", 123), ("ß", 122), ("€", 123), ("😀", 120)] {
        let Owned::Close(Some((1011, reason))) = closed(Some(1011), &character.repeat(200)) else {
            panic!("not the close frame that was written");
        };
        assert_eq!(reason, character.repeat(kept / character.len()));
    }
}

#[test]
#[should_panic(expected = "must not be sent")]
fn writing_an_invalid_close_code_panics() {
    write_close(&mut vec![], Some(1005), "", None);
}

#[test]
fn masking_equals_the_naive_algorithm_at_any_alignment_and_length() {
    let original: Vec<u8> = (0..140u8).map(|i| i.wrapping_mul(31)).collect();
    for start in 0..40 {
        for len in 0..100 {
            let mut masked = original.clone();
            apply_mask(&mut masked[start..start + len], KEY);
            let mut naive = original.clone();
            for (index, byte) in naive[start..start + len].iter_mut().enumerate() {
                *byte ^= KEY[index % 4];
            }
            assert_eq!(masked, naive);
        }
    }
}

#[test]
fn masking_twice_restores_the_payload() {
    let mut data: Vec<u8> = (0..=255).collect();
    apply_mask(&mut data, KEY);
    apply_mask(&mut data, KEY);
    assert!(data.into_iter().eq(0..=255));
}

#[test]
fn the_handshake_example_of_the_rfc_is_accepted() {
    // RFC 6455, 1.3.
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    assert!(is_valid_key(key));
    assert_eq!(encode_key(*b"the sample nonce"), *key.as_bytes());
    assert_eq!(accept_key(key), *b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert!(is_valid_accept(key, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    for wrong in ["", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo", "S3pPLMBiTxaQ9kYGzzhZRbK+xOo="] {
        assert!(!is_valid_accept(key, wrong));
    }
}

#[test]
fn a_key_is_sixteen_bytes_in_base64() {
    for key in [[0; 16], [0xff; 16]] {
        assert!(is_valid_key(encode_key(key)));
    }
    for key in [
        "",
        "==",
        "dGhlIHNhbXBsZSBub25jZQ=",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25jZQQ=",
        "dGhlIHNhbXBsZSBub25jZQQQ",
        "dGhlIHNhbXBsZSBub25jZ===",
        "dGhlIHNhbXBsZSBub25j ZQ==",
        "dGhlIHNhbXBsZSBub25j-Q==",
        " dGhlIHNhbXBsZSBub25jZQ==",
        "dGhlIHNhbXBsZSBub25jZQAA==",
        "dGhlIHNhbXBsZSBub25jé==",
    ] {
        assert!(!is_valid_key(key), "{key}");
    }
}
