//! The errors, and the reasons why a socket is disconnected or refused.

use sockeye_core::engineio::CloseReason;
use sockeye_core::socketio::ArgsError;
pub use sockeye_core::socketio::server::EmitError;
use std::fmt;

/// The reason why a server's message was not acknowledged.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum AckError {
    /// The message was not sent.
    #[error(transparent)]
    Emit(#[from] EmitError),
    /// The client did not acknowledge in time.
    #[error("operation has timed out")]
    Timeout,
    /// The connection ended before the acknowledgement arrived.
    #[error("socket has been disconnected")]
    Disconnected,
    /// The acknowledgement is not of the requested type.
    #[error("the acknowledgement is not of the expected type: {0}")]
    Decode(#[from] ArgsError),
}

sockeye_core::debug_as_text!(AckError);

/// The reason why a socket was disconnected from its namespace.
///
/// `Display` writes exactly the reason that the reference uses.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DisconnectReason {
    /// The connection ended, for this reason.
    Closed(CloseReason),
    /// The client left the namespace.
    ClientNamespaceDisconnect,
    /// The server disconnected the socket.
    ServerNamespaceDisconnect,
    /// The server disconnected the socket because its credentials have expired: see
    /// [`Socket::authenticated_for`](crate::Socket::authenticated_for). Displayed like
    /// [`ServerNamespaceDisconnect`](DisconnectReason::ServerNamespaceDisconnect).
    AuthExpired,
}

impl fmt::Display for DisconnectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DisconnectReason::Closed(reason) => reason.fmt(f),
            DisconnectReason::ClientNamespaceDisconnect => f.write_str("client namespace disconnect"),
            DisconnectReason::ServerNamespaceDisconnect | DisconnectReason::AuthExpired => {
                f.write_str("server namespace disconnect")
            }
        }
    }
}

/// The message of a refusal if the fault is this program's. The cause is logged.
pub(crate) const INTERNAL: &str = "Internal error";

/// Defines the refusals of middleware: for the client, an object with `message` and, if there are details, `data`.
macro_rules! refusals {
    ($($(#[$doc:meta])* $Refusal:ident, $data:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize)]
        pub struct $Refusal {
            message: String,
            #[serde(skip_serializing_if = "Option::is_none")]
            data: Option<serde_json::Value>,
        }

        impl $Refusal {
            /// Returns a refusal with a message.
            pub fn new(message: impl Into<String>) -> $Refusal {
                $Refusal { message: message.into(), data: None }
            }

            /// Returns the message.
            pub(crate) fn message(&self) -> &str {
                &self.message
            }

            #[doc = concat!("Adds details, any JSON: ", $data, ". Data that cannot be serialized is left out.")]
            pub fn data(mut self, data: impl serde::Serialize) -> $Refusal {
                self.data = serde_json::to_value(data).ok();
                self
            }
        }

        impl From<String> for $Refusal {
            fn from(message: String) -> Self {
                $Refusal::new(message)
            }
        }

        impl From<&str> for $Refusal {
            fn from(message: &str) -> Self {
                $Refusal::new(message)
            }
        }

        impl fmt::Display for $Refusal {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.message)
            }
        }

        impl std::error::Error for $Refusal {}
    )*};
}

refusals! {
    /// The response of a middleware to a client that it refuses: the client's `connect_error`.
    ConnectError, "the client's `error.data`";
    /// The refusal of an event by a packet middleware: see [`Namespace::use_packet`](crate::Namespace::use_packet).
    ///
    /// If the client asked for an acknowledgement, that is an object with `message` and, if there are details, `data`. A
    /// handler of [`Socket::on_error`](crate::Socket::on_error) can extract the refusal.
    PacketError, "`data` in the acknowledgement";
}

impl ConnectError {
    /// Returns the details, if there are any.
    pub(crate) fn details(&self) -> Option<&serde_json::Value> {
        self.data.as_ref()
    }
}

/// The error of a handler that uses `?`: an error of the program for the log, or an answer for the client.
///
/// `?` turns any error into the former. It is not for the client, so it is not acknowledged, but logged and passed to
/// [`on_handler_error`](crate::ServerBuilder::on_handler_error). [`HandlerError::ack`] makes the latter: the
/// acknowledgement, like an `Err` of a serializable type of your own (see [`Handler`](crate::Handler)).
///
/// ```
/// use serde_json::json;
/// use sockeye::extract::Data;
/// use sockeye::{HandlerError, Server};
///
/// let io = Server::new();
/// // await socket.emitWithAck("read", ""), which is { error: "the name is empty" }
/// io.on("read", async |Data(name): Data<String>| {
///     if name.is_empty() {
///         return Err(HandlerError::ack(json!({ "error": "the name is empty" })));
///     }
///     // A file that cannot be read is logged, and the client times out.
///     Ok(std::fs::read_to_string(format!("notes/{}", name.replace(['/', '.'], "")))?)
/// });
/// ```
pub struct HandlerError(Kind);

enum Kind {
    /// The text for the log.
    Log(String),
    /// The acknowledgement.
    Ack(serde_json::Value),
}

impl HandlerError {
    /// Returns an error of the program, with a message for the log.
    pub fn new(message: impl Into<String>) -> HandlerError {
        HandlerError(Kind::Log(message.into()))
    }

    /// Returns an error for the client: `value` is the acknowledgement, as one argument, and nothing is logged. If the
    /// client wants no acknowledgement, it is logged at `DEBUG`, as an error of your own is.
    ///
    /// The value is stored as JSON, in which bytes are a list of numbers: to send attachments, return `Err` of a type of
    /// your own. A value that JSON cannot represent becomes an error of the program, with the cause as its message.
    #[doc(alias = "answer")]
    pub fn ack(value: impl serde::Serialize) -> HandlerError {
        HandlerError(match serde_json::to_value(value) {
            Ok(value) => Kind::Ack(value),
            Err(error) => Kind::Log(error.to_string()),
        })
    }
}

impl<E: std::error::Error> From<E> for HandlerError {
    fn from(error: E) -> Self {
        HandlerError::new(error.to_string())
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Writes the message, or the acknowledgement as JSON.
impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Log(message) => f.write_str(message),
            Kind::Ack(value) => value.fmt(f),
        }
    }
}

// Serializable, so that a handler may return the result of sending; an error is then logged, and not for the client.
macro_rules! serialize_as_text {
    ($($error:ty),*) => {$(
        impl serde::Serialize for $error {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                sockeye_core::socketio::serialize_failure(self, serializer)
            }
        }
    )*};
}

pub(crate) use serialize_as_text;

serialize_as_text!(AckError);

impl serde::Serialize for HandlerError {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Kind::Log(message) => sockeye_core::socketio::serialize_failure(message, serializer),
            Kind::Ack(value) => value.serialize(serializer),
        }
    }
}
