//! The sockets of a namespace, and their rooms.

use super::joined_rooms::{JoinError, JoinedRooms};
use super::many_rooms::ManyRooms;
use super::rooms::RoomEvents;
use super::socket::Socket;
use super::table::Table;
use super::v2;
use crate::by_id::IdHasher;
use crate::engine::Id;
use foldhash::fast::RandomState;
use smallvec::SmallVec;
use smol_str::SmolStr;
use sockeye_core::socketio::{Rooms, Target};
use std::hash::{BuildHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

/// The number of members that are processed before other threads may take the lock.
pub(super) const BATCH: usize = 64;

/// The number of rooms up to which the list of a member is searched. Beyond that, they are in [`ManyRooms`] until they are at
/// most half as many.
const MANY: usize = 128;

/// The sockets of a namespace, and their rooms.
///
/// Members and rooms keep their places in two tables, and refer to each other by them. Both halves of a membership know
/// where the other one is, so that leaving needs no search.
#[derive(Default)]
pub(crate) struct Members {
    members: Table<Member>,
    rooms: Table<Room>,
    many: ManyRooms,
    /// The places of all members, in no particular order.
    all: Vec<u32>,
    /// Clients may choose the names of rooms, so the hash is seeded at random: without the seed, names that collide cannot
    /// be computed.
    hasher: RandomState,
    pub(super) events: RoomEvents,
}

pub(super) struct Member {
    pub(super) socket: Socket,
    /// The rooms that the socket has joined, if it ever joined one.
    #[expect(clippy::box_collection, reason = "most sockets of a large namespace are in no room")]
    joined: Option<Box<Vec<Link>>>,
    /// The index of the member in the list of all.
    index: u32,
    /// The number of the last pass that visited the member, or 0.
    visited: AtomicU32,
}

struct Room {
    name: SmolStr,
    members: SmallVec<[Link; 2]>,
}

/// One half of a membership.
#[derive(Clone, Copy)]
struct Link {
    /// The place of the room in the list of a member, and of the member in the list of a room.
    to: u32,
    /// The index of the other half in the list of that room or member.
    index: u32,
}

/// The state of a visit to all members that a target selects: see [`Members::visit`].
pub(super) struct Pass {
    /// In four bytes, because each member has one. It is not 0.
    number: u32,
    /// The index of the room in the target.
    room: usize,
    /// The number of members at the start of the room's list that were not visited, if the others were.
    rest: Option<usize>,
}

impl Pass {
    /// Begins a pass. Of two passes through a namespace, the second has the higher number, and begins after the first has
    /// ended; or [`forget_passes`](Members::forget_passes) was called in between.
    pub(super) fn new(number: u32) -> Pass {
        Pass { number, room: 0, rest: None }
    }

    /// Returns the number of members of the present room that were not visited, or 0 if that is not known.
    pub(super) fn rest(&self) -> usize {
        self.rest.unwrap_or(0)
    }
}

impl Member {
    fn joined(&self) -> &[Link] {
        self.joined.as_ref().map_or(&[], |joined| joined)
    }
}

impl Members {
    /// Adds a socket and the rooms that it joined before.
    pub(crate) fn insert(&mut self, socket: Socket, rooms: JoinedRooms) {
        let id = socket.id();
        if self.events.is_wanted {
            self.events.joined(id.as_str().into(), id, self.is_new(id.as_str()));
            if let Some(name) = v2::own_name(&socket).filter(|name| self.is_new(name)) {
                self.events.named(name, true);
            }
        }
        let index = index_of(self.all.len());
        let member = || Member { socket, joined: None, index, visited: AtomicU32::new(0) };
        let (at, is_new) =
            self.members.find_or_insert(hash_id(&id), |member| member.socket.id() == id, member);
        debug_assert!(is_new, "the ids of sockets are unique");
        self.all.push(at);
        rooms.into_iter().for_each(|room| self.join(at, &room));
    }

    /// Removes a socket, but not yet from its rooms: see [`remove_from_rooms`](Members::remove_from_rooms). Returns its
    /// place.
    pub(super) fn remove(&mut self, id: &Id) -> Option<u32> {
        let at = self.find(id)?;
        self.members.hide(hash_id(id), at);
        let index = self.members[at].index;
        self.all.swap_remove(index as usize);
        if let Some(moved) = self.all.get(index as usize) {
            self.members[*moved].index = index;
        }
        if self.events.is_wanted {
            self.events.left(id.as_str().into(), *id, self.is_new(id.as_str()));
            if let Some(name) = v2::own_name(&self.members[at].socket).filter(|name| self.is_new(name)) {
                self.events.named(name, false);
            }
        }
        Some(at)
    }

    /// Removes a socket that was removed from some of its rooms, and adds their names to `left`. Returns whether it was the
    /// last of them.
    pub(super) fn remove_from_rooms(&mut self, at: u32, left: &mut JoinedRooms) -> bool {
        for _ in 0..BATCH {
            let joined = self.members[at].joined();
            let Some(last) = joined.last() else {
                self.members.take(at);
                return true;
            };
            left.insert(self.rooms[last.to].name.clone());
            self.unlink(at, joined.len() - 1);
        }
        false
    }

    /// Returns whether no socket is in a room, or has its name as id.
    fn is_new(&self, room: &str) -> bool {
        self.room(room).is_none() && self.owner(room).is_none()
    }

    /// Adds a socket to rooms, if it is then in at most `limit`. Fails with `Disconnected` if the socket is not a member of
    /// the namespace.
    pub(crate) fn join_all(&mut self, id: &Id, rooms: &Rooms, limit: usize) -> Result<(), JoinError> {
        let at = self.find(id).ok_or(JoinError::Disconnected)?;
        let before = self.members[at].joined().len();
        let is_new =
            |room: &&str| *id != **room && self.room(room).is_none_or(|room| self.link(at, room).is_none());
        // They are counted only if it matters.
        if before + rooms.len() > limit && before + rooms.iter().filter(is_new).count() > limit.max(before) {
            return Err(JoinError::TooManyRooms { limit });
        }
        rooms.iter().for_each(|room| self.join(at, room));
        Ok(())
    }

    /// Adds a member to a room. Does nothing if the room is named by the socket's id.
    fn join(&mut self, at: u32, name: &str) {
        let id = self.members[at].socket.id();
        if id == *name {
            return;
        }
        let make = || Room { name: name.into(), members: SmallVec::new() };
        let (room, is_new) =
            self.rooms.find_or_insert(self.hasher.hash_one(name), |room| room.name == name, make);
        if !is_new && self.link(at, room).is_some() {
            return;
        }
        let members = &mut self.rooms[room].members;
        let joined = self.members[at].joined.get_or_insert_default();
        let (from, to) = (index_of(joined.len()), index_of(members.len()));
        joined.push(Link { to: room, index: to });
        members.push(Link { to: at, index: from });
        if joined.len() > MANY / 2 {
            self.note_joined(at);
        }
        if self.events.is_wanted {
            let is_new = is_new && self.owner(name).is_none();
            self.events.joined(self.rooms[room].name.clone(), id, is_new);
        }
    }

    /// Notes the last room of a member, or all, if they have become many.
    #[cold]
    fn note_joined(&mut self, at: u32) {
        let joined = self.members[at].joined();
        let is_noted = joined.first().is_some_and(|first| self.many.find(at, first.to).is_some());
        let from = match is_noted {
            true => joined.len() - 1,
            false if joined.len() > MANY => 0,
            false => return,
        };
        for (index, link) in joined.iter().enumerate().skip(from) {
            self.many.set(at, link.to, index_of(index));
        }
    }

    /// Notes that a room was removed from a member, and that its last one is at this index now, if they are noted.
    #[cold]
    fn note_left(&mut self, at: u32, room: u32, index: usize) {
        if !self.many.remove(at, room) {
            return;
        }
        let joined = self.members[at].joined();
        if let Some(moved) = joined.get(index) {
            self.many.set(at, moved.to, index_of(index));
        }
        if joined.len() <= MANY / 2 {
            joined.iter().for_each(|link| _ = self.many.remove(at, link.to));
        }
    }

    /// Removes a socket from rooms. Returns whether the socket is a member of the namespace.
    pub(crate) fn leave_all<'r>(&mut self, id: &Id, rooms: impl Iterator<Item = &'r str>) -> bool {
        let Some(at) = self.find(id) else { return false };
        for room in rooms {
            if let Some(link) = self.room(room).and_then(|room| self.link(at, room)) {
                self.unlink(at, link);
            }
        }
        true
    }

    /// Removes a member from the room at an index of its list.
    fn unlink(&mut self, at: u32, link: usize) {
        let joined = self.members[at].joined.get_or_insert_default();
        let Link { to: room, index } = joined.swap_remove(link);
        if let Some(moved) = joined.get(link) {
            self.rooms[moved.to].members[moved.index as usize].index = index_of(link);
        }
        if joined.len() >= MANY / 2 {
            self.note_left(at, room, link);
        }
        let Room { name, members } = &mut self.rooms[room];
        members.swap_remove(index as usize);
        if let Some(moved) = members.get(index as usize)
            && let Some(joined) = &mut self.members[moved.to].joined
        {
            joined[moved.index as usize].index = index;
        }
        let told = self.events.is_wanted.then(|| name.clone());
        if members.is_empty() {
            let hash = self.hasher.hash_one(name.as_str());
            self.rooms.hide(hash, room);
            self.rooms.take(room);
        }
        if let Some(name) = told {
            let is_last = self.is_new(&name);
            self.events.left(name, self.members[at].socket.id(), is_last);
        }
    }

    /// Returns the names of the rooms of a socket, or `None` if it is not a member of the namespace.
    pub(crate) fn rooms_of(&self, id: &Id) -> Option<Vec<SmolStr>> {
        self.find(id).map(|at| self.names(&self.members[at]))
    }

    /// Returns the names of the rooms of a member.
    pub(super) fn names(&self, member: &Member) -> Vec<SmolStr> {
        member.joined().iter().map(|link| self.rooms[link.to].name.clone()).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Calls `f` for the next connected sockets that a target selects. Returns whether there are no more.
    ///
    /// At most a batch of members is looked at, so that the caller can let others take the lock before it calls this again.
    /// A member that meets the condition during the whole pass is visited exactly once, and no socket twice: lists are
    /// visited from their end, to which members are added and from which they are moved into gaps, and a member that was
    /// visited is marked.
    pub(super) fn visit(&self, target: &Target, pass: &mut Pass, mut f: impl FnMut(&Member)) -> bool {
        // Looked up once for a batch, not once per socket.
        let except: SmallVec<[_; 1]> =
            target.except.iter().map(|room| (self.owner(room), self.room(room))).collect();
        let is_left_out = |at: u32| {
            except.iter().any(|(owner, room)| {
                *owner == Some(at) || room.is_some_and(|room| self.link(at, room).is_some())
            })
        };
        let mut visit = |at: u32| {
            let member = &self.members[at];
            if member.visited.load(Ordering::Relaxed) != pass.number {
                member.visited.store(pass.number, Ordering::Relaxed);
                if !member.socket.has_left() && !is_left_out(at) {
                    f(member);
                }
            }
        };
        if target.rooms.is_empty() {
            let next = next(&mut pass.rest, self.all.len(), BATCH);
            self.all[next].iter().for_each(|at| visit(*at));
            return pass.rest == Some(0);
        }
        let mut batch = BATCH;
        for name in target.rooms.iter().skip(pass.room) {
            if batch == 0 {
                return false;
            }
            if pass.rest.is_none() {
                self.owner(name).into_iter().for_each(&mut visit);
                batch -= 1;
            }
            let members = self.room(name).map_or(&[][..], |room| &self.rooms[room].members);
            let next = next(&mut pass.rest, members.len(), batch);
            batch -= next.len();
            members[next].iter().for_each(|link| visit(link.to));
            if pass.rest != Some(0) {
                return false;
            }
            (pass.room, pass.rest) = (pass.room + 1, None);
        }
        true
    }

    /// Forgets the numbers of all passes, of which none is in progress.
    pub(super) fn forget_passes(&self) {
        self.all.iter().for_each(|at| self.members[*at].visited.store(0, Ordering::Relaxed));
    }

    /// Returns the connected socket with an id.
    pub(super) fn get(&self, id: &Id) -> Option<&Socket> {
        let socket = &self.members[self.find(id)?].socket;
        // It stays a member until its connect handlers were polled once, and its client may have a new socket already.
        (!socket.has_left()).then_some(socket)
    }

    /// Returns whether a socket is in a room, or has its name as id.
    pub(super) fn has_room(&self, room: &str) -> bool {
        !self.is_new(room)
    }

    /// Returns whether a target may select a socket, without looking at each.
    pub(super) fn may_select(&self, target: &Target) -> bool {
        match target.rooms.is_empty() {
            true => !self.all.is_empty(),
            false => target.rooms.iter().any(|room| self.has_room(room)),
        }
    }

    /// Returns the socket with an id, even if it was disconnected and has not left yet.
    pub(super) fn find_any(&self, id: &Id) -> Option<&Socket> {
        Some(&self.members[self.find(id)?].socket)
    }

    fn find(&self, id: &Id) -> Option<u32> {
        self.members.find(hash_id(id), |member| member.socket.id() == *id)
    }

    fn room(&self, name: &str) -> Option<u32> {
        self.rooms.find(self.hasher.hash_one(name), |room| room.name == name)
    }

    /// Returns the member whose id is the room's name. It is not in that room's list, but others may have joined it there.
    fn owner(&self, room: &str) -> Option<u32> {
        match Id::parse(room) {
            Some(id) => self.find(&id),
            None if room.starts_with('/') => self.owner_with_namespace(room),
            None => None,
        }
    }

    /// Returns the member that calls itself `/namespace#` and its id, as clients of Socket.IO 2 do.
    #[cold]
    fn owner_with_namespace(&self, room: &str) -> Option<u32> {
        let (_, id) = room.rsplit_once('#')?;
        let at = self.find(&Id::parse(id)?)?;
        v2::own_name(&self.members[at].socket).is_some_and(|name| name == room).then_some(at)
    }

    /// Returns the index of a room in the list of a member, if the member is in the room.
    fn link(&self, at: u32, room: u32) -> Option<usize> {
        let (joined, members) = (self.members[at].joined(), &self.rooms[room].members);
        // The shorter of the lists is searched, unless both are long.
        match joined.len() <= members.len() {
            true if joined.len() <= MANY => joined.iter().position(|link| link.to == room),
            false if members.len() <= MANY => {
                members.iter().find(|link| link.to == at).map(|link| link.index as usize)
            }
            _ => self.link_of_many(at, room),
        }
    }

    #[cold]
    fn link_of_many(&self, at: u32, room: u32) -> Option<usize> {
        self.many.find(at, room).map(|index| index as usize)
    }

    /// Returns the end of the range of places of rooms, for [`count_rooms`](Members::count_rooms).
    pub(super) fn rooms_end(&self) -> usize {
        self.rooms.end()
    }

    /// Returns the rooms in a range of places, with the number of sockets in each.
    pub(super) fn count_rooms(&self, places: Range<usize>) -> impl Iterator<Item = (SmolStr, usize)> {
        let has_owner = |room: &Room| usize::from(self.owner(&room.name).is_some());
        self.rooms.within(places).map(move |room| (room.name.clone(), room.members.len() + has_owner(room)))
    }
}

/// Returns the range of the next members of a list to visit, and subtracts it from the rest.
fn next(rest: &mut Option<usize>, len: usize, batch: usize) -> Range<usize> {
    let end = rest.map_or(len, |rest| rest.min(len));
    let start = end.saturating_sub(batch);
    *rest = Some(start);
    start..end
}

fn index_of(len: usize) -> u32 {
    u32::try_from(len).expect("memory holds fewer members")
}

/// This side draws ids at random, so their own bytes are as good as any hash.
fn hash_id(id: &Id) -> u64 {
    let mut hasher = IdHasher::default();
    id.hash(&mut hasher);
    hasher.finish()
}

#[cfg(feature = "testing")]
#[cfg(test)]
mod tests {
    use super::MANY;
    use crate::testing::TestServer;
    use crate::{Server, Socket};

    #[test]
    fn sockets_in_many_large_rooms_join_and_leave_them_as_others_do() {
        const ROOMS: usize = MANY / 2 * 3;
        let test = TestServer::new(Server::new());
        let clients: Vec<_> = (0..MANY + 2).map(|_| test.connect("/")).collect();
        let (io, sockets) = (test.server(), test.server().sockets());
        let name = |room: usize| format!("room {room}");
        let namespace = io.of("/");
        let noted = || namespace.0.members.read().many.len();
        let rooms = |socket: &Socket| {
            let mut rooms: Vec<usize> =
                socket.rooms().iter().map(|room| room.split_at(5).1.parse().expect("a number")).collect();
            rooms.sort_unstable();
            rooms
        };
        for socket in &sockets {
            (0..MANY).for_each(|room| socket.join(name(room)));
        }
        assert_eq!(noted(), 0);
        for socket in &sockets {
            // Each twice, the rooms from before among them.
            (0..ROOMS).chain(0..ROOMS).for_each(|room| socket.join(name(room)));
        }
        assert_eq!(noted(), sockets.len() * ROOMS);
        assert!(sockets.iter().all(|socket| rooms(socket).into_iter().eq(0..ROOMS)));
        let (socket, other) = (&sockets[0], &sockets[1]);
        // From the beginning and the end, so that each one that is left has been moved; and one that it is not in.
        for room in 0..ROOMS / 3 {
            socket.leave(name(room));
            socket.leave(name(ROOMS - 1 - room));
            socket.leave("another");
            let left = ROOMS - 2 * (room + 1);
            assert!(rooms(socket).into_iter().eq((0..ROOMS).skip(room + 1).take(left)));
            let known = if left > MANY / 2 { left } else { 0 };
            assert_eq!(noted(), (sockets.len() - 1) * ROOMS + known);
        }
        (0..ROOMS).for_each(|room| socket.join(name(room)));
        assert!(rooms(socket).into_iter().eq(0..ROOMS) && rooms(other).into_iter().eq(0..ROOMS));
        assert_eq!(io.to(name(5)).sockets().len(), sockets.len());
        assert_eq!(io.except(name(5)).sockets().len(), 0);
        drop(clients);
        test.settle();
        assert!(io.rooms().is_empty() && noted() == 0);
    }
}
