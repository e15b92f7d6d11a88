//! The client for the tests against servers that people use: does what it is told line by line, and prints what happens.
//!
//! `real_server_client URL [OPTIONS]`, or `real_server_client certificates FOLDER` (see `certificates.rs`). The options,
//! those with … as often as is wanted:
//!
//! - `--runtime tokio|smol`, `--way polling|websocket|upgrade`, `--retries N`, `--ack-timeout MILLISECONDS` (10,000 if
//!   nothing is said);
//! - `--token TOKEN`…: each attempt to join shows the next of them, the last one again and again;
//! - `--ca FILE`: trusts the certificates in there; `--proxy URL`: goes through it;
//! - `--transports NAME,NAME`, `--upgrade false`, `--try-all-transports true`, `--remember-upgrade true`,
//!   `--force-base64 true`, `--parser msgpack`, `--path PATH`, `--add-trailing-slash false`, `--query NAME=VALUE`…,
//!   `--extra-header NAME=VALUE`…: as those of the builder.
//!
//! A line of its input is one of
//!
//! - `connect NAMESPACE`, `disconnect NAMESPACE`, `rejoin NAMESPACE`: both in one turn;
//! - `emit NAMESPACE EVENT JSON`: the JSON is an array of arguments;
//! - `ask NAMESPACE EVENT JSON`: prints the answer;
//! - `volatile NAMESPACE EVENT JSON`.
//!
//! Every event is printed. `bounce` is also emitted again as `bounced`, and is acknowledged with its arguments.
#![allow(clippy::unwrap_used)]

#[path = "../../examples/common/options.rs"]
#[allow(dead_code)]
mod options;

mod certificates;

use options::option;
use serde_json::{Value, json};
use sockeye::client::{ClientBuilder, ClientConnectError, ClientDisconnectReason};
use sockeye::extract::Event;
use sockeye::{Args, Client, ClientSocket, ClientTls, Parser, Transport};
use std::io::{self, BufRead};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).ok_or("a url is wanted")?;
    if let Some(folder) = option("certificates")? {
        return certificates::write(folder.as_ref());
    }
    let client = configure(Client::builder(url))?.build()?;
    client.on_manager_event(|event| println!("manager {event:?}"));
    watch(&client);
    match option("--runtime")?.as_deref() {
        Some("smol") => {
            let _ = smol::block_on(sockeye::runtime::smol::connect(&client));
            obey(&client)?;
        }
        _ => {
            let runtime = tokio::runtime::Runtime::new()?;
            let _ = runtime.block_on(sockeye::runtime::tokio::connect(&client));
            obey(&client)?;
        }
    }
    Ok(())
}

fn configure(builder: ClientBuilder) -> io::Result<ClientBuilder> {
    let builder = builder
        .reconnection_delay(Duration::from_millis(20))
        .reconnection_delay_max(Duration::from_millis(100));
    let ack_timeout = match option("--ack-timeout")? {
        Some(millis) => millis.parse().map_err(io::Error::other)?,
        None => 10_000,
    };
    let builder = builder.ack_timeout(Duration::from_millis(ack_timeout));
    let builder = match option("--way")?.as_deref() {
        Some("polling") => builder.transports([Transport::Polling]),
        Some("websocket") => builder.transports([Transport::WebSocket]),
        _ => builder,
    };
    let builder = match option("--retries")? {
        Some(retries) => builder.retries(retries.parse().map_err(io::Error::other)?),
        None => builder,
    };
    let builder = match option("--ca")? {
        Some(ca) => builder.tls(ClientTls::from_pem(&std::fs::read(ca)?)?),
        None => builder,
    };
    let builder = match option("--proxy")? {
        Some(proxy) => builder.proxy(&proxy),
        None => builder,
    };
    let builder = configure_requests(builder)?;
    let tokens = options("--token");
    if tokens.is_empty() {
        return Ok(builder);
    }
    let attempts = AtomicUsize::new(0);
    Ok(builder.auth_with(move || {
        let attempt = attempts.fetch_add(1, Ordering::SeqCst).min(tokens.len() - 1);
        let token = tokens[attempt].clone();
        async move { Ok::<_, io::Error>(json!({ "token": token })) }
    }))
}

