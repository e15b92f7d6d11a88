//! A server inside of another HTTP server: on its port, beside its own routes.
//!
//! In axum it is a layer, and one line (feature `axum`):
//!
//! ```no_run
//! # #[cfg(all(feature = "tokio", feature = "axum"))]
//! # async fn example() -> std::io::Result<()> {
//! let io = sockeye::Server::new();
//! let app = axum::Router::new()
//!     .route("/", axum::routing::get(async || "hello"))
//!     .layer(sockeye::tokio::layer(io));
//!
//! let listener = tokio::net::TcpListener::bind("0.0.0.0:3000").await?;
//! axum::serve(listener, app).await
//! # }
//! ```
//!
//! It answers the requests to its path (`/socket.io/`) and to its assets, and passes all others on. A WebSocket
//! connection is taken out of the other server when it is opened: from then on it costs what it would cost without.
//!
//! In anything else that speaks tower or hyper (feature `hyper`) it is the same [`Layer`], or a [`Service`] of its own:
//! `sockeye::tokio::service(io)` and `sockeye::smol::service(io)`. For everything else there is [`answer`], which knows
//! only the types of the crates `http` and `http-body` (feature `http`): a request goes in; a response, which may take
//! its time, or a WebSocket connection comes out.
//!
//! # What reaches the application
//!
//! [`Socket::handshake`](crate::Socket::handshake) has the headers of the request that opened the session, as the layers
//! outside of this one left them. What they put to its extensions (a login, a session, an id for tracing) is kept with
//! the session where it is [asked for](Layer::keep):
//!
//! ```
//! # #[cfg(feature = "tokio")]
//! # fn example(io: sockeye::Server) {
//! use sockeye::extract::Extension;
//!
//! #[derive(Clone)]
//! struct User(String);
//!
//! io.on_connect(async |Extension(User(name)): Extension<User>| println!("{name} is here"));
//! let layer = sockeye::tokio::layer(io).keep::<User>();
//! # }
//! ```
//!
//! The address of the client is known where the request has a [`Peer`] among its extensions; with the feature `axum`
//! axum's `ConnectInfo<SocketAddr>` will do, so serve with `into_make_service_with_connect_info::<SocketAddr>()`.
//!
//! # What to know
//!
//! - The body of a request is read up to [`max_payload`](crate::Builder::max_payload), and no further.
//! - CORS is set once, where you like: here ([`cors`](crate::Builder::cors)), which concerns the server's own path only,
//!   or by a layer outside of this one, which then answers preflights first.
//! - A server that is shut down waits for its requests, and a poll may wait long: [close](crate::Server::close) this one
//!   first.
//! - Over HTTP/2, polling works without doing anything, and WebSocket where the other server is told to allow it
//!   (RFC 8441): axum does so with its feature `http2`, hyper's builder by `enable_connect_protocol`.

mod body;
mod deadline;
#[cfg(feature = "hyper")]
mod service;

pub use body::Body;
pub(crate) use body::Sender;
#[cfg(all(feature = "hyper", any(feature = "tokio", feature = "smol")))]
pub(crate) use service::Driver;
#[cfg(feature = "hyper")]
pub use service::{Answering, Either, Layer, NotFound, Service};

use crate::engine::exchange::{self, Content, Exchange, Incoming, Step, Upgrade};
use crate::engine::{self, Connection, Handshake, ServerInner, TransportError};
use crate::server::{App, Server};
use bytes::{Buf, Bytes};
use deadline::within;
use http::header::{self, HeaderName, HeaderValue};
use http::uri::Scheme;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version, request};
use smallvec::SmallVec;
use sockeye_core::connection::is_upgrade;
use sockeye_core::host::{Host, Peer};
use sockeye_core::http::{self as core_http, Status};
use sockeye_core::websocket;
use std::borrow::Cow;
use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Waker};

/// What can be mounted: a [`Server`], or an [`engine::Server`].
pub trait Mount: Host<Connection = Connection<Self::Handler>> + sealed::Sealed {
    /// What is above Engine.IO.
    type Handler: engine::Handler;

    #[doc(hidden)]
    fn engine(&self) -> &engine::Server<Self::Handler>;
}

mod sealed {
    #[allow(unreachable_pub)]
    pub trait Sealed {}
    impl Sealed for crate::Server {}
    impl<H: crate::engine::Handler> Sealed for crate::engine::Server<H> {}
}

impl Mount for Server {
    type Handler = App;

    fn engine(&self) -> &engine::Server<App> {
        &self.engine
    }
}

