//! One byte stream of an Engine.IO server: assigns its requests and frames to sessions.

mod link;
mod requests;
#[cfg(test)]
mod tests;

use super::exchange::{Caller, Carries, Step};
use super::server::ServerInner;
use super::session::Session;
use super::timers::{Key, Notify};
use super::{Application, Batch, CloseReason, Transport, TransportError};
use crate::guard::guard;
use crate::inflated::Inflated;
use crate::log::{self, Span, debug};
use crate::observe::{Cause, Direction, ServerEvent};
use crate::pool;
use link::{Link, Stage};
use sockeye_core::connection::{self as stream, Expired, Phase};
use sockeye_core::engineio::{
    Packet,
    server::{Probing, Ticket, WhenFull},
};
use sockeye_core::hint::cold_path;
use sockeye_core::host::Peer;
use sockeye_core::protocol::{Protocol, StreamStatus};
use sockeye_core::websocket;
#[cfg(feature = "http")]
use sockeye_core::websocket::Deflate;
use sockeye_core::{Outbound, Time};
use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Waker;

/// One byte stream that a [`Server`](super::Server) accepted.
pub struct Connection<A: Application> {
    stream: stream::Connection<Limits<A>>,
    link: Link<A>,
    waker: Option<Waker>,
    timer: Option<Key>,
}

/// The server of a connection, as the owner of its limits: one pointer instead of two.
struct Limits<A: Application>(Arc<ServerInner<A>>);

impl<A: Application> AsRef<stream::Config> for Limits<A> {
    fn as_ref(&self) -> &stream::Config {
        &self.0.limits
    }
}

/// The maximum number of bytes that are read ahead behind a request that is being answered, or while handlers
/// are behind.
const MAX_UNREAD: u32 = 16 << 10;
/// The number of written bytes after which the session is told that there is capacity again.
const TELL: usize = 64 << 10;

impl<A: Application> Connection<A> {
    pub(super) fn new(now: Time, server: Arc<ServerInner<A>>, peer: Peer) -> Self {
        Connection::over(stream::Connection::new(now, Limits(server)), peer)
    }

    /// Creates the connection for a stream on which another HTTP server has already answered the WebSocket
    /// handshake.
    #[cfg(feature = "http")]
    pub(crate) fn upgraded(
        now: Time,
        server: Arc<ServerInner<A>>,
        peer: Peer,
        deflate: Option<Deflate>,
        carries: Carries<A>,
    ) -> Self {
        let mut stream = stream::Connection::websocket(Limits(server));
        if let Some(deflate) = deflate {
            stream.set_deflate(deflate);
        }
        let mut connection = Connection::over(stream, peer);
        // Busy before its first turn already, because the session may have something to write by then.
        connection.set_busy(true);
        connection.carry(now, carries);
        connection
    }

    fn over(stream: stream::Connection<Limits<A>>, peer: Peer) -> Self {
        let link = Link::other(Stage::None, peer, false, log::connection(peer.address));
        Connection { stream, link, waker: None, timer: None }
    }

    fn server(&self) -> &Arc<ServerInner<A>> {
        &self.stream.config().0
    }

    fn carry(&mut self, now: Time, carries: Carries<A>) {
        match carries {
            Carries::Session(session) => self.become_transport(session),
            Carries::Probe(session, ticket) => self.link.set_stage(Stage::Probe(session, ticket)),
            Carries::Nothing => {
                self.link.set_stage(Stage::Refused);
                self.stream.close(now, None, "");
            }
        }
    }

    fn become_transport(&mut self, session: Session<A>) {
        // A transport is always busy.
        self.set_busy(true);
        let (unread, inflated) = (self.link.unread(), std::mem::take(self.link.inflated()));
        self.link = Link::WebSocket { session, unread, inflated };
    }

    // WebSocket.

    /// Moves the frames of the session to the stream's queue.
    #[inline]
    fn transmit(&mut self) {
        if let Link::WebSocket { session, .. } = &self.link {
            session.transmit(self.stream.outbound());
        }
    }

