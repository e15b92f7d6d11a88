//! `{"_placeholder":true,"num":i}`, which stands in a packet's JSON for its attachment i.

use super::packet::DecodeError;
use core::fmt;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

/// Checks that every placeholder in `json` names one of the `count` attachments.
///
/// Naming one twice, or none of them, is allowed. The depth is bounded by serde_json, whose
/// limit is one level less than the scanner's.
pub(super) fn check(json: &str, count: usize) -> Result<(), DecodeError> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    Check { count }.deserialize(&mut deserializer).map(|_| ()).map_err(|_| DecodeError::Attachment)
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

/// What the walk found a value to be, as far as a placeholder's fields need it.
enum Found {
    True,
    Integer(u64),
    /// A string of digits: an integer only inside of [`Key::Number`].
    Digits(u64),
    Other,
}

/// Walks a value and everything in it.
#[derive(Clone, Copy)]
struct Check {
    count: usize,
}

impl<'de> DeserializeSeed<'de> for Check {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Check {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Found, E> {
        Ok(if value { Found::True } else { Found::Other })
    }

    fn visit_u64<E>(self, value: u64) -> Result<Found, E> {
        Ok(Found::Integer(value))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Found, E> {
        Ok(Found::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Found, E> {
        Ok(Found::Other)
    }

    fn visit_str<E>(self, text: &str) -> Result<Found, E> {
        Ok(text.parse().map_or(Found::Other, Found::Digits))
    }

    fn visit_unit<E>(self) -> Result<Found, E> {
        Ok(Found::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Found, A::Error> {
        while seq.next_element_seed(self)?.is_some() {}
        Ok(Found::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found, A::Error> {
        let mut placeholder = Found::Other;
        let mut num = Found::Other;
        while let Some(key) = map.next_key()? {
            let value = map.next_value_seed(self)?;
            match (key, value) {
                (Key::Number, Found::Digits(number)) => return Ok(Found::Integer(number)),
                (Key::Placeholder, value) => placeholder = value,
                (Key::Num, value) => num = value,
                (Key::Number | Key::Other, _) => {}
            }
        }
        let named = match num {
            Found::Integer(num) => usize::try_from(num).is_ok_and(|num| num < self.count),
            _ => false,
        };
        if matches!(placeholder, Found::True) && !named {
            return Err(A::Error::custom("no such attachment"));
        }
        Ok(Found::Other)
    }
}
