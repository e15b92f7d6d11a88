//! Values in messages from the bus, in JSON or MessagePack. They are checked once, and read only where they are needed.

mod json;
mod msgpack;
mod reader;

use crate::socketio::text;
use crate::utf8::from_utf8;
use alloc::borrow::Cow;
use alloc::string::{String, ToString};
use core::str;
use msgpack::Token;
pub(super) use reader::Reader;
use serde::ser::{Serialize, SerializeMap, SerializeStruct, Serializer};
use smol_str::SmolStr;

/// The name of the struct as which serde_json's `RawValue` serializes, which the encoder of packets knows too.
const RAW_VALUE: &str = "$serde_json::private::RawValue";

/// A value of a message, borrowed from it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Raw<'a> {
    Json(&'a str),
    MsgPack(&'a [u8]),
}

impl<'a> Raw<'a> {
    /// Returns a value that a [`Reader`] has checked before.
    pub(super) fn checked(value: &'a [u8], is_json: bool) -> Raw<'a> {
        match is_json {
            true => Raw::Json(str::from_utf8(value).unwrap_or("null")),
            false => Raw::MsgPack(value),
        }
    }

    /// Returns the value as it is written.
    pub(super) fn bytes(self) -> &'a [u8] {
        match self {
            Raw::Json(text) => text.as_bytes(),
            Raw::MsgPack(bytes) => bytes,
        }
    }

    pub(super) fn is_json(self) -> bool {
        matches!(self, Raw::Json(_))
    }

    fn token(self) -> Option<Token<'a>> {
        match self {
            Raw::Json(_) => None,
            Raw::MsgPack(bytes) => msgpack::token(bytes).map(|(token, _)| token),
        }
    }

    pub(super) fn is_null(self) -> bool {
        match self {
            Raw::Json(text) => text == "null",
            Raw::MsgPack(_) => matches!(self.token(), Some(Token::Nil | Token::Ext(msgpack::NOTEPACK, _))),
        }
    }

    pub(super) fn is_list(self) -> bool {
        match self {
            Raw::Json(text) => text.starts_with('['),
            Raw::MsgPack(_) => matches!(self.token(), Some(Token::Array(_))),
        }
    }

    /// Returns the content of a string.
    pub(super) fn text(self) -> Option<Cow<'a, str>> {
        match self {
            Raw::Json(text) => json::string(text),
            Raw::MsgPack(_) => match self.token()? {
                Token::Str(bytes) => Some(decode(bytes)),
                _ => None,
            },
        }
    }

    /// Returns the name of a room or an event: a string, or a number, because JavaScript allows that.
    pub(super) fn name(self) -> Option<SmolStr> {
        if let Some(text) = self.text() {
            return Some(text.as_ref().into());
        }
        match self {
            Raw::Json(text) => {
                text.starts_with(|it: char| it == '-' || it.is_ascii_digit()).then(|| text.into())
            }
            Raw::MsgPack(_) => match self.token()? {
                Token::Int(number) => Some(number.to_string().into()),
                Token::Uint(number) => Some(number.to_string().into()),
                Token::Float(number) => Some(number.to_string().into()),
                _ => None,
            },
        }
    }

    /// Returns whether this can be the [name](Raw::name) of an event.
    pub(super) fn is_name(self) -> bool {
        match self {
            Raw::Json(text) => matches!(text.as_bytes(), [b'"' | b'-' | b'0'..=b'9', ..]),
            Raw::MsgPack(_) => {
                matches!(self.token(), Some(Token::Str(_) | Token::Int(_) | Token::Uint(_) | Token::Float(_)))
            }
        }
    }

    /// Returns a number that is not negative, without its fraction.
    pub(super) fn uint(self) -> Option<u64> {
        let float = |number: f64| (number >= 0.0).then_some(number as u64);
        match self {
            Raw::Json(text) => text.parse().ok().or_else(|| float(text.parse().ok()?)),
            Raw::MsgPack(_) => match self.token()? {
                Token::Int(number) => number.try_into().ok(),
                Token::Uint(number) => Some(number),
                Token::Float(number) => float(number),
                _ => None,
            },
        }
    }

    /// Returns a boolean.
    pub(super) fn bool(self) -> Option<bool> {
        match self {
            Raw::Json("true") => Some(true),
            Raw::Json("false") => Some(false),
            Raw::Json(_) => None,
            Raw::MsgPack(_) => match self.token()? {
                Token::Bool(is) => Some(is),
                _ => None,
            },
        }
    }

    /// Returns the rest of an array that begins with its first element, or an empty value if this is not an array or has
    /// no element.
    pub(super) fn first(self) -> Raw<'a> {
        match self {
            Raw::Json(text) => Raw::Json(text.strip_prefix('[').unwrap_or_default().trim_ascii_start()),
            Raw::MsgPack(bytes) => match msgpack::token(bytes) {
                Some((Token::Array(1..), rest)) => Raw::MsgPack(rest),
                _ => Raw::MsgPack(&[]),
            },
        }
    }

    /// Returns the elements of an array; none if this is not an array.
    pub(super) fn elements(self) -> Elements<'a> {
        match self {
            Raw::Json(text) => Elements::Json(text::Elements::new(text)),
            Raw::MsgPack(bytes) => match msgpack::token(bytes) {
                Some((Token::Array(len), rest)) => Elements::MsgPack(len, rest),
                _ => Elements::MsgPack(0, &[]),
            },
        }
    }

    /// Returns the keys and values of a map; none if this is not a map.
    pub(super) fn members(self) -> Members<'a> {
        match self {
            Raw::Json(text) => Members::Json(json::Members::new(text)),
            Raw::MsgPack(bytes) => match msgpack::token(bytes) {
                Some((Token::Map(len), rest)) => Members::MsgPack(len, rest),
                _ => Members::MsgPack(0, &[]),
            },
        }
    }
}

