use super::{any_value, nested};
use crate::socketio::parser::text::json::{Elements, Fault, scan, unescape};
use proptest::prelude::*;
use serde::de::IgnoredAny;
use serde_json::Value;
use std::string::{String, ToString};
use std::vec::Vec;

fn agrees_with_serde_json(text: &str) {
    // The scanner refuses leading whitespace, serde_json does not.
    let text = text.trim_start_matches([' ', '\t', '\n', '\r']);
    let theirs = serde_json::from_str::<IgnoredAny>(text).is_ok();
    assert_eq!(scan(text, 128).is_ok(), theirs, "{text:?}");
}

#[test]
fn validation_agrees_with_serde_json_for_every_short_text() {
    const ALPHABET: &[u8] = b"[]{}\",:\\u0 1-+.eEtn\n\x01/";
    fn extend(text: &mut String, left: usize) {
        agrees_with_serde_json(text);
        if left == 0 {
            return;
        }
        for &byte in ALPHABET {
            text.push(byte.into());
            extend(text, left - 1);
            text.pop();
        }
    }
    extend(&mut String::new(), 4);
}

#[test]
fn validation_agrees_with_serde_json_for_tricky_samples() {
    for text in [
        "0",
        "-0",
        "00",
        "-",
        "01",
        "1.",
        ".1",
        "1.0",
        "1e",
        "1e+",
        "1e-1",
        "1E5",
        "-1.5e+10",
        "+1",
        "true",
        "tru",
        "truex",
        "null",
        "nul",
        "false",
        "fals",
        "True",
        "NaN",
        "Infinity",
        "0x1",
        r#""\ud800""#,
        r#""\uD83D\uDE00""#,
        r#""\u12""#,
        r#""\u12g4""#,
        r#""\x""#,
        r#""\""#,
        r#"""#,
        r#""a"#,
        "\"\t\"",
        "\"\u{7f}\"",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[1,,2]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{1:1}",
        "{\"a\":1 \"b\":2}",
        "[}",
        "{]",
        "[]]",
        "[[]",
        "{}{}",
        "[] ",
        "[]\u{a0}",
        "",
        " ",
        "\u{feff}[]",
        "[1]x",
        "\"a\"\"b\"",
        "[\"a\":1]",
        "{\"a\",1}",
    ] {
        agrees_with_serde_json(text);
    }
}

#[test]
fn depth_is_the_number_of_open_containers() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let fits = nested(open, 127, close).replace("\":}", "\":1}");
        assert!(scan(&fits, 128).is_ok());
        let limit = ["[", &fits, "]"].concat();
        assert!(scan(&limit, 128).is_ok());
        let over = ["[", &limit, "]"].concat();
        assert_eq!(scan(&over, 128), Err(Fault::Depth));
        // The scanner's own limit of 128 applies even if a higher one is passed.
        assert_eq!(scan(&over, usize::MAX), Err(Fault::Depth));
    }
    assert_eq!(scan(&nested("[", 100_000, "]"), 128), Err(Fault::Depth));
    assert_eq!(scan("[[1]]", 1), Err(Fault::Depth));
    assert_eq!(scan("[1]", 0), Err(Fault::Depth));
    assert!(scan("1", 0).is_ok());
}

#[test]
fn the_first_element_is_returned_if_it_is_a_scalar() {
    let first = |text| scan(text, 128).unwrap().first;
    assert_eq!(first(r#"[ "a\"]" ,1]"#), Some(r#""a\"]""#));
    assert_eq!(first("[-1.5e3]"), Some("-1.5e3"));
    assert_eq!(first("[true]"), Some("true"));
    assert_eq!(first("[]"), None);
    assert_eq!(first("[[1]]"), None);
    assert_eq!(first("[{}]"), None);
    assert_eq!(first("{\"a\":1}"), None);
}

#[test]
fn text_that_is_not_an_array_has_no_elements() {
    for text in ["", "1", "{}", "[", "[,]", "x"] {
        assert_eq!(Elements::new(text).next(), None, "{text:?}");
    }
}

#[test]
fn escapes_are_decoded_and_unpaired_surrogates_replaced() {
    assert_eq!(unescape("plain"), "plain");
    assert_eq!(unescape(r#"\"\\\/\b\f\n\r\t\u00e9x"#), "\"\\/\u{8}\u{c}\n\r\t\u{e9}x");
    assert_eq!(unescape(r"\ud83d\ude00!"), "\u{1f600}!");
    assert_eq!(unescape(r"\ud83dx"), "\u{fffd}x");
    assert_eq!(unescape(r"\ude00\ud83d"), "\u{fffd}\u{fffd}");
    assert_eq!(unescape(r"\ud83d\u0041"), "\u{fffd}A");
    // Invalid JSON does not panic.
    assert_eq!(unescape(r"\"), "");
    assert_eq!(unescape("\\u12"), "\u{fffd}12");
}

fn mutations() -> impl Strategy<Value = String> {
    let edit = (
        any::<prop::sample::Index>(),
        0..3,
        prop::sample::select(
            &["\"", "\\", "[", "]", "{", "}", ",", ":", " ", "0", "-", "e", "\n", "\u{1}", "u", "\u{e9}"][..],
        ),
    );
    (any_value(), prop::collection::vec(edit, 0..4), any::<bool>()).prop_map(|(value, edits, pretty)| {
        let text = if pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() };
        let mut chars: Vec<String> = text.chars().map(String::from).collect();
        for (at, what, with) in edits {
            let at = at.index(chars.len() + 1);
            match what {
                0 => chars.insert(at, with.to_string()),
                1 if at < chars.len() => chars[at] = with.to_string(),
                2 if at < chars.len() => drop(chars.remove(at)),
                _ => chars.truncate(at),
            }
        }
        chars.concat()
    })
}

proptest! {
    #[test]
    fn validation_agrees_with_serde_json_for_damaged_json(text in mutations()) {
        agrees_with_serde_json(&text);
    }

    #[test]
    fn strings_decode_as_by_serde_json(text in any::<String>(), escape in any::<bool>()) {
        let mut json = serde_json::to_string(&text).unwrap();
        if escape {
            json = text.encode_utf16().map(|unit| std::format!("\\u{unit:04X}")).collect::<String>();
            json = std::format!("\"{json}\"");
        }
        let inner = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap();
        prop_assert_eq!(unescape(inner), text);
    }

    #[test]
    fn elements_equal_those_of_serde_json(values in prop::collection::vec(any_value(), 0..6), pretty in any::<bool>()) {
        let array = Value::from(values.clone());
        let text = if pretty { serde_json::to_string_pretty(&array).unwrap() } else { array.to_string() };
        let elements: Vec<Value> =
            Elements::new(&text).map(|element| serde_json::from_str(element).unwrap()).collect();
        prop_assert_eq!(elements, values);
    }

    #[test]
    fn validation_agrees_with_serde_json_up_to_a_depth_of_128(depth in 1..129usize, object in any::<bool>()) {
        let text = if object { nested("{\"a\":[", depth / 2, "]}") } else { nested("[", depth, "]") };
        agrees_with_serde_json(&text);
    }
}