    fn handle_message(
        &mut self,
        clock: &dyn Fn() -> Time,
        message: websocket::Message<'_>,
        batch: &mut Batch,
    ) {
        let version = match &self.link {
            Link::WebSocket { session, .. } => session.version(),
            Link::Other(other) => match &other.stage {
                Stage::Probe(session, _) => session.version(),
                _ => return,
            },
        };
        let packet = match &message {
            websocket::Message::Text(text) => version.decode_text(text),
            websocket::Message::Binary(data) => version.decode_binary(data),
            websocket::Message::Close(_) => Ok(Packet::Close),
            websocket::Message::Ping(_) | websocket::Message::Pong(_) => return,
        };
        match (&self.link, packet) {
            (Link::WebSocket { session, .. }, Ok(packet)) => {
                self.server().handle_packet(clock, session, packet, batch);
            }
            (Link::WebSocket { session, .. }, Err(error)) => {
                cold_path();
                let now = clock();
                session.with(|engine, _| engine.close(now, CloseReason::ParseError(error)));
            }
            (Link::Other(other), Ok(packet)) => {
                let Stage::Probe(session, ticket) = &other.stage else { return };
                let (session, ticket) = (session.clone(), *ticket);
                self.server().show(Direction::In, &session, Transport::WebSocket, &packet);
                self.handle_probe(clock(), session, ticket, &packet);
            }
            (Link::Other(_), Err(_)) => self.give_up_probe(clock()),
        }
    }

    #[cold]
    fn handle_probe(&mut self, now: Time, session: Session<A>, ticket: Ticket, packet: &Packet<'_>) {
        match session.with(|engine, _| engine.handle_probe(now, ticket, packet)) {
            // A pending poll was released, and woken, so that the client can stop polling.
            Probing::Answer => {
                self.stream.send_text(b"3probe");
                self.server().show(Direction::Out, &session, Transport::WebSocket, &Packet::Pong("probe"));
            }
            Probing::Wait => {
                self.link.set_stage(Stage::Upgrading(session.clone(), ticket));
                // Set again, because the waker may have been taken already. If the upgrade is due by now,
                // this wakes.
                session.set_probe_waker(ticket, self.waker.as_ref());
            }
            Probing::Complete => {
                let _inside = session.span().enter();
                let handshake = session.handshake();
                self.server().tell(&ServerEvent::SessionUpgraded { session: session.id(), handshake });
                session.wake();
                session.set_waker(self.waker.as_ref());
                // It may have been silent for long, and the frames that follow may already be here.
                drop(session.begin_turn(&|| now, 0, false));
                self.become_transport(session.clone());
                if !session.is_closed() {
                    guard("on_upgrade", || self.server().application.on_upgrade(&session));
                }
            }
            Probing::Close => self.give_up_probe(now),
        }
    }

    #[cold]
    fn give_up_probe(&mut self, now: Time) {
        if let Link::Other(other) = &mut self.link
            && let Stage::Probe(session, ticket) | Stage::Upgrading(session, ticket) =
                std::mem::replace(&mut other.stage, Stage::Refused)
        {
            session.with(|engine, _| engine.abort_upgrade(ticket));
            // The client may have moved here already, and would take a close frame for the end of the session.
            if session.is_resumable() {
                return self.stream.abort();
            }
        }
        self.stream.close(now, None, "");
    }

    /// Closes the stream of a session that has ended.
    #[cold]
    fn close_stream(&mut self, now: Time, reason: Option<CloseReason>) {
        let (code, text) = match &reason {
            Some(CloseReason::ServerShutdown) => (Some(1001), Cow::Borrowed("server shutting down")),
            Some(CloseReason::ParseError(error)) => (Some(1002), error.to_string().into()),
            Some(CloseReason::ForcedClose(Some(text))) => (Some(1002), text.as_str().into()),
            Some(CloseReason::TransportError(error)) => (Some(1008), error.to_string().into()),
            // As in the reference: without a code.
            _ => (None, Cow::Borrowed("")),
        };
        self.leave_session(Stage::Refused);
        self.stream.close(now, code, &text);
    }

    /// Takes the session, which has ended or lost its transport, from the connection.
    #[cold]
    fn leave_session(&mut self, stage: Stage<A>) -> Link<A> {
        let mut link = Link::other(stage, Peer::default(), true, Span::none());
        if let Link::Other(other) = &mut link {
            other.unread = self.link.unread();
        }
        std::mem::replace(&mut self.link, link)
    }

