//! One namespace of a client: what waits for it in both directions.

use super::{Event, Incoming, NamespaceId, NoAnswer, Outgoing, Token};
use crate::engineio::Part;
use crate::socketio::emit_error::EmitError;
use crate::socketio::packet::{Limits, Packet};
use crate::time::{Time, earliest};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;

/// How many answers may be awaited in one namespace.
const MAX_ACKS: usize = 10_000;

#[derive(Debug)]
pub(super) struct Namespace {
    pub(super) id: NamespaceId,
    pub(super) name: Arc<str>,
    pub(super) state: State,
    /// How often it was tried to join: a late answer of the application is for an earlier one.
    pub(super) attempt: u64,
    /// It was left before the server had answered, which it has to until then: before that there is nothing to leave,
    /// and it cannot be asked again.
    pub(super) unanswered: Option<Time>,
    /// It was left on this connection: what comes before the next answer was sent before that.
    pub(super) was_left: bool,
    /// The id that the server gave, while connected.
    pub(super) sid: Option<Box<str>>,
    /// What the server takes a later connection as the same by, if it can.
    pub(super) recovery: Option<Box<Recovery>>,
    pub(super) recovered: bool,
    /// Somebody wants to know what leaves.
    pub(super) tells_outgoing: bool,
    pub(super) next_ack: u64,
    pub(super) acks: Acks,
    pub(super) outbox: Outbox,
    pub(super) retries: Retries,
    /// Events that came before the answer that joins.
    pub(super) early: Option<Box<Early>>,
}

/// What a server gives that can recover: the id of what it recovers, and how far the events came.
#[derive(Debug)]
pub(super) struct Recovery {
    pub(super) pid: Box<str>,
    pub(super) offset: Option<Box<str>>,
}

#[derive(Debug, Default)]
pub(super) struct Early {
    pub(super) events: Vec<Incoming>,
    pub(super) bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It is not wanted.
    Idle,
    /// It is wanted, and not asked for.
    Wanted,
    /// The server has to answer until then.
    Joining(Time),
    Joined,
}

/// An event that is sent until it is acknowledged.
#[derive(Debug)]
pub(super) struct Retry {
    pub(super) unit: Unit,
    pub(super) id: u64,
    pub(super) token: Token,
    pub(super) timeout: Duration,
    pub(super) tries: u32,
    /// It is on its way, and has to be answered until then.
    pub(super) deadline: Option<Time>,
}

/// Events that are sent until they are acknowledged, in order. One pointer while there are none.
#[derive(Debug, Default)]
#[expect(clippy::box_collection, reason = "a quarter of the size, in every namespace")]
pub(super) struct Retries(Option<Box<VecDeque<Retry>>>);

impl Retries {
    pub(super) fn push(&mut self, retry: Retry) {
        self.0.get_or_insert_default().push_back(retry);
    }

    pub(super) fn front(&self) -> Option<&Retry> {
        self.0.as_ref()?.front()
    }

    pub(super) fn front_mut(&mut self) -> Option<&mut Retry> {
        self.0.as_mut()?.front_mut()
    }

    pub(super) fn pop(&mut self) -> Option<Retry> {
        let retries = self.0.as_mut()?;
        let first = retries.pop_front();
        if retries.is_empty() {
            self.0 = None;
        }
        first
    }

    fn iter(&self) -> impl Iterator<Item = &Retry> {
        self.0.iter().flat_map(|retries| retries.iter())
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut Retry> {
        self.0.iter_mut().flat_map(|retries| retries.iter_mut())
    }
}

impl Namespace {
    pub(super) fn new(id: NamespaceId, name: Arc<str>) -> Namespace {
        Namespace {
            id,
            name,
            state: State::Idle,
            attempt: 0,
            unanswered: None,
            was_left: false,
            sid: None,
            recovery: None,
            recovered: false,
            tells_outgoing: false,
            next_ack: 0,
            acks: Acks::default(),
            outbox: Outbox::default(),
            retries: Retries::default(),
            early: None,
        }
    }

    pub(super) fn is_active(&self) -> bool {
        self.state != State::Idle
    }

    /// The connection is gone, for this namespace at least. What waits to be sent goes on waiting, with its answers.
    pub(super) fn leave(&mut self, state: State, events: &mut VecDeque<Event>) {
        self.state = state;
        self.unanswered = None;
        self.was_left = false;
        self.sid = None;
        self.early = None;
        for retry in self.retries.iter_mut() {
            retry.deadline = None;
        }
        for id in self.acks.take_unless(|id| self.outbox.contains(id)) {
            events.push_back(Event::Answer(self.id, id, Err(NoAnswer::Disconnected)));
        }
    }

