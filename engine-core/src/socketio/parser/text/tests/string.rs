use crate::socketio::kind::Kind;
use crate::socketio::limits::Limits;
use crate::socketio::packet::{Hint, Packet};
use crate::socketio::parser::text::packet::{check, check_data};
use crate::socketio::parser::text::string::{is_plain, skip_name, skip_plain};
use proptest::prelude::*;
use serde_json::Value;
use std::string::String;
use std::vec::Vec;

/// Compares the searches with one byte by byte.
fn agrees_with_a_naive_search(text: &[u8]) {
    let naive = text.iter().position(|&byte| byte == b'"' || byte == b'\\' || byte < 0x20);
    let expected = naive.map_or(&[][..], |at| &text[at..]);
    assert_eq!(skip_plain(text), expected, "{text:?}");
    assert_eq!(skip_name(text), expected, "{text:?}");
    assert_eq!(is_plain(text), naive.is_none(), "{text:?}");
}

#[test]
fn a_special_byte_is_found_anywhere_in_a_text_of_any_length() {
    let specials_and_neighbours =
        [b'"', b'\\', 0, 2, 0x1f, b' ', b'!', b'#', b'[', b']', 0x7f, 0x80, 0xa2, 0xdc, 0xff];
    for len in 0..=100 {
        let mut text = std::vec![b'x'; len];
        agrees_with_a_naive_search(&text);
        for at in 0..len {
            for byte in specials_and_neighbours {
                text[at] = byte;
                agrees_with_a_naive_search(&text);
            }
            text[at] = b'x';
        }
    }
}

#[test]
fn a_special_byte_is_found_anywhere_in_a_long_text() {
    let mut text = std::vec![b'x'; 12_000];
    for at in (0..600).chain((600..text.len()).step_by(37)) {
        for special in [b'"', b'\\', 0, 0x1f] {
            text[at] = special;
            assert_eq!(skip_plain(&text).len(), text.len() - at);
            text[at] = b'x';
        }
    }
    assert!(skip_plain(&text).is_empty());
}

/// Data of events and acknowledgements that is nearly a name and a string.
fn any_data() -> impl Strategy<Value = String> {
    let pieces =
        &["[", "]", "\"", ",", "\\", "ack", "connect", "a name", " ", "\n", "é", "x", "1", "{}", "\",\""];
    let piece = prop_oneof![proptest::sample::select(&pieces[..]).prop_map(String::from), "[a-z]{0,40}"];
    let items =
        &["\"\"", "\"an item\"", "\"\\n\"", "1", "{}", "[\"b\"]", " \"c\"", "\"d\" ", "\"", "[", "]", " "];
    let items = prop::collection::vec(proptest::sample::select(&items[..]), 0..5);
    prop_oneof![
        (piece.clone(), items).prop_map(|(name, items)| std::format!("[\"{name}\",{}]", items.join(","))),
        prop::collection::vec(piece.clone(), 0..8).prop_map(|pieces| pieces.concat()),
        (piece.clone(), proptest::sample::select(&[",", ",", ":", "x", ""][..]), piece.clone())
            .prop_map(|(name, comma, string)| std::format!("[\"{name}\"{comma}\"{string}\"]")),
        piece.prop_map(|string| std::format!("[\"{string}\"]")),
    ]
}

proptest! {
    #[test]
    fn plain_runs_end_where_a_naive_search_ends(
        text in prop::collection::vec(
            prop_oneof![12 => any::<u8>(), 200 => 0x20..0x80u8, 1 => Just(b'"'), 1 => Just(b'\\'), 1 => Just(0x1f), 8 => 0x80..0xffu8],
            0..700,
        ),
    ) {
        agrees_with_a_naive_search(&text);
    }

    #[test]
    fn strings_as_arguments_are_checked_and_read_as_other_data(
        data in any_data(),
        is_event in any::<bool>(),
        max_depth in 0_usize..3,
        max_event_len in 0_usize..20,
    ) {
        let (digit, kind) = if is_event { ("2", Kind::Event) } else { ("31", Kind::Ack) };
        let limits = Limits { max_depth, max_event_len, ..Limits::default() };
        let checked = check(kind, &data, &limits);
        let plain = checked.map(|(data, name_end, _)| (data, name_end));
        prop_assert_eq!(plain, check_data(kind, &data, &limits));
        if let Ok((_, _, Hint(is_string))) = checked {
            let strings = serde_json::from_str::<Vec<String>>(&data).unwrap_or_default();
            let is_plain = !data.contains('\\') && serde_json::to_string(&strings).unwrap() == data;
            prop_assert_eq!(is_string, is_plain && strings.len() == 1 + usize::from(is_event));
        }
        let text = std::format!("{digit}{data}");
        if let Ok(packet) = Packet::decode(&text, &limits) {
            let searched = Packet { is_string: Hint(false), ..packet };
            prop_assert_eq!(packet.event(), searched.event());
            let (args, expected) = (packet.args(&[]).unwrap(), searched.args(&[]).unwrap());
            prop_assert_eq!(args.iter().collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());
            prop_assert_eq!(args.deserialize::<String>(), expected.deserialize::<String>());
            prop_assert_eq!(args.deserialize::<&str>(), expected.deserialize::<&str>());
            prop_assert_eq!(args.deserialize::<Value>(), expected.deserialize::<Value>());
            prop_assert_eq!(args.deserialize::<(String,)>(), expected.deserialize::<(String,)>());
            prop_assert_eq!(args.deserialize::<u8>(), expected.deserialize::<u8>());
        }
    }
}
