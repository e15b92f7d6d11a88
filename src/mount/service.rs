//! The server as a service of tower and of hyper.

use super::begun::Begun;
use super::deadline::Deadline;
use super::{Body, Mount, Outcome, takes};
use crate::engine;
use crate::log::warn;
use bytes::Bytes;
use http::{Extensions, Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use hyper::upgrade::{OnUpgrade, Upgraded};
use pin_project_lite::pin_project;
use smallvec::SmallVec;
use sockeye_core::host::{Peer, Runtime};
use std::convert::Infallible;
use std::fmt;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Puts a server in front of a service: `sockeye::tokio::layer(io)` or `sockeye::smol::layer(io)`.
///
/// Requests to the server's path and to its assets are answered, all others are passed on. See [`mount`](super).
pub struct Layer<M: Mount> {
    shared: Arc<Shared<M>>,
    peer: Peer,
    keeps: Keeps,
}

/// A server in front of a service; or alone, where it answers all else with 404: `sockeye::tokio::service(io)` or
/// `sockeye::smol::service(io)`.
///
/// It is a service of tower's and of hyper's traits, as what is behind it is.
pub struct Service<M: Mount, S = NotFound> {
    shared: Arc<Shared<M>>,
    peer: Peer,
    keeps: Keeps,
    inner: S,
}

/// Each moves an extension of one type from a request to what is kept of it.
type Keeps = SmallVec<[fn(&mut Extensions, &mut Extensions); 4]>;

/// A service that answers every request with 404.
#[derive(Clone, Copy, Debug, Default)]
pub struct NotFound;

/// What all clones of a layer and its services have in common.
struct Shared<M: Mount> {
    server: M,
    driver: Driver<M>,
    runtime: OnceLock<Arc<dyn Runtime>>,
}

/// What a runtime does for a mounted server.
pub(crate) struct Driver<M: Mount> {
    /// The runtime that this is called in.
    pub(crate) current: fn() -> Arc<dyn Runtime>,
    /// Keeps the time of a server until it is gone.
    pub(crate) keep_time: fn(Weak<M>, Arc<dyn Runtime>) -> BoxFuture<()>,
    /// Starts a connection over what hyper hands over; called in the runtime.
    pub(crate) start: fn(Upgraded, M::Connection, Arc<dyn Runtime>),
}

/// Gets the server as long as there is one.
pub(crate) type Weak<M> = Box<dyn Fn() -> Option<engine::Server<<M as Mount>::Handler>> + Send + Sync>;

impl<M: Mount> Layer<M> {
    #[cfg(any(feature = "tokio", feature = "smol"))]
    pub(crate) fn new(server: M, driver: Driver<M>) -> Self {
        let shared = Arc::new(Shared { server, driver, runtime: OnceLock::new() });
        Layer { shared, peer: Peer::default(), keeps: Keeps::new() }
    }

    /// Runs handlers and connections on this runtime, and not on the one in which the first request arrives.
    ///
    /// Does nothing once a request has arrived.
    pub fn on(self, runtime: impl Runtime) -> Self {
        self.shared.start(|| Arc::new(runtime));
        self
    }

    /// Who sends the requests that do not say so themselves: see [`Service::peer`].
    pub fn peer(mut self, peer: impl Into<Peer>) -> Self {
        self.peer = peer.into();
        self
    }

    /// Keeps an extension of this type, which another layer puts to requests, for
    /// [`Handshake::extension`](crate::Handshake::extension) and [`Extension`](crate::extract::Extension): that of the
    /// request that opens a session, as long as the session is.
    ///
    /// The others go with their request: who knows what they hold.
    pub fn keep<T: Clone + Send + Sync + 'static>(mut self) -> Self {
        self.keeps.push(|from, to| {
            if let Some(extension) = from.remove::<T>() {
                to.insert(extension);
            }
        });
        self
    }

    /// Puts the server in front of `inner`: a service of tower's or hyper's.
    pub fn layer<S>(&self, inner: S) -> Service<M, S> {
        Service { shared: self.shared.clone(), peer: self.peer, keeps: self.keeps.clone(), inner }
    }
}

impl<M: Mount, S> Service<M, S> {
    /// Who sends the requests that have no [`Peer`] among their extensions. For one connection of hyper, whose address
    /// is known when it is accepted:
    ///
    /// ```
    /// # #[cfg(feature = "tokio")]
    /// # fn example(io: &sockeye::Server, address: std::net::SocketAddr) {
    /// let service = sockeye::tokio::service(io.clone());
    /// let of_this_connection = service.clone().peer(address);
    /// # }
    /// ```
    pub fn peer(mut self, peer: impl Into<Peer>) -> Self {
        self.peer = peer.into();
        self
    }

    fn takes<B>(&self, request: &Request<B>) -> bool {
        takes(&self.shared.server, request.uri().path())
    }

    fn answer<B>(&self, mut request: Request<B>) -> BoxFuture<Response<Body>>
    where
        B: http_body::Body<Data: Send> + Send + 'static,
    {
        self.shared.start(self.shared.driver.current);
        let peer = peer_of(request.extensions()).unwrap_or(self.peer);
        let is_there = request.extensions().get::<OnUpgrade>().is_some();
        let on_upgrade = is_there.then(|| hyper::upgrade::on(&mut request));
        let mut kept = Extensions::new();
        self.keeps.iter().for_each(|keep| keep(request.extensions_mut(), &mut kept));
        *request.extensions_mut() = kept;
        let begun = Begun::new(&self.shared.server, request, peer);
        Box::pin(Own { begun, on_upgrade, shared: self.shared.clone() })
    }
}

