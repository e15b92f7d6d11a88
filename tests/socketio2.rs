//! Clients of Socket.IO 2, which speak version 3 of Engine.IO, at a whole server.
#![allow(missing_docs, clippy::unwrap_used)]

mod simulation;

use bytes::Bytes;
use serde_json::{Value, json};
use simulation::{Client, Gate, Pipe, Polling, Sim, disconnect_reasons};
use sockeye::cluster::{Adapter, Bus, Channel, Node, RequestId};
use sockeye::engine::Message;
use sockeye::extract::{AckSender, Auth, Data};
use sockeye::observe::{Direction, Observer, Packet, PacketInfo};
use sockeye::{Args, ConnectError, Id, Parser, Recovery, Server, ServerBuilder, Socket};
use sockeye_core::websocket::{Opcode, write_frame};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

const QUERY: &str = "EIO=3&transport=websocket";

fn builder() -> ServerBuilder {
    Server::builder().allow_eio3(true)
}

/// Opens a session over WebSocket, and is connected to the main namespace.
fn connect(sim: &Sim) -> Client {
    let client = Client::open(sim, QUERY);
    assert_eq!(client.next(), "40");
    client
}

/// A connection for requests of HTTP.
struct Http {
    sim: Sim,
    pipe: Pipe,
}

struct Response {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Response {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Http {
    fn new(sim: &Sim) -> Http {
        Http { sim: sim.clone(), pipe: sim.dial() }
    }

    fn send(&self, method: &str, query: &str, headers: &str, body: &[u8]) -> Response {
        let head = format!(
            "{method} /socket.io/?transport=polling{query} HTTP/1.1\r\nHost: here\r\n{headers}Content-Length: {}\r\n\r\n",
            body.len()
        );
        self.pipe.send(&[head.as_bytes(), body].concat());
        self.sim.run();
        let response = self.pipe.receive();
        let end = response.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a response") + 4;
        let (head, body) = response.split_at(end);
        let head = String::from_utf8(head.to_vec()).unwrap();
        Response { status: head.split(' ').nth(1).unwrap().parse().unwrap(), head, body: body.to_vec() }
    }

    fn get(&self, query: &str) -> Response {
        self.send("GET", query, "", b"")
    }

    fn post(&self, query: &str, body: &str) -> Response {
        self.send("POST", query, "", body.as_bytes())
    }

