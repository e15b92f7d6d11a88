//! The memory of handlers' futures: most handlers do not wait, so the next call can use it again.

use std::any::{Any, TypeId};
use std::cell::Cell;
use std::hash::{Hash, Hasher};
use std::pin::Pin;

thread_local! {
    static CALLS: Cell<Option<Box<Calls>>> = const { Cell::new(None) };
}

/// The memory of futures that are over, which a handler of the same type uses again: most handlers do not wait, and to
/// allocate for each call costs 4 % of its instructions (`benches/count ack`).
#[derive(Default)]
struct Calls([Option<KeptCall>; 32]);

/// The memory of the future of one type.
struct KeptCall {
    /// A [`Memory`] of that type.
    memory: Box<dyn Any>,
    /// It was used since another type, which would be kept in the same place, had to do without.
    is_used: bool,
}

/// An `Option` that is `None`, unless it is in use.
struct Memory<F>(Option<Pin<Box<Option<F>>>>);

/// Maximum size in bytes of a future whose memory is kept.
const MAX_CALL: usize = 1024;

impl Calls {
    /// Returns the place for futures of a type.
    fn place<F: 'static>(&mut self) -> Option<&mut Option<KeptCall>> {
        let mut hash = LastWord(0);
        TypeId::of::<F>().hash(&mut hash);
        let Calls(places) = self;
        let at = hash.finish() as usize % places.len();
        places.get_mut(at)
    }
}

/// The hash of a `TypeId`, which is one already.
struct LastWord(u64);

impl Hasher for LastWord {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0 << 8 | u64::from(*byte));
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }
}

/// Takes memory for a future, if the thread has some of its type.
#[inline]
pub(crate) fn take_call<F: 'static>() -> Option<Pin<Box<Option<F>>>> {
    if size_of::<F>() > MAX_CALL {
        return None;
    }
    CALLS.with(|kept| {
        let mut calls = kept.take()?;
        let memory = calls.place::<F>().and_then(take_from);
        kept.set(Some(calls));
        memory
    })
}

/// Keeps the memory of a future that is over, which is `None`.
#[inline]
pub(crate) fn put_call<F: 'static>(memory: Pin<Box<Option<F>>>) {
    if size_of::<F>() > MAX_CALL {
        return;
    }
    CALLS.with(|kept| {
        let mut calls = kept.take().unwrap_or_default();
        if let Some(place) = calls.place::<F>() {
            put_into(place, memory);
        }
        kept.set(Some(calls));
    });
}

fn take_from<F: 'static>(place: &mut Option<KeptCall>) -> Option<Pin<Box<Option<F>>>> {
    place.as_mut()?.memory.downcast_mut::<Memory<F>>()?.0.take()
}

fn put_into<F: 'static>(place: &mut Option<KeptCall>, memory: Pin<Box<Option<F>>>) {
    if let Some(KeptCall { memory: known, is_used }) = place {
        match known.downcast_mut::<Memory<F>>() {
            Some(known) => {
                (known.0, *is_used) = (Some(memory), true);
                return;
            }
            None if *is_used => {
                *is_used = false;
                return;
            }
            None => {}
        }
    }
    *place = Some(KeptCall { memory: Box::new(Memory(Some(memory))), is_used: true });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_call_is_used_by_the_next_one_of_its_type() {
        assert!(take_call::<u64>().is_none());
        let memory = Box::pin(None::<u64>);
        let address = std::ptr::from_ref(&*memory);
        put_call(memory);
        assert!(take_call::<i64>().is_none());
        let again = take_call::<u64>().map(|memory| std::ptr::from_ref(&*memory));
        assert_eq!(again, Some(address));
        assert!(take_call::<u64>().is_none(), "it is in use");
        put_call(Box::pin(None::<[u8; MAX_CALL + 1]>));
        assert!(take_call::<[u8; MAX_CALL + 1]>().is_none(), "it is large");
    }

    #[test]
    fn of_two_types_in_one_place_the_one_that_is_used_stays() {
        let mut place = None;
        put_into(&mut place, Box::pin(None::<u64>));
        for _ in 0..3 {
            let memory = take_from::<u64>(&mut place);
            put_into(&mut place, Box::pin(None::<i64>));
            put_into(&mut place, memory.expect("it was kept"));
        }
        put_into(&mut place, Box::pin(None::<i64>));
        put_into(&mut place, Box::pin(None::<i64>));
        assert!(take_from::<u64>(&mut place).is_none());
        assert!(take_from::<i64>(&mut place).is_some(), "the other one is not used any more");
    }
}
