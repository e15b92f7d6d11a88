//! One scenario: clients, a server, the links between them, and what befalls them, all from one seed.

use crate::ledger::{Ledger, content, large};
use crate::peer::{Peer, answer};
use crate::simulation::{Dice, NETWORK, Sim};
use bytes::Bytes;
use sockeye::extract::Data;
use sockeye::host::Host;
use sockeye::{AckError, DisconnectReason, EmitError, Server, Socket, Transport};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::AddAssign;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

const NAMESPACES: [&str; 2] = ["/", "/b"];
const ROOMS: [&str; 3] = ["red", "green", "__proto__"];

pub struct World {
    sim: Sim,
    dice: Dice,
    ledger: Ledger,
    peers: Vec<Rc<RefCell<Peer>>>,
    /// Who is in which room of which namespace.
    rooms: BTreeMap<(&'static str, &'static str), BTreeSet<String>>,
    send_buffer: usize,
    max_payload: usize,
    number: u32,
    /// When a link was last stalled: too much of it would cost a session its life.
    stalled: Duration,
    trace: bool,
}

/// What a run came to: the same for the same seed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub steps: usize,
    pub messages: u32,
    pub upgrades: usize,
    pub sessions: usize,
    /// Sessions to which nothing was done that could end them.
    pub survivors: usize,
    pub virtual_time: Duration,
}

impl AddAssign for Outcome {
    fn add_assign(&mut self, other: Outcome) {
        self.steps += other.steps;
        self.messages += other.messages;
        self.upgrades += other.upgrades;
        self.sessions += other.sessions;
        self.survivors += other.survivors;
        self.virtual_time += other.virtual_time;
    }
}

/// Plays the scenario of a seed to its end; panics where an invariant does not hold.
pub fn play(seed: u64, trace: bool) -> Outcome {
    let mut world = World::new(seed, trace);
    let steps = 10 + world.dice.below(70);
    for _ in 0..steps {
        world.step();
        world.sim.run();
        world.check();
    }
    world.settle();
    let upgrades = world.peers.iter().filter(|peer| !peer.borrow().engine.is_polling()).count();
    let survivors = world.peers.iter().filter(|peer| peer.borrow().blame.is_none()).count();
    world.end();
    let (messages, sessions) = (world.number, world.peers.len());
    Outcome { steps, messages, upgrades, sessions, survivors, virtual_time: world.sim.now().since_origin() }
}

impl World {
    fn new(seed: u64, trace: bool) -> World {
        let mut dice = Dice::new(seed);
        let ledger = Ledger::default();
        let send_buffer = dice.pick(&[4 << 20, 60_000]).unwrap_or_default();
        let max_payload = dice.pick(&[1_000_000, 20_000]).unwrap_or_default();
        let server = Server::builder().send_buffer(send_buffer).max_payload(max_payload).build();
        for name in NAMESPACES {
            let ledger = ledger.clone();
            server.of(name).on_connect(move |socket: Socket| {
                handle(&socket, &ledger);
                async {}
            });
        }
        // Who is let in later than at once.
        server.of("/b").middleware(async || {
            yield_once().await;
            Ok(())
        });
        let mut world = World {
            sim: Sim::new(server),
            dice,
            ledger,
            peers: Vec::new(),
            rooms: BTreeMap::new(),
            send_buffer,
            max_payload,
            number: 0,
            stalled: Duration::ZERO,
            trace,
        };
        for _ in 0..1 + world.dice.below(3) {
            world.connect();
        }
        world
    }

    fn connect(&mut self) {
        let dice = self.dice.fork();
        let mut peer = Peer::open(&self.sim, &self.ledger, dice);
        peer.join("/");
        if self.dice.once_in(2) {
            peer.join("/b");
        }
        let peer = Rc::new(RefCell::new(peer));
        self.sim.adopt(&peer);
        self.peers.push(peer);
    }

