//! Response heads (RFC 9112, section 4).

use alloc::vec::Vec;
use core::fmt;

use super::{InvalidHeader, is_token, is_value};

/// The interim response to `Expect: 100-continue`, complete.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A status code with its reason phrase. Displays as `400 Bad Request`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Status(u16);

macro_rules! statuses {
    ($($name:ident $code:literal $reason:literal)*) => {
        impl Status {
            $(
                #[doc = concat!("`", $code, " ", $reason, "`")]
                pub const $name: Status = Status($code);
            )*

            /// Returns the reason phrase; empty for a code without a constant.
            pub const fn reason(self) -> &'static str {
                match self.0 {
                    $($code => $reason,)*
                    _ => "",
                }
            }
        }
    };
}

statuses! {
    SWITCHING_PROTOCOLS 101 "Switching Protocols"
    OK 200 "OK"
    NO_CONTENT 204 "No Content"
    NOT_MODIFIED 304 "Not Modified"
    BAD_REQUEST 400 "Bad Request"
    FORBIDDEN 403 "Forbidden"
    NOT_FOUND 404 "Not Found"
    METHOD_NOT_ALLOWED 405 "Method Not Allowed"
    REQUEST_TIMEOUT 408 "Request Timeout"
    CONTENT_TOO_LARGE 413 "Content Too Large"
    EXPECTATION_FAILED 417 "Expectation Failed"
    UPGRADE_REQUIRED 426 "Upgrade Required"
    HEADER_FIELDS_TOO_LARGE 431 "Request Header Fields Too Large"
    INTERNAL_SERVER_ERROR 500 "Internal Server Error"
    NOT_IMPLEMENTED 501 "Not Implemented"
    SERVICE_UNAVAILABLE 503 "Service Unavailable"
    HTTP_VERSION_NOT_SUPPORTED 505 "HTTP Version Not Supported"
}

impl Status {
    /// Returns the status with this code; `None` if the code is not between 100 and 599 (RFC 9110,
    /// section 15).
    pub const fn new(code: u16) -> Option<Self> {
        match code {
            100..=599 => Some(Status(code)),
            _ => None,
        }
    }

    /// Returns the code, which is between 100 and 599.
    pub const fn code(self) -> u16 {
        self.0
    }

    /// Returns whether the response ends with its head, regardless of its headers (RFC 9112, section 6.3).
    const fn is_bodyless(self) -> bool {
        matches!(self.0, 100..=199 | 204 | 304)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0, self.reason())
    }
}

/// The length in bytes for which a head reserves memory: most are shorter.
const HEAD: usize = 192;

/// Appends a response's head to `out`.
///
/// `content_length` is the length of the body in bytes. Without it, a response that can have a body
/// ends with the connection, so `keep_alive` is then taken as false. A 1xx response has neither
/// `Content-Length` nor `Connection: close`; pass the `Connection: Upgrade` of a 101 in `headers`.
/// There is no `Date`, because there is no clock here (RFC 9110, section 6.6.1).
///
/// # Errors
///
/// [`InvalidHeader`] if a name is not a token, a value contains a control character (a CR or LF
/// would let the value's author write the rest of the response), or a header is `Content-Length` or
/// `Transfer-Encoding`, which could contradict the ones written here. `out` is then unchanged.
pub fn write_head<'n, 'v>(
    out: &mut Vec<u8>,
    status: Status,
    headers: impl IntoIterator<Item = (&'n str, &'v str)>,
    content_length: Option<usize>,
    keep_alive: bool,
) -> Result<(), InvalidHeader> {
    let start = out.len();
    // Otherwise, a new buffer would grow to this in four steps.
    out.reserve(HEAD);
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(itoa::Buffer::new().format(status.code()).as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.reason().as_bytes());
    out.extend_from_slice(b"\r\n");
    for (name, value) in headers {
        if !is_header(name, value) {
            out.truncate(start);
            return Err(InvalidHeader);
        }
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    if status.code() >= 200 {
        if let Some(length) = content_length {
            out.extend_from_slice(b"Content-Length: ");
            out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        if !keep_alive || (content_length.is_none() && !status.is_bodyless()) {
            out.extend_from_slice(b"Connection: close\r\n");
        }
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

fn is_header(name: &str, value: &str) -> bool {
    is_token(name.as_bytes())
        && is_value(value.as_bytes())
        && !name.eq_ignore_ascii_case("content-length")
        && !name.eq_ignore_ascii_case("transfer-encoding")
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::{String, ToString};

    fn head(
        status: Status,
        headers: &[(&str, &str)],
        content_length: Option<usize>,
        keep_alive: bool,
    ) -> String {
        let mut out = Vec::new();
        let headers = headers.iter().copied();
        write_head(&mut out, status, headers, content_length, keep_alive).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_head_has_status_headers_and_length() {
        assert_eq!(
            head(Status::OK, &[("Content-Type", "text/html")], Some(2), true),
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\n"
        );
    }

    #[test]
    fn a_connection_that_ends_says_so() {
        assert_eq!(
            head(Status::BAD_REQUEST, &[], Some(0), false),
            "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }

    #[test]
    fn switching_protocols_has_neither_length_nor_close() {
        let headers = [("Connection", "Upgrade"), ("Upgrade", "websocket")];
        let expected = "HTTP/1.1 101 Switching Protocols\r\n\
                        Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        assert_eq!(head(Status::SWITCHING_PROTOCOLS, &headers, None, true), expected);
        assert_eq!(head(Status::SWITCHING_PROTOCOLS, &headers, Some(0), false), expected);
    }

    #[test]
    fn a_body_without_length_ends_with_the_connection() {
        assert!(head(Status::OK, &[], None, true).contains("Connection: close"));
        assert!(!head(Status::NO_CONTENT, &[], None, true).contains("Connection"));
    }

    #[test]
    fn a_preflight_answer_has_length_zero() {
        assert_eq!(
            head(Status::NO_CONTENT, &[], Some(0), true),
            "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"
        );
    }

    #[test]
    fn an_unknown_code_has_an_empty_reason() {
        let teapot = Status::new(418).unwrap();
        assert!(head(teapot, &[], Some(0), true).starts_with("HTTP/1.1 418 \r\n"));
        assert_eq!(Status::BAD_REQUEST.to_string(), "400 Bad Request");
        assert_eq!(Status::new(99), None);
        assert_eq!(Status::new(600), None);
    }

    #[test]
    fn a_header_that_would_split_the_response_is_refused() {
        for (name, value) in [
            ("X", "a\r\nSet-Cookie: b"),
            ("X", "a\rb"),
            ("X", "a\nb"),
            ("X", "a\0b"),
            ("X", "a\x7fb"),
            ("X\r\nY", "a"),
            ("X: Y", "a"),
            ("X Y", "a"),
            ("", "a"),
            ("content-LENGTH", "5"),
            ("Transfer-Encoding", "chunked"),
        ] {
            let mut out = b"before".to_vec();
            let headers = [("Vary", "Origin"), (name, value)];
            assert_eq!(
                write_head(&mut out, Status::OK, headers, Some(0), true),
                Err(InvalidHeader),
                "{name:?}: {value:?}"
            );
            assert_eq!(out, b"before");
        }
    }

    #[test]
    fn text_beyond_ascii_may_stand_in_a_value() {
        assert!(head(Status::OK, &[("X", "\tä é")], Some(0), true).contains("X: \tä é\r\n"));
    }
}
