//! The bus over a Redis Cluster, over Sentinel, and over TLS.

#![allow(clippy::unwrap_used)]

mod support;

use bytes::Bytes;
use sockeye_core::cluster::{Bus, BusStatus, Channel};
use sockeye_core::tls::ClientTls;
use sockeye_redis::{RedisBus, RedisBusBuilder};
use std::fs;
use std::time::Duration;
use support::fake::FakeServer;
use support::redis::{RedisServer, free_port, program};
use support::{Rig, Seen, on_each_runtime, pattern, plain, sharded, stream};

fn quick(builder: RedisBusBuilder) -> RedisBusBuilder {
    let delay = Duration::from_millis(20);
    builder.reconnection_delay(delay).reconnection_delay_max(delay * 2)
}

/// Starts a Redis Cluster of three servers.
fn cluster() -> Option<Vec<RedisServer>> {
    let start = || RedisServer::start(&["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"]);
    let servers: Vec<_> = (0..3).map(|_| start()).collect::<Option<_>>()?;
    for (server, slots) in servers.iter().zip([("0", "5460"), ("5461", "10922"), ("10923", "16383")]) {
        assert_eq!(server.command(&["CLUSTER", "ADDSLOTSRANGE", slots.0, slots.1]), "+OK\r\n");
        for other in &servers {
            server.command(&["CLUSTER", "MEET", "127.0.0.1", &other.port.to_string()]);
        }
    }
    for server in &servers {
        server.wait_for(&["CLUSTER", "INFO"], "cluster_state:ok");
        server.wait_for(&["CLUSTER", "INFO"], "cluster_known_nodes:3");
    }
    Some(servers)
}

/// Channels whose slots are at all three servers.
fn spread(kind: fn(&str) -> Channel) -> Vec<Channel> {
    (0..30).map(|index| kind(&format!("socket.io#/#room{index}#"))).collect()
}

#[test]
fn sharded_channels_are_at_the_server_of_their_slot() {
    let Some(servers) = cluster() else { return };
    on_each_runtime(|on| {
        // One server names the others.
        let bus = || quick(RedisBus::cluster([servers[0].url()])).build().unwrap();
        let (one, two) = (Rig::connected(on, bus()), Rig::connected(on, bus()));
        for channel in spread(sharded) {
            one.watch(&channel);
            two.publish(&channel, "hello");
            assert_eq!(one.message(), (channel.name.to_string(), "hello".to_owned()));
        }
        for server in &servers {
            assert_ne!(server.command(&["PUBSUB", "SHARDCHANNELS"]), "*0\r\n");
        }
        for channel in spread(sharded) {
            one.bus.watch(&channel, false);
            two.await_count(&channel, 0);
        }
    });
}

#[test]
fn other_channels_and_streams_work_in_a_cluster() {
    on_each_runtime(|on| {
        let Some(servers) = cluster() else { return };
        let bus = || quick(RedisBus::cluster(servers.iter().map(RedisServer::url))).build().unwrap();
        let (one, two) = (Rig::connected(on, bus()), Rig::connected(on, bus()));
        for channel in spread(plain) {
            one.bus.watch(&channel, true);
            two.bus.watch(&channel, true);
            one.await_count(&channel, 2);
        }
        one.publish(&plain("socket.io#/#room7#"), "both");
        assert_eq!(one.message().1, "both");
        assert_eq!(two.message().1, "both");
        let waiting = RedisBus::cluster([servers[2].url()]).build().unwrap();
        waiting.watch(&pattern("pattern#*"), true);
        waiting.watch(&stream("stream"), true);
        waiting.watch(&stream("other"), true);
        let three = Rig::connected(on, waiting);
        one.publish(&plain("pattern#1"), "matched");
        assert_eq!(three.message(), ("pattern#1".to_owned(), "matched".to_owned()));
        for name in ["stream", "other"] {
            one.bus.append(&stream(name), vec![("data", Bytes::from_static(b"x"))]);
            assert_eq!(three.entry().1, [("data".to_owned(), "x".to_owned())]);
        }
    });
}

