//! One request and its response, independent of the HTTP server that received it.

use super::server::ServerInner;
use super::session::Session;
use super::{CloseReason, Handler, Handshake, Transport, TransportError};
use crate::guard::{Guarded, guard};
use crate::log::debug;
use smallvec::SmallVec;
use sockeye_core::connection::{self as stream, UpgradeError};
use sockeye_core::engineio::{
    Packet, PacketError, Query, Refused, RequestError, Route, Ticket, split_payload,
};
use sockeye_core::http::{Body, Request, Status};
use sockeye_core::websocket::Deflate;
use sockeye_core::{Outbound, Time};
use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// A request, until it is answered.
pub(crate) struct Exchange<H: Handler> {
    state: State<H>,
    /// The CORS headers of the response, kept because the request may be gone by then.
    cors: Vec<Header>,
}

enum State<H: Handler> {
    /// The application decides whether a session may be opened.
    Opening(Box<Opening>),
    /// A poll waits for something to send, at most until this time: the session sends a ping long before.
    Poll(Session<H>, Time),
    /// The body is being read.
    Post(Session<H>),
    /// The body was read. The rest of its packets, and the response, wait until handlers keep up.
    Posted(Session<H>, Option<Box<Rest>>),
    /// There is nothing left to wait for.
    Answered,
}

struct Opening {
    decision: Guarded<Result<(), String>>,
    deadline: Time,
    handshake: Handshake,
    over: Over,
}

/// The part of a payload that was not handled yet.
struct Rest {
    text: String,
    /// The start of the part, in bytes.
    at: usize,
}

/// The number of packets of a payload that are handled in one turn, so that other connections get theirs.
const MAX_TURN: usize = 1024;

/// The transport of a new session.
enum Over {
    Polling,
    WebSocket(Asked),
}

/// The parameters of a WebSocket handshake.
struct Asked {
    /// The client's key; an extended CONNECT has none.
    key: Option<Key>,
    /// The agreed compression, and its header.
    deflate: Option<(Deflate, Cow<'static, str>)>,
    /// The agreed subprotocol.
    subprotocol: Option<String>,
}

/// A request as received.
pub(crate) struct Incoming<'a> {
    pub(crate) request: &'a Request<'a>,
    pub(crate) upgrade: Upgrade,
    pub(crate) body: Body,
}

/// How a request asks to become a WebSocket connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Upgrade {
    /// Not at all.
    None,
    /// By `Upgrade`, as in HTTP/1.1 (RFC 6455).
    Http1,
    /// By an extended CONNECT, as in HTTP/2 (RFC 8441). Its method is passed on as GET, which it replaces.
    #[cfg(feature = "http")]
    Connect,
}

/// The next step of an exchange.
pub(crate) enum Step<H: Handler> {
    /// Wait: call [`follow`](Exchange::follow) again when the waker was called.
    Wait,
    /// Read the body of the request.
    Body,
    /// Send this response.
    Answer(Answer<H>),
    /// Become a WebSocket connection.
    Upgrade(Accept<H>),
}

/// The response to a request.
pub(crate) struct Answer<H: Handler> {
    pub(crate) status: Status,
    pub(crate) headers: Headers,
    pub(crate) body: Content,
    /// The session whose messages the body carries.
    pub(crate) session: Option<Session<H>>,
    /// The connection must be closed after this.
    pub(crate) close: bool,
}

/// The response to a WebSocket handshake.
pub(crate) struct Accept<H: Handler> {
    /// The client's key; an extended CONNECT has none.
    pub(crate) key: Option<Key>,
    pub(crate) headers: Headers,
    pub(crate) deflate: Option<Deflate>,
    pub(crate) carries: Carries<H>,
}

/// The purpose of a new WebSocket connection.
pub(crate) enum Carries<H: Handler> {
    /// It is the session's transport.
    Session(Session<H>),
    /// It is the connection of an upgrade in progress.
    Probe(Session<H>, Ticket),
    /// None: it has to be closed.
    Nothing,
}

