//! Several servers as one, over a bus in memory.
#![cfg(feature = "testing")]
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "cluster/support.rs"]
mod support;

#[path = "cluster/net.rs"]
mod net;

#[path = "cluster/broadcasts.rs"]
mod broadcasts;
#[cfg(feature = "tokio")]
#[path = "cluster/contract.rs"]
mod contract;
#[cfg(feature = "tokio")]
#[path = "cluster/emitter.rs"]
mod emitter;
#[path = "cluster/recovery.rs"]
mod recovery;
#[path = "cluster/requests.rs"]
mod requests;
#[path = "cluster/servers.rs"]
mod servers;
#[path = "cluster/simulation.rs"]
mod simulation;
