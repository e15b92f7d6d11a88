//! One HTTP request and its response: all decisions about them, without the locks and wakers around a session.

mod response;
mod resume;

use super::config::Config;
use super::jsonp::{self, Callback};
use super::packets::{Packets, Unhandled};
use super::request::{Purpose, Query, RequestError, Route};
use super::session::{Attempt, PollNumber, Refused, Session, Ticket};
use crate::connection::{self, UpgradeError};
use crate::engineio::id::Id;
use crate::engineio::packet::PacketError;
use crate::engineio::reason::{CloseReason, TransportError};
use crate::engineio::transport::Transport;
use crate::engineio::v3;
use crate::engineio::version::{Opening, Version};
use crate::http::{self, Body, Coding, Cookie, Cors, Request, Status};
use crate::outbound::Outbound;
use crate::time::Time;
use crate::utf8::from_utf8;
use crate::websocket::Deflate;
use alloc::borrow::{Cow, ToOwned};
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

pub use response::{Accept, Content, Header, Headers, Key, Response};
use response::{BINARY_PAYLOAD, PAYLOAD, POSTED, SCRIPT};
pub use resume::Resume;

/// The settings of a server that concern HTTP requests.
#[derive(Debug)]
pub struct Site {
    /// The path of the requests, without a trailing slash.
    pub path: String,
    /// The pages of other origins that may use the server.
    pub cors: Cors,
    /// The cookie that is set when a session is opened.
    pub cookie: Option<Cookie>,
    /// The settings of the sessions.
    pub config: Arc<Config>,
}

impl Site {
    /// Returns whether the page that sent a request is the server's own, or allowed by `cors`. A request without an `Origin`
    /// does not come from a page, or is for a script: then it has `Sec-Fetch-Site`, unless the browser is an old one.
    pub fn allows_page(&self, request: &Request<'_>) -> bool {
        if request.header("origin").is_none() {
            return !matches!(request.header("sec-fetch-site"), Some(b"cross-site" | b"same-site"));
        }
        let Some(origin) = request.header_str("origin") else { return false };
        let own = origin.split_once("://").zip(request.header_str("host"));
        self.cors.allows(origin)
            || own.is_some_and(|((_, authority), host)| authority.eq_ignore_ascii_case(host))
    }

    /// Returns whether a path is the one for sessions.
    pub fn is_path(&self, path: &str) -> bool {
        path.strip_suffix('/').unwrap_or(path) == self.path
    }
}

/// A request as received.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// The head of the request.
    pub request: &'a Request<'a>,
    /// The way in which it asks for WebSocket.
    pub upgrade: Upgrade,
    /// The announced body.
    pub body: Body,
}

/// The way in which a request asks to become a WebSocket connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// Not at all.
    None,
    /// By `Upgrade`, as in HTTP/1.1 (RFC 6455).
    Http1,
    /// By an extended CONNECT, as in HTTP/2 (RFC 8441). Its method is passed on as GET, which it replaces.
    Connect,
}

/// The decision about a request.
#[derive(Debug)]
pub enum Decision {
    /// None that concerns sessions: this is the response.
    Respond(Response),
    /// A path that is not the one for sessions, such as a file that the application serves.
    Elsewhere,
    /// A request that concerns sessions, if the application lets it pass.
    Serve(Subject),
}

/// The subject of a request that concerns sessions.
#[derive(Debug)]
pub enum Subject {
    /// A new session.
    Open(NewTransport),
    /// An existing session. If none has this id, refuse the request with [`RequestError::UnknownSession`].
    Session(Id, Purpose),
    /// A session that the client wants to continue on a new connection, because it has lost the last one. If there is no
    /// session that [can be resumed](Session::can_resume), this is the opening of a new one.
    Resume(Box<Resume>),
    /// None, because the request is refused. If it has an id that no session has, that is the cause instead:
    /// [`RequestError::UnknownSession`], as in the reference.
    Refused(Option<Id>, Refusal),
}

