//! Stateful reconnect: the session outlives its connections, and goes on where the last one ended.

use super::super::Config;
use super::super::error::{CloseReason, HandshakeError, TransportError};
use super::super::handshake::{Handshake, Terms};
use super::{Note, Session, State};
use crate::engineio::frames::Part;
use crate::engineio::packet::SEPARATOR;
use crate::engineio::payload::Payload;
use crate::engineio::unacknowledged::{Handled, Impossible, Unacknowledged, parse_count};
use crate::time::Time;
use alloc::boxed::Box;
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;

/// Maximum number of bytes received after which a side acknowledges, whatever the other's limit is: a smaller limit of this
/// side never waits for the next heartbeat.
const MOST_UNTOLD: usize = 1 << 20;

/// The state of a session that the server lets outlive its connections.
#[derive(Debug)]
pub(super) struct Resume {
    log: Unacknowledged,
    handled: Handled,
    /// The packets in front of the log that are acknowledged, but belong to an event whose last attachment is not.
    begun: Vec<Bytes>,
    /// Maximum size of the log, beyond which no event is sent before the server has acknowledged others.
    limit: usize,
    /// The time for which the server keeps the session.
    window: Duration,
    /// The number of attempts to resume the session. Requests carry it, so that the server knows those of earlier connections,
    /// which may arrive late.
    attempts: u32,
    /// A message has got through since the session was last resumed.
    has_progress: bool,
    lost: Option<Lost>,
}

/// The loss of a connection.
#[derive(Debug)]
struct Lost {
    reason: CloseReason,
    /// The end of the window.
    until: Time,
    /// The index of the transport of the next attempt.
    index: usize,
    /// The reason why the last attempt failed.
    failure: Option<CloseReason>,
}

/// The messages of a session that were sent and that the server has not acknowledged: see
/// [`Client`](crate::socketio::client::Client).
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Unconfirmed {
    /// The reason why the session's connection was lost.
    pub(crate) reason: Option<CloseReason>,
    /// The packets, as a payload has them. An event stands there with all its attachments.
    pub(crate) packets: Vec<Bytes>,
}

/// The answer of a server to a request that opens or resumes a session.
pub(super) enum Opened {
    New,
    Resumed,
    /// The server no longer has the session, and has opened another one.
    Replaced(Box<Unconfirmed>),
}

impl Resume {
    fn new(config: &Config, terms: &Terms) -> Resume {
        Resume {
            log: Unacknowledged::new(usize::MAX),
            handled: Handled::new(terms.max_bytes.min(MOST_UNTOLD)),
            begun: Vec::new(),
            // At least twice what arrives before the server acknowledges, so that a small send buffer does not wait for a
            // heartbeat.
            limit: terms.max_bytes.min(config.send_buffer).max(terms.max_bytes.min(MOST_UNTOLD) / 4),
            window: terms.window,
            attempts: 0,
            has_progress: true,
            lost: None,
        }
    }

    /// Returns whether messages of `size` bytes have to wait until the server has acknowledged others.
    pub(super) fn is_full(&self, size: usize) -> bool {
        self.log.size() > 0 && self.log.size().saturating_add(size) > self.limit
    }

    /// Returns the number of bytes that the kept messages take.
    pub(super) fn size(&self) -> usize {
        self.log.size()
    }

    /// Keeps messages that are sent.
    pub(super) fn keep<'a>(&mut self, parts: impl Iterator<Item = Part<'a>>) {
        for part in parts {
            let mut packet = Vec::with_capacity(part.packet_len());
            part.write_packet(&mut packet);
            self.log.push(packet.into());
        }
    }

    /// Counts a message that arrived. Returns whether the server is to be told.
    pub(super) fn count(&mut self, len: usize) -> bool {
        self.has_progress = true;
        self.handled.add(len)
    }

    /// Returns the number of messages that were handled, of which the server is told now.
    fn tell(&mut self) -> u64 {
        self.handled.note_told();
        self.handled.count()
    }

    fn acknowledge(&mut self, count: u64) -> Result<(), Impossible> {
        let before = self.log.acknowledged();
        self.has_progress |= count > before;
        let is_attachment = |packet: &&Bytes| packet.first() == Some(&b'b');
        match self.log.after(count).next().filter(is_attachment) {
            // The event is kept whole, so that it can be shown if the server does not get the rest.
            Some(_) if count > before => {
                let acknowledged = usize::try_from(count - before).unwrap_or(usize::MAX);
                for packet in self.log.after(before).take(acknowledged) {
                    match is_attachment(&packet) {
                        // A packet of MessagePack is not preceded by a text.
                        true if self.begun.is_empty() => {}
                        true => self.begun.push(packet.clone()),
                        false => self.begun = [packet.clone()].into(),
                    }
                }
            }
            Some(_) => {}
            None => self.begun = Vec::new(),
        }
        self.log.acknowledge(count)
    }

    fn into_unconfirmed(mut self) -> Unconfirmed {
        let before = self.log.acknowledged();
        let mut packets = self.begun;
        packets.extend(self.log.after(before).cloned());
        self.log.clear();
        Unconfirmed { reason: self.lost.map(|lost| lost.reason), packets }
    }
}

