//! Packets to send.

use super::token::{Token, token};
use super::write::{to_msgpack, write_str};
use crate::reuse::Reuse;
use crate::socketio::kind::Kind;
use crate::socketio::parser::encoded::{Attachments, Packed};
use alloc::vec::Vec;
use rmp::encode;

/// The capacity in bytes that an [`Encoder`] keeps between two packets. More is kept only while it is needed.
const KEPT: usize = 64 * 1024;

/// Writes packets that were encoded as text once more, as MessagePack.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    packed: Packed,
    reuse: Reuse,
}

impl Encoder {
    pub(crate) const fn new() -> Encoder {
        Encoder { packed: Packed { bytes: Vec::new(), data: 0 }, reuse: Reuse::new() }
    }

    /// Writes a packet that was encoded as text. The data comes last, so that it can be [appended](append_str) to.
    #[inline(never)]
    pub(in crate::socketio) fn pack(
        &mut self,
        kind: Kind,
        namespace: &str,
        id: Option<u64>,
        json: &str,
        attachments: Attachments<'_>,
    ) -> &Packed {
        let out = &mut self.packed.bytes;
        self.reuse.clear(out, KEPT);
        // The reference refuses an error that is not an object.
        let is_error = kind == Kind::ConnectError;
        let has_data = !json.is_empty() || is_error;
        // Writing to memory does not fail.
        let _ = encode::write_map_len(out, 2 + u32::from(id.is_some()) + u32::from(has_data));
        write_str(out, "type");
        out.push(digit(kind));
        write_str(out, "nsp");
        write_str(out, namespace);
        if let Some(id) = id {
            write_str(out, "id");
            let _ = encode::write_uint(out, id);
        }
        if has_data {
            write_str(out, "data");
        }
        self.packed.data = out.len();
        if is_error && !json.starts_with('{') {
            let _ = encode::write_map_len(out, 1);
            write_str(out, "message");
            to_msgpack(out, if json.is_empty() { "\"\"" } else { json }, |_| None);
        } else {
            to_msgpack(out, json, |number| attachments.get(number));
        }
        &self.packed
    }

    pub(crate) fn trim(&mut self) {
        *self = Encoder::new();
    }

    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.packed.bytes.capacity()
    }
}

fn digit(kind: Kind) -> u8 {
    match kind {
        Kind::Connect => 0,
        Kind::Disconnect => 1,
        Kind::Event | Kind::BinaryEvent => 2,
        Kind::Ack | Kind::BinaryAck => 3,
        Kind::ConnectError => 4,
    }
}

/// Appends a string to the array that begins at `array` and is the end of `out`.
pub(crate) fn append_str(out: &mut Vec<u8>, array: usize, text: &str) {
    let Some((Token::Array(len), rest)) = out.get(array..).and_then(token) else { return };
    let end = out.len() - rest.len();
    // An array header takes 5 bytes at most.
    let mut header = Vec::with_capacity(5);
    let _ = encode::write_array_len(&mut header, len.saturating_add(1));
    out.splice(array..end, header);
    write_str(out, text);
}
