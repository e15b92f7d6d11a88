//! What can be set of a client.

use super::shared::Shared;
use super::url::{Url, UrlError, host_of, parse_proxy, push_escaped, without_own};
use super::{Client, Offline};
use crate::engine::Transport;
use crate::handler::BoxFuture;
use parking_lot::Mutex;
use serde::Serialize;
use sockeye_core::engineio::client::Config as EngineConfig;
use sockeye_core::host::Proxy;
use sockeye_core::http::InvalidHeader;
use sockeye_core::socketio::Limits;
use sockeye_core::socketio::client::Config;
#[cfg(feature = "tls")]
use sockeye_core::tls::ClientTls;
#[cfg(feature = "deflate")]
use sockeye_core::websocket::PerMessageDeflate;
use sockeye_core::{Random, http};
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// What is fixed once a client is built.
pub(super) struct Settings {
    pub(super) config: Arc<Config>,
    pub(super) port: u16,
    pub(super) authority: Box<str>,
    /// More of the query of all requests.
    pub(super) query: Box<str>,
    pub(super) headers: Vec<(String, String)>,
    /// Those of the headers that are cookies: there is one header for all (RFC 6265, section 5.4).
    pub(super) cookies: Option<Box<str>>,
    pub(super) auth: Auth,
    pub(super) proxy: Option<Proxy>,
    /// Whom to trust, if the streams are encrypted.
    #[cfg(feature = "tls")]
    pub(super) tls: Option<ClientTls>,
}

impl Settings {
    pub(super) fn host(&self) -> &str {
        host_of(&self.authority)
    }
}

type AuthCallback = dyn Fn() -> BoxFuture<Result<String, String>> + Send + Sync;

/// What is shown to the server when a namespace is joined.
pub(super) enum Auth {
    None,
    Value(String),
    Callback(Box<AuthCallback>),
}

/// What can be set of a [`Client`]; names and defaults are the reference's where it has them.
#[must_use = "nothing is connected until it is built and given to a runtime"]
pub struct ClientBuilder {
    url: String,
    engine: EngineConfig,
    config: Config,
    path: String,
    add_trailing_slash: bool,
    query: String,
    headers: Vec<(String, String)>,
    auth: Auth,
    proxy: Option<Proxy>,
    #[cfg(feature = "tls")]
    tls: Option<ClientTls>,
    error: Option<BuildError>,
}

/// A client cannot be built as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The server's URL, or what is put to its requests, cannot be used.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The proxy's URL cannot be used, for this reason.
    #[error("a proxy is given as http://user:password@host:port: {0}")]
    Proxy(&'static str),
    /// There is no encryption, for this reason.
    #[error("https and wss are not possible: {0}")]
    Tls(String),
    /// There is no transport to use.
    #[error("there is no transport to use")]
    NoTransport,
    /// A header cannot stand in a request.
    #[error("header {0:?} cannot be sent")]
    Header(String),
    /// What is shown to the server has to be an object.
    #[error("auth is not a JSON object: {0}")]
    Auth(String),
    /// The system has no randomness to give.
    #[error("the system has no randomness to give")]
    Random,
}

impl ClientBuilder {
    pub(super) fn new(url: String) -> ClientBuilder {
        ClientBuilder {
            url,
            engine: EngineConfig::default(),
            config: Config::default(),
            path: "/socket.io".into(),
            add_trailing_slash: true,
            query: String::new(),
            headers: Vec::new(),
            auth: Auth::None,
            proxy: None,
            #[cfg(feature = "tls")]
            tls: None,
            error: None,
        }
    }

    /// The transports to use, the first one first. Polling, then WebSocket.
    pub fn transports(mut self, transports: impl IntoIterator<Item = Transport>) -> Self {
        self.engine.transports = transports.into_iter().collect();
        self
    }

    /// Whether to move from polling to WebSocket where both are possible. On.
    pub fn upgrade(mut self, upgrade: bool) -> Self {
        self.engine.upgrade = upgrade;
        self
    }