pub(crate) enum Content {
    Static(&'static [u8]),
    Queue(Outbound),
    /// No body, although the head declares this length.
    HeadOnly(usize),
}

pub(crate) type Header = (&'static str, Cow<'static, str>);
pub(crate) type Headers = SmallVec<[Header; 4]>;
/// A valid `Sec-WebSocket-Key`.
pub(crate) type Key = [u8; 24];

impl<H: Handler> Answer<H> {
    fn new(status: Status, headers: impl IntoIterator<Item = Header>, body: Content) -> Answer<H> {
        let headers = headers.into_iter().collect();
        Answer { status, headers, body, session: None, close: false }
    }
}

impl<H: Handler> From<Answer<H>> for Step<H> {
    fn from(answer: Answer<H>) -> Self {
        Step::Answer(answer)
    }
}

impl<H: Handler> Exchange<H> {
    /// Begins to handle a request. `waker` is called when something that it waits for happens.
    pub(crate) fn begin(
        now: Time,
        server: &Arc<ServerInner<H>>,
        incoming: &Incoming<'_>,
        handshake: impl FnOnce() -> Handshake,
        waker: Option<&Waker>,
    ) -> (Exchange<H>, Step<H>) {
        let request = incoming.request;
        let cors = server.cors.headers(request).map(|(name, value)| (name, value.to_owned().into()));
        let mut exchange = Exchange { state: State::Answered, cors: cors.collect() };
        if server.cors.is_preflight(request) {
            let step = exchange.answer(Status::NO_CONTENT, [], Content::Static(b"")).into();
            return (exchange, step);
        }
        if !server.is_path(request.path()) {
            let step = exchange.give_asset(server, request).into();
            return (exchange, step);
        }
        let step = match exchange.route(now, server, incoming, handshake, waker) {
            Ok(step) => step,
            Err(error) => exchange.refuse(incoming.upgrade != Upgrade::None, &error).into(),
        };
        (exchange, step)
    }

    fn route(
        &mut self,
        now: Time,
        server: &Arc<ServerInner<H>>,
        incoming: &Incoming<'_>,
        handshake: impl FnOnce() -> Handshake,
        waker: Option<&Waker>,
    ) -> Result<Step<H>, RequestError> {
        let request = incoming.request;
        let query = Query::parse(request.query())?;
        let is_upgrade = incoming.upgrade != Upgrade::None;
        let mut session = None;
        let exists = |id: &_| {
            session = server.session(id);
            session.is_some()
        };
        let route = Route::of(request, is_upgrade, &query, &server.config, exists)?;
        let session = session.ok_or(RequestError::UnknownSession);
        match route {
            Route::Open(_) if server.is_closing() => Err(RequestError::Unavailable),
            Route::Open(transport) => {
                let over = match transport {
                    Transport::Polling => Over::Polling,
                    Transport::WebSocket => match Asked::of(incoming, server) {
                        Ok(asked) => Over::WebSocket(asked),
                        Err(error) => return Ok(self.refuse_handshake(incoming.upgrade, error).into()),
                    },
                };
                self.open(now, server, over, handshake(), waker)
            }
            Route::Poll(_) => self.poll(now, server, session?, waker),
            Route::Post(_) => self.post(now, server, session?, request, incoming.body),
            Route::Upgrade(_) => match Asked::of(incoming, server) {
                Ok(asked) => Ok(self.probe(now, session?, asked, waker)),
                Err(error) => Ok(self.refuse_handshake(incoming.upgrade, error).into()),
            },
        }
    }

    fn open(
        &mut self,
        now: Time,
        server: &Arc<ServerInner<H>>,
        over: Over,
        handshake: Handshake,
        waker: Option<&Waker>,
    ) -> Result<Step<H>, RequestError> {
        let Some(allow) = &server.allow_request else {
            return self.opened(now, server, over, handshake, waker);
        };
        let decision = guard("allow_request", || allow(handshake.clone()));
        let decision = Guarded(decision.ok_or(RequestError::Unavailable)?);
        let deadline = now + server.config.allow_timeout;
        self.state = State::Opening(Box::new(Opening { decision, deadline, handshake, over }));
        Ok(self.decide(now, server, waker))
    }

