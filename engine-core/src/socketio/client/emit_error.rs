//! The error of emitting a message from a client.

use crate::engineio::client::SendError;
use crate::socketio::error::EncodeError;
use crate::socketio::failure::serialize_failure;
use crate::socketio::server;
use serde::{Serialize, Serializer};

/// The reason why a client's message was not sent. No part of it was.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EmitError {
    /// The socket is not connected, and does not buffer messages for the next connection; or the client has ended.
    #[error("the socket is not connected")]
    Disconnected,
    /// The server reads too slowly, and the message would exceed the send buffer; or the application handles its events
    /// too slowly.
    #[error("the peer reads too slowly: {queued} bytes waiting")]
    SlowConsumer {
        /// The number of waiting bytes.
        queued: usize,
    },
    /// The message is larger than the whole send buffer, or larger than the server accepts.
    #[error("the message is larger than the limit of {limit} bytes")]
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
    /// The limit on pending acknowledgements of the server is reached.
    #[error("too many pending acknowledgements")]
    TooManyAcks,
    /// The message was an acknowledgement that the server does not wait for: it did not ask for one, or it has been
    /// sent.
    #[error("no acknowledgement is wanted: the server did not ask for one, or it has been sent")]
    NoAckWanted,
    /// There is no connection, and the buffer for messages that wait for one is full: see [`Offline`](super::Offline).
    #[error("more than {limit} bytes would wait for a connection")]
    OfflineFull {
        /// The size of the buffer in bytes.
        limit: usize,
    },
    /// The message waited too long for a connection: see [`Offline`](super::Offline).
    #[error("the message waited too long for a connection")]
    Expired,
    /// The message was discarded before it was sent: the buffer was cleared, or the timeout of its acknowledgement
    /// passed.
    #[error("the message was discarded before it was sent")]
    Cleared,
    /// The message was sent the maximum number of times without being acknowledged.
    #[error("not acknowledged after {tries} tries")]
    NotAcknowledged {
        /// The number of times that it was sent.
        tries: u32,
    },
}

crate::debug_as_text!(EmitError);

impl From<SendError> for EmitError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::NotOpen => EmitError::Disconnected,
            SendError::Full { queued } => EmitError::SlowConsumer { queued },
            SendError::TooLarge { limit, .. } => EmitError::TooLarge { limit },
        }
    }
}

/// Handlers of both sides return the server's error. A client's acknowledgement fails for some of the same reasons.
impl From<SendError> for server::EmitError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::NotOpen => server::EmitError::Disconnected,
            SendError::Full { queued } => server::EmitError::SlowConsumer { queued },
            SendError::TooLarge { limit, .. } => server::EmitError::TooLarge { limit },
        }
    }
}

/// Serializes as the error's text, which is not for the peer: a handler may return it.
impl Serialize for EmitError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_failure(self, serializer)
    }
}
