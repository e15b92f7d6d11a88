//! The client: what connects to a Socket.IO server, this one or any other.
//!
//! ```no_run
//! use sockeye::{Client, extract::Data};
//!
//! # #[cfg(feature = "tokio")]
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new("http://localhost:3000")?;
//! client.on("chat message", async |Data(text): Data<String>| println!("{text}"));
//! sockeye::tokio::connect(&client).await?;
//!
//! client.emit("chat message", "hello")?;
//! let sum: i64 = client.emit_with_ack("add", (2, 3)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! [`Client`] is the connection and the namespace of its URL; [`Client::socket`] gives further namespaces over the same
//! connection. Handlers are written as on the server, with [`ClientSocket`] for the socket.
//!
//! # What holds
//!
//! - A lost connection is opened again, after a wait that grows and is different for each client. What is emitted
//!   meanwhile waits, within bounds ([`Offline`]), and is sent in order. A namespace that the server refuses is not
//!   asked again until [`connect`](ClientSocket::connect) is called.
//! - Handlers are called on the runtime, one after the other, and never inside of a call such as `emit` or
//!   `disconnect`: a caller may hold a lock that they take.
//! - Every emit can be awaited for what became of it; `emit_with_ack` for the server's answer.
//! - A message that is larger than the server takes is an error before it is sent.

mod builder;
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

pub use builder::{BuildError, ClientBuilder};
pub use events::{Events, Received};
pub use socket::{ClientEmitter, ClientSocket};
pub use sockeye_core::engineio::client::{CloseReason, HandshakeError, TransportError};
pub use sockeye_core::socketio::client::{ConnectError, DisconnectReason, Offline};
pub use url::UrlError;
pub use wait::{AckFuture, Connected, Sent};

use crate::namespace::with_slash;
use shared::Shared;
use sockeye_core::host::Connector;
use std::fmt;
use std::future::poll_fn;
use std::ops::Deref;
use std::sync::Arc;

/// A client: its connection, and the namespace of its URL, whose methods are those of [`ClientSocket`].
///
/// A handle that is cheap to clone. While it is connected, or about to be, it lives on without handles.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    socket: ClientSocket,
}

/// What happens to the connection of a client.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ManagerEvent {
    /// It is opened again, for so many times in a row.
    ReconnectAttempt(u32),
    /// It is open again, after so many attempts.
    Reconnect(u32),
    /// An attempt failed.
    ReconnectError(ConnectError),
    /// There will be no more attempts.
    ReconnectFailed,
    /// The server asked whether this side lives, and was answered.
    Ping,
}

impl Client {
    /// A client of the server at `url`, such as `http://localhost:3000/namespace`, with the default settings. It does
    /// not connect yet: see [`tokio::connect`](crate::tokio) and its like.
    ///
    /// # Errors
    /// When the URL cannot be used.
    pub fn new(url: impl Into<String>) -> Result<Client, BuildError> {
        Client::builder(url).build()
    }

    /// Starts with the default settings.
    pub fn builder(url: impl Into<String>) -> ClientBuilder {
        ClientBuilder::new(url.into())
    }

    /// Another client of the same server, with the same settings, which they share: for many clients in one process.
    ///
    /// Its connection, handlers and cookies are its own, and it does not connect yet.
    pub fn another(&self) -> Client {
        let random = self.shared.look(|client| client.fork_random());
        let shared = Shared::new(self.shared.settings.clone(), random);
        let socket = shared.socket(self.socket.namespace());
        Client { shared, socket }
    }

    /// Another namespace over the same connection; the same for the same name. It is joined by
    /// [`connect`](ClientSocket::connect). A slash before the name may be left out.
    ///
    /// # Panics
    /// When the name has a comma or U+001E in it, which would end it, or its packet.
    pub fn socket(&self, namespace: &str) -> ClientSocket {
        assert!(!namespace.contains([',', '\u{1e}']), "{namespace:?} is no namespace");
        self.shared.socket(&with_slash(namespace))
    }

    /// Calls `handler` when something happens to the connection, in place of an earlier one. It must not block.
    pub fn on_manager_event(&self, handler: impl Fn(ManagerEvent) + Send + Sync + 'static) {
        self.shared.on_manager_event(Arc::new(handler));
    }

    /// Says who opens streams and keeps the time: the first that does is the client's, as long as it lives. When that
    /// runtime has ended, the client has, too: it connects no more, and all that waits for it ends with an error. Make
    /// [another](Client::another) for another runtime.
    pub fn attach(&self, connector: Arc<dyn Connector>) {
        self.shared.attach(connector);
    }

    /// Leaves all namespaces, and closes the connection after what was sent: [`closed`](Client::closed) waits for that.
    pub fn close(&self) {
        self.shared.act(|client, now| client.close(now));
        self.shared.wake_waiters();
    }

    /// Waits until there is no connection and none will be opened by itself: after [`close`](Client::close) until what
    /// was sent is written, and the server has closed its side or had its time for that, a few seconds. A program ends
    /// with it, as its runtime writes nothing after that.
    ///
    /// ```no_run
    /// # async fn example(client: sockeye::Client) -> Result<(), sockeye::EmitError> {
    /// client.emit("last words", ())?;
    /// client.close();
    /// client.closed().await;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn closed(&self) {
        poll_fn(|cx| self.shared.poll_closed(cx)).await;
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
