//! A message that is read from its beginning to its end.

use super::{Raw, msgpack};
use crate::cluster::error::BusError;
use crate::cluster::limits::{ClusterLimits, MAX_DEPTH};
use crate::socketio::text::{Container, Fault, Scanner, unescape};
use crate::utf8::from_utf8;
use alloc::borrow::Cow;
use core::str;

/// A position in a message. What it passes is checked in the same step, so that no byte is read twice to find a field.
#[derive(Debug)]
pub(in crate::cluster) struct Reader<'a> {
    source: Source<'a>,
    limits: ClusterLimits,
}

#[derive(Debug)]
enum Source<'a> {
    Json(&'a str, Scanner<'a>),
    MsgPack { message: &'a [u8], rest: &'a [u8], depth: usize, attachments: usize },
}

/// The elements of an array or the members of a map that are to come.
enum Left {
    /// In JSON, a comma stands in front of all but the first.
    Json {
        is_first: bool,
    },
    MsgPack(u32),
}

impl<'a> Reader<'a> {
    /// Begins a message. Both sides know JSON by its first byte, because every message in it is an object.
    pub(in crate::cluster) fn new(message: &'a [u8], limits: &ClusterLimits) -> Result<Reader<'a>, BusError> {
        if message.len() > limits.max_message {
            return Err(BusError::TooLong { len: message.len(), limit: limits.max_message });
        }
        let source = match message.first() {
            Some(b'{') => {
                let text = from_utf8(message).ok_or(BusError::Syntax)?;
                Source::Json(text, Scanner::new(text, MAX_DEPTH))
            }
            _ => Source::MsgPack { message, rest: message, depth: 0, attachments: 0 },
        };
        Ok(Reader { source, limits: *limits })
    }

    pub(in crate::cluster) fn limits(&self) -> &ClusterLimits {
        &self.limits
    }

    /// Passes a value.
    pub(in crate::cluster) fn value(&mut self) -> Result<Raw<'a>, BusError> {
        match &mut self.source {
            Source::Json(text, scanner) => {
                scanner.whitespace();
                let start = scanner.position();
                // Most values outside of arguments are names.
                if scanner.eat(b'"') {
                    scanner.name()?
                } else {
                    scanner.pass_value()?
                }
                text.get(start..scanner.position()).map(Raw::Json).ok_or(BusError::Syntax)
            }
            Source::MsgPack { rest, depth, attachments, .. } => {
                let (value, behind) = msgpack::check(rest, *depth, attachments, &self.limits)?;
                *rest = behind;
                Ok(Raw::MsgPack(value))
            }
        }
    }

    /// Passes a map: `each` gets the name of a member, and has to pass its value. Returns the whole map, and whether it is
    /// one: another value is passed as such.
    pub(in crate::cluster) fn map(
        &mut self,
        mut each: impl FnMut(&mut Self, &[u8]) -> Result<(), BusError>,
    ) -> Result<(Raw<'a>, bool), BusError> {
        let start = self.start();
        let Some(mut left) = self.open(Container::Object)? else { return Ok((self.value()?, false)) };
        while self.next(&mut left, b'}')? {
            let key = self.key()?;
            each(self, &key)?;
        }
        Ok((self.since(start)?, true))
    }

