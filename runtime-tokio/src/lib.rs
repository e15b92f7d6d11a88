//! Drives Sockeye over the sockets, tasks and timers of tokio: `sockeye::tokio` is this crate.
#![forbid(unsafe_code)]

#[cfg(feature = "hyper")]
use hyper::{body::Bytes, upgrade::Upgraded};
#[cfg(feature = "hyper")]
use hyper_util::{rt::TokioIo, server::conn::auto};
use sockeye_core::Time;
#[cfg(feature = "hyper")]
use sockeye_core::drive::Protocol;
use sockeye_core::drive::{self, Drive, Stream};
use sockeye_core::host::{Connector, Destination, Host, Outgoing, Peer, Runtime};
#[cfg(feature = "tls")]
use sockeye_core::tls::{Tls, rustls::pki_types::ServerName};
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout};
#[cfg(feature = "tls")]
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};

/// tokio's clock and tasks.
#[derive(Clone, Debug)]
pub struct Tokio {
    // Sockets may be disconnected by threads that are none of tokio's.
    handle: Handle,
    origin: Instant,
}

impl Tokio {
    /// A clock that starts now, and the runtime that this is called in.
    ///
    /// # Panics
    /// When it is called outside of a runtime.
    pub fn new() -> Tokio {
        Tokio { handle: Handle::current(), origin: Instant::now() }
    }
}

impl Default for Tokio {
    fn default() -> Self {
        Self::new()
    }
}

impl Runtime for Tokio {
    fn now(&self) -> Time {
        Time::from_origin(self.origin.elapsed())
    }

    fn enter(&self, f: &mut dyn FnMut()) {
        let _guard = self.handle.enter();
        f();
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.handle.spawn(future);
    }
}

impl Connector for Tokio {
    fn connect(self: Arc<Self>, to: Destination, mut protocol: Box<dyn Outgoing>) {
        let handle = self.handle.clone();
        handle.spawn(async move {
            let stream = timeout(to.timeout, open(&to)).await;
            // Driven by a task of its own: this one is large, and short. The end of a stream is the protocol's to tell.
            match stream.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(Opened::Plain(stream)) => drop(tokio::spawn(Drive::new(Io(stream), protocol, self))),
                #[cfg(feature = "tls")]
                Ok(Opened::Encrypted(stream)) => drop(tokio::spawn(Drive::new(Io(stream), protocol, self))),
                Err(error) => protocol.handle_failed(self.now(), &error),
            }
        });
    }

    fn sleep_until(&self, deadline: Time) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let _guard = self.handle.enter();
        Box::pin(sleep(deadline.saturating_since(self.now())))
    }
}

/// A stream that was opened.
enum Opened {
    Plain(TcpStream),
    #[cfg(feature = "tls")]
    Encrypted(Box<TlsStream<TcpStream>>),
}

async fn open(to: &Destination) -> io::Result<Opened> {
    let mut stream = TcpStream::connect(to.first_hop()).await.map_err(|error| to.explain(error))?;
    // Messages are written whole: waiting for more to come would only delay them. Where it fails, they are late.
    let _ = stream.set_nodelay(true);
    drive::open_tunnel(&mut Io(&mut stream), to).await?;
    #[cfg(feature = "tls")]
    if let Some(tls) = &to.tls {
        let name = ServerName::try_from(to.host.clone()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(tls.config()).connect(name, stream).await?;
        return Ok(Opened::Encrypted(Box::new(stream)));
    }
    Ok(Opened::Plain(stream))
}

/// Serves on `address` until the server is closed.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn listen<H: Host>(server: H, address: impl ToSocketAddrs) -> io::Result<()> {
    serve(server, TcpListener::bind(address).await?).await
}

/// Serves the connections of `listener` until the server is closed.
///
/// # Errors
/// When the listener cannot accept any more.
pub async fn serve<H: Host>(server: H, listener: TcpListener) -> io::Result<()> {
    serve_each(server, listener, |server, runtime, stream, address| {
        let connection = server.accept(runtime.now(), Peer::from(address));
        Drive::new(Io(stream), connection, runtime)
    })
    .await
}