impl Session {
    // Getters.

    /// Returns whether the session can outlive its connections, because the server has agreed.
    pub fn is_resumable(&self) -> bool {
        self.resume.is_some()
    }

    /// Returns whether the session has lost its connection, and waits for [`resume`](Session::resume).
    pub fn is_detached(&self) -> bool {
        matches!(self.state, State::Detached)
    }

    /// Returns the reason why the session has lost its connection, until it is resumed.
    pub fn lost(&self) -> Option<&CloseReason> {
        self.resume.as_ref()?.lost.as_ref().map(|lost| &lost.reason)
    }

    /// Returns whether a message got through on the connection that is lost, in either direction: another one is worth an
    /// early attempt.
    pub fn had_progress(&self) -> bool {
        self.resume.as_ref().is_some_and(|resume| resume.has_progress)
    }

    /// Returns the reason why the last attempt to resume the session has failed, if one has.
    pub fn resume_failure(&self) -> Option<&CloseReason> {
        self.resume.as_ref()?.lost.as_ref()?.failure.as_ref()
    }

    /// Returns the deadline of the last attempt to resume, if the connection is lost.
    pub(super) fn lost_until(&self) -> Option<Time> {
        self.resume.as_ref()?.lost.as_ref().map(|lost| lost.until)
    }

    /// Returns whether events have to wait until the server has acknowledged others.
    pub fn awaits_acknowledgement(&self) -> bool {
        self.resume.as_ref().is_some_and(|resume| resume.is_full(1))
    }

    /// Takes the messages that the server has not acknowledged, once the session has ended.
    pub fn take_unconfirmed(&mut self) -> Unconfirmed {
        self.resume.take().map(|resume| resume.into_unconfirmed()).unwrap_or_default()
    }

    // Losing the connection.

    /// Handles that the connection is lost. A session that can be resumed is detached, any other ends.
    pub(super) fn lose(&mut self, now: Time, reason: CloseReason) {
        let is_attached = matches!(self.state, State::Polling(_) | State::WebSocket);
        let transport = self.transport();
        let index = self.config.transports.iter().position(|it| *it == transport);
        match &mut self.resume {
            Some(resume) if is_attached && self.closed.is_none() => {
                let until = now + resume.window;
                let index = index.unwrap_or_default();
                resume.lost = Some(Lost { reason: reason.clone(), until, index, failure: None });
            }
            _ => return self.end(reason),
        }
        // A session that is closing does not come back to say so.
        if self.closing().is_some() {
            return self.end(CloseReason::Client);
        }
        self.queue.clear();
        self.deflate = None;
        self.state = State::Detached;
        self.note(|_| Note::Interrupted(reason));
    }

    /// Returns whether the server may still have the session after an error in a request of it. With status 400 it refuses
    /// those of a connection that it has given up; whether it has the session is shown by the answer to a request to resume.
    pub(super) fn may_resume_after(error: &TransportError) -> bool {
        Session::is_loss(error) || matches!(error, TransportError::Status { status: 400, .. })
    }

    /// Returns whether an error is a loss of the connection: the server may still have the session.
    pub(super) fn is_loss(error: &TransportError) -> bool {
        match error {
            TransportError::Connect(_)
            | TransportError::Closed(_)
            | TransportError::Lost
            | TransportError::Handshake(HandshakeError::Ended)
            | TransportError::RequestTimeout => true,
            // A request that arrived too slowly, too many of them, or a proxy that has no server behind it at the moment.
            TransportError::Status { status, .. } => matches!(*status, 408 | 429 | 500..),
            _ => false,
        }
    }

    // Resuming.

    /// Begins an attempt to resume a session that [has lost its connection](Session::is_detached).
    pub fn resume(&mut self) {
        if self.closed.is_none()
            && let State::Detached = self.state
            && let Some(resume) = &mut self.resume
            && let Some(lost) = &resume.lost
        {
            resume.attempts = resume.attempts.saturating_add(1);
            self.state = State::Opening { index: lost.index, asked: false };
            self.note(|session| Note::Opening(session.transport()));
        }
    }

