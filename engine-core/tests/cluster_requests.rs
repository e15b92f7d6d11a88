//! Requests to other nodes, the nodes that answer them, and the bounds on both.
#![cfg(feature = "cluster")]
#![allow(missing_docs, clippy::unwrap_used)]

use bytes::Bytes;
use smol_str::SmolStr;
use sockeye_core::cluster::{
    BusError, Classic, Cluster, ClusterConfig, ClusterError, ClusterLimits, Command, Dialect, Event,
    RequestId, Sharded, SocketList, Streams, SubscriptionMode,
};
use sockeye_core::socketio::recovery::StreamPosition;
use sockeye_core::socketio::{EncodeError, Encoder, Flags, OwnedArgs, Target};
use sockeye_core::{Random, Time};
use std::time::Duration;

const NOW: Time = Time::ZERO;

static SLASH: SmolStr = SmolStr::new_static("/");

fn at(seconds: u64) -> Time {
    Time::from_origin(Duration::from_secs(seconds))
}

fn sharded() -> Dialect {
    Dialect::Sharded(Sharded::default())
}

fn classic() -> Dialect {
    Dialect::Classic(Classic::default())
}

fn node_with(dialect: Dialect, limits: ClusterLimits) -> Cluster {
    let config = ClusterConfig { limits, ..ClusterConfig::new(dialect) };
    let mut node = Cluster::new(config, Random::from_seed([1; 20]));
    node.add_namespace(NOW, "/");
    while node.poll_command().is_some() {}
    node
}

fn node(dialect: Dialect) -> Cluster {
    node_with(dialect, ClusterLimits::default())
}

