//! Clients that lose their connection to one server, and come back to another one.

use super::support::{Notes, names, sharded, start, take};
use serde_json::{Value, json};
use sockeye::cluster::{Adapter, Bus, Channel, MemoryBus, Node, RequestId, Streams, SubscriptionMode};
use sockeye::observe::{Direction, Observer, PacketInfo};
use sockeye::testing::{TestClient, TestServer};
use sockeye::{ConnectError, HandOver, Recovery, Server, ServerBuilder, Socket};
use sockeye_core::engineio::{Message, Packet};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A private id, and the last offset.
type Known = (String, Option<String>);

/// What the clients know of their connections, by the ids of their sockets. Beside it the ids of sockets by those of
/// sessions or, before the answer, the last offset.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<HashMap<String, Known>>>, Arc<Mutex<HashMap<String, String>>>);

impl Observer for Seen {
    fn packet(&self, direction: Direction, info: &PacketInfo<'_>) {
        let (Direction::Out, Packet::Message(Message::Text(text))) = (direction, info.packet) else { return };
        let (mut known, mut sockets) = (self.0.lock().unwrap(), self.1.lock().unwrap());
        if text.contains("/chat,") {
            return;
        }
        let session = info.session.to_string();
        if let Some(answer) = text.strip_prefix('0') {
            let answer: Value = serde_json::from_str(answer).unwrap();
            let text = |key: &str| answer[key].as_str().unwrap().to_owned();
            let offset = sockets.remove(&session);
            known.entry(text("sid")).or_default().0 = text("pid");
            if let Some(offset) = offset {
                known.entry(text("sid")).or_default().1 = Some(offset);
            }
            sockets.insert(session, text("sid"));
        } else if let Some(event) = text.strip_prefix('2') {
            let event: Vec<Value> = serde_json::from_str(event).unwrap();
            let Some(offset) = event.last().and_then(Value::as_str).filter(|it| it.contains('-')) else {
                return;
            };
            match sockets.get(&session).filter(|sid| known.contains_key(*sid)) {
                Some(sid) => known.get_mut(sid).unwrap().1 = Some(offset.into()),
                // It is missed, and comes before the answer.
                None => _ = sockets.insert(session, offset.into()),
            }
        }
    }
}

impl Seen {
    fn of(&self, id: &str) -> (String, Option<String>) {
        self.0.lock().unwrap().get(id).cloned().expect("it was connected")
    }

    /// Connects as a client that had the socket with this id.
    fn come_back(&self, id: &str, to: &TestServer) -> TestClient {
        let (pid, offset) = self.of(id);
        let mut auth = json!({ "pid": pid });
        if let Some(offset) = offset {
            auth["offset"] = offset.into();
        }
        to.client().auth(auth).connect("/")
    }
}

/// Starts servers that recover clients. One that is called last is started later.
struct World {
    bus: MemoryBus,
    seen: Seen,
    expired: Notes,
    servers: Vec<TestServer>,
}

impl World {
    fn new(servers: usize) -> World {
        let (bus, seen, expired) = <(MemoryBus, Seen, Notes)>::default();
        let mut world = World { bus, seen, expired, servers: Vec::new() };
        (0..servers).for_each(|_| world.add(|builder| builder));
        world
    }

    fn add(&mut self, change: impl FnOnce(ServerBuilder) -> ServerBuilder) {
        self.add_over(self.bus.clone(), change);
    }

    fn add_over(&mut self, bus: impl Bus, change: impl FnOnce(ServerBuilder) -> ServerBuilder) {
        let (at, expired) = (self.servers.len(), self.expired.clone());
        let recovery = Recovery::new().on_expired(move |socket| {
            expired.lock().unwrap().push(format!("{at} {}", socket.id()));
        });
        let builder = Server::builder().adapter(Adapter::streams(bus)).observer(self.seen.clone());
        let server = change(builder.connection_state_recovery(recovery)).build();
        server.on_connect(async |socket: Socket| {
            if !socket.recovered() {
                socket.join("news");
                socket.set_shared_data(json!({ "n": 1 })).unwrap();
            }
        });
        server.on("state", async |socket: Socket| {
            let rooms: Vec<_> = socket.rooms().iter().map(|room| room.to_string()).collect();
            (socket.recovered(), rooms, socket.shared_data::<Value>().unwrap())
        });
        let server = start(self.servers.first(), server);
        server.settle();
        self.servers.push(server);
    }

