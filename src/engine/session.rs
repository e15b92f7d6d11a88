//! One session of an Engine.IO server, and the lock around it.

use super::handshake::Handshake;
use super::server::{ServerInner, guard};
use super::timers::{Expire, Key, Target};
use super::{CloseReason, Handler, Message, SendError, TransportError};
use crate::buffers;
use crate::by_id::Identified;
use parking_lot::Mutex;
use sockeye_core::engineio::{self, Id, Part, Ticket, Transport};
use sockeye_core::{Outbound, Time};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::Waker;

/// A handle to a session: cheap to clone, owns nothing. After the end of the session it answers with errors.
pub struct Session<H: Handler>(Arc<Shared<H>>);

struct Shared<H: Handler> {
    id: Id,
    handshake: Handshake,
    server: Weak<ServerInner<H>>,
    /// Set before the end of the session is told.
    closed: AtomicBool,
    /// How many bytes wait; written under the lock, read without it.
    queued: AtomicUsize,
    /// How many handlers of the application have not ended.
    running: AtomicUsize,
    /// How many answers the application awaits from the client.
    awaited: AtomicUsize,
    inner: Mutex<Inner<H>>,
}

struct Inner<H: Handler> {
    engine: engineio::Session,
    state: H::State,
    /// The connection that carries the session, or the waiting poll's.
    waker: Option<Waker>,
    /// The connection that is being tried.
    probe: Option<(Ticket, Waker)>,
    /// The connection of a request whose answer waits for handlers.
    room: Option<Waker>,
    /// The connection is at work, or was woken: it will look at the queue without being called.
    attended: bool,
    /// While not zero nothing is transmitted.
    corks: u16,
    /// The connection reads nothing: what is heard of the peer says nothing.
    deaf: bool,
    /// The application was told of the end.
    told: bool,
    timer: Option<Key>,
}

/// Above how many running handlers a connection is no longer read.
const MAX_RUNNING: usize = 256;

impl<H: Handler> Session<H> {
    pub(super) fn new(
        server: &Arc<ServerInner<H>>,
        id: Id,
        handshake: Handshake,
        engine: engineio::Session,
    ) -> Session<H> {
        let inner = Inner {
            engine,
            state: H::State::default(),
            waker: None,
            probe: None,
            room: None,
            attended: false,
            corks: 0,
            deaf: false,
            told: false,
            timer: None,
        };
        Session(Arc::new(Shared {
            id,
            handshake,
            server: Arc::downgrade(server),
            closed: AtomicBool::new(false),
            queued: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            awaited: AtomicUsize::new(0),
            inner: Mutex::new(inner),
        }))
    }

    /// The session's id: a bearer secret, not to be told to others.
    pub fn id(&self) -> Id {
        self.0.id
    }

    /// What the client said when it opened the session.
    pub fn handshake(&self) -> &Handshake {
        &self.0.handshake
    }

    /// The transport in use.
    pub fn transport(&self) -> Transport {
        self.0.inner.lock().engine.transport()
    }

