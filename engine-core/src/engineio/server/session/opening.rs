//! The first packet of a session.

use super::Session;
use crate::engineio::id::Id;
use crate::engineio::server::Config;
use crate::engineio::transport::Transport;
use alloc::format;
use alloc::string::String;

impl Session {
    /// Returns the handshake, which is the first packet of a session.
    pub fn open_packet(config: &Config, id: &Id, transport: Transport) -> String {
        let upgrade = transport == Transport::Polling && config.websocket && config.allow_upgrades;
        format!(
            "0{{\"sid\":\"{id}\",\"upgrades\":[{}],\"pingInterval\":{},\"pingTimeout\":{},\"maxPayload\":{}}}",
            if upgrade { "\"websocket\"" } else { "" },
            config.ping_interval.as_millis(),
            config.ping_timeout.as_millis(),
            config.max_payload,
        )
    }
}
