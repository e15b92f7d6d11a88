//! Messages that are encoded once for any number of sessions.

use super::framing::Framing;
use super::packet::{SEPARATOR, base64_len, write_base64};
use crate::websocket::{Deflate, DeflatePool, Header, Opcode};
use alloc::vec::Vec;
use bytes::Bytes;

/// A message of a unit, which is a text message and the binary messages that belong to it.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// A text message in UTF-8, without the packet's type digit.
    Text(&'a [u8]),
    /// A binary message.
    Binary(&'a [u8]),
}

impl Part<'_> {
    /// Returns the maximum number of bytes that [`write_frame`](Part::write_frame) appends.
    pub(super) fn frame_len(self) -> usize {
        let (opcode, len) = match self {
            Part::Text(text) => (Opcode::Text, text.len() + 1),
            Part::Binary(data) => (Opcode::Binary, data.len()),
        };
        Header::new(opcode, len, None).len() + len
    }

    /// Returns whether this contains a separator, so that a payload would split it into several packets.
    pub(super) fn has_separator(self) -> bool {
        matches!(self, Part::Text(text) if memchr::memchr(SEPARATOR, text).is_some())
    }

    /// Returns the number of bytes that [`write_packet`](Part::write_packet) appends.
    pub(super) fn packet_len(self) -> usize {
        match self {
            Part::Text(text) => text.len() + 1,
            Part::Binary(data) => base64_len(data.len()),
        }
    }

    /// Appends this message as one WebSocket frame, compressed if that was negotiated and makes it shorter.
    pub(super) fn write_frame(self, out: &mut Vec<u8>, deflate: Option<Deflate>, pool: &DeflatePool) {
        if let Some(deflate) = deflate
            && match self {
                Part::Text(text) => deflate.write_frame(pool, out, Opcode::Text, &[b"4", text], None),
                Part::Binary(data) => deflate.write_frame(pool, out, Opcode::Binary, &[data], None),
            }
        {
            return;
        }
        match self {
            Part::Text(text) => {
                out.extend_from_slice(&Header::new(Opcode::Text, text.len() + 1, None));
                out.push(b'4');
                out.extend_from_slice(text);
            }
            Part::Binary(data) => {
                out.extend_from_slice(&Header::new(Opcode::Binary, data.len(), None));
                out.extend_from_slice(data);
            }
        }
    }

    /// Appends this message as a packet of a payload.
    pub(super) fn write_packet(self, out: &mut Vec<u8>) {
        match self {
            Part::Text(text) => {
                out.push(b'4');
                out.extend_from_slice(text);
            }
            Part::Binary(data) => write_base64(out, data),
        }
    }
}

/// A unit of messages for many sessions. It is encoded once for WebSocket, once for polling if a recipient polls, and
/// once for each compression setting of the recipients.
///
/// Every recipient's queue holds a reference to the same bytes.
#[derive(Clone, Debug)]
pub struct Frames {
    frames: Bytes,
    payload: Option<Bytes>,
    /// The compressed forms. There are few, because clients choose only the size of the window.
    #[cfg(feature = "deflate")]
    deflated: Vec<(Deflate, Bytes)>,
}

