//! Requests to resume a session, with stateful reconnect.

use super::{Exchange, Incoming, NewTransport, Refusal, Site, State, Subject, WebSocketHandshake};
use crate::engineio::id::Id;
use crate::engineio::server::request::{Purpose, RequestError};
use crate::engineio::server::session::{Attempt, Session};
use crate::engineio::unacknowledged::parse_count;
use crate::http;
use crate::time::Time;
use alloc::boxed::Box;

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
    fn resume(
        site: &Site,
        incoming: &Incoming<'_>,
        id: Id,
        (handled, attempt): (&str, u32),
        purpose: Purpose,
    ) -> Subject {
        // The parameter is the application's own.
        let Some(handled) = parse_count(handled) else { return Subject::Session(id, purpose) };
        let transport = match purpose {
            Purpose::Upgrade => match WebSocketHandshake::of(&site.config, incoming) {
                Ok(websocket) => NewTransport::WebSocket(websocket),
                Err(error) => return Subject::Refused(Some(id), error.into()),
            },
            _ => NewTransport::Polling,
        };
        Subject::Resume(Box::new(Resume { id, handled, attempt, transport }))
    }
}

impl Exchange {
    /// Reads the parameters `resume` and `attempt`, which have a meaning if the server has stateful reconnect and the request
    /// is of version 4. Otherwise, both are the application's.
    // Not inlined, because most servers do not have it: `benches/count polling`.
    #[inline(never)]
    pub(super) fn read_resume(&mut self, site: &Site, incoming: &Incoming<'_>, subject: &mut Subject) {
        let Ok(query) = http::Query::parse(incoming.request.query()) else { return };
        if let Some(attempt) = query.get("attempt") {
            // A session does not have so many.
            let number = parse_count(&attempt).and_then(|number| number.try_into().ok());
            self.named = number.unwrap_or(u32::MAX);
        }
        let Some(handled) = query.get("resume") else { return };
        if let Subject::Session(id, purpose @ (Purpose::Poll | Purpose::Upgrade)) = *subject {
            *subject = Subject::resume(site, incoming, id, (&handled, self.named), purpose);
        }
        // With another value it is the application's own parameter, unless it names a session, which may be gone.
        self.resumable = handled == "0" || matches!(subject, Subject::Resume(_));
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
