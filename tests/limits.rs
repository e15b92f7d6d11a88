//! The limits on clients: the largest allowed input is accepted, and one byte or item more is refused.
#![allow(missing_docs, clippy::unwrap_used)]

mod simulation;

use simulation::{Client, Incoming, Sim};
use sockeye::{Args, CloseReason, DisconnectReason, Limits, Server, Socket};
use sockeye_core::engineio::TransportError;
use sockeye_core::websocket::{Opcode, write_frame};
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Reasons = Arc<Mutex<Vec<DisconnectReason>>>;

/// Creates a server with small limits that answers each event with its number of arguments, and records the reasons of
/// disconnections.
fn small() -> (Sim, Reasons) {
    let reasons = Reasons::default();
    let limits = Limits { max_attachment_bytes: 100, max_namespaces: 7, ..Limits::default() };
    let server = Server::builder().max_payload(2000).packet_limits(limits).build();
    let notes = reasons.clone();
    server.on_connect(move |socket: Socket| {
        let notes = notes.clone();
        socket.on_fallback(async |socket: Socket, args: Args| socket.emit("had", args.len()));
        socket.on_disconnect(move |reason: DisconnectReason| {
            notes.lock().unwrap().push(reason);
            async {}
        });
        async {}
    });
    (Sim::new(server), reasons)
}

/// Returns the cause for which the only socket was disconnected.
#[track_caller]
fn cause(reasons: &Reasons) -> String {
    let reasons = reasons.lock().unwrap();
    let [DisconnectReason::Closed(reason)] = reasons.as_slice() else { panic!("{reasons:?}") };
    match reason {
        CloseReason::TransportError(error) => error.to_string(),
        CloseReason::ForcedClose(Some(text)) => text.clone(),
        other => other.to_string(),
    }
}

/// Asserts that the input `within` a limit is answered, and that the input `beyond` it closes the connection for this
/// reason.
#[track_caller]
fn limited(within: &[Sent], beyond: &[Sent], reason: &str, code: u16) {
    let (sim, reasons) = small();
    let client = sim.connect();
    within.iter().for_each(|sent| send(&client, sent));
    let answer = client.next();
    assert!(answer.starts_with("42[\"had\","), "{answer}");
    beyond.iter().for_each(|sent| send(&client, sent));
    let ends: Vec<_> = std::iter::from_fn(|| client.poll()).collect();
    assert_eq!(ends, [Incoming::Close(Some(code))]);
    assert!(client.is_closed());
    assert_eq!(cause(&reasons), reason);
    assert_eq!(sim.server().clients_count(), 0);
}

enum Sent {
    Text(String),
    Binary(usize),
    /// A message in fragments: their number, and the size of each in bytes.
    Fragments(usize, usize),
}

fn send(client: &Client, sent: &Sent) {
    match sent {
        Sent::Text(text) => client.send(text),
        Sent::Binary(size) => client.send_binary(&vec![1; *size]),
        Sent::Fragments(count, size) => {
            let whole = event(count * size);
            let mut bytes = Vec::new();
            for (i, part) in whole.as_bytes().chunks(*size).enumerate() {
                let start = bytes.len();
                let opcode = if i == 0 { Opcode::Text } else { Opcode::Continuation };
                write_frame(&mut bytes, opcode, part, Some([1, 2, 3, 4]));
                if i + 1 < *count {
                    bytes[start] &= 0x7f;
                }
            }
            client.send_bytes(&bytes);
        }
    }
}

