//! One byte stream of an Engine.IO server: which requests and frames mean what for which session.

use super::server::ServerInner;
use super::session::Session;
use super::timers::{Key, Target};
use super::{CloseReason, Handler, Handshake, Transport, TransportError};
use crate::log::debug;
use sockeye_core::connection::{self as stream, Answer, Expired, HandshakeError, Phase};
use sockeye_core::drive::{Protocol, Status as StreamStatus};
use sockeye_core::engineio::{
    Message, Packet, PacketError, Probing, Query, Refused, RequestError, Route, Ticket, split_payload,
};
use sockeye_core::host::Peer;
use sockeye_core::http::{self, Body, Request, Status};
use sockeye_core::{Outbound, Time, websocket};
use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// One byte stream that a [`Server`](super::Server) accepted.
pub struct Connection<H: Handler> {
    server: Arc<ServerInner<H>>,
    peer: Peer,
    stream: stream::Connection,
    link: Link<H>,
    waker: Option<Waker>,
    timer: Option<Key>,
    /// How many bytes were left unused by the last look at the input.
    unread: usize,
    /// How many of the session's bytes it believes to be here.
    in_flight: usize,
    /// There is something to finish before the server may end; the server counts these.
    busy: bool,
    /// The CORS headers of the request under way: its answer may come when it is gone.
    cors: Vec<(&'static str, Box<str>)>,
}

/// What the stream is in use for.
enum Link<H: Handler> {
    /// Nothing; or a request that is answered at once.
    None,
    /// The application decides whether a session may be opened.
    Opening(Box<Opening>),
    /// A poll waits for something to send.
    Poll(Session<H>),
    /// The answer to a poll is being written.
    Delivering(Session<H>),
    /// A request's body is being read.
    Post(Session<H>),
    /// The request was read; its answer waits until handlers keep up.
    Posted(Session<H>),
    /// The session's transport.
    WebSocket(Session<H>),
    /// A transport that is being tried.
    Probe(Session<H>, Ticket),
    /// A WebSocket connection that nobody wants.
    Refused,
}

struct Opening {
    decision: Pin<Box<dyn Future<Output = Result<(), String>> + Send>>,
    handshake: Handshake,
    /// The key of the WebSocket handshake, if it is one.
    key: Option<Vec<u8>>,
}

/// How many bytes of later requests may wait behind one that is being answered.
const MAX_PIPELINED: usize = 16 << 10;
/// After how many written bytes the session is told that there is room again.
const TELL: usize = 64 << 10;

impl<H: Handler> Connection<H> {
    pub(super) fn new(now: Time, server: Arc<ServerInner<H>>, peer: Peer) -> Self {
        let stream = stream::Connection::new(now, server.limits.clone());
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
            cors: Vec::new(),
        }
    }

    // Requests.

    fn handle_request(&mut self, now: Time, request: &Request<'_>, body: Body) {
        let server = self.server.clone();
        if server.cors.is_preflight(request) {
            let headers = server.cors.headers(request);
            return self.stream.respond(now, Status::NO_CONTENT, headers, Answer::Bytes(b""));
        }
        let path = request.path();
        if path.strip_suffix('/').unwrap_or(path) != server.path {
            return self.give_asset(now, request);
        }
        self.cors = server.cors.headers(request).map(|(name, value)| (name, value.into())).collect();
        if let Err(error) = self.route(now, request, body) {
            self.answer_error(now, stream::is_upgrade(request), &error);
        }
    }

    fn route(&mut self, now: Time, request: &Request<'_>, body: Body) -> Result<(), RequestError> {
        let server = self.server.clone();
        let is_upgrade = stream::is_upgrade(request);
        let query = Query::parse(request.query())?;
        let exists = |id: &_| server.has_session(id);
        match Route::of(request, is_upgrade, &query, &server.config, exists)? {
            Route::Open(_) if server.is_closing() => Err(RequestError::Unavailable),
            Route::Open(transport) => self.open(now, request, transport),
            Route::Poll(id) => {
                let session = server.session(&id).ok_or(RequestError::UnknownSession)?;
                self.poll(now, session)
            }
            Route::Post(id) => {
                let session = server.session(&id).ok_or(RequestError::UnknownSession)?;
                self.post(now, request, session, body)
            }
            Route::Upgrade(id) => {
                let session = server.session(&id).ok_or(RequestError::UnknownSession)?;
                self.probe(now, request, session)
            }
        }
    }

