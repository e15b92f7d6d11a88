//! The handle of the bus.

use crate::builder::{Config, RedisBusBuilder, Servers};
use crate::endpoint::Endpoint;
use crate::error::UrlError;
use crate::link::Worker;
use crate::state::{FIRST, Shared};
use bytes::Bytes;
use sockeye_core::cluster::{Bus, Channel, Node, RequestId};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Carries messages between the servers of a cluster over Redis.
///
/// It keeps one connection that publishes and one that subscribes, for all namespaces and channels, and a third one if
/// streams are read. All of what waits leaves in one write. It connects when the server gets its runtime, and again
/// whenever the connection is lost:
/// - what is published meanwhile waits, within [limits](RedisBusBuilder::max_waiting), and leaves after that;
/// - all channels are subscribed to again; what was published on them meanwhile is missed, as is usual for publish and
///   subscribe;
/// - streams are read on from where they were, and nothing is missed that they still keep.
///
/// To recover clients on any server (`connection_state_recovery` with `Adapter::streams`), it stores sockets whose clients are
/// away as Node does. That takes Redis 6.2 (`GETDEL`).
///
/// A message that was being sent when the connection was lost is not sent again: it may be lost, and never comes twice.
///
/// When it is dropped, its tasks and connections end.
///
/// ```
/// use sockeye_redis::RedisBus;
///
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let bus = RedisBus::new("redis://127.0.0.1:6379")?;
/// # Ok(())
/// # }
/// ```
pub struct RedisBus {
    shared: Arc<Shared>,
}

impl RedisBus {
    /// Creates a bus over one server, with default settings. A URL is `redis://user:password@host:port`, where everything
    /// but the host may be left out. `rediss` stands for TLS, and `redis+unix:///path` for a Unix socket. The number of a
    /// database has no influence on channels, only on streams.
    ///
    /// # Errors
    /// If the URL cannot be used.
    pub fn new(url: impl AsRef<str>) -> Result<RedisBus, UrlError> {
        RedisBus::builder(url).build()
    }

    /// Begins the settings of a bus over one server.
    pub fn builder(url: impl AsRef<str>) -> RedisBusBuilder {
        RedisBusBuilder::single(url.as_ref())
    }

    /// Begins the settings of a bus over the server that sentinels name for a service, such as `mymaster`. `urls` are those
    /// of the sentinels, with their passwords; those of the server may be set by
    /// [`password`](RedisBusBuilder::password). After a failover, the bus connects to the new primary.
    pub fn sentinel<U: AsRef<str>>(
        urls: impl IntoIterator<Item = U>,
        service: impl AsRef<str>,
    ) -> RedisBusBuilder {
        let urls = urls.into_iter().map(|url| Endpoint::parse(url.as_ref())).collect();
        RedisBusBuilder::sentinel(urls, service.as_ref())
    }

    /// Begins the settings of a bus over a Redis Cluster. `urls` are those of some of its servers; the first one that
    /// answers names the others, which have the same password.
    ///
    /// A sharded channel and a stream belong to the server that has their slot. Other channels are forwarded by Redis to
    /// every server of the cluster; each of them uses one server, too, so that its messages keep their order.
    pub fn cluster<U: AsRef<str>>(urls: impl IntoIterator<Item = U>) -> RedisBusBuilder {
        RedisBusBuilder::cluster(urls.into_iter().map(|url| Endpoint::parse(url.as_ref())).collect())
    }

    pub(crate) fn start(servers: Servers, config: Config) -> RedisBus {
        RedisBus { shared: Arc::new(Shared::new(servers, config)) }
    }
}

impl Bus for RedisBus {
    fn attach(&self, node: Weak<dyn Node>) {
        let Some(runtime) = node.upgrade().map(|node| node.runtime()) else { return };
        let worker = Worker { shared: self.shared.clone(), node, id: FIRST, place: None };
        runtime.spawn(match self.shared.servers.are_cluster() {
            true => Box::pin(async move { worker.lead().await }),
            false => Box::pin(async move { worker.keep().await }),
        });
    }

    fn watch(&self, channel: &Channel, on: bool) {
        self.shared.watch(channel, on);
    }

    fn publish(&self, channel: &Channel, message: Bytes) {
        self.shared.publish(channel, message);
    }

    fn append(&self, stream: &Channel, fields: Vec<(&'static str, Bytes)>) {
        self.shared.append(stream, fields);
    }

    fn count(&self, channel: &Channel, request: RequestId) {
        self.shared.count(channel, request);
    }

    fn stores_sessions(&self) -> bool {
        true
    }

    fn save(&self, key: &str, value: Bytes, lifetime: Duration) {
        self.shared.save(key, value, lifetime);
    }

    fn load(&self, key: &str, remove: bool, request: RequestId) {
        self.shared.load(key, remove, request);
    }

    fn read(&self, stream: &Channel, from: &str, request: RequestId) {
        self.shared.read(stream, from, request);
    }

    fn flush(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(self.shared.flush())
    }
}

impl Drop for RedisBus {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl fmt::Debug for RedisBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBus").field("servers", &self.shared.servers).finish_non_exhaustive()
    }
}
