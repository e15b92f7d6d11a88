//! A whole client against a server that sends anything: the client's output can be decoded, and it neither spins nor
//! grows without limit.

use super::Choices;
use super::machine::{self, Machine, Task};
use sockeye::client::Offline;
use sockeye::host::{Connector, Destination, Outgoing, Runtime};
use sockeye::{Args, Client, ClientSocket, Time};
use sockeye_core::engineio::{Packet, split_payload};
use sockeye_core::http::{self, parse_head};
use sockeye_core::websocket::{Decoder, Role, accept_key};
#[cfg(feature = "deflate")]
use sockeye_core::websocket::{Deflate, PerMessageDeflate};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::Poll;
use std::time::Duration;

/// The largest message that the client accepts, in bytes.
const MESSAGE: usize = 3000;
/// The size of the client's send buffer and of its offline buffer, in bytes.
const WAITING: usize = 5000;
/// The number of turns without time passing beyond which the client is spinning.
const TURNS: usize = 1000;

type Connection = machine::Connection<Box<dyn Outgoing>, Reader>;

/// The clock, the tasks, and the streams that the client has asked for.
#[derive(Default)]
struct Host {
    machine: Machine,
    wanted: Mutex<Vec<Box<dyn Outgoing>>>,
    refuses: AtomicBool,
}

/// The client's reference to the host. It is weak, because the tasks of the host keep the client alive.
struct Net(Weak<Host>);

impl Runtime for Net {
    fn now(&self) -> Time {
        self.0.upgrade().map_or(Time::ZERO, |host| host.machine.now())
    }

    fn spawn(&self, future: Task) {
        if let Some(host) = self.0.upgrade() {
            host.machine.spawn(future);
        }
    }
}

impl Connector for Net {
    fn connect(self: Arc<Self>, _to: Destination, protocol: Box<dyn Outgoing>) {
        if let Some(host) = self.0.upgrade() {
            host.wanted.lock().unwrap().push(protocol);
        }
    }

    fn sleep_until(&self, deadline: Time) -> Task {
        assert!(deadline > self.now(), "the deadline was not moved");
        let host = self.0.clone();
        Box::pin(std::future::poll_fn(move |_| match host.upgrade() {
            Some(host) if host.machine.now() < deadline => Poll::Pending,
            _ => Poll::Ready(()),
        }))
    }
}

/// The server's end of a stream, which checks everything that the client writes.
struct Reader {
    /// The length of the current body, and the bytes of it that have arrived.
    body: Option<(usize, Vec<u8>)>,
    frames: Decoder,
    /// The key of the last handshake.
    key: Option<String>,
}

struct World {
    host: Arc<Host>,
    client: Client,
    sockets: [ClientSocket; 2],
    connections: Vec<Connection>,
    /// Set if the server agrees to compress.
    deflates: bool,
}

/// Runs a client on an input that chooses what the server sends on which stream, what the application does, and how
/// time passes.
pub fn client(data: &[u8]) {
    let mut choices = Choices(data);
    let mut world = World::new(choices.byte());
    while !choices.is_empty() {
        world.step(&mut choices);
        world.run();
    }
    world.end();
}

