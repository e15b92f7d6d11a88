//! What a namespace remembers, as bytes that the next process reads.

use super::log::Log;
use super::offset::{END, Epoch};
use super::sessions::{Kept, Sessions};
use super::{Config, Life, Retained};
use crate::engineio::{Frames, Id, Part};
use crate::socketio::Target;
use crate::time::Time;
use alloc::boxed::Box;
use alloc::vec::Vec;
use bytes::{Buf, BufMut, Bytes};
use core::time::Duration;
use smol_str::SmolStr;

/// Number of earlier epochs that are remembered: a client that has received no event since is recovered after so many
/// restarts.
const MAX_EPOCHS: usize = 16;

/// The byte that ends a packet in a payload of polling.
const SEPARATOR: u8 = 0x1e;

/// What one namespace remembers, without a clock: times are ages, or what is left until a deadline.
#[derive(Debug)]
pub(super) struct Saved {
    /// The epochs of the log, each with the position that was the next when it ended.
    epochs: Vec<(Epoch, u64)>,
    /// The position of the first event.
    first: u64,
    /// The newest event that the log had no capacity for, and its age.
    lost: Option<(u64, Duration)>,
    events: Vec<Event>,
    sockets: Vec<SavedSocket>,
}

#[derive(Debug)]
struct Event {
    age: Duration,
    target: Target,
    frames: Frames,
}

#[derive(Debug)]
struct SavedSocket {
    id: Id,
    secret: Id,
    since: u64,
    is_unconfirmed: bool,
    /// The time until its deadline.
    rest: Duration,
    rooms: Box<[SmolStr]>,
    data: Bytes,
}

impl<D> Retained<D> {
    /// Appends everything that is remembered, of a log that is not a stream's. `write` appends the owner's data of a socket.
    pub(super) fn save(&self, now: Time, out: &mut Vec<u8>, mut write: impl FnMut(&D, &mut Vec<u8>)) {
        let ended = self.epoch.map(|epoch| (epoch, narrow(self.log.next())));
        let skipped = (self.inherited.len() + 1).saturating_sub(MAX_EPOCHS);
        let epochs = self.inherited.iter().chain(&ended).skip(skipped);
        out.put_u32(len_of(epochs.clone().count()));
        epochs.for_each(|(epoch, end)| {
            out.put_slice(epoch.as_bytes());
            out.put_u64(*end);
        });
        out.put_u64(narrow(self.log.first()));
        match self.log.lost() {
            Some((position, at)) => {
                out.put_u8(1);
                out.put_u64(narrow(position));
                put_duration(out, now.saturating_since(at));
            }
            None => out.put_u8(0),
        }
        out.put_u32(len_of(self.log.len()));
        self.log.entries().for_each(|(at, target, frames)| {
            put_duration(out, now.saturating_since(at));
            put_names(out, target.rooms.len(), target.rooms.iter());
            put_names(out, target.except.len(), target.except.iter());
            put_frames(out, &Frames::from_shared(frames.clone()));
        });
        out.put_u32(len_of(self.sessions.len()));
        self.sessions.iter().for_each(|(id, kept)| {
            out.put_slice(id.as_bytes());
            out.put_slice(kept.life.secret.as_bytes());
            out.put_u64(narrow(kept.life.since));
            out.put_u8(kept.is_unconfirmed.into());
            put_duration(out, kept.deadline().saturating_since(now));
            put_names(out, kept.rooms.len(), kept.rooms.iter().map(SmolStr::as_str));
            let start = out.len();
            out.put_u32(0);
            write(&kept.data, out);
            let written = len_of(out.len() - start - 4);
            if let Some(place) = out.get_mut(start..start + 4) {
                place.copy_from_slice(&written.to_be_bytes());
            }
        });
    }
}

impl Saved {
    /// Reads what [`Retained::save`] has written. Returns `None` if it is damaged.
    ///
    /// What it allocates is limited by a multiple of the length of the bytes.
    pub(super) fn read(bytes: &mut Reader) -> Option<Saved> {
        let epochs = bytes.list(|bytes| Some((Epoch::from_bytes(bytes.array()?), bytes.position()?)))?;
        let first = bytes.position()?;
        let lost = match bytes.flag()? {
            true => Some((bytes.position()?, bytes.duration()?)),
            false => None,
        };
        let events = bytes.list(|bytes| {
            let age = bytes.duration()?;
            let rooms = bytes.list(Reader::name)?.into();
            let target = Target { rooms, except: bytes.list(Reader::name)?.into() };
            Some(Event { age, target, frames: bytes.frames()? })
        })?;
        let sockets = bytes.list(|bytes| {
            Some(SavedSocket {
                id: bytes.id()?,
                secret: bytes.id()?,
                since: bytes.position()?,
                is_unconfirmed: bytes.flag()?,
                rest: bytes.duration()?,
                rooms: bytes.list(Reader::name)?.into_boxed_slice(),
                data: bytes.bytes()?,
            })
        })?;
        (epochs.len() <= MAX_EPOCHS).then_some(Saved { epochs, first, lost, events, sockets })
    }

