//! Drives Sockeye over the sockets, tasks and timers of smol: `sockeye::smol` is this crate.
#![forbid(unsafe_code)]

#[cfg(target_os = "linux")]
mod epoll;

use async_io::{Async, Timer};
#[cfg(feature = "tls")]
use futures_rustls::{TlsAcceptor, TlsConnector, client, server::TlsStream};
#[cfg(feature = "hyper")]
use hyper::{
    rt::{Read as _, ReadBuf, Write as _},
    upgrade::Upgraded,
};
use smol::io::{AsyncRead, AsyncWrite};
use smol::{Executor, Task};
#[cfg(feature = "hyper")]
use smol_hyper::rt::FuturesIo;
use sockeye_core::Time;
use sockeye_core::drive::{self, Attempts, Drive, Stream};
#[cfg(feature = "hyper")]
use sockeye_core::drive::{Protocol, Unattended};
use sockeye_core::host::{Connector, Destination, Host, Outgoing, Peer, Runtime};
#[cfg(feature = "tls")]
use sockeye_core::tls::{Tls, rustls::pki_types::ServerName};
use std::borrow::Borrow;
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// smol's tasks, on the global executor or on one of your own.
#[derive(Clone, Debug)]
pub struct Smol {
    // Not an owner: the executor's tasks own this.
    executor: Option<Weak<Executor<'static>>>,
    origin: Instant,
}

impl Smol {
    /// Tasks run on smol's global executor, in as many threads as `SMOL_THREADS` says.
    pub fn new() -> Smol {
        Smol { executor: None, origin: Instant::now() }
    }

    /// Tasks run where `executor` is run, as long as there is somebody who owns it.
    pub fn on(executor: &Arc<Executor<'static>>) -> Smol {
        Smol { executor: Some(Arc::downgrade(executor)), origin: Instant::now() }
    }

    /// Serves the connections of `listener` until the server is closed.
    ///
    /// # Errors
    /// When the listener cannot accept any more.
    pub async fn serve<H: Host>(&self, server: H, listener: TcpListener) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        let sockets = epoll::Sockets::new(self)?;
        self.serve_each(server, listener, |server, runtime, stream, address| {
            #[cfg(target_os = "linux")]
            let stream = sockets.add(stream)?;
            #[cfg(not(target_os = "linux"))]
            let stream = Tcp::new(Async::new(stream)?);
            let connection = server.accept(runtime.now(), Peer::from(address));
            Ok(Drive::new(stream, connection, runtime))
        })
        .await
    }

    /// Serves the connections of `listener`, by `https` and `wss`, until the server is closed.
    ///
    /// # Errors
    /// When the listener cannot accept any more.
    #[cfg(feature = "tls")]
    pub async fn serve_tls<H: Host>(&self, server: H, listener: TcpListener, tls: Tls) -> io::Result<()> {
        let acceptor = TlsAcceptor::from(tls.config());
        self.serve_each(server, listener, |server, runtime, stream, address| {
            let (stream, acceptor) = (Async::new(stream)?, acceptor.clone());
            let handshake = within(tls.timeout(), async move {
                // Not before those that were ready earlier.
                stream.readable().await?;
                acceptor.accept(stream).await
            });
            Ok(async move {
                // A failed handshake has already sent its alert; only this connection is affected.
                let Some(Ok(stream)) = handshake.await else { return };
                // Nobody keeps the time for it any more.
                if server.is_closed() {
                    return;
                }
                let peer = Peer { secure: true, ..Peer::from(address) };
                let connection = server.accept(runtime.now(), peer);
                let _ = Drive::new(Encrypted(stream), connection, runtime).await;
            })
        })
        .await
    }

    /// Starts for each connection what `drive` makes of it.
    async fn serve_each<H: Host, F: Future<Output: Send> + Send + 'static>(
        &self,
        server: H,
        listener: TcpListener,
        drive: impl Fn(H, Arc<dyn Runtime>, TcpStream, SocketAddr) -> io::Result<F>,
    ) -> io::Result<()> {
        let listener = Async::new(listener)?;
        let runtime = server.attach(Arc::new(self.clone()));
        // Connections are tasks of their own, and may outlive this future.
        let _time = drive::TimeGuard::new(&server, |host| self.start(keep_time(host, runtime.clone())));
        let mut drained = false;
        let accept = |cx: &mut Context<'_>| {
            let (stream, address) = loop {
                // An executor polls its main future more often than it is woken: only the listener's call means a new
                // connection.
                if drained {
                    ready!(listener.poll_readable(cx))?;
                }
                let accepted = listener.get_ref().accept();
                drained = matches!(&accepted, Err(e) if e.kind() == io::ErrorKind::WouldBlock);
                if !drained {
                    break accepted?;
                }
            };
            // Messages are written whole: waiting for more to come would only delay them. Where it fails, they are late.
            let _ = stream.set_nodelay(true);
            self.start(drive(server.clone(), runtime.clone(), stream, address)?);
            Poll::Ready(Ok(()))
        };
        let sleep = |until: Time| Timer::after(until.saturating_since(runtime.now()));
        drive::serve(&server, &*runtime, accept, sleep).await
    }

    fn start<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) {
        if let Some(task) = self.task(future) {
            task.detach();
        }
    }

    /// A task; `None` if its executor is gone.
    fn task<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> Option<Task<T>> {
        match &self.executor {
            Some(executor) => Some(executor.upgrade()?.spawn(future)),
            None => Some(smol::spawn(future)),
        }
    }
}

