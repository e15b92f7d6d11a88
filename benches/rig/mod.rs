//! What the benches share: a real server, and clients in memory instead of sockets.
//!
//! A [`World`] drives the server as an event loop does ([`pump`](sockeye::drive::pump) on a stream, wakers of a
//! [`ReadyList`](sockeye::ReadyList)), so that what is measured is what a program pays between its system calls. The
//! clock is a number: reading a real one is the runtime's.
// As a module of tests, which use a part of it.
#![allow(dead_code, unused_imports, unreachable_pub)]
#![allow(clippy::expect_used, missing_debug_implementations)]

mod client;
mod clients;
mod counting;
mod server;
mod world;

pub use client::{binary_event, frame, get, poll_head, post, text};
pub use clients::Clients;
pub use counting::{Counting, Usage, measure, trace};
pub use server::{handle, server};
pub use world::{Token, World};