    /// Connects a client that has received an event.
    fn connect(&self, at: usize) -> (TestClient, String) {
        let client = self.servers[at].connect("/");
        self.servers[at].server().emit("first", ());
        client.expect("first");
        let id = client.id();
        (client, id)
    }

    fn come_back(&self, id: &str, at: usize) -> TestClient {
        self.seen.come_back(id, &self.servers[at])
    }
}

fn is_recovered(client: &TestClient) -> bool {
    let (recovered, rooms, data) = client.ask::<(bool, Vec<String>, Option<Value>)>("state", ());
    assert_eq!((rooms, data), (vec!["news".to_owned()], Some(json!({ "n": 1 }))));
    recovered
}

fn cut(client: TestClient) {
    client.offline();
    drop(client);
}

#[test]
fn a_client_gets_from_another_server_what_all_servers_have_sent() {
    let world = World::new(3);
    let (client, id) = world.connect(0);
    let stays = world.servers[1].connect("/");
    cut(client);
    let [a, b, c] = &world.servers[..] else { unreachable!() };
    a.server().emit("from a", ());
    b.server().to("news").emit("from b", ());
    c.server().to("elsewhere").emit("to others", ());
    c.server().except("news").emit("to the rest", ());
    c.server().to(id.as_str()).emit("from c", 7);
    c.server().volatile().emit("volatile", ());
    a.settle();
    let back = world.come_back(&id, 1);
    assert_eq!(back.id(), id);
    assert_eq!(names(&back), ["from a", "from b", "from c"]);
    assert!(is_recovered(&back));
    // It is one of the sockets of this server now, and reached from everywhere.
    c.server().to("news").emit("later", ());
    back.expect("later");
    stays.expect("later");
    assert!(world.expired.lock().unwrap().is_empty());
}

#[test]
fn a_client_that_goes_from_server_to_server_gets_each_event_once() {
    let world = World::new(2);
    let (client, id) = world.connect(0);
    cut(client);
    let mut got = Vec::new();
    for turn in 0..6 {
        world.servers[turn % 2].server().emit(&format!("event {turn}"), ());
        if turn % 3 == 0 {
            world.servers[0].settle();
        }
        let back = world.come_back(&id, (turn + 1) % 2);
        assert!(is_recovered(&back), "{turn}");
        assert_eq!(back.id(), id);
        got.extend(names(&back));
        cut(back);
    }
    let expected: Vec<_> = (0..6).map(|turn| format!("event {turn}")).collect();
    assert_eq!(got, expected);
    // Without traffic, nothing is replayed.
    let back = world.come_back(&id, 0);
    assert!(is_recovered(&back) && names(&back).is_empty());
    cut(back);
    world.servers[0].advance(130 * SECOND);
    assert_eq!(take(&world.expired), [format!("0 {id}")], "the last server tells, once");
}

#[test]
fn a_client_that_has_received_nothing_is_recovered_by_another_server() {
    let world = World::new(2);
    let client = world.servers[0].connect("/");
    let id = client.id();
    cut(client);
    world.servers[0].server().emit("missed", ());
    let back = world.come_back(&id, 1);
    assert!(is_recovered(&back));
    assert_eq!(names(&back), ["missed"]);
}

