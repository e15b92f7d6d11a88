//! Request heads (RFC 9112, sections 2, 3, 5 and 6).

use super::head::{self, Header, HeaderSlots, Version};
use super::query::cut;
use super::{Error, list};

/// A request without its body, borrowed.
///
/// [`parse_head`] makes one from bytes; [`Request::new`] makes one from parts, so that a request
/// that another HTTP server has parsed can be handled like our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    method: &'a str,
    target: &'a str,
    headers: &'a [Header<'a>],
}

impl<'a> Request<'a> {
    /// A request from parts. `target` is a path with or without a query, or `*`. Nothing is
    /// checked: who parsed the request did that.
    pub const fn new(method: &'a str, target: &'a str, headers: &'a [Header<'a>]) -> Self {
        Request { method, target, headers }
    }

    /// The method as it was sent: methods are case-sensitive.
    pub const fn method(&self) -> &'a str {
        self.method
    }

    /// Path and query, or `*`. Of a URL (absolute-form) only these two are left.
    pub const fn target(&self) -> &'a str {
        self.target
    }

    /// The path as it was sent, escapes included.
    pub fn path(&self) -> &'a str {
        cut(self.target, b'?').0
    }

    /// What follows the first `?`, raw; empty when there is none. [`super::Query`] reads it.
    pub fn query(&self) -> &'a str {
        cut(self.target, b'?').1
    }

    /// The headers in the order in which they were sent.
    pub const fn headers(&self) -> &'a [Header<'a>] {
        self.headers
    }

    /// The value of the first header with this name, in any case. White space around it is gone.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        head::header(self.headers, name)
    }

    /// The same as text: `None` as well when the value is not UTF-8.
    pub fn header_str(&self, name: &str) -> Option<&'a str> {
        core::str::from_utf8(self.header(name)?).ok()
    }

    /// Whether `token` is an element of the comma list `name`, such as `upgrade` of `Connection`.
    /// Looks at every header with that name, and at neither's case (RFC 9110, section 5.6.1).
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        head::has_token(self.headers, name, token)
    }
}

/// A request's head, and what it says about the bytes after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head<'a> {
    /// Method, target and headers.
    pub request: Request<'a>,
    /// The length of the head in bytes, its blank line included: there the body begins.
    pub len: usize,
    /// The version of the request.
    pub version: Version,
    /// Whether the peer wants to send another request on this connection (RFC 9112, section 9.3).
    pub keep_alive: bool,
    /// How long the body is.
    pub body: Body,
    /// Whether the peer waits for [`super::CONTINUE`] before it sends the body. Never set without
    /// a body, nor for HTTP/1.0 (RFC 9110, section 10.1.1).
    pub expect_continue: bool,
}

/// How the length of a body is given (RFC 9112, section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// There is none; `Content-Length: 0` is this too.
    None,
    /// So many bytes, at least one. It is for the caller to compare them with its limit.
    Length(u64),
    /// Chunks, for [`super::Chunked`] to decode.
    Chunked,
}

/// Parses the head at the front of `input`. `Ok(None)` means that more bytes are needed.
///
/// `input` may go on after the head. `max_head` limits the head in bytes, [`MAX_HEAD`](super::MAX_HEAD) usually.
/// One empty line before the request line is skipped and counted (RFC 9112, section 2.2).
///
/// An incomplete head is parsed again from its first byte when more has come. That needs no state
/// between calls, and what can never become a request is refused at its first wrong byte. A peer
/// that sends single bytes gains little by it: a call costs at most one pass over `max_head`
/// bytes, whatever came before, so the work per byte received is bounded by a constant.
///
/// # Errors
///
/// Any [`Error`] about a head: answer with its status and close.
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
    // Also when the rest is incomplete or wrong: what is wrong first has to be said first, however
    // the bytes were cut.
    let target = match (parsed.method, parsed.path) {
        (Some(method), Some(target)) => origin_form(method, target)?,
        _ => "",
    };
    // The version is the third word.
    let Some(len) = head::length(outcome, head, is_full, 2)? else { return Ok(None) };

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

/// The headers that say how the connection goes on.
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
            // The length tells most other headers apart without a comparison.
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
                    // A second one is not exactly `chunked`, whatever it says.
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
        // Only WebSocket is refused: clients that offer `h2c` with every request, as Java's does,
        // mean the body, and such an offer is ignored (RFC 9110, section 7.8).
        if self.websocket && body != Body::None {
            return Err(Error::UpgradeWithBody);
        }
        Ok(body)
    }
}

/// The path and query of a target, or `*` (RFC 9112, section 3.2).
fn origin_form<'a>(method: &str, target: &'a str) -> Result<&'a str, Error> {
    // A fragment is never sent.
    if target.contains('#') {
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

/// Whether the bytes can be a host and port (RFC 9110, section 7.2). Empty is valid.
fn is_host(value: &[u8]) -> bool {
    value.iter().all(|&byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=:[]".contains(&byte))
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
