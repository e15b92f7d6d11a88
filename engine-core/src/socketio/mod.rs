//! The Socket.IO protocol, version 5: its text packets, their arguments and attachments.
//!
//! A packet that came in is a [`Packet`]: a view into the text, checked to its last byte. Its
//! arguments stay JSON until a handler asks for a type with [`Args::deserialize`]. If it
//! announces attachments, a [`Reassembly`] keeps it until they are there. What goes out is
//! written by an [`Encoder`].

mod args;
mod attached;
pub mod client;
mod emit_error;
mod encode;
mod json;
mod packet;
mod placeholder;
mod reassembly;
mod serialize;
mod session;
#[cfg(test)]
mod tests;

pub use args::{Args, ArgsError, OwnedArgs, RawArgs};
pub use attached::Attached;
pub use emit_error::EmitError;
pub use encode::{Attachments, EncodeError, Encoded, Encoder};
pub use packet::{DecodeError, Kind, Limits, MAX_ID, Packet, is_reserved};
pub use reassembly::{Complete, Reassembly};
pub use session::{Joining, ProtocolError, Received, Session, Text};
