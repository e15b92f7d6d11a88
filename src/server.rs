//! The Socket.IO server: its settings, its namespaces, and the handling of its clients' messages.

mod extract;

use crate::ack::AcksFuture;
use crate::broadcast::{Broadcast, Delivery};
use crate::engine::{self, CloseReason, Connection, Handshake, Message, Session, Transport};
use crate::error::{ConnectError, DisconnectReason};
use crate::handler::{Handler, Middleware};
use crate::log::debug;
use crate::namespace::{Namespace, NamespaceError, check_name, with_slash};
use crate::payload::{Payload, send_packet};
use crate::socket::Socket;
use parking_lot::RwLock;
use sockeye_core::Time;
use sockeye_core::host::{Host, Keeper, Peer, Runtime};
use sockeye_core::http::{Cookie, Cors};
use sockeye_core::socketio::{self, Attached, Joining, Limits, Packet, Received, Text};
#[cfg(feature = "deflate")]
use sockeye_core::websocket::PerMessageDeflate;
use std::any::{Any, TypeId};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

/// A Socket.IO server: a handle that is cheap to clone.
///
/// It does nothing by itself: a runtime drives it (`sockeye::tokio::listen`, `sockeye::smol::listen`), or
/// your own event loop, through [`Host`]. The methods that name no namespace apply to the main one, `/`.
///
/// When its last handle is dropped, the server ends: the remaining clients are dropped, and their sockets
/// disconnected. A function that serves holds a handle, and so does each connection.
///
/// It can be used from any thread, before and while it is driven:
///
/// ```
/// use sockeye::Server;
///
/// let io = Server::new();
/// let clock = io.clone();
/// std::thread::spawn(move || clock.emit("date", 1_750_000_000));
/// ```
#[derive(Clone)]
pub struct Server {
    pub(crate) engine: engine::Server<App>,
}

/// The settings of a [`Server`]. Names and defaults are those of the reference, if it has the setting.
///
/// ```
/// use sockeye::{Cors, InvalidHeader, Server};
/// use std::time::Duration;
///
/// let io = Server::builder()
///     .cors(Cors::origins(["https://example.com"])?)
///     .ping_interval(Duration::from_secs(10))
///     .max_payload(100_000)
///     .build();
/// # Ok::<(), InvalidHeader>(())
/// ```
#[derive(Debug)]
#[must_use = "there is no server until it is built"]
pub struct Builder {
    engine: engine::Builder<App>,
}

/// The Engine.IO server below this one.
pub(crate) type Engine = engine::ServerInner<App>;

/// The Socket.IO layer on top of the Engine.IO sessions.
#[doc(hidden)]
#[allow(missing_debug_implementations)]
pub struct App {
    limits: Limits,
    connect_timeout: Duration,
    pub(crate) ack_timeout: Duration,
    pub(crate) max_rooms: usize,
    namespaces: RwLock<HashMap<Arc<str>, Namespace>>,
    state: HashMap<TypeId, Box<dyn Any + Send + Sync>>,
}

impl Server {
    /// Returns a server with the default settings, at `/socket.io/`.
    pub fn new() -> Server {
        Server::builder().build()
    }

    /// Returns a builder with the default settings.
    pub fn builder() -> Builder {
        let app = App {
            limits: Limits::default(),
            connect_timeout: Duration::from_secs(45),
            ack_timeout: Duration::from_secs(30),
            max_rooms: 100_000,
            namespaces: RwLock::default(),
            state: HashMap::new(),
        };
        Builder { engine: engine::Server::builder(app).path("/socket.io") }
    }

    pub(crate) fn from_engine(engine: Arc<Engine>) -> Server {
        Server { engine: engine::Server(engine) }
    }

    /// Returns a namespace, and creates it if it does not exist. The leading slash of its name may be left
    /// out.
    ///
    /// Clients can connect only to namespaces created here, and are refused elsewhere (`Invalid namespace`).
    /// A namespace lives as long as the server: do not create one for each name that a client sends.
    ///
    /// ```
    /// # let io = sockeye::Server::new();
    /// io.of("/admin").on_connect(async |socket: sockeye::Socket| {
    ///     socket.join("admins");
    /// });
    /// ```
    ///
    /// # Panics
    /// If no client could connect to it: the name contains a comma, a question mark or U+001E, or is longer
    /// than [`Limits::max_namespace_len`]. For a name that is not a literal, use [`try_of`](Server::try_of).
    #[track_caller]
    pub fn of(&self, name: &str) -> Namespace {
        match self.try_of(name) {
            Ok(namespace) => namespace,
            Err(error) => panic!("{error}: {name:?}"),
        }
    }

