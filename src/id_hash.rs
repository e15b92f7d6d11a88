//! A fast hash for tables by id.

use std::hash::{BuildHasherDefault, Hasher};

/// Ids are drawn at random by this side: their own bytes are as good a hash as any.
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
            // Only six bits of each byte are random: the multiplication spreads them.
            self.0 = (self.0.rotate_left(5) ^ u64::from_ne_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }

    // The length that `Hash` of a slice writes says nothing.
    fn write_usize(&mut self, _: usize) {}
}
