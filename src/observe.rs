//! Watches a server or a client: every packet that arrives or is queued, and the lives of sessions and sockets.
//!
//! An [`Observer`] is for metrics, traces of packets and tools for administrators. It is set by
//! [`ServerBuilder::observer`](crate::ServerBuilder::observer). A client has a [`ClientObserver`].
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
//!
//! # The log
//!
//! If the feature `tracing` is on, each [`ServerEvent`] is one line of the log, with or without an observer:
//!
//! | event | message | level | fields beside `peer` |
//! |---|---|---|---|
//! | [`RequestRefused`](ServerEvent::RequestRefused) | a request is refused | `DEBUG` | `status`, `cause` |
//! | [`SessionOpened`](ServerEvent::SessionOpened) | a session is opened | `DEBUG` | `sid`, `transport` |
//! | [`SessionUpgraded`](ServerEvent::SessionUpgraded) | a session is upgraded | `DEBUG` | `sid` |
//! | [`SessionDetached`](ServerEvent::SessionDetached) | a session has lost its connection | `DEBUG` | `sid`, `reason`, `cause` |
//! | [`SessionResumed`](ServerEvent::SessionResumed) | a session is resumed | `DEBUG` | `sid`, `transport` |
//! | [`SocketConnected`](ServerEvent::SocketConnected) | a client is connected | `DEBUG` | `sid`, `namespace`, `socket` |
//! | [`ConnectRefused`](ServerEvent::ConnectRefused) | a client is refused | `DEBUG` | `sid`, `namespace`, `cause` |
//! | [`SocketDisconnected`](ServerEvent::SocketDisconnected) | a client is disconnected | `DEBUG` | `sid`, `namespace`, `socket`, `reason` |
//! | [`RecoveryExpired`](ServerEvent::RecoveryExpired) | a client has not come back | `DEBUG` | `namespace`, `socket`, without `peer` |
//! | [`SessionClosed`](ServerEvent::SessionClosed) | a session is closed | `DEBUG` | `sid`, `reason`, `cause`; with stateful reconnect `unacknowledged` |
//! | the same, by a slow consumer or another limit | a session is closed because it exceeded a limit | `WARN` | `sid`, `reason`, `cause` |
//! | [`EventRefused`](ServerEvent::EventRefused) | an event is refused | `DEBUG` | `sid`, `namespace`, `socket`, `event`, `cause` |
//! | [`AckIgnored`](ServerEvent::AckIgnored) | an acknowledgement is ignored | `DEBUG` | `sid`, `namespace`, `socket`, `id` |
//! | [`HandlerFailed`](ServerEvent::HandlerFailed) by the client's data | a handler was not called | `DEBUG` | `sid`, `namespace`, `socket`, `event`, `cause` |
//! | the same, by this program, such as a missing state | a handler was not called | `ERROR` | as above |
//! | the same, by an error that is not for the client, or an answer that cannot be sent | a handler failed, or its answer could not be sent | `WARN` | as above |
//! | the same, by another error, if no acknowledgement is wanted | a handler returned an error that the client did not ask for | `DEBUG` | as above |
//! | the same, by a panic | a handler panicked | `ERROR` | as above; `cause` is the message of the panic |
//! | the same, because there is no handler | an event without a handler | `DEBUG` | as above, without `cause` |
//! | the same, because the handler was registered after its event had arrived | a handler was registered too late | `WARN` | as above |
//! | [`ClusterChanged`](ServerEvent::ClusterChanged) by a server | a server has joined the cluster, or left it | `DEBUG` | `node` |
//! | the same, by a silent server | a server of the cluster is not heard any more | `WARN` | `node` |
//! | the same, by the bus | the bus is connected | `DEBUG` | – |
//! | the same | the bus is not connected | `WARN` | `cause` |
//! | the same | messages to other servers are dropped, because too much waits for the bus | `WARN` | `limit` |
//! | the same, by messages that cannot be read | messages of other servers are ignored | `WARN` | `count`, `cause` |
//!
//! `sid` is the first six characters of the session's id, because the whole id is a secret. A refused request that ends
//! its session is logged as the end of the session only. Further lines tell of an upgrade that failed (`DEBUG`), the
//! head of a request that took too long to arrive or cannot be read (`DEBUG`), a page that cannot read its session because
//! `cors` does not allow its origin (`DEBUG`), a socket that is in too many rooms (`WARN`), and a panic in other code of the
//! application (`ERROR`). A client that is disconnected because its credentials have expired has
//! that as the `cause`.
//!
//! The failures of a client's handlers are logged in the same way, with the server's name in place of the address; those of
//! the handlers of events from [other servers](crate::Namespace::on_server_side_event) without `socket` and `sid`.
//!
//! These lines, and those that the application writes in its handlers, before and after their first wait, are inside of
//! spans at level `INFO`: `connection` with the field `peer`, in it `session` with `sid`, and in that `handler` with
//! `event`, `namespace` and `socket`. In place of the last, a middleware that decides about clients is inside of
//! `admission` with `namespace` and `socket`.

