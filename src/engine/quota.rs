//! Limits of the number of sessions.

use parking_lot::Mutex;
use sockeye_core::engineio::server::RequestError;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The limits of a server, and what has been used of them.
#[derive(Debug, Default)]
pub(super) struct Quota {
    /// Maximum number of sessions that are not in use yet.
    pub(super) max_pending: Option<usize>,
    /// Maximum number of sessions of one address.
    pub(super) max_per_address: Option<usize>,
    pending: AtomicUsize,
    /// The number of sessions of each address that has any. Empty if there is no limit.
    addresses: Mutex<HashMap<IpAddr, usize>>,
}

impl Quota {
    /// Counts a session that is about to be opened.
    ///
    /// # Errors
    /// The limit that it would exceed. It is then not counted.
    pub(super) fn take(&self, peer: Option<SocketAddr>) -> Result<(), RequestError> {
        if let Some(max) = self.max_pending {
            let taken = self.pending.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |pending| {
                (pending < max).then_some(pending + 1)
            });
            taken.map_err(|_| RequestError::TooManyPending)?;
        }
        if let (Some(max), Some(peer)) = (self.max_per_address, peer) {
            let mut addresses = self.addresses.lock();
            let address = network(peer);
            let count = addresses.get(&address).copied().unwrap_or_default();
            if count >= max {
                drop(addresses);
                self.settle();
                return Err(RequestError::TooManySessions);
            }
            addresses.insert(address, count + 1);
        }
        Ok(())
    }

    /// Notes that a session is in use, or has ended before it was.
    pub(super) fn settle(&self) {
        if self.max_pending.is_some() {
            self.pending.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Notes that a session has ended.
    pub(super) fn release(&self, peer: Option<SocketAddr>) {
        let (Some(_), Some(peer)) = (self.max_per_address, peer) else { return };
        let mut addresses = self.addresses.lock();
        let address = network(peer);
        match addresses.get_mut(&address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => _ = addresses.remove(&address),
        }
    }
}

/// Returns the address that a client can be told by: of IPv6, the /64 network, because a client has as many addresses in it
/// as it likes.
fn network(peer: SocketAddr) -> IpAddr {
    match peer.ip().to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
}