impl Subject {
    fn of(site: &Site, incoming: &Incoming<'_>, query: Result<Query, RequestError>) -> Subject {
        let is_upgrade = incoming.upgrade != Upgrade::None;
        let route = query.and_then(|query| {
            // CORS is for neither.
            let is_checked = site.config.check_origin && (is_upgrade || query.jsonp.is_some());
            if is_checked && !site.allows_page(incoming.request) {
                return Err(RequestError::Forbidden("Origin not allowed".to_owned()));
            }
            Route::of(incoming.request, is_upgrade, &query, &site.config)
        });
        match route {
            Ok(Route::Session(id, Ok(purpose))) => Subject::Session(id, purpose),
            Ok(Route::Session(id, Err(error))) => Subject::Refused(Some(id), error.into()),
            Ok(Route::Open(Transport::Polling)) => Subject::Open(NewTransport::Polling),
            Ok(Route::Open(Transport::WebSocket)) => match WebSocketHandshake::of(&site.config, incoming) {
                Ok(websocket) => Subject::Open(NewTransport::WebSocket(websocket)),
                Err(error) => Subject::Refused(None, error.into()),
            },
            Err(error) => Subject::Refused(None, error.into()),
        }
    }
}

/// The transport of a new session.
#[derive(Debug)]
pub enum NewTransport {
    /// The response carries the first payload.
    Polling,
    /// The connection becomes the session's transport.
    WebSocket(WebSocketHandshake),
}

impl NewTransport {
    /// Returns the transport.
    pub fn kind(&self) -> Transport {
        match self {
            NewTransport::Polling => Transport::Polling,
            NewTransport::WebSocket(_) => Transport::WebSocket,
        }
    }
}

/// The agreed parameters of a WebSocket handshake.
#[derive(Debug)]
pub struct WebSocketHandshake {
    key: Option<Key>,
    deflate: Option<(Deflate, Cow<'static, str>)>,
    subprotocol: Option<String>,
}

/// The cause of a refusal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The request is refused with a code and a message of the protocol.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Another request of the same kind is in progress; the session has ended. The body is empty, as in the reference.
    #[error("two requests of a kind at a time")]
    Overlap,
    /// The client speaks another version of WebSocket, and is told the one that is spoken here (RFC 6455, section 4.4).
    #[error("another version of WebSocket")]
    WebSocketVersion,
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Closed => RequestError::UnknownSession.into(),
            Refused::Overlap => Refusal::Overlap,
            Refused::TransportMismatch => RequestError::TransportMismatch.into(),
            Refused::NoUpgrade => RequestError::BadRequest.into(),
            Refused::Detached => RequestError::Detached.into(),
            Refused::NoResumption => RequestError::UnknownSession.into(),
        }
    }
}

impl From<UpgradeError> for Refusal {
    fn from(error: UpgradeError) -> Self {
        match error {
            UpgradeError::Version => Refusal::WebSocketVersion,
            _ => RequestError::TransportHandshake.into(),
        }
    }
}

impl From<&TransportError> for Refusal {
    fn from(reason: &TransportError) -> Self {
        Refusal::Request(match reason {
            TransportError::TooLarge { .. } => RequestError::TooLarge,
            TransportError::TooSlow => RequestError::TooSlow,
            _ => RequestError::BadRequest,
        })
    }
}

/// A request, until it is answered.
///
/// The methods that concern a session have it as an argument, because the caller knows how to lock it.
#[derive(Debug)]
pub struct Exchange {
    state: State,
    upgrade: Upgrade,
    /// The headers for CORS and those of the application, kept because the request may be gone by then.
    headers: Vec<Header>,
    /// The number of the headers for CORS, which are the first.
    cors: usize,
    /// The coding of a body that is compressed.
    coding: Option<Coding>,
    /// The function for the payload, of a request by a script or a form.
    jsonp: Option<Callback>,
    /// The version of the request, and whether its client reads binary messages as base64 only.
    version: Version,
    base64: bool,
    /// The client asks for stateful reconnect, and the server has it.
    resumable: bool,
    /// The last attempt to resume the session when the request began.
    attempt: Attempt,
    /// The client's number of that attempt, which the request names.
    named: u32,
}

#[derive(Debug)]
enum State {
    /// The application decides about the request, at most until this time.
    Deciding(Time),
    /// The request resumes a session once its lost connection handles no more messages, at most until this time.
    Resuming(Time),
    /// A poll waits for something to send, at most until this time: the session sends a ping long before.
    Poll(Time, PollNumber),
    /// The body is being read.
    Post(Form),
    /// The body was read. The rest of its packets, and the response, wait until handlers keep up.
    Posted(Option<Box<Unhandled>>),
    /// The response is known, or nothing was decided yet.
    Idle,
}

/// The form of the body of a request.
#[derive(Clone, Copy, Debug, Default)]
struct Form {
    /// The way in which the client has compressed it.
    coding: Option<Coding>,
    /// It is a binary payload of version 3.
    is_binary: bool,
}

