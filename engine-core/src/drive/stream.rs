//! Asynchronous byte streams.

use std::io::{self, IoSlice, Read, Write};
use std::task::{Context, Poll};

/// An asynchronous byte stream, implemented by each runtime for its own streams.
pub trait Stream {
    /// Polls whether a read may complete. `Pending` registers the waker as a pending read does, so that a task that was woken
    /// only to write need not try to read. Default: returns `Ready`, for streams that cannot tell.
    fn poll_readable(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
    /// Reads into `buf` and returns the number of bytes; 0 at the end of the stream.
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>>;
    /// Writes from the front of `buf` and returns the number of bytes. Default: calls
    /// [`poll_write_vectored`](Stream::poll_write_vectored).
    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }
    /// Writes from the front of `bufs`, as if they were one, and returns the number of bytes.
    fn poll_write_vectored(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>>;
    /// Sends the bytes that the stream has accepted but buffers, as TLS does. Default: does nothing, for streams
    /// without a buffer, such as plain sockets.
    fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    /// Shuts the writing side down.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// A [`Stream`] as a non-blocking one: turns `Pending`, which has registered the waker, into `WouldBlock`.
pub(super) struct NonBlocking<'a, 'b, S> {
    pub(super) stream: &'a mut S,
    pub(super) cx: &'a mut Context<'b>,
}

impl<S: Stream> Read for NonBlocking<'_, '_, S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        would_block(self.stream.poll_read(self.cx, buf))
    }
}

impl<S: Stream> Write for NonBlocking<'_, '_, S> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        would_block(self.stream.poll_write(self.cx, buf))
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;
    use std::vec::Vec;

    /// A stream that notes the number of slices of each write; 0 means a write without slices.
    #[derive(Default)]
    struct Noting(Vec<usize>);

    impl Stream for Noting {
        fn poll_read(&mut self, _: &mut Context<'_>, _: &mut [u8]) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn poll_write(&mut self, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            self.0.push(0);
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_write_vectored(
            &mut self,
            _: &mut Context<'_>,
            bufs: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            self.0.push(bufs.len());
            Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()))
        }

        fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn a_single_slice_is_written_without_a_vector() {
        let mut stream = Noting::default();
        let mut cx = Context::from_waker(Waker::noop());
        let mut writer = NonBlocking { stream: &mut stream, cx: &mut cx };
        assert_eq!(writer.write(b"one").unwrap(), 3);
        assert_eq!(writer.write_vectored(&[IoSlice::new(b"a"), IoSlice::new(b"b")]).unwrap(), 2);
        assert_eq!(stream.0, [0, 2]);
    }
}
