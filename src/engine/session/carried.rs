//! The session as its connections and requests see it.

use super::{Application, DEAF, HAS_TASKS, Inner, MAX_RUNNING, Session};
use crate::engine::Batch;
use crate::engine::connection::narrow;
use crate::pool;
use parking_lot::MutexGuard;
use sockeye_core::engineio::server::{self, Exchange, Ticket};
use sockeye_core::{Outbound, Time};
use std::sync::atomic::Ordering;
use std::task::Waker;

/// The number of transmitted bytes that count as written.
const FEW: usize = 16 << 10;

/// The cause why a poll waits no more.
pub(in crate::engine) enum Displaced {
    /// It is older than the last attempt to resume the session.
    Late,
    /// Another has taken its place: its response carries this, which is nothing.
    Replaced(Outbound),
}

impl<A: Application> Session<A> {
    /// Notes that the peer is alive, because `arrived` more bytes are here. The table of deadlines is not touched: a
    /// deadline that has moved later is found when its entry fires.
    pub(in crate::engine) fn heard(&self, now: Time, arrived: usize) {
        let engine = &mut self.0.inner.lock().engine;
        engine.heard(now);
        engine.count_received(arrived);
    }

    /// Counts bytes that arrived on a connection that is not the session's transport yet.
    pub(in crate::engine) fn count_received(&self, arrived: usize) {
        self.0.inner.lock().engine.count_received(arrived);
    }

    /// Notes that `arrived` more bytes are here, and begins the connection's turn, at whose end it transmits what was
    /// queued meanwhile. Returns what the application keeps for the messages.
    ///
    /// The peer counts as alive, even if no bytes are new, because the connection may not have been read; unless it
    /// `is_silent`, and the connection was read.
    pub(in crate::engine) fn begin_turn(
        &self,
        clock: &dyn Fn() -> Time,
        arrived: usize,
        is_silent: bool,
    ) -> Batch {
        let mut inner = self.0.inner.lock();
        if !is_silent || self.0.has(DEAF) {
            inner.engine.heard_with(clock);
        }
        inner.engine.count_received(arrived);
        self.0.attended.store(true, Ordering::Relaxed);
        self.0.set(DEAF, false);
        A::begin_batch(&inner.rest.state)
    }

    /// Notes that the connection is not read until handlers catch up.
    #[cold]
    pub(in crate::engine) fn set_deaf(&self) {
        let _inner = self.0.inner.lock();
        self.0.set(DEAF, true);
    }

    /// Moves the queued frames to the connection's own queue. The connection is woken for later ones.
    ///
    /// A few bytes count as written, because nearly always they soon are, and telling the session takes its lock again. If not,
    /// [`set_in_flight`](Session::set_in_flight) tells it.
    #[inline(always)]
    pub(in crate::engine) fn transmit(&self, out: &mut Outbound) {
        let mut inner = self.0.inner.lock();
        if self.0.may_leave(&inner) {
            inner.engine.take_frames(out);
            pool::reclaim(inner.engine.queue_mut());
        }
        let queued = out.len();
        let has_tasks = self.0.has(HAS_TASKS);
        let is_settled = queued <= FEW && !has_tasks && !inner.engine.wants_transmit();
        let in_flight = if is_settled { 0 } else { queued };
        inner.engine.set_in_flight(in_flight);
        self.0.attended.store(in_flight > 0, Ordering::Relaxed);
        self.0.in_flight.store(narrow(in_flight), Ordering::Relaxed);
        self.0.set_committed(&inner.engine);
        if has_tasks {
            self.0.wake_drained(inner);
        }
    }

    /// Answers a ping, and does the same as [`transmit`](Session::transmit). The pong follows what waits, even what is held
    /// back, except what may be dropped: a client knows by it what is still on its way.
    pub(in crate::engine) fn transmit_pong(&self, out: &mut Outbound, data: &[u8]) {
        let mut inner = self.0.inner.lock();
        pool::lend(inner.engine.queue_mut());
        inner.engine.push_pong(data);
        drop(inner);
        self.transmit(out);
    }

    /// Returns whether the session has to be asked for frames: some were queued, or it has to be told that others are written.
    #[inline]
    pub(in crate::engine) fn is_attended(&self) -> bool {
        self.0.attended.load(Ordering::Relaxed)
    }

