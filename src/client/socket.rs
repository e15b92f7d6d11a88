//! A client's socket: one namespace of its server.

use super::error::ClientEmitError;
use super::events::{Ack, Events, Inbox, Received};
use super::shared::Shared;
use super::wait::{AckState, ClientAckFuture, Connected, Sent};
use super::{ClientConnectError, ClientDisconnectReason};
use crate::engine::Transport;
use crate::error::{EmitError, HandlerError};
use crate::extract::Context;
use crate::failed_event::FailedEvent;
use crate::handler::{Acknowledge, AnySocket, drive, finish, run};
use crate::listeners::{Listeners, On};
use crate::log::{self, Span, debug};
use crate::observe::{HandlerFailure, log_client_failure};
use crate::payload::sealed::{Encode, Head, Kind};
use crate::payload::{Args, Payload, with_encoder};
use crate::renewal::AUTH_RENEW;
use parking_lot::Mutex;
use sockeye_core::engineio::client as engine;
use sockeye_core::engineio::client::SendError;
use sockeye_core::socketio::client::{Client, Emitted, How, Incoming, NamespaceId, Sent as Queued};
use sockeye_core::socketio::{EncodeError, Flags};
use std::any::Any;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

/// One namespace of a client's server: a handle that is cheap to clone and does not keep the client alive.
///
/// It persists across reconnections, with its handlers and its queued messages. Once the
/// [`Client`](crate::Client) and its connection are gone, emitting returns an error, and handlers are not kept.
#[derive(Clone)]
pub struct ClientSocket(pub(super) Arc<Inner>);

pub(super) struct Inner {
    shared: Weak<Shared>,
    pub(super) id: NamespaceId,
    name: Arc<str>,
    /// The id of the next acknowledgement, which is drawn while the lock is held to send an event; or [`NO_ACK`].
    next_ack: AtomicU32,
    pub(super) state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    /// Handlers of the socket's lifecycle have reserved names, which no event can have.
    pub(super) listeners: Listeners<ClientSocket>,
    inboxes: Vec<Weak<Inbox>>,
    /// Wakers of tasks that wait for the result of an attempt to connect, each with the id of its future.
    waiters: Vec<(u64, Waker)>,
}

/// No id of an acknowledgement is reserved.
const NO_ACK: u32 = u32::MAX;

impl Inner {
    pub(super) fn new(shared: Weak<Shared>, id: NamespaceId, name: Arc<str>) -> Inner {
        Inner { shared, id, name, next_ack: AtomicU32::new(NO_ACK), state: Mutex::default() }
    }

    /// Takes the id of an acknowledgement. Locks the client only if no id is reserved.
    fn take_ack(&self, shared: &Shared) -> u64 {
        match self.next_ack.swap(NO_ACK, Ordering::Relaxed) {
            NO_ACK => shared.look(|client| client.next_ack(self.id)),
            reserved => reserved.into(),
        }
    }

    /// Reserves the id of the next acknowledgement.
    fn reserve_ack(&self, client: &mut Client) {
        if self.next_ack.load(Ordering::Relaxed) == NO_ACK {
            // Ids have 31 bits.
            let id = client.next_ack(self.id).try_into().unwrap_or(NO_ACK);
            self.next_ack.store(id, Ordering::Relaxed);
        }
    }

    /// Wakes everything that waits, because nothing more will happen.
    pub(super) fn end_waiting(&self) {
        let (inboxes, waiters) = {
            let mut state = self.state.lock();
            (std::mem::take(&mut state.inboxes), std::mem::take(&mut state.waiters))
        };
        inboxes.iter().filter_map(Weak::upgrade).for_each(|inbox| inbox.end());
        waiters.into_iter().for_each(|(_, waker)| waker.wake());
    }

    /// Drops the handlers and the wakers.
    pub(super) fn release(&self) {
        self.end_waiting();
        let released = std::mem::take(&mut *self.state.lock());
        drop(released);
    }
}

impl ClientSocket {
    pub(super) fn shared(&self) -> Option<Arc<Shared>> {
        self.0.shared.upgrade()
    }

    // Properties.

    /// Returns the namespace's name.
    pub fn namespace(&self) -> &str {
        &self.0.name
    }

