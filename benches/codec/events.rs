//! Events without attachments: from the text of an Engine.IO message to the type of a handler, and back.

use crate::beside;
use crate::inputs::{Chat, Input, Json1k, Text1k};
use criterion::Criterion;
use engineioxide_core::{Packet as TheirMessage, ProtocolVersion, Str};
use socketioxide_core::Value;
use socketioxide_core::packet::{Packet as TheirPacket, PacketData};
use socketioxide_core::parser::{Parse, ParseConfig, ParserState};
use socketioxide_parser_common::CommonParser;
use sockeye_core::engineio::{Message, Packet as OurMessage};
use sockeye_core::socketio::{Encoder, Limits, Packet as OurPacket};
use std::hint::black_box;

pub(crate) fn decode(c: &mut Criterion) {
    decode_one::<Chat>(c);
    decode_one::<Text1k>(c);
    decode_one::<Json1k>(c);
    #[cfg(rust_engineio)]
    decode_message(c);
}

pub(crate) fn encode(c: &mut Criterion) {
    encode_one::<Chat>(c);
    encode_one::<Text1k>(c);
    encode_one::<Json1k>(c);
}

fn decode_one<T: Input>(c: &mut Criterion) {
    let sample = T::sample();
    let text = sample.message();
    let limits = Limits::default();
    let ours = || our_decode::<T>(black_box(&text), &limits);

    // Its connections pass on what they read as shared text, so a clone costs only a reference count.
    let shared = Str::from(text.clone());
    let (config, state) = (ParseConfig::default(), ParserState::default());
    let theirs = || their_decode::<T>(black_box(&shared).clone(), &config, &state);

    assert_eq!(ours(), sample);
    assert_eq!(theirs(), sample);
    beside(c, "decode_event", T::NAME, text.len(), ours, "socketioxide", theirs);
}

fn our_decode<T: Input>(text: &str, limits: &Limits) -> T {
    let Ok(OurMessage::Message(Message::Text(text))) = OurMessage::decode(text) else {
        panic!("not a message of text")
    };
    let packet = OurPacket::decode(text, limits).expect("a packet");
    assert_eq!(packet.event().as_deref(), Some(T::EVENT));
    packet.args(&[]).expect("an event").deserialize().expect("of this type")
}

fn their_decode<T: Input>(text: Str, config: &ParseConfig, state: &ParserState) -> T {
    let Ok(TheirMessage::Message(text)) = TheirMessage::parse(ProtocolVersion::V4, text) else {
        panic!("not a message of text")
    };
    let packet = CommonParser.decode_str(config, state, text).expect("a packet");
    let PacketData::Event(mut value, _) = packet.inner else { panic!("not an event") };
    assert_eq!(CommonParser.read_event(&value).expect("it has a name"), T::EVENT);
    CommonParser.decode_value(&mut value, true).expect("of this type")
}

fn encode_one<T: Input>(c: &mut Criterion) {
    let sample = T::sample();
    let (mut encoder, mut message) = (Encoder::new(), Vec::new());
    let mut ours = || {
        message.clear();
        message.push(b'4');
        let encoded = encoder.event("/", None, T::EVENT, black_box(&sample)).expect("it can be sent");
        message.extend_from_slice(encoded.text);
        message.len()
    };
    let theirs = || their_encode(black_box(&sample));

    let text = sample.message();
    assert_eq!(ours(), text.len());
    assert_eq!(theirs(), text);
    beside(c, "encode_event", T::NAME, text.len(), &mut ours, "socketioxide", theirs);
    assert_eq!(message, text.as_bytes());
}

fn their_encode<T: Input>(data: &T) -> String {
    let value = CommonParser.encode_value(data, Some(T::EVENT)).expect("it can be sent");
    let Value::Str(text, _) = CommonParser.encode(TheirPacket::event("/", value)) else {
        panic!("not a message of text")
    };
    TheirMessage::Message(text).into()
}

/// Compares the Engine.IO layer alone, the only public parser of rust_engineio.
#[cfg(rust_engineio)]
fn decode_message(c: &mut Criterion) {
    let text = Chat::sample().message();
    let ours = || match OurMessage::decode(black_box(&text)) {
        Ok(OurMessage::Message(Message::Text(text))) => text.len(),
        _ => panic!("not a message of text"),
    };
    let shared = bytes::Bytes::from(text.clone());
    let theirs = || rust_engineio::Packet::try_from(black_box(&shared).clone()).expect("a packet").data.len();
    assert_eq!(ours(), theirs());
    beside(c, "decode_message", Chat::NAME, text.len(), ours, "rust_engineio", theirs);
}
