//! The attachments of one packet.

use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;

/// The attachments of a packet, by the numbers that placeholders use.
///
/// The last one may still be in the receive buffer, so that reading it at once needs no copy.
#[derive(Clone, Copy, Default)]
pub struct Attached<'a> {
    kept: &'a [Bytes],
    last: Option<&'a [u8]>,
}

impl<'a> Attached<'a> {
    pub(super) fn new(kept: &'a [Bytes], last: Option<&'a [u8]>) -> Attached<'a> {
        Attached { kept, last }
    }

    /// Returns the number of attachments.
    pub fn len(&self) -> usize {
        self.kept.len() + usize::from(self.last.is_some())
    }

    /// Returns whether there are no attachments.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the total size in bytes.
    pub fn bytes(&self) -> usize {
        self.iter().map(<[u8]>::len).sum()
    }

    /// Returns the attachment with this number.
    pub fn get(&self, number: usize) -> Option<&'a [u8]> {
        match self.kept.get(number) {
            Some(kept) => Some(kept),
            None => self.last.filter(|_| number == self.kept.len()),
        }
    }

    /// Returns the attachments in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.kept.iter().map(|kept| &**kept).chain(self.last)
    }

    /// Returns the attachments as owned values. Copies the last one if it is still in the receive buffer.
    pub fn to_vec(&self) -> Vec<Bytes> {
        // By far the most frequent: `benches/count client_ack`.
        if self.is_empty() {
            return Vec::new();
        }
        self.kept.iter().cloned().chain(self.last.map(Bytes::copy_from_slice)).collect()
    }
}

impl<'a> From<&'a [Bytes]> for Attached<'a> {
    fn from(kept: &'a [Bytes]) -> Self {
        Attached { kept, last: None }
    }
}

impl<'a, const N: usize> From<&'a [Bytes; N]> for Attached<'a> {
    fn from(kept: &'a [Bytes; N]) -> Self {
        Attached::from(&kept[..])
    }
}

impl<'a> From<&'a Vec<Bytes>> for Attached<'a> {
    fn from(kept: &'a Vec<Bytes>) -> Self {
        Attached::from(&kept[..])
    }
}

impl PartialEq for Attached<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Attached<'_> {}

impl fmt::Debug for Attached<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
