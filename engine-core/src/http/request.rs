//! Request heads (RFC 9112, sections 2, 3, 5 and 6).

use super::head::{self, Header, HeaderSlots, Version};
use super::query::cut;
use super::{Error, list};

/// A borrowed request without its body.
///
/// [`parse_head`] creates one from bytes; [`Request::new`] creates one from parts, so that a request
/// that another HTTP server has parsed can be handled like our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    method: &'a str,
    target: &'a str,
    headers: &'a [Header<'a>],
}

impl<'a> Request<'a> {
    /// Creates a request from parts. `target` is a path with or without a query, or `*`. The parts
    /// are not checked, because the parser of the request has done that.
    pub const fn new(method: &'a str, target: &'a str, headers: &'a [Header<'a>]) -> Self {
        Request { method, target, headers }
    }

    /// Returns the method as it was sent. Methods are case-sensitive.
    pub const fn method(&self) -> &'a str {
        self.method
    }

    /// Returns the path and query, or `*`. If the target was a URL (absolute-form), the rest of it is
    /// dropped.
    pub const fn target(&self) -> &'a str {
        self.target
    }

    /// Returns the path as it was sent, escapes included.
    pub fn path(&self) -> &'a str {
        self.path_and_query().0
    }

    /// Returns the raw query after the first `?`, empty if there is none. [`super::Query`] parses it.
    pub fn query(&self) -> &'a str {
        self.path_and_query().1
    }

    pub(crate) fn path_and_query(&self) -> (&'a str, &'a str) {
        cut(self.target, b'?')
    }

    /// Returns the headers in the order in which they were sent.
    pub const fn headers(&self) -> &'a [Header<'a>] {
        self.headers
    }

    /// Returns the value of the first header with this name, ignoring case. The value has no
    /// surrounding whitespace.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        head::header(self.headers, name)
    }

    /// Returns the same as [`header`](Request::header) as text; `None` also if it is not UTF-8.
    pub fn header_str(&self, name: &str) -> Option<&'a str> {
        core::str::from_utf8(self.header(name)?).ok()
    }

    /// Returns whether `token` is an element of the comma-separated list `name`, such as `upgrade` in
    /// `Connection`. All headers with that name count, and case is ignored (RFC 9110, section 5.6.1).
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        head::has_token(self.headers, name, token)
    }
}

/// A request's head, and how to treat the bytes after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head<'a> {
    /// Method, target and headers.
    pub request: Request<'a>,
    /// The length of the head in bytes, its blank line included. The body begins there.
    pub len: usize,
    /// The version of the request.
    pub version: Version,
    /// True if the peer may send another request on this connection (RFC 9112, section 9.3).
    pub keep_alive: bool,
    /// The length of the body.
    pub body: Body,
    /// True if the peer waits for [`super::CONTINUE`] before it sends the body. Always false without
    /// a body and for HTTP/1.0 (RFC 9110, section 10.1.1).
    pub expect_continue: bool,
}

/// The length of a body (RFC 9112, section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// No body, or `Content-Length: 0`.
    None,
    /// A body of this many bytes, at least one. The caller must apply its limit.
    Length(u64),
    /// A chunked body, which [`super::Chunked`] decodes.
    Chunked,
}

/// Parses the head at the front of `input`. `Ok(None)` means that more bytes are needed.
///
/// `input` may continue after the head. `max_head` is the maximum length of the head in bytes, usually
/// [`MAX_HEAD`](super::MAX_HEAD). One empty line before the request line is skipped and counted (RFC
/// 9112, section 2.2).
///
/// An incomplete head is parsed again from its first byte when more bytes have arrived. This needs no
/// state between calls, and input that can never become a request is refused at its first wrong byte.
/// A peer that sends single bytes cannot exploit this: a call costs at most one pass over `max_head`
/// bytes, so that the work per received byte is bounded by a constant.
///
/// # Errors
///
/// Any [`Error`] about a head. Answer with its status and close the connection.
pub fn parse_head<'h, 'b: 'h>(
    input: &'b [u8],
    slots: &'h mut HeaderSlots<'b>,
    max_head: usize,
) -> Result<Option<Head<'h>>, Error> {
    let (window, is_full) = head::window(input, max_head);
    let (skipped, head) = match window {
        [b'\r', b'\n', rest @ ..] => (2, rest),
        [b'\r'] => (1, &[][..]),
        _ => (0, window),
    };
    // httparse would skip any number of empty lines, and bare LFs.
    if matches!(head, [b'\r' | b'\n', ..]) {
        return Err(Error::Syntax);
    }

    let mut parsed = httparse::Request::new(&mut []);
    let outcome = parsed.parse_with_uninit_headers(head, slots);
    // The target is checked even if the rest is incomplete or wrong, so that the first error in the
    // head is reported however the bytes were cut.
    let target = match (parsed.method, parsed.path) {
        (Some(method), Some(target)) => origin_form(method, target)?,
        _ => "",
    };
    // The version is the third word.
    let length = head::length(outcome, head, is_full, 2).map_err(|error| told_by(head, error));
    let Some(len) = length? else { return Ok(None) };

    let request = Request::new(parsed.method.unwrap_or_default(), target, parsed.headers);
    let version = Version::of(parsed.version);
    let meta = Meta::read(request.headers, version)?;
    let body = meta.body(version)?;
    Ok(Some(Head {
        request,
        len: skipped + len,
        version,
        keep_alive: !meta.close && (version == Version::Http11 || meta.keep_alive),
        body,
        expect_continue: meta.expects && body != Body::None && version == Version::Http11,
    }))
}

