//! One name of a room, or several.

use crate::engine::Id;
use sockeye_core::socketio::Rooms;
use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

/// The names of rooms that a method takes: one, or a list of them.
///
/// Implemented for strings, for the [`Id`] of a socket, which is the name of its own room, and for arrays, slices, lists
/// and sets of anything that is a string.
///
/// ```
/// # let io = sockeye::Server::new();
/// io.to("red").emit("start", ());
/// io.to(["red", "blue"]).emit("start", ());
/// let rooms: Vec<String> = vec!["red".into(), "blue".into()];
/// io.except(&rooms).emit("wait", ());
/// ```
pub trait RoomNames {
    /// Calls `f` with each name.
    fn each_name(&self, f: impl FnMut(&str));

    /// Adds the names to a set.
    #[doc(hidden)]
    fn add_to(&self, rooms: &mut Rooms) {
        let mut rooms = rooms.inserter();
        self.each_name(|name| rooms.insert(name));
    }
}

/// Collects names, each once. Called without a lock, because an implementation may be the application's.
pub(super) fn collect(names: impl RoomNames) -> Rooms {
    let mut rooms = Rooms::default();
    names.add_to(&mut rooms);
    rooms
}

impl RoomNames for str {
    fn each_name(&self, mut f: impl FnMut(&str)) {
        f(self);
    }

    fn add_to(&self, rooms: &mut Rooms) {
        rooms.insert(self);
    }
}

impl<T: RoomNames + ?Sized> RoomNames for &T {
    fn each_name(&self, f: impl FnMut(&str)) {
        (**self).each_name(f);
    }

    fn add_to(&self, rooms: &mut Rooms) {
        (**self).add_to(rooms);
    }
}

impl RoomNames for Rooms {
    fn each_name(&self, f: impl FnMut(&str)) {
        self.iter().for_each(f);
    }

    fn add_to(&self, rooms: &mut Rooms) {
        match rooms.is_empty() {
            true => self.clone_into(rooms),
            false => {
                let mut rooms = rooms.inserter();
                self.each_name(|name| rooms.insert(name));
            }
        }
    }
}

macro_rules! one_name {
    ($($type:ty)*) => {$(
        impl RoomNames for $type {
            fn each_name(&self, mut f: impl FnMut(&str)) {
                f(self.as_ref());
            }

            fn add_to(&self, rooms: &mut Rooms) {
                rooms.insert(self.as_ref());
            }
        }
    )*};
}

one_name!(String Id Arc<str> Box<str> Cow<'_, str>);

macro_rules! several_names {
    ($([$($generic:tt)*] $type:ty)*) => {$(
        impl<T: AsRef<str>, $($generic)*> RoomNames for $type {
            fn each_name(&self, mut f: impl FnMut(&str)) {
                self.iter().for_each(|name| f(name.as_ref()));
            }

            fn add_to(&self, rooms: &mut Rooms) {
                rooms.reserve(self.iter().len());
                let mut rooms = rooms.inserter();
                self.each_name(|name| rooms.insert(name));
            }
        }
    )*};
}

several_names!([] [T] [const N: usize] [T; N] [] Vec<T> [S] HashSet<T, S> [] BTreeSet<T>);
