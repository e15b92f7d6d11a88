//! The right to keep the time of a server.

use super::ServerInner;
use crate::engine::Application;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

/// The exclusive right to keep the time of a server that no listener drives.
pub(super) struct Claim<A: Application>(pub(super) Weak<ServerInner<A>>);

impl<A: Application> Claim<A> {
    /// Claims the right, or returns `None` if it is taken.
    pub(super) fn new(server: &Arc<ServerInner<A>>) -> Option<Self> {
        (!server.is_kept.swap(true, Ordering::AcqRel)).then(|| Claim(Arc::downgrade(server)))
    }
}

impl<A: Application> Drop for Claim<A> {
    fn drop(&mut self) {
        if let Some(server) = self.0.upgrade() {
            server.is_kept.store(false, Ordering::Release);
        }
    }
}
