//! One client in one namespace.

mod conn;
mod data;
mod emit;
mod emitter;
mod expiry;
mod listen;
mod packets;
mod recovery;
mod state;

pub use data::SharedDataError;
pub(super) use data::{read_shared, read_stored_json, stored_json};
pub use emitter::Emitter;

use crate::by_id::Identified;
use crate::engine::{self, Batch, CloseReason, Handshake, Id, Transport};
use crate::error::{DisconnectReason, EmitError};
use crate::extract::Context;
use crate::failed_event::FailedEvent;
use crate::handler::{Acknowledge, AnySocket, Kept};
use crate::listeners::{Entry, On};
use crate::log::{self, Span, debug, warn};
use crate::observe::{HandlerFailure, ServerEvent};
use crate::payload::send_packet;
use crate::server::ack::Waiter;
use crate::server::app::show_packet;
use crate::server::broadcast::Broadcast;
use crate::server::joined_rooms::{JoinError, JoinedRooms};
use crate::server::missed::Missed;
use crate::server::namespace::Namespace;
use crate::server::room_names::{self, RoomNames};
use crate::server::{App, Server};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use smallvec::SmallVec;
use sockeye_core::engineio;
use sockeye_core::socketio::{self, AcksFull};
use state::{Stage, State};
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

/// One client in one namespace: a handle that is cheap to clone and keeps nothing alive.
///
/// After the client has gone, emitting fails, but the socket's properties can still be read. A client that
/// connects again is a new socket, with another id and in no room.
#[derive(Clone)]
pub struct Socket(Arc<Inner>);

// In this order, so that what each delivery of a broadcast uses lies together.
#[repr(C)]
struct Inner {
    session: engine::Session<App>,
    connected: AtomicBool,
    recovered: bool,
    /// Set while there are listeners for outgoing events. Written under the lock of `state`.
    outgoing: AtomicBool,
    /// Set once there was a listener or a packet middleware of this socket's own. Written under the lock of `state`.
    listens: AtomicBool,
    id: Id,
    namespace: Namespace,
    state: Mutex<State>,
    /// `None` stands for the empty text of a client that sent none.
    auth: Option<Box<Auth>>,
}

/// The text of a client's `auth` value. In a box of its own, because most clients send none.
struct Auth(Box<str>);

/// The reason with which [`Socket::disconnect`] closes a session. A client that broke the protocol is closed with a
/// cause.
pub(super) const CLOSED_BY_SERVER: CloseReason = CloseReason::ForcedClose(None);

/// The event name under which the disconnect handlers are stored.
pub(super) const DISCONNECT: &str = "disconnect";

/// The event name under which the handlers are stored that are called before the socket leaves its rooms.
pub(super) const DISCONNECTING: &str = "disconnecting";

impl Socket {
    pub(crate) fn new(namespace: Namespace, session: engine::Session<App>, id: Id, auth: &str) -> Socket {
        Socket::with(namespace, session, id, auth, false)
    }

    fn with(
        namespace: Namespace,
        session: engine::Session<App>,
        id: Id,
        auth: &str,
        recovered: bool,
    ) -> Socket {
        Socket(Arc::new(Inner {
            id,
            namespace,
            session,
            auth: (!auth.is_empty()).then(|| Box::new(Auth(auth.into()))),
            connected: AtomicBool::new(false),
            recovered,
            outgoing: AtomicBool::new(false),
            listens: AtomicBool::new(false),
            state: Mutex::default(),
        }))
    }

    /// Returns a socket for the same client in another namespace of this name.
    pub(super) fn in_namespace(&self, namespace: Namespace) -> Socket {
        Socket::new(namespace, self.0.session.clone(), self.0.id, self.auth_text())
    }

    // Properties.

    /// Returns the public id. It differs from the session's id, which is a secret. It is also the name of a
    /// room that contains this socket.
    pub fn id(&self) -> Id {
        self.0.id
    }

