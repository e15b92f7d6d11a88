//! The names of the rooms of one socket.

use crate::engine::Id;
use smol_str::SmolStr;
use sockeye_core::socketio::Rooms;
use std::collections::HashSet;

/// The names of the rooms that a socket joined before it became a member of its namespace, or was in when it left.
///
/// Most sockets are in a few rooms, for which a list is smallest and fastest; in a long list, `join` and
/// `leave` would take longer with each room.
pub(crate) enum JoinedRooms {
    Few(Vec<SmolStr>),
    #[expect(clippy::box_collection, reason = "this variant must not make a socket in few rooms larger")]
    Many(Box<HashSet<SmolStr>>),
}

/// The maximum length of the list.
const FEW: usize = 16;

/// The reason why a socket did not join a room: see [`Socket::try_join`](crate::Socket::try_join).
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The socket has been disconnected or was refused.
    #[error("the socket is not connected")]
    Disconnected,
    /// The socket would be in more rooms than [`ServerBuilder::max_rooms`](crate::ServerBuilder::max_rooms) allows.
    #[error("the socket would be in more than {limit} rooms, the maximum")]
    TooManyRooms {
        /// The maximum number of rooms of a socket.
        limit: usize,
    },
}

sockeye_core::debug_as_text!(JoinError);

crate::error::serialize_as_text!(JoinError);

impl Default for JoinedRooms {
    fn default() -> Self {
        JoinedRooms::Few(Vec::new())
    }
}

impl JoinedRooms {
    pub(crate) fn len(&self) -> usize {
        match self {
            JoinedRooms::Few(rooms) => rooms.len(),
            JoinedRooms::Many(rooms) => rooms.len(),
        }
    }

    pub(crate) fn contains(&self, room: &str) -> bool {
        match self {
            JoinedRooms::Few(rooms) => rooms.iter().any(|known| *known == *room),
            JoinedRooms::Many(rooms) => rooms.contains(room),
        }
    }

    /// Checks whether rooms can be added to those of a socket. Fails with `TooManyRooms` if they would then be more than
    /// `limit`.
    pub(crate) fn check(&self, socket: &Id, rooms: &Rooms, limit: usize) -> Result<(), JoinError> {
        // They are counted only if it matters.
        let is_new = |room: &&str| *room != socket.as_str() && !self.contains(room);
        match self.len() + rooms.len() <= limit
            || self.len() + rooms.iter().filter(is_new).count() <= limit.max(self.len())
        {
            true => Ok(()),
            false => Err(JoinError::TooManyRooms { limit }),
        }
    }

    /// Adds a room that is not in the table.
    pub(crate) fn insert(&mut self, room: SmolStr) {
        match self {
            JoinedRooms::Few(rooms) if rooms.len() < FEW => rooms.push(room),
            JoinedRooms::Few(rooms) => {
                let all = std::mem::take(rooms).into_iter().chain([room]);
                *self = JoinedRooms::Many(Box::new(all.collect()));
            }
            JoinedRooms::Many(rooms) => {
                rooms.insert(room);
            }
        }
    }

    /// Removes a room. Returns whether it was in the table.
    pub(crate) fn remove(&mut self, room: &str) -> bool {
        match self {
            JoinedRooms::Few(rooms) => {
                let at = rooms.iter().position(|known| *known == *room);
                at.map(|at| rooms.swap_remove(at)).is_some()
            }
            JoinedRooms::Many(rooms) => {
                let was_there = rooms.remove(room);
                // Well below the limit, so that joining and leaving one room does not convert it each time.
                if rooms.len() <= FEW / 2 {
                    *self = JoinedRooms::Few(rooms.drain().collect());
                }
                was_there
            }
        }
    }

    pub(crate) fn into_iter(self) -> impl Iterator<Item = SmolStr> {
        let (few, many) = match self {
            JoinedRooms::Few(rooms) => (Some(rooms), None),
            JoinedRooms::Many(rooms) => (None, Some(*rooms)),
        };
        few.into_iter().flatten().chain(many.into_iter().flatten())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &SmolStr> {
        let (few, many) = match self {
            JoinedRooms::Few(rooms) => (Some(rooms), None),
            JoinedRooms::Many(rooms) => (None, Some(rooms)),
        };
        few.into_iter().flatten().chain(many.into_iter().flat_map(|rooms| rooms.iter()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_becomes_a_set_and_a_list_again_and_holds_the_same() {
        let mut rooms = JoinedRooms::default();
        let name = |n: usize| SmolStr::from(n.to_string());
        for n in 0..100 {
            assert!(!rooms.contains(&name(n)));
            rooms.insert(name(n));
            assert!(rooms.contains(&name(n)) && rooms.len() == n + 1 && rooms.iter().count() == n + 1);
            assert_eq!(matches!(rooms, JoinedRooms::Few(_)), n < FEW);
        }
        for n in 0..100 {
            assert!(rooms.remove(&name(n)) && !rooms.remove(&name(n)));
            assert!(rooms.len() == 99 - n && (n + 1..100).all(|n| rooms.contains(&name(n))));
            assert_eq!(matches!(rooms, JoinedRooms::Few(_)), rooms.len() <= FEW / 2);
        }
    }

    #[test]
    fn a_socket_in_few_rooms_pays_for_a_list_only() {
        assert_eq!(size_of::<JoinedRooms>(), size_of::<Vec<SmolStr>>());
    }
}
