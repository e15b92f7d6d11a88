//! The client's side: heads of requests as they leave, heads of responses as they arrive (RFC 9112, sections 3 and 4).

use super::head::{self, Header, HeaderSlots, Version};
use super::{Error, InvalidHeader, is_token, is_value};
use alloc::vec::Vec;

/// Appends a request's head to `out`. `target` is a path with or without a query; for `CONNECT`, a host and port.
///
/// `content_length` is the length of the body in bytes; `None` if there is no body.
///
/// # Errors
/// [`InvalidHeader`] if the target, the host or a header would break the request, or if a header is one that this
/// function writes itself. `out` is then unchanged.
pub fn write_request<'n, 'v>(
    out: &mut Vec<u8>,
    method: &str,
    target: &str,
    host: &str,
    headers: impl IntoIterator<Item = (&'n str, &'v str)>,
    content_length: Option<usize>,
) -> Result<(), InvalidHeader> {
    let start = out.len();
    let is_target = |it: &str| !it.is_empty() && it.bytes().all(|byte| byte > b' ' && byte != 0x7f);
    if !is_token(method.as_bytes()) || !is_target(target) || !is_target(host) {
        return Err(InvalidHeader);
    }
    for piece in [method, " ", target, " HTTP/1.1\r\nHost: ", host, "\r\n"] {
        out.extend_from_slice(piece.as_bytes());
    }
    for (name, value) in headers {
        if !may_set(name) || !is_value(value.as_bytes()) {
            out.truncate(start);
            return Err(InvalidHeader);
        }
        for piece in [name, ": ", value, "\r\n"] {
            out.extend_from_slice(piece.as_bytes());
        }
    }
    if let Some(length) = content_length {
        out.extend_from_slice(b"Content-Length: ");
        out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

fn may_set(name: &str) -> bool {
    let own = ["host", "content-length", "transfer-encoding"];
    is_token(name.as_bytes()) && !own.iter().any(|own| name.eq_ignore_ascii_case(own))
}

/// A response's head, and the meaning of the bytes after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseHead<'a> {
    /// The status code, 100 to 599.
    pub status: u16,
    /// The headers in the order in which they were sent.
    pub headers: &'a [Header<'a>],
    /// The length of the head in bytes. The body begins after it.
    pub len: usize,
    /// True if another request may be sent on this connection.
    pub keep_alive: bool,
    /// The length of the body.
    pub body: ResponseBody,
}

/// The length of a response's body (RFC 9112, section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseBody {
    /// A number of bytes.
    Length(u64),
    /// Chunks, for [`super::Chunked`] to decode.
    Chunked,
    /// All bytes until the connection ends.
    UntilEnd,
}

impl<'a> ResponseHead<'a> {
    /// Returns the value of the first header with this name, ignoring case.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        head::header(self.headers, name)
    }

    /// Returns whether `token` is an element of the comma-separated list in the headers `name`, ignoring case.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        head::has_token(self.headers, name, token)
    }
}

/// Parses the head of a response at the front of `input`. `Ok(None)` means that more bytes are needed.
///
/// # Errors
/// If it is malformed, or longer than `max_head` bytes. The connection must then be closed.
pub fn parse_response<'h, 'b: 'h>(
    input: &'b [u8],
    slots: &'h mut HeaderSlots<'b>,
    max_head: usize,
) -> Result<Option<ResponseHead<'h>>, Error> {
    let Some((mut head, version)) = parse_head(input, slots, max_head)? else { return Ok(None) };
    head.body = body_of(&head)?;
    head.keep_alive = version == Version::Http11
        && head.body != ResponseBody::UntilEnd
        && !head.has_token("connection", "close");
    Ok(Some(head))
}

/// Does the same, but ignores what the head says about a body, which has no meaning in the response to `CONNECT`.
pub(super) fn parse_head<'h, 'b: 'h>(
    input: &'b [u8],
    slots: &'h mut HeaderSlots<'b>,
    max_head: usize,
) -> Result<Option<(ResponseHead<'h>, Version)>, Error> {
    let (window, is_full) = head::window(input, max_head);
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let outcome = config.parse_response_with_uninit_headers(&mut parsed, window, slots);
    // The version is the first word.
    let Some(len) = head::length(outcome, window, is_full, 0)? else { return Ok(None) };
    let status = parsed.code.filter(|code| (100..600).contains(code)).ok_or(Error::Syntax)?;
    let version = Version::of(parsed.version);
    let (body, keep_alive) = (ResponseBody::UntilEnd, false);
    Ok(Some((ResponseHead { status, headers: parsed.headers, len, keep_alive, body }, version)))
}

