//! The state shared by the handles and the streams of one client.

use super::builder::{Auth, Settings};
use super::jar::CookieJar;
use super::keeper::{KeepTime, Keeper};
use super::lane::LaneStream;
use super::slots::Slots;
use super::socket::{ClientSocket, Inner};
use super::wait::before;
use super::{ConnectError, ManagerEvent};
use crate::error::EmitError;
use crate::guard::Guarded;
use crate::handler::BoxFuture;
use crate::log::error;
use crate::pool;
use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;
use sockeye_core::engineio::client::{Lane, Request, TransportError, Want};
use sockeye_core::host::{Connector, Destination};
use sockeye_core::socketio::OwnedArgs;
use sockeye_core::socketio::client::{Client, Event, NamespaceId, NoAnswer, Token};
use sockeye_core::websocket::Message;
use sockeye_core::{Outbound, Random, Time};
use std::borrow::Cow;
use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{SystemTime, UNIX_EPOCH};

/// Maximum number of suspended handlers; beyond it no event is passed to a handler.
const MAX_HANDLERS: usize = 1000;
/// Maximum number of bytes in the inboxes of [`Events`](super::Events); beyond it no event is added.
const MAX_INBOX: usize = 4 << 20;
/// Maximum number of bytes of events held back behind that; beyond it the server is no longer read, unless a
/// namespace is being joined. A connection that brings more at twice as much is ended.
const MAX_BACKLOG: usize = 4 << 20;

pub(super) struct Shared {
    pub(super) settings: Arc<Settings>,
    core: Mutex<Core>,
    sockets: Mutex<SmallVec<[Arc<Inner>; 1]>>,
    connector: OnceLock<Arc<dyn Connector>>,
    /// The runtime has ended.
    ended: AtomicBool,
    pub(super) keeper: Mutex<Keeper>,
    more: Mutex<Option<Box<More>>>,
    pub(super) answers: Slots<(NamespaceId, u64), Result<OwnedArgs, NoAnswer>>,
    pub(super) fates: Slots<Token, Result<(), EmitError>>,
    handlers: AtomicUsize,
    /// The number of streams that the runtime drives.
    driven: AtomicU32,
    /// The size of the events that the application has not been told of yet. Written under the lock of
    /// `core`.
    backlog: AtomicUsize,
    inbox: AtomicUsize,
}

/// State that few clients need.
#[derive(Default)]
struct More {
    jar: CookieJar,
    on_manager_event: Option<Arc<OnManagerEvent>>,
    /// Wakers of tasks that wait until the client is closed.
    closed: Vec<Waker>,
}

type OnManagerEvent = dyn Fn(ManagerEvent) + Send + Sync;

struct Core {
    client: Client,
    streams: [Stream; 3],
    /// The session that the streams belong to.
    generation: u64,
    opened: u64,
    /// A thread is dispatching events to the application: all of them, in order.
    dispatching: bool,
    /// The value of [`Client::ended_attempts`] that waiting tasks were last woken for.
    ended_attempts: u32,
    /// How many events at the front of the queue are counted in the backlog.
    counted: usize,
    /// How many events at the front of the queue are known to be held back while the application is behind.
    seen: usize,
}

/// The origin of a change. Events are dispatched on the client's runtime only: any other caller may hold a
/// lock that a handler takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// Any thread.
    Application,
    /// A task of the client.
    Runtime,
    /// The stream of a lane, which needs no waking: it looks at its own state afterwards.
    Stream(Lane),
}

/// The stream of a lane.
#[derive(Default)]
struct Stream {
    /// Zero if there is none.
    id: u64,
    waker: Option<Waker>,
}

/// Streams to open and tasks to wake after a change, once no lock is held.
#[derive(Default)]
struct Todo {
    open: SmallVec<[(Lane, u64); 2]>,
    wake: SmallVec<[Waker; 3]>,
}

