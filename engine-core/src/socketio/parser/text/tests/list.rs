use crate::socketio::{Args, EncodeError, Encoder, OwnedArgs};
use bytes::Bytes;
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};
use std::borrow::ToOwned;
use std::collections::BTreeMap;
use std::format;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

const X: Bytes = Bytes::from_static(b"x");
const YZ: Bytes = Bytes::from_static(b"yz");

/// Anything that JSON and attachments can hold.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(untagged)]
enum Any {
    Null,
    Bool(bool),
    Number(f64),
    // In front of text, because that accepts bytes too.
    Bytes(Bytes),
    List(Vec<Any>),
    Map(BTreeMap<String, Any>),
}

#[test]
fn arguments_are_put_together_one_by_one() {
    let mut args = OwnedArgs::new();
    assert!(args.as_args().is_empty());
    args.push(&1).unwrap();
    args.push(&(2, "b")).unwrap();
    args.push(&YZ).unwrap();
    args.push(&()).unwrap();
    args.push(&BTreeMap::from([("x", vec![X, YZ])])).unwrap();
    let expected = concat!(
        r#"[1,[2,"b"],{"_placeholder":true,"num":0},null,"#,
        r#"{"x":[{"_placeholder":true,"num":1},{"_placeholder":true,"num":2}]}]"#
    );
    assert_eq!((args.as_args().json(), args.attachments()), (expected, &[YZ, X, YZ][..]));
    assert_eq!(OwnedArgs::from_json(expected, vec![YZ, X, YZ]).unwrap(), args);
    let mut encoder = Encoder::new();
    let encoded = encoder.forward_event("/", None, "e", args.as_args()).unwrap();
    assert_eq!(encoded.text, format!(r#"53-["e",{}"#, &expected[1..]).as_bytes());
}

#[test]
fn arguments_can_be_added_to_those_of_a_packet() {
    for (json, expected) in [(r#"["e"]"#, r#"["e",1]"#), (r#"[ "e" , [] ]"#, r#"[ "e" , [] ,1]"#)] {
        let mut args = Args::new_event(json, &[]).into_owned();
        args.push(&1).unwrap();
        assert_eq!(args.as_args().json(), expected);
        assert_eq!(args.as_args().event().as_deref(), Some("e"));
    }
    let mut args = Args::new_ack("[ ] ", &[]).into_owned();
    args.push(&1).unwrap();
    assert_eq!(args.as_args().json(), "[ 1]");
}

#[test]
fn an_argument_that_cannot_be_sent_leaves_the_others_as_they_are() {
    let like = json!({"_placeholder": true, "num": 0});
    let mut args = OwnedArgs::new();
    // An object that looks like a placeholder is harmless only without attachments.
    args.push(&like).unwrap();
    let before = args.clone();
    assert_eq!(args.push(&X), Err(EncodeError::Placeholder));
    assert!(matches!(args.push(&BTreeMap::from([((), 1)])), Err(EncodeError::Serialize(_))));
    assert_eq!(args, before);
    let mut args = OwnedArgs::new();
    args.push(&X).unwrap();
    assert_eq!(args.push(&like), Err(EncodeError::Placeholder));
    args.push(&"_placeholder").unwrap();
    assert_eq!(args.as_args().len(), 2);
}

#[test]
fn arguments_are_made_of_json_only_if_it_is_an_array_that_can_be_sent() {
    assert_eq!(OwnedArgs::from_json(" [1, 2] ", vec![]).unwrap().as_args().json(), "[1, 2]");
    let deep = super::nested("[", 129, "]");
    for (json, error) in [
        ("", "invalid json"),
        ("[1", "invalid json"),
        ("[1] 2", "invalid json"),
        ("{}", "invalid payload"),
        (&*deep, "json too deep"),
        (r#"[{"_placeholder":true,"num":1}]"#, "illegal attachments"),
    ] {
        let refused = OwnedArgs::from_json(json, vec![X]).unwrap_err();
        assert_eq!(refused.to_string(), format!("invalid arguments: {error}"), "{json}");
    }
}

#[test]
fn each_argument_is_read_on_its_own() {
    let json = r#"["e", "a", [1,2], {"_placeholder":true,"num":0}, {"b":{"num":1, "_placeholder": true}}]"#;
    let attachments = [X, YZ];
    let args: Vec<_> = Args::new_event(json, &attachments).values().collect();
    assert_eq!(args[0].deserialize::<&str>().unwrap(), "a");
    assert_eq!(args[1].deserialize::<(u8, u8)>().unwrap(), (1, 2));
    assert_eq!(args[2].deserialize::<&[u8]>().unwrap(), b"x");
    assert_eq!((args[2].bytes(), args[3].bytes(), args[0].bytes()), (Some(&b"x"[..]), None, None));
    assert_eq!(args[3].deserialize::<BTreeMap<String, Bytes>>().unwrap(), BTreeMap::from([("b".into(), YZ)]));
    assert_eq!(args[3].deserialize::<Value>().unwrap(), json!({"b": {"_placeholder": true, "num": 1}}));
    assert_eq!(args[3].json(), r#"{"b":{"num":1, "_placeholder": true}}"#);
    let error = args[1].deserialize::<String>().unwrap_err();
    assert!(
        error.to_string().starts_with("invalid arguments: argument 2: invalid type: sequence"),
        "{error}"
    );
    let args = Args::new_ack(r#"[{"\ud800":"\udc00"},1e3]"#, &[]);
    let args: Vec<_> = args.values().collect();
    assert_eq!(args[0].deserialize::<Value>().unwrap(), json!({"\u{fffd}": "\u{fffd}"}));
    assert!(args[1].deserialize::<i128>().is_err());
}

#[test]
fn types_that_accept_anything_read_bytes() {
    #[derive(Deserialize, Debug, PartialEq)]
    #[serde(tag = "type")]
    enum Message {
        File { data: Bytes, num: u8 },
        Text { text: String },
    }
    #[derive(Deserialize, Debug, PartialEq)]
    struct Flat {
        name: String,
        #[serde(flatten)]
        rest: BTreeMap<String, Bytes>,
    }
    const ZERO: &str = r#"{"_placeholder":true,"num":0}"#;
    const ONE: &str = r#"{ "num" : 1 , "_placeholder" : true }"#;
    let attachments = [X, YZ];
    let json =
        format!(r#"[{{"num":3,"type":"File","data":{ZERO}}},{{"name":"n","a":{ONE},"b":{ZERO}}},{ONE}]"#);
    let args = Args::new_ack(&json, &attachments);
    let (message, flat, any) = args.deserialize::<(Message, Flat, Any)>().unwrap();
    assert_eq!(message, Message::File { data: X, num: 3 });
    assert_eq!(flat.rest, BTreeMap::from([("a".into(), YZ), ("b".into(), X)]));
    assert_eq!(any, Any::Bytes(YZ));
    // The type in front of the bytes cannot hold any, and still sees the placeholder.
    assert!(args.deserialize::<(Message, Value, Any)>().is_err(), "not both in one");
    assert!(args.deserialize::<(Value, Value, Bytes)>().is_ok());
    let json =
        format!(r#"[{{"\u005fplaceholder":1,"_placeholder":[{ZERO}],"num":{{"num":{ONE}}},"x":null}}]"#);
    let Any::Map(map) = Args::new_ack(&json, &attachments).deserialize().unwrap() else { panic!() };
    assert_eq!(map["_placeholder"], Any::List(vec![Any::Bytes(X)]));
    assert_eq!(map["num"], Any::Map(BTreeMap::from([("num".into(), Any::Bytes(YZ))])));
}

#[test]
fn an_error_beside_bytes_names_the_cause() {
    #[derive(Deserialize, Debug)]
    #[serde(tag = "type")]
    #[allow(dead_code)]
    enum Message {
        File { data: Bytes, num: u8 },
    }
    let json = r#"[{"type":"File","data":{"_placeholder":true,"num":0},"num":"x"}]"#;
    let error = Args::new_ack(json, &[X]).deserialize::<Message>().unwrap_err().to_string();
    assert!(error.contains("invalid type: string \"x\", expected u8"), "{error}");
    let json = r#"[{"_placeholder":true,"num":0},"x"]"#;
    let error = Args::new_ack(json, &[X]).deserialize::<(Value, u8)>().unwrap_err().to_string();
    assert!(error.contains("argument 2: invalid type: string \"x\", expected u8"), "{error}");
}

#[test]
fn arguments_are_shown_as_json_in_one_line() {
    let json = "[\"e\",\"a\u{9b}2J\\n{\\\"\",\n{\"b\" :\t[{\"_placeholder\":true,\"num\":0}]}, {\"num\":1,\"_placeholder\":true},{\"_placeholder\":true,\"num\":2},null ]";
    let attachments = [X, YZ];
    let args = Args::new_event(json, &attachments);
    let expected =
        r#"["a\u009b2J\n{\"", {"b" : [<1 byte>]}, <2 bytes>, {"_placeholder":true,"num":2}, null]"#;
    assert_eq!(format!("{args:?}"), expected);
    assert_eq!(format!("{:?}", args.into_owned()), expected);
    assert_eq!(format!("{}", args.values().nth(2).unwrap()), "<2 bytes>");
    assert_eq!(format!("{:?}", OwnedArgs::new()), "[]");
}

#[test]
fn debug_is_cut_and_display_is_not() {
    let mut args = OwnedArgs::new();
    args.push(&"é".repeat(10_000)).unwrap();
    args.push(&1).unwrap();
    let shown = format!("{args:?}");
    assert_eq!(shown, format!("[\"{}…", "é".repeat(499)));
    let first = args.as_args().values().next().unwrap();
    assert_eq!(format!("{first}").len(), 20_002);
    assert_eq!(format!("{first:?}"), format!("\"{}…", "é".repeat(499)));
}

/// Writes UTF-16 as a JSON string, in which some characters are escaped.
fn written(units: &[(u16, bool)]) -> String {
    let mut text = String::from("\"");
    let mut rest = units.iter().peekable();
    while let Some(&(unit, escaped)) = rest.next() {
        let pair = match rest.peek() {
            Some(&&(next, _)) => char::decode_utf16([unit, next]).next().and_then(Result::ok),
            None => char::decode_utf16([unit]).next().and_then(Result::ok),
        };
        match pair {
            Some(plain) if !escaped && plain >= ' ' && plain != '"' && plain != '\\' => {
                text.push(plain);
                if plain.len_utf16() == 2 {
                    rest.next();
                }
            }
            _ if unit % 2 == 0 => text += &format!("\\u{unit:04x}"),
            _ => text += &format!("\\u{unit:04X}"),
        }
    }
    text + "\""
}

proptest! {
    /// As `String.prototype.toWellFormed` has it: each unit without its other half is U+FFFD.
    #[test]
    fn strings_are_read_as_well_formed_ones(
        units in prop::collection::vec(
            (prop_oneof![0xD800_u16..0xDC00, 0xDC00_u16..0xE000, any::<u16>(), 0x20_u16..0x7F], any::<bool>()),
            0..12,
        )
    ) {
        let plain: Vec<u16> = units.iter().map(|(unit, _)| *unit).collect();
        let expected = String::from_utf16_lossy(&plain);
        let string = written(&units);
        let json = format!("[{string},[{{{string}:[{string}]}}]]");
        let deep = json!([{ (expected.clone()): [expected.clone()] }]);
        for attachments in [&[][..], &[X]] {
            let args = Args::new_ack(&json, attachments);
            let (first, second) = args.deserialize::<(String, Value)>().unwrap();
            prop_assert_eq!((&first, &second), (&expected, &deep));
            let values: Vec<Value> = args.values().map(|arg| arg.deserialize().unwrap()).collect();
            prop_assert_eq!(&values, &[Value::from(expected.to_owned()), deep.clone()]);
        }
        let name = format!("[{string}]");
        prop_assert_eq!(Args::new_event(&name, &[]).event().unwrap(), expected);
    }
}
