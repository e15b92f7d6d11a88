//! A server sees and answers the same however the bytes of a stream are cut into chunks.
#![allow(missing_docs, clippy::unwrap_used)]

mod simulation;

use proptest::prelude::*;
use simulation::Sim;
use sockeye::extract::Event;
use sockeye::{Args, DisconnectReason, Server, Socket};
use sockeye_core::websocket::{Decoder, Message, Opcode, Role, write_close, write_frame};
use std::sync::{Arc, Mutex};

/// Creates a server that records events and disconnections, and echoes.
fn noting() -> (Sim, Arc<Mutex<Vec<String>>>) {
    let notes = Arc::new(Mutex::new(Vec::new()));
    let server = Server::builder().max_payload(2000).build();
    let connected = notes.clone();
    server.on_connect(move |socket: Socket| {
        let ended = connected.clone();
        socket.on_disconnect(move |reason: DisconnectReason| {
            ended.lock().unwrap().push(format!("ended: {reason:?}"));
            async {}
        });
        let events = connected.clone();
        socket.on_fallback(move |socket: Socket, Event(name): Event, args: Args| {
            events.lock().unwrap().push(format!("{name}: {args:?}"));
            let _ = socket.emit(&name, args.clone());
            async { args }
        });
        async {}
    });
    (Sim::new(server), notes)
}

#[derive(Debug)]
struct Outcome {
    notes: Vec<String>,
    /// The answers that the client received, unless the session ended before the stream did.
    answers: Option<String>,
    bytes: usize,
}

impl PartialEq for Outcome {
    fn eq(&self, other: &Outcome) -> bool {
        self.notes == other.notes && self.answers == other.answers
    }
}

/// Returns the outcome of a stream of three parts: `begin` arrives whole, and its answer contains the session's id;
/// `rest` arrives in chunks of these sizes; `end` arrives whole.
fn outcome([begin, rest, end]: [&[u8]; 3], sizes: &[usize]) -> Outcome {
    let (sim, notes) = noting();
    let pipe = sim.dial();
    pipe.send(begin);
    sim.run();
    let mut output = pipe.receive();
    let begun = String::from_utf8_lossy(&output).into_owned();
    let sid = begun.split("\"sid\":\"").nth(1).and_then(|rest| rest.get(..20)).unwrap_or("-").to_owned();
    let rest = replace(rest, b"@", sid.as_bytes());
    let mut rest = rest.as_slice();
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (chunk, behind) = rest.split_at((*size).min(rest.len()));
        pipe.send(chunk);
        sim.run();
        output.extend(pipe.receive());
        rest = behind;
    }
    sim.run();
    output.extend(pipe.receive());
    let ended = notes.lock().unwrap().iter().any(|note| note.starts_with("ended"));
    pipe.send(end);
    sim.run();
    output.extend(pipe.receive());
    let notes = notes.lock().unwrap().clone();
    // A client that closes in the same chunk does not get the answers to what it sent before.
    let bytes = output.len();
    let answers = (!ended).then(|| without_ids(&read(output)));
    Outcome { notes, answers, bytes }
}

/// Returns responses unchanged, and messages one per line with the number of pongs, because a pong may overtake them.
fn read(mut output: Vec<u8>) -> String {
    if !output.starts_with(b"HTTP/1.1 101 ") {
        return String::from_utf8(output).unwrap();
    }
    let end = output.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let mut decoder = Decoder::new(Role::Client, usize::MAX);
    let mut rest = &mut output[end..];
    let (mut messages, mut pongs) = (String::new(), 0);
    while let Some(message) = decoder.decode(&mut rest).unwrap() {
        match message {
            Message::Pong(_) => pongs += 1,
            message => messages.push_str(&format!("{message:?}\n")),
        }
    }
    format!("{messages}{pongs}")
}

/// Removes the ids of sessions and sockets, which are random.
fn without_ids(text: &str) -> String {
    // The JSON may be quoted, as a string inside `Debug` output.
    let text = text.replace("\\\"", "\"");
    let mut parts = text.split("\"sid\":\"");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + "sid" + part.get(20..).unwrap_or(part))
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while let Some(at) = rest.windows(from.len()).position(|window| window == from) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    out.extend_from_slice(rest);
    out
}

const WHOLE: &[usize] = &[usize::MAX];
const BYTES: &[usize] = &[1];

