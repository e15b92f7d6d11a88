//! Masking (RFC 6455, 5.3).

/// Masks or unmasks `payload` in place; both are the same operation. The first byte of the key
/// applies to the first byte of `payload`, so pass the whole payload of a frame at once.
pub fn apply_mask(payload: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);

    // Four words per iteration, which the compiler turns into vector instructions.
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
    // Fewer than eight bytes are left, and the key starts over at each word.
    for (byte, key) in rest.iter_mut().zip([a, b, c, d, a, b, c]) {
        *byte ^= key;
    }
}

#[inline(always)]
fn mask_word(bytes: &mut [u8; 8], word: u64) {
    *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
}
