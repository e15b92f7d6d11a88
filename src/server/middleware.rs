//! Functions as middlewares.

use super::socket::Socket;
use crate::error::{ConnectError, INTERNAL};
use crate::extract::{Context, ExtractError};
use crate::function::{NonBorrowingFn, Parameters};
use crate::guard::{BoxFuture, Panic, catch};
use crate::handler::AnySocket;
use crate::observe::HandlerFailure;
use std::future::Future;
use std::marker::PhantomData;

/// A function that decides: like a [`Handler`](crate::Handler), but it returns a `Decision`.
///
/// | decision | about | registered by |
/// |---|---|---|
/// | `Result<(), ConnectError>` | a client that wants to connect to a namespace | [`Namespace::middleware`](crate::Namespace::middleware) |
/// | `Result<Duration, ConnectError>` | the time for which new credentials are valid | [`Namespace::renew_auth`](crate::Namespace::renew_auth) |
/// | `Result<(), PacketError>` | an event that arrived | [`Namespace::use_packet`](crate::Namespace::use_packet), [`Socket::use_packet`](crate::Socket::use_packet) |
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a middleware",
    label = "not a function of up to eight parameters",
    note = "a middleware is an `async` function or closure that returns `{Decision}`",
    note = "its parameters, at most eight, are those of handlers: see `sockeye::extract`"
)]
pub trait Middleware<Parameters, Decision = Result<(), ConnectError>>: Send + Sync + 'static {
    /// Extracts the parameters and makes the future.
    #[doc(hidden)]
    fn call(&self, context: &Context<'_>) -> Result<BoxFuture<Decision>, ExtractError>;
}

impl<F, P, Decision> Middleware<P, Decision> for F
where
    F: NonBorrowingFn<P>,
    F::Output: Future<Output = Decision> + Send + 'static,
    P: Parameters<Socket>,
{
    fn call(&self, context: &Context<'_>) -> Result<BoxFuture<Decision>, ExtractError> {
        Ok(Box::pin(P::apply(self, context)?))
    }
}

/// A middleware with the types of its parameters erased.
pub(super) trait AnyMiddleware<Decision>: Send + Sync {
    fn call(&self, context: &Context<'_>) -> Result<BoxFuture<Decision>, ExtractError>;
}

/// A function together with the types of its parameters.
struct Erased<F, P>(F, PhantomData<fn(P)>);

impl<F: Middleware<P, Decision>, P, Decision> AnyMiddleware<Decision> for Erased<F, P> {
    fn call(&self, context: &Context<'_>) -> Result<BoxFuture<Decision>, ExtractError> {
        self.0.call(context)
    }
}

/// Erases the types of the parameters.
pub(super) fn erase<P: 'static, Decision>(
    middleware: impl Middleware<P, Decision>,
) -> Box<dyn AnyMiddleware<Decision>> {
    Box::new(Erased(middleware, PhantomData))
}

/// Calls a middleware, and tells of a failure, which is a refusal.
///
/// A separate function, because the context must not be part of a future, which has to be `Send`.
pub(super) fn ask<T, E: From<ExtractError> + From<&'static str>>(
    middleware: &dyn AnyMiddleware<Result<T, E>>,
    context: &Context<'_>,
) -> Result<BoxFuture<Result<T, E>>, E> {
    let Context { socket, event, .. } = *context;
    match catch(|| middleware.call(context)) {
        Ok(Ok(decision)) => Ok(decision),
        Ok(Err(error)) => {
            socket.tell_failure(event, HandlerFailure::NotCalled(&error), None);
            Err(error.into())
        }
        Err(panic) => Err(panicked(socket, event, &panic).into()),
    }
}

/// Tells of a panic of a middleware, which lets nothing pass, but leaves no client waiting. Returns the message of the
/// refusal.
pub(super) fn panicked(socket: &Socket, event: &str, panic: &Panic) -> &'static str {
    socket.tell_failure(event, HandlerFailure::Panicked(panic.message()), None);
    INTERNAL
}
