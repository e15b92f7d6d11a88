//! The settings with which a server joins a cluster.

use sockeye_core::cluster::{Bus, Classic, ClusterConfig, ClusterLimits, Dialect, Sharded, Streams};
use std::fmt;
use std::time::Duration;

/// The connection of a server to its cluster: a dialect, which is the protocol between the servers, and a [`Bus`], which
/// carries the messages. Set it by [`ServerBuilder::adapter`](crate::ServerBuilder::adapter).
///
/// ```
/// use sockeye::Server;
/// use sockeye::cluster::{Adapter, MemoryBus, Sharded, SubscriptionMode};
/// use std::time::Duration;
///
/// let bus = MemoryBus::new();
/// let io = Server::builder().adapter(Adapter::classic(bus.clone())).build();
///
/// let sharded = Sharded { subscription_mode: SubscriptionMode::DynamicPrivate, ..Sharded::default() };
/// let adapter = Adapter::new(sharded, bus).request_timeout(Duration::from_secs(2));
/// ```
pub struct Adapter {
    pub(super) config: ClusterConfig,
    pub(super) bus: Box<dyn Bus>,
}

impl Adapter {
    /// Creates an adapter that is compatible with `createAdapter` of `@socket.io/redis-adapter`, and with
    /// `@socket.io/redis-emitter`. Every server receives every message.
    pub fn classic(bus: impl Bus) -> Adapter {
        Adapter::new(Classic::default(), bus)
    }

    /// Creates an adapter that is compatible with `createShardedAdapter` of `@socket.io/redis-adapter`. A server receives
    /// what is sent to a room only if it has a socket in it. The best choice among servers in Rust.
    pub fn sharded(bus: impl Bus) -> Adapter {
        Adapter::new(Sharded::default(), bus)
    }

    /// Creates an adapter that is compatible with `@socket.io/redis-streams-adapter`. A server that has lost the bus for a
    /// moment reads what it has missed.
    pub fn streams(bus: impl Bus) -> Adapter {
        Adapter::new(Streams::default(), bus)
    }

    /// Creates an adapter of a dialect with its settings, such as the prefix of the names of channels.
    pub fn new(dialect: impl Into<Dialect>, bus: impl Bus) -> Adapter {
        Adapter { config: ClusterConfig::new(dialect.into()), bus: Box::new(bus) }
    }

    /// Sets the time after which a heartbeat is sent, if nothing else was sent to all other servers. Default: 5 s.
    pub fn heartbeat_interval(mut self, interval: Duration) -> Adapter {
        self.config.heartbeat_interval = interval;
        self
    }

    /// Sets the time of silence after which another server counts as lost. Default: 10 s.
    pub fn heartbeat_timeout(mut self, timeout: Duration) -> Adapter {
        self.config.heartbeat_timeout = timeout;
        self
    }

    /// Sets how long to wait for the answers of other servers: their sockets, their number, and their answers to
    /// [`server_side_emit_with_ack`](crate::Namespace::server_side_emit_with_ack). Default: 5 s.
    ///
    /// The acknowledgements of clients have a [timeout](crate::Broadcast::timeout) of their own.
    pub fn request_timeout(mut self, timeout: Duration) -> Adapter {
        self.config.request_timeout = timeout;
        self
    }

    /// Sets the limits on what other servers may send. Default: those of [`ClusterLimits::default`].
    pub fn limits(mut self, limits: ClusterLimits) -> Adapter {
        self.config.limits = limits;
        self
    }
}

impl fmt::Debug for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adapter").field("config", &self.config).finish_non_exhaustive()
    }
}
