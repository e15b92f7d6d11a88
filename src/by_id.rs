//! Sets of objects that are keyed by an id inside of the object, without a copy of it.

use sockeye_core::engineio::Id;
use std::borrow::Borrow;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// An object with an id.
pub(crate) trait Identified {
    fn id(&self) -> &Id;
}

/// An element of a set, equal to any other with the same id.
pub(crate) struct ById<T>(pub(crate) T);

impl<T: Identified> Borrow<Id> for ById<T> {
    fn borrow(&self) -> &Id {
        Identified::id(&self.0)
    }
}

impl<T: Identified> Hash for ById<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Identified::id(&self.0).hash(state);
    }
}

impl<T: Identified> PartialEq for ById<T> {
    fn eq(&self, other: &Self) -> bool {
        Identified::id(&self.0) == Identified::id(&other.0)
    }
}

impl<T: Identified> Eq for ById<T> {}

/// This side draws ids at random, so their own bytes are as good as any hash.
pub(crate) type IdHash = BuildHasherDefault<IdHasher>;

#[derive(Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
            // Only six bits of each byte are random; the multiplication spreads them.
            self.0 = (self.0.rotate_left(5) ^ u64::from_ne_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }

    // `Hash` of a slice writes its length, which is always the same.
    fn write_usize(&mut self, _: usize) {}
}
