//! The other nodes with a namespace, which are known by their heartbeats.

use crate::Time;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;
use smol_str::SmolStr;

/// The other nodes with one namespace, and when each was heard last.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    heard: BTreeMap<SmolStr, Time>,
}

/// The effect of a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    New,
    Known,
    /// There are too many nodes.
    Full,
}

impl Nodes {
    pub(super) fn iter(&self) -> impl Iterator<Item = &SmolStr> {
        self.heard.keys()
    }

    pub(super) fn names(&self) -> BTreeSet<SmolStr> {
        self.heard.keys().cloned().collect()
    }

    /// Notes a heartbeat of a node.
    pub(super) fn beat(&mut self, now: Time, node: &SmolStr, limit: usize) -> Heard {
        if self.touch(now, node) {
            return Heard::Known;
        }
        if self.heard.len() >= limit {
            return Heard::Full;
        }
        self.heard.insert(node.clone(), now);
        Heard::New
    }

    /// Notes a message of a node, which counts as a heartbeat of a node that sends them. Returns whether it is one.
    pub(super) fn touch(&mut self, now: Time, node: &SmolStr) -> bool {
        match self.heard.get_mut(node) {
            Some(heard) => {
                *heard = now.max(*heard);
                true
            }
            None => false,
        }
    }

    pub(super) fn remove(&mut self, node: &SmolStr) -> bool {
        self.heard.remove(node).is_some()
    }

    /// Removes the nodes that have been silent for `timeout`.
    pub(super) fn take_silent(&mut self, now: Time, timeout: Duration) -> Vec<SmolStr> {
        let is_silent = |heard: Time| heard + timeout <= now;
        let silent: Vec<_> =
            self.heard.iter().filter(|(_, heard)| is_silent(**heard)).map(|(node, _)| node.clone()).collect();
        self.heard.retain(|_, heard| !is_silent(*heard));
        silent
    }

    /// Returns when the first node will have been silent for `timeout`.
    pub(super) fn next_deadline(&self, timeout: Duration) -> Option<Time> {
        self.heard.values().min().map(|heard| *heard + timeout)
    }
}
