//! The handshake by which a request becomes a WebSocket connection (RFC 6455, section 4.2).

use crate::http::{self, Request};
use crate::websocket::{self, Deflate, PerMessageDeflate};
use alloc::borrow::Cow;
use alloc::string::String;

/// The reason why a request cannot become a WebSocket connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpgradeError {
    /// The method is not GET.
    #[error("websocket handshake is not a get")]
    Method,
    /// The version is not 13. Answer with status 426 and the header `Sec-WebSocket-Version: 13`.
    #[error("websocket version is not 13")]
    Version,
    /// `Sec-WebSocket-Key` is missing or not 16 bytes in base64.
    #[error("sec-websocket-key is missing or malformed")]
    Key,
}

/// Returns whether a request asks to become a WebSocket connection.
pub fn is_upgrade(request: &Request<'_>) -> bool {
    request.has_token("upgrade", "websocket") && request.has_token("connection", "upgrade")
}

/// Returns the key of a WebSocket handshake, which the response has to answer.
///
/// # Errors
/// If the request is not a valid handshake of version 13.
pub fn websocket_key<'a>(request: &Request<'a>) -> Result<&'a [u8], UpgradeError> {
    if request.method() != "GET" {
        return Err(UpgradeError::Method);
    }
    check_version(request)?;
    let key = request.header("sec-websocket-key").ok_or(UpgradeError::Key)?;
    websocket::is_valid_key(key).then_some(key).ok_or(UpgradeError::Key)
}

/// Checks a handshake by extended CONNECT (HTTP/2 and later), which has no key (RFC 8441, section 5).
///
/// # Errors
/// If its version is not 13.
pub fn check_version(request: &Request<'_>) -> Result<(), UpgradeError> {
    match request.header("sec-websocket-version") {
        Some(b"13") => Ok(()),
        _ => Err(UpgradeError::Version),
    }
}

/// Negotiates the compression of messages (RFC 7692, 5.1). Returns the result with the value of `Sec-WebSocket-Extensions`
/// for the response; `None` if `config` is `None` or the client offers nothing that it can satisfy.
pub fn agree_deflate(
    config: Option<&PerMessageDeflate>,
    request: &Request<'_>,
) -> Option<(Deflate, Cow<'static, str>)> {
    let headers = request.headers().iter();
    let offers = headers.filter(|header| header.name.eq_ignore_ascii_case("sec-websocket-extensions"));
    Deflate::agree(config?, offers.map(|header| header.value))
}

/// Returns the first subprotocol that the client offers and that is `accepted`: the value of `Sec-WebSocket-Protocol` for
/// the response (RFC 6455, section 4.2.2). If `accepted` is `None`, all are. Offers that are not tokens are ignored.
pub fn agree_subprotocol<'a>(accepted: Option<&[String]>, request: &Request<'a>) -> Option<&'a str> {
    let headers = request.headers().iter();
    headers
        .filter(|header| header.name.eq_ignore_ascii_case("sec-websocket-protocol"))
        .flat_map(|header| http::list(header.value))
        .filter(|name| http::is_token(name))
        .filter_map(|name| core::str::from_utf8(name).ok())
        .find(|name| accepted.is_none_or(|accepted| accepted.iter().any(|it| it == name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Header;
    use alloc::vec::Vec;

    #[test]
    fn the_first_subprotocol_that_is_offered_and_accepted_is_agreed_on() {
        let agree = |accepted: Option<&[&str]>, offers: &[&'static str]| {
            let name = "Sec-WebSocket-Protocol";
            let headers: Vec<_> =
                offers.iter().map(|value| Header { name, value: value.as_bytes() }).collect();
            let accepted: Option<Vec<_>> =
                accepted.map(|names| names.iter().copied().map(String::from).collect());
            agree_subprotocol(accepted.as_deref(), &Request::new("GET", "/", &headers)).map(String::from)
        };
        assert_eq!(agree(None, &[]), None);
        assert_eq!(agree(None, &["a, b"]).as_deref(), Some("a"));
        assert_eq!(agree(None, &["a", "b"]).as_deref(), Some("a"));
        assert_eq!(agree(Some(&["c", "b", "a"]), &["x,a", "b"]).as_deref(), Some("a"));
        assert_eq!(agree(Some(&["b"]), &["a", " b "]).as_deref(), Some("b"));
        assert_eq!(agree(Some(&["c"]), &["a, b"]), None);
        assert_eq!(agree(Some(&[]), &["a, b"]), None);
        assert_eq!(agree(Some(&["B"]), &["b"]), None, "names are case-sensitive");
        // Names that would break the response are not offers.
        assert_eq!(agree(None, &["", ", ,", "a b, c\"d, \u{e9}, e"]).as_deref(), Some("e"));
    }
}
