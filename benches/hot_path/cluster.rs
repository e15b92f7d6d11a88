//! A message of another node whose sockets are elsewhere: what a node spends on it before it knows.

use super::measured;
use bytes::Bytes;
use sockeye_core::cluster::{
    Channel, Classic, Cluster, ClusterConfig, Command, Dialect, Sharded, Streams, SubscriptionMode,
};
use sockeye_core::socketio::{Encoder, Flags, Target};
use sockeye_core::{Random, Time};
use std::hint::black_box;

/// A message as a bus carries it.
enum Carried {
    Published(Channel, Bytes),
    Appended(Vec<(&'static str, Bytes)>),
}

/// Runs `bus_classic`, `bus_sharded` or `bus_streams`, with `_binary` behind it or not.
pub(crate) fn run(path: &str, messages: usize) {
    let dialect = match path {
        "bus_classic" => Dialect::Classic(Classic::default()),
        path if path.starts_with("bus_streams") => Dialect::Streams(Streams::default()),
        _ => {
            let mode = SubscriptionMode::Static;
            Dialect::Sharded(Sharded { subscription_mode: mode, ..Sharded::default() })
        }
    };
    let config = ClusterConfig::new(dialect);
    let [mut from, mut to] = [1, 2].map(|seed| {
        let mut node = Cluster::new(config.clone(), Random::from_seed([seed; 20]));
        node.add_namespace(Time::ZERO, "/");
        while node.poll_command().is_some() {}
        node
    });
    let decoder = to.decoder();
    let carried = publish(&mut from, path.ends_with("_binary"));
    let mut number = 0;
    let mut turn = |_| {
        let now = Time::ZERO;
        number += 1;
        let mut rooms = 0;
        match &carried {
            Carried::Published(channel, message) => {
                let has_sockets = |_: &str, room: Option<&str>| {
                    rooms += room.map_or(0, str::len);
                    false
                };
                let decoded = decoder.decode(&channel.name, message, message, has_sockets);
                let decoded = decoded.expect("the message is right").expect("it is of another node");
                to.handle_decoded(now, decoded).expect("the message is right");
                assert_eq!(to.poll_event(), None, "no socket is addressed");
            }
            Carried::Appended(fields) => {
                let offset = format!("{number}-0");
                let has_sockets = |_: &str, room: Option<&str>| {
                    rooms += room.map_or(0, str::len);
                    false
                };
                let buffer = fields
                    .iter()
                    .find(|(key, _)| *key == "data")
                    .map(|(_, value)| value)
                    .expect("there are data");
                let fields = fields.iter().map(|(key, value)| (*key, &**value));
                let decoded = decoder.decode_entry(&offset, fields, buffer, has_sockets);
                let decoded = decoded.expect("the entry is right");
                to.handle_decoded_entry(now, "socket.io", decoded).expect("the entry is right");
                assert_eq!(to.poll_event(), None, "no socket is addressed");
            }
        }
        black_box(rooms)
    };
    turn(0);
    let rooms = measured(messages, turn);
    eprintln!("{path}: {messages} messages, {rooms} bytes written");
}

/// Returns what a node sends to three rooms, so that no dialect has a channel for it.
fn publish(node: &mut Cluster, is_binary: bool) -> Carried {
    let mut target = Target::default();
    ["room-4711", "room-4712", "room-4713"].iter().for_each(|room| target.rooms.insert(room));
    let order = serde_json::json!({ "id": 81_321, "text": "x".repeat(32), "at": 1_732_890_000_123_u64, "tags": ["a", "b"] });
    let mut encoder = Encoder::new();
    let encoded = match is_binary {
        true => encoder.event("/", None, "message", &(order, Bytes::from_static(&[7; 32]))),
        false => encoder.event("/", None, "message", &(order,)),
    };
    let encoded = encoded.expect("an event can be encoded");
    node.broadcast(Time::ZERO, "/", &target, &Flags::default(), encoded.into());
    match node.poll_command() {
        Some(Command::Publish { channel, message }) => Carried::Published(channel, message),
        Some(Command::Append { fields, .. }) => Carried::Appended(fields),
        _ => panic!("nothing was published"),
    }
}
