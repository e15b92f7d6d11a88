//! The traits by which a runtime and a server or a client know each other.

use crate::outbound::Outbound;
use crate::protocol::{Protocol, StreamStatus};
use crate::time::Time;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;
use core::future::Future;
use core::net::SocketAddr;
use core::pin::Pin;
use core::task::Waker;
use core::time::Duration;
use std::io;
use std::string::{String, ToString};
use std::vec::Vec;

/// The clock and the tasks that a server or a client needs from its driver.
///
/// ```
/// use sockeye_core::Time;
/// use sockeye_core::host::Runtime;
/// use std::pin::Pin;
/// use std::sync::{Mutex, PoisonError};
/// use std::time::Instant;
///
/// type Task = Pin<Box<dyn Future<Output = ()> + Send>>;
///
/// /// An event loop that polls its tasks itself.
/// struct EventLoop {
///     origin: Instant,
///     spawned: Mutex<Vec<Task>>,
/// }
///
/// impl Runtime for EventLoop {
///     fn now(&self) -> Time {
///         Time::from_origin(self.origin.elapsed())
///     }
///
///     fn spawn(&self, task: Task) {
///         // Called on any thread. If the loop sleeps, wake it here.
///         self.spawned.lock().unwrap_or_else(PoisonError::into_inner).push(task);
///     }
/// }
/// ```
pub trait Runtime: Send + Sync + 'static {
    /// Returns the time by a monotonic clock. All instants that the server is given come from it.
    fn now(&self) -> Time;

    /// Calls `f` in the context of the runtime, so that futures can be created in it on any thread. It is used for handlers
    /// that start on a thread outside of the runtime. Default: only calls `f`, for runtimes without such a context.
    fn enter(&self, f: &mut dyn FnMut()) {
        f();
    }

    /// Spawns a future: an event handler that is still pending after its first poll, or the waking of the recipients of a
    /// broadcast to more than 64 sockets. Poll it after the tasks that are ready by then, so that it does not delay them.
    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>);

    /// Wakes a spawned task, from within its poll, after the other tasks that are ready and after the next look at the
    /// sockets. A task with much to do, such as waking the recipients of a broadcast, calls this after each piece. Default:
    /// wakes it at once, for runtimes that poll all tasks in the order in which they were woken.
    fn wake_later(&self, waker: &Waker) {
        waker.wake_by_ref();
    }

    /// Returns the number of threads that poll tasks. The recipients of a large broadcast are woken by as many tasks, if
    /// other threads take them. Default: 1.
    fn workers(&self) -> usize {
        1
    }
}

impl<R: Runtime + ?Sized> Runtime for Arc<R> {
    fn now(&self) -> Time {
        (**self).now()
    }

    fn enter(&self, f: &mut dyn FnMut()) {
        (**self).enter(f);
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        (**self).spawn(future);
    }

    fn wake_later(&self, waker: &Waker) {
        (**self).wake_later(waker);
    }

    fn workers(&self) -> usize {
        (**self).workers()
    }
}

/// A server as a runtime sees it: it accepts connections, and is called at its deadlines.
///
/// Handles are cheap to clone, and clones stand for the same server. [`serve`](crate::drive::serve) runs one as a future. In
/// an event loop of your own, [`attach`](Host::attach) your [`Runtime`] first; then, in each turn:
///
/// ```
/// use sockeye_core::Time;
/// use sockeye_core::host::{Host, Peer};
/// use std::net::TcpListener;
/// use std::time::Duration;
///
/// /// Returns the connection of a new client, if there is one, and how long the loop may sleep.
/// fn turn<H: Host>(server: &H, now: Time, listener: &TcpListener) -> (Option<H::Connection>, Option<Duration>) {
///     server.handle_timeout(now);
///     // Keep the stream beside its connection: `pump` moves the bytes between the two.
///     let accepted = listener.accept().ok().map(|(_stream, address)| server.accept(now, Peer::from(address)));
///     (accepted, server.next_deadline().map(|deadline| deadline.saturating_since(now)))
/// }
/// ```
pub trait Host: Clone + Send + Sync + 'static {
    /// The protocol of one accepted byte stream.
    type Connection: Protocol + Send + Unpin + 'static;

    /// Attaches a runtime. Returns the first runtime attached; its clock drives the server.
    fn attach(&self, runtime: Arc<dyn Runtime>) -> Arc<dyn Runtime>;

    /// Accepts a byte stream. Returns its protocol, for the caller to drive.
    fn accept(&self, now: Time, peer: Peer) -> Self::Connection;

    /// Notes that a byte stream cannot be accepted: because its TLS handshake failed, if `peer` is secure, or because it does
    /// not begin with the header of the [PROXY protocol](crate::proxy_protocol). Default: does nothing.
    fn handle_refused(&self, peer: Peer, error: &io::Error) {
        let _ = (peer, error);
    }

    /// Returns the deadline at which to call [`handle_timeout`](Host::handle_timeout).
    fn next_deadline(&self) -> Option<Time>;

    /// Handles the deadlines that have passed. Does nothing before the next deadline.
    ///
    /// The work of one call is limited: if the next deadline is then still not later than `now`, call this again after
    /// connections had a turn.
    fn handle_timeout(&self, now: Time);

    /// Adds a waker that is called when the next deadline moves closer or the server is closed.
    ///
    /// Each listener has a driver that keeps the time. It calls this in every turn, or once if its waker stays the same.
    fn set_timer_waker(&self, waker: &Waker);

    /// Removes the waker of a driver that ends, and calls it a last time: another driver in the same task may share it, and
    /// adds it again. Default: does nothing.
    fn remove_timer_waker(&self, waker: &Waker) {
        let _ = waker;
    }

    /// Claims the right to keep the server's time after a listener has ended, because connections outlive the listener.
    /// Returns a weak handle, which gives the right up when it is dropped, or `None` if another one exists. Default: `None`.
    fn claim_time(&self) -> Option<WeakHost<Self>> {
        None
    }

    /// Returns whether the server was closed, has no session left, and has written everything.
    fn is_closed(&self) -> bool;
}

