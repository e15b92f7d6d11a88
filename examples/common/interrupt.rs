//! The end of a program by Ctrl-C.

use sockeye::{Server, engine};
use std::future::Future;
use std::time::Duration;

/// The time for clients to fetch what is queued for them, before they are dropped.
const PATIENCE: Duration = Duration::from_secs(1);

/// A server that can be closed: Socket.IO or plain Engine.IO.
pub(crate) trait Close {
    fn close_within(&self, timeout: Duration) -> impl Future<Output = ()> + Send;
}

impl Close for Server {
    async fn close_within(&self, timeout: Duration) {
        self.close_within(timeout).await;
    }
}

impl<A: engine::Application> Close for engine::Server<A> {
    async fn close_within(&self, timeout: Duration) {
        self.close_within(timeout).await;
    }
}

/// Waits for Ctrl-C on a thread of its own, and closes the server: for loops that have no place for signals.
pub(crate) fn close_by_thread(server: impl Close + Send + 'static) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || runtime.block_on(close_on_tokio(server)));
    Ok(())
}

/// Waits for Ctrl-C, and closes the server.
pub(crate) async fn close_on_tokio(server: impl Close) {
    // An error means that the platform has no such signal: then the server never ends.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
    server.close_within(PATIENCE).await;
}

/// Does the same on smol.
#[cfg(feature = "smol")]
pub(crate) async fn close_on_smol(server: impl Close) -> std::io::Result<()> {
    use async_signal::{Signal, Signals};
    use smol::stream::StreamExt;

    Signals::new([Signal::Int])?.next().await.transpose()?;
    server.close_within(PATIENCE).await;
    Ok(())
}
