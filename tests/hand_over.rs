//! Restarts: what one process hands over, the next one takes over, and its clients continue as after a short cut.
#![allow(missing_docs, clippy::unwrap_used)]

mod simulation;

use serde_json::{Value, json};
use simulation::{Calls, Client, Sim};
use sockeye::{
    DisconnectReason, HandOver, HandOverError, Namespace, Recovery, Server, ServerBuilder, Socket,
};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn recovering() -> ServerBuilder {
    Server::builder().connection_state_recovery(Recovery::new())
}

/// What a client knows of its connection to a namespace.
struct Known {
    prefix: String,
    pid: String,
    offset: Option<String>,
}

impl Known {
    /// Connects to a namespace, which is empty for the main one.
    fn connect(sim: &Sim, namespace: &str) -> (Client, Known) {
        let prefix = if namespace.is_empty() { String::new() } else { format!("{namespace},") };
        let client = sim.client();
        client.send(&format!("40{prefix}"));
        let answer = client.next();
        let answer: Value =
            serde_json::from_str(answer.strip_prefix(&format!("40{prefix}")).unwrap()).unwrap();
        (client, Known { prefix, pid: answer["pid"].as_str().unwrap().into(), offset: None })
    }

    /// Notes the offset of an event, and returns its name.
    fn note(&mut self, packet: &str) -> String {
        let event: Vec<Value> =
            serde_json::from_str(packet.strip_prefix(&format!("42{}", self.prefix)).unwrap()).unwrap();
        self.offset = Some(event.last().and_then(Value::as_str).unwrap().into());
        event[0].as_str().unwrap().into()
    }

    /// Connects again. Returns the names of the events that came before the answer, or `None` if it begins anew.
    fn come_back(&mut self, sim: &Sim) -> Option<(Client, Vec<String>)> {
        let client = sim.client();
        let mut auth = json!({ "pid": self.pid });
        if let Some(offset) = &self.offset {
            auth["offset"] = offset.as_str().into();
        }
        client.send(&format!("40{}{auth}", self.prefix));
        let mut packets = client.texts();
        let answer = packets.pop().expect("an answer");
        assert!(answer.starts_with("40"), "{answer}");
        let names = packets.iter().map(|packet| self.note(packet)).collect();
        answer.contains(&self.pid).then_some((client, names))
    }
}

/// Ends a process. Its clients are told, and its events until the last moment are part of what it hands over.
fn hand_over(sim: &Sim) -> Vec<u8> {
    let io = sim.server().clone();
    let handing = sim.spawn(async move { io.hand_over(10 * SECOND).await });
    sim.advance(11 * SECOND);
    handing.take().expect("it has a deadline")
}

fn take_over(builder: ServerBuilder, bytes: &[u8]) -> Server {
    builder.take_over(HandOver::from_bytes(bytes.to_vec()).unwrap()).build()
}

#[test]
fn clients_get_what_they_missed_after_each_of_two_restarts() {
    let mut sim = Sim::new(recovering().build());
    let (mut client, mut known) = Known::connect(&sim, "");
    sim.server().sockets().remove(0).join("news");
    for restart in 0..2 {
        let id = sim.server().sockets().remove(0).id();
        sim.server().emit("seen", ());
        assert_eq!(known.note(&client.next()), "seen");
        client.stop_reading();
        sim.server().to("news").emit("sent before", restart);
        // One that does not poll delays the end.
        let _silent = sim.polling();
        let io = sim.server().clone();
        let handing = sim.spawn(async move { io.hand_over(SECOND).await });
        sim.run();
        sim.server().emit("sent meanwhile", ());
        sim.advance(2 * SECOND);
        let bytes = handing.take().expect("it has a deadline");
        sim.server().emit("sent to nobody", ());

        let io = take_over(recovering(), &bytes);
        io.emit("sent before it runs", ());
        sim = Sim::new(io.clone());
        io.emit("sent by the next process", ());
        let (again, names) = known.come_back(&sim).expect("it is recovered");
        assert_eq!(
            names,
            ["sent before", "sent meanwhile", "sent before it runs", "sent by the next process"]
        );
        let socket = io.sockets().remove(0);
        assert!(socket.recovered());
        assert_eq!((socket.id(), socket.rooms()), (id, vec!["news".to_owned()]));
        client = again;
    }
}

#[test]
fn shared_data_and_the_end_of_credentials_are_handed_over_and_values_are_not() {
    struct Value;

    let asked = Calls::default();
    let prepare = |io: &Server| {
        let calls = asked.clone();
        io.middleware(move |socket: Socket| {
            calls.note("asked");
            socket.authenticated_for(30 * SECOND);
            async { Ok::<_, sockeye::ConnectError>(()) }
        });
    };
    let io = recovering().build();
    prepare(&io);
    let sim = Sim::new(io.clone());
    let (_client, mut known) = Known::connect(&sim, "");
    let socket = io.sockets().remove(0);
    socket.set_shared_data(("Ann", 7)).unwrap();
    socket.set_data(Value);
    sim.advance(10 * SECOND);
    let bytes = hand_over(&sim);

    let io = take_over(recovering(), &bytes);
    prepare(&io);
    let sim = Sim::new(io.clone());
    let (client, _) = known.come_back(&sim).expect("it is recovered");
    let socket = io.sockets().remove(0);
    assert_eq!(socket.shared_data::<(String, u32)>().unwrap(), Some(("Ann".into(), 7)));
    assert!(socket.data::<Value>().is_none());
    assert_eq!(asked.take().len(), 1, "the middleware is skipped");
    sim.advance(18 * SECOND);
    assert!(client.texts().is_empty());
    sim.advance(2 * SECOND);
    assert_eq!(client.texts(), ["41"], "its credentials expire when they did before");
}

