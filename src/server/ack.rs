//! Acknowledgements that the server waits for.

use crate::engine::Id;
use crate::engine::timers::{Expire, Key, Target};
use crate::error::{AckError, EmitError};
use crate::payload::Args;
use crate::server::Engine;
use crate::server::socket::Socket;
use parking_lot::Mutex;
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
    missing: usize,
    waker: Option<Waker>,
    timer: Option<Key>,
}

struct Asked {
    socket: Socket,
    answer: Option<Result<OwnedArgs, Missing>>,
}

/// The reason why a socket did not answer.
#[derive(Clone, Debug)]
enum Missing {
    Timeout,
    Disconnected,
    Emit(EmitError),
}

impl Waiter {
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn new(id: u64, engine: Weak<Engine>) -> Arc<Waiter> {
        let state = State { asked: Vec::new(), missing: 0, waker: None, timer: None };
        Arc::new(Waiter { id, engine, state: Mutex::new(state) })
    }

    /// Expects an acknowledgement from a socket. Called before the message is sent, because the answer could
    /// arrive before this returns. Returns the index of the entry, or `None` if the message must not be sent.
    pub(crate) fn ask(self: &Arc<Self>, socket: &Socket) -> Option<u32> {
        let at = {
            let mut state = self.state.lock();
            state.asked.push(Asked { socket: socket.clone(), answer: None });
            state.missing += 1;
            (state.asked.len() - 1) as u32
        };
        match socket.expect_ack(self.id, self.clone(), at) {
            Ok(()) => Some(at),
            Err(error) => {
                self.answer(at, Err(Missing::Emit(error)));
                None
            }
        }
    }

    /// Notes that the message could not be sent to a socket.
    pub(crate) fn fail(&self, socket: &Socket, at: u32, error: EmitError) {
        socket.forget_ack(self.id);
        self.answer(at, Err(Missing::Emit(error)));
    }

    pub(crate) fn acknowledge(&self, at: u32, args: socketio::Args<'_>) {
        self.answer(at, Ok(args.into_owned()));
    }

    pub(crate) fn disconnected(&self, at: u32) {
        self.answer(at, Err(Missing::Disconnected));
    }

    fn answer(&self, at: u32, answer: Result<OwnedArgs, Missing>) {
        let mut state = self.state.lock();
        let Some(asked) = state.asked.get_mut(at as usize) else { return };
        if asked.answer.is_some() {
            return;
        }
        asked.answer = Some(answer);
        state.missing -= 1;
        if state.missing == 0 {
            let (waker, timer) = (state.waker.take(), state.timer.take());
            drop(state);
            self.disarm(timer);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Sets the deadline at which the waiter gives up.
    pub(crate) fn arm(self: &Arc<Self>, deadline: Time) {
        let Some(engine) = self.engine.upgrade() else { return };
        let mut state = self.state.lock();
        if state.missing == 0 {
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
    fn give_up(&self) {
        let (sockets, waker, timer) = {
            let mut state = self.state.lock();
            let mut sockets = Vec::new();
            for asked in state.asked.iter_mut().filter(|asked| asked.answer.is_none()) {
                asked.answer = Some(Err(Missing::Timeout));
                sockets.push(asked.socket.clone());
            }
            state.missing = 0;
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

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Vec<Asked>> {
        let mut state = self.state.lock();
        if state.missing == 0 {
            return Poll::Ready(std::mem::take(&mut state.asked));
        }
        if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            let replaced = state.waker.replace(cx.waker().clone());
            drop(state);
            // Dropping the last waker may drop its task, which may hold this future.
            drop(replaced);
        }
        Poll::Pending
    }
}

impl Expire for Waiter {
    fn expire(self: Arc<Self>, _now: Time) {
        self.state.lock().timer = None;
        self.give_up();
    }
}

impl Asked {
    fn read<T: Answer>(self) -> Result<T, AckError> {
        match self.answer {
            Some(Ok(args)) => Ok(T::read(args)?),
            Some(Err(Missing::Disconnected)) => Err(AckError::Disconnected),
            Some(Err(Missing::Emit(error))) => Err(error.into()),
            Some(Err(Missing::Timeout)) | None => Err(AckError::Timeout),
        }
    }
}

/// A type that an acknowledgement can be read as: any type that deserializes. A tuple takes the arguments in
/// order, any other type the first; [`Args`] takes them unread.
pub trait Answer: sealed::Read {}

impl<T: sealed::Read> Answer for T {}

mod sealed {
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

/// The acknowledgements of many sockets. Completes when all have answered, or when the time is over.
#[must_use = "the message is sent in any case; use `emit` if no answers are wanted"]
pub struct AcksFuture<T> {
    waiter: Arc<Waiter>,
    answer: PhantomData<fn() -> T>,
}

impl<T> AckFuture<T> {
    pub(crate) fn new(waiter: Arc<Waiter>) -> Self {
        AckFuture { waiter, answer: PhantomData }
    }
}

impl<T> AcksFuture<T> {
    pub(crate) fn new(waiter: Arc<Waiter>) -> Self {
        AcksFuture { waiter, answer: PhantomData }
    }
}

impl<T: Answer> Future for AckFuture<T> {
    type Output = Result<T, AckError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.waiter.poll(cx).map(|asked| match asked.into_iter().next() {
            Some(asked) => asked.read(),
            None => Err(AckError::Disconnected),
        })
    }
}

impl<T: Answer> Future for AcksFuture<T> {
    type Output = Vec<(Id, Result<T, AckError>)>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let asked = self.waiter.poll(cx);
        asked.map(|asked| asked.into_iter().map(|asked| (asked.socket.id(), asked.read())).collect())
    }
}

impl<T> Drop for AckFuture<T> {
    fn drop(&mut self) {
        self.waiter.give_up();
    }
}

impl<T> Drop for AcksFuture<T> {
    fn drop(&mut self) {
        self.waiter.give_up();
    }
}

impl<T> std::fmt::Debug for AckFuture<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AckFuture").field("id", &self.waiter.id).finish()
    }
}

impl<T> std::fmt::Debug for AcksFuture<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AcksFuture").field("id", &self.waiter.id).finish()
    }
}
