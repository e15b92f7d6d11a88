//! Namespaces: their sockets, their rooms, and the decision about which clients may connect.

use crate::by_id::{ById, IdHash, Identified};
use crate::engine::Id;
use crate::extract::Context;
use crate::handler::{Handler, run};
use crate::observe::{self, Observer, ServerEvent};
use crate::payload::Payload;
use crate::server::Engine;
use crate::server::answers::AckStream;
use crate::server::broadcast::{Broadcast, Delivery};
use crate::server::functions::Functions;
use crate::server::members::{JoinError, JoinedRooms};
use crate::server::middleware::Middleware;
use crate::server::parent::Parent;
use crate::server::room_names::RoomNames;
use crate::server::rooms::RoomEvents;
use crate::server::socket::Socket;
use indexmap::IndexSet;
use indexmap::set::MutableValues;
use parking_lot::{RwLock, RwLockWriteGuard};
use smallvec::SmallVec;
use sockeye_core::socketio::{MAX_ACK_ID, Parser, Rooms, Target};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// A namespace: a handle that is cheap to clone, made by [`Server::of`](crate::Server::of), or found in a
/// [`ParentNamespace`](crate::ParentNamespace).
///
/// A namespace has its own sockets and rooms. A client connects to each namespace that it wants, over one
/// connection.
#[derive(Clone)]
pub struct Namespace(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) name: Arc<str>,
    pub(crate) parser: Parser,
    pub(crate) engine: Weak<Engine>,
    /// The observer of the server, which is told of the last disconnections after the server is gone.
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) members: RwLock<Members>,
    pub(super) functions: Functions,
    /// Set for a dynamic namespace.
    child: Option<Child>,
    /// Set under the lock of the members when the namespace is deleted.
    is_closed: AtomicBool,
    next_ack: AtomicU64,
    /// The number of sockets that have listeners for outgoing events.
    pub(crate) watched: AtomicUsize,
}

/// The use of a dynamic namespace.
#[derive(Default)]
struct Child {
    /// The number of sockets that are connected, or for which the application is deciding. Raised under the lock of the
    /// table of namespaces, under which it is compared before a removal.
    uses: AtomicUsize,
    /// A socket was let in once, or the application has asked for the namespace.
    is_kept: AtomicBool,
}

/// The sockets of a namespace, and their rooms.
#[derive(Default)]
pub(crate) struct Members {
    sockets: IndexSet<ById<Member>, IdHash>,
    rooms: HashMap<Arc<str>, IndexSet<ById<Socket>, IdHash>>,
    pub(super) events: RoomEvents,
}

struct Member {
    socket: Socket,
    rooms: JoinedRooms,
}

impl Identified for Member {
    fn id(&self) -> &Id {
        Identified::id(&self.socket)
    }
}

impl Members {
    /// Adds a socket and the rooms that it joined before.
    pub(crate) fn insert(&mut self, socket: Socket, rooms: JoinedRooms) {
        let id = socket.id();
        if self.events.is_wanted {
            self.events.joined(id.as_str().into(), id, self.is_new(id.as_str()));
        }
        self.sockets.insert(ById(Member { socket, rooms: JoinedRooms::default() }));
        for room in rooms.into_iter() {
            self.join(&id, &room);
        }
    }

    /// Removes a socket, but not yet from its rooms, which are returned.
    fn remove(&mut self, id: &Id) -> JoinedRooms {
        let Some((_, ById(member))) = self.sockets.swap_remove_full(id) else {
            return JoinedRooms::default();
        };
        if self.events.is_wanted {
            self.events.left(id.as_str().into(), *id, self.is_new(id.as_str()));
        }
        member.rooms
    }

    fn remove_from(&mut self, room: &str, id: &Id) {
        let Some(members) = self.rooms.get_mut(room) else { return };
        members.swap_remove(id);
        if members.is_empty() {
            self.rooms.remove(room);
        }
        if self.events.is_wanted {
            self.events.left(room.into(), *id, self.is_new(room));
        }
    }