    /// Checks whether the application has decided.
    fn decide(&mut self, now: Time, server: &Arc<ServerInner<H>>, waker: Option<&Waker>) -> Step<H> {
        let State::Opening(opening) = &mut self.state else { return Step::Wait };
        let mut context = Context::from_waker(waker.unwrap_or(Waker::noop()));
        let decision = match Pin::new(&mut opening.decision).poll(&mut context) {
            // `None` if it panicked.
            Poll::Ready(decision) => decision,
            Poll::Pending if now >= opening.deadline => None,
            Poll::Pending => return Step::Wait,
        };
        let State::Opening(opening) = self.end() else { return Step::Wait };
        let Opening { handshake, over, .. } = *opening;
        let is_upgrade = matches!(over, Over::WebSocket(_));
        let opened = match decision {
            Some(Ok(())) => self.opened(now, server, over, handshake, waker),
            Some(Err(message)) => Err(RequestError::Forbidden(message)),
            None => Err(RequestError::Unavailable),
        };
        opened.unwrap_or_else(|error| self.refuse(is_upgrade, &error).into())
    }

    fn opened(
        &mut self,
        now: Time,
        server: &Arc<ServerInner<H>>,
        over: Over,
        handshake: Handshake,
        waker: Option<&Waker>,
    ) -> Result<Step<H>, RequestError> {
        let transport = match over {
            Over::Polling => Transport::Polling,
            Over::WebSocket(_) => Transport::WebSocket,
        };
        let session = server.open(now, transport, handshake).ok_or(RequestError::Unavailable)?;
        let cookie = server.cookie.as_ref().map(|cookie| ("Set-Cookie", cookie.write(&session.id()).into()));
        if let Over::WebSocket(asked) = over {
            if let Some((deflate, _)) = asked.deflate {
                session.with(|engine, _| engine.set_deflate(deflate));
            }
            session.set_waker(waker);
            let headers = std::mem::take(&mut self.cors).into_iter().chain(cookie).collect();
            return Ok(asked.accept(headers, Carries::Session(session)));
        }
        // No other connection knows the session yet: this cannot be refused, and the handshake is queued.
        let _ = session.with(|engine, _| engine.begin_poll(now));
        let payload = session.take_payload(None).unwrap_or_default();
        Ok(self.answer(Status::OK, PAYLOAD.into_iter().chain(cookie), Content::Queue(payload)).into())
    }

    fn poll(
        &mut self,
        now: Time,
        server: &ServerInner<H>,
        session: Session<H>,
        waker: Option<&Waker>,
    ) -> Result<Step<H>, RequestError> {
        if let Err(refused) = session.with(|engine, _| engine.begin_poll(now)) {
            return self.refuse_second(refused);
        }
        Ok(match session.take_payload(waker) {
            Some(payload) => self.give_payload(session, payload).into(),
            None => {
                let config = &server.config;
                let longest = config.ping_interval + config.ping_timeout + config.close_timeout;
                self.state = State::Poll(session, now + longest);
                Step::Wait
            }
        })
    }

    fn post(
        &mut self,
        now: Time,
        server: &ServerInner<H>,
        session: Session<H>,
        request: &Request<'_>,
        body: Body,
    ) -> Result<Step<H>, RequestError> {
        if let Err(refused) = session.with(|engine, _| engine.begin_post(now)) {
            return self.refuse_second(refused);
        }
        self.state = State::Post(session);
        let limit = server.config.max_payload;
        let content_type = request.header_str("content-type").unwrap_or_default();
        Ok(match body {
            Body::Length(length) if usize::try_from(length).is_ok_and(|length| length > limit) => {
                self.refuse_body(now, TransportError::TooLarge { limit }).into()
            }
            _ if content_type.starts_with("application/octet-stream") => {
                self.refuse_body(now, TransportError::ContentType).into()
            }
            _ => Step::Body,
        })
    }

    fn probe(&mut self, now: Time, session: Session<H>, asked: Asked, waker: Option<&Waker>) -> Step<H> {
        let begun = session.with(|engine, _| {
            let ticket = engine.begin_upgrade(now)?;
            if let Some((deflate, _)) = asked.deflate {
                engine.set_deflate(deflate);
            }
            Ok::<_, Refused>(ticket)
        });
        let carries = match begun {
            Ok(ticket) => {
                session.set_probe_waker(ticket, waker);
                Carries::Probe(session, ticket)
            }
            Err(_) => Carries::Nothing,
        };
        asked.accept(Headers::new(), carries)
    }