impl Exchange {
    /// Begins to handle a request, and decides which session it concerns.
    pub fn begin(site: &Site, incoming: &Incoming<'_>) -> (Exchange, Decision) {
        let request = incoming.request;
        // Most servers have it off: `benches/count polling`.
        let headers: Vec<Header> = match site.cors.is_off() {
            true => Vec::new(),
            false => {
                let headers = site.cors.headers(request);
                headers.map(|(name, value)| (name, value.to_owned().into())).collect()
            }
        };
        let (upgrade, cors) = (incoming.upgrade, headers.len());
        let coding = site.config.http_compression.and_then(|compression| compression.agree(request));
        let mut exchange = Exchange {
            state: State::Idle,
            upgrade,
            headers,
            cors,
            coding,
            jsonp: None,
            version: Version::V4,
            base64: false,
            resumable: false,
            attempt: Attempt::default(),
            named: 0,
        };
        let decision = exchange.route(site, incoming);
        (exchange, decision)
    }

    fn route(&mut self, site: &Site, incoming: &Incoming<'_>) -> Decision {
        let request = incoming.request;
        if site.cors.is_preflight(request) {
            return Decision::Respond(self.respond(
                Status::NO_CONTENT,
                Headers::default(),
                Content::Static(b""),
            ));
        }
        let (path, query) = request.path_and_query();
        match site.is_path(path) {
            true => {
                let query = Query::parse(query);
                if let Ok(query) = &query {
                    self.jsonp = query.jsonp;
                    if let Some(version) = query.version {
                        (self.version, self.base64) = (version, query.base64);
                    }
                }
                let mut subject = Subject::of(site, incoming, query);
                if site.config.stateful_reconnect.is_some() && self.version == Version::V4 {
                    self.read_resume(site, incoming, &mut subject);
                }
                Decision::Serve(subject)
            }
            false => Decision::Elsewhere,
        }
    }

    /// Returns the terms of a session that the request opens on this transport.
    pub fn opening(&self, transport: Transport) -> Opening {
        Opening { transport, version: self.version, base64: self.base64, resumable: self.resumable }
    }

    /// Checks that the request is of the version of its session.
    fn check_version(&self, session: &Session) -> Result<(), Refusal> {
        match self.version == session.version() {
            true => Ok(()),
            false => Err(RequestError::ProtocolMismatch.into()),
        }
    }

    /// Adds headers to the response, whatever it will be.
    pub fn add_headers(&mut self, headers: impl IntoIterator<Item = Header>) {
        self.headers.extend(headers);
    }

    /// Waits for the decision of the application.
    pub fn begin_deciding(&mut self, now: Time, config: &Config) {
        self.state = State::Deciding(now + config.allow_timeout);
    }

    // A new session.

    /// Returns the response that opens a session over polling, which carries its first payload.
    pub fn open(&mut self, site: &Site, id: &Id, payload: Outbound) -> Response {
        let mut response = self.respond_with_payload(&site.config, payload);
        if let Some(cookie) = cookie(site, id) {
            // Before the application's own.
            response.headers.push_front(cookie);
        }
        response
    }

    /// Returns the response that opens a session over WebSocket.
    pub fn open_websocket(&mut self, site: &Site, id: &Id, handshake: WebSocketHandshake) -> Accept {
        let headers = core::mem::take(&mut self.headers).into_iter();
        self.state = State::Idle;
        handshake.accept(headers.chain(cookie(site, id)).collect())
    }

    // An existing session.

    /// Begins a poll.
    ///
    /// # Errors
    /// The cause if the session does not accept it.
    pub fn begin_poll(&mut self, now: Time, session: &mut Session, is_behind: bool) -> Result<(), Refusal> {
        self.check_version(session)?;
        self.check_attempt(session)?;
        session.begin_poll(now, is_behind)?;
        self.note_poll(now, session);
        Ok(())
    }

    #[inline]
    fn note_poll(&mut self, now: Time, session: &Session) {
        let config = session.config();
        self.attempt = session.attempt();
        let deadline = now + config.ping_interval + config.ping_timeout + config.close_timeout;
        self.state = State::Poll(deadline, session.poll_number());
    }

    /// Returns whether another poll has taken the place of this one: give what [`take_noop`](Session::take_noop) returns to
    /// [`end_poll`](Exchange::end_poll).
    #[inline]
    pub fn is_replaced(&self, session: &Session) -> bool {
        matches!(self.state, State::Poll(_, poll) if session.is_replaced(poll))
    }

