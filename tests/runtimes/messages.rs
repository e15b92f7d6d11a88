//! Events, acknowledgements, rooms.

use crate::client::{Frame, PATIENCE, Polling, WebSocket};
use crate::start::Start;
use bytes::Bytes;
use sockeye::extract::Data;
use sockeye::{Args, Server, Socket};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// A server whose clients get their events back, and acknowledged.
fn echo() -> Server {
    let io = Server::new();
    io.on_connect(async |socket: Socket| {
        socket.on("echo", async |socket: Socket, args: Args| socket.emit("echo", args));
    });
    io
}

pub(crate) fn a_client_connects(start: Start) {
    let running = start(Server::new());
    // Checks the replies.
    let _client = WebSocket::connect(running.address);
    assert_eq!(running.server.clients_count(), 1);
    let mut other = WebSocket::connect(running.address);
    other.send("40/nowhere,");
    other.expect(r#"44/nowhere,{"message":"Invalid namespace"}"#);
}

pub(crate) fn echoes_come_back_in_order(start: Start) {
    let running = start(echo());
    let mut client = WebSocket::connect(running.address);
    for i in 0..1000 {
        client.queue(&format!(r#"42["echo",{i}]"#));
    }
    client.flush();
    for i in 0..1000 {
        client.expect(&format!(r#"42["echo",{i}]"#));
    }
}

pub(crate) fn a_client_that_reads_late_gets_everything(start: Start) {
    let running = start(echo());
    let mut client = WebSocket::connect(running.address);
    // More than the send buffer and what the kernel takes: the server has to stop reading.
    let filler = "x".repeat(32 << 10);
    for i in 0..1000 {
        client.queue(&format!(r#"42["echo",{i},"{filler}"]"#));
    }
    let writing = client.flush_beside();
    for i in 0..1000 {
        client.expect(&format!(r#"42["echo",{i},"{filler}"]"#));
    }
    writing.join().unwrap();
}

pub(crate) fn text_and_binary_come_back(start: Start) {
    let running = start(echo());
    let mut client = WebSocket::connect(running.address);
    client.send(r#"42["echo","grüß 🦀",{"a":[1,null]}]"#);
    client.expect(r#"42["echo","grüß 🦀",{"a":[1,null]}]"#);
    let binary = r#"452-["echo",{"_placeholder":true,"num":0},{"b":{"_placeholder":true,"num":1}}]"#;
    client.send(binary);
    client.send_binary(&[0, 1, 255]);
    client.send_binary(&[]);
    client.expect(binary);
    assert_eq!(client.next(), Frame::Binary(vec![0, 1, 255]));
    assert_eq!(client.next(), Frame::Binary(vec![]));
}

pub(crate) fn what_a_handler_returns_is_the_acknowledgement(start: Start) {
    let io = Server::new();
    io.on_connect(async |socket: Socket| {
        socket.on("add", async |Data((a, b)): Data<(i64, i64)>| a + b);
        socket.on("bytes", async |Data(bytes): Data<Bytes>| (bytes.len(), bytes));
        socket.on("both", async |socket: Socket| {
            let _ = socket.emit("first", ());
            "second"
        });
    });
    let running = start(io);
    let mut client = WebSocket::connect(running.address);
    client.send(r#"427["add",2,3]"#);
    client.expect("437[5]");
    client.send(r#"451-8["bytes",{"_placeholder":true,"num":0}]"#);
    client.send_binary(b"abc");
    client.expect(r#"461-8[3,{"_placeholder":true,"num":0}]"#);
    assert_eq!(client.next(), Frame::Binary(b"abc".to_vec()));
    client.send(r#"429["both"]"#);
    client.expect(r#"42["first"]"#);
    client.expect(r#"439["second"]"#);
}

/// A server that passes on what its client answers within a time.
fn asking(timeout: Duration) -> Server {
    let io = Server::new();
    io.on_connect(move |socket: Socket| async move {
        socket.on("ask me", move |socket: Socket| async move {
            let answer = socket.timeout(timeout).emit_with_ack::<String>("question", "name?").await;
            answer.unwrap_or_else(|error| error.to_string())
        });
        socket.on("echo", async |socket: Socket, args: Args| socket.emit("echo", args));
    });
    io
}

pub(crate) fn an_acknowledgement_of_the_client_is_awaited(start: Start) {
    let running = start(asking(PATIENCE));
    let mut client = WebSocket::connect(running.address);
    client.send(r#"421["ask me"]"#);
    client.expect(r#"420["question","name?"]"#);
    client.send(r#"430["crab"]"#);
    client.expect(r#"431["crab"]"#);

    // By a thread that is none of the runtime's.
    let socket = running.server.sockets().pop().unwrap();
    let answer = socket.emit_with_ack::<(u8, u8)>("numbers", ());
    client.expect(r#"421["numbers"]"#);
    client.send("431[1,2]");
    assert_eq!(smol::block_on(answer).unwrap(), (1, 2));
}

pub(crate) fn an_acknowledgement_that_does_not_come_times_out(start: Start) {
    let timeout = Duration::from_millis(50);
    let running = start(asking(timeout));
    let mut client = WebSocket::connect(running.address);
    let begin = Instant::now();
    client.send(r#"421["ask me"]"#);
    client.expect(r#"420["question","name?"]"#);
    client.expect(r#"431["operation has timed out"]"#);
    assert!(begin.elapsed() >= timeout && begin.elapsed() < PATIENCE / 2);
    // Too late: nothing comes of it.
    client.send(r#"430["crab"]"#);

    let socket = running.server.sockets().pop().unwrap();
    let answer = socket.timeout(timeout).emit_with_ack::<()>("numbers", ());
    client.expect(r#"421["numbers"]"#);
    assert_eq!(smol::block_on(answer).unwrap_err().to_string(), "operation has timed out");
}

pub(crate) fn rooms_reach_websocket_and_polling_at_once(start: Start) {
    let io = Server::new();
    io.on_connect(async |socket: Socket| {
        socket.on("join", async |socket: Socket, Data(room): Data<String>| socket.join(room));
        socket.on("say", async |socket: Socket, Data((room, text)): Data<(String, String)>| {
            socket.to(room).emit("said", text).sent
        });
        socket.on("tell all", async |socket: Socket, Data(text): Data<String>| {
            socket.broadcast().emit("told", text).sent
        });
    });
    let running = start(io);
    let mut one = WebSocket::connect(running.address);
    let mut two = WebSocket::connect(running.address);
    let mut polling = Polling::connect(running.address);
    one.send(r#"421["join","red"]"#);
    one.expect("431[]");
    polling.send(r#"421["join","red"]"#);
    assert_eq!(polling.poll(), "431[]");

    two.send(r#"421["say","red","to red"]"#);
    two.expect("431[2]");
    one.expect(r#"42["said","to red"]"#);
    assert_eq!(polling.poll(), r#"42["said","to red"]"#);

    one.send(r#"422["tell all","hello"]"#);
    one.expect("432[2]");
    two.expect(r#"42["told","hello"]"#);
    assert_eq!(polling.poll(), r#"42["told","hello"]"#);

    // One message with an attachment, in three queues at once.
    polling.begin_poll();
    let delivery = running.server.emit("all", ("x", Bytes::from_static(&[1, 2, 3])));
    assert_eq!((delivery.sent, delivery.dropped, delivery.error), (3, 0, None));
    let text = r#"451-["all","x",{"_placeholder":true,"num":0}]"#;
    for client in [&mut one, &mut two] {
        client.expect(text);
        assert_eq!(client.next(), Frame::Binary(vec![1, 2, 3]));
    }
    assert_eq!(polling.end_poll(), format!("{text}\u{1e}bAQID"));
}

pub(crate) fn another_thread_emits(start: Start) {
    let running = start(Server::new());
    let mut clients = [(); 2].map(|()| WebSocket::connect(running.address));
    let server = running.server.clone();
    let emitting = std::thread::spawn(move || {
        for i in 0..500 {
            assert_eq!(server.emit("tick", i).sent, 2);
        }
    });
    for i in 0..500 {
        for client in &mut clients {
            client.expect(&format!(r#"42["tick",{i}]"#));
        }
    }
    emitting.join().unwrap();
    // One at a time: the runtime sleeps when each is emitted.
    for i in 0..50 {
        running.server.emit("tock", i);
        for client in &mut clients {
            client.expect(&format!(r#"42["tock",{i}]"#));
        }
    }
}

pub(crate) fn a_handler_that_waits_holds_up_nobody(start: Start) {
    let running = start(asking(PATIENCE));
    let mut client = WebSocket::connect(running.address);
    client.send(r#"421["ask me"]"#);
    client.expect(r#"420["question","name?"]"#);
    client.send(r#"42["echo","meanwhile"]"#);
    client.expect(r#"42["echo","meanwhile"]"#);
    let mut other = WebSocket::connect(running.address);
    other.send(r#"42["echo","here, too"]"#);
    other.expect(r#"42["echo","here, too"]"#);
    client.send(r#"430["crab"]"#);
    client.expect(r#"431["crab"]"#);

    // More of them than may run: the client is not read until one has its answer.
    for i in 0..300 {
        client.queue(&format!(r#"42{i}["ask me"]"#));
    }
    client.flush();
    for i in 1..=256 {
        client.expect(&format!(r#"42{i}["question","name?"]"#));
    }
    other.send(r#"42["echo","still here"]"#);
    other.expect(r#"42["echo","still here"]"#);
}

pub(crate) fn large_messages_go_both_ways(start: Start) {
    let (came, lengths) = mpsc::channel();
    let io = Server::new();
    io.on_connect(move |socket: Socket| {
        let came = came.clone();
        async move {
            socket.on("echo", move |socket: Socket, Data(text): Data<String>| {
                came.send(text.len()).unwrap();
                async move { socket.emit("echo", text) }
            });
            socket.on("bytes", async |Data(bytes): Data<Bytes>| bytes);
        }
    });
    let running = start(io);
    let mut client = WebSocket::connect(running.address);
    let message = format!(r#"42["echo","{}"]"#, "y".repeat(900_000));
    client.send(&message);
    assert_eq!(lengths.recv_timeout(PATIENCE), Ok(900_000));
    client.expect(&message);

    let data: Vec<u8> = (0..900_000_u32).map(|i| i as u8).collect();
    client.send(r#"451-0["bytes",{"_placeholder":true,"num":0}]"#);
    client.send_binary(&data);
    client.expect(r#"461-0[{"_placeholder":true,"num":0}]"#);
    assert!(client.next() == Frame::Binary(data));
}
