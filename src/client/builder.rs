//! The builder of a client.

use super::shared::Shared;
use super::url::{Url, UrlError, advice, host_of, parse_proxy, push_escaped, shown, without_own};
use super::{Client, ClientSocket, Offline};
use crate::engine::Transport;
use crate::failed_event::{FailedEvent, OnFailure};
use crate::guard::BoxFuture;
use crate::observe::ClientObserver;
use crate::pool;
use serde::Serialize;
use sockeye_core::engineio::client::Config as EngineConfig;
use sockeye_core::host::Proxy;
use sockeye_core::http::InvalidHeader;
use sockeye_core::socketio::client::Config;
use sockeye_core::socketio::{Limits, Parser};
#[cfg(feature = "tls")]
use sockeye_core::tls::ClientTls;
#[cfg(feature = "deflate")]
use sockeye_core::websocket::PerMessageDeflate;
use sockeye_core::{Random, http};
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// The settings of a client, fixed once it is built.
pub(super) struct Settings {
    pub(super) config: Arc<Config>,
    pub(super) port: u16,
    pub(super) authority: Box<str>,
    /// Application parameters that are added to the query of every request.
    pub(super) query: Box<str>,
    pub(super) headers: Vec<(String, String)>,
    /// The `Cookie` headers among them, joined: all cookies go in one header (RFC 6265, section 5.4).
    pub(super) cookies: Option<Box<str>>,
    pub(super) auth: Auth,
    pub(super) proxy: Option<Proxy>,
    watchers: Option<Box<Watchers>>,
    /// The trusted certificates, if the streams are encrypted.
    #[cfg(feature = "tls")]
    pub(super) tls: Option<ClientTls>,
}

/// The application's functions that watch a client. Boxed, because most clients have none.
#[derive(Default)]
struct Watchers {
    observer: Option<Arc<dyn ClientObserver>>,
    on_handler_error: Option<OnFailure<ClientSocket>>,
}

impl Settings {
    pub(super) fn observer(&self) -> Option<&dyn ClientObserver> {
        self.watchers.as_ref()?.observer.as_deref()
    }

    pub(super) fn on_handler_error(&self) -> Option<&OnFailure<ClientSocket>> {
        self.watchers.as_ref()?.on_handler_error.as_ref()
    }

    pub(super) fn host(&self) -> &str {
        host_of(&self.authority)
    }
}

/// The auth data as JSON, or the reason why there is none.
pub(super) type AuthData = Result<String, String>;

type AuthCallback = dyn Fn() -> BoxFuture<AuthData> + Send + Sync;

/// The auth data sent when a namespace is joined.
pub(super) enum Auth {
    None,
    Value(String),
    Callback(Box<AuthCallback>),
}

/// Builder of a [`Client`]. Names and defaults follow the reference where it has the setting.
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
    watchers: Option<Box<Watchers>>,
    #[cfg(feature = "tls")]
    tls: Option<ClientTls>,
    error: Option<BuildError>,
}

/// The reason why a client cannot be built.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The server's URL cannot be used.
    #[error("the url {url:?} cannot be used: {reason}{}", advice(url, *reason))]
    Url {
        /// The URL, without a user, a password and the query, which may be secret.
        url: String,
        /// The reason.
        reason: UrlError,
    },
    /// The [path](ClientBuilder::path) of the requests contains characters that are not valid there.
    #[error("the path of the requests, {0:?}, has characters that are not valid in a url")]
    Path(String),
    /// The proxy's URL cannot be used, for this reason.
    #[error("a proxy is given as http://user:password@host:port: {0}")]
    Proxy(&'static str),
    /// TLS is not available, for this reason.
    #[error("https and wss are not possible: {0}")]
    Tls(String),
    /// The list of transports is empty.
    #[error("there is no transport to use: the list given to `transports` is empty")]
    NoTransport,
    /// A header has a name or value that is not valid in a request.
    #[error("header {0:?} cannot be sent")]
    Header(String),
    /// The auth data is not a JSON object.
    #[error("auth is not a JSON object: {0}")]
    Auth(String),
    /// The system's random number generator failed.
    #[error("the system's random number generator failed")]
    Random,
}

