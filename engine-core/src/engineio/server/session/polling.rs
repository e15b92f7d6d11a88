//! The requests of a session over polling.

use super::{Controls, Session, State};
use crate::engineio::reason::{CloseReason, TransportError};
use crate::engineio::version::{BinaryForm, Version};
use crate::outbound::Outbound;
use crate::time::Time;
use bytes::Bytes;

/// The reason why a request or an upgrade was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The session is over.
    #[error("the session is closed")]
    Closed,
    /// The session is on another transport.
    #[error("the session is on another transport")]
    TransportMismatch,
    /// Another request of this kind is in progress; the session is closed. Of a poll only if
    /// [`allow_overlapping_polls`](crate::engineio::server::Config::allow_overlapping_polls) is off.
    #[error("two requests of a kind at a time")]
    Overlap,
    /// An upgrade is in progress or complete, or upgrades are off.
    #[error("no upgrade is possible now")]
    NoUpgrade,
    /// The session has lost its connection, and can only be [resumed](Session::begin_resume); or the request is older than
    /// the last time that it was.
    #[error("the session is detached from its connection")]
    Detached,
    /// The session cannot be resumed: it is no session with stateful reconnect, or a message that the client misses is no
    /// longer kept.
    #[error("the session cannot be resumed")]
    NoResumption,
}

/// The number of a poll, by which one knows whether another has [taken its place](Session::is_replaced).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PollNumber(u32);

impl Session {
    /// Notes that a poll arrived, which waits until [`take_payload`](Session::take_payload) has something for it.
    ///
    /// With [`allow_overlapping_polls`](crate::engineio::server::Config::allow_overlapping_polls) it takes the place of one that
    /// still waits, which [is replaced](Session::is_replaced) then.
    ///
    /// The poll is a sign of life: if the application `is_behind`, it counts in place of an overdue pong, as in
    /// [`excuse_pong`](Session::excuse_pong).
    pub fn begin_poll(&mut self, now: Time, is_behind: bool) -> Result<(), Refused> {
        if let State::Polling(polling) = &mut self.state {
            polling.polled = true;
        }
        self.catch_up(now, is_behind);
        if self.is_finished() {
            return Err(Refused::Closed);
        }
        self.check_attached()?;
        self.heartbeat.leave(now);
        if let Some(closed) = self.closed.as_deref_mut() {
            closed.farewell = Some(closed.latest);
        }
        let State::Polling(polling) = &mut self.state else { return Err(Refused::TransportMismatch) };
        if core::mem::replace(&mut polling.parked, true) {
            if !self.config.allow_overlapping_polls {
                self.close(now, TransportError::PollOverlap.into());
                return Err(Refused::Overlap);
            }
            polling.poll.0 = polling.poll.0.wrapping_add(1);
        }
        if polling.payload.text().is_empty() {
            polling.release_poll(now);
        }
        Ok(())
    }

    /// Returns whether a poll waits.
    #[inline]
    pub fn has_poll(&self) -> bool {
        match &self.state {
            State::Polling(polling) => polling.parked,
            State::Streaming(streaming) => streaming.parked,
        }
    }

    /// Returns the number of the poll that waits, or waited last.
    pub fn poll_number(&self) -> PollNumber {
        match &self.state {
            State::Polling(polling) => polling.poll,
            State::Streaming(_) => PollNumber::default(),
        }
    }

    /// Returns whether a poll that waited waits no more, because another has taken its place. Nothing was taken for it: answer
    /// it with [`take_noop`](Session::take_noop). `poll` is [its number](Session::poll_number) after it began.
    ///
    /// If the session has moved on to WebSocket, whichever poll asks first is that which waits.
    pub fn is_replaced(&self, poll: PollNumber) -> bool {
        match &self.state {
            State::Polling(polling) => polling.poll != poll,
            State::Streaming(streaming) => !streaming.parked,
        }
    }

    /// Returns the response to a poll that [is replaced](Session::is_replaced).
    pub fn take_noop(&mut self) -> Outbound {
        let noop = self.noop();
        self.controls.noop = true;
        self.taken = self.taken.wrapping_add(noop.len() as u64);
        noop
    }

