//! Packets from the server.

use super::super::namespace::{Left, State};
use super::super::recovery::Recovery;
use super::super::text::Read;
use super::super::{ConnectError, DisconnectReason, Event, Incoming, NamespaceId};
use super::Client;
use crate::engineio::client::CloseReason;
use crate::socketio::args::OwnedArgs;
use crate::socketio::error::DecodeError;
use crate::socketio::kind::Kind;
use crate::socketio::packet::Packet;
use crate::socketio::parser::text::from_json;
use crate::time::Time;
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use serde::Deserialize;

impl Client {
    /// Ends the session, because the server broke the protocol.
    pub(super) fn break_off(&mut self, why: &dyn core::fmt::Display) {
        if let Some(engine) = &mut self.engine {
            engine.fail(CloseReason::Protocol(why.to_string().into()));
        }
    }

    /// Handles a binary message of a payload, which was decoded from base64 and is not read yet.
    pub(super) fn receive_binary(&mut self, now: Time, data: &[u8]) {
        let limits = self.config.limits;
        self.receive_read(now, Read::new(self.config.parser.decode_binary(data, &limits).0));
    }

    pub(super) fn receive_read(&mut self, now: Time, read: Read<'_>) {
        if let Err(error) = self.handle_read(now, read) {
            self.break_off(&error);
        }
    }

    fn handle_read(&mut self, now: Time, read: Read<'_>) -> Result<(), DecodeError> {
        if let Read::Attachment(data) = read {
            return self.receive_attachment(now, data);
        }
        self.reassembly.handle_text()?;
        match read {
            Read::Packet(packet, args) => self.receive(now, &packet, args),
            Read::Whole(complete, args) => self.receive(now, &complete.packet(), args),
            Read::Begun(reassembly) => {
                self.reassembly = reassembly;
                self.reassembly_deadline = Some(now + self.config.limits.reassembly_timeout);
            }
            Read::Wrong(error) => return Err(error),
            Read::Attachment(_) | Read::Nothing => {}
        }
        Ok(())
    }

    fn receive_attachment(&mut self, now: Time, data: &[u8]) -> Result<(), DecodeError> {
        let added = self.reassembly.add(data, &self.config.limits);
        if !self.reassembly.is_pending() {
            self.reassembly_deadline = None;
        }
        if let Some(complete) = added? {
            let packet = complete.packet();
            let args = packet.args(complete.attachments()).map(|args| args.into_owned());
            self.receive(now, &packet, args);
        }
        Ok(())
    }

    fn receive(&mut self, now: Time, packet: &Packet<'_>, args: Option<OwnedArgs>) {
        let at = self.namespaces.iter().position(|it| *it.name == *packet.namespace);
        // A packet for an unknown namespace is ignored: it does no harm.
        let Some(at) = at else { return };
        let id = NamespaceId::at(at);
        match packet.kind {
            Kind::Connect => self.receive_connect(now, id, packet.data),
            Kind::ConnectError => self.receive_connect_error(now, id, packet.data),
            Kind::Disconnect => self.receive_disconnect(now, id),
            Kind::Event | Kind::BinaryEvent => self.receive_event(id, packet.id, args),
            Kind::Ack | Kind::BinaryAck => self.receive_ack(now, id, packet.id, args),
        }
    }

    fn receive_connect(&mut self, now: Time, id: NamespaceId, data: &str) {
        #[derive(Deserialize)]
        struct Connected {
            sid: Box<str>,
            #[serde(default)]
            pid: Option<Box<str>>,
        }
        let Some(namespace) = self.namespaces.get_mut(id.index()) else { return };
        match namespace.state {
            State::Joining(_) => {}
            State::Joined => return self.break_off(&"a second answer to a connect"),
            _ if namespace.unanswered.is_some() => {
                self.send_leave(now, id);
                return self.receive_late_answer(now, id);
            }
            // An answer that nobody has asked for is ignored: it does no harm.
            _ => return,
        }
        let Ok(connected) = serde_json::from_str::<Connected>(data) else {
            namespace.leave(State::Idle, self.config.retries, &mut self.events);
            namespace.report_failure(ConnectError::OldServer, &mut self.events);
            return self.close_if_unused(now);
        };
        let known = namespace.recovery.as_ref().map(|it| &it.pid);
        namespace.recovered = connected.pid.is_some() && connected.pid.as_ref() == known;
        if !namespace.recovered {
            let before = namespace.recovery.take();
            let new = |pid| Box::new(Recovery::new(pid, before.map(|it| *it)));
            namespace.recovery = connected.pid.map(new);
        }
        namespace.sid = Some(connected.sid);
        namespace.state = State::Joined;
        namespace.left = Left::No;
        namespace.failures = 0;
        self.attempts = 0;
        for incoming in namespace.early.take().map(|early| early.events).into_iter().flatten() {
            if let Some(recovery) = &mut namespace.recovery {
                recovery.keep(&incoming);
            }
            self.events.push_back(Event::Incoming(id, incoming));
        }
        namespace.report_joined(&mut self.events);
        self.flush(now, id);
    }

