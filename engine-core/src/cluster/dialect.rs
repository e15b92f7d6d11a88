//! The ways in which the reference's adapters use a bus, with their settings and the names of their channels.

use crate::socketio::Rooms;
use alloc::format;
use alloc::string::String;
use smol_str::SmolStr;

/// The protocol between the servers of a cluster. All servers of a cluster have to use the same one, with the same
/// prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dialect {
    /// The protocol of `createAdapter` in `@socket.io/redis-adapter`: publish and subscribe, with patterns.
    Classic(Classic),
    /// The protocol of `createShardedAdapter` in `@socket.io/redis-adapter`: sharded publish and subscribe of Redis 7.
    Sharded(Sharded),
    /// The protocol of `@socket.io/redis-streams-adapter`: a stream, from which clients can recover.
    Streams(Streams),
}

/// The settings of [`Dialect::Classic`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classic {
    /// The beginning of the names of channels, which Node calls `key`. Default: `socket.io`.
    pub prefix: SmolStr,
    /// Sends answers to the node that has asked only, not to all, which Node calls `publishOnSpecificResponseChannel`.
    /// Nodes that differ in this understand each other. Default: false.
    pub specific_responses: bool,
}

/// The settings of [`Dialect::Sharded`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sharded {
    /// The beginning of the names of channels, which Node calls `channelPrefix`. Default: `socket.io`.
    pub prefix: SmolStr,
    /// The rooms that have a channel of their own. Must be the same on all servers. Default:
    /// [`Dynamic`](SubscriptionMode::Dynamic).
    pub subscription_mode: SubscriptionMode,
}

/// The rooms that have a channel of their own, to which only the nodes with a socket in the room are subscribed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SubscriptionMode {
    /// None: every node receives every message.
    Static,
    /// All rooms but those that are named by the id of a socket, which is a name of 20 characters.
    #[default]
    Dynamic,
    /// All rooms, for applications that send to single sockets often.
    DynamicPrivate,
}

/// The settings of [`Dialect::Streams`].
///
/// Node's `onlyPlaintext`, by which it does not search messages for binary data, has no counterpart: here it is known
/// without a search whether there is some. Servers with either setting understand each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Streams {
    /// The name of the stream, which Node calls `streamName`. Default: `socket.io`.
    pub stream: SmolStr,
    /// The number of streams, among which namespaces are distributed. If it is not 1, a number follows the name of each
    /// stream. Default: 1.
    ///
    /// With more than one, Node writes what belongs to some namespaces into a stream that no server reads, because its
    /// index is negative. The absolute value is used here, so that these namespaces are served among servers in Rust.
    pub stream_count: u32,
    /// The beginning of the names of channels, which Node calls `channelPrefix`. Default: `socket.io`.
    pub prefix: SmolStr,
    /// Uses sharded publish and subscribe for requests and answers, which Node calls `useShardedPubSub`. Default: false.
    pub sharded_pub_sub: bool,
    /// The beginning of the keys of sockets whose clients may come back, which Node calls `sessionKeyPrefix`. Default:
    /// `sio:session:`.
    pub session_prefix: SmolStr,
}

const PREFIX: SmolStr = SmolStr::new_static("socket.io");

impl Default for Classic {
    fn default() -> Classic {
        Classic { prefix: PREFIX, specific_responses: false }
    }
}

impl Default for Sharded {
    fn default() -> Sharded {
        Sharded { prefix: PREFIX, subscription_mode: SubscriptionMode::default() }
    }
}

impl Default for Streams {
    fn default() -> Streams {
        Streams {
            stream: PREFIX,
            stream_count: 1,
            prefix: PREFIX,
            sharded_pub_sub: false,
            session_prefix: SmolStr::new_static("sio:session:"),
        }
    }
}

impl From<Classic> for Dialect {
    fn from(classic: Classic) -> Dialect {
        Dialect::Classic(classic)
    }
}

impl From<Sharded> for Dialect {
    fn from(sharded: Sharded) -> Dialect {
        Dialect::Sharded(sharded)
    }
}

