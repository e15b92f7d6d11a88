//! JSON that was checked, split into its values.

use super::string::skip_plain;

/// Splits the value that begins a text from what follows it.
pub(crate) fn split_value(text: &str) -> Option<(&str, &str)> {
    let mut depth = 0_usize;
    let mut rest = text.as_bytes();
    loop {
        let (&byte, behind) = rest.split_first()?;
        rest = behind;
        match byte {
            b'"' => rest = behind_closed_string(behind)?,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.checked_sub(1)?,
            // Only the end of the outermost array or object matters.
            _ if depth > 0 => continue,
            _ => rest = behind_scalar(behind),
        }
        if depth == 0 {
            return text.split_at_checked(text.len() - rest.len());
        }
    }
}

/// Returns what follows a number or a word, whose first byte is in front of `bytes`.
fn behind_scalar(mut bytes: &[u8]) -> &[u8] {
    while let Some((b'a'..=b'z' | b'0'..=b'9' | b'.' | b'+' | b'-' | b'E', behind)) = bytes.split_first() {
        bytes = behind;
    }
    bytes
}

/// Returns what follows a string, whose opening quote is in front of `bytes`.
fn behind_closed_string(mut bytes: &[u8]) -> Option<&[u8]> {
    loop {
        bytes = match skip_plain(bytes) {
            [b'"', behind @ ..] => return Some(behind),
            [_, _, behind @ ..] => behind,
            _ => return None,
        };
    }
}
