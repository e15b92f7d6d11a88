//! The timer task of a client, which also keeps the client alive while no handle exists.

use super::shared::{Caller, Shared};
use crate::guard::BoxFuture;
use smallvec::SmallVec;
use sockeye_core::Time;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

/// State that a client shares with its timer task.
#[derive(Default)]
pub(super) struct Keeper {
    pub(super) spawned: bool,
    /// The task owns the client, which had something to do when the task last ran.
    pub(super) holds: bool,
    pub(super) waker: Option<Waker>,
    /// Streams to wake at their deadlines. Most of the time there are none.
    #[expect(clippy::box_collection, reason = "a pointer is smaller, and an idle client has none")]
    closing: Option<Box<Vec<Closing>>>,
}

/// A stream to wake at a deadline.
pub(super) struct Closing {
    stream: u64,
    deadline: Time,
    waker: Waker,
}

impl Shared {
    /// Wakes the timer task, so that it looks at the client again.
    pub(super) fn wake_keeper(&self) {
        let waker = self.keeper.lock().waker.clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Returns the deadline that the timer task has to sleep for: `until`, for which it sleeps already, unless the
    /// next deadline is earlier. If the deadline moved later, that is noticed when the earlier one fires.
    fn arm(&self, until: Option<Time>) -> Option<Time> {
        let mut core = self.core.lock();
        let own = core.client.next_deadline();
        let keeper = self.keeper.lock();
        let next =
            keeper.closing.iter().flat_map(|all| all.iter()).map(|closing| closing.deadline).chain(own).min();
        core.armed = until.filter(|until| next.is_some_and(|next| *until <= next)).or(next);
        core.armed
    }

    /// Wakes a stream at a deadline, which replaces the stream's earlier one.
    pub(super) fn wake_at(&self, deadline: Time, stream: u64, waker: Waker) {
        self.forget_deadline(stream);
        self.keeper.lock().closing.get_or_insert_default().push(Closing { stream, deadline, waker });
        let is_earlier = self.core.lock().armed.is_none_or(|armed| deadline < armed);
        if is_earlier {
            self.wake_keeper();
        }
    }

    pub(super) fn forget_deadline(&self, stream: u64) {
        self.take_closing(|closing| closing.stream == stream);
    }

    fn take_closing(&self, is_taken: impl Fn(&Closing) -> bool) -> SmallVec<[Waker; 1]> {
        let mut taken = SmallVec::new();
        let mut keeper = self.keeper.lock();
        let Some(closing) = &mut keeper.closing else { return taken };
        while let Some(at) = closing.iter().position(&is_taken) {
            taken.push(closing.swap_remove(at).waker);
        }
        if closing.is_empty() {
            keeper.closing = None;
        }
        taken
    }
}

/// The timer task: fires a client's deadlines, and owns the client while it has something to do.
pub(super) struct KeepTime {
    shared: Weak<Shared>,
    strong: Option<Arc<Shared>>,
    sleep: Option<(Time, BoxFuture<()>)>,
}

impl KeepTime {
    pub(super) fn new(shared: &Arc<Shared>) -> KeepTime {
        KeepTime { shared: Arc::downgrade(shared), strong: None, sleep: None }
    }

    /// Sleeps until the next deadline.
    fn arm(&mut self, shared: &Shared) {
        let Some(connector) = shared.connector() else { return };
        let until = self.sleep.as_ref().map(|(until, _)| *until);
        let next = shared.arm(until);
        if next != until {
            self.sleep = next.map(|next| (next, connector.sleep_until(next)));
        }
    }
}

impl Future for KeepTime {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let Some(shared) = this.shared.upgrade() else { return Poll::Ready(()) };
        shared.keeper.lock().waker = Some(cx.waker().clone());
        loop {
            let now = shared.now();
            shared.take_closing(|closing| closing.deadline <= now).into_iter().for_each(Waker::wake);
            let is_behind = shared.is_full();
            shared.act_from(Caller::Runtime, |client, now| {
                client.set_behind(is_behind);
                client.handle_timeout(now);
            });
            this.arm(&shared);
            match this.sleep.as_mut().map(|(_, sleep)| sleep.as_mut().poll(cx)) {
                Some(Poll::Ready(())) => this.sleep = None,
                _ => break,
            }
        }
        // Set before `is_done` is asked, because the client could finish in between.
        shared.keeper.lock().holds = true;
        let is_done = shared.is_done();
        if is_done {
            shared.keeper.lock().holds = false;
        }
        this.strong = (!is_done).then_some(shared);
        Poll::Pending
    }
}

impl Drop for KeepTime {
    /// The task never ends before its client: if it is dropped earlier, the runtime has ended.
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.end_runtime();
        }
    }
}
