//! Stateful reconnect: a session that outlives its connections.
//!
//! A session whose client asked for it numbers its messages, and keeps them until the client has acknowledged them. If its
//! connection is lost, it is *detached*: it waits for the client for a time, and keeps what is sent meanwhile. A request
//! with the id of the session and the number of messages that the client has handled *resumes* it. The wire is described in
//! `docs/stateful-reconnect.md`.

use super::heartbeat::Heartbeat;
use super::sending::Budget;
use super::{Aside, Polling, Refused, SendError, Session, State, Streaming};
use crate::engineio::frames::Frames;
use crate::engineio::framing::Framing;
use crate::engineio::id::Id;
use crate::engineio::payload::Payload;
use crate::engineio::reason::{CloseReason, TransportError};
use crate::engineio::server::Config;
use crate::engineio::transport::Transport;
use crate::engineio::unacknowledged::{Handled, Unacknowledged, parse_count};
use crate::engineio::version::Version;
use crate::time::Time;
use crate::websocket::Deflate;
use alloc::boxed::Box;
use bytes::Bytes;

/// The number of one attempt to resume a session. It also tells the requests of a connection from those of an earlier one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempt(u32);

/// The state of stateful reconnect.
#[derive(Debug)]
pub(super) struct Resumption {
    sent: Unacknowledged,
    handled: Handled,
    /// The session has no connection.
    detached: Option<Box<Detached>>,
    /// The last attempt. Requests that began before it are too late.
    attempt: Attempt,
    /// The number that the client gave the last attempt. Its requests name it, because those of an earlier connection may
    /// arrive late.
    named: u32,
    /// A WebSocket connection carries the session, or does not know yet that it does no more.
    is_held: bool,
    /// The packets of a request are being handled.
    is_handling: bool,
}

#[derive(Debug)]
struct Detached {
    /// The transport that was lost.
    transport: Transport,
    reason: CloseReason,
    since: Time,
    deadline: Time,
}

impl Resumption {
    /// Returns the state of a new session, if it can be resumed.
    pub(super) fn of(config: &Config, is_wanted: bool, transport: Transport) -> Option<Resumption> {
        let settings = config.stateful_reconnect.filter(|_| is_wanted)?;
        Some(Resumption {
            sent: Unacknowledged::new(settings.max_bytes),
            handled: Handled::new(settings.max_bytes),
            detached: None,
            attempt: Attempt::default(),
            named: 0,
            is_held: transport == Transport::WebSocket,
            is_handling: false,
        })
    }

    /// Returns the number of bytes that wait for the client to come back.
    pub(super) fn waiting(&self) -> usize {
        if self.detached.is_some() { self.sent.size() } else { 0 }
    }

    /// Numbers the messages of a unit, and keeps them.
    fn number(&mut self, frames: &mut Frames) {
        let payload = frames.payload().clone();
        // A part of a unit that is not kept as a whole would keep the memory of all of it.
        let is_shared = self.sent.has_room_for(payload.len());
        let mut at = 0;
        for len in frames.packet_lens() {
            let packet = payload.slice(at..at + len);
            self.sent.push(match is_shared || !self.sent.has_room_for(len) {
                true => packet,
                false => Bytes::copy_from_slice(&packet),
            });
            at += len + 1;
        }
    }
}

impl Aside {
    /// Returns whether the client is to be told how many of its messages were handled.
    pub(super) fn is_due(&self) -> bool {
        self.resumption.as_ref().is_some_and(|resumption| resumption.handled.is_due())
    }

    /// Appends the packet that tells it, if that is due.
    pub(super) fn push_due(&mut self, payload: &mut Payload) {
        if let Some(resumption) = &mut self.resumption
            && let Some(packet) = resumption.handled.take_due()
        {
            payload.push_control(packet.as_bytes());
        }
    }
}

/// Getters, and what the rest of the session asks.
impl Session {
    /// Returns whether the session outlives its connections.
    pub fn is_resumable(&self) -> bool {
        self.resumption().is_some()
    }

    /// Returns whether the session waits for its client to come back.
    pub fn is_detached(&self) -> bool {
        self.detached().is_some()
    }

    /// Returns the reason why the session lost its connection, while it waits for its client to come back.
    pub fn loss(&self) -> Option<&CloseReason> {
        self.detached().map(|detached| &detached.reason)
    }

    /// Returns the time at which the session lost its connection, while it waits for its client to come back.
    pub fn lost_at(&self) -> Option<Time> {
        self.detached().map(|detached| detached.since)
    }

    /// Returns whether the WebSocket connection that carried the session has to be given up: call
    /// [`lose`](Session::lose) once it has handled its last message.
    pub fn is_evicted(&self) -> bool {
        self.resumption().is_some_and(|resumption| resumption.is_held && resumption.detached.is_some())
    }

