use super::{any_text, any_value, listed};
use crate::engineio::Id;
use crate::socketio::recovery::Pid;
use crate::socketio::{
    Attached, Complete, EncodeError, Encoded, Encoder, Limits, Packet, Reassembly, is_reserved,
};
use bytes::Bytes;
use proptest::prelude::*;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, vec};

fn text(encoded: Result<Encoded<'_>, EncodeError>) -> String {
    String::from_utf8(encoded.unwrap().text.to_vec()).unwrap()
}

fn event<A: Serialize + ?Sized>(args: &A) -> String {
    text(Encoder::new().event("/", None, "e", args))
}

#[test]
fn official_examples_encode_byte_for_byte() {
    let mut encoder = Encoder::new();
    let hello = Bytes::from_static(&[1, 2, 3]);
    assert_eq!(text(encoder.event("/", None, "hello", &(1,))), r#"2["hello",1]"#);
    assert_eq!(text(encoder.event("/", None, "hello", &1)), r#"2["hello",1]"#);
    assert_eq!(
        text(encoder.event("/admin", Some(456), "project:delete", &(123,))),
        r#"2/admin,456["project:delete",123]"#
    );
    assert_eq!(text(encoder.ack("/admin", 456, &())), "3/admin,456[]");
    assert_eq!(
        text(encoder.event("/", None, "hello", &hello)),
        r#"51-["hello",{"_placeholder":true,"num":0}]"#
    );
    assert_eq!(
        text(encoder.event("/admin", Some(456), "project:delete", &(&hello,))),
        r#"51-/admin,456["project:delete",{"_placeholder":true,"num":0}]"#
    );
    let ack = encoder.ack("/admin", 456, &hello).unwrap();
    assert_eq!(ack.text, br#"61-/admin,456[{"_placeholder":true,"num":0}]"#);
    assert_eq!(listed(ack.attachments()), [[1, 2, 3]]);
    assert_eq!(text(encoder.connected("/", "x")), r#"0{"sid":"x"}"#);
    assert_eq!(text(encoder.connected("/admin", "\"")), r#"0/admin,{"sid":"\""}"#);
    let pid = Pid { id: Id::from_random([0; 15]), secret: Id::from_random([0xff; 15]), is_foreign: false };
    let (id, both) = ("A".repeat(20), "A".repeat(20) + &"_".repeat(20));
    assert_eq!(text(encoder.connected_as("/", &pid)), format!(r#"0{{"sid":"{id}","pid":"{both}"}}"#));
    assert_eq!(text(encoder.connect("/admin", None)), "0/admin,");
    assert_eq!(text(encoder.connect("/", None)), "0");
    assert_eq!(text(encoder.connect("/admin", Some(r#"{"token": 1e3}"#))), r#"0/admin,{"token": 1e3}"#);
    assert_eq!(text(encoder.connect("/", Some(" {} "))), "0{}");
    assert_eq!(
        text(encoder.connect_error("/admin", &json!({"message": "Not authorized"}))),
        r#"4/admin,{"message":"Not authorized"}"#
    );
    assert_eq!(text(encoder.disconnect("/admin")), "1/admin,");
    assert_eq!(text(encoder.disconnect("/")), "1");
}

#[test]
fn a_tuple_is_a_list_of_arguments_and_any_other_type_one_argument() {
    #[derive(Serialize)]
    struct Pair(i32, i32);
    #[derive(Serialize)]
    struct New((i32, i32));
    #[derive(Serialize)]
    struct Unit;
    #[derive(Serialize)]
    struct Point {
        x: i32,
    }
    #[derive(Serialize)]
    enum Shape {
        Nothing,
        Dot(i32),
        Line(i32, i32),
        Named { x: i32 },
    }
    assert_eq!(event(&()), r#"2["e"]"#);
    assert_eq!(event(&Unit), r#"2["e"]"#);
    assert_eq!(event(&(1, "a", (2, 3))), r#"2["e",1,"a",[2,3]]"#);
    assert_eq!(event(&Pair(1, 2)), r#"2["e",1,2]"#);
    assert_eq!(event(&New((1, 2))), r#"2["e",1,2]"#);
    assert_eq!(event(&[1, 2]), r#"2["e",1,2]"#);
    assert_eq!(event(&vec![1, 2]), r#"2["e",[1,2]]"#);
    assert_eq!(event(&[1, 2][..]), r#"2["e",[1,2]]"#);
    assert_eq!(event(&((1, 2),)), r#"2["e",[1,2]]"#);
    assert_eq!(event("str"), r#"2["e","str"]"#);
    assert_eq!(event(&None::<i32>), r#"2["e",null]"#);
    assert_eq!(event(&Some((1, 2))), r#"2["e",[1,2]]"#);
    assert_eq!(event(&Point { x: 1 }), r#"2["e",{"x":1}]"#);
    assert_eq!(event(&Shape::Nothing), r#"2["e","Nothing"]"#);
    assert_eq!(event(&Shape::Dot(1)), r#"2["e",{"Dot":1}]"#);
    assert_eq!(event(&Shape::Line(1, 2)), r#"2["e",{"Line":[1,2]}]"#);
    assert_eq!(event(&Shape::Named { x: 1 }), r#"2["e",{"Named":{"x":1}}]"#);
    assert_eq!(event(&json!([1])), r#"2["e",[1]]"#);
    assert_eq!(event(&'c'), r#"2["e","c"]"#);
    assert_eq!(event(&format_args!("{}\n", 1)), r#"2["e","1\n"]"#);
    assert_eq!(text(Encoder::new().ack("/", 0, &(1, 2))), "30[1,2]");
    assert_eq!(text(Encoder::new().ack("/", 0, &true)), "30[true]");
}

#[test]
fn only_a_payload_without_a_size_is_no_argument() {
    #[derive(Serialize)]
    #[serde(untagged)]
    enum Answer {
        Nothing,
        Unit(()),
        Text(String),
    }
    #[derive(Serialize)]
    struct Unit;
    #[derive(Serialize)]
    struct Empty(());
    #[derive(Serialize)]
    struct Holds(Value);
    let ack = |args: &dyn Fn(&mut Encoder) -> String| args(&mut Encoder::new());
    macro_rules! written {
        ($($args:expr => $list:literal;)*) => {$(
            assert_eq!(ack(&|encoder| text(encoder.ack("/", 0, &$args))), concat!("30[", $list, "]"));
            let comma = if $list.is_empty() { "" } else { "," };
            assert_eq!(event(&$args), std::format!("2[\"e\"{comma}{}]", $list));
        )*};
    }
    written! {
        () => "";
        Unit => "";
        Empty(()) => "";
        Ok::<_, i32>(()) => "";
        Ok::<_, i32>(Unit) => "";
        Value::Null => "null";
        Holds(Value::Null) => "null";
        Ok::<_, i32>(Value::Null) => "null";
        Some(Value::Null) => "null";
        None::<()> => "null";
        Some(()) => "null";
        Answer::Nothing => "null";
        Answer::Unit(()) => "null";
        Answer::Text("x".into()) => "\"x\"";
        Ok::<_, i32>(Ok::<_, i32>(())) => "{\"Ok\":null}";
        ((),) => "null";
        ((), Value::Null, Unit) => "null,null,null";
        ((), 1) => "null,1";
        vec![()] => "[null]";
        vec![Value::Null] => "[null]";
    }
    assert_eq!(event(""), r#"2["e",""]"#);
    assert_eq!(event(&[0; 0][..]), r#"2["e",[]]"#);
}

#[test]
fn values_are_written_as_serde_json_writes_them() {
    #[derive(Serialize)]
    #[serde(tag = "t")]
    enum Tagged {
        A { b: u8 },
    }
    #[derive(Serialize)]
    struct All<'a> {
        integers: (i8, i16, i32, i64, i128, u8, u16, u32, u64, u128),
        floats: (f32, f64, f64, f64, f32),
        numbers: BTreeMap<i32, u8>,
        booleans: BTreeMap<bool, u8>,
        chars: BTreeMap<char, u8>,
        strings: BTreeMap<&'a str, u8>,
        text: &'a str,
        none: Option<u8>,
        unit: (),
        empty: ([u8; 0], BTreeMap<u8, u8>),
        tagged: Tagged,
        #[serde(skip_serializing_if = "Option::is_none")]
        skipped: Option<u8>,
        #[serde(flatten)]
        flat: BTreeMap<&'a str, f64>,
        raw: &'a serde_json::value::RawValue,
    }
    let all = All {
        integers: (i8::MIN, i16::MIN, i32::MIN, i64::MIN, i128::MIN, 255, 1, 2, u64::MAX, u128::MAX),
        floats: (1.5, 0.1, f64::NAN, -0.0, f32::INFINITY),
        numbers: [(-1, 1)].into(),
        booleans: [(true, 1)].into(),
        chars: [('"', 1)].into(),
        strings: [("\n", 1), ("a", 2)].into(),
        text: "\u{0}\u{8}\t\n\u{c}\r\u{1f}\"\\/\u{7f}\u{e9}\u{2028}\u{1f600}",
        none: None,
        unit: (),
        empty: ([], BTreeMap::new()),
        tagged: Tagged::A { b: 1 },
        skipped: None,
        flat: [("x", 1.0)].into(),
        raw: serde_json::from_str("{\"raw\" : [1 ]}").unwrap(),
    };
    let expected = serde_json::to_string(&all).unwrap();
    assert_eq!(event(&all), format!("2[\"e\",{expected}]"));

    /// A map with floats as keys, which the standard library's maps do not support.
    struct ByFloat;
    impl Serialize for ByFloat {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(None)?;
            for key in [1e-7, 1e-5, 0.1, 1.0, 1e16, 1.5e300, -0.0] {
                map.serialize_entry(&key, &key)?;
                map.serialize_entry(&(key as f32).min(1e30), &key)?;
            }
            map.end()
        }
    }
    let expected = serde_json::to_string(&ByFloat).unwrap();
    assert_eq!(event(&ByFloat), format!("2[\"e\",{expected}]"));
}

#[test]
fn keys_that_are_not_strings_are_refused_as_by_serde_json() {
    let mut encoder = Encoder::new();
    let bad = BTreeMap::from([((1, 2), 3)]);
    assert!(serde_json::to_string(&bad).is_err());
    assert!(matches!(encoder.event("/", None, "e", &bad), Err(EncodeError::Serialize(_))));
    assert!(matches!(
        encoder.event("/", None, "e", &BTreeMap::from([(Some("a"), 3)])),
        Ok(encoded) if encoded.text == br#"2["e",{"a":3}]"#
    ));
    assert!(encoder.event("/", None, "e", &BTreeMap::from([((), 3)])).is_err());
    // After an error the encoder can be used again.
    assert_eq!(text(encoder.event("/", None, "e", &1)), r#"2["e",1]"#);
}

#[test]
fn bytes_become_attachments_in_serialization_order() {
    #[derive(Serialize)]
    struct File {
        data: Bytes,
        parts: Vec<Bytes>,
    }
    let whole = Bytes::from_static(b"0123456789");
    let file = File { data: whole.slice(2..5), parts: vec![Bytes::new(), whole.clone()] };
    let mut encoder = Encoder::new();
    let encoded = encoder.event("/a", Some(0), "e", &(&file, 1, &whole.slice(9..))).unwrap();
    assert_eq!(
        std::str::from_utf8(encoded.text).unwrap(),
        r#"54-/a,0["e",{"data":{"_placeholder":true,"num":0},"parts":[{"_placeholder":true,"num":1},{"_placeholder":true,"num":2}]},1,{"_placeholder":true,"num":3}]"#
    );
    let attachments = encoded.attachments();
    assert_eq!(attachments.len(), 4);
    assert_eq!(listed(attachments.clone()), [&b"234"[..], b"", b"0123456789", b"9"]);
    assert_eq!(listed(attachments).len(), 4);
    // The next packet starts without attachments.
    assert_eq!(encoder.event("/", None, "e", &()).unwrap().attachments().len(), 0);
}

#[test]
fn attachment_counts_may_have_several_digits() {
    for count in [1, 9, 10, 99, 100, 1234] {
        let mut encoder = Encoder::new();
        let encoded = encoder.ack("/", 7, &vec![Bytes::from_static(b"x"); count]).unwrap();
        assert!(encoded.text.starts_with(format!("6{count}-7[[{{").as_bytes()));
        assert_eq!(encoded.attachments().len(), count);
    }
}

#[test]
fn what_stands_in_front_of_the_json_has_any_length() {
    let mut encoder = Encoder::new();
    let long = format!("/{}", "x".repeat(100));
    for namespace in ["/", "/a", &long] {
        let name = if namespace == "/" { String::new() } else { format!("{namespace},") };
        for id in [0, 9, 10, 99, 100, 12_345, u64::MAX] {
            assert_eq!(text(encoder.ack(namespace, id, &1)), format!("3{name}{id}[1]"));
            for count in [1, 9, 10, 101] {
                let files = vec![Bytes::from_static(b"x"); count];
                let written = text(encoder.ack(namespace, id, &files));
                let start = format!("6{count}-{name}{id}[[{{\"_placeholder\":true,\"num\":0}}");
                assert!(written.starts_with(&start) && written.ends_with("}]]"), "{written}");
            }
            assert_eq!(text(encoder.event(namespace, Some(id), "e", &1)), format!("2{name}{id}[\"e\",1]"));
        }
        assert_eq!(text(encoder.event(namespace, None, "e", &1)), format!("2{name}[\"e\",1]"));
    }
}

#[test]
fn reserved_names_are_refused() {
    for name in ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"] {
        let mut encoder = Encoder::new();
        let refused = encoder.event("/", None, name, &()).map(|encoded| encoded.text.len());
        assert_eq!(refused, Err(EncodeError::ReservedEvent));
    }
    assert_eq!(text(Encoder::new().event("/", None, "error", &())), r#"2["error"]"#);
}

#[test]
fn invalid_namespaces_are_refused() {
    for namespace in ["", "admin", "/a,b", ",", "/a\u{1e}41"] {
        let mut encoder = Encoder::new();
        let refused = encoder.disconnect(namespace).map(|encoded| encoded.text.len());
        assert_eq!(refused, Err(EncodeError::Namespace), "{namespace:?}");
    }
}

#[test]
fn what_separates_packets_is_escaped_wherever_text_may_stand() {
    let separator = "a\u{1e}41";
    let map = BTreeMap::from([(separator, separator)]);
    let raw = serde_json::value::to_raw_value(separator).unwrap();
    let mut encoder = Encoder::new();
    for packet in [
        text(encoder.event("/", Some(1), separator, &(separator, '\u{1e}', &map, json!(map), raw))),
        text(encoder.ack("/", 1, &(separator, &map))),
        text(encoder.connect("/", Some(&json!(map).to_string()))),
        text(encoder.connected("/", separator)),
        text(encoder.connect_error("/", &map)),
    ] {
        assert!(!packet.contains('\u{1e}') && packet.contains(r"a\u001e41"), "{packet}");
    }
    // Nothing comes in that could be passed on as it is.
    for packet in ["2[\"a\u{1e}41\"]", "2[\"a\",{\"b\u{1e}\":1}]", "2[\"a\"\u{1e}]", "3[\u{1e}]"] {
        assert!(Packet::decode(packet, &Limits::default()).is_err(), "{packet:?}");
    }
}

#[test]
fn auth_that_is_not_a_json_object_is_refused() {
    let mut encoder = Encoder::new();
    for auth in ["", "null", "[]", "\"a\"", "{", "{}{}", "{\"a\":\"\u{1e}\"}", "{} 1"] {
        assert_eq!(encoder.connect("/", Some(auth)).unwrap_err(), EncodeError::Auth, "{auth:?}");
    }
}

#[test]
fn only_events_and_acknowledgements_may_contain_bytes() {
    let mut encoder = Encoder::new();
    let data = BTreeMap::from([("a", Bytes::from_static(b"x"))]);
    assert_eq!(encoder.connect_error("/", &data).unwrap_err(), EncodeError::Binary);
}

#[test]
fn objects_that_look_like_placeholders_are_refused_beside_attachments() {
    let bytes = Bytes::from_static(b"x");
    let raw: &serde_json::value::RawValue =
        serde_json::from_str("{\"num\":0, \"_placeholder\" : true}").unwrap();
    let mut encoder = Encoder::new();
    let like = json!({"a": [{"_placeholder": true, "num": 0}]});
    assert!(encoder.event("/", None, "e", &like).is_ok());
    let refused = encoder.event("/", None, "e", &(&like, &bytes)).unwrap_err();
    assert_eq!(refused, EncodeError::Placeholder);
    assert_eq!(encoder.ack("/", 1, &(&bytes, raw)).unwrap_err(), EncodeError::Placeholder);
    assert!(encoder.event("/{\"_placeholder\":", None, "e", &bytes).is_ok());
    // Strings that look like placeholders are allowed.
    for text in ["_placeholder", "\"_placeholder\":true", "{\"_placeholder\":true,\"num\":0}", "\\"] {
        let value = json!({"_placeholder_": text, (format!("x\"{text}")): [text, "_placeholder"]});
        assert!(encoder.event("/", None, text, &(&value, &bytes, text)).is_ok(), "{text}");
    }
}

#[test]
fn an_error_of_serialize_is_returned() {
    struct Fails;
    impl Serialize for Fails {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("no"))
        }
    }
    let error = Encoder::new().event("/", None, "e", &(1, Fails)).map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "cannot serialize: no");
}

#[test]
fn the_memory_of_a_huge_packet_is_freed() {
    let mut encoder = Encoder::new();
    let huge = Bytes::from(vec![0; 1 << 20]);
    encoder.event("/", None, "e", &("x".repeat(1 << 20), huge)).unwrap();
    assert!(encoder.capacity() > 2 << 20);
    encoder.trim();
    assert_eq!(encoder.capacity(), 0);
    encoder.ack("/", 1, &"x".repeat(1 << 20)).unwrap();
    assert!(encoder.capacity() > 1 << 20);
    for _ in 0..300 {
        encoder.disconnect("/").unwrap();
    }
    assert!(encoder.capacity() <= 64 * 1024, "it was not needed for a while");
    encoder.ack("/", 1, &"x".repeat(3 << 20)).unwrap();
    encoder.disconnect("/").unwrap();
    assert!(encoder.capacity() <= 64 * 1024, "too large to keep");
}

#[test]
fn the_encoders_memory_is_reused() {
    let mut encoder = Encoder::new();
    let args = ("some text", Bytes::from_static(b"some bytes"), 1.5);
    encoder.event("/admin", Some(1), "name", &args).unwrap();
    let capacity = encoder.capacity();
    for id in 0..1000 {
        encoder.event("/admin", Some(id % 10), "name", &args).unwrap();
    }
    assert_eq!(encoder.capacity(), capacity);
}

/// A tree of JSON values and bytes.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
enum Tree {
    Leaf(Value),
    Bytes(Bytes),
    List(Vec<Tree>),
}

fn any_tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        any_text().prop_map(|text| Tree::Leaf(text.into())),
        any::<u32>().prop_map(|number| Tree::Leaf(number.into())),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| Tree::Bytes(bytes.into())),
    ];
    leaf.prop_recursive(3, 10, 4, |inner| prop::collection::vec(inner, 0..4).prop_map(Tree::List))
}

/// Asserts that `value`, with its placeholders resolved, equals `tree`.
fn compare(tree: &Tree, value: &Value, attachments: Attached<'_>) {
    match tree {
        Tree::Leaf(leaf) => assert_eq!(leaf, value),
        Tree::Bytes(bytes) => {
            assert_eq!(value["_placeholder"], true);
            let num = value["num"].as_u64().unwrap() as usize;
            assert_eq!(attachments.get(num), Some(&bytes[..]));
        }
        Tree::List(list) => {
            assert_eq!(list.len(), value.as_array().unwrap().len());
            for (tree, value) in list.iter().zip(value.as_array().unwrap()) {
                compare(tree, value, attachments);
            }
        }
    }
}

fn any_namespace() -> impl Strategy<Value = String> {
    any_text().prop_map(|name| format!("/{}", name.replace([',', '?', '\u{1e}'], "")))
}

proptest! {
    #[test]
    fn plain_events_survive_the_round_trip(
        namespace in any_namespace(),
        id in prop::option::of(0..1u64 << 53),
        name in any_text(),
        first in any_value(),
        second in any_text(),
    ) {
        prop_assume!(!is_reserved(&name));
        let limits = Limits { max_namespace_len: 9999, max_event_len: 9999, ..Limits::default() };
        let mut encoder = Encoder::new();
        let encoded = encoder.event(&namespace, id, &name, &(&first, &second)).unwrap();
        let text = std::str::from_utf8(encoded.text).unwrap();
        let json = serde_json::to_string(&(&name, &first, &second)).unwrap();
        prop_assert!(text.ends_with(&json));
        let packet = Packet::decode(text, &limits).unwrap();
        prop_assert_eq!((packet.namespace, packet.id), (&namespace[..], id));
        prop_assert_eq!(packet.event().unwrap(), name);
        let (one, two): (Value, String) = packet.args(&[]).unwrap().deserialize().unwrap();
        prop_assert_eq!((one, two), (first, second));
    }

    #[test]
    fn binary_acknowledgements_survive_the_round_trip(tree in any_tree(), id in 0..1u64 << 53) {
        let limits = Limits { max_attachments: 9999, ..Limits::default() };
        let mut encoder = Encoder::new();
        let encoded = encoder.ack("/bin", id, &tree).unwrap();
        let text = std::str::from_utf8(encoded.text).unwrap();
        let packet = Packet::decode(text, &limits).unwrap();
        prop_assert_eq!(packet.attachments, encoded.attachments().len());
        let mut reassembly = Reassembly::new();
        reassembly.begin(&packet).unwrap();
        let mut complete = None;
        for attachment in encoded.attachments() {
            prop_assert!(complete.is_none());
            complete = reassembly.add(attachment, &limits).unwrap();
        }
        prop_assert_eq!(complete.is_some(), packet.kind.is_binary());
        let attachments = complete.as_ref().map(Complete::attachments).unwrap_or_default();
        let value: Value = packet.args(attachments).unwrap().deserialize().unwrap();
        compare(&tree, &value, attachments);
    }

    #[test]
    fn floats_survive_the_round_trip(single in any::<f32>(), double in any::<f64>()) {
        let json = event(&(single, double));
        let packet = Packet::decode(&json, &Limits::default()).unwrap();
        let (a, b): (Option<f64>, Option<f64>) = packet.args(&[]).unwrap().deserialize().unwrap();
        prop_assert_eq!(a.map(|a| a as f32), single.is_finite().then_some(single));
        prop_assert_eq!(b.is_some(), double.is_finite());
        let digits = json.rsplit(',').next().unwrap().trim_end_matches(']');
        if double.is_finite() {
            prop_assert_eq!(digits.parse::<f64>().unwrap(), double);
        }
    }
}

#[test]
fn a_long_string_is_escaped_wherever_a_special_character_stands() {
    let mut long = "é".repeat(10_000);
    for at in [0, 4090, 8190, 8191, 8192, 16_382, 16_384, 19_999] {
        for special in ["\"", "\u{1}\\"] {
            // Between two characters.
            long.insert_str(at & !1, special);
            let expected = serde_json::to_string(&long).unwrap();
            assert_eq!(event(&long), format!("2[\"e\",{expected}]"), "{at}");
            long.drain(at & !1..(at & !1) + special.len());
        }
    }
}
