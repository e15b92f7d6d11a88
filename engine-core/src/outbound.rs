//! Bytes that wait to be written.

use alloc::vec::Vec;
use bytes::{Buf, Bytes};
use smallvec::SmallVec;

/// A queue of outgoing bytes: short pieces are copied into one buffer, long or shared ones are kept by reference.
///
/// Empty, it holds no buffer unless one is [lent](Outbound::lend) to it. Read it as a [`Buf`]; with the `std` feature
/// `chunks_vectored` fills the slices of one `writev`.
#[derive(Debug, Default)]
pub struct Outbound {
    buf: Vec<u8>,
    /// How much of `buf` was read.
    at: usize,
    /// Shared pieces, each with the offset in `buf` before which it stands.
    shared: SmallVec<[(usize, Bytes); 1]>,
    /// How many of `shared` were read.
    next: usize,
    len: usize,
}

/// Pieces up to this many bytes are copied when the buffer has room: a reference costs as much.
const COPY: usize = 256;
/// Pieces that are no longer than a reference are copied in any case, but for the first one.
const TINY: usize = size_of::<(usize, Bytes)>();
/// Bytes and references that were read are dropped once they are as many as this, and as what is left.
const COMPACT: usize = 4096;
/// What is kept for the next messages when the queue is empty. A peer that was behind once is not to cost the memory of
/// what it missed for ever.
const KEEP: usize = 16 << 10;
const KEEP_SHARED: usize = 32;

impl Outbound {
    /// An empty queue.
    pub fn new() -> Self {
        Outbound::default()
    }

    /// How many bytes wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends a copy of `bytes`.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.len += bytes.len();
        self.buf.extend_from_slice(bytes);
    }

    /// Appends what `write` appends to the buffer it is given.
    pub fn write_with<R>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let before = self.buf.len();
        let result = write(&mut self.buf);
        self.len += self.buf.len().saturating_sub(before);
        result
    }

    /// Appends `bytes` by reference.
    pub fn push(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        let has_room = self.buf.capacity() - self.buf.len() >= bytes.len();
        let is_tiny = bytes.len() <= TINY && !self.shared.is_empty();
        if bytes.len() <= COPY && has_room || is_tiny {
            return self.extend(&bytes);
        }
        self.len += bytes.len();
        self.shared.push((self.buf.len(), bytes));
    }

    /// Moves everything out of `other` to the end of this queue.
    pub fn append(&mut self, other: &mut Outbound) {
        if self.is_empty() && self.buf.capacity() <= other.buf.capacity() {
            core::mem::swap(self, other);
            return other.clear();
        }
        while other.has_remaining() {
            match other.shared.get_mut(other.next) {
                Some((offset, bytes)) if *offset == other.at => {
                    let bytes = core::mem::take(bytes);
                    other.next += 1;
                    other.len -= bytes.len();
                    self.push(bytes);
                }
                _ => {
                    let chunk = other.chunk();
                    let n = chunk.len();
                    self.extend(chunk);
                    other.advance(n);
                }
            }
        }
        other.clear();
    }

    /// Drops all that waits, and keeps the buffer unless it is large.
    pub fn clear(&mut self) {
        self.buf.clear();
        if self.buf.capacity() > KEEP {
            self.buf = Vec::new();
        }
        self.shared.clear();
        if self.shared.capacity() > KEEP_SHARED {
            self.shared = SmallVec::new();
        }
        (self.at, self.next, self.len) = (0, 0, 0);
    }

    /// Gives an empty queue a buffer to write into, so that it need not allocate one.
    ///
    /// Hands the buffer back if the queue has one of its own.
    pub fn lend(&mut self, buffer: Vec<u8>) -> Option<Vec<u8>> {
        if self.buf.capacity() > 0 {
            return Some(buffer);
        }
        self.buf = buffer;
        self.buf.clear();
        None
    }

    /// Takes the buffer out of an empty queue: an idle connection owns none.
    pub fn reclaim(&mut self) -> Option<Vec<u8>> {
        if !self.is_empty() || self.buf.capacity() == 0 {
            return None;
        }
        let buffer = core::mem::take(&mut self.buf);
        self.clear();
        Some(buffer)
    }

    /// The waiting bytes, piece by piece.
    pub fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        let mut at = self.at;
        let mut next = self.next;
        core::iter::from_fn(move || {
            if let Some((offset, bytes)) = self.shared.get(next)
                && *offset == at
            {
                next += 1;
                return Some(bytes.as_ref());
            }
            let end = self.shared.get(next).map_or(self.buf.len(), |(offset, _)| *offset);
            let chunk = self.buf.get(at..end).filter(|chunk| !chunk.is_empty());
            at = end;
            chunk
        })
    }

    /// Moves the first `n` bytes out into a queue of their own.
    pub fn split_to(&mut self, n: usize) -> Outbound {
        let mut front = Outbound::new();
        while front.len < n && self.has_remaining() {
            let want = n - front.len;
            match self.shared.get_mut(self.next) {
                Some((offset, bytes)) if *offset == self.at => {
                    let taken = bytes.split_to(want.min(bytes.len()));
                    if bytes.is_empty() {
                        self.next += 1;
                    }
                    self.len -= taken.len();
                    front.push(taken);
                }
                _ => {
                    let chunk = self.chunk();
                    let n = want.min(chunk.len());
                    front.extend(chunk.get(..n).unwrap_or(chunk));
                    self.advance(n);
                }
            }
        }
        self.forget_read();
        front
    }

    /// Takes the first piece out, without a copy where it is shared or all that there is.
    pub fn pop(&mut self) -> Option<Bytes> {
        match self.shared.get_mut(self.next) {
            Some((offset, bytes)) if *offset == self.at => {
                let piece = core::mem::take(bytes);
                self.next += 1;
                self.len -= piece.len();
                self.forget_read();
                Some(piece)
            }
            None if self.at == 0 && self.len > 0 => {
                let piece = core::mem::take(&mut self.buf);
                self.clear();
                Some(Bytes::from(piece))
            }
            _ => {
                let piece = Bytes::copy_from_slice(self.chunk());
                self.advance(piece.len());
                Some(piece).filter(|piece| !piece.is_empty())
            }
        }
    }

    /// Drops what was read: a queue that is never quite empty must not grow for ever.
    fn forget_read(&mut self) {
        if self.len == 0 {
            return self.clear();
        }
        // Moves no more than was read since the last time.
        if self.next >= COMPACT && self.next >= self.shared.len() / 2 {
            self.shared.drain(..self.next);
            self.next = 0;
        }
        if self.at >= COMPACT && self.at >= self.buf.len() / 2 {
            self.buf.drain(..self.at);
            for (offset, _) in self.shared.iter_mut().skip(self.next) {
                *offset -= self.at;
            }
            // Those that were read are never looked at again.
            self.at = 0;
        }
    }
}

