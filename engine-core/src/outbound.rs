//! The queue of bytes that wait to be written.

use crate::reuse::Reuse;
use alloc::boxed::Box;
use alloc::vec::Vec;
use bytes::{Buf, Bytes};

/// A queue of outgoing bytes: short pieces are copied into one buffer, long or shared ones are kept by reference.
///
/// A queue that is empty or holds a single shared piece owns no memory, unless [`Pieces`] are [lent](Outbound::lend)
/// to it. Read it as a [`Buf`]; with the `std` feature `chunks_vectored` fills the slices of one `writev`.
///
/// ```
/// use bytes::{Buf, Bytes};
/// use sockeye_core::Outbound;
///
/// let mut queue = Outbound::new();
/// queue.extend(b"head ");
/// queue.push(Bytes::from_static(&[b'x'; 300])); // kept by reference
/// assert_eq!(queue.chunks().count(), 2);
///
/// queue.advance(5); // the bytes that were written
/// assert_eq!(queue.len(), 300);
/// ```
#[derive(Debug)]
pub struct Outbound(Queue);

#[derive(Debug)]
enum Queue {
    /// One shared piece; an empty one stands for an empty queue.
    One(Bytes),
    Many(Box<Pieces>),
}

/// The memory of a queue that holds more than a single shared piece. It is cleared as soon as everything is read.
#[derive(Debug, Default)]
pub struct Pieces {
    buf: Vec<u8>,
    /// Number of bytes of `buf` that were read.
    at: usize,
    /// Shared pieces, each with the offset in `buf` of the byte that it precedes.
    shared: Vec<(usize, Bytes)>,
    /// Number of elements of `shared` that were read.
    next: usize,
    len: usize,
    reuse: Reuse,
}

/// Longest piece in bytes that is copied if the buffer has capacity for it: keeping a reference costs as much.
const COPY: usize = 256;
/// Longest piece in bytes that is copied even if the buffer has to grow, because a reference is no smaller. The first
/// shared piece is exempt.
const TINY: usize = size_of::<(usize, Bytes)>();
/// Minimum number of read bytes or references before they are dropped. They must also be at least half of the total.
const COMPACT: usize = 4096;
/// Capacity in bytes that an emptied queue keeps for the next messages. More is kept only while it is needed, so that a
/// peer that was slow once does not occupy the memory of its backlog from then on.
const KEEP: usize = 16 << 10;
const KEEP_SHARED: usize = 32;

impl Default for Outbound {
    fn default() -> Self {
        Outbound(Queue::One(Bytes::new()))
    }
}

impl Outbound {
    /// Creates an empty queue.
    pub fn new() -> Self {
        Outbound::default()
    }

    /// Returns the number of waiting bytes.
    pub fn len(&self) -> usize {
        match &self.0 {
            Queue::One(bytes) => bytes.len(),
            Queue::Many(pieces) => pieces.len,
        }
    }

