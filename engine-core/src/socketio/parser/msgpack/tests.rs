use crate::engineio::{Message, Part};
use crate::socketio::parser::{Complete, Form, Parser};
use crate::socketio::{Args, DecodeError, EncodeError, Encoded, Encoder, Kind, Limits, OwnedArgs, Packet};
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;
use proptest::prelude::*;
use rmpv::Value;

/// A packet that was read, with its attachments.
#[derive(Debug, PartialEq)]
struct Read {
    kind: Kind,
    namespace: String,
    query: String,
    id: Option<u64>,
    data: String,
    event: Option<String>,
    attachments: Vec<Vec<u8>>,
}

fn read_with(message: &[u8], limits: &Limits) -> Result<Read, DecodeError> {
    let message = Message::Binary(message.into());
    match Parser::MessagePack.decode(&message, limits).0 {
        Form::Whole(complete) => Ok(told(&complete)),
        Form::Wrong(error) => Err(error),
        other => panic!("{other:?}"),
    }
}

fn read(message: &[u8]) -> Result<Read, DecodeError> {
    read_with(message, &Limits::default())
}

fn told(complete: &Complete<'_>) -> Read {
    let packet = complete.packet();
    let Packet { kind, namespace, query, id, data, .. } = packet;
    Read {
        kind,
        namespace: namespace.into(),
        query: query.into(),
        id,
        data: data.into(),
        event: packet.event().map(|name| name.into()),
        attachments: complete.attachments().iter().map(<[u8]>::to_vec).collect(),
    }
}

/// Writes a value by another implementation.
fn packed(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    rmpv::encode::write_value(&mut out, value).unwrap();
    out
}

fn map(fields: Vec<(&str, Value)>) -> Value {
    Value::Map(fields.into_iter().map(|(key, value)| (key.into(), value)).collect())
}

fn event(data: Vec<Value>) -> Vec<u8> {
    packed(&map(vec![("type", 2.into()), ("nsp", "/".into()), ("data", Value::Array(data))]))
}

