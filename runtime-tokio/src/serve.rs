//! Serving, over sockets or beside another server that has them.

use crate::{Io, Listener, Tokio};
use sockeye_core::Time;
use sockeye_core::drive::{self, Drive};
use sockeye_core::host::{BACKLOG, Host, Peer, Runtime, explain_listen};
use sockeye_core::proxy_protocol;
#[cfg(feature = "tls")]
use sockeye_core::tls::{self, Tls};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, ToSocketAddrs, lookup_host};
use tokio::time::{sleep, timeout};
#[cfg(feature = "tls")]
use tokio_rustls::TlsAcceptor;

/// Serves on `address` until the server is closed. Up to 4096 connections may wait to be accepted, if the system allows it.
///
/// # Errors
/// If the system does not allow listening on the address, which the error names, or the listener cannot accept any more.
pub async fn listen<H: Host>(server: H, address: impl ToSocketAddrs) -> io::Result<()> {
    serve(server, bind(address).await?).await
}

async fn bind(address: impl ToSocketAddrs) -> io::Result<TcpListener> {
    let addresses = lookup_host(address).await.map_err(|error| explain_listen(&[], error))?;
    let addresses: Vec<_> = addresses.collect();
    let mut listener = Err(io::Error::new(io::ErrorKind::InvalidInput, "the name has no address"));
    for address in &addresses {
        listener = open(*address);
        if listener.is_ok() {
            break;
        }
    }
    listener.map_err(|error| explain_listen(&addresses, error))
}

/// Opens a listener as [`TcpListener::bind`] does, but with a longer queue.
fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // On Windows, this would let another program take the port.
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG.into())
}

/// Serves the connections of `listener` until the server is closed.
///
/// A server may be served on several listeners at once, by a call for each with a clone of the server; each of them returns
/// when the server is closed. A listener that another process has opened, such as systemd or an earlier process of a restart
/// without downtime, is a listener of the standard library first, for example from the crate `listenfd`: make it
/// nonblocking, and pass it to [`TcpListener::from_std`].
///
/// The listener's queue of connections that wait to be accepted must hold all clients that come back after a
/// restart: those that find it full try again only a second later. [`TcpListener::bind`] lets 128 of them wait,
/// [`TcpSocket::listen`] as many as it is told, and [`listen`] 4096. The system may allow fewer.
///
/// # Errors
/// If the listener cannot accept any more.
pub async fn serve<H: Host, L: Listener>(server: H, listener: L) -> io::Result<()> {
    serve_each(server, listener, |server, runtime, stream, address| {
        let connection = server.accept(runtime.now(), Peer { address, secure: false });
        Drive::new(Io(stream), connection, runtime)
    })
    .await
}

/// Serves on `address` behind a proxy that speaks the PROXY protocol, until the server is closed: see [`serve_proxied`].
///
/// # Errors
/// If the system does not allow listening on the address, which the error names, or the listener cannot accept any more.
pub async fn listen_proxied<H: Host>(server: H, address: impl ToSocketAddrs) -> io::Result<()> {
    serve_proxied(server, bind(address).await?).await
}

/// Serves the connections of a proxy that begins each of them with a header of the PROXY protocol, version 1 or 2, which
/// tells the address of the client: HAProxy with `send-proxy-v2`, nginx's `stream` module with `proxy_protocol on`, and load
/// balancers of cloud providers that pass on TCP. Returns when the server is closed.
///
/// Every connection must begin with a header, and is closed if none arrives within 10 s. Only the proxy may be able to reach
/// the listener, because everyone else could tell any address.
///
/// # Errors
/// If the listener cannot accept any more.
pub async fn serve_proxied<H: Host, L: Listener>(server: H, listener: L) -> io::Result<()> {
    serve_each(server, listener, |server, runtime, mut stream, address| async move {
        let Some(peer) = proxied(&server, &mut stream, address).await else { return };
        let connection = server.accept(runtime.now(), peer);
        let _ = Drive::new(Io(stream), connection, runtime).await;
    })
    .await
}

/// Reads the header of the PROXY protocol. Returns `None` if the connection is to be closed.
async fn proxied<H: Host>(
    server: &H,
    stream: &mut (impl AsyncRead + Unpin),
    address: Option<SocketAddr>,
) -> Option<Peer> {
    let peer = Peer { address, secure: false };
    let poll_read = |cx: &mut Context<'_>, buf: &mut [u8]| {
        let mut buf = ReadBuf::new(buf);
        Pin::new(&mut *stream).poll_read(cx, &mut buf).map_ok(|()| buf.filled().len())
    };
    let header = timeout(proxy_protocol::TIMEOUT, drive::read_proxy_header(peer, poll_read)).await;
    match header.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        // No task keeps the time of a server that was closed meanwhile.
        Ok(peer) => (!server.is_closed()).then_some(peer),
        Err(error) => {
            server.handle_refused(peer, &error);
            None
        }
    }
}

