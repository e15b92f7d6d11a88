//! Drives Sockeye over the sockets, tasks and timers of tokio: `sockeye::runtime::tokio` is this crate.
#![forbid(unsafe_code)]

mod connect;
mod listener;
mod serve;
mod stream;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod testing;
#[cfg(feature = "hyper")]
mod upgraded;

pub use listener::Listener;
pub use serve::{keep_time, listen, serve};
#[cfg(feature = "tls")]
pub use serve::{listen_tls, serve_tls};
pub use stream::Io;
#[cfg(feature = "hyper")]
pub use upgraded::start_upgraded;

use sockeye_core::Time;
use sockeye_core::host::Runtime;
use std::future::Future;
use std::pin::Pin;
use tokio::runtime::Handle;
use tokio::time::Instant;

/// Tokio's clock and tasks.
#[derive(Clone, Debug)]
pub struct Tokio {
    // Tasks are also spawned on threads outside of tokio: those of the application.
    handle: Handle,
    origin: Instant,
}

impl Tokio {
    /// Creates a runtime whose clock starts now and whose tasks are spawned on the current runtime of tokio.
    ///
    /// # Panics
    /// If called outside of a tokio runtime.
    pub fn new() -> Tokio {
        Tokio { handle: Handle::current(), origin: Instant::now() }
    }
}

impl Default for Tokio {
    fn default() -> Self {
        Self::new()
    }
}

impl Runtime for Tokio {
    fn now(&self) -> Time {
        Time::from_origin(self.origin.elapsed())
    }

    fn enter(&self, f: &mut dyn FnMut()) {
        let _guard = self.handle.enter();
        f();
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.handle.spawn(future);
    }
}
