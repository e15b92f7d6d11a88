//! A whole server on raw bytes: its output can be decoded, and it frees everything once its clients are silent.

use super::Choices;
use super::machine::{self, Machine};
use bytes::Bytes;
use sockeye::host::{Host, Peer, Runtime};
use sockeye::{AckError, Args, Server, Socket, StatefulReconnect, Time};
use sockeye_core::engineio::{Message, Packet, split_payload};
use sockeye_core::socketio::{self, Limits, Reassembly};
use sockeye_core::websocket::{self, Decoder, Role};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

type Connection = machine::Connection<<Server as Host>::Connection, Reader>;

struct World {
    machine: Arc<Machine>,
    server: Server,
    connections: [Connection; 4],
    /// The id of the latest session, which replaces `@@@@@@@@@@@@@@@@@@@@` in an input.
    sid: Option<String>,
    form: Form,
}

/// What an input needs of the server, and of the reader of its output.
#[derive(Clone, Copy)]
struct Form {
    /// There may be responses to HEAD, which announce a body without one: the output is not checked.
    lenient: bool,
    resumable: bool,
    /// Version 3 and polling by scripts are served. Their packets are not checked, only the HTTP and the frames.
    old: bool,
}

/// The placeholder for the id of the latest session.
const SID: &[u8] = b"@@@@@@@@@@@@@@@@@@@@";

/// Runs a server on an input that feeds, cuts and renews streams, lets the server emit, and lets time pass.
pub fn server(data: &[u8]) {
    let mut choices = Choices(data);
    let contains = |text: &[u8]| data.windows(text.len()).any(|word| word == text);
    let (mut world, ends) = World::new(Form {
        lenient: contains(b"HEAD "),
        resumable: contains(b"resume="),
        old: contains(b"EIO=3") || contains(b"&j="),
    });
    while !choices.is_empty() {
        let choice = choices.byte();
        let stream = usize::from(choice & 3);
        match choice >> 2 {
            0..=39 => {
                let length = choices.short().into();
                let bytes = choices.bytes(length);
                world.feed(stream, bytes);
            }
            40..=43 => world.connections[stream].stream.ended = true,
            44..=49 => world.renew(stream),
            50..=52 => {
                let text = String::from_utf8_lossy(choices.bytes(stream * 8)).into_owned();
                drop(world.server.emit("news", (text, Bytes::from(vec![1; stream]))));
            }
            53 => drop(world.server.to("room").volatile().emit("volatile", stream)),
            54 => world.server.sockets().iter().take(1).for_each(|socket| socket.disconnect(stream < 2)),
            55 => world.server.begin_close(),
            _ => world.pass(choices.short().into()),
        }
        world.run();
    }
    let sockets = world.server.sockets();
    let (connected, closed) = &*ends;
    assert_eq!(connected.load(Ordering::Relaxed) - closed.load(Ordering::Relaxed), sockets.len());
    world.fall_silent();
    assert_eq!(
        connected.load(Ordering::Relaxed),
        closed.load(Ordering::Relaxed),
        "a disconnection was not reported exactly once"
    );
    assert!(sockets.iter().all(|socket| !socket.is_connected() && socket.emit("gone", ()).is_err()));
}

