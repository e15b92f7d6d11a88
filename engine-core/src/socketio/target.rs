//! The addressees of a broadcast, and how it is sent, as plain data.

use core::time::Duration;
use smallvec::SmallVec;
use smol_str::SmolStr;

/// The addressees of a message: the sockets of any of some rooms, without those of others.
///
/// A socket is in the room of its own id, too, so this can name one socket or leave one out.
///
/// ```
/// use sockeye_core::socketio::Target;
///
/// let mut target = Target::default();
/// assert!(target.rooms.is_empty(), "every socket of the namespace");
/// target.rooms.insert("red");
/// target.except.insert("G44JssuMt1Wif2zWCtWv");
/// assert_eq!(target.rooms.iter().collect::<Vec<_>>(), ["red"]);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// The rooms to reach. If there is none, every socket of the namespace is reached.
    pub rooms: Rooms,
    /// The rooms whose sockets are left out.
    pub except: Rooms,
}

/// A set of names of rooms, in the order in which they were inserted. Short names, ids among them, need no allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rooms(SmallVec<[SmolStr; 1]>);

impl Rooms {
    /// Adds a room, unless it is there already.
    pub fn insert(&mut self, room: &str) {
        if !self.0.iter().any(|known| known == room) {
            self.0.push(room.into());
        }
    }

    /// Returns the number of rooms.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there is no room.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the names.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(SmolStr::as_str)
    }
}

/// How a message is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Flags {
    /// Drops the message for a peer that cannot be sent it at once.
    pub volatile: bool,
    /// Reaches the sockets of this server only, not those of other servers of its cluster.
    pub local: bool,
    /// How long to wait for an acknowledgement. Default: what the server or the client is set to.
    pub timeout: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_that_is_named_twice_is_kept_once() {
        let mut rooms = Rooms::default();
        ["a", "b", "a"].into_iter().for_each(|room| rooms.insert(room));
        assert!(rooms.iter().eq(["a", "b"]));
        assert_eq!(rooms.len(), 2);
    }
}
