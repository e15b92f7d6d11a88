//! The part of HTTP/1.1 that Engine.IO needs: request heads, chunked bodies, response heads, the
//! query, CORS, the session cookie, compression, and the client behind proxies; for clients also requests, response parsing, a cookie jar,
//! and tunnels through a proxy.
//!
//! Nothing here does I/O or owns a buffer: a request is borrowed from the caller's input, a
//! response is appended to the caller's output. Ambiguous input is refused, because requests can be
//! smuggled if two parsers interpret the same bytes differently (RFC 9112, section 11.2). After any
//! [`Error`] the connection must be closed, because it is unknown where the next request begins.

mod chunked;
mod client;
#[cfg_attr(not(feature = "deflate"), path = "no_compression.rs")]
mod compression;
mod cookie;
mod cors;
mod head;
mod query;
mod request;
mod response;
mod trust_proxy;
mod tunnel;

pub use chunked::{Chunked, Progress};
pub use client::{ResponseBody, ResponseHead, parse_response, write_request};
pub(crate) use compression::coding_of;
pub use compression::{Coding, HttpCompression};
pub use cookie::{Cookie, SameSite};
pub use cors::Cors;
pub use head::{Header, HeaderSlots, MAX_HEAD, MAX_HEADERS, Version, header_slots};
pub use query::{Query, decode};
pub use request::{Body, Head, Request, parse_head};
pub use response::{CONTINUE, Status, write_head};
pub use trust_proxy::{InvalidNetwork, TrustProxy};
pub use tunnel::{Tunnel, TunnelError, basic_authorization};

/// A violation of HTTP or of a limit by the peer. Answer it with [`Error::status`], then close the
/// connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request line or a header line breaks the grammar; also a folded header, a bare CR or a
    /// bare LF (RFC 9112, sections 2.2, 3 and 5.2).
    #[error("malformed head")]
    Syntax,
    /// The client begins with a TLS handshake (RFC 8446, section 5.1), but this is no stream of TLS.
    #[error("a tls handshake instead of http: the client connects by https or wss")]
    Tls,
    /// The target is neither a path, nor an http(s) URL, nor the `*` of OPTIONS (RFC 9112,
    /// section 3.2).
    #[error("request target is neither a path nor an http url")]
    Target,
    /// The version is neither HTTP/1.0 nor HTTP/1.1.
    #[error("http version is neither 1.0 nor 1.1")]
    Version,
    /// The head is longer than the limit in bytes.
    #[error("the head is too large")]
    HeadTooLarge,
    /// The head has more than [`MAX_HEADERS`] headers.
    #[error("too many headers")]
    TooManyHeaders,
    /// `Host` is missing from HTTP/1.1, repeated, or not a host (RFC 9112, section 3.2).
    #[error("host header is missing, repeated or malformed")]
    Host,
    /// `Content-Length` is repeated or not a number (RFC 9112, section 6.3).
    #[error("content-length is repeated or malformed")]
    ContentLength,
    /// `Transfer-Encoding` beside `Content-Length`, or in HTTP/1.0 (RFC 9112, section 6.1).
    #[error("transfer-encoding beside content-length or in http/1.0")]
    Framing,
    /// `Transfer-Encoding` is anything but `chunked` (RFC 9112, section 6.1).
    #[error("transfer coding is not chunked")]
    TransferCoding,
    /// `Expect` is anything but `100-continue` (RFC 9110, section 10.1.1).
    #[error("expectation is not 100-continue")]
    Expectation,
    /// A WebSocket handshake with a body: the body could be read as frames.
    #[error("websocket handshake has a body")]
    UpgradeWithBody,
    /// A chunked body breaks the grammar (RFC 9112, section 7.1).
    #[error("malformed chunked body")]
    Chunk,
    /// Chunk extensions or trailers exceed the decoder's limits.
    #[error("chunk extensions or trailers are too long")]
    ChunkOverhead,
    /// The body is longer than the limit in bytes.
    #[error("the body is too large")]
    BodyTooLarge,
    /// `Content-Encoding` is not one that is read, or the body is not in that coding (RFC 9110, section 8.4).
    #[error("content-encoding is neither gzip nor deflate, or the body is not in that coding")]
    ContentCoding,
    /// The query has a malformed escape, or its escapes decode to NUL or invalid UTF-8.
    #[error("malformed query")]
    Query,
    /// A form has no field for its payload, or that field has a malformed escape.
    #[error("a form without its field, or with a malformed escape")]
    Form,
}

