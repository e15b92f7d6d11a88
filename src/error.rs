//! What can go wrong, and whose fault it is.

use crate::engine::CloseReason;
use sockeye_core::socketio::ArgsError;
pub use sockeye_core::socketio::EmitError;
use std::fmt;

/// Why there is no answer to a message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AckError {
    /// The message was not sent.
    #[error(transparent)]
    Emit(#[from] EmitError),
    /// The peer did not answer in time.
    #[error("operation has timed out")]
    Timeout,
    /// The connection ended before there was an answer.
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

serialize_as_text!(AckError, HandlerError, crate::rooms::JoinError);
