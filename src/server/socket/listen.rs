//! The handlers of a socket: registration and calls.

use super::state::{Stage, State};
use super::{DISCONNECT, DISCONNECTING, Socket};
use crate::extract::Context;
use crate::handler::{AnySocket, Handler, Kept, run};
use crate::listeners::On;
use crate::observe::HandlerFailure;
use sockeye_core::socketio::OwnedArgs;
use std::borrow::Cow;
use std::sync::atomic::Ordering;

impl Socket {
    /// Calls `handler` for each event of this name, after the handlers of the event that were registered before.
    ///
    /// Handlers start in the order in which the client sent the events. If the event's data is not of the handler's
    /// type, it is not called: see [`extract`](crate::extract). The return value of the first handler of an event that
    /// is called is the acknowledgement, if the client wants one.
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
    /// If the name is [reserved](sockeye_core::socketio::is_reserved), because no such event can arrive: `connect`,
    /// `connect_error`, `disconnect` (see [`on_disconnect`](Socket::on_disconnect)), `disconnecting`, `newListener`,
    /// `removeListener`.
    pub fn on<P: 'static>(&self, event: impl Into<Cow<'static, str>>, handler: impl Handler<P>) {
        self.listen_to(On::event(event), Kept::new(handler), false);
    }

    /// Calls `handler` for the next event of this name only: see [`on`](Socket::on).
    ///
    /// # Panics
    /// If the name is reserved.
    pub fn once<P: 'static>(&self, event: impl Into<Cow<'static, str>>, handler: impl Handler<P>) {
        self.listen_to(On::event(event), Kept::new(handler), true);
    }

    /// Removes the handlers of the events of this name.
    pub fn off(&self, event: &str) {
        if !sockeye_core::socketio::is_reserved(event) {
            self.remove(&On::Event(event.to_owned().into()));
        }
    }

    /// Calls `handler` for every event that arrives, before the handlers of its name. Its return value is not
    /// used as an acknowledgement.
    ///
    /// ```
    /// use sockeye::extract::Event;
    /// use sockeye::{Args, Socket};
    ///
    /// # let io = sockeye::Server::new();
    /// # io.on_connect(async |socket: Socket| {
    /// socket.on_any(async |Event(name): Event, args: Args| println!("{name} with {} arguments", args.len()));
    /// # });
    /// ```
    pub fn on_any<P: 'static>(&self, handler: impl Handler<P>) {
        let handler = Kept::new(handler);
        self.listen(|state| state.listeners.add(On::Any, handler));
    }

    /// Does the same as [`on_any`](Socket::on_any), but calls `handler` before those that were registered earlier.
    pub fn prepend_any<P: 'static>(&self, handler: impl Handler<P>) {
        let handler = Kept::new(handler);
        self.listen(|state| state.listeners.prepend(On::Any, handler));
    }

    /// Removes the handlers of [`on_any`](Socket::on_any).
    pub fn off_any(&self) {
        self.remove(&On::Any);
    }

    /// Calls `handler` for every event that is sent to this client, broadcasts included, once it is queued.
    /// Its return value is ignored.
    ///
    /// The handler starts on the thread that emits, before that call returns, so do not emit while holding a
    /// lock that the handler takes. Acknowledgements are not events.
    pub fn on_any_outgoing<P: 'static>(&self, handler: impl Handler<P>) {
        let handler = Kept::new(handler);
        self.listen(|state| state.listeners.add(On::AnyOutgoing, handler));
        self.follow_outgoing();
    }

    /// Does the same as [`on_any_outgoing`](Socket::on_any_outgoing), but calls `handler` before those that were
    /// registered earlier.
    pub fn prepend_any_outgoing<P: 'static>(&self, handler: impl Handler<P>) {
        let handler = Kept::new(handler);
        self.listen(|state| state.listeners.prepend(On::AnyOutgoing, handler));
        self.follow_outgoing();
    }

    /// Removes the handlers of [`on_any_outgoing`](Socket::on_any_outgoing).
    pub fn off_any_outgoing(&self) {
        self.remove(&On::AnyOutgoing);
        self.follow_outgoing();
    }

    /// Calls `handler` for each event that has no handler of its own, after the fallback handlers that were
    /// registered before. The return value of the first that is called is the acknowledgement.
    ///
    /// ```
    /// use sockeye::extract::Event;
    /// use sockeye::{Args, Socket};
    ///
    /// # let io = sockeye::Server::new();
    /// # io.on_connect(async |socket: Socket| {
    /// // Forwards every event.
    /// socket.on_fallback(async |socket: Socket, Event(name): Event, args: Args| {
    ///     socket.broadcast().emit(&name, args);
    /// });
    /// # });
    /// ```
    pub fn on_fallback<P: 'static>(&self, handler: impl Handler<P>) {
        let handler = Kept::new(handler);
        self.listen(|state| state.listeners.add(On::Unhandled, handler));
    }

    /// Calls `handler` once the socket is being disconnected, before it leaves its rooms, after the handlers of
    /// [`Namespace::on_disconnecting`](crate::Namespace::on_disconnecting) and before those of
    /// [`on_disconnect`](Socket::on_disconnect). It can extract the [`DisconnectReason`](crate::DisconnectReason).
    ///
    /// Until the handler's first wait, the socket is still a member of its rooms, and
    /// [`Namespace::socket`](crate::Namespace::socket) no longer finds it. Nothing can be sent to the socket itself any
    /// more, and a room that it joins is left with the others. A handler that is registered after the disconnection is
    /// not called.
    ///
    /// ```
    /// use sockeye::Socket;
    ///
    /// # let io = sockeye::Server::new();
    /// # io.on_connect(async |socket: Socket| {
    /// socket.on_disconnecting(async |socket: Socket| {
    ///     for room in socket.rooms() {
    ///         socket.to(room).emit("left", socket.id());
    ///     }
    /// });
    /// # });
    /// ```
    pub fn on_disconnecting<P: 'static>(&self, handler: impl Handler<P>) {
        let handler = Kept::new(handler);
        self.listen(|state| state.listeners.add(On::Event(DISCONNECTING.into()), handler));
    }

    /// Calls `handler` once the socket is disconnected, after the handlers that were registered before. It
    /// can extract the [`DisconnectReason`](crate::DisconnectReason). Until its first wait it still sees the
    /// socket's rooms, but a message to them no longer reaches the socket.
    ///
    /// The handlers run once, and only for a socket that [`on_connect`](crate::Namespace::on_connect) was called for:
    /// not if the client went before that. They never run concurrently with the
    /// part of [`on_connect`](crate::Namespace::on_connect) before its first wait, but after it. If an
    /// `on_connect` that waits registers the first one only after the socket was disconnected, the runtime
    /// calls it soon. Event handlers that are registered after the end are dropped, because no event can
    /// arrive any more.
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
        let handler = Kept::new(handler);
        let mut state = self.0.state.lock();
        // In one critical section: otherwise the socket could end between the check and the addition.
        let reason = if state.stage == Stage::Entering { None } else { state.untold().cloned() };
        if let Some(reason) = reason {
            drop(state);
            // Not called in place, because the caller may hold a lock that the handler takes.
            let socket = self.clone();
            self.spawn(async move {
                let context = Context { cause: Some(&reason), ..Context::new(&socket, DISCONNECT) };
                run(&*handler, &context);
            });
        } else if state.stage != Stage::Ended {
            state.listeners.add(On::Event(DISCONNECT.into()), handler);
        } else {
            drop(state);
            // The handler's captures belong to the application: their destructors may use the socket.
            drop(handler);
        }
    }

    /// Adds a listener for the events of one name, and tells if one of them has arrived before.
    fn listen_to(&self, on: On, handler: Kept<Socket>, once: bool) {
        let mut missed = None;
        self.listen(|state| {
            missed = state.take_missed(&on);
            match once {
                true => state.listeners.add_once(on, handler),
                false => state.listeners.add(on, handler),
            }
        });
        if let Some(event) = missed {
            self.tell_failure(&event, HandlerFailure::RegisteredLate, None);
        }
    }

    /// Adds a listener, unless the socket has ended, because nothing would remove it again.
    pub(super) fn listen(&self, add: impl FnOnce(&mut State)) {
        let mut state = self.0.state.lock();
        if state.stage != Stage::Ended {
            self.0.listens.store(true, Ordering::Release);
            return add(&mut state);
        }
        // The listener's captures belong to the application: their destructors may use the socket.
        drop(state);
        drop(add);
    }

    fn remove(&self, on: &On) {
        let removed = self.0.state.lock().listeners.remove(on);
        // The listeners' captures belong to the application: their destructors may use the socket.
        drop(removed);
    }

    /// Notes whether there are listeners for outgoing events, so that other sockets do not pay for them.
    pub(super) fn follow_outgoing(&self) {
        let state = self.0.state.lock();
        let listens = state.listeners.has(&On::AnyOutgoing);
        if self.0.outgoing.swap(listens, Ordering::Relaxed) != listens {
            let watched = &self.0.namespace.0.watched;
            match listens {
                true => watched.fetch_add(1, Ordering::Relaxed),
                false => watched.fetch_sub(1, Ordering::Relaxed),
            };
        }
    }

    /// Returns whether there are listeners for outgoing events.
    pub(crate) fn is_watched(&self) -> bool {
        self.0.outgoing.load(Ordering::Relaxed)
    }

    /// Calls listeners inside of the runtime, because the caller may be any thread.
    pub(super) fn call_inside<'a>(&self, listeners: &[Kept<Socket>], context: impl Fn() -> Context<'a>) {
        if listeners.is_empty() {
            return;
        }
        let mut call = || listeners.iter().for_each(|listener| run(&**listener, &context()));
        let engine = self.0.namespace.0.engine.upgrade();
        match engine.as_ref().and_then(|engine| engine.runtime()) {
            Some(runtime) => runtime.enter(&mut call),
            None => call(),
        }
    }

    /// Calls the listeners for outgoing events. The caller must hold no lock.
    pub(crate) fn tell_outgoing(&self, event: &str, args: &OwnedArgs) {
        let listeners = self.0.state.lock().listeners.all(&On::AnyOutgoing);
        let args = args.as_args();
        self.call_inside(&listeners, || Context { args: Some(&args), ..Context::new(self, event) });
    }
}
