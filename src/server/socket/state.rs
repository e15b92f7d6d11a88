//! The mutable state of a socket.

use crate::error::DisconnectReason;
use crate::listeners::{Listeners, On};
use crate::server::ack::Waiter;
use crate::server::joined_rooms::JoinedRooms;
use crate::server::missed::Missed;
use crate::server::socket::Socket;
use crate::server::socket::expiry::Expiry;
use crate::server::socket::packets::Packets;
use crate::server::socket::recovery::Standing;
use smol_str::SmolStr;
use sockeye_core::socketio::Acks;
use std::any::{Any, TypeId};
use std::sync::Arc;

/// The maximum number of pending acknowledgements of one socket.
const MAX_ACKS: u32 = 10_000;

#[derive(Default)]
pub(super) struct State {
    pub(super) stage: Stage,
    /// The packet middleware is deciding about an event, behind which others wait.
    pub(super) is_deciding: bool,
    /// Includes the disconnect handlers: no event can have their name.
    pub(super) listeners: Listeners<Socket>,
    pub(super) more: Option<Box<More>>,
}

/// The stages of a socket's life, each of which it enters at most once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// The application has not let it in yet, or the first poll of the connect handlers is not over.
    #[default]
    Entering,
    /// The connect handlers have been called, so the disconnect handlers may be called.
    Entered,
    /// It is no longer a member of its namespace, and its disconnect handlers are being called.
    Leaving,
    /// It was refused, or its last handler has been called: nothing is stored any more.
    Ended,
}

/// State that most sockets do not need.
pub(super) struct More {
    /// The pending acknowledgements: the waiter to notify, and the index of its entry there.
    pub(super) acks: Acks<(Arc<Waiter>, u32)>,
    /// The reason for the disconnect, if no handler has been called with it.
    pub(super) untold: Option<DisconnectReason>,
    pub(super) data: Vec<(TypeId, Arc<dyn Any + Send + Sync>)>,
    /// The rooms of a socket that is not a member of its namespace: those it joined before it was admitted,
    /// or had when it left.
    pub(super) rooms: JoinedRooms,
    pub(super) packets: Option<Box<Packets>>,
    pub(super) expiry: Option<Expiry>,
    /// Set if the client can be recovered.
    pub(super) standing: Option<Box<Standing>>,
    /// The events that arrived before they had a handler, while one was still expected.
    pub(super) missed: Missed,
}

impl Default for More {
    fn default() -> Self {
        More {
            acks: Acks::new(MAX_ACKS),
            untold: None,
            data: Vec::new(),
            rooms: JoinedRooms::default(),
            packets: None,
            expiry: None,
            standing: None,
            missed: Missed::default(),
        }
    }
}

impl State {
    pub(super) fn more(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }

    pub(super) fn take_rooms(&mut self) -> JoinedRooms {
        self.more.as_mut().map(|more| std::mem::take(&mut more.rooms)).unwrap_or_default()
    }

    /// Takes the packet middleware and the events that wait for it, to be dropped without the lock.
    pub(super) fn take_packets(&mut self) -> Option<Box<Packets>> {
        self.more.as_mut()?.packets.take()
    }

    pub(super) fn take_expiry(&mut self) -> Option<Expiry> {
        self.more.as_mut()?.expiry.take()
    }

    pub(super) fn take_standing(&mut self) -> Option<Box<Standing>> {
        self.more.as_mut()?.standing.take()
    }

    pub(super) fn expiry(&mut self) -> Option<&mut Expiry> {
        self.more.as_mut()?.expiry.as_mut()
    }

    /// Notes an event that arrived, but has no handler.
    pub(super) fn miss(&mut self, event: &str) {
        if self.stage != Stage::Ended {
            self.more().missed.note(event);
        }
    }

    /// Returns the name of the event, if it has arrived before its first handler was registered.
    pub(super) fn take_missed(&mut self, on: &On) -> Option<SmolStr> {
        self.more.as_mut()?.missed.take(on)
    }

    pub(super) fn forget_ack(&mut self, id: u64) -> Option<(Arc<Waiter>, u32)> {
        self.more.as_mut()?.acks.take(id)
    }

    /// Returns why the socket was disconnected, if no handler has been called with the reason.
    pub(super) fn untold(&self) -> Option<&DisconnectReason> {
        self.more.as_ref()?.untold.as_ref()
    }

    pub(super) fn take_untold(&mut self) -> Option<DisconnectReason> {
        self.more.as_mut()?.untold.take()
    }
}