impl Shared {
    pub(super) fn new(settings: Arc<Settings>, random: Random) -> Arc<Shared> {
        let client = Client::new(settings.config.clone(), random);
        Arc::new(Shared {
            settings,
            core: Mutex::new(Core {
                client,
                streams: Default::default(),
                generation: 0,
                opened: 0,
                dispatching: false,
                ended_attempts: 0,
                counted: 0,
                seen: 0,
            }),
            sockets: Mutex::default(),
            connector: OnceLock::new(),
            ended: AtomicBool::new(false),
            keeper: Mutex::default(),
            more: Mutex::default(),
            answers: Slots::default(),
            fates: Slots::default(),
            handlers: AtomicUsize::new(0),
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

    /// Reads the core, or changes something that no stream or handler needs to hear of.
    pub(super) fn look<R>(&self, f: impl FnOnce(&mut Client) -> R) -> R {
        f(&mut self.core.lock().client)
    }

    /// Runs `f`, which sends a message, on the core.
    pub(super) fn sending<R>(&self, f: impl FnOnce(&mut Client) -> R) -> R {
        self.look(|client| lent(client, f))
    }

    /// Refuses an event that is to be reported to handlers while the backlog is full.
    pub(super) fn check_backlog(&self, client: &Client, id: NamespaceId) -> Result<(), EmitError> {
        match self.is_full() && client.tells_outgoing(id) {
            true => Err(EmitError::SlowConsumer { queued: self.backlog.load(Ordering::Relaxed) }),
            false => Ok(()),
        }
    }

    /// Handles a message that arrived.
    pub(super) fn receive(self: &Arc<Self>, generation: u64, message: &Message<'_>) {
        let now = self.now();
        let mut core = self.core.lock();
        let client = &mut core.client;
        lend_events(client.events_mut());
        match self.is_overrun() {
            true => client.fall_behind(now),
            false => lent(client, |client| client.handle_message(now, generation, message)),
        }
        self.settle(core, now, Caller::Stream(Lane::WebSocket));
    }

    /// Moves queued frames to the stream of a session's WebSocket connection.
    pub(super) fn transmit(self: &Arc<Self>, generation: u64, out: &mut Outbound) {
        let now = self.now();
        let may_have_events = self.look(|client| {
            let may_have_events = client.transmit(now, generation, out);
            client.queue_mut().into_iter().for_each(pool::reclaim);
            may_have_events
        });
        if may_have_events {
            self.act_from(Caller::Stream(Lane::WebSocket), |_, _| {});
        }
    }

    /// Changes the core, and acts on the consequences.
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

    /// Opens, wakes and closes streams as the core requires, and dispatches its events to the application.
    fn settle<'a>(self: &'a Arc<Self>, mut core: MutexGuard<'a, Core>, now: Time, caller: Caller) {
        let own = match caller {
            Caller::Stream(lane) => Some(lane),
            Caller::Application | Caller::Runtime => None,
        };
        let has_runtime = self.connector().is_some();
        // Without a runtime there are no events that a handler is called for.
        let may_tell = caller != Caller::Application || !has_runtime;
        loop {
            let todo = core.look_after_streams(now, own, has_runtime);
            let was_full = self.is_full();
            let may_tell = may_tell && !core.dispatching;
            let event = if may_tell { core.next_event(self.is_behind(), &self.backlog) } else { None };
            let mut is_left = false;
            match event {
                Some(_) => core.dispatching = true,
                None => is_left = core.count_backlog(&self.backlog) && !may_tell && !core.dispatching,
            }
            let may_read = was_full && !self.is_full();
            let ended_attempts = core.client.ended_attempts();
            let has_result = std::mem::replace(&mut core.ended_attempts, ended_attempts) != ended_attempts;
            let deadline = core.client.next_deadline();
            let generation = core.client.generation();
            let is_idle = core.client.is_idle();
            drop(core);
            todo.wake.into_iter().for_each(Waker::wake);
            for (lane, stream) in todo.open {
                self.open(lane, generation, stream, None);
            }
            self.arm(deadline);
            if has_result {
                self.wake_waiters();
            }
            if may_read {
                self.wake_streams();
            }
            if is_left {
                self.wake_keeper();
            }
            let Some(event) = event else {
                if is_idle {
                    self.tell_if_closed();
                }
                return;
            };
            let dispatching = Dispatching(self);
            self.dispatch(event);
            core = dispatching.end();
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
        let opened = {
            let mut core = self.core.lock();
            let opened = core.opened + 1;
            let own = core.stream(lane);
            if own.id != stream {
                return;
            }
            let replaced = std::mem::replace(own, Stream { id: opened, waker: None });
            core.opened = opened;
            drop(core);
            drop(replaced);
            opened
        };
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
                self.tell(ManagerEvent::ReconnectError(ConnectError::Closed(reason)))
            }
            Event::ReconnectFailed => self.tell(ManagerEvent::ReconnectFailed),
            Event::Ping => self.tell(ManagerEvent::Ping),
            _ => {}
        }
    }

    fn tell(&self, event: ManagerEvent) {
        let handler = self.more.lock().as_ref().and_then(|more| more.on_manager_event.clone());
        if let Some(handler) = handler
            && catch_unwind(AssertUnwindSafe(|| handler(event))).is_err()
        {
            error!("a handler panicked");
        }
    }

    /// Joins a namespace with the auth data that was set, or that the application's callback returns now.
    fn join(self: &Arc<Self>, id: NamespaceId, attempt: u64) {
        let callback = match &self.settings.auth {
            Auth::None => return self.act(|client, now| client.join(now, id, attempt, "")),
            Auth::Value(auth) => return self.act(|client, now| client.join(now, id, attempt, auth)),
            Auth::Callback(callback) => callback,
        };
        let Ok(future) = catch_unwind(AssertUnwindSafe(callback)) else {
            error!("the callback for auth panicked");
            return self.act(|client, now| client.refuse_join(now, id, attempt, "the callback panicked"));
        };
        let Some(connector) = self.connector() else { return };
        // Not an owning reference, because the application may drop the client meanwhile.
        let shared = Arc::downgrade(self);
        let deadline = connector.now() + self.settings.config.timeout;
        let late = connector.sleep_until(deadline);
        let mut joining: BoxFuture<()> = Box::pin(async move {
            // On a timeout there is nothing to do: the core has the same deadline, and reports it.
            let Some(auth) = before(late, Guarded(future)).await else { return };
            let Some(shared) = shared.upgrade() else { return };
            let auth = auth.unwrap_or_else(|| Err("the callback panicked".into()));
            shared.act_from(Caller::Runtime, |client, now| match auth {
                Ok(auth) => client.join(now, id, attempt, &auth),
                Err(error) => client.refuse_join(now, id, attempt, &error),
            });
        });
        if joining.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            connector.spawn(joining);
        }
    }

