//! One client in one namespace.

use crate::ack::{AckFuture, Waiter};
use crate::broadcast::Broadcast;
use crate::by_id::Identified;
use crate::engine::{self, Handshake, Id, Transport};
use crate::error::{ConnectError, DisconnectReason, EmitError};
use crate::extract::Context;
use crate::handler::{Guarded, Handler, Kept, drive, run};
use crate::handlers::Handlers;
use crate::log::debug;
use crate::namespace::Namespace;
use crate::payload::sealed::{Head, Kind};
use crate::payload::{Payload, parts, send_packet, with_encoder};
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
use std::task::Waker;
use std::time::Duration;

/// One client in one namespace: a handle that is cheap to clone and owns nothing.
///
/// After the client has gone, emitting answers with an error, and what the socket was is still to be read. A client
/// that connects again is another socket: with another id, and in no room.
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
    /// That of the socket's end is among them: no event has its name.
    handlers: Handlers,
    more: Option<Box<More>>,
    /// The socket was disconnected or not let in: nothing is kept any more.
    ended: bool,
}

/// What most sockets have nothing of.
#[derive(Default)]
struct More {
    fallback: Option<Kept>,
    /// The answers that are awaited, by id: whom to tell, and its entry there.
    acks: HashMap<u64, (Arc<Waiter>, u32)>,
    data: Vec<(TypeId, Arc<dyn Any + Send + Sync>)>,
    /// Rooms that were joined before the socket was let in.
    early_rooms: Vec<Arc<str>>,
}

impl State {
    fn more(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }

    fn take_early_rooms(&mut self) -> Vec<Arc<str>> {
        self.more.as_mut().map(|more| std::mem::take(&mut more.early_rooms)).unwrap_or_default()
    }

    fn forget_ack(&mut self, id: u64) -> Option<(Arc<Waiter>, u32)> {
        self.more.as_mut()?.acks.remove(&id)
    }
}

