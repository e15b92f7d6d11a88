//! The protocol between the servers of a cluster, compatible with the adapters of the reference.
//!
//! A [`Cluster`] is one node: a state machine between a server and a bus, which knows nothing of Socket.IO. It speaks
//! three [dialects](Dialect), byte-compatible with `@socket.io/redis-adapter` (classic and sharded) and with
//! `@socket.io/redis-streams-adapter`, so that servers in Rust and in Node are one cluster.
//!
//! - [`Command`]s are for the bus: channels to watch, messages to publish, subscribers to count;
//! - [`Event`]s are for the server: what another node asks of it, and the answers to its own requests.
//!
//! `Bus` and `Node` (with the feature `std`) are the traits by which a server and a program that carries the messages know
//! each other.
//!
//! Arguments stay in the form in which they arrive. A [`BusEvent`] shares the memory of the message from the bus, and is
//! written directly as the packet that all recipients share.

mod args;
#[cfg(feature = "std")]
mod bus;
mod classic;
mod clustered;
mod decode;
mod dialect;
mod error;
mod event;
mod limits;
mod machine;
mod message;
mod nodes;
mod raw;
mod receive;
mod requests;
mod send;
mod sessions;
mod unhandled;
mod writer;

pub use args::{BusEvent, BusValue, PublishedArgs};
#[cfg(feature = "std")]
pub use bus::{Bus, BusReceiver, BusStatus, Entry, Found, Node};
pub use decode::{BusDecoder, BusEntry, BusMessage};
pub use dialect::{Channel, ChannelKind, Classic, Dialect, Sharded, Streams, SubscriptionMode};
pub use error::{BusError, ClusterError};
pub use event::{BusSocket, BusSockets, Command, Event, Reply, RequestId, SocketList};
pub use limits::ClusterLimits;
pub use machine::{Cluster, ClusterConfig};
pub use sessions::{MissedEvent, SavedSession};
