//! Stateful reconnect: what both sides of a session know about its messages, so that it can outlive its connections.
//!
//! Each side numbers the messages that it sends, and says from time to time how many it has handled, by a noop packet with
//! data: `6<count>`. The sender keeps the others.

use alloc::collections::VecDeque;
use alloc::string::String;
use bytes::Bytes;

/// The messages that were sent and that the peer has not acknowledged, as packets of a payload, within a limit of bytes.
///
/// Messages are numbered from 1. A count of `n` messages means the first `n` ones.
#[derive(Debug)]
pub(super) struct Unacknowledged {
    packets: VecDeque<Bytes>,
    /// The number of messages before the first of `packets`.
    before: u64,
    /// The number of messages that the peer has acknowledged, at most `before`.
    acknowledged: u64,
    /// The size of `packets`.
    size: usize,
    limit: usize,
}

/// Number of bytes that a message takes besides its packet.
const OVERHEAD: usize = 64;

/// The error of a count of messages that cannot be right: the peer broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Impossible;

impl Unacknowledged {
    /// Creates the list of a new session. `limit` is that of [`size`](Unacknowledged::size).
    pub(super) fn new(limit: usize) -> Unacknowledged {
        Unacknowledged { packets: VecDeque::new(), before: 0, acknowledged: 0, size: 0, limit }
    }

    /// Returns the number of messages that were sent.
    pub(super) fn sent(&self) -> u64 {
        self.before + self.packets.len() as u64
    }

    /// Returns the number of messages that the peer has acknowledged.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Returns the number of messages that the peer has not acknowledged, those that are no longer kept included.
    pub(super) fn len(&self) -> u64 {
        self.sent() - self.acknowledged
    }

    /// Returns the number of bytes that the kept messages take.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Returns the number of bytes that a message takes whose packet has `len` bytes.
    pub(super) fn size_of(len: usize) -> usize {
        len + OVERHEAD
    }

    /// Returns whether packets of `len` bytes can be kept, if others make way.
    pub(super) fn has_room_for(&self, len: usize) -> bool {
        Unacknowledged::size_of(len) <= self.limit
    }

    /// Adds the next message that is sent, as the packet of a payload. The oldest ones are dropped for it if the limit would
    /// be exceeded: then the session can only be resumed by a peer that has handled them.
    pub(super) fn push(&mut self, packet: Bytes) {
        self.size += Unacknowledged::size_of(packet.len());
        self.packets.push_back(packet);
        while self.size > self.limit && self.pop() {}
    }

    fn pop(&mut self) -> bool {
        let Some(packet) = self.packets.pop_front() else { return false };
        self.size -= Unacknowledged::size_of(packet.len());
        self.before += 1;
        true
    }

    /// Forgets the first `count` messages, which the peer has handled.
    ///
    /// # Errors
    /// If fewer were sent, or more were acknowledged before.
    pub(super) fn acknowledge(&mut self, count: u64) -> Result<(), Impossible> {
        if count < self.acknowledged || count > self.sent() {
            return Err(Impossible);
        }
        self.acknowledged = count;
        while self.before < count && self.pop() {}
        if self.packets.is_empty() {
            // Most sessions are silent for most of their time.
            self.packets = VecDeque::new();
        }
        Ok(())
    }

    /// Returns whether a peer that has handled `count` messages can be sent all others.
    pub(super) fn can_resume(&self, count: u64) -> bool {
        (self.acknowledged..=self.sent()).contains(&count) && count >= self.before
    }

    /// Returns the kept messages after the first `count` ones.
    pub(super) fn after(&self, count: u64) -> impl Iterator<Item = &Bytes> {
        let skipped = usize::try_from(count.saturating_sub(self.before)).unwrap_or(usize::MAX);
        self.packets.iter().skip(skipped)
    }

    /// Forgets all messages, which nobody will ask for any more.
    pub(super) fn clear(&mut self) {
        self.before = self.sent();
        (self.packets, self.size) = (VecDeque::new(), 0);
    }
}

/// The number of messages of the peer that were handled, and what the peer knows of it.
#[derive(Debug)]
pub(super) struct Handled {
    count: u64,
    /// The count that the peer was sent last.
    told: u64,
    /// The size of the messages since then, as [`Unacknowledged::size`] counts.
    bytes: usize,
    /// The size after which the peer is told.
    most: usize,
    due: bool,
}

/// Number of messages after which the peer is told.
const EVERY: u64 = 32;

impl Handled {
    /// Creates the count of a new session, whose peer keeps at most `limit` bytes of messages, or less.
    pub(super) fn new(limit: usize) -> Handled {
        Handled { count: 0, told: 0, bytes: 0, most: limit.min(1 << 20) / 8, due: false }
    }

    /// Returns the number of messages that were handled.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Counts a message of `len` bytes. Returns whether the peer is to be told.
    pub(super) fn add(&mut self, len: usize) -> bool {
        self.count += 1;
        // As the sender counts them, so that a small limit is not reached long before.
        self.bytes = self.bytes.saturating_add(Unacknowledged::size_of(len));
        self.due |= self.count - self.told >= EVERY || self.bytes >= self.most;
        self.due
    }

    /// Lets the peer be told if there is something new, because a heartbeat goes out anyway.
    pub(super) fn beat(&mut self) {
        self.due |= self.count > self.told;
    }

    /// Returns whether the peer is to be told.
    pub(super) fn is_due(&self) -> bool {
        self.due
    }

