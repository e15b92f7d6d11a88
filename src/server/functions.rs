//! The functions that are registered once for all sockets of a namespace: handlers and middleware.

use super::Server;
use super::middleware::{self, AnyMiddleware, Middleware};
use super::missed::Missed;
use super::namespace::Namespace;
use super::parent::Parent;
use super::rooms::RoomHandler;
use super::server_side::ServerSide;
use super::socket::{DISCONNECT, DISCONNECTING, Socket};
use crate::append::{AppendList, Items};
use crate::error::{ConnectError, PacketError};
use crate::failed_event::FailedEvent;
use crate::handler::{Handler, Kept};
use crate::listeners::{Entry, On, SharedListeners};
use crate::log;
use crate::observe::{self, HandlerFailure};
use parking_lot::Mutex;
use smol_str::SmolStr;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// The functions of a namespace, or of the parent of dynamic namespaces. They live as long as it does.
#[derive(Default)]
pub(crate) struct Functions {
    /// The parent of a dynamic namespace, whose functions come before its own.
    parent: Option<Arc<Parent>>,
    connect: AppendList<Kept<Socket>>,
    middlewares: AppendList<Box<dyn AnyMiddleware<Result<(), ConnectError>>>>,
    packet_middlewares: AppendList<Box<dyn AnyMiddleware<Result<(), PacketError>>>>,
    listeners: SharedListeners<Socket>,
    renewals: AppendList<Renewal>,
    room_handlers: AppendList<RoomHandler>,
    server_side: AppendList<Entry<ServerSide>>,
    /// The events of clients that had no handler.
    missed: Mutex<Missed>,
}

/// The decision about the new credentials of clients whose credentials have expired.
pub(super) struct Renewal {
    /// The time for the client's answer and the decision together.
    pub(super) grace: Duration,
    pub(super) decide: Box<dyn AnyMiddleware<Result<Duration, ConnectError>>>,
}

impl Functions {
    /// Returns no functions but those of a parent.
    pub(super) fn inheriting(parent: Arc<Parent>) -> Functions {
        Functions { parent: Some(parent), ..Functions::default() }
    }

    pub(super) fn parent(&self) -> Option<&Arc<Parent>> {
        self.parent.as_ref()
    }

    /// Returns the functions of the parent.
    fn inherited(&self) -> Option<&Functions> {
        Some(&self.parent()?.namespace.0.functions)
    }

