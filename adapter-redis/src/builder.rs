//! The settings of a bus.

use crate::bus::RedisBus;
use crate::endpoint::Endpoint;
use crate::error::UrlError;
use redis::RedisConnectionInfo;
#[cfg(feature = "tls")]
use sockeye_core::tls::ClientTls;
use std::time::Duration;

/// The settings of a [`RedisBus`].
#[derive(Debug, Clone)]
#[must_use = "call `build`"]
pub struct RedisBusBuilder {
    servers: Result<Servers, UrlError>,
    config: Config,
    #[cfg(feature = "tls")]
    tls: Option<ClientTls>,
}

/// The settings that the tasks use.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) max_waiting: usize,
    pub(crate) max_message: usize,
    pub(crate) max_age: Duration,
    pub(crate) stream_max_len: usize,
    pub(crate) connection_timeout: Duration,
    pub(crate) response_timeout: Duration,
    pub(crate) reconnection_delay: Duration,
    pub(crate) reconnection_delay_max: Duration,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            max_waiting: 64 << 20,
            max_message: 64 << 20,
            max_age: Duration::from_secs(30),
            stream_max_len: 10_000,
            connection_timeout: Duration::from_secs(10),
            response_timeout: Duration::from_secs(10),
            reconnection_delay: Duration::from_millis(100),
            reconnection_delay_max: Duration::from_secs(5),
        }
    }
}

/// The servers.
#[derive(Debug, Clone)]
pub(crate) enum Servers {
    Single(Endpoint),
    /// The sentinels, the name of the service, and how to log in at its server.
    Sentinel {
        sentinels: Vec<Endpoint>,
        service: String,
        server: Endpoint,
    },
    /// Some servers of a Redis Cluster, which know the others.
    Cluster(Vec<Endpoint>),
}

impl Servers {
    fn each(&mut self, mut change: impl FnMut(&mut Endpoint)) {
        match self {
            Servers::Single(server) => change(server),
            Servers::Sentinel { sentinels, server, .. } => {
                sentinels.iter_mut().for_each(&mut change);
                change(server);
            }
            Servers::Cluster(servers) => servers.iter_mut().for_each(change),
        }
    }

    pub(crate) fn are_cluster(&self) -> bool {
        matches!(self, Servers::Cluster(_))
    }
}

impl RedisBusBuilder {
    pub(crate) fn single(url: &str) -> RedisBusBuilder {
        RedisBusBuilder::new(Endpoint::parse(url).map(Servers::Single))
    }

    pub(crate) fn sentinel(urls: Vec<Result<Endpoint, UrlError>>, service: &str) -> RedisBusBuilder {
        let servers = some(urls).map(|sentinels| Servers::Sentinel {
            // Its address is what the sentinels say.
            server: sentinels.0.clone(),
            sentinels: sentinels.1,
            service: service.to_owned(),
        });
        RedisBusBuilder::new(servers)
    }

    pub(crate) fn cluster(urls: Vec<Result<Endpoint, UrlError>>) -> RedisBusBuilder {
        RedisBusBuilder::new(some(urls).map(|(_, servers)| Servers::Cluster(servers)))
    }