impl From<Streams> for Dialect {
    fn from(streams: Streams) -> Dialect {
        Dialect::Streams(streams)
    }
}

/// A channel of the bus.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Channel {
    /// The way in which it is subscribed to.
    pub kind: ChannelKind,
    /// The name or, of [`ChannelKind::Pattern`], the pattern.
    pub name: SmolStr,
}

/// The way in which a channel is subscribed to, with the commands of Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChannelKind {
    /// One channel: `SUBSCRIBE`, `PUBLISH`, `PUBSUB NUMSUB`.
    Plain,
    /// All channels whose names match a pattern: `PSUBSCRIBE`.
    Pattern,
    /// One channel of a shard: `SSUBSCRIBE`, `SPUBLISH`, `PUBSUB SHARDNUMSUB`.
    Sharded,
    /// A stream: `XREAD`, `XADD`. All namespaces share it; it has to be read once.
    Stream,
}

impl Channel {
    /// Returns whether this channel is the one of this name or, if it is a pattern, includes it: for buses that have no
    /// patterns of their own.
    ///
    /// ```
    /// use sockeye_core::cluster::{Channel, ChannelKind};
    ///
    /// let all = Channel { kind: ChannelKind::Pattern, name: "socket.io#/chat#*".into() };
    /// assert!(all.includes("socket.io#/chat#lobby#"));
    /// assert!(!all.includes("socket.io#/#lobby#"));
    /// ```
    pub fn includes(&self, name: &str) -> bool {
        if self.kind != ChannelKind::Pattern {
            return self.name == name;
        }
        // The only wildcard that has no backslash before it is the last character.
        let Some(pattern) = self.name.strip_suffix('*') else { return false };
        let mut rest = name.chars();
        let mut pattern = pattern.chars();
        while let Some(char) = pattern.next() {
            let expected = if char == '\\' { pattern.next() } else { Some(char) };
            if rest.next() != expected {
                return false;
            }
        }
        true
    }
}

impl Dialect {
    /// The beginning of the names of channels.
    pub(super) fn prefix(&self) -> &str {
        match self {
            Dialect::Classic(Classic { prefix, .. })
            | Dialect::Sharded(Sharded { prefix, .. })
            | Dialect::Streams(Streams { prefix, .. }) => prefix,
        }
    }

    /// The kind of the channels that are subscribed to by their names.
    fn kind(&self) -> ChannelKind {
        match self {
            Dialect::Sharded(_) | Dialect::Streams(Streams { sharded_pub_sub: true, .. }) => {
                ChannelKind::Sharded
            }
            Dialect::Classic(_) | Dialect::Streams(_) => ChannelKind::Plain,
        }
    }

    pub(super) fn is_classic(&self) -> bool {
        matches!(self, Dialect::Classic(_))
    }

    fn channel(&self, name: String) -> Channel {
        Channel { kind: self.kind(), name: name.into() }
    }

    /// The channel that every node of the namespace receives. Its subscribers are the nodes.
    pub(super) fn requests(&self, namespace: &str) -> Channel {
        let infix = if self.is_classic() { "-request" } else { "" };
        self.channel(format!("{}{infix}#{namespace}#", self.prefix()))
    }

    /// The channel for the answers to a node.
    pub(super) fn responses(&self, namespace: &str, uid: &str) -> Channel {
        let infix = if self.is_classic() { "-response" } else { "" };
        self.channel(format!("{}{infix}#{namespace}#{uid}#", self.prefix()))
    }

    /// The channel for the answers to all nodes.
    pub(super) fn shared_responses(&self, namespace: &str) -> Channel {
        self.channel(format!("{}-response#{namespace}#", self.prefix()))
    }

    /// The channel of broadcasts: that of the room if there is exactly one and it has a channel.
    pub(super) fn broadcasts(&self, namespace: &str, rooms: &Rooms) -> Channel {
        match rooms.iter().next() {
            Some(room) if rooms.len() == 1 && (self.is_classic() || self.has_channel(room)) => {
                self.room(namespace, room)
            }
            _ => self.channel(format!("{}#{namespace}#", self.prefix())),
        }
    }

