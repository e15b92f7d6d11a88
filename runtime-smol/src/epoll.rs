//! A server's sockets on Linux: they wait in an `epoll` instance of their own, and async-io waits for that instance only.
//!
//! async-io (2.6) makes a system call to register a source again after each time that it was ready, and several more to
//! wait. With it alone, an acknowledgement takes two more system calls, a new client about seven more, and both about 1.3
//! times the CPU time: `benches/compare/run --with ours-smol --only ack1,handshake`. Here each socket is registered once
//! (edge-triggered), and one task of the executor collects the events. While they keep coming, it does so without async-io.
//!
//! There is no thread and no `unsafe` code. The instance belongs to its sockets and to that task, and is closed with the
//! last of them.

use crate::Smol;
use async_io::{Async, Timer};
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use slab::Slab;
use smol::Task;
use smol::future::yield_now;
use sockeye_core::drive::Stream;
use std::future::poll_fn;
use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

/// Maximum number of events that are collected at once.
const EVENTS: usize = 256;

const READABLE: EventFlags = EventFlags::IN.union(EventFlags::RDHUP).union(EventFlags::ET);

/// Pause after an error of waiting itself.
const RETRY: Duration = Duration::from_millis(100);

/// The sockets of one `epoll` instance, which is closed when the last of them is dropped.
#[derive(Clone)]
pub(crate) struct Sockets(Arc<Inner>);

struct Inner {
    epoll: Arc<Async<OwnedFd>>,
    sockets: Mutex<Slab<Arc<Mutex<Readiness>>>>,
    /// Sockets were added since events were last collected.
    has_new: AtomicBool,
    /// Wakes the task while it waits, for new sockets.
    waiting: Mutex<Option<Waker>>,
    /// The task that waits for the instance, which ends once no socket is left.
    task: OnceLock<Task<()>>,
}

/// The operations that may succeed on a socket.
struct Readiness {
    readable: bool,
    writable: bool,
    /// The peer sends no more, or an error is to be reported: reading never blocks any more.
    ended: bool,
    /// The number of events so far, so that an operation that began before an event does not reset what it reported.
    events: u32,
    waker: Option<Waker>,
}

impl Sockets {
    /// Creates an `epoll` instance.
    ///
    /// # Errors
    /// If the system is out of resources, such as file descriptors.
    pub(crate) fn new(smol: &Smol) -> io::Result<Sockets> {
        let epoll = Arc::new(Async::new_nonblocking(epoll::create(CreateFlags::CLOEXEC)?)?);
        let inner = Arc::new(Inner {
            epoll: epoll.clone(),
            sockets: Mutex::default(),
            has_new: AtomicBool::new(false),
            waiting: Mutex::default(),
            task: OnceLock::new(),
        });
        if let Some(task) = smol.task(watch(epoll, Arc::downgrade(&inner))) {
            let _ = inner.task.set(task);
        }
        Ok(Sockets(inner))
    }

    /// Adds a socket, which must be non-blocking. It is not read before the instance reports that it is readable: otherwise
    /// it would overtake sockets that became ready earlier, and whose events are not collected yet.
    ///
    /// # Errors
    /// If the system refuses to add it.
    pub(crate) fn add(&self, stream: TcpStream) -> io::Result<Socket> {
        let readiness = Readiness { readable: false, writable: true, ended: false, events: 0, waker: None };
        let readiness = Arc::new(Mutex::new(readiness));
        let key = lock(&self.0.sockets).insert(readiness.clone());
        let socket = Socket { stream, key, readiness, sockets: self.clone(), reports_writable: false };
        // Without `OUT`: a new socket is writable at once, and that event would put it ahead of sockets that are readable.
        epoll::add(&*self.0.epoll, &socket.stream, EventData::new_u64(key as u64), READABLE)?;
        self.0.has_new.store(true, Ordering::Relaxed);
        // Most clients send a request at once, and to look for it takes fewer system calls than to be told by async-io.
        let waiting = lock(&self.0.waiting).take();
        waiting.into_iter().for_each(Waker::wake);
        Ok(socket)
    }
}

