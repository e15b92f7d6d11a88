//! A scanner of JSON, which checks the syntax (RFC 8259) and finds the ends of values without building them.
//!
//! It neither recurses nor allocates. Escapes are checked but not decoded, so an unpaired surrogate (`"\ud800"`) passes:
//! it is valid syntax, and matters only to a handler that asks for a `String`.

#[cfg(feature = "cluster")]
use super::string::plain_in_word;
use super::string::{skip_name, skip_plain};
use crate::socketio::error::DecodeError;
use crate::socketio::limits::MAX_DEPTH;
use alloc::borrow::Cow;
use alloc::string::String;
use serde::de::DeserializeOwned;

/// The reason why a text is not accepted as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The syntax is broken, or the text ends too early or too late.
    Syntax,
    /// More arrays and objects are nested than allowed.
    Depth,
}

impl From<Fault> for DecodeError {
    fn from(fault: Fault) -> DecodeError {
        match fault {
            Fault::Syntax => DecodeError::Json,
            Fault::Depth => DecodeError::Depth,
        }
    }
}

/// A text that was scanned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scanned<'a> {
    /// The value, without the whitespace behind it.
    pub(crate) value: &'a str,
    /// If the value is an array: its first element, unless that is an array or an object.
    pub(crate) first: Option<&'a str>,
    /// The position behind that element, or 0.
    pub(crate) first_end: usize,
}

/// Checks that `text` is one JSON value that is nested at most `max_depth` (never more than [`MAX_DEPTH`]) levels deep.
///
/// There may be whitespace behind the value, but not in front of it.
pub(crate) fn scan(text: &str, max_depth: usize) -> Result<Scanned<'_>, Fault> {
    let mut scanner = Scanner::new(text, max_depth);
    let (mut first, mut first_end) = (None, 0);
    if scanner.eat(b'[') {
        scanner.open(Container::Array)?;
        scanner.whitespace();
        let start = scanner.position();
        match scanner.peek() {
            Some(b']') => scanner.rest_of_value(Next::Behind)?,
            Some(b'[' | b'{') => scanner.rest_of_value(Next::Value)?,
            _ => {
                match scanner.eat(b'"') {
                    true => scanner.name()?,
                    false => scanner.scalar()?,
                }
                first_end = scanner.position();
                first = text.get(start..first_end);
                return scanner.rest_of_list(text).map(|value| Scanned { value, first, first_end });
            }
        }
    } else {
        if matches!(scanner.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            return Err(Fault::Syntax);
        }
        scanner.rest_of_value(Next::Value)?;
    }
    scanner.end(text).map(|value| Scanned { value, first, first_end })
}

/// Checks an array whose first element, which is valid, ends at `position`. Returns it without the whitespace behind it.
pub(super) fn scan_behind(text: &str, position: usize, max_depth: usize) -> Result<&str, Fault> {
    let mut scanner = Scanner::new(text, max_depth);
    scanner.open(Container::Array)?;
    scanner.rest = text.as_bytes().get(position..).unwrap_or_default();
    scanner.rest_of_list(text)
}

/// An iterator over the elements of a JSON array, as they are written.
///
/// It ends early if the text is not an array.
#[derive(Debug, Clone)]
pub(crate) struct Elements<'a> {
    text: &'a str,
    scanner: Scanner<'a>,
    at: At,
}

/// The position of [`Elements`] in the array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Start,
    Element,
    BehindElement,
}

