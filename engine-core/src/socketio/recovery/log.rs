//! The events that were sent in a namespace, as long as a client may have missed them.

use super::entry::{Entry, Recipient};
use super::index::Index;
use super::offset::END;
use super::places::Places;
use crate::socketio::Target;
use crate::time::Time;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;

/// The maximum number of events in any log: the distances between them have 31 bits.
const MAX_PACKETS: usize = (1 << 31) - 2;

/// The bounds of a log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) age: Duration,
    pub(super) bytes: usize,
    pub(super) packets: usize,
}

/// The events that a client has missed.
#[derive(Debug)]
pub(super) struct Missed {
    /// The position of the first one.
    pub(super) first: Option<u128>,
    /// The numbers of their entries, in their order.
    numbers: Vec<u64>,
    /// The position up to which they were searched for.
    until: u128,
}

/// Events by their positions.
///
/// The positions of a log of its own are numbered from 0 without gaps. Those of a log of a stream are those of the stream,
/// whose other entries are not here.
#[derive(Debug, Default)]
pub(super) struct Log {
    entries: VecDeque<Entry>,
    /// The number of the first entry. They are numbered in the order in which they came, from 0.
    removed: u64,
    places: Places,
    index: Index,
    /// The first position from which all events are there.
    first: u128,
    /// The position behind the last one that was read.
    next: u128,
    bytes: usize,
    /// The newest position whose event was removed before its time, because the log was full, or is not known.
    lost: Option<(u128, Time)>,
}

impl Log {
    /// Creates an empty log that continues another one at a position.
    pub(super) fn continued(first: u128, lost: Option<(u128, Time)>) -> Log {
        Log { first, next: first, lost, ..Log::default() }
    }

    /// Returns the position of the first event.
    pub(super) fn first(&self) -> u128 {
        self.first
    }

    /// Returns the newest event that was removed before its time: its position, and when it was sent.
    pub(super) fn lost(&self) -> Option<(u128, Time)> {
        self.lost
    }

