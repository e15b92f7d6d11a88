//! Memory for what is to be sent, of which a thread needs no more than two pieces: a connection has it only while
//! something waits. The second one is for the answer to a request whose session keeps the first for the next poll.

use sockeye_core::{Outbound, outbound::Pieces};
use std::cell::Cell;

thread_local! {
    static MEMORY: Cell<[Option<Box<Pieces>>; 2]> = const { Cell::new([None, None]) };
}

/// Lets a queue that is about to be written to use memory of the thread, if it has none.
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

/// Takes the memory of a queue that is empty.
pub(crate) fn reclaim(queue: &mut Outbound) {
    if let Some(memory) = queue.reclaim() {
        let [first, second] = MEMORY.take();
        MEMORY.set([Some(memory), first.or(second)]);
    }
}
