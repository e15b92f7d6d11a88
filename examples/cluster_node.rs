//! A server of a cluster over Redis, beside other servers in Rust or Node (`tests/real_servers/cluster`).
//!
//! Run it with `PORT=3000 REDIS=redis://127.0.0.1:6379 cargo run --example cluster_node --features redis`, and as often as
//! you like with other ports. Options: `--adapter classic|sharded|streams` (default: `sharded`), `--mode
//! static|dynamic|dynamic-private` (of `sharded`; default: `dynamic`), `--recovery on` (of `streams`), `--runtime
//! tokio|smol`, and `--redis-cluster` if the URLs, separated by commas, are servers of a Redis Cluster.
//!
//! Each event is acknowledged with `true` once it was carried out, unless another answer is given:
//!
//! | event | argument | effect and answer |
//! |---|---|---|
//! | `join`, `leave` | room | the sender's own socket |
//! | `rooms` | | its rooms, without the one of its id |
//! | `emit` | `{rooms?, except?, event, args, times?}` | a broadcast, or as many as `times` |
//! | `ask` | `{rooms?, event, args, timeout}` (ms) | a broadcast with acknowledgements: the answers that came |
//! | `fetch` | `{rooms?}` | a list of `{id, rooms, data}` |
//! | `move` | `{rooms?, join?, leave?}` | sockets of the cluster join and leave rooms |
//! | `kick` | `{rooms?, close}` | disconnects them |
//! | `tell` | `{event, args}` | an event for the other servers: their answers |
//!
//! Every server answers the event `where` of another one with its port.

#[path = "common/options.rs"]
mod options;

use bytes::Bytes;
use options::{address, option};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeTuple, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sockeye::cluster::{Adapter, Classic, Dialect, Sharded, Streams, SubscriptionMode};
use sockeye::extract::Data;
use sockeye::redis::RedisBus;
use sockeye::{Broadcast, Recovery, Server, Socket};
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::io::Write;
use std::net::TcpListener;
use std::time::Duration;

fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::var("REDIS").unwrap_or_else(|_| "redis://127.0.0.1:6379".into());
    let bus = match std::env::args().any(|arg| arg == "--redis-cluster") {
        true => RedisBus::cluster(url.split(',')).build()?,
        false => RedisBus::new(url)?,
    };
    let adapter = Adapter::new(dialect()?, bus);
    let mut builder = Server::builder().adapter(adapter).on_cluster_event(|event| eprintln!("{event}"));
    if option("--recovery")?.as_deref() == Some("on") {
        builder = builder.connection_state_recovery(Recovery::new());
    }
    let io = builder.build();
    let listener = TcpListener::bind(address())?;
    let port = listener.local_addr()?.port();
    io.on_server_side_event("where", move || async move { port });
    io.on_connect(async |socket: Socket| {
        if socket.recovered() {
            return Ok(());
        }
        let auth = socket.auth::<Value>().unwrap_or_default();
        socket.set_shared_data(auth)
    });
    serve_rooms(&io);
    serve_cluster(&io);
    println!("listening on port {port}");
    std::io::stdout().flush()?;
    match option("--runtime")?.as_deref() {
        None | Some("tokio") => {
            listener.set_nonblocking(true)?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                sockeye::runtime::tokio::serve(io, listener).await
            })?;
        }
        #[cfg(feature = "smol")]
        Some("smol") => {
            let executor = std::sync::Arc::new(smol::Executor::new());
            let smol = sockeye::runtime::smol::Smol::on(&executor);
            smol::block_on(executor.run(smol.serve(io, listener)))?;
        }
        Some(runtime) => return Err(format!("{runtime} is no runtime, or needs its feature").into()),
    }
    Ok(())
}

fn dialect() -> Result<Dialect, Box<dyn Error>> {
    let mode = match option("--mode")?.as_deref() {
        None | Some("dynamic") => SubscriptionMode::Dynamic,
        Some("static") => SubscriptionMode::Static,
        Some("dynamic-private") => SubscriptionMode::DynamicPrivate,
        Some(mode) => return Err(format!("{mode} is no subscription mode").into()),
    };
    Ok(match option("--adapter")?.as_deref() {
        Some("classic") => Dialect::Classic(Classic::default()),
        None | Some("sharded") => Dialect::Sharded(Sharded { subscription_mode: mode, ..Sharded::default() }),
        Some("streams") => Dialect::Streams(Streams::default()),
        Some(adapter) => return Err(format!("{adapter} is no adapter").into()),
    })
}

