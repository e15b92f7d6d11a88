//! Sending messages and packets of the protocol: over WebSocket as frames, otherwise as packets of the next request.

use super::{Session, Stage, State};
use crate::copy::append;
use crate::engineio::client::error::{SendError, TransportError};
use crate::engineio::frames::Part;
use crate::engineio::packet::{base64_len, write_base64};
use crate::engineio::transport::Transport;
use crate::outbound::Outbound;
use crate::time::Time;
use crate::websocket::{self, Header, Opcode};
use alloc::vec::Vec;

impl Session {
    /// Queues messages as one unit: nothing comes between them, and all are queued or none.
    ///
    /// # Errors
    /// Returns an error if the session is not open, if the send buffer is full, if the unit is larger than the send
    /// buffer, or if a message of it is larger than the server accepts.
    pub fn send<'a>(
        &mut self,
        now: Time,
        parts: impl Iterator<Item = Part<'a>> + Clone,
    ) -> Result<(), SendError> {
        self.send_within(now, self.config.send_buffer, parts)
    }

    /// Queues a message of the protocol above, which is small and must not be lost because the application's messages
    /// fill the send buffer. If twice the send buffer has no capacity for it, the session ends.
    ///
    /// # Errors
    /// Returns an error if the session is not open, or if the message is larger than that or than the server accepts.
    pub fn send_control(&mut self, now: Time, message: Part<'_>) -> Result<(), SendError> {
        self.handle_timeout(now);
        if self.keep_for_later(message) {
            return Ok(());
        }
        let sent = self.send_within(now, self.control_limit(), core::iter::once(message));
        if let Err(SendError::Full { queued }) = sent {
            self.end(TransportError::NotRead { queued }.into());
            return Err(SendError::NotOpen);
        }
        sent
    }

    /// Returns the maximum number of queued bytes behind which the packets of the protocols may wait. A message may fill
    /// the send buffer, and the pong after it must not end the session.
    pub(super) fn control_limit(&self) -> usize {
        self.config.send_buffer.saturating_mul(2)
    }

    fn send_within<'a>(
        &mut self,
        now: Time,
        limit: usize,
        parts: impl Iterator<Item = Part<'a>> + Clone,
    ) -> Result<(), SendError> {
        // The machine may have slept past the deadline of the ping.
        self.handle_timeout(now);
        if !self.is_open() {
            return Err(SendError::NotOpen);
        }
        let on_websocket = matches!(self.state, State::WebSocket);
        let in_base64 = !on_websocket || self.config.force_base64;
        let size = |part: Part<'_>| match part {
            Part::Text(text) => text.len() + 1,
            Part::Binary(data) if in_base64 => base64_len(data.len()),
            Part::Binary(data) => data.len(),
        };
        let largest = self.max_payload().unwrap_or(usize::MAX);
        let mut total: usize = 0;
        for size in parts.clone().map(size) {
            if size > largest {
                return Err(SendError::TooLarge { size, limit: largest });
            }
            total = total.saturating_add(size);
        }
        if self.queue.size().saturating_add(total) > limit {
            return Err(match total > limit {
                true => SendError::TooLarge { size: total, limit },
                false => SendError::Full { queued: self.queue.text().len() },
            });
        }
        if let Some(resume) = &mut self.resume {
            // What the protocol above needs goes beyond the limit, but not for ever.
            let is_full = match limit <= self.config.send_buffer {
                true => resume.is_full(total),
                false => resume.size().saturating_add(total) > limit,
            };
            if is_full {
                return Err(SendError::Full { queued: resume.size() });
            }
            resume.keep(parts.clone());
        }
        if self.notes.is_some() {
            parts.clone().for_each(|part| self.note_message(part));
        }
        if !on_websocket {
            self.queue.write(parts);
            return Ok(());
        }
        for part in parts {
            match part {
                Part::Text(text) => self.push_frame(Opcode::Text, &[b"4", text]),
                Part::Binary(data) if in_base64 => {
                    let mut text = Vec::with_capacity(base64_len(data.len()));
                    write_base64(&mut text, data);
                    self.push_frame(Opcode::Text, &[&text]);
                }
                Part::Binary(data) => self.push_frame(Opcode::Binary, &[data]),
            }
        }
        Ok(())
    }

    /// Queues a frame whose payload is in pieces, compressed if that was negotiated and makes it shorter.
    pub(super) fn push_frame(&mut self, opcode: Opcode, payload: &[&[u8]]) {
        let mask = self.masks.next(&mut self.random);
        let deflate = self.deflate.filter(|_| !opcode.is_control());
        let pool = &self.config.deflate_pool;
        self.queue.text_mut().write_with(|out| {
            if deflate.is_some_and(|deflate| deflate.write_frame(pool, out, opcode, payload, Some(mask))) {
                return;
            }
            let len = payload.iter().map(|piece| piece.len()).sum();
            out.extend_from_slice(&Header::new(opcode, len, Some(mask)));
            let start = out.len();
            payload.iter().for_each(|piece| append(out, piece));
            websocket::apply_mask(out.get_mut(start..).unwrap_or_default(), mask);
        });
    }

    /// Queues a packet of the protocol itself. Ends the session if the server does not read: otherwise its pings would
    /// make such packets pile up.
    pub(super) fn push_control(&mut self, packet: &[u8]) {
        if self.said_close {
            return;
        }
        if self.queue.size() > self.control_limit() {
            let queued = self.queue.text().len();
            return self.end(TransportError::NotRead { queued }.into());
        }
        if self.notes.is_some() {
            self.note_control(packet, self.transport());
        }
        match self.state {
            State::WebSocket => self.push_frame(Opcode::Text, &[packet]),
            _ => self.queue.push_control(packet),
        }
    }

    /// Returns whether [`transmit`](Session::transmit) has something to move.
    pub fn wants_transmit(&self) -> bool {
        match &self.state {
            State::WebSocket => !self.queue.text().is_empty(),
            State::Polling(polling) => polling.probe.as_ref().is_some_and(|probe| probe.stage == Stage::Open),
            State::Opening { .. } | State::Detached => false,
        }
    }

    /// Returns the queue, so that its memory can come from a pool and return there.
    pub fn queue_mut(&mut self) -> &mut Outbound {
        self.queue.text_mut()
    }

    /// Moves the frames for the WebSocket connection to `out`. Call this once `out` is written.
    pub fn transmit(&mut self, out: &mut Outbound) {
        match &mut self.state {
            State::WebSocket => out.append(self.queue.text_mut()),
            State::Polling(polling) => {
                let Some(probe) = polling.probe.as_mut().filter(|probe| probe.stage == Stage::Open) else {
                    return;
                };
                probe.stage = Stage::Sent;
                let mask = self.masks.next(&mut self.random);
                out.write_with(|out| websocket::write_frame(out, Opcode::Text, b"2probe", Some(mask)));
                self.note_control(b"2probe", Transport::WebSocket);
            }
            _ => {}
        }
    }
}
