//! Byte streams in memory: at once and whole, or with weather: delayed, cut into pieces, stalled, broken.

use super::{Dice, Machine};
use sockeye_core::drive::Stream;
use std::collections::VecDeque;
use std::io::{self, IoSlice, Read};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

/// How many bytes the network holds on the way to a client.
pub const NETWORK: usize = 64 << 10;

/// About how many pieces one write is cut into at most.
const PIECES: usize = 50;

/// A byte stream, seen from both ends.
#[derive(Clone, Default)]
pub struct Pipe(Arc<Mutex<Duplex>>);

/// The same, not keeping it.
pub type WeakPipe = Weak<Mutex<Duplex>>;

#[derive(Default)]
pub struct Duplex {
    to_server: Way,
    to_client: Way,
    /// Who waits for bytes, and who for room; as with an operating system, forgotten once told.
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// The same at the client's end, where that is a real client's.
    client_reader: Option<Waker>,
    client_writer: Option<Waker>,
    /// A real client dropped the stream.
    client_gone: bool,
    /// It was used for a WebSocket handshake.
    pub is_websocket: bool,
    /// Something was done to it that may cost a session its life.
    pub harmed: bool,
    /// The server shut its side, or dropped the stream; seen once what it sent has arrived.
    pub server_gone: bool,
    /// The stream is broken: both ends get an error.
    broken: bool,
    /// The number of bytes after which the stream ends, shared with others.
    fuse: Option<Fuse>,
    /// It has ended, and what is written is dropped.
    is_cut: bool,
    weather: Option<Weather>,
}

/// The number of bytes that streams may still carry before one of them ends.
#[derive(Clone, Debug)]
pub struct Fuse(Arc<Mutex<usize>>);

impl Fuse {
    pub fn new(bytes: usize) -> Fuse {
        Fuse(Arc::new(Mutex::new(bytes)))
    }

    /// Whether it has ended a stream.
    pub fn is_burnt(&self) -> bool {
        *self.0.lock().expect("no panic under this lock") == usize::MAX
    }

    /// Cuts off what goes beyond the limit; whether that ends the stream. It does so once.
    fn burn(&self, bytes: &mut Vec<u8>) -> bool {
        let mut left = self.0.lock().expect("no panic under this lock");
        if *left == usize::MAX || bytes.len() < *left {
            *left -= if *left == usize::MAX { 0 } else { bytes.len() };
            return false;
        }
        bytes.truncate(*left);
        *left = usize::MAX;
        true
    }
}

/// One direction.
#[derive(Default)]
struct Way {
    /// What the receiver can read.
    arrived: VecDeque<u8>,
    /// What is on its way, with when it is there at the earliest.
    flying: VecDeque<(Duration, Vec<u8>)>,
    flying_bytes: usize,
    /// The sender will send no more, and when that is known.
    finished: Option<Duration>,
    /// Whether the receiver knows.
    ended: bool,
    stalled_until: Duration,
}

/// What a link does to bytes.
struct Weather {
    dice: Dice,
    machine: Weak<Machine>,
    /// How long bytes are on their way, at least.
    latency: Duration,
    /// The largest piece.
    piece: usize,
}

impl Weather {
    fn now(&self) -> Duration {
        self.machine.upgrade().map_or(Duration::ZERO, |machine| machine.lock().now)
    }
}

impl Way {
    fn len(&self) -> usize {
        self.arrived.len() + self.flying_bytes
    }

    fn send(&mut self, bytes: &[u8], weather: Option<&mut Weather>) {
        let Some(weather) = weather else { return self.arrived.extend(bytes) };
        self.flying_bytes += bytes.len();
        let mut rest = bytes;
        let piece = weather.piece.max(bytes.len() / PIECES);
        while !rest.is_empty() {
            let size = 1 + weather.dice.below(piece);
            let (piece, behind) = rest.split_at(size.min(rest.len()));
            let at = self.next_slot(weather);
            self.flying.push_back((at, piece.to_vec()));
            rest = behind;
        }
    }

    /// When what is sent now is there: never before what was sent earlier.
    fn next_slot(&mut self, weather: &mut Weather) -> Duration {
        let jitter = Duration::from_millis(weather.dice.below(20) as u64);
        let at = weather.now() + weather.latency + jitter;
        self.flying.back().map_or(at, |(before, _)| at.max(*before))
    }

