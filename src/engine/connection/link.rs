//! The use of a byte stream: the transport of a session, or something else.

use crate::engine::exchange::Exchange;
use crate::engine::session::{Delivery, Session};
use crate::engine::{Application, Batch};
use crate::inflated::Inflated;
use crate::log::{Entered, Span};
use sockeye_core::engineio::server::Ticket;
use sockeye_core::host::Peer;
use sockeye_core::websocket::{self, Opcode};
use sockeye_core::{Outbound, Time};
use std::net::SocketAddr;

/// The current use of the stream. Its size is part of every idle connection: `tests/idle_clients.rs`.
pub(super) enum Link<A: Application> {
    /// The session's transport.
    WebSocket {
        session: Session<A>,
        /// The number of bytes that `handle_data` left unused the last time, capped at `u32::MAX`.
        unread: u32,
        inflated: Inflated,
    },
    /// Everything else. Boxed, because most connections soon become the transport of a session for the rest of their time.
    Other(Box<Other<A>>),
}

/// The state of a connection that is not the transport of a session.
pub(super) struct Other<A: Application> {
    pub(super) stage: Stage<A>,
    pub(super) peer: Peer,
    /// The number of bytes that `handle_data` left unused the last time, capped at `u32::MAX`.
    pub(super) unread: u32,
    pub(super) inflated: Inflated,
    /// There is something to write before the server may end. The server counts such connections, and all transports.
    pub(super) busy: bool,
    /// The queue contains the response to a request that had to wait.
    pub(super) owes: bool,
    /// The connection's span of the log, until it is the transport of a session: then that has one.
    span: Span,
}

pub(super) enum Stage<A: Application> {
    /// The stream is not in use.
    None,
    /// A request waits for its response or its body.
    Exchange(Box<Exchange<A>>),
    /// The response to a poll is being written.
    Delivering(Delivery<A>),
    /// The connection of an upgrade in progress.
    Probe(Session<A>, Ticket),
    /// An upgrade whose client has already switched: nothing more is read until the session has, too.
    Upgrading(Session<A>, Ticket),
    /// A WebSocket connection that is refused.
    Refused,
}

impl<A: Application> Link<A> {
    pub(super) fn other(stage: Stage<A>, peer: Peer, busy: bool, span: Span) -> Link<A> {
        let (unread, inflated) = (0, Inflated::default());
        Link::Other(Box::new(Other { stage, peer, unread, inflated, busy, owes: false, span }))
    }

    /// Enters the span of the session, or that of the connection until there is one.
    #[inline]
    pub(super) fn enter(&self) -> Entered {
        match self {
            Link::WebSocket { session, .. } => session.span().enter(),
            Link::Other(other) => other.span.enter(),
        }
    }

    pub(super) fn unread(&self) -> u32 {
        match self {
            Link::WebSocket { unread, .. } => *unread,
            Link::Other(other) => other.unread,
        }
    }

    /// Notes that there are bytes to handle, of which those left over from the last turn are passed again: part of a message
    /// if the rest of one `is_awaited`. Returns what the application keeps for the messages.
    #[inline(always)]
    pub(super) fn begin_data(
        &self,
        clock: &dyn Fn() -> Time,
        len: usize,
        is_awaited: impl FnOnce() -> bool,
    ) -> Batch {
        let arrived = len.saturating_sub(self.unread() as usize);
        match self {
            Link::WebSocket { session, .. } if session.has_capacity() => {
                return session.begin_turn(clock, arrived, arrived == 0 && is_awaited());
            }
            _ => self.count_data(clock(), arrived),
        }
        Batch::default()
    }

    /// Notes that bytes have arrived, unless they begin a turn of the session.
    #[inline(never)]
    fn count_data(&self, now: Time, arrived: usize) {
        match self {
            // Only new bytes are a sign of life.
            Link::WebSocket { session, .. } if arrived > 0 => session.heard(now, arrived),
            Link::WebSocket { .. } => {}
            Link::Other(other) => match &other.stage {
                Stage::Probe(session, _) | Stage::Upgrading(session, _) => session.count_received(arrived),
                Stage::Exchange(exchange) => exchange.heard(now),
                Stage::None | Stage::Delivering(_) | Stage::Refused => {}
            },
        }
    }

    /// Answers a ping of the WebSocket connection.
    #[cold]
    pub(super) fn answer_ping(&self, out: &mut Outbound, data: &[u8]) {
        match self {
            Link::WebSocket { session, .. } => session.transmit_pong(out, data),
            Link::Other(_) => {
                out.write_with(|out| websocket::write_frame(out, Opcode::Pong, data, None));
            }
        }
    }

    pub(super) fn inflated(&mut self) -> &mut Inflated {
        match self {
            Link::WebSocket { inflated, .. } => inflated,
            Link::Other(other) => &mut other.inflated,
        }
    }

    /// Returns the state of a connection that is not the transport of a session.
    pub(super) fn get_other(&self) -> Option<&Other<A>> {
        match self {
            Link::WebSocket { .. } => None,
            Link::Other(other) => Some(other),
        }
    }

    /// Returns the connection's present request.
    pub(super) fn exchange(&mut self) -> Option<(&mut Exchange<A>, Option<SocketAddr>)> {
        match self {
            Link::Other(other) => match &mut other.stage {
                Stage::Exchange(exchange) => Some((exchange, other.peer.address)),
                _ => None,
            },
            Link::WebSocket { .. } => None,
        }
    }

    pub(super) fn set_stage(&mut self, stage: Stage<A>) {
        if let Link::Other(other) = self {
            other.stage = stage;
        }
    }
}
