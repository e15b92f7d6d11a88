//! The readiness of many sockets, on Linux, where async-io has to wait for one source only.
//!
//! async-io arms a source again by a system call for each time that it is ready; and while an executor is busy, a thread
//! of async-io's own takes what is ready piecemeal. Here the sockets are in an `epoll` instance of their own, armed once
//! (edge-triggered), and looked at when the executor comes to it.

use crate::Smol;
use async_io::{Async, Timer};
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use slab::Slab;
use smol::Task;
use smol::future::yield_now;
use sockeye_core::drive::Stream;
use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

/// How many sockets are looked at in one turn.
const EVENTS: usize = 256;

const READABLE: EventFlags = EventFlags::IN.union(EventFlags::RDHUP).union(EventFlags::ET);

/// How long to wait where waiting itself fails.
const RETRY: Duration = Duration::from_millis(100);

/// Sockets that are waited for together; lives as long as one of them does.
#[derive(Clone)]
pub(crate) struct Sockets(Arc<Inner>);

struct Inner {
    epoll: Arc<Async<OwnedFd>>,
    sockets: Mutex<Slab<Arc<Mutex<Readiness>>>>,
    /// Sockets were added since the last look.
    has_new: AtomicBool,
    /// What waits for the instance, until nobody has a socket in it any more.
    task: OnceLock<Task<()>>,
}

/// What can be done with a socket, as far as is known.
struct Readiness {
    readable: bool,
    writable: bool,
    /// The peer sends no more, or there is an error to fetch: there is something to read at any time.
    ended: bool,
    /// Counts what was told, so that it is not forgotten by who looked before.
    turn: u32,
    waker: Option<Waker>,
}

impl Sockets {
    /// # Errors
    /// When the system has no more of what it needs.
    pub(crate) fn new(smol: &Smol) -> io::Result<Sockets> {
        let epoll = Arc::new(Async::new_nonblocking(epoll::create(CreateFlags::CLOEXEC)?)?);
        let inner = Arc::new(Inner {
            epoll: epoll.clone(),
            sockets: Mutex::default(),
            has_new: AtomicBool::new(false),
            task: OnceLock::new(),
        });
        if let Some(task) = smol.task(watch(epoll, Arc::downgrade(&inner))) {
            let _ = inner.task.set(task);
        }
        Ok(Sockets(inner))
    }

    /// A socket, which does not block from now on. It is read when the instance says so for the first time: earlier, it
    /// would overtake those that were ready before it, and have yet to be told.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn add(&self, stream: TcpStream) -> io::Result<Socket> {
        stream.set_nonblocking(true)?;
        let readiness = Readiness { readable: false, writable: true, ended: false, turn: 0, waker: None };
        let readiness = Arc::new(Mutex::new(readiness));
        let key = lock(&self.0.sockets).insert(readiness.clone());
        let socket = Socket { stream, key, readiness, sockets: self.clone(), awaits_room: false };
        // What can be written to is told first of all, which would put a new socket before others that can be read.
        epoll::add(&*self.0.epoll, &socket.stream, EventData::new_u64(key as u64), READABLE)?;
        self.0.has_new.store(true, Ordering::Relaxed);
        Ok(socket)
    }
}

/// Hands on what the instance tells, as long as somebody has a socket in it.
async fn watch(epoll: Arc<Async<OwnedFd>>, sockets: Weak<Inner>) {
    let mut wakers = Vec::with_capacity(EVENTS);
    loop {
        if epoll.readable().await.is_err() {
            // The system is out of what it takes to wait.
            Timer::after(RETRY).await;
        }
        if !turn(&sockets, &mut wakers).await {
            return;
        }
    }
}

