//! A bus between servers of one process.

use bytes::Bytes;
use parking_lot::Mutex;
use smallvec::SmallVec;
use smol_str::{SmolStr, format_smolstr};
use sockeye_core::cluster::{Bus, BusStatus, Channel, ChannelKind, Node, RequestId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

/// The bytes that may wait for one server.
const MAX_WAITING: usize = 64 << 20;

/// The bytes that an item of a queue counts beside its content.
const ITEM: usize = 64;

/// The number of items that a server takes in one turn, so that its other tasks get theirs.
const MAX_TURN: usize = 64;

/// A bus in memory, for several servers in one process and for tests: every clone is the bus of one server.
///
/// It supports all dialects. Up to 64 MiB wait for a server whose runtime is busy; what is published beyond that is dropped
/// for this server, which is told of it ([`BusStatus::Overflowed`]).
///
/// ```
/// use sockeye::Server;
/// use sockeye::cluster::{Adapter, MemoryBus};
/// use sockeye::testing::TestServer;
///
/// let bus = MemoryBus::new();
/// let server = || Server::builder().adapter(Adapter::sharded(bus.clone())).build();
/// let first = TestServer::new(server());
/// let second = first.beside(server());
/// let (ann, bob) = (first.connect("/"), second.connect("/"));
/// first.server().emit("hello", 1);
/// assert_eq!(bob.expect_event::<u8>("hello"), 1);
/// ```
pub struct MemoryBus {
    hub: Arc<Hub>,
    /// The place of this server among the others.
    seat: u64,
}

#[derive(Default)]
struct Hub(Mutex<State>);

#[derive(Default)]
struct State {
    seats: BTreeMap<u64, Seat>,
    last_seat: u64,
    /// The number of the last entry of each stream.
    streams: BTreeMap<SmolStr, u64>,
}

/// One server, and what waits for it.
#[derive(Default)]
struct Seat {
    watched: BTreeSet<Channel>,
    patterns: Vec<Channel>,
    /// Items with their sizes.
    inbox: VecDeque<(Item, usize)>,
    /// The size of the inbox, in bytes.
    waiting: usize,
    /// Something was dropped since the inbox was empty last.
    is_full: bool,
    waker: Option<Waker>,
}

#[derive(Clone)]
enum Item {
    Message { channel: SmolStr, message: Bytes },
    Entry { stream: SmolStr, offset: SmolStr, fields: Arc<[(&'static str, Bytes)]> },
    Count { request: RequestId, subscribers: usize },
    Status(BusStatus),
}

impl Item {
    fn size(&self) -> usize {
        ITEM + match self {
            Item::Message { message, .. } => message.len(),
            Item::Entry { fields, .. } => fields.iter().map(|(_, value)| value.len()).sum(),
            Item::Count { .. } | Item::Status(_) => 0,
        }
    }

    fn pass_to(self, node: &dyn Node) {
        match self {
            Item::Message { channel, message } => node.handle_message(&channel, message),
            Item::Entry { stream, offset, fields } => node.handle_entry(&stream, &offset, &fields),
            Item::Count { request, subscribers } => node.handle_count(&request, Some(subscribers)),
            Item::Status(status) => node.handle_status(status),
        }
    }
}

impl MemoryBus {
    /// Creates a bus that no other server uses.
    pub fn new() -> MemoryBus {
        MemoryBus::beside(Arc::default())
    }

    fn beside(hub: Arc<Hub>) -> MemoryBus {
        let mut state = hub.0.lock();
        state.last_seat += 1;
        let seat = state.last_seat;
        state.seats.insert(seat, Seat::default());
        drop(state);
        MemoryBus { hub, seat }
    }

    /// Queues an item for the servers that `f` selects, and wakes them.
    fn send(&self, make: impl FnOnce(&mut State) -> Item, f: impl Fn(u64, &Seat) -> bool) {
        let mut woken = SmallVec::<[Waker; 4]>::new();
        {
            let state = &mut *self.hub.0.lock();
            let item = make(state);
            for (at, seat) in &mut state.seats {
                if f(*at, seat) {
                    woken.extend(seat.push(item.clone()));
                }
            }
        }
        woken.into_iter().for_each(Waker::wake);
    }
}

impl Seat {
    fn watches(&self, channel: &Channel) -> bool {
        let is_plain = channel.kind == ChannelKind::Plain;
        self.watched.contains(channel)
            || is_plain && self.patterns.iter().any(|it| it.includes(&channel.name))
    }

    /// Queues an item, unless too much waits. Returns the waker to call.
    fn push(&mut self, item: Item) -> Option<Waker> {
        let size = item.size();
        if self.waiting + size > MAX_WAITING {
            if !std::mem::replace(&mut self.is_full, true) {
                self.inbox.push_back((Item::Status(BusStatus::Overflowed { limit: MAX_WAITING }), 0));
            }
            return None;
        }
        self.waiting += size;
        self.inbox.push_back((item, size));
        self.waker.take()
    }

    /// Takes the next item. If there is none, the task is woken once there is.
    fn pop(&mut self, cx: &Context<'_>) -> Option<Item> {
        let Some((item, size)) = self.inbox.pop_front() else {
            self.is_full = false;
            self.waker = Some(cx.waker().clone());
            return None;
        };
        self.waiting -= size;
        Some(item)
    }
}

impl Bus for MemoryBus {
    fn attach(&self, node: Weak<dyn Node>) {
        let Some(attached) = node.upgrade() else { return };
        self.send(|_| Item::Status(BusStatus::Connected), |at, _| at == self.seat);
        attached.runtime().spawn(Box::pin(Deliver { hub: Arc::downgrade(&self.hub), seat: self.seat, node }));
    }

    fn watch(&self, channel: &Channel, on: bool) {
        let state = &mut *self.hub.0.lock();
        let Some(seat) = state.seats.get_mut(&self.seat) else { return };
        match (channel.kind, on) {
            (ChannelKind::Pattern, _) => {
                seat.patterns.retain(|known| known != channel);
                seat.patterns.extend(on.then(|| channel.clone()));
            }
            (_, true) => _ = seat.watched.insert(channel.clone()),
            (_, false) => _ = seat.watched.remove(channel),
        }
    }

    fn publish(&self, channel: &Channel, message: Bytes) {
        let item = |_: &mut State| Item::Message { channel: channel.name.clone(), message };
        self.send(item, |at, seat| at != self.seat && seat.watches(channel));
    }

    fn append(&self, stream: &Channel, fields: Vec<(&'static str, Bytes)>) {
        let item = |state: &mut State| {
            let number = state.streams.entry(stream.name.clone()).or_default();
            *number += 1;
            Item::Entry {
                stream: stream.name.clone(),
                offset: format_smolstr!("1-{number}"),
                fields: fields.into(),
            }
        };
        self.send(item, |_, seat| seat.watches(stream));
    }

    fn count(&self, channel: &Channel, request: RequestId) {
        let item = |state: &mut State| {
            let subscribers = state.seats.values().filter(|seat| seat.watches(channel)).count();
            Item::Count { request, subscribers }
        };
        self.send(item, |at, _| at == self.seat);
    }
}

/// The task that passes to a server what waits for it. It ends with the bus of the server, or the server.
struct Deliver {
    hub: Weak<Hub>,
    seat: u64,
    node: Weak<dyn Node>,
}

impl Future for Deliver {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..MAX_TURN {
            let (Some(hub), Some(node)) = (self.hub.upgrade(), self.node.upgrade()) else {
                return Poll::Ready(());
            };
            let item = match hub.0.lock().seats.get_mut(&self.seat) {
                Some(seat) => seat.pop(cx),
                None => return Poll::Ready(()),
            };
            match item {
                Some(item) => item.pass_to(&*node),
                None => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Default for MemoryBus {
    fn default() -> MemoryBus {
        MemoryBus::new()
    }
}

impl Clone for MemoryBus {
    /// Creates the bus of one more server.
    fn clone(&self) -> MemoryBus {
        MemoryBus::beside(self.hub.clone())
    }
}

impl Drop for MemoryBus {
    fn drop(&mut self) {
        let seat = self.hub.0.lock().seats.remove(&self.seat);
        // Its task ends.
        if let Some(waker) = seat.and_then(|seat| seat.waker) {
            waker.wake();
        }
    }
}

impl fmt::Debug for MemoryBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBus").field("seat", &self.seat).finish_non_exhaustive()
    }
}
