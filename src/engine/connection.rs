//! One byte stream of an Engine.IO server: which requests and frames mean what for which session.

use super::exchange::{self, Accept, Carries, Content, Exchange, Incoming, Step, Upgrade};
use super::server::ServerInner;
use super::session::Session;
use super::timers::{Key, Target};
use super::{CloseReason, Handler, Handshake, TransportError};
use crate::buffers;
use crate::inflated::Inflated;
use crate::log::debug;
use sockeye_core::connection::{self as stream, Answer, Expired, Phase};
use sockeye_core::drive::{Protocol, Status as StreamStatus};
use sockeye_core::engineio::{Message, Packet, Probing, Ticket};
use sockeye_core::host::Peer;
use sockeye_core::http::{self, Head, Version};
use sockeye_core::websocket;
#[cfg(feature = "http")]
use sockeye_core::websocket::Deflate;
use sockeye_core::{Outbound, Time};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::task::Waker;

/// One byte stream that a [`Server`](super::Server) accepted.
pub struct Connection<H: Handler> {
    server: Arc<ServerInner<H>>,
    peer: Peer,
    stream: stream::Connection,
    link: Link<H>,
    waker: Option<Waker>,
    timer: Option<Key>,
    /// How many bytes were left unused by the last look at the input, if not more than `u32::MAX`.
    unread: u32,
    /// How many of the session's bytes it believes to be here.
    in_flight: usize,
    /// There is something to finish before the server may end; the server counts these.
    busy: bool,
    /// What is queued has the answer to a request that was let wait.
    owes: bool,
    inflated: Inflated,
}

/// What the stream is in use for.
enum Link<H: Handler> {
    /// Nothing.
    None,
    /// A request waits for its answer, or for its body.
    Exchange(Box<Exchange<H>>),
    /// The answer to a poll is being written.
    Delivering(Session<H>),
    /// The session's transport.
    WebSocket(Session<H>),
    /// A transport that is being tried.
    Probe(Session<H>, Ticket),
    /// The same, and the client has moved on to it: nothing more is read before the session has, too.
    Upgrading(Session<H>, Ticket),
    /// A WebSocket connection that nobody wants.
    Refused,
}

/// How many bytes may wait behind a request that is being answered, or while handlers are behind.
const MAX_UNREAD: u32 = 16 << 10;
/// After how many written bytes the session is told that there is room again.
const TELL: usize = 64 << 10;

impl<H: Handler> Connection<H> {
    pub(super) fn new(now: Time, server: Arc<ServerInner<H>>, peer: Peer) -> Self {
        let stream = stream::Connection::new(now, server.limits.clone());
        Connection::over(stream, server, peer)
    }

    /// A stream whose first request, which another HTTP server read and answered, made it a WebSocket connection.
    #[cfg(feature = "http")]
    pub(crate) fn upgraded(
        now: Time,
        server: Arc<ServerInner<H>>,
        peer: Peer,
        deflate: Option<Deflate>,
        carries: Carries<H>,
    ) -> Self {
        let mut stream = stream::Connection::websocket(server.limits.clone());
        if let Some(deflate) = deflate {
            stream.set_deflate(deflate);
        }
        let mut connection = Connection::over(stream, server, peer);
        // Not only from its first turn on: what its session may say before is to be written.
        connection.set_busy(true);
        connection.carry(now, carries);
        connection
    }

    fn over(stream: stream::Connection, server: Arc<ServerInner<H>>, peer: Peer) -> Self {
        Connection {
            server,
            peer,
            stream,
            link: Link::None,
            waker: None,
            timer: None,
            unread: 0,
            in_flight: 0,
            busy: false,
            owes: false,
            inflated: Inflated::default(),
        }
    }

    // Requests.

