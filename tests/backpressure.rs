//! Slow clients and slow handlers take bounded memory and do not slow others down.
#![allow(missing_docs, clippy::unwrap_used)]

mod simulation;

use simulation::{Client, Gate, Sim};
use sockeye::extract::Data;
use sockeye::{AckError, DisconnectReason, EmitError, Server, Socket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_client_that_does_not_read_is_closed_when_its_send_buffer_is_full() {
    let reason = Arc::new(Mutex::new(None));
    let server = Server::builder().send_buffer(500_000).build();
    server.on_connect({
        let reason = reason.clone();
        move |socket: Socket| {
            let reason = reason.clone();
            socket.on_disconnect(move |why: DisconnectReason| {
                *reason.lock().unwrap() = Some(why.to_string());
                async {}
            });
            async {}
        }
    });
    let sim = Sim::new(server);
    let (slow, fast) = (sim.connect(), sim.connect());
    let socket = sim.server().of("/").socket(&slow.id).unwrap();
    fast.sim.server().of("/").socket(&fast.id).unwrap().on_disconnect(async || ());
    slow.stop_reading();
    let text = "x".repeat(1000);
    let mut sent = 0;
    let error = loop {
        match socket.emit("x", &text) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        sim.run();
        assert!(sent < 1000, "unbounded");
    };
    assert!(matches!(error, EmitError::SlowConsumer { queued } if queued <= 500_000), "{error}");
    assert!(sent >= 400);
    assert!(!socket.is_connected());
    sim.run();
    assert_eq!(reason.lock().unwrap().as_deref(), Some("transport error"));
    assert_eq!(sim.server().sockets().len(), 1);
    sim.advance(60 * SECOND);
    assert_eq!(sim.server().clients_count(), 1);
    // The closed client is no longer a recipient.
    assert_eq!(sim.server().emit("e", 1).sent, 1);
    assert_eq!(fast.texts(), [r#"42["e",1]"#]);
}

#[test]
fn an_emit_does_not_call_the_disconnect_handler_of_a_slow_client_itself() {
    let server = Server::builder().send_buffer(100_000).build();
    let lock = Arc::new(Mutex::new(()));
    let was_free = Arc::new(Mutex::new(Vec::new()));
    server.on_connect({
        let (lock, was_free) = (lock.clone(), was_free.clone());
        move |socket: Socket| {
            let (lock, was_free) = (lock.clone(), was_free.clone());
            socket.on_disconnect(move || {
                was_free.lock().unwrap().push(lock.try_lock().is_ok());
                async {}
            });
            async {}
        }
    });
    let sim = Sim::new(server);
    let clients = [sim.connect(), sim.connect()];
    clients.iter().for_each(Client::stop_reading);
    let alone = sim.server().of("/").socket(&clients[0].id).unwrap();
    for _ in 0..20 {
        let _guard = lock.lock().unwrap();
        let text = "x".repeat(60_000);
        let _ = alone.emit("x", &text);
        sim.server().emit("x", &text);
    }
    sim.run();
    assert_eq!(*was_free.lock().unwrap(), [true, true]);
}

#[test]
fn a_broadcast_closes_slow_clients_and_reaches_the_others() {
    let server = Server::builder().send_buffer(300_000).build();
    server.on_connect(async |socket: Socket| {
        socket.join("all");
        // A disconnect handler may broadcast and leave rooms, because no lock is held.
        socket.on_disconnect(async |socket: Socket| {
            socket.to("all").emit("left", socket.id().as_str());
            socket.leave("all");
        });
    });
    let sim = Sim::new(server);
    let slow: Vec<_> = (0..3).map(|_| sim.connect()).collect();
    let fast = sim.connect();
    slow.iter().for_each(Client::stop_reading);
    let text = "x".repeat(10_000);
    let mut dropped = 0;
    let mut sent = 0;
    for _ in 0..60 {
        dropped += sim.server().to("all").emit("x", &text).dropped;
        sent += 1;
        sim.run();
    }
    assert_eq!(dropped, 3);
    let texts = fast.texts();
    assert_eq!(texts.iter().filter(|text| text.contains("xxx")).count(), sent);
    assert_eq!(texts.iter().filter(|text| text.contains("left")).count(), 3);
    assert_eq!(sim.server().sockets().len(), 1);
}

#[test]
fn what_a_blocked_write_leaves_counts_at_once_and_no_volatile_event_is_queued_behind_it() {
    let sim = Sim::new(Server::new());
    let client = sim.connect();
    let socket = sim.server().sockets().remove(0);
    client.stop_reading();
    // Its frame is 1,024 bytes long, so that the network is full behind a whole one.
    let text = "x".repeat(1010);
    while socket.conn().queued_bytes == 0 {
        socket.emit("x", &text).unwrap();
        sim.run();
    }
    // Those of one message, and not of the next one as well.
    assert_eq!(socket.conn().queued_bytes, 1024);
    socket.volatile().emit("x", &text).unwrap_err();
    client.resume_reading();
    sim.run();
    assert_eq!(socket.conn().queued_bytes, 0);
    socket.volatile().emit("x", &text).unwrap();
}

#[test]
fn a_message_larger_than_the_send_buffer_is_an_error_and_closes_no_client() {
    let sim = Sim::new(Server::builder().send_buffer(10_000).build());
    let client = sim.connect();
    let socket = sim.server().sockets().remove(0);
    let text = "x".repeat(10_000);
    assert!(matches!(socket.emit("x", &text), Err(EmitError::TooLarge { limit: 10_000 })));
    assert!(matches!(socket.volatile().emit("x", &text), Err(EmitError::TooLarge { .. })));
    let delivery = sim.server().emit("x", &text);
    assert_eq!((delivery.sent, delivery.dropped), (0, 1));
    assert_eq!(delivery.error, Some(EmitError::TooLarge { limit: 10_000 }));
    client.expect_nothing();
    assert!(!client.is_closed());
    socket.emit("x", ()).unwrap();
    assert_eq!(client.next(), r#"42["x"]"#);
}

#[test]
fn reading_frees_the_send_buffer() {
    let sim = Sim::new(Server::builder().send_buffer(400_000).build());
    let client = sim.connect();
    let socket = sim.server().sockets().remove(0);
    client.stop_reading();
    socket.emit("x", "y".repeat(350_000)).unwrap();
    sim.run();
    // The client reads most of the message, in pieces.
    for _ in 0..4 {
        client.take_some();
    }
    socket.emit("x", "y".repeat(300_000)).unwrap();
    client.resume_reading();
    assert_eq!(client.texts().len(), 2);
    assert!(!client.is_closed());
}

/// Creates a server whose handler of `work` waits at a gate, then answers. Also returns the number of calls begun.
fn working(gate: &Gate) -> (Sim, Arc<AtomicUsize>) {
    let (sim, begun, _) = working_until(gate);
    (sim, begun)
}

/// Does the same, and also returns the reasons for which clients were disconnected.
fn working_until(gate: &Gate) -> (Sim, Arc<AtomicUsize>, Arc<Mutex<Vec<String>>>) {
    let server = Server::new();
    let begun = Arc::new(AtomicUsize::new(0));
    let reasons = Arc::new(Mutex::new(Vec::new()));
    server.on_connect({
        let (gate, begun, reasons) = (gate.clone(), begun.clone(), reasons.clone());
        move |socket: Socket| {
            let (gate, begun, reasons) = (gate.clone(), begun.clone(), reasons.clone());
            socket.on_disconnect(move |reason: DisconnectReason| {
                reasons.lock().unwrap().push(reason.to_string());
                async {}
            });
            socket.on("work", move |socket: Socket, Data(n): Data<u32>| {
                begun.fetch_add(1, Ordering::SeqCst);
                let gate = gate.clone();
                async move {
                    gate.wait().await;
                    socket.emit("done", n)
                }
            });
            async {}
        }
    });
    (Sim::new(server), begun, reasons)
}

fn work(count: usize) -> Vec<String> {
    (0..count).map(|n| format!(r#"42["work",{n}]"#)).collect()
}

#[test]
fn a_client_that_goes_while_its_handlers_are_behind_is_noticed() {
    for by_upgrade in [false, true] {
        let gate = Gate::default();
        let (sim, begun, reasons) = working_until(&gate);
        let mut polling = sim.polling();
        let client = if by_upgrade {
            polling.join();
            let probe = polling.begin_upgrade();
            probe.send_all(["2probe", "5"]);
            probe
        } else {
            sim.connect()
        };
        client.send_all(work(300).iter().map(String::as_str));
        client.cut();
        assert_eq!(begun.load(Ordering::SeqCst), 256);
        sim.advance(45 * SECOND);
        assert_eq!(*reasons.lock().unwrap(), ["ping timeout"]);
        polling.cut();
        sim.advance(45 * SECOND);
        assert_eq!(sim.server().clients_count(), 0);
        assert_eq!(sim.server().sockets().len(), 0);
        // Its stream is closed: only the handlers are left.
        sim.advance(100 * SECOND);
        assert_eq!(sim.tasks(), 256);
        gate.open();
        sim.run();
        assert_eq!((sim.tasks(), begun.load(Ordering::SeqCst)), (0, 256));
    }
}

#[test]
fn what_a_client_sent_before_it_went_is_handled_if_handlers_catch_up() {
    let gate = Gate::default();
    let (sim, begun, reasons) = working_until(&gate);
    let client = sim.connect();
    client.send_all(work(300).iter().map(String::as_str));
    client.cut();
    sim.advance(20 * SECOND);
    assert!(reasons.lock().unwrap().is_empty());
    gate.open();
    sim.run();
    assert_eq!(begun.load(Ordering::SeqCst), 300);
    assert_eq!(*reasons.lock().unwrap(), ["transport close"]);
    assert_eq!((sim.server().clients_count(), sim.tasks()), (0, 0));
}

#[test]
fn a_client_that_sends_on_while_its_handlers_are_behind_waits_and_is_pinged() {
    let gate = Gate::default();
    let (sim, begun, reasons) = working_until(&gate);
    let client = sim.connect();
    client.ignore_pings();
    for events in work(60_000).chunks(1000) {
        client.send_all(events.iter().map(String::as_str));
    }
    let sent: usize = work(60_000).iter().map(|event| event.len() + 6).sum();
    let taken = sent - client.untaken();
    assert!(taken < 200 << 10, "{taken} bytes were taken");
    assert_eq!(begun.load(Ordering::SeqCst), 256);
    // Its pongs would come after all that, so it is not closed, but pinged again.
    sim.advance(205 * SECOND);
    assert_eq!(client.texts(), ["2"; 10]);
    assert!(reasons.lock().unwrap().is_empty());
    // Once it is gone, a ping cannot be written.
    client.break_off();
    sim.advance(20 * SECOND);
    assert_eq!(*reasons.lock().unwrap(), ["transport error"]);
    assert_eq!(sim.server().clients_count(), 0);
    assert_eq!(sim.tasks(), 256, "what is left are the handlers");
}

#[test]
fn a_polling_client_whose_handlers_are_behind_lives_as_long_as_it_polls() {
    let gate = Gate::default();
    let (sim, begun, reasons) = working_until(&gate);
    let mut client = sim.polling();
    client.join();
    client.begin_post(&work(256).join("\x1e"));
    assert_eq!(begun.load(Ordering::SeqCst), 256);
    // It cannot answer a ping before its request is answered.
    client.begin_poll();
    sim.advance(25 * SECOND);
    for _ in 0..20 {
        assert_eq!(client.packets(), ["2"]);
        client.begin_poll();
        sim.advance(20 * SECOND);
    }
    assert_eq!(client.packets(), ["2"]);
    sim.advance(19 * SECOND);
    assert!(reasons.lock().unwrap().is_empty());
    sim.advance(SECOND);
    assert_eq!(*reasons.lock().unwrap(), ["ping timeout"]);
    assert_eq!(client.posted().unwrap().0, 200);
    assert_eq!(sim.server().clients_count(), 0);
}

#[test]
fn a_polling_client_that_goes_while_its_handlers_are_behind_is_noticed() {
    let gate = Gate::default();
    let (sim, _, reasons) = working_until(&gate);
    let mut client = sim.polling();
    client.join();
    client.begin_post(&work(256).join("\x1e"));
    client.cut();
    sim.advance(45 * SECOND);
    assert_eq!(*reasons.lock().unwrap(), ["ping timeout"]);
    assert_eq!((sim.server().clients_count(), sim.tasks()), (0, 256));
}

#[test]
fn a_client_is_not_read_while_too_many_of_its_handlers_are_running() {
    let gate = Gate::default();
    let (sim, begun) = working(&gate);
    let (busy, other) = (sim.connect(), sim.connect());
    let events: Vec<_> = (0..1000).map(|n| format!(r#"42["work",{n}]"#)).collect();
    for events in events.chunks(100) {
        busy.send_all(events.iter().map(String::as_str));
    }
    assert_eq!(begun.load(Ordering::SeqCst), 256);
    other.send(r#"42["work",0]"#);
    assert_eq!(begun.load(Ordering::SeqCst), 257);
    gate.open();
    sim.run();
    let mut done = busy.texts();
    assert_eq!(done.len(), 1000);
    done.sort_by_key(|text| text.len());
    assert_eq!(done[999], r#"42["done",999]"#);
    assert_eq!(begun.load(Ordering::SeqCst), 1001);
}

#[test]
fn a_client_does_not_time_out_while_it_is_not_read() {
    let gate = Gate::default();
    let (sim, begun) = working(&gate);
    let client = sim.connect();
    let events: Vec<_> = (0..300).map(|n| format!(r#"42["work",{n}]"#)).collect();
    client.send_all(events.iter().map(String::as_str));
    // The client seems silent only because its pongs are not read.
    sim.advance(300 * SECOND);
    assert!(!client.is_closed());
    gate.open();
    assert_eq!(client.texts().len(), 300);
    assert_eq!(begun.load(Ordering::SeqCst), 300);
    // The ping timeout applies again afterwards.
    client.ignore_pings();
    sim.advance(90 * SECOND);
    assert!(client.is_closed());
}

#[test]
fn a_client_is_read_while_its_handlers_wait_for_its_acknowledgements() {
    let server = Server::new();
    server.on_connect(async |socket: Socket| {
        socket.on("ask", async |socket: Socket, Data(n): Data<u32>| {
            let answer = socket.emit_with_ack::<u32>("really", n).await?;
            Ok::<_, AckError>(answer)
        });
    });
    let sim = Sim::new(server);
    let client = sim.connect();
    let events: Vec<_> = (0..1000).map(|n| format!(r#"42{n}["ask",{n}]"#)).collect();
    client.send_all(events.iter().map(String::as_str));
    let asked = client.texts();
    assert_eq!(asked.len(), 1000);
    let answers: Vec<_> = (0..1000).map(|n| format!("43{n}[{n}]")).collect();
    client.send_all(answers.iter().map(String::as_str));
    assert_eq!(client.texts(), answers);
}

#[test]
fn a_post_is_answered_once_the_handlers_of_its_events_catch_up() {
    let gate = Gate::default();
    let (sim, begun) = working(&gate);
    let mut client = sim.polling();
    client.join();
    let events: Vec<_> = (0..1000).map(|n| format!(r#"42["work",{n}]"#)).collect();
    client.begin_post(&events.join("\x1e"));
    assert_eq!(client.posted(), None);
    // The limit applies within one request, too.
    assert_eq!(begun.load(Ordering::SeqCst), 256);
    gate.open();
    assert_eq!(client.posted().unwrap().0, 200);
    assert_eq!(begun.load(Ordering::SeqCst), 1000);
    let mut done = client.poll();
    done.sort_by_key(String::len);
    assert_eq!((done.len(), done[999].as_str()), (1000, r#"42["done",999]"#));
    assert_eq!(client.post(r#"42["work",1]"#), 200);
}

#[test]
fn further_requests_do_not_advance_a_post_that_waits_for_handlers() {
    let gate = Gate::default();
    let (sim, begun) = working(&gate);
    let mut client = sim.polling();
    client.join();
    client.begin_post(&[r#"42["work",1]"#; 300].join("\x1e"));
    // Ten more requests follow on the same stream.
    (0..10).for_each(|_| client.begin_post(r#"42["work",1]"#));
    assert_eq!(begun.load(Ordering::SeqCst), 256);
    gate.open();
    (0..11).for_each(|_| assert_eq!(client.posted().unwrap().0, 200));
    assert_eq!(begun.load(Ordering::SeqCst), 310);
}

#[test]
fn an_invalid_packet_is_refused_when_its_turn_comes() {
    // An empty packet is refused at once, because it starts no handler; also after the last separator.
    for bad in ["x", "x\x1e42[\"work\",1]", "\x1e42[\"work\",1]", ""] {
        let gate = Gate::default();
        let (sim, begun) = working(&gate);
        let mut client = sim.polling();
        client.join();
        client.begin_post(&format!("{}\x1e{bad}", [r#"42["work",1]"#; 256].join("\x1e")));
        let early = client.posted();
        assert_eq!(early.is_some(), !bad.starts_with('x'), "{bad:?}");
        gate.open();
        assert_eq!(early.or_else(|| client.posted()).unwrap().0, 400, "{bad:?}");
        assert_eq!(begun.load(Ordering::SeqCst), 256);
        assert_eq!(sim.server().clients_count(), 0);
    }
}

#[test]
fn the_rest_of_a_post_is_dropped_when_its_session_ends() {
    let gate = Gate::default();
    let (sim, begun) = working(&gate);
    let mut client = sim.polling();
    client.join();
    client.begin_post(&[r#"42["work",1]"#; 300].join("\x1e"));
    sim.server().sockets().remove(0).disconnect(true);
    assert_eq!(client.posted().unwrap().0, 200);
    gate.open();
    sim.run();
    assert_eq!(begun.load(Ordering::SeqCst), 256);
}

#[test]
fn a_session_ends_if_the_connection_of_a_partly_handled_post_closes() {
    let gate = Gate::default();
    for (events, is_lost) in [(256, false), (257, true)] {
        let (sim, begun) = working(&gate);
        let mut client = sim.polling();
        client.join();
        client.begin_post(&vec![r#"42["work",1]"#; events].join("\x1e"));
        assert_eq!(client.posted(), None);
        client.cut();
        // The client could not be told that a part of the post was not handled.
        assert_eq!(sim.server().clients_count(), usize::from(!is_lost), "{events}");
        assert_eq!(begun.load(Ordering::SeqCst), 256);
    }
}

#[test]
fn a_polling_client_can_answer_the_handlers_that_its_post_waits_for() {
    for by_broadcast in [false, true] {
        let gate = Gate::default();
        let server = Server::new();
        server.on_connect({
            let gate = gate.clone();
            move |socket: Socket| {
                let gate = gate.clone();
                socket.on("ask", move |socket: Socket, Data(n): Data<u32>| {
                    let gate = gate.clone();
                    async move {
                        gate.wait().await;
                        match by_broadcast {
                            true => socket
                                .namespace()
                                .emit_with_ack("really", n)
                                .await
                                .all()
                                .map(|mut all| all.remove(0)),
                            false => socket.emit_with_ack::<u32>("really", n).await,
                        }
                    }
                });
                async {}
            }
        });
        let sim = Sim::new(server);
        let mut client = sim.polling();
        client.join();
        let events: Vec<_> = (0..300).map(|n| format!(r#"42{n}["ask",{n}]"#)).collect();
        client.begin_post(&events.join("\x1e"));
        assert_eq!(client.posted(), None);
        // The handlers that were started now ask the client.
        gate.open();
        assert_eq!(client.posted().unwrap().0, 200);
        let asked = client.poll();
        assert_eq!(asked.len(), 300);
        let answer = |asked: &String| {
            let (id, n) = asked.strip_prefix("42").unwrap().split_once(r#"["really","#).unwrap();
            format!("43{id}[{n}")
        };
        let answers: Vec<_> = asked.iter().map(answer).collect();
        assert_eq!(client.post(&answers.join("\x1e")), 200);
        assert_eq!(client.poll().len(), 300);
    }
}

#[test]
fn a_client_is_not_read_while_it_does_not_read_the_answers() {
    let server = Server::new();
    let calls = Arc::new(AtomicUsize::new(0));
    server.on_connect({
        let calls = calls.clone();
        move |socket: Socket| {
            let calls = calls.clone();
            socket.on("get", move |socket: Socket, Data(n): Data<u32>| {
                calls.fetch_add(1, Ordering::SeqCst);
                async move { socket.emit("got", (n, "x".repeat(50_000))) }
            });
            async {}
        }
    });
    let sim = Sim::new(server);
    let client = sim.connect();
    client.stop_reading();
    let events: Vec<_> = (0..60).map(|n| format!(r#"42["get",{n}]"#)).collect();
    for events in events.chunks(7) {
        client.send_all(events.iter().map(String::as_str));
    }
    let behind = calls.load(Ordering::SeqCst);
    assert!((1..=10).contains(&behind), "{behind}");
    assert!(!client.is_closed());
    client.resume_reading();
    let got = client.texts();
    assert_eq!(got.len(), 60);
    for (n, got) in got.iter().enumerate() {
        assert!(got.starts_with(&format!(r#"42["got",{n},"#)));
    }
}

#[test]
fn large_answers_to_a_burst_do_not_stall_a_client_that_reads() {
    let server = Server::new();
    server.on_connect(async |socket: Socket| socket.on("get", async || "x".repeat(300_000)));
    let sim = Sim::new(server);
    let client = sim.connect();
    // All events arrive at once, and each answer alone is large enough to pause reading.
    client.send_all([r#"420["get"]"#, r#"421["get"]"#, r#"422["get"]"#]);
    assert_eq!(client.texts().len(), 3);
}
