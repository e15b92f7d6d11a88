//! Copying long runs of bytes.

use alloc::vec::Vec;

/// The most bytes that are copied at once. More than two to eight times as many are copied by the C library with
/// `rep movsb`, which takes up to 16 times as long on some processors (AMD's Zen 3 and Zen 4) if the copy begins up to 31
/// bytes behind the original, counted within a page. Buffers stay where they are, so a process that is out of luck is slow
/// for as long as it lives.
const PIECE: usize = 2 << 10;

/// Appends bytes that may be many.
#[inline]
pub(crate) fn append(out: &mut Vec<u8>, bytes: &[u8]) {
    match bytes.len() <= PIECE {
        true => out.extend_from_slice(bytes),
        false => append_long(out, bytes),
    }
}

#[inline(never)]
fn append_long(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len());
    bytes.chunks(PIECE).for_each(|piece| out.extend_from_slice(piece));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bytes_are_appended_in_their_order_whatever_their_number() {
        let bytes: Vec<u8> = (0..4 * PIECE + 7).map(|i| (i % 251) as u8).collect();
        for len in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, bytes.len()] {
            let mut out = Vec::from(*b"before");
            append(&mut out, &bytes[..len]);
            assert_eq!(out.strip_prefix(b"before"), Some(&bytes[..len]), "{len} bytes");
        }
    }
}