    fn handle_request(&mut self, now: Time, head: &Head<'_>) {
        let request = &head.request;
        // Before its session can be forgotten, whose last answer it may get.
        self.set_busy(true);
        // In HTTP/1.0 it means nothing (RFC 9110, section 7.8).
        let upgrade = match head.version == Version::Http11 && stream::is_upgrade(request) {
            true => Upgrade::Http1,
            false => Upgrade::None,
        };
        let incoming = Incoming { request, upgrade, body: head.body };
        let handshake = || Handshake::new(request, self.peer);
        let (exchange, step) = Exchange::begin(now, &self.server, &incoming, handshake, self.waker.as_ref());
        if matches!(step, Step::Wait) {
            self.stream.hold(exchange.deadline());
        }
        if matches!(step, Step::Wait | Step::Body) {
            self.link = Link::Exchange(Box::new(exchange));
        }
        self.take_step(now, step);
    }

    fn handle_body(&mut self, now: Time, body: &[u8]) {
        let Link::Exchange(exchange) = &mut self.link else { return };
        let step = exchange.handle_body(now, &self.server, body, self.waker.as_ref());
        self.take_step(now, step);
    }

    fn take_step(&mut self, now: Time, step: Step<H>) {
        match step {
            Step::Wait => {}
            Step::Body => self.stream.receive_body(now),
            Step::Answer(mut answer) => {
                buffers::lend(self.stream.outbound());
                self.owes = matches!(self.link, Link::Exchange(_));
                self.link = answer.session.map_or(Link::None, Link::Delivering);
                if answer.close {
                    self.stream.end_keep_alive();
                }
                let body = match &mut answer.body {
                    Content::Static(bytes) => Answer::Bytes(bytes),
                    Content::Queue(queue) => Answer::Queue(queue),
                    Content::HeadOnly(length) => Answer::HeadOnly(*length),
                };
                self.stream.respond(now, answer.status, borrow(&answer.headers), body);
                if let Content::Queue(queue) = &mut answer.body {
                    buffers::reclaim(queue);
                }
            }
            Step::Upgrade(Accept { key, headers, deflate, carries }) => {
                buffers::lend(self.stream.outbound());
                self.stream.upgrade(now, &key.unwrap_or_default(), borrow(&headers));
                if let Some(deflate) = deflate {
                    self.stream.set_deflate(deflate);
                }
                self.carry(now, carries);
            }
        }
    }

    fn carry(&mut self, now: Time, carries: Carries<H>) {
        match carries {
            Carries::Session(session) => self.link = Link::WebSocket(session),
            Carries::Probe(session, ticket) => self.link = Link::Probe(session, ticket),
            Carries::Nothing => {
                self.link = Link::Refused;
                self.stream.close(now, None, "");
            }
        }
    }

    // WebSocket.

    fn handle_message(&mut self, now: Time, message: websocket::Message<'_>) {
        let packet = match &message {
            websocket::Message::Text(text) => Packet::decode(text),
            websocket::Message::Binary(data) => Ok(Packet::Message(Message::Binary(Cow::Borrowed(data)))),
            websocket::Message::Close(_) => Ok(Packet::Close),
            websocket::Message::Ping(_) | websocket::Message::Pong(_) => return,
        };
        match (&self.link, packet) {
            (Link::WebSocket(session), Ok(packet)) => self.server.handle_packet(now, session, packet),
            (Link::WebSocket(session), Err(error)) => {
                session.with(|engine, _| engine.close(now, CloseReason::ParseError(error)));
            }
            (Link::Probe(session, ticket), Ok(packet)) => {
                let (session, ticket) = (session.clone(), *ticket);
                self.handle_probe(now, session, ticket, &packet);
            }
            (Link::Probe(..), Err(_)) => self.give_up_probe(now),
            _ => {}
        }
    }

    fn handle_probe(&mut self, now: Time, session: Session<H>, ticket: Ticket, packet: &Packet<'_>) {
        match session.with(|engine, _| engine.handle_probe(now, ticket, packet)) {
            Probing::Answer => {
                self.stream.send_text(b"3probe");
                // A poll that waits is answered now, so that the client can stop polling.
                session.wake();
            }
            Probing::Wait => {
                self.link = Link::Upgrading(session.clone(), ticket);
                // Once more: who was to be woken may have been. If it is due by now, this wakes.
                session.set_probe_waker(ticket, self.waker.as_ref());
            }
            Probing::Complete => {
                session.wake();
                session.set_waker(self.waker.as_ref());
                // It may have been silent for long, and what follows may be here.
                session.begin_turn(now);
                self.link = Link::WebSocket(session);
            }
            Probing::Close => self.give_up_probe(now),
        }
    }

