//! Serving, over sockets or beside another server that has them.

use crate::Smol;
#[cfg(target_os = "linux")]
use crate::epoll;
use crate::stream::Tcp;
#[cfg(unix)]
use crate::stream::Unix;
#[cfg(feature = "tls")]
use crate::stream::{Encrypted, HalfClose};
use crate::within;
use async_io::{Async, Timer};
#[cfg(feature = "tls")]
use futures_rustls::TlsAcceptor;
use smol::io::AsyncRead;
#[cfg(feature = "tls")]
use smol::io::AsyncWrite;
use sockeye_core::Time;
use sockeye_core::drive::{self, Drive};
#[cfg(unix)]
use sockeye_core::host::BACKLOG;
use sockeye_core::host::{Host, Peer, Runtime, explain_listen};
use sockeye_core::proxy_protocol;
#[cfg(feature = "tls")]
use sockeye_core::tls::{self, Tls};
use std::future::Future;
use std::io;
use std::mem;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
#[cfg(unix)]
use std::os::fd::AsFd as AsSource;
#[cfg(unix)]
use std::os::unix::net::{UnixListener, UnixStream};
#[cfg(windows)]
use std::os::windows::io::AsSocket as AsSource;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

impl Smol {
    /// Serves the connections of `listener` until the server is closed.
    ///
    /// # Errors
    /// If the listener cannot accept any more, or the executor was dropped.
    pub async fn serve<H: Host>(&self, server: H, listener: TcpListener) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        let sockets = epoll::Sockets::new(self)?;
        let listener = prepare(listener)?;
        self.serve_each(server, listener, accept_tcp, move |server, runtime, stream, address| {
            #[cfg(target_os = "linux")]
            let stream = sockets.add(stream)?;
            #[cfg(not(target_os = "linux"))]
            let stream = Tcp::new(Async::new(stream)?);
            let connection = server.accept(runtime.now(), Peer { address, secure: false });
            Ok(Drive::new(stream, connection, runtime))
        })
        .await
    }

    /// Serves the connections of a proxy that begins each of them with a header of the PROXY protocol: see [`serve_proxied`].
    ///
    /// # Errors
    /// If the listener cannot accept any more, or the executor was dropped.
    pub async fn serve_proxied<H: Host>(&self, server: H, listener: TcpListener) -> io::Result<()> {
        self.serve_each(server, prepare(listener)?, accept_async, move |server, runtime, stream, address| {
            Ok(async move {
                let Some(peer) = proxied(&server, &stream, address).await else { return };
                let connection = server.accept(runtime.now(), peer);
                let _ = Drive::new(Tcp::new(stream), connection, runtime).await;
            })
        })
        .await
    }

    /// Serves the connections of a Unix socket until the server is closed. Its peers have no address.
    ///
    /// # Errors
    /// If the listener cannot accept any more, or the executor was dropped.
    #[cfg(unix)]
    pub async fn serve_unix<H: Host>(&self, server: H, listener: UnixListener) -> io::Result<()> {
        let listener = Async::new(listener)?;
        self.serve_each(server, listener, accept_unix, move |server, runtime, stream, address| {
            let stream = Unix(Async::new(stream)?);
            let connection = server.accept(runtime.now(), Peer { address, secure: false });
            Ok(Drive::new(stream, connection, runtime))
        })
        .await
    }

    /// Serves the connections of `listener` by `https` and `wss` until the server is closed.
    ///
    /// # Errors
    /// If the listener cannot accept any more, or the executor was dropped.
    #[cfg(feature = "tls")]
    pub async fn serve_tls<H: Host>(&self, server: H, listener: TcpListener, tls: Tls) -> io::Result<()> {
        self.serve_encrypted(server, prepare(listener)?, accept_async, tls).await
    }

    /// Serves `https` and `wss` over the connections of a proxy that passes on TLS, and begins each of them with a header of
    /// the PROXY protocol: see [`serve_proxied`].
    ///
    /// # Errors
    /// If the listener cannot accept any more, or the executor was dropped.
    #[cfg(feature = "tls")]
    pub async fn serve_proxied_tls<H: Host>(
        &self,
        server: H,
        listener: TcpListener,
        tls: Tls,
    ) -> io::Result<()> {
        let acceptor = TlsAcceptor::from(tls.config());
        self.serve_each(server, prepare(listener)?, accept_async, move |server, runtime, stream, address| {
            let (acceptor, limit) = (acceptor.clone(), tls.timeout());
            Ok(async move {
                let Some(peer) = proxied(&server, &stream, address).await else { return };
                // The handshake is larger than what follows, and the task would keep its size.
                let handshake = Box::pin(within(limit, acceptor.accept(stream)));
                let Some(stream) = tls::accepted(&server, peer, handshake.await) else { return };
                let connection = server.accept(runtime.now(), Peer { secure: true, ..peer });
                let _ = Drive::new(Encrypted(stream), connection, runtime).await;
            })
        })
        .await
    }

    /// Serves the connections of a Unix socket by `https` and `wss` until the server is closed. Its peers have no address.
    ///
    /// # Errors
    /// If the listener cannot accept any more, or the executor was dropped.
    #[cfg(all(unix, feature = "tls"))]
    pub async fn serve_unix_tls<H: Host>(
        &self,
        server: H,
        listener: UnixListener,
        tls: Tls,
    ) -> io::Result<()> {
        let accept = |listener: &UnixListener| {
            let (stream, address) = accept_unix(listener)?;
            Ok((Async::new(stream)?, address))
        };
        self.serve_encrypted(server, Async::new(listener)?, accept, tls).await
    }

    /// Accepts connections, and spawns a task for each that does the handshake of TLS first.
    #[cfg(feature = "tls")]
    async fn serve_encrypted<H: Host, L, S>(
        &self,
        server: H,
        listener: Async<L>,
        accept: impl Fn(&L) -> io::Result<(Async<S>, Option<SocketAddr>)> + Send + Sync + 'static,
        tls: Tls,
    ) -> io::Result<()>
    where
        L: AsSource + Send + Sync + 'static,
        S: HalfClose + Send + Sync + 'static,
        Async<S>: AsyncRead + AsyncWrite + Unpin,
    {
        let acceptor = TlsAcceptor::from(tls.config());
        self.serve_each(server, listener, accept, move |server, runtime, stream, address| {
            let acceptor = acceptor.clone();
            let handshake = within(tls.timeout(), async move {
                // Reading at once would overtake streams that were ready earlier.
                stream.readable().await?;
                acceptor.accept(stream).await
            });
            Ok(async move {
                let peer = Peer { address, secure: true };
                let Some(stream) = tls::accepted(&server, peer, handshake.await) else { return };
                let connection = server.accept(runtime.now(), peer);
                let _ = Drive::new(Encrypted(stream), connection, runtime).await;
            })
        })
        .await
    }

    /// Accepts connections, and spawns the future that `drive` returns for each. The runtime is behind a thin pointer, which
    /// makes a task smaller.
    ///
    /// Accepting is a task, too: when a future that `block_on` polls itself spawns another, async-io looks for events once
    /// more, which takes five system calls.
    async fn serve_each<H, L, S, F>(
        &self,
        server: H,
        listener: Async<L>,
        accept: impl Fn(&L) -> io::Result<(S, Option<SocketAddr>)> + Send + Sync + 'static,
        drive: impl Fn(H, Arc<Arc<dyn Runtime>>, S, Option<SocketAddr>) -> io::Result<F> + Send + Sync + 'static,
    ) -> io::Result<()>
    where
        H: Host,
        L: AsSource + Send + Sync + 'static,
        F: Future<Output: Send> + Send + 'static,
    {
        let smol = self.clone();
        // Owned by this future, so that it is closed at once when that is dropped.
        let listener = Arc::new(listener);
        let listening = Arc::downgrade(&listener);
        let task = self.task(async move {
            let runtime = Arc::new(server.attach(Arc::new(smol.clone())));
            // Connections are tasks of their own, and may outlive this one.
            let _time =
                drive::TimeGuard::new(&server, |host| smol.start(keep_time(host, (*runtime).clone())));
            let (mut drained, mut is_first) = (false, true);
            let accept = |cx: &mut Context<'_>| {
                let Some(listener) = listening.upgrade() else { return Poll::Pending };
                let (stream, address) = loop {
                    // The task is also woken to keep the time: only readiness means a new connection.
                    if drained {
                        ready!(listener.poll_readable(cx))?;
                        is_first = true;
                    }
                    let accepted = accept(listener.get_ref());
                    drained = match &accepted {
                        Ok(_) => mem::take(&mut is_first) && !has_more(listener.get_ref()),
                        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
                    };
                    match accepted {
                        Err(_) if drained => {}
                        accepted => break accepted?,
                    }
                };
                smol.start(drive(server.clone(), runtime.clone(), stream, address)?);
                Poll::Ready(Ok(()))
            };
            let sleep = |until| sleep_until(&*runtime, until);
            drive::serve(&server, &*runtime, accept, sleep).await
        });
        let served = match task {
            Some(task) => task.fallible().await,
            None => None,
        };
        served.unwrap_or_else(|| Err(io::Error::other("the executor was dropped")))
    }
}

