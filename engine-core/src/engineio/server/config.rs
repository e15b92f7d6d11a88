//! What can be set of an Engine.IO server.

use crate::engineio::transport::Transport;
use crate::websocket::{DeflatePool, PerMessageDeflate};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

/// The settings of an Engine.IO server; names and defaults are the reference's where it has them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// How long after the handshake or a pong the next ping is sent. 25 s.
    pub ping_interval: Duration,
    /// How long a pong may take. 20 s.
    pub ping_timeout: Duration,
    /// How long an upgrade may take: to the probe, and from the probe to its completion. 10 s.
    pub upgrade_timeout: Duration,
    /// How long the application may take to decide whether a session may be opened. 30 s.
    pub allow_timeout: Duration,
    /// How long a closed polling session waits for the poll that tells the client. 30 s.
    pub close_timeout: Duration,
    /// The largest message, request body or payload, in bytes. 1,000,000.
    pub max_payload: usize,
    /// Whether sessions may use HTTP long-polling. On.
    pub polling: bool,
    /// Whether sessions may use WebSocket. On.
    pub websocket: bool,
    /// Whether a polling session may move to WebSocket. On.
    pub allow_upgrades: bool,
    /// Whether WebSocket messages are compressed for clients that want it, and how. No.
    pub per_message_deflate: Option<PerMessageDeflate>,
    /// The source of the state that messages are compressed with. Default: a new state for each message.
    pub deflate_pool: DeflatePool,
    /// Which subprotocols of WebSocket are accepted; `None` for any.
    pub subprotocols: Option<Vec<String>>,
    /// How many bytes may wait for a peer that does not read. 4 MiB.
    pub send_buffer: usize,
    /// Above how many waiting bytes a connection is no longer read. 256 KiB.
    pub high_water: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            upgrade_timeout: Duration::from_secs(10),
            allow_timeout: Duration::from_secs(30),
            close_timeout: Duration::from_secs(30),
            max_payload: 1_000_000,
            polling: true,
            websocket: true,
            allow_upgrades: true,
            per_message_deflate: None,
            deflate_pool: DeflatePool::default(),
            subprotocols: None,
            send_buffer: 4 << 20,
            high_water: 256 << 10,
        }
    }
}

impl Config {
    /// Whether clients can keep to the heartbeat: the interval and the timeout are at least 1 ms each, which is their
    /// unit on the wire, and less than 2^31 ms together. A timer of JavaScript with more than that fires at once, so that
    /// every client would end its session.
    pub fn has_valid_heartbeat(&self) -> bool {
        let (interval, timeout) = (self.ping_interval.as_millis(), self.ping_timeout.as_millis());
        interval > 0 && timeout > 0 && interval.saturating_add(timeout) < 1 << 31
    }

    /// Whether sessions may use `transport`.
    pub fn allows(&self, transport: Transport) -> bool {
        match transport {
            Transport::Polling => self.polling,
            Transport::WebSocket => self.websocket,
        }
    }
}
