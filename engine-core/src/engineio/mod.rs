//! Engine.IO, version 4: packets, payloads, and the server's sessions over polling and WebSocket. [`client`] has the
//! client's half.

pub mod client;
mod conn;
mod frames;
mod framing;
mod id;
mod packet;
mod payload;
mod reason;
pub mod server;
mod transport;
mod version;

pub use conn::Conn;
pub use frames::{Draft, Frames, Part};
pub use id::Id;
pub use packet::{Message, Packet, PacketError, SEPARATOR, split_first, split_payload};
pub use reason::{CloseReason, TransportError};
pub use transport::Transport;
pub use version::Version;