    /// Returns the number of messages that the client has not acknowledged, if it is a session with stateful reconnect.
    /// They have not arrived, or it is not known whether they have.
    pub fn unacknowledged(&self) -> Option<u64> {
        self.resumption().map(|resumption| resumption.sent.len())
    }

    /// Returns the number of messages of the client that were handled, if it is a session with stateful reconnect.
    pub fn handled(&self) -> Option<u64> {
        self.resumption().map(|resumption| resumption.handled.count())
    }

    /// Returns the number of the last attempt to resume the session. A request that began before it must do nothing more.
    pub fn attempt(&self) -> Attempt {
        self.resumption().map_or(Attempt::default(), |resumption| resumption.attempt)
    }

    /// Returns whether a request belongs to the connection that the session has. `named` is the number of the attempt that
    /// it names.
    pub(in crate::engineio::server) fn is_current(&self, named: u32) -> bool {
        self.resumption().is_none_or(|resumption| resumption.named == named)
    }

    /// Returns whether a request to resume the session is older than another one. `named` is its number.
    pub fn is_late_attempt(&self, named: u32) -> bool {
        self.resumption().is_some_and(|resumption| named <= resumption.named)
    }

    #[inline]
    fn resumption(&self) -> Option<&Resumption> {
        self.aside.as_ref()?.resumption.as_ref()
    }

    #[inline]
    fn resumption_mut(&mut self) -> Option<&mut Resumption> {
        self.aside.as_mut()?.resumption.as_mut()
    }

    #[inline]
    fn detached(&self) -> Option<&Detached> {
        self.resumption()?.detached.as_deref()
    }

    pub(super) fn lost_transport(&self) -> Option<Transport> {
        self.detached().map(|detached| detached.transport)
    }

    pub(super) fn check_attached(&self) -> Result<(), Refused> {
        if self.is_detached() { Err(Refused::Detached) } else { Ok(()) }
    }
}

/// Messages.
impl Session {
    /// Counts a message that is about to be handled. Returns `false` if its connection counts as lost.
    pub(super) fn count_handled(&mut self, len: usize) -> bool {
        let Some(resumption) = self.resumption_mut() else { return true };
        if resumption.detached.is_some() {
            return false;
        }
        resumption.handled.add(len);
        true
    }

    /// Tells the client with a heartbeat how many of its messages were handled, if there are new ones.
    pub(super) fn beat(&mut self) {
        if let Some(resumption) = self.resumption_mut() {
            resumption.handled.beat();
        }
    }

    /// Queues the packet that tells the client, if that is due, on a connection that stays open.
    pub(super) fn push_due(&mut self) {
        if let State::Streaming(_) = &self.state
            && let Some(packet) = self.resumption_mut().and_then(|resumption| resumption.handled.take_due())
        {
            self.state.push_control(packet.as_bytes());
        }
    }

    /// Handles a noop packet: with data, it says how many messages the client has handled.
    pub(super) fn handle_noop(&mut self, now: Time, data: &str) {
        let Some(resumption) = self.resumption_mut().filter(|_| !data.is_empty()) else { return };
        let known = parse_count(data).is_some_and(|count| resumption.sent.acknowledge(count).is_ok());
        if !known {
            self.close(now, TransportError::Acknowledgement.into());
        }
    }

    /// Returns the size of the send buffer. While the session is detached, nothing that is kept may be dropped.
    pub(super) fn send_limit(&self) -> usize {
        let limit = self.config.send_buffer;
        match self.config.stateful_reconnect {
            Some(settings) if self.is_detached() => limit.min(settings.max_bytes),
            _ => limit,
        }
    }

    /// Queues messages at once, and keeps them.
    pub(super) fn send_numbered(&mut self, frames: &mut Frames, compress: bool) -> Result<(), SendError> {
        let budget = Budget { limit: self.send_limit(), ..self.budget() };
        let (queued, len) = match &self.state {
            _ if self.is_detached() => {
                frames.payload();
                (self.queued(), frames.packet_lens().map(Unacknowledged::size_of).sum())
            }
            State::Polling(polling) => (polling.payload.text().len(), frames.payload().len() + 1),
            State::Streaming(streaming) => {
                (streaming.queued(), self.state.form(frames, compress, &self.config).len())
            }
        };
        budget.admit(queued, len)?;
        self.push_numbered(frames, compress);
        Ok(())
    }

