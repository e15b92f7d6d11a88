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
    pub(super) ack: Option<u64>,
    pub(super) size: usize,
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

    /// Returns whether [`ack`](Received::ack) sends an acknowledgement: the server wants one, no handler of the event
    /// sends it, and this is the first of the socket's streams of events.
    pub fn wants_ack(&self) -> bool {
        self.ack.is_some()
    }

    /// Sends an acknowledgement; does nothing if none is expected.
    ///
    /// # Errors
    /// Returns an error if the socket is not connected, or if the acknowledgement cannot be sent.
    pub fn ack(&self, args: impl Payload) -> Result<(), ClientEmitError> {
        match self.ack {
            Some(id) => Ok(self.socket.answer(id, &args)??),
            None => Ok(()),
        }
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
