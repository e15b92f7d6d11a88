//! One session of an Engine.IO server, and the lock around it.

mod carried;
mod observed;
mod resuming;
mod waits;
mod writable;

use super::connection::narrow;
use super::server::ServerInner;
use super::timers::{Expire, Key, Notify};
use super::{Application, CloseReason, Conn, Message, SendError, TransportError};
use crate::by_id::Identified;
use crate::guard::guard;
use crate::handshake::Handshake;
use crate::log::{self, Span};
use crate::observe::ServerEvent;
use crate::pool;
pub(in crate::engine) use carried::Displaced;
use parking_lot::Mutex;
pub(crate) use resuming::Delivery;
use sockeye_core::Time;
#[cfg(feature = "http")]
use sockeye_core::engineio::server::Attempt;
use sockeye_core::engineio::server::{Controls, SendFlags};
use sockeye_core::engineio::{self, Id, Part, Transport, Version};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::task::Waker;
use waits::Waits;

/// A handle to a session: it is cheap to clone, and keeps nothing alive. Once the session has ended, nothing can be sent.
pub struct Session<A: Application>(Arc<Shared<A>>);

// In this order, so that what each message and each delivery of a broadcast uses lies together: a broadcast to many clients
// costs as much as the cache lines that it touches.
#[repr(C)]
pub(crate) struct Shared<A: Application> {
    /// What concerns the connection that carries the session: [`CLOSED`] and [`EVICTED`], or 0.
    fate: AtomicU8,
    /// The connection is in its turn, was woken, or is writing what the session counts as in flight: it looks at the queue
    /// again without another wake, and only then. Written under the lock, read without it.
    attended: AtomicBool,
    /// The constants of this type, such as [`OBSERVED`].
    flags: AtomicU8,
    /// While this is not zero, nothing is transmitted. Changed under the lock, as some of the flags: there, they would take 8
    /// bytes more.
    corks: AtomicU8,
    /// The number of the application's handlers that are still running.
    running: AtomicU32,
    /// The number of queued bytes, except those that may be dropped as long as they wait; at most `u32::MAX`, as the next.
    /// Written under the lock, read without it.
    committed: AtomicU32,
    /// The number of bytes in the queue of the connection that the session knows of. Written under the lock, read without it.
    in_flight: AtomicU32,
    inner: Mutex<Inner<A>>,
    /// The number of acknowledgements that the application waits for.
    awaited: AtomicU32,
    id: Id,
    kept: Box<Kept<A>>,
    span: Span,
}

/// The flag of a session whose server has an observer.
const OBSERVED: u8 = 1;
/// The flag of a session that outlives its connections.
const RESUMABLE: u8 = 2;
/// The flag of a session that is in use, so that it no longer counts as pending.
const SETTLED: u8 = 4;
/// The flag of a session of version 3.
const OF_V3: u8 = 8;
/// The flag of a connection that is not being read, so that silence says nothing about the peer. Changed under the lock.
const DEAF: u8 = 16;
/// The flag of a session whose application was told of the end. Changed under the lock.
const TOLD: u8 = 32;
/// The flag of tasks that wait until the queue is short, which `waits` says, too, but not in the memory that each message
/// uses. Changed under the lock.
const HAS_TASKS: u8 = 64;

/// What is rarely read. In a box, as the state of the application: small allocations fit into the gaps that an allocator leaves
/// between tasks, which tokio aligns to 128 bytes; one large does not. The two boxes together fit into one gap.
struct Kept<A: Application> {
    handshake: Handshake,
    server: Weak<ServerInner<A>>,
}

// In this order for the same reason.
#[repr(C)]
struct Inner<A: Application> {
    /// Wakes the connection that carries the session, or the pending poll.
    waker: Option<Waker>,
    engine: engineio::server::Session,
    rest: Box<Rest<A>>,
    /// Wakes what waits for the session besides its connection.
    waits: Waits,
}

