//! Namespaces: their sockets, their rooms, and the decision about which clients may connect.

use crate::engine::Id;
use crate::extract::Context;
use crate::handler::{Handler, run};
use crate::observe::{self, Observer, ServerEvent};
use crate::payload::Payload;
use crate::server::Engine;
use crate::server::answers::AckStream;
use crate::server::broadcast::{Broadcast, Delivery};
use crate::server::cluster::Link;
use crate::server::functions::Functions;
use crate::server::members::Members;
use crate::server::middleware::Middleware;
use crate::server::order::Order;
use crate::server::parent::Parent;
use crate::server::recovery::{Memory, Numbering};
use crate::server::room_names::RoomNames;
use crate::server::socket::Socket;
use parking_lot::{Mutex, RwLock};
use sockeye_core::host::Runtime;
use sockeye_core::socketio::{Encoded, MAX_ACK_ID, OwnedArgs, Parser};
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
    /// The link to other servers, if there is an adapter.
    link: Option<Weak<Link>>,
    /// Rooms have channels of their own on the bus.
    pub(super) watches_rooms: bool,
    /// The observer of the server, which is told of the last disconnections after the server is gone.
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) members: RwLock<Members>,
    /// Taken before the lock of the members by those that visit them in batches.
    pub(super) order: Mutex<Order>,
    /// Where the offsets of events come from, if connections can be recovered.
    pub(super) numbering: Option<Numbering>,
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
        let server = engine.upgrade();
        let link = server.as_ref().and_then(|engine| engine.application.namespaces.link.as_ref());
        let memory = server.as_ref().and_then(|engine| {
            let recovery = engine.application.recovery.as_ref()?;
            Memory::new(recovery, &engine.site.config, link.is_some()).map(Box::new)
        });
        Namespace(Arc::new(Inner {
            name: name.into(),
            numbering: memory.as_ref().map(|memory| memory.numbering()),
            parser,
            link: link.map(Arc::downgrade),
            watches_rooms: link.is_some_and(|link| link.watches_rooms),
            observer: server.as_ref().and_then(|engine| engine.observer.clone()),
            engine,
            members: RwLock::default(),
            order: Mutex::new(Order::new(memory)),
            functions,
            child,
            is_closed: AtomicBool::new(false),
            next_ack: AtomicU64::new(0),
            watched: AtomicUsize::new(0),
        }))
    }

    /// Returns the runtime, unless the server is gone or not driven yet.
    pub(super) fn runtime(&self) -> Option<Arc<dyn Runtime>> {
        self.0.engine.upgrade()?.runtime().cloned()
    }

    /// Returns the link to other servers, if there is an adapter and the server is not gone.
    pub(super) fn link(&self) -> Option<Arc<Link>> {
        self.0.link.as_ref()?.upgrade()
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

    /// Returns the number of connected sockets of this server, without looking at each: a socket that is just disconnecting may be
    /// counted although [`sockets`](Namespace::sockets) leaves it out.
    pub fn sockets_count(&self) -> usize {
        self.0.members.read().len()
    }

    /// Returns the sockets of this server that are connected at present.
    pub fn sockets(&self) -> Vec<Socket> {
        self.everyone().sockets()
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

    /// Targets only the sockets of this server, if it is part of a [cluster](crate::cluster).
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

    /// Returns the arguments of an event, if sockets may have listeners for outgoing events, which need them.
    pub(super) fn outgoing_args(&self, encoded: &Encoded<'_>) -> Option<OwnedArgs> {
        self.is_watched().then(|| encoded.event_args())
    }

    /// Returns whether sockets may have listeners for outgoing events.
    pub(super) fn is_watched(&self) -> bool {
        self.0.watched.load(Ordering::Relaxed) > 0
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

    /// Disconnects all sockets that a deleted namespace has on this server, and lets no further one in.
    pub(super) fn close(&self) {
        let members = self.0.members.write();
        self.0.is_closed.store(true, Ordering::Release);
        drop(members);
        self.local().disconnect_sockets(false);
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