    /// Sets how many of the transmitted bytes are not yet written. The connection transmits again once they are.
    pub(in crate::engine) fn set_in_flight(&self, bytes: usize) {
        let mut inner = self.0.inner.lock();
        inner.engine.set_in_flight(bytes);
        self.0.attended.store(true, Ordering::Relaxed);
        self.0.in_flight.store(narrow(bytes), Ordering::Relaxed);
        self.0.set_committed(&inner.engine);
        if self.0.has(HAS_TASKS) {
            self.0.wake_drained(inner);
        }
    }

    /// Returns the number of bytes in the queue of the connection that the session knows of.
    pub(in crate::engine) fn in_flight(&self) -> usize {
        self.0.in_flight.load(Ordering::Relaxed) as usize
    }

    /// Returns the number of bytes that wait for the connection, except those that may be dropped as long as they wait.
    pub(in crate::engine) fn waiting(&self) -> usize {
        let committed = self.0.committed.load(Ordering::Relaxed);
        committed.saturating_sub(self.0.in_flight.load(Ordering::Relaxed)) as usize
    }

    /// Returns the response to the pending poll if there is something to send; otherwise keeps the waker for
    /// it.
    ///
    /// # Errors
    /// If the poll, that of `exchange`, is not the one that waits any more.
    pub(in crate::engine) fn take_payload(
        &self,
        waker: Option<&Waker>,
        exchange: &Exchange,
    ) -> Result<Option<Outbound>, Displaced> {
        let inner = self.0.inner.lock();
        if self.0.is_resumable() && exchange.is_late(&inner.engine) {
            return Err(Displaced::Late);
        }
        if exchange.is_replaced(&inner.engine) {
            return Err(Displaced::Replaced(self.take_noop(inner)));
        }
        Ok(self.take_from(inner, waker))
    }

    /// Returns the response to a poll whose place another has taken.
    #[cold]
    fn take_noop(&self, mut inner: MutexGuard<'_, Inner<A>>) -> Outbound {
        let noop = inner.engine.take_noop();
        let follow = self.follow(&mut inner);
        drop(inner);
        self.finish(follow);
        noop
    }

    /// Begins a poll, and does the same as [`take_payload`](Session::take_payload) if that succeeds. The session must not be
    /// one with stateful reconnect, which may lose its connection by it.
    // Under one lock, with the consequences handled once: `benches/count polling`.
    pub(in crate::engine) fn begin_poll<E>(
        &self,
        waker: Option<&Waker>,
        begin: impl FnOnce(&mut server::Session) -> Result<(), E>,
    ) -> Result<Option<Outbound>, E> {
        let mut inner = self.0.inner.lock();
        let replaced = match inner.begin_poll(begin) {
            Ok(replaced) => replaced,
            Err(error) => {
                let follow = self.follow(&mut inner);
                drop(inner);
                self.finish(follow);
                return Err(error);
            }
        };
        let payload = self.take_from(inner, waker);
        if let Some(replaced) = replaced {
            replaced.wake();
        }
        Ok(payload)
    }

    /// Begins a poll of a session with stateful reconnect, which may lose its connection by it, and does nothing more: then
    /// call [`take_payload`](Session::take_payload).
    pub(in crate::engine) fn begin_losing_poll<E>(
        &self,
        begin: impl FnOnce(&mut server::Session) -> Result<(), E>,
    ) -> Result<(), E> {
        // The waker is taken under this lock, as another connection may have the session after it.
        let replaced = self.with_loss(|inner| inner.begin_poll(begin))?;
        if let Some(replaced) = replaced {
            replaced.wake();
        }
        Ok(())
    }

    fn take_from(&self, mut inner: MutexGuard<'_, Inner<A>>, waker: Option<&Waker>) -> Option<Outbound> {
        let replaced = self.0.begin_wait(&mut inner, waker);
        // In one critical section: otherwise messages that are sent behind a cork could slip out between the
        // check and the taking.
        let payload = if self.0.may_answer(&inner) { inner.engine.take_payload() } else { None };
        let follow = self.follow(&mut inner);
        drop(inner);
        // Dropping the last waker may drop its task, which may be another connection of this session.
        drop(replaced);
        self.finish(follow);
        payload
    }

