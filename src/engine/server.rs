//! An Engine.IO server: its settings and its sessions.

mod claim;
mod packets;
mod resuming;
mod telling;

use super::assets::Assets;
use super::connection::Connection;
use super::hooks::Hooks;
use super::quota::Quota;
use super::session::{Session, Shared};
use super::timers::Timers;
use super::{Application, CloseReason, Handshake, Id, Message, Transport, WhenFull};
use crate::by_id::{ById, IdHash};
use crate::connection_error::ConnectionError;
use crate::guard::guard;
use crate::handshake::Common;
use crate::log::{self, debug};
use crate::observe::{self, Direction, Observer, ServerEvent};
use crate::pool;
use claim::Claim;
use parking_lot::{Mutex, RwLock};
use sockeye_core::connection;
use sockeye_core::engineio::server::exchange::Refusal;
use sockeye_core::engineio::server::{RateLimit, Rejection, RequestError, ResponseHeaders, Site};
use sockeye_core::engineio::{self, Opening, Packet};
use sockeye_core::host::{Host, Peer, Runtime, WeakHost};
#[cfg(feature = "deflate")]
use sockeye_core::http::HttpCompression;
use sockeye_core::http::{Cookie, Cors, Request, TrustProxy};
#[cfg(feature = "deflate")]
use sockeye_core::websocket::PerMessageDeflate;
use sockeye_core::{Outbound, Time};
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::time::Duration;

/// An Engine.IO server: a handle that is cheap to clone.
///
/// It does nothing by itself: a runtime crate or your own event loop drives it, through [`Host`].
pub struct Server<A: Application>(pub(crate) Arc<ServerInner<A>>);

/// The settings of a [`Server`]. Names and defaults are those of the reference.
pub struct Builder<A: Application> {
    pub(crate) application: A,
    config: engineio::server::Config,
    limits: connection::Config,
    path: String,
    cors: Cors,
    cookie: Option<Cookie>,
    hooks: Hooks,
    quota: Quota,
    trust_proxy: Option<TrustProxy>,
    initial_packet: Option<InitialPacket>,
    observer: Option<Arc<dyn Observer>>,
    assets: Assets,
    /// The files below the path, by their names.
    files: Assets,
    keep_headers: Option<Vec<Box<str>>>,
}

/// A message that each session begins with.
enum InitialPacket {
    Text(String),
    Binary(Vec<u8>),
}

pub(crate) struct ServerInner<A: Application> {
    pub(crate) application: A,
    pub(crate) site: Site,
    pub(crate) limits: connection::Config,
    pub(super) hooks: Arc<Hooks>,
    quota: Quota,
    trust_proxy: Option<TrustProxy>,
    /// Messages are counted, by a limit of rates or because sessions can be resumed.
    counts_messages: bool,
    initial_packet: Option<InitialPacket>,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(super) assets: Assets,
    pub(crate) timers: Timers<Shared<A>>,
    /// The parts of requests that sessions share.
    pub(super) common: Arc<Common>,
    pub(super) sessions: RwLock<HashSet<ById<Session<A>>, IdHash>>,
    /// The ids from the application whose sessions are about to be opened.
    reserved: Mutex<HashSet<Id>>,
    /// The number of connections that still have to write something: a response, or the last packets of a
    /// session.
    pub(super) busy: AtomicUsize,
    runtime: OnceLock<Arc<dyn Runtime>>,
    pub(super) closing: AtomicBool,
    /// The deadline for closing has passed, so that nothing is waited for any more.
    pub(super) gave_up: AtomicBool,
    /// A task keeps the server's time, so that no listener has to.
    is_kept: AtomicBool,
    /// The tasks that wait for the last session to end, each with the number of those that may still be busy then.
    pub(super) closed: Mutex<Vec<(usize, Waker)>>,
}

impl<A: Application> Server<A> {
    /// Returns a server with the default settings, at `/engine.io/`.
    pub fn new(application: A) -> Self {
        Self::builder(application).build()
    }

