//! The client's side of Socket.IO: several namespaces over successive connections.

mod emit_error;
mod manager;
mod namespace;
mod recovery;
#[cfg(test)]
mod tests;
mod text;
mod waiting;

pub use emit_error::EmitError;
pub use manager::Client;
pub use text::Text;

use super::args::OwnedArgs;
use super::limits::Limits;
use super::parser::Parser;
use crate::engineio::client::{CloseReason, Config as EngineConfig, TransportError};
use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use core::time::Duration;

/// The settings of a client. Names and defaults are the reference's if it has the setting.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// The settings of the Engine.IO sessions.
    pub engine: Arc<EngineConfig>,
    /// Begins with WebSocket if the last connection used it successfully. Default: off.
    pub remember_upgrade: bool,
    /// Reconnects automatically. Default: on.
    pub reconnection: bool,
    /// Maximum number of consecutive reconnection attempts, until a namespace is joined. Default: `None`, unlimited.
    pub reconnection_attempts: Option<u32>,
    /// Delay before the first reconnection attempt; it doubles with each attempt. Default: 1 s.
    pub reconnection_delay: Duration,
    /// Maximum delay between attempts. Default: 5 s.
    pub reconnection_delay_max: Duration,
    /// Fraction, from 0 to 1, by which each delay is randomized. Default: 0.5.
    pub randomization_factor: f64,
    /// Timeout of each step of connecting: opening the connection, the application's answer to [`Event::Join`], and the
    /// server's answer to the request to join. Default: 20 s.
    pub timeout: Duration,
    /// Timeout of an acknowledgement, unless the message sets its own. Default: 30 s.
    pub ack_timeout: Duration,
    /// Maximum number of times that an event is sent again if it is not acknowledged in time, or before its connection is
    /// lost. Default: 0, which waits for no acknowledgement.
    pub retries: u32,
    /// The handling of events that are sent while there is no connection.
    pub offline: Offline,
    /// The form of the packets, which the server has to use as well.
    pub parser: Parser,
    /// The limits of one packet from the server.
    pub limits: Limits,
    /// Maximum number of bytes of events that wait for the answer that joins their namespace. Events that a server
    /// replays do not wait. Default: 1 MiB.
    pub receive_buffer: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            engine: Arc::default(),
            remember_upgrade: false,
            reconnection: true,
            reconnection_attempts: None,
            reconnection_delay: Duration::from_secs(1),
            reconnection_delay_max: Duration::from_secs(5),
            randomization_factor: 0.5,
            timeout: Duration::from_secs(20),
            ack_timeout: Duration::from_secs(30),
            retries: 0,
            offline: Offline::default(),
            parser: Parser::default(),
            limits: Limits::default(),
            receive_buffer: 1 << 20,
        }
    }
}

/// The handling of events that are sent while there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offline {
    /// They wait, and are sent in order once there is one.
    Buffer {
        /// Maximum number of bytes that wait in one namespace; an event beyond them is refused. An event counts with its
        /// text, its attachments, about 100 bytes for its entry, and with its other form if the parser is
        /// [`Parser::MessagePack`].
        bytes: usize,
        /// Maximum age of an event that was not sent yet; `None` is unlimited.
        age: Option<Duration>,
    },
    /// They are refused.
    Fail,
}

impl Default for Offline {
    /// Returns a buffer of 4 MiB without a limit on the age.
    fn default() -> Self {
        Offline::Buffer { bytes: 4 << 20, age: None }
    }
}

/// The id of a namespace of a [`Client`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NamespaceId(u32);

impl NamespaceId {
    /// Returns the id of the namespace at this index.
    fn at(index: usize) -> NamespaceId {
        NamespaceId(index as u32)
    }

    fn index(self) -> usize {
        self.0 as usize
    }
}

/// The id of an event that waits to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(u64);

/// The result of sending an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It was handed to the connection.
    Now,
    /// It waits; [`Event::Fate`] reports what becomes of it.
    Later(Token),
}

/// The options of an event.
#[derive(Clone, Copy, Debug, Default)]
pub struct How {
    /// It is dropped if it cannot be sent immediately.
    pub volatile: bool,
    /// The acknowledgement id that it was encoded with, and the timeout of the acknowledgement.
    pub ack: Option<(u64, Duration)>,
}

/// The reason why an event was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// The timeout passed.
    Timeout,
    /// The connection ended first.
    Disconnected,
    /// The event was not sent.
    NotSent(EmitError),
}

