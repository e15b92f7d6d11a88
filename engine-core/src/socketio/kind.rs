//! The types of packets, and what their ids and names may be.

/// The greatest acknowledgement id: 2⁵³ − 1, beyond which JavaScript loses digits.
pub const MAX_ID: u64 = (1 << 53) - 1;

/// The type of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `0`: asks to join a namespace, or says that it is joined.
    Connect,
    /// `1`: leaves a namespace.
    Disconnect,
    /// `2`: an event.
    Event,
    /// `3`: the answer to an event that had an id.
    Ack,
    /// `4`: a namespace cannot be joined.
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

    /// Whether attachments follow the packet.
    pub fn is_binary(self) -> bool {
        matches!(self, Kind::BinaryEvent | Kind::BinaryAck)
    }

    /// Whether it is an event, with or without attachments.
    pub fn is_event(self) -> bool {
        matches!(self, Kind::Event | Kind::BinaryEvent)
    }

    /// Whether it is an acknowledgement, with or without attachments.
    pub fn is_ack(self) -> bool {
        matches!(self, Kind::Ack | Kind::BinaryAck)
    }
}

/// Whether an event of this name may not be sent, because it would be mistaken for one of
/// Socket.IO's own.
pub fn is_reserved(event: &str) -> bool {
    matches!(
        event,
        "connect" | "connect_error" | "disconnect" | "disconnecting" | "newListener" | "removeListener"
    )
}
