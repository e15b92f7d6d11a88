//! The link of a server to its cluster.

use super::Adapter;
use super::asking::{Asker, names};
use super::ignored::Ignored;
use super::lookup::Slot;
use super::receiving::Receiving;
use crate::engine::deadline::Deadline;
use crate::engine::timers::{Expire, Key, Notify};
use crate::guard::guard;
use crate::observe::{self, ClusterEvent, ServerEvent};
use crate::server::Engine;
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use smol_str::SmolStr;
use sockeye_core::cluster::{
    Bus, BusDecoder, BusError, BusReceiver, BusStatus, Cluster, Command, Dialect, Found, Node, RequestId,
    Sharded, SubscriptionMode,
};
use sockeye_core::host::Runtime;
use sockeye_core::{Random, Time};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// The time for the bus to send what waits, when the server is closed.
const FLUSH: Duration = Duration::from_secs(1);

/// The maximum number of sockets that are known to be lost by the bus. Of more, nobody is told when they expire.
const MAX_UNSAVED: usize = 100_000;

/// The time for which that is known after the deadline of a socket: all that expire together have been asked for by then.
const UNSAVED_MARGIN: Duration = Duration::from_secs(60);

/// The link of a server to its cluster. It passes commands of the state machine to the bus, and events to the server.
///
/// Both happen without its lock, by one thread at a time each, so that their order is kept: one that finds another at work
/// leaves its own to it.
pub(crate) struct Link {
    bus: Box<dyn Bus>,
    pub(super) this: Weak<Link>,
    engine: OnceLock<Weak<Engine>>,
    /// Set once the bus is attached.
    runtime: OnceLock<Arc<dyn Runtime>>,
    /// Reads messages without the lock of the state. Made for the first one, once it is known whether clients are recovered.
    decoder: OnceLock<BusDecoder>,
    /// Rooms have channels of their own, which are watched while the room has a socket.
    pub(in crate::server) watches_rooms: bool,
    pub(super) state: Mutex<State>,
    /// Events of messages have not been handled. Written under the lock of the state.
    is_behind: AtomicBool,
    /// The name of this server in its cluster.
    uid: SmolStr,
    /// The number of the socket that was kept at the bus last.
    last_mark: AtomicU64,
}

pub(in crate::server) struct State {
    pub(in crate::server) cluster: Cluster,
    /// What waits for the results of own requests.
    askers: HashMap<RequestId, Weak<dyn Asker>>,
    /// What waits for the bus to look something up.
    pub(super) lookups: HashMap<RequestId, Arc<Slot>>,
    /// Removals of sockets from the bus that nobody waits for any more, and until when the answers may come.
    pub(super) late: HashMap<RequestId, Time>,
    /// The keys of sockets that the bus could not store, and until when that is of interest. Usually there are none.
    unsaved: HashMap<SmolStr, Time>,
    /// The next deadline in the table of the server, which may have moved later.
    timer: Option<(Time, Key)>,
    /// A thread passes a command to the bus.
    is_sending: bool,
    /// A thread handles an event.
    is_handling: bool,
    /// The server is being closed.
    is_leaving: bool,
    /// The task that waits until no thread passes a command to the bus.
    leaving: Option<Waker>,
    was_connected: bool,
    ignored: Ignored,
}

impl State {
    /// Notes that `asker` waits for the results of a request.
    pub(in crate::server) fn expect(&mut self, request: &RequestId, asker: Weak<dyn Asker>) {
        self.askers.insert(request.clone(), asker);
    }

    /// Returns whether the bus could not store the socket with a private id, and forgets that.
    pub(in crate::server) fn take_unsaved(&mut self, pid: &str) -> bool {
        let key = if self.unsaved.is_empty() { None } else { self.cluster.session_key(pid) };
        key.is_some_and(|key| self.unsaved.remove(&*key).is_some())
    }
}