pin_project! {
    /// The answer to a request of the server's own.
    struct Own<M: Mount, B> {
        #[pin]
        begun: Begun<M, B>,
        // `None` if the server around this one does not hand over connections.
        on_upgrade: Option<OnUpgrade>,
        shared: Arc<Shared<M>>,
    }
}

impl<M: Mount, B: http_body::Body> Future for Own<M, B> {
    type Output = Response<Body>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Response<Body>> {
        let this = self.project();
        let (response, connection) = match ready!(this.begun.poll(cx)) {
            Outcome::Response(response) => return Poll::Ready(response),
            Outcome::Upgrade(response, connection) => (response, connection),
        };
        let Some(on_upgrade) = this.on_upgrade.take() else {
            warn!("the server around this one does not hand over connections, so there is no websocket");
            let mut response = Response::new(Body::default());
            *response.status_mut() = StatusCode::NOT_IMPLEMENTED;
            return Poll::Ready(response);
        };
        let runtime = this.shared.start(this.shared.driver.current);
        let waiting = HandOver {
            shared: this.shared.clone(),
            on_upgrade,
            deadline: Deadline::default(),
            connection: Some(connection),
        };
        runtime.spawn(Box::pin(waiting));
        Poll::Ready(response)
    }
}

/// Who sent a request, if its extensions tell.
fn peer_of(extensions: &Extensions) -> Option<Peer> {
    if let Some(peer) = extensions.get::<Peer>() {
        return Some(*peer);
    }
    #[cfg(feature = "axum")]
    if let Some(info) = extensions.get::<axum::extract::ConnectInfo<std::net::SocketAddr>>() {
        return Some(Peer::from(info.0));
    }
    None
}

/// Waits for the stream, and gives it to the runtime.
struct HandOver<M: Mount> {
    shared: Arc<Shared<M>>,
    on_upgrade: OnUpgrade,
    deadline: Deadline,
    connection: Option<M::Connection>,
}

impl<M: Mount> Future for HandOver<M> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let HandOver { shared, on_upgrade, deadline, connection } = &mut *self;
        let server = &shared.server.engine().0;
        match Pin::new(on_upgrade).poll(cx) {
            Poll::Ready(Ok(upgraded)) => {
                if let Some(connection) = connection.take() {
                    // A task of its own, which is as small as can be: it may live long.
                    (shared.driver.start)(upgraded, connection, shared.start(shared.driver.current).clone());
                }
            }
            Poll::Ready(Err(error)) => {
                warn!(%error, "a websocket connection was not handed over: does the server around this one allow upgrades?");
            }
            Poll::Pending => {
                ready!(deadline.poll(cx, server, server.config.upgrade_timeout));
                warn!("a websocket connection was not handed over in time");
            }
        }
        Poll::Ready(())
    }
}

impl<M: Mount> Drop for HandOver<M> {
    fn drop(&mut self) {
        self.deadline.clear(&self.shared.server.engine().0.timers);
    }
}

impl<M: Mount> Shared<M> {
    /// The runtime; the first call also starts to keep the time.
    fn start(&self, runtime: impl FnOnce() -> Arc<dyn Runtime>) -> &Arc<dyn Runtime> {
        self.runtime.get_or_init(|| {
            let runtime = self.server.attach(runtime());
            let weak = Arc::downgrade(&self.server.engine().0);
            let host = Box::new(move || weak.upgrade().map(engine::Server));
            runtime.spawn((self.driver.keep_time)(host, runtime.clone()));
            runtime
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
    B: http_body::Body<Data: Send> + Send + 'static,
{
    type Response = Response<Either<R>>;
    type Error = S::Error;
    type Future = Answering<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self.takes(&request) {
            true => Answering::Own { future: self.answer(request) },
            false => Answering::Inner { future: self.inner.call(request) },
        }
    }
}

impl<M, S, B, R> hyper::service::Service<Request<B>> for Service<M, S>
where
    M: Mount,
    S: hyper::service::Service<Request<B>, Response = Response<R>>,
    B: http_body::Body<Data: Send> + Send + 'static,
{
    type Response = Response<Either<R>>;
    type Error = S::Error;
    type Future = Answering<S::Future>;

    fn call(&self, request: Request<B>) -> Self::Future {
        match self.takes(&request) {
            true => Answering::Own { future: self.answer(request) },
            false => Answering::Inner { future: self.inner.call(request) },
        }
    }
}

pin_project! {
    /// The future of an answer: the server's, or that of the service behind it.
    #[project = AnsweringProjection]
    #[allow(missing_docs)]
    pub enum Answering<F> {
        Own { future: BoxFuture<Response<Body>> },
        Inner { #[pin] future: F },
    }
}

impl<F, R, E> Future for Answering<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<Either<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            AnsweringProjection::Own { future } => {
                future.as_mut().poll(cx).map(|response| Ok(response.map(|body| Either::Own { body })))
            }
            AnsweringProjection::Inner { future } => {
                future.poll(cx).map_ok(|response| response.map(|body| Either::Inner { body }))
            }
        }
    }
}

pin_project! {
    /// The body of an answer: the server's, or that of the service behind it.
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

impl<F> fmt::Debug for Answering<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answering").finish_non_exhaustive()
    }
}