#[test]
fn a_flush_and_a_count_before_the_cluster_is_known_are_completed() {
    let Some(servers) = cluster() else { return };
    on_each_runtime(|on| {
        let rig = Rig::new(on, RedisBus::cluster([servers[0].url()]).build().unwrap());
        for index in 0..50 {
            let fields = vec![("data", Bytes::from_static(b"x"))];
            rig.bus.append(&stream(&format!("{on:?}{index}")), fields);
        }
        assert_eq!(rig.count(&plain("nobody")), Some(0));
        smol::block_on(rig.bus.flush());
        let keys = servers.iter().map(|server| server.command(&["DBSIZE"]));
        let keys: usize =
            keys.map(|answer| answer.trim_matches([':', '\r', '\n']).parse::<usize>().unwrap()).sum();
        assert!(keys >= 50, "{keys} streams");
    });
}

#[test]
fn a_slot_that_moves_takes_its_channels_along() {
    on_each_runtime(|on| {
        let Some(servers) = cluster() else { return };
        let rig = Rig::connected(on, quick(RedisBus::cluster([servers[0].url()])).build().unwrap());
        // Its slot is 12182, at the third server.
        let channel = sharded("foo");
        rig.watch(&channel);
        let to = servers[0].command(&["CLUSTER", "MYID"]);
        let to = to.split("\r\n").nth(1).unwrap();
        // The owner last, because the cluster believes in its configuration until then.
        for server in servers.iter() {
            assert_eq!(server.command(&["CLUSTER", "SETSLOT", "12182", "NODE", to]), "+OK\r\n");
        }
        servers[0].wait_for(&["PUBSUB", "SHARDNUMSUB", "foo"], ":1\r\n");
        rig.publish(&channel, "moved");
        assert_eq!(rig.message().1, "moved");
    });
}

#[test]
fn a_server_of_a_cluster_that_is_gone_does_not_stop_the_others() {
    on_each_runtime(|on| {
        let Some(mut servers) = cluster() else { return };
        for server in &servers {
            server.command(&["CONFIG", "SET", "cluster-require-full-coverage", "no"]);
        }
        let rig = Rig::connected(on, quick(RedisBus::cluster([servers[0].url()])).build().unwrap());
        // Their slots are 5061 and 12182, at the first and the third server.
        let (stays, goes) = (sharded("bar"), sharded("foo"));
        rig.watch(&stays);
        rig.watch(&goes);
        servers[2].kill();
        rig.await_cause("is Redis running?");
        rig.publish(&goes, "waits");
        rig.publish(&stays, "works");
        assert_eq!(rig.message().1, "works");
        servers[2].restart();
        rig.await_status(&BusStatus::Connected);
        assert_eq!(rig.message().1, "waits");
    });
}

#[test]
fn what_a_server_has_not_answered_when_it_leaves_the_cluster_is_given_back() {
    on_each_runtime(|on| {
        let [old, new] = FakeServer::cluster();
        let message = "x".repeat(600);
        let bus = quick(RedisBus::cluster([old.url()])).max_waiting(1500).build().unwrap();
        bus.watch(&sharded("foo"), true);
        let rig = Rig::connected(on, bus);
        old.await_command("SSUBSCRIBE");
        rig.publish(&sharded("foo"), &message);
        rig.bus.append(&stream("stream"), vec![("data", Bytes::from_static(b"kept"))]);
        old.await_command("XADD");
        new.take_over(&old, "foo");
        let entry = new.await_command("XADD");
        assert!(entry.ends_with(&["data".to_owned(), "kept".to_owned()]), "{entry:?}");
        // The message may have been sent, so that it is not repeated. It does not count any more.
        rig.publish(&sharded("foo"), &message.replace('x', "y"));
        let published = new.await_command("SPUBLISH");
        assert!(published[2].starts_with('y'), "{published:?}");
        let seen = rig.drain();
        assert!(!seen.iter().any(|it| matches!(it, Seen::Status(BusStatus::Overflowed { .. }))), "{seen:?}");
    });
}

#[test]
fn a_server_that_is_no_cluster_is_explained_and_so_is_one_that_is() {
    let Some(redis) = RedisServer::start(&[]) else { return };
    let Some(servers) = cluster() else { return };
    on_each_runtime(|on| {
        let rig = Rig::new(on, RedisBus::cluster([redis.url()]).build().unwrap());
        rig.await_cause("it is not part of a Redis Cluster: use RedisBus::new");
        let bus = RedisBus::new(servers[0].url()).unwrap();
        bus.watch(&sharded("foo"), true);
        Rig::new(on, bus).await_cause("it is part of a Redis Cluster: use RedisBus::cluster");
    });
}

