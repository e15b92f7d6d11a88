//! A node with its local sockets, as a server has them.

use sockeye_core::cluster::{Cluster, ClusterConfig, Dialect, Event, Reply, RequestId, SocketList};
use sockeye_core::socketio::{Encoder, OwnedArgs, Rooms, Target};
use sockeye_core::{Random, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub(crate) const NAMESPACE: &str = "/sim";

/// A local socket.
#[derive(Default)]
pub(crate) struct Socket {
    pub(crate) rooms: BTreeSet<String>,
    /// The numbers of the broadcasts that have arrived, by their sender.
    pub(crate) received: BTreeMap<usize, Vec<u64>>,
}

/// An own request, and what has come of it.
pub(crate) struct Asked {
    pub(crate) deadline: Time,
    pub(crate) started: Time,
    /// The number of answers that are right if nothing is lost.
    pub(crate) expected: usize,
    pub(crate) clients: usize,
    pub(crate) answers: usize,
    pub(crate) sockets: BTreeSet<String>,
    pub(crate) finished: Option<(Time, usize)>,
}

pub(crate) struct Node {
    pub(crate) cluster: Cluster,
    pub(crate) sockets: BTreeMap<String, Socket>,
    pub(crate) requests: BTreeMap<RequestId, Asked>,
    /// Sends and hears no heartbeats, like the adapters of Node.
    pub(crate) is_quiet: bool,
    pub(crate) is_connected: bool,
    /// The position in the stream.
    pub(crate) read: usize,
    /// The number of broadcasts sent so far.
    pub(crate) sent: u64,
}

pub(crate) fn target<'a>(rooms: impl IntoIterator<Item = &'a str>, except: Option<&str>) -> Target {
    let mut target = Target::default();
    rooms.into_iter().for_each(|room| target.rooms.insert(room));
    except.into_iter().for_each(|room| target.except.insert(room));
    target
}

impl Socket {
    pub(crate) fn is_in(&self, target: &Target) -> bool {
        let has = |rooms: &Rooms| rooms.iter().any(|room| self.rooms.contains(room));
        (target.rooms.is_empty() || has(&target.rooms)) && !has(&target.except)
    }
}

impl Node {
    pub(crate) fn new(now: Time, dialect: Dialect, number: usize, seed: u64, is_quiet: bool) -> Node {
        let mut bytes = [0; 20];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        bytes[8..16].copy_from_slice(&(number as u64).to_be_bytes());
        let mut cluster = Cluster::new(ClusterConfig::new(dialect), Random::from_seed(bytes));
        cluster.add_namespace(now, NAMESPACE);
        let mut node = Node {
            cluster,
            sockets: BTreeMap::new(),
            requests: BTreeMap::new(),
            is_quiet,
            is_connected: true,
            read: 0,
            sent: 0,
        };
        for at in 0..3 {
            let id = format!("{number:0>19}{at}");
            let rooms = [format!("room{at}"), format!("node{number}"), id.clone()];
            node.sockets.insert(id.clone(), Socket::default());
            rooms.iter().for_each(|room| node.join(&id, room));
        }
        node
    }

    fn join(&mut self, id: &str, room: &str) {
        let is_new = !self.sockets.values().any(|socket| socket.rooms.contains(room));
        if self.sockets.get_mut(id).unwrap().rooms.insert(room.into()) && is_new {
            self.cluster.create_room(NAMESPACE, room);
        }
    }

    fn leave(&mut self, id: &str, room: &str) {
        let has_left = self.sockets.get_mut(id).unwrap().rooms.remove(room);
        if has_left && !self.sockets.values().any(|socket| socket.rooms.contains(room)) {
            self.cluster.delete_room(NAMESPACE, room);
        }
    }

    pub(crate) fn change_rooms(&mut self, target: &Target, rooms: &Rooms, joins: bool) {
        let selected: Vec<_> = self.selected(target);
        for id in selected {
            for room in rooms.iter() {
                if joins { self.join(&id, room) } else { self.leave(&id, room) }
            }
        }
    }

