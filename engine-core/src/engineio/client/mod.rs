//! The client's side of Engine.IO: one [`Session`] over up to three byte streams.

mod error;
mod handshake;
mod lane;
mod session;
#[cfg(test)]
mod tests;

pub use error::{CloseReason, HandshakeError, SendError, TransportError};
pub use lane::{Lane, Received, Request, Want};
pub(crate) use session::Notes;
pub use session::{Note, Session, Unconfirmed};

use super::transport::Transport;
use crate::websocket::{DeflatePool, PerMessageDeflate};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

/// The settings of a client's sessions. Names and defaults are the reference's if it has the setting.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// The transports, in the order in which they are tried. Default: polling, then WebSocket.
    pub transports: Vec<Transport>,
    /// Moves from polling to WebSocket if both are possible. Default: on.
    pub upgrade: bool,
    /// Tries the next transport if one cannot be opened. Default: off.
    pub try_all_transports: bool,
    /// The path of the requests, including the trailing slash. Default: `/socket.io/`.
    pub path: String,
    /// Sends binary messages in base64 over WebSocket, too. Default: off.
    pub force_base64: bool,
    /// The compression of WebSocket messages that is offered; `None` offers nothing. Default: [`PerMessageDeflate::new`]
    /// with the feature `deflate`, otherwise `None`. A server that insists on keeping its context between messages
    /// (`serverNoContextTakeover: false` in Node) refuses the connection with status 400: offer it nothing.
    pub per_message_deflate: Option<PerMessageDeflate>,
    /// The source of the state that messages are compressed with. Default: a new state for each message.
    pub deflate_pool: DeflatePool,
    /// Asks the server to let a session outlive its connections (stateful reconnect). Only servers of this library know that;
    /// to others the session is an ordinary one. Default: off.
    pub stateful_reconnect: bool,
    /// Adds a different `t` to the query of each polling request, so that no cache answers it. Default: on.
    pub timestamp_requests: bool,
    /// Timeout of the answer to a request that sends packets. Default: 30 s.
    pub request_timeout: Duration,
    /// Maximum time by which arriving bytes extend the deadline of a ping. Default: 60 s.
    pub message_timeout: Duration,
    /// Timeout of an upgrade. Default: 10 s.
    pub upgrade_timeout: Duration,
    /// Timeout of telling the server that the session is closed. Default: 5 s.
    pub close_timeout: Duration,
    /// Maximum number of bytes that wait to be written, and maximum size of one message with its attachments. The packets
    /// of the protocol itself may take as much again. Default: 4 MiB.
    pub send_buffer: usize,
    /// Maximum size of a message or body from the server, in bytes. Default: 16 MiB.
    pub max_message: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            transports: [Transport::Polling, Transport::WebSocket].into(),
            upgrade: true,
            try_all_transports: false,
            path: "/socket.io/".into(),
            force_base64: false,
            #[cfg(feature = "deflate")]
            per_message_deflate: Some(PerMessageDeflate::new()),
            #[cfg(not(feature = "deflate"))]
            per_message_deflate: None,
            deflate_pool: DeflatePool::default(),
            stateful_reconnect: false,
            timestamp_requests: true,
            request_timeout: Duration::from_secs(30),
            message_timeout: Duration::from_secs(60),
            upgrade_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(5),
            send_buffer: 4 << 20,
            max_message: 16 << 20,
        }
    }
}
