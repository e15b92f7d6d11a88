//! The subject of an HTTP request to an Engine.IO server.

use super::jsonp::Callback;
use super::{Config, Rejection};
use crate::engineio::id::Id;
use crate::engineio::transport::Transport;
use crate::engineio::version::Version;
use crate::http;
use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;

/// The part of a request's query that the protocol reads; the rest is the application's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// `transport`, if it is a known one.
    pub transport: Option<Transport>,
    /// `sid`: `None` if absent or empty; `Some(None)` if it cannot be an id.
    pub sid: Option<Option<Id>>,
    /// `EIO`, if that version is known; version 3 if there is no such parameter.
    pub version: Option<Version>,
    /// `j`, of a request for polling by a script or a form (JSONP). Over WebSocket it has no meaning.
    pub jsonp: Option<Callback>,
    /// `b64`, in a request of version 3; set for one by a script or a form, too.
    pub base64: bool,
}

impl Query {
    /// Reads a query string. Of a repeated parameter the first counts.
    ///
    /// # Errors
    /// [`RequestError::BadRequest`] for malformed percent escapes, for what is not UTF-8, and for a `j` that is no
    /// [`Callback`].
    pub fn parse(query: &str) -> Result<Query, RequestError> {
        let query = http::Query::parse(query).map_err(|_| RequestError::BadRequest)?;
        let [mut transport, mut sid, mut version, mut jsonp, mut base64] = [const { None }; 5];
        for (name, value) in query.decoded_pairs() {
            let slot = match name.as_ref() {
                "transport" => &mut transport,
                "sid" => &mut sid,
                "EIO" => &mut version,
                "j" => &mut jsonp,
                "b64" => &mut base64,
                _ => continue,
            };
            slot.get_or_insert(value);
        }
        let transport = transport.and_then(|name| match name.as_ref() {
            "polling" => Some(Transport::Polling),
            "websocket" => Some(Transport::WebSocket),
            _ => None,
        });
        let sid = sid.filter(|sid| !sid.is_empty()).map(|sid| Id::parse(&sid));
        let jsonp = jsonp.filter(|_| transport == Some(Transport::Polling));
        let jsonp = jsonp.map(|j| Callback::parse(&j).ok_or(RequestError::BadRequest)).transpose()?;
        let version = version.map_or(Some(Version::V3), |version| Version::parse(&version));
        // A script holds no bytes.
        let base64 = version == Some(Version::V3)
            && (jsonp.is_some() || base64.is_some_and(|value| matches!(value.as_ref(), "1" | "true")));
        Ok(Query { transport, sid, version, jsonp, base64 })
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
    /// Checks a request in the reference's order. The caller checks that the session exists and uses that transport and
    /// version.
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
        if query.jsonp.is_some() && !config.jsonp {
            return Err(RequestError::JsonpIsOff);
        }
        let origin = request.header("origin").unwrap_or_default();
        if !http::is_value(origin) {
            return Err(RequestError::InvalidOrigin);
        }
        let over_websocket = transport == Transport::WebSocket;
        let fits = over_websocket == is_upgrade;
        let speaks = query.version.is_some_and(|version| config.speaks(version));
        let Some(sid) = query.sid else {
            return match request.method() {
                "GET" if !fits => Err(RequestError::TransportHandshake),
                "GET" if !speaks => Err(RequestError::UnsupportedVersion),
                "GET" => Ok(Route::Open(transport)),
                _ => Err(RequestError::BadHandshakeMethod),
            };
        };
        let sid = sid.ok_or(RequestError::UnknownSession)?;
        let purpose = match request.method() {
            _ if !fits => Err(RequestError::TransportMismatch),
            _ if !speaks => Err(RequestError::ProtocolMismatch),
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
    #[error(
        "Session ID unknown: it has ended, or another server has it because the load balancer sends the requests of a \
         client to several servers"
    )]
    UnknownSession,
    /// A session is opened with GET.
    #[error("Bad handshake method")]
    BadHandshakeMethod,
    /// The request does not fit the session or the protocol.
    #[error("Bad request")]
    BadRequest,
    /// The request is for JSONP polling, which is off.
    #[error("Bad request: JSONP polling is off")]
    JsonpIsOff,
    /// The `Origin` header has a control character.
    #[error("Bad request")]
    InvalidOrigin,
    /// The session uses the other transport.
    #[error("Bad request")]
    TransportMismatch,
    /// The request has a WebSocket handshake although it asks for polling, or none although it asks for WebSocket, or an
    /// invalid one.
    #[error("Bad request")]
    TransportHandshake,
    /// The session has lost its connection, and can only be resumed; or the request began before it was.
    #[error("Bad request: the session is detached from its connection")]
    Detached,
    /// The session was opened with another version of the protocol.
    #[error("Bad request")]
    ProtocolMismatch,
    /// The application has no id for the session: the cause.
    #[error("Bad request")]
    IdGeneration(String),
    /// The application's middleware answered the request instead.
    #[error("{0}")]
    Rejected(Box<Rejection>),
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
    /// The address of the client has as many sessions as one may have.
    #[error("Too many sessions from this address")]
    TooManySessions,
    /// As many sessions wait to be used as may.
    #[error("Too many pending sessions")]
    TooManyPending,
    /// The application's middleware panicked.
    #[error("Internal server error")]
    Failed,
    /// The server is closing, has no randomness for an id, or the application did not decide in time.
    #[error("Service unavailable")]
    Unavailable,
}