impl<'a> Elements<'a> {
    pub(crate) fn new(text: &'a str) -> Elements<'a> {
        Elements { text, scanner: Scanner::new(text, MAX_DEPTH), at: At::Start }
    }

    /// Creates an iterator over the elements that follow the one that ends at `position`, or over all if that is 0.
    pub(crate) fn behind(text: &'a str, position: usize) -> Elements<'a> {
        let mut elements = Elements::new(text);
        if position > 0 {
            elements.scanner.rest = text.as_bytes().get(position..).unwrap_or_default();
            elements.at = At::BehindElement;
        }
        elements
    }

    /// Returns the position behind the elements that were passed.
    pub(crate) fn position(&self) -> usize {
        self.scanner.position()
    }

    /// Moves to the next element, and returns the text from there to the end of the array.
    pub(crate) fn seek(&mut self) -> Option<&'a str> {
        self.pass()?;
        let opening = if self.at == At::Start { b'[' } else { b',' };
        self.scanner.whitespace();
        if !self.scanner.eat(opening) {
            return None;
        }
        self.scanner.whitespace();
        if self.scanner.peek()? == b']' {
            return None;
        }
        self.at = At::Element;
        self.text.get(self.scanner.position()..)
    }

    /// Moves behind the current element.
    fn pass(&mut self) -> Option<()> {
        if self.at == At::Element {
            self.scanner.rest_of_value(Next::Value).ok()?;
            self.at = At::BehindElement;
        }
        Some(())
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.seek()?;
        let start = self.scanner.position();
        self.pass()?;
        self.text.get(start..self.scanner.position())
    }
}

/// Decodes the escapes in the characters between the quotes of a JSON string.
///
/// Half of a surrogate pair becomes U+FFFD, as it does when JavaScript writes it to a socket.
#[inline]
pub(crate) fn unescape(inner: &str) -> Cow<'_, str> {
    // Event names are short, so that a search would take longer to begin.
    match inner.bytes().any(|byte| byte == b'\\') {
        true => Cow::Owned(unescaped(inner)),
        false => Cow::Borrowed(inner),
    }
}

#[cold]
fn unescaped(inner: &str) -> String {
    let mut out = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some((before, escape)) = rest.split_once('\\') {
        out.push_str(before);
        let mut after = escape.chars();
        match after.next() {
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('u') => {
                let (decoded, left) = unicode_escape(after.as_str());
                out.push(decoded);
                rest = left;
                continue;
            }
            Some(other) => out.push(other),
            None => {}
        }
        rest = after.as_str();
    }
    out.push_str(rest);
    out
}

/// Reads a value. Half of a surrogate pair in a string, which serde_json refuses, is read as U+FFFD.
///
/// # Errors
/// Returns an error if the text is not of the type.
pub(crate) fn from_json<T: DeserializeOwned>(text: &str) -> serde_json::Result<T> {
    serde_json::from_str(text).or_else(|error| match replace_lone_surrogates(text) {
        Some(replaced) => serde_json::from_str(&replaced),
        None => Err(error),
    })
}

/// Returns a copy of the same length with `\ufffd` for each half of a surrogate pair; `None` if there is none.
///
/// The text has to be JSON, in which a backslash occurs only in strings.
pub(crate) fn replace_lone_surrogates(text: &str) -> Option<String> {
    const REPLACEMENT: &str = "\\ufffd";
    let mut out = String::new();
    let mut copied = 0;
    let mut rest = text;
    while let Some((_, escape)) = rest.split_once('\\') {
        let start = text.len() - escape.len() - 1;
        let after = escape.strip_prefix('u');
        rest = match after.and_then(hex4) {
            Some((unit, behind)) if unit & 0xF800 == 0xD800 => match low_half(behind) {
                Some((_, behind)) if unit & 0xFC00 == 0xD800 => behind,
                _ => {
                    out.push_str(text.get(copied..start)?);
                    out.push_str(REPLACEMENT);
                    copied = start + REPLACEMENT.len();
                    behind
                }
            },
            Some((_, behind)) => behind,
            None => {
                let mut behind = escape.chars();
                behind.next();
                behind.as_str()
            }
        };
    }
    (copied > 0).then(|| out + text.get(copied..).unwrap_or_default())
}

/// Decodes the text behind `\u`, together with the second half of a pair. Returns the character and the rest.
fn unicode_escape(text: &str) -> (char, &str) {
    let Some((first, rest)) = hex4(text) else {
        return (char::REPLACEMENT_CHARACTER, text);
    };
    let pair = match low_half(rest) {
        Some((second, behind)) if first & 0xFC00 == 0xD800 => {
            let code = 0x1_0000 + ((first & 0x3FF) << 10) + (second & 0x3FF);
            char::from_u32(code).map(|decoded| (decoded, behind))
        }
        _ => None,
    };
    pair.unwrap_or((char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), rest))
}