/// Returns the error of a head that cannot be read: what its first byte tells, or `error`.
#[cold]
fn told_by(head: &[u8], error: Error) -> Error {
    match head {
        // The type of a record with a handshake. No request begins with a control character.
        [0x16, ..] => Error::Tls,
        _ => error,
    }
}

/// The headers that determine the body and whether the connection is kept open.
#[derive(Default)]
struct Meta {
    close: bool,
    keep_alive: bool,
    websocket: bool,
    expects: bool,
    length: Option<u64>,
    coded: bool,
    chunked: bool,
}

impl Meta {
    fn read(headers: &[Header<'_>], version: Version) -> Result<Meta, Error> {
        let mut meta = Meta::default();
        let mut host = false;
        for Header { name, value } in headers {
            // The length rules out most other headers without a comparison.
            match name.len() {
                4 if name.eq_ignore_ascii_case("host") => {
                    if host || !is_host(value) {
                        return Err(Error::Host);
                    }
                    host = true;
                }
                6 if name.eq_ignore_ascii_case("expect") => {
                    if !value.eq_ignore_ascii_case(b"100-continue") {
                        return Err(Error::Expectation);
                    }
                    meta.expects = true;
                }
                7 if name.eq_ignore_ascii_case("upgrade") => {
                    meta.websocket |= list(value).any(|it| it.eq_ignore_ascii_case(b"websocket"));
                }
                10 if name.eq_ignore_ascii_case("connection") => {
                    for option in list(value) {
                        meta.close |= option.eq_ignore_ascii_case(b"close");
                        meta.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                    }
                }
                14 if name.eq_ignore_ascii_case("content-length") => {
                    if meta.length.is_some() {
                        return Err(Error::ContentLength);
                    }
                    meta.length = Some(head::number(value).ok_or(Error::ContentLength)?);
                }
                17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                    // With a second header of this name the coding is not exactly `chunked`.
                    meta.chunked = !meta.coded && value.eq_ignore_ascii_case(b"chunked");
                    meta.coded = true;
                }
                _ => {}
            }
        }
        if !host && version == Version::Http11 {
            return Err(Error::Host);
        }
        Ok(meta)
    }

    fn body(&self, version: Version) -> Result<Body, Error> {
        let body = match (self.coded, self.length) {
            (true, Some(_)) => return Err(Error::Framing),
            (true, None) if version == Version::Http10 => return Err(Error::Framing),
            (true, None) if !self.chunked => return Err(Error::TransferCoding),
            (true, None) => Body::Chunked,
            (false, None | Some(0)) => Body::None,
            (false, Some(length)) => Body::Length(length),
        };
        // Only WebSocket is refused. Clients that offer `h2c` with every request, such as Java's, do
        // send a body, and their offer is ignored (RFC 9110, section 7.8).
        if self.websocket && body != Body::None {
            return Err(Error::UpgradeWithBody);
        }
        Ok(body)
    }
}

/// Returns the path and query of a target, or `*` (RFC 9112, section 3.2).
fn origin_form<'a>(method: &str, target: &'a str) -> Result<&'a str, Error> {
    // A valid target has no fragment.
    if memchr::memchr(b'#', target.as_bytes()).is_some() {
        return Err(Error::Target);
    }
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Ok(target);
    }
    let (scheme, rest) = target.split_once("://").ok_or(Error::Target)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(Error::Target);
    }
    let (host, path) = match rest.find('/').and_then(|at| rest.split_at_checked(at)) {
        Some(parts) => parts,
        None => (rest, "/"),
    };
    if host.is_empty() || !is_host(host.as_bytes()) {
        return Err(Error::Target);
    }
    Ok(path)
}

/// Returns whether the bytes can be a host and port (RFC 9110, section 7.2). Empty is valid.
fn is_host(value: &[u8]) -> bool {
    value.iter().all(|&byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=:[]".contains(&byte))
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