    /// Does the same as [`of`](Server::of), for names that come from elsewhere.
    ///
    /// ```
    /// # let io = sockeye::Server::new();
    /// assert_eq!(io.try_of("/Acme, Inc.").unwrap_err(), sockeye::NamespaceError::Comma);
    /// ```
    ///
    /// # Errors
    /// If the name is one that no client could connect to: the [`NamespaceError`] says why.
    pub fn try_of(&self, name: &str) -> Result<Namespace, NamespaceError> {
        let name = with_slash(name);
        let app = self.engine.handler();
        if let Some(namespace) = app.namespace(&name) {
            return Ok(namespace);
        }
        check_name(&name, app.limits.max_namespace_len)?;
        let mut namespaces = app.namespaces.write();
        let engine = Arc::downgrade(&self.engine.0);
        Ok(namespaces.entry(name.as_ref().into()).or_insert_with(|| Namespace::new(&name, engine)).clone())
    }

    /// Calls `handler` for each client that has connected to the main namespace: see [`Namespace::on_connect`].
    pub fn on_connect<P: 'static>(&self, handler: impl Handler<P>) {
        self.of("/").on_connect(handler);
    }

    /// Calls `middleware` for each client that wants to connect to the main namespace: see
    /// [`Namespace::middleware`].
    pub fn middleware<P: 'static>(&self, middleware: impl Middleware<P>) {
        self.of("/").middleware(middleware);
    }

    /// Sends to every socket of the main namespace: see [`Broadcast::emit`].
    pub fn emit(&self, event: &str, args: impl Payload) -> Delivery {
        self.of("/").emit(event, args)
    }

    /// Sends to every socket of the main namespace, and waits for their acknowledgements: see
    /// [`Broadcast::emit_with_ack`].
    pub fn emit_with_ack<T>(&self, event: &str, args: impl Payload) -> AcksFuture<T> {
        self.of("/").emit_with_ack(event, args)
    }

    /// Targets the sockets in a room of the main namespace.
    pub fn to(&self, room: impl AsRef<str>) -> Broadcast {
        self.of("/").to(room)
    }

    /// Does the same as [`to`](Server::to).
    pub fn within(&self, room: impl AsRef<str>) -> Broadcast {
        self.of("/").within(room)
    }

    /// Targets every socket of the main namespace except those in a room.
    pub fn except(&self, room: impl AsRef<str>) -> Broadcast {
        self.of("/").except(room)
    }

    /// Targets only the sockets of this server, if there are several servers. No adapter connects several
    /// servers yet.
    pub fn local(&self) -> Broadcast {
        self.of("/").local()
    }

    /// Targets the main namespace with messages that are dropped for clients that are not ready for them.
    pub fn volatile(&self) -> Broadcast {
        self.of("/").volatile()
    }

    /// Sets how long to wait for acknowledgements from the main namespace.
    pub fn timeout(&self, timeout: Duration) -> Broadcast {
        self.of("/").timeout(timeout)
    }

    /// Returns the sockets that are connected to the main namespace at present.
    pub fn sockets(&self) -> Vec<Socket> {
        self.of("/").sockets()
    }

    /// Returns the number of clients, in any namespace.
    pub fn clients_count(&self) -> usize {
        self.engine.sessions_count()
    }

    /// Closes the server: no further client is accepted, the messages that are queued are sent, and every
    /// client's connection is closed. Clients of the reference see `transport close` and try to connect
    /// again, so that a restart is a short pause; in [`on_disconnect`](Socket::on_disconnect) the reason is
    /// `server shutting down`.
    ///
    /// Returns when the last client has gone. It always does, because each client has a deadline: one that
    /// polls has 30 s to fetch the close packet. `listen` and `serve` return then, too, unless their future
    /// was dropped before, for example by a `select!` with a signal. If `main` waits for them, do the
    /// remaining work after them: a task that waits here may never be polled again.
    ///
    /// ```no_run
    /// # #[cfg(feature = "tokio")]
    /// # async fn example() -> std::io::Result<()> {
    /// let io = sockeye::Server::new();
    /// let closing = io.clone();
    /// tokio::spawn(async move {
    ///     // An error means that there is no such signal here.
    ///     if tokio::signal::ctrl_c().await.is_ok() {
    ///         closing.close().await;
    ///     }
    /// });
    /// sockeye::tokio::listen(io, "0.0.0.0:3000").await?;
    /// println!("every client has gone");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn close(&self) {
        self.engine.close().await;
    }

    /// Does the first half of [`close`](Server::close): closes every client, but does not wait until they
    /// have gone.
    pub fn begin_close(&self) {
        self.engine.begin_close();
    }
}

