//! The protocols of Socket.IO as pure state machines.
//!
//! Engine.IO, Socket.IO, WebSocket and the part of HTTP/1.1 that they need, with no I/O, no clock, no locks and no
//! threads: time and randomness are arguments, bytes go in and come out. Without the `std` feature the crate is
//! `no_std`, which is the proof.
//!
//! - [`engineio`]: packets, payloads, and sessions that outlive their transports;
//! - [`socketio`]: packets with attachments, and arguments of any type;
//! - [`websocket`]: frames for both roles;
//! - [`http`]: requests, bodies, responses, CORS, cookies;
//! - [`connection`]: one byte stream: HTTP, then polling or WebSocket;
//! - `drive` and `host` (with `std`): the loop that moves bytes, and what it needs of a server and of a runtime;
//! - `tls` (with the feature of that name): what a server shows to those who connect by `https` and `wss`.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(feature = "std")]
#[macro_use]
extern crate std;

pub mod connection;
#[cfg(feature = "std")]
pub mod drive;
pub mod engineio;
#[cfg(feature = "std")]
pub mod host;
pub mod http;
mod outbound;
pub mod socketio;
mod time;
#[cfg(feature = "tls")]
pub mod tls;
pub mod websocket;

pub use outbound::Outbound;
pub use time::Time;
