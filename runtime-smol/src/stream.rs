//! Smol's byte streams.

use async_io::Async;
#[cfg(feature = "tls")]
use futures_rustls::{client, server};
use smol::io::{AsyncRead, AsyncWrite};
use sockeye_core::drive::Stream;
use std::borrow::Borrow;
use std::io::{self, IoSlice};
use std::net::{Shutdown, TcpStream};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A TCP stream that remembers when there is nothing more to read, which saves a system call.
///
/// A new one is not read before it is reported to be ready: otherwise it would overtake streams that were ready earlier.
#[derive(Debug)]
pub(crate) struct Tcp<S> {
    stream: S,
    drained: bool,
}

impl<S: Borrow<Async<TcpStream>>> Tcp<S> {
    pub(crate) fn new(stream: S) -> Self {
        Tcp { stream, drained: true }
    }
}

impl<S: Borrow<Async<TcpStream>>> Stream for Tcp<S> {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.drained {
            ready!(self.stream.borrow().poll_readable(cx))?;
            self.drained = false;
        }
        let n = ready!(Pin::new(&mut self.stream.borrow()).poll_read(cx, buf))?;
        // Once the stream has ended, the end can be read at any time.
        self.drained = n > 0 && n < buf.len();
        Poll::Ready(Ok(n))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream.borrow()).poll_write(cx, buf)
    }

    fn poll_write_vectored(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream.borrow()).poll_write_vectored(cx, bufs)
    }

    fn poll_shutdown(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.stream.borrow().get_ref().shutdown(Shutdown::Write))
    }
}

/// A stream of a Unix socket.
#[cfg(unix)]
#[derive(Debug)]
pub(crate) struct Unix(pub(crate) Async<UnixStream>);

#[cfg(unix)]
impl Stream for Unix {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn poll_shutdown(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.get_ref().shutdown(Shutdown::Write))
    }
}

/// An encrypted stream of a server or a client.
#[cfg(feature = "tls")]
#[derive(Debug)]
pub(crate) struct Encrypted<S>(pub(crate) S);

/// A stream whose socket can be closed for writing.
#[cfg(feature = "tls")]
pub(crate) trait HalfClose {
    fn half_close(&self) -> io::Result<()>;
}

#[cfg(feature = "tls")]
impl HalfClose for TcpStream {
    fn half_close(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

#[cfg(all(unix, feature = "tls"))]
impl HalfClose for UnixStream {
    fn half_close(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

#[cfg(feature = "tls")]
impl<S: HalfClose> HalfClose for server::TlsStream<Async<S>> {
    fn half_close(&self) -> io::Result<()> {
        self.get_ref().0.get_ref().half_close()
    }
}

#[cfg(feature = "tls")]
impl HalfClose for Box<client::TlsStream<Async<TcpStream>>> {
    fn half_close(&self) -> io::Result<()> {
        self.get_ref().0.get_ref().half_close()
    }
}

#[cfg(feature = "tls")]
impl<S: AsyncRead + AsyncWrite + HalfClose + Unpin> Stream for Encrypted<S> {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.0).poll_close(cx))?;
        // Closing an `Async` only flushes it.
        Poll::Ready(self.0.half_close())
    }
}
