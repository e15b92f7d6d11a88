//! The Socket.IO server: its settings, its namespaces, and what its clients' messages mean.

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
/// It does nothing by itself: a runtime drives it (`sockeye::tokio::listen`, `sockeye::smol::listen`), or an event loop
/// of your own, through [`Host`]. Without a namespace its methods mean the main one, `/`.
///
/// With its last handle it ends: clients that are left are forgotten, and their sockets disconnected. A function that
/// serves has a handle, and so has each connection.
///
/// It can be used from any thread, before it is driven, and while it is:
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

/// What can be set of a [`Server`]; names and defaults are the reference's where it has them.
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

/// The Engine.IO server below.
pub(crate) type Engine = engine::ServerInner<App>;

/// What Socket.IO does with the sessions of Engine.IO.
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
    /// A server with the default settings, at `/socket.io/`.
    pub fn new() -> Server {
        Server::builder().build()
    }

    /// Starts with the default settings.
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

    /// A namespace, made if it is not there. The slash in front of its name may be left out.
    ///
    /// Clients can connect to what was made here, and are refused elsewhere (`Invalid namespace`). It stays as long as
    /// the server: do not make one for each name that a client sends.
    ///
    /// ```
    /// # let io = sockeye::Server::new();
    /// io.of("/admin").on_connect(async |socket: sockeye::Socket| {
    ///     socket.join("admins");
    /// });
    /// ```
    ///
    /// # Panics
    /// If no client could connect to it: the name contains a comma, a question mark or U+001E, or is longer than
    /// [`Limits::max_namespace_len`]. For a name that is not a literal there is [`try_of`](Server::try_of).
    #[track_caller]
    pub fn of(&self, name: &str) -> Namespace {
        match self.try_of(name) {
            Ok(namespace) => namespace,
            Err(error) => panic!("{error}: {name:?}"),
        }
    }

    /// The same as [`of`](Server::of), for names that come from elsewhere.
    ///
    /// ```
    /// # let io = sockeye::Server::new();
    /// assert_eq!(io.try_of("/Acme, Inc.").unwrap_err(), sockeye::NamespaceError::Comma);
    /// ```
    ///
    /// # Errors
    /// If no client could connect to it, because of its name.
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

    /// Asks `middleware` about each client that wants to connect to the main namespace: see
    /// [`Namespace::middleware`].
    pub fn middleware<P: 'static>(&self, middleware: impl Middleware<P>) {
        self.of("/").middleware(middleware);
    }

    /// Sends to every socket of the main namespace: see [`Broadcast::emit`].
    pub fn emit(&self, event: &str, args: impl Payload) -> Delivery {
        self.of("/").emit(event, args)
    }

    /// Sends to every socket of the main namespace, and waits for their answers: see [`Broadcast::emit_with_ack`].
    pub fn emit_with_ack<T>(&self, event: &str, args: impl Payload) -> AcksFuture<T> {
        self.of("/").emit_with_ack(event, args)
    }

    /// The sockets in a room of the main namespace.
    pub fn to(&self, room: impl AsRef<str>) -> Broadcast {
        self.of("/").to(room)
    }

    /// The same as [`to`](Server::to).
    pub fn within(&self, room: impl AsRef<str>) -> Broadcast {
        self.of("/").within(room)
    }

    /// Every socket of the main namespace but those in a room.
    pub fn except(&self, room: impl AsRef<str>) -> Broadcast {
        self.of("/").except(room)
    }

    /// The sockets of this server only, where there are several; as yet there is no adapter for several.
    pub fn local(&self) -> Broadcast {
        self.of("/").local()
    }

    /// Messages to the main namespace that are dropped for clients that are not ready for them.
    pub fn volatile(&self) -> Broadcast {
        self.of("/").volatile()
    }

    /// How long answers of the main namespace are waited for.
    pub fn timeout(&self, timeout: Duration) -> Broadcast {
        self.of("/").timeout(timeout)
    }

    /// The connected sockets of the main namespace, as they are now.
    pub fn sockets(&self) -> Vec<Socket> {
        self.of("/").sockets()
    }

    /// How many clients there are, in whatever namespaces.
    pub fn clients_count(&self) -> usize {
        self.engine.sessions_count()
    }

    /// Closes the server: nobody is let in any more, every client's connection is closed, and what was queued is sent.
    /// Clients of the reference see `transport close` and try to connect again, so that a restart is a short pause; in
    /// [`on_disconnect`](Socket::on_disconnect) the reason is `server shutting down`.
    ///
    /// Ends when the last client has gone; each has deadlines, so it does: a client that polls has 30 s to come for its
    /// goodbye. `listen` and `serve` end then, too, unless their future was dropped before, by a `select!` with a signal.
    /// When they are what `main` waits for, do what is left to do after them: a task that waits here may not be polled
    /// any more.
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

    /// The first half of [`close`](Server::close): says goodbye, and does not wait.
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
            // After the end of the session nobody would take the socket out again.
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

