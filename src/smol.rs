//! Serving on smol: over its sockets, or inside of another HTTP server that runs on it.

#[cfg(feature = "hyper")]
use crate::mount::{Driver, Layer, Mount, NotFound, Service};
pub use sockeye_smol::*;
#[cfg(feature = "hyper")]
use std::sync::Arc;

/// Mounts a server in front of a service of tower's or hyper's, such as an axum `Router`: see
/// [`mount`](crate::mount).
#[cfg(feature = "hyper")]
pub fn layer<M: Mount>(server: M) -> Layer<M> {
    let driver = Driver {
        current: || Arc::new(Smol::new()),
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
