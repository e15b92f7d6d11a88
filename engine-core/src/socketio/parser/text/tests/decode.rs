use super::{any_text, nested};
use crate::socketio::{DecodeError, Kind, Limits, MAX_ID, Packet};
use proptest::prelude::*;
use std::borrow::{Cow, ToOwned};
use std::string::String;
use std::{format, vec};

fn decode(text: &str) -> Result<Packet<'_>, DecodeError> {
    Packet::decode(text, &Limits::default())
}

#[track_caller]
fn rejected(expected: DecodeError, texts: &[&str]) {
    for text in texts {
        assert_eq!(decode(text), Err(expected), "{text:?}");
    }
}

#[track_caller]
fn event(text: &str) -> (&str, Option<u64>, String) {
    let packet = decode(text).unwrap();
    (packet.namespace, packet.id, packet.event().unwrap().into_owned())
}

#[test]
fn official_examples_decode() {
    assert_eq!(event(r#"2["hello",1]"#), ("/", None, "hello".to_owned()));
    assert_eq!(
        event(r#"2/admin,456["project:delete",123]"#),
        ("/admin", Some(456), "project:delete".to_owned())
    );
    let ack = decode("3/admin,456[]").unwrap();
    assert_eq!((ack.kind, ack.namespace, ack.id, ack.data), (Kind::Ack, "/admin", Some(456), "[]"));
    let connect = decode(r#"0/admin,{"sid":"oSO0OpakMV_3jnilAAAA"}"#).unwrap();
    assert_eq!((connect.kind, connect.data), (Kind::Connect, r#"{"sid":"oSO0OpakMV_3jnilAAAA"}"#));
    let error = decode(r#"4/admin,{"message":"Not authorized"}"#).unwrap();
    assert_eq!((error.kind, error.data), (Kind::ConnectError, r#"{"message":"Not authorized"}"#));
    let binary = decode(r#"51-["hello",{"_placeholder":true,"num":0}]"#).unwrap();
    assert_eq!((binary.kind, binary.attachments), (Kind::BinaryEvent, 1));
    assert_eq!(binary.event().as_deref(), Some("hello"));
    let ack = decode(r#"61-/admin,456[{"_placeholder":true,"num":0}]"#).unwrap();
    assert_eq!((ack.kind, ack.namespace, ack.id), (Kind::BinaryAck, "/admin", Some(456)));
    assert_eq!(ack.event(), None);
}

#[test]
fn event_name_is_borrowed_unless_it_has_escapes() {
    assert!(matches!(decode(r#"2["a"]"#).unwrap().event(), Some(Cow::Borrowed("a"))));
    assert_eq!(event(r#"2["\u0061\n"]"#).2, "a\n");
    assert_eq!(event("2[1]").2, "1");
    assert_eq!(event("2[ -7 , 1]").2, "-7");
    assert_eq!(event(r#"2[""]"#).2, "");
    assert_eq!(event(r#"2["\ud800"]"#).2, "\u{fffd}");
}

#[test]
fn names_that_are_special_in_javascript_are_ordinary() {
    for name in ["__proto__", "toString", "constructor", "error", "Connect", "connect "] {
        assert_eq!(event(&format!("2[\"{name}\"]")).2, name);
        let text = format!("0/{name},");
        assert_eq!(decode(&text).unwrap().namespace, format!("/{name}"));
    }
    let auth = r#"{"__proto__":{"a":1}}"#;
    assert_eq!(decode(&format!("0{auth}")).unwrap().data, auth);
}

#[test]
fn an_empty_packet_is_an_error() {
    rejected(DecodeError::Empty, &[""]);
}

#[test]
fn the_type_is_a_digit_from_0_to_6() {
    rejected(DecodeError::Type, &["7", "9[]", "a", "-1", " 2[\"a\"]", "\u{e9}", "[\"a\"]", "/"]);
}

#[test]
fn the_attachment_count_is_digits_and_a_hyphen() {
    rejected(
        DecodeError::AttachmentCount,
        &[
            "5",
            "6",
            "51",
            "5a-",
            "51.23-",
            "51.0-[\"a\"]",
            "5-[\"a\"]",
            "5 -[\"a\"]",
            "5 1-[\"a\"]",
            "5+1-[\"a\"]",
            "51e0-[\"a\"]",
            "50x1-[\"a\"]",
            "5-1-[\"a\"]",
            "5\u{661}-[\"a\"]",
            "51 -[\"a\"]",
            "50-[\"a\"]",
            "60-1[]",
            "50000-[\"a\"]",
            "500001-[\"a\"]",
            "51000000000000-[\"a\"]",
            "599999999999999999999999-[\"a\"]",
            "5[\"a\"]",
        ],
    );
    assert_eq!(decode("51-[\"a\"]").unwrap().attachments, 1);
}

#[test]
fn attachments_are_limited_to_ten_unless_configured() {
    assert_eq!(decode("510-[\"a\"]").unwrap().attachments, 10);
    rejected(DecodeError::TooManyAttachments, &["511-[\"a\"]", "59999-[\"a\"]"]);
    let limits = Limits { max_attachments: usize::MAX, ..Limits::default() };
    assert_eq!(Packet::decode("59999-[\"a\"]", &limits).unwrap().attachments, 9999);
    assert_eq!(Packet::decode("510000-[\"a\"]", &limits), Err(DecodeError::AttachmentCount));
}

#[test]
fn an_attachment_count_in_a_packet_without_attachments_is_data() {
    assert_eq!(event(r#"2["-","51-"]"#).2, "-");
    rejected(DecodeError::Json, &["21-[\"a\"]"]);
}

#[test]
fn ids_are_digits_and_less_than_two_to_the_53() {
    assert_eq!(event("20[\"x\"]").1, Some(0));
    assert_eq!(event("2007[\"a\"]").1, Some(7));
    assert_eq!(event(&format!("2{MAX_ID}[\"a\"]")).1, Some(9_007_199_254_740_991));
    let zeros = format!("2{}1[\"a\"]", "0".repeat(1000));
    assert_eq!(event(&zeros).1, Some(1));
    rejected(
        DecodeError::Id,
        &["29007199254740992[\"a\"]", "299999999999999999999[\"a\"]", "39007199254740992[]"],
    );
    rejected(
        DecodeError::Json,
        &["2 [\"a\"]", "2\n[\"a\"]", "2 1[\"a\"]", "21 [\"a\"]", "2+1[\"a\"]", "2/a, [\"a\"]", "21.5[\"a\"]"],
    );
    // A negative number is data, which must be an array.
    rejected(DecodeError::Json, &["2-1[\"a\"]"]);
}

#[test]
fn an_event_needs_an_array_that_begins_with_a_name() {
    rejected(
        DecodeError::Payload,
        &[
            "2",
            "21",
            "2/nsp",
            "2/adm[\"a\"]",
            "2[]",
            "2[null]",
            "2[{}]",
            "2[true,\"x\"]",
            "2[1.5]",
            "2[1e3]",
            "2[[\"a\"]]",
            "2{}",
            "2{\"a\":1}",
            "2\"x\"",
            "2null",
            "2[{\"toString\":\"foo\"}]",
            "51-",
            "51-{}",
            "51-[]",
        ],
    );
    rejected(DecodeError::Json, &["2[\"a\"", "2[\"a\"]junk", "2[\"a", "2[\"a\"][\"b\"]", "2[nul]", "2["]);
    assert_eq!(decode("2[\"a\"] \n").unwrap().data, "[\"a\"]");
}

#[test]
fn reserved_names_are_refused_however_they_are_written() {
    for name in ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"] {
        let escaped = format!("\\u{:04x}{}", name.as_bytes()[0], &name[1..]);
        for text in [
            format!("2[\"{name}\"]"),
            format!("2[\"{escaped}\",1]"),
            format!("2/adm,1[ \"{name}\" ]"),
            format!("51-[\"{name}\",{{\"_placeholder\":true,\"num\":0}}]"),
        ] {
            rejected(DecodeError::ReservedEvent, &[&text]);
        }
        // As an argument or in an acknowledgement the name is data.
        assert!(decode(&format!("2[\"a\",\"{name}\"]")).is_ok());
        assert!(decode(&format!("31[\"{name}\"]")).is_ok());
    }
}

#[test]
fn the_event_name_is_limited_in_bytes() {
    assert_eq!(event(&format!("2[\"{}\"]", "x".repeat(512))).2.len(), 512);
    let texts = [format!("2[\"{}\"]", "x".repeat(513)), format!("2[{}]", "1".repeat(513))];
    rejected(DecodeError::EventTooLong, &[&texts[0], &texts[1]]);
}

#[test]
fn an_acknowledgement_needs_an_id_and_an_array() {
    rejected(DecodeError::Id, &["3", "3[]", "3[\"a\"]", "3/adm,[]", "61-[]"]);
    rejected(DecodeError::Payload, &["31", "31{}", "31\"x\"", "3/adm,1", "61-1"]);
    assert_eq!(decode("3999[\"x\"]").unwrap().id, Some(999));
}

#[test]
fn connect_data_is_an_object_or_absent() {
    for text in ["0", "0/admin", "0/admin,", "0{}", "0/admin,{}", "0{\"token\":\"1\"}"] {
        assert_eq!(decode(text).unwrap().kind, Kind::Connect, "{text:?}");
    }
    rejected(DecodeError::Payload, &["0[]", "0null", "0\"x\"", "0true", "0/admin,[]"]);
    rejected(DecodeError::Json, &["0{", "0{}{}", "0 ", "0/adm, "]);
    rejected(DecodeError::Id, &["01", "01{}", "0/adm,5", "1/adm,5", "45\"x\""]);
}

#[test]
fn disconnect_has_no_data() {
    assert_eq!(decode("1").unwrap().namespace, "/");
    assert_eq!(decode("1/admin,").unwrap().namespace, "/admin");
    assert_eq!(decode("1/admin").unwrap().namespace, "/admin");
    rejected(DecodeError::Payload, &["1{}", "1[]", "1\"x\""]);
}

#[test]
fn connect_error_data_is_a_string_an_object_or_absent() {
    for text in ["4", "4\"x\"", "4{\"message\":\"x\"}", "4/none,\"Unable to connect\"", "4/none,"] {
        assert_eq!(decode(text).unwrap().kind, Kind::ConnectError, "{text:?}");
    }
    rejected(DecodeError::Payload, &["4null", "4[]", "4true", "4[\"some\",\"data\"]"]);
    rejected(DecodeError::Id, &[r#"42["some","data","that","breaks","stuff"]"#]);
}

#[test]
fn a_namespace_ends_at_a_comma_or_with_the_packet() {
    assert_eq!(event("2/,[\"a\"]").0, "/");
    assert_eq!(event("2/a/b,1[\"a,b\"]"), ("/a/b", Some(1), "a".to_owned() + ",b"));
    assert_eq!(decode("0/no such,").unwrap().namespace, "/no such");
    assert_eq!(decode("0/\u{0}\u{e9},").unwrap().namespace, "/\u{0}\u{e9}");
    // Without a comma, the rest of the packet is the name.
    assert_eq!(decode("0/a{}").unwrap().namespace, "/a{}");
}

#[test]
fn the_query_is_split_off_the_namespace() {
    let packet = decode("0/admin?x=1&y=/?,{}").unwrap();
    assert_eq!((packet.namespace, packet.query, packet.data), ("/admin", "x=1&y=/?", "{}"));
    let packet = decode("0/?x=1").unwrap();
    assert_eq!((packet.namespace, packet.query), ("/", "x=1"));
}

#[test]
fn the_namespace_is_limited_in_bytes() {
    let name = format!("/{}", "n".repeat(511));
    assert_eq!(decode(&format!("0{name},")).unwrap().namespace, name);
    assert_eq!(decode(&format!("0{name}")).unwrap().namespace, name);
    let long = [
        format!("0{name}n,"),
        format!("0{name}n"),
        format!("0/{}", "n".repeat(5000)),
        format!("0/{},", "\u{e9}".repeat(256)),
        format!("2/?{},[\"a\"]", "q".repeat(511)),
    ];
    for text in &long {
        rejected(DecodeError::NamespaceTooLong, &[text]);
    }
    let tiny = Limits { max_namespace_len: 0, ..Limits::default() };
    assert!(Packet::decode("0", &tiny).is_ok());
    assert_eq!(Packet::decode("0/", &tiny), Err(DecodeError::NamespaceTooLong));
    let unlimited = Limits { max_namespace_len: usize::MAX, ..Limits::default() };
    assert_eq!(Packet::decode(&long[0], &unlimited).unwrap().namespace.len(), 513);
}

/// It can arrive over WebSocket, but no answer could go through a payload of polling.
#[test]
fn a_namespace_with_the_separator_of_payloads_is_rejected() {
    rejected(DecodeError::Namespace, &["0/a\u{1e}", "0/a\u{1e}b,", "2/\u{1e}?x=y,[\"a\"]", "1/\u{1e}"]);
    assert_eq!(Packet::decode("0/a?\u{1e}", &Limits::default()).unwrap().namespace, "/a");
}

#[test]
fn deeply_nested_json_is_an_error_and_no_stack_overflow() {
    let deep = |depth| nested("[", depth, "]");
    assert!(decode(&format!("2[\"a\",{}]", deep(127))).is_ok());
    for text in [
        format!("2[\"a\",{}]", deep(128)),
        format!("2[\"a\",{}]", deep(100_000)),
        format!("51-[\"a\",{}]", deep(100_000)),
        format!("2{}", "[".repeat(100_000)),
        format!("0{}", "{\"a\":".repeat(100_000)),
    ] {
        assert_eq!(decode(&text), Err(DecodeError::Depth));
    }
    let shallow = Limits { max_depth: 1, ..Limits::default() };
    assert!(Packet::decode("2[\"a\",1]", &shallow).is_ok());
    assert_eq!(Packet::decode("2[\"a\",[]]", &shallow), Err(DecodeError::Depth));
}

#[test]
fn protocol_syntax_inside_strings_is_data() {
    for text in ["-", ",", "/", "[", "51-", r#"{\"_placeholder\":true,\"num\":0}"#, "\\ud800"] {
        let json = format!("[\"{text}\",\"{text}\"]");
        assert_eq!(decode(&format!("2{json}")).unwrap().data, json);
    }
}

#[test]
fn a_placeholder_in_an_event_without_attachments_is_an_object() {
    let packet = decode(r#"2["a",{"_placeholder":true,"num":0}]"#).unwrap();
    let args = packet.args(&[]).unwrap();
    let value: serde_json::Value = args.deserialize().unwrap();
    assert_eq!(value, serde_json::json!({"_placeholder": true, "num": 0}));
}

#[test]
fn types_stay_small() {
    assert!(size_of::<Packet<'_>>() <= 112);
    assert_eq!(size_of::<DecodeError>(), 1);
}

fn packet_like() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(
        &[
            "0",
            "1",
            "2",
            "5",
            "6",
            "51-",
            "-",
            "/",
            "/adm",
            "?",
            ",",
            "12",
            "[",
            "]",
            "\"",
            "\"a\"",
            "{",
            "}",
            ":",
            " ",
            "\\",
            "null",
            "\u{e9}",
            "{\"_placeholder\":true,\"num\":0}",
            "connect",
        ][..],
    );
    prop_oneof![
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat()),
        any_text(),
        (0..7u8, any_text()).prop_map(|(kind, text)| format!("{kind}{text}")),
    ]
}

proptest! {
    #[test]
    fn a_decoded_packet_has_the_shape_of_its_kind(text in packet_like()) {
        let Ok(packet) = decode(&text) else { return Ok(()) };
        prop_assert!(packet.namespace.starts_with('/'));
        prop_assert!(!packet.namespace.contains(','));
        prop_assert_eq!(packet.kind.is_binary(), packet.attachments > 0);
        prop_assert_eq!(packet.kind.is_event(), packet.event().is_some());
        if !packet.data.is_empty() {
            prop_assert!(serde_json::from_str::<serde::de::IgnoredAny>(packet.data).is_ok());
        }
        if let Some(args) = packet.args(&[]) {
            prop_assert_eq!(args.iter().count(), args.len());
        }
    }

    #[test]
    fn a_truncated_packet_is_an_error(name in any_text(), cut in any::<prop::sample::Index>()) {
        let text = format!("2/adm,7{}", serde_json::to_string(&vec![format!("x{name}")]).unwrap());
        let at = cut.index(text.len());
        if let Some(part) = text.get(..at) {
            prop_assert!(decode(part).is_err());
        }
    }
}