impl World {
    fn new(choice: u8) -> World {
        use sockeye::Transport::{Polling, WebSocket};
        let transports = match choice & 3 {
            0 => vec![WebSocket],
            1 => vec![Polling],
            _ => vec![Polling, WebSocket],
        };
        let client = Client::builder("http://here")
            .transports(transports)
            .try_all_transports(choice & 4 != 0)
            .retries(u32::from(choice >> 3) % 3)
            .stateful_reconnect(choice & 0x80 != 0)
            .max_message(MESSAGE)
            .send_buffer(WAITING)
            .offline(Offline::Buffer { bytes: WAITING, age: Some(Duration::from_secs(100)) })
            .build()
            .unwrap();
        let sockets = ["/", "/b"].map(|name| client.socket(name));
        for socket in &sockets {
            socket.on("echo", async |socket: ClientSocket, args: Args| drop(socket.emit("echo", args)));
            socket.on("ask", async |args: Args| args);
            socket.on("never", async || std::future::pending::<()>().await);
            let ends = AtomicBool::new(true);
            let ends = Arc::new(ends);
            let ended = ends.clone();
            socket.on_connect(move || {
                assert!(ends.swap(false, Ordering::Relaxed), "connected twice");
                async {}
            });
            socket.on_disconnect(move || {
                assert!(!ended.swap(true, Ordering::Relaxed), "disconnected twice");
                async {}
            });
            socket.connect();
        }
        let host = Arc::new(Host::default());
        client.attach(Arc::new(Net(Arc::downgrade(&host))));
        let mut world =
            World { host, client, sockets, connections: Vec::new(), deflates: choice & 0x80 != 0 };
        world.run();
        world
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        let choice = choices.byte();
        let (which, socket) = (usize::from(choice & 7), &self.sockets[usize::from(choice & 1)]);
        match choice >> 3 {
            0..=9 => {
                let length = choices.short().into();
                self.say(which, choices.bytes(length));
            }
            10..=12 => self.answer(which, choices),
            13 => self.accept(which),
            14..=16 => {
                let body = choices.bytes(which * 16);
                let is_compressed = self.deflates && which % 2 == 1;
                self.with(which, |_| {
                    let mut frame = Vec::new();
                    let opcode = match choice & 0x40 {
                        0 => sockeye_core::websocket::Opcode::Text,
                        _ => sockeye_core::websocket::Opcode::Binary,
                    };
                    sockeye_core::websocket::write_frame(&mut frame, opcode, body, None);
                    frame[0] |= if is_compressed { 0x40 } else { 0 };
                    frame
                });
            }
            17 => self.with(which, |connection| {
                connection.stream.ended = true;
                Vec::new()
            }),
            18 if which < self.connections.len() => drop(self.connections.remove(which)),
            19 => self.with(which, |connection| {
                connection.stream.full ^= true;
                Vec::new()
            }),
            20 => drop(socket.emit("news", "x".repeat(which * 100))),
            21 => drop(socket.emit_with_ack::<Args>("ask", (1, bytes::Bytes::from_static(b"b")))),
            22 => drop(socket.volatile().emit("news", ())),
            23 => socket.connect(),
            24 => socket.disconnect(),
            25 if which == 0 => self.client.close(),
            25 => socket.clear_buffer(),
            26 => drop(self.host.refuses.fetch_xor(true, Ordering::Relaxed)),
            _ => self.pass(u64::from(choices.short()) << (which * 2)),
        }
    }

    fn with(&mut self, which: usize, f: impl FnOnce(&mut Connection) -> Vec<u8>) {
        if let Some(connection) = self.connections.get_mut(which) {
            let bytes = f(connection);
            if !connection.stream.ended {
                connection.stream.input.extend(bytes);
            }
        }
    }

    fn say(&mut self, which: usize, bytes: &[u8]) {
        self.with(which, |_| bytes.to_vec());
    }

    /// Accepts a WebSocket handshake.
    fn accept(&mut self, which: usize) {
        let deflates = self.deflates;
        self.with(which, |connection| {
            let key = connection.reader.key.take().unwrap_or_default();
            let accept = String::from_utf8_lossy(&accept_key(&key)).into_owned();
            let mut head =
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade".to_owned();
            if deflates {
                head += "\r\nSec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover";
            }
            #[cfg(feature = "deflate")]
            if deflates {
                let offer = [&b"permessage-deflate"[..]].into_iter();
                let agreed = Deflate::agree(&PerMessageDeflate::new(), offer);
                connection.reader.frames.set_deflate(agreed.expect("it is one").0);
            }
            format!("{head}\r\nSec-WebSocket-Accept: {accept}\r\n\r\n").into_bytes()
        });
    }

