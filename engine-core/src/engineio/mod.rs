//! Engine.IO: packets, payloads, and the server's sessions over polling and WebSocket, of version 4 and, if that is
//! allowed, of version 3. [`client`] has the client's half, which speaks version 4.

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
mod unacknowledged;
pub mod v3;
mod version;

pub use conn::Conn;
pub use frames::{Draft, Frames, Part};
pub use id::Id;
pub use packet::{Message, Packet, PacketError, SEPARATOR, split_first, split_payload};
pub use reason::{CloseReason, TransportError};
pub use transport::Transport;
pub use version::{Opening, Version};
