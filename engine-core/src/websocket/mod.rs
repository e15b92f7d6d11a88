//! WebSocket frames (RFC 6455) for both roles, as a codec that does no I/O.
//!
//! The caller owns the input: [`Decoder::decode`] takes the next message off the front of a slice,
//! unmasks it in place, and returns it borrowed. Only fragmented messages are copied, and
//! compressed ones inflated. For output, a [`Header`] is at most 14 bytes on the stack, to be
//! written before a payload that may be shared; [`write_frame`] and [`write_close`] append whole
//! frames to a vector.
//!
//! ```
//! use sockeye_core::websocket::{Decoder, Error, Message, Opcode, Role, write_frame};
//!
//! /// Echoes the complete messages in `buffer`, and removes them from it.
//! fn echo(decoder: &mut Decoder, buffer: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<(), Error> {
//!     let mut input = buffer.as_mut_slice();
//!     while let Some(message) = decoder.decode(&mut input)? {
//!         match message {
//!             Message::Text(text) => write_frame(out, Opcode::Text, text.as_bytes(), None),
//!             Message::Binary(data) => write_frame(out, Opcode::Binary, &data, None),
//!             Message::Ping(data) => write_frame(out, Opcode::Pong, data, None),
//!             Message::Pong(_) | Message::Close(_) => {}
//!         }
//!     }
//!     let rest = input.len();
//!     buffer.drain(..buffer.len() - rest);
//!     Ok(())
//! }
//!
//! let mut buffer = Vec::new();
//! write_frame(&mut buffer, Opcode::Text, b"hello", Some([1, 2, 3, 4]));
//! buffer.push(0x81); // The first byte of the next frame.
//! let mut out = Vec::new();
//! echo(&mut Decoder::new(Role::Server, 1_000_000), &mut buffer, &mut out).unwrap();
//! assert_eq!(out, b"\x81\x05hello");
//! assert_eq!(buffer, [0x81]);
//! ```

mod close;
mod decode;
#[cfg_attr(not(feature = "deflate"), path = "no_deflate.rs")]
mod deflate;
mod deflate_pool;
mod encode;
mod error;
mod fragments;
mod handshake;
mod mask;
#[cfg(test)]
mod tests;

pub use close::{CloseFrame, is_valid_close_code};
pub use decode::{Decoder, Message};
#[cfg(feature = "deflate")]
pub use deflate::InvalidExtensions;
pub(crate) use deflate::Window;
#[cfg(feature = "deflate")]
pub(crate) use deflate::clamp_level;
pub use deflate::{Deflate, PerMessageDeflate};
pub use deflate_pool::{DeflatePool, DeflateState};
pub use encode::{Header, write_close, write_frame};
pub use error::Error;
pub use handshake::{accept_key, encode_key, is_valid_accept, is_valid_key};
pub use mask::apply_mask;

/// The maximum payload in bytes of a control frame: close, ping or pong (RFC 6455, 5.5).
pub const MAX_CONTROL_PAYLOAD: usize = 125;

/// The role of this side of the connection. A server receives masked frames and sends unmasked ones,
/// a client the other way round (RFC 6455, 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// We accepted the connection.
    Server,
    /// We opened the connection.
    Client,
}

/// The type of a frame (RFC 6455, 5.2 and 11.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Opcode {
    /// Another fragment of the message in progress.
    Continuation = 0,
    /// A text message, or its first fragment.
    Text = 1,
    /// A binary message, or its first fragment.
    Binary = 2,
    /// The last frame that its sender sends.
    Close = 8,
    /// A ping, which must be answered by a pong with the same payload.
    Ping = 9,
    /// The answer to a ping, or an unsolicited heartbeat.
    Pong = 10,
}

impl Opcode {
    /// Returns whether this is a close, ping or pong. Control frames are never fragmented, carry at
    /// most [`MAX_CONTROL_PAYLOAD`] bytes, and may come between the fragments of a message.
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }

    /// Returns the opcode with these four bits; `None` if it is reserved.
    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }
}

/// The bits of a frame's first two bytes (RFC 6455, 5.2).
mod bits {
    pub(super) const FIN: u8 = 0x80;
    pub(super) const RESERVED: u8 = 0x70;
    /// The reserved bit that permessage-deflate sets on compressed messages (RFC 7692, 6).
    pub(super) const DEFLATED: u8 = 0x40;
    pub(super) const OPCODE: u8 = 0x0f;
    pub(super) const MASKED: u8 = 0x80;
    pub(super) const LENGTH: u8 = 0x7f;
    /// The value of the length field if the length follows in two bytes.
    pub(super) const LENGTH_16: u8 = 126;
    /// The value of the length field if the length follows in eight bytes.
    pub(super) const LENGTH_64: u8 = 127;
}
