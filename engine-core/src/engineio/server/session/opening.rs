//! The first packet of a session.

use super::Session;
use crate::engineio::id::Id;
use crate::engineio::server::Config;
use crate::engineio::transport::Transport;
use alloc::format;
use alloc::string::String;

impl Session {
    /// Returns the handshake, which is the first packet of a session.
    ///
    /// With stateful reconnect, `handled` is the number of the client's messages that were handled; otherwise it is `None`.
    pub fn open_packet(config: &Config, id: &Id, transport: Transport, handled: Option<u64>) -> String {
        let mut open = Session::plain_open_packet(config, id, transport);
        if let (Some(handled), Some(settings)) = (handled, config.stateful_reconnect) {
            let (window, bytes) = (settings.window.as_millis(), settings.max_bytes);
            open.pop();
            open.push_str(&format!(
                ",\"resume\":{{\"received\":{handled},\"window\":{window},\"maxBytes\":{bytes}}}}}"
            ));
        }
        open
    }

    fn plain_open_packet(config: &Config, id: &Id, transport: Transport) -> String {
        let upgrade = transport == Transport::Polling && config.websocket && config.allow_upgrades;
        let upgrades = if upgrade { "\"websocket\"" } else { "" };
        let [interval, timeout, limit] = &mut [itoa::Buffer::new(); 3];
        // Not by `format!`, which takes three times as many instructions: `benches/count handshake`.
        [
            "0{\"sid\":\"",
            id.as_str(),
            "\",\"upgrades\":[",
            upgrades,
            "],\"pingInterval\":",
            interval.format(config.ping_interval.as_millis()),
            ",\"pingTimeout\":",
            timeout.format(config.ping_timeout.as_millis()),
            ",\"maxPayload\":",
            limit.format(config.max_payload),
            "}",
        ]
        .concat()
    }
}