impl Buf for Outbound {
    fn remaining(&self) -> usize {
        self.len
    }

    fn chunk(&self) -> &[u8] {
        self.chunks().next().unwrap_or_default()
    }

    fn advance(&mut self, mut n: usize) {
        assert!(n <= self.len, "advanced past the end of the queue");
        self.len -= n;
        while n > 0 {
            match self.shared.get_mut(self.next) {
                Some((offset, bytes)) if *offset == self.at => {
                    let step = n.min(bytes.len());
                    bytes.advance(step);
                    n -= step;
                    if bytes.is_empty() {
                        // Drops the reference at once: others may be waiting for the memory.
                        *bytes = Bytes::new();
                        self.next += 1;
                    }
                }
                upcoming => {
                    let end = upcoming.map_or(self.buf.len(), |(offset, _)| *offset);
                    let step = n.min(end - self.at);
                    debug_assert!(step > 0, "the length counts bytes that are not there");
                    self.at += step;
                    n -= step;
                }
            }
        }
        self.forget_read();
    }

    #[cfg(feature = "std")]
    fn chunks_vectored<'a>(&'a self, dst: &mut [std::io::IoSlice<'a>]) -> usize {
        let mut used = 0;
        for (slot, chunk) in dst.iter_mut().zip(self.chunks()) {
            *slot = std::io::IoSlice::new(chunk);
            used += 1;
        }
        used
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    fn contents(queue: &Outbound) -> Vec<u8> {
        queue.chunks().flatten().copied().collect()
    }

    #[derive(Clone, Debug)]
    enum Op {
        Extend(Vec<u8>),
        Push(Vec<u8>),
        Append(Vec<u8>, Vec<u8>),
        Advance(usize),
        Split(usize),
        Pop,
    }

    fn op() -> impl Strategy<Value = Op> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..400);
        prop_oneof![
            bytes().prop_map(Op::Extend),
            bytes().prop_map(Op::Push),
            (bytes(), bytes()).prop_map(|(a, b)| Op::Append(a, b)),
            (0usize..900).prop_map(Op::Advance),
            (0usize..900).prop_map(Op::Split),
            Just(Op::Pop),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn behaves_as_one_flat_buffer(ops in proptest::collection::vec(op(), 1..40)) {
            let mut queue = Outbound::new();
            let mut model = Vec::new();
            for op in ops {
                match op {
                    Op::Extend(b) => { queue.extend(&b); model.extend(b); }
                    Op::Push(b) => { queue.push(Bytes::from(b.clone())); model.extend(b); }
                    Op::Append(a, b) => {
                        let mut other = Outbound::new();
                        other.extend(&a);
                        other.push(Bytes::from(b.clone()));
                        queue.append(&mut other);
                        prop_assert!(other.is_empty());
                        model.extend(a);
                        model.extend(b);
                    }
                    Op::Advance(n) => { let n = n.min(queue.len()); queue.advance(n); model.drain(..n); }
                    Op::Split(n) => {
                        let front = queue.split_to(n);
                        let rest = model.split_off(n.min(model.len()));
                        prop_assert_eq!(contents(&front), model);
                        model = rest;
                    }
                    Op::Pop => {
                        let piece = queue.pop();
                        prop_assert_eq!(piece.is_none(), model.is_empty());
                        let piece = piece.unwrap_or_default();
                        prop_assert_eq!(&*piece, &model[..piece.len()]);
                        model.drain(..piece.len());
                    }
                }
                prop_assert_eq!(queue.len(), model.len());
                prop_assert_eq!(contents(&queue), model.clone());
            }
        }
    }

