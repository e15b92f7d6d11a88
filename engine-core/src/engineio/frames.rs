//! Messages that are encoded once for any number of sessions.

use super::framing::Framing;
use super::packet::{SEPARATOR, base64_len, write_base64};
use super::v3;
use super::version::BinaryForm;
use crate::copy::append;
use crate::websocket::{DeflatePool, Header, Opcode};
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
    pub(super) fn frame_len(self, form: BinaryForm) -> usize {
        let len = match self {
            Part::Text(text) => text.len() + 1,
            Part::Binary(data) => match form {
                BinaryForm::Plain => data.len(),
                BinaryForm::Typed => data.len() + 1,
                BinaryForm::Base64 => v3::base64_len(data.len()),
            },
        };
        Header::len_for(len) + len
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
    #[inline]
    pub(super) fn write_frame(self, out: &mut Vec<u8>, framing: Framing, pool: &DeflatePool) {
        let Framing::WebSocket(deflate, form) = framing;
        if form != BinaryForm::Plain
            && let Part::Binary(data) = self
        {
            return v3::write_frame(out, data, deflate, form, pool);
        }
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
                match Header::short_text(text.len() + 1) {
                    // A constant number of bytes is not copied by a call: `benches/count ack16`.
                    Some([first, second]) => out.extend_from_slice(&[first, second, b'4']),
                    None => {
                        out.extend_from_slice(&Header::new(Opcode::Text, text.len() + 1, None));
                        out.push(b'4');
                    }
                }
                append(out, text);
            }
            Part::Binary(data) => {
                out.extend_from_slice(&Header::new(Opcode::Binary, data.len(), None));
                append(out, data);
            }
        }
    }

    /// Appends this message as a packet of a payload.
    pub(super) fn write_packet(self, out: &mut Vec<u8>) {
        match self {
            Part::Text(text) => {
                out.push(b'4');
                append(out, text);
            }
            Part::Binary(data) => write_base64(out, data),
        }
    }
}

/// A unit of messages for many sessions. It is encoded once for WebSocket, once for polling if a recipient polls, and
/// once for each compression setting of the recipients; and, if it has binary messages, again for recipients of version 3.
///
/// Every recipient's queue holds a reference to the same bytes.
#[derive(Clone, Debug)]
pub struct Frames {
    frames: Bytes,
    payload: Option<Bytes>,
    /// The other forms: compressed, and for version 3. There are few, because clients choose only the size of the window.
    others: Vec<(Framing, Bytes)>,
    /// What `frames` was before the first [`regroup`](Frames::regroup).
    origin: Option<Bytes>,
}

impl Frames {
    /// Encodes a unit, whose parts stay together and in order for every recipient.
    ///
    /// Texts must not contain U+001E, which ends a packet in a payload of polling. JSON never contains it.
    pub fn new<'a>(parts: impl Iterator<Item = Part<'a>> + Clone) -> Frames {
        let framing = Framing::default();
        let mut out = Vec::with_capacity(framing.len(parts.clone()));
        parts.for_each(|part| part.write_frame(&mut out, framing, &DeflatePool::default()));
        Frames::from_shared(out.into())
    }

    /// Creates the unit from the memory that [`shared`](Frames::shared) returned.
    pub(crate) fn from_shared(frames: Bytes) -> Frames {
        Frames { frames, payload: None, others: Vec::new(), origin: None }
    }

    /// Returns the memory of the unit, which is shared with all recipients that do not compress.
    pub(crate) fn shared(&self) -> &Bytes {
        &self.frames
    }

    /// Gives the recipients that follow a reference count of their own.
    ///
    /// All recipients of a unit share one count, which every thread that has written the unit to a connection changes. If
    /// there are several, call this after each small group of recipients that the same thread is likely to write to.
    pub fn regroup(&mut self) {
        let origin = self.origin.get_or_insert_with(|| self.frames.clone());
        self.frames = Bytes::from_owner(origin.clone());
    }

    /// Returns the length of the unit as frames without compression, in bytes.
    pub fn frames_len(&self) -> usize {
        self.frames.len()
    }

    /// Returns the messages of the unit.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        parts_of(&self.frames)
    }

    /// Returns the unit as frames, headers included. If compression was negotiated, a unit that is long enough is
    /// compressed on first use; one with binary messages gets its form of version 3 on first use.
    pub(super) fn frames(&mut self, framing: Framing, pool: &DeflatePool) -> &Bytes {
        match framing {
            framing if framing.is_default() => &self.frames,
            Framing::WebSocket(Some(deflate), BinaryForm::Plain)
                if self.frames.len() <= deflate.threshold() =>
            {
                &self.frames
            }
            // Text is the same in all versions, so that most units need no form of their own.
            framing @ Framing::WebSocket(_, BinaryForm::Typed | BinaryForm::Base64) if self.is_text() => {
                self.frames(framing.with(BinaryForm::Plain), pool)
            }
            framing => self.other(framing, pool),
        }
    }

    fn other(&mut self, framing: Framing, pool: &DeflatePool) -> &Bytes {
        let at = match self.others.iter().position(|(known, _)| *known == framing) {
            Some(at) => at,
            None => {
                self.others.push((framing, encoded(&self.frames, framing, pool)));
                self.others.len() - 1
            }
        };
        self.others.get(at).map_or(&self.frames, |(_, frames)| frames)
    }

    /// Returns whether there is one message, which is text, and nothing else.
    fn is_text(&self) -> bool {
        matches!(read_header(&self.frames), Some(((true, len), rest)) if rest.len() == len)
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
        let framing = Framing::default();
        let mut bytes = Vec::with_capacity(end + framing.len(binary.clone()));
        bytes.extend_from_slice(&header);
        bytes.push(b'4');
        text.iter().for_each(|piece| append(&mut bytes, piece));
        binary.for_each(|part| part.write_frame(&mut bytes, framing, &DeflatePool::default()));
        Draft { bytes, unknown: end.saturating_sub(before_end) }
    }

    /// Encodes a unit of one binary message. The bytes that are not known begin `before_end` bytes before its end.
    pub(crate) fn new_binary(data: &[u8], before_end: usize) -> Draft {
        let part = Part::Binary(data);
        let framing = Framing::default();
        let mut bytes = Vec::with_capacity(part.frame_len(BinaryForm::Plain));
        part.write_frame(&mut bytes, framing, &DeflatePool::default());
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

/// Returns the messages of frames that [`Part::write_frame`] wrote.
fn parts_of(frames: &[u8]) -> impl Iterator<Item = Part<'_>> {
    let mut rest = frames;
    core::iter::from_fn(move || {
        let ((is_text, len), tail) = read_header(rest)?;
        let (data, tail) = tail.split_at_checked(len)?;
        rest = tail;
        // The text follows the digit of its packet.
        Some(if is_text { Part::Text(data.split_first()?.1) } else { Part::Binary(data) })
    })
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
            true => append(&mut out, data),
            false => write_base64(&mut out, data),
        }
    }
    out.into()
}

