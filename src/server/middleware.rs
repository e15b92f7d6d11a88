//! Functions as middlewares.

use crate::error::ConnectError;
use crate::extract::{Context, Extract, ExtractError};
use crate::guard::BoxFuture;
use crate::handler::for_each_arity;
use std::future::Future;
use std::marker::PhantomData;

/// A function that decides whether a client may connect to a namespace: like a [`Handler`](crate::Handler), but it returns
/// `Result<(), ConnectError>`. See [`Namespace::middleware`](crate::Namespace::middleware).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a middleware",
    label = "not a middleware",
    note = "a middleware is an `async` function or closure that returns `Result<(), sockeye::ConnectError>`",
    note = "all of its parameters, up to eight, are `Extract`, and its future is `Send`"
)]
pub trait Middleware<Parameters>: Send + Sync + 'static {
    /// Extracts the parameters and makes the future.
    #[doc(hidden)]
    fn call(&self, context: &Context<'_>) -> Result<BoxFuture<Result<(), ConnectError>>, ExtractError>;
}

macro_rules! implement_for_functions {
    ($($parameter:ident $variable:ident),*) => {
        impl<F, Fut, $($parameter),*> Middleware<($($parameter,)*)> for F
        where
            F: Fn($($parameter),*) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = Result<(), ConnectError>> + Send + 'static,
            $($parameter: Extract,)*
        {
            fn call(&self, context: &Context<'_>) -> Result<BoxFuture<Result<(), ConnectError>>, ExtractError> {
                let _ = context;
                Ok(Box::pin(self($($parameter::extract(context)?),*)))
            }
        }
    };
}

for_each_arity!(implement_for_functions);

/// A middleware with the types of its parameters erased.
pub(super) trait AnyMiddleware: Send + Sync {
    fn call(&self, context: &Context<'_>) -> Result<BoxFuture<Result<(), ConnectError>>, ExtractError>;
}

/// A function together with the types of its parameters.
struct Erased<F, P>(F, PhantomData<fn(P)>);

impl<F: Middleware<P>, P> AnyMiddleware for Erased<F, P> {
    fn call(&self, context: &Context<'_>) -> Result<BoxFuture<Result<(), ConnectError>>, ExtractError> {
        self.0.call(context)
    }
}

/// Erases the types of the parameters.
pub(super) fn erase<P: 'static>(middleware: impl Middleware<P>) -> Box<dyn AnyMiddleware> {
    Box::new(Erased(middleware, PhantomData))
}
