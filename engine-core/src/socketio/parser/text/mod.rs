//! The reference's default parser: JSON in a text message, with attachments in binary messages behind it.

mod args;
mod encode;
mod json;
mod packet;
mod placeholder;
mod reassembly;
mod serialize;
#[cfg(test)]
mod tests;

pub use args::{Args, ArgsError, OwnedArgs, RawArgs};
pub(crate) use encode::is_legal_namespace;
pub use encode::{Attachments, Encoded, Encoder};
pub use json::from_json;
pub use packet::Packet;
pub(crate) use packet::{event_name, first_of};
pub use reassembly::{Complete, Reassembly};