impl Link {
    /// Creates the link of a server that is about to be built.
    ///
    /// # Panics
    /// If the system provides no randomness.
    pub(in crate::server) fn new(adapter: Adapter) -> Arc<Link> {
        let mut seed = [0; 20];
        getrandom::fill(&mut seed)
            .expect("the system provides randomness, for the name of a server in its cluster");
        let mode = match adapter.config.dialect {
            Dialect::Sharded(Sharded { subscription_mode, .. }) => subscription_mode,
            _ => SubscriptionMode::Static,
        };
        let cluster = Cluster::new(adapter.config, Random::from_seed(seed));
        Arc::new_cyclic(|this| Link {
            bus: adapter.bus,
            decoder: OnceLock::new(),
            this: this.clone(),
            engine: OnceLock::new(),
            runtime: OnceLock::new(),
            uid: cluster.uid().into(),
            watches_rooms: mode != SubscriptionMode::Static,
            state: Mutex::new(State {
                cluster,
                askers: HashMap::new(),
                lookups: HashMap::new(),
                late: HashMap::new(),
                unsaved: HashMap::new(),
                timer: None,
                is_sending: false,
                is_handling: false,
                is_leaving: false,
                leaving: None,
                was_connected: false,
                ignored: Ignored::default(),
            }),
            is_behind: AtomicBool::new(false),
            last_mark: AtomicU64::new(0),
        })
    }

    /// Tells the link its server.
    pub(in crate::server) fn set_engine(&self, engine: &Arc<Engine>) {
        let _ = self.engine.set(Arc::downgrade(engine));
    }

    /// Makes broadcasts come back to this server, for the recovery of clients by any server. Returns whether the adapter can
    /// do that.
    pub(in crate::server) fn enable_recovery(&self) -> bool {
        let state = &mut *self.state.lock();
        let is_possible =
            matches!(state.cluster.config().dialect, Dialect::Streams(_)) && self.bus.stores_sessions();
        if is_possible {
            state.cluster.enable_recovery();
        }
        is_possible
    }

    /// Returns the name of this server in its cluster.
    pub(in crate::server) fn uid(&self) -> &str {
        &self.uid
    }

