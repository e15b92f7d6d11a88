//! Memory for outgoing data, shared by the connections of a thread: a connection has memory only while data
//! is queued, so a thread needs at most two pieces. The second one is for the response to a request whose
//! session keeps the first for the next poll.

use sockeye_core::{Outbound, outbound::Pieces};
use std::cell::Cell;

thread_local! {
    static MEMORY: Cell<[Option<Box<Pieces>>; 2]> = const { Cell::new([None, None]) };
}

/// Lends memory of the thread to a queue that is about to be written to, if it has none.
pub(crate) fn lend(queue: &mut Outbound) {
    let [first, second] = MEMORY.take();
    MEMORY.set(match first {
        Some(memory) => match queue.lend(memory) {
            Some(memory) => [Some(memory), second],
            None => [second, None],
        },
        None => [None, second],
    });
}

/// Takes back the memory of a queue that is empty.
pub(crate) fn reclaim(queue: &mut Outbound) {
    if let Some(memory) = queue.reclaim() {
        let [first, second] = MEMORY.take();
        MEMORY.set([Some(memory), first.or(second)]);
    }
}
