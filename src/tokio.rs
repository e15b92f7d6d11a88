//! Serving on tokio, over its sockets or mounted in another HTTP server that runs on it; and clients that run
//! on it.
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