    fn open(&mut self, now: Time, request: &Request<'_>, transport: Transport) -> Result<(), RequestError> {
        let server = self.server.clone();
        let key = match transport {
            Transport::WebSocket => Some(self.websocket_key(now, request)?),
            Transport::Polling => None,
        };
        let handshake = Handshake::new(request, self.peer);
        let Some(allow) = &server.allow_request else {
            return self.opened(now, key, handshake);
        };
        let key = key.map(<[u8]>::to_vec);
        self.link = Link::Opening(Box::new(Opening { decision: allow(handshake.clone()), handshake, key }));
        self.stream.hold();
        self.decide(now);
        Ok(())
    }

    /// Looks whether the application has decided.
    fn decide(&mut self, now: Time) {
        let Link::Opening(opening) = &mut self.link else { return };
        let waker = self.waker.as_ref().unwrap_or(Waker::noop());
        let Poll::Ready(decision) = opening.decision.as_mut().poll(&mut Context::from_waker(waker)) else {
            return;
        };
        let Link::Opening(opening) = std::mem::replace(&mut self.link, Link::None) else { return };
        let Opening { handshake, key, .. } = *opening;
        let result = match decision {
            Ok(()) => self.opened(now, key.as_deref(), handshake),
            Err(message) => Err(RequestError::Forbidden(message)),
        };
        if let Err(error) = result {
            self.answer_error(now, key.is_some(), &error);
        }
    }

    fn opened(&mut self, now: Time, key: Option<&[u8]>, handshake: Handshake) -> Result<(), RequestError> {
        let transport = if key.is_some() { Transport::WebSocket } else { Transport::Polling };
        let server = self.server.clone();
        let session = server.open(now, transport, handshake).ok_or(RequestError::Unavailable)?;
        let mut headers = std::mem::take(&mut self.cors);
        if let Some(cookie) = &server.cookie {
            headers.push(("Set-Cookie", cookie.write(&session.id()).into()));
        }
        let headers = borrow(&headers);
        match key {
            Some(key) => {
                self.stream.upgrade(now, key, headers);
                session.set_waker(self.waker.as_ref());
                self.link = Link::WebSocket(session);
            }
            None => {
                // Nobody else knows the session yet: this cannot be refused, and finds the handshake waiting.
                let _ = session.with(|engine, _| engine.begin_poll(now));
                let payload = session.take_payload().unwrap_or_default();
                self.stream.respond(
                    now,
                    Status::OK,
                    PAYLOAD.into_iter().map(shorten).chain(headers),
                    Answer::Queue(payload),
                );
            }
        }
        Ok(())
    }

    fn poll(&mut self, now: Time, session: Session<H>) -> Result<(), RequestError> {
        if !self.admit(now, session.with(|engine, _| engine.begin_poll(now)))? {
            return Ok(());
        }
        let mut payload = session.take_payload();
        if payload.is_none() {
            session.set_waker(self.waker.as_ref());
            // What came in between was not announced to anybody.
            payload = session.take_payload();
        }
        match payload {
            Some(payload) => self.give_payload(now, session, payload),
            None => {
                self.stream.hold();
                self.link = Link::Poll(session);
            }
        }
        Ok(())
    }

    fn post(
        &mut self,
        now: Time,
        request: &Request<'_>,
        session: Session<H>,
        body: Body,
    ) -> Result<(), RequestError> {
        if !self.admit(now, session.with(|engine, _| engine.begin_post(now)))? {
            return Ok(());
        }
        let limit = self.server.config.max_payload;
        let content_type = request.header_str("content-type").unwrap_or_default();
        let error = match body {
            Body::Length(length) if usize::try_from(length).is_ok_and(|length| length > limit) => {
                Some((RequestError::TooLarge, TransportError::TooLarge { limit }))
            }
            _ if content_type.starts_with("application/octet-stream") => {
                Some((RequestError::BadRequest, TransportError::ContentType))
            }
            _ => None,
        };
        if let Some((refusal, reason)) = error {
            session.with(|engine, _| {
                engine.end_post();
                engine.close(now, reason.into());
            });
            return Err(refusal);
        }
        self.stream.receive_body(now);
        self.link = Link::Post(session);
        Ok(())
    }

