//! The parents of dynamic namespaces: those that clients create by asking for them.

use super::namespace::Namespace;
use super::{Engine, Server};
use crate::error::{ConnectError, PacketError};
use crate::guard::BoxFuture;
use crate::guard::{Guarded, Panic, catch};
use crate::handler::Handler;
use crate::handshake::Handshake;
use crate::payload::Payload;
use crate::server::broadcast::{Broadcast, Delivery};
use crate::server::middleware::Middleware;
use crate::server::room_names::RoomNames;
use crate::server::rooms::RoomEvent;
use crate::server::server_side::ServerSide;
use matchit::{InsertError, Router};
use serde::de::DeserializeOwned;
use sockeye_core::socketio::{self, Limits, NamespaceError, Parser, check_namespace, with_slash};
use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// All namespaces whose names match a pattern, or that a function admits: a handle that is cheap to clone, made by
/// [`Server::of_pattern`] and [`Server::of_fn`].
///
/// A namespace of this kind, a child, is created when the first client asks for it. The handlers and the middleware of
/// the parent are those of all of its children, now and later, and are called before those of a child alone. A broadcast
/// of the parent reaches the sockets of all children.
#[derive(Clone)]
pub struct ParentNamespace(Arc<Parent>);

pub(crate) struct Parent {
    /// Holds the functions of all children. It has no sockets, and no client can find it.
    pub(super) namespace: Namespace,
    pub(super) matcher: Matcher,
}

/// The decision about the names of a parent's children.
pub(crate) enum Matcher {
    /// The pattern, and two names that match it. In both, a parameter is U+0000; in the second, one for several segments
    /// is two segments of that. Another pattern that matches both matches every name that this one does.
    Pattern(Router<()>, [String; 2]),
    Function(Box<Decide>),
}

/// Begins the decision about a name by the client's `auth` and its first request. Returns `None` if the `auth` is not of
/// the function's type.
pub(crate) type Decide = dyn Fn(&str, &str, &Handshake) -> Option<BoxFuture<bool>> + Send + Sync;

/// The reason why a pattern is of no use. See [`Server::try_of_pattern`].
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// A brace has no partner, a parameter has no name, a segment has two parameters, or one for several segments is not
    /// the last.
    #[error("malformed pattern: {0}")]
    Malformed(String),
    /// The pattern has no parameter, so that it is a name: use [`Server::of`].
    #[error("the pattern has no parameter")]
    NoParameter,
    /// The pattern matches only names that no client can ask for.
    #[error(transparent)]
    Name(#[from] NamespaceError),
    /// A pattern that was registered before matches every name that this one does.
    #[error("the pattern {by:?}, which was registered before, matches the same names")]
    Shadowed {
        /// The earlier pattern.
        by: String,
    },
}

sockeye_core::debug_as_text!(PatternError);

impl Server {
    /// Creates namespaces when clients ask for them, if their names match a pattern. The leading slash of the pattern
    /// may be left out.
    ///
    /// A pattern is that of a route in axum, by the crate [`matchit`](https://docs.rs/matchit): `{name}` matches one or
    /// more characters up to the next slash, of which a segment has one, with a prefix and a suffix if wanted;
    /// `{*name}`, at the end, matches slashes as well; `{{` and `}}` are braces. Handlers read the parameters by
    /// [`extract::Params`](crate::extract::Params).
    ///
    /// A name that [`of`](Server::of) was called with before belongs to no pattern. For any other name that a client asks
    /// for, the first pattern or [function](Server::of_fn) that matches creates the namespace, in the order of their
    /// registration. [`of`](Server::of) also creates a child of the first pattern that matches, so that a message can be
    /// sent before the first client connects; it asks no function.
    ///
    /// Any client can create namespaces in this way, up to
    /// [`ServerBuilder::max_child_namespaces`](crate::ServerBuilder::max_child_namespaces). One whose clients were all
    /// refused by a middleware is removed. Others are kept, unless
    /// [`ServerBuilder::cleanup_empty_child_namespaces`](crate::ServerBuilder::cleanup_empty_child_namespaces) is set.
    ///
    /// ```
    /// use sockeye::extract::{Data, Params};
    /// use sockeye::{Server, Socket};
    ///
    /// let io = Server::new();
    /// let tenants = io.of_pattern("/tenant-{id}");
    /// // io("/tenant-7"), but not io("/tenant-x"): the parameter does not fit, so that the client is refused.
    /// tenants.middleware(async |Params(id): Params<u32>| if id < 100 { Ok(()) } else { Err("no such tenant".into()) });
    /// tenants.on("say", async |socket: Socket, Data(text): Data<String>| {
    ///     socket.broadcast().emit("said", text); // to the clients of the same tenant
    /// });
    /// tenants.emit("maintenance", "at noon"); // to the clients of all tenants
    /// ```
    ///
    /// # Panics
    /// If the pattern is of no use: see [`PatternError`]. For one that is not a literal, use
    /// [`try_of_pattern`](Server::try_of_pattern).
    #[track_caller]
    pub fn of_pattern(&self, pattern: &str) -> ParentNamespace {
        match self.try_of_pattern(pattern) {
            Ok(parent) => parent,
            Err(error) => panic!("{error}: {pattern:?}"),
        }
    }

