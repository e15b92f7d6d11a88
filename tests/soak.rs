//! Clients that give up half-way, for a long time: tables and memory do not grow, and are empty afterwards.
#![allow(unsafe_code, missing_docs, clippy::unwrap_used)]

mod simulation;
#[cfg(feature = "tokio")]
#[path = "soak/sockets.rs"]
mod sockets;

use simulation::{Pipe, Sim};
use sockeye::host::Host;
use sockeye::{Args, Server, Socket};
use sockeye_core::websocket::{Opcode, write_frame};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// An allocator that counts the live bytes.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: forwards every call to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Number of connections per second.
const RATE: usize = 40;

/// The network between clients and server, in memory or over sockets.
trait Network {
    type Stream;

    fn dial(&self) -> Self::Stream;
    fn send(&self, stream: &Self::Stream, bytes: &[u8]);
    /// Lets the server read what was sent.
    fn rest(&self);
    /// Returns what the server answers.
    fn answer(&self, stream: &Self::Stream) -> String;
    /// Shuts the client's writing side down.
    fn finish(&self, stream: &Self::Stream);
    /// Lets the client disappear.
    fn leave(&self, stream: Self::Stream);
}

impl Network for Sim {
    type Stream = Pipe;

    fn dial(&self) -> Pipe {
        self.dial()
    }

    fn send(&self, pipe: &Pipe, bytes: &[u8]) {
        pipe.send(bytes);
    }

    fn rest(&self) {
        self.run();
    }

    fn answer(&self, pipe: &Pipe) -> String {
        self.run();
        String::from_utf8(pipe.receive()).unwrap()
    }

    fn finish(&self, pipe: &Pipe) {
        pipe.finish();
    }

    fn leave(&self, _: Pipe) {}
}

/// Runs a client that gives up at a point that depends on `turn`.
fn give_up<N: Network>(net: &N, turn: usize) {
    let stream = net.dial();
    let send = |bytes: &[u8]| net.send(&stream, bytes);
    let target = "/socket.io/?EIO=4&transport=";
    let handshake = |query: &str| {
        format!(
            "GET {target}websocket{query} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
    };
    let text = |text: &str| {
        let mut bytes = Vec::new();
        write_frame(&mut bytes, Opcode::Text, text.as_bytes(), Some([1, 2, 3, 4]));
        bytes
    };
    let get = |query: &str| format!("GET {target}polling{query} HTTP/1.1\r\nHost: a\r\n\r\n");
    let open = || {
        send(get("").as_bytes());
        net.answer(&stream).split('"').nth(3).unwrap().to_owned()
    };
    match turn % 11 {
        0 => {}
        1 => send(b"GET /socket.io/?EI"),
        // A session that is never polled, or whose poll is abandoned.
        2 => drop(open()),
        3 | 4 => {
            let sid = open();
            send(get(&format!("&sid={sid}")).as_bytes());
            if turn.is_multiple_of(2) {
                net.rest();
                net.finish(&stream);
            }
        }
        // Half a body.
        5 => {
            let sid = open();
            let head =
                format!("POST {target}polling&sid={sid} HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\n");
            send(head.as_bytes());
            send(&[b'4'; 300]);
        }
        6 => send(handshake("").as_bytes()),
        // Connected, and inside a message or a packet with attachments.
        7 => {
            send(handshake("").as_bytes());
            let begun = text("42");
            send(&[text("40"), text(r#"42["join"]"#), text(r#"42["wait"]"#), begun[..5].to_vec()].concat());
        }
        8 => {
            send(handshake("").as_bytes());
            send(&[text("40"), text(r#"452-["bytes",{"_placeholder":true,"num":0}]"#)].concat());
        }
        // Inside an upgrade.
        9 | 10 => {
            let sid = open();
            let upgrade = net.dial();
            net.send(&upgrade, handshake(&format!("&sid={sid}")).as_bytes());
            net.send(&upgrade, &text("2probe"));
            if turn % 11 == 10 {
                send(get(&format!("&sid={sid}")).as_bytes());
                net.rest();
                net.send(&upgrade, &text("5"));
                net.finish(&upgrade);
            }
            net.leave(upgrade);
        }
        _ => unreachable!(),
    }
    net.rest();
    net.leave(stream);
}

/// Returns the numbers of connections, sessions and live bytes.
fn table(sim: &Sim) -> [usize; 3] {
    [sim.tasks(), sim.server().clients_count(), LIVE.load(Ordering::Relaxed)]
}

fn server() -> Server {
    let server = Server::new();
    server.on_connect(async |socket: Socket| {
        socket.on("join", async |socket: Socket| socket.join("room"));
        socket.on("wait", async |socket: Socket| drop(socket.emit_with_ack::<Args>("?", ()).await));
        socket.on("bytes", async |args: Args| args);
    });
    server
}

/// Held by each test, because the bytes of the whole process are counted.
static ALONE: Mutex<()> = Mutex::new(());

fn soak(time: Duration) {
    let _alone = ALONE.lock();
    let sim = Sim::new(server());
    let mut turn = 0;
    let mut live = |seconds: u64| {
        for _ in 0..seconds {
            for _ in 0..RATE {
                give_up(&sim, turn);
                turn += 1;
            }
            sim.server().to("room").volatile().emit("news", turn);
            sim.advance(Duration::from_secs(1));
        }
        table(&sim)
    };
    // Longer than any timeout, so that the load is steady afterwards.
    let steady = live(150);
    let end = live(time.as_secs());
    println!("connections, sessions, bytes: {steady:?}, then {end:?}, after {turn} clients");
    for (steady, end) in steady.into_iter().zip(end) {
        assert!(end.abs_diff(steady) <= steady / 20, "{steady} became {end}");
    }
    sim.advance(Duration::from_secs(150));
    let [tasks, sessions, bytes] = table(&sim);
    println!("in silence: {tasks}, {sessions}, {bytes}");
    assert_eq!((tasks, sessions, sim.server().next_deadline()), (0, 0, None));
    assert_eq!(sim.server().sockets().len(), 0);
    // Only the server, its threads' buffers and the capacity of its tables are left, and nothing per client.
    assert!(bytes < end[2] / 5 && bytes < 1 << 20, "{bytes} bytes are left of {}", end[2]);
}

#[test]
fn clients_that_give_up_half_way_leave_nothing_behind() {
    soak(Duration::from_secs(60));
}

#[test]
#[ignore = "an hour: see CONTRIBUTING.md"]
fn an_hour_of_clients_that_give_up_half_way_leaves_nothing_behind() {
    soak(Duration::from_secs(3600));
}
