//! One client in one namespace.

use crate::ack::{AckFuture, Waiter};
use crate::broadcast::Broadcast;
use crate::engine::{self, CloseReason, Handshake, Id, Transport, TransportError};
use crate::error::{ConnectError, DisconnectReason, EmitError};
use crate::extract::Context;
use crate::handler::{AnyHandler, Erased, Handler, drive, run};
use crate::log::debug;
use crate::namespace::Namespace;
use crate::payload::{Payload, parts, with_encoder};
use crate::server::{App, Server};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use sockeye_core::engineio::{Frames, Part};
use sockeye_core::socketio;
use std::any::{Any, TypeId};
use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// One client in one namespace: a handle that is cheap to clone and owns nothing.
///
/// After the client has gone, emitting answers with an error, and what the socket was is still to be read.
#[derive(Clone)]
pub struct Socket(Arc<Inner>);

struct Inner {
    id: Id,
    namespace: Namespace,
    session: engine::Session<App>,
    auth: Box<str>,
    connected: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    handlers: Vec<(Cow<'static, str>, Arc<dyn AnyHandler>)>,
    any: Option<Arc<dyn AnyHandler>>,
    disconnect: Option<Arc<dyn AnyHandler>>,
    /// The answers that are awaited, by id: whom to tell, and its entry there.
    acks: HashMap<u64, (Arc<Waiter>, u32)>,
    data: Vec<(TypeId, Arc<dyn Any + Send + Sync>)>,
    /// Rooms that were joined before the socket was let in.
    early_rooms: Vec<Arc<str>>,
}

/// How many answers may be awaited from one socket.
const MAX_ACKS: usize = 10_000;

impl Socket {
    pub(crate) fn new(namespace: Namespace, session: engine::Session<App>, id: Id, auth: &str) -> Socket {
        Socket(Arc::new(Inner {
            id,
            namespace,
            session,
            auth: auth.into(),
            connected: AtomicBool::new(false),
            state: Mutex::default(),
        }))
    }

    // What it is.

    /// The public id: another one than the session's, which is a secret.
    pub fn id(&self) -> Id {
        self.0.id
    }

    /// The namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.0.namespace
    }

    /// The server; `None` once it is gone.
    pub fn server(&self) -> Option<Server> {
        Some(Server::from_engine(self.0.namespace.0.engine.upgrade()?))
    }

    /// Whether the client is connected to the namespace.
    pub fn is_connected(&self) -> bool {
        self.0.connected.load(Ordering::Acquire)
    }

    /// What the client said when it opened its session: headers, query, address.
    pub fn handshake(&self) -> &Handshake {
        self.0.session.handshake()
    }

