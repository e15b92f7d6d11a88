//! The server's side of Engine.IO.

mod config;
mod controls;
pub mod exchange;
mod session;

pub use config::Config;
pub use controls::Controls;
pub use exchange::{Exchange, Site};
pub(in crate::engineio) use session::take_packets;
pub use session::{Probing, Refused, SendError, Session, Ticket};