struct Rest<A: Application> {
    timer: Option<Key>,
    state: A::State,
}

/// The session has ended. Set before the application is told.
const CLOSED: u8 = 1;
/// The session has given up the WebSocket connection that carries it.
const EVICTED: u8 = 2;

/// The number of running handlers at which a connection is no longer read.
const MAX_RUNNING: u32 = 256;

impl<A: Application> Session<A> {
    pub(super) fn new(
        server: &Arc<ServerInner<A>>,
        id: Id,
        handshake: Handshake,
        engine: engineio::server::Session,
    ) -> Session<A> {
        let flag = |flag, is_set| if is_set { flag } else { 0 };
        let flags = flag(OBSERVED, server.observer.is_some())
            | flag(RESUMABLE, engine.is_resumable())
            | flag(OF_V3, engine.version() == Version::V3);
        let inner = Inner {
            engine,
            rest: Box::new(Rest { timer: None, state: A::State::default() }),
            waits: Waits::default(),
            waker: None,
        };
        Session(Arc::new(Shared {
            id,
            kept: Box::new(Kept { handshake, server: Arc::downgrade(server) }),
            flags: AtomicU8::new(flags),
            corks: AtomicU8::new(0),
            fate: AtomicU8::new(0),
            attended: AtomicBool::new(false),
            committed: AtomicU32::new(0),
            in_flight: AtomicU32::new(0),
            running: AtomicU32::new(0),
            awaited: AtomicU32::new(0),
            span: log::session(id),
            inner: Mutex::new(inner),
        }))
    }

    /// Returns the session's id: a bearer secret, which others must not learn.
    pub fn id(&self) -> Id {
        self.0.id
    }

    /// Returns the request that opened the session.
    pub fn handshake(&self) -> &Handshake {
        &self.0.kept.handshake
    }

    /// Returns the session's span of the log.
    pub(crate) fn span(&self) -> &Span {
        &self.0.span
    }

    /// Returns the transport in use.
    pub fn transport(&self) -> Transport {
        self.0.inner.lock().engine.transport()
    }

    /// Returns the version of the protocol that the session speaks.
    pub fn version(&self) -> Version {
        if self.0.has(OF_V3) { Version::V3 } else { Version::V4 }
    }

    /// Returns the facts about the session's connections at this moment: the transport, how fast the peer answers, and how
    /// much was sent and received.
    pub fn conn(&self) -> Conn {
        self.0.inner.lock().engine.conn()
    }

