//! The reference's default parser: JSON in a text message, with attachments in binary messages behind it.

mod deserialize;
mod encode;
mod json;
mod list;
mod packet;
mod placeholder;
mod reassembly;
mod serialize;
mod split;
mod string;
#[cfg(test)]
mod tests;
mod wrapped;

pub(crate) use deserialize::{deserialize, deserialize_one};
pub(crate) use encode::Encoder;
#[cfg(feature = "cluster")]
pub(crate) use json::{Container, Fault, Scanner};
pub(crate) use json::{Elements, from_json, unescape};
pub(crate) use list::{attachment_number, check_list, push, show};
pub(crate) use packet::{check_name, end_of_first, event_name};
pub use reassembly::Reassembly;
pub(crate) use reassembly::{decode, decode_text};
pub(crate) use serialize::error_of;
pub(crate) use split::split_value;
pub(crate) use string::skip_plain;