    /// Returns whether no bytes wait.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends a copy of `bytes`.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.pieces().extend(bytes);
    }

    /// Lets `write` append to the queue's buffer, and returns its result.
    pub fn write_with<R>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let pieces = self.pieces();
        let before = pieces.buf.len();
        let result = write(&mut pieces.buf);
        pieces.len += pieces.buf.len().saturating_sub(before);
        result
    }

    /// Appends `bytes` by reference.
    // Inlined up to here, as the next, for the deliveries of a broadcast: `benches/count broadcast`.
    #[inline]
    pub fn push(&mut self, bytes: Bytes) {
        match &mut self.0 {
            Queue::One(first) if first.is_empty() => *first = bytes,
            _ => self.push_piece(bytes),
        }
    }

    #[inline(never)]
    fn push_piece(&mut self, bytes: Bytes) {
        self.pieces().push(bytes);
    }

    /// Moves the contents of `other` to the end of this queue.
    #[inline]
    pub fn append(&mut self, other: &mut Outbound) {
        // Most of the time, the connection has written everything before.
        match &self.0 {
            Queue::One(own) if own.is_empty() => core::mem::swap(self, other),
            _ => self.append_pieces(other),
        }
    }

    #[inline(never)]
    fn append_pieces(&mut self, other: &mut Outbound) {
        if self.is_empty() && self.capacity() <= other.capacity() {
            return core::mem::swap(self, other);
        }
        match &mut other.0 {
            Queue::One(bytes) => self.push(core::mem::take(bytes)),
            Queue::Many(pieces) => self.pieces().append(pieces),
        }
    }

    fn capacity(&self) -> usize {
        match &self.0 {
            Queue::One(_) => 0,
            Queue::Many(pieces) => pieces.buf.capacity(),
        }
    }

    fn pieces(&mut self) -> &mut Pieces {
        if let Queue::One(_) = self.0 {
            self.lend(Box::default());
        }
        match &mut self.0 {
            Queue::Many(pieces) => pieces,
            Queue::One(_) => unreachable!("pieces were lent to it"),
        }
    }

    /// Drops all waiting bytes. Keeps the memory unless it is large.
    pub fn clear(&mut self) {
        match &mut self.0 {
            Queue::One(bytes) => *bytes = Bytes::new(),
            Queue::Many(pieces) => pieces.clear(),
        }
    }

    /// Returns whether the queue has memory, so that none need be [lent](Outbound::lend) to it.
    #[inline]
    pub fn has_memory(&self) -> bool {
        matches!(self.0, Queue::Many(_))
    }

    /// Lends memory to a queue, so that it need not allocate.
    ///
    /// Returns `memory` unused if the queue already has some.
    pub fn lend(&mut self, mut memory: Box<Pieces>) -> Option<Box<Pieces>> {
        let Queue::One(first) = &mut self.0 else { return Some(memory) };
        if !first.is_empty() {
            memory.push(core::mem::take(first));
        }
        self.0 = Queue::Many(memory);
        None
    }

    /// Takes the memory out of an empty queue, so that an idle connection owns none. Returns `None` if bytes wait.
    #[inline]
    pub fn reclaim(&mut self) -> Option<Box<Pieces>> {
        if !matches!(&self.0, Queue::Many(pieces) if pieces.len == 0) {
            return None;
        }
        match core::mem::take(self).0 {
            Queue::Many(pieces) => Some(pieces),
            Queue::One(_) => None,
        }
    }

    /// Returns the waiting bytes, piece by piece.
    pub fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        let (one, pieces) = match &self.0 {
            Queue::One(bytes) => (Some(&**bytes).filter(|bytes| !bytes.is_empty()), None),
            Queue::Many(pieces) => (None, Some(pieces.chunks())),
        };
        one.into_iter().chain(pieces.into_iter().flatten())
    }

    /// Moves the first `n` bytes, or all if there are fewer, to a new queue.
    pub fn split_to(&mut self, n: usize) -> Outbound {
        if n >= self.len() {
            return core::mem::take(self);
        }
        match &mut self.0 {
            Queue::One(bytes) => Outbound(Queue::One(bytes.split_to(n))),
            Queue::Many(pieces) => pieces.split_to(n),
        }
    }

    /// Removes the first piece. It is not copied if it is shared or the only one.
    pub fn pop(&mut self) -> Option<Bytes> {
        let piece = match &mut self.0 {
            Queue::One(bytes) => core::mem::take(bytes),
            Queue::Many(pieces) => pieces.pop(),
        };
        Some(piece).filter(|piece| !piece.is_empty())
    }
}

impl Buf for Outbound {
    fn remaining(&self) -> usize {
        self.len()
    }

    fn chunk(&self) -> &[u8] {
        match &self.0 {
            Queue::One(bytes) => bytes,
            Queue::Many(pieces) => pieces.chunk(),
        }
    }

