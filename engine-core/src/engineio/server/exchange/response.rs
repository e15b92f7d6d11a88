//! The responses to requests.

use crate::http::Status;
use crate::outbound::Outbound;
use crate::websocket::Deflate;
use alloc::borrow::Cow;
use alloc::vec::Vec;

/// The response to a request.
#[derive(Debug)]
pub struct Response {
    /// The status.
    pub status: Status,
    /// The headers, without those that frame the body.
    pub headers: Headers,
    /// The body.
    pub body: Content,
    /// The connection must be closed after this.
    pub close: bool,
}

impl Response {
    /// Creates a response without CORS headers.
    pub fn new(status: Status, headers: Headers, body: Content) -> Response {
        Response { status, headers, body, close: false }
    }
}

/// The content of a response.
#[derive(Debug)]
pub enum Content {
    /// Constant bytes.
    Static(&'static [u8]),
    /// Queued bytes.
    Queue(Outbound),
    /// No body, although the head declares this length.
    HeadOnly(usize),
}

impl Content {
    pub(super) fn text(text: impl Into<Cow<'static, str>>) -> Content {
        match text.into() {
            Cow::Borrowed(text) => Content::Static(text.as_bytes()),
            Cow::Owned(text) => {
                let mut body = Outbound::new();
                body.push(text.into());
                Content::Queue(body)
            }
        }
    }
}

/// The response to a WebSocket handshake.
#[derive(Debug)]
pub struct Accept {
    /// The client's key; an extended CONNECT has none.
    pub key: Option<Key>,
    /// The headers, without those that every such response has.
    pub headers: Headers,
    /// The agreed compression.
    pub deflate: Option<Deflate>,
}

/// A valid `Sec-WebSocket-Key`.
pub type Key = [u8; 24];

/// A header of a response.
pub type Header = (&'static str, Cow<'static, str>);

/// The headers of a response, in order.
///
/// Most responses have only constant ones, which need no memory and are cheap to move: `benches/count polling`.
#[derive(Debug, Default)]
pub struct Headers {
    constant: &'static [ConstantHeader],
    more: Vec<Header>,
}

type ConstantHeader = (&'static str, &'static str);

impl Headers {
    pub(super) const fn constant(constant: &'static [ConstantHeader]) -> Headers {
        Headers { constant, more: Vec::new() }
    }

    /// Returns the number of headers.
    pub fn len(&self) -> usize {
        self.constant.len() + self.more.len()
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let more = self.more.iter().map(|(name, value)| (*name, value.as_ref()));
        self.constant.iter().copied().chain(more)
    }

    pub(super) fn push(&mut self, header: Header) {
        self.more.push(header);
    }

    /// Adds a header directly after the constant ones.
    pub(super) fn push_front(&mut self, header: Header) {
        self.more.insert(0, header);
    }

    pub(super) fn append(&mut self, mut more: Vec<Header>) {
        match self.more.is_empty() {
            true => self.more = more,
            false => self.more.append(&mut more),
        }
    }
}

impl FromIterator<Header> for Headers {
    fn from_iter<I: IntoIterator<Item = Header>>(headers: I) -> Headers {
        Headers { constant: &[], more: headers.into_iter().collect() }
    }
}

impl IntoIterator for Headers {
    type Item = Header;
    type IntoIter = core::iter::Chain<
        core::iter::Map<core::slice::Iter<'static, ConstantHeader>, fn(&ConstantHeader) -> Header>,
        alloc::vec::IntoIter<Header>,
    >;

    fn into_iter(self) -> Self::IntoIter {
        let own: fn(&ConstantHeader) -> Header = |(name, value)| (name, Cow::Borrowed(value));
        self.constant.iter().map(own).chain(self.more)
    }
}

/// The headers of a response with a payload.
pub(super) const PAYLOAD: Headers =
    Headers::constant(&[("Content-Type", "text/plain; charset=UTF-8"), ("Cache-Control", "no-store")]);
/// The same of a binary payload of version 3.
pub(super) const BINARY_PAYLOAD: Headers =
    Headers::constant(&[("Content-Type", "application/octet-stream"), ("Cache-Control", "no-store")]);
/// The headers of a response with a payload in a script. Without the type, browsers that were told not to guess refuse it.
pub(super) const SCRIPT: Headers = Headers::constant(&[
    ("Content-Type", "text/javascript; charset=UTF-8"),
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
]);
/// The headers of the response to a POST request.
pub(super) const POSTED: Headers = Headers::constant(&[("Content-Type", "text/html")]);