impl Frames {
    /// Encodes a unit, whose parts stay together and in order for every recipient.
    ///
    /// Texts must not contain U+001E, which ends a packet in a payload of polling. JSON never contains it.
    pub fn new<'a>(parts: impl Iterator<Item = Part<'a>> + Clone) -> Frames {
        let mut out = Vec::with_capacity(parts.clone().map(Part::frame_len).sum());
        parts.for_each(|part| part.write_frame(&mut out, None, &DeflatePool::default()));
        Frames::from_shared(out.into())
    }

    /// Creates the unit from the memory that [`shared`](Frames::shared) returned.
    pub(crate) fn from_shared(frames: Bytes) -> Frames {
        Frames {
            frames,
            payload: None,
            #[cfg(feature = "deflate")]
            deflated: Vec::new(),
        }
    }

    /// Returns the memory of the unit, which is shared with all recipients that do not compress.
    pub(crate) fn shared(&self) -> &Bytes {
        &self.frames
    }

    /// Returns the length of the unit as frames without compression, in bytes.
    pub fn frames_len(&self) -> usize {
        self.frames.len()
    }

    /// Returns the messages of the unit.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        let mut rest: &[u8] = &self.frames;
        core::iter::from_fn(move || {
            let ((is_text, len), tail) = read_header(rest)?;
            let (data, tail) = tail.split_at_checked(len)?;
            rest = tail;
            // The text follows the digit of its packet.
            Some(if is_text { Part::Text(data.split_first()?.1) } else { Part::Binary(data) })
        })
    }

    /// Returns the unit as frames, headers included. If compression was negotiated, a unit that is long enough is
    /// compressed on first use.
    pub(super) fn frames(&mut self, framing: Framing, pool: &DeflatePool) -> &Bytes {
        let Framing::WebSocket(deflate) = framing;
        match deflate {
            Some(deflate) if self.frames.len() > deflate.threshold() => self.deflated(deflate, pool),
            _ => &self.frames,
        }
    }

    #[cfg(feature = "deflate")]
    fn deflated(&mut self, deflate: Deflate, pool: &DeflatePool) -> &Bytes {
        let at = match self.deflated.iter().position(|(known, _)| *known == deflate) {
            Some(at) => at,
            None => {
                self.deflated.push((deflate, deflated(&self.frames, deflate, pool)));
                self.deflated.len() - 1
            }
        };
        self.deflated.get(at).map_or(&self.frames, |(_, frames)| frames)
    }

    #[cfg(not(feature = "deflate"))]
    fn deflated(&mut self, deflate: Deflate, _: &DeflatePool) -> &Bytes {
        match deflate {}
    }

    /// Returns the unit as a payload, which is made on first use.
    pub(super) fn payload(&mut self) -> &Bytes {
        let frames = &self.frames;
        self.payload.get_or_insert_with(|| payload_of(frames))
    }

    /// Returns the length of each packet of [`payload`](Frames::payload).
    pub(super) fn packet_lens(&self) -> impl Iterator<Item = usize> {
        let mut rest: &[u8] = &self.frames;
        core::iter::from_fn(move || {
            let ((is_text, len), tail) = read_header(rest)?;
            rest = tail.get(len..).unwrap_or_default();
            Some(if is_text { len } else { base64_len(len) })
        })
    }
}

/// A unit that is encoded, except for some bytes of its first message that are not known yet.
#[derive(Debug)]
pub struct Draft {
    bytes: Vec<u8>,
    /// The index of the bytes that are not known.
    unknown: usize,
}

impl Draft {
    /// Encodes a unit as [`Frames::new`] does. Its text consists of two pieces. The bytes that are not known begin
    /// `before_end` bytes before the end of the text.
    pub(crate) fn new<'a>(
        text: [&[u8]; 2],
        before_end: usize,
        binary: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Draft {
        let len = 1 + text.iter().map(|piece| piece.len()).sum::<usize>();
        let header = Header::new(Opcode::Text, len, None);
        let end = header.len() + len;
        let binary = binary.map(Part::Binary);
        let mut bytes = Vec::with_capacity(end + binary.clone().map(Part::frame_len).sum::<usize>());
        bytes.extend_from_slice(&header);
        bytes.push(b'4');
        text.iter().for_each(|piece| bytes.extend_from_slice(piece));
        binary.for_each(|part| part.write_frame(&mut bytes, None, &DeflatePool::default()));
        Draft { bytes, unknown: end.saturating_sub(before_end) }
    }

    /// Encodes a unit of one binary message. The bytes that are not known begin `before_end` bytes before its end.
    pub(crate) fn new_binary(data: &[u8], before_end: usize) -> Draft {
        let part = Part::Binary(data);
        let mut bytes = Vec::with_capacity(part.frame_len());
        part.write_frame(&mut bytes, None, &DeflatePool::default());
        Draft { unknown: bytes.len().saturating_sub(before_end), bytes }
    }

    /// Writes the bytes that were not known.
    pub(crate) fn overwrite(&mut self, with: &[u8]) {
        let place = self.bytes.get_mut(self.unknown..self.unknown + with.len());
        place.expect("the bytes are within the message").copy_from_slice(with);
    }

    /// Completes the unit with the bytes that it has.
    pub fn finish(self) -> Frames {
        Frames::from_shared(self.bytes.into())
    }
}

/// Converts frames that [`Part::write_frame`] wrote to a payload.
fn payload_of(frames: &Bytes) -> Bytes {
    let mut units = Vec::new();
    let mut rest: &[u8] = frames;
    while let Some((header, tail)) = read_header(rest) {
        let (data, tail) = tail.split_at(header.1);
        units.push((header.0, data));
        rest = tail;
    }
    if let [(true, text)] = units.as_slice() {
        return frames.slice_ref(text);
    }
    let size = units.iter().map(|(_, data)| base64_len(data.len()) + 1).sum();
    let mut out = Vec::with_capacity(size);
    for (i, (is_text, data)) in units.into_iter().enumerate() {
        if i > 0 {
            out.push(SEPARATOR);
        }
        match is_text {
            true => out.extend_from_slice(data),
            false => write_base64(&mut out, data),
        }
    }
    out.into()
}

