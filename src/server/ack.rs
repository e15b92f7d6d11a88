//! Acknowledgements that the server waits for.

use crate::engine::Id;
use crate::engine::timers::{Expire, Key, Target};
use crate::error::{AckError, EmitError};
use crate::payload::Args;
use crate::server::Engine;
use crate::server::socket::Socket;
use parking_lot::{Mutex, MutexGuard};
use serde::de::DeserializeOwned;
use sockeye_core::Time;
use sockeye_core::socketio::{self, ArgsError, OwnedArgs};
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

/// Waits for the acknowledgements of one message by one or many sockets.
pub(crate) struct Waiter {
    /// The acknowledgement id of the message.
    id: u64,
    engine: Weak<Engine>,
    state: Mutex<State>,
}

struct State {
    /// One entry for each socket, in the order in which they were asked.
    asked: Vec<Asked>,
    /// The number of sockets that have neither answered nor failed.
    pending: usize,
    /// The first and the last answer that arrived and was not taken: a list through the entries, in the order of arrival.
    arrived: Option<(u32, u32)>,
    /// The task takes each answer as it arrives, and does not wait for all.
    takes_each: bool,
    /// The message could not be sent to any socket.
    error: Option<EmitError>,
    waker: Option<Waker>,
    timer: Option<Key>,
}

/// A socket that was asked.
pub(super) struct Asked {
    socket: Socket,
    outcome: Outcome,
}

enum Outcome {
    Pending,
    Answered {
        args: OwnedArgs,
        /// The answer that arrived next.
        next: Option<u32>,
    },
    /// The answer was taken alone.
    Taken,
    Failed(AckError),
}

impl Waiter {
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn new(id: u64, engine: Weak<Engine>) -> Arc<Waiter> {
        let state = State {
            asked: Vec::new(),
            pending: 0,
            arrived: None,
            takes_each: false,
            error: None,
            waker: None,
            timer: None,
        };
        Arc::new(Waiter { id, engine, state: Mutex::new(state) })
    }

    /// Expects an acknowledgement from a socket. Called before the message is sent, because the answer could
    /// arrive before this returns. Returns the index of the entry, or `None` if the message must not be sent.
    pub(crate) fn ask(self: &Arc<Self>, socket: &Socket) -> Option<u32> {
        let at = {
            let mut state = self.state.lock();
            state.asked.push(Asked { socket: socket.clone(), outcome: Outcome::Pending });
            state.pending += 1;
            (state.asked.len() - 1) as u32
        };
        match socket.expect_ack(self.id, self.clone(), at) {
            Ok(()) => Some(at),
            Err(error) => {
                self.settle(at, Outcome::Failed(error.into()));
                None
            }
        }
    }

    /// Notes that the message could not be sent to a socket.
    pub(crate) fn fail(&self, socket: &Socket, at: u32, error: EmitError) {
        socket.forget_ack(self.id);
        self.settle(at, Outcome::Failed(error.into()));
    }

    /// Notes that the message could not be sent to any socket.
    pub(super) fn fail_all(&self, error: EmitError) {
        self.state.lock().error = Some(error);
    }

    pub(crate) fn acknowledge(&self, at: u32, args: socketio::Args<'_>) {
        self.settle(at, Outcome::Answered { args: args.into_owned(), next: None });
    }

    pub(crate) fn disconnected(&self, at: u32) {
        self.settle(at, Outcome::Failed(AckError::Disconnected));
    }

