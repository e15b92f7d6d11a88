//! The server that the tests of real clients talk to: a bit of everything, as an application would write it.
//!
//! It prints `listening on <port>`, then a line for each socket that has gone: `disconnected <namespace> <id> <reason>`.
//! A line on its standard input closes it gracefully, and it ends with `closed`. With `--mounted axum` it is a layer of
//! an application with routes of its own, and prints `waiting <uri>` for each request that is not answered at once.
//!
//! Run it with `cargo run --example real_client_server -- --ping-interval 300`; see [`Options`] for the rest.

use axum::Router;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::middleware::{self, Next};
use axum::routing::{get, post};
use bytes::Bytes;
use lexopt::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use smol::future::poll_once;
use sockeye::extract::{AckSender, Auth, Data, Event, Extension};
use sockeye::{
    Args, ConnectError, Cookie, Cors, DisconnectReason, HandlerError, HttpCompression, IdempotencyKey,
    Parser, PerMessageDeflate, RateLimit, Recovery, Server, Socket, Tls, Transport,
};
use std::error::Error;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tower_http::cors::CorsLayer;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::read()?;
    let tls = options.certificate.as_deref().map(self_signed).transpose()?;
    let mounted = options.mounted.then(|| Mounted { app_origin: options.app_origin.clone() });
    let listener = TcpListener::bind(("127.0.0.1", options.port)).await?;
    println!("listening on {}", listener.local_addr()?.port());

    let io = options.server()?;
    io.on_connect(connected);
    io.of("/numbers").on_connect(count);
    io.of("/chat").on_connect(connected);
    io.of("/members").middleware(only_members);
    io.of("/members").on_connect(welcome);
    io.of("/closed").middleware(async || Err::<(), _>(ConnectError::new("closed today")));
    expiring(&io);
    orders(&io);

    let closing = io.clone();
    let (tell, told) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_line(&mut String::new());
        closing.begin_close();
        let _ = tell.send(());
    });
    match (tls, mounted) {
        (None, None) => sockeye::runtime::tokio::serve(io, listener).await?,
        (Some(tls), _) => sockeye::runtime::tokio::serve_tls(io, listener, tls).await?,
        (None, Some(mounted)) => {
            let app = mounted.app(io.clone())?.into_make_service_with_connect_info::<SocketAddr>();
            let closed = async move {
                let _ = told.await;
                io.close().await;
            };
            axum::serve(listener, app).with_graceful_shutdown(closed).await?;
        }
    }
    println!("closed");
    Ok(())
}

/// How the server is mounted in axum.
struct Mounted {
    /// Pages of this origin may use the application, which says so for all of its routes.
    app_origin: Option<String>,
}

/// What a layer of the application found out about a request.
#[derive(Clone)]
struct Trace(String);

impl Mounted {
    /// An application with a route that the server must leave alone, and layers of its own around all.
    fn app(self, io: Server) -> Result<Router, Box<dyn Error>> {
        let told = io.clone();
        let app = Router::new()
            .route("/hello", get(async || "hello from the application"))
            .route("/socket.io.html", get(async || "not socket.io"))
            // From elsewhere to all clients: a service next to the application's others.
            .route("/tell", post(async move |text: String| told.emit("told", text).sent.to_string()))
            .layer(sockeye::runtime::tokio::layer(io).keep::<Trace>())
            .layer(middleware::from_fn(async |mut request: Request, next: Next| {
                let trace = format!("trace of {}", request.uri().path());
                request.extensions_mut().insert(Trace(trace));
                request.headers_mut().insert("x-added", "by a layer".parse().expect("it is ASCII"));
                let uri = request.uri().clone();
                let mut answer = pin!(next.run(request));
                if let Some(response) = poll_once(&mut answer).await {
                    return response;
                }
                println!("waiting {uri}");
                answer.await
            }));
        let Some(origin) = self.app_origin else { return Ok(app) };
        let cors = CorsLayer::new().allow_origin(origin.parse::<HeaderValue>()?).allow_credentials(true);
        Ok(app.layer(cors))
    }
}

/// A certificate of its own for 127.0.0.1, written to `path` for the clients to trust.
fn self_signed(path: &Path) -> Result<Tls, Box<dyn Error>> {
    let pair = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
    let certificate = pair.cert.pem();
    std::fs::write(path, &certificate)?;
    Ok(Tls::from_pem(certificate.as_bytes(), pair.signing_key.serialize_pem().as_bytes())?)
}

