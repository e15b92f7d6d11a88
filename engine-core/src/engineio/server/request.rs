//! The subject of an HTTP request to an Engine.IO server.

use super::Config;
use crate::engineio::id::Id;
use crate::engineio::transport::Transport;
use crate::engineio::version::Version;
use crate::http;
use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;

/// The part of a request's query that the protocol reads; the rest is the application's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// `transport`, if it is a known one.
    pub transport: Option<Transport>,
    /// `sid`: `None` if absent or empty; `Some(None)` if it cannot be an id.
    pub sid: Option<Option<Id>>,
    /// `EIO`, if that version is spoken.
    pub version: Option<Version>,
}

impl Query {
    /// Reads a query string. Of a repeated parameter the first counts.
    ///
    /// # Errors
    /// [`RequestError::BadRequest`] for malformed percent escapes, for what is not UTF-8, and for JSONP, which is not
    /// spoken.
    pub fn parse(query: &str) -> Result<Query, RequestError> {
        let query = http::Query::parse(query).map_err(|_| RequestError::BadRequest)?;
        let [transport, sid, version, jsonp] = query.get_all(["transport", "sid", "EIO", "j"]);
        let transport = transport.and_then(|name| match name.as_ref() {
            "polling" => Some(Transport::Polling),
            "websocket" => Some(Transport::WebSocket),
            _ => None,
        });
        let sid = sid.filter(|sid| !sid.is_empty()).map(|sid| Id::parse(&sid));
        // A page that polls by scripts could do nothing with an answer.
        if transport == Some(Transport::Polling) && jsonp.is_some() {
            return Err(RequestError::BadRequest);
        }
        let version = version.and_then(|version| Version::parse(&version));
        Ok(Query { transport, sid, version })
    }
}

/// The subject of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// A new session.
    Open(Transport),
    /// An existing session. The error is for the client only if the session exists: as in the reference, an unknown
    /// session is the first reason for a refusal.
    Session(Id, Result<Purpose, RequestError>),
}

/// The purpose of a request for an existing session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To get the packets that wait for the client, as soon as there are any.
    Poll,
    /// To send packets.
    Post,
    /// To move the session to WebSocket.
    Upgrade,
}

impl Route {
    /// Checks a request in the reference's order. The caller checks that the session exists and uses that transport.
    ///
    /// # Errors
    /// The error to tell the client.
    pub fn of(
        request: &http::Request<'_>,
        is_upgrade: bool,
        query: &Query,
        config: &Config,
    ) -> Result<Route, RequestError> {
        let transport = query.transport.filter(|transport| config.allows(*transport));
        let transport = transport.ok_or(RequestError::UnknownTransport)?;
        let origin = request.header("origin").unwrap_or_default();
        if !origin.iter().all(|&byte| http::is_value_byte(byte)) {
            return Err(RequestError::BadRequest);
        }
        let over_websocket = transport == Transport::WebSocket;
        let fits = over_websocket == is_upgrade;
        let Some(sid) = query.sid else {
            return match request.method() {
                "GET" if !fits => Err(RequestError::BadRequest),
                "GET" if query.version.is_none() => Err(RequestError::UnsupportedVersion),
                "GET" => Ok(Route::Open(transport)),
                _ => Err(RequestError::BadHandshakeMethod),
            };
        };
        let sid = sid.ok_or(RequestError::UnknownSession)?;
        let purpose = match request.method() {
            _ if query.version.is_none() || !fits => Err(RequestError::BadRequest),
            "GET" if over_websocket => Ok(Purpose::Upgrade),
            "GET" => Ok(Purpose::Poll),
            "POST" if !over_websocket => Ok(Purpose::Post),
            _ => Err(RequestError::MethodNotAllowed),
        };
        Ok(Route::Session(sid, purpose))
    }
}

/// The cause of a refused request. The response has a code and a message, as in the reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// No transport, or one that is unknown or off.
    #[error("Transport unknown")]
    UnknownTransport,
    /// No session has this id: it ended, or lives on another server. Several servers behind one address need sticky
    /// sessions, or WebSocket only.
    #[error("Session ID unknown")]
    UnknownSession,
    /// A session is opened with GET.
    #[error("Bad handshake method")]
    BadHandshakeMethod,
    /// The request does not fit the session or the protocol.
    #[error("Bad request")]
    BadRequest,
    /// The application refused the handshake.
    #[error("{0}")]
    Forbidden(String),
    /// Clients of another protocol version are not served.
    #[error("Unsupported protocol version")]
    UnsupportedVersion,
    /// Sessions know GET and POST.
    #[error("Method not allowed")]
    MethodNotAllowed,
    /// The body is larger than `max_payload`.
    #[error("Payload too large")]
    TooLarge,
    /// The body did not arrive in time.
    #[error("Request timeout")]
    TooSlow,
    /// The server is closing, has no randomness for an id, or the application did not decide in time.
    #[error("Service unavailable")]
    Unavailable,
}

impl RequestError {
    /// Returns the status of the response.
    pub const fn status(&self) -> u16 {
        match self {
            RequestError::Forbidden(_) => 403,
            RequestError::MethodNotAllowed => 405,
            RequestError::TooSlow => 408,
            RequestError::TooLarge => 413,
            RequestError::Unavailable => 503,
            _ => 400,
        }
    }

    /// Returns the body of the response: JSON, or nothing if the protocol has no code for the cause.
    pub fn body(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            RequestError::UnknownTransport => r#"{"code":0,"message":"Transport unknown"}"#,
            RequestError::UnknownSession => r#"{"code":1,"message":"Session ID unknown"}"#,
            RequestError::BadHandshakeMethod => r#"{"code":2,"message":"Bad handshake method"}"#,
            RequestError::BadRequest => r#"{"code":3,"message":"Bad request"}"#,
            RequestError::UnsupportedVersion => r#"{"code":5,"message":"Unsupported protocol version"}"#,
            RequestError::Forbidden(message) => {
                let message = serde_json::to_string(message).unwrap_or_else(|_| "\"Forbidden\"".into());
                return Cow::Owned(format!("{{\"code\":4,\"message\":{message}}}"));
            }
            RequestError::MethodNotAllowed
            | RequestError::TooLarge
            | RequestError::TooSlow
            | RequestError::Unavailable => "",
        })
    }
}
