//! One node of a cluster on messages from anybody, and arguments on their way from one node to another.

use super::Choices;
use super::support::at;
use bytes::Bytes;
use serde_json::Value;
use sockeye_core::Random;
use sockeye_core::cluster::{
    Classic, Cluster, ClusterConfig, Command, Dialect, Event, PublishedArgs, RequestId, Sharded, SocketList,
    Streams,
};
use sockeye_core::engineio::Part;
use sockeye_core::socketio::{Encoder, Flags, Limits, OwnedArgs, Packet, Target};

const NAMESPACE: &str = "/";
const STREAM: &str = "socket.io";

/// Passes messages of the classic dialect to a node.
pub fn cluster_classic(data: &[u8]) {
    run(Dialect::Classic(Classic::default()), data);
}

/// The same for the sharded dialect.
pub fn cluster_sharded(data: &[u8]) {
    run(Dialect::Sharded(Sharded::default()), data);
}

/// The same for streams.
pub fn cluster_streams(data: &[u8]) {
    run(Dialect::Streams(Streams::default()), data);
}

fn node(dialect: Dialect, seed: u8) -> Cluster {
    let mut node = Cluster::new(ClusterConfig::new(dialect), Random::from_seed([seed; 20]));
    node.add_namespace(at(0), NAMESPACE);
    node
}

/// Messages neither panic a node nor leave anything behind: its requests end by their deadlines, and silence empties it.
fn run(dialect: Dialect, data: &[u8]) {
    let mut choices = Choices(data);
    let mut node = node(dialect.clone(), 1);
    let mut ms = 0;
    let mut requests = Vec::new();
    let mut position = 0;
    while !choices.is_empty() {
        let now = at(ms);
        let choice = choices.byte();
        match choice & 7 {
            0..=3 => {
                let length = usize::from(choices.short() & 0x3ff);
                let message = with_request(choices.bytes(length), requests.last());
                receive(&mut node, &dialect, ms, choice, &mut position, &message);
            }
            4 => requests.extend(ask(&mut node, ms, choice)),
            5 => {
                if let Some(request) = requests.last() {
                    node.handle_count(request, (choice < 0x80).then_some(usize::from(choice >> 3)));
                }
            }
            6 => {
                ms += u64::from(choices.short());
                node.handle_timeout(at(ms));
                assert!(node.next_deadline().is_none_or(|deadline| deadline > at(ms)));
            }
            _ => node.handle_reconnect(now),
        }
        drain(&mut node, &mut requests);
    }
    ms += 60_000;
    node.handle_timeout(at(ms));
    drain(&mut node, &mut requests);
    assert!(requests.is_empty(), "a request has not ended");
    assert_eq!(node.nodes(NAMESPACE).count(), 0);
    node.close(at(ms));
    assert_eq!(node.next_deadline(), None);
}

/// Replaces `@@@@@@` by the id of the latest request.
fn with_request(message: &[u8], request: Option<&RequestId>) -> Vec<u8> {
    let mut message = message.to_vec();
    if let (Some(request), Some(found)) = (request, message.windows(6).position(|it| it == b"@@@@@@")) {
        message.splice(found..found + 6, request.to_string().into_bytes());
    }
    message
}

fn receive(node: &mut Cluster, dialect: &Dialect, ms: u64, choice: u8, position: &mut u64, message: &[u8]) {
    let channels = ["socket.io#/#", "socket.io-request#/#", "socket.io-response#/#", "socket.io#/#room#"];
    if matches!(dialect, Dialect::Streams(_)) && choice & 8 != 0 {
        *position += u64::from(choice >> 5);
        let kind = (choice >> 4).to_string();
        let fields = [("uid", &b"other"[..]), ("nsp", b"/"), ("type", kind.as_bytes()), ("data", message)];
        let _ = node.handle_entry(at(ms), STREAM, &format!("{position}-1"), fields.into_iter());
        return;
    }
    let channel = channels[usize::from(choice >> 3) % channels.len()];
    let _ = node.handle_message(at(ms), channel, &Bytes::copy_from_slice(message));
}