    /// Returns a number for a socket that is kept at the bus.
    pub(in crate::server) fn next_mark(&self) -> u64 {
        self.last_mark.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(in crate::server) fn engine(&self) -> Option<Arc<Engine>> {
        self.engine.get()?.upgrade()
    }

    pub(super) fn now(&self) -> Time {
        self.engine().map_or(Time::ZERO, |engine| engine.now())
    }

    /// Connects the bus, once the server has a runtime.
    pub(in crate::server) fn attach(&self, runtime: &Arc<dyn Runtime>) {
        if self.runtime.set(runtime.clone()).is_ok() {
            guard("a bus", || self.bus.attach(self.this.clone()));
            self.send();
        }
    }

    /// Changes the state of the cluster. What has to leave because of that waits for [`send`](Link::send).
    pub(in crate::server) fn queue<R>(&self, f: impl FnOnce(&mut State, Time) -> R) -> R {
        let now = self.now();
        f(&mut self.state.lock(), now)
    }

    /// Does the same as [`queue`](Link::queue) and [`send`](Link::send). The caller must hold no lock.
    pub(in crate::server) fn act<R>(&self, f: impl FnOnce(&mut Cluster, Time) -> R) -> R {
        let result = self.queue(|state, now| f(&mut state.cluster, now));
        self.send();
        result
    }

    /// Passes commands to the bus, and handles events. The caller must hold no lock.
    pub(in crate::server) fn send(&self) {
        // Dropped without the lock: with its last handle, the server ends, and its last handlers may send.
        let engine = self.engine();
        let mut state = self.state.lock();
        loop {
            if pass_next(&mut state, &*self.bus) {
                continue;
            }
            if !state.is_handling
                && let Some(event) = state.cluster.poll_event()
            {
                state.is_handling = true;
                MutexGuard::unlocked(&mut state, || guard("a cluster event", || self.handle_event(event)));
                state.is_handling = false;
            } else {
                break;
            }
        }
        if !state.is_handling {
            self.is_behind.store(false, Ordering::Release);
        }
        let driver = engine.as_ref().and_then(|engine| self.arm(engine, &mut state));
        let leaving = if state.is_sending { None } else { state.leaving.take() };
        drop(state);
        driver.into_iter().chain(leaving).for_each(Waker::wake);
    }

    /// Adds the next deadline to the table of the server, if it has moved closer. Returns the waker to call.
    fn arm(&self, engine: &Engine, state: &mut State) -> Option<Waker> {
        let deadlines = [state.cluster.next_deadline(), state.ignored.next_deadline()];
        let deadline = deadlines.into_iter().flatten().min()?;
        if state.timer.is_some_and(|(at, _)| at <= deadline) {
            return None;
        }
        let (key, driver) = engine.timers.insert(deadline, Notify::Object(self.this.clone()));
        if let Some((_, replaced)) = state.timer.replace((deadline, key)) {
            engine.timers.remove(replaced);
        }
        driver
    }

    /// Takes what waits for a request.
    pub(super) fn take_asker(&self, request: &RequestId) -> Option<Arc<dyn Asker>> {
        self.state.lock().askers.remove(request)?.upgrade()
    }

    /// Returns what waits for a request.
    pub(super) fn asker(&self, request: &RequestId) -> Option<Arc<dyn Asker>> {
        self.state.lock().askers.get(request)?.upgrade()
    }

    /// Stops waiting for a request.
    pub(in crate::server) fn cancel(&self, request: &RequestId) {
        let state = &mut *self.state.lock();
        state.cluster.cancel(request);
        state.askers.remove(request);
    }

    /// Tells the application, the observer and the log of a change.
    pub(super) fn tell(&self, event: &ClusterEvent) {
        let Some(engine) = self.engine() else { return };
        observe::tell(engine.observer.as_deref(), &ServerEvent::ClusterChanged { event });
        if let Some(handler) = &engine.application.on_cluster_event {
            guard("on_cluster_event", || handler(event));
        }
    }

    /// Returns what reads the messages of other servers.
    pub(in crate::server) fn decoder(&self) -> &BusDecoder {
        self.decoder.get_or_init(|| self.state.lock().cluster.decoder())
    }

    /// Returns whether a thread has yet to handle the events of messages that came before.
    pub(super) fn is_behind(&self) -> bool {
        self.is_behind.load(Ordering::Acquire)
    }

    /// Handles the result of a message, and what it has caused. Returns whether that was anything.
    pub(super) fn finish(
        &self,
        mut state: MutexGuard<'_, State>,
        now: Time,
        result: Result<(), BusError>,
    ) -> bool {
        let is_ignored = result.is_err();
        let mut report = None;
        if let Err(cause) = result {
            state.ignored.add(cause);
            report = state.ignored.take_report(now);
        }
        // Most messages have no effect here. A deadline moves closer only with an event or a command.
        let has_events = state.cluster.has_events();
        // The report may have a deadline.
        let has_effect = has_events || state.cluster.has_commands() || is_ignored;
        if has_events {
            self.is_behind.store(true, Ordering::Release);
        }
        drop(state);
        if has_effect {
            self.send();
        }
        report.iter().for_each(|report| self.tell(report));
        has_effect
    }

    /// Closes the server by `close`, and says goodbye to the others. The server counts as closed once everything else is
    /// over, and then the bus has sent what was passed to it by then, or a second has passed.
    pub(in crate::server) fn leave(&self, close: impl FnOnce()) {
        let Some(engine) = self.engine() else { return close() };
        if std::mem::replace(&mut self.state.lock().is_leaving, true) {
            return close();
        }
        let busy = Busy::new(&engine);
        close();
        self.act(|cluster, now| cluster.close(now));
        let Some(runtime) = engine.runtime() else { return };
        let this = self.this.clone();
        runtime.spawn(Box::pin(async move {
            poll_fn(|cx| busy.poll_last(cx)).await;
            let (mut flush, mut deadline) = (None, Deadline::default());
            poll_fn(|cx| {
                let (Some(engine), Some(link)) = (busy.0.upgrade(), this.upgrade()) else {
                    return Poll::Ready(());
                };
                if link.poll_flush(cx, &mut flush).is_ready() || deadline.poll(cx, &engine, FLUSH).is_ready()
                {
                    deadline.clear(&engine.timers);
                    return Poll::Ready(());
                }
                Poll::Pending
            })
            .await;
        }));
    }

    /// Returns `Ready` once the bus has sent what was passed to it before the first call.
    fn poll_flush(&self, cx: &mut Context<'_>, flush: &mut Option<Flush>) -> Poll<()> {
        if flush.is_none() {
            self.send();
            let mut state = self.state.lock();
            if state.is_sending {
                // Another thread passes what is left, and wakes this task then.
                let replaced = state.leaving.replace(cx.waker().clone());
                drop(state);
                drop(replaced);
                return Poll::Pending;
            }
        }
        flush.get_or_insert_with(|| self.bus.flush()).as_mut().poll(cx)
    }
}

/// The future of [`Bus::flush`].
type Flush = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The state machine of a node, whose commands one thread at a time passes to the bus, so that their order is kept.
pub(super) trait Sending {
    fn cluster(&mut self) -> &mut Cluster;

