//! Events that a client sends again until they are acknowledged, and that are handled once.

use super::Engine;
use super::socket::Socket;
use crate::engine::Id;
use crate::engine::timers::{Expire, Key, Notify};
use crate::error::HandlerError;
use crate::extract::{Context, Extract, ExtractError};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sockeye_core::Time;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

/// Maximum length of a key, in bytes.
const MAX_KEY: usize = 64;

/// Number of answers that are remembered of one socket, so that no client can make those of others be forgotten.
const MAX_OF_SOCKET: usize = 64;

/// The bytes that an answer counts beside its own and those of its key.
const OVERHEAD: usize = 256;

/// The key by which an event is known that a client sends again because it has got no acknowledgement: a parameter of
/// handlers, with which they do their work once.
///
/// A client with the option `retries` (`socket.io-client` 4.6 and later) sends each event until it is acknowledged, so that
/// a handler may be called several times for it. By convention, the client appends one more argument to such events, an
/// object `{ idempotencyKey: "…" }` with a text of its own of at most 64 bytes, which differs for each event but not for
/// its repetitions; the page [Delivery][delivery] of the guide has the JavaScript. Without it, [`run`](IdempotencyKey::run)
/// does the work each time.
///
/// ```
/// use serde::Deserialize;
/// use sockeye::extract::Data;
/// use sockeye::{HandlerError, IdempotencyKey, Server};
///
/// #[derive(Deserialize)]
/// struct Order {
///     item: String,
/// }
///
/// async fn place(order: Order) -> Result<u32, std::io::Error> {
///     println!("one {}", order.item);
///     Ok(7)
/// }
///
/// let io = Server::new();
/// io.on("order", async |key: IdempotencyKey, Data(order): Data<Order>| {
///     key.run(async { Ok(place(order).await?) }).await
/// });
/// ```
///
/// What the work returns is remembered for the time of
/// [`idempotency_window`](crate::ServerBuilder::idempotency_window), by this server, for the event of this name in this
/// namespace, whichever connection it comes over. Clients choose their keys, so they have to be random enough that nobody
/// guesses one and gets the answer of somebody else. At most 64 answers are remembered of each socket, and
/// [`idempotency_max_bytes`](crate::ServerBuilder::idempotency_max_bytes) of all; then the oldest are forgotten.
///
/// [delivery]: https://github.com/sockeye-rs/sockeye/blob/main/docs/guide/delivery.md
#[derive(Clone)]
pub struct IdempotencyKey {
    socket: Socket,
    key: Option<Arc<str>>,
    /// The length of the client's part, at the end of the key.
    len: usize,
}

/// The last argument of an event that has a key.
#[derive(Deserialize)]
struct Argument<'a> {
    #[serde(borrow, rename = "idempotencyKey")]
    key: Cow<'a, str>,
}

impl IdempotencyKey {
    /// Returns the key that the client has sent, if there is one.
    pub fn as_str(&self) -> Option<&str> {
        let key = self.key.as_deref()?;
        key.get(key.len() - self.len..)
    }

    /// Does the work of a handler, unless that was done before for an event with this key: then the answer is the one of
    /// that time. If the work is still being done, this waits for its answer.
    ///
    /// The answer is one value, which is kept as JSON: bytes in it become lists of numbers.
    ///
    /// An error is not remembered, and neither is work that panics: the event is handled again when it is sent again.
    ///
    /// # Errors
    /// The error of the work, or that what it returned cannot be sent.
    pub async fn run<T: Serialize>(
        self,
        work: impl Future<Output = Result<T, HandlerError>>,
    ) -> Result<Value, HandlerError> {
        let Some((key, server)) = self.key.zip(self.socket.server()) else {
            return Ok(serde_json::to_value(work.await?)?);
        };
        let memory = server.engine.application().idempotency.clone();
        memory.engine.get_or_init(|| Arc::downgrade(&server.engine.0));
        let begun = poll_fn(|cx| match memory.table.lock().begin(&key, cx.waker()) {
            Begun::Started(number) => Poll::Ready(Ok(number)),
            Begun::Answered(answer) => Poll::Ready(Err(answer)),
            Begun::Running => Poll::Pending,
        });
        let number = match begun.await {
            Ok(number) => number,
            Err(answer) => return Ok(serde_json::from_str(&answer)?),
        };
        // It does not keep the server alive while the work is being done.
        drop(server);
        let attempt = Attempt { memory: &memory, key: &key, number };
        let answer = serde_json::to_value(work.await?)?;
        attempt.finish(self.socket.id(), answer.to_string().into());
        Ok(answer)
    }
}

impl Extract for IdempotencyKey {
    fn extract(context: &Context<'_>) -> Result<Self, ExtractError> {
        let last = context.args.and_then(|args| args.iter().last());
        let argument = last.and_then(|json| serde_json::from_str::<Argument<'_>>(json).ok());
        let socket = context.socket.clone();
        let Some(Argument { key }) = argument else {
            return Ok(IdempotencyKey { socket, key: None, len: 0 });
        };
        if key.len() > MAX_KEY {
            let error = format!("the idempotency key is longer than {MAX_KEY} bytes");
            return Err(ExtractError::Other(error.into()));
        }
        let whole = format!("{}\0{}\0{key}", socket.namespace().name(), context.event);
        Ok(IdempotencyKey { socket, len: key.len(), key: Some(whole.into()) })
    }
}

impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IdempotencyKey").field(&self.as_str()).finish()
    }
}