mod client;
mod cluster;

pub use client::{ClientEvent, ClientObserver, ClientPacketInfo};
pub(crate) use client::{show_client, tell_client};
pub use cluster::ClusterEvent;

use crate::connection_error::ConnectionError;
use crate::error::{DisconnectReason, EmitError};
use crate::extract::ExtractError;
pub use crate::failed_event::FailedEvent;
use crate::guard::guard;
use crate::handshake::Handshake;
use crate::log::{self, debug, error, warn};
pub use sockeye_core::engineio::Packet;
use sockeye_core::engineio::{CloseReason, Id, Message, Part, Transport, TransportError};
use sockeye_core::socketio::EncodeError;
use sockeye_core::websocket;
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

    /// Called for each event. Of one session, [`SessionOpened`](ServerEvent::SessionOpened) is the first. Each
    /// [`SocketConnected`](ServerEvent::SocketConnected) is followed by one
    /// [`SocketDisconnected`](ServerEvent::SocketDisconnected).
    fn event(&self, event: &ServerEvent<'_>) {
        let _ = event;
    }
}

/// The direction of a packet, as the observed server or client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// It arrived.
    In,
    /// It was queued to be sent.
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
pub enum ServerEvent<'a> {
    /// A request was refused.
    #[non_exhaustive]
    RequestRefused {
        /// The session's id, if the request was for a session and that has ended, because of this request or before.
        session: Option<Id>,
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
        /// The request that opened the session.
        handshake: &'a Handshake,
    },
    /// With [stateful reconnect](crate::ServerBuilder::stateful_reconnect), a session lost its connection, and waits for the
    /// client to come back. [`SessionResumed`](ServerEvent::SessionResumed) or [`SessionClosed`](ServerEvent::SessionClosed)
    /// follows.
    #[non_exhaustive]
    SessionDetached {
        /// The session's id.
        session: Id,
        /// The request that opened the session.
        handshake: &'a Handshake,
        /// The reason of the loss, which is that of the session's end if the client does not come back.
        reason: &'a CloseReason,
    },
    /// A session that had lost its connection continues on another one.
    #[non_exhaustive]
    SessionResumed {
        /// The session's id.
        session: Id,
        /// The transport of the new connection.
        transport: Transport,
        /// The request that opened the session.
        handshake: &'a Handshake,
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
        /// With [stateful reconnect](crate::ServerBuilder::stateful_reconnect): the number of messages of the server that the
        /// client has not acknowledged. They have not arrived, or nobody knows. An event with attachments is several messages.
        unacknowledged: Option<u64>,
    },
    /// A client connected to a namespace. It precedes the calls of the connect handlers.
    #[non_exhaustive]
    SocketConnected {
        /// The session's id.
        session: Id,
        /// The request that opened the session.
        handshake: &'a Handshake,
        /// The name of the namespace.
        namespace: &'a str,
        /// The socket's id.
        socket: Id,
    },
    /// A client was refused by a namespace.
    #[non_exhaustive]
    ConnectRefused {
        /// The session's id.
        session: Id,
        /// The request that opened the session.
        handshake: &'a Handshake,
        /// The name of the namespace.
        namespace: &'a str,
        /// The message for the client.
        message: &'a str,
    },
    /// A socket was disconnected from its namespace. It precedes the calls of the disconnect handlers.
    #[non_exhaustive]
    SocketDisconnected {
        /// The session's id.
        session: Id,
        /// The request that opened the session.
        handshake: &'a Handshake,
        /// The name of the namespace.
        namespace: &'a str,
        /// The socket's id.
        socket: Id,
        /// The reason.
        reason: &'a DisconnectReason,
    },
    /// A socket is no longer kept for recovery: its client has not come back in time, or cannot be recovered any more. See
    /// [`Recovery::on_expired`](crate::Recovery::on_expired).
    #[non_exhaustive]
    RecoveryExpired {
        /// The name of the namespace.
        namespace: &'a str,
        /// The socket's id.
        socket: Id,
    },
    /// An event was refused by a packet middleware. It precedes the calls of the error handlers. The event
    /// [`auth:renew`](crate::AUTH_RENEW) stands for credentials that were not renewed, before their socket is disconnected.
    #[non_exhaustive]
    EventRefused {
        /// The session's id.
        session: Id,
        /// The request that opened the session.
        handshake: &'a Handshake,
        /// The name of the namespace.
        namespace: &'a str,
        /// The socket's id.
        socket: Id,
        /// The name of the event.
        event: &'a str,
        /// The message for the client.
        message: &'a str,
    },
    /// A client sent an acknowledgement that nobody waits for: it came after its timeout, or after the future that waited was
    /// dropped, or twice, or the server has not asked. It has no other effect.
    #[non_exhaustive]
    AckIgnored {
        /// The session's id.
        session: Id,
        /// The request that opened the session.
        handshake: &'a Handshake,
        /// The name of the namespace.
        namespace: &'a str,
        /// The socket's id.
        socket: Id,
        /// The id of the acknowledgement, which the client chooses.
        id: u64,
    },
    /// A handler was not called, failed or panicked, before or after its first wait; or a middleware was not called or
    /// panicked; or there is no handler. A middleware that decides about clients has the event `connect`.
    #[non_exhaustive]
    HandlerFailed {
        /// The session's id.
        session: Id,
        /// The request that opened the session.
        handshake: &'a Handshake,
        /// The name of the namespace.
        namespace: &'a str,
        /// The socket's id.
        socket: Id,
        /// The name of the event.
        event: &'a str,
        /// The cause.
        failure: HandlerFailure<'a>,
    },
    /// Something has changed in the [cluster](crate::cluster) of the server.
    #[non_exhaustive]
    ClusterChanged {
        /// The change.
        event: &'a ClusterEvent,
    },
}

