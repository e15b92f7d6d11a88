//! Sending events: immediately, once there is a connection or capacity, or again.

use super::super::namespace::{Namespace, State};
use super::super::waiting::{Entry, Retry, Unit, Waiting};
use super::super::{Emitted, Event, How, NamespaceId, NoAnswer, Offline, Sent, Token};
use super::{Client, SHORTEST};
use crate::engineio::client::SendError;
use crate::socketio::client::EmitError;
use crate::socketio::parser::Encoded;
use crate::time::Time;
use core::time::Duration;

impl Client {
    /// Returns the id for the next acknowledgement: at most 2^31 - 1, and none that is pending.
    pub fn next_ack(&mut self, id: NamespaceId) -> u64 {
        self.namespaces.get_mut(id.index()).map_or(0, Namespace::next_ack)
    }

    /// Sets the next id, as if those before it had been used.
    #[cfg(test)]
    pub(in crate::socketio::client) fn set_next_ack(&mut self, id: NamespaceId, next: u32) {
        if let Some(namespace) = self.namespaces.get_mut(id.index()) {
            namespace.acks.next = next;
        }
    }

    /// Sends an encoded event.
    ///
    /// With [retries](super::super::Config::retries) it needs an acknowledgement id, even if the application does not
    /// wait for the acknowledgement.
    ///
    /// # Errors
    /// Returns an error if the event will be sent neither now nor later.
    pub fn send(
        &mut self,
        now: Time,
        id: NamespaceId,
        packet: &Encoded<'_>,
        how: How,
    ) -> Result<Sent, EmitError> {
        let retries = self.config.retries > 0 && !how.volatile;
        let Some(namespace) = self.namespaces.get_mut(id.index()) else {
            return Err(EmitError::Disconnected);
        };
        if how.ack.is_some() && namespace.acks.is_full() {
            return Err(EmitError::TooManyAcks);
        }
        let sent = match (how.ack, retries) {
            (Some(ack), true) => self.send_with_retries(now, id, packet, ack),
            _ => self.send_once(now, id, packet, how),
        };
        self.follow_engine(now);
        sent
    }

    fn send_once(
        &mut self,
        now: Time,
        id: NamespaceId,
        packet: &Encoded<'_>,
        how: How,
    ) -> Result<Sent, EmitError> {
        let namespace = self.namespaces.get_mut(id.index()).ok_or(EmitError::Disconnected)?;
        let engine = self.engine.as_mut().filter(|_| namespace.state == State::Joined);
        if how.volatile && !engine.as_ref().is_some_and(|it| it.is_writable()) {
            return Err(EmitError::NotReady);
        }
        let mut is_sent = false;
        // Events that wait are sent first.
        if let Some(engine) = engine
            && namespace.outbox.is_empty()
        {
            match engine.send(now, packet.parts()) {
                Ok(()) => {
                    namespace.sent = Some(now);
                    if namespace.tells_outgoing {
                        let outgoing = Emitted::new(packet.event_args());
                        self.events.push_back(Event::Outgoing(id, outgoing));
                    }
                    is_sent = true;
                }
                Err(SendError::NotOpen) if how.volatile => return Err(EmitError::NotReady),
                Err(SendError::NotOpen) => {}
                // It waits until the server has acknowledged others.
                Err(SendError::Full { .. }) if engine.is_resumable() && !how.volatile => {}
                Err(error) => return Err(error.into()),
            }
        }
        let waits = match is_sent {
            true => None,
            false => Some(self.keep(now, id, packet, how.ack.map(|(ack, _)| ack))?),
        };
        if let (Some((ack, timeout)), Some(namespace)) = (how.ack, self.namespaces.get_mut(id.index())) {
            let added = namespace.acks.insert_at(ack, Some(now + timeout), waits);
            debug_assert!(added.is_ok(), "the table was checked for capacity");
        }
        Ok(waits.map_or(Sent::Now, Sent::Later))
    }

