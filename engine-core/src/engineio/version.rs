//! Versions of the protocol.

use super::packet::{Message, Packet, PacketError};
use super::transport::Transport;
use super::v3;
use alloc::borrow::Cow;

/// A version of Engine.IO.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Version {
    /// Version 3, of the clients of Socket.IO 2: the client sends pings, each packet of a payload follows its length, and a
    /// binary message begins with its type. A server speaks it if
    /// [`Config::allow_eio3`](super::server::Config::allow_eio3) is set; our client does not.
    V3,
    /// Version 4: the server sends pings, and U+001E separates the packets of a payload.
    V4,
}

impl Version {
    /// Parses the value of the query parameter `EIO`. Returns `None` for a version that is not spoken.
    ///
    /// A request without the parameter is of version 3.
    pub fn parse(value: &str) -> Option<Version> {
        [Version::V4, Version::V3].into_iter().find(|version| version.as_str() == value)
    }

    /// Returns the value of the query parameter `EIO`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Version::V3 => "3",
            Version::V4 => "4",
        }
    }

    /// Decodes a packet that came in a text frame.
    ///
    /// # Errors
    /// If it is malformed.
    #[inline]
    pub fn decode_text(self, text: &str) -> Result<Packet<'_>, PacketError> {
        match self {
            Version::V4 => Packet::decode(text),
            Version::V3 => v3::decode_text(text),
        }
    }

    /// Decodes a packet that came in a binary frame.
    ///
    /// # Errors
    /// If it is malformed.
    #[inline]
    pub fn decode_binary(self, data: &[u8]) -> Result<Packet<'_>, PacketError> {
        match self {
            Version::V4 => Ok(Packet::Message(Message::Binary(Cow::Borrowed(data)))),
            Version::V3 => v3::decode_binary(data),
        }
    }
}

impl core::fmt::Display for Version {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The terms on which a session is opened, as its first request has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The first transport.
    pub transport: Transport,
    /// The version that both sides speak.
    pub version: Version,
    /// The client reads binary messages as base64 only (`b64=1`). Has a meaning in version 3; in version 4, the transport
    /// says it.
    pub base64: bool,
    /// The client asks for [stateful reconnect](super::server::StatefulReconnect). Has a meaning in version 4.
    pub resumable: bool,
}

/// A session of the current version.
impl From<Transport> for Opening {
    fn from(transport: Transport) -> Opening {
        Opening { transport, version: Version::V4, base64: false, resumable: false }
    }
}

/// The form in which a session's binary messages are sent, which is all that the versions differ in while a message is
/// encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum BinaryForm {
    /// Version 4: the bytes alone in a frame, and `b` with base64 in a payload.
    #[default]
    Plain,
    /// Version 3: the byte of the packet's type, then the bytes. A payload with such a packet is binary as a whole.
    Typed,
    /// Version 3 for a client that cannot read bytes: `b4` with base64.
    Base64,
}

impl BinaryForm {
    pub(super) fn of(version: Version, base64: bool) -> BinaryForm {
        match (version, base64) {
            (Version::V4, _) => BinaryForm::Plain,
            (Version::V3, false) => BinaryForm::Typed,
            (Version::V3, true) => BinaryForm::Base64,
        }
    }

    pub(super) fn version(self) -> Version {
        match self {
            BinaryForm::Plain => Version::V4,
            BinaryForm::Typed | BinaryForm::Base64 => Version::V3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_spoken_versions_are_parsed() {
        assert_eq!(Version::parse("4"), Some(Version::V4));
        assert_eq!(Version::parse("3"), Some(Version::V3));
        for other in ["", "2", "5", "04", "4 ", "abc"] {
            assert_eq!(Version::parse(other), None, "{other:?}");
        }
    }
}
