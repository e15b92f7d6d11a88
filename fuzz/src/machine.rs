//! The loop that drives a whole server or client: a clock that jumps, tasks, and streams in memory.

use super::support::at;
use sockeye::Time;
use sockeye::drive::{Protocol, Turn, pump};
use sockeye::host::Runtime;
use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};

pub(super) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The clock and the tasks.
#[derive(Default)]
pub(super) struct Machine {
    ms: AtomicU64,
    tasks: Mutex<Vec<Task>>,
}

impl Machine {
    pub(super) fn pass(&self, ms: u64) {
        self.ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// Moves the clock to the first millisecond that is not before `time`.
    pub(super) fn pass_to(&self, time: Time) {
        let ms = time.since_origin().as_nanos().div_ceil(1_000_000) as u64;
        self.ms.fetch_max(ms, Ordering::Relaxed);
    }

    /// Polls all tasks, and returns true if one has ended.
    pub(super) fn poll_tasks(&self) -> bool {
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap());
        let before = tasks.len();
        tasks.retain_mut(|task| task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let ended = tasks.len() < before;
        self.tasks.lock().unwrap().append(&mut tasks);
        ended
    }
}

impl Runtime for Machine {
    fn now(&self) -> Time {
        at(self.ms.load(Ordering::Relaxed))
    }

    fn spawn(&self, future: Task) {
        self.tasks.lock().unwrap().push(future);
    }
}

/// Our end of a stream.
#[derive(Default)]
pub(super) struct Stream {
    pub(super) input: VecDeque<u8>,
    pub(super) ended: bool,
    pub(super) output: Vec<u8>,
    /// Set while the peer does not read.
    pub(super) full: bool,
    shut: bool,
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() && !self.ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.input.read(buf)
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        assert!(!self.shut, "a write after the shutdown");
        if self.full {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.output.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A stream, its protocol, and the peer that reads the output.
pub(super) struct Connection<P, R> {
    protocol: P,
    pub(super) stream: Stream,
    pub(super) partial: Vec<u8>,
    pub(super) reader: R,
    pub(super) done: bool,
}

impl<P: Protocol, R> Connection<P, R> {
    pub(super) fn new(mut protocol: P, reader: R) -> Connection<P, R> {
        protocol.set_waker(Waker::noop());
        Connection { protocol, stream: Stream::default(), partial: Vec::new(), reader, done: false }
    }

    /// Runs a turn, and returns true if anything happened.
    pub(super) fn turn(&mut self, now: Time) -> bool {
        if self.done {
            return false;
        }
        let before = (self.stream.input.len(), self.stream.output.len());
        match pump(now, &mut self.stream, &mut self.protocol, &mut self.partial) {
            Ok(Turn::Wait) => return before != (self.stream.input.len(), self.stream.output.len()),
            Ok(Turn::Again) => {}
            Ok(Turn::HalfClose) => self.stream.shut = true,
            Ok(Turn::Done) => self.done = true,
            Err(error) => panic!("a stream in memory does not fail: {error}"),
        }
        true
    }
}
