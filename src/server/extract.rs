//! The parameters of handlers that only a server's sockets have.

use super::Server;
use super::namespaces::INVALID;
use crate::engine::Id;
use crate::error::{ConnectError, DisconnectReason, INTERNAL, PacketError};
#[cfg(feature = "http")]
use crate::extract::Extension;
use crate::extract::{Auth, Context, Extract, ExtractError, State};
use crate::server::socket::Socket;
use serde::de::DeserializeOwned;

impl Extract for Socket {
    fn extract(context: &Context<'_>) -> Result<Self, ExtractError> {
        Ok(context.socket.clone())
    }
}

impl Extract for Server {
    fn extract(context: &Context<'_>) -> Result<Self, ExtractError> {
        context.socket.server().ok_or(ExtractError::Unavailable("the server"))
    }
}

impl Extract for DisconnectReason {
    fn extract(context: &Context<'_>) -> Result<Self, ExtractError> {
        context.cause().ok_or(ExtractError::Unavailable("the reason"))
    }
}

impl Extract for PacketError {
    fn extract(context: &Context<'_>) -> Result<Self, ExtractError> {
        context.cause().ok_or(ExtractError::Unavailable("the refusal"))
    }
}

impl<T: Clone + Send + Sync + 'static> Extract for State<T> {
    fn extract(context: &Context<'_>) -> Result<Self, ExtractError> {
        let missing = || ExtractError::State(std::any::type_name::<T>());
        context.socket.state::<T>().map(State).ok_or_else(missing)
    }
}

impl<T: DeserializeOwned> Extract for Auth<T> {
    fn extract(context: &Context<'_>) -> Result<Self, ExtractError> {
        context.socket.auth().map(Auth).map_err(ExtractError::Auth)
    }
}

#[cfg(feature = "http")]
impl<T: Clone + Send + Sync + 'static> Extract for Extension<T> {
    fn extract(context: &Context<'_>) -> Result<Self, ExtractError> {
        let missing = || ExtractError::Extension(std::any::type_name::<T>());
        context.socket.handshake().extension::<T>().cloned().map(Extension).ok_or_else(missing)
    }
}

/// The id of the socket.
impl Extract for Id {
    fn extract(context: &Context<'_>) -> Result<Self, ExtractError> {
        Ok(context.socket.id())
    }
}

impl From<ExtractError> for ConnectError {
    /// Converts the reason why a middleware was not called. The client is not told the details.
    fn from(error: ExtractError) -> Self {
        match error {
            ExtractError::Params(_) => ConnectError::new(INVALID),
            _ if error.is_ours() => INTERNAL.into(),
            _ => ConnectError::new("Invalid auth"),
        }
    }
}

impl From<ExtractError> for PacketError {
    /// Converts the reason why a packet middleware was not called. The client is not told the details.
    fn from(error: ExtractError) -> Self {
        match error {
            ExtractError::Data(_) => PacketError::new("Invalid data"),
            error => ConnectError::from(error).message().into(),
        }
    }
}
