//! The source of the state of compression.

pub use super::deflate::DeflateState;
use core::fmt;

/// Lends the state that a message is compressed or inflated with.
///
/// A state takes some 300 KB, but is needed only while one message is handled, because messages are compressed
/// independently of each other. With a pool, for example one state per thread, all connections can use the same. The
/// default creates a state for each message.
#[derive(Clone, Copy)]
pub struct DeflatePool {
    lend: fn() -> DeflateState,
    reclaim: fn(DeflateState),
}

impl DeflatePool {
    /// Creates a pool from a function that returns a state, new ([`DeflateState::default`]) or used, and one that takes
    /// it back. They are called once for each message that is compressed or inflated.
    pub const fn new(lend: fn() -> DeflateState, reclaim: fn(DeflateState)) -> Self {
        Self { lend, reclaim }
    }

    /// Runs `f` with a lent state.
    #[cfg(feature = "deflate")]
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut DeflateState) -> R) -> R {
        let mut state = (self.lend)();
        let result = f(&mut state);
        (self.reclaim)(state);
        result
    }
}

impl Default for DeflatePool {
    fn default() -> Self {
        Self::new(DeflateState::default, drop)
    }
}

/// Two pools are equal if their functions are.
impl PartialEq for DeflatePool {
    fn eq(&self, other: &Self) -> bool {
        core::ptr::fn_addr_eq(self.lend, other.lend) && core::ptr::fn_addr_eq(self.reclaim, other.reclaim)
    }
}

impl Eq for DeflatePool {}

impl fmt::Debug for DeflatePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeflatePool").finish_non_exhaustive()
    }
}
