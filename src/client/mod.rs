//! A client for Socket.IO servers, this crate's or any other.
//!
//! ```no_run
//! use sockeye::{Client, extract::Data};
//!
//! # #[cfg(feature = "tokio")]
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new("http://localhost:3000")?;
//! client.on("chat message", async |Data(text): Data<String>| println!("{text}"));
//! sockeye::runtime::tokio::connect(&client).await?;
//!
//! client.emit("chat message", "hello")?;
//! let sum: i64 = client.emit_with_ack("add", (2, 3)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! [`Client`] is the connection and the namespace of its URL; [`Client::socket`] returns further namespaces
//! over the same connection. Handlers are written as on the server, with [`ClientSocket`] for the socket.
//!
//! # Guarantees
//!
//! - A lost connection is reopened after a delay that grows and is randomized for each client. Events emitted
//!   meanwhile wait, within limits ([`Offline`]), and are sent in order. If the server refuses a namespace,
//!   the client does not ask again until [`connect`](ClientSocket::connect) is called.
//! - Handlers start on the runtime, in the order of the events, and never inside a call such as `emit` or
//!   `disconnect`: the caller may hold a lock that a handler takes.
//! - Every emit can be awaited to learn what became of it; `emit_with_ack` waits for the server's answer.
//! - With [`stateful_reconnect`](ClientBuilder::stateful_reconnect) and a server that has it on as well, a lost connection
//!   loses nothing.
//! - A message that is larger than the server accepts is refused with an error before it is sent.

mod builder;
mod core;
mod error;
mod events;
mod extract;
mod jar;
mod keeper;
mod lane;
mod listen;
mod shared;
mod slots;
mod socket;
mod url;
mod wait;
mod watch;

pub use builder::{BuildError, ClientBuilder};
pub use error::{ClientAckError, ClientEmitError};
pub use events::{Events, Received};
pub use socket::{ClientEmitter, ClientSocket};
pub use sockeye_core::engineio::client::{
    CloseReason as ClientCloseReason, HandshakeError, TransportError as ClientTransportError,
};
pub use sockeye_core::socketio::client::{
    ConnectError as ClientConnectError, DisconnectReason as ClientDisconnectReason, Offline,
};
pub use url::UrlError;
pub use wait::{ClientAckFuture, Connected, Sent};

use shared::Shared;
use sockeye_core::host::Connector;
use sockeye_core::socketio::{check_namespace, with_slash};
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use wait::Closed;

/// A client: its connection, and the namespace of its URL, whose methods are those of [`ClientSocket`].
///
/// A handle that is cheap to clone. While it is connected, or about to connect, the client lives on without
/// handles.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    socket: ClientSocket,
}

/// An event of a client's connection.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ManagerEvent {
    /// A reconnection attempt begins; the number counts consecutive attempts.
    ReconnectAttempt(u32),
    /// The connection is open again, after this number of attempts.
    Reconnect(u32),
    /// An attempt failed.
    ReconnectError(ClientConnectError),
    /// There will be no more attempts.
    ReconnectFailed,
    /// The connection was lost for this reason, and its session is going to be
    /// [resumed](ClientBuilder::stateful_reconnect): the namespaces stay joined. Attempts are reported as others are.
    Interrupted(ClientCloseReason),
    /// The session was resumed with another connection: nothing was lost. If it cannot be resumed, the namespaces are
    /// left, and [`Reconnect`](ManagerEvent::Reconnect) reports the next connection.
    Resumed,
    /// The server sent a ping, which was answered. While the application has fallen behind, several pings are reported
    /// as one.
    Ping,
}

impl Client {
    /// Creates a client of the server at `url`, such as `http://localhost:3000/namespace`, with the default
    /// settings. It does not connect yet: see [`tokio::connect`](crate::runtime::tokio) and its counterparts.
    ///
    /// # Errors
    /// Returns an error if the URL cannot be used.
    pub fn new(url: impl Into<String>) -> Result<Client, BuildError> {
        Client::builder(url).build()
    }

    /// Returns a builder with the default settings.
    pub fn builder(url: impl Into<String>) -> ClientBuilder {
        ClientBuilder::new(url.into())
    }

    /// Creates another client of the same server that shares this client's settings, for many clients in one
    /// process.
    ///
    /// It has its own connection, handlers and cookies, and does not connect yet.
    pub fn another(&self) -> Client {
        let random = self.shared.look(|client| client.fork_random());
        let shared = Shared::new(self.shared.settings.clone(), random);
        let socket = shared.socket(self.socket.namespace());
        Client { shared, socket }
    }

    /// Returns a namespace over the same connection; the same name always returns the same namespace. Call
    /// [`connect`](ClientSocket::connect) to join it. The leading slash of the name is optional.
    ///
    /// # Panics
    /// Panics if the name contains a comma, a question mark or U+001E, because no server has such a namespace. Data for
    /// the server is [`auth`](ClientBuilder::auth), or a [`query`](ClientBuilder::query) of the requests.
    pub fn socket(&self, name: &str) -> ClientSocket {
        let name = with_slash(name);
        if let Err(error) = check_namespace(&name, usize::MAX) {
            panic!("{name:?} is no namespace: {error}");
        }
        self.shared.socket(&name)
    }

    /// Calls `handler` for each event of the connection; it replaces an earlier handler. It must not block.
    pub fn on_manager_event(&self, handler: impl Fn(ManagerEvent) + Send + Sync + 'static) {
        self.shared.on_manager_event(Arc::new(handler));
    }

    /// Sets the runtime that opens streams and drives the clock. The first one attached stays the client's
    /// for its lifetime. Once that runtime has ended, so has the client: it connects no more, and everything
    /// that waits for it ends with an error. Make [another](Client::another) for another runtime.
    pub fn attach(&self, connector: Arc<dyn Connector>) {
        self.shared.attach(connector);
    }

    /// Leaves all namespaces, and closes the connection once all queued messages are written:
    /// [`closed`](Client::closed) waits for that.
    pub fn close(&self) {
        self.shared.act(|client, now| client.close(now));
    }

    /// Waits until there is no connection and none will be opened automatically. After
    /// [`close`](Client::close) that is once everything queued is written and the server has closed its side
    /// or a few seconds have passed. Await it before a program ends, because its runtime writes nothing after
    /// that.
    ///
    /// ```no_run
    /// # async fn example(client: sockeye::Client) -> Result<(), sockeye::client::ClientEmitError> {
    /// client.emit("last words", ())?;
    /// client.close();
    /// client.closed().await;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn closed(&self) {
        Closed::new(&self.shared).await;
    }
}

impl Deref for Client {
    type Target = ClientSocket;

    fn deref(&self) -> &ClientSocket {
        &self.socket
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("server", &self.shared.settings.authority).finish_non_exhaustive()
    }
}
