//! Tasks that wait until the queue of a session is short.

use super::{Application, HAS_TASKS, Inner, SendError, Session, Shared};
use crate::waiters::Waiters;
use parking_lot::MutexGuard;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

impl<A: Application> Session<A> {
    /// Waits until at most 128 KiB are queued for the peer, or half of the [send buffer](crate::engine::Builder::send_buffer) if
    /// that is less. For programs that produce faster than a peer reads: [`send`](Session::send) itself never waits.
    ///
    /// The wait ends at the latest with the session. Dropping the future leaves nothing behind.
    ///
    /// # Errors
    /// [`SendError::Closed`] if the session has ended.
    pub async fn writable(&self) -> Result<(), SendError> {
        match self.drained(|| true).await {
            true => Ok(()),
            false => Err(SendError::Closed),
        }
    }

    /// Waits until the queue is short, and returns `true`; or `false` if the session has ended, or the wait is no longer
    /// wanted. `is_wanted` is called under the session's lock, and again after [`wake_waiters`](Session::wake_waiters).
    pub(crate) async fn drained(&self, is_wanted: impl Fn() -> bool) -> bool {
        let mut waiting = Waiting { session: self, key: None };
        poll_fn(|cx| waiting.poll(cx, &is_wanted)).await
    }

    /// Wakes the tasks that wait until the queue is short, so that they look whether they are still to wait.
    pub(crate) fn wake_waiters(&self) {
        let woken = self.0.take_tasks(&mut self.0.inner.lock());
        woken.into_iter().for_each(Waker::wake);
    }
}

impl<A: Application> Shared<A> {
    /// Wakes the tasks that wait until the queue is short, if it is, after releasing the lock.
    #[cold]
    pub(super) fn wake_drained(&self, mut inner: MutexGuard<'_, Inner<A>>) {
        let drained = self.take_drained(&mut inner);
        drop(inner);
        drained.into_iter().for_each(Waker::wake);
    }

    /// Takes the wakers of the tasks that wait until the queue is short, if it is or the session has ended.
    pub(super) fn take_drained(&self, inner: &mut Inner<A>) -> Vec<Waker> {
        match self.has(HAS_TASKS) && (inner.is_drained() || inner.engine.closed().is_some()) {
            true => self.take_tasks(inner),
            false => Vec::new(),
        }
    }

    fn take_tasks(&self, inner: &mut Inner<A>) -> Vec<Waker> {
        match self.has(HAS_TASKS) {
            true => self.with_tasks(inner, Waiters::take),
            false => Vec::new(),
        }
    }

    /// Forgets a task, and returns its waker.
    fn leave(&self, inner: &mut Inner<A>, key: &mut Option<u64>) -> Option<Waker> {
        match key {
            Some(_) => self.with_tasks(inner, |tasks| tasks.leave(key)),
            None => None,
        }
    }

    /// Changes the tasks that wait until the queue is short.
    fn with_tasks<R>(&self, inner: &mut Inner<A>, f: impl FnOnce(&mut Waiters) -> R) -> R {
        let result = inner.waits.with_tasks(f);
        self.set(HAS_TASKS, inner.waits.has_tasks());
        result
    }
}

impl<A: Application> Inner<A> {
    fn is_drained(&self) -> bool {
        self.engine.queued() <= self.engine.config().low_water()
    }
}

/// A task that waits until a session's queue is short.
struct Waiting<'a, A: Application> {
    session: &'a Session<A>,
    /// The key of its waker, once it waits.
    key: Option<u64>,
}

impl<A: Application> Waiting<'_, A> {
    fn poll(&mut self, cx: &Context<'_>, is_wanted: impl Fn() -> bool) -> Poll<bool> {
        let shared = &self.session.0;
        let mut inner = shared.inner.lock();
        let is_over = inner.engine.closed().is_some() || !is_wanted();
        let is_ready = is_over || inner.is_drained();
        let replaced = match is_ready {
            true => shared.leave(&mut inner, &mut self.key),
            false => shared.with_tasks(&mut inner, |tasks| tasks.wait(cx, &mut self.key)),
        };
        drop(inner);
        drop(replaced);
        if is_ready { Poll::Ready(!is_over) } else { Poll::Pending }
    }
}

impl<A: Application> Drop for Waiting<'_, A> {
    fn drop(&mut self) {
        if self.key.is_some() {
            let shared = &self.session.0;
            let left = shared.leave(&mut shared.inner.lock(), &mut self.key);
            drop(left);
        }
    }
}
