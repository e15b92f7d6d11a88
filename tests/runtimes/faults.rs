//! Clients and handlers that misbehave: the others do not notice.

use crate::client::{Frame, Http, PATIENCE, Polling, WebSocket};
use crate::start::Start;
use sockeye::extract::Data;
use sockeye::{Args, Server, Socket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Waits until so many clients are connected to the main namespace.
#[track_caller]
fn wait_for(server: &Server, count: usize) {
    let begin = Instant::now();
    while server.of("/").sockets_count() != count {
        assert!(begin.elapsed() < 4 * PATIENCE, "{} of {count}", server.of("/").sockets_count());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A thousand read, one does not: who reads gets all.
pub(crate) fn a_client_that_stops_reading_does_not_keep_a_broadcast_from_the_others(start: Start) {
    // Who is connected first waits for the last, and answers no ping.
    let builder = Server::builder().send_buffer(1 << 20).ping_interval(10 * PATIENCE);
    let running = start(builder.build());
    // One runtime at a time has so many files open.
    static CROWD: Mutex<()> = Mutex::new(());
    let _crowd = CROWD.lock();
    let files = rlimit::increase_nofile_limit(8192).unwrap_or(1024) as usize;
    let count = 1000.min(files.saturating_sub(400) / 2);
    let slow = WebSocket::connect(running.address);
    let mut others: Vec<_> = (0..count).map(|_| WebSocket::connect(running.address)).collect();
    wait_for(&running.server, count + 1);
    let filler = "x".repeat(1000);
    // As much as the kernel takes, and more than the send buffer.
    let flood = "x".repeat(200_000);
    let rounds = 10;
    for round in 0..rounds {
        running.server.emit("news", (round, &filler));
        for _ in 0..4 {
            let socket = running.server.of("/").socket(slow.id());
            let _ = socket.map(|socket| socket.emit("flood", &flood));
        }
    }
    for other in &mut others {
        for round in 0..rounds {
            other.expect(&format!(r#"42["news",{round},"{filler}"]"#));
        }
    }
    wait_for(&running.server, count);
}

/// Who is cut off without a word, or half-way, takes nobody along.
pub(crate) fn connections_that_are_half_open_leave_nothing(start: Start) {
    let running = start(Server::new());
    let mut witness = WebSocket::connect(running.address);
    for _ in 0..20 {
        let mut websocket = WebSocket::connect(running.address);
        websocket.shut_down_writing();
        websocket.abandon();
        let mut polling = Polling::connect(running.address);
        polling.begin_poll();
        drop(polling);
        let mut request = Http::open(running.address);
        request.send_raw(b"POST /socket.io/?EIO=4&tra");
        drop(request);
    }
    wait_for(&running.server, 1);
    assert_eq!(running.server.emit("still", "here").sent, 1);
    witness.expect(r#"42["still","here"]"#);
}

pub(crate) fn a_handler_that_panics_fails_alone(start: Start) {
    let io = Server::new();
    io.on_connect(async |socket: Socket| {
        socket.on("panic", async |Data(at_once): Data<bool>| {
            if !at_once {
                smol::future::yield_now().await;
            }
            if std::hint::black_box(true) {
                // Without the panic hook's output.
                std::panic::resume_unwind(Box::new("a handler's own"));
            }
            1
        });
        socket.on("echo", async |args: Args| args);
    });
    let running = start(io);
    let mut client = WebSocket::connect(running.address);
    let mut other = WebSocket::connect(running.address);
    for id in 0..10 {
        client.send(&format!(r#"42{}["panic",{}]"#, 2 * id, id % 2 == 0));
        client.send(&format!(r#"42{}["echo",{id}]"#, 2 * id + 1));
        // No answer to the one, and the right one to the other.
        client.expect(&format!("43{}[{id}]", 2 * id + 1));
    }
    other.send(r#"427["echo","unharmed"]"#);
    other.expect(r#"437["unharmed"]"#);
}

pub(crate) fn a_handler_that_never_ends_does_not_keep_its_client_or_the_server(start: Start) {
    let begun = Arc::new(AtomicUsize::new(0));
    let io = Server::new();
    let count = begun.clone();
    io.on_connect(move |socket: Socket| {
        let count = count.clone();
        async move {
            socket.on("never", move || {
                count.fetch_add(1, Ordering::SeqCst);
                std::future::pending::<()>()
            });
            socket.on("echo", async |args: Args| args);
        }
    });
    let running = start(io);
    let mut client = WebSocket::connect(running.address);
    for id in 0..50 {
        client.send(r#"42["never"]"#);
        client.send(&format!(r#"42{id}["echo",{id}]"#));
        client.expect(&format!("43{id}[{id}]"));
    }
    assert_eq!(begun.load(Ordering::SeqCst), 50);
    drop(client);
    running.wait_until_empty();
    running.server.begin_close();
    running.wait();
}

/// After a restart all come back at once.
pub(crate) fn many_clients_that_reconnect_at_once_are_all_served(start: Start) {
    let io = Server::new();
    io.on_connect(async |socket: Socket| {
        socket.join("all");
        socket.on("echo", async |args: Args| args);
    });
    let running = start(io);
    for round in 0..3 {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let address = running.address;
                std::thread::spawn(move || {
                    let mut clients: Vec<_> = (0..50).map(|_| WebSocket::connect(address)).collect();
                    for (id, client) in clients.iter_mut().enumerate() {
                        client.send(&format!(r#"42{id}["echo",{round}]"#));
                    }
                    for (id, client) in clients.iter_mut().enumerate() {
                        client.expect(&format!("43{id}[{round}]"));
                    }
                    clients
                })
            })
            .collect();
        let mut clients: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(running.server.to("all").emit("round", round).sent, 200);
        clients.iter_mut().for_each(|client| client.expect(&format!(r#"42["round",{round}]"#)));
        // All are cut off at once, and only then the next ones come.
        drop(clients);
        running.wait_until_empty();
    }
    let mut last = WebSocket::connect(running.address);
    assert_eq!(running.server.to("all").emit("last", ()).sent, 1);
    assert_eq!(last.next(), Frame::Text(r#"42["last"]"#.into()));
}
