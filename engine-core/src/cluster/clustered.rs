//! The messages that the sharded adapter and the streams adapter share: `{type, data, uid, nsp}`, the `ClusterMessage` of
//! `socket.io-adapter`.

use super::args::PublishedArgs;
use super::error::BusError;
use super::limits::ClusterLimits;
use super::message::{Body, Fields, HasSockets, Message, event, text};
use super::raw::Reader;
use super::writer::Writer;
use crate::socketio::{Flags, Rooms, Target};

pub(super) const INITIAL_HEARTBEAT: u64 = 1;
pub(super) const HEARTBEAT: u64 = 2;
pub(super) const BROADCAST: u64 = 3;
pub(super) const SOCKETS_JOIN: u64 = 4;
pub(super) const SOCKETS_LEAVE: u64 = 5;
pub(super) const DISCONNECT_SOCKETS: u64 = 6;
pub(super) const FETCH_SOCKETS: u64 = 7;
pub(super) const FETCH_SOCKETS_RESPONSE: u64 = 8;
pub(super) const SERVER_SIDE_EMIT: u64 = 9;
pub(super) const SERVER_SIDE_EMIT_RESPONSE: u64 = 10;
pub(super) const BROADCAST_CLIENT_COUNT: u64 = 11;
pub(super) const BROADCAST_ACK: u64 = 12;
pub(super) const ADAPTER_CLOSE: u64 = 13;

/// Reads a whole message.
pub(super) fn read<'a>(
    reader: &mut Reader<'a>,
    has_sockets: HasSockets<'_>,
) -> Result<Message<'a>, BusError> {
    let (mut kind, mut uid, mut namespace) = (None, None, None);
    let (mut data, mut has_data) = (Fields::default(), false);
    reader.map(|reader, key| {
        match key {
            b"type" => kind = reader.value()?.uint(),
            b"data" => {
                // Of two of them, the second counts.
                if core::mem::replace(&mut has_data, true) {
                    data = Fields::default();
                }
                data.read(reader)?;
            }
            b"uid" => uid = text(reader.value()?),
            b"nsp" => namespace = text(reader.value()?),
            _ => drop(reader.value()?),
        }
        Ok(())
    })?;
    reader.finish()?;
    let (kind, limits) = (kind.ok_or(BusError::Field("type"))?, reader.limits());
    let uid = Some(uid.ok_or(BusError::Field("uid"))?);
    let namespace = namespace.ok_or(BusError::Field("nsp"))?;
    let body = body(kind, has_data.then_some(&mut data), &namespace, limits, has_sockets)?;
    Ok(Message { uid, namespace: Some(namespace), body })
}

/// Returns the content of a message of this type.
pub(super) fn body<'a>(
    kind: u64,
    data: Option<&mut Fields<'a>>,
    namespace: &str,
    limits: &ClusterLimits,
    has_sockets: HasSockets<'_>,
) -> Result<Body<'a>, BusError> {
    match kind {
        INITIAL_HEARTBEAT | HEARTBEAT => {
            return Ok(Body::Heartbeat { is_initial: kind == INITIAL_HEARTBEAT });
        }
        ADAPTER_CLOSE => return Ok(Body::Goodbye),
        _ => {}
    }
    let fields = data.ok_or(BusError::Field("data"))?;
    Ok(match kind {
        BROADCAST if fields.is_elsewhere(namespace, has_sockets)? => Body::Elsewhere,
        BROADCAST => {
            let opts = fields.needed_opts()?;
            let (target, flags) = (opts.target()?, opts.flags());
            Body::Broadcast { event: fields.event()?.0, target, flags, request: fields.request.take() }
        }
        SOCKETS_JOIN => Body::Join { target: fields.target()?, rooms: fields.rooms(limits)?, request: None },
        SOCKETS_LEAVE => {
            Body::Leave { target: fields.target()?, rooms: fields.rooms(limits)?, request: None }
        }
        DISCONNECT_SOCKETS => {
            Body::Disconnect { target: fields.target()?, close: fields.close, request: None }
        }
        FETCH_SOCKETS => Body::Fetch { target: fields.target()?, request: fields.needed_request()? },
        FETCH_SOCKETS_RESPONSE => Body::Fetched {
            request: fields.needed_request()?,
            sockets: fields.sockets.ok_or(BusError::Field("sockets"))?,
        },
        SERVER_SIDE_EMIT => {
            let list = fields.packet.take().and_then(|packet| packet.value);
            Body::ServerSide { event: event(list, "packet")?, request: fields.request.take() }
        }
        SERVER_SIDE_EMIT_RESPONSE => {
            let request = fields.needed_request()?;
            Body::ServerSideAnswer { request, value: fields.packet.take().and_then(|packet| packet.value) }
        }
        BROADCAST_CLIENT_COUNT => {
            Body::ClientCount { request: fields.needed_request()?, count: fields.needed_count()? }
        }
        BROADCAST_ACK => {
            let request = fields.needed_request()?;
            Body::ClientAnswer { request, value: fields.packet.take().and_then(|packet| packet.value) }
        }
        kind => return Err(BusError::Type(kind)),
    })
}

