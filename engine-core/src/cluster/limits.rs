//! Limits on what other nodes may send, and on what waits for them.

/// The deepest nesting of arrays and maps in a message.
pub(super) const MAX_DEPTH: usize = 128;

/// The limits on what comes over the bus, and on what waits for other nodes. A message that exceeds one is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterLimits {
    /// Maximum length of a message, in bytes. A list of local sockets that is longer is not sent to another node. Default:
    /// 64 MiB.
    pub max_message: usize,
    /// Maximum number of pieces of binary data in a message. Default: 1,000.
    pub max_attachments: usize,
    /// Maximum number of rooms that a message names as its target, as exceptions, or to be joined or left, each.
    /// Default: 4,096.
    pub max_rooms: usize,
    /// Maximum number of other nodes that are counted in one namespace. Default: 1,000.
    pub max_nodes: usize,
    /// Maximum number of own requests that wait for other nodes. Default: 10,000.
    pub max_requests: usize,
    /// Maximum number of answers that clients of other nodes may give to one broadcast. Default: 1,000,000.
    pub max_answers: usize,
    /// Maximum size of the sockets that the other nodes may report to one request, together, in bytes as they come. Those of a
    /// node that would exceed it are ignored, and the node counts as silent. Default: 256 MiB.
    pub max_fetched: usize,
    /// Maximum size of what other nodes have sent and the server has not handled yet, in bytes, about. While there is more,
    /// because a handler blocks, messages that ask for something are ignored, and no request can be sent. Default: 64 MiB.
    pub max_unhandled: usize,
}

impl Default for ClusterLimits {
    fn default() -> ClusterLimits {
        ClusterLimits {
            max_message: 64 * 1024 * 1024,
            max_attachments: 1000,
            max_rooms: 4096,
            max_nodes: 1000,
            max_requests: 10_000,
            max_answers: 1_000_000,
            max_fetched: 256 * 1024 * 1024,
            max_unhandled: 64 * 1024 * 1024,
        }
    }
}
