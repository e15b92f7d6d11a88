//! Watches a server: every packet that arrives or is queued, and the lives of its sessions and sockets.
//!
//! An [`Observer`] is for metrics, traces of packets and tools for administrators. It is set by
//! [`ServerBuilder::observer`](crate::ServerBuilder::observer). The same events are logged if the feature `tracing` is on, with or
//! without an observer.
//!
//! ```
//! use sockeye::Server;
//! use sockeye::engine::Message;
//! use sockeye::observe::{Direction, Observer, Packet, PacketInfo};
//! use std::sync::atomic::{AtomicU64, Ordering};
//!
//! #[derive(Default)]
//! struct Traffic([AtomicU64; 2]);
//!
//! impl Observer for Traffic {
//!     fn packet(&self, direction: Direction, info: &PacketInfo<'_>) {
//!         if let Packet::Message(Message::Text(text)) = info.packet {
//!             self.0[direction as usize].fetch_add(text.len() as u64, Ordering::Relaxed);
//!         }
//!     }
//! }
//!
//! let io = Server::builder().observer(Traffic::default()).build();
//! ```

use crate::connection_error::ConnectionError;
use crate::error::DisconnectReason;
use crate::extract::ExtractError;
use crate::guard::guard;
use crate::handshake::Handshake;
use crate::log::{debug, error, warn};
pub use sockeye_core::engineio::Packet;
use sockeye_core::engineio::{CloseReason, Id, Message, Part, Transport, TransportError};
use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;

/// Watches a server: see the [module](self).
///
/// The methods are called in place, on the thread that caused the event: a driver of the server or a thread of the
/// application that sends. No lock is held meanwhile, so they may use the server. They must not block, because they
/// delay the connection or the sender. A panic ends the call, is logged, and has no other effect.
///
/// What one thread does is observed in that order. If several threads send to a session at the same time, their
/// packets may be observed in another order than they are sent.
pub trait Observer: Send + Sync + 'static {
    /// Called for each Engine.IO packet: for an incoming one before it is handled, for an outgoing one after it was
    /// queued, once for each recipient of a broadcast. A queued packet is not sent if its session ends before.
    ///
    /// The close frame of a WebSocket client is observed as [`Packet::Close`].
    fn packet(&self, direction: Direction, packet: &PacketInfo<'_>) {
        let _ = (direction, packet);
    }

    /// Called for each event. Of one session, [`SessionOpened`](Event::SessionOpened) is the first. Each
    /// [`SocketConnected`](Event::SocketConnected) is followed by one
    /// [`SocketDisconnected`](Event::SocketDisconnected).
    fn event(&self, event: &Event<'_>) {
        let _ = event;
    }
}

/// The direction of a packet, as the server sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the client.
    In,
    /// To the client.
    Out,
}

/// A packet that arrived or was queued.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PacketInfo<'a> {
    /// The session's id: a bearer secret, which must not be logged.
    pub session: Id,
    /// The transport of the session, or of the connection if an upgrade is being tried.
    pub transport: Transport,
    /// The packet.
    pub packet: &'a Packet<'a>,
}

/// An event in the life of a server.
///
/// The ids of sessions are bearer secrets, which must not be logged. The ids of sockets are public.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A request was refused.
    #[non_exhaustive]
    RequestRefused {
        /// The address of the peer, if it is known.
        peer: Option<SocketAddr>,
        /// The HTTP status of the response.
        status: u16,
        /// The cause in words.
        cause: fmt::Arguments<'a>,
        /// The request and the details, if the client was told a code of the protocol.
        error: Option<&'a ConnectionError<'a>>,
    },
    /// A session was opened.
    #[non_exhaustive]
    SessionOpened {
        /// The session's id.
        session: Id,
        /// The transport that it begins with.
        transport: Transport,
        /// The request that opened it.
        handshake: &'a Handshake,
    },
    /// A session moved from polling to WebSocket.
    #[non_exhaustive]
    SessionUpgraded {
        /// The session's id.
        session: Id,
    },
    /// A session ended. It follows the end of its sockets.
    #[non_exhaustive]
    SessionClosed {
        /// The session's id.
        session: Id,
        /// The request that opened it.
        handshake: &'a Handshake,
        /// The reason, which names a limit that was exceeded.
        reason: &'a CloseReason,
    },
    /// A client connected to a namespace. It precedes the calls of the connect handlers.
    #[non_exhaustive]
    SocketConnected {
        /// The name of the namespace.
        namespace: &'a str,
        /// The socket's id.
        socket: Id,
    },
    /// A client was refused by a namespace.
    #[non_exhaustive]
    ConnectRefused {
        /// The name of the namespace.
        namespace: &'a str,
        /// The message for the client.
        message: &'a str,
    },
    /// A socket was disconnected from its namespace. It precedes the calls of the disconnect handlers.
    #[non_exhaustive]
    SocketDisconnected {
        /// The name of the namespace.
        namespace: &'a str,
        /// The socket's id.
        socket: Id,
        /// The reason.
        reason: &'a DisconnectReason,
    },
    /// A handler was not called, or panicked.
    #[non_exhaustive]
    HandlerFailed {
        /// The name of the namespace.
        namespace: &'a str,
        /// The socket's id.
        socket: Id,
        /// The name of the event.
        event: &'a str,
        /// The cause.
        failure: HandlerFailure<'a>,
    },
}

