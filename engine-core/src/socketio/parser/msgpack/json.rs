//! MessagePack, written as JSON with placeholders for its binary data.

use super::date::{date, is_timestamp, notepack_date};
use super::token::{NOTEPACK, Token, token};
use crate::socketio::error::DecodeError;
use crate::socketio::limits::{Limits, MAX_DEPTH};
use crate::socketio::parser::text::skip_plain;
use crate::utf8::from_utf8;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt::Write;
use smallvec::SmallVec;

/// The text of the values that were read, and the binary data in them. The last piece of data is not copied.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    pub(super) text: String,
    pub(super) kept: Vec<Bytes>,
    pub(super) last: Option<&'a [u8]>,
    /// The size of the binary data in bytes.
    bytes: usize,
    /// A map has a key that placeholders have.
    has_placeholder: bool,
}

/// An array or a map that is not complete yet.
struct Open {
    /// The number of values to come: two for each pair of a map.
    left: u64,
    is_map: bool,
    is_empty: bool,
}

/// The place of a token.
enum Place<'a> {
    Key,
    Value,
    /// The key of a member that is `undefined`, which `JSON.stringify` omits. Holds what follows the member.
    Omitted(&'a [u8]),
}

impl<'a> Reader<'a> {
    /// Creates a reader of a message of this length.
    pub(super) fn new(len: usize) -> Reader<'a> {
        let text = String::with_capacity(len + len / 4 + 16);
        Reader { text, kept: Vec::new(), last: None, bytes: 0, has_placeholder: false }
    }

    /// Returns whether no binary data was read.
    pub(super) fn is_plain(&self) -> bool {
        self.last.is_none()
    }

    /// Returns whether an object could be mistaken for binary data.
    pub(super) fn is_ambiguous(&self) -> bool {
        self.has_placeholder && !self.is_plain()
    }

    /// Appends the first value, and returns the bytes behind it. Neither recurses nor allocates for what a length announces:
    /// the text has at most six times the length of the value, and 40 bytes for each piece of binary data.
    pub(super) fn value(&mut self, bytes: &'a [u8], limits: &Limits) -> Result<&'a [u8], DecodeError> {
        let max_depth = limits.max_depth.min(MAX_DEPTH);
        let mut open = SmallVec::<[Open; 16]>::new();
        let mut rest = bytes;
        loop {
            let is_fixed = matches!(rest.first(), Some(0xd4..=0xd8));
            let (first, behind) = token(rest).ok_or(DecodeError::MessagePack)?;
            rest = behind;
            match self.separate(open.last_mut(), rest) {
                Place::Key => self.key(first)?,
                Place::Omitted(behind) => match first {
                    Token::Str(_) | Token::Int(_) | Token::Uint(_) => rest = behind,
                    _ => return Err(DecodeError::MessagePack),
                },
                Place::Value => match first {
                    Token::Array(_) | Token::Map(_) if open.len() >= max_depth => {
                        return Err(DecodeError::Depth);
                    }
                    Token::Array(len) => {
                        self.text.push('[');
                        open.push(Open { left: len.into(), is_map: false, is_empty: true });
                    }
                    Token::Map(len) => {
                        self.text.push('{');
                        open.push(Open { left: 2 * u64::from(len), is_map: true, is_empty: true });
                    }
                    Token::Ext(kind, data) => self.extension(kind, data, is_fixed, limits)?,
                    scalar => self.scalar(scalar, limits)?,
                },
            }
            while let Some(&Open { left: 0, is_map, .. }) = open.last() {
                self.text.push(if is_map { '}' } else { ']' });
                open.pop();
            }
            if open.is_empty() {
                return Ok(rest);
            }
        }
    }

    /// Counts a token of the innermost array or map, and appends the comma in front of it. `behind` is what follows the
    /// token.
    fn separate(&mut self, open: Option<&mut Open>, behind: &'a [u8]) -> Place<'a> {
        let Some(open) = open else { return Place::Value };
        let is_key = open.is_map && open.left.is_multiple_of(2);
        open.left -= 1;
        if is_key && let Some(behind) = behind_undefined(behind) {
            open.left -= 1;
            return Place::Omitted(behind);
        }
        let is_behind_value = is_key || !open.is_map;
        if is_behind_value && !core::mem::replace(&mut open.is_empty, false) {
            self.text.push(',');
        }
        if is_key { Place::Key } else { Place::Value }
    }

    /// Appends a key. JavaScript's keys are strings; other languages write integers, too.
    fn key(&mut self, key: Token<'a>) -> Result<(), DecodeError> {
        match key {
            Token::Str(name) => {
                self.has_placeholder |= name == b"_placeholder";
                self.string(name);
            }
            Token::Int(number) => self.quoted(itoa::Buffer::new().format(number)),
            Token::Uint(number) => self.quoted(itoa::Buffer::new().format(number)),
            _ => return Err(DecodeError::MessagePack),
        }
        self.text.push(':');
        Ok(())
    }

    fn scalar(&mut self, scalar: Token<'a>, limits: &Limits) -> Result<(), DecodeError> {
        match scalar {
            Token::Bool(true) => self.text.push_str("true"),
            Token::Bool(false) => self.text.push_str("false"),
            Token::Int(number) => self.text.push_str(itoa::Buffer::new().format(number)),
            Token::Uint(number) => self.text.push_str(itoa::Buffer::new().format(number)),
            Token::Float(number) if number.is_finite() => {
                self.text.push_str(zmij::Buffer::new().format_finite(number));
            }
            Token::Str(bytes) => self.string(bytes),
            Token::Bin(data) => self.attachment(data, limits)?,
            // Of a number that is not finite, too, as `JSON.stringify` does.
            _ => self.text.push_str("null"),
        }
        Ok(())
    }

    /// Appends an extension: `undefined` and dates as `JSON.stringify` writes them, others as a list of their type and their
    /// data, which notepack.io makes of them. An `ArrayBuffer` has the type of both, but a length of its own (`is_fixed`).
    fn extension(
        &mut self,
        kind: i8,
        data: &'a [u8],
        is_fixed: bool,
        limits: &Limits,
    ) -> Result<(), DecodeError> {
        let text = match (kind, <[u8; 8]>::try_from(data)) {
            (NOTEPACK, _) if !is_fixed => return self.attachment(data, limits),
            (NOTEPACK, Ok(millis)) => notepack_date(millis),
            (NOTEPACK, _) if data.len() == 1 => None,
            _ if is_timestamp(kind, data) => date(kind, data),
            _ => {
                self.text.push('[');
                self.text.push_str(itoa::Buffer::new().format(kind));
                self.text.push(',');
                self.attachment(data, limits)?;
                self.text.push(']');
                return Ok(());
            }
        };
        match text {
            Some(text) => self.quoted(&text),
            None => self.text.push_str("null"),
        }
        Ok(())
    }

    /// Appends a placeholder, and keeps the data.
    fn attachment(&mut self, data: &'a [u8], limits: &Limits) -> Result<(), DecodeError> {
        self.bytes = self.bytes.saturating_add(data.len());
        let number = self.kept.len() + usize::from(self.last.is_some());
        if number >= limits.max_attachments {
            return Err(DecodeError::TooManyAttachments);
        }
        if self.bytes > limits.max_attachment_bytes {
            return Err(DecodeError::AttachmentBytes);
        }
        if let Some(before) = self.last.replace(data) {
            self.kept.push(Bytes::copy_from_slice(before));
        }
        self.text.push_str(r#"{"_placeholder":true,"num":"#);
        self.text.push_str(itoa::Buffer::new().format(number));
        self.text.push('}');
        Ok(())
    }

    fn quoted(&mut self, plain: &str) {
        self.text.push('"');
        self.text.push_str(plain);
        self.text.push('"');
    }

    fn string(&mut self, bytes: &[u8]) {
        self.text.push('"');
        match from_utf8(bytes) {
            Some(text) => self.escaped(text),
            None => self.repaired(bytes),
        }
        self.text.push('"');
    }

    /// Appends a string that is not UTF-8, with U+FFFD for what is not: JavaScript's strings can hold half of a surrogate
    /// pair, which notepack.io writes as three bytes.
    #[cold]
    fn repaired(&mut self, bytes: &[u8]) {
        let mut is_broken = false;
        for chunk in bytes.utf8_chunks() {
            // The other bytes of a character of which the first was replaced.
            let continues = is_broken
                && chunk.valid().is_empty()
                && chunk.invalid().first().is_some_and(|byte| byte & 0xc0 == 0x80);
            self.escaped(chunk.valid());
            is_broken = !chunk.invalid().is_empty();
            if is_broken && !continues {
                self.text.push(char::REPLACEMENT_CHARACTER);
            }
        }
    }

    /// Appends the characters between the quotes of a string.
    fn escaped(&mut self, text: &str) {
        let mut rest = text;
        loop {
            let plain = rest.len() - skip_plain(rest.as_bytes()).len();
            let Some((before, special)) = rest.split_at_checked(plain) else { return };
            self.text.push_str(before);
            let Some(&byte) = special.as_bytes().first() else { return };
            match byte {
                b'"' => self.text.push_str("\\\""),
                b'\\' => self.text.push_str("\\\\"),
                b'\n' => self.text.push_str("\\n"),
                b'\r' => self.text.push_str("\\r"),
                b'\t' => self.text.push_str("\\t"),
                // Writing to memory does not fail.
                _ => _ = write!(self.text, "\\u{byte:04x}"),
            }
            rest = special.get(1..).unwrap_or_default();
        }
    }
}

/// Returns the bytes behind the `undefined` that begins with the first of them.
pub(super) fn behind_undefined(bytes: &[u8]) -> Option<&[u8]> {
    // An extension of one byte, and its type.
    let (_, behind) = bytes.strip_prefix(&[0xd4, NOTEPACK as u8])?.split_first()?;
    Some(behind)
}