    /// Whether the session has ended.
    pub fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Acquire)
    }

    /// How many bytes wait for the peer.
    pub fn queued(&self) -> usize {
        self.0.queued.load(Ordering::Relaxed)
    }

    /// Queues a message.
    ///
    /// # Errors
    /// When the session has ended or its send buffer is full; or a text with U+001E is to be sent over polling.
    pub fn send(&self, message: Message<'_>) -> Result<(), SendError> {
        let part = match &message {
            Message::Text(text) => Part::Text(text.as_bytes()),
            Message::Binary(data) => Part::Binary(data),
        };
        let (sent, woken) = self.sending(|engine| engine.send(std::iter::once(part)));
        woken.into_iter().for_each(Waker::wake);
        sent
    }

    /// Ends the session; what was queued before is still sent.
    pub fn close(&self) {
        self.close_with(CloseReason::ForcedClose(None));
    }

    /// Ends the session for a reason of one's own.
    pub fn close_with(&self, reason: CloseReason) {
        let Some(server) = self.0.server.upgrade() else { return };
        let now = server.now();
        self.with(|engine, _| engine.close(now, reason));
    }

    /// Ends the session because the peer missed something: so it knows, and can open another.
    ///
    /// The application is told on the driver's next turn: who emits may hold a lock that its handler wants.
    pub(crate) fn close_slow(&self) {
        let Some(server) = self.0.server.upgrade() else { return };
        let now = server.now();
        let mut inner = self.0.inner.lock();
        let queued = inner.engine.queued();
        inner.engine.close(now, TransportError::SlowConsumer { queued }.into());
        self.0.closed.store(true, Ordering::Release);
        let woken = [self.arm_at(&mut inner, Some(now), &server), inner.attend()];
        drop(inner);
        woken.into_iter().flatten().for_each(Waker::wake);
    }

    /// Runs `f` under the session's lock, then does what follows from it: wakes, arms, tells the end.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut engineio::Session, &mut H::State) -> R) -> R {
        let mut inner = self.0.inner.lock();
        let Inner { engine, state, .. } = &mut *inner;
        let result = f(engine, state);
        let follow = self.follow(&mut inner);
        drop(inner);
        self.finish(follow);
        result
    }

    /// Does what follows from a change, when nothing is locked any more.
    fn finish(&self, follow: Follow<H>) {
        // Not `flatten`, which does not become straight code: see `benches/count polling binary`.
        follow.wakers.into_iter().for_each(|waker| {
            if let Some(waker) = waker {
                waker.wake();
            }
        });
        if (follow.ended.is_some() || follow.finished)
            && let Some(server) = self.0.server.upgrade()
        {
            let mut finished = follow.finished;
            if let Some(reason) = follow.ended {
                guard("on_close", || server.handler.on_close(self, &reason));
                finished = self.told();
            }
            if finished {
                server.forget(&self.0.id);
            }
        }
    }

    /// The server is gone: nobody comes to this session any more.
    pub(super) fn abandon(&self, now: Time, handler: &H) {
        let mut inner = self.0.inner.lock();
        inner.engine.close(now, CloseReason::ServerShutdown);
        let ended = inner.engine.take_closed();
        self.0.closed.store(true, Ordering::Release);
        let wakers = [inner.waker.take(), inner.room.take(), inner.probe.take().map(|(_, waker)| waker)];
        drop(inner);
        wakers.into_iter().flatten().for_each(Waker::wake);
        if let Some(reason) = ended {
            guard("on_close", || handler.on_close(self, &reason));
        }
        // It may hold the session: a circle, too.
        let state = std::mem::take(&mut self.0.inner.lock().state);
        drop(state);
    }

    /// Runs `f` under the session's lock, where it only sends: no more follows from it than that the connection is
    /// woken. Gives back its waker, for who holds a lock.
    pub(crate) fn sending<R>(&self, f: impl FnOnce(&mut engineio::Session) -> R) -> (R, Option<Waker>) {
        let mut inner = self.0.inner.lock();
        buffers::lend(inner.engine.queue_mut());
        self.sent(&mut inner, f)
    }

    /// The same, for what is only referred to and needs no buffer.
    pub(crate) fn sharing<R>(&self, f: impl FnOnce(&mut engineio::Session) -> R) -> (R, Option<Waker>) {
        self.sent(&mut self.0.inner.lock(), f)
    }

    fn sent<R>(
        &self,
        inner: &mut Inner<H>,
        f: impl FnOnce(&mut engineio::Session) -> R,
    ) -> (R, Option<Waker>) {
        let result = f(&mut inner.engine);
        self.0.queued.store(inner.engine.queued(), Ordering::Relaxed);
        let woken = inner.attend();
        (result, woken)
    }

    fn follow(&self, inner: &mut Inner<H>) -> Follow<H> {
        let woken = inner.attend();
        self.0.queued.store(inner.engine.queued(), Ordering::Relaxed);
        let ended = inner.engine.take_closed();
        if ended.is_some() {
            self.0.closed.store(true, Ordering::Release);
        }
        let room = if ended.is_some() { inner.room.take() } else { None };
        let (driver, server) = self.arm(inner);
        Follow {
            wakers: [woken, inner.take_settled_probe(), room, driver],
            ended,
            finished: inner.told && inner.engine.is_finished(),
            _server: server,
        }
    }

    /// The application knows of the end. Whether the session can be forgotten, which is not before that: a closing
    /// server waits until it is.
    fn told(&self) -> bool {
        let mut inner = self.0.inner.lock();
        inner.told = true;
        inner.engine.is_finished()
    }

    /// The time by the server's clock.
    pub(crate) fn now(&self) -> Time {
        self.0.server.upgrade().map_or(Time::ZERO, |server| server.now())
    }

    /// Runs `f` under the session's lock, where nothing has to follow from it.
    pub(crate) fn peek<R>(&self, f: impl FnOnce(&engineio::Session, &mut H::State) -> R) -> R {
        let inner = &mut *self.0.inner.lock();
        f(&inner.engine, &mut inner.state)
    }

    /// Sees to it that the next deadline is in the server's table. A later one than before is left to be found when
    /// the earlier one fires. Returns the waker to call for it, and the server if it was needed: with the last handle
    /// of it go its sessions, which must not happen under the lock.
    fn arm(&self, inner: &mut Inner<H>) -> (Option<Waker>, Option<Arc<ServerInner<H>>>) {
        let deadlines = [inner.engine.next_deadline(), H::next_deadline(&inner.state)];
        let deadline = deadlines.into_iter().flatten().min();
        let is_armed = inner.timer.is_some_and(|(armed, _)| deadline.is_some_and(|at| armed <= at));
        if is_armed || (inner.timer.is_none() && deadline.is_none()) {
            return (None, None);
        }
        let Some(server) = self.0.server.upgrade() else { return (None, None) };
        (self.arm_at(inner, deadline, &server), Some(server))
    }

    fn arm_at(&self, inner: &mut Inner<H>, deadline: Option<Time>, server: &ServerInner<H>) -> Option<Waker> {
        if inner.timer.is_some_and(|(armed, _)| deadline.is_some_and(|at| armed <= at)) {
            return None;
        }
        if let Some(key) = inner.timer.take() {
            server.timers.remove(key);
        }
        let this: Arc<dyn Expire> = self.0.clone();
        let (key, driver) = server.timers.insert(deadline?, Target::Object(Arc::downgrade(&this)));
        inner.timer = Some(key);
        driver
    }

    /// Holds back what is sent until [`uncork`](Session::uncork).
    pub(crate) fn cork(&self) {
        self.0.inner.lock().corks += 1;
    }

    pub(crate) fn uncork(&self) {
        let mut inner = self.0.inner.lock();
        inner.corks = inner.corks.saturating_sub(1);
        let woken = inner.attend();
        drop(inner);
        if let Some(waker) = woken {
            waker.wake();
        }
    }

    // For connections.

    /// The peer lives. Nothing follows from it: a deadline that is later now is found when it fires.
    pub(super) fn heard(&self, now: Time) {
        self.0.inner.lock().engine.heard(now);
    }

    /// Bytes arrived: the connection is at work and will transmit what is queued meanwhile.
    pub(super) fn begin_turn(&self, now: Time) {
        let mut inner = self.0.inner.lock();
        inner.engine.heard(now);
        inner.attended = true;
        inner.deaf = false;
    }

    /// The connection reads no more until handlers keep up.
    pub(super) fn set_deaf(&self) {
        self.0.inner.lock().deaf = true;
    }

    /// Moves what waits to the connection's own queue; when there is nothing, the connection has to be woken for more.
    pub(super) fn transmit(&self, out: &mut Outbound) {
        let mut inner = self.0.inner.lock();
        inner.engine.set_in_flight(out.len());
        // The end does not wait: nothing can be added any more.
        if inner.corks == 0 || inner.engine.closed().is_some() {
            inner.engine.take_frames(out);
            buffers::reclaim(inner.engine.queue_mut());
        }
        inner.attended = !out.is_empty();
        self.0.queued.store(inner.engine.queued(), Ordering::Relaxed);
    }

    /// How many of the bytes that were moved are not written yet.
    pub(super) fn set_in_flight(&self, bytes: usize) {
        let mut inner = self.0.inner.lock();
        inner.engine.set_in_flight(bytes);
        self.0.queued.store(inner.engine.queued(), Ordering::Relaxed);
    }

    /// The answer to the waiting poll, if there is one; else whom to wake for it.
    pub(super) fn take_payload(&self, waker: Option<&Waker>) -> Option<Outbound> {
        let mut inner = self.0.inner.lock();
        inner.attended = false;
        let replaced = waker.and_then(|waker| inner.set_poll_waker(waker));
        // In one step: what is sent behind a cork must not slip out between a look and the taking.
        let payload = if inner.may_answer() { inner.engine.take_payload() } else { None };
        let follow = self.follow(&mut inner);
        drop(inner);
        // It may be the last of a task, which may be another connection of this session.
        drop(replaced);
        self.finish(follow);
        payload
    }

    /// Which task has the poll that waits, unless the session has moved on from it.
    pub(super) fn set_poll_waker(&self, waker: &Waker) {
        let mut inner = self.0.inner.lock();
        inner.attended = false;
        let replaced = inner.set_poll_waker(waker);
        drop(inner);
        drop(replaced);
    }

    /// Which task carries the session from now on.
    pub(super) fn set_waker(&self, waker: Option<&Waker>) {
        let mut inner = self.0.inner.lock();
        let replaced = std::mem::replace(&mut inner.waker, waker.cloned());
        inner.attended = false;
        drop(inner);
        // It may be the last of a task, which may be another connection of this session.
        drop(replaced);
    }

    /// Which task tries to carry the session, until it is told that the attempt is over.
    pub(super) fn set_probe_waker(&self, ticket: Ticket, waker: Option<&Waker>) {
        let Some(waker) = waker else { return };
        let mut inner = self.0.inner.lock();
        let replaced = inner.probe.replace((ticket, waker.clone()));
        let lost = inner.take_settled_probe();
        drop(inner);
        drop(replaced);
        if let Some(waker) = lost {
            waker.wake();
        }
    }

    /// Wakes the connection for another reason than something to send.
    pub(super) fn wake(&self) {
        let waker = self.0.inner.lock().waker.clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether more may be read: handlers keep up. Those that wait for the client's answer would wait in vain if it
    /// was not read: as many may run beyond the limit.
    pub(super) fn has_room(&self) -> bool {
        let awaited = self.0.awaited.load(Ordering::Relaxed);
        self.0.running.load(Ordering::Relaxed) < MAX_RUNNING.saturating_add(awaited)
    }

    /// An answer is awaited, for which there is room: whom [`take_room`](Session::take_room) gives back is to be woken.
    pub(crate) fn begin_await(&self) {
        self.0.awaited.fetch_add(1, Ordering::Relaxed);
    }

    /// Whom to wake because there is room by now, once nothing is locked.
    pub(crate) fn take_room(&self) -> Option<Waker> {
        let may_wait = self.0.running.load(Ordering::Relaxed) >= MAX_RUNNING && self.has_room();
        if may_wait { self.0.inner.lock().room.take() } else { None }
    }

    /// So many answers have come or are not awaited any more.
    pub(crate) fn end_await(&self, count: usize) {
        self.0.awaited.fetch_sub(count, Ordering::Relaxed);
    }

    /// The same; if not, `waker` is called once there is, or the session has ended.
    pub(super) fn has_room_or_wake(&self, waker: Option<&Waker>) -> bool {
        if self.has_room() {
            return true;
        }
        let mut inner = self.0.inner.lock();
        let replaced = std::mem::replace(&mut inner.room, waker.cloned());
        drop(inner);
        drop(replaced);
        self.has_room()
    }

    /// Whom to tell if messages that were taken do not arrive.
    #[cfg(feature = "http")]
    pub(crate) fn sender(&self) -> Arc<dyn crate::mount::Sender> {
        self.0.clone()
    }

    /// A handler goes on in the background until the guard is dropped.
    pub(crate) fn begin_handler(&self) -> Running<H> {
        self.0.running.fetch_add(1, Ordering::Relaxed);
        Running(self.clone())
    }
}

