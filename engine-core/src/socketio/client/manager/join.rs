//! Joining and leaving namespaces.

use super::super::namespace::{Left, State, shown};
use super::super::{ConnectError, DisconnectReason, Event, NamespaceId};
use super::{Client, Link};
use crate::engineio::Transport;
use crate::engineio::client::SendError;
use crate::socketio::namespace_name::check_namespace;
use crate::socketio::parser::Encoder;
use crate::time::Time;
use alloc::string::ToString;
use core::time::Duration;

/// Age after which an event sent over WebSocket is assumed to have been read.
const RECENT: Duration = Duration::from_secs(2);

impl Client {
    /// Joins a namespace, and opens the connection if there is none.
    pub fn connect(&mut self, now: Time, id: NamespaceId) {
        self.handle_timeout(now);
        let Some(namespace) = self.namespaces.get_mut(id.index()).filter(|it| !it.is_active()) else {
            return;
        };
        if !namespace.name.starts_with('/') || check_namespace(&namespace.name, usize::MAX).is_err() {
            return namespace.report_failure(ConnectError::Namespace, &mut self.events);
        }
        (namespace.state, namespace.failures) = (State::Wanted, 0);
        match self.link {
            Link::Idle => self.open_engine(now),
            Link::Open if self.engine.as_ref().is_some_and(|it| it.is_open()) => self.ask_to_join(now, id),
            _ => {}
        }
    }

    /// Asks the application for its auth data. The server must have answered an earlier attempt, and have read that the
    /// namespace was left, because it accepts no other attempt before.
    pub(super) fn ask_to_join(&mut self, now: Time, id: NamespaceId) {
        let deadline = now + self.patience();
        let is_open = self.engine.as_ref().is_some_and(|engine| engine.is_open());
        let Some(namespace) = self.namespaces.get_mut(id.index()) else { return };
        if !is_open {
            namespace.state = State::Wanted;
            return;
        }
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

    /// Handles a pong. If it answers a ping that was sent after namespaces were left, the server has read that, and
    /// everything that it sent before has arrived.
    pub(super) fn handle_pong(&mut self, now: Time, generation: u64, data: &[u8]) {
        if self.current(generation).is_some_and(|engine| engine.handle_pong(data)) {
            for at in 0..self.namespaces.len() {
                self.left_was_read(now, NamespaceId::at(at), Left::No);
            }
        }
    }

    /// Handles that the server has read that a namespace was left, or the events before that.
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

    /// Joins a namespace that is wanted, if only its previous attempt was in the way.
    pub(super) fn join_again(&mut self, now: Time, id: NamespaceId) {
        let Some(namespace) = self.namespaces.get(id.index()) else { return };
        let is_open = self.link == Link::Open && self.engine.as_ref().is_some_and(|it| it.is_open());
        if namespace.state == State::Wanted && namespace.unanswered.is_none() && is_open {
            self.ask_to_join(now, id);
        }
    }

    /// Stops waiting for the server to read that a namespace was left, or the events before that.
    pub(super) fn expire_left(&mut self, now: Time, id: NamespaceId) {
        let left = self.namespaces.get(id.index()).map(|it| it.left);
        if matches!(left, Some(Left::Untold(until) | Left::Watched(until)) if until <= now) {
            self.left_was_read(now, id, Left::Read);
        }
    }

    /// Joins a namespace, as [`Event::Join`] asked for. `auth` is a JSON object, or empty; anything else fails the attempt
    /// with [`ConnectError::Auth`].
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
        let mut encoder = Encoder::with_parser(self.config.parser);
        let shown = shown(namespace.recovery.as_deref(), auth);
        let encoded = match shown.and_then(|auth| encoder.connect(&namespace.name, auth.as_deref())) {
            Ok(encoded) => encoded,
            Err(error) => return self.fail_join(now, id, ConnectError::Auth(error.to_string().into())),
        };
        match engine.send_control(now, encoded.first()) {
            Ok(()) => namespace.state = State::Joining(deadline),
            // The next session joins it.
            Err(SendError::NotOpen) => {}
            Err(error) => self.fail_join(now, id, ConnectError::NotSent(error.into())),
        }
        self.follow_engine(now);
    }

    /// Gives up an attempt to join a namespace, because there is no auth data.
    pub fn refuse_join(&mut self, now: Time, id: NamespaceId, attempt: u32, why: &str) {
        if self.namespaces.get(id.index()).is_some_and(|namespace| namespace.is_asked(attempt)) {
            self.fail_join(now, id, ConnectError::Auth(why.into()));
        }
    }

    /// Handles that an attempt to join failed: there is another one, as after a failed connection.
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

    /// Handles the deadlines of joining a namespace.
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
        // Other namespaces keep the connection. This one is left as soon as the server answers.
        namespace.unanswered = Some(deadline);
        if is_awaited {
            self.fail_join(now, id, ConnectError::Timeout);
        }
    }

    /// Leaves a namespace; leaving the last one closes the connection. Messages that wait to be sent go on waiting.
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

    /// Returns the deadline for the server to read the events of a namespace, the last of which was `sent` then; `None`
    /// if it has read them, or is assumed to have.
    fn watch_events(&mut self, now: Time, sent: Option<Time>) -> Option<Time> {
        let latest = now + self.config.engine.close_timeout;
        let engine = self.engine.as_mut().filter(|engine| engine.is_open())?;
        // When polling, the answer to a request shows it.
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
        if let Ok(encoded) = Encoder::with_parser(self.config.parser).disconnect(&namespace.name) {
            // It fails only if the session has ended, which ends the namespace on the server as well.
            _ = engine.send_control(now, encoded.first());
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
