//! Tests of the codec.

mod args;
mod decode;
mod encode;
mod list;
mod reassembly;
mod results;
mod scan;
mod string;

use proptest::prelude::*;
use serde_json::Value;
use std::string::{String, ToString};
use std::vec::Vec;

/// Strings that resemble the protocol or JSON, and arbitrary ones.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        proptest::sample::select(
            &[
                "",
                "-",
                ",",
                "/",
                "[",
                "51-",
                "2/admin,",
                "\"",
                "\\",
                "\\\"_placeholder\":",
                "_placeholder",
                "{\"_placeholder\":true,\"num\":0}",
                "__proto__",
                "\u{0}\u{1f}\u{7f}\u{2028}",
                "a long text that is longer than one block of the scanner, with an \u{e9} in it",
            ][..]
        )
        .prop_map(ToString::to_string),
    ]
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any_text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::vec((any_text(), inner), 0..6)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

fn nested(open: &str, depth: usize, close: &str) -> String {
    [open.repeat(depth), close.repeat(depth)].concat()
}

fn listed(attachments: crate::socketio::Attachments<'_>) -> Vec<Vec<u8>> {
    attachments.map(Vec::from).collect()
}
