//! The connection behind a socket.

use super::Socket;
use crate::engine::Conn;
use crate::extract::Context;
use crate::handler::{Handler, Kept};
use crate::listeners::{Entry, On};
use smallvec::SmallVec;

impl Socket {
    /// Returns the facts about the client's connection at this moment: the transport, how fast the client answers, and how
    /// much was sent and received, in all of its namespaces.
    ///
    /// ```
    /// use sockeye::Socket;
    ///
    /// # let io = sockeye::Server::new();
    /// io.on("status", async |socket: Socket| {
    ///     let conn = socket.conn();
    ///     format!("{}: {} bytes in, {} out", conn.transport, conn.received_bytes, conn.sent_bytes)
    /// });
    /// ```
    pub fn conn(&self) -> Conn {
        self.0.session.conn()
    }

    /// Calls `handler` when the client has moved from polling to WebSocket: the reference's `conn.on("upgrade")`. It is
    /// called at most once, and not for a client that begins with WebSocket, or has moved before: look at
    /// [`transport`](Socket::transport) after the registration.
    ///
    /// ```
    /// use sockeye::Socket;
    ///
    /// # let io = sockeye::Server::new();
    /// io.on_connect(async |socket: Socket| {
    ///     socket.on_upgrade(async |socket: Socket| println!("{} is on {}", socket.id(), socket.transport()));
    ///     println!("{} begins on {}", socket.id(), socket.transport());
    /// });
    /// ```
    pub fn on_upgrade<P: 'static>(&self, handler: impl Handler<P>) {
        let handler = Kept::new(handler);
        self.listen(|state| state.listeners.add(On::Upgrade, handler));
    }

    /// Calls the handlers of the namespace and these of the socket for an upgrade. The caller must hold no lock.
    pub(crate) fn upgraded(&self) {
        let shared = self.0.namespace.0.functions.other_listeners().filter(|entry| entry.is_on(&On::Upgrade));
        let own = self.0.state.lock().listeners.all(&On::Upgrade);
        let listeners: SmallVec<[_; 1]> = shared.map(Entry::handler).chain(own).collect();
        self.call_inside(&listeners, || Context::new(self, "upgrade"));
    }
}
