//! A bus over a network that delays, drops and is cut, by the clock of the test and from a seed.

use bytes::Bytes;
use sockeye::cluster::{Bus, BusStatus, Channel, ChannelKind, Node, RequestId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

/// The network. Times are in milliseconds.
#[derive(Clone, Default)]
pub(crate) struct Net(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    now: u64,
    random: u64,
    nodes: BTreeMap<usize, Entry>,
    /// What is under way, by its arrival and a number.
    under_way: BTreeMap<(u64, u64), (usize, Item)>,
    sent: u64,
    /// The last arrival of a message from one node to another on a channel: later ones do not overtake it.
    last: BTreeMap<(usize, usize, Channel), u64>,
    streams: BTreeMap<Channel, Vec<Written>>,
    /// The operation that the test is doing, with which its messages are marked.
    pub(crate) mark: Option<usize>,
}

/// An entry of a stream, with its mark.
type Written = (Arc<[(&'static str, Bytes)]>, Option<usize>);

struct Entry {
    node: Option<Weak<dyn Node>>,
    watched: BTreeSet<Channel>,
    is_connected: bool,
    /// The number of entries of each stream that were read.
    read: BTreeMap<Channel, usize>,
    /// What waits for the connection.
    held: Vec<(Channel, Written)>,
}

#[derive(Clone)]
enum Item {
    Message { channel: Channel, message: Bytes, mark: Option<usize> },
    Entries(Channel),
    Count { request: RequestId, subscribers: Option<usize> },
    Status(BusStatus),
}

/// Something that has arrived at a node.
pub(crate) struct Arrived {
    pub(crate) at: usize,
    pub(crate) mark: Option<usize>,
    deliver: Box<dyn FnOnce()>,
}

impl Arrived {
    pub(crate) fn deliver(self) {
        (self.deliver)();
    }
}

/// The bus of one node.
pub(crate) struct SimBus {
    net: Net,
    at: usize,
}

impl Net {
    pub(crate) fn new(seed: u64) -> Net {
        let net = Net::default();
        net.state().random = seed | 1;
        net
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(crate) fn bus(&self, at: usize) -> SimBus {
        let entry = Entry {
            node: None,
            watched: BTreeSet::new(),
            is_connected: true,
            read: BTreeMap::new(),
            held: Vec::new(),
        };
        self.state().nodes.insert(at, entry);
        SimBus { net: self.clone(), at }
    }

    pub(crate) fn random(&self, below: u64) -> u64 {
        self.state().random(below)
    }

    pub(crate) fn set_now(&self, now: u64) {
        self.state().now = now;
    }

    /// Marks what is sent by `f`.
    pub(crate) fn marked<R>(&self, mark: usize, f: impl FnOnce() -> R) -> R {
        self.state().mark = Some(mark);
        let result = f();
        self.state().mark = None;
        result
    }

    pub(crate) fn is_connected(&self, at: usize) -> bool {
        self.state().nodes.get(&at).is_some_and(|node| node.is_connected)
    }

    /// Cuts a node off from the broker, or connects it again.
    pub(crate) fn connect(&self, at: usize, on: bool) {
        let state = &mut *self.state();
        let Some(entry) = state.nodes.get_mut(&at) else { return };
        if entry.is_connected == on {
            return;
        }
        entry.is_connected = on;
        if !on {
            let status = BusStatus::Disconnected { cause: "cut".into() };
            return state.send(at, Item::Status(status), 0);
        }
        for (stream, written) in std::mem::take(&mut entry.held) {
            state.write(&stream, written);
        }
        state.send(at, Item::Status(BusStatus::Connected), 1);
        let streams: Vec<_> = state.streams.keys().cloned().collect();
        streams.into_iter().for_each(|stream| state.send(at, Item::Entries(stream), 1));
    }

    /// Takes what arrives next, if that is due.
    pub(crate) fn arrive(&self) -> Option<Arrived> {
        loop {
            let state = &mut *self.state();
            let ((due, _), _) = state.under_way.first_key_value()?;
            if *due > state.now {
                return None;
            }
            let (_, (at, item)) = state.under_way.pop_first()?;
            if let Some(arrived) = state.arrive(at, item) {
                return Some(arrived);
            }
        }
    }
}

impl State {
    fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    fn send(&mut self, to: usize, item: Item, delay: u64) {
        self.sent += 1;
        self.under_way.insert((self.now + delay, self.sent), (to, item));
    }

    fn write(&mut self, stream: &Channel, written: Written) {
        self.streams.entry(stream.clone()).or_default().push(written);
        let nodes: Vec<_> = self.nodes.keys().copied().collect();
        for to in nodes {
            let delay = self.random(30);
            self.send(to, Item::Entries(stream.clone()), delay);
        }
    }

    fn watchers(&self, channel: &Channel) -> Vec<usize> {
        let covers = |known: &Channel| {
            known == channel || known.kind == ChannelKind::Pattern && known.includes(&channel.name)
        };
        let watchers =
            self.nodes.iter().filter(|(_, node)| node.is_connected && node.watched.iter().any(covers));
        watchers.map(|(at, _)| *at).collect()
    }

    fn arrive(&mut self, at: usize, item: Item) -> Option<Arrived> {
        let repeats = self.random(4) == 0;
        let entry = self.nodes.get_mut(&at)?;
        let node = entry.node.clone()?.upgrade()?;
        let (mark, deliver): (_, Box<dyn FnOnce()>) = match item {
            Item::Message { channel, message, mark } if entry.is_connected => {
                (mark, Box::new(move || node.handle_message(&channel.name, message)))
            }
            Item::Entries(stream) if entry.is_connected && entry.watched.contains(&stream) => {
                let read = entry.read.entry(stream.clone()).or_default();
                let all = self.streams.get(&stream).map_or(&[][..], |entries| entries);
                let (fields, mark) = all.get(*read)?.clone();
                *read += 1;
                let number = *read;
                if number < all.len() {
                    self.send(at, Item::Entries(stream.clone()), 0);
                }
                (
                    mark,
                    Box::new(move || {
                        // An entry may come twice.
                        for _ in 0..=usize::from(repeats) {
                            node.handle_entry(&stream.name, &format!("5-{number}"), &fields);
                        }
                    }),
                )
            }
            Item::Count { request, subscribers } => {
                (None, Box::new(move || node.handle_count(&request, subscribers)))
            }
            Item::Status(status) => (None, Box::new(move || node.handle_status(status))),
            _ => return None,
        };
        Some(Arrived { at, mark, deliver })
    }
}

impl Bus for SimBus {
    fn attach(&self, node: Weak<dyn Node>) {
        let state = &mut *self.net.state();
        if let Some(entry) = state.nodes.get_mut(&self.at) {
            entry.node = Some(node);
            state.send(self.at, Item::Status(BusStatus::Connected), 0);
        }
    }

    fn watch(&self, channel: &Channel, on: bool) {
        let state = &mut *self.net.state();
        let end = state.streams.get(channel).map_or(0, Vec::len);
        let Some(entry) = state.nodes.get_mut(&self.at) else { return };
        if !on {
            entry.watched.remove(channel);
            entry.read.remove(channel);
        } else if entry.watched.insert(channel.clone()) {
            entry.read.insert(channel.clone(), end);
        }
    }

    fn publish(&self, channel: &Channel, message: Bytes) {
        let state = &mut *self.net.state();
        if !state.nodes.get(&self.at).is_some_and(|entry| entry.is_connected) {
            return;
        }
        for to in state.watchers(channel) {
            // What a node publishes comes back to it.
            let due = state.now + state.random(40);
            let last = state.last.entry((self.at, to, channel.clone())).or_default();
            *last = due.max(*last);
            let delay = *last - state.now;
            let item = Item::Message { channel: channel.clone(), message: message.clone(), mark: state.mark };
            state.send(to, item, delay);
        }
    }

    fn append(&self, stream: &Channel, fields: Vec<(&'static str, Bytes)>) {
        let state = &mut *self.net.state();
        let written = (fields.into(), state.mark);
        match state.nodes.get_mut(&self.at) {
            Some(entry) if !entry.is_connected => entry.held.push((stream.clone(), written)),
            _ => state.write(stream, written),
        }
    }

    fn count(&self, channel: &Channel, request: RequestId) {
        let state = &mut *self.net.state();
        let is_connected = state.nodes.get(&self.at).is_some_and(|entry| entry.is_connected);
        let subscribers = is_connected.then(|| state.watchers(channel).len());
        let delay = state.random(20);
        state.send(self.at, Item::Count { request, subscribers }, delay);
    }
}

impl Drop for SimBus {
    fn drop(&mut self) {
        let entry = self.net.state().nodes.remove(&self.at);
        drop(entry);
    }
}
