//! Memory for what is to be sent, of which a thread needs no more than one piece: a connection has it only while
//! something waits.

use sockeye_core::{Outbound, outbound::Pieces};
use std::cell::Cell;

thread_local! {
    static MEMORY: Cell<Option<Box<Pieces>>> = const { Cell::new(None) };
}

/// Lets a queue that is about to be written to use the thread's memory, if it has none.
pub(super) fn lend(queue: &mut Outbound) {
    if let Some(memory) = MEMORY.take() {
        MEMORY.set(queue.lend(memory));
    }
}

/// Takes the memory of a queue that is empty.
pub(super) fn reclaim(queue: &mut Outbound) {
    if let Some(memory) = queue.reclaim() {
        MEMORY.set(Some(memory));
    }
}
