//! Sockets whose clients may come back to another server: how they are kept at the bus, and what they have missed.

use super::args::{BusEvent, BusValue};
use super::decode::BusDecoder;
use super::error::BusError;
use super::event::{Command, Event, RequestId};
use super::limits::ClusterLimits;
use super::machine::Cluster;
use super::message::{Body, Fields, HasSockets};
use super::raw::Reader;
use super::writer::Writer;
use super::{clustered, dialect};
use crate::socketio::recovery::StreamPosition;
use crate::socketio::{OwnedArgs, Target};
use crate::utf8::from_utf8;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use core::time::Duration;
use smol_str::SmolStr;

/// The most requests that wait for a position of a stream. Then a new one replaces the oldest.
const MAX_REACHING: usize = 10_000;

/// A socket whose client is away, as it is kept at the bus: a map in MessagePack as base 64, under a key with the private id.
/// `sid`, `pid`, `rooms` and `data` are those of the reference; it ignores the others, which only servers of this library
/// write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SavedSession {
    /// The id of the socket.
    pub sid: SmolStr,
    /// The private id.
    pub pid: SmolStr,
    /// Its rooms, the one that is named by its id among them.
    pub rooms: Vec<SmolStr>,
    /// The data that the application keeps with the socket, as JSON. `None` is written as an empty object.
    pub data: Option<String>,
    /// The namespace.
    pub namespace: Option<SmolStr>,
    /// The position in the stream that the client has received at least.
    pub received: Option<StreamPosition>,
    /// The end of the client's credentials, in milliseconds since 1970.
    pub expires: Option<u64>,
    /// The server that has kept it, and a number of its own choice.
    pub mark: Option<SmolStr>,
}

impl SavedSession {
    /// Returns the value to store.
    pub fn encode(&self) -> Bytes {
        let data =
            self.data.as_deref().and_then(|json| OwnedArgs::from_json(&format!("[{json}]"), Vec::new()).ok());
        let data = data.unwrap_or_default();
        let optional =
            [self.received.is_some(), self.namespace.is_some(), self.expires.is_some(), self.mark.is_some()];
        let len = 4 + optional.iter().filter(|is| **is).count();
        let mut writer = Writer::new(false);
        writer.map(u32::try_from(len).unwrap_or(4), |to| {
            to.key("sid");
            to.str(&self.sid);
            to.key("pid");
            to.str(&self.pid);
            to.key("rooms");
            to.array(self.rooms.len(), |to| self.rooms.iter().for_each(|room| to.str(room)));
            to.key("data");
            match data.as_args().iter().next() {
                Some(_) => to.value(self.data.as_deref().unwrap_or("{}"), data.as_args().into()),
                None => to.map(0, |_| {}),
            }
            if let Some(received) = self.received {
                to.key("offset");
                to.str(&received.to_string());
            }
            if let Some(namespace) = &self.namespace {
                to.key("nsp");
                to.str(namespace);
            }
            if let Some(expires) = self.expires {
                to.key("expires");
                to.uint(expires);
            }
            if let Some(mark) = &self.mark {
                to.key("mark");
                to.str(mark);
            }
        });
        BASE64_STANDARD.encode(writer.finish()).into()
    }

    /// Reads a value.
    ///
    /// # Errors
    /// Returns an error if it is not a socket that was kept, or its data holds binary data, which JSON cannot express.
    pub fn decode(value: &[u8], limits: &ClusterLimits) -> Result<SavedSession, BusError> {
        if value.len() / 4 > limits.max_message / 3 {
            return Err(BusError::TooLong { len: value.len(), limit: limits.max_message });
        }
        let bytes = Bytes::from(BASE64_STANDARD.decode(value).map_err(|_| BusError::Syntax)?);
        let mut reader = Reader::new(&bytes, limits)?;
        let mut session = SavedSession::default();
        let mut data = None;
        reader.map(|reader, key| {
            let value = reader.value()?;
            match key {
                b"sid" => session.sid = value.name().ok_or(BusError::Field("sid"))?,
                b"pid" => session.pid = value.name().ok_or(BusError::Field("pid"))?,
                b"rooms" if value.elements().count() > limits.max_rooms => {
                    return Err(BusError::TooManyRooms { limit: limits.max_rooms });
                }
                b"rooms" => session.rooms = value.elements().filter_map(|room| room.name()).collect(),
                b"data" => data = Some(value),
                b"offset" => session.received = value.name().and_then(|it| StreamPosition::parse(&it)),
                b"nsp" => session.namespace = value.name(),
                b"expires" => session.expires = value.uint(),
                b"mark" => session.mark = value.name(),
                _ => {}
            }
            Ok(())
        })?;
        reader.finish()?;
        if session.sid.is_empty() || session.pid.is_empty() {
            return Err(BusError::Field("sid"));
        }
        if let Some(data) = data.filter(|data| !data.is_null()) {
            let json = BusValue::new(&bytes, Some(data)).to_json().map(|json| json.into_owned());
            session.data = Some(json.ok_or(BusError::Field("data"))?);
        }
        Ok(session)
    }
}