    /// Whether to try the next of the transports where one cannot be opened. Off.
    pub fn try_all_transports(mut self, all: bool) -> Self {
        self.engine.try_all_transports = all;
        self
    }

    /// Whether to begin with WebSocket where that worked the last time. Off.
    pub fn remember_upgrade(mut self, remember: bool) -> Self {
        self.config.remember_upgrade = remember;
        self
    }

    /// The path of the requests. `/socket.io`.
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// Whether the path gets a slash at its end. On.
    pub fn add_trailing_slash(mut self, add: bool) -> Self {
        self.add_trailing_slash = add;
        self
    }

    /// Adds a parameter to the query of every request: what the server finds in its handshake. The protocol's own, `EIO`,
    /// `transport`, `sid`, `t` and `b64`, are left out, here and in the URL.
    pub fn query(mut self, key: &str, value: &str) -> Self {
        if !self.query.is_empty() {
            self.query.push('&');
        }
        push_escaped(&mut self.query, key);
        self.query.push('=');
        push_escaped(&mut self.query, value);
        self
    }

    /// Adds a header to every request.
    pub fn extra_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// What is shown to the server when a namespace is joined: an object.
    pub fn auth(mut self, auth: impl Serialize) -> Self {
        match auth_text(&auth) {
            Ok(auth) => self.auth = Auth::Value(auth),
            Err(error) => self.error = self.error.or(Some(BuildError::Auth(error))),
        }
        self
    }

    /// The same, asked for at each attempt: a token that expires. An `Err` is the socket's `connect_error`, as is what
    /// takes longer than [`timeout`](ClientBuilder::timeout); it is asked again after a wait, as where the connection
    /// fails. [`disconnect`](super::ClientSocket::disconnect) ends that.
    ///
    /// ```
    /// use sockeye::Client;
    /// use std::collections::HashMap;
    /// use std::io;
    ///
    /// async fn token() -> io::Result<String> {
    ///     Ok("secret".into())
    /// }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = Client::builder("http://localhost:3000")
    ///     .auth_with(async || token().await.map(|token| HashMap::from([("token", token)])))
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn auth_with<F, Fut, T, E>(mut self, callback: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        T: Serialize,
        E: fmt::Display,
    {
        self.auth = Auth::Callback(Box::new(move || {
            let future = callback();
            Box::pin(async move {
                match future.await {
                    Ok(auth) => auth_text(&auth),
                    Err(error) => Err(error.to_string()),
                }
            })
        }));
        self
    }

    /// Goes through an HTTP proxy: `http://user:password@host:port`, with or without user and port (80). Escapes in the
    /// user and the password are those of URLs; they are sent as `Basic` (RFC 7617).
    ///
    /// Every connection asks for a tunnel by `CONNECT` (RFC 9110, section 9.3.6), those of `http` and `ws` too, where
    /// some proxies open none but to port 443. The proxy looks up the server's name; the way to the proxy itself is not
    /// encrypted. The environment (`HTTPS_PROXY`, `NO_PROXY`) is not read: give what you find there.
    ///
    /// ```
    /// # fn main() -> Result<(), sockeye::client::BuildError> {
    /// let client = sockeye::Client::builder("http://chat.example").proxy("http://me:secret@10.0.0.1:3128").build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn proxy(mut self, url: &str) -> Self {
        match parse_proxy(url) {
            Ok(proxy) => self.proxy = Some(proxy),
            Err(why) => self.error = self.error.or(Some(BuildError::Proxy(why))),
        }
        self
    }

    /// Whom to trust where the URL is one of `https` or `wss`. Those whom the system trusts.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: ClientTls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Whether to connect again by itself when the connection is lost. On.
    pub fn reconnection(mut self, reconnection: bool) -> Self {
        self.config.reconnection = reconnection;
        self
    }

