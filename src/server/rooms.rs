//! The rooms of a namespace as the application sees them: their list, and the events of their members.

use super::Server;
use super::joined_rooms::JoinedRooms;
use super::members::{BATCH, Members};
use super::namespace::Namespace;
use super::socket::Socket;
use crate::engine::Id;
use crate::guard::guard;
use parking_lot::{RwLockReadGuard, RwLockWriteGuard};
use smol_str::SmolStr;
use std::collections::{HashMap, VecDeque};

/// A change of a room. See [`Namespace::on_room_event`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RoomEvent<'a> {
    /// The namespace of the room.
    pub namespace: &'a Namespace,
    /// The name of the room.
    pub room: &'a str,
    /// The change.
    pub change: RoomChange,
}

/// The kind of a [`RoomEvent`], with the id of the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RoomChange {
    /// The room has come into being: its first socket is joining it. The reference's `create-room`.
    #[doc(alias = "create_room")]
    #[doc(alias = "create-room")]
    Created,
    /// A socket has joined the room. The reference's `join-room`.
    #[doc(alias = "join_room")]
    #[doc(alias = "join-room")]
    Joined(Id),
    /// A socket has left the room. The reference's `leave-room`.
    #[doc(alias = "leave_room")]
    #[doc(alias = "leave-room")]
    Left(Id),
    /// The room is gone: its last socket has left it. The reference's `delete-room`.
    #[doc(alias = "delete_room")]
    #[doc(alias = "delete-room")]
    Deleted,
}