    /// Returns the id that the server assigned, while connected.
    pub fn id(&self) -> Option<String> {
        self.shared()?.look(|client| client.sid(self.0.id).map(String::from))
    }

    /// Returns whether the client is connected to the namespace.
    pub fn is_connected(&self) -> bool {
        self.shared().is_some_and(|shared| shared.look(|client| client.is_connected(self.0.id)))
    }

    /// Returns whether the namespace is joined, or will be as soon as there is a connection.
    pub fn is_active(&self) -> bool {
        self.shared().is_some_and(|shared| shared.look(|client| client.is_active(self.0.id)))
    }

    /// Returns whether the server recovered the previous connection, so that no event is missing.
    pub fn recovered(&self) -> bool {
        self.shared().is_some_and(|shared| shared.look(|client| client.recovered(self.0.id)))
    }

    /// Returns the transport in use, while there is a connection.
    pub fn transport(&self) -> Option<Transport> {
        self.shared()?.look(|client| client.transport())
    }

    // Events.

    /// Returns a stream of the events from now on, in addition to the handlers. While 4 MiB of events wait in
    /// such streams of the client, no handler is called for further ones; while 4 MiB more wait behind them, the
    /// server is not read, until the connection ends for [this reason](engine::CloseReason::Behind).
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
        {
            let mut state = self.0.state.lock();
            state.inboxes.retain(|known| known.strong_count() > 0);
            state.inboxes.push(Arc::downgrade(&inbox));
        }
        // Checked last: a runtime that ends later finds the inbox.
        if self.shared().is_none_or(|shared| shared.has_ended()) {
            inbox.end();
        }
        Events { inbox }
    }

    // The connection.

    /// Joins the namespace, and opens the connection if there is none. Does nothing if that is already in
    /// progress, or if the client's runtime has ended.
    pub fn connect(&self) {
        if let Some(shared) = self.shared().filter(|shared| !shared.has_ended()) {
            shared.act(|client, now| client.connect(now, self.0.id));
        }
    }

    /// Waits until the namespace is joined, or an attempt fails.
    ///
    /// If the connection fails and [`reconnection`](crate::client::ClientBuilder::reconnection) is on, a
    /// later attempt may still succeed: call this again. Without a runtime it fails immediately with
    /// [`NoRuntime`](engine::TransportError::NoRuntime).
    pub fn connected(&self) -> Connected {
        let failed =
            self.shared().map_or(0, |shared| shared.look(|client| client.failed_attempts(self.0.id)));
        Connected { socket: self.clone(), failed, id: None }
    }

    pub(super) fn poll_connected(
        &self,
        cx: &mut std::task::Context<'_>,
        failed: u32,
        id: &mut Option<u64>,
    ) -> Poll<Result<(), ClientConnectError>> {
        let attempt = self.attempt(failed);
        if attempt.is_ready() {
            return attempt;
        }
        if let Some(shared) = self.shared() {
            let id = *id.get_or_insert_with(|| shared.core.lock().draw_id());
            let mut waker = cx.waker().clone();
            {
                let waiters = &mut self.0.state.lock().waiters;
                match waiters.iter_mut().find(|(known, _)| *known == id) {
                    Some((_, known)) => std::mem::swap(known, &mut waker),
                    None => waiters.push((id, waker.clone())),
                }
            }
            // Dropped without the lock: the last waker of a task may drop the task.
            drop(waker);
        }
        // Check again: the attempt may have ended before the waker was stored.
        self.attempt(failed)
    }

    /// Removes the waker of a future that is dropped.
    pub(super) fn forget_waiter(&self, id: u64) {
        let removed = {
            let waiters = &mut self.0.state.lock().waiters;
            let at = waiters.iter().position(|(known, _)| *known == id);
            at.map(|at| waiters.swap_remove(at))
        };
        drop(removed);
    }

    /// Returns the result of the attempt to join, once one has ended since `failed` of them had failed.
    fn attempt(&self, failed: u32) -> Poll<Result<(), ClientConnectError>> {
        let Some(shared) = self.shared() else {
            return Poll::Ready(Err(ClientConnectError::Closed(engine::CloseReason::Client)));
        };
        let result = shared.look(|client| client.result(self.0.id, failed));
        if !matches!(result, Some(Ok(()))) && shared.connector().is_none() {
            let error = engine::TransportError::NoRuntime;
            return Poll::Ready(Err(ClientConnectError::Closed(error.into())));
        }
        result.map_or(Poll::Pending, Poll::Ready)
    }

    /// Leaves the namespace; leaving the last one closes the connection. It is not joined again
    /// automatically.
    ///
    /// The server is told once it has read the events that were sent before, or after five seconds, because
    /// the reference drops events that it reads together with the packet that ends their namespace.
    ///
    /// If [`connect`](ClientSocket::connect) joins it again while other namespaces keep the connection open,
    /// the server is only asked once it has read that the namespace was left. Over WebSocket that takes one
    /// round trip, or two seconds if the server does not answer pings. Events that the server sent before are
    /// not delivered. With polling they cannot be told from events that a middleware sends before the answer
    /// to the next attempt, so that these are not delivered either.
    pub fn disconnect(&self) {
        if let Some(shared) = self.shared() {
            shared.act(|client, now| client.disconnect(now, self.0.id));
        }
    }

    // Sending.

    /// Sends an event, without waiting: if there is no connection it is queued, as
    /// [`offline`](crate::client::ClientBuilder::offline) says. Await the returned value to learn what
    /// becomes of the message.
    ///
    /// The arguments are any [`Payload`]: a tuple is several arguments, `()` is none, any other value is one.
    ///
    /// # Errors
    /// If the message is refused: it will be sent neither now nor later.
    pub fn emit(&self, event: &str, args: impl Payload) -> Result<Sent, ClientEmitError> {
        self.send(event, &args, Flags::default(), false).map(|(sent, _)| sent)
    }

    /// Sends an event, and waits for the server's acknowledgement, for the time set by
    /// [`timeout`](ClientSocket::timeout) or [`ClientBuilder::ack_timeout`](crate::client::ClientBuilder::ack_timeout).
    /// Default: 30 s.
    ///
    /// The acknowledgement is read as `T`, which has to be named: a tuple takes the server's arguments in order, any
    /// other type the first. The message is sent by the call, before the future is awaited. Without a runtime the
    /// result is [`ClientAckError::Disconnected`](crate::client::ClientAckError::Disconnected) immediately.
    pub fn emit_with_ack<T>(&self, event: &str, args: impl Payload) -> ClientAckFuture<T> {
        self.ask(event, &args, Flags::default())
    }

    /// Returns an emitter that waits for the acknowledgement for `timeout`.
    pub fn timeout(&self, timeout: Duration) -> ClientEmitter<'_> {
        ClientEmitter { socket: self, flags: Flags::default() }.timeout(timeout)
    }

    /// Returns an emitter that drops its event if it cannot be sent immediately. Use it for data that the next message
    /// replaces, such as positions.
    pub fn volatile(&self) -> ClientEmitter<'_> {
        ClientEmitter { socket: self, flags: Flags::default() }.volatile()
    }

    /// Returns the number of bytes that wait for a connection, or for an acknowledgement with
    /// [`retries`](crate::client::ClientBuilder::retries).
    pub fn buffered(&self) -> usize {
        self.shared().map_or(0, |shared| shared.look(|client| client.buffered(self.0.id)))
    }

    /// Drops all messages that wait to be sent.
    pub fn clear_buffer(&self) {
        if let Some(shared) = self.shared() {
            shared.act(|client, _| client.clear(self.0.id));
        }
    }

    fn ask<T>(&self, event: &str, args: &impl Payload, flags: Flags) -> ClientAckFuture<T> {
        ClientAckFuture::new(match self.send(event, args, flags, true) {
            Ok((_, Some(ack))) => AckState::Waiting(self.0.shared.clone(), self.0.id, ack),
            Ok((_, None)) => AckState::Done,
            Err(error) => AckState::Failed(error),
        })
    }

    /// Returns the fate of the message, and the id of its acknowledgement if it has one.
    fn send(
        &self,
        event: &str,
        args: &impl Payload,
        flags: Flags,
        wants_answer: bool,
    ) -> Result<(Sent, Option<u64>), ClientEmitError> {
        let shared =
            self.shared().filter(|shared| !shared.has_ended()).ok_or(ClientEmitError::Disconnected)?;
        let (id, config) = (self.0.id, &shared.settings.config);
        let is_retried = config.retries > 0 && !flags.volatile;
        let ack = (wants_answer || is_retried).then(|| self.0.take_ack(&shared));
        let timeout = flags.timeout.filter(|_| wants_answer).unwrap_or(config.ack_timeout);
        let how = How { volatile: flags.volatile, ack: ack.map(|ack| (ack, timeout)) };
        let head = Head { namespace: &self.0.name, kind: Kind::Event(event, ack) };
        let sent = with_encoder(config.parser, |encoder| {
            let encoded = args.encode(encoder, head)?;
            shared.send(|client, now| {
                shared.check_backlog(client, id)?;
                let sent = client.send(now, id, &encoded, how)?;
                if let Queued::Later(token) = sent {
                    shared.expect_fate(token);
                }
                if let Some(ack) = ack {
                    if wants_answer {
                        shared.expect_answer(id, ack);
                    }
                    self.0.reserve_ack(client);
                }
                Ok::<_, ClientEmitError>(sent)
            })
        })?;
        if wants_answer {
            shared.answer_is_expected();
        }
        Ok(match sent {
            Queued::Now => (Sent(None), ack),
            Queued::Later(token) => (Sent(Some((self.0.shared.clone(), token))), ack),
        })
    }

    /// Sends an acknowledgement.
    pub(super) fn answer(&self, id: u64, args: &dyn Encode) -> Result<Result<(), SendError>, EncodeError> {
        let Some(shared) = self.shared() else { return Ok(Err(SendError::NotOpen)) };
        let head = Head { namespace: &self.0.name, kind: Kind::Ack(id) };
        with_encoder(shared.settings.config.parser, |encoder| {
            let encoded = args.encode(encoder, head)?;
            Ok(shared.send(|client, now| client.acknowledge(now, self.0.id, &encoded)))
        })
    }

    // For the client.

    pub(super) fn connected_now(&self) {
        self.tell("connect", None);
    }

    pub(super) fn not_connected(&self, error: ClientConnectError) {
        let shared = self.shared();
        let server = shared.as_ref().map_or("unknown", |shared| &shared.settings.authority);
        debug!(namespace = ?self.namespace(), peer = %server, cause = %error, "a namespace was not joined");
        self.tell("connect_error", Some(&error));
    }

    pub(super) fn disconnected(&self, reason: ClientDisconnectReason) {
        self.tell("disconnect", Some(&reason));
    }

    /// Calls the handlers of the socket's lifecycle.
    fn tell(&self, event: &'static str, cause: Option<&dyn Any>) {
        let listeners = self.0.state.lock().listeners.all(&On::Event(event.into()));
        for listener in &listeners {
            run(&**listener, &Context { cause, ..Context::new(self, event) });
        }
    }

    pub(super) fn wake_waiters(&self) {
        let waiters = std::mem::take(&mut self.0.state.lock().waiters);
        waiters.into_iter().for_each(|(_, waker)| waker.wake());
    }

    pub(super) fn receive(&self, incoming: Incoming) {
        let event = incoming.event();
        let (called, inboxes) = {
            let mut state = self.0.state.lock();
            let inboxes: Vec<_> = state.inboxes.iter().filter_map(Weak::upgrade).collect();
            (state.listeners.call(&event), inboxes)
        };
        let args = incoming.args.as_args();
        // If there is no handler to acknowledge the event, the first stream of events may.
        let mut ack = incoming.ack;
        let mut is_handled = called.has_own() || !inboxes.is_empty();
        if event == AUTH_RENEW && !called.is_named() && ack.is_some_and(|ack| self.renew_auth(ack)) {
            (ack, is_handled) = (None, true);
        }
        if !is_handled {
            self.tell_failure(&event, HandlerFailure::Unhandled, ack);
        }
        called.run(self, &event, &args, if called.has_own() { ack.take() } else { None });
        let size = size_of::<Received>() + args.json().len() + args.attachments().bytes();
        for inbox in inboxes {
            let (event, args) = (event.clone().into_owned(), Args(incoming.args.clone()));
            inbox.push(Received { socket: self.clone(), event, args, ack: ack.take().map(Ack::new), size });
        }
    }

    /// Acknowledges the server's question for new credentials with those that the application has set. Returns whether it
    /// has.
    fn renew_auth(&self, ack: u64) -> bool {
        let Some(auth) = self.shared().and_then(|shared| shared.auth()) else { return false };
        let socket = self.clone();
        let renewed = async move {
            let auth = auth.await.unwrap_or_else(|| Err("the callback took too long".into()));
            let auth = auth.and_then(|auth| {
                serde_json::from_str::<serde_json::Value>(&auth).map_err(|error| error.to_string())
            });
            // Without new credentials nothing is acknowledged, and the error is logged.
            finish(Some((&socket, ack)), &auth.map_err(HandlerError::new))
        };
        drive(self, AUTH_RENEW, self.span(AUTH_RENEW), Box::pin(renewed));
        true
    }

    /// Calls the handlers for an event that may be lost.
    pub(super) fn lost(&self, lost: &Emitted) {
        let listeners = self.0.state.lock().listeners.all(&On::Lost);
        if listeners.is_empty() {
            let shared = self.shared();
            let server = shared.as_ref().map_or("unknown", |shared| &shared.settings.authority);
            debug!(namespace = ?self.namespace(), peer = %server, event = ?lost.event, "an event may be lost");
        }
        for listener in &listeners {
            let args = lost.args.as_args();
            run(&**listener, &Context { args: Some(&args), ..Context::new(self, &lost.event) });
        }
    }

    pub(super) fn sent(&self, outgoing: &Emitted) {
        let listeners = self.0.state.lock().listeners.all(&On::AnyOutgoing);
        for listener in &listeners {
            let args = outgoing.args.as_args();
            run(&**listener, &Context { args: Some(&args), ..Context::new(self, &outgoing.event) });
        }
    }
}

