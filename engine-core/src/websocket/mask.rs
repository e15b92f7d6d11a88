//! Masking (RFC 6455, 5.3).

/// Masks or unmasks `payload` in place; both are the same operation. The first byte of the key
/// applies to the first byte of `payload`, so pass the whole payload of a frame at once.
pub fn apply_mask(payload: &mut [u8], key: [u8; 4]) {
    let key = u32::from_le_bytes(key);
    // The key as it applies to the last bytes: a payload need not end where the key does.
    let last_key = key.rotate_right(8 * (payload.len() % 4) as u32);

    // The last block overlaps the one before it, which takes fewer instructions than a loop over the rest:
    // `benches/count ack16`. So it is taken out first.
    if let Some(last) = payload.last_chunk::<16>() {
        let last = masked_block(*last, last_key);
        let (blocks, _) = payload.as_chunks_mut::<16>();
        for block in blocks {
            *block = masked_block(*block, key);
        }
        if let Some(place) = payload.last_chunk_mut() {
            *place = last;
        }
    } else if let Some(last) = payload.last_chunk::<8>() {
        let last = masked_word(*last, last_key);
        if let Some(first) = payload.first_chunk_mut() {
            *first = masked_word(*first, key);
        }
        if let Some(place) = payload.last_chunk_mut() {
            *place = last;
        }
    } else {
        let zeros = [0; 8];
        for (byte, key) in payload.iter_mut().zip(masked_word(zeros, key)) {
            *byte ^= key;
        }
    }
}

/// The compiler turns this into one vector instruction.
#[inline(always)]
fn masked_block(block: [u8; 16], key: u32) -> [u8; 16] {
    let keys = u128::from(key) * (u128::MAX / u128::from(u32::MAX));
    (u128::from_le_bytes(block) ^ keys).to_le_bytes()
}

#[inline(always)]
fn masked_word(word: [u8; 8], key: u32) -> [u8; 8] {
    let keys = u64::from(key) * (u64::MAX / u64::from(u32::MAX));
    (u64::from_le_bytes(word) ^ keys).to_le_bytes()
}
