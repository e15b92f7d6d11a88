//! Random sequences of what can happen to a session while its connection writes, and an upgrade in the middle of a poll.

use super::*;
use crate::engine::{Message, Server};
use bytes::Buf;
use parking_lot::Mutex;
use sockeye_core::host::Host;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake};

/// Echoes, and counts the bytes of the frames.
#[derive(Default)]
struct Echo {
    session: Mutex<Option<Session<Echo>>>,
    frames: AtomicUsize,
}

impl Application for Echo {
    type State = ();

    fn on_open(&self, session: &Session<Self>) {
        *self.session.lock() = Some(session.clone());
    }

    fn on_message(&self, session: &Session<Self>, message: Message<'_>) {
        self.send(session, message);
    }
}

impl Echo {
    fn send(&self, session: &Session<Echo>, message: Message<'_>) {
        let Message::Text(text) = &message else { return };
        let len = text.len() + 1;
        let head = if len < 126 { 2 } else { 4 };
        // It may be dropped, because the send buffer is full.
        if session.send(message).is_ok() {
            self.frames.fetch_add(head + len, Ordering::Relaxed);
        }
    }
}

#[derive(Default)]
struct Flag(AtomicBool);

impl Flag {
    fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

type Waiting = Pin<Box<dyn Future<Output = ()>>>;

/// A connection that an event loop drives: only if its waker was called, or the stream has become writable.
struct Rig {
    server: Server<Echo>,
    session: Session<Echo>,
    connection: Connection<Echo>,
    /// The connection of the last poll, which has had no turn since the session has moved on.
    poll: Connection<Echo>,
    woken: Arc<Flag>,
    is_blocked: bool,
    written: usize,
    corks: usize,
    /// A task that waits until the queue is short.
    waiting: Option<(Waiting, Arc<Flag>)>,
    random: u64,
}

impl Rig {
    fn new(seed: u64) -> Rig {
        let builder = Server::builder(Echo::default()).when_full(WhenFull::DropNewest);
        // With a small one, messages wait behind the queue.
        let server = builder.send_buffer([1 << 22, 100_000, 20_000][seed as usize % 3]).build();
        let open = |query: &str, headers: &str| {
            let mut connection = server.accept(Time::ZERO, Peer::default());
            connection.set_waker(Waker::noop());
            let head = format!("GET /engine.io/?EIO=4{query} HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
            connection.handle_data(Time::ZERO, &mut head.into_bytes());
            if let Some(out) = connection.poll_transmit() {
                out.clear();
            }
            connection
        };
        drop(open("&transport=polling", ""));
        let session = server.application().session.lock().take().expect("a session");
        let sid = session.id();
        let poll = open(&format!("&transport=polling&sid={}", sid.as_str()), "");
        let mut connection = open(
            &format!("&transport=websocket&sid={}", sid.as_str()),
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        );
        connection.handle_data(Time::ZERO, &mut frame(b"5"));
        assert_eq!(session.transport(), Transport::WebSocket);
        let (woken, waiting) = (Arc::new(Flag::default()), None);
        let random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let (is_blocked, written, corks) = (false, 0, 0);
        Rig { server, session, connection, poll, woken, is_blocked, written, corks, waiting, random }
    }

    fn below(&mut self, limit: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as usize % limit
    }

    fn act(&mut self) {
        match self.below(12) {
            0..=2 => self.send(200),
            3 => self.send(65_000),
            4 => {
                self.session.cork();
                self.corks += 1;
            }
            5 => self.uncork(),
            6 => self.set_waker(),
            7 => self.receive(),
            8 => self.poll.set_waker(&Arc::new(Flag::default()).into()),
            9 => {
                self.poll.handle_wake(Time::ZERO);
                while let Some(out) = self.poll.poll_transmit() {
                    out.clear();
                }
            }
            10 => self.wait(),
            _ => self.settle(),
        }
    }

    fn send(&mut self, limit: usize) {
        let text = "x".repeat(self.below(limit));
        self.server.application().send(&self.session, Message::Text(&text));
    }

    fn uncork(&mut self) {
        if self.corks > 0 {
            self.corks -= 1;
            self.session.uncork();
        }
    }

    /// The task of the connection becomes another one, which has no turn because of that.
    fn set_waker(&mut self) {
        self.woken = Arc::default();
        self.connection.set_waker(&self.woken.clone().into());
    }

    /// A message arrives, or a ping, or both, and more happens in the same turn.
    fn receive(&mut self) {
        self.connection.handle_wake(Time::ZERO);
        let (ping, message) = ([0x89, 0x80, 0, 0, 0, 0], frame(b"4hi"));
        let what = self.below(3);
        if what > 0 {
            self.server.application().frames.fetch_add(2, Ordering::Relaxed);
        }
        self.connection.handle_data(
            Time::ZERO,
            &mut match what {
                0 => message,
                1 => ping.to_vec(),
                _ => [&ping[..], &message].concat(),
            },
        );
        match self.below(5) {
            0 => self.poll.set_waker(&Arc::new(Flag::default()).into()),
            1 => self.set_waker(),
            2 => self.uncork(),
            3 => self.send(30_000),
            _ => {}
        }
        self.write();
    }

    /// Writes as much as the stream takes.
    fn write(&mut self) {
        let mut room = match self.below(4) {
            0 => 0,
            1 => self.below(100),
            2 => self.below(100_000),
            _ => usize::MAX,
        };
        self.is_blocked = false;
        while let Some(out) = self.connection.poll_transmit() {
            if room == 0 {
                self.is_blocked = true;
                let _ = self.connection.poll_transmit();
                return;
            }
            let len = out.chunk().len().min(room);
            out.advance(len);
            self.written += len;
            room = room.saturating_sub(len);
        }
    }

    fn wait(&mut self) {
        if self.waiting.is_none() {
            let session = self.session.clone();
            let waiting: Waiting = Box::pin(async move { session.writable().await.expect("it is open") });
            self.waiting = Some((waiting, Arc::default()));
            self.look();
        }
    }

    /// Polls the task that waits.
    fn look(&mut self) {
        if let Some((waiting, woken)) = &mut self.waiting {
            let waker = woken.clone().into();
            if waiting.as_mut().poll(&mut Context::from_waker(&waker)) == Poll::Ready(()) {
                self.waiting = None;
            }
        }
    }

    /// Lets the event loop run until it sleeps.
    fn settle(&mut self) {
        let mut turns = 0;
        while self.woken.take() || self.is_blocked {
            self.connection.handle_wake(Time::ZERO);
            self.write();
            turns += 1;
            assert!(turns < 1000, "it spins");
        }
        if self.waiting.as_ref().is_some_and(|(_, woken)| woken.take()) {
            self.look();
        }
    }

    fn check(&mut self) {
        (0..self.corks).for_each(|_| self.uncork());
        self.settle();
        assert_eq!(self.written, self.server.application().frames.load(Ordering::Relaxed));
        let is_idle = self.session.peek(|engine, _| engine.is_writable() && engine.queued() == 0);
        assert!(is_idle, "it knows that everything is written");
        assert!(self.waiting.is_none(), "nobody waits");
    }
}

fn frame(payload: &[u8]) -> Vec<u8> {
    [&[0x81, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload].concat()
}

#[test]
fn everything_that_is_queued_is_written_and_the_session_knows_it_whatever_happens_meanwhile() {
    for seed in 0..300 {
        let mut rig = Rig::new(seed);
        rig.set_waker();
        for _ in 0..10 {
            (0..rig.below(20)).for_each(|_| rig.act());
            rig.check();
        }
    }
}

#[test]
fn a_pong_follows_what_was_sent_before_the_ping_even_if_that_is_held_back() {
    let mut rig = Rig::new(0);
    rig.set_waker();
    rig.settle();
    let got = |rig: &mut Rig| {
        let mut got = Vec::new();
        while let Some(out) = rig.connection.poll_transmit() {
            got.extend_from_slice(&out.copy_to_bytes(out.remaining()));
        }
        got
    };
    rig.session.cork();
    rig.session.send(Message::Text("held")).expect("it is open");
    rig.connection.handle_data(Time::ZERO, &mut [0x89, 0x81, 0, 0, 0, 0, b'p']);
    assert_eq!(got(&mut rig), b"");
    rig.woken.take();
    rig.session.uncork();
    assert!(rig.woken.take());
    rig.connection.handle_wake(Time::ZERO);
    assert_eq!(got(&mut rig), b"\x81\x054held\x8a\x01p");
}

#[test]
fn the_clock_is_read_only_for_what_depends_on_the_time() {
    let mut rig = Rig::new(0);
    let messages = [frame(b"4one"), frame(b"4two")].concat();
    let used = rig.connection.handle_data_with(&|| panic!("messages do not"), &mut messages.clone());
    assert_eq!(used, messages.len());
    // The rest of a message is waited for, but not for long.
    let reads = AtomicUsize::new(0);
    let clock = || {
        reads.fetch_add(1, Ordering::Relaxed);
        Time::ZERO
    };
    rig.connection.handle_data_with(&clock, &mut messages.clone()[..3]);
    assert_eq!(reads.load(Ordering::Relaxed), 1);
}

/// The connection of a new client, which `handle_data` of one request was called for.
fn request(server: &Server<Echo>, now: Time, waker: &Waker, query: &str, headers: &str) -> Connection<Echo> {
    let mut connection = server.accept(now, Peer::default());
    connection.set_waker(waker);
    let head = format!("GET /engine.io/?EIO=4&{query} HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
    connection.handle_data(now, &mut head.into_bytes());
    connection
}

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Completes an upgrade on another connection when it is called.
struct UpgradeNow {
    server: Server<Echo>,
    query: String,
    now: Time,
    waker: Waker,
    upgraded: Mutex<Option<Connection<Echo>>>,
}

impl Wake for UpgradeNow {
    fn wake(self: Arc<Self>) {
        let mut connection = request(&self.server, self.now, &self.waker, &self.query, UPGRADE);
        connection.handle_data(self.now, &mut [frame(b"2probe"), frame(b"5")].concat());
        while let Some(out) = connection.poll_transmit() {
            out.clear();
        }
        *self.upgraded.lock() = Some(connection);
    }
}

#[test]
fn a_connection_that_takes_over_while_a_poll_takes_the_place_of_another_is_woken_for_what_is_sent() {
    let settings = sockeye_core::engineio::server::StatefulReconnect::new();
    let builder = Server::builder(Echo::default()).allow_overlapping_polls(true);
    let server = builder.stateful_reconnect(settings).build();
    let noop = Waker::noop();
    drop(request(&server, Time::ZERO, noop, "transport=polling&resume=0", ""));
    let session = server.application().session.lock().take().expect("a session");
    let (first, woken) = (Arc::new(Flag::default()), Arc::new(Flag::default()));
    let query = |transport| format!("transport={transport}&sid={}", session.id().as_str());
    let late = Time::ZERO + std::time::Duration::from_secs(11);
    let upgrade = Arc::new(UpgradeNow {
        server: server.clone(),
        query: query("websocket"),
        now: late,
        waker: woken.clone().into(),
        upgraded: Mutex::new(None),
    });
    let _waits = request(&server, Time::ZERO, &first.clone().into(), &query("polling"), "");
    // An upgrade whose time is over: the next poll notices it.
    let _tried = request(&server, Time::ZERO, &upgrade.clone().into(), &query("websocket"), UPGRADE);
    let mut second = request(&server, late, noop, &query("polling"), "");
    assert!(upgrade.upgraded.lock().is_some() && session.transport() == Transport::WebSocket);
    assert!(first.take(), "it is to be answered");
    let answer = second.poll_transmit().map(|out| out.copy_to_bytes(out.remaining()));
    assert!(answer.is_some_and(|answer| answer.ends_with(b"\r\n\r\n6")));
    woken.take();
    session.send(Message::Text("hi")).expect("it is open");
    assert!(woken.take());
}
