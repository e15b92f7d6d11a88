//! The wakers of what waits for a session besides its connection.

use crate::waiters::Waiters;
use sockeye_core::engineio::server::Ticket;
use std::task::Waker;

/// The wakers of what waits for a session besides its connection. Most of the time there are none, and this owns no memory.
#[derive(Default)]
pub(super) struct Waits(Option<Box<Wakers>>);

#[derive(Default)]
struct Wakers {
    /// Wakes the connection of the upgrade in progress.
    probe: Option<(Ticket, Waker)>,
    /// Wakes the request whose response waits until handlers catch up.
    resume: Option<Waker>,
    /// Tasks that wait until the queue is short.
    tasks: Waiters,
}

impl Waits {
    /// Sets the waker of the connection of an upgrade, and returns the one that it replaces.
    #[must_use = "to be dropped without a lock"]
    pub(super) fn set_probe(&mut self, ticket: Ticket, waker: Waker) -> Option<(Ticket, Waker)> {
        self.0.get_or_insert_default().probe.replace((ticket, waker))
    }

    /// Takes the waker of the connection of an upgrade, if there is one and `is_wanted` returns `true`.
    #[inline]
    pub(super) fn take_probe_if(&mut self, is_wanted: impl FnOnce(Ticket) -> bool) -> Option<Waker> {
        let (_, waker) = self.0.as_mut()?.probe.take_if(|(ticket, _)| is_wanted(*ticket))?;
        self.free();
        Some(waker)
    }

    /// Sets the waker of the request that waits until handlers catch up, and returns the one that it replaces.
    #[must_use = "to be dropped without a lock"]
    pub(super) fn set_resume(&mut self, waker: Option<Waker>) -> Option<Waker> {
        let Some(waker) = waker else { return self.take_resume() };
        self.0.get_or_insert_default().resume.replace(waker)
    }

    /// Takes the waker of the request that waits until handlers catch up.
    pub(super) fn take_resume(&mut self) -> Option<Waker> {
        let waker = self.0.as_mut()?.resume.take();
        self.free();
        waker
    }

    /// Returns whether tasks wait until the queue is short.
    #[inline]
    pub(super) fn has_tasks(&self) -> bool {
        self.0.as_ref().is_some_and(|wakers| !wakers.tasks.is_empty())
    }

    /// Changes the tasks that wait until the queue is short.
    pub(super) fn with_tasks<R>(&mut self, f: impl FnOnce(&mut Waiters) -> R) -> R {
        let result = f(&mut self.0.get_or_insert_default().tasks);
        self.free();
        result
    }

    fn free(&mut self) {
        let is_empty = |wakers: &mut Box<Wakers>| {
            wakers.probe.is_none() && wakers.resume.is_none() && wakers.tasks.is_empty()
        };
        drop(self.0.take_if(is_empty));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Context;

    #[test]
    fn the_memory_is_freed_when_nothing_waits_any_more() {
        let mut waits = Waits::default();
        let (waker, mut key) = (Waker::noop(), None);
        assert!(waits.set_resume(Some(waker.clone())).is_none());
        assert!(waits.with_tasks(|tasks| tasks.wait(&Context::from_waker(waker), &mut key)).is_none());
        assert!(waits.has_tasks());
        assert!(waits.take_resume().is_some() && waits.0.is_some());
        assert!(waits.with_tasks(|tasks| tasks.leave(&mut key)).is_some());
        assert!(waits.0.is_none() && !waits.has_tasks());
        assert!(waits.set_resume(None).is_none() && waits.0.is_none());
    }
}
