//! How namespaces are joined and left.

use super::super::namespace::{State, push_auth, push_namespace};
use super::super::{ConnectError, DisconnectReason, Event, NamespaceId};
use super::{Client, Link};
use crate::engineio::Part;
use crate::engineio::client::SendError;
use crate::time::Time;
use alloc::string::{String, ToString};

impl Client {
    /// Wants a namespace to be joined; opens the connection if there is none.
    pub fn connect(&mut self, now: Time, id: NamespaceId) {
        self.handle_timeout(now);
        let Some(namespace) = self.namespaces.get_mut(id.0).filter(|it| !it.is_active()) else { return };
        (namespace.state, namespace.failures) = (State::Wanted, 0);
        match self.link {
            Link::Idle => self.open_engine(now),
            Link::Open if self.engine.as_ref().is_some_and(|it| it.is_open()) => self.ask_to_join(now, id),
            _ => {}
        }
    }

    /// Asks the application what to show, or waits for the answer to an earlier attempt: before that the server takes
    /// no other.
    pub(super) fn ask_to_join(&mut self, now: Time, id: NamespaceId) {
        let deadline = now + self.patience();
        let Some(namespace) = self.namespaces.get_mut(id.0) else { return };
        if namespace.unanswered.is_some() {
            namespace.state = State::Wanted;
            return;
        }
        namespace.attempt += 1;
        namespace.state = State::Asked(deadline);
        self.events.push_back(Event::Join(id, namespace.attempt));
    }

    /// Joins a namespace, as [`Event::Join`] asked for. `auth` is a JSON object, or empty.
    pub fn join(&mut self, now: Time, id: NamespaceId, attempt: u64, auth: &str) {
        let deadline = now + self.patience();
        let Some(namespace) = self.namespaces.get_mut(id.0) else { return };
        if !namespace.is_asked(attempt) {
            return;
        }
        let Some(engine) = self.engine.as_mut().filter(|it| it.is_open()) else { return };
        let mut text = String::from("0");
        push_namespace(&mut text, &namespace.name);
        push_auth(&mut text, namespace.recovery.as_deref(), auth);
        match engine.send(now, core::iter::once(Part::Text(text.as_bytes()))) {
            Ok(()) => namespace.state = State::Joining(deadline),
            // It is asked for again with the next session.
            Err(SendError::NotOpen) => {}
            Err(error) => self.fail_join(now, id, ConnectError::Auth(error.to_string().into())),
        }
        self.follow_engine(now);
    }

    /// Does not join a namespace: there is nothing to show to the server.
    pub fn refuse_join(&mut self, now: Time, id: NamespaceId, attempt: u64, why: &str) {
        if self.namespaces.get(id.0).is_some_and(|namespace| namespace.is_asked(attempt)) {
            self.fail_join(now, id, ConnectError::Auth(why.into()));
        }
    }

    /// An attempt to join failed. There is another one, as there is where a connection fails.
    fn fail_join(&mut self, now: Time, id: NamespaceId, error: ConnectError) {
        let Some(failures) = self.namespaces.get(id.0).map(|it| it.failures) else { return };
        let state = match self.tries_again(failures) {
            true => State::Waiting(now + self.back_off(failures)),
            false => State::Idle,
        };
        if let Some(namespace) = self.namespaces.get_mut(id.0) {
            (namespace.state, namespace.failures) = (state, failures.saturating_add(1));
        }
        self.events.push_back(Event::ConnectError(id, error));
        self.close_if_unused(now);
    }

    /// Gives up what should have happened by now while a namespace is joined, or asks again.
    pub(super) fn expire_join(&mut self, now: Time, id: NamespaceId) {
        let deadline = now + self.patience();
        let is_alone = !self.namespaces.iter().any(|it| it.id != id && it.is_on_its_way());
        let Some(namespace) = self.namespaces.get_mut(id.0) else { return };
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
            namespace.leave(State::Wanted, &mut self.events);
        }
        // The others keep the connection, and this one is left as soon as there is an answer.
        (namespace.unanswered, namespace.was_left) = (Some(deadline), true);
        if is_awaited {
            self.fail_join(now, id, ConnectError::Timeout);
        }
    }

    /// Leaves a namespace; closes the connection with the last one. What waits to be sent goes on waiting.
    pub fn disconnect(&mut self, now: Time, id: NamespaceId) {
        let Some(namespace) = self.namespaces.get_mut(id.0).filter(|it| it.is_active()) else { return };
        let state = namespace.state;
        let unanswered = match state {
            State::Joining(deadline) => Some(deadline),
            _ => namespace.unanswered,
        };
        let was_left = namespace.was_left || matches!(state, State::Joined | State::Joining(_));
        namespace.leave(State::Idle, &mut self.events);
        (namespace.unanswered, namespace.was_left) = (unanswered, was_left);
        if state == State::Joined {
            self.send_leave(now, id);
            self.events.push_back(Event::Disconnected(id, DisconnectReason::Client));
        }
        self.close_if_unused(now);
    }

    pub(super) fn send_leave(&mut self, now: Time, id: NamespaceId) {
        let (Some(namespace), Some(engine)) = (self.namespaces.get(id.0), &mut self.engine) else { return };
        let mut text = String::from("1");
        push_namespace(&mut text, &namespace.name);
        // If there is no room for it, the end of the connection says it.
        let _ = engine.send(now, core::iter::once(Part::Text(text.as_bytes())));
    }

    /// Leaves all namespaces, and closes the connection.
    pub fn close(&mut self, now: Time) {
        for at in 0..self.namespaces.len() {
            self.disconnect(now, NamespaceId(at));
        }
    }
}