impl Default for Smol {
    fn default() -> Self {
        Self::new()
    }
}

impl Runtime for Smol {
    fn now(&self) -> Time {
        Time::from_origin(self.origin.elapsed())
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.start(future);
    }
}

impl Connector for Smol {
    fn connect(self: Arc<Self>, to: Destination, mut protocol: Box<dyn Outgoing>) {
        let runtime = self.clone();
        self.start(async move {
            let mut attempts = Attempts::default();
            let stream = within(to.timeout, open(&to, &mut attempts)).await;
            // Driven by a task of its own: this one is large, and short. The end of a stream is the protocol's to tell.
            match stream.unwrap_or_else(|| Err(attempts.timed_out(&to))) {
                Ok(Opened::Plain(stream)) => {
                    runtime.start(Drive::new(Tcp::new(stream), protocol, runtime.clone()));
                }
                #[cfg(feature = "tls")]
                Ok(Opened::Encrypted(stream)) => {
                    runtime.start(Drive::new(stream, protocol, runtime.clone()));
                }
                Err(error) => protocol.handle_failed(runtime.now(), &error),
            }
        });
    }

    fn sleep_until(&self, deadline: Time) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let timer = Timer::after(deadline.saturating_since(self.now()));
        Box::pin(async move {
            timer.await;
        })
    }
}

/// A stream that was opened.
enum Opened {
    Plain(Async<TcpStream>),
    #[cfg(feature = "tls")]
    Encrypted(Encrypted<Box<client::TlsStream<Async<TcpStream>>>>),
}

async fn open(to: &Destination, attempts: &mut Attempts) -> io::Result<Opened> {
    let addresses = smol::net::resolve(to.first_hop()).await.map_err(|error| to.explain(error))?;
    let stream = open_tcp(addresses, attempts).await.map_err(|error| to.explain(error))?;
    // Messages are written whole: waiting for more to come would only delay them. Where it fails, they are late.
    let _ = stream.get_ref().set_nodelay(true);
    drive::open_tunnel(&mut Tcp::new(&stream), to).await?;
    #[cfg(feature = "tls")]
    if let Some(tls) = &to.tls {
        let name = ServerName::try_from(to.host.clone()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(tls.config()).connect(name, stream).await?;
        return Ok(Opened::Encrypted(Encrypted(Box::new(stream))));
    }
    Ok(Opened::Plain(stream))
}

async fn open_tcp(addresses: Vec<SocketAddr>, attempts: &mut Attempts) -> io::Result<Async<TcpStream>> {
    drive::race(addresses, attempts, Async::<TcpStream>::connect::<SocketAddr>, Timer::after).await
}

/// Serves on `address` until the server is closed.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn listen<H: Host>(server: H, address: impl ToSocketAddrs) -> io::Result<()> {
    serve(server, TcpListener::bind(address)?).await
}

/// Serves the connections of `listener` until the server is closed.
///
/// # Errors
/// When the listener cannot accept any more.
pub async fn serve<H: Host>(server: H, listener: TcpListener) -> io::Result<()> {
    Smol::new().serve(server, listener).await
}

/// Serves `https` and `wss` on `address` until the server is closed.
///
/// # Errors
/// When the address cannot be listened on.
#[cfg(feature = "tls")]
pub async fn listen_tls<H: Host>(server: H, address: impl ToSocketAddrs, tls: Tls) -> io::Result<()> {
    serve_tls(server, TcpListener::bind(address)?, tls).await
}

/// Serves the connections of `listener`, by `https` and `wss`, until the server is closed.
///
/// # Errors
/// When the listener cannot accept any more.
#[cfg(feature = "tls")]
pub async fn serve_tls<H: Host>(server: H, listener: TcpListener, tls: Tls) -> io::Result<()> {
    Smol::new().serve_tls(server, listener, tls).await
}

/// Keeps the time of a server whose connections come from elsewhere, as long as there is a server to get.
///
/// `host` must not own it.
pub async fn keep_time<H: Host>(host: impl Fn() -> Option<H>, runtime: Arc<dyn Runtime>) {
    let sleep = |until: Time| Timer::after(until.saturating_since(runtime.now()));
    drive::keep_time(host, &*runtime, sleep).await;
}

