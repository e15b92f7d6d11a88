//! Awaited results, by key.

use crate::by_id::IdHash;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::Hash;
use std::task::{Context, Poll, Waker};

/// A table of awaited results, which takes no memory while it is empty.
pub(super) struct Slots<K, T>(Mutex<Option<Box<Awaited<K, T>>>>);

/// The client counts its keys, so a simple hash is good enough.
type Awaited<K, T> = HashMap<K, Slot<T>, IdHash>;

struct Slot<T> {
    result: Option<T>,
    waker: Option<Waker>,
}

impl<K, T> Default for Slots<K, T> {
    fn default() -> Self {
        Slots(Mutex::new(None))
    }
}

impl<K: Eq + Hash, T> Slots<K, T> {
    pub(super) fn expect(&self, key: K) {
        self.0.lock().get_or_insert_default().insert(key, Slot { result: None, waker: None });
    }

    pub(super) fn len(&self) -> usize {
        self.0.lock().as_ref().map_or(0, |slots| slots.len())
    }

    pub(super) fn fill(&self, key: &K, result: T) {
        let waker = {
            let mut slots = self.0.lock();
            let Some(slot) = slots.as_mut().and_then(|slots| slots.get_mut(key)) else { return };
            debug_assert!(slot.result.is_none(), "told twice");
            slot.result = Some(result);
            slot.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Polls for a result. Returns `None` if the key is no longer awaited.
    pub(super) fn poll(&self, cx: &mut Context<'_>, key: &K) -> Poll<Option<T>> {
        let mut slots = self.0.lock();
        let Some(slot) = slots.as_mut().and_then(|slots| slots.get_mut(key)) else {
            return Poll::Ready(None);
        };
        if let Some(result) = slot.result.take() {
            let removed = remove(&mut slots, key);
            drop(slots);
            drop(removed);
            return Poll::Ready(Some(result));
        }
        let replaced = match &slot.waker {
            Some(known) if known.will_wake(cx.waker()) => None,
            _ => slot.waker.replace(cx.waker().clone()),
        };
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
            .filter_map(|slot| slot.waker)
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
fn remove<K: Eq + Hash, T>(slots: &mut Option<Box<Awaited<K, T>>>, key: &K) -> Option<Slot<T>> {
    let awaited = slots.as_mut()?;
    let removed = awaited.remove(key);
    if awaited.is_empty() {
        *slots = None;
    }
    removed
}
