//! Futures of a client: acknowledgements, and the fate of a message.

use super::ClientConnectError;
use super::error::{ClientAckError, ClientEmitError};
use super::shared::Shared;
use super::socket::ClientSocket;
use crate::pending::{Answer, Reading};
use serde::ser::{Serialize, SerializeTuple, Serializer};
use sockeye_core::socketio::OwnedArgs;
use sockeye_core::socketio::client::{NamespaceId, Token};
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Weak;
use std::task::{Context, Poll, ready};

/// Returns the output of `future`, if it completes before `late` does.
pub(super) async fn before<T>(late: impl Future<Output = ()>, future: impl Future<Output = T>) -> Option<T> {
    let (mut late, mut future) = (pin!(late), pin!(future));
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => late.as_mut().poll(cx).map(|()| None),
    })
    .await
}

/// The fate of a message: await this to learn it, or drop this.
///
/// `Ok` means that the message was handed to the connection; with
/// [`retries`](crate::client::ClientBuilder::retries), that it was acknowledged. Without a runtime the result
/// is [`ClientEmitError::Disconnected`] immediately, though the message may still wait for one.
pub struct Sent(pub(super) Option<(Weak<Shared>, Token)>);

impl Sent {
    /// Returns whether the message waits for a connection, or for its acknowledgement.
    pub fn is_waiting(&self) -> bool {
        self.0.is_some()
    }
}

impl Future for Sent {
    type Output = Result<(), ClientEmitError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some((shared, token)) = &self.0 else { return Poll::Ready(Ok(())) };
        let poll = match shared.upgrade() {
            Some(shared) => shared.poll_fate(cx, *token),
            None => Poll::Ready(Err(ClientEmitError::Disconnected)),
        };
        if poll.is_ready() {
            self.0 = None;
        }
        poll
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        if let Some((shared, token)) = self.0.take()
            && let Some(shared) = shared.upgrade()
        {
            shared.forget_fate(token);
        }
    }
}

/// Serializes as no arguments, because a handler's return value is serialized: a handler that ends with an emit
/// acknowledges, as one of a server does.
impl Serialize for Sent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_tuple(0)?.end()
    }
}

impl fmt::Debug for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sent").field("is_waiting", &self.is_waiting()).finish()
    }
}

/// The acknowledgement of the server. The message is sent whether or not this is awaited; dropping it
/// discards the answer.
#[must_use = "the message is sent in any case; use `emit` if no answer is wanted"]
pub struct ClientAckFuture<T>(Reading<Waiting, T>);

/// The result of an event that one task waits for. Dropping this gives up.
struct Waiting(AckState);

pub(super) enum AckState {
    Waiting(Weak<Shared>, NamespaceId, u64),
    Failed(ClientEmitError),
    Done,
}

impl<T> ClientAckFuture<T> {
    pub(super) fn new(state: AckState) -> Self {
        ClientAckFuture(Reading::new(Waiting(state)))
    }
}

impl<T: Answer> Future for ClientAckFuture<T> {
    type Output = Result<T, ClientAckError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl Future for Waiting {
    type Output = Result<OwnedArgs, ClientAckError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = match &self.0 {
            AckState::Waiting(shared, id, ack) => match shared.upgrade() {
                Some(shared) => ready!(shared.poll_answer(cx, *id, *ack)).map_err(ClientAckError::from),
                None => Err(ClientAckError::Disconnected),
            },
            AckState::Failed(error) => Err(error.clone().into()),
            AckState::Done => Err(ClientAckError::Disconnected),
        };
        self.0 = AckState::Done;
        Poll::Ready(answer)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let AckState::Waiting(shared, id, ack) = &self.0
            && let Some(shared) = shared.upgrade()
        {
            shared.forget_answer(*id, *ack);
        }
    }
}

impl<T> fmt::Debug for ClientAckFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientAckFuture").finish_non_exhaustive()
    }
}

/// The result of an attempt to connect, made by [`ClientSocket::connected`].
#[must_use = "nothing is waited for until it is awaited"]
#[derive(Debug)]
pub struct Connected {
    pub(super) socket: ClientSocket,
    /// The number of attempts that had failed when this was made.
    pub(super) failed: u32,
    /// The key of its waker, once it waits.
    pub(super) id: Option<u64>,
}

impl Future for Connected {
    type Output = Result<(), ClientConnectError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Connected { socket, failed, id } = &mut *self;
        socket.poll_connected(cx, *failed, id)
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.socket.forget_waiter(id);
        }
    }
}

/// The end of a client.
pub(super) struct Closed<'a> {
    shared: &'a Shared,
    /// The key of its waker, once it waits.
    id: Option<u64>,
}

impl<'a> Closed<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        Closed { shared, id: None }
    }
}

impl Future for Closed<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.shared.poll_closed(cx, &mut self.id)
    }
}

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.shared.forget_closed(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Client;
    use std::task::Waker;

    #[test]
    fn nothing_is_kept_for_results_that_were_awaited_without_a_runtime() {
        let client = Client::new("http://localhost").expect("the address is right");
        let shared = client.socket.shared().expect("the client lives");
        let mut cx = Context::from_waker(Waker::noop());
        let mut answer = pin!(client.emit_with_ack::<()>("m", ()));
        assert!(answer.as_mut().poll(&mut cx).is_ready());
        let mut sent = pin!(client.emit("m", ()).expect("it waits for a runtime"));
        assert!(sent.as_mut().poll(&mut cx).is_ready());
        assert_eq!((shared.answers.len(), shared.fates.len()), (0, 0));
    }
}
