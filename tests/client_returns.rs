//! Clients that lose their server again and again, in memory: how they come back.
#![allow(missing_docs, clippy::unwrap_used)]

mod simulation;

use simulation::{Dice, Down, Net, Sim};
use sockeye::client::{ClientAckError, ClientBuilder};
use sockeye::extract::{Auth, Data};
use sockeye::{AckError, Client, ClientSocket, Server, Socket, Transport};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
/// The longest wait between two attempts, and the time that one takes in this network.
const NEXT_ATTEMPT: Duration = Duration::from_secs(7);

/// A server that adds one to a number, and the values of `visit` in the credentials of those that were let in.
fn counting() -> (Server, Arc<Mutex<Vec<u32>>>) {
    let io = Server::new();
    let visits = Arc::new(Mutex::new(Vec::new()));
    let notes = visits.clone();
    io.on_connect(move |_: Socket, Auth(auth): Auth<HashMap<String, u32>>| {
        notes.lock().unwrap().push(auth["visit"]);
        async {}
    });
    io.on("next", async |Data(number): Data<u32>| number + 1);
    (io, visits)
}

/// A client whose credentials count how often they were asked for.
struct Visitor {
    sim: Sim,
    net: Arc<Net>,
    _client: Client,
    socket: ClientSocket,
}

