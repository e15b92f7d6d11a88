//! A stream and its protocol as a future.

use super::pump::{Turn, pump_with};
use super::stream::{NonBlocking, Stream};
use crate::hint::cold_path;
use crate::host::Runtime;
use crate::protocol::{Protocol, StreamStatus};
use std::boxed::Box;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::vec::Vec;

/// [`pump`](super::pump()) as a future, for any executor. It completes when the stream should be closed.
///
/// It keeps a thin pointer if `R` is sized: an `Arc<dyn Runtime>` in an [`Arc`] of its own, shared by all streams of a
/// server, makes every task smaller.
pub struct Drive<S, P, R: ?Sized = dyn Runtime> {
    stream: S,
    protocol: P,
    runtime: Arc<R>,
    /// Boxed, because most of the time there is none, and every task pays for its size.
    rest: Option<Box<Rest>>,
}

/// The state that most streams do not have most of the time.
struct Rest {
    /// The bytes of an incomplete message.
    partial: Vec<u8>,
    is_shutting_down: bool,
}

impl<S: Stream, P: Protocol, R: Runtime + ?Sized> Drive<S, P, R> {
    /// Creates a future that drives `protocol` over `stream`, by the runtime's clock.
    pub fn new(stream: S, protocol: P, runtime: Arc<R>) -> Self {
        Drive { stream, protocol, runtime, rest: None }
    }

    /// Sets the first bytes, if other code has already read them from the stream.
    pub fn with_input(mut self, input: &[u8]) -> Self {
        self.rest = Some(Box::new(Rest { partial: input.to_vec(), is_shutting_down: false }));
        self
    }

    /// Keeps what the next turn needs.
    #[cold]
    fn keep(&mut self, partial: Vec<u8>, is_shutting_down: bool) {
        self.rest = Some(Box::new(Rest { partial, is_shutting_down }));
    }

    /// Continues to shut the writing side down. Returns `None` if it is done.
    #[cold]
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Option<Poll<io::Result<()>>> {
        // A failed shutdown is ignored: the peer is gone, and the rest of closing works without it.
        if self.stream.poll_shutdown(cx).is_ready() {
            return None;
        }
        // The shutdown may wait for a peer that does not read; the protocol's deadline ends that.
        self.protocol.handle_wake(self.runtime.now());
        let is_quiet = self.protocol.poll_transmit().is_none();
        Some(match self.protocol.status() {
            StreamStatus::Closed if is_quiet => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        })
    }
}

/// A [`Drive`] that discards its result, for executors that box tasks without one. An `async` block around a `Drive`
/// would be larger.
#[derive(Debug)]
pub struct Unattended<S, P, R: ?Sized = dyn Runtime>(pub Drive<S, P, R>);

impl<S: Stream + Unpin, P: Protocol + Unpin, R: Runtime + ?Sized> Future for Unattended<S, P, R> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx).map(drop)
    }
}

impl<S: Stream + Unpin, P: Protocol + Unpin, R: Runtime + ?Sized> Future for Drive<S, P, R> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.protocol.set_waker(cx.waker());
        loop {
            if this.rest.as_ref().is_some_and(|rest| rest.is_shutting_down)
                && let Some(result) = this.poll_shutdown(cx)
            {
                return result;
            }
            // Registers the waker at each turn, because a runtime with several threads may have used it up for bytes that an
            // earlier turn has read.
            let is_readable = this.stream.poll_readable(cx).is_ready();
            let mut partial = this.rest.take().map_or_else(Vec::new, |rest| rest.partial);
            let mut stream = NonBlocking { stream: &mut this.stream, cx };
            let clock = || this.runtime.now();
            let turn = pump_with(clock, &mut stream, &mut this.protocol, &mut partial, is_readable)?;
            let is_shutting_down = turn == Turn::HalfClose;
            if is_shutting_down || !partial.is_empty() {
                this.keep(partial, is_shutting_down);
            }
            match turn {
                Turn::Wait => return Poll::Pending,
                Turn::Again => {
                    cold_path();
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Turn::HalfClose => {}
                Turn::Done => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl<S, P, R: ?Sized> std::fmt::Debug for Drive<S, P, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Drive")
            .field("partial", &self.rest.as_ref().map_or(0, |rest| rest.partial.len()))
            .finish_non_exhaustive()
    }
}
