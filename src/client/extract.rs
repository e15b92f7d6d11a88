//! Extractors for the handlers of a client's sockets, in addition to those of an event's data.

use super::{ClientSocket, ClientConnectError, ClientDisconnectReason};
use crate::extract::{Context, Extract, ExtractError};

impl Extract<ClientSocket> for ClientSocket {
    fn extract(context: &Context<'_, ClientSocket>) -> Result<Self, ExtractError> {
        Ok(context.socket.clone())
    }
}

impl Extract<ClientSocket> for ClientConnectError {
    fn extract(context: &Context<'_, ClientSocket>) -> Result<Self, ExtractError> {
        context.cause().ok_or(ExtractError::Unavailable("the error"))
    }
}

impl Extract<ClientSocket> for ClientDisconnectReason {
    fn extract(context: &Context<'_, ClientSocket>) -> Result<Self, ExtractError> {
        context.cause().ok_or(ExtractError::Unavailable("the reason"))
    }
}
