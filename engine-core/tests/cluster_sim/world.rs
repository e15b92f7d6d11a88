//! The nodes, the bus and the clock, and what is always true of them.

use super::bus::{Bus, Parcel};
use super::node::{NAMESPACE, Node, target};
use sockeye_core::Time;
use sockeye_core::cluster::{BusError, Cluster, Command, Dialect};
use sockeye_core::socketio::{Encoder, Flags, OwnedArgs, Rooms, Target};
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Faults {
    /// Messages are delayed and reordered, but none is lost.
    None,
    All,
}

/// A message takes at most this long.
const DELAY: Duration = Duration::from_millis(200);
const TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) struct World {
    now: Time,
    dialect: Dialect,
    seed: u64,
    random: u64,
    faults: Faults,
    bus: Bus,
    nodes: BTreeMap<usize, Node>,
    next: usize,
    steps: usize,
    /// The broadcasts with the targets, by sender and number.
    broadcasts: Vec<(usize, u64, Target)>,
    /// The names of nodes that were killed or closed.
    dead: Vec<String>,
}

impl World {
    pub(crate) fn new(dialect: Dialect, seed: u64, faults: Faults) -> World {
        let mut world = World {
            now: Time::from_origin(Duration::from_secs(1)),
            dialect,
            seed,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            faults,
            bus: Bus::default(),
            nodes: BTreeMap::new(),
            next: 0,
            steps: 0,
            broadcasts: Vec::new(),
            dead: Vec::new(),
        };
        for _ in 0..2 + seed % 6 {
            world.start();
        }
        // Everybody knows everybody.
        world.pass(Duration::from_secs(1));
        world
    }

    pub(crate) fn steps(&self) -> usize {
        self.steps
    }

    /// Returns a random number below `limit`.
    fn below(&mut self, limit: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as usize % limit
    }

    fn some_node(&mut self) -> usize {
        let at = self.below(self.nodes.len());
        *self.nodes.keys().nth(at).unwrap()
    }

    fn start(&mut self) {
        let number = self.next;
        self.next += 1;
        let is_quiet = self.below(4) == 0;
        let mut node = Node::new(self.now, self.dialect.clone(), number, self.seed, is_quiet);
        node.read = self.bus.stream.len();
        self.nodes.insert(number, node);
        self.drain(number);
    }

    /// Takes a node out, with a goodbye or without.
    fn stop(&mut self, number: usize, is_killed: bool) {
        if !is_killed {
            let node = self.nodes.get_mut(&number).unwrap();
            // A server that closes has no sockets any more, so the rooms are gone.
            node.change_rooms(&Target::default(), &all_rooms(node), false);
            node.cluster.close(self.now);
            self.drain(number);
            let node = &self.nodes[&number];
            assert_eq!(node.cluster.next_deadline(), None);
            assert!(node.requests.values().all(|asked| asked.finished.is_some()));
            assert!(self.bus.watches_nothing(number) || !node.is_connected);
        }
        let node = self.nodes.remove(&number).unwrap();
        self.dead.push(node.cluster.uid().into());
        self.bus.remove(number);
    }

    /// Does one thing at random, and lets some time pass.
    pub(crate) fn act(&mut self) {
        self.steps += 1;
        let number = self.some_node();
        let choice = self.below(if self.faults == Faults::All { 16 } else { 10 });
        match choice {
            0..=3 => self.broadcast(number),
            4 => self.change_rooms(number),
            5 => self.fetch(number),
            6 => self.ask_clients(number),
            7 => self.ask_servers(number),
            8 | 9 => {}
            10 => self.set_connected(number, false),
            11 | 12 => self.set_connected(number, true),
            13 if self.nodes.len() > 2 => {
                let is_killed = self.below(2) == 0;
                self.stop(number, is_killed);
                self.start();
            }
            14 => self.read_again(number),
            _ => self.send_nonsense(number),
        }
        if self.nodes.contains_key(&number) {
            self.drain(number);
        }
        let longest = if self.below(8) == 0 { 4000 } else { 60 };
        let pause = self.below(longest);
        self.pass(Duration::from_millis(pause as u64));
    }

    fn some_target(&mut self) -> Target {
        let rooms = ["room0", "room1", "room2", "nobody"];
        let some = rooms[self.below(4)];
        match self.below(5) {
            0 => Target::default(),
            1 => target([some], None),
            2 => target(["room0", some], None),
            3 => target([some], Some("room2")),
            _ => {
                let number = self.some_node();
                target([format!("{number:0>19}0").as_str()], None)
            }
        }
    }