/// Passes on the events of the instance until no socket is left.
async fn watch(epoll: Arc<Async<OwnedFd>>, sockets: Weak<Inner>) {
    let mut wakers = Vec::with_capacity(EVENTS);
    while let Some(had_events) = turn(&sockets, &mut wakers).await {
        if had_events {
            // There may be more by the time when the woken tasks have run, and async-io makes several system calls to wait.
            yield_now().await;
        } else if poll_fn(|cx| poll_wait(&epoll, &sockets, cx)).await.is_err() {
            // The system is out of resources for waiting.
            Timer::after(RETRY).await;
        }
    }
}

/// Waits until there are events, or new sockets.
fn poll_wait(epoll: &Async<OwnedFd>, sockets: &Weak<Inner>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    if let Some(inner) = sockets.upgrade() {
        let replaced = lock(&inner.waiting).replace(cx.waker().clone());
        drop(replaced);
        if inner.has_new.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
    }
    epoll.poll_readable(cx)
}

/// Collects events once, and wakes tasks in the order in which their sockets became ready. Returns `true` if there were
/// events, and `None` if no socket is left.
async fn turn(sockets: &Weak<Inner>, wakers: &mut Vec<Waker>) -> Option<bool> {
    let has_new = |inner: Arc<Inner>| inner.has_new.swap(false, Ordering::Relaxed);
    if sockets.upgrade().is_some_and(has_new) {
        // The tasks of new sockets may be queued for their first poll. If their events were collected before that, they would
        // read in this poll, ahead of sockets that were ready earlier and whose tasks are only woken now.
        yield_now().await;
    }
    let had_events = sockets.upgrade()?.collect(wakers);
    wakers.drain(..).for_each(Waker::wake);
    Some(had_events)
}

impl Inner {
    /// Collects events, and adds the wakers to call for them. Returns `true` if there were events.
    fn collect(&self, wakers: &mut Vec<Waker>) -> bool {
        let mut events = [const { MaybeUninit::uninit() }; EVENTS];
        // After an interruption the instance is still readable, so that this is called again.
        let Ok((events, _)) = epoll::wait(&*self.epoll, &mut events[..], Some(&Timespec::default())) else {
            return false;
        };
        let sockets = lock(&self.sockets);
        for event in &*events {
            let (key, flags) = (event.data.u64(), event.flags);
            // The socket may have been dropped by now.
            let socket = usize::try_from(key).ok().and_then(|key| sockets.get(key));
            wakers.extend(socket.and_then(|it| lock(it).handle(flags)));
        }
        !events.is_empty()
    }
}

impl Readiness {
    /// Handles an event. Returns the waker to call if the socket has become ready for something.
    fn handle(&mut self, flags: EventFlags) -> Option<Waker> {
        let failed = flags.intersects(EventFlags::ERR | EventFlags::HUP);
        let ended = failed || flags.contains(EventFlags::RDHUP);
        let readable = ended || flags.contains(EventFlags::IN);
        let writable = failed || flags.contains(EventFlags::OUT);
        let is_new = (readable && !self.readable) || (writable && !self.writable) || (ended && !self.ended);
        self.readable |= readable;
        self.writable |= writable;
        self.ended |= ended;
        self.events = self.events.wrapping_add(1);
        if is_new { self.waker.take() } else { None }
    }
}

/// A TCP stream among [`Sockets`].
pub(crate) struct Socket {
    stream: TcpStream,
    key: usize,
    readiness: Arc<Mutex<Readiness>>,
    sockets: Sockets,
    /// A write has blocked once: from then on the instance reports when the socket is writable.
    reports_writable: bool,
}

impl Socket {
    /// Waits until an operation may succeed. Returns the number of events so far, for
    /// [`exhaust`](Socket::exhaust).
    fn poll_ready(&self, cx: &Context<'_>, is_ready: impl FnOnce(&Readiness) -> bool) -> Poll<u32> {
        let mut readiness = lock(&self.readiness);
        if is_ready(&readiness) {
            return Poll::Ready(readiness.events);
        }
        let is_known = readiness.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        let replaced = if is_known { None } else { readiness.waker.replace(cx.waker().clone()) };
        drop(readiness);
        // Dropped without the lock: it may be the last waker of a task, whose drop may drop another socket.
        drop(replaced);
        Poll::Pending
    }

