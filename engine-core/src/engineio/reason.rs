//! Why a session ended.

use super::packet::PacketError;
use alloc::string::String;

/// Why a session ended.
///
/// Displays as the reference's reason, letter for letter; the variants carry the cause.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The client closed the session or its connection.
    TransportClose,
    /// The connection failed, or the peer broke the rules of its transport.
    TransportError(TransportError),
    /// The client did not answer a ping in time.
    PingTimeout,
    /// A packet could not be read.
    ParseError(PacketError),
    /// This side closed the session; the text says why if it was not the application's wish.
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

/// What was wrong with a transport.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// A second poll came while one was waiting.
    #[error("two polls at a time")]
    PollOverlap,
    /// A second request with data came while one was being read.
    #[error("two posts at a time")]
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
    /// Clients of this protocol version answer pings, they do not send them.
    #[error("a ping from the client")]
    PingFromClient,
    /// More bytes were waiting for the peer than may.
    #[error("the peer reads too slowly: {queued} bytes waiting")]
    SlowConsumer {
        /// How many bytes were waiting.
        queued: usize,
    },
    /// The peer broke the WebSocket protocol or a limit.
    #[error("websocket: {0}")]
    WebSocket(crate::websocket::Error),
    /// A request body of a kind that this protocol version does not have.
    #[error("a body that is not text")]
    ContentType,
    /// A request body that is larger than is taken.
    #[error("a body of more than {limit} bytes")]
    TooLarge {
        /// The most bytes that are taken.
        limit: usize,
    },
    /// A request body that cannot be read.
    #[error("{0}")]
    Body(crate::http::Error),
    /// A message or a request did not arrive in time.
    #[error("a message took too long to arrive")]
    TooSlow,
}

impl From<TransportError> for CloseReason {
    fn from(error: TransportError) -> Self {
        CloseReason::TransportError(error)
    }
}