    /// Whether a thread passes a command to the bus.
    fn is_sending(&mut self) -> &mut bool;
}

impl Sending for State {
    fn cluster(&mut self) -> &mut Cluster {
        &mut self.cluster
    }

    fn is_sending(&mut self) -> &mut bool {
        &mut self.is_sending
    }
}

/// Passes the next command to the bus, without the lock. Returns `false` if there is none, or another thread is doing it.
pub(super) fn pass_next(state: &mut MutexGuard<'_, impl Sending>, bus: &dyn Bus) -> bool {
    if *state.is_sending() {
        return false;
    }
    let Some(command) = state.cluster().poll_command() else { return false };
    *state.is_sending() = true;
    MutexGuard::unlocked(state, || guard("a bus", || pass(bus, command)));
    *state.is_sending() = false;
    true
}

/// Passes a command to the bus.
fn pass(bus: &dyn Bus, command: Command) {
    match command {
        Command::Watch(channel) => bus.watch(&channel, true),
        Command::Unwatch(channel) => bus.watch(&channel, false),
        Command::Publish { channel, message } => bus.publish(&channel, message),
        Command::Append { channel, fields } => bus.append(&channel, fields),
        Command::Count { channel, request } => bus.count(&channel, request),
        Command::Save { key, value, lifetime } => bus.save(&key, value, lifetime),
        Command::Load { key, remove, request } => bus.load(&key, remove, request),
        Command::Read { channel, from, request } => bus.read(&channel, &from, request),
        _ => {}
    }
}

/// Keeps the server from being closed until it is dropped.
struct Busy(Weak<Engine>);

impl Busy {
    fn new(engine: &Arc<Engine>) -> Busy {
        engine.count_busy(true);
        Busy(Arc::downgrade(engine))
    }

    /// Returns `Ready` once nothing else keeps the server from being closed.
    fn poll_last(&self, cx: &Context<'_>) -> Poll<()> {
        self.0.upgrade().map_or(Poll::Ready(()), |engine| engine.poll_closed(cx, 1))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(engine) = self.0.upgrade() {
            engine.count_busy(false);
        }
    }
}

impl Expire for Link {
    fn expire(self: Arc<Self>, now: Time) {
        let report = {
            let mut state = self.state.lock();
            state.timer = None;
            state.cluster.handle_timeout(now);
            // With sockets at the bus, there are heartbeats, so that this is called soon enough.
            state.unsaved.retain(|_, until| now < *until);
            state.late.retain(|_, until| now < *until);
            state.ignored.take_report(now)
        };
        self.send();
        report.iter().for_each(|report| self.tell(report));
    }
}

impl Node for Link {
    fn runtime(&self) -> Arc<dyn Runtime> {
        self.runtime.get().expect("the bus is attached once there is a runtime").clone()
    }

