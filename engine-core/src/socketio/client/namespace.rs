//! One namespace of a client: whether it is joined, and what waits for it in both directions.

use super::recovery::Recovery;
use super::waiting::{Queue, Retry, Waiting};
use super::{ConnectError, Event, Incoming, NamespaceId, NoAnswer, Token};
use crate::engineio::client::CloseReason;
use crate::socketio::acks::{Acks, MAX_ACK_ID};
use crate::socketio::emit_error::EmitError;
use crate::time::{Time, earliest};
use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

/// How many answers may be awaited in one namespace.
const MAX_ACKS: u32 = 10_000;

#[derive(Debug)]
pub(super) struct Namespace {
    pub(super) id: NamespaceId,
    pub(super) name: Arc<str>,
    pub(super) state: State,
    /// How often it was tried to join: a late answer of the application is for an earlier one.
    pub(super) attempt: u32,
    /// How many attempts failed in a row while there was a connection.
    pub(super) failures: u32,
    /// It was left before the server had answered, which it has to until then: before that there is nothing to leave,
    /// and it cannot be asked again.
    pub(super) unanswered: Option<Time>,
    pub(super) left: Left,
    pub(super) results: Results,
    /// When the last event left by this connection.
    pub(super) sent: Option<Time>,
    /// The id that the server gave, while connected.
    pub(super) sid: Option<Box<str>>,
    /// What the server takes a later connection as the same by, if it can.
    pub(super) recovery: Option<Box<Recovery>>,
    pub(super) recovered: bool,
    /// Somebody wants to know what leaves.
    pub(super) tells_outgoing: bool,
    /// The answers that are awaited: the event that each is for, while that waits.
    pub(super) acks: Acks<Option<Token>>,
    /// All ids of acknowledgements were used once.
    acks_wrapped: bool,
    pub(super) outbox: Queue<Waiting>,
    pub(super) retries: Queue<Retry>,
    /// Events that came before the answer that joins.
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

/// Whether it was left on this connection, so that events may come that were sent before that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    No,
    /// The server is told so once it has read the events before it, or then: the reference drops events that are read
    /// together with it.
    Untold(Time),
    /// The server may not have read so yet: it would take another attempt to join for a second one, and close.
    Unread,
    /// That is waited for until then.
    Watched(Time),
    /// The server has read so, and what it sent before may be on its way.
    Read,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It is not wanted.
    Idle,
    /// It is wanted, and asked for with the next connection, or once the server has answered an earlier attempt.
    Wanted,
    /// It is wanted, and asked for then: an attempt has failed.
    Waiting(Time),
    /// The application has to say until then what to show to the server.
    Asked(Time),
    /// The server has to answer until then.
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

    /// The application is asked what to show in this attempt.
    pub(super) fn is_asked(&self, attempt: u32) -> bool {
        matches!(self.state, State::Asked(_)) && self.attempt == attempt
    }

    /// It is joined, or may be soon.
    pub(super) fn is_on_its_way(&self) -> bool {
        matches!(self.state, State::Asked(_) | State::Joining(_) | State::Joined)
    }

    /// The connection is gone, for this namespace at least. What waits to be sent goes on waiting, with its answers; an
    /// event that was on its way has failed once more, and is given up after so many `retries`.
    pub(super) fn leave(&mut self, state: State, retries: u32, events: &mut VecDeque<Event>) {
        self.state = state;
        self.unanswered = None;
        self.left = Left::No;
        self.sent = None;
        self.sid = None;
        self.early = None;
        self.fail_try(retries, NoAnswer::Disconnected, events);
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
        let waiting = self.outbox.front().map(|(_, waiting)| waiting.since);
        let oldest = earliest(waiting, self.unsent_retry().map(|(_, since)| since));
        earliest(next, oldest.zip(age).map(|(since, age)| since + age))
    }

    /// The first of those to be acknowledged that was never sent, and since when it waits.
    fn unsent_retry(&self) -> Option<(Token, Time)> {
        let (token, retry) = self.retries.iter().find(|(_, retry)| retry.tries == 0)?;
        Some((token, retry.since))
    }

    /// Drops what waited too long, and gives up the answers that are overdue.
    pub(super) fn handle_timeout(&mut self, now: Time, age: Option<Duration>, events: &mut VecDeque<Event>) {
        let is_old = |since: Time| age.is_some_and(|age| since + age <= now);
        while self.outbox.front().is_some_and(|(_, waiting)| is_old(waiting.since))
            && let Some((token, waiting)) = self.outbox.pop()
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

    /// An event that waited, and may want an answer, will not be sent.
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

    /// An event that was to be sent until it is acknowledged will not be sent.
    pub(super) fn drop_retry(&mut self, token: Token, error: EmitError, events: &mut VecDeque<Event>) {
        if let Some(retry) = self.retries.remove(token) {
            events.push_back(Event::Answer(self.id, retry.ack, Err(NoAnswer::NotSent(error.clone()))));
            events.push_back(Event::Fate(token, Err(error)));
        }
    }

    /// The event that was on its way, to be acknowledged, was not: it is sent again, or given up after so many
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

    /// The id for the next event that wants an answer: the next one that is not in use.
    pub(super) fn next_ack(&mut self) -> u64 {
        loop {
            let id = self.acks.next_id();
            self.acks_wrapped |= id == MAX_ACK_ID;
            // Before that each is new. Events that are tried again keep theirs outside of the table.
            if !self.acks_wrapped || !self.retries.iter().any(|(_, retry)| retry.ack == id) {
                return id;
            }
        }
    }

    /// Waits no more for the answers to what was sent, and returns their ids.
    fn take_sent_acks(&mut self) -> Vec<u64> {
        let sent: Vec<_> = self.acks.iter().filter(|(_, waits)| waits.is_none()).map(|(id, _)| id).collect();
        for id in &sent {
            self.acks.take(*id);
        }
        sent
    }

    /// How many bytes wait.
    pub(super) fn buffered(&self) -> usize {
        self.outbox.bytes() + self.retries.bytes()
    }

    /// Drops all that waits.
    pub(super) fn clear(&mut self, events: &mut VecDeque<Event>) {
        while let Some((token, waiting)) = self.outbox.pop() {
            self.drop_waiting(token, waiting.ack, EmitError::Cleared, events);
        }
        while let Some((token, _)) = self.retries.front() {
            self.drop_retry(token, EmitError::Cleared, events);
        }
    }
}

/// Returns the object that a client shows when it joins: its `auth`, which is an object or empty, and how far the
/// events came. `None` if it shows nothing.
pub(super) fn shown<'a>(recovery: Option<&Recovery>, auth: &'a str) -> Option<Cow<'a, str>> {
    let known = recovery.and_then(|it| Some((&*it.pid, it.offset()?)));
    let Some((pid, offset)) = known else {
        return Some(auth).filter(|auth| !auth.is_empty()).map(Cow::Borrowed);
    };
    let fields =
        auth.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or_default().trim();
    let comma = if fields.is_empty() { "" } else { "," };
    let quoted = |it: &str| serde_json::Value::from(it).to_string();
    Some(format!("{{\"pid\":{},\"offset\":{}{comma}{fields}}}", quoted(pid), quoted(offset)).into())
}