    /// Sends a valid response, with packets that the client may expect or with any others.
    fn answer(&mut self, which: usize, choices: &mut Choices<'_>) {
        let length = choices.byte();
        let received = usize::from(length.saturating_sub(110));
        let resumable = format!(
            r#"0{{"sid":"a","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"resume":{{"received":{received},"window":30000,"maxBytes":1000}}}}"#
        );
        let body = match length {
            0..=39 => {
                r#"0{"sid":"a","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000}"#.as_bytes()
            }
            40..=79 => "40{\"sid\":\"s\"}\u{1e}40/b,{\"sid\":\"t\"}".as_bytes(),
            80..=99 => b"2",
            100..=109 => b"ok",
            110..=119 => resumable.as_bytes(),
            120..=124 => b"61",
            _ => choices.bytes(length.into()),
        };
        let mut response = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
        response.extend_from_slice(body);
        self.say(which, &response);
    }

    fn pass(&self, ms: u64) {
        self.host.machine.pass(ms);
    }

    /// Runs turns until nothing changes.
    fn run(&mut self) {
        let settles = (0..TURNS).any(|_| !self.turn());
        assert!(settles, "the client spins");
        assert!(self.connections.len() <= 16, "{} streams", self.connections.len());
        assert!(self.sockets.iter().all(|socket| socket.buffered() <= WAITING));
    }

    /// Runs a turn, and returns true if anything happened.
    fn turn(&mut self) -> bool {
        let now = self.host.machine.now();
        let mut changed = self.host.machine.poll_tasks();
        let wanted = std::mem::take(&mut *self.host.wanted.lock().unwrap());
        for mut protocol in wanted {
            changed = true;
            if self.host.refuses.load(Ordering::Relaxed) {
                protocol.handle_failed(now, &io::ErrorKind::ConnectionRefused.into());
            } else {
                self.connections.push(Connection::new(protocol, Reader::new()));
            }
        }
        for connection in &mut self.connections {
            changed |= connection.turn(now);
            connection.reader.read(&mut connection.stream.output);
            let kept = connection.partial.len();
            assert!(kept <= MESSAGE + http::MAX_HEAD, "{kept} bytes are kept");
        }
        self.connections.retain(|connection| !connection.done);
        changed
    }

    /// Closes the client while the server is silent, and checks that everything is freed.
    fn end(mut self) {
        self.client.close();
        self.sockets.iter().for_each(ClientSocket::clear_buffer);
        for _ in 0..5 {
            self.run();
            self.pass(100_000);
        }
        self.run();
        assert!(self.connections.is_empty(), "a stream is still open");
        let sockets = self.sockets.clone();
        assert!(sockets.iter().all(|socket| !socket.is_active() && socket.buffered() == 0));
        drop(self.client);
        let is_gone = sockets.iter().all(|socket| socket.emit("gone", ()).is_err());
        assert!(is_gone, "something keeps the client");
    }
}

impl Reader {
    fn new() -> Reader {
        Reader { body: None, frames: Decoder::new(Role::Server, 1 << 20), key: None }
    }

    /// Checks the output of the client.
    fn read(&mut self, output: &mut Vec<u8>) {
        loop {
            if let Some((length, body)) = &mut self.body {
                let rest = *length - body.len();
                body.extend(output.drain(..rest.min(output.len())));
                if body.len() < *length {
                    return;
                }
                let body = std::str::from_utf8(body).expect("payloads are text");
                assert!(split_payload(body).all(|packet| Packet::decode(packet).is_ok()), "{body:?}");
                self.body = None;
            }
            match output.first() {
                None => return,
                Some(0x80..) => {
                    let mut rest = output.as_mut_slice();
                    while self.frames.decode(&mut rest).expect("the client's frames are valid").is_some() {}
                    let left = rest.len();
                    return drop(output.drain(..output.len() - left));
                }
                Some(_) => {
                    let mut slots = http::header_slots();
                    let Some(head) = parse_head(output, &mut slots, http::MAX_HEAD).expect("a request")
                    else {
                        return;
                    };
                    let header = |name: &str| head.request.header_str(name).map(str::to_owned);
                    let key = header("sec-websocket-key");
                    let length = header("content-length").and_then(|length| length.parse().ok());
                    let len = head.len;
                    self.key = key.or(self.key.take());
                    self.body = length.map(|length| (length, Vec::new()));
                    output.drain(..len);
                }
            }
        }
    }
}
