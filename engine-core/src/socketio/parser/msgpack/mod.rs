//! MessagePack: packets as one binary message each, as socket.io-msgpack-parser writes them, and the form of messages
//! between servers.

mod date;
mod encode;
mod json;
mod packet;
#[cfg(test)]
mod tests;
mod token;
mod write;

#[cfg(feature = "cluster")]
pub(crate) use date::{date, is_timestamp};
pub(crate) use encode::{Encoder, append_str};
pub(crate) use packet::{decode, decode_binary};
#[cfg(feature = "cluster")]
pub(crate) use token::{NOTEPACK, Token, split_value, token};
#[cfg(feature = "cluster")]
pub(crate) use write::{to_msgpack, write_str};
