//! The channels that are watched.

use super::{LinkId, Shared, State, wake};
use sockeye_core::cluster::{Channel, ChannelKind};

impl Shared {
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
            link.change(channel.clone());
            link.waker.take()
        });
        drop(state);
        wake(waker);
    }

    /// Returns the channels of a link that are not streams, and forgets earlier changes.
    pub(crate) fn begin(&self, id: LinkId) -> Vec<Channel> {
        let mut state = self.state.lock();
        if let Some(link) = state.link(id) {
            link.changed.clear();
            link.has_more = false;
            link.has_subscriber = true;
        }
        let State { watched, slots, .. } = &*state;
        let is_ours = |channel: &&Channel| channel.kind != ChannelKind::Stream && slots.link(channel) == id;
        watched.iter().filter(is_ours).cloned().collect()
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

    /// Returns whether a channel is watched by a link.
    pub(crate) fn is_wanted(&self, id: LinkId, channel: &Channel) -> bool {
        let state = self.state.lock();
        state.watched.contains(channel) && state.slots.link(channel) == id
    }

    /// Handles a channel that its server has taken away: its slot has moved.
    pub(crate) fn handle_moved(&self, channel: Channel) {
        self.state.lock().lost.insert(channel);
        self.ask_servers();
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
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::FIRST;
    use super::*;
    use crate::builder::{Config, Servers};
    use crate::endpoint::Endpoint;

    #[test]
    fn changes_are_kept_only_for_a_connection_that_takes_them() {
        let to = Endpoint::parse("redis://127.0.0.1").unwrap();
        let shared = Shared::new(Servers::Single(to), Config::default());
        let channel = |number: u32| Channel { kind: ChannelKind::Sharded, name: number.to_string().into() };
        let toggle = |numbers: std::ops::Range<u32>| {
            for number in numbers {
                shared.watch(&channel(number), true);
                shared.watch(&channel(number), false);
            }
        };
        let kept = || shared.state.lock().link(FIRST).unwrap().changed.len();
        toggle(0..1000);
        shared.watch(&channel(7), true);
        assert_eq!(kept(), 0, "before the first connection");
        assert_eq!(shared.begin(FIRST), [channel(7)]);
        shared.watch(&channel(7), false);
        shared.watch(&channel(8), true);
        let changes = vec![(channel(7), false), (channel(8), true)];
        assert_eq!(shared.take_changes(FIRST), (changes, false));
        shared.watch(&channel(9), true);
        shared.set_down(FIRST, "gone");
        toggle(10..1000);
        assert_eq!(kept(), 0, "during an outage");
        assert_eq!(shared.begin(FIRST), [channel(8), channel(9)]);
    }
}
