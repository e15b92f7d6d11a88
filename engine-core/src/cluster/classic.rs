//! The messages of `createAdapter` in `@socket.io/redis-adapter`.
//!
//! A broadcast is always MessagePack. Requests and answers are JSON, or MessagePack if they carry arguments of clients;
//! the receiver looks at the first byte.

use super::args::PublishedArgs;
use super::error::BusError;
use super::message::{Body, EMITTER, Fields, HasSockets, Message, Packet, event, text};
use super::raw::{Raw, Reader};
use super::writer::Writer;
use crate::socketio::{Flags, Rooms, Target};
use bytes::Bytes;

const SOCKETS: u64 = 0;
const ALL_ROOMS: u64 = 1;
const REMOTE_JOIN: u64 = 2;
const REMOTE_LEAVE: u64 = 3;
const REMOTE_DISCONNECT: u64 = 4;
const REMOTE_FETCH: u64 = 5;
const SERVER_SIDE_EMIT: u64 = 6;
const BROADCAST: u64 = 7;
const BROADCAST_CLIENT_COUNT: u64 = 8;
const BROADCAST_ACK: u64 = 9;

/// Reads a message from a channel of broadcasts: `[uid, packet, opts]`.
pub(super) fn read_broadcast<'a>(
    reader: &mut Reader<'a>,
    has_sockets: HasSockets<'_>,
) -> Result<Message<'a>, BusError> {
    let mut fields = Fields::default();
    let mut at = 0;
    reader.list(|reader| {
        match at {
            0 => fields.uid = text(reader.value()?),
            1 => fields.packet.insert(Packet::default()).read(reader)?,
            2 => fields.opts.read(reader)?,
            _ => drop(reader.value()?),
        }
        at += 1;
        Ok(())
    })?;
    reader.finish()?;
    let (event, namespace) = fields.event()?;
    let namespace = namespace.unwrap_or_else(|| "/".into());
    let opts = fields.needed_opts()?;
    let body = match fields.is_elsewhere(&namespace, has_sockets)? {
        true => Body::Elsewhere,
        false => {
            let (target, flags) = (opts.target()?, opts.flags());
            Body::Broadcast { event, target, flags, request: None }
        }
    };
    Ok(Message { uid: fields.uid, namespace: Some(namespace), body })
}

/// Reads a message from the channel of requests.
pub(super) fn read_request<'a>(reader: &mut Reader<'a>) -> Result<Message<'a>, BusError> {
    let mut fields = Fields::default();
    fields.read(reader)?;
    reader.finish()?;
    let limits = reader.limits();
    let kind = fields.kind.ok_or(BusError::Field("type"))?;
    let body = match kind {
        SOCKETS => {
            let target = Target { rooms: fields.rooms(limits)?, except: Rooms::default() };
            Body::Ids { target, request: fields.needed_request()? }
        }
        ALL_ROOMS => Body::Rooms { request: fields.needed_request()? },
        REMOTE_JOIN | REMOTE_LEAVE => {
            let (target, rooms) = match single(&fields) {
                Some(target) => {
                    let mut rooms = Rooms::default();
                    rooms.insert(&fields.room.and_then(Raw::name).ok_or(BusError::Field("room"))?);
                    (target, rooms)
                }
                None => (fields.target()?, fields.rooms(limits)?),
            };
            let request = fields.request;
            match kind {
                REMOTE_JOIN => Body::Join { target, rooms, request },
                _ => Body::Leave { target, rooms, request },
            }
        }
        REMOTE_DISCONNECT => {
            let target = match single(&fields) {
                Some(target) => target,
                None => fields.target()?,
            };
            Body::Disconnect { target, close: fields.close, request: fields.request }
        }
        REMOTE_FETCH => Body::Fetch { target: fields.target()?, request: fields.needed_request()? },
        SERVER_SIDE_EMIT => Body::ServerSide { event: event(fields.data, "data")?, request: fields.request },
        BROADCAST => {
            let opts = fields.needed_opts()?;
            let (target, flags) = (opts.target()?, opts.flags());
            let request = Some(fields.needed_request()?);
            Body::Broadcast { event: fields.event()?.0, target, flags, request }
        }
        kind => return Err(BusError::Type(kind)),
    };
    Ok(Message { uid: fields.uid, namespace: None, body })
}

/// Returns the target of a request about one socket, as versions before 7 sent it.
fn single(fields: &Fields<'_>) -> Option<Target> {
    let sid = fields.sid.filter(|_| !fields.opts.is_there)?.name()?;
    let mut target = Target::default();
    target.rooms.insert(&sid);
    Some(target)
}

/// Reads a message from a channel of answers. Returns `None` if nobody can wait for it here.
pub(super) fn read_response<'a>(reader: &mut Reader<'a>) -> Result<Option<Message<'a>>, BusError> {
    let mut fields = Fields::default();
    fields.read(reader)?;
    reader.finish()?;
    let request = fields.needed_request()?;
    let body = match fields.kind {
        Some(SERVER_SIDE_EMIT) => Body::ServerSideAnswer { request, value: fields.data },
        Some(BROADCAST_CLIENT_COUNT) => Body::ClientCount { request, count: fields.needed_count()? },
        Some(BROADCAST_ACK) => {
            Body::ClientAnswer { request, value: fields.packet.and_then(|packet| packet.value) }
        }
        Some(kind) => return Err(BusError::Type(kind)),
        None => match fields.sockets {
            Some(sockets) => Body::Fetched { request, sockets },
            // The rooms of a server, and the end of a change of one socket, which this side never asks for.
            None => return Ok(None),
        },
    };
    Ok(Some(Message { uid: None, namespace: None, body }))
}

