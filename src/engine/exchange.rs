//! One request and its response, independent of the HTTP server that received it: the locks, wakers and futures around
//! the decisions of [`server::Exchange`].

mod opening;
mod resume;

use super::hooks::Verdict;
use super::server::ServerInner;
use super::session::{Delivery, Displaced, Session};
use super::{Application, Batch, Handshake, Id, TransportError};
use crate::guard::Guarded;
use crate::handshake::Common;
use crate::log::{self, debug};
use resume::Resuming;
use sockeye_core::engineio::server::exchange::{
    Decision, NewTransport, Refusal, Subject, WebSocketHandshake,
};
use sockeye_core::engineio::{
    Packet, PacketError, Version,
    server::{self, Attempt, Packets, Purpose, RequestError, Ticket, Unhandled},
};
use sockeye_core::http::{Body, Request, Status};
use sockeye_core::{Outbound, Time};
use std::borrow::Cow;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

#[cfg(feature = "http")]
pub(crate) use sockeye_core::engineio::server::exchange::Key;
pub(crate) use sockeye_core::engineio::server::exchange::{
    Accept, Content, Headers, Incoming, Response, Upgrade,
};

/// A request, until it is answered.
pub(crate) struct Exchange<A: Application> {
    decisions: server::Exchange,
    waiting: Waiting<A>,
}

/// The object that a request waits for.
enum Waiting<A: Application> {
    /// None: nothing waits.
    None,
    /// A request that the application decides about.
    Deciding(Box<Deciding>),
    /// A session.
    Session(Session<A>),
    /// A session that is resumed.
    Resuming(Box<Resuming<A>>),
}

struct Deciding {
    verdict: Guarded<Verdict>,
    request: Handshake,
    upgrade: Upgrade,
    body: Body,
    /// The subject of the request, if the application lets it pass.
    subject: Subject,
}

/// The caller of an exchange: its time, server and task.
pub(crate) struct Caller<'a, A: Application> {
    pub(crate) now: Time,
    pub(crate) server: &'a Arc<ServerInner<A>>,
    /// Called when something happens that the request waits for.
    pub(crate) waker: Option<&'a Waker>,
    /// The address of the peer, if it is known; while the head of a request is at hand, that of its client.
    pub(crate) peer: Option<SocketAddr>,
}

impl<A: Application> Clone for Caller<'_, A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A: Application> Copy for Caller<'_, A> {}

/// The next step of an exchange.
pub(crate) enum Step<A: Application> {
    /// Wait: call [`follow`](Exchange::follow) again when the waker was called.
    Wait,
    /// Read the body of the request.
    Body,
    /// Send this response. Its body carries the messages of the session.
    Respond(Response, Option<Delivery<A>>),
    /// Become a WebSocket connection.
    Upgrade(Accept, Carries<A>),
}

/// The purpose of a new WebSocket connection.
pub(crate) enum Carries<A: Application> {
    /// It is the session's transport.
    Session(Session<A>),
    /// It is the connection of an upgrade in progress.
    Probe(Session<A>, Ticket),
    /// None: it has to be closed.
    Nothing,
}

impl<A: Application> From<Response> for Step<A> {
    fn from(response: Response) -> Self {
        Step::Respond(response, None)
    }
}

/// Logs that a page cannot read the response: its browser tells only the console of the page.
#[cold]
fn log_foreign_page<A: Application>(caller: Caller<'_, A>, request: &Request<'_>) {
    if let Some(origin) = request.header_str("origin")
        && !caller.server.site.allows_page(request)
    {
        let peer = log::peer(caller.peer);
        debug!(peer = %peer, origin = ?origin, "a page of another origin cannot read its session: `cors` does not allow it");
    }
}

