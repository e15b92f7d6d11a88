//! The Socket.IO protocol, version 5: packets, their arguments and attachments, and the namespaces of both sides.
//!
//! A [`Parser`] reads each message, and the [`server`]'s or the [`client`]'s machine decides what it means. A received
//! packet is a [`Packet`]: a view into its text, which is validated completely. Its arguments stay JSON until a handler
//! asks for a type with [`Args::deserialize`]. If it announces attachments, a [`Reassembly`] keeps it until they have
//! arrived. An [`Encoder`] writes the packets to send.

mod acks;
mod args;
mod attached;
pub mod client;
mod error;
mod failure;
mod kind;
mod limits;
mod namespace_name;
mod packet;
mod parser;
mod pid;
pub mod recovery;
pub mod server;
mod target;

pub use acks::{Acks, AcksFull, MAX_ACK_ID};
pub use args::{Arg, ArgIter, Args, ArgsError, OwnedArgs, RawArgs, read_auth};
pub use attached::Attached;
pub use error::{DecodeError, EncodeError};
pub use failure::serialize_failure;
pub use kind::{Kind, MAX_ID, is_reserved};
pub use limits::Limits;
pub use namespace_name::{NamespaceError, check_namespace, is_sendable_namespace, with_slash};
pub use packet::Packet;
pub use parser::text::Reassembly;
pub use parser::{Attachments, Complete, Decoded, Encoded, Encoder, Parser, error_of};
#[cfg(feature = "cluster")]
pub(crate) use parser::{msgpack, text};
pub use server::{Joining, ProtocolError, Received};
pub use target::{Flags, RoomInserter, Rooms, Target};
