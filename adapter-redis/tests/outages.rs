//! What happens while Redis is away, refuses, or does not answer.

#![allow(clippy::unwrap_used)]

mod support;

use bytes::Bytes;
use sockeye_core::cluster::{Bus, BusStatus, RequestId};
use sockeye_redis::{RedisBus, RedisBusBuilder};
use std::time::Duration;
use support::redis::{RedisServer, free_port};
use support::{Rig, Seen, on_each_runtime, pattern, plain, sharded, stream};

/// Settings with short delays, so that tests do not wait.
fn quick(url: &str) -> RedisBusBuilder {
    let delay = Duration::from_millis(10);
    RedisBus::builder(url).reconnection_delay(delay).reconnection_delay_max(delay)
}

#[test]
fn a_killed_server_is_connected_to_again_and_all_channels_are_watched() {
    on_each_runtime(|on| {
        let Some(mut redis) = RedisServer::start(&[]) else { return };
        let rig = Rig::connected(on, quick(&redis.url()).build().unwrap());
        for channel in [plain("plain"), pattern("pattern*"), sharded("sharded")] {
            rig.bus.watch(&channel, true);
        }
        rig.await_count(&plain("plain"), 1);
        redis.kill();
        rig.await_cause("");
        rig.await_cause("is Redis running?");
        // Changes during the outage hold as well.
        rig.bus.watch(&plain("late"), true);
        rig.bus.watch(&plain("plain"), false);
        redis.restart();
        rig.await_status(&BusStatus::Connected);
        assert_eq!(rig.count(&plain("plain")), Some(0));
        for channel in [plain("late"), plain("pattern#room"), sharded("sharded")] {
            rig.publish(&channel, "again");
            assert_eq!(rig.message().0, channel.name);
        }
    });
}

#[test]
fn what_is_published_during_an_outage_leaves_once_in_its_order() {
    on_each_runtime(|on| {
        let Some(mut redis) = RedisServer::start(&[]) else { return };
        let bus = quick(&redis.url()).build().unwrap();
        bus.watch(&plain("channel"), true);
        let rig = Rig::connected(on, bus);
        redis.kill();
        rig.await_cause("");
        for index in 0..100 {
            rig.publish(&plain("channel"), &index.to_string());
        }
        redis.restart();
        for index in 0..100 {
            assert_eq!(rig.message().1, index.to_string());
        }
        rig.publish(&plain("channel"), "last");
        assert_eq!(rig.message().1, "last");
    });
}

#[test]
fn messages_that_have_waited_too_long_are_not_sent() {
    on_each_runtime(|on| {
        let Some(mut redis) = RedisServer::start(&[]) else { return };
        let bus = quick(&redis.url()).max_age(Duration::ZERO).build().unwrap();
        bus.watch(&plain("channel"), true);
        let rig = Rig::connected(on, bus);
        redis.kill();
        rig.await_cause("is Redis running?");
        rig.publish(&plain("channel"), "old");
        rig.bus.append(&stream("stream"), vec![("data", Bytes::from_static(b"kept"))]);
        redis.restart();
        rig.await_status(&BusStatus::Connected);
        smol::block_on(rig.bus.flush());
        assert_eq!(redis.command(&["XLEN", "stream"]), ":1\r\n");
        let seen = rig.drain();
        assert!(!seen.iter().any(|seen| matches!(seen, Seen::Message { .. })), "{seen:?}");
    });
}

#[test]
fn what_waits_is_bounded_and_an_overflow_is_reported_once() {
    on_each_runtime(|on| {
        let Some(mut redis) = RedisServer::start(&[]) else { return };
        let bus = quick(&redis.url()).max_waiting(10_000).build().unwrap();
        bus.watch(&plain("channel"), true);
        let rig = Rig::connected(on, bus);
        for _ in 0..2 {
            redis.kill();
            rig.await_cause("is Redis running?");
            for index in 0..1000 {
                rig.publish(&plain("channel"), &index.to_string());
            }
            rig.await_status(&BusStatus::Overflowed { limit: 10_000 });
            redis.restart();
            rig.await_status(&BusStatus::Connected);
            smol::block_on(rig.bus.flush());
            rig.publish(&plain("channel"), "end");
            let mut received = 0;
            while rig.message().1 != "end" {
                received += 1;
            }
            assert!((50..100).contains(&received), "{received} messages");
            let seen = rig.drain();
            assert!(!seen.contains(&Seen::Status(BusStatus::Overflowed { limit: 10_000 })), "{seen:?}");
        }
    });
}

#[test]
fn values_that_are_lost_during_an_outage_are_reported() {
    on_each_runtime(|on| {
        let Some(mut redis) = RedisServer::start(&[]) else { return };
        let bus = quick(&redis.url()).max_waiting(1000).build().unwrap();
        let rig = Rig::connected(on, bus);
        let save = |key: &str, len| rig.bus.save(key, "x".repeat(len).into(), Duration::from_secs(60));
        redis.kill();
        rig.await_cause("is Redis running?");
        save("waits", 500);
        save("too large", 500);
        assert_eq!(rig.unsaved(), "too large");
        redis.restart();
        rig.await_status(&BusStatus::Connected);
        smol::block_on(rig.bus.flush());
        assert_eq!(redis.command(&["STRLEN", "waits"]), ":500\r\n");
        assert!(!rig.drain().iter().any(|seen| matches!(seen, Seen::Unsaved { .. })));
    });
}

