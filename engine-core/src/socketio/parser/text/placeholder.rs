//! Placeholders: `{"_placeholder":true,"num":i}` in a packet's JSON stands for attachment `i`.

use super::json::unescape;
use super::string::behind_string;
use crate::socketio::error::DecodeError;
use core::fmt;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use smallvec::SmallVec;

/// Checks that every placeholder in `json`, which the scanner has validated, refers to one of the `count` attachments.
///
/// An attachment may be referred to repeatedly or not at all. Strings are not decoded, because JSON allows an unpaired
/// surrogate, which a Rust string cannot hold.
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
    /// Returns whether this refers to one of the attachments, or is not a placeholder.
    fn is_right(&self, count: usize) -> bool {
        let num = self.num.and_then(|num| usize::try_from(num).ok());
        !self.is_placeholder || num.is_some_and(|num| num < count)
    }
}

/// A value, reduced to what the fields of a placeholder distinguish.
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
            // Digits only, because `parse` would accept a sign.
            _ if scalar.bytes().all(|byte| byte.is_ascii_digit()) => {
                scalar.parse().map_or(Found::Other, Found::Integer)
            }
            _ => Found::Other,
        }
    }
}

/// Records a value inside the innermost open container. Of repeated keys the last one counts, as in JavaScript.
fn note(open: Option<&mut Open>, found: Found) {
    let Some(open) = open else { return };
    match open.key {
        Some(Key::Placeholder) => open.is_placeholder = matches!(found, Found::True),
        Some(Key::Num) => open.num = if let Found::Integer(num) = found { Some(num) } else { None },
        _ => {}
    }
}

/// A placeholder's key.
pub(super) enum Key {
    /// `_placeholder`
    Placeholder,
    /// `num`
    Num,
    /// The key in which serde_json wraps a number if its feature `arbitrary_precision` is on.
    Number,
    /// Any other key, which JavaScript ignores.
    Other,
}

impl Key {
    /// Returns the key whose text between the quotes is `inner`.
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

/// Reads the fields of an object that is a placeholder and nothing else, given the text behind its opening brace. Returns
/// the number of the attachment, and the text behind the object.
pub(super) fn fields(text: &str) -> Option<(usize, &str)> {
    let mut rest = text;
    let mut is_placeholder = false;
    let mut num = None;
    loop {
        rest = rest.trim_start();
        if let Some(behind) = rest.strip_prefix("\"_placeholder\"") {
            rest = behind.trim_start().strip_prefix(':')?.trim_start().strip_prefix("true")?;
            is_placeholder = true;
        } else {
            rest = rest.strip_prefix("\"num\"")?.trim_start().strip_prefix(':')?.trim_start();
            let behind = rest.trim_start_matches(|char: char| char.is_ascii_digit());
            num = Some(rest.strip_suffix(behind)?.parse().ok()?);
            rest = behind;
        }
        rest = rest.trim_start();
        match rest.strip_prefix(',') {
            Some(behind) => rest = behind,
            None => return Some((num.filter(|_| is_placeholder)?, rest.strip_prefix('}')?)),
        }
    }
}

/// Reads a map that must be a placeholder, and returns the number of its attachment.
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
