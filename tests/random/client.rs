//! One scenario with real clients: what they send and get over connections that come and go, all from one seed.

use crate::Outcome;
use crate::books::Books;
use crate::ledger::{content, large};
use crate::peer::answer;
use crate::simulation::{Dice, Down, Net, Pipe, Sim};
use bytes::Bytes;
use sockeye::client::{ClientAckError, ClientBuilder, ClientEmitError, Offline};
use sockeye::extract::Data;
use sockeye::host::{Connector, Host, Runtime};
use sockeye::{
    AckError, Client, ClientSocket, CloseReason, DisconnectReason, EmitError, Server, Socket, Transport,
};
use sockeye_core::engineio::TransportError;
use std::sync::Arc;
use std::time::Duration;

const NAMESPACES: [&str; 2] = ["/", "/b"];
/// Maximum number of bytes that wait for a connection, if it is small.
const LITTLE: usize = 10_000;

struct World {
    sim: Sim,
    dice: Dice,
    books: Books,
    peers: Vec<Peer>,
    number: u32,
    /// The time at which a link was last stalled; stalled for too long, it would end a session.
    stalled: Duration,
    trace: bool,
}

/// A client, its network, and its line in the books for each namespace.
struct Peer {
    client: Client,
    net: Arc<Net>,
    sockets: [(ClientSocket, usize); 2],
    offline: Offline,
}

/// Plays the scenario of a seed to its end; panics where an invariant does not hold.
pub fn play(seed: u64, trace: bool) -> Outcome {
    let mut world = World::new(seed, trace);
    let steps = 10 + world.dice.below(60);
    for _ in 0..steps {
        world.step();
        world.sim.run();
        world.check();
    }
    let survivors = world.survivors();
    world.settle();
    let upgrades =
        world.peers.iter().filter(|peer| peer.client.transport() == Some(Transport::WebSocket)).count();
    let (messages, sessions) = (world.number, world.books.lock().sockets.len());
    let virtual_time = world.end();
    Outcome { steps, messages, upgrades, sessions, survivors, virtual_time }
}