    fn handle_message(&self, channel: &str, message: Bytes) {
        Receiving::new(self).handle_message(channel, &message, &message);
    }

    fn handle_entry(&self, stream: &str, offset: &str, fields: &[(&str, Bytes)]) {
        // Of the others, nothing is kept that would share their memory.
        let longest = fields.iter().map(|(_, value)| value).max_by_key(|value| value.len());
        let buffer = longest.cloned().unwrap_or_default();
        let fields = fields.iter().map(|(name, value)| (*name, &**value));
        Receiving::new(self).entry(stream, offset, fields, &buffer);
    }

    fn receiver(&self) -> Box<dyn BusReceiver + '_> {
        Box::new(Receiving::new(self))
    }

    fn handle_stream(&self, stream: &str, offset: &str) {
        let now = self.now();
        let mut state = self.state.lock();
        let result = state.cluster.handle_stream(stream, offset);
        self.finish(state, now, result);
    }

    fn handle_found(&self, request: &RequestId, found: Found) {
        self.complete(request, found.into());
    }

    fn handle_unsaved(&self, key: &str) {
        let Some(engine) = self.engine() else { return };
        let Some(recovery) = &engine.application.recovery else { return };
        let until = engine.now() + recovery.max_disconnection() + UNSAVED_MARGIN;
        let unsaved = &mut self.state.lock().unsaved;
        if unsaved.len() < MAX_UNSAVED {
            unsaved.insert(key.into(), until);
        }
    }

    fn handle_count(&self, request: &RequestId, subscribers: Option<usize>) {
        self.act(|cluster, _| cluster.handle_count(request, subscribers));
    }

    fn handle_status(&self, status: BusStatus) {
        if let BusStatus::MessageTooLong { len, limit } = status {
            let now = self.now();
            self.finish(self.state.lock(), now, Err(BusError::TooLong { len, limit }));
            return;
        }
        let Some(event) = ClusterEvent::of_status(status) else { return };
        if event == ClusterEvent::BusConnected {
            self.queue(|state, now| {
                if std::mem::replace(&mut state.was_connected, true) {
                    state.cluster.handle_reconnect(now);
                }
            });
            self.send();
        }
        self.tell(&event);
    }
}

impl Drop for Link {
    /// Ends the requests that are still waited for.
    fn drop(&mut self) {
        for asker in
            std::mem::take(&mut self.state.get_mut().askers).into_values().filter_map(|it| it.upgrade())
        {
            asker.finished(names::<&str>(&[], 1));
        }
    }
}

#[cfg(feature = "testing")]
#[cfg(test)]
mod tests {
    use crate::cluster::{Adapter, MemoryBus};
    use crate::testing::TestServer;
    use crate::{AckStream, Recovery, Server};
    use sockeye_core::cluster::Node;
    use std::time::Duration;