    fn broadcast(&mut self, number: usize) {
        let target = self.some_target();
        let now = self.now;
        let node = self.nodes.get_mut(&number).unwrap();
        node.sent += 1;
        let sent = node.sent;
        let mut encoder = Encoder::new();
        let binary = bytes::Bytes::from_static(b"binary");
        let encoded = match sent % 2 {
            0 => encoder.event(NAMESPACE, None, "event", &(number, sent)),
            _ => encoder.event(NAMESPACE, None, "event", &(number, sent, binary)),
        };
        node.cluster.broadcast(now, NAMESPACE, &target, &Flags::default(), encoded.unwrap().into());
        node.deliver(&target, number, sent);
        self.broadcasts.push((number, sent, target));
    }

    fn change_rooms(&mut self, number: usize) {
        let joins = self.below(2) == 0;
        let (now, to) = (self.now, self.some_target());
        let rooms = target([["joined0", "joined1"][self.below(2)]], None).rooms;
        let node = self.nodes.get_mut(&number).unwrap();
        node.change_rooms(&to, &rooms, joins);
        match joins {
            true => node.cluster.join(now, NAMESPACE, &to, &rooms),
            false => node.cluster.leave(now, NAMESPACE, &to, &rooms),
        }
    }

    /// Counts the sockets of a target on the other nodes.
    fn count(&self, number: usize, target: &Target) -> usize {
        let others = self.nodes.iter().filter(|(other, _)| **other != number);
        others.map(|(_, node)| node.selected(target).len()).sum()
    }

    fn fetch(&mut self, number: usize) {
        let target = self.some_target();
        let expected = self.count(number, &target);
        let node = self.nodes.get_mut(&number).unwrap();
        let id = node.cluster.fetch_sockets(self.now, NAMESPACE, &target, None).unwrap();
        node.asked(id, self.now, TIMEOUT, expected);
    }

    fn ask_clients(&mut self, number: usize) {
        let target = self.some_target();
        let expected = self.count(number, &target);
        let node = self.nodes.get_mut(&number).unwrap();
        let mut encoder = Encoder::new();
        let encoded = encoder.event(NAMESPACE, None, "ask", &"?").unwrap();
        let flags = Flags::default();
        let id =
            node.cluster.broadcast_with_ack(self.now, NAMESPACE, &target, &flags, encoded.into()).unwrap();
        node.asked(id, self.now, TIMEOUT, expected);
    }

    fn ask_servers(&mut self, number: usize) {
        let expected = self.nodes.len() - 1;
        let node = self.nodes.get_mut(&number).unwrap();
        let args = OwnedArgs::new();
        let args = args.as_args().into();
        let timeout = Some(Duration::from_secs(2));
        let id = node.cluster.server_side_emit_with_ack(self.now, NAMESPACE, "where", args, timeout).unwrap();
        node.asked(id, self.now, Duration::from_secs(2), expected);
    }

    fn set_connected(&mut self, number: usize, on: bool) {
        let node = self.nodes.get_mut(&number).unwrap();
        if on && !node.is_connected {
            node.cluster.handle_reconnect(self.now);
        }
        node.is_connected = on;
        if on {
            // The bus reads the stream from where it was.
            let from = node.read;
            self.bus.send(number, number, self.now, Parcel::Entries { from });
        }
    }

    /// Lets a node read entries of the stream again.
    fn read_again(&mut self, number: usize) {
        let from = self.nodes[&number].read.saturating_sub(self.below(4));
        self.bus.send(number, number, self.now, Parcel::Entries { from });
    }

