//! Packets that own their text.

use crate::socketio::attached::Attached;
use crate::socketio::kind::Kind;
use crate::socketio::packet::{Hint, Packet};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use core::ops::Range;

/// A packet that owns its text, with all its attachments: one that they followed as messages, or one of MessagePack. The
/// last attachment is borrowed from the receive buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complete<'d> {
    whole: Box<Whole>,
    last: Option<&'d [u8]>,
}

/// The owned parts of a packet. Ranges are parts of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Whole {
    pub(crate) kind: Kind,
    pub(crate) id: Option<u64>,
    pub(crate) text: String,
    pub(crate) namespace: Range<usize>,
    pub(crate) query: Range<usize>,
    pub(crate) data: Range<usize>,
    pub(crate) name_end: usize,
    /// The number of attachments that follow as messages.
    pub(crate) expected: usize,
    /// The size in bytes of the attachments that have followed.
    pub(crate) bytes: usize,
    /// The attachments but the last one.
    pub(crate) attachments: Vec<Bytes>,
}

impl<'d> Complete<'d> {
    pub(crate) fn new(whole: Box<Whole>, last: Option<&'d [u8]>) -> Complete<'d> {
        Complete { whole, last }
    }

    /// Returns the packet. If attachments followed it, its query is empty.
    pub fn packet(&self) -> Packet<'_> {
        let Whole { kind, id, text, namespace, query, data, name_end, expected, .. } = &*self.whole;
        let part = |range: &Range<usize>| text.get(range.clone()).unwrap_or_default();
        let (kind, id, attachments, name_end) = (*kind, *id, *expected, *name_end);
        let (namespace, query, data) = (part(namespace), part(query), part(data));
        Packet { kind, namespace, query, id, attachments, data, name_end, is_string: Hint(false) }
    }

    /// Returns the attachments, in the order of their numbers.
    pub fn attachments(&self) -> Attached<'_> {
        Attached::new(&self.whole.attachments, self.last)
    }
}