    fn receive_connect_error(&mut self, now: Time, id: NamespaceId, data: &str) {
        let Some(namespace) = self.namespaces.get_mut(id.index()) else { return };
        if namespace.unanswered.is_some() {
            return self.receive_late_answer(now, id);
        }
        if !matches!(namespace.state, State::Joining(_)) {
            return self.break_off(&"a connect error without a connect");
        }
        namespace.leave(State::Idle, self.config.retries, &mut self.events);
        namespace.report_failure(refusal(data), &mut self.events);
        self.close_if_unused(now);
    }

    /// Handles the answer for a namespace that was left meanwhile, and may be wanted again.
    fn receive_late_answer(&mut self, now: Time, id: NamespaceId) {
        let Some(namespace) = self.namespaces.get_mut(id.index()) else { return };
        namespace.unanswered = None;
        if namespace.state == State::Wanted {
            self.ask_to_join(now, id);
        }
    }

    fn receive_disconnect(&mut self, now: Time, id: NamespaceId) {
        let Some(namespace) = self.namespaces.get_mut(id.index()) else { return };
        // If both sides leave at the same time, this side has left already.
        if namespace.state == State::Joined {
            namespace.leave(State::Idle, self.config.retries, &mut self.events);
            self.events.push_back(Event::Disconnected(id, DisconnectReason::Server));
            self.close_if_unused(now);
        } else if let Left::Untold(_) = namespace.left {
            // The server need not be told any more.
            namespace.left = Left::No;
            self.join_again(now, id);
            self.close_if_unused(now);
        }
    }

    fn receive_event(&mut self, id: NamespaceId, ack: Option<u64>, args: Option<OwnedArgs>) {
        let Some(namespace) = self.namespaces.get_mut(id.index()) else { return };
        let Some(args) = args else { return };
        let incoming = Incoming { args, ack };
        match namespace.state {
            State::Joined => {
                if let Some(recovery) = &mut namespace.recovery {
                    recovery.keep(&incoming);
                }
                self.events.push_back(Event::Incoming(id, incoming));
            }
            // The server sent it before it knew that the namespace was left.
            State::Joining(_) if namespace.left != Left::No => {}
            // The server may be replaying missed events. None of them wants an acknowledgement, which could not be sent
            // before the namespace is joined.
            State::Joining(_)
                if namespace.early.is_none()
                    && incoming.ack.is_none()
                    && let Some(recovery) = &mut namespace.recovery =>
            {
                recovery.keep(&incoming);
                self.events.push_back(Event::Incoming(id, incoming));
            }
            State::Joining(_) => {
                let early = namespace.early.get_or_insert_default();
                let args = incoming.args.as_args();
                early.bytes += size_of::<Incoming>() + args.json().len() + args.attachments().bytes();
                if early.bytes > self.config.receive_buffer {
                    // With it, the next attempt would end in the same way.
                    namespace.recovery = None;
                    return self.break_off(&"too many events before the answer to a connect");
                }
                early.events.push(incoming);
            }
            _ => {}
        }
    }

    fn receive_ack(&mut self, now: Time, id: NamespaceId, ack: Option<u64>, args: Option<OwnedArgs>) {
        let Some(namespace) = self.namespaces.get_mut(id.index()) else { return };
        let (Some(ack), Some(args)) = (ack, args) else { return };
        let first = namespace.retries.front();
        if let Some((token, _)) = first.filter(|(_, retry)| retry.ack == ack && retry.tries > 0) {
            namespace.retries.remove(token);
            self.events.push_back(Event::Answer(id, ack, Ok(args)));
            self.events.push_back(Event::Fate(token, Ok(())));
            return self.flush(now, id);
        }
        // An acknowledgement that comes too late, or twice, is ignored.
        if namespace.acks.take(ack).is_some() {
            self.events.push_back(Event::Answer(id, ack, Ok(args)));
        }
    }
}

/// Returns the error in a server's refusal, which is an object with a message, or a string.
fn refusal(data: &str) -> ConnectError {
    use serde_json::Value;
    let (message, data) = match from_json(data) {
        Ok(Value::String(message)) => (message, None),
        Ok(Value::Object(mut object)) => {
            let message = match object.remove("message") {
                Some(Value::String(message)) => message,
                Some(other) => other.to_string(),
                None => String::new(),
            };
            (message, object.remove("data"))
        }
        _ => (String::new(), None),
    };
    ConnectError::Refused { message, data }
}
