//! Why something was not emitted, on either side.

use super::error::EncodeError;
use crate::engineio::{self, client};
use serde::{Serialize, Serializer};

/// Why a message was not sent. Nothing of it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EmitError {
    /// The socket is not connected any more; or, of a client that keeps nothing for later, not now.
    #[error("the socket is not connected")]
    Disconnected,
    /// The peer reads too slowly: the message would exceed the send buffer. A server has closed the client then, so
    /// that it connects again instead of missing something.
    #[error("the peer reads too slowly: {queued} bytes waiting")]
    SlowConsumer {
        /// How many bytes are waiting.
        queued: usize,
    },
    /// The message is larger than the whole send buffer, so that no client could be sent it; or, from a client, larger
    /// than the server takes.
    #[error("a message larger than the {limit} bytes that are taken")]
    TooLarge {
        /// The size of the send buffer, or the server's `maxPayload`.
        limit: usize,
    },
    /// The message was volatile, and the connection was not ready for it.
    #[error("the connection was not ready for a volatile message")]
    NotReady,
    /// The arguments or the event's name cannot be sent: see the cause.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// More acknowledgements are awaited from the peer than may be.
    #[error("too many acknowledgements are awaited")]
    TooManyAcks,
    /// A client has no connection, and more waits for one than may: see [`Offline`](super::client::Offline).
    #[error("more than {limit} bytes would wait for a connection")]
    OfflineFull {
        /// How many bytes may wait.
        limit: usize,
    },
    /// A client's message waited longer for a connection than it may.
    #[error("it waited too long for a connection")]
    Expired,
    /// A client's message was taken back before it was sent, or its answer is not waited for any more.
    #[error("it was taken back before it was sent")]
    Cleared,
    /// A client's message was sent as often as it may, and never acknowledged.
    #[error("not acknowledged after {tries} tries")]
    NotAcknowledged {
        /// How often it was sent.
        tries: u32,
    },
}

impl From<engineio::SendError> for EmitError {
    fn from(error: engineio::SendError) -> Self {
        use engineio::SendError;
        match error {
            SendError::Full { queued } => EmitError::SlowConsumer { queued },
            SendError::TooLarge { limit } => EmitError::TooLarge { limit },
            // JSON has no separator in it.
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

/// As its text: what a handler ends with is serialized.
impl Serialize for EmitError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
