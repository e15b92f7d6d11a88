//! A server for Engine.IO, the layer below Socket.IO: sessions that send and receive text and bytes.
//!
//! [`Server`](crate::Server) stands on this. Use it directly for a protocol of your own that wants what Engine.IO
//! gives: long-polling where WebSocket does not work, upgrades that lose nothing, heartbeats.
//!
//! ```no_run
//! use sockeye::engine::{Handler, Message, Server, Session};
//!
//! struct Echo;
//!
//! impl Handler for Echo {
//!     type State = ();
//!
//!     fn on_message(&self, session: &Session<Self>, message: Message<'_>) {
//!         // A peer that reads too slowly is closed by the server's policy, not by this.
//!         let _ = session.send(message);
//!     }
//! }
//!
//! # #[cfg(feature = "tokio")]
//! # async fn serve() -> std::io::Result<()> {
//! sockeye::tokio::listen(Server::new(Echo), "127.0.0.1:3000").await
//! # }
//! ```

mod assets;
mod connection;
pub(crate) mod exchange;
mod handshake;
mod server;
mod session;
pub(crate) mod timers;

pub use connection::Connection;
pub use handshake::Handshake;
pub use server::{AllowRequest, Builder, Server};
pub(crate) use server::{ServerInner, random_id};
pub use session::Session;
pub use sockeye_core::engineio::{
    CloseReason, Config, Id, Message, PacketError, SendError, Transport, TransportError,
};

use sockeye_core::Time;

/// What an application does with the sessions of a [`Server`].
///
/// Messages of a session come one at a time, from the task that reads its connection; its end may come from any thread,
/// and while a message is being handled. Nothing is locked meanwhile. The methods must not block. A panic ends the call,
/// is logged, and has no other effect.
pub trait Handler: Send + Sync + Sized + 'static {
    /// What is kept for each session.
    type State: Default + Send + 'static;

    /// A session was opened.
    fn on_open(&self, session: &Session<Self>) {
        let _ = session;
    }

    /// A message arrived.
    fn on_message(&self, session: &Session<Self>, message: Message<'_>);

    /// A session ended; called once.
    fn on_close(&self, session: &Session<Self>, reason: &CloseReason) {
        let _ = (session, reason);
    }

    /// When [`handle_timeout`](Handler::handle_timeout) wants to be called for a session.
    fn next_deadline(state: &Self::State) -> Option<Time> {
        let _ = state;
        None
    }

    /// Time passed; a reason ends the session.
    fn handle_timeout(state: &mut Self::State, now: Time) -> Option<CloseReason> {
        let _ = (state, now);
        None
    }
}
