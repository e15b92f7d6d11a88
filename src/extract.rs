//! The parameters that a handler can ask for, by their types.
//!
//! | parameter | value | available in |
//! |---|---|---|
//! | [`Socket`], [`Server`](crate::Server), [`Id`](crate::Id) | the socket, its server, its id | everywhere |
//! | [`State<T>`] | a clone of the value that [`ServerBuilder::state`](crate::ServerBuilder::state) stored | everywhere |
//! | [`Auth<T>`] | the client's `auth` | everywhere |
//! | [`Params<T>`] | the parameters in the namespace's name | children of a [pattern](crate::Server::of_pattern) |
//! | [`Data<T>`], [`TryData<T>`], [`Args`] | the arguments of the event | events |
//! | [`Event`] | the event's name | everywhere |
//! | [`AckSender`] | a handle to acknowledge the event at any time | events |
//! | `Extension<T>` | a clone of a value that a layer added to the request, if the server is mounted (feature `http`) | everywhere |
//! | [`DisconnectReason`](crate::DisconnectReason) | the reason for the disconnect | `on_disconnect`, `on_disconnecting` |
//! | [`PacketError`](crate::PacketError) | the refusal of the event | `on_error` |
//!
//! The handlers of a [client](crate::client) take [`ClientSocket`](crate::ClientSocket), the parameters for events, and
//! in its `on_disconnect` and `on_connect_error`
//! [`ClientDisconnectReason`](crate::client::ClientDisconnectReason) and
//! [`ClientConnectError`](crate::client::ClientConnectError).
//!
//! If a parameter cannot be extracted, the handler is **not called**: an event of the wrong type is no reason to drop a
//! client. The cause is logged with the feature `tracing`: at level `DEBUG` if the client is at fault, at `ERROR` if this
//! program is. If no other handler of the event can be called, the client's acknowledgement times out; to answer such a
//! client, take [`TryData<T>`], or set [`on_handler_error`](crate::ServerBuilder::on_handler_error) for all events. A
//! middleware in the
//! same case refuses the client with `Invalid auth`, or with `Internal error` if the fault is this program's; the cause
//! is only logged. To tell the client more, read its `auth` by [`Socket::auth`] and return a
//! [`ConnectError`](crate::ConnectError). A [packet middleware](crate::Namespace::use_packet) refuses the event, with
//! `Invalid data` if that is not of its type.
//!
//! ```
//! use serde::Deserialize;
//! use sockeye::extract::{Data, TryData};
//! use sockeye::{Server, Socket};
//!
//! #[derive(Deserialize)]
//! struct Move {
//!     x: i32,
//!     y: i32,
//! }
//!
//! let io = Server::new();
//! io.on_connect(async |socket: Socket| {
//!     // socket.emit("move", { x: 1, y: 2 })
//!     socket.on("move", async |Data(step): Data<Move>| step.x + step.y);
//!     // socket.emit("say", "lobby", "hello"): two arguments are a tuple.
//!     socket.on("say", async |socket: Socket, Data((room, text)): Data<(String, String)>| {
//!         socket.to(room).emit("said", text);
//!     });
//!     // Called whatever the data is, so that the client learns what is wrong with it.
//!     socket.on("age", async |TryData(age): TryData<u8>| match age {
//!         Ok(age) => format!("{age} years"),
//!         Err(error) => error.to_string(),
//!     });
//! });
//! ```
//!
//! For parameters of your own, implement [`Extract`].

use crate::Socket;
use crate::handler::{Acknowledge, AnySocket};
pub use crate::payload::Args;
use serde::de::DeserializeOwned;
use sockeye_core::socketio;
use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

/// The event that a handler is called for, from which [`Extract`] reads the parameters.
#[derive(Debug)]
pub struct Context<'a, S = Socket> {
    pub(crate) socket: &'a S,
    pub(crate) event: &'a str,
    pub(crate) args: Option<&'a socketio::Args<'a>>,
    /// The id of the acknowledgement that the peer wants, until a handler that is called takes it.
    pub(crate) ack: Cell<Option<u64>>,
    /// No other handler of the event follows.
    pub(crate) is_last: bool,
    /// An [`AckSender`] was extracted, which acknowledges in place of the handler's return value.
    pub(crate) is_deferred: Cell<bool>,
    /// The cause of a call that is not for an event: a `DisconnectReason` or a `ConnectError` of the socket's side.
    pub(crate) cause: Option<&'a dyn Any>,
}

