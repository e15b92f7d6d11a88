//! The packets and payloads of version 3.

use super::packet::{
    self, Message, Packet, PacketError, base64_len as packet_base64_len, decode_written, read_base64,
};
use super::version::BinaryForm;
use crate::copy::append;
use crate::outbound::Outbound;
use crate::websocket::{Deflate, DeflatePool, Header, Opcode};
use alloc::borrow::Cow;
use alloc::vec::Vec;
use bytes::Buf;

/// The byte that a binary message begins with: its packet's type, as a number.
const MESSAGE: u8 = 4;
/// The byte that ends a length in a binary payload.
const END: u8 = 0xff;
/// The maximum number of digits of a length: no body is as long.
const MAX_DIGITS: usize = 10;

/// Decodes a packet that came as text: in a payload, or in a text frame.
///
/// A binary message in base64 (`b4…`) is accepted on every transport, as the reference does, with or without padding and
/// with white space anywhere.
pub fn decode_text(text: &str) -> Result<Packet<'_>, PacketError> {
    match text.strip_prefix('b') {
        None => Packet::decode(text),
        Some(typed) => {
            let data = typed.strip_prefix('4').ok_or(PacketError::UnknownType)?;
            Ok(Packet::Message(Message::Binary(Cow::Owned(read_base64(data)?))))
        }
    }
}

/// Decodes a packet that came as bytes: in a binary payload, or in a binary frame. It must be a message.
pub fn decode_binary(data: &[u8]) -> Result<Packet<'_>, PacketError> {
    match data.split_first() {
        None => Err(PacketError::Empty),
        Some((&MESSAGE, data)) => Ok(Packet::Message(Message::Binary(Cow::Borrowed(data)))),
        Some(_) => Err(PacketError::UnknownType),
    }
}