    /// Returns whether no socket is in a room, or has its name as id.
    fn is_new(&self, room: &str) -> bool {
        !self.rooms.contains_key(room) && self.owner(room).is_none()
    }

    /// Adds a socket to rooms, if it is then in at most `limit`. Fails with `Disconnected` if the socket is not a member of
    /// the namespace.
    pub(crate) fn join_all(&mut self, id: &Id, rooms: &Rooms, limit: usize) -> Result<(), JoinError> {
        let member = self.sockets.get(id).ok_or(JoinError::Disconnected)?;
        member.0.rooms.check(id, rooms, limit)?;
        rooms.iter().for_each(|room| self.join(id, room));
        Ok(())
    }

    /// Adds a socket to a room. Does nothing if the room is named by the socket's id.
    fn join(&mut self, id: &Id, room: &str) {
        let Some((_, ById(member))) = self.sockets.get_full_mut2(id) else { return };
        if id.as_str() == room || member.rooms.contains(room) {
            return;
        }
        let name = self.rooms.get_key_value(room).map_or_else(|| Arc::from(room), |(name, _)| name.clone());
        member.rooms.insert(name.clone());
        let joined = ById(member.socket.clone());
        if self.events.is_wanted {
            self.events.joined(name.clone(), *id, self.is_new(room));
        }
        self.rooms.entry(name).or_default().insert(joined);
    }

    /// Removes a socket from a room, if it is a member of the namespace.
    fn leave(&mut self, id: &Id, room: &str) {
        let Some((_, ById(member))) = self.sockets.get_full_mut2(id) else { return };
        if member.rooms.remove(room) {
            self.remove_from(room, id);
        }
    }

    /// Removes a socket from rooms. Returns whether the socket is a member of the namespace.
    pub(crate) fn leave_all<'r>(&mut self, id: &Id, rooms: impl Iterator<Item = &'r str>) -> bool {
        rooms.for_each(|room| self.leave(id, room));
        self.sockets.contains(id)
    }

    /// Returns the rooms of a socket, or `None` if it is not a member of the namespace.
    pub(crate) fn rooms_of(&self, id: &Id) -> Option<Vec<Arc<str>>> {
        self.sockets.get(id).map(|member| member.0.rooms.iter().cloned().collect())
    }

    pub(crate) fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Returns the connected sockets that a target selects, each once.
    pub(crate) fn select<'a>(&'a self, target: &'a Target) -> impl Iterator<Item = &'a Socket> {
        // Looked up once for all sockets, not once per socket.
        let except: SmallVec<[_; 1]> =
            target.except.iter().map(|room| (Id::parse(room), self.rooms.get(room))).collect();
        let is_left_out = move |id: &Id| {
            except.iter().any(|(own, room)| {
                own.is_some_and(|own| own == *id) || room.is_some_and(|room| room.contains(id))
            })
        };
        let everybody = target.rooms.is_empty().then(|| self.all());
        let rooms = target.rooms.iter().flat_map(|room| self.room(room));
        let mut seen = (target.rooms.len() > 1).then(HashSet::new);
        everybody
            .into_iter()
            .flatten()
            .chain(rooms)
            .filter(is_connected)
            .filter(move |socket| seen.as_mut().is_none_or(|seen| seen.insert(socket.id())))
            .filter(move |socket| !is_left_out(&socket.id()))
    }

    /// Returns the connected sockets.
    pub(crate) fn connected(&self) -> impl Iterator<Item = &Socket> {
        self.all().filter(is_connected)
    }

    /// Returns the connected socket with an id.
    fn get(&self, id: &Id) -> Option<&Socket> {
        self.sockets.get(id).map(|member| &member.0.socket).filter(is_connected)
    }

    /// Returns every member.
    fn all(&self) -> impl Iterator<Item = &Socket> {
        self.sockets.iter().map(|member| &member.0.socket)
    }

    /// Returns the members of a room, and its owner.
    fn room(&self, room: &str) -> impl Iterator<Item = &Socket> {
        let members = self.rooms.get(room).into_iter().flatten().map(|member| &member.0);
        self.owner(room).into_iter().chain(members)
    }

    /// Returns the member whose id is the room's name. It is not in the table of rooms, but others may have joined it
    /// there.
    fn owner(&self, room: &str) -> Option<&Socket> {
        let id = Id::parse(room)?;
        self.sockets.get(&id).map(|member| &member.0.socket)
    }

    /// Returns each room that sockets have joined, with the number of sockets in it.
    pub(super) fn count_rooms(&self) -> impl Iterator<Item = (Arc<str>, usize)> {
        let count = |(room, members): (&Arc<str>, &IndexSet<_, _>)| {
            (room.clone(), members.len() + usize::from(self.owner(room).is_some()))
        };
        self.rooms.iter().map(count)
    }
}