    // The end, and time.

    /// Handles changes of the session since the last turn.
    #[inline(always)]
    fn follow_session(&mut self, now: Time) {
        // Nothing has changed in most turns: `benches/count broadcast`.
        if !matches!(&self.link, Link::WebSocket { session, .. } if session.is_steady()) {
            self.follow_change(now);
        }
    }

    fn follow_change(&mut self, now: Time) {
        let other = match &mut self.link {
            Link::WebSocket { session, .. } => {
                if session.is_closed() {
                    let session = session.clone();
                    session.transmit(self.stream.outbound());
                    let reason = session.peek(|engine, _| engine.closed().cloned());
                    self.close_stream(now, reason);
                } else if session.is_evicted() {
                    // Another connection may have the session from now on.
                    session.let_go(now, TransportError::Lost.into());
                    // A close frame would tell a client that still hears it that the session has ended.
                    self.leave_session(Stage::Refused);
                    self.stream.abort();
                }
                return;
            }
            Link::Other(other) => other,
        };
        match &mut other.stage {
            Stage::Exchange(exchange) => {
                let (server, peer) = (&self.stream.config().0, other.peer.address);
                let caller = Caller { now, server, waker: self.waker.as_ref(), peer };
                let was_decided = exchange.is_decided();
                let step = exchange.follow(caller);
                // After the application has decided, a poll may wait longer.
                if !was_decided && matches!(step, Step::Wait) {
                    self.stream.defer(exchange.next_deadline());
                }
                self.take_step(now, step);
                // The application may have let a request with a body pass.
                if !was_decided {
                    self.handle_empty_body(&|| now);
                }
            }
            Stage::Probe(session, ticket) | Stage::Upgrading(session, ticket) => {
                let (session, ticket) = (session.clone(), *ticket);
                let (is_upgrading, is_due) =
                    session.peek(|engine, _| (engine.is_upgrading(ticket), engine.is_upgrade_due(ticket)));
                match is_upgrading {
                    true if is_due => {
                        self.handle_probe(now, session, ticket, &Packet::Upgrade);
                        // It may have been closed while it waited.
                        if matches!(&self.link, Link::WebSocket { session, .. } if !session.is_steady()) {
                            self.follow_session(now);
                        }
                    }
                    true => {}
                    false => self.give_up_probe(now),
                }
            }
            Stage::None | Stage::Delivering(_) | Stage::Refused => {}
        }
    }

    /// Tells the session that the stream can carry nothing any more.
    #[cold]
    fn lose(&mut self, now: Time, reason: CloseReason) {
        let other = match &mut self.link {
            Link::Other(other) => other,
            Link::WebSocket { .. } => {
                if let Link::WebSocket { session, .. } = self.leave_session(Stage::None) {
                    session.let_go(now, reason);
                    // The client, if it still hears this, would take a close frame for the end of the session.
                    if session.is_resumable() && !session.is_closed() {
                        self.stream.abort();
                    }
                }
                return;
            }
        };
        match std::mem::replace(&mut other.stage, Stage::None) {
            Stage::None | Stage::Refused => {}
            Stage::Exchange(mut exchange) => exchange.lose(now),
            // The messages in flight are lost; without this the client would continue as if nothing was.
            Stage::Delivering(delivery) if self.stream.queued() > 0 => delivery.lose(),
            Stage::Delivering(_) => {}
            Stage::Probe(session, ticket) | Stage::Upgrading(session, ticket) => {
                let address = self.stream.config().0.address_of(&session, other.peer.address);
                log_failed_upgrade(&session, address, &reason);
                session.with(|engine, _| engine.abort_upgrade(ticket));
            }
        }
    }

    /// Puts the stream's deadline into the server's table.
    #[inline]
    fn arm(&mut self) {
        // A WebSocket connection has none in most turns: `benches/count broadcast`.
        if self.stream.next_deadline().is_some() || self.timer.is_some() {
            self.arm_deadline();
        }
    }