    /// Returns the packet that tells the peer, if it is due.
    pub(super) fn take_due(&mut self) -> Option<String> {
        core::mem::take(&mut self.due).then(|| {
            self.note_told();
            let mut count = itoa::Buffer::new();
            ["6", count.format(self.count)].concat()
        })
    }

    /// Notes that the peer is told otherwise, by the handshake of a new connection.
    pub(super) fn note_told(&mut self) {
        (self.told, self.bytes, self.due) = (self.count, 0, false);
    }
}

/// Parses a count of messages: decimal digits and nothing else.
pub(super) fn parse_count(text: &str) -> Option<u64> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn sent(limit: usize, packets: &[&'static str]) -> Unacknowledged {
        let mut log = Unacknowledged::new(limit);
        packets.iter().for_each(|packet| log.push(Bytes::from_static(packet.as_bytes())));
        log
    }

    fn after(log: &Unacknowledged, count: u64) -> Vec<&[u8]> {
        log.after(count).map(|packet| &packet[..]).collect()
    }

    #[test]
    fn messages_are_kept_until_they_are_acknowledged() {
        let mut log = sent(1000, &["4a", "4b", "4c"]);
        assert_eq!((log.sent(), log.acknowledged, log.len()), (3, 0, 3));
        assert_eq!(after(&log, 1), [b"4b", b"4c"]);
        assert_eq!(log.acknowledge(2), Ok(()));
        assert_eq!((log.len(), log.size()), (1, 66));
        assert!(!log.can_resume(1) && log.can_resume(2) && log.can_resume(3) && !log.can_resume(4));
        assert_eq!(after(&log, 2), [b"4c"]);
        assert_eq!(after(&log, 3), [b""; 0]);
        assert_eq!(log.acknowledge(3), Ok(()));
        assert_eq!((log.len(), log.size(), log.packets.capacity()), (0, 0, 0));
    }

    #[test]
    fn counts_that_cannot_be_right_are_errors() {
        let mut log = sent(1000, &["4a", "4b"]);
        assert_eq!(log.acknowledge(3), Err(Impossible));
        assert_eq!(log.acknowledge(2), Ok(()));
        assert_eq!(log.acknowledge(2), Ok(()), "nothing new");
        assert_eq!(log.acknowledge(1), Err(Impossible));
        assert_eq!(log.acknowledge(u64::MAX), Err(Impossible));
    }

    #[test]
    fn beyond_the_limit_only_a_peer_that_has_the_oldest_can_resume() {
        let mut log = sent(140, &["4a", "4b", "4c"]);
        assert_eq!((log.sent(), log.len(), log.size()), (3, 3, 132));
        assert!(!log.can_resume(0) && log.can_resume(1));
        assert_eq!(after(&log, 1), [b"4b", b"4c"]);
        // The peer may still acknowledge what is no longer kept.
        assert_eq!(log.acknowledge(1), Ok(()));
        log.push(Bytes::from(alloc::vec![b'4'; 141]));
        assert_eq!((log.sent(), log.size()), (4, 0));
        assert!(!log.can_resume(3) && log.can_resume(4));
    }

    #[test]
    fn the_peer_is_told_after_32_messages_an_eighth_of_the_limit_and_with_a_heartbeat() {
        let mut handled = Handled::new(32 << 10);
        assert!((0..31).all(|_| !handled.add(1)));
        assert_eq!(handled.take_due(), None);
        assert!(handled.add(1));
        assert_eq!(handled.take_due().as_deref(), Some("632"));
        assert!(!handled.add(4096 - 64 - 65) && handled.add(1));
        assert_eq!(handled.take_due().as_deref(), Some("634"));
        handled.beat();
        assert_eq!(handled.take_due(), None, "nothing is new");
        handled.add(1);
        handled.beat();
        assert_eq!(handled.take_due().as_deref(), Some("635"));
        handled.add(1);
        handled.note_told();
        handled.beat();
        assert!(!handled.is_due());
    }

    #[test]
    fn a_count_is_decimal_digits() {
        assert_eq!(parse_count("0"), Some(0));
        assert_eq!(parse_count("18446744073709551615"), Some(u64::MAX));
        for bad in ["", "+1", "-1", " 1", "1 ", "1.0", "0x1", "18446744073709551616", "१"] {
            assert_eq!(parse_count(bad), None, "{bad:?}");
        }
    }

    proptest! {
        /// Compares with a list of all messages.
        #[test]
        fn what_is_kept_is_the_end_of_what_was_sent(
            ops in proptest::collection::vec(prop_oneof![
                (1usize..60).prop_map(Ok),
                any::<u8>().prop_map(Err),
            ], 0..60)
        ) {
            let mut log = Unacknowledged::new(600);
            let mut all: Vec<Bytes> = Vec::new();
            for op in ops {
                match op {
                    Ok(len) => {
                        let packet = Bytes::from(format!("{:0len$}", all.len()));
                        all.push(packet.clone());
                        log.push(packet);
                    }
                    Err(count) => {
                        let count = u64::from(count) % 70;
                        let is_possible = (log.acknowledged..=all.len() as u64).contains(&count);
                        prop_assert_eq!(log.acknowledge(count).is_ok(), is_possible);
                    }
                }
                prop_assert!(log.size() <= 600);
                prop_assert_eq!(log.sent(), all.len() as u64);
                for count in (0..=log.sent()).filter(|count| log.can_resume(*count)) {
                    let kept: Vec<_> = log.after(count).cloned().collect();
                    prop_assert_eq!(&kept[..], &all[count as usize..]);
                }
                prop_assert!(log.can_resume(log.sent()));
            }
        }
    }
}
