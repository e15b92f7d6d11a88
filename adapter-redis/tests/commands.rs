//! Each command of the bus, over a server of its own, on each runtime.

#![allow(clippy::unwrap_used)]

mod support;

use bytes::Bytes;
use sockeye_core::cluster::{Bus, BusStatus, Found};
use sockeye_redis::RedisBus;
use std::time::{Duration, Instant};
use support::redis::{PATIENCE, RedisServer};
use support::{Rig, on_each_runtime, pattern, plain, sharded, stream};

#[test]
fn messages_arrive_by_name_by_pattern_and_by_shard() {
    on_each_runtime(|on| {
        let Some(redis) = RedisServer::start(&[]) else { return };
        let rig = Rig::over(on, &redis);
        rig.watch(&plain("a#/#"));
        rig.bus.watch(&pattern("b#/#*"), true);
        rig.watch(&sharded("c#/#room#"));
        for (channel, message) in
            [(plain("a#/#"), "one"), (plain("b#/#room#"), "two"), (sharded("c#/#room#"), "three")]
        {
            rig.publish(&channel, message);
            assert_eq!(rig.message(), (channel.name.to_string(), message.to_owned()));
        }
    });
}

#[test]
fn messages_on_a_channel_keep_their_order() {
    on_each_runtime(|on| {
        let Some(redis) = RedisServer::start(&[]) else { return };
        let publisher = Rig::over(on, &redis);
        let rig = Rig::over(on, &redis);
        rig.watch(&plain("channel"));
        for index in 0..10_000 {
            publisher.publish(&plain("channel"), &index.to_string());
        }
        for index in 0..10_000 {
            assert_eq!(rig.message().1, index.to_string());
        }
    });
}

#[test]
fn large_and_binary_messages_arrive_whole() {
    on_each_runtime(|on| {
        let Some(redis) = RedisServer::start(&[]) else { return };
        let rig = Rig::over(on, &redis);
        rig.watch(&plain("channel"));
        for size in [0, 1, 16 << 10, 5_000_000] {
            let message = "\r\n$*\0".repeat(size / 5);
            rig.publish(&plain("channel"), &message);
            assert!(rig.message().1 == message, "a message of {size} bytes");
        }
    });
}

#[test]
fn what_is_longer_than_the_limit_is_reported_and_everything_else_goes_on() {
    on_each_runtime(|on| {
        let Some(redis) = RedisServer::start(&[]) else { return };
        let bus = RedisBus::builder(redis.url()).max_message(1000).build().unwrap();
        for channel in [plain("channel"), stream("stream")] {
            bus.watch(&channel, true);
        }
        let rig = Rig::connected(on, bus);
        for length in [200, 5_000_000, 300] {
            let message = "x".repeat(length);
            rig.publish(&plain("channel"), &message);
            rig.bus.append(&stream("stream"), vec![("data", message.into())]);
        }
        for length in [200, 300] {
            assert_eq!(rig.message().1.len(), length);
            assert_eq!(rig.entry().1[0].1.len(), length);
        }
        let seen = rig.drain();
        let reported = |expected| {
            let is_it = |seen: &&support::Seen| matches!(seen, support::Seen::Status(BusStatus::MessageTooLong { len, limit: 1000 }) if *len == expected);
            seen.iter().filter(is_it).count()
        };
        let names = ["message", "channel"].concat().len();
        assert_eq!((reported(5_000_000 + names), reported(5_000_000 + "data".len())), (1, 1), "{seen:?}");
        assert!(!seen.iter().any(|it| matches!(it, support::Seen::Status(BusStatus::Disconnected { .. }))));
    });
}

#[test]
fn entries_that_come_fast_arrive_all_and_in_order() {
    on_each_runtime(|on| {
        let Some(redis) = RedisServer::start(&[]) else { return };
        let rig = Rig::over(on, &redis);
        rig.begin(&stream("stream"));
        let one = Rig::over(on, &redis);
        for index in 0..2000 {
            one.bus.append(&stream("stream"), vec![("data", index.to_string().into())]);
            if index % 100 == 0 {
                smol::block_on(one.bus.flush());
            }
        }
        for index in 0..2000 {
            assert_eq!(rig.entry().1, [("data".into(), index.to_string())]);
        }
    });
}

#[test]
fn streams_are_those_of_the_database_of_the_url() {
    on_each_runtime(|on| {
        let Some(redis) = RedisServer::start(&["--requirepass", "secret"]) else { return };
        let url = |path: &str| format!("redis://:secret@127.0.0.1:{}{path}", redis.port);
        let bus = RedisBus::new(url("/3")).unwrap();
        bus.watch(&stream("stream"), true);
        let rig = Rig::connected(on, bus);
        let (same, other) = (RedisBus::new(url("/3")).unwrap(), RedisBus::new(url("")).unwrap());
        for (bus, text) in [(other, "other"), (same, "same")] {
            let from = Rig::connected(on, bus);
            from.bus.append(&stream("stream"), vec![("data", text.into())]);
            smol::block_on(from.bus.flush());
        }
        assert_eq!(rig.entry().1, [("data".into(), "same".into())]);
    });
}

