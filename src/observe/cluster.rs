//! The events of a server's cluster.

use sockeye_core::cluster::{BusError, BusStatus};
use std::fmt;

/// A change in the cluster of a server: see
/// [`ServerBuilder::on_cluster_event`](crate::ServerBuilder::on_cluster_event).
///
/// Servers are known by their names, which they choose at random when they start. Servers in Node with the adapters for
/// publish and subscribe send no heartbeats, so that there are no events about them; with the classic dialect, servers in
/// Rust send none, either.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClusterEvent {
    /// Another server has joined the cluster, or is heard again.
    #[non_exhaustive]
    NodeJoined {
        /// The name of the server.
        node: String,
    },
    /// Another server has left the cluster, because it was closed.
    #[non_exhaustive]
    NodeLeft {
        /// The name of the server.
        node: String,
    },
    /// Another server has been silent for [`heartbeat_timeout`](crate::cluster::Adapter::heartbeat_timeout): it has ended
    /// without a goodbye, or cannot be reached.
    #[non_exhaustive]
    NodeLost {
        /// The name of the server.
        node: String,
    },
    /// The bus is connected, for the first time or again.
    BusConnected,
    /// The bus has lost its connection, or cannot open it. It tries again by itself, and the own clients are served as
    /// before.
    #[non_exhaustive]
    BusDisconnected {
        /// The reason.
        cause: String,
    },
    /// More has waited at the bus than it keeps, so that messages to other servers are dropped or, by a
    /// [`MemoryBus`](crate::cluster::MemoryBus), those to this one.
    #[non_exhaustive]
    BusOverflowed {
        /// The limit, in bytes.
        limit: usize,
    },
    /// Messages of other servers were ignored, because they cannot be read, or exceed a
    /// [limit](crate::cluster::ClusterLimits). Reported at most once per second.
    #[non_exhaustive]
    MessageIgnored {
        /// The reason of the last one.
        cause: BusError,
        /// The number of messages since the last report.
        count: u64,
    },
}

impl ClusterEvent {
    /// Returns the change that a bus reports.
    pub(crate) fn of_status(status: BusStatus) -> Option<ClusterEvent> {
        Some(match status {
            BusStatus::Connected => ClusterEvent::BusConnected,
            BusStatus::Disconnected { cause } => ClusterEvent::BusDisconnected { cause },
            BusStatus::Overflowed { limit } => ClusterEvent::BusOverflowed { limit },
            _ => return None,
        })
    }
}

impl fmt::Display for ClusterEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClusterEvent::NodeJoined { node } => write!(f, "the server {node} has joined the cluster"),
            ClusterEvent::NodeLeft { node } => write!(f, "the server {node} has left the cluster"),
            ClusterEvent::NodeLost { node } => {
                write!(f, "the server {node} of the cluster is not heard any more")
            }
            ClusterEvent::BusConnected => f.write_str("the bus of the cluster is connected"),
            ClusterEvent::BusDisconnected { cause } => {
                write!(
                    f,
                    "the bus of the cluster is not connected, so only the own clients are reached: {cause}"
                )
            }
            ClusterEvent::BusOverflowed { limit } => {
                write!(f, "more than {limit} bytes wait at the bus of the cluster, so messages are dropped")
            }
            ClusterEvent::MessageIgnored { cause, count } => {
                write!(f, "{count} messages of other servers were ignored: {cause}")
            }
        }
    }
}
