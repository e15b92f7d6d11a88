//! What the fuzz targets do with their input: each is a function of bytes that panics where something is wrong.
//!
//! `tests/fuzz_seeds.rs` calls the same with the inputs in `seeds`, on stable.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

mod chunks;
mod client;
mod machine;
mod packets;
mod server;
mod session;
#[path = "../../engine-core/tests/support/mod.rs"]
mod support;
mod tunnel;

pub use chunks::{http_chunks, websocket_chunks};
pub use client::client;
pub use packets::{engine_packet, engine_payload, reassembly, socket_packet};
pub use server::server;
pub use session::session;
pub use tunnel::tunnel;

/// Panics where something is wrong.
pub type Target = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: [(&str, Target); 10] = [
    ("client", client),
    ("engine_packet", engine_packet),
    ("engine_payload", engine_payload),
    ("http_chunks", http_chunks),
    ("reassembly", reassembly),
    ("server", server),
    ("session", session),
    ("socket_packet", socket_packet),
    ("tunnel", tunnel),
    ("websocket_chunks", websocket_chunks),
];

/// Choices read from the front of an input; all are zero at its end.
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

    /// So many bytes, or what is left.
    fn bytes(&mut self, n: usize) -> &'a [u8] {
        let (front, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        front
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
