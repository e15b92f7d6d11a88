//! The messages of the other nodes.

use super::args::BusEvent;
use super::clustered;
use super::decode::{BusDecoder, BusEntry, BusMessage, Content};
use super::error::BusError;
use super::event::{Event, Reply, RequestId, Wants};
use super::machine::Cluster;
use super::message::{Body, EMITTER};
use super::nodes::Heard;
use super::requests::{Accepted, Kind};
use crate::Time;
use crate::socketio::recovery::StreamPosition;
use crate::time::earliest;
use bytes::Bytes;
use smol_str::SmolStr;

impl Cluster {
    /// Returns what reads messages for this node. Ask for it after [`enable_recovery`](Cluster::enable_recovery).
    pub fn decoder(&self) -> BusDecoder {
        let (dialect, limits) = (self.config.dialect.clone(), self.config.limits);
        BusDecoder { dialect, limits, uid: self.uid.clone(), reads_own: self.recovering.is_on }
    }

    /// Handles a message that was published on a channel that this node watches: reads it, and
    /// [handles](Cluster::handle_decoded) it.
    ///
    /// What it means are [events](Cluster::poll_event), which share the memory of the message.
    ///
    /// # Errors
    /// Returns an error if the message is not one of this dialect. Log it: nothing has changed.
    pub fn handle_message(&mut self, now: Time, channel: &str, message: &Bytes) -> Result<(), BusError> {
        let decoded = self.decoder().decode(channel, message, message, |_, _| true)?;
        decoded.map_or(Ok(()), |message| self.handle_decoded(now, message))
    }

    /// Handles a message that a [decoder](Cluster::decoder) has read. The messages of a sender on a channel have to come in
    /// their order.
    ///
    /// # Errors
    /// Returns an error if the message exceeds a limit. Log it: nothing else has changed.
    pub fn handle_decoded(&mut self, now: Time, message: BusMessage) -> Result<(), BusError> {
        let Some(space) = self.namespaces.get_mut(&message.namespace) else { return Ok(()) };
        if let Some(uid) = &message.uid {
            space.nodes.touch(now, uid);
        }
        match message.content {
            // Most messages end here, without being moved: `benches/count bus_sharded`.
            Content::Elsewhere => Ok(()),
            _ => self.handle_content(now, message),
        }
    }

    fn handle_content(&mut self, now: Time, message: BusMessage) -> Result<(), BusError> {
        let BusMessage { uid, namespace, content } = message;
        match content {
            Content::Heartbeat { is_initial } => {
                return self.handle_heartbeat(now, namespace, uid, is_initial);
            }
            Content::Goodbye => self.handle_goodbye(namespace, uid),
            Content::Elsewhere => {}
            content if self.is_overloaded() => {
                if let Content::Asked(Event::Broadcast { offset: Some(position), .. }) = content {
                    self.note_gap(&namespace, position);
                }
                return Err(BusError::Unhandled { limit: self.config.limits.max_unhandled });
            }
            Content::Asked(event) => self.events.push(event),
            content => return self.handle_answer(namespace, uid, content),
        }
        Ok(())
    }

    /// Handles an entry of a stream that this node watches. `offset` is its position, and `fields` are its keys and
    /// values. An entry that is not behind the last one of its stream is ignored, so a bus may read some again.
    ///
    /// # Errors
    /// Returns an error if the entry is not one of this dialect. Log it: nothing has changed.
    pub fn handle_entry<'a>(
        &mut self,
        now: Time,
        stream: &str,
        offset: &str,
        fields: impl Iterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<(), BusError> {
        let entry = self.decoder().decode_entry(offset, fields, &Bytes::new(), |_, _| true)?;
        self.handle_decoded_entry(now, stream, entry)
    }

    /// Handles an entry of a stream that a [decoder](Cluster::decoder) has read: see [`handle_entry`](Cluster::handle_entry).
    ///
    /// # Errors
    /// Returns an error if the entry is not one of this dialect. Log it: nothing else has changed.
    pub fn handle_decoded_entry(&mut self, now: Time, stream: &str, entry: BusEntry) -> Result<(), BusError> {
        let BusEntry { position, read, message } = entry;
        match self.offsets.get_mut(stream) {
            Some(last) if *last < position => *last = position,
            _ => return Ok(()),
        }
        if let Some(namespace) = read {
            self.tell_read(namespace, position);
        }
        let handled = match message {
            Ok(Some(message)) => self.handle_decoded(now, message),
            other => other.map(|_| ()),
        };
        self.tell_reached(stream, position);
        handled
    }

    /// Returns whether the entry at a position of a stream has not been handled yet.
    pub fn is_unread(&self, stream: &str, position: StreamPosition) -> bool {
        self.offsets.get(stream).is_some_and(|last| *last < position)
    }

    /// Notes that the entries of a stream up to a position were read, those without an effect at this time among them.
    pub fn pass_entries(&mut self, stream: &str, position: StreamPosition) {
        match self.offsets.get_mut(stream) {
            Some(last) if *last < position => *last = position,
            _ => return,
        }
        self.tell_reached(stream, position);
    }