/// An event that was read from a stream for a client that has come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissedEvent {
    /// Its position, which is its offset.
    pub position: StreamPosition,
    /// The sockets that it was sent to.
    pub target: Target,
    /// The event.
    pub event: BusEvent,
}

/// What a node does for clients that come back.
#[derive(Debug, Default)]
pub(super) struct Recovering {
    pub(super) is_on: bool,
    /// What waits for a position of a stream: the request, the stream, the namespace and the position.
    reaching: VecDeque<(RequestId, SmolStr, SmolStr, StreamPosition)>,
    /// The namespaces of which the server does not know yet that entries up to a position may be lost.
    gaps: BTreeMap<SmolStr, StreamPosition>,
}

impl Recovering {
    /// Forgets a namespace that is no longer part of the cluster.
    pub(super) fn forget(&mut self, namespace: &str) {
        self.gaps.remove(namespace);
    }
}

impl Cluster {
    /// Makes broadcasts that this node appends to a stream come back to it as [events](Event::Broadcast), with their offsets,
    /// so that all nodes send them in the same order. Volatile ones do not.
    pub fn enable_recovery(&mut self) {
        self.recovering.is_on = true;
    }

    /// Keeps the socket with a private id at the bus for some time. `value` is what [`SavedSession::encode`] returns.
    pub fn save_session(&mut self, pid: &str, value: Bytes, lifetime: Duration) {
        let Some(key) = self.session_key(pid) else { return };
        self.commands.push_back(Command::Save { key, value, lifetime });
    }

    /// Looks up the socket that is kept with a private id, and with `remove` removes it from the bus. The bus answers with
    /// the returned request. Returns `None` if the dialect keeps no sockets.
    pub fn load_session(&mut self, pid: &str, remove: bool) -> Option<RequestId> {
        let key = self.session_key(pid)?;
        let request = RequestId(self.new_id());
        self.commands.push_back(Command::Load { key, remove, request: request.clone() });
        Some(request)
    }

    /// Returns the key under which the bus keeps the socket with a private id, or `None` if the dialect keeps no sockets.
    pub fn session_key(&self, pid: &str) -> Option<String> {
        let dialect::Dialect::Streams(streams) = &self.config.dialect else { return None };
        Some(format!("{}{pid}", streams.session_prefix))
    }

    /// Reads the stream of a namespace from a position on. The bus answers with the returned request.
    pub fn read_stream(&mut self, namespace: &str, from: StreamPosition) -> Option<RequestId> {
        let channel = self.config.dialect.stream(namespace)?;
        let request = RequestId(self.new_id());
        self.commands.push_back(Command::Read { channel, from: from.to_string(), request: request.clone() });
        Some(request)
    }

    /// Waits until the stream of a namespace was read up to a position. [`Event::Reached`] follows; to wait no longer, call
    /// [`cancel`](Cluster::cancel). Returns `None` if that cannot be known, or if more than
    /// [`ClusterLimits::max_unhandled`] waits for the server.
    pub fn reach(&mut self, namespace: &str, position: StreamPosition) -> Option<RequestId> {
        let stream = self.config.dialect.stream(namespace)?.name;
        let last = *self.offsets.get(&stream)?;
        if self.is_overloaded() {
            return None;
        }
        let request = RequestId(self.new_id());
        let namespace = SmolStr::from(namespace);
        match last >= position {
            true => {
                let event = Event::Reached { request: request.clone(), namespace, position: last };
                self.events.push(event);
            }
            false => {
                self.recovering.reaching.push_back((request.clone(), stream, namespace, position));
                if self.recovering.reaching.len() > MAX_REACHING {
                    self.recovering.reaching.pop_front();
                }
            }
        }
        Some(request)
    }

    pub(super) fn stop_reaching(&mut self, request: &RequestId) {
        self.recovering.reaching.retain(|(waiting, ..)| waiting != request);
    }