    fn keep(
        &mut self,
        now: Time,
        id: NamespaceId,
        packet: &Encoded<'_>,
        ack: Option<u64>,
    ) -> Result<Token, EmitError> {
        let waiting = Waiting { unit: Unit::new(packet), ack, since: now, is_reply: false };
        let (namespace, token) = self.admit(now, id, waiting.size())?;
        namespace.outbox.push(token, waiting);
        Ok(token)
    }

    fn send_with_retries(
        &mut self,
        now: Time,
        id: NamespaceId,
        packet: &Encoded<'_>,
        (ack, timeout): (u64, Duration),
    ) -> Result<Sent, EmitError> {
        let timeout = timeout.max(SHORTEST);
        let retry = Retry { unit: Unit::new(packet), ack, since: now, timeout, tries: 0, deadline: None };
        let (namespace, token) = self.admit(now, id, retry.size())?;
        namespace.retries.push(token, retry);
        Ok(Sent::Later(token))
    }

    /// Returns the namespace and a token for an event of `size` bytes that is to wait.
    ///
    /// # Errors
    /// Returns an error if the event may not wait.
    fn admit(
        &mut self,
        now: Time,
        id: NamespaceId,
        size: usize,
    ) -> Result<(&mut Namespace, Token), EmitError> {
        let namespace = self.namespaces.get_mut(id.index()).ok_or(EmitError::Disconnected)?;
        let limit = match self.config.offline {
            Offline::Fail => {
                let engine = self.engine.as_mut().filter(|_| namespace.state == State::Joined);
                // The machine may have slept past the deadline of the session.
                let is_open = engine.is_some_and(|engine| {
                    engine.handle_timeout(now);
                    engine.is_open()
                });
                if !is_open {
                    return Err(EmitError::Disconnected);
                }
                // It waits behind other events, or for its acknowledgement.
                self.config.engine.send_buffer
            }
            Offline::Buffer { bytes, .. } => bytes,
        };
        if namespace.buffered().saturating_add(size) > limit {
            return Err(EmitError::OfflineFull { limit });
        }
        self.tokens += 1;
        Ok((namespace, Token(self.tokens)))
    }

    /// Sends an acknowledgement.
    ///
    /// # Errors
    /// Returns an error if it cannot be sent; it does not wait for another connection.
    pub fn acknowledge(&mut self, now: Time, id: NamespaceId, packet: &Encoded<'_>) -> Result<(), SendError> {
        let is_joined = self.is_connected(id);
        let Some(engine) = self.engine.as_mut().filter(|_| is_joined) else {
            return Err(SendError::NotOpen);
        };
        if engine.is_resumable() && engine.closed().is_none() {
            return self.acknowledge_in_order(now, id, packet);
        }
        let sent = engine.send(now, packet.parts());
        self.follow_engine(now);
        sent
    }

    /// Sends an acknowledgement behind the events that wait, in a session that can be resumed: it waits with them.
    fn acknowledge_in_order(
        &mut self,
        now: Time,
        id: NamespaceId,
        packet: &Encoded<'_>,
    ) -> Result<(), SendError> {
        let (Some(namespace), Some(engine)) = (self.namespaces.get_mut(id.index()), &mut self.engine) else {
            return Err(SendError::NotOpen);
        };
        let sent = match namespace.outbox.is_empty() {
            true => engine.send(now, packet.parts()),
            false => Err(SendError::NotOpen),
        };
        let waits = matches!(sent, Err(SendError::NotOpen | SendError::Full { .. }));
        if !waits || engine.closed().is_some() {
            self.follow_engine(now);
            return sent;
        }
        let waiting = Waiting { unit: Unit::new(packet), ack: None, since: now, is_reply: true };
        let queued = namespace.buffered();
        if queued.saturating_add(waiting.size()) > self.config.engine.send_buffer {
            return Err(SendError::Full { queued });
        }
        self.tokens += 1;
        namespace.outbox.push(Token(self.tokens), waiting);
        self.follow_engine(now);
        Ok(())
    }

