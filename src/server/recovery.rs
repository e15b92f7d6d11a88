//! Recovery of connections: clients that were away for a moment are the same sockets again, and get what they missed.

use super::Server;
use super::namespace::{Inner, Namespace};
use super::order::Order;
use super::socket::Socket;
use crate::engine::timers::{Expire, Key, Notify};
use crate::engine::{self, CloseReason, Id};
use crate::guard::guard;
use crate::observe::ServerEvent;
use parking_lot::MutexGuard;
use serde::Deserialize;
use smol_str::SmolStr;
use sockeye_core::Time;
use sockeye_core::engineio::{Draft, Frames};
use sockeye_core::socketio::Target;
pub use sockeye_core::socketio::recovery::Usage as RecoveryUsage;
use sockeye_core::socketio::recovery::{
    Claim, Config, Epoch, Kept, Life, NotRecoverable, Pid, Retained, StreamPosition,
};
use std::any::{Any, TypeId};
use std::borrow::Cow;
use std::fmt;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

/// The settings for the recovery of connections: see
/// [`ServerBuilder::connection_state_recovery`](crate::ServerBuilder::connection_state_recovery).
#[derive(Clone)]
#[must_use = "it does nothing until it is passed to the builder"]
pub struct Recovery {
    config: Config,
    pub(super) skip_middlewares: bool,
    on_expired: Option<OnExpired>,
}

type OnExpired = Arc<dyn Fn(&ExpiredSocket<'_>) + Send + Sync>;

impl Recovery {
    /// Returns the default settings.
    pub fn new() -> Recovery {
        Recovery { config: Config::default(), skip_middlewares: true, on_expired: None }
    }

    /// Sets the time after its disconnection within which a client can come back. It must be back in this time, so add a few
    /// seconds for its attempts to connect. Default: 2 minutes, as in the reference.
    pub fn max_disconnection_duration(mut self, duration: Duration) -> Self {
        self.config.max_disconnection_duration = duration;
        self
    }

    /// Sets whether the [middleware](crate::Namespace::middleware) is not asked about a client that is recovered. Default:
    /// `true`, as in the reference. In any case, credentials that
    /// [expire](crate::Socket::authenticated_for) do so at the same time as before.
    ///
    /// A middleware that is asked knows by [`Socket::recovered`](crate::Socket::recovered).
    pub fn skip_middlewares(mut self, skip: bool) -> Self {
        self.skip_middlewares = skip;
        self
    }

    /// Sets the maximum size of the events that each namespace remembers, in bytes. Each counts 64 bytes and its length as
    /// it is sent, and the names of its rooms if there are several or they are long. If it is exceeded, the oldest are
    /// forgotten, and clients that missed one of them begin anew. Default: 64 MiB.
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.config.max_bytes = bytes;
        self
    }

    /// Sets the maximum number of events that each namespace remembers: see [`max_bytes`](Recovery::max_bytes). Default:
    /// 1,000,000.
    pub fn max_packets(mut self, packets: usize) -> Self {
        self.config.max_packets = packets;
        self
    }

    /// Sets the maximum number of sockets whose clients are away that each namespace remembers. If it is exceeded, the one
    /// that has been away the longest is forgotten, and told as [expired](Recovery::on_expired). In a cluster whose bus
    /// keeps sockets, its client can still come back to any server, without the values of `set_data`, so that it is not told,
    /// and neither is its end: nothing is left here that could be told. Default: 100,000.
    pub fn max_sockets(mut self, sockets: usize) -> Self {
        self.config.max_sessions = sockets;
        self
    }

    /// Returns the time after its disconnection within which a client can come back.
    pub(super) fn max_disconnection(&self) -> Duration {
        self.config.max_disconnection_duration
    }

    /// Returns the time for which a bus keeps a socket.
    pub(super) fn bus_lifetime(&self) -> Duration {
        bus_lifetime(self.max_disconnection())
    }

    /// Sets a function that is told of each socket that is forgotten, because its client has not come back in time, or
    /// cannot be recovered any more. In a cluster, it is not told of those above
    /// [`max_sockets`](Recovery::max_sockets). It must not block. Default: none.
    ///
    /// The disconnect handlers were called when the connection was lost, because nobody knows whether the client will come
    /// back. Undo here what should outlast a short interruption.
    ///
    /// ```
    /// use sockeye::{Recovery, Server};
    ///
    /// let recovery = Recovery::new().on_expired(|socket| {
    ///     socket.namespace().emit("gone for good", socket.id());
    /// });
    /// let io = Server::builder().connection_state_recovery(recovery).build();
    /// ```
    pub fn on_expired(mut self, handler: impl Fn(&ExpiredSocket<'_>) + Send + Sync + 'static) -> Self {
        self.on_expired = Some(Arc::new(handler));
        self
    }
}

impl Default for Recovery {
    fn default() -> Self {
        Recovery::new()
    }
}

impl fmt::Debug for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recovery")
            .field("config", &self.config)
            .field("skip_middlewares", &self.skip_middlewares)
            .finish_non_exhaustive()
    }
}