    /// Publishes what a newer version, another program or an attacker may.
    fn send_nonsense(&mut self, number: usize) {
        let (node, now) = (self.nodes.get_mut(&number).unwrap(), self.now);
        let channel = node.cluster.servers_channel(NAMESPACE).name;
        let newer = format!(r#"{{"uid":"x","nsp":"{NAMESPACE}","type":99,"requestId":"y","data":{{}}}}"#);
        let result = node.cluster.handle_message(now, &channel, &newer.into());
        assert_eq!(result, Err(BusError::Type(99)));
        for hostile in [&b"\xdd\xff\xff\xff\xff"[..], b"{", b"", b"hello", b"{\"type\":{}}"] {
            assert!(node.cluster.handle_message(now, &channel, &hostile.into()).is_err());
        }
    }

    /// Carries out what a node wants of the bus.
    fn drain(&mut self, number: usize) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&number) else { return };
        node.handle_events(now);
        while let Some(command) = self.nodes.get_mut(&number).unwrap().cluster.poll_command() {
            let node = &self.nodes[&number];
            let is_connected = node.is_connected;
            match command {
                Command::Watch(channel) => self.bus.watch(number, channel, true),
                Command::Unwatch(channel) => self.bus.watch(number, channel, false),
                Command::Count { channel, request } => {
                    let count = self.bus.receivers(&channel).len();
                    let subscribers = is_connected.then_some(count);
                    let at = now + self.delay();
                    self.bus.send(number, number, at, Parcel::Count { request, subscribers });
                }
                Command::Publish { .. } | Command::Append { .. } if !is_connected => {}
                Command::Publish { message, .. } if node.is_quiet && is_heartbeat(&message) => {}
                Command::Append { fields, .. } if node.is_quiet && is_heartbeat(&fields[2].1) => {}
                Command::Publish { channel, message } => {
                    for to in self.bus.receivers(&channel) {
                        if self.faults == Faults::All && self.below(50) == 0 {
                            continue;
                        }
                        let at = now + self.delay();
                        let parcel =
                            Parcel::Message { channel: channel.name.to_string(), message: message.clone() };
                        self.bus.send(number, to, at, parcel);
                    }
                }
                Command::Append { channel, fields } => {
                    let from = self.bus.stream.len();
                    self.bus.stream.push(fields);
                    for to in self.bus.receivers(&channel) {
                        let at = now + self.delay();
                        self.bus.send(to, to, at, Parcel::Entries { from });
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn delay(&mut self) -> Duration {
        let ms = self.below(DELAY.as_millis() as usize) + 1;
        Duration::from_millis(ms as u64)
    }

    /// Lets time pass, to each deadline and each arrival.
    pub(crate) fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let deadlines = self.nodes.values().filter_map(|node| node.cluster.next_deadline());
            let Some(at) = deadlines.chain(self.bus.next()).min().filter(|at| *at <= end) else { break };
            self.now = self.now.max(at);
            self.steps += 1;
            while let Some((number, parcel)) = self.bus.take(self.now) {
                self.arrive(number, parcel);
                self.drain(number);
            }
            let due: Vec<_> = self.nodes.keys().copied().collect();
            for number in due {
                let node = self.nodes.get_mut(&number).unwrap();
                node.cluster.handle_timeout(self.now);
                assert!(node.cluster.next_deadline().is_none_or(|at| at > self.now));
                self.drain(number);
            }
        }
        self.now = end;
    }

    fn arrive(&mut self, number: usize, parcel: Parcel) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&number) else { return };
        match parcel {
            Parcel::Count { request, subscribers } => node.cluster.handle_count(&request, subscribers),
            Parcel::Message { .. } | Parcel::Entries { .. } if !node.is_connected => {}
            Parcel::Message { channel, message } => {
                if !(node.is_quiet && is_heartbeat(&message)) {
                    match node.cluster.handle_message(now, &channel, &message) {
                        // The answers of a server whose number of clients was lost are taken for another one's, because
                        // the servers do not name themselves.
                        Err(BusError::TooManyAnswers)
                            if self.faults == Faults::All && matches!(self.dialect, Dialect::Classic(_)) => {}
                        result => result.unwrap(),
                    }
                }
            }
            Parcel::Entries { from } => {
                for (at, fields) in self.bus.stream.iter().enumerate().skip(from) {
                    let fields: Vec<_> = fields.iter().map(|(key, value)| (*key, &**value)).collect();
                    if !(node.is_quiet && is_heartbeat(fields[2].1)) {
                        let offset = format!("{}-{}", 1 + at / 3, at % 3);
                        read(&mut node.cluster, now, &offset, &fields);
                    }
                }
                node.read = self.bus.stream.len();
            }
        }
    }

    /// Waits until everything is delivered, and every request is over.
    pub(crate) fn settle(&mut self) {
        self.pass(TIMEOUT + DELAY);
    }

