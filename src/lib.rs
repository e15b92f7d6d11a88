//! Socket.IO for Rust: a server for every current Socket.IO client, and a client. The protocol engine does no
//! I/O; the runtime of your choice does it.
//!
//! ```no_run
//! use sockeye::{Server, Socket, extract::Data};
//!
//! # #[cfg(feature = "tokio")]
//! # async fn example() -> std::io::Result<()> {
//! let io = Server::new();
//! io.on("chat message", async |socket: Socket, Data(text): Data<String>| {
//!     socket.broadcast().emit("chat message", &text);
//! });
//! // What a handler returns is the acknowledgement.
//! io.on("add", async |Data((a, b)): Data<(i64, i64)>| a + b);
//! sockeye::runtime::tokio::listen(io, "0.0.0.0:3000").await
//! # }
//! ```
//!
//! # The types
//!
//! - [`Server`]: holds the settings and the namespaces, and can be closed. A [`Namespace`] has its own
//!   sockets and rooms. The methods of the server itself apply to the main namespace, `/`.
//! - [`Socket`]: one client in one namespace. Its handlers are registered once for all sockets, by [`Namespace::on`],
//!   or when it connects, by [`Namespace::on_connect`]; a [`middleware`](Namespace::middleware) decides before that
//!   whether the client may connect.
//! - [`ParentNamespace`]: all namespaces whose names match a [pattern](Server::of_pattern), or that a
//!   [function](Server::of_fn) admits.
//! - [`Handler`]: an `async` function whose parameters are [extracted](extract) from the event, and whose
//!   return value is the acknowledgement.
//! - [`Broadcast`]: addresses many sockets at once: rooms, exceptions, acknowledgements.
//! - [`cluster`]: several servers as one, over Redis or another bus.
//! - [`engine`]: Engine.IO, the layer below, for protocols of your own.
//! - [`Client`] and [`ClientSocket`]: the client side, for this server or any other: see [`client`].
//!
//! All of these except handlers are cheap to clone. A connection keeps its [`Server`] or [`Client`] alive; a
//! [`Namespace`], a [`Socket`] and a [`ClientSocket`] keep neither alive.
//!
//! # Guarantees
//!
//! - Handlers start in the order in which the client sent the events: each is polled once in place, and
//!   continues in the background only if it has to wait. No lock is held meanwhile. A panic ends that call,
//!   and nothing else.
//! - [`Socket::emit`] never waits. The bytes queued for a client that does not read are limited
//!   ([`send_buffer`](ServerBuilder::send_buffer)). A client that exceeds the limit is closed, so that it knows
//!   that it missed something; it never slows the others. A client whose handlers fall behind is not read
//!   until they catch up.
//! - A broadcast is encoded once, and every recipient's queue holds a reference to it.
//! - Every wait has a deadline, and every buffer a bound: see [`ServerBuilder`] and [`Limits`]. Some bounds are fixed:
//!   for example, at most 10,000 acknowledgements can be pending from a socket, and a client is not read while
//!   256 of its handlers wait. The file `SECURITY.md` of the repository lists all of them.
//!
//! # When nothing happens
//!
//! A client's mistake is not an error in your program, so it only shows in the log: enable the feature `tracing`, and show
//! the level `DEBUG` of `sockeye`. To see all failures to handle an event in one place, count them, or acknowledge the
//! event for the client, set [`on_handler_error`](ServerBuilder::on_handler_error). A client that waits for an
//! acknowledgement times out if the event has no handler, its data is not of the handler's type, or the handler panicked
//! or failed by [`HandlerError`]; an `Err` of a type of your own, or [`HandlerError::ack`], is the acknowledgement: see
//! [`Handler`]. The guide's page
//! [Errors and limits][errors] lists what happens for each mistake, why a client cannot connect, and what messages of the
//! compiler mean, such as `async closure does not implement Fn because it captures state from its environment`
//! (`NonBorrowingFn`: use a plain closure that clones, or [`State`](extract::State)) and `() is not a future` (`async` is
//! missing).
//!
//! # Coming from JavaScript
//!
//! Names are those of the JavaScript implementation ("the reference") in Rust's spelling. Handlers return the
//! acknowledgement instead of calling a callback; to acknowledge later, use [`extract::AckSender`].
//! `io.on("connection", …)` is [`on_connect`](Namespace::on_connect), `io.use` is [`middleware`](Namespace::middleware), `socket.use` is [`use_packet`](Socket::use_packet), and `in` is `within`, where
//! [`Socket::within`] includes the socket itself. Of several handlers of an event, the first one that can be called
//! acknowledges; [`on_fallback`](Socket::on_fallback) is called only for an event that has none. The guide's page
//! [From Node.js][node] has the whole list.
//!
//! [errors]: https://github.com/sockeye-rs/sockeye/blob/main/docs/guide/errors.md
//! [node]: https://github.com/sockeye-rs/sockeye/blob/main/docs/guide/from_node.md
//!
//! # Features
//!
//! - `tokio` (default): [`sockeye::runtime::tokio`](runtime::tokio), to serve over tokio's sockets.
//! - `smol`: [`sockeye::runtime::smol`](runtime::smol), to serve over smol's sockets. Both may be enabled at once.
//! - `axum`: [mounts](mount) the server in axum 0.8, by [`layer`](runtime::tokio::layer); `hyper`: in anything else
//!   built on hyper or tower; `http`: in any HTTP server, by messages.
//! - `tls`: `https` and `wss` by rustls: `listen_tls` and `serve_tls` of the runtimes, and their
//!   certificates: `Tls`. For clients, the certificates to trust: `ClientTls`.
//! - `deflate`: compresses WebSocket messages for clients that ask for it, if the server enables it by
//!   `ServerBuilder::per_message_deflate`. Clients offer it by `ClientBuilder::per_message_deflate`. Also compresses
//!   the responses of polling: `ServerBuilder::http_compression`.
//! - `redis`: `sockeye::redis::RedisBus`, to connect the servers of a cluster over Redis, on `tokio` and `smol`. With `smol`
//!   it brings types of tokio along, but not its runtime.
//! - `testing`: [`testing`], to test your own server without sockets and without waiting.
//! - `tracing`: logs the lives of sessions and sockets (`DEBUG`), exceeded limits (`WARN`) and faults of your program
//!   (`ERROR`) through `tracing`; without it nothing is logged. To see packets, set an [observer](observe).
//!
//! Without a runtime feature everything but the sockets is there: [drive it yourself](drive_it_yourself).
#![forbid(unsafe_code)]

