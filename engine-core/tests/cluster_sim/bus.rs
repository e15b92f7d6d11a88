//! A bus like Redis, in memory.

use bytes::Bytes;
use sockeye_core::Time;
use sockeye_core::cluster::{Channel, ChannelKind};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Something on its way to a node.
#[derive(Debug, Clone)]
pub(crate) enum Parcel {
    Message {
        channel: String,
        message: Bytes,
    },
    /// Entries of the stream from this position on.
    Entries {
        from: usize,
    },
    /// The number of subscribers, for the request at this index of the node's list.
    Count {
        request: sockeye_core::cluster::RequestId,
        subscribers: Option<usize>,
    },
}

/// The fields of an entry.
pub(crate) type Entry = Vec<(&'static str, Bytes)>;

/// Subscriptions, links and the stream. Nodes are known by a number that is never used again.
#[derive(Default)]
pub(crate) struct Bus {
    watched: BTreeMap<usize, BTreeSet<Channel>>,
    /// The messages from one node to another, which keep their order.
    links: BTreeMap<(usize, usize), VecDeque<(Time, Parcel)>>,
    pub(crate) stream: Vec<Entry>,
}

impl Bus {
    pub(crate) fn watch(&mut self, node: usize, channel: Channel, on: bool) {
        let watched = self.watched.entry(node).or_default();
        let changed = if on { watched.insert(channel.clone()) } else { watched.remove(&channel) };
        assert!(changed || on, "{channel:?} is unwatched, but was not watched");
    }

    /// Forgets a node: its subscriptions, and what is on its way to it.
    pub(crate) fn remove(&mut self, node: usize) {
        self.watched.remove(&node);
        self.links.retain(|(_, to), _| *to != node);
    }

    pub(crate) fn watches_nothing(&self, node: usize) -> bool {
        self.watched.get(&node).is_none_or(BTreeSet::is_empty)
    }

    /// Returns the nodes that receive a message on a channel, once for each of their subscriptions.
    pub(crate) fn receivers(&self, channel: &Channel) -> Vec<usize> {
        let matches = |watched: &Channel| match watched.kind {
            ChannelKind::Pattern => {
                channel.kind == ChannelKind::Plain
                    && channel.name.starts_with(watched.name.strip_suffix('*').unwrap())
            }
            _ => watched == channel,
        };
        let copies = |(node, watched): (&usize, &BTreeSet<Channel>)| {
            std::iter::repeat_n(*node, watched.iter().filter(|it| matches(it)).count())
        };
        self.watched.iter().flat_map(copies).collect()
    }

    pub(crate) fn send(&mut self, from: usize, to: usize, at: Time, parcel: Parcel) {
        let link = self.links.entry((from, to)).or_default();
        let last = link.back().map_or(Time::ZERO, |(at, _)| *at);
        link.push_back((at.max(last), parcel));
    }

    /// Returns when the next parcel arrives.
    pub(crate) fn next(&self) -> Option<Time> {
        self.links.values().filter_map(|link| link.front()).map(|(at, _)| *at).min()
    }

    /// Takes a parcel that has arrived by `now`, and the node that it is for.
    pub(crate) fn take(&mut self, now: Time) -> Option<(usize, Parcel)> {
        let arrived = |link: &VecDeque<(Time, Parcel)>| link.front().is_some_and(|(at, _)| *at <= now);
        let (link, parcels) =
            self.links.iter_mut().filter(|(_, link)| arrived(link)).min_by_key(|(_, link)| link[0].0)?;
        let to = link.1;
        let (_, parcel) = parcels.pop_front().unwrap();
        self.links.retain(|_, link| !link.is_empty());
        Some((to, parcel))
    }
}
