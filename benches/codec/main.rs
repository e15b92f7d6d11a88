//! The throughput of packets, payloads, frames and attachments in bytes per second, beside the parsers of other crates.
//!
//! The peers are the crates that their users run for the same input: socketioxide's parser crates, and tungstenite,
//! which socketioxide uses. The parser of rust_socketio is private and cannot be called without a connection; the
//! packets of rust_engineio, the layer below, are public and are measured with `RUSTFLAGS="--cfg rust_engineio"`.
//!
//! Each bench first checks that both sides produce the same result.
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

/// Measures both sides under the name of the input.
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