impl Default for Server {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("clients", &self.clients_count()).finish_non_exhaustive()
    }
}

impl Host for Server {
    type Connection = Connection<App>;

    fn attach(&self, runtime: Arc<dyn Runtime>) -> Arc<dyn Runtime> {
        self.engine.attach(runtime)
    }

    fn accept(&self, now: Time, peer: Peer) -> Self::Connection {
        self.engine.accept(now, peer)
    }

    fn next_deadline(&self) -> Option<Time> {
        self.engine.next_deadline()
    }

    fn handle_timeout(&self, now: Time) {
        self.engine.handle_timeout(now);
    }

    fn set_timer_waker(&self, waker: &Waker) {
        self.engine.set_timer_waker(waker);
    }

    fn remove_timer_waker(&self, waker: &Waker) {
        self.engine.remove_timer_waker(waker);
    }

    fn keeper(&self) -> Option<Keeper<Self>> {
        let keeper = self.engine.keeper()?;
        Some(Box::new(move || Some(Server { engine: keeper()? })))
    }

    fn is_closed(&self) -> bool {
        self.engine.is_closed()
    }
}

impl App {
    fn namespace(&self, name: &str) -> Option<Namespace> {
        self.namespaces.read().get(name).cloned()
    }

    pub(crate) fn state<T: Clone + 'static>(&self) -> Option<T> {
        self.state.get(&TypeId::of::<T>())?.downcast_ref::<T>().cloned()
    }

    fn connect(&self, session: &Session<App>, packet: Packet<'_>) {
        let Some(namespace) = self.namespace(packet.namespace) else {
            return refuse(session, packet.namespace, "Invalid namespace");
        };
        let Some(id) = engine::random_id() else {
            return session.close_with(CloseReason::ForcedClose(Some("no randomness for an id".into())));
        };
        let socket = Socket::new(namespace.clone(), session.clone(), id, packet.data);
        let name = namespace.0.name.clone();
        let begun = session.peek(|engine, state| match engine.closed() {
            None => state.begin_connect(name, &socket, engine.queued() == 0, &self.limits),
            // After the end of the session nothing would remove the socket again.
            Some(_) => Ok(Joining::Pending),
        });
        match begun {
            Ok(Joining::Begun) => socket.connect(),
            Ok(Joining::Pending) => {}
            Ok(Joining::TooMany) => refuse(session, packet.namespace, "too many namespaces"),
            Err(error) => session.close_with(CloseReason::ForcedClose(Some(error.to_string()))),
        }
    }

    fn packet(&self, socket: &Socket, packet: Packet<'_>, attachments: Attached<'_>) {
        let Some(args) = packet.args(attachments) else { return };
        match (packet.event(), packet.id) {
            (Some(event), id) => socket.dispatch(&event, args, id),
            (None, Some(id)) => socket.acknowledged(id, args),
            (None, None) => {}
        }
    }
}

/// Tells a client that it may not connect to a namespace. Its connection stays open.
fn refuse(session: &Session<App>, namespace: &str, message: &str) {
    let error = ConnectError::new(message);
    let told =
        session.with(|engine, _| send_packet(engine, |encoder| encoder.connect_error(namespace, &error)));
    if told.is_err() {
        session.close_slow();
    }
}

impl engine::Handler for App {
    type State = socketio::Session<Socket>;

    fn on_open(&self, session: &Session<Self>) {
        let now = session.now();
        session.peek(|_, state| state.open(now, self.connect_timeout));
    }

    fn on_message(&self, session: &Session<Self>, message: Message<'_>) {
        let received = match &message {
            Message::Text(text) => {
                // Read without the lock, so that threads that send to this client need not wait.
                let text = Text::read(text, &self.limits);
                session.peek(|engine, state| {
                    match state.handle_text(engine.last_heard(), text, &self.limits) {
                        Ok(Received::Disconnect(socket)) if !socket.set_left() => Ok(Received::Nothing),
                        received => received,
                    }
                })
            }
            Message::Binary(data) => session.peek(|_, state| state.handle_binary(data, &self.limits)),
        };
        match received {
            Ok(Received::Packet(socket, packet)) => self.packet(&socket, packet, Attached::default()),
            Ok(Received::Complete(socket, complete)) => {
                self.packet(&socket, complete.packet(), complete.attachments());
            }
            Ok(Received::Connect(packet)) => self.connect(session, packet),
            Ok(Received::Disconnect(socket)) => socket.closed(&DisconnectReason::ClientNamespaceDisconnect),
            // Updates the session's deadline: attachments that follow have to arrive in time.
            Ok(Received::Nothing) => session.with(|_, _| ()),
            Err(error) => {
                debug!(%error, "a client broke the protocol");
                session.close_with(CloseReason::ForcedClose(Some(error.to_string())));
            }
        }
    }

