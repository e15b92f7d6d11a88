//! A server for Engine.IO, the layer below Socket.IO: sessions that send and receive text and bytes.
//!
//! [`Server`](crate::Server) is built on this. Use it directly for a protocol of your own that needs the
//! features of Engine.IO: long-polling if WebSocket does not work, upgrades that lose nothing, heartbeats.
//!
//! ```no_run
//! use sockeye::engine::{Application, Message, Server, Session};
//!
//! struct Echo;
//!
//! impl Application for Echo {
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
//! sockeye::runtime::tokio::listen(Server::new(Echo), "127.0.0.1:3000").await
//! # }
//! ```

mod assets;
mod batch;
mod close;
mod connection;
pub(crate) mod deadline;
pub(crate) mod exchange;
mod hooks;
mod quota;
mod server;
mod session;
pub(crate) mod timers;

pub use crate::connection_error::ConnectionError;
pub use crate::handshake::Handshake;
pub use batch::Batch;
pub use connection::Connection;
pub use server::{Builder, Server};
pub(crate) use server::{ServerInner, random_id};
pub(crate) use session::Running;
pub use session::Session;
#[cfg(feature = "http")]
pub(crate) use session::{Delivery, Sender};
pub use sockeye_core::engineio::{
    CloseReason, Conn, Id, Message, PacketError, Transport, TransportError, Version,
    server::{RateLimit, Rejection, ResponseHeaders, SendError, StatefulReconnect, WhenFull},
};

use sockeye_core::Time;
use std::time::Duration;

/// The application on top of the sessions of a [`Server`].
///
/// Messages of a session come one at a time, from the task that reads its connection; its end may come from
/// any thread, even while a message is being handled. The methods must not block. No lock is held while those
/// run that are passed a session; the others run under the session's lock, and must not use a session. A panic
/// ends the call and is logged; one in [`handle_timeout`](Application::handle_timeout) also ends the session.
pub trait Application: Send + Sync + Sized + 'static {
    /// The application's state of each session: see [`Session::with_state`].
    type State: Default + Send + 'static;

    /// Called when a session was opened.
    fn on_open(&self, session: &Session<Self>) {
        let _ = session;
    }

    /// Called for each message that arrives.
    fn on_message(&self, session: &Session<Self>, message: Message<'_>);

    /// Returns what the application keeps for the first of messages that arrive together. Called under the session's lock.
    #[doc(hidden)]
    fn begin_batch(state: &Self::State) -> Batch {
        let _ = state;
        Batch::default()
    }

    /// Does the same as [`on_message`](Application::on_message), which it calls, for one of several messages that arrived
    /// together. The message may be taken out. The `clock` is read at most once a turn.
    // Not moved, because the processor would have to wait for it: `benches/count ack16`.
    #[doc(hidden)]
    fn on_batched_message(
        &self,
        session: &Session<Self>,
        message: &mut Message<'_>,
        batch: &mut Batch,
        clock: &dyn Fn() -> Time,
    ) {
        let _ = (batch, clock);
        self.on_message(session, std::mem::replace(message, Message::Text("")));
    }

    /// Called when a session has moved from polling to WebSocket, between two of its messages.
    fn on_upgrade(&self, session: &Session<Self>) {
        let _ = session;
    }

    /// Called once, when a session has ended.
    fn on_close(&self, session: &Session<Self>, reason: &CloseReason) {
        let _ = (session, reason);
    }

    /// Returns when [`handle_timeout`](Application::handle_timeout) has to be called for a session. Called under
    /// the session's lock, also after `handle_timeout`: unless it then returns a later instant, or `None`,
    /// `handle_timeout` is called again at once, and the server is never idle. A panic counts as `None`.
    fn next_deadline(state: &Self::State) -> Option<Time> {
        let _ = state;
        None
    }

    /// Called when a session with stateful reconnect goes on with another connection, after a time `away` without one, under
    /// the session's lock. Meanwhile nobody looked at the deadlines of the application, because the client could not meet
    /// them: they are to be that much later.
    fn postpone(state: &mut Self::State, away: Duration) {
        let _ = (state, away);
    }

    /// Called when a deadline of the session is reached, which need not be the one of
    /// [`next_deadline`](Application::next_deadline), under the session's lock. A returned reason ends the session, and so
    /// does a panic, because the same deadline would be due again at once.
    fn handle_timeout(state: &mut Self::State, now: Time) -> Option<CloseReason> {
        let _ = (state, now);
        None
    }
}
