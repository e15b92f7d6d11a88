//! The admission of clients: from a client's request to connect to a namespace, to its acceptance or refusal.
//!
//! Each step may refuse the client. The steps, in this order, are:
//!
//! 1. Find the namespace, draw the id of the socket, and note in the session that the client waits. If the namespace does
//!    not exist, create it by the first parent whose pattern or function matches its name.
//! 2. Restore the socket that the client had before, if connections can be recovered. Usually the middleware is not asked
//!    then: see [`Recovery::skip_middlewares`](crate::Recovery::skip_middlewares).
//! 3. Ask the middleware, one after the other. The functions of parents and the middleware together have
//!    [`ServerBuilder::connect_timeout`](crate::ServerBuilder::connect_timeout).
//! 4. Accept: tell the client, make the socket a member of the namespace, and call the connect handlers.
//!
//! In a namespace without middleware that exists or has a pattern, the call that handles the client's packet does all of it.

use super::App;
use super::app::show_packet;
use super::middleware::{ask, panicked};
use super::namespace::Namespace;
use super::namespaces::{INVALID, Wanted};
use super::parent::Parent;
use super::patience::Patience;
use super::recovery::Numbering;
use super::restore::Restoring;
use super::socket::Socket;
use super::v2::{self, is_v2};
use crate::engine::{self, CloseReason, Session};
use crate::error::ConnectError;
use crate::extract::Context;
use crate::guard::Guarded;
use crate::handler::drive;
use crate::log;
use crate::observe::ServerEvent;
use crate::payload::send_packet;
use sockeye_core::socketio::{EncodeError, Encoded, Encoder, Joining, Packet, Parser};
use std::borrow::Cow;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// The event of the middleware's failures.
const CONNECT: &str = "connect";

/// The cause of the end of a connection whose client could not be recovered after all.
const LOST: &str = "what the client missed has left the memory while it was being admitted";

/// The result of telling a client that it is connected.
pub(super) enum Told {
    /// Its socket is a member of the namespace.
    Entered,
    /// It was told, but its socket was disconnected meanwhile, or the namespace deleted.
    NotEntered,
    /// It reads too slowly to be told.
    Slow,
    /// It cannot be recovered any more.
    Lost,
    /// It does not wait any more.
    Gone,
}

impl App {
    /// Handles a client's request to connect to a namespace.
    pub(super) fn connect(&self, session: &Session<App>, packet: Packet<'_>) {
        let (namespace, parents) = match self.namespaces.wanted(packet.namespace, &self.limits) {
            Wanted::Found(namespace) => (namespace, Vec::new()),
            Wanted::Undecided(parents) => (without_parent(packet.namespace, &parents), parents),
            Wanted::Refused(message) => {
                return self.refuse_without_socket(session, packet.namespace, message);
            }
        };
        let Some(socket) = self.begin(session, namespace, packet) else { return };
        let is_plain = parents.is_empty() && !socket.namespace().0.functions.has_middleware();
        match (is_plain || self.skips_middleware(&socket)) && Restoring::begin(&socket).is_none() {
            true => accept(&socket),
            false => {
                let id = log::socket(socket.id(), session.id());
                let span = log::admission(session.span(), socket.namespace().name(), id);
                let admission = admit(socket.clone(), parents, self.connect_timeout);
                drive(
                    &socket,
                    CONNECT,
                    span,
                    Box::pin(async {
                        admission.await;
                        Ok(())
                    }),
                );
            }
        }
    }

    /// Returns whether the middleware is not asked about a socket, because its client is recovered.
    fn skips_middleware(&self, socket: &Socket) -> bool {
        socket.recovered() && self.recovery.as_ref().is_some_and(|it| it.skip_middlewares)
    }

    /// Creates the socket, and notes in the session that its client waits. Returns `None` if the client was refused, or
    /// will get the answer to an earlier request.
    fn begin(&self, session: &Session<App>, namespace: Namespace, packet: Packet<'_>) -> Option<Socket> {
        let name = namespace.0.name.clone();
        let returned = match namespace.0.numbering {
            // Clients of Socket.IO 2 know no private ids.
            Some(Numbering::Here(_)) if !is_v2(session) => namespace.welcome_back(session, packet.data),
            // In a cluster, the bus has to be asked first.
            _ => None,
        };
        let auth = match is_v2(session) {
            false => Cow::Borrowed(packet.data),
            true => v2::auth_of(packet.query),
        };
        let socket = match returned {
            Some(returned) => Socket::returned(namespace, session.clone(), &auth, returned),
            None => {
                let Some(id) = v2::id_for(session, &namespace).or_else(engine::random_id) else {
                    namespace.end_use();
                    session.close_with(CloseReason::ForcedClose(Some("no randomness for an id".into())));
                    return None;
                };
                Socket::new(namespace, session.clone(), id, &auth)
            }
        };
        let begun = session.peek(|engine, state| match engine.closed() {
            None => state.begin_connect(name, &socket, engine.queued() == 0, &self.limits),
            // After the end of the session nothing would remove the socket again.
            Some(_) => Ok(Joining::Pending),
        });
        match begun {
            Ok(Joining::Begun) => return Some(socket),
            Ok(Joining::Pending) => {}
            Ok(Joining::TooMany) => {
                self.refuse_without_socket(session, packet.namespace, "too many namespaces")
            }
            Err(error) => session.close_with(CloseReason::ForcedClose(Some(error.to_string()))),
        }
        socket.release();
        None
    }