    pub(super) fn next_deadline(&self, age: Option<Duration>) -> Option<Time> {
        let joining = match self.state {
            State::Joining(deadline) => Some(deadline),
            _ => None,
        };
        let mut next = earliest(joining, self.unanswered);
        next = earliest(next, self.acks.next_deadline());
        next = earliest(next, self.retries.front().and_then(|retry| retry.deadline));
        earliest(next, self.outbox.next_deadline(age))
    }

    /// Drops what waited too long, and gives up the answers that are overdue.
    pub(super) fn handle_timeout(&mut self, now: Time, age: Option<Duration>, events: &mut VecDeque<Event>) {
        while let Some(waiting) = self.outbox.pop_expired(now, age) {
            self.drop_waiting(waiting, EmitError::Expired, events);
        }
        while let Some(id) = self.acks.pop_expired(now) {
            if let Some(waiting) = self.outbox.remove(id) {
                events.push_back(Event::Fate(waiting.token, Err(EmitError::Cleared)));
            }
            events.push_back(Event::Answer(self.id, id, Err(NoAnswer::Timeout)));
        }
    }

    /// An event will not be sent.
    pub(super) fn drop_waiting(&mut self, waiting: Waiting, error: EmitError, events: &mut VecDeque<Event>) {
        if let Some(id) = waiting.ack
            && self.acks.remove(id)
        {
            events.push_back(Event::Answer(self.id, id, Err(NoAnswer::NotSent(error.clone()))));
        }
        events.push_back(Event::Fate(waiting.token, Err(error)));
    }

    /// How many bytes wait for a connection.
    pub(super) fn buffered(&self) -> usize {
        self.outbox.bytes() + self.retries.iter().map(|retry| retry.unit.len()).sum::<usize>()
    }

    /// Drops all that waits.
    pub(super) fn clear(&mut self, events: &mut VecDeque<Event>) {
        while let Some(waiting) = self.outbox.pop() {
            self.drop_waiting(waiting, EmitError::Cleared, events);
        }
        while let Some(retry) = self.retries.pop() {
            let error = EmitError::Cleared;
            events.push_back(Event::Answer(self.id, retry.id, Err(NoAnswer::NotSent(error.clone()))));
            events.push_back(Event::Fate(retry.token, Err(error)));
        }
    }
}

/// A packet with its attachments, to keep.
#[derive(Debug)]
pub(super) struct Unit {
    text: Box<[u8]>,
    attachments: Vec<Bytes>,
}

impl Unit {
    pub(super) fn new<'a>(parts: impl Iterator<Item = Part<'a>>) -> Unit {
        let mut unit = Unit { text: Box::default(), attachments: Vec::new() };
        for part in parts {
            match part {
                Part::Text(text) => unit.text = text.into(),
                Part::Binary(data) => unit.attachments.push(Bytes::copy_from_slice(data)),
            }
        }
        unit
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = Part<'_>> + Clone {
        let attachments = self.attachments.iter().map(|data| Part::Binary(data));
        core::iter::once(Part::Text(&self.text)).chain(attachments)
    }

    pub(super) fn len(&self) -> usize {
        self.text.len() + self.attachments.iter().map(Bytes::len).sum::<usize>()
    }

    /// It leaves, and is an event: tells so.
    pub(super) fn tell_outgoing(&self, id: NamespaceId, events: &mut VecDeque<Event>) {
        // Those of the settings are for what the server sends.
        let limits = Limits {
            max_attachments: usize::MAX,
            max_attachment_bytes: usize::MAX,
            max_namespace_len: usize::MAX,
            max_event_len: usize::MAX,
            ..Limits::default()
        };
        let packet =
            core::str::from_utf8(&self.text).ok().and_then(|text| Packet::decode(text, &limits).ok());
        if let Some(packet) = packet
            && let (Some(event), Some(args)) = (packet.event(), packet.args(&self.attachments))
        {
            let outgoing = Outgoing { event: event.into_owned(), args: args.into_owned() };
            events.push_back(Event::Outgoing(id, outgoing));
        }
    }
}

/// An event that waits for a connection.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) unit: Unit,
    pub(super) token: Token,
    pub(super) ack: Option<u64>,
    pub(super) since: Time,
}

/// What waits to be sent, in order. One pointer while there is nothing.
#[derive(Debug, Default)]
pub(super) struct Outbox(Option<Box<Queue>>);

