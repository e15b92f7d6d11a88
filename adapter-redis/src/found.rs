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
pub(crate) fn entries(reply: Value) -> Vec<Entry> {
    let Value::Array(list) = reply else { return Vec::new() };
    list.into_iter().filter_map(entry).collect()
}

/// Returns the bytes of entries.
pub(crate) fn len_of(entries: &[Entry]) -> usize {
    let fields = entries.iter().flat_map(|(_, fields)| fields);
    fields.map(|(name, value)| name.len() + value.len()).sum()
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
