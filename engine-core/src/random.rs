//! Randomness from a seed, because the core does not use the system's.

use core::time::Duration;
use sha1::{Digest, Sha1};

/// A random sequence of bytes that cannot be predicted without its seed. A client uses it for masks, nonces and jitter.
///
/// Seed it with 20 bytes of the system's randomness. In a test a fixed seed makes the whole client reproducible.
///
/// ```
/// use sockeye_core::Random;
///
/// let mut random = Random::from_seed([7; 20]);
/// let mask: [u8; 4] = random.bytes();
/// assert_eq!(mask, Random::from_seed([7; 20]).bytes());
/// assert_ne!(mask, random.bytes());
/// ```
#[derive(Clone)]
pub struct Random {
    seed: [u8; 20],
    counter: u32,
}

impl Random {
    /// Creates the sequence of a seed.
    pub const fn from_seed(seed: [u8; 20]) -> Random {
        Random { seed, counter: 0 }
    }

    /// Returns the next 20 bytes.
    fn block(&mut self) -> [u8; 20] {
        self.counter += 1;
        if self.counter == u32::MAX {
            // The block at this counter is never returned, so it is a secret new seed.
            *self = Random { counter: 1, ..Random::from_seed(self.hash()) };
        }
        self.hash()
    }

    fn hash(&self) -> [u8; 20] {
        Sha1::new().chain_update(self.seed).chain_update(self.counter.to_be_bytes()).finalize().into()
    }

    /// Returns the next `N` bytes, at most 20. The rest of the block is discarded.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        const { assert!(N <= 20, "a block has 20 bytes") };
        let block = self.block();
        block.first_chunk().copied().unwrap_or([0; N])
    }

    /// Returns a new sequence whose bytes reveal nothing about this one's.
    pub fn fork(&mut self) -> Random {
        Random::from_seed(self.block())
    }

    /// Returns `delay` changed at random by up to `factor` of it in either direction.
    ///
    /// `factor` is clamped to the range from 0 to 1.
    pub fn jitter(&mut self, delay: Duration, factor: f64) -> Duration {
        let share = f64::from(u32::from_be_bytes(self.bytes())) / f64::from(u32::MAX);
        // A factor of NaN makes the conversion fail, which leaves `delay` as it is.
        let factor = factor.clamp(0.0, 1.0);
        let scale = 1.0 + (share * 2.0 - 1.0) * factor;
        Duration::try_from_secs_f64(delay.as_secs_f64() * scale).unwrap_or(delay)
    }
}

impl core::fmt::Debug for Random {
    /// Omits the seed, which is secret.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Random").field("counter", &self.counter).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_sequences_without_repeated_blocks() {
        let mut one = Random::from_seed([1; 20]);
        let mut two = Random::from_seed([1; 20]);
        let first: [u8; 16] = one.bytes();
        assert_eq!(first, two.bytes());
        assert_ne!(first, one.bytes());
        assert_ne!(one.fork().bytes::<8>(), one.fork().bytes::<8>());
    }

    #[test]
    fn a_sequence_is_reseeded_when_its_counter_is_exhausted() {
        let mut random = Random { counter: u32::MAX - 2, ..Random::from_seed([1; 20]) };
        let mut first = Random::from_seed([1; 20]);
        let blocks = [random.bytes::<20>(), random.bytes(), random.bytes(), first.bytes()];
        for (at, block) in blocks.iter().enumerate() {
            assert!(!blocks[..at].contains(block));
        }
        assert!(random.seed != [1; 20] && !blocks.contains(&random.seed), "the seed was given out");
    }

    #[test]
    fn jitter_stays_within_its_factor_and_reaches_both_ends() {
        let mut random = Random::from_seed([2; 20]);
        let delay = Duration::from_secs(2);
        let all = core::array::from_fn::<_, 200, _>(|_| random.jitter(delay, 0.5));
        assert!(all.iter().all(|it| (Duration::from_secs(1)..=Duration::from_secs(3)).contains(it)));
        assert!(all.iter().any(|it| *it < Duration::from_millis(1100)));
        assert!(all.iter().any(|it| *it > Duration::from_millis(2900)));
        assert_eq!(random.jitter(delay, 0.0), delay);
        assert!(random.jitter(delay, f64::NAN) <= Duration::from_secs(4));
    }
}
