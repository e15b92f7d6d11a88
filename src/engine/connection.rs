//! One byte stream of an Engine.IO server: assigns its requests and frames to sessions.

mod link;
#[cfg(test)]
mod tests;

use super::exchange::{self, Caller, Carries, Content, Exchange, Incoming, Step, Upgrade};
use super::server::ServerInner;
use super::session::Session;
use super::timers::{Key, Notify};
use super::{Application, Batch, CloseReason, Handshake, Transport, TransportError};
use crate::guard::guard;
use crate::inflated::Inflated;
use crate::log::{self, Span, debug};
use crate::observe::{Cause, Direction, ServerEvent};
use crate::pool;
use link::{Link, Stage};
use sockeye_core::connection::{self as stream, BorrowedContent, Expired, Phase};
use sockeye_core::engineio::{
    Packet,
    server::{Probing, Ticket, WhenFull},
};
use sockeye_core::host::Peer;
use sockeye_core::http::{self, Head};
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

    // Requests.

    fn handle_request(&mut self, now: Time, head: &Head<'_>) {
        let request = &head.request;
        // Set before the session can be forgotten, because this request may get its last response.
        self.set_busy(true);
        // HTTP/1.0 has no `Upgrade` (RFC 9110, section 7.8).
        let upgrade = match head.version == http::Version::Http11 && stream::is_upgrade(request) {
            true => Upgrade::Http1,
            false => Upgrade::None,
        };
        let incoming = Incoming { request, upgrade, body: head.body };
        let server = &self.stream.config().0;
        let Some(other) = self.link.get_other() else { return };
        let client = server.client(other.peer, request);
        let handshake = |common: Option<&Arc<_>>| {
            let handshake = Handshake::new(request, client, common);
            #[cfg(all(feature = "http", feature = "testing"))]
            let handshake = handshake.with_extensions(crate::staged::extensions());
            handshake
        };
        let caller = Caller { now, server, waker: self.waker.as_ref(), peer: client.address };
        let (exchange, step) = Exchange::begin(caller, &incoming, handshake);
        if matches!(step, Step::Wait) {
            self.stream.defer(exchange.next_deadline());
        }
        if matches!(step, Step::Wait | Step::Body) {
            self.link.set_stage(Stage::Exchange(Box::new(exchange)));
        }
        self.take_step(now, step);
    }

    fn handle_body(&mut self, now: Time, body: &[u8]) {
        let Some((exchange, peer)) = self.link.exchange() else { return };
        let caller = Caller { now, server: &self.stream.config().0, waker: self.waker.as_ref(), peer };
        let step = exchange.handle_body(caller, body);
        self.take_step(now, step);
    }

    /// Handles the body of a request that has none: it is complete with its head, even if no more bytes come.
    #[inline]
    fn handle_empty_body(&mut self, now: Time) {
        if self.stream.phase() == Phase::Body
            && let Ok(Some(body)) = self.stream.next_body(now, &mut &[][..])
        {
            self.handle_body(now, &body);
        }
    }

    fn take_step(&mut self, now: Time, mut step: Step<A>) {
        match step {
            Step::Wait => {}
            Step::Body => self.stream.receive_body(now),
            // By reference, because a move of the response counts: `benches/count polling`.
            Step::Respond(ref mut response, ref mut delivery) => {
                pool::lend(self.stream.outbound());
                if let Link::Other(other) = &mut self.link {
                    other.owes = matches!(other.stage, Stage::Exchange(_));
                    other.stage = delivery.take().map_or(Stage::None, Stage::Delivering);
                }
                if response.close {
                    self.stream.end_keep_alive();
                }
                let body = match &mut response.body {
                    Content::Static(bytes) => BorrowedContent::Bytes(bytes),
                    Content::Queue(queue) => BorrowedContent::Queue(queue),
                    Content::HeadOnly(length) => BorrowedContent::HeadOnly(*length),
                };
                self.stream.respond(now, response.status, borrow(&response.headers), body);
                if let Content::Queue(queue) = &mut response.body {
                    pool::reclaim(queue);
                }
            }
            Step::Upgrade(accept, carries) => {
                pool::lend(self.stream.outbound());
                self.stream.upgrade(now, &accept.key.unwrap_or_default(), borrow(&accept.headers));
                if let Some(deflate) = accept.deflate {
                    self.stream.set_deflate(deflate);
                }
                self.carry(now, carries);
                // The packet that opens a session leaves in one write with the response, except in version 3.
                self.transmit();
            }
        }
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

    fn handle_message(&mut self, now: Time, message: websocket::Message<'_>, batch: &mut Batch) {
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
                self.server().handle_packet(now, session, packet, batch);
            }
            (Link::WebSocket { session, .. }, Err(error)) => {
                session.with(|engine, _| engine.close(now, CloseReason::ParseError(error)));
            }
            (Link::Other(other), Ok(packet)) => {
                let Stage::Probe(session, ticket) = &other.stage else { return };
                let (session, ticket) = (session.clone(), *ticket);
                self.server().show(Direction::In, &session, Transport::WebSocket, &packet);
                self.handle_probe(now, session, ticket, &packet);
            }
            (Link::Other(_), Err(_)) => self.give_up_probe(now),
        }
    }

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
                drop(session.begin_turn(now, 0, false));
                self.become_transport(session.clone());
                if !session.is_closed() {
                    guard("on_upgrade", || self.server().application.on_upgrade(&session));
                }
            }
            Probing::Close => self.give_up_probe(now),
        }
    }

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
                    self.handle_empty_body(now);
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

    /// Refuses a request whose body is too large, too slow or malformed.
    fn refuse_body(&mut self, now: Time, reason: TransportError) {
        if let Some((exchange, peer)) = self.link.exchange() {
            let caller = Caller { now, server: &self.stream.config().0, waker: self.waker.as_ref(), peer };
            let step = exchange.refuse_body(caller, reason);
            self.take_step(now, step);
        }
    }

    /// Tells the session that the stream can carry nothing any more.
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
    fn account(&mut self) {
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

fn borrow(headers: &[exchange::Header]) -> impl Iterator<Item = (&'static str, &str)> {
    headers.iter().map(|(name, value)| (*name, value.as_ref()))
}

impl<A: Application> Protocol for Connection<A> {
    fn set_waker(&mut self, waker: &Waker) -> bool {
        if self.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            return false;
        }
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
        true
    }

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
        let _inside = self.link.enter();
        // Over WebSocket, only a message has a deadline.
        let is_awaited = || self.stream.next_deadline().is_some();
        let mut batch = self.link.begin_data(now, input.len(), is_awaited);
        let mut used = 0;
        while let Some(rest) = input.get_mut(used..).filter(|rest| !rest.is_empty()) {
            match self.stream.phase() {
                // Do not pile up responses that the client does not read.
                Phase::Head if self.stream.queued() >= self.server().site.config.high_water => break,
                Phase::Head if self.is_delivering() && self.stream.queued() > 0 => break,
                Phase::Head => {
                    let mut slots = http::header_slots();
                    match self.stream.next_head(now, rest, &mut slots) {
                        Ok(Some(head)) => {
                            self.handle_request(now, &head);
                            used += head.len;
                        }
                        Ok(None) => break,
                        Err(error) => {
                            let peer = self.link.get_other().and_then(|other| other.peer.address);
                            let peer = log::peer(peer);
                            debug!(peer = %peer, cause = %error, "the head of a request cannot be read");
                            break;
                        }
                    }
                }
                Phase::Body => {
                    let mut rest = &*rest;
                    let len = rest.len();
                    let body = self.stream.next_body(now, &mut rest);
                    used += len - rest.len();
                    match body {
                        Ok(Some(body)) => self.handle_body(now, &body),
                        Ok(None) => break,
                        Err(http::Error::BodyTooLarge) => {
                            let limit = self.server().site.config.max_payload;
                            self.refuse_body(now, TransportError::TooLarge { limit });
                        }
                        Err(error) => self.refuse_body(now, TransportError::Body(error)),
                    }
                }
                Phase::WebSocket if self.is_behind() || self.is_upgrading() => break,
                Phase::WebSocket => {
                    let len = rest.len();
                    let mut rest = rest;
                    let done = self.read_messages(now, &mut rest, &mut batch);
                    used += len - rest.len();
                    if done {
                        break;
                    }
                }
                Phase::Request => break,
                Phase::Closing | Phase::Closed => used = input.len(),
            }
        }
        self.handle_empty_body(now);
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

    fn lend_buffer(&mut self) -> Box<[u8]> {
        pool::take_read_buffer()
    }

    fn reclaim_buffer(&mut self, buffer: Box<[u8]>) {
        pool::put_read_buffer(buffer);
    }

    fn lend_partial(&mut self, needed: usize) -> Vec<u8> {
        pool::take_partial(needed)
    }

    fn reclaim_partial(&mut self, buffer: Vec<u8>) {
        pool::put_partial(buffer);
    }

    fn wants_read(&self) -> bool {
        let high_water = self.server().site.config.high_water;
        let phase = self.stream.phase();
        match (&self.link, phase) {
            (_, Phase::Closed) => false,
            (_, Phase::Closing) => true,
            (Link::WebSocket { session, unread, inflated }, _) => {
                // While handlers are behind, keep looking for the end of the stream.
                let may_read = *unread < MAX_UNREAD || session.has_capacity();
                may_read && self.may_answer(session, inflated)
            }
            (Link::Other(other), _) => match other.stage {
                Stage::Upgrading(..) => false,
                _ if phase == Phase::Request => other.unread < MAX_UNREAD,
                Stage::Delivering(_) if other.unread > 0 => self.stream.queued() == 0,
                _ => self.stream.queued() < high_water,
            },
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
                // Less than it knows of is told in steps; more, once writing was blocked.
                let known = session.in_flight();
                if known > queued + TELL || known < queued {
                    session.set_in_flight(queued);
                }
            }
            Link::Other(other) => {
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
    /// Returns whether messages have to wait for handlers.
    fn is_behind(&self) -> bool {
        matches!(&self.link, Link::WebSocket { session, .. } if !session.has_capacity())
    }

    /// Returns whether the response to a poll is being written.
    fn is_delivering(&self) -> bool {
        matches!(&self.link, Link::Other(other) if matches!(other.stage, Stage::Delivering(_)))
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
    fn read_messages(&mut self, now: Time, input: &mut &mut [u8], batch: &mut Batch) -> bool {
        loop {
            let link = &self.link;
            let pong = |out: &mut Outbound, data: &[u8]| link.answer_ping(out, data);
            match self.stream.next_message_with(now, input, &pool::DEFLATE, pong) {
                Ok(Some(message)) => {
                    self.link.inflated().count(&message);
                    self.handle_message(now, message, batch);
                    let high_water = self.server().site.config.high_water;
                    if self.link.inflated().is_enough(high_water)
                        && let Some(waker) = &self.waker
                    {
                        waker.wake_by_ref();
                    }
                }
                Ok(None) => return self.stream.phase() == Phase::WebSocket,
                Err(error) => {
                    self.lose(now, TransportError::WebSocket(error).into());
                    return false;
                }
            }
            match &self.link {
                Link::WebSocket { session, .. } if !session.is_steady() => {
                    self.follow_session(now);
                    return false;
                }
                Link::WebSocket { session, inflated, .. } => {
                    if !session.has_capacity() || !self.may_answer(session, inflated) {
                        return true;
                    }
                }
                Link::Other(_) if self.is_upgrading() => return true,
                Link::Other(_) => {}
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
