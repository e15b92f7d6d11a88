//! What clients in the field send that the JavaScript client does not, each from the source of that client. The guide's page
//! about clients says which client has which; tests/requests.rs and tests/upgrades.rs have those of .NET and Java.
#![allow(missing_docs, clippy::unwrap_used)]

mod simulation;

use bytes::Bytes;
use simulation::{Client, Pipe, Sim};
use sockeye::extract::{Auth, Data};
use sockeye::{DisconnectReason, Server, Socket};
use sockeye_core::websocket::{Opcode, write_frame};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A server that answers `ask`, and notes ends.
fn sim() -> (Sim, Arc<Mutex<Vec<String>>>) {
    let ends = Arc::<Mutex<Vec<_>>>::default();
    let server = Server::new();
    for namespace in ["/", "/chat"] {
        let noted = ends.clone();
        server.of(namespace).on_connect(move |socket: Socket| {
            let noted = noted.clone();
            socket.on("ask", async |Data(value): Data<i32>| value + 1);
            socket.on("size", async |Data(data): Data<Bytes>| data.len());
            socket.on_disconnect(move |reason: DisconnectReason| {
                noted.lock().unwrap().push(reason.to_string());
                async {}
            });
            async {}
        });
    }
    (Sim::new(server), ends)
}

fn texts(packets: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    packets.iter().for_each(|packet| write_frame(&mut bytes, Opcode::Text, packet.as_bytes(), Some([7; 4])));
    bytes
}

/// Returns the packets in frames of less than 126 bytes.
fn received(sim: &Sim, pipe: &Pipe) -> Vec<String> {
    sim.run();
    let (bytes, mut packets) = (pipe.receive(), Vec::new());
    let mut rest = &bytes[..];
    while let [0x81, len @ ..=125, tail @ ..] = rest {
        let (packet, tail) = tail.split_at((*len).into());
        packets.push(String::from_utf8(packet.to_vec()).unwrap());
        rest = tail;
    }
    assert!(rest.is_empty(), "{rest:?}");
    packets
}

/// arduinoWebSockets: one connection, and `5` behind the probe without waiting for its answer.
#[test]
fn the_connection_of_the_handshake_may_become_the_websocket_and_the_upgrade_need_not_wait_for_the_probe() {
    let (sim, ends) = sim();
    let pipe = sim.dial();
    let own = "Host: here:80\r\nOrigin: file://\r\nUser-Agent: arduino-WebSocket-Client\r\n";
    let path = "/socket.io/?EIO=4";
    pipe.send(
        format!("GET {path}&transport=polling HTTP/1.1\r\nConnection: keep-alive\r\n{own}\r\n").as_bytes(),
    );
    sim.run();
    let opened = String::from_utf8(pipe.receive()).unwrap();
    let sid = opened.split("\"sid\":\"").nth(1).unwrap().split('"').next().unwrap();
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: arduino\r\n";
    pipe.send(format!("GET {path}&transport=websocket&sid={sid} HTTP/1.1\r\n{upgrade}{own}\r\n").as_bytes());
    sim.run();
    let head = String::from_utf8(pipe.receive()).unwrap();
    assert!(
        head.starts_with("HTTP/1.1 101 ") && head.contains("Sec-WebSocket-Protocol: arduino\r\n"),
        "{head}"
    );
    // Its example names the main namespace, without a comma.
    pipe.send(&texts(&["2probe", "5", "40/", "421[\"ask\",1]"]));
    let packets = received(&sim, &pipe);
    assert!(packets[1].starts_with("40{\"sid\":"), "{packets:?}");
    assert_eq!((packets[0].as_str(), packets[2].as_str(), packets.len()), ("3probe", "431[2]", 3));
    assert!(ends.lock().unwrap().is_empty());
}

/// arduinoWebSockets without `EIO=4` in its path: it sends pings, as was right in version 3.
#[test]
fn a_ping_of_a_client_ends_its_session_as_in_the_reference() {
    let (sim, ends) = sim();
    let mut client = Client::open(&sim, "EIO=4&transport=websocket");
    client.join("/");
    client.send("2");
    client.expect_close();
    assert_eq!(*ends.lock().unwrap(), ["transport error"]);
}

