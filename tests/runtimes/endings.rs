//! How sessions, connections and servers end.

use crate::client::{Frame, Http, PATIENCE, Polling, WebSocket};
use crate::start::Start;
use sockeye::{Args, DisconnectReason, Server, ServerBuilder, Socket};
use std::sync::mpsc;
use std::time::Duration;

/// A server that echoes and tells why its sockets were disconnected.
pub(crate) fn reporting(builder: ServerBuilder) -> (Server, mpsc::Receiver<String>) {
    let (tell, reasons) = mpsc::channel();
    let io = builder.build();
    io.on_connect(move |socket: Socket| {
        let tell = tell.clone();
        async move {
            socket.on("echo", async |socket: Socket, args: Args| socket.emit("echo", args));
            socket.on_disconnect(move |reason: DisconnectReason| {
                let tell = tell.clone();
                async move {
                    // Handlers may wait when nobody is there any more.
                    later().await;
                    let _ = tell.send(reason.to_string());
                }
            });
        }
    });
    (io, reasons)
}

/// Waits once: the runtime has to go on with who calls this.
async fn later() {
    let mut waited = false;
    std::future::poll_fn(|cx| match std::mem::replace(&mut waited, true) {
        true => std::task::Poll::Ready(()),
        false => {
            cx.waker().wake_by_ref();
            std::task::Poll::Pending
        }
    })
    .await;
}

#[track_caller]
pub(crate) fn expect_reason(reasons: &mpsc::Receiver<String>, reason: &str) {
    assert_eq!(reasons.recv_timeout(PATIENCE).as_deref(), Ok(reason));
}

pub(crate) fn silence_ends_a_session(start: Start) {
    let builder =
        Server::builder().ping_interval(Duration::from_millis(50)).ping_timeout(Duration::from_millis(1000));
    let (io, reasons) = reporting(builder);
    let running = start(io);
    let mut client = WebSocket::connect(running.address);
    for _ in 0..3 {
        client.expect("2");
        client.send("3");
    }
    assert_eq!(running.server.clients_count(), 1);
    client.expect("2");
    client.expect_end(None);
    expect_reason(&reasons, "ping timeout");
    running.wait_until_empty();
}

