//! The guarantees of the bus over Redis, as `sockeye::testing::bus` checks them. The tests of the bus itself are in
//! `adapter-redis/tests`.

#![cfg(all(feature = "redis", feature = "testing", feature = "tokio", feature = "smol"))]
#![allow(clippy::unwrap_used)]

#[path = "../adapter-redis/tests/support/redis.rs"]
mod support;

use sockeye::redis::RedisBus;
use sockeye::testing::bus::BusCheck;
use std::sync::Arc;
use support::RedisServer;

#[test]
fn the_bus_has_all_guarantees_on_tokio() {
    let Some(redis) = RedisServer::start(&[]) else { return };
    let url = redis.url();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let tokio = Arc::new(sockeye::runtime::tokio::Tokio::new());
        BusCheck::new(tokio, move || RedisBus::new(&url).unwrap()).run().await;
    });
}

#[test]
fn the_bus_has_all_guarantees_on_smol() {
    let Some(redis) = RedisServer::start(&[]) else { return };
    let url = redis.url();
    smol::block_on(async {
        let smol = Arc::new(sockeye::runtime::smol::Smol::new());
        BusCheck::new(smol, move || RedisBus::new(&url).unwrap()).run().await;
    });
}
