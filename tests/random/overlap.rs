//! Clients that use several connections of one session at once, as none should: polls and posts that overlap, a WebSocket
//! that takes over meanwhile, joining and leaving while middleware decides, handlers that wait while the client goes, and
//! a server that is closed at any step. What holds is what the server owes to itself: nothing is left, and every end is
//! told once.

use crate::Outcome;
use crate::simulation::{Dice, Gate, Others, Pipe, Sim};
use sockeye::host::Host;
use sockeye::{RoomChange, RoomEvent, Server, Socket};
use sockeye_core::websocket::{Opcode, write_frame};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const NAMESPACES: [&str; 3] = ["/", "/slow", "/quick"];
const ROOMS: [&str; 2] = ["red", "green"];
/// More handlers than a session may have at work.
const MANY: usize = 300;
/// So many unread bytes of a WebSocket at which it is no longer read while handlers are behind.
const UNREAD: usize = 16 << 10;

/// What clients say, alone or several in one payload.
const PACKETS: [&str; 16] = [
    "40",
    "40/slow,",
    "40/slow,",
    "40/quick,",
    "40/quick,",
    "41",
    "41/slow,",
    "41/quick,",
    "42[\"wait\"]",
    "42/slow,[\"wait\"]",
    "42/quick,[\"wait\"]",
    "42/quick,[\"move\"]",
    "42/slow,[\"move\"]",
    "420[\"answer\"]",
    "3",
    "1",
];

/// How often each socket began and ended, and all else that handlers share.
#[derive(Clone)]
struct Books {
    inside: Arc<Mutex<Inside>>,
    others: Arc<Mutex<Option<Others>>>,
    /// How many handlers let others run at the moment, one inside of the other.
    depth: Arc<AtomicUsize>,
    gate: Gate,
}

struct Inside {
    dice: Dice,
    sockets: BTreeMap<String, (u32, u32)>,
    /// All that handlers and middleware have seen, in that order.
    sockets_seen: Vec<Socket>,
    /// The members of each room of each namespace, as the events of rooms tell of them.
    rooms: BTreeMap<(String, String), BTreeSet<String>>,
    faults: Vec<String>,
}

impl Books {
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn below(&self, n: usize) -> usize {
        self.lock().dice.below(n)
    }

    /// Other tasks have their turn in the middle of a handler.
    fn overlap(&self) {
        let others = self.others.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let turns = self.below(6);
        if self.depth.fetch_add(1, Ordering::SeqCst) < 3 {
            others.expect("the simulation has begun").run(turns);
        }
        self.depth.fetch_sub(1, Ordering::SeqCst);
    }

    /// Lets time pass, or none.
    async fn sleep(&self) {
        let ms = [0, 0, 5, 150][self.below(4)];
        let others = self.others.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if ms > 0 {
            others.expect("the simulation has begun").sleep(Duration::from_millis(ms)).await;
        }
    }

    fn move_rooms(&self, socket: &Socket) {
        let room = ROOMS[self.below(2)];
        if self.below(2) == 0 { socket.join(room) } else { socket.leave(room) }
    }

    fn room_changed(&self, RoomEvent { namespace, room, change, .. }: RoomEvent<'_>) {
        let inside = &mut *self.lock();
        let key = (namespace.name().to_owned(), room.to_owned());
        let is_right = match (change, inside.rooms.get_mut(&key)) {
            (RoomChange::Created, None) => inside.rooms.insert(key, BTreeSet::new()).is_none(),
            (RoomChange::Joined(id), Some(members)) => members.insert(id.to_string()),
            (RoomChange::Left(id), Some(members)) => members.remove(id.as_str()),
            (RoomChange::Deleted, Some(_)) => inside.rooms.remove(&key).is_some_and(|rest| rest.is_empty()),
            _ => false,
        };
        if !is_right {
            inside.faults.push(format!("{change:?} of {room} does not follow from the events before"));
        }
    }

    fn saw(&self, socket: &Socket) {
        let seen = &mut self.lock().sockets_seen;
        if !seen.iter().any(|known| known.id() == socket.id()) {
            seen.push(socket.clone());
        }
    }

    fn begun(&self, socket: &Socket) {
        self.saw(socket);
        self.lock().sockets.entry(socket.id().to_string()).or_default().0 += 1;
    }

