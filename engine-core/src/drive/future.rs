//! A stream and its protocol as a future.

use super::pump::{Turn, pump};
use super::stream::{NonBlocking, Stream};
use crate::host::Runtime;
use crate::protocol::{Protocol, StreamStatus};
use std::boxed::Box;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::vec::Vec;

/// [`pump`] as a future, for any executor. It completes when the stream should be closed.
pub struct Drive<S, P> {
    stream: S,
    protocol: P,
    runtime: Arc<dyn Runtime>,
    partial: Partial,
    shutting_down: bool,
}

/// The bytes of an incomplete message. Boxed, because most of the time there are none.
#[derive(Default)]
#[expect(clippy::box_collection, reason = "a third of the size, in every task")]
struct Partial(Option<Box<Vec<u8>>>);

impl Partial {
    fn take(&mut self) -> Vec<u8> {
        self.0.take().map_or_else(Vec::new, |bytes| *bytes)
    }

    fn put(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.0 = Some(Box::new(bytes));
        }
    }
}

impl<S: Stream, P: Protocol> Drive<S, P> {
    /// Creates a future that drives `protocol` over `stream`, by the runtime's clock.
    pub fn new(stream: S, protocol: P, runtime: Arc<dyn Runtime>) -> Self {
        Drive { stream, protocol, runtime, partial: Partial::default(), shutting_down: false }
    }

    /// Sets the first bytes, if other code has already read them from the stream.
    pub fn with_input(mut self, input: &[u8]) -> Self {
        self.partial.put(input.to_vec());
        self
    }
}

/// A [`Drive`] that discards its result, for executors that box tasks without one. An `async` block around a `Drive`
/// would be larger.
#[derive(Debug)]
pub struct Unattended<S, P>(pub Drive<S, P>);

impl<S: Stream + Unpin, P: Protocol + Unpin> Future for Unattended<S, P> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx).map(drop)
    }
}

impl<S: Stream + Unpin, P: Protocol + Unpin> Future for Drive<S, P> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.protocol.set_waker(cx.waker());
        loop {
            if this.shutting_down {
                // A failed shutdown is ignored: the peer is gone, and the rest of closing works without it.
                if this.stream.poll_shutdown(cx).is_pending() {
                    // The shutdown may wait for a peer that does not read; the protocol's deadline ends that.
                    this.protocol.handle_wake(this.runtime.now());
                    let is_quiet = this.protocol.poll_transmit().is_none();
                    return match this.protocol.status() {
                        StreamStatus::Closed if is_quiet => Poll::Ready(Ok(())),
                        _ => Poll::Pending,
                    };
                }
                this.shutting_down = false;
            }
            let mut stream = NonBlocking { stream: &mut this.stream, cx };
            let mut partial = this.partial.take();
            let turn = pump(this.runtime.now(), &mut stream, &mut this.protocol, &mut partial)?;
            this.partial.put(partial);
            match turn {
                Turn::Wait => return Poll::Pending,
                Turn::Again => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Turn::HalfClose => this.shutting_down = true,
                Turn::Done => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl<S, P> std::fmt::Debug for Drive<S, P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Drive")
            .field("partial", &self.partial.0.as_ref().map_or(0, |bytes| bytes.len()))
            .finish_non_exhaustive()
    }
}