    /// Moves messages to the queue, and keeps them. While the session is detached, they are only kept.
    pub(super) fn push_numbered(&mut self, frames: &mut Frames, compress: bool) {
        let Some(resumption) = self.resumption_mut() else { return };
        resumption.number(frames);
        if resumption.detached.is_some() {
            return;
        }
        let framed = match &self.state {
            State::Polling(_) => None,
            State::Streaming(_) => Some(self.state.form(frames, compress, &self.config)),
        };
        match (&mut self.state, framed) {
            (State::Streaming(streaming), Some(bytes)) => streaming.queue.push(bytes),
            (State::Polling(polling), _) => polling.payload.push_shared(frames),
            _ => {}
        }
    }
}

/// The loss of connections.
impl Session {
    /// Notes that a WebSocket connection carries the session.
    pub(super) fn hold_connection(&mut self) {
        if let Some(resumption) = self.resumption_mut() {
            resumption.is_held = true;
        }
    }

    /// Handles the loss of the WebSocket connection that carried the session. Call it once the connection has handled its
    /// last message.
    ///
    /// The session ends, unless it is one with stateful reconnect and only the connection was lost.
    pub fn lose(&mut self, now: Time, reason: CloseReason) {
        if let Some(resumption) = self.resumption_mut() {
            resumption.is_held = false;
        }
        self.give_up_connection(now, reason);
    }

    /// Handles the loss of the connection on which the response to a poll was being written, unless that poll is older than
    /// the last attempt to resume the session.
    pub fn lose_payload(&mut self, now: Time, attempt: Attempt) {
        if attempt == self.attempt() {
            self.give_up_connection(now, TransportError::PollAborted.into());
        }
    }

    /// Detaches the session from its connection, or ends it.
    pub(in crate::engineio::server) fn give_up_connection(&mut self, now: Time, reason: CloseReason) {
        if self.closed.is_some() || self.is_detached() {
            return;
        }
        match self.config.stateful_reconnect.filter(|_| self.is_resumable() && reason.is_loss()) {
            Some(settings) if !settings.window.is_zero() => self.detach(now, now + settings.window, reason),
            _ => self.close(now, reason),
        }
    }

    fn detach(&mut self, since: Time, deadline: Time, reason: CloseReason) {
        let transport = self.transport();
        // All that waits there is kept, and sent again from there.
        let polling = Polling { tickets: self.tickets(), ..Polling::default() };
        self.state = State::Polling(Box::new(polling));
        if let Some(resumption) = self.resumption_mut() {
            resumption.detached = Some(Box::new(Detached { transport, reason, since, deadline }));
            resumption.attempt.0 = resumption.attempt.0.wrapping_add(1);
        }
    }

    /// Returns the number of upgrades that were begun.
    fn tickets(&self) -> u32 {
        match &self.state {
            State::Polling(polling) => polling.tickets,
            State::Streaming(_) => 0,
        }
    }

    /// Returns the time at which the session no longer waits for its client, if it does.
    pub(super) fn window_end(&self) -> Option<Time> {
        self.detached().map(|detached| detached.deadline)
    }

    pub(super) fn handle_window(&mut self, now: Time) {
        let Some(detached) = self.detached().filter(|detached| detached.deadline <= now) else { return };
        let reason = detached.reason.clone();
        self.close(now, reason);
    }

    /// Frees what was kept, because the session ends. Returns whether it was detached: then nobody can be told.
    pub(super) fn end_resumption(&mut self) -> bool {
        let Some(resumption) = self.resumption_mut() else { return false };
        let was_detached = resumption.detached.take().is_some();
        if was_detached {
            self.advance_backlog(usize::MAX);
        }
        if let Some(resumption) = self.resumption_mut() {
            resumption.sent.clear();
        }
        was_detached
    }
}

/// Requests to resume the session.
impl Session {
    /// Returns whether the session can be resumed by a client that has handled `count` messages.
    pub fn can_resume(&self, count: u64) -> bool {
        self.closed.is_none() && self.resumption().is_some_and(|it| it.sent.can_resume(count))
    }

    /// Begins to resume the session on a new connection, for a client that has handled `count` messages. If the session
    /// still has a connection, that counts as lost; an earlier attempt is over. `named` is the client's number of the attempt.
    ///
    /// # Errors
    /// [`Refused::Closed`], [`Refused::Detached`] if there was a later attempt, or [`Refused::NoResumption`], which ends a session that could be resumed otherwise.
    pub fn begin_resume(&mut self, now: Time, count: u64, named: u32) -> Result<Attempt, Refused> {
        self.catch_up(now, false);
        if self.closed.is_some() {
            return Err(Refused::Closed);
        }
        if self.is_late_attempt(named) {
            return Err(Refused::Detached);
        }
        self.give_up_resumable(now)?;
        if !self.can_resume(count) {
            let reason = self.loss().cloned().unwrap_or(TransportError::Lost.into());
            self.close(now, reason);
            return Err(Refused::NoResumption);
        }
        let resumption = self.resumption_mut().ok_or(Refused::NoResumption)?;
        resumption.attempt.0 = resumption.attempt.0.wrapping_add(1);
        resumption.named = named;
        Ok(resumption.attempt)
    }

