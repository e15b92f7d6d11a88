//! The loop that every runtime shares: moves bytes between a non-blocking stream and a [`Protocol`].
//!
//! - [`pump`] is one turn of it, for an event loop of your own;
//! - [`Drive`] is the same as a future, for any executor;
//! - [`serve`] runs a server: it accepts connections and reports when time has passed;
//! - [`race`] finds the address of a server by which a client reaches it first;
//! - [`open_tunnel`] prepares a client's stream if there is a proxy.

mod race;
mod tunnel;

pub use race::{Attempts, race};
pub use tunnel::open_tunnel;

use crate::host::{Host, Keeper, Runtime};
use crate::outbound::Outbound;
use crate::time::Time;
use bytes::Buf;
use std::boxed::Box;
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice, Read, Write};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use std::vec;
use std::vec::Vec;

/// The protocol of one byte stream: bytes in, bytes out.
///
/// The methods can be called in any order; a call with nothing to do does nothing.
pub trait Protocol {
    /// Sets the waker to call if there is work although the stream is not ready.
    fn set_waker(&mut self, waker: &Waker);
    /// Begins a turn. The stream may be ready, the waker may have been called, or neither.
    fn handle_wake(&mut self, now: Time);
    /// Handles received bytes and returns how many were consumed from the front. The caller must pass the rest again,
    /// followed by the bytes that arrive next. The bytes may be changed in place.
    fn handle_data(&mut self, now: Time, input: &mut [u8]) -> usize;
    /// Handles the end of the stream: the peer will send no more.
    fn handle_eof(&mut self, now: Time);
    /// Returns whether to read from the stream. Not reading slows the peer down.
    fn wants_read(&self) -> bool;
    /// Returns the next bytes to write. Call it until it returns `None`.
    fn poll_transmit(&mut self) -> Option<&mut Outbound>;
    /// Returns what to do with the stream once everything is written.
    fn status(&self) -> Status;
    /// Handles that the stream's writing side is shut down, as [`Status::HalfClose`] asks.
    fn handle_half_closed(&mut self, now: Time);
}

/// What to do with a stream once everything is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Keep it open.
    Open,
    /// Shut its writing side down, and read and drop what the peer still sends: closing at once could discard the last
    /// bytes before the peer receives them.
    HalfClose,
    /// Close it.
    Closed,
}

/// What to do after [`pump`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Turn {
    /// Call again when the stream is ready or the waker is called.
    Wait,
    /// Call again soon, but give other connections a turn first.
    Again,
    /// Shut the writing side down, then call again.
    HalfClose,
    /// Close the stream.
    Done,
}

/// Bytes per read.
const CHUNK: usize = 64 << 10;
/// Reads per turn, so that one busy peer cannot starve the others.
const READS: usize = 8;
/// Slices per write.
const SLICES: usize = 64;

/// Runs one turn: reads and writes until both would block or the budget is spent.
///
/// It returns [`Turn::Wait`] only if each operation that the protocol wants would block, so that the stream reports
/// when it is ready again.
///
/// `partial` keeps the bytes of an incomplete message between turns; between messages it has not even capacity. Reading
/// itself uses one buffer per thread.
///
/// # Errors
/// The stream's own; drop the stream then.
pub fn pump<S: Read + Write, P: Protocol>(
    now: Time,
    stream: &mut S,
    protocol: &mut P,
    partial: &mut Vec<u8>,
) -> io::Result<Turn> {
    protocol.handle_wake(now);
    // Complete messages may be left here from when the application could not keep up.
    if !partial.is_empty() && protocol.wants_read() {
        resume(now, protocol, partial);
    }
    let mut scratch = SCRATCH.take().unwrap_or_else(|| vec![0; CHUNK].into_boxed_slice());
    let read = read_all(now, stream, protocol, partial, &mut scratch);
    SCRATCH.set(Some(scratch));
    let read = read?;
    let flushed = flush(stream, protocol)?;
    let wait = match read {
        Reading::Drained => Turn::Wait,
        Reading::Budget => Turn::Again,
        // Writing may have freed capacity. No read has blocked, so the stream would not report that it is readable.
        Reading::Paused if protocol.wants_read() => Turn::Again,
        Reading::Paused => Turn::Wait,
    };
    if !flushed {
        return Ok(wait);
    }
    Ok(match protocol.status() {
        Status::Open => wait,
        Status::HalfClose => {
            protocol.handle_half_closed(now);
            Turn::HalfClose
        }
        Status::Closed => Turn::Done,
    })
}

/// Why reading stopped.
enum Reading {
    /// The stream has no more bytes at the moment, or has ended.
    Drained,
    /// The turn's budget is spent.
    Budget,
    /// The protocol wants no more.
    Paused,
}