/// The answers that a server remembers, and the work that is being done.
pub(super) struct Idempotency {
    table: Mutex<Table>,
    /// Set by the first use.
    engine: OnceLock<Weak<Engine>>,
    /// The time for which an answer is remembered.
    pub(super) window: Duration,
    pub(super) max_bytes: usize,
}

impl Default for Idempotency {
    fn default() -> Self {
        let window = Duration::from_secs(300);
        Idempotency { table: Mutex::default(), engine: OnceLock::new(), window, max_bytes: 16 << 20 }
    }
}

impl Idempotency {
    fn engine(&self) -> Option<Arc<Engine>> {
        self.engine.get()?.upgrade()
    }

    /// Puts the next deadline into the server's table. Returns the waker to call without a lock.
    fn arm(self: &Arc<Self>, table: &mut Table) -> Option<Waker> {
        let (at, _) = *table.deadlines.first_key_value()?.0;
        if table.timer.is_some() {
            return None;
        }
        let this: Arc<dyn Expire> = self.clone();
        let (key, driver) = self.engine()?.timers.insert(at, Notify::Object(Arc::downgrade(&this)));
        table.timer = Some(key);
        driver
    }
}

impl Expire for Idempotency {
    fn expire(self: Arc<Self>, now: Time) {
        let mut table = self.table.lock();
        table.timer = None;
        table.forget_until(now);
        let driver = self.arm(&mut table);
        drop(table);
        driver.into_iter().for_each(Waker::wake);
    }
}

/// Work that is being done. If it is dropped before it has an answer, the next one who asks does the work.
struct Attempt<'a> {
    memory: &'a Arc<Idempotency>,
    key: &'a Arc<str>,
    number: u64,
}

impl Attempt<'_> {
    fn finish(self, socket: Id, answer: Arc<str>) {
        let now = self.memory.engine().map_or(Time::ZERO, |engine| engine.now());
        let mut table = self.memory.table.lock();
        let woken = table.finish(now + self.memory.window, self.key, self.number, socket, answer);
        table.limit(self.memory.max_bytes);
        let driver = self.memory.arm(&mut table);
        drop(table);
        woken.into_iter().chain(driver).for_each(Waker::wake);
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let woken = self.memory.table.lock().release(self.key, self.number);
        woken.into_iter().for_each(Waker::wake);
    }
}

/// Answers by their keys.
#[derive(Default)]
struct Table {
    entries: HashMap<Arc<str>, Entry>,
    /// The answers in the order in which they are forgotten.
    deadlines: BTreeMap<(Time, u64), Arc<str>>,
    /// The answers of each socket, the oldest first.
    by_socket: HashMap<Id, VecDeque<(Time, u64)>>,
    bytes: usize,
    /// The number of the last entry.
    number: u64,
    timer: Option<Key>,
}

struct Entry {
    number: u64,
    state: State,
}

enum State {
    Running(Vec<Waker>),
    Answered { answer: Arc<str>, socket: Id },
}

/// What becomes of an event.
enum Begun {
    /// The caller has to do the work, and to finish or release the attempt of this number.
    Started(u64),
    /// Somebody does it. The waker is called when there is an answer, or nobody does it any more.
    Running,
    Answered(Arc<str>),
}

impl Table {
    fn begin(&mut self, key: &Arc<str>, waker: &Waker) -> Begun {
        match self.entries.get_mut(key).map(|entry| &mut entry.state) {
            Some(State::Answered { answer, .. }) => Begun::Answered(answer.clone()),
            Some(State::Running(waiting)) => {
                if !waiting.iter().any(|known| known.will_wake(waker)) {
                    waiting.push(waker.clone());
                }
                Begun::Running
            }
            None => {
                self.number += 1;
                let entry = Entry { number: self.number, state: State::Running(Vec::new()) };
                self.entries.insert(key.clone(), entry);
                Begun::Started(self.number)
            }
        }
    }

    /// Remembers an answer until its deadline. Returns those who wait for it.
    fn finish(
        &mut self,
        deadline: Time,
        key: &Arc<str>,
        number: u64,
        socket: Id,
        answer: Arc<str>,
    ) -> Vec<Waker> {
        let Some(entry) = self.entries.get_mut(key).filter(|entry| entry.number == number) else {
            return Vec::new();
        };
        self.bytes += size(key, &answer);
        let before = std::mem::replace(&mut entry.state, State::Answered { answer, socket });
        self.deadlines.insert((deadline, number), key.clone());
        let own = self.by_socket.entry(socket).or_default();
        own.push_back((deadline, number));
        if own.len() > MAX_OF_SOCKET
            && let Some(oldest) = own.front().copied()
        {
            self.forget(oldest);
        }
        match before {
            State::Running(waiting) => waiting,
            State::Answered { .. } => Vec::new(),
        }
    }

