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
pub use serve::{keep_time, listen, listen_proxied, serve, serve_proxied};
#[cfg(feature = "tls")]
pub use serve::{listen_tls, serve_proxied_tls, serve_tls};
pub use stream::Io;
#[cfg(feature = "hyper")]
pub use upgraded::start_upgraded;

use sockeye_core::Time;
use sockeye_core::host::Runtime;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Waker};
use tokio::runtime::Handle;
use tokio::task::yield_now;
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

    fn wake_later(&self, waker: &Waker) {
        // Woken at once, the task would be in the worker's own queue, which would never be empty until the task ends: tasks
        // that this queue had no capacity for wait in another one, from which the worker takes a single task now and then.
        _ = pin!(yield_now()).poll(&mut Context::from_waker(waker));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Poll;

    /// Tasks that wait until they are woken, and then add `turn` to a count.
    struct Tasks(Vec<Arc<Mutex<Option<Waker>>>>);

    impl Tasks {
        async fn spawn(count: usize, turn: impl Fn() + Clone + Send + 'static) -> Tasks {
            let spawn = |_| {
                let slot = Arc::new(Mutex::new(None));
                let (own, turn) = (slot.clone(), turn.clone());
                tokio::spawn(poll_fn(move |cx| {
                    let waker = own.lock().expect("not poisoned").replace(cx.waker().clone());
                    // The first poll only waits.
                    if waker.is_some() {
                        turn();
                    }
                    Poll::<()>::Pending
                }));
                slot
            };
            let tasks = Tasks((0..count).map(spawn).collect());
            while tasks.0.iter().any(|task| task.lock().expect("not poisoned").is_none()) {
                yield_now().await;
            }
            tasks
        }

        fn wake(&self, from: usize, count: usize) {
            for task in self.0.iter().skip(from).take(count) {
                let waker = task.lock().expect("not poisoned").clone();
                waker.into_iter().for_each(Waker::wake);
            }
        }
    }

    #[test]
    fn tasks_that_do_not_fit_into_a_workers_queue_have_their_turn_before_a_long_task_ends() {
        const RECIPIENTS: usize = 5_000;
        const OTHERS: usize = 400;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("it can be built");
        let test = async {
            let reached = Arc::new(AtomicUsize::new(0));
            // The number of recipients that were reached before the last of the others had its turn.
            let last = Arc::new(AtomicUsize::new(0));
            let count = reached.clone();
            let recipients =
                Tasks::spawn(RECIPIENTS, move || _ = count.fetch_add(1, Ordering::Relaxed)).await;
            let (count, before) = (reached.clone(), last.clone());
            let others =
                Tasks::spawn(OTHERS, move || before.store(count.load(Ordering::Relaxed), Ordering::Relaxed))
                    .await;
            others.wake(0, OTHERS);
            let (tokio, mut woken) = (Tokio::new(), 0);
            let waking = poll_fn(move |cx| {
                recipients.wake(woken, 16);
                woken += 16;
                if woken >= RECIPIENTS {
                    return Poll::Ready(());
                }
                tokio.wake_later(cx.waker());
                Poll::Pending
            });
            tokio::spawn(waking).await.expect("it does not panic");
            (reached.load(Ordering::Relaxed), last.load(Ordering::Relaxed))
        };
        let (reached, last) =
            runtime.block_on(async { tokio::spawn(test).await.expect("it does not panic") });
        assert!(reached >= RECIPIENTS - 32 && last < RECIPIENTS / 2, "{last} of {reached}");
    }
}
