//! Reading the messages of the other nodes.

use super::args::BusValue;
use super::dialect::Dialect;
use super::error::BusError;
use super::event::{BusSockets, Event};
use super::limits::ClusterLimits;
use super::message::{Body, HasSockets, Message};
use super::raw::Reader;
use super::receive::event_of;
use super::sessions::EntryFields;
use super::{classic, clustered};
use crate::socketio::recovery::StreamPosition;
use bytes::Bytes;
use smol_str::SmolStr;

/// Reads the messages of other nodes for a [`Cluster`](super::Cluster). It has no state, so that a lock around that of the
/// cluster need not be held meanwhile.
#[derive(Debug, Clone)]
pub struct BusDecoder {
    pub(super) dialect: Dialect,
    pub(super) limits: ClusterLimits,
    pub(super) uid: SmolStr,
    /// Broadcasts of this node come back to it by the stream.
    pub(super) reads_own: bool,
}

/// An entry of a stream that was read, for [`Cluster::handle_decoded_entry`](super::Cluster::handle_decoded_entry). It shares
/// the memory of its fields.
#[derive(Debug)]
pub struct BusEntry {
    pub(super) position: StreamPosition,
    /// The namespace, if the entry is no broadcast.
    pub(super) read: Option<SmolStr>,
    /// `None` if it concerns others only. The position counts even if the rest cannot be read.
    pub(super) message: Result<Option<BusMessage>, BusError>,
}

/// A message that was read, for [`Cluster::handle_decoded`](super::Cluster::handle_decoded). It shares the memory of its
/// bytes.
#[derive(Debug)]
pub struct BusMessage {
    pub(super) uid: Option<SmolStr>,
    pub(super) namespace: SmolStr,
    pub(super) content: Content,
}

#[expect(clippy::large_enum_variant, reason = "an event is what most of those that are kept contain")]
#[derive(Debug)]
pub(super) enum Content {
    Heartbeat {
        is_initial: bool,
    },
    Goodbye,
    /// A broadcast that concerns no socket here.
    Elsewhere,
    /// What the server has to do.
    Asked(Event),
    Fetched {
        request: SmolStr,
        sockets: BusSockets,
    },
    ServerSideAnswer {
        request: SmolStr,
        value: BusValue,
    },
    ClientCount {
        request: SmolStr,
        count: usize,
    },
    ClientAnswer {
        request: SmolStr,
        value: BusValue,
    },
}

impl BusDecoder {
    /// Returns whether a channel is that of a room without local sockets, so that its messages need not be read.
    /// `has_sockets` is that of [`decode`](BusDecoder::decode).
    ///
    /// Do not ask if a namespace of this node has `#` in its name: its channel looks like that of a room of another
    /// namespace.
    pub fn is_elsewhere(&self, channel: &str, has_sockets: impl FnOnce(&str, Option<&str>) -> bool) -> bool {
        let names = || {
            let names = channel.strip_prefix(self.dialect.prefix())?.strip_prefix('#')?.strip_suffix('#')?;
            let mut ends = memchr::memchr_iter(b'#', names.as_bytes());
            // With more of them in a name, it is not certain where the room begins.
            let end = ends.next().filter(|_| ends.next().is_none())?;
            Some((names.get(..end)?, names.get(end + 1..)?))
        };
        let Some((namespace, room)) = names() else { return false };
        // The channel of answers looks like one of a room.
        room != self.uid && !has_sockets(namespace, Some(room))
    }

    /// Reads a message that was published on a channel that the node watches. Returns `None` if it concerns others only.
    ///
    /// `message` is a part of `buffer`, or the whole of it, and what is kept of the message shares the memory of the buffer. If
    /// the message is in other memory, what is kept of it is copied.
    ///
    /// `has_sockets` is asked whether a namespace has local sockets in a room, or local sockets at all, until it says yes. If
    /// it never does, the rest of a broadcast is not read.
    ///
    /// # Errors
    /// Returns an error if the message is not one of this dialect. Log it: nothing has changed.
    pub fn decode(
        &self,
        channel: &str,
        message: &[u8],
        buffer: &Bytes,
        mut has_sockets: impl FnMut(&str, Option<&str>) -> bool,
    ) -> Result<Option<BusMessage>, BusError> {
        let mut reader = Reader::new(message, &self.limits)?;
        let parsed = if !self.dialect.is_classic() {
            clustered::read(&mut reader, &mut has_sockets)?
        } else {
            let Some(rest) = channel.strip_prefix(self.dialect.prefix()) else { return Ok(None) };
            if let Some(namespace) = rest.strip_prefix("-request#") {
                let namespace = namespace.strip_suffix('#').map(SmolStr::from);
                Message { namespace, ..classic::read_request(&mut reader)? }
            } else if let Some(namespace) = rest.strip_prefix("-response#") {
                let Some(parsed) = classic::read_response(&mut reader)? else { return Ok(None) };
                let own = namespace.strip_suffix('#').and_then(|it| it.strip_suffix(&*self.uid));
                let namespace = own.unwrap_or(namespace).strip_suffix('#').map(SmolStr::from);
                Message { namespace, ..parsed }
            } else if rest.starts_with('#') {
                classic::read_broadcast(&mut reader, &mut has_sockets)?
            } else {
                return Ok(None);
            }
        };
        let is_own = parsed.uid.as_ref() == Some(&self.uid);
        Ok(if is_own { None } else { BusMessage::new(buffer, parsed, None) })
    }

