//! An application that falls behind: what waits for it is bounded, and nothing that it waits for is held up.

use super::rig::{Stream, Woken, World, at_once, by_websocket, polling, woken_by};
use sockeye::client::{
    ClientAckError, ClientCloseReason, ClientConnectError, ClientDisconnectReason, ClientEmitError,
};
use sockeye::host::Runtime;
use sockeye::{Client, ClientSocket};
use std::future::{Future, pending};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

#[test]
fn events_for_a_dropped_stream_of_events_do_not_stop_reading() {
    let world = World::new();
    let client = world.client(by_websocket);
    let events = Arc::new(Mutex::new(None));
    let held = events.clone();
    client.on("large", move || {
        held.lock().unwrap().take();
        async {}
    });
    client.connect();
    let mut stream = world.stream();
    stream.join();
    let large = format!(r#"42["large","{}"]"#, "x".repeat(1 << 20));
    for _ in 0..5 {
        *events.lock().unwrap() = Some(client.events());
        stream.send_text(&large);
        assert!(events.lock().unwrap().is_none(), "the handler has dropped them");
    }
    assert!(stream.protocol.wants_read());
}

#[test]
fn events_wait_within_bounds_for_a_thread_that_tells_of_others() {
    let world = World::new();
    let client = world.client(by_websocket);
    let received = Arc::new(AtomicUsize::new(0));
    let count = received.clone();
    client.on("large", move || {
        count.fetch_add(1, Ordering::SeqCst);
        async {}
    });
    client.connect();
    let mut stream = world.stream();
    stream.join();
    let woken = Arc::new(Woken::default());
    stream.protocol.set_waker(&Waker::from(woken.clone()));

    let (begin, begun) = mpsc::channel();
    let (release, released) = mpsc::channel();
    let released = Mutex::new(released);
    client.on_any_outgoing(move || {
        begin.send(()).unwrap();
        released.lock().unwrap().recv().unwrap();
        async {}
    });
    client.emit("out", ()).unwrap();
    let telling = std::thread::spawn({
        let world = world.clone();
        move || world.run()
    });
    begun.recv().unwrap();
    let large = format!(r#"42["large","{}"]"#, "x".repeat(1 << 20));
    let mut sent = 0;
    while stream.protocol.wants_read() {
        stream.send_text(&large);
        sent += 1;
    }
    assert_eq!((sent, received.load(Ordering::SeqCst)), (4, 0));
    woken.0.store(false, Ordering::SeqCst);

    release.send(()).unwrap();
    telling.join().unwrap();
    assert_eq!(received.load(Ordering::SeqCst), sent);
    assert!(stream.protocol.wants_read());
    assert!(woken.0.load(Ordering::SeqCst));
}

#[test]
fn pings_and_answers_get_through_while_handlers_wait() {
    let world = World::new();
    let client = world.client(by_websocket);
    let late = Arc::new(AtomicUsize::new(0));
    let count = late.clone();
    client.on("ask", async |socket: ClientSocket| _ = socket.emit_with_ack::<()>("question", ()).await);
    client.on("wait", pending::<()>);
    client.on("late", move || {
        count.fetch_add(1, Ordering::SeqCst);
        async {}
    });
    client.connect();
    let mut stream = world.stream();
    stream.join();
    for _ in 0..1000 {
        stream.send_text(r#"42["ask"]"#);
    }
    stream.send_text(r#"42["late"]"#);
    assert_eq!(late.load(Ordering::SeqCst), 1, "they wait for answers, not for the application");
    for _ in 0..1001 {
        stream.send_text(r#"42["wait"]"#);
    }
    stream.send_text(r#"42["late"]"#);
    let answer = client.emit_with_ack::<u32>("last question", ());
    stream.written();
    for _ in 0..4 {
        world.advance(Duration::from_secs(20));
        stream.now = world.now();
        stream.send_text("2");
        assert_eq!(stream.bytes().len(), 2 + 4 + 1, "a pong");
    }
    // The acknowledgements before it were given up in time: their handlers have ended.
    assert!(client.is_connected() && matches!(at_once(answer), Err(ClientAckError::Timeout)));
    let answer = client.emit_with_ack::<u32>("the very last", ());
    stream.send_text("431001[7]");
    assert_eq!(at_once(answer).unwrap(), 7);
    assert_eq!(late.load(Ordering::SeqCst), 1);
}

#[test]
fn an_application_that_falls_behind_is_told_so_and_misses_nothing_before() {
    let world = World::new();
    let client = world.client(by_websocket);
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = told.clone();
    client.on_disconnect(move |reason: ClientDisconnectReason| {
        tell.lock().unwrap().push(reason);
        async {}
    });
    let mut events = client.events();
    client.connect();
    let mut stream = world.stream();
    stream.join();
    world.run();
    let large = "x".repeat(1 << 20);
    let mut sent = 0;
    while stream.protocol.wants_read() {
        stream.send_text(&format!(r#"42["large",{sent},"{large}"]"#));
        sent += 1;
    }
    assert_eq!(sent, 8);
    world.advance(Duration::from_secs(46));
    assert!(!client.is_connected());
    // The next connection is opened and joined all the same.
    world.advance(Duration::from_secs(5));
    let mut stream = world.stream();
    assert!(stream.protocol.wants_read());
    stream.open();
    assert!(stream.protocol.wants_read());
    stream.written();
    stream.send_text(r#"40{"sid":"t"}"#);
    assert!(client.is_connected() && !stream.protocol.wants_read() && told.lock().unwrap().is_empty());
    for number in 0..sent {
        let received = at_once(events.recv()).unwrap();
        assert_eq!(received.args().deserialize::<(u32, String)>().unwrap().0, number);
        world.run();
    }
    assert_eq!(*told.lock().unwrap(), [ClientDisconnectReason::Closed(ClientCloseReason::Behind)]);
    assert_eq!(told.lock().unwrap()[0].to_string(), "ping timeout");
    assert!(stream.protocol.wants_read());
}

#[test]
fn reports_of_sent_events_are_bounded() {
    let world = World::new();
    let client = world.client(by_websocket);
    client.on_any_outgoing(|| async {});
    client.connect();
    let mut stream = world.stream();
    stream.join();
    world.run();
    let mut sent = 0;
    let error = loop {
        match client.emit("m", "x".repeat(500_000)) {
            Ok(_) => sent += 1,
            Err(error) => break error,
        }
        stream.written();
        assert!(sent < 100);
    };
    assert!(matches!(error, ClientEmitError::SlowConsumer { .. }), "{error}");
    world.run();
    assert!(client.emit("m", ()).is_ok());
}

/// Joins the main namespace, and suspends as many handlers as may be suspended.
fn behind(world: &World, client: &Client) -> Stream {
    client.on("wait", pending::<()>);
    client.connect();
    let mut stream = world.stream();
    stream.join();
    (0..1000).for_each(|_| stream.send_text(r#"42["wait"]"#));
    stream.send_text(r#"42["held back"]"#);
    stream
}

#[test]
fn a_joined_namespace_is_known_at_once_while_the_application_is_behind() {
    let world = World::new();
    let client = world.client(by_websocket);
    let mut stream = behind(&world, &client);
    let other = client.socket("/other");
    other.connect();
    world.run();
    stream.written();
    woken_by(other.connected(), || stream.send_text(r#"40/other,{"sid":"o"}"#)).unwrap();
}

#[test]
fn a_failed_attempt_is_known_at_once_with_its_error_while_the_application_is_behind() {
    let world = World::new();
    let client = world.client(|builder| by_websocket(builder).reconnection(false));
    let mut stream = behind(&world, &client);
    let other = client.socket("/other");
    other.connect();
    world.run();
    stream.written();
    let refused = r#"44/other,{"message":"no"}"#;
    let error = woken_by(other.connected(), || stream.send_text(refused)).unwrap_err();
    assert_eq!(error.to_string(), "no");
    assert_eq!(at_once(other.connected()).unwrap_err(), error);
}

#[test]
fn a_server_that_replays_more_than_the_application_can_take_is_left_until_it_has_caught_up() {
    let world = World::new();
    let client = world.client(by_websocket);
    let mut events = client.events();
    client.connect();
    let mut stream = world.stream();
    stream.open();
    stream.written();
    stream.send_text(r#"40{"sid":"s","pid":"p"}"#);
    let large = format!(r#"42["large","{}","1678463742834-0"]"#, "x".repeat(1 << 20));
    (0..4).for_each(|_| stream.send_text(&large));
    assert!(stream.protocol.wants_read());
    drop(stream);
    world.run();
    world.advance(Duration::from_secs(5));
    let mut stream = world.stream();
    stream.open();
    stream.written();
    let mut cx = Context::from_waker(Waker::noop());
    let mut connected = pin!(client.connected());
    let mut replayed = 0;
    let result = loop {
        match connected.as_mut().poll(&mut cx) {
            Poll::Ready(result) => break result,
            Poll::Pending => stream.send_text(&large),
        }
        replayed += 1;
        assert!(replayed < 20, "it is read without end");
    };
    let behind = Err(ClientConnectError::Closed(ClientCloseReason::Behind));
    assert_eq!(result, behind);
    // Nothing more is taken from the next connection, either.
    let connected = client.connected();
    world.advance(Duration::from_secs(5));
    let mut stream = world.stream();
    assert_eq!(woken_by(connected, || stream.open()), behind);
    drop(stream);
    for _ in 0..4 + replayed - 1 {
        assert_eq!(at_once(events.recv()).unwrap().event(), "large");
        world.run();
    }
    world.advance(Duration::from_secs(5));
    let mut stream = world.stream();
    stream.join();
    assert!(client.is_connected());
}

#[test]
fn answers_to_requests_that_send_are_read_while_the_application_is_behind() {
    let world = World::new();
    let (client, mut poll, mut post) = polling(&world);
    let _events = client.events();
    poll.respond(r#"40{"sid":"s"}"#);
    let large = format!(r#"42["large","{}"]"#, "x".repeat(1 << 20));
    let mut responses = 0;
    while poll.protocol.wants_read() {
        assert!(responses < 20, "it is read without end");
        poll.written();
        poll.respond(&large);
        responses += 1;
    }
    client.emit("m", ()).unwrap();
    assert!(post.written().ends_with(r#"42["m"]"#) && post.protocol.wants_read());
    post.respond("ok");
    world.advance(Duration::from_secs(35));
    assert!(client.is_connected());
}

#[test]
fn events_are_dispatched_after_a_waker_panicked() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("a test wants it");
        }
    }
    let world = World::new();
    let client = world.client(by_websocket);
    let received = Arc::new(AtomicUsize::new(0));
    let count = received.clone();
    client.on("m", move || {
        count.fetch_add(1, Ordering::SeqCst);
        async {}
    });
    client.connect();
    let mut stream = world.stream();
    stream.join();
    let mut events = client.events();
    assert!(events.poll_recv(&mut Context::from_waker(&Arc::new(Panics).into())).is_pending());
    assert!(catch_unwind(AssertUnwindSafe(|| stream.send_text(r#"42["m"]"#))).is_err());
    stream.send_text(r#"42["m"]"#);
    assert_eq!(received.load(Ordering::SeqCst), 2);
}
