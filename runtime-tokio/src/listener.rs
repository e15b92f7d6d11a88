//! Tokio's listeners.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};

/// A listener that [`serve`](crate::serve) takes connections from: a [`TcpListener`], on Unix a [`UnixListener`], or
/// one of your own.
pub trait Listener {
    /// The byte stream of a connection.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Accepts a connection. Returns its stream, and the address of the peer if it has one.
    ///
    /// # Errors
    /// The errors of a single connection and those of the machine do not end the serving, which pauses for 100 ms after
    /// the latter. If the listener cannot accept any more, this must be [`InvalidInput`](io::ErrorKind::InvalidInput).
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Self::Stream, Option<SocketAddr>)>>;
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, Option<SocketAddr>)>> {
        let (stream, address) = ready!(TcpListener::poll_accept(self, cx))?;
        // Messages are written whole, so waiting for more to come only delays them. A failure costs no more than that delay.
        let _ = stream.set_nodelay(true);
        Poll::Ready(Ok((stream, Some(address))))
    }
}

/// The peers have no address: see [`Peer`](sockeye_core::host::Peer).
#[cfg(unix)]
impl Listener for UnixListener {
    type Stream = UnixStream;

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(UnixStream, Option<SocketAddr>)>> {
        let (stream, _) = ready!(UnixListener::poll_accept(self, cx))?;
        Poll::Ready(Ok((stream, None)))
    }
}
