//! Awaited results, by key.

use crate::by_id::IdHash;
use crate::pending::Pending;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::Hash;
use std::task::{Context, Poll, Waker};

/// A table of awaited results, which takes no memory while it is empty.
pub(super) struct Slots<K, T, E>(Mutex<Option<Box<Table<K, T, E>>>>);

/// The client counts its keys, so a simple hash is good enough.
type Table<K, T, E> = HashMap<K, Slot<T, E>, IdHash>;

/// The one peer of a client is its server.
type Slot<T, E> = Pending<(), T, E>;

impl<K, T, E> Default for Slots<K, T, E> {
    fn default() -> Self {
        Slots(Mutex::new(None))
    }
}

impl<K: Eq + Hash, T, E> Slots<K, T, E> {
    pub(super) fn expect(&self, key: K) {
        let mut slot = Slot::default();
        slot.ask(());
        self.0.lock().get_or_insert_default().insert(key, slot);
    }

    pub(super) fn len(&self) -> usize {
        self.0.lock().as_ref().map_or(0, |slots| slots.len())
    }

    pub(super) fn fill(&self, key: &K, result: Result<T, E>) {
        let waker = {
            let mut slots = self.0.lock();
            let Some(slot) = slots.as_mut().and_then(|slots| slots.get_mut(key)) else { return };
            debug_assert!(!slot.is_over(), "told twice");
            slot.settle(0, result)
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Polls for a result. Returns `None` if the key is no longer awaited.
    pub(super) fn poll(&self, cx: &mut Context<'_>, key: &K) -> Poll<Option<Result<T, E>>> {
        let mut slots = self.0.lock();
        let Some(slot) = slots.as_mut().and_then(|slots| slots.get_mut(key)) else {
            return Poll::Ready(None);
        };
        if let Some(result) = slot.take_only() {
            let removed = remove(&mut slots, key);
            drop(slots);
            drop(removed);
            return Poll::Ready(Some(result));
        }
        let replaced = slot.wait(cx, false);
        drop(slots);
        drop(replaced);
        Poll::Pending
    }

    /// Wakes all waiters, because no result will come any more.
    pub(super) fn end(&self) {
        let slots = self.0.lock().take();
        slots
            .into_iter()
            .flat_map(|slots| slots.into_values())
            .filter_map(|mut slot| slot.take_waker())
            .for_each(Waker::wake);
    }

    /// Removes a key. Returns whether it was awaited.
    pub(super) fn forget(&self, key: &K) -> bool {
        // Dropped without the lock: the last waker of a task may drop the task.
        let removed = remove(&mut self.0.lock(), key);
        removed.is_some()
    }
}

/// Removes a slot, and frees the table's memory if it was the last.
fn remove<K: Eq + Hash, T, E>(slots: &mut Option<Box<Table<K, T, E>>>, key: &K) -> Option<Slot<T, E>> {
    let table = slots.as_mut()?;
    let removed = table.remove(key);
    if table.is_empty() {
        *slots = None;
    }
    removed
}