    #[cold]
    fn arm_deadline(&mut self) {
        let deadline = self.stream.next_deadline();
        match (deadline, &self.waker) {
            (Some(deadline), Some(waker)) if self.timer.is_none_or(|armed| !armed.covers(deadline)) => {
                let waker = waker.clone();
                self.disarm();
                let (key, driver) = self.server().timers.insert(deadline, Notify::Waker(waker));
                self.timer = Some(key);
                if let Some(driver) = driver {
                    driver.wake();
                }
            }
            // A WebSocket connection has no deadline for long: do not leave the entry to fire.
            (None, _) if matches!(self.link, Link::WebSocket { .. }) => self.disarm(),
            _ => {}
        }
    }

    /// Tells the server whether there is something left to write.
    #[inline]
    fn account(&mut self) {
        // The transport of a session always counts.
        if let Link::Other(_) = &self.link {
            self.account_other();
        }
    }

    fn account_other(&mut self) {
        let Link::Other(other) = &self.link else { return };
        let queued = self.stream.queued();
        let busy = match other.stage {
            // The server does not wait for a response that concerns no session: refused clients keep coming.
            Stage::None => other.owes && queued > 0,
            Stage::Refused | Stage::Delivering(_) => queued > 0,
            Stage::Exchange(_) | Stage::Probe(..) | Stage::Upgrading(..) => true,
        };
        self.set_busy(busy);
    }

    fn set_busy(&mut self, busy: bool) {
        if let Link::Other(other) = &mut self.link
            && std::mem::replace(&mut other.busy, busy) != busy
        {
            self.stream.config().0.count_busy(busy);
        }
    }

    fn disarm(&mut self) {
        if let Some(key) = self.timer.take() {
            self.server().timers.remove(key);
        }
    }
}

