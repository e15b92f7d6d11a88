//! What a runtime and a server or a client know of each other.

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
use std::string::String;

/// What a server or a client needs from whoever drives it.
pub trait Runtime: Send + Sync + 'static {
    /// The monotonic clock; all instants that the server is given come from it.
    fn now(&self) -> Time;

    /// Calls `f` where futures find the runtime; where that is any place, as by default, just calls it. For handlers
    /// that begin on a thread that may be none of the runtime's.
    fn enter(&self, f: &mut dyn FnMut()) {
        f();
    }

    /// Runs a future to its end. It was polled before: an event handler that waits for something.
    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>);
}

/// A server as a runtime sees it: it takes connections, and wants to be called when time has passed.
///
/// Handles are cheap to clone and stand for the same server.
pub trait Host: Clone + Send + Sync + 'static {
    /// The protocol of one accepted byte stream.
    type Connection: Protocol + Send + Unpin + 'static;

    /// Says who drives the server. Gives back the first that did: its clock is the server's.
    fn attach(&self, runtime: Arc<dyn Runtime>) -> Arc<dyn Runtime>;

    /// Takes a new byte stream.
    fn accept(&self, now: Time, peer: Peer) -> Self::Connection;

    /// When [`handle_timeout`](Host::handle_timeout) has something to do.
    fn next_deadline(&self) -> Option<Time>;

    /// Time passed. Does nothing before the deadline; afterwards the next deadline is later than `now`, or more is due
    /// than one turn's work: then it is not, and this is to be called again when others had their turn.
    fn handle_timeout(&self, now: Time);

    /// Also wakes `waker` when the next deadline moves closer or the server is closed: each listener has a driver, which
    /// calls this at every turn, or once if its waker stays the same.
    fn set_timer_waker(&self, waker: &Waker);

    /// Forgets a driver that ends, and wakes its waker a last time: another driver may share it, and sets it again.
    fn remove_timer_waker(&self, waker: &Waker) {
        let _ = waker;
    }

    /// Gets the server as long as it lives, for somebody who keeps its time after a listener has ended: connections
    /// live longer. `None` if somebody does already; by default there is nobody.
    fn keeper(&self) -> Option<Keeper<Self>> {
        None
    }

    /// Whether the server was closed, has no session left, and has written what it had to say.
    fn is_closed(&self) -> bool;
}

/// Gets a server that it does not own, until it is gone: for [`keep_time`](crate::drive::keep_time).
pub type Keeper<H> = Box<dyn Fn() -> Option<H> + Send + Sync>;

/// Who is at the other end of a byte stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// The address, if the stream has one.
    pub address: Option<SocketAddr>,
    /// Whether the stream is encrypted.
    pub secure: bool,
}

impl From<SocketAddr> for Peer {
    /// A peer whose stream is not encrypted.
    fn from(address: SocketAddr) -> Self {
        Peer { address: Some(address), secure: false }
    }
}

/// What a client needs from whoever drives it: streams to a server, and somebody who waits.
pub trait Connector: Runtime {
    /// Opens a stream to the [first hop](Destination::first_hop), by a [race](crate::drive::race) if that has several
    /// addresses, has the [proxy](crate::drive::open_tunnel) do the rest if there is one, and [drives](crate::drive)
    /// `protocol` over it; or tells it why there is none.
    fn connect(self: Arc<Self>, to: Destination, protocol: Box<dyn Outgoing>);

    /// Ends at `deadline`.
    fn sleep_until(&self, deadline: Time) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// The protocol of a stream that is yet to be opened.
pub trait Outgoing: Protocol + Send + Unpin {
    /// There will be no stream.
    fn handle_failed(&mut self, now: Time, error: &io::Error);
}

/// Where a client wants a stream to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Destination {
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// How long it may take to connect, proxy and encryption included.
    pub timeout: Duration,
    /// Whom to ask for the way to it, if it is not reached directly.
    pub proxy: Option<Proxy>,
    /// Whom to trust, if the stream is to be encrypted.
    #[cfg(feature = "tls")]
    pub tls: Option<crate::tls::ClientTls>,
}

impl Destination {
    /// A server by TCP, without a proxy and without encryption.
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

    /// Where the stream is to be opened to: a host and a port, the proxy's if there is one. Then
    /// [`open_tunnel`](crate::drive::open_tunnel) does the rest.
    pub fn first_hop(&self) -> (&str, u16) {
        self.proxy.as_ref().map_or((&self.host, self.port), |proxy| (&proxy.0.host, proxy.0.port))
    }

    /// Says of an error of the stream that it concerns the proxy, if there is one.
    pub fn explain(&self, error: io::Error) -> io::Error {
        match self.proxy {
            Some(_) => io::Error::new(error.kind(), format!("the proxy cannot be used: {error}")),
            None => error,
        }
    }

    /// Host and port of the server, as a proxy wants them: an IPv6 address stands in brackets.
    pub(crate) fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

/// A proxy that opens tunnels by `CONNECT` (RFC 9110, section 9.3.6): cheap to clone, and to be shared by many.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy(Arc<ProxyAddress>);

#[derive(PartialEq, Eq)]
struct ProxyAddress {
    host: Box<str>,
    port: u16,
    authorization: Option<Box<str>>,
}

impl Proxy {
    /// A proxy by TCP. `host` is a name or an address, without brackets; `authorization` is what it is shown as
    /// `Proxy-Authorization`, such as [`basic_authorization`](crate::http::basic_authorization) gives.
    pub fn new(host: &str, port: u16, authorization: Option<String>) -> Proxy {
        let authorization = authorization.map(String::into_boxed_str);
        Proxy(Arc::new(ProxyAddress { host: host.into(), port, authorization }))
    }

    /// What it is shown as `Proxy-Authorization`.
    pub fn authorization(&self) -> Option<&str> {
        self.0.authorization.as_deref()
    }
}

impl fmt::Debug for Proxy {
    /// Without what is secret.
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

    fn handle_data(&mut self, now: Time, input: &mut [u8]) -> usize {
        (**self).handle_data(now, input)
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
