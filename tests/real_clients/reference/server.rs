//! The server for the tests that follow those of the reference: a namespace for each situation.
//!
//! It prints `listening on <port>`, then `disconnected <namespace> <id> <reason>` for each socket that has gone. A line
//! on its standard input closes it gracefully. With `--cleanup true`, it removes empty dynamic namespaces; with
//! `--hooks true`, it has every hook into HTTP requests.

mod dynamic;
mod hooks;
mod recovery;

use bytes::Bytes;
use lexopt::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};
use sockeye::extract::{Auth, Data, Event};
use sockeye::{Args, Broadcast, ConnectError, DisconnectReason, PacketError, Server, Socket};
use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

// With one thread, as in the reference, no poll arrives between two emits of a handler.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = options()?;
    let listener = TcpListener::bind(("127.0.0.1", options.port)).await?;
    println!("listening on {}", listener.local_addr()?.port());

    let builder = if options.hooks { hooks::hooked() } else { Server::builder() };
    let builder = match &*options.recovery {
        "" => builder,
        how => recovery::recovering(builder, how == "ask"),
    };
    let io = builder.cleanup_empty_child_namespaces(options.cleanup).build();
    let log = Log::default();
    in_order(&io, &log);
    refused(&io, &log);
    counted(&io);
    slow(&io);
    greeting(&io);
    ended(&io);
    dynamic::shared(&io);
    packets(&io);
    io.of("/any").on_connect(catch_all);
    for name in ["/", "/chat", "/news"] {
        io.of(name).on_connect(connected);
    }
    recovery::recovered(&io);
    dynamic::dynamic(&io);

    let closing = io.clone();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_line(&mut String::new());
        closing.begin_close();
    });
    sockeye::runtime::tokio::serve(io, listener).await?;
    Ok(())
}

#[derive(Default)]
struct Options {
    port: u16,
    cleanup: bool,
    hooks: bool,
    /// Connections are recovered: `skip` or `ask` the middleware.
    recovery: String,
}

fn options() -> Result<Options, lexopt::Error> {
    let mut parser = lexopt::Parser::from_env();
    let mut options = Options::default();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("port") => options.port = parser.value()?.parse()?,
            Long("cleanup") => options.cleanup = parser.value()?.parse()?,
            Long("recovery") => options.recovery = parser.value()?.parse()?,
            Long("hooks") => options.hooks = parser.value()?.parse()?,
            _ => return Err(arg.unexpected()),
        }
    }
    Ok(options)
}

/// The names of what was called, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn note(&self, name: impl Into<String>) {
        self.0.lock().expect("no holder panics").push(name.into());
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().expect("no holder panics").clone()
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().expect("no holder panics"))
    }
}

/// Three middlewares that note their turn, and one of another namespace that must not have one.
fn in_order(io: &Server, log: &Log) {
    let noting = |name: &'static str| {
        let log = log.clone();
        move |socket: Socket| {
            let log = log.clone();
            async move {
                tokio::task::yield_now().await;
                log.note(format!("{name} of {}", socket.namespace().name()));
                Ok::<_, ConnectError>(())
            }
        }
    };
    io.middleware(noting("middleware"));
    for name in ["first", "second", "third"] {
        io.of("/order").middleware(noting(name));
    }
    for name in ["connected", "connected again"] {
        let log = log.clone();
        io.of("/order").on_connect(move |socket: Socket| {
            log.note(name);
            let _ = socket.emit(name, log.all());
            async {}
        });
    }
}

/// A middleware that refuses after it joined a room, and one after it that must not be asked.
fn refused(io: &Server, log: &Log) {
    let namespace = io.of("/refused");
    namespace.middleware(async |socket: Socket| {
        socket.join("room");
        Err::<(), _>(ConnectError::new("Authentication error").data(json!({ "a": "b", "c": 3 })))
    });
    let noting = log.clone();
    namespace.middleware(move |_: Socket| {
        noting.note("asked after the refusal");
        async { Ok::<_, ConnectError>(()) }
    });
    let log = log.clone();
    io.on_connect(move |socket: Socket| {
        let log = log.clone();
        socket.on("log", move || {
            let log = log.all();
            async move { log }
        });
        async {}
    });
}

/// A socket's state in the middleware, and once it is connected.
fn counted(io: &Server) {
    #[derive(Clone, Copy)]
    struct Before(bool, usize);

    io.of("/counted").middleware(async |socket: Socket| {
        socket.set_data(Before(socket.is_connected(), socket.namespace().sockets_count()));
        Ok::<_, ConnectError>(())
    });
    io.of("/counted").on_connect(async |socket: Socket| {
        let before = socket.data::<Before>().map(|before| (before.0, before.1));
        let after = (socket.is_connected(), socket.namespace().sockets_count());
        let _ = socket.emit("counted", (before, after));
    });
}

