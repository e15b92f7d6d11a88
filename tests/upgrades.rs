//! How sessions come to a WebSocket connection: the handshakes of clients as they are, and the way from polling.
#![allow(missing_docs, clippy::unwrap_used)]

mod simulation;

use simulation::{Client, Incoming, Sim};
use sockeye::{Handshake, Server, Socket};
use sockeye_core::websocket::{Opcode, write_frame};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn sim() -> Sim {
    let server = Server::new();
    server.on_connect(async |socket: Socket| {
        socket.on("ask", async || "answer");
    });
    Sim::new(server)
}

/// The value of a header of the server's response.
fn header(client: &Client, name: &str) -> Option<String> {
    let head = client.head();
    let mut values = head.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let value = values.next().map(str::to_owned);
    assert!(values.next().is_none(), "{head}");
    value
}

#[test]
fn a_client_may_upgrade_without_a_probe() {
    // As socketio-csharp 4.0 does: a namespace is asked for by polling, the answer comes over WebSocket.
    for polls in [false, true] {
        let sim = sim();
        let mut client = sim.polling();
        if polls {
            client.begin_poll();
        }
        let websocket = client.begin_upgrade();
        websocket.send("5");
        if polls {
            assert_eq!(client.packets(), ["6"], "the poll is released");
        }
        assert!(!websocket.is_closed());
        websocket.send("40");
        assert!(websocket.next().starts_with("40{"));
        websocket.send(r#"421["ask"]"#);
        assert_eq!(websocket.next(), r#"431["answer"]"#);

        let mut client = sim.polling();
        assert_eq!(client.post("40"), 200);
        let websocket = client.begin_upgrade();
        websocket.send("5");
        assert!(websocket.next().starts_with("40{"));
        sim.advance(100 * SECOND);
        assert!(!websocket.is_closed(), "its pings are answered");
    }
}

#[test]
fn every_probe_is_answered() {
    let sim = sim();
    let mut client = sim.polling();
    client.join();
    let websocket = client.begin_upgrade();
    websocket.send_all(["2probe", "2probe", "5", r#"421["ask"]"#]);
    assert_eq!(websocket.texts(), ["3probe", "3probe", r#"431["answer"]"#]);
}

#[test]
fn probes_without_end_end_with_the_time_for_an_upgrade() {
    let sim = Sim::new(Server::builder().upgrade_timeout(3 * SECOND).build());
    let client = sim.polling();
    let websocket = client.begin_upgrade();
    for _ in 0..5 {
        websocket.send("2probe");
        sim.advance(SECOND);
    }
    assert!(websocket.is_closed());
    assert_eq!(sim.server().clients_count(), 1);
}

#[test]
fn anything_else_than_a_probe_or_the_upgrade_closes_that_websocket_only() {
    for first in ["40", "2", "6", "3", "3probe", r#"42["ask"]"#, "", "x"] {
        let sim = sim();
        let mut client = sim.polling();
        client.join();
        let websocket = client.begin_upgrade();
        websocket.send(first);
        assert!(matches!(websocket.poll(), Some(Incoming::Close(_))), "{first}");
        assert!(websocket.is_closed());
        assert_eq!(client.post(r#"421["ask"]"#), 200, "{first}");
        assert_eq!(client.poll(), [r#"431["answer"]"#], "{first}");
    }
}

#[test]
fn a_client_that_polls_on_during_an_upgrade_is_released_ten_times_a_second() {
    let sim = sim();
    let mut client = sim.polling();
    client.join();
    client.begin_poll();
    // The answer to its probe is held back by a proxy.
    let websocket = client.begin_upgrade();
    websocket.send("2probe");
    assert_eq!(client.packets(), ["6"], "the first poll is released at once");
    let mut polls = 0;
    let begun = sim.now();
    while sim.now().saturating_since(begun) < 9 * SECOND && polls < 1000 {
        client.begin_poll();
        polls += 1;
        loop {
            if let Some(answer) = client.answer() {
                assert_eq!(answer, (200, "6".into()));
                break;
            }
            sim.advance(Duration::from_millis(10));
        }
    }
    assert!((89..=91).contains(&polls), "{polls} polls in 9 s");
    // A message need not wait for that.
    client.begin_poll();
    sim.server().emit("e", ());
    assert_eq!(client.packets(), [r#"42["e"]"#]);
    websocket.send("5");
    sim.server().emit("f", ());
    assert_eq!(websocket.texts(), ["3probe", r#"42["f"]"#]);
}

#[test]
fn what_was_sent_before_a_ping_arrives_before_its_pong() {
    // A client that leaves a namespace learns by that which events are still on their way.
    let sim = sim();
    let mut client = sim.polling();
    client.join();
    let websocket = client.begin_upgrade();
    websocket.send("2probe");
    assert_eq!(websocket.next(), "3probe");
    sim.server().emit("polled", ());
    let (mut bytes, mut ping) = (Vec::new(), Vec::new());
    write_frame(&mut bytes, Opcode::Text, b"5", Some([1; 4]));
    write_frame(&mut ping, Opcode::Ping, b"", Some([1; 4]));
    websocket.send_bytes(&[bytes, ping.clone()].concat());
    let expected = |event: &str| [Some(Incoming::Text(format!(r#"42["{event}"]"#))), Some(Incoming::Pong)];
    assert_eq!([websocket.poll(), websocket.poll()], expected("polled"));
    sim.server().emit("pushed", ());
    websocket.send_bytes(&ping);
    assert_eq!([websocket.poll(), websocket.poll()], expected("pushed"));
}

#[test]
fn the_first_subprotocol_that_is_offered_and_accepted_is_answered() {
    let offers = "Sec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Protocol: c\r\n";
    for (server, offers, answer) in [
        (Server::builder(), offers, Some("a")),
        (Server::builder(), "", None),
        (Server::builder(), "Sec-WebSocket-Protocol: \"a\", b c\r\n", None),
        (Server::builder().subprotocols(["c", "b"]), offers, Some("b")),
        (Server::builder().subprotocols(["d"]), offers, None),
        (Server::builder().subprotocols(["a"]), "", None),
    ] {
        let sim = Sim::new(server.build());
        let client = Client::open_with(&sim, "EIO=4&transport=websocket", offers);
        assert_eq!(header(&client, "Sec-WebSocket-Protocol").as_deref(), answer, "{offers}");
        // The connection of an upgrade is a handshake, too.
        let query = format!("EIO=4&transport=websocket&sid={}", sim.polling().session);
        let client = Client::dial_with(&sim, &query, offers);
        assert!(client.status().contains("101"));
        assert_eq!(header(&client, "Sec-WebSocket-Protocol").as_deref(), answer, "{offers}");
    }
}

#[test]
fn a_handshake_may_be_written_in_other_ways() {
    let server = Server::builder().allow_request(async |handshake: Handshake| {
        // Not text, and nobody's fault.
        assert_eq!(handshake.header("x-name"), None);
        assert!(handshake.headers().any(|(name, value)| name == "X-Name" && value == b"Jos\xe9"));
        Ok(())
    });
    let server = server.build();
    server.on_connect(async |socket: Socket| {
        assert_eq!(socket.handshake().header("x-name"), None);
        let _ = socket.emit("hello", socket.handshake().query_param("name"));
    });
    let sim = Sim::new(server);
    let pipe = sim.dial();
    let head = b"GET /socket.io/?EIO=4&transport=websocket&name=%C3%A9 HTTP/1.1\r\nHost: here\r\n\
        Connection: keep-alive\r\nX-Name: Jos\xe9\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    pipe.send(head);
    sim.run();
    let answer = pipe.receive();
    assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(sim.server().clients_count(), 1);
    pipe.send(&[0x81, 0x82, 0, 0, 0, 0, b'4', b'0']);
    sim.run();
    let answer = String::from_utf8_lossy(&pipe.receive()).into_owned();
    assert!(answer.contains("42[\"hello\",\"é\"]"), "{answer}");
}
