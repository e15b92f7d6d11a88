//! Several threads at once. These tests are not deterministic.
#![allow(missing_docs, clippy::unwrap_used)]

mod simulation;

use bytes::Bytes;
use simulation::{Drops, Gate, Incoming, Sim};
use sockeye::{Server, Socket};
use sockeye_core::host::Host;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::time::{Duration, Instant};

/// Runs the simulation until all threads have ended.
fn turn_while(sim: &Sim, threads: Vec<std::thread::JoinHandle<()>>) {
    let begun = Instant::now();
    while !threads.iter().all(|thread| thread.is_finished()) {
        sim.run();
        assert!(begun.elapsed() < Duration::from_secs(60), "deadlock");
    }
    threads.into_iter().for_each(|thread| thread.join().expect("the thread does not panic"));
    sim.run();
}

#[test]
fn attachments_follow_their_event_while_other_threads_emit() {
    const EACH: usize = 200;
    let sim = Sim::new(Server::builder().send_buffer(64 << 20).build());
    sim.share();
    let client = sim.connect();
    let mut polling = sim.polling();
    polling.join();
    let socket = sim.server().of("/").socket(&client.id).unwrap();
    let threads = (0..8_u8).map(|thread| {
        let (socket, server) = (socket.clone(), sim.server().clone());
        std::thread::spawn(move || {
            for n in 0..EACH {
                let data = Bytes::from(vec![thread; n]);
                match n % 3 {
                    0 => server.emit("b", (thread, data.clone(), data)).sent,
                    1 => socket.emit("b", (thread, data.clone(), data)).map_or(0, |()| 1),
                    _ => socket.emit("t", thread).map_or(0, |()| 1),
                };
            }
        })
    });
    turn_while(&sim, threads.collect());
    let mut seen = [0; 8];
    while let Some(incoming) = client.poll() {
        let Incoming::Text(text) = incoming else { panic!("an attachment without an event") };
        if let Some(thread) = text.strip_prefix(r#"42["t","#) {
            seen[thread[..1].parse::<usize>().unwrap()] += 1;
            continue;
        }
        let thread: u8 = text.strip_prefix(r#"452-["b","#).unwrap()[..1].parse().unwrap();
        for _ in 0..2 {
            assert!(client.next_binary().iter().all(|byte| *byte == thread));
        }
        seen[usize::from(thread)] += 1;
    }
    assert_eq!(seen, [EACH; 8]);

    let mut rest = 8 * EACH.div_ceil(3);
    while rest > 0 {
        let packets = polling.poll();
        let mut packets = packets.iter();
        while let Some(packet) = packets.next() {
            assert!(packet.starts_with("452-"), "{packet}");
            assert!(packets.next().unwrap().starts_with('b') && packets.next().unwrap().starts_with('b'));
            rest -= 1;
        }
    }
}

#[test]
fn every_message_wakes_the_connection() {
    const ROUNDS: usize = 2000;
    let sim = Sim::new(Server::new());
    sim.share();
    let client = sim.connect();
    let socket = sim.server().sockets().remove(0);
    // All messages of a round must arrive before the next round, so that a missing wake is not covered by a later one.
    let barrier = Arc::new(Barrier::new(5));
    let threads = (0..4).map(|_| {
        let (socket, barrier) = (socket.clone(), barrier.clone());
        std::thread::spawn(move || {
            for round in 0..ROUNDS {
                socket.emit("e", round).unwrap();
                barrier.wait();
            }
        })
    });
    let threads: Vec<_> = threads.collect();
    let begun = Instant::now();
    for round in 0..ROUNDS {
        let mut arrived = 0;
        while arrived < 4 {
            arrived += client.texts().len();
            assert!(begun.elapsed() < Duration::from_secs(60), "{arrived} of 4 in round {round}");
        }
        barrier.wait();
    }
    turn_while(&sim, threads);
    assert_eq!(client.texts(), [""; 0]);
}

#[test]
fn concurrent_joins_leaves_broadcasts_and_disconnects_do_not_deadlock_or_leak() {
    let server = Server::new();
    server.on_connect(async |socket: Socket| {
        socket.join("all");
        let held = socket.clone();
        socket.on("x", async |socket: Socket| socket.to("all").emit("y", ()).sent);
        socket.on_disconnect(move |socket: Socket| {
            held.to("all").emit("left", ());
            socket.join("late");
            async {}
        });
    });
    let sim = Sim::new(server);
    sim.share();
    static STOP: AtomicBool = AtomicBool::new(false);
    let threads = (0..4).map(|thread| {
        let server = sim.server().clone();
        std::thread::spawn(move || {
            let mut n = thread;
            while !STOP.load(Ordering::Relaxed) {
                n = n * 7 % 1009 + 1;
                let sockets = server.sockets();
                let Some(socket) = sockets.get(n % sockets.len().max(1)) else { continue };
                match n % 8 {
                    0 => socket.join(format!("room {}", n % 3)),
                    1 => socket.leave("all"),
                    2 => drop(server.to("all").to("room 1").emit("b", n)),
                    3 => drop(server.to("room 2").emit_with_ack::<u32>("b", n)),
                    4 => drop(socket.timeout(Duration::ZERO).emit_with_ack::<u32>("b", n)),
                    5 => server.to("room 0").sockets_join("all"),
                    6 => socket.disconnect(n % 16 == 6),
                    _ => drop(socket.rooms()),
                }
            }
        })
    });
    let threads: Vec<_> = threads.collect();
    for round in 0..100 {
        let clients: Vec<_> = (0..5)
            .map(|_| {
                let client = sim.client();
                client.send("40");
                client
            })
            .collect();
        for (n, client) in clients.iter().enumerate() {
            // This is ignored if the client is already disconnected.
            match (round + n) % 3 {
                0 => client.send(r#"421["x"]"#),
                1 => client.close(),
                _ => client.cut(),
            }
        }
        sim.advance(Duration::from_millis(1));
    }
    STOP.store(true, Ordering::Relaxed);
    turn_while(&sim, threads);
    sim.advance(Duration::from_secs(120));
    assert_eq!(sim.server().clients_count(), 0);
    assert_eq!(sim.server().sockets().len(), 0);
    for room in ["all", "late", "room 0", "room 1", "room 2"] {
        assert_eq!(sim.server().to(room).sockets().len(), 0, "{room}");
    }
    assert_eq!(sim.tasks(), 0);
    assert_eq!(sim.server().next_deadline(), None);
}

#[test]
fn a_server_that_closes_while_clients_connect_ends() {
    for _ in 0..20 {
        let sim = Sim::new(Server::new());
        sim.share();
        let clients: Vec<_> = (0..4).map(|_| sim.connect()).collect();
        let server = sim.server().clone();
        let thread = std::thread::spawn(move || server.begin_close());
        let late = simulation::Client::dial(&sim, "EIO=4&transport=websocket");
        turn_while(&sim, vec![thread]);
        drop((clients, late));
        sim.advance(Duration::from_secs(10));
        assert!(sim.server().is_closed());
        assert_eq!(sim.tasks(), 0);
    }
}

#[test]
fn a_room_that_is_left_while_the_client_is_let_in_is_left() {
    const ROUNDS: usize = 2000;
    let server = Server::new();
    let (waiting, gates) = mpsc::channel();
    server.middleware(move |socket: Socket| {
        let gate = Gate::default();
        socket.join("x");
        waiting.send((socket, gate.clone())).unwrap();
        async move {
            gate.wait().await;
            Ok(())
        }
    });
    let sim = Sim::new(server);
    sim.share();
    let barrier = Arc::new(Barrier::new(2));
    let (leave, leaving) = mpsc::channel::<Socket>();
    let thread = std::thread::spawn({
        let barrier = barrier.clone();
        move || {
            for (round, socket) in leaving.into_iter().enumerate() {
                barrier.wait();
                // Each moment of the other thread's work is met in some round.
                (0..round * 13 % 4001).for_each(|_| std::hint::spin_loop());
                socket.leave("x");
                barrier.wait();
            }
        }
    });
    for round in 0..ROUNDS {
        let client = sim.client();
        client.send("40");
        let (socket, gate) = gates.recv().unwrap();
        leave.send(socket.clone()).unwrap();
        barrier.wait();
        gate.open();
        sim.run();
        barrier.wait();
        assert!(socket.rooms().is_empty() && sim.server().to("x").sockets().is_empty(), "in round {round}");
        client.close();
    }
    drop(leave);
    turn_while(&sim, vec![thread]);
}

#[test]
fn a_disconnect_handler_that_is_registered_during_the_end_runs_once() {
    const ROUNDS: usize = 3000;
    let (server, sockets) = (Server::new(), Arc::<Mutex<Vec<Socket>>>::default());
    let connected = sockets.clone();
    server.on_connect(move |socket: Socket| {
        connected.lock().unwrap().push(socket);
        async {}
    });
    let sim = Sim::new(server);
    sim.share();
    let (end, ends) = mpsc::channel::<Socket>();
    let barrier = Arc::new(Barrier::new(2));
    let thread = std::thread::spawn({
        let barrier = barrier.clone();
        move || {
            for (round, socket) in ends.into_iter().enumerate() {
                barrier.wait();
                // Each moment of the other thread's work is met in some round.
                (0..round * 13 % 1009).for_each(|_| std::hint::spin_loop());
                socket.disconnect(false);
                barrier.wait();
            }
        }
    });
    for round in 0..ROUNDS {
        let _client = sim.connect();
        let (socket, told) = (sockets.lock().unwrap().remove(0), Drops::default());
        end.send(socket.clone()).unwrap();
        barrier.wait();
        let counted = told.clone();
        socket.on_disconnect(move || {
            drop(counted.guard());
            async {}
        });
        barrier.wait();
        sim.run();
        assert_eq!(told.count(), 1, "in round {round}");
    }
    drop(end);
    thread.join().unwrap();
}
