//! What the server has to do because of the cluster, as plain data.

use super::args::{BusEvent, BusValue};
use super::dialect::Channel;
use super::raw::Raw;
use super::writer::push_json_string;
use crate::socketio::recovery::StreamPosition;
use crate::socketio::{Flags, OwnedArgs, Rooms, Target};
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;
use core::time::Duration;
use smol_str::SmolStr;

/// An event of the cluster: something that the server has to do for another node, or the progress of a request of its
/// own.
///
/// What concerns a namespace concerns its local sockets only. Nothing that this node sends comes back to it, so the
/// caller of a [`Cluster`](super::Cluster)'s command serves its own sockets itself.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// Send an event to the local sockets of the target.
    Broadcast {
        /// The namespace.
        namespace: SmolStr,
        /// The addressed sockets.
        target: Target,
        /// The flags for sending. With `reply`, they hold the time that the other node waits.
        flags: Flags,
        /// The event.
        event: BusEvent,
        /// The position in the stream, if it came from one.
        offset: Option<StreamPosition>,
        /// If the other node waits for acknowledgements: [report](super::Cluster::reply_clients) the number of clients
        /// that were asked, then [each acknowledgement](super::Cluster::reply_answer).
        reply: Option<Reply>,
    },
    /// Let the local sockets of the target join rooms.
    Join {
        /// The namespace.
        namespace: SmolStr,
        /// The addressed sockets.
        target: Target,
        /// The rooms to join.
        rooms: Rooms,
        /// If an old version of the adapter waits for it: [report](super::Cluster::reply_done) the change if the socket
        /// is on this server.
        reply: Option<Reply>,
    },
    /// Let the local sockets of the target leave rooms.
    Leave {
        /// The namespace.
        namespace: SmolStr,
        /// The addressed sockets.
        target: Target,
        /// The rooms to leave.
        rooms: Rooms,
        /// As in [`Event::Join`].
        reply: Option<Reply>,
    },
    /// Disconnect the local sockets of the target.
    Disconnect {
        /// The namespace.
        namespace: SmolStr,
        /// The addressed sockets.
        target: Target,
        /// Closes their connections, too.
        close: bool,
        /// As in [`Event::Join`].
        reply: Option<Reply>,
    },
    /// [Report](super::Cluster::reply_sockets) the local sockets of the target.
    Fetch {
        /// The namespace.
        namespace: SmolStr,
        /// The addressed sockets.
        target: Target,
        /// The node that asks.
        reply: Reply,
    },
    /// [Report](super::Cluster::reply_rooms) the rooms of the namespace that have local sockets.
    Rooms {
        /// The namespace.
        namespace: SmolStr,
        /// The node that asks.
        reply: Reply,
    },
    /// Call the handlers of an event between servers.
    ServerSide {
        /// The namespace.
        namespace: SmolStr,
        /// The event.
        event: BusEvent,
        /// If the other node waits for an answer: [send](super::Cluster::reply_answer) it.
        reply: Option<Reply>,
    },
    /// Another node has asked this number of clients for the acknowledgements of an own broadcast.
    Asked {
        /// The request that [`Cluster::broadcast_with_ack`](super::Cluster::broadcast_with_ack) has returned.
        request: RequestId,
        /// The number of clients.
        clients: usize,
    },
    /// A client or a server has answered an own request.
    Answer {
        /// The request.
        request: RequestId,
        /// The name of the server, if the dialect tells it.
        node: Option<SmolStr>,
        /// The first argument of the acknowledgement.
        value: BusValue,
    },
    /// Another node has reported its sockets.
    Sockets {
        /// The request that [`Cluster::fetch_sockets`](super::Cluster::fetch_sockets) has returned.
        request: RequestId,
        /// The sockets.
        sockets: BusSockets,
    },
    /// The servers with a namespace were counted.
    Counted {
        /// The request that [`Cluster::count_servers`](super::Cluster::count_servers) has returned. No event about it follows.
        request: RequestId,
        /// The number of servers, this one included.
        servers: usize,
    },
    /// An own request is over. No event about it follows.
    Finished {
        /// The request.
        request: RequestId,
        /// The nodes that have not answered in time, or have gone before that.
        silent: Vec<SmolStr>,
        /// The number of further nodes that have not answered and whose names are unknown, because servers in Node do not
        /// tell them. Of those that have answered in part, it counts one, as it does if the bus could not count the nodes.
        unknown: usize,
    },
    /// The stream of a namespace is read from behind a position on. What was before is not known, and entries between the last
    /// one and this one may be lost.
    StreamBegun {
        /// The namespace.
        namespace: SmolStr,
        /// The position.
        position: StreamPosition,
    },
    /// The stream of a namespace was read up to a position, at which there is nothing for clients.
    StreamRead {
        /// The namespace.
        namespace: SmolStr,
        /// The position.
        position: StreamPosition,
    },
    /// The stream of a namespace was read up to the position that [`Cluster::reach`](super::Cluster::reach) waits for, or
    /// further.
    Reached {
        /// The request.
        request: RequestId,
        /// The namespace.
        namespace: SmolStr,
        /// The position that was read last.
        position: StreamPosition,
    },
    /// A node has joined the cluster with a namespace. Every server has the namespace `/`.
    NodeJoined {
        /// The namespace.
        namespace: SmolStr,
        /// The name of the node.
        node: SmolStr,
    },
    /// A node has said goodbye.
    NodeLeft {
        /// The namespace.
        namespace: SmolStr,
        /// The name of the node.
        node: SmolStr,
    },
    /// A node has been silent for too long.
    NodeLost {
        /// The namespace.
        namespace: SmolStr,
        /// The name of the node.
        node: SmolStr,
    },
}