/// Returns whether more connections wait to be accepted, or it is not known. To accept in vain takes several times as long,
/// because the system makes a socket first: `benches/compare/run --with ours-smol --only avalanche_polling`.
fn has_more(listener: &impl AsSource) -> bool {
    #[cfg(unix)]
    {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&Timespec::default())) != Ok(0)
    }
    #[cfg(not(unix))]
    {
        let _ = listener;
        true
    }
}

/// Prepares a listener for [`accept_tcp`].
fn prepare(listener: TcpListener) -> io::Result<Async<TcpListener>> {
    // Messages are written whole, so waiting for more to come only delays them. A failure costs no more than that delay.
    // On Linux, connections inherit the option of their listener, which saves a system call for each.
    #[cfg(target_os = "linux")]
    let _ = rustix::net::sockopt::set_tcp_nodelay(&listener, true);
    Async::new(listener)
}

/// Accepts a connection. Returns its stream, which on Linux is non-blocking, and the address of the peer.
fn accept_tcp(listener: &TcpListener) -> io::Result<(TcpStream, Option<SocketAddr>)> {
    #[cfg(target_os = "linux")]
    let (stream, address) = {
        use rustix::net::{SocketFlags, acceptfrom_with};
        // The standard library would need a second system call to make it non-blocking.
        let (stream, address) = acceptfrom_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
        (TcpStream::from(stream), address.and_then(|address| SocketAddr::try_from(address).ok()))
    };
    #[cfg(not(target_os = "linux"))]
    let (stream, address) = {
        let (stream, address) = listener.accept()?;
        let _ = stream.set_nodelay(true);
        (stream, Some(address))
    };
    Ok((stream, address))
}

