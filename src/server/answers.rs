//! The acknowledgements of a broadcast: one by one as they arrive, or all together.

use crate::engine::Id;
use crate::error::{AckError, EmitError};
use crate::pending::Answer;
use crate::server::ack::{Settled, Waiter, Waiting};
use crate::server::socket::Socket;
use futures_core::Stream;
use sockeye_core::socketio::{ArgsError, OwnedArgs};
use std::fmt;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// The acknowledgements of many sockets: a future of all [`Answers`], and a stream of single ones.
///
/// The message is sent whether or not this is awaited. Dropping it discards the answers that have not arrived.
///
/// ```
/// # async fn ask(io: sockeye::Server) {
/// // All of them, when the last socket has answered or the time is over.
/// let answers = io.emit_with_ack::<bool>("vote", "pizza?").await;
/// println!("{} for, {} without an answer", answers.values().filter(|vote| **vote).count(), answers.missing.len());
///
/// // Each as it arrives.
/// let mut answers = io.emit_with_ack::<bool>("vote", "ice cream?");
/// while let Some(answer) = answers.next().await {
///     if matches!(answer.value, Ok(true)) {
///         break; // One is enough.
///     }
/// }
/// # }
/// ```
#[must_use = "the message is sent in any case; use `emit` if no answers are wanted"]
pub struct AckStream<T> {
    waiting: Waiting,
    answer: PhantomData<fn() -> T>,
}

/// The acknowledgements of a broadcast, and the sockets that sent none.
#[derive(Debug)]
#[non_exhaustive]
pub struct Answers<T> {
    /// The acknowledgements that arrived, in no particular order.
    pub answers: Vec<Answered<T>>,
    /// The sockets that did not acknowledge, with the reason.
    pub missing: Vec<Unanswered>,
    /// The names of the servers that did not report the answers of all of their sockets in time. Those that do not tell
    /// their names, such as servers in Node, are `unnamed`.
    pub silent_servers: Vec<String>,
    /// The reason why the message was sent to no socket, if it cannot be sent at all.
    pub error: Option<EmitError>,
}

/// The acknowledgement of one socket.
#[derive(Debug)]
#[non_exhaustive]
pub struct Answered<T> {
    /// The id of the socket, if it is known: other servers do not report the ids of theirs, and send only the first argument of
    /// the acknowledgement.
    pub socket: Option<Id>,
    /// The acknowledgement, or the reason why it cannot be read as a `T`.
    pub value: Result<T, ArgsError>,
}

/// A socket that did not acknowledge.
#[derive(Debug)]
#[non_exhaustive]
pub struct Unanswered {
    /// The id of the socket, if it is known.
    pub socket: Option<Id>,
    /// The reason.
    pub reason: AckError,
}

impl<T> AckStream<T> {
    pub(super) fn new(waiter: Arc<Waiter>) -> Self {
        AckStream { waiting: Waiting::new(waiter), answer: PhantomData }
    }
}

impl<T: Answer> AckStream<T> {
    /// Waits for the next acknowledgement, in the order in which they arrive. Returns `None` once every socket has
    /// acknowledged, failed, or taken too long.
    ///
    /// To learn which sockets did not acknowledge, await `self` after that: the result has everything that was not
    /// taken.
    pub async fn next(&mut self) -> Option<Answered<T>> {
        poll_fn(|cx| self.poll_answer(cx)).await
    }

    fn poll_answer(&mut self, cx: &Context<'_>) -> Poll<Option<Answered<T>>> {
        self.waiting.poll_next(cx).map(|answer| answer.map(|(id, args)| Answered::read(id, args)))
    }
}

impl<T: Answer> Stream for AckStream<T> {
    type Item = Answered<T>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Answered<T>>> {
        self.get_mut().poll_answer(cx)
    }
}

/// Completes when every socket has acknowledged or failed, or when the time is over.
impl<T: Answer> Future for AckStream<T> {
    type Output = Answers<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answers<T>> {
        self.waiting.poll_all(cx).map(Answers::read)
    }
}

impl<T: Answer> Answered<T> {
    fn read(id: Option<Id>, args: OwnedArgs) -> Self {
        Answered { socket: id, value: T::read(args) }
    }
}

impl<T: Answer> Answers<T> {
    fn read(settled: Settled) -> Self {
        let (mut answers, mut missing) = (Vec::new(), Vec::new());
        for asked in settled.asked {
            let id = asked.peer().as_ref().map(Socket::id);
            match asked.into_result() {
                Some(Ok(args)) => answers.push(Answered::read(id, args)),
                Some(Err(reason)) if id.is_some() => missing.push(Unanswered { socket: id, reason }),
                _ => {}
            }
        }
        Answers { answers, missing, silent_servers: settled.silent, error: settled.error }
    }
}

impl<T> Answers<T> {
    /// Returns the acknowledgements that could be read, regardless of sockets that did not answer.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.answers.iter().filter_map(|answer| answer.value.as_ref().ok())
    }

    /// Returns whether the message was sent, and every socket has acknowledged with a value that could be read.
    pub fn is_complete(&self) -> bool {
        let all_answered = self.missing.is_empty() && self.silent_servers.is_empty() && self.error.is_none();
        all_answered && self.answers.iter().all(|answer| answer.value.is_ok())
    }

    /// Returns the acknowledgements of all sockets.
    ///
    /// # Errors
    /// If one is missing, or cannot be read: the first reason.
    pub fn all(self) -> Result<Vec<T>, AckError> {
        if let Some(error) = self.error {
            return Err(error.into());
        }
        if let Some(missing) = self.missing.into_iter().next() {
            return Err(missing.reason);
        }
        if !self.silent_servers.is_empty() {
            return Err(AckError::Timeout);
        }
        self.answers.into_iter().map(|answer| Ok(answer.value?)).collect()
    }
}

impl<T> fmt::Debug for AckStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AckStream").field("id", &self.waiting.id()).finish()
    }
}