    /// Returns the response that carries a payload, compressed if that was agreed. Call it without the session's lock.
    pub fn end_poll(&mut self, config: &Config, payload: Outbound) -> Response {
        self.respond_with_payload(config, payload)
    }

    /// Begins a POST, whose body is read next.
    ///
    /// # Errors
    /// The cause if the session does not accept it, or the announced body is too large or not text.
    pub fn begin_post(
        &mut self,
        now: Time,
        session: &mut Session,
        incoming: &Incoming<'_>,
        is_behind: bool,
    ) -> Result<(), Refusal> {
        self.check_version(session)?;
        self.check_attempt(session)?;
        session.begin_post(now, is_behind)?;
        self.attempt = session.attempt();
        let content_type = incoming.request.header("content-type").unwrap_or_default();
        let is_binary = content_type.starts_with(b"application/octet-stream");
        self.state = State::Post(Form { coding: None, is_binary });
        let limit = session.config().max_payload;
        let reason = match incoming.body {
            Body::Length(length) if usize::try_from(length).is_ok_and(|length| length > limit) => {
                TransportError::TooLarge { limit }
            }
            _ if is_binary && self.version == Version::V4 => TransportError::ContentType,
            _ if session.config().http_compression.is_none() => return Ok(()),
            _ => match http::coding_of(incoming.request) {
                Ok(coding) => {
                    self.state = State::Post(Form { coding, is_binary });
                    return Ok(());
                }
                Err(error) => TransportError::Body(error),
            },
        };
        Err(self.refuse_body(now, session, reason))
    }