/// Accepts a connection whose stream waits for the socket by async-io.
fn accept_async(listener: &TcpListener) -> io::Result<(Async<TcpStream>, Option<SocketAddr>)> {
    let (stream, address) = accept_tcp(listener)?;
    Ok((Async::new(stream)?, address))
}

/// Reads the header of the PROXY protocol. Returns `None` if the connection is to be closed.
async fn proxied<H: Host>(
    server: &H,
    stream: &Async<TcpStream>,
    address: Option<SocketAddr>,
) -> Option<Peer> {
    let peer = Peer { address, secure: false };
    let poll_read = |cx: &mut Context<'_>, buf: &mut [u8]| Pin::new(&mut &*stream).poll_read(cx, buf);
    let header = within(proxy_protocol::TIMEOUT, drive::read_proxy_header(peer, poll_read)).await;
    match header.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into())) {
        // No task keeps the time of a server that was closed meanwhile.
        Ok(peer) => (!server.is_closed()).then_some(peer),
        Err(error) => {
            server.handle_refused(peer, &error);
            None
        }
    }
}

/// Accepts a connection of a Unix socket, whose peers have no address.
#[cfg(unix)]
fn accept_unix(listener: &UnixListener) -> io::Result<(UnixStream, Option<SocketAddr>)> {
    listener.accept().map(|(stream, _)| (stream, None))
}

