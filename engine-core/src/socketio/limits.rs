//! Limits on what a peer may send.

use core::time::Duration;

/// The deepest nesting of arrays and objects that the decoders can follow.
pub(super) const MAX_DEPTH: usize = 128;

/// What a peer may ask of the decoder. A packet beyond it is an error, not cut short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Attachments of one packet: a number, 10 by default as in socket.io-parser, at most 9999.
    pub max_attachments: usize,
    /// All attachments of one packet together, in bytes: 10 MB (10 000 000) by default.
    pub max_attachment_bytes: usize,
    /// From a packet's text to its last attachment: 60 s by default. Whoever owns the
    /// [`Reassembly`](super::Reassembly) keeps the time.
    pub reassembly_timeout: Duration,
    /// A namespace with its query, in bytes: 512 by default.
    pub max_namespace_len: usize,
    /// An event's name as written, that is with escapes and without quotes, in bytes: 512 by
    /// default.
    pub max_event_len: usize,
    /// Arrays and objects inside each other: 128 levels by default, and never more.
    pub max_depth: usize,
    /// Namespaces that one client has joined or is joining, for a server: 100 by default.
    pub max_namespaces: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_attachments: 10,
            max_attachment_bytes: 10_000_000,
            reassembly_timeout: Duration::from_secs(60),
            max_namespace_len: 512,
            max_event_len: 512,
            max_depth: MAX_DEPTH,
            max_namespaces: 100,
        }
    }
}
