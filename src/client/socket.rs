//! A client's socket: one namespace of its server.

use super::events::{Events, Inbox, Received};
use super::shared::Shared;
use super::wait::{AckFuture, AckState, Connected, Sent};
use super::{ConnectError, DisconnectReason};
use crate::engine::Transport;
use crate::error::EmitError;
use crate::extract::{Context, Outcome};
use crate::handler::{Answerer, Handler, Kept, Target, run};
use crate::handlers::Handlers;
use crate::log::debug;
use crate::payload::sealed::{Head, Kind};
use crate::payload::{Args, Payload, parts, with_encoder};
use parking_lot::Mutex;
use sockeye_core::engineio::client as engine;
use sockeye_core::socketio;
use sockeye_core::socketio::client::{How, Incoming, NamespaceId, Outgoing, Sent as Queued};
use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::{Arc, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

/// One namespace of a client's server: a handle that is cheap to clone and owns nothing.
///
/// It stays the same over connections that come and go, with its handlers and with what waits to be sent. Once the
/// [`Client`](crate::Client) and its connection are gone, emitting answers with an error.
#[derive(Clone)]
pub struct ClientSocket(pub(super) Arc<Inner>);

pub(super) struct Inner {
    shared: Weak<Shared>,
    pub(super) id: NamespaceId,
    name: Arc<str>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Those of what happens to the socket have reserved names: no event comes under them.
    handlers: Handlers<ClientSocket>,
    any: Option<Kept<ClientSocket>>,
    any_outgoing: Option<Kept<ClientSocket>>,
    inboxes: Vec<Weak<Inbox>>,
    /// Who waits for the end of an attempt to connect.
    waiters: Vec<Waker>,
    failures: u64,
    last_error: Option<Box<ConnectError>>,
}

impl Inner {
    pub(super) fn new(shared: Weak<Shared>, id: NamespaceId, name: Arc<str>) -> Inner {
        Inner { shared, id, name, state: Mutex::default() }
    }

    /// Lets go of the handlers, and of who waits.
    pub(super) fn release(&self) {
        let State { inboxes, waiters, .. } = std::mem::take(&mut *self.state.lock());
        inboxes.iter().filter_map(Weak::upgrade).for_each(|inbox| inbox.end());
        waiters.into_iter().for_each(Waker::wake);
    }
}

impl ClientSocket {
    fn shared(&self) -> Option<Arc<Shared>> {
        self.0.shared.upgrade()
    }

    // What it is.

    /// The name of the namespace.
    pub fn namespace(&self) -> &str {
        &self.0.name
    }

    /// The id that the server gave, while connected.
    pub fn id(&self) -> Option<String> {
        self.shared()?.look(|client| client.sid(self.0.id).map(String::from))
    }

    /// Whether the namespace is joined.
    pub fn is_connected(&self) -> bool {
        self.shared().is_some_and(|shared| shared.look(|client| client.is_connected(self.0.id)))
    }

    /// Whether it is joined, or going to be, as soon as there is a connection.
    pub fn is_active(&self) -> bool {
        self.shared().is_some_and(|shared| shared.look(|client| client.is_active(self.0.id)))
    }

    /// Whether the server took the last connection as a continuation of the one before, so that no event is missing.
    pub fn recovered(&self) -> bool {
        self.shared().is_some_and(|shared| shared.look(|client| client.recovered(self.0.id)))
    }

    /// The transport in use, while there is a connection.
    pub fn transport(&self) -> Option<Transport> {
        self.shared()?.look(|client| client.transport())
    }

    // What happens.

    /// Calls `handler` for each event of this name, in place of an earlier handler of it.
    ///
    /// As on the server: handlers start in the order in which the events were sent, and what a handler returns is the
    /// acknowledgement, if the server wants one.
    ///
    /// # Panics
    /// When the name is [reserved](socketio::is_reserved), as no such event can come.
    pub fn on<P: 'static>(
        &self,
        event: impl Into<Cow<'static, str>>,
        handler: impl Handler<P, ClientSocket>,
    ) {
        let event = event.into();
        assert!(!socketio::is_reserved(&event), "{event:?} is a reserved event name");
        self.change(|state| state.handlers.insert(event, Kept::new(handler)));
    }

    /// The same for the next event of this name only.
    ///
    /// # Panics
    /// When the name is reserved.
    pub fn once<P: 'static>(
        &self,
        event: impl Into<Cow<'static, str>>,
        handler: impl Handler<P, ClientSocket>,
    ) {
        let event = event.into();
        assert!(!socketio::is_reserved(&event), "{event:?} is a reserved event name");
        self.change(|state| state.handlers.insert_once(event, Kept::new(handler)));
    }

    /// Drops the handler that `change` takes out only when nothing is locked: what it captured is the application's,
    /// and its destructor may use the socket.
    fn change(&self, change: impl FnOnce(&mut State) -> Option<Kept<ClientSocket>>) {
        let replaced = change(&mut self.0.state.lock());
        drop(replaced);
    }

    /// Calls nothing any more for events of this name.
    pub fn off(&self, event: &str) {
        if !socketio::is_reserved(event) {
            self.change(|state| state.handlers.remove(event));
        }
    }

    /// Calls `handler` for every event, before its own handler, in place of an earlier one. Its return value is no
    /// acknowledgement.
    pub fn on_any<P: 'static>(&self, handler: impl Handler<P, ClientSocket>) {
        self.change(|state| state.any.replace(Kept::new(handler)));
    }

    /// Takes the handler of [`on_any`](ClientSocket::on_any) back.
    pub fn off_any(&self) {
        self.change(|state| state.any.take());
    }

    /// Calls `handler` for every event that leaves, in place of an earlier one: when it is handed to the connection.
    /// One that waits for a connection is seen later, one that is sent
    /// [again](crate::client::ClientBuilder::retries) each time, and what the handler emits itself, too. Its return
    /// value means nothing.
    ///
    /// ```no_run
    /// # fn example(client: sockeye::Client) {
    /// use sockeye::{Args, extract::Event};
    ///
    /// client.on_any_outgoing(async |Event(name): Event, args: Args| println!("{name} with {} arguments", args.len()));
    /// # }
    /// ```
    pub fn on_any_outgoing<P: 'static>(&self, handler: impl Handler<P, ClientSocket>) {
        self.change(|state| state.any_outgoing.replace(Kept::new(handler)));
        self.tell_outgoing(true);
    }

    /// Takes the handler of [`on_any_outgoing`](ClientSocket::on_any_outgoing) back.
    pub fn off_any_outgoing(&self) {
        self.tell_outgoing(false);
        self.change(|state| state.any_outgoing.take());
    }

    fn tell_outgoing(&self, tell: bool) {
        if let Some(shared) = self.shared() {
            shared.look(|client| client.tell_outgoing(self.0.id, tell));
        }
    }

    /// Calls `handler` each time the namespace is joined, in place of an earlier one.
    pub fn on_connect<P: 'static>(&self, handler: impl Handler<P, ClientSocket>) {
        self.change(|state| state.handlers.insert("connect".into(), Kept::new(handler)));
    }

    /// Calls `handler` each time the namespace cannot be joined, in place of an earlier one; it can ask for the
    /// [`ConnectError`].
    pub fn on_connect_error<P: 'static>(&self, handler: impl Handler<P, ClientSocket>) {
        self.change(|state| state.handlers.insert("connect_error".into(), Kept::new(handler)));
    }

    /// Calls `handler` each time the namespace is left, in place of an earlier one; it can ask for the
    /// [`DisconnectReason`].
    pub fn on_disconnect<P: 'static>(&self, handler: impl Handler<P, ClientSocket>) {
        self.change(|state| state.handlers.insert("disconnect".into(), Kept::new(handler)));
    }

    /// The events from now on, to be taken one by one, beside the handlers. While 4 MiB of them wait, the server is not
    /// read, and so no answer comes either: who takes them must not wait for one that long.
    ///
    /// ```no_run
    /// # async fn example(client: sockeye::Client) {
    /// use std::time::Duration;
    ///
    /// let mut events = client.events();
    /// while let Some(received) = events.recv_timeout(Duration::from_secs(5)).await {
    ///     println!("{} {:?}", received.event(), received.args().deserialize::<String>());
    /// }
    /// # }
    /// ```
    pub fn events(&self) -> Events {
        let inbox = Inbox::new(self.0.shared.clone());
        if self.shared().is_none() {
            inbox.end();
        }
        let mut state = self.0.state.lock();
        state.inboxes.retain(|known| known.strong_count() > 0);
        state.inboxes.push(Arc::downgrade(&inbox));
        Events { inbox }
    }

    // The connection.

    /// Joins the namespace; opens the connection if there is none. Does nothing if that goes on already.
    pub fn connect(&self) {
        if let Some(shared) = self.shared() {
            shared.act(|client, now| client.connect(now, self.0.id));
        }
    }

    /// Waits until the namespace is joined, or an attempt fails.
    ///
    /// After a failure of the connection the next attempt may still succeed, if
    /// [`reconnection`](crate::client::ClientBuilder::reconnection) is on: this can be called again.
    pub fn connected(&self) -> Connected {
        let failures = self.0.state.lock().failures;
        Connected { socket: self.clone(), failures }
    }

    pub(super) fn poll_connected(
        &self,
        cx: &mut std::task::Context<'_>,
        failures: u64,
    ) -> Poll<Result<(), ConnectError>> {
        let attempt = self.attempt(failures);
        if attempt.is_ready() {
            return attempt;
        }
        {
            let waiters = &mut self.0.state.lock().waiters;
            if !waiters.iter().any(|known| known.will_wake(cx.waker())) {
                waiters.push(cx.waker().clone());
            }
        }
        // It could have ended meanwhile.
        self.attempt(failures)
    }

    /// What became of the attempt to join after so many that failed.
    fn attempt(&self, failures: u64) -> Poll<Result<(), ConnectError>> {
        if self.is_connected() {
            return Poll::Ready(Ok(()));
        }
        let is_active = self.is_active();
        let state = self.0.state.lock();
        if state.failures == failures && is_active {
            return Poll::Pending;
        }
        let gone = || ConnectError::Closed(engine::CloseReason::Client);
        Poll::Ready(Err(state.last_error.as_deref().cloned().unwrap_or_else(gone)))
    }

    /// Leaves the namespace; with the last one the connection is closed. It is not joined again by itself.
    ///
    /// The server is told once it has read the events that were sent before, or after five seconds: the reference drops
    /// events that it reads together with the end of their namespace.
    ///
    /// If [`connect`](ClientSocket::connect) joins it again while other namespaces keep the connection, the server is
    /// asked once it has read that the namespace was left; over WebSocket that takes one round trip, or two seconds if
    /// the server does not answer pings. What it sent before is not delivered. By polling, such events cannot be told
    /// from those that a middleware sends before the answer to the next attempt, so that these are not delivered either.
    pub fn disconnect(&self) {
        if let Some(shared) = self.shared() {
            shared.act(|client, now| client.disconnect(now, self.0.id));
        }
        self.wake_waiters();
    }

    // Sending.

    /// Sends an event. Never waits: without a connection it is kept for later, as
    /// [`offline`](crate::client::ClientBuilder::offline) says. What is given back can be awaited for what becomes of
    /// it.
    ///
    /// The arguments are any [`Payload`]: a tuple is several, `()` none, anything else one.
    ///
    /// # Errors
    /// When it is not sent, now or later.
    pub fn emit(&self, event: &str, args: impl Payload) -> Result<Sent, EmitError> {
        self.send(event, &args, false, None).map(|(sent, _)| sent)
    }

    /// Sends an event, and waits for the server's acknowledgement: 30 s, or what
    /// [`ack_timeout`](crate::client::ClientBuilder::ack_timeout) or [`timeout`](ClientSocket::timeout) says.
    ///
    /// The answer is read as `T`: a tuple takes the server's arguments in order, any other type the first. The message
    /// is sent by the call, before the future is awaited.
    pub fn emit_with_ack<T>(&self, event: &str, args: impl Payload) -> AckFuture<T> {
        self.ask(event, &args, false, None)
    }

    /// Sends with another time for the answer.
    pub fn timeout(&self, timeout: Duration) -> ClientEmitter<'_> {
        ClientEmitter { socket: self, timeout: Some(timeout), volatile: false }
    }

    /// Messages that are dropped if they cannot leave at once.
    pub fn volatile(&self) -> ClientEmitter<'_> {
        ClientEmitter { socket: self, timeout: None, volatile: true }
    }

    /// How many bytes wait for a connection, or for an acknowledgement with
    /// [`retries`](crate::client::ClientBuilder::retries).
    pub fn buffered(&self) -> usize {
        self.shared().map_or(0, |shared| shared.look(|client| client.buffered(self.0.id)))
    }

    /// Drops all that waits to be sent.
    pub fn clear_buffer(&self) {
        if let Some(shared) = self.shared() {
            shared.act(|client, _| client.clear(self.0.id));
        }
    }

    fn ask<T>(
        &self,
        event: &str,
        args: &impl Payload,
        volatile: bool,
        timeout: Option<Duration>,
    ) -> AckFuture<T> {
        let default = || self.shared().map_or(Duration::ZERO, |shared| shared.settings.config.ack_timeout);
        let timeout = timeout.unwrap_or_else(default);
        let state = match self.send(event, args, volatile, Some(timeout)) {
            Ok((_, Some(ack))) => AckState::Waiting(self.0.shared.clone(), self.0.id, ack),
            Ok((_, None)) => AckState::Done,
            Err(error) => AckState::Failed(error),
        };
        AckFuture { state, answer: PhantomData }
    }

    /// What became of it, and the id of the answer if one is awaited.
    fn send(
        &self,
        event: &str,
        args: &impl Payload,
        volatile: bool,
        answer_in: Option<Duration>,
    ) -> Result<(Sent, Option<u64>), EmitError> {
        let shared = self.shared().ok_or(EmitError::Disconnected)?;
        let (id, config) = (self.0.id, &shared.settings.config);
        let with_retries = config.retries > 0 && !volatile;
        let needs_ack = answer_in.is_some() || with_retries;
        let ack = needs_ack.then(|| shared.look(|client| client.next_ack(id)));
        let how = How { volatile, ack: ack.map(|ack| (ack, answer_in.unwrap_or(config.ack_timeout))) };
        // Before it is sent: the answer could be faster.
        if let (Some(ack), Some(_)) = (ack, answer_in) {
            shared.expect_answer(id, ack);
        }
        let head = Head { namespace: &self.0.name, kind: Kind::Event(event, ack) };
        let now = shared.now();
        let sent = with_encoder(|encoder| {
            let encoded = args.encode(encoder, head)?;
            shared.sending(|client| {
                let queued = client.send(now, id, parts(encoded), how)?;
                if let Queued::Later(token) = queued {
                    shared.expect_fate(token);
                }
                Ok::<_, EmitError>(queued)
            })
        });
        // With the encoder given back: handlers may be called.
        shared.act(|_, _| {});
        match sent {
            Ok(Queued::Now) => Ok((Sent(None), ack)),
            Ok(Queued::Later(token)) => Ok((Sent(Some((self.0.shared.clone(), token))), ack)),
            Err(error) => {
                if let (Some(ack), Some(_)) = (ack, answer_in) {
                    shared.forget_answer(id, ack);
                }
                Err(error)
            }
        }
    }

    // For the client.

    pub(super) fn connected_now(&self) {
        let handler = {
            let mut state = self.0.state.lock();
            state.last_error = None;
            state.handlers.get("connect")
        };
        self.wake_waiters();
        if let Some(handler) = handler {
            run(&*handler, &Context::new(self, "connect"));
        }
    }

    pub(super) fn not_connected(&self, error: ConnectError) {
        let handler = {
            let mut state = self.0.state.lock();
            state.failures += 1;
            state.last_error = Some(Box::new(error.clone()));
            state.handlers.get("connect_error")
        };
        self.wake_waiters();
        debug!(%error, "a namespace was not joined");
        if let Some(handler) = handler {
            let outcome = Outcome::Refused(error);
            let context = Context { outcome: Some(&outcome), ..Context::new(self, "connect_error") };
            run(&*handler, &context);
        }
    }

    pub(super) fn disconnected(&self, reason: DisconnectReason) {
        let handler = self.0.state.lock().handlers.get("disconnect");
        if let Some(handler) = handler {
            let outcome = Outcome::Disconnected(reason);
            let context = Context { outcome: Some(&outcome), ..Context::new(self, "disconnect") };
            run(&*handler, &context);
        }
    }

    pub(super) fn wake_waiters(&self) {
        let waiters = std::mem::take(&mut self.0.state.lock().waiters);
        waiters.into_iter().for_each(Waker::wake);
    }

    pub(super) fn receive(&self, incoming: Incoming) {
        let event = incoming.event();
        let (any, own, inboxes) = {
            let mut state = self.0.state.lock();
            let own = state.handlers.get(&event);
            let used = state.handlers.remove_once(&event);
            let inboxes: Vec<_> = state.inboxes.iter().filter_map(Weak::upgrade).collect();
            let any = state.any.clone();
            drop(state);
            drop(used);
            (any, own, inboxes)
        };
        let args = incoming.args.as_args();
        if let Some(any) = any {
            run(&*any, &Context { args: Some(args), ..Context::new(self, &event) });
        }
        let mut ack = incoming.ack;
        match own {
            Some(own) => {
                let ack = Cell::new(ack.take());
                run(&*own, &Context { args: Some(args), ack, ..Context::new(self, &event) });
            }
            None if inboxes.is_empty() => debug!(event = ?event, "an event without a handler"),
            None => {}
        }
        let size = size_of::<Received>() + args.json().len() + args.attachments().bytes();
        for inbox in inboxes {
            let (event, args) = (event.clone().into_owned(), Args(incoming.args.clone()));
            inbox.push(Received { socket: self.clone(), event, args, ack: ack.take(), size });
        }
    }

    pub(super) fn sent(&self, outgoing: &Outgoing) {
        let handler = self.0.state.lock().any_outgoing.clone();
        if let Some(handler) = handler {
            let args = Some(outgoing.args.as_args());
            run(&*handler, &Context { args, ..Context::new(self, &outgoing.event) });
        }
    }

    pub(crate) fn acknowledge_with(&self, id: u64, args: &impl Payload) -> Result<(), EmitError> {
        let shared = self.shared().ok_or(EmitError::Disconnected)?;
        let head = Head { namespace: &self.0.name, kind: Kind::Ack(id) };
        let now = shared.now();
        let sent = with_encoder(|encoder| {
            let encoded = args.encode(encoder, head)?;
            shared.sending(|client| client.acknowledge(now, self.0.id, parts(encoded)))
        });
        shared.act(|_, _| {});
        sent
    }
}