    /// Returns the payload in a body: as it was before the client compressed it and wrote it into a form. It has at most
    /// `limit` bytes, and so has the form.
    ///
    /// # Errors
    /// If it is larger, or malformed: call [`refuse_body`](Exchange::refuse_body).
    pub fn decode_body<'b>(&self, body: &'b [u8], limit: usize) -> Result<Cow<'b, [u8]>, TransportError> {
        let body = self.inflate(body, limit)?;
        match self.jsonp {
            Some(_) => jsonp::decode_form(&body).map(Cow::Owned).map_err(TransportError::Body),
            None => Ok(body),
        }
    }

    fn inflate<'b>(&self, body: &'b [u8], limit: usize) -> Result<Cow<'b, [u8]>, TransportError> {
        let State::Post(Form { coding: Some(coding), .. }) = self.state else {
            return Ok(Cow::Borrowed(body));
        };
        match coding.inflate(body, limit) {
            Ok(inflated) => Ok(Cow::Owned(inflated)),
            Err(http::Error::BodyTooLarge) => Err(TransportError::TooLarge { limit }),
            Err(error) => Err(TransportError::Body(error)),
        }
    }

    /// Returns the packets of the body, after [`decode_body`](Exchange::decode_body).
    ///
    /// # Errors
    /// [`PacketError::Utf8`] if it is text, but not UTF-8.
    pub fn packets<'b>(&self, body: &'b [u8]) -> Result<Packets<'b>, PacketError> {
        match (self.version, &self.state) {
            (Version::V4, _) => Packets::of(body),
            (Version::V3, State::Post(Form { is_binary: true, .. })) => {
                Ok(Packets::of_v3(v3::Payload::Binary(body)))
            }
            (Version::V3, _) => {
                let text = from_utf8(body).ok_or(PacketError::Utf8)?;
                Ok(Packets::of_v3(v3::Payload::Text(text)))
            }
        }
    }

    /// Ends the session because of a body that is too large, too slow or malformed, and returns the cause.
    pub fn refuse_body(&mut self, now: Time, session: &mut Session, reason: TransportError) -> Refusal {
        let refusal = Refusal::from(&reason);
        if matches!(self.end(), State::Post(_)) && !self.is_late(session) {
            session.end_post();
            session.give_up_connection(now, reason.into());
        }
        refusal
    }

    /// Ends the session because of a payload that cannot be read, and returns the cause.
    pub fn refuse_payload(&mut self, now: Time, session: &mut Session, error: PacketError) -> Refusal {
        self.state = State::Idle;
        if !self.is_late(session) {
            session.end_post();
            session.close(now, CloseReason::ParseError(error));
        }
        RequestError::BadRequest.into()
    }

    /// Notes that the body was read, and that the response waits until handlers keep up and all packets were handled.
    pub fn wait_for_handlers(&mut self, unhandled: Option<Box<Unhandled>>) {
        self.state = State::Posted(unhandled);
    }

    /// Returns the packets that were not handled yet. Those that still cannot be handled go to
    /// [`wait_for_handlers`](Exchange::wait_for_handlers) again.
    pub fn take_unhandled(&mut self) -> Option<Box<Unhandled>> {
        match &mut self.state {
            State::Posted(unhandled) => unhandled.take(),
            _ => None,
        }
    }

    /// Ends a POST whose packets were all handled, or that is [late](Exchange::is_late).
    pub fn end_post(&mut self, session: &mut Session) -> Response {
        if self.is_late(session) {
            return self.refuse(&RequestError::Detached.into());
        }
        session.end_post();
        self.respond(Status::OK, POSTED, Content::Static(b"ok"))
    }

    /// Begins an upgrade with the parameters of its handshake. Returns its ticket, or `None` if the connection has to be
    /// closed after the handshake.
    ///
    /// # Errors
    /// [`RequestError::ProtocolMismatch`] if the session is of another version.
    pub fn begin_upgrade(
        &mut self,
        now: Time,
        session: &mut Session,
        handshake: &WebSocketHandshake,
        is_behind: bool,
    ) -> Result<Option<Ticket>, Refusal> {
        self.check_version(session)?;
        self.check_attempt(session)?;
        let Ok(ticket) = session.begin_upgrade(now, is_behind) else { return Ok(None) };
        if let Some((deflate, _)) = handshake.deflate {
            session.set_deflate(deflate);
        }
        if self.base64 {
            session.set_base64();
        }
        Ok(Some(ticket))
    }

    /// Returns the response to the handshake of an upgrade.
    pub fn accept(&mut self, handshake: WebSocketHandshake) -> Accept {
        self.state = State::Idle;
        handshake.accept(self.own_headers().collect())
    }

    // The end, and time.

    /// Returns the deadline of the application's decision, of resuming a session or of a poll, after which the request is
    /// [refused](Exchange::refuse) with [`RequestError::Unavailable`]. Other exchanges end with their session.
    pub fn next_deadline(&self) -> Option<Time> {
        match self.state {
            State::Deciding(deadline) | State::Resuming(deadline) | State::Poll(deadline, _) => {
                Some(deadline)
            }
            _ => None,
        }
    }

    /// Returns whether the deadline has passed.
    pub fn is_overdue(&self, now: Time) -> bool {
        self.next_deadline().is_some_and(|deadline| deadline <= now)
    }

    /// Returns whether the body of the request is being read.
    pub fn is_reading(&self) -> bool {
        matches!(self.state, State::Post(_))
    }

    /// Returns whether a poll waits for something to send.
    pub fn is_polling(&self) -> bool {
        matches!(self.state, State::Poll(..))
    }

    /// Returns whether the body was read, and its response waits.
    pub fn is_posted(&self) -> bool {
        matches!(self.state, State::Posted(_))
    }

    /// Tells the session that the response can no longer be sent.
    pub fn lose(&mut self, now: Time, session: &mut Session) {
        match self.end() {
            State::Deciding(_) | State::Resuming(_) | State::Idle => {}
            _ if self.is_late(session) => {}
            State::Poll(_, poll) if session.is_replaced(poll) => {}
            State::Poll(..) => session.abort_poll(now),
            State::Posted(None) => session.end_post(),
            // There is no way to tell the client that not all of the body was handled.
            State::Post(_) | State::Posted(Some(_)) => session.abort_post(now),
        }
    }

    fn end(&mut self) -> State {
        core::mem::replace(&mut self.state, State::Idle)
    }

    // Responses.

    /// Returns a response with the headers for CORS and those that were [added](Exchange::add_headers).
    pub fn respond(&mut self, status: Status, mut headers: Headers, body: Content) -> Response {
        self.state = State::Idle;
        headers.append(core::mem::take(&mut self.headers));
        Response::new(status, headers, body)
    }

    fn respond_with_payload(&mut self, config: &Config, mut payload: Outbound) -> Response {
        let mut headers = PAYLOAD;
        if let Some(callback) = self.jsonp {
            callback.wrap(&mut payload);
            headers = SCRIPT;
        } else if self.version == Version::V3 && v3::is_binary(&payload) {
            headers = BINARY_PAYLOAD;
        }
        let coding = self.compress(config, &mut payload);
        let mut response = self.respond(Status::OK, headers, Content::Queue(payload));
        if let Some(coding) = coding {
            response.headers.push(coding);
        }
        response
    }

    /// Compresses the body of a response if that was agreed and makes it shorter. Returns the header that says so.
    fn compress(&self, config: &Config, body: &mut Outbound) -> Option<Header> {
        let coding = self.coding?;
        let compressed = config.http_compression?.compress(coding, body, &config.deflate_pool)?;
        body.clear();
        body.push(compressed.into());
        Some(("Content-Encoding", coding.name().into()))
    }

    /// Returns the agreed coding of a compressed body.
    pub fn coding(&self) -> Option<Coding> {
        self.coding
    }

    /// Takes the application's headers, without those for CORS, which does not concern WebSocket.
    fn own_headers(&mut self) -> impl Iterator<Item = Header> + use<> {
        core::mem::take(&mut self.headers).into_iter().skip(self.cors)
    }

    /// Returns the response to a request that is refused.
    pub fn refuse(&mut self, refusal: &Refusal) -> Response {
        self.state = State::Idle;
        if let Refusal::Request(RequestError::Rejected(rejection)) = refusal {
            self.add_headers(rejection.headers().clone());
        }
        match refusal {
            Refusal::Request(error) if self.upgrade != Upgrade::None => {
                // A WebSocket client reads no JSON; the reference sends the bare message.
                let (html, text) = match error {
                    RequestError::Rejected(rejection) => {
                        ("text/plain; charset=UTF-8", rejection.body().to_string())
                    }
                    error => ("text/html", error.to_string()),
                };
                let headers = self.own_headers().chain([("Content-Type", html.into())]);
                let status = Status::new(error.upgrade_status()).unwrap_or(Status::BAD_REQUEST);
                let response = Response::new(status, headers.collect(), Content::text(text));
                Response { close: true, ..response }
            }
            Refusal::Request(error) => {
                let status = Status::new(error.status()).unwrap_or(Status::BAD_REQUEST);
                let body = error.body();
                let json = error.content_type().map(|kind| ("Content-Type", kind.into()));
                let allow = (status == Status::METHOD_NOT_ALLOWED).then_some(("Allow", "GET, POST".into()));
                self.respond(status, json.into_iter().chain(allow).collect(), Content::text(body))
            }
            Refusal::Overlap => self.respond(Status::BAD_REQUEST, Headers::default(), Content::Static(b"")),
            // The one refusal whose response is specified (RFC 6455, section 4.4; RFC 9110, section 15.5.22).
            Refusal::WebSocketVersion => {
                let version = ("Sec-WebSocket-Version", "13".into());
                let http1 = [("Upgrade", "websocket".into()), ("Connection", "Upgrade".into())];
                let http1 = http1.into_iter().filter(|_| self.upgrade == Upgrade::Http1);
                let headers = core::iter::once(version).chain(http1);
                Response::new(Status::UPGRADE_REQUIRED, headers.collect(), Content::Static(b""))
            }
        }
    }
}

