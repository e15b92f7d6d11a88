//! Parsing that is common to the heads of requests and of responses (RFC 9112, sections 2 and 5).

use super::{Error, list};
use core::mem::MaybeUninit;

pub use httparse::Header;

/// The maximum number of headers in a head.
pub const MAX_HEADERS: usize = 64;

/// The usual maximum size of a head, in bytes.
pub const MAX_HEAD: usize = 16 * 1024;

/// Memory for the headers of one head, on the caller's stack. It is not initialised, so that
/// creating it costs nothing.
pub type HeaderSlots<'b> = [MaybeUninit<Header<'b>>; MAX_HEADERS];

/// Creates empty [`HeaderSlots`]: `let mut slots = header_slots();`.
#[inline]
pub const fn header_slots<'b>() -> HeaderSlots<'b> {
    [const { MaybeUninit::uninit() }; MAX_HEADERS]
}

/// The version of a request or a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0. If such a connection is kept open, the response must contain
    /// `Connection: keep-alive` (RFC 9112, appendix C.2.2).
    Http10,
    /// HTTP/1.1.
    Http11,
}

impl Version {
    /// Converts the minor version from httparse, which accepts only 1.0 and 1.1.
    pub(super) fn of(minor: Option<u8>) -> Version {
        match minor {
            Some(0) => Version::Http10,
            _ => Version::Http11,
        }
    }
}

/// Returns the part of `input` in which a head of at most `max_head` bytes must end, and whether an incomplete head is
/// then too large.
pub(super) fn window(input: &[u8], max_head: usize) -> (&[u8], bool) {
    (input.get(..max_head).unwrap_or(input), input.len() >= max_head)
}

/// Returns the length of the head at the front of `head`, given httparse's `outcome`; `None` if more bytes are needed.
/// `is_full` says that no more fit. `version_at` is the index of the version among the words of the first line.
pub(super) fn length(
    outcome: httparse::Result<usize>,
    head: &[u8],
    is_full: bool,
    version_at: usize,
) -> Result<Option<usize>, Error> {
    match outcome {
        Ok(httparse::Status::Complete(len)) if has_bare_lf(head.get(..len).unwrap_or(head)) => {
            Err(Error::Syntax)
        }
        Ok(httparse::Status::Complete(len)) => Ok(Some(len)),
        Ok(httparse::Status::Partial) if has_bare_lf(head) => Err(Error::Syntax),
        Ok(httparse::Status::Partial) if is_full => Err(Error::HeadTooLarge),
        Ok(httparse::Status::Partial) => Ok(None),
        Err(error) => Err(syntax_error(error, head, version_at)),
    }
}

/// Returns the value of the first header with this name, ignoring case.
pub(super) fn header<'a>(headers: &[Header<'a>], name: &str) -> Option<&'a [u8]> {
    headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
}

/// Returns whether `token` is an element of the comma-separated list in the headers `name`, ignoring case.
pub(super) fn has_token(headers: &[Header<'_>], name: &str, token: &str) -> bool {
    headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case(name))
        .any(|header| list(header.value).any(|it| it.eq_ignore_ascii_case(token.as_bytes())))
}

/// Parses `1*DIGIT`, without sign, space or list. Returns `None` on overflow.
pub(super) fn number(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0u64, |number, &byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// Returns whether an LF has no CR before it, because httparse accepts such lines. There is no early
/// exit, so that the compiler can vectorize the loop.
fn has_bare_lf(head: &[u8]) -> bool {
    let Some((&first, rest)) = head.split_first() else {
        return false;
    };
    let bare = head
        .iter()
        .zip(rest)
        .fold(0u8, |bare, (&before, &byte)| bare | u8::from((byte == b'\n') & (before != b'\r')));
    first == b'\n' || bare != 0
}

#[cold]
fn syntax_error(error: httparse::Error, head: &[u8], version_at: usize) -> Error {
    match error {
        // A bare LF in the lines that httparse has read precedes the first header that is too many.
        httparse::Error::TooManyHeaders => {
            let mut lines = head.split_inclusive(|&byte| byte == b'\n');
            let bare = lines
                .by_ref()
                .take(MAX_HEADERS + 2)
                .any(|line| line.ends_with(b"\n") && !line.ends_with(b"\r\n"));
            if bare { Error::Syntax } else { Error::TooManyHeaders }
        }
        // Arbitrary text with two spaces is a syntax error; a wrong version begins with `HTTP/`.
        httparse::Error::Version => {
            let version = head.split(|&byte| byte == b' ').nth(version_at);
            match version.is_some_and(|version| version.starts_with(b"HTTP/")) {
                true => Error::Version,
                false => Error::Syntax,
            }
        }
        _ => Error::Syntax,
    }
}
