//! `{"_placeholder":true,"num":i}`, which stands in a packet's JSON for its attachment i.

use super::json::{skip_plain, unescape};
use crate::socketio::error::DecodeError;
use core::fmt;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use smallvec::SmallVec;

/// Checks that every placeholder in `json`, which the scanner has passed, names one of the `count` attachments.
///
/// Naming one twice, or none of them, is allowed. Values are not decoded: half of a surrogate pair is legal in JSON,
/// though no string of ours could hold it.
pub(super) fn check(json: &str, count: usize) -> Result<(), DecodeError> {
    let mut open = SmallVec::<[Open; 8]>::new();
    let mut rest = json.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        let start = rest;
        rest = behind;
        match byte {
            b'{' | b'[' => {
                note(open.last_mut(), Found::Other);
                open.push(Open { is_object: byte == b'{', ..Open::default() });
            }
            b'}' | b']' => {
                if open.pop().is_some_and(|closed| !closed.is_right(count)) {
                    return Err(DecodeError::Attachment);
                }
            }
            b',' => {
                if let Some(open) = open.last_mut() {
                    open.key = None;
                }
            }
            b'"' => {
                rest = behind_string(behind);
                let inner = json.get(json.len() - behind.len()..json.len() - rest.len() - 1);
                match open.last_mut() {
                    Some(Open { is_object: true, key: key @ None, .. }) => *key = Some(Key::of(inner)),
                    open => note(open, Found::Other),
                }
            }
            b':' | b' ' | b'\t' | b'\n' | b'\r' => {}
            _ => {
                while let Some((b'a'..=b'z' | b'0'..=b'9' | b'.' | b'+' | b'-' | b'E', behind)) =
                    rest.split_first()
                {
                    rest = behind;
                }
                let scalar = json.get(json.len() - start.len()..json.len() - rest.len());
                note(open.last_mut(), Found::of(scalar.unwrap_or_default()));
            }
        }
    }
    Ok(())
}

/// An array or an object that is not closed yet.
#[derive(Default)]
struct Open {
    is_object: bool,
    /// The key whose value comes next.
    key: Option<Key>,
    is_placeholder: bool,
    num: Option<u64>,
}

impl Open {
    /// If it is a placeholder, it names one of the attachments.
    fn is_right(&self, count: usize) -> bool {
        let num = self.num.and_then(|num| usize::try_from(num).ok());
        !self.is_placeholder || num.is_some_and(|num| num < count)
    }
}

/// A value, as far as a placeholder's fields need it.
#[derive(Clone, Copy)]
enum Found {
    True,
    Integer(u64),
    Other,
}

impl Found {
    fn of(scalar: &str) -> Found {
        match scalar {
            "true" => Found::True,
            // Digits only: a sign is no part of a number here.
            _ if scalar.bytes().all(|byte| byte.is_ascii_digit()) => {
                scalar.parse().map_or(Found::Other, Found::Integer)
            }
            _ => Found::Other,
        }
    }
}

/// Takes in a value of what is open. As in JavaScript the last of several with one key counts.
fn note(open: Option<&mut Open>, found: Found) {
    let Some(open) = open else { return };
    match open.key {
        Some(Key::Placeholder) => open.is_placeholder = matches!(found, Found::True),
        Some(Key::Num) => open.num = if let Found::Integer(num) = found { Some(num) } else { None },
        _ => {}
    }
}

/// What follows a string whose opening quote is behind.
fn behind_string(mut rest: &[u8]) -> &[u8] {
    loop {
        rest = match skip_plain(rest) {
            [b'\\', _, behind @ ..] => behind,
            [b'"', behind @ ..] => return behind,
            _ => return &[],
        };
    }
}

/// A placeholder's key.
pub(super) enum Key {
    /// `_placeholder`
    Placeholder,
    /// `num`
    Num,
    /// What serde_json wraps a number in when its feature `arbitrary_precision` is on.
    Number,
    /// Any other. JavaScript ignores it.
    Other,
}

impl Key {
    /// From what stands between the quotes.
    fn of(inner: Option<&str>) -> Key {
        match &*unescape(inner.unwrap_or_default()) {
            "_placeholder" => Key::Placeholder,
            "num" => Key::Num,
            _ => Key::Other,
        }
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_identifier(KeyVisitor)
    }
}

struct KeyVisitor;

impl Visitor<'_> for KeyVisitor {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Key, E> {
        Ok(match key {
            "_placeholder" => Key::Placeholder,
            "num" => Key::Num,
            "$serde_json::private::Number" => Key::Number,
            _ => Key::Other,
        })
    }
}

/// Reads a map that has to be a placeholder, and returns which attachment it names.
pub(super) fn read<'de, A: MapAccess<'de>>(mut map: A) -> Result<usize, A::Error> {
    let mut is_placeholder = false;
    let mut num = None;
    while let Some(key) = map.next_key()? {
        match key {
            Key::Placeholder => is_placeholder = map.next_value()?,
            Key::Num => num = Some(map.next_value()?),
            Key::Number | Key::Other => {
                map.next_value::<IgnoredAny>()?;
            }
        }
    }
    num.filter(|_| is_placeholder).ok_or_else(|| A::Error::custom("expected an attachment"))
}
