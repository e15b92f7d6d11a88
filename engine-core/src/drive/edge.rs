//! Streams of edge-triggered event loops.

use std::io::{self, IoSlice, Read, Write};

/// A non-blocking stream of an edge-triggered event loop, such as mio's. It remembers when there is nothing more to
/// read, which saves a system call.
///
/// ```
/// use sockeye_core::drive::Edge;
/// use std::io::{ErrorKind, Read};
///
/// # fn main() -> std::io::Result<()> {
/// let mut stream = Edge::new(&b"hello"[..]);
/// assert_eq!(stream.read(&mut [0; 8])?, 5);
/// // A read that did not fill the buffer has emptied the stream.
/// assert_eq!(stream.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
/// // The event loop reports that the stream is readable, but not that the peer has ended it.
/// stream.handle_readiness(true, false);
/// assert_eq!(stream.read(&mut [0; 8])?, 0);
/// # Ok(())
/// # }
/// ```
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
