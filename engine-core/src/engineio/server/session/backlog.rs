//! Messages that wait behind the queue of a session, because they may be dropped as long as they do.

use super::{SendError, Session, State};
use crate::engineio::frames::Frames;
use crate::engineio::server::config::WhenFull;
use crate::websocket::DeflatePool;
use alloc::collections::VecDeque;
use bytes::Bytes;

/// The flags for sending a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SendFlags {
    /// Allows compression, if it was negotiated. A message that a client has not polled yet when it upgrades to WebSocket
    /// may be compressed nevertheless. Default: true.
    pub compress: bool,
    /// Lets newer messages take the place of this one while it waits, if the policy is
    /// [`WhenFull::DropOldest`]. Default: false.
    pub may_drop: bool,
}

impl Default for SendFlags {
    fn default() -> SendFlags {
        SendFlags { compress: true, may_drop: false }
    }
}

impl SendFlags {
    /// Sets whether the message may be compressed.
    pub fn compress(mut self, compress: bool) -> SendFlags {
        self.compress = compress;
        self
    }

    /// Sets whether newer messages may take the place of this one.
    pub fn may_drop(mut self, may_drop: bool) -> SendFlags {
        self.may_drop = may_drop;
        self
    }
}

/// Messages that wait behind the queue of a session, in units: a message and its attachments.
///
/// The first unit may always be dropped. One that may not, and has none to be dropped before it, belongs into the queue.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    units: VecDeque<Unit>,
    /// The size of all units.
    size: usize,
    /// The size of those that may be dropped.
    droppable: usize,
}

#[derive(Debug)]
struct Unit {
    /// The messages as they stand in the queue.
    bytes: Bytes,
    may_drop: bool,
}

/// Number of bytes that a unit takes besides its messages.
const OVERHEAD: usize = 64;

impl Unit {
    fn size(&self) -> usize {
        self.bytes.len() + OVERHEAD
    }
}

impl Backlog {
    /// Returns the number of bytes that the units take.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    fn push(&mut self, unit: Unit) {
        self.size += unit.size();
        if unit.may_drop {
            self.droppable += unit.size();
        }
        self.units.push_back(unit);
    }

    fn pop(&mut self) -> Option<Unit> {
        let unit = self.units.pop_front()?;
        self.size -= unit.size();
        if unit.may_drop {
            self.droppable -= unit.size();
        }
        Some(unit)
    }

    /// Removes the first unit if it may not be dropped.
    fn pop_kept(&mut self) -> Option<Unit> {
        if self.units.front()?.may_drop { None } else { self.pop() }
    }
}

impl State {
    /// Returns the messages as they stand in the queue.
    fn form(&self, frames: &mut Frames, compress: bool, pool: &DeflatePool) -> Bytes {
        match self {
            State::Polling(_) => frames.payload().clone(),
            State::Streaming(streaming) => match compress {
                true => frames.frames(streaming.framing(), pool).clone(),
                false => frames.frames(streaming.framing().uncompressed(), pool).clone(),
            },
        }
    }

    fn push(&mut self, unit: Unit) {
        match self {
            State::Polling(polling) => polling.payload.push_packets(unit.bytes),
            State::Streaming(streaming) => streaming.queue.push(unit.bytes),
        }
    }
}

impl Session {
    /// Returns whether a message has to wait behind the queue: others do, or it may be dropped and the queue is long.
    #[inline(always)]
    pub(super) fn is_behind(&self, flags: SendFlags) -> bool {
        self.backlog.is_some()
            || flags.may_drop
                && self.config.when_full != WhenFull::Close
                && self.state.queued() >= self.config.low_water()
    }

    /// Adds messages to the backlog. The oldest ones are dropped for them if the policy says so, and if that is enough.
    #[cold]
    pub(super) fn hold(&mut self, frames: &mut Frames, flags: SendFlags) -> Result<(), SendError> {
        let SendFlags { compress, may_drop } = flags;
        let bytes = self.state.form(frames, compress, &self.config.deflate_pool);
        let unit = Unit { bytes, may_drop };
        let queued = self.queued();
        let droppable = match self.config.when_full {
            WhenFull::DropOldest => self.backlog.as_ref().map_or(0, |backlog| backlog.droppable),
            WhenFull::Close | WhenFull::DropNewest => 0,
        };
        self.budget().admit(0, unit.bytes.len())?;
        let limit = self.config.send_buffer;
        if queued - droppable + unit.size() > limit {
            return Err(SendError::Full { queued });
        }
        while self.queued() + unit.size() > limit
            && let Some(backlog) = &mut self.backlog
        {
            drop(backlog.pop());
            self.advance_backlog(0);
        }
        match &mut self.backlog {
            None if !may_drop => self.state.push(unit),
            backlog => backlog.get_or_insert_default().push(unit),
        }
        Ok(())
    }

    /// Moves messages from the backlog to the queue while that is short.
    #[inline]
    pub(super) fn refill(&mut self) {
        if self.backlog.is_some() {
            self.advance_backlog(self.config.low_water());
        }
    }

    /// Moves messages from the backlog to the queue while that has less than `limit` bytes, and those that may not be
    /// dropped in any case.
    #[cold]
    pub(super) fn advance_backlog(&mut self, limit: usize) {
        let Some(backlog) = &mut self.backlog else { return };
        while let Some(unit) = match self.state.queue().len() < limit {
            true => backlog.pop(),
            false => backlog.pop_kept(),
        } {
            self.state.push(unit);
        }
        if backlog.units.is_empty() {
            self.backlog = None;
        }
    }

    /// Drops everything that waits.
    pub(super) fn clear(&mut self) {
        self.state.clear();
        self.backlog = None;
    }
}