    /// Forgets an attempt without an answer. Returns those who wait for it.
    fn release(&mut self, key: &Arc<str>, number: u64) -> Vec<Waker> {
        match self.entries.get_mut(key) {
            Some(Entry { number: known, state: State::Running(waiting) }) if *known == number => {
                let waiting = std::mem::take(waiting);
                self.entries.remove(key);
                waiting
            }
            _ => Vec::new(),
        }
    }

    /// Forgets the oldest answers until the rest is small enough.
    fn limit(&mut self, max_bytes: usize) {
        while self.bytes > max_bytes
            && let Some((&oldest, _)) = self.deadlines.first_key_value()
        {
            self.forget(oldest);
        }
    }

    fn forget_until(&mut self, now: Time) {
        while let Some((&oldest, _)) = self.deadlines.first_key_value()
            && oldest.0 <= now
        {
            self.forget(oldest);
        }
    }

    fn forget(&mut self, at: (Time, u64)) {
        let Some(key) = self.deadlines.remove(&at) else { return };
        let Some(Entry { state: State::Answered { answer, socket, .. }, .. }) = self.entries.remove(&key)
        else {
            return;
        };
        self.bytes -= size(&key, &answer);
        if let Some(own) = self.by_socket.get_mut(&socket) {
            own.retain(|known| *known != at);
            if own.is_empty() {
                self.by_socket.remove(&socket);
            }
        }
        if self.entries.is_empty() {
            // An idle server keeps no memory.
            (self.entries, self.by_socket) = Default::default();
        }
    }
}

fn size(key: &str, answer: &str) -> usize {
    OVERHEAD + key.len() + answer.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sockeye_core::engineio;

    fn id(n: u8) -> Id {
        engineio::Id::from_random([n; 15])
    }

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    fn begin(table: &mut Table, key: &str) -> Begun {
        table.begin(&key.into(), Waker::noop())
    }

    fn finish(table: &mut Table, key: &str, deadline: u64, socket: u8) {
        let Begun::Started(number) = begin(table, key) else { panic!("{key} is known") };
        table.finish(at(deadline), &key.into(), number, id(socket), key.into());
    }

    fn is_known(table: &mut Table, key: &str) -> bool {
        match begin(table, key) {
            Begun::Started(number) => {
                table.release(&key.into(), number);
                false
            }
            Begun::Running => false,
            Begun::Answered(answer) => *answer == *key,
        }
    }

    #[test]
    fn answers_are_forgotten_at_their_deadlines_and_leave_nothing() {
        let mut table = Table::default();
        (0..5).for_each(|n| finish(&mut table, &format!("{n}"), 10 + n, 1));
        table.forget_until(at(12));
        let known: Vec<_> = (0..5).filter(|n| is_known(&mut table, &n.to_string())).collect();
        assert_eq!(known, [3, 4]);
        table.forget_until(at(14));
        assert_eq!((table.bytes, table.deadlines.len(), table.by_socket.len()), (0, 0, 0));
        assert_eq!(table.entries.capacity(), 0);
    }

    #[test]
    fn a_socket_with_many_answers_loses_its_own_and_those_of_others_stay() {
        let mut table = Table::default();
        finish(&mut table, "quiet", 10, 1);
        (0..1000).for_each(|n| finish(&mut table, &format!("{n}"), 11, 2));
        assert!(is_known(&mut table, "quiet"));
        let known: Vec<_> = (0..1000).filter(|n| is_known(&mut table, &n.to_string())).collect();
        assert!(known.into_iter().eq(1000 - MAX_OF_SOCKET..1000));
        assert_eq!(table.deadlines.len(), 1 + MAX_OF_SOCKET);
    }

    #[test]
    fn the_oldest_answers_are_forgotten_if_they_take_too_many_bytes() {
        let mut table = Table::default();
        (0..10).for_each(|n| finish(&mut table, &n.to_string(), 10 + n, n as u8));
        let each = table.bytes / 10;
        assert_eq!(each, OVERHEAD + "0".len() + "0".len());
        table.limit(each * 3);
        let known: Vec<_> = (0..10).filter(|n| is_known(&mut table, &n.to_string())).collect();
        assert_eq!(known, [7, 8, 9]);
    }

    #[test]
    fn an_attempt_that_was_forgotten_answers_nothing() {
        let mut table = Table::default();
        let Begun::Started(first) = begin(&mut table, "key") else { panic!("it is known") };
        assert!(matches!(begin(&mut table, "key"), Begun::Running));
        assert_eq!(table.release(&"key".into(), first).len(), 1, "who waits is woken");
        let Begun::Started(second) = begin(&mut table, "key") else { panic!("it is known") };
        table.finish(at(10), &"key".into(), first, id(1), "".into());
        assert!(matches!(begin(&mut table, "key"), Begun::Running));
        assert!(table.release(&"key".into(), first).is_empty());
        assert_ne!(first, second);
    }
}
