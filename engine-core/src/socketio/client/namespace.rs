//! One namespace of a client: its state, and the events that wait in both directions.

use super::recovery::Recovery;
use super::waiting::{Queue, Retry, Waiting};
use super::{ConnectError, Event, Incoming, NamespaceId, NoAnswer, Token};
use crate::engineio::client::CloseReason;
use crate::socketio::acks::{Acks, MAX_ACK_ID};
use crate::socketio::client::EmitError;
use crate::socketio::error::EncodeError;
use crate::time::{Time, earliest};
use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

/// Maximum number of pending acknowledgements of one namespace.
const MAX_ACKS: u32 = 10_000;

#[derive(Debug)]
pub(super) struct Namespace {
    pub(super) id: NamespaceId,
    pub(super) name: Arc<str>,
    pub(super) state: State,
    /// The number of the attempt to join. A late answer of the application has an earlier number.
    pub(super) attempt: u32,
    /// The number of consecutive attempts that failed while there was a connection.
    pub(super) failures: u32,
    /// The deadline for the server's answer to a request to join, if the namespace was left meanwhile. Until the answer
    /// there is nothing to leave, and the server cannot be asked again.
    pub(super) unanswered: Option<Time>,
    pub(super) left: Left,
    pub(super) results: Results,
    /// The time at which the last event was sent over this connection.
    pub(super) sent: Option<Time>,
    /// The id that the server assigned, while the namespace is joined.
    pub(super) sid: Option<Box<str>>,
    /// The state that lets the server recover the connection, if it supports that.
    pub(super) recovery: Option<Box<Recovery>>,
    pub(super) recovered: bool,
    /// Events that are sent are reported.
    pub(super) tells_outgoing: bool,
    /// The pending acknowledgements, each with its event's token while the event waits to be sent.
    pub(super) acks: Acks<Option<Token>>,
    /// All acknowledgement ids were used at least once.
    acks_wrapped: bool,
    pub(super) outbox: Queue<Waiting>,
    pub(super) retries: Queue<Retry>,
    /// Events that arrived before the server's answer to the request to join.
    pub(super) early: Option<Box<Early>>,
}

#[derive(Debug, Default)]
pub(super) struct Early {
    pub(super) events: Vec<Incoming>,
    pub(super) bytes: usize,
}

/// The results of the attempts to join, for tasks that wait for the next one.
#[derive(Debug, Default)]
pub(super) struct Results {
    /// The number of attempts that have ended: joined, failed or abandoned.
    pub(super) ended: u32,
    /// The number of attempts that have failed.
    pub(super) failed: u32,
    /// The error of the last attempt, if that failed.
    last_error: Option<Box<ConnectError>>,
}

/// The state of a namespace that was left on this connection: events that the server sent before may still arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    No,
    /// The server will be told once it has read the events that were sent before, or at this deadline, because the
    /// reference drops events that it reads together with the packet that leaves.
    Untold(Time),
    /// The server may not have read that yet. It would mistake another request to join for a second one, and close the
    /// connection.
    Unread,
    /// The client waits until this deadline for the server to read it.
    Watched(Time),
    /// The server has read it; events that it sent before may still be on their way.
    Read,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It is not to be joined.
    Idle,
    /// It is to be joined with the next connection, or once the server has answered an earlier attempt.
    Wanted,
    /// An attempt has failed, and the next one begins at this time.
    Waiting(Time),
    /// The application has until this deadline to return the auth data.
    Asked(Time),
    /// The server has until this deadline to answer.
    Joining(Time),
    Joined,
}

impl Namespace {
    pub(super) fn new(id: NamespaceId, name: Arc<str>) -> Namespace {
        Namespace {
            id,
            name,
            state: State::Idle,
            attempt: 0,
            failures: 0,
            unanswered: None,
            left: Left::No,
            results: Results::default(),
            sent: None,
            sid: None,
            recovery: None,
            recovered: false,
            tells_outgoing: false,
            acks: Acks::new(MAX_ACKS),
            acks_wrapped: false,
            outbox: Queue::default(),
            retries: Queue::default(),
            early: None,
        }
    }

    /// Reports that the namespace is joined.
    pub(super) fn report_joined(&mut self, events: &mut VecDeque<Event>) {
        self.results.ended = self.results.ended.wrapping_add(1);
        self.results.last_error = None;
        events.push_back(Event::Connected(self.id));
    }

