//! Messages of all dialects in one form, borrowed from their bytes.

use super::error::BusError;
use super::limits::ClusterLimits;
use super::raw::Raw;
use crate::socketio::{Flags, Rooms, Target};
use core::time::Duration;
use smol_str::SmolStr;

/// The name by which programs without a server send. It is not a node.
pub(super) const EMITTER: &str = "emitter";

/// The maximum length of the name of a node, a namespace or a request, in bytes.
pub(super) const MAX_NAME: usize = 1024;

/// A message of another node.
#[derive(Debug)]
pub(super) struct Message<'a> {
    /// The name of the sender, which emitters and some answers lack.
    pub(super) uid: Option<SmolStr>,
    /// The namespace, unless the channel says it.
    pub(super) namespace: Option<SmolStr>,
    pub(super) body: Body<'a>,
}

/// The content of a message. `request` is the id of a request, which the answer repeats.
#[derive(Debug)]
pub(super) enum Body<'a> {
    Heartbeat { is_initial: bool },
    Goodbye,
    Broadcast { event: Raw<'a>, target: Target, flags: Flags, request: Option<SmolStr> },
    Join { target: Target, rooms: Rooms, request: Option<SmolStr> },
    Leave { target: Target, rooms: Rooms, request: Option<SmolStr> },
    Disconnect { target: Target, close: bool, request: Option<SmolStr> },
    Fetch { target: Target, request: SmolStr },
    Ids { target: Target, request: SmolStr },
    Rooms { request: SmolStr },
    ServerSide { event: Raw<'a>, request: Option<SmolStr> },
    Fetched { request: SmolStr, sockets: Raw<'a> },
    ServerSideAnswer { request: SmolStr, value: Option<Raw<'a>> },
    ClientCount { request: SmolStr, count: usize },
    ClientAnswer { request: SmolStr, value: Option<Raw<'a>> },
}

/// The fields of all maps in messages.
#[derive(Debug, Default)]
pub(super) struct Fields<'a> {
    pub(super) uid: Option<Raw<'a>>,
    pub(super) nsp: Option<Raw<'a>>,
    pub(super) kind: Option<Raw<'a>>,
    pub(super) data: Option<Raw<'a>>,
    pub(super) packet: Option<Raw<'a>>,
    pub(super) opts: Option<Raw<'a>>,
    pub(super) request: Option<Raw<'a>>,
    pub(super) rooms: Option<Raw<'a>>,
    pub(super) except: Option<Raw<'a>>,
    pub(super) flags: Option<Raw<'a>>,
    pub(super) close: Option<Raw<'a>>,
    pub(super) sockets: Option<Raw<'a>>,
    pub(super) count: Option<Raw<'a>>,
    pub(super) sid: Option<Raw<'a>>,
    pub(super) room: Option<Raw<'a>>,
    pub(super) id: Option<Raw<'a>>,
    pub(super) handshake: Option<Raw<'a>>,
}

impl<'a> Fields<'a> {
    pub(super) fn read(map: Raw<'a>) -> Fields<'a> {
        let mut fields = Fields::default();
        for (key, value) in map.members() {
            let field = match &*key {
                "uid" => &mut fields.uid,
                "nsp" => &mut fields.nsp,
                "type" => &mut fields.kind,
                "data" => &mut fields.data,
                "packet" => &mut fields.packet,
                "opts" => &mut fields.opts,
                "requestId" => &mut fields.request,
                "rooms" => &mut fields.rooms,
                "except" => &mut fields.except,
                "flags" => &mut fields.flags,
                "close" => &mut fields.close,
                "sockets" => &mut fields.sockets,
                "clientCount" => &mut fields.count,
                "sid" => &mut fields.sid,
                "room" => &mut fields.room,
                "id" => &mut fields.id,
                "handshake" => &mut fields.handshake,
                _ => continue,
            };
            *field = Some(value);
        }
        fields
    }

    pub(super) fn uid(&self) -> Option<SmolStr> {
        text(self.uid)
    }

    pub(super) fn namespace(&self) -> Option<SmolStr> {
        text(self.nsp)
    }

    pub(super) fn request(&self) -> Option<SmolStr> {
        text(self.request)
    }

    pub(super) fn needed_request(&self) -> Result<SmolStr, BusError> {
        self.request().ok_or(BusError::Field("requestId"))
    }

    /// Returns whether the connections are closed, too.
    pub(super) fn close(&self) -> bool {
        self.close.and_then(Raw::bool).unwrap_or(false)
    }

    /// Returns the rooms to join or to leave.
    pub(super) fn rooms(&self, limits: &ClusterLimits) -> Result<Rooms, BusError> {
        self.rooms.ok_or(BusError::Field("rooms"))?;
        rooms(self.rooms, "rooms", limits)
    }

    /// Returns the addressed sockets. There has to be a target, as none would mean everybody.
    pub(super) fn target(&self, limits: &ClusterLimits) -> Result<(Target, Flags), BusError> {
        let opts = Fields::read(self.opts.ok_or(BusError::Field("opts"))?);
        let target = Target {
            rooms: rooms(opts.rooms, "rooms", limits)?,
            except: rooms(opts.except, "except", limits)?,
        };
        Ok((target, opts.flags.map(flags).unwrap_or_default()))
    }

    /// Returns the event of a packet, with its namespace.
    pub(super) fn event(&self) -> Result<(Raw<'a>, Option<SmolStr>), BusError> {
        let packet = Fields::read(self.packet.ok_or(BusError::Field("packet"))?);
        match packet.kind.and_then(Raw::uint) {
            // An event, and an event with attachments.
            Some(2 | 5) => Ok((event(packet.data, "packet")?, packet.namespace())),
            _ => Err(BusError::Field("packet")),
        }
    }
}

/// Checks that a value is a list that begins with the name of an event.
pub(super) fn event<'a>(value: Option<Raw<'a>>, field: &'static str) -> Result<Raw<'a>, BusError> {
    let list = value.filter(|list| list.is_list()).ok_or(BusError::Field(field))?;
    match list.elements().next().and_then(Raw::name) {
        Some(_) => Ok(list),
        None => Err(BusError::Field(field)),
    }
}

/// Returns the name of a node, a namespace or a request. Longer ones are not accepted, because they are kept.
fn text(value: Option<Raw<'_>>) -> Option<SmolStr> {
    value.and_then(Raw::text).filter(|text| text.len() <= MAX_NAME).map(|text| text.as_ref().into())
}

fn rooms(list: Option<Raw<'_>>, field: &'static str, limits: &ClusterLimits) -> Result<Rooms, BusError> {
    let mut rooms = Rooms::default();
    let Some(list) = list.filter(|list| !list.is_null()) else { return Ok(rooms) };
    if !list.is_list() {
        return Err(BusError::Field(field));
    }
    for (at, room) in list.elements().enumerate() {
        if at >= limits.max_rooms {
            return Err(BusError::TooManyRooms { limit: limits.max_rooms });
        }
        rooms.insert(&room.name().ok_or(BusError::Field(field))?);
    }
    Ok(rooms)
}

fn flags(map: Raw<'_>) -> Flags {
    let mut flags = Flags::default();
    for (key, value) in map.members() {
        match &*key {
            "volatile" => flags.volatile = value.bool().unwrap_or(false),
            "compress" => flags.compress = value.bool().unwrap_or(true),
            "timeout" => flags.timeout = value.uint().map(Duration::from_millis),
            _ => {}
        }
    }
    flags
}