fn configure_requests(mut builder: ClientBuilder) -> io::Result<ClientBuilder> {
    if let Some(names) = option("--transports")? {
        builder = builder.transports(names.split(',').map(|name| match name {
            "websocket" => Transport::WebSocket,
            _ => Transport::Polling,
        }));
    }
    let on = |name| Ok::<_, io::Error>(option(name)?.map(|on| on == "true"));
    if let Some(on) = on("--upgrade")? {
        builder = builder.upgrade(on);
    }
    if let Some(on) = on("--try-all-transports")? {
        builder = builder.try_all_transports(on);
    }
    if let Some(on) = on("--remember-upgrade")? {
        builder = builder.remember_upgrade(on);
    }
    if let Some(on) = on("--force-base64")? {
        builder = builder.force_base64(on);
    }
    if option("--parser")?.as_deref() == Some("msgpack") {
        builder = builder.parser(Parser::MessagePack);
    }
    if let Some(on) = on("--add-trailing-slash")? {
        builder = builder.add_trailing_slash(on);
    }
    if let Some(path) = option("--path")? {
        builder = builder.path(path);
    }
    for query in options("--query") {
        let (name, value) = query.split_once('=').unwrap();
        builder = builder.query(name, value);
    }
    for header in options("--extra-header") {
        let (name, value) = header.split_once('=').unwrap();
        builder = builder.extra_header(name, value);
    }
    Ok(builder)
}

/// All values of an option.
fn options(name: &str) -> Vec<String> {
    let args: Vec<String> = std::env::args().collect();
    args.windows(2).filter(|pair| pair[0] == name).map(|pair| pair[1].clone()).collect()
}

/// Prints what happens in a namespace.
fn watch(socket: &ClientSocket) {
    socket.on_connect(async |socket: ClientSocket| {
        let id = socket.id().unwrap_or_default();
        println!("connect {} {id} {}", socket.namespace(), socket.recovered());
    });
    socket.on_connect_error(async |socket: ClientSocket, error: ClientConnectError| {
        let (message, data) = match error {
            ClientConnectError::Refused { message, data } => (message, data.unwrap_or(Value::Null)),
            other => (other.to_string(), Value::Null),
        };
        println!("connect_error {} {}", socket.namespace(), json!([message, data]));
    });
    socket.on_disconnect(async |socket: ClientSocket, reason: ClientDisconnectReason| {
        println!("disconnect {} {reason}", socket.namespace());
    });
    socket.on_any(async |socket: ClientSocket, Event(name): Event, args: Args| {
        let values = args.deserialize::<Value>().unwrap_or(Value::Null);
        println!("event {} {name} {values}", socket.namespace());
    });
    socket.on("bounce", async |socket: ClientSocket, args: Args| {
        socket.emit("bounced", args.clone()).map(drop).unwrap_or_else(|error| println!("error {error}"));
        args
    });
}

fn obey(client: &Client) -> io::Result<()> {
    for line in io::stdin().lock().lines() {
        let line = line?;
        let mut words = line.splitn(4, ' ');
        let mut next = || words.next().unwrap_or_default().to_owned();
        let (command, namespace, event, args) = (next(), next(), next(), next());
        let socket = client.socket(&namespace);
        match command.as_str() {
            "connect" => {
                if socket != **client {
                    watch(&socket);
                }
                socket.connect();
            }
            "disconnect" => socket.disconnect(),
            "rejoin" => {
                socket.disconnect();
                socket.connect();
            }
            "emit" => match socket.emit(&event, Arguments::parse(&args)) {
                Ok(sent) => in_background(async move {
                    if sent.is_waiting() {
                        println!("fate {event} {:?}", sent.await);
                    }
                }),
                Err(error) => println!("error {error}"),
            },
            "volatile" => match socket.volatile().emit(&event, Arguments::parse(&args)) {
                Ok(_) => println!("sent {event}"),
                Err(error) => println!("error {error}"),
            },
            "ask" => {
                let answer = socket.emit_with_ack::<Value>(&event, Arguments::parse(&args));
                in_background(async move {
                    match answer.await {
                        Ok(answer) => println!("answer {event} {answer}"),
                        Err(error) => println!("no answer {event} {error}"),
                    }
                });
            }
            other => return Err(io::Error::other(format!("no command {other:?}"))),
        }
    }
    Ok(())
}

fn in_background(future: impl Future<Output = ()> + Send + 'static) {
    std::thread::spawn(move || smol::block_on(future));
}

/// A list of arguments, as a tuple is one: an array would be a single argument.
struct Arguments(Vec<Value>);

impl Arguments {
    fn parse(json: &str) -> Arguments {
        Arguments(serde_json::from_str(json).unwrap())
    }
}

impl serde::Serialize for Arguments {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeTuple;
        let mut tuple = serializer.serialize_tuple(self.0.len())?;
        self.0.iter().try_for_each(|value| tuple.serialize_element(value))?;
        tuple.end()
    }
}
