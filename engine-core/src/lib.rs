//! The protocols of Socket.IO as pure state machines.
//!
//! This crate implements Engine.IO, Socket.IO, WebSocket and the part of HTTP/1.1 that they need, without I/O, clock,
//! locks or threads: time and randomness are arguments, bytes go in and come out. Without the `std` feature it is
//! `no_std`, so the compiler checks this.
//!
//! - [`engineio`]: packets, payloads, and sessions that outlive their transports;
//! - [`socketio`]: packets with attachments, and arguments of any type;
//! - [`websocket`]: frames for both roles; with the feature `deflate`, compression of messages;
//! - [`http`]: requests, bodies, responses, CORS, cookies, tunnels through a proxy;
//! - [`connection`]: one byte stream, which carries HTTP, then polling or WebSocket;
//! - [`proxy_protocol`]: the header by which a proxy tells the client's address;
//! - `cluster` (with the feature `cluster`): the messages and requests between the servers of a cluster;
//! - `drive` and `host` (with `std`): the loop that moves bytes, and its interfaces to a server and a runtime;
//! - `tls` (with the feature `tls`): the TLS settings of servers and clients.
//!
//! Use this crate to write a runtime, a proxy or a tool. To write a server or a client, use the crate `sockeye`.
//!
//! ```
//! use sockeye_core::{engineio, socketio};
//!
//! // A client sends this for `socket.emit("add", 2, 3, callback)`: `4` is a message, `2` an event, `0` its id.
//! let engineio::Packet::Message(engineio::Message::Text(text)) = engineio::Packet::decode(r#"420["add",2,3]"#)? else {
//!     panic!("not a text message");
//! };
//! let packet = socketio::Packet::decode(text, &socketio::Limits::default())?;
//! assert_eq!((packet.event().as_deref(), packet.id), (Some("add"), Some(0)));
//! let (a, b): (i64, i64) = packet.args(&[]).expect("an event has arguments").deserialize()?;
//! assert_eq!(a + b, 5);
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(feature = "std")]
#[macro_use]
extern crate std;

/// Implements `Debug` for errors by their text, because that is what a program prints if its `main` returns the error.
#[doc(hidden)]
#[macro_export]
macro_rules! debug_as_text {
    ($($error:ty),+) => {$(
        impl ::core::fmt::Debug for $error {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                ::core::fmt::Display::fmt(self, f)
            }
        }
    )+};
}

#[cfg(feature = "cluster")]
pub mod cluster;
pub mod connection;
mod copy;
#[cfg(feature = "std")]
pub mod drive;
pub mod engineio;
#[doc(hidden)]
pub mod hint;
#[cfg(feature = "std")]
pub mod host;
pub mod http;
pub mod outbound;
pub mod protocol;
pub mod proxy_protocol;
mod random;
pub mod reuse;
pub mod socketio;
mod time;
#[cfg(feature = "tls")]
pub mod tls;
mod utf8;
pub mod websocket;

pub use outbound::Outbound;
pub use random::Random;
pub use time::Time;