impl<'a, S> Context<'a, S> {
    pub(crate) fn new(socket: &'a S, event: &'a str) -> Context<'a, S> {
        Context {
            socket,
            event,
            args: None,
            ack: Cell::new(None),
            is_last: true,
            is_deferred: Cell::new(false),
            cause: None,
        }
    }

    /// Returns the context of an event that arrived.
    pub(crate) fn for_event(
        socket: &'a S,
        event: &'a str,
        args: &'a socketio::Args<'a>,
        ack: Option<u64>,
    ) -> Context<'a, S> {
        Context { args: Some(args), ack: Cell::new(ack), ..Context::new(socket, event) }
    }

    /// Returns the id of the acknowledgement that a handler's return value is, and that nothing else sends if the handler
    /// fails, given the one that was wanted before.
    pub(crate) fn unsent_ack(&self, wanted: Option<u64>) -> Option<u64> {
        match self.ack.get() {
            // The handler was not called, so that the next one may acknowledge.
            Some(id) => self.is_last.then_some(id),
            // An `AckSender` may still be used.
            None => wanted.filter(|_| !self.is_deferred.get()),
        }
    }

    /// Returns the socket.
    pub fn socket(&self) -> &'a S {
        self.socket
    }

    /// Returns the arguments of the event.
    fn args(&self) -> Result<&socketio::Args<'a>, ExtractError> {
        self.args.ok_or_else(|| ExtractError::Unavailable("data"))
    }

    /// Returns the cause of the call, if it is a `T`.
    pub(crate) fn cause<T: Clone + 'static>(&self) -> Option<T> {
        self.cause?.downcast_ref::<T>().cloned()
    }

    /// Returns the name of the event. If the handler is not called for an event of the peer, this is `connect`,
    /// `connect_error` or `disconnect`.
    pub fn event(&self) -> &'a str {
        self.event
    }
}

/// A parameter of a handler. Implement this for a value that many of your handlers need.
///
/// ```
/// use sockeye::extract::{Context, Extract, ExtractError};
///
/// /// The user that the middleware found.
/// #[derive(Clone)]
/// struct User(String);
///
/// impl Extract for User {
///     fn extract(context: &Context<'_>) -> Result<Self, ExtractError> {
///         let user = context.socket().data::<User>();
///         user.map(|user| (*user).clone()).ok_or_else(|| ExtractError::Other("nobody is logged in".into()))
///     }
/// }
///
/// # let io = sockeye::Server::new();
/// io.on_connect(async |socket: sockeye::Socket| {
///     socket.on("who am i", async |User(name): User| name);
/// });
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a parameter of a handler of `{S}`",
    label = "has a parameter of type `{Self}`",
    note = "an argument of the event is taken by `Data`, for example `Data(text): Data<String>`: see `sockeye::extract`",
    note = "`Socket` is for the handlers of a server, `ClientSocket` for those of a client; both are taken by value"
)]
pub trait Extract<S = Socket>: Sized {
    /// Whether this is made of the arguments of the event, as [`Data`] and [`TryData`] are. A handler with two such
    /// parameters does not compile, because both would get the first argument. Default: false.
    const IS_DATA: bool = false;

