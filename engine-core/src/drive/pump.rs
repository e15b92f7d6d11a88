//! One turn of a stream.

use crate::copy::append;
use crate::hint::cold_path;
use crate::outbound::Outbound;
use crate::protocol::{Protocol, StreamStatus};
use crate::time::Time;
use bytes::Buf;
use std::cell::LazyCell;
use std::io::{self, IoSlice, Read, Write};
use std::mem;
use std::vec::Vec;

/// The next step after [`pump`].
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

/// Reads per turn, so that one busy peer cannot starve the others.
const READS: usize = 8;
/// Slices per write.
const SLICES: usize = 64;

/// Runs one turn: reads and writes until both would block, or until it has read 8 times, so that one busy peer cannot starve
/// the others.
///
/// ```
/// use sockeye_core::Time;
/// use sockeye_core::drive::{Protocol, Turn, pump};
/// use std::net::{Shutdown, TcpStream};
///
/// /// Runs one turn of a connection. Returns whether to keep it.
/// fn turn(now: Time, stream: &mut TcpStream, connection: &mut impl Protocol, partial: &mut Vec<u8>) -> bool {
///     match pump(now, stream, connection, partial) {
///         // Call again when the stream is ready or the connection's waker is called.
///         Ok(Turn::Wait) => true,
///         // Call again once other connections had a turn: the stream need not report anything before.
///         Ok(Turn::Again) => true,
///         // Then call again as well.
///         Ok(Turn::HalfClose) => stream.shutdown(Shutdown::Write).is_ok(),
///         // Drop the stream and the connection.
///         Ok(Turn::Done) | Err(_) => false,
///     }
/// }
/// ```
///
/// Returns [`Turn::Wait`] only if each operation that the protocol wants would block, so that the stream reports when it
/// is ready again.
///
/// `partial` keeps the bytes of an incomplete message between turns. Between messages it is empty and has no capacity. The
/// buffer that is read into is [lent](Protocol::lend_buffer) by the protocol, and so is a [large](Protocol::lend_partial)
/// `partial`.
///
/// # Errors
/// The stream's own; drop the stream then.
pub fn pump<S: Read + Write, P: Protocol>(
    now: Time,
    stream: &mut S,
    protocol: &mut P,
    partial: &mut Vec<u8>,
) -> io::Result<Turn> {
    turn(&|| now, stream, protocol, partial, true)
}

/// Does the same as [`pump`], and reads the clock only if something depends on the time. Does not read the
/// stream unless `is_readable`: reading would block, and the stream reports when it is readable.
pub(super) fn pump_with<S: Read + Write, P: Protocol>(
    clock: impl FnOnce() -> Time,
    stream: &mut S,
    protocol: &mut P,
    partial: &mut Vec<u8>,
    is_readable: bool,
) -> io::Result<Turn> {
    let now = LazyCell::new(clock);
    turn(&|| *now, stream, protocol, partial, is_readable)
}

fn turn<S: Read + Write, P: Protocol>(
    now: &impl Fn() -> Time,
    stream: &mut S,
    protocol: &mut P,
    partial: &mut Vec<u8>,
    is_readable: bool,
) -> io::Result<Turn> {
    if protocol.wants_wake() {
        cold_path();
        protocol.handle_wake(now());
    }
    // Complete messages may be left in it from a turn in which the application could not keep up.
    if !partial.is_empty() && protocol.wants_read() {
        resume(now, protocol, partial);
    }
    let read = match is_readable {
        false if protocol.wants_read() => Reading::Drained,
        // Complete messages may wait in `partial`.
        false => Reading::Paused,
        true => {
            let mut buffer = protocol.lend_buffer();
            let read = read_all(now, stream, protocol, partial, &mut buffer);
            protocol.reclaim_buffer(buffer);
            read?
        }
    };
    let flushed = flush(stream, protocol)?;
    let wait = match read {
        Reading::Drained => Turn::Wait,
        Reading::Budget => Turn::Again,
        // Writing may have freed capacity. The stream need not report that it is readable.
        Reading::Paused if protocol.wants_read() => Turn::Again,
        Reading::Paused => Turn::Wait,
    };
    if !flushed {
        cold_path();
        return Ok(wait);
    }
    Ok(match protocol.status() {
        StreamStatus::Open => wait,
        StreamStatus::HalfClose => {
            cold_path();
            protocol.handle_half_closed(now());
            Turn::HalfClose
        }
        StreamStatus::Closed => Turn::Done,
    })
}

/// The reason why reading stopped.
enum Reading {
    /// The stream has no more bytes at the moment, and reports when it has; or it has ended.
    Drained,
    /// The turn's budget is spent.
    Budget,
    /// The protocol wants no more.
    Paused,
}

fn read_all<S: Read, P: Protocol>(
    now: &impl Fn() -> Time,
    stream: &mut S,
    protocol: &mut P,
    partial: &mut Vec<u8>,
    buffer: &mut [u8],
) -> io::Result<Reading> {
    for _ in 0..READS {
        if !protocol.wants_read() {
            return Ok(Reading::Paused);
        }
        match stream.read(buffer) {
            Ok(0) => {
                cold_path();
                protocol.handle_eof(now());
                return Ok(Reading::Drained);
            }
            Ok(n) => {
                let (input, _) = buffer.split_at_mut(n.min(buffer.len()));
                if partial.is_empty() {
                    let used = protocol.handle_data_with(now, input);
                    if let Some(left) = input.get(used..).filter(|left| !left.is_empty()) {
                        keep(protocol, partial, left);
                    }
                } else {
                    keep(protocol, partial, input);
                    resume(now, protocol, partial);
                }
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Reading::Drained),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => cold_path(),
            // TLS ended without `close_notify`. This is safe, because a truncated message is noticed by its length.
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                cold_path();
                protocol.handle_eof(now());
                return Ok(Reading::Drained);
            }
            Err(e) => {
                cold_path();
                return Err(e);
            }
        }
    }
    cold_path();
    Ok(Reading::Budget)
}