/// Looks once, and wakes in the order in which sockets became ready; whether anybody has a socket still.
async fn turn(sockets: &Weak<Inner>, wakers: &mut Vec<Waker>) -> bool {
    let has_new = |inner: Arc<Inner>| inner.has_new.swap(false, Ordering::Relaxed);
    if sockets.upgrade().is_some_and(has_new) {
        // The tasks of new sockets may be queued, to be polled for the first time. Looked at before that, they would be
        // polled ahead of those that were ready earlier, and have yet to be woken.
        yield_now().await;
    }
    let Some(inner) = sockets.upgrade() else { return false };
    inner.look(wakers);
    wakers.drain(..).for_each(Waker::wake);
    true
}

impl Inner {
    /// Notes what the instance tells, and whom to wake for it.
    fn look(&self, wakers: &mut Vec<Waker>) {
        let mut events = [const { MaybeUninit::uninit() }; EVENTS];
        // An interrupted look is made again: there still is something to see.
        let Ok((events, _)) = epoll::wait(&*self.epoll, &mut events[..], Some(&Timespec::default())) else {
            return;
        };
        let sockets = lock(&self.sockets);
        for event in events {
            let (key, flags) = (event.data.u64(), event.flags);
            // It may be gone by now.
            let socket = usize::try_from(key).ok().and_then(|key| sockets.get(key));
            wakers.extend(socket.and_then(|it| lock(it).handle(flags)));
        }
    }
}

impl Readiness {
    /// Gives back whom to wake for what is new.
    fn handle(&mut self, flags: EventFlags) -> Option<Waker> {
        let failed = flags.intersects(EventFlags::ERR | EventFlags::HUP);
        let ended = failed || flags.contains(EventFlags::RDHUP);
        let readable = ended || flags.contains(EventFlags::IN);
        let writable = failed || flags.contains(EventFlags::OUT);
        let is_new = (readable && !self.readable) || (writable && !self.writable) || (ended && !self.ended);
        self.readable |= readable;
        self.writable |= writable;
        self.ended |= ended;
        self.turn = self.turn.wrapping_add(1);
        if is_new { self.waker.take() } else { None }
    }
}

/// A TCP stream among [`Sockets`].
pub(crate) struct Socket {
    stream: TcpStream,
    key: usize,
    readiness: Arc<Mutex<Readiness>>,
    sockets: Sockets,
    /// It could not be written to once: from then on the instance tells when it can.
    awaits_room: bool,
}

impl Socket {
    /// Ready when it is worth trying, with the turn in which that was told.
    fn poll_ready(&self, cx: &Context<'_>, is_ready: impl FnOnce(&Readiness) -> bool) -> Poll<u32> {
        let mut readiness = lock(&self.readiness);
        if is_ready(&readiness) {
            return Poll::Ready(readiness.turn);
        }
        let is_known = readiness.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        let replaced = if is_known { None } else { readiness.waker.replace(cx.waker().clone()) };
        drop(readiness);
        // It may be the last of a task, which may own another socket.
        drop(replaced);
        Poll::Pending
    }

    /// Has the instance tell when the socket can be written to, which may be so by now.
    fn await_room(&mut self) -> io::Result<()> {
        if !self.awaits_room {
            let key = EventData::new_u64(self.key as u64);
            epoll::modify(&*self.sockets.0.epoll, &self.stream, key, READABLE | EventFlags::OUT)?;
            self.awaits_room = true;
        }
        Ok(())
    }

    /// There was no more in `turn`, and what was told since counts.
    fn exhaust(&self, turn: u32, change: impl FnOnce(&mut Readiness)) {
        let mut readiness = lock(&self.readiness);
        if readiness.turn == turn {
            change(&mut readiness);
        }
    }
}

