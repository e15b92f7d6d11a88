//! Tests of the page on custom event loops: with what it says about readiness, a loop on each kind of poller serves
//! clients that send and read more than the system buffers.
#![cfg(target_os = "linux")]

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use sockeye::drive::{Protocol, Turn, pump};
use sockeye::extract::Data;
use sockeye::host::{Host, Peer, Runtime};
use sockeye::{Client, ReadyList, Server, Time};
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

const LISTENER: u64 = u64::MAX;

/// More bytes than the sockets of both sides buffer.
const MUCH: usize = 12_000_000;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Edges,
    Levels,
    Once,
}

/// A clock. No handler of these tests waits.
struct Clock(Instant);

impl Runtime for Clock {
    fn now(&self) -> Time {
        Time::from_origin(self.0.elapsed())
    }

    fn spawn(&self, _: Pin<Box<dyn Future<Output = ()> + Send>>) {
        unreachable!("no handler waits");
    }
}

/// A stream, its connection, and what the poller was last asked for.
struct Entry<C> {
    stream: TcpStream,
    connection: C,
    partial: Vec<u8>,
    registered: Option<EventFlags>,
}

impl<C: Protocol> Entry<C> {
    /// Runs one turn, and registers what the page says. Returns whether the entry is done.
    fn turn(
        &mut self,
        kind: Kind,
        epoll: &OwnedFd,
        ready: &ReadyList,
        token: u64,
        now: Time,
    ) -> io::Result<bool> {
        let turn = match pump(now, &mut self.stream, &mut self.connection, &mut self.partial) {
            Ok(turn) => turn,
            Err(_) => return Ok(true),
        };
        match turn {
            Turn::Done => return Ok(true),
            Turn::HalfClose => drop(self.stream.shutdown(Shutdown::Write)),
            Turn::Wait | Turn::Again => {}
        }
        if turn != Turn::Wait {
            ready.waker(token as usize).wake();
        }
        let (reads, writes) = (self.connection.wants_read(), self.connection.poll_transmit().is_some());
        let mut wanted = EventFlags::empty();
        wanted.set(EventFlags::IN, reads);
        wanted.set(EventFlags::OUT, writes);
        match kind {
            Kind::Edges if self.registered.is_none() => {
                self.register(epoll, token, EventFlags::IN | EventFlags::OUT | EventFlags::ET)?;
            }
            Kind::Edges => {}
            Kind::Levels if self.registered != Some(wanted) => self.register(epoll, token, wanted)?,
            Kind::Levels => {}
            Kind::Once if turn == Turn::Wait => self.register(epoll, token, wanted | EventFlags::ONESHOT)?,
            Kind::Once => {}
        }
        Ok(false)
    }

    fn register(&mut self, epoll: &OwnedFd, token: u64, flags: EventFlags) -> io::Result<()> {
        let data = EventData::new_u64(token);
        if flags.is_empty() {
            if self.registered.take().is_some() {
                epoll::delete(epoll, &self.stream)?;
            }
            return Ok(());
        }
        match self.registered {
            None => epoll::add(epoll, &self.stream, data, flags)?,
            Some(_) => epoll::modify(epoll, &self.stream, data, flags)?,
        }
        self.registered = Some(flags);
        Ok(())
    }
}

/// Serves until `is_over`.
fn serve(kind: Kind, server: &Server, listener: &TcpListener, is_over: impl Fn() -> bool) -> io::Result<()> {
    let clock = server.attach(Arc::new(Clock(Instant::now())));
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let ready = ReadyList::new(|| {});
    let mut entries = HashMap::new();
    let mut next = 0;
    while !is_over() {
        // At most 10 ms, because nothing ends the wait when the clients are done.
        let longest = Duration::from_millis(10);
        let wait = server.next_deadline().map_or(longest, |at| at.saturating_since(clock.now()).min(longest));
        let timeout = Timespec::try_from(wait).map_err(io::Error::other)?;
        let mut events = Vec::with_capacity(64);
        epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout))?;
        server.handle_timeout(clock.now());
        let mut tokens: Vec<_> = events.iter().map(|event| event.data.u64()).collect();
        tokens.extend(std::iter::from_fn(|| ready.pop()).map(|token| token as u64));
        for token in tokens {
            if token == LISTENER {
                let (stream, peer) = listener.accept()?;
                stream.set_nonblocking(true)?;
                let mut connection = server.accept(clock.now(), Peer::from(peer));
                connection.set_waker(&ready.waker(next as usize));
                let mut entry = Entry { stream, connection, partial: Vec::new(), registered: None };
                entry.turn(kind, &epoll, &ready, next, clock.now())?;
                entries.insert(next, entry);
                next += 1;
            } else if let Some(entry) = entries.get_mut(&token)
                && entry.turn(kind, &epoll, &ready, token, clock.now())?
            {
                // Closing the stream also removes it from the poller.
                entries.remove(&token);
            }
        }
    }
    Ok(())
}

/// Sends 16 texts of 100 KB at once, waits for all of them to come back, and then for more than the system buffers.
async fn exchange(address: SocketAddr) -> Result<(), Box<dyn std::error::Error>> {
    // A busy machine may take its time.
    let client =
        Client::builder(format!("http://{address}")).ack_timeout(Duration::from_secs(300)).build()?;
    sockeye::runtime::tokio::connect(&client).await?;
    let text = "x".repeat(100_000);
    let asked: Vec<_> = (0..16).map(|_| client.emit_with_ack::<String>("echo", &text)).collect();
    for answer in asked {
        assert!(answer.await? == text);
    }
    assert_eq!(client.emit_with_ack::<String>("much", ()).await?.len(), MUCH);
    client.close();
    client.closed().await;
    Ok(())
}

#[test]
fn every_kind_of_poller_serves_by_the_readiness_that_the_page_names() {
    for kind in [Kind::Edges, Kind::Levels, Kind::Once] {
        let server = Server::builder().send_buffer(2 * MUCH).build();
        server.on("echo", async |Data(text): Data<String>| text);
        server.on("much", async || "x".repeat(MUCH));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let clients = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(exchange(address)).map_err(|error| io::Error::other(error.to_string()))
        });
        serve(kind, &server, &listener, || clients.is_finished()).expect("the loop runs");
        clients.join().expect("no panic").unwrap_or_else(|error| panic!("{kind:?}: {error}"));
    }
}
