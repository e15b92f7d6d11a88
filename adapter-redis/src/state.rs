//! What the handle and the tasks of a bus share.

use crate::builder::{Config, Servers};
use crate::queue::{Command, Count, Flush, Item, Queue};
use crate::slots::Slots;
use bytes::Bytes;
use parking_lot::Mutex;
use sockeye_core::cluster::{BusStatus, Channel, ChannelKind, RequestId};
use std::collections::{BTreeMap, BTreeSet};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// The number of a link, which is what connects to one server. The first one is there from the beginning: the only one, or
/// in a Redis Cluster the place for what has no server yet, whose task finds the servers.
pub(crate) type LinkId = usize;

pub(crate) const FIRST: LinkId = 0;

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) servers: Servers,
    pub(crate) config: Config,
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
    /// The number of the next item.
    next: u64,
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
            next: 0,
            reported: None,
        };
        Shared { servers, config, state: Mutex::new(state) }
    }

    /// Ends all tasks.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let wakers: Vec<_> = state.links.values_mut().filter_map(|link| link.waker.take()).collect();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
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
        waker.map(Waker::wake);
    }

    pub(crate) fn publish(&self, channel: &Channel, message: Bytes) {
        self.push(Command::Publish(channel.clone(), message));
    }

    pub(crate) fn append(&self, stream: &Channel, fields: Vec<(&'static str, Bytes)>) {
        self.push(Command::Append(stream.clone(), fields));
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
        let waker = state.link(to).and_then(|link| {
            if fits {
                link.queue.push_back(item);
            }
            link.waker.take()
        });
        drop(state);
        waker.map(Waker::wake);
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
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn flush(&self) -> Flush {
        let flush = Flush::new();
        let mut wakers = Vec::new();
        let mut state = self.state.lock();
        let (order, now) = (state.next, Instant::now());
        state.next += 1;
        for link in state.links.values_mut() {
            let command = Command::Flush(flush.part());
            link.queue.push_back(Item { order, since: now, command });
            wakers.extend(link.waker.take());
        }
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
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

    /// Takes what is to be sent next, of limited number and size.
    pub(crate) fn take(&self, id: LinkId, max_items: usize, max_bytes: usize) -> Vec<Item> {
        let mut state = self.state.lock();
        let Some(link) = state.links.get_mut(&id).filter(|link| !link.queue.is_empty()) else {
            return Vec::new();
        };
        let now = Instant::now();
        let mut items = Vec::with_capacity(link.queue.len().min(max_items));
        let (mut bytes, mut dropped) = (0, 0);
        while items.len() < max_items && bytes < max_bytes {
            let Some(item) = link.queue.pop_front() else { break };
            if item.is_stale(now, self.config.max_age) {
                dropped += item.size();
                continue;
            }
            bytes += item.size();
            items.push(item);
        }
        if link.queue.is_empty() {
            // After an outage it would keep what it has grown to.
            link.queue.shrink_to(max_items);
        }
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
    pub(crate) fn take_changes(&self, id: LinkId) -> Vec<(Channel, bool)> {
        let mut state = self.state.lock();
        let Some(link) = state.links.get_mut(&id).filter(|link| !link.changed.is_empty()) else {
            return Vec::new();
        };
        let changed = std::mem::take(&mut link.changed);
        let State { watched, slots, .. } = &*state;
        let wanted = |channel: Channel| {
            let on = watched.contains(&channel) && slots.link(&channel) == id;
            (channel, on)
        };
        changed.into_iter().map(wanted).collect()
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

impl State {
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
        let mut dropped = 0;
        for link in self.links.values_mut() {
            while let Some(item) = link.queue.front().filter(|item| item.is_stale(now, config.max_age)) {
                dropped += item.size();
                link.queue.pop_front();
            }
        }
        self.release(dropped, config);
    }
}
