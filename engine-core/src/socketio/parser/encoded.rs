//! A packet that was encoded.

use crate::engineio::Part;
use crate::socketio::args::{Args, OwnedArgs};
use alloc::vec::Vec;
use bytes::Bytes;
use core::iter::FusedIterator;

/// A packet ready to be sent, borrowed from its [`Encoder`](super::Encoder).
#[derive(Debug, Clone, Copy)]
pub struct Encoded<'a> {
    /// The packet in UTF-8, without Engine.IO's digit in front.
    pub text: &'a [u8],
    /// The position of the JSON in `text`.
    pub(super) json: usize,
    /// The bytes of all attachments, one after the other.
    pub(super) binary: &'a [u8],
    /// The end of each attachment in `binary`.
    pub(super) ends: &'a [usize],
}

impl<'a> Encoded<'a> {
    /// Returns a copy of the arguments of an event, for listeners that watch what leaves.
    pub fn event_args(&self) -> OwnedArgs {
        let json = core::str::from_utf8(self.text.get(self.json..).unwrap_or_default());
        let json = json.expect("the encoder writes text");
        let attachments: Vec<_> = self.attachments().map(Bytes::copy_from_slice).collect();
        Args::new_event(json, &attachments).into_owned()
    }

    /// Returns the index at which the arguments begin in `text`.
    pub(crate) fn args_start(&self) -> usize {
        self.json
    }

    /// Returns the messages to send, as one unit: the text, and the attachments behind it.
    pub fn parts(&self) -> impl Iterator<Item = Part<'a>> + Clone + use<'a> {
        core::iter::once(Part::Text(self.text)).chain(self.attachments().map(Part::Binary))
    }

    /// Returns the attachments: each has to be sent as a binary message behind the text, with nothing in between.
    pub fn attachments(&self) -> Attachments<'a> {
        Attachments { binary: self.binary, start: 0, ends: self.ends }
    }
}

/// The attachments of an [`Encoded`] packet.
#[derive(Debug, Clone)]
pub struct Attachments<'a> {
    binary: &'a [u8],
    start: usize,
    ends: &'a [usize],
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
