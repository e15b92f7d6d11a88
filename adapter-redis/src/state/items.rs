//! What waits for Redis, within a budget of bytes.

use super::{FIRST, LinkId, Overflow, Shared, State, wake};
use crate::builder::Config;
use crate::queue::{Command, Count, Flush, Item, Queue};
use bytes::Bytes;
use sockeye_core::cluster::{BusStatus, Channel, ChannelKind, RequestId};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The bytes of entries that one answer should have.
const READ_BYTES: usize = 1 << 20;

/// The most entries in one answer: at first, and if they are small.
pub(super) const MIN_READ: usize = 16;
const MAX_READ: usize = 100;

/// The most keys of lost values that wait for being reported. The others are forgotten.
const MAX_UNSAVED: usize = 100_000;

impl Shared {
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
        let count = Count::new(request);
        self.push_to_all(|| {
            count.expect(1);
            Command::Count(channel.clone(), count.clone())
        });
    }

    pub(crate) fn flush(&self) -> Flush {
        let flush = Flush::new();
        self.push_to_all(|| Command::Flush(flush.part()));
        flush
    }

    /// Puts an item into the queue of each server. It has no size.
    fn push_to_all(&self, mut command: impl FnMut() -> Command) {
        let mut wakers = Vec::new();
        let mut state = self.state.lock();
        let (order, since) = (state.next, Instant::now());
        state.next += 1;
        for id in state.servers() {
            if let Some(link) = state.link(id) {
                link.queue.push_back(Item { order, since, command: command() });
                wakers.extend(link.waker.take());
            }
        }
        drop(state);
        wake(wakers);
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

    /// Puts items that were not sent back into the queue, in their order. If their server is gone, each goes to the one that
    /// it belongs to now.
    pub(crate) fn put_back(&self, id: LinkId, items: Vec<Item>) {
        if items.is_empty() {
            return;
        }
        let (mut changed, mut dropped) = (BTreeSet::new(), Vec::new());
        let mut state = self.state.lock();
        let is_gone = !state.links.contains_key(&id);
        for item in items {
            let to = if is_gone { item.channel().map(|channel| state.slots.link(channel)) } else { Some(id) };
            match to.and_then(|to| state.link(to).map(|link| (to, link))) {
                Some((to, link)) => {
                    link.queue.push_back(item);
                    changed.insert(to);
                }
                // A flush, which waits for nothing there any more.
                None => dropped.push(item),
            }
        }
        let mut wakers = Vec::new();
        for to in changed {
            if let Some(link) = state.link(to) {
                link.queue.make_contiguous().sort_by_key(|item| item.order);
                // The task of this link is at work.
                wakers.extend(if is_gone { link.waker.take() } else { None });
            }
        }
        drop(state);
        wake(wakers);
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

    /// Accounts for items that have been answered or given up.
    pub(crate) fn release(&self, bytes: usize) {
        self.state.lock().release(bytes, &self.config);
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
}

impl State {
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
