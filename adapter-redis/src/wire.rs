//! A connection whose answers are read by the parsers of this crate.

use crate::endpoint::Endpoint;
use crate::failure::Failure;
use crate::runtime::Stream;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use redis::{Cmd, cmd};
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use tokio::io::{AsyncReadExt, AsyncWrite};

/// The bytes that are read at once, unless more are known to come.
const READ: usize = 64 << 10;

/// The most bytes that are taken at once from memory that is used again.
const MAX_REUSED: usize = 4 * READ;

pub(crate) struct Wire {
    stream: Stream,
    /// What was read, and not taken yet.
    input: BytesMut,
    output: Vec<u8>,
    /// The bytes of the output that are written.
    written: usize,
}

impl Wire {
    pub(crate) fn new(stream: Stream) -> Wire {
        Wire { stream, input: BytesMut::new(), output: Vec::new(), written: 0 }
    }

    /// Adds a command to the output.
    pub(crate) fn send(&mut self, command: &Cmd) {
        command.write_packed_command(&mut self.output);
    }

    /// Adds the command by which a user logs in, if there is a password. Returns whether there is.
    pub(crate) fn log_in(&mut self, to: &Endpoint) -> bool {
        let Some(password) = to.login.password() else { return false };
        let mut auth = cmd("AUTH");
        if let Some(user) = to.login.username() {
            auth.arg(user);
        }
        self.send(auth.arg(password));
        true
    }

    /// Takes everything that was read. What is not complete has to be [put back](Wire::put_back).
    pub(crate) fn take(&mut self) -> Bytes {
        std::mem::take(&mut self.input).freeze()
    }

    /// Puts back the last `rest` bytes of what was taken. Its memory is used again, unless somebody has kept a part of it, or
    /// it was that of a large message: of small ones that follow, each would keep all of it.
    pub(crate) fn put_back(&mut self, mut input: Bytes, rest: usize) {
        let taken = input.len().saturating_sub(rest);
        input.advance(taken);
        let input = if taken > MAX_REUSED { Err(input) } else { input.try_into_mut() };
        self.input = input.unwrap_or_else(|input| BytesMut::from(&*input));
    }

    /// Writes what can be written of the output. Ready if nothing is left.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, to: &Endpoint) -> Result<Poll<()>, Failure> {
        while let Some(rest) = self.output.get(self.written..).filter(|rest| !rest.is_empty()) {
            match Pin::new(&mut self.stream).poll_write(cx, rest) {
                Poll::Pending => return Ok(Poll::Pending),
                Poll::Ready(Ok(0)) => return Err(Failure::closed(to)),
                Poll::Ready(Ok(written)) => self.written += written,
                Poll::Ready(Err(error)) => return Err(Failure::lost(to, &error)),
            }
        }
        if self.written > 0 {
            self.written = 0;
            self.output = Vec::new();
        }
        // TLS keeps what does not fit into the socket.
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Ready(Err(error)) => Err(Failure::lost(to, &error)),
            flushed => Ok(flushed.map(drop)),
        }
    }

    /// Reads into the input, of which `missing` bytes are known to come. Pending if there is nothing.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        missing: usize,
        to: &Endpoint,
    ) -> Result<Poll<()>, Failure> {
        let len = missing.max(READ);
        self.input.reserve(len);
        // More may be reserved. The future keeps nothing between polls.
        match pin!(self.stream.read_buf(&mut (&mut self.input).limit(len))).poll(cx) {
            Poll::Ready(Ok(0)) => Err(Failure::closed(to)),
            Poll::Ready(Ok(_)) => Ok(Poll::Ready(())),
            Poll::Ready(Err(error)) => Err(Failure::lost(to, &error)),
            Poll::Pending => {
                if self.input.is_empty() {
                    // An idle connection needs no buffer.
                    self.input = BytesMut::new();
                }
                Ok(Poll::Pending)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use tokio::io::{join, repeat, sink};

    #[test]
    fn reads_are_small_and_in_memory_of_their_own_after_a_large_message() {
        let to = Endpoint::parse("redis://127.0.0.1").unwrap();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        for large in [MAX_REUSED, 8 << 20] {
            let mut wire = Wire::new(Box::new(join(repeat(b'x'), sink())));
            let mut missing = large;
            while missing > 0 {
                assert!(wire.poll_read(&mut cx, missing, &to).unwrap().is_ready());
                missing = large.saturating_sub(wire.input.len());
                let input = wire.take();
                let rest = if missing > 0 { input.len() } else { 3 };
                wire.put_back(input, rest);
            }
            for _ in 0..10 {
                assert!(wire.poll_read(&mut cx, 0, &to).unwrap().is_ready());
                assert!(wire.input.len() <= 3 + READ, "{} bytes were read", wire.input.len());
                assert!(wire.input.capacity() <= 2 * MAX_REUSED, "{} bytes are kept", wire.input.capacity());
                let input = wire.take();
                wire.put_back(input, 3);
            }
        }
    }
}