    /// Returns the number of events and of sockets.
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.events.len(), self.sockets.len())
    }

    /// Continues what was saved `away` ago, with a new epoch. `read` reads the owner's data of a socket; one for which it
    /// returns `None` is left out.
    pub(super) fn restore<D>(
        self,
        config: Config,
        epoch: Epoch,
        now: Time,
        away: Duration,
        mut read: impl FnMut(Bytes) -> Option<D>,
    ) -> Retained<D> {
        let mut retained = Retained::new(config, epoch);
        retained.inherited = self.epochs;
        // An instant before the origin of the clock cannot be told: what is older is remembered a little longer.
        let before =
            |age: Duration| Time::from_origin(now.since_origin().saturating_sub(age.saturating_add(away)));
        retained.log = Log::continued(
            self.first.into(),
            self.lost.map(|(position, age)| (position.into(), before(age))),
        );
        for Event { age, target, frames } in self.events {
            retained.log.push(before(age), &target, frames.shared(), &retained.bounds);
        }
        retained.log.trim(now, &retained.bounds);
        let mut sessions = Sessions::default();
        for socket in self.sockets {
            let Some(data) = read(socket.data) else { continue };
            let life = Life {
                secret: socket.secret,
                is_foreign: false,
                since: socket.since.into(),
                recovered: None,
            };
            let rest = socket.rest.min(retained.config.max_disconnection_duration);
            let deadline = now + rest.saturating_sub(away);
            sessions.insert(socket.id, Kept::new(socket.rooms, data, life, socket.is_unconfirmed, deadline));
            if sessions.len() > retained.config.max_sessions {
                sessions.pop();
            }
        }
        retained.sessions = sessions;
        retained
    }
}

/// Finds the epoch that an offset belongs to, among those of earlier processes. The offsets of a process that continued
/// from the same bytes are none of them.
pub(super) fn inherited_position(epochs: &[(Epoch, u64)], offset: &str) -> Option<u64> {
    epochs.iter().find_map(|(epoch, end)| epoch.position(offset).filter(|position| position < end))
}

/// Returns a position as it is written: at most the last one that is read again.
fn narrow(position: u128) -> u64 {
    u64::try_from(position).map_or(END, |position| position.min(END))
}

/// Returns a number of bytes or elements as it is written. There are never more than 2^32 of them.
fn len_of(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

fn put_duration(out: &mut Vec<u8>, duration: Duration) {
    out.put_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.put_u32(len_of(bytes.len()));
    out.put_slice(bytes);
}

fn put_names<'a>(out: &mut Vec<u8>, count: usize, names: impl Iterator<Item = &'a str>) {
    out.put_u32(len_of(count));
    names.for_each(|name| put_bytes(out, name.as_bytes()));
}

fn put_frames(out: &mut Vec<u8>, frames: &Frames) {
    out.put_u32(len_of(frames.parts().count()));
    frames.parts().for_each(|part| match part {
        Part::Text(text) => {
            out.put_u8(0);
            put_bytes(out, text);
        }
        Part::Binary(bytes) => {
            out.put_u8(1);
            put_bytes(out, bytes);
        }
    });
}

/// Reads fields, and returns `None` where the bytes end or make no sense.
pub(super) struct Reader(pub(super) Bytes);

impl Reader {
    fn take(&mut self, len: usize) -> Option<Bytes> {
        (len <= self.0.len()).then(|| self.0.split_to(len))
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.0.try_get_u8().ok()
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.0.try_get_u64().ok()
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.as_ref().try_into().ok()
    }

    fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn position(&mut self) -> Option<u64> {
        self.u64().filter(|position| *position <= END)
    }

    fn duration(&mut self) -> Option<Duration> {
        self.u64().map(Duration::from_millis)
    }

    fn id(&mut self) -> Option<Id> {
        Id::parse(core::str::from_utf8(&self.take(20)?).ok()?)
    }

    pub(super) fn bytes(&mut self) -> Option<Bytes> {
        let len = self.0.try_get_u32().ok()?;
        self.take(usize::try_from(len).ok()?)
    }

    pub(super) fn name(&mut self) -> Option<SmolStr> {
        core::str::from_utf8(&self.bytes()?).ok().map(SmolStr::new)
    }

    fn frames(&mut self) -> Option<Frames> {
        let parts = self.list(|bytes| Some((bytes.flag()?, bytes.bytes()?)))?;
        let is_right = |(is_binary, part): &(bool, Bytes)| {
            *is_binary || (core::str::from_utf8(part).is_ok() && !part.contains(&SEPARATOR))
        };
        let part = |(is_binary, part)| if is_binary { Part::Binary(part) } else { Part::Text(part) };
        let all = parts.iter().map(|(is_binary, bytes)| part((*is_binary, &bytes[..])));
        (!parts.is_empty() && parts.iter().all(is_right)).then(|| Frames::new(all))
    }

    /// Reads a number of elements. It is not trusted: memory is reserved only for elements that were read.
    pub(super) fn list<T>(&mut self, read: impl Fn(&mut Reader) -> Option<T>) -> Option<Vec<T>> {
        let count = self.0.try_get_u32().ok()?;
        let mut list = Vec::new();
        for _ in 0..count {
            list.push(read(self)?);
        }
        Some(list)
    }
}
