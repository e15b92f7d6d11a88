//! The packets that wait for the body of a response or request.

use super::frames::{Frames, Part};
use super::framing::Framing;
use super::packet::{SEPARATOR, decode_written};
use super::v3;
use super::version::BinaryForm;
use crate::outbound::Outbound;
use crate::websocket::DeflatePool;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bytes::{Buf, Bytes};
use core::iter;

/// The packets that wait for a poll or the next POST, as they stand in its payload.
///
/// Messages that many sessions get are kept by reference. The length of every packet is known, so neither a payload with
/// a limit nor an upgrade searches for separators.
#[derive(Debug, Default)]
pub(super) struct Payload {
    text: Outbound,
    /// The lengths of the packets if there are several; a single packet is as long as the text.
    #[expect(clippy::box_collection, reason = "a pointer is smaller, and most sessions never need the list")]
    lengths: Option<Box<VecDeque<usize>>>,
}

/// Number of packets that the list of lengths is made for. More are rare.
const LENGTHS: usize = 16;

/// Maximum number of packets in a payload of version 3. Each is a queue of its own while the payload is written, and a packet
/// of one byte is no longer than its length.
const MOST_V3: usize = 4096;

impl Payload {
    /// Returns the packets' text with its separators.
    pub(super) fn text(&self) -> &Outbound {
        &self.text
    }

    /// Returns the number of bytes that the packets take, the list of their lengths included.
    pub(super) fn size(&self) -> usize {
        self.text.len() + self.lengths.as_ref().map_or(0, |lengths| lengths.len() * size_of::<usize>())
    }

    /// Returns the queue of the text, so that its memory can come from a pool and return there.
    pub(super) fn text_mut(&mut self) -> &mut Outbound {
        &mut self.text
    }

    /// Returns the maximum number of bytes that [`write`](Payload::write) appends.
    pub(super) fn len_of<'a>(parts: impl Iterator<Item = Part<'a>>) -> usize {
        parts.map(|part| part.packet_len() + 1).sum()
    }

    /// Appends messages, which must not contain a separator.
    pub(super) fn write<'a>(&mut self, parts: impl Iterator<Item = Part<'a>>) {
        for part in parts {
            self.begin_packet(part.packet_len());
            self.text.write_with(|out| part.write_packet(out));
        }
    }

    /// Appends a reference to messages that were encoded for many sessions.
    pub(super) fn push_shared(&mut self, frames: &mut Frames) {
        let mut queued = self.text.len();
        if queued > 0 {
            self.text.extend(&[SEPARATOR]);
        }
        self.text.push(frames.payload().clone());
        for len in frames.packet_lens() {
            match queued {
                0 => queued = len,
                _ => self.note(queued, len),
            }
        }
    }

    /// Appends packets that stand in the form of a payload.
    pub(super) fn push_packets(&mut self, packets: Bytes) {
        let mut queued = self.text.len();
        if queued > 0 {
            self.text.extend(&[SEPARATOR]);
        }
        for packet in packets.split(|byte| *byte == SEPARATOR) {
            match queued {
                0 => queued = packet.len(),
                _ => self.note(queued, packet.len()),
            }
        }
        self.text.push(packets);
    }

    /// Appends a packet of the protocol itself.
    pub(super) fn push_control(&mut self, packet: &[u8]) {
        self.begin_packet(packet.len());
        self.text.extend(packet);
    }

    /// Prepares for a packet of `len` bytes, which follows.
    fn begin_packet(&mut self, len: usize) {
        let queued = self.text.len();
        if queued > 0 {
            self.text.extend(&[SEPARATOR]);
            self.note(queued, len);
        }
    }

    /// Notes the length of a packet that is not the first. `first` is the first one's length, if there are only two.
    fn note(&mut self, first: usize, len: usize) {
        let lengths = self.lengths.get_or_insert_with(|| {
            let mut lengths = VecDeque::with_capacity(LENGTHS);
            lengths.push_back(first);
            Box::new(lengths)
        });
        lengths.push_back(len);
    }

    /// Takes whole packets from the front: at most `most`, and as many as `limit` bytes hold, but at least one.
    pub(super) fn take(&mut self, limit: usize, most: usize) -> Outbound {
        let fits = self.text.len() <= limit;
        let Some(lengths) = self.lengths.as_mut().filter(|lengths| !fits || lengths.len() > most) else {
            return core::mem::take(self).text;
        };
        let mut end = lengths.pop_front().unwrap_or_default();
        let mut taken = 1;
        while taken < most
            && let Some(next) = lengths.front().map(|len| end.saturating_add(1 + len))
            && next <= limit
        {
            (end, taken) = (next, taken + 1);
            lengths.pop_front();
        }
        if lengths.len() < 2 {
            self.lengths = None;
        }
        let front = self.text.split_to(end);
        self.text.advance(1);
        front
    }

    /// Does the same as [`take`](Payload::take), in the form of version 3. The limit is that of the packets, of which it takes
    /// at most [`MOST_V3`].
    pub(super) fn take_v3(&mut self, limit: usize, form: BinaryForm) -> Outbound {
        let mut packets = Vec::new();
        let mut size = 0usize;
        while !self.text.is_empty() && packets.len() < MOST_V3 {
            let first = self.lengths.as_ref().and_then(|lengths| lengths.front().copied());
            size = size.saturating_add(first.unwrap_or(self.text.len()));
            if size > limit && !packets.is_empty() {
                break;
            }
            packets.push(self.take(0, 1));
        }
        v3::write_payload(packets, form)
    }

    /// Drops all packets. Keeps the memory of the text unless it is large.
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.lengths = None;
    }

    /// Returns each packet.
    pub(super) fn into_packets(self) -> impl Iterator<Item = Outbound> {
        let Payload { mut text, lengths } = self;
        let only = (!text.is_empty() && lengths.is_none()).then(|| text.len());
        let lens = only.into_iter().chain(lengths.into_iter().flat_map(|lengths| *lengths));
        lens.map(move |len| {
            let packet = text.split_to(len);
            if !text.is_empty() {
                text.advance(1);
            }
            packet
        })
    }

    /// Returns the packets as they are sent on a connection that took over.
    pub(super) fn into_frames(self, framing: Framing, pool: &DeflatePool) -> Outbound {
        let mut out = Outbound::new();
        for mut packet in self.into_packets() {
            match decode_binary(&mut packet) {
                Some(data) => framing.write(&mut out, iter::once(Part::Binary(&data)), pool),
                None => framing.push_packet(&mut out, &mut packet),
            }
        }
        out
    }
}

