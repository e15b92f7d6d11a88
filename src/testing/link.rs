//! Byte streams in memory, which can be slow, stalled or cut.

use super::ground::{Ground, Task};
use parking_lot::Mutex;
use sockeye_core::Time;
use sockeye_core::drive::Stream;
use std::collections::VecDeque;
use std::io::{self, IoSlice, Read};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// The number of bytes that the network holds in each direction.
const CAPACITY: usize = 64 << 10;

/// The state of a network.
#[derive(Clone, Copy, Default)]
pub(super) struct Weather {
    /// The time that bytes need in each direction.
    pub(super) latency: Duration,
    /// No byte arrives.
    pub(super) stalled: bool,
}

/// Both directions of a stream: that of the bytes that side 0 writes, and the other.
#[derive(Default)]
struct Pipe {
    ways: [Way; 2],
    weather: Weather,
    broken: bool,
}

#[derive(Default)]
struct Way {
    /// The bytes that have arrived.
    arrived: VecDeque<u8>,
    /// The bytes under way, with the time of their arrival.
    flying: VecDeque<(Time, Vec<u8>)>,
    flying_bytes: usize,
    /// The time at which the reader sees the end.
    end: Option<Time>,
    /// The reader is gone: what is written is dropped.
    is_abandoned: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Way {
    /// Returns whether bytes, or the end, can be read; otherwise the time at which they can, if that is known.
    fn look(&mut self, now: Time) -> Result<(), Option<Time>> {
        while self.flying.front().is_some_and(|(at, _)| *at <= now)
            && let Some((_, bytes)) = self.flying.pop_front()
        {
            self.flying_bytes -= bytes.len();
            self.arrived.extend(bytes);
        }
        let next = self.flying.front().map(|(at, _)| *at).or(self.end);
        match !self.arrived.is_empty() || next.is_some_and(|at| at <= now) {
            true => Ok(()),
            false => Err(next),
        }
    }

    fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }
}

/// A stream that can be disturbed.
pub(super) struct Line(Weak<Mutex<Pipe>>);

impl Line {
    pub(super) fn is_open(&self) -> bool {
        self.0.strong_count() > 0
    }

    pub(super) fn set_weather(&self, weather: Weather) {
        self.change(|pipe| pipe.weather = weather);
    }

    /// Breaks the stream: both sides get an error, and the bytes under way are lost.
    pub(super) fn cut(&self) {
        self.change(|pipe| pipe.broken = true);
    }

    fn change(&self, f: impl FnOnce(&mut Pipe)) {
        let Some(pipe) = self.0.upgrade() else { return };
        let mut pipe = pipe.lock();
        f(&mut pipe);
        pipe.ways.iter_mut().for_each(Way::wake);
    }
}

/// One end of a stream.
pub(super) struct End {
    pipe: Arc<Mutex<Pipe>>,
    /// The index of the direction that this end writes to.
    side: usize,
    ground: Ground,
    /// The time at which the next bytes arrive.
    timer: Option<(Time, Task)>,
}

/// Creates a stream. Returns its ends, and the line between them.
pub(super) fn stream(ground: &Ground, weather: Weather) -> (End, End, Line) {
    let pipe = Arc::new(Mutex::new(Pipe { weather, ..Pipe::default() }));
    let end = |side| End { pipe: pipe.clone(), side, ground: ground.clone(), timer: None };
    (end(0), end(1), Line(Arc::downgrade(&pipe)))
}

impl Pipe {
    /// Returns the direction that a side writes to, and the one that it reads from.
    fn ways(&mut self, side: usize) -> (&mut Way, &mut Way) {
        let [first, second] = &mut self.ways;
        if side == 0 { (first, second) } else { (second, first) }
    }

    fn finish(&mut self, now: Time, side: usize) {
        let at = now + self.weather.latency;
        let (way, _) = self.ways(side);
        way.end.get_or_insert(at);
        way.wake();
    }
}

impl Stream for End {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            let next = {
                let pipe = &mut *self.pipe.lock();
                if pipe.broken {
                    return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
                }
                let stalled = pipe.weather.stalled;
                let (_, way) = pipe.ways(self.side);
                match way.look(self.ground.now()) {
                    Ok(()) if !stalled => {
                        way.writer.take().into_iter().for_each(Waker::wake);
                        return Poll::Ready(way.arrived.read(buf));
                    }
                    next => {
                        way.reader = Some(cx.waker().clone());
                        next.err().flatten().filter(|_| !stalled)
                    }
                }
            };
            let Some(next) = next else { return Poll::Pending };
            if self.timer.as_ref().is_none_or(|(at, _)| *at != next) {
                self.timer = Some((next, self.ground.sleep_until(next)));
            }
            match self.timer.as_mut().map(|(_, timer)| timer.as_mut().poll(cx)) {
                Some(Poll::Ready(())) => self.timer = None,
                _ => return Poll::Pending,
            }
        }
    }

    fn poll_write_vectored(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let now = self.ground.now();
        let pipe = &mut *self.pipe.lock();
        if pipe.broken {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let latency = pipe.weather.latency;
        let (way, _) = pipe.ways(self.side);
        if way.is_abandoned {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        let capacity = CAPACITY.saturating_sub(way.arrived.len() + way.flying_bytes);
        if capacity == 0 {
            way.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let mut bytes = Vec::new();
        for buf in bufs {
            let fits = buf.len().min(capacity - bytes.len());
            bytes.extend_from_slice(buf.get(..fits).unwrap_or_default());
        }
        let written = bytes.len();
        way.flying_bytes += written;
        // Bytes do not overtake each other if the latency was changed.
        let at = now + latency;
        let at = way.flying.back().map_or(at, |(before, _)| at.max(*before));
        way.flying.push_back((at, bytes));
        way.reader.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(written))
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pipe.lock().finish(self.ground.now(), self.side);
        Poll::Ready(Ok(()))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let mut pipe = self.pipe.lock();
        pipe.finish(self.ground.now(), self.side);
        let (_, way) = pipe.ways(self.side);
        way.is_abandoned = true;
        way.wake();
    }
}
