//! From the response to a handshake to the stream that hyper hands over.

use super::Mount;
use super::deadline::Deadline;
use super::service::Shared;
use crate::log::warn;
use hyper::upgrade::OnUpgrade;
use parking_lot::Mutex;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Waits for the stream, then drives `connection` over it.
///
/// No task waits, it is done where it is woken: by hyper, while it still is at the connection. Tasks would come to it
/// after all connections that are ready at the same time, and each holds the buffers that its request was read with
/// until then.
pub(super) fn hand_over<M: Mount>(shared: Arc<Shared<M>>, on_upgrade: OnUpgrade, connection: M::Connection) {
    let waiting = Waiting { shared, on_upgrade, deadline: Deadline::default(), connection: Some(connection) };
    Arc::new(HandOver { waiting: Mutex::new(Some(waiting)), wakes: AtomicUsize::new(0) }).wake();
}

struct HandOver<M: Mount> {
    /// Locked by one at a time: whoever comes first.
    waiting: Mutex<Option<Waiting<M>>>,
    /// How often it was woken since nobody is at it.
    wakes: AtomicUsize,
}

impl<M: Mount> Wake for HandOver<M> {
    fn wake(self: Arc<Self>) {
        let mut wakes = self.wakes.fetch_add(1, Ordering::AcqRel) + 1;
        if wakes > 1 {
            // Who is at it looks again.
            return;
        }
        let waker = Waker::from(self.clone());
        loop {
            let mut waiting = self.waiting.lock();
            let polled = waiting.as_mut().map(|it| Pin::new(it).poll(&mut Context::from_waker(&waker)));
            if polled.is_some_and(|it| it.is_ready()) {
                *waiting = None;
            }
            drop(waiting);
            match self.wakes.compare_exchange(wakes, 0, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return,
                Err(more) => wakes = more,
            }
        }
    }
}

struct Waiting<M: Mount> {
    shared: Arc<Shared<M>>,
    on_upgrade: OnUpgrade,
    deadline: Deadline,
    connection: Option<M::Connection>,
}

impl<M: Mount> Future for Waiting<M> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Waiting { shared, on_upgrade, deadline, connection } = &mut *self;
        let server = &shared.server.engine().0;
        match Pin::new(on_upgrade).poll(cx) {
            Poll::Ready(Ok(upgraded)) => {
                if let Some(connection) = connection.take() {
                    shared.drive(upgraded, connection);
                }
            }
            Poll::Ready(Err(error)) => {
                warn!(%error, "a websocket connection was not handed over: does the server around this one allow upgrades?");
            }
            Poll::Pending => {
                if deadline.poll(cx, server, server.config.upgrade_timeout).is_pending() {
                    return Poll::Pending;
                }
                warn!("a websocket connection was not handed over in time");
            }
        }
        Poll::Ready(())
    }
}

impl<M: Mount> Drop for Waiting<M> {
    fn drop(&mut self) {
        self.deadline.clear(&self.shared.server.engine().0.timers);
    }
}