    /// What the client sent as `auth` when it connected; an empty object if it sent nothing.
    ///
    /// # Errors
    /// When it is not of the type.
    pub fn auth<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_str(if self.0.auth.is_empty() { "{}" } else { &self.0.auth })
    }

    /// The transport in use.
    pub fn transport(&self) -> Transport {
        self.0.session.transport()
    }

    /// Keeps `value` with the socket, in place of an earlier one of the same type.
    pub fn set_data<T: Send + Sync + 'static>(&self, value: T) {
        let value: Arc<dyn Any + Send + Sync> = Arc::new(value);
        let mut state = self.0.state.lock();
        let key = TypeId::of::<T>();
        let replaced = match state.data.iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) => Some(std::mem::replace(known, value)),
            None => {
                state.data.push((key, value));
                None
            }
        };
        // Its destructor is the application's code.
        drop(state);
        drop(replaced);
    }

    /// What was kept with [`set_data`](Socket::set_data).
    pub fn data<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let state = self.0.state.lock();
        let (_, value) = state.data.iter().find(|(key, _)| *key == TypeId::of::<T>())?;
        value.clone().downcast().ok()
    }

    pub(crate) fn state<T: Clone + Send + Sync + 'static>(&self) -> Option<T> {
        let engine = self.0.namespace.0.engine.upgrade()?;
        engine.handler.state::<T>()
    }

    // What happens.

    /// Calls `handler` for each event of this name, in place of an earlier handler of it.
    ///
    /// Handlers start in the order in which the client sent the events. What the handler returns is the
    /// acknowledgement, if the client wants one.
    ///
    /// # Panics
    /// When the name is [reserved](socketio::is_reserved): no such event can come.
    pub fn on<P: 'static>(&self, event: impl Into<Cow<'static, str>>, handler: impl Handler<P>) {
        let event = event.into();
        assert!(!socketio::is_reserved(&event), "{event:?} is a reserved event name");
        let handler: Arc<dyn AnyHandler> = Arc::new(Erased::new(handler));
        let mut state = self.0.state.lock();
        state.handlers.retain(|(known, _)| *known != event);
        state.handlers.push((event, handler));
    }

    /// Calls `handler` for each event that has none of its own.
    pub fn on_any<P: 'static>(&self, handler: impl Handler<P>) {
        self.0.state.lock().any = Some(Arc::new(Erased::new(handler)));
    }

    /// Calls nothing any more for events of this name.
    pub fn off(&self, event: &str) {
        self.0.state.lock().handlers.retain(|(known, _)| known != event);
    }

    /// Calls `handler` when the socket is disconnected; it can ask for the [`DisconnectReason`]. The socket's rooms
    /// can still be seen before its first wait.
    pub fn on_disconnect<P: 'static>(&self, handler: impl Handler<P>) {
        self.0.state.lock().disconnect = Some(Arc::new(Erased::new(handler)));
    }

    // Sending.

    /// Sends an event. Never waits.
    ///
    /// # Errors
    /// When nothing was sent: the socket is gone, the client reads too slowly, or the data cannot be sent.
    pub fn emit(&self, event: &str, args: impl Payload) -> Result<(), EmitError> {
        self.send(None, event, &args, false)
    }

    /// Sends an event, and waits for the client's acknowledgement: as long as the server's `ack_timeout` says.
    pub fn emit_with_ack<T>(&self, event: &str, args: impl Payload) -> AckFuture<T> {
        self.ask(event, &args, None)
    }

    /// Sends with another time for the answer, or volatile.
    pub fn timeout(&self, timeout: Duration) -> Emitter<'_> {
        Emitter { socket: self, timeout: Some(timeout), volatile: false }
    }

    /// Messages that are dropped if the client is not ready for them.
    pub fn volatile(&self) -> Emitter<'_> {
        Emitter { socket: self, timeout: None, volatile: true }
    }

    /// Every socket of the namespace but this one.
    pub fn broadcast(&self) -> Broadcast {
        Broadcast::new(self.0.namespace.clone()).except_socket(self.0.id)
    }

    /// The sockets of a room but this one.
    pub fn to(&self, room: impl AsRef<str>) -> Broadcast {
        self.broadcast().to(room)
    }

    /// The sockets of a room, this one included if it is there.
    pub fn within(&self, room: impl AsRef<str>) -> Broadcast {
        self.0.namespace.to(room)
    }

    /// Every socket but this one and those of a room.
    pub fn except(&self, room: impl AsRef<str>) -> Broadcast {
        self.broadcast().except(room)
    }

    /// Every other socket of this server only, where there are several.
    pub fn local(&self) -> Broadcast {
        self.broadcast().local()
    }

    fn ask<T>(&self, event: &str, args: &impl Payload, timeout: Option<Duration>) -> AckFuture<T> {
        let engine = self.0.namespace.0.engine.clone();
        let waiter = Waiter::new(self.0.namespace.next_ack(), engine.clone());
        let at = waiter.ask(self);
        if let Err(error) = self.send(Some(waiter.id()), event, args, false) {
            self.forget_ack(waiter.id());
            waiter.fail(at, error);
        }
        if let Some(engine) = engine.upgrade() {
            waiter.arm(engine.now() + timeout.unwrap_or(engine.handler.ack_timeout));
        }
        AckFuture::new(waiter)
    }

    fn send(
        &self,
        id: Option<u64>,
        event: &str,
        args: &impl Payload,
        volatile: bool,
    ) -> Result<(), EmitError> {
        if !self.is_connected() {
            return Err(EmitError::Disconnected);
        }
        let name = self.0.namespace.name();
        with_encoder(|encoder| self.send_parts(parts(args.event(encoder, name, id, event)?), volatile))
    }

    pub(crate) fn acknowledge_with(&self, id: u64, args: &impl Payload) -> Result<(), EmitError> {
        if !self.is_connected() {
            return Err(EmitError::Disconnected);
        }
        let name = self.0.namespace.name();
        with_encoder(|encoder| self.send_parts(parts(args.ack(encoder, name, id)?), false))
    }

    fn send_parts<'a>(
        &self,
        parts: impl Iterator<Item = Part<'a>> + Clone,
        volatile: bool,
    ) -> Result<(), EmitError> {
        let sent = self.0.session.with(|engine, _| match volatile && !engine.is_writable() {
            true => Err(EmitError::NotReady),
            false => engine.send(parts).map_err(EmitError::from),
        });
        if let Err(EmitError::SlowConsumer { .. }) = sent {
            self.close_slow();
        }
        sent
    }

    /// Who sees this a slow consumer has to call [`close_slow`](Socket::close_slow), once it holds no lock.
    pub(crate) fn send_shared(&self, frames: &mut Frames, volatile: bool) -> Result<(), EmitError> {
        self.0.session.with(|engine, _| match volatile && !engine.is_writable() {
            true => Err(EmitError::NotReady),
            false => engine.send_shared(frames).map_err(EmitError::from),
        })
    }

    /// The client missed a message: it is closed, so that it knows, and can connect again.
    pub(crate) fn close_slow(&self) {
        let queued = self.0.session.queued();
        debug!(socket = %self.0.id, "a client reads too slowly and is closed");
        self.0.session.close_with(CloseReason::TransportError(TransportError::SlowConsumer { queued }));
    }

    // Rooms.

    /// Joins a room. After the socket's end does nothing.
    pub fn join(&self, room: impl AsRef<str>) {
        let room = room.as_ref();
        let mut members = self.0.namespace.0.members.write();
        if !members.join(&self.0.id, room) {
            let mut state = self.0.state.lock();
            if !state.early_rooms.iter().any(|known| **known == *room) {
                state.early_rooms.push(room.into());
            }
        }
    }

    /// Leaves a room.
    pub fn leave(&self, room: impl AsRef<str>) {
        let room = room.as_ref();
        self.0.namespace.0.members.write().leave(&self.0.id, room);
        self.0.state.lock().early_rooms.retain(|known| **known != *room);
    }

    /// The rooms that the socket has joined; that of its own id is not among them, though it can be sent to.
    pub fn rooms(&self) -> Vec<String> {
        self.0.namespace.0.members.read().rooms_of(&self.0.id)
    }

    // The end.

    /// Disconnects the client from the namespace; with `close` from all, and closes its connection.
    pub fn disconnect(&self, close: bool) {
        let sockets = self.0.session.with(|engine, state| {
            let sockets: Vec<Socket> = match close {
                true => state.take_all().collect(),
                false => state.leave(self.0.namespace.name(), true).into_iter().collect(),
            };
            for socket in &sockets {
                with_encoder(|encoder| {
                    let packet = encoder.disconnect(socket.0.namespace.name());
                    // If the peer reads too slowly to be told, it will see the end of the connection.
                    packet.is_ok_and(|packet| engine.send(parts(packet)).is_ok())
                });
            }
            sockets
        });
        for socket in sockets {
            socket.closed(&DisconnectReason::ServerNamespaceDisconnect);
        }
        if close {
            self.0.session.close();
        }
    }

    /// The socket is not connected any more.
    pub(crate) fn closed(&self, reason: &DisconnectReason) {
        if !self.0.connected.swap(false, Ordering::AcqRel) {
            return;
        }
        let (acks, handler) = {
            let mut state = self.0.state.lock();
            (std::mem::take(&mut state.acks), state.disconnect.take())
        };
        for (waiter, at) in acks.into_values() {
            waiter.disconnected(at);
        }
        if let Some(handler) = handler {
            let context = Context { reason: Some(reason), ..Context::new(self, "disconnect") };
            run(&*handler, &context);
        }
        self.0.namespace.0.members.write().remove(&self.0.id);
        // Handlers may hold the socket: this is where that circle ends.
        let handlers = {
            let mut state = self.0.state.lock();
            (std::mem::take(&mut state.handlers), state.any.take(), state.disconnect.take())
        };
        drop(handlers);
    }

    // For the server.

    /// The application has let the client in: tells it, and calls the handler of new sockets.
    pub(crate) fn accept(&self) {
        let session = &self.0.session;
        // What the handler does is done before the client can know that it is connected.
        session.cork();
        let connected = session.with(|engine, state| {
            if !state.accept(self.0.namespace.name(), self.clone()) {
                return false;
            }
            self.0.connected.store(true, Ordering::Release);
            with_encoder(|encoder| {
                let packet = encoder.connect(self.0.namespace.name(), &Connected { sid: &self.0.id });
                packet.is_ok_and(|packet| engine.send(parts(packet)).is_ok())
            })
        });
        if connected {
            let mut members = self.0.namespace.0.members.write();
            // Whoever disconnects it after this finds it among the members.
            if self.is_connected() {
                let rooms = std::mem::take(&mut self.0.state.lock().early_rooms);
                members.insert(self.clone(), rooms);
            }
            drop(members);
            self.0.namespace.connected(self);
        }
        session.uncork();
    }

    /// The application does not let the client in.
    pub(crate) fn refuse(&self, error: &ConnectError) {
        self.0.session.with(|engine, state| {
            if state.refuse(self.0.namespace.name()) {
                with_encoder(|encoder| {
                    let packet = encoder.connect_error(self.0.namespace.name(), error);
                    packet.is_ok_and(|packet| engine.send(parts(packet)).is_ok())
                });
            }
        });
        let mut state = self.0.state.lock();
        let dropped = (std::mem::take(&mut state.handlers), state.any.take(), state.disconnect.take());
        drop(state);
        drop(dropped);
    }

    /// An event arrived.
    pub(crate) fn dispatch(&self, event: &str, args: socketio::Args<'_>, ack: Option<u64>) {
        let handler = {
            let state = self.0.state.lock();
            let own = state.handlers.iter().find(|(name, _)| name == event).map(|(_, handler)| handler);
            own.or(state.any.as_ref()).cloned()
        };
        match handler {
            Some(handler) => {
                let context = Context { args: Some(args), ack: Cell::new(ack), ..Context::new(self, event) };
                run(&*handler, &context);
            }
            None => debug!(event = ?event, "an event without a handler"),
        }
    }

    /// An acknowledgement arrived; nobody may wait for it any more.
    pub(crate) fn acknowledged(&self, id: u64, args: socketio::Args<'_>) {
        let entry = self.0.state.lock().acks.remove(&id);
        if let Some((waiter, at)) = entry {
            waiter.acknowledge(at, args);
        }
    }

    pub(crate) fn expect_ack(&self, id: u64, waiter: Arc<Waiter>, at: u32) -> Result<(), EmitError> {
        let mut state = self.0.state.lock();
        // Looked at under the lock: the end of the socket takes what is there.
        if !self.is_connected() {
            return Err(EmitError::Disconnected);
        }
        if state.acks.len() >= MAX_ACKS {
            return Err(EmitError::TooManyAcks);
        }
        state.acks.insert(id, (waiter, at));
        Ok(())
    }

    pub(crate) fn forget_ack(&self, id: u64) {
        let forgotten = self.0.state.lock().acks.remove(&id);
        drop(forgotten);
    }

    /// Goes on with a handler in the background.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let Some(engine) = self.0.namespace.0.engine.upgrade() else { return };
        let Some(runtime) = engine.runtime() else { return };
        let running = self.0.session.begin_handler();
        runtime.spawn(Box::pin(async move {
            let _running = running;
            future.await;
        }));
    }

    /// Asks the application whether the client may connect.
    pub(crate) fn connect(&self) {
        let Some(decision) = self.0.namespace.decide(self) else { return self.accept() };
        let socket = self.clone();
        drive(
            self,
            Box::pin(async move {
                match decision.await {
                    Ok(()) => socket.accept(),
                    Err(error) => socket.refuse(&error),
                }
            }),
        );
    }
}

