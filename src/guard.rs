//! Calls of the application's code, whose panics end that call and nothing else.

use crate::log::error;
use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

/// A future of the application.
pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Calls the application's code, named `what` in the log. Returns `None` if it panics.
// Inlined, as the next, because each message passes both: `benches/count ack`.
#[inline(always)]
pub(crate) fn guard<R>(what: &'static str, f: impl FnOnce() -> R) -> Option<R> {
    catch(f)
        .inspect_err(|panic| error!(what, cause = %panic.message(), "the application's code panicked"))
        .ok()
}

/// A panic of the application's code.
#[derive(Debug)]
pub struct Panic(Box<dyn Any + Send>);

impl Panic {
    /// Returns the message, as the hook of the standard library prints it.
    pub(crate) fn message(&self) -> &str {
        let Panic(payload) = self;
        match (payload.downcast_ref::<&'static str>(), payload.downcast_ref::<String>()) {
            (Some(text), _) => text,
            (None, Some(text)) => text,
            (None, None) => "a panic without a message",
        }
    }
}

/// Calls the application's code. The caller logs a panic.
#[inline(always)]
pub(crate) fn catch<R>(f: impl FnOnce() -> R) -> Result<R, Panic> {
    catch_unwind(AssertUnwindSafe(f)).map_err(Panic)
}

/// A future that also completes if it panics. The caller logs that.
pub(crate) struct Guarded<T>(pub(crate) BoxFuture<T>);

impl<T> Future for Guarded<T> {
    type Output = Result<T, Panic>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, Panic>> {
        match catch(|| self.0.as_mut().poll(cx)) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::panic_any;

    #[test]
    fn the_message_of_a_panic_is_known_if_it_has_one() {
        let message = |f: fn()| catch(f).err().map(|panic| panic.message().to_owned());
        assert_eq!(message(|| panic!("fixed")).as_deref(), Some("fixed"));
        assert_eq!(message(|| panic!("{} and {}", 1, 2)).as_deref(), Some("1 and 2"));
        assert_eq!(message(|| panic_any(3)).as_deref(), Some("a panic without a message"));
        assert_eq!(message(|| ()), None);
    }
}
