//! HTTP long-polling, and the way from there to WebSocket.

use crate::client::{Frame, Http, Polling, WebSocket};
use crate::start::Start;
use sockeye::{Args, Server, Socket};

fn echo() -> Server {
    let io = Server::new();
    io.on_connect(async |socket: Socket| {
        socket.on("echo", async |socket: Socket, args: Args| socket.emit("echo", args));
    });
    io
}

pub(crate) fn a_session_polls(start: Start) {
    let running = start(echo());
    let mut client = Polling::connect(running.address);
    client.send("42[\"echo\",1]\u{1e}42[\"echo\",2]");
    assert_eq!(client.poll(), "42[\"echo\",1]\u{1e}42[\"echo\",2]");
    let binary = "451-[\"echo\",{\"_placeholder\":true,\"num\":0}]\u{1e}bAQID";
    client.send(binary);
    assert_eq!(client.poll(), binary);
    // The client says goodbye.
    client.send("1");
    running.wait_until_empty();
}

pub(crate) fn a_large_message_is_posted_and_polled(start: Start) {
    let running = start(echo());
    let mut client = Polling::connect(running.address);
    let message = format!(r#"42["echo","{}"]"#, "z".repeat(900_000));
    client.send(&message);
    assert!(client.poll() == message);
    // Beside a poll that waits.
    client.begin_poll();
    client.send(&message);
    assert!(client.end_poll() == message);
}

pub(crate) fn an_emit_answers_the_waiting_poll(start: Start) {
    let running = start(echo());
    let mut client = Polling::connect(running.address);
    let mut other = Http::open(running.address);
    for i in 0..50 {
        client.begin_poll();
        if i % 2 == 0 {
            // Its answer comes after the poll was seen to wait, or nearly so: both orders have to do.
            other.get("");
            assert!(other.answer().starts_with('0'));
        }
        running.server.emit("tick", i);
        assert_eq!(client.end_poll(), format!(r#"42["tick",{i}]"#));
    }
}

pub(crate) fn a_poll_is_answered_when_another_takes_its_place(start: Start) {
    let running = start(Server::builder().allow_overlapping_polls(true).build());
    let client = Polling::connect(running.address);
    let mut streams = [Http::open(running.address), Http::open(running.address)];
    for i in 0..50 {
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            for stream in &mut streams {
                stream.get(&format!("&sid={}", client.sid));
                let tell = tell.clone();
                scope.spawn(move || tell.send(stream.answer()));
            }
            assert_eq!(told.recv().unwrap(), "6");
            running.server.emit("tick", i);
            assert_eq!(told.recv().unwrap(), format!(r#"42["tick",{i}]"#));
        });
    }
}

pub(crate) fn an_upgrade_loses_nothing(start: Start) {
    const MESSAGES: usize = 2000;
    let running = start(echo());
    let mut client = Polling::connect(running.address);
    client.begin_poll();
    let server = running.server.clone();
    let emitting = std::thread::spawn(move || {
        for i in 0..MESSAGES {
            assert_eq!(server.emit("tick", i).sent, 1);
            std::thread::yield_now();
        }
    });
    let mut seen = Vec::new();
    seen.extend(client.end_poll().split('\u{1e}').map(str::to_owned));

    client.begin_poll();
    let mut websocket = WebSocket::upgrade(running.address, &client.sid);
    websocket.send("2probe");
    websocket.expect("3probe");
    // Answered at once, whether or not there is a message for it.
    seen.extend(client.end_poll().split('\u{1e}').filter(|packet| *packet != "6").map(str::to_owned));
    websocket.send("5");
    while seen.len() < MESSAGES {
        let next = websocket.next();
        let Frame::Text(text) = next else { panic!("{next:?}") };
        seen.push(text);
    }
    emitting.join().unwrap();
    let sent: Vec<_> = (0..MESSAGES).map(|i| format!(r#"42["tick",{i}]"#)).collect();
    assert_eq!(seen, sent);
    websocket.send(r#"42["echo","on websocket"]"#);
    websocket.expect(r#"42["echo","on websocket"]"#);
    assert_eq!(running.server.sockets()[0].transport(), sockeye::Transport::WebSocket);
}
