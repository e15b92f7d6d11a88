//! Arguments that are kept, or put together.

use super::{Args, ArgsError, show};
use crate::socketio::error::EncodeError;
use crate::socketio::packet::Hint;
use crate::socketio::parser::text;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;
use serde::Serialize;

/// Arguments that own their JSON: those of a packet, to keep after it, or some that were put together by
/// [`push`](OwnedArgs::push).
#[derive(Clone, PartialEq, Eq)]
pub struct OwnedArgs {
    pub(super) json: String,
    pub(super) start: usize,
    pub(super) attachments: Vec<Bytes>,
}

impl OwnedArgs {
    /// Creates an empty list of arguments.
    pub fn new() -> OwnedArgs {
        OwnedArgs { json: String::from("[]"), start: 0, attachments: Vec::new() }
    }

    /// Creates arguments from a JSON array, in which `{"_placeholder":true,"num":0}` stands for the first of
    /// `attachments`.
    ///
    /// # Errors
    /// Returns an error if the text is not a JSON array, if it is nested more than 128 levels deep, or if a placeholder
    /// refers to no attachment.
    pub fn from_json(json: &str, attachments: Vec<Bytes>) -> Result<OwnedArgs, ArgsError> {
        match text::check_list(json.trim_ascii(), attachments.len()) {
            Ok(json) => Ok(OwnedArgs { json: json.into(), start: 0, attachments }),
            Err(error) => Err(ArgsError::new(&error)),
        }
    }

    /// Appends an argument: anything that serializes, here also a tuple, is one. A value that serializes as bytes, at any
    /// depth, becomes an attachment.
    ///
    /// # Errors
    /// Returns an error if `value` cannot be sent. The arguments are then the same as before.
    pub fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        let is_first = self.start == 0 && self.as_args().is_empty();
        text::push(&mut self.json, is_first, &mut self.attachments, value)
    }

    /// Returns the same arguments, borrowed.
    pub fn as_args(&self) -> Args<'_> {
        let attachments = (&self.attachments).into();
        Args { json: &self.json, start: self.start, is_string: Hint(false), attachments }
    }

    /// Returns the attachments that placeholders in the JSON stand for.
    pub fn attachments(&self) -> &[Bytes] {
        &self.attachments
    }
}

impl Default for OwnedArgs {
    fn default() -> OwnedArgs {
        OwnedArgs::new()
    }
}

impl fmt::Debug for OwnedArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show::cut(f, |out| show::write_all(out, self.as_args()))
    }
}
