//! Ways to put messages on a byte stream.

use super::frames::Part;
use super::version::BinaryForm;
use crate::outbound::Outbound;
use crate::websocket::{Deflate, DeflatePool, Header, Opcode};

/// The way to put messages on a byte stream that stays open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// WebSocket frames, whose messages are compressed if that was negotiated.
    WebSocket(Option<Deflate>, BinaryForm),
}

impl Default for Framing {
    fn default() -> Framing {
        Framing::of(BinaryForm::Plain)
    }
}

impl Framing {
    /// Returns WebSocket frames without compression.
    pub(super) fn of(form: BinaryForm) -> Framing {
        Framing::WebSocket(None, form)
    }

    /// Returns whether messages of the current version are sent as they are.
    #[inline]
    pub(super) fn is_default(self) -> bool {
        matches!(self, Framing::WebSocket(None, BinaryForm::Plain))
    }

    /// Returns the same framing with this compression.
    pub(super) fn compressed(self, deflate: Deflate) -> Framing {
        let Framing::WebSocket(_, form) = self;
        Framing::WebSocket(Some(deflate), form)
    }

    /// Returns the same framing with this form of binary messages.
    pub(super) fn with(self, form: BinaryForm) -> Framing {
        let Framing::WebSocket(deflate, _) = self;
        Framing::WebSocket(deflate, form)
    }

    /// Returns the maximum number of bytes that [`write`](Framing::write) appends for these parts.
    pub(super) fn len<'a>(self, parts: impl Iterator<Item = Part<'a>>) -> usize {
        let Framing::WebSocket(_, form) = self;
        parts.map(|part| part.frame_len(form)).sum()
    }

    /// Appends the parts as messages, each compressed if that was negotiated and makes it shorter.
    pub(super) fn write<'a>(
        self,
        queue: &mut Outbound,
        parts: impl Iterator<Item = Part<'a>>,
        pool: &DeflatePool,
    ) {
        queue.write_with(|out| parts.for_each(|part| part.write_frame(out, self, pool)));
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
        let Framing::WebSocket(..) = self;
        queue.extend(&Header::new(Opcode::Text, len, None));
    }
}
