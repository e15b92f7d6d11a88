//! The own requests that wait for other nodes.

use super::event::{Event, RequestId};
use super::limits::ClusterLimits;
use crate::Time;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use smol_str::SmolStr;

/// The table of requests, by id and by deadline.
#[derive(Debug, Default)]
pub(super) struct Requests {
    by_id: BTreeMap<SmolStr, Request>,
    by_deadline: BTreeSet<(Time, SmolStr)>,
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The acknowledgements of clients.
    Clients,
    /// The answer of each server.
    ServerSide,
    /// The sockets of each server.
    Sockets,
    /// The number of servers.
    Servers,
}

/// A request that is not over.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) kind: Kind,
    pub(super) namespace: SmolStr,
    deadline: Time,
    /// The number of nodes that receive the request, if the bus has said it.
    expected: Option<Expected>,
    /// Nodes send heartbeats, so that their names are enough if the bus cannot count them.
    is_named: bool,
    /// The nodes that were known when the request was sent, and have not gone.
    asked: BTreeSet<SmolStr>,
    /// Those of them that have gone without a complete answer.
    gone: Vec<SmolStr>,
    /// The nodes that have answered, by name.
    nodes: BTreeMap<SmolStr, Progress>,
    /// The nodes that have answered without their name, together.
    nameless: Progress,
    /// The number of answers to one request so far.
    answers: usize,
    /// The bytes of the sockets that were reported so far.
    fetched: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Count(usize),
    /// The bus could not count them.
    Unknown,
}

/// The answers of one node, or of all nodes without a name.
#[derive(Debug, Default)]
struct Progress {
    /// The number of nodes that have answered, or have said how many clients they ask.
    reports: usize,
    /// The number of clients that are asked.
    announced: usize,
    /// The number of clients that have acknowledged.
    acknowledged: usize,
    /// Of the reports, those that exceeded a limit.
    refused: usize,
}

impl Progress {
    /// Returns whether nothing is to be expected any more of the nodes that have answered.
    fn is_complete(&self) -> bool {
        self.acknowledged >= self.announced
    }

    /// Returns whether everything that was answered is known.
    fn is_whole(&self) -> bool {
        self.is_complete() && self.refused == 0
    }
}

impl Request {
    fn progress(&mut self, node: Option<&SmolStr>) -> &mut Progress {
        match node {
            Some(node) => self.nodes.entry(node.clone()).or_default(),
            None => &mut self.nameless,
        }
    }

    /// Returns the number of nodes that have answered and were not known before.
    fn strangers(&self) -> usize {
        let is_stranger = |(node, progress): &(&SmolStr, &Progress)| {
            progress.reports > 0 && !self.asked.contains(*node) && !self.gone.contains(node)
        };
        self.nodes.iter().filter(is_stranger).count() + self.nameless.reports
    }

    fn has_reported(&self, node: &SmolStr) -> bool {
        self.nodes.get(node).is_some_and(|progress| progress.reports > 0)
    }

    /// Returns whether a node is one too many of those that have answered.
    fn has_too_many(&self, node: Option<&SmolStr>, limits: &ClusterLimits) -> bool {
        let is_known = node.is_some_and(|node| self.nodes.contains_key(node));
        !is_known && self.nodes.len() + self.nameless.reports >= limits.max_nodes
    }

    /// Returns the number of nodes whose names are unknown and that have not answered.
    fn unknown(&self) -> usize {
        match self.expected {
            Some(Expected::Count(count)) => {
                let known = self.asked.len() + self.gone.len();
                count.saturating_sub(known).saturating_sub(self.strangers())
            }
            // One at least, because it is not known that there is none.
            Some(Expected::Unknown) => usize::from(!self.is_named),
            None => 1,
        }
    }

    /// Returns whether every node has answered completely.
    fn is_over(&self) -> bool {
        let Some(expected) = self.expected else { return false };
        if self.kind == Kind::Servers {
            return true;
        }
        if !self.nameless.is_complete() || !self.nodes.values().all(Progress::is_complete) {
            return false;
        }
        let reports =
            self.nodes.values().filter(|progress| progress.reports > 0).count() + self.nameless.reports;
        let has_all = match expected {
            // A node that was killed is not counted any more, though its silence has not lasted long enough.
            Expected::Count(count) => reports >= count,
            Expected::Unknown => false,
        };
        has_all || (self.asked.iter().all(|node| self.has_reported(node)) && self.unknown() == 0)
    }

    fn finish(self, id: SmolStr) -> Event {
        if self.kind == Kind::Servers {
            let servers = match self.expected {
                Some(Expected::Count(others)) => others + 1,
                _ => self.asked.len() + 1,
            };
            return Event::Counted { request: RequestId(id), servers };
        }
        // Of those that do not tell their names, one at least has left something out.
        let unknown = self.unknown() + self.nameless.refused.max(usize::from(!self.nameless.is_complete()));
        let is_silent =
            |node: &SmolStr| !self.nodes.get(node).is_some_and(|it| it.reports > 0 && it.is_whole());
        let mut silent: Vec<_> = self.asked.iter().filter(|node| is_silent(node)).cloned().collect();
        let is_incomplete = |node: &&SmolStr| !self.asked.contains(*node) && !self.gone.contains(node);
        let strangers = self.nodes.iter().filter(|(_, progress)| !progress.is_whole());
        silent.extend(strangers.map(|(node, _)| node).filter(is_incomplete).cloned());
        silent.extend(self.gone);
        Event::Finished { request: RequestId(id), silent, unknown }
    }
}

/// The effect of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accepted {
    Yes,
    /// The request is unknown or over, or the node has answered it before.
    Ignored,
    /// There are more answers than allowed.
    TooMany,
    /// It is the answer of a node, which is not expected any more, and takes more bytes than are left for it.
    TooLong,
}

