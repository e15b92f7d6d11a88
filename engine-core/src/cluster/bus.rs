//! The traits by which a server and a bus know each other.

use super::args::share;
use super::dialect::Channel;
use super::event::RequestId;
use crate::host::Runtime;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use bytes::Bytes;
use core::future::{self, Future};
use core::pin::Pin;
use core::time::Duration;

/// What carries messages between the nodes of a cluster: Redis, another broker, or memory. It knows nothing of Socket.IO.
///
/// A value belongs to one server, which calls [`attach`](Bus::attach) once and then everything else, from any thread. No
/// method waits or calls the node in place: what has to be sent is put into a queue of bounded size, and the bus passes to
/// the node what arrives from tasks of its own, which it spawns on the [node's runtime](Node::runtime).
///
/// # What a bus has to guarantee
/// - The messages that one node publishes on one channel arrive in that order. Other orders are free.
/// - No message of [`publish`](Bus::publish) arrives twice. It may be lost if the connection is. Entries of
///   [`append`](Bus::append) may arrive again, and must not be lost as long as the broker keeps them.
/// - What a node publishes may come back to it or not: the node ignores it.
/// - A broker that cannot be reached never makes a call fail, wait or panic. The bus reconnects by itself, watches all
///   channels again, and reports it to [`handle_status`](Node::handle_status).
/// - When it is dropped, or the node is gone, its tasks and connections end.
pub trait Bus: Send + Sync + 'static {
    /// Attaches the node, and begins to connect. Called once, when the server gets its runtime. Before that, and as long as
    /// there is no connection, the other methods only put into the queue.
    fn attach(&self, node: Weak<dyn Node>);

    /// Begins or ceases to watch a channel. Messages that are published on it before the bus has subscribed are missed, as
    /// are those while it is disconnected. Watching a channel twice is the same as once. A
    /// [stream](super::ChannelKind::Stream) is read from its end, and after a reconnection from where it was.
    fn watch(&self, channel: &Channel, on: bool);

    /// Publishes a message on a channel for the nodes that watch it.
    fn publish(&self, channel: &Channel, message: Bytes);

    /// Appends an entry to a stream. Called for channels of the kind [`Stream`](super::ChannelKind::Stream) only.
    fn append(&self, stream: &Channel, fields: Vec<(&'static str, Bytes)>);

    /// Counts the nodes that watch a channel, and passes the number with `request` to
    /// [`handle_count`](Node::handle_count). They must include those that receive what this node has published before the
    /// call.
    fn count(&self, channel: &Channel, request: RequestId);

    /// Returns whether the bus stores sessions, so that a client of one server can be recovered by another: whether
    /// [`save`](Bus::save), [`load`](Bus::load) and [`read`](Bus::read) do what they say. Default: no.
    fn stores_sessions(&self) -> bool {
        false
    }

    /// Stores a value under a key for `lifetime`. It replaces an earlier one. A value that cannot be stored is lost, and passed
    /// to [`handle_unsaved`](Node::handle_unsaved). Default: does nothing.
    fn save(&self, key: &str, value: Bytes, lifetime: Duration) {
        let _ = (key, value, lifetime);
    }

    /// Looks a value up, after what was [saved](Bus::save) before, and with `remove` removes it in the same step. The result
    /// is passed with `request` to [`handle_found`](Node::handle_found): [`Found::Value`], or nothing if the bus cannot know.
    /// The caller stops waiting by a deadline of its own, and saves again what was removed and comes later. A bus that cannot
    /// pass the value on should not remove it. Default: does nothing.
    fn load(&self, key: &str, remove: bool, request: RequestId) {
        let _ = (key, remove, request);
    }

    /// Reads entries of a stream, of which `from` is the first position that is wanted: some of the oldest. The result is
    /// passed with `request` to [`handle_found`](Node::handle_found): [`Found::Entries`], or nothing if the bus cannot know.
    /// Default: does nothing.
    fn read(&self, stream: &Channel, from: &str, request: RequestId) {
        let _ = (stream, from, request);
    }

    /// Returns a future that completes when everything has left that was to be sent before the call. The caller stops
    /// waiting by a deadline of its own. Default: completes at once.
    fn flush(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(future::ready(()))
    }
}

/// A server as a [`Bus`] sees it: it takes what arrives. No method waits.
pub trait Node: Send + Sync {
    /// Returns the runtime on which the bus spawns its tasks.
    fn runtime(&self) -> Arc<dyn Runtime>;

    /// Handles a message that was published on a channel that is being watched. `channel` is its own name, also if it is
    /// watched by a pattern.
    fn handle_message(&self, channel: &str, message: Bytes);

    /// Handles an entry of a stream that is being watched. `offset` is its position, such as `1526919030474-55`.
    fn handle_entry(&self, stream: &str, offset: &str, fields: &[(&str, Bytes)]);

    /// Returns a receiver for messages that have arrived together, such as all that one system call has read. It does the same
    /// as [`handle_message`](Node::handle_message) and [`handle_entry`](Node::handle_entry) at a lower cost, because a server
    /// looks up once what the messages have in common. Other methods of the node may be called meanwhile.
    ///
    /// Drop the receiver before you wait for more messages: only then everything is noted. Default: calls those methods.
    fn receiver(&self) -> Box<dyn BusReceiver + '_> {
        Box::new(Each(self))
    }

    /// Notes that a stream is read from behind `offset` on: for the first time; or again, because entries between the last one
    /// and this one may be lost. Default: does nothing.
    fn handle_stream(&self, stream: &str, offset: &str) {
        let _ = (stream, offset);
    }

    /// Handles what [`Bus::load`] or [`Bus::read`] have found. Default: does nothing.
    fn handle_found(&self, request: &RequestId, found: Found) {
        let _ = (request, found);
    }

    /// Notes that the value of a key that was passed to [`Bus::save`] is lost, or may be. Default: does nothing.
    fn handle_unsaved(&self, key: &str) {
        let _ = key;
    }

    /// Handles the number of nodes that [`Bus::count`] was asked for: `None` if it cannot be known. Requests then end once
    /// all nodes that send heartbeats have answered; with the classic dialect, which has none, after their timeout.
    fn handle_count(&self, request: &RequestId, subscribers: Option<usize>);

    /// Handles a change of the connection to the broker.
    fn handle_status(&self, status: BusStatus);
}

