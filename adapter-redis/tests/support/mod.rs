//! A node that keeps what a bus passes to it, on each runtime.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod fake;
pub mod redis;

use bytes::Bytes;
use redis::{PATIENCE, RedisServer};
use sockeye_core::cluster::{Bus, BusStatus, Channel, ChannelKind, Found, Node, RequestId};
use sockeye_core::host::Runtime;
use sockeye_redis::RedisBus;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

/// What has come from a bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    Message { channel: String, message: String },
    Entry { stream: String, offset: String, fields: Vec<(String, String)> },
    Count { request: String, subscribers: Option<usize> },
    Status(BusStatus),
    Begun { stream: String, offset: String },
    Found { request: String, found: Found },
    Unsaved { key: String },
}

/// The runtimes that a test runs on.
#[derive(Debug, Clone, Copy)]
pub enum On {
    Tokio,
    Smol,
}

/// A node with its bus.
pub struct Rig {
    pub node: Arc<Recorder>,
    pub bus: RedisBus,
    pub runtime: Background,
}

/// Tokio, which is not waited for at its end.
pub struct Background(Option<tokio::runtime::Runtime>);

pub struct Recorder {
    runtime: Arc<dyn Runtime>,
    seen: Mutex<VecDeque<Seen>>,
    came: Condvar,
}

/// Runs a test on each runtime.
pub fn on_each_runtime(test: impl Fn(On)) {
    test(On::Tokio);
    test(On::Smol);
}

impl Rig {
    /// Attaches a bus to a new node, without waiting for the connection.
    pub fn new(on: On, bus: RedisBus) -> Rig {
        let (runtime, tokio): (Arc<dyn Runtime>, _) = match on {
            On::Tokio => {
                let mut builder = tokio::runtime::Builder::new_multi_thread();
                let tokio = builder.worker_threads(1).enable_all().build().unwrap();
                let context = tokio.enter();
                let runtime = Arc::new(sockeye_tokio::Tokio::new());
                drop(context);
                (runtime, Some(tokio))
            }
            On::Smol => (Arc::new(sockeye_smol::Smol::new()), None),
        };
        let node = Arc::new(Recorder { runtime, seen: Mutex::default(), came: Condvar::new() });
        let as_node: Arc<dyn Node> = node.clone();
        bus.attach(Arc::downgrade(&as_node));
        Rig { node, bus, runtime: Background(tokio) }
    }

    /// Attaches a bus and waits until it is connected.
    pub fn connected(on: On, bus: RedisBus) -> Rig {
        let rig = Rig::new(on, bus);
        rig.await_status(&BusStatus::Connected);
        rig
    }

    /// Attaches a bus over a server, and waits until it is connected.
    pub fn over(on: On, redis: &RedisServer) -> Rig {
        Rig::connected(on, RedisBus::new(redis.url()).unwrap())
    }

    /// Watches a stream and waits until it is read. Returns the position behind which that begins.
    pub fn begin(&self, stream: &Channel) -> String {
        self.bus.watch(stream, true);
        self.take(|seen| match seen {
            Seen::Begun { stream: begun, offset } if *begun == stream.name => Some(offset.clone()),
            _ => None,
        })
    }

    /// Watches a channel and waits until Redis knows it.
    pub fn watch(&self, channel: &Channel) {
        self.bus.watch(channel, true);
        self.await_count(channel, 1);
    }

    pub fn publish(&self, channel: &Channel, message: &str) {
        self.bus.publish(channel, Bytes::copy_from_slice(message.as_bytes()));
    }

    /// Returns the number of subscribers of a channel.
    pub fn count(&self, channel: &Channel) -> Option<usize> {
        self.bus.count(channel, RequestId::from("count"));
        self.take(|seen| match seen {
            Seen::Count { subscribers, .. } => Some(*subscribers),
            _ => None,
        })
    }

    /// Waits until a channel has so many subscribers.
    pub fn await_count(&self, channel: &Channel, subscribers: usize) {
        let started = Instant::now();
        while self.count(channel) != Some(subscribers) {
            assert!(started.elapsed() < PATIENCE, "{channel:?} does not have {subscribers} subscribers");
        }
    }