/// A middleware that waits until the main namespace's event `release`, whose acknowledgement says how many clients have
/// been let in.
fn slow(io: &Server) {
    let (gate, connected) = (Arc::new(Semaphore::new(0)), Arc::<AtomicUsize>::default());
    let waiting = gate.clone();
    io.of("/slow").middleware(move |_: Socket| {
        let waiting = waiting.clone();
        println!("a middleware waits");
        async move { waiting.acquire().await.map(|permit| permit.forget()).map_err(|_| "closed".into()) }
    });
    let count = connected.clone();
    io.of("/slow").on_connect(move || {
        count.fetch_add(1, Ordering::Relaxed);
        async {}
    });
    io.on("release", move || {
        gate.add_permits(1);
        let connected = connected.clone();
        async move {
            tokio::task::yield_now().await;
            connected.load(Ordering::Relaxed)
        }
    });
}

/// Events of all kinds for a client that has just connected.
fn greeting(io: &Server) {
    io.of("/greeting").on_connect(async |socket: Socket| {
        let bytes = Bytes::from_static(&[1, 2, 3]);
        let _ = socket.emit("woot", "tobi");
        for _ in 0..3 {
            let _ = socket.emit("hoot", "utf8 — string");
        }
        let _ = socket.emit("bytes", bytes.clone());
        let _ = socket.emit("mixed", (1, "2", [3], json!({ "deep": [null] }), bytes));
        let _ = socket.send("a");
    });
}

/// Sockets that the server disconnects at once.
fn ended(io: &Server) {
    io.of("/ended").on_connect(async |socket: Socket| {
        socket.disconnect(false);
        socket.join("room");
        let _ = socket.emit("too late", ());
    });
    io.of("/bar").on_connect(async |socket: Socket| socket.disconnect(true));
}

/// Packet middleware of the namespace and of its sockets. The calls so far are the acknowledgement of `calls`.
fn packets(io: &Server) {
    let namespace = io.of("/packets");
    namespace.use_packet(async |socket: Socket, Event(event): Event| {
        tokio::task::yield_now().await;
        note(&socket, format!("namespace {event}"));
        Ok(())
    });
    namespace.on_connect(async |socket: Socket| {
        socket.set_data(Log::default());
        socket.use_packet(async |socket: Socket, args: Args| {
            note(&socket, format!("first with {} arguments", args.len()));
            Ok(())
        });
        socket.use_packet(async |socket: Socket, Event(event): Event| match &*event {
            "join" => Err(PacketError::new("Authentication error").data(json!({ "a": "b", "c": 3 }))),
            _ => {
                note(&socket, "second");
                Ok(())
            }
        });
        socket.on_error(async |socket: Socket, Event(event): Event, error: PacketError| {
            note(&socket, format!("error of {event}: {error}"));
        });
    });
    namespace.on("join", async |socket: Socket| note(&socket, "must not be called"));
    namespace.on("wrap", async |args: Args| args);
    namespace.on("calls", async |socket: Socket| socket.data::<Log>().map(|log| log.all()));
}

fn note(socket: &Socket, call: impl Into<String>) {
    if let Some(log) = socket.data::<Log>() {
        log.note(call);
    }
}

/// Catch-all handlers in both directions; the handlers' calls are the acknowledgement of `calls`.
async fn catch_all(socket: Socket) {
    let log = Log::default();
    let noting = |name: &'static str| {
        let log = log.clone();
        move |Event(event): Event, args: Args| {
            let what = match (args.deserialize::<(String,)>(), args.deserialize::<(Bytes,)>()) {
                (Ok((text,)), _) => text,
                (_, Ok((bytes,))) => format!("{} bytes", bytes.len()),
                _ => "nothing".to_owned(),
            };
            log.note(format!("{name} {event} {what}"));
            async {}
        }
    };
    socket.on_any(noting("any"));
    socket.prepend_any(noting("second"));
    socket.prepend_any(noting("first"));
    socket.on_any_outgoing(noting("outgoing"));
    socket.prepend_any_outgoing(noting("second outgoing"));
    socket.prepend_any_outgoing(noting("first outgoing"));
    let calls = log.clone();
    socket.on("calls", move || {
        let calls = calls.take();
        async move { calls }
    });
    socket.on("event", async |_: Args| ());
    socket.on("emit", async |socket: Socket| socket.emit("told", "one"));
    socket.on("broadcast", async |socket: Socket| socket.namespace().emit("told", "all").sent);
    socket.on("broadcast bytes", async |socket: Socket| {
        socket.namespace().emit("told", Bytes::from_static(&[1])).sent
    });
    socket.on("off", async |socket: Socket| {
        socket.off_any();
        socket.off_any_outgoing();
    });
}

async fn tell_disconnect(socket: Socket, reason: DisconnectReason) {
    println!("disconnected {} {} {reason}", socket.namespace().name(), socket.id());
}

