//! Memory that the connections of a thread share: lent for a moment, so that an idle connection owns none and the
//! steady state allocates nothing.
//!
//! The thread-locals are here and in [`calls`]. A piece is taken out while it is in use: code that needs it meanwhile on the same thread,
//! such as a `Serialize` that emits, finds none and creates its own.

mod calls;

pub(crate) use calls::{put_call, take_call};

use sockeye_core::protocol::READ_BUFFER;
use sockeye_core::reuse::MAX_KEPT;
use sockeye_core::socketio::client::Event;
use sockeye_core::socketio::{Encoder, Parser};
use sockeye_core::websocket::{DeflatePool, DeflateState};
use sockeye_core::{Outbound, outbound::Pieces};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

/// In boxes, as a queue has them.
type Spare = Vec<Box<Pieces>>;

thread_local! {
    // A connection has memory only while data is queued, so most threads need at most two pieces. The second one is for the
    // response to a request whose session keeps the first for the next poll.
    static MEMORY: Cell<[Option<Box<Pieces>>; 2]> = const { Cell::new([None, None]) };
    // Sessions keep theirs at the same time if many clients send something before the first of their polls is answered.
    static SPARE: Cell<Spare> = const { Cell::new(Vec::new()) };
    static READ: Reading = const { Reading { buffer: Cell::new(None), partial: Cell::new(Vec::new()), turns: Cell::new(0) } };
    static ENCODER: Cell<Option<Box<Encoder>>> = const { Cell::new(None) };
    static DEFLATE_STATE: Cell<DeflateState> = const { Cell::new(DeflateState::new()) };
    static RANDOM: RefCell<Batch> = const { RefCell::new(Batch { ids: [[0; 15]; 16], left: 0 }) };
    static EVENTS: Cell<VecDeque<Event>> = const { Cell::new(VecDeque::new()) };
}

/// The thread's state of compression.
pub(crate) static DEFLATE: DeflatePool =
    DeflatePool::new(|| DEFLATE_STATE.take(), |state| DEFLATE_STATE.set(state));

/// Maximum number of pieces that a thread keeps besides the usual two, and the maximum size of each in bytes.
const MAX_SPARE: usize = 64;
const SPARE_SIZE: usize = 1024;
/// Maximum capacity of the queue of events that a thread keeps: more events at once are rare.
const MAX_EVENTS: usize = 64;

/// Lends memory of the thread to a queue that is about to be written to, if it has none.
// Inlined up to here, because only the first message of a turn finds a queue without memory: `benches/count ack16`.
#[inline]
pub(crate) fn lend(queue: &mut Outbound) {
    if !queue.has_memory() {
        lend_memory(queue);
    }
}

fn lend_memory(queue: &mut Outbound) {
    // Looked up once, here and below: `benches/count ack`.
    MEMORY.with(|kept| {
        let [first, second] = kept.take();
        kept.set(match first {
            Some(memory) => match queue.lend(memory) {
                Some(memory) => [Some(memory), second],
                None => [second, None],
            },
            None => {
                lend_spare(queue);
                [None, second]
            }
        });
    });
}

#[inline(never)]
fn lend_spare(queue: &mut Outbound) {
    SPARE.with(|kept| {
        let mut spare = kept.take();
        if let Some(memory) = spare.pop() {
            queue.lend(memory);
        }
        kept.set(spare);
    });
}

/// Takes back the memory of a queue that is empty.
// Inlined up to here, because a queue that holds a shared message has no memory: `benches/count broadcast`.
#[inline]
pub(crate) fn reclaim(queue: &mut Outbound) {
    if let Some(memory) = queue.reclaim() {
        put_memory(memory);
    }
}

fn put_memory(memory: Box<Pieces>) {
    MEMORY.with(|kept| {
        let [first, second] = kept.take();
        kept.set(match (first, second) {
            (Some(first), Some(second)) => {
                put_spare(second);
                [Some(memory), Some(first)]
            }
            (first, second) => [Some(memory), first.or(second)],
        });
    });
}

#[inline(never)]
fn put_spare(memory: Box<Pieces>) {
    if memory.capacity() <= SPARE_SIZE {
        // The thread may be about to end.
        _ = SPARE.try_with(|kept| {
            let mut spare = kept.take();
            if spare.len() < MAX_SPARE {
                spare.push(memory);
            }
            kept.set(spare);
        });
    }
}

/// The buffers for what is read.
struct Reading {
    /// The one that streams are read into.
    buffer: Cell<Option<Box<[u8]>>>,
    /// The one for the message of one connection that does not arrive at once.
    partial: Cell<Vec<u8>>,
    /// Number of turns since `partial` was needed.
    turns: Cell<u32>,
}

