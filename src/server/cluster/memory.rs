//! A bus between servers of one process.

use bytes::Bytes;
use parking_lot::Mutex;
use smallvec::SmallVec;
use smol_str::{SmolStr, format_smolstr};
use sockeye_core::cluster::{Bus, BusStatus, Channel, ChannelKind, Entry, Found, Node, RequestId};
use sockeye_core::socketio::recovery::StreamPosition;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// The bytes that may wait for one server.
const MAX_WAITING: usize = 64 << 20;

/// The bytes that an item of a queue counts beside its content.
const ITEM: usize = 64;

/// The bytes and the number of entries that a stream keeps, for clients that come back. The number is that of Node.
const MAX_STREAM: (usize, usize) = (64 << 20, 10_000);

/// The bytes of the sessions that are kept. Then a new one replaces the oldest.
const MAX_SAVED: usize = 64 << 20;

/// The number of entries that are read at once, and their bytes if they are more than two.
const MAX_READ: (usize, usize) = (100, 1 << 20);

/// The number of items that a server takes in one turn, so that its other tasks get theirs.
const MAX_TURN: usize = 64;

/// A bus in memory, for several servers in one process and for tests: every clone is the bus of one server.
///
/// It supports all dialects. Up to 64 MiB wait for a server whose runtime is busy; what is published beyond that is dropped
/// for this server, which is told of it ([`BusStatus::Overflowed`]).
///
/// ```
/// # #[cfg(feature = "testing")] {
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
/// # }
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
    streams: BTreeMap<SmolStr, Stream>,
    saved: BTreeMap<String, Value>,
    /// The keys in the order in which they were saved, and the server of each.
    order: BTreeMap<u64, (u64, String)>,
    saved_size: usize,
    last_saved: u64,
}

/// A value that is kept for some time.
struct Value {
    number: u64,
    bytes: Bytes,
    /// The end of its lifetime, unless that is too far away.
    until: Option<Instant>,
}

/// A stream, and the entries that it keeps.
#[derive(Default)]
struct Stream {
    last: u64,
    entries: VecDeque<Fields>,
    size: usize,
}

