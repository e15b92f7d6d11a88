//! A server's part in its cluster: between the state machine of the core, the bus, and the sockets of this server.

mod adapter;
mod asking;
mod emitter;
mod ignored;
mod incoming;
mod link;
mod lookup;
mod memory;
mod receiving;

pub use adapter::Adapter;
pub(super) use asking::{Asker, Gathered, Gathering, refused};
pub use emitter::{ClusterBroadcast, ClusterEmitter};
pub(crate) use link::Link;
pub(super) use lookup::{Lookup, Result as LookupResult};
pub use memory::MemoryBus;

use crate::observe::ClusterEvent;

/// A function that is told of changes in the cluster.
pub(super) type OnClusterEvent = Box<dyn Fn(&ClusterEvent) + Send + Sync>;
