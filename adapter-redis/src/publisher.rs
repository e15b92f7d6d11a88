//! The connection that publishes, appends to streams and counts.

use crate::endpoint::Endpoint;
use crate::failure::Failure;
use crate::found;
use crate::queue::{Command, Item};
use crate::runtime::{Runtime, Stream};
use crate::state::{FIRST, LinkId, Shared};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Pipeline, RedisResult, Value};
use sockeye_core::cluster::{Found, Node};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// The pipelines that are on their way at once. Each has everything that waited when it was written.
const PIPELINES: usize = 8;

/// The limits of one pipeline.
const ITEMS: usize = 1024;
const BYTES: usize = 1 << 20;

/// A connection of the crate `redis`, with the future that moves its bytes.
pub(crate) struct Connection {
    pub(crate) redis: MultiplexedConnection,
    driver: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Connection {
    pub(crate) async fn open(
        runtime: Runtime,
        to: &Endpoint,
        timeout: Duration,
    ) -> Result<Connection, Failure> {
        let stream: Stream = runtime.connect(to, timeout).await?;
        // Deadlines are kept by the caller, once for all commands.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let open = MultiplexedConnection::new_with_config(&to.login, stream, config);
        let Some(opened) = runtime.within(timeout, open).await else { return Err(Failure::silent(to)) };
        let (redis, driver) = opened.map_err(|error| Failure::of(to, &error))?;
        Ok(Connection { redis, driver: Box::pin(driver) })
    }

    /// Moves bytes. Ready when the connection has ended.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.driver.as_mut().poll(cx)
    }

    /// Runs a future that uses the connection.
    pub(crate) async fn during<T>(&mut self, future: impl Future<Output = T>) -> T {
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|cx| {
            // If it has ended, the future sees that.
            let _ = self.poll(cx);
            future.as_mut().poll(cx)
        })
        .await
    }
}

/// The publishing half of a link.
pub(crate) struct Publisher {
    connection: Connection,
    sent: VecDeque<Batch>,
    /// When the last batch was answered, or it was connected.
    heard: Instant,
    is_over: bool,
}

struct Batch {
    since: Instant,
    items: Vec<Item>,
    replies: Replies,
}

enum Replies {
    Awaited(Pin<Box<dyn Future<Output = RedisResult<Vec<Value>>> + Send>>),
    Here(RedisResult<Vec<Value>>),
}

impl Replies {
    fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        if let Replies::Awaited(future) = self {
            let Poll::Ready(values) = future.as_mut().poll(cx) else { return false };
            *self = Replies::Here(values);
        }
        true
    }
}

impl Publisher {
    pub(crate) fn new(connection: Connection) -> Publisher {
        Publisher { connection, sent: VecDeque::new(), heard: Instant::now(), is_over: false }
    }

    /// Sends what waits, if it may, and handles the answers.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        (shared, id): (&Shared, LinkId),
        may_send: bool,
        to: &Endpoint,
        node: &dyn Node,
    ) -> Result<(), Failure> {
        loop {
            while may_send && self.sent.len() < PIPELINES {
                let items = shared.take(id, ITEMS, BYTES);
                if items.is_empty() {
                    break;
                }
                self.send(items, shared, cx);
            }
            if self.connection.poll(cx).is_ready() {
                self.is_over = true;
            }
            let mut progress = false;
            while self.sent.front_mut().is_some_and(|batch| batch.replies.poll(cx)) {
                let Some(Batch { items, replies: Replies::Here(values), .. }) = self.sent.pop_front() else {
                    break;
                };
                progress = true;
                self.heard = Instant::now();
                self.settle(items, values, (shared, id), to, node)?;
            }
            if self.is_over {
                return Err(Failure::closed(to));
            }
            if !progress {
                return Ok(());
            }
        }
    }

    /// Writes a batch as one pipeline.
    fn send(&mut self, items: Vec<Item>, shared: &Shared, cx: &mut Context<'_>) {
        let (max_len, read) = (shared.config.stream_max_len, shared.entries_to_read());
        let mut pipeline = Pipeline::with_capacity(items.len());
        let count = items.iter().filter(|item| item.write(&mut pipeline, max_len, read)).count();
        self.push(items, pipeline, count, cx);
    }

    fn push(&mut self, items: Vec<Item>, pipeline: Pipeline, count: usize, cx: &mut Context<'_>) {
        let mut redis = self.connection.redis.clone();
        let mut replies = match count {
            0 => Replies::Here(Ok(Vec::new())),
            _ => Replies::Awaited(Box::pin(
                async move { redis.send_packed_commands(&pipeline, 0, count).await },
            )),
        };
        // The first poll puts it into the connection's queue, so that pipelines leave in their order.
        replies.poll(cx);
        self.sent.push_back(Batch { since: Instant::now(), items, replies });
    }

    /// Handles the answers to a batch.
    fn settle(
        &mut self,
        items: Vec<Item>,
        values: RedisResult<Vec<Value>>,
        (shared, id): (&Shared, LinkId),
        to: &Endpoint,
        node: &dyn Node,
    ) -> Result<(), Failure> {
        let values = match values {
            Ok(values) => values,
            Err(error) => {
                let failure = Failure::of(to, &error);
                give_up(items, (shared, id), node);
                return Err(failure);
            }
        };
        let mut values = values.into_iter();
        let mut failure = None;
        let (mut released, mut again, mut moved, mut flushes) = (0, Vec::new(), Vec::new(), Vec::new());
        for item in items {
            if matches!(item.command, Command::Flush(_)) {
                flushes.push(item);
                continue;
            }
            match (&item.command, values.next()) {
                (_, Some(Value::ServerError(error))) => {
                    let text = format!("{} {}", error.code(), error.details().unwrap_or_default());
                    let refused = Failure::refused(to, text.trim_end());
                    // It was not carried out, so that it can be sent again without coming twice.
                    if refused.moved && to.in_cluster && item.channel().is_some() {
                        moved.push(item);
                        continue;
                    }
                    let is_passing = is_passing(error.code());
                    failure = Some(refused);
                    if is_passing && !matches!(item.command, Command::Count(..)) {
                        again.push(item);
                        continue;
                    }
                    match &item.command {
                        Command::Count(_, count) => count.add(None, node),
                        Command::Save(key, ..) => node.handle_unsaved(&key.name),
                        _ => {}
                    }
                }
                (Command::Count(_, count), value) => count.add(value.and_then(subscribers), node),
                (Command::Load { request, .. }, Some(value)) => {
                    node.handle_found(request, found::value(value))
                }
                (Command::Read { request, .. }, Some(value)) => {
                    let entries = found::entries(value);
                    shared.note_read(entries.len(), found::len_of(&entries));
                    node.handle_found(request, Found::Entries(entries));
                }
                _ => {}
            }
            released += item.size();
        }
        // Flushes complete after that, when the budget is free again.
        shared.release(released);
        if !moved.is_empty() {
            // They wait until it is known where the slot is.
            shared.put_back(FIRST, moved);
            shared.ask_servers();
        }
        if !again.is_empty() {
            again.append(&mut flushes);
            shared.put_back(id, again);
        }
        drop(flushes);
        failure.map_or(Ok(()), Err)
    }

    /// Checks that Redis answers. To be called at intervals.
    pub(crate) fn check(
        &mut self,
        cx: &mut Context<'_>,
        timeout: Duration,
        to: &Endpoint,
    ) -> Result<(), Failure> {
        match self.sent.front() {
            // Those before it may have taken long.
            Some(batch) if batch.since.max(self.heard).elapsed() >= timeout => {
                return Err(Failure::silent(to));
            }
            Some(_) => {}
            None => {
                let mut pipeline = Pipeline::new();
                pipeline.cmd("PING");
                self.push(Vec::new(), pipeline, 1, cx);
            }
        }
        Ok(())
    }

    /// Handles the end of the connection.
    pub(crate) fn end(&mut self, (shared, id): (&Shared, LinkId), node: &dyn Node) {
        for batch in self.sent.drain(..) {
            give_up(batch.items, (shared, id), node);
        }
    }
}

