//! A client without sockets: the test plays the network, the clock and the executor.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "client_alone/behind.rs"]
mod behind;
#[path = "client_alone/failures.rs"]
mod failures;
#[path = "client_alone/observed.rs"]
mod observed;
#[path = "client_alone/payloads.rs"]
mod payloads;
#[path = "client_alone/rig.rs"]
mod rig;

use rig::{IN_RUNTIME, OPEN, Stream, World, at_once, by_polling, by_websocket, polling, woken_by};
use sockeye::Client;
use sockeye::client::{
    BuildError, ClientAckError, ClientCloseReason, ClientConnectError, ClientDisconnectReason,
    ClientEmitError, ClientSocket,
};
use sockeye::host::Runtime;
use std::future::pending;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

#[test]
fn a_client_needs_a_transport() {
    assert_eq!(Client::builder("http://server").transports([]).build().err(), Some(BuildError::NoTransport));
}

#[test]
fn waiting_for_a_connection_ends_when_the_client_is_closed() {
    let client = World::new().client(by_websocket);
    client.connect();
    let error = woken_by(client.connected(), || client.close()).unwrap_err();
    assert_eq!(error.to_string(), "io client disconnect");
}

#[test]
fn an_earlier_failure_is_not_reported_as_the_reason_of_a_later_disconnect() {
    let world = World::new();
    let client = world.client(by_websocket);
    client.connect();
    let mut stream = world.stream();
    let error = woken_by(client.connected(), || {
        stream.protocol.handle_failed(world.now(), &io::Error::other("nobody there"));
    });
    assert!(error.unwrap_err().to_string().contains("nobody there"));
    world.run();
    world.advance(Duration::from_secs(5));
    let mut stream = world.stream();
    stream.join();
    assert!(client.is_connected());
    client.disconnect();
    let mut connected = pin!(client.connected());
    let Poll::Ready(Err(error)) = connected.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("the client must not be connected");
    };
    assert_eq!(error.to_string(), "io client disconnect");
}

#[test]
fn waiting_for_a_namespace_ends_when_a_call_of_the_application_notices_that_the_connection_is_lost() {
    let world = World::new();
    let client = world.client(by_websocket);
    client.connect();
    let mut stream = world.stream();
    stream.join();
    let other = client.socket("/other");
    other.connect();
    let error = woken_by(other.connected(), || {
        *world.now.lock().unwrap() = world.now() + Duration::from_secs(100);
        drop(client.emit("m", ()));
    });
    assert_eq!(error, Err(ClientConnectError::Closed(ClientCloseReason::PingTimeout)));
}

#[test]
fn waiting_for_a_message_or_its_answer_ends_when_the_client_is_dropped() {
    let client = World::new().client(by_websocket);
    let sent = client.emit("late", ()).unwrap();
    assert!(matches!(woken_by(sent, || drop(client)), Err(ClientEmitError::Disconnected)));

    let client = World::new().client(by_websocket);
    let answer = client.emit_with_ack::<()>("late", ());
    assert!(matches!(woken_by(answer, || drop(client)), Err(ClientAckError::Disconnected)));
}

#[test]
fn no_handler_runs_inside_of_a_call_of_the_application() {
    let world = World::new();
    let client = world.client(|builder| by_websocket(builder).timeout(Duration::from_secs(20)));
    let other = client.socket("/other");
    let lock = Arc::new(Mutex::new(Vec::new()));
    let telling = |what: &'static str| {
        let lock = lock.clone();
        move || {
            lock.try_lock().expect("nobody holds it").push(what);
            async {}
        }
    };
    client.on_any_outgoing(telling("outgoing"));
    client.on_disconnect(telling("disconnect"));
    other.on_connect_error(telling("connect_error"));
    client.on_manager_event({
        let tell = telling("manager");
        move |_| drop(tell())
    });
    let call = |call: &dyn Fn()| {
        let held = lock.lock().unwrap();
        call();
        assert!(held.is_empty());
        drop(held);
        world.run();
        std::mem::take(&mut *lock.lock().unwrap())
    };
    client.connect();
    let mut stream = world.stream();
    stream.join();
    world.run();
    assert_eq!(call(&|| drop(client.emit("m", ()))), ["outgoing"]);
    assert_eq!(call(&|| client.disconnect()), ["disconnect"]);
    drop(stream);
    client.connect();
    let mut stream = world.stream();
    stream.join();
    other.connect();
    world.run();
    // Time passes that nobody has looked at: each call does.
    *world.now.lock().unwrap() = world.now() + Duration::from_secs(100);
    assert_eq!(call(&|| drop(client.emit("m", ()))), ["disconnect", "connect_error"]);
    *world.now.lock().unwrap() = world.now() + Duration::from_secs(100);
    assert_eq!(call(&|| client.socket("/third").connect()), ["manager"]);
    assert_eq!(call(&|| client.close()), [""; 0]);
}