    /// Tells a client that there is no socket for it in a namespace. Its connection stays open.
    fn refuse_without_socket(&self, session: &Session<App>, namespace: &str, message: &str) {
        let error = ConnectError::new(message);
        let told = session.with(|engine, _| {
            send_packet(engine, self.parser, |encoder| encoder.connect_error(namespace, &error))
        });
        match told {
            Ok(()) => show_refusal(session, self.parser, namespace, &error, |encoder| {
                encoder.connect_error(namespace, &error)
            }),
            Err(_) => session.close_slow(),
        }
    }
}

/// Returns the namespace of a socket for whose client the parents have yet to be asked. No client can find it.
fn without_parent(name: &str, parents: &[Arc<Parent>]) -> Namespace {
    let engine = parents.first().map_or_else(Weak::new, |parent| parent.namespace.0.engine.clone());
    let parser = parents.first().map_or_else(Parser::default, |parent| parent.namespace.0.parser);
    Namespace::new(name, parser, engine)
}

/// Asks the parents, if the namespace does not exist, and the middleware; then accepts or refuses the client.
async fn admit(socket: Socket, parents: Vec<Arc<Parent>>, timeout: Duration) {
    let mut patience = Patience::new(socket.namespace(), timeout);
    let socket = match parents.is_empty() {
        true => socket,
        false => match patience.limit(find_parent(&socket, &parents)).await.and_then(|it| enter(&socket, it))
        {
            Ok(Some(socket)) => socket,
            // The client has gone.
            Ok(None) => return,
            Err(error) => return refuse(&socket, &error),
        },
    };
    let Some(socket) = restore(socket).await else { return };
    let engine = socket.namespace().0.engine.upgrade();
    if engine.is_some_and(|engine| engine.application.skips_middleware(&socket)) {
        return accept(&socket);
    }
    match patience.limit(decide(&socket)).await {
        Ok(()) => accept(&socket),
        Err(error) => refuse(&socket, &error),
    }
}

/// Puts the socket that the client had before in the place of its new one, if the cluster keeps it. Returns `None` if the
/// client no longer waits.
async fn restore(socket: Socket) -> Option<Socket> {
    let Some(restoring) = Restoring::begin(&socket) else { return Some(socket) };
    let Some(returned) = restoring.find().await else { return Some(socket) };
    let (namespace, session) = (socket.namespace().clone(), socket.session().clone());
    let restored = Socket::returned(namespace, session, socket.auth_text(), returned);
    match put_in_place(&socket, &restored) {
        true => Some(restored),
        false => {
            // Of the two sockets of the client, only the first is counted.
            restored.give_back();
            None
        }
    }
}

/// Makes a client wait with another socket, in one step, so that it is always in at most one of them. Returns whether it was
/// waiting.
fn put_in_place(socket: &Socket, other: &Socket) -> bool {
    let name = &other.namespace().0.name;
    let Some(engine) = socket.namespace().0.engine.upgrade() else { return false };
    let limits = &engine.application.limits;
    socket.session().peek(|engine, state| {
        engine.closed().is_none()
            && state.refuse(name, socket)
            && state.begin_connect(name.clone(), other, true, limits) == Ok(Joining::Begun)
    })
}

/// Asks the parents, one after the other, which of them the namespace belongs to.
async fn find_parent(socket: &Socket, parents: &[Arc<Parent>]) -> Result<Arc<Parent>, ConnectError> {
    for parent in parents {
        let decision = parent.decide(socket.namespace().name(), socket.auth_text(), socket.handshake());
        if decision.await.map_err(|panic| panicked(socket, CONNECT, &panic))? {
            return Ok(parent.clone());
        }
    }
    Err(ConnectError::new(INVALID))
}

/// Finds or creates the namespace of a socket whose parent is known now, and puts a socket of this namespace in its
/// place. Returns `None` if the client no longer waits.
fn enter(socket: &Socket, parent: Arc<Parent>) -> Result<Option<Socket>, ConnectError> {
    let name = &socket.namespace().0.name;
    let Some(engine) = socket.namespace().0.engine.upgrade() else { return Ok(None) };
    // A client that has gone creates nothing.
    if !socket.session().peek(|_, state| state.is_joining(name, socket)) {
        return Ok(None);
    }
    let child = engine.application.namespaces.child(name, &parent)?;
    let entered = socket.in_namespace(child);
    let has_entered = put_in_place(socket, &entered);
    if !has_entered {
        entered.release();
    }
    Ok(has_entered.then_some(entered))
}