/// Returns whether a member has not left: it stays a member until its connect handlers were polled once, and its
/// client may have a new socket already.
fn is_connected(member: &&Socket) -> bool {
    !member.has_left()
}

impl Namespace {
    pub(crate) fn new(name: &str, parser: Parser, engine: Weak<Engine>) -> Namespace {
        Namespace::with(name, parser, engine, Functions::default(), None)
    }

    /// Returns a new child of a parent, which is not in use.
    pub(super) fn child_of(parent: &Arc<Parent>, name: &str) -> Namespace {
        let Inner { parser, engine, .. } = &*parent.namespace.0;
        let functions = Functions::inheriting(parent.clone());
        Namespace::with(name, *parser, engine.clone(), functions, Some(Child::default()))
    }

    fn with(
        name: &str,
        parser: Parser,
        engine: Weak<Engine>,
        functions: Functions,
        child: Option<Child>,
    ) -> Namespace {
        Namespace(Arc::new(Inner {
            name: name.into(),
            parser,
            observer: engine.upgrade().and_then(|engine| engine.observer.clone()),
            engine,
            members: RwLock::default(),
            functions,
            child,
            is_closed: AtomicBool::new(false),
            next_ack: AtomicU64::new(0),
            watched: AtomicUsize::new(0),
        }))
    }

    /// Logs an event, and passes it to the observer. The caller must hold no lock.
    pub(crate) fn tell(&self, event: &ServerEvent<'_>) {
        observe::tell(self.0.observer.as_deref(), event);
    }

