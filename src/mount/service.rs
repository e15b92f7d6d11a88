//! The server as a service of tower and of hyper.

use super::begun::Begun;
use super::hand_over::hand_over;
use super::{Body, Mount, Outcome, takes};
use crate::engine;
use crate::guard::BoxFuture;
use crate::log::{self, warn};
use bytes::Bytes;
use http::{Extensions, Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use hyper::upgrade::{OnUpgrade, Upgraded};
use pin_project_lite::pin_project;
use sockeye_core::host::{Peer, Runtime};
use std::convert::Infallible;
use std::fmt;
use std::future::{Future, Ready, ready};
#[cfg(feature = "axum")]
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

/// A layer that puts a server in front of a service: `sockeye::runtime::tokio::layer(io)` or
/// `sockeye::runtime::smol::layer(io)`.
///
/// It answers requests to the server's path and to its assets, and passes all others on. See
/// [`mount`](super).
pub struct Layer<M: Mount> {
    shared: Arc<Shared<M>>,
    peer: Peer,
    keeps: Keeps,
}

/// A server in front of a service, or alone, in which case it answers all other requests with 404:
/// `sockeye::runtime::tokio::service(io)` or `sockeye::runtime::smol::service(io)`.
///
/// It implements the service traits of tower and hyper that the service behind it implements.
pub struct Service<M: Mount, S = NotFound> {
    shared: Arc<Shared<M>>,
    pub(super) peer: Peer,
    keeps: Keeps,
    pub(super) inner: S,
}

/// Functions that each move the extension of one type from a request to the extensions to keep.
type Keeps = Arc<Vec<fn(&mut Extensions, &mut Extensions)>>;

/// A service that answers every request with 404.
#[derive(Clone, Copy, Debug, Default)]
pub struct NotFound;

/// The state that all clones of a layer and its services share.
pub(super) struct Shared<M: Mount> {
    pub(super) server: M,
    driver: Driver<M>,
    runtime: OnceLock<ThinRuntime>,
    /// The runtime was set explicitly, so requests may arrive in another one.
    is_chosen: AtomicBool,
}

/// The functions by which a runtime supports a mounted server.
pub(crate) struct Driver<M: Mount> {
    /// Returns the runtime in which it is called.
    pub(crate) current: fn() -> Arc<dyn Runtime>,
    /// Keeps the time of a server until the server is gone.
    pub(crate) keep_time: fn(Weak<M>, Arc<dyn Runtime>) -> BoxFuture<()>,
    /// Starts a connection over a stream from hyper. Called inside of the runtime.
    pub(crate) start: fn(Upgraded, M::Connection, ThinRuntime),
}

/// A runtime behind a thin pointer: a task with it is smaller.
pub(crate) type ThinRuntime = Arc<Arc<dyn Runtime>>;

/// Returns the server as long as it exists.
pub(crate) type Weak<M> = Box<dyn Fn() -> Option<engine::Server<<M as Mount>::Application>> + Send + Sync>;

impl<M: Mount> Layer<M> {
    #[cfg(any(feature = "tokio", feature = "smol"))]
    pub(crate) fn new(server: M, driver: Driver<M>) -> Self {
        let shared =
            Arc::new(Shared { server, driver, runtime: OnceLock::new(), is_chosen: AtomicBool::new(false) });
        Layer { shared, peer: Peer::default(), keeps: Keeps::default() }
    }

    /// Runs handlers and connections on this runtime instead of the one in which the first request arrives. A
    /// handler that begins in a polling request finds this runtime, too.
    ///
    /// Has no effect once a request has arrived.
    pub fn on(self, runtime: impl Runtime) -> Self {
        self.shared.start(|| {
            self.shared.is_chosen.store(true, Ordering::Relaxed);
            Arc::new(runtime)
        });
        self
    }

    /// Sets the peer of requests that have none among their extensions: see [`Service::peer`].
    pub fn peer(mut self, peer: impl Into<Peer>) -> Self {
        self.peer = peer.into();
        self
    }

    /// Keeps the extension of this type, which another layer adds to requests, for
    /// [`Handshake::extension`](crate::Handshake::extension) and [`Extension`](crate::extract::Extension).
    /// The extension of the request that opens a session is kept as long as the session.
    ///
    /// All other extensions are dropped with their request, because they may hold anything.
    pub fn keep<T: Clone + Send + Sync + 'static>(mut self) -> Self {
        Arc::make_mut(&mut self.keeps).push(|from, to| {
            if let Some(extension) = from.remove::<T>() {
                to.insert(extension);
            }
        });
        self
    }

    /// Puts the server in front of `inner`, a service of tower or hyper.
    pub fn layer<S>(&self, inner: S) -> Service<M, S> {
        Service { shared: self.shared.clone(), peer: self.peer, keeps: self.keeps.clone(), inner }
    }
}