fn ask(node: &mut Cluster, ms: u64, choice: u8) -> Option<RequestId> {
    let target = Target::default();
    let args = OwnedArgs::from_json(r#"["event"]"#, Vec::new()).unwrap();
    let args = PublishedArgs::from(args.as_args());
    match choice >> 3 & 3 {
        0 => node.fetch_sockets(at(ms), NAMESPACE, &target, None).ok(),
        1 => node.broadcast_with_ack(at(ms), NAMESPACE, &target, &Flags::default(), args).ok(),
        _ => node.server_side_emit_with_ack(at(ms), NAMESPACE, "event", args, None).ok(),
    }
}

/// Does what a server and a bus do.
fn drain(node: &mut Cluster, requests: &mut Vec<RequestId>) {
    while let Some(event) = node.poll_event() {
        match event {
            Event::Broadcast { event, reply, offset, .. } => {
                let mut encoder = Encoder::new();
                let offset = offset.map(|offset| offset.to_string());
                if let Ok(encoded) = event.encode(&mut encoder, NAMESPACE, None, offset.as_deref()) {
                    let text = std::str::from_utf8(encoded.text).unwrap();
                    // A client may accept fewer attachments and shorter names than a server sends.
                    let limits =
                        Limits { max_attachments: 9999, max_event_len: usize::MAX, ..Limits::default() };
                    Packet::decode(text, &limits).expect("what is sent to clients can be read");
                }
                if let Some(reply) = reply {
                    node.reply_clients(&reply, 1);
                    let args = event.to_args().unwrap_or_default();
                    node.reply_answer(&reply, args.as_args().into());
                }
            }
            Event::ServerSide { event, reply: Some(reply), .. } => {
                let args = event.to_args().unwrap_or_default();
                node.reply_answer(&reply, args.as_args().into());
            }
            Event::Fetch { reply, .. } => {
                let mut list = SocketList::new();
                list.push("id", "{}", ["id"].into_iter(), None);
                node.reply_sockets(&reply, list);
            }
            Event::Rooms { reply, .. } => node.reply_rooms(&reply, ["room"].into_iter()),
            Event::Sockets { sockets, .. } => {
                for socket in sockets.iter() {
                    let _ = (socket.data.to_args(), socket.handshake.to_json());
                }
            }
            Event::Answer { value, .. } => drop(value.to_args()),
            Event::Finished { request, .. } => {
                let found = requests.iter().position(|known| *known == request);
                requests.remove(found.expect("a request ends once"));
            }
            _ => {}
        }
    }
    while node.poll_command().is_some() {}
}

/// Arguments are the same for the clients of another node, whatever the form in which they pass the bus.
pub fn cluster_args(data: &[u8]) {
    let Some((&count, json)) = data.split_first() else { return };
    let Ok(json) = std::str::from_utf8(json) else { return };
    let attachments: Vec<_> = (0..count % 4).map(|byte| Bytes::from(vec![byte; byte.into()])).collect();
    let Ok(args) = OwnedArgs::from_json(json, attachments) else { return };
    // The event's name is ours, because some are not allowed.
    let mut encoder = Encoder::new();
    let Ok(sent) = encoder.forward_event(NAMESPACE, None, "event", args.as_args()) else { return };
    let expected = parts(sent.parts());
    for dialect in [
        Dialect::Classic(Classic::default()),
        Dialect::Sharded(Sharded::default()),
        Dialect::Streams(Streams::default()),
    ] {
        let [mut from, mut to] = [1, 2].map(|seed| node(dialect.clone(), seed));
        while from.poll_command().is_some() {}
        from.broadcast(at(0), NAMESPACE, &Target::default(), &Flags::default(), sent.into());
        let received = match from.poll_command() {
            Some(Command::Publish { channel, message }) => to.handle_message(at(0), &channel.name, &message),
            Some(Command::Append { fields, .. }) => {
                let fields = fields.iter().map(|(key, value)| (*key, &**value));
                to.handle_entry(at(0), STREAM, "1-0", fields)
            }
            _ => panic!("nothing was sent"),
        };
        // The message is some levels deeper than the arguments.
        if received.is_err() {
            assert!(is_deep(json), "{received:?}");
            continue;
        }
        let Some(Event::Broadcast { event, .. }) = to.poll_event() else { panic!("nothing has arrived") };
        let mut encoder = Encoder::new();
        // An object may look like a placeholder, or an attachment may be named twice or not at all.
        let Ok(encoded) = event.encode(&mut encoder, NAMESPACE, None, None) else { return };
        let got = parts(encoded.parts());
        // Half of a surrogate pair, or a number that is none to JavaScript, changes on the way.
        if count % 4 == 0 && expected.0.is_some() {
            assert_eq!(got, expected, "{dialect:?}");
        }
    }
}

fn is_deep(json: &str) -> bool {
    json.bytes().filter(|byte| matches!(byte, b'[' | b'{')).count() > 100
}

/// Returns the JSON of a packet as a value, for which the order of keys and the form of numbers and escapes do not matter,
/// and its attachments.
fn parts<'a>(parts: impl Iterator<Item = Part<'a>>) -> (Option<Value>, Vec<Vec<u8>>) {
    let (mut json, mut attachments) = (None, Vec::new());
    for part in parts {
        match part {
            Part::Text(text) => {
                let start = text.iter().position(|byte| *byte == b'[').unwrap();
                json = serde_json::from_slice::<Value>(&text[start..]).ok().map(as_floats);
            }
            Part::Binary(bytes) => attachments.push(bytes.to_vec()),
        }
    }
    (json, attachments)
}

/// Rounds numbers, because JavaScript's have 53 bits, and `serde_json` reads the last of them inexactly.
fn as_floats(value: Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().map(|number| format!("{:.9e}", number + 0.0)).into(),
        Value::Array(values) => values.into_iter().map(as_floats).collect(),
        Value::Object(values) => {
            Value::Object(values.into_iter().map(|(key, value)| (key, as_floats(value))).collect())
        }
        other => other,
    }
}
