//! An event loop whose streams are slices of memory.

use super::client::{
    connect_packet, get, packed, poll_head, post, resumable_upgrade, session_of, text, upgrade,
};
use sockeye::drive::{Protocol, Turn, pump};
use sockeye::host::{Host, Peer, Runtime};
use sockeye::{ReadyList, Server, Time};
use std::future::Future;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Waker};
use std::time::Duration;

/// Names a connection.
pub type Token = usize;

/// A server, its connections, and the loop that drives them.
pub struct World {
    server: Server,
    clock: Arc<Clock>,
    ready: ReadyList,
    connections: Vec<Entry>,
}

struct Entry {
    connection: <Server as Host>::Connection,
    partial: Vec<u8>,
    /// Set while the peer does not read, so that every write would block.
    stalled: bool,
}

/// The time in milliseconds, which only `advance` changes, and the tasks that wake the recipients of broadcasts.
struct Clock {
    millis: AtomicU64,
    tasks: Mutex<Vec<Task>>,
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Clock {
    fn tasks(&self) -> MutexGuard<'_, Vec<Task>> {
        self.tasks.lock().expect("no thread panicked")
    }
}

impl Runtime for Clock {
    fn now(&self) -> Time {
        Time::from_origin(Duration::from_millis(self.millis.load(Ordering::Relaxed)))
    }

    fn spawn(&self, task: Task) {
        self.tasks().push(task);
    }
}

/// A stream: the bytes that have arrived, and the place for those that are written.
pub(super) struct Wire<'a, 'b> {
    pub(super) input: &'a [u8],
    pub(super) output: &'a mut Output<'b>,
    pub(super) stalled: bool,
}

pub(super) enum Output<'a> {
    Count(usize),
    Keep(&'a mut Vec<u8>),
}

impl World {
    /// Creates a loop that drives `server`.
    pub fn new(server: Server) -> World {
        let clock = Arc::new(Clock { millis: AtomicU64::new(1), tasks: Mutex::new(Vec::with_capacity(1)) });
        server.attach(clock.clone());
        World { server, clock, ready: ReadyList::new(|| ()), connections: Vec::new() }
    }

    /// Returns the server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Reserves capacity for more connections, so that the list does not grow during a measurement.
    pub fn reserve(&mut self, count: usize) {
        self.connections.reserve(count);
    }

    /// Accepts a new byte stream.
    pub fn accept(&mut self) -> Token {
        let token = self.connections.len();
        let mut connection = self.server.accept(self.clock.now(), Peer::default());
        connection.set_waker(&self.ready.waker(token));
        self.connections.push(Entry { connection, partial: Vec::new(), stalled: false });
        token
    }

    /// Opens a WebSocket client in the main namespace.
    pub fn websocket(&mut self) -> Token {
        self.websocket_with("")
    }

    /// Opens a WebSocket client with additional headers, each of which ends with a line break.
    pub fn websocket_with(&mut self, headers: &str) -> Token {
        let token = self.accept();
        let answer = self.ask(token, &upgrade(headers));
        assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
        self.connect(token, "/");
        token
    }

    /// Opens a WebSocket client that asks for stateful reconnect.
    pub fn resumable(&mut self) -> Token {
        let token = self.accept();
        let answer = self.ask(token, &resumable_upgrade());
        assert!(answer.windows(8).any(|part| part == b"\"resume\""), "not resumable");
        self.connect(token, "/");
        token
    }

    /// Opens a WebSocket client whose packets are MessagePack.
    pub fn packed(&mut self) -> Token {
        let token = self.accept();
        let answer = self.ask(token, &upgrade(""));
        assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
        let answer = self.ask(token, &packed(None));
        assert!(answer.windows(4).any(|part| part == b"\xa3sid"), "not connected");
        token
    }

    /// Connects a WebSocket client to a namespace.
    pub fn connect(&mut self, token: Token, namespace: &str) {
        let answer = self.ask(token, &text(&connect_packet(namespace)));
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.contains("{\"sid\":\""), "not connected: {answer}");
    }

    /// Opens a polling client in the main namespace, and returns its stream and its session's id.
    pub fn polling(&mut self) -> (Token, String) {
        let token = self.accept();
        let answer = self.ask(token, &get("/socket.io/?EIO=4&transport=polling", ""));
        let session = session_of(&answer).to_owned();
        self.ask(token, &post(&session, "40"));
        let answer = self.ask(token, &poll_head(&session));
        assert!(answer.ends_with(b"}"), "{}", String::from_utf8_lossy(&answer));
        (token, session)
    }

    /// Lets `bytes` arrive, and returns the number of bytes that the server wrote.
    pub fn send(&mut self, token: Token, bytes: &[u8]) -> usize {
        let mut output = Output::Count(0);
        self.turn(token, bytes, &mut output);
        match output {
            Output::Count(written) => written,
            Output::Keep(_) => 0,
        }
    }

    /// Lets `bytes` arrive, and returns the bytes that the server wrote.
    pub fn ask(&mut self, token: Token, bytes: &[u8]) -> Vec<u8> {
        let mut answer = Vec::new();
        self.turn(token, bytes, &mut Output::Keep(&mut answer));
        answer
    }

    /// Runs a turn of every connection that was woken, and returns the number of bytes that were written.
    pub fn run_ready(&mut self) -> usize {
        let mut written = 0;
        loop {
            while let Some(token) = self.ready.pop() {
                written += self.send(token, &[]);
            }
            let Some(mut task) = self.clock.tasks().pop() else { return written };
            if task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
                self.clock.tasks().push(task);
            }
        }
    }

    /// Makes the peer stop reading, or read again.
    pub fn stall(&mut self, token: Token, stalled: bool) {
        self.connections[token].stalled = stalled;
    }

    /// Advances the clock, and handles everything that is due.
    pub fn advance(&mut self, milliseconds: u64) {
        self.clock.millis.fetch_add(milliseconds, Ordering::Relaxed);
        let now = self.clock.now();
        while self.server.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.server.handle_timeout(now);
        }
    }

    fn turn(&mut self, token: Token, input: &[u8], output: &mut Output<'_>) {
        let now = self.clock.now();
        let entry = &mut self.connections[token];
        let mut wire = Wire { input, output, stalled: entry.stalled };
        loop {
            match pump(now, &mut wire, &mut entry.connection, &mut entry.partial) {
                Ok(Turn::Wait) => return,
                Ok(Turn::Again) => {}
                end => panic!("a connection ended: {end:?}"),
            }
        }
    }
}

impl Read for Wire<'_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.input.read(buf)
    }
}

impl Write for Wire<'_, '_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buf)])
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.stalled {
            return Err(ErrorKind::WouldBlock.into());
        }
        let len = bufs.iter().map(|buf| buf.len()).sum();
        match &mut self.output {
            Output::Count(written) => *written += len,
            Output::Keep(kept) => bufs.iter().for_each(|buf| kept.extend_from_slice(buf)),
        }
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