/// A weak handle to a server, for [`keep_time`](crate::drive::keep_time): returns the server, or `None` once it is gone.
pub type WeakHost<H> = Box<dyn Fn() -> Option<H> + Send + Sync>;

/// The peer at the other end of a byte stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// The address, if the stream has one.
    pub address: Option<SocketAddr>,
    /// True if the stream is encrypted.
    pub secure: bool,
}

impl From<SocketAddr> for Peer {
    /// Creates a peer whose stream is not encrypted.
    fn from(address: SocketAddr) -> Self {
        Peer { address: Some(address), secure: false }
    }
}

/// Number of connections that may wait to be accepted by a listener that a runtime opens: when a server restarts, all its
/// clients come back at once. The system may allow fewer, on Linux `net.core.somaxconn`.
pub const BACKLOG: u16 = 4096;

/// Returns the error of a runtime that cannot listen, with the addresses in front and advice behind. Its kind stays.
pub fn explain_listen(addresses: &[SocketAddr], error: io::Error) -> io::Error {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => ": is another server running, or this one twice?",
        io::ErrorKind::AddrNotAvailable => {
            ": it is no address of this machine; 0.0.0.0 stands for all of them"
        }
        io::ErrorKind::PermissionDenied => ": ports below 1024 are often reserved for administrators",
        io::ErrorKind::InvalidInput => ": an address is a host and a port, such as 0.0.0.0:3000",
        _ => "",
    };
    let mut text = String::new();
    for address in addresses {
        text.push_str(if text.is_empty() { "" } else { ", " });
        text.push_str(&address.to_string());
    }
    text.push_str(if text.is_empty() { "cannot listen: " } else { ": " });
    io::Error::new(error.kind(), format!("{text}{error}{advice}"))
}

/// The streams and timers that a client needs from its driver.
pub trait Connector: Runtime {
    /// Opens a stream, and [drives](crate::drive) `protocol` over it. If that fails, calls
    /// [`handle_failed`](Outgoing::handle_failed).
    ///
    /// The stream leads to the [first hop](Destination::first_hop), whose addresses are tried by a
    /// [race](crate::drive::race). If that is a proxy, [`open_tunnel`](crate::drive::open_tunnel) opens the rest of the way.
    fn connect(self: Arc<Self>, to: Destination, protocol: Box<dyn Outgoing>);

    /// Returns a future that completes at `deadline`.
    fn sleep_until(&self, deadline: Time) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// The protocol of a stream that has yet to be opened.
pub trait Outgoing: Protocol + Send + Unpin {
    /// Handles the error of a stream that could not be opened.
    fn handle_failed(&mut self, now: Time, error: &io::Error);
}

/// The server that a client wants a stream to, and the way there.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Destination {
    /// The name or address of the server; an IPv6 address is without brackets.
    pub host: String,
    /// The port of the server.
    pub port: u16,
    /// The timeout for connecting, including the proxy and the TLS handshake.
    pub timeout: Duration,
    /// The proxy, if the server is not reached directly.
    pub proxy: Option<Proxy>,
    /// The TLS settings, if the stream is to be encrypted.
    #[cfg(feature = "tls")]
    pub tls: Option<crate::tls::ClientTls>,
}

