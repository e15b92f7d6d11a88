//! Events between the servers of a cluster, which no client sees.

use super::Server;
use super::answers::AckStream;
use super::namespace::Namespace;
use crate::error::EmitError;
use crate::extract::{Context, Extract, ExtractError, State};
use crate::failed_event::FailedEvent;
use crate::handler::{Acknowledge, AnySocket, Handler, Kept};
use crate::listeners::{Called, Entry, On};
use crate::log::{self, Span};
use crate::observe::{self, HandlerFailure};
use crate::payload::sealed::{Encode, Head, Kind};
use crate::payload::{Payload, with_encoder};
use crate::server::ack::Waiter;
use crate::server::cluster::Gathering;
use sockeye_core::socketio::{self, EncodeError, Encoded, Parser};
use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

/// The names that no event between servers may have, as in the reference.
const RESERVED: [&str; 3] = ["connect", "connection", "new_namespace"];

/// An event that another server sent. The handlers of [`Namespace::on_server_side_event`] are
/// [`Handler`]`<_, ServerSide>`.
#[derive(Clone)]
pub struct ServerSide {
    namespace: Namespace,
    /// Sends the answer to the other server.
    reply: Arc<dyn Acknowledge>,
}

impl ServerSide {
    /// Returns the namespace of the event, on this server.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }
}

impl Namespace {
    /// Sends an event to the other servers of the cluster, whose
    /// [`on_server_side_event`](Namespace::on_server_side_event) handlers receive it; no client and not this server does.
    /// Never waits. Without an [adapter](crate::ServerBuilder::adapter) there is no other server.
    ///
    /// ```
    /// # let io = sockeye::Server::new();
    /// io.of("/chat").server_side_emit("word banned", "spam").expect("text can be sent");
    /// ```
    ///
    /// # Errors
    /// If nothing was sent, because the arguments cannot be encoded, or the name is reserved: `connect`, `connection` and
    /// `new_namespace` are.
    pub fn server_side_emit(&self, event: &str, args: impl Payload) -> Result<(), EmitError> {
        let link = self.link();
        encode(self.name(), event, &args, |encoded| {
            if let Some(link) = &link {
                link.queue(|state, now| {
                    state.cluster.server_side_emit(now, self.name(), event, encoded.into())
                });
            }
        })?;
        link.iter().for_each(|link| link.send());
        Ok(())
    }

    /// Sends an event to the other servers of the cluster, and waits for their answers: see
    /// [`server_side_emit`](Namespace::server_side_emit). If there is no other server, there is no answer to wait for, and the
    /// result is complete.
    ///
    /// The result is that of a broadcast to sockets. The [`socket`](crate::Answered::socket) of an answer is `None`, because a
    /// server has answered; [`silent_servers`](crate::Answers::silent_servers) names those that did not do so within
    /// [`Adapter::request_timeout`](crate::cluster::Adapter::request_timeout) (default: 5 s); and if nothing could be sent,
    /// [`error`](crate::Answers::error) says why. Of an answer with several arguments, only the first arrives.
    ///
    /// ```
    /// # async fn count(io: sockeye::Server) {
    /// // The clients of this server, and those of the others.
    /// let others = io.server_side_emit_with_ack::<usize>("clients", ()).await;
    /// let total = io.clients_count() + others.values().sum::<usize>();
    /// # }
    /// ```
    pub fn server_side_emit_with_ack<T>(&self, event: &str, args: impl Payload) -> AckStream<T> {
        let waiter = Waiter::new(self.next_ack(|_| false), self.0.engine.clone());
        let link = self.link();
        let sent = encode(self.name(), event, &args, |encoded| {
            if let Some(link) = &link {
                waiter.ask_cluster(link);
                waiter.begin(link, |cluster, now| {
                    cluster.server_side_emit_with_ack(now, self.name(), event, encoded.into(), None)
                });
            }
        });
        match sent {
            Ok(()) => link.iter().for_each(|link| link.send()),
            Err(error) => waiter.fail_all(error),
        }
        AckStream::new(waiter)
    }

