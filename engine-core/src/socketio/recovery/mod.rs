//! Recovery of connections: what a namespace remembers, so that a client that lost its connection gets what it missed.
//!
//! A [`Retained`] has a log of events and the sockets whose clients are away. An event that is [recorded](Retained::record)
//! ends with an offset, which is its position in the log. A client that comes back says its [private id](Pid) and the last
//! offset that it has received; [`claim`](Retained::claim) checks them, [`missed`](Retained::missed) returns the events
//! behind that offset, and [`recover`](Retained::recover) hands the socket over.
//!
//! A [`Snapshot`] carries all of it to the process that takes over.
//!
//! Either a client gets everything that it missed, or it is not recovered. Its owner has to make one step of these, so that
//! no event is recorded in between:
//!
//! - recording an event, and queueing it for its recipients;
//! - [beginning](Retained::begin) a connection, and making the socket a recipient;
//! - [keeping](Retained::keep) a socket, and making it a recipient no more;
//! - queueing what a client missed, recovering it, and making its socket a recipient.
//!
//! ```
//! use sockeye_core::Time;
//! use sockeye_core::engineio::Id;
//! use sockeye_core::socketio::recovery::{Config, Epoch, Pid, Retained};
//! use sockeye_core::socketio::{Encoder, Target};
//! use std::time::Duration;
//!
//! let mut recovery = Retained::new(Config::default(), Epoch::from_random(1));
//! // A client connects, and loses its connection.
//! let pid = Pid { id: Id::from_random([1; 15]), secret: Id::from_random([2; 15]), is_foreign: false };
//! let life = recovery.begin(pid.secret);
//! let now = Time::ZERO + Duration::from_secs(60);
//! recovery.keep(now, pid.id, life, [].into(), "its data");
//!
//! // An event is sent meanwhile.
//! let mut encoder = Encoder::new();
//! let draft = recovery.epoch().expect("it numbers events itself").draft(&encoder.event("/", None, "news", &("much", 1))?);
//! let frames = recovery.number(draft);
//! recovery.record(now, &Target::default(), &frames);
//!
//! // It comes back. It has received no event before, so it has no offset.
//! let claim = recovery.claim(now, &pid, None).unwrap();
//! assert_eq!(recovery.missed(&claim).unwrap().count(), 1);
//! let (life, kept) = recovery.recover(now, &claim).unwrap();
//! assert_eq!((life.secret(), kept.data), (pid.secret, "its data"));
//! # Ok::<(), sockeye_core::socketio::EncodeError>(())
//! ```

mod entry;
mod index;
mod log;
mod offset;
mod places;
mod saved;
mod sessions;
mod snapshot;
#[cfg(test)]
mod tests;

pub use super::pid::Pid;
pub use offset::{Epoch, StreamPosition};
pub use sessions::Kept;
pub use snapshot::{Snapshot, SnapshotError, SnapshotWriter};

use crate::engineio::{Draft, Frames, Id};
use crate::socketio::Target;
use crate::time::{Time, earliest};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;
use entry::Recipient;
use log::{Bounds, Log, Missed};
use sessions::Sessions;
use smol_str::SmolStr;

/// The settings of a [`Retained`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// The time after its disconnection within which a client can be recovered. Default: 2 minutes.
    pub max_disconnection_duration: Duration,
    /// The time after which an event has certainly been received, or the client is known to be gone. Default: 65 s, which
    /// is a ping interval of 25 s and two timeouts of 20 s, the second for a pong that is excused.
    ///
    /// An event that is older than both times together is not needed any more.
    pub confirmation: Duration,
    /// The maximum size of the log, in bytes: each event counts 64 bytes and its frames, and the names of its rooms if
    /// there are several or they are long. Default: 64 MiB.
    pub max_bytes: usize,
    /// The maximum number of events in the log. Default: 1,000,000.
    pub max_packets: usize,
    /// The maximum number of sockets that are kept. Default: 100,000.
    pub max_sessions: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            max_disconnection_duration: Duration::from_secs(120),
            confirmation: Duration::from_secs(65),
            max_bytes: 64 << 20,
            max_packets: 1_000_000,
            max_sessions: 100_000,
        }
    }
}

