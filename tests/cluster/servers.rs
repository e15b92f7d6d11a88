//! The life of servers in a cluster, and of their bus.

use super::support::{Notes, client, cluster, dialects, start, take};
use bytes::Bytes;
use sockeye::Server;
use sockeye::cluster::{Adapter, Bus, BusStatus, Channel, Classic, ClusterEvent, MemoryBus, Node, RequestId};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

#[test]
fn a_server_that_is_closed_says_goodbye_after_its_last_words() {
    for dialect in dialects() {
        let [a, b] = cluster(&dialect);
        let (here, _there) = (a.connect("/"), b.connect("/"));
        b.server().on_disconnect(async |io: Server| _ = io.emit("left", ()));
        b.close();
        here.expect("left");
        assert_eq!(b.elapsed(), Duration::ZERO, "{dialect:?}");
        let found = a.block_on(a.server().fetch_sockets());
        assert!(found.is_complete() && found.sockets.len() == 1);
        assert_eq!(a.elapsed(), Duration::ZERO, "nobody waits for it");
    }
}

/// A bus that passes everything on, and notes some of it.
struct Noted {
    bus: MemoryBus,
    notes: Notes,
    node: Arc<Mutex<Option<Weak<dyn Node>>>>,
    /// It never has sent everything.
    is_stuck: bool,
}

impl Bus for Noted {
    fn attach(&self, node: Weak<dyn Node>) {
        *self.node.lock().unwrap() = Some(node.clone());
        self.bus.attach(node);
    }

    fn watch(&self, channel: &Channel, on: bool) {
        self.notes.lock().unwrap().push(format!("{} {}", if on { "watch" } else { "unwatch" }, channel.name));
        self.bus.watch(channel, on);
    }

    fn publish(&self, channel: &Channel, message: Bytes) {
        self.notes.lock().unwrap().push(format!("publish {}", channel.name));
        self.bus.publish(channel, message);
    }

