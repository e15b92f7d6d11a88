//! Allocations per message in the steady state: none but those of the handler's own types. A failing test prints where
//! they happen.
#![allow(missing_docs)]

#[path = "../benches/rig/mod.rs"]
mod rig;

use rig::{Clients, Counting, Token, World, binary_event, measure, poll_head, post, text, trace};
use sockeye::cluster::{Adapter, Bus, Channel, Classic, Dialect, Node, RequestId, Sharded, SubscriptionMode};
use sockeye::extract::Data;
use sockeye::{Client, ClientSocket, Server, Socket, Transport};
use sockeye_core::cluster::{Cluster, ClusterConfig, Command};
use sockeye_core::socketio::{Encoder, Flags, Target};
use sockeye_core::websocket::{Opcode, write_frame};
use sockeye_core::{Random, Time};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll, Waker};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Creates a server whose handlers' own types need no memory, except for attachments.
fn server() -> Server {
    let io = Server::builder().send_buffer(usize::MAX / 4).build();
    io.on_connect(async |socket: Socket| {
        socket.on("nothing", async || ());
        socket.on("ack", async |Data(x): Data<u64>| x);
        socket.on("echo", async |socket: Socket, Data(x): Data<u64>| socket.emit("echo", x));
        socket.on("bin", async |socket: Socket, Data(x): Data<bytes::Bytes>| socket.emit("bin", x));
        socket.on("broadcast", async |io: Server, Data(x): Data<u64>| {
            io.emit("broadcast", x);
        });
    });
    io
}

fn world(clients: usize) -> (World, Vec<Token>) {
    let mut world = World::new(server());
    let clients = (0..clients).map(|_| world.websocket()).collect();
    (world, clients)
}

/// Asserts the number of allocations of `turn` after two warm-up calls.
#[track_caller]
fn expect(allocations: u64, mut turn: impl FnMut()) {
    turn();
    turn();
    let ((), usage) = measure(&mut turn);
    if usage.allocations != allocations {
        let mut places = BTreeMap::<String, usize>::new();
        trace(turn).into_iter().for_each(|place| *places.entry(place).or_default() += 1);
        let places: Vec<_> =
            places.into_iter().map(|(place, count)| format!("{count} x {place}\n")).collect();
        panic!("{} allocations instead of {allocations}:\n{}", usage.allocations, places.concat());
    }
    assert_eq!(usage.live, 0, "memory was kept");
}

#[test]
fn packets_without_a_handler_allocate_nothing() {
    let (mut world, clients) = world(2);
    for packet in [r#"42["unknown",{"a":[1,2,3]}]"#, r#"421["unknown"]"#, "4312[]", "3"] {
        let input = text(packet);
        expect(0, || clients.iter().for_each(|client| assert_eq!(world.send(*client, &input), 0)));
    }
}

#[test]
fn a_call_of_a_handler_allocates_nothing() {
    let (mut world, clients) = world(2);
    for packet in [r#"42["nothing"]"#, r#"421["nothing"]"#, r#"421["ack",7]"#, r#"42["echo",7]"#] {
        let input = text(packet);
        expect(0, || assert!(world.send(clients[0], &input) < 100));
        let input = input.repeat(16);
        expect(0, || assert!(world.send(clients[1], &input) < 1600));
    }
}

/// Registers the handlers of [`server`] that allocate nothing, for all sockets.
fn handle_all(io: &Server) {
    io.on("nothing", async || ());
    io.on("ack", async |Data(x): Data<u64>| x);
    io.on("echo", async |socket: Socket, Data(x): Data<u64>| socket.emit("echo", x));
}