    /// Connects all nodes, and waits until they know each other, and have forgotten the others.
    pub(crate) fn heal(&mut self) {
        self.faults = Faults::None;
        let numbers: Vec<_> = self.nodes.keys().copied().collect();
        for number in numbers {
            self.set_connected(number, true);
            self.drain(number);
        }
        self.pass(Duration::from_secs(11));
    }

    pub(crate) fn check_that_everything_arrived(&self) {
        for (sender, number, target) in &self.broadcasts {
            for node in self.nodes.values() {
                for (id, socket) in &node.sockets {
                    let received = socket.received.get(sender).is_some_and(|all| all.contains(number));
                    assert_eq!(received, socket.is_in(target), "{number} of {sender} at {id}: {target:?}");
                }
            }
        }
        for asked in self.nodes.values().flat_map(|node| node.requests.values()) {
            let (at, silent) = asked.finished.expect("every request ends");
            assert_eq!(silent, 0);
            assert_eq!(asked.clients.max(asked.answers).max(asked.sockets.len()), asked.expected);
            assert!(at <= asked.started + 3 * DELAY, "nobody waits for the deadline");
        }
    }

    pub(crate) fn check_that_requests_are_over(&self) {
        for node in self.nodes.values() {
            assert!(node.requests.values().all(|asked| asked.finished.is_some()));
        }
    }

    pub(crate) fn check_that_the_dead_are_forgotten(&self) {
        for node in self.nodes.values() {
            let mut known: Vec<_> = node.cluster.nodes(NAMESPACE).collect();
            assert!(!known.iter().any(|name| self.dead.iter().any(|dead| dead == name)));
            let is_heard = |other: &&Node| !other.is_quiet && other.cluster.uid() != node.cluster.uid();
            let mut others: Vec<_> =
                self.nodes.values().filter(is_heard).map(|other| other.cluster.uid()).collect();
            known.sort_unstable();
            others.sort_unstable();
            if !node.is_quiet && !matches!(self.dialect, Dialect::Classic(_)) {
                assert_eq!(known, others);
            }
        }
    }

    pub(crate) fn check_that_a_fetch_is_complete(&mut self) {
        let number = self.some_node();
        self.fetch(number);
        self.drain(number);
        self.pass(3 * DELAY);
        let asked = self.nodes[&number].requests.values().max_by_key(|asked| asked.started).unwrap();
        assert_eq!(asked.finished.map(|(_, silent)| silent), Some(0));
        assert_eq!(asked.sockets.len(), asked.expected);
    }

    /// Cuts every node off: it forgets the others and its requests, and then only sends heartbeats.
    pub(crate) fn check_silence(&mut self) {
        for node in self.nodes.values_mut() {
            node.is_connected = false;
        }
        self.pass(Duration::from_secs(30));
        self.check_that_requests_are_over();
        for node in self.nodes.values_mut() {
            assert_eq!(node.cluster.nodes(NAMESPACE).count(), 0);
            node.cluster.close(self.now);
            while node.cluster.poll_command().is_some() {}
            assert_eq!((node.cluster.next_deadline(), node.cluster.poll_event()), (None, None));
            let empty = "namespaces: {}, requests: Requests { by_id: {}, by_deadline: {} }, offsets: {}, \
                         recovering: Recovering { is_on: false, reaching: [], gaps: {} }, \
                         events: Unhandled { events: [], waiting: 0 }, commands: [], next_beat: None, next_sweep: None }";
            let shown = format!("{:?}", node.cluster);
            assert!(shown.ends_with(empty), "{shown}");
        }
    }
}

fn all_rooms(node: &Node) -> Rooms {
    let rooms = node.sockets.values().flat_map(|socket| socket.rooms.iter().map(String::as_str));
    target(rooms, None).rooms
}

fn read(cluster: &mut Cluster, now: Time, offset: &str, fields: &[(&str, &[u8])]) {
    cluster.handle_entry(now, "socket.io", offset, fields.iter().copied()).unwrap();
}

/// Returns whether a message, or the type of an entry, is a heartbeat or a goodbye, which Node neither sends nor knows.
fn is_heartbeat(message: &[u8]) -> bool {
    let kinds = [&b"1"[..], b"2", b"13"];
    let has_kind = |kind: &[u8]| {
        let json = [b"{\"type\":", kind, b",\"uid\""].concat();
        message == kind || message.starts_with(&json)
    };
    kinds.into_iter().any(has_kind)
}
