//! The arguments of an event or an acknowledgement.

mod arg;
mod owned;
mod show;

pub use arg::{Arg, ArgIter};
pub use owned::OwnedArgs;

use super::attached::Attached;
use super::packet::{Hint, Packet};
use super::parser::text;
use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::format;
use core::fmt;
use serde::de::{Deserialize, DeserializeOwned};

/// The arguments of an event or an acknowledgement: JSON until [`deserialize`](Args::deserialize) is called.
///
/// `Debug` writes the arguments as a JSON array, with `<12 bytes>` for an attachment, and at most 1,000 bytes of that.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Args<'a> {
    /// The whole array.
    json: &'a str,
    /// The position behind an event's name, or 0 if all elements are arguments.
    start: usize,
    /// The only argument is a string without escapes. There is no whitespace beside it.
    is_string: Hint,
    attachments: Attached<'a>,
}

impl<'a> Args<'a> {
    /// Creates the arguments of an event. `json` is an array whose first element is the name.
    pub fn new_event(json: &'a str, attachments: impl Into<Attached<'a>>) -> Args<'a> {
        // Not zero, even if there is no name.
        let start = text::end_of_first(json).max(1);
        Args { json, start, is_string: Hint(false), attachments: attachments.into() }
    }

    /// Creates the arguments of an acknowledgement. `json` is an array.
    pub fn new_ack(json: &'a str, attachments: impl Into<Attached<'a>>) -> Args<'a> {
        Args { json, start: 0, is_string: Hint(false), attachments: attachments.into() }
    }

    /// Creates the arguments of an event or an acknowledgement that was received.
    pub(super) fn of_packet(packet: &Packet<'a>, attachments: Attached<'a>) -> Args<'a> {
        let Packet { data, name_end, is_string, .. } = *packet;
        Args { json: data, start: name_end, is_string, attachments }
    }

    /// Returns the array as it was received, an event's name included.
    pub fn json(&self) -> &'a str {
        self.json
    }

    /// Returns the attachments that placeholders in the array stand for.
    pub fn attachments(&self) -> Attached<'a> {
        self.attachments
    }

    /// Returns the event's name, if these are the arguments of an event. Allocates only if it was written with
    /// escapes.
    pub fn event(&self) -> Option<Cow<'a, str>> {
        text::event_name(self.json, self.start)
    }

    /// Returns the arguments one by one, each as JSON.
    pub fn iter(&self) -> RawArgs<'a> {
        RawArgs { elements: self.elements_of(self.json) }
    }

    /// Returns the arguments one by one, each with its attachments.
    pub fn values(&self) -> ArgIter<'a> {
        ArgIter::new(self.elements_of(self.json), self.attachments)
    }

    /// Returns the arguments in `json`, which is the array or a copy of it.
    pub(super) fn elements_of<'b>(&self, json: &'b str) -> text::Elements<'b> {
        text::Elements::behind(json, self.start)
    }

    /// Returns the text from the first argument to the end of the array, if there is one.
    #[inline]
    pub(super) fn first(&self) -> Option<&'a str> {
        // The string stands behind `[` or a comma.
        if self.is_string() {
            return self.json.get(self.start + 1..);
        }
        // Most argument lists have no space behind the event's name: `benches/count ack`.
        let behind = if self.start > 0 { self.json.get(self.start..)?.strip_prefix(',') } else { None };
        match behind {
            Some(first) if first.as_bytes().first().is_some_and(|byte| *byte > b' ' && *byte != b']') => {
                Some(first)
            }
            _ => self.elements_of(self.json).seek(),
        }
    }

    /// Returns whether it is known that [`first`](Args::first) is a string without escapes, and `]`.
    #[inline]
    pub(super) fn is_string(&self) -> bool {
        self.is_string.0
    }

    /// Returns the number of arguments, which are counted in the JSON.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Returns whether there are no arguments.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Reads the arguments as `T`.
    ///
    /// A tuple or tuple struct takes the arguments in order, `()` takes none, and any other type takes the first one:
    /// `Vec<T>` is one argument that is an array. Rust's arrays are tuples to serde, so `[u8; 3]` is three arguments. A
    /// missing argument is `None` if the type is an `Option`, and an error otherwise; further arguments are ignored.
    ///
    /// If `T` holds bytes (`bytes::Bytes` with its feature `serde`, `serde_bytes`), a placeholder is read as its
    /// attachment; `&[u8]` and `&serde_bytes::Bytes` borrow it. A `Vec<u8>` is a list of numbers to serde. A type that
    /// accepts anything, bytes included, reads the attachment too, so that bytes may stand inside `#[serde(flatten)]` and
    /// in enums that are untagged or internally tagged. `serde_json::Value`, which cannot hold bytes, reads the
    /// placeholder as the object that it is, `{"_placeholder":true,"num":0}`.
    ///
    /// Half of a surrogate pair (`"\ud83d"`), which a JavaScript string can hold and a Rust string cannot, is read as
    /// U+FFFD.
    ///
    /// # Errors
    /// Returns an error if an argument is missing, is not of its type, or is nested more than 127 levels deep.
    #[inline(always)]
    pub fn deserialize<T: Deserialize<'a>>(&self) -> Result<T, ArgsError> {
        text::deserialize(self)
    }

    /// Copies the JSON. Attachments are shared, except one that is still in the receive buffer.
    pub fn into_owned(self) -> OwnedArgs {
        OwnedArgs { json: self.json.into(), start: self.start, attachments: self.attachments.to_vec() }
    }
}

impl fmt::Debug for Args<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show::cut(f, |out| show::write_all(out, *self))
    }
}

impl<'a> IntoIterator for Args<'a> {
    type Item = &'a str;
    type IntoIter = RawArgs<'a>;

    fn into_iter(self) -> RawArgs<'a> {
        self.iter()
    }
}

/// An iterator over arguments, each as JSON, returned by [`Args::iter`].
#[derive(Debug, Clone)]
pub struct RawArgs<'a> {
    elements: text::Elements<'a>,
}

impl<'a> Iterator for RawArgs<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.elements.next()
    }
}

/// The error of received data (arguments, or a client's auth) that is not of the type that was asked for.
///
/// Displays the description, which names the argument and the position in it.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ArgsError(Box<str>);

crate::debug_as_text!(ArgsError);

impl ArgsError {
    #[cold]
    pub(super) fn new(error: &dyn fmt::Display) -> ArgsError {
        ArgsError(format!("invalid arguments: {error}").into())
    }
}

/// Reads a client's auth: the data of the packet by which it joins a namespace. Empty data is an empty object.
///
/// # Errors
/// Returns an error if the auth is not of the type `T`.
pub fn read_auth<T: DeserializeOwned>(data: &str) -> Result<T, ArgsError> {
    let data = if data.is_empty() { "{}" } else { data };
    text::from_json(data).map_err(|error| ArgsError(format!("invalid auth: {error}").into()))
}
