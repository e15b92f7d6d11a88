//! The state machine of one node.

use super::clustered::{self, Data};
use super::dialect::{Channel, Dialect};
use super::error::ClusterError;
use super::event::{Command, Event, RequestId};
use super::limits::ClusterLimits;
use super::message::EMITTER;
use super::nodes::Nodes;
use super::requests::Requests;
use super::sessions::Recovering;
use super::unhandled::Unhandled;
use super::writer::Writer;
use crate::socketio::recovery::StreamPosition;
use crate::time::earliest;
use crate::{Random, Time};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use core::time::Duration;
use smol_str::SmolStr;

/// The settings of a [`Cluster`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterConfig {
    /// The protocol between the servers.
    pub dialect: Dialect,
    /// The time after which a node sends a heartbeat if it has sent nothing else to all others. Default: 5 s.
    pub heartbeat_interval: Duration,
    /// The time of silence after which a node that sends heartbeats is forgotten. Default: 10 s.
    pub heartbeat_timeout: Duration,
    /// The time to wait for other servers, unless a request says otherwise. Default: 5 s.
    pub request_timeout: Duration,
    /// The limits on what other nodes send.
    pub limits: ClusterLimits,
}

impl ClusterConfig {
    /// Returns the default settings of a dialect.
    pub fn new(dialect: Dialect) -> ClusterConfig {
        ClusterConfig {
            dialect,
            heartbeat_interval: Duration::from_secs(5),
            heartbeat_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(5),
            limits: ClusterLimits::default(),
        }
    }
}

/// One node of a cluster: what it sends to the others over a bus, and what their messages mean.
///
/// It does no I/O and reads no clock. Methods are of four kinds, and can be called in any order:
///
/// - getters: [`uid`](Cluster::uid), [`nodes`](Cluster::nodes), [`next_deadline`](Cluster::next_deadline);
/// - something has happened: [`handle_message`](Cluster::handle_message), [`handle_entry`](Cluster::handle_entry),
///   [`handle_count`](Cluster::handle_count), [`handle_reconnect`](Cluster::handle_reconnect),
///   [`handle_timeout`](Cluster::handle_timeout);
/// - commands: [`add_namespace`](Cluster::add_namespace), [`broadcast`](Cluster::broadcast),
///   [`fetch_sockets`](Cluster::fetch_sockets), [`reply_sockets`](Cluster::reply_sockets) and so on;
/// - what has to leave: [`poll_command`](Cluster::poll_command) for the bus, [`poll_event`](Cluster::poll_event) for the
///   server. Call both until they return `None` after every other call.
///
/// Nodes that send heartbeats (all of this library, except with [`Dialect::Classic`]) are known by name. Servers in Node
/// are only counted, by the subscribers of a channel.
///
/// The bus has to keep the order of the messages of each sender on a channel, and must not repeat a message, because
/// messages have no numbers. Only the entries of a stream may be repeated.
///
/// ```
/// use bytes::Bytes;
/// use sockeye_core::cluster::{Cluster, ClusterConfig, Command, Dialect, Event, Sharded};
/// use sockeye_core::socketio::{Encoder, Flags, Target};
/// use sockeye_core::{Random, Time};
///
/// let now = Time::ZERO;
/// let config = ClusterConfig::new(Dialect::Sharded(Sharded::default()));
/// let mut ours = Cluster::new(config.clone(), Random::from_seed([1; 20]));
/// let mut theirs = Cluster::new(config, Random::from_seed([2; 20]));
/// ours.add_namespace(now, "/");
/// theirs.add_namespace(now, "/");
/// while let Some(command) = theirs.poll_command() {
///     // A bus subscribes to the channels, and publishes the first heartbeat.
///     println!("{command:?}");
/// }
/// # while ours.poll_command().is_some() {}
///
/// let mut encoder = Encoder::new();
/// let encoded = encoder.event("/", None, "hello", "world")?;
/// ours.broadcast(now, "/", &Target::default(), &Flags::default(), encoded.into());
/// let Some(Command::Publish { channel, message }) = ours.poll_command() else { panic!("nothing is published") };
///
/// theirs.handle_message(now, &channel.name, &message)?;
/// let Some(Event::Broadcast { event, .. }) = theirs.poll_event() else { panic!("nothing has arrived") };
/// assert_eq!(event.encode(&mut encoder, "/", None, None)?.text, br#"2["hello","world"]"#);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Cluster {
    pub(super) config: ClusterConfig,
    pub(super) uid: SmolStr,
    random: Random,
    pub(super) namespaces: BTreeMap<SmolStr, Space>,
    pub(super) requests: Requests,
    /// The position of the last entry that was read of each stream.
    pub(super) offsets: BTreeMap<SmolStr, StreamPosition>,
    pub(super) recovering: Recovering,
    pub(super) events: Unhandled,
    pub(super) commands: VecDeque<Command>,
    /// When the first namespace needs a heartbeat, or earlier.
    next_beat: Option<Time>,
    /// When the first node has been silent for too long, or earlier.
    pub(super) next_sweep: Option<Time>,
}

