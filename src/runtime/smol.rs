//! Serving on smol, over its sockets or mounted in another HTTP server that runs on it; and clients that run
//! on it.
//!
//! ```no_run
//! use sockeye::{Client, Server};
//!
//! # async fn server() -> std::io::Result<()> {
//! sockeye::runtime::smol::listen(Server::new(), "0.0.0.0:3000").await
//! # }
//! # async fn client() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new("http://localhost:3000")?;
//! sockeye::runtime::smol::connect(&client).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Tasks are spawned on smol's global executor; to use your own, see [`Smol::on`].
//!
//! # Listeners
//!
//! One server may be served on several listeners, by a call of [`serve`] or its siblings for each, with a clone of the
//! server: `serve_tls`, and for Unix sockets `serve_unix` and `serve_unix_tls`. Each call returns when the server is closed.
//! The listeners are those of the standard library. One may come from another process, for example from systemd by the
//! crate `listenfd`; for several on one port (`SO_REUSEPORT`), use the crate `socket2`.
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
//! sockeye::runtime::smol::serve(io, listener).await
//! # }
//! ```

use crate::client::{Client, ClientConnectError};
#[cfg(feature = "hyper")]
use crate::mount::{Driver, Layer, Mount, NotFound, Service};
pub use sockeye_smol::*;
use std::sync::Arc;

/// Runs a client on smol, and connects it. Returns when its namespace is joined, or the first attempt has
/// failed.
///
/// If [`reconnection`](crate::client::ClientBuilder::reconnection) is on, the client tries again even after
/// this has returned an error; [`Client::close`] stops that.
///
/// # Errors
/// The reason why the first attempt failed.
pub async fn connect(client: &Client) -> Result<(), ClientConnectError> {
    client.attach(Arc::new(Smol::new()));
    client.connect();
    client.connected().await
}

/// Mounts a server in front of a service of tower or hyper, such as an axum `Router`: see
/// [`mount`](crate::mount).
#[cfg(feature = "hyper")]
pub fn layer<M: Mount>(server: M) -> Layer<M> {
    let driver = Driver {
        current: || Arc::new(Smol::new()),
        keep_time: |host, runtime| Box::pin(keep_time(host, runtime)),
        start: |upgraded, connection, runtime| start_upgraded(upgraded, connection, (*runtime).clone()),
    };
    Layer::new(server, driver)
}

/// Mounts a server as a service without another one behind it: see [`mount`](crate::mount).
#[cfg(feature = "hyper")]
pub fn service<M: Mount>(server: M) -> Service<M> {
    layer(server).layer(NotFound)
}
