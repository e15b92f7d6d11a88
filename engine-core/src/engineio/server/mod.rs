//! The server's side of Engine.IO.

mod config;
pub mod exchange;
mod session;

pub use config::Config;
pub use exchange::{Exchange, Site};
pub(in crate::engineio) use session::take_packets;
pub use session::{Controls, Probing, Refused, SendError, Session, Ticket};
