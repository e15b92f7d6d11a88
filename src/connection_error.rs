//! The refusal of a request by the server, as an application sees it.

use crate::handshake::Handshake;
use sockeye_core::engineio::server::RequestError;
use std::fmt;

/// A request that was refused, as the reference's event `connection_error` tells of it: see
/// [`ServerBuilder::on_connection_error`](crate::ServerBuilder::on_connection_error).
#[derive(Clone, Copy)]
pub struct ConnectionError<'a> {
    request: &'a Handshake,
    error: &'a RequestError,
    code: u8,
}

impl<'a> ConnectionError<'a> {
    /// Returns `None` if the error has no code.
    pub(crate) fn new(request: &'a Handshake, error: &'a RequestError) -> Option<Self> {
        Some(ConnectionError { request, error, code: error.code()? })
    }

    /// Returns the request.
    pub fn request(&self) -> &'a Handshake {
        self.request
    }

    /// Returns the code that the client is told:
    ///
    /// | code | message | context |
    /// |---|---|---|
    /// | 0 | Transport unknown | `transport` |
    /// | 1 | Session ID unknown | `sid` |
    /// | 2 | Bad handshake method | `method` |
    /// | 3 | Bad request | `name`, and what belongs to it |
    /// | 4 | Forbidden | `message`, which [`allow_request`](crate::ServerBuilder::allow_request) returned |
    /// | 5 | Unsupported protocol version | `protocol` |
    pub fn code(&self) -> u8 {
        self.code
    }

    /// Returns the message that belongs to the code.
    pub fn message(&self) -> &'static str {
        match self.code {
            0 => "Transport unknown",
            1 => "Session ID unknown",
            2 => "Bad handshake method",
            4 => "Forbidden",
            5 => "Unsupported protocol version",
            _ => "Bad request",
        }
    }

    /// Returns what is known of the cause, as names and values. The names are those of the reference. If the code is 3,
    /// the first is `name`, whose value is one of `INVALID_ORIGIN`, `TRANSPORT_MISMATCH`, `TRANSPORT_HANDSHAKE_ERROR`,
    /// `PROTOCOL_MISMATCH`, `ID_GENERATION_ERROR`, `MIDDLEWARE_FAILURE`, `JSONP_IS_OFF` and, for any other request that cannot be read,
    /// `INVALID_REQUEST`.
    ///
    /// Values come from the client, and one of them may be the id of a session, so be careful with logs.
    pub fn context(&self) -> Vec<(&'static str, String)> {
        let query = |name| self.request.query_param(name).unwrap_or_default();
        let named = |name: &str| ("name", name.to_owned());
        match self.error {
            RequestError::UnknownTransport => vec![("transport", query("transport"))],
            RequestError::UnknownSession => vec![("sid", query("sid"))],
            RequestError::BadHandshakeMethod => vec![("method", self.request.method().to_owned())],
            RequestError::Forbidden(message) => vec![("message", message.clone())],
            RequestError::UnsupportedVersion => vec![("protocol", query("EIO"))],
            RequestError::InvalidOrigin => {
                let origin = self.request.headers().find(|(name, _)| name.eq_ignore_ascii_case("origin"));
                let origin =
                    origin.map_or_else(String::new, |(_, origin)| String::from_utf8_lossy(origin).into());
                vec![named("INVALID_ORIGIN"), ("origin", origin)]
            }
            RequestError::TransportMismatch => {
                let transport = query("transport");
                let previous = if transport == "polling" { "websocket" } else { "polling" };
                vec![
                    named("TRANSPORT_MISMATCH"),
                    ("transport", transport),
                    ("previousTransport", previous.to_owned()),
                ]
            }
            RequestError::TransportHandshake => vec![named("TRANSPORT_HANDSHAKE_ERROR")],
            // There are two.
            RequestError::ProtocolMismatch => {
                let protocol = query("EIO");
                let previous = if protocol == "4" { "3" } else { "4" };
                vec![
                    named("PROTOCOL_MISMATCH"),
                    ("protocol", protocol),
                    ("previousProtocol", previous.to_owned()),
                ]
            }
            RequestError::IdGeneration(error) => vec![named("ID_GENERATION_ERROR"), ("error", error.clone())],
            RequestError::Rejected(_) => vec![named("MIDDLEWARE_FAILURE")],
            RequestError::JsonpIsOff => vec![named("JSONP_IS_OFF")],
            _ => vec![named("INVALID_REQUEST")],
        }
    }
}

impl fmt::Display for ConnectionError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (code {})", self.message(), self.code)
    }
}

impl fmt::Debug for ConnectionError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The context may hold the id of a session, which is a secret.
        f.debug_struct("ConnectionError").field("code", &self.code).finish_non_exhaustive()
    }
}