/// What a connected socket needs to be kept later.
#[derive(Debug)]
pub struct Life {
    secret: Id,
    /// The [`Pid`] is the secret alone.
    is_foreign: bool,
    /// The position of the first event that the client may have missed, if it has received none.
    since: u128,
    /// The time at which the client was sent what it had missed before.
    recovered: Option<Time>,
}

impl Life {
    /// Creates the life of a socket that another server has kept. All that is behind `received` may have been missed.
    pub fn returned(pid: &Pid, received: StreamPosition) -> Life {
        Life { secret: pid.secret, is_foreign: pid.is_foreign, since: received.next().0, recovered: None }
    }

    /// Returns the secret half of the [private id](Pid).
    pub fn secret(&self) -> Id {
        self.secret
    }

    /// Returns the private id of the socket with this id.
    pub fn pid(&self, id: Id) -> Pid {
        Pid { id, secret: self.secret, is_foreign: self.is_foreign }
    }

    /// Returns the last position in the stream that the client has certainly received, or does not need; `None` if it is
    /// not known.
    pub fn received(&self) -> Option<StreamPosition> {
        self.since.checked_sub(1).map(StreamPosition)
    }
}

/// A client that has come back, and is about to be recovered.
#[derive(Debug)]
pub struct Claim {
    id: Id,
    number: u64,
    /// The position of the first event in the log that the client missed; that of the next event if there is none.
    from: u128,
    /// The position of the first event that the client missed, in the log or before it.
    since: u128,
    missed: Missed,
}

impl Claim {
    /// Returns the id of the socket.
    pub fn id(&self) -> Id {
        self.id
    }
}

/// The reason why a client cannot be recovered.
#[derive(Debug)]
pub enum NotRecoverable<D> {
    /// No socket is kept for this private id: it is wrong, or too much time has passed.
    Unknown,
    /// The offset is not one of this log, or events behind it have left the log. The socket is kept no longer.
    Missed(Kept<D>),
}

/// The sizes of a [`Retained`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// The number of events in the log.
    pub packets: usize,
    /// The bytes of these events: see [`Config::max_bytes`].
    pub bytes: usize,
    /// The number of sockets that are kept.
    pub sessions: usize,
}

/// The events and the sockets that one namespace remembers. `D` is the owner's data of a socket.
///
/// See the [module](self) for the order of calls.
#[derive(Debug)]
pub struct Retained<D> {
    config: Config,
    bounds: Bounds,
    /// The epoch of the offsets, unless they are positions in a stream.
    epoch: Option<Epoch>,
    /// The epochs of earlier processes, whose log this one continues, each with the position at which it ended.
    inherited: Vec<(Epoch, u64)>,
    log: Log,
    sessions: Sessions<D>,
}

impl<D> Retained<D> {
    /// Creates the state for an empty namespace. Nothing is allocated yet.
    pub fn new(config: Config, epoch: Epoch) -> Retained<D> {
        Retained::with(config, Some(epoch), Log::default())
    }

    /// Creates the state for an empty namespace of several servers, whose events come from a stream.
    pub fn of_stream(config: Config) -> Retained<D> {
        Retained::with(config, None, Log::of_stream())
    }

    fn with(config: Config, epoch: Option<Epoch>, log: Log) -> Retained<D> {
        let age = config.max_disconnection_duration.saturating_add(config.confirmation);
        let bounds = Bounds { age, bytes: config.max_bytes, packets: config.max_packets };
        Retained { config, bounds, epoch, inherited: Vec::new(), log, sessions: Sessions::default() }
    }

    /// Returns the epoch of the offsets, or `None` if they are positions in a stream.
    pub fn epoch(&self) -> Option<Epoch> {
        self.epoch
    }

    /// Returns the settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    // Events.

    /// Completes an event with the position that it gets if it is recorded next.
    pub fn number(&self, mut draft: Draft) -> Frames {
        offset::write_position(&mut draft, self.log.next() as u64);
        draft.finish()
    }

    /// Adds an event to the log.
    pub fn record(&mut self, now: Time, target: &Target, frames: &Frames) {
        self.log.push(now, target, frames.shared(), &self.bounds);
    }