    /// Returns the namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.0.namespace
    }

    /// Returns the server, or `None` once it is gone.
    pub fn server(&self) -> Option<Server> {
        Some(Server::from_engine(self.0.namespace.0.engine.upgrade()?))
    }

    /// Returns whether the client is connected to the namespace.
    pub fn is_connected(&self) -> bool {
        // `connected` may be reset a little later than the session ends.
        self.0.connected.load(Ordering::Acquire) && !self.0.session.is_closed()
    }

    /// Returns the request that opened the session: headers, query, address.
    pub fn handshake(&self) -> &Handshake {
        self.0.session.handshake()
    }

    /// Returns the `auth` value that the client sent when it connected; an empty object if it sent none. See
    /// [`Namespace::middleware`] for an example.
    ///
    /// # Errors
    /// If the value is not of type `T`.
    pub fn auth<T: DeserializeOwned>(&self) -> Result<T, socketio::ArgsError> {
        socketio::read_auth(self.auth_text())
    }

    /// Returns the transport in use.
    pub fn transport(&self) -> Transport {
        self.0.session.transport()
    }

    /// Returns the number of bytes that are queued for the client, in all of its namespaces. If they exceed
    /// [`ServerBuilder::send_buffer`](crate::ServerBuilder::send_buffer), the client is closed.
    pub fn queued_bytes(&self) -> usize {
        self.0.session.queued()
    }

    pub(crate) fn state<T: Clone + Send + Sync + 'static>(&self) -> Option<T> {
        let engine = self.0.namespace.0.engine.upgrade()?;
        engine.application.state::<T>()
    }

    // Broadcasting.

    /// Targets every socket of the namespace except this one.
    pub fn broadcast(&self) -> Broadcast {
        Broadcast::new(self.0.namespace.clone()).except(self.0.id)
    }

    /// Targets the sockets of a room, or of several, except this one.
    pub fn to(&self, rooms: impl RoomNames) -> Broadcast {
        self.broadcast().to(rooms)
    }

    /// Targets the sockets of a room, including this one if it is a member. The reference's `socket.in`,
    /// which excludes it, is [`to`](Socket::to).
    pub fn within(&self, rooms: impl RoomNames) -> Broadcast {
        self.0.namespace.to(rooms)
    }

    /// Targets every socket except this one and those of a room.
    pub fn except(&self, rooms: impl RoomNames) -> Broadcast {
        self.broadcast().except(rooms)
    }

    /// Targets every other socket of this server only, if it is part of a [cluster](crate::cluster).
    pub fn local(&self) -> Broadcast {
        self.broadcast().local()
    }

    // Rooms.

    /// Joins a room, which exists as long as it has members, or several. Does nothing if the socket is disconnected. If
    /// it would be in more rooms than it may be, it joins none, and a warning is logged: see
    /// [`try_join`](Socket::try_join).
    ///
    /// ```
    /// # let io = sockeye::Server::new();
    /// io.on_connect(async |socket: sockeye::Socket| {
    ///     socket.join("lobby");
    ///     socket.join(["red", "captains"]);
    /// });
    /// ```
    pub fn join(&self, rooms: impl RoomNames) {
        if let Err(error @ JoinError::TooManyRooms { .. }) = self.try_join(rooms) {
            let namespace = self.0.namespace.name();
            let (sid, peer) = (log::sid(self.0.session.id()), log::peer(self.handshake().address()));
            let socket = self.log_id();
            warn!(
                namespace = ?namespace, socket = %socket, sid = %sid, peer = %peer, cause = %error,
                "a socket did not join a room"
            );
        }
    }

    /// Joins a room, or all of several, or returns why it joined none. Use this for rooms that clients name.
    ///
    /// ```
    /// use sockeye::Socket;
    /// use sockeye::extract::Data;
    ///
    /// # let io = sockeye::Server::new();
    /// # io.on_connect(async |socket: Socket| {
    /// // An error is logged, and the client's acknowledgement times out.
    /// socket.on("join", async |socket: Socket, Data(room): Data<String>| socket.try_join(room));
    /// # });
    /// ```
    ///
    /// # Errors
    /// If the socket is disconnected (its disconnect handlers can join no room either), or would be in more rooms than
    /// [`ServerBuilder::max_rooms`](crate::ServerBuilder::max_rooms) allows.
    pub fn try_join(&self, rooms: impl RoomNames) -> Result<(), JoinError> {
        let rooms = room_names::collect(rooms);
        let engine = self.0.namespace.0.engine.upgrade();
        let limit = engine.map_or(usize::MAX, |engine| engine.application.max_rooms);
        self.0.namespace.change_members(|members| {
            match members.join_all(&self.0.id, &rooms, limit) {
                Err(JoinError::Disconnected) => {}
                joined => return joined,
            }
            let mut state = self.0.state.lock();
            if matches!(state.stage, Stage::Leaving | Stage::Ended) {
                return Err(JoinError::Disconnected);
            }
            let joined = &mut state.more().rooms;
            joined.check(&self.0.id, &rooms, limit)?;
            for room in rooms.iter() {
                if !joined.contains(room) {
                    joined.insert(room.into());
                }
            }
            Ok(())
        })
    }

    /// Leaves a room, or several. A socket that disconnects leaves all of its rooms.
    pub fn leave(&self, rooms: impl RoomNames) {
        let rooms = room_names::collect(rooms);
        self.0.namespace.change_members(|members| {
            if !members.leave_all(&self.0.id, rooms.iter()) {
                // Under the lock of the members: otherwise the socket could be admitted with that room in
                // between.
                if let Some(more) = &mut self.0.state.lock().more {
                    rooms.iter().for_each(|room| _ = more.rooms.remove(room));
                }
            }
        });
    }

    /// Leaves all rooms, except the one that is named by the socket's own id.
    pub fn leave_all(&self) {
        self.0.namespace.change_members(|members| match members.rooms_of(&self.0.id) {
            Some(rooms) => _ = members.leave_all(&self.0.id, rooms.iter().map(|room| room.as_str())),
            None => {
                if let Some(more) = &mut self.0.state.lock().more {
                    more.rooms = JoinedRooms::default();
                }
            }
        });
    }

    /// Returns the rooms that the socket has joined. The room named by its own id is not included, though it
    /// can be sent to.
    pub fn rooms(&self) -> Vec<String> {
        let members = self.0.namespace.0.members.read();
        let rooms: Vec<_> = members.rooms_of(&self.0.id).unwrap_or_else(|| {
            let state = self.0.state.lock();
            state.more.iter().flat_map(|more| more.rooms.iter().cloned()).collect()
        });
        drop(members);
        rooms.iter().map(|room| room.to_string()).collect()
    }

    // Disconnecting.

    /// Disconnects the client from the namespace; with `close`, from all namespaces, and closes its
    /// connection.
    ///
    /// Does nothing if the socket is not connected, as in the reference.
    pub fn disconnect(&self, close: bool) {
        match close {
            true => self.close_session(),
            false => self.leave_namespace(&DisconnectReason::ServerNamespaceDisconnect),
        }
    }

    fn close_session(&self) {
        let now = self.0.session.now();
        let is_observed = self.0.session.is_observed();
        let close = |engine: &mut engineio::server::Session,
                     state: &mut socketio::server::Session<Socket>| {
            // By now the namespace may belong to another socket of the client.
            if !state.sockets().any(|socket| socket == self) {
                return Ok(Vec::new());
            }
            // A client that is still waiting for the decision about a namespace is told nothing.
            let told = state.sockets().try_for_each(|socket| socket.tell_disconnect(engine));
            // In the same step, so that the client cannot connect to a namespace again before.
            engine.close(now, CLOSED_BY_SERVER);
            told.map(|()| match is_observed {
                true => state.sockets().cloned().collect(),
                false => Vec::new(),
            })
        };
        let show = |told: &Result<Vec<Socket>, _>| told.iter().flatten().for_each(Socket::show_disconnect);
        if let Err(error) = self.0.session.with_then(close, show) {
            let namespace = self.0.namespace.name();
            let (sid, peer) = (log::sid(self.0.session.id()), log::peer(self.handshake().address()));
            let socket = self.log_id();
            debug!(
                namespace = ?namespace, socket = %socket, sid = %sid, peer = %peer, cause = %error,
                "a client is not told of all disconnections"
            );
        }
    }

    /// Returns the text that identifies the socket in the log.
    fn log_id(&self) -> impl fmt::Display + use<> {
        log::socket(self.0.id, self.0.session.id())
    }

    fn leave_namespace(&self, reason: &DisconnectReason) {
        let (socket, told) = self.0.session.with(|engine, state| {
            if !state.sockets().any(|socket| socket == self) {
                return (None, Ok(()));
            }
            let socket = state.leave(self.0.namespace.name(), true).filter(Socket::set_left);
            let told = socket.as_ref().map_or(Ok(()), |socket| socket.tell_disconnect(engine));
            (socket, told)
        });
        if let Some(socket) = socket {
            if told.is_ok() {
                socket.show_disconnect();
            }
            socket.closed(reason);
        }
        if told.is_err() {
            self.close_slow();
        }
    }

    fn tell_disconnect(&self, engine: &mut engineio::server::Session) -> Result<(), EmitError> {
        let namespace = &self.0.namespace;
        send_packet(engine, namespace.0.parser, |encoder| encoder.disconnect(namespace.name()))
    }

    /// Passes the packet that [`tell_disconnect`](Socket::tell_disconnect) queued to the observer, if there is one.
    fn show_disconnect(&self) {
        let namespace = &self.0.namespace;
        let name = namespace.name();
        show_packet(&self.0.session, namespace.0.parser, |encoder| encoder.disconnect(name));
    }

    /// Marks the socket as removed from the namespace, and returns whether it was connected. Called under the
    /// session's lock; if `true`, the caller must call [`closed`](Socket::closed) after releasing it.
    pub(crate) fn set_left(&self) -> bool {
        self.0.connected.swap(false, Ordering::AcqRel)
    }

    /// Returns whether the client was removed from the namespace, or is not in it yet.
    pub(crate) fn has_left(&self) -> bool {
        !self.0.connected.load(Ordering::Acquire)
    }

    /// Ends the socket after the client was removed from the namespace. Called once.
    ///
    /// While the connect handler is in its first poll, on any thread, the disconnect handlers are not called
    /// until that poll is over: they may be registered in it, and undo what it does.
    pub(crate) fn closed(&self, reason: &DisconnectReason) {
        let (acks, is_started) = {
            let mut state = self.0.state.lock();
            let acks = state.more.as_mut().map(|more| more.acks.drain());
            if state.stage == Stage::Entering {
                state.more().untold = Some(reason.clone());
            }
            (acks, state.stage == Stage::Entered)
        };
        for (_, (waiter, at)) in acks.into_iter().flatten() {
            self.0.session.end_await(1);
            waiter.disconnected(at);
        }
        // Those of a session that has ended were woken with it.
        if !self.0.session.is_closed() {
            self.0.session.wake_waiters();
        }
        if is_started {
            self.end(reason);
        }
    }

    /// Notes that the connect handlers have been called, and ends the socket if it was disconnected meanwhile.
    pub(super) fn start(&self) {
        let (untold, expires) = {
            let mut state = self.0.state.lock();
            state.stage = Stage::Entered;
            (state.take_untold(), state.expiry().is_some())
        };
        if expires {
            self.begin_expiry();
        }
        if let Some(reason) = untold {
            self.end(&reason);
        }
    }

    /// Removes the socket from its namespace and its rooms, and calls the disconnect handlers.
    fn end(&self, reason: &DisconnectReason) {
        let _inside = self.0.session.span().enter();
        let (namespace, socket) = (self.0.namespace.name(), self.0.id);
        let (session, handshake) = (self.0.session.id(), self.handshake());
        self.0.namespace.tell(&ServerEvent::SocketDisconnected {
            session,
            handshake,
            namespace,
            socket,
            reason,
        });
        let listeners = self.0.state.lock().listeners.all(&On::Event(DISCONNECTING.into()));
        self.call_last(DISCONNECTING, listeners, reason);
        // Before the socket is removed, so that it joins no room after that.
        self.0.state.lock().stage = Stage::Leaving;
        // The socket can no longer be found through its rooms, but its last handlers still see which they
        // were.
        let rooms = match self.0.namespace.0.numbering {
            None => self.0.namespace.remove(&self.0.id),
            Some(_) => self.leave_recoverable(reason),
        };
        let listeners = {
            let mut state = self.0.state.lock();
            if rooms.len() > 0 {
                state.more().rooms = rooms;
            }
            let listeners = state.listeners.all(&On::Event(DISCONNECT.into()));
            if listeners.is_empty() {
                state.more().untold = Some(reason.clone());
            }
            listeners
        };
        self.call_last(DISCONNECT, listeners, reason);
        self.release();
    }

    /// Calls the handlers of the namespace and these of the socket for one of its last events.
    fn call_last(&self, event: &str, own: SmallVec<[Kept<Socket>; 1]>, reason: &DisconnectReason) {
        let shared = self.0.namespace.0.functions.listeners_for(event);
        let listeners: SmallVec<[_; 1]> = shared.map(Entry::handler).chain(own).collect();
        self.call_inside(&listeners, || Context { cause: Some(reason), ..Context::new(self, event) });
    }

    /// Drops the handlers for good. They may hold the socket; this breaks that reference cycle.
    ///
    /// If the connect handlers have not been called, no disconnect handler will be, either. The caller must hold no
    /// lock.
    pub(crate) fn release(&self) {
        let (released, packets, expiry, standing, is_first) = {
            let mut state = self.0.state.lock();
            if state.stage == Stage::Entering {
                state.take_untold();
            }
            let is_first = state.stage != Stage::Ended;
            state.stage = Stage::Ended;
            state.take_rooms();
            if let Some(more) = &mut state.more {
                more.missed = Missed::default();
            }
            let standing = state.take_standing();
            (state.listeners.clear(), state.take_packets(), state.take_expiry(), standing, is_first)
        };
        drop((released, packets));
        self.end_expiry(expiry);
        self.end_standing(standing);
        self.follow_outgoing();
        if is_first {
            self.0.namespace.end_use();
        }
    }

    // For the server.

    pub(super) fn auth_text(&self) -> &str {
        self.0.auth.as_ref().map_or("", |auth| &auth.0)
    }

    /// Returns whether both are handles of the same socket, and not only of the same id.
    pub(super) fn is(&self, other: &Socket) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(super) fn session(&self) -> &engine::Session<App> {
        &self.0.session
    }

    /// Returns whether this is the client's socket in the namespace of this name, at this moment.
    #[inline]
    pub(super) fn is_in(&self, namespace: &str) -> bool {
        let own = self.0.namespace.name();
        // All names begin with a slash, so that the most frequent one is known by its length.
        let is_name = own.len() == namespace.len() && (own.len() == 1 || own == namespace);
        is_name && self.is_connected()
    }

    /// Keeps the socket for the next message of those that arrived together.
    #[inline]
    pub(super) fn keep_in(self, batch: &mut Batch) {
        batch.keep(self.0);
    }

    /// Takes out the socket of the previous message of those that arrived together.
    #[inline]
    pub(super) fn take_from(batch: &mut Batch) -> Option<Socket> {
        batch.take().map(Socket)
    }

    /// Marks the socket as connected. Called under the session's lock.
    pub(super) fn set_connected(&self) {
        self.0.connected.store(true, Ordering::Release);
    }

    /// Becomes a member of the namespace, unless the socket was disconnected or the namespace deleted meanwhile.
    pub(super) fn enter(&self) -> bool {
        self.0.namespace.change_members(|members| {
            // A thread that disconnects the socket after this finds it among the members.
            let is_connected = self.is_connected() && !self.0.namespace.is_closed();
            if is_connected {
                let rooms = self.0.state.lock().take_rooms();
                members.insert(self.clone(), rooms);
            }
            is_connected
        })
    }

    /// Handles an acknowledgement that arrived. Its waiter may have given up already.
    #[inline(never)]
    pub(crate) fn acknowledged(&self, id: u64, args: socketio::Args<'_>) {
        let entry = self.0.state.lock().forget_ack(id);
        match entry {
            Some((waiter, at)) => {
                self.0.session.end_await(1);
                waiter.acknowledge(at, args);
            }
            None => self.tell_ignored_ack(id),
        }
    }

    #[cold]
    fn tell_ignored_ack(&self, id: u64) {
        let (namespace, socket) = (self.0.namespace.name(), self.0.id);
        let (session, handshake) = (self.0.session.id(), self.handshake());
        self.0.namespace.tell(&ServerEvent::AckIgnored { session, handshake, namespace, socket, id });
    }

    pub(crate) fn expect_ack(&self, id: u64, waiter: Arc<Waiter>, at: u32) -> Result<(), EmitError> {
        let mut state = self.0.state.lock();
        // Checked under the lock, because the end of the socket drains the table.
        if !self.is_connected() {
            return Err(EmitError::Disconnected);
        }
        let acks = &mut state.more().acks;
        // The waiter has the deadline, for all sockets that it asked.
        acks.insert_at(id, None, (waiter, at)).map_err(|AcksFull| EmitError::TooManyAcks)?;
        self.0.session.begin_await();
        Ok(())
    }

    /// Returns whether an acknowledgement with this id is pending.
    pub(crate) fn awaits(&self, id: u64) -> bool {
        self.0.state.lock().more.as_ref().is_some_and(|more| more.acks.contains(id))
    }

    /// Returns the waker of a request that may continue because a pending acknowledgement raised the handler
    /// limit.
    pub(crate) fn take_resume_waker(&self) -> Option<Waker> {
        self.0.session.take_resume_waker()
    }

    pub(crate) fn forget_ack(&self, id: u64) {
        let forgotten = self.0.state.lock().forget_ack(id);
        if forgotten.is_some() {
            self.0.session.end_await(1);
        }
    }
}