#[test]
fn sentinels_name_the_server_and_the_one_after_it() {
    on_each_runtime(|on| {
        let Some(mut primary) = RedisServer::start(&["--requirepass", "secret", "--masterauth", "secret"])
        else {
            return;
        };
        let of = format!("127.0.0.1 {}", primary.port);
        let of: Vec<_> = of.split(' ').collect();
        let args = ["--replicaof", of[0], of[1], "--requirepass", "secret", "--masterauth", "secret"];
        let replica = RedisServer::start(&args).unwrap();
        let mut sentinel = RedisServer::stopped(free_port(), &[]);
        let config = sentinel.folder().join("sentinel.conf");
        let text = format!(
            "sentinel monitor mymaster {} {} 1\nsentinel auth-pass mymaster secret\n\
             sentinel down-after-milliseconds mymaster 300\nsentinel failover-timeout mymaster 2000\n",
            of[0], of[1]
        );
        fs::write(&config, text).unwrap();
        sentinel.run_sentinel("sentinel.conf");
        sentinel.wait_for(&["SENTINEL", "REPLICAS", "mymaster"], "master-link-status\r\n$2\r\nok");
        let absent = format!("redis://127.0.0.1:{}", free_port());
        let bus = RedisBus::sentinel([absent, sentinel.url()], "mymaster").password("secret");
        let bus = quick(bus).build().unwrap();
        bus.watch(&plain("channel"), true);
        let rig = Rig::connected(on, bus);
        rig.publish(&plain("channel"), "before");
        assert_eq!(rig.message().1, "before");
        primary.kill();
        rig.await_cause("");
        rig.await_status(&BusStatus::Connected);
        rig.publish(&plain("channel"), "after");
        assert_eq!(rig.message().1, "after");
        let at = format!("redis://:secret@127.0.0.1:{}", replica.port);
        let direct = Rig::connected(on, RedisBus::new(at).unwrap());
        direct.await_count(&plain("channel"), 1);
        let unknown = RedisBus::sentinel([sentinel.url()], "other").build().unwrap();
        Rig::new(on, unknown).await_cause("this sentinel knows no service \"other\"");
    });
}

#[test]
fn rediss_urls_are_encrypted_and_certificates_verified() {
    let Some(_) = program() else { return };
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let port = free_port().to_string();
    let mut redis = RedisServer::stopped(
        free_port(),
        &[
            "--tls-port",
            &port,
            "--tls-cert-file",
            "cert.pem",
            "--tls-key-file",
            "key.pem",
            "--tls-auth-clients",
            "no",
            "--tls-ca-cert-file",
            "cert.pem",
        ],
    );
    fs::write(redis.folder().join("cert.pem"), certified.cert.pem()).unwrap();
    fs::write(redis.folder().join("key.pem"), certified.signing_key.serialize_pem()).unwrap();
    redis.restart();
    let trusted = ClientTls::from_pem(certified.cert.pem().as_bytes()).unwrap();
    on_each_runtime(|on| {
        let url = format!("rediss://localhost:{port}");
        let bus = RedisBus::builder(&url).tls(trusted.clone()).build().unwrap();
        bus.watch(&stream("stream"), true);
        let rig = Rig::connected(on, bus);
        let channel = plain(&format!("{on:?}"));
        rig.watch(&channel);
        let message = "x".repeat(1_000_000);
        rig.publish(&channel, &message);
        assert!(rig.message().1 == message);
        rig.bus.append(&stream("stream"), vec![("data", Bytes::from_static(b"x"))]);
        rig.entry();

        let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let other = ClientTls::from_pem(other.cert.pem().as_bytes()).unwrap();
        let rig = Rig::new(on, RedisBus::builder(&url).tls(other).build().unwrap());
        rig.await_cause("the TLS handshake failed: invalid peer certificate");
        let plain_text = RedisBus::new(format!("redis://localhost:{port}")).unwrap();
        Rig::new(on, plain_text).await_cause("if it expects TLS, write rediss://");
    });
}