    pub fn await_status(&self, status: &BusStatus) {
        self.take(|seen| (*seen == Seen::Status(status.clone())).then_some(()));
    }

    /// Waits until the bus is disconnected. Returns the cause.
    pub fn await_cause(&self, text: &str) -> String {
        self.take(|seen| match seen {
            Seen::Status(BusStatus::Disconnected { cause }) if cause.contains(text) => Some(cause.clone()),
            _ => None,
        })
    }

    /// Waits for a message. Returns its channel and content.
    pub fn message(&self) -> (String, String) {
        self.take(|seen| match seen {
            Seen::Message { channel, message } => Some((channel.clone(), message.clone())),
            _ => None,
        })
    }

    /// Waits for an entry. Returns its offset and fields.
    pub fn entry(&self) -> (String, Vec<(String, String)>) {
        self.take(|seen| match seen {
            Seen::Entry { offset, fields, .. } => Some((offset.clone(), fields.clone())),
            _ => None,
        })
    }

    /// Waits for what was found. Returns it.
    pub fn found(&self, request: &str) -> Found {
        self.take(|seen| match seen {
            Seen::Found { request: found_for, found } if found_for == request => Some(found.clone()),
            _ => None,
        })
    }

    /// Waits until a value is known to be lost. Returns its key.
    pub fn unsaved(&self) -> String {
        self.take(|seen| match seen {
            Seen::Unsaved { key } => Some(key.clone()),
            _ => None,
        })
    }

    /// Waits for the first thing that fits, and removes it.
    pub fn take<T>(&self, mut pick: impl FnMut(&Seen) -> Option<T>) -> T {
        let mut seen = self.node.seen.lock().unwrap();
        loop {
            let found = seen.iter().enumerate().find_map(|(index, seen)| Some((index, pick(seen)?)));
            if let Some((index, value)) = found {
                seen.remove(index);
                return value;
            }
            let (guard, timeout) = self.node.came.wait_timeout(seen, PATIENCE).unwrap();
            seen = guard;
            assert!(!timeout.timed_out(), "nothing came that fits, only {seen:?}");
        }
    }

    /// Returns everything that has come, and removes it. That a stream is read is left out.
    pub fn drain(&self) -> Vec<Seen> {
        let all = std::mem::take(&mut *self.node.seen.lock().unwrap());
        all.into_iter().filter(|seen| !matches!(seen, Seen::Begun { .. })).collect()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(tokio) = self.0.take() {
            tokio.shutdown_background();
        }
    }
}

impl Recorder {
    fn add(&self, seen: Seen) {
        self.seen.lock().unwrap().push_back(seen);
        self.came.notify_all();
    }
}

impl Node for Recorder {
    fn runtime(&self) -> Arc<dyn Runtime> {
        self.runtime.clone()
    }

    fn handle_message(&self, channel: &str, message: Bytes) {
        self.add(Seen::Message { channel: channel.into(), message: text(&message) });
    }

    fn handle_entry(&self, stream: &str, offset: &str, fields: &[(&str, Bytes)]) {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), text(value))).collect();
        self.add(Seen::Entry { stream: stream.into(), offset: offset.into(), fields });
    }

    fn handle_stream(&self, stream: &str, offset: &str) {
        self.add(Seen::Begun { stream: stream.into(), offset: offset.into() });
    }

    fn handle_found(&self, request: &RequestId, found: Found) {
        self.add(Seen::Found { request: request.to_string(), found });
    }

    fn handle_unsaved(&self, key: &str) {
        self.add(Seen::Unsaved { key: key.into() });
    }

    fn handle_count(&self, request: &RequestId, subscribers: Option<usize>) {
        self.add(Seen::Count { request: request.to_string(), subscribers });
    }

    fn handle_status(&self, status: BusStatus) {
        self.add(Seen::Status(status));
    }
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn plain(name: &str) -> Channel {
    Channel { kind: ChannelKind::Plain, name: name.into() }
}

pub fn pattern(name: &str) -> Channel {
    Channel { kind: ChannelKind::Pattern, name: name.into() }
}

pub fn sharded(name: &str) -> Channel {
    Channel { kind: ChannelKind::Sharded, name: name.into() }
}

pub fn stream(name: &str) -> Channel {
    Channel { kind: ChannelKind::Stream, name: name.into() }
}