#[test]
fn a_server_that_has_started_since_reads_the_stream() {
    let mut world = World::new(1);
    let (client, id) = world.connect(0);
    cut(client);
    for number in 0..250 {
        world.servers[0].server().to(if number % 2 == 0 { "news" } else { "others" }).emit("n", number);
    }
    world.servers[0].settle();
    world.add(|builder| builder);
    world.servers[0].server().emit("n", 250);
    let back = world.come_back(&id, 1);
    assert!(is_recovered(&back));
    let numbers: Vec<u32> = back
        .received()
        .iter()
        .map(|event| event.args().iter().next().unwrap().deserialize().unwrap())
        .collect();
    let expected: Vec<_> = (0..=250).step_by(2).collect();
    assert_eq!(numbers, expected);
    // It may be cut before it gets any of that.
    let offset = world.seen.of(&id).1;
    cut(back);
    world.servers[0].server().emit("n", 252);
    let back = world.come_back(&id, 0);
    assert!(is_recovered(&back));
    assert_eq!(names(&back).len(), 1, "the client has said that it has {offset:?}");
}

#[test]
fn what_has_left_the_stream_and_the_memory_begins_a_new_connection() {
    let mut world = World::new(1);
    let (client, id) = world.connect(0);
    cut(client);
    for _ in 0..10_100 {
        world.servers[0].server().to("others").emit("n", ());
    }
    world.servers[0].settle();
    world.add(|builder| builder);
    let back = world.come_back(&id, 1);
    assert!(!is_recovered(&back) && back.id() != id);
    assert!(names(&back).is_empty(), "no part of it");
    assert_eq!(take(&world.expired), [format!("1 {id}")], "the server that could not recover it tells");
    world.servers[0].advance(130 * SECOND);
    assert!(take(&world.expired).is_empty(), "once");
}

#[test]
fn a_wrong_introduction_begins_a_new_connection() {
    let world = World::new(2);
    let (client, id) = world.connect(0);
    let (pid, offset) = world.seen.of(&id);
    cut(client);
    world.servers[0].server().emit("missed", ());
    let come = |pid: &str, offset: Value| {
        let client = world.servers[1].client().auth(json!({ "pid": pid, "offset": offset })).connect("/");
        assert!(names(&client).is_empty());
        is_recovered(&client)
    };
    let offset = Value::from(offset);
    assert!(!come(&"A".repeat(40), offset.clone()));
    assert!(!come(&"A".repeat(20), offset.clone()));
    assert!(!come(&pid[..39], offset.clone()));
    assert!(!come(&format!("{}{}", &pid[..20], "A".repeat(20)), offset.clone()));
    for wrong in [json!("no offset"), json!("1-x"), json!(7), json!("99999999999999999999-1")] {
        assert!(!come(&pid, wrong));
    }
    // One that nobody has read yet takes its time.
    let before = world.servers[0].elapsed();
    assert!(!come(&pid, json!("999999-1")));
    assert!(world.servers[0].elapsed() - before >= 5 * SECOND);
    assert!(!come(&pid, offset), "the socket is kept for one attempt");
}

#[test]
fn a_socket_that_nobody_takes_expires_where_it_was() {
    let world = World::new(2);
    let (client, id) = world.connect(0);
    cut(client);
    world.servers[0].advance(115 * SECOND);
    assert!(take(&world.expired).is_empty());
    world.servers[0].advance(10 * SECOND);
    assert_eq!(take(&world.expired), [format!("0 {id}")]);
    assert!(!is_recovered(&world.come_back(&id, 1)));
}

/// A bus that looks up in [`pass`](Late::pass).
#[derive(Clone)]
struct Late {
    bus: Arc<MemoryBus>,
    asked: Arc<Mutex<Vec<(String, bool, RequestId)>>>,
    node: Arc<Mutex<Option<Weak<dyn Node>>>>,
    /// It can store nothing.
    is_full: Arc<AtomicBool>,
}

impl Late {
    fn over(bus: &MemoryBus) -> Late {
        Late {
            bus: Arc::new(bus.clone()),
            asked: Arc::default(),
            node: Arc::default(),
            is_full: Arc::default(),
        }
    }

    fn pass(&self) {
        let asked = std::mem::take(&mut *self.asked.lock().unwrap());
        asked.into_iter().for_each(|(key, remove, request)| self.bus.load(&key, remove, request));
    }
}

impl Bus for Late {
    fn attach(&self, node: Weak<dyn Node>) {
        *self.node.lock().unwrap() = Some(node.clone());
        self.bus.attach(node);
    }

