//! The interface between a driver and the protocol of one byte stream.

use crate::outbound::Outbound;
use crate::time::Time;
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::task::Waker;

/// Recommended size in bytes of the buffer that a stream is read into.
pub const READ_BUFFER: usize = 64 << 10;

/// The protocol of one byte stream: bytes in, bytes out.
///
/// The methods can be called in any order; a call with nothing to do does nothing. For a stream that is `Read + Write`,
/// `drive::pump` calls them. For bytes that come from elsewhere:
///
/// ```
/// use bytes::Buf;
/// use sockeye_core::Time;
/// use sockeye_core::protocol::{Protocol, StreamStatus};
///
/// /// Passes on what has arrived, and returns what is to be sent. `partial` has the rest of the last call.
/// fn exchange(now: Time, connection: &mut impl Protocol, partial: &mut Vec<u8>, arrived: &[u8]) -> Vec<u8> {
///     partial.extend_from_slice(arrived);
///     connection.handle_wake(now);
///     while connection.wants_read() {
///         match connection.handle_data(now, partial) {
///             0 => break, // a message is not complete yet
///             consumed => drop(partial.drain(..consumed)),
///         }
///     }
///     let mut sent = Vec::new();
///     while let Some(waiting) = connection.poll_transmit() {
///         sent.extend_from_slice(waiting.chunk());
///         waiting.advance(waiting.chunk().len());
///     }
///     if connection.status() == StreamStatus::Closed {
///         // Drop the connection once `sent` is on its way.
///     }
///     sent
/// }
/// ```
pub trait Protocol {
    /// Sets the waker to call if there is work although the stream is not ready.
    fn set_waker(&mut self, waker: &Waker);
    /// Begins a turn. The stream may be ready, the waker may have been called, or neither.
    fn handle_wake(&mut self, now: Time);
    /// Returns whether [`handle_wake`](Protocol::handle_wake) has anything to do. If not, a turn may begin without it, and need
    /// not read the clock. Default: `true`.
    fn wants_wake(&self) -> bool {
        true
    }
    /// Handles received bytes and returns how many were consumed from the front. The caller must pass the rest again,
    /// followed by the bytes that arrive next. The bytes may be changed in place.
    fn handle_data(&mut self, now: Time, input: &mut [u8]) -> usize;
    /// Does the same as [`handle_data`](Protocol::handle_data), and reads the clock only if something depends on the time.
    /// Default: reads it.
    fn handle_data_with(&mut self, clock: &dyn Fn() -> Time, input: &mut [u8]) -> usize {
        self.handle_data(clock(), input)
    }
    /// Handles the end of the stream: the peer will send no more.
    fn handle_eof(&mut self, now: Time);
    /// Lends the buffer that the stream is read into during a turn. The caller passes it back to
    /// [`reclaim_buffer`](Protocol::reclaim_buffer), so that one buffer can serve all streams of a thread.
    ///
    /// The buffer must not be empty. Default: a new buffer of 64 KiB for each turn.
    fn lend_buffer(&mut self) -> Box<[u8]> {
        vec![0; READ_BUFFER].into_boxed_slice()
    }
    /// Takes back the buffer at the end of a turn. Default: drops it.
    fn reclaim_buffer(&mut self, buffer: Box<[u8]>) {
        drop(buffer);
    }
    /// Lends a buffer for the bytes of an incomplete message, which it empties. The caller passes it back to
    /// [`reclaim_partial`](Protocol::reclaim_partial) once the message is complete, so that large messages need not
    /// allocate.
    ///
    /// `needed` is the number of bytes that it is for. If its capacity is less, the caller uses a buffer of its own.
    /// Default: an empty one.
    fn lend_partial(&mut self, needed: usize) -> Vec<u8> {
        let _ = needed;
        Vec::new()
    }
    /// Takes back the buffer of an incomplete message, or another one. Default: drops it.
    fn reclaim_partial(&mut self, buffer: Vec<u8>) {
        drop(buffer);
    }
    /// Returns whether to read from the stream. Not reading slows the peer down.
    fn wants_read(&self) -> bool;
    /// Returns the next bytes to write. Call it until it returns `None`; if writing blocks before, call it once more, so that
    /// the protocol learns what is left.
    fn poll_transmit(&mut self) -> Option<&mut Outbound>;
    /// Returns what to do with the stream once everything is written.
    fn status(&self) -> StreamStatus;
    /// Notes that the stream's writing side was shut down, as [`StreamStatus::HalfClose`] asks.
    fn handle_half_closed(&mut self, now: Time);
}

/// The state that a stream should be in once everything is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamStatus {
    /// Open.
    Open,
    /// The writing side is shut down, and bytes that the peer still sends are read and dropped: closing at once could
    /// discard the last bytes before the peer receives them.
    HalfClose,
    /// Closed.
    Closed,
}