impl World {
    fn new(seed: u64, trace: bool) -> World {
        let mut dice = Dice::new(seed);
        let books = Books::default();
        let send_buffer = dice.pick(&[4 << 20, 60_000]).unwrap_or_default();
        let max_payload = dice.pick(&[1_000_000, 20_000]).unwrap_or_default();
        let server = Server::builder().send_buffer(send_buffer).max_payload(max_payload).build();
        for name in NAMESPACES {
            let books = books.clone();
            server.of(name).on_connect(move |socket: Socket| {
                serve(&socket, &books);
                async {}
            });
        }
        let sim = Sim::new(server);
        let stalled = Duration::ZERO;
        let mut world = World { sim, dice, books, peers: Vec::new(), number: 0, stalled, trace };
        for _ in 0..1 + world.dice.below(2) {
            world.add();
        }
        world
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>10.3} {}", self.sim.now().since_origin().as_secs_f64(), what());
        }
    }

    fn add(&mut self) {
        let net = self.sim.net(self.dice.fork());
        let (builder, offline, retries) = self.builder();
        let client = builder.build().unwrap();
        client.attach(net.clone());
        let sockets = NAMESPACES.map(|name| {
            let (socket, line) = (client.socket(name), self.books.open(retries));
            listen(&socket, line, &self.books, &net);
            (socket, line)
        });
        client.connect();
        if self.dice.once_in(2) {
            sockets[1].0.connect();
        }
        self.peers.push(Peer { client, net, sockets, offline });
    }

    /// Nothing whose length is left to the system's chance: a seed plays the same.
    fn builder(&mut self) -> (ClientBuilder, Offline, bool) {
        use Transport::{Polling, WebSocket};
        let dice = &mut self.dice;
        let transports: [&[Transport]; 4] =
            [&[Polling, WebSocket], &[Polling, WebSocket], &[Polling], &[WebSocket, Polling]];
        let offline = match dice.below(6) {
            0 => Offline::Fail,
            1 => Offline::Buffer { bytes: LITTLE, age: None },
            2 => Offline::Buffer { bytes: 4 << 20, age: Some(Duration::from_secs(8)) },
            _ => Offline::default(),
        };
        let retries = dice.once_in(4);
        let mut builder = Client::builder("http://here")
            .transports(dice.pick(&transports).unwrap_or_default().iter().copied())
            .timestamp_requests(false)
            .randomization_factor(0.0)
            .reconnection_delay(Duration::from_millis(dice.pick(&[20, 1000]).unwrap_or(1)))
            .try_all_transports(dice.once_in(2))
            .remember_upgrade(dice.once_in(2))
            .force_base64(dice.once_in(4))
            .send_buffer(dice.pick(&[4 << 20, 30_000]).unwrap_or_default())
            .offline(offline);
        if retries {
            builder = builder.retries(1 + dice.below(3) as u32);
        }
        if dice.once_in(5) {
            builder = builder.reconnection_attempts(3);
        }
        if dice.once_in(10) {
            builder = builder.reconnection(false);
        }
        (builder, offline, retries)
    }

    /// Something happens.
    fn step(&mut self) {
        let peer = self.dice.below(self.peers.len());
        let at = usize::from(self.dice.once_in(3));
        match self.dice.below(100) {
            0..20 => self.client_sends(peer, at),
            20..36 => self.server_sends(peer, at),
            36..42 => self.connect(peer, at),
            42..46 => self.leave(peer, at),
            46..52 => self.stall(peer),
            52..60 => self.cut(peer),
            60..64 => self.cut_upgrade(peer),
            64..67 => self.toggle(peer),
            67 => self.fall_silent(peer),
            68 => self.server_disconnects(peer, at),
            69 if self.peers.len() < 4 => self.add(),
            _ => self.pass(),
        }
    }

    fn pass(&mut self) {
        let ms = match self.dice.below(30) {
            // Hours of nothing but heartbeats.
            0 if self.dice.once_in(50) => 3_600_000 + self.dice.below(7_200_000),
            0 => 20_000 + self.dice.below(30_000),
            1..8 => self.dice.below(4000),
            _ => self.dice.below(300),
        };
        self.say(|| format!("{ms} ms pass"));
        self.sim.advance(Duration::from_millis(ms as u64));
    }

    fn next_number(&mut self, is_large: bool) -> u32 {
        self.number = if is_large { large(self.number + 1) } else { self.number + 1 };
        self.number
    }

    fn client_sends(&mut self, peer: usize, at: usize) {
        let (socket, line) = self.peers[peer].sockets[at].clone();
        // Now and then more than the network takes.
        let is_flood = self.dice.once_in(10);
        self.say(|| format!("client {peer} sends to {at}, connected: {}", socket.is_connected()));
        for _ in 0..if is_flood { 20 } else { 1 + self.dice.below(4) } {
            let number = self.next_number(is_flood);
            if self.dice.once_in(4) {
                self.client_asks(&socket, line, number);
                continue;
            }
            let (text, bytes) = content(number);
            // With retries they go before what waits for its acknowledgement.
            let is_volatile = self.dice.once_in(10) && !self.books.lock().lines[line].retries;
            let emitted = match is_volatile {
                true => socket.volatile().emit("m", (number, text, bytes)),
                false => socket.emit("m", (number, text, bytes)),
            };
            match emitted {
                Ok(sent) => self.books.sent(line, number, sent),
                Err(ClientEmitError::NotReady) => assert!(is_volatile),
                Err(ClientEmitError::SlowConsumer { queued }) => {
                    assert!(queued > 10_000 && socket.is_connected())
                }
                Err(ClientEmitError::OfflineFull { limit }) => assert!(limit <= 30_000, "{limit}"),
                Err(ClientEmitError::Disconnected) => assert_eq!(self.peers[peer].offline, Offline::Fail),
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn client_asks(&self, socket: &ClientSocket, line: usize, number: u32) {
        self.books.asked(line, number);
        let (books, answered) = (self.books.clone(), socket.emit_with_ack::<u64>("q", number));
        self.sim.spawn(async move {
            let result = told(answered.await.map_err(missed_by_client), number, &books);
            books.answered(line, number, result);
        });
    }

    fn server_socket(&self, peer: usize, at: usize) -> Option<Socket> {
        let line = self.peers[peer].sockets[at].1;
        let id = self.books.lock().lines[line].current.clone()?;
        self.sim.server().of(NAMESPACES[at]).socket(&id)
    }

    fn server_sends(&mut self, peer: usize, at: usize) {
        let Some(socket) = self.server_socket(peer, at) else { return };
        let (id, is_flood) = (socket.id(), self.dice.once_in(12));
        self.say(|| format!("the server sends to client {peer} in {at}"));
        for _ in 0..if is_flood { 30 } else { 1 + self.dice.below(4) } {
            let number = self.next_number(is_flood);
            if self.dice.once_in(4) {
                self.books.server_asked(&id, number);
                let answered = socket.emit_with_ack::<u64>("q", number);
                let (books, id) = (self.books.clone(), id);
                self.sim.spawn(async move {
                    let result = told(answered.await.map_err(missed_by_server), number, &books);
                    books.server_answered(&id, number, result);
                });
            } else {
                let (text, bytes) = content(number);
                match socket.emit("m", (number, text, bytes)) {
                    Ok(()) => self.books.server_sent(&id, number),
                    Err(EmitError::SlowConsumer { .. } | EmitError::Disconnected) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            if !socket.is_connected() {
                return;
            }
        }
    }

    /// The sessions of a client may end.
    fn harm(&self, peer: usize) {
        self.peers[peer].sockets.iter().for_each(|(_, line)| self.books.excuse(*line));
    }

    /// The same, with what is being joined.
    fn end_session(&self, peer: usize) {
        self.harm(peer);
        self.peers[peer].net.pipes().iter().for_each(|pipe| pipe.lock().harmed = true);
    }

    fn connect(&self, peer: usize, at: usize) {
        self.say(|| format!("client {peer} joins {at}"));
        self.peers[peer].sockets[at].0.connect();
    }

    fn leave(&mut self, peer: usize, at: usize) {
        let is_whole = self.dice.once_in(4);
        self.say(|| format!("client {peer} leaves {at}, all: {is_whole}"));
        let peer = &self.peers[peer];
        for (other, (_, line)) in peer.sockets.iter().enumerate() {
            if is_whole || other == at {
                self.books.excuse(*line);
            }
        }
        match is_whole {
            true => peer.client.close(),
            false => peer.sockets[at].0.disconnect(),
        }
        if self.dice.once_in(3) {
            peer.sockets[at].0.connect();
        }
    }

    fn server_disconnects(&mut self, peer: usize, at: usize) {
        let Some(socket) = self.server_socket(peer, at) else { return };
        let close = self.dice.once_in(2);
        self.say(|| format!("the server disconnects client {peer} from {at}, {close}"));
        match close {
            true => self.end_session(peer),
            false => self.books.excuse(self.peers[peer].sockets[at].1),
        }
        socket.disconnect(close);
    }

    fn pick_pipe(&mut self, peer: usize, is_wanted: impl Fn(&Pipe) -> bool) -> Option<Pipe> {
        let mut pipes = self.peers[peer].net.pipes();
        pipes.retain(is_wanted);
        let at = self.dice.below(pipes.len());
        pipes.get(at).cloned()
    }

    /// A link lets nothing through for a while: mostly not long enough to cost anybody anything.
    fn stall(&mut self, peer: usize) {
        let now = self.sim.now().since_origin();
        let for_long = self.dice.once_in(4);
        if !for_long && now < self.stalled + Duration::from_secs(25) {
            return;
        }
        let Some(pipe) = self.pick_pipe(peer, |_| true) else { return };
        let ms = if for_long { self.dice.below(80_000) } else { self.dice.below(2500) };
        self.say(|| format!("a stall of {ms} ms for client {peer}"));
        if for_long {
            self.harm(peer);
            pipe.lock().harmed = true;
            // If it is cut before its end, a request is sent again that the server answers only then.
            self.peers[peer].net.disturb(Duration::from_millis(ms as u64 + 5000));
        } else {
            self.stalled = now;
        }
        let ways = [(true, false), (false, true), (true, true)];
        let (to_server, to_client) = self.dice.pick(&ways).unwrap_or_default();
        pipe.stall(now + Duration::from_millis(ms as u64), to_server, to_client);
    }

    /// A stream breaks, or ends.
    fn cut(&mut self, peer: usize) {
        let Some(pipe) = self.pick_pipe(peer, |_| true) else { return };
        let breaks = self.dice.once_in(2);
        self.say(|| format!("a stream of client {peer} is cut, breaks: {breaks}"));
        self.harm(peer);
        pipe.lock().harmed = true;
        // A request that was on it may be sent again, when the server has seen it or closes the session for its end.
        self.peers[peer].net.disturb(Duration::from_secs(5));
        if !pipe.lock().is_websocket {
            self.peers[peer].sockets.iter().for_each(|(_, line)| self.books.allow_doubles(*line));
        }
        if breaks { pipe.break_off() } else { pipe.hang_up() }
    }

    /// The stream that an upgrade would move to is lost. That is known at once, and nothing else happens to the session;
    /// or later, when it may have moved.
    fn cut_upgrade(&mut self, peer: usize) {
        if self.peers[peer].client.transport() != Some(Transport::Polling) {
            return;
        }
        let Some(pipe) = self.pick_pipe(peer, |pipe| pipe.lock().is_websocket) else { return };
        let way = self.dice.below(4);
        self.say(|| format!("the upgrade of client {peer} is lost, {way}"));
        if way > 1 {
            self.harm(peer);
            pipe.lock().harmed = true;
        }
        match way {
            0 | 1 => pipe.break_off(),
            2 => pipe.hang_up(),
            _ => pipe.stall(Duration::MAX, true, true),
        }
    }

    /// The network of a client goes down, or comes back.
    fn toggle(&mut self, peer: usize) {
        let down = match self.peers[peer].net.is_down() {
            true => None,
            false => self.dice.pick(&[Down::Refused, Down::Silent]),
        };
        self.say(|| format!("the network of client {peer}: {down:?}"));
        if down.is_some() {
            self.harm(peer);
        }
        self.peers[peer].net.set_down(down);
    }

    fn fall_silent(&self, peer: usize) {
        self.say(|| format!("client {peer} hears nothing any more"));
        self.end_session(peer);
        self.peers[peer].net.pipes().iter().for_each(|pipe| pipe.stall(Duration::MAX, true, true));
    }

    /// Checks the invariants that hold after every step.
    fn check(&self) {
        self.books.check();
        for peer in &self.peers {
            for (socket, line) in &peer.sockets {
                let current = self.books.lock().lines[*line].current.clone();
                assert_eq!((socket.is_connected(), socket.id()), (current.is_some(), current));
                let limit = match peer.offline {
                    Offline::Fail => 4 << 20,
                    Offline::Buffer { bytes, .. } => bytes,
                };
                assert!(socket.buffered() <= limit, "{} bytes wait", socket.buffered());
            }
            assert!(peer.net.pipes().len() <= 16, "{} streams", peer.net.pipes().len());
        }
    }

    fn survivors(&self) -> usize {
        let books = self.books.lock();
        let connected = books.lines.iter().filter_map(|line| line.current.as_ref());
        connected.filter(|id| !books.sockets[*id].excused).count()
    }

    /// Everything works again: who wants to be connected is, and what is sent comes.
    fn settle(&mut self) {
        self.peers.iter().for_each(|peer| peer.net.set_down(None));
        self.sim.advance(Duration::from_secs(200));
        self.check();
        let from = self.number + 1;
        for peer in 0..self.peers.len() {
            for at in 0..2 {
                let (socket, line) = self.peers[peer].sockets[at].clone();
                assert_eq!(socket.is_active(), socket.is_connected(), "it is not connected again");
                if self.dice.once_in(3) {
                    socket.connect();
                }
                let number = self.next_number(false);
                self.client_asks(&socket, line, number);
                self.server_sends(peer, at);
            }
        }
        self.sim.advance(Duration::from_secs(15));
        self.check();
        self.books.check_settled(from, false);
        self.sim.advance(Duration::from_secs(120));
        self.check();
        self.books.check_settled(from, true);
    }

    /// Everything ends, one way or another: nothing is kept. The time that it took.
    fn end(mut self) -> Duration {
        (0..self.peers.len()).for_each(|peer| self.harm(peer));
        let way = self.dice.below(3);
        self.say(|| format!("the end: {way}"));
        match way {
            0 => {}
            1 => self.sim.server().begin_close(),
            _ => {
                let server = self.sim.server();
                let sockets = NAMESPACES.iter().flat_map(|name| server.of(name).sockets());
                sockets.for_each(|socket| socket.disconnect(false));
                self.sim.advance(Duration::from_secs(10));
            }
        }
        self.sim.advance(Duration::from_secs(self.dice.below(40) as u64));
        for peer in &self.peers {
            peer.client.close();
            peer.sockets.iter().for_each(|(socket, _)| socket.clear_buffer());
        }
        let closing = self.peers.iter().map(|peer| peer.client.clone());
        let closing: Vec<_> = closing.map(|it| self.sim.spawn(async move { it.closed().await })).collect();
        // Whatever the link and the server do.
        self.sim.advance(Duration::from_secs(15));
        assert!(closing.iter().all(|closed| closed.take().is_some()), "the end of a connection is not told");
        self.sim.advance(Duration::from_secs(185));
        for peer in &self.peers {
            assert!(peer.net.pipes().is_empty(), "streams are left");
            assert!(peer.sockets.iter().all(|(socket, _)| !socket.is_active() && socket.buffered() == 0));
        }
        self.books.check_end();
        let sockets: Vec<_> = self.peers.drain(..).map(|peer| peer.sockets[0].0.clone()).collect();
        self.sim.run();
        assert!(sockets.iter().all(|socket| socket.emit("m", 1).is_err()), "a client is left");
        let server = self.sim.server();
        assert_eq!((server.clients_count(), server.sockets().len(), self.sim.tasks()), (0, 0, 0));
        assert_eq!((server.next_deadline(), self.sim.sleepers()), (None, 0), "somebody still waits");
        self.sim.now().since_origin()
    }
}

/// Checks the result of an acknowledged emit: an answer that no peer gave, whose error has no reason, is a fault.
fn told(result: Result<u64, Option<String>>, number: u32, books: &Books) -> Result<(), String> {
    match result {
        Ok(value) if value == answer(number) => Ok(()),
        Err(Some(reason)) => Err(reason),
        other => {
            books.lock().faults.push(format!("an answer to {number} that nobody gave: {other:?}"));
            Err("wrong".into())
        }
    }
}

/// The reason why a client got no answer.
fn missed_by_client(error: ClientAckError) -> Option<String> {
    match error {
        ClientAckError::Timeout | ClientAckError::Disconnected => Some(error.to_string()),
        // Nobody hears of it but who asked.
        ClientAckError::Emit(error) => Some(format!("not sent: {error}")),
        _ => None,
    }
}

/// The same for the server.
fn missed_by_server(error: AckError) -> Option<String> {
    match error {
        AckError::Timeout | AckError::Disconnected => Some(error.to_string()),
        AckError::Emit(error) => Some(format!("not sent: {error}")),
        _ => None,
    }
}

/// The client's side.
fn listen(socket: &ClientSocket, line: usize, books: &Books, net: &Arc<Net>) {
    let (own, harmed) = (books.clone(), net.clone());
    socket.on_connect(move |socket: ClientSocket| {
        own.connected(line, socket.id(), harmed.is_harmed());
        async {}
    });
    let own = books.clone();
    socket.on_disconnect(move |reason: sockeye::client::ClientDisconnectReason| {
        own.disconnected(line, &reason.to_string());
        async {}
    });
    let own = books.clone();
    socket.on("m", move |Data((number, text, bytes)): Data<(u32, String, Option<Bytes>)>| {
        own.came_to_client(line, number, &text, bytes.as_ref());
        async {}
    });
    let (own, net) = (books.clone(), net.clone());
    socket.on("q", move |Data(number): Data<u32>| {
        own.question_came_to_client(number);
        let net = net.clone();
        async move {
            if number % 3 == 0 {
                net.sleep_until(net.now() + Duration::from_millis(300)).await;
            }
            answer(number)
        }
    });
}

/// The server's side.
fn serve(socket: &Socket, books: &Books) {
    let own = books.clone();
    socket.on("m", move |socket: Socket, Data((number, text, bytes)): Data<(u32, String, Option<Bytes>)>| {
        own.came_to_server(&socket.id(), number, &text, bytes.as_ref());
        async {}
    });
    let own = books.clone();
    socket.on("q", move |socket: Socket, Data(number): Data<u32>| {
        own.question_came_to_server(&socket.id(), number);
        async move { answer(number) }
    });
    let own = books.clone();
    socket.on_disconnect(move |socket: Socket, reason: DisconnectReason| {
        let too_slow = matches!(
            reason,
            DisconnectReason::Closed(CloseReason::TransportError(TransportError::SlowConsumer { .. }))
        );
        own.server_ended(&socket.id(), &reason.to_string(), too_slow);
        async {}
    });
}
