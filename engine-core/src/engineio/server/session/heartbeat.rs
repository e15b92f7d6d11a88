//! The heartbeat of a session, and its other deadlines.

use super::{Session, State};
use crate::engineio::reason::{CloseReason, TransportError};
use crate::engineio::server::Config;
use crate::engineio::version::Version;
use crate::time::{Time, earliest};
use core::time::Duration;

/// The times at which pings are due are multiples of this part of `ping_interval`, or of 1/32 s if that is shorter.
const PARTS: u32 = 128;
const MAX_STEP: Duration = Duration::from_micros(31_250);

#[derive(Debug)]
pub(super) enum Heartbeat {
    /// The next ping is due.
    Idle(Time),
    /// A ping was queued. In version 3: the client sends pings, the next one by the deadline.
    Waiting {
        /// The time at which a connection took the ping: `None` while it waits for a poll.
        left: Option<Time>,
        deadline: Time,
    },
}

impl Heartbeat {
    pub(super) fn begin(now: Time, config: &Config, version: Version) -> Heartbeat {
        match version {
            Version::V4 => Heartbeat::idle(now, config),
            Version::V3 => {
                Heartbeat::Waiting { left: None, deadline: now + config.ping_interval + config.ping_timeout }
            }
        }
    }

    /// Begins to wait for the time of the next ping, which is earlier than `ping_interval` by at most one part in 128, and
    /// 31.25 ms: the pings of many sessions are due at the same times, so that a server with idle clients wakes up for some
    /// of them at once, and not for each.
    pub(super) fn idle(now: Time, config: &Config) -> Heartbeat {
        let step = (config.ping_interval / PARTS).min(MAX_STEP);
        Heartbeat::Idle((now + config.ping_interval).round_down(step))
    }

    /// Notes that a connection takes what waits.
    pub(super) fn leave(&mut self, now: Time) {
        if let Heartbeat::Waiting { left, .. } = self {
            left.get_or_insert(now);
        }
    }
}

impl Session {
    /// Returns the time at which [`handle_timeout`](Session::handle_timeout) has something to do.
    pub fn next_deadline(&self) -> Option<Time> {
        if let Some(closed) = &self.closed {
            return closed.farewell;
        }
        if let Some(deadline) = self.window_end() {
            return Some(deadline);
        }
        let heartbeat = match self.heartbeat {
            Heartbeat::Idle(due) => due,
            Heartbeat::Waiting { deadline, .. } => deadline,
        };
        let (probe, release) = match &self.state {
            State::Polling(polling) => (
                polling.probe.as_ref().map(|probe| probe.deadline),
                // Packets that wait answer it anyway.
                polling.next_release().filter(|_| self.state.queue().is_empty()),
            ),
            State::Streaming(_) => (None, None),
        };
        earliest(earliest(Some(heartbeat), probe), release)
    }

    /// Handles a ping of a client of version 3.
    pub(super) fn handle_ping(&mut self, now: Time) {
        self.heartbeat = Heartbeat::begin(now, &self.config, Version::V3);
        // A client that sends pings and reads nothing must not fill the memory.
        let queued = match &self.state {
            State::Polling(polling) => polling.payload.size(),
            // Not what waits behind the queue: it makes way if it has to.
            State::Streaming(streaming) => streaming.queued(),
        };
        if queued >= self.config.send_buffer {
            return self.close(now, TransportError::SlowConsumer { queued }.into());
        }
        self.state.push_control(b"3");
        self.controls.ping = true;
    }

    /// Accepts another sign of life in place of an overdue pong: bytes over WebSocket, or a poll. Then a new ping is due. In
    /// version 3, the same goes for an overdue ping of the client.
    ///
    /// Call this before [`handle_timeout`](Session::handle_timeout) while the application is behind, because the pong may
    /// have arrived and wait to be handled. If `is_deaf`, the connection is not read at all, so the peer's silence means
    /// nothing; but a ping cannot be written to a peer that is gone.
    pub fn excuse_pong(&mut self, now: Time, is_deaf: bool) {
        let Heartbeat::Waiting { left, deadline } = self.heartbeat else { return };
        if deadline > now || self.is_detached() {
            return;
        }
        let lives = match &mut self.state {
            // Each poll counts once.
            State::Polling(polling) => core::mem::take(&mut polling.polled),
            // Something was heard after the ping was due.
            State::Streaming(_) => is_deaf || self.last_heard + self.config.ping_timeout >= deadline,
        };
        if !lives {
            return;
        }
        self.heartbeat = match (self.version(), self.queued()) {
            (Version::V4, 0) => {
                self.is_ambiguous = true;
                Heartbeat::Idle(now)
            }
            // What waits shows as much as a new ping would, and pings must not pile up. In version 3 the client sends them.
            _ => Heartbeat::Waiting { left, deadline: now + self.config.ping_timeout },
        };
    }

    /// Handles a deadline that passed before its timer fired, because a request was faster.
    pub(super) fn catch_up(&mut self, now: Time, is_behind: bool) {
        if is_behind {
            self.excuse_pong(now, false);
        }
        self.handle_timeout(now);
    }

    /// Handles that time has passed. Does nothing before the deadline.
    pub fn handle_timeout(&mut self, now: Time) {
        if let Some(closed) = &mut self.closed {
            if closed.farewell.is_some_and(|deadline| deadline <= now) {
                closed.farewell = None;
                self.state.clear();
            }
            return;
        }
        if self.is_detached() {
            return self.handle_window(now);
        }
        if let State::Polling(polling) = &mut self.state {
            if polling.probe.as_ref().is_some_and(|probe| probe.deadline <= now) {
                polling.probe = None;
            }
            if polling.payload.text().is_empty() {
                polling.release_poll(now);
            }
        }
        if let Heartbeat::Idle(due) = self.heartbeat
            && due <= now
        {
            let timeout = self.config.ping_timeout;
            // Counted from when the ping was due, so that timers that fire late do not add up; unless they fired
            // so late that the peer would have no time to answer.
            let sent = if now.saturating_since(due) < timeout / 4 { due } else { now };
            self.heartbeat = Heartbeat::Waiting { left: None, deadline: sent + timeout };
            self.state.push_control(b"2");
            self.controls.ping = true;
            self.beat();
            if let State::Polling(polling) = &mut self.state {
                polling.polled = false;
            }
            if !matches!(&self.state, State::Polling(polling) if !polling.parked) {
                self.heartbeat.leave(now);
            }
        }
        if let Heartbeat::Waiting { deadline, .. } = &mut self.heartbeat
            && *deadline <= now
        {
            // A large message may delay the pong, so bytes that arrive are a sign of life, too.
            let extended = self.last_heard + self.config.ping_timeout;
            if extended > now {
                *deadline = extended;
            } else {
                self.give_up_connection(now, CloseReason::PingTimeout);
            }
        }
    }
}