    /// Handles the whole body of the request, after [`Step::Body`].
    pub(crate) fn handle_body(
        &mut self,
        now: Time,
        server: &ServerInner<H>,
        body: &[u8],
        waker: Option<&Waker>,
    ) -> Step<H> {
        let State::Post(session) = self.end() else { return Step::Wait };
        let taken = match std::str::from_utf8(body) {
            Ok(text) => take_packets(now, server, &session, text),
            Err(_) => Err(PacketError::Utf8),
        };
        let rest = taken.map(|left| left.map(|text| Box::new(Rest { text: text.to_owned(), at: 0 })));
        self.end_post(now, session, rest, waker)
    }

    /// Refuses the body, and ends the session.
    pub(crate) fn refuse_body(&mut self, now: Time, reason: TransportError) -> Answer<H> {
        let error = match reason {
            TransportError::TooLarge { .. } => RequestError::TooLarge,
            TransportError::TooSlow => RequestError::TooSlow,
            _ => RequestError::BadRequest,
        };
        if let State::Post(session) = self.end() {
            session.with(|engine, _| {
                engine.end_post();
                engine.close(now, reason.into());
            });
        }
        self.refuse(false, &error)
    }

    /// Handles more of a payload if handlers keep up.
    fn follow_post(&mut self, now: Time, server: &ServerInner<H>, waker: Option<&Waker>) -> Step<H> {
        let State::Posted(session, rest) = self.end() else { return Step::Wait };
        let rest = match rest {
            Some(rest) if may_go_on(&session, waker) => rest.take_packets(now, server, &session),
            rest => Ok(rest),
        };
        self.end_post(now, session, rest, waker)
    }

    /// Answers a POST request once all of its body was handled and handlers keep up: until then, the client
    /// sends no more.
    fn end_post(
        &mut self,
        now: Time,
        session: Session<H>,
        rest: Result<Option<Box<Rest>>, PacketError>,
        waker: Option<&Waker>,
    ) -> Step<H> {
        let rest = match rest {
            Ok(rest) => rest,
            Err(error) => {
                session.with(|engine, _| {
                    engine.end_post();
                    engine.close(now, CloseReason::ParseError(error));
                });
                debug!(%error, "a payload that cannot be read");
                return self.refuse(false, &RequestError::BadRequest).into();
            }
        };
        let may_go_on = may_go_on(&session, waker);
        if may_go_on && rest.is_none() {
            session.with(|engine, _| engine.end_post());
            return self.answer(Status::OK, [POSTED], Content::Static(b"ok")).into();
        }
        self.state = State::Posted(session, rest);
        // Continue in another turn.
        if may_go_on && let Some(waker) = waker {
            waker.wake_by_ref();
        }
        Step::Wait
    }

    /// Checks whether the event that the request waits for has happened.
    pub(crate) fn follow(
        &mut self,
        now: Time,
        server: &Arc<ServerInner<H>>,
        waker: Option<&Waker>,
    ) -> Step<H> {
        match &self.state {
            State::Opening(_) => self.decide(now, server, waker),
            State::Posted(..) => self.follow_post(now, server, waker),
            State::Poll(session, deadline) => match session.take_payload(waker) {
                Some(payload) => {
                    let session = session.clone();
                    self.give_payload(session, payload).into()
                }
                None if now >= *deadline => {
                    self.lose(now);
                    self.refuse(false, &RequestError::Unavailable).into()
                }
                None => Step::Wait,
            },
            State::Post(_) | State::Answered => Step::Wait,
        }
    }

    /// Returns the deadline of the application's decision or of a poll, after which
    /// [`follow`](Exchange::follow) refuses the request. Other exchanges end with their session.
    pub(crate) fn deadline(&self) -> Option<Time> {
        match &self.state {
            State::Opening(opening) => Some(opening.deadline),
            State::Poll(_, deadline) => Some(*deadline),
            _ => None,
        }
    }

    /// Sets the waker to call from now on.
    pub(crate) fn set_waker(&self, waker: &Waker) {
        match &self.state {
            State::Poll(session, _) => session.set_poll_waker(waker),
            // If handlers keep up by now, the turn that follows sees it.
            State::Posted(session, _) => _ = session.has_room_or_wake(Some(waker)),
            State::Opening(_) | State::Post(_) | State::Answered => {}
        }
    }

    /// Notes that more of the body has arrived.
    pub(crate) fn heard(&self, now: Time) {
        if let State::Post(session) = &self.state {
            session.heard(now);
        }
    }

    /// Returns whether the exchange is over.
    #[cfg(feature = "http")]
    pub(crate) fn is_answered(&self) -> bool {
        matches!(self.state, State::Answered)
    }