    /// Returns whether the session has ended.
    pub fn is_closed(&self) -> bool {
        self.0.fate.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Returns the number of bytes that are queued for the peer.
    pub fn queued(&self) -> usize {
        self.peek(|engine, _| engine.queued())
    }

    /// Notes that the session is in use, so that it no longer counts as
    /// [pending](super::Builder::max_pending_sessions). Further calls do nothing.
    pub fn settle(&self) {
        if self.0.flags.fetch_or(SETTLED, Ordering::Relaxed) & SETTLED == 0
            && let Some(server) = self.0.kept.server.upgrade()
        {
            server.settle();
        }
    }

    /// Queues a message.
    ///
    /// # Errors
    /// If the session has ended, its send buffer is full, or the message is a text that contains U+001E and
    /// the transport is polling.
    pub fn send(&self, message: Message<'_>) -> Result<(), SendError> {
        let part = match &message {
            Message::Text(text) => Part::Text(text.as_bytes()),
            Message::Binary(data) => Part::Binary(data),
        };
        let flags = SendFlags::default().may_drop(true);
        let (sent, woken) = self.sending(|engine| engine.send_with(std::iter::once(part), flags));
        if sent.is_ok() {
            self.show_sent(std::iter::once(part));
        }
        woken.into_iter().for_each(Waker::wake);
        sent
    }

    /// Ends the session. Messages that were queued before are still sent.
    pub fn close(&self) {
        self.close_with(CloseReason::ForcedClose(None));
    }

    /// Ends the session for a given reason.
    pub fn close_with(&self, reason: CloseReason) {
        let Some(server) = self.0.kept.server.upgrade() else { return };
        let now = server.now();
        self.with(|engine, _| engine.close(now, reason));
    }

    /// Calls `f` with the application's state of the session, and returns its result. Afterwards it asks for the
    /// application's [deadline](Application::next_deadline) again.
    ///
    /// `f` runs under the session's lock: it must not block, and must not use a session. To drop large values and handles
    /// without the lock, return them from it.
    ///
    /// ```
    /// use sockeye::engine::{Application, Message, Session};
    ///
    /// struct Numbered;
    ///
    /// impl Application for Numbered {
    ///     /// The number of messages.
    ///     type State = u64;
    ///
    ///     fn on_message(&self, session: &Session<Self>, _: Message<'_>) {
    ///         let number = session.with_state(|count| {
    ///             *count += 1;
    ///             *count
    ///         });
    ///         let _ = session.send(Message::Text(&number.to_string()));
    ///     }
    /// }
    /// ```
    pub fn with_state<R>(&self, f: impl FnOnce(&mut A::State) -> R) -> R {
        self.with(|_, state| f(state))
    }

    /// Ends the wait for the client of a session that was closed.
    pub(super) fn give_up(&self) {
        self.with(|engine, _| match engine.next_deadline() {
            Some(farewell) if engine.closed().is_some() => engine.handle_timeout(farewell),
            _ => {}
        });
    }

    /// Ends the session because the peer missed a message, so that it knows, and can open another.
    ///
    /// The application is told on the driver's next turn, because the caller may hold a lock that the
    /// application's handler takes.
    pub(crate) fn close_slow(&self) {
        let Some(server) = self.0.kept.server.upgrade() else { return };
        let now = server.now();
        let mut inner = self.0.inner.lock();
        let queued = inner.engine.queued();
        inner.engine.close(now, TransportError::SlowConsumer { queued }.into());
        self.0.fate.fetch_or(CLOSED, Ordering::Release);
        let woken = [self.arm_at(&mut inner, Some(now), &server), self.0.attend(&inner)];
        let drained = self.0.take_drained(&mut inner);
        drop(inner);
        woken.into_iter().flatten().chain(drained).for_each(Waker::wake);
    }

    /// Runs `f` under the session's lock, then handles the consequences: wakes connections, updates the
    /// deadline, tells the application of the end.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut engineio::server::Session, &mut A::State) -> R) -> R {
        self.with_then(f, |_| ())
    }

    /// Does the same as [`with`](Session::with), and calls `then` without the lock, before it handles the consequences.
    pub(crate) fn with_then<R>(
        &self,
        f: impl FnOnce(&mut engineio::server::Session, &mut A::State) -> R,
        then: impl FnOnce(&R),
    ) -> R {
        let (result, follow) = self.with_later(f);
        then(&result);
        self.finish(follow);
        result
    }

    /// Does the same as [`with`](Session::with) for a caller that holds another lock: it has to
    /// [`finish`](Session::finish) without it.
    pub(crate) fn with_later<R>(
        &self,
        f: impl FnOnce(&mut engineio::server::Session, &mut A::State) -> R,
    ) -> (R, Follow<A>) {
        let mut inner = self.0.inner.lock();
        let Inner { engine, rest, .. } = &mut *inner;
        let result = f(engine, &mut rest.state);
        let follow = self.follow(&mut inner);
        (result, follow)
    }

    /// Tells the application and the observer of the end.
    fn tell_closed(&self, server: &ServerInner<A>, reason: &CloseReason) {
        let _inside = self.0.span.enter();
        guard("on_close", || server.application.on_close(self, reason));
        let unacknowledged = self.unacknowledged();
        let (session, handshake) = (self.id(), self.handshake());
        server.tell(&ServerEvent::SessionClosed { session, handshake, reason, unacknowledged });
    }