/// Encodes frames that [`Part::write_frame`] wrote in another way. Returns the same ones if none would become shorter.
fn encoded(frames: &Bytes, framing: Framing, pool: &DeflatePool) -> Bytes {
    let mut out = Vec::new();
    parts_of(frames).for_each(|part| part.write_frame(&mut out, framing, pool));
    if out == *frames { frames.clone() } else { out.into() }
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
            frames.frames(Framing::default(), &DeflatePool::default()).slice(4..).as_ptr()
        );
    }

    #[test]
    fn a_group_of_recipients_has_a_count_of_its_own() {
        let last = |is_grouped: bool| {
            let mut frames = Frames::new([Part::Text(b"[\"a\"]")].into_iter());
            if is_grouped {
                frames.regroup();
            }
            frames.shared().clone()
        };
        // The memory has an owner, which the group counts, instead of the count of the memory.
        assert!(last(false).is_unique() && !last(true).is_unique());
    }

    #[test]
    fn groups_of_recipients_share_the_memory_and_keep_it_alive() {
        let mut frames = Frames::new([Part::Text(b"[\"a\"]")].into_iter());
        let first = frames.shared().clone();
        let groups = [(); 3].map(|()| {
            frames.regroup();
            frames.shared().clone()
        });
        assert!(groups.iter().all(|group| group.as_ptr() == first.as_ptr() && *group == first));
        let [one, two, last] = groups;
        // A group has one reference to the memory, however many recipients it has.
        let recipients = [last.clone(), last];
        drop((frames, one, two));
        assert!(!first.is_unique());
        drop(recipients);
        assert!(first.is_unique());
    }

    #[test]
    fn attachments_follow_their_text_in_both_forms() {
        let parts = [Part::Text(b"51-[]"), Part::Binary(&[1, 2, 3, 4])];
        let mut frames = Frames::new(parts.into_iter());
        assert_eq!(frames.payload().as_ref(), b"451-[]\x1ebAQIDBA==");
        let read: Vec<_> = frames.parts().collect();
        assert!(matches!(read.as_slice(), [Part::Text(b"51-[]"), Part::Binary([1, 2, 3, 4])]), "{read:?}");
        assert_eq!(
            frames.frames(Framing::default(), &DeflatePool::default()).as_ref(),
            b"\x81\x06451-[]\x82\x04\x01\x02\x03\x04"
        );
    }

    #[cfg(feature = "deflate")]
    #[test]
    fn a_unit_is_compressed_once_for_each_window() {
        use crate::websocket::{Deflate, PerMessageDeflate};
        let agree = |offer: &'static str| {
            let config = PerMessageDeflate::new();
            Deflate::agree(&config, core::iter::once(offer.as_bytes())).map(|(deflate, _)| deflate)
        };
        let framing = |deflate| Framing::WebSocket(deflate, BinaryForm::Plain);
        let whole = agree("permessage-deflate");
        let small = agree("permessage-deflate; server_max_window_bits=9");
        assert!(whole.is_some() && small.is_some() && whole != small);
        let text = b"again and ".repeat(200);
        let mut frames = Frames::new([Part::Text(&text), Part::Binary(&[1, 2, 3])].into_iter());
        let mut places = alloc::collections::BTreeSet::new();
        for deflate in [None, whole, small].into_iter().cycle().take(3000) {
            places.insert(frames.frames(framing(deflate), &DeflatePool::default()).as_ptr());
        }
        assert_eq!(places.len(), 3);
        assert!(frames.frames(framing(whole), &DeflatePool::default()).len() < 100);
        assert!(
            frames.frames(framing(whole), &DeflatePool::default()).ends_with(b"\x82\x03\x01\x02\x03"),
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
                frames.frames(framing(whole), &DeflatePool::default()).as_ptr(),
                frames.frames(Framing::default(), &DeflatePool::default()).as_ptr()
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