    /// Ends an exchange whose response can no longer be sent.
    pub(crate) fn lose(&mut self, now: Time) {
        match self.end() {
            State::Opening(_) | State::Answered => {}
            State::Poll(session, _) => session.with(|engine, _| engine.abort_poll(now)),
            State::Post(session) => session.with(|engine, _| engine.abort_post(now)),
            State::Posted(session, None) => session.with(|engine, _| engine.end_post()),
            // There is no way to tell the client that not all of the body was handled.
            State::Posted(session, Some(_)) => session.with(|engine, _| engine.abort_post(now)),
        }
    }

    fn end(&mut self) -> State<H> {
        std::mem::replace(&mut self.state, State::Answered)
    }

    // Answers.

    fn answer(
        &mut self,
        status: Status,
        headers: impl IntoIterator<Item = Header>,
        body: Content,
    ) -> Answer<H> {
        self.state = State::Answered;
        Answer::new(status, headers.into_iter().chain(std::mem::take(&mut self.cors)), body)
    }

    fn give_payload(&mut self, session: Session<H>, payload: Outbound) -> Answer<H> {
        let answer = self.answer(Status::OK, PAYLOAD, Content::Queue(payload));
        Answer { session: Some(session), ..answer }
    }

    fn refuse(&mut self, is_upgrade: bool, error: &RequestError) -> Answer<H> {
        debug!(%error, "a request is refused");
        if is_upgrade {
            // A WebSocket client reads no JSON; the reference sends the bare message.
            let status = if matches!(error, RequestError::Unavailable) { 503 } else { 400 };
            let status = Status::new(status).unwrap_or(Status::BAD_REQUEST);
            self.cors = Vec::new();
            let answer = self.answer(status, [("Content-Type", "text/html".into())], text(error.to_string()));
            return Answer { close: true, ..answer };
        }
        let status = Status::new(error.status()).unwrap_or(Status::BAD_REQUEST);
        let body = error.body();
        let json = (!body.is_empty()).then_some(("Content-Type", "application/json".into()));
        let allow = (status == Status::METHOD_NOT_ALLOWED).then_some(("Allow", "GET, POST".into()));
        self.answer(status, json.into_iter().chain(allow), text(body))
    }

    /// Refuses an overlapping request of the same kind, or one that comes after the end of the session.
    fn refuse_second(&mut self, refused: Refused) -> Result<Step<H>, RequestError> {
        match refused {
            Refused::Closed => Err(RequestError::UnknownSession),
            Refused::Overlap => Ok(self.answer(Status::BAD_REQUEST, [], Content::Static(b"")).into()),
            _ => Err(RequestError::BadRequest),
        }
    }

    fn refuse_handshake(&mut self, upgrade: Upgrade, error: UpgradeError) -> Answer<H> {
        if error == UpgradeError::Version {
            // The one refusal whose response is specified (RFC 6455, section 4.4; RFC 9110, section 15.5.22).
            self.cors = Vec::new();
            let version = ("Sec-WebSocket-Version", "13".into());
            let http1 = [("Upgrade", "websocket".into()), ("Connection", "Upgrade".into())];
            let http1 = http1.into_iter().filter(|_| upgrade == Upgrade::Http1);
            let headers = std::iter::once(version).chain(http1);
            return self.answer(Status::UPGRADE_REQUIRED, headers, Content::Static(b""));
        }
        self.refuse(true, &RequestError::BadRequest)
    }