    /// Returns a builder with the default settings.
    pub fn builder(application: A) -> Builder<A> {
        Builder {
            application,
            config: engineio::server::Config::default(),
            limits: connection::Config::default(),
            path: "/engine.io".into(),
            cors: Cors::off(),
            cookie: None,
            hooks: Hooks::default(),
            quota: Quota::default(),
            trust_proxy: None,
            initial_packet: None,
            observer: None,
            assets: Assets::default(),
            files: Assets::default(),
            keep_headers: None,
        }
    }

    /// Returns the application.
    pub fn application(&self) -> &A {
        &self.0.application
    }

    /// Returns the number of sessions.
    pub fn sessions_count(&self) -> usize {
        self.0.sessions.read().len()
    }
}

impl<A: Application> Clone for Server<A> {
    fn clone(&self) -> Self {
        Server(self.0.clone())
    }
}

impl<A: Application> fmt::Debug for Server<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("sessions", &self.sessions_count()).finish_non_exhaustive()
    }
}

impl<A: Application> Host for Server<A> {
    type Connection = Connection<A>;

    fn attach(&self, runtime: Arc<dyn Runtime>) -> Arc<dyn Runtime> {
        self.0.runtime.get_or_init(|| runtime).clone()
    }

    fn accept(&self, now: Time, peer: Peer) -> Connection<A> {
        Connection::new(now, self.0.clone(), peer)
    }

    fn handle_refused(&self, peer: Peer, error: &io::Error) {
        let what = if peer.secure { "a tls handshake failed" } else { "a connection of a proxy is refused" };
        let peer = log::peer(peer.address);
        debug!(peer = %peer, cause = %error, "{what}");
    }

    fn next_deadline(&self) -> Option<Time> {
        self.0.timers.next_deadline()
    }

    fn handle_timeout(&self, now: Time) {
        self.0.timers.handle_timeout(now);
    }

    fn set_timer_waker(&self, waker: &Waker) {
        self.0.timers.set_waker(waker);
    }

    fn remove_timer_waker(&self, waker: &Waker) {
        self.0.timers.remove_waker(waker);
    }

    fn claim_time(&self) -> Option<WeakHost<Self>> {
        let claim = Claim::new(&self.0)?;
        Some(Box::new(move || claim.0.upgrade().map(Server)))
    }

    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

impl<A: Application> ServerInner<A> {
    /// Returns whether this server answers requests to this path, instead of the server that it is mounted
    /// in.
    #[cfg(feature = "http")]
    pub(crate) fn takes(&self, path: &str) -> bool {
        self.site.is_path(path) || self.assets.contains(path)
    }

    /// Logs an event, and passes it to the observer. The caller must hold no lock.
    pub(crate) fn tell(&self, event: &ServerEvent<'_>) {
        observe::tell(self.observer.as_deref(), event);
    }

    /// Passes a packet to the observer, if there is one. The caller must hold no lock.
    #[cold]
    pub(super) fn show(
        &self,
        direction: Direction,
        session: &Session<A>,
        transport: Transport,
        packet: &Packet<'_>,
    ) {
        if let Some(observer) = &self.observer {
            observe::show(&**observer, direction, session.id(), transport, packet);
        }
    }

    /// Returns the client of a request that arrived from `peer`, which may be a trusted proxy.
    #[inline]
    pub(crate) fn client(&self, peer: Peer, request: &Request<'_>) -> Peer {
        let Some(trust) = &self.trust_proxy else { return peer };
        let (address, secure) = trust.client(peer.address, peer.secure, request);
        Peer { address, secure }
    }

    /// Returns the address to name for something that happened to a session on a connection from `peer`: if proxies are
    /// trusted, that of the session's client.
    pub(super) fn address_of(&self, session: &Session<A>, peer: Option<SocketAddr>) -> Option<SocketAddr> {
        match self.trust_proxy {
            Some(_) => session.handshake().address(),
            None => peer,
        }
    }

    /// Returns the time by the driver's clock, or `Time::ZERO` if there is no driver yet.
    pub(crate) fn now(&self) -> Time {
        self.runtime.get().map_or(Time::ZERO, |runtime| runtime.now())
    }