    /// Reports that an attempt to join the namespace has failed.
    pub(super) fn report_failure(&mut self, error: ConnectError, events: &mut VecDeque<Event>) {
        self.results.ended = self.results.ended.wrapping_add(1);
        self.results.failed = self.results.failed.wrapping_add(1);
        self.results.last_error = Some(Box::new(error.clone()));
        events.push_back(Event::ConnectError(self.id, error));
    }

    /// Returns the result of the attempt to join, once one has ended since `failed` of them had failed.
    pub(super) fn result(&self, failed: u32) -> Option<Result<(), ConnectError>> {
        if self.state == State::Joined {
            return Some(Ok(()));
        }
        if self.results.failed == failed && self.is_active() {
            return None;
        }
        let given_up = || ConnectError::Closed(CloseReason::Client);
        Some(Err(self.results.last_error.as_deref().cloned().unwrap_or_else(given_up)))
    }

    pub(super) fn is_active(&self) -> bool {
        self.state != State::Idle
    }

    /// Returns whether the application is asked for the auth data of this attempt.
    pub(super) fn is_asked(&self, attempt: u32) -> bool {
        matches!(self.state, State::Asked(_)) && self.attempt == attempt
    }

    /// Returns whether it is joined, or may be soon.
    pub(super) fn is_on_its_way(&self) -> bool {
        matches!(self.state, State::Asked(_) | State::Joining(_) | State::Joined)
    }

    /// Handles that the connection has ended, at least for this namespace. Events that wait to be sent go on waiting, with
    /// their acknowledgements. An event in flight has failed once more; it is given up after this number of `retries`.
    pub(super) fn leave(&mut self, state: State, retries: u32, events: &mut VecDeque<Event>) {
        self.state = state;
        self.unanswered = None;
        self.left = Left::No;
        self.sent = None;
        self.sid = None;
        self.early = None;
        self.fail_try(retries, NoAnswer::Disconnected, events);
        let replies = self.outbox.iter().filter(|(_, waiting)| waiting.is_reply);
        for token in replies.map(|(token, _)| token).collect::<Vec<_>>() {
            self.outbox.remove(token);
        }
        for id in self.take_sent_acks() {
            events.push_back(Event::Answer(self.id, id, Err(NoAnswer::Disconnected)));
        }
    }

    /// Returns whether something is to be sent as soon as the session has capacity.
    pub(super) fn waits_for_capacity(&self) -> bool {
        let is_retry_due = || self.retries.front().is_some_and(|(_, retry)| retry.deadline.is_none());
        self.state == State::Joined && (!self.outbox.is_empty() || is_retry_due())
    }

    pub(super) fn next_deadline(&self, age: Option<Duration>) -> Option<Time> {
        let joining = match self.state {
            State::Waiting(deadline) | State::Asked(deadline) | State::Joining(deadline) => Some(deadline),
            State::Idle | State::Wanted | State::Joined => None,
        };
        let mut next = earliest(joining, self.unanswered);
        if let Left::Untold(deadline) | Left::Watched(deadline) = self.left {
            next = earliest(next, Some(deadline));
        }
        next = earliest(next, self.acks.next_deadline());
        next = earliest(next, self.retries.front().and_then(|(_, retry)| retry.deadline));
        let waiting = self.oldest_event().map(|(_, since)| since);
        let oldest = earliest(waiting, self.unsent_retry().map(|(_, since)| since));
        earliest(next, oldest.zip(age).map(|(since, age)| since + age))
    }

    /// Returns the first event to be acknowledged that was never sent, and the time since which it waits.
    fn unsent_retry(&self) -> Option<(Token, Time)> {
        let (token, retry) = self.retries.iter().find(|(_, retry)| retry.tries == 0)?;
        Some((token, retry.since))
    }

    /// Returns the first event that waits, and the time since which it does. Acknowledgements do not become too old.
    fn oldest_event(&self) -> Option<(Token, Time)> {
        let (token, waiting) = self.outbox.iter().find(|(_, waiting)| !waiting.is_reply)?;
        Some((token, waiting.since))
    }

    /// Drops events that have waited too long, and gives up acknowledgements that are overdue.
    pub(super) fn handle_timeout(&mut self, now: Time, age: Option<Duration>, events: &mut VecDeque<Event>) {
        let is_old = |since: Time| age.is_some_and(|age| since + age <= now);
        while let Some((token, since)) = self.oldest_event()
            && is_old(since)
            && let Some(waiting) = self.outbox.remove(token)
        {
            self.drop_waiting(token, waiting.ack, EmitError::Expired, events);
        }
        while let Some((token, since)) = self.unsent_retry()
            && is_old(since)
        {
            self.drop_retry(token, EmitError::Expired, events);
        }
        while let Some((id, waits)) = self.acks.take_expired(now) {
            if let Some(token) = waits
                && self.outbox.remove(token).is_some()
            {
                events.push_back(Event::Fate(token, Err(EmitError::Cleared)));
            }
            events.push_back(Event::Answer(self.id, id, Err(NoAnswer::Timeout)));
        }
    }