#[test]
fn a_call_of_a_handler_of_the_namespace_allocates_nothing() {
    let io = Server::new();
    handle_all(&io);
    let mut world = World::new(io);
    let client = world.websocket();
    for packet in [r#"42["nothing"]"#, r#"421["nothing"]"#, r#"421["ack",7]"#, r#"42["echo",7]"#] {
        let input = text(packet);
        expect(0, || assert!(world.send(client, &input) < 100));
    }
    let input = text(r#"42["unknown"]"#);
    expect(0, || assert_eq!(world.send(client, &input), 0));
}

#[test]
fn a_connection_takes_no_memory_for_handlers_of_its_namespace() {
    let live = |handlers: bool| {
        let io = Server::new();
        if handlers {
            handle_all(&io);
        }
        let mut world = World::new(io);
        world.reserve(3);
        // The tables of the server grow with the first ones.
        world.websocket();
        world.websocket();
        let (_, usage) = measure(|| world.websocket());
        (usage.allocations, usage.live_bytes)
    };
    assert_eq!(live(true), live(false));
}

/// Compiling a feature in, such as `deflate` or `tracing`, costs a connection nothing as long as it is not used: the blocks
/// stay within the size classes of an allocator that they fill without it.
#[test]
fn an_idle_connection_takes_the_same_blocks_with_any_features() {
    let io = Server::new();
    handle_all(&io);
    let mut world = World::new(io);
    world.reserve(1000);
    (0..900).for_each(|_| _ = world.websocket());
    let ((), usage) = measure(|| (0..100).for_each(|_| _ = world.websocket()));
    // The session with its two boxes, the socket, and the waker of this test.
    assert_eq!(usage.live / 100, 5);
    // 8 of these bytes are those of the log, for which the block of the session has room.
    let each = usage.live_bytes / 100;
    assert!(each <= 492, "{each} bytes");
}

#[test]
fn a_packet_with_an_attachment_allocates_three_times() {
    let (mut world, clients) = world(1);
    let input = binary_event("bin", 4096);
    // Until the attachment arrives: the text and the struct around it. Then the handler's own `Bytes`.
    expect(3, || assert!(world.send(clients[0], &input) > 4096));
}

/// Returns a server that sends large messages back, with a client.
fn large() -> (World, Token) {
    let io = Server::new();
    io.on("text", async |socket: Socket, Data(x): Data<String>| socket.emit("text", x));
    io.on("bin", async |socket: Socket, Data(x): Data<bytes::Bytes>| socket.emit("bin", x));
    let mut world = World::new(io);
    let client = world.websocket();
    (world, client)
}

/// Returns a large text message and a large binary one for the server of [`large`].
fn large_inputs(len: usize) -> [Vec<u8>; 2] {
    [text(&format!(r#"42["text","{}"]"#, "x".repeat(len))), binary_event("bin", len)]
}

#[test]
fn a_large_message_allocates_only_the_handlers_own_value() {
    let (mut world, client) = large();
    for len in [256 << 10, 900_000] {
        // Of the binary one, the text and the struct around it, too, until the attachment arrives.
        for (input, allocations) in large_inputs(len).into_iter().zip([1, 3]) {
            expect(allocations, || assert!(world.send(client, &input) > len));
            let (_, usage) = measure(|| world.send(client, &input));
            assert!(usage.bytes < len as u64 + 500, "{} bytes were allocated for {len}", usage.bytes);
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_large_message_causes_no_page_fault_in_the_steady_state() {
    const MESSAGES: u64 = 20;
    // The number of pages that this thread had to get from the system.
    let faults = || {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").expect("Linux shows it");
        let behind_name = stat.rsplit(") ").next().expect("a name is in parentheses");
        behind_name.split(' ').nth(7).and_then(|faults| faults.parse::<u64>().ok()).expect("a number")
    };
    let (mut world, client) = large();
    for len in [256 << 10, 900_000] {
        for input in large_inputs(len) {
            (0..10).for_each(|_| _ = world.send(client, &input));
            let before = faults();
            (0..MESSAGES).for_each(|_| _ = world.send(client, &input));
            // A buffer of this size that comes from the system again has 64 pages and more.
            let caused = faults() - before;
            assert!(caused < MESSAGES, "{caused} page faults for {MESSAGES} messages of {len} bytes");
        }
    }
}

#[test]
fn an_emit_outside_of_a_turn_allocates_nothing() {
    let (mut world, _) = world(1);
    let sockets = world.server().sockets();
    expect(0, || {
        sockets[0].emit("text", ("some text", 1.5)).expect("it is connected");
        assert!(world.run_ready() > 0);
    });
}

#[test]
fn an_acknowledged_event_of_a_server_allocates_three_times() {
    let (mut world, clients) = world(1);
    let sockets = world.server().sockets();
    let answers: Vec<_> = (0..4).map(|id| text(&format!("43{id}[7]"))).collect();
    let mut id = 0;
    // The waiter; the socket's table of acknowledgements; the answer.
    expect(3, || {
        let mut answer = pin!(sockets[0].emit_with_ack::<u64>("ask", 1));
        assert!(world.run_ready() > 0);
        world.send(clients[0], &answers[id]);
        id += 1;
        let polled = answer.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(polled, Poll::Ready(Ok(7))));
    });
}

#[test]
fn an_acknowledgement_over_polling_allocates_the_exchange() {
    let mut world = World::new(server());
    let (token, session) = world.polling();
    let (post, poll) = (post(&session, r#"421["ack",7]"#), poll_head(&session));
    expect(1, || {
        world.send(token, &post);
        world.send(token, &poll);
    });
}

#[test]
fn answers_that_wait_for_many_polls_at_once_allocate_only_the_exchanges() {
    let mut world = World::new(server());
    let clients: Vec<_> = (0..20).map(|_| world.polling()).collect();
    let posts = clients.iter().map(|(token, session)| (*token, post(session, r#"421["ack",7]"#)));
    let polls = clients.iter().map(|(token, session)| (*token, poll_head(session)));
    let requests: Vec<_> = posts.chain(polls).collect();
    // The exchanges of the requests with the events.
    expect(20, || {
        for (token, request) in &requests {
            world.send(*token, request);
        }
    });
}

/// Returns a message as servers send it.
fn from_server(packet: &str) -> Vec<u8> {
    let mut out = Vec::new();
    write_frame(&mut out, Opcode::Text, packet.as_bytes(), None);
    out
}

/// Connects a client of this crate by WebSocket, and returns it with the drivers of server and client.
fn client() -> (World, Clients, Client) {
    let (mut world, mut clients) = (World::new(server()), Clients::default());
    let builder = Client::builder("http://localhost:3000").transports([Transport::WebSocket]);
    let client = builder.build().expect("the URL is valid");
    client.on("nothing", async || ());
    client.on("ack", async |Data(x): Data<u64>| x);
    client.on("echo", async |socket: ClientSocket, Data(x): Data<u64>| socket.emit("echo", x).map(drop));
    clients.connect(&mut world, client.clone());
    (world, clients, client)
}

#[test]
fn an_event_received_by_a_client_allocates_its_text() {
    let (_world, mut clients, _client) = client();
    for packet in [r#"42["nothing"]"#, r#"421["nothing"]"#, r#"421["ack",7]"#, r#"42["echo",7]"#] {
        let input = from_server(packet);
        expect(1, || assert!(clients.send(0, &input) < 100));
        let input = input.repeat(16);
        expect(16, || assert!(clients.send(0, &input) < 1600));
    }
}

#[test]
fn emits_and_pongs_of_a_client_allocate_nothing() {
    let (_world, mut clients, client) = client();
    expect(0, || {
        client.emit("text", ("some text", 1.5)).expect("it is connected");
        assert!(clients.send(0, &[]) > 0);
    });
    let ping = from_server("2");
    expect(0, || assert!(clients.send(0, &ping) > 0));
}

#[test]
fn a_broadcast_allocates_nothing_per_member() {
    for members in [10u64, 1000] {
        let (mut world, clients) = world(members as usize);
        let input = text(r#"42["broadcast",7]"#);
        // The frame, its reference count, and the list of wakers, which grows by doubling. Beyond the
        // first 64: the state of the broadcast, while they are woken; another list, and what its tasks share; and the task
        // that wakes the others.
        let first = (members - 1).min(64);
        let doublings = u64::from(first.next_power_of_two().ilog2()) - 1;
        expect(2 + doublings + if members > first + 1 { 4 } else { 0 }, || {
            world.send(clients[0], &input);
            assert!(world.run_ready() > 0);
        });
    }
}

#[cfg(feature = "deflate")]
#[test]
fn a_broadcast_is_compressed_once_and_a_connection_keeps_nothing_for_it() {
    let deflate = sockeye::PerMessageDeflate::new();
    let asks = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    let text = "x".repeat(4000);
    let world = |compresses: bool, members: usize| {
        let builder = Server::builder();
        let builder = if compresses { builder.per_message_deflate(deflate) } else { builder };
        let mut world = World::new(builder.build());
        world.reserve(members);
        // The first connection allocates the thread's buffer.
        world.websocket_with(asks);
        let ((), opened) = measure(|| (1..members).for_each(|_| _ = world.websocket_with(asks)));
        (world, opened)
    };
    let (mut one, _) = world(true, 1);
    let per_broadcast = |world: &mut World| {
        let mut broadcast = || {
            world.server().emit("e", &*text);
            world.run_ready()
        };
        broadcast();
        broadcast();
        measure(broadcast)
    };
    let (written, of_one) = per_broadcast(&mut one);
    assert!(written < 100);
    let ((mut plain, opened_plain), (mut all, opened)) = (world(false, 512), world(true, 512));
    assert_eq!(opened.live_bytes, opened_plain.live_bytes, "a connection that compresses costs more");
    let (written_plain, of_plain) = per_broadcast(&mut plain);
    let (written_all, of_all) = per_broadcast(&mut all);
    assert!(written_all == 512 * written && written_plain > 512 * 4000);
    // Compressing allocates once; the list of wakers grows by doubling in both cases.
    let once = of_all.allocations - of_plain.allocations;
    assert!(once <= of_one.allocations, "{once} allocations more than without compression");
}

#[cfg(feature = "deflate")]
#[test]
fn compressed_messages_share_the_state_of_the_thread() {
    use sockeye_core::websocket::{Deflate, DeflatePool};
    let settings = sockeye::PerMessageDeflate::new();
    let mut world = World::new(Server::builder().per_message_deflate(settings).build());
    let asks = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    let clients = [world.websocket_with(asks), world.websocket_with(asks)];
    let (deflate, _) =
        Deflate::agree(&settings, [&b"permessage-deflate"[..]].into_iter()).expect("it is valid");
    let mut input = Vec::new();
    let event = format!(r#"42["unknown","{}"]"#, "x".repeat(4000));
    let mask = Some([1, 2, 3, 4]);
    assert!(deflate.write_frame(
        &DeflatePool::default(),
        &mut input,
        Opcode::Text,
        &[event.as_bytes()],
        mask
    ));
    let sockets = world.server().sockets();
    // Only the text of each message, which grows three times while it is inflated.
    expect(8, || clients.iter().for_each(|client| assert_eq!(world.send(*client, &input), 0)));
    let text = "x".repeat(4000);
    expect(0, || {
        sockets.iter().for_each(|socket| socket.emit("e", &*text).expect("it is connected"));
        assert!(world.run_ready() < 200);
    });
}

#[test]
fn queues_of_peers_that_do_not_read_share_the_frames_of_broadcasts() {
    const BROADCASTS: i64 = 100;
    const SIZE: i64 = 4096;
    // Per frame a peer holds an offset and a `Bytes`, in a list that grows by doubling.
    const LIST: i64 = BROADCASTS * 2 * 40;
    let text = "x".repeat(SIZE as usize);
    let waiting = |stalled: usize| {
        let (mut world, clients) = world(100);
        let stall = |world: &mut World, on| {
            clients.iter().take(stalled).for_each(|client| world.stall(*client, on));
        };
        let read = |world: &mut World| clients.iter().map(|client| world.send(*client, &[])).sum::<usize>();
        let broadcast = |world: &mut World| {
            assert_eq!(world.server().emit("broadcast", &*text).sent, 100);
            world.run_ready();
        };
        // From then on the thread has the memory that it keeps for the queues of so many.
        stall(&mut world, true);
        (0..3).for_each(|_| broadcast(&mut world));
        stall(&mut world, false);
        read(&mut world);
        stall(&mut world, true);
        broadcast(&mut world);
        let ((), usage) = measure(|| (0..BROADCASTS).for_each(|_| broadcast(&mut world)));
        stall(&mut world, false);
        let (read, freed) = measure(|| read(&mut world));
        assert!(read >= stalled * BROADCASTS as usize * text.len(), "{read} bytes were read in the end");
        let kept = usage.live_bytes + freed.live_bytes;
        assert!(kept <= 0, "{kept} bytes are kept of what was read");
        usage.live_bytes
    };
    let (none, one, half) = (waiting(0), waiting(1), waiting(50));
    assert!(none < SIZE, "{none} bytes wait for nobody");
    let frames = BROADCASTS * (SIZE + 100);
    assert!(one < frames, "{one} bytes wait for one peer");
    assert!(half - one < 49 * LIST, "{half} bytes wait for fifty peers, {one} for one");
}

#[test]
fn a_joined_room_takes_at_most_a_hundred_bytes() {
    for (members, count, rooms) in [(1, 3_000, 10), (10, 3_000, 10), (10, 300, 200)] {
        let (world, _) = world(count);
        let sockets = world.server().sockets();
        let join = |(i, socket): (usize, &Socket)| {
            (0..rooms).for_each(|room| socket.join(format!("{}:{room}", i / members)));
        };
        let ((), usage) = measure(|| sockets.iter().enumerate().for_each(join));
        let each = usage.live_bytes / (count * rooms) as i64;
        assert!(each <= 100, "{each} bytes a joined room of {members}");
        // One is the name that the test makes. The lists of a socket and of a room grow by doubling.
        let allocations = usage.allocations as f64 / (count * rooms) as f64;
        assert!(allocations < 2.0, "{allocations} allocations a joined room of {members}");
        sockets.iter().for_each(Socket::leave_all);
        assert!(world.server().rooms().is_empty());
        // They have lists now.
        expect(0, || {
            sockets[..100].iter().for_each(|socket| {
                socket.join("room");
                socket.leave("room");
            });
        });
    }
}

/// A bus that drops what is sent, and keeps the node.
#[derive(Clone, Default)]
struct Dropped(Arc<OnceLock<Weak<dyn Node>>>);

impl Bus for Dropped {
    fn attach(&self, node: Weak<dyn Node>) {
        let _ = self.0.set(node);
    }

    fn watch(&self, _: &Channel, _: bool) {}

    fn publish(&self, _: &Channel, _: bytes::Bytes) {}

    fn append(&self, _: &Channel, _: Vec<(&'static str, bytes::Bytes)>) {}

    fn count(&self, _: &Channel, _: RequestId) {}
}

#[test]
fn a_message_of_another_server_for_a_room_that_is_elsewhere_is_not_read() {
    let [classic, sharded] = [Classic::default().into(), Sharded::default().into()];
    for dialect in [classic, sharded] as [Dialect; 2] {
        let (bus, ignored) = (Dropped::default(), Arc::new(AtomicUsize::new(0)));
        let told = ignored.clone();
        let server = Server::builder()
            .adapter(Adapter::new(dialect, bus.clone()))
            .on_cluster_event(move |_| _ = told.fetch_add(1, Ordering::Relaxed));
        let mut world = World::new(server.build());
        world.websocket();
        (0..1000).for_each(|room| world.server().sockets_join(format!("room {room}")));
        let node = bus.0.get().and_then(Weak::upgrade).expect("it is attached");
        let message = bytes::Bytes::from_static(b"\xff");
        expect(0, || {
            node.handle_message("socket.io#/#elsewhere#", message.clone());
            assert_eq!(world.run_ready(), 0);
        });
        assert_eq!(ignored.load(Ordering::Relaxed), 0);
        node.handle_message("socket.io#/#room 7#", message);
        assert_eq!(ignored.load(Ordering::Relaxed), 1);
    }
}

#[test]
fn a_message_of_another_server_without_recipients_here_is_not_encoded() {
    let dialect: Dialect =
        Sharded { subscription_mode: SubscriptionMode::Static, ..Sharded::default() }.into();
    let mut other = Cluster::new(ClusterConfig::new(dialect.clone()), Random::from_seed([1; 20]));
    let mut target = Target::default();
    target.rooms.insert("elsewhere");
    let mut encoder = Encoder::new();
    let event = encoder.event("/", None, "hello", &"x".repeat(100_000)).expect("it can be encoded");
    other.broadcast(Time::ZERO, "/", &target, &Flags::default(), event.into());
    let Some(Command::Publish { channel, message }) = other.poll_command() else { panic!("it is published") };
    let bus = Dropped::default();
    let mut world = World::new(Server::builder().adapter(Adapter::new(dialect, bus.clone())).build());
    world.websocket();
    let node = bus.0.get().and_then(Weak::upgrade).expect("it is attached");
    expect(0, || {
        node.handle_message(&channel.name, message.clone());
        assert_eq!(world.run_ready(), 0);
    });
}
