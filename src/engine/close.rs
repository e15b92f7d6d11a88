//! The end of an Engine.IO server.

use super::deadline::Deadline;
use super::server::ServerInner;
use super::{Application, CloseReason, Server};
use std::future::poll_fn;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

impl<A: Application> Server<A> {
    /// Closes the server: no further session is opened, the messages that are queued are sent, and the open
    /// sessions are closed.
    ///
    /// Returns when the last session has ended and its last packets were written. It always does, because
    /// each session has deadlines: see [`sockeye::Server::close`](crate::Server::close). For a deadline of your own, use
    /// [`close_within`](Server::close_within).
    pub async fn close(&self) {
        self.begin_close();
        poll_fn(|cx| self.0.poll_closed(cx, 0)).await;
    }

    /// Does the same as [`close`](Server::close), but waits no longer than `timeout`: then the sessions that are left end
    /// without their last packets.
    pub async fn close_within(&self, timeout: Duration) {
        self.begin_close();
        let mut waiting = Waiting { server: &self.0, deadline: Deadline::default() };
        poll_fn(|cx| match self.0.poll_closed(cx, 0) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => waiting.deadline.poll(cx, &self.0, timeout),
        })
        .await;
        self.0.give_up();
    }

    /// Does the same as [`close`](Server::close), but closes the sessions one after the other, evenly spread over a time.
    pub async fn drain(&self, over: Duration) {
        let unfinished = self.close_in_turn(over).await;
        self.begin_close();
        drop(unfinished);
        self.close().await;
    }

    /// Closes the sessions one after the other. The server does not count as closed before the returned guard is dropped.
    pub(crate) async fn close_in_turn(&self, over: Duration) -> impl Sized + use<'_, A> {
        self.0.count_busy(true);
        let unfinished = Unfinished(&self.0);
        self.0.closing.store(true, Ordering::Release);
        let sessions = self.0.sessions();
        let start = self.0.now();
        let pause = over / u32::try_from(sessions.len()).unwrap_or(u32::MAX).max(1);
        let mut waiting = Waiting { server: &self.0, deadline: Deadline::default() };
        for (number, session) in (0..).zip(sessions) {
            let at = start + pause.saturating_mul(number);
            poll_fn(|cx| match self.0.now() < at {
                true => {
                    waiting.deadline.wake_at(cx, &self.0, at);
                    Poll::Pending
                }
                false => Poll::Ready(()),
            })
            .await;
            session.close_with(CloseReason::ServerShutdown);
        }
        drop(waiting);
        unfinished
    }

    /// Does the first half of [`close`](Server::close): closes every session, but does not wait until they
    /// have ended.
    pub fn begin_close(&self) {
        self.0.closing.store(true, Ordering::Release);
        for session in self.0.sessions() {
            session.close_with(CloseReason::ServerShutdown);
        }
        self.0.timers.wake();
        self.0.tell_if_closed();
    }
}

/// A future that waits for the end of a server, but not for longer than a deadline.
struct Waiting<'a, A: Application> {
    server: &'a ServerInner<A>,
    deadline: Deadline,
}

impl<A: Application> Drop for Waiting<'_, A> {
    fn drop(&mut self) {
        self.deadline.clear(&self.server.timers);
    }
}

/// The part of closing a server that is still to be done.
struct Unfinished<'a, A: Application>(&'a ServerInner<A>);

impl<A: Application> Drop for Unfinished<'_, A> {
    fn drop(&mut self) {
        self.0.count_busy(false);
    }
}

impl<A: Application> ServerInner<A> {
    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Returns whether the server was closed, and waits for nothing any more.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed_except(0)
    }

    /// Returns whether the server was closed, and at most `busy` wait for something.
    fn is_closed_except(&self, busy: usize) -> bool {
        // The order matters: a connection becomes busy before it takes the packets that end its session, and
        // stays so until they are written.
        self.is_closing()
            && (self.gave_up.load(Ordering::Acquire)
                || (self.sessions.read().is_empty() && self.busy.load(Ordering::Acquire) <= busy))
    }

    /// Returns `Ready` if the server is closed, except that at most `busy` (0 or 1) wait for something; otherwise the task is
    /// woken when it is.
    pub(crate) fn poll_closed(&self, cx: &Context<'_>, busy: usize) -> Poll<()> {
        let mut closed = self.closed.lock();
        if self.is_closed_except(busy) {
            return Poll::Ready(());
        }
        // An executor may poll several of its tasks with one waker, each of which may wait for another number.
        let is_known = |(other, waker): &mut (usize, Waker)| *other == busy && waker.will_wake(cx.waker());
        let known = closed.extract_if(.., is_known).collect::<Vec<_>>();
        closed.push((busy, cx.waker().clone()));
        drop(closed);
        drop(known);
        Poll::Pending
    }

    /// Waits neither for clients nor for connections any more.
    fn give_up(&self) {
        for session in self.sessions() {
            session.give_up();
        }
        self.gave_up.store(true, Ordering::Release);
        self.tell_if_closed();
    }

    /// Wakes the tasks that wait for the end, if it has come for them.
    pub(super) fn tell_if_closed(&self) {
        if !self.is_closed_except(1) {
            return;
        }
        let mut closed = self.closed.lock();
        let ended = closed.extract_if(.., |(busy, _)| self.is_closed_except(*busy)).collect::<Vec<_>>();
        drop(closed);
        ended.into_iter().for_each(|(_, waker)| waker.wake());
        self.timers.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::App;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn tasks_with_one_waker_are_each_woken_when_the_end_has_come_for_them() {
        let server = Server::new(App::default());
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let cx = Context::from_waker(&waker);
        let woken = || count.0.swap(0, Ordering::SeqCst);
        (0..3).for_each(|_| server.0.count_busy(true));
        server.begin_close();
        for _ in 0..2 {
            // The one that may be last is polled first, as that which closes the server waits for it.
            assert!([1, 0].map(|busy| server.0.poll_closed(&cx, busy)).iter().all(Poll::is_pending));
        }
        server.0.count_busy(false);
        assert_eq!(woken(), 0, "two are busy");
        server.0.count_busy(false);
        assert_eq!(woken(), 1, "only the last is busy");
        assert!(server.0.poll_closed(&cx, 1).is_ready() && server.0.poll_closed(&cx, 0).is_pending());
        server.0.count_busy(false);
        assert_eq!(woken(), 1, "none is busy, and the waker was kept once");
        assert!(server.0.poll_closed(&cx, 0).is_ready());
    }
}
