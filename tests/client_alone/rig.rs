//! The network, the clock and the executor of a client without sockets, played by the test.

use bytes::Buf;
use sockeye::client::ClientBuilder;
use sockeye::host::{Connector, Destination, Outgoing, Runtime};
use sockeye::{Client, Time, Transport};
use sockeye_core::websocket::{Opcode, accept_key, write_frame};
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

pub(crate) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The runtime of a client.
pub(crate) struct World {
    pub(crate) now: Arc<Mutex<Time>>,
    streams: Mutex<Vec<Box<dyn Outgoing>>>,
    tasks: Mutex<Vec<Task>>,
}

thread_local! {
    pub(crate) static IN_RUNTIME: Cell<bool> = const { Cell::new(false) };
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
    pub(crate) fn new() -> Arc<World> {
        Arc::new(World {
            now: Arc::new(Mutex::new(Time::ZERO)),
            streams: Mutex::default(),
            tasks: Mutex::default(),
        })
    }

    /// Creates a client that this runtime drives.
    pub(crate) fn client(self: &Arc<Self>, build: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Client {
        let client = build(Client::builder("http://server")).build().unwrap();
        client.attach(self.clone());
        client
    }

    /// Polls every task once.
    pub(crate) fn run(&self) {
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

    pub(crate) fn advance(&self, time: Duration) {
        let now = self.now() + time;
        *self.now.lock().unwrap() = now;
        self.run();
    }

    /// Drops all tasks, as a runtime does that ends.
    pub(crate) fn end(&self) {
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap());
        drop(tasks);
    }

    /// Returns the number of streams that the client asked for and that were not taken.
    pub(crate) fn wanted(&self) -> usize {
        self.streams.lock().unwrap().len()
    }

    /// Takes the first stream that the client asked for.
    pub(crate) fn stream(&self) -> Stream {
        Stream { protocol: self.streams.lock().unwrap().remove(0), now: self.now() }
    }
}

/// The server's end of a stream.
pub(crate) struct Stream {
    pub(crate) protocol: Box<dyn Outgoing>,
    pub(crate) now: Time,
}

impl Stream {
    /// Takes everything that the client has to write.
    pub(crate) fn written(&mut self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    pub(crate) fn bytes(&mut self) -> Vec<u8> {
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

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        let used = self.protocol.handle_data(self.now, &mut bytes);
        assert_eq!(used, bytes.len());
    }

    pub(crate) fn respond(&mut self, body: &str) {
        self.respond_with("", body);
    }

    pub(crate) fn respond_with(&mut self, headers: &str, body: &str) {
        let length = body.len();
        self.send(format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: {length}\r\n\r\n{body}").as_bytes());
    }

    pub(crate) fn send_text(&mut self, text: &str) {
        let mut frame = Vec::new();
        write_frame(&mut frame, Opcode::Text, text.as_bytes(), None);
        self.send(&frame);
    }

    /// Answers the WebSocket handshake, and opens the session.
    pub(crate) fn open(&mut self) {
        let head = self.written();
        self.switch(&head);
        self.send_text(OPEN);
    }

    /// Answers a WebSocket handshake.
    pub(crate) fn switch(&mut self, head: &str) {
        let key = head.split("Sec-WebSocket-Key: ").nth(1).unwrap().split("\r\n").next().unwrap();
        let accept = String::from_utf8(accept_key(key).to_vec()).unwrap();
        let switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade";
        self.send(format!("{switching}\r\nSec-WebSocket-Accept: {accept}\r\n\r\n").as_bytes());
    }

    /// Opens the session, and lets the client join the main namespace.
    pub(crate) fn join(&mut self) {
        self.open();
        self.written();
        self.send_text(r#"40{"sid":"s"}"#);
    }
}

#[derive(Default)]
pub(crate) struct Woken(pub(crate) AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Asserts that `future` waits until `act` wakes it, and returns its output.
pub(crate) fn woken_by<F: Future>(future: F, act: impl FnOnce()) -> F::Output {
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

/// Returns the output of a future that is ready immediately.
pub(crate) fn at_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}

pub(crate) fn by_polling(builder: ClientBuilder) -> ClientBuilder {
    builder.transports([Transport::Polling])
}

pub(crate) const OPEN: &str =
    r#"0{"sid":"a","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;

pub(crate) fn by_websocket(builder: ClientBuilder) -> ClientBuilder {
    builder.transports([Transport::WebSocket])
}

/// A client that polls: the stream of its poll, which is under way, and the one that sent its `40`.
pub(crate) fn polling(world: &Arc<World>) -> (Client, Stream, Stream) {
    let client = world.client(|builder| by_polling(builder).reconnection(false));
    let (poll, post) = connect_by_polling(world, &client);
    (client, poll, post)
}

/// Connects a client that polls, and returns its streams: see [`polling`].
pub(crate) fn connect_by_polling(world: &Arc<World>, client: &Client) -> (Stream, Stream) {
    client.connect();
    let mut poll = world.stream();
    poll.written();
    poll.respond(OPEN);
    poll.written();
    let mut post = world.stream();
    assert!(post.written().ends_with("40"));
    post.respond("ok");
    (poll, post)
}
