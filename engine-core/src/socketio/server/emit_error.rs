//! The error of emitting a message from a server.

use crate::engineio::server::SendError;
use crate::socketio::error::EncodeError;
use crate::socketio::failure::serialize_failure;
use serde::{Serialize, Serializer};

/// The reason why a server's message, or an acknowledgement of either side, was not sent. No part of it was.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EmitError {
    /// The socket is not connected.
    #[error("the socket is not connected")]
    Disconnected,
    /// The peer reads too slowly, and the message would exceed the send buffer. The server has closed the client, so
    /// that it reconnects instead of missing messages.
    #[error("the peer reads too slowly: {queued} bytes waiting")]
    SlowConsumer {
        /// The number of waiting bytes.
        queued: usize,
    },
    /// The peer reads too slowly, and the message would exceed the send buffer. The client stays, as the server's policy
    /// says.
    #[error("the send buffer is full: {queued} bytes waiting")]
    Full {
        /// The number of waiting bytes.
        queued: usize,
    },
    /// The message is larger than the whole send buffer; or, for a client's acknowledgement, larger than the server
    /// accepts.
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
    /// The limit on pending acknowledgements of the client is reached.
    #[error("too many pending acknowledgements")]
    TooManyAcks,
}

crate::debug_as_text!(EmitError);

impl From<SendError> for EmitError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Full { queued } => EmitError::SlowConsumer { queued },
            SendError::TooLarge { limit } => EmitError::TooLarge { limit },
            // JSON never contains a separator.
            SendError::Closed | SendError::Separator => EmitError::Disconnected,
        }
    }
}

/// Serializes as the error's text, which is not for the peer: a handler may return it.
impl Serialize for EmitError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_failure(self, serializer)
    }
}
