//! The body of a response.

use crate::engine::{Application, Delivery, Sender};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use sockeye_core::Outbound;
use sockeye_core::engineio::server::Attempt;
use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// The body of a response: the messages that are queued for the client, without copying shared ones.
#[derive(Default)]
pub struct Body {
    queue: Outbound,
    /// The session whose messages these are.
    sender: Option<(Arc<dyn Sender>, Attempt)>,
}

impl Body {
    pub(super) fn new<A: Application>(queue: Outbound, delivery: Option<&Delivery<A>>) -> Body {
        let sender = delivery.map(Delivery::sender);
        if let Some((sender, _)) = &sender {
            sender.set_busy(true);
        }
        Body { queue, sender }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        let mut queue = Outbound::new();
        queue.push(bytes);
        Body { queue, sender: None }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.queue.pop().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.queue.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.queue.len() as u64)
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let Some((sender, attempt)) = self.sender.take() else { return };
        sender.set_busy(false);
        if !self.queue.is_empty() {
            // Without this the client would continue as if it had missed nothing.
            sender.lose(attempt);
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("bytes", &self.queue.len()).finish_non_exhaustive()
    }
}
