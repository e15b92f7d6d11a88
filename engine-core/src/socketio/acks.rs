//! A table of the acknowledgements that one side waits for, by id.

use crate::time::Time;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};

/// The greatest acknowledgement id that this side uses: 2³¹ − 1, because clients in other languages read ids as 32-bit
/// integers. The ids of a peer may be greater: see [`MAX_ID`](super::MAX_ID).
pub const MAX_ACK_ID: u64 = (1 << 31) - 1;

/// A table of pending acknowledgements: a value for each id and, unless the caller keeps the time, a deadline.
///
/// Ids run from 0 to [`MAX_ACK_ID`] and then start again; ids that are pending are skipped. The table allocates nothing
/// while no acknowledgement is pending.
///
/// ```
/// use sockeye_core::Time;
/// use sockeye_core::socketio::Acks;
/// use std::time::Duration;
///
/// let mut acks = Acks::new(1000);
/// let now = Time::ZERO;
/// let id = acks.insert(Some(now + Duration::from_secs(30)), "a waiter")?;
/// assert_eq!(acks.take(id), Some("a waiter"));
/// // A second answer is ignored.
/// assert_eq!(acks.take(id), None);
/// # Ok::<(), sockeye_core::socketio::AcksFull>(())
/// ```
#[derive(Debug)]
pub struct Acks<T> {
    pub(super) table: Option<Box<Table<T>>>,
    pub(super) next: u32,
    limit: u32,
}

/// The entries. Dropped with the last of them, so it is never empty.
#[derive(Debug)]
pub(super) enum Table<T> {
    /// The usual case, for which no trees are made: `benches/count client_ack`.
    One(u64, Entry<T>),
    Many(BTreeMap<u64, Entry<T>>, BTreeSet<(Time, u64)>),
}

#[derive(Debug)]
pub(super) struct Entry<T> {
    deadline: Option<Time>,
    value: T,
}

/// The error of a table that has reached its limit of pending acknowledgements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many acknowledgements are pending")]
pub struct AcksFull;

impl<T> Acks<T> {
    /// Returns an empty table in which at most `limit` acknowledgements can be pending, or [`MAX_ACK_ID`] if that is less.
    pub const fn new(limit: u32) -> Acks<T> {
        let limit = if limit as u64 > MAX_ACK_ID { MAX_ACK_ID as u32 } else { limit };
        Acks { table: None, next: 0, limit }
    }

    /// Returns the number of pending acknowledgements.
    pub fn len(&self) -> usize {
        match self.table.as_deref() {
            None => 0,
            Some(Table::One(..)) => 1,
            Some(Table::Many(by_id, _)) => by_id.len(),
        }
    }

    /// Returns whether no acknowledgement is pending.
    pub fn is_empty(&self) -> bool {
        self.table.is_none()
    }

    /// Returns whether the limit is reached.
    pub fn is_full(&self) -> bool {
        self.len() >= self.limit as usize
    }

    /// Returns whether an id is pending.
    pub fn contains(&self, id: u64) -> bool {
        match self.table.as_deref() {
            None => false,
            Some(Table::One(only, _)) => *only == id,
            Some(Table::Many(by_id, _)) => by_id.contains_key(&id),
        }
    }

    /// Returns the next id that is not pending. All other ids come before it is returned again.
    pub fn next_id(&mut self) -> u64 {
        loop {
            let id = u64::from(self.next);
            self.next = if id == MAX_ACK_ID { 0 } else { self.next + 1 };
            // Ends, because the limit is less than the number of ids.
            if !self.contains(id) {
                return id;
            }
        }
    }

    /// Adds a value with the next id, and returns the id. With `None` as the deadline, the caller keeps the time.
    ///
    /// # Errors
    /// If the table is full.
    pub fn insert(&mut self, deadline: Option<Time>, value: T) -> Result<u64, AcksFull> {
        if self.is_full() {
            return Err(AcksFull);
        }
        let id = self.next_id();
        self.insert_at(id, deadline, value)?;
        Ok(id)
    }

