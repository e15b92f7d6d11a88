//! What the handle and the tasks of a bus share.

use crate::builder::{Config, Servers};
use crate::endpoint::Place;
use crate::queue::{Command, Count, Flush, Item, Queue};
use crate::slots::Slots;
use crate::topology::Server;
use bytes::Bytes;
use parking_lot::Mutex;
use sockeye_core::cluster::{BusStatus, Channel, ChannelKind, Node, RequestId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// The number of a link, which is what connects to one server. The first one is there from the beginning: the only one, or
/// in a Redis Cluster the place for what has no server yet, whose task finds the servers.
pub(crate) type LinkId = usize;

pub(crate) const FIRST: LinkId = 0;

/// The bytes of entries that one answer should have.
const READ_BYTES: usize = 1 << 20;

/// The most entries in one answer: at first, and if they are small.
const MIN_READ: usize = 16;
const MAX_READ: usize = 100;

/// The most keys of lost values that wait for being reported. The others are forgotten.
const MAX_UNSAVED: usize = 100_000;

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) servers: Servers,
    pub(crate) config: Config,
    /// The most entries that the next reading of a stream asks for.
    read: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    closed: bool,
    watched: BTreeSet<Channel>,
    /// The last entry of each stream that was read.
    positions: BTreeMap<String, String>,
    links: BTreeMap<LinkId, Link>,
    slots: Slots,
    /// The bytes of everything that waits, or is on its way without an answer.
    waiting: usize,
    overflow: Overflow,
    /// The keys of values that were dropped before they were stored, which have yet to be reported.
    unsaved: Vec<Channel>,
    /// The number of the next item.
    next: u64,
    /// The servers of the Redis Cluster have to be asked for again.
    asked: bool,
    /// Channels that a server has taken away, because their slot has moved.
    lost: Vec<Channel>,
    next_link: LinkId,
    /// What was reported last: `None` for a connection, or the cause of its end.
    reported: Option<Option<String>>,
}

#[derive(Debug, Default)]
struct Link {
    queue: Queue,
    /// Channels to subscribe to, or no longer.
    changed: Vec<Channel>,
    waker: Option<Waker>,
    /// It is connected and subscribed.
    up: bool,
    /// Its server is gone.
    gone: bool,
    /// Channels have come from another link.
    has_more: bool,
    /// The server, in a Redis Cluster.
    place: Option<Place>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Overflow {
    No,
    Unreported,
    Reported,
}

impl Shared {
    pub(crate) fn new(servers: Servers, config: Config) -> Shared {
        let state = State {
            closed: false,
            watched: BTreeSet::new(),
            positions: BTreeMap::new(),
            links: BTreeMap::from([(FIRST, Link::default())]),
            slots: Slots::default(),
            waiting: 0,
            overflow: Overflow::No,
            unsaved: Vec::new(),
            next: 0,
            asked: false,
            lost: Vec::new(),
            next_link: FIRST + 1,
            reported: None,
        };
        Shared { servers, config, read: AtomicUsize::new(MIN_READ), state: Mutex::new(state) }
    }

    /// Returns the number of entries to ask for, so that an answer of [`READ_BYTES`] is expected.
    pub(crate) fn entries_to_read(&self) -> usize {
        self.read.load(Ordering::Relaxed)
    }

    /// Learns from an answer how large entries are.
    pub(crate) fn note_read(&self, entries: usize, bytes: usize) {
        let fitting = READ_BYTES.saturating_mul(entries) / bytes.max(1);
        // What follows may be larger, so the number does not grow at once.
        let most = self.entries_to_read().saturating_mul(2).min(MAX_READ);
        if entries > 0 {
            self.read.store(fitting.clamp(2, most.max(2)), Ordering::Relaxed);
        }
    }

    /// Ends all tasks.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let wakers: Vec<_> = state.links.values_mut().filter_map(|link| link.waker.take()).collect();
        drop(state);
        wake(wakers);
    }

