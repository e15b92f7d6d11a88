//! How namespaces are joined and left.

use super::super::namespace::{Left, State, shown};
use super::super::{ConnectError, DisconnectReason, Event, NamespaceId};
use super::{Client, Link};
use crate::engineio::client::SendError;
use crate::engineio::{Part, Transport};
use crate::socketio::parser::text::{Encoder, is_legal_namespace};
use crate::time::Time;
use alloc::string::ToString;
use core::time::Duration;

/// An event that was sent this long ago has been read over WebSocket, as far as that is worth waiting for.
const RECENT: Duration = Duration::from_secs(2);

impl Client {
    /// Wants a namespace to be joined; opens the connection if there is none.
    pub fn connect(&mut self, now: Time, id: NamespaceId) {
        self.handle_timeout(now);
        let Some(namespace) = self.namespaces.get_mut(id.index()).filter(|it| !it.is_active()) else {
            return;
        };
        // Behind a question mark clients of version 2 have a query, which is not in the answer.
        if !is_legal_namespace(&namespace.name) || namespace.name.contains('?') {
            return namespace.report_failure(ConnectError::Namespace, &mut self.events);
        }
        (namespace.state, namespace.failures) = (State::Wanted, 0);
        match self.link {
            Link::Idle => self.open_engine(now),
            Link::Open if self.engine.as_ref().is_some_and(|it| it.is_open()) => self.ask_to_join(now, id),
            _ => {}
        }
    }

    /// Asks the application what to show. Before that the server has to answer an earlier attempt, and to read that the
    /// namespace was left: it takes no other sooner.
    pub(super) fn ask_to_join(&mut self, now: Time, id: NamespaceId) {
        let deadline = now + self.patience();
        let Some(namespace) = self.namespaces.get_mut(id.index()) else { return };
        if let Left::Unread = namespace.left {
            let watched = self.engine.as_mut().and_then(|engine| engine.watch_read(now));
            namespace.left = watched.map_or(Left::Read, Left::Watched);
        }
        if namespace.unanswered.is_some() || matches!(namespace.left, Left::Untold(_) | Left::Watched(_)) {
            namespace.state = State::Wanted;
            return;
        }
        namespace.attempt = namespace.attempt.wrapping_add(1);
        namespace.state = State::Asked(deadline);
        self.events.push_back(Event::Join(id, namespace.attempt));
    }

    /// The server has read that a namespace was left, if it is the answer to a ping that was sent behind that: what it
    /// sent before has come.
    pub(super) fn handle_pong(&mut self, now: Time, generation: u64, data: &[u8]) {
        if self.current(generation).is_some_and(|engine| engine.handle_pong(data)) {
            for at in 0..self.namespaces.len() {
                self.left_was_read(now, NamespaceId::at(at), Left::No);
            }
        }
    }

    /// The server has read that a namespace was left, or what was sent before that, if it was watched.
    pub(super) fn left_was_read(&mut self, now: Time, id: NamespaceId, left: Left) {
        let Some(namespace) = self.namespaces.get_mut(id.index()) else { return };
        match namespace.left {
            Left::Watched(_) => namespace.left = left,
            Left::Untold(_) => {
                namespace.left = Left::No;
                self.send_leave(now, id);
                self.close_if_unused(now);
            }
            Left::No | Left::Unread | Left::Read => return,
        }
        self.join_again(now, id);
    }

    /// Asks for a namespace that is wanted, if nothing but its last life was in the way.
    pub(super) fn join_again(&mut self, now: Time, id: NamespaceId) {
        let Some(namespace) = self.namespaces.get(id.index()) else { return };
        let is_open = self.link == Link::Open && self.engine.as_ref().is_some_and(|it| it.is_open());
        if namespace.state == State::Wanted && namespace.unanswered.is_none() && is_open {
            self.ask_to_join(now, id);
        }
    }

    /// Waits no longer for the server to read that a namespace was left, or what was sent before that.
    pub(super) fn expire_left(&mut self, now: Time, id: NamespaceId) {
        let left = self.namespaces.get(id.index()).map(|it| it.left);
        if matches!(left, Some(Left::Untold(until) | Left::Watched(until)) if until <= now) {
            self.left_was_read(now, id, Left::Read);
        }
    }

    /// Joins a namespace, as [`Event::Join`] asked for. `auth` is a JSON object, or empty.
    pub fn join(&mut self, now: Time, id: NamespaceId, attempt: u32, auth: &str) {
        let deadline = now + self.patience();
        let Some(namespace) = self.namespaces.get_mut(id.index()) else { return };
        if !namespace.is_asked(attempt) {
            return;
        }
        let Some(engine) = self.engine.as_mut().filter(|it| it.is_open()) else { return };
        if let Some(recovery) = &mut namespace.recovery {
            recovery.show();
        }
        let auth = shown(namespace.recovery.as_deref(), auth);
        let mut encoder = Encoder::new();
        let encoded = match encoder.connect(&namespace.name, auth.as_deref()) {
            Ok(encoded) => encoded,
            Err(error) => return self.fail_join(now, id, ConnectError::Auth(error.to_string().into())),
        };
        match engine.send_control(now, Part::Text(encoded.text)) {
            Ok(()) => namespace.state = State::Joining(deadline),
            // It is asked for again with the next session.
            Err(SendError::NotOpen) => {}
            Err(error) => self.fail_join(now, id, ConnectError::NotSent(error.into())),
        }
        self.follow_engine(now);
    }

