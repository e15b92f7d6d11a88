//! The sockets of all servers: what can be known of one, and done with it, wherever it is.

use crate::engine::{Handshake, Id};
use crate::error::EmitError;
use crate::payload::Payload;
use crate::server::Server;
use crate::server::ack::AckFuture;
use crate::server::broadcast::Broadcast;
use crate::server::namespace::Namespace;
use crate::server::room_names::RoomNames;
use crate::server::socket::{Emitter, SharedDataError, Socket, read_shared};
use serde::de::DeserializeOwned;
use smol_str::SmolStr;
use sockeye_core::socketio;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// The sockets that [`Broadcast::fetch_sockets`] has found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FetchedSockets {
    /// The sockets, in no particular order.
    pub sockets: Vec<RemoteSocket>,
    /// The names of the servers that did not report their sockets in time. Empty while there is one server.
    pub silent_servers: Vec<String>,
}

impl FetchedSockets {
    /// Returns whether every server has reported its sockets.
    pub fn is_complete(&self) -> bool {
        self.silent_servers.is_empty()
    }
}

impl IntoIterator for FetchedSockets {
    type Item = RemoteSocket;
    type IntoIter = std::vec::IntoIter<RemoteSocket>;

    fn into_iter(self) -> Self::IntoIter {
        self.sockets.into_iter()
    }
}

/// A socket of this server or another one in its cluster, as it was when [`Broadcast::fetch_sockets`] found it.
///
/// What can be read is a copy of that time, while messages and changes go to the socket as it is now, if it is still
/// there.
#[derive(Clone)]
pub struct RemoteSocket {
    /// The socket. Those of other servers come with an adapter.
    socket: Socket,
    rooms: Vec<SmolStr>,
    shared_data: Option<Arc<str>>,
}

impl RemoteSocket {
    /// Returns the socket's id: see [`Socket::id`].
    pub fn id(&self) -> Id {
        self.socket.id()
    }

    /// Returns the request that opened the session: see [`Socket::handshake`]. Extensions of a mounted server are known
    /// only on the server that the client is connected to.
    pub fn handshake(&self) -> &Handshake {
        self.socket.handshake()
    }

    /// Returns the `auth` value that the client sent: see [`Socket::auth`].
    ///
    /// # Errors
    /// If the value is not of type `T`.
    pub fn auth<T: DeserializeOwned>(&self) -> Result<T, socketio::ArgsError> {
        self.socket.auth()
    }

    /// Returns the rooms that the socket had joined, without the one that is named by its id, in no particular order.
    pub fn rooms(&self) -> impl Iterator<Item = &str> {
        self.rooms.iter().map(|room| room.as_str())
    }

    /// Returns the data that was stored by [`Socket::set_shared_data`], or `None` if there was none.
    ///
    /// # Errors
    /// If the data is not of type `T`.
    pub fn shared_data<T: DeserializeOwned>(&self) -> Result<Option<T>, SharedDataError> {
        read_shared(self.shared_data_json())
    }

    /// Returns the JSON that was stored by [`Socket::set_shared_data`], or `None` if there was none.
    pub fn shared_data_json(&self) -> Option<&str> {
        self.shared_data.as_deref()
    }

    /// Sends an event to the socket. Never waits: see [`Socket::emit`].
    ///
    /// # Errors
    /// If nothing was sent.
    pub fn emit(&self, event: &str, args: impl Payload) -> Result<(), EmitError> {
        self.socket.emit(event, args)
    }

    /// Sends an event to the socket, and waits for its acknowledgement: see [`Socket::emit_with_ack`].
    pub fn emit_with_ack<T>(&self, event: &str, args: impl Payload) -> AckFuture<T> {
        self.socket.emit_with_ack(event, args)
    }

    /// Makes the socket join a room, or several: see [`Socket::join`].
    pub fn join(&self, rooms: impl RoomNames) {
        self.socket.join(rooms);
    }

