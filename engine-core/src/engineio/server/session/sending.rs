//! What a session sends.

use super::{SendFlags, Session, State};
use crate::engineio::frames::{Frames, Part};
use crate::engineio::payload::Payload;
use crate::hint::cold_path;
use crate::outbound::Outbound;
use crate::websocket::{self, Opcode};

/// The error of a message that was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The session is over.
    #[error("the session is closed")]
    Closed,
    /// The peer reads too slowly: the message would exceed the send buffer.
    #[error("the send buffer is full: {queued} bytes waiting")]
    Full {
        /// The number of bytes that wait.
        queued: usize,
    },
    /// The message is larger than the whole send buffer.
    #[error("a message larger than the send buffer of {limit} bytes")]
    TooLarge {
        /// The size of the send buffer.
        limit: usize,
    },
    /// A text with U+001E, which stands between the packets of a payload: it cannot be sent over polling, nor with stateful
    /// reconnect.
    #[error("a text with U+001E, which cannot be sent over polling or with stateful reconnect")]
    Separator,
}

impl Session {
    /// Queues messages as one unit: nothing comes between them, and all are queued or none.
    pub fn send<'a>(&mut self, parts: impl Iterator<Item = Part<'a>> + Clone) -> Result<(), SendError> {
        self.send_with(parts, SendFlags::default())
    }

    /// Does the same as [`send`](Session::send), with flags.
    ///
    /// With the policies [`WhenFull::DropNewest`](crate::engineio::server::WhenFull::DropNewest) and
    /// [`WhenFull::DropOldest`](crate::engineio::server::WhenFull::DropOldest), messages that may be dropped wait behind the queue once that is
    /// long, so that a ping and its pong need not wait for them.
    // Inlined, because most programs use one of its callers: `benches/count ack`.
    #[inline(always)]
    pub fn send_with<'a>(
        &mut self,
        parts: impl Iterator<Item = Part<'a>> + Clone,
        flags: SendFlags,
    ) -> Result<(), SendError> {
        if self.is_behind(flags) {
            return self.hold_parts(parts, flags);
        }
        let budget = self.budget();
        match &mut self.state {
            State::Streaming(streaming) => {
                budget.admit(streaming.queued(), streaming.plain_framing().len(parts.clone()))?;
                let framing = streaming.framing(&self.config, flags.compress);
                framing.write(&mut streaming.queue, parts, &self.config.deflate_pool);
            }
            State::Polling(polling) => {
                cold_path();
                if parts.clone().any(Part::has_separator) {
                    return Err(SendError::Separator);
                }
                budget.admit(polling.payload.text().len(), Payload::len_of(parts.clone()))?;
                polling.payload.write(parts);
            }
        }
        Ok(())
    }

    #[cold]
    fn hold_parts<'a>(
        &mut self,
        parts: impl Iterator<Item = Part<'a>> + Clone,
        flags: SendFlags,
    ) -> Result<(), SendError> {
        let is_payload = matches!(self.state, State::Polling(_)) || self.is_resumable();
        if is_payload && parts.clone().any(Part::has_separator) {
            return Err(SendError::Separator);
        }
        self.hold(&mut Frames::new(parts), flags)
    }

    /// Queues a reference to messages that were encoded for many sessions.
    pub fn send_shared(&mut self, frames: &mut Frames) -> Result<(), SendError> {
        self.send_shared_with(frames, SendFlags::default())
    }

    /// Does the same as [`send_shared`](Session::send_shared), with flags.
    // Inlined, because every delivery of a broadcast calls it: `benches/count broadcast`.
    #[inline(always)]
    pub fn send_shared_with(&mut self, frames: &mut Frames, flags: SendFlags) -> Result<(), SendError> {
        if self.is_behind(flags) {
            return self.hold(frames, flags);
        }
        let budget = self.budget();
        match &mut self.state {
            State::Streaming(streaming) => {
                let framing = streaming.framing(&self.config, flags.compress);
                let frames = match framing.is_default() {
                    true => frames.shared(),
                    false => frames.frames(framing, &self.config.deflate_pool),
                };
                budget.admit(streaming.queued(), frames.len())?;
                streaming.queue.push(frames.clone());
            }
            State::Polling(polling) => {
                cold_path();
                budget.admit(polling.payload.text().len(), frames.payload().len() + 1)?;
                polling.payload.push_shared(frames);
            }
        }
        Ok(())
    }

    pub(super) fn budget(&self) -> Budget {
        Budget { is_closed: self.closed.is_some(), limit: self.config.send_buffer }
    }

    /// Moves the frames that wait to the connection's own queue, while on WebSocket.
    ///
    /// Call [`set_in_flight`](Session::set_in_flight) as they are written.
    pub fn take_frames(&mut self, out: &mut Outbound) {
        // A session without a connection keeps what waits.
        let State::Streaming(streaming) = &mut self.state else { return };
        if self.aside.is_some() {
            cold_path();
            streaming.set_in_flight(out.len());
            self.refill();
        }
        let State::Streaming(streaming) = &mut self.state else { return };
        let waiting = streaming.queue.len();
        if waiting > 0 {
            self.taken = self.taken.wrapping_add(waiting as u64);
            out.append(&mut streaming.queue);
        }
        streaming.set_in_flight(out.len());
    }

    /// Queues the answer to a ping of the WebSocket connection, which is no packet. Does nothing on polling.
    ///
    /// It follows everything that waits, except messages that may be dropped: behind those, a peer that reads slowly would
    /// miss it for as long as they are more than it reads, and take the connection for dead.
    pub fn push_pong(&mut self, data: &[u8]) {
        if let State::Streaming(streaming) = &mut self.state {
            streaming.queue.write_with(|out| websocket::write_frame(out, Opcode::Pong, data, None));
        }
    }

    /// Sets the number of taken bytes that are not written yet.
    pub fn set_in_flight(&mut self, bytes: usize) {
        if let State::Streaming(streaming) = &mut self.state {
            streaming.set_in_flight(bytes);
        }
    }

    /// Returns the queue, so that its memory can come from a pool and return there.
    pub fn queue_mut(&mut self) -> &mut Outbound {
        match &mut self.state {
            State::Polling(polling) => polling.payload.text_mut(),
            State::Streaming(streaming) => &mut streaming.queue,
        }
    }
}

/// The capacity of the send buffer.
#[derive(Clone, Copy)]
pub(super) struct Budget {
    pub(super) is_closed: bool,
    pub(super) limit: usize,
}

impl Budget {
    /// Checks that `len` bytes, in the form in which they are queued, may be added to the `queued` ones.
    pub(super) fn admit(self, queued: usize, len: usize) -> Result<(), SendError> {
        let Budget { is_closed, limit } = self;
        if is_closed {
            return Err(SendError::Closed);
        }
        if len > limit {
            return Err(SendError::TooLarge { limit });
        }
        if queued.saturating_add(len) > limit {
            return Err(SendError::Full { queued });
        }
        Ok(())
    }
}