thread_local! {
    // Taken out while in use, so that a handler that drives another stream on this thread allocates its own buffer.
    static SCRATCH: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

fn read_all<S: Read, P: Protocol>(
    now: Time,
    stream: &mut S,
    protocol: &mut P,
    partial: &mut Vec<u8>,
    scratch: &mut [u8],
) -> io::Result<Reading> {
    for _ in 0..READS {
        if !protocol.wants_read() {
            return Ok(Reading::Paused);
        }
        match stream.read(scratch) {
            Ok(0) => {
                protocol.handle_eof(now);
                return Ok(Reading::Drained);
            }
            Ok(n) => {
                let (input, _) = scratch.split_at_mut(n.min(CHUNK));
                if partial.is_empty() {
                    let used = protocol.handle_data(now, input);
                    partial.extend_from_slice(input.get(used..).unwrap_or_default());
                } else {
                    partial.extend_from_slice(input);
                    resume(now, protocol, partial);
                }
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Reading::Drained),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            // TLS ended without `close_notify`. This is safe, because a truncated message is noticed by its length.
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                protocol.handle_eof(now);
                return Ok(Reading::Drained);
            }
            Err(e) => return Err(e),
        }
    }
    Ok(Reading::Budget)
}

fn resume<P: Protocol>(now: Time, protocol: &mut P, partial: &mut Vec<u8>) {
    let used = protocol.handle_data(now, partial);
    if used >= partial.len() {
        *partial = Vec::new();
    } else if used > 0 {
        partial.drain(..used);
    }
}

/// Writes and flushes. Returns whether everything was written and flushed.
fn flush<S: Write, P: Protocol>(stream: &mut S, protocol: &mut P) -> io::Result<bool> {
    while let Some(queue) = protocol.poll_transmit() {
        let chunk = queue.chunk();
        let written = match chunk.len() == queue.len() {
            true => stream.write(chunk),
            false => write_several(stream, queue),
        };
        match written {
            // Retrying would spin: no progress is possible.
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => queue.advance(n),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    loop {
        match stream.flush() {
            Ok(()) => return Ok(true),
            // A closed stream need not be flushed: its last bytes were flushed before the half-close.
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(protocol.status() == Status::Closed),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Writes several slices at once. Not inlined, so that the common case of a single slice does not set up the array.
#[inline(never)]
fn write_several<S: Write>(stream: &mut S, queue: &Outbound) -> io::Result<usize> {
    let mut slices = [IoSlice::new(&[]); SLICES];
    let used = queue.chunks_vectored(&mut slices);
    stream.write_vectored(slices.get(..used).unwrap_or_default())
}

/// A non-blocking stream of an edge-triggered event loop, such as mio's. It remembers when there is nothing more to
/// read, which saves a system call.
#[derive(Debug)]
pub struct Edge<S> {
    stream: S,
    readable: bool,
    /// The peer will send no more; from then on the stream counts as readable.
    ended: bool,
}

impl<S> Edge<S> {
    /// Wraps a stream that has not been read yet.
    pub fn new(stream: S) -> Edge<S> {
        Edge { stream, readable: true, ended: false }
    }

    /// Returns the stream itself.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// Handles an event of the event loop: the stream is readable, or the peer will send no more.
    pub fn handle_readiness(&mut self, readable: bool, ended: bool) {
        self.readable |= readable;
        self.ended |= ended;
    }
}

impl<S: Read> Read for Edge<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if !self.readable && !self.ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let result = self.stream.read(buf);
        self.readable = match &result {
            Ok(n) => *n == buf.len(),
            Err(e) => e.kind() == io::ErrorKind::Interrupted,
        };
        result
    }
}

impl<S: Write> Write for Edge<S> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.stream.write(buf)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.stream.write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// An asynchronous byte stream, implemented by each runtime for its own streams.
pub trait Stream {
    /// Reads into `buf` and returns the number of bytes; 0 at the end of the stream.
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>>;
    /// Writes from the front of `bufs` and returns the number of bytes.
    fn poll_write_vectored(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>>;
    /// Sends the bytes that the stream has accepted but buffers, as TLS does. The default is for streams without a
    /// buffer, such as plain sockets.
    fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    /// Shuts the writing side down.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// [`pump`] as a future, for any executor. It completes when the stream should be closed.
pub struct Drive<S, P> {
    stream: S,
    protocol: P,
    runtime: Arc<dyn Runtime>,
    partial: Partial,
    shutting_down: bool,
}

/// The bytes of an incomplete message. Boxed, because most of the time there are none.
#[derive(Default)]
#[expect(clippy::box_collection, reason = "a third of the size, in every task")]
struct Partial(Option<Box<Vec<u8>>>);

impl Partial {
    fn take(&mut self) -> Vec<u8> {
        self.0.take().map_or_else(Vec::new, |bytes| *bytes)
    }

    fn put(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.0 = Some(Box::new(bytes));
        }
    }
}

impl<S: Stream, P: Protocol> Drive<S, P> {
    /// Creates a future that drives `protocol` over `stream`, by the runtime's clock.
    pub fn new(stream: S, protocol: P, runtime: Arc<dyn Runtime>) -> Self {
        Drive { stream, protocol, runtime, partial: Partial::default(), shutting_down: false }
    }

    /// Sets the first bytes, if other code has already read them from the stream.
    pub fn with_input(mut self, input: &[u8]) -> Self {
        self.partial.put(input.to_vec());
        self
    }
}

/// A [`Drive`] that discards its result, for executors that box tasks without one. An `async` block around a `Drive`
/// would be larger.
#[derive(Debug)]
pub struct Unattended<S, P>(pub Drive<S, P>);

impl<S: Stream + Unpin, P: Protocol + Unpin> Future for Unattended<S, P> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx).map(drop)
    }
}

impl<S: Stream + Unpin, P: Protocol + Unpin> Future for Drive<S, P> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.protocol.set_waker(cx.waker());
        loop {
            if this.shutting_down {
                // A failed shutdown is ignored: the peer is gone, and the rest of closing works without it.
                if this.stream.poll_shutdown(cx).is_pending() {
                    // The shutdown may wait for a peer that does not read; the protocol's deadline ends that.
                    this.protocol.handle_wake(this.runtime.now());
                    let is_quiet = this.protocol.poll_transmit().is_none();
                    return match this.protocol.status() {
                        Status::Closed if is_quiet => Poll::Ready(Ok(())),
                        _ => Poll::Pending,
                    };
                }
                this.shutting_down = false;
            }
            let mut stream = NonBlocking { stream: &mut this.stream, cx };
            let mut partial = this.partial.take();
            let turn = pump(this.runtime.now(), &mut stream, &mut this.protocol, &mut partial)?;
            this.partial.put(partial);
            match turn {
                Turn::Wait => return Poll::Pending,
                Turn::Again => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Turn::HalfClose => this.shutting_down = true,
                Turn::Done => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl<S, P> std::fmt::Debug for Drive<S, P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Drive")
            .field("partial", &self.partial.0.as_ref().map_or(0, |bytes| bytes.len()))
            .finish_non_exhaustive()
    }
}

/// A [`Stream`] as a non-blocking one: turns `Pending`, which has registered the waker, into `WouldBlock`.
struct NonBlocking<'a, 'b, S> {
    stream: &'a mut S,
    cx: &'a mut Context<'b>,
}

impl<S: Stream> Read for NonBlocking<'_, '_, S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        would_block(self.stream.poll_read(self.cx, buf))
    }
}

