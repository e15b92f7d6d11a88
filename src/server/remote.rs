//! The sockets of all servers: what can be known of one, and done with it, wherever it is.

use crate::engine::{Handshake, Id};
use crate::error::EmitError;
use crate::payload::Payload;
use crate::server::Server;
use crate::server::ack::AckFuture;
use crate::server::broadcast::Broadcast;
use crate::server::cluster::Gathered;
use crate::server::namespace::Namespace;
use crate::server::room_names::RoomNames;
use crate::server::socket::{Emitter, SharedDataError, Socket, read_shared};
use serde::de::DeserializeOwned;
use smol_str::SmolStr;
use sockeye_core::cluster::{BusSocket, BusValue};
use sockeye_core::socketio;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The sockets that [`Broadcast::fetch_sockets`] has found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FetchedSockets {
    /// The sockets, in no particular order.
    pub sockets: Vec<RemoteSocket>,
    /// The names of the servers that did not report their sockets in time, or more of them than is allowed. Those that do
    /// not tell their names, such as servers in Node, are `unnamed`. Empty if there is one server.
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

/// A socket of this server or another one in its [cluster](crate::cluster), as it was when [`Broadcast::fetch_sockets`]
/// found it.
///
/// What can be read is a copy of that time, while messages and changes go to the socket as it is now, if it is still
/// there. Those to a socket of another server go by way of the bus, to the room that is named by its id.
#[derive(Clone)]
pub struct RemoteSocket(Place);

#[derive(Clone)]
enum Place {
    Here { socket: Socket, rooms: Vec<SmolStr>, shared_data: Option<Arc<str>> },
    Elsewhere(Arc<Elsewhere>),
}

/// A socket of another server.
struct Elsewhere {
    id: Id,
    /// Addresses its room.
    room: Broadcast,
    rooms: Vec<SmolStr>,
    /// The handshake as the other server has sent it.
    request: BusValue,
    /// The same, once it was read.
    handshake: OnceLock<Handshake>,
    shared_data: Option<Box<str>>,
}

impl RemoteSocket {
    fn here((socket, rooms): (Socket, Vec<SmolStr>)) -> RemoteSocket {
        let shared_data = socket.shared_data_json();
        RemoteSocket(Place::Here { socket, rooms, shared_data })
    }

    /// Returns a socket that another server has reported, or `None` if its id is not one.
    fn elsewhere(namespace: &Namespace, socket: BusSocket) -> Option<RemoteSocket> {
        let id = Id::parse(&socket.id)?;
        // Servers in Node report an empty object if there is none, and so do those in Rust.
        let shared_data = socket.data.to_json().filter(|json| *json != "{}").map(|json| (*json).into());
        Some(RemoteSocket(Place::Elsewhere(Arc::new(Elsewhere {
            id,
            room: namespace.to(id),
            rooms: socket.rooms.into_iter().filter(|room| room != id.as_str()).collect(),
            request: socket.handshake.detach(),
            handshake: OnceLock::new(),
            shared_data,
        }))))
    }

    /// Returns the socket's id: see [`Socket::id`].
    pub fn id(&self) -> Id {
        match &self.0 {
            Place::Here { socket, .. } => socket.id(),
            Place::Elsewhere(there) => there.id,
        }
    }

    /// Returns the request that opened the session: see [`Socket::handshake`]. Of a socket of another server, the port of the
    /// address is 0, several headers of one name are one, and there are no extensions of a mounted server.
    pub fn handshake(&self) -> &Handshake {
        match &self.0 {
            Place::Here { socket, .. } => socket.handshake(),
            Place::Elsewhere(there) => there
                .handshake
                .get_or_init(|| Handshake::from_reference(&there.request.to_json().unwrap_or_default())),
        }
    }

    /// Returns the `auth` value that the client sent: see [`Socket::auth`].
    ///
    /// # Errors
    /// If the value is not of type `T`.
    pub fn auth<T: DeserializeOwned>(&self) -> Result<T, socketio::ArgsError> {
        match &self.0 {
            Place::Here { socket, .. } => socket.auth(),
            Place::Elsewhere(there) => {
                let json = there.request.to_json().unwrap_or_default();
                let handshake: Option<serde_json::Value> = serde_json::from_str(&json).ok();
                let auth = handshake.and_then(|mut it| it.get_mut("auth").map(serde_json::Value::take));
                socketio::read_auth(&auth.map(|auth| auth.to_string()).unwrap_or_default())
            }
        }
    }

    /// Returns the rooms that the socket had joined, without the one that is named by its id, in no particular order.
    pub fn rooms(&self) -> impl Iterator<Item = &str> {
        let rooms = match &self.0 {
            Place::Here { rooms, .. } => rooms,
            Place::Elsewhere(there) => &there.rooms,
        };
        rooms.iter().map(|room| room.as_str())
    }

    /// Returns the data that was stored by [`Socket::set_shared_data`], or `None` if there was none. For a server in Node,
    /// it is `socket.data`. An empty object from another server counts as none.
    ///
    /// # Errors
    /// If the data is not of type `T`.
    pub fn shared_data<T: DeserializeOwned>(&self) -> Result<Option<T>, SharedDataError> {
        read_shared(self.shared_data_json())
    }

    /// Returns the JSON that was stored by [`Socket::set_shared_data`], or `None` if there was none.
    pub fn shared_data_json(&self) -> Option<&str> {
        match &self.0 {
            Place::Here { shared_data, .. } => shared_data.as_deref(),
            Place::Elsewhere(there) => there.shared_data.as_deref(),
        }
    }

    /// Returns whether the socket is connected to this server.
    pub fn is_local(&self) -> bool {
        matches!(self.0, Place::Here { .. })
    }

    /// Sends an event to the socket. Never waits: see [`Socket::emit`].
    ///
    /// # Errors
    /// If nothing was sent. It is not known whether a socket of another server has received it.
    pub fn emit(&self, event: &str, args: impl Payload) -> Result<(), EmitError> {
        self.emitter().emit(event, args)
    }

    /// Sends an event to the socket, and waits for its acknowledgement: see [`Socket::emit_with_ack`]. If another server has
    /// the socket, and it has gone, the error is [`AckError::Disconnected`](crate::AckError::Disconnected).
    pub fn emit_with_ack<T>(&self, event: &str, args: impl Payload) -> AckFuture<T> {
        self.emitter().emit_with_ack(event, args)
    }

    /// Makes the socket join a room, or several: see [`Socket::join`].
    pub fn join(&self, rooms: impl RoomNames) {
        match &self.0 {
            Place::Here { socket, .. } => socket.join(rooms),
            Place::Elsewhere(there) => there.room.sockets_join(rooms),
        }
    }

    /// Makes the socket leave a room, or several.
    pub fn leave(&self, rooms: impl RoomNames) {
        match &self.0 {
            Place::Here { socket, .. } => socket.leave(rooms),
            Place::Elsewhere(there) => there.room.sockets_leave(rooms),
        }
    }

    /// Disconnects the socket; with `close`, also closes its connection. See [`Socket::disconnect`].
    pub fn disconnect(&self, close: bool) {
        match &self.0 {
            Place::Here { socket, .. } => socket.disconnect(close),
            Place::Elsewhere(there) => there.room.disconnect_sockets(close),
        }
    }

    /// Sets how long to wait for an acknowledgement: see [`Socket::timeout`].
    pub fn timeout(&self, timeout: Duration) -> Emitter<'_> {
        self.emitter().timeout(timeout)
    }

    fn emitter(&self) -> Emitter<'_> {
        match &self.0 {
            Place::Here { socket, .. } => Emitter::new(socket),
            Place::Elsewhere(there) => Emitter::elsewhere(&there.room),
        }
    }
}