/// What a client of `/` and `/chat` can do.
async fn connected(socket: Socket) {
    socket.on_disconnect(async |socket: Socket, reason: DisconnectReason| {
        println!("disconnected {} {} {reason}", socket.namespace().name(), socket.id());
    });
    echo(&socket);
    acknowledge(&socket);
    connection(&socket);
    ask(&socket);
    rooms(&socket);
    broadcast(&socket);
    leave(&socket);
}

/// Namespaces whose clients are authenticated for a short time. New credentials can be had in `/renewed` only, where the
/// clients are told each token that is accepted.
fn expiring(io: &Server) {
    #[derive(Deserialize)]
    struct Login {
        token: String,
    }

    const VALID: Duration = Duration::from_millis(50);

    fn check(socket: &Socket, login: &Login) -> Result<Duration, &'static str> {
        if login.token == "stale" {
            return Err("a stale token");
        }
        let _ = socket.emit("accepted", &login.token);
        Ok(VALID)
    }

    for name in ["/expiring", "/renewed"] {
        io.of(name).on_connect(async |socket: Socket, Auth(login): Auth<Login>| {
            check(&socket, &login).map(|valid| socket.authenticated_for(valid))
        });
    }
    io.of("/renewed").renew_auth(
        Duration::from_secs(20),
        async |socket: Socket, Data(login): Data<Login>| {
            // The shortest time that a renewal can give.
            check(&socket, &login).map(|_| Duration::from_secs(1)).map_err(ConnectError::from)
        },
    );
}

/// Orders that are handled once, however often they are sent, and not before somebody releases them.
fn orders(io: &Server) {
    #[derive(Default)]
    struct Shop {
        calls: AtomicU64,
        orders: AtomicU64,
    }

    let shop = Arc::new(Shop::default());
    let released = Arc::new(Semaphore::new(0));
    let orders = io.of("/orders");
    let (handling, waiting) = (shop.clone(), released.clone());
    orders.on("order", move |key: IdempotencyKey| {
        let (shop, released) = (handling.clone(), waiting.clone());
        shop.calls.fetch_add(1, Ordering::Relaxed);
        key.run(async move {
            let number = shop.orders.fetch_add(1, Ordering::Relaxed) + 1;
            released.acquire().await?.forget();
            Ok(number)
        })
    });
    orders.on("release", move || {
        released.add_permits(1);
        async {}
    });
    orders.on("counts", move || {
        let counts = (shop.calls.load(Ordering::Relaxed), shop.orders.load(Ordering::Relaxed));
        async move { vec![counts.0, counts.1] }
    });
}

/// Events that come back.
fn echo(socket: &Socket) {
    socket.on("echo", async |socket: Socket, args: Args| socket.emit("echo", args));
    socket.on("echo uncompressed", async |socket: Socket, args: Args| {
        socket.compress(false).emit("echo", args)
    });
    socket.on("echo to all uncompressed", async |io: Server, args: Args| {
        io.compress(false).emit("echo", args);
    });
    socket.on("nothing", async |socket: Socket, Data(()): Data<()>| socket.emit("nothing", ()));
    socket.on("upload", async |socket: Socket, Data(upload): Data<Upload>| {
        let parts = upload.parts.iter().chain([&upload.head]);
        let size = parts.map(Bytes::len).sum::<usize>();
        socket.emit("uploaded", (size, upload))
    });
    socket.on("binary", async |socket: Socket, Data(size): Data<usize>| {
        socket.emit("binary", Bytes::from(vec![7; size]))
    });
    socket.on("many", async |socket: Socket, Data((count, size)): Data<(usize, usize)>| {
        (0..count).try_for_each(|number| socket.emit("one of many", (number, Bytes::from(vec![7; size]))))
    });
    socket.on_fallback(async |socket: Socket, Event(name): Event, args: Args| {
        println!("unknown event {name} of {} arguments from {}", args.len(), socket.id());
    });
}

#[derive(Serialize, Deserialize)]
struct Upload {
    name: String,
    head: Bytes,
    parts: Vec<Bytes>,
}

