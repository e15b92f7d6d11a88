//! A stream of events, in addition to the handlers.

use super::error::ClientEmitError;
use super::shared::Shared;
use super::socket::ClientSocket;
use super::wait::before;
use crate::payload::{Args, Payload};
use futures_core::Stream;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fmt;
use std::future::{poll_fn, ready};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// A stream of a socket's events, made by [`ClientSocket::events`].
///
/// Receive promptly: once 4 MiB of events wait here, further ones are held back, and after 4 MiB more the
/// server is no longer read, until the connection ends for [this reason](super::ClientCloseReason::Behind).
///
/// It is also a [`Stream`], so the adapters of `futures`, `tokio-stream` and `smol::stream` apply:
///
/// ```no_run
/// # #[cfg(feature = "smol")]
/// # async fn example(client: sockeye::Client) {
/// use smol::stream::StreamExt;
///
/// let messages = client.events().filter(|received| received.event() == "chat message");
/// let first: Vec<_> = messages.take(10).collect().await;
/// # }
/// ```
pub struct Events {
    pub(super) inbox: Arc<Inbox>,
}

/// An event that was [received](Events::recv).
#[derive(Debug)]
pub struct Received {
    pub(super) socket: ClientSocket,
    pub(super) event: String,
    pub(super) args: Args,
    pub(super) ack: Option<Ack>,
    pub(super) size: usize,
}

/// An acknowledgement that the server waits for.
#[derive(Debug)]
pub(super) struct Ack {
    id: u64,
    is_sent: AtomicBool,
}

impl Ack {
    pub(super) fn new(id: u64) -> Self {
        Ack { id, is_sent: AtomicBool::new(false) }
    }
}

impl Received {
    /// Returns the name of the event.
    pub fn event(&self) -> &str {
        &self.event
    }

    /// Returns the arguments.
    pub fn args(&self) -> &Args {
        &self.args
    }

    /// Returns whether [`ack`](Received::ack) may send an acknowledgement: the server wants one, no handler of the event
    /// sends it, this is the first of the socket's streams of events, and it has not been sent yet.
    pub fn wants_ack(&self) -> bool {
        self.ack.as_ref().is_some_and(|ack| !ack.is_sent.load(Ordering::Relaxed))
    }

    /// Sends the acknowledgement. If that fails, another one may be tried.
    ///
    /// # Errors
    /// [`NoAckWanted`](ClientEmitError::NoAckWanted) unless one [is wanted](Received::wants_ack). Returns an error as well
    /// if the socket is not connected, or if the acknowledgement cannot be encoded or is too large.
    pub fn ack(&self, args: impl Payload) -> Result<(), ClientEmitError> {
        let wanted = |ack: &&Ack| !ack.is_sent.swap(true, Ordering::Relaxed);
        let ack = self.ack.as_ref().filter(wanted).ok_or(ClientEmitError::NoAckWanted)?;
        let sent = self.socket.answer(ack.id, &args).map_err(Into::into).and_then(|sent| Ok(sent?));
        ack.is_sent.store(sent.is_ok(), Ordering::Relaxed);
        sent
    }
}

/// The queue of events that wait to be received.
#[derive(Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    shared: Weak<Shared>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Received>,
    waker: Option<Waker>,
    ended: bool,
}

impl Inbox {
    pub(super) fn new(shared: Weak<Shared>) -> Arc<Inbox> {
        Arc::new(Inbox { state: Mutex::default(), shared })
    }

    pub(super) fn push(&self, received: Received) {
        // Dropped last, because that may end this inbox.
        let shared = self.shared.upgrade();
        let waker = {
            let mut state = self.state.lock();
            if state.ended {
                return;
            }
            if let Some(shared) = &shared {
                shared.add_to_inbox(received.size);
            }
            state.waiting.push_back(received);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Marks the end: no further events will come.
    pub(super) fn end(&self) {
        let waker = {
            let mut state = self.state.lock();
            state.ended = true;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn take(&self, received: Received) -> Received {
        if let Some(shared) = self.shared.upgrade() {
            shared.take_from_inbox(received.size);
        }
        received
    }
}

impl Events {
    /// Returns the next event; `None` once the client or its runtime is gone.
    pub async fn recv(&mut self) -> Option<Received> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Returns the next event, if it arrives within the timeout. Without a runtime, which drives the clock,
    /// only an event that is already queued is returned.
    pub async fn recv_timeout(&mut self, timeout: Duration) -> Option<Received> {
        let late = self.inbox.shared.upgrade().and_then(|shared| {
            shared.connector().map(|connector| connector.sleep_until(connector.now() + timeout))
        });
        match late {
            Some(late) => before(late, self.recv()).await.flatten(),
            None => before(ready(()), self.recv()).await.flatten(),
        }
    }

    /// Polls for the next event, like [`recv`](Events::recv), for hand-written futures.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Received>> {
        let mut state = self.inbox.state.lock();
        if let Some(received) = state.waiting.pop_front() {
            drop(state);
            return Poll::Ready(Some(self.inbox.take(received)));
        }
        if state.ended {
            return Poll::Ready(None);
        }
        let replaced = state.waker.replace(cx.waker().clone());
        drop(state);
        drop(replaced);
        Poll::Pending
    }
}

impl Stream for Events {
    type Item = Received;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Received>> {
        self.poll_recv(cx)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let waiting = {
            let mut state = self.inbox.state.lock();
            state.ended = true;
            std::mem::take(&mut state.waiting)
        };
        let size = waiting.iter().map(|received| received.size).sum();
        if let Some(shared) = self.inbox.shared.upgrade() {
            shared.take_from_inbox(size);
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("waiting", &self.inbox.state.lock().waiting.len()).finish()
    }
}
