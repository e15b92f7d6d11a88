//! Messages to one socket.

use super::{Emitter, Socket};
use crate::error::EmitError;
use crate::handler::Acknowledge;
use crate::payload::sealed::{Encode, Head, Kind};
use crate::payload::{Payload, with_encoder};
use crate::server::ack::{AckFuture, Waiter};
use crate::server::recovery::Numbering;
use sockeye_core::engineio::server::{SendError, SendFlags, WhenFull};
use sockeye_core::engineio::{self, Frames, Part};
use sockeye_core::socketio::{EncodeError, Encoded, Flags};
use std::task::Waker;
use std::time::Duration;

impl Socket {
    /// Sends an event. Never waits: `Ok` means that it is queued, not that it arrived.
    ///
    /// The arguments are any [`Payload`]: a tuple is several arguments, `()` is none, any other value is one.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use sockeye::{EmitError, Socket};
    ///
    /// # let io = sockeye::Server::new();
    /// io.on_connect(async |socket: Socket| {
    ///     socket.emit("ready", ())?;
    ///     socket.emit("position", (3, 4))?; // socket.on("position", (x, y) => …)
    ///     socket.emit("list", vec![3, 4])?; // socket.on("list", (list) => …)
    ///     socket.emit("file", ("name", Bytes::from_static(b"\x00\xff")))?; // binary
    ///     Ok::<_, EmitError>(())
    /// });
    /// ```
    ///
    /// # Errors
    /// If nothing was sent, because the socket is disconnected (or not yet connected), the client reads too
    /// slowly, or the data cannot be sent.
    pub fn emit(&self, event: &str, args: impl Payload) -> Result<(), EmitError> {
        self.emit_flagged(None, event, &args, Flags::default())
    }

    /// Sends an event named `message`: the same as [`emit("message", args)`](Socket::emit).
    ///
    /// ```
    /// # let io = sockeye::Server::new();
    /// # io.on_connect(async |socket: sockeye::Socket| {
    /// socket.send("hello") // socket.on("message", (text) => …)
    /// # });
    /// ```
    ///
    /// # Errors
    /// If nothing was sent: see [`emit`](Socket::emit).
    pub fn send(&self, args: impl Payload) -> Result<(), EmitError> {
        self.emit("message", args)
    }

    /// Sends an event, and waits for the client's acknowledgement, for the time set by
    /// [`timeout`](Socket::timeout) or [`ServerBuilder::ack_timeout`](crate::ServerBuilder::ack_timeout). Default: 30 s.
    ///
    /// The acknowledgement is read as `T`, which has to be named: a tuple takes the client's arguments in
    /// order, any other type the first. The message is sent by the call, before the future is awaited.
    ///
    /// ```
    /// use sockeye::{AckError, Socket};
    /// use std::time::Duration;
    ///
    /// # let io = sockeye::Server::new();
    /// io.on_connect(async |socket: Socket| {
    ///     // socket.on("question", (text, answer) => answer("yes"))
    ///     let asked = socket.timeout(Duration::from_secs(5)).emit_with_ack::<String>("question", "really?");
    ///     match asked.await {
    ///         Ok(answer) => println!("{answer}"),
    ///         Err(AckError::Timeout) => println!("no answer in 5 s"),
    ///         Err(error) => println!("{error}"),
    ///     }
    /// });
    /// ```
    pub fn emit_with_ack<T>(&self, event: &str, args: impl Payload) -> AckFuture<T> {
        self.ask(event, &args, Flags::default())
    }

