//! Passes packets and events to the observer of a client. The caller holds no lock, except the one that is passed.

use super::core::Core;
use crate::observe::{ClientObserver, Direction, Packet, show_client, tell_client};
use parking_lot::MutexGuard;
use sockeye_core::engineio::Transport;
use sockeye_core::engineio::client::Lane;
use sockeye_core::socketio::client::Text;
use sockeye_core::websocket::Message;

/// Passes a packet that arrived to the observer, unless it cannot be decoded.
#[cold]
pub(super) fn show_text(observer: &dyn ClientObserver, lane: Lane, text: &Text<'_>) {
    let transport = match lane {
        Lane::WebSocket => Transport::WebSocket,
        Lane::Poll | Lane::Post => Transport::Polling,
    };
    if let Some(packet) = text.packet() {
        show_client(observer, Direction::In, transport, packet);
    }
}

/// Passes the close frame of WebSocket to the observer, if the message is one.
#[cold]
pub(super) fn show_close(observer: &dyn ClientObserver, message: &Message<'_>) {
    if let Message::Close(_) = message {
        show_client(observer, Direction::In, Transport::WebSocket, &Packet::Close);
    }
}

/// Unlocks the core, and passes what its sessions did to the observer.
#[cold]
pub(super) fn tell_notes(observer: &dyn ClientObserver, mut core: MutexGuard<'_, Core>) {
    let notes = core.client.take_notes();
    drop(core);
    tell_client(observer, &notes);
}