impl Stream for Socket {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            let turn = ready!(self.poll_ready(cx, |it| it.readable));
            match self.stream.read(buf) {
                Ok(n) => {
                    if n > 0 && n < buf.len() {
                        self.exhaust(turn, |it| it.readable = it.ended);
                    }
                    return Poll::Ready(Ok(n));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.exhaust(turn, |it| it.readable = false);
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn poll_write_vectored(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            let turn = ready!(self.poll_ready(cx, |it| it.writable));
            let written = match bufs {
                [one] => self.stream.write(one),
                several => self.stream.write_vectored(several),
            };
            match written {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.exhaust(turn, |it| it.writable = false);
                    self.await_room()?;
                }
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_shutdown(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.stream.shutdown(Shutdown::Write))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // The instance forgets it when it is closed.
        lock(&self.sockets.0.sockets).remove(self.key);
    }
}

/// Nothing that is done under these locks can be left half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use smol::Executor;
    use std::future::poll_fn;
    use std::net::TcpListener;

    /// Runs a test with sockets, on an executor of its own, and not for ever.
    fn run(test: impl AsyncFnOnce(Sockets, TcpListener)) {
        let executor = Arc::new(Executor::new());
        let sockets = Sockets::new(&Smol::on(&executor)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let too_late = async {
            Timer::after(Duration::from_secs(10)).await;
            panic!("it hangs");
        };
        smol::block_on(executor.run(smol::future::or(test(sockets, listener), too_late)));
    }

    fn connect(sockets: &Sockets, listener: &TcpListener) -> (Socket, TcpStream) {
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (sockets.add(listener.accept().unwrap().0).unwrap(), peer)
    }

    async fn read(socket: &mut Socket) -> Vec<u8> {
        let mut buf = [0; 100];
        let n = poll_fn(|cx| socket.poll_read(cx, &mut buf)).await.unwrap();
        buf[..n].to_vec()
    }

    #[test]
    fn more_sockets_than_are_looked_at_in_a_turn_are_all_served() {
        run(async |sockets, listener| {
            let mut pairs: Vec<_> = (0..EVENTS + 8).map(|_| connect(&sockets, &listener)).collect();
            for round in 0..3 {
                // From the last one: nothing waits for the first but its turn.
                for (_, peer) in pairs.iter_mut().rev() {
                    peer.write_all(&[round]).unwrap();
                }
                for (socket, _) in &mut pairs {
                    assert_eq!(read(socket).await, [round]);
                }
            }
        });
    }

    #[test]
    fn the_end_that_came_with_the_last_bytes_is_read_behind_them() {
        run(async |sockets, listener| {
            let (mut socket, mut peer) = connect(&sockets, &listener);
            // What is known of it is that there is nothing.
            assert!(poll_fn(|cx| Poll::Ready(socket.poll_read(cx, &mut [0]).is_pending())).await);
            peer.write_all(b"last").unwrap();
            drop(peer);
            assert_eq!(read(&mut socket).await, b"last");
            assert_eq!(read(&mut socket).await, b"");
        });
    }

    #[test]
    fn a_peer_that_does_not_read_is_waited_for_and_served_once_it_does() {
        run(async |sockets, listener| {
            let (mut socket, mut peer) = connect(&sockets, &listener);
            let chunk = [7; 1 << 16];
            let slices = [IoSlice::new(&chunk)];
            let mut sent = 0;
            poll_fn(|cx| {
                while let Poll::Ready(written) = socket.poll_write_vectored(cx, &slices) {
                    sent += written.unwrap();
                }
                Poll::Ready(())
            })
            .await;
            let reader = std::thread::spawn(move || io::copy(&mut peer, &mut io::sink()).unwrap());
            sent += poll_fn(|cx| socket.poll_write_vectored(cx, &slices)).await.unwrap();
            drop(socket);
            assert_eq!(reader.join().unwrap(), sent as u64);
        });
    }

    #[test]
    fn what_is_told_during_a_look_is_not_forgotten_by_it() {
        run(async |sockets, listener| {
            let (socket, _peer) = connect(&sockets, &listener);
            let turn = lock(&socket.readiness).turn;
            lock(&socket.readiness).handle(EventFlags::IN);
            socket.exhaust(turn, |it| it.readable = false);
            assert!(lock(&socket.readiness).readable);
            socket.exhaust(turn + 1, |it| it.readable = false);
            assert!(!lock(&socket.readiness).readable);
        });
    }

    /// Sockets that only the test looks at, and tasks that run in the order in which they were woken.
    struct Turns {
        sockets: Sockets,
        listener: TcpListener,
        executor: Executor<'static>,
        read: Arc<Mutex<Vec<Vec<u8>>>>,
    }

    impl Turns {
        fn new() -> Turns {
            // The executor is gone at once, and with it the task that looks.
            let sockets = Sockets::new(&Smol::on(&Arc::new(Executor::new()))).unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            Turns { sockets, listener, executor: Executor::new(), read: Arc::default() }
        }

        /// Starts to read a new socket.
        fn read(&self, mut socket: Socket) {
            let all = self.read.clone();
            let task = async move {
                let bytes = read(&mut socket).await;
                lock(&all).push(bytes);
            };
            self.executor.spawn(task).detach();
        }

        fn look(&self) {
            let sockets = Arc::downgrade(&self.sockets.0);
            self.executor.spawn(async move { turn(&sockets, &mut Vec::new()).await }).detach();
        }

        fn run(&self) {
            while self.executor.try_tick() {}
        }
    }

    /// Writes to a socket, and waits until it has arrived.
    fn write(peer: &mut TcpStream, bytes: &[u8], socket: &TcpStream) {
        peer.write_all(bytes).unwrap();
        while socket.peek(&mut [0]).is_err() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_new_connection_is_not_read_before_what_was_ready_earlier() {
        let turns = Turns::new();
        let (old, mut old_peer) = connect(&turns.sockets, &turns.listener);
        let stream = old.stream.try_clone().unwrap();
        turns.read(old);
        turns.run();
        write(&mut old_peer, b"first", &stream);
        let (new, mut new_peer) = connect(&turns.sockets, &turns.listener);
        write(&mut new_peer, b"second", &new.stream);
        turns.read(new);
        turns.look();
        turns.run();
        assert_eq!(*lock(&turns.read), [&b"first"[..], b"second"]);
    }

    #[test]
    fn what_is_ready_is_read_in_the_order_in_which_it_came() {
        let turns = Turns::new();
        // Both can be written to at once, the second earlier.
        let [(second, mut second_peer), (first, mut first_peer)] =
            [(); 2].map(|()| connect(&turns.sockets, &turns.listener));
        let streams = [&first, &second].map(|socket| socket.stream.try_clone().unwrap());
        turns.read(second);
        turns.read(first);
        turns.run();
        write(&mut first_peer, b"first", &streams[0]);
        write(&mut second_peer, b"second", &streams[1]);
        turns.look();
        turns.run();
        assert_eq!(*lock(&turns.read), [&b"first"[..], b"second"]);
    }

    #[test]
    fn new_connections_are_read_in_the_order_in_which_they_were_ready() {
        let turns = Turns::new();
        let [(first, mut first_peer), (second, mut second_peer)] =
            [(); 2].map(|()| connect(&turns.sockets, &turns.listener));
        write(&mut first_peer, b"first", &first.stream);
        write(&mut second_peer, b"second", &second.stream);
        turns.read(first);
        // Told between the two.
        turns.look();
        turns.read(second);
        turns.run();
        assert_eq!(*lock(&turns.read), [&b"first"[..], b"second"]);
    }

    #[test]
    fn nothing_is_left_when_the_last_socket_is_gone() {
        run(async |sockets, listener| {
            let (socket, _peer) = connect(&sockets, &listener);
            let inner = Arc::downgrade(&sockets.0);
            drop(sockets);
            assert!(inner.upgrade().is_some());
            let epoll = Arc::downgrade(&socket.sockets.0.epoll);
            drop(socket);
            assert!(inner.upgrade().is_none());
            while epoll.upgrade().is_some() {
                smol::future::yield_now().await;
            }
        });
    }
}
