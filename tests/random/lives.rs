//! Clients that lose their connections again and again, for moments and for minutes, and a server that is restarted.
//! Each event for a client arrives once and in order, or the client begins anew, by which it is told of the loss, or the
//! sender is told.

use crate::Outcome;
use crate::engine::{Engine, Packet};
use crate::simulation::{Dice, Receiver, Sim};
use serde_json::{Value, json};
use sockeye::extract::Data;
use sockeye::host::Host;
use sockeye::{HandOver, Recovery, Server, ServerBuilder, Socket};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const ROOMS: [&str; 3] = ["red", "green", "blue"];
const SECOND: Duration = Duration::from_secs(1);
/// The time after which an event has certainly been received: a ping interval and two timeouts.
const CONFIRMATION: Duration = Duration::from_secs(66);

/// Plays the scenario of a seed to its end; panics if an invariant does not hold.
pub fn play(seed: u64, trace: bool) -> Outcome {
    let mut world = World::new(seed, trace);
    let steps = 10 + world.dice.below(70);
    for _ in 0..steps {
        world.step();
        world.check();
    }
    world.settle();
    world.end();
    Outcome {
        steps,
        messages: world.number,
        upgrades: world.upgrades,
        sessions: world.connections,
        survivors: world.recovered,
        virtual_time: world.time(),
    }
}

/// What the events for a socket are, and what became of them.
#[derive(Default)]
struct Life {
    rooms: BTreeSet<&'static str>,
    /// The numbers of the events that were sent to it.
    sent: Vec<u32>,
    /// How many of them its client has received.
    received: usize,
    /// The numbers that its client has sent, as far as they have come.
    from_client: Vec<u32>,
    /// The handle of its first connection to this process, or an earlier one.
    socket: Option<Socket>,
    has_expired: bool,
    /// The server was killed.
    is_lost: bool,
}

#[derive(Clone, Default)]
struct Ledger(Arc<Mutex<Books>>);

#[derive(Default)]
struct Books {
    lives: BTreeMap<String, Life>,
    /// Chooses the rooms of new sockets.
    dice: Option<Dice>,
    faults: Vec<String>,
    /// Questions of the server to which there was neither an answer nor an error.
    open: usize,
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connected(&self, socket: &Socket) {
        let books = &mut *self.lock();
        let id = socket.id().to_string();
        if socket.recovered() {
            let Some(life) = books.lives.get(&id) else {
                return books.faults.push("nobody knows whom the server has recovered".into());
            };
            let mut rooms: Vec<&str> = life.rooms.iter().copied().collect();
            rooms.sort_unstable();
            let mut there = socket.rooms();
            there.sort_unstable();
            if there != rooms || socket.shared_data::<String>().ok().flatten() != Some(id) {
                books.faults.push(format!("recovered with {there:?} instead of {rooms:?}, or other data"));
            }
            if life.has_expired {
                books.faults.push("recovered after it was told as expired".into());
            }
            return;
        }
        let mut life = Life { socket: Some(socket.clone()), ..Life::default() };
        let dice = books.dice.as_mut().expect("the world has begun");
        for room in ROOMS {
            if dice.once_in(2) {
                life.rooms.insert(room);
                socket.join(room);
            }
        }
        socket.set_shared_data(&id).expect("a text");
        books.lives.insert(id, life);
    }

    fn came(&self, socket: &Socket, number: u32) {
        let books = &mut *self.lock();
        let life = books.lives.entry(socket.id().to_string()).or_default();
        if life.from_client.last().is_some_and(|last| *last >= number) {
            books.faults.push(format!("{number} of a client came twice or late"));
        }
        life.from_client.push(number);
    }

    fn expired(&self, id: &str) {
        let books = &mut *self.lock();
        match books.lives.get_mut(id) {
            Some(life) if !life.has_expired => life.has_expired = true,
            _ => books.faults.push("a socket is told as expired twice".into()),
        }
    }
}

/// The settings that are drawn once for a world.
#[derive(Clone)]
struct Limits {
    away: Duration,
    packets: usize,
    bytes: usize,
    sockets: usize,
    send_buffer: usize,
    skip_middlewares: bool,
}

