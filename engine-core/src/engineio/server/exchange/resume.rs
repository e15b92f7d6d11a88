//! Requests to resume a session, with stateful reconnect.

use super::{Exchange, Incoming, NewTransport, Refusal, Site, State, Subject, WebSocketHandshake};
use crate::engineio::id::Id;
use crate::engineio::server::request::{Purpose, RequestError};
use crate::engineio::server::session::{Attempt, Session};
use crate::engineio::unacknowledged::parse_count;
use crate::engineio::version::Version;
use crate::http::{self, Request};
use crate::time::Time;
use alloc::borrow::Cow;

/// A request to continue a session, with stateful reconnect.
#[derive(Debug)]
pub struct Resume {
    /// The id of the session.
    pub id: Id,
    /// The number of messages that the client has handled.
    pub handled: u64,
    /// The client's number of the attempt.
    pub attempt: u32,
    /// The transport of the new connection.
    pub transport: NewTransport,
}

impl Subject {
    pub(super) fn resume(
        site: &Site,
        incoming: &Incoming<'_>,
        id: Id,
        (handled, attempt): (&str, u32),
        purpose: Purpose,
    ) -> Subject {
        let Some(handled) = parse_count(handled) else {
            return Subject::Refused(Some(id), RequestError::BadRequest.into());
        };
        let transport = match purpose {
            Purpose::Upgrade => match WebSocketHandshake::of(&site.config, incoming) {
                Ok(websocket) => NewTransport::WebSocket(websocket),
                Err(error) => return Subject::Refused(Some(id), error.into()),
            },
            _ => NewTransport::Polling,
        };
        Subject::Resume(Resume { id, handled, attempt, transport })
    }
}

impl Exchange {
    /// Returns the parameter `resume`, if it has a meaning, and notes the number of the attempt. Otherwise, both are the
    /// application's.
    pub(super) fn resume_of<'a>(&mut self, site: &Site, request: &Request<'a>) -> Option<Cow<'a, str>> {
        self.named = 0;
        if site.config.stateful_reconnect.is_none() || self.version != Version::V4 {
            return None;
        }
        let [resume, attempt] = http::Query::parse(request.query()).ok()?.get_all(["resume", "attempt"]);
        if let Some(attempt) = attempt {
            // A session does not have so many.
            let number = parse_count(&attempt).and_then(|number| number.try_into().ok());
            self.named = number.unwrap_or(u32::MAX);
        }
        resume
    }

    /// Checks that the request does not belong to an earlier connection of the session.
    pub(super) fn check_attempt(&self, session: &Session) -> Result<(), Refusal> {
        match session.is_current(self.named) {
            true => Ok(()),
            false => Err(RequestError::Detached.into()),
        }
    }

    /// Returns whether the request has to be [refused](Exchange::refuse) with [`RequestError::Detached`], because its
    /// connection counts as lost: another one may have the session by now. Ask before anything is taken from the session.
    pub fn is_late(&self, session: &Session) -> bool {
        self.attempt != session.attempt()
    }

    /// Returns the attempt to resume the session that the request belongs to.
    pub fn attempt(&self) -> Attempt {
        self.attempt
    }

    /// Begins to resume a session for a client that has handled `count` messages: call
    /// [`follow_resume`](Exchange::follow_resume).
    ///
    /// # Errors
    /// The cause if it cannot be resumed.
    pub fn begin_resume(&mut self, now: Time, session: &mut Session, count: u64) -> Result<(), Refusal> {
        self.check_version(session)?;
        self.attempt = session.begin_resume(now, count, self.named)?;
        self.state = State::Resuming(now + session.config().upgrade_timeout);
        Ok(())
    }

    /// Resumes the session. Then a polling request waits as after [`begin_poll`](Exchange::begin_poll), and one for
    /// WebSocket is to be [accepted](Exchange::accept). Returns `false` as long as the lost connection may still handle a
    /// message.
    ///
    /// # Errors
    /// The cause if it cannot be resumed any more.
    pub fn follow_resume(
        &mut self,
        now: Time,
        session: &mut Session,
        resume: &Resume,
    ) -> Result<bool, Refusal> {
        let deflate = match &resume.transport {
            NewTransport::Polling => None,
            NewTransport::WebSocket(websocket) => websocket.deflate(),
        };
        let Resume { id, handled, transport, .. } = resume;
        let is_resumed = session.resume(now, self.attempt, *handled, id, transport.kind(), deflate)?;
        if is_resumed {
            self.note_poll(now, session);
        }
        Ok(is_resumed)
    }

    /// Returns whether the request waits to resume a session.
    pub fn is_resuming(&self) -> bool {
        matches!(self.state, State::Resuming(_))
    }
}
