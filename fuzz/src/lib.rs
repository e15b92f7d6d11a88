//! The bodies of the fuzz targets: functions of bytes that panic if something is wrong.
//!
//! `tests/fuzz_seeds.rs` calls the same functions with the inputs in `seeds`, on stable Rust.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

mod chunks;
mod client;
mod cluster;
mod jsonp;
mod machine;
mod msgpack;
mod packets;
mod proxies;
mod redis;
mod server;
mod session;
mod snapshot;
#[path = "../../engine-core/tests/support/mod.rs"]
mod support;
mod tunnel;

pub use chunks::{http_chunks, websocket_chunks};
pub use client::client;
pub use cluster::{cluster_args, cluster_classic, cluster_sharded, cluster_streams};
pub use jsonp::jsonp;
pub use msgpack::msgpack_packet;
pub use packets::{engine_packet, engine_payload, engine_payload_v3, reassembly, socket_packet};
pub use proxies::{proxy_protocol, trust_proxy};
pub use redis::redis_frames;
pub use server::server;
pub use session::session;
pub use snapshot::snapshot;
pub use tunnel::tunnel;

/// A target, which panics if something is wrong.
pub type Target = fn(&[u8]);

/// Every target with its name.
pub const TARGETS: &[(&str, Target)] = &[
    ("client", client),
    ("cluster_args", cluster_args),
    ("cluster_classic", cluster_classic),
    ("cluster_sharded", cluster_sharded),
    ("cluster_streams", cluster_streams),
    ("engine_packet", engine_packet),
    ("engine_payload", engine_payload),
    ("engine_payload_v3", engine_payload_v3),
    ("http_chunks", http_chunks),
    ("jsonp", jsonp),
    ("msgpack_packet", msgpack_packet),
    ("proxy_protocol", proxy_protocol),
    ("reassembly", reassembly),
    ("redis_frames", redis_frames),
    ("server", server),
    ("session", session),
    ("snapshot", snapshot),
    ("socket_packet", socket_packet),
    ("trust_proxy", trust_proxy),
    ("tunnel", tunnel),
    ("websocket_chunks", websocket_chunks),
];

/// Choices read from the front of an input. At its end they are zero.
struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    fn short(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// Returns the next `n` bytes, or as many as are left.
    fn bytes(&mut self, n: usize) -> &'a [u8] {
        let (front, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        front
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
