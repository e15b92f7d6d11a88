//! What the observer is told of the beginning of a session, and of its beginning on another connection.

use super::{Application, ServerInner, Session, Transport};
use crate::observe::{Direction, ServerEvent};
use sockeye_core::engineio::{self, Packet};

impl<A: Application> ServerInner<A> {
    /// Tells of a session that is opened.
    pub(super) fn tell_opened(&self, session: &Session<A>, transport: Transport) {
        let (id, handshake) = (session.id(), session.handshake());
        self.tell(&ServerEvent::SessionOpened { session: id, transport, handshake });
        self.show_open(session, transport, session.is_resumable().then_some(0));
    }

    /// Tells of a session that continues on another connection, whose client is told that `handled` messages were handled.
    pub(in crate::engine) fn tell_resumed(&self, session: &Session<A>, transport: Transport, handled: u64) {
        let _inside = session.span().enter();
        let (id, handshake) = (session.id(), session.handshake());
        self.tell(&ServerEvent::SessionResumed { session: id, transport, handshake });
        self.show_open(session, transport, Some(handled));
    }

    fn show_open(&self, session: &Session<A>, transport: Transport, handled: Option<u64>) {
        if self.observer.is_none() {
            return;
        }
        let text =
            engineio::server::Session::open_packet(&self.site.config, &session.id(), transport, handled);
        if let Ok(packet) = Packet::decode(&text) {
            self.show(Direction::Out, session, transport, &packet);
        }
    }
}
