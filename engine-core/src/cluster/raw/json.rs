//! JSON that was checked, read without building values.

use crate::socketio::text::{skip_plain, unescape};
use alloc::borrow::Cow;

/// An iterator over the keys and values of a JSON object. It is empty if the text is not an object.
#[derive(Debug, Clone)]
pub(in crate::cluster) struct Members<'a> {
    rest: &'a str,
}

impl<'a> Members<'a> {
    pub(super) fn new(text: &'a str) -> Members<'a> {
        Members { rest: text.strip_prefix('{').unwrap_or_default() }
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (Cow<'a, str>, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let (key, behind) = split_value(trim_start(self.rest))?;
        let behind = trim_start(behind).strip_prefix(':')?;
        let (value, behind) = split_value(trim_start(behind))?;
        self.rest = trim_start(behind).strip_prefix(',').unwrap_or_default();
        Some((string(key)?, value))
    }
}

fn trim_start(text: &str) -> &str {
    match text.as_bytes().first() {
        Some(b' ' | b'\t' | b'\n' | b'\r') => text.trim_ascii_start(),
        _ => text,
    }
}

/// Returns the content of a JSON string, or `None` if the value is none.
pub(super) fn string(value: &str) -> Option<Cow<'_, str>> {
    value.strip_prefix('"')?.strip_suffix('"').map(unescape)
}

/// Splits the value that begins a text from what follows it.
pub(in crate::cluster) fn split_value(text: &str) -> Option<(&str, &str)> {
    let mut depth = 0_usize;
    let mut rest = text.as_bytes();
    loop {
        let (&byte, behind) = rest.split_first()?;
        rest = behind;
        match byte {
            b'"' => rest = behind_string(behind)?,
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
fn behind_string(mut bytes: &[u8]) -> Option<&[u8]> {
    loop {
        bytes = match skip_plain(bytes) {
            [b'"', behind @ ..] => return Some(behind),
            [_, _, behind @ ..] => behind,
            _ => return None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn an_object_is_split_into_its_members() {
        let text = "{ \"a\" : [1, {\"}\": \"]\\\"\"}] ,\n\"\\u0062\":-1.5e3,\"c\":{} ,\"d\":\"\",\"e\":null}";
        let members: Vec<_> = Members::new(text).collect();
        let expected =
            [("a", "[1, {\"}\": \"]\\\"\"}]"), ("b", "-1.5e3"), ("c", "{}"), ("d", "\"\""), ("e", "null")];
        assert!(members.iter().map(|(key, value)| (&**key, *value)).eq(expected), "{members:?}");
        for none in ["", "{}", "[]", "1", "{ }"] {
            assert_eq!(Members::new(none).next(), None);
        }
    }
}
