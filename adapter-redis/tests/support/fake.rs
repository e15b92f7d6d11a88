//! Programs that speak as much of the protocol of Redis as the bus needs of a Redis Cluster, under the control of a test.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use super::redis::PATIENCE;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

/// A server that never answers `XADD` and `SPUBLISH`.
pub struct FakeServer {
    port: u16,
    /// The port of the server that has all slots.
    owner: Arc<AtomicU16>,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    state: Mutex<State>,
    came: Condvar,
}

#[derive(Default)]
struct State {
    commands: Vec<Vec<String>>,
    /// The connections that subscribe.
    subscribers: Vec<TcpStream>,
}

impl FakeServer {
    /// Starts two servers. All slots are at the first one.
    pub fn cluster() -> [FakeServer; 2] {
        let owner = Arc::new(AtomicU16::new(0));
        let servers = [(); 2].map(|()| FakeServer::start(owner.clone()));
        owner.store(servers[0].port, Ordering::SeqCst);
        servers
    }

    fn start(owner: Arc<AtomicU16>) -> FakeServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::<Seen>::default();
        let (of_thread, slots) = (seen.clone(), owner.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (seen, slots) = (of_thread.clone(), slots.clone());
                thread::spawn(move || answer(stream.unwrap(), &seen, &slots));
            }
        });
        FakeServer { port, owner, seen }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Waits for a command. Returns its words.
    pub fn await_command(&self, name: &str) -> Vec<String> {
        let mut state = self.seen.state.lock().unwrap();
        loop {
            if let Some(at) = state.commands.iter().position(|words| words[0] == name) {
                return state.commands.remove(at);
            }
            let (guard, timeout) = self.seen.came.wait_timeout(state, PATIENCE).unwrap();
            state = guard;
            assert!(!timeout.timed_out(), "no {name}, only {:?}", state.commands);
        }
    }

    /// Takes all slots from another server, which tells the subscribers of a channel.
    pub fn take_over(&self, from: &FakeServer, channel: &str) {
        self.owner.store(self.port, Ordering::SeqCst);
        for subscriber in &mut from.seen.state.lock().unwrap().subscribers {
            let told = format!("*3\r\n$12\r\nsunsubscribe\r\n${}\r\n{channel}\r\n:0\r\n", channel.len());
            subscriber.write_all(told.as_bytes()).unwrap();
        }
    }
}

/// Answers the commands of a connection.
fn answer(mut stream: TcpStream, seen: &Seen, owner: &AtomicU16) {
    let port = stream.local_addr().unwrap().port();
    let mut input = BufReader::new(stream.try_clone().unwrap());
    while let Some(words) = read(&mut input) {
        let owner = owner.load(Ordering::SeqCst);
        let answer = match words[0].as_str() {
            "CLUSTER" => {
                format!("*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:{owner}\r\n")
            }
            "SSUBSCRIBE" => {
                let confirm =
                    |name: &String| format!("*3\r\n$10\r\nssubscribe\r\n${}\r\n{name}\r\n:1\r\n", name.len());
                words[1..].iter().map(confirm).collect()
            }
            "XADD" | "SPUBLISH" => String::new(),
            _ => "+OK\r\n".to_owned(),
        };
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
        let mut state = seen.state.lock().unwrap();
        if words[0] == "SSUBSCRIBE" && port == owner {
            state.subscribers.push(stream.try_clone().unwrap());
        }
        state.commands.push(words);
        seen.came.notify_all();
    }
}

/// Reads the words of a command: an array of strings.
fn read(input: &mut impl BufRead) -> Option<Vec<String>> {
    let count = number(input)?;
    let word = |_| {
        let mut word = vec![0; number(input)? + 2];
        input.read_exact(&mut word).ok()?;
        word.truncate(word.len() - 2);
        String::from_utf8(word).ok()
    };
    (0..count).map(word).collect()
}

/// Reads a line with a number behind its first character.
fn number(input: &mut impl BufRead) -> Option<usize> {
    let mut line = String::new();
    input.read_line(&mut line).ok()?;
    line.get(1..)?.trim_end().parse().ok()
}