    /// Adds a value with an id from elsewhere, because a message to many peers has one id for all tables. Replaces the
    /// value that is pending with this id, if there is one.
    ///
    /// # Errors
    /// If the table is full.
    pub fn insert_at(&mut self, id: u64, deadline: Option<Time>, value: T) -> Result<(), AcksFull> {
        if self.is_full() && !self.contains(id) {
            return Err(AcksFull);
        }
        self.take(id);
        let entry = Entry { deadline, value };
        match &mut self.table {
            None => self.table = Some(Box::new(Table::One(id, entry))),
            Some(table) => table.add(id, entry),
        }
        Ok(())
    }

    /// Returns the value that is pending with an id.
    pub fn get_mut(&mut self, id: u64) -> Option<&mut T> {
        let entry = match self.table.as_deref_mut()? {
            Table::One(only, entry) => (*only == id).then_some(entry),
            Table::Many(by_id, _) => by_id.get_mut(&id),
        };
        entry.map(|entry| &mut entry.value)
    }

    /// Removes an id and returns its value: the acknowledgement has arrived, or is no longer awaited. Returns `None` if
    /// the id is not pending, because the acknowledgement came too late or twice.
    pub fn take(&mut self, id: u64) -> Option<T> {
        let Table::Many(by_id, by_deadline) = self.table.as_deref_mut()? else {
            let is_asked = |table: &mut Box<Table<T>>| matches!(**table, Table::One(only, _) if only == id);
            return self.table.take_if(is_asked)?.into_only();
        };
        let Entry { deadline, value } = by_id.remove(&id)?;
        if let Some(deadline) = deadline {
            by_deadline.remove(&(deadline, id));
        }
        if by_id.is_empty() {
            self.table = None;
        }
        Some(value)
    }

    /// Returns the time from which [`take_expired`](Acks::take_expired) returns a value, or `None` if no entry has a
    /// deadline.
    pub fn next_deadline(&self) -> Option<Time> {
        self.first_expiry().map(|(deadline, _)| deadline)
    }

    /// Removes an entry whose deadline has come, the earliest first. Call it until it returns `None`.
    pub fn take_expired(&mut self, now: Time) -> Option<(u64, T)> {
        let (deadline, id) = self.first_expiry()?;
        if deadline > now {
            return None;
        }
        self.take(id).map(|value| (id, value))
    }

    /// Returns the earliest deadline, and the id that it belongs to.
    fn first_expiry(&self) -> Option<(Time, u64)> {
        match self.table.as_deref()? {
            Table::One(id, entry) => entry.deadline.map(|deadline| (deadline, *id)),
            Table::Many(_, by_deadline) => by_deadline.first().copied(),
        }
    }

    /// Returns the pending entries in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        let (only, many) = match self.table.as_deref() {
            None => (None, None),
            Some(Table::One(id, entry)) => (Some((id, entry)), None),
            Some(Table::Many(by_id, _)) => (None, Some(by_id)),
        };
        only.into_iter().chain(many.into_iter().flatten()).map(|(id, entry)| (*id, &entry.value))
    }

    /// Removes all entries, at the end of a connection. The next id is not reset, because a late acknowledgement may still
    /// arrive.
    pub fn drain(&mut self) -> impl Iterator<Item = (u64, T)> + use<T> {
        let (only, many) = match self.table.take().map(|table| *table) {
            None => (None, None),
            Some(Table::One(id, entry)) => (Some((id, entry)), None),
            Some(Table::Many(by_id, _)) => (None, Some(by_id)),
        };
        only.into_iter().chain(many.into_iter().flatten()).map(|(id, entry)| (id, entry.value))
    }
}

impl<T> Table<T> {
    /// Adds an entry whose id is not in the table.
    fn add(&mut self, id: u64, entry: Entry<T>) {
        if let Table::One(..) = self {
            let one = core::mem::replace(self, Table::Many(BTreeMap::new(), BTreeSet::new()));
            if let Table::One(id, entry) = one {
                self.add(id, entry);
            }
        }
        if let Table::Many(by_id, by_deadline) = self {
            by_deadline.extend(entry.deadline.map(|deadline| (deadline, id)));
            by_id.insert(id, entry);
        }
    }

    /// Returns the value of a table of one entry.
    fn into_only(self) -> Option<T> {
        match self {
            Table::One(_, entry) => Some(entry.value),
            Table::Many(..) => None,
        }
    }
}

#[cfg(test)]
mod tests;
