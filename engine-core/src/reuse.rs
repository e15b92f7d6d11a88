//! Buffers that are used again and again: the capacity that they keep meanwhile.

use alloc::vec::Vec;

/// Maximum capacity in bytes that a buffer keeps between two uses: that of a message of the default maximum size, to
/// which a buffer grows by doubling.
pub const MAX_KEPT: usize = 2 << 20;
/// Number of uses in a row without need for a large capacity, after which it is freed.
const USES: u16 = 256;

/// Decides how much capacity a buffer keeps until it is used again.
///
/// To allocate large buffers for each message costs more than all other work for it, because the memory allocator returns
/// them to the system, page by page. To keep them for good would occupy memory for the one large message of a day.
#[derive(Debug, Default)]
pub struct Reuse {
    /// Number of uses in a row that did not need a large capacity.
    unneeded: u16,
}

impl Reuse {
    /// Creates the state of a buffer that was not used yet.
    pub const fn new() -> Reuse {
        Reuse { unneeded: 0 }
    }

    /// Empties a buffer after a use. A capacity above `small` bytes is kept for a while, and up to 2 MiB.
    #[inline]
    pub fn clear(&mut self, buffer: &mut Vec<u8>, small: usize) {
        match buffer.capacity() > small {
            true => self.clear_large(buffer, small),
            false => buffer.clear(),
        }
    }

    #[cold]
    fn clear_large(&mut self, buffer: &mut Vec<u8>, small: usize) {
        self.unneeded = if buffer.len() > small { 0 } else { self.unneeded + 1 };
        buffer.clear();
        if self.unneeded >= USES || buffer.capacity() > MAX_KEPT {
            self.unneeded = 0;
            buffer.shrink_to(small);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_buffer_is_kept_until_it_was_not_needed_for_a_while() {
        let (mut reuse, mut buffer) = (Reuse::new(), Vec::new());
        let mut use_it = |buffer: &mut Vec<u8>, len| {
            buffer.resize(len, 0);
            reuse.clear(buffer, 1000);
            assert!(buffer.is_empty());
            buffer.capacity()
        };
        let large = use_it(&mut buffer, 100_000);
        assert!(large >= 100_000);
        for _ in 0..3 {
            for _ in 1..USES {
                assert_eq!(use_it(&mut buffer, 10), large);
            }
            assert_eq!(use_it(&mut buffer, 1001), large, "needed again");
        }
        for _ in 1..USES {
            assert_eq!(use_it(&mut buffer, 10), large);
        }
        assert_eq!(use_it(&mut buffer, 10), 1000);
    }

    #[test]
    fn a_huge_buffer_is_freed_at_once() {
        let mut buffer = Vec::with_capacity(MAX_KEPT + 1);
        buffer.push(0);
        Reuse::new().clear(&mut buffer, 1000);
        assert_eq!(buffer.capacity(), 1000);
    }
}
