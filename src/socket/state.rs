//! What a socket keeps that changes.

use crate::ack::Waiter;
use crate::error::DisconnectReason;
use crate::listeners::Listeners;
use crate::rooms::JoinedRooms;
use crate::socket::Socket;
use sockeye_core::socketio::Acks;
use std::any::{Any, TypeId};
use std::sync::Arc;

/// How many answers may be awaited from one socket.
const MAX_ACKS: u32 = 10_000;

#[derive(Default)]
pub(super) struct State {
    /// The first poll of the handler of new sockets is over: its end can be told.
    pub(super) started: bool,
    /// Those of the socket's end are among them: no event has their name.
    pub(super) listeners: Listeners<Socket>,
    pub(super) more: Option<Box<More>>,
    /// The socket was disconnected or not let in: nothing is kept any more.
    pub(super) ended: bool,
}

/// What most sockets have nothing of.
pub(super) struct More {
    /// The answers that are awaited: whom to tell, and its entry there.
    pub(super) acks: Acks<(Arc<Waiter>, u32)>,
    /// Why the socket was disconnected, which no handler has been told.
    pub(super) untold: Option<DisconnectReason>,
    pub(super) data: Vec<(TypeId, Arc<dyn Any + Send + Sync>)>,
    /// JoinedThe rooms of a socket that is not in its namespace: joined before the socket was let in.
    pub(super) rooms: JoinedRooms,
}

impl Default for More {
    fn default() -> Self {
        More { acks: Acks::new(MAX_ACKS), untold: None, data: Vec::new(), rooms: JoinedRooms::default() }
    }
}

impl State {
    pub(super) fn more(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }

    pub(super) fn take_rooms(&mut self) -> JoinedRooms {
        self.more.as_mut().map(|more| std::mem::take(&mut more.rooms)).unwrap_or_default()
    }

    pub(super) fn forget_ack(&mut self, id: u64) -> Option<(Arc<Waiter>, u32)> {
        self.more.as_mut()?.acks.take(id)
    }

    /// Returns why the socket was disconnected, if no handler has been told.
    pub(super) fn untold(&self) -> Option<&DisconnectReason> {
        self.more.as_ref()?.untold.as_ref()
    }

    pub(super) fn take_untold(&mut self) -> Option<DisconnectReason> {
        self.more.as_mut()?.untold.take()
    }
}
