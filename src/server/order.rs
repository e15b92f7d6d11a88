//! Visiting many members of a namespace without keeping others from joining and leaving, and the order of broadcasts.

use super::cast::Cast;
use super::members::{Member, Members, Pass};
use super::namespace::Namespace;
use super::recovery::{Memory, Recorded};
use super::wakes;
use parking_lot::{MutexGuard, RwLock, RwLockReadGuard};
use sockeye_core::engineio::Frames;
use sockeye_core::socketio::Target;

/// The order of broadcasts, and of everything else that visits members in batches: one begins after the other has ended,
/// so all sockets get the broadcasts of a namespace in the same order.
///
/// A broadcast wakes its first recipients before it has reached the others. Wakers must not be called under a lock, so it
/// stays here meanwhile: another one that begins completes it first, even on the same thread.
#[derive(Default)]
pub(crate) struct Order {
    /// The number of the last pass.
    number: u64,
    paused: Option<Paused>,
    /// Broadcasts that other threads have completed.
    completed: Vec<(u64, Box<Cast>)>,
    /// What clients get that come back. It is here because an event is remembered and sent in one step.
    pub(super) memory: Option<Box<Memory>>,
}

struct Paused {
    number: u64,
    pass: Pass,
    target: Target,
    cast: Box<Cast>,
}

impl Order {
    pub(super) fn new(memory: Option<Box<Memory>>) -> Order {
        Order { memory, ..Order::default() }
    }

    fn begin(&mut self, members: &RwLock<Members>) -> (u64, Pass) {
        self.number += 1;
        if self.number.is_multiple_of(1 << 32) {
            // The low half, which members keep, begins again.
            members.read().forget_passes();
            self.number += 1;
        }
        (self.number, Pass::new(self.number as u32))
    }

    fn take_completed(&mut self, number: u64) -> Option<Box<Cast>> {
        let at = self.completed.iter().position(|(completed, _)| *completed == number)?;
        Some(self.completed.swap_remove(at).1)
    }
}

impl Namespace {
    /// Calls `f` with each connected socket that a target selects, in batches.
    pub(super) fn visit(&self, target: &Target, mut f: impl FnMut(&Members, &Member)) {
        let mut order = self.order();
        let (_, mut pass) = order.begin(&self.0.members);
        self.visit_rest(target, &mut pass, &mut f);
    }

    /// Sends a message to all sockets that a target selects, and wakes the first of them if there are many.
    pub(super) fn cast(&self, target: &Target, cast: Cast) -> Cast {
        self.cast_in_order(self.order(), target, cast)
    }

    /// Does the same for an event that is remembered. `make` makes the message of its frames.
    pub(super) fn cast_recorded(
        &self,
        target: &Target,
        event: Recorded,
        make: impl FnOnce(Frames) -> Cast,
    ) -> Cast {
        let now = self.now();
        let mut order = self.order();
        let (frames, position) = order.number(event);
        order.record(now, target, (&frames, position));
        let mut cast = make(frames);
        cast.woken.extend(self.arm_memory(&mut order));
        self.cast_in_order(order, target, cast)
    }

    fn cast_in_order(&self, mut order: MutexGuard<'_, Order>, target: &Target, mut cast: Cast) -> Cast {
        let (number, mut pass) = order.begin(&self.0.members);
        if self.0.members.read().visit(target, &mut pass, |member| cast.send(&member.socket)) {
            return cast;
        }
        cast.is_large = true;
        cast.is_grouped = self.runtime().is_some_and(|runtime| runtime.workers() > 1);
        let first = std::mem::replace(&mut cast.woken, Vec::with_capacity(pass.rest()));
        order.paused = Some(Paused { number, pass, target: target.clone(), cast: Box::new(cast) });
        drop(order);
        wakes::wake_each(first.into_iter());
        *self.order().take_completed(number).expect("it was paused, and whoever takes the lock completes it")
    }

    /// Takes the lock, and completes the broadcast that is paused.
    pub(super) fn order(&self) -> MutexGuard<'_, Order> {
        let mut order = self.0.order.lock();
        if let Some(Paused { number, mut pass, target, mut cast }) = order.paused.take() {
            self.visit_rest(&target, &mut pass, &mut |_, member| cast.send(&member.socket));
            order.completed.push((number, cast));
        }
        order
    }

    /// Visits the rest of the members, letting others take their lock after each batch.
    fn visit_rest(&self, target: &Target, pass: &mut Pass, f: &mut impl FnMut(&Members, &Member)) {
        let mut members = self.0.members.read();
        while !members.visit(target, pass, |member| f(&members, member)) {
            RwLockReadGuard::bump(&mut members);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::Connection;
    use crate::server::{App, Server};
    use sockeye_core::Time;
    use sockeye_core::host::{Host, Peer};
    use sockeye_core::protocol::Protocol;
    use sockeye_core::websocket::{Opcode, write_frame};

    /// Connects a client, and returns its connection.
    fn connect(io: &Server) -> Connection<App> {
        let mut connection = io.accept(Time::ZERO, Peer::default());
        let mut input = b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
            Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            .to_vec();
        write_frame(&mut input, Opcode::Text, b"40", Some([0; 4]));
        connection.handle_data(Time::ZERO, &mut input);
        connection
    }

    #[test]
    fn no_member_is_left_out_after_the_numbers_of_passes_have_begun_again() {
        // The low half of the number of its last pass, which the first member keeps, comes again after one of these counts.
        for passes in 0..6 {
            let io = Server::new();
            let _clients = [connect(&io), connect(&io)];
            let last = io.sockets().remove(0);
            (0..2).for_each(|_| assert_eq!(io.emit("all", ()).sent, 2));
            io.of("/").order().number = u64::from(u32::MAX);
            let room = last.id();
            (0..passes).for_each(|_| assert_eq!(io.to(room.as_str()).emit("one", ()).sent, 1));
            assert_eq!(io.emit("all", ()).sent, 2, "after {passes} more");
        }
    }
}
