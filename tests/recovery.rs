//! Recovery of connections: clients that were away for a moment get what they missed, or begin anew.
#![allow(missing_docs, clippy::unwrap_used)]

mod simulation;

use serde_json::Value;
use simulation::{Calls, Client, Gate, Sim};
use sockeye::{ConnectError, DisconnectReason, Recovery, RecoveryUsage, Server, Socket};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn recovering() -> Server {
    Server::builder().connection_state_recovery(Recovery::new()).build()
}

/// What a client knows of its connection.
#[derive(Clone, Debug, PartialEq)]
struct Known {
    sid: String,
    pid: String,
    offset: Option<String>,
}

impl Known {
    /// Reads the answer to a request to connect.
    fn read(packet: &str) -> Known {
        let value: Value = serde_json::from_str(packet.strip_prefix("40").unwrap()).unwrap();
        let text = |key: &str| value[key].as_str().unwrap_or_else(|| panic!("no {key}: {packet}")).to_owned();
        Known { sid: text("sid"), pid: text("pid"), offset: None }
    }

    /// Notes the offset of an event, and returns its name.
    fn note(&mut self, packet: &str) -> String {
        let event: Vec<Value> = serde_json::from_str(packet.strip_prefix("42").unwrap()).unwrap();
        self.offset = Some(event.last().and_then(Value::as_str).expect("an offset").to_owned());
        event[0].as_str().unwrap().to_owned()
    }

