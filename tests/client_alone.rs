//! A client without sockets: the test plays the network, the clock and the executor.
#![allow(missing_docs, clippy::unwrap_used)]

use bytes::Buf;
use sockeye::client::{
    BuildError, ClientAckError, ClientBuilder, ClientCloseReason, ClientDisconnectReason, ClientEmitError,
};
use sockeye::host::{Connector, Destination, Outgoing, Runtime};
use sockeye::{Client, ClientSocket, Time, Transport};
use sockeye_core::websocket::{Opcode, accept_key, write_frame};
use std::cell::Cell;
use std::future::{Future, pending, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The runtime of a client.
struct World {
    now: Arc<Mutex<Time>>,
    streams: Mutex<Vec<Box<dyn Outgoing>>>,
    tasks: Mutex<Vec<Task>>,
}

thread_local! {
    static IN_RUNTIME: Cell<bool> = const { Cell::new(false) };
}

impl Runtime for World {
    fn now(&self) -> Time {
        *self.now.lock().unwrap()
    }

    fn enter(&self, f: &mut dyn FnMut()) {
        let before = IN_RUNTIME.replace(true);
        f();
        IN_RUNTIME.set(before);
    }

    fn spawn(&self, task: Task) {
        self.tasks.lock().unwrap().push(task);
    }
}

impl Connector for World {
    fn connect(self: Arc<Self>, _: Destination, protocol: Box<dyn Outgoing>) {
        self.streams.lock().unwrap().push(protocol);
    }

    fn sleep_until(&self, deadline: Time) -> Task {
        let clock = self.now.clone();
        Box::pin(poll_fn(move |_| match *clock.lock().unwrap() >= deadline {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }))
    }
}

impl World {
    fn new() -> Arc<World> {
        Arc::new(World {
            now: Arc::new(Mutex::new(Time::ZERO)),
            streams: Mutex::default(),
            tasks: Mutex::default(),
        })
    }

    /// Creates a client that this runtime drives.
    fn client(self: &Arc<Self>, build: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Client {
        let client = build(Client::builder("http://server")).build().unwrap();
        client.attach(self.clone());
        client
    }

    /// Polls every task once.
    fn run(&self) {
        self.enter(&mut || self.poll_tasks());
    }

    fn poll_tasks(&self) {
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap());
        let mut cx = Context::from_waker(Waker::noop());
        let left =
            tasks.into_iter().filter_map(|mut task| task.as_mut().poll(&mut cx).is_pending().then_some(task));
        let left: Vec<_> = left.collect();
        self.tasks.lock().unwrap().extend(left);
    }

    fn advance(&self, time: Duration) {
        let now = self.now() + time;
        *self.now.lock().unwrap() = now;
        self.run();
    }

    /// Drops all tasks, as a runtime does that ends.
    fn end(&self) {
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap());
        drop(tasks);
    }

    /// How many streams are wanted that are not there.
    fn wanted(&self) -> usize {
        self.streams.lock().unwrap().len()
    }

    /// Takes the first stream that the client asked for.
    fn stream(&self) -> Stream {
        Stream { protocol: self.streams.lock().unwrap().remove(0), now: self.now() }
    }
}

/// The server's end of a stream.
struct Stream {
    protocol: Box<dyn Outgoing>,
    now: Time,
}

