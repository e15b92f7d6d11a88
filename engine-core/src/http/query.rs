//! The query of a request.

use alloc::borrow::Cow;
use alloc::string::String;

use super::Error;

/// A query that can be decoded: its escapes are hexadecimal, their bytes are UTF-8, and none of them
/// is NUL.
///
/// All of that is checked once, without allocating, so that reading cannot fail later. A query is
/// refused even if the malformed parameter is one that is never read. Fields are separated by `&`, and `+` is a space, as in
/// `application/x-www-form-urlencoded` (WHATWG URL, section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query<'a> {
    raw: &'a str,
    /// There is nothing to decode, as in most queries.
    is_plain: bool,
}

impl<'a> Query<'a> {
    /// Checks a raw query, which begins after the `?` ([`super::Request::query`]).
    ///
    /// # Errors
    ///
    /// [`Error::Query`] if it cannot be decoded.
    pub fn parse(raw: &'a str) -> Result<Self, Error> {
        // One search for all three, because most queries have none of them.
        let is_plain = memchr::memchr3(0, b'%', b'+', raw.as_bytes()).is_none();
        if is_plain {
            return Ok(Query { raw, is_plain });
        }
        if memchr::memchr(0, raw.as_bytes()).is_some() {
            return Err(Error::Query);
        }
        // An escape cannot extend across a `&` or `=`, so the query need not be split into fields.
        let mut rest = raw;
        while let Some((_, escape)) = rest.split_once('%') {
            (_, rest) = Escaped::read(escape).ok_or(Error::Query)?;
        }
        Ok(Query { raw, is_plain })
    }

    /// Returns the query as it was sent.
    pub const fn raw(&self) -> &'a str {
        self.raw
    }

    /// Returns keys and values as they were sent, in order; [`decode`] decodes them. A field without
    /// `=` has an empty value, and empty fields are skipped.
    pub fn pairs(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let mut rest = self.raw;
        core::iter::from_fn(move || {
            loop {
                let field;
                (field, rest) = cut_short(rest, b'&');
                if !field.is_empty() {
                    return Some(cut_short(field, b'='));
                }
                if rest.is_empty() {
                    return None;
                }
            }
        })
    }

    /// Returns the decoded value of the first field with this key. It is borrowed if it has no escape.
    pub fn get(&self, key: &str) -> Option<Cow<'a, str>> {
        self.decoded_pairs().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// Returns decoded keys and values, in order. They are borrowed if they have no escape.
    pub fn decoded_pairs(&self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> + use<'a> {
        let is_plain = self.is_plain;
        self.pairs().map(move |(name, value)| match is_plain {
            true => (Cow::Borrowed(name), Cow::Borrowed(value)),
            false => (decode(name).unwrap_or_default(), decode(value).unwrap_or_default()),
        })
    }
}

/// Splits at the first `separator`, which must be ASCII. Without one, the second part is empty.
pub(super) fn cut(text: &str, separator: u8) -> (&str, &str) {
    cut_at(text, memchr::memchr(separator, text.as_bytes()))
}

/// Does the same as [`cut`] if the first part is short, as in a query: to set a search by vectors up would then take longer
/// than the search, see `benches/count polling`.
fn cut_short(text: &str, separator: u8) -> (&str, &str) {
    cut_at(text, text.bytes().position(|byte| byte == separator))
}

#[inline]
fn cut_at(text: &str, at: Option<usize>) -> (&str, &str) {
    at.and_then(|at| Some((text.get(..at)?, text.get(at + 1..)?))).unwrap_or((text, ""))
}

/// Decodes a key or a value. The result is borrowed if there is nothing to decode.
///
/// # Errors
///
/// [`Error::Query`] if an escape is malformed, or if escapes decode to NUL or invalid UTF-8. It does
/// not occur for the keys and values of [`Query::pairs`].
pub fn decode(raw: &str) -> Result<Cow<'_, str>, Error> {
    if memchr::memchr(0, raw.as_bytes()).is_some() {
        return Err(Error::Query);
    }
    if memchr::memchr2(b'%', b'+', raw.as_bytes()).is_none() {
        return Ok(Cow::Borrowed(raw));
    }
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((plain, escape)) = rest.split_once('%') {
        push_plain(&mut out, plain);
        let (escaped, after) = Escaped::read(escape).ok_or(Error::Query)?;
        out.push_str(escaped.as_str().ok_or(Error::Query)?);
        rest = after;
    }
    push_plain(&mut out, rest);
    Ok(Cow::Owned(out))
}

fn push_plain(out: &mut String, plain: &str) {
    out.extend(plain.chars().map(|char| match char {
        '+' => ' ',
        char => char,
    }));
}

/// One character that was sent as escapes. A run of escapes must consist of whole characters, because
/// the text around it does.
struct Escaped {
    bytes: [u8; 4],
    len: usize,
}

