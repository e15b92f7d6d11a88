//! An event to one socket, and the flags for sending it.

use super::Socket;
use crate::error::EmitError;
use crate::payload::Payload;
use crate::server::ack::AckFuture;
use crate::server::broadcast::Broadcast;
use sockeye_core::socketio::Flags;
use std::time::Duration;

/// The flags of an event to one socket: made by [`Socket::timeout`], [`Socket::volatile`] and
/// [`Socket::compress`].
#[derive(Clone, Copy, Debug)]
#[must_use = "nothing is sent until `emit`"]
pub struct Emitter<'a> {
    to: Recipient<'a>,
    flags: Flags,
}

#[derive(Clone, Copy, Debug)]
enum Recipient<'a> {
    Here(&'a Socket),
    /// The room of a socket of another server.
    Elsewhere(&'a Broadcast),
}

impl<'a> Emitter<'a> {
    pub(in crate::server) fn new(socket: &'a Socket) -> Self {
        Emitter { to: Recipient::Here(socket), flags: Flags::default() }
    }

    /// Returns an emitter for the socket of another server whose room a broadcast addresses.
    pub(in crate::server) fn elsewhere(room: &'a Broadcast) -> Self {
        Emitter { to: Recipient::Elsewhere(room), flags: Flags::default() }
    }
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

    /// Sets whether the message may be compressed: see [`Socket::compress`].
    pub fn compress(mut self, compress: bool) -> Self {
        self.flags.compress = compress;
        self
    }

    /// Sends an event: see [`Socket::emit`].
    ///
    /// # Errors
    /// If nothing was sent.
    pub fn emit(self, event: &str, args: impl Payload) -> Result<(), EmitError> {
        match self.to {
            Recipient::Here(socket) => socket.emit_flagged(None, event, &args, self.flags),
            Recipient::Elsewhere(room) => {
                let sent = room.clone().with_flags(self.flags).emit(event, args);
                sent.error.map_or(Ok(()), Err)
            }
        }
    }

    /// Sends an event named `message`: see [`Socket::send`].
    ///
    /// # Errors
    /// If nothing was sent.
    pub fn send(self, args: impl Payload) -> Result<(), EmitError> {
        self.emit("message", args)
    }

    /// Sends an event, and waits for the client's acknowledgement: see [`Socket::emit_with_ack`].
    pub fn emit_with_ack<T>(self, event: &str, args: impl Payload) -> AckFuture<T> {
        match self.to {
            Recipient::Here(socket) => socket.ask(event, &args, self.flags),
            Recipient::Elsewhere(room) => {
                AckFuture::new(room.clone().with_flags(self.flags).ask(event, &args))
            }
        }
    }
}
