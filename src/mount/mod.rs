//! A server mounted in another HTTP server: on its port, beside its own routes.
//!
//! Putting it in front of an axum application takes one line (feature `axum`):
//!
//! ```no_run
//! # #[cfg(all(feature = "tokio", feature = "axum"))]
//! # async fn example() -> std::io::Result<()> {
//! let io = sockeye::Server::new();
//! let app = axum::Router::new().route("/", axum::routing::get(async || "hello"));
//!
//! let listener = tokio::net::TcpListener::bind("0.0.0.0:3000").await?;
//! axum::serve(listener, sockeye::runtime::tokio::layer(io).in_front_of(app)).await
//! # }
//! ```
//!
//! Mounting it inside of the application, behind the layers that are added later, takes one line as well:
//! `app.layer(sockeye::runtime::tokio::layer(io))`.
//!
//! It answers the requests to its path (`/socket.io/`) and to its assets, and passes all others on. A
//! WebSocket connection is taken over from the other server when it is opened. From then on, one over a TCP
//! stream of tokio's costs as much as without the other server; on smol, async-io waits for each one
//! separately; with TLS or HTTP/2, the other server's layers remain below it.
//!
//! For anything else that is built on tower or hyper (feature `hyper`), use the same [`Layer`], or a
//! [`Service`]: `sockeye::runtime::tokio::service(io)` and `sockeye::runtime::smol::service(io)`. For everything else there is
//! [`answer`], which uses only the types of the crates `http` and `http-body` (feature `http`): it takes a
//! request, and returns a response, possibly after a while, or a WebSocket connection.
//!
//! # What reaches the application
//!
//! [`Socket::handshake`](crate::Socket::handshake) has the headers of the request that opened the session, as
//! the outer layers left them. The extensions that those layers add (a login, a session, an id for tracing)
//! are kept with the session if the server is told to [keep](Layer::keep) their type:
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
//! let layer = sockeye::runtime::tokio::layer(io).keep::<User>();
//! # }
//! ```
//!
//! The address of the client is known if the request has a [`Peer`] among its extensions, or, with the
//! feature `axum`, axum's `ConnectInfo<SocketAddr>`. In front of an application it is always known; inside of
//! one, serve with `into_make_service_with_connect_info::<SocketAddr>()`.
//!
//! Only [`Peer::secure`] decides whether the connection counts as encrypted; the target of a request is not
//! used, because the client wrote it.
//!
//! # Notes
//!
//! - The body of a request is read up to [`max_payload`](crate::ServerBuilder::max_payload), and no further.
//! - Set up CORS in one place: either here ([`cors`](crate::ServerBuilder::cors)), which applies to the server's
//!   own path only, or in an outer layer, which then answers preflight requests first.
//! - Responses are compressed either here (`http_compression` of the server) or in an outer layer. A layer that compresses
//!   everything, such as that of tower-http, leaves those alone that are compressed already.
//! - A server that shuts down waits for its requests, and a poll may take long, so
//!   [close](crate::Server::close) this server first.
//! - Over HTTP/2, polling works without further setup. WebSocket works if the other server allows it (RFC
//!   8441): axum by its feature `http2`, hyper's builder by `enable_connect_protocol`.

mod begun;
mod body;
#[cfg(feature = "axum")]
mod front;
#[cfg(feature = "hyper")]
mod hand_over;
#[cfg(feature = "hyper")]
mod service;

pub use body::Body;
#[cfg(feature = "axum")]
pub use front::{Front, FrontFuture};
#[cfg(all(feature = "hyper", any(feature = "tokio", feature = "smol")))]
pub(crate) use service::Driver;
#[cfg(feature = "hyper")]
pub use service::{Answering, Either, Layer, NotFound, Service};

