//! A node that notes what its bus passes to it.

use crate::cluster::{Bus, BusStatus, Channel, ChannelKind, Node, RequestId};
use bytes::Bytes;
use parking_lot::Mutex;
use sockeye_core::cluster::Found;
use sockeye_core::host::{Connector, Runtime};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

/// The time for which nothing has to arrive if nothing may.
pub(super) const QUIET: Duration = Duration::from_millis(100);

/// The time between two tries of something that takes effect later.
const PAUSE: Duration = Duration::from_millis(10);

thread_local! {
    /// A method of a bus is being called on this thread.
    static IS_CALLING: Cell<bool> = const { Cell::new(false) };
}

/// A bus, and its node.
pub(super) struct Probe {
    pub(super) bus: Box<dyn Bus>,
    pub(super) ear: Arc<Ear>,
    runtime: Arc<dyn Connector>,
    timeout: Duration,
    requests: AtomicUsize,
}

/// A node.
pub(super) struct Ear {
    runtime: Arc<dyn Connector>,
    heard: Mutex<Heard>,
}

pub(super) type Fields = Vec<(String, Bytes)>;

#[derive(Default)]
pub(super) struct Heard {
    /// The channels and contents of messages.
    pub(super) messages: Vec<(String, Bytes)>,
    /// The streams, offsets and fields of entries.
    pub(super) entries: Vec<(String, String, Fields)>,
    counts: BTreeMap<RequestId, Option<usize>>,
    found: BTreeMap<RequestId, Found>,
    pub(super) statuses: Vec<BusStatus>,
    waker: Option<Waker>,
    is_called_in_place: bool,
}

impl Heard {
    /// Returns the contents of the messages on a channel.
    pub(super) fn on(&self, channel: &Channel) -> Vec<&[u8]> {
        let on_it = self.messages.iter().filter(|(name, _)| *name == channel.name);
        on_it.map(|(_, message)| &**message).collect()
    }
}

impl Probe {
    pub(super) fn new(runtime: Arc<dyn Connector>, bus: Box<dyn Bus>, timeout: Duration) -> Probe {
        let ear = Arc::new(Ear { runtime: runtime.clone(), heard: Mutex::default() });
        Probe { bus, ear, runtime, timeout, requests: AtomicUsize::new(0) }
    }

    pub(super) fn attach(&self) {
        let node: Arc<dyn Node> = self.ear.clone();
        self.call(|bus| bus.attach(Arc::downgrade(&node)));
    }

    /// Calls a method of the bus, which must not call the node in place.
    pub(super) fn call<R>(&self, f: impl FnOnce(&dyn Bus) -> R) -> R {
        IS_CALLING.set(true);
        let result = f(&*self.bus);
        IS_CALLING.set(false);
        let is_called = self.ear.heard.lock().is_called_in_place;
        assert!(!is_called, "a bus must not call its node in place, but from a task of its own");
        result
    }

    pub(super) fn publish(&self, channel: &Channel, message: impl Into<Bytes>) {
        let message = message.into();
        self.call(|bus| bus.publish(channel, message));
    }

    pub(super) fn watch(&self, channel: &Channel, on: bool) {
        self.call(|bus| bus.watch(channel, on));
    }

    /// Waits until the node has heard what `f` looks for, and returns that.
    pub(super) async fn wait<R>(&self, what: &str, mut f: impl FnMut(&mut Heard) -> Option<R>) -> R {
        let mut late = self.runtime.sleep_until(self.runtime.now() + self.timeout);
        let found = poll_fn(|cx| {
            let heard = &mut *self.ear.heard.lock();
            if let Some(found) = f(heard) {
                return Poll::Ready(Some(found));
            }
            heard.waker = Some(cx.waker().clone());
            late.as_mut().poll(cx).map(|()| None)
        });
        match found.await {
            Some(found) => found,
            None => panic!("{what}: this has not happened within {:?}", self.timeout),
        }
    }

    /// Looks at what was heard so far.
    pub(super) fn heard<R>(&self, f: impl FnOnce(&Heard) -> R) -> R {
        f(&self.ear.heard.lock())
    }

