//! Several servers as one, over a bus in memory.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "cluster/support.rs"]
mod support;

#[path = "cluster/broadcasts.rs"]
mod broadcasts;
#[path = "cluster/requests.rs"]
mod requests;
#[path = "cluster/servers.rs"]
mod servers;
