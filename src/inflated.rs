//! How much was inflated in a turn: a few bytes may be inflated to a long message, and a read may hold hundreds of them,
//! which are not all for one turn.

use sockeye_core::websocket::Message;
use std::borrow::Cow;

/// In KiB.
#[derive(Default)]
pub(crate) struct Inflated(u16);

impl Inflated {
    pub(crate) fn begin_turn(&mut self) {
        self.0 = 0;
    }

    /// Counts a message, if it is none that lies in what was read.
    pub(crate) fn count(&mut self, message: &Message<'_>) {
        let len = match message {
            // Without compression it was only put together from fragments.
            _ if cfg!(not(feature = "deflate")) => return,
            Message::Text(Cow::Owned(text)) => text.len(),
            Message::Binary(Cow::Owned(data)) => data.len(),
            _ => return,
        };
        self.0 = self.0.saturating_add(u16::try_from(len.div_ceil(1024)).unwrap_or(u16::MAX));
    }

    /// Whether this turn has inflated so many bytes.
    pub(crate) fn is_enough(&self, bytes: usize) -> bool {
        cfg!(feature = "deflate") && usize::from(self.0) >= bytes.div_ceil(1024).min(u16::MAX.into())
    }
}
