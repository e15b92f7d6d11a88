//! The body of a close frame.

use super::Error;
use crate::utf8::from_utf8;

/// The contents of a close frame (RFC 6455, 5.5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseFrame<'a> {
    /// The reason as a code that satisfies [`is_valid_close_code`].
    pub code: u16,
    /// The reason in words for a log. Often empty, and not meant for programs.
    pub reason: &'a str,
}

impl<'a> CloseFrame<'a> {
    /// Parses an unmasked body, which is empty or consists of a code of two bytes and a reason in UTF-8.
    pub(super) fn parse(body: &'a [u8]) -> Result<Option<Self>, Error> {
        let Some((code, reason)) = body.split_first_chunk() else {
            return if body.is_empty() { Ok(None) } else { Err(Error::TruncatedCloseCode) };
        };
        let code = u16::from_be_bytes(*code);
        if !is_valid_close_code(code) {
            return Err(Error::InvalidCloseCode(code));
        }
        let reason = from_utf8(reason).ok_or(Error::InvalidUtf8)?;
        Ok(Some(Self { code, reason }))
    }
}

/// Returns whether a close frame may carry this code: those defined in RFC 6455, 7.4.1 and since
/// then in IANA's registry, and the ranges for libraries and applications (3000 to 4999). The codes
/// 1005, 1006 and 1015 are not valid, because they stand for a close frame that was not sent.
pub const fn is_valid_close_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}