/// Returns an event of `len` bytes.
fn event(len: usize) -> String {
    format!(r#"42["e","{}"]"#, "x".repeat(len - 10))
}

fn text(text: impl Into<String>) -> Sent {
    Sent::Text(text.into())
}

fn attachments(count: usize, size: usize) -> Vec<Sent> {
    let head = text(format!(r#"45{count}-["e",{{"_placeholder":true,"num":0}}]"#));
    std::iter::once(head).chain((0..count).map(|_| Sent::Binary(size))).collect()
}

#[test]
fn a_message_may_have_max_payload_bytes() {
    assert_eq!(event(2000).len(), 2000);
    limited(&[text(event(2000))], &[text(event(2001))], "websocket: message of more than 2000 bytes", 1009);
}

#[test]
fn the_fragments_of_a_message_may_have_max_payload_bytes_together() {
    let (within, beyond) = (Sent::Fragments(4, 500), Sent::Fragments(4, 501));
    limited(&[within], &[beyond], "websocket: message of more than 2000 bytes", 1009);
}

#[test]
fn a_packet_may_announce_ten_attachments() {
    limited(&attachments(10, 1), &attachments(11, 1)[..1], "too many attachments", 1002);
}

#[test]
fn the_total_size_of_attachments_is_limited() {
    let beyond = attachments(4, 26);
    limited(&attachments(4, 25), &beyond, "attachments too large", 1002);
}

#[test]
fn an_events_name_may_have_512_bytes() {
    let name = |len| text(format!(r#"42["{}"]"#, "n".repeat(len)));
    limited(&[name(512)], &[name(513)], "event name too long", 1002);
}

#[test]
fn data_may_be_128_levels_deep() {
    // The list of arguments is the first level.
    let deep =
        |levels: usize| text(format!(r#"42["e",{}{}]"#, "[".repeat(levels - 1), "]".repeat(levels - 1)));
    limited(&[deep(128)], &[deep(129)], "json too deep", 1002);
}

#[test]
fn an_acknowledgement_id_may_have_53_bits() {
    let (sim, reasons) = small();
    let client = sim.connect();
    client.send(r#"429007199254740991["e"]"#);
    assert_eq!(client.next(), r#"42["had",0]"#);
    assert_eq!(client.next(), "439007199254740991[]");
    client.send(r#"429007199254740992["e"]"#);
    client.expect_close();
    assert_eq!(cause(&reasons), "illegal acknowledgement id");
}

#[test]
fn a_namespaces_name_may_have_512_bytes_and_a_longer_one_is_not_repeated() {
    let (sim, _) = small();
    let name = format!("/{}", "n".repeat(511));
    let client = sim.client();
    client.send(&format!("40{name},"));
    assert_eq!(client.next(), format!(r#"44{name},{{"message":"Invalid namespace"}}"#));
    client.send(&format!("40{name}n,"));
    client.expect_close();
    client.expect_nothing();
}

#[test]
fn a_client_may_be_in_max_namespaces_and_is_refused_one_more() {
    let (sim, _) = small();
    (0..7).for_each(|n| drop(sim.server().of(&format!("/{n}"))));
    let mut client = sim.client();
    client.join("/");
    (1..7).for_each(|n| drop(client.join(&format!("/{n}"))));
    assert!(!client.is_closed());
    client.send("40/0,");
    assert_eq!(client.next(), r#"44/0,{"message":"too many namespaces"}"#);
    assert!(!client.is_closed());
    assert_eq!(sim.server().of("/0").sockets_count(), 0);
    // There is room once it leaves another one.
    client.send("41/1,");
    client.join("/0");
}

#[test]
fn a_request_may_have_max_payload_bytes() {
    let (sim, reasons) = small();
    let mut client = sim.polling();
    client.join();
    assert_eq!(client.post(&event(2000)), 200);
    assert_eq!(client.poll(), [r#"42["had",1]"#]);
    client.begin_poll();
    assert_eq!(client.post(&event(2001)), 413);
    // The waiting poll is answered.
    assert_eq!(client.answer().unwrap().0, 200);
    assert_eq!(cause(&reasons), "a body of more than 2000 bytes");
    assert_eq!(sim.server().clients_count(), 0);
}

#[test]
fn a_head_may_have_16_kib_and_64_headers() {
    let (sim, _) = small();
    let answer = |head: &str| {
        let pipe = sim.dial();
        pipe.send(head.as_bytes());
        sim.run();
        String::from_utf8(pipe.receive()).unwrap().split(' ').nth(1).unwrap().to_owned()
    };
    let request = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\n";
    let filled = |len: usize| format!("{request}X: {}\r\n\r\n", "x".repeat(len - request.len() - 7));
    assert_eq!(filled(16_384).len(), 16_384);
    assert_eq!((answer(&filled(16_384)), answer(&filled(16_385))), ("200".into(), "431".into()));
    let headers = |count: usize| format!("{request}{}\r\n", "X: y\r\n".repeat(count - 1));
    assert_eq!((answer(&headers(64)), answer(&headers(65))), ("200".into(), "431".into()));
}

#[test]
fn requests_wait_in_a_bounded_buffer_while_one_is_held() {
    let (sim, _) = small();
    let mut client = sim.polling();
    client.join();
    let target = format!("/socket.io/?EIO=4&transport=polling&sid={}", client.session);
    let poll = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
    let pipe = sim.dial();
    // A poll that is held, and many requests after it.
    pipe.send(poll.as_bytes());
    pipe.send(&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(40_000));
    sim.run();
    let taken = 28 * 40_000 - pipe.unread();
    assert!((16 << 10..200 << 10).contains(&taken), "{taken} bytes were taken");
    assert!(pipe.receive().is_empty());
    // No request is lost.
    sim.server().emit("news", 1);
    let mut answers = Vec::new();
    loop {
        sim.run();
        let taken = pipe.receive();
        if taken.is_empty() {
            break;
        }
        answers.extend(taken);
    }
    let answers = String::from_utf8(answers).unwrap().matches("HTTP/1.1 404 ").count();
    assert_eq!(answers, 40_000);
}

#[test]
fn a_client_that_sends_one_byte_a_second_is_closed_at_the_deadline() {
    let (sim, reasons) = small();
    let head = sim.dial();
    let mut polling = sim.polling();
    polling.join();
    let body = sim.dial();
    let target = format!("/socket.io/?EIO=4&transport=polling&sid={}", polling.session);
    body.send(format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n").as_bytes());
    let websocket = sim.connect();
    let mut frame = Vec::new();
    write_frame(&mut frame, Opcode::Text, event(1000).as_bytes(), Some([0; 4]));
    let mut closed = [None; 3];
    for second in 0..70 {
        head.send(&[b"GET / HTTP/1.1\r\n", &[b'x'; 100][..]].concat()[second..=second]);
        body.send(b"4");
        websocket.put(&frame[second..=second]);
        sim.advance(Duration::from_secs(1));
        let ends = [head.has_ended_after_reading(), body.has_ended_after_reading(), websocket.is_closed()];
        for (closed, ended) in closed.iter_mut().zip(ends) {
            if ended && closed.is_none() {
                *closed = Some(second + 1);
            }
        }
    }
    assert_eq!(closed[0], Some(10), "a head");
    let [_, Some(body), Some(message)] = closed else { panic!("{closed:?}") };
    assert!(body <= 60 && message <= 61, "{closed:?}");
    let reasons = reasons.lock().unwrap();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    let is_too_slow = |reason: &DisconnectReason| {
        matches!(reason, DisconnectReason::Closed(CloseReason::TransportError(TransportError::TooSlow)))
    };
    assert!(reasons.iter().all(is_too_slow), "{reasons:?}");
}
