//! A complete Socket.IO server on mio: one thread, an event loop of your own, no async runtime.
//!
//! Run it with `cargo run --example custom_loop`, and connect to http://127.0.0.1:3000 with any Socket.IO client.
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use socket2::SockRef;
use sockeye::drive::{Edge, Protocol, Turn, pump};
use sockeye::host::{BACKLOG, Host, Peer, Runtime};
use sockeye::{ReadyList, Server, Socket, Time, extract::Data};
use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Context;
use std::time::{Duration, Instant};

#[allow(dead_code)] // Other examples include this file for the loop alone.
fn main() -> io::Result<()> {
    let io = Server::new();
    // A room, a broadcast to it, and as the acknowledgement the number of its recipients.
    io.on("join", async |socket: Socket, Data(room): Data<String>| socket.join(room));
    io.on("say", async |socket: Socket, Data((room, text)): Data<(String, String)>| {
        socket.to(room).emit("said", text).sent
    });
    // A handler may wait: here for the client's answer, for at most a second.
    io.on("ask me", async |socket: Socket| {
        let answer = socket.timeout(Duration::from_secs(1)).emit_with_ack::<String>("question", "name?");
        answer.await.map(|name| format!("hello {name}"))
    });
    io.of("/echo").on_fallback(async |args: sockeye::Args| args);
    // The loop ends once the clients have left, after a few seconds at most.
    let closing = io.clone();
    ctrlc::set_handler(move || closing.begin_close()).map_err(io::Error::other)?;
    println!("listening on http://127.0.0.1:3000");
    run(io, listen(([127, 0, 0, 1], 3000).into())?)
}

/// Listens as the standard library does, but lets more than 128 connections wait to be accepted: after a restart of the
/// server all its clients come back at once.
pub(crate) fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    SockRef::from(&listener).listen(BACKLOG.into())?;
    Ok(listener)
}

/// An entry of the loop; its token is its index.
enum Entry<C> {
    Connection(Edge<TcpStream>, C, Vec<u8>),
    /// A handler that waits for something.
    Task(Pin<Box<dyn Future<Output = ()> + Send>>),
}

const LISTENER: Token = Token(0);
const INTERRUPT: Token = Token(1);

/// Maximum number of connections accepted per turn, so that a burst of them does not delay the others.
const ACCEPTS: usize = 64;

/// Time after which accepting is tried again if it has failed, for example because too many files are open.
const PAUSE: Duration = Duration::from_millis(100);

/// Runs any server of this crate: Socket.IO or plain Engine.IO.
pub(crate) fn run<H: Host>(server: H, listener: std::net::TcpListener) -> io::Result<()> {
    let mut poll = Poll::new()?;
    listener.set_nonblocking(true)?;
    let mut listener = TcpListener::from_std(listener);
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;

    // Wakers put tokens on this list. They may be called by other threads, so a new token interrupts the poll.
    let interrupt = mio::Waker::new(poll.registry(), INTERRUPT)?;
    let ready = ReadyList::new(move || drop(interrupt.wake()));
    let runtime = Arc::new(Loop { origin: Instant::now(), spawned: Mutex::default(), ready: ready.clone() });
    let clock = server.attach(runtime.clone());
    let driver = ready.waker(INTERRUPT.0);
    server.set_timer_waker(&driver);

    let mut entries: Vec<Option<Entry<H::Connection>>> = Vec::from([None, None]);
    let mut free = Vec::new();
    let mut events = Events::with_capacity(1024);
    // Set after an error, because the event of the connections that still wait has been reported.
    let mut pause = None;
    while !server.is_closed() {
        let wait = server.next_deadline().map(|deadline| deadline.saturating_since(clock.now()));
        let wait = wait.into_iter().chain(pause).min();
        match poll.poll(&mut events, wait) {
            Err(e) if e.kind() != ErrorKind::Interrupted => return Err(e),
            _ => server.handle_timeout(clock.now()),
        }
        let mut turn = VecDeque::new();
        turn.extend(pause.take().map(|_| LISTENER.0));
        for event in &events {
            if let Some(Some(Entry::Connection(stream, ..))) = entries.get_mut(event.token().0) {
                stream.handle_readiness(event.is_readable(), event.is_read_closed());
            }
            turn.push_back(event.token().0);
        }
        // Tokens that become ready after this end the next poll at once.
        turn.extend(std::iter::from_fn(|| ready.pop()));
        while let Some(token) = turn.pop_front() {
            if Token(token) == LISTENER {
                let accept = |_| {
                    let (mut stream, peer) = listener.accept()?;
                    let _ = stream.set_nodelay(true);
                    let token = insert(&mut entries, &mut free);
                    let interest = Interest::READABLE | Interest::WRITABLE;
                    poll.registry().register(&mut stream, Token(token), interest)?;
                    let mut connection = server.accept(clock.now(), Peer::from(peer));
                    connection.set_waker(&ready.waker(token));
                    entries[token] = Some(Entry::Connection(Edge::new(stream), connection, Vec::new()));
                    Ok::<_, io::Error>(())
                };
                match (0..ACCEPTS).try_for_each(accept) {
                    Ok(()) => ready.waker(LISTENER.0).wake(),
                    Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => pause = Some(PAUSE),
                }
            } else if let Some(entry) = entries.get_mut(token)
                && look_after(entry, &ready, token, clock.now())
            {
                *entry = None;
                free.push(token);
            }
            // Handlers that are still pending after their first poll.
            for task in runtime.take_spawned() {
                let token = insert(&mut entries, &mut free);
                entries[token] = Some(Entry::Task(task));
                turn.push_back(token);
            }
        }
    }
    server.remove_timer_waker(&driver);
    // The connections that are left only wait for their peers to close, so they are closed with the loop.
    Ok(())
}

/// Runs one turn of an entry. Returns true if it is done.
fn look_after<C: Protocol>(entry: &mut Option<Entry<C>>, ready: &ReadyList, token: usize, now: Time) -> bool {
    match entry {
        Some(Entry::Connection(stream, connection, partial)) => {
            match pump(now, stream, connection, partial) {
                Ok(Turn::Wait) => false,
                Ok(turn) => {
                    if turn == Turn::HalfClose {
                        let _ = stream.get_ref().shutdown(Shutdown::Write);
                    }
                    ready.waker(token).wake();
                    turn == Turn::Done
                }
                Err(_) => true,
            }
        }
        Some(Entry::Task(task)) => {
            let waker = ready.waker(token);
            task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready()
        }
        None => false,
    }
}

fn insert<C>(entries: &mut Vec<Option<Entry<C>>>, free: &mut Vec<usize>) -> usize {
    free.pop().unwrap_or_else(|| {
        entries.push(None);
        entries.len() - 1
    })
}

/// The parts of the loop that the server needs: a clock, and a place for handlers that wait.
struct Loop {
    origin: Instant,
    spawned: Mutex<Vec<Pin<Box<dyn Future<Output = ()> + Send>>>>,
    ready: ReadyList,
}

impl Loop {
    fn take_spawned(&self) -> Vec<Pin<Box<dyn Future<Output = ()> + Send>>> {
        std::mem::take(&mut self.spawned.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Runtime for Loop {
    fn now(&self) -> Time {
        Time::from_origin(self.origin.elapsed())
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.spawned.lock().unwrap_or_else(PoisonError::into_inner).push(future);
        self.ready.waker(INTERRUPT.0).wake();
    }
}