    /// Calls `handler` for each event of this name that another server sends by
    /// [`server_side_emit`](Namespace::server_side_emit), after the handlers of the event that were registered before. No
    /// client can send it.
    ///
    /// A handler can extract [`Data`](crate::extract::Data), [`TryData`](crate::extract::TryData),
    /// [`Args`](crate::Args), [`Event`](crate::extract::Event), [`AckSender`](crate::extract::AckSender),
    /// [`State`](crate::extract::State), [`Namespace`] and [`Server`]. Its return value is the answer, if the other server
    /// waits for one; of several handlers, that of the first that can be called. It cannot be removed, and must not
    /// capture a handle of the namespace or the server, which would then never end. A handler that blocks holds up
    /// everything that other servers send: see
    /// [`ClusterLimits::max_unhandled`](crate::cluster::ClusterLimits::max_unhandled).
    ///
    /// ```
    /// use sockeye::Server;
    /// use sockeye::extract::Data;
    ///
    /// let io = Server::new();
    /// io.on_server_side_event("clients", async |io: Server| io.clients_count());
    /// io.on_server_side_event("word banned", async |Data(word): Data<String>| println!("no more {word}"));
    /// ```
    ///
    /// # Panics
    /// If the name is reserved: `connect`, `connection` and `new_namespace` are.
    #[track_caller]
    pub fn on_server_side_event<P: 'static>(
        &self,
        event: impl Into<Cow<'static, str>>,
        handler: impl Handler<P, ServerSide>,
    ) {
        let event = event.into();
        assert!(!RESERVED.contains(&&*event), "{event:?} is a reserved event name");
        self.0.functions.add_server_side(Entry::new(On::Event(event), Kept::new(handler), false));
    }

    /// Returns the number of servers with this namespace, this one included: 1 without an
    /// [adapter](crate::ServerBuilder::adapter). If the bus does not know it within
    /// [`Adapter::request_timeout`](crate::cluster::Adapter::request_timeout), those are counted that send heartbeats.
    ///
    /// ```
    /// # async fn example(io: sockeye::Server) {
    /// println!("{} servers", io.server_count().await);
    /// # }
    /// ```
    pub fn server_count(&self) -> impl Future<Output = usize> + Send + use<> {
        let namespace = self.clone();
        async move {
            let Some(link) = namespace.link() else { return 1 };
            let asked = Gathering::begin(link, |cluster, now| cluster.count_servers(now, namespace.name()));
            asked.await.servers.unwrap_or(1)
        }
    }

    /// Calls the handlers for an event that another server sent. With `ack`, that waits for an answer, which `reply`
    /// sends. The caller must hold no lock.
    pub(crate) fn handle_server_side_event(
        &self,
        event: &str,
        args: &socketio::Args<'_>,
        ack: Option<u64>,
        reply: Arc<dyn Acknowledge>,
    ) {
        let from = ServerSide { namespace: self.clone(), reply };
        let shared = self.0.functions.server_side(event);
        if !Called::None.run_with(shared, std::iter::empty(), &from, event, args, ack) {
            from.tell_failure(event, HandlerFailure::Unhandled, ack);
        }
    }
}

