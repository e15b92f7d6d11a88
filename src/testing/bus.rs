//! The checks that any [`Bus`] has to pass.
//!
//! ```
//! use sockeye::cluster::MemoryBus;
//! use sockeye::testing::bus::BusCheck;
//! use std::sync::Arc;
//!
//! # #[cfg(feature = "tokio")]
//! # {
//! # /*
//! #[tokio::test]
//! # */
//! async fn the_bus_keeps_its_guarantees() {
//!     let bus = MemoryBus::new();
//!     let runtime = Arc::new(sockeye::runtime::tokio::Tokio::new());
//!     BusCheck::new(runtime, move || bus.clone()).run().await;
//! }
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
//! # runtime.block_on(the_bus_keeps_its_guarantees());
//! # }
//! ```

mod checks;
mod probe;

use crate::cluster::{Bus, Channel, ChannelKind};
use probe::Probe;
use sockeye_core::Random;
use sockeye_core::host::Connector;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Checks that a [`Bus`] keeps what it has to guarantee: messages arrive once and in order, patterns, streams and counts
/// work, sessions are found if the bus stores them, calls never wait or call the node in place, and nothing is left when the
/// bus is dropped.
///
/// The checks use several buses of one broker, and channels whose names no one else uses. What happens when the broker is
/// away is not checked, because only you can stop it.
pub struct BusCheck {
    runtime: Arc<dyn Connector>,
    make: Box<dyn Fn() -> Box<dyn Bus> + Send + Sync>,
    timeout: Duration,
    without: Vec<ChannelKind>,
    /// The beginning of the names of channels.
    prefix: String,
    channels: AtomicUsize,
}

impl BusCheck {
    /// Creates the checks of a bus. `make` returns a further bus of the same broker, which is not attached yet. They are
    /// attached to nodes on `runtime`, for example `Arc::new(sockeye::runtime::tokio::Tokio::new())`.
    pub fn new<B: Bus>(
        runtime: Arc<dyn Connector>,
        make: impl Fn() -> B + Send + Sync + 'static,
    ) -> BusCheck {
        let mut seed = [0; 20];
        // Without randomness, the checks still work with a broker of their own.
        let _ = getrandom::fill(&mut seed);
        let random = Random::from_seed(seed).bytes::<8>();
        BusCheck {
            runtime,
            make: Box::new(move || Box::new(make())),
            timeout: Duration::from_secs(10),
            without: Vec::new(),
            prefix: random.iter().map(|byte| format!("{byte:02x}")).collect(),
            channels: AtomicUsize::new(0),
        }
    }

    /// Sets the time within which something has to arrive. Default: 10 s.
    pub fn timeout(mut self, timeout: Duration) -> BusCheck {
        self.timeout = timeout;
        self
    }

    /// Leaves out the checks of channels that are subscribed to in this way, if no dialect that the bus is for uses them.
    pub fn without(mut self, kind: ChannelKind) -> BusCheck {
        self.without.push(kind);
        self
    }

    /// Runs all checks.
    ///
    /// # Panics
    /// If the bus does not keep one of its guarantees, which the message names.
    pub async fn run(&self) {
        for kind in [ChannelKind::Plain, ChannelKind::Sharded] {
            if self.has(kind) {
                self.check_order(kind).await;
                self.check_watching(kind).await;
                self.check_count(kind).await;
                self.check_many_channels(kind).await;
            }
        }
        if self.has(ChannelKind::Pattern) {
            self.check_patterns().await;
        }
        if self.has(ChannelKind::Stream) {
            self.check_streams().await;
            if (self.make)().stores_sessions() {
                self.check_values().await;
                self.check_reading().await;
            }
        }
        self.check_queue().await;
        self.check_end().await;
    }

    fn has(&self, kind: ChannelKind) -> bool {
        !self.without.contains(&kind)
    }

    /// Returns a channel that no other check uses.
    fn channel(&self, kind: ChannelKind) -> Channel {
        let number = self.channels.fetch_add(1, Ordering::Relaxed);
        Channel { kind, name: format!("sockeye-check#{}#{number}#", self.prefix).into() }
    }

    /// Creates a bus with a node.
    fn probe(&self) -> Probe {
        let probe = Probe::new(self.runtime.clone(), (self.make)(), self.timeout);
        probe.attach();
        probe
    }
}

impl fmt::Debug for BusCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BusCheck").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}