    /// Passes an array: `each` has to pass an element. Another value is passed as such and returned.
    pub(in crate::cluster) fn list(
        &mut self,
        mut each: impl FnMut(&mut Self) -> Result<(), BusError>,
    ) -> Result<Option<Raw<'a>>, BusError> {
        let Some(mut left) = self.open(Container::Array)? else { return self.value().map(Some) };
        while self.next(&mut left, b']')? {
            each(self)?;
        }
        Ok(None)
    }

    /// Checks that nothing follows.
    pub(in crate::cluster) fn finish(&mut self) -> Result<(), BusError> {
        let is_over = match &mut self.source {
            Source::Json(_, scanner) => {
                scanner.whitespace();
                scanner.peek().is_none()
            }
            Source::MsgPack { rest, .. } => rest.is_empty(),
        };
        if is_over { Ok(()) } else { Err(BusError::Syntax) }
    }

    /// Returns the position of the next value.
    fn start(&mut self) -> usize {
        match &mut self.source {
            Source::Json(_, scanner) => {
                scanner.whitespace();
                scanner.position()
            }
            Source::MsgPack { message, rest, .. } => message.len() - rest.len(),
        }
    }

    /// Returns what was passed since a position.
    fn since(&self, start: usize) -> Result<Raw<'a>, BusError> {
        let passed = match &self.source {
            Source::Json(text, scanner) => text.get(start..scanner.position()).map(Raw::Json),
            Source::MsgPack { message, rest, .. } => {
                message.get(start..message.len() - rest.len()).map(Raw::MsgPack)
            }
        };
        passed.ok_or(BusError::Syntax)
    }

    /// Moves behind the beginning of an array or a map. Returns `None` if the next value is another one.
    fn open(&mut self, container: Container) -> Result<Option<Left>, BusError> {
        match &mut self.source {
            Source::Json(_, scanner) => {
                let opening = if container == Container::Object { b'{' } else { b'[' };
                scanner.whitespace();
                if !scanner.eat(opening) {
                    return Ok(None);
                }
                scanner.open(container)?;
                Ok(Some(Left::Json { is_first: true }))
            }
            Source::MsgPack { rest, depth, .. } => {
                let Some((len, behind)) = msgpack::open(rest, container == Container::Object) else {
                    return Ok(None);
                };
                if *depth >= MAX_DEPTH {
                    return Err(BusError::Depth);
                }
                *rest = behind;
                *depth += 1;
                Ok(Some(Left::MsgPack(len)))
            }
        }
    }

    /// Moves to the next element or member of the innermost array or map, or behind its end. Returns whether there is one.
    fn next(&mut self, left: &mut Left, closing: u8) -> Result<bool, BusError> {
        match (&mut self.source, left) {
            (Source::Json(_, scanner), Left::Json { is_first }) => {
                scanner.whitespace();
                let is_first = core::mem::replace(is_first, false);
                match scanner.peek() {
                    Some(byte) if byte == closing => {
                        scanner.eat(closing);
                        scanner.close();
                        Ok(false)
                    }
                    Some(_) if is_first => Ok(true),
                    _ => scanner.expect(b',').map(|()| true).map_err(BusError::from),
                }
            }
            (Source::MsgPack { depth, .. }, Left::MsgPack(left)) => {
                if let Some(less) = left.checked_sub(1) {
                    *left = less;
                    return Ok(true);
                }
                *depth -= 1;
                Ok(false)
            }
            _ => Err(BusError::Syntax),
        }
    }

    /// Passes the key of a member.
    fn key(&mut self) -> Result<Cow<'a, [u8]>, BusError> {
        match &mut self.source {
            Source::Json(text, scanner) => {
                scanner.whitespace();
                if let Some(key) = scanner.short_key() {
                    return Ok(Cow::Borrowed(key));
                }
                scanner.expect(b'"')?;
                let start = scanner.position();
                scanner.name()?;
                let key = text.get(start..scanner.position() - 1).unwrap_or_default();
                scanner.whitespace();
                scanner.expect(b':')?;
                Ok(match unescape(key) {
                    Cow::Borrowed(key) => Cow::Borrowed(key.as_bytes()),
                    Cow::Owned(key) => Cow::Owned(key.into_bytes()),
                })
            }
            Source::MsgPack { rest, .. } => {
                let (key, behind) = msgpack::key(rest)?;
                *rest = behind;
                Ok(Cow::Borrowed(key))
            }
        }
    }
}

impl From<Fault> for BusError {
    fn from(fault: Fault) -> BusError {
        match fault {
            Fault::Depth => BusError::Depth,
            Fault::Syntax => BusError::Syntax,
        }
    }
}