/// The data of a message to send.
#[derive(Debug, Clone, Copy)]
pub(super) enum Data<'a> {
    None,
    Broadcast { event: PublishedArgs<'a>, request: Option<&'a str>, target: &'a Target, flags: &'a Flags },
    Rooms { target: &'a Target, rooms: &'a Rooms },
    Disconnect { target: &'a Target, close: bool },
    Fetch { target: &'a Target, request: &'a str },
    Sockets { request: &'a str, sockets: PublishedArgs<'a> },
    ServerSide { request: Option<&'a str>, name: &'a str, args: PublishedArgs<'a> },
    Answer { request: &'a str, args: PublishedArgs<'a> },
    Count { request: &'a str, count: u64 },
}

impl Data<'_> {
    /// Returns whether there is binary data, which JSON cannot express.
    pub(super) fn is_binary(&self) -> bool {
        match self {
            Data::Broadcast { event: args, .. }
            | Data::ServerSide { args, .. }
            | Data::Answer { args, .. } => args.is_binary(),
            _ => false,
        }
    }

    /// Writes the data.
    pub(super) fn write(&self, to: &mut Writer) {
        match *self {
            Data::None => {}
            Data::Broadcast { event, request, target, flags } => {
                to.map(if request.is_some() { 3 } else { 2 }, |to| {
                    to.key("packet");
                    to.map(2, |to| {
                        to.key("type");
                        to.uint(2);
                        to.key("data");
                        to.event(None, event);
                    });
                    write_request(to, request);
                    to.key("opts");
                    to.target(target, Some(flags));
                });
            }
            Data::Rooms { target, rooms } => to.map(2, |to| {
                write_target(to, target);
                to.key("rooms");
                to.rooms(rooms);
            }),
            Data::Disconnect { target, close } => to.map(2, |to| {
                write_target(to, target);
                to.key("close");
                to.bool(close);
            }),
            Data::Fetch { target, request } => to.map(2, |to| {
                write_target(to, target);
                write_request(to, Some(request));
            }),
            Data::Sockets { request, sockets } => to.map(2, |to| {
                write_request(to, Some(request));
                to.key("sockets");
                to.value(sockets.json(), sockets);
            }),
            Data::ServerSide { request, name, args } => to.map(if request.is_some() { 2 } else { 1 }, |to| {
                write_request(to, request);
                to.key("packet");
                to.event(Some(name), args);
            }),
            Data::Answer { request, args } => to.map(1 + u32::from(args.first().is_some()), |to| {
                write_request(to, Some(request));
                if let Some(first) = args.first() {
                    to.key("packet");
                    to.value(first, args);
                }
            }),
            Data::Count { request, count } => to.map(2, |to| {
                write_request(to, Some(request));
                to.key("clientCount");
                to.uint(count);
            }),
        }
    }
}

fn write_target(to: &mut Writer, target: &Target) {
    to.key("opts");
    to.target(target, Some(&Flags::default()));
}

fn write_request(to: &mut Writer, request: Option<&str>) {
    if let Some(request) = request {
        to.key("requestId");
        to.str(request);
    }
}

/// Writes a whole message.
pub(super) fn write(to: &mut Writer, kind: u64, data: Data<'_>, uid: &str, namespace: &str) {
    let has_data = !matches!(data, Data::None);
    to.map(3 + u32::from(has_data), |to| {
        to.key("type");
        to.uint(kind);
        if has_data {
            to.key("data");
            data.write(to);
        }
        to.key("uid");
        to.str(uid);
        to.key("nsp");
        to.str(namespace);
    });
}