    /// Does not join a namespace: there is nothing to show to the server.
    pub fn refuse_join(&mut self, now: Time, id: NamespaceId, attempt: u32, why: &str) {
        if self.namespaces.get(id.index()).is_some_and(|namespace| namespace.is_asked(attempt)) {
            self.fail_join(now, id, ConnectError::Auth(why.into()));
        }
    }

    /// An attempt to join failed. There is another one, as there is where a connection fails.
    fn fail_join(&mut self, now: Time, id: NamespaceId, error: ConnectError) {
        let Some(failures) = self.namespaces.get(id.index()).map(|it| it.failures) else { return };
        let state = match self.tries_again(failures) {
            true => State::Waiting(now + self.back_off(failures)),
            false => State::Idle,
        };
        if let Some(namespace) = self.namespaces.get_mut(id.index()) {
            (namespace.state, namespace.failures) = (state, failures.saturating_add(1));
            namespace.report_failure(error, &mut self.events);
        }
        self.close_if_unused(now);
    }

    /// Gives up what should have happened by now while a namespace is joined, or asks again.
    pub(super) fn expire_join(&mut self, now: Time, id: NamespaceId) {
        let deadline = now + self.patience();
        let is_alone = !self.namespaces.iter().any(|it| it.id != id && it.is_on_its_way());
        let Some(namespace) = self.namespaces.get_mut(id.index()) else { return };
        match namespace.state {
            State::Waiting(until) if until <= now => return self.ask_to_join(now, id),
            State::Asked(until) if until <= now => {
                return self.fail_join(now, id, ConnectError::Auth("the callback took too long".into()));
            }
            State::Joining(until) if until <= now => {}
            _ if namespace.unanswered.is_some_and(|until| until <= now) => {}
            _ => return,
        }
        // The server did not answer.
        let is_awaited = matches!(namespace.state, State::Joining(_) | State::Wanted);
        if is_awaited && is_alone {
            return self.break_off(&"no answer to a connect");
        }
        if is_awaited {
            namespace.leave(State::Wanted, self.config.retries, &mut self.events);
        }
        // The others keep the connection, and this one is left as soon as there is an answer.
        namespace.unanswered = Some(deadline);
        if is_awaited {
            self.fail_join(now, id, ConnectError::Timeout);
        }
    }

    /// Leaves a namespace; closes the connection with the last one. What waits to be sent goes on waiting.
    pub fn disconnect(&mut self, now: Time, id: NamespaceId) {
        let Some(namespace) = self.namespaces.get_mut(id.index()).filter(|it| it.is_active()) else { return };
        let state = namespace.state;
        let unanswered = match state {
            State::Joining(deadline) => Some(deadline),
            _ => namespace.unanswered,
        };
        let (left, sent) = (namespace.left, namespace.sent);
        namespace.leave(State::Idle, self.config.retries, &mut self.events);
        (namespace.unanswered, namespace.left) = (unanswered, left);
        namespace.results.ended = namespace.results.ended.wrapping_add(1);
        if state == State::Joined {
            match self.watch_events(now, sent) {
                Some(until) => self.set_left(id, Left::Untold(until)),
                None => self.send_leave(now, id),
            }
            self.events.push_back(Event::Disconnected(id, DisconnectReason::Client));
        }
        self.close_if_unused(now);
    }

    /// Until when to wait for the server to read the events of a namespace, the last of which was `sent` then; `None` if
    /// it has, or should have.
    fn watch_events(&mut self, now: Time, sent: Option<Time>) -> Option<Time> {
        let latest = now + self.config.engine.close_timeout;
        let engine = self.engine.as_mut().filter(|engine| engine.is_open())?;
        // By polling it is known.
        if engine.transport() == Transport::WebSocket && now.saturating_since(sent?) >= RECENT {
            return None;
        }
        engine.watch_read(now).map(|until| until.min(latest)).filter(|until| *until > now)
    }

    fn set_left(&mut self, id: NamespaceId, left: Left) {
        if let Some(namespace) = self.namespaces.get_mut(id.index()) {
            namespace.left = left;
        }
    }

    pub(super) fn send_leave(&mut self, now: Time, id: NamespaceId) {
        let (Some(namespace), Some(engine)) = (self.namespaces.get_mut(id.index()), &mut self.engine) else {
            return;
        };
        if let Ok(encoded) = Encoder::new().disconnect(&namespace.name) {
            // It fails only if the session has ended, which ends the namespace on the server as well.
            _ = engine.send_control(now, Part::Text(encoded.text));
        }
        namespace.left = Left::Unread;
    }

    /// Leaves all namespaces, and closes the connection.
    pub fn close(&mut self, now: Time) {
        for at in 0..self.namespaces.len() {
            self.disconnect(now, NamespaceId::at(at));
        }
    }
}
