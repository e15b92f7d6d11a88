//! What the handlers of a client's sockets can ask for, beside the data of an event.

use super::{ClientSocket, ConnectError, DisconnectReason};
use crate::extract::{Context, Extract, ExtractError};

impl Extract<ClientSocket> for ClientSocket {
    fn extract(context: &Context<'_, ClientSocket>) -> Result<Self, ExtractError> {
        Ok(context.socket.clone())
    }
}

impl Extract<ClientSocket> for ConnectError {
    fn extract(context: &Context<'_, ClientSocket>) -> Result<Self, ExtractError> {
        context.cause().ok_or(ExtractError::Unavailable("the error"))
    }
}

impl Extract<ClientSocket> for DisconnectReason {
    fn extract(context: &Context<'_, ClientSocket>) -> Result<Self, ExtractError> {
        context.cause().ok_or(ExtractError::Unavailable("the reason"))
    }
}