/// A socket whose client did not come back: see [`Recovery::on_expired`].
pub struct ExpiredSocket<'a> {
    namespace: &'a Namespace,
    id: Id,
    kept: &'a Kept<Stored>,
}

impl ExpiredSocket<'_> {
    /// Returns the namespace.
    pub fn namespace(&self) -> &Namespace {
        self.namespace
    }

    /// Returns the id of the socket.
    pub fn id(&self) -> Id {
        self.id
    }

    /// Returns the rooms that the socket was in, without the one that is named by its id.
    pub fn rooms(&self) -> impl Iterator<Item = &str> {
        self.kept.rooms.iter().map(SmolStr::as_str)
    }

    /// Returns the value that was stored by [`Socket::set_data`](crate::Socket::set_data).
    pub fn data<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let (_, value) = self.kept.data.values.iter().find(|(key, _)| *key == TypeId::of::<T>())?;
        value.clone().downcast().ok()
    }
}

impl fmt::Debug for ExpiredSocket<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExpiredSocket").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The values that the application has stored with a socket.
pub(super) type Values = Vec<(TypeId, Arc<dyn Any + Send + Sync>)>;

/// What is stored of a socket whose client is away.
#[derive(Clone)]
pub(super) struct Stored {
    pub(super) values: Values,
    /// The end of the client's credentials.
    pub(super) expires: Option<Time>,
    /// A number by which this server knows what it has kept at the bus.
    pub(super) mark: u64,
}

/// A client that has come back, and what its socket has to have again.
pub(super) struct Returned {
    pub(super) claim: Claim,
    pub(super) rooms: Vec<SmolStr>,
    pub(super) stored: Stored,
    /// What the client missed before the events in the memory.
    pub(super) earlier: Vec<Frames>,
}

/// Where the offsets of events come from.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Numbering {
    /// The namespace numbers its events itself, because there is no other server.
    Here(Epoch),
    /// They are the positions in the stream that the servers share, from which the events come back to each of them.
    Stream,
}

/// What a namespace remembers. The lock of the order protects it.
pub(super) struct Memory {
    pub(super) retained: Retained<Stored>,
    timer: Option<Key>,
}

impl Memory {
    /// Creates the memory of a new namespace, unless the system provides no randomness.
    pub(super) fn new(
        settings: &Recovery,
        config: &sockeye_core::engineio::server::Config,
        is_in_cluster: bool,
    ) -> Option<Memory> {
        // A pong that is overdue may be excused once.
        let confirmation = config.ping_interval + 2 * config.ping_timeout;
        let mut config = settings.config.clone();
        config.confirmation = confirmation;
        let retained = if is_in_cluster {
            Retained::of_stream(config)
        } else {
            let mut hasher = DefaultHasher::new();
            hasher.write(engine::random_id()?.as_bytes());
            Retained::new(config, Epoch::from_random(hasher.finish()))
        };
        Some(Memory { retained, timer: None })
    }

    pub(super) fn numbering(&self) -> Numbering {
        self.retained.epoch().map_or(Numbering::Stream, Numbering::Here)
    }
}

/// What a client that comes back sends beside its `auth`.
#[derive(Deserialize)]
pub(super) struct Introduction<'a> {
    #[serde(borrow)]
    pub(super) pid: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) offset: Option<Cow<'a, str>>,
}

impl<'a> Introduction<'a> {
    /// Reads the introduction of a client, or returns `None` if it does not say that it was here before.
    pub(super) fn read(auth: &'a str) -> Option<Introduction<'a>> {
        if auth.is_empty() { None } else { serde_json::from_str(auth).ok() }
    }
}

/// An event to be remembered.
pub(super) enum Recorded {
    /// It gets its offset when its turn comes.
    Draft(Draft),
    /// It has come from the stream, with its offset.
    At(Frames, StreamPosition),
}

impl Order {
    /// Completes an event with its offset, unless it has one.
    pub(super) fn number(&self, event: Recorded) -> (Frames, Option<StreamPosition>) {
        match (event, &self.memory) {
            (Recorded::At(frames, position), _) => (frames, Some(position)),
            (Recorded::Draft(draft), Some(memory)) => (memory.retained.number(draft), None),
            // The event has an offset because the namespace has a memory.
            (Recorded::Draft(draft), None) => (draft.finish(), None),
        }
    }