impl Stream {
    /// Takes everything that the client has to write.
    fn written(&mut self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    fn bytes(&mut self) -> Vec<u8> {
        self.protocol.handle_wake(self.now);
        let mut written = Vec::new();
        while let Some(out) = self.protocol.poll_transmit() {
            let chunk = out.chunk();
            let length = chunk.len();
            written.extend_from_slice(chunk);
            out.advance(length);
        }
        written
    }

    fn send(&mut self, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        let used = self.protocol.handle_data(self.now, &mut bytes);
        assert_eq!(used, bytes.len());
    }

    fn respond(&mut self, body: &str) {
        self.respond_with("", body);
    }

    fn respond_with(&mut self, headers: &str, body: &str) {
        let length = body.len();
        self.send(format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: {length}\r\n\r\n{body}").as_bytes());
    }

    fn send_text(&mut self, text: &str) {
        let mut frame = Vec::new();
        write_frame(&mut frame, Opcode::Text, text.as_bytes(), None);
        self.send(&frame);
    }

    /// Answers the WebSocket handshake, and opens the session.
    fn open(&mut self) {
        let head = self.written();
        let key = head.split("Sec-WebSocket-Key: ").nth(1).unwrap().split("\r\n").next().unwrap();
        let accept = String::from_utf8(accept_key(key).to_vec()).unwrap();
        let switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade";
        self.send(format!("{switching}\r\nSec-WebSocket-Accept: {accept}\r\n\r\n").as_bytes());
        self.send_text(
            r#"0{"sid":"a","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#,
        );
    }

    /// Opens the session, and lets the client join the main namespace.
    fn join(&mut self) {
        self.open();
        self.written();
        self.send_text(r#"40{"sid":"s"}"#);
    }
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Asserts that `future` waits until `act` wakes it, and returns its output.
fn woken_by<F: Future>(future: F, act: impl FnOnce()) -> F::Output {
    let mut future = pin!(future);
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    let mut cx = Context::from_waker(&waker);
    assert!(future.as_mut().poll(&mut cx).is_pending(), "the future must wait");
    act();
    assert!(woken.0.load(Ordering::SeqCst), "the future is not woken");
    match future.as_mut().poll(&mut cx) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the future is not ready"),
    }
}

/// What a future ends with at once.
fn at_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}

fn by_polling(builder: ClientBuilder) -> ClientBuilder {
    builder.transports([Transport::Polling])
}

const OPEN: &str =
    r#"0{"sid":"a","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;

fn by_websocket(builder: ClientBuilder) -> ClientBuilder {
    builder.transports([Transport::WebSocket])
}

#[test]
fn a_client_needs_a_transport() {
    assert_eq!(Client::builder("http://server").transports([]).build().err(), Some(BuildError::NoTransport));
}

#[test]
fn waiting_for_a_connection_ends_when_the_client_is_closed() {
    let client = World::new().client(by_websocket);
    client.connect();
    let error = woken_by(client.connected(), || client.close()).unwrap_err();
    assert_eq!(error.to_string(), "io client disconnect");
}

#[test]
fn an_earlier_failure_is_not_reported_as_the_reason_of_a_later_disconnect() {
    let world = World::new();
    let client = world.client(by_websocket);
    client.connect();
    let mut stream = world.stream();
    let error = woken_by(client.connected(), || {
        stream.protocol.handle_failed(world.now(), &io::Error::other("nobody there"));
    });
    assert!(error.unwrap_err().to_string().contains("nobody there"));
    world.run();
    world.advance(Duration::from_secs(5));
    let mut stream = world.stream();
    stream.join();
    assert!(client.is_connected());
    client.disconnect();
    let mut connected = pin!(client.connected());
    let Poll::Ready(Err(error)) = connected.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("the client must not be connected");
    };
    assert_eq!(error.to_string(), "io client disconnect");
}

#[test]
fn waiting_for_a_message_or_its_answer_ends_when_the_client_is_dropped() {
    let client = World::new().client(by_websocket);
    let sent = client.emit("late", ()).unwrap();
    assert!(matches!(woken_by(sent, || drop(client)), Err(ClientEmitError::Disconnected)));

    let client = World::new().client(by_websocket);
    let answer = client.emit_with_ack::<()>("late", ());
    assert!(matches!(woken_by(answer, || drop(client)), Err(ClientAckError::Disconnected)));
}

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
fn what_is_told_of_what_leaves_is_bounded() {
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

#[test]
fn no_handler_runs_inside_of_a_call_of_the_application() {
    let world = World::new();
    let client = world.client(|builder| by_websocket(builder).timeout(Duration::from_secs(20)));
    let other = client.socket("/other");
    let lock = Arc::new(Mutex::new(Vec::new()));
    let telling = |what: &'static str| {
        let lock = lock.clone();
        move || {
            lock.try_lock().expect("nobody holds it").push(what);
            async {}
        }
    };
    client.on_any_outgoing(telling("outgoing"));
    client.on_disconnect(telling("disconnect"));
    other.on_connect_error(telling("connect_error"));
    client.on_manager_event({
        let tell = telling("manager");
        move |_| drop(tell())
    });
    let call = |call: &dyn Fn()| {
        let held = lock.lock().unwrap();
        call();
        assert!(held.is_empty());
        drop(held);
        world.run();
        std::mem::take(&mut *lock.lock().unwrap())
    };
    client.connect();
    let mut stream = world.stream();
    stream.join();
    world.run();
    assert_eq!(call(&|| drop(client.emit("m", ()))), ["outgoing"]);
    assert_eq!(call(&|| client.disconnect()), ["disconnect"]);
    drop(stream);
    client.connect();
    let mut stream = world.stream();
    stream.join();
    other.connect();
    world.run();
    // Time passes that nobody has looked at: each call does.
    *world.now.lock().unwrap() = world.now() + Duration::from_secs(100);
    assert_eq!(call(&|| drop(client.emit("m", ()))), ["disconnect", "connect_error"]);
    *world.now.lock().unwrap() = world.now() + Duration::from_secs(100);
    assert_eq!(call(&|| client.socket("/third").connect()), ["manager"]);
    assert_eq!(call(&|| client.close()), [""; 0]);
}

#[test]
fn handlers_begin_on_the_runtime_whichever_thread_causes_the_event() {
    let world = World::new();
    let client = world.client(by_websocket);
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = told.clone();
    client.on_disconnect(move || {
        tell.lock().unwrap().push(IN_RUNTIME.get());
        async {}
    });
    client.connect();
    let mut stream = world.stream();
    stream.join();
    client.disconnect();
    world.run();
    assert_eq!(*told.lock().unwrap(), [true]);
}

#[test]
fn the_applications_and_the_servers_cookies_are_sent_in_one_header() {
    let world = World::new();
    let client = world.client(|builder| builder.extra_header("cookie", "login=a"));
    client.connect();
    let mut stream = world.stream();
    assert!(stream.written().contains("\r\nCookie: login=a\r\n"));
    let open = r#"0{"sid":"a","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;
    let head = format!("HTTP/1.1 200 OK\r\nSet-Cookie: server=1; Path=/\r\nContent-Length: {}", open.len());
    stream.send(format!("{head}\r\n\r\n{open}").as_bytes());
    let next = stream.written().to_lowercase();
    assert_eq!(next.matches("cookie").count(), 1, "{next}");
    assert!(next.contains("\r\ncookie: login=a; server=1\r\n"), "{next}");
}

#[test]
fn an_auth_callback_that_never_completes_is_dropped_at_the_timeout() {
    struct Held(#[allow(dead_code)] Arc<()>);
    let world = World::new();
    let held = Arc::new(());
    let hold = held.clone();
    let client = world.client(|builder| {
        by_websocket(builder).timeout(Duration::from_secs(20)).auth_with(move || {
            let held = Held(hold.clone());
            async move {
                let _held = held;
                pending::<Result<(), String>>().await
            }
        })
    });
    client.connect();
    world.stream().open();
    world.run();
    let waiting = Arc::strong_count(&held);
    world.advance(Duration::from_secs(21));
    assert_eq!(Arc::strong_count(&held), waiting - 1);
}

#[test]
fn a_cookie_is_sent_until_its_time_has_come() {
    let world = World::new();
    let client = world.client(by_polling);
    client.connect();
    let mut stream = world.stream();
    stream.written();
    let cookies = "Set-Cookie: a=1; Max-Age=2\r\nSet-Cookie: b=2\r\n\
                   Set-Cookie: c=3; Expires=Thu, 01 Jan 1970 00:00:00 GMT\r\n";
    stream.respond_with(cookies, OPEN);
    assert!(stream.written().contains("\r\nCookie: a=1; b=2\r\n"));
    world.advance(Duration::from_secs(2));
    stream.now = world.now();
    stream.respond("6");
    assert!(stream.written().contains("\r\nCookie: b=2\r\n"));
}

#[test]
fn the_protocol_s_own_parameters_win_and_stand_once() {
    let world = World::new();
    let url = "http://server/?EIO=3&token=a&transport=websocket&sid=x&b64=1&E%49O=5";
    let client = by_polling(Client::builder(url)).query("t", "mine").query("room", "b").build().unwrap();
    client.attach(world.clone());
    client.connect();
    let mut stream = world.stream();
    let query = |request: String| {
        let query = request.split(['?', ' ']).nth(2).unwrap().to_owned();
        query.split('&').filter(|pair| !pair.starts_with("t=")).map(String::from).collect::<Vec<_>>()
    };
    let first = stream.written();
    assert_eq!(first.matches("t=").count() - first.matches("transport=").count(), 1, "{first}");
    assert_eq!(query(first), ["token=a", "room=b", "EIO=4", "transport=polling"]);
    stream.respond(&OPEN.replace(r#""a""#, r#""custom:id+/=#1""#));
    let sid = "sid=custom%3Aid%2B%2F%3D%231";
    assert_eq!(query(stream.written()), ["token=a", "room=b", "EIO=4", "transport=polling", sid]);
}

/// A client that polls: the stream of its poll, which is under way, and the one that sent its `40`.
fn polling(world: &Arc<World>) -> (Client, Stream, Stream) {
    let client = world.client(|builder| by_polling(builder).reconnection(false));
    client.connect();
    let mut poll = world.stream();
    poll.written();
    poll.respond(OPEN);
    poll.written();
    let mut post = world.stream();
    assert!(post.written().ends_with("40"));
    post.respond("ok");
    (client, poll, post)
}

#[test]
fn a_post_on_a_kept_connection_that_the_server_just_closes_is_sent_again_once() {
    let ends: [fn(Stream); 2] = [|mut stream| stream.protocol.handle_eof(stream.now), drop];
    for end in ends {
        let world = World::new();
        let (client, mut poll, mut post) = polling(&world);
        poll.respond(r#"40{"sid":"s"}"#);
        poll.written();
        client.emit("long", "x".repeat(1000)).unwrap();
        client.emit("short", ()).unwrap();
        let sent = post.written();
        assert!(sent.starts_with("POST ") && sent.ends_with(r#"42["short"]"#));
        end(post);
        assert!(client.is_connected());
        let mut post = world.stream();
        assert_eq!(post.written(), sent);
        post.respond("ok");
        assert!(client.is_connected());

        // A second time it is no accident.
        client.emit("again", ()).unwrap();
        let sent = post.written();
        end(post);
        let mut post = world.stream();
        assert_eq!(post.written(), sent);
        end(post);
        assert_eq!((world.wanted(), client.is_connected()), (0, false));
    }
}

#[test]
fn a_poll_is_sent_again_only_if_the_server_cannot_have_seen_it() {
    let world = World::new();
    let (client, mut poll, _post) = polling(&world);
    poll.respond(r#"40{"sid":"s"}"#);
    poll.protocol.handle_eof(poll.now);
    let mut poll = world.stream();
    assert!(poll.written().starts_with("GET "));
    poll.respond(r#"42["m"]"#);
    assert!(client.is_connected());
    // With its answer events could be lost.
    poll.written();
    poll.protocol.handle_eof(poll.now);
    assert_eq!((world.wanted(), client.is_connected()), (0, false));
}

#[test]
fn a_request_is_not_sent_again_once_a_byte_of_an_answer_came() {
    let world = World::new();
    let (client, mut poll, mut post) = polling(&world);
    poll.respond(r#"40{"sid":"s"}"#);
    client.emit("m", ()).unwrap();
    post.written();
    let mut byte = *b"H";
    post.protocol.handle_data(post.now, &mut byte);
    post.protocol.handle_eof(post.now);
    assert_eq!((world.wanted(), client.is_connected()), (0, false));
}

#[test]
fn without_a_runtime_nothing_waits() {
    let client = by_websocket(Client::builder("http://server")).build().unwrap();
    let mut events = client.events();
    client.connect();
    let error = at_once(client.connected()).unwrap_err();
    assert_eq!(error.to_string(), "the client has no runtime, or its runtime has ended");
    assert!(matches!(at_once(client.emit_with_ack::<()>("m", ())), Err(ClientAckError::Disconnected)));
    assert!(matches!(at_once(client.emit("m", ()).unwrap()), Err(ClientEmitError::Disconnected)));
    assert!(at_once(events.recv_timeout(Duration::from_secs(1))).is_none());
    at_once(client.closed());

    // It is joined all the same when there is one.
    let world = World::new();
    client.attach(world.clone());
    world.run();
    let mut stream = world.stream();
    stream.join();
    assert!(client.is_connected());
}

#[test]
fn a_client_whose_runtime_has_ended_says_so() {
    for with_streams in [false, true] {
        let world = World::new();
        let client = world.client(by_websocket);
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = told.clone();
        client.on_disconnect(move |reason: ClientDisconnectReason| {
            tell.lock().unwrap().push(reason);
            async {}
        });
        client.connect();
        let mut stream = world.stream();
        stream.join();
        world.run();
        stream.send_text(r#"42["last"]"#);
        let mut events = client.events();
        let answer = client.emit_with_ack::<()>("m", ());
        let answer = woken_by(answer, || {
            if with_streams {
                drop(stream);
            }
            world.end();
        });
        assert!(matches!(answer, Err(ClientAckError::Disconnected)));
        assert_eq!(told.lock().unwrap().len(), 1);
        assert!(at_once(events.recv()).is_none());
        assert!(at_once(events.recv_timeout(Duration::from_secs(1))).is_none());
        assert!(at_once(client.events().recv()).is_none());
        client.connect();
        let error = at_once(client.connected()).unwrap_err();
        assert_eq!(error.to_string(), "the client has no runtime, or its runtime has ended");
        assert!(matches!(client.emit("m", ()), Err(ClientEmitError::Disconnected)));
        assert_eq!((client.is_active(), client.buffered(), world.wanted()), (false, 0, 0));
        at_once(client.closed());
        let next = World::new();
        let another = client.another();
        another.attach(next.clone());
        another.connect();
        let mut stream = next.stream();
        stream.join();
        assert!(another.is_connected());
    }
}

#[cfg(feature = "tokio")]
#[test]
fn a_client_outlives_a_runtime_of_tokio() {
    let client = Client::new("http://127.0.0.1:9").unwrap();
    let mut events = client.events();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        client.attach(Arc::new(sockeye::tokio::Tokio::new()));
        client.connect();
    });
    let mut connected = pin!(client.connected());
    let mut next = pin!(events.recv_timeout(Duration::from_secs(3600)));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(next.as_mut().poll(&mut cx).is_pending());
    _ = connected.as_mut().poll(&mut cx);
    drop(runtime);
    assert!(matches!(connected.as_mut().poll(&mut cx), Poll::Ready(Err(_))));
    assert!(matches!(next.as_mut().poll(&mut cx), Poll::Ready(None)));
    client.connect();
    let error = at_once(client.connected()).unwrap_err();
    assert_eq!(error.to_string(), "the client has no runtime, or its runtime has ended");
    assert!(at_once(client.events().recv_timeout(Duration::from_secs(1))).is_none());
}

#[cfg(feature = "smol")]
#[test]
fn a_client_outlives_an_executor_of_smol() {
    let client = Client::new("http://127.0.0.1:9").unwrap();
    let executor = Arc::new(smol::Executor::new());
    let runtime = Arc::new(sockeye::smol::Smol::on(&executor));
    client.attach(runtime.clone());
    client.connect();
    drop(executor);
    assert!(at_once(client.connected()).is_err() && !client.is_active());
    let late = client.another();
    late.attach(runtime);
    late.connect();
    assert!(at_once(late.connected()).is_err());
}
