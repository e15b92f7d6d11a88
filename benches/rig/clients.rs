//! Clients whose streams to the server are slices of memory.

use super::world::{Output, Token, Wire, World};
use super::{Usage, measure};
use sockeye::drive::{Protocol, Turn, pump};
use sockeye::host::{Connector, Destination, Outgoing, Runtime};
use sockeye::{Client, Time};
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

/// Clients, and the loop that drives them beside a [`World`].
#[derive(Default)]
pub struct Clients {
    connector: Arc<Memory>,
    clients: Vec<Client>,
    streams: Vec<Box<dyn Outgoing>>,
    tasks: Vec<Task>,
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Keeps the streams and tasks that the clients ask for until the loop runs them. Its clock stands still.
#[derive(Default)]
struct Memory {
    streams: Mutex<Vec<Box<dyn Outgoing>>>,
    tasks: Mutex<Vec<Task>>,
}

impl Runtime for Memory {
    fn now(&self) -> Time {
        Time::from_origin(Duration::from_secs(1))
    }

    fn spawn(&self, future: Task) {
        self.tasks.lock().expect("no thread panicked").push(future);
    }
}

impl Connector for Memory {
    fn connect(self: Arc<Self>, _: Destination, protocol: Box<dyn Outgoing>) {
        self.streams.lock().expect("no thread panicked").push(protocol);
    }

    fn sleep_until(&self, _: Time) -> Task {
        Box::pin(pending())
    }
}

impl Clients {
    /// Connects a client that uses only WebSocket, and adds it as the last of the clients.
    pub fn connect(&mut self, world: &mut World, client: Client) {
        client.attach(self.connector.clone());
        client.connect();
        let mut tasks = std::mem::take(&mut *self.connector.tasks.lock().expect("no thread panicked"));
        for task in &mut tasks {
            assert!(task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        self.tasks.append(&mut tasks);
        let mut streams = std::mem::take(&mut *self.connector.streams.lock().expect("no thread panicked"));
        for stream in &mut streams {
            let token = world.accept();
            stream.set_waker(Waker::noop());
            exchange(self.connector.now(), stream, world, token);
        }
        self.streams.append(&mut streams);
        assert!(client.is_connected());
        self.clients.push(client);
    }

    /// Lets `bytes` arrive at a client, given by its number. Returns the number of bytes that it wrote.
    pub fn send(&mut self, client: usize, bytes: &[u8]) -> usize {
        let mut output = Output::Count(0);
        self.turns(client, bytes, &mut output);
        match output {
            Output::Count(written) => written,
            Output::Keep(_) => 0,
        }
    }

    /// Lets `bytes` arrive at a client, and returns the bytes that it wrote.
    pub fn ask(&mut self, client: usize, bytes: &[u8]) -> Vec<u8> {
        let mut answer = Vec::new();
        self.turns(client, bytes, &mut Output::Keep(&mut answer));
        answer
    }

    fn turns(&mut self, client: usize, input: &[u8], output: &mut Output<'_>) {
        let mut wire = Wire { input, output, stalled: false };
        let mut partial = Vec::new();
        while turn(self.connector.now(), &mut wire, &mut self.streams[client], &mut partial) {}
        assert!(partial.is_empty(), "the messages are whole");
    }

    /// Returns a client, by its number.
    pub fn client(&self, client: usize) -> &Client {
        &self.clients[client]
    }

    /// Returns the protocol of a client's stream, to drive it by hand.
    pub fn stream(&mut self, client: usize) -> &mut Box<dyn Outgoing> {
        &mut self.streams[client]
    }

    /// Drops all clients, and returns what that freed.
    pub fn free(&mut self) -> Usage {
        let ((), usage) = measure(|| {
            self.clients.clear();
            self.streams.clear();
            self.tasks.clear();
        });
        usage
    }
}

/// Carries bytes in both directions until neither side has more.
fn exchange(now: Time, stream: &mut Box<dyn Outgoing>, world: &mut World, token: Token) {
    let (mut input, mut partial) = (Vec::new(), Vec::new());
    loop {
        let mut output = Vec::new();
        let mut wire = Wire { input: &input, output: &mut Output::Keep(&mut output), stalled: false };
        while turn(now, &mut wire, stream, &mut partial) {}
        assert!(partial.is_empty(), "the server's answers are whole");
        if output.is_empty() {
            return;
        }
        input = world.ask(token, &output);
    }
}

/// Runs a turn, and returns true if there is more to do.
fn turn(now: Time, wire: &mut Wire<'_, '_>, stream: &mut Box<dyn Outgoing>, partial: &mut Vec<u8>) -> bool {
    match pump(now, wire, stream, partial) {
        Ok(turn @ (Turn::Wait | Turn::Again)) => turn == Turn::Again,
        end => panic!("a stream ended: {end:?}"),
    }
}