impl<H: Handler> Inner<H> {
    /// Gives back who had the poll before. One that the session has moved on from carries nothing any more.
    fn set_poll_waker(&mut self, waker: &Waker) -> Option<Waker> {
        match self.engine.transport() {
            engineio::Transport::Polling => self.waker.replace(waker.clone()),
            engineio::Transport::WebSocket => None,
        }
    }

    /// Whom to wake because something waits that nobody is going to look at.
    fn attend(&mut self) -> Option<Waker> {
        // The end is told at once, whoever is at work: it may be looking elsewhere, and is forgotten after this.
        let closed = self.engine.closed().is_some();
        if !self.engine.wants_transmit() || (!closed && (self.attended || self.corks > 0)) {
            return None;
        }
        self.attended = true;
        self.waker.clone()
    }

    /// Whether a waiting poll may be answered: not behind a cork, but the end does not wait, nor does the answer
    /// to a poll that the session has moved on from, which carries nothing.
    fn may_answer(&self) -> bool {
        self.corks == 0
            || self.engine.closed().is_some()
            || self.engine.transport() == engineio::Transport::WebSocket
    }

    /// The connection that was being tried, if it is not any more, or need not wait any more.
    fn take_settled_probe(&mut self) -> Option<Waker> {
        let engine = &self.engine;
        let is_settled = |ticket| !engine.is_upgrading(ticket) || engine.is_upgrade_due(ticket);
        let (_, waker) = self.probe.take_if(|(ticket, _)| is_settled(*ticket))?;
        Some(waker)
    }
}