/// Decodes a string. The usual case is faster than by `from_utf8_lossy`.
fn decode(bytes: &[u8]) -> Cow<'_, str> {
    match from_utf8(bytes) {
        Some(text) => text.into(),
        None => String::from_utf8_lossy(bytes),
    }
}

/// An iterator over the elements of an array.
#[derive(Debug, Clone)]
pub(super) enum Elements<'a> {
    Json(text::Elements<'a>),
    MsgPack(u32, &'a [u8]),
}

impl<'a> Iterator for Elements<'a> {
    type Item = Raw<'a>;

    fn next(&mut self) -> Option<Raw<'a>> {
        match self {
            Elements::Json(elements) => elements.next().map(Raw::Json),
            Elements::MsgPack(left, rest) => {
                *left = left.checked_sub(1)?;
                let (value, behind) = msgpack::split_value(rest)?;
                *rest = behind;
                Some(Raw::MsgPack(value))
            }
        }
    }
}

/// An iterator over the keys and values of a map.
#[derive(Debug, Clone)]
pub(super) enum Members<'a> {
    Json(json::Members<'a>),
    MsgPack(u32, &'a [u8]),
}

impl<'a> Iterator for Members<'a> {
    type Item = (Cow<'a, str>, Raw<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Members::Json(members) => members.next().map(|(key, value)| (key, Raw::Json(value))),
            Members::MsgPack(left, rest) => {
                *left = left.checked_sub(1)?;
                let (key, behind) = msgpack::split_value(rest)?;
                let (value, behind) = msgpack::split_value(behind)?;
                *rest = behind;
                let key = Raw::MsgPack(key);
                let name = match key.text() {
                    Some(text) => text,
                    None => key.name()?.to_string().into(),
                };
                Some((name, Raw::MsgPack(value)))
            }
        }
    }
}

/// Serializes to what JavaScript would send on: binary data as bytes, a timestamp as the text of a date.
impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Raw::Json(text) => {
                let mut raw = serializer.serialize_struct(RAW_VALUE, 1)?;
                raw.serialize_field(RAW_VALUE, text)?;
                raw.end()
            }
            Raw::MsgPack(_) => match self.token() {
                None | Some(Token::Nil) => serializer.serialize_unit(),
                Some(Token::Bool(is)) => serializer.serialize_bool(is),
                Some(Token::Int(number)) => serializer.serialize_i64(number),
                Some(Token::Uint(number)) => serializer.serialize_u64(number),
                Some(Token::Float(number)) => serializer.serialize_f64(number),
                Some(Token::Str(bytes)) => serializer.serialize_str(&decode(bytes)),
                Some(Token::Bin(bytes)) => serializer.serialize_bytes(bytes),
                Some(Token::Array(_)) => serializer.collect_seq(self.elements()),
                Some(Token::Map(len)) => {
                    let mut map = serializer.serialize_map(usize::try_from(len).ok())?;
                    self.members().try_for_each(|(key, value)| map.serialize_entry(&key, &value))?;
                    map.end()
                }
                Some(Token::Ext(kind, data)) => match msgpack::date(kind, data) {
                    Some(date) => serializer.serialize_str(&date),
                    None => serializer.serialize_unit(),
                },
            },
        }
    }
}