#[test]
fn a_channel_that_is_no_longer_watched_is_silent() {
    on_each_runtime(|on| {
        let Some(redis) = RedisServer::start(&[]) else { return };
        let rig = Rig::over(on, &redis);
        for channel in [plain("old"), sharded("old")] {
            rig.watch(&channel);
            // Twice is the same as once.
            rig.bus.watch(&channel, true);
            rig.bus.watch(&channel, false);
            rig.await_count(&channel, 0);
            rig.publish(&channel, "lost");
        }
        rig.watch(&plain("new"));
        rig.publish(&plain("new"), "found");
        assert_eq!(rig.message().1, "found");
    });
}

#[test]
fn subscribers_of_several_nodes_are_counted() {
    on_each_runtime(|on| {
        let Some(redis) = RedisServer::start(&[]) else { return };
        let one = Rig::over(on, &redis);
        let two = Rig::over(on, &redis);
        for channel in [plain("channel"), sharded("channel")] {
            assert_eq!(one.count(&channel), Some(0));
            one.watch(&channel);
            two.bus.watch(&channel, true);
            one.await_count(&channel, 2);
        }
    });
}

#[test]
fn entries_of_streams_arrive_with_their_positions() {
    on_each_runtime(|on| {
        let Some(redis) = RedisServer::start(&[]) else { return };
        redis.command(&["XADD", "stream", "*", "data", "too early"]);
        let rig = Rig::over(on, &redis);
        rig.begin(&stream("stream"));
        let fields = vec![("uid", Bytes::from_static(b"me")), ("data", Bytes::from_static(b"{}"))];
        rig.bus.append(&stream("stream"), fields);
        let (offset, fields) = rig.entry();
        assert!(offset.contains('-'), "{offset}");
        assert_eq!(fields, [("uid".into(), "me".into()), ("data".into(), "{}".into())]);

        // Another stream begins while the first one is waited for.
        rig.bus.watch(&stream("other"), true);
        redis.wait_for(&["CLIENT", "LIST"], "cmd=xread");
        rig.bus.append(&stream("stream"), vec![("data", Bytes::from_static(b"still"))]);
        assert_eq!(rig.entry().1, [("data".into(), "still".into())]);
    });
}

#[test]
fn streams_are_trimmed() {
    on_each_runtime(|on| {
        let Some(redis) = RedisServer::start(&["--stream-node-max-entries", "10"]) else { return };
        let bus = RedisBus::builder(redis.url()).stream_max_len(20).build().unwrap();
        bus.watch(&stream("stream"), true);
        let rig = Rig::connected(on, bus);
        for _ in 0..100 {
            rig.bus.append(&stream("stream"), vec![("data", Bytes::from_static(b"x"))]);
        }
        smol::block_on(rig.bus.flush());
        let length = redis.command(&["XLEN", "stream"]);
        let length: usize = length.trim_matches([':', '\r', '\n']).parse().unwrap();
        assert!((20..40).contains(&length), "{length} entries");
    });
}

#[test]
fn what_is_published_before_the_connection_leaves_after_it() {
    on_each_runtime(|on| {
        let Some(redis) = RedisServer::start(&[]) else { return };
        let listener = Rig::over(on, &redis);
        listener.watch(&plain("channel"));
        let bus = RedisBus::new(redis.url()).unwrap();
        bus.publish(&plain("channel"), Bytes::from_static(b"early"));
        let _rig = Rig::new(on, bus);
        assert_eq!(listener.message().1, "early");
    });
}

#[test]
fn a_flush_completes_when_everything_has_left() {
    on_each_runtime(|on| {
        let Some(redis) = RedisServer::start(&[]) else { return };
        let rig = Rig::new(on, RedisBus::new(redis.url()).unwrap());
        for _ in 0..5000 {
            rig.bus.append(&stream("flushed"), vec![("data", Bytes::from_static(b"x"))]);
        }
        smol::block_on(rig.bus.flush());
        let length = redis.command(&["XLEN", "flushed"]);
        assert_eq!(length, ":5000\r\n");
    });
}

#[test]
fn connections_end_with_the_bus() {
    on_each_runtime(|on| {
        let Some(redis) = RedisServer::start(&[]) else { return };
        let rig = Rig::over(on, &redis);
        rig.begin(&stream("stream"));
        redis.wait_for(&["CLIENT", "LIST"], "cmd=xread");
        let Rig { bus, node: _node, runtime: _runtime } = rig;
        drop(bus);
        let started = std::time::Instant::now();
        while redis.command(&["CLIENT", "LIST"]).matches(" laddr=").count() > 1 {
            assert!(started.elapsed() < PATIENCE, "connections are left");
        }
    });
}

