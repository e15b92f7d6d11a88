//! A received packet.

use super::args::Args;
use super::attached::Attached;
use super::kind::Kind;
use super::parser::text::{event_name, first_of};
use alloc::borrow::Cow;

/// A packet, borrowed from its text.
///
/// All of it has been validated, including that its data fits its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The packet's type.
    pub kind: Kind,
    /// The namespace without its query; `/` if the packet names none. Always begins with `/`.
    pub namespace: &'a str,
    /// The query after `?` in the namespace, which clients of version 2 use; otherwise empty.
    pub query: &'a str,
    /// The acknowledgement id. An acknowledgement always has one, an event may have one.
    pub id: Option<u64>,
    /// The number of attachments that follow: at least 1 for a binary packet, otherwise 0.
    pub attachments: usize,
    /// The data, as JSON: an array in events and acknowledgements; an object or empty in
    /// [`Kind::Connect`]; an object, a string or empty in [`Kind::ConnectError`]; empty in
    /// [`Kind::Disconnect`].
    pub data: &'a str,
    /// The event's name as written, with its quotes; empty if this is not an event.
    pub(super) name: &'a str,
}

impl<'a> Packet<'a> {
    /// Returns the event's name, if this is an event. If the name is an integer, returns its digits.
    ///
    /// Allocates only if the name was written with escapes.
    pub fn event(&self) -> Option<Cow<'a, str>> {
        self.kind.is_event().then(|| event_name(self.name))
    }

    /// Returns the arguments, if this is an event or an acknowledgement.
    ///
    /// `attachments` are those of this packet, empty if it has none.
    pub fn args(&self, attachments: impl Into<Attached<'a>>) -> Option<Args<'a>> {
        if self.kind.is_event() {
            Some(Args::new_event(self.data, attachments))
        } else if self.kind.is_ack() {
            Some(Args::new_ack(self.data, attachments))
        } else {
            None
        }
    }

    /// Creates a packet without a query from the parts of a decoded one.
    pub(super) fn from_parts(
        kind: Kind,
        namespace: &'a str,
        id: Option<u64>,
        attachments: usize,
        data: &'a str,
    ) -> Packet<'a> {
        let name = if kind.is_event() { first_of(data) } else { "" };
        Packet { kind, namespace, query: "", id, attachments, data, name }
    }
}
