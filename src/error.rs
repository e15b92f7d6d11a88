//! What can go wrong, and whose fault it is.

use crate::engine::{CloseReason, SendError};
use sockeye_core::socketio::{ArgsError, EncodeError};
use std::fmt;

/// Why a message was not sent. Nothing of it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EmitError {
    /// The socket is not connected any more.
    #[error("the socket is not connected")]
    Disconnected,
    /// The client reads too slowly: the message would exceed the send buffer. The client was closed, so that it
    /// connects again instead of missing something.
    #[error("the client reads too slowly: {queued} bytes waiting")]
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
    /// The message was volatile, and the client was not ready for it.
    #[error("the client was not ready for a volatile message")]
    NotReady,
    /// The arguments or the event's name cannot be sent: see the cause.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// More acknowledgements are awaited from the client than may be.
    #[error("too many acknowledgements are awaited from this client")]
    TooManyAcks,
    /// A client has no connection, and more waits for one than may: see
    /// [`Offline`](crate::client::Offline).
    #[error("more than {limit} bytes would wait for a connection")]
    OfflineFull {
        /// How many bytes may wait.
        limit: usize,
    },
    /// A client's message waited longer for a connection than it may.
    #[error("it waited too long for a connection")]
    Expired,
    /// A client's message was taken back before it was sent.
    #[error("it was taken back before it was sent")]
    Cleared,
    /// A client's message was sent as often as it may, and never acknowledged.
    #[error("not acknowledged after {tries} tries")]
    NotAcknowledged {
        /// How often it was sent.
        tries: u32,
    },
}

impl From<crate::client::SendError> for EmitError {
    fn from(error: crate::client::SendError) -> Self {
        use crate::client::SendError;
        match error {
            SendError::NotReady => EmitError::NotReady,
            SendError::Full { queued } => EmitError::SlowConsumer { queued },
            SendError::OfflineFull { limit } => EmitError::OfflineFull { limit },
            SendError::TooLarge { limit, .. } => EmitError::TooLarge { limit },
            SendError::Expired => EmitError::Expired,
            SendError::Cleared => EmitError::Cleared,
            SendError::NotAcknowledged { tries } => EmitError::NotAcknowledged { tries },
            SendError::TooManyAcks => EmitError::TooManyAcks,
            _ => EmitError::Disconnected,
        }
    }
}

impl From<SendError> for EmitError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Full { queued } => EmitError::SlowConsumer { queued },
            SendError::TooLarge { limit } => EmitError::TooLarge { limit },
            _ => EmitError::Disconnected,
        }
    }
}

/// Why there is no answer to a message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AckError {
    /// The message was not sent.
    #[error(transparent)]
    Emit(#[from] EmitError),
    /// The client did not answer in time.
    #[error("operation has timed out")]
    Timeout,
    /// The client disconnected before it answered.
    #[error("socket has been disconnected")]
    Disconnected,
    /// The answer is not of the type that was asked for.
    #[error("the acknowledgement is not of the expected type: {0}")]
    Decode(#[from] ArgsError),
}

/// Why a socket was disconnected from its namespace.
///
/// Displays as the reference's reason, letter for letter.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DisconnectReason {
    /// The connection ended, for the reason within.
    Closed(CloseReason),
    /// The client left the namespace.
    ClientNamespaceDisconnect,
    /// The server disconnected the socket.
    ServerNamespaceDisconnect,
}

impl fmt::Display for DisconnectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DisconnectReason::Closed(reason) => reason.fmt(f),
            DisconnectReason::ClientNamespaceDisconnect => f.write_str("client namespace disconnect"),
            DisconnectReason::ServerNamespaceDisconnect => f.write_str("server namespace disconnect"),
        }
    }
}

/// What a middleware answers to a client that it refuses: the client's `connect_error`.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct ConnectError {
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<serde_json::Value>,
}

impl ConnectError {
    /// A refusal with a message.
    pub fn new(message: impl Into<String>) -> ConnectError {
        ConnectError { message: message.into(), data: None }
    }

    /// Adds details, any JSON: the client's `error.data`. What cannot be serialized is left out.
    pub fn data(mut self, data: impl serde::Serialize) -> ConnectError {
        self.data = serde_json::to_value(data).ok();
        self
    }
}

impl From<String> for ConnectError {
    fn from(message: String) -> Self {
        ConnectError::new(message)
    }
}

impl From<&str> for ConnectError {
    fn from(message: &str) -> Self {
        ConnectError::new(message)
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConnectError {}

/// Any error, for handlers that end with `?`: it is logged, and nothing is acknowledged. See [`Handler`].
///
/// [`Handler`]: crate::Handler
pub struct HandlerError(String);

impl<E: std::error::Error> From<E> for HandlerError {
    fn from(error: E) -> Self {
        HandlerError(error.to_string())
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// So that a handler may end with what sending gave: an error is logged.
macro_rules! serialize_as_text {
    ($($error:ty),*) => {$(
        impl serde::Serialize for $error {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}

serialize_as_text!(EmitError, AckError, HandlerError);
