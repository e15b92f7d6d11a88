//! Where the servers are.

use crate::builder::Servers;
use crate::endpoint::{Endpoint, Place};
use crate::failure::Failure;
use crate::link::Worker;
use crate::publisher::Connection;
use crate::runtime::Runtime;
use crate::slots::SLOTS;
use redis::{Cmd, Value, cmd};
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

/// The time after which the servers of a Redis Cluster are asked for again, if nothing else has been a reason before.
const REFRESH: Duration = Duration::from_secs(30);

/// A server of a Redis Cluster. Replicas have no slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) place: Place,
    /// The first and the last slot of each range.
    pub(crate) slots: Vec<(u16, u16)>,
}

/// Returns the server that a link connects to. `place` is its server in a Redis Cluster.
pub(crate) async fn find(
    servers: &Servers,
    place: Option<&Place>,
    runtime: Runtime,
    timeout: Duration,
) -> Result<Endpoint, Failure> {
    match (servers, place) {
        (Servers::Single(server), _) => Ok(server.clone()),
        (Servers::Sentinel { sentinels, service, server }, _) => {
            let mut result = Err(Failure::unusable(server, "there is no sentinel"));
            for sentinel in sentinels {
                result = ask_sentinel(sentinel, service, server, runtime, timeout).await;
                if result.is_ok() {
                    break;
                }
            }
            result
        }
        (Servers::Cluster(servers), Some(place)) => match servers.first() {
            Some(server) => Ok(Endpoint { in_cluster: true, ..server.at(place.clone()) }),
            None => unreachable!("the builder refuses an empty list"),
        },
        (Servers::Cluster(_), None) => unreachable!("the first link of a cluster does not connect"),
    }
}

async fn ask_sentinel(
    sentinel: &Endpoint,
    service: &str,
    server: &Endpoint,
    runtime: Runtime,
    timeout: Duration,
) -> Result<Endpoint, Failure> {
    let mut question = cmd("SENTINEL");
    question.arg("GET-MASTER-ADDR-BY-NAME").arg(service);
    let place = match ask(sentinel, &question, runtime, timeout).await? {
        Value::Array(values) => address(&values, ""),
        _ => None,
    };
    let unknown = || Failure::unusable(sentinel, format_args!("this sentinel knows no service {service:?}"));
    let server = server.at(place.ok_or_else(unknown)?);
    // A sentinel may be late, and name a server that is not the primary any more.
    let is_primary = match ask(&server, &cmd("ROLE"), runtime, timeout).await? {
        Value::Array(values) => values.into_iter().next().and_then(text).is_some_and(|role| role == "master"),
        _ => false,
    };
    if is_primary {
        Ok(server)
    } else {
        Err(Failure::unusable(&server, "it is not the primary yet, or any more"))
    }
}

/// Sends one command over a connection of its own.
async fn ask(to: &Endpoint, question: &Cmd, runtime: Runtime, timeout: Duration) -> Result<Value, Failure> {
    let mut connection = Connection::open(runtime, to, timeout).await?;
    let mut redis = connection.redis.clone();
    let answer = connection.during(question.query_async::<Value>(&mut redis));
    let answer = runtime.within(timeout, answer).await.ok_or_else(|| Failure::silent(to))?;
    answer.map_err(|error| Failure::of(to, &error))
}

impl Worker {
    /// Finds the servers of a Redis Cluster, and starts a task for each.
    pub(crate) async fn lead(&self) {
        self.run(self.keep_servers()).await;
    }

    async fn keep_servers(&self) {
        let runtime = Runtime::current();
        let config = &self.shared.config;
        loop {
            let delay = match self.ask_for_servers(runtime).await {
                Ok(servers) => {
                    self.set_servers(servers);
                    config.reconnection_delay
                }
                Err(failure) => {
                    self.handle_down(&failure);
                    config.reconnection_delay.saturating_mul(4).min(config.reconnection_delay_max)
                }
            };
            runtime.sleep(delay).await;
            let asked = poll_fn(|_| match self.shared.take_asked() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            });
            runtime.within(REFRESH, asked).await;
        }
    }

    /// Asks one server after the other: those that are known, and those of the URLs.
    async fn ask_for_servers(&self, runtime: Runtime) -> Result<Vec<Server>, Failure> {
        let Servers::Cluster(seeds) = &self.shared.servers else { return Ok(Vec::new()) };
        let Some(first) = seeds.first() else { return Ok(Vec::new()) };
        let known = self.shared.places().into_iter().map(|place| first.at(place));
        let timeout = self.shared.config.connection_timeout;
        let mut question = cmd("CLUSTER");
        question.arg("SLOTS");
        let mut result = Ok(Vec::new());
        for to in known.chain(seeds.iter().cloned()) {
            result = ask(&to, &question, runtime, timeout).await.and_then(|answer| {
                let servers = servers(answer, &to);
                let covered = servers.iter().flat_map(|server| &server.slots);
                let covered: u32 = covered.map(|(first, last)| u32::from(last - first) + 1).sum();
                match covered >= SLOTS.into() {
                    true => Ok(servers),
                    false => Err(Failure::unusable(&to, "slots of the Redis Cluster have no server")),
                }
            });
            if result.is_ok() {
                break;
            }
        }
        result
    }

    fn set_servers(&self, servers: Vec<Server>) {
        let Some(node) = self.node.upgrade() else { return };
        let (new, status) = self.shared.set_servers(&servers, &*node);
        for (id, place) in new {
            let worker = Worker { id, place: Some(place), ..self.clone() };
            node.runtime().spawn(Box::pin(async move { worker.keep().await }));
        }
        if let Some(status) = status {
            node.handle_status(status);
        }
    }
}

/// Reads the answer to `CLUSTER SLOTS`: for each range of slots its ends, its primary, and its replicas.
fn servers(answer: Value, asked: &Endpoint) -> Vec<Server> {
    let own = match &asked.place {
        Place::Tcp(host, _) => host.as_str(),
        Place::Unix(_) => "127.0.0.1",
    };
    let Value::Array(ranges) = answer else { return Vec::new() };
    let mut servers: Vec<Server> = Vec::new();
    for range in ranges {
        let Value::Array(range) = range else { continue };
        let mut range = range.into_iter();
        let (Some(first), Some(last)) = (range.next().and_then(slot), range.next().and_then(slot)) else {
            continue;
        };
        if first > last {
            continue;
        }
        for (index, server) in range.enumerate() {
            let Value::Array(server) = server else { continue };
            let Some(place) = address(&server, own) else { continue };
            let known = servers.iter().position(|server| server.place == place);
            let known = known.unwrap_or_else(|| {
                servers.push(Server { place, slots: Vec::new() });
                servers.len() - 1
            });
            if let (0, Some(server)) = (index, servers.get_mut(known)) {
                server.slots.push((first, last));
            }
        }
    }
    servers
}

fn slot(value: Value) -> Option<u16> {
    let Value::Int(slot) = value else { return None };
    u16::try_from(slot).ok().filter(|&slot| slot < SLOTS)
}

/// Reads a host and a port. A server that does not know its host is reached by the same one as before.
fn address(values: &[Value], own: &str) -> Option<Place> {
    let host = values.first().cloned().and_then(text).unwrap_or_default();
    let host = if host.is_empty() || host == "?" { own.to_owned() } else { host };
    let port = match values.get(1)? {
        Value::Int(port) => u16::try_from(*port).ok()?,
        value => text(value.clone())?.parse().ok()?,
    };
    (!host.is_empty()).then_some(Place::Tcp(host, port))
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}