    /// Watches a channel, or no longer.
    pub(crate) fn watch(&self, channel: &Channel, on: bool) {
        let mut state = self.state.lock();
        let changed = if on { state.watched.insert(channel.clone()) } else { state.watched.remove(channel) };
        if !changed {
            return;
        }
        if channel.kind == ChannelKind::Stream {
            state.positions.remove(channel.name.as_str());
        }
        let to = state.slots.link(channel);
        let waker = state.link(to).and_then(|link| {
            link.changed.push(channel.clone());
            link.waker.take()
        });
        drop(state);
        wake(waker);
    }

    pub(crate) fn publish(&self, channel: &Channel, message: Bytes) {
        self.push(Command::Publish(channel.clone(), message));
    }

    pub(crate) fn append(&self, stream: &Channel, fields: Vec<(&'static str, Bytes)>) {
        self.push(Command::Append(stream.clone(), fields));
    }

    pub(crate) fn save(&self, key: &str, value: Bytes, lifetime: Duration) {
        self.push(Command::Save(named(key), value, lifetime));
    }

    pub(crate) fn load(&self, key: &str, remove: bool, request: RequestId) {
        self.push(Command::Load { key: named(key), remove, request });
    }

    pub(crate) fn read(&self, stream: &Channel, from: &str, request: RequestId) {
        self.push(Command::Read { stream: stream.clone(), from: from.to_owned(), request });
    }

    /// Puts an item into the queue of its server. If the budget is exhausted, the item is dropped.
    fn push(&self, command: Command) {
        let now = Instant::now();
        let mut state = self.state.lock();
        let item = Item { order: state.next, since: now, command };
        let size = item.size();
        let to = item.channel().map_or(FIRST, |channel| state.slots.link(channel));
        if state.waiting.saturating_add(size) > self.config.max_waiting {
            state.drop_stale(now, &self.config);
        }
        let fits = state.waiting.saturating_add(size) <= self.config.max_waiting;
        if fits {
            state.next += 1;
            state.waiting += size;
        } else if state.overflow == Overflow::No {
            state.overflow = Overflow::Unreported;
        }
        if !fits {
            state.note_unsaved(&item);
        }
        let waker = state.link(to).and_then(|link| {
            if fits {
                link.queue.push_back(item);
            }
            link.waker.take()
        });
        drop(state);
        wake(waker);
    }

    pub(crate) fn count(&self, channel: &Channel, request: RequestId) {
        let mut wakers = Vec::new();
        let mut state = self.state.lock();
        let order = state.next;
        state.next += 1;
        let (now, servers) = (Instant::now(), state.servers());
        let count = Count::new(request, servers.len());
        for id in servers {
            let command = Command::Count(channel.clone(), count.clone());
            if let Some(link) = state.link(id) {
                link.queue.push_back(Item { order, since: now, command });
                wakers.extend(link.waker.take());
            }
        }
        drop(state);
        wake(wakers);
    }

    pub(crate) fn flush(&self) -> Flush {
        let flush = Flush::new();
        let mut wakers = Vec::new();
        let mut state = self.state.lock();
        let (order, now) = (state.next, Instant::now());
        state.next += 1;
        for id in state.servers() {
            if let Some(link) = state.link(id) {
                let command = Command::Flush(flush.part());
                link.queue.push_back(Item { order, since: now, command });
                wakers.extend(link.waker.take());
            }
        }
        drop(state);
        wake(wakers);
        flush
    }

    /// Registers the task of a link. Ready if it has to end, and with what has to be reported.
    pub(crate) fn poll_link(&self, id: LinkId, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        let closed = state.closed;
        match state.links.get_mut(&id) {
            Some(link) if !closed && !link.gone => {
                if link.waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
                    link.waker = Some(cx.waker().clone());
                }
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    /// Returns a status that nobody has reported yet.
    pub(crate) fn take_overflow(&self) -> Option<BusStatus> {
        let mut state = self.state.lock();
        if state.overflow != Overflow::Unreported {
            return None;
        }
        state.overflow = Overflow::Reported;
        Some(BusStatus::Overflowed { limit: self.config.max_waiting })
    }

    /// Takes the keys of values that were dropped.
    pub(crate) fn take_unsaved(&self) -> Vec<Channel> {
        std::mem::take(&mut self.state.lock().unsaved)
    }

    /// Takes what is to be sent next, of limited number and size.
    pub(crate) fn take(&self, id: LinkId, max_items: usize, max_bytes: usize) -> Vec<Item> {
        let mut state = self.state.lock();
        let Some(link) = state.links.get_mut(&id).filter(|link| !link.queue.is_empty()) else {
            return Vec::new();
        };
        let now = Instant::now();
        let mut items = Vec::with_capacity(link.queue.len().min(max_items));
        let (mut bytes, mut dropped, mut stale) = (0, 0, Vec::new());
        while items.len() < max_items && bytes < max_bytes {
            let Some(item) = link.queue.pop_front() else { break };
            if item.is_stale(now, self.config.max_age) {
                dropped += item.size();
                stale.push(item);
                continue;
            }
            bytes += item.size();
            let is_read = matches!(item.command, Command::Read { .. });
            items.push(item);
            if is_read {
                // Its answer is larger than it, and several must not add up.
                break;
            }
        }
        if link.queue.is_empty() {
            // After an outage it would keep what it has grown to.
            link.queue.shrink_to(max_items);
        }
        stale.iter().for_each(|item| state.note_unsaved(item));
        state.release(dropped, &self.config);
        items
    }

    /// Accounts for items that have been answered or given up.
    pub(crate) fn release(&self, bytes: usize) {
        self.state.lock().release(bytes, &self.config);
    }

    /// Puts items that were not sent back into the queue, in their order.
    pub(crate) fn put_back(&self, id: LinkId, items: Vec<Item>) {
        if items.is_empty() {
            return;
        }
        let mut state = self.state.lock();
        let id = if state.links.contains_key(&id) { id } else { FIRST };
        if let Some(link) = state.link(id) {
            link.queue.extend(items);
            link.queue.make_contiguous().sort_by_key(|item| item.order);
        }
    }

    /// Removes the counts that wait for a server, because it cannot be reached.
    pub(crate) fn take_counts(&self, id: LinkId) -> Vec<Item> {
        let mut state = self.state.lock();
        let Some(link) = state.link(id) else { return Vec::new() };
        let (counts, others) = std::mem::take(&mut link.queue)
            .into_iter()
            .partition::<Queue, _>(|item| matches!(item.command, Command::Count(..)));
        link.queue = others;
        counts.into()
    }

    /// Returns the channels of a link that are not streams, and forgets earlier changes.
    pub(crate) fn begin(&self, id: LinkId) -> Vec<Channel> {
        let mut state = self.state.lock();
        if let Some(link) = state.link(id) {
            link.changed.clear();
            link.has_more = false;
        }
        let State { watched, slots, .. } = &*state;
        let is_ours = |channel: &&Channel| channel.kind != ChannelKind::Stream && slots.link(channel) == id;
        watched.iter().filter(is_ours).cloned().collect()
    }

    /// Returns the streams of a link, each with the entry to read after, if one is known.
    pub(crate) fn streams(&self, id: LinkId) -> Vec<(String, Option<String>)> {
        let state = self.state.lock();
        let State { watched, slots, positions, .. } = &*state;
        let is_ours = |channel: &&Channel| channel.kind == ChannelKind::Stream && slots.link(channel) == id;
        let position = |name: &str| (name.to_owned(), positions.get(name).cloned());
        watched.iter().filter(is_ours).map(|channel| position(channel.name.as_str())).collect()
    }

    /// Keeps the position in a stream, as long as it is watched.
    pub(crate) fn set_position(&self, stream: &str, offset: &str) {
        let mut state = self.state.lock();
        let channel = Channel { kind: ChannelKind::Stream, name: stream.into() };
        if !state.watched.contains(&channel) {
            return;
        }
        match state.positions.get_mut(stream) {
            Some(position) => offset.clone_into(position),
            None => drop(state.positions.insert(stream.to_owned(), offset.to_owned())),
        }
    }

    /// Takes the channels that have changed, each with whether it is to be subscribed to.
    ///
    /// Also returns whether some of them were another link's before.
    pub(crate) fn take_changes(&self, id: LinkId) -> (Vec<(Channel, bool)>, bool) {
        let mut state = self.state.lock();
        let Some(link) = state.links.get_mut(&id).filter(|link| !link.changed.is_empty()) else {
            return (Vec::new(), false);
        };
        let changed = std::mem::take(&mut link.changed);
        let has_more = std::mem::take(&mut link.has_more);
        let State { watched, slots, .. } = &*state;
        let wanted = |channel: Channel| {
            let on = watched.contains(&channel) && slots.link(&channel) == id;
            (channel, on)
        };
        (changed.into_iter().map(wanted).collect(), has_more)
    }

    /// Asks for the servers of the Redis Cluster again.
    pub(crate) fn ask_servers(&self) {
        let mut state = self.state.lock();
        state.asked = true;
        let waker = state.link(FIRST).and_then(|link| link.waker.take());
        drop(state);
        wake(waker);
    }

    /// Returns whether the servers have to be asked for, once.
    pub(crate) fn take_asked(&self) -> bool {
        std::mem::take(&mut self.state.lock().asked)
    }

    /// Handles a channel that its server has taken away: its slot has moved.
    pub(crate) fn handle_moved(&self, channel: Channel) {
        self.state.lock().lost.push(channel);
        self.ask_servers();
    }

    /// Returns the known servers of the Redis Cluster.
    pub(crate) fn places(&self) -> Vec<Place> {
        self.state.lock().links.values().filter_map(|link| link.place.clone()).collect()
    }

    /// Returns whether a channel is watched by a link.
    pub(crate) fn is_wanted(&self, id: LinkId, channel: &Channel) -> bool {
        let state = self.state.lock();
        state.watched.contains(channel) && state.slots.link(channel) == id
    }

    /// Notes that a link is connected. Returns the status to report.
    pub(crate) fn set_up(&self, id: LinkId) -> Option<BusStatus> {
        let mut state = self.state.lock();
        state.link(id)?.up = true;
        state.connected()
    }

    /// Notes that a link is not connected. Returns the status to report: the first of an outage, and each new cause.
    pub(crate) fn set_down(&self, id: LinkId, cause: &str) -> Option<BusStatus> {
        let mut state = self.state.lock();
        state.link(id)?.up = false;
        let news = Some(Some(cause.to_owned()));
        if !state.is_needed(id) || state.reported == news {
            return None;
        }
        state.reported = news;
        Some(BusStatus::Disconnected { cause: cause.to_owned() })
    }
}

/// A link to be started, with its server.
type Started = (LinkId, Place);

impl Shared {
    /// Takes over the servers of the Redis Cluster: everything that waits goes to the queue of the right one, and so do
    /// channels. Returns the links to be started, and the status to report.
    pub(crate) fn set_servers(
        &self,
        servers: &[Server],
        node: &dyn Node,
    ) -> (Vec<Started>, Option<BusStatus>) {
        let mut state = self.state.lock();
        let routed: Vec<_> =
            state.watched.iter().map(|channel| (channel.clone(), state.slots.link(channel))).collect();
        let mut started = Vec::new();
        let mut ids = Vec::with_capacity(servers.len());
        for server in servers {
            let known = state.links.iter().find(|(_, link)| link.place.as_ref() == Some(&server.place));
            let id = known.map(|(&id, _)| id).unwrap_or_else(|| {
                let id = state.next_link;
                state.next_link += 1;
                state.links.insert(id, Link { place: Some(server.place.clone()), ..Link::default() });
                started.push((id, server.place.clone()));
                id
            });
            ids.push(id);
        }
        let slots = servers
            .iter()
            .zip(&ids)
            .flat_map(|(server, &id)| server.slots.iter().map(move |&range| (range, id)));
        state.slots.set(slots);
        let unanswered = state.route_items(&ids);
        let gone: Vec<_> =
            state.links.keys().copied().filter(|id| *id != FIRST && !ids.contains(id)).collect();
        let mut wakers: Vec<_> =
            gone.iter().filter_map(|id| state.links.remove(id)).filter_map(|link| link.waker).collect();
        state.route_channels(routed);
        if let Some(first) = state.link(FIRST) {
            first.up = true;
        }
        wakers.extend(
            state.links.iter_mut().filter(|(id, _)| **id != FIRST).filter_map(|(_, link)| link.waker.take()),
        );
        let status = state.connected();
        drop(state);
        wake(wakers);
        for count in unanswered {
            count.add(None, node);
        }
        (started, status)
    }
}

impl State {
    /// Distributes everything that waits among the servers. Returns the counts whose server is gone.
    fn route_items(&mut self, ids: &[LinkId]) -> Vec<Arc<Count>> {
        let mut items = Vec::new();
        for (&id, link) in &mut self.links {
            items.extend(std::mem::take(&mut link.queue).into_iter().map(|item| (id, item)));
        }
        items.sort_by_key(|(_, item)| item.order);
        let mut unanswered = Vec::new();
        for (from, item) in items {
            if let Some(channel) = item.channel() {
                let to = self.slots.link(channel);
                self.links.entry(to).or_default().queue.push_back(item);
                continue;
            }
            let Item { order, since, command } = item;
            // What is for all servers has waited for the first one to be known.
            let all = if from == FIRST { ids } else { std::slice::from_ref(&from) };
            for &id in all.iter().filter(|id| ids.contains(id)) {
                let command = match &command {
                    Command::Count(channel, count) => {
                        count.expect(1);
                        Command::Count(channel.clone(), count.clone())
                    }
                    Command::Flush(flush) => Command::Flush(flush.part()),
                    _ => continue,
                };
                self.links.entry(id).or_default().queue.push_back(Item { order, since, command });
            }
            if let Command::Count(_, count) = command {
                unanswered.push(count);
            }
        }
        unanswered
    }

    /// Tells the links which channels they have now, or no longer. `routed` are all, each with its link before.
    fn route_channels(&mut self, routed: Vec<(Channel, LinkId)>) {
        let lost = std::mem::take(&mut self.lost);
        for (channel, before) in routed {
            let now = self.slots.link(&channel);
            if now == before && !lost.contains(&channel) {
                continue;
            }
            if let Some(link) = self.links.get_mut(&before).filter(|_| now != before) {
                link.changed.push(channel.clone());
            }
            if let Some(link) = self.links.get_mut(&now) {
                link.changed.push(channel);
                link.has_more = true;
                link.up = false;
            }
        }
    }

    fn link(&mut self, id: LinkId) -> Option<&mut Link> {
        self.links.get_mut(&id)
    }

    /// Returns the links whose subscribers are counted: all servers, or the first one while none is known.
    fn servers(&self) -> Vec<LinkId> {
        let servers: Vec<_> = self.links.keys().copied().filter(|&id| id != FIRST).collect();
        if servers.is_empty() { vec![FIRST] } else { servers }
    }

    /// Returns whether the bus is not connected without a link: it is the only one, or has slots of a Redis Cluster.
    fn is_needed(&self, id: LinkId) -> bool {
        self.slots.uses(id)
    }

    fn connected(&mut self) -> Option<BusStatus> {
        let all = self.links.iter().all(|(&id, link)| link.up || !self.is_needed(id));
        if !all || self.reported == Some(None) {
            return None;
        }
        self.reported = Some(None);
        Some(BusStatus::Connected)
    }

    fn release(&mut self, bytes: usize, config: &Config) {
        self.waiting = self.waiting.saturating_sub(bytes);
        if self.waiting <= config.max_waiting / 2 && self.overflow == Overflow::Reported {
            self.overflow = Overflow::No;
        }
    }

    fn drop_stale(&mut self, now: Instant, config: &Config) {
        let mut stale = Vec::new();
        for link in self.links.values_mut() {
            while link.queue.front().is_some_and(|item| item.is_stale(now, config.max_age)) {
                stale.extend(link.queue.pop_front());
            }
        }
        stale.iter().for_each(|item| self.note_unsaved(item));
        self.release(stale.iter().map(Item::size).sum(), config);
    }

    /// Notes that an item is dropped. It may be a value that is lost by that.
    fn note_unsaved(&mut self, item: &Item) {
        if let Command::Save(key, ..) = &item.command
            && self.unsaved.len() < MAX_UNSAVED
        {
            self.unsaved.push(key.clone());
        }
    }
}

/// Returns what decides where a key is, as the name of a stream does.
fn named(key: &str) -> Channel {
    Channel { kind: ChannelKind::Stream, name: key.into() }
}

/// Wakes tasks. To be called without the lock, because a task may run in place.
fn wake(wakers: impl IntoIterator<Item = Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}
