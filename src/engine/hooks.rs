//! The application's part in requests: it may refuse them, add headers to their responses, and draw ids.

use super::{Handshake, Id};
use crate::connection_error::ConnectionError;
use crate::guard::{BoxFuture, Guarded, Panic, catch, guard};
use crate::log::{self, error};
use sockeye_core::engineio::server::{Rejection, RequestError, ResponseHeaders};
use std::sync::Arc;

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
            let answer = ask("a middleware", middleware, request).await.ok_or(RequestError::Failed)?;
            headers.extend(answer.map_err(|rejection| RequestError::Rejected(Box::new(rejection)))?);
        }
        if opens && let Some(allow) = &self.allow_request {
            let answer = ask("allow_request", allow, request).await.ok_or(RequestError::Unavailable)?;
            answer.map_err(RequestError::Forbidden)?;
        }
        match &self.generate_id {
            Some(generate) if opens => {
                let id = ask("generate_id", generate, request).await;
                id.unwrap_or_else(|| Err("generate_id panicked".into()))
                    .map(Some)
                    .map_err(RequestError::IdGeneration)
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

/// Awaits the answer of one hook, named `what` in the log. Returns `None` if it panics, whether at once or later.
async fn ask<T>(what: &str, hook: &Ask<T>, request: &Handshake) -> Option<T> {
    let answer = match catch(|| hook(request.clone())) {
        Ok(answer) => Guarded(answer).await,
        Err(panic) => Err(panic),
    };
    let log = |panic: &Panic| {
        let peer = log::peer(request.address());
        error!(peer = %peer, cause = %panic.message(), "{what} panicked");
    };
    answer.inspect_err(log).ok()
}
