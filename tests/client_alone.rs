//! A client without sockets: the test plays the network, the clock and the executor.
#![allow(missing_docs, clippy::unwrap_used)]

use bytes::Buf;
use sockeye::client::{BuildError, ClientBuilder};
use sockeye::host::{Connector, Destination, Outgoing, Runtime};
use sockeye::{AckError, Client, ClientSocket, EmitError, Time, Transport};
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
        self.protocol.handle_wake(self.now);
        let mut written = Vec::new();
        while let Some(out) = self.protocol.poll_transmit() {
            let chunk = out.chunk();
            let length = chunk.len();
            written.extend_from_slice(chunk);
            out.advance(length);
        }
        String::from_utf8_lossy(&written).into_owned()
    }

    fn send(&mut self, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        let used = self.protocol.handle_data(self.now, &mut bytes);
        assert_eq!(used, bytes.len());
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
    assert!(matches!(woken_by(sent, || drop(client)), Err(EmitError::Disconnected)));

    let client = World::new().client(by_websocket);
    let answer = client.emit_with_ack::<()>("late", ());
    assert!(matches!(woken_by(answer, || drop(client)), Err(AckError::Disconnected)));
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
fn the_server_is_not_read_while_events_wait_for_a_thread_that_calls_listeners() {
    let world = World::new();
    let client = world.client(by_websocket);
    let received = Arc::new(AtomicUsize::new(0));
    let count = received.clone();
    client.on("number", move || {
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
    let emitting = std::thread::spawn({
        let client = client.clone();
        move || client.emit("out", ()).map(drop)
    });
    begun.recv().unwrap();
    stream.send_text(r#"42["number",1]"#);
    assert!(!stream.protocol.wants_read());
    woken.0.store(false, Ordering::SeqCst);

    release.send(()).unwrap();
    emitting.join().unwrap().unwrap();
    assert_eq!(received.load(Ordering::SeqCst), 1);
    assert!(stream.protocol.wants_read());
    assert!(woken.0.load(Ordering::SeqCst));
}

#[test]
fn the_server_is_read_while_handlers_wait_for_its_answers() {
    let world = World::new();
    let client = world.client(by_websocket);
    client.on("ask", async |socket: ClientSocket| _ = socket.emit_with_ack::<()>("question", ()).await);
    client.on("wait", pending::<()>);
    client.connect();
    let mut stream = world.stream();
    stream.join();
    for _ in 0..1000 {
        stream.send_text(r#"42["ask"]"#);
    }
    assert!(stream.protocol.wants_read());
    for _ in 0..1000 {
        stream.send_text(r#"42["wait"]"#);
    }
    assert!(!stream.protocol.wants_read());
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
