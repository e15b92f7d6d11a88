//! Encoding of frames to send.

use alloc::vec::Vec;
use core::{fmt, ops::Deref};

use super::{MAX_CONTROL_PAYLOAD, Opcode, apply_mask, bits, is_valid_close_code};

/// The header of a frame, which precedes its payload on the wire: 2 to 14 bytes, read by `Deref` or
/// `AsRef` (RFC 6455, 5.2). Use it to write the payload without copying it. A server's header is
/// the same for all recipients, so that it can be shared with the payload.
#[derive(Clone, Copy)]
pub struct Header {
    bytes: [u8; 14],
    len: u8,
}

impl Header {
    /// Creates the header of a whole message or a last fragment (FIN is set) of `payload_len` bytes.
    ///
    /// A client passes a random `mask`, new for each frame, and passes the payload through
    /// [`apply_mask`] with the same key; a server passes `None`.
    ///
    /// # Panics
    ///
    /// If the payload of a control frame is longer than [`MAX_CONTROL_PAYLOAD`] bytes.
    pub fn new(opcode: Opcode, payload_len: usize, mask: Option<[u8; 4]>) -> Self {
        assert!(
            !opcode.is_control() || payload_len <= MAX_CONTROL_PAYLOAD,
            "a control frame carries at most 125 bytes"
        );
        let masked = if mask.is_some() { bits::MASKED } else { 0 };
        let mut bytes = [0; 14];
        bytes[0] = bits::FIN | opcode as u8;
        let mut len = match payload_len {
            0..=125 => {
                bytes[1] = masked | payload_len as u8;
                2
            }
            126..=0xffff => {
                bytes[1] = masked | bits::LENGTH_16;
                bytes[2..4].copy_from_slice(&(payload_len as u16).to_be_bytes());
                4
            }
            _ => {
                bytes[1] = masked | bits::LENGTH_64;
                bytes[2..10].copy_from_slice(&(payload_len as u64).to_be_bytes());
                10
            }
        };
        if let Some(key) = mask {
            bytes[len..len + 4].copy_from_slice(&key);
            len += 4;
        }
        Self { bytes, len: len as u8 }
    }

    /// Returns the length of the header of a server's frame with so many bytes of payload.
    #[inline]
    pub(crate) const fn len_for(payload_len: usize) -> usize {
        match payload_len {
            0..=125 => 2,
            126..=0xffff => 4,
            _ => 10,
        }
    }

    /// Returns the header of a server's whole text message, if it is one of the shortest.
    #[inline]
    pub(crate) fn short_text(payload_len: usize) -> Option<[u8; 2]> {
        (payload_len <= 125).then_some([bits::FIN | Opcode::Text as u8, payload_len as u8])
    }

    /// Clears FIN, for a fragment that is not the last of its message.
    ///
    /// # Panics
    ///
    /// If this is the header of a control frame, because those are never fragmented.
    pub fn non_final(mut self) -> Self {
        let opcode = Opcode::from_bits(self.bytes[0] & bits::OPCODE);
        assert!(opcode.is_some_and(|opcode| !opcode.is_control()), "a control frame is never fragmented");
        self.bytes[0] &= !bits::FIN;
        self
    }

    /// Sets the bit that marks a compressed message or its first fragment (RFC 7692, 6).
    #[cfg(feature = "deflate")]
    pub(super) fn deflated(mut self) -> Self {
        self.bytes[0] |= bits::DEFLATED;
        self
    }
}

impl Deref for Header {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl AsRef<[u8]> for Header {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Header({:02x?})", &**self)
    }
}

/// Appends a whole frame with FIN set, masked if `mask` is given.
///
/// # Panics
///
/// If the payload of a control frame is longer than [`MAX_CONTROL_PAYLOAD`] bytes.
pub fn write_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], mask: Option<[u8; 4]>) {
    let header = Header::new(opcode, payload.len(), mask);
    out.reserve(header.len() + payload.len());
    out.extend_from_slice(&header);
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(key) = mask {
        apply_mask(&mut out[start..], key);
    }
}

/// Appends a close frame (RFC 6455, 5.5.1). `reason` is truncated at a character boundary to at most
/// 123 bytes. Without a `code` the body is empty, because a reason has to follow a code.
///
/// # Panics
///
/// If the code does not satisfy [`is_valid_close_code`].
pub fn write_close(out: &mut Vec<u8>, code: Option<u16>, reason: &str, mask: Option<[u8; 4]>) {
    let Some(code) = code else {
        return write_frame(out, Opcode::Close, &[], mask);
    };
    assert!(is_valid_close_code(code), "close code {code} must not be sent");

    let mut body = [0; MAX_CONTROL_PAYLOAD];
    let mut end = reason.len().min(body.len() - 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    body[..2].copy_from_slice(&code.to_be_bytes());
    body[2..2 + end].copy_from_slice(&reason.as_bytes()[..end]);
    write_frame(out, Opcode::Close, &body[..2 + end], mask);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_forms_of_a_header_agree_with_it() {
        for len in [0, 1, 125, 126, 127, 0xffff, 0x1_0000] {
            let header = Header::new(Opcode::Text, len, None);
            assert_eq!(Header::len_for(len), header.len(), "{len}");
            let short = Header::short_text(len);
            assert!(short.map_or(len > 125, |short| *header == short), "{len}");
        }
    }
}