/// Decodes a packet if it is a binary message. No other packet begins with the same letter.
pub(super) fn decode_binary(packet: &mut Outbound) -> Option<Vec<u8>> {
    (packet.chunk().first() == Some(&b'b')).then(|| decode_written(&packet.copy_to_bytes(packet.len())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engineio::split_payload;
    use alloc::string::String;
    use alloc::vec;
    use proptest::prelude::*;

    fn text(mut queue: Outbound) -> String {
        String::from_utf8(queue.copy_to_bytes(queue.len()).to_vec()).unwrap()
    }

    #[test]
    fn a_shared_message_stays_shared_when_the_session_is_upgraded() {
        let data = vec![b'x'; 5000];
        let mut frames = Frames::new(iter::once(Part::Text(&data)));
        let mut payload = Payload::default();
        payload.write(iter::once(Part::Text(b"before")));
        payload.push_shared(&mut frames);
        payload.write(iter::once(Part::Text(b"after")));
        let shared = frames.payload().as_ptr();
        let out = payload.into_frames(Framing::default(), &DeflatePool::default());
        assert!(out.chunks().any(|chunk| chunk.as_ptr() == shared));
    }

    #[test]
    fn one_packet_needs_no_list_of_lengths() {
        let mut payload = Payload::default();
        payload.write(iter::once(Part::Text(b"a")));
        assert!(payload.lengths.is_none());
        payload.write(iter::once(Part::Text(b"b")));
        assert!(payload.lengths.is_some());
        assert_eq!(text(payload.take(1, usize::MAX)), "4a");
        assert!(payload.lengths.is_none());
        assert_eq!(text(payload.take(1, usize::MAX)), "4b");
    }

    #[derive(Clone, Debug)]
    enum Op {
        Write(Vec<Result<String, Vec<u8>>>),
        Share(Vec<Result<String, Vec<u8>>>),
        Control,
        Take(usize, usize),
    }

    fn op() -> impl Strategy<Value = Op> {
        let text = "[a-z]{0,20}".prop_map(Ok);
        let part = prop_oneof![text, proptest::collection::vec(any::<u8>(), 0..20).prop_map(Err)];
        let parts = proptest::collection::vec(part, 1..4);
        prop_oneof![
            parts.clone().prop_map(Op::Write),
            parts.prop_map(Op::Share),
            Just(Op::Control),
            (0usize..100, 1usize..6).prop_map(|(limit, most)| Op::Take(limit, most)),
        ]
    }

    fn parts(parts: &[Result<String, Vec<u8>>]) -> impl Iterator<Item = Part<'_>> + Clone {
        parts.iter().map(|part| match part {
            Ok(text) => Part::Text(text.as_bytes()),
            Err(data) => Part::Binary(data),
        })
    }

    proptest! {
        /// The lengths agree with the separators, and an upgrade frames what was sent.
        #[test]
        fn packets_are_taken_whole_and_framed_as_they_were_sent(
            ops in proptest::collection::vec(op(), 0..20)
        ) {
            let pool = DeflatePool::default();
            let mut payload = Payload::default();
            let mut sent: VecDeque<(String, Vec<u8>)> = VecDeque::new();
            for op in ops {
                match op {
                    Op::Control => {
                        payload.push_control(b"2");
                        sent.push_back(("2".into(), b"\x81\x012".to_vec()));
                    }
                    Op::Take(limit, most) => {
                        let taken = text(payload.take(limit, most));
                        let packets: Vec<&str> = split_payload(&taken).collect();
                        prop_assert!(taken.len() <= limit || packets.len() == 1);
                        prop_assert!(packets.len() <= most);
                        for packet in &packets {
                            let (expected, _) = sent.pop_front().unwrap();
                            prop_assert_eq!(*packet, expected);
                        }
                        if let Some((next, _)) = sent.front() {
                            prop_assert!(packets.len() == most || taken.len() + 1 + next.len() > limit);
                        }
                    }
                    Op::Write(ref unit) | Op::Share(ref unit) => {
                        match op {
                            Op::Write(_) => payload.write(parts(unit)),
                            _ => payload.push_shared(&mut Frames::new(parts(unit))),
                        }
                        for part in parts(unit) {
                            let (mut packet, mut frame) = (Vec::new(), Outbound::new());
                            part.write_packet(&mut packet);
                            Framing::default().write(&mut frame, iter::once(part), &pool);
                            let frame = frame.copy_to_bytes(frame.len()).to_vec();
                            sent.push_back((String::from_utf8(packet).unwrap(), frame));
                        }
                    }
                }
            }
            let mut out = payload.into_frames(Framing::default(), &pool);
            let expected: Vec<u8> = sent.into_iter().flat_map(|(_, frame)| frame).collect();
            prop_assert_eq!(out.copy_to_bytes(out.len()).to_vec(), expected);
        }
    }
}
