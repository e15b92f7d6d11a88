//! Packets, payloads, frames and attachments, in bytes per second, beside the parsers of others.
//!
//! The peers are what a user of theirs runs for the same input: socketioxide's parser crates, and tungstenite, which is
//! below socketioxide. rust_socketio's parser is private, so that nobody can call it without a connection; of
//! rust_engineio, the layer below, packets are public, and measured with `RUSTFLAGS="--cfg rust_engineio"`.
//!
//! Before anything is measured, both sides have to have understood the same.
#![allow(missing_docs, clippy::expect_used)]

mod attachments;
mod events;
mod inputs;
mod payloads;
#[path = "../quick.rs"]
mod quick;
mod websocket;

use criterion::{Criterion, criterion_group, criterion_main};
use quick::quick;

criterion_group! {
    name = codec;
    config = quick();
    targets = events::decode, events::encode, attachments::decode, attachments::encode, payloads::split,
        payloads::join, websocket::decode, websocket::encode
}
criterion_main!(codec);

/// Measures both sides of a pair under the name of the input.
fn beside<A, B>(
    c: &mut Criterion,
    group: &str,
    input: &str,
    bytes: usize,
    mut ours: impl FnMut() -> A,
    peer: &str,
    mut theirs: impl FnMut() -> B,
) {
    let mut group = c.benchmark_group(group);
    group.throughput(criterion::Throughput::Bytes(bytes as u64));
    group.bench_function(criterion::BenchmarkId::new("sockeye", input), |b| b.iter(&mut ours));
    group.bench_function(criterion::BenchmarkId::new(peer, input), |b| b.iter(&mut theirs));
}
