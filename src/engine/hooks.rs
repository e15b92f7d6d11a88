//! The application's part in requests: it may refuse them, add headers to their responses, and draw ids.

use super::{Handshake, Id};
use crate::connection_error::ConnectionError;
use crate::guard::{Guarded, catch, guard};
use crate::log::{self, error};
use sockeye_core::engineio::server::{Rejection, RequestError, ResponseHeaders};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// An asynchronous function of a request.
pub(super) type Ask<T> = Box<dyn Fn(Handshake) -> BoxFuture<T> + Send + Sync>;
/// A function that adds headers to the response to a request.
pub(super) type AddHeaders = Box<dyn Fn(&Handshake, &mut ResponseHeaders) + Send + Sync>;
/// A function that is told of refused requests.
pub(super) type OnConnectionError = Box<dyn Fn(&ConnectionError<'_>) + Send + Sync>;

/// The functions that the application gave to the builder.
#[derive(Default)]
pub(super) struct Hooks {
    /// The middleware of every request, in the order in which it is asked.
    pub(super) middleware: Vec<Ask<Result<ResponseHeaders, Rejection>>>,
    pub(super) allow_request: Option<Ask<Result<(), String>>>,
    pub(super) generate_id: Option<Ask<Result<Id, String>>>,
    pub(super) headers: Vec<AddHeaders>,
    pub(super) initial_headers: Vec<AddHeaders>,
    pub(super) connection_error: Vec<OnConnectionError>,
}

/// The decision about a request.
pub(super) struct Verdict {
    /// The headers that the middleware adds to the response.
    pub(super) headers: ResponseHeaders,
    /// The id for a new session, if the application draws it, or the reason to refuse the request.
    pub(super) result: Result<Option<Id>, RequestError>,
}

impl Hooks {
    /// Returns whether the application decides about a request.
    pub(super) fn may_refuse(&self, opens: bool) -> bool {
        !self.middleware.is_empty() || (opens && (self.allow_request.is_some() || self.generate_id.is_some()))
    }

    /// Asks the application about a request, which `opens` a session or not.
    pub(super) fn decide(self: &Arc<Self>, request: Handshake, opens: bool) -> Guarded<Verdict> {
        let hooks = self.clone();
        Guarded(Box::pin(async move {
            let mut headers = ResponseHeaders::new();
            let result = hooks.ask(&request, opens, &mut headers).await;
            Verdict { headers, result }
        }))
    }

    async fn ask(
        &self,
        request: &Handshake,
        opens: bool,
        headers: &mut ResponseHeaders,
    ) -> Result<Option<Id>, RequestError> {
        for middleware in &self.middleware {
            let Some(answer) = ask(middleware, request).await else {
                let peer = log::peer(request.address());
                error!(peer = %peer, "a middleware panicked");
                return Err(RequestError::Failed);
            };
            headers.extend(answer.map_err(|rejection| RequestError::Rejected(Box::new(rejection)))?);
        }
        if opens && let Some(allow) = &self.allow_request {
            let Some(answer) = ask(allow, request).await else {
                let peer = log::peer(request.address());
                error!(peer = %peer, "allow_request panicked");
                return Err(RequestError::Unavailable);
            };
            answer.map_err(RequestError::Forbidden)?;
        }
        match &self.generate_id {
            Some(generate) if opens => {
                let id = ask(generate, request).await.unwrap_or_else(|| {
                    let peer = log::peer(request.address());
                    error!(peer = %peer, "generate_id panicked");
                    Err("generate_id panicked".into())
                });
                id.map(Some).map_err(RequestError::IdGeneration)
            }
            _ => Ok(None),
        }
    }

    /// Returns the headers for the response to a request, which `opens` a session or not.
    pub(super) fn headers(&self, request: &Handshake, opens: bool) -> ResponseHeaders {
        let mut headers = ResponseHeaders::new();
        let initial = self.initial_headers.iter().filter(|_| opens);
        for add in initial.chain(&self.headers) {
            guard("a hook for headers", || add(request, &mut headers));
        }
        headers
    }

    /// Returns whether there are headers for the response to a request.
    pub(super) fn has_headers(&self, opens: bool) -> bool {
        !self.headers.is_empty() || (opens && !self.initial_headers.is_empty())
    }

    /// Tells the application of a refused request.
    pub(super) fn tell(&self, error: &ConnectionError<'_>) {
        for handler in &self.connection_error {
            guard("on_connection_error", || handler(error));
        }
    }
}

/// Awaits the answer of one hook. Returns `None` if it panics, whether at once or later.
async fn ask<T>(hook: &Ask<T>, request: &Handshake) -> Option<T> {
    Guarded(catch(|| hook(request.clone()))?).await
}