type Fields = Arc<[(&'static str, Bytes)]>;

fn size(fields: &[(&'static str, Bytes)]) -> usize {
    ITEM + fields.iter().map(|(_, value)| value.len()).sum::<usize>()
}

impl Stream {
    /// Adds an entry. Returns its offset.
    fn push(&mut self, fields: Fields) -> SmolStr {
        self.last += 1;
        self.size += size(&fields);
        self.entries.push_back(fields);
        let (max_size, max_len) = MAX_STREAM;
        while (self.size > max_size || self.entries.len() > max_len)
            && let Some(removed) = self.entries.pop_front()
        {
            self.size -= size(&removed);
        }
        offset(self.last)
    }

    /// Returns some of the entries from an offset on.
    fn read(&self, from: &str) -> Vec<Entry> {
        let from = StreamPosition::parse(from).unwrap_or_default();
        let first = self.last - self.entries.len() as u64 + 1;
        let numbered = (first..).zip(&self.entries).map(|(number, fields)| (offset(number), fields));
        let is_wanted = |offset: &str| StreamPosition::parse(offset).is_some_and(|position| position >= from);
        let (max_len, max_size) = MAX_READ;
        let wanted = numbered.skip_while(|(offset, _)| !is_wanted(offset)).take(max_len);
        let mut read = 0;
        // The first one may be known, so that another one has to be behind it.
        let fitting = wanted.enumerate().take_while(|(at, (_, fields))| {
            read += size(fields);
            *at < 2 || read <= max_size
        });
        let owned =
            |fields: &Fields| fields.iter().map(|(name, value)| ((*name).into(), value.clone())).collect();
        fitting.map(|(_, (offset, fields))| (offset.to_string(), owned(fields))).collect()
    }
}

fn offset(number: u64) -> SmolStr {
    format_smolstr!("1-{number}")
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
    /// The streams of which something was dropped, and where they go on. The server is told before the next entry.
    gaps: BTreeMap<SmolStr, SmolStr>,
    waker: Option<Waker>,
    /// The server has a runtime. Before that, it watches nothing, and what it sends is kept.
    is_attached: bool,
    early: Vec<Sent>,
    early_size: usize,
}

#[derive(Clone)]
enum Item {
    Message { channel: SmolStr, message: Bytes },
    Entry { stream: SmolStr, offset: SmolStr, fields: Arc<[(&'static str, Bytes)]> },
    Count { request: RequestId, subscribers: usize },
    Begun { stream: SmolStr, offset: SmolStr },
    Found { request: RequestId, found: Found },
    Unsaved { key: SmolStr },
    Status(BusStatus),
}

impl Item {
    /// The bytes that it counts against [`MAX_WAITING`]. What was found counts, too: it may not be kept any more.
    fn size(&self) -> usize {
        match self {
            Item::Message { message, .. } => ITEM + message.len(),
            Item::Entry { fields, .. } => size(fields),
            Item::Found { found: Found::Value(value), .. } => ITEM + value.as_ref().map_or(0, Bytes::len),
            Item::Found { found: Found::Entries(entries), .. } => {
                let values = entries.iter().flat_map(|(_, fields)| fields).map(|(_, value)| value.len());
                ITEM.max(ITEM * entries.len()) + values.sum::<usize>()
            }
            Item::Count { .. } | Item::Begun { .. } | Item::Unsaved { .. } | Item::Status(_) => ITEM,
        }
    }

    fn pass_to(self, node: &dyn Node) {
        match self {
            Item::Message { channel, message } => node.handle_message(&channel, message),
            Item::Entry { stream, offset, fields } => node.handle_entry(&stream, &offset, &fields),
            Item::Count { request, subscribers } => node.handle_count(&request, Some(subscribers)),
            Item::Begun { stream, offset } => node.handle_stream(&stream, &offset),
            Item::Found { request, found } => node.handle_found(&request, found),
            Item::Unsaved { key } => node.handle_unsaved(&key),
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

    /// Sends something, once the server is attached.
    fn put(&self, sent: Sent) {
        let mut woken = Woken::new();
        {
            let state = &mut *self.hub.0.lock();
            match state.seats.get_mut(&self.seat) {
                Some(seat) if !seat.is_attached => seat.keep(sent),
                _ => state.pass(self.seat, sent, &mut woken),
            }
        }
        woken.into_iter().for_each(Waker::wake);
    }
}

/// Something that a server sends.
enum Sent {
    Message(Channel, Bytes),
    Entry(Channel, Fields),
    Count(Channel, RequestId),
    Save(String, Bytes, Duration),
    Load { key: String, remove: bool, request: RequestId },
    Read { stream: Channel, from: String, request: RequestId },
    Status(BusStatus),
}

/// The wakers to call without the lock.
type Woken = SmallVec<[Waker; 4]>;

impl State {
    /// Queues what a server sends for those that receive it.
    fn pass(&mut self, from: u64, sent: Sent, woken: &mut Woken) {
        match sent {
            Sent::Message(channel, message) => {
                let item = Item::Message { channel: channel.name.clone(), message };
                self.queue(item, woken, |at, seat| at != from && seat.watches(&channel));
            }
            Sent::Entry(stream, fields) => {
                let offset = self.streams.entry(stream.name.clone()).or_default().push(fields.clone());
                let item = Item::Entry { stream: stream.name.clone(), offset, fields };
                self.queue(item, woken, |_, seat| seat.watches(&stream));
            }
            Sent::Count(channel, request) => {
                let subscribers = self.seats.values().filter(|seat| seat.watches(&channel)).count();
                self.queue(Item::Count { request, subscribers }, woken, |at, _| at == from);
            }
            Sent::Save(key, value, lifetime) => self.save(from, key, (value, lifetime), woken),
            Sent::Load { key, remove, request } => {
                let lives = |value: &&Value| value.until.is_none_or(|until| Instant::now() < until);
                let value = self.saved.get(&key).filter(lives).map(|value| value.bytes.clone());
                let answer = Item::Found { request, found: Found::Value(value) };
                // If the server cannot be told, nobody would have what is removed.
                if remove && self.seats.get(&from).is_some_and(|seat| seat.has_capacity(&answer)) {
                    self.forget(&key);
                }
                self.queue(answer, woken, |at, _| at == from);
            }
            Sent::Read { stream, from: position, request } => {
                let stream = self.streams.get(&stream.name);
                let found = Found::Entries(stream.map(|stream| stream.read(&position)).unwrap_or_default());
                self.queue(Item::Found { request, found }, woken, |at, _| at == from);
            }
            Sent::Status(status) => self.queue(Item::Status(status), woken, |at, _| at == from),
        }
    }

    /// Keeps a value. Its server removes it at the end of its lifetime, unless it is gone: then it stays until there is no
    /// room for it.
    fn save(&mut self, from: u64, key: String, (bytes, lifetime): (Bytes, Duration), woken: &mut Woken) {
        self.forget(&key);
        self.last_saved += 1;
        self.saved_size += ITEM + key.len() + bytes.len();
        self.order.insert(self.last_saved, (from, key.clone()));
        let until = Instant::now().checked_add(lifetime);
        self.saved.insert(key, Value { number: self.last_saved, bytes, until });
        while self.saved_size > MAX_SAVED
            && let Some((_, (owner, oldest))) = self.order.pop_first()
        {
            self.forget(&oldest);
            self.queue(Item::Unsaved { key: oldest.into() }, woken, |at, _| at == owner);
        }
    }

    fn forget(&mut self, key: &str) {
        if let Some(Value { number, bytes, .. }) = self.saved.remove(key) {
            self.order.remove(&number);
            self.saved_size -= ITEM + key.len() + bytes.len();
        }
    }

    fn queue(&mut self, item: Item, woken: &mut Woken, f: impl Fn(u64, &Seat) -> bool) {
        for (at, seat) in &mut self.seats {
            if f(*at, seat) {
                woken.extend(seat.push(item.clone()));
            }
        }
    }
}

impl Seat {
    /// Keeps something until the server is attached. If too much waits, the server is told of that then.
    fn keep(&mut self, sent: Sent) {
        let size = match &sent {
            Sent::Message(_, message) => message.len(),
            Sent::Entry(_, fields) => fields.iter().map(|(_, value)| value.len()).sum(),
            Sent::Save(_, value, _) => value.len(),
            Sent::Count(..) | Sent::Load { .. } | Sent::Read { .. } | Sent::Status(_) => 0,
        };
        if self.early_size + size + ITEM <= MAX_WAITING {
            self.early_size += size + ITEM;
            self.early.push(sent);
            return;
        }
        self.note_overflow();
        if let Sent::Save(key, ..) = sent {
            self.push(Item::Unsaved { key: key.into() });
        }
    }

    /// Tells the server that something is dropped, once until its inbox is empty.
    fn note_overflow(&mut self) {
        if !std::mem::replace(&mut self.is_full, true) {
            self.inbox.push_back((Item::Status(BusStatus::Overflowed { limit: MAX_WAITING }), 0));
        }
    }

    fn watches(&self, channel: &Channel) -> bool {
        let is_plain = channel.kind == ChannelKind::Plain;
        let has_pattern = || is_plain && self.patterns.iter().any(|it| it.includes(&channel.name));
        self.is_attached && (self.watched.contains(channel) || has_pattern())
    }

    /// Tells the server from where on it receives the entries of a channel, if that is a stream. Returns the waker to call.
    fn begin(&mut self, channel: &Channel, streams: &BTreeMap<SmolStr, Stream>) -> Option<Waker> {
        if channel.kind != ChannelKind::Stream {
            return None;
        }
        let last = streams.get(&channel.name).map_or(0, |stream| stream.last);
        self.push(Item::Begun { stream: channel.name.clone(), offset: offset(last) })
    }

    fn has_capacity(&self, item: &Item) -> bool {
        self.waiting + item.size() <= MAX_WAITING
    }

    /// Queues an item, unless too much waits. Returns the waker to call.
    fn push(&mut self, item: Item) -> Option<Waker> {
        let (size, fits) = (item.size(), self.has_capacity(&item));
        match item {
            Item::Entry { stream, offset, .. } | Item::Begun { stream, offset } if !fits => {
                self.gaps.insert(stream, offset);
            }
            _ if !fits => {}
            item => {
                if let Item::Entry { stream, .. } | Item::Begun { stream, .. } = &item
                    && let Some((stream, offset)) = self.gaps.remove_entry(stream)
                {
                    self.inbox.push_back((Item::Begun { stream, offset }, 0));
                }
                self.waiting += size;
                self.inbox.push_back((item, size));
            }
        }
        if !fits {
            self.note_overflow();
        }
        self.waker.take()
    }

    /// Takes the next item. If there is none, the task is woken once there is.
    fn pop(&mut self, cx: &Context<'_>) -> Option<Item> {
        let Some((item, size)) = self.inbox.pop_front() else {
            if let Some((stream, offset)) = self.gaps.pop_first() {
                return Some(Item::Begun { stream, offset });
            }
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
        let mut woken = Woken::new();
        {
            let state = &mut *self.hub.0.lock();
            let Some(seat) = state.seats.get_mut(&self.seat) else { return };
            seat.is_attached = true;
            for channel in seat.watched.clone() {
                woken.extend(seat.begin(&channel, &state.streams));
            }
            let early = std::mem::take(&mut seat.early);
            for sent in std::iter::once(Sent::Status(BusStatus::Connected)).chain(early) {
                state.pass(self.seat, sent, &mut woken);
            }
        }
        woken.into_iter().for_each(Waker::wake);
        attached.runtime().spawn(Box::pin(Deliver { hub: Arc::downgrade(&self.hub), seat: self.seat, node }));
    }

    fn watch(&self, channel: &Channel, on: bool) {
        let mut woken = None;
        let mut state = self.hub.0.lock();
        let State { seats, streams, .. } = &mut *state;
        let Some(seat) = seats.get_mut(&self.seat) else { return };
        if on && seat.is_attached && !seat.watched.contains(channel) {
            woken = seat.begin(channel, streams);
        }
        match (channel.kind, on) {
            (ChannelKind::Pattern, _) => {
                seat.patterns.retain(|known| known != channel);
                seat.patterns.extend(on.then(|| channel.clone()));
            }
            (_, true) => _ = seat.watched.insert(channel.clone()),
            (_, false) => _ = seat.watched.remove(channel),
        }
        drop(state);
        woken.into_iter().for_each(Waker::wake);
    }

    fn publish(&self, channel: &Channel, message: Bytes) {
        self.put(Sent::Message(channel.clone(), message));
    }

    fn append(&self, stream: &Channel, fields: Vec<(&'static str, Bytes)>) {
        self.put(Sent::Entry(stream.clone(), fields.into()));
    }

    fn count(&self, channel: &Channel, request: RequestId) {
        self.put(Sent::Count(channel.clone(), request));
    }

    fn stores_sessions(&self) -> bool {
        true
    }

    fn save(&self, key: &str, value: Bytes, lifetime: Duration) {
        self.put(Sent::Save(key.to_owned(), value, lifetime));
    }

    fn load(&self, key: &str, remove: bool, request: RequestId) {
        self.put(Sent::Load { key: key.to_owned(), remove, request });
    }

    fn read(&self, stream: &Channel, from: &str, request: RequestId) {
        self.put(Sent::Read { stream: stream.clone(), from: from.to_owned(), request });
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

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn a_server_is_told_which_of_its_own_values_there_was_no_capacity_for() {
        let mut state = State::default();
        state.seats.extend([(1, Seat::default()), (2, Seat::default())]);
        let (value, mut woken) = (Bytes::from(vec![0; MAX_SAVED / 4]), Woken::new());
        for (from, key) in [(1, "a"), (2, "b"), (1, "c"), (2, "d"), (2, "b"), (1, "e"), (1, "f")] {
            state.pass(from, Sent::Save(key.into(), value.clone(), LONG), &mut woken);
        }
        let told = |seat: u64| -> Vec<&str> {
            let items = state.seats[&seat].inbox.iter().map(|(item, _)| match item {
                Item::Unsaved { key } => key.as_str(),
                _ => panic!("nothing else was sent"),
            });
            items.collect()
        };
        assert_eq!((told(1), told(2)), (vec!["a", "c"], vec!["d"]));
        assert_eq!(state.saved.keys().collect::<Vec<_>>(), ["b", "e", "f"]);
    }

    #[test]
    fn a_server_is_told_of_what_was_dropped_before_it_had_a_runtime() {
        let mut seat = Seat::default();
        let value = Bytes::from(vec![0; MAX_WAITING / 2]);
        for key in ["a", "b", "c"] {
            seat.keep(Sent::Save(key.into(), value.clone(), LONG));
        }
        let mut pop = || seat.pop(&Context::from_waker(Waker::noop()));
        assert!(matches!(pop(), Some(Item::Status(BusStatus::Overflowed { limit: MAX_WAITING }))));
        for unsaved in ["b", "c"] {
            assert!(matches!(pop(), Some(Item::Unsaved { key }) if key == unsaved));
        }
        assert!(pop().is_none());
        assert_eq!(seat.early.len(), 1);
    }

    #[test]
    fn a_server_is_told_where_each_stream_goes_on_after_entries_were_dropped() {
        let mut seat = Seat { is_attached: true, ..Seat::default() };
        let entry = |stream: &str, number, len| Item::Entry {
            stream: stream.into(),
            offset: offset(number),
            fields: [("data", Bytes::from(vec![0; len]))].into(),
        };
        seat.push(entry("a", 1, MAX_WAITING - 2 * ITEM));
        for number in 2..1000 {
            ["a", "b"].iter().for_each(|stream| _ = seat.push(entry(stream, number, 100)));
        }
        assert_eq!(seat.inbox.len(), 2, "nothing is kept for each that is dropped");
        seat.push(entry("a", 1000, 0));
        let stream = Channel { kind: ChannelKind::Stream, name: "c".into() };
        seat.begin(&stream, &BTreeMap::new());
        let mut told = Vec::new();
        while let Some(item) = seat.pop(&Context::from_waker(Waker::noop())) {
            told.push(match item {
                Item::Entry { stream, offset, .. } => format!("{stream} {offset}"),
                Item::Begun { stream, offset } => format!("{stream} behind {offset}"),
                _ => "overflow".to_owned(),
            });
        }
        let expected = ["a 1-1", "overflow", "a behind 1-999", "a 1-1000", "b behind 1-999", "c behind 1-0"];
        assert_eq!((told, seat.waiting), (expected.map(str::to_owned).to_vec(), 0));
    }

    #[test]
    fn a_value_is_not_removed_if_the_server_cannot_be_told_of_it() {
        let (mut state, mut woken) = (State::default(), Woken::new());
        state.seats.insert(1, Seat { is_attached: true, ..Seat::default() });
        let value = Bytes::from(vec![0; 1000]);
        state.pass(1, Sent::Save("key".into(), value.clone(), LONG), &mut woken);
        let load = |state: &mut State, woken: &mut Woken| {
            state.pass(1, Sent::Load { key: "key".into(), remove: true, request: "a".into() }, woken);
        };
        let seat = state.seats.get_mut(&1).unwrap();
        seat.push(Item::Message { channel: "c".into(), message: vec![0; MAX_WAITING - 1000].into() });
        load(&mut state, &mut woken);
        assert_eq!(state.saved.keys().collect::<Vec<_>>(), ["key"]);
        let mut told = Vec::new();
        let mut take = |state: &mut State| {
            let seat = state.seats.get_mut(&1).unwrap();
            while let Some(item) = seat.pop(&Context::from_waker(Waker::noop())) {
                told.push(match item {
                    Item::Message { .. } => "message",
                    Item::Status(BusStatus::Overflowed { .. }) => "overflow",
                    Item::Found { found: Found::Value(Some(found)), .. } if found == value => "value",
                    _ => "nothing",
                });
            }
        };
        take(&mut state);
        for _ in 0..2 {
            load(&mut state, &mut woken);
            take(&mut state);
        }
        assert_eq!(told, ["message", "overflow", "value", "nothing"]);
        assert_eq!((state.saved.len(), state.seats[&1].waiting), (0, 0));
    }

    #[test]
    fn what_is_found_counts_with_its_bytes_and_is_read_in_parts() {
        let (mut state, mut woken) = (State::default(), Woken::new());
        state.seats.insert(1, Seat { is_attached: true, ..Seat::default() });
        let stream = Channel { kind: ChannelKind::Stream, name: "s".into() };
        let large = Bytes::from(vec![0; MAX_READ.1]);
        for _ in 0..4 {
            state.pass(1, Sent::Entry(stream.clone(), [("data", large.clone())].into()), &mut woken);
        }
        let read = Sent::Read { stream, from: "1-2".into(), request: "a".into() };
        state.pass(1, read, &mut woken);
        let seat = state.seats.get_mut(&1).unwrap();
        assert_eq!(seat.waiting, 2 * (ITEM + MAX_READ.1));
        let Some(Item::Found { found: Found::Entries(entries), .. }) =
            seat.pop(&Context::from_waker(Waker::noop()))
        else {
            panic!("entries were found");
        };
        assert_eq!(entries.iter().map(|(at, _)| at.as_str()).collect::<Vec<_>>(), ["1-2", "1-3"]);
        assert_eq!(seat.waiting, 0);
    }

    #[test]
    fn a_value_is_found_until_the_end_of_its_lifetime() {
        let (mut state, mut woken) = (State::default(), Woken::new());
        state.seats.insert(1, Seat::default());
        for (key, lifetime) in [("gone", Duration::ZERO), ("kept", Duration::MAX)] {
            state.pass(1, Sent::Save(key.into(), Bytes::from_static(b"value"), lifetime), &mut woken);
            for remove in [false, true] {
                state.pass(1, Sent::Load { key: key.into(), remove, request: key.into() }, &mut woken);
            }
        }
        let found: Vec<_> = state.seats[&1]
            .inbox
            .iter()
            .map(|(item, _)| match item {
                Item::Found { found: Found::Value(value), .. } => value.is_some(),
                _ => panic!("nothing else was sent"),
            })
            .collect();
        assert_eq!(found, [false, false, true, true]);
        assert_eq!(state.saved_size, 0);
    }
}
