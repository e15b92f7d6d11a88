//! Drives Sockeye over the sockets, tasks and timers of smol: `sockeye::runtime::smol` is this crate.
#![forbid(unsafe_code)]

mod connect;
#[cfg(target_os = "linux")]
mod epoll;
mod serve;
mod stream;
#[cfg(feature = "hyper")]
mod upgraded;

#[cfg(unix)]
pub use serve::serve_unix;
#[cfg(all(unix, feature = "tls"))]
pub use serve::serve_unix_tls;
pub use serve::{keep_time, listen, listen_proxied, serve, serve_proxied};
#[cfg(feature = "tls")]
pub use serve::{listen_tls, serve_proxied_tls, serve_tls};
#[cfg(feature = "hyper")]
pub use upgraded::start_upgraded;

use async_io::Timer;
use smol::{Executor, Task};
use sockeye_core::Time;
use sockeye_core::host::Runtime;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Smol's clock and tasks, on the global executor or on one of your own.
#[derive(Clone, Debug)]
pub struct Smol {
    // Not an owner, because the executor's tasks own this.
    executor: Option<Weak<Executor<'static>>>,
    origin: Instant,
    workers: usize,
}

impl Smol {
    /// Creates a runtime whose clock starts now and whose tasks are spawned on smol's global executor. The environment
    /// variable `SMOL_THREADS` sets the number of its threads.
    pub fn new() -> Smol {
        let threads = std::env::var("SMOL_THREADS").ok().and_then(|threads| threads.parse().ok());
        Smol { executor: None, origin: Instant::now(), workers: threads.unwrap_or(1).max(1) }
    }

    /// Creates a runtime whose clock starts now and whose tasks are spawned on `executor`. Once nothing else owns the
    /// executor, tasks are no longer spawned, and [`serve`](Smol::serve) ends with an error.
    pub fn on(executor: &Arc<Executor<'static>>) -> Smol {
        Smol { executor: Some(Arc::downgrade(executor)), origin: Instant::now(), workers: 1 }
    }

    /// Sets the number of threads that run the executor, which [`Runtime::workers`] returns. Default: 1 for an executor of
    /// your own, as it cannot be asked; the value of `SMOL_THREADS` for the global one.
    pub fn with_workers(mut self, threads: usize) -> Smol {
        self.workers = threads.max(1);
        self
    }

    fn start<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) {
        if let Some(task) = self.task(future) {
            task.detach();
        }
    }

    /// Spawns a task. Returns `None` if the executor is gone.
    fn task<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> Option<Task<T>> {
        match &self.executor {
            Some(executor) => Some(executor.upgrade()?.spawn(future)),
            None => Some(smol::spawn(future)),
        }
    }
}

impl Default for Smol {
    fn default() -> Self {
        Self::new()
    }
}

impl Runtime for Smol {
    fn now(&self) -> Time {
        Time::from_origin(self.origin.elapsed())
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.start(future);
    }

    fn workers(&self) -> usize {
        self.workers
    }
}

/// Runs `future` for at most `time`. Returns `None` if it has not completed by then.
async fn within<T>(time: Duration, future: impl Future<Output = T>) -> Option<T> {
    let too_late = async {
        Timer::after(time).await;
        None
    };
    smol::future::or(async { Some(future.await) }, too_late).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workers_are_those_that_the_application_runs() {
        let executor = Arc::new(Executor::new());
        assert_eq!(Smol::on(&executor).workers(), 1);
        assert_eq!(Smol::on(&executor).with_workers(4).workers(), 4);
        assert_eq!(Smol::on(&executor).with_workers(0).workers(), 1);
    }
}