    /// Returns the name, with its leading slash.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Calls `handler` for each client that has connected, after the handlers that were added before.
    ///
    /// Handlers of events that are the same for every client belong to [`on`](Namespace::on). Those that one socket
    /// alone has, because they capture something of its own, are registered here by [`Socket::on`]: everything before
    /// the first wait of `handler` happens before the client's first event is handled. An event that has no handler by
    /// then is lost, so do lookups that wait after the registrations, or in a [`middleware`](Namespace::middleware).
    pub fn on_connect<P: 'static>(&self, handler: impl Handler<P>) {
        self.0.functions.add_connect(handler);
    }

    /// Calls `middleware` for each client that wants to connect, after those that were added before.
    ///
    /// A refusal is the client's `connect_error`, with message and data. Nothing can be sent to the socket
    /// yet, but it can join rooms and keep [data](Socket::set_data), and its handlers can be registered.
    ///
    /// ```
    /// use serde::Deserialize;
    /// use sockeye::{ConnectError, Server, Socket};
    ///
    /// #[derive(Deserialize)]
    /// struct Login {
    ///     token: String,
    ///     name: String,
    /// }
    ///
    /// let io = Server::new();
    /// // io("http://localhost:3000", { auth: { token: "secret", name: "Ann" } })
    /// io.middleware(async |socket: Socket| {
    ///     // With `Auth<Login>` as a parameter the client would be told no more than "Invalid auth".
    ///     let login: Login = socket.auth().map_err(|_| "who are you?")?;
    ///     if login.token != "secret" {
    ///         return Err(ConnectError::new("wrong token").data(401));
    ///     }
    ///     socket.set_data(login);
    ///     Ok(())
    /// });
    /// io.on_connect(async |socket: Socket| {
    ///     let login = socket.data::<Login>().expect("the middleware has set it");
    ///     socket.emit("welcome", &login.name)
    /// });
    /// ```
    #[doc(alias = "use")]
    pub fn middleware<P: 'static>(&self, middleware: impl Middleware<P>) {
        self.0.functions.add_middleware(middleware);
    }

    /// Returns the number of connected sockets, without looking at each: a socket that is just disconnecting may be
    /// counted although [`sockets`](Namespace::sockets) leaves it out.
    pub fn sockets_count(&self) -> usize {
        self.0.members.read().len()
    }

    /// Returns the sockets that are connected at present.
    pub fn sockets(&self) -> Vec<Socket> {
        self.0.members.read().connected().cloned().collect()
    }

    /// Returns the connected socket with this id, or `None` if there is none.
    pub fn socket(&self, id: &str) -> Option<Socket> {
        let id = Id::parse(id)?;
        self.0.members.read().get(&id).cloned()
    }

    /// Sends to every socket of the namespace: see [`Broadcast::emit`].
    pub fn emit(&self, event: &str, args: impl Payload) -> Delivery {
        self.everyone().emit(event, args)
    }

    /// Sends an event named `message` to every socket of the namespace: see [`Broadcast::send`].
    pub fn send(&self, args: impl Payload) -> Delivery {
        self.everyone().send(args)
    }

    /// Sends to every socket of the namespace, and waits for their acknowledgements: see
    /// [`Broadcast::emit_with_ack`].
    pub fn emit_with_ack<T>(&self, event: &str, args: impl Payload) -> AckStream<T> {
        self.everyone().emit_with_ack(event, args)
    }

    /// Targets the sockets in a room. More rooms can be added; each socket is reached once.
    pub fn to(&self, rooms: impl RoomNames) -> Broadcast {
        self.everyone().to(rooms)
    }

    /// Does the same as [`to`](Namespace::to).
    pub fn within(&self, rooms: impl RoomNames) -> Broadcast {
        self.everyone().within(rooms)
    }

    /// Targets every socket except those in a room.
    pub fn except(&self, rooms: impl RoomNames) -> Broadcast {
        self.everyone().except(rooms)
    }

    /// Targets only the sockets of this server, if there are several servers. No adapter connects several servers yet.
    pub fn local(&self) -> Broadcast {
        self.everyone().local()
    }

    /// Targets every socket with messages that are dropped for clients that are not ready for them.
    pub fn volatile(&self) -> Broadcast {
        self.everyone().volatile()
    }

    /// Sets whether messages to every socket may be compressed: see [`Socket::compress`].
    pub fn compress(&self, compress: bool) -> Broadcast {
        self.everyone().compress(compress)
    }

    /// Sets how long to wait for acknowledgements.
    pub fn timeout(&self, timeout: Duration) -> Broadcast {
        self.everyone().timeout(timeout)
    }

    pub(super) fn everyone(&self) -> Broadcast {
        Broadcast::new(self.clone())
    }

    /// Returns the id for the next message that asks for acknowledgements. All sockets of the namespace share
    /// the ids, so that a broadcast is one message. `is_pending` returns whether a recipient already waits
    /// for an acknowledgement with an id.
    pub(crate) fn next_ack(&self, is_pending: impl Fn(u64) -> bool) -> u64 {
        loop {
            let count = self.0.next_ack.fetch_add(1, Ordering::Relaxed);
            let id = count & MAX_ACK_ID;
            // Before the ids wrap around, none can be pending.
            if count <= MAX_ACK_ID || !is_pending(id) {
                return id;
            }
        }
    }

    /// Removes a socket from the namespace and from its rooms, and returns the rooms.
    pub(crate) fn remove(&self, id: &Id) -> JoinedRooms {
        /// The number of rooms that are processed before other threads may take the lock.
        const BATCH: usize = 64;
        self.change_members(|members| {
            let rooms = members.remove(id);
            for (i, room) in rooms.iter().enumerate() {
                if i % BATCH == BATCH - 1 {
                    RwLockWriteGuard::bump(members);
                }
                members.remove_from(room, id);
            }
            rooms
        })
    }

    // Dynamic namespaces.

    /// Returns the parent of a dynamic namespace.
    pub(crate) fn parent(&self) -> Option<&Arc<Parent>> {
        self.0.functions.parent()
    }

    pub(super) fn is_child(&self) -> bool {
        self.0.child.is_some()
    }

    /// Returns whether both are handles of the same namespace.
    pub(super) fn is(&self, other: &Namespace) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Keeps a dynamic namespace that has no sockets, unless empty ones are removed.
    pub(super) fn keep(&self) {
        if let Some(child) = &self.0.child {
            child.is_kept.store(true, Ordering::Release);
        }
    }

    /// Notes that there is a socket, and returns the namespace. The caller must hold the lock of the table.
    pub(super) fn begin_use(&self) -> Namespace {
        if let Some(child) = &self.0.child {
            child.uses.fetch_add(1, Ordering::AcqRel);
        }
        self.clone()
    }

    /// Notes that a socket has ended, and removes a dynamic namespace that is not needed any more. The caller must hold
    /// no lock.
    pub(super) fn end_use(&self) {
        let is_last =
            self.0.child.as_ref().is_some_and(|child| child.uses.fetch_sub(1, Ordering::AcqRel) == 1);
        if is_last && let Some(engine) = self.0.engine.upgrade() {
            engine.application.namespaces.remove_unused(self);
        }
    }

    /// Returns whether a dynamic namespace can be removed. The caller must hold the lock of the table.
    pub(super) fn is_unused(&self, cleans_up: bool) -> bool {
        self.0.child.as_ref().is_some_and(|child| {
            child.uses.load(Ordering::Acquire) == 0 && (cleans_up || !child.is_kept.load(Ordering::Acquire))
        })
    }

    /// Disconnects all sockets of a namespace that was deleted, and lets no further one in.
    pub(super) fn close(&self) {
        let sockets: Vec<_> = {
            let members = self.0.members.write();
            self.0.is_closed.store(true, Ordering::Release);
            members.all().cloned().collect()
        };
        sockets.iter().for_each(|socket| socket.disconnect(false));
    }

    /// Returns whether the namespace was deleted.
    pub(super) fn is_closed(&self) -> bool {
        self.0.is_closed.load(Ordering::Acquire)
    }

    /// Calls the handlers for new sockets.
    pub(crate) fn call_connect_handlers(&self, socket: &Socket) {
        for handler in self.0.functions.connect() {
            run(&**handler, &Context::new(socket, "connect"));
        }
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Namespace").field("name", &self.name()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgement_ids_wrap_at_two_to_the_31_and_skip_those_that_are_pending() {
        let namespace = Namespace::new("/", Parser::default(), Weak::new());
        let none = |_| false;
        assert_eq!([namespace.next_ack(none), namespace.next_ack(none)], [0, 1]);
        namespace.0.next_ack.store(MAX_ACK_ID, Ordering::Relaxed);
        assert_eq!(namespace.next_ack(none), 0x7fff_ffff);
        let pending = |id| id < 2 || id == 3;
        assert_eq!([namespace.next_ack(pending), namespace.next_ack(pending)], [2, 4]);
    }
}