impl AnySocket for ClientSocket {
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

    fn span(&self, event: &str) -> Span {
        log::detached_handler(event, self.namespace())
    }

    fn ask_about(&self, event: &str, failure: HandlerFailure<'_>, ack: Option<u64>) -> Option<EmitError> {
        let shared = self.shared()?;
        let function = shared.settings.on_handler_error()?;
        let reply = ack.map(|id| (id, self as &dyn Acknowledge));
        let failed = FailedEvent::new(Some(self), self.namespace(), event, failure, reply);
        failed.tell(function)
    }

    fn log_failure(&self, event: &str, failure: HandlerFailure<'_>) {
        let shared = self.shared();
        let server = shared.as_ref().map_or("unknown", |shared| &shared.settings.authority);
        log_client_failure(server, self.namespace(), self.id().as_deref(), event, failure);
    }
}

impl Acknowledge for ClientSocket {
    fn acknowledge(&self, id: u64, args: &dyn Encode) -> Result<(), EmitError> {
        Ok(self.answer(id, args)??)
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

/// The flags of an event to the server: made by [`ClientSocket::timeout`] and [`ClientSocket::volatile`].
#[derive(Clone, Copy, Debug)]
#[must_use = "nothing is sent until `emit`"]
pub struct ClientEmitter<'a> {
    socket: &'a ClientSocket,
    flags: Flags,
}

impl ClientEmitter<'_> {
    /// Sets how long to wait for the acknowledgement.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.flags.timeout = Some(timeout);
        self
    }

    /// Drops the message if it cannot be sent immediately.
    pub fn volatile(mut self) -> Self {
        self.flags.volatile = true;
        self
    }

    /// Sends an event: see [`ClientSocket::emit`].
    ///
    /// # Errors
    /// If the message is refused.
    pub fn emit(self, event: &str, args: impl Payload) -> Result<Sent, ClientEmitError> {
        self.socket.send(event, &args, self.flags, false).map(|(sent, _)| sent)
    }

    /// Sends an event, and waits for the server's acknowledgement: see [`ClientSocket::emit_with_ack`].
    pub fn emit_with_ack<T>(self, event: &str, args: impl Payload) -> ClientAckFuture<T> {
        self.socket.ask(event, &args, self.flags)
    }
}
