//! Shared by the benches: a real server, and clients in memory instead of on sockets.
//!
//! A [`World`] drives the server as an event loop does ([`pump`](sockeye::drive::pump) on a stream, wakers of a
//! [`ReadyList`](sockeye::ReadyList)), so that a bench measures what a program does between its system calls. The clock
//! is a number: reading a real clock is the runtime's work.
// Tests include this as a module and use only a part of it.
#![allow(dead_code, unused_imports, unreachable_pub)]
#![allow(clippy::expect_used, missing_debug_implementations)]

mod client;
mod clients;
mod counting;
mod server;
mod world;

pub use client::{
    binary_event, browser_headers, frame, get, packed, poll_head, post, session_of, text, upgrade,
};
pub use clients::Clients;
pub use counting::{Counting, Usage, measure, trace};
pub use server::{handle, json_server, msgpack_server, recovering_server, resuming_server, server};
pub use world::{Token, World};
