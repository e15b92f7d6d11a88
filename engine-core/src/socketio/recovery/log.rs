//! The events that were sent in a namespace, as long as a client may have missed them.

use super::offset::END;
use crate::socketio::Target;
use crate::time::Time;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use bytes::Bytes;
use core::time::Duration;
use smol_str::SmolStr;

/// The bytes that an event takes beside its frames.
pub(super) const ENTRY: usize = size_of::<Entry>();

/// An event, in 64 bytes.
#[derive(Debug)]
pub(super) struct Entry {
    /// The frames that the recipients share.
    frames: Bytes,
    addressees: Addressees,
    /// The addressees are all sockets but those of the room.
    is_inverted: bool,
    at: Tick,
}

/// A [`Target`] in less memory, as most are of these forms.
#[derive(Debug)]
enum Addressees {
    Everyone,
    Room(SmolStr),
    Others(Box<Target>),
}

/// A time in tenths of a second, rounded up. Later than 13 years after the origin it does not advance.
#[derive(Clone, Copy, Debug)]
struct Tick(u32);

impl Tick {
    fn new(time: Time) -> Tick {
        let tenths = time.since_origin().as_millis().div_ceil(100);
        Tick(u32::try_from(tenths).unwrap_or(u32::MAX))
    }

    fn time(self) -> Time {
        Time::from_origin(Duration::from_millis(u64::from(self.0) * 100))
    }
}

impl Entry {
    fn new(now: Time, target: &Target, frames: Bytes) -> Entry {
        let (addressees, is_inverted) = match (target.rooms.only(), target.except.only()) {
            _ if target.rooms.is_empty() && target.except.is_empty() => (Addressees::Everyone, false),
            (Some(room), _) if target.except.is_empty() => (Addressees::Room(room.clone()), false),
            (_, Some(room)) if target.rooms.is_empty() => (Addressees::Room(room.clone()), true),
            _ => (Addressees::Others(Box::new(target.clone())), false),
        };
        Entry { frames, addressees, is_inverted, at: Tick::new(now) }
    }

    fn target(&self) -> Target {
        let mut target = Target::default();
        match (&self.addressees, self.is_inverted) {
            (Addressees::Everyone, _) => {}
            (Addressees::Room(room), false) => target.rooms.insert(room),
            (Addressees::Room(room), true) => target.except.insert(room),
            (Addressees::Others(others), _) => return (**others).clone(),
        }
        target
    }

    /// Returns whether a socket was addressed. `is_in` tells which rooms it is in.
    fn includes(&self, is_in: impl Fn(&str) -> bool) -> bool {
        match &self.addressees {
            Addressees::Everyone => true,
            Addressees::Room(room) => is_in(room) != self.is_inverted,
            Addressees::Others(target) => {
                (target.rooms.is_empty() || target.rooms.iter().any(&is_in))
                    && !target.except.iter().any(&is_in)
            }
        }
    }
}

/// The bounds of a log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) age: Duration,
    pub(super) bytes: usize,
    pub(super) packets: usize,
}

/// Events by their positions, which are numbered from 0 without gaps.
#[derive(Debug, Default)]
pub(super) struct Log {
    entries: VecDeque<Entry>,
    /// The position of the first entry.
    first: u64,
    bytes: usize,
    /// The newest event that was removed before its time, because the log was full.
    lost: Option<(u64, Time)>,
}

impl Log {
    /// Creates an empty log that continues another one at a position.
    pub(super) fn continued(first: u64, lost: Option<(u64, Time)>) -> Log {
        Log { first, lost, ..Log::default() }
    }

    /// Returns the position of the first event.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// Returns the newest event that was removed before its time: its position, and when it was sent.
    pub(super) fn lost(&self) -> Option<(u64, Time)> {
        self.lost
    }

    /// Returns the events in their order: when they were sent, to which sockets, and their frames.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Time, Target, &Bytes)> {
        self.entries.iter().map(|entry| (entry.at.time(), entry.target(), &entry.frames))
    }

    /// Returns the position of the next event.
    pub(super) fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns the bytes of the events, which count [`ENTRY`] bytes more than their frames.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds an event, and removes what exceeds the bounds.
    pub(super) fn push(&mut self, now: Time, target: &Target, frames: &Bytes, bounds: &Bounds) {
        if self.entries.len() == self.entries.capacity() {
            // By an eighth, because doubling would waste more than the entries themselves need.
            self.entries.reserve_exact((self.entries.len() / 8).max(16));
        }
        self.bytes += frames.len() + ENTRY;
        self.entries.push_back(Entry::new(now, target, frames.clone()));
        self.trim(now, bounds);
        while self.bytes > bounds.bytes || self.entries.len() > bounds.packets {
            let position = self.first;
            let Some(entry) = self.pop() else { break };
            self.lost = Some((position, entry.at.time()));
        }
    }

    /// Removes the events that are too old to be missed by anybody.
    pub(super) fn trim(&mut self, now: Time, bounds: &Bounds) {
        while self.entries.front().is_some_and(|entry| entry.at.time() + bounds.age <= now) {
            self.pop();
        }
        let (len, capacity) = (self.entries.len(), self.entries.capacity());
        if len == 0 && capacity > 0 {
            self.entries = VecDeque::new();
        } else if len < capacity / 4 {
            self.entries.shrink_to(len + len / 8);
        }
    }

    fn pop(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        self.first += 1;
        self.bytes -= entry.frames.len() + ENTRY;
        Some(entry)
    }

    /// Returns whether all events from a position on are there, except those that are too old to be missed.
    pub(super) fn is_complete_from(&self, now: Time, from: u64, bounds: &Bounds) -> bool {
        let is_lost = |(position, at): (u64, Time)| position >= from && at + bounds.age > now;
        from <= self.next() && self.next() <= END && !self.lost.is_some_and(is_lost)
    }

    /// Returns whether all events from a position on are there.
    pub(super) fn has_all_from(&self, from: u64) -> bool {
        self.first <= from && from <= self.next() && self.next() <= END
    }

    /// Returns the events from a position on that addressed a socket: their positions and frames.
    pub(super) fn from(
        &self,
        from: u64,
        is_in: impl Fn(&str) -> bool,
    ) -> impl Iterator<Item = (u64, &Bytes)> {
        let start = usize::try_from(from.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let entries = self.entries.range(start.min(self.entries.len())..);
        (from.max(self.first)..)
            .zip(entries)
            .filter(move |(_, entry)| entry.includes(&is_in))
            .map(|(position, entry)| (position, &entry.frames))
    }

    /// Returns the time at which all events can be removed.
    pub(super) fn deadline(&self, bounds: &Bounds) -> Option<Time> {
        self.entries.back().map(|entry| entry.at.time() + bounds.age)
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.entries.capacity()
    }
}
