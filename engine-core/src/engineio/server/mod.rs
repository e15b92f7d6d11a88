//! The server's side of Engine.IO.

mod config;
mod controls;
pub mod exchange;
pub mod jsonp;
mod packets;
mod rate;
mod rejection;
mod request;
mod session;

pub use config::{Config, StatefulReconnect, WhenFull};
pub use controls::Controls;
pub use exchange::{Exchange, Site};
pub use packets::{Packets, Unhandled};
pub use rate::RateLimit;
pub use rejection::{Rejection, ResponseHeaders};
pub use request::{Purpose, Query, RequestError, Route};
pub use session::{Attempt, PollNumber, Probing, Refused, SendError, SendFlags, Session, Ticket};