    fn settle(&self, at: u32, outcome: Outcome) {
        let mut state = self.state.lock();
        let Some(asked) = state.asked.get_mut(at as usize) else { return };
        if !matches!(asked.outcome, Outcome::Pending) {
            return;
        }
        let is_answer = matches!(outcome, Outcome::Answered { .. });
        asked.outcome = outcome;
        if is_answer {
            state.append(at);
        }
        state.pending -= 1;
        let is_over = state.pending == 0;
        let waker = if is_over || (is_answer && state.takes_each) { state.waker.take() } else { None };
        let timer = if is_over { state.timer.take() } else { None };
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
        if state.pending == 0 {
            return;
        }
        let this: Arc<dyn Expire> = self.clone();
        let (key, driver) = engine.timers.insert(deadline, Target::Object(Arc::downgrade(&this)));
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
    pub(super) fn give_up(&self) {
        let (sockets, waker, timer) = {
            let mut state = self.state.lock();
            let mut sockets = Vec::new();
            for asked in &mut state.asked {
                if matches!(asked.outcome, Outcome::Pending) {
                    asked.outcome = Outcome::Failed(AckError::Timeout);
                    sockets.push(asked.socket.clone());
                }
            }
            state.pending = 0;
            (sockets, state.waker.take(), state.timer.take())
        };
        self.disarm(timer);
        for socket in sockets {
            socket.forget_ack(self.id);
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits for all sockets, and returns those whose answer was not taken alone.
    pub(super) fn poll_all(&self, cx: &Context<'_>) -> Poll<Settled> {
        let mut state = self.state.lock();
        if state.pending == 0 {
            state.arrived = None;
            return Poll::Ready((std::mem::take(&mut state.asked), state.error.take()));
        }
        state.takes_each = false;
        self.wait(state, cx);
        Poll::Pending
    }

    /// Waits for the next answer, and takes it.
    pub(super) fn poll_next(&self, cx: &Context<'_>) -> Poll<Option<(Id, OwnedArgs)>> {
        let mut state = self.state.lock();
        if let Some(answer) = state.take_first() {
            return Poll::Ready(Some(answer));
        }
        if state.pending == 0 {
            return Poll::Ready(None);
        }
        state.takes_each = true;
        self.wait(state, cx);
        Poll::Pending
    }

    /// Keeps the waker of the task.
    fn wait(&self, mut state: MutexGuard<'_, State>, cx: &Context<'_>) {
        if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            let replaced = state.waker.replace(cx.waker().clone());
            drop(state);
            // Dropping the last waker may drop its task, which may hold this future.
            drop(replaced);
        }
    }
}

/// The sockets that were asked, and the reason if the message could not be sent to any.
pub(super) type Settled = (Vec<Asked>, Option<EmitError>);

impl State {
    /// Appends the answer of an entry to those that arrived.
    fn append(&mut self, at: u32) {
        let Some((first, last)) = self.arrived else {
            self.arrived = Some((at, at));
            return;
        };
        if let Some(Asked { outcome: Outcome::Answered { next, .. }, .. }) = self.asked.get_mut(last as usize)
        {
            *next = Some(at);
        }
        self.arrived = Some((first, at));
    }

    /// Takes the first answer that arrived.
    fn take_first(&mut self) -> Option<(Id, OwnedArgs)> {
        let (first, last) = self.arrived?;
        let asked = self.asked.get_mut(first as usize)?;
        let Outcome::Answered { args, next } = std::mem::replace(&mut asked.outcome, Outcome::Taken) else {
            return None;
        };
        self.arrived = next.map(|next| (next, last));
        Some((asked.socket.id(), args))
    }
}

impl Asked {
    pub(super) fn id(&self) -> Id {
        self.socket.id()
    }

    /// Returns the answer, or why there is none; `None` if it was taken alone.
    pub(super) fn into_answer(self) -> Option<Result<OwnedArgs, AckError>> {
        match self.outcome {
            Outcome::Answered { args, .. } => Some(Ok(args)),
            Outcome::Taken => None,
            Outcome::Failed(error) => Some(Err(error)),
            Outcome::Pending => Some(Err(AckError::Timeout)),
        }
    }
}

impl Expire for Waiter {
    fn expire(self: Arc<Self>, _now: Time) {
        self.state.lock().timer = None;
        self.give_up();
    }
}

/// A type that an acknowledgement can be read as: any type that deserializes. A tuple takes the arguments in
/// order, any other type the first; [`Args`] takes them unread.
pub trait Answer: sealed::Read {}

impl<T: sealed::Read> Answer for T {}

pub(super) mod sealed {
    use super::*;

    pub trait Read: Sized {
        fn read(args: OwnedArgs) -> Result<Self, ArgsError>;
    }

    impl<T: DeserializeOwned> Read for T {
        fn read(args: OwnedArgs) -> Result<Self, ArgsError> {
            args.as_args().deserialize()
        }
    }

    impl Read for Args {
        fn read(args: OwnedArgs) -> Result<Self, ArgsError> {
            Ok(Args(args))
        }
    }
}

/// The acknowledgement of one socket. The message is sent whether or not this is awaited; dropping it
/// discards the answer.
#[must_use = "the message is sent in any case; use `emit` if no answer is wanted"]
pub struct AckFuture<T> {
    waiter: Arc<Waiter>,
    answer: PhantomData<fn() -> T>,
}

impl<T> AckFuture<T> {
    pub(crate) fn new(waiter: Arc<Waiter>) -> Self {
        AckFuture { waiter, answer: PhantomData }
    }
}

impl<T: Answer> Future for AckFuture<T> {
    type Output = Result<T, AckError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.waiter.poll_all(cx).map(|(asked, _)| {
            let answer = asked.into_iter().next().and_then(Asked::into_answer);
            Ok(T::read(answer.unwrap_or(Err(AckError::Disconnected))?)?)
        })
    }
}

impl<T> Drop for AckFuture<T> {
    fn drop(&mut self) {
        self.waiter.give_up();
    }
}

impl<T> std::fmt::Debug for AckFuture<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AckFuture").field("id", &self.waiter.id).finish()
    }
}