/// Appends the bytes of an incomplete message to those that arrived before.
#[cold]
#[inline(never)]
fn keep<P: Protocol>(protocol: &mut P, partial: &mut Vec<u8>, input: &[u8]) {
    let needed = partial.len() + input.len();
    if partial.capacity() < needed {
        let mut lent = protocol.lend_partial(needed);
        if lent.capacity() >= needed {
            lent.clear();
            append(&mut lent, partial);
            mem::swap(partial, &mut lent);
        }
        protocol.reclaim_partial(lent);
    }
    append(partial, input);
}

#[cold]
#[inline(never)]
fn resume<P: Protocol>(now: &dyn Fn() -> Time, protocol: &mut P, partial: &mut Vec<u8>) {
    let used = protocol.handle_data_with(now, partial);
    if used >= partial.len() {
        protocol.reclaim_partial(mem::take(partial));
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
            Ok(0) => {
                cold_path();
                return Err(io::ErrorKind::WriteZero.into());
            }
            Ok(n) => queue.advance(n),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                tell_blocked(protocol);
                return Ok(false);
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => cold_path(),
            Err(e) => {
                cold_path();
                return Err(e);
            }
        }
    }
    loop {
        match stream.flush() {
            Ok(()) => return Ok(true),
            // A closed stream need not be flushed: its last bytes were flushed before the half-close.
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                return Ok(protocol.status() == StreamStatus::Closed);
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => cold_path(),
            Err(e) => return Err(e),
        }
    }
}

/// Lets the protocol see what is left to write.
#[cold]
#[inline(never)]
fn tell_blocked(protocol: &mut impl Protocol) {
    let _ = protocol.poll_transmit();
}

/// Writes several slices at once. Not inlined, so that the common case of a single slice does not set up the array.
#[inline(never)]
fn write_several<S: Write>(stream: &mut S, queue: &Outbound) -> io::Result<usize> {
    let mut slices = [IoSlice::new(&[]); SLICES];
    let used = queue.chunks_vectored(&mut slices);
    stream.write_vectored(slices.get(..used).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::boxed::Box;
    use std::cell::Cell;
    use std::task::Waker;

    /// A protocol that lends one buffer, and reads all that comes.
    #[derive(Default)]
    struct Lender {
        buffer: Option<Box<[u8]>>,
        input: Vec<u8>,
        wants_wake: bool,
    }

    impl Protocol for Lender {
        fn set_waker(&mut self, _: &Waker) {}

        fn handle_wake(&mut self, _: Time) {}

        fn wants_wake(&self) -> bool {
            self.wants_wake
        }

        fn handle_data(&mut self, _: Time, input: &mut [u8]) -> usize {
            assert!(self.buffer.is_none(), "it is in use");
            self.input.extend_from_slice(input);
            input.len()
        }

        fn handle_eof(&mut self, _: Time) {}

        fn lend_buffer(&mut self) -> Box<[u8]> {
            self.buffer.take().unwrap()
        }

        fn reclaim_buffer(&mut self, buffer: Box<[u8]>) {
            self.buffer = Some(buffer);
        }

        fn wants_read(&self) -> bool {
            true
        }

        fn poll_transmit(&mut self) -> Option<&mut Outbound> {
            None
        }

        fn status(&self) -> StreamStatus {
            StreamStatus::Open
        }

        fn handle_half_closed(&mut self, _: Time) {}
    }

    /// A stream that has bytes to read, and then fails.
    struct Broken(&'static [u8]);

    impl Read for Broken {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            match self.0 {
                [] => Err(io::ErrorKind::ConnectionReset.into()),
                _ => self.0.read(buf),
            }
        }
    }

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Ok(0)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_turn_that_does_not_depend_on_the_time_does_not_read_the_clock() {
        let read = Cell::new(0);
        let clock = || {
            read.set(read.get() + 1);
            Time::ZERO
        };
        let turn = |stream: &'static [u8], wants_wake| {
            let mut protocol = Lender { buffer: Some(Box::from([0; 3])), wants_wake, ..Lender::default() };
            pump_with(clock, &mut Broken(stream), &mut protocol, &mut Vec::new(), true).unwrap_err();
            read.take()
        };
        assert_eq!(turn(b"", false), 0);
        assert_eq!(turn(b"", true), 1);
        // Once for all that is read.
        assert_eq!(turn(b"seven b", false), 1);
    }

    #[test]
    fn the_lent_buffer_is_read_into_and_passed_back_even_if_the_stream_fails() {
        let buffer = Some(Box::from([0; 3]));
        let mut protocol = Lender { buffer, ..Lender::default() };
        let turn = pump(Time::ZERO, &mut Broken(b"seven b"), &mut protocol, &mut Vec::new());
        assert_eq!(turn.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(protocol.input, b"seven b");
        assert_eq!(protocol.buffer.as_deref().map(<[u8]>::len), Some(3));
    }
}
