//! The loop that every runtime shares: moves bytes between a non-blocking stream and a [`Protocol`].
//!
//! [`pump`] is one turn of it, for an event loop of your own; [`Drive`] is the same as a future, for any executor;
//! [`serve`] is the life of a server: accepts connections and keeps its time; [`race`] is a client's way to a server that
//! has several addresses, and [`open_tunnel`] is what its stream begins with where there is a proxy.

mod race;
mod tunnel;

pub use race::{Attempts, race};
pub use tunnel::open_tunnel;

use crate::host::{Host, Runtime};
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

/// One byte stream's protocol: bytes in, bytes out.
///
/// Calls in any order do no harm; a call with nothing to do does nothing.
pub trait Protocol {
    /// Whom to wake when there is something to do without the stream being ready.
    fn set_waker(&mut self, waker: &Waker);
    /// A turn begins: the stream is ready, the waker was called, or neither.
    fn handle_wake(&mut self, now: Time);
    /// Bytes arrived. Gives back how many of the front are used; the caller presents the rest again, with more behind
    /// it. The bytes may be changed in place.
    fn handle_data(&mut self, now: Time, input: &mut [u8]) -> usize;
    /// The peer will send no more.
    fn handle_eof(&mut self, now: Time);
    /// Whether bytes should be read: if not, the peer is to be slowed down.
    fn wants_read(&self) -> bool;
    /// What has to be written; call again until it is `None`.
    fn poll_transmit(&mut self) -> Option<&mut Outbound>;
    /// What becomes of the stream once everything is written.
    fn status(&self) -> Status;
    /// The stream's writing side was shut down, as [`Status::HalfClose`] asked.
    fn handle_half_closed(&mut self, now: Time);
}

/// What becomes of a stream once everything is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It stays open.
    Open,
    /// Its writing side is to be shut down; what the peer still sends is read and dropped, so that the last words
    /// reach it.
    HalfClose,
    /// It is to be closed.
    Closed,
}

/// What to do after [`pump`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Turn {
    /// Call again when the stream is ready or the waker was called.
    Wait,
    /// Call again soon: others should have a turn before.
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

