//! The loop that every runtime shares: moves bytes between a non-blocking stream and a [`Protocol`].
//!
//! - [`pump`] is one turn of it, for an event loop of your own;
//! - [`Drive`] is the same as a future, for any executor;
//! - [`serve`] runs a server: it accepts connections and reports when time has passed;
//! - [`race`] connects to the first address of a server that answers;
//! - [`open_tunnel`] prepares a client's stream if there is a proxy, [`read_proxy_header`] that of a server behind one that passes on bytes.

mod edge;
mod future;
mod proxied;
mod pump;
mod race;
mod serve;
mod stream;
mod tunnel;

pub use crate::protocol::{Protocol, StreamStatus};
pub use edge::Edge;
pub use future::{Drive, Unattended};
pub use proxied::read_proxy_header;
pub use pump::{Turn, pump};
pub use race::{Attempts, race};
pub use serve::{TimeGuard, keep_time, serve};
pub use stream::Stream;
pub use tunnel::open_tunnel;