    /// Puts the next deadline into the server's table, after a change that was made with
    /// [`peek`](Session::peek).
    pub(crate) fn update_deadline(&self) {
        let mut inner = self.0.inner.lock();
        let follow = self.follow(&mut inner);
        drop(inner);
        self.finish(follow);
    }

    /// Handles the consequences of a change. Called without the lock.
    pub(crate) fn finish(&self, follow: Follow<A>) {
        if follow.controls != Controls::default() {
            self.show_controls(follow.controls);
        }
        // Not `flatten`, which compiles to slower code: see `benches/count polling binary`.
        follow.wakers.into_iter().for_each(|waker| {
            if let Some(waker) = waker {
                waker.wake();
            }
        });
        if follow.has_waiters {
            self.0.wake_drained(self.0.inner.lock());
        }
        if (follow.ended.is_some() || follow.finished)
            && let Some(server) = self.0.kept.server.upgrade()
        {
            let mut finished = follow.finished;
            if let Some(reason) = follow.ended {
                self.tell_closed(&server, &reason);
                finished = self.told();
            }
            if finished {
                server.forget(&self.0.id);
            }
        }
    }

    /// Ends a session whose server is gone, so that no connection can serve it any more.
    pub(super) fn abandon(&self, now: Time, server: &ServerInner<A>) {
        let mut inner = self.0.inner.lock();
        inner.engine.close(now, CloseReason::ServerShutdown);
        let ended = inner.engine.take_closed();
        self.0.fate.fetch_or(CLOSED, Ordering::Release);
        let wakers = [inner.waker.take(), inner.waits.take_resume(), inner.waits.take_probe_if(|_| true)];
        let drained = self.0.take_drained(&mut inner);
        drop(inner);
        wakers.into_iter().flatten().chain(drained).for_each(Waker::wake);
        if let Some(reason) = ended {
            self.tell_closed(server, &reason);
        }
        // The state may hold the session, which is a reference cycle.
        let state = std::mem::take(&mut self.0.inner.lock().rest.state);
        drop(state);
    }

    /// Runs `f`, which only sends, under the session's lock. The only consequence is that the connection has
    /// to be woken: returns its waker, because the caller may hold a lock.
    pub(crate) fn sending<R>(
        &self,
        f: impl FnOnce(&mut engineio::server::Session) -> R,
    ) -> (R, Option<Waker>) {
        let mut inner = self.0.inner.lock();
        pool::lend(inner.engine.queue_mut());
        self.sent(&mut inner, f)
    }

    /// Does the same as `sending`, for shared frames, which need no buffer.
    pub(crate) fn sharing<R>(
        &self,
        f: impl FnOnce(&mut engineio::server::Session) -> R,
    ) -> (R, Option<Waker>) {
        self.sent(&mut self.0.inner.lock(), f)
    }

    fn sent<R>(
        &self,
        inner: &mut Inner<A>,
        f: impl FnOnce(&mut engineio::server::Session) -> R,
    ) -> (R, Option<Waker>) {
        let result = f(&mut inner.engine);
        self.0.set_committed(&inner.engine);
        let woken = self.0.attend(inner);
        (result, woken)
    }

    fn follow(&self, inner: &mut Inner<A>) -> Follow<A> {
        let woken = self.0.attend(inner);
        self.0.set_committed(&inner.engine);
        let ended = inner.engine.take_closed();
        if ended.is_some() {
            self.0.fate.fetch_or(CLOSED, Ordering::Release);
        }
        let resume = if ended.is_some() { inner.waits.take_resume() } else { None };
        let (driver, server) = self.arm(inner);
        Follow {
            wakers: [woken, inner.take_settled_probe(), resume, driver],
            has_waiters: self.0.has(HAS_TASKS),
            controls: if self.0.is_observed() { inner.engine.take_controls() } else { Controls::default() },
            ended,
            finished: self.0.has(TOLD) && inner.engine.is_finished(),
            _server: server,
        }
    }

