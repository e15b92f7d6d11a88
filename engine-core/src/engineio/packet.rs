//! Engine.IO packets and the payloads that hold several of them in one HTTP body.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// The byte between the packets of a payload.
pub const SEPARATOR: u8 = 0x1e;

/// The standard alphabet; honest clients pad, some leave it out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A message of the application: text or bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A text message, without the packet's type digit.
    Text(&'a str),
    /// A binary message.
    Binary(Cow<'a, [u8]>),
}

/// One packet of the Engine.IO protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// `0`: the server's handshake.
    Open(&'a str),
    /// `1`: the end of the session.
    Close,
    /// `2`: a heartbeat, or `2probe` on a transport that is being tried.
    Ping(&'a str),
    /// `3`: the answer to a ping.
    Pong(&'a str),
    /// `4`, or a binary message.
    Message(Message<'a>),
    /// `5`: the transport that was tried is taken.
    Upgrade,
    /// `6`: releases a pending poll. With data: the number of messages that a peer with stateful reconnect has handled.
    Noop(&'a str),
}

/// The error of a packet that cannot be decoded: the peer broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PacketError {
    /// The packet has no type.
    #[error("an empty packet")]
    Empty,
    /// The first character names no packet type.
    #[error("an unknown packet type")]
    UnknownType,
    /// The text after `b` is not base64 of the standard alphabet.
    #[error("a binary packet that is not base64")]
    Base64,
    /// The body of a request, or text in it, is not UTF-8.
    #[error("a payload that is not UTF-8")]
    Utf8,
    /// In a payload of version 3, the length of a packet is malformed or exceeds the payload.
    #[error("a length that is malformed or exceeds the payload")]
    Length,
}

impl<'a> Packet<'a> {
    /// Decodes a packet of version 4 that came as text: in a payload, or in a text frame. See also
    /// [`Version::decode_text`](super::Version::decode_text).
    ///
    /// A binary message in base64 (`b…`) is accepted on every transport, as the reference does, with or without padding
    /// and with white space anywhere. Anything else that is not of the standard alphabet is refused; the reference skips
    /// it.
    // Inlined, because to move a packet takes longer than to decode it: `benches/count ack16`.
    #[inline(always)]
    pub fn decode(text: &'a str) -> Result<Packet<'a>, PacketError> {
        // Nearly all packets are messages.
        match text.strip_prefix('4') {
            Some(data) => Ok(Packet::Message(Message::Text(data))),
            None => Packet::decode_other(text),
        }
    }

    fn decode_other(text: &'a str) -> Result<Packet<'a>, PacketError> {
        let kind = *text.as_bytes().first().ok_or(PacketError::Empty)?;
        let data = text.get(1..).ok_or(PacketError::UnknownType)?;
        Ok(match kind {
            b'3' => Packet::Pong(data),
            b'2' => Packet::Ping(data),
            b'b' => Packet::Message(Message::Binary(Cow::Owned(read_base64(data)?))),
            b'1' => Packet::Close,
            b'5' => Packet::Upgrade,
            b'6' => Packet::Noop(data),
            b'0' => Packet::Open(data),
            _ => return Err(PacketError::UnknownType),
        })
    }
}

/// Returns the packets of a payload, as text; none for an empty body.
pub fn split_payload(body: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(body).filter(|body| !body.is_empty());
    core::iter::from_fn(move || {
        let (packet, tail) = split_first(rest?);
        rest = tail;
        Some(packet)
    })
}

/// Splits the first packet off a payload. Returns it, and the payload after it unless it is the last packet.
pub fn split_first(payload: &str) -> (&str, Option<&str>) {
    let at = memchr::memchr(SEPARATOR, payload.as_bytes());
    match at.and_then(|at| payload.split_at_checked(at)) {
        Some((packet, tail)) => (packet, tail.get(1..)),
        None => (payload, None),
    }
}

/// Decodes base64. White space is skipped: the Java client ends a line after every 76 characters.
pub(super) fn read_base64(text: &str) -> Result<Vec<u8>, PacketError> {
    if let Ok(data) = BASE64.decode(text) {
        return Ok(data);
    }
    let mut dense = Vec::with_capacity(text.len());
    text.as_bytes().split(u8::is_ascii_whitespace).for_each(|line| dense.extend_from_slice(line));
    if dense.len() == text.len() {
        return Err(PacketError::Base64);
    }
    BASE64.decode(dense).map_err(|_| PacketError::Base64)
}

/// Decodes a packet that [`write_base64`] wrote.
pub(super) fn decode_written(packet: &[u8]) -> Vec<u8> {
    let data = packet.strip_prefix(b"b").and_then(|text| BASE64.decode(text).ok());
    data.expect("the packet was written as base64")
}

/// Returns the number of bytes that [`write_base64`] appends for `len` bytes.
pub(super) fn base64_len(len: usize) -> usize {
    1 + len.div_ceil(3) * 4
}

/// Appends a binary message as a payload has it: `b` and padded base64.
pub(super) fn write_base64(out: &mut Vec<u8>, data: &[u8]) {
    out.push(b'b');
    let start = out.len();
    out.resize(start + data.len().div_ceil(3) * 4, 0);
    if let Some(space) = out.get_mut(start..) {
        BASE64.encode_slice(data, space).expect("the space was made for exactly this");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use alloc::vec;

    fn payload(body: &str) -> Vec<&str> {
        split_payload(body).collect()
    }

    #[test]
    fn a_packet_is_its_type_and_data() {
        assert_eq!(Packet::decode("4hello"), Ok(Packet::Message(Message::Text("hello"))));
        assert_eq!(Packet::decode("4"), Ok(Packet::Message(Message::Text(""))));
        assert_eq!(Packet::decode("2probe"), Ok(Packet::Ping("probe")));
        assert_eq!(Packet::decode("5"), Ok(Packet::Upgrade));
        assert_eq!(Packet::decode(""), Err(PacketError::Empty));
        assert_eq!(Packet::decode("9"), Err(PacketError::UnknownType));
        assert_eq!(Packet::decode("é"), Err(PacketError::UnknownType));
    }

    #[test]
    fn base64_is_strict_in_its_alphabet_and_lenient_in_padding() {
        let binary = |data: &[u8]| Ok(Packet::Message(Message::Binary(data.to_vec().into())));
        assert_eq!(Packet::decode("bAQIDBA=="), binary(&[1, 2, 3, 4]));
        assert_eq!(Packet::decode("bAQIDBA"), binary(&[1, 2, 3, 4]));
        assert_eq!(Packet::decode("b"), binary(&[]));
        for bad in
            ["b!!!!", "bAQ!ID", "b-_-_", "bA", "bA\n", "b!!!!\n", "bBA=\0=", "bAQID\u{a0}", "bBA==BA==\n"]
        {
            assert_eq!(Packet::decode(bad), Err(PacketError::Base64), "{bad:?}");
        }
    }

    #[test]
    fn white_space_in_base64_is_skipped() {
        let binary = |data: &[u8]| Ok(Packet::Message(Message::Binary(data.to_vec().into())));
        for text in ["bBA==\n", "b\nBA==", "bB A = =", "bBA\r\n", "b\tBA==\x0c"] {
            assert_eq!(Packet::decode(text), binary(&[4]), "{text:?}");
        }
        assert_eq!(Packet::decode("b \r\n"), binary(&[]));
        // As `Base64.DEFAULT` of Android writes it.
        let data: Vec<u8> = (0..=255).collect();
        let mut lines = String::from("b");
        for line in BASE64.encode(&data).as_bytes().chunks(76) {
            lines.push_str(core::str::from_utf8(line).unwrap());
            lines.push('\n');
        }
        assert_eq!(Packet::decode(&lines), binary(&data));
    }

    #[test]
    fn a_payload_keeps_empty_packets_so_that_they_are_refused() {
        assert_eq!(payload("4a\u{1e}b\u{1e}2"), ["4a", "b", "2"]);
        assert_eq!(payload("40\u{1e}"), ["40", ""]);
        assert_eq!(payload("\u{1e}40"), ["", "40"]);
        assert_eq!(payload(""), Vec::<&str>::new());
    }

    #[test]
    fn binary_is_written_as_padded_base64() {
        let mut out = vec![];
        write_base64(&mut out, &[1, 2, 3, 4]);
        assert_eq!(out, b"bAQIDBA==");
        assert_eq!(out.len(), base64_len(4));
    }
}