impl<H: engine::Handler> Mount for engine::Server<H> {
    type Handler = H;

    fn engine(&self) -> &engine::Server<H> {
        self
    }
}

/// What becomes of a request.
#[allow(clippy::large_enum_variant)]
pub enum Outcome<M: Mount> {
    /// It is answered.
    Response(Response<Body>),
    /// It is answered, and its stream speaks WebSocket afterwards: [drive](crate::drive) the connection over it.
    ///
    /// A connection that is dropped instead is a lost one.
    Upgrade(Response<Body>, M::Connection),
}

/// Whether a request to this path is for the server: if not, [`answer`] says that there is nothing.
pub fn takes<M: Mount>(server: &M, path: &str) -> bool {
    server.engine().0.takes(path)
}

/// Answers a request of another HTTP server. A future that is dropped before it is done is a lost connection.
///
/// The request's [extensions](crate::Handshake::extension) are kept with the session that it opens: take out what is not
/// worth it.
///
/// Somebody has to keep the server's time meanwhile: see [`Host`], and [`keep_time`](crate::drive::keep_time). With the
/// feature `hyper`, [`Service`] does all of it.
///
/// ```
/// use http::{Request, StatusCode};
/// use sockeye::host::Peer;
/// use sockeye::mount::{Outcome, answer};
///
/// # async fn example() -> Option<()> {
/// let io = sockeye::Server::new();
/// let request = Request::get("/socket.io/?EIO=4&transport=polling").body(String::new()).ok()?;
/// match answer(io, request, Peer::default()).await {
///     Outcome::Response(response) => assert_eq!(response.status(), StatusCode::OK),
///     Outcome::Upgrade(..) => unreachable!("nobody asked for one"),
/// }
/// # Some(())
/// # }
/// # let mut context = std::task::Context::from_waker(std::task::Waker::noop());
/// # assert!(std::pin::pin!(example()).poll(&mut context) == std::task::Poll::Ready(Some(())));
/// ```
pub async fn answer<M, B>(server: M, request: Request<B>, peer: Peer) -> Outcome<M>
where
    M: Mount,
    B: http_body::Body,
{
    let (head, body) = request.into_parts();
    let peer = Peer { secure: peer.secure || head.uri.scheme() == Some(&Scheme::HTTPS), ..peer };
    let is_http1 = head.version < Version::HTTP_2;
    let server = server.engine().0.clone();
    let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
    let (mut mounted, mut step) = Mounted::begin(server, head, body.size_hint(), peer, &waker);
    if matches!(step, Step::Body) {
        let body = mounted.read(body).await;
        step = mounted.handle_body(&body, &waker);
    }
    if matches!(step, Step::Wait) {
        step = match mounted.exchange.deadline() {
            None => poll_fn(|cx| mounted.follow(cx.waker())).await,
            Some(_) => mounted.decide().await,
        };
    }
    match step {
        Step::Answer(answer) => Outcome::Response(respond(answer, is_http1)),
        Step::Upgrade(accept) => {
            let server = mounted.server.clone();
            let response = accept_websocket(accept.key, accept.headers);
            let now = server.now();
            let connection = Connection::upgraded(now, server, peer, accept.deflate, accept.carries);
            Outcome::Upgrade(response, connection)
        }
        Step::Wait | Step::Body => unreachable!("both are done with above"),
    }
}

/// An exchange that is lost with the future that it is in.
struct Mounted<H: engine::Handler> {
    server: Arc<ServerInner<H>>,
    exchange: Exchange<H>,
}

