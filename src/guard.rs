//! Calls of the application's code, whose panics end that call and nothing else.

use crate::log::error;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

/// A future of the application.
pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Calls the application's code, named `what` in the log. Returns `None` if it panics.
pub(crate) fn guard<R>(what: &'static str, f: impl FnOnce() -> R) -> Option<R> {
    let result = catch(f);
    if result.is_none() {
        error!(what, "the application's code panicked");
    }
    result
}

/// Calls the application's code. Returns `None` if it panics, which the caller logs.
pub(crate) fn catch<R>(f: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(f)).ok()
}

/// A future that completes with `None` if it panics. The caller logs that.
pub(crate) struct Guarded<T>(pub(crate) BoxFuture<T>);

impl<T> Future for Guarded<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        match catch(|| self.0.as_mut().poll(cx)) {
            Some(poll) => poll.map(Some),
            None => Poll::Ready(None),
        }
    }
}