/// One turn: reads and writes until both would block or the budget is spent.
///
/// [`Turn::Wait`] means that the stream was asked for all that is wanted of it, and would block.
///
/// `partial` keeps the bytes of a message that is not complete between turns; between messages it holds nothing, not
/// even capacity. The bytes themselves are read into one buffer per thread.
///
/// # Errors
/// The stream's own, after which it is to be dropped.
pub fn pump<S: Read + Write, P: Protocol>(
    now: Time,
    stream: &mut S,
    protocol: &mut P,
    partial: &mut Vec<u8>,
) -> io::Result<Turn> {
    protocol.handle_wake(now);
    // Whole messages may have been left here while the application was behind.
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
        // Writing may have made room. The stream was not asked for bytes, so it would not call back for them.
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

/// Why no more was read.
enum Reading {
    /// The stream has no more to give.
    Drained,
    /// Others should have a turn.
    Budget,
    /// No more is wanted.
    Paused,
}

thread_local! {
    // Taken out while in use, so that a handler that runs an executor of its own finds it gone, not locked.
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
            // TLS that ends without its goodbye. Messages have lengths of their own: one that is cut is noticed.
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

/// Whether everything was written, and nothing of it is held back by the stream.
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
            // What was given up is not waited for: its last words were flushed before the half-close.
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(protocol.status() == Status::Closed),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Apart, so that the slices are made only where there are several.
#[inline(never)]
fn write_several<S: Write>(stream: &mut S, queue: &Outbound) -> io::Result<usize> {
    let mut slices = [IoSlice::new(&[]); SLICES];
    let used = queue.chunks_vectored(&mut slices);
    stream.write_vectored(slices.get(..used).unwrap_or_default())
}

/// A non-blocking stream of an event loop that tells each readiness once (edge-triggered, as mio): remembers when
/// there is nothing more to read, which saves asking.
#[derive(Debug)]
pub struct Edge<S> {
    stream: S,
    readable: bool,
    /// The end has come: there is something to read at any time.
    ended: bool,
}

impl<S> Edge<S> {
    /// A stream that has not been read.
    pub fn new(stream: S) -> Edge<S> {
        Edge { stream, readable: true, ended: false }
    }

    /// The stream itself.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// The event loop told that there is something to read, or that the peer will send no more.
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

/// A byte stream in the poll style; a runtime adapts its own.
pub trait Stream {
    /// Reads into `buf`; 0 at the end.
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>>;
    /// Writes from the front of `bufs`.
    fn poll_write_vectored(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>>;
    /// Sends what the stream took and holds back, as encryption does; a plain socket holds nothing.
    fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    /// Shuts the writing side down.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// [`pump`] as a future, for any executor: done when the stream is to be closed.
pub struct Drive<S, P> {
    stream: S,
    protocol: P,
    runtime: Arc<dyn Runtime>,
    partial: Partial,
    shutting_down: bool,
}

/// The bytes of a message that is not complete. There are none most of the time: then it is as small as can be.
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
    /// Drives `protocol` over `stream`, by the runtime's clock.
    pub fn new(stream: S, protocol: P, runtime: Arc<dyn Runtime>) -> Self {
        Drive { stream, protocol, runtime, partial: Partial::default(), shutting_down: false }
    }

    /// The first bytes, where somebody else has read them from the stream.
    pub fn with_input(mut self, input: &[u8]) -> Self {
        self.partial.put(input.to_vec());
        self
    }
}

/// A [`Drive`] that tells nobody how it ended, which is what executors take that box their tasks. No larger than it, as
/// an `async` block around it would be.
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
                // A peer that is gone cannot be told; the rest of the closing does not need it.
                if this.stream.poll_shutdown(cx).is_pending() {
                    // One that does not read what was left is not waited for longer than the protocol says.
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

/// Turns `Pending` into `WouldBlock`; the waker is registered by then.
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

/// Runs a server until it is closed: accepts connections and keeps its time.
///
/// `poll_accept` accepts and spawns one connection; `sleep_until` is the runtime's timer. Failures of single
/// connections and of the machine (too many open files) pause the accepting and do not end it.
///
/// # Errors
/// The listener's own, when it cannot accept any more.
pub async fn serve<H: Host, S: Future>(
    host: &H,
    runtime: &dyn Runtime,
    mut poll_accept: impl FnMut(&mut Context<'_>) -> Poll<io::Result<()>>,
    sleep_until: impl Fn(Time) -> S,
) -> io::Result<()> {
    let mut accepting = pin!(None::<S>);
    let mut timer = pin!(None::<S>);
    let mut armed = None;
    poll_fn(|cx| {
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

/// Keeps the time of a server whose connections come from elsewhere, as long as there is a server to get.
///
/// A server wakes who keeps its time when it is dropped, so `host` must not own it.
pub async fn keep_time<H: Host, S: Future>(
    host: impl Fn() -> Option<H>,
    runtime: &dyn Runtime,
    sleep_until: impl Fn(Time) -> S,
) {
    let mut timer = pin!(None::<S>);
    let mut armed = None;
    poll_fn(|cx| match host() {
        Some(host) => {
            tick(cx, &host, runtime, &mut armed, timer.as_mut(), &sleep_until);
            Poll::Pending
        }
        None => Poll::Ready(()),
    })
    .await;
}

/// Tells the server that time has passed, and sees to it that the task is woken at its next deadline.
fn tick<H: Host, S: Future>(
    cx: &mut Context<'_>,
    host: &H,
    runtime: &dyn Runtime,
    armed: &mut Option<Time>,
    mut timer: Pin<&mut Option<S>>,
    sleep_until: impl Fn(Time) -> S,
) {
    host.set_timer_waker(cx.waker());
    loop {
        let now = runtime.now();
        host.handle_timeout(now);
        let next = host.next_deadline();
        if next.is_some_and(|next| next <= now) {
            // More is due than one turn's work: connections get theirs in between.
            return cx.waker().wake_by_ref();
        }
        if next != *armed {
            *armed = next;
            timer.set(next.map(&sleep_until));
        }
        match timer.as_mut().as_pin_mut().map(|timer| timer.poll(cx)) {
            Some(Poll::Ready(_)) => {
                // Gone, even if there is no next one: it must not be polled again.
                *armed = None;
                timer.set(None);
            }
            _ => return,
        }
    }
}

/// Connections accepted per turn, so that a crowd at the door does not stop the clock.
const ACCEPTS: usize = 64;

/// After a failure that concerns the whole machine, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