/// Compresses frames that [`Part::write_frame`] wrote, except those that would not become shorter.
#[cfg(feature = "deflate")]
fn deflated(frames: &Bytes, deflate: Deflate, pool: &DeflatePool) -> Bytes {
    let mut out = Vec::new();
    let mut rest: &[u8] = frames;
    while let Some(((is_text, len), tail)) = read_header(rest) {
        let header = rest.len() - tail.len();
        let (frame, tail) = rest.split_at(header + len);
        let opcode = if is_text { Opcode::Text } else { Opcode::Binary };
        let (_, data) = frame.split_at(header);
        if !deflate.write_frame(pool, &mut out, opcode, &[data], None) {
            out.extend_from_slice(frame);
        }
        rest = tail;
    }
    if out.len() == frames.len() { frames.clone() } else { out.into() }
}

/// Parses a frame's header. Returns whether it is text and the length of its data, then the bytes after the header.
fn read_header(frame: &[u8]) -> Option<((bool, usize), &[u8])> {
    let (&[first, second], rest) = frame.split_first_chunk()?;
    let is_text = first & 15 == Opcode::Text as u8;
    Some(match second {
        126 => {
            let (len, rest) = rest.split_first_chunk()?;
            ((is_text, u16::from_be_bytes(*len).into()), rest)
        }
        127 => {
            let (len, rest) = rest.split_first_chunk()?;
            ((is_text, u64::from_be_bytes(*len) as usize), rest)
        }
        len => ((is_text, len.into()), rest),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn a_payload_of_one_text_shares_the_memory_of_its_frame() {
        let text = vec![b'x'; 300];
        let mut frames = Frames::new([Part::Text(&text)].into_iter());
        let payload = frames.payload().clone();
        assert_eq!(payload.len(), 301);
        assert_eq!(
            payload.as_ptr(),
            frames.frames(Framing::WebSocket(None), &DeflatePool::default()).slice(4..).as_ptr()
        );
    }

    #[test]
    fn attachments_follow_their_text_in_both_forms() {
        let parts = [Part::Text(b"51-[]"), Part::Binary(&[1, 2, 3, 4])];
        let mut frames = Frames::new(parts.into_iter());
        assert_eq!(frames.payload().as_ref(), b"451-[]\x1ebAQIDBA==");
        let read: Vec<_> = frames.parts().collect();
        assert!(matches!(read.as_slice(), [Part::Text(b"51-[]"), Part::Binary([1, 2, 3, 4])]), "{read:?}");
        assert_eq!(
            frames.frames(Framing::WebSocket(None), &DeflatePool::default()).as_ref(),
            b"\x81\x06451-[]\x82\x04\x01\x02\x03\x04"
        );
    }

    #[cfg(feature = "deflate")]
    #[test]
    fn a_unit_is_compressed_once_for_each_window() {
        use crate::websocket::PerMessageDeflate;
        let agree = |offer: &'static str| {
            let config = PerMessageDeflate::new();
            Deflate::agree(&config, core::iter::once(offer.as_bytes())).map(|(deflate, _)| deflate)
        };
        let whole = agree("permessage-deflate");
        let small = agree("permessage-deflate; server_max_window_bits=9");
        assert!(whole.is_some() && small.is_some() && whole != small);
        let text = b"again and ".repeat(200);
        let mut frames = Frames::new([Part::Text(&text), Part::Binary(&[1, 2, 3])].into_iter());
        let mut places = alloc::collections::BTreeSet::new();
        for deflate in [None, whole, small].into_iter().cycle().take(3000) {
            places.insert(frames.frames(Framing::WebSocket(deflate), &DeflatePool::default()).as_ptr());
        }
        assert_eq!(places.len(), 3);
        assert!(frames.frames(Framing::WebSocket(whole), &DeflatePool::default()).len() < 100);
        assert!(
            frames
                .frames(Framing::WebSocket(whole), &DeflatePool::default())
                .ends_with(b"\x82\x03\x01\x02\x03"),
            "short parts stay as they are"
        );
        // Data that is short, or does not become shorter, is not copied.
        let mut state = 1u32;
        let noise = core::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        });
        let noise: Vec<u8> = noise.take(2000).collect();
        for data in [&text[..900], &noise] {
            let mut frames = Frames::new([Part::Binary(data)].into_iter());
            assert_eq!(
                frames.frames(Framing::WebSocket(whole), &DeflatePool::default()).as_ptr(),
                frames.frames(Framing::WebSocket(None), &DeflatePool::default()).as_ptr()
            );
        }
    }

    #[test]
    fn frames_of_every_length_encoding_convert_to_a_payload() {
        for len in [0, 1, 124, 125, 126, 65_534, 65_535, 65_536] {
            let data = vec![b'y'; len];
            let mut frames = Frames::new([Part::Text(&data), Part::Text(b"z")].into_iter());
            assert_eq!(frames.payload().len(), len + 1 + 1 + 2);
        }
    }
}