    fn ended(&self, socket: &Socket) {
        let id = socket.id().to_string();
        let is_there = socket.namespace().socket(&id).is_some();
        let is_reached = socket.namespace().to(&id).emit("late", ()).sent > 0;
        let inside = &mut *self.lock();
        if is_there || is_reached {
            inside.faults.push(format!("{id} is in its namespace after its end: {is_there} {is_reached}"));
        }
        inside.sockets.entry(id).or_default().1 += 1;
    }
}

/// One session, and whatever connections it has.
struct Client {
    session: String,
    streams: Vec<Stream>,
}

struct Stream {
    pipe: Pipe,
    is_websocket: bool,
    /// The number of bytes in its frames.
    sent: Cell<usize>,
}

impl Stream {
    fn put(&self, packets: &[&str]) {
        let mut bytes = Vec::new();
        for packet in packets {
            write_frame(&mut bytes, Opcode::Text, packet.as_bytes(), Some([1, 2, 3, 4]));
        }
        self.sent.update(|sent| sent + bytes.len());
        self.pipe.send(&bytes);
    }
}

struct World {
    sim: Sim,
    dice: Dice,
    books: Books,
    clients: Vec<Client>,
    is_closed: bool,
    messages: u32,
    upgrades: usize,
    trace: bool,
}

/// Plays the scenario of a seed to its end; panics where an invariant does not hold.
pub fn play(seed: u64, trace: bool) -> Outcome {
    let mut world = World::new(seed, trace);
    let steps = 5 + world.dice.below(60);
    // Half of the servers are closed in the middle of it.
    let close_at = world.dice.below(2 * steps);
    let mut closing = None;
    for step in 0..steps {
        if step == close_at {
            let server = world.sim.server().clone();
            world.say("the server is closed");
            closing = Some(world.close(server));
        }
        world.step();
        world.check();
    }
    let virtual_time = world.end(closing);
    let sessions = world.clients.len();
    let (messages, upgrades) = (world.messages, world.upgrades);
    Outcome { steps, messages, upgrades, sessions, survivors: 0, virtual_time }
}

impl World {
    fn new(seed: u64, trace: bool) -> World {
        let mut dice = Dice::new(seed);
        let inside = Inside {
            dice: dice.fork(),
            sockets: BTreeMap::new(),
            sockets_seen: Vec::new(),
            rooms: BTreeMap::new(),
            faults: Vec::new(),
        };
        let books = Books {
            inside: Arc::new(Mutex::new(inside)),
            others: Arc::default(),
            depth: Arc::default(),
            gate: Gate::default(),
        };
        let server = Server::builder().allow_overlapping_polls(dice.once_in(2)).build();
        for name in NAMESPACES {
            let books = books.clone();
            let rooms = books.clone();
            server.of(name).on_connect(move |socket: Socket| connected(socket, books.clone()));
            server.of(name).on_room_event(move |event| {
                rooms.room_changed(event);
                rooms.overlap();
            });
        }
        let slow = books.clone();
        server.of("/slow").middleware(move |socket: Socket| {
            let books = slow.clone();
            books.saw(&socket);
            books.move_rooms(&socket);
            books.overlap();
            async move {
                books.sleep().await;
                books.overlap();
                books.move_rooms(&socket);
                Ok(())
            }
        });
        let sim = Sim::new(server);
        sim.shuffle(dice.fork());
        *books.others.lock().unwrap_or_else(PoisonError::into_inner) = Some(sim.others());
        let clients = Vec::new();
        let mut world =
            World { sim, dice, books, clients, is_closed: false, messages: 0, upgrades: 0, trace };
        world.open();
        world
    }

    fn say(&self, what: &str) {
        if self.trace {
            println!("{:>10.3} {what}", self.sim.now().since_origin().as_secs_f64());
        }
    }

    /// A session, over polling or WebSocket.
    fn open(&mut self) {
        let transport = if self.dice.once_in(4) { "websocket" } else { "polling" };
        let mut client = Client { session: String::new(), streams: Vec::new() };
        client.streams.push(self.request("GET", transport, "", ""));
        self.sim.run();
        let answer = client.streams[0].pipe.receive();
        let answer = String::from_utf8_lossy(&answer);
        // None once the server is closed.
        if let Some(session) = answer.split("\"sid\":\"").nth(1).and_then(|it| it.split('"').next()) {
            client.session = session.to_owned();
            self.say(&format!("client {} opens by {transport}", self.clients.len()));
            self.clients.push(client);
        }
    }

