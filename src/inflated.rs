//! Counts the bytes inflated in a turn. A few bytes may inflate to a long message, and one read may hold
//! hundreds of them, which must not all be handled in one turn.

use sockeye_core::websocket::Message;
use std::borrow::Cow;

/// The number of inflated bytes in this turn, in KiB.
#[derive(Default)]
pub(crate) struct Inflated(u16);

impl Inflated {
    pub(crate) fn begin_turn(&mut self) {
        self.0 = 0;
    }

    /// Returns whether nothing was counted in this turn.
    pub(crate) fn is_empty(&self) -> bool {
        self.0 == 0
    }

    /// Counts a message, unless it borrows from the input.
    pub(crate) fn count(&mut self, message: &Message<'_>) {
        let len = match message {
            // Without compression, an owned message was only assembled from fragments.
            _ if cfg!(not(feature = "deflate")) => return,
            Message::Text(Cow::Owned(text)) => text.len(),
            Message::Binary(Cow::Owned(data)) => data.len(),
            _ => return,
        };
        self.0 = self.0.saturating_add(u16::try_from(len.div_ceil(1024)).unwrap_or(u16::MAX));
    }

    /// Returns whether at least so many bytes were inflated in this turn.
    pub(crate) fn is_enough(&self, bytes: usize) -> bool {
        cfg!(feature = "deflate") && usize::from(self.0) >= bytes.div_ceil(1024).min(u16::MAX.into())
    }
}
