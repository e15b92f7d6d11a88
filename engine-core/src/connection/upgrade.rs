//! The handshake by which a request becomes a WebSocket connection (RFC 6455, section 4.2).

use crate::http::Request;
use crate::websocket::{self, Deflate, PerMessageDeflate};
use alloc::borrow::Cow;

/// Why a request cannot become a WebSocket connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The handshake is a GET.
    #[error("websocket handshake is not a get")]
    Method,
    /// The version is not 13: answered with 426 and the one that is known.
    #[error("websocket version is not 13")]
    Version,
    /// `Sec-WebSocket-Key` is missing or not 16 bytes in base64.
    #[error("sec-websocket-key is missing or malformed")]
    Key,
}

/// Whether a request asks to become a WebSocket connection.
pub fn is_upgrade(request: &Request<'_>) -> bool {
    request.has_token("upgrade", "websocket") && request.has_token("connection", "upgrade")
}

/// The key of a handshake, to be answered.
///
/// # Errors
/// When the request is no valid handshake of version 13.
pub fn websocket_key<'a>(request: &Request<'a>) -> Result<&'a [u8], HandshakeError> {
    if request.method() != "GET" {
        return Err(HandshakeError::Method);
    }
    check_version(request)?;
    let key = request.header("sec-websocket-key").ok_or(HandshakeError::Key)?;
    websocket::is_valid_key(key).then_some(key).ok_or(HandshakeError::Key)
}

/// Checks a handshake by extended CONNECT (HTTP/2 and later), which has no key (RFC 8441, section 5).
///
/// # Errors
/// When its version is not 13.
pub fn check_version(request: &Request<'_>) -> Result<(), HandshakeError> {
    match request.header("sec-websocket-version") {
        Some(b"13") => Ok(()),
        _ => Err(HandshakeError::Version),
    }
}

/// Whether messages of the connection can be compressed, and the `Sec-WebSocket-Extensions` that tells the client so
/// (RFC 7692, 5.1). `None` where it did not ask for it, or for nothing that `config` can keep to.
pub fn agree_deflate(
    config: Option<&PerMessageDeflate>,
    request: &Request<'_>,
) -> Option<(Deflate, Cow<'static, str>)> {
    let headers = request.headers().iter();
    let offers = headers.filter(|header| header.name.eq_ignore_ascii_case("sec-websocket-extensions"));
    Deflate::agree(config?, offers.map(|header| header.value))
}
