//! The settings of a server.

use super::app::App;
use super::cluster::{Adapter, Link};
use super::hand_over::{HandOver, Handed};
use super::recovery::Recovery;
use super::{Server, client_files};
use crate::engine::{
    self, ConnectionError, Handshake, Id, RateLimit, Rejection, ResponseHeaders, StatefulReconnect,
    Transport, WhenFull,
};
use crate::observe::{ClusterEvent, FailedEvent, Observer};
#[cfg(feature = "deflate")]
use sockeye_core::http::HttpCompression;
use sockeye_core::http::{Cookie, Cors, TrustProxy};
use sockeye_core::socketio::{Limits, Parser};
#[cfg(feature = "deflate")]
use sockeye_core::websocket::PerMessageDeflate;
use std::any::TypeId;
use std::borrow::Cow;
use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The settings of a [`Server`]. Names and defaults are those of the reference, if it has the setting.
///
/// ```
/// use sockeye::{Cors, InvalidHeader, Server};
/// use std::time::Duration;
///
/// let io = Server::builder()
///     .cors(Cors::origins(["https://example.com"])?)
///     .ping_interval(Duration::from_secs(10))
///     .max_payload(100_000)
///     .build();
/// # Ok::<(), InvalidHeader>(())
/// ```
#[derive(Debug)]
#[must_use = "there is no server until it is built"]
pub struct ServerBuilder {
    engine: engine::Builder<App>,
}