    /// A request on a connection of its own.
    fn request(&self, method: &str, transport: &str, session: &str, body: &str) -> Stream {
        let pipe = self.sim.dial();
        let sid = if session.is_empty() { String::new() } else { format!("&sid={session}") };
        let mut head =
            format!("{method} /socket.io/?EIO=4&transport={transport}{sid} HTTP/1.1\r\nHost: here\r\n");
        let is_websocket = transport == "websocket";
        if is_websocket {
            head.push_str("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n");
            head.push_str("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n");
        }
        if method == "POST" {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        pipe.send(format!("{head}\r\n{body}").as_bytes());
        Stream { pipe, is_websocket, sent: Cell::new(0) }
    }

    fn packets(&mut self) -> Vec<&'static str> {
        if self.dice.once_in(12) {
            let known = [("40", "42[\"wait\"]"), ("40/quick,", "42/quick,[\"wait\"]")];
            let (join, wait) = self.dice.pick(&known).unwrap_or_default();
            self.messages += MANY as u32;
            let joins = usize::from(self.dice.once_in(2));
            return [vec![join; joins], vec![wait; MANY]].concat();
        }
        let count = 1 + self.dice.below(4);
        self.messages += count as u32;
        // A goodbye is rare.
        let all = if self.dice.once_in(4) { &PACKETS[..] } else { &PACKETS[..15] };
        (0..count).filter_map(|_| self.dice.pick(all)).collect()
    }

    /// Something happens; what follows from it may be left for later.
    fn step(&mut self) {
        let at = self.dice.below(self.clients.len());
        if self.clients.is_empty() {
            return;
        }
        match self.dice.below(100) {
            0..10 => self.ask(at, "GET", "polling"),
            10..32 => self.ask(at, "POST", "polling"),
            32..38 => self.ask(at, "GET", "websocket"),
            38..60 => self.speak(at),
            60..66 => self.cut(at),
            66..72 => self.serve(),
            72..75 if self.clients.len() < 3 => self.open(),
            75..88 => (0..self.dice.below(8)).for_each(|_| self.sim.step()),
            88..92 => self.sim.run(),
            _ => self.pass(),
        }
    }

    fn ask(&mut self, at: usize, method: &str, transport: &str) {
        let packets = if method == "POST" { self.packets() } else { Vec::new() };
        self.say(&format!("client {at}: {method} by {transport} {:.60}", format!("{packets:?}")));
        let stream = self.request(method, transport, &self.clients[at].session, &packets.join("\u{1e}"));
        self.clients[at].streams.push(stream);
    }

    /// Something comes over a WebSocket.
    fn speak(&mut self, at: usize) {
        let mut packets = match self.dice.below(4) {
            0 => vec!["2probe"],
            1 => vec!["5"],
            2 => vec!["2probe", "5"],
            _ => Vec::new(),
        };
        self.upgrades += usize::from(packets.contains(&"5"));
        if packets.is_empty() || self.dice.once_in(2) {
            packets.extend(self.packets());
        }
        let mut streams = self.clients[at].streams.iter().filter(|stream| stream.is_websocket);
        if let Some(stream) = streams.next_back() {
            self.say(&format!("client {at} over its WebSocket: {:.60}", format!("{packets:?}")));
            stream.put(&packets);
        }
    }

    fn cut(&mut self, at: usize) {
        let breaks = self.dice.once_in(2);
        let streams = &self.clients[at].streams;
        let Some(stream) = streams.get(self.dice.below(streams.len())) else { return };
        self.say(&format!("client {at} cuts a connection, breaks: {breaks}"));
        if breaks { stream.pipe.break_off() } else { stream.pipe.finish() }
    }

    /// The application does something.
    fn serve(&mut self) {
        let sockets = self.books.lock().sockets_seen.clone();
        let Some(socket) = sockets.get(self.dice.below(sockets.len())) else { return };
        match self.dice.below(4) {
            0 => socket.disconnect(self.dice.once_in(2)),
            1 => drop(self.sim.server().of(NAMESPACES[self.dice.below(3)]).emit("all", ())),
            _ => self.books.move_rooms(socket),
        }
    }

    fn pass(&mut self) {
        let ms = match self.dice.below(30) {
            0 => 10_000 + self.dice.below(40_000),
            1..5 => self.dice.below(3000),
            _ => self.dice.below(200),
        };
        self.say(&format!("{ms} ms pass"));
        self.sim.advance(Duration::from_millis(ms as u64));
    }

