//! The commands of a node: messages, requests and answers to the others.

use super::args::PublishedArgs;
use super::classic;
use super::clustered::{self, Data};
use super::dialect::{Channel, Classic, Dialect};
use super::error::ClusterError;
use super::event::{Command, Reply, RequestId, SocketList, Wants, list, push_name};
use super::machine::Cluster;
use super::requests::Kind;
use crate::Time;
use crate::socketio::{Flags, OwnedArgs, Rooms, Target};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;
use smol_str::SmolStr;

impl Cluster {
    /// Sends an event to the sockets of the target on the other servers.
    pub fn broadcast(
        &mut self,
        now: Time,
        namespace: &str,
        target: &Target,
        flags: &Flags,
        event: PublishedArgs<'_>,
    ) {
        let channel = self.config.dialect.broadcasts(namespace, &target.rooms);
        let data = Data::Broadcast { event, request: None, target, flags };
        match self.config.dialect {
            Dialect::Classic(_) => {
                let message = classic::broadcast(&self.uid, namespace, target, flags, event);
                self.publish(channel, message);
            }
            // Not everybody receives it, so it does not count as a heartbeat.
            Dialect::Sharded(_) if channel != self.config.dialect.requests(namespace) => {
                self.send_on(channel, namespace, clustered::BROADCAST, data);
            }
            Dialect::Sharded(_) | Dialect::Streams(_) => {
                self.send(now, namespace, clustered::BROADCAST, data)
            }
        }
    }

    /// Sends an event to the sockets of the target on the other servers, and waits for their acknowledgements until the
    /// timeout of the flags, or that of the settings. The answers are [events](super::Event).
    ///
    /// # Errors
    /// Returns an error, and sends nothing, if the namespace is not part of the cluster, or if too many requests wait.
    pub fn broadcast_with_ack(
        &mut self,
        now: Time,
        namespace: &str,
        target: &Target,
        flags: &Flags,
        event: PublishedArgs<'_>,
    ) -> Result<RequestId, ClusterError> {
        self.check_request(namespace)?;
        // Servers in Node keep the request for as long as the flags say, and for ever if they say nothing.
        let timeout = flags.timeout.unwrap_or(self.config.request_timeout);
        let flags = Flags { timeout: Some(timeout), ..*flags };
        let id = self.request(now, namespace, Kind::Clients, timeout);
        if self.config.dialect.is_classic() {
            let message = classic::broadcast_with_ack((&self.uid, &id.0), namespace, target, &flags, event);
            self.publish(self.config.dialect.requests(namespace), message);
        } else {
            let data = Data::Broadcast { event, request: Some(&id.0), target, flags: &flags };
            self.send(now, namespace, clustered::BROADCAST, data);
        }
        Ok(id)
    }

    /// Lets the sockets of the target on the other servers join rooms.
    pub fn join(&mut self, now: Time, namespace: &str, target: &Target, rooms: &Rooms) {
        self.change_rooms(now, namespace, target, rooms, true);
    }

    /// Lets the sockets of the target on the other servers leave rooms.
    pub fn leave(&mut self, now: Time, namespace: &str, target: &Target, rooms: &Rooms) {
        self.change_rooms(now, namespace, target, rooms, false);
    }

    fn change_rooms(&mut self, now: Time, namespace: &str, target: &Target, rooms: &Rooms, joins: bool) {
        if self.config.dialect.is_classic() {
            let message = classic::change_rooms(&self.uid, joins, target, rooms);
            return self.publish(self.config.dialect.requests(namespace), message);
        }
        let kind = if joins { clustered::SOCKETS_JOIN } else { clustered::SOCKETS_LEAVE };
        self.send(now, namespace, kind, Data::Rooms { target, rooms });
    }

    /// Disconnects the sockets of the target on the other servers; with `close`, also closes their connections.
    pub fn disconnect(&mut self, now: Time, namespace: &str, target: &Target, close: bool) {
        if self.config.dialect.is_classic() {
            let message = classic::disconnect(&self.uid, target, close);
            return self.publish(self.config.dialect.requests(namespace), message);
        }
        self.send(now, namespace, clustered::DISCONNECT_SOCKETS, Data::Disconnect { target, close });
    }

