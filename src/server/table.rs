//! A table whose entries keep their place.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use slab::Slab;
use std::ops::{Index, IndexMut, Range};

/// Entries that keep their place for as long as they are in the table, each found by the hash of a key inside of it.
pub(super) struct Table<T> {
    entries: Slab<T>,
    places: HashTable<Place>,
}

/// The place of an entry. Its hash is kept, so that no entry is read while the table grows.
struct Place {
    hash: u32,
    at: u32,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Table { entries: Slab::new(), places: HashTable::new() }
    }
}

impl<T> Table<T> {
    /// Returns the place of the entry with this hash for which `is_it` returns true.
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(&T) -> bool) -> Option<u32> {
        let hash = shorten(hash);
        let is_it = |place: &Place| place.hash == hash && is_it(&self[place.at]);
        self.places.find(spread(hash), is_it).map(|place| place.at)
    }

    /// Returns the place of the entry with this hash for which `is_it` returns true, and false. If there is none, inserts
    /// one, and returns its place and true.
    pub(super) fn find_or_insert(
        &mut self,
        hash: u64,
        is_it: impl Fn(&T) -> bool,
        make: impl FnOnce() -> T,
    ) -> (u32, bool) {
        let hash = shorten(hash);
        let entries = &mut self.entries;
        let is_it = |place: &Place| place.hash == hash && is_it(&entries[place.at as usize]);
        match self.places.entry(spread(hash), is_it, |place| spread(place.hash)) {
            Entry::Occupied(entry) => (entry.get().at, false),
            Entry::Vacant(entry) => {
                let at = u32::try_from(entries.vacant_key()).expect("memory holds fewer entries");
                entries.insert(make());
                entry.insert(Place { hash, at });
                (at, true)
            }
        }
    }

    /// Removes an entry. It keeps its place, but is not found any more, until it is [taken](Table::take).
    pub(super) fn hide(&mut self, hash: u64, at: u32) {
        if let Ok(entry) = self.places.find_entry(spread(shorten(hash)), |place| place.at == at) {
            entry.remove();
        }
    }

    /// Takes an entry that was hidden.
    pub(super) fn take(&mut self, at: u32) -> T {
        self.entries.remove(at as usize)
    }

    /// Returns the end of the range of places, some of which may be free.
    pub(super) fn end(&self) -> usize {
        self.entries.capacity()
    }

    /// Returns the entries in a range of places.
    pub(super) fn within(&self, places: Range<usize>) -> impl Iterator<Item = &T> {
        places.filter_map(|at| self.entries.get(at))
    }
}

impl<T> Index<u32> for Table<T> {
    type Output = T;

    fn index(&self, at: u32) -> &T {
        &self.entries[at as usize]
    }
}

impl<T> IndexMut<u32> for Table<T> {
    fn index_mut(&mut self, at: u32) -> &mut T {
        &mut self.entries[at as usize]
    }
}

/// Returns the part of a hash that is kept. The upper bits of a hash that ends in a multiplication are the better ones.
fn shorten(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// Returns a hash of which both ends vary, which is what `HashTable` uses.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_keep_their_place_and_are_found_even_if_their_hashes_collide() {
        for hash in [|key: u64| key.wrapping_mul(0x9e37_79b9_7f4a_7c15), |_| 7] {
            let mut table = Table::default();
            let places: Vec<_> = (0..1000)
                .map(|key| table.find_or_insert(hash(key), |known| *known == key, || key).0)
                .collect();
            for key in 0..1000 {
                let at = places[key as usize];
                assert_eq!(table.find(hash(key), |known| *known == key), Some(at));
                assert_eq!(
                    table.find_or_insert(hash(key), |known| *known == key, || unreachable!()),
                    (at, false)
                );
                table.hide(hash(key), at);
                assert_eq!(table.find(hash(key), |known| *known == key), None);
                assert_eq!((table[at], table.take(at)), (key, key));
                assert_eq!(table.within(0..table.end()).count(), 999 - key as usize);
            }
        }
    }

    #[test]
    fn a_place_that_is_free_is_used_again() {
        let mut table = Table::default();
        let (first, _) = table.find_or_insert(1, |_| false, || 'a');
        table.find_or_insert(2, |_| false, || 'b');
        table.hide(1, first);
        table.take(first);
        assert_eq!(table.find_or_insert(3, |_| false, || 'c'), (first, true));
        assert_eq!(table.within(0..table.end()).collect::<String>(), "cb");
    }
}