    /// Makes the socket leave a room, or several.
    pub fn leave(&self, rooms: impl RoomNames) {
        self.socket.leave(rooms);
    }

    /// Disconnects the socket; with `close`, also closes its connection. See [`Socket::disconnect`].
    pub fn disconnect(&self, close: bool) {
        self.socket.disconnect(close);
    }

    /// Sets how long to wait for an acknowledgement: see [`Socket::timeout`].
    pub fn timeout(&self, timeout: Duration) -> Emitter<'_> {
        self.socket.timeout(timeout)
    }
}

impl fmt::Debug for RemoteSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteSocket").field("id", &self.id()).finish_non_exhaustive()
    }
}

impl Broadcast {
    /// Returns the sockets that are selected at present, of this server and the others of its cluster, with what can be
    /// known of each from anywhere. Each is found once. No adapter connects several servers yet, so there are only those
    /// of this server, and nothing has to be waited for.
    ///
    /// For more than that, such as local [data](Socket::data), use [`sockets`](Broadcast::sockets), which returns those of
    /// this server.
    ///
    /// ```
    /// # async fn list(io: sockeye::Server) -> Result<(), sockeye::SharedDataError> {
    /// for socket in io.to("lobby").fetch_sockets().await {
    ///     let name: Option<String> = socket.shared_data()?;
    ///     println!("{} is {}", socket.id(), name.as_deref().unwrap_or("nobody"));
    ///     let _ = socket.emit("found", ()); // it may have gone
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn fetch_sockets(&self) -> impl Future<Output = FetchedSockets> + Send + use<> {
        let selected = self.clone();
        async move {
            let found = |(socket, rooms): (Socket, _)| {
                let shared_data = socket.shared_data_json();
                RemoteSocket { socket, rooms, shared_data }
            };
            FetchedSockets {
                sockets: selected.sockets_and_rooms().into_iter().map(found).collect(),
                silent_servers: Vec::new(),
            }
        }
    }
}

impl Namespace {
    /// Returns the sockets of the namespace, of this server and the others of its cluster: see
    /// [`Broadcast::fetch_sockets`].
    pub fn fetch_sockets(&self) -> impl Future<Output = FetchedSockets> + Send + use<> {
        self.everyone().fetch_sockets()
    }

    /// Makes every socket of the namespace join a room, or several: see [`Broadcast::sockets_join`].
    pub fn sockets_join(&self, rooms: impl RoomNames) {
        self.everyone().sockets_join(rooms);
    }

    /// Makes every socket of the namespace leave a room, or several: see [`Broadcast::sockets_leave`].
    pub fn sockets_leave(&self, rooms: impl RoomNames) {
        self.everyone().sockets_leave(rooms);
    }

    /// Disconnects every socket of the namespace: see [`Broadcast::disconnect_sockets`].
    pub fn disconnect_sockets(&self, close: bool) {
        self.everyone().disconnect_sockets(close);
    }
}

impl Server {
    /// Returns the sockets of the main namespace, of this server and the others of its cluster: see
    /// [`Broadcast::fetch_sockets`].
    pub fn fetch_sockets(&self) -> impl Future<Output = FetchedSockets> + Send + use<> {
        self.of("/").fetch_sockets()
    }

    /// Makes every socket of the main namespace join a room, or several: see [`Broadcast::sockets_join`].
    pub fn sockets_join(&self, rooms: impl RoomNames) {
        self.of("/").sockets_join(rooms);
    }

    /// Makes every socket of the main namespace leave a room, or several: see [`Broadcast::sockets_leave`].
    pub fn sockets_leave(&self, rooms: impl RoomNames) {
        self.of("/").sockets_leave(rooms);
    }

    /// Disconnects every socket of the main namespace: see [`Broadcast::disconnect_sockets`].
    pub fn disconnect_sockets(&self, close: bool) {
        self.of("/").disconnect_sockets(close);
    }
}