#[test]
fn each_namespace_continues_when_it_is_created() {
    let dynamic = |io: &Server| io.of_pattern("/room-{n}");
    let io = recovering().build();
    io.of("/admin");
    dynamic(&io);
    let sim = Sim::new(io.clone());
    let names = ["", "/admin", "/room-1"];
    let mut clients: Vec<_> = names.into_iter().map(|name| Known::connect(&sim, name).1).collect();
    let send =
        |io: &Server| names.into_iter().for_each(|name| drop(io.of(name).emit(&format!("in {name}"), ())));
    send(&io);
    let bytes = hand_over(&sim);
    assert_eq!(HandOver::from_bytes(bytes.clone()).unwrap().sockets_count(), 3);
    assert_eq!(HandOver::from_bytes(bytes.clone()).unwrap().events_count(), 3);

    let io = take_over(recovering(), &bytes);
    dynamic(&io);
    let sim = Sim::new(io.clone());
    // By the application, and by the client.
    io.of("/admin");
    for (name, known) in names.iter().zip(&mut clients) {
        let (_, missed) = known.come_back(&sim).expect("it is recovered");
        assert_eq!(missed, [format!("in {name}")]);
    }
}

#[test]
fn what_nobody_comes_back_for_is_told_and_forgotten() {
    let io = recovering().build();
    io.of("/late");
    let sim = Sim::new(io);
    Known::connect(&sim, "");
    Known::connect(&sim, "/late");
    let bytes = hand_over(&sim);

    let calls = Calls::default();
    let noted = calls.clone();
    let recovery = Recovery::new().on_expired(move |socket| noted.note(socket.namespace().name()));
    let io = take_over(Server::builder().connection_state_recovery(recovery), &bytes);
    let sim = Sim::new(io.clone());
    assert_eq!(io.recovery_usage().sessions, 1);
    sim.advance(121 * SECOND);
    assert_eq!(calls.take(), ["/"]);
    assert_eq!(io.recovery_usage(), Default::default());
    let late: Namespace = io.of("/late");
    assert_eq!(late.recovery_usage(), Default::default(), "it was created after its clients' time");
}

#[test]
fn a_process_without_recovery_hands_over_and_takes_over_nothing() {
    let sim = Sim::new(Server::new());
    let client = sim.client();
    client.send("40");
    assert!(client.next().starts_with("40"));
    let bytes = hand_over(&sim);
    assert_eq!(HandOver::from_bytes(bytes).unwrap().sockets_count(), 0);

    let sim = Sim::new(recovering().build());
    Known::connect(&sim, "");
    let bytes = hand_over(&sim);
    let sim = Sim::new(take_over(Server::builder(), &bytes));
    let client = sim.client();
    client.send("40");
    assert!(!client.next().contains("pid"));
}

#[test]
fn damaged_and_foreign_bytes_are_a_typed_error() {
    let sim = Sim::new(recovering().build());
    Known::connect(&sim, "");
    let mut bytes = hand_over(&sim);
    assert_eq!(HandOver::from_bytes(b"nonsense".as_slice()).unwrap_err(), HandOverError::Foreign);
    *bytes.last_mut().unwrap() ^= 1;
    assert_eq!(HandOver::from_bytes(bytes).unwrap_err(), HandOverError::Damaged);
}

#[test]
fn a_drain_closes_clients_one_after_the_other_and_says_why() {
    let io = recovering().build();
    let reasons = Calls::default();
    let noted = reasons.clone();
    io.on_connect(move |socket: Socket| {
        let noted = noted.clone();
        socket.on_disconnect(move |reason: DisconnectReason| {
            noted.note(reason.to_string());
            async {}
        });
        async {}
    });
    let sim = Sim::new(io.clone());
    let mut clients: Vec<_> = (0..10).map(|_| Known::connect(&sim, "")).collect();
    let draining = io.clone();
    let drained = sim.spawn(async move { draining.drain(10 * SECOND).await });
    sim.run();
    assert_eq!(io.sockets().len(), 9, "the first one is closed at once");
    for left in (4..9).rev() {
        sim.advance(SECOND);
        assert_eq!(io.sockets().len(), left);
    }
    // Those that are left are served as before.
    io.emit("still here", ());
    let mut served = 0;
    for (client, known) in &mut clients {
        let packets = client.texts();
        served += packets.iter().filter(|it| it.starts_with("42") && known.note(it) == "still here").count();
    }
    assert_eq!(served, 4);
    assert!(drained.take().is_none());
    sim.advance(5 * SECOND);
    assert!(drained.take().is_some());
    assert_eq!(reasons.take(), vec!["server shutting down"; 10]);
    // Everybody is part of what is handed over then.
    assert_eq!(HandOver::from_bytes(hand_over(&sim)).unwrap().sockets_count(), 10);
}
