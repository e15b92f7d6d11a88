//! JSON that was checked, read without building values.

use crate::socketio::text::{split_value, unescape};
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