    pub(super) fn add_connect<P: 'static>(&self, handler: impl Handler<P>) {
        self.connect.push(Kept::new(handler));
    }

    pub(super) fn add_middleware<P: 'static>(&self, middleware: impl Middleware<P>) {
        self.middlewares.push(middleware::erase(middleware));
    }

    pub(super) fn add_packet_middleware<P: 'static>(
        &self,
        middleware: impl Middleware<P, Result<(), PacketError>>,
    ) {
        self.packet_middlewares.push(middleware::erase(middleware));
    }

    pub(super) fn add_listener<P: 'static>(&self, on: On, handler: impl Handler<P>) {
        self.listeners.push(on, Kept::new(handler));
    }

    /// Notes an event that has no handler, for this namespace and its parent.
    pub(super) fn miss(&self, event: &str) {
        self.missed.lock().note(event);
        if let Some(inherited) = self.inherited() {
            inherited.miss(event);
        }
    }

    /// Returns the name of the event, if it has arrived before its first handler was registered.
    fn take_missed(&self, on: &On) -> Option<SmolStr> {
        self.missed.lock().take(on)
    }

    pub(super) fn add_room_handler(&self, handler: RoomHandler) {
        self.room_handlers.push(handler);
    }

    pub(super) fn add_server_side(&self, listener: Entry<ServerSide>) {
        self.server_side.push(listener);
    }

    /// Returns the handlers for new sockets.
    pub(super) fn connect(&self) -> impl Iterator<Item = &Kept<Socket>> {
        self.each(|functions| &functions.connect)
    }

    /// Returns the middleware, in the order in which it is asked.
    pub(super) fn middlewares(&self) -> impl Iterator<Item = &dyn AnyMiddleware<Result<(), ConnectError>>> {
        self.each(|functions| &functions.middlewares).map(|middleware| &**middleware)
    }

    pub(super) fn has_middleware(&self) -> bool {
        self.middlewares().next().is_some()
    }

    /// Returns the packet middleware, in the order in which it is asked.
    pub(super) fn packet_middlewares(
        &self,
    ) -> impl Iterator<Item = &dyn AnyMiddleware<Result<(), PacketError>>> {
        self.each(|functions| &functions.packet_middlewares).map(|middleware| &**middleware)
    }

    pub(super) fn has_packet_middleware(&self) -> bool {
        !self.packet_middlewares.is_empty() || self.inherited().is_some_and(Functions::has_packet_middleware)
    }

    pub(super) fn has_listeners(&self) -> bool {
        !self.listeners.is_empty() || self.inherited().is_some_and(Functions::has_listeners)
    }

    /// Returns the listeners for the events of a name, of any socket.
    #[inline]
    pub(super) fn listeners_for(&self, event: &str) -> impl Iterator<Item = &Entry<Socket>> + Clone {
        self.each(|functions| functions.listeners.candidates(event))
            .filter(move |entry| entry.is_event(event))
    }

    /// Returns the other listeners of any socket.
    #[inline]
    pub(super) fn other_listeners(&self) -> impl Iterator<Item = &Entry<Socket>> + Clone {
        self.each(|functions| functions.listeners.others())
    }

    pub(super) fn add_renewal<P: 'static>(
        &self,
        grace: Duration,
        decide: impl Middleware<P, Result<Duration, ConnectError>>,
    ) {
        self.renewals.push(Renewal { grace, decide: middleware::erase(decide) });
    }

    /// Returns the renewal that was registered last, if possible that of this namespace alone.
    pub(super) fn renewal(&self) -> Option<&Renewal> {
        self.each(|functions| &functions.renewals).last()
    }

    pub(super) fn has_room_handlers(&self) -> bool {
        !self.room_handlers.is_empty() || self.inherited().is_some_and(Functions::has_room_handlers)
    }

    /// Returns the handlers of room events.
    pub(super) fn room_handlers(&self) -> impl Iterator<Item = &RoomHandler> {
        self.each(|functions| &functions.room_handlers)
    }

    /// Returns the listeners for the events of a name that other servers send.
    pub(super) fn server_side(&self, event: &str) -> impl Iterator<Item = &Entry<ServerSide>> + Clone {
        self.each(|functions| &functions.server_side).filter(move |entry| entry.is_event(event))
    }

    /// Returns what `list` finds in the functions that are inherited, and then in these.
    #[inline]
    fn each<'a, T>(&'a self, list: impl Fn(&'a Functions) -> &'a AppendList<T>) -> Items<'a, T> {
        match self.inherited() {
            None => list(self).iter(),
            Some(inherited) => list(inherited).chain(list(self)),
        }
    }
}

