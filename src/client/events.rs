//! Events taken one by one, instead of by handlers.

use super::shared::Shared;
use super::socket::ClientSocket;
use super::wait::before;
use crate::error::EmitError;
use crate::handler::Acknowledge;
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

/// The events of a socket from now on: made by [`ClientSocket::events`].
///
/// Take them as they come: when 4 MiB of them wait, further ones wait elsewhere, and after 4 MiB more the server is no
/// longer read, until it counts as [gone](super::CloseReason::Behind).
///
/// It is a [`Stream`], too, with all that `futures`, `tokio-stream` or `smol::stream` have for one:
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
    /// The name.
    pub fn event(&self) -> &str {
        &self.event
    }

    /// The arguments.
    pub fn args(&self) -> &Args {
        &self.args
    }

    /// Whether the server waits for an answer, which no handler gives.
    pub fn wants_ack(&self) -> bool {
        self.ack.is_some()
    }

    /// Answers; does nothing if no answer is wanted.
    ///
    /// # Errors
    /// When the socket is not connected, or the answer cannot be sent.
    pub fn ack(&self, args: impl Payload) -> Result<(), EmitError> {
        match self.ack {
            Some(id) => self.socket.acknowledge(id, &args),
            None => Ok(()),
        }
    }
}

/// What waits to be taken.
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
        // Dropped last: it may end this inbox.
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

    /// Nothing more will come.
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
    /// The next event; `None` once the client or its runtime is gone.
    pub async fn recv(&mut self) -> Option<Received> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// The next event, if it comes in time. Without a runtime, which would keep the time, that is one that is here.
    pub async fn recv_timeout(&mut self, timeout: Duration) -> Option<Received> {
        let late = self.inbox.shared.upgrade().and_then(|shared| {
            shared.connector().map(|connector| connector.sleep_until(connector.now() + timeout))
        });
        match late {
            Some(late) => before(late, self.recv()).await.flatten(),
            None => before(ready(()), self.recv()).await.flatten(),
        }
    }

    /// The same as [`recv`](Events::recv), for a future of your own.
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