/// Returns the second half of a surrogate pair whose escape begins the text, and the rest.
fn low_half(text: &str) -> Option<(u32, &str)> {
    text.strip_prefix("\\u").and_then(hex4).filter(|(unit, _)| unit & 0xFC00 == 0xDC00)
}

fn hex4(text: &str) -> Option<(u32, &str)> {
    let (digits, rest) = text.split_at_checked(4)?;
    let code = digits.chars().try_fold(0, |code, digit| Some(code * 16 + digit.to_digit(16)?))?;
    Some((code, rest))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Container {
    Array,
    Object,
}

/// The token that the scanner expects next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Value,
    /// A comma, a closing bracket, or the end.
    Behind,
}

/// A position in a text, and the arrays and objects that are open there.
#[derive(Debug, Clone)]
pub(crate) struct Scanner<'a> {
    len: usize,
    rest: &'a [u8],
    max_depth: usize,
    depth: usize,
    /// One bit for each open container, the innermost in the lowest bit; set for an object.
    open: u128,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str, max_depth: usize) -> Scanner<'a> {
        let max_depth = max_depth.min(MAX_DEPTH);
        Scanner { len: text.len(), rest: text.as_bytes(), max_depth, depth: 0, open: 0 }
    }

    pub(crate) fn position(&self) -> usize {
        self.len - self.rest.len()
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    pub(crate) fn eat(&mut self, byte: u8) -> bool {
        match self.rest.split_first() {
            Some((&first, rest)) if first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    pub(crate) fn expect(&mut self, byte: u8) -> Result<(), Fault> {
        if self.eat(byte) { Ok(()) } else { Err(Fault::Syntax) }
    }

    pub(crate) fn whitespace(&mut self) {
        while let Some((b' ' | b'\t' | b'\n' | b'\r', rest)) = self.rest.split_first() {
            self.rest = rest;
        }
    }

    pub(crate) fn open(&mut self, container: Container) -> Result<(), Fault> {
        if self.depth >= self.max_depth {
            return Err(Fault::Depth);
        }
        self.depth += 1;
        self.open = self.open << 1 | u128::from(container == Container::Object);
        Ok(())
    }

    pub(crate) fn close(&mut self) {
        self.depth -= 1;
        self.open >>= 1;
    }

    fn innermost(&self) -> Option<Container> {
        match (self.depth, self.open & 1) {
            (0, _) => None,
            (_, 0) => Some(Container::Array),
            _ => Some(Container::Object),
        }
    }

    /// Scans one value, also inside of open containers.
    #[cfg(feature = "cluster")]
    pub(crate) fn pass_value(&mut self) -> Result<(), Fault> {
        let depth = core::mem::take(&mut self.depth);
        self.max_depth -= depth;
        let passed = self.rest_of_value(Next::Value);
        self.max_depth += depth;
        self.depth = depth;
        passed
    }

    /// Scans up to the end of all open containers; with [`Next::Value`], a value comes first.
    fn rest_of_value(&mut self, mut next: Next) -> Result<(), Fault> {
        loop {
            if next == Next::Value {
                next = self.value()?;
                continue;
            }
            let Some(container) = self.innermost() else {
                return Ok(());
            };
            self.whitespace();
            next = match (self.peek(), container) {
                (Some(b','), Container::Array) => {
                    self.eat(b',');
                    Next::Value
                }
                (Some(b','), Container::Object) => {
                    self.eat(b',');
                    self.key()?;
                    Next::Value
                }
                (Some(byte @ b']'), Container::Array) | (Some(byte @ b'}'), Container::Object) => {
                    self.eat(byte);
                    self.close();
                    Next::Behind
                }
                _ => return Err(Fault::Syntax),
            };
        }
    }

    /// Scans the rest of an array and of `text` behind the first element, and returns the text without the whitespace at its
    /// end.
    #[inline]
    fn rest_of_list(mut self, text: &str) -> Result<&str, Fault> {
        // Strings, which most arguments are, by the shortest path.
        while let Some(rest) = self.rest.strip_prefix(b",\"") {
            self.rest = rest;
            self.string()?;
        }
        if self.rest == b"]" {
            return Ok(text);
        }
        self.rest_of_value(Next::Behind)?;
        self.end(text)
    }

    /// Scans the end of `text`, and returns it without the whitespace there.
    fn end(mut self, text: &str) -> Result<&str, Fault> {
        let value = text.get(..self.position()).ok_or(Fault::Syntax)?;
        self.whitespace();
        if self.rest.is_empty() { Ok(value) } else { Err(Fault::Syntax) }
    }

    /// Scans a scalar, an empty container, or a container up to its first value.
    fn value(&mut self) -> Result<Next, Fault> {
        self.whitespace();
        match self.peek() {
            Some(b'[') => {
                self.eat(b'[');
                self.open(Container::Array)?;
                self.whitespace();
                Ok(if self.peek() == Some(b']') { Next::Behind } else { Next::Value })
            }
            Some(b'{') => {
                self.eat(b'{');
                self.open(Container::Object)?;
                self.whitespace();
                if self.peek() == Some(b'}') {
                    return Ok(Next::Behind);
                }
                self.key()?;
                Ok(Next::Value)
            }
            _ => {
                self.scalar()?;
                Ok(Next::Behind)
            }
        }
    }

    fn key(&mut self) -> Result<(), Fault> {
        self.whitespace();
        self.expect(b'"')?;
        self.name()?;
        self.whitespace();
        self.expect(b':')
    }

    /// Scans a string behind its opening quote, which probably ends soon.
    pub(crate) fn name(&mut self) -> Result<(), Fault> {
        self.rest = skip_name(self.rest);
        if self.eat(b'"') { Ok(()) } else { self.string() }
    }

    /// Scans a key of up to seven characters without escapes, and the colon behind it. Returns `None`, and stays where it is,
    /// if the next key is another one.
    #[cfg(feature = "cluster")]
    pub(crate) fn short_key(&mut self) -> Option<&'a [u8]> {
        let inner = self.rest.strip_prefix(b"\"")?;
        let len = plain_in_word(*inner.first_chunk()?);
        let (key, behind) = inner.split_at_checked(len)?;
        self.rest = behind.strip_prefix(b"\":")?;
        Some(key)
    }

    fn scalar(&mut self) -> Result<(), Fault> {
        let (&first, rest) = self.rest.split_first().ok_or(Fault::Syntax)?;
        match first {
            b'"' => {
                self.rest = rest;
                self.string()
            }
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.literal(b"true"),
            b'f' => self.literal(b"false"),
            b'n' => self.literal(b"null"),
            _ => Err(Fault::Syntax),
        }
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), Fault> {
        self.rest = self.rest.strip_prefix(word).ok_or(Fault::Syntax)?;
        Ok(())
    }

    fn number(&mut self) -> Result<(), Fault> {
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            if !self.eat(b'+') {
                self.eat(b'-');
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Fault> {
        if !self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return Err(Fault::Syntax);
        }
        while let Some((b'0'..=b'9', rest)) = self.rest.split_first() {
            self.rest = rest;
        }
        Ok(())
    }

    /// Scans a string behind its opening quote.
    fn string(&mut self) -> Result<(), Fault> {
        loop {
            self.rest = skip_plain(self.rest);
            let (&byte, rest) = self.rest.split_first().ok_or(Fault::Syntax)?;
            self.rest = rest;
            match byte {
                b'"' => return Ok(()),
                b'\\' => self.escape()?,
                _ => return Err(Fault::Syntax),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Fault> {
        let (&kind, rest) = self.rest.split_first().ok_or(Fault::Syntax)?;
        self.rest = match kind {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => rest,
            b'u' => match rest.split_first_chunk::<4>() {
                Some((hex, rest)) if hex.iter().all(u8::is_ascii_hexdigit) => rest,
                _ => return Err(Fault::Syntax),
            },
            _ => return Err(Fault::Syntax),
        };
        Ok(())
    }
}