    // Awaited results.

    pub(super) fn expect_answer(&self, id: NamespaceId, ack: u64) {
        self.answers.expect((id, ack));
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

    pub(super) fn poll_fate(&self, cx: &mut Context<'_>, token: Token) -> Poll<Result<(), EmitError>> {
        match self.fates.poll(cx, &token) {
            Poll::Ready(fate) => Poll::Ready(fate.unwrap_or(Err(EmitError::Disconnected))),
            Poll::Pending if self.connector().is_none() => {
                self.forget_fate(token);
                Poll::Ready(Err(EmitError::Disconnected))
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
        waiting.into_iter().flatten().for_each(Waker::wake);
        let keeper = {
            let mut keeper = self.keeper.lock();
            std::mem::take(&mut keeper.holds).then(|| keeper.waker.clone()).flatten()
        };
        if let Some(keeper) = keeper {
            keeper.wake();
        }
    }

    pub(super) fn poll_closed(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_closed() {
            return Poll::Ready(());
        }
        {
            let mut more = self.more.lock();
            let closed = &mut more.get_or_insert_default().closed;
            if !closed.iter().any(|known| known.will_wake(cx.waker())) {
                closed.push(cx.waker().clone());
            }
        }
        // Check again: the client may have closed before the waker was stored.
        if self.is_closed() { Poll::Ready(()) } else { Poll::Pending }
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
        running >= MAX_HANDLERS && running >= MAX_HANDLERS + self.answers.len()
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
        let wakers: SmallVec<[Waker; 3]> = {
            let core = self.core.lock();
            core.streams.iter().filter_map(|stream| stream.waker.clone()).collect()
        };
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

thread_local! {
    static EVENTS: Cell<VecDeque<Event>> = const { Cell::new(VecDeque::new()) };
}

/// Maximum capacity of the event queue kept per thread: more events at once are rare, and their memory is
/// released.
const MAX_EVENTS: usize = 64;

fn lend_events(queue: &mut VecDeque<Event>) {
    if queue.capacity() == 0 {
        *queue = EVENTS.take();
    }
}

/// Returns the memory of an empty queue to the thread, which may be about to end.
fn reclaim_events(queue: &mut VecDeque<Event>) {
    if queue.is_empty() && queue.capacity() > 0 {
        let queue = std::mem::take(queue);
        if queue.capacity() <= MAX_EVENTS {
            _ = EVENTS.try_with(|events| events.set(queue));
        }
    }
}

impl Core {
    fn stream(&mut self, lane: Lane) -> &mut Stream {
        let [poll, post, websocket] = &mut self.streams;
        match lane {
            Lane::Poll => poll,
            Lane::Post => post,
            Lane::WebSocket => websocket,
        }
    }

    /// Returns the next event to dispatch. If the application has fallen behind, that is the first event that
    /// calls no handler for a message; the others keep their order.
    fn next_event(&mut self, is_behind: bool, backlog: &AtomicUsize) -> Option<Event> {
        let events = self.client.events_mut();
        let mut at = 0;
        if is_behind && matches!(events.front(), Some(Event::Incoming(..))) {
            self.seen = self.seen.max(1);
            at = self.seen + events.iter().skip(self.seen).position(goes_ahead).unwrap_or(events.len());
            self.seen = at.min(events.len());
        }
        let event = if at == 0 { events.pop_front() } else { events.remove(at) }?;
        if at == 0 {
            self.seen = self.seen.saturating_sub(1);
        }
        if at < self.counted {
            self.counted -= 1;
            let left = backlog.load(Ordering::Relaxed).saturating_sub(size_of_event(&event));
            backlog.store(left, Ordering::Relaxed);
        }
        Some(event)
    }

    /// Counts the waiting events, and reclaims the queue's memory if there are none. Returns whether there
    /// are any.
    fn count_backlog(&mut self, backlog: &AtomicUsize) -> bool {
        let events = self.client.events_mut();
        if events.len() > self.counted {
            let added: usize = events.iter().skip(self.counted).map(size_of_event).sum();
            backlog.store(backlog.load(Ordering::Relaxed).saturating_add(added), Ordering::Relaxed);
            self.counted = events.len();
        }
        reclaim_events(events);
        self.counted > 0
    }

    fn look_after_streams(&mut self, now: Time, own: Option<Lane>, can_open: bool) -> Todo {
        let mut todo = Todo::default();
        let generation = self.client.generation();
        let is_another = std::mem::replace(&mut self.generation, generation) != generation;
        for lane in Lane::ALL {
            let want = self.client.wants(now, generation, lane);
            let transmits = lane == Lane::WebSocket && self.client.wants_transmit(generation);
            let opened = self.opened + 1;
            let stream = self.stream(lane);
            let is_stale = stream.id != 0 && (is_another || want == Want::Nothing);
            if is_stale {
                // Once woken, the stream finds out that it is no longer wanted.
                let Stream { waker, .. } = std::mem::take(stream);
                todo.wake.extend(waker);
            }
            match want {
                Want::Request if stream.id == 0 && !can_open => {}
                Want::Request if stream.id == 0 => {
                    *stream = Stream { id: opened, waker: None };
                    self.opened = opened;
                    todo.open.push((lane, opened));
                }
                Want::Request if own != Some(lane) => todo.wake.extend(stream.waker.clone()),
                _ if transmits && own != Some(lane) => todo.wake.extend(stream.waker.clone()),
                _ => {}
            }
        }
        todo
    }
}

/// Returns whether an event may overtake those that are held back: it calls none of the socket's handlers,
/// and suspended handlers may be waiting for it.
fn goes_ahead(event: &Event) -> bool {
    matches!(event, Event::Join(..) | Event::Answer(..) | Event::Fate(..))
}

fn size_of_event(event: &Event) -> usize {
    let args = match event {
        Event::Incoming(_, incoming) => incoming.args.as_args(),
        Event::Outgoing(_, outgoing) => outgoing.args.as_args(),
        _ => return size_of::<Event>(),
    };
    size_of::<Event>() + args.json().len() + args.attachments().bytes()
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