    fn append(&self, stream: &Channel, fields: Vec<(&'static str, Bytes)>) {
        self.bus.append(stream, fields);
    }

    fn count(&self, channel: &Channel, request: RequestId) {
        self.bus.count(channel, request);
    }

    fn flush(&self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        self.notes.lock().unwrap().push("flush".into());
        match self.is_stuck {
            true => Box::pin(std::future::pending()),
            false => Box::pin(std::future::ready(())),
        }
    }
}

fn noted(is_stuck: bool) -> Noted {
    Noted { bus: MemoryBus::new(), notes: Notes::default(), node: Arc::default(), is_stuck }
}

#[test]
fn a_bus_that_is_stuck_delays_the_end_of_a_server_by_a_second() {
    let server = Server::builder().adapter(Adapter::classic(noted(true))).build();
    let test = start(None, server);
    let client = test.connect("/");
    test.server().emit("hello", ());
    client.expect("hello");
    test.close();
    assert_eq!(test.elapsed(), Duration::from_secs(1));
}

#[test]
fn what_a_server_sends_until_its_last_session_has_ended_leaves_before_it_counts_as_closed() {
    let bus = noted(false);
    let notes = bus.notes.clone();
    let test = start(None, Server::builder().adapter(Adapter::classic(bus)).build());
    let client = test.connect("/");
    client.stall();
    test.server().local().emit("large", "x".repeat(1 << 20));
    take(&notes);
    test.server().begin_close();
    test.settle();
    test.server().begin_close();
    assert!(!take(&notes).contains(&"flush".to_owned()), "the client has not received everything");
    test.server().emit("late", ());
    client.resume();
    test.close();
    assert_eq!(test.elapsed(), Duration::ZERO);
    assert_eq!(take(&notes), ["publish socket.io#/#", "flush"]);
}

#[test]
fn only_the_channels_of_rooms_with_sockets_are_watched() {
    let bus = noted(false);
    let notes = bus.notes.clone();
    let adapter = Adapter::new(sockeye::cluster::Sharded::default(), bus);
    let test = start(None, Server::builder().adapter(adapter).build());
    test.settle();
    take(&notes);
    let members = [client(&test, &["room"]), client(&test, &["room"])];
    assert_eq!(take(&notes), ["watch socket.io#/#room#"]);
    test.server().to("room").emit("hello", ());
    assert_eq!(take(&notes), ["publish socket.io#/#room#"]);
    drop(members);
    test.advance(Duration::from_secs(1));
    test.server().disconnect_sockets(true);
    test.settle();
    assert!(take(&notes).contains(&"unwatch socket.io#/#room#".to_owned()));
}

#[test]
fn the_application_is_told_of_the_bus_and_of_messages_that_make_no_sense() {
    let (bus, told) = (noted(false), Notes::default());
    let (node, notes) = (bus.node.clone(), told.clone());
    let server = Server::builder()
        .adapter(Adapter::new(Classic::default(), bus))
        .on_cluster_event(move |event| notes.lock().unwrap().push(event.to_string()))
        .build();
    let test = start(None, server);
    test.settle();
    assert_eq!(take(&told), ["the bus of the cluster is connected"]);
    let node = node.lock().unwrap().clone().unwrap().upgrade().unwrap();
    node.handle_status(BusStatus::Disconnected { cause: "gone".into() });
    node.handle_status(BusStatus::Overflowed { limit: 5 });
    assert_eq!(
        take(&told),
        [
            "the bus of the cluster is not connected, so only the own clients are reached: gone",
            "more than 5 bytes wait at the bus of the cluster, so messages are dropped"
        ]
    );
    for _ in 0..3 {
        node.handle_message("socket.io-request#/#", Bytes::from_static(b"\xff"));
    }
    test.advance(Duration::from_secs(1));
    node.handle_message("socket.io-request#/#", Bytes::from_static(b"{}"));
    node.handle_status(BusStatus::MessageTooLong { len: 9, limit: 5 });
    test.advance(Duration::from_secs(10));
    let told = take(&told);
    let counts: Vec<_> = told.iter().filter_map(|it| it.split(" messages").next()).collect();
    assert_eq!(counts, ["1", "2", "2"], "at most one report per second, and none is left out");
    assert!(told[2].contains("a message of 9 bytes came over the bus, more than the limit of 5"), "{told:?}");
}

#[test]
fn a_server_that_comes_back_is_known_again() {
    let told = Notes::default();
    let notes = told.clone();
    let bus = MemoryBus::new();
    let adapter = || Adapter::new(sockeye::cluster::Sharded::default(), bus.clone());
    let a = Server::builder().adapter(adapter()).on_cluster_event(move |event| {
        let name = match event {
            ClusterEvent::NodeJoined { .. } => "joined",
            ClusterEvent::NodeLeft { .. } => "left",
            ClusterEvent::NodeLost { .. } => "lost",
            _ => return,
        };
        notes.lock().unwrap().push(name.into());
    });
    let a = start(None, a.build());
    for _ in 0..3 {
        let b = start(Some(&a), Server::builder().adapter(adapter()).build());
        a.settle();
        b.close();
        a.settle();
        assert_eq!(take(&told), ["joined", "left"]);
    }
    let b = start(Some(&a), Server::builder().adapter(adapter()).build());
    a.advance(Duration::from_secs(60));
    assert_eq!(take(&told), ["joined"], "heartbeats keep it");
    drop(b);
    a.advance(Duration::from_secs(11));
    assert_eq!(take(&told), ["lost"]);
}

/// A bus that keeps what is published, and checks that it is not called by several threads at once.
#[derive(Clone, Default)]
struct Recorded(Arc<(Mutex<Vec<Bytes>>, AtomicBool)>);

impl Bus for Recorded {
    fn attach(&self, _: Weak<dyn Node>) {}

    fn watch(&self, _: &Channel, _: bool) {}

    fn publish(&self, _: &Channel, message: Bytes) {
        assert!(!self.0.1.swap(true, Ordering::AcqRel), "a second thread calls the bus");
        std::thread::yield_now();
        self.0.0.lock().unwrap().push(message);
        self.0.1.store(false, Ordering::Release);
    }

    fn append(&self, _: &Channel, _: Vec<(&'static str, Bytes)>) {}

    fn count(&self, _: &Channel, _: RequestId) {}
}

#[test]
fn messages_of_several_threads_reach_the_bus_one_at_a_time_and_in_the_order_of_each() {
    const THREADS: usize = 4;
    const MESSAGES: usize = 300;
    let bus = Recorded::default();
    let io = Server::builder().adapter(Adapter::sharded(bus.clone())).build();
    bus.0.0.lock().unwrap().clear();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let io = io.clone();
            scope.spawn(move || {
                (0..MESSAGES)
                    .for_each(|number| assert!(io.emit("n", format!("<{thread} {number}>")).published));
            });
        }
    });
    let published = bus.0.0.lock().unwrap();
    assert_eq!(published.len(), THREADS * MESSAGES, "nothing is left behind");
    let mut next = [0; THREADS];
    for message in &*published {
        let text = std::str::from_utf8(message).unwrap();
        let (_, text) = text.split_once('<').unwrap();
        let (thread, number) = text.split_once('>').unwrap().0.split_once(' ').unwrap();
        let next = &mut next[thread.parse::<usize>().unwrap()];
        assert_eq!(number.parse::<usize>().unwrap(), *next);
        *next += 1;
    }
}
