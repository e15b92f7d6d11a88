//! What the handle and the tasks of a bus share.

mod channels;
mod items;
mod servers;

use crate::builder::{Config, Servers};
use crate::endpoint::Place;
use crate::queue::Queue;
use crate::slots::Slots;
use parking_lot::Mutex;
use sockeye_core::cluster::{Channel, ChannelKind};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Poll, Waker};

/// The number of a link, which is what connects to one server. The first one is there from the beginning: the only one, or
/// in a Redis Cluster the place for what has no server yet, whose task finds the servers.
pub(crate) type LinkId = usize;

pub(crate) const FIRST: LinkId = 0;

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
    /// Channels that are watched, and that a server has taken away, because their slot has moved.
    lost: BTreeSet<Channel>,
    next_link: LinkId,
    /// What was reported last: `None` for a connection, or the cause of its end.
    reported: Option<Option<String>>,
}

#[derive(Debug, Default)]
struct Link {
    queue: Queue,
    /// Channels to subscribe to (`true`), or no longer, on the connection that there is. A new one begins with all of them.
    changed: BTreeMap<Channel, bool>,
    /// There is a connection that takes the changes.
    has_subscriber: bool,
    waker: Option<Waker>,
    /// It is connected and subscribed.
    up: bool,
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
            lost: BTreeSet::new(),
            next_link: FIRST + 1,
            reported: None,
        };
        Shared { servers, config, read: AtomicUsize::new(items::MIN_READ), state: Mutex::new(state) }
    }

    /// Ends all tasks.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let wakers: Vec<_> = state.links.values_mut().filter_map(|link| link.waker.take()).collect();
        drop(state);
        wake(wakers);
    }

    /// Registers the task of a link. Ready if it has to end.
    pub(crate) fn poll_link(&self, id: LinkId, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        let closed = state.closed;
        match state.links.get_mut(&id) {
            Some(link) if !closed => {
                if link.waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
                    link.waker = Some(cx.waker().clone());
                }
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }
}

impl Link {
    /// Notes that a channel was added or removed. Both before the connection has learned of it are no change, so that not more
    /// is noted than there are channels, or were on the connection. Of a stream they are one: it is read from its end again.
    fn change(&mut self, channel: Channel, on: bool) {
        if !self.has_subscriber {
            return;
        }
        match self.changed.entry(channel) {
            Entry::Occupied(entry) if *entry.get() != on && entry.key().kind != ChannelKind::Stream => {
                entry.remove();
            }
            Entry::Occupied(mut entry) => *entry.get_mut() = on,
            Entry::Vacant(entry) => _ = entry.insert(on),
        }
    }
}

impl State {
    fn link(&mut self, id: LinkId) -> Option<&mut Link> {
        self.links.get_mut(&id)
    }
}

/// Wakes tasks. To be called without the lock, because a task may run in place.
fn wake(wakers: impl IntoIterator<Item = Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}
