//! Ways to put messages on a byte stream.

use super::frames::Part;
use crate::outbound::Outbound;
use crate::websocket::{Deflate, DeflatePool, Header, Opcode};

/// The way to put messages on a byte stream that stays open.
#[derive(Clone, Copy, Debug)]
pub(super) enum Framing {
    /// WebSocket frames, whose messages are compressed if that was negotiated.
    WebSocket(Option<Deflate>),
}

impl Default for Framing {
    fn default() -> Framing {
        Framing::WebSocket(None)
    }
}

impl Framing {
    /// Returns the same framing without compression.
    pub(super) fn uncompressed(self) -> Framing {
        let Framing::WebSocket(_) = self;
        Framing::WebSocket(None)
    }

    /// Returns the maximum number of bytes that [`write`](Framing::write) appends for these parts.
    pub(super) fn len<'a>(self, parts: impl Iterator<Item = Part<'a>>) -> usize {
        let Framing::WebSocket(_) = self;
        parts.map(Part::frame_len).sum()
    }

    /// Appends the parts as messages, each compressed if that was negotiated and makes it shorter.
    pub(super) fn write<'a>(
        self,
        queue: &mut Outbound,
        parts: impl Iterator<Item = Part<'a>>,
        pool: &DeflatePool,
    ) {
        let Framing::WebSocket(deflate) = self;
        queue.write_with(|out| parts.for_each(|part| part.write_frame(out, deflate, pool)));
    }

    /// Appends a packet of the protocol itself, which is not compressed.
    pub(super) fn push_control(self, queue: &mut Outbound, packet: &[u8]) {
        self.begin_text(queue, packet.len());
        queue.extend(packet);
    }

    /// Appends a whole text packet as it stands, by reference where it is shared.
    pub(super) fn push_packet(self, queue: &mut Outbound, packet: &mut Outbound) {
        self.begin_text(queue, packet.len());
        queue.append(packet);
    }

    fn begin_text(self, queue: &mut Outbound, len: usize) {
        let Framing::WebSocket(_) = self;
        queue.extend(&Header::new(Opcode::Text, len, None));
    }
}
