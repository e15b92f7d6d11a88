//! Acknowledgements that the server waits for.

use crate::engine::Id;
use crate::engine::timers::{Expire, Key, Notify};
use crate::error::{AckError, EmitError};
use crate::pending::{Answer, Asked, Asks, Pending, Reading};
use crate::server::Engine;
use crate::server::socket::Socket;
use parking_lot::Mutex;
use sockeye_core::Time;
use sockeye_core::socketio::{self, OwnedArgs};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

/// Waits for the acknowledgements of one message by one or many sockets.
pub(crate) struct Waiter {
    /// The acknowledgement id of the message.
    id: u64,
    engine: Weak<Engine>,
    state: Mutex<State>,
}

struct State {
    pending: Pending<Socket, OwnedArgs, AckError>,
    /// The message could not be sent to any socket.
    error: Option<EmitError>,
    timer: Option<Key>,
}

impl Waiter {
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn new(id: u64, engine: Weak<Engine>) -> Arc<Waiter> {
        let state = State { pending: Pending::default(), error: None, timer: None };
        Arc::new(Waiter { id, engine, state: Mutex::new(state) })
    }

    /// Expects an acknowledgement from a socket. Called before the message is sent, because the answer could
    /// arrive before this returns. Returns the index of the entry, or `None` if the message must not be sent.
    pub(crate) fn ask(self: &Arc<Self>, socket: &Socket) -> Option<u32> {
        let at = self.state.lock().pending.ask(socket.clone());
        match socket.expect_ack(self.id, self.clone(), at) {
            Ok(()) => Some(at),
            Err(error) => {
                self.settle(at, Err(error.into()));
                None
            }
        }
    }

    /// Notes that the message could not be sent to a socket.
    pub(crate) fn fail(&self, socket: &Socket, at: u32, error: EmitError) {
        socket.forget_ack(self.id);
        self.settle(at, Err(error.into()));
    }

    /// Notes that the message could not be sent to any socket.
    pub(super) fn fail_all(&self, error: EmitError) {
        self.state.lock().error = Some(error);
    }

    pub(crate) fn acknowledge(&self, at: u32, args: socketio::Args<'_>) {
        self.settle(at, Ok(args.into_owned()));
    }

    pub(crate) fn disconnected(&self, at: u32) {
        self.settle(at, Err(AckError::Disconnected));
    }

    fn settle(&self, at: u32, result: Result<OwnedArgs, AckError>) {
        let mut state = self.state.lock();
        let waker = state.pending.settle(at, result);
        let timer = if state.pending.is_over() { state.timer.take() } else { None };
        drop(state);
        self.disarm(timer);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Sets the deadline at which the waiter gives up.
    pub(crate) fn arm(self: &Arc<Self>, deadline: Time) {
        let Some(engine) = self.engine.upgrade() else { return };
        let mut state = self.state.lock();
        if state.pending.is_over() {
            return;
        }
        let this: Arc<dyn Expire> = self.clone();
        let (key, driver) = engine.timers.insert(deadline, Notify::Object(Arc::downgrade(&this)));
        state.timer = Some(key);
        drop(state);
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    fn disarm(&self, timer: Option<Key>) {
        if let (Some(timer), Some(engine)) = (timer, self.engine.upgrade()) {
            engine.timers.remove(timer);
        }
    }

    /// Stops waiting: later acknowledgements are ignored, and nothing is kept for them.
    fn give_up(&self) {
        let (sockets, waker, timer) = {
            let mut state = self.state.lock();
            let sockets = state.pending.fail_open(|| AckError::Timeout);
            (sockets, state.pending.take_waker(), state.timer.take())
        };
        self.disarm(timer);
        for socket in sockets {
            socket.forget_ack(self.id);
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Expire for Waiter {
    fn expire(self: Arc<Self>, _now: Time) {
        self.state.lock().timer = None;
        self.give_up();
    }
}

/// The results of a message that one task waits for. Dropping this gives up.
pub(super) struct Waiting(Arc<Waiter>);

/// The sockets that were asked, and the reason if the message could not be sent to any.
pub(super) type Settled = (Asks<Socket, OwnedArgs, AckError>, Option<EmitError>);

impl Waiting {
    pub(super) fn new(waiter: Arc<Waiter>) -> Waiting {
        Waiting(waiter)
    }

    pub(super) fn id(&self) -> u64 {
        self.0.id
    }

    /// Waits for all sockets, and returns the results of those whose answer was not taken alone.
    pub(super) fn poll_all(&self, cx: &Context<'_>) -> Poll<Settled> {
        let mut state = self.0.state.lock();
        if let Some(asked) = state.pending.take_all() {
            return Poll::Ready((asked, state.error.take()));
        }
        let replaced = state.pending.wait(cx, false);
        drop(state);
        drop(replaced);
        Poll::Pending
    }

    /// Waits for the next answer, and takes it.
    pub(super) fn poll_next(&self, cx: &Context<'_>) -> Poll<Option<(Id, OwnedArgs)>> {
        let mut state = self.0.state.lock();
        if let Some((socket, args)) = state.pending.take_first() {
            return Poll::Ready(Some((socket.id(), args)));
        }
        if state.pending.is_over() {
            return Poll::Ready(None);
        }
        let replaced = state.pending.wait(cx, true);
        drop(state);
        drop(replaced);
        Poll::Pending
    }
}

impl Future for Waiting {
    type Output = Result<OwnedArgs, AckError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_all(cx).map(|(mut asked, _)| {
            let result = asked.pop().and_then(Asked::into_result);
            result.unwrap_or(Err(AckError::Disconnected))
        })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.give_up();
    }
}

/// The acknowledgement of one socket. The message is sent whether or not this is awaited; dropping it
/// discards the answer.
#[must_use = "the message is sent in any case; use `emit` if no answer is wanted"]
pub struct AckFuture<T>(Reading<Waiting, T>);

impl<T> AckFuture<T> {
    pub(super) fn new(waiter: Arc<Waiter>) -> Self {
        AckFuture(Reading::new(Waiting::new(waiter)))
    }
}

impl<T: Answer> Future for AckFuture<T> {
    type Output = Result<T, AckError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl<T> fmt::Debug for AckFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AckFuture").field("id", &self.0.future.id()).finish()
    }
}