impl AnySocket for Socket {
    fn spawn(&self, future: impl Future + Send + 'static) {
        let Some(engine) = self.0.namespace.0.engine.upgrade() else { return };
        let Some(runtime) = engine.runtime() else { return };
        let running = self.0.session.begin_handler();
        runtime.spawn(Box::pin(async move {
            let _running = running;
            future.await;
        }));
    }

    fn span(&self, event: &str) -> Span {
        log::handler(self.0.session.span(), event, self.0.namespace.name(), self.log_id())
    }

    fn ask_about(&self, event: &str, failure: HandlerFailure<'_>, ack: Option<u64>) -> Option<EmitError> {
        let engine = self.0.namespace.0.engine.upgrade()?;
        let function = engine.application.on_handler_error.as_ref()?;
        let reply = ack.map(|id| (id, self as &dyn Acknowledge));
        let failed = FailedEvent::new(Some(self), self.0.namespace.name(), event, failure, reply);
        failed.tell(function)
    }

    fn log_failure(&self, event: &str, failure: HandlerFailure<'_>) {
        let (namespace, socket) = (self.0.namespace.name(), self.0.id);
        let (session, handshake) = (self.0.session.id(), self.handshake());
        self.0.namespace.tell(&ServerEvent::HandlerFailed {
            session,
            handshake,
            namespace,
            socket,
            event,
            failure,
        });
    }
}

impl Identified for Socket {
    fn id(&self) -> &Id {
        &self.0.id
    }
}

/// Two handles are equal if they are of the same socket. The next socket of a client may have the same id.
impl PartialEq for Socket {
    fn eq(&self, other: &Socket) -> bool {
        self.is(other)
    }
}

impl Eq for Socket {}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("id", &self.0.id).field("namespace", &self.0.namespace.name()).finish()
    }
}
