//! One table of deadlines for a whole server.

mod ordered;

use crate::guard::guard;
use ordered::Ordered;
use parking_lot::Mutex;
use smallvec::SmallVec;
use sockeye_core::Time;
use std::fmt;
use std::num::NonZeroU64;
use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};
use std::time::Duration;

/// An object with a deadline.
pub(crate) trait Expire: Send + Sync {
    /// Called when a deadline is reached. It may be an earlier one than the object has by now.
    fn expire(self: Arc<Self>, now: Time);
}

/// The session, object or task that is notified when a deadline is reached.
pub(crate) enum Notify<S> {
    /// A session, if it still lives.
    Session(Weak<S>),
    /// Another object, if it still lives.
    Object(Weak<dyn Expire>),
    /// A task or an event loop.
    Waker(Waker),
}

/// The key of an entry, in the order of deadlines: in 43 bits the number of the slot of time, in 19 bits a number that tells
/// entries of the same slot apart, in the last two bits the kind of the entry. Every session has one, so it is small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key(NonZeroU64);

/// The duration of a slot, in nanoseconds: deadlines are reached up to a quarter of a millisecond late, those of whole
/// milliseconds exactly.
const SLOT: u64 = 250_000;
/// The number of bits behind the number of the slot.
const SLOT_AT: u32 = 21;
const KIND_BITS: u32 = 2;
/// The last slot that a deadline may ask for, 34 years after the origin.
const MAX_SLOT: u64 = 1 << 42;

/// The kinds of entries, none of which is 0.
const SESSION: u64 = 1;
const OBJECT: u64 = 2;
const WAKER: u64 = 3;

impl Key {
    /// Returns the first key that is tried for an entry. `number` may be any.
    fn new(at: Time, number: u64, kind: u64) -> Key {
        let slot = slot_of(at);
        let number = number % (1 << (SLOT_AT - KIND_BITS));
        let key = NonZeroU64::new(slot << SLOT_AT | number << KIND_BITS | kind);
        Key(key.expect("no kind is 0"))
    }

    /// Returns the next key of the kind: in the next slot if the numbers of this one end here.
    fn following(self) -> Key {
        Key(self.0.saturating_add(1 << KIND_BITS))
    }

    /// Returns the last key of the slot.
    fn end_of_slot(self) -> Key {
        Key(self.0 | ((1 << SLOT_AT) - 1))
    }

    fn kind(self) -> u64 {
        self.0.get() % (1 << KIND_BITS)
    }

    /// Returns the time at which the deadline counts as reached.
    fn at(self) -> Time {
        Time::from_origin(Duration::from_nanos((self.0.get() >> SLOT_AT).saturating_mul(SLOT)))
    }

    /// Returns whether the entry's deadline is reached.
    pub(crate) fn is_due(self, now: Time) -> bool {
        self.at() <= now
    }

    /// Returns whether the entry is as early as one for a deadline `at` would be, so that it need not be replaced.
    pub(crate) fn covers(self, at: Time) -> bool {
        // The first comparison is the cheaper one, and most deadlines only move later.
        self.at() <= at || self.0.get() >> SLOT_AT <= slot_of(at)
    }
}

/// Returns the number of the slot at whose time a deadline is reached.
#[inline]
fn slot_of(at: Time) -> u64 {
    let since = at.since_origin();
    // By seconds, so that no division needs more than 64 bits: `benches/count polling`.
    let slot = since.as_secs() * (1_000_000_000 / SLOT) + u64::from(since.subsec_nanos()).div_ceil(SLOT);
    slot.min(MAX_SLOT)
}

/// The number of deadlines that are handled in one turn, so that other tasks get theirs: the deadlines of
/// clients that came at once are due at once.
const MAX_TURN: usize = 256;

/// Deadlines in order. `S` is a session.
pub(crate) struct Timers<S> {
    table: Mutex<Table<S>>,
    drivers: Arc<Drivers>,
}

impl<S> Default for Timers<S> {
    fn default() -> Self {
        Timers { table: Mutex::default(), drivers: Arc::default() }
    }
}

/// The entries. One map for each kind, because the entries of a map of all would be larger by half, and every session has
/// one.
struct Table<S> {
    sessions: Ordered<Weak<S>>,
    objects: Ordered<Weak<dyn Expire>>,
    wakers: Ordered<Waker>,
    /// The number of deadlines added so far.
    added: u64,
}

impl<S> Default for Table<S> {
    fn default() -> Self {
        Table {
            sessions: Ordered::default(),
            objects: Ordered::default(),
            wakers: Ordered::default(),
            added: 0,
        }
    }
}

impl<S> Table<S> {
    fn insert(&mut self, at: Time, notify: Notify<S>) -> Key {
        self.added = self.added.wrapping_add(1);
        let key = |kind| Key::new(at, self.added, kind);
        match notify {
            Notify::Session(session) => insert(&mut self.sessions, key(SESSION), session),
            Notify::Object(object) => insert(&mut self.objects, key(OBJECT), object),
            Notify::Waker(waker) => insert(&mut self.wakers, key(WAKER), waker),
        }
    }