    // Events of a stream.

    /// Begins to read the stream, or begins again because entries were missed: the events behind `last` follow.
    pub fn begin_behind(&mut self, now: Time, last: StreamPosition) {
        self.log.start_behind(now, last.0);
    }

    /// Adds an event that has come from the stream, and ends with its position.
    pub fn record_at(&mut self, now: Time, position: StreamPosition, target: &Target, frames: &Frames) {
        self.log.push_at(now, position.0, target, frames.shared(), &self.bounds);
    }

    /// Notes that everything up to a position was read.
    pub fn advance(&mut self, position: StreamPosition) {
        self.log.advance(position.0);
    }

    /// Returns the first position that was not read, or `None` before the first one was.
    pub fn unread(&self) -> Option<StreamPosition> {
        (self.log.next() > 0).then(|| StreamPosition(self.log.next()))
    }

    /// Returns whether a client that has received everything up to a position can be sent what is behind it from the log.
    pub fn covers(&self, received: StreamPosition) -> bool {
        self.log.has_all_from(received.next().0)
    }

    /// Keeps a socket whose client has come back, and claims it. From the position `from` on, the client is sent what is in
    /// the log; what it has missed before that is sent by the caller. If the log does not have everything from there on any
    /// more, [`missed`](Retained::missed) tells.
    pub fn adopt(
        &mut self,
        now: Time,
        id: Id,
        life: Life,
        rooms: Box<[SmolStr]>,
        data: D,
        from: StreamPosition,
    ) -> Claim {
        let deadline = now + self.config.max_disconnection_duration;
        let since = life.since;
        self.sessions.insert(id, Kept::new(rooms, data, life, false, deadline));
        let has_all = self.log.has_all_from(from.0);
        let claim = self.claim_from(id, from.0);
        Claim { since, from: if has_all { claim.from } else { from.0 }, ..claim }
    }

    /// Removes a socket that is kept.
    pub fn forget(&mut self, id: &Id) -> Option<Kept<D>> {
        self.sessions.remove(id)
    }

    /// Returns a socket that is kept.
    pub fn kept_mut(&mut self, id: &Id) -> Option<&mut Kept<D>> {
        self.sessions.get_mut(id)
    }

    // Sockets.

    /// Begins a connection with a new secret.
    pub fn begin(&self, secret: Id) -> Life {
        Life { secret, is_foreign: false, since: self.log.next(), recovered: None }
    }

    /// Keeps a socket whose client has gone. Returns the one that there is no capacity for: the one that has been away the
    /// longest or, if none can make room, this one.
    pub fn keep(
        &mut self,
        now: Time,
        id: Id,
        mut life: Life,
        rooms: Box<[SmolStr]>,
        data: D,
    ) -> Option<(Id, Kept<D>)> {
        let deadline = now + self.config.max_disconnection_duration;
        let is_unconfirmed = life.recovered.is_some_and(|at| now < at + self.config.confirmation);
        if self.epoch.is_none()
            && !is_unconfirmed
            && let Some(last) = self.log.last_before(now, self.config.confirmation)
        {
            // Another server may recover the client, and does not know the age of events.
            life.since = life.since.max(last.saturating_add(1));
        }
        let kept = Kept::new(rooms, data, life, is_unconfirmed, deadline);
        self.sessions.remove(&id);
        if self.sessions.len() < self.config.max_sessions {
            self.sessions.insert(id, kept);
            return None;
        }
        // Another one, even if it has gone at the same time.
        match self.sessions.pop() {
            Some(oldest) => {
                self.sessions.insert(id, kept);
                Some(oldest)
            }
            None => Some((id, kept)),
        }
    }

    /// Returns whether a socket is kept.
    pub fn is_kept(&self, id: &Id) -> bool {
        self.sessions.get(id).is_some()
    }

