//! Messages that arrive together.

use crate::guard::guard;
use std::any::Any;
use std::sync::Arc;

/// What the application keeps from one message of a session to the next of those that arrived together, because looking
/// it up takes the session's lock.
#[doc(hidden)]
#[derive(Debug, Default)]
pub struct Batch(Option<Arc<dyn Any + Send + Sync>>);

impl Batch {
    /// Takes out what was kept, if it is of this type.
    #[inline]
    pub(crate) fn take<T: Any + Send + Sync>(&mut self) -> Option<Arc<T>> {
        self.0.take()?.downcast().ok()
    }

    #[inline]
    pub(crate) fn keep(&mut self, kept: Arc<dyn Any + Send + Sync>) {
        self.0 = Some(kept);
    }
}

impl Drop for Batch {
    /// Drops what was kept, which may be the last reference to values of the application.
    #[inline]
    fn drop(&mut self) {
        if let Some(kept) = self.0.take() {
            guard("the drop of a value", || drop(kept));
        }
    }
}