/// Not empty.
#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    bytes: usize,
}

impl Outbox {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |queue| queue.bytes)
    }

    pub(super) fn push(&mut self, waiting: Waiting) {
        let queue = self.0.get_or_insert_default();
        queue.bytes += waiting.unit.len();
        queue.waiting.push_back(waiting);
    }

    pub(super) fn front(&self) -> Option<&Waiting> {
        self.0.as_ref()?.waiting.front()
    }

    pub(super) fn pop(&mut self) -> Option<Waiting> {
        self.take(0)
    }

    fn contains(&self, ack: u64) -> bool {
        self.position(ack).is_some()
    }

    fn remove(&mut self, ack: u64) -> Option<Waiting> {
        self.take(self.position(ack)?)
    }

    fn position(&self, ack: u64) -> Option<usize> {
        self.0.as_ref()?.waiting.iter().position(|waiting| waiting.ack == Some(ack))
    }

    fn take(&mut self, at: usize) -> Option<Waiting> {
        let queue = self.0.as_mut()?;
        let waiting = queue.waiting.remove(at)?;
        queue.bytes -= waiting.unit.len();
        if queue.waiting.is_empty() {
            // What a long time without a connection needed is not kept.
            self.0 = None;
        }
        Some(waiting)
    }

    fn next_deadline(&self, age: Option<Duration>) -> Option<Time> {
        Some(self.front()?.since + age?)
    }

    fn pop_expired(&mut self, now: Time, age: Option<Duration>) -> Option<Waiting> {
        match self.next_deadline(age) {
            Some(deadline) if deadline <= now => self.pop(),
            _ => None,
        }
    }
}

/// The answers that are awaited. One pointer while there are none.
#[derive(Debug, Default)]
pub(super) struct Acks(Option<Box<Awaited>>);

#[derive(Debug, Default)]
struct Awaited {
    by_id: BTreeMap<u64, Time>,
    by_deadline: BTreeSet<(Time, u64)>,
}

impl Acks {
    pub(super) fn is_full(&self) -> bool {
        self.0.as_ref().is_some_and(|awaited| awaited.by_id.len() >= MAX_ACKS)
    }

    pub(super) fn insert(&mut self, id: u64, deadline: Time) {
        let awaited = self.0.get_or_insert_default();
        awaited.by_id.insert(id, deadline);
        awaited.by_deadline.insert((deadline, id));
    }

    /// Whether the answer was awaited.
    pub(super) fn remove(&mut self, id: u64) -> bool {
        let Some(awaited) = &mut self.0 else { return false };
        let Some(deadline) = awaited.by_id.remove(&id) else { return false };
        awaited.by_deadline.remove(&(deadline, id));
        if awaited.by_id.is_empty() {
            self.0 = None;
        }
        true
    }

    fn next_deadline(&self) -> Option<Time> {
        self.0.as_ref()?.by_deadline.first().map(|(deadline, _)| *deadline)
    }

    fn pop_expired(&mut self, now: Time) -> Option<u64> {
        let (_, id) =
            self.0.as_ref()?.by_deadline.first().copied().filter(|(deadline, _)| *deadline <= now)?;
        self.remove(id).then_some(id)
    }

    fn take_unless(&mut self, keep: impl Fn(u64) -> bool) -> Vec<u64> {
        let ids = self.0.iter().flat_map(|awaited| awaited.by_id.keys());
        let gone: Vec<u64> = ids.copied().filter(|id| !keep(*id)).collect();
        for id in &gone {
            self.remove(*id);
        }
        gone
    }
}

pub(super) fn push_namespace(text: &mut String, name: &str) {
    if name != "/" {
        text.push_str(name);
        text.push(',');
    }
}

/// Appends the object that a client shows when it joins.
pub(super) fn push_auth(text: &mut String, recovery: Option<&Recovery>, auth: &str) {
    let rest =
        auth.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or_default().trim();
    let known = recovery.and_then(|it| Some((&*it.pid, it.offset.as_deref()?)));
    let Some((pid, offset)) = known else {
        if !rest.is_empty() {
            text.push_str(auth.trim());
        }
        return;
    };
    let quoted = |it: &str| serde_json::Value::from(it).to_string();
    text.push_str(&format!("{{\"pid\":{},\"offset\":{}", quoted(pid), quoted(offset)));
    if !rest.is_empty() {
        text.push(',');
        text.push_str(rest);
    }
    text.push('}');
}