/// Defines methods that only forward a setting to the layer below.
macro_rules! pass_on {
    ($($(#[$doc:meta])* $name:ident($argument:ident: $type:ty);)*) => {$(
        $(#[$doc])*
        pub fn $name(mut self, $argument: $type) -> Self {
            self.engine = self.engine.$name($argument);
            self
        }
    )*};
}

impl ServerBuilder {
    pub(super) fn new() -> ServerBuilder {
        ServerBuilder { engine: engine::Server::builder(App::default()).path("/socket.io") }
    }

    pass_on! {
        /// Sets the path of the requests. Default: `/socket.io`.
        path(path: impl Into<String>);
        /// Sets the time from the handshake or a pong to the next ping. Pings are sent up to 31.25 ms earlier, so that those of
        /// many clients are sent together. Default: 25 s.
        ping_interval(interval: Duration);
        /// Sets the time for a pong, after which the client is closed. Default: 20 s.
        ping_timeout(timeout: Duration);
        /// Sets the time for an upgrade, after which it is abandoned and polling continues. Default: 10 s.
        upgrade_timeout(timeout: Duration);
        /// Sets the time for the application to decide about a request, in
        /// [`use_request`](ServerBuilder::use_request), [`allow_request`](ServerBuilder::allow_request) and
        /// [`generate_id`](ServerBuilder::generate_id) together, after which the request is refused with status
        /// 503. Default: 30 s.
        allow_timeout(timeout: Duration);
        /// Sets the maximum size of a message or a request body, in bytes. Default: 1,000,000; the
        /// reference's `maxHttpBufferSize`.
        max_payload(bytes: usize);
        /// Sets the time for the body of a request to arrive, counted from its head, after which the request
        /// is refused with status 408 and the session is closed. Default: 30 s; the reference's
        /// `httpRequestBodyTimeout`.
        request_body_timeout(timeout: Duration);
        /// Sets how many bytes may be queued for a client that does not read, before it is closed, or
        /// events are [dropped](ServerBuilder::when_full). Default: 4 MiB.
        send_buffer(bytes: usize);
        /// Sets the policy for events to a client whose [`send_buffer`](ServerBuilder::send_buffer) is full, of an emit as
        /// well as of a broadcast. Default: [`WhenFull::Close`], because a client that connects again knows that it missed
        /// something.
        ///
        /// With [`WhenFull::DropNewest`], the event is not sent ([`EmitError::Full`](crate::EmitError::Full)), and the client
        /// stays. With [`WhenFull::DropOldest`], the oldest events that wait are dropped for it, without a word; choose it
        /// for data that newer data replaces, such as positions and prices. Neither touches events that are being written,
        /// up to 128 KiB or half of the send buffer, nor acknowledgements, nor events that ask for one. If dropping is not
        /// enough for a message, that message is not sent. A client that cannot even be told that it joined or left a
        /// namespace is closed in any case.
        ///
        /// An event counts its length and 64 bytes. To lose nothing, wait with [`Socket::writable`](crate::Socket::writable)
        /// before each emit.
        ///
        /// ```
        /// use sockeye::{Server, WhenFull};
        ///
        /// let io = Server::builder().send_buffer(64 << 10).when_full(WhenFull::DropOldest).build();
        /// ```
        when_full(policy: WhenFull);
        /// Sets which transports may be used. Default: both.
        transports(transports: impl IntoIterator<Item = Transport>);
        /// Sets whether a polling session may upgrade to WebSocket. Default: `true`.
        allow_upgrades(allow: bool);
        /// Sets whether a polling client may send a poll while its last one still waits, as proxies do that send a request
        /// again. Default: `false`, as in the reference: the new poll is refused with status 400, and the client is closed.
        ///
        /// With it, the new poll takes the place of the one that waits, which is answered at once, with nothing (a noop
        /// packet). No message is lost or doubled: a poll whose response has begun keeps what is in it. A client whose poll
        /// loses its connection before the next one arrives is closed as ever.
        ///
        /// A client that always sends a second poll is answered at once each time, without end. Without this option it is closed.
        allow_overlapping_polls(allow: bool);
        /// Sets whether clients of Socket.IO 2 (Engine.IO 3) are served, too, as the reference's `allowEIO3`. Default:
        /// `false`, and such a client is refused with the code 5.
        ///
        /// Handlers do not notice the difference, with these exceptions:
        ///
        /// - The client is connected to `/` without asking for it.
        /// - It has no `auth` value. In a namespace other than `/`, [`Socket::auth`](crate::Socket::auth) is the query that
        ///   it connects with, as an object of strings: `io("/admin?token=secret")`.
        /// - A refusal is the `data` of the [`ConnectError`](crate::ConnectError), or the message alone if there is none.
        /// - It is not recovered after it has lost its connection.
        /// - **The id of its sockets is that of its session**, because the client takes it from there (and writes
        ///   `/admin#` in front of it in a namespace, which is accepted wherever a room is named). While a client polls,
        ///   whoever knows the id of its session can use the session. So do not tell the ids of sockets to other clients;
        ///   or restrict the [`transports`](Self::transports) to WebSocket, over which the id is useless to others.
        ///
        /// ```
        /// let io = sockeye::Server::builder().allow_eio3(true).build();
        /// ```
        allow_eio3(allow: bool);
        /// Sets which WebSocket subprotocols (`Sec-WebSocket-Protocol`) are accepted: the server selects the
        /// first one named here that the client offers. If there is none, the response names none, and
        /// browsers close the connection. Default: any, so the first one that the client offers is selected.
        subprotocols(names: impl IntoIterator<Item = impl Into<String>>);
        /// Sets which pages of other origins may use the server over polling. Default: none, so a page from
        /// another origin fails to connect, because clients begin with polling.
        ///
        /// Browsers do not apply this to WebSocket; to restrict that, turn on
        /// [`check_origin`](ServerBuilder::check_origin).
        cors(cors: Cors);
        /// Sets whether pages may poll by scripts and forms (JSONP): the option `forceJSONP` of `socket.io-client` up to 4.2,
        /// for browsers without `XMLHttpRequest` across origins. Default: `false`.
        ///
        /// The reference allows it wherever it allows polling. It is off here because a browser lets every page load scripts of
        /// every origin, whatever [`cors`](ServerBuilder::cors) says: with it, any page can open sessions and read them, with the
        /// cookies that the browser sends along. If cookies authenticate users, turn on
        /// [`check_origin`](ServerBuilder::check_origin), too.
        ///
        /// A response is a script that calls a function of the page, whose number is `j` in the query. A request is a form, which
        /// has at most [`max_payload`](ServerBuilder::max_payload) bytes as it was sent; its escapes take up to two thirds of
        /// that.
        jsonp(allow: bool);
        /// Sets whether requests for WebSocket are refused if a page of another origin sends them that
        /// [`cors`](ServerBuilder::cors) does not allow. Turn it on if cookies authenticate users: otherwise any
        /// page can open a WebSocket in the name of its visitor. Default: `false`, as in the reference.
        ///
        /// Requests without an `Origin` header pass, because they do not come from a page. The server's own origin
        /// is the `Host` of the request, so a proxy in front has to keep that header; otherwise allow the origin by
        /// `cors`. A refusal has the code 4 and the message `Origin not allowed`.
        ///
        /// Requests for [`jsonp`](ServerBuilder::jsonp) are checked in the same way. A browser sends no `Origin` when it loads a
        /// script, so those are refused that come from another origin by `Sec-Fetch-Site`, which browsers since 2023 send over
        /// HTTPS.
        check_origin(check: bool);
        /// Sets the maximum number of clients that are connected, but have not joined a namespace yet. One more is
        /// refused with status 503. A client leaves this state within
        /// [`connect_timeout`](ServerBuilder::connect_timeout). Default: unlimited.
        max_pending_sessions(sessions: usize);
        /// Sets the maximum number of clients of one address, at once; an IPv6 network of 64 bits counts as one
        /// address. One more is refused with status 429. Default: unlimited.
        ///
        /// The address is that of the peer: behind a proxy, all clients have the same one unless the server
        /// [trusts](ServerBuilder::trust_proxy) it, and many clients may share one behind a NAT. If the address is not
        /// known, the client is not counted.
        max_sessions_per_address(sessions: usize);
        /// Trusts proxies in front of the server to tell the address and the scheme of the client, by `X-Forwarded-For` and
        /// `X-Forwarded-Proto` or by [`Forwarded`](TrustProxy::forwarded). Default: none, so that nobody can choose the
        /// address that is shown.
        ///
        /// [`Handshake::address`] and [`Handshake::secure`] are then those of the client, in hooks, logs and events of an
        /// [observer](crate::observe) as well, and [`max_sessions_per_address`](ServerBuilder::max_sessions_per_address)
        /// counts it. This also holds for a server that is [mounted](crate::mount) in another one which knows the address
        /// of the proxy. Only requests to the server's own path are concerned. The port is 0 if the proxy does not tell it.
        ///
        /// A proxy that passes on bytes instead of requests can tell the address by the PROXY protocol: see
        /// `serve_proxied` of the [runtimes](crate::runtime).
        ///
        /// ```
        /// use sockeye::{Server, TrustProxy};
        ///
        /// // nginx on the same machine.
        /// let io = Server::builder().trust_proxy(TrustProxy::networks(["127.0.0.1", "::1"])?).build();
        /// # Ok::<(), sockeye::InvalidNetwork>(())
        /// ```
        trust_proxy(proxies: TrustProxy);
        /// Sets how many messages one client may send, on average and at once. A client that sends more is closed
        /// (`transport error`, [`TransportError::TooManyMessages`](engine::TransportError::TooManyMessages)), and the
        /// message that is too much is not handled. Default: unlimited.
        ///
        /// An event is one message, and one more for each attachment. Acknowledgements and requests for a namespace count,
        /// too; heartbeats do not. All namespaces of a client count together, because one that opens more of them could
        /// send more otherwise; and a message counts before it is decoded, so that one that makes no sense is not free.
        ///
        /// Set it well above what an honest client sends, and the burst as well: messages that the network or slow handlers
        /// have held up arrive at once. A client may open several sessions, whose number
        /// [`max_sessions_per_address`](ServerBuilder::max_sessions_per_address) limits.
        ///
        /// ```
        /// use sockeye::{RateLimit, Server};
        ///
        /// let io = Server::builder()
        ///     .max_message_rate(RateLimit::per_second(20).burst(500))
        ///     .max_byte_rate(RateLimit::per_second(100_000).burst(4_000_000))
        ///     .build();
        /// ```
        max_message_rate(limit: RateLimit);
        /// Sets how many bytes the messages of one client may have, on average and at once: the lengths of texts and
        /// attachments, after decompression and without heartbeats. A client that sends more is closed
        /// (`transport error`, [`TransportError::TooManyBytes`](engine::TransportError::TooManyBytes)). Default: unlimited.
        ///
        /// A single message that is larger than the burst is too much as well, so the burst should not be less than
        /// [`max_payload`](ServerBuilder::max_payload). See [`max_message_rate`](ServerBuilder::max_message_rate).
        max_byte_rate(limit: RateLimit);
        /// Lets a client continue after its connection was lost, for clients that ask for it: nothing that was sent in either
        /// direction is lost, and neither handlers nor acknowledgements notice. Default: off.
        ///
        /// The connections of all other clients end as ever, and
        /// [`connection_state_recovery`](ServerBuilder::connection_state_recovery) is for those. While a client is away, its
        /// sockets stay connected and what is sent to them is kept; if it does not come back in time, or too much is
        /// sent, it is disconnected. A text with U+001E, which JSON never contains, cannot be sent to such a client.
        ///
        /// ```
        /// use sockeye::{Server, StatefulReconnect};
        /// use std::time::Duration;
        ///
        /// let settings = StatefulReconnect::new().window(Duration::from_secs(20)).max_bytes(256 << 10);
        /// let io = Server::builder().stateful_reconnect(settings).build();
        /// ```
        stateful_reconnect(settings: StatefulReconnect);
        /// Sets a cookie with the session's id, for load balancers with sticky sessions. Default: none.
        cookie(cookie: Cookie);
        /// Sets the observer of the server: see [`observe`](crate::observe). Default: none.
        observer(observer: impl Observer);
    }

    /// Compresses WebSocket messages of 1024 bytes and more for clients that ask for it, and reads compressed
    /// ones (permessage-deflate, RFC 7692). Default: off, as in the reference, because compression takes time
    /// and most messages are short.
    ///
    /// Neither side keeps a window between messages, so that an idle client costs no memory, and a broadcast
    /// is compressed once for all of its clients. A client's message must not exceed
    /// [`max_payload`](ServerBuilder::max_payload), neither as received nor inflated.
    ///
    /// ```
    /// use sockeye::{PerMessageDeflate, Server};
    ///
    /// let io = Server::builder().per_message_deflate(PerMessageDeflate::new().threshold(4096).level(1)).build();
    /// ```
    #[cfg(feature = "deflate")]
    pub fn per_message_deflate(mut self, deflate: PerMessageDeflate) -> Self {
        self.engine = self.engine.per_message_deflate(deflate);
        self
    }

    /// Compresses the responses of polling that are 1024 bytes or longer, as gzip or deflate, for clients that accept it
    /// (`Accept-Encoding`), and the files of [`serve_client`](ServerBuilder::serve_client) and
    /// [`asset`](ServerBuilder::asset), as gzip. Bodies that a client has compressed (`Content-Encoding: gzip` or `deflate`)
    /// are read, up to [`max_payload`](ServerBuilder::max_payload) bytes after inflation. Default: off.
    ///
    /// The reference compresses by default, and reads no compressed bodies. Turn it on if clients cannot use WebSocket and their messages are long: each
    /// response is compressed by itself, also that of a broadcast, which takes CPU time. Keep it off if messages contain a
    /// secret beside text that an attacker can choose, because the length of the response then tells about the secret
    /// (BREACH). A response that would not become shorter is sent as it is, and [`compress`](crate::Socket::compress) does
    /// not apply. A file is compressed once. There is no Brotli, because its encoder is large, and slow for what is sent
    /// once.
    ///
    /// ```
    /// use sockeye::{HttpCompression, Server};
    ///
    /// let io = Server::builder().http_compression(HttpCompression::new().threshold(4096).level(1)).build();
    /// ```
    #[cfg(feature = "deflate")]
    pub fn http_compression(mut self, compression: HttpCompression) -> Self {
        self.engine = self.engine.http_compression(compression);
        self
    }

    /// Decides whether a session may be opened, before the client asks for any namespace. A refusal is an
    /// HTTP response with status 403 and the returned message. Default: every session is allowed. To authenticate users, prefer a
    /// [`middleware`](crate::Namespace::middleware), which has access to the client's `auth`.
    ///
    /// ```
    /// use sockeye::{Handshake, Server};
    ///
    /// let io = Server::builder().allow_request(async |handshake: Handshake| match handshake.header("origin") {
    ///     // Clients that are not browsers send none.
    ///     None | Some("https://example.com") => Ok(()),
    ///     Some(_) => Err("not from here".to_owned()),
    /// });
    /// ```
    pub fn allow_request<F, Fut>(mut self, allow: F) -> Self
    where
        F: Fn(Handshake) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.engine = self.engine.allow_request(allow);
        self
    }

    /// Adds a middleware, which is asked about every request to the server's path before anything else happens:
    /// those of polling, and those that open or upgrade to a WebSocket. It lets the request pass, with headers for
    /// the response, or answers it with a status and a text of its own. It is called in the order of registration,
    /// and before [`allow_request`](ServerBuilder::allow_request). Preflight requests are answered by
    /// [`cors`](ServerBuilder::cors) before. Default: none.
    ///
    /// A middleware that panics refuses the request with status 500, and all of them together have
    /// [`allow_timeout`](ServerBuilder::allow_timeout). Each poll and each packet that a client sends by polling is
    /// a request, so keep it cheap.
    ///
    /// ```
    /// use sockeye::{Handshake, Rejection, ResponseHeaders, Server};
    ///
    /// let io = Server::builder()
    ///     .use_request(async |request: Handshake| match request.header("authorization") {
    ///         Some("Bearer secret") => Ok(()),
    ///         _ => Err(Rejection::new(401, "please log in").header("WWW-Authenticate", "Bearer")?),
    ///     })
    ///     .use_request(async |_| {
    ///         let mut headers = ResponseHeaders::new();
    ///         headers.append("X-Content-Type-Options", "nosniff")?;
    ///         Ok(headers)
    ///     })
    ///     .build();
    /// ```
    #[doc(alias = "use")]
    pub fn use_request<F, Fut, H>(mut self, middleware: F) -> Self
    where
        F: Fn(Handshake) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<H, Rejection>> + Send + 'static,
        H: Into<ResponseHeaders> + 'static,
    {
        self.engine = self.engine.use_request(middleware);
        self
    }

    /// Adds a function that adds headers to the first response of each session, such as a cookie: the response
    /// that carries the session's id, or the 101 of a WebSocket. It must not block. Default: none.
    ///
    /// ```
    /// use sockeye::Server;
    ///
    /// let io = Server::builder()
    ///     .initial_headers(|request, headers| {
    ///         let backend = if request.secure() { "backend=a; Secure" } else { "backend=a" };
    ///         headers.append("Set-Cookie", backend).expect("a valid header");
    ///     })
    ///     .build();
    /// ```
    pub fn initial_headers<F>(mut self, add: F) -> Self
    where
        F: Fn(&Handshake, &mut ResponseHeaders) + Send + Sync + 'static,
    {
        self.engine = self.engine.initial_headers(add);
        self
    }

    /// Adds a function that adds headers to every response at the server's path: of polling, of WebSocket
    /// handshakes, and of refusals, but not of preflight requests. It must not block. See
    /// [`initial_headers`](ServerBuilder::initial_headers), which is called before. Default: none.
    pub fn headers<F>(mut self, add: F) -> Self
    where
        F: Fn(&Handshake, &mut ResponseHeaders) + Send + Sync + 'static,
    {
        self.engine = self.engine.headers(add);
        self
    }

    /// Sets the headers that [`Socket::handshake`](crate::Socket::handshake) keeps of the request that opened the session,
    /// by their names in any case. Default: all except `Sec-WebSocket-Key`, a random number that only the WebSocket handshake
    /// needs. The reference keeps that, too.
    ///
    /// A browser sends about one kilobyte of headers. Those that its kind of browser sends with the same values are kept
    /// once for all clients, but cookies are not. With an empty list, none are kept. Hooks that are asked about the request,
    /// such as [`allow_request`](ServerBuilder::allow_request), see all headers in any case.
    ///
    /// ```
    /// use sockeye::Server;
    ///
    /// let io = Server::builder().keep_headers(["cookie", "user-agent"]).build();
    /// ```
    pub fn keep_headers<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.engine = self.engine.keep_headers(names);
        self
    }

    /// Draws the ids of sessions by a function of the application, for example to tell a load balancer which server
    /// has the session. Default: 120 random bits from the operating system.
    ///
    /// The id is a bearer secret, so it needs at least 80 random bits, and nothing of it may be chosen by the client.
    /// If there is an error, a panic, or already a session with this id, the request is refused with code 3.
    ///
    /// ```
    /// use sockeye::{Id, Server};
    ///
    /// let io = Server::builder()
    ///     .generate_id(async |_| {
    ///         let mut id = [0; 15];
    ///         getrandom::fill(&mut id).map_err(|error| error.to_string())?;
    ///         // The number of this server: the first character of the id.
    ///         id[0] = 7 << 2;
    ///         Ok(Id::from_random(id))
    ///     })
    ///     .build();
    /// ```
    pub fn generate_id<F, Fut>(mut self, generate: F) -> Self
    where
        F: Fn(Handshake) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Id, String>> + Send + 'static,
    {
        self.engine = self.engine.generate_id(generate);
        self
    }

    /// Adds a function that is told of each request that was refused with a code of the protocol: the reference's
    /// event `connection_error`. It must not block. An [observer](ServerBuilder::observer) sees these and all other
    /// refusals. Default: none.
    ///
    /// ```
    /// use sockeye::Server;
    ///
    /// let io = Server::builder()
    ///     .on_connection_error(|error| {
    ///         // "Bad request" [("name", "TRANSPORT_HANDSHAKE_ERROR")]
    ///         println!("{:?} {:?}", error.message(), error.context());
    ///     })
    ///     .build();
    /// ```
    pub fn on_connection_error<F>(mut self, handler: F) -> Self
    where
        F: Fn(&ConnectionError<'_>) + Send + Sync + 'static,
    {
        self.engine = self.engine.on_connection_error(handler);
        self
    }

    /// Sets a function that is told of each event that its handlers fail to handle: the data is not of the handler's type, a
    /// [`State`](crate::extract::State) is missing, the handler panics, returns an error of which the client does not learn,
    /// or something that cannot be sent, or there is no handler, or it was registered too late: [`HandlerFailure`](crate::observe::HandlerFailure) has all
    /// causes. If the client wants an acknowledgement, the function may send it: otherwise the client times out. It also sees
    /// the failures of handlers in a socket's life, such as `connect`, of middleware, and of the handlers of
    /// [events of other servers](crate::Namespace::on_server_side_event). Default: none; failures are
    /// [logged](crate::observe#the-log) in any case.
    ///
    /// An event may have several handlers: the function is told of each that fails, and
    /// [may acknowledge](crate::observe::FailedEvent::wants_ack) if none of them has, or will. The refusals of a
    /// middleware are no failures.
    ///
    /// It is called in place, where the handler ran, and must not block. No lock is held meanwhile. If it panics, that is
    /// logged, and has no other effect.
    ///
    /// ```
    /// use sockeye::Server;
    /// use sockeye::extract::ExtractError;
    /// use sockeye::observe::HandlerFailure;
    /// use std::sync::atomic::{AtomicU64, Ordering};
    ///
    /// static FAILURES: AtomicU64 = AtomicU64::new(0);
    ///
    /// let io = Server::builder()
    ///     .on_handler_error(|failed| {
    ///         FAILURES.fetch_add(1, Ordering::Relaxed);
    ///         eprintln!("{:?} in {:?}: {}", failed.event(), failed.namespace(), failed.failure());
    ///         failed.ack(serde_json::json!({
    ///             "error": match failed.failure() {
    ///                 // The client's fault, so it may know the details.
    ///                 HandlerFailure::NotCalled(ExtractError::Data(error)) => error.to_string(),
    ///                 HandlerFailure::Unhandled => "there is no such event".into(),
    ///                 _ => "internal error".into(),
    ///             },
    ///         }));
    ///     })
    ///     .build();
    /// ```
    pub fn on_handler_error<F>(mut self, handler: F) -> Self
    where
        F: Fn(&FailedEvent<'_>) + Send + Sync + 'static,
    {
        self.engine.application.on_handler_error = Some(Box::new(handler));
        self
    }

    /// Remembers clients that lose their connection, so that they continue where they were if they are back in time: with the
    /// same socket id, rooms and [data](crate::Socket::set_data), and with the events that they missed. Default: none, as in
    /// the reference.
    ///
    /// Clients need no setting: `socket.io-client` 4.6 and later, and [`Client`](crate::Client).
    /// [`Socket::recovered`](crate::Socket::recovered) is true then, also at the client. What is remembered is limited in time and in size, and either everything that a client
    /// missed is there, or the client begins anew. Events that ask for an acknowledgement, volatile ones, and those that the
    /// client sends are not recovered: the page [Delivery][delivery] of the guide has the details.
    ///
    /// A client is recovered after a lost connection, not if it was [disconnected](crate::Socket::disconnect) or has left.
    /// The disconnect handlers are called when the connection is lost, and the connect handlers when the client is back, with
    /// another handle. An emit by the old handle reaches the client while it is away or after it has come back.
    ///
    /// An event then ends with one more argument for the client: a string, by which it says what it has received. JavaScript
    /// functions ignore it, unless they take any number of arguments.
    ///
    /// ```
    /// use sockeye::{Recovery, Server, Socket};
    ///
    /// let io = Server::builder().connection_state_recovery(Recovery::new()).build();
    /// io.on_connect(async |socket: Socket| {
    ///     if !socket.recovered() {
    ///         socket.join("news");
    ///     }
    /// });
    /// ```
    ///
    /// [delivery]: https://github.com/sockeye-rs/sockeye/blob/main/docs/guide/delivery.md
    pub fn connection_state_recovery(mut self, recovery: Recovery) -> Self {
        self.engine.application.recovery = Some(recovery);
        self
    }

    /// Continues what an earlier process has [handed over](Server::hand_over): its clients are recovered here, if
    /// [`connection_state_recovery`](ServerBuilder::connection_state_recovery) is set and they come back within its time, which
    /// began in the earlier process. Default: nothing is known of any client.
    ///
    /// A namespace continues when it is created. What belongs to one that is not created in this time is forgotten.
    /// Everything is limited by the settings of this server, and the clocks of both processes must not differ much.
    ///
    /// ```
    /// use sockeye::{HandOver, Recovery, Server};
    ///
    /// let mut builder = Server::builder().connection_state_recovery(Recovery::new());
    /// // There is none at the first start.
    /// if let Ok(bytes) = std::fs::read("state") {
    ///     match HandOver::from_bytes(bytes) {
    ///         Ok(state) => builder = builder.take_over(state),
    ///         Err(error) => eprintln!("every client begins anew: {error}"),
    ///     }
    /// }
    /// let io = builder.build();
    /// ```
    pub fn take_over(mut self, state: HandOver) -> Self {
        self.engine.application.handed = Some(Arc::new(Handed::new(state)));
        self
    }

    /// Sets how long the answer to an event with an [idempotency key](crate::IdempotencyKey) is remembered. It should be longer
    /// than a client tries, which is the product of its options `retries` and `ackTimeout`, and the time for which it may be
    /// away. Default: 5 minutes.
    pub fn idempotency_window(mut self, window: Duration) -> Self {
        if let Some(idempotency) = Arc::get_mut(&mut self.engine.application.idempotency) {
            idempotency.window = window;
        }
        self
    }

    /// Sets the maximum size of the answers that are remembered for [idempotency keys](crate::IdempotencyKey), in bytes: each
    /// counts its length, that of its key and event, and 256. If it is exceeded, the oldest are forgotten. Default: 16 MiB.
    pub fn idempotency_max_bytes(mut self, bytes: usize) -> Self {
        if let Some(idempotency) = Arc::get_mut(&mut self.engine.application.idempotency) {
            idempotency.max_bytes = bytes;
        }
        self
    }

    /// Makes the server part of a cluster: see [`cluster`](crate::cluster). Default: none, so that there are only the
    /// sockets of this server.
    ///
    /// ```
    /// use sockeye::Server;
    /// use sockeye::cluster::{Adapter, MemoryBus};
    ///
    /// let io = Server::builder().adapter(Adapter::sharded(MemoryBus::new())).build();
    /// ```
    ///
    /// # Panics
    /// If the system provides no randomness, from which the name of the server in the cluster comes.
    pub fn adapter(mut self, adapter: Adapter) -> Self {
        self.engine.application.namespaces.link = Some(Link::new(adapter));
        self
    }

    /// Sets a function that is told of changes in the [cluster](crate::cluster): servers that join and leave, and the state
    /// of the bus. It must not block. An [observer](ServerBuilder::observer) and the log see the same. Default: none.
    ///
    /// ```
    /// use sockeye::Server;
    /// use sockeye::cluster::{Adapter, ClusterEvent, MemoryBus};
    ///
    /// let io = Server::builder()
    ///     .adapter(Adapter::sharded(MemoryBus::new()))
    ///     .on_cluster_event(|event| match event {
    ///         ClusterEvent::NodeLost { node, .. } => println!("{node} has crashed"),
    ///         event => println!("{event}"),
    ///     })
    ///     .build();
    /// ```
    pub fn on_cluster_event<F>(mut self, handler: F) -> Self
    where
        F: Fn(&ClusterEvent) + Send + Sync + 'static,
    {
        self.engine.application.on_cluster_event = Some(Box::new(handler));
        self
    }

    /// Serves the client's script and the files that belong to it from a folder, below the server's path. The
    /// files are read once, in this call. Default: no files, because this crate does not contain the client.
    ///
    /// ```no_run
    /// # use sockeye::Server;
    /// // npm install socket.io-client
    /// let io = Server::builder().serve_client("node_modules/socket.io-client/dist")?.build();
    /// // <script src="/socket.io/socket.io.js"></script>
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// If none of the files exists, or one cannot be read.
    pub fn serve_client(mut self, folder: impl AsRef<Path>) -> io::Result<Self> {
        for file in client_files::read(folder.as_ref())? {
            self.engine = self.engine.file(file.name, file.content_type, file.body);
        }
        Ok(self)
    }

    /// Serves `body` for requests with exactly this path, for example a page, if there is no other HTTP
    /// server. Default: none.
    ///
    /// ```
    /// # use sockeye::Server;
    /// let io = Server::builder().asset("/", "text/html; charset=utf-8", b"<h1>It works</h1>".as_slice()).build();
    /// ```
    pub fn asset(
        mut self,
        path: impl Into<String>,
        content_type: impl Into<Cow<'static, str>>,
        body: impl Into<Cow<'static, [u8]>>,
    ) -> Self {
        self.engine = self.engine.asset(path, content_type, body);
        self
    }

    /// Serves a file for requests with exactly this path. It is read for each of them, so that a page can be changed, or
    /// added, while the server runs; if it cannot be read, the response is 404.
    ///
    /// Use it for development: reading the file delays the other clients of the thread. [`asset`](Self::asset) with
    /// `std::fs::read` or `include_bytes!` reads it once.
    ///
    /// ```
    /// # use sockeye::Server;
    /// let io = Server::builder().asset_file("/", "text/html; charset=utf-8", "pages/index.html").build();
    /// ```
    pub fn asset_file(
        mut self,
        path: impl Into<String>,
        content_type: impl Into<Cow<'static, str>>,
        file: impl Into<std::path::PathBuf>,
    ) -> Self {
        self.engine = self.engine.asset_file(path, content_type, file);
        self
    }

    /// Sets the time for a client to connect to its first namespace, after which it is closed. It is also the time for
    /// the [`middleware`](crate::Namespace::middleware) of any namespace and the functions of [`of_fn`](Server::of_fn) to
    /// decide about a client, together, after which the client is refused (`connect_error`, "timeout"). Default: 45 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.engine.application.connect_timeout = timeout;
        self
    }

    /// Sets how long to wait for acknowledgements, if no other timeout is set for the message. Default: 30 s.
    pub fn ack_timeout(mut self, timeout: Duration) -> Self {
        self.engine.application.ack_timeout = timeout;
        self
    }

    /// Sets the time for the packet middleware of [`Namespace::use_packet`](crate::Namespace::use_packet) to decide about
    /// one event, all together, after which the event is refused (`timeout`). Default: 30 s.
    pub fn packet_timeout(mut self, timeout: Duration) -> Self {
        self.engine.application.packet_timeout = timeout;
        self
    }

    /// Sets the maximum number of rooms that one socket is in, so that a client that names the rooms to join cannot exhaust
    /// the memory: see [`Socket::try_join`](crate::Socket::try_join). Default: 100,000.
    pub fn max_rooms(mut self, rooms: usize) -> Self {
        self.engine.application.max_rooms = rooms;
        self
    }

    /// Sets whether a namespace that a pattern or a function created is removed when its last socket has left, and created
    /// anew when a client asks for it again. Handles of the removed one then address no socket: get another one by
    /// [`Server::of`]. Default: `false`, as in the reference.
    pub fn cleanup_empty_child_namespaces(mut self, cleanup: bool) -> Self {
        self.engine.application.namespaces.cleans_up = cleanup;
        self
    }

    /// Sets the maximum number of namespaces that [patterns](Server::of_pattern) and [functions](Server::of_fn) create for
    /// clients. A client that asks for one more is refused (`connect_error`, "the server has too many namespaces"). Those
    /// that the program itself creates by [`Server::of`] are not refused, but counted if a pattern matches. Default: 10,000.
    pub fn max_child_namespaces(mut self, namespaces: usize) -> Self {
        self.engine.application.namespaces.max_children = namespaces;
        self
    }

    /// Sets the form of the packets of all clients, which have to use the same. Default: [`Parser::Text`], as in the
    /// reference.
    ///
    /// ```
    /// use sockeye::{Parser, Server};
    ///
    /// let io = Server::builder().parser(Parser::MessagePack).build();
    /// ```
    pub fn parser(mut self, parser: Parser) -> Self {
        self.engine.application.parser = parser;
        self
    }

    /// Sets the limits of one packet (the number, bytes and time of its attachments, lengths, depth), and how
    /// many namespaces a client may join. A client that exceeds a limit of a packet is closed; a request for
    /// one namespace too many is refused (`connect_error`, "too many namespaces"). Default: those of
    /// [`Limits::default`], which are documented at its fields.
    pub fn packet_limits(mut self, limits: Limits) -> Self {
        self.engine.application.limits = limits;
        self
    }

    /// Stores `state` for handlers that take [`State<T>`](crate::extract::State): one value per type. Each
    /// handler gets a clone, so put an `Arc` around shared data.
    ///
    /// ```
    /// use sockeye::extract::State;
    /// use sockeye::{Server, Socket};
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU64, Ordering};
    ///
    /// #[derive(Clone, Default)]
    /// struct Visits(Arc<AtomicU64>);
    ///
    /// let io = Server::builder().state(Visits::default()).build();
    /// io.on_connect(async |socket: Socket, State(Visits(visits)): State<Visits>| {
    ///     socket.emit("visits", visits.fetch_add(1, Ordering::Relaxed) + 1)
    /// });
    /// ```
    pub fn state<T: Clone + Send + Sync + 'static>(mut self, state: T) -> Self {
        self.engine.application.state.insert(TypeId::of::<T>(), Box::new(state));
        self
    }

    /// Builds the server.
    ///
    /// # Panics
    /// If [`ping_interval`](ServerBuilder::ping_interval) or [`ping_timeout`](ServerBuilder::ping_timeout) is less than 1
    /// ms, or their sum is 2^31 ms (24.8 days) or more, because the timers of JavaScript clients would then
    /// fire at once. If there is [`connection_state_recovery`](ServerBuilder::connection_state_recovery), and an
    /// [`adapter`](ServerBuilder::adapter) other than [`Adapter::streams`](crate::cluster::Adapter::streams) over a bus that
    /// stores sessions: with publish and subscribe, nobody keeps what a client misses.
    pub fn build(self) -> Server {
        let application = &self.engine.application;
        if let (Some(_), Some(link)) = (&application.recovery, &application.namespaces.link) {
            assert!(
                link.enable_recovery(),
                "connection_state_recovery in a cluster needs Adapter::streams, over a bus that stores sessions (RedisBus \
                 or MemoryBus): with publish and subscribe, nobody keeps what a client misses"
            );
        }
        let server = Server { engine: self.engine.build() };
        if let Some(link) = &server.engine.application().namespaces.link {
            link.set_engine(&server.engine.0);
        }
        if let Some(handed) = &server.engine.application().handed {
            handed.begin(&server);
        }
        // The main namespace always exists.
        server.of("/");
        server
    }
}
