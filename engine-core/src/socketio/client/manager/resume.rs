//! Stateful reconnect: the namespaces stay joined while the session has no connection.

use super::super::namespace::{Namespace, State};
use super::super::{Config, Emitted, Event, Limits, NamespaceId};
use super::{Client, Link, SHORTEST};
use crate::engineio::client::{CloseReason, Unconfirmed};
use crate::engineio::{Message, Packet as EnginePacket};
use crate::socketio::args::OwnedArgs;
use crate::socketio::attached::Attached;
use crate::socketio::kind::Kind;
use crate::socketio::packet::Packet;
use crate::socketio::parser::Form;
use crate::socketio::parser::text::Reassembly;
use crate::time::Time;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

impl Client {
    /// Returns whether the current session can outlive its connections: the server has agreed to stateful reconnect.
    pub fn is_resumable(&self) -> bool {
        self.engine.as_ref().is_some_and(|engine| engine.is_resumable())
    }

    /// Returns whether the current session has lost its connection and is being resumed: namespaces stay joined meanwhile.
    pub fn is_interrupted(&self) -> bool {
        self.engine.as_ref().is_some_and(|engine| engine.lost().is_some())
    }

    /// Returns whether streams of this generation belong to the current session, which goes on without them.
    pub(super) fn is_given_up(&self, generation: u64) -> bool {
        (self.generation - u64::from(self.resumed)..self.generation).contains(&generation)
            && self.is_resumable()
    }

    /// Follows a session that has lost its connection, or could not be resumed by the last attempt.
    pub(super) fn follow_detached(&mut self, now: Time) {
        let Some(engine) = &self.engine else { return };
        match self.link {
            Link::Open => {
                let Some(reason) = engine.lost().cloned() else { return };
                if engine.had_progress() {
                    self.attempts = 0;
                }
                self.events.push_back(Event::Interrupted(reason));
                // The packet continues with the session.
                self.reassembly_deadline = None;
                for namespace in &mut self.namespaces {
                    if let State::Asked(_) = namespace.state {
                        // A late answer of the application belongs to the earlier attempt.
                        namespace.attempt = namespace.attempt.wrapping_add(1);
                        namespace.state = State::Wanted;
                    }
                }
            }
            Link::Opening(_) => {
                let reason = engine.resume_failure().or(engine.lost()).cloned();
                self.events.extend(reason.map(Event::ReconnectError));
            }
            Link::Idle | Link::Waiting(_) => return,
        }
        let is_first = self.link == Link::Open && self.attempts == 0;
        // Packets of the earlier streams that were not handled yet will be sent again.
        self.generation += 1;
        self.resumed = self.resumed.saturating_add(1);
        self.link = Link::Idle;
        if !self.tries_again(self.attempts) {
            if let Some(engine) = &mut self.engine {
                engine.give_up_resuming();
            }
            return self.follow_engine(now);
        }
        let delay = match is_first {
            // Soon, but not all clients of a proxy that was restarted at once.
            true => {
                let Config { reconnection_delay, randomization_factor, .. } = &*self.config;
                self.random.jitter(*reconnection_delay / 2, randomization_factor * 2.0).max(SHORTEST)
            }
            false => self.back_off(self.attempts),
        };
        self.attempts += 1;
        self.reconnecting = true;
        self.link = Link::Waiting(now + delay);
    }

    /// Handles that the session goes on with another connection.
    pub(super) fn resumed(&mut self, now: Time) {
        self.link = Link::Open;
        self.reconnecting = false;
        self.events.push_back(Event::Resumed);
        if self.reassembly.is_pending() {
            self.reassembly_deadline = Some(now + self.config.limits.reassembly_timeout);
        }
        self.join_wanted(now);
    }

    /// Handles that the server has opened another session, because it no longer has the one that was to be resumed.
    pub(super) fn replaced(&mut self, now: Time, unconfirmed: Unconfirmed) {
        let reason = unconfirmed.reason.clone().unwrap_or(CloseReason::PingTimeout);
        self.leave_all(&reason);
        self.report_lost(unconfirmed);
        // Streams of the earlier session are no longer of use.
        self.resumed = 0;
        self.opened(now);
    }

    /// Reports the events that the server may not have handled. Those that an acknowledgement was requested for have failed
    /// already.
    pub(super) fn report_lost(&mut self, unconfirmed: Unconfirmed) {
        for (namespace, args) in self.read_events(&unconfirmed.packets) {
            if let Some(id) =
                self.namespaces.iter().find(|it| *it.name == *namespace).map(|it: &Namespace| it.id)
            {
                self.events.push_back(Event::Lost(id, Emitted::new(args)));
            }
        }
    }

    /// Reads events without an acknowledgement that this side has sent. Returns each with the name of its namespace.
    fn read_events(&self, packets: &[Bytes]) -> Vec<(String, OwnedArgs)> {
        let parser = self.config.parser;
        // They are this side's own.
        let limits = Limits {
            max_attachments: usize::MAX,
            max_attachment_bytes: usize::MAX,
            max_namespace_len: usize::MAX,
            max_event_len: usize::MAX,
            ..self.config.limits
        };
        let (mut events, mut reassembly) = (Vec::new(), Reassembly::new());
        let mut add = |packet: &Packet<'_>, attached: Attached<'_>| {
            let is_event = matches!(packet.kind, Kind::Event | Kind::BinaryEvent) && packet.id.is_none();
            let args = packet.args(attached).filter(|_| is_event);
            events.extend(args.map(|args| (String::from(packet.namespace), args.into_owned())));
        };
        for packet in packets {
            let text = core::str::from_utf8(packet).unwrap_or_default();
            let Ok(EnginePacket::Message(message)) = EnginePacket::decode(text) else { continue };
            let form = match &message {
                Message::Text(text) => parser.decode_text(text, &limits).0,
                Message::Binary(data) => parser.decode_binary(data, &limits).0,
            };
            match form {
                Form::Packet(packet) => add(&packet, Attached::default()),
                Form::Whole(complete) => add(&complete.packet(), complete.attachments()),
                Form::Begun(_, begun) => reassembly = begun.unwrap_or_default(),
                Form::Attachment(data) => {
                    if let Ok(Some(complete)) = reassembly.add(data, &limits) {
                        add(&complete.packet(), complete.attachments());
                    }
                }
                Form::Wrong(_) => {}
            }
        }
        events
    }

    /// Asks for the auth data of every namespace that is to be joined.
    pub(super) fn join_wanted(&mut self, now: Time) {
        for at in 0..self.namespaces.len() {
            if self.namespaces.get(at).is_some_and(|it| it.state == State::Wanted) {
                self.ask_to_join(now, NamespaceId::at(at));
            }
        }
    }
}
