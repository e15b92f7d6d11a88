//! Several servers as one: broadcasts, requests and changes reach the sockets of all servers of a cluster.
//!
//! A server joins a cluster by its [`Adapter`], which is a dialect and a [`Bus`]. Nothing else changes: what is sent to a
//! room reaches its sockets on every server, unless it is [local](crate::Broadcast::local).
//!
//! ```
//! use sockeye::Server;
//! use sockeye::cluster::{Adapter, MemoryBus};
//!
//! // Two servers of one process. Over a network, the bus is `sockeye::redis::RedisBus` (feature `redis`).
//! let bus = MemoryBus::new();
//! let [first, second] = [(); 2].map(|()| Server::builder().adapter(Adapter::sharded(bus.clone())).build());
//! first.on_connect(async |socket: sockeye::Socket| {
//!     socket.join("lobby");
//! });
//! let delivery = second.to("lobby").emit("hello", "from the other server");
//! assert!(delivery.published);
//! ```
//!
//! # The dialects
//!
//! | | compatible with | guarantees |
//! |---|---|---|
//! | [`Adapter::classic`] | `createAdapter` of `@socket.io/redis-adapter` | a message arrives at most once, and is lost for a server that is not connected to the bus |
//! | [`Adapter::sharded`] | `createShardedAdapter` of the same package | the same; a server receives only the messages for rooms that it has |
//! | [`Adapter::streams`] | `@socket.io/redis-streams-adapter` | a server that was disconnected from the bus for a moment reads what it has missed |
//!
//! All servers of a cluster have to use the same dialect, with the same settings. They may be written in Node.
//!
//! # Without a server
//!
//! A program that has no server, such as a worker, sends into the cluster by a [`ClusterEmitter`].
//!
//! # When the bus is away
//!
//! The own clients are served as before. Nothing waits for the bus: what is published is queued up to a limit of the bus,
//! requests to other servers end after their timeout and name the servers that were silent, and
//! [`ServerBuilder::on_cluster_event`](crate::ServerBuilder::on_cluster_event) tells of it.

pub use crate::observe::ClusterEvent;
pub use crate::server::cluster::{Adapter, ClusterBroadcast, ClusterEmitter, MemoryBus};
pub use sockeye_core::cluster::{
    Bus, BusError, BusReceiver, BusStatus, Channel, ChannelKind, Classic, ClusterLimits, Dialect, Node,
    RequestId, Sharded, Streams, SubscriptionMode,
};
