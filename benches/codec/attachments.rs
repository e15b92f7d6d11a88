//! Events with attachments: reassembled from their messages, and encoded.

use crate::beside;
use bytes::Bytes;
use criterion::Criterion;
use engineioxide_core::Str;
use socketioxide_core::Value;
use socketioxide_core::packet::{Packet as TheirPacket, PacketData};
use socketioxide_core::parser::{Parse, ParseConfig, ParseError, ParserState};
use socketioxide_parser_common::CommonParser;
use sockeye_core::socketio::{Encoder, Limits, Packet, Reassembly};
use std::hint::black_box;

/// The number and size of the attachments.
const SHAPES: [(&str, usize, usize); 3] =
    [("1x4KiB", 1, 4096), ("10x4KiB", 10, 4096), ("1x256KiB", 1, 256 << 10)];

pub(crate) fn decode(c: &mut Criterion) {
    for (name, count, size) in SHAPES {
        let text = text(count);
        // Both sides copy the attachments out of this buffer, as out of one that was read into.
        let data = Bytes::from(vec![0xa5; size]);
        let limits = Limits::default();
        let ours = || our_decode(black_box(&text), count, &data, &limits);

        let shared = Str::from(text.clone());
        let (config, state) = (ParseConfig::default(), ParserState::default());
        let theirs = || their_decode(black_box(&shared).clone(), count, &data, &config, &state);

        assert_eq!(ours(), vec![data.clone(); count]);
        assert_eq!(theirs(), vec![data.clone(); count]);
        beside(c, "decode_attachments", name, text.len() + count * size, ours, "socketioxide", theirs);
    }
}

pub(crate) fn encode(c: &mut Criterion) {
    for (name, count, size) in SHAPES {
        let text = text(count);
        let list = vec![Bytes::from(vec![0xa5; size]); count];
        let mut encoder = Encoder::new();
        let mut ours = || {
            let encoded = encoder.event("/", None, "bin", black_box(&list)).expect("it can be sent");
            (encoded.text.len(), encoded.attachments().map(<[u8]>::len).sum::<usize>())
        };
        let theirs = || {
            let value = CommonParser.encode_value(black_box(&list), Some("bin")).expect("it can be sent");
            let Value::Str(text, attachments) = CommonParser.encode(TheirPacket::event("/", value)) else {
                panic!("not a message of text")
            };
            (text.len(), attachments.unwrap_or_default().iter().map(Bytes::len).sum())
        };
        assert_eq!(ours(), (text.len(), count * size));
        assert_eq!(theirs(), (text.len(), count * size));
        beside(c, "encode_attachments", name, text.len() + count * size, &mut ours, "socketioxide", theirs);
    }
}

/// Returns the text of an event whose only argument is a list of attachments.
fn text(count: usize) -> String {
    let placeholders: Vec<_> = (0..count).map(|i| format!(r#"{{"_placeholder":true,"num":{i}}}"#)).collect();
    format!(r#"5{count}-["bin",[{}]]"#, placeholders.join(","))
}

fn our_decode(text: &str, count: usize, data: &Bytes, limits: &Limits) -> Vec<Bytes> {
    let mut reassembly = Reassembly::new();
    let packet = Packet::decode(text, limits).expect("a packet");
    reassembly.begin(&packet).expect("it is right");
    for _ in 1..count {
        assert!(reassembly.add(data, limits).expect("it fits").is_none());
    }
    let complete = reassembly.add(data, limits).expect("it fits").expect("it is the last");
    let packet = complete.packet();
    assert_eq!(packet.event().as_deref(), Some("bin"));
    packet.args(complete.attachments()).expect("an event").deserialize().expect("a list of attachments")
}

fn their_decode(
    text: Str,
    count: usize,
    data: &Bytes,
    config: &ParseConfig,
    state: &ParserState,
) -> Vec<Bytes> {
    let more = CommonParser.decode_str(config, state, text);
    assert!(matches!(more, Err(ParseError::NeedsMoreBinaryData)));
    for _ in 1..count {
        let more = CommonParser.decode_bin(config, state, data.clone());
        assert!(matches!(more, Err(ParseError::NeedsMoreBinaryData)));
    }
    let packet = CommonParser.decode_bin(config, state, data.clone()).expect("it is the last");
    let PacketData::BinaryEvent(mut value, _) = packet.inner else { panic!("not a binary event") };
    assert_eq!(CommonParser.read_event(&value).expect("it has a name"), "bin");
    CommonParser.decode_value(&mut value, true).expect("a list of attachments")
}
