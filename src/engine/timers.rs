//! One table of deadlines for a whole server.

use crate::guard::guard;
use parking_lot::Mutex;
use smallvec::SmallVec;
use sockeye_core::Time;
use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU64;
use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};

/// An object with a deadline.
pub(crate) trait Expire: Send + Sync {
    /// Called when a deadline is reached. It may be an earlier one than the object has by now.
    fn expire(self: Arc<Self>, now: Time);
}

/// The object or task that is notified when a deadline is reached.
pub(crate) enum Notify {
    /// An object, if it still lives.
    Object(Weak<dyn Expire>),
    /// A task or an event loop.
    Waker(Waker),
}

/// The key of an entry: its number is odd if that is an object.
pub(crate) type Key = (Time, NonZeroU64);

/// The number of deadlines that are handled in one turn, so that other tasks get theirs: the deadlines of
/// clients that came at once are due at once.
const MAX_TURN: usize = 256;

/// Deadlines in order.
#[derive(Default)]
pub(crate) struct Timers {
    table: Mutex<Table>,
    drivers: Arc<Drivers>,
}

/// The entries. One map for each kind, because the entries of a map of both would be larger by a quarter, and every session
/// has one.
#[derive(Default)]
struct Table {
    objects: BTreeMap<Key, Weak<dyn Expire>>,
    wakers: BTreeMap<Key, Waker>,
    /// The number of deadlines added so far.
    added: u64,
}

impl Table {
    fn insert(&mut self, at: Time, notify: Notify) -> Key {
        self.added += 2;
        let number = NonZeroU64::MIN.saturating_add(self.added);
        match notify {
            Notify::Object(object) => {
                self.objects.insert((at, number), object);
                (at, number)
            }
            Notify::Waker(waker) => {
                let number = number.saturating_add(1);
                self.wakers.insert((at, number), waker);
                (at, number)
            }
        }
    }

    fn remove(&mut self, key: Key) -> Option<Notify> {
        match key.1.get() % 2 {
            0 => self.wakers.remove(&key).map(Notify::Waker),
            _ => self.objects.remove(&key).map(Notify::Object),
        }
    }

    fn first(&self) -> Option<Key> {
        let object = self.objects.first_key_value().map(|(key, _)| *key);
        let waker = self.wakers.first_key_value().map(|(key, _)| *key);
        object.into_iter().chain(waker).min()
    }
}

impl Timers {
    /// Adds a deadline. Returns the drivers' waker if it is now the first one; call it without a lock.
    #[must_use]
    pub(crate) fn insert(&self, at: Time, notify: Notify) -> (Key, Option<Waker>) {
        let mut table = self.table.lock();
        let earlier = table.first().is_none_or(|first| at < first.0);
        let key = table.insert(at, notify);
        (key, earlier.then(|| Waker::from(self.drivers.clone())))
    }

    /// Removes a deadline.
    pub(crate) fn remove(&self, key: Key) {
        // Dropping the last waker may drop its task, so this happens without the lock.
        let entry = self.table.lock().remove(key);
        drop(entry);
    }

    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.table.lock().first().map(|key| key.0)
    }

    /// Handles deadlines in order, at most one turn's number. If more are due, the next deadline is in the
    /// past.
    pub(crate) fn handle_timeout(&self, now: Time) {
        for _ in 0..MAX_TURN {
            let entry = {
                let mut table = self.table.lock();
                match table.first() {
                    Some(key) if key.0 <= now => table.remove(key),
                    _ => return,
                }
            };
            let Some(entry) = entry else { return };
            match entry {
                Notify::Object(object) => {
                    if let Some(object) = object.upgrade() {
                        // It may panic, because it may call the application's code; the other deadlines are
                        // still due.
                        guard("a handler of deadlines", || object.expire(now));
                    }
                }
                Notify::Waker(waker) => waker.wake(),
            }
        }
    }

    pub(crate) fn set_waker(&self, waker: &Waker) {
        self.drivers.add(waker);
    }

    pub(crate) fn remove_waker(&self, waker: &Waker) {
        self.drivers.remove(waker);
    }

    /// Wakes the drivers although no deadline has changed.
    pub(crate) fn wake(&self) {
        self.drivers.wake_by_ref();
    }
}

/// The wakers of the drivers: one for each listener, any of which may end before the others.
#[derive(Default)]
struct Drivers(Mutex<SmallVec<[Waker; 1]>>);

/// The maximum number of drivers. Beyond it, the oldest is dropped, because a driver may end without removing
/// its waker.
const MAX_DRIVERS: usize = 1024;

impl Drivers {
    fn add(&self, waker: &Waker) {
        let mut wakers = self.0.lock();
        if wakers.iter().any(|known| known.will_wake(waker)) {
            return;
        }
        let oldest = (wakers.len() == MAX_DRIVERS).then(|| wakers.remove(0));
        wakers.push(waker.clone());
        drop(wakers);
        drop(oldest);
    }

    /// Removes a waker and wakes it: other drivers that share it set it again.
    fn remove(&self, waker: &Waker) {
        let mut wakers = self.0.lock();
        let Some(at) = wakers.iter().position(|known| known.will_wake(waker)) else { return };
        let removed = wakers.remove(at);
        drop(wakers);
        removed.wake();
    }
}