    pub(crate) fn runtime(&self) -> Option<&Arc<dyn Runtime>> {
        self.runtime.get()
    }

    /// Returns the sessions at this moment.
    pub(super) fn sessions(&self) -> Vec<Session<A>> {
        self.sessions.read().iter().map(|entry| entry.0.clone()).collect()
    }

    pub(super) fn session(&self, id: &Id) -> Option<Session<A>> {
        self.sessions.read().get(id).map(|entry| entry.0.clone())
    }

    /// Decides on the id of a new session, and counts the session: [open](ServerInner::open) it.
    ///
    /// # Errors
    /// If a limit would be exceeded, the application's id is in use, or the system provides no randomness for one.
    pub(super) fn admit(&self, peer: Option<SocketAddr>, own: Option<Id>) -> Result<Id, RequestError> {
        let id = own.or_else(random_id).ok_or(RequestError::Unavailable)?;
        self.quota.take(peer)?;
        if own.is_some() {
            let mut reserved = self.reserved.lock();
            if self.sessions.read().contains(&id) || !reserved.insert(id) {
                drop(reserved);
                self.quota.settle();
                self.quota.release(peer);
                return Err(RequestError::IdGeneration("the id is in use".into()));
            }
        }
        Ok(id)
    }

    /// Opens a session that was [admitted](ServerInner::admit).
    pub(super) fn open(
        self: &Arc<Self>,
        now: Time,
        opening: Opening,
        handshake: Handshake,
        id: Id,
    ) -> Session<A> {
        let transport = opening.transport;
        let mut queue = Outbound::new();
        if transport == Transport::WebSocket {
            pool::lend(&mut queue);
        }
        let config = self.site.config.clone();
        let engine = engineio::server::Session::open_with_queue(now, config, &id, opening, queue);
        let session = Session::new(self, id, handshake.kept(&self.common), engine);
        let _inside = session.span().enter();
        // Before another thread can find it, and end it.
        self.tell_opened(&session, transport);
        if let Some(packet) = &self.initial_packet {
            // It fits, because the queue is empty. A server that sends more than that by its own setting sends nothing.
            let _ = session.send(match packet {
                InitialPacket::Text(text) => Message::Text(text),
                InitialPacket::Binary(data) => Message::Binary(Cow::Borrowed(data)),
            });
        }
        self.sessions.write().insert(ById(session.clone()));
        if self.hooks.generate_id.is_some() {
            self.reserved.lock().remove(&id);
        }
        guard("on_open", || self.application.on_open(&session));
        // Sets the first deadlines, including the application's.
        session.update_deadline();
        if self.is_closing() {
            session.close_with(CloseReason::ServerShutdown);
        }
        session
    }

    /// Notes that a session is in use, or has ended before it was.
    pub(super) fn settle(&self) {
        self.quota.settle();
    }

    pub(super) fn forget(&self, id: &Id) {
        let forgotten = self.sessions.write().take(id);
        if let Some(ById(session)) = forgotten {
            session.set_waker(None);
            session.settle();
            self.quota.release(session.handshake().address());
            self.tell_if_closed();
        }
    }

    /// Tells of a refused request: the observer, and the application if the error has a code. The caller must hold no
    /// lock. `request` is called if somebody wants to know the request.
    pub(super) fn tell_refused(
        &self,
        session: Option<Id>,
        peer: Option<SocketAddr>,
        status: u16,
        refusal: &Refusal,
        request: impl FnOnce() -> Option<Handshake>,
    ) {
        let is_of_interest = self.observer.is_some() || !self.hooks.connection_error.is_empty();
        let request = if is_of_interest { request() } else { None };
        let peer = request.as_ref().map_or(peer, Handshake::address);
        let error = match (&request, refusal) {
            (Some(request), Refusal::Request(error)) => ConnectionError::new(request, error),
            _ => None,
        };
        let cause = format_args!("{refusal}");
        self.tell(&ServerEvent::RequestRefused { session, peer, status, cause, error: error.as_ref() });
        if let Some(error) = &error {
            self.hooks.tell(error);
        }
    }

