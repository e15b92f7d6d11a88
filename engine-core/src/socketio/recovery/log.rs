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

/// Events by their positions.
///
/// The positions of a log of its own are numbered from 0 without gaps. Those of a log of a stream are those of the stream,
/// whose other entries are not here, and are kept beside the events.
#[derive(Debug, Default)]
pub(super) struct Log {
    entries: VecDeque<Entry>,
    /// The positions of the events, if they are those of a stream.
    positions: Option<VecDeque<u128>>,
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
        self.entries.iter().map(|entry| (entry.at.time(), entry.target(), &entry.frames))
    }

    /// Creates the log of a stream, which was not read yet.
    pub(super) fn of_stream() -> Log {
        Log { positions: Some(VecDeque::new()), ..Log::default() }
    }

    /// Returns the position of the next event. It is the lowest one that is possible.
    pub(super) fn next(&self) -> u128 {
        self.next
    }

    /// Returns the position of the newest event that is at least this old, if none that is newer was removed.
    pub(super) fn last_before(&self, now: Time, age: Duration) -> Option<u128> {
        let count = self.entries.partition_point(|entry| entry.at.time() + age <= now);
        match count.checked_sub(1) {
            Some(at) => Some(self.position(at)),
            None if self.lost.is_some_and(|(_, at)| at + age > now) => None,
            None => self.first.checked_sub(1),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns the bytes of the events, which count [`ENTRY`] bytes more than their frames.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets everything: what is behind `last` follows.
    pub(super) fn start_behind(&mut self, now: Time, last: u128) {
        let positions = self.positions.as_ref().map(|_| VecDeque::new());
        let next = last.saturating_add(1);
        *self = Log { positions, first: next, next, lost: Some((last, now)), ..Log::default() };
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
        self.bytes += frames.len() + ENTRY;
        self.entries.push_back(Entry::new(now, target, frames.clone()));
        self.next += 1;
        self.trim(now, bounds);
        while self.bytes > bounds.bytes || self.entries.len() > bounds.packets {
            let Some((position, entry)) = self.pop() else { break };
            self.lost = Some((position, entry.at.time()));
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
        if let Some(positions) = &mut self.positions {
            positions.push_back(position);
        }
        self.push(now, target, frames, bounds);
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
        if let Some(positions) = self.positions.as_mut().filter(|positions| len < positions.capacity() / 4) {
            positions.shrink_to(len + len / 8);
        }
    }

    fn pop(&mut self) -> Option<(u128, Entry)> {
        let entry = self.entries.pop_front()?;
        let position = self.positions.as_mut().map_or(Some(self.first), VecDeque::pop_front)?;
        self.first = position + 1;
        self.bytes -= entry.frames.len() + ENTRY;
        Some((position, entry))
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
        self.positions.is_some() || self.next <= u128::from(END)
    }

    /// Returns the events from a position on that addressed a socket: their positions and frames.
    pub(super) fn from(
        &self,
        from: u128,
        is_in: impl Fn(&str) -> bool,
    ) -> impl Iterator<Item = (u128, &Bytes)> {
        let start = match &self.positions {
            Some(positions) => positions.partition_point(|position| *position < from),
            None => usize::try_from(from.saturating_sub(self.first)).unwrap_or(usize::MAX),
        };
        let start = start.min(self.entries.len());
        (start..)
            .zip(self.entries.range(start..))
            .filter(move |(_, entry)| entry.includes(&is_in))
            .map(|(at, entry)| (self.position(at), &entry.frames))
    }

    /// Returns the position of an entry.
    fn position(&self, at: usize) -> u128 {
        match &self.positions {
            Some(positions) => positions.get(at).copied().unwrap_or(self.next),
            None => self.first + at as u128,
        }
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
