//! What waits to be sent to a server.

use bytes::Bytes;
use parking_lot::Mutex;
use redis::Pipeline;
use sockeye_core::cluster::{Channel, ChannelKind, Node, RequestId};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// The memory that an item takes beside its content, about.
const OVERHEAD: usize = 128;

/// The longest lifetime of a value, in milliseconds: its end, by the clock of Redis, has to fit into 63 bits.
const MAX_LIFETIME: u64 = 1 << 60;

/// Something that waits.
pub(crate) struct Item {
    /// Its place among all items of the bus.
    pub(crate) order: u64,
    pub(crate) since: Instant,
    pub(crate) command: Command,
}

pub(crate) enum Command {
    Publish(Channel, Bytes),
    Append(Channel, Vec<(&'static str, Bytes)>),
    Count(Channel, Arc<Count>),
    /// A key, which is named like a channel; its value, and for how long it stays.
    Save(Channel, Bytes, Duration),
    Load {
        key: Channel,
        remove: bool,
        request: RequestId,
    },
    /// Some entries of a stream from a position on.
    Read {
        stream: Channel,
        from: String,
        request: RequestId,
    },
    /// Nothing to send: it is dropped once what was before it has been answered.
    Flush(Flushing),
}

impl Item {
    /// The bytes that it counts against the budget. Counts and flushes are few, and for the node itself.
    pub(crate) fn size(&self) -> usize {
        match &self.command {
            Command::Publish(channel, message) => OVERHEAD + channel.name.len() + message.len(),
            Command::Append(channel, fields) => {
                let fields: usize = fields.iter().map(|(name, value)| name.len() + value.len()).sum();
                OVERHEAD + channel.name.len() + fields
            }
            Command::Save(key, value, _) => OVERHEAD + key.name.len() + value.len(),
            Command::Load { key, .. } => OVERHEAD + key.name.len(),
            Command::Read { stream, from, .. } => OVERHEAD + stream.name.len() + from.len(),
            Command::Count(..) | Command::Flush(_) => 0,
        }
    }

    /// Returns whether it is too old to be sent. Entries of streams are kept.
    pub(crate) fn is_stale(&self, now: Instant, max_age: Duration) -> bool {
        let lasts = matches!(self.command, Command::Append(..) | Command::Count(..) | Command::Flush(_));
        !lasts && now.saturating_duration_since(self.since) > max_age
    }

    /// Returns the channel that decides which server of a Redis Cluster it is for.
    pub(crate) fn channel(&self) -> Option<&Channel> {
        match &self.command {
            Command::Publish(channel, _)
            | Command::Append(channel, _)
            | Command::Save(channel, ..)
            | Command::Load { key: channel, .. }
            | Command::Read { stream: channel, .. } => Some(channel),
            Command::Count(..) | Command::Flush(_) => None,
        }
    }

    /// Writes the command. Returns whether there is one. Streams have at most `max_len` entries, of which at most `read` are
    /// read at once.
    pub(crate) fn write(&self, pipeline: &mut Pipeline, max_len: usize, read: usize) -> bool {
        match &self.command {
            Command::Publish(channel, message) => {
                let name = if channel.kind == ChannelKind::Sharded { "SPUBLISH" } else { "PUBLISH" };
                pipeline.cmd(name).arg(channel.name.as_str()).arg(&message[..]);
            }
            Command::Append(stream, fields) => {
                pipeline.cmd("XADD").arg(stream.name.as_str());
                pipeline.arg("MAXLEN").arg("~").arg(max_len).arg("*");
                for (name, value) in fields {
                    pipeline.arg(*name).arg(&value[..]);
                }
            }
            Command::Count(channel, _) => {
                let name = if channel.kind == ChannelKind::Sharded { "SHARDNUMSUB" } else { "NUMSUB" };
                pipeline.cmd("PUBSUB").arg(name).arg(channel.name.as_str());
            }
            Command::Save(key, value, lifetime) => {
                let lifetime = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX).clamp(1, MAX_LIFETIME);
                pipeline.cmd("SET").arg(key.name.as_str()).arg(&value[..]).arg("PX").arg(lifetime);
            }
            Command::Load { key, remove, .. } => {
                pipeline.cmd(if *remove { "GETDEL" } else { "GET" }).arg(key.name.as_str());
            }
            Command::Read { stream, from, .. } => {
                pipeline.cmd("XRANGE").arg(stream.name.as_str()).arg(from).arg("+").arg("COUNT").arg(read);
            }
            Command::Flush(_) => return false,
        }
        true
    }
}

/// The items that wait for one server, oldest first.
pub(crate) type Queue = VecDeque<Item>;

/// Subscribers that are being counted, on one server or on each server of a Redis Cluster.
pub(crate) struct Count {
    request: RequestId,
    state: Mutex<Counted>,
}

struct Counted {
    /// The servers that have not answered.
    left: usize,
    /// The sum of the answers, if there is one.
    sum: Option<usize>,
}

impl Count {
    pub(crate) fn new(request: RequestId) -> Arc<Count> {
        Arc::new(Count { request, state: Mutex::new(Counted { left: 0, sum: None }) })
    }

    /// Expects answers of more servers.
    pub(crate) fn expect(&self, servers: usize) {
        self.state.lock().left += servers;
    }

    /// Adds what a server has answered: `None` if it cannot be reached. A server that cannot be reached has no
    /// subscribers, as long as another one can.
    pub(crate) fn add(&self, subscribers: Option<usize>, node: &dyn Node) {
        let mut state = self.state.lock();
        state.left = state.left.saturating_sub(1);
        if let Some(subscribers) = subscribers {
            state.sum = Some(state.sum.unwrap_or(0) + subscribers);
        }
        let (left, sum) = (state.left, state.sum);
        drop(state);
        if left == 0 {
            node.handle_count(&self.request, sum);
        }
    }
}

/// Completes once all its parts in the queues are dropped.
pub(crate) struct Flush(Arc<Mutex<Unflushed>>);

/// The part of a [`Flush`] in one queue.
pub(crate) struct Flushing(Arc<Mutex<Unflushed>>);

#[derive(Default)]
struct Unflushed {
    left: usize,
    waker: Option<Waker>,
}

impl Flush {
    pub(crate) fn new() -> Flush {
        Flush(Arc::default())
    }

    pub(crate) fn part(&self) -> Flushing {
        self.0.lock().left += 1;
        Flushing(self.0.clone())
    }
}

impl Flushing {
    /// Returns a part for another queue.
    pub(crate) fn part(&self) -> Flushing {
        Flush(self.0.clone()).part()
    }
}

impl Future for Flush {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.lock();
        if state.left == 0 {
            return Poll::Ready(());
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Flushing {
    fn drop(&mut self) {
        let waker = {
            let mut state = self.0.lock();
            state.left = state.left.saturating_sub(1);
            if state.left == 0 { state.waker.take() } else { None }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Item")
            .field("order", &self.order)
            .field("channel", &self.channel())
            .finish_non_exhaustive()
    }
}
