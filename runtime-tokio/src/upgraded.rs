//! Streams that hyper hands over after an upgrade.

use crate::Io;
use hyper::{body::Bytes, upgrade::Upgraded};
use hyper_util::{rt::TokioIo, server::conn::auto};
use sockeye_core::drive::{Drive, Protocol};
use sockeye_core::host::Runtime;
use std::sync::Arc;
use tokio::net::TcpStream;

/// Spawns a task that drives `protocol` over the stream that hyper hands over after an upgrade. If that is a socket of
/// tokio's, hyper takes no part any more.
///
/// The task keeps a thin pointer, and so is smaller, if `R` is sized: an `Arc<dyn Runtime>` in an [`Arc`] of its own.
///
/// # Panics
/// If called outside of a tokio runtime.
pub fn start_upgraded<P, R>(upgraded: Upgraded, protocol: P, runtime: Arc<R>)
where
    P: Protocol + Send + Unpin + 'static,
    R: Runtime + ?Sized,
{
    match socket(upgraded) {
        Ok((socket, input)) => {
            let _ = socket.set_nodelay(true);
            tokio::spawn(Drive::new(Io(socket), protocol, runtime).with_input(&input));
        }
        Err(upgraded) => _ = tokio::spawn(Drive::new(Io(TokioIo::new(upgraded)), protocol, runtime)),
    }
}

/// Returns the socket below, and the bytes that hyper has already read from it.
fn socket(upgraded: Upgraded) -> Result<(TcpStream, Bytes), Upgraded> {
    // The builder that chooses between HTTP/1 and HTTP/2 wraps the stream once more.
    match auto::upgrade::downcast::<TokioIo<TcpStream>>(upgraded) {
        Ok(parts) => Ok((parts.io.into_inner(), parts.read_buf)),
        Err(upgraded) => {
            let parts = upgraded.downcast::<TokioIo<TcpStream>>()?;
            Ok((parts.io.into_inner(), parts.read_buf))
        }
    }
}
