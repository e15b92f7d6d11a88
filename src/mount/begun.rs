//! A request of another HTTP server, from its head to its response.

use super::{Mount, Outcome, accept_websocket, respond};
use crate::engine::deadline::Deadline;
use crate::engine::exchange::{Caller, Exchange, Incoming, Step, Upgrade};
use crate::engine::{Application, Connection, Handshake, ServerInner, TransportError};
use crate::log::{self, Span};
use bytes::{Buf, Bytes};
use http::{Method, Request, Version, request};
use http_body::Body;
use pin_project_lite::pin_project;
use smallvec::SmallVec;
use sockeye_core::connection::is_upgrade;
use sockeye_core::host::Peer;
use sockeye_core::http as core_http;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

pin_project! {
    /// A request whose head was handled, until it is answered. If this is dropped earlier, the request is
    /// lost.
    ///
    /// Written by hand, because an `async` block would hold all of it twice, and it is moved to the heap for
    /// each request.
    pub(super) struct Begun<M: Mount, B> {
        mounted: Mounted<M::Application>,
        step: Step<M::Application>,
        is_http1: bool,
        #[pin]
        body: B,
        read: Read,
    }
}

impl<M: Mount, B: Body> Begun<M, B> {
    pub(super) fn new(server: &M, request: Request<B>, peer: Peer) -> Self {
        let (head, body) = request.into_parts();
        let is_http1 = head.version < Version::HTTP_2;
        let (mounted, step) = Mounted::begin(&server.engine().0, head, body.size_hint(), peer);
        Begun { mounted, step, is_http1, body, read: Read::default() }
    }

    #[cfg(feature = "hyper")]
    pub(super) fn peer(&self) -> Peer {
        self.mounted.peer
    }
}

impl<M: Mount, B: Body> Future for Begun<M, B> {
    type Output = Outcome<M>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome<M>> {
        let mut this = self.project();
        loop {
            *this.step = match std::mem::replace(this.step, Step::Wait) {
                Step::Body => {
                    let Poll::Ready(body) = this.read.poll(cx, this.mounted, this.body.as_mut()) else {
                        *this.step = Step::Body;
                        return Poll::Pending;
                    };
                    this.mounted.handle_body(body, cx)
                }
                Step::Wait => ready!(this.mounted.follow(cx)),
                Step::Respond(response, delivery) => {
                    let response = respond(response, delivery.as_ref(), *this.is_http1);
                    return Poll::Ready(Outcome::Response(response));
                }
                Step::Upgrade(accept, carries) => {
                    let server = this.mounted.server.clone();
                    let response = accept_websocket(accept.key, accept.headers);
                    let (now, peer) = (server.now(), this.mounted.peer);
                    let connection = Connection::upgraded(now, server, peer, accept.deflate, carries);
                    return Poll::Ready(Outcome::Upgrade(response, connection));
                }
            };
        }
    }
}

/// An exchange that is lost if the future that contains it is dropped.
struct Mounted<A: Application> {
    server: Arc<ServerInner<A>>,
    exchange: Exchange<A>,
    /// The peer, or the client for which a trusted proxy speaks.
    peer: Peer,
    /// The deadline for the body, or for the application's decision.
    deadline: Deadline,
    span: Span,
}