/// Returns a number of bytes in four bytes, because each connection keeps some.
pub(super) fn narrow(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Logs the end of the connection of an upgrade, which is no end of its session.
fn log_failed_upgrade<A: Application>(
    session: &Session<A>,
    address: Option<SocketAddr>,
    reason: &CloseReason,
) {
    let _inside = session.span().enter();
    let (sid, peer) = (log::sid(session.id()), log::peer(address));
    debug!(sid = %sid, peer = %peer, cause = %Cause(reason), "an upgrade failed");
}

impl<A: Application> Protocol for Connection<A> {
    #[inline(always)]
    fn set_waker(&mut self, waker: &Waker) {
        if !self.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            self.change_waker(waker);
        }
    }

    #[cold]
    fn handle_wake(&mut self, now: Time) {
        let _inside = self.link.enter();
        self.link.inflated().begin_turn();
        if self.timer.is_some_and(|armed| armed.is_due(now)) {
            self.disarm();
            if self.link.exchange().is_some() {
                // Answers a request that has waited too long.
                self.follow_session(now);
            }
        }
        if self.is_behind() {
            self.stream.postpone(now);
        }
        match self.stream.handle_timeout(now) {
            None => {}
            Some(Expired::Connection) => self.lose(now, TransportError::Lost.into()),
            Some(Expired::Head) => {
                // Of a peer that has sent nothing at all there is nothing to tell.
                if let Some(other) = self.link.get_other().filter(|other| other.unread > 0) {
                    let peer = log::peer(other.peer.address);
                    debug!(peer = %peer, "the head of a request took too long to arrive");
                }
                self.lose(now, TransportError::Lost.into());
            }
            Some(Expired::Message) => match self.link.exchange() {
                Some(_) => self.refuse_body(now, TransportError::TooSlow),
                None => self.lose(now, TransportError::TooSlow.into()),
            },
        }
        self.follow_session(now);
    }

    fn wants_wake(&self) -> bool {
        match &self.link {
            // A recipient of a broadcast needs nothing of it: `benches/count broadcast`.
            Link::WebSocket { session, inflated, .. } => {
                !session.is_steady() || !inflated.is_empty() || self.stream.next_deadline().is_some()
            }
            Link::Other(_) => true,
        }
    }

    fn handle_data(&mut self, now: Time, input: &mut [u8]) -> usize {
        self.handle_data_with(&|| now, input)
    }

    // Most messages depend on no time: `benches/count ack`.
    fn handle_data_with(&mut self, clock: &dyn Fn() -> Time, input: &mut [u8]) -> usize {
        let _inside = self.link.enter();
        // Over WebSocket, only a message has a deadline.
        let is_awaited = || self.stream.next_deadline().is_some();
        let mut batch = self.link.begin_data(clock, input.len(), is_awaited);
        let mut used = 0;
        while let Some(rest) = input.get_mut(used..).filter(|rest| !rest.is_empty()) {
            let len = rest.len();
            let (left, done) = match self.stream.phase() == Phase::WebSocket {
                true => {
                    let mut rest = rest;
                    let done = self.read_messages(clock, &mut rest, &mut batch);
                    (rest.len(), done)
                }
                false => {
                    let mut rest = &*rest;
                    let done = self.read_request(clock(), &mut rest);
                    (rest.len(), done)
                }
            };
            used += len - left;
            if done {
                break;
            }
        }
        self.handle_empty_body(clock);
        let left = narrow(input.len() - used);
        match &mut self.link {
            Link::WebSocket { session, unread, .. } => {
                *unread = left;
                if left >= MAX_UNREAD && !session.has_capacity() {
                    session.set_deaf();
                }
            }
            Link::Other(other) => other.unread = left,
        }
        used
    }

    fn handle_eof(&mut self, now: Time) {
        // The bytes before it are handled first, unless that takes longer than the session may be silent.
        if self.link.unread() > 0 && self.is_behind() {
            return;
        }
        let _inside = self.link.enter();
        self.stream.handle_eof(now);
        self.lose(now, CloseReason::TransportClose);
    }

    #[inline(always)]
    fn lend_buffer(&mut self) -> Box<[u8]> {
        pool::take_read_buffer()
    }

    #[inline(always)]
    fn reclaim_buffer(&mut self, buffer: Box<[u8]>) {
        pool::put_read_buffer(buffer);
    }

    fn lend_partial(&mut self, needed: usize) -> Vec<u8> {
        pool::take_partial(needed)
    }

    fn reclaim_partial(&mut self, buffer: Vec<u8>) {
        pool::put_partial(buffer);
    }

    #[inline(always)]
    fn wants_read(&self) -> bool {
        match &self.link {
            Link::WebSocket { session, unread, inflated } if self.stream.phase() == Phase::WebSocket => {
                // While handlers are behind, keep looking for the end of the stream.
                let may_read = *unread < MAX_UNREAD || session.has_capacity();
                may_read && self.may_answer(session, inflated)
            }
            _ => self.wants_more(),
        }
    }

    // `tell_blocked` of the driver calls it as well: `benches/count broadcast`.
    #[inline(always)]
    fn poll_transmit(&mut self) -> Option<&mut Outbound> {
        let queued = self.stream.queued();
        match &mut self.link {
            Link::WebSocket { session, .. } if queued == 0 => {
                if session.is_attended() {
                    self.transmit();
                }
            }
            Link::WebSocket { session, .. } => {
                cold_path();
                // Less than it knows of is told in steps; more, once writing was blocked.
                let known = session.in_flight();
                if known > queued + TELL || known < queued {
                    session.set_in_flight(queued);
                }
            }
            Link::Other(other) => {
                cold_path();
                if queued == 0 && matches!(other.stage, Stage::Delivering(_)) {
                    other.stage = Stage::None;
                }
            }
        }
        self.arm();
        self.account();
        let out = self.stream.outbound();
        if out.is_empty() {
            pool::reclaim(out);
            return None;
        }
        Some(out)
    }

    fn status(&self) -> StreamStatus {
        match self.stream.phase() {
            Phase::Closed => StreamStatus::Closed,
            _ if self.stream.wants_half_close() => StreamStatus::HalfClose,
            _ => StreamStatus::Open,
        }
    }

    fn handle_half_closed(&mut self, now: Time) {
        self.stream.handle_half_closed(now);
    }
}

