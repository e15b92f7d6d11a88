//! Validation of text that was received.

use ascii::AsciiStr;

/// The length in bytes from which simdutf8 uses vectors.
const VECTORS: usize = 64;

/// Returns the bytes as text, or `None` if they are not UTF-8.
///
/// Short text is mostly ASCII, and to find out takes a third of the instructions of `core::str::from_utf8`, which simdutf8
/// uses for it: `benches/count ack16`.
#[inline]
pub(crate) fn from_utf8(bytes: &[u8]) -> Option<&str> {
    if bytes.len() < VECTORS
        && let Ok(text) = AsciiStr::from_ascii(bytes)
    {
        return Some(text.as_str());
    }
    simdutf8::basic::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    #[test]
    fn text_of_any_length_with_any_byte_at_any_place_is_judged_as_by_the_standard_library() {
        for len in 0..2 * VECTORS + 2 {
            for at in 0..len {
                for byte in [b'a', 0x7f, 0x80, 0xc3, 0xff] {
                    let mut bytes = b"x".repeat(len);
                    bytes[at] = byte;
                    assert_eq!(from_utf8(&bytes), core::str::from_utf8(&bytes).ok(), "{bytes:?}");
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn broken_text_is_judged_as_by_the_standard_library(text in "[aé字😀]{0,40}", cut in 0_usize..4) {
            let bytes: Vec<u8> = text.bytes().skip(cut).collect();
            let bytes = bytes.get(..bytes.len().saturating_sub(cut)).unwrap_or_default();
            prop_assert_eq!(from_utf8(bytes), core::str::from_utf8(bytes).ok());
        }
    }
}
