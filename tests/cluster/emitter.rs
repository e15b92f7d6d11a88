//! Sending into a cluster from a program without a server.

use super::support::{Notes, client, dialects, start, take};
use bytes::Bytes;
use sockeye::cluster::{Adapter, Bus, Channel, ClusterEmitter, ClusterEvent, MemoryBus, Node, RequestId};
use sockeye::extract::Data;
use sockeye::runtime::tokio::Tokio;
use sockeye::testing::TestServer;
use sockeye::{EmitError, Server};
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Waker};
use std::time::Duration;

#[test]
fn an_emitter_reaches_the_sockets_and_the_servers_of_a_cluster() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    for dialect in dialects() {
        let (bus, told) = (MemoryBus::new(), Notes::default());
        let notes = told.clone();
        let server = Server::builder()
            .adapter(Adapter::new(dialect.clone(), bus.clone()))
            .on_cluster_event(move |event| match event {
                ClusterEvent::BusConnected => {}
                event => notes.lock().unwrap().push(event.to_string()),
            })
            .build();
        let notes = told.clone();
        server.on_server_side_event("reload", move |Data(what): Data<String>| {
            notes.lock().unwrap().push(what);
            async {}
        });
        let test: TestServer = start(None, server);
        let (red, blue, chat) = (client(&test, &["red"]), client(&test, &["blue"]), test.connect("/chat"));
        let io = runtime.block_on(async {
            ClusterEmitter::new(Adapter::new(dialect.clone(), bus.clone()), Arc::new(Tokio::new()))
        });

        io.emit("all", (1, Bytes::from_static(b"\xff"))).unwrap();
        let (number, bytes): (i32, Bytes) = red.expect_event("all");
        assert_eq!((number, &*bytes), (1, &b"\xff"[..]), "{dialect:?}");
        blue.expect("all");
        io.to("red").emit("to", ()).unwrap();
        red.expect("to");
        io.except("red").volatile().compress(false).emit("except", ()).unwrap();
        blue.expect("except");
        io.of("chat").send("hello").unwrap();
        assert_eq!(chat.expect_event::<String>("message"), "hello");
        io.to("red").sockets_join(["green", "blue"]);
        io.to("green").sockets_leave("blue");
        io.to("green").within("blue").emit("green", ()).unwrap();
        red.expect("green");
        blue.expect("green");
        io.to("blue").emit("last", ()).unwrap();
        blue.expect("last");
        red.expect_nothing();
        io.server_side_emit("reload", "now").unwrap();
        test.settle();
        assert_eq!(take(&told), ["now"], "it is heard, and no server");
        assert!(matches!(io.server_side_emit("connect", ()), Err(EmitError::Encode(_))));
        assert!(io.emit("disconnect", ()).is_err());
        assert_eq!(test.block_on(test.server().server_count()), 1);
        io.to("red").disconnect_sockets(false);
        red.expect_disconnect("io server disconnect");
        io.of("/chat").disconnect_sockets(true);
        chat.expect_disconnect("io server disconnect");
        blue.expect_nothing();
        assert!(runtime.block_on(io.flush(Duration::from_secs(1))));
    }
}

/// A bus that says when it gets a message, and keeps its caller until it may go on.
struct Held {
    begun: Sender<()>,
    go: Mutex<Receiver<()>>,
    published: Arc<AtomicUsize>,
}

impl Bus for Held {
    fn attach(&self, _: Weak<dyn Node>) {}

    fn watch(&self, _: &Channel, _: bool) {}

    fn publish(&self, _: &Channel, _: Bytes) {
        self.begun.send(()).unwrap();
        self.go.lock().unwrap().recv().unwrap();
        self.published.fetch_add(1, Ordering::SeqCst);
    }

    fn append(&self, _: &Channel, _: Vec<(&'static str, Bytes)>) {}

    fn count(&self, _: &Channel, _: RequestId) {}
}

#[test]
fn what_another_thread_passes_to_the_bus_has_left_as_well_when_the_emitter_is_flushed() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _entered = runtime.enter();
    let ((begun, has_begun), (go, wait), published) = (channel(), channel(), Arc::new(AtomicUsize::new(0)));
    let bus = Held { begun, go: Mutex::new(wait), published: published.clone() };
    let io = ClusterEmitter::new(Adapter::classic(bus), Arc::new(Tokio::new()));
    let other = std::thread::spawn({
        let io = io.clone();
        move || io.emit("first", ()).unwrap()
    });
    has_begun.recv().unwrap();
    io.emit("second", ()).unwrap();
    let mut flush = pin!(io.flush(Duration::from_secs(10)));
    assert!(flush.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    (0..2).for_each(|_| go.send(()).unwrap());
    assert!(runtime.block_on(flush));
    assert_eq!(published.load(Ordering::SeqCst), 2);
    other.join().unwrap();
}
