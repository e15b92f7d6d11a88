//! Messages of all dialects in one form, borrowed from their bytes.

use super::error::BusError;
use super::limits::ClusterLimits;
use super::raw::{Raw, Reader};
use crate::socketio::{Flags, Rooms, Target};
use alloc::borrow::Cow;
use alloc::string::ToString;
use core::time::Duration;
use smallvec::SmallVec;
use smol_str::SmolStr;

/// The name by which programs without a server send. It is not a node.
pub(super) const EMITTER: &str = "emitter";

/// The maximum length of the name of a node, a namespace or a request, in bytes.
pub(super) const MAX_NAME: usize = 1024;

/// Returns whether a namespace has local sockets in a room, or local sockets at all.
pub(super) type HasSockets<'a> = &'a mut dyn FnMut(&str, Option<&str>) -> bool;

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
    Heartbeat {
        is_initial: bool,
    },
    Goodbye,
    Broadcast {
        event: Raw<'a>,
        target: Target,
        flags: Flags,
        request: Option<SmolStr>,
    },
    /// A broadcast that concerns no socket here.
    Elsewhere,
    Join {
        target: Target,
        rooms: Rooms,
        request: Option<SmolStr>,
    },
    Leave {
        target: Target,
        rooms: Rooms,
        request: Option<SmolStr>,
    },
    Disconnect {
        target: Target,
        close: bool,
        request: Option<SmolStr>,
    },
    Fetch {
        target: Target,
        request: SmolStr,
    },
    Ids {
        target: Target,
        request: SmolStr,
    },
    Rooms {
        request: SmolStr,
    },
    ServerSide {
        event: Raw<'a>,
        request: Option<SmolStr>,
    },
    Fetched {
        request: SmolStr,
        sockets: Raw<'a>,
    },
    ServerSideAnswer {
        request: SmolStr,
        value: Option<Raw<'a>>,
    },
    ClientCount {
        request: SmolStr,
        count: usize,
    },
    ClientAnswer {
        request: SmolStr,
        value: Option<Raw<'a>>,
    },
}

/// The fields of a message, or of its data, in all dialects.
#[derive(Debug, Default)]
pub(super) struct Fields<'a> {
    pub(super) uid: Option<SmolStr>,
    pub(super) kind: Option<u64>,
    pub(super) data: Option<Raw<'a>>,
    pub(super) packet: Option<Packet<'a>>,
    pub(super) opts: Opts<'a>,
    pub(super) request: Option<SmolStr>,
    pub(super) rooms: Option<Raw<'a>>,
    /// Closes the connections, too.
    pub(super) close: bool,
    pub(super) sockets: Option<Raw<'a>>,
    pub(super) count: Option<u64>,
    pub(super) sid: Option<Raw<'a>>,
    pub(super) room: Option<Raw<'a>>,
}

impl<'a> Fields<'a> {
    /// Reads a map in place, because moving that many fields costs more than reading one. Another value has no fields.
    pub(super) fn read(&mut self, reader: &mut Reader<'a>) -> Result<(), BusError> {
        reader.map(|reader, key| {
            match key {
                b"packet" => self.packet.insert(Packet::default()).read(reader)?,
                b"opts" => self.opts.read(reader)?,
                b"uid" => self.uid = text(reader.value()?),
                b"type" => self.kind = reader.value()?.uint(),
                b"data" => self.data = Some(reader.value()?),
                b"requestId" => self.request = text(reader.value()?),
                b"rooms" => self.rooms = Some(reader.value()?),
                b"close" => self.close = reader.value()?.bool().unwrap_or(false),
                b"sockets" => self.sockets = Some(reader.value()?),
                b"clientCount" => self.count = reader.value()?.uint(),
                b"sid" => self.sid = Some(reader.value()?),
                b"room" => self.room = Some(reader.value()?),
                _ => drop(reader.value()?),
            }
            Ok(())
        })?;
        Ok(())
    }

    pub(super) fn needed_request(&mut self) -> Result<SmolStr, BusError> {
        self.request.take().ok_or(BusError::Field("requestId"))
    }

    pub(super) fn needed_count(&self) -> Result<usize, BusError> {
        let count = self.count.ok_or(BusError::Field("clientCount"))?;
        Ok(usize::try_from(count).unwrap_or(usize::MAX))
    }

    /// Returns the rooms to join or to leave.
    pub(super) fn rooms(&self, limits: &ClusterLimits) -> Result<Rooms, BusError> {
        let list = self.rooms.ok_or(BusError::Field("rooms"))?;
        if !list.is_list() && !list.is_null() {
            return Err(BusError::Field("rooms"));
        }
        let mut rooms = Rooms::default();
        let mut inserter = rooms.inserter();
        for (at, room) in list.elements().enumerate() {
            check_rooms(at, limits)?;
            inserter.insert(&name(room, "rooms")?);
        }
        Ok(rooms)
    }

    /// Returns the addressed sockets. There has to be a target, as none would mean everybody.
    pub(super) fn target(&self) -> Result<Target, BusError> {
        self.needed_opts()?.target()
    }