    pub(super) async fn sleep(&self, time: Duration) {
        self.runtime.sleep_until(self.runtime.now() + time).await;
    }

    /// Asks for the number of nodes that watch a channel.
    pub(super) async fn count(&self, channel: &Channel) -> Option<usize> {
        let request = self.request();
        self.call(|bus| bus.count(channel, request.clone()));
        self.wait("every count is answered", |heard| heard.counts.remove(&request)).await
    }

    /// Looks something up by `ask`.
    pub(super) async fn look_up(&self, ask: impl FnOnce(&dyn Bus, RequestId)) -> Found {
        let request = self.request();
        self.call(|bus| ask(bus, request.clone()));
        self.wait("what is looked up is answered", |heard| heard.found.remove(&request)).await
    }

    /// Looks a value up.
    pub(super) async fn load(&self, key: &str, remove: bool) -> Found {
        self.look_up(|bus, request| bus.load(key, remove, request)).await
    }

    /// Waits until a value is not found any more.
    pub(super) async fn until_forgotten(&self, key: &str) {
        let until = self.runtime.now() + self.timeout;
        while self.load(key, false).await != Found::Value(None) {
            assert!(self.runtime.now() < until, "a value is found for {:?} after its lifetime", self.timeout);
            // The broker has a clock of its own, while that of a test may jump.
            std::thread::sleep(Duration::from_millis(1));
            self.sleep(PAUSE).await;
        }
    }

    fn request(&self) -> RequestId {
        RequestId::from(self.requests.fetch_add(1, Ordering::Relaxed).to_string().as_str())
    }

    /// Waits until as many nodes watch a channel.
    pub(super) async fn until_watched(&self, channel: &Channel, nodes: usize) {
        let until = self.runtime.now() + self.timeout;
        loop {
            let counted = self.count(channel).await;
            if counted == Some(nodes) {
                return;
            }
            assert!(
                self.runtime.now() < until,
                "{nodes} nodes watch a channel, but the bus has counted {counted:?} for {:?}",
                self.timeout
            );
            self.sleep(PAUSE).await;
        }
    }

    /// Watches a channel that cannot be counted, and waits until `send` is heard.
    pub(super) async fn watch_until_heard(&self, channel: &Channel, mut send: impl FnMut()) {
        self.watch(channel, true);
        let until = self.runtime.now() + self.timeout;
        while self.heard(|heard| heard.messages.is_empty() && heard.entries.is_empty()) {
            let what = if channel.kind == ChannelKind::Stream { "stream" } else { "pattern" };
            assert!(self.runtime.now() < until, "nothing is heard of a {what} that is watched");
            send();
            self.sleep(PAUSE).await;
        }
        // What was sent meanwhile has arrived.
        self.sleep(QUIET).await;
        let heard = &mut *self.ear.heard.lock();
        heard.messages.clear();
        heard.entries.clear();
    }
}

impl Ear {
    fn hear(&self, f: impl FnOnce(&mut Heard)) {
        let waker = {
            let heard = &mut *self.heard.lock();
            heard.is_called_in_place |= IS_CALLING.get();
            f(heard);
            heard.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }
}

impl Node for Ear {
    fn runtime(&self) -> Arc<dyn Runtime> {
        self.runtime.clone()
    }

    fn handle_message(&self, channel: &str, message: Bytes) {
        self.hear(|heard| heard.messages.push((channel.to_owned(), message)));
    }

    fn handle_entry(&self, stream: &str, offset: &str, fields: &[(&str, Bytes)]) {
        let fields = fields.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        self.hear(|heard| heard.entries.push((stream.to_owned(), offset.to_owned(), fields)));
    }

    fn handle_count(&self, request: &RequestId, subscribers: Option<usize>) {
        self.hear(|heard| _ = heard.counts.insert(request.clone(), subscribers));
    }

    fn handle_found(&self, request: &RequestId, found: Found) {
        self.hear(|heard| _ = heard.found.insert(request.clone(), found));
    }

    fn handle_status(&self, status: BusStatus) {
        self.hear(|heard| heard.statuses.push(status));
    }
}