    /// Handles that an attempt to open the connection has failed: the session is detached again if it can still be resumed,
    /// otherwise it ends.
    pub fn fail_attempt(&mut self, reason: CloseReason) {
        let others = self.config.transports.len().max(1);
        match self.resume.as_mut().and_then(|resume| resume.lost.as_mut()) {
            Some(lost) if matches!(self.state, State::Opening { .. }) && self.closed.is_none() => {
                let is_loss = match &reason {
                    CloseReason::TransportError(error) => Session::is_loss(error),
                    _ => false,
                };
                if !is_loss {
                    // The server has answered, and does not have the session any more.
                    let reason = lost.reason.clone();
                    return self.end(reason);
                }
                lost.failure = Some(reason);
                lost.index = (lost.index + 1) % others;
                self.state = State::Detached;
            }
            _ => self.end(reason),
        }
    }

    /// Ends a session that has lost its connection, for the reason of that loss.
    pub fn give_up_resuming(&mut self) {
        if let Some(reason) = self.lost().cloned() {
            self.end(reason);
        }
    }

    /// Returns the number of the attempt by which the session got its connection, if it is not the first connection.
    pub(super) fn attempt(&self) -> Option<u32> {
        self.resume.as_ref().map(|resume| resume.attempts).filter(|attempts| *attempts > 0)
    }

    /// Returns what the request that opens the connection says of the messages that were handled: `0` for a new session.
    pub(super) fn resume_from(&mut self) -> Option<u64> {
        match &mut self.resume {
            Some(resume) => Some(resume.tell()),
            None => self.config.stateful_reconnect.then_some(0),
        }
    }

    /// Handles the terms in the packet that opens a connection.
    ///
    /// # Errors
    /// If the server resumes the session without its terms, or has handled messages that were not sent.
    pub(super) fn agree(&mut self, new: &Handshake, terms: Option<Terms>) -> Result<Opened, HandshakeError> {
        let is_same = self.handshake.as_ref().is_some_and(|old| old.sid == new.sid);
        if let Some(resume) = self.resume.as_deref_mut().filter(|resume| is_same && resume.lost.is_some()) {
            let received = terms.ok_or(HandshakeError::Resume)?.received;
            resume.has_progress = false;
            resume.acknowledge(received).map_err(|_| HandshakeError::Resume)?;
            resume.lost = None;
            return Ok(Opened::Resumed);
        }
        let old = self.resume.take();
        if self.config.stateful_reconnect
            && let Some(terms) = terms
        {
            self.resume = Some(Box::new(Resume::new(&self.config, &terms)));
        }
        Ok(old.map_or(Opened::New, |old| Opened::Replaced(Box::new(old.into_unconfirmed()))))
    }

    /// Sends everything again that the server has not handled, on the new connection.
    pub(super) fn replay(&mut self) {
        let Some(resume) = &self.resume else { return };
        let before = resume.log.acknowledged();
        let mut payload = Payload::default();
        for packet in resume.log.after(before) {
            debug_assert!(!packet.contains(&SEPARATOR), "the messages are JSON or base64");
            payload.push_packets(packet.clone());
        }
        match self.state {
            State::WebSocket => self.push_packets(payload),
            _ => self.queue = payload,
        }
        self.watch_again();
    }

    // Acknowledging.

    /// Handles the server's count of the messages that it has handled.
    pub(super) fn handle_count(&mut self, data: &str) {
        let Some(resume) = self.resume.as_deref_mut() else { return };
        if parse_count(data).is_none_or(|count| resume.acknowledge(count).is_err()) {
            self.end(TransportError::OutOfPlace("a wrong count of messages").into());
        }
    }

    /// Tells the server how many messages were handled, if that is due.
    #[cold]
    pub(super) fn tell_handled(&mut self) {
        if let Some(packet) = self.resume.as_mut().and_then(|resume| resume.handled.take_due()) {
            self.push_control(packet.as_bytes());
        }
    }

    /// Tells the server how many messages were handled, if there are new ones.
    pub(super) fn tell_with_pong(&mut self) {
        if let Some(resume) = &mut self.resume {
            resume.handled.beat();
            self.tell_handled();
        }
    }

    /// Keeps a packet of the protocol above while there is no connection: it is sent once the session is resumed. Returns
    /// whether there is none. If there are too many such packets, the session ends.
    pub(super) fn keep_for_later(&mut self, message: Part<'_>) -> bool {
        let limit = self.control_limit();
        match &mut self.resume {
            Some(resume) if resume.lost.is_some() && self.closed.is_none() => {
                resume.keep(core::iter::once(message));
                if resume.size() > limit {
                    self.give_up_resuming();
                }
                true
            }
            _ => false,
        }
    }
}
