//! An event in the log, and the client that it may be for.

use super::index::Links;
use crate::socketio::Target;
use alloc::boxed::Box;
use bytes::Bytes;
use smol_str::SmolStr;

/// The bytes that an event takes beside its frames.
pub(super) const ENTRY: usize = size_of::<Entry>();

/// The bit of `link` that says that the addressees are all sockets but those of the room.
const INVERTED: u32 = 1 << 31;

/// An event, in 64 bytes.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) frames: Bytes,
    addressees: Addressees,
    /// The distance to an earlier entry: see [`Index`](super::index::Index). The highest bit is [`INVERTED`].
    link: u32,
    /// When it was sent, or where it is in a stream: see [`Places`](super::places::Places).
    pub(super) stamp: u32,
}

/// A [`Target`] in less memory, as most are of these forms.
#[derive(Debug)]
enum Addressees {
    Everyone,
    Room(SmolStr),
    Others(Box<(Target, Links)>),
}

impl Entry {
    pub(super) fn new(stamp: u32, target: &Target, links: Links, frames: Bytes) -> Entry {
        let link = links.first().min(INVERTED - 1);
        let (addressees, is_inverted) = match (target.rooms.only(), target.except.only()) {
            _ if target.rooms.is_empty() && target.except.is_empty() => (Addressees::Everyone, false),
            (Some(room), _) if target.except.is_empty() => (Addressees::Room(room.clone()), false),
            (_, Some(room)) if target.rooms.is_empty() => (Addressees::Room(room.clone()), true),
            _ => (Addressees::Others(Box::new((target.clone(), links))), false),
        };
        Entry { frames, addressees, link: link | if is_inverted { INVERTED } else { 0 }, stamp }
    }

    /// Returns the bytes that the event takes, its frames and the names of many rooms among them.
    pub(super) fn size(&self) -> usize {
        let addressees = match &self.addressees {
            Addressees::Everyone => 0,
            Addressees::Room(room) => heap_len(room),
            Addressees::Others(others) => {
                let Target { rooms, except } = &others.0;
                let names = rooms.names().chain(except.names());
                let names = names.map(|name| size_of::<SmolStr>() + size_of::<u32>() + heap_len(name));
                size_of_val(&**others) + names.sum::<usize>()
            }
        };
        ENTRY + self.frames.len() + addressees
    }

    fn is_inverted(&self) -> bool {
        self.link & INVERTED != 0
    }

    pub(super) fn target(&self) -> Target {
        let mut target = Target::default();
        match (&self.addressees, self.is_inverted()) {
            (Addressees::Everyone, _) => {}
            (Addressees::Room(room), false) => target.rooms.insert(room),
            (Addressees::Room(room), true) => target.except.insert(room),
            (Addressees::Others(others), _) => return others.0.clone(),
        }
        target
    }

    /// Returns the distance to the earlier entry of a chain that this one is in. `bucket` is the hash of the chain, or
    /// `None` for the chain of the events that are for everyone.
    pub(super) fn link(&self, bucket: Option<u32>) -> u32 {
        match (&self.addressees, bucket) {
            (Addressees::Others(others), Some(bucket)) => others.1.of(&others.0, bucket),
            _ => self.link & !INVERTED,
        }
    }

    /// Returns whether a client was addressed.
    pub(super) fn includes(&self, recipient: Recipient<'_>) -> bool {
        match &self.addressees {
            Addressees::Everyone => true,
            Addressees::Room(room) => recipient.is_in(room) != self.is_inverted(),
            Addressees::Others(others) => {
                let target = &others.0;
                (target.rooms.is_empty() || target.rooms.iter().any(|room| recipient.is_in(room)))
                    && !target.except.iter().any(|room| recipient.is_in(room))
            }
        }
    }
}

/// Returns the bytes that a name takes elsewhere.
fn heap_len(name: &SmolStr) -> usize {
    if name.is_heap_allocated() { name.len() } else { 0 }
}

/// A client that may have missed events.
#[derive(Clone, Copy)]
pub(super) struct Recipient<'a> {
    pub(super) id: &'a str,
    /// In alphabetical order.
    pub(super) rooms: &'a [SmolStr],
}

impl Recipient<'_> {
    fn is_in(&self, room: &str) -> bool {
        room == self.id || self.rooms.binary_search_by(|known| known.as_str().cmp(room)).is_ok()
    }

    /// Returns the names of all rooms that it is in.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        core::iter::once(self.id).chain(self.rooms.iter().map(SmolStr::as_str))
    }
}
