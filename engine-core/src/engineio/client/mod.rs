//! The client's side of Engine.IO: one [`Session`] over up to three byte streams.

mod error;
mod handshake;
mod lane;
mod session;
#[cfg(test)]
mod tests;

pub use error::{CloseReason, HandshakeError, SendError, TransportError};
pub use lane::{Lane, Received, Request, Want};
pub use session::Session;

use super::transport::Transport;
use crate::websocket::{DeflatePool, PerMessageDeflate};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

/// The settings of a client's sessions; names and defaults are the reference's where it has them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// The transports to use, the first one first. Polling, then WebSocket.
    pub transports: Vec<Transport>,
    /// Whether to move from polling to WebSocket where both are possible. On.
    pub upgrade: bool,
    /// Whether to try the next of the transports where one cannot be opened. Off.
    pub try_all_transports: bool,
    /// The path of the requests, with its slash at the end. `/socket.io/`.
    pub path: String,
    /// Whether binary messages are sent in base64 over WebSocket, too. Off.
    pub force_base64: bool,
    /// Whether to offer that WebSocket messages are compressed, and how. By default with the feature `deflate`, and as
    /// [`PerMessageDeflate::new`] says. A server that insists on using its messages for the next ones
    /// (`serverNoContextTakeover: false` in Node) refuses the connection with status 400: offer it nothing.
    pub per_message_deflate: Option<PerMessageDeflate>,
    /// The source of the state that messages are compressed with. Default: a new state for each message.
    pub deflate_pool: DeflatePool,
    /// Whether each request has another `t` in its query, so that nobody answers it from a cache. Polling only. On.
    pub timestamp_requests: bool,
    /// How long a request that sends may take to be answered. 30 s.
    pub request_timeout: Duration,
    /// How long an upgrade may take. 10 s.
    pub upgrade_timeout: Duration,
    /// How long the server may take to hear that the session is closed. 5 s.
    pub close_timeout: Duration,
    /// How many bytes may wait to be written. 4 MiB.
    pub send_buffer: usize,
    /// The largest message or body that is taken from the server, in bytes. 16 MiB.
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
            timestamp_requests: true,
            request_timeout: Duration::from_secs(30),
            upgrade_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(5),
            send_buffer: 4 << 20,
            max_message: 16 << 20,
        }
    }
}