impl<A: Application> Connection<A> {
    #[cold]
    fn change_waker(&mut self, waker: &Waker) {
        self.waker = Some(waker.clone());
        match &self.link {
            Link::WebSocket { session, .. } => {
                session.set_waker(Some(waker));
                // This need not be a turn. If something is left to write, there is one once the stream is ready.
                if session.is_attended() && self.stream.queued() == 0 {
                    waker.wake_by_ref();
                }
            }
            Link::Other(other) => match &other.stage {
                Stage::Exchange(exchange) => exchange.set_waker(waker),
                Stage::Probe(session, ticket) | Stage::Upgrading(session, ticket) => {
                    session.set_probe_waker(*ticket, Some(waker));
                }
                Stage::None | Stage::Delivering(_) | Stage::Refused => {}
            },
        }
        self.disarm();
        self.arm();
    }

    /// Returns whether a connection wants to read that is not the transport of a session, or is closing.
    fn wants_more(&self) -> bool {
        match (&self.link, self.stream.phase()) {
            (_, Phase::Closed) => false,
            (_, Phase::Closing) | (Link::WebSocket { .. }, _) => true,
            (Link::Other(other), phase) => match other.stage {
                Stage::Upgrading(..) => false,
                _ if phase == Phase::Request => other.unread < MAX_UNREAD,
                Stage::Delivering(_) if other.unread > 0 => self.stream.queued() == 0,
                _ => self.stream.queued() < self.server().site.config.high_water,
            },
        }
    }

    /// Returns whether messages have to wait for handlers.
    fn is_behind(&self) -> bool {
        matches!(&self.link, Link::WebSocket { session, .. } if !session.has_capacity())
    }

    fn is_upgrading(&self) -> bool {
        matches!(&self.link, Link::Other(other) if matches!(other.stage, Stage::Upgrading(..)))
    }

    /// Returns whether the peer reads what it is sent, so that more of its messages may be answered.
    #[inline]
    fn may_answer(&self, session: &Session<A>, inflated: &Inflated) -> bool {
        let config = &self.server().site.config;
        let high_water = config.high_water;
        let limit = match config.when_full == WhenFull::Close {
            true => high_water,
            // What may be dropped can wait for long, and the peer's pong must not wait for it. The rest must not fill the
            // send buffer.
            false => high_water.min(config.send_buffer / 4 * 3),
        };
        session.waiting() + self.stream.queued() < limit && !inflated.is_enough(high_water)
    }

    /// Reads messages until none is complete. Returns `true` if nothing more can be done now.
    fn read_messages(&mut self, clock: &dyn Fn() -> Time, input: &mut &mut [u8], batch: &mut Batch) -> bool {
        if self.is_behind() || self.is_upgrading() {
            cold_path();
            return true;
        }
        loop {
            let link = &self.link;
            let pong = |out: &mut Outbound, data: &[u8]| link.answer_ping(out, data);
            match self.stream.next_message_with(clock, input, &pool::DEFLATE, pong) {
                Ok(Some(message)) => {
                    self.link.inflated().count(&message);
                    self.handle_message(clock, message, batch);
                    let high_water = self.server().site.config.high_water;
                    if self.link.inflated().is_enough(high_water)
                        && let Some(waker) = &self.waker
                    {
                        cold_path();
                        waker.wake_by_ref();
                    }
                }
                Ok(None) => return self.stream.phase() == Phase::WebSocket,
                Err(error) => {
                    self.lose(clock(), TransportError::WebSocket(error).into());
                    return false;
                }
            }
            match &self.link {
                Link::WebSocket { session, .. } if !session.is_steady() => {
                    self.follow_change(clock());
                    return false;
                }
                Link::WebSocket { session, inflated, .. } => {
                    if !session.has_capacity() || !self.may_answer(session, inflated) {
                        cold_path();
                        return true;
                    }
                }
                Link::Other(_) if self.is_upgrading() => return true,
                Link::Other(_) => cold_path(),
            }
            // Nearly always. To find out that there is no other message takes longer: `benches/count ack`.
            if input.is_empty() {
                return true;
            }
        }
    }
}

impl<A: Application> Drop for Connection<A> {
    fn drop(&mut self) {
        let _inside = self.link.enter();
        self.disarm();
        let now = self.server().now();
        self.lose(now, TransportError::Lost.into());
        self.set_busy(false);
    }
}

impl<A: Application> fmt::Debug for Connection<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peer = self.link.get_other().map(|other| other.peer);
        f.debug_struct("Connection").field("peer", &peer).finish_non_exhaustive()
    }
}
