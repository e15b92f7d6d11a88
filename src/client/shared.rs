//! The state shared by the handles and the streams of one client.

use super::builder::{Auth, AuthData, Settings};
use super::core::{Core, Demand, Origin};
use super::error::ClientEmitError;
use super::jar::CookieJar;
use super::keeper::{KeepTime, Keeper};
use super::lane::LaneStream;
use super::slots::Slots;
use super::socket::{ClientSocket, Inner};
use super::wait::before;
use super::watch::{show_close, show_text, tell_notes};
use super::{ClientConnectError, ManagerEvent};
use crate::guard::{BoxFuture, catch};
use crate::guard::{Guarded, Panic};
use crate::log::{debug, error};
use crate::pool::{self, lend_events, reclaim_events};
use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;
use sockeye_core::connection::client::Response;
use sockeye_core::engineio::client::{Lane, Request, TransportError};
use sockeye_core::host::{Connector, Destination};
use sockeye_core::socketio::OwnedArgs;
use sockeye_core::socketio::client::{Client, Event, NamespaceId, NoAnswer, Text, Token};
use sockeye_core::websocket::Message;
use sockeye_core::{Outbound, Random, Time};
use std::borrow::Cow;
use std::future::{Future, ready};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{SystemTime, UNIX_EPOCH};

/// Maximum number of suspended handlers; beyond it no event is passed to a handler.
const MAX_HANDLERS: u32 = 1000;
/// Maximum number of bytes in the inboxes of [`Events`](super::Events); beyond it no event is added.
const MAX_INBOX: usize = 4 << 20;
/// Maximum number of bytes of events held back behind that; beyond it the server is no longer read, unless a
/// namespace is being joined. A connection that brings more at twice as much is ended.
const MAX_BACKLOG: usize = 4 << 20;

pub(super) struct Shared {
    pub(super) settings: Arc<Settings>,
    pub(super) core: Mutex<Core>,
    sockets: Mutex<SmallVec<[Arc<Inner>; 1]>>,
    connector: OnceLock<Arc<dyn Connector>>,
    /// The runtime has ended.
    ended: AtomicBool,
    pub(super) keeper: Mutex<Keeper>,
    more: Mutex<Option<Box<More>>>,
    pub(super) answers: Slots<(NamespaceId, u64), OwnedArgs, NoAnswer>,
    pub(super) fates: Slots<Token, (), ClientEmitError>,
    handlers: AtomicU32,
    /// The number of streams that the runtime drives.
    driven: AtomicU32,
    /// The size of the events that wait to be dispatched. Written under the lock of `core`.
    backlog: AtomicUsize,
    inbox: AtomicUsize,
}

/// State that few clients need.
#[derive(Default)]
struct More {
    jar: CookieJar,
    on_manager_event: Option<Arc<OnManagerEvent>>,
    /// Wakers of tasks that wait until the client is closed, each with the id of its future.
    closed: Vec<(u64, Waker)>,
    /// The id of the last such future.
    last_closed: u64,
}

type OnManagerEvent = dyn Fn(ManagerEvent) + Send + Sync;

/// The origin of a change. Events are dispatched on the client's runtime only: any other caller may hold a
/// lock that a handler takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// Any thread.
    Application,
    /// A task of the client.
    Runtime,
    /// The stream of a lane, which is not woken: it is told what is demanded of it, or asks.
    Stream(Origin),
}

/// The next step of [`settle`](Shared::settle).
struct Next {
    /// The event to dispatch.
    event: Option<Event>,
    /// The backlog is no longer full, so the streams may read again.
    may_read: bool,
    /// Events wait for the timer task, because this caller may not dispatch them.
    is_left: bool,
    is_idle: bool,
    /// The demands on the stream that made the change, if this is the last step.
    demand: Option<Demand>,
}

impl Shared {
    pub(super) fn new(settings: Arc<Settings>, random: Random) -> Arc<Shared> {
        let mut client = Client::new(settings.config.clone(), random);
        if settings.observer().is_some() {
            client.begin_notes();
        }
        Arc::new(Shared {
            settings,
            core: Mutex::new(Core::new(client)),
            sockets: Mutex::default(),
            connector: OnceLock::new(),
            ended: AtomicBool::new(false),
            keeper: Mutex::default(),
            more: Mutex::default(),
            answers: Slots::default(),
            fates: Slots::default(),
            handlers: AtomicU32::new(0),
            driven: AtomicU32::new(0),
            backlog: AtomicUsize::new(0),
            inbox: AtomicUsize::new(0),
        })
    }