impl<A: Application> Exchange<A> {
    /// Begins to handle a request. `handshake` returns it as a session keeps it, if it is called with what sessions share;
    /// otherwise the whole request.
    pub(crate) fn begin(
        caller: Caller<'_, A>,
        incoming: &Incoming<'_>,
        handshake: impl FnOnce(Option<&Arc<Common>>) -> Handshake,
    ) -> (Exchange<A>, Step<A>) {
        let (decisions, decision) = server::Exchange::begin(&caller.server.site, incoming);
        let mut exchange = Exchange { decisions, waiting: Waiting::None };
        let step = match decision {
            Decision::Serve(subject) => exchange.serve(caller, subject, incoming, handshake),
            Decision::Respond(response) => response.into(),
            Decision::Elsewhere => exchange.give_asset(caller.server, incoming.request).into(),
        };
        (exchange, step)
    }

    /// Handles a request that concerns sessions, after the application's hooks, if there are any.
    fn serve(
        &mut self,
        caller: Caller<'_, A>,
        mut subject: Subject,
        incoming: &Incoming<'_>,
        request: impl FnOnce(Option<&Arc<Common>>) -> Handshake,
    ) -> Step<A> {
        resume::settle(caller, &mut subject);
        let hooks = &caller.server.hooks;
        let opens = matches!(subject, Subject::Open(_)) && !caller.server.is_closing();
        match hooks.may_refuse(opens) || hooks.has_headers(opens) {
            true => self.ask(caller, subject, incoming, request(None), opens),
            false => self.proceed(caller, subject, incoming, None, request),
        }
    }

    /// Asks the application about a request.
    fn ask(
        &mut self,
        caller: Caller<'_, A>,
        subject: Subject,
        incoming: &Incoming<'_>,
        request: Handshake,
        opens: bool,
    ) -> Step<A> {
        let hooks = &caller.server.hooks;
        self.decisions.add_headers(hooks.headers(&request, opens));
        if !hooks.may_refuse(opens) {
            return self.proceed(caller, subject, incoming, None, |_| request);
        }
        let verdict = hooks.decide(request.clone(), opens);
        let (upgrade, body) = (incoming.upgrade, incoming.body);
        self.decisions.begin_deciding(caller.now, &caller.server.site.config);
        self.waiting = Waiting::Deciding(Box::new(Deciding { verdict, request, upgrade, body, subject }));
        self.decide(caller)
    }

    /// Checks whether the application has decided.
    fn decide(&mut self, caller: Caller<'_, A>) -> Step<A> {
        let Waiting::Deciding(deciding) = &mut self.waiting else { return Step::Wait };
        let mut context = Context::from_waker(caller.waker.unwrap_or(Waker::noop()));
        let verdict = match Pin::new(&mut deciding.verdict).poll(&mut context) {
            // A panic of a hook is caught and logged where it is called.
            Poll::Ready(verdict) => verdict.map_err(|_| RequestError::Failed),
            Poll::Pending if self.decisions.is_overdue(caller.now) => Err(RequestError::Unavailable),
            Poll::Pending => return Step::Wait,
        };
        let Waiting::Deciding(deciding) = self.end() else { return Step::Wait };
        let Deciding { request, upgrade, body, subject, verdict: decided } = *deciding;
        // Ended first, because it may hold what belongs to the request.
        drop(decided);
        let caller = Caller { peer: request.address(), ..caller };
        let id = verdict.and_then(|verdict| {
            self.decisions.add_headers(verdict.headers);
            verdict.result
        });
        match id {
            Ok(id) => request.clone().with_request(|head| {
                let incoming = Incoming { request: head, upgrade, body };
                self.proceed(caller, subject, &incoming, id, |_| request)
            }),
            Err(error) => self.refuse_request(caller, &error.into(), || request),
        }
    }