impl Limits {
    fn draw(dice: &mut Dice) -> Limits {
        let is_tight = dice.once_in(3);
        let mut or = |tight: &[usize], wide| if is_tight { dice.pick(tight).unwrap_or(wide) } else { wide };
        Limits {
            packets: or(&[1, 3, 10, 1000], 1_000_000),
            bytes: or(&[200, 2000, 1 << 20], 64 << 20),
            sockets: or(&[1, 2, 100], 100_000),
            send_buffer: or(&[1000, 8000, 1 << 20], 4 << 20),
            away: Duration::from_secs(or(&[2, 10, 120], 120) as u64),
            skip_middlewares: dice.once_in(2),
        }
    }

    /// Returns whether a client that is back in time has to be recovered.
    fn are_wide(&self) -> bool {
        self.packets >= 1000 && self.bytes >= 1 << 20 && self.sockets >= 100 && self.send_buffer >= 1 << 20
    }

    fn server(&self, ledger: &Ledger) -> ServerBuilder {
        let books = ledger.clone();
        let recovery = Recovery::new()
            .max_disconnection_duration(self.away)
            .max_packets(self.packets)
            .max_bytes(self.bytes)
            .max_sockets(self.sockets)
            .skip_middlewares(self.skip_middlewares)
            .on_expired(move |socket| books.expired(socket.id().as_str()));
        Server::builder().send_buffer(self.send_buffer).connection_state_recovery(recovery)
    }
}

/// Sets the handlers of a new process, and begins it.
fn begin(builder: ServerBuilder, ledger: &Ledger) -> Sim {
    let server = builder.build();
    let books = ledger.clone();
    server.middleware(async || {
        crate::world::yield_once().await;
        Ok(())
    });
    server.on_connect(move |socket: Socket| {
        books.connected(&socket);
        let books = books.clone();
        socket.on("m", move |socket: Socket, Data(number): Data<u32>| {
            books.came(&socket, number);
            async {}
        });
        async {}
    });
    Sim::new(server)
}

struct World {
    sim: Sim,
    /// The time at which the process began.
    begun: Duration,
    dice: Dice,
    limits: Limits,
    ledger: Ledger,
    clients: Vec<Rc<RefCell<Client>>>,
    number: u32,
    connections: usize,
    upgrades: usize,
    recovered: usize,
    trace: bool,
}

impl World {
    fn new(seed: u64, trace: bool) -> World {
        // So that the choices differ from those of the other scenarios.
        let mut dice = Dice::new(seed ^ 0x6c69_7665_7321);
        let limits = Limits::draw(&mut dice);
        let ledger = Ledger::default();
        ledger.lock().dice = Some(dice.fork());
        let sim = begin(limits.server(&ledger), &ledger);
        let count = 1 + dice.below(4);
        let mut world = World {
            sim,
            begun: Duration::ZERO,
            dice,
            limits,
            ledger,
            clients: Vec::new(),
            number: 0,
            connections: 0,
            upgrades: 0,
            recovered: 0,
            trace,
        };
        for _ in 0..count {
            world.clients.push(Rc::new(RefCell::new(Client::new(world.ledger.clone()))));
        }
        world.come_back();
        world
    }

