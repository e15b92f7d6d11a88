//! The packets that arrive.

use super::{Application, ServerInner, Session};
use crate::engine::Batch;
use crate::guard::guard;
use crate::observe::Direction;
use sockeye_core::Time;
use sockeye_core::engineio::Packet;
use sockeye_core::hint::cold_path;

impl<A: Application> ServerInner<A> {
    /// Handles a packet that arrived on a session's transport, whose span is entered. `batch` is for those that arrived
    /// together.
    // Inlined, so that the packet is not moved: `benches/count ack16`.
    #[inline(always)]
    pub(in crate::engine) fn handle_packet(
        &self,
        clock: &dyn Fn() -> Time,
        session: &Session<A>,
        mut packet: Packet<'_>,
        batch: &mut Batch,
    ) {
        if self.observer.is_some() {
            self.show(Direction::In, session, session.transport(), &packet);
        }
        match &mut packet {
            Packet::Message(message) => {
                // The common case needs no lock here.
                if self.is_counted(session) {
                    cold_path();
                    if !session.count_message(clock(), message) {
                        return;
                    }
                }
                guard("on_message", || self.application.on_batched_message(session, message, batch, clock));
            }
            _ => {
                cold_path();
                let now = clock();
                session.with(|engine, _| engine.handle_packet(now, packet));
            }
        }
    }
}