    fn next_number(&mut self) -> u32 {
        self.number += 1;
        self.number
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>10.3} {}", self.sim.now().since_origin().as_secs_f64(), what());
        }
    }

    /// Something happens.
    fn step(&mut self) {
        let Some(peer) = self.dice.pick(&(0..self.peers.len()).collect::<Vec<_>>()) else { return };
        let name = self.dice.pick(&["/", "/", "/b"]).unwrap_or("/");
        match self.dice.below(100) {
            0..18 => self.client_sends(peer, name),
            18..36 => self.server_sends(peer, name),
            36..44 => self.broadcast(name),
            44..50 => self.move_rooms(peer, name),
            50..60 => self.upgrade(peer),
            60..64 => self.stall(peer),
            64..67 => self.peers[peer].borrow_mut().join(name),
            67..70 if self.peers.len() < 5 => self.connect(),
            70 => self.leave(peer, name),
            71 => self.disconnect(peer, name),
            72..74 => self.hurt(peer),
            _ => self.pass(),
        }
    }

    fn pass(&mut self) {
        let ms = match self.dice.below(20) {
            // Hours of nothing but heartbeats.
            0 if self.dice.once_in(50) => 3_600_000 + self.dice.below(7_200_000),
            0 => 20_000 + self.dice.below(30_000),
            1..5 => self.dice.below(4000),
            _ => self.dice.below(300),
        };
        self.say(|| format!("{ms} ms pass"));
        self.sim.advance(Duration::from_millis(ms as u64));
    }

    fn client_sends(&mut self, peer: usize, name: &'static str) {
        self.say(|| format!("client {peer} sends to {name}"));
        for _ in 0..1 + self.dice.below(4) {
            let number = self.next_number();
            let mut peer = self.peers[peer].borrow_mut();
            match self.dice.once_in(4) {
                true => peer.ask(name, number),
                false => peer.emit(name, number),
            }
        }
    }

    fn socket(&self, peer: usize, name: &str) -> Option<Socket> {
        let id = self.peers[peer].borrow().namespaces.get(name)?.id.clone()?;
        self.sim.server().of(name).socket(&id)
    }

    fn server_sends(&mut self, peer: usize, name: &'static str) {
        let Some(socket) = self.socket(peer, name) else { return };
        self.say(|| format!("the server sends to client {peer} in {name}"));
        // Now and then more than the network takes for a client that does not read.
        let is_flood = self.dice.once_in(12);
        let count = if is_flood { 30 } else { 1 + self.dice.below(4) };
        for _ in 0..count {
            let mut number = self.next_number();
            if is_flood {
                number = large(number);
                self.number = number;
            }
            if self.dice.once_in(5) {
                self.ask(&socket, number);
                continue;
            }
            let (text, bytes) = content(number);
            let emitted = match self.dice.once_in(10) {
                true => socket.volatile().emit("m", (number, text, bytes)),
                false => socket.emit("m", (number, text, bytes)),
            };
            match emitted {
                Ok(()) => self.ledger.account(&socket.id(), |account| account.sent_to_client(number)),
                Err(EmitError::NotReady) => {}
                Err(EmitError::SlowConsumer { .. }) => {
                    self.peers[peer].borrow_mut().blame.get_or_insert("slow");
                    assert!(!socket.is_connected());
                }
                Err(EmitError::Disconnected) => assert!(!socket.is_connected()),
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn ask(&mut self, socket: &Socket, number: u32) {
        self.ledger.account(&socket.id(), |account| account.asked(number));
        let (ledger, id) = (self.ledger.clone(), socket.id());
        let answered = socket.emit_with_ack::<u64>("q", number);
        self.sim.spawn(async move {
            let result = answered.await;
            let is_lost = matches!(result, Err(AckError::Disconnected | AckError::Emit(_)));
            ledger.account(&id, |account| account.resolved(number, is_lost));
            match result {
                Ok(value) if value == answer(number) => {}
                Err(AckError::Timeout | AckError::Disconnected | AckError::Emit(_)) => {}
                other => ledger.lock().faults.push(format!("an answer that nobody gave: {other:?}")),
            }
        });
    }

    fn broadcast(&mut self, name: &'static str) {
        let number = self.next_number();
        let room = self.dice.pick(&ROOMS).filter(|_| !self.dice.once_in(3));
        let server = self.sim.server().of(name);
        let members: BTreeSet<String> = match room {
            Some(room) => self.rooms.get(&(name, room)).cloned().unwrap_or_default(),
            None => server.sockets().iter().map(|socket| socket.id().to_string()).collect(),
        };
        let members: Vec<Socket> = members.iter().filter_map(|id| server.socket(id)).collect();
        self.say(|| format!("a broadcast to {} in {name} {room:?}", members.len()));
        let (text, bytes) = content(number);
        let delivery = match room {
            Some(room) => server.to(room).emit("m", (number, text, bytes)),
            None => server.emit("m", (number, text, bytes)),
        };
        let (reached, slow): (Vec<_>, Vec<_>) = members.iter().partition(|socket| socket.is_connected());
        assert_eq!((delivery.sent, delivery.dropped), (reached.len(), slow.len()), "{delivery:?}");
        for socket in reached {
            self.ledger.account(&socket.id(), |account| account.sent_to_client(number));
        }
        for socket in slow {
            self.blame(&socket.id(), "slow");
        }
    }

    /// The session of a socket may end.
    fn blame(&self, id: &str, why: &'static str) {
        for peer in &self.peers {
            let mut peer = peer.borrow_mut();
            if peer.namespaces.values().any(|member| member.id.as_deref() == Some(id)) {
                peer.blame.get_or_insert(why);
            }
        }
    }

    fn move_rooms(&mut self, peer: usize, name: &'static str) {
        let (Some(socket), Some(room)) = (self.socket(peer, name), self.dice.pick(&ROOMS)) else { return };
        let members = self.rooms.entry((name, room)).or_default();
        if self.dice.once_in(3) {
            socket.leave(room);
            members.remove(&*socket.id());
        } else {
            socket.join(room);
            members.insert(socket.id().to_string());
        }
    }

    fn upgrade(&mut self, peer: usize) {
        let mut peer = self.peers[peer].borrow_mut();
        if peer.engine.is_upgrading() && self.dice.once_in(2) {
            peer.engine.lose_upgrade(self.dice.once_in(2));
        } else if self.sim.now().since_origin() > self.stalled + Duration::from_secs(4) {
            peer.engine.begin_upgrade();
        }
    }

    /// A link lets nothing through for a while: not long enough to cost anybody anything, but now and then.
    fn stall(&mut self, peer: usize) {
        let now = self.sim.now().since_origin();
        let for_long = self.dice.once_in(6);
        if !for_long && now < self.stalled + Duration::from_secs(25) {
            return;
        }
        let mut peer = self.peers[peer].borrow_mut();
        let pipes = peer.engine.pipes();
        let Some(pipe) = pipes.get(self.dice.below(pipes.len())) else { return };
        // A goodbye may be stalled, too.
        peer.ends_by = Duration::MAX;
        let ms = if for_long { self.dice.below(80_000) } else { self.dice.below(2500) };
        if for_long {
            peer.blame.get_or_insert("stalled");
        } else {
            self.stalled = now;
        }
        let (to_server, to_client) =
            self.dice.pick(&[(true, false), (false, true), (true, true)]).unwrap_or_default();
        pipe.stall(now + Duration::from_millis(ms as u64), to_server, to_client);
        drop(peer);
        self.say(|| format!("a stall of {ms} ms"));
    }

    fn leave(&mut self, peer: usize, name: &'static str) {
        self.say(|| format!("client {peer} leaves {name}"));
        let left = self.peers[peer].borrow_mut().leave(name);
        if let Some(id) = left {
            self.ledger.account(&id, |account| account.may_end());
        }
    }

    fn disconnect(&mut self, peer: usize, name: &'static str) {
        let Some(socket) = self.socket(peer, name) else { return };
        let close = self.dice.once_in(2);
        self.say(|| format!("the server disconnects client {peer} from {name}, {close}"));
        match close {
            true => _ = self.peers[peer].borrow_mut().blame.get_or_insert("disconnected"),
            false => self.ledger.account(&socket.id(), |account| account.may_end()),
        }
        socket.disconnect(close);
        assert!(!socket.is_connected());
        assert_eq!(socket.emit("m", 1), Err(EmitError::Disconnected));
        self.ledger.account(&socket.id(), |account| assert_eq!(account.ends.len(), 1));
    }

    /// What costs a client its session.
    fn hurt(&mut self, peer: usize) {
        // The client may believe in an upgrade of which the server does not know yet.
        let sockets: Vec<_> = NAMESPACES.iter().filter_map(|name| self.socket(peer, name)).collect();
        let upgraded = sockets.iter().all(|socket| socket.transport() == Transport::WebSocket);
        let mut peer = self.peers[peer].borrow_mut();
        let why = match self.dice.below(5) {
            0 => "closed",
            1 => "broken",
            2 => "finished",
            3 => "silent",
            _ => "stalled",
        };
        let is_first = peer.blame.replace(why).is_none();
        // The end of a stream that carries all is seen at once; other clients are missed by their heartbeat.
        let is_seen = why != "silent" && why != "stalled" && upgraded && !peer.engine.is_polling();
        let soon = self.sim.now().since_origin() + Duration::from_secs(6);
        peer.ends_by = if is_first && is_seen { soon } else { Duration::MAX };
        match why {
            "closed" => peer.engine.close(),
            "broken" => peer.engine.cut(true),
            "finished" => peer.engine.cut(false),
            "silent" => peer.engine.is_mute = true,
            _ => peer.engine.pipes().iter().for_each(|pipe| pipe.stall(Duration::MAX, true, true)),
        }
        drop(peer);
        self.say(|| format!("a client is {why}"));
    }

    /// What holds after every step.
    fn check(&self) {
        self.ledger.check();
        let now = self.sim.now().since_origin();
        let books = self.ledger.lock();
        for peer in &self.peers {
            let peer = peer.borrow();
            assert!(!peer.engine.was_refused || peer.blame.is_some(), "an upgrade was refused without need");
            let mut under_way = 0;
            for member in peer.namespaces.values() {
                let Some(account) = member.id.as_ref().and_then(|id| books.accounts.get(id)) else {
                    continue;
                };
                under_way += account.under_way;
                assert!(account.ends.is_empty() || account.awaited == 0, "answers are awaited after the end");
                assert!(peer.ends_by > now || !account.ends.is_empty(), "an end is not noticed");
                let explained = peer.blame.is_some() || account.ends.is_empty() || account.is_excused;
                assert!(explained, "ended without a cause: {:?}", account.ends);
            }
            assert!(peer.engine.end.is_none() || peer.blame.is_some(), "ended: {:?}", peer.engine.end);
            let bound = self.send_buffer + self.max_payload + NETWORK;
            assert!(under_way <= bound, "{under_way} bytes wait for one client");
        }
        assert!(self.sim.server().clients_count() <= self.peers.len());
    }

    /// Time for all that is under way: it has come before a heartbeat could have helped, and stays so.
    fn settle(&mut self) {
        for seconds in [15, 30] {
            self.sim.advance(Duration::from_secs(seconds));
            self.check();
            self.check_settled();
        }
    }

    fn check_settled(&self) {
        for peer in self.peers.iter().map(|peer| peer.borrow()).filter(|peer| peer.blame.is_none()) {
            assert!(peer.engine.is_open() && !peer.engine.is_upgrading() && peer.engine.waiting() == 0);
            for (name, member) in &peer.namespaces {
                let id = member.id.as_ref().unwrap_or_else(|| panic!("no answer to the connect to {name}"));
                if member.was_told {
                    continue;
                }
                self.ledger.account(id, |account| account.check_settled());
                assert!(member.asked.is_empty(), "no answer to {:?}", member.asked);
                assert!(self.sim.server().of(name).socket(id).is_some());
            }
        }
        for (&(name, room), members) in &self.rooms {
            let there = self.sim.server().of(name).to(room).sockets();
            let there: BTreeSet<_> = there.iter().map(|socket| socket.id().to_string()).collect();
            let books = self.ledger.lock();
            let living = members.iter().filter(|id| books.accounts[*id].ends.is_empty());
            assert_eq!(there, living.cloned().collect(), "who is in {room} of {name}");
        }
    }

    /// Everything ends, one way or another: nothing is kept.
    fn end(&mut self) {
        let sockets: Vec<_> =
            NAMESPACES.iter().flat_map(|name| self.sim.server().of(name).sockets()).collect();
        match self.dice.below(3) {
            0 => self.peers.iter().for_each(|peer| peer.borrow_mut().engine.is_mute = true),
            1 => self.peers.iter().for_each(|peer| peer.borrow_mut().engine.close()),
            _ => self.sim.server().begin_close(),
        }
        for peer in &self.peers {
            peer.borrow_mut().blame.get_or_insert("the end");
        }
        self.sim.advance(Duration::from_secs(200));
        self.ledger.check();
        let server = self.sim.server();
        assert_eq!(
            (server.clients_count(), server.sockets().len(), server.of("/b").sockets().len()),
            (0, 0, 0)
        );
        assert_eq!(self.sim.tasks(), 0, "tasks are left");
        assert_eq!(server.next_deadline(), None, "a deadline is left");
        for (name, room) in self.rooms.keys() {
            assert!(server.of(name).to(room).sockets().is_empty());
        }
        assert!(sockets.iter().all(|socket| !socket.is_connected() && socket.rooms().is_empty()));
        let books = self.ledger.lock();
        assert!(books.accounts.values().all(|account| account.awaited == 0), "questions were never answered");
        for (id, account) in books.accounts.iter().filter(|(id, _)| !id.is_empty()) {
            assert_eq!(account.ends.len(), 1, "the end of {id} was not told once");
        }
    }
}

/// The server's side of a socket.
fn handle(socket: &Socket, ledger: &Ledger) {
    let books = ledger.clone();
    socket.on("m", move |socket: Socket, Data((number, text, bytes)): Data<(u32, String, Option<Bytes>)>| {
        books.came_to_server(&socket.id(), number, &text, bytes.as_ref());
        async {}
    });
    socket.on("q", async |Data(number): Data<u32>| {
        if number % 3 == 0 {
            yield_once().await;
        }
        answer(number)
    });
    let books = ledger.clone();
    // So that an account is there when the end is.
    books.account(&socket.id(), |_| ());
    socket.on_disconnect(move |socket: Socket, reason: DisconnectReason| {
        books.ended(&socket.id(), reason.to_string());
        async {}
    });
}

/// Waits once.
pub async fn yield_once() {
    let mut waited = false;
    std::future::poll_fn(|cx| match std::mem::replace(&mut waited, true) {
        true => Poll::Ready(()),
        false => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await;
}