fn body_of(response: &ResponseHead<'_>) -> Result<ResponseBody, Error> {
    if matches!(response.status, 100..=199 | 204 | 304) {
        return Ok(ResponseBody::Length(0));
    }
    let mut length = None;
    for header in response.headers.iter().filter(|it| it.name.eq_ignore_ascii_case("content-length")) {
        if length.is_some() {
            return Err(Error::ContentLength);
        }
        length = Some(head::number(header.value).ok_or(Error::ContentLength)?);
    }
    match (response.header("transfer-encoding"), length) {
        (Some(_), Some(_)) => Err(Error::Framing),
        (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => Ok(ResponseBody::Chunked),
        (Some(_), None) => Err(Error::TransferCoding),
        (None, Some(length)) => Ok(ResponseBody::Length(length)),
        (None, None) => Ok(ResponseBody::UntilEnd),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{MAX_HEAD, header_slots};
    use super::*;
    use alloc::string::String;

    fn request(target: &str, host: &str, headers: &[(&str, &str)]) -> Option<String> {
        let mut out = Vec::new();
        write_request(&mut out, "GET", target, host, headers.iter().copied(), None).ok()?;
        String::from_utf8(out).ok()
    }

    #[test]
    fn a_request_has_target_host_and_headers() {
        let text = request("/socket.io/?EIO=4", "localhost:3000", &[("X", "y")]);
        assert_eq!(
            text.as_deref(),
            Some("GET /socket.io/?EIO=4 HTTP/1.1\r\nHost: localhost:3000\r\nX: y\r\n\r\n")
        );
    }

    #[test]
    fn what_would_split_a_request_is_refused() {
        assert_eq!(request("/a b", "h", &[]), None);
        assert_eq!(request("/a\r\nX: y", "h", &[]), None);
        assert_eq!(request("/", "h\r\n", &[]), None);
        assert_eq!(request("/", "h", &[("X", "a\r\nY: b")]), None);
        assert_eq!(request("/", "h", &[("Content-Length", "5")]), None);
    }

    fn parse(text: &str) -> Result<Option<(u16, ResponseBody, bool)>, Error> {
        let mut slots = header_slots();
        let head = parse_response(text.as_bytes(), &mut slots, MAX_HEAD)?;
        Ok(head.map(|head| (head.status, head.body, head.keep_alive)))
    }

    #[test]
    fn the_length_of_a_body_is_found() {
        let ok = |rest: &str| parse(&alloc::format!("HTTP/1.1 200 OK\r\n{rest}\r\n"));
        assert_eq!(ok("Content-Length: 5\r\n"), Ok(Some((200, ResponseBody::Length(5), true))));
        assert_eq!(ok("Transfer-Encoding: chunked\r\n"), Ok(Some((200, ResponseBody::Chunked, true))));
        assert_eq!(ok(""), Ok(Some((200, ResponseBody::UntilEnd, false))));
        assert_eq!(
            ok("Content-Length: 5\r\nConnection: close\r\n"),
            Ok(Some((200, ResponseBody::Length(5), false)))
        );
        assert_eq!(ok("Content-Length: 5\r\nContent-Length: 6\r\n"), Err(Error::ContentLength));
        assert_eq!(ok("Content-Length: +5\r\n"), Err(Error::ContentLength));
        assert_eq!(ok("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), Err(Error::Framing));
        assert_eq!(ok("Transfer-Encoding: gzip\r\n"), Err(Error::TransferCoding));
        assert_eq!(parse("HTTP/1.1 204 No Content\r\n\r\n"), Ok(Some((204, ResponseBody::Length(0), true))));
    }

    #[test]
    fn bare_line_feeds_are_refused_whole_and_in_parts() {
        for text in ["\nHTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\n\r\n", "HTTP/1.1 200 OK\r\nA: b\n\r\n"] {
            assert_eq!(parse(text), Err(Error::Syntax), "{text:?}");
            let seen = (0..text.len()).map(|end| parse(text.get(..end).unwrap()));
            assert!(seen.into_iter().any(|it| it == Err(Error::Syntax)), "{text:?}");
        }
        assert_eq!(
            parse("HTTP/1.1 204 No Content\r\n\r\n\n"),
            Ok(Some((204, ResponseBody::Length(0), true)))
        );
    }

    #[test]
    fn a_head_in_parts_waits_and_an_endless_one_does_not() {
        assert_eq!(parse("HTTP/1.1 200 OK\r\nContent-"), Ok(None));
        assert_eq!(
            parse(&alloc::format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(MAX_HEAD))),
            Err(Error::HeadTooLarge)
        );
        assert_eq!(parse("SSH-2.0-OpenSSH\r\n"), Err(Error::Syntax));
    }
}
