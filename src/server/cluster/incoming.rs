//! What other servers ask of this one, and answer to it.

use super::asking::names;
use super::{Link, LookupResult};
use crate::error::EmitError;
use crate::handler::Acknowledge;
use crate::log::warn;
use crate::observe::ClusterEvent;
use crate::payload::sealed::{Encode, Head, Kind};
use crate::payload::with_encoder;
use crate::server::broadcast::Broadcast;
use crate::server::namespace::Namespace;
use crate::server::recovery::Numbering;
use smol_str::SmolStr;
use sockeye_core::cluster::{BusEvent, Event, Reply, SocketList};
use sockeye_core::socketio::{Flags, Target};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// The time for which other servers may wait for the acknowledgements of clients here, if
/// [`ack_timeout`](crate::ServerBuilder::ack_timeout) is not longer: their requests stay in memory so long.
const MAX_WAIT: Duration = Duration::from_secs(300);

impl Link {
    /// Does what an event asks for. The caller must hold no lock.
    pub(super) fn handle_event(&self, event: Event) {
        match event {
            Event::Broadcast { namespace, target, flags, event, reply, offset } => {
                match offset.filter(|_| reply.is_none() && !flags.volatile).zip(self.namespace(&namespace)) {
                    Some((position, namespace)) if namespace.0.numbering == Some(Numbering::Stream) => {
                        Broadcast::of_cluster(namespace, target, flags).relay_recorded(&event, position);
                    }
                    _ => self.deliver(&namespace, &target, flags, &event, reply),
                }
            }
            Event::Join { namespace, target, rooms, reply } => {
                self.change(&namespace, target, reply, |selected| selected.join_here(&rooms));
            }
            Event::Leave { namespace, target, rooms, reply } => {
                self.change(&namespace, target, reply, |selected| selected.leave_here(&rooms));
            }
            Event::Disconnect { namespace, target, close, reply } => {
                self.change(&namespace, target, reply, |selected| selected.disconnect_here(close));
            }
            Event::Fetch { namespace, target, reply } => self.report_sockets(&namespace, target, &reply),
            Event::Rooms { namespace, reply } => {
                let rooms = self.namespace(&namespace).map(|it| it.rooms()).unwrap_or_default();
                self.act(|cluster, _| cluster.reply_rooms(&reply, rooms.keys().map(String::as_str)));
            }
            Event::ServerSide { namespace, event, reply } => self.call_handlers(&namespace, &event, reply),
            event => self.handle_own(event),
        }
    }

    /// Handles the progress of an own request, or news of another server.
    fn handle_own(&self, event: Event) {
        match event {
            Event::Answer { request, value, .. } => {
                if let Some(asker) = self.asker(&request) {
                    asker.answer(&value);
                }
            }
            Event::Sockets { request, sockets } => {
                if let Some(asker) = self.asker(&request) {
                    asker.sockets(sockets);
                }
            }
            Event::Counted { request, servers } => {
                if let Some(asker) = self.take_asker(&request) {
                    asker.counted(servers);
                }
            }
            Event::Finished { request, silent, unknown } => {
                if let Some(asker) = self.take_asker(&request) {
                    asker.finished(names(&silent, unknown));
                }
            }
            Event::StreamBegun { namespace, position } => {
                if let Some(namespace) = self.namespace(&namespace) {
                    namespace.begin_stream(position);
                }
            }
            Event::StreamRead { namespace, position } => {
                if let Some(namespace) = self.namespace(&namespace) {
                    namespace.advance_stream(position);
                }
            }
            Event::Reached { request, namespace, position } => {
                if let Some(namespace) = self.namespace(&namespace) {
                    namespace.advance_stream(position);
                }
                self.complete(&request, LookupResult::Reached);
            }
            // Every server has the main namespace.
            Event::NodeJoined { namespace, node } if namespace == "/" => {
                self.tell(&ClusterEvent::NodeJoined { node: node.into() });
            }
            Event::NodeLeft { namespace, node } if namespace == "/" => {
                self.tell(&ClusterEvent::NodeLeft { node: node.into() });
            }
            Event::NodeLost { namespace, node } if namespace == "/" => {
                self.tell(&ClusterEvent::NodeLost { node: node.into() });
            }
            _ => {}
        }
    }