/// Events whose acknowledgement is what the handler returns, or is sent later.
fn acknowledge(socket: &Socket) {
    socket.on("return", async |args: Args| args);
    socket.on("add", async |Data((a, b)): Data<(i64, i64)>| a + b);
    socket.on("half", async |Data(n): Data<i64>| match n % 2 {
        0 => Ok(n / 2),
        _ => Err(json!({ "error": format!("{n} is odd") })),
    });
    socket.on("number", async |Data(text): Data<String>| Ok::<i64, HandlerError>(text.parse()?));
    socket.on("divide", async |Data((a, b)): Data<(i64, i64)>| (a / b, a % b));
    socket.on("join bytes", async |Data((a, b)): Data<(Bytes, Bytes)>| Bytes::from([a, b].concat()));
    let held = Arc::new(Semaphore::new(0));
    let release = held.clone();
    socket.on("later", move |Data(answer): Data<Value>, ack: AckSender| {
        let held = held.clone();
        async move {
            // Until it is closed: nobody gives a permit.
            let _ = held.acquire().await;
            ack.send(answer)
        }
    });
    socket.on("release", move || {
        release.close();
        async {}
    });
    socket.on("never", async |_unanswered: AckSender| {});
    socket.on("headers", async |socket: Socket, Data(name): Data<String>| {
        socket.handshake().header(&name).map(str::to_owned)
    });
    socket.on("secure", async |socket: Socket| socket.handshake().secure());
    socket.on("address", async |socket: Socket| socket.handshake().address().map(|address| address.ip()));
    socket.on("trace", async |Extension(Trace(trace)): Extension<Trace>| trace);
    socket.on("transport", async |socket: Socket| socket.transport().name());
}

/// What is known of the connection behind the socket.
fn connection(socket: &Socket) {
    socket.on("conn", async |socket: Socket| {
        let conn = socket.conn();
        let (transport, milliseconds) = (conn.transport.name(), conn.round_trip.map(|time| time.as_millis()));
        let (received, sent) = (conn.received_bytes, conn.sent_bytes);
        json!({ "transport": transport, "roundTrip": milliseconds, "received": received, "sent": sent })
    });
    socket.on_upgrade(async |socket: Socket| println!("upgraded {} {}", socket.id(), socket.transport()));
}

/// Questions to the client: it answers with an event, and its answer is the acknowledgement of `ask`.
fn ask(socket: &Socket) {
    socket.on("ask", async |socket: Socket, args: Args| {
        match socket.emit_with_ack::<Args>("question", args).await {
            Ok(answer) => socket.emit("answer", answer),
            Err(error) => socket.emit("no answer", error.to_string()),
        }
    });
    socket.on("ask for bytes", async |socket: Socket| {
        socket.emit_with_ack::<(Bytes, String)>("question", "bytes?").await.map(|(bytes, name)| (name, bytes))
    });
    socket.on("ask briefly", async |socket: Socket| {
        match socket.timeout(Duration::from_millis(50)).emit_with_ack::<Value>("question", ()).await {
            Ok(answer) => socket.emit("answer", answer),
            Err(error) => socket.emit("no answer", error.to_string()),
        }
    });
    socket.on("ask for a goodbye", async |socket: Socket| {
        if let Err(error) = socket.emit_with_ack::<Value>("question", ()).await {
            println!("no answer from {}: {error}", socket.id());
        }
    });
}

fn rooms(socket: &Socket) {
    socket.on("join", async |socket: Socket, Data(room): Data<String>| socket.join(room));
    socket.on("leave", async |socket: Socket, Data(room): Data<String>| socket.leave(room));
    socket.on("rooms", async |socket: Socket| socket.rooms());
}

