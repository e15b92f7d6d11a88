//! Payloads of many packets: each turn handles a part, so that one server cannot keep a thread busy.

use super::rig::{OPEN, Stream, Woken, World, by_polling, polling};
use sockeye::Client;
use sockeye::client::{ClientCloseReason, ClientConnectError};
use sockeye::extract::Data;
use sockeye::host::Runtime;
use sockeye_core::protocol::StreamStatus;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Maximum number of packets that one turn may handle.
const MAX_TURN: usize = 1024;

/// Registers a handler that keeps the numbers that it receives.
fn numbers(client: &Client) -> Arc<Mutex<Vec<u32>>> {
    let numbers = Arc::new(Mutex::new(Vec::new()));
    let kept = numbers.clone();
    client.on("number", move |Data(number): Data<u32>| {
        kept.lock().unwrap().push(number);
        async {}
    });
    numbers
}

/// Returns a payload of numbers from 0 to `count`.
fn payload(count: u32) -> String {
    let packets: Vec<_> = (0..count).map(|number| format!(r#"42["number",{number}]"#)).collect();
    packets.join("\u{1e}")
}

/// A client that has joined the main namespace and polls, and the stream of its poll.
fn joined(world: &Arc<World>) -> (Client, Stream, Stream) {
    let (client, mut poll, post) = polling(world);
    poll.respond(r#"40{"sid":"s"}"#);
    poll.written();
    (client, poll, post)
}

#[test]
fn a_payload_of_many_packets_takes_many_turns_and_keeps_their_order() {
    const COUNT: u32 = 100_000;
    let world = World::new();
    let (client, mut poll, mut post) = joined(&world);
    let numbers = numbers(&client);
    let woken = Arc::new(Woken::default());
    poll.protocol.set_waker(&Waker::from(woken.clone()));
    poll.respond(&payload(COUNT));
    let mut before = 0;
    loop {
        let count = numbers.lock().unwrap().len();
        assert!(count > before && count - before <= MAX_TURN, "{before}, then {count}");
        before = count;
        if count == COUNT as usize {
            break;
        }
        assert!(woken.0.swap(false, Ordering::SeqCst) && !poll.protocol.wants_read());
        poll.protocol.handle_wake(poll.now);
        // Other work goes on between the turns.
        client.emit("between", ()).unwrap();
        assert!(post.written().ends_with(r#"42["between"]"#));
        post.respond("ok");
    }
    assert!(numbers.lock().unwrap().iter().copied().eq(0..COUNT));
    assert!(poll.written().starts_with("GET ") && poll.protocol.wants_read());
}

#[test]
fn the_rest_of_a_payload_is_handled_although_its_connection_ends() {
    for keeps_alive in [true, false] {
        let world = World::new();
        let (client, mut poll, _post) = joined(&world);
        let numbers = numbers(&client);
        let header = if keeps_alive { "" } else { "Connection: close\r\n" };
        poll.respond_with(header, &payload(5000));
        if keeps_alive {
            poll.protocol.handle_eof(poll.now);
        }
        assert!(numbers.lock().unwrap().len() < 5000);
        for _ in 0..4 {
            assert_eq!((world.wanted(), poll.protocol.status()), (0, StreamStatus::Open));
            poll.protocol.handle_wake(poll.now);
        }
        assert_eq!(numbers.lock().unwrap().len(), 5000);
        assert_eq!(poll.protocol.status(), StreamStatus::Closed);
        assert!(client.is_connected() && world.stream().written().starts_with("GET "));
    }
}

#[test]
fn a_stream_that_breaks_before_its_payload_was_handled_ends_the_connection() {
    let world = World::new();
    let (client, mut poll, _post) = joined(&world);
    let numbers = numbers(&client);
    poll.respond(&payload(5000));
    drop(poll);
    assert!(numbers.lock().unwrap().len() < 5000 && !client.is_connected());
}

#[test]
fn one_payload_cannot_replay_more_than_the_application_can_take() {
    let world = World::new();
    let client = world.client(by_polling);
    let _events = client.events();
    client.connect();
    let mut streams = vec![world.stream()];
    let open = |streams: &mut Vec<Stream>| {
        let mut poll = streams.remove(0);
        poll.now = world.now();
        poll.written();
        poll.respond(OPEN);
        world.run();
        poll.written();
        let mut post = world.stream();
        assert!(post.written().contains("\r\n\r\n40"));
        post.respond("ok");
        (poll, post)
    };
    let (mut poll, _post) = open(&mut streams);
    let large = format!(r#"42["large","{}","1678463742834-0"]"#, "x".repeat(1 << 20));
    poll.respond(&format!("40{{\"sid\":\"s\",\"pid\":\"p\"}}\u{1e}{large}"));
    poll.written();
    assert!(client.is_connected());
    drop(poll);
    world.run();
    world.advance(Duration::from_secs(5));
    let mut streams = vec![world.stream()];
    let (mut poll, _post) = open(&mut streams);
    let mut connected = pin!(client.connected());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(connected.as_mut().poll(&mut cx).is_pending());
    poll.respond(&[&*large; 14].join("\u{1e}"));
    let mut turns = 0;
    let result = loop {
        match connected.as_mut().poll(&mut cx) {
            Poll::Ready(result) => break result,
            Poll::Pending => poll.protocol.handle_wake(poll.now),
        }
        turns += 1;
        assert!(turns < 20, "everything was taken");
    };
    assert_eq!(result, Err(ClientConnectError::Closed(ClientCloseReason::Behind)));
}