/// Starts to drive `protocol` over what hyper hands over after an upgrade, and hyper no more: over the socket, if it is
/// one of smol's in `smol_hyper`'s `FuturesIo`.
#[cfg(feature = "hyper")]
pub fn start_upgraded<P: Protocol + Send + Unpin + 'static>(
    upgraded: Upgraded,
    protocol: P,
    runtime: Arc<dyn Runtime>,
) {
    let upgraded = match upgraded.downcast::<FuturesIo<Async<TcpStream>>>() {
        Ok(parts) => return start_tcp(parts.io.into_inner(), &parts.read_buf, protocol, runtime),
        Err(upgraded) => upgraded,
    };
    match upgraded.downcast::<FuturesIo<smol::net::TcpStream>>() {
        Ok(parts) => {
            let stream: Arc<Async<TcpStream>> = parts.io.into_inner().into();
            start_tcp(stream, &parts.read_buf, protocol, runtime);
        }
        Err(upgraded) => {
            let drive = Drive::new(HandedOver(upgraded), protocol, runtime.clone());
            runtime.spawn(Box::pin(Unattended(drive)));
        }
    }
}

#[cfg(feature = "hyper")]
fn start_tcp<S, P>(stream: S, input: &[u8], protocol: P, runtime: Arc<dyn Runtime>)
where
    S: Borrow<Async<TcpStream>> + Send + Unpin + 'static,
    P: Protocol + Send + Unpin + 'static,
{
    let _ = stream.borrow().get_ref().set_nodelay(true);
    let drive = Drive::new(Tcp::new(stream), protocol, runtime.clone()).with_input(input);
    runtime.spawn(Box::pin(Unattended(drive)));
}

/// A TCP stream that remembers that it had nothing more to give, which saves asking again. A new one is read when it is
/// ready for the first time: earlier, it would overtake those that were ready before it.
#[derive(Debug)]
struct Tcp<S> {
    stream: S,
    drained: bool,
}

impl<S: Borrow<Async<TcpStream>>> Tcp<S> {
    fn new(stream: S) -> Self {
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
        // At the end of the stream there is something to read at any time: the end.
        self.drained = n > 0 && n < buf.len();
        Poll::Ready(Ok(n))
    }

    fn poll_write_vectored(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match bufs {
            [one] => Pin::new(&mut self.stream.borrow()).poll_write(cx, one),
            several => Pin::new(&mut self.stream.borrow()).poll_write_vectored(cx, several),
        }
    }

    fn poll_shutdown(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.stream.borrow().get_ref().shutdown(std::net::Shutdown::Write))
    }
}

/// Any other stream that hyper hands over: an encrypted one, or one of HTTP/2.
#[cfg(feature = "hyper")]
#[derive(Debug)]
struct HandedOver(Upgraded);

#[cfg(feature = "hyper")]
impl Stream for HandedOver {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        ready!(Pin::new(&mut self.0).poll_read(cx, buf.unfilled()))?;
        Poll::Ready(Ok(buf.filled().len()))
    }

    fn poll_write_vectored(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// What comes of `future`, if it comes in time.
async fn within<T>(time: Duration, future: impl Future<Output = T>) -> Option<T> {
    let too_late = async {
        Timer::after(time).await;
        None
    };
    smol::future::or(async { Some(future.await) }, too_late).await
}

/// An encrypted TCP stream, of either role.
#[cfg(feature = "tls")]
#[derive(Debug)]
struct Encrypted<S>(S);

/// The socket below.
#[cfg(feature = "tls")]
trait Below {
    fn below(&self) -> &TcpStream;
}

#[cfg(feature = "tls")]
impl Below for TlsStream<Async<TcpStream>> {
    fn below(&self) -> &TcpStream {
        self.get_ref().0.get_ref()
    }
}

#[cfg(feature = "tls")]
impl Below for Box<client::TlsStream<Async<TcpStream>>> {
    fn below(&self) -> &TcpStream {
        self.get_ref().0.get_ref()
    }
}

#[cfg(feature = "tls")]
impl<S: AsyncRead + AsyncWrite + Below + Unpin> Stream for Encrypted<S> {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }

    fn poll_write_vectored(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.0).poll_close(cx))?;
        // `Async` does not when it is closed.
        Poll::Ready(self.0.below().shutdown(std::net::Shutdown::Write))
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use rustix::net::{AddressFamily, SocketType, bind, listen, socket};

    /// An address that never answers: so many wait for its listener that there is no room for more.
    fn dead() -> (TcpListener, TcpStream, SocketAddr) {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        listen(&socket, 0).unwrap();
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().unwrap();
        let stream = TcpStream::connect(address).unwrap();
        (listener, stream, address)
    }

    #[test]
    fn a_dead_address_does_not_keep_a_client_from_a_good_one() {
        let (_full, _waiting, dead) = dead();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let good = listener.local_addr().unwrap();
        let mut attempts = Attempts::default();
        let open = within(Duration::from_secs(20), open_tcp(vec![dead, good], &mut attempts));
        let stream = smol::block_on(open).unwrap().unwrap();
        assert_eq!(stream.get_ref().peer_addr().unwrap(), good);
    }

    #[test]
    fn a_connect_without_an_answer_is_given_up_in_time() {
        let (_full, _waiting, dead) = dead();
        let mut attempts = Attempts::default();
        let time = Duration::from_millis(50);
        assert!(smol::block_on(within(time, open_tcp(vec![dead, dead], &mut attempts))).is_none());
        let error = attempts.timed_out(&Destination::new("name", 80, time));
        assert_eq!(error.to_string(), format!("{dead}: timed out"));
    }
}
