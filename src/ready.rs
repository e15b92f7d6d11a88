//! A list of the connections and tasks that are ready, for event loops.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

/// Collects the tokens of the wakers that were called, for an event loop without an executor.
///
/// Give each connection or task the waker of its token, and take the tokens that are [ready](ReadyList::pop)
/// each turn. The list holds each waker at most once; two wakers of one token
/// may list it twice.
#[derive(Clone)]
pub struct ReadyList(Arc<List>);

struct List {
    ready: Mutex<VecDeque<Arc<Entry>>>,
    interrupt: Box<dyn Fn() + Send + Sync>,
}

struct Entry {
    token: usize,
    listed: AtomicBool,
    list: Arc<List>,
}

impl ReadyList {
    /// Returns a list that calls `interrupt` when it becomes non-empty. `interrupt` has to end the wait of
    /// the event loop, and may be called from any thread.
    pub fn new(interrupt: impl Fn() + Send + Sync + 'static) -> ReadyList {
        ReadyList(Arc::new(List { ready: Mutex::default(), interrupt: Box::new(interrupt) }))
    }

    /// Returns a waker that puts `token` on the list.
    pub fn waker(&self, token: usize) -> Waker {
        Waker::from(Arc::new(Entry { token, listed: AtomicBool::new(false), list: self.0.clone() }))
    }

    /// Removes and returns the first token of the list.
    pub fn pop(&self) -> Option<usize> {
        let entry = self.0.ready.lock().pop_front()?;
        // Reset before the token is handled, so that a wake meanwhile lists it again.
        entry.listed.store(false, Ordering::Release);
        Some(entry.token)
    }
}

impl Wake for Entry {
    fn wake(self: Arc<Self>) {
        if self.listed.swap(true, Ordering::AcqRel) {
            return;
        }
        let list = self.list.clone();
        let first = {
            let mut ready = list.ready.lock();
            ready.push_back(self);
            ready.len() == 1
        };
        if first {
            (list.interrupt)();
        }
    }
}

impl fmt::Debug for ReadyList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadyList").field("ready", &self.0.ready.lock().len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn a_token_is_listed_once_and_interrupts_once() {
        let interrupts = Arc::new(AtomicUsize::new(0));
        let counter = interrupts.clone();
        let list = ReadyList::new(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        let (one, two) = (list.waker(1), list.waker(2));
        one.wake_by_ref();
        one.wake_by_ref();
        two.wake_by_ref();
        assert_eq!(interrupts.load(Ordering::Relaxed), 1);
        assert_eq!((list.pop(), list.pop(), list.pop()), (Some(1), Some(2), None));
        one.wake_by_ref();
        assert_eq!(list.pop(), Some(1));
        assert_eq!(interrupts.load(Ordering::Relaxed), 2);
    }
}