    /// Maximum number of consecutive attempts to connect and join a namespace. Default: unlimited.
    ///
    /// The count and the [delay](ClientBuilder::reconnection_delay) begin again once a namespace is joined.
    pub fn reconnection_attempts(mut self, attempts: u32) -> Self {
        self.config.reconnection_attempts = Some(attempts);
        self
    }

    /// How long to wait before the first attempt; each time it is twice as long. 1 s.
    pub fn reconnection_delay(mut self, delay: Duration) -> Self {
        self.config.reconnection_delay = delay;
        self
    }

    /// How long to wait at most. 5 s.
    pub fn reconnection_delay_max(mut self, delay: Duration) -> Self {
        self.config.reconnection_delay_max = delay;
        self
    }

    /// How far each wait is changed at random, as a share of it, so that not all clients of a server that was down come
    /// at a time: 0 to 1. 0.5.
    pub fn randomization_factor(mut self, factor: f64) -> Self {
        self.config.randomization_factor = factor;
        self
    }

    /// How long a connection may take to open, and a namespace to be joined. 20 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.config.timeout = timeout;
        self
    }

    /// How long an acknowledgement is waited for, unless the message says otherwise. 30 s.
    pub fn ack_timeout(mut self, timeout: Duration) -> Self {
        self.config.ack_timeout = timeout;
        self
    }

    /// How often an event is sent again that was not acknowledged in time, one event at a time: each arrives at least
    /// once, or its fate is told. 0, which waits for none.
    ///
    /// A connection that is lost, or a namespace that is left, before the acknowledgement counts as a failed try: an
    /// event that makes the server close the connection does not block those behind it.
    pub fn retries(mut self, retries: u32) -> Self {
        self.config.retries = retries;
        self
    }

    /// What becomes of events that are sent while there is no connection. They wait, up to 4 MiB of each namespace, as
    /// long as it takes: see [`Offline`].
    pub fn offline(mut self, offline: Offline) -> Self {
        self.config.offline = offline;
        self
    }

    /// Whether binary messages are sent in base64 over WebSocket, too. Off.
    pub fn force_base64(mut self, force: bool) -> Self {
        self.engine.force_base64 = force;
        self
    }

    /// Whether each request of polling has another `t` in its query, so that nobody answers it from a cache. On.
    pub fn timestamp_requests(mut self, timestamp: bool) -> Self {
        self.engine.timestamp_requests = timestamp;
        self
    }

    /// Whether to offer that WebSocket messages are compressed (permessage-deflate, RFC 7692), and how: `None` offers
    /// nothing. On, as in the reference, from 1024 bytes on; servers agree to it where they are told to.
    ///
    /// Neither side uses a message for the next one, so that an idle connection holds no window. A message that comes
    /// is bound by [`max_message`](ClientBuilder::max_message) both as it comes and as what it is inflated to.
    ///
    /// A server that insists on using its messages for the next ones (`serverNoContextTakeover: false` in Node) refuses
    /// the connection with status 400: offer it nothing.
    #[cfg(feature = "deflate")]
    pub fn per_message_deflate(mut self, deflate: impl Into<Option<PerMessageDeflate>>) -> Self {
        self.engine.per_message_deflate = deflate.into();
        self
    }

    /// How long a request that sends may take to be answered. 30 s.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.engine.request_timeout = timeout;
        self
    }

    /// How many bytes may wait for a server that does not read. 4 MiB.
    pub fn send_buffer(mut self, bytes: usize) -> Self {
        self.engine.send_buffer = bytes;
        self
    }

    /// The largest message that is taken from the server, in bytes. 16 MiB.
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.engine.max_message = bytes;
        self
    }

    /// Sets how many bytes of events may wait for the server's answer that joins their namespace: those that a middleware
    /// sends. Default: 1 MiB.
    ///
    /// More of them end the connection, and the next attempt asks for no recovery. What a server replays after a
    /// connection was lost does not count: it is delivered as it comes, before `on_connect`, while the socket has no
    /// [id](super::ClientSocket::id).
    pub fn receive_buffer(mut self, bytes: usize) -> Self {
        self.config.receive_buffer = bytes;
        self
    }

    /// What one packet of the server may have: see [`Limits`] for the defaults. More than that ends the connection.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.config.limits = limits;
        self
    }

    /// Makes the client, which is not connected yet.
    ///
    /// # Errors
    /// When the URL, the proxy, a header or the auth cannot be used; when there is no transport; when it is for `https`
    /// or `wss` without the feature `tls`, or without the certificates that the system trusts; when the system has no
    /// randomness to give.
    pub fn build(self) -> Result<Client, BuildError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        if self.engine.transports.is_empty() {
            return Err(BuildError::NoTransport);
        }
        let url = Url::parse(&self.url)?;
        #[cfg(not(feature = "tls"))]
        if url.secure {
            return Err(BuildError::Tls("it needs the feature `tls`".into()));
        }
        #[cfg(feature = "tls")]
        let tls = match (url.secure, self.tls) {
            (false, _) => None,
            (true, Some(tls)) => Some(tls),
            (true, None) => Some(ClientTls::system().map_err(|error| BuildError::Tls(error.to_string()))?),
        };
        for (name, value) in &self.headers {
            check_header(&url, name, value).map_err(|_| BuildError::Header(name.clone()))?;
        }
        let mut engine = self.engine;
        engine.path = self.path;
        if self.add_trailing_slash && !engine.path.ends_with('/') {
            engine.path.push('/');
        }
        if !engine.path.starts_with('/') || !engine.path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(UrlError::Characters.into());
        }
        let query = match (url.query.is_empty(), self.query.is_empty()) {
            (false, false) => format!("{}&{}", url.query, self.query),
            (false, true) => url.query,
            (true, _) => self.query,
        };
        let query = without_own(&query);
        let mut config = self.config;
        config.engine = Arc::new(engine);
        let (cookies, headers): (Vec<_>, Vec<_>) =
            self.headers.into_iter().partition(|(name, _)| name.eq_ignore_ascii_case("Cookie"));
        let cookies: Vec<_> = cookies.into_iter().map(|(_, value)| value).collect();
        let settings = Settings {
            config: share(config),
            port: url.port,
            authority: url.authority.into(),
            query: query.into(),
            headers,
            cookies: (!cookies.is_empty()).then(|| cookies.join("; ").into()),
            auth: self.auth,
            proxy: self.proxy,
            #[cfg(feature = "tls")]
            tls,
        };
        let mut seed = [0; 20];
        getrandom::fill(&mut seed).map_err(|_| BuildError::Random)?;
        let shared = Shared::new(Arc::new(settings), Random::from_seed(seed));
        let socket = shared.socket(&url.namespace);
        Ok(Client { shared, socket })
    }
}

/// The settings of the client before, if they are the same: a program with many clients has many of one kind.
fn share(config: Config) -> Arc<Config> {
    static LAST: Mutex<Weak<Config>> = Mutex::new(Weak::new());
    let mut last = LAST.lock();
    if let Some(known) = last.upgrade().filter(|known| **known == config) {
        return known;
    }
    let config = Arc::new(config);
    *last = Arc::downgrade(&config);
    config
}

fn check_header(url: &Url, name: &str, value: &str) -> Result<(), InvalidHeader> {
    http::write_request(&mut Vec::new(), "GET", "/", &url.authority, [(name, value)], None)
}

fn auth_text(auth: &impl Serialize) -> Result<String, String> {
    let text = serde_json::to_string(auth).map_err(|error| error.to_string())?;
    match text.starts_with('{') {
        true => Ok(text),
        false => Err("it is not an object".into()),
    }
}

impl fmt::Debug for ClientBuilder {
    /// Without what is secret: the query, the headers, the auth and the proxy's password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder").field("path", &self.path).finish_non_exhaustive()
    }
}
