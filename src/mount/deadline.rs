//! Waiting, but not for ever, by a server's table of deadlines.

use crate::engine::timers::{Key, Target, Timers};
use crate::engine::{Handler, ServerInner};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// What comes of `future`, if it comes in time.
pub(super) async fn within<H: Handler, F: Future>(
    server: &ServerInner<H>,
    timeout: Duration,
    future: F,
) -> Option<F::Output> {
    let deadline = server.now() + timeout;
    let mut entry = Entry { timers: &server.timers, key: None };
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if server.now() >= deadline => Poll::Ready(None),
        Poll::Pending => {
            entry.set(deadline, cx);
            Poll::Pending
        }
    })
    .await
}

/// A place in the table, for as long as it is waited for.
struct Entry<'a> {
    timers: &'a Timers,
    key: Option<Key>,
}

impl Entry<'_> {
    /// Made anew each time: the task may be another one.
    fn set(&mut self, deadline: sockeye_core::Time, cx: &Context<'_>) {
        self.clear();
        let (key, driver) = self.timers.insert(deadline, Target::Waker(cx.waker().clone()));
        self.key = Some(key);
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    fn clear(&mut self) {
        if let Some(key) = self.key.take() {
            self.timers.remove(key);
        }
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.clear();
    }
}