    /// Sets the waker of the pending poll, that of `exchange`, unless the session has moved on to WebSocket.
    pub(in crate::engine) fn set_poll_waker(&self, waker: &Waker, exchange: &Exchange) {
        let mut inner = self.0.inner.lock();
        let is_late = self.0.is_resumable() && exchange.is_late(&inner.engine);
        if is_late || exchange.is_replaced(&inner.engine) {
            drop(inner);
            return waker.wake_by_ref();
        }
        let replaced = self.0.begin_wait(&mut inner, Some(waker));
        drop(inner);
        drop(replaced);
    }

    /// Sets the waker of the connection that carries the session from now on, and is in its turn.
    pub(in crate::engine) fn set_waker(&self, waker: Option<&Waker>) {
        let mut inner = self.0.inner.lock();
        let replaced = std::mem::replace(&mut inner.waker, waker.cloned());
        // What was queued before is transmitted in this turn, and what is in flight may be written in it.
        let is_due = self.0.may_leave(&inner) && inner.engine.wants_transmit();
        self.0.attended.store(is_due || self.in_flight() > 0, Ordering::Relaxed);
        drop(inner);
        // Dropping the last waker may drop its task, which may be another connection of this session.
        drop(replaced);
        // The thread that evicted this connection may have called its former waker.
        if self.is_evicted()
            && let Some(waker) = waker
        {
            waker.wake_by_ref();
        }
    }

    /// Sets the waker of the connection of an upgrade, which is called when the upgrade is due or over.
    pub(in crate::engine) fn set_probe_waker(&self, ticket: Ticket, waker: Option<&Waker>) {
        let Some(waker) = waker else { return };
        let mut inner = self.0.inner.lock();
        let replaced = inner.waits.set_probe(ticket, waker.clone());
        let lost = inner.take_settled_probe();
        drop(inner);
        drop(replaced);
        if let Some(waker) = lost {
            waker.wake();
        }
    }

    /// Wakes the connection for another reason than queued messages.
    pub(in crate::engine) fn wake(&self) {
        let waker = self.0.inner.lock().waker.clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Returns whether handlers keep up, so that more may be read. Handlers that wait for the client's
    /// acknowledgement would wait in vain if the client was not read, so each pending acknowledgement raises
    /// the limit by one.
    pub(in crate::engine) fn has_capacity(&self) -> bool {
        let running = self.0.running.load(Ordering::Relaxed);
        // The second number lies in memory that a turn does not need otherwise.
        running < MAX_RUNNING || running < MAX_RUNNING.saturating_add(self.0.awaited.load(Ordering::Relaxed))
    }

    /// Counts a pending acknowledgement, which raises the handler limit; then wake the waker that
    /// [`take_resume_waker`](Session::take_resume_waker) returns.
    pub(crate) fn begin_await(&self) {
        self.0.awaited.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the waker of a request that may continue because the handler limit was raised. Call it without
    /// a lock.
    pub(crate) fn take_resume_waker(&self) -> Option<Waker> {
        let may_wait = self.0.running.load(Ordering::Relaxed) >= MAX_RUNNING && self.has_capacity();
        if may_wait { self.0.inner.lock().waits.take_resume() } else { None }
    }

    /// Subtracts acknowledgements that have arrived or are no longer awaited.
    pub(crate) fn end_await(&self, count: u32) {
        self.0.awaited.fetch_sub(count, Ordering::Relaxed);
    }

    /// Returns whether handlers keep up. If not, `waker` is called once they do, or the session has ended.
    pub(in crate::engine) fn has_capacity_or_wake(&self, waker: Option<&Waker>) -> bool {
        if self.has_capacity() {
            return true;
        }
        let mut inner = self.0.inner.lock();
        let replaced = inner.waits.set_resume(waker.cloned());
        let is_detached = inner.engine.is_detached();
        drop(inner);
        match replaced {
            // Of a request that resumes the session, which would wait for its deadline.
            Some(replaced) if is_detached => replaced.wake(),
            replaced => drop(replaced),
        }
        self.has_capacity()
    }
}

impl<A: Application> Inner<A> {
    /// Begins a poll. Returns the waker of the one whose place it has taken, to be called once the lock is free.
    #[inline]
    fn begin_poll<E>(
        &mut self,
        begin: impl FnOnce(&mut server::Session) -> Result<(), E>,
    ) -> Result<Option<Waker>, E> {
        let replaces = self.engine.has_poll();
        begin(&mut self.engine)?;
        Ok(if replaces { self.waker.take() } else { None })
    }
}