/// The cause of a [`HandlerFailed`](Event::HandlerFailed).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum HandlerFailure<'a> {
    /// A parameter could not be extracted, so the handler was not called.
    NotCalled(&'a ExtractError),
    /// The handler panicked before its first wait.
    Panicked,
}

impl fmt::Display for HandlerFailure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HandlerFailure::NotCalled(error) => error.fmt(f),
            HandlerFailure::Panicked => f.write_str("a panic"),
        }
    }
}

/// Logs an event, and passes it to the observer. The caller must hold no lock.
pub(crate) fn tell(observer: Option<&dyn Observer>, event: &Event<'_>) {
    log(event);
    if let Some(observer) = observer {
        guard("an observer", || observer.event(event));
    }
}

/// Passes a packet to the observer. The caller must hold no lock.
pub(crate) fn show(
    observer: &dyn Observer,
    direction: Direction,
    session: Id,
    transport: Transport,
    packet: &Packet<'_>,
) {
    guard("an observer", || observer.packet(direction, &PacketInfo { session, transport, packet }));
}

/// Returns the packet that carries a message.
pub(crate) fn packet_of(part: Part<'_>) -> Packet<'_> {
    Packet::Message(match part {
        Part::Text(text) => Message::Text(std::str::from_utf8(text).unwrap_or_default()),
        Part::Binary(data) => Message::Binary(Cow::Borrowed(data)),
    })
}

/// Logs the failure of a handler that belongs to no server.
pub(crate) fn log_failure(event: &str, failure: HandlerFailure<'_>) {
    match failure {
        HandlerFailure::NotCalled(error) if error.is_ours() => {
            error!(event = ?event, %error, "a handler was not called");
        }
        HandlerFailure::NotCalled(error) => debug!(event = ?event, %error, "a handler was not called"),
        HandlerFailure::Panicked => error!(event = ?event, "a handler panicked"),
    }
}

/// Logs an event, but no session's id, which is a secret.
fn log(event: &Event<'_>) {
    match event {
        Event::RequestRefused { peer, status, cause, .. } => {
            debug!(peer = ?peer, status = %status, error = %cause, "a request is refused");
        }
        Event::SessionOpened { transport, handshake, .. } => {
            debug!(peer = ?handshake.address(), transport = ?transport, "a session is opened");
        }
        Event::SessionUpgraded { .. } => debug!("a session is upgraded"),
        Event::SessionClosed { handshake, reason, .. } => log_close(handshake.address(), reason),
        Event::SocketConnected { namespace, socket } => {
            debug!(namespace = ?namespace, socket = %socket, "a client is connected");
        }
        Event::ConnectRefused { namespace, message } => {
            debug!(namespace = ?namespace, message = ?message, "a client is refused");
        }
        Event::SocketDisconnected { namespace, socket, reason } => {
            debug!(namespace = ?namespace, socket = %socket, reason = %reason, "a client is disconnected");
        }
        Event::HandlerFailed { event, failure, .. } => log_failure(event, *failure),
    }
}

fn log_close(peer: Option<SocketAddr>, reason: &CloseReason) {
    match reason {
        CloseReason::TransportError(
            error @ (TransportError::SlowConsumer { .. }
            | TransportError::TooLarge { .. }
            | TransportError::TooSlow),
        ) => warn!(peer = ?peer, error = %error, "a session is closed because it exceeded a limit"),
        CloseReason::TransportError(error) => {
            debug!(peer = ?peer, reason = %reason, error = %error, "a session is closed");
        }
        CloseReason::ParseError(error) => {
            debug!(peer = ?peer, reason = %reason, error = %error, "a session is closed");
        }
        CloseReason::ForcedClose(Some(error)) => {
            debug!(peer = ?peer, reason = %reason, error = %error, "a session is closed");
        }
        _ => debug!(peer = ?peer, reason = %reason, "a session is closed"),
    }
}
