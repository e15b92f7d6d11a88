//! The types of packets, and what their ids and names may be.

/// The greatest acknowledgement id: 2⁵³ − 1, up to which JavaScript's integers are exact.
pub const MAX_ID: u64 = (1 << 53) - 1;

/// The type of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `0`: a request to join a namespace, or the confirmation that it is joined.
    Connect,
    /// `1`: leaves a namespace.
    Disconnect,
    /// `2`: an event.
    Event,
    /// `3`: the acknowledgement of an event that had an id.
    Ack,
    /// `4`: the refusal to join a namespace.
    ConnectError,
    /// `5`: an event with attachments.
    BinaryEvent,
    /// `6`: an acknowledgement with attachments.
    BinaryAck,
}

impl Kind {
    pub(super) fn from_digit(digit: u8) -> Option<Kind> {
        Some(match digit {
            b'0' => Kind::Connect,
            b'1' => Kind::Disconnect,
            b'2' => Kind::Event,
            b'3' => Kind::Ack,
            b'4' => Kind::ConnectError,
            b'5' => Kind::BinaryEvent,
            b'6' => Kind::BinaryAck,
            _ => return None,
        })
    }

    /// Returns whether attachments follow the packet.
    pub fn is_binary(self) -> bool {
        matches!(self, Kind::BinaryEvent | Kind::BinaryAck)
    }

    /// Returns whether this is an event, with or without attachments.
    pub fn is_event(self) -> bool {
        matches!(self, Kind::Event | Kind::BinaryEvent)
    }

    /// Returns whether this is an acknowledgement, with or without attachments.
    pub fn is_ack(self) -> bool {
        matches!(self, Kind::Ack | Kind::BinaryAck)
    }
}

/// Returns whether this event name must not be sent, because Socket.IO uses it for its own events.
pub fn is_reserved(event: &str) -> bool {
    is_reserved_name(event.as_bytes())
}

// Inlined, because most names are too short, which takes few instructions to see: `benches/count ack16`.
#[inline(always)]
pub(super) fn is_reserved_name(event: &[u8]) -> bool {
    matches!(
        event,
        b"connect" | b"connect_error" | b"disconnect" | b"disconnecting" | b"newListener" | b"removeListener"
    )
}
