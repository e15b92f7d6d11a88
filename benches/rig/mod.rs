//! What the benches share: a real server, and clients in memory instead of sockets.
//!
//! A [`World`] drives the server as an event loop does ([`pump`](sockeye::drive::pump) on a stream, wakers of a
//! [`ReadyList`](sockeye::ReadyList)), so that what is measured is what a program pays between its system calls. The
//! clock is a number: reading a real one is the runtime's.
#![allow(clippy::expect_used, missing_debug_implementations)]

mod client;
mod server;
mod world;

pub use client::{binary_event, connect_packet, frame, get, poll_head, post, text};
pub use server::server;
pub use world::{Token, World};
