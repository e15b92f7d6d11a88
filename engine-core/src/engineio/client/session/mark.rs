//! Whether the server has read what was sent.

use super::{Opcode, Session, State};
use crate::time::Time;
use alloc::boxed::Box;
use core::time::Duration;

/// How long the answer to a ping of WebSocket is waited for.
const PONG_TIMEOUT: Duration = Duration::from_secs(2);

/// Up to where it is watched what the server has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// So many bytes in the queue of packets are before it. The request that takes the last of them is its proof.
    Ahead(usize),
    /// Behind it is a ping of WebSocket with this number.
    Ping(u32),
}

impl Mark {
    /// So many bytes of the queue were taken.
    pub(super) fn advance(&mut self, taken: usize) {
        if let Mark::Ahead(bytes) = self {
            *bytes = bytes.saturating_sub(taken);
        }
    }
}

impl Session {
    /// Watches until the server has read all that was sent so far, in place of an earlier place. Returns how long that
    /// is worth waiting for, or `None` if it has.
    ///
    /// By polling the server has once it has answered the requests. Over WebSocket it is sent a ping of that protocol,
    /// which every implementation answers by itself, in order.
    pub fn watch_read(&mut self, now: Time) -> Option<Time> {
        match self.state {
            State::Polling(_) => {
                self.mark = Some(Box::new(Mark::Ahead(self.queue.len())));
                self.pass_mark();
                // Each of the request under way and the next one ends the session that takes longer.
                self.mark.as_ref().map(|_| now + self.config.request_timeout.saturating_mul(3))
            }
            State::WebSocket => {
                self.ping();
                Some(now + PONG_TIMEOUT)
            }
            State::Opening { .. } => None,
        }
    }

    /// Whether it is [watched](Session::watch_read) still.
    pub fn awaits_read(&self) -> bool {
        self.mark.is_some()
    }

    fn ping(&mut self) {
        self.requests = self.requests.wrapping_add(1);
        self.mark = Some(Box::new(Mark::Ping(self.requests)));
        self.push_frame(Opcode::Ping, &[&self.requests.to_be_bytes()]);
    }

    /// A pong of WebSocket arrived. Whether it says that the server has read what was watched.
    pub fn handle_pong(&mut self, data: &[u8]) -> bool {
        let is_expected =
            matches!(self.mark.as_deref(), Some(Mark::Ping(number)) if number.to_be_bytes() == data);
        if is_expected {
            self.mark = None;
        }
        is_expected
    }

    pub(super) fn pass_mark(&mut self) {
        if let State::Polling(polling) = &self.state
            && polling.post.is_none()
            && self.mark.as_deref() == Some(&Mark::Ahead(0))
        {
            self.mark = None;
        }
    }

    /// The session moves to WebSocket, and what is queued with it.
    pub(super) fn move_mark(&mut self) {
        if self.mark.is_some() {
            self.ping();
        }
    }
}
