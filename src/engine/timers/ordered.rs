//! A map in the order of its keys.

use super::Key;
use std::collections::VecDeque;

/// A map in the order of its keys, which is dense if they are added in ascending order, as deadlines are. A `BTreeMap` would
/// leave half of its memory empty then, and every session has an entry.
pub(super) struct Ordered<T> {
    /// None is empty, except for the only one, which keeps its memory.
    lists: VecDeque<List<T>>,
    /// The first key, which is asked for more often than it changes.
    first: Option<Key>,
}

/// Some of the entries, in their order.
struct List<T> {
    /// A lower bound of the keys, which are below that of the next list.
    bound: Key,
    entries: Vec<(Key, T)>,
}

/// The maximum number of entries of a list.
const MAX_LEN: usize = 64;
/// The capacity from which a list is shrunk.
const SHRINK: usize = 16;

impl<T> Default for Ordered<T> {
    fn default() -> Self {
        Ordered { lists: VecDeque::new(), first: None }
    }
}

impl<T> List<T> {
    /// Returns the index of the entry with this key; or, as an error, that at which it would be.
    fn find(&self, key: Key) -> Result<usize, usize> {
        match self.entries.last() {
            // The common cases: the latest deadline is added, and the only one removed.
            Some((last, _)) if *last < key => Err(self.entries.len()),
            Some((last, _)) if *last == key => Ok(self.entries.len() - 1),
            _ => self.entries.binary_search_by_key(&key, |(key, _)| *key),
        }
    }
}

impl<T> Ordered<T> {
    /// Returns the index of the list for this key, or `None` if it is below all bounds.
    fn list_for(&self, key: Key) -> Option<usize> {
        match self.lists.back() {
            Some(last) if last.bound <= key => Some(self.lists.len() - 1),
            _ => self.lists.partition_point(|list| list.bound <= key).checked_sub(1),
        }
    }

    /// Adds an entry. Returns the value if the key is taken.
    pub(super) fn insert(&mut self, key: Key, value: T) -> Result<(), T> {
        let number = match self.list_for(key) {
            Some(number) => number,
            None => {
                match self.lists.front_mut() {
                    Some(first) if first.entries.len() < MAX_LEN => first.bound = key,
                    _ => self.lists.push_front(List { bound: key, entries: Vec::new() }),
                }
                0
            }
        };
        let list = &mut self.lists[number];
        let Err(at) = list.find(key) else { return Err(value) };
        if self.first.is_none_or(|first| key < first) {
            self.first = Some(key);
        }
        if list.entries.len() < MAX_LEN {
            list.entries.insert(at, (key, value));
        } else if at == MAX_LEN {
            // The list stays full.
            match self.lists.get_mut(number + 1) {
                Some(next) if next.entries.len() < MAX_LEN => {
                    next.bound = key;
                    next.entries.insert(0, (key, value));
                }
                _ => self.lists.insert(number + 1, List { bound: key, entries: vec![(key, value)] }),
            }
        } else {
            let mut tail = list.entries.split_off(MAX_LEN / 2);
            let bound = tail.first().map_or(key, |(key, _)| *key);
            match at.checked_sub(MAX_LEN / 2) {
                Some(at) if at > 0 => tail.insert(at, (key, value)),
                _ => list.entries.insert(at, (key, value)),
            }
            self.lists.insert(number + 1, List { bound, entries: tail });
        }
        Ok(())
    }

    /// Removes an entry.
    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        let number = self.list_for(key)?;
        let list = &mut self.lists[number];
        let at = list.find(key).ok()?;
        let entries = &mut list.entries;
        let (_, value) = entries.remove(at);
        if entries.capacity() >= SHRINK && entries.len() <= entries.capacity() / 4 {
            entries.shrink_to(entries.len() * 2);
        }
        if entries.is_empty() && self.lists.len() > 1 {
            self.lists.remove(number);
        }
        if self.first == Some(key) {
            self.first = self.lists.front().and_then(|list| list.entries.first()).map(|(key, _)| *key);
        }
        Some(value)
    }

    /// Returns the first key.
    pub(super) fn first(&self) -> Option<Key> {
        self.first
    }

    /// Returns the last key up to this one.
    pub(super) fn last_until(&self, end: Key) -> Option<Key> {
        let lists = self.lists.range(..=self.list_for(end)?).rev();
        let mut keys = lists.flat_map(|list| list.entries.iter().rev().map(|(key, _)| *key));
        keys.find(|key| *key <= end)
    }

    /// Returns the number of entries.
    pub(super) fn len(&self) -> usize {
        self.lists.iter().map(|list| list.entries.len()).sum()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::engine::timers::SESSION;
    use sockeye_core::Time;
    use std::collections::BTreeMap;
    use std::time::Duration;

    fn key(number: u64) -> Key {
        Key::new(Time::ZERO + Duration::from_millis(number), 0, SESSION)
    }

    /// Returns the bytes of the lists per entry.
    fn density(map: &Ordered<u64>) -> usize {
        let capacity: usize = map.lists.iter().map(|list| list.entries.capacity()).sum();
        capacity * size_of::<(Key, u64)>() / map.len()
    }

    #[test]
    fn a_random_sequence_of_changes_has_the_result_of_a_plain_map() {
        let (mut map, mut plain) = (Ordered::default(), BTreeMap::new());
        let mut random = 1u64;
        for step in 0..20_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // It grows, shrinks, and grows again.
            let number = (random >> 33) % 1000;
            let grows = (step / 4000) % 2 == 0;
            if (random >> 20) % 4 == u64::from(grows) {
                assert_eq!(map.remove(key(number)), plain.remove(&number));
            } else if grows || number.is_multiple_of(7) {
                let is_new = !plain.contains_key(&number);
                assert_eq!(map.insert(key(number), number).is_ok(), is_new);
                plain.entry(number).or_insert(number);
            }
            assert_eq!((map.len(), map.first()), (plain.len(), plain.keys().next().map(|it| key(*it))));
            let last = plain.range(..=number).next_back().map(|(it, _)| key(*it));
            assert_eq!(map.last_until(key(number)), last);
            assert!(map.lists.len() <= 1 || map.lists.iter().all(|list| !list.entries.is_empty()));
        }
        while let Some(first) = map.first() {
            let value = map.remove(first).unwrap();
            assert_eq!(plain.pop_first(), Some((value, value)));
        }
        assert!(plain.is_empty() && map.lists.len() == 1);
    }

    #[test]
    fn ascending_keys_leave_no_gaps_and_the_memory_of_those_that_go_is_freed() {
        let mut map = Ordered::default();
        (0..6400).for_each(|number| map.insert(key(number), number).unwrap());
        assert_eq!(density(&map), size_of::<(Key, u64)>());
        for number in (0..6400).filter(|number| number % 16 > 0) {
            map.remove(key(number)).unwrap();
        }
        assert_eq!(map.len(), 400);
        assert!(density(&map) <= 4 * size_of::<(Key, u64)>());
    }

    #[test]
    fn descending_keys_fill_the_lists_too() {
        let mut map = Ordered::default();
        (0..6400).rev().for_each(|number| map.insert(key(number), number).unwrap());
        assert_eq!((map.len(), map.lists.len()), (6400, 100));
        // In the gap behind a list that is full.
        let mut map = Ordered::default();
        (0..64).chain((64..6400).rev()).for_each(|number| map.insert(key(number), number).unwrap());
        assert_eq!((map.len(), map.lists.len()), (6400, 100));
    }
}
