//! Passes packets and events to the observer of a client. The caller holds no lock, except the one that is passed.

use super::core::Core;
use crate::observe::{ClientObserver, Direction, Packet, show_client, tell_client};
use parking_lot::MutexGuard;
use sockeye_core::engineio::client::Lane;
use sockeye_core::engineio::{self, Transport};
use sockeye_core::socketio::client::Text;
use sockeye_core::websocket::Message;
use std::borrow::Cow;

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

/// Passes a WebSocket message that is no text to the observer.
#[cold]
pub(super) fn show_frame(observer: &dyn ClientObserver, message: &Message<'_>) {
    let packet = match message {
        Message::Binary(data) => Packet::Message(engineio::Message::Binary(Cow::Borrowed(data))),
        Message::Close(_) => Packet::Close,
        Message::Text(_) | Message::Ping(_) | Message::Pong(_) => return,
    };
    show_client(observer, Direction::In, Transport::WebSocket, &packet);
}

/// Unlocks the core, and passes what its sessions did to the observer.
#[cold]
pub(super) fn tell_notes(observer: &dyn ClientObserver, mut core: MutexGuard<'_, Core>) {
    let notes = core.client.take_notes();
    drop(core);
    tell_client(observer, &notes);
}