    /// Opens a session. Returns its id.
    fn open(&self, query: &str) -> String {
        let response = self.get(query);
        assert_eq!(response.status, 200, "{}", response.text());
        assert!(response.text().ends_with("}2:40"), "{}", response.text());
        response.text().split('"').nth(3).unwrap().to_owned()
    }
}

#[test]
fn a_client_is_refused_unless_it_is_allowed() {
    let sim = Sim::new(Server::new());
    for query in ["&EIO=3", ""] {
        let response = Http::new(&sim).get(query);
        let body = r#"{"code":5,"message":"Unsupported protocol version"}"#;
        assert_eq!((response.status, response.text()), (400, body));
    }
    assert!(Client::dial(&sim, QUERY).status().contains("400"));
    // Other versions are refused in any case.
    let sim = Sim::new(builder().build());
    for query in ["&EIO=2", "&EIO=5", "&EIO=abc", "&EIO="] {
        assert_eq!(Http::new(&sim).get(query).status, 400, "{query}");
    }
    assert!(!Http::new(&sim).open("").is_empty(), "without a version it is 3");
}

#[test]
fn a_client_is_connected_to_the_main_namespace_by_itself_and_knows_its_id() {
    let server = builder().build();
    server.on_connect(async |socket: Socket, Auth(auth): Auth<Value>| socket.emit("hello", auth));
    let sim = Sim::new(server);
    let client = connect(&sim);
    assert_eq!(client.next(), r#"42["hello",{}]"#);
    let socket = sim.server().of("/").socket(&client.session).expect("its id is that of the session");
    assert_eq!(socket.conn().version.as_str(), "3");
    sim.server().to(&client.session).emit("direct", 1);
    assert_eq!(client.next(), r#"42["direct",1]"#);
}

#[test]
fn events_and_acknowledgements_with_attachments_go_both_ways() {
    let server = builder().build();
    server.on("echo", async |args: Args| args);
    server.on("ask", async |socket: Socket, ack: AckSender| {
        let answer: Bytes = socket.emit_with_ack("question", Bytes::from_static(&[4, 5])).await.unwrap();
        ack.send(answer)
    });
    let sim = Sim::new(server);
    let client = connect(&sim);
    client.send(r#"451-1["echo",{"_placeholder":true,"num":0}]"#);
    client.send_binary(&[4, 4, 2, 3]);
    assert_eq!(client.next(), r#"461-1[{"_placeholder":true,"num":0}]"#);
    assert_eq!(client.next_binary(), [4, 4, 2, 3]);

    client.send(r#"422["ask"]"#);
    let question = client.next();
    let id: String = question.chars().skip("451-".len()).take_while(char::is_ascii_digit).collect();
    assert_eq!(client.next_binary(), [4, 4, 5]);
    client.send(&format!(r#"461-{id}[{{"_placeholder":true,"num":0}}]"#));
    // As base64, which is accepted over every transport.
    client.send("b4Bwg=");
    assert_eq!(client.next(), r#"461-2[{"_placeholder":true,"num":0}]"#);
    assert_eq!(client.next_binary(), [4, 7, 8]);
}

#[test]
fn a_broken_binary_frame_ends_the_session() {
    for data in [&[][..], &[3, 1]] {
        let sim = Sim::new(builder().build());
        let client = connect(&sim);
        client.send_binary(data);
        client.expect_close();
    }
}

#[test]
fn a_namespace_takes_the_query_as_auth_and_the_client_s_name_for_its_id_is_a_room() {
    let server = builder().build();
    server.of("/adm").on_connect(async |socket: Socket, Auth(auth): Auth<Value>| {
        socket.on("who", async |socket: Socket| socket.id());
        socket.emit("hello", auth)
    });
    let sim = Sim::new(server);
    let client = connect(&sim);
    client.send("40/adm?token=ok&a=1&a=%F0%9F%8E%89,");
    assert_eq!(client.next(), "40/adm,");
    assert_eq!(client.next(), r#"42/adm,["hello",{"a":["1","🎉"],"token":"ok"}]"#);
    client.send(r#"42/adm,1["who"]"#);
    assert_eq!(client.next(), format!(r#"43/adm,1["{}"]"#, client.session));

    // As the client itself calls it, and as the server does.
    let adm = sim.server().of("/adm");
    let other = sim.connect();
    other.send("40/adm,");
    other.texts();
    let own = format!("/adm#{}", client.session);
    adm.to(&own).emit("by name", ());
    adm.to(&client.session).emit("by id", ());
    adm.to([&own, &client.session]).emit("once", ());
    adm.except(&own).emit("others", ());
    adm.to(format!("/other#{}", client.session)).emit("nobody", ());
    sim.server().to(&own).emit("not in this namespace", ());
    assert_eq!(client.texts(), [r#"42/adm,["by name"]"#, r#"42/adm,["by id"]"#, r#"42/adm,["once"]"#]);
    assert_eq!(other.texts(), [r#"42/adm,["others"]"#]);
}

#[test]
fn a_client_may_leave_a_namespace_and_come_back_with_the_same_id() {
    let server = builder().build();
    let _ = server.of("/adm");
    let sim = Sim::new(server);
    let client = connect(&sim);
    let id = Id::parse(&client.session).unwrap();
    for leaves in [true, false, true] {
        client.send("40/adm,");
        assert_eq!(client.next(), "40/adm,");
        let socket = sim.server().of("/adm").socket(&client.session).expect("it is there");
        assert_eq!(socket.id(), id);
        match leaves {
            true => client.send("41/adm,"),
            false => {
                socket.disconnect(false);
                assert_eq!(client.next(), "41/adm,");
            }
        }
        assert!(!socket.is_connected() && sim.server().of("/adm").socket(&client.session).is_none());
    }
    assert!(sim.server().of("/").socket(&client.session).is_some(), "the others stay");
}

#[test]
fn the_decision_about_a_socket_is_not_that_about_the_next_one_with_its_id() {
    let server = builder().build();
    let gates: Arc<Mutex<Vec<Gate>>> = Arc::default();
    server.of("/adm").middleware({
        let gates = gates.clone();
        move |Auth(auth): Auth<Value>| {
            let gate = Gate::default();
            gates.lock().unwrap().push(gate.clone());
            async move {
                gate.wait().await;
                if auth["token"] == "ok" { Ok(()) } else { Err(ConnectError::new("no")) }
            }
        }
    });
    let sim = Sim::new(server);
    let client = connect(&sim);
    client.send("40/adm?token=ok,");
    client.send("41/adm,");
    client.send("40/adm?token=wrong,");
    gates.lock().unwrap()[0].open();
    client.expect_nothing();
    assert!(sim.server().of("/adm").socket(&client.session).is_none());
    gates.lock().unwrap()[1].open();
    assert_eq!(client.next(), r#"44/adm,"no""#);
    client.expect_nothing();
}

#[test]
fn a_refusal_is_the_message_or_the_details_alone() {
    let server = builder().build();
    server.of("/adm").middleware(async |Auth(auth): Auth<Value>| match auth["why"].as_str() {
        Some(_) => Err(ConnectError::new("not you").data(json!({ "code": 7 }))),
        None => Err::<(), _>(ConnectError::new("not you")),
    });
    let sim = Sim::new(server);
    let client = connect(&sim);
    client.send("40/adm,");
    assert_eq!(client.next(), r#"44/adm,"not you""#);
    client.send("40/adm?why=1,");
    assert_eq!(client.next(), r#"44/adm,{"code":7}"#);
    // As the reference sends it.
    client.send("40/none,");
    assert_eq!(client.next(), r#"44/none,{"message":"Invalid namespace"}"#);
}

#[test]
fn a_client_that_the_main_namespace_refuses_is_told() {
    let server = builder().build();
    server.middleware(async || Err::<(), _>(ConnectError::new("closed today")));
    let sim = Sim::new(server);
    assert_eq!(Client::open(&sim, QUERY).next(), r#"44"closed today""#);
}

/// As in the reference, whose clients are closed too if they are in no namespace after the connect timeout.
#[test]
fn a_client_that_the_main_namespace_refuses_can_use_another_one() {
    let server = builder().connect_timeout(Duration::from_secs(10)).build();
    server.middleware(async || Err::<(), _>(ConnectError::new("closed today")));
    server.of("/adm").on("echo", async |args: Args| args);
    let sim = Sim::new(server);
    let (member, stranger) = (Client::open(&sim, QUERY), Client::open(&sim, QUERY));
    for client in [&member, &stranger] {
        assert_eq!(client.next(), r#"44"closed today""#);
    }
    member.send("40/adm?token=ok,");
    assert_eq!(member.next(), "40/adm,");
    // It is kept for the namespace that it is in. The other one is in none, and is closed like any client.
    stranger.send("40/none,");
    assert_eq!(stranger.next(), r#"44/none,{"message":"Invalid namespace"}"#);
    sim.advance(Duration::from_secs(9));
    stranger.expect_nothing();
    assert!(!stranger.is_closed());
    sim.advance(Duration::from_secs(2));
    assert!(stranger.is_closed());
    member.send(r#"42/adm,1["echo",1]"#);
    assert_eq!(member.next(), "43/adm,1[1]");
}

#[test]
fn clients_of_both_versions_share_a_room() {
    let server = builder().build();
    server.on_connect(async |socket: Socket| socket.join("room"));
    let sim = Sim::new(server);
    let (old, new) = (connect(&sim), sim.connect());
    let http = Http::new(&sim);
    let polling = http.open("&EIO=3&b64=1");
    let mut new_polling = Polling::open(&sim);
    new_polling.join();
    let delivered = sim.server().to("room").emit("news", ("€", Bytes::from_static(&[1, 2])));
    assert_eq!(delivered.sent, 4);
    let text = r#"451-["news","€",{"_placeholder":true,"num":0}]"#;
    assert_eq!((old.next(), old.next_binary()), (text.into(), vec![4, 1, 2]));
    assert_eq!((new.next(), new.next_binary()), (text.into(), vec![1, 2]));
    let response = http.get(&format!("&EIO=3&sid={polling}"));
    assert_eq!(response.text(), format!("{}:{text}6:b4AQI=", text.chars().count()));
    assert_eq!(new_polling.poll(), [text, "bAQI="]);
}

#[test]
fn a_client_that_reads_bytes_gets_a_binary_payload() {
    let server = builder().build();
    server.on("echo", async |args: Args| args);
    let sim = Sim::new(server);
    let http = Http::new(&sim);
    let query = format!("&EIO=3&sid={}", http.open("&EIO=3"));
    let text = r#"451-1["echo",{"_placeholder":true,"num":0}]"#;
    let mut body = vec![0, 4, 3, 255];
    body.extend(text.as_bytes());
    body.extend([1, 3, 255, 4, 8, 9]);
    let response = http.send("POST", &query, "Content-Type: application/octet-stream\r\n", &body);
    assert_eq!((response.status, response.text()), (200, "ok"));
    let response = http.get(&query);
    assert!(response.head.contains("Content-Type: application/octet-stream\r\n"), "{}", response.head);
    let text = r#"461-1[{"_placeholder":true,"num":0}]"#;
    let mut expected = vec![0, 3, 6, 255];
    expected.extend(text.as_bytes());
    expected.extend([1, 3, 255, 4, 8, 9]);
    assert_eq!(response.body, expected);
    // Text alone stays text.
    sim.server().emit("text", ());
    let response = http.get(&query);
    assert!(response.head.contains("Content-Type: text/plain; charset=UTF-8\r\n"), "{}", response.head);
    assert_eq!(response.text(), r#"10:42["text"]"#);
}

/// The client for Java 1.0: text and bytes that are sent at once are bodies of their own, with the length in UTF-16 units,
/// and the bytes of one event are one body.
#[test]
fn an_event_and_its_attachments_may_come_in_bodies_of_different_types() {
    let server = builder().build();
    server.on("return", async |args: Args| args);
    let sim = Sim::new(server);
    let http = Http::new(&sim);
    let query = format!("&EIO=3&sid={}", http.open("&EIO=3"));
    let text = r#"452-0["return","€🎉",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#;
    let header = "Content-Type: text/plain;charset=UTF-8\r\n";
    let body = format!("{}:{text}", text.encode_utf16().count());
    assert_eq!(http.send("POST", &query, header, body.as_bytes()).status, 200);
    let attachments = [1, 4, 255, 4, 1, 2, 3, 1, 2, 255, 4, 9];
    let header = "Content-Type: application/octet-stream\r\n";
    assert_eq!(http.send("POST", &query, header, &attachments).status, 200);
    let answer = text.replace("452-", "462-").replace(r#""return","#, "");
    let body = http.get(&query).body;
    let length = answer.len().to_string().bytes().map(|digit| digit - b'0').collect::<Vec<_>>();
    assert_eq!(body, [&[0], &length[..], &[255], answer.as_bytes(), &attachments].concat());
}

/// The client for C++ 2: no comma behind a namespace, and it leaves before it closes with a reason of its own.
#[test]
fn a_namespace_is_joined_and_left_without_a_comma() {
    let server = builder().build();
    server.of("/chat").on("echo", async |args: Args| args);
    let reasons = disconnect_reasons(&server);
    let sim = Sim::new(server);
    let client = Client::open(&sim, "EIO=3&transport=websocket&t=1795998747&token=a%20b");
    assert_eq!(client.next(), "40");
    client.send("40/chat");
    assert_eq!(client.next(), "40/chat,");
    client.send(r#"42/chat,0["echo",1]"#);
    assert_eq!(client.next(), "43/chat,0[1]");
    client.send("41/chat");
    client.send("41");
    let mut close = Vec::new();
    write_frame(&mut close, Opcode::Close, b"\x03\xe8End by user", Some([1; 4]));
    client.send_bytes(&close);
    client.expect_close();
    assert_eq!(*reasons.lock().unwrap(), ["client namespace disconnect"]);
}

/// `socket.io-msgpack-parser` 2: what is not an event or an acknowledgement is JSON, and an event with bytes has the type
/// of one with attachments. The reference, with its parser for version 4, reads neither.
#[test]
fn a_client_with_the_messagepack_of_version_2_can_use_the_main_namespace() {
    let open = || {
        let server = builder().parser(Parser::MessagePack).build();
        server.on("return", async |args: Args| args);
        let sim = Sim::new(server);
        let client = Client::open(&sim, QUERY);
        assert_eq!(client.next_binary(), b"\x04\x82\xa4type\x00\xa3nsp\xa1/");
        (sim, client)
    };
    let (sim, client) = open();
    let event = |kind: u8| {
        let mut event = b"\x04\x85\xa4type".to_vec();
        event.push(kind);
        event.extend(b"\xa4data\x92\xa6return\x01\xa7options\x81\xa8compress\xc3\xa2id\x00\xa3nsp\xa1/");
        event
    };
    client.send_binary(&event(2));
    assert_eq!(client.next_binary(), b"\x04\x84\xa4type\x03\xa3nsp\xa1/\xa2id\x00\xa4data\x91\x01");
    client.send_binary(&event(5));
    client.expect_close();
    drop(sim);
    let (_sim, client) = open();
    client.send(r#"4{"type":0,"nsp":"/chat"}"#);
    client.expect_close();
}

#[test]
fn a_client_gets_base64_only_if_it_says_so() {
    for (b64, base64) in
        [("&b64=1", true), ("&b64=true", true), ("", false), ("&b64=0", false), ("&b64=", false)]
    {
        let sim = Sim::new(builder().build());
        let http = Http::new(&sim);
        let query = format!("&EIO=3&sid={}", http.open(&format!("&EIO=3{b64}")));
        sim.server().emit("bytes", Bytes::from_static(&[1, 2]));
        let response = http.get(&query);
        assert_eq!(response.body.ends_with(b"6:b4AQI="), base64, "{b64}");
        assert_eq!(response.body.ends_with(&[1, 3, 255, 4, 1, 2]), !base64, "{b64}");
        assert_eq!(response.head.contains("application/octet-stream"), !base64, "{b64}");
    }
}

#[test]
fn a_page_that_polls_by_scripts_gets_base64() {
    let sim = Sim::new(builder().jsonp(true).build());
    let http = Http::new(&sim);
    let response = http.get("&EIO=3&j=0");
    assert!(response.text().starts_with(r#"___eio[0]("118:0{\"sid\":"#), "{}", response.text());
    let query = format!("&EIO=3&j=0&sid={}", response.text().split("\\\"").nth(3).unwrap());
    sim.server().emit("bytes", Bytes::from_static(&[1, 2]));
    let text = r#"451-[\"bytes\",{\"_placeholder\":true,\"num\":0}]"#;
    let length = text.len() - text.matches('\\').count();
    assert_eq!(http.get(&query).text(), format!(r#"___eio[0]("{length}:{text}6:b4AQI=");"#));
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    assert_eq!(http.send("POST", &query, form, b"d=1%3A2").text(), "ok");
    assert_eq!(http.get(&query).text(), r#"___eio[0]("1:3");"#);
}

#[test]
fn a_malformed_payload_ends_the_session() {
    for body in ["", "abc", "99:40", "2:4", "1:9"] {
        let sim = Sim::new(builder().build());
        let http = Http::new(&sim);
        let query = format!("&EIO=3&sid={}", http.open("&EIO=3"));
        assert_eq!(http.post(&query, body).status, 400, "{body:?}");
        let response = http.get(&query);
        assert_eq!((response.status, response.text()), (400, r#"{"code":1,"message":"Session ID unknown"}"#));
    }
}

#[test]
fn packets_of_a_large_payload_are_all_handled_in_order() {
    let server = builder().build();
    let seen: Arc<Mutex<Vec<u32>>> = Arc::default();
    server.on("number", {
        let seen = seen.clone();
        move |Data(number): Data<u32>| {
            seen.lock().unwrap().push(number);
            async {}
        }
    });
    let sim = Sim::new(server);
    let http = Http::new(&sim);
    let query = format!("&EIO=3&sid={}", http.open("&EIO=3"));
    let packet = |number| format!(r#"42["number",{number}]"#);
    let text: String =
        (0..3000).map(|number| format!("{}:{}", packet(number).len(), packet(number))).collect();
    assert_eq!(http.post(&query, &text).status, 200);
    let mut binary = Vec::new();
    for number in 3000..6000 {
        binary.push(0);
        binary.extend(packet(number).len().to_string().bytes().map(|digit| digit - b'0'));
        binary.push(255);
        binary.extend(packet(number).as_bytes());
    }
    let binary_type = "Content-Type: application/octet-stream\r\n";
    assert_eq!(http.send("POST", &query, binary_type, &binary).status, 200);
    assert!(seen.lock().unwrap().iter().copied().eq(0..6000));
}

#[test]
fn a_request_of_another_version_than_its_session_is_refused_and_the_session_stays() {
    let sim = Sim::new(builder().build());
    let http = Http::new(&sim);
    let old = http.open("&EIO=3");
    let new = Polling::open(&sim).session.clone();
    for (version, sid) in [("&EIO=4", &old), ("&EIO=3", &new), ("", &new)] {
        for method in ["GET", "POST"] {
            let response = http.send(method, &format!("{version}&sid={sid}"), "", b"");
            let bad = (400, r#"{"code":3,"message":"Bad request"}"#);
            assert_eq!((response.status, response.text()), bad, "{method} {version}");
        }
        let upgrade = format!("transport=websocket{version}&sid={sid}");
        assert!(Client::dial(&sim, &upgrade).status().contains("400"), "{version}");
    }
    assert_eq!(http.post(&format!("&EIO=3&sid={old}"), "1:2").status, 200);
    assert_eq!(http.get(&format!("&EIO=3&sid={old}")).text(), "1:3");
}

#[test]
fn a_session_moves_to_websocket() {
    let server = builder().build();
    server.on("echo", async |args: Args| args);
    let sim = Sim::new(server);
    let http = Http::new(&sim);
    let sid = http.open("&EIO=3&b64=1");
    let client = Client::dial(&sim, &format!("{QUERY}&sid={sid}"));
    client.send("2probe");
    assert_eq!(client.next(), "3probe");
    assert_eq!(http.get(&format!("&EIO=3&sid={sid}")).text(), "1:6");
    sim.server().emit("waits", Bytes::from_static(&[1]));
    client.send("5");
    assert_eq!(client.next(), r#"451-["waits",{"_placeholder":true,"num":0}]"#);
    assert_eq!(client.next_binary(), [4, 1]);
    client.send(r#"421["echo",1]"#);
    assert_eq!(client.next(), "431[1]");
}

#[test]
fn a_client_that_stops_sending_pings_is_gone() {
    let server = builder().build();
    let reasons = disconnect_reasons(&server);
    let sim = Sim::new(server);
    let client = connect(&sim);
    for _ in 0..4 {
        sim.advance(Duration::from_secs(40));
        client.send("2");
        assert_eq!(client.next(), "3");
    }
    sim.advance(Duration::from_secs(44));
    assert!(reasons.lock().unwrap().is_empty());
    sim.advance(Duration::from_secs(2));
    assert_eq!(*reasons.lock().unwrap(), ["ping timeout"]);
}

#[test]
fn a_client_is_not_recovered_and_is_told_no_private_id() {
    let server = builder().connection_state_recovery(Recovery::new()).build();
    let sim = Sim::new(server);
    let client = connect(&sim);
    client.send("40/,");
    client.cut();
    let again = connect(&sim);
    again.expect_nothing();
    assert_ne!(again.session, client.session);
    // As in the reference, it gets the offset behind the arguments: a broadcast is one packet for all.
    sim.server().emit("all", 1);
    sim.server().to(&again.session).emit("one", 1);
    for (event, name) in again.texts().iter().zip(["all", "one"]) {
        let args: Vec<Value> = serde_json::from_str(event.strip_prefix("42").unwrap()).unwrap();
        assert!(matches!(&args[..], [event, _, Value::String(_)] if event == name), "{event}");
    }
    again.expect_nothing();
}

#[test]
fn a_client_that_tells_a_private_id_takes_nobody_s_place() {
    let server = builder().connection_state_recovery(Recovery::new()).build();
    let namespace = server.of("/adm");
    let sim = Sim::new(server);
    let current = Client::open(&sim, "EIO=4&transport=websocket");
    current.send("40/adm,");
    let answer = current.next();
    let known: Value = serde_json::from_str(answer.strip_prefix("40/adm,").unwrap()).unwrap();
    namespace.emit("hello", ());
    let event = current.next();
    let offset: Value = serde_json::from_str(event.strip_prefix("42/adm,").unwrap()).unwrap();
    current.cut();
    let client = connect(&sim);
    let introduction = format!("40/adm,{}", json!({ "pid": known["pid"], "offset": offset[1] }));
    client.send(&introduction);
    assert_eq!(client.next(), "40/adm,");
    let socket = namespace.socket(&client.session).expect("its id is that of the session");
    assert!(!socket.recovered());
    let current = Client::open(&sim, "EIO=4&transport=websocket");
    current.send(&introduction);
    let again: Value = serde_json::from_str(current.next().strip_prefix("40/adm,").unwrap()).unwrap();
    assert_eq!(again, known);
}

/// Keeps the texts that are sent.
#[derive(Clone, Default)]
struct Sent(Arc<Mutex<Vec<String>>>);

impl Observer for Sent {
    fn packet(&self, direction: Direction, info: &PacketInfo<'_>) {
        if let (Direction::Out, Packet::Message(Message::Text(text))) = (direction, info.packet) {
            self.0.lock().unwrap().push((*text).to_owned());
        }
    }
}

#[test]
fn an_observer_sees_the_refusal_that_the_client_gets() {
    let sent = Sent::default();
    let server = builder().observer(sent.clone()).build();
    server.of("/adm").middleware(async || Err::<(), _>(ConnectError::new("no")));
    let sim = Sim::new(server);
    let client = connect(&sim);
    for namespace in ["/adm", "/none"] {
        client.send(&format!("40{namespace},"));
        let got = client.next();
        assert_eq!(sent.0.lock().unwrap().last().map(String::as_str), got.strip_prefix('4'), "{got}");
    }
}

/// A bus that shows what a server watches.
#[derive(Clone, Default)]
struct Watched {
    channels: Arc<Mutex<BTreeSet<String>>>,
    node: Arc<OnceLock<Weak<dyn Node>>>,
}

impl Watched {
    fn has(&self, channel: &str) -> bool {
        self.channels.lock().unwrap().contains(channel)
    }

    /// Passes a broadcast of another server to this one.
    fn receive(&self, room: &str) {
        let message = json!({
            "uid": "other", "nsp": "/adm", "type": 3,
            "data": { "packet": { "type": 2, "data": ["news"] }, "opts": { "rooms": [room], "except": [] } },
        });
        let node = self.node.get().and_then(Weak::upgrade).unwrap();
        node.handle_message(&format!("socket.io#/adm#{room}#"), message.to_string().into());
    }
}

impl Bus for Watched {
    fn attach(&self, node: Weak<dyn Node>) {
        assert!(self.node.set(node).is_ok(), "attached once");
    }

    fn watch(&self, channel: &Channel, on: bool) {
        let mut watched = self.channels.lock().unwrap();
        let has_changed =
            if on { watched.insert(channel.name.to_string()) } else { watched.remove(&*channel.name) };
        assert!(has_changed, "{channel:?} {on}");
    }

    fn publish(&self, _: &Channel, _: Bytes) {}

    fn append(&self, _: &Channel, _: Vec<(&'static str, Bytes)>) {}

    fn count(&self, _: &Channel, _: RequestId) {}
}

#[test]
fn other_servers_reach_a_client_by_its_own_name_for_its_id() {
    let bus = Watched::default();
    let server = builder().adapter(Adapter::sharded(bus.clone())).build();
    server.of("/adm").on("join", async |socket: Socket, Data(room): Data<String>| socket.join(room));
    let sim = Sim::new(server);
    let client = connect(&sim);
    client.send("40/adm,");
    assert_eq!(client.next(), "40/adm,");
    let own = format!("/adm#{}", client.session);
    let channel = format!("socket.io#/adm#{own}#");
    assert!(bus.has(&channel), "from the beginning");
    bus.receive(&own);
    sim.run();
    assert_eq!(client.next(), r#"42/adm,["news"]"#);

    let other = sim.connect();
    other.send("40/adm,");
    other.texts();
    other.send(&format!(r#"42/adm,["join","{own}"]"#));
    client.send("41/adm,");
    assert!(bus.has(&channel), "another socket is in the room");
    bus.receive(&own);
    sim.run();
    assert_eq!(other.texts(), [r#"42/adm,["news"]"#]);
    other.send("41/adm,");
    assert!(!bus.has(&channel), "nobody is left");
}