/// Passes a message of the sharded dialect to a node.
fn say(node: &mut Cluster, now: Time, uid: &str, kind: u64, data: &str) -> Result<(), BusError> {
    let message = format!(r#"{{"type":{kind},"data":{data},"uid":"{uid}","nsp":"/"}}"#);
    node.handle_message(now, "socket.io#/#", &message.into())
}

fn beat(node: &mut Cluster, now: Time, uid: &str) {
    say(node, now, uid, 2, "{}").unwrap();
    while node.poll_event().is_some() {}
}

fn answer(node: &mut Cluster, now: Time, uid: &str, request: &RequestId) {
    say(node, now, uid, 8, &format!(r#"{{"requestId":"{request}","sockets":[]}}"#)).unwrap();
}

fn fetch(node: &mut Cluster) -> RequestId {
    node.fetch_sockets(NOW, "/", &Target::default(), None).unwrap()
}

fn ask_clients(node: &mut Cluster, timeout: Option<Duration>) -> RequestId {
    let mut encoder = Encoder::new();
    let event = encoder.event("/", None, "vote", &"pizza?").unwrap();
    let mut flags = Flags::default();
    flags.timeout = timeout;
    node.broadcast_with_ack(NOW, "/", &Target::default(), &flags, event.into()).unwrap()
}

fn events(node: &mut Cluster) -> Vec<Event> {
    std::iter::from_fn(|| node.poll_event()).collect()
}

/// Returns the names and the number of the silent nodes of the request that has just ended.
fn end(node: &mut Cluster) -> Option<(Vec<String>, usize)> {
    match events(node).pop() {
        Some(Event::Finished { silent, unknown, .. }) => {
            Some((silent.iter().map(ToString::to_string).collect(), unknown))
        }
        _ => None,
    }
}

fn nobody() -> Option<(Vec<String>, usize)> {
    Some((vec![], 0))
}

fn only(name: &str) -> Option<(Vec<String>, usize)> {
    Some((vec![name.into()], 0))
}

#[test]
fn a_request_without_other_servers_ends_at_once() {
    for dialect in [classic(), sharded(), Dialect::Streams(Streams::default())] {
        for subscribers in [Some(0), Some(1), None] {
            // Without heartbeats and without a count, nobody knows that there is no other server.
            if subscribers.is_none() && dialect == classic() {
                continue;
            }
            let mut node = node(dialect.clone());
            let request = fetch(&mut node);
            assert_eq!(end(&mut node), None);
            node.handle_count(&request, subscribers);
            assert_eq!(end(&mut node), nobody());
        }
    }
}

#[test]
fn a_request_to_servers_that_nobody_can_count_waits_for_its_deadline() {
    let mut node = node(classic());
    let request = fetch(&mut node);
    node.handle_count(&request, None);
    assert_eq!(end(&mut node), None);
    node.handle_timeout(at(5));
    assert_eq!(end(&mut node), Some((vec![], 1)));
}

#[test]
fn a_request_ends_when_the_last_server_has_answered() {
    let mut node = node(sharded());
    beat(&mut node, NOW, "ours");
    let request = fetch(&mut node);
    answer(&mut node, NOW, "ours", &request);
    node.handle_count(&request, Some(3));
    // A server in Node, which is counted but not known.
    answer(&mut node, NOW, "ours", &request);
    assert_eq!(events(&mut node).len(), 1, "the second answer of a server is ignored");
    answer(&mut node, NOW, "theirs", &request);
    assert_eq!(end(&mut node), nobody());
    answer(&mut node, NOW, "late", &request);
    assert_eq!(events(&mut node), []);
}

#[test]
fn a_request_ends_by_its_deadline_and_names_the_silent() {
    let mut node = node(sharded());
    ["a", "b", "c"].iter().for_each(|uid| beat(&mut node, NOW, uid));
    let request = fetch(&mut node);
    // Two more are in Node, one of which answers.
    node.handle_count(&request, Some(6));
    ["b", "theirs"].iter().for_each(|uid| answer(&mut node, NOW, uid, &request));
    events(&mut node);
    node.handle_timeout(Time::from_origin(Duration::from_millis(4999)));
    assert_eq!(end(&mut node), None);
    node.handle_timeout(at(5));
    assert_eq!(end(&mut node), Some((vec!["a".into(), "c".into()], 1)));
}

#[test]
fn a_server_that_says_goodbye_holds_nobody_up() {
    let mut node = node(sharded());
    ["a", "b"].iter().for_each(|uid| beat(&mut node, NOW, uid));
    let request = fetch(&mut node);
    node.handle_count(&request, Some(3));
    answer(&mut node, NOW, "b", &request);
    events(&mut node);
    say(&mut node, NOW, "a", 13, "{}").unwrap();
    let [Event::Finished { silent, unknown: 0, .. }, Event::NodeLeft { node: left, .. }] =
        &events(&mut node)[..]
    else {
        panic!("the goodbye ends nothing");
    };
    assert_eq!((silent.as_slice(), left.as_str()), (&["a".into()][..], "a"));
    assert_eq!(node.nodes("/").collect::<Vec<_>>(), ["b"]);
}

#[test]
fn a_server_that_was_killed_and_is_no_longer_counted_holds_nobody_up() {
    let mut node = node(sharded());
    ["killed", "b"].iter().for_each(|uid| beat(&mut node, NOW, uid));
    let request = fetch(&mut node);
    answer(&mut node, NOW, "b", &request);
    events(&mut node);
    node.handle_count(&request, Some(2));
    assert_eq!(end(&mut node), only("killed"));
}

#[test]
fn a_server_is_lost_after_ten_seconds_of_silence_and_any_message_is_a_sign_of_life() {
    let mut node = node(sharded());
    ["a", "b"].iter().for_each(|uid| beat(&mut node, NOW, uid));
    let target = r#"{"opts":{"rooms":["x"],"except":[]},"rooms":["y"]}"#;
    say(&mut node, at(6), "b", 4, target).unwrap();
    // Of a server that sends no heartbeats nothing can be said.
    say(&mut node, at(6), "theirs", 4, target).unwrap();
    events(&mut node);
    node.handle_timeout(Time::from_origin(Duration::from_millis(9_999)));
    assert_eq!(node.nodes("/").collect::<Vec<_>>(), ["a", "b"]);
    node.handle_timeout(at(10));
    let lost = Event::NodeLost { namespace: "/".into(), node: "a".into() };
    assert_eq!(events(&mut node), [lost]);
    node.handle_timeout(at(16));
    assert_eq!(node.nodes("/").count(), 0);
    beat(&mut node, at(17), "a");
    assert_eq!(node.nodes("/").collect::<Vec<_>>(), ["a"]);
}

#[test]
fn a_heartbeat_is_sent_after_five_seconds_without_a_message_to_everybody() {
    let sent = |node: &mut Cluster| {
        std::iter::from_fn(|| node.poll_command()).filter(|it| matches!(it, Command::Publish { .. })).count()
    };
    let mut node = node(sharded());
    let mut encoder = Encoder::new();
    let mut broadcast = |node: &mut Cluster, now, rooms: &[&str]| {
        let mut target = Target::default();
        rooms.iter().for_each(|room| target.rooms.insert(room));
        let event = encoder.event("/", None, "e", &()).unwrap();
        node.broadcast(now, "/", &target, &Flags::default(), event.into());
        assert_eq!(sent(node), 1);
    };
    assert_eq!(node.next_deadline(), Some(at(5)));
    broadcast(&mut node, at(3), &[]);
    node.handle_timeout(at(5));
    assert_eq!((sent(&mut node), node.next_deadline()), (0, Some(at(8))));
    // Only the servers with the room receive this one.
    broadcast(&mut node, at(7), &["room"]);
    node.handle_timeout(at(8));
    assert_eq!((sent(&mut node), node.next_deadline()), (1, Some(at(13))));
    // The first heartbeat of another server is answered, so that it knows this one.
    say(&mut node, at(9), "new", 1, "{}").unwrap();
    assert_eq!((sent(&mut node), node.next_deadline()), (1, Some(at(13))));
    node.handle_timeout(at(13));
    assert_eq!((sent(&mut node), node.next_deadline()), (0, Some(at(14))));
}

#[test]
fn the_acknowledgements_of_clients_are_complete_when_all_have_answered() {
    let mut node = node(sharded());
    beat(&mut node, NOW, "a");
    let request = ask_clients(&mut node, Some(Duration::from_secs(1)));
    node.handle_count(&request, Some(3));
    let count = |node: &mut Cluster, uid: &str, count: u64| {
        say(node, NOW, uid, 11, &format!(r#"{{"requestId":"{request}","clientCount":{count}}}"#))
    };
    let ack = |node: &mut Cluster, uid: &str| {
        say(node, NOW, uid, 12, &format!(r#"{{"requestId":"{request}","packet":"yes"}}"#))
    };
    count(&mut node, "a", 2).unwrap();
    count(&mut node, "theirs", 0).unwrap();
    ack(&mut node, "a").unwrap();
    assert_eq!(end(&mut node), None);
    assert_eq!(ack(&mut node, "theirs"), Err(BusError::TooManyAnswers));
    ack(&mut node, "a").unwrap();
    assert_eq!(end(&mut node), nobody());
    assert_eq!(ack(&mut node, "a"), Ok(()), "too late, and ignored");
    assert_eq!(events(&mut node), []);
}

#[test]
fn a_server_that_dies_takes_the_acknowledgements_of_its_clients_along() {
    let mut node = node(sharded());
    ["a", "b"].iter().for_each(|uid| beat(&mut node, NOW, uid));
    let request = ask_clients(&mut node, None);
    node.handle_count(&request, Some(3));
    for uid in ["a", "b"] {
        say(&mut node, NOW, uid, 11, &format!(r#"{{"requestId":"{request}","clientCount":1}}"#)).unwrap();
    }
    say(&mut node, NOW, "b", 12, &format!(r#"{{"requestId":"{request}"}}"#)).unwrap();
    let Some(Event::Answer { value, .. }) = events(&mut node).pop() else { panic!("no answer") };
    assert_eq!(value.to_args().unwrap(), OwnedArgs::new(), "an acknowledgement without arguments");
    say(&mut node, NOW, "a", 13, "{}").unwrap();
    let all = events(&mut node);
    assert!(matches!(&all[0], Event::Finished { silent, unknown: 0, .. } if *silent == ["a"]), "{all:?}");
}

#[test]
fn a_server_that_goes_twice_is_silent_once() {
    let mut node = node(sharded());
    ["a", "b"].iter().for_each(|uid| beat(&mut node, NOW, uid));
    let request = ask_clients(&mut node, None);
    node.handle_count(&request, Some(4));
    // The number of its clients is lost.
    say(&mut node, NOW, "a", 12, &format!(r#"{{"requestId":"{request}","packet":1}}"#)).unwrap();
    for _ in 0..3 {
        say(&mut node, NOW, "a", 13, "{}").unwrap();
    }
    node.handle_timeout(at(5));
    assert_eq!(end(&mut node), Some((vec!["b".into(), "a".into()], 1)));
}

#[test]
fn the_answers_of_servers_without_a_name_are_counted() {
    let mut node = node(classic());
    let request = ask_clients(&mut node, None);
    let channel = "socket.io-response#/#";
    let mut say = |message: String| {
        node.handle_message(NOW, channel, &message.into()).unwrap();
        end(&mut node)
    };
    let count = |clients: u64| format!(r#"{{"type":8,"requestId":"{request}","clientCount":{clients}}}"#);
    let ack = || format!(r#"{{"type":9,"requestId":"{request}","packet":1}}"#);
    assert_eq!((say(count(1)), say(ack())), (None, None));
    assert_eq!(say(count(1)), None);
    node.handle_count(&request, Some(3));
    assert_eq!(end(&mut node), None);
    node.handle_message(NOW, channel, &ack().into()).unwrap();
    assert_eq!(end(&mut node), nobody());
    let request = fetch(&mut node);
    node.handle_count(&request, Some(3));
    let sockets = format!(r#"{{"requestId":"{request}","sockets":[{{"id":"x","rooms":["x"]}}]}}"#);
    node.handle_message(NOW, channel, &sockets.into()).unwrap();
    assert!(
        matches!(&events(&mut node)[..], [Event::Sockets { sockets, .. }] if sockets.iter().all(|socket| socket.id == "x"))
    );
    node.handle_timeout(at(5));
    assert_eq!(end(&mut node), Some((vec![], 1)));
}

#[test]
fn requests_and_nodes_are_limited() {
    let limits =
        ClusterLimits { max_requests: 2, max_nodes: 2, max_answers: 1, max_rooms: 2, ..Default::default() };
    let mut node = node_with(sharded(), limits);
    ["a", "b"].iter().for_each(|uid| beat(&mut node, NOW, uid));
    assert_eq!(say(&mut node, NOW, "c", 2, "{}"), Err(BusError::TooManyNodes { limit: 2 }));
    let request = fetch(&mut node);
    let second = ask_clients(&mut node, None);
    let full = node.fetch_sockets(NOW, "/", &Target::default(), None);
    assert_eq!(full, Err(ClusterError::Full { limit: 2 }));
    for uid in ["x", "y"] {
        answer(&mut node, NOW, uid, &request);
    }
    let third = say(&mut node, NOW, "z", 8, &format!(r#"{{"requestId":"{request}","sockets":[]}}"#));
    assert_eq!(third, Err(BusError::TooManyAnswers));
    let ack = format!(r#"{{"requestId":"{second}","packet":1}}"#);
    assert_eq!(say(&mut node, NOW, "a", 12, &ack), Ok(()));
    assert_eq!(say(&mut node, NOW, "a", 12, &ack), Err(BusError::TooManyAnswers));
    node.cancel(&second);
    let unknown = node.fetch_sockets(NOW, "/other", &Target::default(), None);
    assert_eq!(unknown, Err(ClusterError::UnknownNamespace));
    fetch(&mut node);
    let rooms = r#"{"opts":{"rooms":["a","b","c"],"except":[]},"rooms":[]}"#;
    assert_eq!(say(&mut node, NOW, "a", 4, rooms), Err(BusError::TooManyRooms { limit: 2 }));
}

#[test]
fn the_sockets_that_all_servers_report_are_limited_in_bytes() {
    let sockets = |bytes: usize| format!(r#"["{}"]"#, "x".repeat(bytes - 4));
    let limits = ClusterLimits { max_fetched: 300, ..Default::default() };
    let too_many = Err(BusError::TooManySockets { limit: 300 });
    let mut node = node_with(sharded(), limits);
    ["a", "b"].iter().for_each(|uid| beat(&mut node, NOW, uid));
    for _ in 0..2 {
        let request = fetch(&mut node);
        node.handle_count(&request, Some(6));
        let mut report = |uid: &str, bytes: usize| {
            let data = format!(r#"{{"requestId":"{request}","sockets":{}}}"#, sockets(bytes));
            let handled = say(&mut node, NOW, uid, 8, &data);
            (handled, events(&mut node))
        };
        for (uid, bytes) in [("a", 200), ("theirs", 100)] {
            let (handled, told) = report(uid, bytes);
            assert!(handled.is_ok() && matches!(told[..], [Event::Sockets { .. }]), "{told:?}");
        }
        for (uid, bytes) in [("b", 10), ("large", 301)] {
            assert_eq!(report(uid, bytes), (too_many, vec![]));
        }
        assert_eq!(report("b", 10), (Ok(()), vec![]), "its second answer is ignored");
        let (handled, mut told) = report("none", 4);
        assert_eq!(handled, too_many);
        // Nobody is waited for any more.
        let Some(Event::Finished { mut silent, unknown: 0, .. }) = told.pop() else { panic!("{told:?}") };
        silent.sort();
        assert_eq!(silent, ["b", "large", "none"]);
    }

    let mut node = node_with(classic(), limits);
    let request = fetch(&mut node);
    node.handle_count(&request, Some(4));
    let mut report = |bytes: usize| {
        let message = format!(r#"{{"requestId":"{request}","sockets":{}}}"#, sockets(bytes));
        let handled = node.handle_message(NOW, "socket.io-response#/#", &message.into());
        (handled, end(&mut node))
    };
    assert_eq!(report(300), (Ok(()), None));
    assert_eq!(report(10), (too_many, None));
    assert_eq!(report(10), (too_many, Some((vec![], 2))), "servers without a name are counted");
}

#[test]
fn a_hostile_message_is_an_error_and_changes_nothing() {
    let limits = ClusterLimits { max_message: 1000, ..ClusterLimits::default() };
    let deep = format!(r#"{{"type":3,"data":{}{}}}"#, "[".repeat(130), "]".repeat(130));
    let cases: [(&[u8], BusError); 12] = [
        (b"", BusError::Syntax),
        (b"nonsense", BusError::Syntax),
        (b"{\"type\":3", BusError::Syntax),
        (b"{\"type\":\"\xff\"}", BusError::Syntax),
        (b"\xdf\xff\xff\xff\xff", BusError::Syntax),
        (deep.as_bytes(), BusError::Depth),
        (&[b' '; 1001], BusError::TooLong { len: 1001, limit: 1000 }),
        (br#"{"type":"x"}"#, BusError::Field("type")),
        (br#"{"type":6,"uid":"a","nsp":"/","data":{"close":true}}"#, BusError::Field("opts")),
        (br#"{"type":6,"uid":"a","nsp":"/","data":{"opts":{"rooms":"all"}}}"#, BusError::Field("rooms")),
        (
            br#"{"type":3,"uid":"a","nsp":"/","data":{"opts":{},"packet":{"type":2,"data":[{}]}}}"#,
            BusError::Field("packet"),
        ),
        (br#"{"type":7,"uid":"a","nsp":"/","data":{"opts":{}}}"#, BusError::Field("requestId")),
    ];
    for (message, expected) in cases {
        let mut node = node_with(sharded(), limits);
        let message = Bytes::copy_from_slice(message);
        assert_eq!(node.handle_message(NOW, "socket.io#/#", &message), Err(expected), "{message:?}");
        assert_eq!((node.poll_event(), node.poll_command()), (None, None));
    }
}

#[test]
fn binary_data_is_a_placeholder_to_clients_and_cannot_be_faked_beside_one() {
    let mut encoder = Encoder::new();
    let mut node = node(sharded());
    let mut broadcast = |data: &[u8]| {
        let mut message = b"\x84\xa4type\x03\xa3uid\xa1a\xa3nsp\xa1/\xa4data\x82\xa4opts\x80\xa6packet\x82\xa4type\x02\xa4data".to_vec();
        message.extend(data);
        node.handle_message(NOW, "socket.io#/#", &message.into()).unwrap();
        let Some(Event::Broadcast { event, .. }) = node.poll_event() else { panic!("nothing has arrived") };
        event
            .encode(&mut encoder, "/", Some(7), Some("1-0"))
            .map(|it| String::from_utf8(it.text.to_vec()).unwrap())
    };
    let plain = broadcast(b"\x92\xa1e\x81\xac_placeholder\xc3");
    assert_eq!(plain, Ok(r#"27["e",{"_placeholder":true},"1-0"]"#.into()));
    assert_eq!(broadcast(b"\x93\xa1e\xc4\x01x\x81\xac_placeholder\xc3"), Err(EncodeError::Placeholder));
    assert_eq!(broadcast(b"\x91\xaadisconnect"), Err(EncodeError::ReservedEvent));
    // A number as the name, keys that are numbers, half of a surrogate pair, an integer beyond 2^53.
    let odd = broadcast(b"\x93\x05\x81\x01\xa3\xed\xa0\xbd\xcf\xff\xff\xff\xff\xff\xff\xff\xff");
    assert_eq!(odd, Ok("27[\"5\",{\"1\":\"\u{fffd}\u{fffd}\u{fffd}\"},18446744073709551615,\"1-0\"]".into()));
}

#[test]
fn a_broadcast_without_sockets_here_is_no_event_but_shows_that_its_sender_is_alive() {
    for (dialect, channel) in [
        (Dialect::Classic(Classic::default()), "socket.io#/#"),
        (Dialect::Sharded(Sharded::default()), "socket.io#/#"),
    ] {
        let config = ClusterConfig::new(dialect);
        let [mut ours, mut theirs] =
            [1, 2].map(|seed| Cluster::new(config.clone(), Random::from_seed([seed; 20])));
        theirs.add_namespace(NOW, "/");
        ours.add_namespace(NOW, "/");
        let sent = |theirs: &mut Cluster| loop {
            match theirs.poll_command() {
                Some(Command::Publish { message, .. }) => return message,
                Some(_) => {}
                None => panic!("nothing is published"),
            }
        };
        let is_classic = matches!(config.dialect, Dialect::Classic(_));
        if !is_classic {
            let hello = sent(&mut theirs);
            ours.handle_message(NOW, channel, &hello).unwrap();
        }
        while ours.poll_event().is_some() {}
        let mut target = Target::default();
        target.rooms.insert("one");
        target.rooms.insert("two");
        let args = OwnedArgs::from_json(r#"["hello"]"#, Vec::new()).unwrap();
        theirs.broadcast(NOW, "/", &target, &Flags::default(), args.as_args().into());
        let message = sent(&mut theirs);
        let decoder = ours.decoder();
        // As late as the sender could be silent.
        let late = NOW + (config.heartbeat_timeout - Duration::from_millis(1));
        for (local, rooms) in [("nowhere", ["one", "two"].as_slice()), ("one", &["one"])] {
            let mut asked = Vec::new();
            let decoded = decoder.decode(channel, &message, &message, |namespace, room| {
                assert_eq!(namespace, "/");
                asked.push(room.unwrap().to_owned());
                room == Some(local)
            });
            let decoded = decoded.unwrap().unwrap();
            let sender = SmolStr::from(theirs.uid());
            let sign = (local == "nowhere").then_some((&SLASH, &sender));
            assert_eq!(decoded.sign_of_life(), sign);
            ours.handle_decoded(late, decoded).unwrap();
            assert_eq!(asked, rooms);
            let is_event = matches!(ours.poll_event(), Some(Event::Broadcast { .. }));
            assert_eq!(is_event, local == "one");
            ours.handle_timeout(late + Duration::from_millis(1));
            assert_eq!(ours.nodes("/").count(), usize::from(!is_classic), "it was heard {late:?}");
        }
        // An own one, and one to all.
        assert!(theirs.decoder().decode(channel, &message, &message, |_, _| true).unwrap().is_none());
        theirs.broadcast(NOW, "/", &Target::default(), &Flags::default(), args.as_args().into());
        let mut asked = 0;
        let message = sent(&mut theirs);
        let decoded = decoder.decode(channel, &message, &message, |_, room| {
            asked += 1;
            room.is_some()
        });
        ours.handle_decoded(late, decoded.unwrap().unwrap()).unwrap();
        assert_eq!((asked, ours.poll_event()), (1, None));
    }
}

#[test]
fn an_entry_without_sockets_here_is_no_event_and_is_not_read_again() {
    let mut node = node(Dialect::Streams(Streams::default()));
    let decoder = node.decoder();
    let mut read = |offset: &str, kind: &str, local: &str| {
        let data = r#"{"packet":{"type":2,"data":["hello"]},"opts":{"rooms":["one","two"],"except":[]},"rooms":["x"]}"#;
        let fields = [("uid", "a"), ("nsp", "/"), ("type", kind), ("data", data)];
        let fields = fields.map(|(key, value)| (key, Bytes::copy_from_slice(value.as_bytes())));
        let mut asked = Vec::new();
        let fields = fields.iter().map(|(key, value)| (*key, &**value));
        let decoded = decoder.decode_entry(offset, fields, &Bytes::new(), |_, room| {
            asked.push(room.unwrap().to_owned());
            room == Some(local)
        });
        let decoded = decoded.unwrap();
        assert_eq!(decoded.sign_of_life().is_some(), (kind, local) == ("3", "three"));
        node.handle_decoded_entry(NOW, "socket.io", decoded).unwrap();
        (asked.join(" "), node.poll_event().is_some())
    };
    assert_eq!(read("5-1", "3", "three"), ("one two".into(), false));
    assert_eq!(read("5-1", "3", "two"), ("one two".into(), false), "it was read");
    assert_eq!(read("5-2", "3", "two"), ("one two".into(), true));
    assert_eq!(
        read("5-3", "4", "three"),
        (String::new(), true),
        "a change may concern a socket that is about to join"
    );

    let none = Bytes::new();
    assert_eq!(
        decoder.decode_entry("x", [].into_iter(), &none, |_, _| true).unwrap_err(),
        BusError::Field("offset")
    );
    // A broken entry is passed.
    let broken = decoder.decode_entry("6-1", [].into_iter(), &none, |_, _| true).unwrap();
    assert_eq!(node.handle_decoded_entry(NOW, "socket.io", broken), Err(BusError::Field("nsp")));
    let earlier = decoder.decode_entry("6-0", [].into_iter(), &none, |_, _| true).unwrap();
    assert_eq!(node.handle_decoded_entry(NOW, "socket.io", earlier), Ok(()));
}

#[test]
fn an_entry_that_is_read_again_is_ignored() {
    let mut node = node(Dialect::Streams(Streams::default()));
    let mut read = |offset: &str| {
        let fields = [("uid", "a"), ("nsp", "/"), ("type", "6"), ("data", r#"{"opts":{"rooms":["x"]}}"#)];
        let fields = fields.iter().map(|(key, value)| (*key, value.as_bytes()));
        node.handle_entry(NOW, "socket.io", offset, fields).map(|()| node.poll_event().is_some())
    };
    let seen = ["5-9", "5-10", "5-10", "5-9", "6-0", "10-0", "9-0"].map(&mut read);
    assert_eq!(seen, [Ok(true), Ok(true), Ok(false), Ok(false), Ok(true), Ok(true), Ok(false)]);
    assert_eq!(read("five"), Err(BusError::Field("offset")));
}

#[test]
fn the_changes_of_old_versions_in_node_are_carried_out_and_answered() {
    let mut node = node(classic());
    let mut ask = |message: &str| {
        node.handle_message(NOW, "socket.io-request#/#", &Bytes::copy_from_slice(message.as_bytes()))
            .unwrap();
        let event = node.poll_event().unwrap();
        let (Event::Join { target, reply: Some(reply), .. }
        | Event::Leave { target, reply: Some(reply), .. }
        | Event::Disconnect { target, reply: Some(reply), .. }) = event
        else {
            panic!("{event:?}");
        };
        assert!(target.rooms.iter().eq(["id"]) && target.except.is_empty());
        node.reply_done(&reply);
        let Some(Command::Publish { message, .. }) = node.poll_command() else { panic!("no answer") };
        assert_eq!(message, r#"{"requestId":"r"}"#);
    };
    ask(r#"{"uid":"a","requestId":"r","type":2,"sid":"id","room":"x"}"#);
    ask(r#"{"uid":"a","requestId":"r","type":3,"sid":"id","room":"x"}"#);
    ask(r#"{"uid":"a","requestId":"r","type":4,"sid":"id","close":true}"#);
}

#[test]
fn a_position_is_reached_if_its_entry_was_passed_over() {
    let mut node = node(Dialect::Streams(Streams::default()));
    node.enable_recovery();
    let position = StreamPosition::parse("5-1").unwrap();
    let request = node.reach("/", position).unwrap();
    node.handle_stream("socket.io", "5-0").unwrap();
    assert!(events(&mut node).iter().all(|event| matches!(event, Event::StreamBegun { .. })));
    node.handle_stream("socket.io", "5-1").unwrap();
    let namespace = SmolStr::from("/");
    let begun = Event::StreamBegun { namespace: namespace.clone(), position };
    assert_eq!(events(&mut node), [begun, Event::Reached { request, namespace, position }]);
}

#[test]
fn a_room_is_watched_while_it_has_sockets_if_it_has_a_channel() {
    let watched = |mode: SubscriptionMode| {
        let dialect = Dialect::Sharded(Sharded { subscription_mode: mode, ..Sharded::default() });
        let mut node = node(dialect);
        for room in ["room", "AAAAAAAAAAAAAAAAAAAB"] {
            node.create_room("/", room);
            node.delete_room("/", room);
        }
        std::iter::from_fn(|| node.poll_command()).count()
    };
    let modes = [SubscriptionMode::Static, SubscriptionMode::Dynamic, SubscriptionMode::DynamicPrivate];
    assert_eq!(modes.map(watched), [0, 2, 4]);
}

#[test]
fn the_channel_of_a_room_without_sockets_is_known_without_its_message() {
    let node = node(classic());
    let decoder = node.decoder();
    let answers = format!("socket.io#/#{}#", node.uid());
    for (channel, expected) in [
        ("socket.io#/#room#", Some(("/", "room"))),
        ("socket.io#/a##", Some(("/a", ""))),
        // The message says where the room begins.
        ("socket.io#/#a#b#", None),
        ("socket.io#/#", None),
        ("socket.io#/#room", None),
        ("socket.io#", None),
        ("socket.io-request#/#", None),
        ("socket.io-response#/#x#", None),
        ("other#/#room#", None),
        (&answers, None),
    ] {
        let mut asked = None;
        let is_elsewhere = decoder.is_elsewhere(channel, |namespace, room| {
            asked = room.map(|room| (namespace.to_owned(), room.to_owned()));
            false
        });
        let asked = asked.as_ref().map(|(namespace, room)| (namespace.as_str(), room.as_str()));
        assert_eq!(asked, expected, "{channel}");
        assert_eq!(is_elsewhere, asked.is_some(), "{channel}");
        assert!(!decoder.is_elsewhere(channel, |_, _| true), "{channel}");
    }
}

#[test]
fn an_emitter_is_heard_by_the_servers_and_is_none_of_them() {
    for dialect in [classic(), sharded(), Dialect::Streams(Streams::default())] {
        let mut emitter = Cluster::new_emitter(ClusterConfig::new(dialect.clone()));
        let mut server = node(dialect);
        let mut encoder = Encoder::new();
        let target = Target::default();
        let event = encoder.event("/", None, "news", &1).unwrap();
        emitter.broadcast(NOW, "/", &target, &Flags::default(), event.into());
        emitter.join(NOW, "/", &target, &target.rooms);
        emitter.disconnect(NOW, "/", &target, true);
        emitter.server_side_emit(NOW, "/", "reload", OwnedArgs::new().as_args().into());
        assert_eq!((emitter.next_deadline(), emitter.poll_event()), (None, None));
        for number in 1.. {
            match emitter.poll_command() {
                Some(Command::Publish { channel, message }) => {
                    server.handle_message(NOW, &channel.name, &message).unwrap();
                }
                Some(Command::Append { fields, .. }) => {
                    let fields = fields.iter().map(|(key, value)| (*key, &**value));
                    server.handle_entry(NOW, "socket.io", &format!("{number}-0"), fields).unwrap();
                }
                None => break,
                other => panic!("{other:?}"),
            }
        }
        let events = events(&mut server);
        assert!(
            matches!(
                &events[..],
                [
                    Event::Broadcast { .. },
                    Event::Join { .. },
                    Event::Disconnect { close: true, .. },
                    Event::ServerSide { reply: None, .. }
                ]
            ),
            "{events:?}"
        );
        assert_eq!(server.nodes("/").count(), 0);
    }
}

#[test]
fn a_server_that_closes_ends_its_requests_and_says_goodbye() {
    let mut node = node(sharded());
    beat(&mut node, NOW, "a");
    fetch(&mut node);
    while node.poll_command().is_some() {}
    node.close(NOW);
    // The bus has not said how many there are.
    assert_eq!(end(&mut node), Some((vec!["a".into()], 1)));
    let commands: Vec<_> = std::iter::from_fn(|| node.poll_command()).collect();
    let [Command::Publish { message, .. }, Command::Unwatch(_), Command::Unwatch(_)] = &commands[..] else {
        panic!("{commands:?}");
    };
    assert!(message.starts_with(br#"{"type":13,"#));
    assert_eq!(node.next_deadline(), None);
    assert_eq!(say(&mut node, NOW, "b", 1, "{}"), Ok(()));
    assert_eq!((node.poll_event(), node.poll_command()), (None, None));
}

#[test]
fn a_list_of_sockets_with_broken_json_of_the_application_is_empty() {
    let mut node = node(sharded());
    say(&mut node, NOW, "a", 7, r#"{"opts":{},"requestId":"r"}"#).unwrap();
    let Some(Event::Fetch { reply, .. }) = node.poll_event() else { panic!("nothing is asked") };
    let mut list = SocketList::new();
    list.push("id", "{", std::iter::empty(), Some("\"data"));
    node.reply_sockets(&reply, list);
    let Some(Command::Publish { channel, message }) = node.poll_command() else { panic!("no answer") };
    assert_eq!(channel.name, "socket.io#/#a#");
    assert!(message.starts_with(br#"{"type":8,"data":{"requestId":"r","sockets":[]}"#), "{message:?}");
}