    #[inline]
    fn advance(&mut self, n: usize) {
        assert!(n <= self.len(), "advanced past the end of the queue");
        match &mut self.0 {
            // Dropping the reference at once lets the shared memory be freed.
            Queue::One(bytes) if n == bytes.len() => *bytes = Bytes::new(),
            Queue::One(bytes) => bytes.advance(n),
            Queue::Many(pieces) => pieces.advance(n),
        }
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

impl Pieces {
    /// Returns the number of bytes for which memory is allocated.
    pub fn capacity(&self) -> usize {
        self.buf.capacity() + self.shared.capacity() * size_of::<(usize, Bytes)>()
    }

    fn extend(&mut self, bytes: &[u8]) {
        self.len += bytes.len();
        self.buf.extend_from_slice(bytes);
    }

    fn push(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        let fits = self.buf.capacity() - self.buf.len() >= bytes.len();
        let is_tiny = bytes.len() <= TINY && !self.shared.is_empty();
        if bytes.len() <= COPY && fits || is_tiny {
            return self.extend(&bytes);
        }
        self.len += bytes.len();
        self.shared.push((self.buf.len(), bytes));
    }

    fn append(&mut self, other: &mut Pieces) {
        while other.len > 0 {
            match other.take_shared(usize::MAX) {
                Some(bytes) => self.push(bytes),
                None => {
                    let chunk = other.chunk();
                    let n = chunk.len();
                    self.extend(chunk);
                    other.advance(n);
                }
            }
        }
        other.clear();
    }

    /// Removes up to `n` bytes of the first piece if it is a shared one.
    fn take_shared(&mut self, n: usize) -> Option<Bytes> {
        let (offset, bytes) = self.shared.get_mut(self.next)?;
        if *offset != self.at {
            return None;
        }
        // A whole piece is taken out, because an emptied `Bytes` would keep the shared memory alive.
        let taken = if n < bytes.len() { bytes.split_to(n) } else { core::mem::take(bytes) };
        if bytes.is_empty() {
            self.next += 1;
        }
        self.len -= taken.len();
        Some(taken)
    }

    fn clear(&mut self) {
        self.reuse.clear(&mut self.buf, KEEP);
        self.shared.clear();
        if self.shared.capacity() > KEEP_SHARED {
            self.shared = Vec::new();
        }
        (self.at, self.next, self.len) = (0, 0, 0);
    }

    fn chunks(&self) -> impl Iterator<Item = &[u8]> {
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

    fn chunk(&self) -> &[u8] {
        self.chunks().next().unwrap_or_default()
    }

    /// Moves the first `n` bytes to a new queue; `n` is less than the length.
    fn split_to(&mut self, n: usize) -> Outbound {
        let mut front = Outbound::new();
        while front.len() < n {
            let want = n - front.len();
            match self.take_shared(want) {
                Some(taken) => front.push(taken),
                None => {
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

    fn pop(&mut self) -> Bytes {
        if let Some(piece) = self.take_shared(usize::MAX) {
            self.forget_read();
            return piece;
        }
        if self.at == 0 && self.next == self.shared.len() {
            let piece = core::mem::take(&mut self.buf);
            self.clear();
            return Bytes::from(piece);
        }
        let piece = Bytes::copy_from_slice(self.chunk());
        self.advance(piece.len());
        piece
    }

    #[inline]
    fn advance(&mut self, n: usize) {
        // Most of the time, everything is written at once: `benches/count ack`.
        match n == self.len {
            true => self.clear(),
            false => self.advance_part(n),
        }
    }

    #[cold]
    fn advance_part(&mut self, mut n: usize) {
        self.len -= n;
        while n > 0 {
            match self.shared.get_mut(self.next) {
                Some((offset, bytes)) if *offset == self.at => {
                    let step = n.min(bytes.len());
                    bytes.advance(step);
                    n -= step;
                    if bytes.is_empty() {
                        // Dropping the reference at once lets the shared memory be freed.
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

    /// Drops bytes and references that were read, so that a queue that never becomes empty does not grow without limit.
    fn forget_read(&mut self) {
        if self.len == 0 {
            return self.clear();
        }
        // At most as many elements are moved as are dropped, so the cost per byte is constant.
        if self.next >= COMPACT && self.next >= self.shared.len() / 2 {
            self.shared.drain(..self.next);
            self.next = 0;
        }
        if self.at >= COMPACT && self.at >= self.buf.len() / 2 {
            self.buf.drain(..self.at);
            for (offset, _) in self.shared.iter_mut().skip(self.next) {
                *offset -= self.at;
            }
            // The offsets of shared pieces that were read are stale, but nothing uses them again.
            self.at = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reuse::MAX_KEPT;
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
        let Pieces { buf, shared, .. } = queue.pieces();
        assert!(buf.capacity() <= 4 * COMPACT, "{}", buf.capacity());
        assert!(shared.capacity() <= 4 * COMPACT, "{}", shared.capacity());
    }

    #[test]
    fn the_memory_of_a_backlog_is_freed_once_it_is_no_longer_needed() {
        let mut queue = Outbound::new();
        let mut out = Outbound::new();
        let long = Bytes::from(vec![1; COPY + 1]);
        for _ in 0..2 {
            for _ in 0..1000 {
                queue.extend(&[2; 100]);
                queue.push(long.clone());
            }
            // In the second round `out` is not empty, so the pieces are moved one by one.
            out.append(&mut queue);
        }
        out.advance(out.len());
        for mut queue in [queue, out] {
            assert!(queue.capacity() <= MAX_KEPT);
            for _ in 0..256 {
                queue.extend(&[3; 100]);
                queue.advance(100);
            }
            let Pieces { buf, shared, .. } = queue.pieces();
            assert!(buf.capacity() <= KEEP && shared.capacity() <= KEEP_SHARED, "{queue:?}");
        }
    }

    #[test]
    fn tiny_shared_pieces_are_copied() {
        let mut queue = Outbound::new();
        for _ in 0..10_000 {
            queue.push(Bytes::from_static(b"\x81\x014"));
        }
        assert_eq!(queue.len(), 30_000);
        let Pieces { buf, shared, .. } = queue.pieces();
        assert!(buf.capacity() + shared.capacity() * TINY < 100_000);
    }

    #[test]
    fn append_resets_the_source_queue() {
        let mut queue = Outbound::new();
        let mut out = Outbound::new();
        out.extend(&[0; 5000]);
        for _ in 0..10 {
            queue.extend(b"short");
            queue.push(Bytes::from(vec![1; 1000]));
            out.append(&mut queue);
            let Pieces { buf, at, shared, next, len, .. } = queue.pieces();
            assert_eq!((buf.len(), *at, shared.len(), *next, *len), (0, 0, 0, 0, 0));
        }
        assert_eq!(out.len(), 5000 + 10 * 1005);
    }

    #[test]
    fn lent_memory_can_be_reclaimed_once_the_queue_is_empty() {
        let mut queue = Outbound::new();
        assert!(queue.lend(Box::new(Pieces { buf: Vec::with_capacity(64), ..Pieces::default() })).is_none());
        queue.extend(b"abc");
        assert!(queue.reclaim().is_none());
        assert!(queue.lend(Box::default()).is_some(), "the queue already has memory");
        queue.advance(3);
        assert_eq!(queue.reclaim().map(|pieces| pieces.buf.capacity()), Some(64));
        assert!(queue.reclaim().is_none());
    }

    #[test]
    fn one_shared_piece_needs_no_memory() {
        assert_eq!(size_of::<Outbound>(), size_of::<Bytes>());
        let mut queue = Outbound::new();
        let mut out = Outbound::new();
        queue.push(Bytes::from_static(b"shared"));
        out.append(&mut queue);
        for queue in [&queue, &out] {
            assert!(matches!(queue.0, Queue::One(_)), "{queue:?}");
        }
    }

    #[test]
    fn memory_can_be_lent_to_a_queue_that_holds_a_shared_piece() {
        let mut queue = Outbound::new();
        queue.push(Bytes::from_static(b"shared"));
        assert!(queue.lend(Box::default()).is_none());
        queue.extend(b" and more");
        assert_eq!(contents(&queue), b"shared and more");
    }
}
