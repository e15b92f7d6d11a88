//! The errors of messages from the bus, and of requests to other nodes.

/// The reason why a message from the bus was ignored. Nothing else has changed: log it and go on.
///
/// A single one is usually a program of another kind that publishes on the same channels. Many of them mean that two
/// clusters with different adapters share a Redis: give one of them another prefix.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BusError {
    /// The message is longer than [`ClusterLimits::max_message`](super::ClusterLimits::max_message), or than the bus accepts.
    #[error("a message of {len} bytes came over the bus, more than the limit of {limit}")]
    TooLong {
        /// The length of the message, in bytes.
        len: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The message is neither JSON nor MessagePack, or ends too early or too late.
    #[error("a message over the bus is neither JSON nor MessagePack: do other programs use the same prefix?")]
    Syntax,
    /// More than 128 arrays and maps are nested.
    #[error("a message over the bus is nested more than 128 levels deep")]
    Depth,
    /// The key of a map in MessagePack is neither a string nor an integer, so that JSON has no equal.
    #[error("a map in a message over the bus has a key that is neither a string nor an integer")]
    Key,
    /// The message holds a MessagePack extension other than a timestamp.
    #[error("a message over the bus holds a MessagePack extension of the unknown type {0}")]
    Extension(i8),
    /// There is more binary data than [`ClusterLimits::max_attachments`](super::ClusterLimits::max_attachments) allows.
    #[error("a message over the bus holds more than {limit} pieces of binary data")]
    TooManyAttachments {
        /// The limit.
        limit: usize,
    },
    /// The message names more rooms than [`ClusterLimits::max_rooms`](super::ClusterLimits::max_rooms).
    #[error("a message over the bus names more than {limit} rooms")]
    TooManyRooms {
        /// The limit.
        limit: usize,
    },
    /// A field is missing, or is not of its type.
    #[error("a message over the bus has no valid `{0}`: does the other server use the same adapter?")]
    Field(&'static str),
    /// The type of the message is unknown. Newer versions of an adapter may have sent it.
    #[error(
        "a message over the bus has the unknown type {0}: it may come from a newer version of the adapter"
    )]
    Type(u64),
    /// There are more nodes than [`ClusterLimits::max_nodes`](super::ClusterLimits::max_nodes). The message was handled,
    /// but its sender is not counted as a node.
    #[error("the cluster has more than {limit} servers")]
    TooManyNodes {
        /// The limit.
        limit: usize,
    },
    /// A request has more answers than [`ClusterLimits::max_answers`](super::ClusterLimits::max_answers), or more than
    /// its sender has announced.
    #[error("a server of the cluster has sent too many answers to a request")]
    TooManyAnswers,
    /// With the sockets of its sender, the answers to one request would take more bytes than
    /// [`ClusterLimits::max_fetched`](super::ClusterLimits::max_fetched). The sender counts as silent.
    #[error(
        "the sockets that other servers have reported to one request take more than {limit} bytes: fetch those of a room"
    )]
    TooManySockets {
        /// The limit, in bytes.
        limit: usize,
    },
    /// So much has come that the server has not handled yet: see
    /// [`ClusterLimits::max_unhandled`](super::ClusterLimits::max_unhandled).
    #[error(
        "more than {limit} bytes of messages of other servers have not been handled: does a handler block?"
    )]
    Unhandled {
        /// The limit, in bytes.
        limit: usize,
    },
}

/// The reason why a request was not sent to the other nodes.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// [`ClusterLimits::max_requests`](super::ClusterLimits::max_requests) requests are waiting for other nodes.
    #[error("{limit} requests to other servers are waiting already: wait for some of them")]
    Full {
        /// The limit.
        limit: usize,
    },
    /// So much has come from other nodes that the server has not handled yet: see
    /// [`ClusterLimits::max_unhandled`](super::ClusterLimits::max_unhandled).
    #[error(
        "more than {limit} bytes of messages of other servers have not been handled: does a handler block?"
    )]
    Unhandled {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The namespace has not been [added](super::Cluster::add_namespace).
    #[error("the namespace is not part of the cluster")]
    UnknownNamespace,
}

crate::debug_as_text!(BusError, ClusterError);