impl Drop for Timers {
    /// Wakes the drivers, which can end now.
    fn drop(&mut self) {
        self.wake();
    }
}

impl Wake for Drivers {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let wakers = self.0.lock().clone();
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl fmt::Debug for Timers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.table.lock();
        write!(f, "Timers({})", table.objects.len() + table.wakers.len())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    /// Counts its wakes.
    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Count {
        fn get(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn at(millis: u64) -> Time {
        Time::ZERO + Duration::from_millis(millis)
    }

    fn insert(timers: &Timers, at: Time, target: &Arc<Count>) {
        let _ = timers.insert(at, Notify::Waker(target.clone().into()));
    }

    #[test]
    fn deadlines_of_objects_and_wakers_are_handled_in_order_and_can_be_removed() {
        struct Noted(Arc<Mutex<Vec<u64>>>, u64);
        impl Noted {
            fn note(&self) {
                self.0.lock().push(self.1);
            }
        }
        impl Expire for Noted {
            fn expire(self: Arc<Self>, _: Time) {
                self.note();
            }
        }
        impl Wake for Noted {
            fn wake(self: Arc<Self>) {
                self.note();
            }
        }
        let (timers, notes) = (Timers::default(), Arc::<Mutex<Vec<u64>>>::default());
        // The table does not own the objects.
        let objects: Vec<_> = (0..10).map(|n| Arc::new(Noted(notes.clone(), n))).collect();
        let keys: Vec<_> = (objects.iter().zip([7, 1, 5, 1, 9, 3, 3, 8, 2, 7]))
            .map(|(object, millis)| {
                let weak: Arc<dyn Expire> = object.clone();
                let (key, _) = timers.insert(
                    at(millis),
                    match object.1 % 2 {
                        0 => Notify::Object(Arc::downgrade(&weak)),
                        _ => Notify::Waker(object.clone().into()),
                    },
                );
                key
            })
            .collect();
        timers.remove(keys[2]);
        timers.remove(keys[7]);
        timers.handle_timeout(at(8));
        assert_eq!(*notes.lock(), [1, 3, 8, 5, 6, 0, 9]);
        assert_eq!(timers.next_deadline(), Some(at(9)));
        timers.remove(keys[4]);
        assert_eq!(timers.next_deadline(), None);
    }

    #[test]
    fn a_turn_handles_so_many_deadlines_and_leaves_the_others_due() {
        let timers = Timers::default();
        let (early, late) = (Arc::new(Count::default()), Arc::new(Count::default()));
        for _ in 0..MAX_TURN {
            insert(&timers, at(2), &late);
            insert(&timers, at(1), &early);
        }
        insert(&timers, at(9), &late);
        timers.handle_timeout(at(5));
        assert_eq!((early.get(), late.get()), (MAX_TURN, 0), "the longest due come first");
        assert_eq!(timers.next_deadline(), Some(at(2)));
        timers.handle_timeout(at(5));
        assert_eq!((early.get(), late.get()), (MAX_TURN, MAX_TURN));
        assert_eq!(timers.next_deadline(), Some(at(9)));
        timers.handle_timeout(at(5));
        assert_eq!(late.get(), MAX_TURN);
    }

    #[test]
    fn a_driver_that_ends_leaves_the_table_and_those_that_share_its_waker_are_woken() {
        let timers = Timers::default();
        let drivers: Vec<_> = (0..3 * MAX_DRIVERS).map(|_| Arc::new(Count::default())).collect();
        for driver in &drivers {
            timers.set_waker(&driver.clone().into());
            timers.remove_waker(&driver.clone().into());
        }
        assert!(timers.drivers.0.lock().is_empty());
        assert!(drivers.iter().all(|driver| driver.get() == 1));
        timers.remove_waker(&drivers[0].clone().into());
        timers.wake();
        assert_eq!(drivers[0].get(), 1, "it is not there any more");
    }

    #[test]
    fn what_panics_at_its_deadline_does_not_keep_the_others_from_theirs() {
        struct Panics;
        impl Expire for Panics {
            fn expire(self: Arc<Self>, _: Time) {
                panic!("a bug of the application");
            }
        }
        let timers = Timers::default();
        let panics: Arc<dyn Expire> = Arc::new(Panics);
        let _ = timers.insert(at(1), Notify::Object(Arc::downgrade(&panics)));
        let later = Arc::new(Count::default());
        insert(&timers, at(2), &later);
        timers.handle_timeout(at(3));
        assert_eq!(later.get(), 1);
    }

    #[test]
    fn of_more_drivers_than_are_kept_the_oldest_is_forgotten() {
        let timers = Timers::default();
        let drivers: Vec<_> = (0..=MAX_DRIVERS).map(|_| Arc::new(Count::default())).collect();
        let (last, others) = drivers.split_last().unwrap();
        for driver in others.iter().chain(others) {
            timers.set_waker(&driver.clone().into());
        }
        timers.wake();
        assert!(others.iter().all(|driver| driver.get() == 1), "as many as are kept, each once");
        timers.set_waker(&last.clone().into());
        timers.wake();
        let woken: Vec<_> = drivers.iter().map(|driver| driver.get()).collect();
        assert_eq!(woken[0], 1);
        assert!(
            woken[1..MAX_DRIVERS].iter().all(|count| *count == 2) && woken[MAX_DRIVERS] == 1,
            "{woken:?}"
        );
    }
}