impl Namespace {
    /// Calls `handler` for each event of this name that a client of the namespace sends, after the handlers of the
    /// event that were registered before.
    ///
    /// It is registered once for all sockets, so it takes no memory and no time when a client connects, and is there
    /// before the client's first event. It cannot be removed, and lives as long as the namespace: it must not capture a
    /// handle of the namespace or the server, which would then never end, but can extract both, as it can everything that
    /// a [handler of a socket](Socket::on) can.
    ///
    /// Handlers of the namespace are called before those of the socket. The return value of the first handler that can be
    /// called is the acknowledgement, so if both could answer, the namespace does.
    ///
    /// ```
    /// use sockeye::extract::Data;
    /// use sockeye::{Server, Socket};
    ///
    /// let io = Server::new();
    /// let chat = io.of("/chat");
    /// // socket.emit("join", "lobby")
    /// chat.on("join", async |socket: Socket, Data(room): Data<String>| socket.try_join(room));
    /// // await socket.emitWithAck("add", 2, 3), which is 5
    /// chat.on("add", async |Data((a, b)): Data<(i64, i64)>| a + b);
    /// ```
    ///
    /// # Panics
    /// If the name is reserved: see [`Socket::on`].
    #[track_caller]
    pub fn on<P: 'static>(&self, event: impl Into<Cow<'static, str>>, handler: impl Handler<P>) {
        let on = On::event(event);
        if matches!(&on, On::Event(name) if name == "connection") {
            warn_connection(self.name());
        }
        let missed = self.0.functions.take_missed(&on);
        self.0.functions.add_listener(on, handler);
        if let Some(event) = missed {
            self.tell_late(&event);
        }
    }

    /// Tells that an event has arrived before its first handler was registered.
    #[cold]
    fn tell_late(&self, event: &str) {
        let failure = HandlerFailure::RegisteredLate;
        observe::log_namespace_failure(self.name(), event, failure);
        let Some(engine) = self.0.engine.upgrade() else { return };
        if let Some(function) = &engine.application.on_handler_error {
            FailedEvent::new(None, self.name(), event, failure, None).tell(function);
        }
    }

    /// Calls `handler` for every event that a client of the namespace sends, before the handlers of its name and before
    /// those of [`Socket::on_any`]. Its return value is not used as an acknowledgement.
    pub fn on_any<P: 'static>(&self, handler: impl Handler<P>) {
        self.0.functions.add_listener(On::Any, handler);
    }

    /// Calls `handler` for each event that has no handler of its own, neither here nor at its socket, after the fallback
    /// handlers that were registered before, and before those of [`Socket::on_fallback`]. The return value of the first
    /// that is called is the acknowledgement.
    pub fn on_fallback<P: 'static>(&self, handler: impl Handler<P>) {
        self.0.functions.add_listener(On::Unhandled, handler);
    }

    /// Calls `handler` once for each socket whose client moves from polling to WebSocket while it is connected to the
    /// namespace, before the handlers of [`Socket::on_upgrade`].
    ///
    /// ```
    /// use sockeye::{Server, Socket};
    ///
    /// let io = Server::new();
    /// io.on_upgrade(async |socket: Socket| println!("{} is on {}", socket.id(), socket.transport()));
    /// ```
    pub fn on_upgrade<P: 'static>(&self, handler: impl Handler<P>) {
        self.0.functions.add_listener(On::Upgrade, handler);
    }

    /// Asks `middleware` about each event that a client of the namespace sends, before any handler is called for it.
    ///
    /// Middleware is asked in the order of registration, that of the namespace before that of
    /// [`Socket::use_packet`]. If one returns `Err`, the event is refused: no further middleware is asked, no handler is
    /// called, those of [`on_error`](Namespace::on_error) are, and if the client asked for an acknowledgement, that is an
    /// object with the `message` and, if there are details, the `data` of the [`PacketError`]. Middleware can extract
    /// everything that a handler of the event can, except an acknowledgement. If it cannot be called, because the data is
    /// not of its type for example, or if it panics, the event is refused as well (`Invalid data`, `Internal error`).
    ///
    /// While middleware waits, later events of the same socket wait behind it, so that they are handled in order. Other
    /// sockets go on, but if 256 events and handlers of one client wait, it is not read until they are fewer. For each
    /// event, the middleware together has the time of
    /// [`ServerBuilder::packet_timeout`](crate::ServerBuilder::packet_timeout), after which the event is refused
    /// (`timeout`). Events that still wait when their socket is disconnected are dropped.
    ///
    /// ```
    /// use sockeye::extract::{Data, Event};
    /// use sockeye::{PacketError, Server, Socket};
    ///
    /// struct Admin;
    ///
    /// let io = Server::new();
    /// // await socket.emitWithAck("delete", 7), which is { message: "not allowed", data: { event: "delete" } }
    /// io.use_packet(async |socket: Socket, Event(event): Event| {
    ///     if event == "delete" && socket.data::<Admin>().is_none() {
    ///         return Err(PacketError::new("not allowed").data(serde_json::json!({ "event": event })));
    ///     }
    ///     Ok(())
    /// });
    /// io.on("delete", async |Data(number): Data<u32>| format!("{number} is deleted"));
    /// ```
    #[doc(alias = "use")]
    pub fn use_packet<P: 'static>(&self, middleware: impl Middleware<P, Result<(), PacketError>>) {
        self.0.functions.add_packet_middleware(middleware);
    }

    /// Calls `handler` for each event that a packet middleware refused, before the handlers of [`Socket::on_error`]. It
    /// can extract the [`PacketError`], and the name and the arguments of the event. Its return value is ignored.
    ///
    /// ```
    /// use sockeye::extract::Event;
    /// use sockeye::{PacketError, Server, Socket};
    ///
    /// let io = Server::new();
    /// io.on_error(async |socket: Socket, Event(event): Event, error: PacketError| {
    ///     println!("{}: {event:?} is refused: {error}", socket.id());
    /// });
    /// ```
    pub fn on_error<P: 'static>(&self, handler: impl Handler<P>) {
        self.0.functions.add_listener(On::Refused, handler);
    }

    /// Asks clients whose credentials have [expired](Socket::authenticated_for) for new ones, instead of disconnecting them
    /// at once.
    ///
    /// The client is sent the event [`auth:renew`](crate::AUTH_RENEW), and acknowledges it with its new `auth`. `decide`
    /// can extract that as [`Data<T>`](crate::extract::Data), and everything else that a handler of an event can;
    /// [`Auth<T>`](crate::extract::Auth) is still that of the connect. It returns the time for which the new credentials
    /// are valid, or a refusal, which is only logged; less than a second is a refusal, too. If it refuses, cannot be called
    /// or panics, or if answer and decision together take longer than `grace`, the socket is disconnected
    /// ([`AuthExpired`](crate::DisconnectReason::AuthExpired)), unless the application has called
    /// [`authenticated_for`](Socket::authenticated_for) meanwhile. Until then the events of the client are handled: to
    /// stop that when a token ends, call `authenticated_for` with a time that is shorter by `grace`.
    ///
    /// A later registration replaces an earlier one, and that of a namespace the one of its parent.
    ///
    /// ```
    /// use serde::Deserialize;
    /// use sockeye::extract::{Auth, Data};
    /// use sockeye::{ConnectError, Server, Socket};
    /// use std::time::Duration;
    ///
    /// #[derive(Deserialize)]
    /// struct Login {
    ///     token: String,
    /// }
    ///
    /// /// Returns the time for which the token is still valid.
    /// async fn check(login: Login) -> Result<Duration, ConnectError> {
    ///     if login.token == "secret" { Ok(Duration::from_secs(900)) } else { Err("wrong token".into()) }
    /// }
    ///
    /// let io = Server::new();
    /// io.middleware(async |socket: Socket, Auth(login): Auth<Login>| {
    ///     socket.authenticated_for(check(login).await?);
    ///     Ok(())
    /// });
    /// io.renew_auth(Duration::from_secs(10), async |Data(login): Data<Login>| check(login).await);
    /// ```
    pub fn renew_auth<P: 'static>(
        &self,
        grace: Duration,
        decide: impl Middleware<P, Result<Duration, ConnectError>>,
    ) {
        self.0.functions.add_renewal(grace, decide);
    }

    /// Calls `handler` once for each socket that is being disconnected, before the socket leaves its rooms and before the
    /// handlers of [`on_disconnect`](Namespace::on_disconnect). It can extract the
    /// [`DisconnectReason`](crate::DisconnectReason). Nothing can be sent to the socket itself any more.
    ///
    /// ```
    /// use sockeye::{Server, Socket};
    ///
    /// let io = Server::new();
    /// io.on_disconnecting(async |socket: Socket| {
    ///     for room in socket.rooms() {
    ///         socket.to(room).emit("left", socket.id());
    ///     }
    /// });
    /// ```
    pub fn on_disconnecting<P: 'static>(&self, handler: impl Handler<P>) {
        self.0.functions.add_listener(On::Event(DISCONNECTING.into()), handler);
    }

    /// Calls `handler` once for each socket that is disconnected, before the handlers of
    /// [`Socket::on_disconnect`], whose description applies to it as well.
    ///
    /// ```
    /// use sockeye::{DisconnectReason, Server, Socket};
    ///
    /// let io = Server::new();
    /// io.on_disconnect(async |socket: Socket, reason: DisconnectReason| {
    ///     println!("{} left {:?}: {reason}", socket.id(), socket.rooms());
    /// });
    /// ```
    pub fn on_disconnect<P: 'static>(&self, handler: impl Handler<P>) {
        self.0.functions.add_listener(On::Event(DISCONNECT.into()), handler);
    }
}