/// Calls `send` with the arguments of an event, if it can be sent to other servers.
pub(super) fn encode(
    namespace: &str,
    event: &str,
    args: &impl Payload,
    send: impl FnOnce(Encoded<'_>),
) -> Result<(), EmitError> {
    if RESERVED.contains(&event) {
        return Err(EncodeError::ReservedEvent.into());
    }
    crate::payload::check(args)?;
    // Without the event's name, because those that clients must not send are allowed.
    let head = Head { namespace, kind: Kind::Ack(0) };
    with_encoder(Parser::default(), |encoder| Ok(args.encode(encoder, head).map(send)?))
}

impl Server {
    /// Sends an event to the other servers of the cluster: see [`Namespace::server_side_emit`].
    ///
    /// # Errors
    /// If nothing was sent: see [`Namespace::server_side_emit`].
    pub fn server_side_emit(&self, event: &str, args: impl Payload) -> Result<(), EmitError> {
        self.of("/").server_side_emit(event, args)
    }

    /// Sends an event to the other servers of the cluster, and waits for their answers: see
    /// [`Namespace::server_side_emit_with_ack`].
    pub fn server_side_emit_with_ack<T>(&self, event: &str, args: impl Payload) -> AckStream<T> {
        self.of("/").server_side_emit_with_ack(event, args)
    }

    /// Returns the number of servers, this one included: see [`Namespace::server_count`].
    pub fn server_count(&self) -> impl Future<Output = usize> + Send + use<> {
        self.of("/").server_count()
    }

    /// Calls `handler` for each event of this name that another server sends: see [`Namespace::on_server_side_event`].
    ///
    /// # Panics
    /// If the name is reserved: `connect`, `connection` and `new_namespace` are.
    #[track_caller]
    pub fn on_server_side_event<P: 'static>(
        &self,
        event: impl Into<Cow<'static, str>>,
        handler: impl Handler<P, ServerSide>,
    ) {
        self.of("/").on_server_side_event(event, handler);
    }
}

impl AnySocket for ServerSide {
    fn spawn(&self, future: impl Future + Send + 'static) {
        let Some(engine) = self.namespace.0.engine.upgrade() else { return };
        let Some(runtime) = engine.runtime() else { return };
        runtime.spawn(Box::pin(async move {
            future.await;
        }));
    }

    fn span(&self, event: &str) -> Span {
        log::detached_handler(event, self.namespace.name())
    }

    fn ask_about(&self, event: &str, failure: HandlerFailure<'_>, ack: Option<u64>) -> Option<EmitError> {
        let engine = self.namespace.0.engine.upgrade()?;
        let function = engine.application.on_handler_error.as_ref()?;
        let reply = ack.map(|id| (id, self as &dyn Acknowledge));
        let failed = FailedEvent::new(None, self.namespace.name(), event, failure, reply);
        failed.tell(function)
    }

    fn log_failure(&self, event: &str, failure: HandlerFailure<'_>) {
        observe::log_server_side_failure(self.namespace.name(), event, failure);
    }
}

impl Acknowledge for ServerSide {
    fn acknowledge(&self, id: u64, args: &dyn Encode) -> Result<(), EmitError> {
        self.reply.acknowledge(id, args)
    }
}

impl Extract<ServerSide> for Namespace {
    fn extract(context: &Context<'_, ServerSide>) -> Result<Self, ExtractError> {
        Ok(context.socket.namespace.clone())
    }
}

impl Extract<ServerSide> for Server {
    fn extract(context: &Context<'_, ServerSide>) -> Result<Self, ExtractError> {
        let engine = context.socket.namespace.0.engine.upgrade();
        engine.map(Server::from_engine).ok_or(ExtractError::Unavailable("the server"))
    }
}

impl<T: Clone + Send + Sync + 'static> Extract<ServerSide> for State<T> {
    fn extract(context: &Context<'_, ServerSide>) -> Result<Self, ExtractError> {
        let engine = context.socket.namespace.0.engine.upgrade();
        let state = engine.and_then(|engine| engine.application.state::<T>());
        state.map(State).ok_or_else(|| ExtractError::State(std::any::type_name::<T>()))
    }
}