    /// Does the same as [`of_pattern`](Server::of_pattern), for patterns that come from elsewhere.
    ///
    /// # Errors
    /// If the pattern is of no use: the [`PatternError`] says why.
    pub fn try_of_pattern(&self, pattern: &str) -> Result<ParentNamespace, PatternError> {
        let app = self.engine.application();
        let engine = Arc::downgrade(&self.engine.0);
        app.namespaces.add_pattern(pattern, app.parser, &app.limits, engine).map(ParentNamespace)
    }

    /// Creates namespaces when clients ask for them, if `decide` returns `true` for the name, the client's `auth` and its
    /// first request. If the `auth` is not of type `A`, the answer is `false` without a call.
    ///
    /// It is asked only for names of namespaces that do not exist, so it is no replacement for a
    /// [`middleware`](ParentNamespace::middleware). If many clients ask for the same name at the same time, it may be
    /// called for each, but one namespace is created. It has the time of
    /// [`ServerBuilder::connect_timeout`](crate::ServerBuilder::connect_timeout), together with the middleware. After
    /// that, or if it panics, its client is refused.
    ///
    /// See [`of_pattern`](Server::of_pattern) for the order in which patterns and functions are asked.
    ///
    /// ```
    /// use serde::Deserialize;
    /// use sockeye::{Handshake, Server};
    ///
    /// #[derive(Deserialize)]
    /// struct Login {
    ///     token: String,
    /// }
    ///
    /// # async fn has_project(_token: &str, _name: &str) -> bool { true }
    /// let io = Server::new();
    /// // io("/apollo", { auth: { token: "secret" } })
    /// let projects = io.of_fn(async |name: String, login: Login, _: Handshake| has_project(&login.token, &name).await);
    /// ```
    pub fn of_fn<A, F, Fut>(&self, decide: F) -> ParentNamespace
    where
        A: DeserializeOwned,
        F: Fn(String, A, Handshake) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = bool> + Send + 'static,
    {
        let app = self.engine.application();
        let decide: Box<Decide> = Box::new(move |name, auth, handshake| {
            let auth = socketio::read_auth(auth).ok()?;
            Some(Box::pin(decide(name.into(), auth, handshake.clone())))
        });
        let namespace = Namespace::new("", app.parser, Arc::downgrade(&self.engine.0));
        let parent = Parent { namespace, matcher: Matcher::Function(decide) };
        ParentNamespace(app.namespaces.add_function(parent))
    }

    /// Calls `f` for each namespace that is created after this call, by [`of`](Server::of) or for a client.
    ///
    /// It is called in place, before the client that caused it is let in, but other clients that ask for the same
    /// namespace at that time may be let in before it returns. Therefore, register handlers with the
    /// [parent](ParentNamespace) if there is one. A panic of `f` is logged and has no other effect.
    ///
    /// ```
    /// # let io = sockeye::Server::new();
    /// io.on_new_namespace(|namespace| println!("{} is new", namespace.name()));
    /// ```
    pub fn on_new_namespace(&self, f: impl Fn(Namespace) + Send + Sync + 'static) {
        self.engine.application().namespaces.on_created(f);
    }