    /// Makes the instance report when the socket is writable, which it may be already.
    fn report_writable(&mut self) -> io::Result<()> {
        if !self.reports_writable {
            let key = EventData::new_u64(self.key as u64);
            epoll::modify(&*self.sockets.0.epoll, &self.stream, key, READABLE | EventFlags::OUT)?;
            self.reports_writable = true;
        }
        Ok(())
    }

    /// Notes that an operation has blocked, unless another event has arrived since there were `events`.
    fn exhaust(&self, events: u32, change: impl FnOnce(&mut Readiness)) {
        let mut readiness = lock(&self.readiness);
        if readiness.events == events {
            change(&mut readiness);
        }
    }

    /// Writes by `write` once the socket is writable.
    fn poll_write_with(
        &mut self,
        cx: &Context<'_>,
        mut write: impl FnMut(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            let events = ready!(self.poll_ready(cx, |it| it.writable));
            match write(&self.stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.exhaust(events, |it| it.writable = false);
                    self.report_writable()?;
                }
                written => return Poll::Ready(written),
            }
        }
    }
}

impl Stream for Socket {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_ready(cx, |it| it.readable).map(drop)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            let events = ready!(self.poll_ready(cx, |it| it.readable));
            match self.stream.read(buf) {
                Ok(n) => {
                    if n > 0 && n < buf.len() {
                        self.exhaust(events, |it| it.readable = it.ended);
                    }
                    return Poll::Ready(Ok(n));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.exhaust(events, |it| it.readable = false);
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |mut stream| stream.write(buf))
    }

    fn poll_write_vectored(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |mut stream| stream.write_vectored(bufs))
    }

    fn poll_shutdown(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.stream.shutdown(Shutdown::Write))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Closing the socket removes it from the instance.
        lock(&self.sockets.0.sockets).remove(self.key);
    }
}

