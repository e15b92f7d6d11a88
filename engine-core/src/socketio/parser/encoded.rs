//! A packet that was encoded.

use crate::copy::append;
use crate::engineio::Part;
use crate::socketio::args::{Args, OwnedArgs};
use crate::socketio::error::EncodeError;
use crate::utf8::from_utf8;
use alloc::vec::Vec;
use bytes::Bytes;
use core::iter::FusedIterator;

/// A packet ready to be sent, borrowed from its [`Encoder`](super::Encoder).
#[derive(Debug, Clone, Copy)]
pub struct Encoded<'a> {
    /// The packet in UTF-8, without Engine.IO's digit in front. To send it, use [`parts`](Encoded::parts): with
    /// [`Parser::MessagePack`](super::Parser::MessagePack) they are another form of it.
    pub text: &'a [u8],
    /// The position of the JSON in `text`.
    pub(super) json: usize,
    pub(super) binary: &'a Binary,
    /// The same packet as MessagePack, if that is to be sent.
    pub(super) packed: Option<&'a Packed>,
}

/// The attachments of a packet.
#[derive(Debug, Default)]
pub(super) struct Binary {
    /// The bytes of all attachments, one after the other.
    pub(super) bytes: Vec<u8>,
    /// The end of each attachment in `bytes`.
    pub(super) ends: Vec<usize>,
}

impl Binary {
    pub(super) const fn new() -> Binary {
        Binary { bytes: Vec::new(), ends: Vec::new() }
    }

    pub(super) fn push(&mut self, attachment: &[u8]) {
        append(&mut self.bytes, attachment);
        self.ends.push(self.bytes.len());
    }
}

/// A packet as MessagePack.
#[derive(Debug, Default)]
pub(in crate::socketio) struct Packed {
    pub(in crate::socketio) bytes: Vec<u8>,
    /// The position of the data in `bytes`, of which it is the end.
    pub(in crate::socketio) data: usize,
}

impl<'a> Encoded<'a> {
    /// Returns a copy of the arguments of an event, for listeners that watch what leaves.
    pub fn event_args(&self) -> OwnedArgs {
        let json = self.json().expect("the encoder writes text");
        let attachments: Vec<_> = self.attachments().map(Bytes::copy_from_slice).collect();
        Args::new_event(json, &attachments).into_owned()
    }

    /// Returns the index at which the arguments begin in `text`.
    pub(crate) fn args_start(&self) -> usize {
        self.json
    }

    /// Returns the data of the packet, which is empty if it has none.
    #[inline]
    pub(super) fn json(&self) -> Result<&'a str, EncodeError> {
        let json = self.text.get(self.json..).unwrap_or_default();
        from_utf8(json).ok_or_else(|| serde::ser::Error::custom("the packet is not UTF-8"))
    }

    /// Returns the packet as MessagePack, if that is to be sent.
    pub(in crate::socketio) fn packed(&self) -> Option<&'a Packed> {
        self.packed
    }

    /// Returns the messages to send, as one unit: the text and the attachments behind it, or one binary message.
    pub fn parts(&self) -> impl Iterator<Item = Part<'a>> + Clone + use<'a> {
        let (first, attachments) = match self.packed {
            None => (Part::Text(self.text), self.attachments()),
            Some(packed) => (Part::Binary(&packed.bytes), Attachments { binary: &[], start: 0, ends: &[] }),
        };
        core::iter::once(first).chain(attachments.map(Part::Binary))
    }

    /// Returns the message to send, if the packet is only one.
    #[inline]
    pub fn only(&self) -> Option<Part<'a>> {
        (self.binary.ends.is_empty() || self.packed.is_some()).then(|| self.first())
    }

    /// Returns the first of the messages to send, which is the only one of a packet without attachments.
    pub(in crate::socketio) fn first(&self) -> Part<'a> {
        self.packed.map_or(Part::Text(self.text), |packed| Part::Binary(&packed.bytes))
    }

    /// Returns the attachments: each has to be sent as a binary message behind the text, with nothing in between.
    #[inline]
    pub fn attachments(&self) -> Attachments<'a> {
        Attachments { binary: &self.binary.bytes, start: 0, ends: &self.binary.ends }
    }
}

/// The attachments of an [`Encoded`] packet.
#[derive(Debug, Clone)]
pub struct Attachments<'a> {
    binary: &'a [u8],
    start: usize,
    ends: &'a [usize],
}

impl<'a> Attachments<'a> {
    /// Returns the attachment with this number of those that are left.
    pub(super) fn get(&self, number: usize) -> Option<&'a [u8]> {
        let end = *self.ends.get(number)?;
        let start = match number.checked_sub(1) {
            None => self.start,
            Some(before) => *self.ends.get(before)?,
        };
        self.binary.get(start..end)
    }
}

impl<'a> Iterator for Attachments<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (&end, ends) = self.ends.split_first()?;
        let attachment = self.binary.get(self.start..end);
        self.start = end;
        self.ends = ends;
        attachment
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.ends.len(), Some(self.ends.len()))
    }
}

impl ExactSizeIterator for Attachments<'_> {}
impl FusedIterator for Attachments<'_> {}
