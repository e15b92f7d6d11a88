//! The part of a request that it shares with no other: its time, its peer, and bytes.

use smallvec::SmallVec;
use sockeye_core::host::Peer;
use std::net::{SocketAddr, SocketAddrV6};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time of a request, its peer as [`begin`] writes it, and the lines behind that.
///
/// Every session keeps one. The time takes the place beside the tag that the alignment of the box leaves.
#[derive(Clone)]
pub(super) enum Own {
    /// The address alone, if it is one of IPv4, needs no memory besides this.
    Inline {
        time: Micros,
        len: u8,
        bytes: [u8; INLINE],
    },
    Boxed {
        time: Micros,
        bytes: Box<[u8]>,
    },
}

const INLINE: usize = 15;

/// The bytes of a request that is being put together. Most requests need no memory besides the stack for that.
pub(super) type Scratch = SmallVec<[u8; 2048]>;

/// The last microsecond since the Unix epoch that seven bytes can hold, in the year 4253.
pub(super) const MAX_MICROS: u64 = u64::MAX >> 8;

/// The low seven bytes of the microseconds since the Unix epoch.
#[derive(Clone, Copy)]
pub(super) struct Micros([u8; 7]);

impl Micros {
    fn new(time: SystemTime) -> Micros {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let micros = since.as_secs().saturating_mul(1_000_000).saturating_add(since.subsec_micros().into());
        let [low @ .., _] = micros.min(MAX_MICROS).to_le_bytes();
        Micros(low)
    }

    fn time(self) -> SystemTime {
        let Micros([a, b, c, d, e, f, g]) = self;
        UNIX_EPOCH + Duration::from_micros(u64::from_le_bytes([a, b, c, d, e, f, g, 0]))
    }
}

impl Own {
    /// Creates it from what [`begin`] began.
    pub(super) fn new(time: SystemTime, bytes: &[u8]) -> Own {
        let time = Micros::new(time);
        let mut inline = [0; INLINE];
        match inline.get_mut(..bytes.len()) {
            Some(to) => {
                to.copy_from_slice(bytes);
                Own::Inline { time, len: bytes.len() as u8, bytes: inline }
            }
            None => Own::Boxed { time, bytes: bytes.into() },
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Own::Inline { len, bytes, .. } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Own::Boxed { bytes, .. } => bytes,
        }
    }

    pub(super) fn time(&self) -> SystemTime {
        let (Own::Inline { time, .. } | Own::Boxed { time, .. }) = self;
        time.time()
    }

    pub(super) fn peer_and_lines(&self) -> (&[u8], &[u8]) {
        let bytes = self.bytes();
        let len = bytes.first().map_or(0, |first| usize::from(first & PEER_LEN));
        bytes.split_at_checked(len).unwrap_or_default()
    }

    pub(super) fn peer(&self) -> Peer {
        read_peer(self.peer_and_lines().0)
    }

    #[cfg(test)]
    pub(super) fn is_inline(&self) -> bool {
        matches!(self, Own::Inline { .. })
    }
}

/// Begins the bytes of a request with its peer.
pub(super) fn begin(peer: Peer) -> Scratch {
    let mut bytes = Scratch::new();
    write_peer(&mut bytes, peer);
    bytes
}

/// The bits of the first byte of a written [`Peer`] that are its length, and the one that says whether it is secure.
const PEER_LEN: u8 = 0x7f;
const PEER_SECURE: u8 = 0x80;

/// Writes a peer: 1, 7 or 27 bytes instead of 36 in every session.
fn write_peer(out: &mut Scratch, peer: Peer) {
    let start = out.len();
    out.push(0);
    match peer.address {
        None => {}
        Some(SocketAddr::V4(v4)) => {
            out.extend_from_slice(&v4.ip().octets());
            out.extend_from_slice(&v4.port().to_be_bytes());
        }
        Some(SocketAddr::V6(v6)) => {
            out.extend_from_slice(&v6.ip().octets());
            out.extend_from_slice(&v6.port().to_be_bytes());
            out.extend_from_slice(&v6.flowinfo().to_be_bytes());
            out.extend_from_slice(&v6.scope_id().to_be_bytes());
        }
    }
    let len = out.len() - start;
    if let Some(first) = out.get_mut(start) {
        *first = len as u8 | if peer.secure { PEER_SECURE } else { 0 };
    }
}

/// Reads what [`write_peer`] wrote.
fn read_peer(bytes: &[u8]) -> Peer {
    let secure = bytes.first().is_some_and(|first| first & PEER_SECURE != 0);
    let bytes = bytes.get(1..).unwrap_or_default();
    let v4 = || {
        let (ip, rest) = bytes.split_first_chunk::<4>()?;
        Some(SocketAddr::from((*ip, u16::from_be_bytes(rest.try_into().ok()?))))
    };
    let v6 = || {
        let (ip, rest) = bytes.split_first_chunk::<16>()?;
        let (port, rest) = rest.split_first_chunk()?;
        let (flow, scope) = rest.split_first_chunk()?;
        let scope = u32::from_be_bytes(scope.try_into().ok()?);
        let (port, flow) = (u16::from_be_bytes(*port), u32::from_be_bytes(*flow));
        Some(SocketAddrV6::new((*ip).into(), port, flow, scope).into())
    };
    Peer { address: v4().or_else(v6), secure }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_rounded_down_to_the_microsecond_and_to_those_that_it_can_hold() {
        let at = |nanos| UNIX_EPOCH + Duration::from_nanos(nanos);
        let last = UNIX_EPOCH + Duration::from_micros(MAX_MICROS);
        let year = Duration::from_secs(366 * 86_400);
        for (time, expected) in [
            (UNIX_EPOCH, UNIX_EPOCH),
            (UNIX_EPOCH - Duration::from_nanos(1), UNIX_EPOCH),
            (UNIX_EPOCH - year, UNIX_EPOCH),
            (at(1_750_000_000_123_456_789), at(1_750_000_000_123_456_000)),
            (last, last),
            (last + Duration::from_micros(1), last),
            (last + 1000 * year, last),
        ] {
            for bytes in [&b""[..], &[0; 100]] {
                let own = Own::new(time, bytes);
                assert_eq!((own.time(), own.bytes()), (expected, bytes));
            }
        }
    }

    #[test]
    fn up_to_fifteen_bytes_need_no_memory_of_their_own() {
        for (len, is_inline) in [(0, true), (INLINE, true), (INLINE + 1, false), (5000, false)] {
            let bytes = vec![b'x'; len];
            let own = Own::new(UNIX_EPOCH, &bytes);
            assert_eq!((own.is_inline(), own.bytes()), (is_inline, &bytes[..]));
        }
    }
}