impl World {
    /// Returns a server, and counters of the sockets that have connected and disconnected.
    fn new(form: Form) -> (World, Arc<(AtomicUsize, AtomicUsize)>) {
        let ends = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
        let mut builder = Server::builder().max_payload(3000).send_buffer(100_000);
        builder = builder.allow_eio3(form.old).jsonp(form.old).allow_overlapping_polls(form.old);
        if form.resumable {
            builder = builder.stateful_reconnect(StatefulReconnect::new().max_bytes(10_000));
        }
        let server = builder.build();
        let counters = ends.clone();
        server.on_connect(move |socket: Socket| {
            counters.0.fetch_add(1, Ordering::Relaxed);
            let counters = counters.clone();
            socket.on_disconnect(move || {
                counters.1.fetch_add(1, Ordering::Relaxed);
                async {}
            });
            socket.on("echo", async |socket: Socket, args: Args| socket.emit("echo", args));
            socket.on("join", async |socket: Socket| socket.join("room"));
            socket.on("never", async || std::future::pending::<()>().await);
            socket.on("ask", async |socket: Socket| match socket.emit_with_ack::<Args>("ask", "?").await {
                Ok(answer) => socket.emit("answer", answer).is_ok(),
                Err(AckError::Timeout | AckError::Disconnected | AckError::Emit(_)) => false,
                Err(error) => panic!("any answer can be read: {error}"),
            });
            socket.on_fallback(async |args: Args| args);
            async {}
        });
        server.of("/guarded").middleware(async |socket: Socket| match socket.auth::<u8>() {
            Ok(_) => Ok(()),
            Err(_) => Err("no".into()),
        });
        let machine = Arc::new(Machine::default());
        server.attach(machine.clone());
        let connections = [(); 4].map(|()| connect(&server));
        (World { machine, server, connections, sid: None, form }, ends)
    }

    fn now(&self) -> Time {
        self.machine.now()
    }

    fn feed(&mut self, stream: usize, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        if let Some(sid) = &self.sid
            && let Some(place) = bytes.windows(SID.len()).position(|window| window == SID)
        {
            bytes[place..place + SID.len()].copy_from_slice(sid.as_bytes());
        }
        let stream = &mut self.connections[stream].stream;
        if !stream.ended {
            stream.input.extend(bytes);
        }
    }

    /// Replaces a stream with a new one.
    fn renew(&mut self, stream: usize) {
        self.connections[stream] = connect(&self.server);
    }

    fn pass(&mut self, ms: u64) {
        self.machine.pass(ms);
        self.handle_timeout();
    }

    fn handle_timeout(&mut self) {
        self.server.handle_timeout(self.now());
        assert!(
            self.server.next_deadline().is_none_or(|next| next > self.now()),
            "the deadline was not moved"
        );
    }

    /// Runs turns until nothing changes.
    fn run(&mut self) {
        let now = self.now();
        loop {
            let mut changed = self.machine.poll_tasks();
            for connection in &mut self.connections {
                changed |= connection.turn(now);
                if let Some(sid) = connection.reader.read(&mut connection.stream.output, self.form) {
                    self.sid = Some(sid);
                }
            }
            if !changed {
                break;
            }
        }
        self.handle_timeout();
    }

    /// Lets time pass without any input, and checks that everything is freed.
    fn fall_silent(&mut self) {
        for _ in 0..1000 {
            let Some(next) = self.server.next_deadline() else { break };
            self.machine.pass_to(next);
            self.handle_timeout();
            self.run();
        }
        assert_eq!(self.server.next_deadline(), None, "something never ends");
        assert_eq!((self.server.clients_count(), self.server.sockets().len()), (0, 0));
        assert!(self.connections.iter().all(|connection| connection.done), "a stream is still open");
    }
}

fn connect(server: &Server) -> Connection {
    let now = server.attach(Arc::new(Machine::default())).now();
    Connection::new(server.accept(now, Peer::default()), Reader::Head { last: false })
}

/// The client's end of a stream, which checks everything that the server writes.
enum Reader {
    /// The head of a response comes next, unless the previous response was the `last`.
    Head {
        last: bool,
    },
    Body {
        length: usize,
        payload: bool,
        last: bool,
    },
    WebSocket(Decoder, Messages),
}

impl Reader {
    /// Checks the output of the server, and returns the id of the session that was opened with it.
    fn read(&mut self, output: &mut Vec<u8>, form: Form) -> Option<String> {
        let mut sid = form.old.then(|| find_sid(output)).flatten();
        if form.lenient {
            output.clear();
        }
        loop {
            match self {
                Reader::Head { last } => {
                    assert!(!*last || output.is_empty(), "a response after the last one");
                    let end = output.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
                    let head = String::from_utf8(output.drain(..end).collect()).expect("heads are text");
                    if let Some(next) = read_head(&head) {
                        *self = next;
                    }
                }
                Reader::Body { length, payload, last } => {
                    assert!(output.len() >= *length, "a truncated body");
                    let body = output.drain(..*length).collect();
                    if *payload && !form.old {
                        let body = String::from_utf8(body).expect("payloads are text");
                        sid = read_payload(&body).or(sid);
                    }
                    *self = Reader::Head { last: *last };
                }
                Reader::WebSocket(decoder, messages) => {
                    let mut rest = output.as_mut_slice();
                    while let Some(message) =
                        decoder.decode(&mut rest).expect("the server's frames are valid")
                    {
                        if !form.old {
                            sid = read_message(messages, &message).or(sid);
                        }
                    }
                    assert!(rest.is_empty(), "half a frame");
                    output.clear();
                    return sid;
                }
            }
            if output.is_empty() {
                return sid;
            }
        }
    }
}

