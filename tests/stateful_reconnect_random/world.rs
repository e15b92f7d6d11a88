//! A server and a client between which connections come and go, all from one seed.

use crate::ledger::{Ledger, content};
use crate::simulation::{Dice, Down, Net, Sim};
use bytes::Bytes;
use sockeye::client::{ClientDisconnectReason, ManagerEvent};
use sockeye::extract::Data;
use sockeye::host::{Host, Runtime};
use sockeye::{Client, ClientSocket, Parser, Server, Socket, StatefulReconnect, Transport};
use std::ops::AddAssign;
use std::sync::Arc;
use std::time::Duration;

/// The transports that a client may have.
pub const TRANSPORTS: [&[Transport]; 4] = [
    &[Transport::Polling],
    &[Transport::WebSocket],
    &[Transport::Polling, Transport::WebSocket],
    &[Transport::WebSocket, Transport::Polling],
];

/// How a world is set up.
pub struct Setup {
    pub transports: &'static [Transport],
    pub parser: Parser,
    /// The time for which the server keeps a session. One side may notice a loss by a heartbeat only.
    pub window: Duration,
    /// The limit of what a side keeps.
    pub max_bytes: usize,
}

pub struct World {
    pub sim: Sim,
    pub dice: Dice,
    pub ledger: Ledger,
    pub client: Client,
    pub net: Arc<Net>,
    number: u32,
    trace: bool,
}

/// The sum of what happened in worlds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub messages: u32,
    pub interruptions: u32,
    pub resumptions: u32,
    pub disconnects: u32,
    pub lost: usize,
}

impl AddAssign for Outcome {
    fn add_assign(&mut self, other: Outcome) {
        self.messages += other.messages;
        self.interruptions += other.interruptions;
        self.resumptions += other.resumptions;
        self.disconnects += other.disconnects;
        self.lost += other.lost;
    }
}

impl World {
    /// A client that has joined the namespace.
    pub fn new(mut dice: Dice, setup: Setup, trace: bool) -> World {
        let ledger = Ledger::default();
        let own = ledger.clone();
        let resumes = StatefulReconnect::new().window(setup.window).max_bytes(setup.max_bytes);
        let hour = Duration::from_secs(3600);
        let server =
            Server::builder().parser(setup.parser).ack_timeout(hour).stateful_reconnect(resumes).build();
        server.on_connect(move |socket: Socket| {
            serve(&socket, &own);
            async {}
        });
        let sim = Sim::new(server);
        let net = sim.net(dice.fork());
        let client = Client::builder("http://here")
            .transports(setup.transports.iter().copied())
            .parser(setup.parser)
            .stateful_reconnect(true)
            .timestamp_requests(false)
            .randomization_factor(0.0)
            .timeout(Duration::from_secs(5))
            .ack_timeout(hour)
            .build()
            .expect("the settings are right");
        client.attach(net.clone());
        listen(&client, &ledger, trace.then(|| net.clone()));
        client.connect();
        sim.advance(Duration::from_secs(10));
        assert!(client.is_connected());
        World { sim, dice, ledger, client, net, number: 0, trace }
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>10.3} {}", self.sim.now().since_origin().as_secs_f64(), what());
        }
    }

    fn next_number(&mut self) -> u32 {
        self.number += 1;
        self.number
    }

    pub fn client_sends(&mut self) {
        let number = self.next_number();
        self.say(|| format!("the client sends {number}"));
        match self.dice.below(3) {
            0 => {
                self.ledger.lock().question(number);
                let (ledger, answered) = (self.ledger.clone(), self.client.emit_with_ack::<u32>("q", number));
                self.sim.spawn(async move {
                    let answer = answered.await.map_err(|error| error.to_string());
                    ledger.lock().question(number).answer = Some(answer);
                });
            }
            _ => match self.client.emit("m", (number, content(number))) {
                Ok(_) => self.ledger.lock().sent.push(number),
                Err(error) => self.say(|| format!("refused: {error}")),
            },
        }
    }

    pub fn server_sends(&mut self) {
        let number = self.next_number();
        let Some(id) = self.ledger.lock().current.clone() else { return };
        let Some(socket) = self.sim.server().of("/").socket(&id) else { return };
        self.say(|| format!("the server sends {number}"));
        match self.dice.below(3) {
            0 => {
                self.ledger.lock().question(number);
                let (ledger, answered) = (self.ledger.clone(), socket.emit_with_ack::<u32>("q", number));
                self.sim.spawn(async move {
                    let answer = answered.await.map_err(|error| error.to_string());
                    ledger.lock().question(number).answer = Some(answer);
                });
            }
            _ => match socket.emit("m", (number, content(number))) {
                Ok(()) => self.ledger.lock().sockets.entry(id).or_default().sent.push(number),
                Err(error) => self.say(|| format!("refused: {error}")),
            },
        }
    }

    /// Both sides send something.
    pub fn talk(&mut self) {
        for _ in 0..1 + self.dice.below(4) {
            if self.dice.once_in(2) {
                self.client_sends()
            } else {
                self.server_sends()
            }
            if self.dice.once_in(2) {
                self.sim.run();
            }
        }
    }

    pub fn pass(&mut self, most: usize) {
        let ms = self.dice.below(most);
        self.sim.advance(Duration::from_millis(ms as u64));
    }

    /// Something happens to the connection. Unless `is_harsh`, no session has to end for it.
    pub fn disturb(&mut self, is_harsh: bool) {
        let is_interrupted = {
            let books = self.ledger.lock();
            books.interruptions > books.resumptions
        };
        // One disturbance after the other could take longer than the server waits.
        if is_interrupted && !is_harsh && !self.dice.once_in(20) {
            return;
        }
        let pipes = self.net.pipes();
        let pipe = self.dice.pick(&(0..pipes.len()).collect::<Vec<_>>()).and_then(|at| pipes.get(at));
        let what = self.dice.below(if is_harsh { 8 } else { 6 });
        self.say(|| format!("disturbance {what}, {} streams", pipes.len()));
        let ways = [(true, false), (false, true), (true, true)];
        let (to_server, to_client) = self.dice.pick(&ways).unwrap_or_default();
        let now = self.sim.now().since_origin();
        match (what, pipe) {
            (0 | 1, Some(pipe)) => pipe.break_off(),
            (2, Some(pipe)) => pipe.hang_up(),
            (3, Some(pipe)) => pipe.stall(now + Duration::from_millis(2500), to_server, to_client),
            // Nothing comes through any more, which only the heartbeat shows.
            (4, _) => pipes.iter().for_each(|pipe| pipe.stall(Duration::MAX, to_server, to_client)),
            (5, _) => {
                pipes.iter().for_each(|pipe| pipe.break_off());
                self.net.set_down(self.dice.pick(&[Down::Refused, Down::Silent]));
                self.talk();
                self.pass(2000);
                self.net.set_down(None);
            }
            (6, _) => {
                pipes.iter().for_each(|pipe| pipe.break_off());
                self.net.set_down(Some(Down::Refused));
                self.talk();
                self.pass(60_000);
                self.net.set_down(None);
            }
            (7, Some(_)) if self.dice.once_in(3) => {
                let id = self.ledger.lock().current.clone();
                if let Some(socket) = id.and_then(|id| self.sim.server().of("/").socket(&id)) {
                    socket.disconnect(true);
                    self.sim.advance(Duration::from_secs(10));
                    self.client.connect();
                }
            }
            _ => {}
        }
    }

    /// Everything that was sent arrives, or is known to be lost.
    pub fn settle(&mut self, is_safe: bool) {
        self.sim.advance(Duration::from_secs(200));
        self.ledger.lock().check(is_safe);
        if self.ledger.lock().is_dismissed && !self.client.is_connected() {
            // The server has disconnected it, but it heard so only after it was to connect again.
            self.client.connect();
            self.sim.advance(Duration::from_secs(200));
        }
        assert!(self.client.is_connected(), "it is not connected again");
        self.talk();
        self.sim.advance(Duration::from_secs(30));
        self.ledger.lock().check(is_safe);
        self.ledger.lock().check_settled();
    }

    /// Everything ends, and nothing is left.
    pub fn end(self) -> Outcome {
        let outcome = self.outcome();
        self.client.close();
        self.sim.advance(Duration::from_secs(200));
        assert!(self.net.pipes().is_empty(), "streams are left");
        let World { sim, client, .. } = self;
        drop(client);
        sim.run();
        let server = sim.server();
        assert_eq!((server.clients_count(), sim.tasks(), sim.sleepers()), (0, 0, 0));
        assert_eq!(server.next_deadline(), None, "somebody still waits");
        outcome
    }

    fn outcome(&self) -> Outcome {
        let books = self.ledger.lock();
        Outcome {
            messages: self.number,
            interruptions: books.interruptions,
            resumptions: books.resumptions,
            disconnects: books.disconnects,
            lost: books.lost.len(),
        }
    }
}