fn cookie(site: &Site, id: &Id) -> Option<Header> {
    site.cookie.as_ref().map(|cookie| ("Set-Cookie", cookie.write(id).into()))
}

impl WebSocketHandshake {
    /// Reads a handshake, and agrees on its parameters.
    ///
    /// # Errors
    /// The cause if it is not valid.
    pub fn of(config: &Config, incoming: &Incoming<'_>) -> Result<WebSocketHandshake, UpgradeError> {
        let request = incoming.request;
        let key = match incoming.upgrade {
            Upgrade::None => None,
            Upgrade::Connect => connection::check_version(request).map(|()| None)?,
            Upgrade::Http1 => {
                let key = connection::websocket_key(request)?;
                Some(key.try_into().map_err(|_| UpgradeError::Key)?)
            }
        };
        let subprotocol = connection::agree_subprotocol(config.subprotocols.as_deref(), request);
        Ok(WebSocketHandshake {
            key,
            deflate: connection::agree_deflate(config.per_message_deflate.as_ref(), request),
            subprotocol: subprotocol.map(str::to_owned),
        })
    }

    /// Returns the agreed compression.
    pub fn deflate(&self) -> Option<Deflate> {
        self.deflate.as_ref().map(|(deflate, _)| *deflate)
    }

    fn accept(self, mut headers: Headers) -> Accept {
        let deflate = self.deflate.map(|(deflate, answer)| {
            headers.push(("Sec-WebSocket-Extensions", answer));
            deflate
        });
        if let Some(name) = self.subprotocol {
            headers.push(("Sec-WebSocket-Protocol", name.into()));
        }
        Accept { key: self.key, headers, deflate }
    }
}