#[test]
fn a_stream_is_read_on_from_where_it_was() {
    on_each_runtime(|on| {
        let Some(redis) = RedisServer::start(&[]) else { return };
        let bus = quick(&redis.url()).build().unwrap();
        bus.watch(&stream("stream"), true);
        let rig = Rig::connected(on, bus);
        for round in 0..3 {
            redis.command(&["CLIENT", "KILL", "TYPE", "normal"]);
            for index in 0..10 {
                redis.command(&["XADD", "stream", "*", "data", &format!("{round} {index}")]);
            }
            for index in 0..10 {
                assert_eq!(rig.entry().1, [("data".to_owned(), format!("{round} {index}"))]);
            }
        }
    });
}

#[test]
fn entries_are_not_lost_when_the_connection_is() {
    on_each_runtime(|on| {
        let Some(redis) = RedisServer::start(&[]) else { return };
        let rig = Rig::connected(on, quick(&redis.url()).build().unwrap());
        for index in 0..200 {
            if index % 20 == 0 {
                redis.command(&["CLIENT", "KILL", "TYPE", "normal"]);
            }
            rig.bus.append(&stream("stream"), vec![("data", Bytes::from(index.to_string()))]);
        }
        smol::block_on(rig.bus.flush());
        let entries = redis.command(&["XRANGE", "stream", "-", "+"]);
        for index in 0..200 {
            assert!(entries.contains(&format!("\r\n{index}\r\n")), "entry {index} is missing");
        }
    });
}

#[test]
fn subscribers_cannot_be_counted_during_an_outage() {
    on_each_runtime(|on| {
        let rig = Rig::new(on, quick(&format!("redis://127.0.0.1:{}", free_port())).build().unwrap());
        assert_eq!(rig.count(&plain("channel")), None);
        rig.bus.count(&plain("channel"), RequestId::from("mine"));
        rig.take(|seen| (*seen == Seen::Count { request: "mine".into(), subscribers: None }).then_some(()));
    });
}

#[test]
fn a_server_that_ceases_to_answer_is_left() {
    on_each_runtime(|on| {
        let Some(redis) = RedisServer::start(&[]) else { return };
        let timeout = Duration::from_millis(200);
        let bus = quick(&redis.url()).response_timeout(timeout).connection_timeout(timeout);
        let bus = bus.build().unwrap();
        bus.watch(&plain("channel"), true);
        let rig = Rig::connected(on, bus);
        redis.signal("STOP");
        rig.await_cause("it has ceased to answer");
        redis.signal("CONT");
        rig.await_status(&BusStatus::Connected);
        rig.publish(&plain("channel"), "again");
        assert_eq!(rig.message().1, "again");
    });
}

#[test]
fn a_refused_connection_names_the_address_and_asks_if_redis_runs() {
    on_each_runtime(|on| {
        let port = free_port();
        let rig = Rig::new(on, RedisBus::new(format!("redis://localhost:{port}")).unwrap());
        let cause = rig.await_cause("");
        assert!(cause.contains(&format!("localhost:{port}")), "{cause}");
        assert!(cause.ends_with("is Redis running?"), "{cause}");
    });
}

#[test]
fn a_wrong_password_is_explained() {
    on_each_runtime(|on| {
        let Some(redis) = RedisServer::start(&["--requirepass", "secret"]) else { return };
        let at = format!("127.0.0.1:{}", redis.port);
        for (url, advice) in [
            (format!("redis://{at}"), "the URL needs a password, as in redis://:password@host"),
            (format!("redis://:wrong@{at}"), "check the user and the password in the URL"),
            (format!("redis://nobody:secret@{at}"), "check the user and the password in the URL"),
        ] {
            let cause = Rig::new(on, RedisBus::new(&url).unwrap()).await_cause("");
            assert!(cause.ends_with(advice), "{url}: {cause}");
            assert!(!cause.contains("wrong"), "{cause}");
        }
        let rig = Rig::connected(on, RedisBus::new(format!("redis://:secret@{at}/3")).unwrap());
        rig.watch(&plain("channel"));
    });
}

#[test]
fn a_user_without_permission_is_explained() {
    on_each_runtime(|on| {
        let Some(redis) = RedisServer::start(&[]) else { return };
        redis.command(&["ACL", "SETUSER", "me", "on", ">secret", "+@all", "allkeys", "resetchannels"]);
        let url = format!("redis://me:secret@127.0.0.1:{}", redis.port);
        let bus = RedisBus::new(url).unwrap();
        bus.watch(&plain("channel"), true);
        let cause = Rig::new(on, bus).await_cause("NOPERM");
        assert!(cause.contains("the user needs the commands and channels of the bus"), "{cause}");
    });
}

#[test]
fn what_is_not_redis_is_explained() {
    use std::io::Write;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.unwrap().write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    on_each_runtime(|on| {
        let rig = Rig::new(on, RedisBus::new(format!("redis://127.0.0.1:{port}")).unwrap());
        rig.await_cause("Redis at 127.0.0.1");
    });
}

#[test]
fn urls_that_cannot_be_used_are_refused_with_the_reason() {
    for (url, reason) in [
        ("localhost:6379", "it has to begin with a scheme, such as redis://127.0.0.1:6379"),
        ("http://localhost", "http is not a scheme of Redis"),
        ("rediss://localhost/#insecure", "#insecure is not supported"),
    ] {
        let error = RedisBus::new(url).unwrap_err().to_string();
        assert!(error.starts_with("the URL of Redis cannot be used: "), "{error}");
        assert!(error.contains(reason), "{error}");
    }
    assert!(!format!("{:?}", RedisBus::new("redis://:secret@host").unwrap()).contains("secret"));
}
