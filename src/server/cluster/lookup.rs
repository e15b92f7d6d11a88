//! Waiting for the bus to look something up.

use super::Link;
use super::link::State;
use crate::engine::deadline::Deadline;
use bytes::Bytes;
use parking_lot::Mutex;
use sockeye_core::Time;
use sockeye_core::cluster::{Cluster, ClusterLimits, Found, RequestId, SavedSession};
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

/// The time for which the answer to a look-up may come after nobody waits for it: what a bus keeps for that long at most.
const LATE: Duration = Duration::from_secs(60);

/// The most late answers that are expected. Of more, the sockets are lost.
const MAX_LATE: usize = 10_000;

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
    /// It removes a socket, which is put back if the answer comes too late.
    is_removal: bool,
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
        Lookup {
            link: self.this.clone(),
            request,
            slot,
            timeout,
            deadline: Deadline::default(),
            is_removal: false,
        }
    }

    /// Completes a look-up, if it is still waited for.
    pub(super) fn complete(&self, request: &RequestId, result: Result) {
        let waker = {
            let mut state = self.state.lock();
            let Some(slot) = state.lookups.remove(request) else {
                let is_late = state.late.remove(request).is_some();
                drop(state);
                if is_late {
                    self.put_back_found(result);
                }
                return;
            };
            // Under the lock of the state, so that a look-up that ends meanwhile finds one of both.
            let mut slot = slot.0.lock();
            slot.0 = Some(result);
            slot.1.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    fn put_back_found(&self, result: Result) {
        if let Result::Found(Found::Value(Some(value))) = result {
            self.put_back(value);
        }
    }

    /// Keeps a socket at the bus again, in vain if it cannot be read. The caller must hold no lock.
    pub(in crate::server) fn put_back(&self, value: Bytes) {
        let Ok(session) = SavedSession::decode(&value, &ClusterLimits::default()) else { return };
        let Some(engine) = self.engine() else { return };
        if let Some(recovery) = &engine.application.recovery {
            self.act(|cluster, _| cluster.save_session(&session.pid, value, recovery.bus_lifetime()));
        }
    }
}

impl State {
    /// Notes that the answer to a request that removes a socket from the bus may come too late.
    pub(super) fn expect_late(&mut self, request: RequestId, now: Time) {
        if self.late.len() < MAX_LATE {
            self.late.insert(request, now + LATE);
        }
    }
}

impl Lookup {
    /// Waits no longer than this, if the time for requests is longer.
    pub(in crate::server) fn within(mut self, time: Duration) -> Lookup {
        self.timeout = self.timeout.min(time);
        self
    }

    /// Makes the socket that is removed from the bus return to it if the answer comes too late. Then its server learns that
    /// nobody has taken it, and its client may come back once more.
    pub(in crate::server) fn or_put_back(mut self) -> Lookup {
        self.is_removal = true;
        self
    }
}

impl Future for Lookup {
    type Output = Option<Result>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result>> {
        let Lookup { link, request, slot, timeout, deadline, .. } = &mut *self;
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
        let Some(request) = self.request.take() else { return };
        let now = link.now();
        let mut state = link.state.lock();
        if state.lookups.remove(&request).is_some() {
            state.cluster.cancel(&request);
            if self.is_removal {
                state.expect_late(request, now);
            }
            return;
        }
        drop(state);
        let unseen = self.slot.0.lock().0.take();
        if let Some(unseen) = unseen.filter(|_| self.is_removal) {
            link.put_back_found(unseen);
        }
    }
}
