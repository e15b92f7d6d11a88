//! A received packet.

use super::args::Args;
use super::attached::Attached;
use super::kind::Kind;
use super::parser::text::event_name;
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
    /// The number of attachments that follow as messages: at least 1 for a binary packet, otherwise 0.
    pub attachments: usize,
    /// The data, as JSON: an array in events and acknowledgements; an object or empty in
    /// [`Kind::Connect`]; an object, a string or empty in [`Kind::ConnectError`]; empty in
    /// [`Kind::Disconnect`].
    pub data: &'a str,
    /// The position in the data behind the event's name; 0 if this is not an event.
    pub(super) name_end: usize,
    /// The only argument is a string. Neither it nor an event's name has escapes, or whitespace beside it.
    pub(super) is_string: Hint,
}

/// Something that was found out about a value, if set, and is no part of it: all are equal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hint(pub(super) bool);

impl PartialEq for Hint {
    fn eq(&self, _: &Hint) -> bool {
        true
    }
}

impl Eq for Hint {}

impl<'a> Packet<'a> {
    /// Returns the packet by which a client connects to the main namespace. A client of Socket.IO 2 does not send it: it is
    /// connected as soon as its session is open.
    pub const fn connect() -> Packet<'static> {
        Packet {
            kind: Kind::Connect,
            namespace: "/",
            query: "",
            id: None,
            attachments: 0,
            data: "",
            name_end: 0,
            is_string: Hint(false),
        }
    }

    /// Returns the event's name, if this is an event. If the name is an integer, returns its digits.
    ///
    /// Allocates only if the name was written with escapes.
    #[inline]
    pub fn event(&self) -> Option<Cow<'a, str>> {
        match self.is_string {
            // A bracket and a quote are in front of it, and a quote is behind it.
            Hint(true) if self.name_end > 0 => self.data.get(2..self.name_end - 1).map(Cow::Borrowed),
            _ => event_name(self.data, self.name_end),
        }
    }

    /// Returns the arguments, if this is an event or an acknowledgement.
    ///
    /// `attachments` are those of this packet, empty if it has none.
    pub fn args(&self, attachments: impl Into<Attached<'a>>) -> Option<Args<'a>> {
        let has_args = self.kind.is_event() || self.kind.is_ack();
        has_args.then(|| Args::of_packet(self, attachments.into()))
    }
}