/// Tells that a handler of events named `connection` is not called for clients that connect, as it is in Node.js. The name
/// is not reserved: a client may send such an event.
#[cold]
fn warn_connection(namespace: &str) {
    const HINT: &str = "it is called only if a client sends an event of this name: for clients that connect, use `on_connect`";
    log::print_once("connection", format_args!("a handler of \"connection\" in {namespace:?}: {HINT}"));
    log::warn!(event = %"connection", namespace = ?namespace, cause = %HINT, "a handler is named `connection`");
}

impl Server {
    /// Calls `handler` for each event of this name that a client of the main namespace sends: see [`Namespace::on`].
    ///
    /// # Panics
    /// If the name is reserved: see [`Socket::on`].
    #[track_caller]
    pub fn on<P: 'static>(&self, event: impl Into<Cow<'static, str>>, handler: impl Handler<P>) {
        self.of("/").on(event, handler);
    }

    /// Calls `handler` for every event that a client of the main namespace sends: see [`Namespace::on_any`].
    pub fn on_any<P: 'static>(&self, handler: impl Handler<P>) {
        self.of("/").on_any(handler);
    }

    /// Calls `handler` for each event in the main namespace that has no handler of its own: see
    /// [`Namespace::on_fallback`].
    pub fn on_fallback<P: 'static>(&self, handler: impl Handler<P>) {
        self.of("/").on_fallback(handler);
    }

    /// Calls `handler` once for each socket of the main namespace whose client moves from polling to WebSocket: see
    /// [`Namespace::on_upgrade`].
    pub fn on_upgrade<P: 'static>(&self, handler: impl Handler<P>) {
        self.of("/").on_upgrade(handler);
    }

    /// Asks `middleware` about each event that a client of the main namespace sends: see [`Namespace::use_packet`].
    #[doc(alias = "use")]
    pub fn use_packet<P: 'static>(&self, middleware: impl Middleware<P, Result<(), PacketError>>) {
        self.of("/").use_packet(middleware);
    }

    /// Calls `handler` for each event in the main namespace that a packet middleware refused: see
    /// [`Namespace::on_error`].
    pub fn on_error<P: 'static>(&self, handler: impl Handler<P>) {
        self.of("/").on_error(handler);
    }

    /// Asks clients of the main namespace whose credentials have expired for new ones: see [`Namespace::renew_auth`].
    pub fn renew_auth<P: 'static>(
        &self,
        grace: Duration,
        decide: impl Middleware<P, Result<Duration, ConnectError>>,
    ) {
        self.of("/").renew_auth(grace, decide);
    }

    /// Calls `handler` once for each socket of the main namespace that is being disconnected: see
    /// [`Namespace::on_disconnecting`].
    pub fn on_disconnecting<P: 'static>(&self, handler: impl Handler<P>) {
        self.of("/").on_disconnecting(handler);
    }

    /// Calls `handler` once for each socket of the main namespace that is disconnected: see
    /// [`Namespace::on_disconnect`].
    pub fn on_disconnect<P: 'static>(&self, handler: impl Handler<P>) {
        self.of("/").on_disconnect(handler);
    }
}