    /// Counts a connection that begins or ends having something to write.
    pub(crate) fn count_busy(&self, busy: bool) {
        if busy {
            self.busy.fetch_add(1, Ordering::AcqRel);
        } else if self.busy.fetch_sub(1, Ordering::AcqRel) <= 2 {
            // The last one may wait for the others.
            self.tell_if_closed();
        }
    }
}

impl<A: Application> Drop for ServerInner<A> {
    /// Closes the sessions that no connection owns any more, because their state may refer to them.
    fn drop(&mut self) {
        let now = self.now();
        for ById(session) in std::mem::take(self.sessions.get_mut()) {
            session.abandon(now, self);
        }
    }
}

/// Returns an id from the system's source of randomness.
pub(crate) fn random_id() -> Option<Id> {
    #[cfg(feature = "testing")]
    if let Some(random) = crate::staged::random() {
        return Some(Id::from_random(random));
    }
    pool::take_random().map(Id::from_random)
}

impl<A: Application> Builder<A> {
    /// Sets the path of the requests. Default: `/engine.io`; Socket.IO uses `/socket.io`.
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// Sets the time from the handshake or a pong to the next ping. Pings are sent up to 31.25 ms earlier, so that those of
    /// many clients are sent together. Default: 25 s.
    pub fn ping_interval(mut self, interval: Duration) -> Self {
        self.config.ping_interval = interval;
        self
    }

    /// Sets the time for a pong, after which the session is closed. Default: 20 s.
    pub fn ping_timeout(mut self, timeout: Duration) -> Self {
        self.config.ping_timeout = timeout;
        self
    }

    /// Sets the time for an upgrade, after which it is abandoned and polling continues. Default: 10 s.
    pub fn upgrade_timeout(mut self, timeout: Duration) -> Self {
        self.config.upgrade_timeout = timeout;
        self
    }

    /// Sets the maximum size of a message or a request body, in bytes. Default: 1,000,000; the reference's
    /// `maxHttpBufferSize`. A WebSocket message has at most 4 GiB, whatever this says.
    pub fn max_payload(mut self, bytes: usize) -> Self {
        self.config.max_payload = bytes;
        self.limits.max_payload = bytes;
        self
    }

    /// Sets the time for the body of a request to arrive, counted from its head, after which the request is
    /// refused with status 408 and the session is closed. Default: 30 s; the reference's
    /// `httpRequestBodyTimeout`.
    pub fn request_body_timeout(mut self, timeout: Duration) -> Self {
        self.limits.request_body_timeout = timeout;
        self
    }

    /// Sets how many bytes may be queued for a client that does not read, before it is closed. Default: 4
    /// MiB.
    pub fn send_buffer(mut self, bytes: usize) -> Self {
        self.config.send_buffer = bytes;
        self
    }

    /// Sets the policy for messages to a peer whose send buffer is full. Default: [`WhenFull::Close`], with which
    /// [`Session::send`](super::Session::send) returns an error, and the application decides whether to close the session.
    pub fn when_full(mut self, policy: WhenFull) -> Self {
        self.config.when_full = policy;
        self
    }

    /// Sets which transports may be used. Default: both.
    pub fn transports(mut self, transports: impl IntoIterator<Item = Transport>) -> Self {
        (self.config.polling, self.config.websocket) = (false, false);
        for transport in transports {
            match transport {
                Transport::Polling => self.config.polling = true,
                Transport::WebSocket => self.config.websocket = true,
            }
        }
        self
    }

    /// Sets whether a polling session may upgrade to WebSocket. Default: `true`.
    pub fn allow_upgrades(mut self, allow: bool) -> Self {
        self.config.allow_upgrades = allow;
        self
    }

    /// Sets whether clients of Engine.IO 3 are served, too. Default: `false`. See
    /// [`sockeye::Builder`](crate::ServerBuilder::allow_eio3).
    pub fn allow_eio3(mut self, allow: bool) -> Self {
        self.config.allow_eio3 = allow;
        self
    }