    /// Tells that an entry was read that is no broadcast, such as a heartbeat: clients of a quiet namespace are known to have
    /// missed nothing before it.
    pub(super) fn tell_read(&mut self, namespace: SmolStr, position: StreamPosition) {
        // The next one tells the same.
        if self.recovering.is_on && self.namespaces.contains_key(&namespace) && !self.is_overloaded() {
            self.events.push(Event::StreamRead { namespace, position });
        }
    }

    pub(super) fn tell_reached(&mut self, stream: &str, position: StreamPosition) {
        if self.recovering.reaching.is_empty() {
            return;
        }
        let mut reached = Vec::new();
        self.recovering.reaching.retain(|(request, waiting, namespace, at)| {
            let is_reached = waiting == stream && *at <= position;
            if is_reached {
                reached.push((request.clone(), namespace.clone()));
            }
            !is_reached
        });
        for (request, namespace) in reached {
            if let Some(position) = self.recovering.gaps.remove(&namespace) {
                self.events.push(Event::StreamBegun { namespace: namespace.clone(), position });
            }
            self.events.push(Event::Reached { request, namespace, position });
        }
    }

    /// Notes that the entries of a namespace up to a position may be lost for the server.
    pub(super) fn note_gap(&mut self, namespace: &SmolStr, position: StreamPosition) {
        if self.recovering.is_on && self.namespaces.contains_key(namespace) {
            self.recovering.gaps.insert(namespace.clone(), position);
        }
    }

    /// Tells the server of gaps, unless too much waits for it: many of them in a row are told as one.
    pub(super) fn tell_gaps(&mut self) {
        if !self.recovering.gaps.is_empty() && !self.is_overloaded() {
            let gaps = core::mem::take(&mut self.recovering.gaps);
            let begun = |(namespace, position)| Event::StreamBegun { namespace, position };
            self.events.extend(gaps.into_iter().map(begun));
        }
    }

    /// Notes that a stream is read from behind `offset` on, for the first time or after entries may have been lost.
    ///
    /// # Errors
    /// Returns an error if the offset is no position.
    pub fn handle_stream(&mut self, stream: &str, offset: &str) -> Result<(), BusError> {
        let position = StreamPosition::parse(offset).ok_or(BusError::Field("offset"))?;
        let Some(last) = self.offsets.get_mut(stream) else { return Ok(()) };
        let position = position.max(*last);
        *last = position;
        if self.recovering.is_on {
            let dialect = &self.config.dialect;
            let is_in = |name: &&SmolStr| dialect.stream(name).is_some_and(|it| it.name == stream);
            let names: Vec<_> = self.namespaces.keys().filter(is_in).cloned().collect();
            names.iter().for_each(|namespace| self.note_gap(namespace, position));
            self.tell_gaps();
        }
        self.tell_reached(stream, position);
        Ok(())
    }

    /// Adds a stream of a namespace, and tells from where on it is read, if that is known.
    pub(super) fn begin_stream(&mut self, namespace: &SmolStr, stream: &SmolStr) {
        let position = *self.offsets.entry(stream.clone()).or_default();
        if position > StreamPosition::default() {
            self.note_gap(namespace, position);
            self.tell_gaps();
        }
    }
}

impl BusDecoder {
    /// Returns the event of an entry that was [read](Cluster::read_stream), if it is one of a namespace that clients get
    /// when they come back.
    ///
    /// # Errors
    /// Returns an error if the entry is not one of this dialect.
    pub fn read_entry<'a>(
        &self,
        namespace: &str,
        offset: &str,
        fields: impl Iterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Option<MissedEvent>, BusError> {
        let position = StreamPosition::parse(offset).ok_or(BusError::Field("offset"))?;
        let limits = &self.limits;
        let entry = EntryFields::read(fields)?;
        if entry.kind != clustered::BROADCAST || entry.namespace != namespace {
            return Ok(None);
        }
        let decoded = entry.decoded(limits)?;
        let copied = Bytes::new();
        let (data, buffer) = decoded.as_ref().map_or((entry.data, &copied), |data| (Some(&**data), data));
        Ok(match entry.body(data, limits, &mut |_, _| true)? {
            Body::Broadcast { event, target, flags, request: None } if !flags.volatile => {
                Some(MissedEvent { position, target, event: BusEvent::new(buffer, event) })
            }
            _ => None,
        })
    }
}

/// The fields of an entry of a stream.
pub(super) struct EntryFields<'a> {
    pub(super) uid: SmolStr,
    pub(super) namespace: SmolStr,
    pub(super) kind: u64,
    pub(super) data: Option<&'a [u8]>,
}