    fn give_asset(&mut self, server: &ServerInner<H>, request: &Request<'_>) -> Answer<H> {
        let is_head = request.method() == "HEAD";
        let asset = server.assets.get(request.path());
        let Some(asset) = asset.filter(|_| is_head || request.method() == "GET") else {
            self.cors = Vec::new();
            return self.answer(Status::NOT_FOUND, [], Content::Static(b""));
        };
        let headers =
            [("ETag", asset.etag.clone().into()), ("Cache-Control", Cow::Borrowed("public, max-age=0"))];
        if request.header_str("if-none-match").is_some_and(|known| matches_etag(known, &asset.etag)) {
            return self.answer(Status::NOT_MODIFIED, headers, Content::HeadOnly(asset.body.len()));
        }
        let headers = headers.into_iter().chain([("Content-Type", asset.content_type.clone())]);
        let body = match is_head {
            true => Content::HeadOnly(asset.body.len()),
            false => {
                let mut body = Outbound::new();
                body.push(asset.body.clone());
                Content::Queue(body)
            }
        };
        self.answer(Status::OK, headers, body)
    }
}

impl Rest {
    /// Handles packets, and returns the rest.
    fn take_packets<H: Handler>(
        mut self: Box<Self>,
        now: Time,
        server: &ServerInner<H>,
        session: &Session<H>,
    ) -> Result<Option<Box<Rest>>, PacketError> {
        let text = self.text.get(self.at..).unwrap_or_default();
        let left = take_packets(now, server, session, text)?.map(str::len);
        Ok(left.map(|left| {
            self.at = self.text.len() - left;
            self
        }))
    }
}

/// Handles packets as long as handlers keep up, and returns the rest. Packets before one that cannot be read
/// still count.
fn take_packets<'a, H: Handler>(
    now: Time,
    server: &ServerInner<H>,
    session: &Session<H>,
    payload: &'a str,
) -> Result<Option<&'a str>, PacketError> {
    session.heard(now);
    let mut used = 0;
    for (taken, packet) in split_payload(payload).enumerate() {
        // An empty packet cannot be read, so the rest must not begin with one.
        let may_go_on = taken < MAX_TURN && (session.has_room() || session.is_closed());
        if !may_go_on && !packet.is_empty() {
            return Ok(payload.get(used..));
        }
        // The packet and the separator after it.
        used += packet.len() + 1;
        match Packet::decode(packet)? {
            Packet::Message(_) if session.is_closed() => {}
            packet => server.handle_packet(now, session, packet),
        }
    }
    Ok(None)
}

/// Returns whether the exchange may continue: handlers keep up, or the session has ended. If not, `waker` is
/// called once that changes.
fn may_go_on<H: Handler>(session: &Session<H>, waker: Option<&Waker>) -> bool {
    session.has_room_or_wake(waker) || session.is_closed()
}

impl Asked {
    fn of<H: Handler>(incoming: &Incoming<'_>, server: &ServerInner<H>) -> Result<Asked, UpgradeError> {
        let key = key(incoming)?;
        let config = server.config.per_message_deflate.as_ref();
        let subprotocol = stream::agree_subprotocol(server.config.subprotocols.as_deref(), incoming.request);
        Ok(Asked {
            key,
            deflate: stream::agree_deflate(config, incoming.request),
            subprotocol: subprotocol.map(str::to_owned),
        })
    }

    fn accept<H: Handler>(self, mut headers: Headers, carries: Carries<H>) -> Step<H> {
        let deflate = self.deflate.map(|(deflate, answer)| {
            headers.push(("Sec-WebSocket-Extensions", answer));
            deflate
        });
        headers.extend(self.subprotocol.map(|name| ("Sec-WebSocket-Protocol", name.into())));
        Step::Upgrade(Accept { key: self.key, headers, deflate, carries })
    }
}

/// Returns the key of a WebSocket handshake, or `None` if the request is none, or an extended CONNECT.
fn key(incoming: &Incoming<'_>) -> Result<Option<Key>, UpgradeError> {
    match incoming.upgrade {
        Upgrade::None => Ok(None),
        #[cfg(feature = "http")]
        Upgrade::Connect => stream::check_version(incoming.request).map(|()| None),
        Upgrade::Http1 => {
            let key = stream::websocket_key(incoming.request)?;
            key.try_into().map(Some).map_err(|_| UpgradeError::Key)
        }
    }
}

/// The headers of a response with a payload.
const PAYLOAD: [Header; 2] = [
    ("Content-Type", Cow::Borrowed("text/plain; charset=UTF-8")),
    ("Cache-Control", Cow::Borrowed("no-store")),
];
/// The header of the response to a POST request.
const POSTED: Header = ("Content-Type", Cow::Borrowed("text/html"));

fn text(text: impl Into<Cow<'static, str>>) -> Content {
    match text.into() {
        Cow::Borrowed(text) => Content::Static(text.as_bytes()),
        Cow::Owned(text) => {
            let mut body = Outbound::new();
            body.push(text.into());
            Content::Queue(body)
        }
    }
}

fn matches_etag(header: &str, etag: &str) -> bool {
    header.split(',').map(str::trim).any(|known| known == "*" || known.trim_start_matches("W/") == etag)
}
