//! The messages of Node's adapters, captured from `@socket.io/redis-adapter` 8.3.0, `@socket.io/redis-streams-adapter`
//! 0.3.1 and `@socket.io/redis-emitter` 5.1.0: a node understands them, and sends the same bytes itself.
#![cfg(feature = "cluster")]
#![allow(missing_docs, clippy::unwrap_used)]

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use sockeye_core::cluster::{
    BusEvent, Channel, ChannelKind, Classic, Cluster, ClusterConfig, Command, Dialect, Event, PublishedArgs,
    Sharded, SocketList, Streams, SubscriptionMode,
};
use sockeye_core::engineio::Part;
use sockeye_core::socketio::{Encoder, Flags, OwnedArgs, Target};
use sockeye_core::{Random, Time};
use std::time::Duration;

/// A message that an adapter has passed to its Redis client.
#[derive(Deserialize, Debug, Clone)]
struct Captured {
    name: String,
    dialect: String,
    command: String,
    target: String,
    text: Option<String>,
    hex: Option<String>,
}

impl Captured {
    fn bytes(&self) -> Vec<u8> {
        match (&self.text, &self.hex) {
            (Some(text), _) => text.clone().into(),
            (_, Some(hex)) => {
                let digits: Vec<_> = hex.chars().map(|digit| digit.to_digit(16).unwrap() as u8).collect();
                digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
            }
            _ => panic!("{} has no content", self.name),
        }
    }

    /// The fields of an entry of a stream.
    fn fields(&self) -> Vec<(String, Vec<u8>)> {
        let entry: serde_json::Map<_, _> = serde_json::from_slice(&self.bytes()).unwrap();
        let mut fields = Vec::new();
        for key in ["uid", "nsp", "type", "data"] {
            fields.extend(entry.get(key).map(|value| (key.to_owned(), value.as_str().unwrap().into())));
        }
        assert_eq!(fields.len(), entry.len());
        fields
    }
}

/// One namespace of one adapter, and the name that it had in Node.
struct Place {
    dialect: Dialect,
    name: &'static str,
    namespace: &'static str,
    uid: &'static str,
    request: &'static str,
}

fn places() -> Vec<Place> {
    let classic = |specific_responses| Dialect::Classic(Classic { specific_responses, ..Classic::default() });
    let sharded = |subscription_mode| Dialect::Sharded(Sharded { subscription_mode, ..Sharded::default() });
    let place = |name, dialect, namespace, uid, request| Place { dialect, name, namespace, uid, request };
    let (long, request) = ("0001020304050607", "4041424344454647");
    vec![
        place("classic", classic(false), "/", "ABCDEF", "ABCDEF"),
        place("classic", classic(true), "/chat", "QRSTUV", "ABCDEF"),
        place("sharded", sharded(SubscriptionMode::Dynamic), "/chat", "1011121314151617", request),
        place("sharded-private", sharded(SubscriptionMode::DynamicPrivate), "/", long, request),
        place("sharded-static", sharded(SubscriptionMode::Static), "/", long, request),
        place("streams", Dialect::Streams(Streams::default()), "/", long, request),
    ]
}

impl Place {
    fn captured(&self, what: &str) -> Vec<Captured> {
        let name = format!("{what} {}", self.namespace);
        captured().into_iter().filter(|it| it.dialect == self.name && it.name == name).collect()
    }

    fn node(&self) -> Cluster {
        let mut node = Cluster::new(ClusterConfig::new(self.dialect.clone()), Random::from_seed([1; 20]));
        node.add_namespace(Time::ZERO, self.namespace);
        while node.poll_command().is_some() {}
        node
    }
}

