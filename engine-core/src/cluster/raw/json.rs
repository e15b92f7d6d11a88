//! JSON that was checked, read without building values.

use crate::socketio::text::unescape;
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
        let is_between = |it: char| it == ',' || it.is_ascii_whitespace();
        let (key, behind) = split_value(self.rest.trim_start_matches(is_between))?;
        let behind = behind.trim_ascii_start().strip_prefix(':')?;
        let (value, behind) = split_value(behind.trim_ascii_start())?;
        self.rest = behind;
        Some((string(key)?, value))
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
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.checked_sub(1)?,
            b'"' => rest = behind_string(behind)?,
            b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' => {}
            _ => {
                let ends = |byte: &u8| b",:]} \t\n\r".contains(byte);
                rest = behind.get(behind.iter().position(ends).unwrap_or(behind.len())..)?;
            }
        }
        if depth == 0 {
            return text.split_at_checked(text.len() - rest.len());
        }
    }
}

/// Returns what follows a string, whose opening quote is in front of `bytes`.
fn behind_string(mut bytes: &[u8]) -> Option<&[u8]> {
    loop {
        let at = memchr::memchr2(b'"', b'\\', bytes)?;
        let (found, behind) = bytes.get(at..)?.split_first()?;
        if *found == b'"' {
            return Some(behind);
        }
        bytes = behind.get(1..)?;
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