    /// Takes the response to the waiting poll, once there is one: at most `max_payload` bytes unless one packet has more.
    pub fn take_payload(&mut self) -> Option<Outbound> {
        let payload = self.next_payload()?;
        self.taken = self.taken.wrapping_add(payload.len() as u64);
        Some(payload)
    }

    fn next_payload(&mut self) -> Option<Outbound> {
        match &mut self.state {
            State::Polling(polling) if polling.parked => {
                if let Some(aside) = &mut self.aside {
                    aside.push_due(&mut polling.payload);
                }
                if polling.payload.text().is_empty() && self.closed.is_none() && !polling.is_released() {
                    return None;
                }
                polling.parked = false;
                if let Some(probe) = &mut polling.probe {
                    probe.released = false;
                }
                if !polling.payload.text().is_empty() {
                    let limit = self.config.max_payload;
                    let payload = match polling.form {
                        BinaryForm::Plain => polling.payload.take(limit, usize::MAX),
                        form => polling.payload.take_v3(limit, form),
                    };
                    self.refill();
                    return Some(payload);
                }
            }
            State::Polling(_) => return None,
            // The session is on WebSocket by now: a poll that still waits is answered with nothing.
            State::Streaming(streaming) => {
                self.controls.noop |= streaming.parked;
                return core::mem::take(&mut streaming.parked).then(|| self.noop());
            }
        }
        match &mut self.closed {
            None => {
                self.controls.noop = true;
                Some(self.noop())
            }
            // In a payload of its own: clients of the reference drop what stands before it in the same one.
            Some(closed) => {
                closed.farewell = None;
                let told = matches!(closed.reason, CloseReason::TransportClose);
                self.controls = Controls { noop: told, close: !told, ..self.controls };
                Some(match (told, self.version()) {
                    (true, _) => self.noop(),
                    (false, Version::V4) => body(b"1"),
                    (false, Version::V3) => body(b"1:1"),
                })
            }
        }
    }

    /// Returns the payload that only releases a poll.
    fn noop(&self) -> Outbound {
        match self.version() {
            Version::V4 => body(b"6"),
            Version::V3 => body(b"1:6"),
        }
    }

    /// Handles the end of the waiting poll's connection before the response.
    pub fn abort_poll(&mut self, now: Time) {
        match &mut self.state {
            State::Polling(polling) => {
                if core::mem::take(&mut polling.parked) {
                    self.give_up_connection(now, TransportError::PollAborted.into());
                }
            }
            // Nothing was on its way there.
            State::Streaming(streaming) => streaming.parked = false,
        }
    }

    /// Notes that a request with data arrived, whose packets follow once its body is complete.
    ///
    /// If the application `is_behind`, an overdue pong is excused as in [`excuse_pong`](Session::excuse_pong).
    pub fn begin_post(&mut self, now: Time, is_behind: bool) -> Result<(), Refused> {
        self.catch_up(now, is_behind);
        // A client that does not know of the end yet may close the session itself.
        if self.is_finished() {
            return Err(Refused::Closed);
        }
        self.check_attached()?;
        let State::Polling(polling) = &mut self.state else { return Err(Refused::TransportMismatch) };
        if core::mem::replace(&mut polling.posting, true) {
            self.close(now, TransportError::PostOverlap.into());
            return Err(Refused::Overlap);
        }
        Ok(())
    }

    /// Notes that all packets of the request were handled, or that it was refused.
    pub fn end_post(&mut self) {
        if let State::Polling(polling) = &mut self.state {
            polling.posting = false;
        }
    }

    /// Handles the end of a request's connection before its body was complete.
    pub fn abort_post(&mut self, now: Time) {
        self.end_post();
        self.give_up_connection(now, TransportError::PostAborted.into());
    }
}

/// A payload of one packet of the protocol itself.
fn body(payload: &'static [u8]) -> Outbound {
    let mut out = Outbound::new();
    out.push(Bytes::from_static(payload));
    out
}
