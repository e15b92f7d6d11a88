//! Attachments follow their packet as messages of their own; here it waits for them.

use super::args::OwnedArgs;
use super::packet::{DecodeError, Kind, Limits, Packet};
use super::placeholder;
use alloc::boxed::Box;
use alloc::vec::Vec;
use bytes::Bytes;

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

#[derive(Debug)]
struct Pending {
    packet: Complete,
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
            packet: Complete {
                kind: packet.kind,
                namespace: packet.namespace.into(),
                id: packet.id,
                data: packet.data.into(),
                attachments: Vec::new(),
            },
            expected: packet.attachments,
            bytes: 0,
        }));
        Ok(())
    }

    /// Copies an attachment out of the caller's buffer. Returns the packet if it was the last.
    ///
    /// # Errors
    /// [`DecodeError::UnexpectedBinary`] if nothing is pending,
    /// [`DecodeError::AttachmentBytes`] if it would be too much, in which case nothing is copied.
    pub fn add(&mut self, data: &[u8], limits: &Limits) -> Result<Option<Complete>, DecodeError> {
        self.add_with(data.len(), limits, || Bytes::copy_from_slice(data))
    }

    /// Like [`add`](Reassembly::add), for an attachment that is already shared: it is not copied.
    ///
    /// # Errors
    /// As `add`.
    pub fn add_bytes(&mut self, data: Bytes, limits: &Limits) -> Result<Option<Complete>, DecodeError> {
        self.add_with(data.len(), limits, || data)
    }

    fn add_with(
        &mut self,
        len: usize,
        limits: &Limits,
        data: impl FnOnce() -> Bytes,
    ) -> Result<Option<Complete>, DecodeError> {
        let mut pending = self.pending.take().ok_or(DecodeError::UnexpectedBinary)?;
        pending.bytes = pending.bytes.saturating_add(len);
        if pending.bytes > limits.max_attachment_bytes {
            return Err(DecodeError::AttachmentBytes);
        }
        // Grows as attachments come: the announced count reserves nothing.
        pending.packet.attachments.push(data());
        if pending.packet.attachments.len() < pending.expected {
            self.pending = Some(pending);
            return Ok(None);
        }
        Ok(Some(pending.packet))
    }
}

/// A binary packet with all its attachments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complete {
    kind: Kind,
    namespace: Box<str>,
    id: Option<u64>,
    data: Box<str>,
    attachments: Vec<Bytes>,
}

impl Complete {
    /// The packet. Its query is gone.
    pub fn packet(&self) -> Packet<'_> {
        let count = self.attachments.len();
        Packet::from_parts(self.kind, &self.namespace, self.id, count, &self.data)
    }

    /// The attachments, in the order of their numbers.
    pub fn attachments(&self) -> &[Bytes] {
        &self.attachments
    }

    /// The arguments, kept without a copy.
    pub fn into_args(self) -> OwnedArgs {
        OwnedArgs::new(self.data, self.kind.is_event(), self.attachments)
    }
}
