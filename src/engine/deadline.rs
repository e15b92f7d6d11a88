//! Deadlines of futures, in the server's table.

use super::timers::{Expire, Key, Notify, Timers};
use super::{Application, ServerInner};
use sockeye_core::Time;
use std::task::{Context, Poll};
use std::time::Duration;

/// The deadline of a future that waits.
///
/// It has to be [cleared](Deadline::clear) when the future no longer waits.
#[derive(Debug, Default)]
pub(crate) struct Deadline {
    at: Option<Time>,
    /// The entry in the table.
    key: Option<Key>,
}

impl Deadline {
    /// Returns `Ready` once `timeout` is over, counted from the first call; before, the task is woken at that
    /// time.
    pub(crate) fn poll<A: Application>(
        &mut self,
        cx: &Context<'_>,
        server: &ServerInner<A>,
        timeout: Duration,
    ) -> Poll<()> {
        let at = *self.at.get_or_insert_with(|| server.now() + timeout);
        if server.now() >= at {
            return Poll::Ready(());
        }
        self.wake_at(cx, server, at);
        Poll::Pending
    }

    /// Wakes the task at `at`, or on the driver's next turn if that has passed.
    pub(crate) fn wake_at<A: Application>(&mut self, cx: &Context<'_>, server: &ServerInner<A>, at: Time) {
        // Inserted anew each time, because the task may be another one; and before the old one is removed, so that a
        // deadline that has not moved wakes no driver.
        let (key, driver) = server.timers.insert(at, Notify::Waker(cx.waker().clone()));
        if let Some(replaced) = self.key.replace(key) {
            server.timers.remove(replaced);
        }
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    pub(crate) fn clear(&mut self, timers: &Timers<impl Expire>) {
        if let Some(key) = self.key.take() {
            timers.remove(key);
        }
    }
}