/// Messages to others; the acknowledgement says to how many.
fn broadcast(socket: &Socket) {
    socket.on("tell all", async |io: Server, Data(text): Data<Value>| io.emit("told", text).sent);
    socket.on("tell others", async |socket: Socket, Data(text): Data<Value>| {
        socket.broadcast().emit("told", text).sent
    });
    // The sender is not among those that `Socket::to` reaches, even if it is in the room.
    socket.on(
        "tell others in rooms",
        async |socket: Socket, Data((rooms, text)): Data<(Vec<String>, Value)>| {
            rooms.iter().fold(socket.broadcast(), |others, room| others.to(room)).emit("told", text).sent
        },
    );
    socket.on("tell everybody in room", async |socket: Socket, Data((room, text)): Data<(String, Value)>| {
        socket.within(room).emit("told", text).sent
    });
    socket.on("tell others but room", async |socket: Socket, Data((room, text)): Data<(String, Value)>| {
        socket.except(room).emit("told", text).sent
    });
    socket.on("tell all but room", async |io: Server, Data((room, text)): Data<(String, Value)>| {
        io.except(room).emit("told", text).sent
    });
    socket.on("tell room bytes", async |io: Server, Data((room, size)): Data<(String, usize)>| {
        io.to(room).emit("told", json!(size)).sent + io.emit("bytes", (Bytes::from(vec![1; size]), size)).sent
    });
    socket.on("ask all", async |io: Server, Data((question, millis)): Data<(Value, u64)>| {
        let answers = io.timeout(Duration::from_millis(millis)).emit_with_ack::<Value>("question", question);
        let answers = answers.await;
        let told = answers.answers.into_iter().map(|it| json!({ "id": it.socket, "answer": it.value.ok() }));
        let missing = answers.missing.into_iter();
        let missing = missing.map(|it| json!({ "id": it.socket, "error": it.reason.to_string() }));
        Value::from_iter(told.chain(missing))
    });
    socket.on("volatile", async |socket: Socket, Data(number): Data<usize>| {
        let message = "x".repeat(10_000);
        (0..number).filter(|_| socket.volatile().emit("volatile", &message).is_ok()).count()
    });
}

/// The server ends it.
fn leave(socket: &Socket) {
    socket.on("kick me", async |socket: Socket| {
        let _ = socket.emit("last words", "goodbye");
        socket.disconnect(false);
    });
    socket.on("hang up", async |socket: Socket| {
        let _ = socket.emit("last words", "goodbye");
        socket.disconnect(true);
    });
    socket.on("kick", async |io: Server, Data(room): Data<String>| io.within(room).disconnect_sockets(true));
}

/// Counts while the client moves to another transport, and a while longer.
async fn count(socket: Socket, Auth(auth): Auth<Count>) {
    let to_myself = socket.namespace().to(socket.id());
    let mut left = auth.after;
    let mut number = 0_u32;
    while left > 0 && socket.is_connected() {
        let transport = socket.transport();
        // In each way in which a message can come into the queue.
        let _ = match number % 3 {
            0 => socket.emit("number", (number, transport.name())),
            1 => socket.emit("number", (number, transport.name(), Bytes::from(number.to_string()))),
            _ => to_myself.clone().emit("number", (number, transport.name())).error.map_or(Ok(()), Err),
        };
        number += 1;
        if transport == Transport::WebSocket || !auth.upgrades {
            left -= 1;
        }
        if number.is_multiple_of(10) {
            sleep(Duration::from_millis(1)).await;
        }
    }
    let _ = socket.emit("total", number);
}

#[derive(Deserialize)]
struct Count {
    /// How many more after the upgrade.
    after: u32,
    upgrades: bool,
}

/// Lets in who knows the password, after a look into what would be a database.
async fn only_members(socket: Socket, Auth(auth): Auth<Value>) -> Result<(), ConnectError> {
    sleep(Duration::from_millis(5)).await;
    if auth["password"] != "open sesame" {
        return Err(ConnectError::new("not a member").data(json!({ "code": 401, "got": auth })));
    }
    socket.set_data(auth["name"].as_str().unwrap_or("nobody").to_owned());
    socket.join("let in");
    Ok(())
}

async fn welcome(socket: Socket) {
    let name = socket.data::<String>();
    let _ = socket.emit("welcome", (name.as_deref(), socket.rooms()));
    socket.on("return", async |args: Args| args);
}

/// What a test can set, as `--ping-interval 300`; times are in milliseconds.
#[derive(Default)]
struct Options {
    port: u16,
    ping_interval: Option<Duration>,
    ping_timeout: Option<Duration>,
    connect_timeout: Option<Duration>,
    max_payload: Option<usize>,
    /// Clients may send so many messages at once, and one per second.
    burst: Option<u64>,
    /// Compresses messages from so many bytes on.
    deflate: Option<u32>,
    /// Compresses responses from so many bytes on.
    http_compression: Option<u32>,
    /// Pages may poll by scripts and forms.
    jsonp: bool,
    /// Clients of Socket.IO 2 are served, too.
    eio3: bool,
    /// Clients whose connection was lost are recovered.
    recovery: bool,
    /// Pages of this origin may use the server.
    origin: Option<String>,
    /// The name of a cookie with the session's id.
    cookie: Option<String>,
    /// Only requests with this as their query's `token` are let in.
    token: Option<String>,
    /// The folder of the client's script.
    client: Option<String>,
    /// `msgpack`: the packets are MessagePack.
    msgpack: bool,
    /// `axum`: the server is mounted there.
    mounted: bool,
    /// Pages of this origin may use the application that the server is mounted in.
    app_origin: Option<String>,
    /// Serves by TLS; the certificate is written to this file.
    certificate: Option<PathBuf>,
}