    /// Handles a request that the application lets pass. `id` is its own for a new session.
    fn proceed(
        &mut self,
        caller: Caller<'_, A>,
        subject: Subject,
        incoming: &Incoming<'_>,
        id: Option<Id>,
        request: impl FnOnce(Option<&Arc<Common>>) -> Handshake,
    ) -> Step<A> {
        let server = caller.server;
        let refusal = match subject {
            Subject::Session(id, purpose) => match server.session(&id) {
                Some(session) => {
                    return self.serve_session(caller, session, purpose, incoming, || request(None));
                }
                None => RequestError::UnknownSession.into(),
            },
            Subject::Open(_) if server.is_closing() => RequestError::Unavailable.into(),
            Subject::Open(transport) => match server.admit(caller.peer, id) {
                Ok(id) => {
                    if log::wants_debug() && matches!(transport, NewTransport::Polling) {
                        log_foreign_page(caller, incoming.request);
                    }
                    return self.opened(caller, transport, request(Some(&server.common)), id);
                }
                Err(error) => error.into(),
            },
            Subject::Refused(Some(id), refusal) => match server.session(&id) {
                Some(session) => {
                    return self.refuse_with(caller, &refusal, Some(&session), || Some(request(None)));
                }
                None => RequestError::UnknownSession.into(),
            },
            Subject::Resume(resume) => match server.session(&resume.id) {
                Some(session) => return self.resume(caller, session, *resume),
                None => RequestError::UnknownSession.into(),
            },
            Subject::Refused(None, refusal) => refusal,
        };
        self.refuse_request(caller, &refusal, || request(None))
    }

    fn opened(
        &mut self,
        caller: Caller<'_, A>,
        transport: NewTransport,
        handshake: Handshake,
        id: Id,
    ) -> Step<A> {
        let Caller { now, server, waker, .. } = caller;
        let session = server.open(now, self.decisions.opening(transport.kind()), handshake, id);
        match transport {
            NewTransport::WebSocket(websocket) => {
                if let Some(deflate) = websocket.deflate() {
                    session.with(|engine, _| engine.set_deflate(deflate));
                }
                session.set_waker(waker);
                if session.version() == Version::V3 {
                    opening::hold_back(now, server, &session);
                }
                let accept = self.decisions.open_websocket(&server.site, &id, websocket);
                Step::Upgrade(accept, Carries::Session(session))
            }
            NewTransport::Polling => {
                // No other connection knows the session yet: this cannot be refused, nor lose a connection, and the handshake
                // is queued.
                let payload = session.begin_poll(None, |engine| engine.begin_poll(now, false));
                let payload = payload.ok().flatten().unwrap_or_default();
                self.decisions.open(&server.site, &id, payload).into()
            }
        }
    }

    /// Handles a request for a session.
    fn serve_session(
        &mut self,
        caller: Caller<'_, A>,
        session: Session<A>,
        purpose: Purpose,
        incoming: &Incoming<'_>,
        request: impl FnOnce() -> Handshake,
    ) -> Step<A> {
        let (now, decisions) = (caller.now, &mut self.decisions);
        let is_behind = !session.has_capacity();
        let refusal = match purpose {
            Purpose::Poll if session.is_resumable() => {
                match session.begin_losing_poll(|engine| decisions.begin_poll(now, engine, is_behind)) {
                    Ok(()) => return self.poll(caller, session),
                    Err(refusal) => refusal,
                }
            }
            Purpose::Poll => {
                let begin = |engine: &mut _| decisions.begin_poll(now, engine, is_behind);
                match session.begin_poll(caller.waker, begin) {
                    Ok(payload) => return self.polled(caller, session, payload),
                    Err(refusal) => refusal,
                }
            }
            Purpose::Post => {
                match session.losing(|engine, _| decisions.begin_post(now, engine, incoming, is_behind)) {
                    Ok(()) => {
                        self.wait(session);
                        return Step::Body;
                    }
                    Err(refusal) => refusal,
                }
            }
            Purpose::Upgrade => match WebSocketHandshake::of(&caller.server.site.config, incoming) {
                Ok(websocket) => match self.upgrade(caller, &session, websocket, is_behind) {
                    Ok(step) => return step,
                    Err(refusal) => refusal,
                },
                Err(refusal) => refusal.into(),
            },
        };
        self.refuse_with(caller, &refusal, Some(&session), || Some(request()))
    }

    fn poll(&mut self, caller: Caller<'_, A>, session: Session<A>) -> Step<A> {
        match session.take_payload(caller.waker, &self.decisions) {
            Ok(payload) => self.polled(caller, session, payload),
            Err(displaced) => self.end_displaced(caller, session, displaced),
        }
    }

