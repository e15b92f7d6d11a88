//! The masks of WebSocket frames.

use crate::random::Random;

/// Masks that are drawn five at a time, because drawing costs more than writing a short frame.
#[derive(Debug, Default)]
pub(super) struct Masks {
    drawn: [u8; 16],
    left: u8,
}

impl Masks {
    /// Returns the next mask of the sequence `random`.
    pub(super) fn next(&mut self, random: &mut Random) -> [u8; 4] {
        if self.left == 0 {
            let [a, b, c, d, others @ ..] = random.bytes::<20>();
            *self = Masks { drawn: others, left: 4 };
            return [a, b, c, d];
        }
        let [a, b, c, d, ..] = self.drawn;
        self.drawn.rotate_left(4);
        self.left -= 1;
        [a, b, c, d]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;

    #[test]
    fn no_mask_is_used_twice() {
        let (mut random, mut masks) = (Random::from_seed([1; 20]), Masks::default());
        let all: BTreeSet<_> = (0..100).map(|_| masks.next(&mut random)).collect();
        assert_eq!(all.len(), 100);
    }
}