/// Tells a client that it is not let into a namespace. Its connection lives.
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
                // Not under the lock: who sends to the client need not wait for that.
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
            // The attachments that follow have a deadline.
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

/// Methods that only pass a setting on to the layer below.
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
        /// The path of the requests. `/socket.io`.
        path(path: impl Into<String>);
        /// How long after the handshake or a pong the next ping is sent. Default: 25 s.
        ping_interval(interval: Duration);
        /// How long a pong may take before the client is closed. Default: 20 s.
        ping_timeout(timeout: Duration);
        /// How long an upgrade may take before it is given up and polling goes on. 10 s.
        upgrade_timeout(timeout: Duration);
        /// How long [`allow_request`](Builder::allow_request) may take, before the request is refused with status 503.
        /// 30 s.
        allow_timeout(timeout: Duration);
        /// The largest message or request body that is taken, in bytes. 1,000,000; the reference's
        /// `maxHttpBufferSize`.
        max_payload(bytes: usize);
        /// How long the body of a request may take to arrive, from its head, before the request is refused with status
        /// 408 and the session is closed. Default: 30 s; the reference's `httpRequestBodyTimeout`.
        request_body_timeout(timeout: Duration);
        /// How many bytes may wait for a client that does not read, before it is closed. 4 MiB.
        send_buffer(bytes: usize);
        /// Which transports may be used. Both.
        transports(transports: impl IntoIterator<Item = Transport>);
        /// Whether a polling session may move to WebSocket. Yes.
        allow_upgrades(allow: bool);
        /// Which subprotocols of WebSocket (`Sec-WebSocket-Protocol`) are accepted: of those that a client offers the
        /// first that is named here. If there is none, the client is told of none, and browsers end the connection.
        /// Default: any, which is the first that the client offers.
        subprotocols(names: impl IntoIterator<Item = impl Into<String>>);
        /// Which pages of other origins may use the server over polling. None: a page from another origin fails to
        /// connect, as clients begin with polling.
        ///
        /// Browsers do not apply this to WebSocket; look at the `Origin` header in
        /// [`allow_request`](Builder::allow_request) for that.
        cors(cors: Cors);
        /// A cookie with the session's id, for load balancers that keep a client at one server. None.
        cookie(cookie: Cookie);
    }

    /// Compresses WebSocket messages of 1024 bytes and more for clients that want it, and reads compressed ones
    /// (permessage-deflate, RFC 7692). Off, as in the reference: it takes time, and most messages are short.
    ///
    /// Neither side keeps a window between messages, so that an idle client costs no memory, and a broadcast is
    /// compressed once for all of its clients. A message from a client has to keep to
    /// [`max_payload`](Builder::max_payload) both as it comes and as what it is inflated to.
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

    /// Decides whether a session may be opened, before any namespace is asked for; a refusal is an HTTP answer with
    /// status 403 and this message. For who the user is, a [`middleware`](Namespace::middleware) is the better place:
    /// the client's `auth` is there.
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

    /// Serves the client's script and its siblings from a folder, below the server's path. The files are read once, now.
    /// By default none is served: this crate does not contain the client.
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
    /// When none of the files is there, or one cannot be read.
    pub fn serve_client(mut self, folder: impl AsRef<Path>) -> io::Result<Self> {
        self.engine = self.engine.serve_client(folder)?;
        Ok(self)
    }

    /// Serves `body` to who asks for exactly this path: a page beside the server, where no other HTTP server is.
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

    /// How long a client may take to connect to a namespace. 45 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.engine.handler.connect_timeout = timeout;
        self
    }

    /// How long answers are waited for, where nothing else is said. 30 s.
    pub fn ack_timeout(mut self, timeout: Duration) -> Self {
        self.engine.handler.ack_timeout = timeout;
        self
    }

    /// Sets how many rooms one socket may be in, so that a client that names rooms to join cannot fill the memory: see
    /// [`Socket::try_join`]. Default: 100,000.
    pub fn max_rooms(mut self, rooms: usize) -> Self {
        self.engine.handler.max_rooms = rooms;
        self
    }

    /// What one packet may have: attachments, their bytes and their time, lengths, depth; and how many namespaces a
    /// client may join. A client that exceeds them is closed; one that asks for a namespace too many is refused
    /// (`connect_error`, "too many namespaces").
    pub fn packet_limits(mut self, limits: Limits) -> Self {
        self.engine.handler.limits = limits;
        self
    }

    /// Keeps `state` for handlers that ask for [`State<T>`](crate::extract::State): one of each type. Each gets a clone:
    /// put an `Arc` around what is to be shared.
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

    /// Makes the server.
    ///
    /// # Panics
    /// If [`ping_interval`](Builder::ping_interval) or [`ping_timeout`](Builder::ping_timeout) is less than 1 ms, or both
    /// together are 2^31 ms (24.8 days) or more: the timers of JavaScript clients would fire at once.
    pub fn build(self) -> Server {
        let server = Server { engine: self.engine.build() };
        // The main namespace is always there.
        server.of("/");
        server
    }
}
