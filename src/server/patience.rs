//! The patience with decisions of the application.

use super::Engine;
use super::namespace::Namespace;
use crate::engine::deadline::Deadline;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Weak;
use std::task::{self, Poll};
use std::time::Duration;

/// The deadline of a decision of the application, in the server's table once the decision has to wait.
pub(super) struct Patience {
    engine: Weak<Engine>,
    timeout: Duration,
    deadline: Deadline,
}

impl Patience {
    /// Returns a deadline that is `timeout` after the first time that a decision has to wait.
    pub(super) fn new(namespace: &Namespace, timeout: Duration) -> Patience {
        Patience { engine: namespace.0.engine.clone(), timeout, deadline: Deadline::default() }
    }

    /// Returns the result of a future, or a refusal if the time is over before.
    pub(super) async fn limit<T, E: From<&'static str>>(
        &mut self,
        decision: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let mut decision = pin!(decision);
        let decision = poll_fn(|cx| match decision.as_mut().poll(cx) {
            Poll::Pending if self.is_over(cx) => Poll::Ready(Err("timeout".into())),
            decision => decision,
        });
        decision.await
    }

    /// Returns whether the time is over, counted from the first call, or the server is gone. Before, the task is woken
    /// at that time.
    fn is_over(&mut self, cx: &task::Context<'_>) -> bool {
        let Some(engine) = self.engine.upgrade() else { return true };
        self.deadline.poll(cx, &engine, self.timeout).is_ready()
    }
}

impl Drop for Patience {
    fn drop(&mut self) {
        if let Some(engine) = self.engine.upgrade() {
            self.deadline.clear(&engine.timers);
        }
    }
}