    /// Notes that the application was told of the end. Returns whether the session can be removed from the
    /// server, which must not happen earlier, because a closing server waits for it.
    fn told(&self) -> bool {
        let inner = self.0.inner.lock();
        self.0.set(TOLD, true);
        inner.engine.is_finished()
    }

    /// Counts a message that is about to be handled. Returns `false` if it must not be: it exceeds a limit of what a client
    /// may send, which ends the session, or the session has ended, or has lost the connection.
    pub(super) fn count_message(&self, now: Time, message: &Message<'_>) -> bool {
        let len = match message {
            Message::Text(text) => text.len(),
            Message::Binary(data) => data.len(),
        };
        let mut inner = self.0.inner.lock();
        if inner.engine.count_message(now, len) {
            // A poll may have to tell the client.
            let woken = self.0.attend(&inner);
            drop(inner);
            woken.into_iter().for_each(Waker::wake);
            return true;
        }
        let follow = self.follow(&mut inner);
        drop(inner);
        self.finish(follow);
        false
    }

    /// Returns the time by the server's clock.
    pub(crate) fn now(&self) -> Time {
        self.0.kept.server.upgrade().map_or(Time::ZERO, |server| server.now())
    }

    /// Runs `f`, which has no consequences to handle, under the session's lock.
    pub(crate) fn peek<R>(&self, f: impl FnOnce(&engineio::server::Session, &mut A::State) -> R) -> R {
        let inner = &mut *self.0.inner.lock();
        f(&inner.engine, &mut inner.rest.state)
    }

    /// Puts the next deadline into the server's table. A deadline that has only moved later is left to be
    /// found when the earlier entry fires. Returns the waker to call for it, and the server if it was needed:
    /// dropping its last handle drops its sessions, which must not happen under the lock.
    fn arm(&self, inner: &mut Inner<A>) -> (Option<Waker>, Option<Arc<ServerInner<A>>>) {
        let state = &inner.rest.state;
        // A client that is away cannot be in time.
        let is_away = self.0.is_resumable() && inner.engine.is_detached();
        let application = match is_away {
            false => guard("next_deadline", || A::next_deadline(state)).flatten(),
            true => None,
        };
        let deadlines = [inner.engine.next_deadline(), application];
        let deadline = deadlines.into_iter().flatten().min();
        let is_armed = inner.rest.timer.is_some_and(|armed| deadline.is_some_and(|at| armed.covers(at)));
        if is_armed || (inner.rest.timer.is_none() && deadline.is_none()) {
            return (None, None);
        }
        let Some(server) = self.0.kept.server.upgrade() else { return (None, None) };
        (self.arm_at(inner, deadline, &server), Some(server))
    }

    fn arm_at(&self, inner: &mut Inner<A>, deadline: Option<Time>, server: &ServerInner<A>) -> Option<Waker> {
        if inner.rest.timer.is_some_and(|armed| deadline.is_some_and(|at| armed.covers(at))) {
            return None;
        }
        if let Some(key) = inner.rest.timer.take() {
            server.timers.remove(key);
        }
        let (key, driver) = server.timers.insert(deadline?, Notify::Session(Arc::downgrade(&self.0)));
        inner.rest.timer = Some(key);
        driver
    }

    /// Holds back outgoing messages until [`uncork`](Session::uncork).
    pub(crate) fn cork(&self) {
        let _inner = self.0.inner.lock();
        // There are no more than threads that let the client into a namespace.
        self.0.corks.store(self.0.corks().saturating_add(1), Ordering::Relaxed);
    }

    pub(crate) fn uncork(&self) {
        let inner = self.0.inner.lock();
        self.0.corks.store(self.0.corks().saturating_sub(1), Ordering::Relaxed);
        let woken = self.0.attend(&inner);
        drop(inner);
        if let Some(waker) = woken {
            waker.wake();
        }
    }

