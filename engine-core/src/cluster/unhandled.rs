//! The events that the server has not handled yet.

use super::event::{Event, Reply};
use crate::socketio::{Rooms, Target};
use alloc::collections::VecDeque;
use smol_str::SmolStr;

/// The most events whose memory is used again.
const MAX_REUSED: usize = 64;

/// Events in their order, and the bytes that they take.
#[derive(Debug, Default)]
pub(super) struct Unhandled {
    events: VecDeque<Event>,
    /// The bytes of all but the first one: usually there is only that one, and it is taken at once.
    waiting: usize,
}

impl Unhandled {
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Returns the bytes of the events that wait for others.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Adds an event.
    pub(super) fn push(&mut self, mut event: Event) {
        if !self.events.is_empty() {
            // It would keep everything that was read with it.
            event.detach();
            self.waiting += size(&event);
        }
        self.events.push_back(event);
    }

    pub(super) fn extend(&mut self, events: impl IntoIterator<Item = Event>) {
        events.into_iter().for_each(|event| self.push(event));
    }

    /// Takes the first event.
    pub(super) fn pop(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        match self.events.front() {
            Some(first) => self.waiting -= size(first),
            None if self.events.capacity() > MAX_REUSED => self.events = VecDeque::new(),
            None => {}
        }
        Some(event)
    }
}

/// Returns the bytes that an event takes, about.
fn size(event: &Event) -> usize {
    let content = match event {
        Event::Broadcast { namespace, target, event, reply, .. } => {
            of_names([namespace]) + of_target(target) + event.len() + of_reply(reply.as_ref())
        }
        Event::Join { namespace, target, rooms, reply }
        | Event::Leave { namespace, target, rooms, reply } => {
            of_names([namespace]) + of_target(target) + of_rooms(rooms) + of_reply(reply.as_ref())
        }
        Event::Disconnect { namespace, target, reply, .. } => {
            of_names([namespace]) + of_target(target) + of_reply(reply.as_ref())
        }
        Event::Fetch { namespace, target, reply } => {
            of_names([namespace]) + of_target(target) + of_reply(Some(reply))
        }
        Event::Rooms { namespace, reply } => of_names([namespace]) + of_reply(Some(reply)),
        Event::ServerSide { namespace, event, reply } => {
            of_names([namespace]) + event.len() + of_reply(reply.as_ref())
        }
        Event::Answer { request, node, value } => of_names([&request.0]) + of_names(node) + value.len(),
        Event::Sockets { request, sockets } => of_names([&request.0]) + sockets.len(),
        Event::Finished { request, silent, .. } => {
            of_names([&request.0]) + of_names(silent) + size_of_val(&silent[..])
        }
        Event::Asked { request, .. } | Event::Counted { request, .. } => of_names([&request.0]),
        Event::Reached { request, namespace, .. } => of_names([&request.0, namespace]),
        Event::StreamBegun { namespace, .. } | Event::StreamRead { namespace, .. } => of_names([namespace]),
        Event::NodeJoined { namespace, node }
        | Event::NodeLeft { namespace, node }
        | Event::NodeLost { namespace, node } => of_names([namespace, node]),
    };
    size_of::<Event>() + content
}

/// Returns the bytes that names take beside their values, which have those of short names in them.
fn of_names<'a>(names: impl IntoIterator<Item = &'a SmolStr>) -> usize {
    names.into_iter().filter(|name| name.is_heap_allocated()).map(|name| name.len()).sum()
}

fn of_rooms(rooms: &Rooms) -> usize {
    rooms.len() * size_of::<SmolStr>() + of_names(rooms.names())
}

fn of_target(target: &Target) -> usize {
    of_rooms(&target.rooms) + of_rooms(&target.except)
}

fn of_reply(reply: Option<&Reply>) -> usize {
    reply.map_or(0, |reply| of_names([&reply.namespace, &reply.request]) + of_names(&reply.to))
}