/// What follows from a change of a session, once nothing is locked.
struct Follow<H: Handler> {
    /// The session's connection, the one that was being tried, that of a request, the server's driver.
    wakers: [Option<Waker>; 4],
    ended: Option<CloseReason>,
    finished: bool,
    /// Not to be let go of under the lock.
    _server: Option<Arc<ServerInner<H>>>,
}

impl<H: Handler> Expire for Shared<H> {
    fn expire(self: Arc<Self>, now: Time) {
        // Not that entry but a newer one, if somebody was faster.
        let timer = self.inner.lock().timer.take();
        if let (Some(timer), Some(server)) = (timer, self.server.upgrade()) {
            server.timers.remove(timer);
        }
        let session = Session(self);
        // The peer is not listened to: that it is silent may not be its fault.
        let is_deaf = (!session.has_room()).then(|| session.0.inner.lock().deaf);
        session.with(|engine, state| {
            if let Some(is_deaf) = is_deaf {
                engine.excuse_pong(now, is_deaf);
            }
            engine.handle_timeout(now);
            if let Some(reason) = H::handle_timeout(state, now) {
                engine.close(now, reason);
            }
        });
    }
}

#[cfg(feature = "http")]
impl<H: Handler> crate::mount::Sender for Shared<H> {
    fn set_busy(&self, busy: bool) {
        if let Some(server) = self.server.upgrade() {
            server.count_busy(busy);
        }
    }

    fn lose(self: Arc<Self>) {
        Session(self).close_with(TransportError::PollAborted.into());
    }
}

/// A handler that goes on in the background.
pub(crate) struct Running<H: Handler>(Session<H>);

impl<H: Handler> Drop for Running<H> {
    fn drop(&mut self) {
        // The connection may wait for room.
        if self.0.0.running.fetch_sub(1, Ordering::Relaxed) >= MAX_RUNNING && self.0.has_room() {
            let room = self.0.0.inner.lock().room.take();
            if let Some(waker) = room {
                waker.wake();
            }
            self.0.wake();
        }
    }
}

impl<H: Handler> Identified for Session<H> {
    fn id(&self) -> &Id {
        &self.0.id
    }
}

impl<H: Handler> Clone for Session<H> {
    fn clone(&self) -> Self {
        Session(self.0.clone())
    }
}

impl<H: Handler> fmt::Debug for Session<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The id is a secret.
        f.debug_struct("Session").field("closed", &self.is_closed()).finish_non_exhaustive()
    }
}