    fn give_up_probe(&mut self, now: Time) {
        let link = std::mem::replace(&mut self.link, Link::Refused);
        if let Link::Probe(session, ticket) | Link::Upgrading(session, ticket) = link {
            session.with(|engine, _| engine.abort_upgrade(ticket));
        }
        self.stream.close(now, None, "");
    }

    /// Closes the stream of a session that ended.
    fn close_stream(&mut self, now: Time, reason: Option<CloseReason>) {
        let (code, text) = match &reason {
            Some(CloseReason::ServerShutdown) => (Some(1001), Cow::Borrowed("server shutting down")),
            Some(CloseReason::ParseError(error)) => (Some(1002), error.to_string().into()),
            Some(CloseReason::ForcedClose(Some(text))) => (Some(1002), text.as_str().into()),
            Some(CloseReason::TransportError(error)) => (Some(1008), error.to_string().into()),
            // As the reference: without a code.
            _ => (None, Cow::Borrowed("")),
        };
        self.link = Link::Refused;
        self.stream.close(now, code, &text);
    }

    // The end, and time.

    /// What became of the session while this side was not looking.
    fn follow_session(&mut self, now: Time) {
        match &mut self.link {
            Link::Exchange(exchange) => {
                let step = exchange.follow(now, &self.server, self.waker.as_ref());
                self.take_step(now, step);
            }
            Link::WebSocket(session) if session.is_closed() => {
                let session = session.clone();
                session.transmit(self.stream.outbound());
                let reason = session.peek(|engine, _| engine.closed().cloned());
                self.close_stream(now, reason);
            }
            Link::Probe(session, ticket) | Link::Upgrading(session, ticket) => {
                let (session, ticket) = (session.clone(), *ticket);
                let (is_upgrading, is_due) =
                    session.peek(|engine, _| (engine.is_upgrading(ticket), engine.is_upgrade_due(ticket)));
                match is_upgrading {
                    true if is_due => self.handle_probe(now, session, ticket, &Packet::Upgrade),
                    true => {}
                    false => self.give_up_probe(now),
                }
            }
            _ => {}
        }
    }

    /// A body that goes wrong while it comes: too large, too slow, or not what it said.
    fn refuse_body(&mut self, now: Time, reason: TransportError) {
        if let Link::Exchange(exchange) = &mut self.link {
            let answer = exchange.refuse_body(now, reason);
            self.take_step(now, answer.into());
        }
    }

    /// The stream can carry nothing any more: tells the session.
    fn lose(&mut self, now: Time, reason: CloseReason) {
        match std::mem::replace(&mut self.link, Link::None) {
            Link::None | Link::Refused => {}
            Link::Exchange(mut exchange) => exchange.lose(now),
            // What was on its way is lost; the client would go on as if nothing was.
            Link::Delivering(session) if self.stream.queued() > 0 => {
                session.with(|engine, _| engine.close(now, TransportError::PollAborted.into()));
            }
            Link::Delivering(_) => {}
            Link::WebSocket(session) => session.with(|engine, _| engine.close(now, reason)),
            Link::Probe(session, ticket) | Link::Upgrading(session, ticket) => {
                session.with(|engine, _| engine.abort_upgrade(ticket));
            }
        }
    }

    /// Sees to it that the stream's deadline is in the server's table.
    fn arm(&mut self) {
        let deadline = self.stream.next_deadline();
        let armed = self.timer.map(|(at, _)| at);
        match (deadline, &self.waker) {
            (Some(deadline), Some(waker)) if armed.is_none_or(|armed| deadline < armed) => {
                let waker = waker.clone();
                self.disarm();
                let (key, driver) = self.server.timers.insert(deadline, Target::Waker(waker));
                self.timer = Some(key);
                if let Some(driver) = driver {
                    driver.wake();
                }
            }
            // A WebSocket connection lives long without one: the entry is not left to fire.
            (None, _) if matches!(self.link, Link::WebSocket(_)) => self.disarm(),
            _ => {}
        }
    }

