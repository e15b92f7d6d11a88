//! Watches a client.

use super::{Direction, Packet};
use crate::guard::guard;
use sockeye_core::engineio::client::{CloseReason, Note, TransportError};
use sockeye_core::engineio::{Message, Transport};
use std::borrow::Cow;

/// Watches a client: every packet that arrives or is queued, and the life of its connection. It is set by
/// [`ClientBuilder::observer`](crate::client::ClientBuilder::observer).
///
/// The methods are called in place, on the thread that caused the event: a task of the client, or a thread of the
/// application that sends. No lock is held meanwhile, so they may use the client. They must not block, because they delay
/// the connection or the sender. A panic ends the call, is logged, and has no other effect.
///
/// What one thread does is observed in that order. If several threads send at the same time, their packets may be observed
/// in another order than they are sent.
///
/// ```
/// use sockeye::Client;
/// use sockeye::observe::{ClientEvent, ClientObserver, ClientPacketInfo, Direction};
///
/// struct Trace;
///
/// impl ClientObserver for Trace {
///     fn packet(&self, direction: Direction, info: &ClientPacketInfo<'_>) {
///         println!("{direction:?} {} {:?}", info.transport, info.packet);
///     }
///
///     fn event(&self, event: &ClientEvent<'_>) {
///         println!("{event:?}");
///     }
/// }
///
/// # fn main() -> Result<(), sockeye::client::BuildError> {
/// let client = Client::builder("http://localhost:3000").observer(Trace).build()?;
/// # Ok(())
/// # }
/// ```
pub trait ClientObserver: Send + Sync + 'static {
    /// Called for each Engine.IO packet: for an incoming one before it is handled, for an outgoing one after it was
    /// queued. A queued packet is not sent if its connection ends before. Events that wait for a connection, or for the
    /// acknowledgement of an earlier one, are not queued yet.
    ///
    /// The close frame of a WebSocket connection is observed as [`Packet::Close`].
    fn packet(&self, direction: Direction, packet: &ClientPacketInfo<'_>) {
        let _ = (direction, packet);
    }

    /// Called for each event of the client's connection.
    fn event(&self, event: &ClientEvent<'_>) {
        let _ = event;
    }
}

/// A packet that arrived at a client, or was queued by it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientPacketInfo<'a> {
    /// The transport that brought it, or for which it was queued. What was queued for polling goes over WebSocket if the
    /// connection is upgraded first.
    pub transport: Transport,
    /// The packet. [`Packet::Open`] contains the session's id: a bearer secret, which must not be logged.
    pub packet: &'a Packet<'a>,
}

/// An event in the life of a client's connection.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ClientEvent<'a> {
    /// The client begins to open a connection: the first one, the next one after the last was lost, or one with the next
    /// transport.
    #[non_exhaustive]
    Opening {
        /// The transport that it begins with.
        transport: Transport,
    },
    /// The server has opened the connection. Namespaces are joined next.
    Opened,
    /// The connection moved from polling to WebSocket.
    Upgraded,
    /// The connection stays with polling, because WebSocket could not be opened or used.
    #[non_exhaustive]
    NotUpgraded {
        /// The reason.
        cause: &'a TransportError,
    },
    /// The connection was lost, and the session is going to be
    /// [resumed](crate::client::ClientBuilder::stateful_reconnect) with another one.
    #[non_exhaustive]
    Interrupted {
        /// The reason, with its cause.
        reason: &'a CloseReason,
    },
    /// The session was resumed with another connection: nothing was lost.
    Resumed,
    /// The connection ended, or could not be opened.
    #[non_exhaustive]
    Closed {
        /// The reason, with its cause.
        reason: &'a CloseReason,
    },
}

/// Passes a packet to the observer. The caller must hold no lock.
pub(crate) fn show_client(
    observer: &dyn ClientObserver,
    direction: Direction,
    transport: Transport,
    packet: &Packet<'_>,
) {
    guard("an observer", || observer.packet(direction, &ClientPacketInfo { transport, packet }));
}

/// Passes what a session did to the observer. The caller must hold no lock.
pub(crate) fn tell_client(observer: &dyn ClientObserver, notes: &[Note]) {
    for note in notes {
        let event = match note {
            Note::Text(transport, text) => {
                if let Ok(packet) = Packet::decode(text) {
                    show_client(observer, Direction::Out, *transport, &packet);
                }
                continue;
            }
            Note::Binary(transport, data) => {
                let packet = Packet::Message(Message::Binary(Cow::Borrowed(data)));
                show_client(observer, Direction::Out, *transport, &packet);
                continue;
            }
            Note::Opening(transport) => ClientEvent::Opening { transport: *transport },
            Note::Opened => ClientEvent::Opened,
            Note::Upgraded => ClientEvent::Upgraded,
            Note::NotUpgraded(cause) => ClientEvent::NotUpgraded { cause },
            Note::Interrupted(reason) => ClientEvent::Interrupted { reason },
            Note::Resumed => ClientEvent::Resumed,
            Note::Closed(reason) => ClientEvent::Closed { reason },
            _ => continue,
        };
        guard("an observer", || observer.event(&event));
    }
}