/// Starts for each connection what `drive` makes of it.
async fn serve_each<H: Host, F: Future<Output: Send> + Send + 'static>(
    server: H,
    listener: TcpListener,
    drive: impl Fn(H, Arc<dyn Runtime>, TcpStream, SocketAddr) -> F,
) -> io::Result<()> {
    let own = Arc::new(Tokio::new());
    let runtime = server.attach(own.clone());
    // Connections are tasks of their own, and may outlive this future.
    let _legacy = drive::Legacy::new(&server, |host| own.spawn(Box::pin(keep_time(host, runtime.clone()))));
    let accept = |cx: &mut Context<'_>| {
        let (stream, address) = ready!(listener.poll_accept(cx))?;
        // Messages are written whole: waiting for more to come would only delay them. Where it fails, they are late.
        let _ = stream.set_nodelay(true);
        tokio::spawn(drive(server.clone(), runtime.clone(), stream, address));
        Poll::Ready(Ok(()))
    };
    let sleep = |until: Time| sleep(until.saturating_since(runtime.now()));
    drive::serve(&server, &*runtime, accept, sleep).await
}

/// Serves `https` and `wss` on `address` until the server is closed.
///
/// # Errors
/// When the address cannot be listened on.
#[cfg(feature = "tls")]
pub async fn listen_tls<H: Host>(server: H, address: impl ToSocketAddrs, tls: Tls) -> io::Result<()> {
    serve_tls(server, TcpListener::bind(address).await?, tls).await
}

/// Serves the connections of `listener`, by `https` and `wss`, until the server is closed.
///
/// # Errors
/// When the listener cannot accept any more.
#[cfg(feature = "tls")]
pub async fn serve_tls<H: Host>(server: H, listener: TcpListener, tls: Tls) -> io::Result<()> {
    let acceptor = TlsAcceptor::from(tls.config());
    serve_each(server, listener, |server, runtime, stream, address| {
        let handshake = timeout(tls.timeout(), acceptor.accept(stream));
        async move {
            // Who speaks no TLS has been told so by it, and concerns nobody else.
            let Ok(Ok(stream)) = handshake.await else { return };
            // Nobody keeps the time for it any more.
            if server.is_closed() {
                return;
            }
            let peer = Peer { secure: true, ..Peer::from(address) };
            let connection = server.accept(runtime.now(), peer);
            let _ = Drive::new(Io(stream), connection, runtime).await;
        }
    })
    .await
}

/// Keeps the time of a server whose connections come from elsewhere, as long as there is a server to get.
///
/// `host` must not own it.
pub async fn keep_time<H: Host>(host: impl Fn() -> Option<H>, runtime: Arc<dyn Runtime>) {
    let sleep = |until: Time| sleep(until.saturating_since(runtime.now()));
    drive::keep_time(host, &*runtime, sleep).await;
}

/// Starts to drive `protocol` over what hyper hands over after an upgrade, and hyper no more: over the socket, if it is
/// one of tokio's.
///
/// # Panics
/// When it is called outside of a runtime.
#[cfg(feature = "hyper")]
pub fn start_upgraded<P: Protocol + Send + Unpin + 'static>(
    upgraded: Upgraded,
    protocol: P,
    runtime: Arc<dyn Runtime>,
) {
    match socket(upgraded) {
        Ok((socket, input)) => {
            let _ = socket.set_nodelay(true);
            tokio::spawn(Drive::new(Io(socket), protocol, runtime).with_input(&input));
        }
        Err(upgraded) => _ = tokio::spawn(Drive::new(Io(TokioIo::new(upgraded)), protocol, runtime)),
    }
}

/// The socket below, and what was read of it too early.
#[cfg(feature = "hyper")]
fn socket(upgraded: Upgraded) -> Result<(TcpStream, Bytes), Upgraded> {
    // The builder that chooses between HTTP/1 and HTTP/2 wraps it once more.
    match auto::upgrade::downcast::<TokioIo<TcpStream>>(upgraded) {
        Ok(parts) => Ok((parts.io.into_inner(), parts.read_buf)),
        Err(upgraded) => {
            let parts = upgraded.downcast::<TokioIo<TcpStream>>()?;
            Ok((parts.io.into_inner(), parts.read_buf))
        }
    }
}

/// Any of tokio's byte streams as the core's.
#[derive(Debug)]
pub struct Io<T>(pub T);

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for Io<T> {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        Pin::new(&mut self.0).poll_read(cx, &mut buf).map_ok(|()| buf.filled().len())
    }

    fn poll_write_vectored(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match bufs {
            [one] => Pin::new(&mut self.0).poll_write(cx, one),
            several => Pin::new(&mut self.0).poll_write_vectored(cx, several),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