    /// Deletes a namespace, and disconnects its sockets (`server namespace disconnect`). Returns whether it existed. The
    /// main namespace cannot be deleted.
    ///
    /// Clients that are still waiting for a middleware are refused when it has decided. Later ones are refused at once
    /// (`Invalid namespace`), unless the namespace is created anew, by [`of`](Server::of) or because a pattern or
    /// function matches its name. Earlier handles of a [`Namespace`] then belong to the deleted one. May be called from
    /// handlers of the namespace itself.
    pub fn delete_namespace(&self, name: &str) -> bool {
        let deleted = self.engine.application().namespaces.remove(name);
        let is_deleted = deleted.as_ref().map(Namespace::close).is_some();
        self.engine.application().namespaces.send_to_cluster();
        is_deleted
    }
}

impl ParentNamespace {
    /// Returns the pattern, or `None` if a function decides.
    pub fn pattern(&self) -> Option<&str> {
        match self.0.matcher {
            Matcher::Pattern(..) => Some(self.0.namespace.name()),
            Matcher::Function(_) => None,
        }
    }

    /// Returns the children that exist at present.
    pub fn children(&self) -> Vec<Namespace> {
        match self.0.namespace.0.engine.upgrade() {
            Some(engine) => engine.application.namespaces.children(&self.0),
            None => Vec::new(),
        }
    }

    /// Calls `handler` for each client that has connected to a child: see [`Namespace::on_connect`].
    pub fn on_connect<P: 'static>(&self, handler: impl Handler<P>) {
        self.0.namespace.on_connect(handler);
    }

    /// Calls `middleware` for each client that wants to connect to a child: see [`Namespace::middleware`].
    #[doc(alias = "use")]
    pub fn middleware<P: 'static>(&self, middleware: impl Middleware<P>) {
        self.0.namespace.middleware(middleware);
    }

    /// Calls `handler` for each event of this name that a client of a child sends: see [`Namespace::on`].
    ///
    /// # Panics
    /// If the name is reserved: see [`Socket::on`](crate::Socket::on).
    #[track_caller]
    pub fn on<P: 'static>(&self, event: impl Into<Cow<'static, str>>, handler: impl Handler<P>) {
        self.0.namespace.on(event, handler);
    }

    /// Calls `handler` for every event that a client of a child sends: see [`Namespace::on_any`].
    pub fn on_any<P: 'static>(&self, handler: impl Handler<P>) {
        self.0.namespace.on_any(handler);
    }

    /// Calls `handler` for each event in a child that has no handler of its own: see [`Namespace::on_fallback`].
    pub fn on_fallback<P: 'static>(&self, handler: impl Handler<P>) {
        self.0.namespace.on_fallback(handler);
    }

    /// Calls `handler` once for each socket of a child whose client moves from polling to WebSocket: see
    /// [`Namespace::on_upgrade`].
    pub fn on_upgrade<P: 'static>(&self, handler: impl Handler<P>) {
        self.0.namespace.on_upgrade(handler);
    }

    /// Asks `middleware` about each event that a client of a child sends: see [`Namespace::use_packet`].
    #[doc(alias = "use")]
    pub fn use_packet<P: 'static>(&self, middleware: impl Middleware<P, Result<(), PacketError>>) {
        self.0.namespace.use_packet(middleware);
    }

    /// Calls `handler` for each event in a child that a packet middleware refused: see [`Namespace::on_error`].
    pub fn on_error<P: 'static>(&self, handler: impl Handler<P>) {
        self.0.namespace.on_error(handler);
    }

    /// Asks clients of a child whose credentials have expired for new ones: see [`Namespace::renew_auth`].
    pub fn renew_auth<P: 'static>(
        &self,
        grace: Duration,
        decide: impl Middleware<P, Result<Duration, ConnectError>>,
    ) {
        self.0.namespace.renew_auth(grace, decide);
    }

    /// Calls `handler` once for each socket of a child that is being disconnected: see
    /// [`Namespace::on_disconnecting`].
    pub fn on_disconnecting<P: 'static>(&self, handler: impl Handler<P>) {
        self.0.namespace.on_disconnecting(handler);
    }

    /// Calls `handler` once for each socket of a child that is disconnected: see [`Namespace::on_disconnect`].
    pub fn on_disconnect<P: 'static>(&self, handler: impl Handler<P>) {
        self.0.namespace.on_disconnect(handler);
    }

    /// Calls `handler` for each change of a room of a child: see [`Namespace::on_room_event`].
    pub fn on_room_event(&self, handler: impl Fn(RoomEvent<'_>) + Send + Sync + 'static) {
        self.0.namespace.on_room_event(handler);
    }

    /// Calls `handler` for each event of this name that another server sends to a child: see
    /// [`Namespace::on_server_side_event`].
    ///
    /// # Panics
    /// If the name is reserved: `connect`, `connection` and `new_namespace` are.
    #[track_caller]
    pub fn on_server_side_event<P: 'static>(
        &self,
        event: impl Into<Cow<'static, str>>,
        handler: impl Handler<P, ServerSide>,
    ) {
        self.0.namespace.on_server_side_event(event, handler);
    }

    /// Sends to every socket of every child: see [`ParentBroadcast::emit`].
    pub fn emit(&self, event: &str, args: impl Payload) -> Delivery {
        self.everyone().emit(event, args)
    }

    /// Targets the sockets in a room of any child. More rooms can be added; each socket is reached once.
    pub fn to(&self, rooms: impl RoomNames) -> ParentBroadcast {
        self.everyone().to(rooms)
    }

    /// Does the same as [`to`](ParentNamespace::to).
    pub fn within(&self, rooms: impl RoomNames) -> ParentBroadcast {
        self.everyone().to(rooms)
    }

    /// Targets every socket except those in a room.
    pub fn except(&self, rooms: impl RoomNames) -> ParentBroadcast {
        self.everyone().except(rooms)
    }

    /// Sends an event named `message` to every socket of every child: see [`ParentBroadcast::emit`].
    pub fn send(&self, args: impl Payload) -> Delivery {
        self.emit("message", args)
    }

    /// Sets whether messages to every socket may be compressed: see [`Socket::compress`](crate::Socket::compress).
    pub fn compress(&self, compress: bool) -> ParentBroadcast {
        self.everyone().compress(compress)
    }

    /// Targets every socket with messages that are dropped for clients that are not ready for them.
    pub fn volatile(&self) -> ParentBroadcast {
        self.everyone().volatile()
    }

    /// Targets only the sockets of this server, if it is part of a [cluster](crate::cluster).
    pub fn local(&self) -> ParentBroadcast {
        self.everyone().local()
    }

    fn everyone(&self) -> ParentBroadcast {
        ParentBroadcast { parent: self.clone(), broadcast: Broadcast::new(self.0.namespace.clone()) }
    }
}

