//! Producers wait until a client can take more.
#![allow(missing_docs, clippy::unwrap_used)]

mod simulation;

use simulation::{Client, Sim};
use sockeye::{EmitError, Server, Socket};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
/// The number of queued bytes up to which a client can take more.
const LOW_WATER: usize = 128 << 10;

/// A client that does not read, with more than `LOW_WATER` bytes queued for it.
fn full() -> (Sim, Client, Socket) {
    let sim = Sim::new(Server::new());
    let client = sim.connect();
    let socket = sim.server().sockets().remove(0);
    client.stop_reading();
    socket.emit("x", "y".repeat(900_000)).unwrap();
    sim.run();
    assert!(socket.queued_bytes() > LOW_WATER);
    (sim, client, socket)
}

/// Emits numbered messages of 10,000 bytes, each as soon as the client can take more. Returns the most bytes that were
/// queued.
async fn produce(socket: Socket, count: usize) -> Result<usize, EmitError> {
    let (text, mut most) = ("x".repeat(10_000), 0);
    for n in 0..count {
        socket.writable().await?;
        socket.emit("x", (n, &text))?;
        most = most.max(socket.queued_bytes());
    }
    Ok(most)
}

#[track_caller]
fn expect_all(texts: &[String], count: usize) {
    assert_eq!(texts.len(), count);
    for (n, text) in texts.iter().enumerate() {
        assert!(text.starts_with(&format!(r#"42["x",{n},"#)), "{n}: {}", &text[..20]);
    }
}

#[test]
fn a_producer_that_waits_loses_nothing_and_queues_little() {
    let sim = Sim::new(Server::new());
    let client = sim.connect();
    let socket = sim.server().sockets().remove(0);
    client.stop_reading();
    // Five times the send buffer.
    let most = sim.spawn(produce(socket.clone(), 2000));
    assert_eq!(most.take(), None);
    let queued = socket.queued_bytes();
    client.take_some();
    client.take_some();
    assert!(most.take().is_none() && socket.queued_bytes().abs_diff(queued) < 100_000);
    client.resume_reading();
    expect_all(&client.texts(), 2000);
    let most = most.take().unwrap().unwrap();
    assert!((LOW_WATER..LOW_WATER + 11_000).contains(&most), "{most}");
    assert!(socket.is_connected());
}

#[test]
fn a_producer_that_waits_goes_on_with_each_poll() {
    let sim = Sim::new(Server::new());
    let mut client = sim.polling();
    client.join();
    let socket = sim.server().sockets().remove(0);
    let most = sim.spawn(produce(socket, 300));
    let mut texts = Vec::new();
    while most.take().is_none() {
        let packets = client.poll();
        assert!(!packets.is_empty());
        texts.extend(packets);
    }
    texts.extend(client.poll());
    expect_all(&texts, 300);
}

#[test]
fn a_client_that_reads_slowly_answers_its_pings_beside_a_producer() {
    let sim = Sim::new(Server::new());
    let client = sim.connect();
    let socket = sim.server().sockets().remove(0);
    client.stop_reading();
    let most = sim.spawn(produce(socket.clone(), usize::MAX));
    for _ in 0..300 {
        client.take_some();
        sim.advance(SECOND);
    }
    assert!(socket.is_connected() && most.take().is_none());
}

#[test]
fn a_small_send_buffer_is_filled_by_half() {
    let sim = Sim::new(Server::builder().send_buffer(100_000).build());
    let client = sim.connect();
    client.stop_reading();
    let most = sim.spawn(produce(sim.server().sockets().remove(0), 50));
    client.resume_reading();
    expect_all(&client.texts(), 50);
    assert!((50_000..61_000).contains(&most.take().unwrap().unwrap()));
}

#[test]
fn a_client_with_a_short_queue_is_writable_at_once() {
    let sim = Sim::new(Server::new());
    let _client = sim.connect();
    let socket = sim.server().sockets().remove(0);
    let mut writable = pin!(socket.writable());
    assert_eq!(writable.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(())));
}

#[test]
fn all_tasks_that_wait_for_a_client_are_woken() {
    let (sim, client, socket) = full();
    let waits: Vec<_> = (0..10).map(|_| sim.spawn(produce(socket.clone(), 1))).collect();
    assert!(waits.iter().all(|wait| wait.take().is_none()));
    client.resume_reading();
    assert!(waits.iter().all(|wait| wait.take().is_some_and(|most| most.is_ok())));
}

/// The ways in which a wait ends without capacity.
#[test]
fn a_wait_ends_with_the_socket() {
    let ends: [fn(&Sim, &mut Client, &Socket); 7] = [
        |_, _, socket| socket.disconnect(true),
        |_, _, socket| socket.disconnect(false),
        |_, client, _| client.send("41"),
        |_, client, _| client.break_off(),
        // It answers no ping.
        |sim, _, _| sim.advance(46 * SECOND),
        // More than the send buffer.
        |_, _, socket| while socket.emit("x", "y".repeat(900_000)).is_ok() {},
        |sim, _, _| sim.server().begin_close(),
    ];
    for (at, end) in ends.into_iter().enumerate() {
        let (sim, mut client, socket) = full();
        // Its packets are read although its queue is long.
        if at == 2 {
            (0..12).for_each(|_| client.take_some());
            socket.emit("x", "y".repeat(200_000)).unwrap();
        }
        let wait = sim.spawn(produce(socket.clone(), 1));
        assert_eq!(wait.take(), None, "{at}");
        end(&sim, &mut client, &socket);
        sim.run();
        assert_eq!(wait.take(), Some(Err(EmitError::Disconnected)), "{at}");
        // Afterwards no wait begins.
        assert_eq!(sim.spawn(produce(socket, 1)).take(), Some(Err(EmitError::Disconnected)), "{at}");
    }
}

#[test]
fn a_wait_ends_when_the_server_is_dropped() {
    let (sim, client, socket) = full();
    let calls = Arc::new(Calls::default());
    let waker = Waker::from(calls.clone());
    let mut writable = pin!(socket.writable());
    assert!(writable.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    drop((sim, client));
    assert!(calls.0.load(Ordering::SeqCst) > 0);
    let poll = writable.as_mut().poll(&mut Context::from_waker(&waker));
    assert_eq!(poll, Poll::Ready(Err(EmitError::Disconnected)));
}

#[test]
fn a_socket_that_leaves_does_not_end_the_wait_of_another_of_its_client() {
    let sim = Sim::new(Server::new());
    sim.server().of("/a");
    let mut client = sim.connect();
    client.join("/a");
    let other = sim.server().of("/a").sockets().remove(0);
    let socket = sim.server().sockets().remove(0);
    client.stop_reading();
    socket.emit("x", "y".repeat(900_000)).unwrap();
    let waits = [socket.clone(), other.clone()].map(|socket| sim.spawn(produce(socket, 1)));
    other.disconnect(false);
    sim.run();
    assert_eq!(waits[1].take(), Some(Err(EmitError::Disconnected)));
    assert_eq!(waits[0].take(), None);
    client.resume_reading();
    assert!(waits[0].take().is_some_and(|most| most.is_ok()));
}

#[derive(Default)]
struct Calls(AtomicUsize);

impl Wake for Calls {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_wait_that_is_dropped_leaves_nothing() {
    let (_sim, client, socket) = full();
    let calls = Arc::new(Calls::default());
    let waker = Waker::from(calls.clone());
    {
        let mut writable = pin!(socket.writable());
        assert!(writable.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    drop(waker);
    assert_eq!(Arc::strong_count(&calls), 1);
    client.resume_reading();
    assert_eq!(calls.0.load(Ordering::SeqCst), 0);
}
