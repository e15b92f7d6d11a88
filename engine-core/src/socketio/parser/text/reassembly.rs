//! Packets whose attachments follow as messages of their own.

use super::placeholder;
use crate::engineio::Message;
use crate::socketio::error::DecodeError;
use crate::socketio::limits::Limits;
use crate::socketio::packet::Packet;
use crate::socketio::parser::complete::Whole;
use crate::socketio::parser::{Complete, Decoded, Form};
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
    pending: Option<Box<Whole>>,
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
        let whole = Whole {
            kind: packet.kind,
            id: packet.id,
            text: [packet.namespace, packet.data].concat(),
            namespace: 0..packet.namespace.len(),
            query: 0..0,
            data: packet.namespace.len()..packet.namespace.len() + packet.data.len(),
            name_end: packet.name_end,
            expected: packet.attachments,
            bytes: 0,
            attachments: Vec::new(),
        };
        self.pending = Some(Box::new(whole));
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
            return Ok(Some(Complete::new(pending, Some(data))));
        }
        // The list grows as attachments arrive. The announced number reserves no memory.
        pending.attachments.push(Bytes::copy_from_slice(data));
        self.pending = Some(pending);
        Ok(None)
    }
}