    /// Reads the parameter.
    ///
    /// # Errors
    /// If it is not available. The error is logged, and the handler is not called.
    fn extract(context: &Context<'_, S>) -> Result<Self, ExtractError>;
}

/// The reason why a handler was not called.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExtractError {
    /// The client's data is not of the handler's type.
    #[error("the data is not of the expected type: {0}")]
    Data(#[from] socketio::ArgsError),
    /// The client's auth is not of the handler's type.
    #[error("the auth is not of the expected type: {0}")]
    Auth(socketio::ArgsError),
    /// No state of this type was given to the [server's builder](crate::ServerBuilder::state).
    #[error("there is no state of type {0}: store one by `ServerBuilder::state`")]
    State(&'static str),
    /// The first request had no extension of this type.
    #[cfg(feature = "http")]
    #[error("the request had no extension of type {0}, or the layer does not keep it")]
    Extension(&'static str),
    /// The parameters in the name of the namespace are not of the handler's type.
    #[error("the parameters of the namespace are not of the expected type: {0}")]
    Params(String),
    /// This kind of handler has no such parameter.
    #[error("{0} is not available in this handler")]
    Unavailable(&'static str),
    /// Anything else.
    #[error("{0}")]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

impl ExtractError {
    /// Returns what is missing, if this program is at fault, whatever clients send.
    pub(crate) fn missing(&self) -> Option<&'static str> {
        match self {
            ExtractError::State(missing) | ExtractError::Unavailable(missing) => Some(missing),
            #[cfg(feature = "http")]
            ExtractError::Extension(missing) => Some(missing),
            _ => None,
        }
    }

    /// Returns whether this program is at fault, whatever clients send.
    pub(crate) fn is_ours(&self) -> bool {
        self.missing().is_some()
    }
}

/// The arguments of the event: a tuple takes them in order, `()` takes none, and any other type takes the first. A handler
/// takes them once: two arguments are one tuple, not two parameters.
///
/// [`bytes::Bytes`] inside of the type takes an attachment; `Vec<u8>` takes a list of numbers only. A missing argument
/// is `None` for an `Option`. If the arguments are of another type, the handler is not called: see [the module](self).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data<T>(pub T);

impl<S, T: DeserializeOwned> Extract<S> for Data<T> {
    const IS_DATA: bool = true;

    // So that the value is not copied on its way to the handler's future: `benches/count ack16`.
    #[inline(always)]
    fn extract(context: &Context<'_, S>) -> Result<Self, ExtractError> {
        let args = context.args()?;
        Ok(Data(args.deserialize()?))
    }
}

/// The arguments of the event, or the reason why they are not of the type: the handler is called in either case.
#[derive(Debug)]
pub struct TryData<T>(pub Result<T, socketio::ArgsError>);

impl<S, T: DeserializeOwned> Extract<S> for TryData<T> {
    const IS_DATA: bool = true;

    fn extract(context: &Context<'_, S>) -> Result<Self, ExtractError> {
        let args = context.args()?;
        Ok(TryData(args.deserialize()))
    }
}

impl<S> Extract<S> for Args {
    fn extract(context: &Context<'_, S>) -> Result<Self, ExtractError> {
        let args = context.args()?;
        Ok(Args(args.into_owned()))
    }
}

/// The name of the event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event(pub String);

impl<S> Extract<S> for Event {
    fn extract(context: &Context<'_, S>) -> Result<Self, ExtractError> {
        Ok(Event(context.event.to_owned()))
    }
}

/// A clone of the state that the server was built with: see [`ServerBuilder::state`](crate::ServerBuilder::state).
///
/// The type is the key: if there is no state of exactly this type, the handler is not called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State<T>(pub T);

/// The parameters in the name of a namespace that a [pattern](crate::Server::of_pattern) created.
///
/// A tuple takes the values in their order, a struct or a map takes them by their names, and any other type takes the
/// only one. Numbers and the like are parsed. If the parameters are not of the type, a handler is not called, and a
/// middleware refuses the client (`Invalid namespace`).
///
/// ```
/// use sockeye::Server;
/// use sockeye::extract::Params;
///
/// let io = Server::new();
/// let rooms = io.of_pattern("/org-{org}/room/{number}");
/// rooms.middleware(async |Params((org, number)): Params<(String, u32)>| match org == "acme" && number < 10 {
///     true => Ok(()),
///     false => Err("no such room".into()),
/// });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params<T>(pub T);

/// The `auth` that the client sent when it connected to the namespace; an empty object if it sent none.
///
/// Because of that, `Auth<Option<T>>` is not `None` for a client without `auth`: make the fields of `T` optional.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auth<T>(pub T);

/// A clone of an extension that a layer of the surrounding HTTP server added to the first request.
///
/// The type is the key: if the request has no extension of exactly this type, the handler is not called. For one that
/// may be missing, use [`Handshake::extension`](crate::Handshake::extension).
#[cfg(feature = "http")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extension<T>(pub T);

/// Acknowledges an event at any time, in place of the handler's return value, which is then not sent.
///
/// If this is dropped without an answer, the client gets none and times out.
///
/// ```
/// use sockeye::extract::AckSender;
/// # let io = sockeye::Server::new();
/// # io.on_connect(async |socket: sockeye::Socket| {
/// socket.on("slow", async |ack: AckSender| {
///     std::thread::spawn(move || ack.send("done"));
/// });
/// # });
/// ```
pub struct AckSender {
    socket: Arc<dyn Acknowledge>,
    id: Option<u64>,
}

impl AckSender {
    /// Returns whether the peer waits for an acknowledgement.
    pub fn is_wanted(&self) -> bool {
        self.id.is_some()
    }

    /// Sends the acknowledgement. Does nothing if the peer wants none.
    ///
    /// # Errors
    /// If the socket is gone, or the answer cannot be sent.
    pub fn send(self, args: impl crate::Payload) -> Result<(), crate::EmitError> {
        match self.id {
            Some(id) => self.socket.acknowledge(id, &args),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for AckSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AckSender").field("id", &self.id).finish_non_exhaustive()
    }
}

impl<S: AnySocket> Extract<S> for AckSender {
    fn extract(context: &Context<'_, S>) -> Result<Self, ExtractError> {
        // Not taken yet: if another parameter cannot be extracted, the next handler acknowledges.
        let id = if context.is_deferred.replace(true) { None } else { context.ack.get() };
        Ok(AckSender { socket: Arc::new(context.socket.clone()), id })
    }
}