    /// Returns an emitter that waits for the acknowledgement for `timeout`.
    pub fn timeout(&self, timeout: Duration) -> Emitter<'_> {
        Emitter::new(self).timeout(timeout)
    }

    /// Returns an emitter that drops its event if the client is not ready for it: messages are already queued
    /// for the client, or it is between two polls. Use it for data that the next message replaces, such as
    /// positions.
    pub fn volatile(&self) -> Emitter<'_> {
        Emitter::new(self).volatile()
    }

    /// Returns an emitter whose message is not compressed if `compress` is false. Default: true, which compresses a
    /// message on WebSocket if
    /// [`per_message_deflate`](crate::ServerBuilder::per_message_deflate) is set, the client agreed, and the message is
    /// long enough. Use it for data that is compressed already, such as images.
    ///
    /// A message that waits for a poll while the client upgrades to WebSocket may be compressed nevertheless.
    ///
    /// ```
    /// # use bytes::Bytes;
    /// # let io = sockeye::Server::new();
    /// # io.on_connect(async |socket: sockeye::Socket| {
    /// # let jpeg = Bytes::new();
    /// socket.compress(false).emit("photo", jpeg)
    /// # });
    /// ```
    pub fn compress(&self, compress: bool) -> Emitter<'_> {
        Emitter::new(self).compress(compress)
    }

    /// Waits until the client can take more: until at most 128 KiB are queued for it, or half of
    /// [`send_buffer`](crate::ServerBuilder::send_buffer) if that is less. It is the reference's `drain` event, for programs
    /// that produce faster than a client reads.
    ///
    /// Returns at once if so little is queued already. A message of up to half of the send buffer can then be emitted,
    /// unless others emit to the same client. The wait ends at the latest with the session, so it needs no timeout of its
    /// own. Dropping the future leaves nothing behind.
    ///
    /// ```
    /// use sockeye::{EmitError, Socket};
    /// # use std::fs::File;
    /// # use std::io::{BufRead, BufReader};
    ///
    /// # let io = sockeye::Server::new();
    /// io.on_connect(async |socket: Socket| {
    ///     socket.on("download", async |socket: Socket| {
    ///         # let file = File::open("log.txt")?;
    ///         // At most 128 KiB and a line are in memory, however long the file is and slow the client.
    ///         for line in BufReader::new(file).lines() {
    ///             socket.writable().await?;
    ///             socket.emit("line", line?)?;
    ///         }
    ///         Ok::<_, sockeye::HandlerError>(())
    ///     });
    /// });
    /// ```
    ///
    /// # Errors
    /// [`EmitError::Disconnected`] if the socket is disconnected, before or during the wait, or not yet connected.
    pub async fn writable(&self) -> Result<(), EmitError> {
        match self.0.session.drained(|| self.is_connected()).await {
            true => Ok(()),
            false => Err(EmitError::Disconnected),
        }
    }

    pub(super) fn ask<T>(&self, event: &str, args: &impl Payload, flags: Flags) -> AckFuture<T> {
        // The caller waits for the result.
        let flags = flags.may_drop(false);
        let engine = self.0.namespace.0.engine.clone();
        let waiter = Waiter::new(self.0.namespace.next_ack(|id| self.awaits(id)), engine.clone());
        if let Some(at) = waiter.ask(self)
            && let Err(error) = self.emit_flagged(Some(waiter.id()), event, args, flags)
        {
            waiter.fail(self, at, error);
        }
        self.take_resume_waker().into_iter().for_each(Waker::wake);
        if let Some(engine) = engine.upgrade() {
            waiter.arm(engine.now() + flags.timeout.unwrap_or(engine.application.ack_timeout));
        }
        AckFuture::new(waiter)
    }

    pub(super) fn emit_flagged(
        &self,
        id: Option<u64>,
        event: &str,
        args: &impl Payload,
        flags: Flags,
    ) -> Result<(), EmitError> {
        if let Some(numbering) = self.0.namespace.0.numbering
            && id.is_none()
            && !flags.volatile
        {
            return match numbering {
                Numbering::Here(epoch) => self.emit_recorded(epoch, event, args, flags),
                Numbering::Stream => self.emit_over_stream(event, args, flags),
            };
        }
        if !self.is_watched() {
            return self.send_packet(Kind::Event(event, id), args, flags, |_| ());
        }
        let sent = self.send_packet(Kind::Event(event, id), args, flags, |encoded| encoded.event_args())?;
        self.tell_outgoing(event, &sent);
        Ok(())
    }

    /// Sends a packet, and returns the result of `keep`.
    fn send_packet<R>(
        &self,
        kind: Kind<'_>,
        args: &dyn Encode,
        flags: Flags,
        keep: impl FnOnce(&Encoded<'_>) -> R,
    ) -> Result<R, EmitError> {
        if !self.is_connected() {
            return Err(EmitError::Disconnected);
        }
        let head = Head { namespace: self.0.namespace.name(), kind };
        with_encoder(self.0.namespace.0.parser, |encoder| {
            // Not moved, because the processor would have to wait for it: `benches/count ack16`.
            let encoded = args.encode(encoder, head);
            let encoded = encoded.as_ref().map_err(EncodeError::clone)?;
            self.send_encoded(encoded, flags)?;
            Ok(keep(encoded))
        })
    }

    fn send_encoded(&self, encoded: &Encoded<'_>, flags: Flags) -> Result<(), EmitError> {
        match encoded.only() {
            Some(part) => self.send_parts(std::iter::once(part), flags),
            None => self.send_several(encoded, flags),
        }
    }

    #[inline(never)]
    fn send_several(&self, encoded: &Encoded<'_>, flags: Flags) -> Result<(), EmitError> {
        self.send_parts(encoded.parts(), flags)
    }

    // Once for a packet without attachments, as most are: `benches/count ack`.
    #[inline(always)]
    fn send_parts<'a>(
        &self,
        parts: impl Iterator<Item = Part<'a>> + Clone,
        flags: Flags,
    ) -> Result<(), EmitError> {
        let mut refused = None;
        // The error is not returned through the closure, because each move of it costs more than the lock.
        let ((), woken) = self.0.session.sending(|engine| {
            refused = match self.check_ready(engine, flags) {
                Ok(()) => {
                    engine.send_with(parts.clone(), how(flags)).err().map(|error| refusal(engine, error))
                }
                Err(error) => Some(error),
            };
        });
        if refused.is_none() {
            // Before another thread can write it, so that an observer sees it before its answer.
            self.0.session.show_sent(parts);
        }
        if let Some(waker) = woken {
            waker.wake();
        }
        match refused {
            None => Ok(()),
            Some(error) => Err(self.refused(error)),
        }
    }

    /// Closes the client if it reads too slowly.
    #[cold]
    fn refused(&self, error: EmitError) -> EmitError {
        if let EmitError::SlowConsumer { .. } = error {
            self.close_slow();
        }
        error
    }

    /// Sends a message that is shared with other recipients, and adds the waker to call to `later`.
    ///
    /// On `SlowConsumer` the caller must call [`close_slow`](Socket::close_slow) once it holds no lock; the
    /// same holds for waking `later`.
    pub(crate) fn send_shared(
        &self,
        frames: &mut Frames,
        flags: Flags,
        later: &mut Vec<Waker>,
    ) -> Result<(), EmitError> {
        let (sent, woken) = self.0.session.sharing(|engine| {
            self.check_ready(engine, flags)?;
            engine.send_shared_with(frames, how(flags)).map_err(|error| refusal(engine, error))
        });
        later.extend(woken);
        sent
    }

    /// Checks whether a message may be queued. Called under the session's lock, under which the socket also
    /// leaves: a message queued after that would reach another socket of the client.
    fn check_ready(&self, engine: &engineio::server::Session, flags: Flags) -> Result<(), EmitError> {
        match () {
            () if self.has_left() => Err(EmitError::Disconnected),
            () if flags.volatile && !engine.is_writable() => Err(EmitError::NotReady),
            () => Ok(()),
        }
    }

    /// Closes the client because it missed a message, so that it knows, and can connect again.
    pub(crate) fn close_slow(&self) {
        self.0.session.close_slow();
    }
}

impl Acknowledge for Socket {
    fn acknowledge(&self, id: u64, args: &dyn Encode) -> Result<(), EmitError> {
        // The client may wait for it.
        self.send_packet(Kind::Ack(id), args, Flags::default().may_drop(false), |_| ())
    }
}

fn how(flags: Flags) -> SendFlags {
    SendFlags::default().compress(flags.compress).may_drop(flags.may_drop)
}

/// Returns the error of a message that was not queued.
#[cold]
fn refusal(engine: &engineio::server::Session, error: SendError) -> EmitError {
    match error {
        SendError::Full { queued } if engine.config().when_full != WhenFull::Close => {
            EmitError::Full { queued }
        }
        error => error.into(),
    }
}
