//! The addressees of a broadcast and the flags for sending it, as plain data.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::time::Duration;
use smallvec::SmallVec;
use smol_str::SmolStr;

/// The addressees of a message: the sockets in at least one of the rooms, except those in others.
///
/// Every socket is also in a room that is named by its id, so a target can name or exclude a single socket.
///
/// ```
/// use sockeye_core::socketio::Target;
///
/// let mut target = Target::default();
/// assert!(target.rooms.is_empty(), "addresses every socket of the namespace");
/// target.rooms.insert("red");
/// target.except.insert("G44JssuMt1Wif2zWCtWv");
/// assert_eq!(target.rooms.iter().collect::<Vec<_>>(), ["red"]);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// The rooms to reach. If there is none, every socket of the namespace is reached.
    pub rooms: Rooms,
    /// The rooms whose sockets are excluded.
    pub except: Rooms,
}

/// A set of names of rooms, in the order in which they were inserted. Short names, ids among them, need no allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rooms(SmallVec<[SmolStr; 1]>);

impl Rooms {
    /// Adds a room, unless the set contains it. It is compared with all others: for many rooms, use
    /// [`inserter`](Rooms::inserter).
    pub fn insert(&mut self, room: &str) {
        // Most names of one kind begin alike, and end with a number.
        let end = room.as_bytes().last();
        if !self.0.iter().any(|known| known.as_bytes().last() == end && known == room) {
            self.0.push(room.into());
        }
    }

    /// Allocates memory for this many more rooms at once.
    pub fn reserve(&mut self, rooms: usize) {
        self.0.reserve(rooms);
    }

    /// Begins to add several rooms, which may be very many: of `n` rooms, each is compared with `log n` others.
    ///
    /// ```
    /// use sockeye_core::socketio::Rooms;
    ///
    /// let mut rooms = Rooms::default();
    /// let mut inserter = rooms.inserter();
    /// (0..1000).for_each(|number| inserter.insert(&format!("room {}", number % 100)));
    /// assert_eq!(rooms.len(), 100);
    /// ```
    pub fn inserter(&mut self) -> RoomInserter<'_> {
        RoomInserter { rooms: self, known: BTreeSet::new() }
    }

    /// Returns the number of rooms.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the room, if there is exactly one.
    pub(crate) fn only(&self) -> Option<&SmolStr> {
        match &self.0[..] {
            [room] => Some(room),
            _ => None,
        }
    }

    /// Returns the names of the rooms, as they are stored.
    pub(crate) fn names(&self) -> impl Iterator<Item = &SmolStr> {
        self.0.iter()
    }

    /// Returns the names of the rooms.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(SmolStr::as_str)
    }
}

/// Creates a set of names that are known to differ.
impl From<Vec<SmolStr>> for Rooms {
    fn from(names: Vec<SmolStr>) -> Rooms {
        Rooms(names.into_iter().collect())
    }
}

/// The number of rooms up to which a new one is compared with all others: there, a tree takes as long.
const FEW: usize = 128;

/// Adds rooms to a set: see [`Rooms::inserter`].
#[derive(Debug)]
pub struct RoomInserter<'a> {
    rooms: &'a mut Rooms,
    /// The rooms of the set, if they are many.
    known: BTreeSet<SmolStr>,
}

impl RoomInserter<'_> {
    /// Adds a room, unless the set contains it.
    pub fn insert(&mut self, room: &str) {
        match self.rooms.len() < FEW {
            true => self.rooms.insert(room),
            false => self.insert_among_many(room),
        }
    }

    #[cold]
    fn insert_among_many(&mut self, room: &str) {
        if self.known.is_empty() {
            self.known.extend(self.rooms.0.iter().cloned());
        }
        if !self.known.contains(room) {
            let room = SmolStr::from(room);
            self.known.insert(room.clone());
            self.rooms.0.push(room);
        }
    }
}

/// The flags for sending a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Flags {
    /// Drops the message for a peer to which it cannot be sent at once.
    pub volatile: bool,
    /// Allows compression, if it was negotiated. Default: true.
    pub compress: bool,
    /// Reaches only the sockets of this server, not those of other servers in its cluster.
    pub local: bool,
    /// The time to wait for an acknowledgement. Default: the setting of the server or the client.
    pub timeout: Option<Duration>,
    /// Lets newer messages take the place of this one while it waits for a slow peer, if that is the server's policy.
    /// Default: true.
    pub may_drop: bool,
}

impl Default for Flags {
    fn default() -> Flags {
        Flags { volatile: false, compress: true, local: false, timeout: None, may_drop: true }
    }
}

impl Flags {
    /// Sets whether newer messages may take the place of this one.
    pub fn may_drop(mut self, may_drop: bool) -> Flags {
        self.may_drop = may_drop;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_that_is_named_twice_is_kept_once() {
        let mut rooms = Rooms::default();
        let names = ["a1", "b1", "a2", "b1", "", "a1", "1", ""];
        names.into_iter().for_each(|room| rooms.insert(room));
        assert!(rooms.iter().eq(["a1", "b1", "a2", "", "1"]));
        assert_eq!(rooms.len(), 5);
    }

    #[test]
    fn rooms_for_which_memory_is_reserved_allocate_none() {
        let mut rooms = Rooms::default();
        rooms.reserve(100);
        let reserved = rooms.0.capacity();
        (0..100).for_each(|number| rooms.insert(&alloc::format!("room {number}")));
        assert_eq!((rooms.len(), rooms.0.capacity()), (100, reserved));
    }

    #[test]
    fn many_rooms_are_kept_once_and_in_their_order() {
        let name = |number: usize| alloc::format!("room {number}");
        for before in [0, FEW - 1, FEW, 3 * FEW] {
            let mut rooms = Rooms::default();
            (0..before).for_each(|number| rooms.insert(&name(number)));
            let mut inserter = rooms.inserter();
            (0..5 * FEW).for_each(|number| inserter.insert(&name(number / 2)));
            (0..4 * FEW).for_each(|number| inserter.insert(&name(number)));
            assert_eq!((inserter.known.len(), rooms.len()), (4 * FEW, 4 * FEW));
            assert!(rooms.iter().eq((0..4 * FEW).map(name)));
        }
    }
}