    fn namespace(&self, name: &str) -> Option<Namespace> {
        self.engine()?.application.namespaces.get(name)
    }

    fn deliver(
        &self,
        namespace: &str,
        target: &Target,
        mut flags: Flags,
        event: &BusEvent,
        reply: Option<Reply>,
    ) {
        let namespace = self.namespace(namespace).filter(|it| it.0.members.read().may_select(target));
        let Some(namespace) = namespace else {
            // The other server counts on the number of clients, even if it is 0.
            if let Some(reply) = reply {
                self.act(|cluster, _| cluster.reply_clients(&reply, 0));
            }
            return;
        };
        let relay = reply.map(|reply| (self.this.clone(), reply));
        let longest = self.engine().map_or(MAX_WAIT, |engine| engine.application.ack_timeout.max(MAX_WAIT));
        flags.timeout = flags.timeout.map(|timeout| timeout.min(longest));
        Broadcast::of_cluster(namespace, target.clone(), flags).relay(event, relay);
    }

    /// Changes the sockets of this server that a target selects.
    fn change(
        &self,
        namespace: &str,
        target: Target,
        reply: Option<Reply>,
        f: impl FnOnce(&Broadcast) -> usize,
    ) {
        let Some(namespace) = self.namespace(namespace) else { return };
        let changed = f(&Broadcast::of_cluster(namespace, target, Flags::default()));
        if let Some(reply) = reply.filter(|_| changed > 0) {
            self.act(|cluster, _| cluster.reply_done(&reply));
        }
    }

    fn report_sockets(&self, namespace: &str, target: Target, reply: &Reply) {
        let limit = self.queue(|state, _| state.cluster.config().limits.max_message);
        let mut list = SocketList::for_reply(reply);
        if let Some(namespace) = self.namespace(namespace) {
            for (socket, rooms) in
                Broadcast::of_cluster(namespace, target, Flags::default()).sockets_and_rooms()
            {
                let handshake = socket.handshake().to_reference(socket.auth_text());
                let id = socket.id();
                let rooms = std::iter::once(id.as_str()).chain(rooms.iter().map(SmolStr::as_str));
                list.push(id.as_str(), &handshake, rooms, socket.shared_data_json().as_deref());
                if list.size() > limit {
                    // The other server counts this one as silent.
                    return warn!(limit = %limit, "another server asks for more sockets than a message may have bytes for");
                }
            }
        }
        self.act(|cluster, _| cluster.reply_sockets(reply, list));
    }

    fn call_handlers(&self, namespace: &str, event: &BusEvent, reply: Option<Reply>) {
        let Some(namespace) = self.namespace(namespace) else { return };
        let Ok(args) = event.to_args() else { return };
        // The other server knows the event by its request, so the id is of no importance.
        let ack = reply.is_some().then_some(0);
        let answer = Arc::new(ServerAnswer { link: self.this.clone(), reply });
        namespace.handle_server_side_event(&event.name(), &args.as_args(), ack, answer);
    }
}

/// Sends the answer of this server to an event of another one.
struct ServerAnswer {
    link: Weak<Link>,
    reply: Option<Reply>,
}

impl Acknowledge for ServerAnswer {
    fn acknowledge(&self, id: u64, args: &dyn Encode) -> Result<(), EmitError> {
        let (Some(link), Some(reply)) = (self.link.upgrade(), &self.reply) else {
            return Err(EmitError::Disconnected);
        };
        with_encoder(Default::default(), |encoder| {
            let encoded = args.encode(encoder, Head { namespace: "/", kind: Kind::Ack(id) })?;
            link.queue(|state, _| state.cluster.reply_answer(reply, encoded.into()));
            Ok::<_, EmitError>(())
        })?;
        link.send();
        Ok(())
    }
}