    /// Remembers an event.
    pub(super) fn record(
        &mut self,
        now: Time,
        target: &Target,
        (frames, position): (&Frames, Option<StreamPosition>),
    ) {
        let Some(memory) = &mut self.memory else { return };
        match position {
            None => memory.retained.record(now, target, frames),
            Some(position) => memory.retained.record_at(now, position, target, frames),
        }
    }
}

impl Namespace {
    /// Returns the time by the server's clock.
    pub(super) fn now(&self) -> Time {
        self.0.engine.upgrade().map_or(Time::ZERO, |engine| engine.now())
    }

    /// Returns the sizes of what the namespace remembers for clients that come back. All are zero if
    /// [`connection_state_recovery`](crate::ServerBuilder::connection_state_recovery) is not set.
    pub fn recovery_usage(&self) -> RecoveryUsage {
        self.order().memory.as_ref().map(|memory| memory.retained.usage()).unwrap_or_default()
    }

    /// Puts the next deadline of the memory into the server's table. Returns the waker to call without a lock.
    #[must_use]
    pub(super) fn arm_memory(&self, order: &mut MutexGuard<'_, Order>) -> Option<Waker> {
        let memory = order.memory.as_mut()?;
        let at = memory.retained.next_deadline()?;
        // An earlier deadline is corrected when it is reached.
        if memory.timer.is_some_and(|armed| armed.covers(at)) {
            return None;
        }
        let engine = self.0.engine.upgrade()?;
        if let Some(later) = memory.timer.take() {
            engine.timers.remove(later);
        }
        let this: Arc<dyn Expire> = self.0.clone();
        let (key, driver) = engine.timers.insert(at, Notify::Object(Arc::downgrade(&this)));
        memory.timer = Some(key);
        driver
    }

    /// Ends a step that has changed the memory: lets the lock go, and does what follows without it. The sockets that are
    /// given up are told to the application.
    pub(super) fn end_step(
        &self,
        mut order: MutexGuard<'_, Order>,
        given_up: impl IntoIterator<Item = (Id, Kept<Stored>)>,
    ) {
        let driver = self.arm_memory(&mut order);
        drop(order);
        driver.into_iter().for_each(Waker::wake);
        if self.0.numbering == Some(Numbering::Stream)
            && let Some(link) = self.link()
        {
            link.send();
        }
        given_up.into_iter().for_each(|(id, kept)| self.tell_expired(id, &kept));
    }

    /// Finds the socket of a client that says that it was here before. A connection that the server still believes in is
    /// closed. The caller must hold no lock.
    pub(super) fn welcome_back(&self, session: &engine::Session<super::App>, auth: &str) -> Option<Returned> {
        let introduction = Introduction::read(auth)?;
        let pid = Pid::parse(&introduction.pid)?;
        let now = self.now();
        let mut order = self.order();
        let mut given_up = Vec::new();
        let replaced = self.replace(&mut order, &pid, session, &mut given_up);
        let returned = order.memory.as_mut().and_then(|memory| {
            let offset = introduction.offset.as_deref();
            match memory.retained.claim(now, &pid, offset) {
                Ok(claim) => welcome(&mut memory.retained, now, claim, Vec::new(), session, &mut given_up),
                Err(NotRecoverable::Unknown) => None,
                Err(NotRecoverable::Missed(kept)) => {
                    given_up.push((pid.id, kept));
                    None
                }
            }
        });
        self.end_step(order, given_up);
        self.end_replaced(replaced);
        returned
    }

    /// Closes the connection of a client that has come back, if the server still believes in it. Its socket is kept. The
    /// caller must hold no lock.
    pub(super) fn evict(&self, pid: &Pid, session: &engine::Session<super::App>) {
        let mut order = self.order();
        let mut given_up = Vec::new();
        let replaced = self.replace(&mut order, pid, session, &mut given_up);
        self.end_step(order, given_up);
        self.end_replaced(replaced);
    }

    /// Closes the connection of a socket that was replaced. The caller must hold no lock.
    fn end_replaced(&self, replaced: Option<Socket>) {
        if let Some(old) = replaced {
            old.session().close_with(CloseReason::TransportClose);
            self.tell_changes();
        }
    }

    /// Keeps the socket of a connection that has not ended for the server, and removes it from the members. Returns it.
    fn replace(
        &self,
        order: &mut MutexGuard<'_, Order>,
        pid: &Pid,
        session: &engine::Session<super::App>,
        given_up: &mut Vec<(Id, Kept<Stored>)>,
    ) -> Option<Socket> {
        let old = self.0.members.read().find_any(&pid.id).cloned();
        let old = old.filter(|old| old.session().id() != session.id())?;
        let life = old.take_life(&pid.secret)?;
        let rooms = self.remove_quietly(&old);
        let names: Vec<_> = rooms.iter().cloned().collect();
        // Its last handlers still see which they were.
        old.set_rooms(rooms);
        given_up.extend(self.keep_socket(order, &old, life, names.into_iter()));
        Some(old)
    }