sockeye_core::debug_as_text!(BuildError);

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
            watchers: None,
            #[cfg(feature = "tls")]
            tls: None,
            error: None,
        }
    }

    /// Sets the transports, in the order in which they are tried. Default: polling, then WebSocket.
    pub fn transports(mut self, transports: impl IntoIterator<Item = Transport>) -> Self {
        self.engine.transports = transports.into_iter().collect();
        self
    }

    /// Sets whether a connection moves from polling to WebSocket if both are possible. Default: on.
    pub fn upgrade(mut self, upgrade: bool) -> Self {
        self.engine.upgrade = upgrade;
        self
    }

    /// Sets whether the next transport is tried if one cannot be opened. Default: off.
    pub fn try_all_transports(mut self, all: bool) -> Self {
        self.engine.try_all_transports = all;
        self
    }

    /// Sets whether to begin with WebSocket if the last connection used it successfully. Default: off.
    pub fn remember_upgrade(mut self, remember: bool) -> Self {
        self.config.remember_upgrade = remember;
        self
    }

    /// Sets the path of the requests; a missing leading slash is added. Default: `/socket.io`.
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// Sets whether a slash is appended to the path. Default: on.
    pub fn add_trailing_slash(mut self, add: bool) -> Self {
        self.add_trailing_slash = add;
        self
    }

    /// Adds a parameter to the query of every request; the server finds it in its handshake. The protocol's
    /// own parameters, `EIO`, `transport`, `sid`, `t` and `b64`, are left out, both here and in the URL.
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

    /// Sets the auth data sent when a namespace is joined. It must serialize to an object.
    pub fn auth(mut self, auth: impl Serialize) -> Self {
        match auth_text(&auth) {
            Ok(auth) => self.auth = Auth::Value(auth),
            Err(error) => self.error = self.error.or(Some(BuildError::Auth(error))),
        }
        self
    }

    /// Sets a callback that returns the auth data for each attempt to join, for example a token that expires.
    /// An `Err`, or a callback that takes longer than [`timeout`](ClientBuilder::timeout), is the socket's
    /// `connect_error`; the callback is called again after a delay, as after a failed connection, until
    /// [`disconnect`](super::ClientSocket::disconnect) is called.
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

    /// Sets an HTTP proxy: `http://user:password@host:port`, where the user and the port (default: 80) are
    /// optional. User and password may be percent-encoded; they are sent as `Basic` credentials (RFC 7617).
    ///
    /// Every connection asks for a tunnel by `CONNECT` (RFC 9110, section 9.3.6), also for `http` and `ws`,
    /// although some proxies open tunnels to port 443 only. The proxy resolves the server's name; the
    /// connection to the proxy itself is not encrypted. The environment variables `HTTPS_PROXY` and
    /// `NO_PROXY` are not read: pass their values yourself.
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

    /// Sets which certificates to trust for `https` and `wss` URLs. Default: those that the system trusts.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: ClientTls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Sets whether to reconnect automatically after the connection is lost. Default: on.
    pub fn reconnection(mut self, reconnection: bool) -> Self {
        self.config.reconnection = reconnection;
        self
    }

    /// Sets the maximum number of consecutive attempts to connect and join a namespace. Default: unlimited.
    ///
    /// The count and the [delay](ClientBuilder::reconnection_delay) begin again once a namespace is joined.
    pub fn reconnection_attempts(mut self, attempts: u32) -> Self {
        self.config.reconnection_attempts = Some(attempts);
        self
    }

    /// Sets the delay before the first reconnection attempt; it doubles with each attempt. Default: 1 s.
    pub fn reconnection_delay(mut self, delay: Duration) -> Self {
        self.config.reconnection_delay = delay;
        self
    }

    /// Sets the maximum delay between attempts. Default: 5 s.
    pub fn reconnection_delay_max(mut self, delay: Duration) -> Self {
        self.config.reconnection_delay_max = delay;
        self
    }

    /// Sets how far each delay is randomized, as a fraction of it from 0 to 1, so that the clients of a
    /// server that was down do not all reconnect at the same time. Default: 0.5.
    pub fn randomization_factor(mut self, factor: f64) -> Self {
        self.config.randomization_factor = factor;
        self
    }

    /// Sets whether a session outlives its connections, if the server agrees. Default: off.
    ///
    /// When a connection is lost, the client opens another one, and the session goes on where it was: what was on its way in
    /// either direction is sent again, arrives once and in order, and the namespaces stay joined. Events that are emitted
    /// meanwhile wait as [`offline`](ClientBuilder::offline) says, and an event that the server has not yet confirmed takes
    /// memory: once that reaches the limit that the server names, 1 MiB by default, further events wait, too.
    /// [`ManagerEvent::Interrupted`](super::ManagerEvent::Interrupted) and
    /// [`Resumed`](super::ManagerEvent::Resumed) report it.
    ///
    /// The server keeps the session for a limited time, by default 30 s. If it does not have it any more, the namespaces are
    /// left and joined again as without this setting, and [`on_lost`](super::ClientSocket::on_lost) is called for each event
    /// that it has not confirmed.
    ///
    /// Only servers of this library have it, by their own setting of the same name; with others, this changes nothing. It
    /// needs [`reconnection`](ClientBuilder::reconnection).
    pub fn stateful_reconnect(mut self, on: bool) -> Self {
        self.engine.stateful_reconnect = on;
        self
    }

    /// Sets how long opening a connection, or joining a namespace, may take. Default: 20 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.config.timeout = timeout;
        self
    }

    /// Sets how long to wait for an acknowledgement, unless the message sets its own timeout. Default: 30 s.
    pub fn ack_timeout(mut self, timeout: Duration) -> Self {
        self.config.ack_timeout = timeout;
        self
    }

    /// Sets how often an event is sent again if it is not acknowledged in time. Events are sent one at a
    /// time: each arrives at least once, or its sender learns that it failed. Default: 0, which waits for no
    /// acknowledgement: an event that was handed to the connection can be lost with it. By polling it can also
    /// arrive twice, because a request is sent once more if a reused connection ends without any byte of an
    /// answer, which usually means that the server had already closed it.
    ///
    /// Losing the connection or leaving the namespace before the acknowledgement counts as a failed try, so
    /// that an event that makes the server close the connection does not block those behind it.
    pub fn retries(mut self, retries: u32) -> Self {
        self.config.retries = retries;
        self
    }

    /// Sets what happens to events that are emitted while there is no connection; see [`Offline`]. Default:
    /// they wait without a time limit, up to 4 MiB per namespace.
    pub fn offline(mut self, offline: Offline) -> Self {
        self.config.offline = offline;
        self
    }

    /// Sets whether binary messages are sent in base64 over WebSocket, too. Default: off.
    pub fn force_base64(mut self, force: bool) -> Self {
        self.engine.force_base64 = force;
        self
    }

    /// Sets whether each polling request has a different `t` in its query, so that no cache answers it.
    /// Default: on.
    pub fn timestamp_requests(mut self, timestamp: bool) -> Self {
        self.engine.timestamp_requests = timestamp;
        self
    }

    /// Sets how compression of WebSocket messages (permessage-deflate, RFC 7692) is offered; `None` offers
    /// nothing. Default: on, as in the reference, for messages of 1024 bytes or more; servers accept it only
    /// if they are configured to.
    ///
    /// No compression context is kept from one message to the next, so that an idle connection holds no
    /// window. [`max_message`](ClientBuilder::max_message) limits an incoming message both as received and
    /// after it is inflated.
    ///
    /// A server that insists on keeping its context between messages (`serverNoContextTakeover: false` in
    /// Node) refuses the connection with status 400. Pass `None` for such a server.
    #[cfg(feature = "deflate")]
    pub fn per_message_deflate(mut self, deflate: impl Into<Option<PerMessageDeflate>>) -> Self {
        self.engine.per_message_deflate = deflate.into();
        self
    }

    /// Sets how long the server may take to answer a request that sends messages. Default: 30 s.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.engine.request_timeout = timeout;
        self
    }

    /// Sets the maximum time by which arriving bytes extend the deadline of a ping. Default: 60 s.
    ///
    /// The server's ping may wait behind a long message. While bytes arrive, the client therefore waits for it up to this
    /// long after its deadline, and then disconnects with the reason `ping timeout`. Raise this if large messages come
    /// over slow links.
    pub fn message_timeout(mut self, timeout: Duration) -> Self {
        self.engine.message_timeout = timeout;
        self
    }

    /// Sets the maximum number of bytes that wait for a server that reads slowly, which is also the maximum size of one
    /// message with its attachments. Default: 4 MiB.
    ///
    /// A message that exceeds the capacity left is refused with
    /// [`SlowConsumer`](super::ClientEmitError::SlowConsumer), and one larger than the whole buffer with
    /// [`TooLarge`](super::ClientEmitError::TooLarge).
    pub fn send_buffer(mut self, bytes: usize) -> Self {
        self.engine.send_buffer = bytes;
        self
    }

    /// Sets the largest message that is accepted from the server, in bytes. Default: 16 MiB.
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.engine.max_message = bytes;
        self
    }

    /// Sets how many bytes of events may arrive in a namespace before the server's answer that joins it; a
    /// middleware may send such events. Default: 1 MiB.
    ///
    /// If more arrive, the connection is closed, and the next attempt asks for no recovery. Events that a
    /// server replays after a lost connection do not count: they are delivered as they arrive, before
    /// `on_connect`, while the socket has no [id](super::ClientSocket::id).
    pub fn receive_buffer(mut self, bytes: usize) -> Self {
        self.config.receive_buffer = bytes;
        self
    }

    /// Sets the form of the packets, which the server has to use as well. Default: [`Parser::Text`], as in the reference.
    pub fn parser(mut self, parser: Parser) -> Self {
        self.config.parser = parser;
        self
    }

    /// Sets the limits of one packet from the server; see [`Limits`] for the defaults. A packet beyond them
    /// ends the connection.
    pub fn packet_limits(mut self, limits: Limits) -> Self {
        self.config.limits = limits;
        self
    }

    /// Sets a function that is told of each event that the client's handlers fail to handle: see
    /// [`ServerBuilder::on_handler_error`](crate::ServerBuilder::on_handler_error). Default: none.
    ///
    /// ```
    /// # fn main() -> Result<(), sockeye::client::BuildError> {
    /// let client = sockeye::Client::builder("http://localhost:3000")
    ///     .on_handler_error(|failed| eprintln!("{}: {}", failed.event(), failed.failure()))
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_handler_error<F>(mut self, handler: F) -> Self
    where
        F: Fn(&FailedEvent<'_, ClientSocket>) + Send + Sync + 'static,
    {
        self.watchers.get_or_insert_default().on_handler_error = Some(Box::new(handler));
        self
    }

    /// Sets the observer of the client, which sees every packet: see [`ClientObserver`]. Default: none.
    ///
    /// It is shared with the clients that [`another`](Client::another) creates.
    pub fn observer(mut self, observer: impl ClientObserver) -> Self {
        self.watchers.get_or_insert_default().observer = Some(Arc::new(observer));
        self
    }

    /// Builds the client, which is not connected yet.
    ///
    /// # Errors
    /// Returns an error if the URL, the proxy, a header or the auth data cannot be used; if there is no
    /// transport; if the URL is `https` or `wss` and the feature `tls` is off or the system's certificates
    /// cannot be loaded; or if the system's random number generator fails.
    pub fn build(self) -> Result<Client, BuildError> {
        let mut seed = [0; 20];
        getrandom::fill(&mut seed).map_err(|_| BuildError::Random)?;
        self.build_from(Random::from_seed(seed))
    }

    /// Builds the client with the given randomness.
    pub(crate) fn build_from(self, random: Random) -> Result<Client, BuildError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        if self.engine.transports.is_empty() {
            return Err(BuildError::NoTransport);
        }
        let url =
            Url::parse(&self.url).map_err(|reason| BuildError::Url { url: shown(&self.url), reason })?;
        #[cfg(not(feature = "tls"))]
        if url.secure {
            return Err(BuildError::Tls("they need the feature `tls` of sockeye".into()));
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
        engine.deflate_pool = pool::DEFLATE;
        engine.stateful_reconnect &= self.config.reconnection;
        engine.path = self.path;
        if !engine.path.starts_with('/') {
            engine.path.insert(0, '/');
        }
        if self.add_trailing_slash && !engine.path.ends_with('/') {
            engine.path.push('/');
        }
        engine.path.shrink_to_fit();
        if !engine.path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(BuildError::Path(engine.path));
        }
        let query = match (url.query.is_empty(), self.query.is_empty()) {
            (false, false) => format!("{}&{}", url.query, self.query),
            (false, true) => url.query,
            (true, _) => self.query,
        };
        let query = without_own(&query, engine.stateful_reconnect);
        let mut config = self.config;
        config.engine = Arc::new(engine);
        let (cookies, headers): (Vec<_>, Vec<_>) =
            self.headers.into_iter().partition(|(name, _)| name.eq_ignore_ascii_case("Cookie"));
        let cookies: Vec<_> = cookies.into_iter().map(|(_, value)| value).collect();
        let settings = Settings {
            config: Arc::new(config),
            port: url.port,
            authority: url.authority.into(),
            query: query.into(),
            headers,
            cookies: (!cookies.is_empty()).then(|| cookies.join("; ").into()),
            auth: self.auth,
            proxy: self.proxy,
            watchers: self.watchers,
            #[cfg(feature = "tls")]
            tls,
        };
        let shared = Shared::new(Arc::new(settings), random);
        let socket = shared.socket(&url.namespace);
        Ok(Client { shared, socket })
    }
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
    /// Omits the secrets: the query, the headers, the auth data and the proxy's password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder").field("path", &self.path).finish_non_exhaustive()
    }
}