#[test]
fn handlers_begin_on_the_runtime_whichever_thread_causes_the_event() {
    let world = World::new();
    let client = world.client(by_websocket);
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = told.clone();
    client.on_disconnect(move || {
        tell.lock().unwrap().push(IN_RUNTIME.get());
        async {}
    });
    client.connect();
    let mut stream = world.stream();
    stream.join();
    client.disconnect();
    world.run();
    assert_eq!(*told.lock().unwrap(), [true]);
}

#[test]
fn the_applications_and_the_servers_cookies_are_sent_in_one_header() {
    let world = World::new();
    let client = world.client(|builder| builder.extra_header("cookie", "login=a"));
    client.connect();
    let mut stream = world.stream();
    assert!(stream.written().contains("\r\nCookie: login=a\r\n"));
    let open = r#"0{"sid":"a","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;
    let head = format!("HTTP/1.1 200 OK\r\nSet-Cookie: server=1; Path=/\r\nContent-Length: {}", open.len());
    stream.send(format!("{head}\r\n\r\n{open}").as_bytes());
    let next = stream.written().to_lowercase();
    assert_eq!(next.matches("cookie").count(), 1, "{next}");
    assert!(next.contains("\r\ncookie: login=a; server=1\r\n"), "{next}");
}

#[test]
fn an_auth_callback_that_never_completes_is_dropped_at_the_timeout() {
    struct Held(#[allow(dead_code)] Arc<()>);
    let world = World::new();
    let held = Arc::new(());
    let hold = held.clone();
    let client = world.client(|builder| {
        by_websocket(builder).timeout(Duration::from_secs(20)).auth_with(move || {
            let held = Held(hold.clone());
            async move {
                let _held = held;
                pending::<Result<(), String>>().await
            }
        })
    });
    client.connect();
    world.stream().open();
    world.run();
    let waiting = Arc::strong_count(&held);
    world.advance(Duration::from_secs(21));
    assert_eq!(Arc::strong_count(&held), waiting - 1);
}

#[test]
fn a_cookie_is_sent_until_its_time_has_come() {
    let world = World::new();
    let client = world.client(by_polling);
    client.connect();
    let mut stream = world.stream();
    stream.written();
    let cookies = "Set-Cookie: a=1; Max-Age=2\r\nSet-Cookie: b=2\r\n\
                   Set-Cookie: c=3; Expires=Thu, 01 Jan 1970 00:00:00 GMT\r\n";
    stream.respond_with(cookies, OPEN);
    assert!(stream.written().contains("\r\nCookie: a=1; b=2\r\n"));
    world.advance(Duration::from_secs(2));
    stream.now = world.now();
    stream.respond("6");
    assert!(stream.written().contains("\r\nCookie: b=2\r\n"));
}

#[test]
fn the_protocol_s_own_parameters_win_and_stand_once() {
    let world = World::new();
    let url = "http://server/?EIO=3&token=a&transport=websocket&sid=x&b64=1&E%49O=5";
    let client = by_polling(Client::builder(url)).query("t", "mine").query("room", "b").build().unwrap();
    client.attach(world.clone());
    client.connect();
    let mut stream = world.stream();
    let query = |request: String| {
        let query = request.split(['?', ' ']).nth(2).unwrap().to_owned();
        query.split('&').filter(|pair| !pair.starts_with("t=")).map(String::from).collect::<Vec<_>>()
    };
    let first = stream.written();
    assert_eq!(first.matches("t=").count() - first.matches("transport=").count(), 1, "{first}");
    assert_eq!(query(first), ["token=a", "room=b", "EIO=4", "transport=polling"]);
    stream.respond(&OPEN.replace(r#""a""#, r#""custom:id+/=#1""#));
    let sid = "sid=custom%3Aid%2B%2F%3D%231";
    assert_eq!(query(stream.written()), ["token=a", "room=b", "EIO=4", "transport=polling", sid]);
}

#[test]
fn a_post_on_a_kept_connection_that_the_server_just_closes_is_sent_again_once() {
    let ends: [fn(Stream); 2] = [|mut stream| stream.protocol.handle_eof(stream.now), drop];
    for end in ends {
        let world = World::new();
        let (client, mut poll, mut post) = polling(&world);
        poll.respond(r#"40{"sid":"s"}"#);
        poll.written();
        client.emit("long", "x".repeat(1000)).unwrap();
        client.emit("short", ()).unwrap();
        let sent = post.written();
        assert!(sent.starts_with("POST ") && sent.ends_with(r#"42["short"]"#));
        end(post);
        assert!(client.is_connected());
        let mut post = world.stream();
        assert_eq!(post.written(), sent);
        post.respond("ok");
        assert!(client.is_connected());

        // A second time it is no accident.
        client.emit("again", ()).unwrap();
        let sent = post.written();
        end(post);
        let mut post = world.stream();
        assert_eq!(post.written(), sent);
        end(post);
        assert_eq!((world.wanted(), client.is_connected()), (0, false));
    }
}

#[test]
fn a_poll_is_sent_again_only_if_the_server_cannot_have_seen_it() {
    let world = World::new();
    let (client, mut poll, _post) = polling(&world);
    poll.respond(r#"40{"sid":"s"}"#);
    poll.protocol.handle_eof(poll.now);
    let mut poll = world.stream();
    assert!(poll.written().starts_with("GET "));
    poll.respond(r#"42["m"]"#);
    assert!(client.is_connected());
    // With its answer events could be lost.
    poll.written();
    poll.protocol.handle_eof(poll.now);
    assert_eq!((world.wanted(), client.is_connected()), (0, false));
}

#[test]
fn a_request_is_not_sent_again_once_a_byte_of_an_answer_came() {
    let world = World::new();
    let (client, mut poll, mut post) = polling(&world);
    poll.respond(r#"40{"sid":"s"}"#);
    client.emit("m", ()).unwrap();
    post.written();
    let mut byte = *b"H";
    post.protocol.handle_data(post.now, &mut byte);
    post.protocol.handle_eof(post.now);
    assert_eq!((world.wanted(), client.is_connected()), (0, false));
}

#[test]
fn without_a_runtime_nothing_waits() {
    let client = by_websocket(Client::builder("http://server")).build().unwrap();
    let mut events = client.events();
    client.connect();
    let error = at_once(client.connected()).unwrap_err();
    assert_eq!(error.to_string(), "the client has no runtime, or its runtime has ended");
    assert!(matches!(at_once(client.emit_with_ack::<()>("m", ())), Err(ClientAckError::Disconnected)));
    assert!(matches!(at_once(client.emit("m", ()).unwrap()), Err(ClientEmitError::Disconnected)));
    assert!(at_once(events.recv_timeout(Duration::from_secs(1))).is_none());
    at_once(client.closed());

    // It is joined all the same when there is one.
    let world = World::new();
    client.attach(world.clone());
    world.run();
    let mut stream = world.stream();
    stream.join();
    assert!(client.is_connected());
}

#[test]
fn a_client_whose_runtime_has_ended_says_so() {
    for with_streams in [false, true] {
        let world = World::new();
        let client = world.client(by_websocket);
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = told.clone();
        client.on_disconnect(move |reason: ClientDisconnectReason| {
            tell.lock().unwrap().push(reason);
            async {}
        });
        client.connect();
        let mut stream = world.stream();
        stream.join();
        world.run();
        stream.send_text(r#"42["last"]"#);
        let mut events = client.events();
        let answer = client.emit_with_ack::<()>("m", ());
        let answer = woken_by(answer, || {
            if with_streams {
                drop(stream);
            }
            world.end();
        });
        assert!(matches!(answer, Err(ClientAckError::Disconnected)));
        assert_eq!(told.lock().unwrap().len(), 1);
        assert!(at_once(events.recv()).is_none());
        assert!(at_once(events.recv_timeout(Duration::from_secs(1))).is_none());
        assert!(at_once(client.events().recv()).is_none());
        client.connect();
        let error = at_once(client.connected()).unwrap_err();
        assert_eq!(error.to_string(), "the client has no runtime, or its runtime has ended");
        assert!(matches!(client.emit("m", ()), Err(ClientEmitError::Disconnected)));
        assert_eq!((client.is_active(), client.buffered(), world.wanted()), (false, 0, 0));
        at_once(client.closed());
        let next = World::new();
        let another = client.another();
        another.attach(next.clone());
        another.connect();
        let mut stream = next.stream();
        stream.join();
        assert!(another.is_connected());
    }
}

#[test]
fn a_path_without_a_leading_slash_gets_one() {
    let world = World::new();
    let client = world.client(|builder| by_websocket(builder).path("elsewhere"));
    client.connect();
    let written = world.stream().written();
    assert!(written.starts_with("GET /elsewhere/?"), "{written}");
}

#[test]
fn bytes_extend_the_deadline_of_a_ping_as_long_as_the_builder_says() {
    for (timeout, is_connected) in [(5, false), (7, true)] {
        let world = World::new();
        let client = world.client(|it| by_websocket(it).message_timeout(Duration::from_secs(timeout)));
        client.connect();
        let mut stream = world.stream();
        stream.join();
        world.run();
        world.advance(Duration::from_secs(44));
        stream.now = world.now();
        // The head of a message whose rest does not come.
        stream.protocol.handle_data(stream.now, &mut [0x81, 100]);
        world.advance(Duration::from_secs(2));
        assert!(client.is_connected(), "the ping was expected after 45 seconds");
        world.advance(Duration::from_secs(5));
        assert_eq!(client.is_connected(), is_connected, "{timeout}");
    }
}

#[test]
fn bytes_of_a_message_that_stands_still_extend_the_deadline_of_a_ping_once() {
    let world = World::new();
    let client = world.client(by_websocket);
    client.connect();
    let mut stream = world.stream();
    stream.join();
    world.run();
    for seconds in [44, 10] {
        world.advance(Duration::from_secs(seconds));
        stream.now = world.now();
        // Passed again in each turn, because its rest does not come.
        stream.protocol.handle_data(stream.now, &mut [0x81, 100]);
    }
    assert!(client.is_connected());
    world.advance(Duration::from_secs(11));
    assert!(!client.is_connected(), "20 seconds after the last byte");
}

/// A waker that does nothing, whose references can be counted.
struct Counted;

impl Wake for Counted {
    fn wake(self: Arc<Self>) {}
}

#[test]
fn a_client_keeps_one_waker_for_each_task_that_awaits_its_end() {
    let world = World::new();
    let client = world.client(by_websocket);
    client.connect();
    let (first, second) = (Arc::new(Counted), Arc::new(Counted));
    {
        let mut closed = pin!(client.closed());
        for task in [&first, &second, &second] {
            let waker = Waker::from(task.clone());
            assert!(closed.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        assert_eq!((Arc::strong_count(&first), Arc::strong_count(&second)), (1, 2));
    }
    assert_eq!(Arc::strong_count(&second), 1, "the future was dropped");
}

#[test]
fn a_future_of_a_connection_leaves_no_waker_when_it_is_dropped() {
    let world = World::new();
    let client = world.client(by_websocket);
    client.connect();
    let tasks = [(); 100].map(|()| Arc::new(Counted));
    for task in &tasks {
        let mut connected = pin!(client.connected());
        let waker = Waker::from(task.clone());
        assert!(connected.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    assert!(tasks.iter().all(|task| Arc::strong_count(task) == 1));
}

#[test]
fn a_handler_that_is_registered_after_the_end_of_its_client_is_dropped() {
    let client = World::new().client(by_websocket);
    let socket = ClientSocket::clone(&client);
    drop(client);
    let owned = Arc::new(());
    let captured = (socket.clone(), owned.clone());
    socket.on("event", move || {
        let _ = &captured;
        async {}
    });
    assert_eq!(Arc::strong_count(&owned), 1);
}

#[cfg(feature = "tokio")]
#[test]
fn a_client_outlives_a_runtime_of_tokio() {
    let client = Client::new("http://127.0.0.1:9").unwrap();
    let mut events = client.events();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        client.attach(Arc::new(sockeye::runtime::tokio::Tokio::new()));
        client.connect();
    });
    let mut connected = pin!(client.connected());
    let mut next = pin!(events.recv_timeout(Duration::from_secs(3600)));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(next.as_mut().poll(&mut cx).is_pending());
    _ = connected.as_mut().poll(&mut cx);
    drop(runtime);
    assert!(matches!(connected.as_mut().poll(&mut cx), Poll::Ready(Err(_))));
    assert!(matches!(next.as_mut().poll(&mut cx), Poll::Ready(None)));
    client.connect();
    let error = at_once(client.connected()).unwrap_err();
    assert_eq!(error.to_string(), "the client has no runtime, or its runtime has ended");
    assert!(at_once(client.events().recv_timeout(Duration::from_secs(1))).is_none());
}

#[cfg(feature = "smol")]
#[test]
fn a_client_outlives_an_executor_of_smol() {
    let client = Client::new("http://127.0.0.1:9").unwrap();
    let executor = Arc::new(smol::Executor::new());
    let runtime = Arc::new(sockeye::runtime::smol::Smol::on(&executor));
    client.attach(runtime.clone());
    client.connect();
    drop(executor);
    assert!(at_once(client.connected()).is_err() && !client.is_active());
    let late = client.another();
    late.attach(runtime);
    late.connect();
    assert!(at_once(late.connected()).is_err());
}

#[test]
fn a_handler_of_a_client_may_end_with_an_emit() {
    let world = World::new();
    let (client, mut poll, mut post) = polling(&world);
    client.on("greet", async |socket: ClientSocket| socket.emit("hello", 1));
    client.on("greet twice", async |socket: ClientSocket| {
        socket.emit("hello", 2)?;
        socket.emit("hello", 3)
    });
    poll.respond(r#"40{"sid":"s"}"#);
    poll.written();
    poll.respond("421[\"greet\"]\u{1e}422[\"greet twice\"]");
    world.run();
    let written = post.written();
    let body = written.rsplit("\r\n").next().unwrap();
    assert_eq!(
        body.split('\u{1e}').collect::<Vec<_>>(),
        [r#"42["hello",1]"#, "431[]", r#"42["hello",2]"#, r#"42["hello",3]"#, "432[]"]
    );
}

/// What a program prints whose `main` returns the error.
fn printed<T>(result: Result<T, impl std::fmt::Debug>) -> String {
    format!("{:?}", result.err().unwrap())
}

#[test]
fn an_error_that_main_returns_reads_as_a_sentence() {
    let world = World::new();
    let client = world.client(|builder| by_polling(builder).reconnection(false));
    assert_eq!(
        printed(client.volatile().emit("m", 1)),
        "the connection was not ready for a volatile message"
    );
    assert_eq!(printed(client.emit("connect", ())), "reserved event name");
    client.connect();
    let mut poll = world.stream();
    let failed = woken_by(client.connected(), || {
        poll.protocol.handle_failed(world.now(), &io::Error::other("127.0.0.1:80: refused"));
    });
    assert_eq!(printed(failed), "cannot connect: 127.0.0.1:80: refused");
    for (error, text) in [
        (r#"{"message":"no","data":{"code":1}}"#, r#"the server refused the client: no ({"code":1})"#),
        (
            r#"{"message":"Invalid namespace"}"#,
            "the server refused the client: Invalid namespace (the path of a client's url is the namespace, not the \
             path of the requests)",
        ),
    ] {
        let world = World::new();
        let (client, mut poll, _post) = polling(&world);
        let refused = woken_by(client.connected(), || poll.respond(&format!("44{error}")));
        assert_eq!(printed(refused), text);
    }
    let path = Client::builder("http://server").path("/a b").build();
    assert_eq!(
        printed(path),
        "the path of the requests, \"/a b/\", has characters that are not valid in a url"
    );
    assert_eq!(printed(sockeye::Server::new().try_of_pattern("/a")), "the pattern has no parameter");
}

#[test]
#[should_panic(
    expected = "\"/a?b\" is no namespace: a namespace's name cannot contain a question mark: a query"
)]
fn a_namespace_with_a_query_is_refused() {
    Client::new("http://server").unwrap().socket("/a?b");
}