impl fmt::Debug for RemoteSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteSocket").field("id", &self.id()).finish_non_exhaustive()
    }
}

impl Broadcast {
    /// Returns the sockets that are selected at present, of this server and the others of its cluster, with what can be
    /// known of each from anywhere. Each is found once.
    ///
    /// Without an [adapter](crate::ServerBuilder::adapter), nothing has to be waited for. Otherwise it waits for the other
    /// servers, for the time set by [`timeout`](Broadcast::timeout) or
    /// [`Adapter::request_timeout`](crate::cluster::Adapter::request_timeout), and
    /// [names](FetchedSockets::silent_servers) those that did not answer, or whose sockets would have exceeded
    /// [`ClusterLimits::max_fetched`](crate::cluster::ClusterLimits::max_fetched), 256 MiB.
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
            let asked = selected.fetch_elsewhere();
            let mut sockets: Vec<_> =
                selected.sockets_and_rooms().into_iter().map(RemoteSocket::here).collect();
            let Some(asked) = asked else { return FetchedSockets { sockets, silent_servers: Vec::new() } };
            let Gathered { sockets: found, silent, .. } = asked.await;
            let elsewhere = |socket| RemoteSocket::elsewhere(selected.namespace(), socket);
            // The list of each server is dropped before the next one is read.
            found.into_iter().for_each(|list| sockets.extend(list.iter().filter_map(elsewhere)));
            FetchedSockets { sockets, silent_servers: silent }
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