/// The cause of a [`HandlerFailed`](ServerEvent::HandlerFailed).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum HandlerFailure<'a> {
    /// A parameter could not be extracted, so the handler was not called.
    NotCalled(&'a ExtractError),
    /// The handler returned an error that is not for the client: [`HandlerError`](crate::HandlerError), or another error of
    /// this library. Holds its text.
    Failed(&'a str),
    /// The handler returned an error of the application's own, and no acknowledgement is wanted, so that the client does
    /// not learn of it. Holds it as JSON.
    Unheard(&'a str),
    /// The return value could not be sent, because it is too large or cannot be serialized.
    NotSent(&'a EmitError),
    /// The handler panicked, with this message.
    Panicked(&'a str),
    /// There is no handler for the event.
    Unhandled,
    /// The first handler for an event was registered after the event had arrived. At a socket this is noticed while one of
    /// its handlers waits, usually that of [`on_connect`](crate::Namespace::on_connect), which registers the handler only
    /// after its first wait; at a namespace, always. The names of the last 8 events without a handler are noted, if they
    /// have at most 256 bytes.
    RegisteredLate,
}

impl<'a> HandlerFailure<'a> {
    /// Returns the failure of a handler that was called, by the error of its [return value](crate::handler::finish).
    pub(crate) fn of(error: &'a EmitError) -> HandlerFailure<'a> {
        match error {
            EmitError::Encode(EncodeError::Failed(text)) => HandlerFailure::Failed(text),
            EmitError::Encode(EncodeError::ErrValue(json)) => HandlerFailure::Unheard(json),
            error => HandlerFailure::NotSent(error),
        }
    }
}

impl fmt::Display for HandlerFailure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HandlerFailure::NotCalled(error) => error.fmt(f),
            HandlerFailure::Failed(text) | HandlerFailure::Unheard(text) => f.write_str(text),
            HandlerFailure::NotSent(error) => error.fmt(f),
            HandlerFailure::Panicked(message) => write!(f, "a panic: {message}"),
            HandlerFailure::Unhandled => f.write_str("there is no handler for it"),
            HandlerFailure::RegisteredLate => f.write_str(
                "the event had arrived before: register handlers at the namespace before the server listens, or at the socket before the first wait of on_connect",
            ),
        }
    }
}

/// Logs an event, and passes it to the observer. The caller must hold no lock.
pub(crate) fn tell(observer: Option<&dyn Observer>, event: &ServerEvent<'_>) {
    write_log(event);
    #[cfg(feature = "testing")]
    crate::staged::note(event);
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

/// Logs the failure of a handler, with the given fields.
macro_rules! log_failure {
    ($failure:expr, $($field:tt)*) => {
        match $failure {
            HandlerFailure::NotCalled(error) if error.is_ours() => {
                error!($($field)*, cause = %error, "a handler was not called");
            }
            HandlerFailure::NotCalled(error) => {
                debug!($($field)*, cause = %error, "a handler was not called");
            }
            HandlerFailure::Failed(text) => {
                warn!($($field)*, cause = %text, "a handler failed, or its answer could not be sent");
            }
            HandlerFailure::NotSent(error) => {
                warn!($($field)*, cause = %error, "a handler failed, or its answer could not be sent");
            }
            HandlerFailure::Unheard(json) => {
                debug!($($field)*, cause = %json, "a handler returned an error that the client did not ask for");
            }
            HandlerFailure::Panicked(message) => error!($($field)*, cause = %message, "a handler panicked"),
            HandlerFailure::Unhandled => debug!($($field)*, "an event without a handler"),
            HandlerFailure::RegisteredLate => {
                warn!($($field)*, cause = %$failure, "a handler was registered too late");
            }
        }
    };
}

/// Logs the failure of a client's handler.
pub(crate) fn log_client_failure(
    peer: &str,
    namespace: &str,
    socket: Option<&str>,
    event: &str,
    failure: HandlerFailure<'_>,
) {
    print_fault(namespace, event, &failure);
    let socket = socket.unwrap_or("none");
    log_failure!(failure, event = ?event, namespace = ?namespace, socket = %socket, peer = %peer);
}

/// Logs the failure of a handler for an event of another server.
pub(crate) fn log_server_side_failure(namespace: &str, event: &str, failure: HandlerFailure<'_>) {
    print_fault(namespace, event, &failure);
    let peer = "another server";
    log_failure!(failure, event = ?event, namespace = ?namespace, peer = %peer);
}

/// Logs the failure of a namespace's handler that concerns no socket.
pub(crate) fn log_namespace_failure(namespace: &str, event: &str, failure: HandlerFailure<'_>) {
    log_failure!(failure, event = ?event, namespace = ?namespace);
}

/// Prints a failure that is this program's fault, if there is no log to show it. A panic is printed by the hook of the
/// standard library.
fn print_fault(namespace: &str, event: &str, failure: &HandlerFailure<'_>) {
    if let HandlerFailure::NotCalled(error) = failure
        && let Some(missing) = error.missing()
    {
        log::print_once(
            missing,
            format_args!("a handler of {event:?} in {namespace:?} is not called: {error}"),
        );
    }
}

/// Logs an event. Of a session's id it logs the beginning only, because the whole is a secret.
fn write_log(event: &ServerEvent<'_>) {
    match event {
        // The end of the session is logged, with the cause.
        ServerEvent::RequestRefused { session: Some(_), .. } => {}
        ServerEvent::RequestRefused { session: None, peer, status, cause, .. } => {
            let peer = log::peer(*peer);
            debug!(peer = %peer, status = %status, cause = %cause, "a request is refused");
        }
        ServerEvent::SessionOpened { session, handshake, transport } => {
            let (sid, peer) = (log::sid(*session), log::peer(handshake.address()));
            debug!(sid = %sid, peer = %peer, transport = %transport, "a session is opened");
        }
        ServerEvent::SessionUpgraded { session, handshake } => {
            let (sid, peer) = (log::sid(*session), log::peer(handshake.address()));
            debug!(sid = %sid, peer = %peer, "a session is upgraded");
        }
        ServerEvent::SessionDetached { session, handshake, reason } => {
            let (sid, peer) = (log::sid(*session), log::peer(handshake.address()));
            let cause = Cause(reason);
            debug!(
                sid = %sid, peer = %peer, reason = %reason, cause = %cause, "a session has lost its connection"
            );
        }
        ServerEvent::SessionResumed { session, handshake, transport } => {
            let (sid, peer) = (log::sid(*session), log::peer(handshake.address()));
            debug!(sid = %sid, peer = %peer, transport = %transport, "a session is resumed");
        }
        ServerEvent::SessionClosed { session, handshake, reason, unacknowledged } => {
            let (sid, peer) = (log::sid(*session), log::peer(handshake.address()));
            write_end(sid, peer, reason, *unacknowledged);
        }
        ServerEvent::SocketConnected { session, handshake, namespace, socket } => {
            let (sid, peer) = (log::sid(*session), log::peer(handshake.address()));
            let socket = log::socket(*socket, *session);
            debug!(namespace = ?namespace, socket = %socket, sid = %sid, peer = %peer, "a client is connected");
        }
        ServerEvent::ConnectRefused { session, handshake, namespace, message } => {
            let (sid, peer) = (log::sid(*session), log::peer(handshake.address()));
            debug!(namespace = ?namespace, sid = %sid, peer = %peer, cause = ?message, "a client is refused");
        }
        ServerEvent::SocketDisconnected { session, handshake, namespace, socket, reason } => {
            let (sid, peer) = (log::sid(*session), log::peer(handshake.address()));
            write_disconnection(sid, peer, namespace, log::socket(*socket, *session), reason);
        }
        ServerEvent::RecoveryExpired { namespace, socket } => {
            debug!(namespace = ?namespace, socket = %socket, "a client has not come back");
        }
        ServerEvent::EventRefused { session, handshake, namespace, socket, event, message } => {
            let (sid, peer) = (log::sid(*session), log::peer(handshake.address()));
            let socket = log::socket(*socket, *session);
            debug!(
                event = ?event, namespace = ?namespace, socket = %socket, sid = %sid, peer = %peer, cause = ?message,
                "an event is refused"
            );
        }
        ServerEvent::AckIgnored { session, handshake, namespace, socket, id } => {
            let (sid, peer) = (log::sid(*session), log::peer(handshake.address()));
            let socket = log::socket(*socket, *session);
            debug!(
                namespace = ?namespace, socket = %socket, sid = %sid, peer = %peer, id = %id,
                "an acknowledgement is ignored"
            );
        }
        ServerEvent::ClusterChanged { event } => write_cluster_log(event),
        ServerEvent::HandlerFailed { session, handshake, namespace, socket, event, failure } => {
            print_fault(namespace, event, failure);
            let (sid, peer) = (log::sid(*session), log::peer(handshake.address()));
            let socket = log::socket(*socket, *session);
            log_failure!(failure, event = ?event, namespace = ?namespace, socket = %socket, sid = %sid, peer = %peer);
        }
    }
}

/// Logs that a socket was disconnected.
fn write_disconnection(
    sid: impl fmt::Display,
    peer: impl fmt::Display,
    namespace: &str,
    socket: impl fmt::Display,
    reason: &DisconnectReason,
) {
    // The reason is that of the protocol, which does not tell this one from others.
    if *reason == DisconnectReason::AuthExpired {
        let cause = "the credentials have expired";
        debug!(
            namespace = ?namespace, socket = %socket, sid = %sid, peer = %peer, reason = %reason,
            cause = ?cause, "a client is disconnected"
        );
        return;
    }
    debug!(
        namespace = ?namespace, socket = %socket, sid = %sid, peer = %peer, reason = %reason,
        "a client is disconnected"
    );
}

/// Logs the end of a session.
fn write_end(
    sid: impl fmt::Display,
    peer: impl fmt::Display,
    reason: &CloseReason,
    unacknowledged: Option<u64>,
) {
    let cause = Cause(reason);
    match unacknowledged {
        _ if is_limit(reason) => warn!(
            sid = %sid, peer = %peer, reason = %reason, cause = %cause,
            "a session is closed because it exceeded a limit"
        ),
        Some(unacknowledged) => debug!(
            sid = %sid, peer = %peer, reason = %reason, cause = %cause, unacknowledged = %unacknowledged,
            "a session is closed"
        ),
        None => debug!(sid = %sid, peer = %peer, reason = %reason, cause = %cause, "a session is closed"),
    }
}

/// Logs a change in the cluster.
fn write_cluster_log(event: &ClusterEvent) {
    match event {
        ClusterEvent::NodeJoined { node } => debug!(node = %node, "a server has joined the cluster"),
        ClusterEvent::NodeLeft { node } => debug!(node = %node, "a server has left the cluster"),
        ClusterEvent::NodeLost { node } => {
            warn!(node = %node, "a server of the cluster is not heard any more")
        }
        ClusterEvent::BusConnected => debug!("the bus is connected"),
        ClusterEvent::BusDisconnected { cause } => warn!(cause = %cause, "the bus is not connected"),
        ClusterEvent::BusOverflowed { limit } => {
            warn!(limit = %limit, "messages to other servers are dropped, because too much waits for the bus");
        }
        ClusterEvent::MessageIgnored { cause, count } => {
            warn!(count = %count, cause = %cause, "messages of other servers are ignored");
        }
    }
}

/// Returns whether the session ended because of a limit in size or time, which may be set too low.
fn is_limit(reason: &CloseReason) -> bool {
    matches!(
        reason,
        CloseReason::TransportError(
            TransportError::SlowConsumer { .. }
                | TransportError::TooLarge { .. }
                | TransportError::TooSlow
                | TransportError::TooManyMessages { .. }
                | TransportError::TooManyBytes { .. }
                | TransportError::WebSocket(websocket::Error::TooLarge { .. })
        )
    )
}

/// Displays the cause of a close: the error behind its reason, or the reason if there is none.
pub(crate) struct Cause<'a>(pub(crate) &'a CloseReason);

impl fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            CloseReason::TransportError(error) => error.fmt(f),
            CloseReason::ParseError(error) => error.fmt(f),
            CloseReason::ForcedClose(Some(cause)) => f.write_str(cause),
            reason => reason.fmt(f),
        }
    }
}