fn captured() -> Vec<Captured> {
    let lines = include_str!("cluster_support/captured.jsonl").lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Passes a captured message to a node.
fn receive(node: &mut Cluster, captured: &Captured) {
    if captured.command == "xAdd" {
        let fields = captured.fields();
        let fields = fields.iter().map(|(key, value)| (&**key, &**value));
        node.handle_entry(Time::ZERO, "socket.io", "5-0", fields).unwrap();
    } else {
        node.handle_message(Time::ZERO, &captured.target, &captured.bytes().into()).unwrap();
    }
}

/// Receives a captured message, which is one event.
fn event(place: &Place, captured: &Captured) -> Event {
    let mut node = place.node();
    receive(&mut node, captured);
    let event = node.poll_event().unwrap_or_else(|| panic!("{} {} is ignored", place.name, captured.name));
    assert_eq!((node.poll_event(), node.poll_command()), (None, None));
    event
}

/// Encodes an event for clients, in one line.
fn show(event: &BusEvent) -> String {
    let mut encoder = Encoder::new();
    let encoded = event.encode(&mut encoder, "/", None, None).unwrap();
    let parts = encoded.parts().map(|part| match part {
        Part::Text(text) => String::from_utf8(text.to_vec()).unwrap(),
        Part::Binary(bytes) => format!("{bytes:?}"),
    });
    parts.collect::<Vec<_>>().join(" ")
}

fn target(rooms: &[&str], except: &[&str]) -> Target {
    let mut target = Target::default();
    rooms.iter().for_each(|room| target.rooms.insert(room));
    except.iter().for_each(|room| target.except.insert(room));
    target
}

fn flags(is_reduced: bool, timeout: Option<Duration>) -> Flags {
    let mut flags = Flags::default();
    (flags.volatile, flags.compress, flags.timeout) = (is_reduced, !is_reduced, timeout);
    flags
}

const SOCKET: &str = "AAAAAAAAAAAAAAAAAAAB";
const HANDSHAKE: &str = r#"{"headers":{"host":"h"},"time":"t","address":"1.2.3.4","xdomain":false,"secure":false,"issued":5,"url":"/u","query":{"EIO":"4"},"auth":{"a":1}}"#;

#[test]
fn the_broadcasts_of_node_are_understood() {
    let volatile = flags(true, None);
    let [x, y] = [(b"x", 40), (b"y", 300)].map(|(byte, len)| String::from_utf8(byte.repeat(len)).unwrap());
    let long = json!(["long", x, (0..20).collect::<Vec<_>>(), y]);
    let three = "[null,true,false,1.5,-1,-129,300,70000,4294967296,-2147483649]";
    let everybody = target(&[], &[]);
    let cases = [
        ("broadcast", &everybody, Flags::default(), format!(r#"2["hello",1,"two",{{"three":{three}}}]"#)),
        ("broadcast to one room", &target(&["room1"], &[]), Flags::default(), r#"2["hello","é😀"]"#.into()),
        (
            "broadcast to two rooms except",
            &target(&["room1", "room2"], &["room3"]),
            volatile,
            r#"2["hello"]"#.into(),
        ),
        ("broadcast to an id", &target(&[SOCKET], &[]), Flags::default(), r#"2["hello",1]"#.into()),
        ("broadcast numeric rooms", &target(&["1", "2.5"], &["3"]), Flags::default(), r#"2["hello",1]"#.into()),
        (
            "broadcast binary",
            &target(&["room1"], &[]),
            Flags::default(),
            r#"53-["bin",{"_placeholder":true,"num":0},{"a":{"_placeholder":true,"num":1},"b":[{"_placeholder":true,"num":2}]}] [1, 2, 3] [] [104, 105]"#.into(),
        ),
        (
            "broadcast undefined date",
            &everybody,
            Flags::default(),
            r#"2["odd",null,{"d":"1970-01-01T00:00:01.000Z","n":null,"big":9007199254740991,"neg":-9007199254740991}]"#.into(),
        ),
        ("broadcast long", &everybody, Flags::default(), format!("2{long}")),
    ];
    let mut seen = 0;
    for place in places() {
        for (name, to, wanted, expected) in &cases {
            for captured in place.captured(name) {
                let Event::Broadcast { namespace, target, flags, event, offset, reply } =
                    event(&place, &captured)
                else {
                    panic!("{captured:?} is not a broadcast");
                };
                assert_eq!((&*namespace, &target), (place.namespace, *to), "{captured:?}");
                assert_eq!(flags.volatile, wanted.volatile);
                assert_eq!(flags.compress, !wanted.volatile);
                assert_eq!(&show(&event), expected, "{captured:?}");
                let offset = offset.map(|offset| offset.to_string());
                assert_eq!(offset.as_deref(), (place.name == "streams").then_some("5-0"));
                assert_eq!(reply, None);
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 4 * 8 + 2 * 3);
}

#[test]
fn the_requests_of_node_are_understood() {
    for place in places().iter().filter(|place| !place.name.contains('-')) {
        let one = |name: &str| event(place, place.captured(name).first().expect(name));
        let Event::Broadcast { flags, event, reply: Some(_), offset: None, .. } = one("broadcast ack") else {
            panic!("not a broadcast with acknowledgements");
        };
        assert_eq!((flags.timeout, show(&event)), (Some(Duration::from_secs(2)), r#"2["ask","q"]"#.into()));
        let Event::Broadcast { event, reply: Some(_), .. } = one("broadcast ack binary") else { panic!() };
        assert_eq!(show(&event), r#"51-["ask",{"_placeholder":true,"num":0}] [9]"#);
        let Event::Join { target: to, rooms, reply: None, .. } = one("join") else { panic!() };
        assert_eq!((to, rooms.iter().collect::<Vec<_>>()), (target(&["room1"], &["x"]), vec!["a", "b"]));
        let Event::Leave { target: to, rooms, reply: None, .. } = one("leave") else { panic!() };
        assert_eq!((to, rooms.iter().collect::<Vec<_>>()), (target(&[], &[]), vec!["a"]));
        let Event::Disconnect { target: to, close: true, .. } = one("disconnect") else { panic!() };
        assert_eq!(to, target(&["room1"], &[]));
        let Event::Disconnect { close: false, .. } = one("disconnect soft") else { panic!() };
        let Event::Fetch { target: to, .. } = one("fetch") else { panic!() };
        assert_eq!(to, target(&["room1"], &[]));
        let Event::ServerSide { event, reply: None, .. } = one("server side") else { panic!() };
        assert_eq!(event.name(), "ping");
        assert_eq!(format!("{:?}", event.to_args().unwrap()), r#"[1, {"a":"b"}]"#);
        let Event::ServerSide { event, .. } = one("server side binary") else { panic!() };
        // Node's classic adapter does not send binary data between servers.
        let expected =
            if place.name == "classic" { r#"[{"type":"Buffer","data":[7]}]"# } else { "[<1 byte>]" };
        assert_eq!(format!("{:?}", event.to_args().unwrap()), expected);
        let Event::ServerSide { event, reply: Some(_), .. } = one("server side ack") else { panic!() };
        assert_eq!(format!("{:?}", event.to_args().unwrap()), "[1]");
        if place.name == "classic" {
            assert!(matches!(one("all rooms"), Event::Rooms { .. }));
        }
    }
}

#[test]
fn the_emitters_of_node_are_understood() {
    let places = places();
    let names = ["emit", "emit to room", "join", "leave", "disconnect", "server side"];
    let events = names.map(|name| {
        let captured = captured().into_iter().find(|it| it.dialect == "emitter" && it.name == name).unwrap();
        event(&places[usize::from(name == "emit to room")], &captured)
    });
    let [
        Event::Broadcast { event: first, .. },
        Event::Broadcast { namespace, target: to, flags, .. },
        Event::Join { .. },
        Event::Leave { rooms, .. },
        Event::Disconnect { close: true, .. },
        Event::ServerSide { reply: None, .. },
    ] = &events
    else {
        panic!("{events:#?}");
    };
    assert_eq!(show(first), r#"51-["hello",1,{"_placeholder":true,"num":0}] [1]"#);
    assert_eq!((&**namespace, to), ("/chat", &target(&["room1"], &["x"])));
    assert!(flags.volatile && flags.compress);
    assert_eq!(rooms.len(), 2);
}

/// Returns what a node sends, with the random names of Node's.
fn sent(node: &mut Cluster, place: &Place, request: Option<String>) -> Vec<(Channel, Vec<u8>)> {
    let uid = node.uid().to_owned();
    let rename = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        for (from, to) in [(Some(&uid), place.uid), (request.as_ref(), place.request)] {
            let Some(from) = from else { continue };
            while let Some(at) = bytes.windows(from.len()).position(|it| it == from.as_bytes()) {
                bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
            }
        }
        bytes
    };
    let mut sent = Vec::new();
    while let Some(command) = node.poll_command() {
        match command {
            Command::Publish { channel, message } => sent.push((channel, rename(&message))),
            Command::Append { channel, fields } => {
                let fields: Vec<_> = fields.iter().map(|(key, value)| (*key, rename(value))).collect();
                sent.push((channel, format!("{fields:?}").into()));
            }
            Command::Count { channel, .. } => {
                let infix = if place.name == "classic" { "-request" } else { "" };
                assert_eq!(channel.name, format!("socket.io{infix}#{}#", place.namespace));
            }
            other => panic!("{other:?}"),
        }
    }
    sent
}

/// Checks that a node sends what Node sends.
fn check(place: &Place, name: &str, at: usize, send: impl FnOnce(&mut Cluster) -> Option<String>) {
    let Some(captured) = place.captured(name).into_iter().nth(at) else {
        assert!(place.name.contains('-'), "{} {name} was not captured", place.name);
        return;
    };
    let mut node = place.node();
    let request = send(&mut node);
    let sent = sent(&mut node, place, request);
    let [(channel, message)] = &sent[..] else { panic!("{name}: {sent:?}") };
    let (kind, target, expected) = match &*captured.command {
        "publish" => (ChannelKind::Plain, captured.target.clone(), captured.bytes()),
        "sPublish" => (ChannelKind::Sharded, captured.target.clone(), captured.bytes()),
        "xAdd" => (ChannelKind::Stream, "socket.io".into(), format!("{:?}", captured.fields()).into()),
        command => panic!("{command}"),
    };
    assert_eq!((channel.kind, channel.name.as_str()), (kind, &*target), "{} {name}", place.name);
    let [ours, theirs] = [message, &expected].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert_eq!(ours, theirs, "{} {name}", place.name);
    assert_eq!(message, &expected, "{} {name}", place.name);
}

#[test]
fn broadcasts_are_the_same_bytes_as_in_node() {
    let mut encoder = Encoder::new();
    let three = json!([null, true, false, 1.5, -1, -129, 300, 70000, 4_294_967_296_i64, -2_147_483_649_i64]);
    let (x, y) = ("x".repeat(40), "y".repeat(300));
    let bytes = |bytes: &'static [u8]| Bytes::from_static(bytes);
    let mut binary = std::collections::BTreeMap::new();
    binary.insert("b", json!(null));
    for place in places() {
        let now = Time::ZERO;
        let namespace = place.namespace;
        let mut cast = |name: &str, to: &Target, flags: &Flags, event: &str, args: &dyn erased::Args| {
            check(&place, name, 0, |node| {
                let encoded = args.encode(&mut encoder, namespace, event);
                node.broadcast(now, namespace, to, flags, encoded);
                None
            });
        };
        let plain = Flags::default();
        let everybody = target(&[], &[]);
        let room = target(&["room1"], &[]);
        let hidden = flags(true, None);
        cast("broadcast", &everybody, &plain, "hello", &(1, "two", json!({ "three": three })));
        cast("broadcast to one room", &room, &plain, "hello", &("é😀",));
        cast(
            "broadcast to two rooms except",
            &target(&["room1", "room2"], &["room3"]),
            &hidden,
            "hello",
            &(),
        );
        cast("broadcast to an id", &target(&[SOCKET], &[]), &plain, "hello", &(1,));
        cast("broadcast long", &everybody, &plain, "long", &(&x, (0..20).collect::<Vec<_>>(), &y));
        let binary = (bytes(&[1, 2, 3]), Binary { a: bytes(&[]), b: vec![bytes(b"hi")] });
        cast("broadcast binary", &room, &plain, "bin", &binary);
        let flags = flags(false, Some(Duration::from_secs(2)));
        for (name, args) in
            [("broadcast ack", &("q",) as &dyn erased::Args), ("broadcast ack binary", &(bytes(&[9]),))]
        {
            check(&place, name, 0, |node| {
                let encoded = args.encode(&mut encoder, namespace, "ask");
                Some(
                    node.broadcast_with_ack(now, namespace, &everybody, &flags, encoded).unwrap().to_string(),
                )
            });
        }
    }
}

#[derive(serde::Serialize)]
struct Binary {
    a: Bytes,
    b: Vec<Bytes>,
}

mod erased {
    use super::*;

    /// Arguments that can be listed in a table.
    pub(super) trait Args {
        fn encode<'e>(&self, encoder: &'e mut Encoder, namespace: &str, event: &str) -> PublishedArgs<'e>;
    }

    impl<T: serde::Serialize> Args for T {
        fn encode<'e>(&self, encoder: &'e mut Encoder, namespace: &str, event: &str) -> PublishedArgs<'e> {
            encoder.event(namespace, None, event, self).unwrap().into()
        }
    }
}

#[test]
fn requests_are_the_same_bytes_as_in_node() {
    let now = Time::ZERO;
    let args = |json: &str| OwnedArgs::from_json(json, Vec::new()).unwrap();
    for place in places() {
        let namespace = place.namespace;
        let room = target(&["room1"], &[]);
        let everybody = target(&[], &[]);
        check(&place, "join", 0, |node| {
            node.join(now, namespace, &target(&["room1"], &["x"]), &target(&["a", "b"], &[]).rooms);
            None
        });
        check(&place, "leave", 0, |node| {
            node.leave(now, namespace, &everybody, &target(&["a"], &[]).rooms);
            None
        });
        check(&place, "disconnect", 0, |node| {
            node.disconnect(now, namespace, &room, true);
            None
        });
        check(&place, "disconnect soft", 0, |node| {
            node.disconnect(now, namespace, &everybody, false);
            None
        });
        check(&place, "fetch", 0, |node| {
            Some(node.fetch_sockets(now, namespace, &room, None).unwrap().to_string())
        });
        check(&place, "server side", 0, |node| {
            node.server_side_emit(now, namespace, "ping", args(r#"[1,{"a":"b"}]"#).as_args().into());
            None
        });
        check(&place, "server side ack", 0, |node| {
            let args = args("[1]");
            let sent = node.server_side_emit_with_ack(now, namespace, "ping", args.as_args().into(), None);
            Some(sent.unwrap().to_string())
        });
        if place.name != "classic" {
            check(&place, "server side binary", 0, |node| {
                let mut args = args("[]");
                args.push(&Bytes::from_static(&[7])).unwrap();
                node.server_side_emit(now, namespace, "ping", args.as_args().into());
                None
            });
        }
        if place.name == "streams" {
            let mut node = place.node();
            node.handle_reconnect(now);
            let initial = sent(&mut node, &place, None);
            node.handle_timeout(now + Duration::from_secs(5));
            let beat = sent(&mut node, &place, None);
            node.close(now);
            let Some(Command::Append { fields, .. }) = node.poll_command() else { panic!() };
            assert_eq!(fields.iter().find(|(key, _)| *key == "type").unwrap().1, "13");
            for (sent, captured) in [initial, beat].iter().zip(place.captured("heartbeats")) {
                let expected = format!("{:?}", captured.fields());
                assert_eq!(String::from_utf8_lossy(&sent[0].1), expected);
            }
        }
    }
}

/// A request as `other` sends it, with the id `req001`.
fn ask(place: &Place, node: &mut Cluster, what: &str) -> Event {
    let nsp = place.namespace;
    let opts = json!({ "rooms": [], "except": [], "flags": {} });
    let packet = json!({ "type": 2, "data": ["ask"], "nsp": nsp });
    let (kind, field, value, cluster_kind) = match what {
        "fetch" => (5, "opts", opts.clone(), 7),
        "server side" => (6, "data", json!(["ping"]), 9),
        "broadcast ack" => (7, "packet", packet, 3),
        "sockets" => (0, "rooms", json!([]), 0),
        "all rooms" => (1, "none", json!(null), 0),
        _ => panic!("{what}"),
    };
    let (channel, message) = if place.name == "classic" {
        let message =
            json!({ "uid": "other1", "requestId": "req001", "type": kind, "opts": opts, field: value });
        (format!("socket.io-request#{nsp}#"), message)
    } else {
        let field = if field == "data" { "packet" } else { field };
        let data = json!({ "requestId": "req001", "opts": opts, field: value });
        let message = json!({ "uid": "other00000000001", "nsp": nsp, "type": cluster_kind, "data": data });
        (format!("socket.io#{nsp}#"), message)
    };
    node.handle_message(Time::ZERO, &channel, &message.to_string().into()).unwrap();
    node.poll_event().unwrap()
}

#[test]
fn answers_are_the_same_bytes_as_in_node() {
    let args = |json: &str| OwnedArgs::from_json(json, Vec::new()).unwrap();
    for place in places().iter().filter(|place| !place.name.contains('-')) {
        check(place, "answer fetch", 0, |node| {
            let Event::Fetch { reply, .. } = ask(place, node, "fetch") else { panic!() };
            let mut list = SocketList::new();
            list.push(SOCKET, HANDSHAKE, [SOCKET, "room1"].into_iter(), Some(r#"{"name":"n","n":1}"#));
            node.reply_sockets(&reply, list);
            None
        });
        check(place, "answer server side", 0, |node| {
            let Event::ServerSide { reply: Some(reply), .. } = ask(place, node, "server side") else {
                panic!()
            };
            node.reply_answer(&reply, args(r#"[{"ok":1},2]"#).as_args().into());
            None
        });
        for at in 0..4 {
            // Where there is no argument, Node's library for streams writes a null.
            if at == 3 && place.name == "streams" {
                continue;
            }
            check(place, "answer broadcast ack", at, |node| {
                let asked = ask(place, node, "broadcast ack");
                let Event::Broadcast { reply: Some(reply), .. } = asked else { panic!() };
                let mut binary = OwnedArgs::new();
                binary.push(&Bytes::from_static(&[1, 2])).unwrap();
                match at {
                    0 => node.reply_clients(&reply, 2),
                    1 => node.reply_answer(&reply, args(r#"["answer"]"#).as_args().into()),
                    2 => node.reply_answer(&reply, binary.as_args().into()),
                    _ => node.reply_answer(&reply, args("[]").as_args().into()),
                }
                None
            });
        }
        if place.name == "classic" {
            check(place, "answer sockets", 0, |node| {
                let Event::Fetch { reply, .. } = ask(place, node, "sockets") else { panic!() };
                node.reply_sockets(&reply, SocketList::new());
                None
            });
            check(place, "answer all rooms", 0, |node| {
                let Event::Rooms { reply, .. } = ask(place, node, "all rooms") else { panic!() };
                node.reply_rooms(&reply, std::iter::empty());
                None
            });
        }
    }
}

#[test]
fn the_answers_of_node_are_understood() {
    let now = Time::ZERO;
    for place in places().iter().filter(|place| !place.name.contains('-')) {
        // An answer of Node to this node: its request in the place of `req001`, its channel in that of `other`.
        let answer = |node: &mut Cluster, request: &str, name: &str, at: usize| {
            let captured = place.captured(name).into_iter().nth(at).unwrap();
            let mut bytes = captured.bytes();
            let uid = node.uid().to_owned();
            let channel = captured.target.replace("other00000000001", &uid).replace("other1", &uid);
            let found = bytes.windows(6).position(|it| it == b"req001").unwrap();
            if bytes[found - 1] == 0xa6 {
                bytes[found - 1] = 0xa0 + request.len() as u8;
            }
            bytes.splice(found..found + 6, request.bytes());
            node.handle_message(now, &channel, &bytes.into()).unwrap();
        };
        let mut node = place.node();
        let fetch = node.fetch_sockets(now, place.namespace, &Target::default(), None).unwrap();
        node.handle_count(&fetch, Some(2));
        answer(&mut node, &fetch.to_string(), "answer fetch", 0);
        let Some(Event::Sockets { request, sockets }) = node.poll_event() else { panic!("{}", place.name) };
        let sockets: Vec<_> = sockets.iter().collect();
        assert_eq!((request, sockets.len()), (fetch.clone(), 1));
        assert_eq!(sockets[0].id, SOCKET);
        assert_eq!(sockets[0].rooms, [SOCKET, "room1"]);
        assert_eq!(sockets[0].handshake.to_json().unwrap(), HANDSHAKE);
        assert_eq!(sockets[0].data.to_json().unwrap(), r#"{"name":"n","n":1}"#);
        let finished = Event::Finished { request: fetch, silent: vec![], unknown: 0 };
        assert_eq!(node.poll_event(), Some(finished));
        if place.name != "classic" {
            let fetch = node.fetch_sockets(now, place.namespace, &Target::default(), None).unwrap();
            answer(&mut node, &fetch.to_string(), "answer fetch binary", 0);
            let Some(Event::Sockets { sockets, .. }) = node.poll_event() else { panic!() };
            let sockets: Vec<_> = sockets.iter().collect();
            assert_eq!(sockets[0].rooms, [SOCKET, "5"]);
            assert_eq!(format!("{:?}", sockets[0].data.to_args().unwrap()), r#"[{"bin":<1 byte>}]"#);
        }

        let args = OwnedArgs::new();
        let asked =
            node.server_side_emit_with_ack(now, place.namespace, "e", args.as_args().into(), None).unwrap();
        node.handle_count(&asked, Some(2));
        answer(&mut node, &asked.to_string(), "answer server side", 0);
        let Some(Event::Answer { value, .. }) = node.poll_event() else { panic!("{}", place.name) };
        assert_eq!(value.to_json().unwrap(), r#"{"ok":1}"#);
        assert!(matches!(node.poll_event(), Some(Event::Finished { .. })));

        let mut encoder = Encoder::new();
        let event = encoder.event(place.namespace, None, "e", &()).unwrap();
        let (target, flags) = (Target::default(), Flags::default());
        let asked = node.broadcast_with_ack(now, place.namespace, &target, &flags, event.into()).unwrap();
        node.handle_count(&asked, Some(2));
        for at in 0..4 {
            let captured = place.captured("answer broadcast ack");
            assert_eq!(captured.len(), 4);
            if at == 3 {
                continue;
            }
            answer(&mut node, &asked.to_string(), "answer broadcast ack", at);
        }
        assert!(matches!(node.poll_event(), Some(Event::Asked { clients: 2, .. })));
        for expected in [r#"["answer"]"#, "[<2 bytes>]"] {
            let Some(Event::Answer { value, .. }) = node.poll_event() else { panic!() };
            assert_eq!(format!("{:?}", value.to_args().unwrap()), expected);
        }
        assert!(matches!(node.poll_event(), Some(Event::Finished { unknown: 0, .. })));
    }
}

#[test]
fn the_channels_are_those_of_node() {
    for place in places() {
        let mut node = Cluster::new(ClusterConfig::new(place.dialect.clone()), Random::from_seed([1; 20]));
        node.add_namespace(Time::ZERO, place.namespace);
        let mut ours = Vec::new();
        while let Some(command) = node.poll_command() {
            if let Command::Watch(channel) = command {
                let command = match channel.kind {
                    ChannelKind::Plain => "subscribe",
                    ChannelKind::Pattern => "pSubscribe",
                    ChannelKind::Sharded => "sSubscribe",
                    ChannelKind::Stream => continue,
                };
                ours.push((command.to_owned(), channel.name.replace(node.uid(), place.uid)));
            }
        }
        let mut theirs = Vec::new();
        for captured in place.captured("open") {
            theirs.extend(captured.target.split(',').map(|name| (captured.command.clone(), name.to_owned())));
        }
        ours.sort();
        theirs.sort();
        assert_eq!(ours, theirs, "{}", place.name);
    }
}
