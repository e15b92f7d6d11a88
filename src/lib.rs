//! Socket.IO for Rust.
#![forbid(unsafe_code)]

mod ack;
mod broadcast;
pub mod engine;
mod error;
pub mod extract;
mod handler;
mod log;
mod namespace;
mod payload;
mod server;
mod socket;

pub use ack::{AckFuture, AcksFuture, Answer};
pub use broadcast::{Broadcast, Delivery};
pub use engine::{CloseReason, Handshake, Id, Transport};
pub use error::{AckError, ConnectError, DisconnectReason, EmitError, HandlerError};
pub use handler::{Handler, Middleware};
pub use namespace::Namespace;
pub use payload::{Args, Payload};
pub use server::{Builder, Server};
pub use socket::{Emitter, Socket};
pub use sockeye_core::http::{Cookie, Cors, SameSite};
pub use sockeye_core::socketio::Limits;
#[cfg(feature = "tokio")]
pub use sockeye_tokio as tokio;
