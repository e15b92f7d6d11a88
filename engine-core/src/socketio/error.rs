//! The errors of reading and of writing packets.

use alloc::boxed::Box;
use alloc::string::ToString;
use core::fmt;

/// A violation of the Socket.IO protocol by the peer. The connection must be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The packet has no bytes.
    #[error("empty packet")]
    Empty,
    /// The packet's first character is not a digit from 0 to 6.
    #[error("unknown packet type")]
    Type,
    /// A binary packet does not begin with a count of 1 to 4 digits, not zero, and `-`.
    #[error("illegal number of attachments")]
    AttachmentCount,
    /// [`Limits::max_attachments`](super::Limits::max_attachments) is exceeded.
    #[error("too many attachments")]
    TooManyAttachments,
    /// [`Limits::max_namespace_len`](super::Limits::max_namespace_len) is exceeded. Do not repeat the name in an answer.
    #[error("namespace too long")]
    NamespaceTooLong,
    /// The namespace's name contains U+001E, which separates packets in a payload: no answer could name it.
    #[error("illegal namespace")]
    Namespace,
    /// The id is above [`MAX_ID`](super::MAX_ID), is missing in an acknowledgement, or is present in a packet of a
    /// type without id.
    #[error("illegal acknowledgement id")]
    Id,
    /// The data is not valid JSON.
    #[error("invalid json")]
    Json,
    /// The message is not a map in MessagePack with the fields of a packet, each once.
    #[error("invalid msgpack")]
    MessagePack,
    /// A text message arrived, but packets of [`Parser::MessagePack`](super::Parser::MessagePack) are binary messages.
    #[error("got plaintext data, but the parser is MessagePack")]
    NotBinary,
    /// [`Limits::max_depth`](super::Limits::max_depth) is exceeded.
    #[error("json too deep")]
    Depth,
    /// The data is missing, or is JSON that this type of packet does not allow.
    #[error("invalid payload")]
    Payload,
    /// [`Limits::max_event_len`](super::Limits::max_event_len) is exceeded.
    #[error("event name too long")]
    EventTooLong,
    /// The event has one of the [reserved](super::is_reserved) names.
    #[error("reserved event name")]
    ReservedEvent,
    /// A placeholder does not refer to an attachment of its packet.
    #[error("illegal attachments")]
    Attachment,
    /// [`Limits::max_attachment_bytes`](super::Limits::max_attachment_bytes) is exceeded.
    #[error("attachments too large")]
    AttachmentBytes,
    /// A text packet arrived before all attachments of the previous one.
    #[error("got plaintext data when reconstructing a packet")]
    UnexpectedText,
    /// An attachment arrived that no packet announced.
    #[error("got binary data when not reconstructing a packet")]
    UnexpectedBinary,
}

/// The reason why a packet cannot be sent, which is the caller's fault. Nothing was sent.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The event has one of the [reserved](super::is_reserved) names.
    #[error("reserved event name")]
    ReservedEvent,
    /// The namespace does not begin with `/`, or contains a comma or U+001E.
    #[error("illegal namespace")]
    Namespace,
    /// The data that a client shows to the server is not a JSON object.
    #[error("auth is not a JSON object")]
    Auth,
    /// Only events and acknowledgements can hold binary data.
    #[error("binary data in a packet without attachments")]
    Binary,
    /// Beside binary data there is an object with a key `_placeholder`, which the peer could mistake for an attachment.
    #[error("an object looks like a placeholder")]
    Placeholder,
    /// The arguments are an `Err` whose error is not for the peer: one of this library. Holds its text.
    #[error("failed: {0}")]
    Failed(Box<str>),
    /// The arguments of an event are an `Err`, which only an acknowledgement may be. Holds the error as JSON.
    #[error("an `Err` can be acknowledged, but not emitted: {0}")]
    ErrValue(Box<str>),
    /// A value's `Serialize` failed, or a map's key cannot be a string.
    #[error("cannot serialize: {0}")]
    Serialize(Box<str>),
}

crate::debug_as_text!(EncodeError);

impl serde::ser::Error for EncodeError {
    fn custom<T: fmt::Display>(message: T) -> EncodeError {
        EncodeError::Serialize(message.to_string().into())
    }
}