    fn handle_heartbeat(
        &mut self,
        now: Time,
        namespace: SmolStr,
        uid: Option<SmolStr>,
        is_initial: bool,
    ) -> Result<(), BusError> {
        // A new node is an event, too. It is noted by one of its next heartbeats.
        let is_overloaded = self.is_overloaded();
        let limit = if is_overloaded { 0 } else { self.config.limits.max_nodes };
        let Some(node) = uid.filter(|uid| uid != EMITTER) else { return Ok(()) };
        let Some(space) = self.namespaces.get_mut(&namespace) else { return Ok(()) };
        let heard = space.nodes.beat(now, &node, limit);
        if is_initial {
            self.send(now, &namespace, clustered::HEARTBEAT, clustered::Data::None);
        }
        match heard {
            Heard::Known => Ok(()),
            Heard::Full if is_overloaded => {
                Err(BusError::Unhandled { limit: self.config.limits.max_unhandled })
            }
            Heard::Full => Err(BusError::TooManyNodes { limit }),
            Heard::New => {
                self.next_sweep = earliest(self.next_sweep, Some(now + self.config.heartbeat_timeout));
                self.events.push(Event::NodeJoined { namespace, node });
                Ok(())
            }
        }
    }

    fn handle_goodbye(&mut self, namespace: SmolStr, uid: Option<SmolStr>) {
        let Some(node) = uid else { return };
        let was_known = self.namespaces.get_mut(&namespace).is_some_and(|space| space.nodes.remove(&node));
        self.forget_node(&namespace, &node);
        if was_known {
            self.events.push(Event::NodeLeft { namespace, node });
        }
    }

    /// Handles an answer to an own request, which an answer to somebody else's is not.
    fn handle_answer(
        &mut self,
        namespace: SmolStr,
        node: Option<SmolStr>,
        content: Content,
    ) -> Result<(), BusError> {
        let limits = self.config.limits;
        let (namespace, from) = (&*namespace, node.as_ref());
        let requests = &mut self.requests;
        let (request, accepted, event) = match content {
            Content::Fetched { request, sockets } => {
                let bytes = sockets.len();
                let accepted = requests.report_sockets(&request, namespace, from, bytes, &limits);
                let event = Event::Sockets { request: RequestId(request.clone()), sockets };
                (request, accepted, Some(event))
            }
            Content::ServerSideAnswer { request, value } => {
                let accepted = requests.report((&request, Kind::ServerSide), namespace, from, 0, &limits);
                let event = Event::Answer { request: RequestId(request.clone()), node, value };
                (request, accepted, Some(event))
            }
            Content::ClientCount { request, count } => {
                let accepted = requests.report((&request, Kind::Clients), namespace, from, count, &limits);
                let event = Event::Asked { request: RequestId(request.clone()), clients: count };
                (request, accepted, Some(event))
            }
            Content::ClientAnswer { request, value } => {
                let accepted = requests.acknowledge(&request, namespace, from, &limits);
                let event = Event::Answer { request: RequestId(request.clone()), node, value };
                (request, accepted, Some(event))
            }
            _ => return Ok(()),
        };
        match accepted {
            Accepted::Ignored => Ok(()),
            Accepted::TooMany => Err(BusError::TooManyAnswers),
            Accepted::TooLong => {
                self.events.extend(self.requests.finish_if_over(&request));
                Err(BusError::TooManySockets { limit: limits.max_fetched })
            }
            Accepted::Yes => {
                self.events.extend(event);
                self.events.extend(self.requests.finish_if_over(&request));
                Ok(())
            }
        }
    }
}

/// Returns what a message asks the server to do.
pub(super) fn event_of(
    buffer: &Bytes,
    namespace: SmolStr,
    to: Option<SmolStr>,
    body: Body<'_>,
    offset: Option<StreamPosition>,
) -> Option<Event> {
    let name = namespace.clone();
    let reply = |request, wants| Reply { namespace: name, to, request, wants };
    Some(match body {
        Body::Broadcast { event, target, flags, request } => Event::Broadcast {
            namespace,
            target,
            flags,
            event: BusEvent::new(buffer, event),
            offset,
            reply: request.map(|request| reply(request, Wants::Clients)),
        },
        Body::Join { target, rooms, request } => Event::Join {
            namespace,
            target,
            rooms,
            reply: request.map(|request| reply(request, Wants::Done)),
        },
        Body::Leave { target, rooms, request } => Event::Leave {
            namespace,
            target,
            rooms,
            reply: request.map(|request| reply(request, Wants::Done)),
        },
        Body::Disconnect { target, close, request } => Event::Disconnect {
            namespace,
            target,
            close,
            reply: request.map(|request| reply(request, Wants::Done)),
        },
        Body::Fetch { target, request } => {
            Event::Fetch { namespace, target, reply: reply(request, Wants::Sockets) }
        }
        Body::Ids { target, request } => {
            Event::Fetch { namespace, target, reply: reply(request, Wants::Ids) }
        }
        Body::Rooms { request } => Event::Rooms { namespace, reply: reply(request, Wants::Rooms) },
        Body::ServerSide { event, request } => Event::ServerSide {
            namespace,
            event: BusEvent::new(buffer, event),
            reply: request.map(|request| reply(request, Wants::ServerSide)),
        },
        _ => return None,
    })
}