impl Options {
    fn read() -> Result<Options, lexopt::Error> {
        let mut options = Options::default();
        let mut parser = lexopt::Parser::from_env();
        while let Some(arg) = parser.next()? {
            let Long(name) = arg else { return Err(arg.unexpected()) };
            let name = name.to_owned();
            let value = parser.value()?;
            let millis = || value.parse().map(Duration::from_millis).map(Some);
            match name.as_str() {
                "port" => options.port = value.parse()?,
                "ping-interval" => options.ping_interval = millis()?,
                "ping-timeout" => options.ping_timeout = millis()?,
                "connect-timeout" => options.connect_timeout = millis()?,
                "max-payload" => options.max_payload = Some(value.parse()?),
                "burst" => options.burst = Some(value.parse()?),
                "deflate" => options.deflate = Some(value.parse()?),
                "http-compression" => options.http_compression = Some(value.parse()?),
                "jsonp" => options.jsonp = value.string()? == "on",
                "eio3" => options.eio3 = value.string()? == "on",
                "recovery" => options.recovery = value.string()? == "on",
                "origin" => options.origin = Some(value.string()?),
                "cookie" => options.cookie = Some(value.string()?),
                "token" => options.token = Some(value.string()?),
                "certificate" => options.certificate = Some(value.into()),
                "mounted" => options.mounted = value.string()? == "axum",
                "app-origin" => options.app_origin = Some(value.string()?),
                "client" => options.client = Some(value.string()?),
                "parser" => options.msgpack = value.string()? == "msgpack",
                _ => return Err(Long(&name).unexpected()),
            }
        }
        Ok(options)
    }

    fn server(self) -> Result<Server, Box<dyn Error>> {
        let mut builder =
            Server::builder().jsonp(self.jsonp).allow_eio3(self.eio3).on_handler_error(|failed| {
                if failed.event() == "number" {
                    failed.ack(json!({ "failed": failed.failure().to_string() }));
                }
            });
        if let Some(interval) = self.ping_interval {
            builder = builder.ping_interval(interval);
        }
        if let Some(timeout) = self.ping_timeout {
            builder = builder.ping_timeout(timeout);
        }
        if let Some(timeout) = self.connect_timeout {
            builder = builder.connect_timeout(timeout);
        }
        if let Some(bytes) = self.max_payload {
            builder = builder.max_payload(bytes);
        }
        if let Some(burst) = self.burst {
            builder = builder.max_message_rate(RateLimit::per_second(1).burst(burst));
        }
        if let Some(threshold) = self.deflate {
            builder = builder.per_message_deflate(PerMessageDeflate::new().threshold(threshold));
        }
        if let Some(threshold) = self.http_compression {
            builder = builder.http_compression(HttpCompression::new().threshold(threshold));
        }
        if self.recovery {
            builder = builder.connection_state_recovery(Recovery::new());
        }
        if let Some(origin) = self.origin {
            builder = builder.cors(Cors::origins([origin])?.credentials(true));
        }
        if let Some(name) = self.cookie {
            builder = builder.cookie(Cookie::new(name)?);
        }
        if let Some(token) = self.token {
            builder = builder.allow_request(move |handshake| {
                let known = handshake.query_param("token").is_some_and(|given| given == token);
                async move {
                    // As if somebody had to be asked.
                    sleep(Duration::from_millis(5)).await;
                    if known { Ok(()) } else { Err("a token, please".to_owned()) }
                }
            });
        }
        if self.msgpack {
            builder = builder.parser(Parser::MessagePack);
        }
        if let Some(folder) = self.client {
            builder = builder.serve_client(folder)?;
        }
        Ok(builder.build())
    }
}
