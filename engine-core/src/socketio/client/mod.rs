//! The client's side of Socket.IO: several namespaces over one connection that comes and goes.

mod manager;
mod namespace;
mod recovery;
#[cfg(test)]
mod tests;
mod text;
mod waiting;

pub use manager::Client;
pub use text::Text;

use super::emit_error::EmitError;
use super::limits::Limits;
use super::parser::text::OwnedArgs;
use super::parser::text::{event_name, first_of};
use crate::engineio::client::{CloseReason, Config as EngineConfig, TransportError};
use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use core::time::Duration;

/// The settings of a client; names and defaults are the reference's where it has them.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// Those of the layer below.
    pub engine: Arc<EngineConfig>,
    /// Whether to begin with WebSocket where that worked the last time. Off.
    pub remember_upgrade: bool,
    /// Whether to connect again by itself. On.
    pub reconnection: bool,
    /// How often in a row, until a namespace is joined again; `None` for ever.
    pub reconnection_attempts: Option<u32>,
    /// How long to wait before the first attempt; each time it is twice as long. 1 s.
    pub reconnection_delay: Duration,
    /// How long at most. 5 s.
    pub reconnection_delay_max: Duration,
    /// How far each wait is changed at random, as a share of it: 0 to 1. 0.5.
    pub randomization_factor: f64,
    /// How long a connection may take to open, the application to say what it shows, and the server to join a namespace
    /// after that. 20 s.
    pub timeout: Duration,
    /// How long an acknowledgement is waited for, unless the message says otherwise. 30 s.
    pub ack_timeout: Duration,
    /// How often an event is sent again that was not acknowledged: in time, or before its connection was lost. 0: events
    /// are not waited for.
    pub retries: u32,
    /// What becomes of events that are sent while there is no connection.
    pub offline: Offline,
    /// What is taken from the server.
    pub limits: Limits,
    /// How many bytes of events may wait for the answer that joins their namespace. Events that a server replays, being
    /// shown how far they came, do not wait. 1 MiB.
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
            limits: Limits::default(),
            receive_buffer: 1 << 20,
        }
    }
}

/// What becomes of events that are sent while there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offline {
    /// They wait, and are sent in order once there is one.
    Buffer {
        /// How many bytes of one namespace may wait; an event beyond them is refused. Counted is what an event takes:
        /// its text, its attachments, and about 100 bytes for its place.
        bytes: usize,
        /// How long one may wait that was not sent yet; `None` as long as it takes.
        age: Option<Duration>,
    },
    /// They are refused.
    Fail,
}

impl Default for Offline {
    /// 4 MiB, as long as it takes.
    fn default() -> Self {
        Offline::Buffer { bytes: 4 << 20, age: None }
    }
}

/// Names a namespace of a [`Client`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NamespaceId(u32);

impl NamespaceId {
    /// Returns the name of the namespace at this index.
    fn at(index: usize) -> NamespaceId {
        NamespaceId(index as u32)
    }

    fn index(self) -> usize {
        self.0 as usize
    }
}

/// Names an event that waits to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(u64);

/// What became of an event at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is on its way.
    Now,
    /// It waits: [`Event::Fate`] will tell.
    Later(Token),
}

/// How an event is sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct How {
    /// It is dropped if it cannot leave at once.
    pub volatile: bool,
    /// The id that it was encoded with, and how long its answer is waited for.
    pub ack: Option<(u64, Duration)>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// It did not come in time.
    Timeout,
    /// The connection ended before.
    Disconnected,
    /// The event was not sent.
    NotSent(EmitError),
}

/// Why a namespace was not joined.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The server does not let this client in. It is not asked again until the application wants it.
    #[error("{message}")]
    Refused {
        /// What the server says.
        message: String,
        /// More of it, if there is.
        data: Option<serde_json::Value>,
    },
    /// The namespace's name does not begin with a slash, or has a comma, a question mark or U+001E in it, which end names
    /// and packets.
    #[error("illegal namespace")]
    Namespace,
    /// There is no connection to the server.
    #[error("{}", Cause(.0))]
    Closed(CloseReason),
    /// The server answers as one of version 2 does, which this client does not speak.
    #[error("the server's answer has no id: it may speak version 2 of Socket.IO")]
    OldServer,
    /// The server did not say in time whether it lets this client in, while other namespaces keep the connection. It is
    /// asked again once it has answered.
    #[error("timeout")]
    Timeout,
    /// There is nothing to show to the server: the callback for it failed, or took too long. It is asked again after a
    /// wait, as where the connection cannot be opened.
    #[error("no auth: {0}")]
    Auth(Box<str>),
    /// The request to join was not sent: with the auth data it is larger than the server accepts. It is sent again
    /// after a wait, like a failed [`Auth`](ConnectError::Auth).
    #[error("not sent: {0}")]
    NotSent(EmitError),
}

/// The cause of a close, or its reason where there is none.
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

/// Why a namespace was left. Displays as the reference's reason, letter for letter.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DisconnectReason {
    /// The server disconnected this client from it.
    Server,
    /// This side left it.
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
    /// The id of the acknowledgement that the server wants, if it does.
    pub ack: Option<u64>,
}

impl Incoming {
    /// Its name. Allocates only if that was written with escapes.
    pub fn event(&self) -> Cow<'_, str> {
        event_name(first_of(self.args.as_args().json()))
    }
}

/// An event that left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Its name.
    pub event: String,
    /// Its arguments.
    pub args: OwnedArgs,
}

impl Outgoing {
    fn new(args: OwnedArgs) -> Outgoing {
        let event = event_name(first_of(args.as_args().json())).into_owned();
        Outgoing { event, args }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A namespace can be joined: [`Client::join`] or [`Client::refuse_join`] with the same attempt.
    Join(NamespaceId, u32),
    /// A namespace was joined.
    Connected(NamespaceId),
    /// A namespace was not joined.
    ConnectError(NamespaceId, ConnectError),
    /// A namespace was left.
    Disconnected(NamespaceId, DisconnectReason),
    /// An event arrived.
    Incoming(NamespaceId, Incoming),
    /// An event left, in a namespace of which that [is told](Client::tell_outgoing): for a connection, not yet for the
    /// server.
    Outgoing(NamespaceId, Outgoing),
    /// An event was answered, or not.
    Answer(NamespaceId, u64, Result<OwnedArgs, NoAnswer>),
    /// An event that waited was sent, or not.
    Fate(Token, Result<(), EmitError>),
    /// The connection is opened again, for so many times in a row.
    ReconnectAttempt(u32),
    /// The connection is open again, after so many attempts.
    Reconnect(u32),
    /// An attempt failed.
    ReconnectError(CloseReason),
    /// There will be no more attempts.
    ReconnectFailed,
    /// The server sent at least one ping, which was answered.
    Ping,
}