/// Generates a message of a client: text packets, or an attachment.
fn message() -> impl Strategy<Value = Result<String, Vec<u8>>> {
    let odd = proptest::sample::select(vec![
        r#"42["a",1,"-,/{\"_placeholder\":true,\"num\":0}"]"#,
        r#"427["é🦈",{"__proto__":{"x":null}}]"#,
        r#"4212["ask"]"#,
        r#"42["\u001e4\ud83d","0\r\n\r\n"]"#,
        "3",
        r#"430["nobody asked"]"#,
        "6",
        "40/nowhere,",
    ]);
    // Not "40": whether a second one is tolerated depends on whether the answer to the first was written.
    let last = proptest::sample::select(vec!["", "9", "42[", "41", "1", "451-[\"a\"]", "2"]);
    prop_oneof![
        12 => odd.prop_map(|text| Ok(text.to_owned())),
        2 => "[a-z ]{0,200}".prop_map(|text| Ok(format!("42[\"long\",\"{text}\"]"))),
        1 => last.prop_map(|text| Ok(text.to_owned())),
        1 => Just(Ok(format!("42[\"too long\",\"{}\"]", "x".repeat(2000)))),
        1 => proptest::collection::vec(any::<u8>(), 0..40).prop_map(Err),
    ]
}

/// Generates a few messages, among them events with all their attachments.
fn conversation() -> impl Strategy<Value = Vec<Result<String, Vec<u8>>>> {
    let binary = proptest::collection::vec(any::<u8>(), 0..300).prop_map(|data| {
        let head = r#"452-9["bytes",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]"#;
        vec![Ok(head.to_owned()), Err(data), Err(vec![])]
    });
    let part = prop_oneof![4 => message().prop_map(|message| vec![message]), 1 => binary];
    proptest::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
}

fn handshake() -> Vec<u8> {
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\
      Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        .to_vec()
}

/// Writes the conversation as frames, some of them in fragments with a ping in between.
fn frames(messages: &[Result<String, Vec<u8>>], cut: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for (i, message) in messages.iter().enumerate() {
        let (opcode, data) = match message {
            Ok(text) => (Opcode::Text, text.as_bytes()),
            Err(data) => (Opcode::Binary, data.as_slice()),
        };
        let mask = Some([i as u8, 0xff, 0x80, 1]);
        if i % 3 == cut % 3 {
            let (front, back) = data.split_at(cut.min(data.len()));
            let start = out.len();
            write_frame(&mut out, opcode, front, mask);
            out[start] &= 0x7f;
            write_frame(&mut out, Opcode::Ping, b"?", mask);
            write_frame(&mut out, Opcode::Continuation, back, mask);
        } else {
            write_frame(&mut out, opcode, data, mask);
        }
    }
    out
}

/// Writes the conversation as requests on one stream, each of which is answered before the next is handled.
fn requests(messages: &[Result<String, Vec<u8>>], chunked: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for message in [Ok("40".to_owned())].iter().chain(messages) {
        let body = match message {
            Ok(text) => text.clone(),
            Err(_) => continue,
        };
        let target = "/socket.io/?EIO=4&transport=polling&sid=@ HTTP/1.1\r\nHost: a\r\n";
        let post = match chunked {
            true => format!(
                "POST {target}Transfer-Encoding: chunked\r\n\r\n{:x};a=b\r\n{body}\r\n0\r\nx: y\r\n\r\n",
                body.len().max(1)
            ),
            false => format!("POST {target}Content-Length: {}\r\n\r\n{body}", body.len()),
        };
        out.extend_from_slice(post.as_bytes());
        // A poll follows only if there is an echo that answers it.
        if body.starts_with("42[") || body.starts_with("40") {
            out.extend_from_slice(format!("GET {target}\r\n").as_bytes());
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_websocket_stream_is_handled_the_same_in_any_chunks(
        messages in conversation(),
        cut in 0usize..30,
        sizes in proptest::collection::vec(1usize..200, 1..6),
    ) {
        let mut connect = Vec::new();
        write_frame(&mut connect, Opcode::Text, b"40", Some([1, 2, 3, 4]));
        let stream = [handshake(), connect, frames(&messages, cut)].concat();
        let mut end = Vec::new();
        write_close(&mut end, Some(1000), "bye", Some([9; 4]));
        let parts = [b"", stream.as_slice(), &end];
        let whole = outcome(parts, WHOLE);
        prop_assert!(whole.bytes > 130 && !whole.notes.is_empty());
        prop_assert_eq!(&outcome(parts, BYTES), &whole);
        prop_assert_eq!(&outcome(parts, &sizes), &whole);
    }

    #[test]
    fn a_stream_of_requests_is_handled_the_same_in_any_chunks(
        messages in conversation(),
        chunked: bool,
        sizes in proptest::collection::vec(1usize..200, 1..6),
    ) {
        let begin = b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\n\r\n";
        let stream = requests(&messages, chunked);
        let parts = [begin.as_slice(), &stream, b""];
        let whole = outcome(parts, WHOLE);
        prop_assert!(whole.bytes > 400);
        prop_assert_eq!(&outcome(parts, BYTES), &whole);
        prop_assert_eq!(&outcome(parts, &sizes), &whole);
    }
}
