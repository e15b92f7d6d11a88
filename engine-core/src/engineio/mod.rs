//! Engine.IO, version 4: packets, payloads, and the server's sessions over polling and WebSocket. [`client`] has the
//! client's half.

pub mod client;
mod config;
mod frames;
mod id;
mod packet;
mod reason;
mod request;
mod session;

pub use config::{Config, Transport};
pub use frames::{Frames, Part};
pub use id::Id;
pub use packet::{Message, Packet, PacketError, SEPARATOR, split_payload};
pub use reason::{CloseReason, TransportError};
pub use request::{Query, RequestError, Route};
pub use session::{Probing, Refused, SendError, Session, Ticket};
