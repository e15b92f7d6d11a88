//! The settings of an Engine.IO server.

use super::rate::RateLimit;
use crate::engineio::transport::Transport;
use crate::engineio::version::Version;
use crate::http::HttpCompression;
use crate::websocket::{DeflatePool, PerMessageDeflate};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

/// The settings of an Engine.IO server; names and defaults are the reference's where it has them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Time from the handshake or a pong to the next ping, which may be sent earlier by one part in 128, but at most 31.25 ms,
    /// so that the pings of many sessions are sent together. In version 3, the client sends the pings. Default: 25 s.
    pub ping_interval: Duration,
    /// Timeout of a pong. In version 3, of a ping, from the time at which it is due. Default: 20 s.
    pub ping_timeout: Duration,
    /// Timeout of an upgrade: up to the probe, and again from the probe to its completion. Default: 10 s.
    pub upgrade_timeout: Duration,
    /// Timeout of the application's decision about a new session. Default: 30 s.
    pub allow_timeout: Duration,
    /// Time that a closed polling session waits for the polls that tell the client. Default: 30 s.
    pub close_timeout: Duration,
    /// The same for a session that ends with its server, until the first of these polls. Default: 5 s.
    pub shutdown_poll_timeout: Duration,
    /// Maximum size of a message, request body or payload in bytes. Default: 1,000,000.
    pub max_payload: usize,
    /// Allows HTTP long-polling. Default: on.
    pub polling: bool,
    /// Allows WebSocket. Default: on.
    pub websocket: bool,
    /// Allows a polling session to move to WebSocket. Default: on.
    pub allow_upgrades: bool,
    /// Lets a poll take the place of one that still waits, instead of ending the session. Default: off.
    pub allow_overlapping_polls: bool,
    /// Allows polling by scripts and forms, for pages of any origin. Default: off.
    pub jsonp: bool,
    /// Speaks version 3, too. Default: off.
    pub allow_eio3: bool,
    /// Refuses requests for WebSocket, and polling by scripts and forms, from pages of other origins that CORS does not allow.
    /// Default: off.
    pub check_origin: bool,
    /// The compression of WebSocket messages for clients that want it. Default: none.
    pub per_message_deflate: Option<PerMessageDeflate>,
    /// The compression of responses that carry a payload, for clients that accept it. Default: none.
    pub http_compression: Option<HttpCompression>,
    /// The source of the state that messages and payloads are compressed with. Default: a new state for each of them.
    pub deflate_pool: DeflatePool,
    /// The subprotocols of WebSocket that are accepted; `None` for any.
    pub subprotocols: Option<Vec<String>>,
    /// Maximum number of bytes that wait for a peer that does not read. Default: 4 MiB.
    pub send_buffer: usize,
    /// The policy for messages that do not fit into the send buffer. Default: close.
    pub when_full: WhenFull,
    /// Number of waiting bytes above which a connection is no longer read. Default: 256 KiB.
    pub high_water: usize,
    /// Limit of the messages of a session. Default: none.
    pub max_message_rate: Option<RateLimit>,
    /// Limit of the bytes in the messages of a session. Default: none.
    pub max_byte_rate: Option<RateLimit>,
    /// Lets sessions outlive their connections, for clients that ask for it. Default: off.
    pub stateful_reconnect: Option<StatefulReconnect>,
}

/// The settings of stateful reconnect: a session whose connection is lost waits for the client to come back, and neither
/// side loses a message. Only for clients that ask for it, as the client of this crate can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct StatefulReconnect {
    pub(super) window: Duration,
    pub(super) max_bytes: usize,
}

impl StatefulReconnect {
    /// Returns the default settings.
    pub fn new() -> StatefulReconnect {
        StatefulReconnect { window: Duration::from_secs(60), max_bytes: 1 << 20 }
    }