/// Serves on `address` until the server is closed. Up to 4096 connections may wait to be accepted, if the system allows it.
///
/// # Errors
/// If the system does not allow listening on the address, which the error names, or the listener cannot accept any more.
pub async fn listen<H: Host>(server: H, address: impl ToSocketAddrs) -> io::Result<()> {
    serve(server, bind(address)?).await
}

fn bind(address: impl ToSocketAddrs) -> io::Result<TcpListener> {
    let addresses = address.to_socket_addrs().map_err(|error| explain_listen(&[], error))?;
    let addresses: Vec<_> = addresses.collect();
    let listener = TcpListener::bind(&addresses[..]).map_err(|error| explain_listen(&addresses, error))?;
    // The standard library lets 128 connections wait. A second call changes the number.
    #[cfg(unix)]
    rustix::net::listen(&listener, BACKLOG.into())
        .map_err(|error| explain_listen(&addresses, error.into()))?;
    Ok(listener)
}

/// Serves the connections of `listener` until the server is closed.
///
/// A server may be served on several listeners at once, by a call for each with a clone of the server. The listener may be one
/// that another process has opened, such as systemd: for example from the crate `listenfd`.
///
/// The listener's queue of connections that wait to be accepted must hold all clients that come back after a
/// restart: those that find it full try again only a second later. [`TcpListener::bind`] lets 128 of them wait, and
/// [`listen`] 4096. To have more on a listener of your own, call `listen` of the crates `socket2` or `rustix` on it. The
/// system may allow fewer.
///
/// # Errors
/// If the listener cannot accept any more.
pub async fn serve<H: Host>(server: H, listener: TcpListener) -> io::Result<()> {
    Smol::new().serve(server, listener).await
}

/// Serves on `address` behind a proxy that speaks the PROXY protocol, until the server is closed: see [`serve_proxied`].
///
/// # Errors
/// If the system does not allow listening on the address, which the error names, or the listener cannot accept any more.
pub async fn listen_proxied<H: Host>(server: H, address: impl ToSocketAddrs) -> io::Result<()> {
    serve_proxied(server, bind(address)?).await
}

/// Serves the connections of a proxy that begins each of them with a header of the PROXY protocol, version 1 or 2, which
/// tells the address of the client: HAProxy with `send-proxy-v2`, nginx's `stream` module with `proxy_protocol on`, and load
/// balancers of cloud providers that pass on TCP. Returns when the server is closed.
///
/// Every connection must begin with a header, and is closed if none arrives within 10 s. Only the proxy may be able to reach
/// the listener, because everyone else could tell any address. The streams wait for their sockets by async-io.
///
/// # Errors
/// If the listener cannot accept any more.
pub async fn serve_proxied<H: Host>(server: H, listener: TcpListener) -> io::Result<()> {
    Smol::new().serve_proxied(server, listener).await
}

/// Serves the connections of a Unix socket until the server is closed. Its peers have no address.
///
/// # Errors
/// If the listener cannot accept any more.
#[cfg(unix)]
pub async fn serve_unix<H: Host>(server: H, listener: UnixListener) -> io::Result<()> {
    Smol::new().serve_unix(server, listener).await
}

/// Serves `https` and `wss` on `address` until the server is closed.
///
/// # Errors
/// If the system does not allow listening on the address, which the error names, or the listener cannot accept any more.
#[cfg(feature = "tls")]
pub async fn listen_tls<H: Host>(server: H, address: impl ToSocketAddrs, tls: Tls) -> io::Result<()> {
    serve_tls(server, bind(address)?, tls).await
}