    fn watch(&self, channel: &Channel, on: bool) {
        self.bus.watch(channel, on);
    }

    fn publish(&self, channel: &Channel, message: bytes::Bytes) {
        self.bus.publish(channel, message);
    }

    fn append(&self, stream: &Channel, fields: Vec<(&'static str, bytes::Bytes)>) {
        self.bus.append(stream, fields);
    }

    fn count(&self, channel: &Channel, request: RequestId) {
        self.bus.count(channel, request);
    }

    fn stores_sessions(&self) -> bool {
        true
    }

    fn save(&self, key: &str, value: bytes::Bytes, lifetime: Duration) {
        if !self.is_full.load(Ordering::SeqCst) {
            return self.bus.save(key, value, lifetime);
        }
        let node = self.node.lock().unwrap().as_ref().and_then(Weak::upgrade);
        node.unwrap().handle_unsaved(key);
    }

    fn load(&self, key: &str, remove: bool, request: RequestId) {
        self.asked.lock().unwrap().push((key.to_owned(), remove, request));
    }
}

#[test]
fn many_sockets_that_expire_together_are_asked_for_together() {
    let mut world = World::new(0);
    let bus = Late::over(&world.bus);
    world.add_over(bus.clone(), |builder| builder);
    let clients: Vec<_> = (0..300).map(|_| world.servers[0].connect("/")).collect();
    let mut ids: Vec<_> = clients.iter().map(|client| format!("0 {}", client.id())).collect();
    clients.into_iter().for_each(cut);
    world.servers[0].advance(121 * SECOND);
    // Otherwise the last ones would have left the bus until it is their turn.
    for _ in 0..4 {
        bus.pass();
        world.servers[0].settle();
    }
    let mut expired = take(&world.expired);
    ids.sort();
    expired.sort();
    assert_eq!(expired, ids);
}

#[test]
fn a_socket_that_its_server_has_forgotten_may_be_recovered_and_is_not_told_as_expired() {
    let mut world = World::new(0);
    let expired = world.expired.clone();
    let recovery = Recovery::new().max_sockets(1).on_expired(move |socket| {
        expired.lock().unwrap().push(format!("0 {}", socket.id()));
    });
    world.add(|builder| builder.connection_state_recovery(recovery));
    world.add(|builder| builder);
    let [first, second, third] = [(); 3].map(|()| {
        let (client, id) = world.connect(0);
        cut(client);
        id
    });
    assert!(is_recovered(&world.come_back(&second, 1)));
    world.servers[0].advance(130 * SECOND);
    let told = take(&world.expired);
    assert_eq!(told, [format!("0 {third}")], "not {first}, because it could have come back as well");
}

#[test]
fn a_client_may_be_given_all_the_time_in_the_world() {
    let mut world = World::new(0);
    let recovery = Recovery::new().max_disconnection_duration(Duration::MAX);
    (0..2).for_each(|_| world.add(|builder| builder.connection_state_recovery(recovery.clone())));
    let (client, id) = world.connect(0);
    cut(client);
    world.servers[0].advance(3600 * SECOND);
    assert!(is_recovered(&world.come_back(&id, 1)));
}

#[test]
fn a_server_that_hands_over_leaves_its_clients_to_the_others() {
    let mut world = World::new(2);
    let (client, id) = world.connect(0);
    let io = world.servers[0].server().clone();
    let bytes = world.servers[0].block_on(async move { io.hand_over(10 * SECOND).await });
    drop(client);
    world.servers[1].server().emit("missed", ());
    // Neither its bytes are needed by a server of the cluster, nor do they do any harm.
    let state = HandOver::from_bytes(bytes).unwrap();
    assert_eq!((state.sockets_count(), state.events_count()), (0, 0));
    world.add(|builder| builder.take_over(state));
    let back = world.come_back(&id, 2);
    assert!(is_recovered(&back));
    assert_eq!((back.id(), names(&back)), (id, vec!["missed".to_owned()]));
}

#[test]
fn an_event_to_a_socket_finds_it_on_another_server() {
    let world = World::new(2);
    let handle = Arc::new(Mutex::new(None));
    let kept = handle.clone();
    world.servers[0].server().on("keep", move |socket: Socket| {
        *kept.lock().unwrap() = Some(socket);
        async {}
    });
    let (client, id) = world.connect(0);
    client.emit("keep", ());
    world.servers[0].settle();
    let socket: Socket = handle.lock().unwrap().clone().unwrap();
    socket.emit("here", ()).unwrap();
    client.expect("here");
    cut(client);
    socket.emit("away", ()).unwrap();
    let back = world.come_back(&id, 1);
    socket.emit("there", ()).unwrap();
    back.expect("there");
    assert_eq!(names(&back), ["away"], "those that were not expected");
}

#[test]
fn a_connection_that_the_server_still_believes_in_is_replaced() {
    let world = World::new(2);
    let (client, id) = world.connect(0);
    client.stall();
    world.servers[1].server().emit("missed", ());
    world.servers[0].settle();
    let known = world.seen.of(&id);
    let back = world.come_back(&id, 0);
    assert_eq!(back.id(), id, "{known:?}");
    assert!(is_recovered(&back));
}

#[test]
fn a_client_that_is_refused_may_come_back_once_more() {
    let mut world = World::new(1);
    world.add(|builder| builder);
    let refuses = Arc::new(Mutex::new(true));
    let decision = refuses.clone();
    let (client, id) = world.connect(0);
    cut(client);
    let recovery = Recovery::new().skip_middlewares(false);
    world.add(|builder| builder.connection_state_recovery(recovery));
    world.servers[2].server().middleware(move || {
        let refuses = *decision.lock().unwrap();
        async move { if refuses { Err(ConnectError::new("not yet")) } else { Ok(()) } }
    });
    let (pid, offset) = world.seen.of(&id);
    let auth = json!({ "pid": pid, "offset": offset });
    world.servers[2].client().auth(auth).connect_error("/");
    *refuses.lock().unwrap() = false;
    assert!(is_recovered(&world.come_back(&id, 2)));
}

#[test]
fn a_socket_that_the_bus_could_not_store_expires_where_it_was() {
    let mut world = World::new(0);
    let bus = Late::over(&world.bus);
    world.add_over(bus.clone(), |builder| builder);
    let ((client, id), (other, other_id)) = (world.connect(0), world.connect(0));
    bus.is_full.store(true, Ordering::SeqCst);
    cut(client);
    bus.is_full.store(false, Ordering::SeqCst);
    cut(other);
    world.servers[0].advance(60 * SECOND);
    world.servers[0].settle();
    // The second one has gone to another server.
    world.add(|builder| builder);
    assert!(is_recovered(&world.come_back(&other_id, 1)));
    world.servers[0].advance(61 * SECOND);
    bus.pass();
    world.servers[0].settle();
    assert_eq!(take(&world.expired), [format!("0 {id}")]);
}

#[test]
fn a_socket_is_recovered_or_expires_and_not_both() {
    let mut world = World::new(0);
    let bus = Late::over(&world.bus);
    world.add_over(bus.clone(), |builder| builder);
    world.add(|builder| builder);
    let (client, id) = world.connect(0);
    cut(client);
    world.servers[0].advance(121 * SECOND);
    // It is still there, so its server is about to remove it.
    bus.pass();
    world.servers[0].settle();
    assert_eq!(bus.asked.lock().unwrap().iter().map(|(_, remove, _)| *remove).collect::<Vec<_>>(), [true]);
    assert!(is_recovered(&world.come_back(&id, 1)));
    bus.pass();
    world.servers[0].settle();
    assert!(take(&world.expired).is_empty());
}

#[test]
fn a_socket_that_is_found_after_its_client_has_begun_anew_is_kept_again() {
    let mut world = World::new(1);
    let bus = Late::over(&world.bus);
    world.add_over(bus.clone(), |builder| builder);
    let [(client, id), (other, other_id)] = [world.connect(0), world.connect(0)];
    cut(client);
    cut(other);
    for id in [&id, &other_id] {
        assert!(!is_recovered(&world.come_back(id, 1)));
    }
    assert_eq!(bus.asked.lock().unwrap().iter().map(|(_, remove, _)| *remove).collect::<Vec<_>>(), [true; 2]);
    bus.pass();
    world.servers[0].settle();
    assert!(is_recovered(&world.come_back(&id, 0)));
    world.servers[0].advance(125 * SECOND);
    assert_eq!(take(&world.expired), [format!("0 {other_id}")], "told by its server, as if nobody had asked");
}

#[test]
fn a_socket_that_its_client_asks_for_in_another_namespace_stays_at_the_bus() {
    let world = World::new(2);
    let (client, id) = world.connect(0);
    cut(client);
    let (pid, offset) = world.seen.of(&id);
    let auth = json!({ "pid": pid, "offset": offset });
    world.servers[1].server().of("/chat");
    let _elsewhere = world.servers[1].client().auth(auth).connect("/chat");
    assert!(is_recovered(&world.come_back(&id, 1)));
}

/// A bus that looks nothing up.
struct Silent(MemoryBus);

impl Bus for Silent {
    fn attach(&self, node: Weak<dyn Node>) {
        self.0.attach(node);
    }