impl Destination {
    /// Creates a destination that is reached by TCP, without a proxy and without encryption.
    pub fn new(host: impl Into<String>, port: u16, timeout: Duration) -> Destination {
        Destination {
            host: host.into(),
            port,
            timeout,
            proxy: None,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Returns the host and port to connect to: those of the proxy if there is one, otherwise those of the server.
    pub fn first_hop(&self) -> (&str, u16) {
        self.proxy.as_ref().map_or((&self.host, self.port), |proxy| (&proxy.0.host, proxy.0.port))
    }

    /// Adds to an error of the first hop that it concerns the proxy, if there is one; otherwise the server's name, unless the
    /// error begins with the address that was tried.
    pub fn explain(&self, error: io::Error) -> io::Error {
        let text = error.to_string();
        if self.proxy.is_some() {
            return io::Error::new(error.kind(), format!("the proxy cannot be used: {text}"));
        }
        let names_address =
            text.split_once(": ").is_some_and(|(address, _)| address.parse::<SocketAddr>().is_ok());
        let name = if names_address { String::new() } else { format!("{}: ", self.authority()) };
        let advice = match error.kind() {
            io::ErrorKind::ConnectionRefused => ": is the server running?",
            _ => "",
        };
        io::Error::new(error.kind(), format!("{name}{text}{advice}"))
    }

    /// Returns the server's host and port for a proxy: an IPv6 address is in brackets.
    pub(crate) fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

/// A proxy that opens tunnels by `CONNECT` (RFC 9110, section 9.3.6). Cheap to clone, so that many clients can share it.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy(Arc<ProxyAddress>);

#[derive(PartialEq, Eq)]
struct ProxyAddress {
    host: Box<str>,
    port: u16,
    authorization: Option<Box<str>>,
}

impl Proxy {
    /// Creates a proxy that is reached by TCP. `host` is a name or an address, without brackets. `authorization` is the
    /// value of `Proxy-Authorization`, such as [`basic_authorization`](crate::http::basic_authorization) returns.
    pub fn new(host: &str, port: u16, authorization: Option<String>) -> Proxy {
        let authorization = authorization.map(String::into_boxed_str);
        Proxy(Arc::new(ProxyAddress { host: host.into(), port, authorization }))
    }

    /// Returns the value of `Proxy-Authorization`, if the proxy requires one.
    pub fn authorization(&self) -> Option<&str> {
        self.0.authorization.as_deref()
    }
}

impl fmt::Debug for Proxy {
    /// Omits the authorization, which is secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("host", &self.0.host)
            .field("port", &self.0.port)
            .finish_non_exhaustive()
    }
}

impl Protocol for Box<dyn Outgoing> {
    fn set_waker(&mut self, waker: &Waker) {
        (**self).set_waker(waker);
    }

    fn handle_wake(&mut self, now: Time) {
        (**self).handle_wake(now);
    }

    fn wants_wake(&self) -> bool {
        (**self).wants_wake()
    }

    fn handle_data(&mut self, now: Time, input: &mut [u8]) -> usize {
        (**self).handle_data(now, input)
    }

    fn handle_data_with(&mut self, clock: &dyn Fn() -> Time, input: &mut [u8]) -> usize {
        (**self).handle_data_with(clock, input)
    }

    fn handle_eof(&mut self, now: Time) {
        (**self).handle_eof(now);
    }

    fn lend_buffer(&mut self) -> Box<[u8]> {
        (**self).lend_buffer()
    }

    fn reclaim_buffer(&mut self, buffer: Box<[u8]>) {
        (**self).reclaim_buffer(buffer);
    }

    fn lend_partial(&mut self, needed: usize) -> Vec<u8> {
        (**self).lend_partial(needed)
    }

    fn reclaim_partial(&mut self, buffer: Vec<u8>) {
        (**self).reclaim_partial(buffer);
    }

    fn wants_read(&self) -> bool {
        (**self).wants_read()
    }

    fn poll_transmit(&mut self) -> Option<&mut Outbound> {
        (**self).poll_transmit()
    }

    fn status(&self) -> StreamStatus {
        (**self).status()
    }

    fn handle_half_closed(&mut self, now: Time) {
        (**self).handle_half_closed(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_connection_asks_if_the_server_is_running() {
        let refused = || io::Error::new(io::ErrorKind::ConnectionRefused, "127.0.0.1:3000: refused");
        let error = Destination::new("localhost", 3000, Duration::ZERO).explain(refused());
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(error.to_string(), "127.0.0.1:3000: refused: is the server running?");
        let unknown =
            Destination::new("nowhere", 80, Duration::ZERO).explain(io::Error::other("no such name"));
        assert_eq!(unknown.to_string(), "nowhere:80: no such name");
    }

    #[test]
    fn an_address_that_cannot_be_listened_on_is_named() {
        let addresses = ["127.0.0.1:3000".parse().unwrap(), "[::1]:3000".parse().unwrap()];
        let used = explain_listen(&addresses, io::Error::new(io::ErrorKind::AddrInUse, "in use"));
        assert_eq!(used.kind(), io::ErrorKind::AddrInUse);
        let expected = "127.0.0.1:3000, [::1]:3000: in use: is another server running, or this one twice?";
        assert_eq!(used.to_string(), expected);
        let bad = explain_listen(&[], io::Error::new(io::ErrorKind::InvalidInput, "invalid socket address"));
        assert!(bad.to_string().ends_with("an address is a host and a port, such as 0.0.0.0:3000"), "{bad}");
    }
}
