//! Masking (RFC 6455, 5.3).

/// Masks `payload`, or unmasks it: doing it twice with one key gives back what was there. The
/// key starts at the first byte of `payload`, so this takes a whole frame's payload at once.
pub fn apply_mask(payload: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);

    // Four words a turn: the compiler makes vector instructions of it.
    let (blocks, rest) = payload.as_chunks_mut::<32>();
    for block in blocks {
        let (words, _) = block.as_chunks_mut();
        for bytes in words {
            mask_word(bytes, word);
        }
    }
    let (words, rest) = rest.as_chunks_mut();
    for bytes in words {
        mask_word(bytes, word);
    }
    // Fewer than eight are left, and the key starts over at each word.
    for (byte, key) in rest.iter_mut().zip([a, b, c, d, a, b, c]) {
        *byte ^= key;
    }
}

#[inline(always)]
fn mask_word(bytes: &mut [u8; 8], word: u64) {
    *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
}
