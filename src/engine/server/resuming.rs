//! Stateful reconnect: its setting, and what it needs of the server.

use super::{Application, Builder, ServerInner, Session};
use sockeye_core::engineio::server::StatefulReconnect;

impl<A: Application> Builder<A> {
    /// Lets sessions outlive their connections, for clients that ask for it. Default: off. See
    /// [`ServerBuilder::stateful_reconnect`](crate::ServerBuilder::stateful_reconnect).
    pub fn stateful_reconnect(mut self, settings: StatefulReconnect) -> Self {
        self.config.stateful_reconnect = Some(settings);
        self
    }
}

impl<A: Application> ServerInner<A> {
    /// Returns whether the messages of a session are counted. The common case needs no look at the session.
    #[inline]
    pub(super) fn is_counted(&self, session: &Session<A>) -> bool {
        self.counts_messages && (session.is_resumable() || self.site.config.has_rate_limit())
    }
}