/// The events that concern the sender.
fn serve_rooms(io: &Server) {
    io.on("join", async |socket: Socket, Data(room): Data<String>| {
        socket.join(&room);
        true
    });
    io.on("leave", async |socket: Socket, Data(room): Data<String>| {
        socket.leave(&room);
        true
    });
    io.on("rooms", async |socket: Socket| {
        let id = socket.id();
        socket.rooms().into_iter().filter(|room| **room != *id.as_str()).collect::<Vec<_>>()
    });
}

/// The events that concern the whole cluster.
fn serve_cluster(io: &Server) {
    io.on("emit", async |io: Server, Data(it): Data<Request>| {
        for _ in 0..it.times {
            it.target(&io).emit(&it.event, &it.args);
        }
        true
    });
    io.on("ask", async |io: Server, Data(it): Data<Request>| {
        let asked = it.target(&io).timeout(Duration::from_millis(it.timeout));
        let answers = asked.emit_with_ack::<Any>(&it.event, it.args).await;
        answers.answers.into_iter().filter_map(|answer| answer.value.ok()).collect::<Vec<_>>()
    });
    io.on("fetch", async |io: Server, Data(it): Data<Request>| {
        let found = it.target(&io).fetch_sockets().await;
        let show = found.into_iter().map(|socket| {
            let (id, data) = (socket.id(), socket.shared_data::<Value>().ok().flatten());
            // In the reference, the room of its id is one of them.
            let rooms: Vec<_> = std::iter::once(id.as_str()).chain(socket.rooms()).collect();
            json!({ "id": id.as_str(), "rooms": rooms, "data": data })
        });
        show.collect::<Vec<_>>()
    });
    io.on("move", async |io: Server, Data(it): Data<Request>| {
        if !it.join.is_empty() {
            it.target(&io).sockets_join(&it.join);
        }
        if !it.leave.is_empty() {
            it.target(&io).sockets_leave(&it.leave);
        }
        true
    });
    io.on("kick", async |io: Server, Data(it): Data<Request>| {
        it.target(&io).disconnect_sockets(it.close);
        true
    });
    io.on("tell", async |io: Server, Data(it): Data<Request>| {
        let answers = io.server_side_emit_with_ack::<Any>(&it.event, it.args).await;
        answers.answers.into_iter().filter_map(|answer| answer.value.ok()).collect::<Vec<_>>()
    });
}

/// The argument of the events that concern the whole cluster.
#[derive(Deserialize)]
#[serde(default)]
struct Request {
    rooms: Vec<String>,
    except: Vec<String>,
    event: String,
    args: Arguments,
    times: u32,
    timeout: u64,
    join: Vec<String>,
    leave: Vec<String>,
    close: bool,
}

impl Default for Request {
    fn default() -> Request {
        Request {
            rooms: Vec::new(),
            except: Vec::new(),
            event: String::new(),
            args: Arguments::default(),
            times: 1,
            timeout: 5000,
            join: Vec::new(),
            leave: Vec::new(),
            close: false,
        }
    }
}

impl Request {
    fn target(&self, io: &Server) -> Broadcast {
        io.to(&self.rooms).except(&self.except)
    }
}

/// The arguments of an event, as many as there are.
#[derive(Default, Deserialize)]
struct Arguments(Vec<Any>);

impl Serialize for Arguments {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // A tuple is a list of arguments, and a `Vec` would be one of them.
        let mut tuple = serializer.serialize_tuple(self.0.len())?;
        self.0.iter().try_for_each(|arg| tuple.serialize_element(arg))?;
        tuple.end()
    }
}

/// Any value, binary data included.
#[derive(Serialize)]
#[serde(untagged)]
enum Any {
    Scalar(Value),
    Binary(Bytes),
    List(Vec<Any>),
    Map(BTreeMap<String, Any>),
}

impl<'de> Deserialize<'de> for Any {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Any, D::Error> {
        deserializer.deserialize_any(AnyVisitor)
    }
}

struct AnyVisitor;

impl<'de> Visitor<'de> for AnyVisitor {
    type Value = Any;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Any, E> {
        Ok(Any::Scalar(Value::Null))
    }

    fn visit_bool<E>(self, is: bool) -> Result<Any, E> {
        Ok(Any::Scalar(is.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Any, E> {
        Ok(Any::Scalar(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Any, E> {
        Ok(Any::Scalar(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Any, E> {
        Ok(Any::Scalar(number.into()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Any, E> {
        Ok(Any::Scalar(text.into()))
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Any, E> {
        Ok(Any::Binary(Bytes::copy_from_slice(bytes)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Any, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = seq.next_element()? {
            list.push(value);
        }
        Ok(Any::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Any, A::Error> {
        let mut map = BTreeMap::new();
        while let Some((key, value)) = members.next_entry()? {
            map.insert(key, value);
        }
        Ok(Any::Map(map))
    }
}