impl Escaped {
    /// Reads a character whose first `%` is already cut off.
    fn read(text: &str) -> Option<(Escaped, &str)> {
        let (first, mut rest) = hex(text)?;
        let len = match first {
            0x01..=0x7f => 1,
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => return None,
        };
        let mut bytes = [first, 0, 0, 0];
        for slot in bytes.iter_mut().take(len).skip(1) {
            (*slot, rest) = hex(rest.strip_prefix('%')?)?;
        }
        let escaped = Escaped { bytes, len };
        escaped.as_str()?;
        Some((escaped, rest))
    }

    fn as_str(&self) -> Option<&str> {
        core::str::from_utf8(self.bytes.get(..self.len)?).ok()
    }
}

fn hex(text: &str) -> Option<(u8, &str)> {
    let (digits, rest) = text.split_at_checked(2)?;
    // `from_str_radix` also accepts a sign.
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    Some((u8::from_str_radix(digits, 16).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn get(raw: &str, key: &str) -> Option<String> {
        Query::parse(raw).unwrap().get(key).map(Cow::into_owned)
    }

    #[test]
    fn a_plain_value_is_borrowed() {
        let query = Query::parse("EIO=4&transport=polling&t=abc").unwrap();
        assert!(matches!(query.get("transport"), Some(Cow::Borrowed("polling"))));
        assert_eq!(query.get("sid"), None);
    }

    #[test]
    fn the_first_of_two_wins() {
        assert_eq!(get("sid=a&sid=b", "sid").as_deref(), Some("a"));
        assert_eq!(get("sid=&sid=b", "sid").as_deref(), Some(""));
    }

    #[test]
    fn escapes_and_plus_are_decoded() {
        assert_eq!(get("a=b+c%20d%2Be", "a").as_deref(), Some("b c d+e"));
        assert_eq!(get("a=%E2%82%AC%f0%9f%90%9f", "a").as_deref(), Some("€🐟"));
        assert_eq!(get("a=ü%C3%BCü", "a").as_deref(), Some("üüü"));
        assert_eq!(get("%73id=x", "sid").as_deref(), Some("x"));
    }

    #[test]
    fn malformed_escapes_are_refused() {
        for raw in ["%", "a=%", "a=%4", "a=%zz", "a=%+1", "a=% 1", "a=%é", "a=%4é", "a&b%=c", "a=%%41"] {
            assert_eq!(Query::parse(raw), Err(Error::Query), "{raw}");
            assert_eq!(decode(raw), Err(Error::Query), "{raw}");
        }
    }

    #[test]
    fn escapes_that_are_not_utf8_are_refused() {
        for raw in [
            "a=%ff",
            "a=%80",
            "a=%c0%80",
            "a=%c3",
            "a=%c3x",
            "a=%c3&%bc",
            "a=%c3%28",
            "a=%e2%82",
            "a=%ed%a0%80",
            "a=%f4%90%80%80",
            "a=%f0%9f%90",
        ] {
            assert_eq!(Query::parse(raw), Err(Error::Query), "{raw}");
            assert_eq!(decode(raw), Err(Error::Query), "{raw}");
        }
    }

    #[test]
    fn nul_is_refused() {
        for raw in ["a=%00", "%00=a", "a=b%00c", "a=\0"] {
            assert_eq!(Query::parse(raw), Err(Error::Query), "{raw:?}");
            assert_eq!(decode(raw), Err(Error::Query), "{raw:?}");
        }
    }

    #[test]
    fn junk_in_a_field_that_nobody_reads_is_refused() {
        assert!(Query::parse("EIO=4&transport=polling&x=%zz").is_err());
    }

    #[test]
    fn pairs_come_raw_and_in_order() {
        let query = Query::parse("&a=1&&b&=c&d=e=f&g=%41&").unwrap();
        let pairs: Vec<_> = query.pairs().collect();
        let expected = [("a", "1"), ("b", ""), ("", "c"), ("d", "e=f"), ("g", "%41")];
        assert_eq!(pairs, expected);
        assert_eq!(Query::parse("").unwrap().pairs().count(), 0);
    }

    #[test]
    fn names_of_object_properties_are_only_names() {
        assert_eq!(get("transport=__proto__", "transport").as_deref(), Some("__proto__"));
        assert_eq!(get("EIO=4", "constructor"), None);
    }

    proptest! {
        #[test]
        fn whatever_was_escaped_is_read_back(value in "[^\0]{0,20}") {
            let raw: String = value.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let raw = format!("x=1&v={raw}&y");
            prop_assert_eq!(get(&raw, "v"), Some(value));
        }

        #[test]
        fn what_parses_decodes(raw in "[a%0-9c3e2f&=+ü]{0,24}") {
            let decoded = raw.split(['&', '=']).map(decode).all(|it| it.is_ok());
            prop_assert_eq!(Query::parse(&raw).is_ok(), decoded);
        }
    }
}