/// Returns the JSON of an argument of an event, and its attachments.
fn argument(value: Value) -> Result<(String, Vec<Vec<u8>>), DecodeError> {
    let read = read(&event(vec!["e".into(), value]))?;
    let json = read.data.strip_prefix(r#"["e","#).and_then(|json| json.strip_suffix(']')).unwrap();
    Ok((json.into(), read.attachments))
}

fn json(value: Value) -> String {
    argument(value).unwrap().0
}

/// Reads the only message of a packet by another implementation.
fn sent(encoded: Result<Encoded<'_>, EncodeError>) -> Value {
    let encoded = encoded.unwrap();
    let parts: Vec<_> = encoded.parts().collect();
    let [Part::Binary(bytes)] = parts[..] else { panic!("{parts:?}") };
    let mut rest = bytes;
    let value = rmpv::decode::read_value(&mut rest).unwrap();
    assert!(rest.is_empty());
    value
}

fn encoder() -> Encoder {
    Encoder::with_parser(Parser::MessagePack)
}

/// Sets the length in an array or a map of 15 elements or more.
fn header(marker: u8, len: u32) -> Vec<u8> {
    [&[marker][..], &len.to_be_bytes()].concat()
}

#[test]
fn the_packets_of_javascript_are_read() {
    // Written by socket.io-client 4.8 with socket.io-msgpack-parser 3.0.
    let connect = b"\x83\xa4type\x00\xa3nsp\xa1/\xa4data\xd4\x00\x00";
    let expected = Read {
        kind: Kind::Connect,
        namespace: "/".into(),
        query: "".into(),
        id: None,
        data: "".into(),
        event: None,
        attachments: vec![],
    };
    assert_eq!(read(connect), Ok(expected));
    let event = b"\x85\xa4type\x02\xa4data\x93\xa1e\xc4\x02\x01\x02\xcb\x3f\xf8\0\0\0\0\0\0\
        \xa7options\x81\xa8compress\xc3\xa2id\x07\xa3nsp\xa5/chat";
    let expected = Read {
        kind: Kind::Event,
        namespace: "/chat".into(),
        query: "".into(),
        id: Some(7),
        data: r#"["e",{"_placeholder":true,"num":0},1.5]"#.into(),
        event: Some("e".into()),
        attachments: vec![vec![1, 2]],
    };
    assert_eq!(read(event), Ok(expected));
}

#[test]
fn fields_may_come_in_any_order_and_unknown_ones_are_skipped() {
    let fields = [
        ("type", 3.into()),
        ("nsp", "/a?b=c".into()),
        ("id", 5.into()),
        ("data", Value::Array(vec![Value::Binary(vec![9])])),
        ("options", map(vec![("compress", true.into())])),
        ("type ", Value::Array(vec![1.into(); 20])),
    ];
    for at in 0..fields.len() {
        let mut fields = fields.to_vec();
        fields.rotate_left(at);
        for _ in 0..2 {
            fields.reverse();
            let read = read(&packed(&map(fields.clone()))).unwrap();
            assert_eq!((read.kind, &*read.namespace, &*read.query), (Kind::Ack, "/a", "b=c"));
            assert_eq!((read.id, &*read.data), (Some(5), r#"[{"_placeholder":true,"num":0}]"#));
            assert_eq!((read.event, read.attachments), (None, vec![vec![9]]));
        }
    }
    let with_number = Value::Map(vec![
        ("type".into(), 1.into()),
        (1.into(), 2.into()),
        ("nsp".into(), "/".into()),
        ("data".into(), Value::Nil),
    ]);
    assert_eq!(read(&packed(&with_number)).map(|read| read.kind), Ok(Kind::Disconnect));
}

#[test]
fn a_packet_without_the_fields_of_its_type_is_refused() {
    use DecodeError::{Empty, Id, MessagePack, Namespace, NamespaceTooLong, Payload, ReservedEvent, Type};
    let list = || Value::Array(vec!["e".into()]);
    let nsp = || ("nsp", Value::from("/"));
    for (fields, expected) in [
        (vec![nsp(), ("data", list())], Type),
        (vec![("type", 5.into()), nsp(), ("data", list())], Type),
        (vec![("type", 6.into()), nsp(), ("id", 1.into()), ("data", list())], Type),
        (vec![("type", "2".into()), nsp(), ("data", list())], Type),
        (vec![("type", (-1).into()), nsp(), ("data", list())], Type),
        (vec![("type", 2.into()), ("data", list())], Namespace),
        (vec![("type", 2.into()), ("nsp", 1.into()), ("data", list())], Namespace),
        (vec![("type", 2.into()), ("nsp", "chat".into()), ("data", list())], Namespace),
        (vec![("type", 2.into()), ("nsp", "".into()), ("data", list())], Namespace),
        (vec![("type", 2.into()), ("nsp", "/a,b".into()), ("data", list())], Namespace),
        (vec![("type", 2.into()), ("nsp", "/\u{1e}".into()), ("data", list())], Namespace),
        (vec![("type", 2.into()), ("nsp", "/".repeat(513).into()), ("data", list())], NamespaceTooLong),
        (vec![("type", 2.into()), nsp()], Payload),
        (vec![("type", 2.into()), nsp(), ("data", Value::Nil)], Payload),
        (vec![("type", 2.into()), nsp(), ("data", "e".into())], Payload),
        (vec![("type", 2.into()), nsp(), ("data", map(vec![("e", 1.into())]))], Payload),
        (vec![("type", 2.into()), nsp(), ("data", Value::Array(vec![]))], Payload),
        (vec![("type", 2.into()), nsp(), ("data", Value::Array(vec![list()]))], Payload),
        (vec![("type", 2.into()), nsp(), ("data", Value::Array(vec![Value::Binary(vec![])]))], Payload),
        (vec![("type", 2.into()), nsp(), ("data", Value::Array(vec![1.5.into()]))], Payload),
        (vec![("type", 2.into()), nsp(), ("data", Value::Array(vec!["connect".into()]))], ReservedEvent),
        (vec![("type", 2.into()), nsp(), ("data", list()), ("id", "1".into())], Id),
        (vec![("type", 2.into()), nsp(), ("data", list()), ("id", (-1).into())], Id),
        (vec![("type", 2.into()), nsp(), ("data", list()), ("id", (1_u64 << 53).into())], Id),
        (vec![("type", 3.into()), nsp(), ("data", list())], Id),
        (vec![("type", 0.into()), nsp(), ("id", 1.into())], Id),
        (vec![("type", 0.into()), nsp(), ("data", list())], Payload),
        (vec![("type", 0.into()), nsp(), ("data", map(vec![("a", Value::Binary(vec![]))]))], Payload),
        (vec![("type", 1.into()), nsp(), ("data", 1.into())], Payload),
        (vec![("type", 4.into()), nsp(), ("data", 1.into())], Payload),
        (vec![("type", 2.into()), ("type", 2.into()), nsp(), ("data", list())], MessagePack),
        (vec![("type", 2.into()), nsp(), nsp(), ("data", list())], MessagePack),
        (vec![("type", 2.into()), nsp(), ("data", list()), ("data", list())], MessagePack),
    ] {
        assert_eq!(read(&packed(&map(fields.clone()))), Err(expected), "{fields:?}");
    }
    assert_eq!(read(b""), Err(Empty));
    for other in [Value::Nil, 1.into(), "2[]".into(), Value::Array(vec![2.into()]), map(vec![])] {
        assert!(read(&packed(&other)).is_err());
    }
    let text = Message::Text("2[\"e\"]");
    let decoded = Parser::MessagePack.decode(&text, &Limits::default());
    assert!(matches!(decoded.0, Form::Wrong(DecodeError::NotBinary)));
}

#[test]
fn numbers_keep_their_value_up_to_64_bits() {
    for number in [0, 1, 127, 128, 255, 256, 65_536, u32::MAX.into(), 1 << 53, u64::MAX] {
        assert_eq!(json(number.into()), number.to_string());
    }
    for number in [-1, -32, -33, -129, -40_000, i32::MIN.into(), i64::MIN] {
        assert_eq!(json(number.into()), number.to_string());
    }
    for (number, expected) in [(0.1, "0.1"), (-0.0, "-0.0"), (1e300, "1e+300"), (3.0, "3.0")] {
        assert_eq!(json(Value::F64(number)), expected);
    }
    assert_eq!(json(Value::F32(0.5)), "0.5");
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(json(Value::F64(number)), "null");
    }
}

#[test]
fn dates_and_undefined_are_read_as_json_stringify_writes_them() {
    let date = 1_700_000_000_123_i64;
    let undefined = || Value::Ext(0, vec![0]);
    assert_eq!(json(Value::Ext(0, date.to_be_bytes().to_vec())), r#""2023-11-14T22:13:20.123Z""#);
    assert_eq!(
        json(Value::Ext(-1, 1_700_000_000_u32.to_be_bytes().to_vec())),
        r#""2023-11-14T22:13:20.000Z""#
    );
    assert_eq!(json(undefined()), "null");
    assert_eq!(json(Value::Array(vec![undefined(), 1.into(), undefined()])), "[null,1,null]");
    let members = vec![("a", undefined()), ("b", 1.into()), ("c", undefined()), ("d", 2.into())];
    assert_eq!(json(map(members)), r#"{"b":1,"d":2}"#);
    assert_eq!(json(map(vec![("a", undefined())])), "{}");
    assert_eq!(json(map(vec![("a", map(vec![("b", undefined())])), ("c", undefined())])), r#"{"a":{}}"#);
    // As notepack.io reads it.
    let other = argument(Value::Ext(5, vec![1, 2])).unwrap();
    assert_eq!(other, (r#"[5,{"_placeholder":true,"num":0}]"#.into(), vec![vec![1, 2]]));
}

#[test]
fn an_array_buffer_of_javascript_is_bytes_of_any_length() {
    for len in [0, 1, 2, 8, 12, 16, 255] {
        let data = vec![7; len];
        let head = [&b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x92\xa1e\x81\xa1a"[..], &[0xc7, len as u8, 0]];
        let read = read(&[&head.concat(), &data[..]].concat()).unwrap();
        assert_eq!(
            (&*read.data, read.attachments),
            (r#"["e",{"a":{"_placeholder":true,"num":0}}]"#, vec![data])
        );
    }
}

#[test]
fn strings_are_escaped_and_halves_of_surrogate_pairs_replaced() {
    let text = "quote\" backslash\\ line\n\r\t \u{0}\u{1f}\u{7f} é 😀";
    assert_eq!(serde_json::from_str::<String>(&json(text.into())).unwrap(), text);
    let broken = b"\x93\xa1e\xa5a\xed\xa0\xbdb\xa2\xc3(";
    let message = [&b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data"[..], broken].concat();
    assert_eq!(read(&message).unwrap().data, "[\"e\",\"a\u{fffd}b\",\"\u{fffd}(\"]");
    let key = Value::Map(vec![("a\"".into(), 1.into()), (7.into(), 2.into()), ((-7).into(), 3.into())]);
    assert_eq!(json(key), r#"{"a\"":1,"7":2,"-7":3}"#);
    assert_eq!(argument(Value::Map(vec![(Value::Nil, 1.into())])), Err(DecodeError::MessagePack));
}

#[test]
fn lengths_that_announce_more_than_there_is_are_errors() {
    let begin = b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x92\xa1e";
    for marker in [0xdb, 0xc6, 0xc9, 0xdd, 0xdf] {
        for len in [1 << 8, 1 << 16, u32::MAX] {
            let message = [&begin[..], &header(marker, len), b"\x01\x01\x01"].concat();
            assert_eq!(read(&message), Err(DecodeError::MessagePack), "{marker:x} {len}");
        }
    }
    assert_eq!(read(&header(0xdf, u32::MAX)), Err(DecodeError::MessagePack));
    let whole = event(vec!["e".into(), map(vec![("a", Value::Binary(vec![1; 40]))])]);
    assert!(read(&whole).is_ok());
    for end in 0..whole.len() {
        assert!(read(&whole[..end]).is_err(), "cut at {end}");
    }
    assert_eq!(read(&[&whole[..], b"\xc0"].concat()), Err(DecodeError::MessagePack));
}

#[test]
fn an_array_or_a_map_is_no_key() {
    for key in [0x80, 0x81, 0x90, 0x91] {
        for value in [&b"\xc0"[..], b"\x01", b"\xd4\0\0"] {
            let field = [&b"\x84\xa4type\x02\xa3nsp\xa1/\xa4data\x91\xa1e"[..], &[key], value].concat();
            assert_eq!(read(&field), Err(DecodeError::MessagePack), "{key:x} {value:x?}");
            let member = [&b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x92\xa1e\x81"[..], &[key], value].concat();
            assert_eq!(read(&member), Err(DecodeError::MessagePack), "{key:x} {value:x?}");
        }
    }
}

#[test]
fn depth_and_attachments_are_limited() {
    let nested = |depth: usize| {
        let begin = b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x92\xa1e";
        [&begin[..], &vec![0x91; depth], b"\xc0"].concat()
    };
    assert!(read(&nested(127)).is_ok());
    assert_eq!(read(&nested(128)), Err(DecodeError::Depth));
    assert_eq!(read(&nested(1_000_000)), Err(DecodeError::Depth));
    let low = Limits { max_depth: 2, ..Limits::default() };
    assert!(read_with(&nested(1), &low).is_ok());
    assert_eq!(read_with(&nested(2), &low), Err(DecodeError::Depth));
    // What is skipped is not kept on a stack.
    let skipped =
        [&b"\x84\xa1x"[..], &vec![0x91; 1_000_000], b"\xc0\xa4type\x02\xa3nsp\xa1/\xa4data\x91\xa1e"];
    assert!(read(&skipped.concat()).is_ok());

    let list = |count| event(vec!["e".into(), Value::Array(vec![Value::Binary(vec![1; 5]); count])]);
    assert_eq!(read(&list(10)).map(|read| read.attachments.len()), Ok(10));
    assert_eq!(read(&list(11)), Err(DecodeError::TooManyAttachments));
    let small = Limits { max_attachment_bytes: 10, ..Limits::default() };
    assert!(read_with(&list(2), &small).is_ok());
    assert_eq!(read_with(&list(3), &small), Err(DecodeError::AttachmentBytes));
    let long = event(vec!["x".repeat(513).into()]);
    assert_eq!(read(&long), Err(DecodeError::EventTooLong));
}

#[test]
fn an_object_beside_bytes_cannot_pass_as_a_placeholder() {
    let fake = || map(vec![("_placeholder", true.into()), ("num", 1000.into())]);
    assert_eq!(argument(Value::Array(vec![fake(), Value::Binary(vec![])])), Err(DecodeError::Attachment));
    assert_eq!(argument(Value::Array(vec![Value::Binary(vec![]), fake()])), Err(DecodeError::Attachment));
    assert_eq!(json(fake()), r#"{"_placeholder":true,"num":1000}"#);
}

#[test]
fn every_packet_is_written_as_one_map() {
    let mut encoder = encoder();
    let data = (1_u64 << 60, -5, 0.5, "é", Bytes::from_static(&[1, 2]), None::<u8>);
    let array = Value::Array(vec![
        "e".into(),
        (1_u64 << 60).into(),
        (-5).into(),
        Value::F64(0.5),
        "é".into(),
        Value::Binary(vec![1, 2]),
        Value::Nil,
    ]);
    let expected = map(vec![("type", 2.into()), ("nsp", "/".into()), ("data", array)]);
    assert_eq!(sent(encoder.event("/", None, "e", &data)), expected);
    let array = Value::Array(vec![map(vec![("ok", true.into())])]);
    let expected = map(vec![("type", 3.into()), ("nsp", "/a".into()), ("id", 300.into()), ("data", array)]);
    assert_eq!(sent(encoder.ack("/a", 300, &serde_json::json!({ "ok": true }))), expected);
    let expected = map(vec![("type", 0.into()), ("nsp", "/".into())]);
    assert_eq!(sent(encoder.connect("/", None)), expected);
    let token = map(vec![("token", "x".into())]);
    let expected = map(vec![("type", 0.into()), ("nsp", "/a".into()), ("data", token)]);
    assert_eq!(sent(encoder.connect("/a", Some(r#" { "token" : "x" } "#))), expected);
    let sid = map(vec![("sid", "abc".into())]);
    let expected = map(vec![("type", 0.into()), ("nsp", "/".into()), ("data", sid)]);
    assert_eq!(sent(encoder.connected("/", "abc")), expected);
    assert_eq!(sent(encoder.disconnect("/a")), map(vec![("type", 1.into()), ("nsp", "/a".into())]));
}

#[test]
fn a_refusal_is_an_object_as_the_reference_needs_it() {
    let mut encoder = encoder();
    let refusal = |data| map(vec![("type", 4.into()), ("nsp", "/".into()), ("data", data)]);
    let message = |text: &str| map(vec![("message", text.into())]);
    assert_eq!(sent(encoder.connect_error("/", &"no")), refusal(message("no")));
    assert_eq!(sent(encoder.connect_error("/", &())), refusal(message("")));
    let data = serde_json::json!({ "message": "no" });
    assert_eq!(sent(encoder.connect_error("/", &data)), refusal(message("no")));
}

#[test]
fn long_lists_and_maps_get_long_lengths() {
    for len in [0, 1, 14, 15, 16, 17, 65_534, 65_535, 65_536, 70_000] {
        let list: Vec<u8> = vec![1; len];
        let entries: alloc::collections::BTreeMap<String, u8> =
            (0..len).map(|at| (at.to_string(), 1)).collect();
        let mut encoder = encoder();
        let value = sent(encoder.event("/", None, "e", &(&list, &entries, "behind")));
        let data = value["data"].as_array().unwrap();
        assert_eq!((data[1].as_array().unwrap().len(), data[2].as_map().unwrap().len()), (len, len));
        assert_eq!(data[3].as_str(), Some("behind"));
    }
}

#[test]
fn a_string_is_appended_to_a_list_of_any_length() {
    for len in [0, 1, 13, 14, 15, 16, 17, 65_534, 65_535, 65_536] {
        let list = serde_json::to_string(&vec![7; len]).unwrap();
        let mut encoder = encoder();
        let encoded = encoder.forward_ack("/", 1, Args::new_ack(&list, &[])).unwrap();
        let packed = encoded.packed().unwrap();
        let mut out = packed.bytes.to_vec();
        super::append_str(&mut out, packed.data, "offset");
        let mut rest = &out[..];
        let value = rmpv::decode::read_value(&mut rest).unwrap();
        let data = value["data"].as_array().unwrap();
        assert_eq!((data.len(), data[len].as_str(), rest), (len + 1, Some("offset"), &[][..]));
        assert!(data[..len].iter().all(|value| value.as_u64() == Some(7)));
    }
}

#[test]
fn what_cannot_be_sent_as_text_cannot_be_sent() {
    let mut encoder = encoder();
    assert!(matches!(encoder.event("/", None, "connect", &()), Err(EncodeError::ReservedEvent)));
    assert!(matches!(encoder.event("a", None, "e", &()), Err(EncodeError::Namespace)));
    let fake = (serde_json::json!({ "_placeholder": true, "num": 0 }), Bytes::new());
    assert!(matches!(encoder.event("/", None, "e", &fake), Err(EncodeError::Placeholder)));
    assert!(matches!(encoder.connect("/", Some("[]")), Err(EncodeError::Auth)));
}

#[test]
fn an_encoder_writes_the_form_that_is_set_and_keeps_little_memory() {
    let mut encoder = encoder();
    encoder.event("/", None, "e", &"x".repeat(1 << 20)).unwrap();
    encoder.set_parser(Parser::Text);
    let text = encoder.event("/", None, "e", &()).unwrap();
    assert!(matches!(text.parts().next(), Some(Part::Text(br#"2["e"]"#))));
    encoder.trim();
    assert_eq!(encoder.capacity(), 0);
}

/// Any value that JSON can express, with bytes.
fn values() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Nil),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter("finite", |number| number.is_finite()).prop_map(Value::F64),
        ".{0,40}".prop_map(Value::from),
        "[a-z]{0,300}".prop_map(Value::from),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Value::Binary),
    ];
    scalar.prop_recursive(4, 40, 20, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..20).prop_map(Value::Array),
            prop::collection::btree_map("[a-z\"\\\\é]{0,9}", inner, 0..20).prop_map(|members| {
                Value::Map(members.into_iter().map(|(key, value)| (key.into(), value)).collect())
            }),
        ]
    })
}

proptest! {
    /// What another implementation writes is read, sent on, and read by it as the same.
    #[test]
    fn any_value_survives_both_ways(values in prop::collection::vec(values(), 0..5), id in 0..=crate::socketio::MAX_ID) {
        let limits = Limits { max_attachments: 9999, ..Limits::default() };
        let data: Vec<Value> = [Value::from("event")].into_iter().chain(values).collect();
        let fields = vec![("type", 2.into()), ("nsp", "/a".into()), ("id", id.into()), ("data", Value::Array(data))];
        let value = map(fields);
        let message = packed(&value);
        let decoded = Message::Binary(message.as_slice().into());
        let Form::Whole(complete) = Parser::MessagePack.decode(&decoded, &limits).0 else { panic!("{value}") };
        let packet = complete.packet();
        prop_assert!(serde_json::from_str::<serde::de::IgnoredAny>(packet.data).is_ok());
        let args = packet.args(complete.attachments()).unwrap();
        let mut encoder = encoder();
        let again = sent(encoder.forward_event("/a", Some(id), "event", args));
        prop_assert_eq!(&again, &value);
        // By way of a text packet, too.
        encoder.set_parser(Parser::Text);
        let text = encoder.forward_event("/a", Some(id), "event", args).unwrap();
        let owned: OwnedArgs = text.event_args();
        encoder.set_parser(Parser::MessagePack);
        let list = Args::new_event(owned.as_args().json(), owned.attachments());
        prop_assert_eq!(&sent(encoder.forward_event("/a", Some(id), "event", list)), &value);
    }

    #[test]
    fn no_bytes_are_too_wrong(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes);
        let begin = b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x92\xa1e";
        let message = [&begin[..], &bytes].concat();
        if let Ok(read) = read(&message) {
            prop_assert!(serde_json::from_str::<serde::de::IgnoredAny>(&read.data).is_ok(), "{}", read.data);
            prop_assert!(rmpv::decode::read_value(&mut &message[..]).is_ok());
        }
    }
}