#[test]
fn a_bus_reports_that_it_is_connected_once() {
    on_each_runtime(|on| {
        let Some(redis) = RedisServer::start(&[]) else { return };
        let rig = Rig::over(on, &redis);
        rig.watch(&plain("channel"));
        let again = rig.drain();
        assert!(!again.contains(&support::Seen::Status(BusStatus::Connected)), "{again:?}");
    });
}

#[test]
fn values_are_stored_for_their_lifetime_and_taken_once() {
    on_each_runtime(|on| {
        let Some(redis) = RedisServer::start(&[]) else { return };
        let [rig, other] = [(); 2].map(|()| Rig::over(on, &redis));
        assert!(rig.bus.stores_sessions());
        let value = Bytes::from_static(b"\x00 a value \r\n");
        rig.bus.save("key", value.clone(), Duration::from_secs(60));
        for remove in [false, true] {
            rig.bus.load("key", remove, "first".into());
            assert_eq!(rig.found("first"), Found::Value(Some(value.clone())), "{remove}");
        }
        other.bus.load("key", true, "second".into());
        assert_eq!(other.found("second"), Found::Value(None));
        rig.bus.save("long", value.clone(), Duration::MAX);
        rig.bus.load("long", true, "third".into());
        assert_eq!(rig.found("third"), Found::Value(Some(value.clone())));
        rig.bus.save("short", value, Duration::from_millis(1));
        let started = Instant::now();
        loop {
            rig.bus.load("short", false, "short".into());
            match rig.found("short") {
                Found::Value(None) => break,
                found => assert!(started.elapsed() < PATIENCE, "{found:?}"),
            }
        }
    });
}

#[test]
fn a_stream_can_be_read_from_a_position_on_and_is_begun_at_its_end() {
    on_each_runtime(|on| {
        let Some(redis) = RedisServer::start(&[]) else { return };
        let rig = Rig::over(on, &redis);
        let of_bus = stream("stream");
        assert_eq!(rig.begin(&of_bus), "0-0");
        let offsets: Vec<_> = (0..250)
            .map(|number: u32| {
                rig.bus.append(&of_bus, vec![("number", number.to_string().into())]);
                rig.entry().0
            })
            .collect();
        let mut read = Vec::new();
        while read.len() < 200 {
            rig.bus.read(&of_bus, &offsets[50 + read.len()], "read".into());
            let Found::Entries(mut entries) = rig.found("read") else { panic!("entries") };
            // The next one is asked for at the last, because more than it shows that nothing was removed behind it.
            assert!((2..=100).contains(&entries.len()), "{}", entries.len());
            entries.truncate(200 - read.len());
            read.extend(entries);
        }
        for (at, (offset, fields)) in read.iter().enumerate() {
            assert_eq!(*offset, offsets[50 + at]);
            assert_eq!(*fields, [("number".to_owned(), Bytes::from((50 + at).to_string()))]);
        }
        // Small entries are read many at once.
        rig.bus.read(&of_bus, &offsets[50], "more".into());
        assert!(matches!(rig.found("more"), Found::Entries(entries) if entries.len() == 100));
        rig.bus.read(&stream("another"), "0-0", "nothing".into());
        assert_eq!(rig.found("nothing"), Found::Entries(Vec::new()));
        let later = Rig::over(on, &redis);
        assert_eq!(later.begin(&of_bus), offsets[249]);
    });
}

#[test]
fn an_answer_has_the_fewer_entries_the_larger_they_are() {
    on_each_runtime(|on| {
        let Some(redis) = RedisServer::start(&[]) else { return };
        let rig = Rig::over(on, &redis);
        let of_bus = stream("stream");
        assert_eq!(rig.begin(&of_bus), "0-0");
        let large = "x".repeat(200_000);
        for _ in 0..30 {
            rig.bus.append(&of_bus, vec![("data", large.clone().into())]);
        }
        let mut from = "0-0".to_owned();
        let mut counts = Vec::new();
        while counts.iter().sum::<usize>() < 30 + counts.len() {
            rig.bus.read(&of_bus, &from, "read".into());
            let Found::Entries(entries) = rig.found("read") else { panic!("entries") };
            counts.push(entries.len());
            match entries.last() {
                Some((last, _)) if *last != from => last.clone_into(&mut from),
                _ => break,
            }
        }
        assert!(counts[0] <= 16 && counts[1..].iter().all(|count| (1..=5).contains(count)), "{counts:?}");
    });
}