    #[test]
    fn a_broadcast_to_a_room_that_sockets_are_about_to_join_reaches_them() {
        let test = TestServer::new(Server::builder().adapter(Adapter::sharded(MemoryBus::new())).build());
        let io = test.server();
        let client = test.connect("/");
        let join = format!(
            r#"{{"uid":"a","nsp":"/","type":4,"data":{{"opts":{{"rooms":["{}"],"except":[]}},"rooms":["late"]}}}}"#,
            client.id()
        );
        let packet = r#""packet":{"type":2,"data":["news",1]}"#;
        let to = |rooms| {
            format!(
                r#"{{"uid":"a","nsp":"/","type":3,"data":{{{packet},"opts":{{"rooms":{rooms},"except":[]}}}}}}"#
            )
        };
        let messages = [
            ("socket.io#/#", join),
            ("socket.io#/#", to(r#"["late","other"]"#)),
            ("socket.io#/#late#", to(r#"["late"]"#)),
        ];
        let receive = |io: &Server, channel: &str, message: String| {
            let link = io.engine.application().namespaces.link.clone().expect("a cluster");
            link.handle_message(channel, message.into());
        };
        // Here, the next messages arrive while an event is handled.
        let server = io.clone();
        io.on_server_side_event("go", move || {
            messages.clone().into_iter().for_each(|(channel, message)| receive(&server, channel, message));
            async {}
        });
        receive(io, "socket.io#/#", r#"{"uid":"a","nsp":"/","type":9,"data":{"packet":["go"]}}"#.into());
        for _ in 0..2 {
            assert_eq!(client.expect_event::<u8>("news"), 1);
        }
    }

    #[test]
    fn sockets_that_the_bus_has_lost_and_nobody_asks_for_are_forgotten() {
        let builder = Server::builder().connection_state_recovery(Recovery::new());
        let test = TestServer::new(builder.adapter(Adapter::streams(MemoryBus::new())).build());
        let link = test.server().engine.application().namespaces.link.clone().expect("a cluster");
        link.handle_unsaved("a socket that the server itself has forgotten");
        test.advance(Duration::from_secs(120));
        assert_eq!(link.state.lock().unsaved.len(), 1, "until the end of its deadline");
        test.advance(Duration::from_secs(120));
        assert_eq!(link.state.lock().unsaved.len(), 0);
    }

    #[test]
    fn an_answer_that_never_comes_is_not_expected_for_ever() {
        let builder = Server::builder().connection_state_recovery(Recovery::new());
        let test = TestServer::new(builder.adapter(Adapter::streams(MemoryBus::new())).build());
        let link = test.server().engine.application().namespaces.link.clone().expect("a cluster");
        drop(link.look_up(|cluster| cluster.load_session("a", true)).or_put_back());
        assert_eq!(link.state.lock().late.len(), 1);
        test.settle();
        assert_eq!(link.state.lock().late.len(), 0, "it came");
        link.queue(|state, now| state.expect_late("lost".into(), now));
        test.advance(Duration::from_secs(59));
        assert_eq!(link.state.lock().late.len(), 1);
        test.advance(Duration::from_secs(10));
        assert_eq!(link.state.lock().late.len(), 0);
    }

    #[test]
    fn requests_that_are_over_or_given_up_leave_nothing_in_the_table() {
        let bus = MemoryBus::new();
        let server = || Server::builder().adapter(Adapter::sharded(bus.clone())).build();
        let first = TestServer::new(server());
        let second = first.beside(server());
        let _silent = second.connect("/");
        first.settle();
        let io = first.server();
        let asked: AckStream<()> = io.timeout(Duration::from_secs(1)).emit_with_ack("ask", ());
        let given_up: AckStream<()> = io.emit_with_ack("ask", ());
        let not_polled: AckStream<()> = io.timeout(Duration::from_secs(1)).emit_with_ack("ask", ());
        let told: AckStream<()> = io.server_side_emit_with_ack("tell", ());
        let fetched = io.fetch_sockets();
        let waiting = || {
            let link = io.engine.application().namespaces.link.as_ref();
            link.map(|link| link.state.lock().askers.len())
        };
        assert_eq!(waiting(), Some(4), "a future that is not polled has asked for nothing");
        drop(given_up);
        assert_eq!(waiting(), Some(3));
        first.block_on(async {
            assert!(!asked.await.is_complete());
            assert_eq!(fetched.await.sockets.len(), 1);
            assert!(!told.await.is_complete());
            assert_eq!(io.server_count().await, 2);
        });
        assert_eq!(waiting(), Some(0));
        drop(not_polled);
    }
}