/// A handler of room events.
pub(super) type RoomHandler = Box<dyn Fn(RoomEvent<'_>) + Send + Sync>;

/// The room events that no handler was called for yet, in the order of the changes. The lock of the members protects
/// them.
#[derive(Default)]
pub(crate) struct RoomEvents {
    /// There is a handler, so events are queued.
    pub(super) is_wanted: bool,
    /// A thread is calling the handlers. It also calls them for what others queue meanwhile, so that the order is kept.
    is_telling: bool,
    queue: VecDeque<(SmolStr, Change)>,
}

/// What has changed about a name by which sockets are addressed.
enum Change {
    Room(RoomChange),
    /// A client of Socket.IO 2 calls its socket so, or no longer. Only other servers have to know.
    OwnName(bool),
}

impl RoomEvents {
    /// Queues the events of a socket that has joined a room.
    pub(super) fn joined(&mut self, room: SmolStr, id: Id, is_new: bool) {
        if is_new {
            self.push(room.clone(), RoomChange::Created);
        }
        self.push(room, RoomChange::Joined(id));
    }

    /// Queues the events of a socket that has left a room.
    pub(super) fn left(&mut self, room: SmolStr, id: Id, is_last: bool) {
        self.push(room.clone(), RoomChange::Left(id));
        if is_last {
            self.push(room, RoomChange::Deleted);
        }
    }

    /// Queues that a socket is called by a name besides its id, or no longer.
    pub(super) fn named(&mut self, name: SmolStr, on: bool) {
        self.queue.push_back((name, Change::OwnName(on)));
    }

    fn push(&mut self, room: SmolStr, change: RoomChange) {
        self.queue.push_back((room, Change::Room(change)));
    }

    /// Returns whether this thread has to call the handlers.
    fn begin(&mut self) -> bool {
        let is_due = !self.queue.is_empty() && !self.is_telling;
        self.is_telling |= is_due;
        is_due
    }

    /// Returns the events to call the handlers for, or `None` if there are no more.
    fn next(&mut self) -> Option<VecDeque<(SmolStr, Change)>> {
        self.is_telling = !self.queue.is_empty();
        self.is_telling.then(|| std::mem::take(&mut self.queue))
    }
}

impl Namespace {
    /// Calls `handler` for each change of a room: it was created, a socket has joined or left it, or it was deleted. A
    /// room is created right before its first socket joins it, and deleted right after its last one has left.
    ///
    /// As in the reference, the id of each connected socket is a room as well: the first that it joins when it is
    /// connected, before the connect handlers, and the first that it leaves when it is disconnected, after the handlers
    /// of [`on_disconnecting`](Namespace::on_disconnecting) and before those of
    /// [`on_disconnect`](Namespace::on_disconnect). Unlike in the reference, a handler is
    /// called for the rooms that a middleware joins once the client is connected, and not at all if it is refused.
    ///
    /// Handlers are called for one change of a namespace after the other, in the order of the changes. No lock is held, so
    /// they may use the namespace; if they change rooms themselves, the calls for that come later. Usually they are called
    /// on the thread that made the change, before `join` or `leave` returns. If another thread is calling them at that
    /// moment, it makes these calls, too, and until then the changes are kept in memory: a handler must not block.
    ///
    /// A handler cannot be removed, and must not capture a handle of the namespace or the server, which would then never
    /// end. A panic ends the call, is logged, and has no other effect.
    ///
    /// ```
    /// use sockeye::{RoomChange, Server};
    ///
    /// let io = Server::new();
    /// io.of("/chat").on_room_event(|event| match event.change {
    ///     RoomChange::Created => println!("{} is new", event.room),
    ///     RoomChange::Joined(id) => {
    ///         event.namespace.to(event.room).except(id).emit("joined", (event.room, id));
    ///     }
    ///     _ => {}
    /// });
    /// ```
    #[doc(alias = "create-room")]
    #[doc(alias = "delete-room")]
    #[doc(alias = "join-room")]
    #[doc(alias = "leave-room")]
    pub fn on_room_event(&self, handler: impl Fn(RoomEvent<'_>) + Send + Sync + 'static) {
        self.0.functions.add_room_handler(Box::new(handler));
    }

    /// Returns the rooms of this server that sockets have joined, with the number of sockets in each. The rooms that are
    /// named by the ids of sockets are not included, unless another socket has joined them.
    ///
    /// Takes time and memory in proportion to the number of rooms. Sockets can join and leave rooms while they are being
    /// counted, so the numbers of two rooms may be of different times. For frequent use, or if only a few rooms matter, count
    /// the events of [`on_room_event`](Namespace::on_room_event) instead.
    ///
    /// ```
    /// # let io = sockeye::Server::new();
    /// for (room, sockets) in io.rooms() {
    ///     println!("{sockets} in {room}");
    /// }
    /// ```
    pub fn rooms(&self) -> HashMap<String, usize> {
        let (mut counted, mut next) = (Vec::new(), 0);
        let mut members = self.0.members.read();
        while next < members.rooms_end() {
            counted.extend(members.count_rooms(next..next + BATCH));
            next += BATCH;
            RwLockReadGuard::bump(&mut members);
        }
        drop(members);
        counted.into_iter().map(|(room, sockets)| (room.to_string(), sockets)).collect()
    }

    /// Removes a socket from the namespace and from its rooms, and returns their names.
    pub(super) fn remove(&self, id: &Id) -> JoinedRooms {
        let mut left = JoinedRooms::default();
        self.change_members(|members| {
            let Some(at) = members.remove(id) else { return };
            while !members.remove_from_rooms(at, &mut left) {
                RwLockWriteGuard::bump(members);
            }
        });
        left
    }

    /// Calls `change` under the lock of the members, and then the handlers of room events for what it changed.
    pub(super) fn change_members<R>(
        &self,
        change: impl FnOnce(&mut RwLockWriteGuard<'_, Members>) -> R,
    ) -> R {
        let (result, is_due) =
            self.change_members_quietly(|members| (change(members), members.events.begin()));
        if is_due {
            self.tell_room_events();
        }
        result
    }

    /// Does the same as [`remove`](Namespace::remove), unless there is another socket with the id by now. The caller has to
    /// call [`tell_changes`](Namespace::tell_changes) without a lock.
    pub(super) fn remove_quietly(&self, socket: &Socket) -> JoinedRooms {
        let mut left = JoinedRooms::default();
        self.change_members_quietly(|members| {
            if !members.find_any(&socket.id()).is_some_and(|it| it.is(socket)) {
                return;
            }
            let Some(at) = members.remove(&socket.id()) else { return };
            while !members.remove_from_rooms(at, &mut left) {
                RwLockWriteGuard::bump(members);
            }
        });
        left
    }

    /// Calls `change` under the lock of the members. The caller has to call [`tell_changes`](Namespace::tell_changes)
    /// without a lock.
    pub(super) fn change_members_quietly<R>(
        &self,
        change: impl FnOnce(&mut RwLockWriteGuard<'_, Members>) -> R,
    ) -> R {
        let mut members = self.0.members.write();
        members.events.is_wanted = self.0.functions.has_room_handlers() || self.0.watches_rooms;
        change(&mut members)
    }

    /// Calls the handlers of room events for what was changed quietly.
    pub(super) fn tell_changes(&self) {
        self.change_members_quietly(|members| members.events.begin()).then(|| self.tell_room_events());
    }

    /// Calls the handlers for the events that are queued, until there are none.
    fn tell_room_events(&self) {
        let next = || self.0.members.write().events.next();
        while let Some(events) = next() {
            for (room, change) in events {
                if self.0.watches_rooms {
                    self.tell_cluster(&room, &change);
                }
                let Change::Room(change) = change else { continue };
                let event = RoomEvent { namespace: self, room: &room, change };
                for handler in self.0.functions.room_handlers() {
                    guard("on_room_event", || handler(event));
                }
            }
        }
    }
}

impl Namespace {
    /// Watches the channel of a room as long as there is a socket in it.
    fn tell_cluster(&self, room: &str, change: &Change) {
        let Some(link) = self.link() else { return };
        match change {
            Change::Room(RoomChange::Created) | Change::OwnName(true) => {
                link.act(|cluster, _| cluster.create_room(self.name(), room))
            }
            // The last sockets of a deleted namespace may leave when there is a new one of its name.
            Change::Room(RoomChange::Deleted) | Change::OwnName(false)
                if self.is_closed() && self.is_elsewhere(room) => {}
            Change::Room(RoomChange::Deleted) | Change::OwnName(false) => {
                link.act(|cluster, _| cluster.delete_room(self.name(), room));
            }
            Change::Room(RoomChange::Joined(_) | RoomChange::Left(_)) => {}
        }
    }

    /// Returns whether a later namespace of the same name has this room.
    fn is_elsewhere(&self, room: &str) -> bool {
        let engine = self.0.engine.upgrade();
        let other = engine.and_then(|engine| engine.application.namespaces.get(self.name()));
        other.is_some_and(|other| !other.is(self) && other.0.members.read().has_room(room))
    }
}

impl Server {
    /// Calls `handler` for each change of a room of the main namespace: see [`Namespace::on_room_event`].
    pub fn on_room_event(&self, handler: impl Fn(RoomEvent<'_>) + Send + Sync + 'static) {
        self.of("/").on_room_event(handler);
    }

    /// Returns the rooms of the main namespace, with the number of sockets in each: see [`Namespace::rooms`].
    pub fn rooms(&self) -> HashMap<String, usize> {
        self.of("/").rooms()
    }
}
