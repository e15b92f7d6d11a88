use crate::socketio::{Args, ArgsError};
use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use std::boxed::Box;
use std::collections::HashMap;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

fn event(json: &str) -> Args<'_> {
    Args::new_event(json, &[])
}

fn message<T: std::fmt::Debug>(result: Result<T, ArgsError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn a_tuple_reads_the_arguments_in_order() {
    let args = event(r#"["sum", 1, "two", [3], 4]"#);
    assert_eq!(args.deserialize::<(i32, &str, Vec<u8>)>().unwrap(), (1, "two", vec![3]));
    #[derive(Deserialize, Debug, PartialEq)]
    struct Three(i32, String, [u8; 1]);
    assert_eq!(args.deserialize::<Three>().unwrap(), Three(1, "two".to_string(), [3]));
    assert_eq!(Args::new_ack("[1,2]", &[]).deserialize::<(i32, i32)>().unwrap(), (1, 2));
}

#[test]
fn other_types_read_the_first_argument() {
    let args = event(r#"["a", [1,2], "rest"]"#);
    assert_eq!(args.deserialize::<Vec<i32>>().unwrap(), [1, 2]);
    assert_eq!(args.deserialize::<Value>().unwrap(), json!([1, 2]));
    assert_eq!(args.deserialize::<Option<Vec<i32>>>().unwrap(), Some(vec![1, 2]));
    assert_eq!(args.deserialize::<Option<(i32, i32)>>().unwrap(), Some((1, 2)));
    #[derive(Deserialize, Debug, PartialEq)]
    struct Point {
        x: i32,
    }
    #[derive(Deserialize, Debug, PartialEq)]
    struct Wrapped(Point);
    #[derive(Deserialize, Debug, PartialEq)]
    enum Shape {
        Dot(i32),
    }
    assert_eq!(event(r#"["a",{"x":1}]"#).deserialize::<Wrapped>().unwrap(), Wrapped(Point { x: 1 }));
    assert_eq!(event(r#"["a",{"Dot":2}]"#).deserialize::<Shape>().unwrap(), Shape::Dot(2));
    assert_eq!(event(r#"["a","text"]"#).deserialize::<&str>().unwrap(), "text");
    assert!(Args::new_ack("[true]", &[]).deserialize::<bool>().unwrap());
    let raw: &serde_json::value::RawValue = event(r#"["a",{"x" : 1},2]"#).deserialize().unwrap();
    assert_eq!(raw.get(), r#"{"x" : 1}"#);
}

#[test]
fn unit_types_ignore_the_arguments() {
    event(r#"["a"]"#).deserialize::<()>().unwrap();
    event(r#"["a",1]"#).deserialize::<()>().unwrap();
    #[derive(Deserialize)]
    struct Nothing;
    event(r#"["a",1]"#).deserialize::<Nothing>().unwrap();
}

#[test]
fn a_missing_argument_is_none_or_an_error_with_its_number() {
    let args = event(r#"["a",1]"#);
    assert_eq!(args.deserialize::<(i32, Option<i32>, Option<i32>)>().unwrap(), (1, None, None));
    let third = message(args.deserialize::<(i32, Option<i32>, i32)>());
    assert!(third.starts_with("invalid arguments: argument 3 is missing"), "{third}");
    let none = event(r#"["a"]"#);
    assert_eq!(none.deserialize::<Option<String>>().unwrap(), None);
    assert_eq!(message(none.deserialize::<String>()), "invalid arguments: argument 1 is missing");
    let first = message(none.deserialize::<(Value,)>());
    assert!(first.starts_with("invalid arguments: argument 1 is missing"), "{first}");
    assert_eq!(event(r#"["a",null]"#).deserialize::<(Option<i32>,)>().unwrap(), (None,));
    #[derive(Deserialize, Debug, PartialEq)]
    struct Maybe(Option<i32>);
    assert_eq!(none.deserialize::<(Maybe,)>().unwrap(), (Maybe(None),));
}

#[test]
fn an_argument_of_the_wrong_type_is_an_error() {
    assert!(event(r#"["a","x"]"#).deserialize::<i32>().is_err());
    assert!(event(r#"["a",1,"x"]"#).deserialize::<(i32, i32)>().is_err());
}

#[test]
fn an_error_names_the_argument_and_the_position_in_it() {
    let args = event(r#"["a",1,{"b":"x"}]"#);
    let second = message(args.deserialize::<(i32, HashMap<String, i32>)>());
    let expected = "argument 2: invalid type: string \"x\", expected i32 at line 1 column 8";
    assert_eq!(second, std::format!("invalid arguments: {expected}"));
    let first = message(args.deserialize::<bool>());
    assert!(first.starts_with("invalid arguments: argument 1: invalid type: integer `1`"), "{first}");
    let auth = message(crate::socketio::read_auth::<(i32, bool)>("[1,2]"));
    assert!(auth.starts_with("invalid auth: invalid type: integer `2`, expected a boolean"), "{auth}");
}

#[test]
fn arguments_can_be_counted_and_iterated() {
    let args = event(r#"[ "a" , {"b":[1,"]"]} , 2 ]"#);
    assert_eq!(args.iter().collect::<Vec<_>>(), [r#"{"b":[1,"]"]}"#, "2"]);
    assert_eq!((args.len(), args.is_empty()), (2, false));
    assert!(event(r#"["a"]"#).is_empty());
    assert!(Args::new_ack("[]", &[]).is_empty());
    assert_eq!(args.into_iter().count(), 2);
}

#[test]
fn owned_arguments_equal_the_borrowed_ones() {
    let attachments = [Bytes::from_static(b"x")];
    let args = Args::new_event(r#"["a",{"_placeholder":true,"num":0}]"#, &attachments);
    let owned = args.into_owned();
    assert_eq!(owned.as_args(), args);
    assert_eq!(owned.as_args().deserialize::<Bytes>().unwrap(), "x");
}

#[test]
fn bytes_for_a_list_of_numbers_are_an_error_that_names_the_type_of_bytes() {
    let attachments = [Bytes::from_static(b"x")];
    let args = Args::new_event(r#"["a",{"_placeholder":true,"num":0}]"#, &attachments);
    for error in [message(args.deserialize::<Vec<u8>>()), message(args.deserialize::<(Vec<u8>,)>())] {
        assert!(error.ends_with("(bytes are read as `bytes::Bytes`)"), "{error}");
    }
    let other = message(args.deserialize::<(Bytes, i32)>());
    assert_eq!(other, "invalid arguments: argument 2 is missing");
}

#[test]
fn malformed_json_is_an_error_and_not_a_panic() {
    for json in ["", "[", "{}", "[,", "x", "[\"a\"", "[\"a\",", "[\"a\",1", "[]"] {
        let args = event(json);
        assert!(args.deserialize::<String>().is_err(), "{json:?}");
        assert!(args.deserialize::<(String,)>().is_err(), "{json:?}");
        args.len();
    }
}

/// Deserializes like `&serde_bytes::Bytes`.
#[derive(Debug, PartialEq)]
struct Borrowed<'a>(&'a [u8]);

impl<'de: 'a, 'a> Deserialize<'de> for Borrowed<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&[u8]>::deserialize(deserializer).map(Borrowed)
    }
}

#[test]
fn bytes_are_found_at_any_depth() {
    #[derive(Deserialize, Debug, PartialEq)]
    enum Part {
        One(Bytes),
        Two(Bytes, i32),
        Named { data: Bytes },
        Unit,
    }
    #[derive(Deserialize, Debug)]
    struct New(Bytes);
    #[derive(Deserialize, Debug)]
    struct File<'a> {
        name: &'a str,
        data: Bytes,
        #[serde(borrow)]
        again: Borrowed<'a>,
        parts: Vec<Part>,
        map: HashMap<String, Option<Bytes>>,
        new: New,
        pair: (i32, Bytes),
        boxed: Box<Bytes>,
        missing: Option<Bytes>,
    }
    let attachments = [Bytes::from_static(b"zero"), Bytes::from_static(b"one")];
    const ZERO: &str = r#"{"_placeholder":true,"num":0}"#;
    const ONE: &str = r#"{"num":1,"_placeholder":true,"extra":[]}"#;
    let json = std::format!(
        r#"["up",{{"name":"n","data":{ZERO},"again":{ONE},
        "parts":[{{"One":{ONE}}},{{"Two":[{ZERO},7]}},{{"Named":{{"data":{ONE}}}}},"Unit"],
        "map":{{"a":{ONE},"b":null}},"new":{ZERO},"pair":[1,{ONE}],"boxed":{ZERO}}},{ONE}]"#
    );
    let args = Args::new_event(&json, &attachments);
    let (file, last): (File<'_>, Bytes) = args.deserialize().unwrap();
    assert_eq!((file.name, &file.data[..], file.again), ("n", &b"zero"[..], Borrowed(b"one")));
    let (zero, one) = (attachments[0].clone(), attachments[1].clone());
    let named = Part::Named { data: one.clone() };
    let parts = [Part::One(one.clone()), Part::Two(zero.clone(), 7), named, Part::Unit];
    assert_eq!(file.parts, parts);
    assert_eq!(file.map["a"].as_ref(), Some(&one));
    assert_eq!((file.map["b"].as_ref(), file.missing), (None, None));
    assert_eq!((file.new.0, file.pair.1, *file.boxed, last), (zero.clone(), one.clone(), zero, one));
    // A type that is not a tuple takes another path through the code.
    assert_eq!(args.deserialize::<File<'_>>().unwrap().data, attachments[0]);
}

#[test]
fn bytes_can_also_be_read_from_text_or_numbers() {
    let attachments = [Bytes::from_static(b"x")];
    let args = Args::new_ack(r#"["ab",[1,2],"\u0061"]"#, &attachments);
    let (text, numbers, escaped): (Bytes, Bytes, Bytes) = args.deserialize().unwrap();
    assert_eq!((text, numbers, escaped), ("ab".into(), Bytes::from_static(&[1, 2]), "a".into()));
    let text: &[u8] = Args::new_ack(r#"["ab"]"#, &attachments).deserialize().unwrap();
    assert_eq!(text, b"ab");
}

#[test]
fn bytes_are_not_read_from_an_invalid_placeholder() {
    let attachments = [Bytes::from_static(b"x")];
    for json in [
        "[{}]",
        "[1]",
        "[null]",
        r#"[{"_placeholder":true,"num":1}]"#,
        r#"[{"_placeholder":true,"num":-1}]"#,
        r#"[{"_placeholder":true,"num":0.0}]"#,
        r#"[{"_placeholder":false,"num":0}]"#,
        r#"[{"_placeholder":true}]"#,
        r#"[{"num":0}]"#,
    ] {
        assert!(Args::new_ack(json, &attachments).deserialize::<Bytes>().is_err(), "{json}");
    }
    let json = r#"[{"_placeholder":true,"num":0}]"#;
    assert!(Args::new_ack(json, &[]).deserialize::<Bytes>().is_err());
}

#[test]
fn types_that_accept_any_json_see_the_placeholder() {
    let attachments = [Bytes::from_static(b"x")];
    let json = r#"["a",{"b":[{"_placeholder":true,"num":0}],"c":1.5,"d":-1,"e":"s","f":null}]"#;
    let args = Args::new_event(json, &attachments);
    let expected = json!({
        "b": [{"_placeholder": true, "num": 0}], "c": 1.5, "d": -1, "e": "s", "f": null,
    });
    assert_eq!(args.deserialize::<Value>().unwrap(), expected);
    let map: HashMap<String, Value> = args.deserialize().unwrap();
    assert_eq!(map["b"], expected["b"]);
    let (object,): (serde_json::Map<String, Value>,) = args.deserialize().unwrap();
    assert_eq!(Value::Object(object), expected);
    let (raw,): (&serde_json::value::RawValue,) = args.deserialize().unwrap();
    assert!(raw.get().starts_with("{\"b\""));
}

#[test]
fn deeply_nested_arguments_are_an_error_and_no_stack_overflow() {
    let attachments = [Bytes::from_static(b"x")];
    let deep = super::nested("[", 100_000, "]");
    let json = std::format!("[{deep}]");
    assert!(Args::new_ack(&json, &attachments).deserialize::<(Value,)>().is_err());
    assert!(Args::new_ack(&json, &[]).deserialize::<Value>().is_err());
}

#[test]
fn missing_elements_of_a_tuple_are_not_supplied_without_end() {
    struct Greedy(usize);
    struct GreedyVisitor;
    impl<'de> serde::de::Visitor<'de> for GreedyVisitor {
        type Value = Greedy;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("anything")
        }
        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Greedy, A::Error> {
            let mut count = 0;
            while seq.next_element::<Option<Value>>()?.is_some() {
                count += 1;
            }
            Ok(Greedy(count))
        }
    }
    impl<'de> Deserialize<'de> for Greedy {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_tuple(3, GreedyVisitor)
        }
    }
    assert_eq!(event(r#"["a",1]"#).deserialize::<Greedy>().unwrap().0, 3);
}

/// Arguments that hold one value of JSON.
fn with_argument(value: &str) -> String {
    std::format!(r#"["a",{value},"behind"]"#)
}

#[test]
fn a_number_is_read_to_its_end() {
    for number in ["1e+21", "1.5", "-2.7e3", "1e3", "0.0", "1E0", "-0.5"] {
        let json = with_argument(number);
        let args = event(&json);
        message(args.deserialize::<i128>());
        message(args.deserialize::<(i128,)>());
        message(args.deserialize::<u128>());
        message(args.deserialize::<Option<i128>>());
        message(args.deserialize::<i64>());
        message(args.deserialize::<(u64,)>());
        message(args.deserialize::<u8>());
        message(Args::new_ack(&std::format!("[{number}]"), &[]).deserialize::<i128>());
        message(Args::new_event(&json, &[Bytes::new()]).deserialize::<(i128,)>());
        let keys = with_argument(&std::format!(r#"{{"{number}":[{number}]}}"#));
        message(event(&keys).deserialize::<HashMap<i128, Vec<i128>>>());
        assert_eq!(args.deserialize::<f64>().unwrap(), number.parse::<f64>().unwrap());
        assert_eq!(args.deserialize::<(f32, &str)>().unwrap(), (number.parse::<f32>().unwrap(), "behind"));
    }
    let wide = with_argument("-170141183460469231731687303715884105728 ");
    assert_eq!(event(&wide).deserialize::<i128>().unwrap(), i128::MIN);
    assert_eq!(event(&wide).deserialize::<(i128, &str)>().unwrap(), (i128::MIN, "behind"));
    assert_eq!(Args::new_ack("[ 7 ]", &[]).deserialize::<u128>().unwrap(), 7);
    for outside in ["256", "-1", "1e2"] {
        message(event(&with_argument(outside)).deserialize::<u8>());
    }
    message(event(&with_argument("1e400")).deserialize::<f64>());
}

#[test]
fn half_a_surrogate_pair_is_read_as_the_replacement_character() {
    #[derive(Deserialize, Debug, PartialEq)]
    struct Note<'a> {
        #[serde(borrow)]
        text: std::borrow::Cow<'a, str>,
        plain: &'a str,
        tags: HashMap<String, Option<char>>,
    }
    let written =
        r#"["a","\ud83d",{"text":"x\uDE00\\ud83d\ud83d\ude00","plain":"é","tags":{"\ud83d":"\udfff"}}]"#;
    let args = event(written);
    assert_eq!(args.deserialize::<String>().unwrap(), "\u{fffd}");
    let (first, note) = args.deserialize::<(Value, Note<'_>)>().unwrap();
    assert_eq!(first, json!("\u{fffd}"));
    assert_eq!(note.text, "x\u{fffd}\\ud83d\u{1f600}");
    assert_eq!(note.tags, HashMap::from([("\u{fffd}".to_string(), Some('\u{fffd}'))]));
    // What can be borrowed is borrowed from the packet, although a copy was read.
    assert!(written.as_bytes().as_ptr_range().contains(&note.plain.as_ptr()));
    assert_eq!(note.plain, "é");
    let value: Value = Args::new_ack(r#"[["\ud83d\ud83d\ude00"]]"#, &[]).deserialize().unwrap();
    assert_eq!(value, json!(["\u{fffd}\u{1f600}"]));
    #[derive(Deserialize, Debug, PartialEq)]
    enum Kind {
        #[serde(rename = "\u{fffd}")]
        Half(String),
    }
    assert_eq!(
        event(r#"["a",{"\udc00":"\ud800"}]"#).deserialize::<Kind>().unwrap(),
        Kind::Half("\u{fffd}".into())
    );
    // Raw arguments stay as they came.
    let (raw, text): (&serde_json::value::RawValue, String) =
        event(r#"["a",{"x" : "\ud83d"},"\ud83d"]"#).deserialize().unwrap();
    assert_eq!((raw.get(), &*text), (r#"{"x" : "\ud83d"}"#, "\u{fffd}"));
    assert_eq!(args.iter().next(), Some(r#""\ud83d""#));
    assert_eq!(args.into_owned().as_args().json(), written);
    message(event(r#"["a","\ud83d"]"#).deserialize::<i32>());
}

#[test]
fn half_a_surrogate_pair_is_read_beside_attachments() {
    #[derive(Deserialize, Debug, PartialEq)]
    struct File<'a> {
        name: String,
        data: &'a [u8],
    }
    let attachments = [Bytes::from_static(b"\x00\xff")];
    let json = r#"["a",{"name":"\ud83d","data":{"_placeholder":true,"num":0}},"plain"]"#;
    let (file, plain) = Args::new_event(json, &attachments).deserialize::<(File<'_>, &str)>().unwrap();
    assert_eq!((&*file.name, file.data, plain), ("\u{fffd}", &b"\x00\xff"[..], "plain"));
}