    /// Answers a poll that waits no more.
    fn end_displaced(&mut self, caller: Caller<'_, A>, session: Session<A>, displaced: Displaced) -> Step<A> {
        match displaced {
            Displaced::Late => self.refuse(caller, &RequestError::Detached.into(), Some(&session)),
            Displaced::Replaced(noop) => {
                self.waiting = Waiting::None;
                // Nothing is lost with this response.
                self.decisions.end_poll(&caller.server.site.config, noop).into()
            }
        }
    }

    #[inline]
    fn polled(&mut self, caller: Caller<'_, A>, session: Session<A>, payload: Option<Outbound>) -> Step<A> {
        match payload {
            Some(payload) => self.give_payload(caller, session, payload),
            None => {
                self.wait(session);
                Step::Wait
            }
        }
    }

    fn upgrade(
        &mut self,
        caller: Caller<'_, A>,
        session: &Session<A>,
        websocket: WebSocketHandshake,
        is_behind: bool,
    ) -> Result<Step<A>, Refusal> {
        let decisions = &mut self.decisions;
        let ticket =
            session.losing(|engine, _| decisions.begin_upgrade(caller.now, engine, &websocket, is_behind))?;
        let carries = match ticket {
            Some(ticket) => {
                session.set_probe_waker(ticket, caller.waker);
                Carries::Probe(session.clone(), ticket)
            }
            None => Carries::Nothing,
        };
        Ok(Step::Upgrade(decisions.accept(websocket), carries))
    }

    fn wait(&mut self, session: Session<A>) {
        self.waiting = Waiting::Session(session);
    }

    /// Handles the whole body of the request, after [`Step::Body`].
    pub(crate) fn handle_body(&mut self, caller: Caller<'_, A>, body: &[u8]) -> Step<A> {
        let limit = caller.server.site.config.max_payload;
        let payload = match self.decisions.decode_body(body, limit) {
            Ok(payload) => payload,
            Err(reason) => return self.refuse_body(caller, reason),
        };
        let Waiting::Session(session) = self.end() else { return Step::Wait };
        let rest = self.decisions.packets(&payload).and_then(|mut packets| {
            take_packets(caller, &session, &mut packets, body.len(), self.decisions.attempt())?;
            Ok(packets.to_unhandled())
        });
        self.end_post(caller, session, rest)
    }

    /// Refuses the body, and ends the session.
    pub(crate) fn refuse_body(&mut self, caller: Caller<'_, A>, reason: TransportError) -> Step<A> {
        let Waiting::Session(session) = self.end() else {
            return self.refuse(caller, &Refusal::from(&reason), None);
        };
        let refusal = session.losing(|engine, _| self.decisions.refuse_body(caller.now, engine, reason));
        self.refuse(caller, &refusal, Some(&session))
    }

    /// Handles more of a payload if handlers keep up.
    fn follow_post(&mut self, caller: Caller<'_, A>) -> Step<A> {
        let Waiting::Session(session) = self.end() else { return Step::Wait };
        let rest = match self.decisions.take_unhandled() {
            Some(unhandled) if may_go_on(&session, caller.waker) => {
                take_unhandled(caller, &session, unhandled, self.decisions.attempt())
            }
            rest => Ok(rest),
        };
        self.end_post(caller, session, rest)
    }

    /// Answers a POST request once all of its body was handled and handlers keep up: until then, the client
    /// sends no more.
    fn end_post(
        &mut self,
        caller: Caller<'_, A>,
        session: Session<A>,
        rest: Result<Option<Box<Unhandled>>, PacketError>,
    ) -> Step<A> {
        if let Err(refusal) = self.check_late(&session) {
            return self.refuse(caller, &refusal, Some(&session));
        }
        let decisions = &mut self.decisions;
        let rest = match rest {
            Ok(rest) => rest,
            Err(error) => {
                let refusal = session.with(|engine, _| decisions.refuse_payload(caller.now, engine, error));
                return self.refuse(caller, &refusal, Some(&session));
            }
        };
        let may_go_on = may_go_on(&session, caller.waker);
        if may_go_on && rest.is_none() {
            return session.with(|engine, _| decisions.end_post(engine)).into();
        }
        decisions.wait_for_handlers(rest);
        // Continue in another turn.
        if may_go_on && let Some(waker) = caller.waker {
            waker.wake_by_ref();
        }
        self.wait(session);
        Step::Wait
    }