/// Registers the events that a client of `/`, `/chat` and `/news` can send.
async fn connected(socket: Socket) {
    socket.on_disconnect(tell_disconnect);
    socket.on("return", async |args: Args| args);
    socket.on("message", async |args: Args| args);
    socket
        .on("query", async |socket: Socket, Data(name): Data<String>| socket.handshake().query_param(&name));
    socket.on("auth", async |Auth(auth): Auth<Value>| auth);
    socket.on("names", async |io: Server, Data(names): Data<Vec<String>>| {
        Vec::from_iter(names.iter().map(|name| io.of(name).name().to_owned()))
    });
    socket.on("members", async |io: Server, Data((namespace, room)): Data<(String, Option<String>)>| {
        let namespace = io.of(&namespace);
        let found = match room {
            Some(room) => namespace.within(room).fetch_sockets().await,
            None => namespace.fetch_sockets().await,
        };
        Vec::from_iter(found.sockets.iter().map(|socket| socket.id().to_string()))
    });
    rooms(&socket);
    socket.on("broadcast", async |io: Server, socket: Socket, Data(how): Data<How>| how.emit(&io, &socket));
    socket.on("operator", async |io: Server| {
        let a = io.to("a").except("b");
        let wider = a.clone().to("c").except("d").volatile();
        (a.sockets().len(), wider.sockets().len(), a.emit("told", "a").sent)
    });
    socket.on_upgrade(async |socket: Socket| println!("upgraded {} {}", socket.id(), socket.transport()));
    socket.on("conn", async |socket: Socket| {
        let conn = socket.conn();
        (conn.transport.to_string(), conn.received_bytes, conn.sent_bytes)
    });
    socket.on("ask nobody", async |io: Server| {
        let answers = io.to("nobody").emit_with_ack::<Value>("question", ()).await;
        (answers.is_complete(), answers.answers.len())
    });
    socket.on("emit reserved", async |socket: Socket, Data(name): Data<String>| {
        (socket.emit(&name, ()).is_err(), socket.namespace().emit(&name, ()).error.is_some())
    });
    socket.on("volatile", async |socket: Socket, Data(way): Data<String>| volatile(&socket, &way));
    socket.on("volatile after regular", async |socket: Socket| {
        let _ = socket.emit("volatile", "first");
        let dropped = socket.volatile().emit("volatile", "dropped").is_err();
        let dropped_of_broadcast = socket.namespace().volatile().emit("volatile", "dropped").sent == 0;
        let _ = socket.emit("volatile", "last");
        (dropped, dropped_of_broadcast)
    });
}

/// One's own rooms, and those of all sockets in the namespace or in one of its rooms.
fn rooms(socket: &Socket) {
    socket.on("join", async |socket: Socket, Data(rooms): Data<Vec<String>>| {
        socket.join(rooms);
        socket.rooms()
    });
    socket.on("leave", async |socket: Socket, Data(room): Data<String>| {
        socket.leave(room);
        socket.rooms()
    });
    socket.on("rooms", async |socket: Socket| socket.rooms());
    socket.on("all join", async |io: Server, Data((of, room)): Data<(Option<String>, String)>| {
        all(&io, of).sockets_join(room);
    });
    socket.on("all leave", async |io: Server, Data((of, room)): Data<(Option<String>, String)>| {
        all(&io, of).sockets_leave(room);
    });
    socket.on("all disconnect", async |io: Server, Data((of, close)): Data<(Option<String>, bool)>| {
        all(&io, of).disconnect_sockets(close);
    });
}

/// The sockets of the main namespace, or those in one of its rooms.
fn all(io: &Server, room: Option<String>) -> Broadcast {
    room.map_or_else(|| io.local(), |room| io.within(room))
}

/// A broadcast as a test describes it.
#[derive(Deserialize)]
struct How {
    from: From,
    #[serde(default)]
    to: Vec<String>,
    #[serde(default)]
    except: Vec<String>,
    #[serde(default)]
    bytes: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum From {
    Server,
    Namespace,
    Socket,
}

impl How {
    /// Emits `told`, and returns the number of sockets that it was sent to.
    fn emit(self, io: &Server, socket: &Socket) -> usize {
        let from = match self.from {
            From::Server => io.local(),
            From::Namespace => socket.namespace().local(),
            From::Socket => socket.broadcast(),
        };
        let to = self.to.iter().fold(from, |broadcast, room| broadcast.to(room));
        let broadcast = self.except.iter().fold(to, |broadcast, room| broadcast.except(room));
        if self.bytes {
            broadcast.emit("told", Bytes::from_static(&[1, 2, 3])).sent
        } else {
            broadcast.emit("told", "text").sent
        }
    }
}

/// Emits twice without a pause, and returns for each of the two if it was sent.
fn volatile(socket: &Socket, way: &str) -> [bool; 2] {
    [1_u8, 2].map(|number| {
        let bytes = Bytes::from(vec![number]);
        match way {
            "text" => socket.volatile().emit("volatile", number).is_ok(),
            "bytes" => socket.volatile().emit("volatile", bytes).is_ok(),
            _ => socket.namespace().volatile().emit("volatile", bytes).sent > 0,
        }
    })
}