    fn new(servers: Result<Servers, UrlError>) -> RedisBusBuilder {
        RedisBusBuilder {
            servers,
            config: Config::default(),
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Sets the certificates to trust for `rediss` URLs. Default: the root certificates of the system.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: ClientTls) -> RedisBusBuilder {
        self.tls = Some(tls);
        self
    }

    /// Sets the user's name at the server, also if sentinels name it. Default: as in the first URL.
    pub fn username(self, username: impl AsRef<str>) -> RedisBusBuilder {
        self.login(|login| login.set_username(username.as_ref()))
    }

    /// Sets the password at the server. Sentinels often have another one, which is in their URLs. Default: as in the first
    /// URL.
    pub fn password(self, password: impl AsRef<str>) -> RedisBusBuilder {
        self.login(|login| login.set_password(password.as_ref()))
    }

    fn login(mut self, set: impl Fn(RedisConnectionInfo) -> RedisConnectionInfo) -> RedisBusBuilder {
        match &mut self.servers {
            Ok(Servers::Sentinel { server, .. }) => server.login = set(server.login.clone()),
            Ok(servers) => servers.each(|server| server.login = set(server.login.clone())),
            Err(_) => {}
        }
        self
    }

    /// Sets how many bytes of messages and entries may wait for Redis, including those that it has not confirmed; each counts
    /// 128 bytes more. Beyond that, the newest are dropped, and
    /// [`BusStatus::Overflowed`](sockeye_core::cluster::BusStatus::Overflowed) is reported. Default: 64 MiB.
    pub fn max_waiting(mut self, bytes: usize) -> RedisBusBuilder {
        self.config.max_waiting = bytes;
        self
    }

    /// Sets the maximum length of a message or an entry that comes from Redis, in bytes. A longer one is never in memory as a
    /// whole: it is passed as it arrives, and [`BusStatus::MessageTooLong`] is reported. Default: 64 MiB, as that of
    /// [`ClusterLimits::max_message`].
    ///
    /// [`BusStatus::MessageTooLong`]: sockeye_core::cluster::BusStatus::MessageTooLong
    /// [`ClusterLimits::max_message`]: sockeye_core::cluster::ClusterLimits::max_message
    pub fn max_message(mut self, bytes: usize) -> RedisBusBuilder {
        self.config.max_message = bytes;
        self
    }

    /// Sets how long a message may wait for Redis. An older one is dropped instead of being sent, because after a long time
    /// without a connection it would only confuse. The same holds for sockets whose clients are away, which count as lost then.
    /// Entries of streams are always sent. Default: 30 s.
    pub fn max_age(mut self, age: Duration) -> RedisBusBuilder {
        self.config.max_age = age;
        self
    }

    /// Sets the number of entries that a stream keeps, about (`XADD … MAXLEN ~`), from which clients can recover what they
    /// missed. Node calls it `maxLen`. Default: 10,000.
    pub fn stream_max_len(mut self, entries: usize) -> RedisBusBuilder {
        self.config.stream_max_len = entries;
        self
    }

    /// Sets how long it may take to connect to a server, and then to log in. Default: 10 s.
    pub fn connection_timeout(mut self, timeout: Duration) -> RedisBusBuilder {
        self.config.connection_timeout = timeout;
        self
    }

    /// Sets how long Redis may take to answer, while nothing else comes from it. After that the connection is closed and opened
    /// again. A connection on which nothing happens is checked twice in that time. At least 2 ms. Default: 10 s.
    pub fn response_timeout(mut self, timeout: Duration) -> RedisBusBuilder {
        self.config.response_timeout = timeout.max(Duration::from_millis(2));
        self
    }

    /// Sets the delay before the first attempt to connect again. It doubles with each attempt, and up to half of it is
    /// taken off at random. At least 1 ms. Default: 100 ms.
    pub fn reconnection_delay(mut self, delay: Duration) -> RedisBusBuilder {
        self.config.reconnection_delay = delay.max(Duration::from_millis(1));
        self
    }

    /// Sets the longest delay between two attempts to connect. At least 1 ms. Default: 5 s.
    pub fn reconnection_delay_max(mut self, delay: Duration) -> RedisBusBuilder {
        self.config.reconnection_delay_max = delay.max(Duration::from_millis(1));
        self
    }

    /// Creates the bus. It connects once it is attached to a server, so that Redis need not be there yet.
    ///
    /// # Errors
    /// If a URL cannot be used, or there is none, or the root certificates of the system cannot be read.
    pub fn build(self) -> Result<RedisBus, UrlError> {
        let servers = self.servers?;
        #[cfg(feature = "tls")]
        let servers = encrypt(servers, self.tls)?;
        Ok(RedisBus::start(servers, self.config))
    }
}

/// Returns the servers of URLs, and the first of them.
fn some(urls: Vec<Result<Endpoint, UrlError>>) -> Result<(Endpoint, Vec<Endpoint>), UrlError> {
    let servers: Vec<_> = urls.into_iter().collect::<Result<_, _>>()?;
    match servers.first() {
        Some(first) => Ok((first.clone(), servers)),
        None => Err(UrlError { reason: "there is none".into() }),
    }
}

/// Adds the settings of the encryption to those servers that want it.
#[cfg(feature = "tls")]
fn encrypt(mut servers: Servers, tls: Option<ClientTls>) -> Result<Servers, UrlError> {
    let mut secure = false;
    servers.each(|server| secure |= server.secure);
    if !secure {
        return Ok(servers);
    }
    let tls = match tls {
        Some(tls) => tls,
        None => ClientTls::system().map_err(|error| UrlError { reason: error.to_string() })?,
    };
    let mut config = sockeye_core::tls::rustls::ClientConfig::clone(&tls.config());
    // Those of HTTP, which Redis does not speak.
    config.alpn_protocols.clear();
    let config = std::sync::Arc::new(config);
    servers.each(|server| {
        if server.secure {
            server.tls = Some(config.clone());
        }
    });
    Ok(servers)
}
