//! The Socket.IO server.

pub(crate) mod ack;
mod admission;
pub(crate) mod answers;
mod app;
pub(crate) mod broadcast;
mod builder;
mod cast;
mod client_files;
pub(crate) mod cluster;
mod extract;
pub(crate) mod functions;
pub(crate) mod hand_over;
pub(crate) mod idempotency;
pub(crate) mod joined_rooms;
mod many_rooms;
pub(crate) mod members;
pub(crate) mod middleware;
mod missed;
pub(crate) mod namespace;
mod namespaces;
pub(crate) mod order;
mod params;
pub(crate) mod parent;
mod patience;
pub(crate) mod recovery;
pub(crate) mod remote;
mod restore;
pub(crate) mod room_names;
pub(crate) mod rooms;
pub(crate) mod server_side;
pub(crate) mod socket;
mod table;
mod v2;
mod wakes;

pub(crate) use app::App;
pub use builder::ServerBuilder;

use crate::engine::{self, Connection};
use crate::handler::Handler;
use crate::payload::Payload;
use answers::AckStream;
use broadcast::{Broadcast, Delivery};
use middleware::Middleware;
use namespace::Namespace;
use room_names::RoomNames;
use socket::Socket;
use sockeye_core::Time;
use sockeye_core::host::{Host, Peer, Runtime, WeakHost};
use sockeye_core::socketio::NamespaceError;
use std::fmt;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

/// A Socket.IO server: a handle that is cheap to clone.
///
/// It does nothing by itself: a runtime drives it (`sockeye::runtime::tokio::listen`, `sockeye::runtime::smol::listen`), or
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

/// The Engine.IO server below this one.
pub(crate) type Engine = engine::ServerInner<App>;

impl Server {
    /// Returns a server with the default settings, at `/socket.io/`.
    pub fn new() -> Server {
        Server::builder().build()
    }

