//! Buffers for what is to be sent, of which a thread needs no more than one: a connection has it only while something
//! waits.

use sockeye_core::Outbound;
use std::cell::Cell;

thread_local! {
    static BUFFER: Cell<Option<Vec<u8>>> = const { Cell::new(None) };
}

/// A buffer that grew larger for once is not kept.
const LARGEST: usize = 16 << 10;

/// Lets a queue that is about to be written to use the thread's buffer, if it has none.
pub(super) fn lend(queue: &mut Outbound) {
    if let Some(buffer) = BUFFER.take() {
        BUFFER.set(queue.lend(buffer));
    }
}

/// Takes the buffer of a queue that is empty.
pub(super) fn reclaim(queue: &mut Outbound) {
    if let Some(buffer) = queue.reclaim().filter(|buffer| buffer.capacity() <= LARGEST) {
        BUFFER.set(Some(buffer));
    }
}