async fn decide(socket: &Socket) -> Result<(), ConnectError> {
    for middleware in socket.namespace().0.functions.middlewares() {
        let decision = Guarded(ask(middleware, &Context::new(socket, CONNECT))?);
        decision.await.map_err(|panic| panicked(socket, CONNECT, &panic))??;
    }
    Ok(())
}

/// Tells the client that it is connected, makes its socket a member, and calls the connect handlers.
fn accept(socket: &Socket) {
    let (session, namespace) = (socket.session(), socket.namespace());
    if namespace.is_closed() {
        return refuse(socket, &ConnectError::new(INVALID));
    }
    // Everything that the handlers do before they wait happens before the client can know that it is connected.
    session.cork();
    let told = match namespace.0.numbering {
        Some(_) if !is_v2(session) => socket.enter_recoverable(),
        _ => enter_namespace(socket),
    };
    let has_entered = matches!(told, Told::Entered);
    match told {
        Told::Slow => socket.close_slow(),
        // The client connects again, and begins anew.
        Told::Lost => session.close_with(CloseReason::ForcedClose(Some(LOST.into()))),
        Told::Entered | Told::NotEntered | Told::Gone => {}
    }
    if has_entered {
        namespace.keep();
        session.settle();
        session.tell(&ServerEvent::SocketConnected {
            session: session.id(),
            handshake: session.handshake(),
            namespace: namespace.name(),
            socket: socket.id(),
        });
        namespace.call_connect_handlers(socket);
    }
    session.uncork();
    match has_entered {
        true => socket.start(),
        false => {
            // If the namespace was deleted meanwhile, the client has been told that it is connected.
            socket.disconnect(false);
            socket.release();
        }
    }
}

/// Tells the client that it is connected, and makes its socket a member of the namespace.
fn enter_namespace(socket: &Socket) -> Told {
    let (session, namespace) = (socket.session(), socket.namespace());
    let told = session.with(|engine, state| {
        // After the end of the session nothing would remove the socket again.
        if engine.closed().is_some() || !state.accept(namespace.name(), socket) {
            return None;
        }
        socket.set_connected();
        Some(send_packet(engine, namespace.0.parser, |encoder| welcome(encoder, socket)))
    });
    match told {
        Some(Ok(())) => {
            show_packet(session, namespace.0.parser, |encoder| welcome(encoder, socket));
            if socket.enter() { Told::Entered } else { Told::NotEntered }
        }
        Some(Err(_)) => Told::Slow,
        None => Told::Gone,
    }
}

/// Encodes the packet that tells the client that it is connected.
fn welcome<'e>(encoder: &'e mut Encoder, socket: &Socket) -> Result<Encoded<'e>, EncodeError> {
    let name = socket.namespace().name();
    match is_v2(socket.session()) {
        false => encoder.connected(name, &socket.id()),
        // The client takes its id from the session.
        true => encoder.connect(name, None),
    }
}

/// Tells the client that the application refused it.
fn refuse(socket: &Socket, error: &ConnectError) {
    let namespace = socket.namespace();
    let (name, parser) = (namespace.name(), namespace.0.parser);
    let told = socket.session().with(|engine, state| match state.refuse(name, socket) {
        true => send_packet(engine, parser, |encoder| refusal(encoder, socket, error)).map_err(Some),
        false => Err(None),
    });
    match told {
        Ok(()) => {
            show_refusal(socket.session(), parser, name, error, |encoder| refusal(encoder, socket, error))
        }
        Err(Some(_)) => socket.close_slow(),
        // The client has gone.
        Err(None) => {}
    }
    socket.release();
}

/// Encodes the packet that tells the client that the application refused it.
fn refusal<'e>(
    encoder: &'e mut Encoder,
    socket: &Socket,
    error: &ConnectError,
) -> Result<Encoded<'e>, EncodeError> {
    let name = socket.namespace().name();
    match is_v2(socket.session()) {
        false => encoder.connect_error(name, error),
        true => encoder.connect_error(name, &v2::Refusal(error)),
    }
}

/// Logs a refusal that the client was told of by this packet, and passes it to the observer. The caller must hold no lock.
fn show_refusal(
    session: &Session<App>,
    parser: Parser,
    namespace: &str,
    error: &ConnectError,
    packet: impl for<'e> FnOnce(&'e mut Encoder) -> Result<Encoded<'e>, EncodeError>,
) {
    show_packet(session, parser, packet);
    let (id, handshake) = (session.id(), session.handshake());
    session.tell(&ServerEvent::ConnectRefused {
        session: id,
        handshake,
        namespace,
        message: error.message(),
    });
}