    /// Returns a builder with the default settings.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::new()
    }

    pub(crate) fn from_engine(engine: Arc<Engine>) -> Server {
        Server { engine: engine::Server(engine) }
    }

    /// Returns a namespace, and creates it if it does not exist. The leading slash of its name may be left
    /// out.
    ///
    /// Clients can connect only to namespaces created here or by [`of_pattern`](Server::of_pattern) and
    /// [`of_fn`](Server::of_fn), and are refused elsewhere (`Invalid namespace`). A namespace that is created here lives
    /// until [`delete_namespace`](Server::delete_namespace): do not create one for each name that a client sends.
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
    /// than [`Limits::max_namespace_len`](crate::Limits::max_namespace_len). For a name that is not a literal, use
    /// [`try_of`](Server::try_of).
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
        let app = self.engine.application();
        app.namespaces.of(name, app.parser, &app.limits, &self.engine.0)
    }

    /// Calls `handler` for each client that has connected to the main namespace: see [`Namespace::on_connect`].
    pub fn on_connect<P: 'static>(&self, handler: impl Handler<P>) {
        self.of("/").on_connect(handler);
    }

    /// Calls `middleware` for each client that wants to connect to the main namespace: see
    /// [`Namespace::middleware`].
    #[doc(alias = "use")]
    pub fn middleware<P: 'static>(&self, middleware: impl Middleware<P>) {
        self.of("/").middleware(middleware);
    }

    /// Sends to every socket of the main namespace: see [`Broadcast::emit`].
    pub fn emit(&self, event: &str, args: impl Payload) -> Delivery {
        self.of("/").emit(event, args)
    }

    /// Sends an event named `message` to every socket of the main namespace: see [`Broadcast::send`].
    pub fn send(&self, args: impl Payload) -> Delivery {
        self.of("/").send(args)
    }

    /// Sends to every socket of the main namespace, and waits for their acknowledgements: see
    /// [`Broadcast::emit_with_ack`].
    pub fn emit_with_ack<T>(&self, event: &str, args: impl Payload) -> AckStream<T> {
        self.of("/").emit_with_ack(event, args)
    }

    /// Targets the sockets in a room of the main namespace.
    pub fn to(&self, rooms: impl RoomNames) -> Broadcast {
        self.of("/").to(rooms)
    }

    /// Does the same as [`to`](Server::to).
    pub fn within(&self, rooms: impl RoomNames) -> Broadcast {
        self.of("/").within(rooms)
    }

    /// Targets every socket of the main namespace except those in a room.
    pub fn except(&self, rooms: impl RoomNames) -> Broadcast {
        self.of("/").except(rooms)
    }

    /// Targets only the sockets of this server, if it is part of a [cluster](crate::cluster).
    pub fn local(&self) -> Broadcast {
        self.of("/").local()
    }

    /// Targets the main namespace with messages that are dropped for clients that are not ready for them.
    pub fn volatile(&self) -> Broadcast {
        self.of("/").volatile()
    }

    /// Sets whether messages to the main namespace may be compressed: see [`Socket::compress`].
    pub fn compress(&self, compress: bool) -> Broadcast {
        self.of("/").compress(compress)
    }

    /// Sets how long to wait for acknowledgements from the main namespace.
    pub fn timeout(&self, timeout: Duration) -> Broadcast {
        self.of("/").timeout(timeout)
    }

    /// Returns the sockets of this server that are connected to the main namespace at present.
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
    /// Returns when the last client has gone. It always does, because each client has a deadline:
    ///
    /// - One on WebSocket has 5 s to read what is queued for it.
    /// - One that polls has 30 s to fetch that and the close packet. If it does not poll at present and does not within
    ///   5 s, it counts as gone.
    /// - A request that is being answered has the deadlines of its body (30 s) and of decisions
    ///   ([`allow_timeout`](ServerBuilder::allow_timeout)).
    ///
    /// Handlers that still run are not waited for. To wait no longer than a time of your own, use
    /// [`close_within`](Server::close_within).
    ///
    /// `listen` and `serve` return then, too, unless their future was dropped before, for example by a `select!` with a
    /// signal. If `main` waits for them, do the remaining work after them: a task that waits here may never be polled
    /// again. In another HTTP server, close this one first, because a client that polls has a request in progress there.
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
    /// sockeye::runtime::tokio::listen(io, "0.0.0.0:3000").await?;
    /// println!("every client has gone");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn close(&self) {
        self.begin_close();
        self.engine.close().await;
    }

    /// Does the same as [`close`](Server::close), but waits no longer than `timeout`. Then the clients that are left are
    /// dropped, and `listen` and `serve` return; a client that is dropped may miss what is queued for it.
    ///
    /// ```
    /// # async fn example(io: sockeye::Server) {
    /// io.close_within(std::time::Duration::from_secs(3)).await;
    /// # }
    /// ```
    pub async fn close_within(&self, timeout: Duration) {
        self.begin_close();
        self.engine.close_within(timeout).await;
    }

    /// Does the same as [`close`](Server::close), but closes the clients one after the other, evenly spread over a time, so
    /// that they do not all come back at once. No further client is accepted meanwhile, so use it where a load balancer or
    /// another process on the same address receives those that come back. To close the rest at once, drop the
    /// future and call [`close`](Server::close).
    ///
    /// ```
    /// # async fn example(io: sockeye::Server) {
    /// io.drain(std::time::Duration::from_secs(30)).await;
    /// # }
    /// ```
    pub async fn drain(&self, over: Duration) {
        let unfinished = self.engine.close_in_turn(over).await;
        // Says goodbye to the other servers of a cluster.
        self.begin_close();
        drop(unfinished);
        self.engine.close().await;
    }

    /// Does the first half of [`close`](Server::close): closes every client, but does not wait until they
    /// have gone.
    pub fn begin_close(&self) {
        match &self.engine.application().namespaces.link {
            Some(link) => link.leave(|| self.engine.begin_close()),
            None => self.engine.begin_close(),
        }
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
        let attached = self.engine.attach(runtime);
        if let Some(link) = &self.engine.application().namespaces.link {
            link.attach(&attached);
        }
        attached
    }

    fn accept(&self, now: Time, peer: Peer) -> Self::Connection {
        self.engine.accept(now, peer)
    }

    fn handle_refused(&self, peer: Peer, error: &std::io::Error) {
        self.engine.handle_refused(peer, error);
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

    fn claim_time(&self) -> Option<WeakHost<Self>> {
        let engine = self.engine.claim_time()?;
        Some(Box::new(move || Some(Server { engine: engine()? })))
    }

    fn is_closed(&self) -> bool {
        self.engine.is_closed()
    }
}