impl<H: engine::Handler> Mounted<H> {
    fn begin(
        server: Arc<ServerInner<H>>,
        head: request::Parts,
        body: http_body::SizeHint,
        peer: Peer,
        waker: &Waker,
    ) -> (Self, Step<H>) {
        let headers: SmallVec<[core_http::Header<'_>; 24]> = (head.headers.iter())
            .map(|(name, value)| core_http::Header { name: name.as_str(), value: value.as_bytes() })
            .collect();
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
        // Plain CONNECT has no path, and would not have come here.
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
        let handshake = || Handshake::new(&request, peer).with_extensions(head.extensions);
        let (exchange, step) = Exchange::begin(server.now(), &server, &incoming, handshake, Some(waker));
        server.count_busy(true);
        (Mounted { server, exchange }, step)
    }

    async fn read<B: http_body::Body>(&mut self, body: B) -> Result<Bytes, TransportError> {
        let server = self.server.clone();
        let read = within(&server, server.limits.message_timeout, self.read_all(body));
        read.await.unwrap_or(Err(TransportError::TooSlow))
    }

    async fn read_all<B: http_body::Body>(&mut self, body: B) -> Result<Bytes, TransportError> {
        let limit = self.server.config.max_payload;
        let mut body = pin!(body);
        let (mut first, mut all) = (Bytes::new(), Vec::new());
        while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            let frame = frame.map_err(|_| TransportError::PostAborted)?;
            let Ok(mut data) = frame.into_data() else { continue };
            self.exchange.heard(self.server.now());
            if data.remaining() > limit.saturating_sub(first.len() + all.len()) {
                return Err(TransportError::TooLarge { limit });
            }
            // Most bodies come in one piece, which need not be copied.
            if first.is_empty() && all.is_empty() {
                first = data.copy_to_bytes(data.remaining());
                continue;
            }
            all.extend_from_slice(&std::mem::take(&mut first));
            while data.has_remaining() {
                let chunk = data.chunk();
                let length = chunk.len();
                all.extend_from_slice(chunk);
                data.advance(length);
            }
        }
        Ok(if all.is_empty() { first } else { all.into() })
    }

    fn handle_body(&mut self, body: &Result<Bytes, TransportError>, waker: &Waker) -> Step<H> {
        let now = self.server.now();
        match body {
            Ok(body) => self.exchange.handle_body(now, &self.server, body, Some(waker)),
            Err(reason) => self.exchange.refuse_body(now, reason.clone()).into(),
        }
    }

    /// Waits until the application has decided, or has taken too long.
    async fn decide(&mut self) -> Step<H> {
        let server = self.server.clone();
        let decided = poll_fn(|cx| self.follow(cx.waker()));
        within(&server, server.config.allow_timeout, decided).await.unwrap_or(Step::Wait)
    }

    fn follow(&mut self, waker: &Waker) -> Poll<Step<H>> {
        self.exchange.set_waker(waker);
        match self.exchange.follow(self.server.now(), &self.server, Some(waker)) {
            Step::Wait => Poll::Pending,
            step => Poll::Ready(step),
        }
    }
}

impl<H: engine::Handler> Drop for Mounted<H> {
    fn drop(&mut self) {
        self.exchange.lose(self.server.now());
        self.server.count_busy(false);
    }
}

fn respond<H: engine::Handler>(answer: exchange::Answer<H>, is_http1: bool) -> Response<Body> {
    let mut headers = HeaderMap::with_capacity(answer.headers.len() + 1);
    let body = match answer.body {
        Content::Static(bytes) => Body::from(Bytes::from_static(bytes)),
        Content::Queue(queue) => Body::new(queue, answer.session.as_ref()),
        Content::HeadOnly(length) => {
            if answer.status != Status::NOT_MODIFIED {
                headers.insert(header::CONTENT_LENGTH, length.into());
            }
            Body::from(Bytes::new())
        }
    };
    if answer.close && is_http1 {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    write(answer.status.code(), headers, answer.headers, body)
}

fn accept_websocket(key: Option<exchange::Key>, more: exchange::Headers) -> Response<Body> {
    let mut headers = HeaderMap::with_capacity(more.len() + 3);
    // An extended CONNECT is answered like any other (RFC 8441, section 5).
    let Some(key) = key else { return write(200, headers, more, Body::default()) };
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    let accept = HeaderValue::from_bytes(&websocket::accept_key(key)).expect("base64 may stand in a header");
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    write(101, headers, more, Body::default())
}

fn write(status: u16, mut headers: HeaderMap, more: exchange::Headers, body: Body) -> Response<Body> {
    for (name, value) in more {
        let name = HeaderName::from_bytes(name.as_bytes());
        let value = match value {
            Cow::Borrowed(value) => Bytes::from_static(value.as_bytes()),
            Cow::Owned(value) => Bytes::from(value),
        };
        match (name, HeaderValue::from_maybe_shared(value)) {
            (Ok(name), Ok(value)) => _ = headers.append(name, value),
            // As the server's own connections: what chose it is on our side.
            _ => return write(500, HeaderMap::new(), exchange::Headers::new(), Body::default()),
        }
    }
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).expect("statuses have three digits");
    *response.headers_mut() = headers;
    response
}

impl<M: Mount> fmt::Debug for Outcome<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Response(response) => f.debug_tuple("Response").field(response).finish(),
            Outcome::Upgrade(response, _) => f.debug_tuple("Upgrade").field(response).finish_non_exhaustive(),
        }
    }
}