/// Serves `https` and `wss` on `address` until the server is closed.
///
/// # Errors
/// If the system does not allow listening on the address, which the error names, or the listener cannot accept any more.
#[cfg(feature = "tls")]
pub async fn listen_tls<H: Host>(server: H, address: impl ToSocketAddrs, tls: Tls) -> io::Result<()> {
    serve_tls(server, bind(address).await?, tls).await
}

/// Serves the connections of `listener` by `https` and `wss` until the server is closed.
///
/// # Errors
/// If the listener cannot accept any more.
#[cfg(feature = "tls")]
pub async fn serve_tls<H: Host, L: Listener>(server: H, listener: L, tls: Tls) -> io::Result<()> {
    let acceptor = TlsAcceptor::from(tls.config());
    serve_each(server, listener, |server, runtime, stream, address| {
        let handshake = timeout(tls.timeout(), acceptor.accept(stream));
        async move {
            let peer = Peer { address, secure: true };
            let Some(stream) = tls::accepted(&server, peer, handshake.await.ok()) else { return };
            let connection = server.accept(runtime.now(), peer);
            let _ = Drive::new(Io(stream), connection, runtime).await;
        }
    })
    .await
}

/// Serves `https` and `wss` over the connections of a proxy that passes on TLS, and begins each of them with a header of the
/// PROXY protocol: see [`serve_proxied`]. Returns when the server is closed.
///
/// # Errors
/// If the listener cannot accept any more.
#[cfg(feature = "tls")]
pub async fn serve_proxied_tls<H: Host, L: Listener>(server: H, listener: L, tls: Tls) -> io::Result<()> {
    let acceptor = TlsAcceptor::from(tls.config());
    serve_each(server, listener, |server, runtime, mut stream, address| {
        let (acceptor, limit) = (acceptor.clone(), tls.timeout());
        async move {
            let Some(peer) = proxied(&server, &mut stream, address).await else { return };
            // The handshake is larger than what follows, and the task would keep its size.
            let handshake = Box::pin(timeout(limit, acceptor.accept(stream)));
            let Some(stream) = tls::accepted(&server, peer, handshake.await.ok()) else { return };
            let connection = server.accept(runtime.now(), Peer { secure: true, ..peer });
            let _ = Drive::new(Io(stream), connection, runtime).await;
        }
    })
    .await
}

/// The runtime of a server, behind a thin pointer: a task with it is smaller.
type Shared = Arc<Arc<dyn Runtime>>;

/// Accepts connections, and spawns the future that `drive` returns for each.
async fn serve_each<H: Host, L: Listener, F: Future<Output: Send> + Send + 'static>(
    server: H,
    listener: L,
    drive: impl Fn(H, Shared, L::Stream, Option<SocketAddr>) -> F,
) -> io::Result<()> {
    let own = Arc::new(Tokio::new());
    let runtime = Arc::new(server.attach(own.clone()));
    // Connections are tasks of their own, and may outlive this future.
    let _time =
        drive::TimeGuard::new(&server, |host| own.spawn(Box::pin(keep_time(host, (*runtime).clone()))));
    let accept = |cx: &mut Context<'_>| {
        let (stream, address) = ready!(listener.poll_accept(cx))?;
        tokio::spawn(drive(server.clone(), runtime.clone(), stream, address));
        Poll::Ready(Ok(()))
    };
    let sleep = |until: Time| sleep(until.saturating_since(runtime.now()));
    drive::serve(&server, &*runtime, accept, sleep).await
}

/// Keeps the time of a server whose connections come from elsewhere, until `host` returns `None`.
///
/// `host` must not own the server: it is the weak handle that [`Host::claim_time`] returns, or a function of your own.
pub async fn keep_time<H: Host>(host: impl Fn() -> Option<H>, runtime: Arc<dyn Runtime>) {
    let sleep = |until: Time| sleep(until.saturating_since(runtime.now()));
    drive::keep_time(host, &*runtime, sleep).await;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn an_address_in_use_is_named() {
        let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let used = other.local_addr().unwrap();
        let error = bind(used).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().starts_with(&format!("{used}: ")), "{error}");
        let error = bind("localhost").await.unwrap_err();
        assert!(error.to_string().ends_with("such as 0.0.0.0:3000"), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn more_clients_than_usual_wait_to_be_accepted() {
        let allowed = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
        let count = allowed.trim().parse().unwrap_or(usize::MAX).min(300);
        let listener = bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // A connection that finds the queue full is refused silently, and never established as long as nobody accepts.
        let connect = |_| std::net::TcpStream::connect_timeout(&address, std::time::Duration::from_secs(10));
        let waiting: io::Result<Vec<_>> = (0..count).map(connect).collect();
        assert_eq!(waiting.unwrap().len(), count);
    }
}
