//! The forms in which packets are written as messages of Engine.IO, and read again.

mod complete;
mod decoded;
mod encoded;
mod encoder;
pub(crate) mod msgpack;
pub(crate) mod text;

pub use complete::Complete;
pub use decoded::Decoded;
pub(super) use decoded::Form;
pub use encoded::{Attachments, Encoded};
pub use encoder::{Encoder, error_of};

use super::error::DecodeError;
use super::limits::Limits;
use crate::engineio::Message;

/// The form in which packets are written as messages of Engine.IO. Both sides of a connection have to use the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Parser {
    /// The reference's default: JSON in a text message, with attachments in binary messages behind it.
    #[default]
    Text,
    /// MessagePack: one binary message for each packet, compatible with npm's `socket.io-msgpack-parser`.
    ///
    /// Bytes stand among the arguments where they are, and 64-bit integers survive. As JSON would be, a date (the extension
    /// of MessagePack, or the one of notepack.io) is read as its text, `undefined` as `null` or as no member of its object,
    /// and a number that is not finite as `null`. Another extension is read as a list of its type and its bytes.
    ///
    /// [`Limits`] apply in the same way: each piece of bytes is an attachment.
    MessagePack,
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
            Parser::MessagePack => msgpack::decode(message, limits),
        }
    }

    /// Reads a binary message, which may outlive its [`Message`].
    pub(super) fn decode_binary<'a>(self, data: &'a [u8], limits: &Limits) -> Decoded<'a> {
        match self {
            Parser::Text => Decoded(Form::Attachment(data)),
            Parser::MessagePack => msgpack::decode_binary(data, limits),
        }
    }

    /// Reads a text message, which may outlive its [`Message`].
    pub(super) fn decode_text<'a>(self, text: &'a str, limits: &Limits) -> Decoded<'a> {
        match self {
            Parser::Text => text::decode_text(text, limits),
            Parser::MessagePack => Decoded(Form::Wrong(DecodeError::NotBinary)),
        }
    }
}
