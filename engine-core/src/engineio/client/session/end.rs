//! The end of a session.

use super::super::error::CloseReason;
use super::{Lane, Note, Session, State};
use crate::engineio::transport::Transport;
use crate::time::Time;
use alloc::boxed::Box;

impl Session {
    /// Closes the session after everything that is queued.
    pub fn close(&mut self, now: Time) {
        if self.closed.is_some() || self.closing().is_some() {
            return;
        }
        match &mut self.state {
            State::Polling(polling) => {
                polling.probe = None;
                polling.closing = Some(now + self.config.close_timeout);
                self.complete_close();
            }
            State::WebSocket => {
                // The driver sends a close frame.
                self.note_control(b"1", Transport::WebSocket);
                self.set_closed(CloseReason::Client);
            }
            State::Opening { .. } | State::Detached => self.set_closed(CloseReason::Client),
        }
    }

    /// Returns the deadline of closing, if the session is closing. Only one that polls takes time for it.
    pub(super) fn closing(&self) -> Option<Time> {
        match &self.state {
            State::Polling(polling) => polling.closing,
            State::Opening { .. } | State::WebSocket | State::Detached => None,
        }
    }

    /// Ends the session immediately, for a reason that its owner gives.
    pub fn fail(&mut self, reason: CloseReason) {
        self.end(reason);
    }

    /// Continues closing once the server has answered everything that was queued.
    ///
    /// The packet that closes has a request of its own: the reference handles it immediately, but messages only after the
    /// request that brought them, so that messages before it in the same request would be lost.
    pub(super) fn complete_close(&mut self) {
        if self.closing().is_none() || !self.queue.text().is_empty() || self.is_busy(Lane::Post) {
            return;
        }
        if self.said_close {
            return self.end(CloseReason::Client);
        }
        self.push_control(b"1");
        self.said_close = true;
    }

    pub(super) fn end(&mut self, reason: CloseReason) {
        if self.closed.is_some() {
            return;
        }
        self.queue.clear();
        // An error while the session is closing is not the reason of its end.
        let reason = if self.closing().is_some() { CloseReason::Client } else { reason };
        self.set_closed(reason);
    }

    fn set_closed(&mut self, reason: CloseReason) {
        self.note(|_| Note::Closed(reason.clone()));
        self.closed = Some(Box::new(reason));
    }
}