impl Reading {
    #[cold]
    #[inline(never)]
    fn free_partial(&self) {
        self.turns.set(0);
        self.partial.take();
    }
}

/// Number of turns without a large message after which the buffer for one is freed.
const TURNS: u32 = 10_000;
/// Maximum capacity of the buffer that a message gets, as a multiple of the bytes that have arrived, so that a peer that
/// sends little occupies little.
const MAX_RATIO: usize = 32;

/// Takes the buffer that the streams of this thread are read into.
pub(crate) fn take_read_buffer() -> Box<[u8]> {
    READ.with(|kept| kept.buffer.take()).unwrap_or_else(new_read_buffer)
}

#[cold]
fn new_read_buffer() -> Box<[u8]> {
    vec![0; READ_BUFFER].into_boxed_slice()
}

/// Puts the buffer back that [`take_read_buffer`] returned.
// Inlined, because every turn calls it: `benches/count ack`.
#[inline(always)]
pub(crate) fn put_read_buffer(buffer: Box<[u8]>) {
    READ.with(|kept| {
        kept.buffer.set(Some(buffer));
        let turns = kept.turns.get() + 1;
        kept.turns.set(turns);
        if turns >= TURNS {
            kept.free_partial();
        }
    });
}

/// Takes the buffer for an incomplete message of which `needed` bytes have arrived; an empty one if it does not fit.
pub(crate) fn take_partial(needed: usize) -> Vec<u8> {
    READ.with(|kept| {
        let partial = kept.partial.take();
        if partial.capacity() < needed || partial.capacity() / MAX_RATIO > needed {
            kept.partial.set(partial);
            return Vec::new();
        }
        partial
    })
}

/// Puts back a buffer that [`take_partial`] returned, or another one. The largest is kept.
pub(crate) fn put_partial(mut buffer: Vec<u8>) {
    // The thread may be about to end.
    _ = READ.try_with(|kept| {
        if buffer.len() > READ_BUFFER {
            kept.turns.set(0);
        }
        let partial = kept.partial.take();
        buffer.clear();
        let fits = buffer.capacity() <= MAX_KEPT && buffer.capacity() > partial.capacity();
        kept.partial.set(if fits { buffer } else { partial });
    });
}

/// Runs `f` with the thread's encoder, set to the parser.
pub(crate) fn with_encoder<R>(parser: Parser, f: impl FnOnce(&mut Encoder) -> R) -> R {
    // Looked up once: `benches/count ack`.
    ENCODER.with(|kept| {
        let mut encoder = kept.take().unwrap_or_default();
        encoder.set_parser(parser);
        let result = f(&mut encoder);
        kept.set(Some(encoder));
        result
    })
}

/// Bytes from the system's source of randomness: asking it for each id would be a system call for each.
struct Batch {
    ids: [[u8; 15]; 16],
    /// Number of elements, from the first, that were not taken yet.
    left: usize,
}

/// Takes the random bytes of an id. Returns `None` if the system has none.
///
/// A process that is forked while its threads run, without a new program, would take the same bytes as its parent.
pub(crate) fn take_random() -> Option<[u8; 15]> {
    RANDOM.with_borrow_mut(|batch| {
        if batch.left == 0 {
            getrandom::fill(batch.ids.as_flattened_mut()).ok()?;
            batch.left = batch.ids.len();
        }
        batch.left -= 1;
        // An id may be a secret, so nothing of it stays here.
        batch.ids.get_mut(batch.left).map(std::mem::take)
    })
}

/// Lends memory of the thread to a client's queue of events, if it has none.
pub(crate) fn lend_events(queue: &mut VecDeque<Event>) {
    if queue.capacity() == 0 {
        *queue = EVENTS.take();
    }
}

/// Takes back the memory of a client's queue of events, if that is empty. The thread may be about to end.
pub(crate) fn reclaim_events(queue: &mut VecDeque<Event>) {
    if queue.is_empty() && queue.capacity() > 0 {
        let queue = std::mem::take(queue);
        if queue.capacity() <= MAX_EVENTS {
            _ = EVENTS.try_with(|events| events.set(queue));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_bytes_are_never_taken_twice_and_not_kept() {
        let taken: Vec<_> = (0..100).filter_map(|_| take_random()).collect();
        assert!(taken.iter().enumerate().all(|(at, one)| !taken[..at].contains(one)) && taken.len() == 100);
        RANDOM.with_borrow(|batch| assert!(batch.ids[batch.left..].iter().all(|id| *id == [0; 15])));
    }
}