/// Serves the connections of `listener` by `https` and `wss` until the server is closed.
///
/// # Errors
/// If the listener cannot accept any more.
#[cfg(feature = "tls")]
pub async fn serve_tls<H: Host>(server: H, listener: TcpListener, tls: Tls) -> io::Result<()> {
    Smol::new().serve_tls(server, listener, tls).await
}

/// Serves `https` and `wss` over the connections of a proxy that passes on TLS, and begins each of them with a header of the
/// PROXY protocol: see [`serve_proxied`]. Returns when the server is closed.
///
/// # Errors
/// If the listener cannot accept any more.
#[cfg(feature = "tls")]
pub async fn serve_proxied_tls<H: Host>(server: H, listener: TcpListener, tls: Tls) -> io::Result<()> {
    Smol::new().serve_proxied_tls(server, listener, tls).await
}

/// Serves the connections of a Unix socket by `https` and `wss` until the server is closed. Its peers have no address.
///
/// # Errors
/// If the listener cannot accept any more.
#[cfg(all(unix, feature = "tls"))]
pub async fn serve_unix_tls<H: Host>(server: H, listener: UnixListener, tls: Tls) -> io::Result<()> {
    Smol::new().serve_unix_tls(server, listener, tls).await
}

/// Keeps the time of a server whose connections come from elsewhere, until `host` returns `None`.
///
/// `host` must not own the server: it is the weak handle that [`Host::claim_time`] returns, or a function of your own.
pub async fn keep_time<H: Host>(host: impl Fn() -> Option<H>, runtime: Arc<dyn Runtime>) {
    let sleep = |until| sleep_until(&*runtime, until);
    drive::keep_time(host, &*runtime, sleep).await;
}

/// Returns a timer for a deadline. Those of one millisecond have one timer, because each wait of async-io takes several system
/// calls: `benches/compare/run --with ours-smol --only heartbeats`.
fn sleep_until(runtime: &dyn Runtime, deadline: Time) -> Timer {
    Timer::after(next_millisecond(deadline).saturating_since(runtime.now()))
}

fn next_millisecond(time: Time) -> Time {
    let millis = time.since_origin().as_nanos().div_ceil(1_000_000);
    u64::try_from(millis).map_or(time, |millis| Time::from_origin(Duration::from_millis(millis)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn deadlines_of_one_millisecond_have_one_timer_and_none_is_early() {
        let at = |micros| Time::from_origin(Duration::from_micros(micros));
        assert_eq!([1, 500, 1000].map(|micros| next_millisecond(at(micros))), [at(1000); 3]);
        assert_eq!(next_millisecond(at(1001)), at(2000));
        assert_eq!(next_millisecond(Time::ZERO), Time::ZERO);
        let last = Time::from_origin(Duration::MAX);
        assert_eq!(next_millisecond(last), last);
    }

    #[test]
    fn an_address_in_use_is_named() {
        let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let used = other.local_addr().unwrap();
        let error = bind(used).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().starts_with(&format!("{used}: ")), "{error}");
        let error = bind("localhost").unwrap_err();
        assert!(error.to_string().ends_with("such as 0.0.0.0:3000"), "{error}");
    }

    #[test]
    fn messages_to_a_new_client_are_not_delayed() {
        let listener = prepare(bind("127.0.0.1:0").unwrap()).unwrap();
        let _client = TcpStream::connect(listener.get_ref().local_addr().unwrap()).unwrap();
        smol::block_on(listener.readable()).unwrap();
        assert!(accept_tcp(listener.get_ref()).unwrap().0.nodelay().unwrap());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn more_clients_than_usual_wait_to_be_accepted() {
        let allowed = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
        let count = allowed.trim().parse().unwrap_or(usize::MAX).min(300);
        let listener = bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // A connection that finds the queue full is refused silently, and never established as long as nobody accepts.
        let connect = |_| std::net::TcpStream::connect_timeout(&address, std::time::Duration::from_secs(10));
        let waiting: io::Result<Vec<_>> = (0..count).map(connect).collect();
        assert_eq!(waiting.unwrap().len(), count);
    }
}
