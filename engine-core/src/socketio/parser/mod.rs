//! The forms in which packets are written as messages of Engine.IO, and read again.

mod decoded;
mod encoded;
mod encoder;
pub(crate) mod msgpack;
pub(crate) mod text;

pub use decoded::Decoded;
pub(super) use decoded::Form;
pub use encoded::{Attachments, Encoded};
pub use encoder::{Encoder, error_of};

use super::limits::Limits;
use crate::engineio::Message;

/// The form in which packets are written as messages of Engine.IO. Both sides of a connection have to use the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Parser {
    /// The reference's default: JSON in a text message, with attachments in binary messages behind it.
    #[default]
    Text,
}

impl Parser {
    /// Reads a message, without regard to what the session expects.
    ///
    /// This takes time proportional to the length of the message and needs no session: call it before a session is
    /// locked. The session reports what is wrong with the message.
    #[inline]
    pub fn decode<'a>(self, message: &'a Message<'_>, limits: &Limits) -> Decoded<'a> {
        match self {
            Parser::Text => text::decode(message, limits),
        }
    }

    /// Reads a text message, which may outlive its [`Message`].
    pub(super) fn decode_text<'a>(self, text: &'a str, limits: &Limits) -> Decoded<'a> {
        match self {
            Parser::Text => text::decode_text(text, limits),
        }
    }
}
