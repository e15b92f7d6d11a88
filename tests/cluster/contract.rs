//! The checks that every bus has to pass.

use bytes::Bytes;
use sockeye::cluster::{Bus, Channel, MemoryBus, Node, RequestId};
use sockeye::testing::bus::BusCheck;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Checks a bus by a clock that jumps.
fn check<B: Bus>(make: impl Fn() -> B + Send + Sync + 'static) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let clock = Arc::new(sockeye::runtime::tokio::Tokio::new());
        BusCheck::new(clock, make).run().await;
    });
}

#[test]
fn the_bus_in_memory_passes() {
    let bus = MemoryBus::new();
    check(move || bus.clone());
}

#[test]
fn the_bus_in_memory_passes_on_several_threads() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let bus = MemoryBus::new();
    let check = runtime.spawn(async move {
        let clock = Arc::new(sockeye::runtime::tokio::Tokio::new());
        BusCheck::new(clock, move || bus.clone()).timeout(Duration::from_secs(60)).run().await;
    });
    runtime.block_on(check).unwrap();
}

/// A bus with a fault.
struct Faulty(MemoryBus, Fault);

#[derive(Clone, Copy, PartialEq)]
enum Fault {
    SendsTwice,
    CountsOneLess,
    ForgetsToUnwatch,
    MixesUp,
    ForgetsValues,
    SkipsEntries,
}

impl Bus for Faulty {
    fn attach(&self, node: Weak<dyn Node>) {
        self.0.attach(node);
    }

    fn watch(&self, channel: &Channel, on: bool) {
        if on || self.1 != Fault::ForgetsToUnwatch {
            self.0.watch(channel, on);
        }
    }

    fn publish(&self, channel: &Channel, message: Bytes) {
        if self.1 == Fault::SendsTwice {
            self.0.publish(channel, message.clone());
        }
        // Long messages are cut.
        let is_long = self.1 == Fault::MixesUp && message.len() > 1000;
        self.0.publish(channel, if is_long { message.slice(1..) } else { message });
    }

    fn append(&self, stream: &Channel, fields: Vec<(&'static str, Bytes)>) {
        self.0.append(stream, fields);
    }

    fn count(&self, channel: &Channel, request: RequestId) {
        if self.1 == Fault::CountsOneLess {
            return self.0.count(&Channel { name: "another".into(), ..channel.clone() }, request);
        }
        self.0.count(channel, request);
    }

    fn stores_sessions(&self) -> bool {
        true
    }

    fn save(&self, key: &str, value: Bytes, lifetime: Duration) {
        if self.1 != Fault::ForgetsValues {
            self.0.save(key, value, lifetime);
        }
    }

    fn load(&self, key: &str, remove: bool, request: RequestId) {
        self.0.load(key, remove, request);
    }

    fn read(&self, stream: &Channel, from: &str, request: RequestId) {
        // From behind the position, as a broker may understand it.
        let behind = format!("{from}0");
        self.0.read(stream, if self.1 == Fault::SkipsEntries { &behind } else { from }, request);
    }
}

fn check_faulty(fault: Fault) {
    let bus = MemoryBus::new();
    check(move || Faulty(bus.clone(), fault));
}

#[test]
#[should_panic(expected = "no message arrives twice")]
fn a_bus_that_repeats_messages_fails() {
    check_faulty(Fault::SendsTwice);
}

#[test]
#[should_panic(expected = "3 nodes watch a channel, but the bus has counted Some(0)")]
fn a_bus_that_miscounts_fails() {
    check_faulty(Fault::CountsOneLess);
}

#[test]
#[should_panic(expected = "0 nodes watch a channel, but the bus has counted Some(1)")]
fn a_bus_that_does_not_unsubscribe_fails() {
    check_faulty(Fault::ForgetsToUnwatch);
}

#[test]
#[should_panic(expected = "messages arrive unchanged")]
fn a_bus_that_changes_messages_fails() {
    check_faulty(Fault::MixesUp);
}

#[test]
#[should_panic(expected = "the value that was saved last is found until it is removed")]
fn a_bus_that_forgets_values_fails() {
    check_faulty(Fault::ForgetsValues);
}

#[test]
#[should_panic(expected = "a stream is read from a position on")]
fn a_bus_that_skips_entries_fails() {
    check_faulty(Fault::SkipsEntries);
}