    pub(crate) fn selected(&self, target: &Target) -> Vec<String> {
        let selected = self.sockets.iter().filter(|(_, socket)| socket.is_in(target));
        selected.map(|(id, _)| id.clone()).collect()
    }

    /// Delivers broadcast `number` of a node to the local sockets.
    pub(crate) fn deliver(&mut self, target: &Target, from: usize, number: u64) {
        for socket in self.sockets.values_mut().filter(|socket| socket.is_in(target)) {
            let received = socket.received.entry(from).or_default();
            assert!(
                received.last().is_none_or(|last| *last < number),
                "{number} of {from} after {received:?}"
            );
            received.push(number);
        }
    }

    /// Does what the cluster asks for, as a server does.
    pub(crate) fn handle_events(&mut self, now: Time) {
        while let Some(event) = self.cluster.poll_event() {
            match event {
                Event::Broadcast { target, event, reply, .. } => {
                    self.handle_broadcast(&target, &event, reply)
                }
                Event::Join { target, rooms, .. } => self.change_rooms(&target, &rooms, true),
                Event::Leave { target, rooms, .. } => self.change_rooms(&target, &rooms, false),
                Event::Fetch { target, reply, .. } => {
                    let mut list = SocketList::new();
                    for id in self.selected(&target) {
                        let rooms = self.sockets[&id].rooms.iter().map(String::as_str);
                        list.push(&id, "{}", rooms, None);
                    }
                    self.cluster.reply_sockets(&reply, list);
                }
                Event::ServerSide { event, reply, .. } => {
                    let args = event.to_args().unwrap();
                    if let Some(reply) = reply {
                        self.cluster.reply_answer(&reply, args.as_args().into());
                    }
                }
                Event::Asked { request, clients } => self.open(&request).clients += clients,
                Event::Answer { request, .. } => self.open(&request).answers += 1,
                Event::Sockets { request, sockets } => {
                    for socket in sockets.iter() {
                        assert!(
                            self.open(&request).sockets.insert(socket.id.to_string()),
                            "{} twice",
                            socket.id
                        );
                    }
                }
                Event::Finished { request, silent, unknown } => {
                    let asked = self.open(&request);
                    assert!(now <= asked.deadline);
                    asked.finished = Some((now, silent.len() + unknown));
                }
                Event::NodeJoined { node, .. } => assert_ne!(node, self.cluster.uid()),
                Event::NodeLeft { .. } | Event::NodeLost { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn handle_broadcast(
        &mut self,
        target: &Target,
        event: &sockeye_core::cluster::BusEvent,
        reply: Option<Reply>,
    ) {
        let mut encoder = Encoder::new();
        event.encode(&mut encoder, NAMESPACE, None, None).unwrap();
        let Some(reply) = reply else {
            let (from, number): (usize, u64) = event.to_args().unwrap().as_args().deserialize().unwrap();
            return self.deliver(target, from, number);
        };
        let selected = self.selected(target);
        self.cluster.reply_clients(&reply, selected.len());
        for id in selected {
            let mut args = OwnedArgs::new();
            args.push(&id).unwrap();
            args.push(&"the second argument is not sent").unwrap();
            self.cluster.reply_answer(&reply, args.as_args().into());
        }
    }

    /// Returns a request that is not over: an event about another one would be wrong.
    fn open(&mut self, request: &RequestId) -> &mut Asked {
        let asked = self.requests.get_mut(request).unwrap();
        assert_eq!(asked.finished, None, "an event after the end of {request}");
        asked
    }

    pub(crate) fn asked(&mut self, request: RequestId, now: Time, timeout: Duration, expected: usize) {
        let asked = Asked {
            deadline: now + timeout,
            started: now,
            expected,
            clients: 0,
            answers: 0,
            sockets: BTreeSet::new(),
            finished: None,
        };
        self.requests.insert(request, asked);
    }
}