    /// Checks whether the event that the request waits for has happened.
    pub(crate) fn follow(&mut self, caller: Caller<'_, A>) -> Step<A> {
        match &self.waiting {
            Waiting::Deciding(_) => self.decide(caller),
            Waiting::Session(_) if self.decisions.is_posted() => self.follow_post(caller),
            Waiting::Resuming(_) => self.follow_resume(caller),
            Waiting::Session(session) if self.decisions.is_polling() => {
                match session.take_payload(caller.waker, &self.decisions) {
                    Err(displaced) => {
                        let session = session.clone();
                        self.end_displaced(caller, session, displaced)
                    }
                    Ok(Some(payload)) => {
                        let Waiting::Session(session) = self.end() else { return Step::Wait };
                        self.give_payload(caller, session, payload)
                    }
                    Ok(None) if self.decisions.is_overdue(caller.now) => {
                        let session = session.clone();
                        self.lose(caller.now);
                        self.refuse(caller, &RequestError::Unavailable.into(), Some(&session))
                    }
                    Ok(None) => Step::Wait,
                }
            }
            Waiting::Session(_) | Waiting::None => Step::Wait,
        }
    }

    /// Returns whether no decision of the application is awaited.
    pub(crate) fn is_decided(&self) -> bool {
        !matches!(self.waiting, Waiting::Deciding(_))
    }

    /// Returns the deadline of the application's decision or of a poll, after which
    /// [`follow`](Exchange::follow) refuses the request. Other exchanges end with their session.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.decisions.next_deadline()
    }

    /// Sets the waker to call from now on.
    pub(crate) fn set_waker(&self, waker: &Waker) {
        let session = match &self.waiting {
            Waiting::Session(session) => session,
            Waiting::Resuming(resuming) => return resuming.session.set_resuming_waker(Some(waker)),
            Waiting::None | Waiting::Deciding(_) => return,
        };
        if self.decisions.is_polling() {
            session.set_poll_waker(waker, &self.decisions);
        } else if self.decisions.is_posted() {
            // If handlers keep up by now, the turn that follows sees it.
            session.has_capacity_or_wake(Some(waker));
        }
    }

    /// Notes that more of the body has arrived.
    pub(crate) fn heard(&self, now: Time) {
        if let Waiting::Session(session) = &self.waiting
            && self.decisions.is_reading()
        {
            session.heard(now, 0);
        }
    }

    /// Returns whether the exchange is over.
    #[cfg(feature = "http")]
    pub(crate) fn is_answered(&self) -> bool {
        matches!(self.waiting, Waiting::None)
    }

    /// Ends an exchange whose response can no longer be sent.
    pub(crate) fn lose(&mut self, now: Time) {
        if let Waiting::Session(session) = self.end() {
            session.losing(|engine, _| self.decisions.lose(now, engine));
        }
    }

    fn end(&mut self) -> Waiting<A> {
        std::mem::replace(&mut self.waiting, Waiting::None)
    }

    // Responses.

    fn give_payload(&mut self, caller: Caller<'_, A>, session: Session<A>, payload: Outbound) -> Step<A> {
        let config = &caller.server.site.config;
        let delivery = Delivery::new(session, self.decisions.attempt());
        Step::Respond(self.decisions.end_poll(config, payload), Some(delivery))
    }

    /// Refuses a request that is at hand.
    fn refuse_request(
        &mut self,
        caller: Caller<'_, A>,
        refusal: &Refusal,
        request: impl FnOnce() -> Handshake,
    ) -> Step<A> {
        self.refuse_with(caller, refusal, None, || Some(request()))
    }

    /// Refuses a request whose head is gone, which was for a session if one is given.
    fn refuse(&mut self, caller: Caller<'_, A>, refusal: &Refusal, session: Option<&Session<A>>) -> Step<A> {
        let address = |session| caller.server.address_of(session, caller.peer);
        let caller = Caller { peer: session.map_or(caller.peer, address), ..caller };
        self.refuse_with(caller, refusal, session, || None)
    }

    fn refuse_with(
        &mut self,
        caller: Caller<'_, A>,
        refusal: &Refusal,
        session: Option<&Session<A>>,
        request: impl FnOnce() -> Option<Handshake>,
    ) -> Step<A> {
        self.waiting = Waiting::None;
        let response = self.decisions.refuse(refusal);
        let ended = session.filter(|session| session.is_closed()).map(Session::id);
        caller.server.tell_refused(ended, caller.peer, response.status.code(), refusal, request);
        response.into()
    }

    fn give_asset(&mut self, server: &ServerInner<A>, request: &Request<'_>) -> Response {
        let is_head = request.method() == "HEAD";
        let asset = server.assets.get(request.path());
        let Some(asset) = asset.filter(|_| is_head || request.method() == "GET") else {
            return Response::new(Status::NOT_FOUND, Headers::default(), Content::Static(b""));
        };
        let compression = server.site.config.http_compression.as_ref();
        let compressed =
            compression.and_then(|compression| asset.compressed(compression, self.decisions.coding()?));
        let (body, etag) = match compressed {
            // Weak, because the bytes are others.
            Some(body) => (body, format!("W/{}", asset.etag)),
            None => (&asset.body, asset.etag.clone()),
        };
        let vary = compression.map(|_| ("Vary", "Accept-Encoding".into()));
        let headers = [("ETag", etag.into()), ("Cache-Control", Cow::Borrowed("public, max-age=0"))];
        let headers = headers.into_iter().chain(vary);
        if asset.is_known(request.header_str("if-none-match")) {
            return self.decisions.respond(
                Status::NOT_MODIFIED,
                headers.collect(),
                Content::HeadOnly(body.len()),
            );
        }
        let coding = compressed.map(|_| ("Content-Encoding", "gzip".into()));
        let headers = headers.chain([("Content-Type", asset.content_type.clone())]).chain(coding);
        let body = match is_head {
            true => Content::HeadOnly(body.len()),
            false => {
                let mut queue = Outbound::new();
                queue.push(body.clone());
                Content::Queue(queue)
            }
        };
        self.decisions.respond(Status::OK, headers.collect(), body)
    }
}