/// A namespace of this node.
#[derive(Debug)]
pub(super) struct Space {
    pub(super) nodes: Nodes,
    /// The time of the last message to all nodes.
    pub(super) sent: Time,
}

impl Cluster {
    /// Creates a node without namespaces.
    pub fn new(config: ClusterConfig, mut random: Random) -> Cluster {
        let uid = new_id(&config.dialect, &mut random);
        Cluster {
            config,
            uid,
            random,
            namespaces: BTreeMap::new(),
            requests: Requests::default(),
            offsets: BTreeMap::new(),
            recovering: Recovering::default(),
            events: Unhandled::default(),
            commands: VecDeque::new(),
            next_beat: None,
            next_sweep: None,
        }
    }

    /// Creates an emitter, which sends into a cluster from a program without a server: it needs no namespace, receives
    /// nothing, and is not counted as a node. The servers accept it by its name `emitter`.
    ///
    /// It can broadcast, change the rooms of sockets, disconnect them, and send events to the servers, but wait for
    /// nothing.
    pub fn new_emitter(config: ClusterConfig) -> Cluster {
        Cluster { uid: EMITTER.into(), ..Cluster::new(config, Random::from_seed([0; 20])) }
    }

    /// Returns the name of this node, by which the others know it. It is chosen at random.
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// Returns the settings.
    pub fn config(&self) -> &ClusterConfig {
        &self.config
    }

    /// Returns the names of the other nodes that are known by their heartbeats in a namespace. Servers in Node are not:
    /// see [`servers_channel`](Cluster::servers_channel).
    pub fn nodes(&self, namespace: &str) -> impl Iterator<Item = &str> {
        let nodes = self.namespaces.get(namespace).map(|space| space.nodes.iter());
        nodes.into_iter().flatten().map(SmolStr::as_str)
    }

