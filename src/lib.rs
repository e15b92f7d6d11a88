//! Socket.IO for Rust: a server that speaks to every Socket.IO client of today, and a client, as a protocol engine that
//! does no I/O and a runtime of your choice that does.
//!
//! ```no_run
//! use sockeye::{Server, Socket, extract::Data};
//!
//! # #[cfg(feature = "tokio")]
//! # async fn example() -> std::io::Result<()> {
//! let io = Server::new();
//! io.on_connect(async |socket: Socket| {
//!     socket.on("chat message", async |socket: Socket, Data(text): Data<String>| {
//!         socket.broadcast().emit("chat message", &text);
//!     });
//!     // What a handler returns is the acknowledgement.
//!     socket.on("add", async |Data((a, b)): Data<(i64, i64)>| a + b);
//! });
//! sockeye::tokio::listen(io, "0.0.0.0:3000").await
//! # }
//! ```
//!
//! # Who is who
//!
//! - [`Server`]: the settings, the namespaces, the end. A [`Namespace`] has its own sockets and rooms; without one, the
//!   server's methods mean the main one, `/`.
//! - [`Socket`]: one client in one namespace. Handlers are registered on it when it connects, by
//!   [`Namespace::on_connect`]; a [`middleware`](Namespace::middleware) before that decides who is let in.
//! - [`Handler`]: an `async` function whose parameters are [extracted](extract) from the event, and whose return value
//!   is the acknowledgement.
//! - [`Broadcast`]: many sockets at once: rooms, exceptions, answers.
//! - [`engine`]: Engine.IO, the layer below, for protocols of your own.
//! - [`Client`] and [`ClientSocket`]: the other side, for this server or any other: see [`client`].
//!
//! They are handles, cheap to clone. A [`Server`] and a [`Client`] own what is behind them; a [`Namespace`], a [`Socket`]
//! and a [`ClientSocket`] keep neither alive.
//!
//! # What holds
//!
//! - Handlers start in the order in which the client sent the events: each is polled once in place, and goes on in the
//!   background only if it has to wait. No lock is held meanwhile. A panic ends that call, and nothing else.
//! - [`Socket::emit`] never waits. A client that does not read is bounded by bytes
//!   ([`send_buffer`](Builder::send_buffer)), and closed when it exceeds them, so that it knows that it missed
//!   something; it never slows the others. When handlers fall behind, their client is no longer read.
//! - A broadcast is encoded once, and every recipient's queue holds a reference to it.
//! - Every wait has a deadline, and every buffer a bound: see [`Builder`], [`Limits`] and
//!   [`engine::Config`]. Fixed are 10,000 acknowledgements awaited from a socket, and 256 handlers of a client that may
//!   wait before it is no longer read.
//!
//! # When nothing happens
//!
//! What a client does wrong is no error of yours, so it only shows in the log: turn on the `tracing` feature, and show
//! the level `DEBUG` of `sockeye`.
//!
//! - A handler is not called: the event's data is not of its type, no [`State`](extract::State) of that type was given
//!   to the builder, or nothing was registered before the first wait of [`on_connect`](Namespace::on_connect). The
//!   client's acknowledgement times out, as it does when a handler ends with `Err` or panics. See [`extract`].
//! - A client cannot connect: its `connect_error` says why. `Invalid namespace` is one that nobody has asked
//!   [`Server::of`] for; `xhr poll error` in a page is often another origin, which [`Builder::cors`] has to allow.
//! - A handler does not compile: it captures something, has a parameter that cannot be extracted, or returns what
//!   cannot be sent. See [`Handler`].
//!
//! # Coming from JavaScript
//!
//! Names are those of the reference, with these differences. Handlers return the acknowledgement instead of calling
//! one ([`extract::AckSender`] is for later). `io.use` is [`middleware`](Namespace::middleware), as `use` is a keyword
//! of Rust; `in` is `within`, and [`Socket::within`] means the socket itself, too. An event may have several handlers; the first
//! one acknowledges. [`on_fallback`](Socket::on_fallback) is called only for an event that has none.
//!
//! # Features
//!
//! - `tokio` (default): [`sockeye::tokio`](tokio), to serve over tokio's sockets.
//! - `smol`: [`sockeye::smol`](smol), to serve over smol's sockets. Both may be on at once.
//! - `axum`: [mounted](mount) in axum 0.8, by [`layer`](tokio::layer); `hyper`: in all else that speaks hyper or tower;
//!   `http`: in any HTTP server, by messages.
//! - `tls`: `https` and `wss` by rustls: `listen_tls` and `serve_tls` of the runtimes, and what they show: `Tls`; for
//!   clients whom they trust: `ClientTls`.
//! - `deflate`: WebSocket messages are compressed for clients that want it, if the server is told to:
//!   `Builder::per_message_deflate`. Clients offer it: `ClientBuilder::per_message_deflate`.
//! - `tracing`: what goes wrong is logged through `tracing`; without it nothing is.
//!
//! Without a runtime feature everything is there but the sockets: [drive it yourself](drive_it_yourself).
#![forbid(unsafe_code)]

mod ack;
mod broadcast;
mod buffers;
mod by_id;
pub mod client;
pub mod engine;
mod error;
pub mod extract;
mod handler;
mod inflated;
mod listeners;
mod log;
#[cfg(feature = "http")]
pub mod mount;
mod namespace;
mod payload;
mod ready;
mod rooms;
mod server;
#[cfg(feature = "smol")]
pub mod smol;
mod socket;
#[cfg(feature = "tokio")]
pub mod tokio;

pub use ack::{AckFuture, AcksFuture, Answer};
pub use broadcast::{Broadcast, Delivery};
pub use client::{Client, ClientSocket};
pub use engine::{CloseReason, Handshake, Id, Transport};
pub use error::{AckError, ConnectError, DisconnectReason, EmitError, HandlerError};
pub use handler::{Handler, Middleware};
pub use namespace::{Namespace, NamespaceError};
pub use payload::{Args, Payload};
pub use ready::ReadyList;
pub use rooms::JoinError;
pub use server::{Builder, Server};
pub use socket::{Emitter, Socket};
pub use sockeye_core::http::{Cookie, Cors, InvalidHeader, SameSite};
pub use sockeye_core::socketio::{ArgsError, EncodeError, Limits};
pub use sockeye_core::{Time, drive, host};
#[doc = include_str!("../docs/drive_it_yourself.md")]
pub mod drive_it_yourself {}
/// What the README shows compiles.
#[cfg(all(doctest, feature = "tokio"))]
#[doc = include_str!("../README.md")]
mod readme {}

#[cfg(feature = "tls")]
pub use sockeye_core::tls::{self, ClientTls, Tls};
#[cfg(feature = "deflate")]
pub use sockeye_core::websocket::PerMessageDeflate;