    fn remove(&mut self, key: Key) -> Option<Notify<S>> {
        match key.kind() {
            SESSION => self.sessions.remove(key).map(Notify::Session),
            OBJECT => self.objects.remove(key).map(Notify::Object),
            _ => self.wakers.remove(key).map(Notify::Waker),
        }
    }

    fn first(&self) -> Option<Key> {
        let (session, object, waker) = (self.sessions.first(), self.objects.first(), self.wakers.first());
        session.into_iter().chain(object).chain(waker).min()
    }
}

/// Inserts an entry. If its key is taken, because very many deadlines are in the same slot, it gets one behind theirs.
fn insert<T>(map: &mut Ordered<T>, mut key: Key, mut item: T) -> Key {
    loop {
        match map.insert(key, item) {
            Ok(()) => return key,
            Err(it) => {
                item = it;
                key = map.last_until(key.end_of_slot()).unwrap_or(key).following();
            }
        }
    }
}

impl<S: Expire> Timers<S> {
    /// Adds a deadline. Returns the drivers' waker if it is now the first one; call it without a lock.
    #[must_use]
    pub(crate) fn insert(&self, at: Time, notify: Notify<S>) -> (Key, Option<Waker>) {
        let mut table = self.table.lock();
        let first = table.first();
        let key = table.insert(at, notify);
        let earlier = first.is_none_or(|first| key.at() < first.at());
        (key, earlier.then(|| Waker::from(self.drivers.clone())))
    }

    /// Removes a deadline.
    pub(crate) fn remove(&self, key: Key) {
        // Dropping the last waker may drop its task, so this happens without the lock.
        let entry = self.table.lock().remove(key);
        drop(entry);
    }

    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.table.lock().first().map(Key::at)
    }

    /// Handles deadlines in order, at most one turn's number. If more are due, the next deadline is in the
    /// past.
    pub(crate) fn handle_timeout(&self, now: Time) {
        for _ in 0..MAX_TURN {
            let entry = {
                let mut table = self.table.lock();
                match table.first() {
                    Some(key) if key.is_due(now) => table.remove(key),
                    _ => return,
                }
            };
            let Some(entry) = entry else { return };
            // An object may panic, because it may call the application's code; the other deadlines are still due.
            match entry {
                Notify::Session(session) => {
                    if let Some(session) = session.upgrade() {
                        guard("a handler of deadlines", || session.expire(now));
                    }
                }
                Notify::Object(object) => {
                    if let Some(object) = object.upgrade() {
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

impl<S> Drop for Timers<S> {
    /// Wakes the drivers, which can end now.
    fn drop(&mut self) {
        self.drivers.wake_by_ref();
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

impl<S> fmt::Debug for Timers<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.table.lock();
        write!(f, "Timers({})", table.sessions.len() + table.objects.len() + table.wakers.len())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// The session of a table that has none.
    struct NoSession;

    impl Expire for NoSession {
        fn expire(self: Arc<Self>, _: Time) {}
    }

    type Timers = super::Timers<NoSession>;

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
    fn a_deadline_is_reached_at_its_time_or_up_to_a_quarter_of_a_millisecond_later() {
        let nanos = |nanos| Time::ZERO + Duration::from_nanos(nanos);
        for (deadline, reached) in [
            (0, 0),
            (1, 250_000),
            (250_000, 250_000),
            (250_001, 500_000),
            (25_000_000_000, 25_000_000_000),
            (25_000_000_001, 25_000_250_000),
        ] {
            let (timers, count) = (Timers::default(), Arc::new(Count::default()));
            let (key, _) = timers.insert(nanos(deadline), Notify::Waker(count.clone().into()));
            assert_eq!(timers.next_deadline(), Some(nanos(reached)));
            assert!(key.covers(nanos(deadline)) && key.covers(nanos(reached)));
            assert!(deadline == 0 || !key.covers(nanos(reached - 250_000)));
            if reached > 0 {
                assert!(!key.is_due(nanos(reached - 1)));
                timers.handle_timeout(nanos(reached - 1));
                assert_eq!(count.get(), 0);
            }
            assert!(key.is_due(nanos(reached)));
            timers.handle_timeout(nanos(reached));
            assert_eq!((count.get(), timers.next_deadline()), (1, None));
        }
    }

    #[test]
    fn a_deadline_whose_key_is_taken_gets_one_behind_those_of_its_slot_or_in_the_next_slot() {
        for time in [at(1), Time::from_origin(Duration::MAX)] {
            let mut map = Ordered::default();
            let first = Key::new(time, 7, OBJECT);
            let keys = [(); 3].map(|()| super::insert(&mut map, first, ()));
            assert_eq!(keys, [first, first.following(), first.following().following()]);
            // The last number of the slot, and then the first one, which comes again after it.
            super::insert(&mut map, Key::new(time, u64::MAX, OBJECT), ());
            let next = super::insert(&mut map, first, ());
            assert_eq!(next.at().saturating_since(first.at()), Duration::from_nanos(SLOT));
            assert_eq!((next.kind(), map.len()), (OBJECT, 5));
        }
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
