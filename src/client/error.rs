//! The errors of a client's messages.

use sockeye_core::socketio::ArgsError;
pub use sockeye_core::socketio::client::EmitError as ClientEmitError;
use sockeye_core::socketio::client::NoAnswer;

/// The reason why a client's message was not acknowledged.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ClientAckError {
    /// The message was not sent.
    #[error(transparent)]
    Emit(#[from] ClientEmitError),
    /// The server did not acknowledge in time.
    #[error("operation has timed out")]
    Timeout,
    /// The connection ended before the acknowledgement arrived, or no runtime has opened one: see
    /// [`Client::attach`](crate::Client::attach).
    #[error("socket has been disconnected, or no runtime connects its client")]
    Disconnected,
    /// The acknowledgement is not of the requested type.
    #[error("the acknowledgement is not of the expected type: {0}")]
    Decode(#[from] ArgsError),
}

sockeye_core::debug_as_text!(ClientAckError);

impl From<NoAnswer> for ClientAckError {
    fn from(reason: NoAnswer) -> Self {
        match reason {
            NoAnswer::Timeout => ClientAckError::Timeout,
            NoAnswer::Disconnected => ClientAckError::Disconnected,
            NoAnswer::NotSent(error) => ClientAckError::Emit(error),
        }
    }
}

crate::error::serialize_as_text!(ClientAckError);
