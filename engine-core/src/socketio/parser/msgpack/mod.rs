//! MessagePack: packets as one binary message each, and the form of messages between servers.

mod date;
mod token;
mod write;

#[cfg(feature = "cluster")]
pub(crate) use date::{date, is_timestamp};
#[cfg(feature = "cluster")]
pub(crate) use token::{NOTEPACK, Token, split_value, token};
#[cfg(feature = "cluster")]
pub(crate) use write::{to_msgpack, write_str};
