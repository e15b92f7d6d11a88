//! The runtime of a test: its own, or that of the application.

use super::machine::Machine;
use sockeye_core::Time;
use sockeye_core::host::Connector;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

pub(super) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The time after which a runtime that cannot be asked is taken to be idle: with a paused clock, that is exact.
const TICK: Duration = Duration::from_millis(1);

/// The clock and the tasks of a test.
#[derive(Clone)]
pub(super) enum Ground {
    Own(Arc<Machine>),
    Other(Arc<dyn Connector>),
}

impl Ground {
    pub(super) fn now(&self) -> Time {
        match self {
            Ground::Own(machine) => machine.now(),
            // The clock of tokio is paused in its context only.
            Ground::Other(runtime) => {
                let mut now = Time::ZERO;
                runtime.enter(&mut || now = runtime.now());
                now
            }
        }
    }

    pub(super) fn enter(&self, f: &mut dyn FnMut()) {
        match self {
            Ground::Own(_) => f(),
            Ground::Other(runtime) => runtime.enter(f),
        }
    }

    pub(super) fn spawn(&self, task: Task) {
        match self {
            Ground::Own(machine) => machine.spawn(task),
            Ground::Other(runtime) => runtime.spawn(task),
        }
    }

    pub(super) fn sleep_until(&self, deadline: Time) -> Task {
        match self {
            Ground::Own(machine) => machine.sleep_until(deadline),
            Ground::Other(runtime) => runtime.sleep_until(deadline),
        }
    }

    pub(super) fn sleep(&self, time: Duration) -> Task {
        self.sleep_until(self.now() + time)
    }

    /// Returns a future that completes once everything has happened that can happen now.
    pub(super) fn settle(&self) -> Task {
        match self {
            Ground::Own(machine) => machine.settle(),
            Ground::Other(_) => self.sleep(TICK),
        }
    }
}