/// The packets of a body that are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload<'a> {
    /// `length:packet`, one after the other. The length is in UTF-16 code units.
    Text(&'a str),
    /// A byte that is 0 for text and 1 for bytes, the digits of the length as numbers from 0 to 9, the byte 255, and the
    /// packet. The length is in bytes.
    Binary(&'a [u8]),
}

impl<'a> Payload<'a> {
    /// Returns the number of bytes that are left.
    pub fn len(self) -> usize {
        match self {
            Payload::Text(text) => text.len(),
            Payload::Binary(bytes) => bytes.len(),
        }
    }

    /// Returns whether nothing is left.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Decodes the first packet. Returns it, unless it is empty, and what follows it. Either it consumes something, or it
    /// fails.
    ///
    /// # Errors
    /// The error of the packet, or of a length that is no number or exceeds the payload: those that the reference reads as
    /// far as they go are refused.
    pub fn split_first(self) -> Result<(Option<Packet<'a>>, Payload<'a>), PacketError> {
        match self {
            Payload::Text(text) => {
                let (packet, rest) = split_text(text)?;
                let packet = if packet.is_empty() { None } else { Some(decode_text(packet)?) };
                Ok((packet, Payload::Text(rest)))
            }
            Payload::Binary(bytes) => {
                let (is_text, packet, rest) = split_binary(bytes)?;
                let packet = match is_text {
                    true => decode_text(core::str::from_utf8(packet).map_err(|_| PacketError::Utf8)?)?,
                    false => decode_binary(packet)?,
                };
                Ok((Some(packet), Payload::Binary(rest)))
            }
        }
    }
}

/// Splits the first packet off a payload of text.
fn split_text(text: &str) -> Result<(&str, &str), PacketError> {
    if text.is_empty() {
        return Err(PacketError::Empty);
    }
    let digits = text.bytes().take(MAX_DIGITS + 1).take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at_checked(digits).ok_or(PacketError::Length)?;
    let units = length(digits.bytes().map(|digit| digit.wrapping_sub(b'0')))?;
    let rest = rest.strip_prefix(':').ok_or(PacketError::Length)?;
    rest.split_at_checked(index_of_unit(rest, units)?).ok_or(PacketError::Length)
}

/// Returns the index of the byte behind this number of UTF-16 code units.
fn index_of_unit(text: &str, units: usize) -> Result<usize, PacketError> {
    if text.as_bytes().get(..units).ok_or(PacketError::Length)?.is_ascii() {
        return Ok(units);
    }
    let mut left = units;
    for (at, char) in text.char_indices() {
        if left == 0 {
            return Ok(at);
        }
        // A length that ends between the halves of a surrogate pair ends in no character.
        left = left.checked_sub(char.len_utf16()).ok_or(PacketError::Length)?;
    }
    if left == 0 { Ok(text.len()) } else { Err(PacketError::Length) }
}

/// Splits the first packet off a binary payload. Returns whether it is text, the packet, and the rest.
fn split_binary(bytes: &[u8]) -> Result<(bool, &[u8], &[u8]), PacketError> {
    let (kind, rest) = bytes.split_first().ok_or(PacketError::Empty)?;
    let is_text = match kind {
        0 => true,
        1 => false,
        _ => return Err(PacketError::Length),
    };
    let end = rest.iter().take(MAX_DIGITS + 1).position(|byte| *byte == END).ok_or(PacketError::Length)?;
    let (digits, rest) = rest.split_at_checked(end).ok_or(PacketError::Length)?;
    let len = length(digits.iter().copied())?;
    let rest = rest.get(1..).unwrap_or_default();
    let (packet, rest) = rest.split_at_checked(len).ok_or(PacketError::Length)?;
    Ok((is_text, packet, rest))
}

/// Reads a decimal number from its digits, which are numbers: at least one, and no leading zeros.
fn length(mut digits: impl ExactSizeIterator<Item = u8>) -> Result<usize, PacketError> {
    if digits.len() > MAX_DIGITS {
        return Err(PacketError::Length);
    }
    let is_long = digits.len() > 1;
    let number = digits.try_fold(None, |number: Option<usize>, digit| match (number, digit) {
        (Some(number), 0..=9) => Some(Some(number.checked_mul(10)?.checked_add(digit.into())?)),
        (None, 0) if is_long => None,
        (None, 0..=9) => Some(Some(digit.into())),
        _ => None,
    });
    number.flatten().ok_or(PacketError::Length)
}

/// Encodes packets as the body of a response. They stand as in a payload of version 4.
///
/// If one of them is a binary message and the client reads bytes, the body [is binary](is_binary).
pub(super) fn write_payload(packets: Vec<Outbound>, form: BinaryForm) -> Outbound {
    let is_base64 = |packet: &Outbound| packet.chunk().first() == Some(&b'b');
    let binary = form == BinaryForm::Typed && packets.iter().any(is_base64);
    let mut out = Outbound::new();
    for mut packet in packets {
        match (binary, is_base64(&packet)) {
            (true, false) => {
                write_binary_length(&mut out, 0, packet.len());
                out.append(&mut packet);
            }
            (true, true) => {
                let data = decode_written(&packet.copy_to_bytes(packet.len()));
                write_binary_length(&mut out, 1, data.len() + 1);
                out.extend(&[MESSAGE]);
                out.push(data.into());
            }
            (false, false) => {
                let units = packet.chunks().map(utf16_units).sum();
                write_length(&mut out, units);
                out.append(&mut packet);
            }
            (false, true) => {
                write_length(&mut out, packet.len() + 1);
                out.extend(b"b4");
                packet.advance(1);
                out.append(&mut packet);
            }
        }
    }
    out
}

/// Returns whether a body of version 3 is binary. A text begins with the digit of a length.
pub(super) fn is_binary(payload: &Outbound) -> bool {
    matches!(payload.chunk().first(), Some(0 | 1))
}

fn write_length(out: &mut Outbound, len: usize) {
    out.extend(itoa::Buffer::new().format(len).as_bytes());
    out.extend(b":");
}

fn write_binary_length(out: &mut Outbound, kind: u8, len: usize) {
    out.write_with(|out| {
        out.push(kind);
        out.extend(itoa::Buffer::new().format(len).bytes().map(|digit| digit.wrapping_sub(b'0')));
        out.push(END);
    });
}

/// Returns the number of UTF-16 code units of a piece of UTF-8, which may begin or end inside of a character: one for the
/// first byte of each character, and another one if the character has four bytes.
fn utf16_units(piece: &[u8]) -> usize {
    let units = |byte: &u8| usize::from(*byte & 0xc0 != 0x80) + usize::from(*byte >= 0xf0);
    piece.iter().map(units).sum()
}

/// Returns the number of bytes of a binary message in base64, with its type.
pub(super) fn base64_len(len: usize) -> usize {
    packet_base64_len(len) + 1
}

/// Appends a binary message as one WebSocket frame of version 3, compressed if that was negotiated and makes it shorter.
#[cold]
pub(super) fn write_frame(
    out: &mut Vec<u8>,
    data: &[u8],
    deflate: Option<Deflate>,
    form: BinaryForm,
    pool: &DeflatePool,
) {
    let mut text = Vec::new();
    let (opcode, pieces): (_, &[&[u8]]) = match form {
        BinaryForm::Base64 => {
            packet::write_base64(&mut text, data);
            (Opcode::Text, &[b"b4", text.get(1..).unwrap_or_default()])
        }
        _ => (Opcode::Binary, &[&[MESSAGE], data]),
    };
    if !deflate.is_some_and(|deflate| deflate.write_frame(pool, out, opcode, pieces, None)) {
        let len = pieces.iter().map(|piece| piece.len()).sum();
        out.extend_from_slice(&Header::new(opcode, len, None));
        pieces.iter().for_each(|piece| append(out, piece));
    }
}

#[cfg(test)]
mod tests;
