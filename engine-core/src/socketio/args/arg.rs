//! One argument of an event or an acknowledgement.

use super::{ArgsError, show};
use crate::socketio::attached::Attached;
use crate::socketio::parser::text;
use core::fmt;
use serde::de::Deserialize;

/// One argument of an event or an acknowledgement, as it was received.
///
/// `Display` writes it as JSON with `<12 bytes>` for an attachment. `Debug` writes the same, and at most 1,000 bytes of
/// it.
#[derive(Clone, Copy)]
pub struct Arg<'a> {
    pub(super) json: &'a str,
    /// The number of arguments before it, for errors.
    index: usize,
    pub(super) attachments: Attached<'a>,
}

impl<'a> Arg<'a> {
    /// Returns the JSON as it was received, in which `{"_placeholder":true,"num":0}` stands for the first of the
    /// attachments.
    pub fn json(&self) -> &'a str {
        self.json
    }

    /// Returns the bytes, if the argument is an attachment and not only contains some.
    pub fn bytes(&self) -> Option<&'a [u8]> {
        self.attachments.get(text::attachment_number(self.json)?)
    }

    /// Reads the argument as `T`, which may borrow from it. In contrast to
    /// [`Args::deserialize`](super::Args::deserialize), a tuple is an argument that is an array.
    ///
    /// # Errors
    /// Returns an error if the argument is not of that type, or is nested more than 127 levels deep.
    pub fn deserialize<T: Deserialize<'a>>(&self) -> Result<T, ArgsError> {
        text::deserialize_one(self.json, self.index, self.attachments)
    }
}

impl fmt::Display for Arg<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show::write(f, *self)
    }
}

impl fmt::Debug for Arg<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show::cut(f, |out| show::write(out, *self))
    }
}

/// An iterator over arguments, returned by [`Args::values`](super::Args::values).
#[derive(Debug, Clone)]
pub struct ArgIter<'a> {
    elements: text::Elements<'a>,
    index: usize,
    attachments: Attached<'a>,
}

impl<'a> ArgIter<'a> {
    pub(super) fn new(elements: text::Elements<'a>, attachments: Attached<'a>) -> ArgIter<'a> {
        ArgIter { elements, index: 0, attachments }
    }
}

impl<'a> Iterator for ArgIter<'a> {
    type Item = Arg<'a>;

    fn next(&mut self) -> Option<Arg<'a>> {
        let arg = Arg { json: self.elements.next()?, index: self.index, attachments: self.attachments };
        self.index += 1;
        Some(arg)
    }
}