    /// Returns the object to notify if messages that were taken do not arrive.
    #[cfg(feature = "http")]
    pub(crate) fn sender(&self) -> Arc<dyn Sender> {
        self.0.clone()
    }

    /// Returns whether a handler runs in the background.
    pub(crate) fn has_running_handlers(&self) -> bool {
        self.0.running.load(Ordering::Relaxed) > 0
    }

    /// Counts a handler that runs in the background until the guard is dropped.
    pub(crate) fn begin_handler(&self) -> Running<A> {
        self.0.running.fetch_add(1, Ordering::Relaxed);
        Running(self.clone())
    }
}

impl<A: Application> Shared<A> {
    #[inline]
    fn is_observed(&self) -> bool {
        self.has(OBSERVED)
    }

    #[inline]
    fn is_resumable(&self) -> bool {
        self.has(RESUMABLE)
    }

    #[inline]
    fn has(&self, flag: u8) -> bool {
        self.flags.load(Ordering::Relaxed) & flag != 0
    }

    /// Changes a flag of those that are changed under the lock.
    #[inline]
    fn set(&self, flag: u8, is_set: bool) {
        if self.has(flag) == is_set {
            return;
        }
        // Others may be changed without the lock.
        match is_set {
            true => self.flags.fetch_or(flag, Ordering::Relaxed),
            false => self.flags.fetch_and(!flag, Ordering::Relaxed),
        };
    }

    #[inline]
    fn corks(&self) -> u8 {
        self.corks.load(Ordering::Relaxed)
    }

    /// Returns whether what is queued may leave: not behind a cork, unless the session has ended, because nothing can be added
    /// then.
    fn may_leave(&self, inner: &Inner<A>) -> bool {
        self.corks() == 0 || inner.engine.closed().is_some()
    }

    /// Returns whether the pending poll may be answered: also if the session has moved on from it, because the response then
    /// carries nothing.
    fn may_answer(&self, inner: &Inner<A>) -> bool {
        self.may_leave(inner) || inner.engine.transport() == Transport::WebSocket
    }

    fn set_committed(&self, engine: &engineio::server::Session) {
        self.committed.store(narrow(engine.committed()), Ordering::Relaxed);
    }

    /// Notes that the pending poll takes what is queued from now on only if its waker is called, which this sets, too. Returns
    /// the previous one. A poll that the session has moved on from carries nothing any more.
    fn begin_wait(&self, inner: &mut Inner<A>, waker: Option<&Waker>) -> Option<Waker> {
        match inner.engine.transport() {
            Transport::Polling => {
                self.attended.store(false, Ordering::Relaxed);
                waker.and_then(|waker| inner.waker.replace(waker.clone()))
            }
            Transport::WebSocket => None,
        }
    }

    /// Returns the waker if output is queued and no turn is in progress.
    fn attend(&self, inner: &Inner<A>) -> Option<Waker> {
        // The end is signalled even during a turn: the connection may be past its look at the queue, and the
        // session is forgotten after this.
        let is_held = || self.attended.load(Ordering::Relaxed) || self.corks() > 0;
        if !inner.engine.wants_transmit() || inner.engine.closed().is_none() && is_held() {
            return None;
        }
        self.attended.store(true, Ordering::Relaxed);
        inner.waker.clone()
    }
}

impl<A: Application> Inner<A> {
    /// Returns the waker of an upgrade that is over, or that need not wait any more.
    fn take_settled_probe(&mut self) -> Option<Waker> {
        let engine = &self.engine;
        let is_settled = |ticket| !engine.is_upgrading(ticket) || engine.is_upgrade_due(ticket);
        self.waits.take_probe_if(is_settled)
    }
}