    pub(super) fn needed_opts(&self) -> Result<&Opts<'a>, BusError> {
        if self.opts.is_there { Ok(&self.opts) } else { Err(BusError::Field("opts")) }
    }

    /// Returns whether this is a broadcast that concerns no socket of a namespace here. If the other node waits for the number
    /// of clients, it does not count as one.
    pub(super) fn is_elsewhere(
        &self,
        namespace: &str,
        has_sockets: HasSockets<'_>,
    ) -> Result<bool, BusError> {
        match self.opts.is_there && self.request.is_none() {
            true => Ok(!self.opts.any(|room| has_sockets(namespace, room))?),
            false => Ok(false),
        }
    }

    /// Returns the event of the packet, with its namespace.
    pub(super) fn event(&mut self) -> Result<(Raw<'a>, Option<SmolStr>), BusError> {
        let Packet { kind, data, namespace, .. } = self.packet.take().ok_or(BusError::Field("packet"))?;
        // An event, and an event with attachments.
        match kind.and_then(Raw::uint) {
            Some(2 | 5) => Ok((event(data, "packet")?, namespace.and_then(text))),
            _ => Err(BusError::Field("packet")),
        }
    }
}

/// A packet of Socket.IO, or another value in its place.
#[derive(Debug, Default)]
pub(super) struct Packet<'a> {
    /// The whole. Always there once it was read.
    pub(super) value: Option<Raw<'a>>,
    kind: Option<Raw<'a>>,
    data: Option<Raw<'a>>,
    namespace: Option<Raw<'a>>,
}

impl<'a> Packet<'a> {
    pub(super) fn read(&mut self, reader: &mut Reader<'a>) -> Result<(), BusError> {
        let (value, _) = reader.map(|reader, key| {
            match key {
                b"type" => self.kind = Some(reader.value()?),
                b"data" => self.data = Some(reader.value()?),
                b"nsp" => self.namespace = Some(reader.value()?),
                _ => drop(reader.value()?),
            }
            Ok(())
        })?;
        self.value = Some(value);
        Ok(())
    }
}

/// The rooms of a list, as they are written.
type RawRooms<'a> = SmallVec<[Raw<'a>; 4]>;

/// The addressed sockets, and the flags for sending, as they are written.
#[derive(Debug, Default)]
pub(super) struct Opts<'a> {
    /// They were read, and not another value in their place.
    pub(super) is_there: bool,
    rooms: RawRooms<'a>,
    except: RawRooms<'a>,
    flags: Option<Raw<'a>>,
}

impl<'a> Opts<'a> {
    /// Reads a map in place. For another value, there are none.
    pub(super) fn read(&mut self, reader: &mut Reader<'a>) -> Result<(), BusError> {
        // Of two of them, the second counts.
        self.rooms.clear();
        self.except.clear();
        self.flags = None;
        let (_, is_map) = reader.map(|reader, key| {
            match key {
                b"rooms" => read_rooms(&mut self.rooms, reader, "rooms")?,
                b"except" => read_rooms(&mut self.except, reader, "except")?,
                b"flags" => self.flags = Some(reader.value()?),
                _ => drop(reader.value()?),
            }
            Ok(())
        })?;
        self.is_there = is_map;
        Ok(())
    }

    /// Returns whether one of the rooms fulfils a condition, or whether all sockets do if there are no rooms.
    fn any(&self, mut condition: impl FnMut(Option<&str>) -> bool) -> Result<bool, BusError> {
        for room in &self.rooms {
            if condition(Some(&name(*room, "rooms")?)) {
                return Ok(true);
            }
        }
        Ok(self.rooms.is_empty() && condition(None))
    }

    pub(super) fn target(&self) -> Result<Target, BusError> {
        let mut target = Target::default();
        let mut rooms = target.rooms.inserter();
        for room in &self.rooms {
            rooms.insert(&name(*room, "rooms")?);
        }
        let mut except = target.except.inserter();
        for room in &self.except {
            except.insert(&name(*room, "except")?);
        }
        Ok(target)
    }

    pub(super) fn flags(&self) -> Flags {
        let mut flags = Flags::default();
        for (key, value) in self.flags.into_iter().flat_map(Raw::members) {
            match &*key {
                "volatile" => flags.volatile = value.bool().unwrap_or(false),
                "compress" => flags.compress = value.bool().unwrap_or(true),
                "timeout" => flags.timeout = value.uint().map(Duration::from_millis),
                _ => {}
            }
        }
        flags
    }
}

/// Checks that a value is a list that begins with the name of an event.
pub(super) fn event<'a>(value: Option<Raw<'a>>, field: &'static str) -> Result<Raw<'a>, BusError> {
    let list = value.filter(|list| list.first().is_name());
    list.ok_or(BusError::Field(field))
}

/// Returns the name of a node, a namespace or a request. Longer ones are not accepted, because they are kept.
pub(super) fn text(value: Raw<'_>) -> Option<SmolStr> {
    value.text().filter(|text| text.len() <= MAX_NAME).map(|text| text.as_ref().into())
}

fn read_rooms<'a>(
    rooms: &mut RawRooms<'a>,
    reader: &mut Reader<'a>,
    field: &'static str,
) -> Result<(), BusError> {
    rooms.clear();
    let other = reader.list(|reader| {
        check_rooms(rooms.len(), reader.limits())?;
        rooms.push(reader.value()?);
        Ok(())
    })?;
    if other.is_none_or(Raw::is_null) { Ok(()) } else { Err(BusError::Field(field)) }
}

/// Checks that there may be a further room.
fn check_rooms(count: usize, limits: &ClusterLimits) -> Result<(), BusError> {
    let limit = limits.max_rooms;
    if count < limit { Ok(()) } else { Err(BusError::TooManyRooms { limit }) }
}

/// Returns the name of a room.
fn name<'a>(room: Raw<'a>, field: &'static str) -> Result<Cow<'a, str>, BusError> {
    match room.text() {
        Some(name) => Ok(name),
        None => room.name().map(|name| name.to_string().into()).ok_or(BusError::Field(field)),
    }
}
