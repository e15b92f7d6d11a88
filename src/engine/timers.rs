//! One table of deadlines for a whole server.

use parking_lot::Mutex;
use sockeye_core::Time;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::task::Waker;

/// Something with a deadline.
pub(crate) trait Expire: Send + Sync {
    /// The deadline is reached; may have been before, too.
    fn expire(self: Arc<Self>, now: Time);
}

/// Who is told when a deadline is reached.
pub(crate) enum Target {
    /// An object, if it still lives.
    Object(Weak<dyn Expire>),
    /// A task or an event loop.
    Waker(Waker),
}

/// Names an entry.
pub(crate) type Key = (Time, u64);

/// Deadlines in order.
#[derive(Default)]
pub(crate) struct Timers(Mutex<Table>);

#[derive(Default)]
struct Table {
    entries: BTreeMap<Key, Target>,
    next: u64,
    waker: Option<Waker>,
}

impl Timers {
    /// Adds a deadline. Gives back the driver's waker if it is the first one now: to be called when nothing is locked.
    #[must_use]
    pub(crate) fn insert(&self, at: Time, target: Target) -> (Key, Option<Waker>) {
        let mut table = self.0.lock();
        table.next += 1;
        let key = (at, table.next);
        let earlier = table.entries.first_key_value().is_none_or(|(first, _)| at < first.0);
        table.entries.insert(key, target);
        (key, table.waker.as_ref().filter(|_| earlier).cloned())
    }

    /// Takes a deadline back.
    pub(crate) fn remove(&self, key: Key) {
        // What is dropped may be the last of a task: not under the lock.
        let entry = self.0.lock().entries.remove(&key);
        drop(entry);
    }

    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.0.lock().entries.first_key_value().map(|(key, _)| key.0)
    }

    pub(crate) fn handle_timeout(&self, now: Time) {
        loop {
            let entry = {
                let mut table = self.0.lock();
                match table.entries.first_entry() {
                    Some(entry) if entry.key().0 <= now => entry.remove(),
                    _ => return,
                }
            };
            match entry {
                Target::Object(object) => {
                    if let Some(object) = object.upgrade() {
                        object.expire(now);
                    }
                }
                Target::Waker(waker) => waker.wake(),
            }
        }
    }

    pub(crate) fn set_waker(&self, waker: &Waker) {
        let mut table = self.0.lock();
        if !table.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            let replaced = table.waker.replace(waker.clone());
            drop(table);
            drop(replaced);
        }
    }

    /// Wakes the driver although no deadline moved.
    pub(crate) fn wake(&self) {
        let waker = self.0.lock().waker.clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl fmt::Debug for Timers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timers({})", self.0.lock().entries.len())
    }
}