impl fmt::Debug for ParentNamespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParentNamespace").field("pattern", &self.pattern()).finish_non_exhaustive()
    }
}

/// The recipients of a message in all children of a [`ParentNamespace`], and the flags for sending it.
///
/// The message is encoded once for each child, because it names the child. In a [cluster](crate::cluster), the children are
/// those that exist on this server; their sockets on other servers are recipients, too.
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until `emit`"]
pub struct ParentBroadcast {
    parent: ParentNamespace,
    broadcast: Broadcast,
}

impl ParentBroadcast {
    /// Adds the sockets in this room of any child. Without any room, all sockets are recipients.
    pub fn to(self, rooms: impl RoomNames) -> ParentBroadcast {
        ParentBroadcast { broadcast: self.broadcast.to(rooms), ..self }
    }

    /// Does the same as [`to`](ParentBroadcast::to).
    pub fn within(self, rooms: impl RoomNames) -> ParentBroadcast {
        self.to(rooms)
    }

    /// Excludes the sockets in this room.
    pub fn except(self, rooms: impl RoomNames) -> ParentBroadcast {
        ParentBroadcast { broadcast: self.broadcast.except(rooms), ..self }
    }

    /// Drops the message for clients that are not ready for it: see [`Socket::volatile`](crate::Socket::volatile).
    pub fn volatile(self) -> ParentBroadcast {
        ParentBroadcast { broadcast: self.broadcast.volatile(), ..self }
    }

