//! The packets and events of a session, as the observer of the server is shown them.

use super::{Application, Session};
use crate::observe::{Direction, ServerEvent, packet_of};
use sockeye_core::engineio::server::Controls;
use sockeye_core::engineio::{Packet, Part, Transport, Version};

impl<A: Application> Session<A> {
    /// Logs an event, and passes it to the observer. The caller must hold no lock.
    pub(crate) fn tell(&self, event: &ServerEvent<'_>) {
        if let Some(server) = self.0.kept.server.upgrade() {
            server.tell(event);
        }
    }

    /// Returns whether the server has an observer.
    pub(crate) fn is_observed(&self) -> bool {
        self.0.is_observed()
    }

    /// Passes queued messages to the observer, if there is one. The caller must hold no lock.
    #[inline]
    pub(crate) fn show_sent<'a>(&self, parts: impl Iterator<Item = Part<'a>>) {
        if self.0.is_observed() {
            self.show_parts(parts);
        }
    }

    #[cold]
    fn show_parts<'a>(&self, parts: impl Iterator<Item = Part<'a>>) {
        let Some(server) = self.0.kept.server.upgrade() else { return };
        let transport = self.transport();
        parts.for_each(|part| server.show(Direction::Out, self, transport, &packet_of(part)));
    }

    #[cold]
    pub(super) fn show_controls(&self, controls: Controls) {
        let Some(server) = self.0.kept.server.upgrade() else { return };
        let heartbeat = match self.version() {
            Version::V3 => Packet::Pong(""),
            _ => Packet::Ping(""),
        };
        let packets =
            [(controls.ping, heartbeat), (controls.noop, Packet::Noop("")), (controls.close, Packet::Close)];
        // Only a poll is answered with a noop or a close.
        for (_, packet) in packets.iter().filter(|(is_queued, _)| *is_queued) {
            let transport = match packet {
                Packet::Ping(_) | Packet::Pong(_) => self.transport(),
                _ => Transport::Polling,
            };
            server.show(Direction::Out, self, transport, packet);
        }
    }
}