    /// Stops waiting for an acknowledgement. If the event still waits, it is sent all the same.
    pub fn forget_ack(&mut self, id: NamespaceId, ack: u64) {
        if let Some(namespace) = self.namespaces.get_mut(id.index()) {
            namespace.acks.take(ack);
        }
    }

    /// Sets whether events that are sent are reported by [`Event::Outgoing`]. Default: off.
    pub fn tell_outgoing(&mut self, id: NamespaceId, tell: bool) {
        if let Some(namespace) = self.namespaces.get_mut(id.index()) {
            namespace.tells_outgoing = tell;
        }
    }

    /// Returns whether events that are sent are [reported](Client::tell_outgoing).
    pub fn tells_outgoing(&self, id: NamespaceId) -> bool {
        self.namespaces.get(id.index()).is_some_and(|it| it.tells_outgoing)
    }

    /// Returns the number of bytes of a namespace that wait for a connection or an acknowledgement, counted as in
    /// [`Offline::Buffer`].
    pub fn buffered(&self, id: NamespaceId) -> usize {
        self.namespaces.get(id.index()).map_or(0, Namespace::buffered)
    }

    /// Drops all events of a namespace that wait to be sent.
    pub fn clear(&mut self, id: NamespaceId) {
        if let Some(namespace) = self.namespaces.get_mut(id.index()) {
            namespace.clear(&mut self.events);
        }
    }

    /// Sends the events that wait, as far as there is capacity.
    pub(super) fn flush(&mut self, now: Time, id: NamespaceId) {
        let Some(namespace) = self.namespaces.get_mut(id.index()).filter(|it| it.state == State::Joined)
        else {
            return;
        };
        let Some(engine) = &mut self.engine else { return };
        while let Some((token, waiting)) = namespace.outbox.front() {
            let sent = match engine.send(now, waiting.unit.parts()) {
                Err(SendError::NotOpen | SendError::Full { .. }) => return,
                sent => sent,
            };
            let Some(Waiting { unit, ack, is_reply, .. }) = namespace.outbox.remove(token) else { return };
            match sent {
                Ok(()) => {
                    namespace.sent = Some(now);
                    if is_reply {
                        continue;
                    }
                    if namespace.tells_outgoing {
                        self.events.push_back(Event::Outgoing(id, unit.outgoing()));
                    }
                    if let Some(waits) = ack.and_then(|ack| namespace.acks.get_mut(ack)) {
                        *waits = None;
                    }
                    self.events.push_back(Event::Fate(token, Ok(())));
                }
                Err(error) => namespace.drop_waiting(token, ack, error.into(), &mut self.events),
            }
        }
        while let Some((token, retry)) = namespace.retries.front_mut()
            && retry.deadline.is_none()
        {
            match engine.send(now, retry.unit.parts()) {
                Ok(()) => {
                    retry.tries += 1;
                    retry.deadline = Some(now + retry.timeout);
                    namespace.sent = Some(now);
                    if namespace.tells_outgoing {
                        self.events.push_back(Event::Outgoing(id, retry.unit.outgoing()));
                    }
                    return;
                }
                Err(SendError::NotOpen | SendError::Full { .. }) => return,
                Err(error) => namespace.drop_retry(token, error.into(), &mut self.events),
            }
        }
    }

    /// Sends an event again if it was not acknowledged in time, or gives it up.
    pub(super) fn expire_retry(&mut self, now: Time, id: NamespaceId) {
        let Some(namespace) = self.namespaces.get_mut(id.index()) else { return };
        let deadline = namespace.retries.front().and_then(|(_, retry)| retry.deadline);
        if deadline.is_some_and(|deadline| deadline <= now) {
            namespace.fail_try(self.config.retries, NoAnswer::Timeout, &mut self.events);
            self.flush(now, id);
        }
    }
}