    fn give_up_resumable(&mut self, now: Time) -> Result<(), Refused> {
        match self.is_resumable() {
            true => self.give_up_connection(now, TransportError::Lost.into()),
            false => return Err(Refused::NoResumption),
        }
        if self.closed.is_some() { Err(Refused::Closed) } else { Ok(()) }
    }

    /// Resumes the session, and queues its handshake and all messages after the first `count`. A polling request then waits
    /// as after [`begin_poll`](Session::begin_poll); `deflate` is the compression of a WebSocket connection.
    ///
    /// Returns `false` as long as the lost connection may still handle a message: try again once it has been
    /// [lost](Session::lose), or the handling of its request [ended](Session::end_handling).
    ///
    /// # Errors
    /// [`Refused::Closed`], or [`Refused::Detached`] if there was another attempt since.
    pub fn resume(
        &mut self,
        now: Time,
        attempt: Attempt,
        count: u64,
        id: &Id,
        transport: Transport,
        deflate: Option<Deflate>,
    ) -> Result<bool, Refused> {
        self.handle_timeout(now);
        if self.closed.is_some() {
            return Err(Refused::Closed);
        }
        let config = self.config.clone();
        let tickets = self.tickets();
        let resumption = self.resumption_mut().ok_or(Refused::NoResumption)?;
        if resumption.attempt != attempt || resumption.detached.is_none() {
            return Err(Refused::Detached);
        }
        if resumption.is_held || resumption.is_handling {
            return Ok(false);
        }
        resumption.sent.acknowledge(count).map_err(|_| Refused::NoResumption)?;
        resumption.handled.note_told();
        resumption.detached = None;
        resumption.is_held = transport == Transport::WebSocket;
        let open = Session::open_packet(&config, id, transport, Some(resumption.handled.count()));
        let mut payload = Payload::default();
        payload.push_control(open.as_bytes());
        resumption.sent.after(count).for_each(|packet| payload.push_packets(packet.clone()));
        self.state = match transport {
            Transport::Polling => {
                State::Polling(Box::new(Polling { payload, parked: true, tickets, ..Polling::default() }))
            }
            Transport::WebSocket => {
                let framing = deflate.map_or(Framing::default(), |it| Framing::default().compressed(it));
                let queue = payload.into_frames(framing, &config.deflate_pool);
                State::Streaming(Streaming::new(framing, queue, false))
            }
        };
        self.heartbeat = Heartbeat::begin(now, &config, Version::V4);
        self.is_ambiguous = false;
        self.heard(now);
        Ok(true)
    }

    /// Begins to handle the packets of a request that began with `attempt`. Returns `false` if it is too late, and must not
    /// be handled.
    pub fn begin_handling(&mut self, attempt: Attempt) -> bool {
        let Some(resumption) = self.resumption_mut() else { return true };
        let is_current = resumption.attempt == attempt && resumption.detached.is_none();
        resumption.is_handling |= is_current;
        is_current
    }

    /// Ends the handling of packets, after [`begin_handling`](Session::begin_handling) has returned `true`.
    pub fn end_handling(&mut self) {
        if let Some(resumption) = self.resumption_mut() {
            resumption.is_handling = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engineio::frames::Part;
    use crate::engineio::server::StatefulReconnect;

    #[test]
    fn a_small_part_of_a_message_too_large_to_be_kept_does_not_hold_its_memory() {
        let settings = StatefulReconnect::new().max_bytes(1000);
        let config = Config { stateful_reconnect: Some(settings), ..Config::default() };
        let mut resumption = Resumption::of(&config, true, Transport::WebSocket).unwrap();
        let unit = |len| {
            let data = alloc::vec![1; len];
            Frames::new([Part::Text(b"451-[]"), Part::Binary(&data), Part::Binary(b"end")].into_iter())
        };
        resumption.number(&mut unit(5000));
        assert!(!resumption.sent.can_resume(1) && resumption.sent.can_resume(2));
        let kept = resumption.sent.after(2).next().unwrap();
        assert!(&kept[..] == b"bZW5k" && kept.is_unique());
        resumption.number(&mut unit(500));
        let kept = resumption.sent.after(5).next().unwrap();
        assert!(&kept[..] == b"bZW5k" && !kept.is_unique(), "others share the memory");
    }
}