impl Event {
    /// Lets it keep only a little more memory than it needs.
    pub(super) fn detach(&mut self) {
        match self {
            Event::Broadcast { event, .. } | Event::ServerSide { event, .. } => event.detach_if_small(),
            Event::Answer { value, .. } | Event::Sockets { sockets: BusSockets(value), .. } => {
                value.detach_if_small();
            }
            _ => {}
        }
    }
}

/// Something that the bus has to do. The order of messages matters.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command {
    /// Subscribe to a channel, and again after each reconnection until it is unwatched. Watching a channel twice is the
    /// same as once.
    Watch(Channel),
    /// Unsubscribe from a channel.
    Unwatch(Channel),
    /// Publish a message on a channel.
    Publish {
        /// The channel.
        channel: Channel,
        /// The message.
        message: Bytes,
    },
    /// Append an entry to a stream.
    Append {
        /// The stream.
        channel: Channel,
        /// The fields of the entry, in this order.
        fields: Vec<(&'static str, Bytes)>,
    },
    /// Store a value under a key.
    Save {
        /// The key.
        key: String,
        /// The value.
        value: Bytes,
        /// The time after which it can be removed.
        lifetime: Duration,
    },
    /// Look a value up.
    Load {
        /// The key.
        key: String,
        /// Removes it in the same step.
        remove: bool,
        /// The request that waits for it.
        request: RequestId,
    },
    /// Read entries of a stream.
    Read {
        /// The stream.
        channel: Channel,
        /// The first position that is wanted.
        from: String,
        /// The request that waits for them.
        request: RequestId,
    },
    /// Count the subscribers of a channel, this node among them, and pass the number to
    /// [`Cluster::handle_count`](super::Cluster::handle_count).
    Count {
        /// The channel.
        channel: Channel,
        /// The request that needs the number.
        request: RequestId,
    },
}

/// The name of an own request to other nodes. Displays as it is written in messages.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub(super) SmolStr);

impl From<&str> for RequestId {
    /// Creates an id, for tests of a [`Bus`](super::Bus).
    fn from(id: &str) -> Self {
        RequestId(id.into())
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The address of an answer to another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub(super) namespace: SmolStr,
    /// The node that waits. Only old versions in Node do not name themselves.
    pub(super) to: Option<SmolStr>,
    pub(super) request: SmolStr,
    pub(super) wants: Wants,
}

/// The content of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wants {
    Clients,
    ServerSide,
    Sockets,
    Ids,
    Rooms,
    Done,
}

/// The sockets of another node, as they were when they were asked for. Each is read when the iterator comes to it. They share
/// the memory of the message, and of what was read with it: [`detach`](BusSockets::detach) them to keep them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusSockets(BusValue);

impl BusSockets {
    pub(super) fn new(buffer: &Bytes, list: Raw<'_>) -> BusSockets {
        BusSockets(BusValue::new(buffer, Some(list)))
    }

    /// Returns the same sockets in memory of their own.
    pub fn detach(self) -> BusSockets {
        BusSockets(self.0.detach())
    }

    /// Returns the number of bytes that they have in the message.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the sockets. Those without an id are left out.
    pub fn iter(&self) -> impl Iterator<Item = BusSocket> {
        let list = self.0.raw().zip(self.0.bytes());
        list.into_iter()
            .flat_map(|(list, bytes)| list.elements().filter_map(|socket| BusSocket::read(bytes, socket)))
    }
}