    /// The bytes that there is room for; `None` if there is none.
    fn take_what_fits(&self, bufs: &[IoSlice<'_>], weather: Option<&mut Weather>) -> Option<Vec<u8>> {
        let mut room = NETWORK.saturating_sub(self.len());
        if room == 0 {
            return None;
        }
        if let Some(weather) = weather {
            room = 1 + weather.dice.below(room);
        }
        let mut bytes = Vec::new();
        for buf in bufs {
            bytes.extend_from_slice(buf.get(..room - bytes.len()).unwrap_or(buf));
        }
        Some(bytes)
    }

    /// Takes from what arrived.
    fn read(&mut self, buf: &mut [u8]) -> usize {
        let mut read = 0;
        // A deque gives one of its two halves at a time.
        while let Some(room) = buf.get_mut(read..).filter(|room| !room.is_empty() && !self.arrived.is_empty())
            && let Ok(n) = self.arrived.read(room)
        {
            read += n;
        }
        read
    }

    fn finish(&mut self, weather: Option<&mut Weather>) {
        if self.finished.is_some() {
            return;
        }
        match weather {
            None => {
                self.finished = Some(Duration::ZERO);
                self.ended = true;
            }
            Some(weather) => self.finished = Some(self.next_slot(weather)),
        }
    }

    /// When something more can be read.
    fn next_arrival(&self) -> Option<Duration> {
        let next = match self.flying.front() {
            Some((at, _)) => Some(*at),
            None if self.ended => None,
            None => self.finished,
        };
        next.map(|at| at.max(self.stalled_until)).filter(|at| *at < Duration::MAX)
    }

    /// Lets arrive what is due; whether anything did.
    fn deliver(&mut self, now: Duration) -> bool {
        let mut any = false;
        while self.next_arrival().is_some_and(|at| at <= now) {
            any = true;
            match self.flying.pop_front() {
                Some((_, piece)) => {
                    self.flying_bytes -= piece.len();
                    self.arrived.extend(piece);
                }
                None => self.ended = true,
            }
        }
        any
    }
}

impl Pipe {
    /// A stream through some weather.
    pub fn in_weather(mut dice: Dice, machine: Weak<Machine>) -> Pipe {
        let latency = Duration::from_millis(dice.below(150) as u64);
        // From single bytes to whole messages.
        let piece = dice.pick(&[3, 40, 1500, 1500, NETWORK]).unwrap_or(1);
        let weather = Some(Weather { dice, machine, latency, piece });
        Pipe(Arc::new(Mutex::new(Duplex { weather, ..Duplex::default() })))
    }

    pub fn lock(&self) -> MutexGuard<'_, Duplex> {
        self.0.lock().expect("no panic under this lock")
    }

    pub fn downgrade(&self) -> WeakPipe {
        Arc::downgrade(&self.0)
    }

    pub fn upgrade(pipe: &WeakPipe) -> Option<Pipe> {
        pipe.upgrade().map(Pipe)
    }

    pub fn send(&self, bytes: &[u8]) {
        let pipe = &mut *self.lock();
        if pipe.broken || pipe.server_gone {
            return;
        }
        pipe.to_server.send(bytes, pipe.weather.as_mut());
        if pipe.weather.is_none() {
            pipe.wake_reader();
        }
    }

    /// Says that nothing more comes.
    pub fn finish(&self) {
        let pipe = &mut *self.lock();
        pipe.to_server.finish(pipe.weather.as_mut());
        pipe.wake_reader();
    }

    /// What arrived at the client.
    pub fn receive(&self) -> Vec<u8> {
        let mut pipe = self.lock();
        let bytes: Vec<u8> = std::mem::take(&mut pipe.to_client.arrived).into();
        if !bytes.is_empty() {
            pipe.wake_writer();
        }
        bytes
    }

    /// Whether the client has read all that will come.
    pub fn has_ended(&self) -> bool {
        let pipe = self.lock();
        pipe.broken || pipe.to_client.ended && pipe.to_client.arrived.is_empty()
    }

    /// The same, for a client that reads and throws away.
    pub fn has_ended_after_reading(&self) -> bool {
        self.receive();
        self.has_ended()
    }

    /// How many bytes the server has not taken.
    pub fn unread(&self) -> usize {
        self.lock().to_server.len()
    }

    /// Breaks the stream: what is on its way is lost, and both ends notice.
    pub fn break_off(&self) {
        let pipe = &mut *self.lock();
        pipe.broken = true;
        for way in [&mut pipe.to_server, &mut pipe.to_client] {
            way.flying.clear();
            way.flying_bytes = 0;
        }
        pipe.wake_reader();
        pipe.wake_writer();
        pipe.wake_client();
    }

    /// Both ends say that nothing more comes.
    pub fn hang_up(&self) {
        self.lock().end();
    }

    /// Lets the stream end after some number of bytes.
    pub fn set_fuse(&self, fuse: Option<Fuse>) {
        self.lock().fuse = fuse;
    }

    /// Lets nothing through until then, in one direction or both.
    pub fn stall(&self, until: Duration, to_server: bool, to_client: bool) {
        let mut pipe = self.lock();
        if to_server {
            pipe.to_server.stalled_until = until;
        }
        if to_client {
            pipe.to_client.stalled_until = until;
        }
    }