/// The client's side.
fn listen(client: &Client, ledger: &Ledger, trace: Option<Arc<Net>>) {
    let say = move |what: String| {
        if let Some(net) = &trace {
            println!("{:>10.3}   {what}", net.now().since_origin().as_secs_f64());
        }
    };
    let (own, told) = (ledger.clone(), say.clone());
    client.on_manager_event(move |event| {
        told(format!("{event:?}"));
        match event {
            ManagerEvent::Interrupted(_) => own.lock().interruptions += 1,
            ManagerEvent::Resumed => own.lock().resumptions += 1,
            _ => {}
        }
    });
    let own = ledger.clone();
    client.on_connect(move |socket: ClientSocket| {
        own.lock().current = socket.id();
        async {}
    });
    let own = ledger.clone();
    client.on_disconnect(move |reason: ClientDisconnectReason| {
        say(format!("disconnected: {reason:?}"));
        let mut books = own.lock();
        books.disconnects += 1;
        books.is_dismissed = reason == ClientDisconnectReason::Server;
        if reason == ClientDisconnectReason::Server {
            // The server drops them, as it wants to hear no more.
            books.excused = books.sent.iter().copied().collect();
        }
        let id = books.current.take().unwrap_or_default();
        books.sockets.entry(id).or_default().ended = true;
        // What is lost with the session is no interruption any more.
        books.resumptions = books.interruptions;
        async {}
    });
    let own = ledger.clone();
    client.on_lost(move |Data((number, _)): Data<(u32, Bytes)>| {
        if !own.lock().lost.insert(number) {
            own.lock().faults.push(format!("{number} was reported twice"));
        }
        async {}
    });
    let own = ledger.clone();
    client.on("m", move |Data((number, data)): Data<(u32, Bytes)>| {
        own.came_to_client(number, &data);
        async {}
    });
    let own = ledger.clone();
    client.on("q", move |Data(number): Data<u32>| {
        own.lock().question(number).asked += 1;
        async move { number }
    });
}

/// The server's side.
fn serve(socket: &Socket, ledger: &Ledger) {
    let own = ledger.clone();
    socket.on("m", move |Data((number, data)): Data<(u32, Bytes)>| {
        own.came_to_server(number, &data);
        async {}
    });
    let own = ledger.clone();
    socket.on("q", move |Data(number): Data<u32>| {
        own.lock().question(number).asked += 1;
        async move { number }
    });
}