    fn time(&self) -> Duration {
        self.begun + self.sim.now().since_origin()
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>10.3} {}", self.time().as_secs_f64(), what());
        }
    }

    fn step(&mut self) {
        let client = self.dice.below(self.clients.len());
        match self.dice.below(100) {
            0..35 => self.emit(),
            35..42 => self.client_sends(client),
            42..45 => self.ask(client),
            45..52 => self.upgrade(client),
            52..72 => self.cut(client),
            72..74 => self.hand_over(),
            74 => self.kill(),
            _ => self.pass(),
        }
        self.sim.run();
        self.come_back();
    }

    /// Sends an event, and notes which sockets have to get it.
    fn emit(&mut self) {
        for _ in 0..1 + self.dice.below(4) {
            self.number += 1;
            let number = self.number;
            let text = "x".repeat(self.dice.pick(&[0, 0, 10, 300]).unwrap_or(0));
            let ids: Vec<String> = self.ledger.lock().lives.keys().cloned().collect();
            let one = ids.get(self.dice.below(ids.len())).cloned().unwrap_or_default();
            let (first, second) = (ROOMS[self.dice.below(3)], ROOMS[self.dice.below(3)]);
            let io = self.sim.server();
            let args = (number, text);
            let (is_for, what): (IsFor, _) = match self.dice.below(7) {
                0 => (drop_delivery(io.emit("m", args), |_, _| true), "everyone".to_owned()),
                1 => (
                    drop_delivery(io.to(first).emit("m", args), move |_, life| life.rooms.contains(first)),
                    first.into(),
                ),
                2 => {
                    let is_for =
                        move |_: &str, life: &Life| life.rooms.contains(first) || life.rooms.contains(second);
                    (
                        drop_delivery(io.to([first, second]).emit("m", args), is_for),
                        format!("{first}, {second}"),
                    )
                }
                3 => {
                    let delivery = io.to(first).except(&one).emit("m", args);
                    let (other, what) = (one.clone(), format!("{first} but {one}"));
                    (drop_delivery(delivery, move |id, life| id != other && life.rooms.contains(first)), what)
                }
                4 => (
                    drop_delivery(io.except(first).emit("m", args), move |_, life| {
                        !life.rooms.contains(first)
                    }),
                    format!("all but {first}"),
                ),
                5 => {
                    let (other, what) = (one.clone(), one.clone());
                    (drop_delivery(io.to(&one).emit("m", args), move |id, _| id == other), what)
                }
                _ => {
                    let socket = self.ledger.lock().lives.get(&one).and_then(|life| life.socket.clone());
                    let Some(socket) = socket else { continue };
                    if let Err(error) = socket.emit("m", args) {
                        self.say(|| format!("the sender of {number} is told: {error}"));
                        continue;
                    }
                    let what = one.clone();
                    (Box::new(move |id, _| id == one), what)
                }
            };
            self.say(|| format!("{number} is for {what}"));
            let books = &mut *self.ledger.lock();
            let addressed = books.lives.iter_mut().filter(|(id, life)| is_for(id, life));
            addressed.for_each(|(_, life)| life.sent.push(number));
        }
        if self.dice.once_in(4) {
            // These may be lost.
            self.sim.server().volatile().emit("v", 1);
        }
    }

    fn client_sends(&mut self, client: usize) {
        self.number += 1;
        let client = &mut *self.clients[client].borrow_mut();
        if client.is_connected
            && let Some(engine) = &mut client.engine
        {
            engine.send(Packet::Text(format!(r#"42["m",{}]"#, self.number)));
        }
    }

    /// The server wants an answer, or to know that there is none.
    fn ask(&mut self, client: usize) {
        let id = self.clients[client].borrow().id.clone();
        let Some(socket) = id.and_then(|id| self.sim.server().of("/").socket(&id)) else { return };
        self.ledger.lock().open += 1;
        let (ledger, answer) =
            (self.ledger.clone(), socket.timeout(10 * SECOND).emit_with_ack::<u32>("q", ()));
        self.sim.spawn(async move {
            drop(answer.await);
            ledger.lock().open -= 1;
        });
    }

    fn upgrade(&mut self, client: usize) {
        let mut client = self.clients[client].borrow_mut();
        if let Some(engine) =
            client.engine.as_mut().filter(|engine| engine.is_polling() && !engine.is_upgrading())
        {
            engine.begin_upgrade();
            self.upgrades += 1;
        }
    }

    /// The client loses its connection, in one of the ways that there are.
    fn cut(&mut self, at: usize) {
        let client = self.clients[at].clone();
        let mut client = client.borrow_mut();
        let Some(mut engine) = client.engine.take() else { return };
        let way = self.dice.below(4);
        match way {
            0 => engine.pipes().iter().for_each(crate::simulation::Pipe::finish),
            1 | 2 => engine.pipes().iter().for_each(crate::simulation::Pipe::break_off),
            // The server believes in the connection until its ping is not answered.
            _ => engine.pipes().iter().for_each(|pipe| pipe.stall(Duration::MAX, true, true)),
        }
        engine.is_mute = true;
        let away = self.draw_away();
        client.leave(self.time(), away);
        client.ghosts.push(engine);
        self.say(|| format!("client {at} is cut ({way}) for {away:?}"));
    }

    fn draw_away(&mut self) -> Duration {
        let ms = match self.dice.below(6) {
            0..2 => self.dice.below(300),
            2..5 => self.dice.below(4000),
            _ => self.dice.below(130_000),
        };
        Duration::from_millis(ms as u64)
    }

    /// Lets time pass, but not beyond a client's return.
    fn pass(&mut self) {
        let ms = match self.dice.below(20) {
            0 => 20_000 + self.dice.below(110_000),
            1..6 => self.dice.below(4000),
            _ => self.dice.below(300),
        };
        self.pass_for(Duration::from_millis(ms as u64));
    }

    fn pass_for(&mut self, time: Duration) {
        let end = self.time() + time;
        while self.time() < end {
            let due = self.clients.iter().filter_map(|client| client.borrow().back_at).min();
            let until = due.map_or(end, |due| due.clamp(self.time(), end));
            // At least a little, so that a client whose attempt fails at once does not try for ever.
            let step = (until - self.time()).max(Duration::from_millis(1));
            self.sim.advance(step);
            self.come_back();
        }
    }

    /// Clients whose connection has ended wait for a moment, and those whose time has come connect again.
    fn come_back(&mut self) {
        let now = self.time();
        for at in 0..self.clients.len() {
            let client = self.clients[at].clone();
            let client = &mut *client.borrow_mut();
            if client.engine.as_ref().is_some_and(|engine| engine.end.is_some()) {
                let away = Duration::from_millis(self.dice.below(1000) as u64);
                client.engine = None;
                client.leave(now, away);
            }
            if client.back_at.is_some_and(|at| at <= now) {
                let (dice, over_websocket) = (self.dice.fork(), self.dice.once_in(2));
                self.say(|| {
                    format!("client {at} connects{}", if over_websocket { " over WebSocket" } else { "" })
                });
                client.begun = self.begun;
                client.connect(&self.sim, dice, over_websocket);
                self.connections += 1;
                let receiver: Rc<RefCell<Client>> = self.clients[at].clone();
                if !client.is_adopted {
                    client.is_adopted = true;
                    self.sim.adopt(&receiver);
                }
            }
        }
    }

    /// The next process continues with what this one hands over, while clients are in any state.
    fn hand_over(&mut self) {
        self.say(|| "the server is restarted".into());
        let io = self.sim.server().clone();
        let patience = Duration::from_millis(self.dice.below(3000) as u64);
        let since = self.time();
        let handing = self.sim.spawn(async move { io.hand_over(patience).await });
        let mut bytes = handing.take();
        if bytes.is_none() {
            // Its clients read what they still get, and what is sent now is part of the state.
            if self.dice.once_in(2) {
                self.emit();
            }
            self.sim.advance(patience + SECOND);
            bytes = handing.take();
        }
        let bytes = bytes.expect("it has a deadline");
        assert_eq!(self.ledger.lock().open, 0, "a question waits for an answer after the end");
        let state = HandOver::from_bytes(bytes).expect("what was handed over");
        let builder = self.limits.server(&self.ledger).take_over(state);
        self.restart(builder, since);
    }

    /// The next process knows nothing.
    fn kill(&mut self) {
        self.say(|| "the server is killed".into());
        let ledger = self.ledger.clone();
        let mut books = ledger.lock();
        books.lives.values_mut().for_each(|life| life.is_lost = true);
        books.open = 0;
        drop(books);
        for client in &self.clients {
            let mut client = client.borrow_mut();
            client.is_offset_foreign = client.offset.is_some();
        }
        let builder = self.limits.server(&self.ledger);
        self.restart(builder, self.time());
    }

    /// Replaces the process, which has closed its connections since a time.
    fn restart(&mut self, builder: ServerBuilder, since: Duration) {
        let now = self.time();
        for client in &self.clients {
            let mut client = client.borrow_mut();
            client.ghosts.clear();
            client.is_adopted = false;
            client.sim = None;
            if client.engine.take().is_some() {
                client.leave(since, now - since + Duration::from_millis(self.dice.below(500) as u64));
            }
        }
        self.begun = now;
        self.sim = begin(builder, &self.ledger);
    }

    fn check(&mut self) {
        let mut books = self.ledger.lock();
        assert_eq!(books.faults.pop(), None);
        drop(books);
        for client in &self.clients {
            let mut client = client.borrow_mut();
            self.recovered += std::mem::take(&mut client.recovered);
            let Some(after) = client.anew.take() else { continue };
            // The server may have noticed the end of the connection only later, which gives the client more time.
            let is_late = after + SECOND >= self.limits.away;
            assert!(is_late || !self.limits.are_wide(), "it was away for {after:?} only, and begins anew");
        }
    }

    /// Everybody comes back, and gets the rest.
    fn settle(&mut self) {
        for client in &self.clients {
            let mut client = client.borrow_mut();
            client.back_at = client.back_at.map(|at| at.min(self.begun + self.sim.now().since_origin()));
        }
        self.come_back();
        for _ in 0..90 {
            self.pass_for(SECOND);
            self.check();
        }
        let books = self.ledger.lock();
        for client in &self.clients {
            let client = client.borrow();
            assert!(client.is_connected, "a client does not come back");
            let life = client.id.as_ref().and_then(|id| books.lives.get(id)).expect("a socket");
            assert_eq!(
                life.received,
                life.sent.len(),
                "events are missing: {:?}",
                life.sent.get(life.received..)
            );
        }
        assert_eq!(books.open, 0, "questions have neither an answer nor an error");
    }

    /// Nobody comes back: everything is forgotten, and each socket is told once as expired.
    fn end(&mut self) {
        for client in &self.clients {
            let mut client = client.borrow_mut();
            if let Some(engine) = client.engine.take() {
                engine.pipes().iter().for_each(crate::simulation::Pipe::break_off);
            }
            client.ghosts.clear();
        }
        self.sim.advance(400 * SECOND);
        let server = self.sim.server();
        assert_eq!(server.recovery_usage(), sockeye::RecoveryUsage::default());
        assert_eq!((server.clients_count(), self.sim.tasks(), server.next_deadline()), (0, 0, None));
        let books = self.ledger.lock();
        assert_eq!(books.faults, [""; 0]);
        let lasting = books.lives.iter().find(|(_, life)| !life.has_expired && !life.is_lost);
        assert!(lasting.is_none(), "nobody was told of the end of {:?}", lasting.map(|(id, _)| id));
    }
}

/// A client that does as the reference's: it keeps its private id and the last offset, and says them when it comes back.
struct Client {
    ledger: Ledger,
    engine: Option<Engine>,
    /// Connections that the client has given up.
    ghosts: Vec<Engine>,
    is_adopted: bool,
    is_connected: bool,
    has_joined: bool,
    id: Option<String>,
    pid: Option<String>,
    offset: Option<String>,
    /// The offset is one of a server that was killed: the client has received no event since.
    is_offset_foreign: bool,
    /// Events that came before the answer to the connect.
    early: Vec<Value>,
    /// When the client lost its connection.
    left_at: Option<Duration>,
    /// When it lost the first one of several that have ended before their events were certainly received.
    first_left_at: Duration,
    recovered_at: Option<Duration>,
    /// When it connects again.
    back_at: Option<Duration>,
    sim: Option<Sim>,
    /// The time at which the process began.
    begun: Duration,
    /// How long it was away before it began anew.
    anew: Option<Duration>,
    /// How often it was recovered.
    recovered: usize,
}

impl Client {
    fn new(ledger: Ledger) -> Client {
        Client {
            ledger,
            engine: None,
            ghosts: Vec::new(),
            is_adopted: false,
            is_connected: false,
            has_joined: false,
            id: None,
            pid: None,
            offset: None,
            is_offset_foreign: false,
            early: Vec::new(),
            left_at: None,
            first_left_at: Duration::ZERO,
            recovered_at: None,
            back_at: Some(Duration::ZERO),
            sim: None,
            begun: Duration::ZERO,
            anew: None,
            recovered: 0,
        }
    }

    fn now(&self) -> Duration {
        self.sim.as_ref().map_or(self.begun, |sim| self.begun + sim.now().since_origin())
    }

    fn leave(&mut self, now: Duration, away: Duration) {
        if self.is_connected || self.left_at.is_none() {
            self.lose(now);
        }
        self.has_joined = false;
        self.early.clear();
        self.back_at = Some(now + away);
    }

    fn lose(&mut self, now: Duration) {
        (self.is_connected, self.left_at) = (false, Some(now));
        // What it was sent by a recovery may have been lost once more, and the server does not know for whom it was.
        if self.recovered_at.is_none_or(|at| at + CONFIRMATION < now) {
            self.first_left_at = now;
        }
    }

    fn connect(&mut self, sim: &Sim, dice: Dice, over_websocket: bool) {
        self.back_at = None;
        self.sim = Some(sim.clone());
        self.engine = Some(Engine::open(sim, dice, over_websocket));
    }

    fn handle(&mut self, packet: &str) {
        let Some((kind, rest)) = packet.split_at_checked(1) else { panic!("an empty packet") };
        match kind {
            "0" => self.connected(&serde_json::from_str(rest).expect("an answer")),
            "2" => {
                let start = rest.find('[').expect("an event has arguments");
                let event: Vec<Value> = serde_json::from_str(&rest[start..]).expect("an event");
                if event[0] == "q" {
                    let answer = format!("43{}[1]", &rest[..start]);
                    if let Some(engine) = &mut self.engine {
                        engine.send(Packet::Text(answer));
                    }
                    return;
                }
                match self.is_connected {
                    true => self.event(&event),
                    false => self.early.push(Value::Array(event)),
                }
            }
            _ => panic!("a packet that nobody sent: {packet}"),
        }
    }

    fn connected(&mut self, answer: &Value) {
        let text = |key: &str| answer[key].as_str().map(str::to_owned).expect("a sid and a pid");
        let (id, pid) = (text("sid"), text("pid"));
        let is_same = self.pid.as_ref() == Some(&pid);
        assert_eq!(self.id.as_ref() == Some(&id), is_same);
        if is_same {
            self.recovered += 1;
            self.recovered_at = Some(self.now());
        } else {
            assert_eq!(self.early, [Value::Null; 0], "a part of what was missed");
            let life = self.id.as_ref().map(|id| self.ledger.lock().lives[id].is_lost);
            if life == Some(false) && !self.is_offset_foreign {
                self.anew = self.left_at.map(|_| self.now().saturating_sub(self.first_left_at));
            }
            self.recovered_at = None;
        }
        (self.id, self.pid, self.is_connected, self.left_at) = (Some(id), Some(pid), true, None);
        std::mem::take(&mut self.early)
            .iter()
            .for_each(|event| self.event(event.as_array().expect("a list")));
    }

    fn event(&mut self, event: &[Value]) {
        if event[0] == "v" {
            return;
        }
        let number = event[1].as_u64().expect("a number");
        let books = &mut *self.ledger.lock();
        let life = self.id.as_ref().and_then(|id| books.lives.get_mut(id)).expect("a socket");
        let expected = life.sent.get(life.received).copied().map(u64::from);
        assert_eq!(Some(number), expected, "what comes is not what is next");
        life.received += 1;
        self.is_offset_foreign = false;
        self.offset = Some(event.last().and_then(Value::as_str).expect("an offset").to_owned());
    }
}

impl Receiver for Client {
    fn receive(&mut self) -> bool {
        let Some(engine) = &mut self.engine else { return false };
        let mut busy = engine.step();
        if engine.is_open() && !self.has_joined {
            self.has_joined = true;
            busy = true;
            let auth = match (&self.pid, &self.offset) {
                (Some(pid), Some(offset)) => json!({ "pid": pid, "offset": offset }).to_string(),
                (Some(pid), None) => json!({ "pid": pid }).to_string(),
                _ => String::new(),
            };
            engine.send(Packet::Text(format!("40{auth}")));
        }
        while let Some(packet) = self.engine.as_mut().and_then(|engine| engine.inbox.pop_front()) {
            match packet {
                Packet::Text(text) => self.handle(&text),
                Packet::Binary(_) => panic!("nobody sent an attachment"),
            }
        }
        if self.is_connected && self.engine.as_ref().is_some_and(|engine| engine.end.is_some()) {
            self.lose(self.now());
        }
        busy
    }
}

/// The condition on a socket's id and what is expected of it, by which an event is for it.
type IsFor = Box<dyn Fn(&str, &Life) -> bool>;

/// Returns the condition alone: what became of a broadcast is not known before clients come back.
fn drop_delivery(delivery: sockeye::Delivery, is_for: impl Fn(&str, &Life) -> bool + 'static) -> IsFor {
    drop(delivery);
    Box::new(is_for)
}
