//! The packets of the protocol itself, for observers.

/// Packets of the protocol itself that were queued or put into a payload, for observers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Controls {
    /// A ping; in version 3, a pong.
    pub ping: bool,
    /// A noop, which releases a poll.
    pub noop: bool,
    /// A close, which answers a poll.
    pub close: bool,
}