/// The consequences of a change of a session, to be handled without the lock.
pub(crate) struct Follow<A: Application> {
    /// Wakers of the session's connection, the upgrade in progress, a request, and the server's driver.
    wakers: [Option<Waker>; 4],
    /// Tasks wait until the queue is short.
    has_waiters: bool,
    /// The protocol's own packets, for the observer.
    controls: Controls,
    ended: Option<CloseReason>,
    finished: bool,
    /// Dropped after the lock is released.
    _server: Option<Arc<ServerInner<A>>>,
}

impl<A: Application> Expire for Shared<A> {
    fn expire(self: Arc<Self>, now: Time) {
        // If another thread was faster, this is a newer entry, which has to be removed.
        let timer = self.inner.lock().rest.timer.take();
        if let (Some(timer), Some(server)) = (timer, self.kept.server.upgrade()) {
            server.timers.remove(timer);
        }
        let session = Session(self);
        // If the connection is not being read, the silence may not be the peer's fault.
        let is_deaf = (!session.has_capacity()).then(|| {
            let _inner = session.0.inner.lock();
            session.0.has(DEAF)
        });
        session.losing(|engine, state| {
            if let Some(is_deaf) = is_deaf {
                engine.excuse_pong(now, is_deaf);
            }
            engine.handle_timeout(now);
            if engine.is_detached() {
                return;
            }
            let reason = guard("handle_timeout", || A::handle_timeout(state, now));
            if let Some(reason) = reason.unwrap_or_else(|| {
                Some(CloseReason::ForcedClose(Some("a deadline's handler panicked".into())))
            }) {
                engine.close(now, reason);
            }
        });
    }
}

/// A session whose messages are being delivered.
#[cfg(feature = "http")]
pub(crate) trait Sender: Send + Sync {
    /// Sets whether there is something to write before the server may end.
    fn set_busy(&self, busy: bool);
    /// Notes that some of the messages will not arrive, which were taken when `attempt` was the last one.
    fn lose(self: Arc<Self>, attempt: Attempt);
}

#[cfg(feature = "http")]
impl<A: Application> Sender for Shared<A> {
    fn set_busy(&self, busy: bool) {
        if let Some(server) = self.kept.server.upgrade() {
            server.count_busy(busy);
        }
    }

    fn lose(self: Arc<Self>, attempt: Attempt) {
        Session(self).lose_payload(attempt);
    }
}

/// The guard of a handler that runs in the background.
pub(crate) struct Running<A: Application>(Session<A>);

impl<A: Application> Drop for Running<A> {
    fn drop(&mut self) {
        // The connection may be waiting until handlers catch up.
        if self.0.0.running.fetch_sub(1, Ordering::Relaxed) >= MAX_RUNNING && self.0.has_capacity() {
            let resume = self.0.0.inner.lock().waits.take_resume();
            if let Some(waker) = resume {
                waker.wake();
            }
            self.0.wake();
        }
    }
}

impl<A: Application> Identified for Session<A> {
    fn id(&self) -> &Id {
        &self.0.id
    }
}

impl<A: Application> Clone for Session<A> {
    fn clone(&self) -> Self {
        Session(self.0.clone())
    }
}

impl<A: Application> fmt::Debug for Session<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The id is a secret.
        f.debug_struct("Session").field("closed", &self.is_closed()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::App;

    #[test]
    fn a_session_takes_at_most_216_bytes_besides_its_boxes_with_any_features() {
        let own = size_of::<Shared<App>>();
        assert!(own <= 216, "{own} bytes");
    }

    #[test]
    fn the_boxes_of_a_session_fit_together_into_the_gap_between_two_tasks_of_tokio() {
        // Of the 128 bytes to which tasks are aligned, 16 are the allocator's own behind a task, and 8 those of each box,
        // which are rounded up to 16.
        let chunk = |size: usize| (size + 8).next_multiple_of(16);
        let (kept, rest) = (size_of::<Kept<App>>(), size_of::<Rest<App>>());
        assert!(chunk(kept) + chunk(rest) <= 128 - 16, "{kept} and {rest} bytes");
    }
}