/// rust_socketio: a pong before anything else.
#[test]
fn a_pong_that_nobody_asked_for_changes_nothing() {
    let (sim, ends) = sim();
    let mut polling = sim.polling();
    assert_eq!(polling.post("3"), 200);
    polling.join();
    assert_eq!(polling.post(r#"421["ask",1]"#), 200);
    assert_eq!(polling.poll(), ["431[2]"]);
    let upgraded = polling.begin_upgrade();
    upgraded.send_all(["2probe", "5", "3", r#"422["ask",2]"#]);
    assert_eq!(upgraded.texts(), ["3probe", "432[3]"]);

    let mut websocket = Client::open(&sim, "EIO=4&transport=websocket");
    websocket.send("3");
    websocket.join("/");
    sim.advance(Duration::from_secs(100));
    assert!(!websocket.is_closed(), "its pings are answered");
    assert!(ends.lock().unwrap().is_empty());
}

/// rust_socketio: bytes with an acknowledgement have the type of one.
#[test]
fn an_event_that_says_it_is_an_acknowledgement_is_ignored_with_its_attachment() {
    let (sim, ends) = sim();
    let mut client = Client::open(&sim, "EIO=4&transport=websocket");
    client.join("/");
    client.send(r#"461-997["size",{"_placeholder":true,"num":0}]"#);
    client.send_binary(b"abc");
    client.send(r#"421["ask",1]"#);
    assert_eq!(client.texts(), ["431[2]"]);
    // As it should be.
    client.send(r#"451-2["size",{"_placeholder":true,"num":0}]"#);
    client.send_binary(b"abc");
    assert_eq!(client.texts(), ["432[3]"]);
    assert!(ends.lock().unwrap().is_empty());
}

/// rust_socketio: it upgrades while a poll waits, and goes on to poll.
#[test]
fn a_poll_that_still_waits_is_released_when_the_session_is_upgraded() {
    let (sim, ends) = sim();
    let mut client = sim.polling();
    client.join();
    client.begin_poll();
    let websocket = client.begin_upgrade();
    websocket.send_all(["2probe", "5"]);
    assert_eq!(client.packets(), ["6"]);
    client.begin_poll();
    assert_eq!(client.answer().unwrap(), (400, r#"{"code":3,"message":"Bad request"}"#.to_owned()));
    websocket.send(r#"421["ask",1]"#);
    assert_eq!(websocket.texts(), ["3probe", "431[2]"]);
    assert!(ends.lock().unwrap().is_empty());
}

/// The client for C++: it ends a namespace without a comma, then the connection with a reason of its own.
#[test]
fn a_namespace_is_joined_and_left_without_a_comma() {
    let (sim, ends) = sim();
    let mut client = Client::open(&sim, "EIO=4&transport=websocket&t=1764450000&token=a%20b");
    client.join("/");
    client.send("40/chat");
    assert!(client.next().starts_with(r#"40/chat,{"sid":"#));
    client.send(r#"42/chat,1["ask",1]"#);
    assert_eq!(client.next(), "43/chat,1[2]");
    client.send("41/chat");
    assert_eq!(*ends.lock().unwrap(), ["client namespace disconnect"]);
    client.send(r#"422["ask",2]"#);
    assert_eq!(client.next(), "432[3]");
    let mut close = Vec::new();
    write_frame(&mut close, Opcode::Close, b"\x03\xe8End by user", Some([1; 4]));
    client.send_all(["41"]);
    client.send_bytes(&close);
    client.expect_close();
    assert_eq!(*ends.lock().unwrap(), ["client namespace disconnect"; 2]);
}

/// The client for Swift: `b64=1` in each request and `EIO` at the end, bytes as text, over WebSocket too if asked for.
#[test]
fn bytes_may_be_text_on_every_transport_whatever_the_query_says() {
    let (sim, ends) = sim();
    let event = r#"451-1["size",{"_placeholder":true,"num":0}]"#;
    let clients = ["transport=websocket&b64=1&EIO=4", "transport=websocket&EIO=4"].map(|query| {
        let mut client = Client::open(&sim, query);
        client.join("/");
        client.send_all([event, "bAQID"]);
        assert_eq!(client.texts(), ["431[3]"], "{query}");
        client
    });
    let pipe = sim.dial();
    let ask = |method: &str, sid: &str, body: &str| {
        let head = format!(
            "{method} /socket.io/?transport=polling&b64=1&EIO=4{sid} HTTP/1.1\r\nHost: here\r\n\
             Content-Type: text/plain; charset=UTF-8\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        pipe.send(head.as_bytes());
        sim.run();
        let answer = String::from_utf8(pipe.receive()).unwrap();
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    };
    let sid = format!("&sid={}", ask("GET", "", "").split('"').nth(3).unwrap());
    assert_eq!(ask("POST", &sid, "40"), "ok");
    assert!(ask("GET", &sid, "").starts_with("40{"));
    assert_eq!(ask("POST", &sid, &format!("{event}\u{1e}bAQID")), "ok");
    assert_eq!(ask("GET", &sid, ""), "431[3]");
    assert!(clients.iter().all(|client| !client.is_closed()));
    assert!(ends.lock().unwrap().is_empty());
}

/// Clients of Dart, C# and Java, whose `auth` may be empty or missing.
#[test]
fn auth_may_be_missing_empty_or_an_object() {
    let server = Server::new();
    server.middleware(async |Auth(auth): Auth<serde_json::Value>| {
        assert!(auth.is_null() || auth.is_object());
        Ok(())
    });
    let sim = Sim::new(server);
    let clients = ["40", "40{}", "40/,", "40/,{}", r#"40{"token":null}"#].map(|connect| {
        let client = Client::open(&sim, "EIO=4&transport=websocket");
        client.send(connect);
        assert!(client.next().starts_with("40{"), "{connect}");
        client
    });
    assert_eq!(sim.server().sockets().len(), clients.len());
}
