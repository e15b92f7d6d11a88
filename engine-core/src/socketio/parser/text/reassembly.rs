//! Attachments follow their packet as messages of their own; here it waits for them.

use super::placeholder;
use crate::engineio::Message;
use crate::socketio::attached::Attached;
use crate::socketio::error::DecodeError;
use crate::socketio::kind::Kind;
use crate::socketio::limits::Limits;
use crate::socketio::packet::Packet;
use crate::socketio::parser::{Decoded, Form};
use alloc::boxed::Box;
use alloc::vec::Vec;
use bytes::Bytes;

/// Reads a message: a text is a packet or its beginning, and a binary message an attachment.
#[inline]
pub(crate) fn decode<'a>(message: &'a Message<'_>, limits: &Limits) -> Decoded<'a> {
    let text = match message {
        Message::Text(text) => text,
        Message::Binary(data) => return Decoded(Form::Attachment(data)),
    };
    Decoded(match Packet::decode(text, limits) {
        Ok(packet) if packet.attachments > 0 => {
            let mut reassembly = Reassembly::new();
            let begun = reassembly.begin(&packet).map(|()| reassembly);
            Form::Begun(packet.namespace, begun)
        }
        Ok(packet) => Form::Packet(packet),
        Err(error) => Form::Wrong(error),
    })
}

/// Collects the attachments of one binary packet. One pointer while there is none.
///
/// It has no clock: while [`is_pending`](Reassembly::is_pending), its owner keeps a deadline
/// [`Limits::reassembly_timeout`] after [`begin`](Reassembly::begin).
///
/// After an error nothing is pending any more, and what was collected is freed.
#[derive(Debug, Default)]
pub struct Reassembly {
    pending: Option<Box<Pending>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pending {
    kind: Kind,
    id: Option<u64>,
    /// The namespace, and the JSON behind it.
    text: Box<str>,
    namespace_len: usize,
    attachments: Vec<Bytes>,
    expected: usize,
    bytes: usize,
}

impl Reassembly {
    /// Nothing pending, nothing allocated.
    pub const fn new() -> Reassembly {
        Reassembly { pending: None }
    }

    /// Whether attachments are missing: the next message has to be one.
    pub fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Forgets the packet and what was collected of it. Call it when the deadline has passed.
    pub fn clear(&mut self) {
        self.pending = None;
    }

    /// Call it for every text packet, before it is decoded.
    ///
    /// # Errors
    /// [`DecodeError::UnexpectedText`] if an attachment has to come first.
    pub fn handle_text(&mut self) -> Result<(), DecodeError> {
        match self.pending.take() {
            Some(_) => Err(DecodeError::UnexpectedText),
            None => Ok(()),
        }
    }

    /// Keeps a copy of a packet that announced attachments. For another packet does nothing.
    ///
    /// The placeholders are checked now, so that nothing is collected for a bad one.
    ///
    /// # Errors
    /// [`DecodeError::Attachment`] if a placeholder names no attachment,
    /// [`DecodeError::UnexpectedText`] if another packet is pending.
    pub fn begin(&mut self, packet: &Packet<'_>) -> Result<(), DecodeError> {
        self.handle_text()?;
        if packet.attachments == 0 {
            return Ok(());
        }
        placeholder::check(packet.data, packet.attachments)?;
        self.pending = Some(Box::new(Pending {
            kind: packet.kind,
            id: packet.id,
            text: [packet.namespace, packet.data].concat().into(),
            namespace_len: packet.namespace.len(),
            attachments: Vec::new(),
            expected: packet.attachments,
            bytes: 0,
        }));
        Ok(())
    }

    /// Copies an attachment out of the caller's buffer; or returns the packet if it was the last, which stays there.
    ///
    /// # Errors
    /// [`DecodeError::UnexpectedBinary`] if nothing is pending,
    /// [`DecodeError::AttachmentBytes`] if it would be too much, in which case nothing is copied.
    pub fn add<'d>(&mut self, data: &'d [u8], limits: &Limits) -> Result<Option<Complete<'d>>, DecodeError> {
        let mut pending = self.pending.take().ok_or(DecodeError::UnexpectedBinary)?;
        pending.bytes = pending.bytes.saturating_add(data.len());
        if pending.bytes > limits.max_attachment_bytes {
            return Err(DecodeError::AttachmentBytes);
        }
        if pending.attachments.len() + 1 >= pending.expected {
            return Ok(Some(Complete { pending, last: data }));
        }
        // Grows as attachments come: the announced count reserves nothing.
        pending.attachments.push(Bytes::copy_from_slice(data));
        self.pending = Some(pending);
        Ok(None)
    }
}

/// A binary packet with all its attachments, of which the last one is not copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complete<'d> {
    pending: Box<Pending>,
    last: &'d [u8],
}

impl Complete<'_> {
    /// The packet. Its query is gone.
    pub fn packet(&self) -> Packet<'_> {
        let Pending { kind, id, text, namespace_len, expected, .. } = &*self.pending;
        let (namespace, data) = text.split_at_checked(*namespace_len).unwrap_or_default();
        Packet::from_parts(*kind, namespace, *id, *expected, data)
    }

    /// The attachments, in the order of their numbers.
    pub fn attachments(&self) -> Attached<'_> {
        Attached::new(&self.pending.attachments, self.last)
    }
}
