//! An event to one socket, and the flags for sending it.

use super::Socket;
use crate::error::EmitError;
use crate::payload::Payload;
use crate::server::ack::AckFuture;
use sockeye_core::socketio::Flags;
use std::time::Duration;

/// The flags of an event to one socket: made by [`Socket::timeout`] and [`Socket::volatile`].
#[derive(Clone, Copy, Debug)]
#[must_use = "nothing is sent until `emit`"]
pub struct Emitter<'a> {
    pub(super) socket: &'a Socket,
    pub(super) flags: Flags,
}

impl Emitter<'_> {
    /// Sets how long to wait for the acknowledgement.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.flags.timeout = Some(timeout);
        self
    }

    /// Drops the message if the client is not ready for it.
    pub fn volatile(mut self) -> Self {
        self.flags.volatile = true;
        self
    }

    /// Sends an event: see [`Socket::emit`].
    ///
    /// # Errors
    /// If nothing was sent.
    pub fn emit(self, event: &str, args: impl Payload) -> Result<(), EmitError> {
        self.socket.send(None, event, &args, self.flags)
    }

    /// Sends an event, and waits for the client's acknowledgement: see [`Socket::emit_with_ack`].
    pub fn emit_with_ack<T>(self, event: &str, args: impl Payload) -> AckFuture<T> {
        self.socket.ask(event, &args, self.flags)
    }
}