    fn on_close(&self, session: &Session<Self>, reason: &CloseReason) {
        let sockets: Vec<Socket> =
            session.peek(|_, state| state.take_all().filter(Socket::set_left).collect());
        for socket in sockets {
            socket.closed(&DisconnectReason::Closed(reason.clone()));
        }
    }

    fn next_deadline(state: &Self::State) -> Option<Time> {
        state.next_deadline()
    }

    fn handle_timeout(state: &mut Self::State, now: Time) -> Option<CloseReason> {
        let error = state.handle_timeout(now).err()?;
        Some(CloseReason::ForcedClose(Some(error.to_string())))
    }
}

/// Defines methods that only forward a setting to the layer below.
macro_rules! pass_on {
    ($($(#[$doc:meta])* $name:ident($argument:ident: $type:ty);)*) => {$(
        $(#[$doc])*
        pub fn $name(mut self, $argument: $type) -> Self {
            self.engine = self.engine.$name($argument);
            self
        }
    )*};
}

impl Builder {
    pass_on! {
        /// Sets the path of the requests. Default: `/socket.io`.
        path(path: impl Into<String>);
        /// Sets the time from the handshake or a pong to the next ping. Default: 25 s.
        ping_interval(interval: Duration);
        /// Sets the time for a pong, after which the client is closed. Default: 20 s.
        ping_timeout(timeout: Duration);
        /// Sets the time for an upgrade, after which it is abandoned and polling continues. Default: 10 s.
        upgrade_timeout(timeout: Duration);
        /// Sets the time for [`allow_request`](Builder::allow_request), after which the request is refused
        /// with status 503. Default: 30 s.
        allow_timeout(timeout: Duration);
        /// Sets the maximum size of a message or a request body, in bytes. Default: 1,000,000; the
        /// reference's `maxHttpBufferSize`.
        max_payload(bytes: usize);
        /// Sets the time for the body of a request to arrive, counted from its head, after which the request
        /// is refused with status 408 and the session is closed. Default: 30 s; the reference's
        /// `httpRequestBodyTimeout`.
        request_body_timeout(timeout: Duration);
        /// Sets how many bytes may be queued for a client that does not read, before it is closed. Default: 4
        /// MiB.
        send_buffer(bytes: usize);
        /// Sets which transports may be used. Default: both.
        transports(transports: impl IntoIterator<Item = Transport>);
        /// Sets whether a polling session may upgrade to WebSocket. Default: `true`.
        allow_upgrades(allow: bool);
        /// Sets which WebSocket subprotocols (`Sec-WebSocket-Protocol`) are accepted: the server selects the
        /// first one named here that the client offers. If there is none, the response names none, and
        /// browsers close the connection. Default: any, so the first one that the client offers is selected.
        subprotocols(names: impl IntoIterator<Item = impl Into<String>>);
        /// Sets which pages of other origins may use the server over polling. Default: none, so a page from
        /// another origin fails to connect, because clients begin with polling.
        ///
        /// Browsers do not apply this to WebSocket; to restrict that, check the `Origin` header in
        /// [`allow_request`](Builder::allow_request).
        cors(cors: Cors);
        /// Sets a cookie with the session's id, for load balancers with sticky sessions. Default: none.
        cookie(cookie: Cookie);
    }

    /// Compresses WebSocket messages of 1024 bytes and more for clients that ask for it, and reads compressed
    /// ones (permessage-deflate, RFC 7692). Default: off, as in the reference, because compression takes time
    /// and most messages are short.
    ///
    /// Neither side keeps a window between messages, so that an idle client costs no memory, and a broadcast
    /// is compressed once for all of its clients. A client's message must not exceed
    /// [`max_payload`](Builder::max_payload), neither as received nor inflated.
    ///
    /// ```
    /// use sockeye::{PerMessageDeflate, Server};
    ///
    /// let io = Server::builder().per_message_deflate(PerMessageDeflate::new().threshold(4096).level(1)).build();
    /// ```
    #[cfg(feature = "deflate")]
    pub fn per_message_deflate(mut self, deflate: PerMessageDeflate) -> Self {
        self.engine = self.engine.per_message_deflate(deflate);
        self
    }

    /// Decides whether a session may be opened, before the client asks for any namespace. A refusal is an
    /// HTTP response with status 403 and the returned message. To authenticate users, prefer a
    /// [`middleware`](Namespace::middleware), which has access to the client's `auth`.
    ///
    /// ```
    /// use sockeye::{Handshake, Server};
    ///
    /// let io = Server::builder().allow_request(async |handshake: Handshake| match handshake.header("origin") {
    ///     // Who is not a browser sends none.
    ///     None | Some("https://example.com") => Ok(()),
    ///     Some(_) => Err("not from here".to_owned()),
    /// });
    /// ```
    pub fn allow_request<F, Fut>(mut self, allow: F) -> Self
    where
        F: Fn(Handshake) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.engine = self.engine.allow_request(allow);
        self
    }

    /// Serves the client's script and the files that belong to it from a folder, below the server's path. The
    /// files are read once, in this call. Default: no files, because this crate does not contain the client.
    ///
    /// ```no_run
    /// # use sockeye::Server;
    /// // npm install socket.io-client
    /// let io = Server::builder().serve_client("node_modules/socket.io-client/dist")?.build();
    /// // <script src="/socket.io/socket.io.js"></script>
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// If none of the files exists, or one cannot be read.
    pub fn serve_client(mut self, folder: impl AsRef<Path>) -> io::Result<Self> {
        self.engine = self.engine.serve_client(folder)?;
        Ok(self)
    }

    /// Serves `body` for requests with exactly this path, for example a page, if there is no other HTTP
    /// server.
    ///
    /// ```
    /// # use sockeye::Server;
    /// let io = Server::builder().asset("/", "text/html; charset=utf-8", b"<h1>It works</h1>".as_slice()).build();
    /// ```
    pub fn asset(
        mut self,
        path: impl Into<String>,
        content_type: impl Into<Cow<'static, str>>,
        body: impl Into<Cow<'static, [u8]>>,
    ) -> Self {
        self.engine = self.engine.asset(path, content_type, body);
        self
    }

    /// Sets the time for a client to connect to a namespace. Default: 45 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.engine.handler.connect_timeout = timeout;
        self
    }

    /// Sets how long to wait for acknowledgements, if no other timeout is set for the message. Default: 30 s.
    pub fn ack_timeout(mut self, timeout: Duration) -> Self {
        self.engine.handler.ack_timeout = timeout;
        self
    }

    /// Sets how many rooms one socket may be in, so that a client that names the rooms to join cannot exhaust
    /// the memory: see [`Socket::try_join`]. Default: 100,000.
    pub fn max_rooms(mut self, rooms: usize) -> Self {
        self.engine.handler.max_rooms = rooms;
        self
    }

    /// Sets the limits of one packet (the number, bytes and time of its attachments, lengths, depth), and how
    /// many namespaces a client may join. A client that exceeds a limit of a packet is closed; a request for
    /// one namespace too many is refused (`connect_error`, "too many namespaces").
    pub fn packet_limits(mut self, limits: Limits) -> Self {
        self.engine.handler.limits = limits;
        self
    }

    /// Stores `state` for handlers that take [`State<T>`](crate::extract::State): one value per type. Each
    /// handler gets a clone, so put an `Arc` around shared data.
    ///
    /// ```
    /// use sockeye::extract::State;
    /// use sockeye::{Server, Socket};
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU64, Ordering};
    ///
    /// #[derive(Clone, Default)]
    /// struct Visits(Arc<AtomicU64>);
    ///
    /// let io = Server::builder().state(Visits::default()).build();
    /// io.on_connect(async |socket: Socket, State(Visits(visits)): State<Visits>| {
    ///     socket.emit("visits", visits.fetch_add(1, Ordering::Relaxed) + 1)
    /// });
    /// ```
    pub fn state<T: Clone + Send + Sync + 'static>(mut self, state: T) -> Self {
        self.engine.handler.state.insert(TypeId::of::<T>(), Box::new(state));
        self
    }

    /// Builds the server.
    ///
    /// # Panics
    /// If [`ping_interval`](Builder::ping_interval) or [`ping_timeout`](Builder::ping_timeout) is less than 1
    /// ms, or their sum is 2^31 ms (24.8 days) or more, because the timers of JavaScript clients would then
    /// fire at once.
    pub fn build(self) -> Server {
        let server = Server { engine: self.engine.build() };
        // The main namespace always exists.
        server.of("/");
        server
    }
}