/// Handles the packets of a body as long as handlers keep up.
fn take_packets<A: Application>(
    caller: Caller<'_, A>,
    session: &Session<A>,
    packets: &mut Packets<'_>,
    arrived: usize,
    attempt: Attempt,
) -> Result<(), PacketError> {
    if !session.begin_packets(caller.now, arrived, attempt) {
        return Ok(());
    }
    let taken = take_each(caller, session, packets);
    session.end_packets();
    taken
}

fn take_each<A: Application>(
    caller: Caller<'_, A>,
    session: &Session<A>,
    packets: &mut Packets<'_>,
) -> Result<(), PacketError> {
    let _inside = session.span().enter();
    let mut batch = Batch::default();
    while let Some(packet) = packets.next(session.has_capacity() || session.is_closed())? {
        match packet {
            Packet::Message(_) if session.is_closed() => {}
            packet => caller.server.handle_packet(&|| caller.now, session, packet, &mut batch),
        }
    }
    Ok(())
}

/// Handles packets that have waited, and returns the rest.
fn take_unhandled<A: Application>(
    caller: Caller<'_, A>,
    session: &Session<A>,
    mut unhandled: Box<Unhandled>,
    attempt: Attempt,
) -> Result<Option<Box<Unhandled>>, PacketError> {
    let mut packets = unhandled.packets();
    take_packets(caller, session, &mut packets, 0, attempt)?;
    Ok(packets.left().map(|left| {
        unhandled.keep(left);
        unhandled
    }))
}

/// Returns whether the exchange may continue: handlers keep up, or the session has ended. If not, `waker` is
/// called once that changes.
fn may_go_on<A: Application>(session: &Session<A>, waker: Option<&Waker>) -> bool {
    session.has_capacity_or_wake(waker) || session.is_closed()
}