/// Returns what follows a response's head; `None` if that is another head.
fn read_head(head: &str) -> Option<Reader> {
    let mut lines = head.trim_end().split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).expect("a status");
    assert!(!head.replace("\r\n", "").contains(|char: char| char.is_control() && char != '\t'), "{head:?}");
    let headers: Vec<_> = lines.map(|line| line.split_once(": ").expect("a header")).collect();
    let header = |name: &str| {
        let mut values = headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, value)| *value);
        assert!(values.next().is_none() || name == "vary", "{name} twice");
        value
    };
    match status.split_once(' ').expect("a reason").0 {
        "100" => None,
        "101" => Some(Reader::WebSocket(Decoder::new(Role::Client, usize::MAX), Messages::default())),
        _ => Some(Reader::Body {
            length: header("content-length").and_then(|length| length.parse().ok()).expect("a length"),
            payload: header("content-type").is_some_and(|kind| kind.starts_with("text/plain")),
            last: header("connection") == Some("close"),
        }),
    }
}

/// The messages of a connection.
#[derive(Default)]
struct Messages {
    reassembly: Reassembly,
    /// A session was resumed, perhaps between a text and its attachments.
    may_begin_inside: bool,
}

impl Messages {
    fn add(&mut self, data: &[u8], limits: &Limits) {
        let added = self.reassembly.add(data, limits);
        assert!(added.is_ok() || self.may_begin_inside, "an attachment that was not announced");
    }
}

/// Finds the id in a handshake of any version, also within a script.
fn find_sid(output: &[u8]) -> Option<String> {
    let find = |text: &[u8]| output.windows(text.len()).position(|window| window == text);
    find(b"upgrades")?;
    let rest = output.get(find(b"sid")? + 3..)?;
    let start = rest.iter().position(|byte| !b"\\\":".contains(byte))?;
    let id = rest.get(start..start + SID.len())?;
    String::from_utf8(id.to_vec()).ok()
}

fn read_payload(body: &str) -> Option<String> {
    let mut messages = Messages::default();
    let packets = split_payload(body);
    packets.filter_map(|packet| read_packet(&mut messages, packet)).next()
}

fn read_message(messages: &mut Messages, message: &websocket::Message<'_>) -> Option<String> {
    match message {
        websocket::Message::Text(text) => read_packet(messages, text),
        websocket::Message::Binary(data) => {
            messages.add(data, &Limits::default());
            None
        }
        _ => None,
    }
}

/// Checks a packet, and returns the session's id if it is the handshake.
fn read_packet(messages: &mut Messages, packet: &str) -> Option<String> {
    let limits = Limits { max_namespace_len: 10_000, max_attachments: 9999, ..Limits::default() };
    match Packet::decode(packet).expect("the server's packets are valid") {
        Packet::Open(json) => {
            messages.may_begin_inside = json.contains("\"resume\"");
            json.split('"').nth(3).map(str::to_owned)
        }
        Packet::Message(Message::Binary(data)) => {
            messages.add(&data, &limits);
            None
        }
        Packet::Message(Message::Text(text)) => {
            messages.may_begin_inside = false;
            let reassembly = &mut messages.reassembly;
            reassembly.handle_text().expect("no text between attachments");
            let packet = socketio::Packet::decode(text, &limits).expect("the server's packets are valid");
            reassembly.begin(&packet).expect("no text between attachments");
            None
        }
        _ => None,
    }
}