    fn introduction(&self) -> String {
        let offset =
            self.offset.as_ref().map(|offset| format!(r#","offset":"{offset}""#)).unwrap_or_default();
        format!(r#"40{{"pid":"{}"{offset}}}"#, self.pid)
    }

    /// Connects again. Returns the names of the events that came before the answer, and whether it was recovered.
    fn come_back(&mut self, sim: &Sim) -> (Client, Vec<String>, bool) {
        let client = sim.client();
        client.send(&self.introduction());
        let mut packets = client.texts();
        let at = packets.iter().position(|packet| packet.starts_with("40")).expect("an answer");
        let answer = Known::read(&packets.remove(at));
        assert_eq!(packets.len(), at, "events come before the answer");
        let is_same = answer.pid == self.pid;
        assert_eq!(answer.sid == self.sid, is_same);
        if !is_same {
            *self = Known { offset: self.offset.take(), ..answer };
        }
        let names = packets.iter().map(|packet| self.note(packet)).collect();
        (client, names, is_same)
    }
}

fn connect(sim: &Sim) -> (Client, Known) {
    let client = sim.client();
    client.send("40");
    let known = Known::read(&client.next());
    (client, known)
}

fn usage(packets: usize, sessions: usize) -> impl Fn(RecoveryUsage) -> bool {
    move |usage| usage.packets == packets && usage.sessions == sessions
}

#[test]
fn a_client_gets_the_events_that_it_missed_before_it_is_connected_again() {
    let io = recovering();
    io.on_connect(async |socket: Socket| {
        if !socket.recovered() {
            socket.join("room");
        }
    });
    let sim = Sim::new(io.clone());
    let (client, mut known) = connect(&sim);
    let socket = io.sockets().remove(0);
    io.emit("hello", ());
    assert_eq!(known.note(&client.next()), "hello");
    client.cut();
    assert_eq!(io.sockets().len(), 0);
    io.emit("one", 1);
    io.to("room").emit("two", ("2", 2));
    io.to("others").emit("not for it", ());
    io.except("room").emit("nor this", ());
    socket.emit("three", ()).unwrap();
    socket.timeout(SECOND).emit("four", ()).unwrap();
    let (client, names, is_recovered) = known.come_back(&sim);
    assert_eq!((&names[..], is_recovered), (&["one", "two", "three", "four"].map(String::from)[..], true));
    let again = io.sockets().remove(0);
    assert!(again.recovered() && !socket.recovered());
    assert_eq!((again.id(), again.rooms()), (socket.id(), vec!["room".to_owned()]));
    // The old handle stands for the new socket.
    socket.emit("five", ()).unwrap();
    assert_eq!(known.note(&client.next()), "five");
}

#[test]
fn data_rooms_and_the_end_of_credentials_are_restored() {
    #[derive(Debug, PartialEq)]
    struct Name(&'static str);

    let io = recovering();
    let asked = Calls::default();
    let calls = asked.clone();
    io.middleware(move |socket: Socket| {
        calls.note("asked");
        socket.set_data(Name("Ann"));
        socket.authenticated_for(10 * SECOND);
        async { Ok::<_, ConnectError>(()) }
    });
    io.on_connect(async |socket: Socket| {
        if !socket.recovered() {
            socket.set_shared_data(7)?;
            socket.join(["a", "b", "c"]);
        }
        Ok::<_, sockeye::SharedDataError>(())
    });
    let sim = Sim::new(io.clone());
    let (client, mut known) = connect(&sim);
    client.cut();
    sim.advance(5 * SECOND);
    let (client, _, is_recovered) = known.come_back(&sim);
    assert!(is_recovered);
    let socket = io.sockets().remove(0);
    assert_eq!(socket.data::<Name>().as_deref(), Some(&Name("Ann")));
    assert_eq!(socket.shared_data::<u32>().unwrap(), Some(7));
    let mut rooms = socket.rooms();
    rooms.sort();
    assert_eq!(rooms, ["a", "b", "c"]);
    assert_eq!(asked.take().len(), 1, "the middleware is skipped");
    sim.advance(6 * SECOND);
    assert_eq!(client.texts(), ["41"], "its credentials expire when they did before");
    // After that it is not recovered.
    client.cut();
    let (client, _, is_recovered) = known.come_back(&sim);
    assert!(!is_recovered);
    client.cut();
    sim.advance(11 * SECOND);
    let (_, _, is_recovered) = known.come_back(&sim);
    assert!(!is_recovered, "credentials that expire meanwhile are asked for again");
    assert_eq!(asked.take().len(), 2);
}

#[test]
fn a_client_that_has_received_nothing_is_recovered() {
    let io = recovering();
    let sim = Sim::new(io.clone());
    let (client, mut known) = connect(&sim);
    client.cut();
    io.emit("missed", ());
    assert_eq!(known.come_back(&sim).1, ["missed"]);
}

#[test]
fn two_recoveries_in_a_row_replay_nothing_twice() {
    let io = recovering();
    let sim = Sim::new(io.clone());
    let (client, mut known) = connect(&sim);
    client.cut();
    io.emit("missed", ());
    for expected in [&["missed"][..], &[], &[]] {
        let (client, names, is_recovered) = known.come_back(&sim);
        assert_eq!((names, is_recovered), (expected.iter().map(|name| name.to_string()).collect(), true));
        client.cut();
    }
}

#[test]
fn a_recovery_whose_connection_is_cut_before_anything_arrives_is_repeated() {
    let io = recovering();
    let sim = Sim::new(io.clone());
    let (client, mut known) = connect(&sim);
    client.cut();
    for name in ["one", "two", "three"] {
        io.emit(name, ());
    }
    for _ in 0..3 {
        let client = sim.client();
        client.stop_reading();
        client.send(&known.introduction());
        client.cut();
    }
    // Part of it arrives.
    let client = sim.client();
    client.send(&known.introduction());
    assert_eq!(known.note(&client.next()), "one");
    client.cut();
    assert_eq!(known.come_back(&sim).1, ["two", "three"]);
}

#[test]
fn a_connection_that_the_server_still_believes_in_is_replaced() {
    let io = recovering();
    let calls = Calls::default();
    let noted = calls.clone();
    io.on_connect(move |socket: Socket| {
        noted.note(format!("connect {}", socket.recovered()));
        socket.join("room");
        let noted = noted.clone();
        socket.on_disconnect(move |socket: Socket, reason: DisconnectReason| {
            noted.note(format!("{reason} {:?}", socket.rooms()));
            async {}
        });
        async {}
    });
    let sim = Sim::new(io.clone());
    let (old, mut known) = connect(&sim);
    io.emit("received", ());
    known.note(&old.next());
    // It has gone, but nothing tells the server.
    old.stop_reading();
    io.emit("missed", ());
    let (client, names, is_recovered) = known.come_back(&sim);
    assert_eq!((names, is_recovered), (vec!["missed".to_owned()], true));
    assert_eq!(calls.take(), ["connect false", r#"transport close ["room"]"#, "connect true"]);
    assert_eq!(io.sockets().len(), 1);
    assert_eq!(io.clients_count(), 1);
    io.to("room").emit("next", ());
    assert_eq!(known.note(&client.next()), "next");
    old.cut();
    sim.advance(60 * SECOND);
    assert_eq!(io.sockets().len(), 1, "the end of the old connection does not concern the new one");
    assert!(usage(3, 0)(io.recovery_usage()));
}

#[test]
fn a_client_is_recovered_after_the_six_reasons_only() {
    let io = recovering();
    let other = io.of("/other");
    let sim = Sim::new(io.clone());
    type End<'a> = &'a dyn Fn(&Client, &Socket);
    let ways: [(&str, End<'_>, bool); 8] = [
        ("transport close", &|client, _| client.close(), true),
        ("transport error", &|client, _| client.send("2"), true),
        ("forced close", &|client, _| client.send("42{"), true),
        ("ping timeout", &|client, _| client.ignore_pings(), true),
        ("parse error", &|client, _| client.send("x"), false),
        ("client namespace disconnect", &|client, _| client.send("41"), false),
        ("server namespace disconnect", &|_, socket| socket.disconnect(false), false),
        ("server namespace disconnect", &|_, socket| socket.disconnect(true), false),
    ];
    let calls = Calls::default();
    let noted = calls.clone();
    io.on_disconnect(move |reason: DisconnectReason| {
        noted.note(reason.to_string());
        async {}
    });
    for (reason, end, is_expected) in ways {
        let (client, mut known) = connect(&sim);
        let socket = io.sockets().remove(0);
        end(&client, &socket);
        sim.advance(46 * SECOND);
        assert_eq!(calls.take(), [reason]);
        let sent = socket.emit("missed", ());
        assert_eq!(sent.is_ok(), is_expected, "{reason}");
        let (client, names, is_recovered) = known.come_back(&sim);
        assert_eq!((names.len(), is_recovered), (usize::from(is_expected), is_expected), "{reason}");
        client.send("41");
        calls.take();
    }
    assert_eq!(other.recovery_usage(), RecoveryUsage::default());
}

#[test]
fn events_that_want_an_acknowledgement_and_volatile_ones_are_as_before() {
    let io = recovering();
    let sim = Sim::new(io.clone());
    let (client, _) = connect(&sim);
    let socket = io.sockets().remove(0);
    socket.volatile().emit("a", "x").unwrap();
    sim.run();
    let _ = io.volatile().emit("b", "x");
    drop(socket.emit_with_ack::<()>("c", "x"));
    drop(io.emit_with_ack::<()>("d", "x"));
    assert_eq!(client.texts(), [r#"42["a","x"]"#, r#"42["b","x"]"#, r#"420["c","x"]"#, r#"421["d","x"]"#]);
    assert!(usage(0, 0)(io.recovery_usage()));
    socket.emit("e", bytes::Bytes::from_static(&[7])).unwrap();
    let text = client.next();
    assert!(text.starts_with(r#"451-["e",{"_placeholder":true,"num":0},""#), "{text}");
    assert_eq!(client.next_binary(), [7]);
}

#[test]
fn a_wrong_introduction_begins_a_new_connection() {
    let io = recovering();
    io.of("/other");
    let sim = Sim::new(io.clone());
    let expired = |known: &Known, introduction: String| {
        let client = sim.client();
        client.send(&introduction);
        let answer = Known::read(&client.next());
        assert!(answer.pid != known.pid && answer.sid != known.sid, "{introduction}");
        client.expect_nothing();
        client.send("41");
    };
    let (client, mut known) = connect(&sim);
    io.emit("event", ());
    known.note(&client.next());
    client.cut();
    io.emit("missed", ());
    // Of these, the socket is not given up, because they do not prove whose it was.
    let (pid, offset) = (&known.pid, known.offset.clone().unwrap());
    let other = pid[..20].to_owned() + &pid[..20];
    for wrong in [
        format!(r#"40{{"pid":"{other}","offset":"{offset}"}}"#),
        format!(r#"40{{"pid":"foo","offset":"{offset}"}}"#),
        format!(r#"40{{"pid":7,"offset":"{offset}"}}"#),
        format!(r#"40{{"pid":["{pid}"],"offset":"{offset}"}}"#),
        format!(r#"40{{"pid":"{pid}","offset":7}}"#),
        format!(r#"40{{"offset":"{offset}"}}"#),
        "40{}".to_owned(),
    ] {
        expired(&known, wrong);
    }
    let mut again = known.clone();
    let (client, names, is_recovered) = again.come_back(&sim);
    assert_eq!((names, is_recovered), (vec!["missed".to_owned()], true));
    // An offset that is none, or one of another namespace.
    client.send("40/other,");
    let foreign = {
        client.next();
        io.of("/other").emit("event", ());
        let text = client.next();
        again.note(&text.replace("/other,", ""));
        again.offset.clone().unwrap()
    };
    client.cut();
    expired(&again, format!(r#"40{{"pid":"{pid}","offset":"{foreign}"}}"#));
    let (client, names, is_recovered) = known.come_back(&sim);
    assert!(names.is_empty() && !is_recovered, "it is not kept any more");
    client.cut();
    expired(&known, format!(r#"40{{"pid":"{}","offset":"bar"}}"#, known.pid));
}

#[test]
fn a_server_that_was_restarted_knows_nobody() {
    let (before, after) = (recovering(), recovering());
    let sim = Sim::new(before.clone());
    let (client, mut known) = connect(&sim);
    before.emit("event", ());
    known.note(&client.next());
    let sim = Sim::new(after.clone());
    after.emit("another", ());
    let (client, names, is_recovered) = known.come_back(&sim);
    assert!(names.is_empty() && !is_recovered);
    // The client still has the offset of the server before.
    client.cut();
    assert!(!known.come_back(&sim).2);
}

#[test]
fn too_much_to_remember_begins_a_new_connection_without_a_part_of_it() {
    let recovery = Recovery::new().max_packets(3);
    let io = Server::builder().connection_state_recovery(recovery).send_buffer(20_000).build();
    let sim = Sim::new(io.clone());
    for (count, size, is_expected) in [(3, 1, true), (4, 1, false), (1, 9_000, false), (1, 6_000, true)] {
        let (client, mut known) = connect(&sim);
        client.cut();
        (0..count).for_each(|_| _ = io.emit("missed", "x".repeat(size)));
        let (client, names, is_recovered) = known.come_back(&sim);
        assert_eq!(
            (names.len(), is_recovered),
            (if is_expected { count } else { 0 }, is_expected),
            "{count}"
        );
        client.send("41");
    }
    let io = Server::builder().connection_state_recovery(Recovery::new().max_bytes(1000)).build();
    (0..100).for_each(|_| _ = io.emit("event", "x".repeat(10)));
    let usage = io.recovery_usage();
    assert!(usage.bytes <= 1000 && usage.packets == 9, "{usage:?}");
}

#[test]
fn a_socket_is_kept_for_two_minutes_and_then_the_application_is_told() {
    let calls = Calls::default();
    let noted = calls.clone();
    let recovery = Recovery::new().on_expired(move |expired| {
        let rooms: Vec<_> = expired.rooms().collect();
        noted.note(format!("{} {rooms:?} {:?}", expired.namespace().name(), expired.data::<u32>()));
    });
    let io = Server::builder().connection_state_recovery(recovery.clone()).build();
    io.on_connect(async |socket: Socket| {
        socket.join("room");
        socket.set_data(7u32);
    });
    let sim = Sim::new(io.clone());
    let (client, mut known) = connect(&sim);
    client.cut();
    io.emit("missed", ());
    assert!(usage(1, 1)(io.recovery_usage()));
    sim.advance(119 * SECOND);
    let (client, names, is_recovered) = known.come_back(&sim);
    assert_eq!((names, is_recovered), (vec!["missed".to_owned()], true));
    client.cut();
    sim.advance(119 * SECOND);
    assert_eq!(calls.take(), [""; 0]);
    sim.advance(SECOND);
    assert_eq!(calls.take(), [r#"/ ["room"] Some(7)"#]);
    assert!(!known.come_back(&sim).2);
    // Silence empties everything.
    sim.advance(400 * SECOND);
    assert!(usage(0, 0)(io.recovery_usage()));
    calls.take();
    // One is too many.
    let io = Server::builder().connection_state_recovery(recovery.max_sockets(1)).build();
    let sim = Sim::new(io.clone());
    let (first, _) = connect(&sim);
    let (second, _) = connect(&sim);
    first.cut();
    assert_eq!(calls.take(), [""; 0]);
    second.cut();
    assert_eq!(calls.take(), ["/ [] None"]);
}

#[test]
fn the_middleware_is_asked_if_that_is_wanted_and_may_take_its_time() {
    let recovery = Recovery::new().skip_middlewares(false);
    let io = Server::builder().connection_state_recovery(recovery).build();
    let gate = Gate::default();
    let opened = gate.clone();
    io.middleware(move |socket: Socket| {
        let opened = opened.clone();
        async move {
            if socket.recovered() {
                socket.join("by the middleware");
                opened.wait().await;
                if socket.auth::<Value>().unwrap()["refuse"] == true {
                    return Err(ConnectError::new("no"));
                }
            }
            Ok(())
        }
    });
    let sim = Sim::new(io.clone());
    let (client, mut known) = connect(&sim);
    client.cut();
    let expected: Vec<String> = (0..4).map(|n| n.to_string()).collect();
    io.emit(&expected[0], ());
    // It is cut while the middleware waits, more than once.
    for name in &expected[1..3] {
        let client = sim.client();
        client.send(&known.introduction());
        client.expect_nothing();
        io.emit(name, ());
        client.cut();
    }
    // Two at a time: the later one counts.
    let (first, second) = (sim.client(), sim.client());
    first.send(&known.introduction());
    second.send(&known.introduction());
    io.emit(&expected[3], ());
    gate.open();
    sim.run();
    first.expect_close();
    let packets = second.texts();
    let (answer, events) = packets.split_last().unwrap();
    assert_eq!(Known::read(answer).pid, known.pid);
    assert_eq!(events.iter().map(|event| known.note(event)).collect::<Vec<_>>(), expected);
    assert_eq!(io.sockets().remove(0).rooms(), ["by the middleware"]);
    // A refusal changes nothing for the next attempt.
    second.cut();
    let refused = sim.client();
    refused.send(&known.introduction().replace("}", r#","refuse":true}"#));
    assert_eq!(refused.next(), r#"44{"message":"no"}"#);
    refused.cut();
    assert!(known.come_back(&sim).2);
}

#[test]
fn all_namespaces_of_a_client_are_recovered_each_by_itself() {
    let io = recovering();
    let other = io.of("/other");
    let sim = Sim::new(io.clone());
    let (client, known) = connect(&sim);
    client.send("40/other,");
    let there = Known::read(&client.next().replace("/other,", ""));
    client.stop_reading();
    io.emit("here", ());
    other.emit("there", ());
    // The first that comes back replaces the connection for both.
    let client = sim.client();
    client.send(&known.introduction());
    assert_eq!(client.texts().len(), 2);
    assert!(usage(1, 1)(other.recovery_usage()));
    client.send(&there.introduction().replace("40", "40/other,"));
    let packets = client.texts();
    assert_eq!(packets.len(), 2);
    assert!(packets[0].starts_with(r#"42/other,["there",""#), "{packets:?}");
    assert_eq!(Known::read(&packets[1].replace("/other,", "")).pid, there.pid);
}

#[test]
fn a_polling_client_is_recovered_in_one_response_and_may_upgrade_then() {
    let io = recovering();
    let sim = Sim::new(io.clone());
    let (client, mut known) = connect(&sim);
    client.cut();
    io.emit("one", bytes::Bytes::from_static(&[1, 2, 3]));
    io.emit("two", ());
    let mut client = sim.polling();
    assert_eq!(client.post(&known.introduction()), 200);
    let packets = client.poll();
    assert_eq!(packets.len(), 4, "{packets:?}");
    assert!(packets[0].starts_with(r#"451-["one","#) && packets[1] == "bAQID", "{packets:?}");
    assert_eq!(known.note(&packets[2]), "two");
    assert_eq!(Known::read(&packets[3]).pid, known.pid);
    client.begin_poll();
    let upgraded = client.begin_upgrade();
    upgraded.send("2probe");
    assert_eq!(upgraded.next(), "3probe");
    client.packets();
    upgraded.send("5");
    io.emit("three", ());
    assert_eq!(known.note(&upgraded.next()), "three");
    upgraded.cut();
    io.emit("four", ());
    assert_eq!(known.come_back(&sim).1, ["four"]);
}

#[test]
fn an_event_that_is_refused_is_not_remembered() {
    let builder = Server::builder().connection_state_recovery(Recovery::new()).send_buffer(4000);
    let io = builder.build();
    let sim = Sim::new(io.clone());
    let (client, mut known) = connect(&sim);
    client.stop_reading();
    let socket = io.sockets().remove(0);
    let sent = (0..1000).take_while(|_| socket.emit("event", "x".repeat(500)).is_ok()).count();
    assert!(sent > 0);
    sim.run();
    assert!(usage(sent, 1)(io.recovery_usage()), "it is closed because it missed one, and kept");
    // It may have missed more than it can be sent at once.
    let (_, names, is_recovered) = known.come_back(&sim);
    assert!(names.is_empty() && !is_recovered);
}

#[test]
fn listeners_for_outgoing_events_see_the_arguments_without_the_offset() {
    let io = recovering();
    let calls = Calls::default();
    let noted = calls.clone();
    io.on_connect(move |socket: Socket| {
        let noted = noted.clone();
        socket.on_any_outgoing(move |args: sockeye::Args| {
            noted.note(args.to_json());
            async {}
        });
        async {}
    });
    let sim = Sim::new(io.clone());
    let (client, mut known) = connect(&sim);
    io.sockets().remove(0).emit("one", (1, "x")).unwrap();
    io.emit("two", ());
    assert_eq!(calls.take(), [r#"[1,"x"]"#, "[]"]);
    assert_eq!(client.texts().iter().map(|text| known.note(text)).collect::<Vec<_>>(), ["one", "two"]);
}

#[test]
fn without_the_setting_nothing_is_different() {
    let io = Server::new();
    let sim = Sim::new(io.clone());
    let client = sim.client();
    client.send(r#"40{"pid":"foo","offset":"bar"}"#);
    let answer = client.next();
    assert!(answer.starts_with(r#"40{"sid":"#) && !answer.contains("pid"), "{answer}");
    io.emit("event", "x");
    assert_eq!(client.next(), r#"42["event","x"]"#);
    assert_eq!(io.recovery_usage(), RecoveryUsage::default());
    assert!(!io.sockets().remove(0).recovered());
}
