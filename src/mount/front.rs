//! The server in front of a whole axum application.

use super::Mount;
use super::service::{Answering, Either, Layer, Service};
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::serve::{IncomingStream, Listener};
use http::{Request, Response};
use pin_project_lite::pin_project;
use std::convert::Infallible;
use std::fmt;
use std::future::{Future, Ready, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A server in front of a whole axum application, made by [`Layer::in_front_of`] for [`axum::serve`](axum::serve()).
///
/// It is also the service of one connection, and of each request.
pub struct Front<M: Mount> {
    service: Service<M, Router>,
}

impl<M: Mount> Layer<M> {
    /// Puts the server in front of a whole application, for [`axum::serve`](axum::serve()).
    ///
    /// Requests for this server do not pass through the application's layers and routes, which saves their
    /// cost. Both know the client's address: handlers of the application as `ConnectInfo<SocketAddr>`.
    pub fn in_front_of(&self, app: Router) -> Front<M> {
        // Once, not for each request: `with_state` applies the application's layers again.
        Front { service: self.layer(app.with_state(())) }
    }
}

impl<M: Mount, L: Listener<Addr = SocketAddr>> tower_service::Service<IncomingStream<'_, L>> for Front<M> {
    type Response = Front<M>;
    type Error = Infallible;
    type Future = Ready<Result<Front<M>, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, stream: IncomingStream<'_, L>) -> Self::Future {
        let mut service = self.service.clone();
        service.peer.address = Some(*stream.remote_addr());
        ready(Ok(Front { service }))
    }
}

impl<M: Mount> tower_service::Service<Request<Body>> for Front<M> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = FrontFuture<M>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        tower_service::Service::<Request<Body>>::poll_ready(&mut self.service, cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> FrontFuture<M> {
        if self.service.takes(&request) {
            return FrontFuture { answering: Answering::Own { own: self.service.answer(request) } };
        }
        if let Some(address) = self.service.peer.address {
            request.extensions_mut().insert(ConnectInfo(address));
        }
        FrontFuture { answering: Answering::Inner { future: self.service.inner.call(request) } }
    }
}

pin_project! {
    /// The future of a response of [`Front`].
    pub struct FrontFuture<M: Mount> {
        #[pin]
        answering: Answering<M, Body, <Router as tower_service::Service<Request<Body>>>::Future>,
    }
}

impl<M: Mount> Future for FrontFuture<M> {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().answering.poll(cx).map_ok(|response| {
            response.map(|body| match body {
                Either::Own { body } => Body::new(body),
                Either::Inner { body } => body,
            })
        })
    }
}

impl<M: Mount> Clone for Front<M> {
    fn clone(&self) -> Self {
        Front { service: self.service.clone() }
    }
}

impl<M: Mount> fmt::Debug for Front<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.service.fmt(f)
    }
}

impl<M: Mount> fmt::Debug for FrontFuture<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrontFuture").finish_non_exhaustive()
    }
}