    /// Returns the runtime's time; zero until a runtime is attached.
    pub(super) fn now(&self) -> Time {
        self.connector.get().map_or(Time::ZERO, |connector| connector.now())
    }

    pub(super) fn attach(self: &Arc<Self>, connector: Arc<dyn Connector>) {
        let connector = self.connector.get_or_init(|| connector);
        if !std::mem::replace(&mut self.keeper.lock().spawned, true) {
            connector.spawn(Box::pin(KeepTime::new(self)));
        }
    }

    /// Returns the runtime, until it ends.
    pub(super) fn connector(&self) -> Option<&Arc<dyn Connector>> {
        self.connector.get().filter(|_| !self.has_ended())
    }

    /// Returns whether the runtime, and with it the client, has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Ends the client because its runtime has ended: everything that waits is told so.
    pub(super) fn end_runtime(self: &Arc<Self>) {
        self.ended.store(true, Ordering::Release);
        self.act_from(Caller::Runtime, |client, now| client.give_up(now, TransportError::NoRuntime));
        self.answers.end();
        self.fates.end();
        let sockets = self.sockets.lock().clone();
        sockets.iter().for_each(|socket| socket.end_waiting());
        self.tell_if_closed();
    }

    pub(super) fn on_manager_event(&self, handler: Arc<OnManagerEvent>) {
        let replaced = self.more.lock().get_or_insert_default().on_manager_event.replace(handler);
        drop(replaced);
    }

    pub(super) fn socket(self: &Arc<Self>, name: &str) -> ClientSocket {
        let (id, name) = self.look(|client| {
            let id = client.namespace(name);
            (id, client.name(id).cloned().unwrap_or_else(|| name.into()))
        });
        let mut sockets = self.sockets.lock();
        let known = sockets.iter().find(|known| known.id == id).cloned();
        ClientSocket(known.unwrap_or_else(|| {
            let inner = Arc::new(Inner::new(Arc::downgrade(self), id, name));
            sockets.push(inner.clone());
            inner
        }))
    }

    // The core.

    /// Runs `f` on the core: reads it, or changes something that concerns no stream and no handler.
    pub(super) fn look<R>(&self, f: impl FnOnce(&mut Client) -> R) -> R {
        f(&mut self.core.lock().client)
    }

    /// Runs `f`, which sends a message, on the core, and acts on the consequences.
    pub(super) fn send<R>(self: &Arc<Self>, f: impl FnOnce(&mut Client, Time) -> R) -> R {
        self.act(|client, now| lent(client, |client| f(client, now)))
    }

    /// Refuses an event that is to be reported to handlers while the backlog is full.
    pub(super) fn check_backlog(&self, client: &Client, id: NamespaceId) -> Result<(), ClientEmitError> {
        match self.is_full() && client.tells_outgoing(id) {
            true => Err(ClientEmitError::SlowConsumer { queued: self.backlog.load(Ordering::Relaxed) }),
            false => Ok(()),
        }
    }

    /// Returns what is demanded of a stream.
    pub(super) fn demand(&self, now: Time, origin: Origin) -> Demand {
        self.core.lock().demand(now, origin)
    }