    /// Takes the next command for the bus.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// Takes the next event for the server.
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.events.pop()?;
        self.tell_gaps();
        Some(event)
    }

    /// Returns whether an event waits.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Returns whether a command waits.
    pub fn has_commands(&self) -> bool {
        !self.commands.is_empty()
    }

    /// Joins the cluster with a namespace: watches its channels, and tells the other nodes. Does nothing if it was added
    /// before.
    pub fn add_namespace(&mut self, now: Time, namespace: &str) {
        if self.namespaces.contains_key(namespace) {
            return;
        }
        let name = SmolStr::from(namespace);
        self.namespaces.insert(name.clone(), Space { nodes: Nodes::default(), sent: now });
        let channels = self.config.dialect.watched(namespace, &self.uid);
        self.commands.extend(channels.map(Command::Watch));
        if let Some(stream) = self.config.dialect.stream(namespace) {
            self.begin_stream(&name, &stream.name);
            self.commands.push_back(Command::Watch(stream));
        }
        self.say_hello(now, &name);
    }

    /// Leaves the cluster with a namespace: tells the other nodes, no longer watches its channels, and ends its requests.
    ///
    /// Of [`Dialect::Sharded`], [delete](Cluster::delete_room) its rooms before.
    pub fn remove_namespace(&mut self, now: Time, namespace: &str) {
        if !self.namespaces.contains_key(namespace) {
            return;
        }
        if !self.config.dialect.is_classic() {
            self.send(now, namespace, clustered::ADAPTER_CLOSE, Data::None);
        }
        self.namespaces.remove(namespace);
        self.recovering.forget(namespace);
        let dialect = &self.config.dialect;
        self.commands.extend(dialect.watched(namespace, &self.uid).map(Command::Unwatch));
        if let Some(stream) = dialect.stream(namespace)
            && !self.namespaces.keys().any(|other| dialect.stream(other).as_ref() == Some(&stream))
        {
            self.offsets.remove(&stream.name);
            self.commands.push_back(Command::Unwatch(stream));
        }
        for id in self.requests.of_namespace(namespace) {
            self.events.extend(self.requests.finish(&id));
        }
        self.arm();
        self.arm_sweep();
    }

    /// Leaves the cluster with all namespaces.
    pub fn close(&mut self, now: Time) {
        while let Some(namespace) = self.namespaces.keys().next().cloned() {
            self.remove_namespace(now, &namespace);
        }
    }

    /// Notes that a room has got its first local socket. Of [`Dialect::Sharded`], a room may have a channel of its own,
    /// which is watched from now on.
    pub fn create_room(&mut self, namespace: &str, room: &str) {
        if self.config.dialect.has_channel(room) {
            self.commands.push_back(Command::Watch(self.config.dialect.room(namespace, room)));
        }
    }

    /// Notes that a room has lost its last local socket: see [`create_room`](Cluster::create_room).
    pub fn delete_room(&mut self, namespace: &str, room: &str) {
        if self.config.dialect.has_channel(room) {
            self.commands.push_back(Command::Unwatch(self.config.dialect.room(namespace, room)));
        }
    }

    /// Notes that the bus is connected again after it was lost. The other nodes are greeted again, because they may have
    /// missed this one.
    pub fn handle_reconnect(&mut self, now: Time) {
        let names: Vec<_> = self.namespaces.keys().cloned().collect();
        names.iter().for_each(|namespace| self.say_hello(now, namespace));
    }

    /// Notes the number of subscribers that [`Command::Count`] asked for; `None` if the bus does not know it.
    pub fn handle_count(&mut self, request: &RequestId, subscribers: Option<usize>) {
        // This node is one of them.
        self.requests.expect(&request.0, subscribers.map(|count| count.saturating_sub(1)));
        self.events.extend(self.requests.finish_if_over(&request.0));
    }

    /// Returns when [`handle_timeout`](Cluster::handle_timeout) has something to do next.
    pub fn next_deadline(&self) -> Option<Time> {
        earliest(self.requests.next_deadline(), earliest(self.next_beat, self.next_sweep))
    }

    /// Does what is due: ends requests, forgets silent nodes, and sends heartbeats. A call too early does nothing.
    /// Afterwards the next deadline is later than `now`.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some(finished) = self.requests.take_expired(now) {
            self.events.push(finished);
        }
        if self.next_sweep.is_some_and(|at| at <= now) {
            self.sweep(now);
        }
        if self.next_beat.is_some_and(|at| at <= now) {
            self.beat(now);
        }
    }

    /// Forgets the nodes that have been silent for too long.
    fn sweep(&mut self, now: Time) {
        let timeout = self.config.heartbeat_timeout;
        let mut lost = Vec::new();
        for (namespace, space) in &mut self.namespaces {
            lost.extend(
                space.nodes.take_silent(now, timeout).into_iter().map(|node| (namespace.clone(), node)),
            );
        }
        for (namespace, node) in lost {
            self.forget_node(&namespace, &node);
            self.events.push(Event::NodeLost { namespace, node });
        }
        self.arm_sweep();
    }

    /// Sets the time at which the first node will have been silent for too long.
    fn arm_sweep(&mut self) {
        let timeout = self.config.heartbeat_timeout;
        self.next_sweep =
            self.namespaces.values().filter_map(|space| space.nodes.next_deadline(timeout)).min();
    }

    /// Ends the requests that wait for this node only.
    pub(super) fn forget_node(&mut self, namespace: &str, node: &SmolStr) {
        for id in self.requests.forget_node(namespace, node) {
            self.events.extend(self.requests.finish(&id));
        }
    }

    /// Sends a heartbeat in each namespace in which nothing was sent for the interval.
    fn beat(&mut self, now: Time) {
        let interval = self.interval();
        let is_due = |space: &Space| space.sent + interval <= now;
        let due: Vec<_> =
            self.namespaces.iter().filter(|(_, space)| is_due(space)).map(|(name, _)| name.clone()).collect();
        for namespace in due {
            self.send(now, &namespace, clustered::HEARTBEAT, Data::None);
        }
        self.arm();
    }

    fn say_hello(&mut self, now: Time, namespace: &SmolStr) {
        if !self.config.dialect.is_classic() {
            self.send(now, namespace, clustered::INITIAL_HEARTBEAT, Data::None);
            self.arm();
        }
    }

    /// Sets the time of the next heartbeat.
    fn arm(&mut self) {
        let interval = self.interval();
        self.next_beat = match self.config.dialect.is_classic() {
            true => None,
            false => self.namespaces.values().map(|space| space.sent + interval).min(),
        };
    }

    /// Returns the interval of heartbeats, which is not zero, so that a deadline is never due again at once.
    fn interval(&self) -> Duration {
        self.config.heartbeat_interval.max(Duration::from_millis(1))
    }

    /// Returns a new id for a request, in the form of the dialect.
    pub(super) fn new_id(&mut self) -> SmolStr {
        loop {
            let id = new_id(&self.config.dialect, &mut self.random);
            if !self.requests.contains(&id) {
                return id;
            }
        }
    }

    /// Checks that a request can be sent.
    pub(super) fn check_request(&self, namespace: &str) -> Result<(), ClusterError> {
        let limit = self.config.limits.max_requests;
        if !self.namespaces.contains_key(namespace) {
            return Err(ClusterError::UnknownNamespace);
        }
        if self.requests.len() >= limit {
            return Err(ClusterError::Full { limit });
        }
        // The end of each is an event.
        match self.is_overloaded() {
            true => Err(ClusterError::Unhandled { limit: self.config.limits.max_unhandled }),
            false => Ok(()),
        }
    }

    /// Returns whether the server has to handle events before there may be more.
    pub(super) fn is_overloaded(&self) -> bool {
        self.events.waiting() > self.config.limits.max_unhandled
    }

    pub(super) fn publish(&mut self, channel: Channel, message: Bytes) {
        self.commands.push_back(Command::Publish { channel, message });
    }

    /// Sends a message of the sharded dialect or of streams to all nodes.
    pub(super) fn send(&mut self, now: Time, namespace: &str, kind: u64, data: Data<'_>) {
        if let Some(space) = self.namespaces.get_mut(namespace) {
            space.sent = now;
        }
        let is_ephemeral = match data {
            Data::Broadcast { request, .. } => request.is_some(),
            _ => matches!(kind, clustered::SERVER_SIDE_EMIT | clustered::FETCH_SOCKETS),
        };
        match self.config.dialect.stream(namespace) {
            Some(stream) if !is_ephemeral => {
                let fields = self.entry(namespace, kind, data);
                self.commands.push_back(Command::Append { channel: stream, fields });
            }
            _ => {
                let channel = self.config.dialect.requests(namespace);
                self.send_on(channel, namespace, kind, data);
            }
        }
    }

    /// Publishes a message of the sharded dialect or of streams on a channel.
    pub(super) fn send_on(&mut self, channel: Channel, namespace: &str, kind: u64, data: Data<'_>) {
        // Over the channels of streams, Node reads MessagePack only.
        let is_json = matches!(self.config.dialect, Dialect::Sharded(_)) && !data.is_binary();
        let mut writer = Writer::new(is_json);
        clustered::write(&mut writer, kind, data, &self.uid, namespace);
        self.publish(channel, writer.finish());
    }

    /// Returns a message as the fields of an entry of a stream.
    fn entry(&self, namespace: &str, kind: u64, data: Data<'_>) -> Vec<(&'static str, Bytes)> {
        let text = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        let mut fields = Vec::with_capacity(4);
        fields.push(("uid", text(&self.uid)));
        fields.push(("nsp", text(namespace)));
        fields.push(("type", text(&kind.to_string())));
        if !matches!(data, Data::None) {
            let mut writer = Writer::new(!data.is_binary());
            data.write(&mut writer);
            let written = writer.finish();
            let value = match data.is_binary() {
                true => BASE64_STANDARD.encode(written).into(),
                false => written,
            };
            fields.push(("data", value));
        }
        fields
    }
}

/// Returns a random name of a node or a request, as long as the reference's: 16 hexadecimal digits, or 6 characters of
/// the classic dialect.
fn new_id(dialect: &Dialect, random: &mut Random) -> SmolStr {
    let chars: (&[u8], usize) = match dialect {
        Dialect::Classic(_) => (b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", 6),
        Dialect::Sharded(_) | Dialect::Streams(_) => (b"0123456789abcdef", 16),
    };
    let (alphabet, len) = chars;
    let digit =
        |byte: &u8| char::from(alphabet.get(usize::from(*byte) % alphabet.len()).copied().unwrap_or(b'0'));
    random.bytes::<16>().iter().take(len).map(digit).collect::<String>().into()
}