    /// Asks the other servers for their sockets of the target, and waits for `timeout`, or for that of the settings.
    ///
    /// # Errors
    /// Returns an error, and sends nothing, if the namespace is not part of the cluster, or if too many requests wait.
    pub fn fetch_sockets(
        &mut self,
        now: Time,
        namespace: &str,
        target: &Target,
        timeout: Option<Duration>,
    ) -> Result<RequestId, ClusterError> {
        self.check_request(namespace)?;
        let timeout = timeout.unwrap_or(self.config.request_timeout);
        let id = self.request(now, namespace, Kind::Sockets, timeout);
        if self.config.dialect.is_classic() {
            let message = classic::fetch(&self.uid, &id.0, target);
            self.publish(self.config.dialect.requests(namespace), message);
        } else {
            self.send(now, namespace, clustered::FETCH_SOCKETS, Data::Fetch { target, request: &id.0 });
        }
        Ok(id)
    }

    /// Sends an event to the other servers. `args` are the arguments without the name.
    pub fn server_side_emit(&mut self, now: Time, namespace: &str, event: &str, args: PublishedArgs<'_>) {
        self.send_server_side(now, namespace, None, event, args);
    }

    /// Sends an event to the other servers, and waits for their answers for `timeout`, or for that of the settings.
    /// `args` are the arguments without the name.
    ///
    /// # Errors
    /// Returns an error, and sends nothing, if the namespace is not part of the cluster, or if too many requests wait.
    pub fn server_side_emit_with_ack(
        &mut self,
        now: Time,
        namespace: &str,
        event: &str,
        args: PublishedArgs<'_>,
        timeout: Option<Duration>,
    ) -> Result<RequestId, ClusterError> {
        self.check_request(namespace)?;
        let timeout = timeout.unwrap_or(self.config.request_timeout);
        let id = self.request(now, namespace, Kind::ServerSide, timeout);
        self.send_server_side(now, namespace, Some(&id.0), event, args);
        Ok(id)
    }

    fn send_server_side(
        &mut self,
        now: Time,
        namespace: &str,
        request: Option<&str>,
        name: &str,
        args: PublishedArgs<'_>,
    ) {
        if self.config.dialect.is_classic() {
            let message = classic::server_side(&self.uid, request, name, args);
            return self.publish(self.config.dialect.requests(namespace), message);
        }
        self.send(now, namespace, clustered::SERVER_SIDE_EMIT, Data::ServerSide { request, name, args });
    }

    /// Returns the channel whose subscribers are the servers with the namespace, this one and those in Node included. To
    /// count the servers, ask the bus for the number of its subscribers.
    pub fn servers_channel(&self, namespace: &str) -> Channel {
        self.config.dialect.requests(namespace)
    }

    /// Counts the servers with the namespace, those in Node included. The number is an [event](super::Event::Counted): that of
    /// the bus or, if the bus does not know it within the timeout of the settings, the number of those that send heartbeats.
    ///
    /// # Errors
    /// Returns an error if the namespace is not part of the cluster, or if too many requests wait.
    pub fn count_servers(&mut self, now: Time, namespace: &str) -> Result<RequestId, ClusterError> {
        self.check_request(namespace)?;
        let timeout = self.config.request_timeout;
        Ok(self.request(now, namespace, Kind::Servers, timeout))
    }

    /// Stops waiting for a request, of which no event follows.
    pub fn cancel(&mut self, request: &RequestId) {
        self.requests.remove(&request.0);
        self.stop_reaching(request);
    }

    /// Adds a request, and asks the bus for the number of nodes that receive it.
    fn request(&mut self, now: Time, namespace: &str, kind: Kind, timeout: Duration) -> RequestId {
        let id = RequestId(self.new_id());
        let nodes = self.namespaces.get(namespace).map_or_else(BTreeSet::new, |space| space.nodes.names());
        let nodes = (nodes, !self.config.dialect.is_classic());
        self.requests.insert(id.0.clone(), kind, namespace.into(), now + timeout, nodes);
        let channel = self.config.dialect.requests(namespace);
        self.commands.push_back(Command::Count { channel, request: id.clone() });
        id
    }