    /// Returns the events in their order: when they were sent, to which sockets, and their frames.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Time, Target, &Bytes)> {
        self.entries.iter().enumerate().map(|(at, entry)| (self.time(at), entry.target(), &entry.frames))
    }

    /// Creates the log of a stream, which was not read yet.
    pub(super) fn of_stream() -> Log {
        Log { places: Places::Stream(VecDeque::new()), ..Log::default() }
    }

    /// Returns the position of the next event. It is the lowest one that is possible.
    pub(super) fn next(&self) -> u128 {
        self.next
    }

    /// Returns the position of the newest event that is at least this old, if none that is newer was removed.
    pub(super) fn last_before(&self, now: Time, age: Duration) -> Option<u128> {
        let count = self.partition_point(|at| self.time(at) + age <= now);
        match count.checked_sub(1) {
            Some(at) => Some(self.position(at)),
            None if self.lost.is_some_and(|(_, at)| at + age > now) => None,
            None => self.first.checked_sub(1),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns the bytes of the events: see [`Entry::size`].
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets everything: what is behind `last` follows.
    pub(super) fn start_behind(&mut self, now: Time, last: u128) {
        let mut places = core::mem::take(&mut self.places);
        places.clear();
        let next = last.saturating_add(1);
        *self = Log { places, first: next, next, lost: Some((last, now)), ..Log::default() };
    }

    /// Notes that the stream was read up to here.
    pub(super) fn advance(&mut self, last: u128) {
        self.next = self.next.max(last.saturating_add(1));
    }

    /// Adds the event of the next position, and removes what exceeds the bounds.
    pub(super) fn push(&mut self, now: Time, target: &Target, frames: &Bytes, bounds: &Bounds) {
        if self.entries.len() == self.entries.capacity() {
            // By an eighth, because doubling would waste more than the entries themselves need.
            self.entries.reserve_exact((self.entries.len() / 8).max(16));
        }
        let (number, len) = (self.number(self.entries.len()), self.entries.len());
        let stamp = self.places.insert(number, self.next, now);
        let links = self.index.insert(number as u32, len, target);
        let entry = Entry::new(stamp, target, links, frames.clone());
        self.bytes += entry.size();
        self.entries.push_back(entry);
        self.next += 1;
        self.trim(now, bounds);
        while self.bytes > bounds.bytes || self.entries.len() > bounds.packets.min(MAX_PACKETS) {
            let Some((position, at)) = self.pop() else { break };
            self.lost = Some((position, at));
        }
    }

    /// Adds the event of a position in the stream. One that was read before is ignored.
    pub(super) fn push_at(
        &mut self,
        now: Time,
        position: u128,
        target: &Target,
        frames: &Bytes,
        bounds: &Bounds,
    ) {
        if position < self.next {
            return;
        }
        if self.next == 0 {
            // Whatever was before it is not known.
            self.start_behind(now, position.saturating_sub(1));
        }
        self.next = position;
        self.push(now, target, frames, bounds);
    }

    /// Removes the events that are too old to be missed by anybody.
    pub(super) fn trim(&mut self, now: Time, bounds: &Bounds) {
        while !self.entries.is_empty() && self.time(0) + bounds.age <= now {
            self.pop();
        }
        let (len, capacity) = (self.entries.len(), self.entries.capacity());
        if len == 0 && capacity > 0 {
            (self.entries, self.index) = Default::default();
            self.places.clear();
            self.removed = 0;
        } else if len < capacity / 4 {
            self.entries.shrink_to(len + len / 8);
        }
    }

    /// Removes the first event. Returns its position, and when it was sent.
    fn pop(&mut self) -> Option<(u128, Time)> {
        let (position, at) = (self.position(0), self.time(0));
        let entry = self.entries.pop_front()?;
        self.removed += 1;
        self.places.forget(self.removed);
        self.first = position + 1;
        self.bytes -= entry.size();
        Some((position, at))
    }

    /// Returns whether all events from a position on are there, except those that are too old to be missed.
    pub(super) fn is_complete_from(&self, now: Time, from: u128, bounds: &Bounds) -> bool {
        let is_lost = |(position, at): (u128, Time)| position >= from && at + bounds.age > now;
        from <= self.next && self.is_countable() && !self.lost.is_some_and(is_lost)
    }

    /// Returns whether all events from a position on are there.
    pub(super) fn has_all_from(&self, from: u128) -> bool {
        self.first <= from && from <= self.next && self.is_countable()
    }

    /// Returns whether offsets have enough digits for the positions.
    fn is_countable(&self) -> bool {
        matches!(self.places, Places::Stream(_)) || self.next <= u128::from(END)
    }

    /// Finds the events from a position on that addressed a client.
    pub(super) fn find_missed(&self, from: u128, recipient: Recipient<'_>) -> Missed {
        let indexes = self.indexes_from(from, recipient);
        let first = indexes.first().map(|at| self.position(*at as usize));
        let numbers = indexes.into_iter().map(|at| self.number(at as usize)).collect();
        Missed { first, numbers, until: self.next.max(from) }
    }

    /// Returns the events that were found to address a client, and those since then, in their order. The log still has to
    /// [have](Log::has_all_from) all from the first of them on.
    pub(super) fn missed(
        &self,
        missed: &Missed,
        recipient: Recipient<'_>,
    ) -> impl Iterator<Item = &Bytes> + use<'_> {
        let removed = self.removed;
        let index = |number: &u64| number.checked_sub(removed).and_then(|at| usize::try_from(at).ok());
        let found: Vec<_> = missed.numbers.iter().filter_map(index).collect();
        let since = self.indexes_from(missed.until, recipient).into_iter().map(|at| at as usize);
        found.into_iter().chain(since).filter_map(|at| Some(&self.entry(at)?.frames))
    }

    /// Returns the indexes of the entries from a position on that addressed a client, in their order.
    fn indexes_from(&self, from: u128, recipient: Recipient<'_>) -> Vec<u32> {
        let mut found: Vec<u32> = Vec::new();
        self.find(self.start(from), recipient, |at| found.push(at));
        // One that is for several of the client's rooms is in several chains.
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Returns the index of the first entry from a position on.
    fn start(&self, from: u128) -> usize {
        let start = match &self.places {
            Places::Stream(_) => self.partition_point(|at| self.position(at) < from),
            Places::Own => usize::try_from(from.saturating_sub(self.first)).unwrap_or(usize::MAX),
        };
        start.min(self.entries.len())
    }

    /// Calls `found` for the entries from `start` on that addressed a client, in no particular order, for some repeatedly.
    fn find(&self, start: usize, recipient: Recipient<'_>, mut found: impl FnMut(u32)) {
        let is_for = |at: usize| self.is_for(at, recipient);
        match self.entries.len() - start <= recipient.rooms.len() {
            true => (start..self.entries.len()).filter(|at| is_for(*at)).for_each(|at| found(at as u32)),
            false => self.find_by_index(start, recipient, is_for, found),
        }
    }

    fn is_for(&self, at: usize, recipient: Recipient<'_>) -> bool {
        self.entry(at).is_some_and(|entry| entry.includes(recipient))
    }

    /// Does the same as [`find`](Log::find) by the index. There are less than [`MAX_PACKETS`] entries.
    fn find_by_index(
        &self,
        start: usize,
        recipient: Recipient<'_>,
        is_for: impl Fn(usize) -> bool,
        mut found: impl FnMut(u32),
    ) {
        let end = self.number(self.entries.len()) as u32;
        for (head, bucket) in self.index.chains(recipient) {
            let mut at = self.entries.len();
            let mut distance = end.wrapping_sub(head);
            while distance > 0
                && let Some(earlier) = at.checked_sub(distance as usize).filter(|at| *at >= start)
            {
                at = earlier;
                if is_for(at) {
                    found(at as u32);
                }
                distance = self.entry(at).map_or(0, |entry| entry.link(bucket));
            }
        }
    }

    fn entry(&self, at: usize) -> Option<&Entry> {
        self.entries.get(at)
    }

    fn number(&self, at: usize) -> u64 {
        self.removed + at as u64
    }

    /// Returns the position of an entry.
    fn position(&self, at: usize) -> u128 {
        let stamp = self.entry(at).map_or(0, |entry| entry.stamp);
        self.places.position(self.number(at), stamp).unwrap_or(self.first + at as u128)
    }

    /// Returns the time at which an event was sent, or a little later.
    fn time(&self, at: usize) -> Time {
        let stamp = self.entry(at).map_or(0, |entry| entry.stamp);
        self.places.time(self.number(at), stamp)
    }

    /// Returns the number of entries from the first one on for which this is true.
    fn partition_point(&self, is_before: impl Fn(usize) -> bool) -> usize {
        let (mut low, mut high) = (0, self.entries.len());
        while low < high {
            let middle = low + (high - low) / 2;
            (low, high) = if is_before(middle) { (middle + 1, high) } else { (low, middle) };
        }
        low
    }

    /// Returns the time at which all events can be removed.
    pub(super) fn deadline(&self, bounds: &Bounds) -> Option<Time> {
        self.entries.len().checked_sub(1).map(|last| self.time(last) + bounds.age)
    }

    /// Returns the number of entries for which memory is reserved, and of the heads of chains.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> (usize, usize) {
        (self.entries.capacity(), self.index.heads())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{at, id, to};
    use super::*;
    use alloc::collections::BTreeSet;
    use alloc::format;
    use alloc::string::String;
    use core::cell::Cell;
    use proptest::prelude::*;
    use smol_str::SmolStr;

    const NO_BOUNDS: Bounds =
        Bounds { age: Duration::from_secs(100), bytes: usize::MAX, packets: usize::MAX };

    fn push(log: &mut Log, now: Time, rooms: &[&str], except: &[&str]) {
        log.push(now, &to(rooms, except), &Bytes::from_static(b"frame"), &NO_BOUNDS);
    }

    proptest! {
        #[test]
        fn a_client_is_found_to_have_missed_the_same_as_by_reading_the_whole_log(
            sent in prop::collection::vec((0..8usize, prop::collection::vec(0..40u8, 0..12), any::<bool>(), 0..3u64), 0..300),
            rooms in prop::collection::btree_set(0..40u8, 0..12),
            packets in 1..250usize,
            is_stream: bool,
            from: prop::sample::Index,
            claimed: prop::sample::Index,
        ) {
            let mut log = if is_stream { Log::of_stream() } else { Log::default() };
            let bounds = Bounds { packets, ..NO_BOUNDS };
            let name = |room: &u8| if *room == 39 { id(1).as_str().into() } else { format!("room {room}") };
            let mut sorted: Vec<SmolStr> = rooms.iter().map(|room| name(room).into()).collect();
            sorted.sort_unstable();
            let own = id(1);
            let recipient = Recipient { id: own.as_str(), rooms: &sorted };
            let (mut now, mut early) = (0, log.find_missed(0, recipient));
            let claimed = claimed.index(sent.len() + 1);
            for (number, (count, named, is_excluded, later)) in sent.into_iter().enumerate() {
                if number == claimed {
                    early = log.find_missed(log.first(), recipient);
                }
                // Those to one room are the most frequent.
                let count = if count < 6 { 1 } else { 12 };
                let named: Vec<String> = named.iter().take(count).map(name).collect();
                let named: Vec<_> = named.iter().map(String::as_str).collect();
                let (to_rooms, except) = named.split_at(if is_excluded { named.len() / 2 } else { named.len() });
                let position = number as u128 + (1_700_000_000_000 << 64);
                match is_stream {
                    true => log.push_at(at(now), position, &to(to_rooms, except), &Bytes::from(format!("{number}")), &bounds),
                    false => log.push(at(now), &to(to_rooms, except), &Bytes::from(format!("{number}")), &bounds),
                }
                now += later;
            }
            let start = if log.len() == 0 { 0 } else { from.index(log.len()) };
            let is_for = |at: &u32| log.is_for(*at as usize, recipient);
            let expected: Vec<u32> = (start as u32..log.len() as u32).filter(is_for).collect();
            let mut found = BTreeSet::new();
            let matches = |at| log.is_for(at, recipient);
            log.find_by_index(start, recipient, matches, |at| _ = found.insert(at));
            prop_assert!(found.iter().eq(&expected));
            let missed = log.find_missed(log.position(start), recipient);
            prop_assert_eq!(missed.first, expected.first().map(|at| log.position(*at as usize)));
            let event = |at: &u32| Some(log.entry(*at as usize)?.frames.clone());
            let expected: Vec<_> = expected.iter().filter_map(event).collect();
            prop_assert_eq!(log.missed(&missed, recipient).cloned().collect::<Vec<_>>(), expected);
            // A client that came back earlier, and has yet to be let in.
            let first = early.first.unwrap_or(early.until);
            if log.has_all_from(first) {
                let expected: Vec<_> = (log.start(first) as u32..log.len() as u32).filter(is_for).filter_map(|at| event(&at)).collect();
                prop_assert_eq!(log.missed(&early, recipient).cloned().collect::<Vec<_>>(), expected);
            }
        }
    }

    #[test]
    fn what_was_sent_to_others_is_not_looked_at() {
        let mut log = Log::default();
        for number in 0..10_000 {
            match number % 1000 {
                0 => push(&mut log, at(1), &["news"], &["somebody"]),
                // The rooms of two sockets, as in a message from one to the other.
                n => {
                    push(&mut log, at(1), &[&format!("socket {n}"), &format!("socket {}", number % 317)], &[])
                }
            }
        }
        let (own, rooms) = (id(1), ["lobby".into(), "news".into()]);
        let looked = Cell::new(0);
        let recipient = Recipient { id: own.as_str(), rooms: &rooms };
        let is_for = |at| {
            looked.set(looked.get() + 1);
            log.is_for(at, recipient)
        };
        let mut found = BTreeSet::new();
        log.find_by_index(0, recipient, is_for, |at| _ = found.insert(at));
        assert!(found.into_iter().eq((0..10).map(|n| n * 1000)));
        assert!(looked.get() < 150, "{}", looked.get());
    }

    #[test]
    fn the_names_of_many_rooms_count_for_the_bound_in_bytes() {
        let bounds = Bounds { bytes: 100_000, ..NO_BOUNDS };
        let names: Vec<String> =
            (0..100).map(|n| format!("a room with a name that is long enough {n}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        for (rooms, except, most) in
            [(&names[..], &names[..0], 16), (&names[..1], &names[1..], 16), (&names[..1], &names[..0], 1000)]
        {
            let mut log = Log::default();
            (0..2000)
                .for_each(|_| log.push(at(1), &to(rooms, except), &Bytes::from_static(b"frame"), &bounds));
            assert!((most / 2..=most).contains(&log.len()), "{}", log.len());
            assert!(log.bytes() <= bounds.bytes);
            log.trim(at(200), &bounds);
            assert_eq!(log.bytes(), 0);
        }
    }

    #[test]
    fn the_index_takes_half_a_byte_of_an_event_and_is_gone_with_the_last() {
        let mut log = Log::default();
        (0..100_000).for_each(|n| push(&mut log, at(1), &[&format!("{n}")], &[]));
        let (_, heads) = log.capacity();
        assert!(heads <= 1 << 14, "{heads}");
        log.trim(at(101), &NO_BOUNDS);
        assert_eq!(log.capacity(), (0, 0));
        push(&mut log, at(102), &["red"], &[]);
        let (own, rooms) = (id(1), ["red".into()]);
        let recipient = Recipient { id: own.as_str(), rooms: &rooms };
        assert_eq!(log.missed(&log.find_missed(0, recipient), recipient).count(), 1);
    }
}