pub(super) fn broadcast(
    uid: &str,
    namespace: &str,
    target: &Target,
    flags: &Flags,
    event: PublishedArgs<'_>,
) -> Bytes {
    let mut writer = Writer::new(false);
    writer.array(3, |to| {
        to.str(uid);
        packet(to, namespace, event);
        to.target(target, Some(flags));
    });
    writer.finish()
}

fn packet(to: &mut Writer, namespace: &str, event: PublishedArgs<'_>) {
    to.map(3, |to| {
        to.key("type");
        to.uint(2);
        to.key("data");
        to.event(None, event);
        to.key("nsp");
        to.str(namespace);
    });
}

/// Begins a request. `more` writes `fields` further fields.
fn request(
    is_json: bool,
    (uid, id): (&str, Option<&str>),
    kind: u64,
    fields: u32,
    more: impl FnOnce(&mut Writer),
) -> Bytes {
    // An emitter names itself only where the receiver needs it, to tell it from its own messages.
    let named = uid != EMITTER || kind == SERVER_SIDE_EMIT;
    let mut writer = Writer::new(is_json);
    writer.map(u32::from(named) + u32::from(id.is_some()) + 1 + fields, |to| {
        if named {
            to.key("uid");
            to.str(uid);
        }
        if let Some(id) = id {
            to.key("requestId");
            to.str(id);
        }
        to.key("type");
        to.uint(kind);
        more(to);
    });
    writer.finish()
}

pub(super) fn broadcast_with_ack(
    (uid, id): (&str, &str),
    namespace: &str,
    target: &Target,
    flags: &Flags,
    event: PublishedArgs<'_>,
) -> Bytes {
    request(false, (uid, Some(id)), BROADCAST, 2, |to| {
        to.key("packet");
        packet(to, namespace, event);
        to.key("opts");
        to.target(target, Some(flags));
    })
}

pub(super) fn change_rooms(uid: &str, joins: bool, target: &Target, rooms: &Rooms) -> Bytes {
    let kind = if joins { REMOTE_JOIN } else { REMOTE_LEAVE };
    request(true, (uid, None), kind, 2, |to| {
        to.key("opts");
        to.target(target, None);
        to.key("rooms");
        to.rooms(rooms);
    })
}

pub(super) fn disconnect(uid: &str, target: &Target, close: bool) -> Bytes {
    request(true, (uid, None), REMOTE_DISCONNECT, 2, |to| {
        to.key("opts");
        to.target(target, None);
        to.key("close");
        to.bool(close);
    })
}

pub(super) fn fetch(uid: &str, id: &str, target: &Target) -> Bytes {
    request(true, (uid, Some(id)), REMOTE_FETCH, 1, |to| {
        to.key("opts");
        to.target(target, None);
    })
}

/// Writes an event between servers. Node writes JSON even if there is binary data, which the other servers then do not
/// receive as such, but it reads MessagePack.
pub(super) fn server_side(uid: &str, id: Option<&str>, name: &str, args: PublishedArgs<'_>) -> Bytes {
    request(!args.is_binary(), (uid, id), SERVER_SIDE_EMIT, 1, |to| {
        to.key("data");
        to.event(Some(name), args);
    })
}

/// Begins an answer with a type.
fn response(is_json: bool, kind: u64, id: &str, fields: u32, more: impl FnOnce(&mut Writer)) -> Bytes {
    let mut writer = Writer::new(is_json);
    writer.map(2 + fields, |to| {
        to.key("type");
        to.uint(kind);
        to.key("requestId");
        to.str(id);
        more(to);
    });
    writer.finish()
}

pub(super) fn client_count(id: &str, count: u64) -> Bytes {
    response(true, BROADCAST_CLIENT_COUNT, id, 1, |to| {
        to.key("clientCount");
        to.uint(count);
    })
}

pub(super) fn client_answer(id: &str, args: PublishedArgs<'_>) -> Bytes {
    let first = args.first();
    response(false, BROADCAST_ACK, id, first.is_some().into(), |to| {
        if let Some(first) = first {
            to.key("packet");
            to.value(first, args);
        }
    })
}

pub(super) fn server_side_answer(id: &str, args: PublishedArgs<'_>) -> Bytes {
    let first = args.first();
    response(!args.is_binary(), SERVER_SIDE_EMIT, id, first.is_some().into(), |to| {
        if let Some(first) = first {
            to.key("data");
            to.value(first, args);
        }
    })
}

/// Writes an answer without a type: a list under a key, or nothing but the id.
pub(super) fn list(id: &str, list: Option<(&'static str, PublishedArgs<'_>)>) -> Bytes {
    let mut writer = Writer::new(true);
    writer.map(0, |to| {
        to.key("requestId");
        to.str(id);
        if let Some((key, list)) = list {
            to.key(key);
            to.value(list.json(), list);
        }
    });
    writer.finish()
}
