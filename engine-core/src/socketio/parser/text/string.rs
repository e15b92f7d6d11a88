//! The strings of JSON: the characters that stand for themselves in them, and where they end.
//!
//! A quote, a backslash and control characters are special: they end a run of plain characters. Runs are looked through
//! in blocks and words, without a branch for each byte: `benches/count echo`. Behind the last whole one comes one that
//! overlaps it, because to look at some bytes again costs less than to look at each by itself: `benches/count ack`.

/// The length in bytes from which memchr finds the end of a string sooner.
const LONG: usize = 256;

/// The length in bytes up to which a text may be looked through again if it turns out not to be plain, which most are.
pub(super) const MAX_TWICE: usize = 4096;

/// Returns whether a text has no special byte, which takes fewer instructions than to find the first one.
pub(super) fn is_plain(text: &[u8]) -> bool {
    let mut rest = skip_long_blocks(text);
    while let Some((block, behind)) = rest.split_first_chunk::<32>() {
        if !is_plain_block(block) {
            return false;
        }
        rest = behind;
    }
    if let Some(last) = text.last_chunk::<32>() {
        rest.is_empty() || is_plain_block(last)
    } else if let (Some(first), Some(last)) = (text.first_chunk::<16>(), text.last_chunk::<16>()) {
        specials(first) | specials(last) == 0
    } else if let (Some(first), Some(last)) = (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        specials_in_word(*first) | specials_in_word(*last) == 0
    } else {
        !text.iter().any(|byte| is_special(*byte))
    }
}

/// Returns the text from the first special byte on, which is empty if there is none.
pub(crate) fn skip_plain(text: &[u8]) -> &[u8] {
    // Most strings of JSON end in the first block, while the text behind them may be long.
    let Some((first, mut rest)) = text.split_first_chunk::<16>() else { return skip_plain_words(text) };
    let special = specials(first);
    if special != 0 {
        return text.get(special.trailing_zeros() as usize / 8..).unwrap_or_default();
    }
    rest = skip_long_blocks(rest);
    while let Some((block, behind)) = rest.split_first_chunk::<32>()
        && is_plain_block(block)
    {
        rest = behind;
    }
    while let Some((block, behind)) = rest.split_first_chunk::<16>() {
        let special = specials(block);
        if special != 0 {
            return rest.get(special.trailing_zeros() as usize / 8..).unwrap_or_default();
        }
        rest = behind;
    }
    match text.last_chunk::<16>() {
        Some(last) if !rest.is_empty() => {
            let special = specials(last);
            text.get(text.len() - last.len() + special.trailing_zeros() as usize / 8..).unwrap_or_default()
        }
        _ => rest,
    }
}

/// Does the same as [`skip_plain`] for less than 16 bytes.
fn skip_plain_words(text: &[u8]) -> &[u8] {
    let (Some(first), Some(last)) = (text.first_chunk::<8>(), text.last_chunk::<8>()) else {
        let plain = text.iter().take_while(|byte| !is_special(**byte)).count();
        return text.get(plain..).unwrap_or_default();
    };
    match plain_in_word(*first) {
        8 => text.get(text.len() - last.len() + plain_in_word(*last)..).unwrap_or_default(),
        plain => text.get(plain..).unwrap_or_default(),
    }
}

/// Does the same as [`skip_plain`] for a text that probably begins with less than eight plain bytes.
#[inline]
pub(super) fn skip_name(text: &[u8]) -> &[u8] {
    match text.first_chunk::<8>() {
        Some(word) if specials_in_word(*word) != 0 => text.get(plain_in_word(*word)..).unwrap_or_default(),
        _ => skip_plain(text),
    }
}

/// Returns the number of bytes in front of the first special one.
#[inline]
pub(super) fn plain_in_word(word: [u8; 8]) -> usize {
    specials_in_word(word).trailing_zeros() as usize / 8
}

/// Returns the bytes after a string, given the bytes after its opening quote.
pub(super) fn behind_string(mut rest: &[u8]) -> &[u8] {
    loop {
        rest = match skip_plain(rest) {
            [b'\\', _, behind @ ..] => behind,
            [b'"', behind @ ..] => return behind,
            _ => return &[],
        };
    }
}

/// Returns the characters of the string that a scanned text begins with, if it begins with one, which has no escapes.
pub(super) fn plain_string(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('"')?;
    // A scanned string has no control characters.
    let end = match inner.len() < LONG {
        true => inner.len() - skip_plain(inner.as_bytes()).len(),
        false => memchr::memchr2(b'"', b'\\', inner.as_bytes())?,
    };
    let (string, behind) = inner.split_at_checked(end)?;
    behind.starts_with('"').then_some(string)
}

/// Splits a text behind the string that it begins with.
pub(super) fn skip_string(text: &str) -> (&str, &str) {
    let behind = behind_string(text.as_bytes().get(1..).unwrap_or_default());
    text.split_at_checked(text.len() - behind.len()).unwrap_or((text, ""))
}

fn is_special(byte: u8) -> bool {
    byte == b'"' || byte == b'\\' || byte < 0x20
}

/// Skips long blocks without a special byte.
#[inline]
fn skip_long_blocks(mut rest: &[u8]) -> &[u8] {
    while let Some((block, behind)) = rest.split_first_chunk::<256>()
        && block.iter().fold(u8::MAX, |least, byte| least.min(mark(*byte))) != 0
    {
        rest = behind;
    }
    rest
}

#[inline(always)]
fn is_plain_block(block: &[u8; 32]) -> bool {
    match (block.first_chunk(), block.last_chunk()) {
        (Some(first), Some(last)) => specials(first) | specials(last) == 0,
        _ => false,
    }
}

/// Returns a number of which the bytes in the places of special bytes are set, the first in the lowest place.
#[inline(always)]
fn specials(block: &[u8; 16]) -> u128 {
    // `map` would not become vector instructions.
    let mut found = [0; 16];
    for (found, byte) in found.iter_mut().zip(block) {
        *found = if mark(*byte) == 0 { 0xff } else { 0 };
    }
    u128::from_le_bytes(found)
}

/// Returns 0 for a special byte. The exclusive or with 2 moves the quote to 0x20, behind the control characters, which it
/// permutes.
#[inline(always)]
fn mark(byte: u8) -> u8 {
    (byte ^ 2).saturating_sub(0x20).min(byte ^ b'\\')
}

/// Returns a number in which the high bit of the first special byte is set, and perhaps those of bytes behind it.
#[inline]
fn specials_in_word(word: [u8; 8]) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    let word = u64::from_le_bytes(word);
    // A subtraction borrows from a byte only if the byte below it is special, so the lowest one is exact.
    let zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let quote = zero(word ^ (ONES * b'"' as u64));
    let backslash = zero(word ^ (ONES * b'\\' as u64));
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (quote | backslash | control) & HIGH
}