    /// Sets how long a session waits for its client after its connection was lost. Then it ends, with the reason of the
    /// loss. Default: 60 s: a client whose connection is silent notices it after `ping_interval` and `ping_timeout`, 45 s.
    pub fn window(mut self, window: Duration) -> StatefulReconnect {
        self.window = window;
        self
    }

    /// Sets how many bytes of messages are kept for each session until its client has acknowledged them. While a client
    /// is connected, the oldest are dropped if there are more, and a client that misses one of those begins a new session.
    /// While it is away, further messages meet a full [`send_buffer`](Config::send_buffer). Default: 1 MiB.
    pub fn max_bytes(mut self, bytes: usize) -> StatefulReconnect {
        self.max_bytes = bytes;
        self
    }
}

impl Default for StatefulReconnect {
    fn default() -> StatefulReconnect {
        StatefulReconnect::new()
    }
}

/// The policy for messages to a peer that reads too slowly: those that do not fit into its send buffer.
///
/// With a policy that drops, messages that may be dropped wait behind the queue once that has 128 KiB, or half of the send
/// buffer, and pings and pongs do not wait for them. A client of this crate that then leaves a namespace and at once joins it
/// again may take those that were sent before for messages to its new socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenFull {
    /// The peer is closed, so that it knows that it missed something, and can connect again.
    #[default]
    Close,
    /// The message is not sent, and the peer stays.
    DropNewest,
    /// The oldest waiting messages are dropped, and the peer stays. If that is not enough, the message is not sent.
    DropOldest,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            upgrade_timeout: Duration::from_secs(10),
            allow_timeout: Duration::from_secs(30),
            close_timeout: Duration::from_secs(30),
            shutdown_poll_timeout: Duration::from_secs(5),
            max_payload: 1_000_000,
            polling: true,
            websocket: true,
            allow_upgrades: true,
            allow_overlapping_polls: false,
            jsonp: false,
            allow_eio3: false,
            check_origin: false,
            per_message_deflate: None,
            http_compression: None,
            deflate_pool: DeflatePool::default(),
            subprotocols: None,
            send_buffer: 4 << 20,
            when_full: WhenFull::Close,
            high_water: 256 << 10,
            max_message_rate: None,
            max_byte_rate: None,
            stateful_reconnect: None,
        }
    }
}

impl Config {
    /// Returns whether clients can follow the heartbeat: the interval and the timeout are at least 1 ms each, which is their
    /// unit on the wire, and less than 2^31 ms together. A timer of JavaScript with more than that fires at once, so that
    /// every client would end its session.
    pub fn has_valid_heartbeat(&self) -> bool {
        let (interval, timeout) = (self.ping_interval.as_millis(), self.ping_timeout.as_millis());
        interval > 0 && timeout > 0 && interval.saturating_add(timeout) < 1 << 31
    }

    /// Returns whether there is a limit of what a session may send.
    pub fn has_rate_limit(&self) -> bool {
        self.max_message_rate.is_some() || self.max_byte_rate.is_some()
    }

    /// Returns whether [`count_message`](super::Session::count_message) has to be called for each message.
    pub fn counts_messages(&self) -> bool {
        self.has_rate_limit() || self.stateful_reconnect.is_some()
    }

    /// Returns the number of waiting bytes up to which a producer that waits may add more: half of
    /// [`high_water`](Config::high_water), so that the connection is still read, or half of the
    /// [`send_buffer`](Config::send_buffer) if that is less.
    pub fn low_water(&self) -> usize {
        self.high_water.min(self.send_buffer) / 2
    }

    /// Returns whether sessions may be of `version`.
    pub fn speaks(&self, version: Version) -> bool {
        match version {
            Version::V4 => true,
            Version::V3 => self.allow_eio3,
        }
    }

    /// Returns whether sessions may use `transport`.
    pub fn allows(&self, transport: Transport) -> bool {
        match transport {
            Transport::Polling => self.polling,
            Transport::WebSocket => self.websocket,
        }
    }
}
