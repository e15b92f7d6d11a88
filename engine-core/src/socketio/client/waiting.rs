//! Events of a namespace that wait for a connection, for capacity, or for their acknowledgement.

use super::{Emitted, Token};
use crate::engineio::Part;
use crate::socketio::args::Args;
use crate::socketio::parser::Encoded;
use crate::time::Time;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;

/// An encoded event with its attachments, to keep.
#[derive(Debug)]
pub(super) struct Unit {
    text: Box<str>,
    /// The index in `text` at which the arguments begin.
    args: u32,
    /// The last attachment is the whole packet as MessagePack, which is sent instead of the text.
    is_packed: bool,
    attachments: Vec<Bytes>,
}

impl Unit {
    pub(super) fn new(packet: &Encoded<'_>) -> Unit {
        let text = core::str::from_utf8(packet.text).expect("the encoder writes text");
        let packed = packet.packed().map(|packed| packed.bytes.as_slice());
        let attachments = packet.attachments().chain(packed).map(Bytes::copy_from_slice).collect();
        let args = u32::try_from(packet.args_start()).expect("what stands before the arguments is short");
        Unit { text: text.into(), args, is_packed: packed.is_some(), attachments }
    }

    /// Returns the attachments, and the packet as MessagePack if that is sent.
    fn split(&self) -> (&[Bytes], Option<&Bytes>) {
        match self.attachments.split_last() {
            Some((packed, attachments)) if self.is_packed => (attachments, Some(packed)),
            _ => (&self.attachments, None),
        }
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = Part<'_>> + Clone {
        let (first, attachments) = match self.split() {
            (attachments, None) => (Part::Text(self.text.as_bytes()), attachments),
            (_, Some(packed)) => (Part::Binary(packed), &[][..]),
        };
        core::iter::once(first).chain(attachments.iter().map(|data| Part::Binary(data)))
    }

    /// Returns the event, for handlers that watch what leaves.
    pub(super) fn outgoing(&self) -> Emitted {
        let args = self.text.get(self.args as usize..).unwrap_or_default();
        Emitted::new(Args::new_event(args, self.split().0).into_owned())
    }
}

/// An event that waits, and what belongs to it.
pub(super) trait Entry {
    fn unit(&self) -> &Unit;

    /// Returns the number of bytes that the entry takes, itself included.
    fn size(&self) -> usize
    where
        Self: Sized,
    {
        let Unit { text, attachments, .. } = self.unit();
        let attachments = attachments.iter().map(|data| size_of::<Bytes>() + data.len());
        size_of::<(Token, Self)>() + text.len() + attachments.sum::<usize>()
    }
}

/// An event that waits for a connection, or for capacity.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) unit: Unit,
    pub(super) ack: Option<u64>,
    pub(super) since: Time,
    /// It is an acknowledgement, which belongs to this session.
    pub(super) is_reply: bool,
}

impl Entry for Waiting {
    fn unit(&self) -> &Unit {
        &self.unit
    }
}

/// An event that is sent until it is acknowledged. Only the first of them is in flight.
#[derive(Debug)]
pub(super) struct Retry {
    pub(super) unit: Unit,
    pub(super) ack: u64,
    pub(super) since: Time,
    pub(super) timeout: Duration,
    pub(super) tries: u32,
    /// The deadline of its acknowledgement, while it is in flight.
    pub(super) deadline: Option<Time>,
}

impl Entry for Retry {
    fn unit(&self) -> &Unit {
        &self.unit
    }
}

/// Entries in the order in which they were added, each found by its token. An empty queue is one null pointer.
#[derive(Debug)]
pub(super) struct Queue<T>(Option<Box<Entries<T>>>);

/// The entries of a queue that is not empty.
#[derive(Debug)]
struct Entries<T> {
    by_token: BTreeMap<Token, T>,
    bytes: usize,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Queue(None)
    }
}

impl<T: Entry> Queue<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Returns the number of bytes that all entries take.
    pub(super) fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |entries| entries.bytes)
    }

    /// Adds an entry, whose token is the newest.
    pub(super) fn push(&mut self, token: Token, entry: T) {
        let empty = || Box::new(Entries { by_token: BTreeMap::new(), bytes: 0 });
        let entries = self.0.get_or_insert_with(empty);
        entries.bytes += entry.size();
        entries.by_token.insert(token, entry);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Token, &T)> {
        self.0.iter().flat_map(|entries| &entries.by_token).map(|(token, entry)| (*token, entry))
    }

    pub(super) fn front(&self) -> Option<(Token, &T)> {
        self.iter().next()
    }

    pub(super) fn front_mut(&mut self) -> Option<(Token, &mut T)> {
        let (token, entry) = self.0.as_mut()?.by_token.iter_mut().next()?;
        Some((*token, entry))
    }

    pub(super) fn remove(&mut self, token: Token) -> Option<T> {
        let entries = self.0.as_mut()?;
        let entry = entries.by_token.remove(&token)?;
        entries.bytes -= entry.size();
        if entries.by_token.is_empty() {
            // Free the memory that a long time without a connection took.
            self.0 = None;
        }
        Some(entry)
    }
}