    /// The channel of a room.
    pub(super) fn room(&self, namespace: &str, room: &str) -> Channel {
        self.channel(format!("{}#{namespace}#{room}#", self.prefix()))
    }

    /// Returns whether a room has a channel of its own that has to be watched while there are sockets in it.
    ///
    /// The sender knows a socket's id by its length only, so the receiver must do the same. Node does not: with ids of
    /// another length it misses what is sent to a single socket.
    pub(super) fn has_channel(&self, room: &str) -> bool {
        let Dialect::Sharded(Sharded { subscription_mode, .. }) = self else { return false };
        match subscription_mode {
            SubscriptionMode::Static => false,
            SubscriptionMode::Dynamic => room.encode_utf16().count() != 20,
            SubscriptionMode::DynamicPrivate => true,
        }
    }

    /// The channels that a node with the namespace watches.
    pub(super) fn watched(&self, namespace: &str, uid: &str) -> impl Iterator<Item = Channel> {
        let pattern = self.is_classic().then(|| {
            let name = format!("{}#{}#*", escape(self.prefix()), escape(namespace));
            Channel { kind: ChannelKind::Pattern, name: name.into() }
        });
        let shared = self.is_classic().then(|| self.shared_responses(namespace));
        let own = [self.requests(namespace), self.responses(namespace, uid)];
        pattern.into_iter().chain(own).chain(shared)
    }

    /// The stream of a namespace.
    pub(super) fn stream(&self, namespace: &str) -> Option<Channel> {
        let Dialect::Streams(Streams { stream, stream_count, .. }) = self else { return None };
        let name = match stream_count {
            0 | 1 => stream.clone(),
            count => {
                let hash = namespace
                    .encode_utf16()
                    .fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(unit.into()));
                format!("{stream}-{}", hash.unsigned_abs() % count).into()
            }
        };
        Some(Channel { kind: ChannelKind::Stream, name })
    }
}

/// Escapes what has a meaning in a pattern of Redis.
fn escape(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for char in name.chars() {
        if matches!(char, '*' | '?' | '[' | ']' | '\\' | '^') {
            out.push('\\');
        }
        out.push(char);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn a_namespace_is_in_the_stream_that_node_writes_to() {
        let dialect = Dialect::Streams(Streams { stream_count: 4, ..Streams::default() });
        // The hashes of the reference are 47, 46_457_863 and -1_014_064_871, whose remainder is -3.
        for (namespace, stream) in
            [("/", "socket.io-3"), ("/chat", "socket.io-3"), ("/notifications", "socket.io-3")]
        {
            assert_eq!(dialect.stream(namespace).unwrap().name, stream, "{namespace}");
        }
    }

    #[test]
    fn characters_with_a_meaning_in_patterns_are_escaped() {
        let dialect = Dialect::Classic(Classic::default());
        let names: Vec<_> = dialect.watched("/a*[b]", "uid").map(|channel| channel.name).collect();
        assert_eq!(names.first().map(SmolStr::as_str), Some(r"socket.io#/a\*\[b\]#*"));
        let pattern = dialect.watched("/a*[b]", "uid").next().unwrap();
        assert!(pattern.includes("socket.io#/a*[b]#room#") && pattern.includes("socket.io#/a*[b]#"));
        assert!(!pattern.includes("socket.io#/aa[b]#room#") && !pattern.includes("socket.io#/a*"));
    }

    #[test]
    fn the_length_of_its_name_decides_whether_a_room_is_private() {
        let mode = |subscription_mode| Dialect::Sharded(Sharded { subscription_mode, ..Sharded::default() });
        let emoji = "\u{1f600}".repeat(10);
        for (room, dynamic) in [("room", true), ("AAAAAAAAAAAAAAAAAAAB", false), (emoji.as_str(), false)] {
            assert_eq!(mode(SubscriptionMode::Dynamic).has_channel(room), dynamic);
            assert!(mode(SubscriptionMode::DynamicPrivate).has_channel(room));
            assert!(!mode(SubscriptionMode::Static).has_channel(room));
        }
    }
}
