//! The error of emitting a message, for servers and clients.

use super::error::EncodeError;
use crate::engineio::{self, client};
use serde::{Serialize, Serializer};

/// The reason why a message was not sent. No part of it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EmitError {
    /// The socket is not connected. A client returns this only if it does not buffer messages for the next connection.
    #[error("the socket is not connected")]
    Disconnected,
    /// The peer reads too slowly, and the message would exceed the send buffer. A server has then closed the client, so
    /// that it reconnects instead of missing messages.
    #[error("the peer reads too slowly: {queued} bytes waiting")]
    SlowConsumer {
        /// The number of waiting bytes.
        queued: usize,
    },
    /// The message is larger than the whole send buffer; or, from a client, larger than the server accepts.
    #[error("a message larger than the {limit} bytes that are taken")]
    TooLarge {
        /// The size of the send buffer, or the server's `maxPayload`.
        limit: usize,
    },
    /// The message was volatile, and the connection was not ready for it.
    #[error("the connection was not ready for a volatile message")]
    NotReady,
    /// The arguments or the event's name cannot be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The limit on pending acknowledgements of the peer is reached.
    #[error("too many pending acknowledgements")]
    TooManyAcks,
    /// The client has no connection, and its buffer for messages that wait for one is full: see
    /// [`Offline`](super::client::Offline).
    #[error("more than {limit} bytes would wait for a connection")]
    OfflineFull {
        /// The size of the buffer in bytes.
        limit: usize,
    },
    /// A client's message waited too long for a connection: see [`Offline`](super::client::Offline).
    #[error("the message waited too long for a connection")]
    Expired,
    /// A client's message was discarded before it was sent: its buffer was cleared, or the timeout of its
    /// acknowledgement passed.
    #[error("the message was discarded before it was sent")]
    Cleared,
    /// A client's message was sent the maximum number of times without being acknowledged.
    #[error("not acknowledged after {tries} tries")]
    NotAcknowledged {
        /// The number of times that it was sent.
        tries: u32,
    },
}

impl From<engineio::SendError> for EmitError {
    fn from(error: engineio::SendError) -> Self {
        use engineio::SendError;
        match error {
            SendError::Full { queued } => EmitError::SlowConsumer { queued },
            SendError::TooLarge { limit } => EmitError::TooLarge { limit },
            // JSON never contains a separator.
            SendError::Closed | SendError::Separator => EmitError::Disconnected,
        }
    }
}

impl From<client::SendError> for EmitError {
    fn from(error: client::SendError) -> Self {
        use client::SendError;
        match error {
            SendError::NotOpen => EmitError::Disconnected,
            SendError::Full { queued } => EmitError::SlowConsumer { queued },
            SendError::TooLarge { limit, .. } => EmitError::TooLarge { limit },
        }
    }
}

/// Serializes as the error's text, because a handler's return value is serialized.
impl Serialize for EmitError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
