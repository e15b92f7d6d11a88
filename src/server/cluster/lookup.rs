//! Waiting for the bus to look something up.

use super::Link;
use crate::engine::deadline::Deadline;
use parking_lot::Mutex;
use sockeye_core::cluster::{Cluster, Found, RequestId};
use std::collections::hash_map::Entry;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// The result of a look-up.
pub(in crate::server) enum Result {
    Found(Found),
    /// The stream was read as far as that was waited for.
    Reached,
}

impl From<Found> for Result {
    fn from(found: Found) -> Result {
        Result::Found(found)
    }
}

/// The place for a result.
#[derive(Default)]
pub(in crate::server) struct Slot(Mutex<(Option<Result>, Option<Waker>)>);

/// The future of a result: `None` if the bus does not know it within the time. Dropping it cancels the request.
pub(in crate::server) struct Lookup {
    link: Weak<Link>,
    request: Option<RequestId>,
    slot: Arc<Slot>,
    timeout: Duration,
    deadline: Deadline,
}

impl Link {
    /// Begins a look-up, and passes what waits to the bus before. The caller must hold no lock.
    pub(in crate::server) fn look_up(&self, begin: impl FnOnce(&mut Cluster) -> Option<RequestId>) -> Lookup {
        let slot = Arc::new(Slot::default());
        let (request, timeout) = self.queue(|state, _| {
            let request = begin(&mut state.cluster);
            if let Some(request) = &request {
                state.lookups.insert(request.clone(), slot.clone());
            }
            (request, state.cluster.config().request_timeout)
        });
        self.send();
        Lookup { link: self.this.clone(), request, slot, timeout, deadline: Deadline::default() }
    }

    /// Completes a look-up, if it is still waited for.
    pub(super) fn complete(&self, request: &RequestId, result: Result) {
        let slot = match self.state.lock().lookups.entry(request.clone()) {
            Entry::Occupied(entry) => entry.remove(),
            Entry::Vacant(_) => return,
        };
        let waker = {
            let mut slot = slot.0.lock();
            slot.0 = Some(result);
            slot.1.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }
}

impl Lookup {
    /// Waits no longer than this, if the time for requests is longer.
    pub(in crate::server) fn within(mut self, time: Duration) -> Lookup {
        self.timeout = self.timeout.min(time);
        self
    }
}

impl Future for Lookup {
    type Output = Option<Result>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result>> {
        let Lookup { link, request, slot, timeout, deadline } = &mut *self;
        {
            let mut slot = slot.0.lock();
            if let Some(result) = slot.0.take() {
                return Poll::Ready(Some(result));
            }
            slot.1 = Some(cx.waker().clone());
        }
        let engine = link.upgrade().and_then(|link| link.engine());
        match engine.filter(|_| request.is_some()) {
            Some(engine) => deadline.poll(cx, &engine, *timeout).map(|()| None),
            None => Poll::Ready(None),
        }
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        let Some(link) = self.link.upgrade() else { return };
        if let Some(engine) = link.engine() {
            self.deadline.clear(&engine.timers);
        }
        if let Some(request) = self.request.take() {
            let state = &mut *link.state.lock();
            if state.lookups.remove(&request).is_some() {
                state.cluster.cancel(&request);
            }
        }
    }
}