impl Target for ClientSocket {
    fn acknowledge_with(&self, id: u64, args: &impl Payload) -> Result<(), EmitError> {
        ClientSocket::acknowledge_with(self, id, args)
    }

    fn spawn(&self, future: impl Future + Send + 'static) {
        let Some(shared) = self.shared() else { return };
        let running = shared.begin_handler();
        if let Some(connector) = shared.connector() {
            connector.spawn(Box::pin(async move {
                let _running = running;
                future.await;
            }));
        }
    }

    fn answerer(&self) -> Answerer {
        Answerer::Client(self.clone())
    }
}

impl PartialEq for ClientSocket {
    fn eq(&self, other: &ClientSocket) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for ClientSocket {}

impl fmt::Debug for ClientSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSocket").field("namespace", &self.namespace()).finish_non_exhaustive()
    }
}

/// How to send: made by [`ClientSocket::timeout`] and [`ClientSocket::volatile`].
#[derive(Clone, Copy, Debug)]
#[must_use = "nothing is sent until `emit`"]
pub struct ClientEmitter<'a> {
    socket: &'a ClientSocket,
    timeout: Option<Duration>,
    volatile: bool,
}

impl ClientEmitter<'_> {
    /// How long the answer is waited for.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Drops the message if it cannot leave at once.
    pub fn volatile(mut self) -> Self {
        self.volatile = true;
        self
    }

    /// Sends an event: see [`ClientSocket::emit`].
    ///
    /// # Errors
    /// When it is not sent, now or later.
    pub fn emit(self, event: &str, args: impl Payload) -> Result<Sent, EmitError> {
        self.socket.send(event, &args, self.volatile, None).map(|(sent, _)| sent)
    }

    /// Sends an event, and waits for the server's acknowledgement.
    pub fn emit_with_ack<T>(self, event: &str, args: impl Payload) -> AckFuture<T> {
        self.socket.ask(event, &args, self.volatile, self.timeout)
    }
}
