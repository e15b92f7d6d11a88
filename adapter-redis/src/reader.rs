//! The connection that reads streams.

use crate::endpoint::Endpoint;
use crate::failure::Failure;
use crate::publisher::Connection;
use crate::runtime::Runtime;
use crate::state::Shared;
use bytes::Bytes;
use redis::{RedisResult, Value, cmd};
use sockeye_core::cluster::Node;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// The time that Redis waits for entries before it answers that there are none, in milliseconds. As in Node.
const BLOCK: u64 = 5000;

/// The most entries in one answer, of each stream. As in Node.
const COUNT: usize = 100;

/// The reading part of a link: one command that waits at Redis, for all streams.
pub(crate) struct Reader {
    connection: Connection,
    /// The streams, each with the entry that was read last.
    positions: Vec<(String, String)>,
    reply: Pin<Box<dyn Future<Output = RedisResult<Value>> + Send>>,
    since: Instant,
}

impl Reader {
    /// Connects. A stream whose position is unknown is read from its end, which is where it ends now.
    pub(crate) async fn open(
        runtime: Runtime,
        to: Endpoint,
        timeout: Duration,
        streams: Vec<(String, Option<String>)>,
    ) -> Result<Reader, Failure> {
        let mut connection = Connection::open(runtime, &to, timeout).await?;
        let mut positions = Vec::with_capacity(streams.len());
        for (stream, position) in streams {
            let position = match position {
                Some(position) => position,
                None => {
                    let mut redis = connection.redis.clone();
                    let last = async {
                        let mut last = cmd("XREVRANGE");
                        last.arg(&stream).arg("+").arg("-").arg("COUNT").arg(1);
                        last.query_async::<Value>(&mut redis).await
                    };
                    let last = runtime.within(timeout, connection.during(last)).await;
                    let last = last.ok_or_else(|| Failure::silent(&to))?;
                    let last = last.map_err(|error| Failure::of(&to, &error))?;
                    entries(last).into_iter().next().map_or_else(|| "0-0".to_owned(), |(id, _)| id)
                }
            };
            positions.push((stream, position));
        }
        let reply = read(&connection, &positions);
        Ok(Reader { connection, positions, reply, since: Instant::now() })
    }

    /// Returns the positions, so that the next connection reads on from here.
    pub(crate) fn positions(&self) -> &[(String, String)] {
        &self.positions
    }

    /// Passes entries to the node.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        shared: &Shared,
        to: &Endpoint,
        node: &dyn Node,
    ) -> Result<(), Failure> {
        loop {
            let is_over = self.connection.poll(cx).is_ready();
            let Poll::Ready(reply) = self.reply.as_mut().poll(cx) else {
                return if is_over { Err(Failure::closed(to)) } else { Ok(()) };
            };
            for (stream, entries) in streams(reply.map_err(|error| Failure::of(to, &error))?) {
                self.handle(&stream, entries, shared, node);
            }
            self.since = Instant::now();
            self.reply = read(&self.connection, &self.positions);
        }
    }

    fn handle(&mut self, stream: &str, entries: Vec<Entry>, shared: &Shared, node: &dyn Node) {
        let Some((_, position)) = self.positions.iter_mut().find(|(name, _)| name == stream) else { return };
        for (id, fields) in entries {
            let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
            node.handle_entry(stream, &id, &fields);
            *position = id;
        }
        shared.set_position(stream, position);
    }

    /// Checks that Redis answers. To be called at intervals.
    pub(crate) fn check(&self, timeout: Duration, to: &Endpoint) -> Result<(), Failure> {
        let late = Duration::from_millis(BLOCK) + timeout;
        if self.since.elapsed() < late { Ok(()) } else { Err(Failure::silent(to)) }
    }
}

/// Asks for what comes after the positions.
fn read(
    connection: &Connection,
    positions: &[(String, String)],
) -> Pin<Box<dyn Future<Output = RedisResult<Value>> + Send>> {
    let mut command = cmd("XREAD");
    command.arg("BLOCK").arg(BLOCK).arg("COUNT").arg(COUNT).arg("STREAMS");
    for (stream, _) in positions {
        command.arg(stream);
    }
    for (_, position) in positions {
        command.arg(position);
    }
    let mut redis = connection.redis.clone();
    Box::pin(async move { command.query_async(&mut redis).await })
}

/// An entry: its id, and its fields.
type Entry = (String, Vec<(String, Bytes)>);

/// Reads the answer to `XREAD`: streams with entries. It is a map in version 3 of the protocol, and pairs in version 2.
fn streams(reply: Value) -> Vec<(String, Vec<Entry>)> {
    let pairs = match reply {
        Value::Map(pairs) => pairs,
        Value::Array(streams) => streams.into_iter().filter_map(pair).collect(),
        _ => Vec::new(),
    };
    pairs.into_iter().filter_map(|(stream, list)| Some((text(stream)?, entries(list)))).collect()
}

/// Reads entries, which are pairs of an id and a list of names and values.
fn entries(reply: Value) -> Vec<Entry> {
    let Value::Array(list) = reply else { return Vec::new() };
    let entry = |value| {
        let (id, fields) = pair(value)?;
        let Value::Array(fields) = fields else { return None };
        let mut fields = fields.into_iter();
        let mut named = Vec::with_capacity(fields.len() / 2);
        while let (Some(name), Some(Value::BulkString(value))) = (fields.next(), fields.next()) {
            named.push((text(name)?, Bytes::from(value)));
        }
        Some((text(id)?, named))
    };
    list.into_iter().filter_map(entry).collect()
}

fn pair(value: Value) -> Option<(Value, Value)> {
    let Value::Array(values) = value else { return None };
    let mut values = values.into_iter();
    Some((values.next()?, values.next()?))
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}