    /// Reads an entry of a stream that the node watches. `offset` is its position, and `fields` are its keys and values, which
    /// are parts of `buffer`. `buffer` and `has_sockets` are those of [`decode`](BusDecoder::decode); a node that keeps what
    /// clients may miss has to say yes to all.
    ///
    /// # Errors
    /// Returns an error if the offset is no position. Log it: nothing has changed. Everything else that is wrong with the
    /// entry is told by [`Cluster::handle_decoded_entry`](super::Cluster::handle_decoded_entry).
    pub fn decode_entry<'a>(
        &self,
        offset: &str,
        fields: impl Iterator<Item = (&'a str, &'a [u8])>,
        buffer: &Bytes,
        mut has_sockets: impl FnMut(&str, Option<&str>) -> bool,
    ) -> Result<BusEntry, BusError> {
        let position = StreamPosition::parse(offset).ok_or(BusError::Field("offset"))?;
        let entry = match EntryFields::read(fields) {
            Ok(entry) => entry,
            Err(error) => return Ok(BusEntry { position, read: None, message: Err(error) }),
        };
        let read = (entry.kind != clustered::BROADCAST).then(|| entry.namespace.clone());
        let message = self.entry_message(entry, buffer, position, &mut has_sockets);
        Ok(BusEntry { position, read, message })
    }

    fn entry_message(
        &self,
        entry: EntryFields<'_>,
        buffer: &Bytes,
        position: StreamPosition,
        has_sockets: HasSockets<'_>,
    ) -> Result<Option<BusMessage>, BusError> {
        let is_own = entry.uid == self.uid;
        if is_own && !(self.reads_own && entry.kind == clustered::BROADCAST) {
            return Ok(None);
        }
        let decoded = entry.decoded(&self.limits)?;
        let (data, buffer) = decoded.as_ref().map_or((entry.data, buffer), |data| (Some(&**data), data));
        let body = entry.body(data, &self.limits, has_sockets)?;
        // The own sockets got a volatile one before.
        if is_own && !matches!(&body, Body::Broadcast { flags, .. } if !flags.volatile) {
            return Ok(None);
        }
        let EntryFields { uid, namespace, .. } = entry;
        let message = Message { uid: (!is_own).then_some(uid), namespace: Some(namespace), body };
        Ok(BusMessage::new(buffer, message, Some(position)))
    }
}

impl BusEntry {
    /// Returns the position of the entry, and [`BusMessage::sign_of_life`]. Once the sender was noted by one such entry,
    /// [`Cluster::pass_entries`](super::Cluster::pass_entries) handles more of them.
    pub fn sign_of_life(&self) -> Option<(StreamPosition, (&SmolStr, &SmolStr))> {
        let Ok(Some(message)) = &self.message else { return None };
        Some((self.position, message.sign_of_life()?))
    }
}

impl BusMessage {
    /// Returns the namespace and the sender, if the message says only that the sender is alive, as does a broadcast that
    /// concerns no socket here: the same once more would change nothing at the same time.
    pub fn sign_of_life(&self) -> Option<(&SmolStr, &SmolStr)> {
        let sender = self.uid.as_ref().filter(|_| matches!(self.content, Content::Elsewhere))?;
        Some((&self.namespace, sender))
    }

    /// Takes a message whose parts are parts of `buffer`. Returns `None` if its channel belongs to no namespace.
    pub(super) fn new(
        buffer: &Bytes,
        message: Message<'_>,
        offset: Option<StreamPosition>,
    ) -> Option<BusMessage> {
        let Message { uid, namespace, body } = message;
        let namespace = namespace?;
        if matches!(body, Body::Elsewhere) {
            // Most messages end here, so the others do not have to be small: `benches/count bus_sharded`.
            return Some(BusMessage { uid, namespace, content: Content::Elsewhere });
        }
        let content = match body {
            Body::Heartbeat { is_initial } => Content::Heartbeat { is_initial },
            Body::Goodbye => Content::Goodbye,
            Body::Fetched { request, sockets } => {
                Content::Fetched { request, sockets: BusSockets::new(buffer, sockets) }
            }
            Body::ServerSideAnswer { request, value } => {
                Content::ServerSideAnswer { request, value: BusValue::new(buffer, value) }
            }
            Body::ClientCount { request, count } => Content::ClientCount { request, count },
            Body::ClientAnswer { request, value } => {
                Content::ClientAnswer { request, value: BusValue::new(buffer, value) }
            }
            body => Content::Asked(event_of(buffer, namespace.clone(), uid.clone(), body, offset)?),
        };
        Some(BusMessage { uid, namespace, content })
    }
}