    /// Sets whether a poll takes the place of one that waits. Default: `false`. See
    /// [`sockeye::Builder`](crate::ServerBuilder::allow_overlapping_polls).
    pub fn allow_overlapping_polls(mut self, allow: bool) -> Self {
        self.config.allow_overlapping_polls = allow;
        self
    }

    /// Compresses WebSocket messages for clients that ask for it (RFC 7692). Default: off. See
    /// [`sockeye::Builder`](crate::ServerBuilder::per_message_deflate).
    #[cfg(feature = "deflate")]
    pub fn per_message_deflate(mut self, deflate: PerMessageDeflate) -> Self {
        self.config.per_message_deflate = Some(deflate);
        self.config.deflate_pool = pool::DEFLATE;
        self
    }

    /// Compresses the responses that carry messages, and the [files](Builder::file), for clients that accept it. Default:
    /// off. See [`ServerBuilder::http_compression`](crate::ServerBuilder::http_compression).
    #[cfg(feature = "deflate")]
    pub fn http_compression(mut self, compression: HttpCompression) -> Self {
        self.config.http_compression = Some(compression);
        self.config.deflate_pool = pool::DEFLATE;
        self
    }

    /// Sets which WebSocket subprotocols (`Sec-WebSocket-Protocol`) are accepted: the server selects the
    /// first one named here that the client offers. If there is none, the response names none, and browsers
    /// close the connection. Default: any, so the first one that the client offers is selected.
    pub fn subprotocols(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.config.subprotocols = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Sets which pages of other origins may use the server over polling. Default: none.
    ///
    /// Browsers do not apply this to WebSocket; to restrict that, turn on [`check_origin`](Builder::check_origin).
    pub fn cors(mut self, cors: Cors) -> Self {
        self.cors = cors;
        self
    }

    /// Sets a cookie with the session's id, for load balancers with sticky sessions. Default: none.
    pub fn cookie(mut self, cookie: Cookie) -> Self {
        self.cookie = Some(cookie);
        self
    }

    /// Sets whether pages may poll by scripts and forms (JSONP), which the same-origin policy of browsers does not restrict.
    /// Default: `false`. See [`ServerBuilder::jsonp`](crate::ServerBuilder::jsonp).
    pub fn jsonp(mut self, allow: bool) -> Self {
        self.config.jsonp = allow;
        self
    }

    /// Sets whether requests for WebSocket are refused if their `Origin` is neither that of the server, which is the
    /// `Host` of the request, nor allowed by [`cors`](Builder::cors). Default: `false`. See
    /// [`ServerBuilder::check_origin`](crate::ServerBuilder::check_origin).
    pub fn check_origin(mut self, check: bool) -> Self {
        self.config.check_origin = check;
        self
    }

    /// Sets the time for the application to decide about a request, in [`use_request`](Builder::use_request),
    /// [`allow_request`](Builder::allow_request) and [`generate_id`](Builder::generate_id) together, after which the
    /// request is refused with status 503. Default: 30 s.
    pub fn allow_timeout(mut self, timeout: Duration) -> Self {
        self.config.allow_timeout = timeout;
        self
    }

    /// Decides whether a session may be opened. A refusal is sent to the client with status 403 and the
    /// returned message. Default: every session is allowed.
    ///
    /// ```
    /// # use sockeye::engine::{Server, Application, Session, Message};
    /// # struct Echo;
    /// # impl Application for Echo { type State = (); fn on_message(&self, _: &Session<Self>, _: Message<'_>) {} }
    /// Server::builder(Echo).allow_request(async |handshake| match handshake.header("origin") {
    ///     Some("https://example.com") => Ok(()),
    ///     _ => Err("not from here".to_owned()),
    /// });
    /// ```
    pub fn allow_request<F, Fut>(mut self, allow: F) -> Self
    where
        F: Fn(Handshake) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.hooks.allow_request = Some(Box::new(move |handshake| Box::pin(allow(handshake))));
        self
    }

