//! Large broadcasts: they are queued in batches, and what happens in between changes neither their order nor their
//! recipients.
#![allow(missing_docs, clippy::unwrap_used)]

mod simulation;

use simulation::{Client, Dice, Sim, ends};
use sockeye::{AckStream, Server, Socket};
use sockeye_core::drive::Protocol;
use sockeye_core::host::{Host, Peer};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};

/// Calls a function when it is woken, as an event loop might that runs tasks where they are woken.
struct Call(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Wake for Call {
    fn wake(self: Arc<Self>) {
        let call = self.0.lock().unwrap().take();
        call.into_iter().for_each(|call| call());
    }
}

/// A connection that is driven by hand, and its socket.
struct Intruder {
    connection: <Server as Host>::Connection,
    socket: Socket,
}

impl Intruder {
    fn new(server: &Server) -> Intruder {
        let now = sockeye_core::Time::ZERO;
        let mut connection = server.accept(now, Peer::default());
        let mut request = *b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
            Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        assert_eq!(connection.handle_data(now, &mut request), request.len());
        let before: BTreeSet<_> = server.sockets().iter().map(|socket| socket.id().to_string()).collect();
        let mut connect = *b"\x81\x82\0\0\0\x0040";
        assert_eq!(connection.handle_data(now, &mut connect), connect.len());
        while let Some(out) = connection.poll_transmit() {
            out.clear();
        }
        let mut sockets = server.sockets().into_iter();
        let socket = sockets.find(|socket| !before.contains(socket.id().as_str())).unwrap();
        Intruder { connection, socket }
    }

    /// Calls `f` when a message is queued for the connection.
    fn on_message(&mut self, f: impl FnOnce() + Send + 'static) {
        let call = Call(Mutex::new(Some(Box::new(f))));
        self.connection.set_waker(&Waker::from(Arc::new(call)));
    }
}

/// A simulation with clients and their sockets.
fn connect(count: usize) -> (Sim, Vec<Client>, Vec<Socket>) {
    let sim = Sim::new(Server::builder().send_buffer(1 << 30).build());
    let clients: Vec<_> = (0..count).map(|_| sim.connect()).collect();
    let namespace = sim.server().of("/");
    let sockets = clients.iter().map(|client| namespace.socket(&client.id).unwrap()).collect();
    (sim, clients, sockets)
}

/// Returns the rooms of each socket.
fn rooms(sockets: &[Socket]) -> Vec<BTreeSet<String>> {
    sockets.iter().map(|socket| socket.rooms().into_iter().collect()).collect()
}

const ROOMS: [&str; 4] = ["a", "b", "c", "d"];

/// Lets one of some sockets join or leave a room, or all of them. Returns its index.
fn move_one(sockets: &[Socket], dice: &mut Dice) -> usize {
    let at = dice.below(sockets.len());
    let room = ROOMS[dice.below(ROOMS.len())];
    match dice.below(5) {
        0 | 1 => sockets[at].join(room),
        2 | 3 => sockets[at].leave(room),
        _ => sockets[at].leave_all(),
    }
    at
}

#[test]
fn a_socket_that_stays_is_reached_once_while_others_join_and_leave() {
    let (sim, clients, sockets) = connect(200);
    for seed in 0..15 {
        let mut dice = Dice::new(seed);
        (0..dice.below(400)).for_each(|_| _ = move_one(&sockets, &mut dice));
        let mut intruder = Intruder::new(sim.server());
        let (mut to, except) = (dice.below(16), if dice.once_in(2) { dice.below(16) } else { 0 });
        if dice.once_in(4) {
            to = 0;
        }
        let named = |rooms: usize| -> Vec<&str> {
            (0..ROOMS.len()).filter(|i| rooms >> i & 1 == 1).map(|i| ROOMS[i]).collect()
        };
        let (to, except) = (named(to), named(except & !to));
        intruder.socket.join(&to);
        let is_target = |rooms: &BTreeSet<String>| {
            (to.is_empty() || to.iter().any(|room| rooms.contains(*room)))
                && !except.iter().any(|room| rooms.contains(*room))
        };
        let expected: Vec<bool> = rooms(&sockets).iter().map(is_target).collect();
        let moved = Arc::new(Mutex::new(BTreeSet::new()));
        intruder.on_message({
            let (moved, sockets, mut dice) = (moved.clone(), sockets.clone(), dice.fork());
            move || {
                let moves = dice.below(400);
                moved.lock().unwrap().extend((0..moves).map(|_| move_one(&sockets, &mut dice)));
            }
        });
        let delivery = sim.server().to(&to).except(&except).emit("e", seed);
        sim.run();
        let counts: Vec<usize> = clients.iter().map(|client| client.texts().len()).collect();
        let moved = moved.lock().unwrap();
        for (i, count) in counts.iter().enumerate() {
            match moved.contains(&i) {
                true => assert!(*count <= 1, "seed {seed}: a socket was reached {count} times"),
                false => assert_eq!(*count, usize::from(expected[i]), "seed {seed}"),
            }
        }
        assert_eq!(delivery.sent, counts.iter().sum::<usize>() + 1, "seed {seed}");
        intruder.socket.disconnect(true);
    }
}

#[test]
fn a_waker_that_panics_does_not_keep_the_other_recipients_from_being_woken() {
    for count in [10, 250] {
        let sim = Sim::new(Server::new());
        let mut intruder = Intruder::new(sim.server());
        let clients: Vec<_> = (0..count).map(|_| sim.connect()).collect();
        intruder.on_message(|| panic!("a bug of an event loop"));
        assert_eq!(sim.server().emit("e", ()).sent, count + 1);
        sim.run();
        assert!(clients.iter().all(|client| client.texts().len() == 1), "{count}");
    }
}

#[test]
fn the_first_recipients_are_woken_before_the_others_are_reached() {
    let (sim, clients, sockets) = connect(250);
    let mut intruder = Intruder::new(sim.server());
    let reached = Arc::new(Mutex::new(None));
    intruder.on_message({
        let (reached, sockets) = (reached.clone(), sockets.clone());
        move || {
            *reached.lock().unwrap() =
                Some(sockets.iter().filter(|socket| socket.queued_bytes() > 0).count());
            // Nothing is locked.
            sockets[0].join("x");
        }
    });
    assert_eq!(sim.server().emit("e", ()).sent, 251);
    let reached = reached.lock().unwrap().take().unwrap();
    assert!((1..100).contains(&reached), "{reached}");
    sim.run();
    assert!(clients.iter().all(|client| client.texts().len() == 1));
}

#[test]
fn a_broadcast_from_within_another_one_comes_after_it() {
    let (sim, clients, sockets) = connect(200);
    let mut intruder = Intruder::new(sim.server());
    let server = sim.server().clone();
    sockets[0].join("x");
    let inner = Arc::new(Mutex::new(None));
    intruder.on_message({
        let (server, inner) = (server.clone(), inner.clone());
        move || {
            *inner.lock().unwrap() = Some((server.emit("second", ()).sent, server.to("x").sockets().len()))
        }
    });
    let outer = ends(move || server.emit("first", ()).sent);
    sim.run();
    assert_eq!((outer, inner.lock().unwrap().take()), (201, Some((201, 1))));
    for client in &clients {
        assert_eq!(client.texts(), [r#"42["first"]"#, r#"42["second"]"#]);
    }
}

#[test]
fn each_recipient_of_a_large_broadcast_is_asked_once_while_others_join_and_leave() {
    let (sim, clients, sockets) = connect(200);
    sockets.iter().for_each(|socket| socket.join(["a", "b"]));
    let mut intruder = Intruder::new(sim.server());
    intruder.socket.join("a");
    intruder.on_message({
        let sockets = sockets.clone();
        move || {
            sockets[..50].iter().for_each(|socket| socket.leave(["a", "b"]));
            sockets[50..100].iter().for_each(|socket| {
                socket.leave("a");
                socket.join("a");
            });
        }
    });
    let mut answers: AckStream<u32> = sim.server().to(["a", "b"]).emit_with_ack("question", ());
    sim.run();
    let mut asked = 0;
    for (i, client) in clients.iter().enumerate() {
        let texts = client.texts();
        assert!(texts.len() == 1 || i < 50 && texts.is_empty(), "{i}: {texts:?}");
        if texts.len() == 1 {
            client.send("430[7]");
            asked += 1;
        }
    }
    let answered = sim.spawn(async move {
        let mut answered = BTreeMap::<_, usize>::new();
        for _ in 0..asked {
            let answer = answers.next().await.unwrap();
            *answered.entry(answer.socket.unwrap().to_string()).or_default() += 1;
        }
        drop(answers);
        answered
    });
    let answered = answered.take().unwrap();
    assert!(answered.len() == asked && answered.values().all(|count| *count == 1));
}

#[test]
fn what_a_thread_sends_after_a_large_broadcast_arrives_after_it() {
    let (sim, clients, sockets) = connect(200);
    for round in 0..3 {
        sim.server().emit("all", round);
        sockets.iter().for_each(|socket| socket.emit("one", round).unwrap());
    }
    sim.run();
    let expected = |round| [format!(r#"42["all",{round}]"#), format!(r#"42["one",{round}]"#)];
    let expected: Vec<_> = (0..3).flat_map(expected).collect();
    assert!(clients.iter().all(|client| client.texts() == expected));
}

/// This test is not deterministic.
#[test]
fn the_broadcasts_of_several_threads_have_one_order_while_another_thread_joins_and_leaves() {
    const EACH: usize = 20;
    let (sim, clients, sockets) = connect(200);
    sockets.iter().for_each(|socket| socket.join("x"));
    let mut threads: Vec<_> = (0..3)
        .map(|thread| {
            let server = sim.server().clone();
            std::thread::spawn(move || {
                for n in 0..EACH {
                    let sent = if n % 2 == 0 {
                        server.emit("e", (thread, n))
                    } else {
                        server.to("x").emit("e", (thread, n))
                    };
                    assert!(sent.sent >= 100);
                }
            })
        })
        .collect();
    let moving = sockets[..100].to_vec();
    threads.push(std::thread::spawn(move || {
        for n in 0..60 * EACH {
            let socket = &moving[n * 7 % moving.len()];
            socket.leave("x");
            socket.join("x");
        }
    }));
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    sim.run();
    let all: Vec<Vec<String>> = clients.iter().map(Client::texts).collect();
    let order = &all[150];
    assert_eq!(order.len(), 3 * EACH);
    assert!(all[100..].iter().all(|texts| texts == order));
    for texts in &all[..100] {
        // Those that a moving socket got are in the same order, and none came twice.
        let mut rest = order.iter();
        assert!(texts.iter().all(|text| rest.any(|other| other == text)));
        assert!(texts.len() >= 3 * EACH / 2);
    }
}