/// The reason why a namespace was not joined.
///
/// `Display` writes a refusal's message alone, as the server sent it; `Debug`, which a program prints if its `main` returns
/// the error, a sentence about it.
#[derive(Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The server refused this client. It is not asked again until the application connects again.
    #[error("{message}")]
    Refused {
        /// The server's message.
        message: String,
        /// The server's data, if it sent some.
        data: Option<serde_json::Value>,
    },
    /// The namespace's name does not begin with a slash, or contains a comma, a question mark or U+001E, which end names
    /// and packets.
    #[error("the namespace begins with no slash, or contains a comma, a question mark or U+001E")]
    Namespace,
    /// The connection could not be opened, or was lost.
    #[error("{}", Cause(.0))]
    Closed(CloseReason),
    /// The server's answer is that of version 2 of Socket.IO, which this client does not support.
    #[error("the server's answer has no id: it may speak version 2 of Socket.IO")]
    OldServer,
    /// The server did not answer the request to join in time, and other namespaces keep the connection open. It is asked
    /// again once it has answered.
    #[error("timeout")]
    Timeout,
    /// There is no auth data to send: the callback failed or took too long, or the data is not a JSON object. It is tried
    /// again after a delay, as if the connection could not be opened.
    #[error("no auth: {0}")]
    Auth(Box<str>),
    /// The request to join was not sent, because with the auth data it is larger than the server accepts. It is tried
    /// again after a delay, as after [`Auth`](ConnectError::Auth).
    #[error("not sent: {0}")]
    NotSent(EmitError),
}

impl core::fmt::Debug for ConnectError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let ConnectError::Refused { message, data } = self else { return core::fmt::Display::fmt(self, f) };
        write!(f, "the server refused the client: {message}")?;
        if let Some(data) = data {
            write!(f, " ({data})")?;
        }
        // The message of every server if it has no such namespace.
        if message == "Invalid namespace" {
            f.write_str(" (the path of a client's url is the namespace, not the path of the requests)")?;
        }
        Ok(())
    }
}

/// Displays the cause of a close, or its reason if it has no cause.
struct Cause<'a>(&'a CloseReason);

impl core::fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            CloseReason::TransportClose(code) => TransportError::Closed(*code).fmt(f),
            CloseReason::TransportError(error) => error.fmt(f),
            CloseReason::ParseError(error) => error.fmt(f),
            CloseReason::Protocol(error) => error.fmt(f),
            other => other.fmt(f),
        }
    }
}

/// The reason why a namespace was left. Displays as the reference's reason, letter for letter.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DisconnectReason {
    /// The server disconnected this client from it.
    Server,
    /// The client left it.
    Client,
    /// The connection ended.
    Closed(CloseReason),
}

impl core::fmt::Display for DisconnectReason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            DisconnectReason::Server => f.write_str("io server disconnect"),
            DisconnectReason::Client => f.write_str("io client disconnect"),
            DisconnectReason::Closed(reason) => reason.fmt(f),
        }
    }
}

/// An event that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// Its arguments.
    pub args: OwnedArgs,
    /// The id of the acknowledgement, if the server wants one.
    pub ack: Option<u64>,
}

impl Incoming {
    /// Returns the event's name. Allocates only if it was written with escapes.
    pub fn event(&self) -> Cow<'_, str> {
        self.args.as_args().event().unwrap_or_default()
    }
}

/// An event that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emitted {
    /// Its name.
    pub event: String,
    /// Its arguments.
    pub args: OwnedArgs,
}

impl Emitted {
    fn new(args: OwnedArgs) -> Emitted {
        let event = args.as_args().event().unwrap_or_default().into_owned();
        Emitted { event, args }
    }
}

/// An event of a client.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A namespace can be joined: call [`Client::join`] or [`Client::refuse_join`] with the same attempt.
    Join(NamespaceId, u32),
    /// A namespace was joined.
    Connected(NamespaceId),
    /// A namespace was not joined.
    ConnectError(NamespaceId, ConnectError),
    /// A namespace was left.
    Disconnected(NamespaceId, DisconnectReason),
    /// An event arrived.
    Incoming(NamespaceId, Incoming),
    /// An event was handed to the connection, in a namespace that [reports](Client::tell_outgoing) such events.
    Outgoing(NamespaceId, Emitted),
    /// An event was acknowledged, or will not be.
    Answer(NamespaceId, u64, Result<OwnedArgs, NoAnswer>),
    /// An event that waited was sent, or will not be.
    Fate(Token, Result<(), EmitError>),
    /// A reconnection attempt begins; the number counts consecutive attempts.
    ReconnectAttempt(u32),
    /// The connection is open again, after this number of attempts.
    Reconnect(u32),
    /// A reconnection attempt failed.
    ReconnectError(CloseReason),
    /// There will be no more attempts.
    ReconnectFailed,
    /// The server sent at least one ping, which was answered.
    Ping,
    /// The connection was lost, for this reason, and the session is going to be resumed: namespaces stay joined.
    Interrupted(CloseReason),
    /// The session goes on with another connection. Nothing was lost.
    Resumed,
    /// An event was sent without an acknowledgement, and the session ended before the server confirmed that it has handled
    /// it.
    Lost(NamespaceId, Emitted),
}