pub(crate) fn a_dropped_connection_is_noticed(start: Start) {
    let (io, reasons) = reporting(Server::builder());
    let running = start(io);
    drop(WebSocket::connect(running.address));
    expect_reason(&reasons, "transport close");

    // What it has not read makes the kernel reset the connection.
    let mut client = WebSocket::connect(running.address);
    client.send(r#"42["echo",1]"#);
    client.expect(r#"42["echo",1]"#);
    let socket = running.server.sockets().pop().unwrap();
    socket.emit("unread", "x".repeat(1 << 20)).unwrap();
    assert!(matches!(client.next(), Frame::Text(_)));
    socket.emit("unread", "x".repeat(1 << 20)).unwrap();
    drop(client);
    let reason = reasons.recv_timeout(PATIENCE).unwrap();
    assert!(["transport error", "transport close"].contains(&&*reason), "{reason}");
    assert!(socket.emit("gone", ()).is_err());
    running.wait_until_empty();
}

pub(crate) fn a_dropped_poll_is_noticed(start: Start) {
    let (io, reasons) = reporting(Server::builder());
    let running = start(io);
    let mut client = Polling::connect(running.address);
    client.begin_poll();
    drop(client);
    expect_reason(&reasons, "transport error");
    running.wait_until_empty();
}

pub(crate) fn a_half_closed_websocket_ends(start: Start) {
    let (io, reasons) = reporting(Server::builder());
    let running = start(io);
    let mut client = WebSocket::connect(running.address);
    client.shut_down_writing();
    expect_reason(&reasons, "transport close");
    while client.next() != Frame::End {}
}

pub(crate) fn a_half_closed_request_is_answered(start: Start) {
    let running = start(Server::new());
    let mut client = Http::open(running.address);
    client.get("");
    client.shut_down_writing();
    assert!(client.answer().starts_with("0{"));
    client.expect_end();
}

pub(crate) fn a_client_that_does_not_read_is_closed_alone(start: Start) {
    let (io, reasons) = reporting(Server::builder().send_buffer(256 << 10));
    let running = start(io);
    let mut idle = WebSocket::connect(running.address);
    let mut reader = WebSocket::connect(running.address);
    let filler = "x".repeat(64 << 10);
    // More than the kernel takes for who does not read.
    let mut rounds = 0;
    while running.server.clients_count() == 2 {
        assert!(rounds < 1000, "nobody is closed");
        running.server.emit("data", (rounds, &filler));
        reader.expect(&format!(r#"42["data",{rounds},"{filler}"]"#));
        rounds += 1;
    }
    expect_reason(&reasons, "transport error");
    reader.send(r#"42["echo","unaffected"]"#);
    reader.expect(r#"42["echo","unaffected"]"#);
    // What it is told comes after whole messages.
    let mut received = 0;
    loop {
        match idle.next() {
            Frame::Text(text) => {
                assert!(text == format!(r#"42["data",{received},"{filler}"]"#));
                received += 1;
            }
            end => break assert_eq!(end, Frame::Close(Some(1008))),
        }
    }
    assert_eq!(idle.next(), Frame::End);
    assert!(received < rounds);
}

pub(crate) fn closing_tells_the_clients_and_ends_the_serving(start: Start) {
    let (io, reasons) = reporting(Server::builder());
    let running = start(io);
    let mut clients = [(); 3].map(|()| WebSocket::connect(running.address));
    let mut polling = Polling::connect(running.address);
    polling.begin_poll();
    let mut late = Polling::connect(running.address);
    let server = running.server.clone();
    let closing = std::thread::spawn(move || smol::block_on(server.close()));
    for client in &mut clients {
        client.expect_end(Some(1001));
    }
    assert_eq!(polling.end_poll(), "1");
    for _ in 0..5 {
        expect_reason(&reasons, "server shutting down");
    }
    // It is waited for until now: where the serving ends, the runtime ends with the handlers that have not.
    assert_eq!(late.poll(), "1");
    drop((clients, polling, late));
    running.wait();
    closing.join().unwrap();
}

pub(crate) fn closing_sends_what_was_queued(start: Start) {
    let (io, _reasons) = reporting(Server::builder());
    let running = start(io);
    let mut client = WebSocket::connect(running.address);
    let filler = "x".repeat(900_000);
    for i in 0..4 {
        assert_eq!(running.server.emit("last words", (i, &filler)).sent, 1);
    }
    running.server.begin_close();
    for i in 0..4 {
        client.expect(&format!(r#"42["last words",{i},"{filler}"]"#));
    }
    client.expect_end(Some(1001));
    drop(client);
    running.wait();
}

pub(crate) fn another_thread_disconnects(start: Start) {
    let (io, reasons) = reporting(Server::builder());
    let running = start(io);
    let mut client = WebSocket::connect(running.address);
    running.server.sockets()[0].disconnect(false);
    client.expect("41");
    expect_reason(&reasons, "server namespace disconnect");
    let mut client = WebSocket::connect(running.address);
    running.server.sockets()[0].disconnect(true);
    client.expect("41");
    client.expect_end(None);
    expect_reason(&reasons, "server namespace disconnect");
}

/// Its handlers wait for ever, with a little or a lot behind them that is not read.
pub(crate) fn a_client_that_goes_while_its_handlers_wait_is_noticed(start: Start) {
    let builder =
        Server::builder().ping_interval(Duration::from_millis(100)).ping_timeout(Duration::from_millis(1500));
    let (tell, reasons) = mpsc::channel();
    let io = builder.build();
    io.on_connect(move |socket: Socket| {
        let tell = tell.clone();
        socket.on("wait", async || std::future::pending::<()>().await);
        socket.on_disconnect(move |reason: DisconnectReason| {
            let _ = tell.send(reason.to_string());
            async {}
        });
        async {}
    });
    let running = start(io);
    for filler in [0, 1000] {
        let mut client = WebSocket::connect(running.address);
        for _ in 0..300 {
            client.queue(&format!(r#"42["wait","{}"]"#, "x".repeat(filler)));
        }
        client.flush();
        drop(client);
        let reason = reasons.recv_timeout(PATIENCE).unwrap();
        assert!(["ping timeout", "transport close", "transport error"].contains(&&*reason), "{reason}");
        running.wait_until_empty();
    }
}