impl Error {
    /// Returns the status of the response.
    pub fn status(self) -> Status {
        match self {
            Error::Version => Status::HTTP_VERSION_NOT_SUPPORTED,
            Error::HeadTooLarge | Error::TooManyHeaders => Status::HEADER_FIELDS_TOO_LARGE,
            Error::TransferCoding => Status::NOT_IMPLEMENTED,
            Error::Expectation => Status::EXPECTATION_FAILED,
            Error::BodyTooLarge => Status::CONTENT_TOO_LARGE,
            Error::Syntax
            | Error::Tls
            | Error::Target
            | Error::Host
            | Error::ContentLength
            | Error::Framing
            | Error::UpgradeWithBody
            | Error::Chunk
            | Error::ChunkOverhead
            | Error::ContentCoding
            | Error::Query
            | Error::Form => Status::BAD_REQUEST,
        }
    }
}

/// A header, target or host that would break the message.
///
/// A header does if its name is not a token, if its value contains CR, LF or another control
/// character, or if [`write_head`] or [`write_request`] writes that header itself; a target or host
/// does if it is empty or contains a space or a control character. Cookies and CORS options with such
/// characters are refused when they are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the header, target or host is not valid in an http message")]
pub struct InvalidHeader;

/// The bytes that may occur in a token (RFC 9110, section 5.6.2), as a table because the names of every response are checked.
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = u8::MAX;
    while byte > 0 {
        table[byte as usize] = byte.is_ascii_alphanumeric()
            || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~');
        byte -= 1;
    }
    table
};

fn is_token_byte(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().fold(true, |right, &byte| right & is_token_byte(byte))
}

/// Returns whether the byte may occur in a header's value: no control character except the tab
/// (RFC 9110, section 5.5).
pub(crate) fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// Returns whether a header may have this value.
pub(crate) fn is_value(mut rest: &[u8]) -> bool {
    const ONES: u64 = u64::MAX / 255;
    // Eight bytes at once, because every response has some headers: `benches/count polling`.
    while let Some((word, behind)) = rest.split_first_chunk::<8>() {
        let bytes = u64::from_le_bytes(*word);
        let deleted = bytes ^ (ONES * 0x7f);
        // The high bit is set for each byte that is a control character, and perhaps for bytes above one.
        let controls = (bytes.wrapping_sub(ONES * 0x20) & !bytes) | (deleted.wrapping_sub(ONES) & !deleted);
        if controls & (ONES << 7) != 0 && !word.iter().all(|&byte| is_value_byte(byte)) {
            return false;
        }
        rest = behind;
    }
    rest.iter().all(|&byte| is_value_byte(byte))
}

/// Returns the elements of a comma-separated list (RFC 9110, section 5.6.1).
pub(crate) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_value_has_no_control_character_except_the_tab() {
        for byte in 0..=u8::MAX {
            for at in 0..17 {
                let mut value = *b"text \t \x80\xff\x20~ plain";
                value[at] = byte;
                assert_eq!(
                    is_value(&value),
                    byte == b'\t' || (byte >= 0x20 && byte != 0x7f),
                    "{byte} at {at}"
                );
            }
        }
        assert!(is_value(b""));
    }

    #[test]
    fn every_error_has_its_status() {
        let all = [
            (Error::Syntax, 400),
            (Error::Tls, 400),
            (Error::Target, 400),
            (Error::Version, 505),
            (Error::HeadTooLarge, 431),
            (Error::TooManyHeaders, 431),
            (Error::Host, 400),
            (Error::ContentLength, 400),
            (Error::Framing, 400),
            (Error::TransferCoding, 501),
            (Error::Expectation, 417),
            (Error::UpgradeWithBody, 400),
            (Error::Chunk, 400),
            (Error::ChunkOverhead, 400),
            (Error::BodyTooLarge, 413),
            (Error::Query, 400),
            (Error::Form, 400),
        ];
        for (error, code) in all {
            assert_eq!(error.status().code(), code, "{error}");
            let message = error.to_string();
            assert_eq!(message, message.to_lowercase());
        }
    }

    #[test]
    fn an_error_stays_one_byte() {
        assert_eq!(size_of::<Error>(), 1);
    }
}