    fn close(&mut self, server: Server) -> crate::simulation::Awaited<()> {
        self.is_closed = true;
        self.sim.spawn(async move { server.close().await })
    }

    /// What holds at any moment.
    fn check(&self) {
        let faults = std::mem::take(&mut self.books.lock().faults);
        assert!(faults.is_empty(), "{faults:#?}");
        for (id, (begun, ended)) in &self.books.lock().sockets {
            assert!(*begun <= 1 && *ended <= 1, "{id} began {begun} times and ended {ended} times");
        }
        for name in NAMESPACES {
            let namespace = self.sim.server().of(name);
            let inside = self.books.lock();
            let told = inside.rooms.iter().filter(|((of, room), _)| of == name && ROOMS.contains(&&**room));
            let told: BTreeMap<_, _> =
                told.map(|((_, room), members)| (room.clone(), members.len())).collect();
            drop(inside);
            assert_eq!(
                namespace.rooms().into_iter().collect::<BTreeMap<_, _>>(),
                told,
                "the rooms of {name}"
            );
            for room in ROOMS {
                let members: Vec<_> = namespace.to(room).sockets().iter().map(Socket::id).collect();
                for socket in namespace.sockets() {
                    let knows = socket.rooms().iter().any(|own| own == room);
                    let is_member = members.contains(&socket.id());
                    assert_eq!(
                        knows,
                        is_member,
                        "{} knows of {room} of {name}, or {room} of it",
                        socket.id()
                    );
                }
            }
        }
    }

    /// The clients go, one way or another: nothing is kept. The time that it took.
    fn end(&mut self, closing: Option<crate::simulation::Awaited<()>>) -> Duration {
        let way = self.dice.below(3);
        self.say(&format!("the end: {way}"));
        let pipes = || self.clients.iter().flat_map(|client| &client.streams).map(|stream| &stream.pipe);
        match way {
            // They are never heard of again.
            0 => {}
            1 => pipes().for_each(Pipe::finish),
            _ => pipes().for_each(Pipe::break_off),
        }
        // The interval and the timeout of pings, and one more timeout for what was going on.
        self.sim.advance(Duration::from_secs(70));
        let server = self.sim.server().clone();
        // As long as handlers hang, a connection that had much more to say is not read, so that its silence means nothing.
        let streams = || self.clients.iter().flat_map(|client| &client.streams);
        if server.clients_count() > 0 && streams().any(|stream| stream.sent.get() >= UNREAD) {
            self.books.gate.open();
            self.sim.advance(Duration::from_secs(70));
        }
        self.check();
        assert!(self.books.lock().rooms.is_empty(), "rooms are left");
        let left = NAMESPACES.map(|name| server.of(name).sockets().len());
        assert_eq!((left, server.clients_count()), ([0; 3], 0), "sockets and sessions are left");
        for (id, (begun, ended)) in &self.books.lock().sockets {
            assert_eq!(begun, ended, "the end of {id} was not told");
        }
        if let Some(closing) = closing {
            assert!(closing.take().is_some() && server.is_closed(), "closing does not end");
        }
        self.books.lock().sockets_seen.clear();
        self.books.gate.open();
        pipes().for_each(Pipe::finish);
        self.sim.advance(Duration::from_secs(130));
        assert_eq!(self.sim.tasks(), 0, "tasks are left");
        assert_eq!((server.next_deadline(), self.sim.sleepers()), (None, 0), "somebody still waits");
        for name in NAMESPACES {
            for room in ROOMS {
                assert!(server.of(name).to(room).sockets().is_empty(), "{room} of {name} is not empty");
            }
        }
        self.sim.now().since_origin()
    }
}

/// The server's side of a socket.
async fn connected(socket: Socket, books: Books) {
    books.begun(&socket);
    // The session may end before anybody has asked to be told.
    books.overlap();
    let gate = books.gate.clone();
    socket.on("wait", move || {
        let gate = gate.clone();
        async move { gate.wait().await }
    });
    let own = books.clone();
    socket.on("move", move |socket: Socket| {
        own.overlap();
        own.move_rooms(&socket);
        async {}
    });
    let own = books.clone();
    socket.on("answer", move || {
        let books = own.clone();
        async move {
            books.sleep().await;
            1
        }
    });
    let own = books.clone();
    socket.on_disconnect(move |socket: Socket| {
        own.ended(&socket);
        own.overlap();
        async {}
    });
    books.overlap();
    books.sleep().await;
    books.move_rooms(&socket);
}