    /// Tells the server whether there is something to finish.
    fn account(&mut self) {
        let busy = match self.link {
            // An answer that concerns no session is not waited for: clients that are turned away keep coming.
            Link::None => self.owes && self.stream.queued() > 0,
            Link::Refused | Link::Delivering(_) => self.stream.queued() > 0,
            _ => true,
        };
        self.set_busy(busy);
    }

    fn set_busy(&mut self, busy: bool) {
        if std::mem::replace(&mut self.busy, busy) != busy {
            self.server.count_busy(busy);
        }
    }

    fn disarm(&mut self) {
        if let Some(key) = self.timer.take() {
            self.server.timers.remove(key);
        }
    }
}

fn borrow(headers: &[exchange::Header]) -> impl Iterator<Item = (&'static str, &str)> {
    headers.iter().map(|(name, value)| (*name, value.as_ref()))
}

impl<H: Handler> Protocol for Connection<H> {
    fn set_waker(&mut self, waker: &Waker) {
        if self.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            return;
        }
        self.waker = Some(waker.clone());
        match &self.link {
            Link::Exchange(exchange) => exchange.set_waker(waker),
            Link::WebSocket(session) => session.set_waker(Some(waker)),
            Link::Probe(session, ticket) | Link::Upgrading(session, ticket) => {
                session.set_probe_waker(*ticket, Some(waker));
            }
            Link::None | Link::Delivering(_) | Link::Refused => {}
        }
        self.disarm();
        self.arm();
    }

    fn handle_wake(&mut self, now: Time) {
        self.inflated.begin_turn();
        if self.timer.is_some_and(|(at, _)| at <= now) {
            self.disarm();
            if matches!(self.link, Link::Exchange(_)) {
                // Answers what has waited too long.
                self.follow_session(now);
            }
        }
        if self.is_behind() {
            self.stream.postpone(now);
        }
        match self.stream.handle_timeout(now) {
            None => {}
            Some(Expired::Connection) => self.lose(now, TransportError::Lost.into()),
            Some(Expired::Message) => {
                debug!(peer = ?self.peer.address, "a message took too long to arrive");
                match self.link {
                    Link::Exchange(_) => self.refuse_body(now, TransportError::TooSlow),
                    _ => self.lose(now, TransportError::TooSlow.into()),
                }
            }
        }
        self.follow_session(now);
    }

    fn handle_data(&mut self, now: Time, input: &mut [u8]) -> usize {
        match &self.link {
            Link::WebSocket(session) if session.has_room() => session.begin_turn(now),
            // Not if it is only looked at again.
            Link::WebSocket(session) if input.len() > self.unread as usize => session.heard(now),
            Link::Exchange(exchange) => exchange.heard(now),
            _ => {}
        }
        let mut used = 0;
        while let Some(rest) = input.get_mut(used..).filter(|rest| !rest.is_empty()) {
            match self.stream.phase() {
                // Answers that nobody reads are not piled up.
                Phase::Head if self.stream.queued() >= self.server.config.high_water => break,
                Phase::Head if matches!(self.link, Link::Delivering(_)) && self.stream.queued() > 0 => break,
                Phase::Head => {
                    let mut slots = http::header_slots();
                    let Some(head) = self.stream.next_head(now, rest, &mut slots) else { break };
                    self.handle_request(now, &head);
                    used += head.len;
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
                            let limit = self.server.config.max_payload;
                            self.refuse_body(now, TransportError::TooLarge { limit });
                        }
                        Err(error) => self.refuse_body(now, TransportError::Body(error)),
                    }
                }
                Phase::WebSocket if self.is_behind() => break,
                Phase::WebSocket => {
                    let len = rest.len();
                    let mut rest = rest;
                    let done = self.read_messages(now, &mut rest);
                    used += len - rest.len();
                    if done {
                        break;
                    }
                }
                Phase::Request => break,
                Phase::Closing | Phase::Closed => used = input.len(),
            }
        }
        // A request without a body is complete with its head, whether or not more bytes came.
        if self.stream.phase() == Phase::Body
            && let Ok(Some(body)) = self.stream.next_body(now, &mut &[][..])
        {
            self.handle_body(now, &body);
        }
        self.unread = u32::try_from(input.len() - used).unwrap_or(u32::MAX);
        if let Link::WebSocket(session) = &self.link
            && self.unread >= MAX_UNREAD
            && self.is_behind()
        {
            session.set_deaf();
        }
        used
    }

    fn handle_eof(&mut self, now: Time) {
        // What came before it has its turn, unless that takes longer than the session can be silent.
        if self.unread > 0 && self.is_behind() {
            return;
        }
        self.stream.handle_eof(now);
        self.lose(now, CloseReason::TransportClose);
    }

    fn wants_read(&self) -> bool {
        let high_water = self.server.config.high_water;
        match (&self.link, self.stream.phase()) {
            (_, Phase::Closed) => false,
            (_, Phase::Closing) => true,
            (Link::WebSocket(session), _) => {
                let queued = session.queued().saturating_sub(self.in_flight) + self.stream.queued();
                // While handlers are behind, the end of the stream is still looked for.
                let has_room = self.unread < MAX_UNREAD || session.has_room();
                has_room && queued < high_water && !self.inflated.is_enough(high_water)
            }
            (Link::Upgrading(..), _) => false,
            (_, Phase::Request) => self.unread < MAX_UNREAD,
            (Link::Delivering(_), _) if self.unread > 0 => self.stream.queued() == 0,
            _ => self.stream.queued() < high_water,
        }
    }

    fn poll_transmit(&mut self) -> Option<&mut Outbound> {
        let queued = self.stream.queued();
        match &self.link {
            Link::WebSocket(session) if queued == 0 => {
                session.transmit(self.stream.outbound());
                self.in_flight = self.stream.queued();
            }
            Link::WebSocket(session) if self.in_flight > queued + TELL => {
                session.set_in_flight(queued);
                self.in_flight = queued;
            }
            Link::Delivering(_) if queued == 0 => self.link = Link::None,
            _ => {}
        }
        self.arm();
        self.account();
        let out = self.stream.outbound();
        if out.is_empty() {
            buffers::reclaim(out);
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

impl<H: Handler> Connection<H> {
    /// Whether messages have to wait for handlers.
    fn is_behind(&self) -> bool {
        matches!(&self.link, Link::WebSocket(session) if !session.has_room())
    }

    /// Reads messages until none is complete. Whether no more can be done now.
    fn read_messages(&mut self, now: Time, input: &mut &mut [u8]) -> bool {
        loop {
            match self.stream.next_message(now, input) {
                Ok(Some(message)) => {
                    self.inflated.count(&message);
                    self.handle_message(now, message);
                    if self.inflated.is_enough(self.server.config.high_water)
                        && let Some(waker) = &self.waker
                    {
                        waker.wake_by_ref();
                    }
                }
                Ok(None) => return self.stream.phase() == Phase::WebSocket,
                Err(error) => {
                    debug!(%error, peer = ?self.peer.address, "a websocket connection failed");
                    self.lose(now, TransportError::WebSocket(error).into());
                    return false;
                }
            }
            match &self.link {
                Link::WebSocket(session) if session.is_closed() => {
                    self.follow_session(now);
                    return false;
                }
                Link::WebSocket(_) if self.is_behind() || !self.wants_read() => return true,
                Link::Upgrading(..) => return true,
                _ => {}
            }
        }
    }
}

impl<H: Handler> Drop for Connection<H> {
    fn drop(&mut self) {
        self.disarm();
        let now = self.server.now();
        self.lose(now, TransportError::Lost.into());
        self.set_busy(false);
    }
}

impl<H: Handler> fmt::Debug for Connection<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("peer", &self.peer).finish_non_exhaustive()
    }
}
