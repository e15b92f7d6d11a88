//! The rooms of sockets that are in many.

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use std::hash::BuildHasher;

/// The indices of rooms in the lists of members that are in many rooms: these lists are too long to be searched.
#[derive(Default)]
pub(super) struct ManyRooms {
    places: HashTable<Place>,
    hasher: RandomState,
}

struct Place {
    member: u32,
    room: u32,
    index: u32,
}

impl ManyRooms {
    /// Returns the index of a room in the list of a member, if that is known here.
    pub(super) fn find(&self, member: u32, room: u32) -> Option<u32> {
        let is_it = |place: &Place| (place.member, place.room) == (member, room);
        self.places.find(hash(&self.hasher, member, room), is_it).map(|place| place.index)
    }

    /// Adds a room, or changes its index.
    pub(super) fn set(&mut self, member: u32, room: u32, index: u32) {
        let hasher = &self.hasher;
        let is_it = |place: &Place| (place.member, place.room) == (member, room);
        let rehash = |place: &Place| hash(hasher, place.member, place.room);
        match self.places.entry(hash(hasher, member, room), is_it, rehash) {
            Entry::Occupied(mut entry) => entry.get_mut().index = index,
            Entry::Vacant(entry) => _ = entry.insert(Place { member, room, index }),
        }
    }

    /// Removes a room. Returns whether its index was known.
    pub(super) fn remove(&mut self, member: u32, room: u32) -> bool {
        let is_it = |place: &Place| (place.member, place.room) == (member, room);
        let Ok(entry) = self.places.find_entry(hash(&self.hasher, member, room), is_it) else { return false };
        entry.remove();
        if self.places.is_empty() {
            self.places = HashTable::new();
        }
        true
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }
}

fn hash(hasher: &RandomState, member: u32, room: u32) -> u64 {
    hasher.hash_one((member, room))
}