    /// Whether a request may go on; if not, and without an error, it is answered.
    fn admit(&mut self, now: Time, begun: Result<(), Refused>) -> Result<bool, RequestError> {
        match begun {
            Ok(()) => Ok(true),
            Err(Refused::Closed) => Err(RequestError::UnknownSession),
            Err(Refused::Overlap) => {
                let cors = std::mem::take(&mut self.cors);
                self.stream.respond(now, Status::BAD_REQUEST, borrow(&cors), Answer::Bytes(b""));
                Ok(false)
            }
            Err(_) => Err(RequestError::BadRequest),
        }
    }

    fn probe(&mut self, now: Time, request: &Request<'_>, session: Session<H>) -> Result<(), RequestError> {
        let key = self.websocket_key(now, request)?;
        self.stream.upgrade(now, key, []);
        self.cors = Vec::new();
        match session.with(|engine, _| engine.begin_upgrade(now)) {
            Ok(ticket) => {
                session.set_probe_waker(ticket, self.waker.as_ref());
                self.link = Link::Probe(session, ticket);
            }
            Err(_) => {
                self.link = Link::Refused;
                self.stream.close(now, None, "");
            }
        }
        Ok(())
    }

    fn websocket_key<'a>(&mut self, now: Time, request: &Request<'a>) -> Result<&'a [u8], RequestError> {
        stream::websocket_key(request).map_err(|error| {
            if error == HandshakeError::Version {
                // The one refusal for which the answer is laid down (RFC 6455, section 4.4).
                let headers = [("Sec-WebSocket-Version", "13")];
                self.stream.respond(now, Status::UPGRADE_REQUIRED, headers, Answer::Bytes(b""));
            }
            RequestError::BadRequest
        })
    }

    fn handle_body(&mut self, now: Time, body: &[u8]) {
        let Link::Post(session) = std::mem::replace(&mut self.link, Link::None) else { return };
        let result = match std::str::from_utf8(body) {
            Ok(text) => self.handle_payload(now, &session, text),
            Err(_) => Err(PacketError::Utf8),
        };
        if let Err(error) = result {
            session.with(|engine, _| {
                engine.end_post();
                engine.close(now, CloseReason::ParseError(error));
            });
            debug!(%error, "a payload that cannot be read");
            return self.answer_error(now, false, &RequestError::BadRequest);
        }
        self.link = Link::Posted(session);
        self.end_post(now);
    }

    /// Answers a request with data once handlers keep up: before, the client sends no more.
    fn end_post(&mut self, now: Time) {
        let Link::Posted(session) = &self.link else { return };
        if !session.has_room_or_wake(self.waker.as_ref()) && !session.is_closed() {
            return self.stream.hold();
        }
        session.with(|engine, _| engine.end_post());
        self.link = Link::None;
        let cors = std::mem::take(&mut self.cors);
        let headers = POSTED.into_iter().map(shorten).chain(borrow(&cors));
        self.stream.respond(now, Status::OK, headers, Answer::Bytes(b"ok"));
    }

    /// The packets before one that cannot be read still count.
    fn handle_payload(&self, now: Time, session: &Session<H>, text: &str) -> Result<(), PacketError> {
        session.with(|engine, _| engine.heard(now));
        for packet in split_payload(text) {
            match Packet::decode(packet)? {
                Packet::Message(_) if session.is_closed() => {}
                packet => self.handle_packet(now, session, packet),
            }
        }
        Ok(())
    }

    fn handle_packet(&self, now: Time, session: &Session<H>, packet: Packet<'_>) {
        match packet {
            // The common case needs no lock here.
            Packet::Message(message) => self.server.handler.on_message(session, message),
            packet => {
                session.with(|engine, _| engine.handle_packet(now, packet));
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
            (Link::WebSocket(session), Ok(packet)) => self.handle_packet(now, session, packet),
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
            Probing::Complete => {
                session.wake();
                session.set_waker(self.waker.as_ref());
                self.link = Link::WebSocket(session);
            }
            Probing::Close => self.give_up_probe(now),
        }
    }

    fn give_up_probe(&mut self, now: Time) {
        if let Link::Probe(session, ticket) = std::mem::replace(&mut self.link, Link::Refused) {
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

    // Answers.

    fn give_payload(&mut self, now: Time, session: Session<H>, payload: Outbound) {
        self.link = Link::Delivering(session);
        let cors = std::mem::take(&mut self.cors);
        let headers = PAYLOAD.into_iter().map(shorten).chain(borrow(&cors));
        self.stream.respond(now, Status::OK, headers, Answer::Queue(payload));
    }

    fn answer_error(&mut self, now: Time, is_upgrade: bool, error: &RequestError) {
        debug!(%error, "a request is refused");
        if is_upgrade {
            // The client of a WebSocket reads no JSON; the reference sends the bare message.
            let status = if matches!(error, RequestError::Unavailable) { 503 } else { 400 };
            let status = Status::new(status).unwrap_or(Status::BAD_REQUEST);
            let headers = [("Content-type", "text/html")];
            self.stream.end_keep_alive();
            return self.stream.respond(now, status, headers, Answer::Bytes(error.to_string().as_bytes()));
        }
        let status = Status::new(error.status()).unwrap_or(Status::BAD_REQUEST);
        let cors = std::mem::take(&mut self.cors);
        let body = error.body();
        let json = [("Content-Type", "application/json")].into_iter().filter(|_| !body.is_empty());
        self.stream.respond(
            now,
            status,
            json.map(shorten).chain(borrow(&cors)),
            Answer::Bytes(body.as_bytes()),
        );
    }

    fn give_asset(&mut self, now: Time, request: &Request<'_>) {
        let server = self.server.clone();
        let is_head = request.method() == "HEAD";
        let Some(asset) = server.assets.get(request.path()).filter(|_| is_head || request.method() == "GET")
        else {
            return self.stream.respond(now, Status::NOT_FOUND, [], Answer::Bytes(b""));
        };
        let own = [("ETag", asset.etag.as_str()), ("Cache-Control", "public, max-age=0")];
        let headers = own.into_iter().chain(server.cors.headers(request));
        if request.header_str("if-none-match").is_some_and(|known| matches_etag(known, &asset.etag)) {
            return self.stream.respond(
                now,
                Status::NOT_MODIFIED,
                headers,
                Answer::HeadOnly(asset.body.len()),
            );
        }
        let headers = headers.chain([("Content-Type", asset.content_type.as_ref())]);
        let body = if is_head { Answer::HeadOnly(asset.body.len()) } else { Answer::Bytes(&asset.body) };
        self.stream.respond(now, Status::OK, headers, body);
    }

    // The end, and time.

    /// What became of the session while this side was not looking.
    fn follow_session(&mut self, now: Time) {
        match &self.link {
            Link::Opening(_) => self.decide(now),
            Link::Posted(_) => self.end_post(now),
            Link::Poll(session) => {
                if let Some(payload) = session.take_payload() {
                    let session = session.clone();
                    self.give_payload(now, session, payload);
                }
            }
            Link::WebSocket(session) if session.is_closed() => {
                let session = session.clone();
                session.transmit(self.stream.outbound());
                let reason = session.peek(|engine, _| engine.closed().cloned());
                self.close_stream(now, reason);
            }
            Link::Probe(session, ticket) if !session.peek(|engine, _| engine.is_upgrading(*ticket)) => {
                self.give_up_probe(now);
            }
            _ => {}
        }
    }

    /// A body that was refused while it came: too large, or not what it said.
    fn follow_refusal(&mut self, now: Time) {
        if self.stream.phase() == Phase::Closing
            && let Link::Post(session) = std::mem::replace(&mut self.link, Link::None)
        {
            let reason = match self.stream.failure() {
                Some(http::Error::BodyTooLarge) | None => {
                    TransportError::TooLarge { limit: self.server.config.max_payload }
                }
                Some(error) => TransportError::Body(error),
            };
            session.with(|engine, _| {
                engine.end_post();
                engine.close(now, reason.into());
            });
        }
    }

    /// The stream can carry nothing any more: tells the session.
    fn lose(&mut self, now: Time, reason: CloseReason) {
        match std::mem::replace(&mut self.link, Link::None) {
            Link::None | Link::Opening(_) | Link::Refused => {}
            Link::Poll(session) => session.with(|engine, _| engine.abort_poll(now)),
            // What was on its way is lost; the client would go on as if nothing was.
            Link::Delivering(session) if self.stream.queued() > 0 => {
                session.with(|engine, _| engine.close(now, TransportError::PollAborted.into()));
            }
            Link::Delivering(_) => {}
            Link::Post(session) => session.with(|engine, _| engine.abort_post(now)),
            Link::Posted(session) => session.with(|engine, _| engine.end_post()),
            Link::WebSocket(session) => session.with(|engine, _| engine.close(now, reason)),
            Link::Probe(session, ticket) => session.with(|engine, _| engine.abort_upgrade(ticket)),
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
            Link::None => false,
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

/// The headers of a payload.
const PAYLOAD: [(&str, &str); 2] =
    [("Content-Type", "text/plain; charset=UTF-8"), ("Cache-Control", "no-store")];
/// The headers of the answer to data.
const POSTED: [(&str, &str); 1] = [("Content-Type", "text/html")];

fn borrow<'a>(headers: &'a [(&'static str, Box<str>)]) -> impl Iterator<Item = (&'static str, &'a str)> {
    headers.iter().map(|(name, value)| (*name, &**value))
}

/// Lets a constant header stand in a list with others.
fn shorten<'a>((name, value): (&'static str, &'static str)) -> (&'static str, &'a str) {
    (name, value)
}

fn matches_etag(header: &str, etag: &str) -> bool {
    header.split(',').map(str::trim).any(|known| known == "*" || known.trim_start_matches("W/") == etag)
}

impl<H: Handler> Protocol for Connection<H> {
    fn set_waker(&mut self, waker: &Waker) {
        if self.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            return;
        }
        self.waker = Some(waker.clone());
        match &self.link {
            Link::Poll(session) | Link::WebSocket(session) => session.set_waker(Some(waker)),
            Link::Probe(session, ticket) => session.set_probe_waker(*ticket, Some(waker)),
            // If there is room by now, the turn that follows sees it.
            Link::Posted(session) => _ = session.has_room_or_wake(Some(waker)),
            _ => {}
        }
        self.disarm();
        self.arm();
    }

    fn handle_wake(&mut self, now: Time) {
        if self.timer.is_some_and(|(at, _)| at <= now) {
            self.disarm();
        }
        if matches!(&self.link, Link::WebSocket(session) if !session.has_room()) {
            self.stream.postpone(now);
        }
        match self.stream.handle_timeout(now) {
            None => {}
            Some(Expired::Connection) => self.lose(now, TransportError::Lost.into()),
            Some(Expired::Message) => {
                debug!(peer = ?self.peer.address, "a message took too long to arrive");
                self.lose(now, TransportError::TooSlow.into());
            }
        }
        self.follow_session(now);
    }

    fn handle_data(&mut self, now: Time, input: &mut [u8]) -> usize {
        match &self.link {
            Link::WebSocket(session) => session.begin_turn(now),
            Link::Post(session) => session.with(|engine, _| engine.heard(now)),
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
                    self.handle_request(now, &head.request, head.body);
                    used += head.len;
                }
                Phase::Body => {
                    let (n, body) = self.stream.next_body(now, rest);
                    if let Some(body) = &body {
                        self.handle_body(now, body);
                    }
                    used += n;
                    if body.is_none() {
                        self.follow_refusal(now);
                        break;
                    }
                }
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
            && let (_, Some(body)) = self.stream.next_body(now, &[])
        {
            self.handle_body(now, &body);
        }
        self.unread = input.len() - used;
        used
    }

    fn handle_eof(&mut self, now: Time) {
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
                session.has_room() && queued < high_water
            }
            (_, Phase::Request) => self.unread < MAX_PIPELINED,
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
        Some(self.stream.outbound()).filter(|out| !out.is_empty())
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
    /// Reads messages until none is complete. Whether no more can be done now.
    fn read_messages(&mut self, now: Time, input: &mut &mut [u8]) -> bool {
        loop {
            match self.stream.next_message(now, input) {
                Ok(Some(message)) => self.handle_message(now, message),
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
                Link::WebSocket(_) if !self.wants_read() => return true,
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
