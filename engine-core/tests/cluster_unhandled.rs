//! The bound on what other nodes have sent and the server has not handled yet.
#![cfg(feature = "cluster")]
#![allow(missing_docs, clippy::unwrap_used)]

use bytes::Bytes;
use proptest::prelude::*;
use sockeye_core::cluster::{
    BusError, Cluster, ClusterConfig, ClusterError, ClusterLimits, Dialect, Event, Sharded, Streams,
};
use sockeye_core::socketio::Target;
use sockeye_core::socketio::recovery::StreamPosition;
use sockeye_core::{Random, Time};
use std::collections::BTreeMap;

const NOW: Time = Time::ZERO;
const LIMIT: usize = 10_000;

fn node(dialect: impl Into<Dialect>) -> Cluster {
    let limits = ClusterLimits { max_unhandled: LIMIT, ..ClusterLimits::default() };
    let config = ClusterConfig { limits, ..ClusterConfig::new(dialect.into()) };
    let mut node = Cluster::new(config, Random::from_seed([1; 20]));
    node.enable_recovery();
    node.add_namespace(NOW, "/");
    while node.poll_command().is_some() {}
    node
}

/// Passes a message of the sharded dialect to a node.
fn say(node: &mut Cluster, uid: &str, kind: u64, data: &str) -> Result<(), BusError> {
    let message = format!(r#"{{"type":{kind},"data":{data},"uid":"{uid}","nsp":"/"}}"#);
    node.handle_message(NOW, "socket.io#/#", &message.into())
}

/// Returns the data of a broadcast to many rooms, or with many bytes.
fn broadcast(rooms: usize, len: usize) -> String {
    let rooms: Vec<_> = (0..rooms).map(|room| room.to_string()).collect();
    let text = "x".repeat(len);
    format!(r#"{{"packet":{{"type":2,"data":["news","{text}"]}},"opts":{{"rooms":{rooms:?},"except":[]}}}}"#)
}

/// Lets messages come until one is refused. Returns how many are taken.
fn fill(node: &mut Cluster, data: &str) -> usize {
    let taken = (0..).take_while(|_| say(node, "a", 3, data).is_ok()).count();
    assert_eq!(say(node, "a", 3, data), Err(BusError::Unhandled { limit: LIMIT }));
    taken
}

/// Appends a broadcast to the stream of a node.
fn append(node: &mut Cluster, offset: &str) -> Result<(), BusError> {
    append_to(node, "/", offset)
}

fn append_to(node: &mut Cluster, namespace: &str, offset: &str) -> Result<(), BusError> {
    append_long(node, namespace, offset, 100)
}

fn append_long(node: &mut Cluster, namespace: &str, offset: &str, len: usize) -> Result<(), BusError> {
    let data = broadcast(0, len);
    let fields = [("uid", "a"), ("nsp", namespace), ("type", "3"), ("data", &data)];
    let fields = fields.iter().map(|(name, value)| (*name, value.as_bytes()));
    node.handle_entry(NOW, "socket.io", offset, fields)
}

fn position(offset: &str) -> StreamPosition {
    StreamPosition::parse(offset).unwrap()
}

#[test]
fn what_a_server_has_not_handled_is_bounded_in_bytes() {
    let mut node = node(Sharded::default());
    // Names of rooms take more memory than they have bytes in a message.
    for (data, most) in [(broadcast(0, 1000), 11), (broadcast(100, 0), 6), (broadcast(0, 0), 100)] {
        let taken = fill(&mut node, &data);
        assert!((4..=most).contains(&taken), "{taken}");
        assert!(node.poll_event().is_some() && node.poll_event().is_some());
        assert_eq!(say(&mut node, "a", 3, &data), Ok(()), "after some were handled");
        assert_eq!(std::iter::from_fn(|| node.poll_event()).count(), taken - 1);
        assert_eq!(fill(&mut node, &data), taken, "after all were handled");
        while node.poll_event().is_some() {}
    }
}

#[test]
fn nodes_and_requests_add_nothing_to_what_is_too_much() {
    let mut node = node(Sharded::default());
    say(&mut node, "known", 2, "{}").unwrap();
    while node.poll_event().is_some() {}
    fill(&mut node, &broadcast(0, 1000));
    let refused = BusError::Unhandled { limit: LIMIT };
    assert_eq!(say(&mut node, "known", 2, "{}"), Ok(()), "a heartbeat causes no event");
    assert_eq!(say(&mut node, "new", 2, "{}"), Err(refused));
    let fetched = node.fetch_sockets(NOW, "/", &Target::default(), None);
    assert_eq!(fetched, Err(ClusterError::Unhandled { limit: LIMIT }));
    assert_eq!(say(&mut node, "known", 13, "{}"), Ok(()));
    assert_eq!(node.nodes("/").count(), 0, "a goodbye counts");

    while node.poll_event().is_some() {}
    say(&mut node, "new", 2, "{}").unwrap();
    assert_eq!(node.poll_event(), Some(Event::NodeJoined { namespace: "/".into(), node: "new".into() }));
    assert!(node.fetch_sockets(NOW, "/", &Target::default(), None).is_ok());
}

#[test]
fn an_event_that_waits_keeps_nothing_that_was_read_with_it() {
    let mut node = node(Sharded::default());
    let message = |len| format!(r#"{{"type":3,"data":{},"uid":"a","nsp":"/"}}"#, broadcast(0, len));
    let mut receive = |len: usize| {
        let message = message(len);
        let buffer = Bytes::from(message.clone() + &" ".repeat(64 << 10));
        let decoded = node.decoder().decode("socket.io#/#", &buffer[..message.len()], &buffer, |_, _| true);
        node.handle_decoded(NOW, decoded.unwrap().unwrap()).unwrap();
        buffer
    };
    let (first, small, large) = (receive(10), receive(10), receive(64 << 10));
    assert!(!first.is_unique(), "it is not copied, because it is handled next");
    assert!(small.is_unique());
    assert!(!large.is_unique(), "it has most of its buffer");
    while node.poll_event().is_some() {}
    assert!(first.is_unique() && large.is_unique());
}

#[test]
fn a_server_knows_which_entries_of_a_stream_it_was_spared_before_it_gets_others() {
    let mut node = node(Streams::default());
    node.handle_stream("socket.io", "1-0").unwrap();
    let begun = |offset| Some(Event::StreamBegun { namespace: "/".into(), position: position(offset) });
    assert_eq!(node.poll_event(), begun("1-0"));
    let taken = (1..).take_while(|number| append(&mut node, &format!("1-{number}")).is_ok()).count();
    assert_eq!(append(&mut node, "2-0"), Err(BusError::Unhandled { limit: LIMIT }));
    assert_eq!(append(&mut node, "2-1"), Err(BusError::Unhandled { limit: LIMIT }));
    let offsets = |node: &mut Cluster, count| -> Vec<_> {
        let offset = |event| match event {
            Event::Broadcast { offset, .. } => offset,
            other => panic!("{other:?}"),
        };
        (0..count).filter_map(|_| node.poll_event().and_then(offset)).collect()
    };
    let expected: Vec<_> = (1..=taken).map(|number| position(&format!("1-{number}"))).collect();
    assert_eq!(offsets(&mut node, 3), expected[..3]);
    append(&mut node, "2-2").unwrap();
    assert_eq!(offsets(&mut node, taken - 3), expected[3..]);
    assert_eq!(node.poll_event(), begun("2-1"));
    assert_eq!(offsets(&mut node, 1), [position("2-2")]);
    assert_eq!(node.poll_event(), None);
}

#[test]
fn a_position_is_reached_only_after_the_server_knows_that_entries_before_it_are_lost() {
    let mut node = node(Streams::default());
    node.handle_stream("socket.io", "1-0").unwrap();
    let request = node.reach("/", position("3-0"));
    let taken = (0..).take_while(|number| append(&mut node, &format!("2-{number}")).is_ok()).count();
    assert!(taken > 2);
    assert!(node.reach("/", position("2-0")).is_none(), "nobody knows when it is handled");
    assert!(append(&mut node, "3-0").is_err());
    let events: Vec<_> = std::iter::from_fn(|| node.poll_event()).collect();
    let [.., begun, reached] = &events[..] else { panic!("{events:?}") };
    assert_eq!(*begun, Event::StreamBegun { namespace: "/".into(), position: position("3-0") });
    let namespace = "/".into();
    assert_eq!(*reached, Event::Reached { request: request.unwrap(), namespace, position: position("3-0") });
}

#[test]
fn each_namespace_is_told_of_its_own_gap_unless_it_is_gone() {
    for (is_gone, is_read_anew) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut node = node(Streams::default());
        ["/a", "/b"].iter().for_each(|namespace| node.add_namespace(NOW, namespace));
        node.handle_stream("socket.io", "1-0").unwrap();
        let refused =
            (0..).map(|number| format!("2-{number}")).find(|offset| append(&mut node, offset).is_err());
        assert!(append_to(&mut node, "/a", "3-0").is_err() && append_to(&mut node, "/b", "3-1").is_err());
        if is_read_anew {
            node.handle_stream("socket.io", "4-0").unwrap();
        }
        if is_gone {
            node.remove_namespace(NOW, "/b");
        }
        let begun = |event| match event {
            Event::StreamBegun { namespace, position } => Some((namespace.to_string(), position)),
            _ => None,
        };
        let gaps: Vec<_> = std::iter::from_fn(|| node.poll_event()).filter_map(begun).skip(3).collect();
        let at = |offset: &str| position(if is_read_anew { "4-0" } else { offset });
        let mut expected =
            vec![("/".to_owned(), at(&refused.unwrap())), ("/a".into(), at("3-0")), ("/b".into(), at("3-1"))];
        expected.truncate(if is_gone { 2 } else { 3 });
        assert_eq!(gaps, expected);
    }
}

/// Something that happens to a node.
#[derive(Debug, Clone)]
enum Step {
    Append { namespace: usize, len: usize },
    Heartbeat { namespace: usize },
    ReadAnew { lost: u64 },
    Reach { namespace: usize, ahead: u64 },
    Toggle { namespace: usize },
    Poll { events: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let namespace = 0..NAMESPACES.len();
    prop_oneof![
        8 => (namespace.clone(), prop_oneof![Just(10), Just(3000)])
            .prop_map(|(namespace, len)| Step::Append { namespace, len }),
        1 => namespace.clone().prop_map(|namespace| Step::Heartbeat { namespace }),
        1 => (1..4_u64).prop_map(|lost| Step::ReadAnew { lost }),
        2 => (namespace.clone(), 0..4_u64).prop_map(|(namespace, ahead)| Step::Reach { namespace, ahead }),
        1 => namespace.prop_map(|namespace| Step::Toggle { namespace }),
        4 => (1..8_usize).prop_map(|events| Step::Poll { events }),
    ]
}

const NAMESPACES: [&str; 3] = ["/", "/a", "/b"];

/// What the server of a node knows of the stream of each namespace.
#[derive(Default)]
struct Known {
    /// The last entry that the server was spared, and has not been told of.
    owed: BTreeMap<&'static str, StreamPosition>,
}

impl Known {
    fn poll(&mut self, node: &mut Cluster, events: usize) -> Result<(), TestCaseError> {
        for event in std::iter::from_fn(|| node.poll_event()).take(events) {
            match event {
                Event::StreamBegun { namespace, position } => {
                    self.owed.retain(|name, owed| namespace != *name || *owed > position);
                }
                Event::Broadcast { namespace, offset: Some(position), .. }
                | Event::StreamRead { namespace, position }
                | Event::Reached { namespace, position, .. } => {
                    let owed = self.owed.get(&*namespace);
                    prop_assert!(owed.is_none_or(|owed| *owed > position), "{owed:?} before {position}");
                }
                _ => {}
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_told_of_a_stream_before_what_is_lost_in_front_of_it(
        steps in prop::collection::vec(step(), 1..100),
    ) {
        let mut node = node(Streams::default());
        let (mut known, mut last) = (Known::default(), 1);
        node.handle_stream("socket.io", "1-1").unwrap();
        let mut there = vec!["/"];
        for step in steps {
            match step {
                Step::Append { namespace, len } => {
                    last += 1;
                    let (name, offset) = (NAMESPACES[namespace], format!("1-{last}"));
                    if append_long(&mut node, name, &offset, len).is_err() && there.contains(&name) {
                        known.owed.insert(name, position(&offset));
                    }
                }
                Step::Heartbeat { namespace } => {
                    last += 1;
                    let fields = [("uid", "a"), ("nsp", NAMESPACES[namespace]), ("type", "2")];
                    let fields = fields.iter().map(|(name, value)| (*name, value.as_bytes()));
                    let _ = node.handle_entry(NOW, "socket.io", &format!("1-{last}"), fields);
                }
                Step::ReadAnew { lost } => {
                    last += lost;
                    let offset = format!("1-{last}");
                    node.handle_stream("socket.io", &offset).unwrap();
                    known.owed.extend(there.iter().map(|name| (*name, position(&offset))));
                }
                Step::Reach { namespace, ahead } => {
                    let name = NAMESPACES[namespace];
                    if there.contains(&name) {
                        node.reach(name, position(&format!("1-{}", last + ahead)));
                    }
                }
                Step::Toggle { namespace: 0 } => {}
                Step::Toggle { namespace } => {
                    let name = NAMESPACES[namespace];
                    match there.iter().position(|known| *known == name) {
                        Some(at) => {
                            there.remove(at);
                            known.owed.remove(name);
                            node.remove_namespace(NOW, name);
                        }
                        None => {
                            there.push(name);
                            node.add_namespace(NOW, name);
                        }
                    }
                }
                Step::Poll { events } => known.poll(&mut node, events)?,
            }
        }
        known.poll(&mut node, usize::MAX)?;
        prop_assert!(known.owed.is_empty(), "{:?}", known.owed);
        let shown = format!("{node:?}");
        prop_assert!(shown.contains("gaps: {} }, events: Unhandled { events: [], waiting: 0 }"), "{shown}");
    }
}