impl<M: Mount, S> Service<M, S> {
    /// Sets the peer of requests that have no [`Peer`] among their extensions. Use it for a single connection
    /// of hyper, whose address is known when it is accepted:
    ///
    /// ```
    /// # #[cfg(feature = "tokio")]
    /// # fn example(io: &sockeye::Server, address: std::net::SocketAddr) {
    /// let service = sockeye::runtime::tokio::service(io.clone());
    /// let of_this_connection = service.clone().peer(address);
    /// # }
    /// ```
    pub fn peer(mut self, peer: impl Into<Peer>) -> Self {
        self.peer = peer.into();
        self
    }

    pub(super) fn takes<B>(&self, request: &Request<B>) -> bool {
        takes(&self.shared.server, request.uri().path())
    }

    pub(super) fn answer<B: http_body::Body>(&self, mut request: Request<B>) -> Own<M, B> {
        self.shared.runtime();
        let peer = peer_of(request.extensions()).unwrap_or(self.peer);
        let is_there = request.extensions().get::<OnUpgrade>().is_some();
        let on_upgrade = is_there.then(|| hyper::upgrade::on(&mut request));
        let mut kept = Extensions::new();
        self.keeps.iter().for_each(|keep| keep(request.extensions_mut(), &mut kept));
        *request.extensions_mut() = kept;
        let mut begun = None;
        let mut request = Some(request);
        // Handlers begin here, or when the response is polled.
        self.shared.enter(|| begun = request.take().map(|it| Begun::new(&self.shared.server, it, peer)));
        let begun = begun.expect("it was called once");
        Own { begun, on_upgrade, shared: self.shared.clone() }
    }
}

pin_project! {
    /// The future of a response that this server gives.
    pub(super) struct Own<M: Mount, B> {
        #[pin]
        begun: Begun<M, B>,
        // `None` if the outer server does not hand over connections.
        on_upgrade: Option<OnUpgrade>,
        shared: Arc<Shared<M>>,
    }
}

impl<M: Mount, B: http_body::Body> Future for Own<M, B> {
    type Output = Response<Body>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Response<Body>> {
        let this = self.project();
        let mut begun = this.begun;
        let mut polled = Poll::Pending;
        this.shared.enter(|| polled = begun.as_mut().poll(cx));
        let peer = begun.peer();
        let (response, connection) = match ready!(polled) {
            Outcome::Response(response) => return Poll::Ready(response),
            Outcome::Upgrade(response, connection) => (response, connection),
        };
        let Some(on_upgrade) = this.on_upgrade.take() else {
            let peer = log::peer(peer.address);
            warn!(peer = %peer, "the server around this one does not hand over connections, so there is no websocket");
            let mut response = Response::new(Body::default());
            *response.status_mut() = StatusCode::NOT_IMPLEMENTED;
            return Poll::Ready(response);
        };
        hand_over(this.shared.clone(), peer, on_upgrade, connection);
        Poll::Ready(response)
    }
}

/// Returns the peer of a request, if it is among its extensions.
fn peer_of(extensions: &Extensions) -> Option<Peer> {
    if let Some(peer) = extensions.get::<Peer>() {
        return Some(*peer);
    }
    #[cfg(feature = "axum")]
    if let Some(info) = extensions.get::<axum::extract::ConnectInfo<SocketAddr>>() {
        return Some(Peer::from(info.0));
    }
    None
}

impl<M: Mount> Shared<M> {
    /// Drives a connection over a stream from hyper, in a task of its own that is as small as possible.
    pub(super) fn drive(&self, upgraded: Upgraded, connection: M::Connection) {
        let runtime = self.runtime();
        let mut both = Some((upgraded, connection));
        // The caller may be polled in another runtime.
        runtime.enter(&mut || {
            if let Some((upgraded, connection)) = both.take() {
                (self.driver.start)(upgraded, connection, runtime.clone());
            }
        });
    }

    /// Calls `f` inside of the runtime that was set, if one was.
    fn enter(&self, mut f: impl FnMut()) {
        match self.is_chosen.load(Ordering::Relaxed) {
            true => self.runtime().enter(&mut f),
            false => f(),
        }
    }

    /// Returns the runtime: the one that was set, or else the one in which this is first called.
    pub(super) fn runtime(&self) -> &ThinRuntime {
        self.start(self.driver.current)
    }