mod append;
mod by_id;
pub mod client;
pub mod cluster;
mod connection_error;
pub mod engine;
mod error;
pub mod extract;
mod failed_event;
mod function;
mod guard;
mod handler;
mod handshake;
mod inflated;
mod listeners;
mod log;
#[cfg(feature = "http")]
pub mod mount;
pub mod observe;
mod payload;
mod pending;
mod pool;
mod ready;
mod renewal;
pub mod runtime;
mod server;
#[cfg(feature = "testing")]
mod staged;
#[cfg(feature = "testing")]
pub mod testing;
mod waiters;

pub use client::{Client, ClientSocket};
pub use engine::{
    CloseReason, Conn, ConnectionError, Handshake, Id, RateLimit, Rejection, ResponseHeaders,
    StatefulReconnect, Transport, WhenFull,
};
pub use error::{AckError, ConnectError, DisconnectReason, EmitError, HandlerError, PacketError};
pub use handler::Handler;
pub use payload::{Args, Payload};
pub use pending::Answer;
pub use ready::ReadyList;
pub use renewal::AUTH_RENEW;
pub use server::ack::AckFuture;
pub use server::answers::{AckStream, Answered, Answers, Unanswered};
pub use server::broadcast::{Broadcast, Delivery};
pub use server::hand_over::{HandOver, HandOverError};
pub use server::idempotency::IdempotencyKey;
pub use server::joined_rooms::JoinError;
pub use server::middleware::Middleware;
pub use server::namespace::Namespace;
pub use server::parent::{ParentBroadcast, ParentNamespace, PatternError};
pub use server::recovery::{ExpiredSocket, Recovery, RecoveryUsage};
pub use server::remote::{FetchedSockets, RemoteSocket};
pub use server::room_names::RoomNames;
pub use server::rooms::{RoomChange, RoomEvent};
pub use server::server_side::ServerSide;
pub use server::socket::{Emitter, SharedDataError, Socket};
pub use server::{Server, ServerBuilder};
pub use sockeye_core::http::{Cookie, Cors, InvalidHeader, InvalidNetwork, SameSite, TrustProxy};
pub use sockeye_core::socketio::{Arg, ArgIter, ArgsError, EncodeError, Limits, NamespaceError, Parser};
pub use sockeye_core::{Time, drive, host};
#[cfg(feature = "redis")]
pub use sockeye_redis as redis;
/// A page of the guide: see [`host::Host`], [`host::Runtime`], [`drive::Protocol`], [`drive::pump`], [`drive::Turn`],
/// [`drive::Edge`], [`ReadyList`] and [`Client::attach`].
///
#[doc = include_str!("../docs/guide/custom_event_loops.md")]
pub mod drive_it_yourself {}
#[doc = include_str!("../docs/features.md")]
pub mod features {}
/// The code in the README, compiled as doc tests.
#[cfg(all(doctest, feature = "tokio"))]
#[doc = include_str!("../README.md")]
mod readme {}

#[cfg(feature = "tls")]
pub use sockeye_core::tls::{self, ClientTls, Tls};
#[cfg(feature = "deflate")]
pub use sockeye_core::{http::HttpCompression, websocket::PerMessageDeflate};