impl<'a> EntryFields<'a> {
    pub(super) fn read(
        fields: impl Iterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<EntryFields<'a>, BusError> {
        let [mut uid, mut namespace, mut kind, mut data] = [None; 4];
        for (key, value) in fields {
            match key {
                "uid" => uid = Some(value),
                "nsp" => namespace = Some(value),
                "type" => kind = Some(value),
                "data" => data = Some(value),
                _ => {}
            }
        }
        let text = |field: &'static str, value: Option<&'a [u8]>| {
            let text = value.and_then(from_utf8);
            text.filter(|text| text.len() <= super::message::MAX_NAME).ok_or(BusError::Field(field))
        };
        Ok(EntryFields {
            namespace: text("nsp", namespace)?.into(),
            uid: text("uid", uid)?.into(),
            kind: text("type", kind)?.parse().map_err(|_| BusError::Field("type"))?,
            data,
        })
    }

    /// Returns the data decoded from base 64, in which it is if it is MessagePack.
    pub(super) fn decoded(&self, limits: &ClusterLimits) -> Result<Option<Bytes>, BusError> {
        match self.data {
            Some(data) if data.len() / 4 > limits.max_message / 3 => {
                Err(BusError::TooLong { len: data.len(), limit: limits.max_message })
            }
            Some(data) if !data.starts_with(b"{") => {
                Ok(Some(BASE64_STANDARD.decode(data).map_err(|_| BusError::Field("data"))?.into()))
            }
            _ => Ok(None),
        }
    }

    /// Reads the data, as it is written or decoded.
    pub(super) fn body<'b>(
        &self,
        data: Option<&'b [u8]>,
        limits: &ClusterLimits,
        has_sockets: HasSockets<'_>,
    ) -> Result<Body<'b>, BusError> {
        let mut fields = Fields::default();
        if let Some(data) = data {
            let mut reader = Reader::new(data, limits)?;
            fields.read(&mut reader)?;
            reader.finish()?;
        }
        let fields = data.is_some().then_some(&mut fields);
        clustered::body(self.kind, fields, &self.namespace, limits, has_sockets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn a_session_of_node_is_read_and_ours_is_read_by_itself() {
        // What `@msgpack/msgpack` writes for {sid, pid, rooms: [sid, "a"], data: {n: 1}}.
        let node = b"\x84\xa3sid\xa1s\xa3pid\xa1p\xa5rooms\x92\xa1s\xa1a\xa4data\x81\xa1n\x01";
        let limits = ClusterLimits::default();
        let session = SavedSession::decode(BASE64_STANDARD.encode(node).as_bytes(), &limits).unwrap();
        let (rooms, data) = (vec!["s".into(), "a".into()], Some(r#"{"n":1}"#.to_string()));
        let expected =
            SavedSession { sid: "s".into(), pid: "p".into(), rooms, data, ..SavedSession::default() };
        assert_eq!(session, expected);
        let encoded = BASE64_STANDARD.decode(expected.encode()).unwrap();
        assert_eq!(encoded, node, "Node reads the same");
        let whole = SavedSession {
            namespace: Some("/n".into()),
            received: StreamPosition::parse("17-3"),
            expires: Some(1 << 40),
            mark: Some("m".into()),
            ..expected
        };
        assert_eq!(SavedSession::decode(&whole.encode(), &limits).unwrap(), whole);
    }

    #[test]
    fn a_broken_session_is_refused() {
        let limits = ClusterLimits { max_rooms: 1, ..ClusterLimits::default() };
        let whole = SavedSession { sid: "s".into(), pid: "p".into(), ..SavedSession::default() }.encode();
        for end in 0..whole.len() {
            assert!(SavedSession::decode(&whole[..end], &limits).is_err(), "{end}");
        }
        let binary = b"\x83\xa3sid\xa1s\xa3pid\xa1p\xa4data\xc4\x01\x00";
        for bad in [&b"\x80"[..], b"\x82\xa3sid\xc0\xa3pid\xa1p", b"\xc0", binary] {
            assert!(
                SavedSession::decode(BASE64_STANDARD.encode(bad).as_bytes(), &limits).is_err(),
                "{bad:?}"
            );
        }
        let rooms = SavedSession {
            sid: "s".into(),
            pid: "p".into(),
            rooms: vec!["a".into(), "b".into()],
            ..SavedSession::default()
        };
        let error = SavedSession::decode(&rooms.encode(), &limits).unwrap_err();
        assert_eq!(error, BusError::TooManyRooms { limit: 1 });
    }
}
