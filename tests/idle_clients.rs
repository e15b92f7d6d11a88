//! The memory of an idle client, by itself and with the tasks and the socket of its runtime; and of an idle connection on
//! the server.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../benches/rig/mod.rs"]
mod rig;

use rig::{Clients, Counting, World, browser_headers, measure};
use sockeye::client::ClientBuilder;
use sockeye::extract::Data;
use sockeye::host::Host;
use sockeye::{Client, Server, StatefulReconnect, Transport};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
#[cfg(feature = "tokio")]
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const COUNT: i64 = 100;
/// Timeout of steps that take no time on an idle machine.
#[cfg(feature = "tokio")]
const PATIENCE: Duration = Duration::from_secs(10);

fn builder() -> ClientBuilder {
    Client::builder("http://localhost:3000").transports([Transport::WebSocket])
}

/// Returns the bytes per connected client.
fn bytes_per_client(mut make: impl FnMut() -> Client) -> i64 {
    let io = Server::new();
    io.on_connect(async || ());
    let (mut world, mut clients) = (World::new(io), Clients::default());
    for _ in 0..COUNT {
        let client = make();
        client.on("message", async |Data(_): Data<String>| ());
        clients.connect(&mut world, client);
    }
    -clients.free().live_bytes / COUNT
}

/// Held by each test, because the memory of all threads is counted.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn an_idle_client_takes_less_than_two_kilobytes_and_less_with_shared_settings() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let own = bytes_per_client(|| builder().build().unwrap());
    assert!(own < 1890, "{own} bytes");
    let first = builder().build().unwrap();
    let another = bytes_per_client(|| first.another());
    assert!(another < 1320 && another < own - 300, "{another} bytes");
}

/// Returns the bytes that the server keeps for each of several idle WebSocket connections, including the value that its
/// driver holds and what the allocator adds. `open` opens the connection with a number.
fn bytes_per(io: Server, count: usize, open: impl Fn(&mut World, usize)) -> f64 {
    io.on("message", async |Data(_): Data<String>| ());
    let mut world = World::new(io);
    // The first connections also allocate what all of them share.
    (0..10).for_each(|number| open(&mut world, number));
    world.reserve(count);
    let ((), usage) = measure(|| (10..count + 10).for_each(|number| open(&mut world, number)));
    // The allocator adds about 12 bytes to each allocation.
    let heap = (usage.live_bytes + 12 * usage.live) as f64 / count as f64;
    heap + size_of::<<Server as Host>::Connection>() as f64
}

/// Does it for connections with these headers.
fn bytes_per_connection(count: usize, headers: impl Fn(usize) -> String) -> f64 {
    bytes_per(Server::new(), count, |world, number| _ = world.websocket_with(&headers(number)))
}

#[test]
fn an_idle_session_with_stateful_reconnect_takes_little_memory_for_it() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let io = || Server::builder().stateful_reconnect(StatefulReconnect::new()).build();
    let without = bytes_per(io(), 1000, |world, _| _ = world.websocket());
    let with = bytes_per(io(), 1000, |world, _| _ = world.resumable());
    assert!(with < without + 425.0, "{with} and {without} bytes");
}

#[test]
fn an_idle_connection_takes_little_memory_even_with_the_headers_of_a_browser() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let few = bytes_per_connection(1000, |_| String::new());
    assert!(few < 750.0, "{few} bytes");
    let many = bytes_per_connection(1000, browser_headers);
    assert!(many < few + 442.0, "{many} bytes");
}

#[test]
fn an_idle_connection_takes_the_same_memory_among_few_or_many() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    // Tables double in size, so the numbers are the same distance from powers of two.
    let (few, many) =
        (bytes_per_connection(1000, browser_headers), bytes_per_connection(8000, browser_headers));
    assert!((many / few - 1.0).abs() < 0.02, "{few} and {many} bytes");
}