/// The answer to a client that is let in.
#[derive(serde::Serialize)]
struct Connected<'a> {
    sid: &'a str,
}

impl PartialEq for Socket {
    fn eq(&self, other: &Socket) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for Socket {}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("id", &self.0.id).field("namespace", &self.0.namespace.name()).finish()
    }
}

/// How to send to one socket: made by [`Socket::timeout`] and [`Socket::volatile`].
#[derive(Clone, Copy, Debug)]
#[must_use = "nothing is sent until `emit`"]
pub struct Emitter<'a> {
    socket: &'a Socket,
    timeout: Option<Duration>,
    volatile: bool,
}

impl Emitter<'_> {
    /// How long the answer is waited for.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Drops the message if the client is not ready for it.
    pub fn volatile(mut self) -> Self {
        self.volatile = true;
        self
    }

    /// Sends an event: see [`Socket::emit`].
    ///
    /// # Errors
    /// When nothing was sent.
    pub fn emit(self, event: &str, args: impl Payload) -> Result<(), EmitError> {
        self.socket.send(None, event, &args, self.volatile)
    }

    /// Sends an event, and waits for the client's acknowledgement. What wants an answer is not volatile.
    pub fn emit_with_ack<T>(self, event: &str, args: impl Payload) -> AckFuture<T> {
        self.socket.ask(event, &args, self.timeout)
    }
}