    /// Reports that an event that waited will not be sent.
    pub(super) fn drop_waiting(
        &mut self,
        token: Token,
        ack: Option<u64>,
        error: EmitError,
        events: &mut VecDeque<Event>,
    ) {
        if let Some(id) = ack
            && self.acks.take(id).is_some()
        {
            events.push_back(Event::Answer(self.id, id, Err(NoAnswer::NotSent(error.clone()))));
        }
        events.push_back(Event::Fate(token, Err(error)));
    }

    /// Drops an event that was to be sent until it is acknowledged.
    pub(super) fn drop_retry(&mut self, token: Token, error: EmitError, events: &mut VecDeque<Event>) {
        if let Some(retry) = self.retries.remove(token) {
            events.push_back(Event::Answer(self.id, retry.ack, Err(NoAnswer::NotSent(error.clone()))));
            events.push_back(Event::Fate(token, Err(error)));
        }
    }

    /// Handles that the event in flight was not acknowledged: it is sent again, or given up after this number of
    /// `retries`.
    pub(super) fn fail_try(&mut self, retries: u32, why: NoAnswer, events: &mut VecDeque<Event>) {
        let Some((token, retry)) = self.retries.front_mut() else { return };
        if retry.deadline.take().is_none() || retry.tries <= retries {
            return;
        }
        if let Some(Retry { ack, tries, .. }) = self.retries.remove(token) {
            events.push_back(Event::Answer(self.id, ack, Err(why)));
            events.push_back(Event::Fate(token, Err(EmitError::NotAcknowledged { tries })));
        }
    }

    /// Returns the next acknowledgement id that is not in use.
    pub(super) fn next_ack(&mut self) -> u64 {
        loop {
            let id = self.acks.next_id();
            self.acks_wrapped |= id == MAX_ACK_ID;
            // Until then each id is new. Events that are sent until they are acknowledged keep theirs outside of the
            // table.
            if !self.acks_wrapped || !self.retries.iter().any(|(_, retry)| retry.ack == id) {
                return id;
            }
        }
    }

    /// Stops waiting for the acknowledgements of events that were sent, and returns their ids.
    fn take_sent_acks(&mut self) -> Vec<u64> {
        let sent: Vec<_> = self.acks.iter().filter(|(_, waits)| waits.is_none()).map(|(id, _)| id).collect();
        for id in &sent {
            self.acks.take(*id);
        }
        sent
    }

    /// Returns the number of bytes that wait.
    pub(super) fn buffered(&self) -> usize {
        self.outbox.bytes() + self.retries.bytes()
    }

    /// Drops all events that wait.
    pub(super) fn clear(&mut self, events: &mut VecDeque<Event>) {
        while let Some((token, _)) = self.oldest_event()
            && let Some(waiting) = self.outbox.remove(token)
        {
            self.drop_waiting(token, waiting.ack, EmitError::Cleared, events);
        }
        while let Some((token, _)) = self.retries.front() {
            self.drop_retry(token, EmitError::Cleared, events);
        }
    }
}

/// Returns the data of a request to join: `auth`, which is an object or empty, and what is to be recovered; `None` if there is
/// neither. A client that has received no event has no offset, and is recovered by servers that know when it connected.
///
/// # Errors
/// Returns an error if `auth` is neither an object nor empty.
pub(super) fn shown<'a>(
    recovery: Option<&Recovery>,
    auth: &'a str,
) -> Result<Option<Cow<'a, str>>, EncodeError> {
    let Some(recovery) = recovery else {
        return Ok(Some(auth).filter(|auth| !auth.is_empty()).map(Cow::Borrowed));
    };
    let fields = match auth.trim() {
        "" => "",
        auth => auth.strip_prefix('{').and_then(|it| it.strip_suffix('}')).ok_or(EncodeError::Auth)?.trim(),
    };
    let comma = if fields.is_empty() { "" } else { "," };
    let quoted = |it: &str| serde_json::Value::from(it).to_string();
    let offset =
        recovery.offset().map(|offset| format!(",\"offset\":{}", quoted(offset))).unwrap_or_default();
    Ok(Some(format!("{{\"pid\":{}{offset}{comma}{fields}}}", quoted(&recovery.pid)).into()))
}
