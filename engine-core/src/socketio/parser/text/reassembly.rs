//! Packets whose attachments follow as messages of their own.

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

/// Reads a message: a text message is a packet or its beginning, and a binary message is an attachment.
#[inline]
pub(crate) fn decode<'a>(message: &'a Message<'_>, limits: &Limits) -> Decoded<'a> {
    match message {
        Message::Text(text) => decode_text(text, limits),
        Message::Binary(data) => Decoded(Form::Attachment(data)),
    }
}

/// Reads a text message: a packet or its beginning.
#[inline]
pub(crate) fn decode_text<'a>(text: &'a str, limits: &Limits) -> Decoded<'a> {
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

/// A binary packet whose attachments are being collected, if there is one. It takes one pointer if there is none.
///
/// It has no clock: while [`is_pending`](Reassembly::is_pending), its owner keeps a deadline
/// [`Limits::reassembly_timeout`] after [`begin`](Reassembly::begin).
///
/// After an error nothing is pending, and the collected attachments are freed.
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
    name_end: usize,
    bytes: usize,
}

impl Reassembly {
    /// Creates a reassembly without a pending packet, which allocates nothing.
    pub const fn new() -> Reassembly {
        Reassembly { pending: None }
    }

    /// Returns whether attachments are missing, so that the next message has to be one.
    pub fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Drops the pending packet and its attachments. Call it when the deadline has passed.
    pub fn clear(&mut self) {
        self.pending = None;
    }

    /// Checks that a packet may begin. Call it for every text packet.
    ///
    /// # Errors
    /// Returns [`DecodeError::UnexpectedText`] if an attachment has to come first.
    pub fn handle_text(&mut self) -> Result<(), DecodeError> {
        match self.pending.take() {
            Some(_) => Err(DecodeError::UnexpectedText),
            None => Ok(()),
        }
    }

    /// Keeps a copy of a packet that announces attachments. Does nothing for other packets.
    ///
    /// The placeholders are checked here, so that no attachments are collected for an invalid packet.
    ///
    /// # Errors
    /// Returns [`DecodeError::Attachment`] if a placeholder refers to no attachment, and
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
            name_end: packet.name_end,
            bytes: 0,
        }));
        Ok(())
    }

    /// Copies an attachment out of the caller's buffer. The last one is not copied, but returned with the packet.
    ///
    /// # Errors
    /// Returns [`DecodeError::UnexpectedBinary`] if nothing is pending, and [`DecodeError::AttachmentBytes`] if the limit
    /// would be exceeded, in which case nothing is copied.
    pub fn add<'d>(&mut self, data: &'d [u8], limits: &Limits) -> Result<Option<Complete<'d>>, DecodeError> {
        let mut pending = self.pending.take().ok_or(DecodeError::UnexpectedBinary)?;
        pending.bytes = pending.bytes.saturating_add(data.len());
        if pending.bytes > limits.max_attachment_bytes {
            return Err(DecodeError::AttachmentBytes);
        }
        if pending.attachments.len() + 1 >= pending.expected {
            return Ok(Some(Complete { pending, last: data }));
        }
        // The list grows as attachments arrive. The announced number reserves no memory.
        pending.attachments.push(Bytes::copy_from_slice(data));
        self.pending = Some(pending);
        Ok(None)
    }
}

/// A binary packet with all its attachments. The last one is borrowed from the receive buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complete<'d> {
    pending: Box<Pending>,
    last: &'d [u8],
}

impl Complete<'_> {
    /// Returns the packet, without its query.
    pub fn packet(&self) -> Packet<'_> {
        let Pending { kind, id, text, namespace_len, expected, name_end, .. } = &*self.pending;
        let (namespace, data) = text.split_at_checked(*namespace_len).unwrap_or_default();
        let (kind, id, attachments, name_end) = (*kind, *id, *expected, *name_end);
        Packet { kind, namespace, query: "", id, attachments, data, name_end }
    }

    /// Returns the attachments, in the order of their numbers.
    pub fn attachments(&self) -> Attached<'_> {
        Attached::new(&self.pending.attachments, self.last)
    }
}