/// Receives messages that have arrived together at a bus: see [`Node::receiver`].
///
/// ```
/// use bytes::Bytes;
/// use sockeye_core::cluster::Node;
///
/// /// Passes on the messages that wait in the queue of a client of a broker.
/// fn receive(node: &dyn Node, queue: &mut Vec<(String, Bytes)>) {
///     let mut receiver = node.receiver();
///     for (channel, message) in queue.drain(..) {
///         // The client has read each of them into a buffer of its own.
///         receiver.handle_message(&channel, &message, &message);
///     }
/// }
/// ```
pub trait BusReceiver {
    /// Handles a message as [`Node::handle_message`] does.
    ///
    /// `buffer` is the buffer that the message is a part of, which may be the whole of it. What the node keeps of the message
    /// shares the memory of the buffer, and keeps all of it, so a buffer of many small messages should not be large, such
    /// as 64 KiB. If the message is in other memory, what the node keeps of it is copied.
    fn handle_message(&mut self, channel: &str, message: &[u8], buffer: &Bytes);

    /// Handles an entry of a stream as [`Node::handle_entry`] does. `buffer` is the buffer that the values are parts of, as in
    /// [`handle_message`](BusReceiver::handle_message).
    fn handle_entry(&mut self, stream: &str, offset: &str, fields: &[(&str, &[u8])], buffer: &Bytes);
}

/// Passes each message on to a node.
struct Each<'a, N: ?Sized>(&'a N);

impl<N: Node + ?Sized> BusReceiver for Each<'_, N> {
    fn handle_message(&mut self, channel: &str, message: &[u8], buffer: &Bytes) {
        self.0.handle_message(channel, share(buffer, message));
    }

    fn handle_entry(&mut self, stream: &str, offset: &str, fields: &[(&str, &[u8])], buffer: &Bytes) {
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, share(buffer, value))).collect();
        self.0.handle_entry(stream, offset, &fields);
    }
}

/// What a bus has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The value of a key, or `None` if there is none.
    Value(Option<Bytes>),
    /// Entries of a stream, oldest first: the position and the fields of each. None if there are none from this position on.
    Entries(Vec<Entry>),
}

/// An entry of a stream: its position, and its fields.
pub type Entry = (String, Vec<(String, Bytes)>);

/// The state of a bus, as it reports it when it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BusStatus {
    /// It is connected, and watches all channels, for the first time or again.
    Connected,
    /// The connection is lost, or cannot be opened. The bus tries again by itself.
    Disconnected {
        /// The reason.
        cause: String,
    },
    /// So much waited for the broker, or for this node, that messages were dropped. Reported once for each time without a
    /// connection, or each time that the queue is full.
    Overflowed {
        /// The limit of what may wait, in bytes.
        limit: usize,
    },
    /// A message or an entry was longer than the bus accepts. It was not kept, and everything else goes on.
    MessageTooLong {
        /// Its length, in bytes.
        len: usize,
        /// The limit, in bytes.
        limit: usize,
    },
}
