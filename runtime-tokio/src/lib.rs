//! Drives Sockeye over the sockets, tasks and timers of tokio: `sockeye::tokio` is this crate.
#![forbid(unsafe_code)]

#[cfg(feature = "hyper")]
use hyper::{body::Bytes, upgrade::Upgraded};
#[cfg(feature = "hyper")]
use hyper_util::{rt::TokioIo, server::conn::auto};
use sockeye_core::Time;
#[cfg(feature = "hyper")]
use sockeye_core::drive::Protocol;
use sockeye_core::drive::{self, Attempts, Drive, Stream};
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
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs, lookup_host};
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
            let mut attempts = Attempts::default();
            let stream = timeout(to.timeout, open(&to, &mut attempts)).await;
            // Driven by a task of its own: this one is large, and short. The end of a stream is the protocol's to tell.
            match stream.unwrap_or_else(|_| Err(attempts.timed_out(&to))) {
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

async fn open(to: &Destination, attempts: &mut Attempts) -> io::Result<Opened> {
    let mut stream = open_tcp(to.first_hop(), attempts).await.map_err(|error| to.explain(error))?;
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

async fn open_tcp(hop: impl ToSocketAddrs, attempts: &mut Attempts) -> io::Result<TcpStream> {
    drive::race(lookup_host(hop).await?, attempts, TcpStream::connect::<SocketAddr>, sleep).await
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
    let _time = drive::TimeGuard::new(&server, |host| own.spawn(Box::pin(keep_time(host, runtime.clone()))));
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::time::Duration;
    use tokio::net::TcpSocket;

    /// An address that never answers: so many wait for its listener that there is no room for more.
    fn dead() -> (TcpListener, TcpStream, SocketAddr) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_nonblocking(true).unwrap();
        (listener, TcpStream::from_std(stream).unwrap(), address)
    }

    #[tokio::test]
    async fn a_dead_address_does_not_keep_a_client_from_a_good_one() {
        let (_full, _waiting, dead) = dead();
        let good = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addresses = [dead, good.local_addr().unwrap()];
        let open = timeout(Duration::from_secs(20), async {
            open_tcp(&addresses[..], &mut Attempts::default()).await.unwrap()
        });
        assert_eq!(open.await.unwrap().peer_addr().unwrap(), addresses[1]);
    }

    #[tokio::test]
    async fn a_connect_without_an_answer_is_given_up_in_time() {
        let (_full, _waiting, dead) = dead();
        let mut attempts = Attempts::default();
        let time = Duration::from_millis(50);
        assert!(timeout(time, open_tcp(&[dead, dead][..], &mut attempts)).await.is_err());
        let error = attempts.timed_out(&Destination::new("name", 80, time));
        assert_eq!(error.to_string(), format!("{dead}: timed out"));
    }
}