    /// Returns the runtime. The first call sets it, and starts to keep the server's time.
    fn start(&self, runtime: impl FnOnce() -> Arc<dyn Runtime>) -> &ThinRuntime {
        self.runtime.get_or_init(|| {
            let runtime = self.server.attach(runtime());
            let weak = Arc::downgrade(&self.server.engine().0);
            let host = Box::new(move || weak.upgrade().map(engine::Server));
            runtime.spawn((self.driver.keep_time)(host, runtime.clone()));
            Arc::new(runtime)
        })
    }
}

impl<M: Mount, S> tower_layer::Layer<S> for Layer<M> {
    type Service = Service<M, S>;

    fn layer(&self, inner: S) -> Service<M, S> {
        Layer::layer(self, inner)
    }
}

impl<M, S, B, R> tower_service::Service<Request<B>> for Service<M, S>
where
    M: Mount,
    S: tower_service::Service<Request<B>, Response = Response<R>>,
    B: http_body::Body,
{
    type Response = Response<Either<R>>;
    type Error = S::Error;
    type Future = Answering<M, B, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self.takes(&request) {
            true => Answering::Own { own: self.answer(request) },
            false => Answering::Inner { future: self.inner.call(request) },
        }
    }
}

impl<M, S, B, R> hyper::service::Service<Request<B>> for Service<M, S>
where
    M: Mount,
    S: hyper::service::Service<Request<B>, Response = Response<R>>,
    B: http_body::Body,
{
    type Response = Response<Either<R>>;
    type Error = S::Error;
    type Future = Answering<M, B, S::Future>;

    fn call(&self, request: Request<B>) -> Self::Future {
        match self.takes(&request) {
            true => Answering::Own { own: self.answer(request) },
            false => Answering::Inner { future: self.inner.call(request) },
        }
    }
}

pin_project! {
    /// The future of a response: this server's, or that of the service behind it.
    #[project = AnsweringProjection]
    #[allow(missing_docs)]
    pub enum Answering<M: Mount, B, F> {
        Own { #[pin] own: Own<M, B> },
        Inner { #[pin] future: F },
    }
}

impl<M, B, F, R, E> Future for Answering<M, B, F>
where
    M: Mount,
    B: http_body::Body,
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<Either<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            AnsweringProjection::Own { own } => {
                own.poll(cx).map(|response| Ok(response.map(|body| Either::Own { body })))
            }
            AnsweringProjection::Inner { future } => {
                future.poll(cx).map_ok(|response| response.map(|body| Either::Inner { body }))
            }
        }
    }
}

pin_project! {
    /// The body of a response: this server's, or that of the service behind it.
    #[project = EitherProjection]
    #[derive(Debug)]
    #[allow(missing_docs)]
    pub enum Either<R> {
        Own { body: Body },
        Inner { #[pin] body: R },
    }
}

impl<R: http_body::Body<Data = Bytes>> http_body::Body for Either<R> {
    type Data = Bytes;
    type Error = R::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, R::Error>>> {
        match self.project() {
            EitherProjection::Own { body } => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            EitherProjection::Inner { body } => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Either::Own { body } => body.is_end_stream(),
            Either::Inner { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Either::Own { body } => body.size_hint(),
            Either::Inner { body } => body.size_hint(),
        }
    }
}

fn not_found() -> Response<Body> {
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

impl<B> tower_service::Service<Request<B>> for NotFound {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<B>) -> Self::Future {
        ready(Ok(not_found()))
    }
}

impl<B> hyper::service::Service<Request<B>> for NotFound {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn call(&self, _request: Request<B>) -> Self::Future {
        ready(Ok(not_found()))
    }
}

impl<M: Mount> Clone for Layer<M> {
    fn clone(&self) -> Self {
        Layer { shared: self.shared.clone(), peer: self.peer, keeps: self.keeps.clone() }
    }
}

impl<M: Mount, S: Clone> Clone for Service<M, S> {
    fn clone(&self) -> Self {
        Service {
            shared: self.shared.clone(),
            peer: self.peer,
            keeps: self.keeps.clone(),
            inner: self.inner.clone(),
        }
    }
}

impl<M: Mount> fmt::Debug for Layer<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layer").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl<M: Mount, S: fmt::Debug> fmt::Debug for Service<M, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Service");
        debug.field("peer", &self.peer).field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<M: Mount, B, F> fmt::Debug for Answering<M, B, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answering").finish_non_exhaustive()
    }
}
