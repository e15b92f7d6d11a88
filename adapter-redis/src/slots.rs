//! The servers of a Redis Cluster by the slots of channels.

use crate::state::{FIRST, LinkId};
use sockeye_core::cluster::Channel;

/// The number of slots of a Redis Cluster.
pub(crate) const SLOTS: u16 = 16384;

/// The link of each slot. Without any, everything belongs to the first link.
#[derive(Debug, Default)]
pub(crate) struct Slots(Vec<LinkId>);

impl Slots {
    /// Returns the link that a channel belongs to. Channels that are not sharded could be at any server, but have to be at
    /// the same one always, so that messages keep their order.
    pub(crate) fn link(&self, channel: &Channel) -> LinkId {
        if self.0.is_empty() {
            return FIRST;
        }
        self.0.get(usize::from(slot(channel.name.as_bytes()))).copied().unwrap_or(FIRST)
    }

    /// Returns whether a link has slots.
    pub(crate) fn uses(&self, id: LinkId) -> bool {
        if self.0.is_empty() { id == FIRST } else { self.0.contains(&id) }
    }
}

/// Returns the slot of a key: of what is in its first braces, if there is something.
fn slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|&byte| byte == b'{').and_then(|open| {
        let rest = key.get(open + 1..)?;
        let close = rest.iter().position(|&byte| byte == b'}')?;
        rest.get(..close).filter(|tag| !tag.is_empty())
    });
    crc16(tag.unwrap_or(key)) % SLOTS
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0_u16, |crc, &byte| {
        (0..8).fold(
            crc ^ u16::from(byte) << 8,
            |crc, _| {
                if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 }
            },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        // From the specification of Redis Cluster and from `CLUSTER KEYSLOT`.
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(slot(b"foo"), 12182);
        assert_eq!(slot(b"foo{bar}{zap}"), slot(b"bar"));
        assert_eq!(slot(b"foo{{bar}}zap"), slot(b"{bar"));
        assert_eq!(slot(b"foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS);
    }
}