    /// Restricts the recipients to the sockets of this server, if it is part of a [cluster](crate::cluster).
    pub fn local(self) -> ParentBroadcast {
        ParentBroadcast { broadcast: self.broadcast.local(), ..self }
    }

    /// Sets whether the message may be compressed: see [`Socket::compress`](crate::Socket::compress).
    pub fn compress(self, compress: bool) -> ParentBroadcast {
        ParentBroadcast { broadcast: self.broadcast.compress(compress), ..self }
    }

    /// Sends the message, and returns how many sockets of all children it was queued for. Never waits. The error is that
    /// of the first child that has one: see [`Broadcast::emit`].
    pub fn emit(self, event: &str, args: impl Payload) -> Delivery {
        let mut total = Delivery::default();
        for child in self.parent.children() {
            let delivery = self.broadcast.clone().in_namespace(child).emit_ref(event, &args);
            total.sent += delivery.sent;
            total.dropped += delivery.dropped;
            total.error = total.error.or(delivery.error);
            total.published |= delivery.published;
        }
        total
    }
}

impl Parent {
    pub(super) fn with_pattern(
        pattern: &str,
        parser: Parser,
        limits: &Limits,
        engine: Weak<Engine>,
    ) -> Result<Parent, PatternError> {
        let pattern = with_slash(pattern);
        let mut router = Router::new();
        router
            .insert(pattern.as_ref(), ())
            .map_err(|error: InsertError| PatternError::Malformed(error.to_string()))?;
        let names = ["\0", "\0/\0"].map(|several| fill_in(&pattern, several));
        let [Some(shortest), Some(longer)] = names else { return Err(PatternError::NoParameter) };
        check_namespace(&shortest, limits.max_namespace_len)?;
        let namespace = Namespace::new(&pattern, parser, engine);
        Ok(Parent { namespace, matcher: Matcher::Pattern(router, [shortest, longer]) })
    }

    /// Returns whether the name of a child may be this. A function has yet to be asked.
    pub(super) fn may_match(&self, name: &str) -> bool {
        match &self.matcher {
            Matcher::Pattern(router, _) => router.at(name).is_ok(),
            Matcher::Function(_) => true,
        }
    }

    /// Returns whether there is a pattern, and this name matches it.
    pub(super) fn has_pattern_for(&self, name: &str) -> bool {
        matches!(self.matcher, Matcher::Pattern(..)) && self.may_match(name)
    }

    /// Returns whether the pattern of this parent matches every name that that of another one does.
    pub(super) fn shadows(&self, other: &Parent) -> bool {
        match &other.matcher {
            Matcher::Pattern(_, names) => names.iter().all(|name| self.has_pattern_for(name)),
            Matcher::Function(_) => false,
        }
    }

    /// Decides whether the name of a child may be this. The caller logs a panic of the application's function.
    pub(super) async fn decide(&self, name: &str, auth: &str, handshake: &Handshake) -> Result<bool, Panic> {
        let Matcher::Function(decide) = &self.matcher else { return Ok(self.may_match(name)) };
        match catch(|| decide(name, auth, handshake))? {
            Some(decision) => Guarded(decision).await,
            None => Ok(false),
        }
    }

    /// Returns the names and the values of the parameters in a child's name; `None` if there is no pattern.
    pub(super) fn params<'a>(&'a self, name: &'a str) -> Option<Vec<(&'a str, &'a str)>> {
        match &self.matcher {
            Matcher::Pattern(router, _) => Some(router.at(name).ok()?.params.iter().collect()),
            Matcher::Function(_) => None,
        }
    }
}

/// Returns a name that matches a well-formed pattern: each parameter is U+0000, and one for several segments is
/// `several`. Returns `None` if there is no parameter.
fn fill_in(pattern: &str, several: &str) -> Option<String> {
    let (mut name, mut has_parameter) = (String::new(), false);
    let mut rest = pattern.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            // Two braces are one that is meant literally.
            '{' | '}' if rest.next_if_eq(&c).is_some() => name.push(c),
            '{' => {
                has_parameter = true;
                name.push_str(if rest.peek() == Some(&'*') { several } else { "\0" });
                rest.find(|&c| c == '}');
            }
            _ => name.push(c),
        }
    }
    has_parameter.then_some(name)
}