    fn watch(&self, channel: &Channel, on: bool) {
        self.0.watch(channel, on);
    }

    fn publish(&self, channel: &Channel, message: bytes::Bytes) {
        self.0.publish(channel, message);
    }

    fn append(&self, stream: &Channel, fields: Vec<(&'static str, bytes::Bytes)>) {
        self.0.append(stream, fields);
    }

    fn count(&self, channel: &Channel, request: RequestId) {
        self.0.count(channel, request);
    }

    fn stores_sessions(&self) -> bool {
        true
    }
}

#[test]
fn a_client_begins_anew_if_the_bus_does_not_answer_in_time() {
    let mut world = World::new(0);
    world.add_over(Silent(world.bus.clone()), |builder| builder);
    let (client, id) = world.connect(0);
    cut(client);
    let before = world.servers[0].elapsed();
    let back = world.come_back(&id, 0);
    assert!(!is_recovered(&back));
    let waited = world.servers[0].elapsed() - before;
    assert!((5 * SECOND..7 * SECOND).contains(&waited), "{waited:?}");
    world.servers[0].advance(130 * SECOND);
    assert_eq!(take(&world.expired), [format!("0 {id}")]);
}

#[test]
fn all_sockets_get_the_broadcasts_of_all_servers_in_the_same_order() {
    let world = World::new(2);
    let clients: Vec<_> = world.servers.iter().map(|server| server.connect("/")).collect();
    for number in 0..20 {
        world.servers[number % 2].server().emit(&format!("event {number}"), ());
    }
    world.servers[0].settle();
    let expected: Vec<_> = (0..20).map(|number| format!("event {number}")).collect();
    clients.iter().for_each(|client| assert_eq!(names(client), expected));
}

#[test]
#[should_panic(expected = "connection_state_recovery in a cluster needs Adapter::streams")]
fn publish_and_subscribe_cannot_recover() {
    let adapter = Adapter::new(sharded(SubscriptionMode::Dynamic), MemoryBus::new());
    Server::builder().connection_state_recovery(Recovery::new()).adapter(adapter).build();
}

/// A bus that keeps nothing.
struct Forgetful;

impl Bus for Forgetful {
    fn attach(&self, _: Weak<dyn Node>) {}
    fn watch(&self, _: &Channel, _: bool) {}
    fn publish(&self, _: &Channel, _: bytes::Bytes) {}
    fn append(&self, _: &Channel, _: Vec<(&'static str, bytes::Bytes)>) {}
    fn count(&self, _: &Channel, _: RequestId) {}
}

#[test]
#[should_panic(expected = "over a bus that stores sessions")]
fn a_bus_that_keeps_nothing_cannot_recover() {
    let adapter = Adapter::new(Streams::default(), Forgetful);
    Server::builder().adapter(adapter).connection_state_recovery(Recovery::new()).build();
}