    /// Finds the socket of a client that has come back. It is kept until it is [recovered](Retained::recover), without a
    /// deadline until it is [released](Retained::release).
    ///
    /// A client that has received no event has no offset: it missed all events of its connection.
    ///
    /// # Errors
    /// Returns the reason why the client has to begin anew.
    pub fn claim(&mut self, now: Time, pid: &Pid, offset: Option<&str>) -> Result<Claim, NotRecoverable<D>> {
        let kept = self.sessions.find(now, pid).ok_or(NotRecoverable::Unknown)?;
        let from = match offset {
            None => Some(kept.life.since),
            // Clients keep the offset of their connection before, until they receive an event.
            Some(offset) => self.position(offset).map(|position| kept.life.since.max(position + 1)),
        };
        let from = from.filter(|from| match kept.is_unconfirmed {
            true => self.log.has_all_from(*from),
            false => self.log.is_complete_from(now, *from, &self.bounds),
        });
        let Some(from) = from else {
            let kept = self.sessions.remove(&pid.id);
            return Err(kept.map_or(NotRecoverable::Unknown, NotRecoverable::Missed));
        };
        Ok(self.claim_from(pid.id, from))
    }

    fn claim_from(&mut self, id: Id, from: u128) -> Claim {
        let rooms = self.sessions.get(&id).map_or(&[][..], |kept| &kept.rooms);
        let missed = self.log.find_missed(from, Recipient { id: id.as_str(), rooms });
        let from = missed.first.unwrap_or(self.log.next().max(from));
        Claim { id, number: self.sessions.claim(&id), from, since: from, missed }
    }

    /// Returns the position of an offset, or `None` if it is not one of this log.
    fn position(&self, offset: &str) -> Option<u128> {
        match self.epoch {
            Some(epoch) => {
                let position = epoch.position(offset);
                position.or_else(|| saved::inherited_position(&self.inherited, offset)).map(u128::from)
            }
            None => StreamPosition::parse(offset).map(|position| position.0),
        }
    }

    /// Returns the socket of a claim, unless the client has come back once more since.
    pub fn claimed(&self, claim: &Claim) -> Option<&Kept<D>> {
        self.sessions.claimed(&claim.id, claim.number)
    }

    /// Returns the events that a client missed, in their order. They end with their offsets.
    ///
    /// Returns `None` if the client cannot be recovered any more: it has come back once more since, or events have left the
    /// log.
    pub fn missed<'a>(&'a self, claim: &'a Claim) -> Option<impl Iterator<Item = Frames> + use<'a, D>> {
        let kept = self.claimed(claim)?;
        let has_all = self.log.has_all_from(claim.from);
        let events = has_all.then(|| self.log.missed(&claim.missed, kept.recipient(&claim.id)));
        events.map(|events| events.map(|frames| Frames::from_shared(frames.clone())))
    }

    /// Hands the socket of a claim over, whose client was sent what it [missed](Retained::missed). Returns `None` if it has
    /// come back once more.
    pub fn recover(&mut self, now: Time, claim: &Claim) -> Option<(Life, Kept<D>)> {
        self.claimed(claim)?;
        let kept = self.sessions.remove(&claim.id)?;
        let Life { secret, is_foreign, .. } = kept.life;
        let life = Life { secret, is_foreign, since: claim.since, recovered: Some(now) };
        Some((life, kept))
    }

    /// Ends a claim whose client has gone again, or was refused. Its socket is kept until its deadline.
    pub fn release(&mut self, claim: &Claim) {
        self.sessions.release(&claim.id, claim.number);
    }

    // Time.

    /// Returns the time at which [`handle_timeout`](Retained::handle_timeout) and [`take_expired`](Retained::take_expired)
    /// have something to do.
    pub fn next_deadline(&self) -> Option<Time> {
        earliest(self.sessions.deadline(), self.log.deadline(&self.bounds))
    }

    /// Handles the passing of time: removes events that are not needed any more.
    pub fn handle_timeout(&mut self, now: Time) {
        self.log.trim(now, &self.bounds);
    }

    /// Removes a socket whose client did not come back in time. Call it until it returns `None`.
    pub fn take_expired(&mut self, now: Time) -> Option<(Id, Kept<D>)> {
        match self.sessions.deadline() {
            Some(deadline) if deadline <= now => self.sessions.pop(),
            _ => None,
        }
    }

    /// Returns the sizes at present.
    pub fn usage(&self) -> Usage {
        Usage { packets: self.log.len(), bytes: self.log.bytes(), sessions: self.sessions.len() }
    }
}