impl RequestError {
    /// Returns the status of the response.
    pub fn status(&self) -> u16 {
        match self {
            RequestError::Rejected(rejection) => rejection.status().code(),
            RequestError::Forbidden(_) => 403,
            RequestError::MethodNotAllowed => 405,
            RequestError::TooSlow => 408,
            RequestError::TooLarge => 413,
            RequestError::TooManySessions => 429,
            RequestError::Failed => 500,
            RequestError::Unavailable | RequestError::TooManyPending => 503,
            _ => 400,
        }
    }

    /// Returns the status of the response to a request for WebSocket: as in the reference 400 for each error that has a
    /// code, except for an answer of the application.
    pub fn upgrade_status(&self) -> u16 {
        match self {
            RequestError::Forbidden(_) => 400,
            _ => self.status(),
        }
    }

    /// Returns the number by which the reference and its clients know the error, if they know it.
    pub const fn code(&self) -> Option<u8> {
        Some(match self {
            RequestError::UnknownTransport => 0,
            RequestError::UnknownSession => 1,
            RequestError::BadHandshakeMethod => 2,
            RequestError::BadRequest
            | RequestError::JsonpIsOff
            | RequestError::InvalidOrigin
            | RequestError::TransportMismatch
            | RequestError::TransportHandshake
            | RequestError::Detached
            | RequestError::ProtocolMismatch
            | RequestError::IdGeneration(_)
            | RequestError::Rejected(_) => 3,
            RequestError::Forbidden(_) => 4,
            RequestError::UnsupportedVersion => 5,
            _ => return None,
        })
    }

    /// Returns the body of the response: JSON if the protocol has a code for the cause, otherwise text or nothing.
    pub fn body(&self) -> Cow<'static, str> {
        Cow::Borrowed(match (self, self.code()) {
            (RequestError::Rejected(rejection), _) => return rejection.body().clone(),
            (RequestError::Forbidden(message), _) => {
                let message = serde_json::to_string(message).unwrap_or_else(|_| "\"Forbidden\"".into());
                return Cow::Owned(format!("{{\"code\":4,\"message\":{message}}}"));
            }
            (RequestError::TooManySessions, _) => "Too many sessions from this address",
            (RequestError::TooManyPending, _) => "Too many pending sessions",
            (_, Some(0)) => r#"{"code":0,"message":"Transport unknown"}"#,
            (_, Some(1)) => r#"{"code":1,"message":"Session ID unknown"}"#,
            (_, Some(2)) => r#"{"code":2,"message":"Bad handshake method"}"#,
            (_, Some(3)) => r#"{"code":3,"message":"Bad request"}"#,
            (_, Some(5)) => r#"{"code":5,"message":"Unsupported protocol version"}"#,
            _ => "",
        })
    }

    /// Returns the type of the body, if there is one.
    pub fn content_type(&self) -> Option<&'static str> {
        match self {
            RequestError::Rejected(rejection) if rejection.body().is_empty() => None,
            RequestError::Rejected(_) | RequestError::TooManySessions | RequestError::TooManyPending => {
                Some("text/plain; charset=UTF-8")
            }
            _ => self.code().map(|_| "application/json"),
        }
    }
}