impl Requests {
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn contains(&self, id: &str) -> bool {
        self.by_id.contains_key(id)
    }

    /// Adds a request to the nodes that are known.
    pub(super) fn insert(
        &mut self,
        id: SmolStr,
        kind: Kind,
        namespace: SmolStr,
        deadline: Time,
        (asked, is_named): (BTreeSet<SmolStr>, bool),
    ) {
        self.by_deadline.insert((deadline, id.clone()));
        let request = Request {
            kind,
            namespace,
            deadline,
            expected: None,
            is_named,
            asked,
            gone: Vec::new(),
            nodes: BTreeMap::new(),
            nameless: Progress::default(),
            answers: 0,
            fetched: 0,
        };
        self.by_id.insert(id, request);
    }

    pub(super) fn remove(&mut self, id: &str) -> Option<Request> {
        let (id, request) = self.by_id.remove_entry(id)?;
        self.by_deadline.remove(&(request.deadline, id));
        Some(request)
    }

    /// Ends a request, and returns the event that says so.
    pub(super) fn finish(&mut self, id: &str) -> Option<Event> {
        self.remove(id).map(|request| request.finish(id.into()))
    }

    /// Ends a request if every node has answered.
    pub(super) fn finish_if_over(&mut self, id: &str) -> Option<Event> {
        if self.by_id.get(id)?.is_over() { self.finish(id) } else { None }
    }

    /// Sets the number of nodes that receive a request; `None` if it is not known.
    pub(super) fn expect(&mut self, id: &str, count: Option<usize>) {
        if let Some(request) = self.by_id.get_mut(id) {
            request.expected = Some(count.map_or(Expected::Unknown, Expected::Count));
        }
    }

    /// Notes the complete answer of a node, or the number of clients that it asks. A node answers once.
    pub(super) fn report(
        &mut self,
        (id, kind): (&str, Kind),
        namespace: &str,
        node: Option<&SmolStr>,
        clients: usize,
        limits: &ClusterLimits,
    ) -> Accepted {
        let Some(request) = self.get(id, kind, namespace) else { return Accepted::Ignored };
        if node.is_some_and(|node| request.has_reported(node)) {
            return Accepted::Ignored;
        }
        if request.has_too_many(node, limits) {
            return Accepted::TooMany;
        }
        let progress = request.progress(node);
        progress.reports += 1;
        progress.announced = progress.announced.saturating_add(clients);
        Accepted::Yes
    }

    /// Notes the answer of a node whose sockets take some bytes.
    pub(super) fn report_sockets(
        &mut self,
        id: &str,
        namespace: &str,
        node: Option<&SmolStr>,
        bytes: usize,
        limits: &ClusterLimits,
    ) -> Accepted {
        let accepted = self.report((id, Kind::Sockets), namespace, node, 0, limits);
        let Some(request) = self.by_id.get_mut(id).filter(|_| accepted == Accepted::Yes) else {
            return accepted;
        };
        let fetched = request.fetched.saturating_add(bytes);
        if fetched > limits.max_fetched {
            request.progress(node).refused += 1;
            return Accepted::TooLong;
        }
        request.fetched = fetched;
        Accepted::Yes
    }

    /// Notes the acknowledgement of a client. It is accepted even if the number of clients of its node was lost.
    pub(super) fn acknowledge(
        &mut self,
        id: &str,
        namespace: &str,
        node: Option<&SmolStr>,
        limits: &ClusterLimits,
    ) -> Accepted {
        let Some(request) = self.get(id, Kind::Clients, namespace) else { return Accepted::Ignored };
        if request.answers >= limits.max_answers || request.has_too_many(node, limits) {
            return Accepted::TooMany;
        }
        let progress = request.progress(node);
        if progress.reports > 0 && progress.is_complete() {
            return Accepted::TooMany;
        }
        progress.acknowledged += 1;
        request.answers += 1;
        Accepted::Yes
    }

    fn get(&mut self, id: &str, kind: Kind, namespace: &str) -> Option<&mut Request> {
        self.by_id.get_mut(id).filter(|request| request.kind == kind && request.namespace == namespace)
    }

    /// Notes that nothing is to be expected of a node any more. Returns the requests that are over because of that.
    pub(super) fn forget_node(&mut self, namespace: &str, node: &SmolStr) -> Vec<SmolStr> {
        let mut over = Vec::new();
        for (id, request) in self.by_id.iter_mut().filter(|(_, request)| request.namespace == namespace) {
            let was_asked = request.asked.remove(node);
            let mut is_complete = request.has_reported(node);
            if let Some(progress) = request.nodes.get_mut(node) {
                is_complete &= progress.is_whole();
                progress.announced = progress.acknowledged;
            }
            let is_concerned = was_asked || request.nodes.contains_key(node);
            // A node that was lost may still say goodbye.
            if is_concerned && !is_complete && !request.gone.contains(node) {
                request.gone.push(node.clone());
            }
            if request.is_over() {
                over.push(id.clone());
            }
        }
        over
    }

    /// Returns the requests of a namespace.
    pub(super) fn of_namespace(&self, namespace: &str) -> Vec<SmolStr> {
        let own = self.by_id.iter().filter(|(_, request)| request.namespace == namespace);
        own.map(|(id, _)| id.clone()).collect()
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.by_deadline.first().map(|(deadline, _)| *deadline)
    }

    /// Ends the request whose deadline has come first.
    pub(super) fn take_expired(&mut self, now: Time) -> Option<Event> {
        let (deadline, id) = self.by_deadline.first()?;
        if *deadline > now {
            return None;
        }
        let id = id.clone();
        self.finish(&id)
    }
}