/// Returns the bytes that each of 1,000 sockets takes for joining one more room, by its number.
fn bytes_per_join(rooms: impl Fn(usize) -> String, before: &[&str]) -> f64 {
    let mut world = World::new(Server::new());
    (0..1000).for_each(|_| _ = world.websocket());
    let sockets = world.server().sockets();
    sockets.iter().for_each(|socket| socket.join(before));
    let join = || sockets.iter().enumerate().for_each(|(number, socket)| socket.join(rooms(number)));
    let ((), usage) = measure(join);
    (usage.live_bytes + 12 * usage.live) as f64 / 1000.0
}

#[test]
fn a_joined_room_takes_less_than_a_hundred_bytes() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (first, next) = (bytes_per_join(|_| "lobby".into(), &[]), bytes_per_join(|_| "lobby".into(), &["a"]));
    assert!(first < 100.0 && next < 20.0, "{first} and {next} bytes");
    let small = bytes_per_join(|number| (number / 2).to_string(), &["a"]);
    assert!(small < 100.0, "{small} bytes");
}

/// A task of tokio takes 104 bytes besides its future, and is rounded up to a multiple of 128: with a socket of 32 bytes, it
/// takes 256 in all. With one byte more, also for a feature that is on, it would take 384.
#[cfg(feature = "tokio")]
#[test]
fn a_task_for_an_idle_connection_on_tokio_takes_256_bytes() {
    use sockeye::drive::Drive;
    use sockeye::host::Runtime;
    use sockeye::runtime::tokio::Io;
    use std::sync::Arc;
    use tokio::net::TcpStream;
    type Task = Drive<Io<TcpStream>, <Server as Host>::Connection, Arc<dyn Runtime>>;

    // The socket is larger than 32 bytes if there are debug assertions.
    let task = size_of::<Task>() - size_of::<TcpStream>();
    assert!(104 + 32 + task <= 256, "{task} bytes");
}

/// Starts a server in another thread, whose memory is not counted here, and returns its address.
#[cfg(feature = "tokio")]
fn serve() -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let io = Server::new();
        io.on_connect(async || ());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            sockeye::runtime::tokio::serve(io, listener).await.unwrap();
        });
    });
    address
}

/// Connects clients with the settings of `first`, and waits until all are upgraded.
#[cfg(feature = "tokio")]
async fn connect(first: &Client, clients: &mut Vec<Client>) {
    for _ in 0..COUNT {
        let client = first.another();
        client.on("message", async |Data(_): Data<String>| ());
        sockeye::runtime::tokio::connect(&client).await.unwrap();
        clients.push(client);
    }
    let begin = Instant::now();
    while clients.iter().any(|client| client.transport() != Some(Transport::WebSocket)) {
        assert!(begin.elapsed() < PATIENCE, "some are not upgraded");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // The memory of polling streams is freed now. Otherwise it would count as freed by the next clients.
    tokio::time::sleep(Duration::from_millis(50)).await;
}

#[cfg(feature = "tokio")]
#[test]
fn an_idle_client_on_tokio_takes_less_than_three_kilobytes_upgraded_or_not() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for transports in [&[Transport::WebSocket][..], &[Transport::Polling, Transport::WebSocket]] {
        let address = serve();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let builder = Client::builder(format!("http://{address}")).transports(transports.iter().copied());
        let first = builder.auth(HashMap::from([("token", "secret")])).build().unwrap();
        let mut clients = Vec::with_capacity(2 * COUNT as usize);
        // The first clients also pay for memory that all share.
        runtime.block_on(connect(&first, &mut clients));
        let ((), mut usage) = rig::measure(|| runtime.block_on(connect(&first, &mut clients)));
        let begin = Instant::now();
        // The allocator adds about 12 bytes to each allocation.
        while (usage.live_bytes + 12 * usage.live) / COUNT >= 2900 {
            let (bytes, pieces) = (usage.live_bytes / COUNT, usage.live / COUNT);
            assert!(begin.elapsed() < PATIENCE, "{bytes} bytes in {pieces} pieces by {transports:?}");
            let ((), more) = rig::measure(|| {
                runtime.block_on(async { tokio::time::sleep(Duration::from_millis(1)).await })
            });
            usage.live_bytes += more.live_bytes;
            usage.live += more.live;
        }
    }
}
