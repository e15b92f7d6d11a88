//! Finds the events of some rooms, without looking at those of others.

use super::entry::Recipient;
use crate::socketio::Target;
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

/// Number of entries for which there is one chain, so that the heads take half a byte of each.
const ENTRIES: usize = 8;

/// Maximum number of rooms of an event that has a link for each. One with more is in the chain of those for everyone.
const MAX_LINKS: usize = 8;

/// The chains of entries, as compressors keep them of earlier text. Each entry has the distance to the one before it whose
/// room has the same hash, and the head of a chain is the newest. Events for everyone, and those that exclude some rooms,
/// have a chain of their own.
///
/// A chain may also lead to entries of other rooms, so the reader has to test each; but it leads to all of its own.
/// Entries are named by the lower half of their number, so nothing has to be removed: what is not in the log any more is
/// farther away than the first entry.
#[derive(Debug)]
pub(super) struct Index {
    everyone: u32,
    /// Their number is a power of two.
    heads: Vec<u32>,
}

impl Default for Index {
    fn default() -> Index {
        // Before the first entry, which has the number 0.
        Index { everyone: u32::MAX, heads: vec![] }
    }
}

impl Index {
    /// Adds the entry with this number, behind `len` others. Returns the distances to the earlier entries.
    pub(super) fn insert(&mut self, number: u32, len: usize, target: &Target) -> Links {
        let mut rooms = target.rooms.iter();
        let first = match rooms.next() {
            Some(first) if target.rooms.len() <= MAX_LINKS => first,
            _ => return Links::one(number.wrapping_sub(core::mem::replace(&mut self.everyone, number))),
        };
        if self.heads.is_empty() {
            self.heads.push(number.wrapping_sub(1).wrapping_sub(u32::try_from(len).unwrap_or(u32::MAX)));
        }
        while len >= self.heads.len() * ENTRIES {
            // A chain goes on as two, which have the older entries in common.
            self.heads.extend_from_within(..);
        }
        let mut link = |room| self.replace(room, number);
        let first = link(first);
        let more = rooms.map(link).collect();
        Links { first, more, mask: self.mask() }
    }

    fn replace(&mut self, room: &str, number: u32) -> u32 {
        let bucket = hash(room) & self.mask();
        // The mask is less than the number of heads, which is not zero.
        let head = self.heads.get_mut(bucket as usize);
        head.map_or(0, |head| number.wrapping_sub(core::mem::replace(head, number)))
    }

    fn mask(&self) -> u32 {
        u32::try_from(self.heads.len()).map_or(u32::MAX, |len| len.wrapping_sub(1))
    }

    /// Returns the chains that have the events of a client, each once: the number of its newest entry, and its hash.
    pub(super) fn chains(&self, recipient: Recipient<'_>) -> impl Iterator<Item = (u32, Option<u32>)> {
        let mask = self.mask();
        let mut buckets: Vec<_> = match self.heads.is_empty() {
            true => vec![],
            false => recipient.names().map(|room| hash(room) & mask).collect(),
        };
        buckets.sort_unstable();
        buckets.dedup();
        let rooms = buckets.into_iter();
        let rooms = rooms.filter_map(|bucket| Some((*self.heads.get(bucket as usize)?, Some(bucket))));
        core::iter::once((self.everyone, None)).chain(rooms)
    }

    #[cfg(test)]
    pub(super) fn heads(&self) -> usize {
        self.heads.capacity()
    }
}

/// The distances from an entry to the earlier ones of its rooms.
#[derive(Debug)]
pub(super) struct Links {
    first: u32,
    /// Those of the second room, and of the following ones.
    more: Box<[u32]>,
    /// The bits of a hash that named a chain when the entry was added.
    mask: u32,
}

impl Links {
    fn one(first: u32) -> Links {
        Links { first, more: Box::default(), mask: 0 }
    }

    pub(super) fn first(&self) -> u32 {
        self.first
    }

    /// Returns the distance to the earlier entry of a chain; 0 if this entry is not in it.
    pub(super) fn of(&self, target: &Target, bucket: u32) -> u32 {
        let links = core::iter::once(&self.first).chain(&self.more);
        // If two rooms have the same chain, the second leads to this entry itself.
        let mut found =
            target.rooms.iter().zip(links).filter(|(room, _)| (hash(room) ^ bucket) & self.mask == 0);
        found.next().map_or(0, |(_, link)| *link)
    }
}

/// Returns a hash of a name. It is not secret: if all names have the same, recovery reads the whole log.
fn hash(name: &str) -> u32 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |hash: u64, word: u64| (hash.rotate_left(5) ^ word).wrapping_mul(FACTOR);
    let mut words = name.as_bytes().chunks_exact(8);
    let mut hash =
        words.by_ref().fold(0, |hash, word| mix(hash, word.try_into().map_or(0, u64::from_le_bytes)));
    hash = words.remainder().iter().fold(hash, |hash, byte| mix(hash, u64::from(*byte)));
    (hash >> 32) as u32
}