use crate::engine::exchange::{self, Content};
use crate::engine::{self, Connection};
use crate::server::{App, Server};
use begun::Begun;
use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Request, Response, StatusCode};
use sockeye_core::host::{Host, Peer};
use sockeye_core::http::Status;
use sockeye_core::websocket;
use std::borrow::Cow;
use std::fmt;

/// A server that can be mounted: a [`Server`], or an [`engine::Server`].
pub trait Mount: Host<Connection = Connection<Self::Application>> + sealed::Sealed {
    /// The application on top of the Engine.IO sessions.
    type Application: engine::Application;

    #[doc(hidden)]
    fn engine(&self) -> &engine::Server<Self::Application>;
}

mod sealed {
    #[allow(unreachable_pub)]
    pub trait Sealed {}
    impl Sealed for crate::Server {}
    impl<A: crate::engine::Application> Sealed for crate::engine::Server<A> {}
}

impl Mount for Server {
    type Application = App;

    fn engine(&self) -> &engine::Server<App> {
        &self.engine
    }
}

impl<A: engine::Application> Mount for engine::Server<A> {
    type Application = A;

    fn engine(&self) -> &engine::Server<A> {
        self
    }
}

/// The result of a request.
#[allow(clippy::large_enum_variant)]
pub enum Outcome<M: Mount> {
    /// The response.
    Response(Response<Body>),
    /// The response, after which the stream speaks WebSocket: [drive](crate::drive) the connection over it.
    ///
    /// Dropping the connection instead loses it.
    Upgrade(Response<Body>, M::Connection),
}

/// Returns whether the server handles requests to this path. For other paths, [`answer`] returns 404.
pub fn takes<M: Mount>(server: &M, path: &str) -> bool {
    server.engine().0.takes(path)
}

/// Answers a request of another HTTP server. Dropping the future before it is done counts as a lost
/// connection.
///
/// The request's [extensions](crate::Handshake::extension) are kept with the session that it opens: remove
/// those that are not needed.
///
/// The server's time must be kept meanwhile: see [`Host`], and [`keep_time`](crate::drive::keep_time). With
/// the feature `hyper`, [`Service`] does all of this.
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
    Begun::new(&server, request, peer).await
}

fn respond<A: engine::Application>(
    response: exchange::Response,
    delivery: Option<&engine::Delivery<A>>,
    is_http1: bool,
) -> Response<Body> {
    let mut headers = HeaderMap::with_capacity(response.headers.len() + 1);
    let body = match response.body {
        Content::Static(bytes) => Body::from(Bytes::from_static(bytes)),
        Content::Queue(queue) => Body::new(queue, delivery),
        Content::HeadOnly(length) => {
            if response.status != Status::NOT_MODIFIED {
                headers.insert(header::CONTENT_LENGTH, length.into());
            }
            Body::from(Bytes::new())
        }
    };
    if response.close && is_http1 {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    write(response.status.code(), headers, response.headers, body)
}

fn accept_websocket(key: Option<exchange::Key>, more: exchange::Headers) -> Response<Body> {
    let mut headers = HeaderMap::with_capacity(more.len() + 3);
    // An extended CONNECT gets an ordinary response (RFC 8441, section 5).
    let Some(key) = key else { return write(200, headers, more, Body::default()) };
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    let accept = HeaderValue::from_bytes(&websocket::accept_key(key)).expect("base64 may stand in a header");
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    write(101, headers, more, Body::default())
}

fn write(status: u16, mut headers: HeaderMap, more: exchange::Headers, body: Body) -> Response<Body> {
    for (name, value) in more {
        let value = match value {
            Cow::Borrowed(value) => Bytes::from_static(value.as_bytes()),
            Cow::Owned(value) => Bytes::from(value),
        };
        match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_maybe_shared(value)) {
            (Ok(name), Ok(value)) => _ = headers.append(name, value),
            // As in the server's own connections: only the application can have chosen an invalid header.
            _ => return write(500, HeaderMap::new(), exchange::Headers::default(), Body::default()),
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
