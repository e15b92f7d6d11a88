//! Takes over the stream from hyper after the response to a WebSocket handshake.

use super::Mount;
use super::service::Shared;
use crate::engine::deadline::Deadline;
use crate::log::{self, warn};
use hyper::upgrade::OnUpgrade;
use parking_lot::Mutex;
use sockeye_core::host::Peer;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Waits for the stream, then drives `connection` over it.
///
/// There is no task that waits: the work is done in the waker, which hyper calls while it handles the
/// connection. A task would run only after all connections that are ready at the same time, and until then
/// each of them holds the buffers that its request was read with.
pub(super) fn hand_over<M: Mount>(
    shared: Arc<Shared<M>>,
    peer: Peer,
    on_upgrade: OnUpgrade,
    connection: M::Connection,
) {
    let waiting =
        Waiting { shared, peer, on_upgrade, deadline: Deadline::default(), connection: Some(connection) };
    Arc::new(HandOver { waiting: Mutex::new(Some(waiting)), wakes: AtomicUsize::new(0) }).wake();
}

struct HandOver<M: Mount> {
    /// Taken out while a thread polls it.
    waiting: Mutex<Option<Waiting<M>>>,
    /// The number of wakes since a thread began to poll. Not reset when the stream was taken over.
    wakes: AtomicUsize,
}

impl<M: Mount> Wake for HandOver<M> {
    fn wake(self: Arc<Self>) {
        if self.wakes.fetch_add(1, Ordering::AcqRel) > 0 {
            // The thread that polls handles this wake, too.
            return;
        }
        let Some(mut waiting) = self.waiting.lock().take() else { return };
        let waker = Waker::from(self.clone());
        if Pin::new(&mut waiting).poll(&mut Context::from_waker(&waker)).is_ready() {
            return;
        }
        let runtime = waiting.shared.runtime().clone();
        *self.waiting.lock() = Some(waiting);
        if self.wakes.swap(0, Ordering::AcqRel) > 1 {
            // In a turn of its own, because in this one tokio's cooperative budget may be used up, so that
            // nothing becomes ready.
            runtime.spawn(Box::pin(async move { self.wake() }));
        }
    }
}

struct Waiting<M: Mount> {
    shared: Arc<Shared<M>>,
    peer: Peer,
    on_upgrade: OnUpgrade,
    deadline: Deadline,
    connection: Option<M::Connection>,
}

impl<M: Mount> Future for Waiting<M> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Waiting { shared, peer, on_upgrade, deadline, connection } = &mut *self;
        let server = &shared.server.engine().0;
        match Pin::new(on_upgrade).poll(cx) {
            Poll::Ready(Ok(upgraded)) => {
                if let Some(connection) = connection.take() {
                    shared.drive(upgraded, connection);
                }
            }
            Poll::Ready(Err(error)) => {
                let peer = log::peer(peer.address);
                warn!(peer = %peer, cause = %error, "a websocket connection was not handed over: does the server around this one allow upgrades?");
            }
            Poll::Pending => {
                if deadline.poll(cx, server, server.site.config.upgrade_timeout).is_pending() {
                    return Poll::Pending;
                }
                let peer = log::peer(peer.address);
                warn!(peer = %peer, "a websocket connection was not handed over in time");
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
