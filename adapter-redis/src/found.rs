//! The answers of Redis to what was looked up.

use redis::Value;
use sockeye_core::cluster::{Entry, Found};

/// Reads the answer to `GET` or `GETDEL`.
pub(crate) fn value(reply: Value) -> Found {
    Found::Value(match reply {
        Value::BulkString(value) => Some(value.into()),
        _ => None,
    })
}

/// Reads the answer to `XRANGE`: entries, which are pairs of an id and a list of names and values.
pub(crate) fn entries(reply: Value) -> Found {
    let Value::Array(list) = reply else { return Found::Entries(Vec::new()) };
    Found::Entries(list.into_iter().filter_map(entry).collect())
}

fn entry(value: Value) -> Option<Entry> {
    let Value::Array(entry) = value else { return None };
    let mut parts = entry.into_iter();
    let (Some(id), Some(Value::Array(fields))) = (parts.next(), parts.next()) else { return None };
    let mut fields = fields.into_iter();
    let mut named = Vec::with_capacity(fields.len() / 2);
    while let (Some(name), Some(Value::BulkString(value))) = (fields.next(), fields.next()) {
        named.push((text(name)?, value.into()));
    }
    Some((text(id)?, named))
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}