/// Handles items that may have been sent or not. Messages must not come twice, so that they are given up. Entries must not
/// be lost, so that they are sent again.
fn give_up(items: Vec<Item>, (shared, id): (&Shared, LinkId), node: &dyn Node) {
    let (mut released, mut again) = (0, Vec::new());
    for item in items {
        match &item.command {
            Command::Append(..) | Command::Flush(_) => {
                again.push(item);
                continue;
            }
            Command::Count(_, count) => count.add(None, node),
            // It may have been stored, and even taken by another server, so that it must not be stored again.
            Command::Save(key, ..) => node.handle_unsaved(&key.name),
            _ => {}
        }
        released += item.size();
    }
    shared.release(released);
    shared.put_back(id, again);
}

/// Returns whether a refusal is of the server's state, not of the command.
fn is_passing(code: &str) -> bool {
    matches!(
        code,
        "LOADING" | "READONLY" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" | "MISCONF" | "OOM" | "BUSY"
    )
}

/// Reads the answer to `PUBSUB NUMSUB`: the channel, and the number of its subscribers.
fn subscribers(value: Value) -> Option<usize> {
    let count = match value {
        Value::Array(values) => values.into_iter().nth(1),
        Value::Map(pairs) => pairs.into_iter().next().map(|(_, count)| count),
        _ => None,
    };
    match count {
        Some(Value::Int(count)) => usize::try_from(count).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::builder::{Config, Servers};
    use crate::reader::tests::Counts;
    use std::future::pending;
    use std::task::Waker;
    use tokio::io::AsyncWriteExt;

    #[test]
    fn a_server_that_answers_one_batch_after_the_other_is_not_silent() {
        let to = Endpoint::parse("redis://127.0.0.1").unwrap();
        let shared = Shared::new(Servers::Single(to.clone()), Config::default());
        let (stream, mut server) = tokio::io::duplex(1000);
        let redis = smol::block_on(async {
            // The answers to the commands that tell the name and the version of the client.
            server.write_all(b"+OK\r\n+OK\r\n").await.unwrap();
            let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
            MultiplexedConnection::new_with_config(&to.login, stream, config).await.unwrap()
        });
        let mut publisher = Publisher::new(Connection { redis: redis.0, driver: Box::pin(redis.1) });
        let long_ago = Instant::now().checked_sub(Duration::from_secs(60)).unwrap();
        publisher.heard = long_ago;
        publisher.sent = [Replies::Here(Ok(Vec::new())), Replies::Awaited(Box::pin(pending()))]
            .map(|replies| Batch { since: long_ago, items: Vec::new(), replies })
            .into();
        let (timeout, mut cx) = (shared.config.response_timeout, Context::from_waker(Waker::noop()));
        assert_eq!(publisher.check(&mut cx, timeout, &to), Err(Failure::silent(&to)));
        publisher.poll(&mut cx, (&shared, FIRST), true, &to, &Counts::default()).unwrap();
        assert_eq!(publisher.sent.len(), 1);
        assert_eq!(publisher.check(&mut cx, timeout, &to), Ok(()));
    }
}
