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
    /// Reads a message that was published on a channel that the node watches. Returns `None` if it concerns others only.
    ///
    /// `has_sockets` is asked whether a namespace has local sockets in a room, or local sockets at all, until it says yes. If
    /// it never does, the rest of a broadcast is not read.
    ///
    /// # Errors
    /// Returns an error if the message is not one of this dialect. Log it: nothing has changed.
    pub fn decode(
        &self,
        channel: &str,
        message: &Bytes,
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
        Ok(if is_own { None } else { BusMessage::new(message, parsed, None) })
    }

    /// Reads an entry of a stream that the node watches. `offset` is its position, and `fields` are its keys and values.
    /// `has_sockets` is that of [`decode`](BusDecoder::decode); a node that keeps what clients may miss has to say yes to all.
    ///
    /// # Errors
    /// Returns an error if the offset is no position. Log it: nothing has changed. Everything else that is wrong with the
    /// entry is told by [`Cluster::handle_decoded_entry`](super::Cluster::handle_decoded_entry).
    pub fn decode_entry<'a>(
        &self,
        offset: &str,
        fields: impl Iterator<Item = (&'a str, &'a Bytes)>,
        mut has_sockets: impl FnMut(&str, Option<&str>) -> bool,
    ) -> Result<BusEntry, BusError> {
        let mut data = None;
        let fields = fields.map(|(key, value)| {
            if key == "data" {
                data = Some(value);
            }
            (key, &**value)
        });
        let entry = EntryFields::read(fields);
        self.entry(offset, entry, data, &mut has_sockets)
    }

    pub(super) fn entry(
        &self,
        offset: &str,
        entry: Result<EntryFields<'_>, BusError>,
        data: Option<&Bytes>,
        has_sockets: HasSockets<'_>,
    ) -> Result<BusEntry, BusError> {
        let position = StreamPosition::parse(offset).ok_or(BusError::Field("offset"))?;
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => return Ok(BusEntry { position, read: None, message: Err(error) }),
        };
        let read = (entry.kind != clustered::BROADCAST).then(|| entry.namespace.clone());
        let message = self.entry_message(entry, data, position, has_sockets);
        Ok(BusEntry { position, read, message })
    }

    fn entry_message(
        &self,
        entry: EntryFields<'_>,
        data: Option<&Bytes>,
        position: StreamPosition,
        has_sockets: HasSockets<'_>,
    ) -> Result<Option<BusMessage>, BusError> {
        let is_own = entry.uid == self.uid;
        if is_own && !(self.reads_own && entry.kind == clustered::BROADCAST) {
            return Ok(None);
        }
        let bytes = entry.data(data, &self.limits)?;
        let body = entry.body(&bytes, &self.limits, has_sockets)?;
        // The own sockets got a volatile one before.
        if is_own && !matches!(&body, Body::Broadcast { flags, .. } if !flags.volatile) {
            return Ok(None);
        }
        let EntryFields { uid, namespace, .. } = entry;
        let message = Message { uid: (!is_own).then_some(uid), namespace: Some(namespace), body };
        Ok(BusMessage::new(&bytes, message, Some(position)))
    }
}

impl BusMessage {
    /// Takes a message that borrows from `bytes`. Returns `None` if its channel belongs to no namespace.
    pub(super) fn new(
        bytes: &Bytes,
        message: Message<'_>,
        offset: Option<StreamPosition>,
    ) -> Option<BusMessage> {
        let Message { uid, namespace, body } = message;
        let namespace = namespace?;
        let content = match body {
            Body::Heartbeat { is_initial } => Content::Heartbeat { is_initial },
            Body::Goodbye => Content::Goodbye,
            Body::Elsewhere => Content::Elsewhere,
            Body::Fetched { request, sockets } => {
                Content::Fetched { request, sockets: BusSockets::new(bytes, sockets) }
            }
            Body::ServerSideAnswer { request, value } => {
                Content::ServerSideAnswer { request, value: BusValue::new(bytes, value) }
            }
            Body::ClientCount { request, count } => Content::ClientCount { request, count },
            Body::ClientAnswer { request, value } => {
                Content::ClientAnswer { request, value: BusValue::new(bytes, value) }
            }
            body => Content::Asked(event_of(bytes, namespace.clone(), uid.clone(), body, offset)?),
        };
        Some(BusMessage { uid, namespace, content })
    }
}