impl<A: Application> Mounted<A> {
    fn begin(
        server: &Arc<ServerInner<A>>,
        head: request::Parts,
        body: http_body::SizeHint,
        peer: Peer,
    ) -> (Self, Step<A>) {
        let headers: SmallVec<[core_http::Header<'_>; 24]> = (head.headers.iter())
            .map(|(name, value)| core_http::Header { name: name.as_str(), value: value.as_bytes() })
            .collect();
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
        // Plain CONNECT has no path, so it does not get here.
        let is_connect = head.version >= Version::HTTP_2 && head.method == Method::CONNECT;
        let method = if is_connect { "GET" } else { head.method.as_str() };
        let request = core_http::Request::new(method, target, &headers);
        let upgrade = match is_connect {
            true => Upgrade::Connect,
            false if head.version == Version::HTTP_11 && is_upgrade(&request) => Upgrade::Http1,
            false => Upgrade::None,
        };
        let body = match body.exact() {
            Some(0) => core_http::Body::None,
            Some(length) => core_http::Body::Length(length),
            None => core_http::Body::Chunked,
        };
        let incoming = Incoming { request: &request, upgrade, body };
        let peer = server.client(peer, &request);
        let handshake =
            |common: Option<&Arc<_>>| Handshake::new(&request, peer, common).with_extensions(head.extensions);
        // Set before the session can be forgotten, because this request may get its last response.
        server.count_busy(true);
        // The waker is only known when the future is polled.
        let caller = Caller { now: server.now(), server, waker: None, peer: peer.address };
        let span = log::connection(peer.address);
        let _inside = span.enter();
        let (exchange, step) = Exchange::begin(caller, &incoming, handshake);
        let (server, deadline) = (server.clone(), Deadline::default());
        (Mounted { server, exchange, peer, deadline, span }, step)
    }

    fn handle_body(&mut self, body: Result<Bytes, TransportError>, cx: &Context<'_>) -> Step<A> {
        let _inside = self.span.enter();
        self.deadline.clear(&self.server.timers);
        let (server, peer) = (&self.server, self.peer.address);
        let caller = Caller { now: server.now(), server, waker: Some(cx.waker()), peer };
        match body {
            Ok(body) => self.exchange.handle_body(caller, &body),
            Err(reason) => self.exchange.refuse_body(caller, reason),
        }
    }

    fn follow(&mut self, cx: &Context<'_>) -> Poll<Step<A>> {
        let _inside = self.span.enter();
        let (server, peer) = (&self.server, self.peer.address);
        let caller = Caller { now: server.now(), server, waker: Some(cx.waker()), peer };
        match self.exchange.follow(caller) {
            Step::Wait => {
                if let Some(at) = self.exchange.next_deadline() {
                    // Called after this deadline, it answers.
                    self.deadline.wake_at(cx, &self.server, at);
                }
                Poll::Pending
            }
            step => Poll::Ready(step),
        }
    }
}

impl<A: Application> Drop for Mounted<A> {
    fn drop(&mut self) {
        let _inside = self.span.enter();
        self.deadline.clear(&self.server.timers);
        if !self.exchange.is_answered() {
            self.exchange.lose(self.server.now());
        }
        self.server.count_busy(false);
    }
}

/// The number of frames of a body that are read in one turn, so that other tasks get theirs.
const MAX_TURN: usize = 64;

/// The part of a body that was read.
#[derive(Default)]
struct Read {
    /// The first frame. Most bodies have no other, and need not be copied.
    first: Bytes,
    /// The whole part, once there is a second frame.
    all: Vec<u8>,
}

impl Read {
    fn poll<A: Application, B: Body>(
        &mut self,
        cx: &mut Context<'_>,
        mounted: &mut Mounted<A>,
        mut body: Pin<&mut B>,
    ) -> Poll<Result<Bytes, TransportError>> {
        let Mounted { server, exchange, deadline, .. } = mounted;
        let limit = server.site.config.max_payload;
        for _ in 0..MAX_TURN {
            let data = match body.as_mut().poll_frame(cx) {
                Poll::Ready(None) => return Poll::Ready(Ok(self.take())),
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Err(TransportError::PostAborted)),
                Poll::Ready(Some(Ok(frame))) => frame.into_data(),
                Poll::Pending => {
                    ready!(deadline.poll(cx, server, server.limits.request_body_timeout));
                    return Poll::Ready(Err(TransportError::TooSlow));
                }
            };
            let Ok(data) = data else { continue };
            exchange.heard(server.now());
            if data.remaining() > limit.saturating_sub(self.first.len() + self.all.len()) {
                return Poll::Ready(Err(TransportError::TooLarge { limit }));
            }
            self.add(data);
        }
        // Continue in another turn: frames may be empty, and the body may never end.
        if deadline.poll(cx, server, server.limits.request_body_timeout).is_ready() {
            return Poll::Ready(Err(TransportError::TooSlow));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn add(&mut self, mut data: impl Buf) {
        if self.first.is_empty() && self.all.is_empty() {
            self.first = data.copy_to_bytes(data.remaining());
            return;
        }
        self.all.extend_from_slice(&std::mem::take(&mut self.first));
        while data.has_remaining() {
            let chunk = data.chunk();
            let length = chunk.len();
            self.all.extend_from_slice(chunk);
            data.advance(length);
        }
    }

    fn take(&mut self) -> Bytes {
        match self.all.is_empty() {
            true => std::mem::take(&mut self.first),
            false => std::mem::take(&mut self.all).into(),
        }
    }
}
