//! The reasons for which a session ends.

use super::packet::PacketError;
use alloc::string::String;

/// The reason why a session ended.
///
/// `Display` writes the reference implementation's string, letter for letter; the variants carry the cause.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The client closed the session or its connection.
    TransportClose,
    /// The connection failed, or the peer broke the rules of its transport.
    TransportError(TransportError),
    /// The client did not answer a ping in time.
    PingTimeout,
    /// A packet could not be decoded.
    ParseError(PacketError),
    /// This side closed the session. The text is the cause, if the application did not ask for it.
    ForcedClose(Option<String>),
    /// The server is shutting down.
    ServerShutdown,
}

impl core::fmt::Display for CloseReason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            CloseReason::TransportClose => "transport close",
            CloseReason::TransportError(_) => "transport error",
            CloseReason::PingTimeout => "ping timeout",
            CloseReason::ParseError(_) => "parse error",
            CloseReason::ForcedClose(_) => "forced close",
            CloseReason::ServerShutdown => "server shutting down",
        })
    }
}

/// The way in which a transport failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// A second poll arrived while one was waiting.
    #[error("a second poll while one was waiting")]
    PollOverlap,
    /// A second request with data arrived while one was being received.
    #[error("a second post while one was being received")]
    PostOverlap,
    /// The client dropped the connection of a waiting poll.
    #[error("the poll's connection closed early")]
    PollAborted,
    /// The client dropped the connection while it was sending data.
    #[error("the post's connection closed early")]
    PostAborted,
    /// The connection broke, or ended without a closing handshake.
    #[error("the connection was lost")]
    Lost,
    /// The client sent a ping; in version 4 only servers do.
    #[error("a ping from the client")]
    PingFromClient,
    /// The client sent a pong; in version 3 only servers do.
    #[error("a pong from the client")]
    PongFromClient,
    /// The peer read too slowly, and the send buffer was full.
    #[error("the peer reads too slowly: {queued} bytes waiting")]
    SlowConsumer {
        /// The number of bytes that were waiting.
        queued: usize,
    },
    /// The client sent messages faster than [`max_message_rate`](super::server::Config::max_message_rate) allows.
    #[error("more than {per_second} messages per second")]
    TooManyMessages {
        /// The average that is allowed.
        per_second: u64,
    },
    /// The client sent more than [`max_byte_rate`](super::server::Config::max_byte_rate) allows.
    #[error("more than {per_second} bytes per second")]
    TooManyBytes {
        /// The average that is allowed.
        per_second: u64,
    },
    /// The peer broke the WebSocket protocol or a limit.
    #[error("websocket: {0}")]
    WebSocket(crate::websocket::Error),
    /// A request body had a binary content type, which version 4 does not use.
    #[error("a body that is not text")]
    ContentType,
    /// A request body exceeded the limit.
    #[error("a body of more than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// A request body could not be decoded.
    #[error("{0}")]
    Body(crate::http::Error),
    /// A message or a request did not arrive in time.
    #[error("a message took too long to arrive")]
    TooSlow,
    /// With stateful reconnect, the client acknowledged messages that were not sent, or took back an acknowledgement.
    #[error("an acknowledgement of messages that were not sent, or fewer than before")]
    Acknowledgement,
}

impl CloseReason {
    /// Returns whether only the connection was lost, so that a session with stateful reconnect can be resumed.
    pub(super) fn is_loss(&self) -> bool {
        match self {
            CloseReason::TransportClose | CloseReason::PingTimeout => true,
            CloseReason::TransportError(error) => matches!(
                error,
                TransportError::Lost
                    | TransportError::PollAborted
                    | TransportError::PostAborted
                    | TransportError::TooSlow
            ),
            _ => false,
        }
    }
}

impl From<TransportError> for CloseReason {
    fn from(error: TransportError) -> Self {
        CloseReason::TransportError(error)
    }
}
