//! The move from polling to WebSocket.

use super::{Note, Session, State};
use crate::engineio::client::error::TransportError;
use crate::engineio::payload::{Payload, decode_binary};
use crate::websocket::Opcode;
use bytes::Buf;

impl Session {
    /// Moves to WebSocket once no request is in progress.
    pub(super) fn complete_upgrade(&mut self) {
        let State::Polling(polling) = &self.state else { return };
        if !polling.is_pausing() || polling.poll || polling.post.is_some() {
            return;
        }
        self.state = State::WebSocket;
        let payload = core::mem::take(&mut self.queue);
        self.push_control(b"5");
        self.note(|_| Note::Upgraded);
        self.push_packets(payload);
        self.move_mark();
    }

    /// Queues packets as frames.
    pub(super) fn push_packets(&mut self, payload: Payload) {
        for mut packet in payload.into_packets() {
            let data = if self.config.force_base64 { None } else { decode_binary(&mut packet) };
            match data {
                Some(data) => self.push_frame(Opcode::Binary, &[&data]),
                None => self.push_frame(Opcode::Text, &[&packet.copy_to_bytes(packet.len())]),
            }
        }
    }

    /// Gives up the upgrade, if one is being tried.
    pub(super) fn stay_polling(&mut self, error: TransportError) {
        if let State::Polling(polling) = &mut self.state
            && polling.probe.take().is_some()
        {
            self.note(|_| Note::NotUpgraded(error));
        }
    }
}
