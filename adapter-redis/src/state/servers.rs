//! The servers, and whether each is connected.

use super::{FIRST, Link, LinkId, Shared, State, wake};
use crate::endpoint::Place;
use crate::queue::{Command, Count, Item};
use crate::topology::Server;
use sockeye_core::cluster::{BusStatus, Channel, Node};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A link to be started, with its server.
type Started = (LinkId, Place);

impl Shared {
    /// Notes that a link is connected. Returns the status to report.
    pub(crate) fn set_up(&self, id: LinkId) -> Option<BusStatus> {
        let mut state = self.state.lock();
        state.link(id)?.up = true;
        state.connected()
    }

    /// Notes that a link is not connected. Returns the status to report: the first of an outage, and each new cause.
    pub(crate) fn set_down(&self, id: LinkId, cause: &str) -> Option<BusStatus> {
        let mut state = self.state.lock();
        let link = state.link(id)?;
        (link.up, link.has_subscriber, link.changed) = (false, false, BTreeMap::new());
        let news = Some(Some(cause.to_owned()));
        if !state.is_needed(id) || state.reported == news {
            return None;
        }
        state.reported = news;
        Some(BusStatus::Disconnected { cause: cause.to_owned() })
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

    /// Returns the known servers of the Redis Cluster.
    pub(crate) fn places(&self) -> Vec<Place> {
        self.state.lock().links.values().filter_map(|link| link.place.clone()).collect()
    }

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
    /// Returns the links whose subscribers are counted: all servers, or the first one while none is known.
    pub(super) fn servers(&self) -> Vec<LinkId> {
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
            // A server that has taken it away has it no longer.
            if let Some(link) = self.links.get_mut(&before).filter(|_| !lost.contains(&channel)) {
                link.change(channel.clone(), false);
            }
            if let Some(link) = self.links.get_mut(&now) {
                link.change(channel, true);
                link.has_more = link.has_subscriber;
                link.up = false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::builder::{Config, Servers};
    use crate::endpoint::Endpoint;
    use crate::reader::tests::Counts;
    use crate::slots::SLOTS;
    use sockeye_core::cluster::ChannelKind;

    #[test]
    fn a_channel_whose_slot_moves_away_and_back_is_subscribed_to_again() {
        let to = Endpoint::parse("redis://127.0.0.1").unwrap();
        let shared = Shared::new(Servers::Single(to), Config::default());
        let place = |port| Place::Tcp("redis".into(), port);
        let owned_by = |owner: u16| {
            let slots = |port| if port == owner { vec![(0, SLOTS - 1)] } else { Vec::new() };
            let servers = [1, 2].map(|port| Server { place: place(port), slots: slots(port) });
            shared.set_servers(&servers, &Counts::default()).0
        };
        let [(first, _), (second, _)] = owned_by(1)[..] else { panic!("two servers are new") };
        for id in [first, second] {
            assert_eq!(shared.begin(id), []);
        }
        let channel = Channel { kind: ChannelKind::Sharded, name: "c".into() };
        shared.watch(&channel, true);
        assert_eq!(shared.take_changes(first), (vec![(channel.clone(), true)], false));
        shared.handle_moved(first, channel.clone());
        assert_eq!((owned_by(2), owned_by(1)), (vec![], vec![]));
        assert_eq!(shared.take_changes(second), (vec![], true));
        assert_eq!(shared.take_changes(first), (vec![(channel.clone(), true)], true));
        // The servers are known before the channel is taken away.
        owned_by(2);
        shared.handle_moved(first, channel.clone());
        owned_by(1);
        assert_eq!(shared.take_changes(second), (vec![], true));
        assert_eq!(shared.take_changes(first), (vec![(channel, true)], true));
    }
}