    /// Keeps a socket whose client has gone. Returns the one that there is no capacity for.
    pub(super) fn keep_socket(
        &self,
        order: &mut MutexGuard<'_, Order>,
        socket: &Socket,
        life: Life,
        rooms: impl Iterator<Item = SmolStr>,
    ) -> Option<(Id, Kept<Stored>)> {
        let now = self.now();
        let memory = order.memory.as_mut()?;
        let given_up = memory.retained.keep(now, socket.id(), life, rooms.collect(), socket.stored());
        match self.0.numbering {
            Some(Numbering::Stream) => {
                self.keep_at_bus(&mut memory.retained, socket.id(), now);
                // The client of another one can still come back, because it is at the bus.
                given_up.filter(|(id, _)| *id == socket.id())
            }
            _ => given_up,
        }
    }

    /// Ends the claim of a client that was not let in.
    pub(super) fn release_claim(&self, claim: &Claim) {
        let now = self.now();
        let mut order = self.order();
        if let Some(memory) = &mut order.memory
            && memory.retained.claimed(claim).is_some()
        {
            memory.retained.release(claim);
            if self.0.numbering == Some(Numbering::Stream) {
                self.keep_at_bus(&mut memory.retained, claim.id(), now);
            }
        }
        self.end_step(order, None);
    }

    /// Tells the application that a socket is not kept any longer. The caller must hold no lock.
    pub(super) fn tell_expired(&self, id: Id, kept: &Kept<Stored>) {
        self.tell(&ServerEvent::RecoveryExpired { namespace: self.name(), socket: id });
        let Some(engine) = self.0.engine.upgrade() else { return };
        let handler = engine.application.recovery.as_ref().and_then(|it| it.on_expired.clone());
        if let Some(handler) = handler {
            let expired = ExpiredSocket { namespace: self, id, kept };
            guard("on_expired", || handler(&expired));
        }
    }
}

/// Takes what the socket of a claim has to have again. If the client missed too much, or its credentials have expired, its
/// socket is added to those that are given up.
pub(super) fn welcome(
    retained: &mut Retained<Stored>,
    now: Time,
    claim: Claim,
    earlier: Vec<Frames>,
    session: &engine::Session<super::App>,
    given_up: &mut Vec<(Id, Kept<Stored>)>,
) -> Option<Returned> {
    let capacity = capacity(session);
    let missed = retained.missed(&claim).map(|it| it.map(|frames| polled_len(&frames)).sum::<usize>());
    let missed = missed.map(|missed| missed + earlier.iter().map(polled_len).sum::<usize>());
    let kept = retained.claimed(&claim);
    let is_valid = kept.is_some_and(|kept| kept.data.expires.is_none_or(|expires| now < expires));
    match kept.filter(|_| is_valid && missed.is_some_and(|missed| missed <= capacity)) {
        Some(kept) => {
            let (rooms, stored) = (kept.rooms.to_vec(), kept.data.clone());
            Some(Returned { claim, rooms, stored, earlier })
        }
        None => {
            given_up.extend(retained.recover(now, &claim).map(|(_, kept)| (claim.id(), kept)));
            None
        }
    }
}

/// Returns the time for which a bus keeps a socket whose client can come back within `duration`: somewhat longer, so that its
/// server can see that nobody took it.
pub(super) fn bus_lifetime(duration: Duration) -> Duration {
    duration.saturating_add(Duration::from_secs(5))
}

/// Returns the bytes that a client may have missed: it is queued at once, and the other half is for what is sent while it
/// reads that.
pub(super) fn capacity(session: &engine::Session<super::App>) -> usize {
    session.peek(|engine, _| engine.config().send_buffer) / 2
}

/// Returns the length of an event for a client that polls. In base 64, attachments are a third longer.
pub(super) fn polled_len(frames: &Frames) -> usize {
    frames.frames_len() / 3 * 4 + 4
}

impl Expire for Inner {
    fn expire(self: Arc<Self>, now: Time) {
        let namespace = Namespace(self);
        let mut expired = Vec::new();
        let mut order = namespace.order();
        if let Some(memory) = &mut order.memory {
            memory.timer = None;
            memory.retained.handle_timeout(now);
            expired.extend(std::iter::from_fn(|| memory.retained.take_expired(now)));
        }
        if namespace.0.numbering == Some(Numbering::Stream) && !expired.is_empty() {
            namespace.end_step(order, None);
            return namespace.ask_whether_expired(expired);
        }
        namespace.end_step(order, expired);
    }
}

impl Server {
    /// Returns the sizes of what the main namespace remembers for clients that come back: see
    /// [`Namespace::recovery_usage`].
    pub fn recovery_usage(&self) -> RecoveryUsage {
        self.of("/").recovery_usage()
    }
}