/// A socket of another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusSocket {
    /// The id of the socket.
    pub id: SmolStr,
    /// Its rooms, the one that is named by its id among them.
    pub rooms: Vec<SmolStr>,
    /// The handshake: the object of the reference, with `headers`, `time`, `address`, `xdomain`, `secure`, `issued`, `url`,
    /// `query` and `auth`.
    pub handshake: BusValue,
    /// The data that the application keeps with the socket.
    pub data: BusValue,
}

impl BusSocket {
    /// Reads a socket of a list. Versions of Node before 7 list ids only.
    fn read(list: &Bytes, value: Raw<'_>) -> Option<BusSocket> {
        let (mut id, mut rooms, mut handshake, mut data) = (value, None, None, None);
        for (key, value) in value.members() {
            match &*key {
                "id" => id = value,
                "rooms" => rooms = Some(value),
                "handshake" => handshake = Some(value),
                "data" => data = Some(value),
                _ => {}
            }
        }
        Some(BusSocket {
            id: id.name()?,
            rooms: rooms.into_iter().flat_map(Raw::elements).filter_map(Raw::name).collect(),
            handshake: BusValue::new(list, handshake),
            data: BusValue::new(list, data),
        })
    }
}

/// A list of local sockets for another node, as JSON.
///
/// ```
/// use sockeye_core::cluster::SocketList;
///
/// let mut list = SocketList::new();
/// let id = "G44JssuMt1Wif2zWCtWv";
/// list.push(id, r#"{"headers":{}}"#, [id, "lobby"].into_iter(), Some(r#"{"name":"ada"}"#));
/// ```
#[derive(Debug, Clone, Default)]
pub struct SocketList {
    sockets: Vec<u8>,
    ids: Vec<u8>,
    /// The whole sockets are not needed.
    only_ids: bool,
}

impl SocketList {
    /// Creates an empty list.
    pub fn new() -> SocketList {
        SocketList::default()
    }

    /// Creates an empty list for an answer. Old nodes ask for ids only: then nothing else is kept.
    pub fn for_reply(reply: &Reply) -> SocketList {
        SocketList { only_ids: reply.wants == Wants::Ids, ..SocketList::default() }
    }

    /// Returns the number of bytes that the whole sockets take in a message, or their ids if only these are kept. A message
    /// above [`ClusterLimits::max_message`](super::ClusterLimits::max_message) is ignored by the others.
    pub fn size(&self) -> usize {
        if self.only_ids { self.ids.len() } else { self.sockets.len() }
    }

    /// Adds a socket. `handshake` is a JSON object like that of [`BusSocket::handshake`], `rooms` are all its rooms with
    /// its id, and `data` is JSON; without data, an empty object is sent.
    pub fn push<'a>(
        &mut self,
        id: &str,
        handshake: &str,
        rooms: impl Iterator<Item = &'a str>,
        data: Option<&str>,
    ) {
        push_name(&mut self.ids, id);
        if self.only_ids {
            return;
        }
        let out = &mut self.sockets;
        out.extend_from_slice(if out.is_empty() { b"[{\"id\":" } else { b",{\"id\":" });
        push_json_string(out, id);
        out.extend_from_slice(b",\"handshake\":");
        out.extend_from_slice(handshake.as_bytes());
        out.extend_from_slice(b",\"rooms\":[");
        for (at, room) in rooms.enumerate() {
            if at > 0 {
                out.push(b',');
            }
            push_json_string(out, room);
        }
        out.extend_from_slice(b"],\"data\":");
        out.extend_from_slice(data.unwrap_or("{}").as_bytes());
        out.push(b'}');
    }

    /// Returns the whole sockets, or their ids, as one JSON array.
    pub(super) fn into_args(self, only_ids: bool) -> OwnedArgs {
        list(if only_ids { self.ids } else { self.sockets })
    }
}

/// Appends a string to a JSON array that is not closed yet.
pub(super) fn push_name(out: &mut Vec<u8>, name: &str) {
    out.push(if out.is_empty() { b'[' } else { b',' });
    push_json_string(out, name);
}

/// Closes a JSON array. If the application's JSON is broken, the list is empty.
pub(super) fn list(mut out: Vec<u8>) -> OwnedArgs {
    if out.is_empty() {
        out.push(b'[');
    }
    out.push(b']');
    String::from_utf8(out)
        .ok()
        .and_then(|json| OwnedArgs::from_json(&json, Vec::new()).ok())
        .unwrap_or_default()
}