    pub fn next_arrival(&self) -> Option<Duration> {
        let pipe = self.lock();
        match (pipe.to_server.next_arrival(), pipe.to_client.next_arrival()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Lets arrive what is due, and wakes the server for it.
    pub fn deliver(&self, now: Duration) {
        let pipe = &mut *self.lock();
        // A runtime with several threads also calls a waker in vain, which uses it up.
        let mut in_vain = || pipe.weather.as_mut().is_some_and(|weather| weather.dice.below(8) == 0);
        let (to_server, to_client) = (in_vain(), in_vain());
        if pipe.to_server.deliver(now) || to_server {
            pipe.wake_reader();
        }
        if pipe.to_client.deliver(now) || to_client {
            pipe.wake_client();
        }
    }
}

impl Duplex {
    /// Ends the stream, whatever is written to it later.
    fn cut(&mut self) {
        self.end();
        self.is_cut = true;
    }

    fn end(&mut self) {
        self.to_server.finish(self.weather.as_mut());
        self.to_client.finish(self.weather.as_mut());
    }

    fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    fn wake_writer(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }

    fn wake_client(&mut self) {
        [&mut self.client_reader, &mut self.client_writer]
            .into_iter()
            .filter_map(Option::take)
            .for_each(Waker::wake);
    }

    /// Whether the server shut its side and the client can know.
    pub fn server_done(&self) -> bool {
        self.to_client.ended
    }
}

/// The server's end.
pub struct ServerEnd(pub(super) Pipe);

impl Stream for ServerEnd {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut pipe = self.0.lock();
        if pipe.broken || pipe.to_server.ended || !pipe.to_server.arrived.is_empty() {
            return Poll::Ready(());
        }
        pipe.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_readable(cx));
        let mut pipe = self.0.lock();
        if pipe.broken {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let read = pipe.to_server.read(buf);
        if let Some(writer) = pipe.client_writer.take() {
            writer.wake();
        }
        Poll::Ready(Ok(read))
    }

    fn poll_write_vectored(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let pipe = &mut *self.0.lock();
        if pipe.broken || pipe.client_gone {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if pipe.is_cut {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        let Some(mut bytes) = pipe.to_client.take_what_fits(bufs, pipe.weather.as_mut()) else {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        };
        let written = bytes.len();
        let is_cut = pipe.fuse.as_ref().is_some_and(|fuse| fuse.burn(&mut bytes));
        pipe.to_client.send(&bytes, pipe.weather.as_mut());
        if is_cut {
            pipe.cut();
        }
        Poll::Ready(Ok(written))
    }

    fn poll_shutdown(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let pipe = &mut *self.0.lock();
        pipe.to_client.finish(pipe.weather.as_mut());
        Poll::Ready(Ok(()))
    }
}

impl Drop for ServerEnd {
    fn drop(&mut self) {
        let pipe = &mut *self.0.lock();
        pipe.server_gone = true;
        pipe.to_client.finish(pipe.weather.as_mut());
        pipe.wake_client();
    }
}

/// The end of a real client.
pub struct ClientEnd {
    pipe: Pipe,
    /// The first bytes that are written, until it is known what they are.
    head: Option<Vec<u8>>,
}

impl ClientEnd {
    pub(super) fn new(pipe: Pipe) -> ClientEnd {
        ClientEnd { pipe, head: Some(Vec::new()) }
    }
}

impl Stream for ClientEnd {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut pipe = self.pipe.lock();
        if pipe.broken || pipe.to_client.ended || !pipe.to_client.arrived.is_empty() {
            return Poll::Ready(());
        }
        pipe.client_reader = Some(cx.waker().clone());
        Poll::Pending
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_readable(cx));
        let mut pipe = self.pipe.lock();
        if pipe.broken {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let read = pipe.to_client.read(buf);
        pipe.wake_writer();
        Poll::Ready(Ok(read))
    }

    fn poll_write_vectored(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let pipe = &mut *self.pipe.lock();
        if pipe.broken {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if pipe.server_gone || pipe.is_cut {
            // What it said before it went may still be on its way.
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        let Some(mut bytes) = pipe.to_server.take_what_fits(bufs, pipe.weather.as_mut()) else {
            pipe.client_writer = Some(cx.waker().clone());
            return Poll::Pending;
        };
        if let Some(head) = &mut self.head {
            head.extend_from_slice(&bytes);
            pipe.is_websocket = head.windows(19).any(|word| word == b"transport=websocket");
            if pipe.is_websocket || head.len() > 500 {
                self.head = None;
            }
        }
        let written = bytes.len();
        let is_cut = pipe.fuse.as_ref().is_some_and(|fuse| fuse.burn(&mut bytes));
        pipe.to_server.send(&bytes, pipe.weather.as_mut());
        if is_cut {
            pipe.cut();
        }
        Poll::Ready(Ok(written))
    }

    fn poll_shutdown(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let pipe = &mut *self.pipe.lock();
        pipe.to_server.finish(pipe.weather.as_mut());
        Poll::Ready(Ok(()))
    }
}

impl Drop for ClientEnd {
    fn drop(&mut self) {
        let pipe = &mut *self.pipe.lock();
        pipe.client_gone = true;
        pipe.to_server.finish(pipe.weather.as_mut());
        pipe.wake_writer();
    }
}