impl<S: Stream> Write for NonBlocking<'_, '_, S> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buf)])
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        would_block(self.stream.poll_write_vectored(self.cx, bufs))
    }

    fn flush(&mut self) -> io::Result<()> {
        would_block(self.stream.poll_flush(self.cx))
    }
}

fn would_block<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        Poll::Ready(result) => result,
    }
}

/// Runs a server until it is closed: accepts connections and calls [`Host::handle_timeout`] at its deadlines.
/// See [`TimeGuard`] for what comes after.
///
/// `poll_accept` accepts and spawns one connection; `sleep_until` is the runtime's timer. Errors of single connections
/// are skipped, those of the machine (such as too many open files) pause accepting for 100 ms.
///
/// # Errors
/// The listener's own, if it is [`InvalidInput`](io::ErrorKind::InvalidInput): the listener cannot accept any more.
pub async fn serve<H: Host, S: Future>(
    host: &H,
    runtime: &dyn Runtime,
    mut poll_accept: impl FnMut(&mut Context<'_>) -> Poll<io::Result<()>>,
    sleep_until: impl Fn(Time) -> S,
) -> io::Result<()> {
    let mut accepting = pin!(None::<S>);
    let mut timer = pin!(None::<S>);
    let mut armed = None;
    let mut driver = Driver::new(|| Some(host.clone()));
    poll_fn(|cx| {
        driver.register(host, cx.waker());
        tick(cx, host, runtime, &mut armed, timer.as_mut(), &sleep_until);
        if host.is_closed() {
            return Poll::Ready(Ok(()));
        }
        if let Some(pause) = accepting.as_mut().as_pin_mut() {
            ready!(pause.poll(cx));
            accepting.set(None);
        }
        for _ in 0..ACCEPTS {
            match ready!(poll_accept(cx)) {
                Ok(()) => {}
                Err(e) if concerns_one_connection(&e) => {}
                Err(e) if e.kind() == io::ErrorKind::InvalidInput => return Poll::Ready(Err(e)),
                Err(_) => {
                    accepting.set(Some(sleep_until(runtime.now() + ACCEPT_PAUSE)));
                    break;
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

/// Calls [`Host::handle_timeout`] at the deadlines of a server whose connections come from elsewhere, until `host`
/// returns `None`.
///
/// `host` must not own the server. When the server is dropped it wakes this future, which then ends. See
/// [`Host::keeper`].
pub async fn keep_time<H: Host, S: Future>(
    host: impl Fn() -> Option<H>,
    runtime: &dyn Runtime,
    sleep_until: impl Fn(Time) -> S,
) {
    let mut timer = pin!(None::<S>);
    let mut armed = None;
    let mut driver = Driver::new(&host);
    poll_fn(|cx| match host() {
        Some(host) => {
            driver.register(&host, cx.waker());
            tick(cx, &host, runtime, &mut armed, timer.as_mut(), &sleep_until);
            Poll::Pending
        }
        None => Poll::Ready(()),
    })
    .await;
}

/// A guard that keeps a server's time going after its listener has ended, or after the future of [`serve`] was dropped:
/// its connections and sessions live on, and so do their deadlines.
pub struct TimeGuard<'a, H: Host, F: FnMut(Keeper<H>)> {
    host: &'a H,
    keep: F,
}

impl<'a, H: Host, F: FnMut(Keeper<H>)> TimeGuard<'a, H, F> {
    /// Creates a guard that calls `keep` when it is dropped, unless nothing is left to do. `keep` must spawn
    /// [`keep_time`].
    pub fn new(host: &'a H, keep: F) -> Self {
        TimeGuard { host, keep }
    }
}

impl<H: Host, F: FnMut(Keeper<H>)> Drop for TimeGuard<'_, H, F> {
    fn drop(&mut self) {
        let is_over = self.host.is_closed() && self.host.next_deadline().is_none();
        if !is_over && let Some(host) = self.host.keeper() {
            (self.keep)(host);
        }
    }
}

impl<H: Host, F: FnMut(Keeper<H>)> std::fmt::Debug for TimeGuard<'_, H, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TimeGuard").finish_non_exhaustive()
    }
}

/// The entry of a driver in its server's table, which is removed when the driver ends.
struct Driver<H: Host, F: Fn() -> Option<H>> {
    host: F,
    waker: Option<Waker>,
}

impl<H: Host, F: Fn() -> Option<H>> Driver<H, F> {
    fn new(host: F) -> Self {
        Driver { host, waker: None }
    }

    /// At each turn: another driver of the same task may have ended.
    fn register(&mut self, host: &H, waker: &Waker) {
        host.set_timer_waker(waker);
        if !self.waker.as_ref().is_some_and(|known| known.will_wake(waker))
            && let Some(known) = self.waker.replace(waker.clone())
        {
            host.remove_timer_waker(&known);
        }
    }
}

impl<H: Host, F: Fn() -> Option<H>> Drop for Driver<H, F> {
    fn drop(&mut self) {
        if let Some(waker) = self.waker.take()
            && let Some(host) = (self.host)()
        {
            host.remove_timer_waker(&waker);
        }
    }
}

/// Handles the server's deadlines that have passed, and arms the timer for the next one.
fn tick<H: Host, S: Future>(
    cx: &mut Context<'_>,
    host: &H,
    runtime: &dyn Runtime,
    armed: &mut Option<Time>,
    mut timer: Pin<&mut Option<S>>,
    sleep_until: impl Fn(Time) -> S,
) {
    loop {
        let now = runtime.now();
        host.handle_timeout(now);
        let next = host.next_deadline();
        if next.is_some_and(|next| next <= now) {
            // More is due than one turn handles, so connections get a turn in between.
            return cx.waker().wake_by_ref();
        }
        if next != *armed {
            *armed = next;
            timer.set(next.map(&sleep_until));
        }
        match timer.as_mut().as_pin_mut().map(|timer| timer.poll(cx)) {
            Some(Poll::Ready(_)) => {
                // Dropped even if there is no next deadline, because it must not be polled again.
                *armed = None;
                timer.set(None);
            }
            _ => return,
        }
    }
}

/// Maximum number of connections accepted per turn, so that a burst of them does not delay deadlines.
const ACCEPTS: usize = 64;

/// Pause after an error that concerns the whole machine, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
