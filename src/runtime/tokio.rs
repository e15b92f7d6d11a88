//! Serving on tokio, over its sockets or mounted in another HTTP server that runs on it; and clients that run
//! on it.
//!
//! ```no_run
//! use sockeye::{Client, Server};
//!
//! # async fn server() -> std::io::Result<()> {
//! sockeye::runtime::tokio::listen(Server::new(), "0.0.0.0:3000").await
//! # }
//! # async fn client() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new("http://localhost:3000")?;
//! sockeye::runtime::tokio::connect(&client).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Listeners
//!
//! [`serve`] takes any [`Listener`], and may be called several times for one server, with a clone of it for each
//! listener: for an address of IPv4 and one of IPv6, or for a port and a Unix socket. Each call returns when the server is
//! closed.
//!
//! A listener may come from another process: from systemd, which starts the program with a socket that is open already, or
//! from an earlier process of a restart without downtime. The crate `listenfd` reads what systemd passes:
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! # let io = sockeye::Server::new();
//! use listenfd::ListenFd;
//! use std::net::TcpListener;
//!
//! let listener = match ListenFd::from_env().take_tcp_listener(0)? {
//!     Some(inherited) => inherited,
//!     None => TcpListener::bind("0.0.0.0:3000")?,
//! };
//! listener.set_nonblocking(true)?;
//! sockeye::runtime::tokio::serve(io, tokio::net::TcpListener::from_std(listener)?).await
//! # }
//! ```
//!
//! One task accepts all connections of a listener. With `SO_REUSEPORT`, several listeners share a port, and the system
//! distributes the connections among them. That is how several processes serve one port, and how a new process starts to
//! listen before the old one stops. It also lets several tasks of one process accept, on a machine with many cores where
//! one task cannot keep up:
//!
//! ```no_run
//! # #[cfg(unix)]
//! # async fn example() -> std::io::Result<()> {
//! # let io = sockeye::Server::new();
//! use tokio::net::TcpSocket;
//!
//! for _ in 0..4 {
//!     let socket = TcpSocket::new_v4()?;
//!     socket.set_reuseport(true)?;
//!     socket.bind(([0, 0, 0, 0], 3000).into())?;
//!     tokio::spawn(sockeye::runtime::tokio::serve(io.clone(), socket.listen(1024)?));
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Sessions over polling belong to one process: several processes on one port need WebSocket alone
//! ([`transports`](crate::ServerBuilder::transports)).

use crate::client::{Client, ClientConnectError};
#[cfg(feature = "hyper")]
use crate::mount::{Driver, Layer, Mount, NotFound, Service};
pub use sockeye_tokio::*;
use std::sync::Arc;

/// Runs a client on this runtime, and connects it. Returns when its namespace is joined, or the first attempt
/// has failed.
///
/// If [`reconnection`](crate::client::ClientBuilder::reconnection) is on, the client tries again even after
/// this has returned an error; [`Client::close`] stops that.
///
/// # Errors
/// The reason why the first attempt failed.
///
/// # Panics
/// If called outside of a tokio runtime.
pub async fn connect(client: &Client) -> Result<(), ClientConnectError> {
    client.attach(Arc::new(Tokio::new()));
    client.connect();
    client.connected().await
}

/// Mounts a server in front of a service of tower or hyper, such as an axum `Router`: see
/// [`mount`](crate::mount).
#[cfg(feature = "hyper")]
pub fn layer<M: Mount>(server: M) -> Layer<M> {
    let driver = Driver {
        current: || Arc::new(Tokio::new()),
        keep_time: |host, runtime| Box::pin(keep_time(host, runtime)),
        start: start_upgraded,
    };
    Layer::new(server, driver)
}

/// Mounts a server as a service without another one behind it: see [`mount`](crate::mount).
#[cfg(feature = "hyper")]
pub fn service<M: Mount>(server: M) -> Service<M> {
    layer(server).layer(NotFound)
}
