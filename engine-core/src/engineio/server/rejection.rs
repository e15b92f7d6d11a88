//! An application's part in the responses to requests: headers of its own, and answers instead of the server's.

use super::exchange::Header;
use crate::http::{self, InvalidHeader, Status};
use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::fmt;

/// Headers that an application adds to a response.
///
/// ```
/// # use sockeye_core::engineio::server::ResponseHeaders;
/// let mut headers = ResponseHeaders::new();
/// headers.append("Strict-Transport-Security", "max-age=31536000")?;
/// assert!(headers.append("X-User", "a\r\nSet-Cookie: b").is_err());
/// # Ok::<(), sockeye_core::http::InvalidHeader>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseHeaders(Vec<Header>);

impl ResponseHeaders {
    /// Creates an empty list.
    pub const fn new() -> ResponseHeaders {
        ResponseHeaders(Vec::new())
    }

    /// Adds a header, also if there is one of this name already: `Set-Cookie` may occur several times.
    ///
    /// # Errors
    /// [`InvalidHeader`] if the name is not a token, the value has a control character, or the server writes this header
    /// itself (`Content-Length`, `Transfer-Encoding`). The list is then unchanged.
    pub fn append(
        &mut self,
        name: &'static str,
        value: impl Into<Cow<'static, str>>,
    ) -> Result<(), InvalidHeader> {
        let value = value.into();
        let header = [(name, value.as_ref())];
        http::write_head(&mut Vec::new(), Status::OK, header, None, true)?;
        self.0.push((name, value));
        Ok(())
    }

    /// Adds all headers of another list.
    pub fn extend(&mut self, more: ResponseHeaders) {
        self.0.extend(more.0);
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<()> for ResponseHeaders {
    /// Creates an empty list, for a middleware that adds no header.
    fn from((): ()) -> Self {
        ResponseHeaders::new()
    }
}

impl IntoIterator for ResponseHeaders {
    type Item = Header;
    type IntoIter = alloc::vec::IntoIter<Header>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// The answer of an application to a request that it does not let pass.
///
/// ```
/// # use sockeye_core::engineio::server::Rejection;
/// let rejection = Rejection::new(401, "please log in").header("WWW-Authenticate", "Bearer")?;
/// # Ok::<(), sockeye_core::http::InvalidHeader>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    status: Status,
    headers: ResponseHeaders,
    body: Cow<'static, str>,
}

impl Rejection {
    /// Creates an answer with a status and a text. A status that cannot end a request, or allows no body, because it is not
    /// between 200 and 599 or is 204 or 304, becomes 500.
    pub fn new(status: u16, body: impl Into<Cow<'static, str>>) -> Rejection {
        let status = Some(status).filter(|status| *status >= 200 && !matches!(status, 204 | 304));
        let status = status.and_then(Status::new).unwrap_or(Status::INTERNAL_SERVER_ERROR);
        Rejection { status, headers: ResponseHeaders::new(), body: body.into() }
    }

    /// Adds a header, such as `Location` or `Retry-After`.
    ///
    /// # Errors
    /// As [`ResponseHeaders::append`].
    pub fn header(
        mut self,
        name: &'static str,
        value: impl Into<Cow<'static, str>>,
    ) -> Result<Rejection, InvalidHeader> {
        self.headers.append(name, value)?;
        Ok(self)
    }

    /// Returns the status.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Returns the text.
    pub fn body(&self) -> &Cow<'static, str> {
        &self.body
    }

    /// Returns the headers.
    pub fn headers(&self) -> &ResponseHeaders {
        &self.headers
    }
}

impl From<InvalidHeader> for Rejection {
    /// Creates an answer with status 500, because the application made the header.
    fn from(_: InvalidHeader) -> Self {
        Rejection::new(500, "")
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a middleware answered with {}", self.status.code())?;
        if self.body.is_empty() { Ok(()) } else { write!(f, ": {}", self.body) }
    }
}