    /// Tells another node the number of clients that were asked for acknowledgements. Has to be called before the first
    /// [`reply_answer`](Cluster::reply_answer), and also for none.
    pub fn reply_clients(&mut self, reply: &Reply, clients: usize) {
        let count = u64::try_from(clients).unwrap_or(u64::MAX);
        if reply.wants != Wants::Clients {
            return;
        }
        if self.config.dialect.is_classic() {
            return self.answer(reply, classic::client_count(&reply.request, count));
        }
        self.answer_with(
            reply,
            clustered::BROADCAST_CLIENT_COUNT,
            Data::Count { request: &reply.request, count },
        );
    }

    /// Sends the acknowledgement of one client, or the answer of a handler of an event between servers, to the node that
    /// waits for it. Of the arguments only the first is sent, as in the reference.
    pub fn reply_answer(&mut self, reply: &Reply, args: PublishedArgs<'_>) {
        let is_classic = self.config.dialect.is_classic();
        let request = &reply.request;
        match reply.wants {
            Wants::Clients if is_classic => self.answer(reply, classic::client_answer(request, args)),
            Wants::Clients => {
                self.answer_with(reply, clustered::BROADCAST_ACK, Data::Answer { request, args });
            }
            Wants::ServerSide if is_classic => {
                // Always to all nodes, because Node sends these there even with the setting.
                let channel = self.config.dialect.shared_responses(&reply.namespace);
                self.publish(channel, classic::server_side_answer(request, args));
            }
            Wants::ServerSide => {
                self.answer_with(reply, clustered::SERVER_SIDE_EMIT_RESPONSE, Data::Answer { request, args });
            }
            _ => {}
        }
    }

    /// Sends the local sockets to the node that has asked for them. Has to be called also for none.
    pub fn reply_sockets(&mut self, reply: &Reply, sockets: SocketList) {
        let only_ids = match reply.wants {
            Wants::Sockets => false,
            Wants::Ids => true,
            _ => return,
        };
        let sockets = sockets.into_args(only_ids);
        let (sockets, request) = (sockets.as_args().into(), &reply.request);
        if self.config.dialect.is_classic() {
            return self.answer(reply, classic::list(request, Some(("sockets", sockets))));
        }
        self.answer_with(reply, clustered::FETCH_SOCKETS_RESPONSE, Data::Sockets { request, sockets });
    }

    /// Sends the rooms of the local sockets to the node that has asked for them.
    pub fn reply_rooms<'a>(&mut self, reply: &Reply, rooms: impl Iterator<Item = &'a str>) {
        if reply.wants != Wants::Rooms {
            return;
        }
        let mut names = Vec::new();
        rooms.for_each(|room| push_name(&mut names, room));
        let names: OwnedArgs = list(names);
        self.answer(reply, classic::list(&reply.request, Some(("rooms", names.as_args().into()))));
    }

    /// Tells an old node that the socket that it has named was on this server, and was changed.
    pub fn reply_done(&mut self, reply: &Reply) {
        if reply.wants == Wants::Done {
            self.answer(reply, classic::list(&reply.request, None));
        }
    }

    /// Publishes an answer of the classic dialect.
    fn answer(&mut self, reply: &Reply, message: Bytes) {
        let Dialect::Classic(Classic { specific_responses, .. }) = self.config.dialect else { return };
        let channel = match reply.to.as_deref().filter(|_| specific_responses) {
            Some(to) => self.config.dialect.responses(&reply.namespace, to),
            None => self.config.dialect.shared_responses(&reply.namespace),
        };
        self.publish(channel, message);
    }

    /// Publishes an answer of another dialect.
    fn answer_with(&mut self, reply: &Reply, kind: u64, data: Data<'_>) {
        let to = reply.to.as_ref().map_or("", SmolStr::as_str);
        let channel = self.config.dialect.responses(&reply.namespace, to);
        self.send_on(channel, &reply.namespace, kind, data);
    }
}
