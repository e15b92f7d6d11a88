//! The ends of sockets, sessions and servers, after which nothing is left of them.
#![allow(missing_docs, clippy::unwrap_used)]

mod simulation;

use simulation::{Client, Drops, Gate, Incoming, Sim};
use sockeye::{Args, DisconnectReason, EmitError, Limits, Server, Socket};
use sockeye_core::host::Host;
use sockeye_core::websocket::{Opcode, write_frame};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

type Reasons = Arc<Mutex<Vec<String>>>;

/// A server that records the reasons for which sockets of `/` and `/other` are disconnected.
fn recording(server: Server) -> (Sim, Reasons) {
    let reasons = Reasons::default();
    for namespace in ["/", "/other"] {
        let reasons = reasons.clone();
        server.of(namespace).on_connect(move |socket: Socket| {
            let reasons = reasons.clone();
            socket.on_disconnect(move |socket: Socket, reason: DisconnectReason| {
                reasons.lock().unwrap().push(format!("{} {reason}", socket.namespace().name()));
                async {}
            });
            async {}
        });
    }
    (Sim::new(server), reasons)
}

fn take(reasons: &Reasons) -> Vec<String> {
    std::mem::take(&mut *reasons.lock().unwrap())
}

#[test]
fn a_client_that_leaves_a_namespace() {
    let (sim, reasons) = recording(Server::new());
    let client = sim.connect();
    client.send("41");
    assert_eq!(take(&reasons), ["/ client namespace disconnect"]);
    client.expect_nothing();
    assert!(!client.is_closed());
    assert_eq!(sim.server().sockets().len(), 0);
    client.send(r#"42["a"]"#);
    client.expect_close();
}

#[test]
fn a_client_that_closes_or_is_cut_off() {
    let (sim, reasons) = recording(Server::new());
    let mut client = sim.connect();
    client.join("/other");
    client.close();
    assert_eq!(take(&reasons), ["/ transport close", "/other transport close"]);
    sim.connect().cut();
    assert_eq!(take(&reasons), ["/ transport close"]);
    let client = sim.connect();
    client.send("1");
    assert_eq!(take(&reasons), ["/ transport close"]);
    client.expect_close();
}

#[test]
fn a_client_that_falls_silent_within_a_message_is_noticed_while_it_is_sent_others() {
    let (sim, reasons) = recording(Server::new());
    let client = sim.connect();
    client.ignore_pings();
    // The head of a message of 256 bytes.
    client.send_bytes(&[0x81, 0xfe, 1, 0]);
    for _ in 0..44 {
        sim.advance(SECOND);
        sim.server().emit("news", ());
        sim.run();
    }
    assert_eq!(take(&reasons), [""; 0]);
    sim.advance(SECOND);
    assert_eq!(take(&reasons), ["/ ping timeout"]);
}

#[test]
fn a_client_that_does_not_answer_pings() {
    let (sim, reasons) = recording(Server::new());
    let client = sim.connect();
    client.ignore_pings();
    sim.advance(25 * SECOND);
    assert_eq!(client.next(), "2");
    sim.advance(20 * SECOND - Duration::from_millis(1));
    assert_eq!(take(&reasons), [""; 0]);
    sim.advance(Duration::from_millis(1));
    assert_eq!(take(&reasons), ["/ ping timeout"]);
    client.expect_close();
}

#[test]
fn a_client_that_breaks_a_protocol() {
    let (sim, reasons) = recording(Server::new());
    let client = sim.connect();
    client.send("x");
    assert_eq!(take(&reasons), ["/ parse error"]);
    client.expect_close();
    let client = sim.connect();
    client.send("42{");
    assert_eq!(take(&reasons), ["/ forced close"]);
    client.expect_close();
    let client = sim.connect();
    client.send("2");
    assert_eq!(take(&reasons), ["/ transport error"]);
    client.expect_close();
    let client = sim.connect();
    client.send_bytes(&[0xff, 0xff, 0xff]);
    assert_eq!(take(&reasons), ["/ transport error"]);
    client.expect_close();
}

#[test]
fn attachments_that_do_not_come_close() {
    let (sim, reasons) = recording(Server::new());
    let client = sim.connect();
    client.send(r#"452-["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#);
    client.send_binary(b"1");
    sim.advance(59 * SECOND);
    assert_eq!(take(&reasons), [""; 0]);
    sim.advance(SECOND);
    assert_eq!(take(&reasons), ["/ forced close"]);
    client.expect_close();
}

#[test]
fn a_server_that_disconnects_a_socket() {
    let (sim, reasons) = recording(Server::new());
    let mut client = sim.connect();
    client.join("/other");
    let other = sim.server().of("/other").sockets().remove(0);
    other.emit("last words", ()).unwrap();
    other.disconnect(false);
    assert_eq!(client.texts(), [r#"42/other,["last words"]"#, "41/other,"]);
    assert_eq!(take(&reasons), ["/other server namespace disconnect"]);
    assert!(!client.is_closed() && !other.is_connected());
    other.disconnect(false);
    client.expect_nothing();

    client.join("/other");
    let socket = sim.server().sockets().remove(0);
    socket.emit("last words", ()).unwrap();
    socket.disconnect(true);
    assert_eq!(client.next(), r#"42["last words"]"#);
    assert_eq!(client.next(), "41");
    assert_eq!(client.next(), "41/other,");
    client.expect_close();
    assert_eq!(take(&reasons), ["/ server namespace disconnect", "/other server namespace disconnect"]);
    assert_eq!(sim.server().clients_count(), 0);
}

#[test]
fn a_connect_handler_that_disconnects() {
    for wait in [false, true] {
        let server = Server::new();
        let gate = Gate::default();
        let hold = gate.clone();
        server.middleware(move || {
            let hold = hold.clone();
            async move {
                if wait {
                    hold.wait().await;
                }
                Ok(())
            }
        });
        server.on_connect(async |socket: Socket| {
            socket.emit("bye", ())?;
            socket.disconnect(true);
            socket.emit("late", ())
        });
        let sim = Sim::new(server);
        let client = sim.client();
        client.send("40");
        gate.open();
        assert!(client.next().starts_with("40"));
        assert_eq!(client.texts(), [r#"42["bye"]"#, "41"]);
        assert!(client.is_closed(), "after waiting: {wait}");
    }
}

/// A way to end a socket, or its whole session, from another thread.
type End = fn(&Socket);

#[test]
fn a_disconnect_handler_that_is_registered_after_the_end_in_the_connect_handler_runs_once() {
    let ways: [(End, &str); 3] = [
        (|socket| socket.disconnect(false), "server namespace disconnect"),
        (|socket| socket.disconnect(true), "server namespace disconnect"),
        (|socket| socket.server().unwrap().begin_close(), "server shutting down"),
    ];
    for (end, reason) in ways {
        for (registered_before, polling) in [(false, false), (true, false), (false, true)] {
            let server = Server::new();
            let told = Reasons::default();
            let log = told.clone();
            server.on_connect(move |socket: Socket| {
                let register = |socket: &Socket, which: &'static str| {
                    let log = log.clone();
                    socket.on_disconnect(move |socket: Socket, reason: DisconnectReason| {
                        log.lock().unwrap().push(format!("{which}: {reason} in {:?}", socket.rooms()));
                        async {}
                    });
                };
                if registered_before {
                    register(&socket, "earlier");
                }
                let ended = socket.clone();
                std::thread::spawn(move || end(&ended)).join().unwrap();
                // As if the lock protected a list of the sockets that are present.
                let mut log = log.lock().unwrap();
                socket.join("room");
                register(&socket, "kept");
                log.push("connected".to_owned());
                async {}
            });
            let sim = Sim::new(server);
            match polling {
                true => assert_eq!(sim.polling().post("40"), 200),
                false => sim.client().send("40"),
            }
            let earlier = registered_before.then(|| format!("earlier: {reason} in [\"room\"]"));
            let kept = format!("kept: {reason} in [\"room\"]");
            let expected: Vec<_> =
                ["connected".to_owned()].into_iter().chain(earlier).chain([kept]).collect();
            assert_eq!(take(&told), expected, "{registered_before} {polling}");
            assert_eq!(sim.server().sockets().len(), 0);
        }
    }
}

#[test]
fn a_disconnect_handler_that_is_registered_after_a_wait_and_the_end_runs_once() {
    let (server, gate, told) = (Server::new(), Gate::default(), Reasons::default());
    let (hold, log) = (gate.clone(), told.clone());
    server.on_connect(move |socket: Socket| {
        let (hold, log) = (hold.clone(), log.clone());
        async move {
            hold.wait().await;
            for which in ["first", "second"] {
                let log = log.clone();
                // Not called in place: the caller may hold a lock that the handler wants.
                let _held = log.clone();
                let _held = _held.lock().unwrap();
                socket.on_disconnect(move |reason: DisconnectReason| {
                    log.lock().unwrap().push(format!("{which}: {reason}"));
                    async {}
                });
            }
        }
    });
    let sim = Sim::new(server);
    let client = sim.connect();
    client.close();
    assert_eq!(take(&told), [""; 0]);
    gate.open();
    sim.run();
    assert_eq!(take(&told), ["first: transport close", "second: transport close"]);
    assert_eq!(sim.tasks(), 0);
}

#[test]
fn a_disconnect_handler_of_a_client_that_was_not_let_in_does_not_run() {
    let (server, told) = (Server::new(), Reasons::default());
    let log = told.clone();
    server.middleware(move |socket: Socket| {
        let log = log.clone();
        socket.on_disconnect(move || {
            log.lock().unwrap().push("told".to_owned());
            async {}
        });
        async { Err::<(), _>(sockeye::ConnectError::new("no")) }
    });
    let client = Sim::new(server).client();
    client.send("40");
    assert!(client.next().starts_with("44"));
    client.close();
    assert_eq!(take(&told), [""; 0]);
}

#[test]
fn a_polling_client_is_told_by_the_poll_that_waits_or_the_next_one() {
    let (sim, reasons) = recording(Server::new());
    let mut client = sim.polling();
    client.join();
    client.begin_poll();
    sim.server().sockets()[0].disconnect(true);
    // In two payloads, because the reference's client handles the close first if it finds both.
    assert_eq!(client.packets(), ["41"]);
    assert_eq!(client.poll(), ["1"]);
    assert_eq!(take(&reasons), ["/ server namespace disconnect"]);
    assert_eq!(sim.server().clients_count(), 0);

    let mut client = sim.polling();
    client.join();
    sim.server().sockets()[0].disconnect(true);
    assert_eq!(sim.server().clients_count(), 1);
    assert_eq!(client.poll(), ["41"]);
    assert_eq!(client.poll(), ["1"]);
    assert_eq!(sim.server().clients_count(), 0);
}

#[test]
fn a_forgotten_handle_owns_nothing() {
    let drops = Drops::default();
    let server = Server::new();
    server.on_connect({
        let drops = drops.clone();
        move |socket: Socket| {
            for event in ["a", "b"] {
                let (guard, held) = (drops.guard(), socket.clone());
                socket.on(event, move || {
                    let _ = &held;
                    guard.hold();
                    async {}
                });
            }
            let (guard, held) = (drops.guard(), socket.clone());
            socket.on_fallback(move || {
                let _ = &held;
                guard.hold();
                async {}
            });
            let guard = drops.guard();
            socket.on_disconnect(move |_: Socket| {
                guard.hold();
                async {}
            });
            async {}
        }
    });
    let sim = Sim::new(server);
    let client = sim.connect();
    let socket = sim.server().sockets().remove(0);
    client.close();
    assert_eq!(drops.count(), 4);
    assert!(!socket.is_connected());
    assert_eq!(socket.emit("x", ()), Err(EmitError::Disconnected));
    assert_eq!(socket.volatile().emit("x", ()), Err(EmitError::Disconnected));
    // A handler of an event that can no longer happen is not kept either.
    let (guard, held) = (drops.guard(), socket.clone());
    socket.on("x", move || {
        let _ = &held;
        guard.hold();
        async {}
    });
    assert_eq!(drops.count(), 5);
    socket.disconnect(true);
}

#[test]
fn a_session_s_memory_goes_with_it() {
    let drops = Drops::default();
    let server = Server::builder().state(Arc::new(drops.guard())).build();
    server.on_connect({
        let drops = drops.clone();
        move |socket: Socket| {
            socket.set_data(drops.guard());
            async {}
        }
    });
    let sim = Sim::new(server);
    let (client, mut polling) = (sim.connect(), sim.polling());
    polling.join();
    client.cut();
    polling.cut();
    drop((client, polling));
    sim.advance(60 * SECOND);
    assert_eq!(drops.count(), 2, "the sockets are gone");
    drop(sim);
    assert_eq!(drops.count(), 3, "and so is the server");
}

#[test]
fn a_server_that_is_dropped_takes_its_sessions_apart() {
    let (drops, ends) = (Drops::default(), Reasons::default());
    let server = Server::new();
    let gate = Gate::default();
    server.of("/later").middleware({
        let (gate, drops) = (gate.clone(), drops.clone());
        move |socket: Socket| {
            socket.set_data(drops.guard());
            let gate = gate.clone();
            async move {
                gate.wait().await;
                Ok(())
            }
        }
    });
    server.on_connect({
        let (drops, ends) = (drops.clone(), ends.clone());
        move |socket: Socket| {
            let (guard, held, ends) = (drops.guard(), socket.clone(), ends.clone());
            socket.on("x", move || {
                let _ = &held;
                guard.hold();
                async {}
            });
            socket.join("room");
            socket.on_disconnect(move |reason: DisconnectReason| {
                ends.lock().unwrap().push(reason.to_string());
                async {}
            });
            async {}
        }
    });
    let sim = Sim::new(server);
    let mut client = sim.polling();
    client.join();
    client.post("40/later,");
    let socket = sim.server().sockets().remove(0);
    client.cut();
    drop(client);
    drop(sim);
    assert_eq!(take(&ends), ["server shutting down"]);
    assert_eq!(drops.count(), 2, "the handlers of the one, and the data of the one that was not let in yet");
    assert!(!socket.is_connected() && socket.server().is_none());
    assert_eq!(socket.emit("x", ()), Err(EmitError::Disconnected));
}

#[test]
fn silence_empties_every_table() {
    let (sim, reasons) = recording(Server::new());
    // Clients of every kind, all of which fall silent: their streams stay open, but nothing more is sent.
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let mut client = sim.connect();
            client.join("/other");
            client.ignore_pings();
            client
        })
        .collect();
    let half_open = sim.client();
    half_open.ignore_pings();
    let mut pollers: Vec<_> = (0..3).map(|_| sim.polling()).collect();
    pollers[0].join();
    pollers[0].begin_poll();
    pollers[1].join();
    let probing = pollers[2].begin_upgrade();
    let socket = sim.server().sockets().remove(0);
    let answer = sim.spawn(socket.emit_with_ack::<u32>("ask", ()));
    sim.server().to("nobody").emit("x", ());
    assert_eq!(sim.server().clients_count(), 7);

    sim.advance(300 * SECOND);
    assert!(answer.take().is_some());
    assert_eq!(sim.server().clients_count(), 0);
    assert_eq!(sim.server().sockets().len(), 0);
    assert_eq!(sim.server().of("/other").sockets_count(), 0);
    assert_eq!(take(&reasons).len(), 8);
    assert_eq!(sim.server().next_deadline(), None);
    assert_eq!(sim.tasks(), 0, "every stream is closed");
    drop((clients, pollers, half_open, probing));
}

#[test]
fn an_upgrade_that_never_probes_is_closed_and_polling_goes_on() {
    let sim = Sim::new(Server::builder().upgrade_timeout(3 * SECOND).build());
    let mut client = sim.polling();
    client.join();
    client.begin_poll();
    let probe = client.begin_upgrade();
    sim.advance(3 * SECOND);
    assert!(probe.is_closed());
    sim.server().emit("e", ());
    assert_eq!(client.packets(), [r#"42["e"]"#]);
    // Another attempt can succeed.
    let probe = client.begin_upgrade();
    probe.send("2probe");
    assert_eq!(probe.next(), "3probe");
    client.begin_poll();
    assert_eq!(client.packets(), ["6"]);
    sim.server().emit("between", ());
    probe.send("5");
    assert_eq!(probe.next(), r#"42["between"]"#);
    sim.server().emit("after", ());
    assert_eq!(probe.next(), r#"42["after"]"#);
    sim.advance(100 * SECOND);
    assert!(!probe.is_closed());
}

#[test]
fn an_upgrade_that_does_not_wait_for_its_poll_is_not_called_away_by_it() {
    let sim = Sim::new(Server::builder().ping_interval(10 * SECOND).ping_timeout(5 * SECOND).build());
    let mut client = sim.polling();
    client.join();
    client.begin_poll();
    let probe = client.begin_upgrade();
    probe.send_all(["2probe", "5"]);
    assert_eq!(client.packets(), ["6"]);
    assert_eq!(probe.next(), "3probe");
    sim.server().emit("e", ());
    assert_eq!(probe.next(), r#"42["e"]"#);
    probe.ignore_pings();
    sim.advance(15 * SECOND);
    assert!(probe.is_closed());
    sim.advance(300 * SECOND);
    assert_eq!(sim.tasks(), 0, "every stream is closed");
}

#[test]
fn what_follows_an_upgrade_at_once_is_given_its_own_time() {
    let limits = Limits { reassembly_timeout: 10 * SECOND, ..Limits::default() };
    let server = Server::builder().packet_limits(limits).build();
    server.on_connect(async |socket: Socket| {
        socket.on("file", async |socket: Socket, args: Args| socket.emit("had", args.len()));
    });
    let sim = Sim::new(server);
    let mut client = sim.polling();
    client.join();
    sim.advance(20 * SECOND);
    let probe = client.begin_upgrade();
    probe.send("2probe");
    assert_eq!(probe.next(), "3probe");
    probe.send_all(["5", r#"451-["file",{"_placeholder":true,"num":0}]"#]);
    sim.advance(9 * SECOND);
    probe.send_binary(b"x");
    while let Some(Incoming::Text(text)) = probe.poll() {
        if text != "2" {
            return assert_eq!(text, r#"42["had",1]"#);
        }
    }
    panic!("no answer");
}

#[test]
fn a_session_that_closes_during_an_upgrade_tells_both_streams() {
    let sim = Sim::new(Server::new());
    let mut client = sim.polling();
    client.join();
    let probe = client.begin_upgrade();
    client.begin_poll();
    sim.server().sockets()[0].disconnect(true);
    assert_eq!(client.packets(), ["41"]);
    assert_eq!(client.poll(), ["1"]);
    assert!(probe.is_closed());
}

#[test]
fn a_server_that_closes_tells_everybody_and_ends_when_it_is_written() {
    let (sim, reasons) = recording(Server::new());
    let (reader, stalled) = (sim.connect(), sim.connect());
    stalled.stop_reading();
    let mut polling = sim.polling();
    polling.join();
    let big = "x".repeat(200_000);
    sim.server().emit("last", &big);
    let server = sim.server().clone();
    let closed = sim.spawn(async move { server.close().await });
    assert_eq!(take(&reasons), ["/ server shutting down"; 3]);
    assert!(reader.next().contains("last"));
    assert_eq!(reader.poll(), Some(Incoming::Close(Some(1001))));
    assert!(!sim.server().is_closed(), "there are clients that were not told");
    // No further client is accepted.
    let late = simulation::Client::dial(&sim, "EIO=4&transport=websocket");
    assert!(late.status().contains("503"), "{}", late.status());
    drop(late);

    let packets = polling.poll();
    assert!(packets[0].contains("last"));
    assert_eq!(polling.poll(), ["1"]);
    assert!(!sim.server().is_closed());
    stalled.resume_reading();
    assert!(stalled.next().contains("last"));
    assert_eq!(stalled.poll(), Some(Incoming::Close(Some(1001))));
    assert!(sim.server().is_closed());
    assert!(closed.take().is_some());
}

#[test]
fn a_server_that_closes_does_not_wait_for_ever() {
    let sim = Sim::new(Server::new());
    let stalled = sim.connect();
    stalled.stop_reading();
    sim.server().emit("last", "x".repeat(200_000));
    let mut polling = sim.polling();
    polling.join();
    let silent = sim.polling();
    sim.server().begin_close();
    sim.run();
    assert!(!sim.server().is_closed());
    sim.advance(60 * SECOND);
    assert!(sim.server().is_closed());
    drop((silent, polling));
}

#[test]
fn an_idle_server_closes_at_once() {
    let server = Server::new();
    assert!(!server.is_closed());
    server.begin_close();
    assert!(server.is_closed());
    // A stream that is only kept open for later requests does not count.
    let sim = Sim::new(Server::new());
    let mut polling = sim.polling();
    polling.join();
    sim.server().begin_close();
    sim.run();
    assert!(!sim.server().is_closed());
    assert_eq!(polling.poll(), ["1"]);
    assert!(sim.server().is_closed());
}

#[test]
fn a_crowd_that_is_due_at_once_is_pinged_by_turns_and_loses_nobody() {
    let sim = Sim::new(Server::builder().ping_interval(10 * SECOND).ping_timeout(5 * SECOND).build());
    let clients: Vec<_> = (0..300).map(|_| sim.client()).collect();
    clients.iter().for_each(Client::ignore_pings);
    sim.advance(10 * SECOND);
    assert!(clients.iter().all(|client| client.next() == "2"));
    clients.iter().step_by(2).for_each(|client| client.send("3"));
    sim.advance(5 * SECOND);
    assert_eq!(sim.server().clients_count(), 150);
    for (n, client) in clients.iter().enumerate() {
        assert_eq!(client.is_closed(), n % 2 == 1, "client {n}");
    }
}

#[test]
fn a_client_whose_connection_is_closed_joins_nothing_while_its_handlers_are_told() {
    let (server, connects) = (Server::new(), Drops::default());
    let sim = Sim::new(server.clone());
    let (counted, others) = (connects.clone(), Arc::new(Mutex::new(Some(sim.others()))));
    server.on_connect(move |socket: Socket| {
        drop(counted.guard());
        let others = others.clone();
        socket.on_disconnect(move || {
            // The client's next packet is handled meanwhile.
            let others = others.lock().unwrap().take();
            others.into_iter().for_each(|others| others.run(10));
            async {}
        });
        async {}
    });
    let client = sim.connect();
    client.put(&text_frame("40"));
    server.sockets()[0].disconnect(true);
    sim.run();
    assert_eq!(client.next(), "41");
    client.expect_close();
    assert_eq!(connects.count(), 1);
    assert_eq!(sim.server().clients_count(), 0);
}

#[test]
fn a_disconnecting_handler_runs_once_before_the_socket_leaves_its_rooms() {
    let (server, calls) = (Server::new(), Reasons::default());
    let sim = Sim::new(server.clone());
    let notes = calls.clone();
    server.on_connect(move |socket: Socket| {
        let (notes, later) = (notes.clone(), notes.clone());
        socket.join("red");
        socket.on_disconnect(move |socket: Socket| {
            let members = socket.to("red").emit("left", ()).sent;
            later.lock().unwrap().push(format!("disconnect {:?} {members}", socket.rooms()));
            async {}
        });
        socket.on_disconnecting(move |socket: Socket, reason: DisconnectReason| {
            socket.join("blue");
            let is_sent = socket.emit("bye", ()).is_ok();
            let members = socket.within("red").emit("leaving", ()).sent;
            let mut rooms = socket.rooms();
            rooms.sort();
            notes.lock().unwrap().push(format!("disconnecting {rooms:?} {members} {is_sent} {reason}"));
            async {}
        });
        async {}
    });
    let (client, other) = (sim.connect(), sim.connect());
    client.send("41");
    let [first, second] = <[String; 2]>::try_from(take(&calls)).unwrap();
    assert_eq!(first, r#"disconnecting ["blue", "red"] 1 false client namespace disconnect"#);
    assert!(second.starts_with("disconnect [") && second.ends_with("] 1"), "{second}");
    assert_eq!(other.texts(), [r#"42["leaving"]"#, r#"42["left"]"#]);
    assert_eq!(server.to("red").emit("x", ()).sent, 1);
    assert_eq!(server.to("blue").emit("x", ()).sent, 0);
    client.expect_nothing();
    other.close();
    assert_eq!(take(&calls).len(), 2);
}

#[test]
fn the_last_handlers_of_a_namespace_and_its_socket_run_in_turn() {
    let (server, calls) = (Server::new(), Reasons::default());
    let note = |name: &'static str| {
        let calls = calls.clone();
        move || {
            calls.lock().unwrap().push(name.to_owned());
            async {}
        }
    };
    server.on_disconnect(note("disconnect of the namespace"));
    server.on_disconnecting(note("disconnecting of the namespace"));
    let (disconnect, disconnecting) = (note("disconnect"), note("disconnecting"));
    server.on_connect(move |socket: Socket| {
        socket.on_disconnect(disconnect.clone());
        socket.on_disconnecting(disconnecting.clone());
        async {}
    });
    Sim::new(server).connect().close();
    let order =
        ["disconnecting of the namespace", "disconnecting", "disconnect of the namespace", "disconnect"];
    assert_eq!(take(&calls), order);
}

/// A text message, as clients send it.
fn text_frame(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_frame(&mut bytes, Opcode::Text, text.as_bytes(), Some([1, 2, 3, 4]));
    bytes
}

#[test]
fn a_disconnect_handler_of_a_client_that_could_not_be_told_of_its_acceptance_does_not_run() {
    let (server, told) = (Server::builder().send_buffer(100_000).build(), Reasons::default());
    let log = told.clone();
    server.of("/late").middleware(move |socket: Socket| {
        let log = log.clone();
        socket.on_disconnect(move || {
            log.lock().unwrap().push("told".to_owned());
            async {}
        });
        async { Ok(()) }
    });
    let sim = Sim::new(server);
    let client = sim.connect();
    sim.server().sockets()[0].emit("x", "y".repeat(99_980)).unwrap();
    client.send("40/late,");
    assert!(client.is_closed());
    assert_eq!(take(&told), [""; 0]);
    assert_eq!(sim.server().clients_count(), 0);
}