/// The name under which a socket's handler of its end is kept.
const DISCONNECT: &str = "disconnect";

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

    /// The public id: another one than the session's, which is a secret. It is the name of a room with this socket in it,
    /// too.
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
        // The end of a session may be told a little later than it comes.
        self.0.connected.load(Ordering::Acquire) && !self.0.session.is_closed()
    }

    /// What the client said when it opened its session: headers, query, address.
    pub fn handshake(&self) -> &Handshake {
        self.0.session.handshake()
    }

    /// What the client sent as `auth` when it connected; an empty object if it sent nothing. See
    /// [`Namespace::middleware`] for an example.
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

    /// Keeps `value` with the socket, in place of an earlier one of the same type: give it a type of your own.
    ///
    /// It is kept as long as any handle of the socket is, also after the client has gone. A value that holds a handle of
    /// this very socket is a circle, and both are kept for ever: hold its [id](Socket::id) instead, and find it by
    /// [`Namespace::socket`].
    ///
    /// ```
    /// struct Name(String);
    /// # let io = sockeye::Server::new();
    /// # io.on_connect(async |socket: sockeye::Socket| {
    /// socket.set_data(Name("Ann".into()));
    /// assert_eq!(socket.data::<Name>().map(|name| name.0.clone()), Some("Ann".into()));
    /// # });
    /// ```
    pub fn set_data<T: Send + Sync + 'static>(&self, value: T) {
        let value: Arc<dyn Any + Send + Sync> = Arc::new(value);
        let mut state = self.0.state.lock();
        let data = &mut state.more().data;
        let key = TypeId::of::<T>();
        let replaced = match data.iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) => Some(std::mem::replace(known, value)),
            None => {
                data.push((key, value));
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
        let data = &state.more.as_ref()?.data;
        let (_, value) = data.iter().find(|(key, _)| *key == TypeId::of::<T>())?;
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
    /// acknowledgement, if the client wants one. If the event's data is not of the handler's type, it is not called: see
    /// [`extract`](crate::extract).
    ///
    /// ```
    /// use sockeye::Socket;
    /// use sockeye::extract::Data;
    ///
    /// # let io = sockeye::Server::new();
    /// io.on_connect(async |socket: Socket| {
    ///     // socket.emit("join", "lobby")
    ///     socket.on("join", async |socket: Socket, Data(room): Data<String>| socket.join(room));
    ///     // await socket.emitWithAck("add", 2, 3), which is 5
    ///     socket.on("add", async |Data((a, b)): Data<(i64, i64)>| a + b);
    /// });
    /// ```
    ///
    /// # Panics
    /// When the name is [reserved](socketio::is_reserved), as no such event can come: `connect`, `connect_error`,
    /// `disconnect` (see [`on_disconnect`](Socket::on_disconnect)), `disconnecting`, `newListener`, `removeListener`.
    pub fn on<P: 'static>(&self, event: impl Into<Cow<'static, str>>, handler: impl Handler<P>) {
        let event = event.into();
        assert!(!socketio::is_reserved(&event), "{event:?} is a reserved event name");
        self.keep(Kept::new(handler), |state, handler| state.handlers.insert(event, handler));
    }

    /// Calls `handler` for each event that has none of its own, in place of an earlier one. The reference's `onAny` is
    /// called for the others, too.
    ///
    /// ```
    /// use sockeye::extract::Event;
    /// use sockeye::{Args, Socket};
    ///
    /// # let io = sockeye::Server::new();
    /// # io.on_connect(async |socket: Socket| {
    /// // Sends on whatever it is.
    /// socket.on_fallback(async |socket: Socket, Event(name): Event, args: Args| {
    ///     socket.broadcast().emit(&name, args);
    /// });
    /// # });
    /// ```
    pub fn on_fallback<P: 'static>(&self, handler: impl Handler<P>) {
        self.keep(Kept::new(handler), |state, handler| state.more().fallback.replace(handler));
    }

    /// Calls nothing any more for events of this name.
    pub fn off(&self, event: &str) {
        let removed = self.0.state.lock().handlers.remove(event);
        // What it captured is the application's: its destructor may use the socket.
        drop(removed);
    }

    /// Calls `handler` when the socket is disconnected, in place of an earlier one; it can ask for the
    /// [`DisconnectReason`]. The socket's rooms can still be seen before its first wait.
    ///
    /// ```
    /// use sockeye::{DisconnectReason, Socket};
    ///
    /// # let io = sockeye::Server::new();
    /// # io.on_connect(async |socket: Socket| {
    /// socket.on_disconnect(async |socket: Socket, reason: DisconnectReason| {
    ///     println!("{} left {:?}: {reason}", socket.id(), socket.rooms());
    /// });
    /// # });
    /// ```
    pub fn on_disconnect<P: 'static>(&self, handler: impl Handler<P>) {
        self.keep(Kept::new(handler), |state, handler| state.handlers.insert(DISCONNECT.into(), handler));
    }

    /// Keeps a handler, unless the socket has ended: nothing would let go of it again.
    fn keep(&self, handler: Kept, keep: impl FnOnce(&mut State, Kept) -> Option<Kept>) {
        let mut state = self.0.state.lock();
        let dropped = if state.ended { Some(handler) } else { keep(&mut state, handler) };
        // What it captured is the application's: its destructor may use the socket.
        drop(state);
        drop(dropped);
    }

    // Sending.

    /// Sends an event. Never waits: `Ok` means that it is queued, not that it arrived.
    ///
    /// The arguments are any [`Payload`]: a tuple is several, `()` none, anything else one.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use sockeye::{EmitError, Socket};
    ///
    /// # let io = sockeye::Server::new();
    /// io.on_connect(async |socket: Socket| {
    ///     socket.emit("ready", ())?;
    ///     socket.emit("position", (3, 4))?; // socket.on("position", (x, y) => …)
    ///     socket.emit("list", vec![3, 4])?; // socket.on("list", (list) => …)
    ///     socket.emit("file", ("name", Bytes::from_static(b"\x00\xff")))?; // binary
    ///     Ok::<_, EmitError>(())
    /// });
    /// ```
    ///
    /// # Errors
    /// When nothing was sent: the socket is gone (or not let in yet), the client reads too slowly, or the data cannot
    /// be sent.
    pub fn emit(&self, event: &str, args: impl Payload) -> Result<(), EmitError> {
        self.send(None, event, &args, false)
    }

    /// Sends an event, and waits for the client's acknowledgement: 30 s, or what
    /// [`Builder::ack_timeout`](crate::Builder::ack_timeout) or [`timeout`](Socket::timeout) says.
    ///
    /// The answer is read as `T`, which has to be named: a tuple takes the client's arguments in order, any other type
    /// the first. The message is sent by the call, before the future is awaited.
    ///
    /// ```
    /// use sockeye::{AckError, Socket};
    /// use std::time::Duration;
    ///
    /// # let io = sockeye::Server::new();
    /// io.on_connect(async |socket: Socket| {
    ///     // socket.on("question", (text, answer) => answer("yes"))
    ///     let asked = socket.timeout(Duration::from_secs(5)).emit_with_ack::<String>("question", "really?");
    ///     match asked.await {
    ///         Ok(answer) => println!("{answer}"),
    ///         Err(AckError::Timeout) => println!("no answer in 5 s"),
    ///         Err(error) => println!("{error}"),
    ///     }
    /// });
    /// ```
    pub fn emit_with_ack<T>(&self, event: &str, args: impl Payload) -> AckFuture<T> {
        self.ask(event, &args, None, false)
    }

    /// Sends with another time for the answer, or volatile.
    pub fn timeout(&self, timeout: Duration) -> Emitter<'_> {
        Emitter { socket: self, timeout: Some(timeout), volatile: false }
    }

    /// Messages that are dropped if the client is not ready for them: something waits for it already, or it is between
    /// two polls. For what is out of date when the next one comes, such as positions.
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

    /// The sockets of a room, this one included if it is there. The reference's `socket.in`, which leaves it out, is
    /// [`to`](Socket::to).
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

    fn ask<T>(
        &self,
        event: &str,
        args: &impl Payload,
        timeout: Option<Duration>,
        volatile: bool,
    ) -> AckFuture<T> {
        let engine = self.0.namespace.0.engine.clone();
        let waiter = Waiter::new(self.0.namespace.next_ack(), engine.clone());
        if let Some(at) = waiter.ask(self)
            && let Err(error) = self.send(Some(waiter.id()), event, args, volatile)
        {
            waiter.fail(self, at, error);
        }
        self.take_room().into_iter().for_each(Waker::wake);
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
        self.send_packet(Kind::Event(event, id), args, volatile)
    }

    pub(crate) fn acknowledge_with(&self, id: u64, args: &impl Payload) -> Result<(), EmitError> {
        self.send_packet(Kind::Ack(id), args, false)
    }

    fn send_packet(&self, kind: Kind<'_>, args: &impl Payload, volatile: bool) -> Result<(), EmitError> {
        if !self.is_connected() {
            return Err(EmitError::Disconnected);
        }
        let head = Head { namespace: self.0.namespace.name(), kind };
        with_encoder(|encoder| self.send_parts(parts(args.encode(encoder, head)?), volatile))
    }

    fn send_parts<'a>(
        &self,
        parts: impl Iterator<Item = Part<'a>> + Clone,
        volatile: bool,
    ) -> Result<(), EmitError> {
        let (sent, woken) = self.0.session.sending(|engine| match volatile && !engine.is_writable() {
            true => Err(EmitError::NotReady),
            false => engine.send(parts).map_err(EmitError::from),
        });
        woken.into_iter().for_each(Waker::wake);
        if let Err(EmitError::SlowConsumer { .. }) = sent {
            self.close_slow();
        }
        sent
    }

    /// Who sees this a slow consumer has to call [`close_slow`](Socket::close_slow), once it holds no lock.
    /// And to call the wakers in `later`.
    pub(crate) fn send_shared(
        &self,
        frames: &mut Frames,
        volatile: bool,
        later: &mut Vec<Waker>,
    ) -> Result<(), EmitError> {
        let (sent, woken) = self.0.session.sharing(|engine| match volatile && !engine.is_writable() {
            true => Err(EmitError::NotReady),
            false => engine.send_shared(frames).map_err(EmitError::from),
        });
        later.extend(woken);
        sent
    }

    /// The client missed a message: it is closed, so that it knows, and can connect again.
    pub(crate) fn close_slow(&self) {
        debug!(socket = %self.0.id, "a client reads too slowly and is closed");
        self.0.session.close_slow();
    }

    // Rooms.

    /// Joins a room, which is there as long as somebody is in it. After the socket's end does nothing.
    pub fn join(&self, room: impl AsRef<str>) {
        let room = room.as_ref();
        let mut members = self.0.namespace.0.members.write();
        if !members.join(&self.0.id, room) {
            let mut state = self.0.state.lock();
            if !state.ended && !state.more().early_rooms.iter().any(|known| **known == *room) {
                state.more().early_rooms.push(room.into());
            }
        }
    }

    /// Leaves a room. At the socket's end it leaves all.
    pub fn leave(&self, room: impl AsRef<str>) {
        let room = room.as_ref();
        self.0.namespace.0.members.write().leave(&self.0.id, room);
        if let Some(more) = &mut self.0.state.lock().more {
            more.early_rooms.retain(|known| **known != *room);
        }
    }

    /// The rooms that the socket has joined; that of its own id is not among them, though it can be sent to.
    pub fn rooms(&self) -> Vec<String> {
        self.0.namespace.0.members.read().rooms_of(&self.0.id)
    }

    // The end.

    /// Disconnects the client from the namespace; with `close` from all, and closes its connection.
    ///
    /// Does nothing if the socket is not connected, as the reference.
    pub fn disconnect(&self, close: bool) {
        let (sockets, told) = self.0.session.with(|engine, state| {
            // By now the name may stand for another socket of the client.
            if !state.sockets().any(|socket| socket == self) {
                return (Vec::new(), Ok(()));
            }
            let sockets: Vec<Socket> = match close {
                true => state.take_all().collect(),
                false => state.leave(self.0.namespace.name(), true).into_iter().collect(),
            };
            let tell = |socket: &Socket| {
                send_packet(engine, |encoder| encoder.disconnect(socket.0.namespace.name()))
            };
            // One that is not let in yet is told nothing.
            let joined = |socket: &&Socket| socket.0.connected.load(Ordering::Acquire);
            let told = sockets.iter().filter(joined).try_for_each(tell);
            (sockets, told)
        });
        for socket in &sockets {
            socket.closed(&DisconnectReason::ServerNamespaceDisconnect);
        }
        match told {
            _ if sockets.is_empty() => {}
            _ if close => self.0.session.close(),
            Ok(()) => {}
            Err(_) => self.close_slow(),
        }
    }

    /// The socket is not connected any more.
    pub(crate) fn closed(&self, reason: &DisconnectReason) {
        if !self.0.connected.swap(false, Ordering::AcqRel) {
            return;
        }
        let (acks, handler) = {
            let mut state = self.0.state.lock();
            let acks = state.more.as_mut().map(|more| std::mem::take(&mut more.acks));
            (acks.unwrap_or_default(), state.handlers.remove(DISCONNECT))
        };
        self.0.session.end_await(acks.len());
        for (waiter, at) in acks.into_values() {
            waiter.disconnected(at);
        }
        if let Some(handler) = handler {
            let context = Context { reason: Some(reason), ..Context::new(self, DISCONNECT) };
            let engine = self.0.namespace.0.engine.upgrade();
            // Any thread may disconnect a socket.
            match engine.as_ref().and_then(|engine| engine.runtime()) {
                Some(runtime) => runtime.enter(&mut || run(&*handler, &context)),
                None => run(&*handler, &context),
            }
        }
        self.0.namespace.0.members.write().remove(&self.0.id);
        self.release();
    }

    /// Lets go of the handlers, for good. They may hold the socket: this is where that circle ends.
    fn release(&self) {
        let released = {
            let mut state = self.0.state.lock();
            state.ended = true;
            state.take_early_rooms();
            let fallback = state.more.as_mut().and_then(|more| more.fallback.take());
            (std::mem::take(&mut state.handlers), fallback)
        };
        drop(released);
    }

    // For the server.

    /// The application has let the client in: tells it, and calls the handler of new sockets.
    pub(crate) fn accept(&self) {
        let session = &self.0.session;
        // What the handler does is done before the client can know that it is connected.
        session.cork();
        let told = session.with(|engine, state| {
            // After the end of the session nobody would take the socket out again.
            if engine.closed().is_some() || !state.accept(self.0.namespace.name(), self) {
                return None;
            }
            self.0.connected.store(true, Ordering::Release);
            let connected = Connected { sid: &self.0.id };
            Some(send_packet(engine, |encoder| encoder.connect(self.0.namespace.name(), &connected)))
        });
        match told {
            Some(Ok(())) => {
                let mut members = self.0.namespace.0.members.write();
                // Whoever disconnects it after this finds it among the members.
                let is_connected = self.is_connected();
                if is_connected {
                    let rooms = self.0.state.lock().take_early_rooms();
                    members.insert(self.clone(), rooms);
                }
                drop(members);
                if is_connected {
                    self.0.namespace.connected(self);
                }
            }
            Some(Err(_)) => self.close_slow(),
            None => self.release(),
        }
        session.uncork();
    }

    /// The application does not let the client in.
    pub(crate) fn refuse(&self, error: &ConnectError) {
        let told = self.0.session.with(|engine, state| match state.refuse(self.0.namespace.name(), self) {
            true => send_packet(engine, |encoder| encoder.connect_error(self.0.namespace.name(), error)),
            false => Ok(()),
        });
        if told.is_err() {
            self.close_slow();
        }
        self.release();
    }

    /// An event arrived.
    pub(crate) fn dispatch(&self, event: &str, args: socketio::Args<'_>, ack: Option<u64>) {
        let handler = {
            let state = self.0.state.lock();
            state.handlers.get(event).or_else(|| state.more.as_ref()?.fallback.clone())
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
        let entry = self.0.state.lock().forget_ack(id);
        if let Some((waiter, at)) = entry {
            self.0.session.end_await(1);
            waiter.acknowledge(at, args);
        }
    }

    pub(crate) fn expect_ack(&self, id: u64, waiter: Arc<Waiter>, at: u32) -> Result<(), EmitError> {
        let mut state = self.0.state.lock();
        // Looked at under the lock: the end of the socket takes what is there.
        if !self.is_connected() {
            return Err(EmitError::Disconnected);
        }
        let acks = &mut state.more().acks;
        if acks.len() >= MAX_ACKS {
            return Err(EmitError::TooManyAcks);
        }
        acks.insert(id, (waiter, at));
        self.0.session.begin_await();
        Ok(())
    }

    /// Whom to wake because an answer is expected, for which there is room.
    pub(crate) fn take_room(&self) -> Option<Waker> {
        self.0.session.take_room()
    }

    pub(crate) fn forget_ack(&self, id: u64) {
        let forgotten = self.0.state.lock().forget_ack(id);
        if forgotten.is_some() {
            self.0.session.end_await(1);
        }
    }

    /// Goes on with a handler in the background.
    pub(crate) fn spawn(&self, future: impl Future + Send + 'static) {
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
                match Guarded(decision).await {
                    Some(Ok(())) => socket.accept(),
                    Some(Err(error)) => socket.refuse(&error),
                    // A bug in the application lets nobody in, and leaves nobody waiting.
                    None => socket.refuse(&ConnectError::new("internal server error")),
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

impl Identified for Socket {
    fn id(&self) -> &Id {
        &self.0.id
    }
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

    /// Sends an event, and waits for the client's acknowledgement.
    pub fn emit_with_ack<T>(self, event: &str, args: impl Payload) -> AckFuture<T> {
        self.socket.ask(event, &args, self.timeout, self.volatile)
    }
}
