//! The server's side of Socket.IO: the namespaces of one client.

mod emit_error;
mod namespaces;
mod session;

pub use emit_error::EmitError;
pub use session::{Joining, ProtocolError, Received, Session};