impl Visitor {
    fn new(sim: &Sim, seed: u64, settings: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Visitor {
        let asked = AtomicU32::new(0);
        let builder = Client::builder("http://here").auth_with(move || {
            let visit = asked.fetch_add(1, Ordering::Relaxed);
            async move { Ok::<_, &str>(HashMap::from([("visit", visit)])) }
        });
        let client = settings(builder).build().unwrap();
        let net = sim.net(Dice::new(seed));
        client.attach(net.clone());
        let socket = client.socket("/");
        Visitor { sim: sim.clone(), net, _client: client, socket }
    }

    /// Ends all streams, and lets no other be opened.
    fn go_offline(&self, down: Down) {
        self.net.set_down(Some(down));
        self.net.pipes().iter().for_each(simulation::Pipe::break_off);
        self.sim.run();
    }

    /// The client has one connection, which works, and goes on having one.
    #[track_caller]
    fn expect_one_connection(&self) {
        for _ in 0..3 {
            assert!(self.socket.is_connected());
            assert_eq!((self.sim.server().clients_count(), self.sim.server().sockets().len()), (1, 1));
            // One for what is sent, too.
            assert!(self.net.pipes().len() <= 2);
            let answer = self.sim.spawn(self.socket.emit_with_ack::<u32>("next", 1));
            self.sim.advance(40 * SECOND);
            assert_eq!(answer.take().unwrap().unwrap(), 2);
        }
    }
}

fn ways() -> [Vec<Transport>; 3] {
    use Transport::{Polling, WebSocket};
    [vec![Polling], vec![WebSocket], vec![Polling, WebSocket]]
}

#[test]
fn a_client_whose_server_was_away_for_any_time_comes_back_by_one_connection() {
    for way in ways() {
        for seconds in [1, 60, 3600] {
            let (io, visits) = counting();
            let sim = Sim::new(io);
            let visitor = Visitor::new(&sim, seconds.into(), |builder| builder.transports(way.clone()));
            visitor.socket.connect();
            sim.advance(5 * SECOND);
            visitor.expect_one_connection();
            visitor.go_offline(Down::Refused);
            sim.advance(seconds * SECOND);
            assert!(!visitor.socket.is_connected() && visitor.socket.is_active());
            visitor.net.set_down(None);
            sim.advance(NEXT_ATTEMPT);
            visitor.expect_one_connection();
            // The credentials are asked for anew, and only once there is a connection.
            assert_eq!(*visits.lock().unwrap(), [0, 1], "{seconds} s by {way:?}");
        }
    }
}

#[test]
fn a_client_whose_network_comes_and_goes_has_one_connection_in_the_end() {
    for way in ways() {
        let (io, visits) = counting();
        let sim = Sim::new(io);
        let visitor = Visitor::new(&sim, 1, |builder| builder.transports(way.clone()));
        visitor.socket.connect();
        for flap in 0..10 {
            sim.advance(Duration::from_millis(700 * flap));
            visitor.go_offline(if flap % 2 == 0 { Down::Refused } else { Down::Silent });
            sim.advance(Duration::from_millis(300 * (9 - flap)));
            visitor.net.set_down(None);
        }
        // An attempt to which nobody answered is given up after 20 s, and a session that was opened by polling and then
        // lost ends by its heartbeat.
        sim.advance(100 * SECOND);
        visitor.expect_one_connection();
        let visits = visits.lock().unwrap();
        assert!(visits.is_sorted_by(|one, next| one < next), "{visits:?}");
    }
}

#[test]
fn a_client_that_finds_no_server_at_first_tries_again() {
    for down in [Down::Refused, Down::Silent] {
        let (io, visits) = counting();
        let sim = Sim::new(io);
        let visitor = Visitor::new(&sim, 1, |builder| builder);
        visitor.net.set_down(Some(down));
        visitor.socket.connect();
        sim.advance(100 * SECOND);
        assert!(!visitor.socket.is_connected() && visitor.socket.is_active());
        visitor.net.set_down(None);
        sim.advance(20 * SECOND + NEXT_ATTEMPT);
        visitor.expect_one_connection();
        assert_eq!(*visits.lock().unwrap(), [0], "{down:?}");
    }
}

#[test]
fn clients_that_lose_their_server_at_once_come_back_spread_over_a_second() {
    const COUNT: u64 = 500;
    let (io, visits) = counting();
    let sim = Sim::new(io);
    let visitors: Vec<_> = (0..COUNT)
        .map(|seed| Visitor::new(&sim, seed, |builder| builder.transports([Transport::WebSocket])))
        .collect();
    visitors.iter().for_each(|visitor| visitor.socket.connect());
    sim.advance(2 * SECOND);
    assert_eq!(sim.server().sockets().len(), visitors.len());
    for visitor in &visitors {
        visitor.net.pipes().iter().for_each(simulation::Pipe::break_off);
    }
    sim.run();
    let mut back = Vec::new();
    for _ in 0..30 {
        let before = visits.lock().unwrap().len();
        sim.advance(SECOND / 10);
        back.push(visits.lock().unwrap().len() - before);
    }
    // The first wait is between 0.5 s and 1.5 s; connecting takes a few tenths more here, and rarely over 0.5 s.
    assert_eq!(back.iter().sum::<usize>() as u64, COUNT, "{back:?}");
    assert_eq!(back[..5].iter().sum::<usize>(), 0, "{back:?}");
    assert!(back.iter().all(|count| *count < COUNT as usize / 5), "{back:?}");
}

#[test]
fn a_handler_of_a_client_may_ask_the_server_while_it_answers() {
    let io = Server::new();
    io.on("next", async |Data(number): Data<u32>| number + 1);
    let sim = Sim::new(io);
    let client = Client::builder("http://here").build().unwrap();
    client.attach(sim.net(Dice::new(1)));
    let socket = client.socket("/");
    socket.on("twice", async |socket: ClientSocket, Data(number): Data<u32>| {
        let one = socket.emit_with_ack::<u32>("next", number).await?;
        let two = socket.emit_with_ack::<u32>("next", one).await?;
        Ok::<_, ClientAckError>(two)
    });
    socket.connect();
    sim.advance(5 * SECOND);
    let server_side = sim.server().sockets().remove(0);
    let answer = sim.spawn(server_side.emit_with_ack::<u32>("twice", 5));
    sim.advance(5 * SECOND);
    assert_eq!(answer.take().unwrap().map_err(|error: AckError| error.to_string()), Ok(7));
}