    /// Adds a middleware, which is asked about every request to the server's path before anything else happens: it lets
    /// the request pass, with headers for the response, or answers it instead. Default: none. See
    /// [`ServerBuilder::use_request`](crate::ServerBuilder::use_request).
    pub fn use_request<F, Fut, H>(mut self, middleware: F) -> Self
    where
        F: Fn(Handshake) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<H, Rejection>> + Send + 'static,
        H: Into<ResponseHeaders> + 'static,
    {
        self.hooks.middleware.push(Box::new(move |request| {
            let answer = middleware(request);
            Box::pin(async move { answer.await.map(Into::into) })
        }));
        self
    }

    /// Adds a function that adds headers to the first response of each session, before those of
    /// [`headers`](Builder::headers). Default: none. See
    /// [`ServerBuilder::initial_headers`](crate::ServerBuilder::initial_headers).
    pub fn initial_headers<F>(mut self, add: F) -> Self
    where
        F: Fn(&Handshake, &mut ResponseHeaders) + Send + Sync + 'static,
    {
        self.hooks.initial_headers.push(Box::new(add));
        self
    }

    /// Adds a function that adds headers to every response at the server's path. Default: none. See
    /// [`ServerBuilder::headers`](crate::ServerBuilder::headers).
    pub fn headers<F>(mut self, add: F) -> Self
    where
        F: Fn(&Handshake, &mut ResponseHeaders) + Send + Sync + 'static,
    {
        self.hooks.headers.push(Box::new(add));
        self
    }

    /// Draws the ids of sessions by a function of the application. Default: random ids. See
    /// [`ServerBuilder::generate_id`](crate::ServerBuilder::generate_id).
    pub fn generate_id<F, Fut>(mut self, generate: F) -> Self
    where
        F: Fn(Handshake) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Id, String>> + Send + 'static,
    {
        self.hooks.generate_id = Some(Box::new(move |handshake| Box::pin(generate(handshake))));
        self
    }

    /// Sets the headers that a session keeps of the request that opened it. Default: all except `Sec-WebSocket-Key`. See
    /// [`ServerBuilder::keep_headers`](crate::ServerBuilder::keep_headers).
    pub fn keep_headers<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.keep_headers = Some(names.into_iter().map(|name| name.into().into_boxed_str()).collect());
        self
    }

