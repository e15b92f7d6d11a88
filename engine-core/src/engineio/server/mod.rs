//! The server's side of Engine.IO.

mod config;
mod session;

pub use config::Config;
pub(in crate::engineio) use session::take_packets;
pub use session::{Probing, Refused, SendError, Session, Ticket};
