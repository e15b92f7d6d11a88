//! Limits on what a peer may send.

use core::time::Duration;

/// The deepest nesting of arrays and objects that the decoders can follow.
pub(super) const MAX_DEPTH: usize = 128;

/// The limits on what a peer may send. A packet that exceeds one is an error and is not truncated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Maximum number of attachments of a packet; never more than 9999. Default: 10, as in
    /// socket.io-parser.
    pub max_attachments: usize,
    /// Maximum total size of a packet's attachments, in bytes. Default: 10 000 000 (10 MB).
    pub max_attachment_bytes: usize,
    /// Timeout from a packet's text to its last attachment, enforced by the owner of the
    /// [`Reassembly`](super::Reassembly). Default: 60 s.
    pub reassembly_timeout: Duration,
    /// Maximum length of a namespace with its query, in bytes. Default: 512.
    pub max_namespace_len: usize,
    /// Maximum length of an event's name as written, that is with escapes and without quotes, in
    /// bytes. Default: 512.
    pub max_event_len: usize,
    /// Maximum depth of nested arrays and objects; never more than 128. Default: 128.
    pub max_depth: usize,
    /// Maximum number of namespaces that a client has joined or is joining, on a server. Default:
    /// 100.
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