/// Locks a mutex, poisoned or not: nothing under these locks can panic half-way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use smol::Executor;
    use std::net::TcpListener;

    /// Runs a test with sockets on an executor of its own, for at most ten seconds.
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
        let stream = listener.accept().unwrap().0;
        stream.set_nonblocking(true).unwrap();
        (sockets.add(stream).unwrap(), peer)
    }

    async fn read(socket: &mut Socket) -> Vec<u8> {
        let mut buf = [0; 100];
        let n = poll_fn(|cx| socket.poll_read(cx, &mut buf)).await.unwrap();
        buf[..n].to_vec()
    }

    #[test]
    fn more_sockets_than_fit_into_one_collection_are_all_served() {
        run(async |sockets, listener| {
            let mut pairs: Vec<_> = (0..EVENTS + 8).map(|_| connect(&sockets, &listener)).collect();
            for round in 0..3 {
                // In reverse, so that the first socket is ready last.
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
            // The socket is known not to be readable.
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
    fn an_event_during_an_operation_is_not_reset_by_it() {
        run(async |sockets, listener| {
            let (socket, _peer) = connect(&sockets, &listener);
            let events = lock(&socket.readiness).events;
            lock(&socket.readiness).handle(EventFlags::IN);
            socket.exhaust(events, |it| it.readable = false);
            assert!(lock(&socket.readiness).readable);
            socket.exhaust(events + 1, |it| it.readable = false);
            assert!(!lock(&socket.readiness).readable);
        });
    }

    #[test]
    fn a_drained_socket_that_becomes_writable_is_waited_for_again_until_it_is_readable() {
        run(async |sockets, listener| {
            let (mut socket, _peer) = connect(&sockets, &listener);
            for (event, readable) in [(EventFlags::OUT, false), (EventFlags::IN, true)] {
                let has_waker = |socket: &Socket| lock(&socket.readiness).waker.is_some();
                assert!(poll_fn(|cx| Poll::Ready(socket.poll_read(cx, &mut [0]).is_pending())).await);
                assert!(has_waker(&socket));
                lock(&socket.readiness).writable = false;
                lock(&socket.readiness).handle(event);
                assert!(!has_waker(&socket));
                let is_ready = poll_fn(|cx| Poll::Ready(socket.poll_readable(cx).is_ready())).await;
                assert_eq!((is_ready, has_waker(&socket)), (readable, !readable));
            }
        });
    }

    /// Sockets whose events only the test collects, and tasks that run in the order in which they were woken.
    struct Turns {
        sockets: Sockets,
        listener: TcpListener,
        executor: Executor<'static>,
        read: Arc<Mutex<Vec<Vec<u8>>>>,
    }

    impl Turns {
        fn new() -> Turns {
            // The executor is dropped at once, and with it the task that collects events.
            let sockets = Sockets::new(&Smol::on(&Arc::new(Executor::new()))).unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            Turns { sockets, listener, executor: Executor::new(), read: Arc::default() }
        }

        /// Spawns a task that reads a new socket.
        fn read(&self, mut socket: Socket) {
            let all = self.read.clone();
            let task = async move {
                let bytes = read(&mut socket).await;
                lock(&all).push(bytes);
            };
            self.executor.spawn(task).detach();
        }

        /// Spawns a task that collects events once.
        fn collect(&self) {
            let sockets = Arc::downgrade(&self.sockets.0);
            self.executor.spawn(async move { turn(&sockets, &mut Vec::new()).await }).detach();
        }

        fn run(&self) {
            while self.executor.try_tick() {}
        }
    }

    /// Writes to a socket, and waits until the bytes have arrived.
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
        turns.collect();
        turns.run();
        assert_eq!(*lock(&turns.read), [&b"first"[..], b"second"]);
    }

    #[test]
    fn what_is_ready_is_read_in_the_order_in_which_it_came() {
        let turns = Turns::new();
        // Both are writable at once, the second one first.
        let [(second, mut second_peer), (first, mut first_peer)] =
            [(); 2].map(|()| connect(&turns.sockets, &turns.listener));
        let streams = [&first, &second].map(|socket| socket.stream.try_clone().unwrap());
        turns.read(second);
        turns.read(first);
        turns.run();
        write(&mut first_peer, b"first", &streams[0]);
        write(&mut second_peer, b"second", &streams[1]);
        turns.collect();
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
        // Events are collected between the two.
        turns.collect();
        turns.read(second);
        turns.run();
        assert_eq!(*lock(&turns.read), [&b"first"[..], b"second"]);
    }

    #[test]
    fn events_that_come_while_others_are_handled_are_collected_without_waiting() {
        let turns = Turns::new();
        let [(mut first, mut first_peer), (second, mut second_peer)] =
            [(); 2].map(|()| connect(&turns.sockets, &turns.listener));
        let streams = [&first, &second].map(|socket| socket.stream.try_clone().unwrap());
        turns.read(second);
        write(&mut first_peer, b"first", &streams[0]);
        let all = turns.read.clone();
        let task = async move {
            let bytes = read(&mut first).await;
            lock(&all).push(bytes);
            write(&mut second_peer, b"second", &streams[1]);
        };
        turns.executor.spawn(task).detach();
        turns.run();
        let inner = &turns.sockets.0;
        turns.executor.spawn(watch(inner.epoll.clone(), Arc::downgrade(inner))).detach();
        // Nothing here waits for async-io.
        turns.run();
        assert_eq!(*lock(&turns.read), [&b"first"[..], b"second"]);
    }

    #[test]
    fn the_request_that_comes_with_a_connection_is_read_without_waiting() {
        let turns = Turns::new();
        let inner = &turns.sockets.0;
        turns.executor.spawn(watch(inner.epoll.clone(), Arc::downgrade(inner))).detach();
        turns.run();
        let (socket, mut peer) = connect(&turns.sockets, &turns.listener);
        write(&mut peer, b"request", &socket.stream);
        turns.read(socket);
        // Nothing here waits for async-io.
        turns.run();
        assert_eq!(*lock(&turns.read), [b"request"]);
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