    /// Adds a function that is told of each request that was refused with a code of the protocol. Default: none. See
    /// [`ServerBuilder::on_connection_error`](crate::ServerBuilder::on_connection_error).
    pub fn on_connection_error<F>(mut self, handler: F) -> Self
    where
        F: Fn(&ConnectionError<'_>) + Send + Sync + 'static,
    {
        self.hooks.connection_error.push(Box::new(handler));
        self
    }

    /// Sets a message that each session begins with: over polling, the response that opens the session has it already.
    /// Default: none.
    ///
    /// ```
    /// # use sockeye::engine::{Server, Application, Session, Message};
    /// # struct Echo;
    /// # impl Application for Echo { type State = (); fn on_message(&self, _: &Session<Self>, _: Message<'_>) {} }
    /// Server::builder(Echo).initial_packet(Message::Text("hello"));
    /// ```
    ///
    /// # Panics
    /// If a text contains U+001E, which separates packets over polling.
    pub fn initial_packet(mut self, message: Message<'_>) -> Self {
        self.initial_packet = Some(match message {
            Message::Text(text) => {
                assert!(
                    !text.contains('\u{1e}'),
                    "the initial packet contains U+001E, the separator of packets"
                );
                InitialPacket::Text(text.to_owned())
            }
            Message::Binary(data) => InitialPacket::Binary(data.into_owned()),
        });
        self
    }

    /// Sets the maximum number of sessions that are pending, which means that neither
    /// [`Session::settle`] was called for them nor they have ended. One more is refused with status 503.
    /// Default: unlimited.
    pub fn max_pending_sessions(mut self, sessions: usize) -> Self {
        self.quota.max_pending = Some(sessions);
        self
    }

    /// Sets the maximum number of sessions from one address. Default: unlimited. See
    /// [`ServerBuilder::max_sessions_per_address`](crate::ServerBuilder::max_sessions_per_address).
    pub fn max_sessions_per_address(mut self, sessions: usize) -> Self {
        self.quota.max_per_address = Some(sessions);
        self
    }

    /// Trusts proxies in front of the server to tell the address and the scheme of the client. Default: none. See
    /// [`ServerBuilder::trust_proxy`](crate::ServerBuilder::trust_proxy).
    pub fn trust_proxy(mut self, proxies: TrustProxy) -> Self {
        self.trust_proxy = Some(proxies);
        self
    }

    /// Sets the limit of the messages of one session. Default: unlimited. See
    /// [`ServerBuilder::max_message_rate`](crate::ServerBuilder::max_message_rate).
    pub fn max_message_rate(mut self, limit: RateLimit) -> Self {
        self.config.max_message_rate = Some(limit);
        self
    }

    /// Sets the limit of the bytes in the messages of one session. Default: unlimited. See
    /// [`ServerBuilder::max_byte_rate`](crate::ServerBuilder::max_byte_rate).
    pub fn max_byte_rate(mut self, limit: RateLimit) -> Self {
        self.config.max_byte_rate = Some(limit);
        self
    }

    /// Sets the observer of the server: see [`observe`](crate::observe). Default: none.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Serves `body` for requests of this name below the server's path, for example the script of a client:
    /// `client.js` is served at `/engine.io/client.js`. Default: none.
    pub fn file(
        mut self,
        name: impl Into<String>,
        content_type: impl Into<Cow<'static, str>>,
        body: impl Into<Cow<'static, [u8]>>,
    ) -> Self {
        self.files.insert(name.into(), content_type, body.into());
        self
    }

    /// Serves `body` for requests with exactly this path, for example a page, if there is no other HTTP
    /// server. Default: none.
    pub fn asset(
        mut self,
        path: impl Into<String>,
        content_type: impl Into<Cow<'static, str>>,
        body: impl Into<Cow<'static, [u8]>>,
    ) -> Self {
        self.assets.insert(path.into(), content_type, body.into());
        self
    }

    /// Serves a file for requests with exactly this path: see
    /// [`ServerBuilder::asset_file`](crate::ServerBuilder::asset_file).
    pub fn asset_file(
        mut self,
        path: impl Into<String>,
        content_type: impl Into<Cow<'static, str>>,
        file: impl Into<PathBuf>,
    ) -> Self {
        self.assets.insert_file(path.into(), content_type.into(), file.into());
        self
    }

    /// Builds the server.
    ///
    /// # Panics
    /// If [`ping_interval`](Builder::ping_interval) or [`ping_timeout`](Builder::ping_timeout) is less than 1
    /// ms, or their sum is 2^31 ms (24.8 days) or more, because the timers of JavaScript clients would then
    /// fire at once.
    pub fn build(mut self) -> Server<A> {
        assert!(
            self.config.has_valid_heartbeat(),
            "ping_interval and ping_timeout have to be at least 1 ms each, and less than 2^31 ms together"
        );
        let path = self.path.trim_matches('/');
        let path = if path.is_empty() { String::new() } else { format!("/{path}") };
        self.assets.mount(&path, self.files);
        Server(Arc::new(ServerInner {
            application: self.application,
            counts_messages: self.config.counts_messages(),
            site: Site { path, cors: self.cors, cookie: self.cookie, config: Arc::new(self.config) },
            limits: self.limits,
            hooks: Arc::new(self.hooks),
            quota: self.quota,
            trust_proxy: self.trust_proxy,
            initial_packet: self.initial_packet,
            observer: self.observer,
            assets: self.assets,
            timers: Timers::default(),
            common: Arc::new(Common::new(self.keep_headers)),
            sessions: RwLock::default(),
            reserved: Mutex::default(),
            busy: AtomicUsize::new(0),
            runtime: OnceLock::new(),
            closing: AtomicBool::new(false),
            gave_up: AtomicBool::new(false),
            is_kept: AtomicBool::new(false),
            closed: Mutex::default(),
        }))
    }
}

impl<A: Application> fmt::Debug for Builder<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("path", &self.path)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
