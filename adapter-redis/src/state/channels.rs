//! The channels that are watched.

use super::{Link, LinkId, Shared, State, wake};
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
        if !on && state.lost.remove(channel) {
            // No connection has it.
            return;
        }
        let to = state.slots.link(channel);
        let waker = state.link(to).and_then(|link| {
            link.change(channel.clone(), on);
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
        let State { watched, slots, lost, .. } = &mut *state;
        let is_ours = |channel: &&Channel| channel.kind != ChannelKind::Stream && slots.link(channel) == id;
        // The connection begins with those, too, that were taken away from the one before.
        lost.retain(|channel| !is_ours(&channel));
        watched.iter().filter(is_ours).cloned().collect()
    }

    /// Takes the channels that have changed, each with whether it is to be subscribed to.
    ///
    /// Also returns whether some channels were another link's before, also if they are no longer watched.
    pub(crate) fn take_changes(&self, id: LinkId) -> (Vec<(Channel, bool)>, bool) {
        let mut state = self.state.lock();
        let is_changed = |link: &&mut Link| link.has_more || !link.changed.is_empty();
        let Some(link) = state.links.get_mut(&id).filter(is_changed) else { return (Vec::new(), false) };
        let changed = std::mem::take(&mut link.changed);
        let has_more = std::mem::take(&mut link.has_more);
        let State { watched, slots, .. } = &*state;
        let wanted = |channel: Channel| {
            let on = watched.contains(&channel) && slots.link(&channel) == id;
            (channel, on)
        };
        (changed.into_keys().map(wanted).collect(), has_more)
    }

    /// Returns whether some of the changes to be taken are channels that were another link's before.
    pub(crate) fn has_more(&self, id: LinkId) -> bool {
        self.state.lock().links.get(&id).is_some_and(|link| link.has_more)
    }

    /// Handles a channel that its server has taken away from a link: its slot has moved.
    pub(crate) fn handle_moved(&self, id: LinkId, channel: Channel) {
        {
            let State { watched, links, slots, lost, .. } = &mut *self.state.lock();
            // If it was to be taken away anyway, that is done: when it is watched again, it has to be subscribed to.
            if let Some(link) = links.get_mut(&id) {
                link.changed.remove(&channel);
            }
            if !watched.contains(&channel) || slots.link(&channel) != id {
                return;
            }
            lost.insert(channel);
        }
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

    fn shared() -> Shared {
        let to = Endpoint::parse("redis://127.0.0.1").unwrap();
        let shared = Shared::new(Servers::Single(to), Config::default());
        shared.begin(FIRST);
        shared
    }

    fn channel(kind: ChannelKind, number: u32) -> Channel {
        Channel { kind, name: number.to_string().into() }
    }

    #[test]
    fn changes_are_kept_only_for_a_connection_that_takes_them() {
        let to = Endpoint::parse("redis://127.0.0.1").unwrap();
        let shared = Shared::new(Servers::Single(to), Config::default());
        let [a, b, c] = [7, 8, 9].map(|number| channel(ChannelKind::Sharded, number));
        let kept = || shared.state.lock().links[&FIRST].changed.len();
        shared.watch(&a, true);
        assert_eq!(kept(), 0, "before the first connection");
        assert_eq!(shared.begin(FIRST), std::slice::from_ref(&a));
        shared.watch(&a, false);
        shared.watch(&b, true);
        assert_eq!(shared.take_changes(FIRST), (vec![(a, false), (b.clone(), true)], false));
        shared.watch(&c, true);
        shared.set_down(FIRST, "gone");
        shared.watch(&c, false);
        assert_eq!(kept(), 0, "during an outage");
        assert_eq!(shared.begin(FIRST), [b]);
    }

    #[test]
    fn a_room_that_comes_and_goes_before_the_connection_learns_of_it_is_no_change() {
        let shared = shared();
        for kind in [ChannelKind::Plain, ChannelKind::Pattern, ChannelKind::Sharded] {
            let kept = channel(kind, 7);
            shared.watch(&kept, true);
            shared.take_changes(FIRST);
            for number in 0..1000 {
                [true, false].iter().for_each(|&on| shared.watch(&channel(kind, number), on));
                [false, true].iter().for_each(|&on| shared.watch(&kept, on));
            }
            let state = shared.state.lock();
            assert_eq!(state.links[&FIRST].changed.len(), 0);
            drop(state);
            shared.watch(&kept, false);
            assert_eq!(shared.take_changes(FIRST), (vec![(kept, false)], false));
        }
        // It is read from its end again.
        let stream = channel(ChannelKind::Stream, 7);
        [true, false, true, false, true].iter().for_each(|&on| shared.watch(&stream, on));
        assert_eq!(shared.take_changes(FIRST), (vec![(stream, true)], false));
    }

    #[test]
    fn a_channel_that_was_taken_away_is_subscribed_to_again_if_it_is_watched_again() {
        let (shared, channel) = (shared(), channel(ChannelKind::Sharded, 7));
        shared.watch(&channel, true);
        shared.take_changes(FIRST);
        shared.handle_moved(FIRST, channel.clone());
        shared.watch(&channel, false);
        assert_eq!(shared.take_changes(FIRST), (vec![], false), "no connection has it");
        for _ in 0..2 {
            shared.watch(&channel, true);
            shared.watch(&channel, false);
        }
        shared.watch(&channel, true);
        assert_eq!(shared.take_changes(FIRST), (vec![(channel.clone(), true)], false));
        // It is taken away while it is no longer wanted.
        shared.watch(&channel, false);
        shared.take_asked();
        shared.handle_moved(FIRST, channel.clone());
        assert!(shared.state.lock().lost.is_empty() && !shared.take_asked());
        shared.watch(&channel, true);
        assert_eq!(shared.take_changes(FIRST), (vec![(channel, true)], false));
    }

    #[test]
    fn a_channel_that_was_taken_away_before_its_connection_ended_is_left_on_the_next_one() {
        let (shared, channel) = (shared(), channel(ChannelKind::Sharded, 7));
        shared.watch(&channel, true);
        shared.take_changes(FIRST);
        shared.handle_moved(FIRST, channel.clone());
        shared.set_down(FIRST, "gone");
        assert_eq!(shared.begin(FIRST), std::slice::from_ref(&channel));
        shared.watch(&channel, false);
        assert_eq!(shared.take_changes(FIRST), (vec![(channel, false)], false));
    }
}