impl fmt::Debug for ServerSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerSide").field("namespace", &self.namespace.name()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extract::{AckSender, Data, Event};
    use parking_lot::Mutex;

    /// Keeps the answers as packets.
    #[derive(Default)]
    struct Replies(Mutex<Vec<(u64, String)>>);

    impl Acknowledge for Replies {
        fn acknowledge(&self, id: u64, args: &dyn Encode) -> Result<(), EmitError> {
            let head = Head { namespace: "/", kind: Kind::Ack(id) };
            let json = with_encoder(Default::default(), |encoder| {
                let packet = args.encode(encoder, head)?.parts().next().map(|part| match part {
                    sockeye_core::engineio::Part::Text(text) => String::from_utf8_lossy(text).into_owned(),
                    sockeye_core::engineio::Part::Binary(_) => "bytes".to_owned(),
                });
                Ok::<_, EmitError>(packet.unwrap_or_default())
            })?;
            self.0.lock().push((id, json));
            Ok(())
        }
    }

    /// Lets an event arrive from another server, and returns the answers that it gets at once.
    fn receive(
        namespace: &Namespace,
        event: &str,
        args: impl Payload,
        ack: Option<u64>,
    ) -> Vec<(u64, String)> {
        let head = Head { namespace: "/", kind: Kind::Event("any", None) };
        let args = with_encoder(Default::default(), |encoder| {
            args.encode(encoder, head).expect("the test's arguments can be encoded").event_args()
        });
        let replies = Arc::new(Replies::default());
        namespace.handle_server_side_event(event, &args.as_args(), ack, replies.clone());
        std::mem::take(&mut *replies.0.lock())
    }

    #[test]
    fn the_first_handler_that_can_be_called_answers_another_server() {
        let server = Server::builder().state("state").build();
        let chat = server.of("/chat");
        chat.on_server_side_event("add", async |Data((a, b)): Data<(i64, i64)>| a + b);
        chat.on_server_side_event("add", async |Event(event): Event, of: Namespace| {
            (event, of.name().to_owned())
        });
        assert_eq!(receive(&chat, "add", (2, 3), Some(7)), [(7, "37[5]".into())]);
        assert_eq!(receive(&chat, "add", "x", Some(8)), [(8, r#"38["add","/chat"]"#.into())]);
        assert_eq!(receive(&chat, "add", (2, 3), None), []);
        assert_eq!(receive(&chat, "unknown", (), Some(9)), []);
        assert_eq!(receive(&server.of("/"), "add", (2, 3), Some(7)), []);
        chat.on_server_side_event("who", async |_: Server, State(state): State<&'static str>| state);
        assert_eq!(receive(&chat, "who", (), Some(1)), [(1, r#"31["state"]"#.into())]);
        chat.on_server_side_event("later", async |ack: AckSender| ack.send("answer"));
        assert_eq!(receive(&chat, "later", (), Some(2)), [(2, r#"32["answer"]"#.into())]);
    }

    #[test]
    fn a_handler_that_panics_answers_nothing_and_the_next_event_is_handled() {
        let server = Server::new();
        let main = server.of("/");
        main.on_server_side_event("e", async |Data(fails): Data<bool>| assert!(!fails));
        assert_eq!(receive(&main, "e", true, Some(1)), []);
        assert_eq!(receive(&main, "e", false, Some(2)), [(2, "32[]".into())]);
    }

    #[test]
    fn a_failure_is_acknowledged_by_the_function_for_failures() {
        let server = Server::builder()
            .on_handler_error(|failed| {
                assert!(failed.socket().is_none());
                failed.ack((failed.namespace(), failed.event(), failed.failure().to_string()));
            })
            .build();
        let chat = server.of("/chat");
        chat.on_server_side_event("panic", async || -> () { panic!("a bug of the application") });
        chat.on_server_side_event("own", async || Err::<(), _>("no"));
        assert_eq!(
            receive(&chat, "panic", (), Some(1)),
            [(1, r#"31["/chat","panic","a panic: a bug of the application"]"#.into())]
        );
        assert_eq!(receive(&chat, "own", (), Some(1)), [(1, r#"31["no"]"#.into())]);
        let unhandled = r#"31["/chat","none","there is no handler for it"]"#;
        assert_eq!(receive(&chat, "none", (), Some(1)), [(1, unhandled.into())]);
    }

    #[test]
    fn handlers_of_a_parent_are_called_for_its_children() {
        let server = Server::new();
        server.of_pattern("/x-{n}").on_server_side_event("name", async |of: Namespace| of.name().to_owned());
        assert_eq!(receive(&server.of("/x-1"), "name", (), Some(1)), [(1, r#"31["/x-1"]"#.into())]);
    }
}
