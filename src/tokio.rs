//! Serving on tokio: over its sockets, or inside of another HTTP server that runs on it. Clients that run on it.
//!
//! ```no_run
//! use sockeye::{Client, Server};
//!
//! # async fn server() -> std::io::Result<()> {
//! sockeye::tokio::listen(Server::new(), "0.0.0.0:3000").await
//! # }
//! # async fn client() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new("http://localhost:3000")?;
//! sockeye::tokio::connect(&client).await?;
//! # Ok(())
//! # }
//! ```

use crate::client::{Client, ConnectError};
#[cfg(feature = "hyper")]
use crate::mount::{Driver, Layer, Mount, NotFound, Service};
pub use sockeye_tokio::*;
use std::sync::Arc;

/// Lets a client run here, and connects it: ends when its namespace is joined, or the first attempt fails.
///
/// A failed connection is tried again all the same, if
/// [`reconnection`](crate::client::ClientBuilder::reconnection) is on; [`Client::close`] ends that.
///
/// # Errors
/// Why the first attempt failed.
///
/// # Panics
/// Outside of a runtime of tokio.
pub async fn connect(client: &Client) -> Result<(), ConnectError> {
    client.attach(Arc::new(Tokio::new()));
    client.connect();
    client.connected().await
}

/// Mounts a server in front of a service of tower's or hyper's, such as an axum `Router`: see
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

/// Mounts a server as a service of its own: see [`mount`](crate::mount).
#[cfg(feature = "hyper")]
pub fn service<M: Mount>(server: M) -> Service<M> {
    layer(server).layer(NotFound)
}
