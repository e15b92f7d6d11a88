//! Messages that wait behind the queue of a session, because they may be dropped as long as they do.

use super::sending::Budget;
use super::{SendError, Session, State};
use crate::engineio::frames::Frames;
use crate::engineio::server::config::{Config, WhenFull};
use alloc::boxed::Box;
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
///
/// With stateful reconnect a message gets its number when it leaves for the queue, so that what is dropped has none.
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
    messages: Messages,
    may_drop: bool,
}

#[derive(Debug)]
enum Messages {
    /// As they stand in the queue.
    Formed(Bytes),
    /// With stateful reconnect: in all forms, because the transport may be another one by then.
    Unformed { frames: Box<Frames>, compress: bool },
}

/// Number of bytes that a unit takes besides its messages.
const OVERHEAD: usize = 64;

impl Unit {
    fn size(&self) -> usize {
        OVERHEAD
            + match &self.messages {
                Messages::Formed(bytes) => bytes.len(),
                Messages::Unformed { frames, .. } => frames.frames_len(),
            }
    }
}

impl Backlog {
    /// Returns the number of bytes that the units take.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    pub(super) fn is_empty(&self) -> bool {
        self.units.is_empty()
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
    pub(super) fn form(&self, frames: &mut Frames, compress: bool, config: &Config) -> Bytes {
        match self {
            State::Polling(_) => frames.payload().clone(),
            State::Streaming(streaming) => {
                frames.frames(streaming.framing(config, compress), &config.deflate_pool).clone()
            }
        }
    }

    fn push_formed(&mut self, bytes: Bytes) {
        match self {
            State::Polling(polling) => polling.payload.push_packets(bytes),
            State::Streaming(streaming) => streaming.queue.push(bytes),
        }
    }
}

impl Session {
    /// Returns whether a message cannot be queued at once: others wait, or it may be dropped and the queue is long. With
    /// stateful reconnect, it is [held](Session::hold) in any case, which looks again.
    #[inline(always)]
    pub(super) fn is_behind(&self, flags: SendFlags) -> bool {
        self.aside.is_some()
            || flags.may_drop
                && self.config.when_full != WhenFull::Close
                && self.state.queued() >= self.config.low_water()
    }

    /// Returns whether messages wait behind the queue.
    pub(super) fn has_backlog(&self) -> bool {
        self.aside.as_ref().is_some_and(|aside| !aside.backlog.is_empty())
    }

    /// Adds messages to the backlog. The oldest ones are dropped for them if the policy says so, and if that is enough.
    #[cold]
    pub(super) fn hold(&mut self, frames: &mut Frames, flags: SendFlags) -> Result<(), SendError> {
        let SendFlags { compress, may_drop } = flags;
        if !self.has_backlog() && self.is_resumable() && !self.is_long(may_drop) {
            return self.send_numbered(frames, compress);
        }
        let messages = match self.is_resumable() {
            true => Messages::Unformed { frames: Box::new(frames.clone()), compress },
            false => Messages::Formed(self.state.form(frames, compress, &self.config)),
        };
        let unit = Unit { messages, may_drop };
        let queued = self.queued();
        let droppable = match self.config.when_full {
            WhenFull::DropOldest => self.aside.as_ref().map_or(0, |aside| aside.backlog.droppable),
            WhenFull::Close | WhenFull::DropNewest => 0,
        };
        let limit = self.send_limit();
        Budget { limit, ..self.budget() }.admit(0, unit.size() - OVERHEAD)?;
        if queued - droppable + unit.size() > limit {
            return Err(SendError::Full { queued });
        }
        while self.queued() + unit.size() > limit
            && self.has_backlog()
            && let Some(aside) = &mut self.aside
        {
            drop(aside.backlog.pop());
            self.advance_backlog(0);
        }
        match may_drop || self.has_backlog() {
            true => self.aside.get_or_insert_default().backlog.push(unit),
            false => self.push_unit(unit),
        }
        Ok(())
    }

    /// Returns whether the queue is so long that a message that may be dropped has to wait behind it.
    fn is_long(&self, may_drop: bool) -> bool {
        may_drop && self.config.when_full != WhenFull::Close && self.queued() >= self.config.low_water()
    }

    fn push_unit(&mut self, unit: Unit) {
        match unit.messages {
            Messages::Formed(bytes) => self.state.push_formed(bytes),
            Messages::Unformed { mut frames, compress } => self.push_numbered(&mut frames, compress),
        }
    }

    /// Moves what waits beside the queue to the queue, messages as long as that is short.
    #[inline]
    pub(super) fn refill(&mut self) {
        if self.aside.is_some() {
            self.advance_backlog(self.config.low_water());
            self.push_due();
        }
    }

    /// Moves messages from the backlog to the queue while less than `limit` bytes are in that or being written, and those that
    /// may not be dropped in any case.
    #[cold]
    pub(super) fn advance_backlog(&mut self, limit: usize) {
        while let Some(aside) = &mut self.aside
            && let Some(unit) = match self.state.queued() < limit {
                true => aside.backlog.pop(),
                false => aside.backlog.pop_kept(),
            }
        {
            self.push_unit(unit);
        }
        self.aside.take_if(|aside| aside.backlog.is_empty() && aside.resumption.is_none());
    }

    /// Drops everything that waits.
    pub(super) fn clear(&mut self) {
        self.state.clear();
        match &mut self.aside {
            Some(aside) if aside.resumption.is_some() => aside.backlog = Backlog::default(),
            aside => *aside = None,
        }
    }
}
