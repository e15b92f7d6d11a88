//! Stateful reconnect: a session that loses its connection, and continues on another one.
//!
//! A lost connection gives the session up in a turn of its own, after its last message. Until then a request that resumes the
//! session waits, so that messages are handled once and in order.

use super::{Application, CloseReason, EVICTED, Inner, Session};
use crate::observe::ServerEvent;
use sockeye_core::Time;
use sockeye_core::engineio::TransportError;
use sockeye_core::engineio::server::{self, Attempt};
use std::sync::atomic::Ordering;
use std::task::Waker;

/// A response to a poll that is being written.
pub(crate) struct Delivery<A: Application> {
    session: Session<A>,
    /// The last attempt to resume the session when the messages were taken.
    attempt: Attempt,
}

impl<A: Application> Delivery<A> {
    pub(in crate::engine) fn new(session: Session<A>, attempt: Attempt) -> Delivery<A> {
        Delivery { session, attempt }
    }

    /// Notes that some of the messages will not arrive.
    pub(in crate::engine) fn lose(&self) {
        self.session.lose_payload(self.attempt);
    }

    /// Returns the object to notify if the messages do not arrive, and what to pass to it.
    #[cfg(feature = "http")]
    pub(crate) fn sender(&self) -> (std::sync::Arc<dyn super::Sender>, Attempt) {
        (self.session.sender(), self.attempt)
    }
}

impl<A: Application> Session<A> {
    /// Returns whether the session outlives its connections.
    #[inline]
    pub(crate) fn is_resumable(&self) -> bool {
        self.0.is_resumable()
    }

    /// Returns whether the WebSocket connection that carries the session may go on: the session has neither ended nor given
    /// it up.
    #[inline]
    pub(in crate::engine) fn is_steady(&self) -> bool {
        self.0.fate.load(Ordering::Acquire) == 0
    }

    pub(in crate::engine) fn is_evicted(&self) -> bool {
        self.0.fate.load(Ordering::Acquire) & EVICTED != 0
    }

    /// Returns the number of messages that the client has not acknowledged, if it is a session with stateful reconnect.
    pub(super) fn unacknowledged(&self) -> Option<u64> {
        if self.0.is_resumable() { self.0.inner.lock().engine.unacknowledged() } else { None }
    }

    /// Does the same as [`with`](Session::with) for a change by which the session may lose its connection: lets that
    /// connection and its requests end, and tells of it.
    pub(in crate::engine) fn losing<R>(&self, f: impl FnOnce(&mut server::Session, &mut A::State) -> R) -> R {
        match self.0.is_resumable() {
            true => self.with_loss(|inner| f(&mut inner.engine, &mut inner.rest.state)),
            false => self.with(f),
        }
    }

    /// Does the same as [`losing`](Session::losing) for a session with stateful reconnect.
    pub(super) fn with_loss<R>(&self, f: impl FnOnce(&mut Inner<A>) -> R) -> R {
        let mut inner = self.0.inner.lock();
        let was_detached = inner.engine.is_detached();
        let result = f(&mut inner);
        let is_lost = !was_detached && inner.engine.is_detached();
        let loss = inner.engine.loss().filter(|_| is_lost).cloned();
        let woken = if is_lost { self.evict(&mut inner) } else { [None, None] };
        let follow = self.follow(&mut inner);
        drop(inner);
        self.finish(follow);
        if let Some(reason) = loss {
            let _inside = self.span().enter();
            let (session, handshake) = (self.id(), self.handshake());
            self.tell(&ServerEvent::SessionDetached { session, handshake, reason: &reason });
        }
        woken.into_iter().flatten().for_each(Waker::wake);
        result
    }

    /// Notes that the connection has to give the session up. Returns the wakers of it and of a request that waits.
    fn evict(&self, inner: &mut Inner<A>) -> [Option<Waker>; 2] {
        let waker = match inner.engine.is_evicted() {
            true => {
                self.0.fate.fetch_or(EVICTED, Ordering::Release);
                inner.waker.clone()
            }
            // A poll.
            false => inner.waker.take(),
        };
        [waker, inner.waits.take_resume()]
    }

    /// Handles the loss of the WebSocket connection that carried the session, or gives up one that was evicted. Called by
    /// that connection, which handles no more messages.
    pub(in crate::engine) fn let_go(&self, now: Time, reason: CloseReason) {
        self.losing(|engine, _| {
            engine.lose(now, reason);
            // Under the lock, before another connection has the session.
            self.0.fate.fetch_and(!EVICTED, Ordering::Release);
            self.0.in_flight.store(0, Ordering::Relaxed);
        });
        if self.0.is_resumable() {
            self.end_hold();
        }
    }

    /// Lets a request that resumes the session go on.
    fn end_hold(&self) {
        let mut inner = self.0.inner.lock();
        let woken = match inner.engine.is_detached() {
            true => [inner.waker.take(), inner.waits.take_resume()],
            false => [None, None],
        };
        drop(inner);
        // The first one is that of the caller, for which a turn more does nothing.
        woken.into_iter().flatten().for_each(Waker::wake);
    }

    /// Notes that messages of a payload which was taken when `attempt` was the last one will not arrive.
    pub(super) fn lose_payload(&self, attempt: Attempt) {
        match self.0.is_resumable() {
            true => {
                let now = self.now();
                self.losing(|engine, _| engine.lose_payload(now, attempt));
            }
            false => self.close_with(TransportError::PollAborted.into()),
        }
    }

    /// Begins to handle the packets of a request, of `arrived` bytes. Returns `false` if the request is too late, so that
    /// they must not be handled. Afterwards call [`end_packets`](Session::end_packets).
    pub(in crate::engine) fn begin_packets(&self, now: Time, arrived: usize, attempt: Attempt) -> bool {
        let engine = &mut self.0.inner.lock().engine;
        if self.0.is_resumable() && !engine.begin_handling(attempt) {
            return false;
        }
        engine.heard(now);
        engine.count_received(arrived);
        true
    }

    pub(in crate::engine) fn end_packets(&self) {
        if self.0.is_resumable() {
            self.0.inner.lock().engine.end_handling();
            self.end_hold();
        }
    }

    /// Sets the waker of the request that resumes the session, which is called when it can go on.
    pub(in crate::engine) fn set_resuming_waker(&self, waker: Option<&Waker>) {
        let replaced = self.0.inner.lock().waits.set_resume(waker.cloned());
        // Of an earlier attempt, which is over, or of a later one, which has to set its own again.
        if let Some(replaced) = replaced
            && !waker.is_some_and(|waker| waker.will_wake(&replaced))
        {
            replaced.wake();
        }
    }
}
