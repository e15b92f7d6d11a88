//! Requests to resume a session, with stateful reconnect.

use super::{Application, Caller, Carries, Exchange, Refusal, Session, Step, Waiting};
use crate::guard::guard;
use sockeye_core::engineio::server::exchange::{NewTransport, Resume, Subject};
use sockeye_core::engineio::server::{Purpose, RequestError};

/// A request that waits until the lost connection of its session has handled its last message.
pub(super) struct Resuming<A: Application> {
    pub(super) session: Session<A>,
    resume: Resume,
}

/// Makes the subject of a request a new session if it is one to resume a session that cannot be.
// Not by value, because each move of a subject counts: `benches/count polling`.
#[inline]
pub(super) fn settle<A: Application>(caller: Caller<'_, A>, subject: &mut Subject) {
    if let Subject::Resume(resume) = subject
        && let Some(other) = instead(caller, resume)
    {
        *subject = other;
    }
}

/// Returns the subject of a request that resumes no session.
#[cold]
fn instead<A: Application>(caller: Caller<'_, A>, resume: &mut Resume) -> Option<Subject> {
    match caller.server.session(&resume.id) {
        // Its client did not ask for stateful reconnect: the parameter is the application's own.
        Some(session) if !session.is_resumable() => {
            let purpose = match resume.transport {
                NewTransport::Polling => Purpose::Poll,
                NewTransport::WebSocket(_) => Purpose::Upgrade,
            };
            Some(Subject::Session(resume.id, purpose))
        }
        Some(session) if can_resume(caller, &session, resume) => None,
        _ => Some(Subject::Open(std::mem::replace(&mut resume.transport, NewTransport::Polling))),
    }
}

fn can_resume<A: Application>(caller: Caller<'_, A>, session: &Session<A>, resume: &Resume) -> bool {
    let can_resume = session.peek(|engine, _| {
        // A late request is refused, and changes nothing.
        engine.can_resume(resume.handled) || engine.is_late_attempt(resume.attempt)
    });
    if !can_resume {
        // Its client will not ask for it again.
        let _ = session.losing(|engine, _| engine.begin_resume(caller.now, resume.handled, resume.attempt));
    }
    can_resume
}

impl<A: Application> Exchange<A> {
    pub(super) fn resume(&mut self, caller: Caller<'_, A>, session: Session<A>, resume: Resume) -> Step<A> {
        let decisions = &mut self.decisions;
        let begun = session.losing(|engine, _| decisions.begin_resume(caller.now, engine, resume.handled));
        if let Err(refusal) = begun {
            return self.refuse(caller, &refusal, Some(&session));
        }
        self.waiting = Waiting::Resuming(Box::new(Resuming { session, resume }));
        self.follow_resume(caller)
    }

    pub(super) fn follow_resume(&mut self, caller: Caller<'_, A>) -> Step<A> {
        let Waiting::Resuming(resuming) = &self.waiting else { return Step::Wait };
        let Resuming { session, resume } = &**resuming;
        // Before the look, so that nothing is missed in between.
        session.set_resuming_waker(caller.waker);
        let decisions = &mut self.decisions;
        let followed = session.with(|engine, state| {
            let lost_at = engine.lost_at();
            let followed = decisions.follow_resume(caller.now, engine, resume);
            if let (Ok(true), Some(lost_at)) = (&followed, lost_at) {
                let away = caller.now.saturating_since(lost_at);
                guard("postpone", || A::postpone(state, away));
            }
            followed
        });
        let refusal = match followed {
            Ok(true) => return self.resumed(caller),
            Ok(false) if decisions.is_overdue(caller.now) => RequestError::Unavailable.into(),
            Ok(false) => return Step::Wait,
            Err(refusal) => refusal,
        };
        let session = session.clone();
        self.refuse(caller, &refusal, Some(&session))
    }

    fn resumed(&mut self, caller: Caller<'_, A>) -> Step<A> {
        let Waiting::Resuming(resuming) = self.end() else { return Step::Wait };
        let Resuming { session, resume } = *resuming;
        let handled = session.peek(|engine, _| engine.handled()).unwrap_or_default();
        caller.server.tell_resumed(&session, resume.transport.kind(), handled);
        match resume.transport {
            NewTransport::Polling => self.poll(caller, session),
            NewTransport::WebSocket(websocket) => {
                session.set_waker(caller.waker);
                Step::Upgrade(self.decisions.accept(websocket), Carries::Session(session))
            }
        }
    }

    /// Returns the refusal of a request that is older than the last attempt to resume its session.
    pub(super) fn check_late(&self, session: &Session<A>) -> Result<(), Refusal> {
        match session.is_resumable() && session.peek(|engine, _| self.decisions.is_late(engine)) {
            true => Err(RequestError::Detached.into()),
            false => Ok(()),
        }
    }
}