    #[test]
    fn a_long_piece_is_kept_by_reference() {
        let bytes = Bytes::from(vec![7; COPY + 1]);
        let mut queue = Outbound::new();
        queue.extend(b"head");
        queue.push(bytes.clone());
        assert_eq!(queue.chunks().nth(1).map(<[u8]>::as_ptr), Some(bytes.as_ptr()));
    }

    #[test]
    fn a_queue_that_is_never_empty_does_not_grow() {
        let long = Bytes::from(vec![1; COPY + 1]);
        let mut queue = Outbound::new();
        let mut model = alloc::collections::VecDeque::new();
        for i in 0..60_000u32 {
            let short = i.to_be_bytes();
            queue.extend(&short);
            model.extend(short);
            if i % 3 == 0 {
                queue.push(long.clone());
                model.extend(long.iter());
            }
            while queue.len() > 5000 {
                let n = queue.chunk().len().min(700);
                assert!(queue.chunk().iter().take(n).copied().eq(model.drain(..n)));
                queue.advance(n);
            }
        }
        assert_eq!(contents(&queue), Vec::from(model));
        assert!(queue.buf.capacity() <= 4 * COMPACT, "{}", queue.buf.capacity());
        assert!(queue.shared.capacity() <= 4 * COMPACT, "{}", queue.shared.capacity());
    }

    #[test]
    fn what_a_backlog_needed_is_freed_once_it_was_read() {
        let mut queue = Outbound::new();
        let mut out = Outbound::new();
        let long = Bytes::from(vec![1; COPY + 1]);
        for _ in 0..2 {
            for _ in 0..1000 {
                queue.extend(&[2; 100]);
                queue.push(long.clone());
            }
            // Onto one that is not empty, so that it is copied over.
            out.append(&mut queue);
        }
        out.advance(out.len());
        for queue in [queue, out] {
            assert!(queue.buf.capacity() <= KEEP && queue.shared.capacity() <= KEEP_SHARED, "{queue:?}");
        }
    }

    #[test]
    fn a_large_buffer_that_was_lent_is_given_back() {
        let mut queue = Outbound::new();
        assert!(queue.lend(Vec::with_capacity(2 * KEEP)).is_none());
        assert_eq!(queue.reclaim().map(|b| b.capacity()), Some(2 * KEEP));
    }

    #[test]
    fn tiny_shared_pieces_cost_no_more_than_their_bytes() {
        let mut queue = Outbound::new();
        for _ in 0..10_000 {
            queue.push(Bytes::from_static(b"\x81\x014"));
        }
        assert_eq!(queue.len(), 30_000);
        assert!(queue.buf.capacity() + queue.shared.capacity() * TINY < 100_000);
    }

    #[test]
    fn a_queue_that_was_moved_elsewhere_is_as_new() {
        let mut queue = Outbound::new();
        let mut out = Outbound::new();
        out.extend(&[0; 5000]);
        for _ in 0..10 {
            queue.extend(b"short");
            queue.push(Bytes::from(vec![1; 1000]));
            out.append(&mut queue);
            assert_eq!((queue.at, queue.next, queue.buf.len(), queue.shared.len()), (0, 0, 0, 0));
        }
        assert_eq!(out.len(), 5000 + 10 * 1005);
    }

    #[test]
    fn an_empty_queue_gives_its_buffer_back() {
        let mut queue = Outbound::new();
        assert!(queue.lend(Vec::with_capacity(64)).is_none());
        queue.extend(b"abc");
        assert!(queue.reclaim().is_none());
        queue.advance(3);
        assert_eq!(queue.reclaim().map(|b| b.capacity()), Some(64));
        assert!(queue.reclaim().is_none());
    }
}
