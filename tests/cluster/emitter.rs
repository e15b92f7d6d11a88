//! Sending into a cluster from a program without a server.

use super::support::{Notes, client, dialects, start, take};
use bytes::Bytes;
use sockeye::cluster::{Adapter, ClusterEmitter, ClusterEvent, MemoryBus};
use sockeye::extract::Data;
use sockeye::runtime::tokio::Tokio;
use sockeye::testing::TestServer;
use sockeye::{EmitError, Server};
use std::sync::Arc;
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