    /// Handles a response. Returns the payload of a poll, if it has packets: pass each of them to
    /// [`receive_text`](Shared::receive_text).
    pub(super) fn handle_response<'b>(
        self: &Arc<Self>,
        now: Time,
        Origin { lane, generation }: Origin,
        response: &'b Response<'_>,
    ) -> Option<&'b str> {
        let mut core = self.core.lock();
        if lane == Lane::WebSocket {
            core.client.set_deflate(generation, response.deflate);
        }
        let payload = core.client.handle_response(now, generation, lane, response.status, &response.body);
        if payload.is_none() {
            self.settle(core, now, Caller::Stream(Origin { lane, generation }));
        }
        payload
    }

    /// Handles a message that arrived over WebSocket. Returns what is demanded of its stream then.
    pub(super) fn receive(
        self: &Arc<Self>,
        now: Time,
        origin: Origin,
        message: &Message<'_>,
    ) -> Option<Demand> {
        let config = &self.settings.config;
        match message {
            Message::Text(text) => return self.receive_text(now, origin, text, false),
            // Read without the lock, as a text is.
            Message::Binary(data) => {
                let binary = Text::read_binary(data, config.parser, &config.limits);
                return self.receive_read(now, origin, binary, false);
            }
            _ => {}
        }
        if let Some(observer) = self.settings.observer() {
            show_close(observer, message);
        }
        let mut core = self.core.lock();
        lend_events(core.client.events_mut());
        let (client, generation) = (&mut core.client, origin.generation);
        match self.is_overrun() {
            true => client.fall_behind(now, generation),
            false => lent(client, |client| client.handle_message(now, generation, message)),
        }
        self.settle(core, now, Caller::Stream(origin))
    }

    /// Handles a text message that arrived over WebSocket, or a packet of a poll's payload: with the last one, the poll
    /// ends. Returns what is demanded of its stream then.
    pub(super) fn receive_text(
        self: &Arc<Self>,
        now: Time,
        origin: Origin,
        text: &str,
        is_last: bool,
    ) -> Option<Demand> {
        // Read without the lock, so that threads that send need not wait.
        let text = Text::read(text, self.settings.config.parser, &self.settings.config.limits);
        self.receive_read(now, origin, text, is_last)
    }

    fn receive_read(
        self: &Arc<Self>,
        now: Time,
        origin: Origin,
        text: Text<'_>,
        is_last: bool,
    ) -> Option<Demand> {
        if let Some(observer) = self.settings.observer() {
            show_text(observer, origin.lane, &text);
        }
        let mut core = self.core.lock();
        lend_events(core.client.events_mut());
        let Origin { lane, generation } = origin;
        let client = &mut core.client;
        // No closure takes the text where it need not, because it is large to move: `benches/count client_ack`.
        match () {
            () if self.is_overrun() => client.fall_behind(now, generation),
            // The usual packets need no memory to be lent.
            () if text.sends_nothing(self.settings.config.retries) => {
                client.handle_text(now, generation, lane, text);
            }
            () => lent(client, |client| client.handle_text(now, generation, lane, text)),
        }
        if is_last {
            client.end_poll(now, generation);
        }
        self.settle(core, now, Caller::Stream(origin))
    }

    /// Moves queued frames to the stream of a session's WebSocket connection. Returns whether more wait.
    pub(super) fn transmit(self: &Arc<Self>, origin: Origin, out: &mut Outbound) -> bool {
        let now = self.now();
        let mut core = self.core.lock();
        let may_have_events = core.client.transmit(now, origin.generation, out);
        core.client.queue_mut().into_iter().for_each(pool::reclaim);
        match may_have_events || self.settings.observer().is_some() {
            true => self.settle(core, now, Caller::Stream(origin)).is_some_and(|demand| demand.transmits),
            false => core.client.wants_transmit(origin.generation),
        }
    }

    /// Runs `f`, which changes the core, and acts on the consequences.
    pub(super) fn act<R>(self: &Arc<Self>, f: impl FnOnce(&mut Client, Time) -> R) -> R {
        self.act_from(Caller::Application, f)
    }

    /// Like [`act`](Shared::act), for a caller other than the application.
    pub(super) fn act_from<R>(self: &Arc<Self>, caller: Caller, f: impl FnOnce(&mut Client, Time) -> R) -> R {
        let now = self.now();
        let mut core = self.core.lock();
        let result = f(&mut core.client, now);
        self.settle(core, now, caller);
        result
    }

    /// Opens, wakes and closes streams as the core requires, and dispatches its events to the application. Returns
    /// what is demanded of the stream that made the change, if one did.
    fn settle<'a>(
        self: &'a Arc<Self>,
        mut core: MutexGuard<'a, Core>,
        now: Time,
        caller: Caller,
    ) -> Option<Demand> {
        let origin = match caller {
            Caller::Stream(origin) => Some(origin),
            Caller::Application | Caller::Runtime => None,
        };
        let has_runtime = self.connector().is_some();
        // Without a runtime there are no events that a handler is called for.
        let may_tell = caller != Caller::Application || !has_runtime;
        let generation = core.client.generation();
        let todo = core.follow(now, origin.map(|origin| origin.lane), has_runtime);
        let mut next = self.next(&mut core, now, origin, may_tell);
        match self.settings.observer() {
            None => drop(core),
            Some(observer) => tell_notes(observer, core),
        }
        let mut dispatching = next.event.is_some().then(|| Dispatching(self));
        todo.wake.into_iter().flatten().for_each(Waker::wake);
        for (lane, stream) in Lane::ALL.into_iter().zip(todo.open) {
            if stream != 0 {
                self.open(lane, generation, stream, None);
            }
        }
        if todo.is_earlier {
            self.wake_keeper();
        }
        if todo.has_result {
            self.wake_waiters();
        }
        loop {
            if next.may_read {
                self.wake_streams();
            }
            if next.is_left {
                self.wake_keeper();
            }
            let (Some(event), Some(before)) = (next.event, dispatching) else { break };
            self.dispatch(event);
            // Handlers that changed the core have acted on the consequences.
            let mut core = before.end();
            next = self.next(&mut core, now, origin, may_tell);
            drop(core);
            dispatching = next.event.is_some().then(|| Dispatching(self));
        }
        if next.is_idle {
            self.tell_if_closed();
        }
        next.demand
    }

    /// Takes the next event to dispatch. If there is none, counts those that wait.
    fn next(&self, core: &mut Core, now: Time, origin: Option<Origin>, may_tell: bool) -> Next {
        let was_full = self.is_full();
        let is_dispatching = core.dispatching;
        let event = match may_tell && !is_dispatching {
            true => core.next_event(|| self.is_behind(), &self.backlog),
            false => None,
        };
        core.dispatching |= event.is_some();
        let is_last = event.is_none();
        let waits = is_last && core.count_backlog(&self.backlog);
        reclaim_events(core.client.events_mut());
        Next {
            event,
            may_read: was_full && !self.is_full(),
            is_left: waits && !may_tell && !is_dispatching,
            is_idle: core.client.is_idle(),
            demand: origin.filter(|_| is_last).map(|origin| core.demand(now, origin)),
        }
    }

    /// Opens a stream for a lane, to carry `request` if one was already begun.
    fn open(self: &Arc<Self>, lane: Lane, generation: u64, stream: u64, request: Option<Box<Request>>) {
        let Some(connector) = self.connector() else { return };
        let settings = &self.settings;
        // Less than the timeout of the whole attempt, whose error could not name the addresses that were
        // tried.
        let timeout = settings.config.timeout.mul_f64(0.9);
        let mut to = Destination::new(settings.host(), settings.port, timeout);
        to.proxy.clone_from(&settings.proxy);
        #[cfg(feature = "tls")]
        to.tls.clone_from(&settings.tls);
        let random = self.look(|client| client.fork_random());
        let max_message = settings.config.engine.max_message;
        let stream = LaneStream::new(self.clone(), lane, generation, stream, random, max_message);
        connector.clone().connect(to, Box::new(stream.with_request(request)));
    }

    /// Opens another stream, in place of the lane's `stream`, for a request that the server has not seen.
    pub(super) fn open_again(
        self: &Arc<Self>,
        lane: Lane,
        generation: u64,
        stream: u64,
        request: Box<Request>,
    ) {
        let replaced = self.core.lock().replace(lane, stream);
        let Some((opened, replaced)) = replaced else { return };
        drop(replaced);
        self.open(lane, generation, opened, Some(request));
    }

    /// Stores the waker of a stream, if it is still the lane's.
    pub(super) fn set_waker(&self, lane: Lane, stream: u64, waker: &Waker) {
        let mut core = self.core.lock();
        let own = core.stream(lane);
        if own.id == stream && !own.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            let replaced = own.waker.replace(waker.clone());
            drop(core);
            drop(replaced);
        }
    }

    /// Detaches a stream that can carry no more requests: the next request opens another.
    pub(super) fn release(self: &Arc<Self>, lane: Lane, stream: u64) {
        let mut core = self.core.lock();
        let own = core.stream(lane);
        if own.id != stream {
            return;
        }
        let released = std::mem::take(own);
        let now = self.now();
        self.settle(core, now, Caller::Runtime);
        drop(released);
    }

    /// Returns the value of the `Cookie` header: the application's cookies, then the server's.
    pub(super) fn cookies(&self) -> Option<Cow<'_, str>> {
        let now = self.now();
        let jar = self.more.lock().as_mut().and_then(|more| more.jar.header(now));
        match (self.settings.cookies.as_deref(), jar) {
            (Some(own), Some(jar)) => Some(format!("{own}; {jar}").into()),
            (own, jar) => own.map(Cow::Borrowed).or(jar.map(Cow::Owned)),
        }
    }

    pub(super) fn store_cookie(&self, cookie: &[u8]) {
        // Cookie dates are compared with the system clock, all other times with the runtime's clock.
        let today = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = self.now();
        self.more.lock().get_or_insert_default().jar.store(now, today, cookie);
    }

    // Dispatching events.

    /// Wakes the tasks that wait for a namespace to be joined: an attempt has ended, though the application may
    /// be told only later.
    fn wake_waiters(&self) {
        let sockets = self.sockets.lock().clone();
        sockets.into_iter().for_each(|socket| ClientSocket(socket).wake_waiters());
    }

    fn inner(&self, id: NamespaceId) -> Option<Arc<Inner>> {
        self.sockets.lock().iter().find(|socket| socket.id == id).cloned()
    }

    fn dispatch(self: &Arc<Self>, event: Event) {
        let socket = |id| self.inner(id).map(ClientSocket);
        match event {
            Event::Join(id, attempt) => self.join(id, attempt),
            Event::Connected(id) => _ = socket(id).map(|socket| socket.connected_now()),
            Event::ConnectError(id, error) => _ = socket(id).map(|socket| socket.not_connected(error)),
            Event::Disconnected(id, reason) => _ = socket(id).map(|socket| socket.disconnected(reason)),
            Event::Incoming(id, incoming) => _ = socket(id).map(|socket| socket.receive(incoming)),
            Event::Outgoing(id, outgoing) => _ = socket(id).map(|socket| socket.sent(&outgoing)),
            Event::Answer(id, ack, answer) => self.answers.fill(&(id, ack), answer),
            Event::Fate(token, fate) => self.fates.fill(&token, fate),
            Event::ReconnectAttempt(attempt) => self.tell(ManagerEvent::ReconnectAttempt(attempt)),
            Event::Reconnect(attempts) => self.tell(ManagerEvent::Reconnect(attempts)),
            Event::ReconnectError(reason) => {
                self.tell(ManagerEvent::ReconnectError(ClientConnectError::Closed(reason)))
            }
            Event::ReconnectFailed => self.tell(ManagerEvent::ReconnectFailed),
            Event::Ping => self.tell(ManagerEvent::Ping),
            Event::Interrupted(reason) => {
                debug!(peer = %self.settings.authority, cause = %reason, "the connection was lost, and its session is resumed");
                self.tell(ManagerEvent::Interrupted(reason));
            }
            Event::Resumed => self.tell(ManagerEvent::Resumed),
            Event::Lost(id, event) => _ = socket(id).map(|socket| socket.lost(&event)),
            _ => {}
        }
    }

    fn tell(&self, event: ManagerEvent) {
        let handler = self.more.lock().as_ref().and_then(|more| more.on_manager_event.clone());
        if let Some(handler) = handler
            && let Err(panic) = catch(|| handler(event))
        {
            error!(peer = %self.settings.authority, cause = %panic.message(), "the handler of the client's events panicked");
        }
    }

    /// Joins a namespace with the auth data that was set, or that the application's callback returns now.
    fn join(self: &Arc<Self>, id: NamespaceId, attempt: u32) {
        match &self.settings.auth {
            Auth::None => return self.act(|client, now| client.join(now, id, attempt, "")),
            Auth::Value(auth) => return self.act(|client, now| client.join(now, id, attempt, auth)),
            Auth::Callback(_) => {}
        }
        let Some(auth) = self.auth() else { return };
        let Some(connector) = self.connector() else { return };
        // Not an owning reference, because the application may drop the client meanwhile.
        let shared = Arc::downgrade(self);
        let mut joining: BoxFuture<()> = Box::pin(async move {
            // On a timeout there is nothing to do: the core has the same deadline, and reports it.
            let Some(auth) = auth.await else { return };
            let Some(shared) = shared.upgrade() else { return };
            shared.act_from(Caller::Runtime, |client, now| match auth {
                Ok(auth) => client.join(now, id, attempt, &auth),
                Err(error) => client.refuse_join(now, id, attempt, &error),
            });
        });
        if joining.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            connector.spawn(joining);
        }
    }

    /// Returns the future auth data: what was set, or what the application's callback returns now, which is `None` if it
    /// takes too long. Returns `None` if the application has set neither.
    pub(super) fn auth(&self) -> Option<impl Future<Output = Option<AuthData>> + Send + use<>> {
        let settings = self.settings.clone();
        let panicked = move |panic: Panic| {
            error!(peer = %settings.authority, cause = %panic.message(), "the callback for auth panicked");
            Err("the callback panicked".into())
        };
        let auth: BoxFuture<AuthData> = match &self.settings.auth {
            Auth::None => return None,
            Auth::Value(auth) => Box::pin(ready(Ok(auth.clone()))),
            Auth::Callback(callback) => match catch(callback) {
                Ok(auth) => Box::pin(async move { Guarded(auth).await.unwrap_or_else(panicked) }),
                Err(panic) => Box::pin(ready(panicked(panic))),
            },
        };
        let connector = self.connector()?;
        Some(before(connector.sleep_until(connector.now() + self.settings.config.timeout), auth))
    }

    // Awaited results.

    /// Expects an answer. Called under the lock under which the event is sent, so that the answer comes later.
    pub(super) fn expect_answer(&self, id: NamespaceId, ack: u64) {
        self.answers.expect((id, ack));
    }

    /// Dispatches events that are held back, because each pending answer allows one more suspended handler.
    pub(super) fn answer_is_expected(&self) {
        if self.handlers.load(Ordering::Relaxed) >= MAX_HANDLERS {
            self.wake_keeper();
        }
    }

    pub(super) fn poll_answer(
        &self,
        cx: &mut Context<'_>,
        id: NamespaceId,
        ack: u64,
    ) -> Poll<Result<OwnedArgs, NoAnswer>> {
        match self.answers.poll(cx, &(id, ack)) {
            Poll::Ready(answer) => Poll::Ready(answer.unwrap_or(Err(NoAnswer::Disconnected))),
            Poll::Pending if self.connector().is_none() => {
                self.forget_answer(id, ack);
                Poll::Ready(Err(NoAnswer::Disconnected))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    pub(super) fn forget_answer(&self, id: NamespaceId, ack: u64) {
        if self.answers.forget(&(id, ack)) {
            self.look(|client| client.forget_ack(id, ack));
        }
    }

    pub(super) fn expect_fate(&self, token: Token) {
        self.fates.expect(token);
    }

    pub(super) fn poll_fate(&self, cx: &mut Context<'_>, token: Token) -> Poll<Result<(), ClientEmitError>> {
        match self.fates.poll(cx, &token) {
            Poll::Ready(fate) => Poll::Ready(fate.unwrap_or(Err(ClientEmitError::Disconnected))),
            Poll::Pending if self.connector().is_none() => {
                self.forget_fate(token);
                Poll::Ready(Err(ClientEmitError::Disconnected))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    pub(super) fn forget_fate(&self, token: Token) {
        self.fates.forget(&token);
    }

    // Closing.

    pub(super) fn stream_begins(&self) {
        self.driven.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a stream that has been closed, with everything written.
    pub(super) fn stream_ends(&self) {
        if self.driven.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.tell_if_closed();
        }
    }

    fn is_closed(&self) -> bool {
        self.driven.load(Ordering::Acquire) == 0 && (self.connector().is_none() || self.is_done())
    }

    /// Returns whether the client is idle and the application has been told of all events.
    pub(super) fn is_done(&self) -> bool {
        let mut core = self.core.lock();
        core.client.is_idle() && !core.dispatching && core.client.events_mut().is_empty()
    }

    fn tell_if_closed(&self) {
        if !self.is_closed() {
            return;
        }
        let waiting = self.more.lock().as_mut().map(|more| std::mem::take(&mut more.closed));
        waiting.into_iter().flatten().for_each(|(_, waker)| waker.wake());
        let keeper = {
            let mut keeper = self.keeper.lock();
            std::mem::take(&mut keeper.holds).then(|| keeper.waker.clone()).flatten()
        };
        if let Some(keeper) = keeper {
            keeper.wake();
        }
    }

    /// Polls for the end of the client. `id` is that of the future, drawn when it first has to wait.
    pub(super) fn poll_closed(&self, cx: &mut Context<'_>, id: &mut Option<u64>) -> Poll<()> {
        if self.is_closed() {
            return Poll::Ready(());
        }
        let mut waker = cx.waker().clone();
        {
            let mut more = self.more.lock();
            let More { closed, last_closed, .. } = &mut **more.get_or_insert_default();
            let id = *id.get_or_insert_with(|| {
                *last_closed += 1;
                *last_closed
            });
            match closed.iter_mut().find(|(known, _)| *known == id) {
                Some((_, known)) => std::mem::swap(known, &mut waker),
                None => closed.push((id, waker.clone())),
            }
        }
        // Dropped without the lock: the last waker of a task may drop the task.
        drop(waker);
        // Check again: the client may have closed before the waker was stored.
        if self.is_closed() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Removes the waker of a future that is dropped.
    pub(super) fn forget_closed(&self, id: u64) {
        let removed = self.more.lock().as_mut().and_then(|more| {
            let at = more.closed.iter().position(|(known, _)| *known == id)?;
            Some(more.closed.swap_remove(at))
        });
        drop(removed);
    }

    // Back-pressure.

    /// Returns whether the application has fallen behind, so that further events are held back.
    fn is_behind(&self) -> bool {
        self.has_many_handlers() || self.inbox.load(Ordering::Relaxed) >= MAX_INBOX
    }

    /// Returns whether the backlog is full, so that nothing more is accepted.
    pub(super) fn is_full(&self) -> bool {
        self.backlog.load(Ordering::Relaxed) >= MAX_BACKLOG
    }

    /// Returns whether the backlog is so full that the connection must end. A server that is read because its
    /// answer is awaited could otherwise fill the memory.
    pub(super) fn is_overrun(&self) -> bool {
        self.backlog.load(Ordering::Relaxed) >= 2 * MAX_BACKLOG
    }

    /// Returns whether to read from the server. If no namespace is joined it is read in any case, because the
    /// answer that joins one comes next.
    pub(super) fn may_read(&self) -> bool {
        !self.is_full() || self.look(|client| !client.is_any_connected())
    }

    /// Returns whether too many handlers are suspended. As many as there are pending answers are not counted,
    /// because answers are delivered without a handler.
    fn has_many_handlers(&self) -> bool {
        let running = self.handlers.load(Ordering::Relaxed);
        running >= MAX_HANDLERS && (running - MAX_HANDLERS) as usize >= self.answers.len()
    }

    pub(super) fn begin_handler(self: &Arc<Self>) -> Running {
        self.handlers.fetch_add(1, Ordering::Relaxed);
        Running(Arc::downgrade(self))
    }

    pub(super) fn add_to_inbox(&self, bytes: usize) {
        self.inbox.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn take_from_inbox(&self, bytes: usize) {
        let before = self.inbox.fetch_sub(bytes, Ordering::Relaxed);
        if before >= MAX_INBOX && before - bytes < MAX_INBOX {
            self.wake_keeper();
        }
    }

    fn wake_streams(&self) {
        let wakers = self.core.lock().wakers();
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// Runs `f`, which may send a message, with the queue's memory lent from the thread's pool.
fn lent<R>(client: &mut Client, f: impl FnOnce(&mut Client) -> R) -> R {
    client.queue_mut().into_iter().for_each(pool::lend);
    let result = f(client);
    // The queue is still empty if the message was refused or waits elsewhere.
    client.queue_mut().into_iter().for_each(pool::reclaim);
    result
}

/// Dispatches an event: other threads leave the events to this one until it is dropped, even by a panic.
struct Dispatching<'a>(&'a Shared);

impl<'a> Dispatching<'a> {
    fn end(self) -> MutexGuard<'a, Core> {
        let shared = self.0;
        std::mem::forget(self);
        let mut core = shared.core.lock();
        core.dispatching = false;
        core
    }
}

impl Drop for Dispatching<'_> {
    fn drop(&mut self) {
        self.0.core.lock().dispatching = false;
        // The timer task dispatches the other events.
        self.0.wake_keeper();
    }
}

/// Counts a suspended handler until it is dropped.
pub(super) struct Running(Weak<Shared>);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade()
            && shared.handlers.fetch_sub(1, Ordering::Relaxed) >= MAX_HANDLERS
            && !shared.has_many_handlers()
        {
            shared.wake_keeper();
        }
    }
}

impl Drop for Shared {
    /// Releases the handlers, which may own the sockets that own them: this breaks the cycle.
    fn drop(&mut self) {
        for socket in self.sockets.get_mut().drain(..) {
            socket.release();
        }
        self.answers.end();
        self.fates.end();
        if let Some(waker) = self.keeper.get_mut().waker.take() {
            waker.wake();
        }
    }
}
