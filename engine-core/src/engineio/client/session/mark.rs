//! Watching for the server to read what was sent.

use super::{Session, State};
use crate::time::Time;
use crate::websocket::Opcode;
use alloc::boxed::Box;
use core::time::Duration;

/// Timeout of the answer to a WebSocket ping.
const PONG_TIMEOUT: Duration = Duration::from_secs(2);

/// The position up to which the session watches what the server has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// This number of bytes of the queue of packets is before it. The answer to the request that takes the last of them
    /// proves that they were read.
    Ahead(usize),
    /// A WebSocket ping with this number follows it.
    Ping(u32),
}

impl Mark {
    /// Notes that this number of bytes was taken from the queue.
    pub(super) fn advance(&mut self, taken: usize) {
        if let Mark::Ahead(bytes) = self {
            *bytes = bytes.saturating_sub(taken);
        }
    }
}

impl Session {
    /// Watches for the server to read everything that was sent so far, and no longer for an earlier position. Returns the
    /// deadline after which waiting is not worth it, or `None` if the server has read everything.
    ///
    /// When polling, the answers to the requests show it. Over WebSocket the server is sent a WebSocket ping, which every
    /// implementation answers automatically and in order.
    pub fn watch_read(&mut self, now: Time) -> Option<Time> {
        match self.state {
            State::Polling(_) => {
                self.mark = Some(Box::new(Mark::Ahead(self.queue.text().len())));
                self.pass_mark();
                // The request in progress and the next one each end the session if they take longer.
                self.mark.as_ref().map(|_| now + self.config.request_timeout.saturating_mul(3))
            }
            State::WebSocket => {
                self.ping();
                Some(now + PONG_TIMEOUT)
            }
            State::Opening { .. } | State::Detached => None,
        }
    }

    /// Returns whether the session still [watches](Session::watch_read).
    pub fn awaits_read(&self) -> bool {
        self.mark.is_some()
    }

    fn ping(&mut self) {
        self.requests = self.requests.wrapping_add(1);
        self.mark = Some(Box::new(Mark::Ping(self.requests)));
        self.push_frame(Opcode::Ping, &[&self.requests.to_be_bytes()]);
    }

    /// Handles a WebSocket pong. Returns whether it shows that the server has read up to the watched position.
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

    /// Watches for the server to read everything again, if it was watched when the connection was lost.
    pub(super) fn watch_again(&mut self) {
        match self.state {
            _ if self.mark.is_none() => {}
            State::Polling(_) => {
                self.mark = Some(Box::new(Mark::Ahead(self.queue.text().len())));
                self.pass_mark();
            }
            _ => self.ping(),
        }
    }

    /// Moves the watched position to WebSocket, together with the queue.
    pub(super) fn move_mark(&mut self) {
        if self.mark.is_some() {
            self.ping();
        }
    }
}
