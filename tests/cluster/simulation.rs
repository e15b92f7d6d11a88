//! Whole servers with clients, over a network that delays, drops, repeats and is cut, from a seed.

use super::net::Net;
use super::support::{client, dialects};
use sockeye::cluster::{Adapter, Dialect};
use sockeye::testing::{TestClient, TestServer};
use sockeye::{AckStream, Broadcast, Server};
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

const ROOMS: [&str; 4] = ["red", "green", "blue", "a room with a name of its own"];

/// The longest time for which the network delays something, in milliseconds.
const DELAY: u64 = 45;

struct World {
    dialect: Dialect,
    net: Net,
    now: u64,
    /// Keeps the clock.
    keeper: TestServer,
    nodes: BTreeMap<usize, Node>,
    last_node: usize,
    ops: Vec<Op>,
    requests: Vec<Request>,
    /// When a node was last started, killed, cut off or connected.
    changed: u64,
    completed: usize,
}

struct Node {
    test: TestServer,
    clients: Vec<Member>,
    /// When the node was started, cut off or connected, or its rooms were changed.
    changed: u64,
}

struct Member {
    client: TestClient,
    rooms: BTreeSet<String>,
    /// The broadcasts that it has to receive, in this order.
    expected: Vec<usize>,
}

/// Something that concerns the sockets of all servers.
struct Op {
    from: usize,
    rooms: Vec<&'static str>,
    except: Option<&'static str>,
    kind: Kind,
    sent: u64,
    /// The nodes that have clients for it, and those that have received it.
    owed: Vec<usize>,
    received: BTreeSet<usize>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Broadcast,
    Join(&'static str),
    Leave(&'static str),
}

/// A request that waits.
struct Request {
    future: Pin<Box<dyn Future<Output = Outcome>>>,
    from: usize,
    sent: u64,
    deadline: u64,
    /// The number of results if nothing is lost.
    expected: usize,
    what: &'static str,
    /// All nodes were connected.
    is_whole: bool,
}

struct Outcome {
    found: usize,
    is_complete: bool,
}

impl Op {
    fn selects(&self, member: &Member) -> bool {
        let has = |room: &&'static str| member.rooms.contains(*room);
        (self.rooms.is_empty() || self.rooms.iter().any(has)) && !self.except.iter().any(has)
    }

    /// Applies the operation to the clients of a node, as its server has to.
    fn apply(&self, number: usize, node: &mut Node, now: u64) {
        for member in &mut node.clients {
            if !self.selects(member) {
                continue;
            }
            match self.kind {
                Kind::Broadcast => member.expected.push(number),
                Kind::Join(room) => _ = member.rooms.insert(room.into()),
                Kind::Leave(room) => _ = member.rooms.remove(room),
            }
            if self.kind != Kind::Broadcast {
                node.changed = now;
            }
        }
    }
}

impl World {
    fn new(dialect: Dialect, seed: u64) -> World {
        let mut world = World {
            dialect,
            net: Net::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            now: 0,
            keeper: TestServer::new(Server::new()),
            nodes: BTreeMap::new(),
            last_node: 0,
            ops: Vec::new(),
            requests: Vec::new(),
            changed: 0,
            completed: 0,
        };
        (0..2 + world.net.random(6)).for_each(|_| world.start());
        world
    }

    fn start(&mut self) {
        self.last_node += 1;
        let at = self.last_node;
        let adapter = Adapter::new(self.dialect.clone(), self.net.bus(at));
        let server = Server::builder().adapter(adapter).build();
        server.on_server_side_event("where", move || async move { at });
        let test = super::support::start(Some(&self.keeper), server);
        let clients = (0..self.net.random(4)).map(|_| {
            let rooms: Vec<_> = ROOMS.into_iter().filter(|_| self.net.random(3) == 0).collect();
            let client = client(&test, &rooms);
            client.socket().on("ask", || async { 1 });
            Member { client, rooms: rooms.into_iter().map(str::to_owned).collect(), expected: Vec::new() }
        });
        let clients = clients.collect();
        self.nodes.insert(at, Node { test, clients, changed: self.now });
        self.changed = self.now;
    }

    fn pick(&self) -> usize {
        let at = self.net.random(self.nodes.len() as u64) as usize;
        *self.nodes.keys().nth(at).unwrap()
    }

    /// Lets time pass, and delivers what arrives meanwhile.
    fn step(&mut self, time: u64) {
        self.now += time;
        self.net.set_now(self.now);
        self.keeper.advance(Duration::from_millis(time));
        while let Some(arrived) = self.net.arrive() {
            if let Some(mark) = arrived.mark
                && let Some(node) = self.nodes.get_mut(&arrived.at)
                && self.ops[mark].from != arrived.at
            {
                let is_new = self.ops[mark].received.insert(arrived.at);
                assert!(is_new, "the network itself repeats nothing but entries");
                self.ops[mark].apply(mark, node, self.now);
            }
            arrived.deliver();
        }
        self.keeper.settle();
        self.poll_requests();
    }

    fn poll_requests(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        let mut at = 0;
        while at < self.requests.len() {
            let request = &mut self.requests[at];
            match request.future.as_mut().poll(&mut cx) {
                Poll::Ready(outcome) => {
                    let request = self.requests.swap_remove(at);
                    let is_calm = request.is_whole
                        && self.changed < request.sent
                        && self.nodes.contains_key(&request.from);
                    let Outcome { found, is_complete } = outcome;
                    if is_calm {
                        let (what, expected) = (request.what, request.expected);
                        assert_eq!(found, expected, "{what}");
                        // A server that has died is waited for until its silence is noticed.
                        let is_known = self.changed + 10_000 + DELAY < request.sent;
                        assert!(is_complete || !is_known, "{what}: a server counts as silent");
                        self.completed += 1;
                    }
                }
                Poll::Pending => {
                    let (what, late) = (request.what, self.now - request.sent);
                    assert!(self.now < request.deadline, "{what} has not ended after {late} ms");
                    at += 1;
                }
            }
        }
    }

    /// Lets a node do something that concerns the sockets of all.
    fn act(&mut self) {
        let (from, number) = (self.pick(), self.ops.len());
        let room = |net: &Net| ROOMS[net.random(4) as usize];
        let rooms = (0..self.net.random(3)).map(|_| room(&self.net)).collect::<BTreeSet<_>>();
        let except = (self.net.random(4) == 0).then(|| room(&self.net));
        let kind = match self.net.random(10) {
            0 => Kind::Join(room(&self.net)),
            1 => Kind::Leave(room(&self.net)),
            _ => Kind::Broadcast,
        };
        let rooms = rooms.into_iter().collect();
        let mut op =
            Op { from, rooms, except, kind, sent: self.now, owed: Vec::new(), received: BTreeSet::new() };
        let is_reachable =
            |at: &usize| *at != from && self.net.is_connected(*at) && self.net.is_connected(from);
        let owed = self
            .nodes
            .iter()
            .filter(|(at, node)| is_reachable(at) && node.clients.iter().any(|member| op.selects(member)));
        op.owed = owed.map(|(at, _)| *at).collect();
        let node = self.nodes.get_mut(&from).unwrap();
        op.apply(number, node, self.now);
        let to: Broadcast = node.test.server().to(&op.rooms[..]).except(op.except.as_slice());
        self.net.marked(number, || match kind {
            Kind::Broadcast => _ = to.emit("b", number),
            Kind::Join(room) => to.sockets_join(room),
            Kind::Leave(room) => to.sockets_leave(room),
        });
        self.ops.push(op);
    }

    /// Lets a node ask the others for something.
    fn ask(&mut self) {
        let from = self.pick();
        let clients = self.nodes.values().map(|node| node.clients.len()).sum();
        let servers = self.nodes.len();
        let server = self.nodes[&from].test.server().clone();
        let of_stream = |stream: AckStream<usize>| async move {
            let answers = stream.await;
            Outcome { found: answers.answers.len(), is_complete: answers.is_complete() }
        };
        let (what, expected, timeout, future): (_, _, _, Pin<Box<dyn Future<Output = Outcome>>>) =
            match self.net.random(4) {
                0 => {
                    let asked = server.timeout(Duration::from_secs(2)).emit_with_ack("ask", ());
                    ("acknowledgements", clients, 2000, Box::pin(of_stream(asked)))
                }
                1 => {
                    let asked = server.server_side_emit_with_ack("where", ());
                    ("answers", servers - 1, 5000, Box::pin(of_stream(asked)))
                }
                2 => {
                    let fetched = server.fetch_sockets();
                    let future = async move {
                        let fetched = fetched.await;
                        let ids: BTreeSet<_> = fetched.sockets.iter().map(|it| it.id().to_string()).collect();
                        assert_eq!(ids.len(), fetched.sockets.len(), "no socket is found twice");
                        Outcome { found: ids.len(), is_complete: fetched.is_complete() }
                    };
                    ("sockets", clients, 5000, Box::pin(future))
                }
                _ => {
                    let counted = server.server_count();
                    let future = async move { Outcome { found: counted.await, is_complete: true } };
                    ("servers", servers, 5000, Box::pin(future))
                }
            };
        let is_whole = self.nodes.keys().all(|at| self.net.is_connected(*at));
        let (sent, deadline) = (self.now, self.now + timeout + 101);
        self.requests.push(Request { future, from, sent, deadline, expected, what, is_whole });
    }

    /// Does something to the network or to a node.
    fn break_something(&mut self) {
        let at = self.pick();
        match self.net.random(4) {
            0 if self.nodes.len() > 2 => {
                // Without a goodbye.
                self.nodes.remove(&at);
            }
            1 if self.nodes.len() < 7 => self.start(),
            _ => {
                self.net.connect(at, !self.net.is_connected(at));
                self.nodes.get_mut(&at).unwrap().changed = self.now;
            }
        }
        self.changed = self.now;
    }

    fn heal(&mut self) {
        for (at, node) in &mut self.nodes {
            if !self.net.is_connected(*at) {
                self.net.connect(*at, true);
                (node.changed, self.changed) = (self.now, self.now);
            }
        }
    }

    /// Checks what has arrived, and that what had to arrive has.
    fn check(&mut self) {
        self.step(DELAY);
        self.step(1);
        for (at, node) in &self.nodes {
            for Member { client, rooms, expected } in &node.clients {
                let received = client.received();
                let received = received.iter().filter(|event| event.event() == "b");
                let numbers: Vec<usize> = received.map(|event| event.args().deserialize().unwrap()).collect();
                assert_eq!(numbers, *expected, "a client of node {at}: every broadcast once, and in order");
                let socket = node.test.server().of("/").socket(&client.id()).unwrap();
                let known: BTreeSet<_> = socket.rooms().into_iter().collect();
                assert_eq!(known, *rooms, "the rooms of a client of node {at}");
            }
        }
        for node in self.nodes.values_mut() {
            for member in &mut node.clients {
                member.client.clear();
                member.expected.clear();
            }
        }
        for (number, op) in self.ops.iter().enumerate() {
            for at in &op.owed {
                let is_steady = self.nodes.get(at).is_some_and(|node| node.changed < op.sent);
                assert!(
                    !is_steady || op.received.contains(at),
                    "{number} of {} has not reached {at}",
                    op.from
                );
            }
        }
        // What is sent from now on gets the next number.
        self.ops.iter_mut().for_each(|op| op.owed.clear());
    }

    fn run(&mut self) {
        for _ in 0..3 {
            for _ in 0..60 {
                self.act();
                match self.net.random(8) {
                    0 => self.break_something(),
                    1 => self.ask(),
                    _ => {}
                }
                let time = 1 + self.net.random(20);
                self.step(time);
            }
            self.check();
            self.heal();
            // Dead servers are forgotten, and all requests end.
            (0..130).for_each(|_| self.step(100));
            assert!(self.requests.is_empty());
            for _ in 0..30 {
                self.act();
                if self.net.random(3) == 0 {
                    self.ask();
                }
                let time = 1 + self.net.random(20);
                self.step(time);
            }
            (0..60).for_each(|_| self.step(100));
            self.check();
        }
        // The last one is alone again.
        while self.nodes.len() > 1 {
            self.nodes.pop_first();
        }
        (0..130).for_each(|_| self.step(100));
        let (_, last) = self.nodes.pop_first().unwrap();
        let began = self.keeper.elapsed();
        let mut fetched = Box::pin(last.test.server().fetch_sockets());
        let mut counted = Box::pin(last.test.server().server_count());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(fetched.as_mut().poll(&mut cx).is_pending() && counted.as_mut().poll(&mut cx).is_pending());
        self.step(DELAY);
        let Poll::Ready(fetched) = fetched.as_mut().poll(&mut cx) else {
            panic!("a dead server is waited for")
        };
        assert!(fetched.is_complete() && fetched.sockets.len() == last.clients.len());
        assert!(matches!(counted.as_mut().poll(&mut cx), Poll::Ready(1)));
        assert!(self.keeper.elapsed() - began < Duration::from_millis(DELAY + 1));
        assert!(self.completed > 0, "some requests were made in calm times");
    }
}

#[test]
fn every_client_of_a_reachable_server_gets_each_broadcast_once_and_requests_end_in_time() {
    let seeds = std::env::var("SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(3);
    let first = std::env::var("FIRST").ok().and_then(|first| first.parse().ok()).unwrap_or(1);
    for seed in first..first + seeds {
        for dialect in dialects() {
            println!("FIRST={seed} SEEDS=1 {dialect:?}");
            World::new(dialect, seed).run();
        }
    }
}
